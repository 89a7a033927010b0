/* SPDX-License-Identifier: Apache-2.0 */
/* The event log as server-sent events: what a command line, a script or an EventSource follows. An event looks as it does on
 * /v1/live and belongs to the same topics; there is no snapshot, because these clients have lists to ask.
 *
 * A stream is only a position in the log. Nothing is queued here for a slow client: while its connection is full it has no
 * reader, and it gets a new one behind its last event when there is room again. A client that comes back says its position
 * (Last-Event-ID) and misses nothing, whichever server it comes to; `resync` tells that the log does not reach back so far. */
#include "handlers/events.h"

#include "base/list.h"
#include "base/mem.h"
#include "handlers/live_int.h"
#include "net/loop.h"

enum { TOPICS_MAX = 16, UNSENT_MAX = 1 << 20, HEARTBEAT_MS = 15000, MAGIC = 0x65766e74 };

struct stream {
    uint32_t magic;
    struct list link;
    struct http_req *q;
    struct event_reader *reader; /* NULL: not begun, or the connection is full */
    struct live_topic topics[TOPICS_MAX];
    size_t topic_n;
    bool resumes;       /* the client named a position */
    uint64_t at;        /* the last event that was looked at */
    uint64_t told;      /* the last id that the client heard of */
    const char *resync; /* why the client is to be told so once the end of the log is known */
    bool begun;
    bool asking; /* for the end of the log */
    bool done;
};

static struct {
    struct list open;
    struct timer *beat;
} self;

static void on_event(void *arg, const struct event *ev, const struct err *e);

static void release(struct stream *s)
{
    if (s->asking)
        return;
    for (size_t i = 0; i < s->topic_n; i++)
        mem_free(s->topics[i].name);
    s->magic = 0;
    loop_free_later(s);
}

/* Answers, also somebody who has left. e: before the stream began. */
static void finish(struct stream *s, const struct err *e)
{
    http_on_gone(s->q, NULL, NULL);
    http_on_drain(s->q, NULL, NULL);
    if (s->begun)
        http_end(s->q);
    else
        http_reply_err(s->q, e);
    event_stop(s->reader);
    s->done = true;
    list_remove(&s->link);
    release(s);
}

static void cut(struct stream *s)
{
    struct err e;
    err_fail(&e, ERR_UNAVAILABLE, "the server is stopping; ask again");
    finish(s, &e);
}

static void on_gone(void *arg)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    cut(s);
}

static void tell(struct stream *s, uint64_t id, const char *event, struct str data)
{
    struct buf out = {0};
    buf_printf(&out, "id: %llu\n", (unsigned long long)id);
    if (event != NULL)
        buf_printf(&out, "event: %s\ndata: %.*s\n", event, (int)data.n, data.p);
    buf_char(&out, '\n');
    http_write(s->q, buf_view(&out));
    buf_finish(&out);
    s->told = id;
}

/* An id alone is no event, but the client's position moves past what was not for it. */
static void on_beat(void *arg)
{
    (void)arg;
    list_each(at, &self.open) {
        struct stream *s = container_of(at, struct stream, link);
        if (!s->begun || http_unsent(s->q) != 0)
            continue;
        if (s->at > s->told)
            tell(s, s->at, NULL, STR(""));
        else
            http_write(s->q, STR(": still here\n\n"));
    }
}

static void on_drained(void *arg)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    if (s->reader == NULL && !s->asking)
        s->reader = event_read(s->at, on_event, s);
}

static void give(struct stream *s, const struct live_topic *t, const struct event *ev)
{
    struct buf text = {0}, kind = {0};
    bool put = t->kind == LIVE_KEYS && !str_starts(ev->kind, "key.");
    live_topic_encode(&text, t, ev);
    buf_str(&kind, put ? STR("key.put") : ev->kind);
    tell(s, ev->id, kind.p, buf_view(&text));
    buf_finish(&text);
    buf_finish(&kind);
}

static void on_last(void *arg, uint64_t last, const struct err *e);

static void ask_for_the_end(struct stream *s)
{
    event_stop(s->reader);
    s->reader = NULL;
    s->asking = true;
    event_last(on_last, s);
}

