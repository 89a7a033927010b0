/* SPDX-License-Identifier: Apache-2.0 */
/* The connections of the public port: what stands between a socket and h2o.
 *
 * h2o 2.2.5 reads HTTP/1 too generously to be shown what comes from outside, and it can't be taught better without
 * its internals. So each connection's bytes are kept from it: our read callback collects them (`sock->input`), the guard judges
 * them, and only a buffer with exactly one complete message ("held") is put in their place while h2o runs; all that follows
 * waits aside. enter() and leave() swap the two, around every call into h2o and every callback of h2o's that we
 * let happen. Its write callback is replaced by ours when an answer starts, so that we see the
 * answer's end at once and take the read callback back before another byte is read: in the poll phase of libuv the next
 * read may come without any turn of the loop between (a prepare handle would be too late).
 *
 * A message that is refused never reaches h2o: a bare request of our own goes in its place, so that the refusal is
 * answered in order, by the one way of answering, and then the connection is closed; lingering a little, or the answer
 * would be lost to a reset while the client still sends.
 *
 * libuv reports a write on a socket whose reading failed only by uv_write's return value, which h2o ignores: after
 * each send we look and call the callback ourselves, else the request would never end.
 *
 * HTTP/2 (off by default) goes to h2o unguarded by us, but for its resets, which are counted frame by frame:
 * without that, one connection can make and cancel millions of requests a second (CVE-2023-44487). */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/http_int.h"
#include "net/hub.h"
#include "net/loop.h"

enum {
    INPUT_FIRST = 16384,   /* a usual push arrives in one read */
    INPUT_AHEAD = 65536,   /* read beyond a request that is being answered */
    RESERVE_MAX = 1 << 20, /* of an announced body, before any of it came */
    BLANK_LINES_MAX = 4,
    LISTEN_BACKLOG = 4096,
};

enum conn_state {
    CONN_TLS,    /* shaking hands */
    CONN_HEAD,   /* no request, or a part of a head */
    CONN_BODY,   /* a good head, a part of its body */
    CONN_BUSY,   /* h2o has the request */
    CONN_ENDING, /* h2o closes, or closed, its side */
    CONN_H2,
};

struct http_conn {
    uv_tcp_t tcp; /* first: on_closed gets it */
    enum conn_state state;
    h2o_socket_t *sock; /* NULL once it is closed */
    struct list link;   /* all */
    struct list waits;  /* in one of the deadlines' lists */
    int64_t deadline_us;
    struct http_req *q;     /* the request of the first bytes of the input */
    h2o_buffer_t *held;     /* what h2o is shown; while it runs: the rest */
    int entered;            /* depth of enter() */
    h2o_socket_cb h2o_read; /* h2o's callbacks, that ours stand for */
    h2o_socket_cb h2o_write;
    size_t queued; /* unwritten bytes when the deadline was set */
    int blank_lines;
    int linger_fd;   /* -1: none */
    bool eof;        /* the client sends no more */
    bool continuing; /* "100 Continue" is being written */
    char peer[INET6_ADDRSTRLEN];
};

/* The transport's side of an exchange; lives in the memory of h2o's request. */
struct http_tx {
    h2o_generator_t gen; /* first: h2o gives it back */
    h2o_req_t *h2o;
    struct http_req *q;
    struct http_conn *c;
    bool started;
    bool sending;
    bool last;    /* the end was given to h2o */
    bool put_off; /* waits for the "100 Continue" to be out */
    bool put_off_last;
    struct str put_off_bytes;
};

enum { WAIT_HEAD, WAIT_BODY, WAIT_IDLE, WAIT_WRITE, WAITS };

static struct {
    bool started;
    struct http_options o;
    char *static_dir; /* the only string of them that is used after the start */
    const struct http_route *routes;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    SSL_CTX *tls;
    uv_tcp_t listener;
    int port;
    struct list conns;
    int conns_n;
    int64_t wait_ms[WAITS];
    struct list waiting[WAITS];
    struct timer *timers[WAITS];
    int64_t full_logged_us;
    bool stopping;
    struct timer *grace;
    void (*stopped)(void *arg);
    void *stopped_arg;
} self;

const struct http_options *http_settings(void)
{
    return &self.o;
}

const struct http_route *http_routes(void)
{
    return self.routes;
}

int http_port(void)
{
    return self.port;
}

static void on_input(struct http_conn *c);
static void on_read(h2o_socket_t *sock, const char *err);
static void on_written(h2o_socket_t *sock, const char *err);
static void conn_close(struct http_conn *c);
static void refuse(struct http_conn *c, const struct err *e);
static void on_all_closed(void *arg);

/* Deadlines: one list for each kind, all of its entries with the same length, so that its first is due first and
 * one timer serves it. */

static void no_deadline(struct http_conn *c)
{
    list_remove(&c->waits);
}

static void set_deadline(struct http_conn *c, int kind)
{
    list_remove(&c->waits);
    list_append(&self.waiting[kind], &c->waits);
    c->deadline_us = loop_now_us() + self.wait_ms[kind] * 1000;
    if (!timer_armed(self.timers[kind]))
        timer_arm(self.timers[kind], self.wait_ms[kind]);
}

