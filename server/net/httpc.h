/* SPDX-License-Identifier: Apache-2.0 */
/* Outgoing HTTP on the loop (libcurl, multi_socket), and the connections on which mails go out. Used for `http:` work, deliveries of results and by the
 * command line as the client of a server. A callback fires exactly once, never inside httpc_send. */
#ifndef NET_HTTPC_H
#define NET_HTTPC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct httpc_request {
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;
    const char *const *headers; /* "Name: value", NULL behind the last; may be NULL */
    struct str body;
    int64_t timeout_ms;  /* whole transfer; 0: none (streams) */
    size_t max_response; /* bytes; more: ERR_TOO_LARGE; 0: 64 MiB */
    bool allow_private;  /* false: refuses loopback, private and link-local addresses (SSRF) */
    /* Not NULL: body bytes are given here as they come, and the final response has an empty body. */
    void (*on_body)(void *arg, struct str bytes);
};

struct httpc_response { /* borrowed by the callback */
    int status;
    struct str body;
    struct str content_type;
    struct str location;
    struct str etag;
    struct str link;        /* the first Link header */
    int64_t retry_after_ms; /* -1: none */
};

typedef void (*httpc_fn)(void *arg, const struct httpc_response *r, const struct err *e);

struct httpc_call;
struct httpc_call *httpc_send(const struct httpc_request *q, httpc_fn fn, void *arg);
void httpc_cancel(struct httpc_call *c); /* fn fires with ERR_CANCELLED */

/* A connection to a mail server (net/mail.h speaks on it). The password is never sent in the clear unless tls is NEVER: with a user, TRY is ALWAYS.
 * ALWAYS, and smtps://, also want a certificate that is trusted. */
enum httpc_tls { HTTPC_TLS_TRY, HTTPC_TLS_ALWAYS, HTTPC_TLS_NEVER };
struct httpc_dial {
    const char *url; /* smtp://HOST[:PORT] or smtps://HOST[:PORT] */
    enum httpc_tls tls;
    const char *user; /* NULL or "": no login */
    const char *password;
    int64_t timeout_ms; /* until fn */
};
/* fn with a response: greeting, STARTTLS and login are done; the call is then a line that the caller talks on until httpc_hang_up. Errors:
 * ERR_UNAVAILABLE, ERR_TIMEOUT: later perhaps; ERR_FORBIDDEN, ERR_UNAUTHORIZED, ERR_BAD_INPUT: not by trying again. */
struct httpc_call *httpc_dial(const struct httpc_dial *d, httpc_fn fn, void *arg);
int httpc_fd(const struct httpc_call *c); /* to wait on; only IO_READ and IO_WRITE */
const char *httpc_host(const struct httpc_call *c);
/* What goes through now: *rest is left; *got is appended to. false: the line is dead. */
bool httpc_write(struct httpc_call *c, struct str *rest, struct err *e) MUST_CHECK;
bool httpc_read(struct httpc_call *c, struct buf *got, struct err *e) MUST_CHECK;
void httpc_hang_up(struct httpc_call *c);

/* Certificates that are trusted besides the system's: a PEM file; NULL or "": none. For calls that begin from now on. */
void httpc_trust(const char *pem_path);
void httpc_finish(void); /* at the end of the process */

#endif
