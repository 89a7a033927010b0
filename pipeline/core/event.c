/* SPDX-License-Identifier: Apache-2.0 */
/* One blocked XREAD serves all readers that stand at the head of the log; a reader that begins earlier catches up by itself
 * in bounded pages (XRANGE) and joins the head when its position meets the shared one, so nobody sees a gap or an event twice. The tail's
 * connection exists only while somebody reads: an idle server asks Redis for nothing.
 *
 * An entry's stream id is the number of its first event, so "the entry that holds event N" is the last one whose id is not above N. */
#include "core/event.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    BLOCK_MS = 20000,
    TAIL_COUNT = 200,
    CATCH_UP_COUNT = 100,
    LOG_LINE_MAX = 4096,
    LOG_BATCH = 200
};

struct event_reader {
    struct list node;
    uint64_t at;  /* the last event that it has seen */
    bool joined;  /* gets what the tail reads */
    bool busy;    /* a catch-up call is under way */
    bool stopped; /* unlinked and freed by reap(), outside of any walk over the list */
    event_fn fn;
    void *arg;
};

struct log_line {
    char *run;
    char *stage;
    char *line;
};

static struct {
    struct list readers;
    size_t active; /* readers that are not stopped */
    bool started;
    struct redis *tail;
    bool tail_up;
    bool reading;
    bool known;   /* cursor is valid */
    bool checked; /* and was held against this connection's log */
    uint64_t cursor;
    struct log_line lines[LOG_BATCH];
    size_t line_n;
    bool flush_planned;
} self;

static void tail_next(void);
static void catch_up(struct event_reader *r);
static void reap(void *arg);

static void deliver(struct event_reader *r, const struct event *ev)
{
    if (r->stopped || ev->id <= r->at)
        return;
    r->at = ev->id;
    r->fn(r->arg, ev, NULL);
}

static struct event parse_line(struct str line, uint64_t id)
{
    struct event ev = {.id = id};
    ev.kind = str_split(&line, '\t');
    ev.run = str_split(&line, '\t');
    ev.key = str_split(&line, '\t');
    ev.data = line;
    return ev;
}

static void give(const struct event *ev, struct event_reader *only)
{
    if (only != NULL) {
        deliver(only, ev);
        return;
    }
    metric_add(METRIC_EVENTS, 1);
    list_each_safe(at, &self.readers) {
        struct event_reader *r = container_of(at, struct event_reader, node);
        if (r->joined)
            deliver(r, ev);
    }
}

/* Gives the events of one stream entry, [id, [n, count, e, lines]], to one reader or (NULL) to all that have joined. Returns the last id in it. */
static uint64_t each_event(const struct reply *entry, struct event_reader *only)
{
    uint64_t id = 0;
    struct str name = reply_str(reply_at(entry, 0));
    struct str first = str_split(&name, '-');
    str_u64(first, &id);
    struct str lines = reply_str(reply_at(reply_at(entry, 1), 3));
    while (lines.n != 0) {
        struct event ev = parse_line(str_split(&lines, '\n'), id++);
        if (!str_is(ev.kind, "accepted")) {
            give(&ev, only);
            continue;
        }
        /* Stored once, two events: what came in, and the run that it made. */
        struct event delivery = ev;
        delivery.kind = STR("delivery");
        delivery.key = (struct str){NULL, 0};
        give(&delivery, only);
        ev.kind = STR("run.queued");
        ev.id = id++;
        give(&ev, only);
    }
    return id - 1;
}

static void tell_all(const struct err *e)
{
    list_each_safe(at, &self.readers) {
        struct event_reader *r = container_of(at, struct event_reader, node);
        if (!r->stopped)
            r->fn(r->arg, NULL, e);
    }
}

static void on_tail(void *arg, const struct reply *reply, const struct err *e)
{
    (void)arg;
    self.reading = false;
    if (e != NULL)
        return; /* the connection comes back by itself and the reading goes on from the cursor */
    const struct reply *entries =
        reply_at(reply_at(reply, 0), 1); /* of the one stream; NULL after a timeout */
    for (size_t i = 0; i < reply_len(entries); i++)
        self.cursor = each_event(reply_at(entries, i), NULL);
    tail_next();
}

