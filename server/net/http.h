/* SPDX-License-Identifier: Apache-2.0 */
/* The public port: HTTP/1.1 (HTTP/2 as an option) and TLS by h2o, behind a guard that reads every HTTP/1 message strictly
 * and shows h2o exactly one complete, unambiguous request at a time; a WebSocket handshake
 * goes to net/hub.
 *
 * A handler is a row of the route table: method set, path pattern, function. It gets a request whose body is complete
 * (or, for a route with `stream`, arrives in pieces) and answers it once, now or later: http_reply* on a request whose
 * client left is a harmless no-op, so handlers never ask. A struct http_req lives until it was answered and the client is gone or served;
 * slices of it live as long. */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct http_req;

typedef void (*http_handler_fn)(struct http_req *q);

enum http_method {
    HTTP_GET_ = 1,
    HTTP_POST_ = 2,
    HTTP_PUT_ = 4,
    HTTP_DELETE_ = 8,
    HTTP_HEAD_ = 16,
    HTTP_PATCH_ = 32,
    HTTP_OPTIONS_ = 64,
    HTTP_OTHER_ = 128
};

struct http_route {
    int methods; /* others on the same path: 405 with Allow. HEAD is answered where GET is. */
    const char
        *path; /* a last '*' takes the rest (with slashes), ":x" one segment that isn't empty */
    http_handler_fn fn;
    bool open; /* needs no token */
    bool
        refusals; /* fn is also called for requests that were refused (too large, timed out, bad framing): http_refused() is then not NULL; it records, http answers by itself after fn if fn did not */
    bool stream;  /* fn is called after the head; the body comes by http_read_body */
    size_t max_body; /* 0: the server's default */
    /* Not NULL: asked at each request's head instead, for a limit that depends on the path or changes by a reload. */
    size_t (*limit)(const struct http_req *q);
};

struct http_options {
    const char *host; /* numeric address or name */
    int port;         /* 0: any free one; see http_port() */
    bool reuseport;
    const char *tls_cert; /* PEM files; NULL: no TLS */
    const char *tls_key;
    bool http2;              /* off by default: see design notes in http.c */
    size_t max_body;         /* bytes; more: 413 */
    size_t max_head;         /* bytes of request line and headers; more: 431 */
    int64_t head_timeout_ms; /* from the first byte to the end of the head: 408 */
    int64_t body_timeout_ms; /* from the head to the end of the body: 408 */
    int64_t idle_timeout_ms; /* keep-alive */
    int max_connections;     /* more are closed at once, with a log line */
    const char *static_dir; /* the dashboard's files; GET that no route takes; index.html for "/" */
    /* May this request go on? NULL: yes. false fills e (401/403). Not asked for open routes and static files. */
    bool (*authorize)(struct http_req *q, struct err *e);
    /* For /v1/live and /v1/mesh: called before the handshake is handed to the hub; same contract as authorize. */
    bool (*authorize_websocket)(struct str path, struct str origin, struct str host,
                                struct str authorization, struct str cookie, struct err *e);
};

/* routes end with a row whose path is NULL, and must outlive the server. */
bool http_start(const struct http_options *o, const struct http_route *routes,
                struct err *e) MUST_CHECK;
int http_port(void);
/* Stops accepting; done(arg) when the requests under way are answered (or after grace_ms, then they are cut). */
void http_stop(int64_t grace_ms, void (*done)(void *arg), void *arg);

/* The request. */
enum http_method http_method_of(const struct http_req *q);
struct str http_method_name(const struct http_req *q);
struct str http_path(const struct http_req *q); /* without the query, not decoded */
struct str http_wild(const struct http_req *q); /* what the '*' took, URL-decoded */
struct str http_segment(const struct http_req *q,
                        const char *name); /* what ":name" took, URL-decoded */
/* A query parameter, URL-decoded; {NULL,0} when absent. */
struct str http_query(struct http_req *q, const char *name);
struct str http_header(
    const struct http_req *q,
    const char *lower_case_name); /* {NULL,0} when absent; the first of several */
void http_each_header(const struct http_req *q,
                      void (*fn)(void *arg, struct str name, struct str value), void *arg);
struct str http_body(const struct http_req *q);
struct str http_peer(const struct http_req *q); /* "127.0.0.1" */
const char *http_id(
    const struct http_req *q);              /* request id (UUIDv7), in the answer as X-Request-Id */
bool http_secure(const struct http_req *q); /* came by TLS */
const struct err *http_refused(const struct http_req *q); /* NULL for a good request */
void *http_alloc(struct http_req *q, size_t n);           /* zeroed, freed with the request */
/* fn(arg) when the client goes away before the answer was complete, at most once. */
void http_on_gone(struct http_req *q, void (*fn)(void *arg), void *arg);

/* A streamed body: fn gets each piece in order (e NULL), then an empty piece with last true; or an error once. Until http_read_more
 * is called after a piece, no further one comes: that is the backpressure. */
typedef void (*http_piece_fn)(void *arg, struct str piece, bool last, const struct err *e);
void http_read_body(struct http_req *q, http_piece_fn fn, void *arg);
void http_read_more(struct http_req *q);

/* The answer: headers first, then exactly one of these. Bodies are copied. */
void http_set_header(struct http_req *q, const char *lower_case_name, struct str value);
void http_reply(struct http_req *q, int status, const char *content_type, struct str body);
void http_reply_json(struct http_req *q, int status, struct str json);
/* application/problem+json (RFC 9457) from an error: type, title, status, detail, instance; 401 gets WWW-Authenticate, 503 and 429 Retry-After unless set. */
void http_reply_err(struct http_req *q, const struct err *e);
void http_problem(struct http_req *q, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A streamed answer (SSE, NDJSON): begin, write any number of times, end. http_unsent tells how much waits for a slow client.
 * http_on_drain calls fn once, when all that was written has gone out (in the next turn if it has already); ask again for the
 * next time. After the client left, writes are no-ops, and on_drain doesn't fire. */
void http_begin(struct http_req *q, int status, const char *content_type);
void http_write(struct http_req *q, struct str bytes);
void http_end(struct http_req *q);
size_t http_unsent(const struct http_req *q);
void http_on_drain(struct http_req *q, void (*fn)(void *arg), void *arg);

#endif
