/* SPDX-License-Identifier: Apache-2.0 */
/* The log of a run as a stream. Lines are numbered in Redis, so a stream is only a position: whatever happens, the next page is
 * read from there, and a client that comes back with the number of its last line misses nothing and sees nothing twice.
 *
 * An event about the run is used as a doorbell alone: the lines are read from Redis, never from the event, because
 * events may be lost to a trimmed log while the lines are still there. The reader of events starts before the first
 * page is read; the other way round, a line written in between would wait for the next one. A page is read only when the last
 * one has gone out, which bounds the memory for a slow client. */
#include "handlers/runs.h"

#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "core/event.h"
#include "core/run.h"
#include "core/store.h"
#include "handlers/caller.h"
#include "handlers/query.h"
#include "net/loop.h"

enum { PAGE = 500, HEARTBEAT_MS = 15000, MAGIC = 0x6c6f6773 };

struct stream {
    uint32_t magic;
    struct list link;
    struct http_req *q;
    struct event_reader *reader; /* only while following */
    char *id;
    uint64_t from; /* number of the next line wanted */
    bool sse;      /* else NDJSON */
    bool follow;   /* on after the last line, until the run ends */
    bool begun;    /* the head of the answer is out */
    bool asking;   /* a call to the core is under way */
    bool dirty;    /* something happened since the last page was asked for */
    bool ended;    /* the run is over: the next empty page is the last */
    bool done;     /* the request is answered: freed when the core's answer is in */
};

static struct {
    struct list open;
    struct timer *beat;
} logs;

static void ask(struct stream *s);

static void on_beat(void *arg)
{
    (void)arg;
    list_each(at, &logs.open) {
        struct stream *s = container_of(at, struct stream, link);
        if (s->sse && s->begun && http_unsent(s->q) == 0)
            http_write(s->q, STR(": still here\n\n"));
    }
}

static void release(struct stream *s)
{
    if (s->asking)
        return; /* the answer of the core lets it go */
    s->magic = 0;
    mem_free(s->id);
    loop_free_later(s);
}

/* The request is answered here, whether or not somebody is there to read it; then nothing calls us any more but the core. */
static void finish(struct stream *s)
{
    http_on_gone(s->q, NULL, NULL);
    http_on_drain(s->q, NULL, NULL);
    if (s->begun)
        http_end(s->q);
    else
        http_problem(s->q, ERR_UNAVAILABLE, "the server is stopping; ask again");
    event_stop(s->reader);
    s->done = true;
    list_remove(&s->link);
    release(s);
}

static void on_gone(void *arg)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    finish(s);
}

static void finish_whole(struct stream *s)
{
    if (s->sse)
        http_write(s->q, STR("event: end\ndata: {}\n\n"));
    finish(s);
}

static void write_line(struct stream *s, struct buf *out, const struct json *line)
{
    uint64_t n = (uint64_t)json_int(json_get(line, "n"), (int64_t)s->from);
    if (s->sse)
        buf_printf(out, "id: %llu\nevent: log\ndata: ", (unsigned long long)n);
    json_dump(out, line, false);
    buf_puts(out, s->sse ? "\n\n" : "\n");
    s->from = n + 1;
}

static void on_drained(void *arg)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    if (s->dirty)
        ask(s);
}

static void on_page(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct stream *s = arg;
    must(s->magic == MAGIC);
    s->asking = false;
    if (s->done) {
        release(s);
        return;
    }
    if (e) { /* Redis went: the client comes back with its position */
        finish(s);
        return;
    }
    struct json *lines = json_parse(json, NULL);
    size_t n = json_size(lines);
    struct buf out = {0};
    for (size_t i = 0; i < n; i++)
        write_line(s, &out, json_at(lines, i));
    json_free(lines);
    http_write(s->q, buf_view(&out));
    buf_finish(&out);
    if (n > 0 || s->dirty) {
        s->dirty = true;
        http_on_drain(s->q, on_drained, s);
    } else if (!s->follow || s->ended) {
        finish_whole(s);
    }
}

static void ask(struct stream *s)
{
    if (s->asking)
        return;
    s->asking = true;
    s->dirty = false;
    run_log(str_of(s->id), s->from, PAGE, on_page, s);
}

