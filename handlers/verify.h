/* SPDX-License-Identifier: Apache-2.0 */
/* Is a webhook delivery from who it says? Each way of signing is one row of data (verify.c); a new sender's way is a new
 * row.
 *
 * A verifier is a hook's secret, keyed once and used for every delivery. It borrows the hook: whoever makes it holds the hook's
 * configuration. Neither an error nor a log line ever holds a secret or the signature that would have been right. */
#ifndef HANDLERS_VERIFY_H
#define HANDLERS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

enum verify_how { VERIFY_HMAC_SHA256, VERIFY_TOKEN };
enum verify_encoding { VERIFY_HEX, VERIFY_BASE64, VERIFY_HEX_OR_BASE64 };

enum { VERIFY_NAMES = 4 }; /* header names in a row's list, the last one NULL */

struct verify_scheme {
    const char *name;
    enum verify_how how;
    const char *header;   /* where the signature or token stands */
    bool header_by_hook;  /* the hook's `header` names another one */
    const char *prefix;   /* in front of a signature; "" for none */
    bool prefix_optional; /* a signature without it is taken too */
    enum verify_encoding encoding;
    char between; /* several fields in the header: what separates them; 0: it is one signature */
    const char *text;       /* what is signed: {body}, {timestamp} and {id} stand for those */
    const char *time;       /* header of the timestamp (Unix seconds), or NULL */
    const char *time_field; /* or the field of the signature's header that holds it: "t=" */
    int window_s;           /* largest distance of the timestamp from our clock */
    /* Not NULL: the secret is a list of keys with spaces between, each base64 behind its prefix; any of them will do. Without the prefix it is
     * base64 or text. */
    const char *secret_prefix;
    const char *public_prefix; /* of an Ed25519 public key ... */
    const char *public_sign;   /* ... and of a signature by it, in place of `prefix` */
    /* What it is, best first: headers, and JSON pointers into the body for what has no header. */
    const char *ids[VERIFY_NAMES];
    const char *events[VERIFY_NAMES];
    const char *ids_at[VERIFY_NAMES];
    const char *events_at[VERIFY_NAMES];
    const char *ping;      /* an event that only says hello; NULL: none */
    const char *challenge; /* an event whose "challenge" is to be sent back; NULL: none */
};

const struct verify_scheme *verify_scheme(const char *name); /* NULL: no such row */
const struct verify_scheme *verify_schemes(size_t *n);       /* all rows */

/* How a delivery's headers are read: {NULL,0} for one that is not there. */
typedef struct str (*verify_header_fn)(const void *arg, const char *lower_case_name);

struct verifier;
/* A hook without a secret or with an unknown scheme has a verifier as well: one that says so. */
struct verifier *verifier_new(const struct hook *hook);
void verifier_free(struct verifier *v); /* NULL is fine */
/* The hook's row, or the generic one when it names none. */
const struct verify_scheme *verifier_scheme(const struct verifier *v);
/* The lower-case name of the header that holds this hook's signature or token. */
const char *verifier_header(const struct verifier *v);
/* false: ERR_UNAUTHORIZED with the exact reason. body: the bytes as they came. */
bool verifier_check(struct verifier *v, verify_header_fn header, const void *arg, struct str body,
                    int64_t now_s, struct err *e) MUST_CHECK;

/* First of the named headers that is there; {NULL,0}: none. */
struct str verify_first(const char *const names[VERIFY_NAMES], verify_header_fn header,
                        const void *arg);

/* For a client: the value of the signature's header ("sha256=..."), of a scheme that signs the body alone; for a
 * token scheme the token. */
void verify_sign(struct buf *out, const struct verify_scheme *scheme, struct str secret,
                 struct str body);

void verify_finish(void); /* at the end of the process */

#endif
