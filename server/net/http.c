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
 * libuv reports a write on a socket whose reading failed only by uv_write's return value, which h2o ignores: after
 * each send we look and call the callback ourselves, else the request would never end. */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/http_conn.h"
#include "net/loop.h"

enum {
    INPUT_FIRST = 16384, /* a usual push arrives in one read */
    INPUT_SPARE = 64,    /* buffers of that size kept for reuse */
    INPUT_AHEAD = 65536, /* read beyond a request that is being answered */
    H2_AT_ONCE = 32,     /* requests of one HTTP/2 connection under way */
    H2_HEADERS = 256,
    STOP_AGAIN_MS = 100,
};
static const uint64_t NEVER_MS = 10ULL * 365 * 24 * 3600 * 1000; /* the deadlines are ours */

struct conn {
    uv_tcp_t tcp;
    struct http_conn c;
    h2o_socket_t *sock; /* NULL once it is closed */
    struct list link;
    h2o_buffer_t *held;     /* what h2o is shown; while it runs: the rest */
    int entered;            /* depth of enter() */
    h2o_socket_cb h2o_read; /* h2o's callbacks, that ours stand for */
    h2o_socket_cb h2o_write;
    size_t queued; /* unwritten bytes when the deadline was set */
    int linger_fd; /* -1: none */
    bool doomed;   /* to be closed when the "100 Continue" is out */
};

/* The transport's side of an exchange; lives in the memory of h2o's request. */
struct http_tx {
    h2o_generator_t gen; /* first: h2o gives it back */
    h2o_req_t *h2o;
    struct http_req *q;
    struct conn *k;
    bool started;
    bool sending;
    bool last;    /* the end was given to h2o */
    bool put_off; /* waits for the "100 Continue" to be out */
    bool put_off_last;
    struct str put_off_bytes;
};

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
    int64_t full_logged_us;
    bool stopping;
    struct timer *grace;
    void (*stopped)(void *arg);
    void *stopped_arg;
} self;

static void on_written(h2o_socket_t *sock, const char *err);
static void on_all_closed(void *arg);

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

static struct conn *conn_of(struct http_conn *c)
{
    return container_of(c, struct conn, c);
}

static struct conn *conn_of_sock(h2o_socket_t *sock)
{
    return sock->on_close.data;
}

static h2o_buffer_t *new_buffer(void)
{
    h2o_buffer_t *b;
    h2o_buffer_init(&b, &h2o_socket_buffer_prototype);
    return b;
}

/* Into h2o and out again. */

static void swap_input(struct conn *k)
{
    h2o_buffer_t *input = k->sock->input;
    k->sock->input = k->held;
    k->held = input;
}

static void enter(struct conn *k)
{
    if (k->entered++ == 0 && k->sock != NULL)
        swap_input(k);
}

/* What came behind the message that h2o has. */
static h2o_buffer_t **rest_of(struct conn *k)
{
    return k->entered > 0 ? &k->held : &k->sock->input;
}

static bool writable(const struct conn *k)
{
    return uv_is_writable((const uv_stream_t *)&k->tcp) != 0;
}

/* Who waits for events and sends on and on would not be seen to leave once we stopped reading (see also settle). */
static void stop_reading_ahead(struct conn *k)
{
    if (k->c.q->events)
        conn_close(&k->c);
    else
        h2o_socket_read_stop(k->sock);
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    if (err != NULL)
        http_input_end(&k->c);
    else
        http_input(&k->c);
    if (k->sock != NULL && k->c.state == CONN_BUSY && k->sock->_cb.read != NULL &&
        k->sock->input->size >= INPUT_AHEAD)
        stop_reading_ahead(k);
}

static void settle(struct conn *k)
{
    struct http_conn *c = &k->c;
    if (c->state == CONN_BUSY && c->q == NULL) {
        /* h2o has answered and waits for the next request, by its own callback. */
        must(k->sock->_cb.read != NULL && k->held->size == 0);
        k->h2o_read = k->sock->_cb.read;
        k->sock->_cb.read = on_read;
        c->reused = true;
        c->state = CONN_HEAD;
        http_wait(c, WAIT_IDLE);
        if (writable(k))
            http_input(c);
        else
            conn_close(c); /* h2o does not look whether its answer went out */
    } else if (c->state == CONN_BUSY && c->q->tx == NULL) {
        log_error("http", "h2o_disagrees", "peer=%s", c->peer);
        c->state = CONN_ENDING;
        shutdown(conn_fd(c), SHUT_RDWR);
        http_wait(c, WAIT_WRITE);
    } else if (c->state == CONN_BUSY && c->q->events && k->sock->input->size >= INPUT_AHEAD) {
        conn_close(c);
    } else if (c->state == CONN_BUSY) {
        conn_read_on(c);
    } else if (c->state == CONN_ENDING && k->sock->_cb.write != NULL && !writable(k)) {
        /* TLS says goodbye on a broken socket: libuv will never tell that it failed. */
        k->sock->_cb.write(k->sock, h2o_socket_error_io);
    }
}

