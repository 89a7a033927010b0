/* SPDX-License-Identifier: Apache-2.0 */
/* One libuv loop, shared with h2o and libwebsockets, which bring handles of their own.
 *
 * A turn of libuv is: timers, idle, prepare, poll (the descriptors), check, closing. Ours adds one
 * prepare handle, started first and therefore run last: it calls what was deferred in this turn, then the
 * registered prepares (they flush what all the others produced), and frees what loop_free_later got before them.
 * Whatever is deferred while that happens waits for the next turn, and an idle handle keeps the loop from blocking
 * until then: a chain of deferred calls cannot starve the descriptors.
 *
 * Everything of ours hangs in one list, so that loop_finish can free what its owners left behind;
 * foreign handles are only closed. libuv stops polling a descriptor on POLLERR and tells it as a status: we start
 * again and report readable and writable, because a client that waits for an event would hang for ever. */
#include "net/loop.h"

#include <signal.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"

enum { DIR_SETTLE_MS = 100, FINISH_ROUNDS_MAX = 100000 };

struct deferred {
    loop_fn fn;
    void *arg;
};

struct deferred_queue {
    struct deferred *at;
    size_t n;
    size_t cap;
};

struct free_queue {
    void **at;
    size_t n;
    size_t cap;
};

/* Common head of all that owns a handle. */
struct owned {
    struct list link;
    void (*give_up)(struct owned *o); /* closes and frees it */
};

struct loop_prepare {
    struct list link;
    loop_fn fn; /* NULL: stopped, freed at the end of the turn */
    void *arg;
};

struct timer {
    struct owned owned;
    uv_timer_t handle;
    loop_fn fn;
    void *arg;
};

struct io {
    struct owned owned;
    uv_poll_t handle;
    io_fn fn;
    void *arg;
    int wanted;
};

struct on_signal {
    struct owned owned;
    uv_signal_t handle;
    signal_fn fn;
    void *arg;
};

struct dir_watch {
    struct owned owned;
    uv_fs_event_t handle;
    struct timer *settle;
};

struct work {
    uv_work_t req;
    loop_fn work;
    loop_fn done;
    void *arg;
};

static struct {
    bool started;
    uv_loop_t loop;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    struct list owned;
    struct list prepares;
    struct deferred_queue deferred;
    struct deferred_queue running;
    struct free_queue garbage;
    int64_t now_us; /* 0: not asked yet in this turn */
} self;

static void run_deferred(void)
{
    struct deferred_queue batch = self.deferred;
    self.deferred = self.running;
    self.deferred.n = 0;
    self.running = (struct deferred_queue){0};
    for (size_t i = 0; i < batch.n; i++)
        batch.at[i].fn(batch.at[i].arg);
    self.running = batch;
}

static void run_prepares(void)
{
    list_each_safe(at, &self.prepares) {
        struct loop_prepare *p = container_of(at, struct loop_prepare, link);
        if (p->fn != NULL)
            p->fn(p->arg);
    }
    list_each_safe(at, &self.prepares) {
        struct loop_prepare *p = container_of(at, struct loop_prepare, link);
        if (p->fn == NULL) {
            list_remove(&p->link);
            mem_free(p);
        }
    }
}

static void free_garbage(size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(self.garbage.at[i]);
    self.garbage.n -= n;
    if (self.garbage.n != 0)
        memmove(self.garbage.at, self.garbage.at + n, self.garbage.n * sizeof *self.garbage.at);
}

static void on_idle(uv_idle_t *handle)
{
    (void)handle; /* its being active is all: the poll does not block */
}

static void on_prepare(uv_prepare_t *handle)
{
    (void)handle;
    size_t old = self.garbage.n;
    run_deferred();
    run_prepares();
    free_garbage(old);
    if (self.deferred.n == 0)
        uv_idle_stop(&self.idle);
    self.now_us = 0;
}

static void on_check(uv_check_t *handle)
{
    (void)handle;
    self.now_us = 0;
}

bool loop_start(struct err *e)
{
    must(!self.started);
    memset(&self, 0, sizeof self);
    list_init(&self.owned);
    list_init(&self.prepares);
    int rc = uv_loop_init(&self.loop);
    if (rc != 0)
        return err_fail(e, ERR_SYSTEM, "cannot make the event loop: %s", uv_strerror(rc));
    signal(SIGPIPE, SIG_IGN); /* a peer that went shows as EPIPE */
    must(uv_prepare_init(&self.loop, &self.prepare) == 0);
    must(uv_check_init(&self.loop, &self.check) == 0);
    must(uv_idle_init(&self.loop, &self.idle) == 0);
    must(uv_prepare_start(&self.prepare, on_prepare) == 0);
    must(uv_check_start(&self.check, on_check) == 0);
    self.started = true;
    return true;
}

