/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to Redis. redis_out.c formats and writes commands, redis_reply.c parses replies (with hiredis); the
 * socket, its states and the queue of callbacks are here.
 *
 * hiredis 0.14 has an asynchronous layer too. It is not used: it resolves names in the loop's thread, shifts its whole
 * output buffer after each partial write (a backlog of 100 MB becomes quadratic), reads 16 KB a call, allocates
 * twice a string, and has no reconnect.
 *
 * Order is all there is to match replies: the n-th reply belongs to the n-th callback in the ring. So whatever
 * breaks the stream (end of file, a parse error, a reply nested deeper than the 7 arrays that the parser can hold) loses the
 * connection: each callback in the ring fires with ERR_REDIS and the ring starts anew. lose() is the one place for that.
 *
 * Connecting is a row of states; any failure on the way goes back to WAITING with a longer pause. The
 * greeting ends with PING, because a server that is still loading takes AUTH and SELECT and refuses all else. */
#include "net/redis.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/loop.h"
#include "net/redis_out.h"
#include "net/redis_reply.h"
#include "net/unix_socket.h"

enum {
    REDIS_MAGIC = 0x52445331,
    READ_SIZE = 256 * 1024,
    READS_A_TURN = 4,
    FEED_SIZE = 16 * 1024, /* the parser shifts what it was fed: small pieces keep that cheap */
    WORDS_MAX = 64,
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 5000,
    CONNECT_TIMEOUT_MS = 5000,
    GREETING_TIMEOUT_MS = 10000,
    DEAD_PEER_MS = 20000,
};

enum state { WAITING, RESOLVING, CONNECTING, GREETING, UP, CLOSED };

struct callback {
    redis_fn fn;
    void *arg;
};

/* The callbacks that wait for a reply, oldest first. */
struct ring {
    struct callback *at;
    size_t cap; /* a power of two, or 0 */
    size_t first;
    size_t n;
};

struct resolve {
    struct redis *r; /* NULL: closed meanwhile */
    char *host;
    char port[8];
    int rc;
    struct addrinfo *found;
};

struct redis {
    uint32_t magic;
    enum state state;
    char *name;
    struct redis_url url;
    redis_state_fn on_state;
    void *arg;
    char trouble[512]; /* why it is not up */

    int fd;
    struct io *io;
    struct timer *timer; /* pause before the next attempt, or the limit of this one */
    struct loop_prepare *prepare;
    unsigned attempts; /* failed ones in a row */
    struct resolve *resolve;
    struct addrinfo *addrs; /* what getaddrinfo gave */
    struct addrinfo *addr;  /* the one being tried */

    struct redis_out out;
    bool blocked; /* the socket took less than we had */
    struct ring ring;
    struct reply_parser *parser;

    redis_message_fn on_message;
    void *message_arg;
    struct buf *patterns;
    size_t pattern_count;
    size_t acks_missing; /* patterns not confirmed yet */
};

static struct {
    size_t opened;
    size_t up;
} self;

static void ring_push(struct ring *q, redis_fn fn, void *arg)
{
    if (q->n == q->cap) {
        size_t cap = q->cap == 0 ? 64 : q->cap * 2;
        struct callback *at = mem_alloc(cap * sizeof *at);
        for (size_t i = 0; i < q->n; i++)
            at[i] = q->at[(q->first + i) & (q->cap - 1)];
        mem_free(q->at);
        *q = (struct ring){at, cap, 0, q->n};
    }
    q->at[(q->first + q->n++) & (q->cap - 1)] = (struct callback){fn, arg};
}

static struct callback ring_pop(struct ring *q)
{
    must(q->n != 0);
    struct callback c = q->at[q->first];
    q->first = (q->first + 1) & (q->cap - 1);
    q->n--;
    return c;
}

/* Takes the ring by value: callbacks may fill a new one meanwhile. */
static void ring_fail(struct ring q, const struct err *e)
{
    while (q.n != 0) {
        struct callback c = ring_pop(&q);
        if (c.fn != NULL)
            c.fn(c.arg, NULL, e);
    }
    mem_free(q.at);
}

static void show_up(void)
{
    metric_set(METRIC_REDIS_UP, self.opened != 0 && self.up == self.opened ? 1 : 0);
}

static void set_state(struct redis *r, enum state state)
{
    if (r->state == UP)
        self.up--;
    if (state == UP)
        self.up++;
    r->state = state;
    show_up();
}