static void leave(struct conn *k)
{
    if (--k->entered > 0 || k->sock == NULL)
        return;
    swap_input(k);
    settle(k);
}

/* Shows h2o the one message that is held. */
static void feed(struct conn *k)
{
    http_wait_no_more(&k->c);
    k->c.state = CONN_BUSY;
    enter(k);
    if (k->h2o_read == NULL) {
        struct timeval now;
        gettimeofday(&now, NULL);
        h2o_http1_accept(&self.accept, k->sock, now);
    } else {
        k->sock->_cb.read = k->h2o_read;
        k->h2o_read(k->sock, NULL);
    }
    leave(k);
}

/* The input, for those who judge it. */

struct http_bytes conn_input(struct http_conn *c)
{
    h2o_buffer_t *in = conn_of(c)->sock->input;
    return (struct http_bytes){in->bytes, in->size};
}

static void follow_input(struct conn *k)
{
    if (k->c.q != NULL && k->c.q->tx == NULL)
        k->c.q->base = k->sock->input->bytes;
}

void conn_drop(struct http_conn *c, size_t n)
{
    struct conn *k = conn_of(c);
    h2o_buffer_consume(&k->sock->input, n);
    follow_input(k);
}

void conn_cut(struct http_conn *c, size_t n)
{
    h2o_buffer_t *in = conn_of(c)->sock->input;
    if (in->size != n)
        in->size = n;
}

void conn_reserve(struct http_conn *c, size_t more)
{
    struct conn *k = conn_of(c);
    h2o_buffer_reserve(&k->sock->input, more);
    follow_input(k);
}

void *conn_take(struct http_conn *c)
{
    struct conn *k = conn_of(c);
    h2o_buffer_t *taken = k->sock->input;
    k->sock->input = new_buffer();
    return taken;
}

void conn_give_back(struct http_conn *c, void *taken, size_t used)
{
    struct conn *k = conn_of(c);
    h2o_buffer_t *b = taken;
    h2o_buffer_consume(&b, used);
    if (k->sock == NULL) {
        h2o_buffer_dispose(&b);
        return;
    }
    must(k->sock->input->size == 0);
    h2o_buffer_dispose(&k->sock->input);
    k->sock->input = b;
}

/* The bytes stay with the request, whose handler may answer long after the connection is gone. */
void conn_feed(struct http_conn *c, size_t n)
{
    struct conn *k = conn_of(c);
    h2o_buffer_t *input = k->sock->input;
    h2o_buffer_t *rest = new_buffer();
    if (input->size > n) {
        size_t rest_n = input->size - n;
        memcpy(h2o_buffer_reserve(&rest, rest_n).base, input->bytes + n, rest_n);
        rest->size = rest_n;
        input->size = n;
    }
    must(k->held->size == 0);
    k->held = input;
    k->sock->input = rest;
    struct http_req *q = c->q;
    q->base = input->bytes;
    q->body = (struct str){q->base + q->guard.head_n, n - q->guard.head_n};
    feed(k);
}

void conn_feed_text(struct http_conn *c, struct str text)
{
    struct conn *k = conn_of(c);
    must(k->held->size == 0);
    memcpy(h2o_buffer_reserve(&k->held, text.n).base, text.p, text.n);
    k->held->size = text.n;
    feed(k);
}

void conn_read_on(struct http_conn *c)
{
    struct conn *k = conn_of(c);
    if (!c->eof && k->sock->_cb.read == NULL && k->sock->input->size < INPUT_AHEAD)
        h2o_socket_read_start(k->sock, on_read);
}

void conn_pause(struct http_conn *c)
{
    h2o_socket_read_stop(conn_of(c)->sock);
}

int conn_fd(const struct http_conn *c)
{
    return h2o_socket_get_fd(container_of((uintptr_t)c, struct conn, c)->sock);
}