static void arm_for_first(int kind)
{
    if (list_empty(&self.waiting[kind]))
        return;
    struct http_conn *c = container_of(self.waiting[kind].next, struct http_conn, waits);
    timer_arm(self.timers[kind], (c->deadline_us - loop_now_us()) / 1000 + 1);
}

static struct http_conn *overdue(int kind)
{
    if (list_empty(&self.waiting[kind]))
        return NULL;
    struct http_conn *c = container_of(self.waiting[kind].next, struct http_conn, waits);
    if (c->deadline_us > loop_now_us())
        return NULL;
    list_remove(&c->waits);
    return c;
}

/* Into h2o and out again. */

static void swap_input(struct http_conn *c)
{
    h2o_buffer_t *input = c->sock->input;
    c->sock->input = c->held;
    c->held = input;
}

static void enter(struct http_conn *c)
{
    if (c->entered++ == 0 && c->sock != NULL)
        swap_input(c);
}

/* What came behind the message that h2o has. */
static h2o_buffer_t **rest_of(struct http_conn *c)
{
    return c->entered > 0 ? &c->held : &c->sock->input;
}

static bool writable(const struct http_conn *c)
{
    return uv_is_writable((const uv_stream_t *)&c->tcp) != 0;
}

/* Reads on while h2o has a request, to see the client leave and to take a streamed body. */
static void read_ahead(struct http_conn *c)
{
    if (c->eof || c->sock->_cb.read != NULL || c->sock->input->size >= INPUT_AHEAD)
        return;
    h2o_socket_read_start(c->sock, on_read);
}

static void settle(struct http_conn *c)
{
    if (c->state == CONN_BUSY && c->q == NULL) {
        /* h2o has answered and waits for the next request, by its own callback. */
        must(c->sock->_cb.read != NULL && c->held->size == 0);
        c->h2o_read = c->sock->_cb.read;
        c->sock->_cb.read = on_read;
        c->state = CONN_HEAD;
        set_deadline(c, WAIT_IDLE);
        on_input(c);
    } else if (c->state == CONN_BUSY && c->q->tx == NULL) {
        log_error("http", "h2o_disagrees", "peer=%s", c->peer);
        c->state = CONN_ENDING;
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
        set_deadline(c, WAIT_WRITE);
    } else if (c->state == CONN_BUSY) {
        read_ahead(c);
    } else if (c->state == CONN_ENDING && c->sock->_cb.write != NULL && !writable(c)) {
        /* TLS says goodbye on a broken socket: libuv will never tell that it failed. */
        c->sock->_cb.write(c->sock, h2o_socket_error_io);
    }
}

static void leave(struct http_conn *c)
{
    if (--c->entered > 0 || c->sock == NULL)
        return;
    swap_input(c);
    settle(c);
}

/* Shows h2o the one message that is held. */
static void feed(struct http_conn *c)
{
    no_deadline(c);
    c->state = CONN_BUSY;
    enter(c);
    if (c->h2o_read == NULL) {
        struct timeval now;
        gettimeofday(&now, NULL);
        h2o_http1_accept(&self.accept, c->sock, now);
    } else {
        c->sock->_cb.read = c->h2o_read;
        c->h2o_read(c->sock, NULL);
    }
    leave(c);
}

/* The bytes stay with the request, whose handler may answer long after the connection is gone. */
static void hold_message(struct http_conn *c, size_t n)
{
    h2o_buffer_t *rest;
    h2o_buffer_init(&rest, &h2o_socket_buffer_prototype);
    h2o_buffer_t *input = c->sock->input;
    if (input->size > n) {
        size_t rest_n = input->size - n;
        memcpy(h2o_buffer_reserve(&rest, rest_n).base, input->bytes + n, rest_n);
        rest->size = rest_n;
        input->size = n;
    }
    must(c->held->size == 0);
    c->held = input;
    c->sock->input = rest;
    c->q->base = input->bytes;
}

static void hold_text(struct http_conn *c, struct str text)
{
    must(c->held->size == 0);
    memcpy(h2o_buffer_reserve(&c->held, text.n).base, text.p, text.n);
    c->held->size = text.n;
}

void http_tx_free_kept(void *kept)
{
    h2o_buffer_t *buffer = kept;
    h2o_buffer_dispose(&buffer);
}

/* Called by h2o when it is through with a request, whatever the reason. */
static void on_disposed(void *arg)
{
    struct http_tx *tx = arg;
    struct http_req *q = tx->q;
    struct http_conn *c = tx->c;
    q->tx = NULL;
    if (!q->answered)
        http_req_gone(q);
    if (c->state != CONN_H2) {
        must(c->entered > 0 && c->q == q);
        c->q = NULL;
        if (!tx->last || !tx->h2o->http1_is_persistent) {
            c->state = CONN_ENDING;
            q->kept = c->sock->input;
            h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
            set_deadline(c, WAIT_WRITE);
        }
    }
    http_req_release(q);
}

/* The answer. */

static void on_proceed(h2o_generator_t *gen, h2o_req_t *h2o)
{
    (void)h2o;
    struct http_tx *tx = (struct http_tx *)(void *)gen;
    tx->sending = false;
    if (!tx->last)
        http_req_sent(tx->q);
}