static int64_t backoff_ms(unsigned attempts)
{
    int64_t ms = attempts < 7 ? (int64_t)BACKOFF_MIN_MS << attempts : BACKOFF_MAX_MS;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    uint32_t random;
    id_random(&random, sizeof random);
    return ms / 2 + (int64_t)(random % (uint32_t)(ms / 2 + 1));
}

static void close_socket(struct redis *r)
{
    io_free(r->io);
    r->io = NULL;
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
}

static void forget_addrs(struct redis *r)
{
    if (r->addrs != NULL)
        freeaddrinfo(r->addrs);
    r->addrs = r->addr = NULL;
}

/* The connection is gone, or was not to be had. Never called inside one of the public functions, so
 * that callbacks may fire at once. */
__attribute__((format(printf, 2, 3))) static void lose(struct redis *r, const char *fmt, ...)
{
    struct err e = {.code = ERR_REDIS};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e.text, sizeof e.text, fmt, ap);
    va_end(ap);
    bool was_up = r->state == UP;
    if (was_up || strcmp(e.text, r->trouble) != 0)
        log_warn("redis", was_up ? "lost" : "unreachable", "conn=%s pending=%zu error=%s", r->name,
                 r->ring.n, log_quotez(e.text));
    memcpy(r->trouble, e.text, sizeof r->trouble);
    set_state(r, WAITING);
    close_socket(r);
    forget_addrs(r);
    redis_out_clear(&r->out);
    r->blocked = false;
    reply_parser_free(r->parser);
    r->parser = NULL;
    struct ring ring = r->ring;
    r->ring = (struct ring){0};
    timer_arm(r->timer, backoff_ms(r->attempts++));
    if (was_up)
        r->on_state(r->arg, false);
    ring_fail(ring, &e);
}

/* Bytes that Redis may refuse for now: nothing took effect, and a later attempt may do. */
static bool is_refusal_for_now(struct str text)
{
    static const char *const prefixes[] = {
        "LOADING ",   "OOM ",        "READONLY ", "MISCONF ",    "BUSY ",       "MASTERDOWN ",
        "EXECABORT ", "CLUSTERDOWN", "TRYAGAIN",  "NOREPLICAS ", "UNKILLABLE ", NULL,
    };
    for (size_t i = 0; prefixes[i] != NULL; i++) {
        if (str_starts(text, prefixes[i]))
            return true;
    }
    return false;
}

static void error_of(struct str text, struct err *e)
{
    e->code = str_starts(text, "STALE")      ? ERR_STALE
              : str_starts(text, "CONFLICT") ? ERR_CONFLICT
              : str_starts(text, "VERSION")  ? ERR_PRECONDITION
              : is_refusal_for_now(text)     ? ERR_UNAVAILABLE
                                             : ERR_INTERNAL;
    snprintf(e->text, sizeof e->text, "%.*s",
             (int)(text.n < sizeof e->text ? text.n : sizeof e->text), text.p);
}

static void answer(struct redis *r, const struct reply *reply)
{
    struct callback c = ring_pop(&r->ring);
    if (c.fn == NULL)
        return;
    if (reply_type(reply) != REPLY_ERROR) {
        c.fn(c.arg, reply, NULL);
        return;
    }
    struct err e;
    error_of(reply_str(reply), &e);
    c.fn(c.arg, NULL, &e);
}

static void come_up(struct redis *r)
{
    timer_disarm(r->timer);
    if (r->attempts != 0)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    r->attempts = 0;
    r->trouble[0] = '\0';
    set_state(r, UP);
    log_info("redis", "up", "conn=%s", r->name);
    r->on_state(r->arg, true);
}

/* Pushed messages. False: it is the reply to a command. */
static bool take_push(struct redis *r, const struct reply *reply)
{
    if (r->pattern_count == 0 || reply_type(reply) != REPLY_ARRAY || reply_len(reply) < 3)
        return false;
    struct str kind = reply_str(reply_at(reply, 0));
    if (str_is(kind, "pmessage") && reply_len(reply) == 4) {
        r->on_message(r->message_arg, reply_str(reply_at(reply, 2)), reply_str(reply_at(reply, 3)));
        return true;
    }
    if (!str_is(kind, "psubscribe"))
        return false;
    if (r->acks_missing != 0 && --r->acks_missing == 0)
        come_up(r);
    return true;
}