void http_tx_free_kept(void *kept)
{
    h2o_buffer_t *buffer = kept;
    h2o_buffer_dispose(&buffer);
}

struct http_conn *http_tx_conn(const struct http_req *q)
{
    return &q->tx->k->c;
}

/* The answer. */

/* Called by h2o when it is through with a request, whatever the reason. */
static void on_disposed(void *arg)
{
    struct http_tx *tx = arg;
    struct http_req *q = tx->q;
    struct conn *k = tx->k;
    q->tx = NULL;
    if (!q->answered)
        http_req_gone(q);
    if (k->c.state == CONN_H2) {
        k->c.answered += tx->last;
    } else {
        must(k->entered > 0 && k->c.q == q);
        k->c.q = NULL;
        if (!tx->last || !tx->h2o->http1_is_persistent) {
            k->c.state = CONN_ENDING;
            q->kept = k->sock->input;
            k->sock->input = new_buffer();
            http_wait(&k->c, WAIT_WRITE);
        }
    }
    http_req_release(q);
}

static void on_proceed(h2o_generator_t *gen, h2o_req_t *h2o)
{
    (void)h2o;
    struct http_tx *tx = container_of(gen, struct http_tx, gen);
    tx->sending = false;
    if (!tx->last)
        http_req_sent(tx->q);
}

static bool body_is_here(struct conn *k, const struct http_req *q)
{
    return q->body_done || (!q->guard.chunked && (*rest_of(k))->size >= q->guard.left);
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
    bool unread = http_req_streams(q) && !q->http2 && !body_is_here(tx->k, q);
    if (self.stopping || unread || (q->head && length == SIZE_MAX))
        h2o->http1_is_persistent = 0;
    tx->started = true;
    tx->gen.proceed = on_proceed;
    h2o_start_response(h2o, &tx->gen);
}

/* After h2o wrote: its callback becomes ours. */
static void take_write(struct conn *k)
{
    h2o_socket_t *sock = k->sock;
    if (sock == NULL || k->c.state != CONN_BUSY || sock->_cb.write == NULL ||
        sock->_cb.write == on_written)
        return;
    k->h2o_write = sock->_cb.write;
    sock->_cb.write = on_written;
    k->queued = conn_unwritten(&k->c);
    if (!writable(k)) {
        sock->_cb.write = NULL;
        on_written(sock, h2o_socket_error_io);
    } else if (k->queued > 0) {
        http_wait(&k->c, WAIT_WRITE);
    }
}

static void send_now(struct http_tx *tx, struct str bytes, h2o_send_state_t state)
{
    struct conn *k = tx->k;
    h2o_iovec_t v = h2o_iovec_init(bytes.p, bytes.n);
    tx->sending = true;
    tx->last = state != H2O_SEND_STATE_IN_PROGRESS;
    if (k->c.state == CONN_H2) {
        h2o_send(tx->h2o, &v, bytes.n > 0, state);
        return;
    }
    enter(k);
    h2o_send(tx->h2o, &v, bytes.n > 0, state);
    take_write(k);
    leave(k);
}

/* What is left of a streamed body that nobody wants any more must not be taken for a request. */
static void skip_body(struct conn *k, struct http_req *q)
{
    if (!http_req_streams(q) || q->refusal != NULL || q->body_done)
        return;
    must(body_is_here(k, q));
    h2o_buffer_consume(rest_of(k), (size_t)q->guard.left);
    q->body_done = q->body_told = true;
}

