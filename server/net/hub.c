/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket clients, by libwebsockets.
 *
 * One context on our loop, one vhost for each path (so that the path needs no second look), sockets adopted from net/http with a
 * handshake that it has judged and written anew.
 *
 * Sending. The same bytes go to thousands of clients, so a message is framed once when it is made, and a client's queue
 * holds references. All clients that got something in this turn are flushed just before the loop polls: a client's waiting
 * frames go out in one system call, through lws_write's raw form, which keeps what the socket didn't take and
 * asks for writability by itself. Until that is gone nothing more is written, so lws buffers one batch at most.
 * (One message for each WRITEABLE callback, lws's usual way, costs two changes of the poll set and a
 * callback more for every message: a third of the rate.)
 *
 * Receiving. lws lets pass what RFC 6455 forbids, and reads the socket inside itself, where nobody can look first. Its only
 * door is libc's recv(), found by name at run time: this program's own recv() stands in that door. For
 * descriptors of clients it has the guard judge the bytes; for all others it is the plain system call. After a violation lws sees nothing
 * any more, and the client is closed with the code that fits. */
#include "net/hub.h"

#include <dlfcn.h>
#include <errno.h>
#include <libwebsockets.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/loop.h"
#include "net/wsguard.h"

enum {
    CLIENT_MAGIC = 0x6875626b,
    SERVICES_MAX = 8,
    QUEUE_INLINE = 3,
    BATCH_MAX = 65536,
    HEADER_MAX = 10,
    RX_SMALL = 512, /* read at once for a service with small messages; kept for every client */
    RX_LARGE = 4096,
    SMALL_MESSAGE = 65536,
    CLOSE_MS = 2000, /* that a client has to close too */
    FDS_MAX = 65536, /* lws sizes its tables by the limit of descriptors */
};

struct hub_msg {
    int refs;
    unsigned frame_n;
    unsigned char *frame; /* header and text, in bytes */
    unsigned char bytes[];
};

struct service {
    struct hub_service s;
    struct lws_protocols protocols[2];
    struct lws_vhost *vhost;
};

struct hub_client {
    unsigned magic;
    int fd;
    struct lws *wsi;
    const struct service *service;
    void *user;
    struct list link;  /* all */
    struct list dirty; /* to be flushed at the end of this turn */
    struct hub_msg **queue;
    struct hub_msg *queue_inline[QUEUE_INLINE];
    uint32_t queue_cap;
    uint32_t queue_from;
    uint32_t queue_n;
    uint32_t queue_bytes;
    int64_t heard_us;   /* last byte from the client */
    int64_t closed_us;  /* when the close frame was written; 0: it wasn't */
    int64_t choked_us;  /* since when lws holds bytes back; 0: it doesn't */
    struct buf message; /* the fragments so far */
    struct wsguard guard;
    int close_code; /* 0: open */
    const char *close_why;
    bool pinged;
    bool lagging;
    bool deaf; /* after a violation, or after its close frame */
};

static struct {
    struct lws_context *context;
    struct hub_options o;
    struct service services[SERVICES_MAX];
    int services_n;
    struct list clients;
    struct list dirty;
    size_t clients_n;
    struct hub_client **by_fd;
    size_t by_fd_n;
    struct loop_prepare *flush;
    struct timer *sweep;
    struct hub_msg *ping;
    unsigned char batch[BATCH_MAX];
} self;

/* Messages. */

static size_t write_header(unsigned char *h, unsigned char first, size_t n)
{
    h[0] = first;
    if (n < 126) {
        h[1] = (unsigned char)n;
        return 2;
    }
    int digits = n < 65536 ? 2 : 8;
    h[1] = digits == 2 ? 126 : 127;
    for (int i = 0; i < digits; i++)
        h[2 + i] = (unsigned char)(n >> (8 * (digits - 1 - i)));
    return 2 + (size_t)digits;
}

static struct hub_msg *make_frame(unsigned char first, struct str payload)
{
    unsigned char header[HEADER_MAX];
    size_t header_n = write_header(header, first, payload.n);
    must(payload.n < INT32_MAX);
    struct hub_msg *m = mem_alloc(sizeof *m + header_n + payload.n);
    m->refs = 1;
    m->frame = m->bytes;
    m->frame_n = (unsigned)(header_n + payload.n);
    memcpy(m->bytes, header, header_n);
    if (payload.n > 0)
        memcpy(m->bytes + header_n, payload.p, payload.n);
    return m;
}

struct hub_msg *hub_msg_new(struct str text)
{
    return make_frame(0x81, text);
}