/* One whole reply. False: the connection was lost or closed in it. */
static bool take_reply(struct redis *r, const struct reply *reply)
{
    if (take_push(r, reply))
        return r->state == GREETING || r->state == UP;
    if (r->ring.n != 0)
        answer(r, reply);
    else if (reply_type(reply) == REPLY_ERROR)
        lose(r, "Redis said: %.*s", (int)(reply_str(reply).n < 400 ? reply_str(reply).n : 400),
             reply_str(reply).p);
    else
        lose(r, "Redis sent a reply that nobody asked for");
    return r->state == GREETING || r->state == UP;
}

static bool take_bytes(struct redis *r, const char *bytes, size_t n)
{
    while (n != 0) {
        size_t piece = n < FEED_SIZE ? n : FEED_SIZE;
        reply_parser_feed(r->parser, bytes, piece);
        bytes += piece;
        n -= piece;
        struct err e = {0};
        const struct reply *reply;
        while ((reply = reply_parser_next(r->parser, &e)) != NULL) {
            if (!take_reply(r, reply))
                return false;
        }
        if (e.code != ERR_NONE) {
            lose(r, "%s", e.text);
            return false;
        }
    }
    return true;
}

static void receive(struct redis *r)
{
    static char bytes[READ_SIZE]; /* never entered twice: callbacks do not read */
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t n = recv(r->fd, bytes, sizeof bytes, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            lose(r, "the connection to Redis broke: %s", strerror(errno));
        else if (n == 0)
            lose(r, "Redis closed the connection");
        if (n <= 0 || !take_bytes(r, bytes, (size_t)n) || (size_t)n < sizeof bytes)
            return;
    }
}

static void flush(struct redis *r)
{
    enum redis_written how = redis_out_write(&r->out, r->fd);
    if (how == WRITTEN_BROKEN) {
        int cause = errno;
        receive(r); /* what it said before it went: replies, or why it refused us */
        if (r->fd >= 0)
            lose(r, "the connection to Redis broke: %s", strerror(cause));
        return;
    }
    r->blocked = how == WRITTEN_SOME;
    io_want(r->io, r->blocked ? IO_READ | IO_WRITE : IO_READ);
}

static void on_prepare(void *arg)
{
    struct redis *r = arg;
    if ((r->state == UP || r->state == GREETING) && !r->blocked && !redis_out_empty(&r->out))
        flush(r);
}

static void subscribe(struct redis *r)
{
    struct str *argv = mem_alloc((r->pattern_count + 1) * sizeof *argv);
    argv[0] = STR("PSUBSCRIBE");
    for (size_t i = 0; i < r->pattern_count; i++)
        argv[i + 1] = buf_view(&r->patterns[i]);
    redis_out_command(&r->out, r->pattern_count + 1, argv);
    mem_free(argv);
    r->acks_missing = r->pattern_count;
}

static void on_greeted(void *arg, const struct reply *reply, const struct err *e)
{
    (void)reply;
    struct redis *r = arg;
    if (r->state != GREETING)
        return; /* lost or closed meanwhile: this is one of the failing callbacks */
    if (e != NULL)
        lose(r, "Redis refused the connection: %s", e->text);
    else if (r->ring.n == 0 && r->pattern_count == 0)
        come_up(r);
}

static void greet_with(struct redis *r, size_t argc, const struct str *argv)
{
    redis_out_command(&r->out, argc, argv);
    ring_push(&r->ring, on_greeted, r);
}

static void greet(struct redis *r)
{
    set_state(r, GREETING);
    timer_arm(r->timer, GREETING_TIMEOUT_MS);
    r->parser = reply_parser_new();
    io_want(r->io, IO_READ);
    if (r->url.user != NULL)
        greet_with(r, 3, (struct str[]){STR("AUTH"), str_of(r->url.user), str_of(r->url.password)});
    else if (r->url.password != NULL)
        greet_with(r, 2, (struct str[]){STR("AUTH"), str_of(r->url.password)});
    if (r->url.db != 0) {
        char db[16];
        snprintf(db, sizeof db, "%d", r->url.db);
        greet_with(r, 2, (struct str[]){STR("SELECT"), str_of(db)});
    }
    char *name = mem_format("hookmesh-%s", r->name);
    greet_with(r, 3, (struct str[]){STR("CLIENT"), STR("SETNAME"), str_of(name)});
    mem_free(name);
    greet_with(r, 1, (struct str[]){STR("PING")});
    if (r->pattern_count != 0)
        subscribe(r);
}