static bool body_is_here(struct http_conn *c, const struct http_req *q)
{
    return q->body_done || (!q->guard.chunked && (*rest_of(c))->size >= q->guard.left);
}

void http_tx_start(struct http_req *q, const char *reason, size_t length)
{
    struct http_tx *tx = q->tx;
    if (tx == NULL)
        return;
    h2o_req_t *h2o = tx->h2o;
    h2o->res.status = q->status;
    h2o->res.reason = reason;
    h2o->res.content_length = length;
    for (size_t i = 0; i < q->headers_n; i++) {
        const struct http_pair *h = &q->headers[i];
        h2o_add_header_by_str(&h2o->pool, &h2o->res.headers, h->name.p, h->name.n, 1, NULL,
                              h->value.p, h->value.n);
    }
    bool h1 = tx->c->state != CONN_H2;
    if (self.stopping || (h1 && http_req_streams(q) && !body_is_here(tx->c, q)) ||
        (q->head && length == SIZE_MAX))
        h2o->http1_is_persistent = 0;
    tx->started = true;
    tx->gen.proceed = on_proceed;
    h2o_start_response(h2o, &tx->gen);
}

/* After h2o wrote: its callback becomes ours. */
static void take_write(struct http_conn *c)
{
    h2o_socket_t *sock = c->sock;
    if (sock == NULL || c->state != CONN_BUSY || sock->_cb.write == NULL ||
        sock->_cb.write == on_written)
        return;
    c->h2o_write = sock->_cb.write;
    sock->_cb.write = on_written;
    c->queued = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
    if (!writable(c)) {
        sock->_cb.write = NULL;
        on_written(sock, h2o_socket_error_io);
    } else if (c->queued > 0) {
        set_deadline(c, WAIT_WRITE);
    }
}

static void send_now(struct http_tx *tx, struct str bytes, h2o_send_state_t state)
{
    struct http_conn *c = tx->c;
    h2o_iovec_t v = h2o_iovec_init(bytes.p, bytes.n);
    tx->sending = true;
    tx->last = state != H2O_SEND_STATE_IN_PROGRESS;
    if (c->state == CONN_H2) {
        h2o_send(tx->h2o, &v, bytes.n > 0, state);
        return;
    }
    enter(c);
    h2o_send(tx->h2o, &v, bytes.n > 0, state);
    take_write(c);
    leave(c);
}

/* What is left of a streamed body that nobody wants any more: it must not be taken for a request. */
static void skip_body(struct http_conn *c, struct http_req *q)
{
    if (!http_req_streams(q) || q->refusal != NULL || q->body_done)
        return;
    size_t left = (size_t)q->guard.left;
    must(body_is_here(c, q));
    h2o_buffer_consume(rest_of(c), left);
    q->body_done = q->body_told = true;
}