static bool is_end(struct str state)
{
    static const char *const open[] = {"queued", "running", "waiting", NULL};
    for (const char *const *o = open; *o; o++)
        if (str_is(state, *o))
            return false;
    return state.n > 0;
}

static void on_event(void *arg, const struct event *ev, const struct err *e)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    if (e &&
        e->code == ERR_NOT_FOUND) { /* the reader is at its end; who comes back gets a new one */
        if (s->begun)
            finish(s);
        return;
    }
    if (!e && !str_is(ev->run, s->id))
        return;
    if (!e && (str_is(ev->kind, "run.done") || str_is(ev->kind, "run.failed")))
        s->ended = true;
    s->dirty = true;
    if (!s->begun)
        return;
    if (http_unsent(s->q) == 0)
        ask(s);
    else
        http_on_drain(s->q, on_drained, s);
}

static void refuse(struct stream *s, const struct err *e)
{
    http_on_gone(s->q, NULL, NULL);
    http_reply_err(s->q, e);
    event_stop(s->reader);
    list_remove(&s->link);
    release(s);
}

static void on_run(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct stream *s = arg;
    must(s->magic == MAGIC);
    s->asking = false;
    if (s->done) {
        release(s);
        return;
    }
    if (e) {
        refuse(s, e);
        return;
    }
    struct json *run = json_parse(json, NULL);
    s->ended |= is_end(json_str(json_get(run, "state")));
    json_free(run);
    http_set_header(s->q, "cache-control", STR("no-store"));
    http_begin(s->q, 200, s->sse ? "text/event-stream" : "application/x-ndjson");
    s->begun = true;
    ask(s);
}

/* From an id on, not from "now": a reader may take its time to begin. */
static void on_last(void *arg, uint64_t last, const struct err *e)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    if (s->done || e) {
        s->asking = false;
        if (s->done)
            release(s);
        else
            refuse(s, e);
        return;
    }
    s->reader = event_read(last, on_event, s);
    run_get(str_of(s->id), on_run, s);
}

static bool wants_events(struct http_req *q)
{
    struct str accept = http_header(q, "accept");
    while (accept.p) {
        struct str kind = str_split(&accept, ',');
        if (str_is_icase(str_trim(str_split(&kind, ';')), "text/event-stream"))
            return true;
    }
    return false;
}

/* ?from=N is the first line wanted, Last-Event-ID the last one seen. */
static bool read_position(struct http_req *q, struct stream *s, struct err *e)
{
    struct str from = http_query(q, "from"), last = http_header(q, "last-event-id");
    if (from.p && !str_u64(from, &s->from))
        return err_fail(e, ERR_BAD_INPUT, "from must be the number of a line");
    if (last.p && !str_u64(last, &s->from))
        return err_fail(e, ERR_BAD_INPUT, "Last-Event-ID must be the id of a line");
    if (last.p)
        s->from++;
    return query_flag(http_query(q, "follow"), &s->follow, e);
}

static void stream_log(struct http_req *q)
{
    struct err e;
    struct stream *s = mem_new(struct stream);
    s->magic = MAGIC;
    s->q = q;
    s->sse = wants_events(q);
    if (!read_position(q, s, &e)) {
        mem_free(s);
        http_reply_err(q, &e);
        return;
    }
    s->follow |= s->sse;
    struct str id = http_segment(q, "id");
    s->id = mem_dup(id.p, id.n);
    if (!logs.beat) {
        list_init(&logs.open);
        logs.beat = timer_new(on_beat, NULL);
        timer_every(logs.beat, HEARTBEAT_MS);
    }
    list_append(&logs.open, &s->link);
    http_on_gone(q, on_gone, s);
    s->asking = true;
    if (s->follow)
        event_last(on_last, s);
    else
        run_get(id, on_run, s);
}

void runs_stop(void)
{
    if (!logs.beat)
        return;
    list_each_safe(at, &logs.open)
        finish(container_of(at, struct stream, link));
    timer_free(logs.beat);
    logs.beat = NULL;
}

void runs_logs(struct http_req *q)
{
    caller_sees_run(q, stream_log);
}