static void read_tail(void)
{
    char from[32];
    char count[16];
    char block[16];
    snprintf(from, sizeof from, "%llu-0", (unsigned long long)self.cursor);
    snprintf(count, sizeof count, "%d", TAIL_COUNT);
    snprintf(block, sizeof block, "%d", BLOCK_MS);
    self.reading = true;
    redis_cmd(self.tail, on_tail, NULL, "XREAD", "COUNT", count, "BLOCK", block, "STREAMS",
              "hm:events", from, NULL);
}

static void on_head(void *arg, uint64_t last, const struct err *e)
{
    (void)arg;
    self.reading = false;
    if (e != NULL)
        return;
    if (self.known && last < self.cursor) {
        /* Redis lost its end, or is another one: what was seen does not count any more. */
        struct err gone;
        err_fail(&gone, ERR_NOT_FOUND, "the event log begins anew");
        self.cursor = last;
        list_each(at, &self.readers)
            container_of(at, struct event_reader, node)->at = last;
        tell_all(&gone);
    }
    if (!self.known)
        self.cursor = last;
    self.known = true;
    self.checked = true;
    list_each_safe(at, &self.readers) {
        struct event_reader *r = container_of(at, struct event_reader, node);
        if (r->at == EVENT_NOW)
            r->at = last;
        if (!r->joined)
            catch_up(r);
    }
    tail_next();
}

static void tail_next(void)
{
    if (self.reading || !self.tail_up || self.active == 0)
        return;
    if (!self.known || !self.checked) {
        self.reading = true;
        event_last(on_head, NULL);
        return;
    }
    read_tail();
}

static void catch_up_all(void)
{
    list_each_safe(at, &self.readers) {
        struct event_reader *r = container_of(at, struct event_reader, node);
        if (!r->joined)
            catch_up(r);
    }
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (!up)
        return;
    catch_up_all();
    tail_next();
}

static void on_tail_state(void *arg, bool up)
{
    (void)arg;
    self.tail_up = up;
    self.reading = false;
    self.checked = false;
    if (up) {
        tail_next();
        return;
    }
    struct err e;
    err_fail(&e, ERR_REDIS, "Redis is not reachable; events go on when it is back");
    tell_all(&e);
}

static void join(struct event_reader *r)
{
    r->joined = true;
}

static void on_catch_up(void *arg, const struct reply *reply, const struct err *e)
{
    struct event_reader *r = arg;
    r->busy = false;
    if (r->stopped) {
        loop_defer(reap, NULL);
        return;
    }
    if (e != NULL)
        return; /* the tail's return tries again */
    uint64_t first = 0;
    struct str name = reply_str(reply_at(reply_at(reply, 0), 0));
    bool any = name.n != 0 && str_u64(str_split(&name, '-'), &first);
    if (any ? first > r->at + 1 : r->at < self.cursor) { /* nothing there: all of it was trimmed */
        struct err gone;
        err_fail(&gone, ERR_NOT_FOUND, "event %llu is not in the log any more",
                 (unsigned long long)r->at + 1);
        r->fn(r->arg, NULL, &gone);
        return;
    }
    r->busy = true; /* a callback may stop the reader: it is freed by us then */
    for (size_t i = 0; i < reply_len(reply); i++)
        each_event(reply_at(reply, i), r);
    r->busy = false;
    if (r->stopped) {
        loop_defer(reap, NULL);
        return;
    }
    if (r->at >= self.cursor && self.known)
        join(r);
    else
        catch_up(r);
}

static void on_entry_of(void *arg, const struct reply *reply, const struct err *e)
{
    struct event_reader *r = arg;
    r->busy = false;
    if (r->stopped) {
        loop_defer(reap, NULL);
        return;
    }
    if (e != NULL)
        return;
    char from[32];
    char count[16];
    struct str name = reply_str(reply_at(reply_at(reply, 0), 0));
    /* No entry at or below: the log begins later (or is empty), which the page shows. */
    snprintf(from, sizeof from, "%.*s", (int)(name.n == 0 ? 1 : name.n),
             name.n == 0 ? "-" : name.p);
    snprintf(count, sizeof count, "%d", CATCH_UP_COUNT);
    r->busy = true;
    redis_cmd(store_work(), on_catch_up, r, "XRANGE", "hm:events", from, "+", "COUNT", count, NULL);
}

