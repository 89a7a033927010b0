/* SPDX-License-Identifier: Apache-2.0 */
/* How many processes, and how much is sent to each? Both follow from one measured figure, the time a claim takes. So much is sent ahead
 * that a worker never waits for us, and little more, because what was sent is stuck behind a slow claim and must be sent again
 * after a crash. One more worker is started when the queue would take too long or stands still; a fixed number would either waste memory
 * on fast work or let slow work wait.
 *
 * The one rule that must hold: a worker answers in the order of its ring, and whoever takes a claim out of a ring or out of the
 * queue finishes it or puts it back. claim_finish may call pool_add at once, therefore nothing is sent while `depth` is not 0. */
#include "work/pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "work/runner.h"
#include "work/value.h"

enum {
    STANDS_US = 50 * 1000,        /* a queue gets another worker when a claim takes so long */
    DRAIN_US = 50 * 1000,         /* or when it would take so long ... */
    SLOW_US = 200,                /* ... at so much a claim or more */
    EXTRA_IDLE_US = 10 * 1000000, /* when a worker that isn't the only one is ended */
    LAST_IDLE_US = 300 * 1000000, /* and the only one */
    END_GRACE_US = 2 * 1000000,   /* to end after its stdin was closed */
    REFUSED_US = 1000000,         /* no new try so long after a child that could not begin */
    UNWRITTEN_MAX = 1 << 20,      /* bytes that may wait for a worker to read them */
    MEASURED = 8,                 /* batches after which the average is to be believed */
    FIRST_GUESS_US = 1000,        /* each_us of a new worker */
};

static struct list all = {&all, &all}; /* pools, retired ones too */

/* The queue. */

static void queue_grow(struct pool *p)
{
    size_t cap = p->queue_cap == 0 ? 64 : p->queue_cap * 2;
    struct claim **q = mem_zero(cap, sizeof(struct claim *));
    for (size_t i = 0; i < p->queue_n; i++)
        q[i] = p->queue[(p->queue_head + i) & (p->queue_cap - 1)];
    mem_free(p->queue);
    p->queue = q;
    p->queue_cap = cap;
    p->queue_head = 0;
}

static void queue_push(struct pool *p, struct claim *c)
{
    if (p->queue_n == p->queue_cap)
        queue_grow(p);
    p->queue[(p->queue_head + p->queue_n++) & (p->queue_cap - 1)] = c;
}

static void queue_push_front(struct pool *p, struct claim *c)
{
    if (p->queue_n == p->queue_cap)
        queue_grow(p);
    p->queue_head = (p->queue_head - 1) & (p->queue_cap - 1);
    p->queue[p->queue_head] = c;
    p->queue_n++;
}

static struct claim *queue_pop(struct pool *p)
{
    struct claim *c = p->queue[p->queue_head];
    p->queue_head = (p->queue_head + 1) & (p->queue_cap - 1);
    p->queue_n--;
    return c;
}

static bool queue_remove(struct pool *p, const struct claim *c)
{
    for (size_t i = 0; i < p->queue_n; i++) {
        if (p->queue[(p->queue_head + i) & (p->queue_cap - 1)] != c)
            continue;
        for (; i + 1 < p->queue_n; i++)
            p->queue[(p->queue_head + i) & (p->queue_cap - 1)] =
                p->queue[(p->queue_head + i + 1) & (p->queue_cap - 1)];
        p->queue_n--;
        return true;
    }
    return false;
}

static void fail_queue(struct pool *p, enum claim_outcome outcome, const char *error)
{
    for (size_t n = p->queue_n; n != 0 && p->queue_n != 0; n--)
        claim_finish(queue_pop(p), outcome, (struct str){NULL, 0}, error, -1);
}

/* Workers. */

static struct sent *sent_at(const struct worker *w, uint32_t number)
{
    return &w->ring[number & (uint32_t)(w->pool->kind->window - 1)];
}

static size_t in_flight(const struct worker *w)
{
    return w->tail - w->head;
}

static bool is_sent(const struct worker *w, uint32_t number)
{
    return number - w->head < w->tail - w->head;
}

const struct claim *pool_oldest(const struct worker *w)
{
    return w->head == w->tail ? NULL : sent_at(w, w->head)->c;
}