struct hub_msg *hub_msg_ref(struct hub_msg *m)
{
    m->refs++;
    return m;
}

void hub_msg_release(struct hub_msg *m)
{
    must(m->refs > 0);
    if (--m->refs == 0)
        mem_free(m);
}

/* The queue: a ring that lives inside the client while it is short. */

static void queue_grow(struct hub_client *c)
{
    uint32_t cap = c->queue_cap * 2 + 2;
    struct hub_msg **more = mem_alloc(cap * sizeof *more);
    for (uint32_t i = 0; i < c->queue_n; i++)
        more[i] = c->queue[(c->queue_from + i) % c->queue_cap];
    if (c->queue != c->queue_inline)
        mem_free(c->queue);
    c->queue = more;
    c->queue_cap = cap;
    c->queue_from = 0;
}

static void queue_push(struct hub_client *c, struct hub_msg *m)
{
    if (c->queue_n == c->queue_cap)
        queue_grow(c);
    c->queue[(c->queue_from + c->queue_n++) % c->queue_cap] = m;
    c->queue_bytes += m->frame_n;
    m->refs++;
}

static void queue_drop(struct hub_client *c)
{
    struct hub_msg *m = c->queue[c->queue_from];
    c->queue_from = (c->queue_from + 1) % c->queue_cap;
    c->queue_n--;
    c->queue_bytes -= m->frame_n;
    hub_msg_release(m);
    if (c->queue_n > 0 || c->queue == c->queue_inline)
        return;
    mem_free(c->queue);
    c->queue = c->queue_inline;
    c->queue_cap = QUEUE_INLINE;
    c->queue_from = 0;
}

void hub_clear_queue(struct hub_client *c)
{
    while (c->queue_n > 0)
        queue_drop(c);
    c->lagging = false;
}

size_t hub_queued(const struct hub_client *c)
{
    return c->queue_n;
}

/* Writing. */

/* lws sees the end of the connection, and CLOSED follows. (Its own timeouts are looked at only after events of its own.) */
static void kill_client(struct hub_client *c)
{
    c->deaf = true;
    shutdown(c->fd, SHUT_RDWR);
}

static size_t gather(struct hub_client *c, unsigned char **bytes)
{
    struct hub_msg *first = c->queue[c->queue_from];
    *bytes = first->frame;
    if (c->queue_n == 1 || first->frame_n >= BATCH_MAX)
        return first->frame_n;
    size_t n = 0;
    for (uint32_t i = 0; i < c->queue_n; i++) {
        const struct hub_msg *m = c->queue[(c->queue_from + i) % c->queue_cap];
        if (n + m->frame_n > BATCH_MAX)
            break;
        memcpy(self.batch + n, m->frame, m->frame_n);
        n += m->frame_n;
    }
    *bytes = self.batch;
    return n;
}

static void flush_client(struct hub_client *c)
{
    size_t sent = 0;
    while (c->queue_n > 0 && c->choked_us == 0 && c->close_code == 0 && !c->deaf) {
        unsigned char *bytes;
        size_t n = gather(c, &bytes);
        if (lws_write(c->wsi, bytes, n, LWS_WRITE_HTTP) < 0) {
            kill_client(c);
            break;
        }
        if (lws_partial_buffered(c->wsi))
            c->choked_us = loop_now_us();
        for (size_t gone = 0; gone < n; sent++) {
            gone += c->queue[c->queue_from]->frame_n;
            queue_drop(c);
        }
    }
    if (sent > 0)
        metric_add(METRIC_LIVE_SENT, (double)sent);
    if (c->queue_n == 0)
        c->lagging = false;
}

static void flush_dirty(void *arg)
{
    (void)arg;
    list_each_safe(at, &self.dirty) {
        struct hub_client *c = container_of(at, struct hub_client, dirty);
        list_remove(&c->dirty);
        flush_client(c);
    }
}

static void queue_and_flush(struct hub_client *c, struct hub_msg *m)
{
    queue_push(c, m);
    if (c->choked_us == 0 && list_empty(&c->dirty))
        list_append(&self.dirty, &c->dirty);
}

void hub_flush(struct hub_client *c)
{
    must(c->magic == CLIENT_MAGIC);
    flush_client(c);
}

static bool no_room(const struct hub_client *c, const struct hub_msg *m)
{
    const struct hub_service *s = &c->service->s;
    return c->queue_n > 0 &&
           (c->queue_n >= s->max_queue || c->queue_bytes + m->frame_n > s->max_queue_bytes);
}