static void catch_up(struct event_reader *r)
{
    if (r->busy || r->stopped || r->at == EVENT_NOW || !self.known || !store_up())
        return;
    if (r->at >= self.cursor) {
        join(r);
        return;
    }
    char at[32];
    snprintf(at, sizeof at, "%llu-0", (unsigned long long)r->at + 1);
    r->busy = true;
    redis_cmd(store_work(), on_entry_of, r, "XREVRANGE", "hm:events", at, "-", "COUNT", "1", NULL);
}

static void start(void)
{
    if (self.started)
        return;
    self.started = true;
    list_init(&self.readers);
    store_on_state(on_store, NULL);
}

struct event_reader *event_read(uint64_t after, event_fn fn, void *arg)
{
    start();
    struct event_reader *r = mem_new(struct event_reader);
    *r = (struct event_reader){.at = after, .fn = fn, .arg = arg};
    list_append(&self.readers, &r->node);
    self.active++;
    if (self.known && after == EVENT_NOW)
        r->at = self.cursor;
    if (self.tail == NULL)
        self.tail = store_open("tail", on_tail_state, NULL);
    catch_up(r);
    tail_next();
    return r;
}

static void reap(void *arg)
{
    (void)arg;
    list_each_safe(at, &self.readers) {
        struct event_reader *r = container_of(at, struct event_reader, node);
        if (!r->stopped || r->busy)
            continue;
        list_remove(&r->node);
        mem_free(r);
    }
    if (self.tail == NULL || self.active != 0)
        return;
    struct redis *tail = self.tail;
    self.tail = NULL;
    self.tail_up = self.reading = self.known = false;
    redis_close(tail);
}

void event_stop(struct event_reader *r)
{
    if (r == NULL || r->stopped)
        return;
    r->stopped = true;
    self.active--;
    loop_defer(reap, NULL);
}

struct last_op {
    event_last_fn fn;
    void *arg;
};

static void on_last(void *arg, const struct reply *r, const struct err *e)
{
    struct last_op *op = arg;
    op->fn(op->arg, e == NULL ? (uint64_t)reply_int(r) : 0, e);
    mem_free(op);
}

void event_last(event_last_fn fn, void *arg)
{
    struct last_op *op = mem_new(struct last_op);
    *op = (struct last_op){fn, arg};
    redis_cmd(store_work(), on_last, op, "GET", "hm:seq", NULL);
}

static void flush_lines(void *arg)
{
    (void)arg;
    self.flush_planned = false;
    if (self.line_n == 0)
        return;
    struct args a = {0};
    struct buf text = {0};
    args_int(&a, store_config()->set.event_log_max);
    args_int(&a, store_config()->set.run_log_max);
    args_int(&a, store_config()->set.log_retention / 1000);
    for (size_t i = 0; i < self.line_n; i++) {
        struct log_line *l = &self.lines[i];
        args_text(&a, str_of(l->run));
        args_text(&a, str_of(l->stage));
        args_text(&a, str_of(l->line));
        buf_clear(&text);
        buf_json_str(&text, str_of(l->line));
        args_text(&a, buf_view(&text));
        mem_free(l->run);
        mem_free(l->stage);
        mem_free(l->line);
    }
    self.line_n = 0;
    store_call("log", a.n, a.v, NULL, NULL);
    buf_finish(&text);
    args_finish(&a);
}

void event_log_line(struct str run, struct str stage, struct str line)
{
    if (self.line_n == LOG_BATCH)
        flush_lines(NULL);
    struct buf text = {0};
    buf_add(&text, line.p, line.n < LOG_LINE_MAX ? line.n : LOG_LINE_MAX);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\0')
            text.p[i] = ' ';
    }
    log_redact(&text, 0);
    self.lines[self.line_n++] =
        (struct log_line){mem_dup(run.p, run.n), mem_dup(stage.p, stage.n), buf_take(&text)};
    if (!self.flush_planned) {
        self.flush_planned = true;
        loop_defer(flush_lines, NULL);
    }
}