static void at_work(struct worker *w, uint32_t *number, int64_t *since_us)
{
    *number = w->head;
    *since_us = w->head_since_us;
    if (w->pool->kind->at_work == NULL)
        return;
    uint32_t n;
    int64_t since;
    w->pool->kind->at_work(w, &n, &since);
    if (!is_sent(w, n))
        return; /* between two, or nonsense */
    *number = n;
    if (since > *since_us && since <= clock_mono_us())
        *since_us = since;
}

/* The run that stderr belongs to is that of the oldest claim. */
static struct lines_to lines_to(const struct worker *w)
{
    const struct claim *c = pool_oldest(w);
    int64_t max = runner_settings()->run_log_max;
    if (c == NULL)
        return (struct lines_to){{NULL, 0}, str_of(w->pool->name), max};
    return (struct lines_to){c->run, str_of(c->stage->id), max};
}

static void timer_at(struct worker *w, int64_t at_us)
{
    if (timer_armed(w->timer) && w->timer_at_us <= at_us)
        return; /* it will look again then */
    int64_t now = clock_mono_us();
    w->timer_at_us = at_us;
    timer_arm(w->timer, at_us > now ? (at_us - now) / 1000 + 1 : 1);
}

static void kill_worker(struct worker *w, enum worker_fate fate)
{
    if (w->fate != FATE_NONE)
        return;
    w->fate = fate;
    w->ending = true;
    proc_kill(w->proc);
}

static void end_worker(struct worker *w)
{
    w->ending = true;
    w->idle_since_us = clock_mono_us();
    proc_close_stdin(w->proc);
    timer_disarm(w->timer);
    timer_at(w, w->idle_since_us + END_GRACE_US);
}

static void on_idle_tick(struct worker *w)
{
    int64_t allowed = w->ending               ? END_GRACE_US
                      : w->pool->worker_n > 1 ? EXTRA_IDLE_US
                                              : LAST_IDLE_US;
    int64_t ends = w->idle_since_us + allowed;
    if (clock_mono_us() < ends)
        timer_at(w, ends);
    else if (w->ending)
        kill_worker(w, FATE_STOP);
    else
        end_worker(w);
}

static void on_worker_timer(void *arg)
{
    struct worker *w = arg;
    if (w->fate != FATE_NONE)
        return;
    if (w->head == w->tail && w->ready) {
        on_idle_tick(w);
        return;
    }
    uint32_t number;
    int64_t since;
    at_work(w, &number, &since);
    int64_t limit = w->ready ? sent_at(w, number)->timeout_ms : runner_settings()->step_timeout;
    int64_t ends = since + limit * 1000;
    int64_t now = clock_mono_us();
    if (now >= ends) {
        w->culprit = number;
        w->culprit_outcome = CLAIM_TIMEOUT;
        struct buf text = {0};
        clock_format_duration(&text, limit);
        snprintf(w->why, sizeof w->why, "%s took longer than %s and was killed",
                 w->pool->kind->noun, text.p);
        buf_finish(&text);
        kill_worker(w, FATE_TIMEOUT);
        return;
    }
    if (w->ready && w->pool->kind->on_tick != NULL)
        w->pool->kind->on_tick(w);
    int64_t tick = w->pool->kind->tick_ms * 1000;
    /* The longer it takes, the less often it is looked at. */
    if (tick != 0 && tick < (now - since) / 8)
        tick = (now - since) / 8;
    timer_at(w, tick != 0 && now + tick < ends ? now + tick : ends);
}

/* All that was sent and not answered: the culprit ends, the others go back in front. */
static struct claim *take_back(struct worker *w, uint32_t culprit, bool blame)
{
    struct claim *guilty = NULL;
    for (uint32_t n = w->tail; n != w->head;) {
        struct claim *c = sent_at(w, --n)->c;
        if (c == NULL)
            continue;
        if (blame && n == culprit)
            guilty = c;
        else
            queue_push_front(w->pool, c);
    }
    w->head = w->tail;
    return guilty;
}

static void worker_free(struct worker *w)
{
    w->pool->kind->on_ended(w);
    w->pool->worker_n--;
    list_remove(&w->node);
    timer_free(w->timer);
    lines_finish(&w->lines);
    mem_free(w->ring);
    loop_free_later(w);
    runner_busy(-1);
}