static void lags(struct hub_client *c)
{
    if (c->lagging)
        return;
    c->lagging = true;
    c->service->s.on_lag(c);
}

void hub_send(struct hub_client *c, struct hub_msg *m)
{
    must(c->magic == CLIENT_MAGIC);
    if (c->close_code != 0 || c->deaf)
        return;
    if (no_room(c, m)) {
        hub_flush(c); /* a burst of our own is no fault of the client's */
        if (no_room(c, m)) {
            lags(c);
            return;
        }
    }
    queue_and_flush(c, m);
}

void hub_send_text(struct hub_client *c, struct str text)
{
    struct hub_msg *m = hub_msg_new(text);
    hub_send(c, m);
    hub_msg_release(m);
}

/* Our side ends with the close frame. Debian's lws is a debug build that closes a socket twice, and so loses the frame
 * that it should send itself. What the client still sends is swallowed until it has closed or the time is over: a reset would
 * take the frame from it. */
static void send_close(struct hub_client *c)
{
    unsigned char frame[2 + 125];
    size_t why_n = strlen(c->close_why) < 123 ? strlen(c->close_why) : 123;
    frame[0] = 0x88;
    frame[1] = (unsigned char)(2 + why_n);
    frame[2] = (unsigned char)(c->close_code >> 8);
    frame[3] = (unsigned char)c->close_code;
    memcpy(frame + 4, c->close_why, why_n);
    c->deaf = true;
    c->closed_us = loop_now_us();
    if (lws_write(c->wsi, frame, 4 + why_n, LWS_WRITE_HTTP) < 0)
        kill_client(c);
    else if (!lws_partial_buffered(c->wsi))
        shutdown(c->fd, SHUT_WR);
}

void hub_close(struct hub_client *c, int code, const char *reason)
{
    must(c->magic == CLIENT_MAGIC);
    if (c->close_code != 0 || c->deaf)
        return;
    flush_client(c);
    c->close_code = code;
    c->close_why = reason;
    hub_clear_queue(c);
    if (c->choked_us == 0)
        send_close(c);
}

void hub_set_user(struct hub_client *c, void *user)
{
    c->user = user;
}

void *hub_user(const struct hub_client *c)
{
    return c->user;
}

size_t hub_count(void)
{
    return self.clients_n;
}

/* Reading. */

static struct hub_client *client_of_fd(int fd)
{
    return fd >= 0 && (size_t)fd < self.by_fd_n ? self.by_fd[fd] : NULL;
}

static void watch_fd(int fd, struct hub_client *c)
{
    if ((size_t)fd >= self.by_fd_n) {
        size_t n = ((size_t)fd + 1024) & ~(size_t)511;
        self.by_fd = mem_resize(self.by_fd, n * sizeof *self.by_fd);
        memset(self.by_fd + self.by_fd_n, 0, (n - self.by_fd_n) * sizeof *self.by_fd);
        self.by_fd_n = n;
    }
    self.by_fd[fd] = c;
}

/* How many of the bytes lws may see. */
static ssize_t judge(struct hub_client *c, const void *bytes, ssize_t n)
{
    size_t good;
    const char *why;
    c->heard_us = loop_now_us();
    c->pinged = false;
    int code = wsguard_read(&c->guard, bytes, (size_t)n, c->service->s.max_message, &good, &why);
    if (code == 0)
        return n;
    log_info("hub", "refused", "path=%s code=%d reason=%s", c->service->s.path, code,
             log_quotez(why));
    metric_add_for(METRIC_HTTP_REFUSED, "websocket frame", 1);
    hub_close(c, code, why);
    c->deaf = true; /* also when its close frame must wait */
    if (good > 0)
        return (ssize_t)good;
    errno = EAGAIN;
    return -1;
}

/* Under the name of recv(), but past the header's inline version of it. */
ssize_t hub_recv(int fd, void *bytes, size_t n, int flags) __asm__("recv");
ssize_t hub_recv(int fd, void *bytes, size_t n, int flags)
{
    ssize_t got = recvfrom(fd, bytes, n, flags, NULL, NULL);
    if (got <= 0 || (flags & MSG_PEEK) != 0)
        return got;
    struct hub_client *c = client_of_fd(fd);
    if (c == NULL)
        return got;
    if (!c->deaf)
        return judge(c, bytes, got);
    errno = EAGAIN; /* swallowed */
    return -1;
}

static int on_whole(struct hub_client *c, struct str text)
{
    if (!str_utf8_valid(text)) {
        hub_close(c, 1007, "not UTF-8");
        return 0;
    }
    c->service->s.on_message(c, text);
    return 0;
}