static void on_event(void *arg, const struct event *ev, const struct err *e)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    if (e && e->code == ERR_NOT_FOUND) {
        s->resync = "the event log does not reach back so far any more";
        ask_for_the_end(s);
    }
    if (e) /* Redis is away: the reader goes on by itself */
        return;
    s->at = ev->id;
    for (size_t i = 0; i < s->topic_n; i++) {
        if (live_topic_matches(&s->topics[i], ev)) {
            give(s, &s->topics[i], ev);
            break;
        }
    }
    if (http_unsent(s->q) > UNSENT_MAX) {
        event_stop(s->reader);
        s->reader = NULL;
        http_on_drain(s->q, on_drained, s);
    }
}

/* Where a new client begins; and a position beyond the end was of another Redis. */
static void on_last(void *arg, uint64_t last, const struct err *e)
{
    struct stream *s = arg;
    must(s->magic == MAGIC);
    s->asking = false;
    if (s->done) {
        release(s);
        return;
    }
    if (e) {
        finish(s, e);
        return;
    }
    if (!s->begun) {
        http_set_header(s->q, "cache-control", STR("no-store"));
        http_begin(s->q, 200, "text/event-stream");
        s->begun = true;
    }
    if (s->resumes && s->at > last)
        s->resync = "the event log begins anew";
    if (!s->resumes || s->resync != NULL)
        s->at = last;
    if (s->resync != NULL) {
        struct buf data = {0};
        buf_char(&data, '{');
        buf_json_field(&data, "reason", str_of(s->resync));
        buf_char(&data, '}');
        tell(s, last, "resync", buf_view(&data));
        buf_finish(&data);
    } else {
        tell(s, s->at, "ready", STR("{}"));
    }
    s->resync = NULL;
    s->resumes = true;
    s->reader = event_read(s->at, on_event, s);
}

static bool add_topic(struct stream *s, struct str name, struct err *e)
{
    struct live_topic t = {0};
    size_t arg;
    if (s->topic_n == TOPICS_MAX)
        return err_fail(e, ERR_BAD_INPUT, "at most %d topics", TOPICS_MAX);
    if (!live_topic_parse(name, &t.kind, &arg, e))
        return false;
    if (t.kind == LIVE_PIPELINES || t.kind == LIVE_AGENTS)
        return err_fail(e, ERR_BAD_INPUT,
                        "the topic %.*s is told on the WebSocket /v1/live alone; topics here are "
                        "runs, run:ID, keys:PATTERN, deliveries",
                        (int)name.n, name.p);
    t.name = mem_dup(name.p, name.n);
    t.arg = (struct str){t.name + arg, name.n - arg};
    s->topics[s->topic_n++] = t;
    return true;
}

static bool read_query(struct http_req *q, struct stream *s, struct err *e)
{
    struct str topics = http_query(q, "topics"), after = http_header(q, "last-event-id");
    if (!after.p)
        after = http_query(q, "after");
    s->resumes = after.p != NULL;
    if (after.p && !str_u64(after, &s->at))
        return err_fail(e, ERR_BAD_INPUT, "after and Last-Event-ID must be the id of an event");
    if (topics.n == 0)
        return err_fail(e, ERR_BAD_INPUT,
                        "topics is missing: one or more of runs, run:ID, keys:PATTERN, deliveries, "
                        "with commas between");
    while (topics.p) {
        if (!add_topic(s, str_trim(str_split(&topics, ',')), e))
            return false;
    }
    return true;
}

void events_stream(struct http_req *q)
{
    struct err e;
    struct stream *s = mem_new(struct stream);
    s->magic = MAGIC;
    s->q = q;
    if (!read_query(q, s, &e)) {
        http_reply_err(q, &e);
        release(s);
        return;
    }
    if (!self.beat) {
        list_init(&self.open);
        self.beat = timer_new(on_beat, NULL);
        timer_every(self.beat, HEARTBEAT_MS);
    }
    list_append(&self.open, &s->link);
    http_on_gone(q, on_gone, s);
    ask_for_the_end(s);
}

void events_stop(void)
{
    if (!self.beat)
        return;
    list_each_safe(at, &self.open)
        cut(container_of(at, struct stream, link));
    timer_free(self.beat);
    self.beat = NULL;
}