static void try_addr(struct redis *r);

/* The attempt on one address failed: the next one, or give up for now. */
static void try_next(struct redis *r, int cause)
{
    close_socket(r);
    if (r->addr != NULL && r->addr->ai_next != NULL) {
        r->addr = r->addr->ai_next;
        try_addr(r);
        return;
    }
    if (r->url.unix_path != NULL)
        lose(r, "cannot reach Redis at %s: %s", r->url.unix_path, strerror(cause));
    else
        lose(r, "cannot reach Redis at %s:%d: %s", r->url.host, r->url.port, strerror(cause));
}

static void on_connected(struct redis *r)
{
    int cause = 0;
    socklen_t n = sizeof cause;
    if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &cause, &n) != 0)
        cause = errno;
    if (cause != 0)
        try_next(r, cause);
    else
        greet(r);
}

static void on_io(void *arg, int events)
{
    struct redis *r = arg;
    must(r->magic == REDIS_MAGIC);
    if (r->state == CONNECTING) {
        on_connected(r);
        return;
    }
    if ((events & IO_READ) != 0)
        receive(r);
    if ((events & IO_WRITE) != 0 && (r->state == UP || r->state == GREETING))
        flush(r);
}

/* TCP keepalive alone does not notice a peer that vanished while data is under way. */
static void tune_tcp(int fd)
{
    int on = 1, idle_s = DEAD_PEER_MS / 1000, dead_ms = DEAD_PEER_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
}

/* Connects to r->addr, or to the unix path. */
static void try_addr(struct redis *r)
{
    set_state(r, CONNECTING);
    int family = r->addr == NULL ? AF_UNIX : r->addr->ai_family;
    r->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (r->fd < 0) {
        try_next(r, errno);
        return;
    }
    int rc;
    if (r->addr == NULL) {
        rc = unix_socket_connect(r->fd, r->url.unix_path);
    } else {
        tune_tcp(r->fd);
        rc = connect(r->fd, r->addr->ai_addr, r->addr->ai_addrlen);
    }
    if (rc != 0 && errno != EINPROGRESS) {
        try_next(r, errno);
        return;
    }
    r->io = io_new(r->fd, on_io, r);
    io_want(r->io, IO_WRITE);
}

static void resolve_work(void *arg)
{
    struct resolve *op = arg;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    op->rc = getaddrinfo(op->host, op->port, &hints, &op->found);
}

static void resolve_done(void *arg)
{
    struct resolve *op = arg;
    struct redis *r = op->r;
    if (r == NULL) {
        if (op->found != NULL)
            freeaddrinfo(op->found);
    } else {
        r->resolve = NULL;
        r->addrs = r->addr = op->found;
        if (op->rc == 0)
            try_addr(r);
        else
            lose(r, "cannot find the Redis host %s: %s", op->host, gai_strerror(op->rc));
    }
    mem_free(op->host);
    mem_free(op);
}

static void begin(struct redis *r)
{
    timer_arm(r->timer, CONNECT_TIMEOUT_MS);
    if (r->url.unix_path != NULL) {
        try_addr(r);
        return;
    }
    set_state(r, RESOLVING);
    struct resolve *op = mem_new(struct resolve);
    op->r = r;
    op->host = mem_strdup(r->url.host);
    snprintf(op->port, sizeof op->port, "%d", r->url.port);
    r->resolve = op;
    loop_work(resolve_work, resolve_done, op);
}

static void abandon_resolve(struct redis *r)
{
    if (r->resolve != NULL)
        r->resolve->r = NULL;
    r->resolve = NULL;
}

static void on_timer(void *arg)
{
    struct redis *r = arg;
    if (r->state == WAITING) {
        begin(r);
        return;
    }
    abandon_resolve(r);
    lose(r,
         r->state == GREETING ? "Redis does not answer" : "cannot reach Redis: it took too long");
}