static int on_receive(struct hub_client *c, const void *bytes, size_t n)
{
    if (c->close_code != 0)
        return 0;
    bool whole = lws_is_final_fragment(c->wsi) != 0 && lws_remaining_packet_payload(c->wsi) == 0;
    if (whole && c->message.n == 0)
        return on_whole(c, (struct str){bytes, n});
    if (c->message.n + n > c->service->s.max_message) {
        hub_close(c, 1009, "the message is too large");
        return 0;
    }
    buf_add(&c->message, bytes, n);
    if (!whole)
        return 0;
    struct buf message = c->message;
    c->message = (struct buf){0};
    on_whole(c, buf_view(&message));
    buf_finish(&message);
    return 0;
}

/* The sweep runs while there are clients. */
static void count_client(int change)
{
    self.clients_n += (size_t)change;
    metric_set_for(METRIC_CONNECTIONS, "live", (double)self.clients_n);
    int64_t least = self.o.ping_ms < self.o.stall_ms ? self.o.ping_ms : self.o.stall_ms;
    least = least < CLOSE_MS ? least : CLOSE_MS;
    if (self.clients_n == 0)
        timer_disarm(self.sweep);
    else if (!timer_armed(self.sweep))
        timer_every(self.sweep, least / 4 > 10 ? least / 4 : 10);
}

static void on_established(struct lws *wsi)
{
    struct hub_client *c = mem_new(struct hub_client);
    c->magic = CLIENT_MAGIC;
    c->wsi = wsi;
    c->fd = lws_get_socket_fd(wsi);
    c->service = lws_get_protocol(wsi)->user;
    c->queue = c->queue_inline;
    c->queue_cap = QUEUE_INLINE;
    c->heard_us = loop_now_us();
    list_init(&c->dirty);
    list_append(&self.clients, &c->link);
    count_client(1);
    lws_set_opaque_user_data(wsi, c);
    watch_fd(c->fd, c);
    c->service->s.on_open(c);
}

static void on_closed(struct hub_client *c)
{
    lws_set_opaque_user_data(c->wsi, NULL);
    watch_fd(c->fd, NULL);
    c->deaf = true;
    hub_clear_queue(c);
    list_remove(&c->dirty);
    list_remove(&c->link);
    count_client(-1);
    c->service->s.on_close(c);
    hub_clear_queue(c);
    buf_finish(&c->message);
    c->magic = 0;
    loop_free_later(c);
}

static int on_writable(struct hub_client *c)
{
    if (lws_partial_buffered(c->wsi))
        return 0;
    c->choked_us = 0;
    if (c->close_code == 0)
        flush_client(c);
    else if (c->closed_us == 0)
        send_close(c);
    else
        shutdown(c->fd, SHUT_WR);
    return 0;
}

static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n)
{
    (void)user;
    struct hub_client *c = lws_get_opaque_user_data(wsi);
    switch ((int)reason) {
    case LWS_CALLBACK_ESTABLISHED: on_established(wsi); return 0;
    case LWS_CALLBACK_HTTP: return -1; /* nothing but a handshake comes here */
    case LWS_CALLBACK_RECEIVE: return c == NULL ? -1 : on_receive(c, in, n);
    case LWS_CALLBACK_SERVER_WRITEABLE: return c == NULL ? -1 : on_writable(c);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        if (c != NULL)
            c->deaf = true;
        return 0;
    case LWS_CALLBACK_CLOSED:
        if (c != NULL)
            on_closed(c);
        return 0;
    default: return 0;
    }
}

/* Quiet clients are asked for a sign of life, stuck ones are dropped. */
static void sweep(void *arg)
{
    (void)arg;
    int64_t now = loop_now_us();
    list_each_safe(at, &self.clients) {
        struct hub_client *c = container_of(at, struct hub_client, link);
        bool stuck = c->choked_us != 0 && now - c->choked_us > self.o.stall_ms * 1000;
        bool silent = now - c->heard_us > 2 * self.o.ping_ms * 1000;
        if (c->closed_us != 0) {
            if (now - c->closed_us > CLOSE_MS * 1000)
                kill_client(c);
        } else if (stuck || silent) {
            log_info("hub", "dropped", "path=%s reason=%s", c->service->s.path,
                     stuck ? "stalled" : "silent");
            kill_client(c);
        } else if (now - c->heard_us > self.o.ping_ms * 1000 && !c->pinged && c->choked_us == 0) {
            c->pinged = true;
            queue_and_flush(c, self.ping);
        }
    }
}