static void pool_free_if_done(struct pool *p)
{
    if (!p->retired || p->depth != 0 || p->worker_n != 0 || p->queue_n != 0)
        return;
    list_remove(&p->in_all);
    p->kind->on_gone(p);
    timer_free(p->timer);
    buf_finish(&p->frames);
    mem_free(p->queue);
    mem_free(p->name);
    loop_free_later(p);
}

static void refuse(struct pool *p, enum claim_outcome outcome)
{
    p->refused_until_us = clock_mono_us() + REFUSED_US;
    p->refused_outcome = outcome;
    log_warn("work", "refused", "name=%s error=%s", p->name, log_quotez(p->refusal));
}

/* A child that ended before it was ready will do so again at once: all that waits is told, and the next try must wait. */
static void on_never_ready(struct pool *p, const struct worker *w, const struct buf *how)
{
    if (w->fate == FATE_STOP)
        return;
    if (w->fate == FATE_TIMEOUT)
        snprintf(p->refusal, sizeof p->refusal, "%s did not get ready in time", p->kind->noun);
    else if (w->why[0] != '\0')
        snprintf(p->refusal, sizeof p->refusal, "%s", w->why);
    else
        snprintf(p->refusal, sizeof p->refusal, "%s could not begin: it %s", p->kind->noun, how->p);
    refuse(p, CLAIM_RETRY);
    fail_queue(p, CLAIM_RETRY, p->refusal);
}

static void on_exit(void *arg, const struct proc_exit *x)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    uint32_t number;
    int64_t since;
    at_work(w, &number, &since);
    struct lines_to to = lines_to(w);
    lines_end(&w->lines, &to);
    struct buf how = {0};
    runner_describe_exit(&how, x, lines_tail(&w->lines));
    bool told = w->fate == FATE_TIMEOUT || w->fate == FATE_BREACH;
    bool blame = told || w->fate == FATE_NONE || w->fate == FATE_STOP;
    struct claim *guilty = take_back(w, told ? w->culprit : number, blame);
    p->depth++;
    if (!w->ready)
        on_never_ready(p, w, &how);
    if (guilty != NULL) {
        struct buf error = {0};
        if (told)
            buf_puts(&error, w->why);
        else
            buf_printf(&error, "%s %s", p->kind->noun, how.p);
        if (w->fate == FATE_NONE)
            log_warn("work", "died", "name=%s run=%.*s error=%s", p->name, (int)guilty->run.n,
                     guilty->run.p, log_quotez(error.p));
        claim_finish(guilty, told ? w->culprit_outcome : runner_exit_outcome(x),
                     (struct str){NULL, 0},
                     w->fate == FATE_STOP ? "the server stopped meanwhile" : error.p, -1);
        buf_finish(&error);
    }
    buf_finish(&how);
    worker_free(w);
    p->depth--;
    pool_pump(p);
}

/* What one of the claims answered since then took. */
static void measure(struct worker *w, uint32_t answered, int64_t since_us)
{
    int64_t now = clock_mono_us();
    int64_t took = now - since_us;
    if (w->pool->kind->worked_us != NULL) {
        int64_t worked = w->pool->kind->worked_us(w);
        int64_t more = worked - w->worked_us;
        w->worked_us = worked;
        if (more >= 0 && more < took)
            took = more; /* the rest was waiting, for us or for the processor */
    }
    int64_t each = took / answered;
    w->each_us = w->measured++ == 0 ? each : (3 * w->each_us + each) / 4;
    w->head_since_us = now;
    w->idle_since_us = now;
}

static void on_stdout(void *arg, struct str bytes)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    if (w->fate != FATE_NONE)
        return; /* its claims are decided */
    p->depth++;
    uint32_t before = w->head;
    int64_t since = w->head_since_us;
    p->kind->on_bytes(w, bytes);
    if (w->head != before)
        measure(w, w->head - before, since);
    p->depth--;
    pool_pump(p);
}

static void on_stderr(void *arg, struct str bytes)
{
    struct worker *w = arg;
    struct lines_to to = lines_to(w);
    lines_feed(&w->lines, &to, bytes);
}

