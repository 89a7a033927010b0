/* SPDX-License-Identifier: Apache-2.0 */
/* A connection of the public port, between http.c, which alone speaks to h2o, and the files that judge what comes in on
 * it. */
#ifndef NET_HTTP_CONN_H
#define NET_HTTP_CONN_H

#include <netinet/in.h>

#include "base/list.h"
#include "net/http_int.h"

enum conn_state {
    CONN_TLS,    /* shaking hands */
    CONN_HEAD,   /* no request, or a part of a head */
    CONN_BODY,   /* a good head, a part of its body */
    CONN_BUSY,   /* h2o has the request */
    CONN_ENDING, /* h2o closes, or closed, its side */
    CONN_BRIDGE, /* TLS: its bytes go to the hub and back */
    CONN_H2,     /* HTTP/2: h2o has it all */
};

enum wait_kind { WAIT_HEAD, WAIT_BODY, WAIT_IDLE, WAIT_WRITE, WAITS };

struct http_wait {
    struct list link;
    int64_t due_us;
};

/* Counts what h2o 2.2.5 does not: the streams that a client opens only to reset them. */
struct http_frames {
    unsigned char header[9];
    unsigned char header_n;
    uint32_t skip;
    uint32_t resets;
};

struct http_bridge;

struct http_conn {
    enum conn_state state;
    struct http_req *q; /* the request of the first bytes of the input */
    struct http_wait wait;
    struct http_frames frames;
    struct http_bridge *bridge;
    uint32_t answered; /* over HTTP/2 */
    int blank_lines;
    bool open; /* not closed yet: nothing below is called otherwise */
    bool tls;
    bool reused;     /* h2o has had a request of it before */
    bool eof;        /* the client sends no more */
    bool continuing; /* "100 Continue" is being written */
    char peer[INET6_ADDRSTRLEN];
};

struct http_bytes {
    char *p;
    size_t n;
};

/* http.c. The input: what came and was not given to h2o. */
struct http_bytes conn_input(struct http_conn *c);
void conn_drop(struct http_conn *c, size_t n); /* from the front */
void conn_cut(struct http_conn *c, size_t n);  /* keeps the first n */
void conn_reserve(struct http_conn *c, size_t more);
/* Takes the input away for the time of a call that may end the connection. */
void *conn_take(struct http_conn *c);
void conn_give_back(struct http_conn *c, void *taken, size_t used);
/* h2o gets the first n bytes of the input, or the text, as its next message. */
void conn_feed(struct http_conn *c, size_t n);
void conn_feed_text(struct http_conn *c, struct str text);
void conn_continue(struct http_conn *c);
void conn_read_on(struct http_conn *c); /* unless enough is there already */
void conn_pause(struct http_conn *c);
/* TLS only: the bytes are copied; http_bridge_written follows. False: the connection is broken. */
bool conn_write(struct http_conn *c, struct str bytes);
size_t conn_unwritten(const struct http_conn *c);
int conn_fd(const struct http_conn *c);
void conn_close(struct http_conn *c);
struct http_conn *http_tx_conn(const struct http_req *q); /* q->tx is not NULL */

/* http_input.c */
void http_input(struct http_conn *c);     /* more has come */
void http_input_end(struct http_conn *c); /* no more will */
void http_input_late(struct http_conn *c, enum wait_kind kind);
void http_input_piece(struct http_conn *c, struct http_req *q); /* a handler wants one */

/* http_wait.c: deadlines, each kind with one length. */
typedef void (*http_late_fn)(struct http_conn *c, enum wait_kind kind);
void http_wait_start(const int64_t ms[WAITS], http_late_fn late);
void http_wait_stop(void);
void http_wait_init(struct http_conn *c);
void http_wait(struct http_conn *c, enum wait_kind kind); /* in place of what it waited for */
void http_wait_no_more(struct http_conn *c);

/* http_bridge.c: gives the connection to the hub by a pair of sockets. */
bool http_bridge_open(struct http_conn *c, struct str handshake, struct err *e) MUST_CHECK;
void http_bridge_input(struct http_conn *c);
void http_bridge_written(struct http_conn *c);
void http_bridge_close(struct http_conn *c);

/* http_h2.c */
/* False: too many streams were reset. */
bool http_frames_read(struct http_frames *f, const void *bytes, size_t n, uint32_t answered);
struct http_req *http_req_of_h2(struct str method, struct str path, const struct http_pair *headers,
                                size_t headers_n, struct str body);

/* http_listen.c: a listening socket and its port. */
int http_listen(const struct http_options *o, int *port, struct err *e);

/* http_tls.c: an SSL_CTX, or NULL. */
struct ssl_ctx_st *http_tls_new(const struct http_options *o, struct err *e);

#endif