void http_tx_send(struct http_req *q, struct str bytes, bool last)
{
    struct http_tx *tx = q->tx;
    if (tx == NULL)
        return;
    must(tx->started && !tx->sending && !tx->last);
    if (last && !q->http2 && tx->h2o->http1_is_persistent)
        skip_body(tx->k, q);
    if (tx->k->c.continuing) {
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
static void keep_open(struct conn *k)
{
    const struct http_req *q = k->c.q;
    if (q == NULL || q->tx == NULL || !q->tx->last || q->tx->h2o->http1_is_persistent)
        return;
    bool sends_on =
        q->refusal != NULL || k->sock->input->size > 0 || (http_req_streams(q) && !q->body_done);
    if (sends_on && !k->c.eof && k->linger_fd < 0)
        k->linger_fd = fcntl(conn_fd(&k->c), F_DUPFD_CLOEXEC, 0);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    h2o_socket_cb h2o_write = k->h2o_write;
    k->h2o_write = NULL;
    http_wait_no_more(&k->c);
    if (k->entered == 0)
        keep_open(k);
    enter(k);
    h2o_write(sock, err);
    leave(k);
}

static void on_continued(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    k->c.continuing = false;
    if (err != NULL || k->doomed) {
        conn_close(&k->c);
        return;
    }
    struct http_tx *tx = k->c.q != NULL ? k->c.q->tx : NULL;
    if (tx == NULL || !tx->put_off)
        return;
    tx->put_off = false;
    send_now(tx, tx->put_off_bytes,
             tx->put_off_last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
}

void conn_continue(struct http_conn *c)
{
    struct conn *k = conn_of(c);
    h2o_iovec_t text = h2o_iovec_init(H2O_STRLIT("HTTP/1.1 100 Continue\r\n\r\n"));
    if (c->continuing || k->sock->_cb.write != NULL || !writable(k))
        return;
    c->continuing = true;
    h2o_socket_write(k->sock, &text, 1, on_continued);
}

static void on_bridge_written(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    http_wait_no_more(&k->c);
    if (err != NULL)
        conn_close(&k->c);
    else if (k->c.bridge != NULL)
        http_bridge_written(&k->c);
}

bool conn_write(struct http_conn *c, struct str bytes)
{
    struct conn *k = conn_of(c);
    if (k->sock->_cb.write != NULL || !writable(k))
        return false;
    h2o_iovec_t v = h2o_iovec_init(bytes.p, bytes.n);
    h2o_socket_write(k->sock, &v, 1, on_bridge_written);
    k->queued = conn_unwritten(c);
    if (k->queued > 0)
        http_wait(c, WAIT_WRITE);
    return true;
}

size_t conn_unwritten(const struct http_conn *c)
{
    const struct conn *k = container_of((uintptr_t)c, struct conn, c);
    return uv_stream_get_write_queue_size((const uv_stream_t *)&k->tcp);
}

/* Closing. */

/* Ends an exchange that the client will not see the end of. */
static void abort_exchange(struct conn *k)
{
    struct http_tx *tx = k->c.q->tx;
    shutdown(conn_fd(&k->c), SHUT_RDWR);
    k->doomed = k->c.continuing;
    if (tx == NULL || k->doomed || (tx->sending && !tx->put_off))
        return; /* what is being written fails now, and with it the rest */
    tx->put_off = false;
    tx->h2o->http1_is_persistent = 0;
    if (!tx->started) {
        k->c.q->status = 500;
        http_tx_start(k->c.q, "Internal Server Error", 0);
    }
    send_now(tx, STR(""), H2O_SEND_STATE_ERROR);
}

void conn_close(struct http_conn *c)
{
    struct conn *k = conn_of(c);
    if (k->sock == NULL)
        return;
    switch (c->state) {
    case CONN_BUSY: abort_exchange(k); return;
    case CONN_H2:
    case CONN_ENDING:
        shutdown(conn_fd(c), SHUT_RDWR);
        if (c->state == CONN_ENDING)
            settle(k);
        return;
    case CONN_TLS:
    case CONN_HEAD:
    case CONN_BODY:
    case CONN_BRIDGE: break;
    }
    c->state = CONN_ENDING;
    http_wait(c, WAIT_WRITE);
    if (k->h2o_read == NULL) {
        h2o_socket_close(k->sock);
        return;
    }
    enter(k);
    k->sock->_cb.read = k->h2o_read;
    k->h2o_read(k->sock, h2o_socket_error_closed);
    leave(k);
}

/* A slow reader is given time as long as it reads anything at all. */
static void on_late(struct http_conn *c, enum wait_kind kind)
{
    struct conn *k = conn_of(c);
    size_t queued = conn_unwritten(c);
    if (kind != WAIT_WRITE) {
        http_input_late(c, kind);
    } else if (c->state != CONN_ENDING && queued < k->queued) {
        k->queued = queued;
        http_wait(c, WAIT_WRITE);
    } else {
        log_info("http", "stalled", "peer=%s bytes=%zu", c->peer, queued);
        const struct linger reset = {1, 0}; /* else the kernel goes on holding the bytes */
        setsockopt(conn_fd(c), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        conn_close(c);
    }
}

static void on_sock_closed(void *arg)
{
    struct conn *k = arg;
    k->sock = NULL;
    k->c.open = false;
    http_wait_no_more(&k->c);
    http_bridge_close(&k->c);
    list_remove(&k->link);
    h2o_buffer_dispose(&k->held);
    metric_set_for(METRIC_CONNECTIONS, "http", --self.conns_n);
    if (k->c.q != NULL)
        http_req_release(k->c.q);
    k->c.q = NULL;
    if (k->linger_fd >= 0)
        http_linger(k->linger_fd);
    if (self.stopping && self.conns_n == 0)
        loop_defer(on_all_closed, NULL);
}

static void on_handle_closed(uv_handle_t *handle)
{
    mem_free(container_of(handle, struct conn, tcp));
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

static struct str str_of_h2o(h2o_iovec_t v)
{
    return (struct str){v.base, v.len};
}

static struct http_req *copy_h2_request(const h2o_req_t *h2o)
{
    struct http_pair headers[H2_HEADERS];
    size_t n = 0;
    headers[n++] = (struct http_pair){STR("host"), str_of_h2o(h2o->input.authority)};
    for (size_t i = 0; i < h2o->headers.size && n < H2_HEADERS; i++) {
        const h2o_header_t *h = &h2o->headers.entries[i];
        headers[n++] = (struct http_pair){str_of_h2o(*h->name), str_of_h2o(h->value)};
    }
    return http_req_of_h2(str_of_h2o(h2o->input.method), str_of_h2o(h2o->input.path), headers, n,
                          str_of_h2o(h2o->entity));
}

static int on_request(h2o_handler_t *handler, h2o_req_t *h2o)
{
    (void)handler;
    struct conn *k = conn_of_sock(h2o->conn->callbacks->get_socket(h2o->conn));
    bool h2 = k->c.state == CONN_H2;
    struct http_req *q = h2 ? copy_h2_request(h2o) : k->c.q;
    if (!h2 && q->refusal == NULL && !same_view(q, h2o))
        return 0; /* settle() sees that nobody has taken it, and closes */
    struct http_tx *tx = h2o_mem_alloc_shared(&h2o->pool, sizeof *tx, on_disposed);
    memset(tx, 0, sizeof *tx);
    tx->h2o = h2o;
    tx->q = q;
    tx->k = k;
    q->tx = tx;
    q->peer = http_req_dup(q, str_of(k->c.peer));
    q->secure = k->c.tls;
    if (!q->guard.keep_alive || q->refusal != NULL)
        h2o->http1_is_persistent = 0;
    http_req_run(q);
    return 0;
}

/* New connections. */

static void on_h2_read(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    const h2o_buffer_t *in = sock->input;
    size_t n = sock->bytes_read < in->size ? sock->bytes_read : in->size;
    if (err == NULL &&
        !http_frames_read(&k->c.frames, in->bytes + in->size - n, n, k->c.answered)) {
        log_info("http", "too_many_resets", "peer=%s", k->c.peer);
        metric_add_for(METRIC_HTTP_REFUSED, "resets", 1);
        shutdown(conn_fd(&k->c), SHUT_RDWR);
        err = h2o_socket_error_closed;
    }
    k->h2o_read(sock, err);
}

static void start_h2(struct conn *k)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    k->c.state = CONN_H2;
    http_wait_no_more(&k->c);
    http_frames_read(&k->c.frames, k->sock->input->bytes, k->sock->input->size, 0);
    h2o_http2_accept(&self.accept, k->sock, now);
    if (k->sock == NULL || k->sock->_cb.read == NULL)
        return;
    k->h2o_read = k->sock->_cb.read;
    k->sock->_cb.read = on_h2_read;
}

static void start_reading(struct conn *k)
{
    k->c.state = CONN_HEAD;
    h2o_socket_read_start(k->sock, on_read);
    if (k->sock->input->size > 0)
        http_input(&k->c);
}

static void on_tls(h2o_socket_t *sock, const char *err)
{
    struct conn *k = conn_of_sock(sock);
    if (err != NULL) {
        log_debug("http", "tls_failed", "peer=%s error=%s", k->c.peer, log_quotez(err));
        conn_close(&k->c);
        return;
    }
    h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(sock);
    if (h2o_memis(protocol.base, protocol.len, H2O_STRLIT("h2")))
        start_h2(k);
    else
        start_reading(k);
}

static bool room_for_another(void)
{
    if (self.conns_n < self.o.max_connections)
        return true;
    if (loop_now_us() - self.full_logged_us > 1000000) {
        self.full_logged_us = loop_now_us();
        log_warn("http", "too_many_connections", "max=%d", self.o.max_connections);
    }
    return false;
}

static void note_peer(struct conn *k)
{
    struct sockaddr_storage peer;
    int n = sizeof peer;
    if (uv_tcp_getpeername(&k->tcp, (struct sockaddr *)&peer, &n) == 0)
        uv_ip_name((struct sockaddr *)&peer, k->c.peer, sizeof k->c.peer);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0)
        return;
    struct conn *k = mem_new(struct conn);
    must(uv_tcp_init(loop_uv(), &k->tcp) == 0);
    if (uv_accept(listener, (uv_stream_t *)&k->tcp) != 0 || !room_for_another()) {
        uv_close((uv_handle_t *)&k->tcp, on_handle_closed);
        return;
    }
    uv_tcp_nodelay(&k->tcp, 1);
    note_peer(k);
    k->linger_fd = -1;
    k->c.open = true;
    k->c.tls = self.tls != NULL;
    http_wait_init(&k->c);
    k->held = new_buffer();
    list_append(&self.conns, &k->link);
    metric_set_for(METRIC_CONNECTIONS, "http", ++self.conns_n);
    k->sock = h2o_uv_socket_create((uv_stream_t *)&k->tcp, on_handle_closed);
    k->sock->on_close.cb = on_sock_closed;
    k->sock->on_close.data = k;
    http_wait(&k->c, WAIT_HEAD);
    if (k->c.tls)
        h2o_socket_ssl_handshake(k->sock, self.tls, NULL, on_tls);
    else
        start_reading(k);
}

/* Start and stop. */

static void start_h2o(const struct http_options *o)
{
    h2o_socket_buffer_prototype._initial_buf.capacity = INPUT_FIRST;
    h2o_socket_buffer_prototype.allocator.max = INPUT_SPARE;
    h2o_config_init(&self.config);
    self.config.server_name = h2o_iovec_init(H2O_STRLIT(""));
    self.config.max_request_entity_size = o->max_body;
    self.config.http1.req_timeout = NEVER_MS;
    self.config.http1.upgrade_to_http2 = 0;
    self.config.http2.idle_timeout = (uint64_t)o->idle_timeout_ms;
    self.config.http2.max_concurrent_requests_per_connection = H2_AT_ONCE;
    h2o_hostconf_t *host =
        h2o_config_register_host(&self.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    path->error_log.emit_request_errors = 0;
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = on_request;
    h2o_context_init(&self.context, loop_uv(), &self.config);
    self.accept.ctx = &self.context;
    self.accept.hosts = self.config.hosts;
}

static bool start_listener(int fd, struct err *e)
{
    must(uv_tcp_init(loop_uv(), &self.listener) == 0);
    must(uv_tcp_open(&self.listener, fd) == 0);
    int rc = uv_listen((uv_stream_t *)&self.listener, SOMAXCONN, on_connection);
    if (rc == 0)
        return true;
    uv_close((uv_handle_t *)&self.listener, NULL);
    return err_fail(e, ERR_SYSTEM, "cannot listen: %s", uv_strerror(rc));
}

bool http_start(const struct http_options *o, const struct http_route *routes, struct err *e)
{
    must(!self.started);
    memset(&self, 0, sizeof self);
    self.o = *o;
    self.routes = routes;
    list_init(&self.conns);
    if (o->tls_cert != NULL && (self.tls = http_tls_new(o, e)) == NULL)
        return false;
    int fd = http_listen(o, &self.port, e);
    if (fd < 0 || !start_listener(fd, e)) {
        SSL_CTX_free(self.tls);
        return false;
    }
    http_wait_start(
        (const int64_t[WAITS]){
            [WAIT_HEAD] = o->head_timeout_ms,
            [WAIT_BODY] = o->body_timeout_ms,
            [WAIT_IDLE] = o->idle_timeout_ms,
            [WAIT_WRITE] = o->body_timeout_ms,
        },
        on_late);
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
    http_wait_stop();
    timer_free(self.grace);
    http_linger_stop();
    mem_free(self.static_dir);
    SSL_CTX_free(self.tls);
    self.stopped(self.stopped_arg);
}

static void close_all(bool also_busy)
{
    list_each_safe(at, &self.conns) {
        struct http_conn *c = &container_of(at, struct conn, link)->c;
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
    timer_arm(self.grace, STOP_AGAIN_MS); /* TLS may need a second time */
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