/* Start and stop. */

static void on_lws_log(int level, const char *line)
{
    struct str text = str_trim(str_of(line));
    (void)level; /* what it calls errors are the faults of clients, or notes to itself */
    log_debug("hub", "lws", "text=%s", log_quote(text));
}

static void limit_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur <= FDS_MAX)
        return;
    limit.rlim_cur = FDS_MAX;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static bool add_service(const struct hub_service *from, struct err *e)
{
    must(self.services_n < SERVICES_MAX);
    struct service *s = &self.services[self.services_n++];
    s->s = *from;
    s->protocols[0] = (struct lws_protocols){
        .name = from->protocol,
        .callback = on_lws,
        .rx_buffer_size = from->max_message > SMALL_MESSAGE ? RX_LARGE : RX_SMALL,
        .tx_packet_size = 1 << 24,
        .user = s};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER, .vhost_name = from->path, .protocols = s->protocols};
    s->vhost = lws_create_vhost(self.context, &info);
    return s->vhost != NULL ||
           err_fail(e, ERR_INTERNAL, "cannot serve WebSockets at %s", from->path);
}

/* libwebsockets frees its context with libuv handles in it that are only about to be closed in this turn of the loop: what it frees is freed
 * a turn later. */
static void *allocate(void *p, size_t size, const char *reason)
{
    (void)reason;
    if (size != 0)
        return mem_resize(p, size);
    if (p != NULL)
        loop_free_later(p);
    return NULL;
}

bool hub_start(const struct hub_options *o, const struct hub_service *services, struct err *e)
{
    must(self.context == NULL);
    self.o = *o;
    list_init(&self.clients);
    list_init(&self.dirty);
    limit_descriptors();
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    lws_set_allocator(allocate);
    void *loops[] = {loop_uv()};
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_NO_LWS_SYSTEM_STATES,
        .foreign_loops = loops,
        .pcontext = &self.context,
        .max_http_header_data = 1024,
        .pt_serv_buf_size = RX_LARGE + LWS_PRE,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
    };
    /* libwebsockets unloads its libuv part with the context, before the loop has called the last close callbacks in it. */
    (void)dlopen("libwebsockets-evlib_uv.so", RTLD_NOW | RTLD_NODELETE);
    self.context = lws_create_context(&info);
    if (self.context == NULL)
        return err_fail(e, ERR_INTERNAL,
                        "libwebsockets cannot start: is libwebsockets-evlib-uv installed?");
    self.services_n = 0;
    for (; services->path != NULL; services++)
        if (!add_service(services, e))
            return false;
    self.ping = make_frame(0x89, STR(""));
    self.flush = loop_prepare_start(flush_dirty, NULL);
    self.sweep = timer_new(sweep, NULL);
    return true;
}

static struct service *service_of(struct str path)
{
    for (int i = 0; i < self.services_n; i++)
        if (str_is(path, self.services[i].s.path))
            return &self.services[i];
    return NULL;
}

const char *hub_protocol(struct str path)
{
    const struct service *s = self.context == NULL ? NULL : service_of(path);
    return s == NULL ? NULL : s->s.protocol;
}

bool hub_serves(struct str path)
{
    return hub_protocol(path) != NULL;
}

bool hub_adopt(int fd, struct str early, struct err *e)
{
    struct str line = early;
    str_split(&line, ' ');
    struct service *s = self.context == NULL ? NULL : service_of(str_split(&line, ' '));
    if (s == NULL || self.clients_n >= (size_t)self.o.max_clients) {
        close(fd);
        return err_fail(e, ERR_UNAVAILABLE, "no room for another WebSocket client");
    }
    if (lws_adopt_socket_vhost_readbuf(s->vhost, fd, early.p, early.n) == NULL)
        return err_fail(e, ERR_BAD_INPUT, "the WebSocket handshake failed");
    return true;
}

/* The context goes in steps, between which the loop must turn to close lws's handles. */
static void destroy_again(void *arg)
{
    int *turns = arg;
    if (self.context == NULL || --*turns == 0)
        return;
    lws_context_destroy(self.context);
    loop_defer(destroy_again, turns);
}

void hub_stop(void)
{
    if (self.context == NULL)
        return;
    list_each_safe(at, &self.clients)
        hub_close(container_of(at, struct hub_client, link), 1001, "");
    static int turns = 100;
    lws_context_destroy(self.context);
    loop_defer(destroy_again, &turns);
    loop_prepare_stop(self.flush);
    hub_msg_release(self.ping);
    self.services_n = 0;
}
