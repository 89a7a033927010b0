/* SPDX-License-Identifier: Apache-2.0 */
/* What comes in over HTTP/1: judged by the guard, and only then shown to h2o.
 *
 * A refused message never gets there: a bare request of our own goes in its place, so that the refusal is answered
 * in order, by the one way of answering, and then the connection is closed. What is left of it is the good part of
 * its head, for the route and for whoever records it. A body that a handler takes in pieces stays here too: h2o
 * gets its head, without any framing, as a request without a body. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/http_conn.h"
#include "net/hub.h"

enum {
    BLANK_LINES_MAX = 4,   /* before a request: some clients end a body with one too many */
    RESERVE_MAX = 1 << 20, /* of an announced body, before any of it came */
};

static struct str bare_request(const struct http_req *q)
{
    if (q->guard.target_n > 0 && str_is(http_method_name(q), "HEAD"))
        return STR("HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
    return STR("GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
}

static void refuse(struct http_conn *c, const struct err *e)
{
    struct http_req *q = c->q;
    struct http_bytes in = conn_input(c);
    size_t head_n = q->guard.head_n > 0 ? q->guard.head_n : q->guard.line;
    char *head = http_req_bytes(q, head_n + 1);
    memcpy(head, in.p, head_n);
    conn_drop(c, in.n);
    q->base = head;
    if (q->guard.target_n > 0)
        http_req_route(q);
    http_req_refuse(q, e);
    conn_feed_text(c, bare_request(q));
}

/* The whole body. */

static void read_body(struct http_conn *c)
{
    struct http_req *q = c->q;
    struct http_bytes in = conn_input(c);
    struct err e;
    enum guard_verdict v = guard_body(&q->guard, in.p, &in.n, &e);
    conn_cut(c, in.n);
    if (v == GUARD_BAD) {
        refuse(c, &e);
    } else if (v == GUARD_DONE) {
        conn_feed(c, q->guard.head_n + (size_t)q->guard.body_n);
    } else if (c->state != CONN_BODY) {
        c->state = CONN_BODY;
        http_wait(c, WAIT_BODY);
        size_t left = q->guard.chunked ? 0 : (size_t)q->guard.left;
        conn_reserve(c, left < RESERVE_MAX ? left : RESERVE_MAX);
    }
}

/* The body in pieces. */

static void tell_piece(struct http_req *q, struct str piece, bool last, const struct err *e)
{
    q->wants_piece = false;
    q->body_told = last || e != NULL;
    q->on_piece(q->on_piece_arg, piece, last, e);
}

static void tell_end(struct http_req *q, enum err_code code, const char *why)
{
    struct err e;
    err_fail(&e, code, "the body did not arrive whole: %s", why);
    tell_piece(q, (struct str){NULL, 0}, false, &e);
}

/* The handler may answer while it looks at a piece, and the connection may end with that: meanwhile the bytes are nobody's
 * but ours. False: more must come first. */
static bool feed_piece(struct http_conn *c, struct http_req *q)
{
    struct http_bytes in = conn_input(c);
    struct str piece;
    size_t used;
    struct err e;
    if (in.n == 0)
        return false;
    void *taken = conn_take(c);
    enum guard_verdict v = guard_piece(&q->guard, in.p, in.n, &piece, &used, &e);
    q->body_done = v == GUARD_DONE;
    if (v == GUARD_BAD)
        tell_piece(q, (struct str){NULL, 0}, false, &e);
    else if (piece.n > 0)
        tell_piece(q, piece, false, NULL);
    conn_give_back(c, taken, used);
    return v != GUARD_MORE || piece.n > 0;
}

static void wait_for_piece(struct http_conn *c, struct http_req *q)
{
    if (c->eof) {
        tell_end(q, ERR_BAD_INPUT, "the client has stopped sending");
        return;
    }
    if (q->guard.expect_continue && !q->begun)
        conn_continue(c);
    q->guard.expect_continue = false;
    http_wait(c, WAIT_BODY);
}

void http_input_piece(struct http_conn *c, struct http_req *q)
{
    http_wait_no_more(c);
    while (q->tx != NULL && q->wants_piece && !q->body_told && !q->answered) {
        if (q->body_done) {
            tell_piece(q, (struct str){NULL, 0}, true, NULL);
        } else if (!feed_piece(c, q)) {
            wait_for_piece(c, q);
            break;
        }
    }
    if (c->open && c->state == CONN_BUSY && c->q == q)
        conn_read_on(c);
}

void http_tx_read(struct http_req *q)
{
    if (q->answered || q->body_told)
        return;
    if (q->tx == NULL) {
        tell_end(q, ERR_CANCELLED, "the client left");
    } else if (!q->http2) {
        http_input_piece(http_tx_conn(q), q);
    } else if (q->body.n > 0) {
        struct str all = q->body;
        q->body.n = 0;
        tell_piece(q, all, false, NULL);
    } else {
        tell_piece(q, (struct str){NULL, 0}, true, NULL);
    }
}

static void start_stream(struct http_conn *c)
{
    struct http_req *q = c->q;
    size_t skip;
    guard_strip_framing(&q->guard, conn_input(c).p, &skip);
    conn_drop(c, skip);
    q->body_done = !guard_has_body(&q->guard);
    char *head = http_req_bytes(q, q->guard.head_n);
    memcpy(head, conn_input(c).p, q->guard.head_n);
    conn_drop(c, q->guard.head_n);
    q->base = head;
    conn_feed_text(c, (struct str){head, q->guard.head_n});
}

/* WebSockets. */

/* A copy of the descriptor goes to the hub, or over TLS one end of a pair of sockets. */
static bool to_hub(struct http_conn *c, struct str handshake, struct err *e)
{
    if (c->tls) {
        if (!http_bridge_open(c, handshake, e))
            return false;
        http_req_release(c->q);
        c->q = NULL;
        conn_drop(c, conn_input(c).n);
        c->state = CONN_BRIDGE;
        http_wait_no_more(c);
        return true;
    }
    int fd = fcntl(conn_fd(c), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(e, "cannot copy a descriptor");
    conn_close(c);
    struct err late;
    if (!hub_adopt(fd, handshake, &late))
        log_info("http", "websocket_not_taken", "error=%s", log_quotez(late.text));
    return true;
}

static bool may_connect(struct http_conn *c, struct buf *handshake, struct err *e)
{
    const struct http_req *q = c->q;
    const struct http_options *o = http_settings();
    if (conn_input(c).n > q->guard.head_n)
        return err_fail(e, ERR_BAD_INPUT, "bytes follow the handshake before it was answered");
    if (!http_handshake(q, hub_protocol(http_path(q)), handshake, e))
        return false;
    return o->authorize_websocket == NULL ||
           o->authorize_websocket(http_path(q), http_header(q, "origin"), http_header(q, "host"),
                                  http_header(q, "authorization"), http_header(q, "cookie"), e);
}

static void on_websocket(struct http_conn *c)
{
    static struct buf handshake;
    struct err e;
    buf_clear(&handshake);
    if (!may_connect(c, &handshake, &e) || !to_hub(c, buf_view(&handshake), &e))
        refuse(c, &e);
}

/* Heads. */

static bool body_is_complete(struct http_conn *c)
{
    const struct guard *g = &c->q->guard;
    return !g->chunked && conn_input(c).n - g->head_n >= g->left;
}

/* The body may come: tells a client that asked. */
static void expect_body(struct http_conn *c)
{
    struct guard *g = &c->q->guard;
    if (g->expect >= 0) {
        bool wanted = g->expect_continue && guard_has_body(g) && conn_input(c).n == g->head_n;
        size_t skip;
        guard_strip_expect(g, conn_input(c).p, &skip);
        conn_drop(c, skip);
        if (wanted)
            conn_continue(c);
    }
    read_body(c);
}

static void on_head(struct http_conn *c)
{
    struct http_req *q = c->q;
    struct err e;
    q->base = conn_input(c).p;
    q->secure = c->tls;
    if (q->guard.websocket && hub_serves(http_path(q))) {
        on_websocket(c);
        return;
    }
    http_req_route(q);
    if (!guard_limit(&q->guard, http_req_max_body(q), &e))
        refuse(c, &e);
    else if (http_req_streams(q))
        start_stream(c);
    else if (guard_has_body(&q->guard) && !body_is_complete(c) && !http_req_allowed(q, &e))
        refuse(c, &e);
    else
        expect_body(c);
}

/* False: nothing but an empty line or two has come. */
static bool begin_request(struct http_conn *c)
{
    struct http_bytes in = conn_input(c);
    while (in.n >= 2 && memcmp(in.p, "\r\n", 2) == 0 && c->blank_lines++ < BLANK_LINES_MAX) {
        conn_drop(c, 2);
        in = conn_input(c);
    }
    if (in.n == 0 && c->eof)
        conn_close(c);
    if (in.n == 0 || (in.n == 1 && in.p[0] == '\r'))
        return false;
    c->q = http_req_new();
    c->blank_lines = 0;
    if (c->reused) /* else it runs since the connection came */
        http_wait(c, WAIT_HEAD);
    return true;
}

static void read_head(struct http_conn *c)
{
    if (c->q == NULL && !begin_request(c))
        return;
    struct http_bytes in = conn_input(c);
    size_t skip;
    struct err e;
    enum guard_verdict v = guard_head(&c->q->guard, in.p, in.n, &skip, &e);
    if (skip > 0)
        conn_drop(c, skip);
    if (v == GUARD_BAD)
        refuse(c, &e);
    else if (v == GUARD_DONE)
        on_head(c);
    else if (c->eof)
        conn_close(c);
}

void http_input(struct http_conn *c)
{
    switch (c->state) {
    case CONN_HEAD: read_head(c); break;
    case CONN_BODY: read_body(c); break;
    case CONN_BUSY:
        if (c->q->wants_piece)
            http_input_piece(c, c->q);
        break;
    case CONN_BRIDGE: http_bridge_input(c); break;
    case CONN_TLS:
    case CONN_ENDING:
    case CONN_H2: break;
    }
}

/* Did the client only close its sending side, and may still read? */
static bool still_listens(const struct http_conn *c)
{
    struct tcp_info info;
    socklen_t n = sizeof info;
    return getsockopt(conn_fd(c), IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
           info.tcpi_state == TCP_CLOSE_WAIT;
}

void http_input_end(struct http_conn *c)
{
    c->eof = true;
    if (c->state == CONN_ENDING)
        return;
    if (c->state != CONN_BUSY) {
        conn_close(c);
        return;
    }
    conn_pause(c);
    struct http_req *q = c->q;
    if (q->events || !still_listens(c))
        conn_close(c);
    else if (q->wants_piece)
        http_input_piece(c, q);
}

/* Deadlines that passed. */

static void slow(struct http_conn *c, const char *what)
{
    struct err e;
    err_fail(&e, ERR_TIMEOUT, "the request's %s did not arrive in time", what);
    if (c->q == NULL)
        conn_close(c);
    else if (c->state == CONN_BUSY)
        tell_piece(c->q, (struct str){NULL, 0}, false, &e);
    else
        refuse(c, &e);
}

void http_input_late(struct http_conn *c, enum wait_kind kind)
{
    switch (kind) {
    case WAIT_HEAD: slow(c, "head"); break;
    case WAIT_BODY: slow(c, "body"); break;
    case WAIT_IDLE:
    case WAIT_WRITE:
    case WAITS: conn_close(c); break;
    }
}