static bool start_worker(struct pool *p, struct err *e)
{
    static const struct proc_events events = {on_stdout, on_stderr, on_exit};
    struct worker *w = mem_new(struct worker);
    w->pool = p;
    list_init(&w->node);
    w->proc = p->kind->start(w, &events, e);
    if (w->proc == NULL) {
        p->kind->on_ended(w);
        mem_free(w);
        return false;
    }
    list_append(&p->workers, &w->node);
    p->worker_n++;
    runner_busy(1);
    w->ring = mem_zero(p->kind->window, sizeof(struct sent));
    w->each_us = FIRST_GUESS_US;
    w->head_since_us = w->idle_since_us = clock_mono_us();
    w->timer = timer_new(on_worker_timer, w);
    timer_at(w, w->head_since_us + runner_settings()->step_timeout * 1000);
    return true;
}

/* Sending. */

static size_t window(const struct worker *w)
{
    int64_t n = w->pool->kind->ahead_us / (w->each_us + 1);
    return n < 1 ? 1 : n > (int64_t)w->pool->kind->window ? w->pool->kind->window : (size_t)n;
}

static struct worker *least_busy(const struct pool *p)
{
    struct worker *best = NULL;
    list_each(at, &p->workers) {
        struct worker *w = container_of(at, struct worker, node);
        if (w->ready && !w->ending && in_flight(w) < window(w) &&
            proc_unwritten(w->proc) < UNWRITTEN_MAX &&
            (best == NULL || in_flight(w) < in_flight(best)))
            best = w;
    }
    return best;
}

static bool some_worker_starts(const struct pool *p)
{
    list_each(at, &p->workers) {
        if (!container_of(at, struct worker, node)->ready)
            return true;
    }
    return false;
}

/* The work is slow enough for another process to pay, and the queue long. Fast work goes through one process faster
 * than Redis could feed two. */
static bool drains_slowly(const struct pool *p)
{
    int64_t each = 0;
    list_each(at, &p->workers) {
        const struct worker *w = container_of(at, struct worker, node);
        if (w->measured < MEASURED)
            return false;
        each += w->each_us;
    }
    each /= p->worker_n;
    return each >= SLOW_US && (int64_t)p->queue_n * each / p->worker_n >= DRAIN_US;
}

/* Every worker has had its claim for long. */
static bool stands(const struct pool *p)
{
    int64_t now = clock_mono_us();
    list_each(at, &p->workers) {
        struct worker *w = container_of(at, struct worker, node);
        uint32_t number;
        int64_t since;
        at_work(w, &number, &since);
        if (now - since < STANDS_US)
            return false;
    }
    return true;
}

/* Is one more worker called for, now that none has room for the queue? */
static bool needs_worker(struct pool *p)
{
    if (p->worker_n == 0)
        return true;
    if (some_worker_starts(p) || p->worker_n >= p->kind->max_workers(p) ||
        clock_mono_us() < p->refused_until_us)
        return false;
    if (drains_slowly(p) || stands(p))
        return true;
    if (!timer_armed(p->timer))
        timer_arm(p->timer, STANDS_US / 1000);
    return false;
}

/* true: there is a new worker, and it is ready. */
static bool grow(struct pool *p)
{
    if (!needs_worker(p))
        return false;
    if (p->worker_n == 0 && clock_mono_us() < p->refused_until_us) {
        fail_queue(p, p->refused_outcome, p->refusal);
        return false;
    }
    struct err e;
    if (start_worker(p, &e))
        return container_of(p->workers.prev, struct worker, node)->ready;
    snprintf(p->refusal, sizeof p->refusal, "%.*s", (int)sizeof p->refusal - 1, e.text);
    refuse(p, runner_spawn_outcome(&e));
    if (p->worker_n == 0)
        fail_queue(p, p->refused_outcome, p->refusal);
    return false;
}

/* Fills w's window; false when a claim could not be said, then others may have to be looked at. */
static void send(struct worker *w)
{
    struct pool *p = w->pool;
    int64_t now = clock_mono_us();
    if (w->head == w->tail) {
        w->head_since_us = now;
        lines_begin_step(&w->lines);
    }
    buf_clear(&p->frames);
    for (size_t room = window(w) - in_flight(w); room != 0 && p->queue_n != 0; room--) {
        struct claim *c = queue_pop(p);
        struct err e;
        size_t before = p->frames.n;
        if (!p->kind->encode(w, c, w->tail, &p->frames, &e)) {
            if (p->frames.n > before)
                p->frames.n = before;
            claim_finish(c, CLAIM_FAIL, (struct str){NULL, 0}, e.text, -1);
            continue;
        }
        *sent_at(w, w->tail++) = (struct sent){c, value_timeout_ms(c->stage)};
        if (p->frames.n > UNWRITTEN_MAX)
            break;
    }
    if (w->head == w->tail)
        return;
    proc_write(w->proc, buf_view(&p->frames));
    int64_t tick = p->kind->tick_ms * 1000;
    int64_t limit = sent_at(w, w->head)->timeout_ms * 1000;
    timer_at(w, now + (tick != 0 && tick < limit ? tick : limit));
}

