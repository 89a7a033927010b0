/* SPDX-License-Identifier: Apache-2.0 */
/* Outgoing HTTP on the loop (libcurl, multi_socket). Used for `http:` work, deliveries of results and by the command line
 * as the client of a server. A callback fires exactly once, never inside httpc_send. */
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
void httpc_finish(void);                 /* at the end of the process */

#endif