void http_tx_send(struct http_req *q, struct str bytes, bool last)
{
    struct http_tx *tx = q->tx;
    if (tx == NULL)
        return;
    must(tx->started && !tx->sending && !tx->last);
    if (last && tx->c->state != CONN_H2 && tx->h2o->http1_is_persistent)
        skip_body(tx->c, q);
    if (tx->c->continuing) {
        tx->sending = tx->put_off = true;
        tx->put_off_last = last;
        tx->put_off_bytes = bytes;
        return;
    }
    send_now(tx, bytes, last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

bool http_tx_sending(const struct http_req *q)
{
    return q->tx != NULL && q->tx->sending;
}

/* A client that still sends when the connection is closed would get a reset, and with it lose the answer: a second
 * descriptor keeps the connection half open until the client has read it. */
static void keep_open(struct http_conn *c)
{
    const struct http_req *q = c->q;
    if (q == NULL || q->tx == NULL || !q->tx->last || q->tx->h2o->http1_is_persistent)
        return;
    bool sends_on =
        q->refusal != NULL || c->sock->input->size > 0 || (http_req_streams(q) && !q->body_done);
    if (sends_on && !c->eof && c->linger_fd < 0)
        c->linger_fd = fcntl(h2o_socket_get_fd(c->sock), F_DUPFD_CLOEXEC, 0);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->on_close.data;
    h2o_socket_cb h2o_write = c->h2o_write;
    c->h2o_write = NULL;
    no_deadline(c);
    if (c->entered == 0)
        keep_open(c);
    enter(c);
    h2o_write(sock, err);
    leave(c);
}

/* Ends an exchange that the client will not see the end of. */
static void abort_exchange(struct http_conn *c)
{
    struct http_tx *tx = c->q->tx;
    shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
    if (tx == NULL || (tx->sending && !tx->put_off))
        return; /* what is being written fails now, and with it the rest */
    tx->put_off = false;
    tx->h2o->http1_is_persistent = 0;
    if (!tx->started) {
        c->q->status = 500;
        http_tx_start(c->q, "Internal Server Error", 0);
    }
    send_now(tx, STR(""), H2O_SEND_STATE_ERROR);
}

/* Closing. */

static void conn_close(struct http_conn *c)
{
    if (c->sock == NULL)
        return;
    switch (c->state) {
    case CONN_BUSY: abort_exchange(c); return;
    case CONN_H2:
    case CONN_ENDING:
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
        enter(c);
        leave(c);
        return;
    case CONN_TLS:
    case CONN_HEAD:
    case CONN_BODY: break;
    }
    c->state = CONN_ENDING;
    if (c->h2o_read == NULL) {
        h2o_socket_close(c->sock);
        return;
    }
    enter(c);
    c->sock->_cb.read = c->h2o_read;
    c->h2o_read(c->sock, h2o_socket_error_closed);
    leave(c);
}

static void on_sock_closed(void *arg)
{
    struct http_conn *c = arg;
    c->sock = NULL;
    list_remove(&c->waits);
    list_remove(&c->link);
    h2o_buffer_dispose(&c->held);
    metric_set_for(METRIC_CONNECTIONS, "http", --self.conns_n);
    if (c->q != NULL)
        http_req_release(c->q);
    c->q = NULL;
    if (c->linger_fd >= 0)
        http_linger(c->linger_fd);
    if (self.stopping && self.conns_n == 0)
        loop_defer(on_all_closed, NULL);
}

static void on_handle_closed(uv_handle_t *handle)
{
    mem_free(container_of(handle, struct http_conn, tcp));
}

/* Requests that h2o has read. */

static bool same(h2o_iovec_t a, struct str b)
{
    return a.len == b.n && memcmp(a.base, b.p, b.n) == 0;
}

/* h2o must have understood what the guard did. */
static bool same_view(const struct http_req *q, const h2o_req_t *h2o)
{
    return same(h2o->input.method, http_method_name(q)) &&
           same(h2o->input.path, guard_target(&q->guard, q->base)) &&
           h2o->entity.len == q->body.n && (q->body.n == 0 || h2o->entity.base == q->body.p);
}

static void add_h2_field(struct http_req *q, struct buf *text, h2o_iovec_t name, h2o_iovec_t value)
{
    struct guard *g = &q->guard;
    if (g->fields_n == GUARD_FIELDS)
        return;
    g->fields[g->fields_n++] =
        (struct guard_field){(uint32_t)text->n, (uint32_t)(text->n + name.len + 1),
                             (uint32_t)name.len, (uint32_t)value.len};
    buf_add(text, name.base, name.len);
    buf_char(text, ' ');
    buf_add(text, value.base, value.len);
    buf_char(text, '\n');
}

/* An HTTP/2 request has no bytes that could be kept: it is written down as the guard would have left it. */
static struct http_req *copy_h2_request(const h2o_req_t *h2o)
{
    struct http_req *q = http_req_new();
    struct buf text = {0};
    buf_add(&text, h2o->input.method.base, h2o->input.method.len);
    buf_char(&text, ' ');
    buf_add(&text, h2o->input.path.base, h2o->input.path.len);
    buf_char(&text, '\n');
    q->http2 = q->secure = q->body_done = true;
    q->guard.method_n = (uint32_t)h2o->input.method.len;
    q->guard.target = q->guard.method_n + 1;
    q->guard.target_n = (uint32_t)h2o->input.path.len;
    add_h2_field(q, &text, h2o_iovec_init(H2O_STRLIT("host")), h2o->input.authority);
    for (size_t i = 0; i < h2o->headers.size; i++)
        add_h2_field(q, &text, *h2o->headers.entries[i].name, h2o->headers.entries[i].value);
    q->guard.head_n = text.n;
    char *p = http_req_bytes(q, text.n);
    memcpy(p, text.p, text.n);
    buf_finish(&text);
    q->base = p;
    q->body = http_req_dup(q, (struct str){h2o->entity.base, h2o->entity.len});
    struct err e;
    if (q->guard.target_n == 0 || q->base[q->guard.target] != '/') {
        err_fail(&e, ERR_BAD_INPUT, "the request's path does not begin with a slash");
        http_req_refuse(q, &e);
    } else if (h2o->headers.size >= GUARD_FIELDS) {
        err_fail(&e, ERR_HEADER_TOO_LARGE, "the request has more than %d headers", GUARD_FIELDS);
        http_req_refuse(q, &e);
    }
    http_req_route(q);
    uint64_t max = http_req_max_body(q);
    if (q->refusal == NULL && q->body.n > max) {
        err_fail(&e, ERR_TOO_LARGE, "the body is larger than %llu bytes", (unsigned long long)max);
        http_req_refuse(q, &e);
    }
    return q;
}

static int on_request(h2o_handler_t *handler, h2o_req_t *h2o)
{
    (void)handler;
    struct http_conn *c = h2o->conn->callbacks->get_socket(h2o->conn)->on_close.data;
    struct http_req *q = c->state == CONN_H2 ? copy_h2_request(h2o) : c->q;
    if (c->state != CONN_H2 && q->refusal == NULL && !same_view(q, h2o))
        return 0; /* settle() sees that nobody has taken it, and closes */
    struct http_tx *tx = h2o_mem_alloc_shared(&h2o->pool, sizeof *tx, on_disposed);
    memset(tx, 0, sizeof *tx);
    tx->h2o = h2o;
    tx->q = q;
    tx->c = c;
    q->tx = tx;
    q->peer = http_req_dup(q, str_of(c->peer));
    q->secure = c->sock->ssl != NULL;
    if (!q->guard.keep_alive || q->refusal != NULL)
        h2o->http1_is_persistent = 0;
    http_req_run(q);
    return 0;
}

/* Input: what the guard has to judge. */

static struct str bare_request(const struct http_req *q)
{
    if (q->guard.target_n > 0 && str_is(http_method_name(q), "HEAD"))
        return STR("HEAD / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
    return STR("GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n");
}

/* Of the request as it came, the head's good lines stay, for the route and for whoever records it. */
static void refuse(struct http_conn *c, const struct err *e)
{
    struct http_req *q = c->q;
    h2o_buffer_t *input = c->sock->input;
    size_t head_n = q->guard.head_n > 0 ? q->guard.head_n : q->guard.line;
    q->base = http_req_bytes(q, head_n);
    memcpy(q->base, input->bytes, head_n);
    if (q->guard.target_n > 0)
        http_req_route(q);
    http_req_refuse(q, e);
    h2o_buffer_consume(&c->sock->input, input->size);
    hold_text(c, bare_request(q));
    feed(c);
}

static void on_continued(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->on_close.data;
    c->continuing = false;
    if (err != NULL) {
        conn_close(c);
        return;
    }
    struct http_tx *tx = c->q != NULL ? c->q->tx : NULL;
    if (tx == NULL || !tx->put_off)
        return;
    tx->put_off = false;
    send_now(tx, tx->put_off_bytes,
             tx->put_off_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

static void send_continue(struct http_conn *c)
{
    h2o_iovec_t text = h2o_iovec_init(H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n"));
    if (c->continuing || c->sock->_cb.write != NULL || !writable(c))
        return;
    c->continuing = true;
    h2o_socket_write(c->sock, &text, 1, on_continued);
}

static void read_body(struct http_conn *c)
{
    struct http_req *q = c->q;
    h2o_buffer_t *input = c->sock->input;
    struct err e;
    enum guard_verdict v = guard_body(&q->guard, input->bytes, &input->size, &e);
    if (v == GUARD_BAD) {
        q->base = input->bytes;
        refuse(c, &e);
    } else if (v == GUARD_DONE) {
        size_t body_n = (size_t)q->guard.body_n;
        hold_message(c, q->guard.head_n + body_n);
        q->body = (struct str){q->base + q->guard.head_n, body_n};
        feed(c);
    } else if (c->state != CONN_BODY) {
        c->state = CONN_BODY;
        set_deadline(c, WAIT_BODY);
        size_t left = q->guard.chunked ? 0 : (size_t)q->guard.left;
        if (left > input->capacity / 2)
            h2o_buffer_reserve(&c->sock->input, left < RESERVE_MAX ? left : RESERVE_MAX);
    }
}

static void drop_front(struct http_conn *c, size_t n)
{
    h2o_buffer_consume(&c->sock->input, n);
    if (c->q != NULL)
        c->q->base = c->sock->input->bytes;
}

static void start_stream(struct http_conn *c)
{
    struct http_req *q = c->q;
    size_t skip;
    guard_strip_framing(&q->guard, c->sock->input->bytes, &skip);
    drop_front(c, skip);
    hold_text(c, (struct str){c->sock->input->bytes, q->guard.head_n});
    h2o_buffer_consume(&c->sock->input, q->guard.head_n);
    q->base = c->held->bytes;
    q->body_done = !guard_has_body(&q->guard);
    feed(c);
}

/* A copy of the descriptor goes to the hub. */
static void to_hub(struct http_conn *c, struct str handshake)
{
    int fd = fcntl(h2o_socket_get_fd(c->sock), F_DUPFD_CLOEXEC, 0);
    conn_close(c);
    struct err e;
    if (fd < 0 || !hub_adopt(fd, handshake, &e))
        log_warn("http", "websocket_not_taken", "error=%s",
                 log_quotez(fd < 0 ? strerror(errno) : e.text));
}

static bool may_connect(struct http_conn *c, struct buf *handshake, struct err *e)
{
    const struct http_req *q = c->q;
    if (c->sock->input->size > q->guard.head_n)
        return err_fail(e, ERR_BAD_INPUT, "bytes follow the handshake before it was answered");
    if (!http_handshake(q, hub_protocol(http_path(q)), handshake, e))
        return false;
    return self.o.authorize_websocket == NULL ||
           self.o.authorize_websocket(http_path(q), http_header(q, "origin"),
                                      http_header(q, "host"), http_header(q, "authorization"),
                                      http_header(q, "cookie"), e);
}

static void on_websocket(struct http_conn *c)
{
    static struct buf handshake;
    struct err e;
    buf_clear(&handshake);
    if (may_connect(c, &handshake, &e))
        to_hub(c, buf_view(&handshake));
    else
        refuse(c, &e);
}

static bool body_is_complete(const struct http_conn *c)
{
    const struct guard *g = &c->q->guard;
    return !g->chunked && c->sock->input->size - g->head_n >= g->left;
}

static void on_head(struct http_conn *c)
{
    struct http_req *q = c->q;
    struct err e;
    q->base = c->sock->input->bytes;
    q->secure = c->sock->ssl != NULL;
    if (q->guard.websocket && hub_serves(http_path(q))) {
        on_websocket(c);
        return;
    }
    http_req_route(q);
    if (!guard_limit(&q->guard, http_req_max_body(q), &e)) {
        refuse(c, &e);
    } else if (http_req_streams(q)) {
        start_stream(c);
    } else if (guard_has_body(&q->guard) && !body_is_complete(c) && !http_req_allowed(q, &e)) {
        refuse(c, &e);
    } else {
        if (q->guard.expect >= 0) {
            bool wanted = q->guard.expect_continue && guard_has_body(&q->guard) &&
                          c->sock->input->size == q->guard.head_n;
            size_t skip;
            guard_strip_expect(&q->guard, c->sock->input->bytes, &skip);
            drop_front(c, skip);
            if (wanted)
                send_continue(c);
        }
        read_body(c);
    }
}

static void read_head(struct http_conn *c)
{
    if (c->q == NULL) {
        while (c->sock->input->size >= 2 && memcmp(c->sock->input->bytes, "\r\n", 2) == 0 &&
               c->blank_lines++ < BLANK_LINES_MAX)
            h2o_buffer_consume(&c->sock->input, 2);
        size_t n = c->sock->input->size;
        if (n == 0 && c->eof)
            conn_close(c);
        if (n == 0 || (n == 1 && c->sock->input->bytes[0] == '\r'))
            return;
        c->q = http_req_new();
        c->blank_lines = 0;
        if (c->h2o_read != NULL) /* else it runs since the connection came */
            set_deadline(c, WAIT_HEAD);
    }
    size_t skip;
    struct err e;
    enum guard_verdict v =
        guard_head(&c->q->guard, c->sock->input->bytes, c->sock->input->size, &skip, &e);
    if (skip > 0)
        drop_front(c, skip);
    if (v == GUARD_BAD)
        refuse(c, &e);
    else if (v == GUARD_DONE)
        on_head(c);
    else if (c->eof)
        conn_close(c);
}

/* Streamed bodies. */

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
 * but ours. */
static bool feed_piece(struct http_conn *c, struct http_req *q)
{
    if (c->sock->input->size == 0)
        return false;
    h2o_buffer_t *mine = c->sock->input;
    h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
    struct str piece;
    size_t used;
    struct err e;
    enum guard_verdict v = guard_piece(&q->guard, mine->bytes, mine->size, &piece, &used, &e);
    q->body_done = v == GUARD_DONE;
    if (v == GUARD_BAD)
        tell_piece(q, (struct str){NULL, 0}, false, &e);
    else if (piece.n > 0)
        tell_piece(q, piece, false, NULL);
    h2o_buffer_consume(&mine, used);
    if (c->sock == NULL) {
        h2o_buffer_dispose(&mine);
    } else {
        must(c->sock->input->size == 0);
        h2o_buffer_dispose(&c->sock->input);
        c->sock->input = mine;
    }
    return v != GUARD_MORE || piece.n > 0;
}

static void feed_pieces(struct http_conn *c, struct http_req *q)
{
    no_deadline(c);
    while (q->tx != NULL && q->wants_piece && !q->body_told && !q->answered) {
        if (q->body_done) {
            tell_piece(q, (struct str){NULL, 0}, true, NULL);
        } else if (!feed_piece(c, q)) {
            if (c->eof) {
                tell_end(q, ERR_BAD_INPUT, "the client has stopped sending");
                break;
            }
            if (q->guard.expect_continue && !q->begun)
                send_continue(c);
            q->guard.expect_continue = false;
            set_deadline(c, WAIT_BODY);
            break;
        }
    }
    if (c->sock != NULL && c->state == CONN_BUSY && c->q == q)
        read_ahead(c);
}

void http_tx_read(struct http_req *q)
{
    if (q->answered || q->body_told)
        return;
    if (q->tx == NULL) {
        tell_end(q, ERR_CANCELLED, "the client left");
    } else if (!q->http2) {
        feed_pieces(q->tx->c, q);
    } else if (q->body.n > 0) {
        struct str all = q->body;
        q->body.n = 0;
        tell_piece(q, all, false, NULL);
    } else {
        tell_piece(q, (struct str){NULL, 0}, true, NULL);
    }
}

static void on_input(struct http_conn *c)
{
    switch (c->state) {
    case CONN_HEAD: read_head(c); break;
    case CONN_BODY: read_body(c); break;
    case CONN_BUSY:
        if (c->q->wants_piece)
            feed_pieces(c, c->q);
        if (c->sock != NULL && c->state == CONN_BUSY && c->sock->_cb.read != NULL &&
            c->sock->input->size >= INPUT_AHEAD)
            h2o_socket_read_stop(c->sock);
        break;
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
    return getsockopt(h2o_socket_get_fd(c->sock), IPPROTO_TCP, TCP_INFO, &info, &n) == 0 &&
           info.tcpi_state == TCP_CLOSE_WAIT;
}

static void on_end_of_input(struct http_conn *c)
{
    c->eof = true;
    if (c->state != CONN_BUSY) {
        if (c->state != CONN_ENDING)
            conn_close(c);
        return;
    }
    h2o_socket_read_stop(c->sock);
    struct http_req *q = c->q;
    bool gone = q->events || !still_listens(c);
    if (!gone && q->wants_piece)
        feed_pieces(c, q);
    else if (gone)
        abort_exchange(c);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->on_close.data;
    if (err != NULL)
        on_end_of_input(c);
    else
        on_input(c);
}

/* Deadlines that passed. */

static void on_head_late(void *arg)
{
    (void)arg;
    for (struct http_conn *c; (c = overdue(WAIT_HEAD)) != NULL;) {
        struct err e;
        err_fail(&e, ERR_TIMEOUT, "the request's head did not arrive within %lld ms",
                 (long long)self.wait_ms[WAIT_HEAD]);
        if (c->q == NULL)
            conn_close(c);
        else
            refuse(c, &e);
    }
    arm_for_first(WAIT_HEAD);
}

static void on_body_late(void *arg)
{
    (void)arg;
    for (struct http_conn *c; (c = overdue(WAIT_BODY)) != NULL;) {
        struct err e;
        err_fail(&e, ERR_TIMEOUT, "the request's body did not arrive within %lld ms",
                 (long long)self.wait_ms[WAIT_BODY]);
        if (c->state == CONN_BODY)
            refuse(c, &e);
        else
            tell_piece(c->q, (struct str){NULL, 0}, false, &e);
    }
    arm_for_first(WAIT_BODY);
}

static void on_idle_long(void *arg)
{
    (void)arg;
    for (struct http_conn *c; (c = overdue(WAIT_IDLE)) != NULL;)
        conn_close(c);
    arm_for_first(WAIT_IDLE);
}

/* A slow reader is given time as long as it reads anything at all. */
static void on_write_late(void *arg)
{
    (void)arg;
    for (struct http_conn *c; (c = overdue(WAIT_WRITE)) != NULL;) {
        size_t queued = uv_stream_get_write_queue_size((uv_stream_t *)&c->tcp);
        if (c->state == CONN_BUSY && queued < c->queued) {
            c->queued = queued;
            set_deadline(c, WAIT_WRITE);
            continue;
        }
        log_info("http", "stalled", "peer=%s bytes=%zu", c->peer, queued);
        if (c->state == CONN_ENDING)
            set_deadline(c, WAIT_WRITE); /* until libuv tells */
        conn_close(c);
    }
    arm_for_first(WAIT_WRITE);
}

/* TLS. */

static char h2_name[] = "h2";
static char http1_name[] = "http/1.1";
static const h2o_iovec_t with_http2[] = {{h2_name, 2}, {http1_name, 8}, {NULL, 0}};
static const h2o_iovec_t without_http2[] = {{http1_name, 8}, {NULL, 0}};

static bool tls_error(struct err *e, const char *what, const char *file)
{
    char text[160] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    ERR_clear_error();
    return err_fail(e, ERR_CONFIG, "cannot use the %s %s: %s", what, file, text);
}

static bool start_tls(const struct http_options *o, struct err *e)
{
    if (o->tls_cert == NULL)
        return true;
    if (o->tls_key == NULL)
        return err_fail(e, ERR_CONFIG, "tls_cert is set, but tls_key is not");
    self.tls = SSL_CTX_new(TLS_server_method());
    must(self.tls != NULL);
    SSL_CTX_set_min_proto_version(self.tls, TLS1_2_VERSION);
    SSL_CTX_set_options(self.tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(self.tls, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(self.tls, o->tls_cert) != 1)
        return tls_error(e, "certificate", o->tls_cert);
    if (SSL_CTX_use_PrivateKey_file(self.tls, o->tls_key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(self.tls) != 1)
        return tls_error(e, "private key", o->tls_key);
    h2o_ssl_register_alpn_protocols(self.tls, o->http2 ? with_http2 : without_http2);
    return true;
}

static void start_reading(struct http_conn *c)
{
    c->state = CONN_HEAD;
    h2o_socket_read_start(c->sock, on_read);
    if (c->sock->input->size > 0)
        on_input(c);
}

static void on_tls(h2o_socket_t *sock, const char *err)
{
    struct http_conn *c = sock->on_close.data;
    if (err != NULL) {
        log_debug("http", "tls_failed", "peer=%s error=%s", c->peer, log_quotez(err));
        c->state = CONN_ENDING;
        h2o_socket_close(sock);
        return;
    }
    start_reading(c);
}

/* Start and stop. */

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0)
        return;
    struct http_conn *c = mem_new(struct http_conn);
    c->linger_fd = -1;
    list_init(&c->link);
    list_init(&c->waits);
    must(uv_tcp_init(loop_uv(), &c->tcp) == 0);
    bool full = self.conns_n >= self.o.max_connections;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0 || full) {
        if (full && loop_now_us() - self.full_logged_us > 1000000) {
            self.full_logged_us = loop_now_us();
            log_warn("http", "too_many_connections", "max=%d", self.o.max_connections);
        }
        uv_close((uv_handle_t *)&c->tcp, on_handle_closed);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    struct sockaddr_storage peer;
    int peer_n = sizeof peer;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&peer, &peer_n) == 0)
        uv_ip_name((struct sockaddr *)&peer, c->peer, sizeof c->peer);
    h2o_buffer_init(&c->held, &h2o_socket_buffer_prototype);
    list_append(&self.conns, &c->link);
    metric_set_for(METRIC_CONNECTIONS, "http", ++self.conns_n);
    c->sock = h2o_uv_socket_create((uv_stream_t *)&c->tcp, on_handle_closed);
    c->sock->on_close.cb = on_sock_closed;
    c->sock->on_close.data = c;
    set_deadline(c, WAIT_HEAD);
    if (self.tls == NULL)
        start_reading(c);
    else
        h2o_socket_ssl_handshake(c->sock, self.tls, NULL, on_tls);
}

static bool listen_at(const struct addrinfo *a, const struct http_options *o, struct err *e)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0)
        return err_errno(e, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (o->reuseport)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    struct sockaddr_storage at = {0};
    socklen_t at_n = sizeof at;
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &at_n) != 0) {
        err_errno(e, "cannot listen on %s, port %d", o->host, o->port);
        close(fd);
        return false;
    }
    self.port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                               : ((struct sockaddr_in *)&at)->sin_port);
    must(uv_tcp_init(loop_uv(), &self.listener) == 0);
    must(uv_tcp_open(&self.listener, fd) == 0);
    int rc = uv_listen((uv_stream_t *)&self.listener, LISTEN_BACKLOG, on_connection);
    if (rc == 0)
        return true;
    uv_close((uv_handle_t *)&self.listener, NULL);
    return err_fail(e, ERR_SYSTEM, "cannot listen on %s, port %d: %s", o->host, o->port,
                    uv_strerror(rc));
}

static bool start_listening(const struct http_options *o, struct err *e)
{
    char port[16];
    snprintf(port, sizeof port, "%d", o->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    int rc = getaddrinfo(o->host, port, &hints, &found);
    if (rc != 0)
        return err_fail(e, ERR_CONFIG, "cannot listen on %s: %s", o->host, gai_strerror(rc));
    bool ok = listen_at(found, o, e);
    freeaddrinfo(found);
    return ok;
}

static void start_h2o(const struct http_options *o)
{
    h2o_socket_buffer_prototype._initial_buf.capacity = INPUT_FIRST;
    h2o_config_init(&self.config);
    self.config.server_name = h2o_iovec_init(H2O_STRLIT(""));
    self.config.max_request_entity_size = o->max_body;
    self.config.http1.req_timeout = 10LL * 365 * 24 * 3600 * 1000; /* the deadlines are ours */
    self.config.http1.upgrade_to_http2 = 0;
    self.config.http2.idle_timeout = (uint64_t)o->idle_timeout_ms;
    self.config.http2.max_concurrent_requests_per_connection = 32;
    h2o_hostconf_t *host =
        h2o_config_register_host(&self.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    path->error_log.emit_request_errors = 0;
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_context_init(&self.context, loop_uv(), &self.config);
    self.accept.ctx = &self.context;
    self.accept.hosts = self.config.hosts;
}

bool http_start(const struct http_options *o, const struct http_route *routes, struct err *e)
{
    must(!self.started);
    memset(&self, 0, sizeof self);
    self.o = *o;
    self.routes = routes;
    list_init(&self.conns);
    if (!start_tls(o, e) || !start_listening(o, e)) {
        SSL_CTX_free(self.tls);
        return false;
    }
    static const loop_fn late[WAITS] = {on_head_late, on_body_late, on_idle_long, on_write_late};
    const int64_t wait_ms[WAITS] = {o->head_timeout_ms, o->body_timeout_ms, o->idle_timeout_ms,
                                    o->body_timeout_ms};
    for (int kind = 0; kind < WAITS; kind++) {
        list_init(&self.waiting[kind]);
        self.wait_ms[kind] = wait_ms[kind];
        self.timers[kind] = timer_new(late[kind], NULL);
    }
    start_h2o(o);
    self.static_dir = mem_strdup(o->static_dir);
    self.o.static_dir = self.static_dir;
    self.started = true;
    return true;
}

/* What h2o made stays: its timers are handles of the loop, which are closed with it. */
static void on_all_closed(void *arg)
{
    (void)arg;
    if (!self.started)
        return;
    self.started = false;
    for (int kind = 0; kind < WAITS; kind++)
        timer_free(self.timers[kind]);
    timer_free(self.grace);
    http_linger_stop();
    mem_free(self.static_dir);
    self.stopped(self.stopped_arg);
}

static void close_all(bool also_busy)
{
    list_each_safe(at, &self.conns) {
        struct http_conn *c = container_of(at, struct http_conn, link);
        bool idle = c->state == CONN_HEAD && c->q == NULL;
        bool stream = c->state == CONN_BUSY && c->q->events;
        if (also_busy || idle || stream || c->state == CONN_TLS)
            conn_close(c);
    }
}

static void on_grace_over(void *arg)
{
    (void)arg;
    if (self.conns_n > 0)
        log_warn("http", "cut", "connections=%d", self.conns_n);
    close_all(true);
    if (timer_armed(self.grace))
        return;
    timer_arm(self.grace, 100); /* a handler may never answer: it doesn't hold us up */
}

void http_stop(int64_t grace_ms, void (*done)(void *arg), void *arg)
{
    must(self.started && !self.stopping);
    self.stopping = true;
    self.stopped = done;
    self.stopped_arg = arg;
    uv_close((uv_handle_t *)&self.listener, NULL);
    h2o_context_request_shutdown(&self.context);
    self.grace = timer_new(on_grace_over, NULL);
    timer_arm(self.grace, grace_ms);
    close_all(false);
    if (self.conns_n == 0)
        loop_defer(on_all_closed, NULL);
}
