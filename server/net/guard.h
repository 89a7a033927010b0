/* SPDX-License-Identifier: Apache-2.0 */
/* The strict reader of HTTP/1 messages that stands in front of h2o: bytes in, verdicts out, no I/O.
 *
 * A message is fed as one growing stretch of bytes that starts at its request line. First guard_head until it is complete,
 * then either guard_body (the whole body in place: chunked framing is taken out and the head rewritten to a Content-Length, so
 * that whoever parses next sees exactly one unambiguous message), or guard_piece (the body in pieces,
 * for messages of any length) after guard_strip_framing.
 *
 * Offsets are relative to the start of the message; the guard owns no bytes. It lower-cases header names in place. After
 * GUARD_BAD the message must not be fed any further. */
#ifndef NET_GUARD_H
#define NET_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { GUARD_FIELDS = 96 }; /* header lines a message may have: h2o takes no more than 100 */

enum guard_verdict { GUARD_MORE, GUARD_DONE, GUARD_BAD };

struct guard_field {
    uint32_t name;
    uint32_t value;
    uint32_t name_n;
    uint32_t value_n;
};

struct guard {
    size_t max_head;
    size_t line;   /* start of the line that is being read */
    size_t seen;   /* bytes looked at: an incomplete line is not searched twice */
    size_t head_n; /* length of the complete head with its empty line; 0 before */

    uint32_t method_n; /* the method starts at 0 */
    uint32_t target;
    uint32_t target_n; /* origin form, or "*" */
    int minor;         /* HTTP/1.minor */
    uint32_t fields_n;
    struct guard_field fields[GUARD_FIELDS];

    int host, length, coding, expect; /* indexes into fields; -1: absent */
    bool chunked;
    bool expect_continue;
    bool keep_alive;
    bool websocket; /* GET with Upgrade: websocket */

    uint64_t body_max;
    uint64_t body_n;  /* decoded so far */
    uint64_t left;    /* of a Content-Length body or of the current chunk */
    int chunk;        /* state of the chunked decoder */
    size_t framing_n; /* bytes of chunk extensions and trailers so far */
};

void guard_init(struct guard *g, size_t max_head);
/* GUARD_DONE: the head is complete and good. GUARD_BAD fills e: ERR_BAD_INPUT or ERR_HEADER_TOO_LARGE.
 * An absolute-form target is rewritten to origin form: then *skip bytes at the front no longer belong to
 * the message; the caller drops them, everything else keeps its offset from the new start. */
enum guard_verdict guard_head(struct guard *g, char *p, size_t n, size_t *skip, struct err *e);
bool guard_has_body(const struct guard *g); /* a body of at least one byte, or chunked */
/* Sets the limit; false (ERR_TOO_LARGE) when Content-Length already says more. */
bool guard_limit(struct guard *g, uint64_t max_body, struct err *e) MUST_CHECK;
/* GUARD_DONE: the message is p[0 .. head_n + body_n), what follows up to *n belongs to the next one.
 * *n shrinks by the framing that was taken out. */
enum guard_verdict guard_body(struct guard *g, char *p, size_t *n, struct err *e);
/* Decodes from p[0..n), which starts where the last call's *used ended: *piece is a slice of p, possibly empty; the caller drops *used bytes.
 * GUARD_DONE: the body ended there. */
enum guard_verdict guard_piece(struct guard *g, char *p, size_t n, struct str *piece, size_t *used,
                               struct err *e);
/* Takes Content-Length, Transfer-Encoding (for a body that goes another way) and Expect out of the head; *skip as for guard_head. */
void guard_strip_framing(struct guard *g, char *p, size_t *skip);
/* Only Expect, after it was answered. */
void guard_strip_expect(struct guard *g, char *p, size_t *skip);

/* Slices of the head, given the start of the message. */
struct str guard_method(const struct guard *g, const char *p);
struct str guard_target(const struct guard *g, const char *p);
struct str guard_path(const struct guard *g, const char *p); /* the target without its query */
/* The value of the first header of that name; {NULL, 0} when absent. */
struct str guard_header(const struct guard *g, const char *p, const char *lower_case_name);

#endif
