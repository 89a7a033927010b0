/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of net/http share: the request, and the line between what h2o does (http.c) and what needs no h2o
 * (http_req.c, http_static.c).
 *
 * A request is held twice: by the transport, from its first byte until h2o disposed of it, and by its handler,
 * until it was answered. Whoever lets go last lets it be freed, at the end of the turn. */
#ifndef NET_HTTP_INT_H
#define NET_HTTP_INT_H

#include "base/id.h"
#include "base/list.h"
#include "net/guard.h"
#include "net/http.h"

enum {
    HTTP_REQ_MAGIC = 0x68747271,
    HTTP_SEGMENTS = 4,
    HTTP_REPLY_HEADERS = 16,
    HTTP_FIRST_CHUNK = 2048,
};

struct http_tx; /* the transport's side of one exchange */

struct http_pair {
    struct str name;
    struct str value;
};

struct http_segment { /* of the path: the message may still move when it is found */
    struct str name;
    size_t at;
    size_t n;
};

struct http_chunk { /* of a request's memory */
    struct http_chunk *next;
    size_t used;
    size_t cap;
    char *p;
};

struct http_req {
    unsigned magic;
    int holds;
    struct http_tx *tx; /* NULL before h2o has it and after it disposed of it */
    char *base;         /* where the message starts; moves until the request is handed on */
    void *kept;         /* a buffer of the transport that was left to it; http_tx_free_kept */
    struct str body;
    struct str peer;
    bool secure;
    bool http2;

    enum http_method method;        /* GET also for a HEAD that a GET route answers */
    bool head;                      /* the answer has no body */
    const struct http_route *route; /* NULL: none */
    int allowed;                    /* methods of the path's routes; 0: no route has the path */
    struct http_segment wild;       /* n 0 without a name: none */
    struct http_segment segments[HTTP_SEGMENTS];
    size_t segments_n;

    char id[ID_SIZE];
    int64_t began_us;
    struct err *refusal; /* NULL: a good request */
    bool handled;        /* the handler holds it */
    bool answered;       /* http_reply* or http_end was called */
    bool begun;          /* http_begin was called */
    bool wants_piece;    /* of its body */
    bool body_done;      /* all of a streamed body was taken off the wire */
    bool body_told;      /* ... and the handler knows, or knows why not */
    bool events;         /* ... for text/event-stream */
    int status;
    struct http_pair headers[HTTP_REPLY_HEADERS];
    size_t headers_n;
    void (*on_gone)(void *arg);
    void *on_gone_arg;
    void (*on_drain)(void *arg);
    void *on_drain_arg;
    http_piece_fn on_piece;
    void *on_piece_arg;

    struct buf out;    /* written, not yet given to the transport */
    struct buf flight; /* given to it */

    struct http_chunk *chunks;
    struct http_chunk first;
    /* Not cleared for a new request: */
    struct guard guard;
    char first_bytes[HTTP_FIRST_CHUNK];
};

/* http_req.c */
struct http_req *http_req_new(void); /* held once */
void http_req_hold(struct http_req *q);
void http_req_release(struct http_req *q);
void *http_req_bytes(struct http_req *q, size_t n); /* like http_alloc, not zeroed */
struct str http_req_dup(struct http_req *q, struct str s);
/* Finds method and route, once the guard has read the request line. */
void http_req_route(struct http_req *q);
bool http_req_streams(const struct http_req *q); /* its route takes the body in pieces */
uint64_t http_req_max_body(const struct http_req *q);
/* Would it be refused whatever its body is? Asked before a body is read that is still to come. */
bool http_req_allowed(struct http_req *q, struct err *e) MUST_CHECK;
void http_req_refuse(struct http_req *q, const struct err *e);
/* Answers it, or gives it to its handler. */
void http_req_run(struct http_req *q);
/* From the transport: the client left before the answer was complete. */
void http_req_gone(struct http_req *q);

/* http_answer.c. From the transport: all bytes given to it are out. */
void http_req_sent(struct http_req *q);

/* http.c */
const struct http_options *http_settings(void);
const struct http_route *http_routes(void);
/* Starts the answer: status and headers of q; length SIZE_MAX: not known. Then http_tx_send until last,
 * one at a time: the bytes stay put until http_req_sent. Both do nothing without a tx. */
void http_tx_start(struct http_req *q, const char *reason, size_t length);
void http_tx_send(struct http_req *q, struct str bytes, bool last);
bool http_tx_sending(const struct http_req *q);
/* Gives the next piece of a streamed body to q->on_piece, now or when it comes. */
void http_tx_read(struct http_req *q);
void http_tx_free_kept(void *kept);

/* http_linger.c: keeps the connection half open until the client has closed it; takes fd. */
void http_linger(int fd);
void http_linger_stop(void);

/* http_handshake.c: the WebSocket handshake of q as libwebsockets shall see it; false: refused. */
bool http_handshake(const struct http_req *q, const char *protocol, struct buf *out,
                    struct err *e) MUST_CHECK;

/* http_static.c: a GET that no route takes; false when there is no such file. */
bool http_static_reply(struct http_req *q);

#endif