struct redis *redis_open(const struct redis_url *url, const char *name, redis_state_fn on_state,
                         void *arg)
{
    must(url->unix_path != NULL || url->host != NULL);
    struct redis *r = mem_new(struct redis);
    r->magic = REDIS_MAGIC;
    r->state = WAITING;
    r->fd = -1;
    r->name = mem_strdup(name);
    r->url = (struct redis_url){.unix_path = mem_strdup(url->unix_path),
                                .host = mem_strdup(url->host),
                                .port = url->port,
                                .db = url->db,
                                .user = mem_strdup(url->user),
                                .password = mem_strdup(url->password)};
    r->on_state = on_state;
    r->arg = arg;
    snprintf(r->trouble, sizeof r->trouble, "not connected to Redis yet");
    redis_out_init(&r->out);
    if (url->password != NULL)
        log_secret(str_of(url->password));
    self.opened++;
    show_up();
    r->timer = timer_new(on_timer, r);
    r->prepare = loop_prepare_start(on_prepare, r);
    timer_arm(r->timer, 0);
    return r;
}

static void fire_cancelled(void *arg)
{
    struct ring *ring = arg;
    ring_fail(*ring, &(struct err){ERR_CANCELLED, "the connection to Redis was closed here"});
    mem_free(ring);
}

static void free_closed(void *arg)
{
    struct redis *r = arg;
    reply_parser_free(r->parser);
    redis_url_finish(&r->url);
    for (size_t i = 0; i < r->pattern_count; i++)
        buf_finish(&r->patterns[i]);
    mem_free(r->patterns);
    mem_free(r->name);
    r->magic = 0;
    mem_free(r);
}

/* The struct itself outlives this turn: we may be inside one of its callbacks. */
void redis_close(struct redis *r)
{
    if (r == NULL)
        return;
    must(r->magic == REDIS_MAGIC && r->state != CLOSED);
    set_state(r, CLOSED);
    self.opened--;
    show_up();
    abandon_resolve(r);
    close_socket(r);
    forget_addrs(r);
    timer_free(r->timer);
    loop_prepare_stop(r->prepare);
    redis_out_finish(&r->out);
    if (r->ring.n != 0) {
        struct ring *ring = mem_new(struct ring);
        *ring = r->ring;
        loop_defer(fire_cancelled, ring);
    } else {
        mem_free(r->ring.at);
    }
    r->ring = (struct ring){0};
    loop_defer(free_closed, r);
}

bool redis_up(const struct redis *r)
{
    return r->state == UP;
}

const char *redis_trouble(const struct redis *r)
{
    return r->trouble;
}

size_t redis_pending(const struct redis *r)
{
    return r->ring.n;
}

struct refused {
    redis_fn fn;
    void *arg;
    struct err e;
};

static void fire_refused(void *arg)
{
    struct refused *op = arg;
    op->fn(op->arg, NULL, &op->e);
    mem_free(op);
}

static void refuse(const struct redis *r, redis_fn fn, void *arg)
{
    if (fn == NULL)
        return;
    struct refused *op = mem_new(struct refused);
    op->fn = fn;
    op->arg = arg;
    if (r->state == CLOSED)
        err_fail(&op->e, ERR_CANCELLED, "the connection to Redis was closed here");
    else if (r->pattern_count != 0)
        err_fail(&op->e, ERR_INTERNAL, "the Redis connection %s is for messages only", r->name);
    else
        err_fail(&op->e, ERR_REDIS, "%s", r->trouble);
    loop_defer(fire_refused, op);
}

void redis_call(struct redis *r, redis_fn fn, void *arg, size_t argc, const struct str *argv)
{
    must(r->magic == REDIS_MAGIC && argc != 0);
    if (r->state != UP || r->pattern_count != 0) {
        refuse(r, fn, arg);
        return;
    }
    redis_out_command(&r->out, argc, argv);
    ring_push(&r->ring, fn, arg);
}

void redis_cmd(struct redis *r, redis_fn fn, void *arg, ...)
{
    struct str words[WORDS_MAX];
    size_t n = 0;
    va_list ap;
    va_start(ap, arg);
    for (const char *w; (w = va_arg(ap, const char *)) != NULL;) {
        must(n < WORDS_MAX);
        words[n++] = str_of(w);
    }
    va_end(ap);
    redis_call(r, fn, arg, n, words);
}

void redis_psubscribe(struct redis *r, redis_message_fn fn, void *arg, size_t n,
                      const struct str *patterns)
{
    must(r->magic == REDIS_MAGIC && r->pattern_count == 0 && n != 0);
    r->on_message = fn;
    r->message_arg = arg;
    r->patterns = mem_zero(n, sizeof *r->patterns);
    r->pattern_count = n;
    for (size_t i = 0; i < n; i++)
        buf_str(&r->patterns[i], patterns[i]);
    if (r->state == UP || r->state == GREETING)
        subscribe(r);
}