void pool_pump(struct pool *p)
{
    if (p->depth != 0)
        return;
    p->depth++;
    while (p->queue_n != 0) {
        if (p->stopping) {
            fail_queue(p, CLAIM_RETRY, "the server is stopping");
            break;
        }
        struct worker *w = least_busy(p);
        if (w != NULL)
            send(w);
        else if (!grow(p))
            break;
    }
    if (p->retired && p->queue_n == 0) {
        list_each(at, &p->workers) {
            struct worker *w = container_of(at, struct worker, node);
            if (!w->ending && w->head == w->tail && w->ready)
                end_worker(w);
        }
    }
    p->depth--;
    pool_free_if_done(p);
}

static void on_pool_timer(void *arg)
{
    pool_pump(arg);
}

/* The interface. */

struct pool *pool_new(const struct pool_kind *kind, const char *name, void *own)
{
    struct pool *p = mem_new(struct pool);
    p->kind = kind;
    p->own = own;
    p->name = mem_strdup(name);
    list_init(&p->node);
    list_init(&p->workers);
    list_append(&all, &p->in_all);
    p->timer = timer_new(on_pool_timer, p);
    return p;
}

void pool_add(struct pool *p, struct claim *c)
{
    queue_push(p, c);
}

static bool cancel_in(struct pool *p, struct claim *c)
{
    if (queue_remove(p, c)) {
        runner_cancelled(c);
        return true;
    }
    list_each(at, &p->workers) {
        struct worker *w = container_of(at, struct worker, node);
        for (uint32_t n = w->head; n != w->tail; n++) {
            if (sent_at(w, n)->c != c)
                continue;
            uint32_t number;
            int64_t since;
            at_work(w, &number, &since);
            sent_at(w, n)->c = NULL;
            runner_cancelled(c);
            if (n == number)
                kill_worker(w, FATE_CANCEL);
            return true;
        }
    }
    return false;
}

void pool_cancel(struct claim *c)
{
    list_each(at, &all) {
        if (cancel_in(container_of(at, struct pool, in_all), c))
            return;
    }
}

void pool_retire(struct pool *p)
{
    list_remove(&p->node);
    p->retired = true;
    pool_pump(p);
}

static void stop(struct pool *p)
{
    p->stopping = true;
    list_each(at, &p->workers) {
        struct worker *w = container_of(at, struct worker, node);
        if (w->head != w->tail || !w->ready)
            kill_worker(w, FATE_STOP);
    }
    pool_retire(p);
}

void pool_stop_all(void)
{
    list_each_safe(at, &all)
        stop(container_of(at, struct pool, in_all));
}

void pool_ready(struct worker *w)
{
    w->ready = true;
    w->idle_since_us = clock_mono_us();
}

void pool_refused(struct worker *w, struct str why)
{
    struct buf text = {0};
    lines_printable(&text, why, 300);
    snprintf(w->why, sizeof w->why, "%s %s cannot be loaded: %s", w->pool->kind->noun,
             w->pool->name, text.n != 0 ? text.p : "it does not say why");
    buf_finish(&text);
}

void pool_answer(struct worker *w, enum claim_outcome outcome, struct str output, const char *error)
{
    must(w->head != w->tail);
    struct claim *c = sent_at(w, w->head++)->c;
    w->lines.count =
        0; /* the tail stays: the next one may be at work already, and die of what is said there */
    if (c != NULL)
        claim_finish(c, outcome, output, error, -1);
}

void pool_breach(struct worker *w, enum claim_outcome outcome, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof w->why, fmt, ap);
    va_end(ap);
    log_warn("work", "breach", "name=%s error=%s", w->pool->name, log_quotez(w->why));
    w->culprit = w->head;
    w->culprit_outcome = outcome;
    kill_worker(w, FATE_BREACH);
}