void loop_run(void)
{
    must(self.started);
    uv_run(&self.loop, UV_RUN_DEFAULT);
}

void loop_stop(void)
{
    uv_stop(&self.loop);
}

static void close_foreign(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Work that is in the pool still ends and has its done called: its owner frees there. That and what was
 * deferred may make new handles, hence the rounds, of one turn each: no new timer gets to fire. */
void loop_finish(void)
{
    if (!self.started)
        return;
    int rounds = 0;
    do {
        must(rounds++ < FINISH_ROUNDS_MAX);
        run_deferred();
        list_each_safe(at, &self.owned) {
            struct owned *o = container_of(at, struct owned, link);
            o->give_up(o);
        }
        uv_walk(&self.loop, close_foreign, NULL);
        uv_run(&self.loop, UV_RUN_ONCE);
    } while (self.deferred.n != 0 || !list_empty(&self.owned) || uv_loop_close(&self.loop) != 0);
    list_each_safe(at, &self.prepares)
        mem_free(container_of(at, struct loop_prepare, link));
    free_garbage(self.garbage.n);
    mem_free(self.garbage.at);
    mem_free(self.deferred.at);
    mem_free(self.running.at);
    self.started = false;
}

struct uv_loop_s *loop_uv(void)
{
    must(self.started);
    return &self.loop;
}

int64_t loop_now_us(void)
{
    if (self.now_us == 0)
        self.now_us = clock_mono_us();
    return self.now_us;
}

void loop_defer(loop_fn fn, void *arg)
{
    must(self.started);
    struct deferred_queue *q = &self.deferred;
    if (q->n == q->cap) {
        q->cap = q->cap == 0 ? 64 : q->cap * 2;
        q->at = mem_resize(q->at, q->cap * sizeof *q->at);
    }
    q->at[q->n++] = (struct deferred){fn, arg};
    if (q->n == 1 && !uv_is_closing((uv_handle_t *)&self.idle))
        uv_idle_start(&self.idle, on_idle);
}

void loop_free_later(void *p)
{
    must(self.started);
    struct free_queue *q = &self.garbage;
    if (q->n == q->cap) {
        q->cap = q->cap == 0 ? 64 : q->cap * 2;
        q->at = mem_resize(q->at, q->cap * sizeof *q->at);
    }
    q->at[q->n++] = p;
}

struct loop_prepare *loop_prepare_start(loop_fn fn, void *arg)
{
    must(self.started);
    struct loop_prepare *p = mem_new(struct loop_prepare);
    p->fn = fn;
    p->arg = arg;
    /* The last to come is the first to run: what lies deeper was started earlier, and sends what those above it
     * made in this turn. */
    list_append(self.prepares.next, &p->link);
    return p;
}

void loop_prepare_stop(struct loop_prepare *p)
{
    if (p != NULL)
        p->fn = NULL;
}

/* The close callback of each handle of ours: its struct begins with struct owned. */
static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void own(struct owned *o, uv_handle_t *handle, void (*give_up)(struct owned *))
{
    must(self.started);
    handle->data = o;
    o->give_up = give_up;
    list_append(&self.owned, &o->link);
}

static void disown(struct owned *o, uv_handle_t *handle)
{
    list_remove(&o->link);
    uv_close(handle, on_closed);
}

static void timer_give_up(struct owned *o)
{
    timer_free(container_of(o, struct timer, owned));
}

static void on_timer(uv_timer_t *handle)
{
    struct timer *t = handle->data;
    t->fn(t->arg);
}

struct timer *timer_new(loop_fn fn, void *arg)
{
    struct timer *t = mem_new(struct timer);
    t->fn = fn;
    t->arg = arg;
    must(uv_timer_init(&self.loop, &t->handle) == 0);
    own(&t->owned, (uv_handle_t *)&t->handle, timer_give_up);
    return t;
}

/* Never 0: libuv would call a timer that arms itself for "now" again and again in the same turn. */
static uint64_t positive_ms(int64_t ms)
{
    return ms > 0 ? (uint64_t)ms : 1;
}

/* libuv counts from the start of the turn: without the update a long turn would let a timer fire too
 * early. */
void timer_arm(struct timer *t, int64_t after_ms)
{
    uv_update_time(&self.loop);
    uv_timer_start(&t->handle, on_timer, positive_ms(after_ms), 0);
}

void timer_every(struct timer *t, int64_t every_ms)
{
    must(every_ms > 0);
    uv_update_time(&self.loop);
    uv_timer_start(&t->handle, on_timer, (uint64_t)every_ms, (uint64_t)every_ms);
}

void timer_disarm(struct timer *t)
{
    uv_timer_stop(&t->handle);
}

bool timer_armed(const struct timer *t)
{
    return uv_is_active((const uv_handle_t *)&t->handle) != 0;
}

void timer_free(struct timer *t)
{
    if (t != NULL)
        disown(&t->owned, (uv_handle_t *)&t->handle);
}

static void io_give_up(struct owned *o)
{
    io_free(container_of(o, struct io, owned));
}

static void on_io(uv_poll_t *handle, int status, int events);

static void io_poll(struct io *io)
{
    int events = ((io->wanted & IO_READ) != 0 ? UV_READABLE : 0) |
                 ((io->wanted & IO_WRITE) != 0 ? UV_WRITABLE : 0);
    if (events == 0)
        uv_poll_stop(&io->handle);
    else
        uv_poll_start(&io->handle, events, on_io);
}

static void on_io(uv_poll_t *handle, int status, int events)
{
    struct io *io = handle->data;
    int happened = IO_READ | IO_WRITE;
    if (status < 0)
        io_poll(io);
    else
        happened = ((events & UV_READABLE) != 0 ? IO_READ : 0) |
                   ((events & UV_WRITABLE) != 0 ? IO_WRITE : 0);
    if (happened != 0)
        io->fn(io->arg, happened);
}

struct io *io_new(int fd, io_fn fn, void *arg)
{
    struct io *io = mem_new(struct io);
    io->fn = fn;
    io->arg = arg;
    must(uv_poll_init(&self.loop, &io->handle, fd) == 0);
    own(&io->owned, (uv_handle_t *)&io->handle, io_give_up);
    return io;
}

void io_want(struct io *io, int events)
{
    if (events == io->wanted)
        return;
    io->wanted = events;
    io_poll(io);
}

void io_free(struct io *io)
{
    if (io != NULL)
        disown(&io->owned, (uv_handle_t *)&io->handle);
}

static void signal_give_up(struct owned *o)
{
    struct on_signal *s = container_of(o, struct on_signal, owned);
    disown(o, (uv_handle_t *)&s->handle);
}

static void on_signal(uv_signal_t *handle, int signo)
{
    struct on_signal *s = handle->data;
    s->fn(s->arg, signo);
}

void loop_on_signal(int signo, signal_fn fn, void *arg)
{
    struct on_signal *s = mem_new(struct on_signal);
    s->fn = fn;
    s->arg = arg;
    must(uv_signal_init(&self.loop, &s->handle) == 0);
    own(&s->owned, (uv_handle_t *)&s->handle, signal_give_up);
    must(uv_signal_start(&s->handle, on_signal, signo) == 0);
}

static void dir_watch_give_up(struct owned *o)
{
    struct dir_watch *w = container_of(o, struct dir_watch, owned);
    disown(o, (uv_handle_t *)&w->handle); /* its timer stands in the list by itself */
}

static void on_dir_event(uv_fs_event_t *handle, const char *name, int events, int status)
{
    (void)name;
    (void)events;
    (void)status; /* an overflow of the kernel's queue is a change too */
    struct dir_watch *w = handle->data;
    timer_arm(w->settle, DIR_SETTLE_MS);
}

struct dir_watch *dir_watch_start(const char *path, loop_fn fn, void *arg, struct err *e)
{
    struct dir_watch *w = mem_new(struct dir_watch);
    must(uv_fs_event_init(&self.loop, &w->handle) == 0);
    own(&w->owned, (uv_handle_t *)&w->handle, dir_watch_give_up);
    int rc = uv_fs_event_start(&w->handle, on_dir_event, path, 0);
    if (rc != 0) {
        disown(&w->owned, (uv_handle_t *)&w->handle);
        err_fail(e, rc == UV_ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM, "cannot watch %s: %s", path,
                 uv_strerror(rc));
        return NULL;
    }
    w->settle = timer_new(fn, arg);
    return w;
}

void dir_watch_stop(struct dir_watch *w)
{
    if (w == NULL)
        return;
    timer_free(w->settle);
    disown(&w->owned, (uv_handle_t *)&w->handle);
}

static void on_work(uv_work_t *req)
{
    struct work *w = req->data;
    w->work(w->arg);
}

static void on_work_done(uv_work_t *req, int status)
{
    (void)status; /* we never cancel */
    struct work *w = req->data;
    w->done(w->arg);
    mem_free(w);
}

void loop_work(loop_fn work, loop_fn done, void *arg)
{
    must(self.started);
    struct work *w = mem_new(struct work);
    w->req.data = w;
    w->work = work;
    w->done = done;
    w->arg = arg;
    must(uv_queue_work(&self.loop, &w->req, on_work, on_work_done) == 0);
}
