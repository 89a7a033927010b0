/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots are taken in rounds. A round reads the last event's id first and then asks for each topic that any of its clients named,
 * once; so the data is at least as new as the id says, and five thousand browsers that come back together cost one query
 * a topic. Clients that come while a round has begun wait for the next one: a round's id must not be older than what the
 * shared reader has brought when a client began to hold.
 *
 * A query that fails for lack of Redis sends the whole round back; any other failure is told as null, because one
 * broken topic must not keep the others away. */
#include "handlers/live_int.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/kv.h"
#include "core/run.h"
#include "net/loop.h"

enum {
    ROUNDS_MAX = 8,
    ROUND_CLIENTS = 256,
    LIST_ITEMS = 50,
    KEYS_MAX = 1000,
    LOG_LINES = 500,
    REPLAY_MAX = 20000,
    RETRY_MS = 1000
};

struct round {
    struct list clients;
    struct map parts;
    struct list order; /* of the parts */
    uint64_t id;
    size_t pending;
    bool failed; /* Redis went: again */
};

struct part { /* the state of one topic */
    struct map_node node;
    struct list link;
    struct round *round;
    char *name;
    enum live_kind kind;
    struct str arg;
    struct buf json;
    struct buf page; /* the log's page before the last one */
    uint64_t from;   /* the log's next line */
    size_t n;        /* keys listed */
    bool more;       /* keys that were left out */
};

static void plan_round(void);

static void free_round(struct round *r)
{
    list_each_safe(at, &r->order) {
        struct part *p = container_of(at, struct part, link);
        buf_finish(&p->json);
        buf_finish(&p->page);
        mem_free(p->name);
        mem_free(p);
    }
    map_finish(&r->parts);
    mem_free(r);
}

/* The clients of a round that failed gather for another, later. */
static void send_back(struct round *r)
{
    list_each_safe(at, &r->clients) {
        list_remove(at);
        list_append(&live.gathering, at);
    }
    if (live.retry)
        timer_arm(live.retry, RETRY_MS);
}

/* Delivering. */

static bool is_named(const struct live_client *c, const struct part *p)
{
    for (uint32_t i = 0; i < c->sub_n; i++)
        if (c->subs[i]->named && strcmp(c->subs[i]->topic->name, p->name) == 0)
            return true;
    return false;
}

static void add_names(struct buf *out, const struct live_client *c)
{
    buf_json_key(out, "topics");
    buf_char(out, '[');
    for (uint32_t i = 0, n = 0; i < c->sub_n; i++) {
        if (!c->subs[i]->named)
            continue;
        if (n++ > 0)
            buf_char(out, ',');
        buf_json_str(out, str_of(c->subs[i]->topic->name));
    }
    buf_char(out, ']');
}

static void encode(struct buf *out, const struct round *r, const struct live_client *c)
{
    struct buf more = {0};
    buf_printf(out, "{\"op\":\"snapshot\",\"id\":\"%llu\"", (unsigned long long)r->id);
    add_names(out, c);
    buf_json_key(out, "data");
    buf_char(out, '{');
    list_each(at, &r->order) {
        const struct part *p = container_of(at, struct part, link);
        if (!is_named(c, p))
            continue;
        buf_json_field_raw(out, p->name, p->json.n > 0 ? buf_view(&p->json) : STR("null"));
        if (!p->more)
            continue;
        if (more.n > 0)
            buf_char(&more, ',');
        buf_json_str(&more, str_of(p->name));
    }
    buf_char(out, '}');
    if (more.n > 0)
        buf_printf(out, ",\"more\":[%s]", more.p);
    buf_char(out, '}');
    buf_finish(&more);
}

/* Events of topics that the client had before, up to the snapshot; they come first. */
static void send_older(struct live_client *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->held_n; i++) {
        struct live_held *h = &c->held[i];
        if (h->id > id || h->id <= c->sent || h->sub->fresh)
            continue;
        c->sent = h->id;
        live_send(c, h->message);
    }
}

static void deliver(struct live_client *c, uint64_t id, struct hub_msg *m)
{
    send_older(c, id);
    live_send(c, m);
    for (uint32_t i = 0; i < c->sub_n; i++)
        c->subs[i]->named = c->subs[i]->fresh = false;
    c->sent = id;
    c->seen = id;
    if (c->hold_from > id)
        live_catch_up(c);
    else
        live_go(c);
}

/* For topics that it had before a client must be given all events up to the snapshot first, and the reader may be behind it. */
static void deliver_in_order(struct live_client *c, uint64_t id, struct hub_msg *m)
{
    bool old = false;
    for (uint32_t i = 0; i < c->sub_n; i++)
        old |= !c->subs[i]->fresh;
    if (!old || live.position >= id) {
        deliver(c, id, m);
        return;
    }
    c->snapshot = hub_msg_ref(m);
    c->snapshot_id = id;
    list_append(&live.awaiting, &c->queue);
}

void live_snapshot_deliver(void)
{
    list_each_safe(at, &live.awaiting) {
        struct live_client *c = container_of(at, struct live_client, queue);
        if (live.position < c->snapshot_id)
            continue;
        struct hub_msg *m = c->snapshot;
        c->snapshot = NULL;
        list_remove(&c->queue);
        deliver(c, c->snapshot_id, m);
        hub_msg_release(m);
    }
}

/* One text for all clients that named the same topics. */
static void deliver_all(struct round *r)
{
    struct buf names = {0}, last_names = {0}, text = {0};
    struct hub_msg *m = NULL;
    list_each_safe(at, &r->clients) {
        struct live_client *c = container_of(at, struct live_client, queue);
        list_remove(&c->queue);
        buf_clear(&names);
        add_names(&names, c);
        if (!m || !str_eq(buf_view(&names), buf_view(&last_names))) {
            if (m)
                hub_msg_release(m);
            buf_clear(&text);
            encode(&text, r, c);
            m = hub_msg_new(buf_view(&text));
            buf_clear(&last_names);
            buf_str(&last_names, buf_view(&names));
        }
        deliver_in_order(c, r->id, m);
    }
    if (m)
        hub_msg_release(m);
    buf_finish(&names);
    buf_finish(&last_names);
    buf_finish(&text);
}

static void finish_round(struct round *r)
{
    live.rounds--;
    if (r->failed)
        send_back(r);
    else
        deliver_all(r);
    free_round(r);
    plan_round();
}

/* Asking. */

static void part_done(struct part *p, const struct err *e)
{
    struct round *r = p->round;
    if (e) {
        buf_clear(&p->json);
        if (err_retryable(e->code))
            r->failed = true;
        else if (e->code != ERR_NOT_FOUND)
            log_warn("live", "snapshot_failed", "topic=%s error=%s", log_quotez(p->name),
                     log_quotez(e->text));
    }
    if (--r->pending == 0)
        finish_round(r);
}

static void on_list(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct part *p = arg;
    buf_str(&p->json, json);
    part_done(p, e);
}

static void on_keys(void *arg, size_t n, const struct kv_value *values, uint64_t next,
                    const struct err *e)
{
    struct part *p = arg;
    for (size_t i = 0; !e && i < n && p->n < KEYS_MAX; i++, p->n++) {
        buf_puts(&p->json, p->n > 0 ? ",{" : "{");
        buf_json_field(&p->json, "key", values[i].key);
        buf_json_field_int(&p->json, "version", values[i].version);
        buf_json_field_int(&p->json, "size", (int64_t)values[i].size);
        buf_char(&p->json, '}');
    }
    if (!e && next != 0 && p->n < KEYS_MAX) {
        kv_list(p->arg, false, next, on_keys, p);
        return;
    }
    p->more = next != 0;
    buf_char(&p->json, ']');
    part_done(p, e);
}

/* The last lines of the two pages that were read last, into the run's object. */
static void add_log(struct part *p, struct str last_page)
{
    struct json *pages[2] = {json_parse(buf_view(&p->page), NULL), json_parse(last_page, NULL)};
    size_t n = json_size(pages[0]) + json_size(pages[1]);
    size_t skip = n > LOG_LINES ? n - LOG_LINES : 0;
    p->json.n--; /* the object's end */
    buf_json_key(&p->json, "log");
    buf_char(&p->json, '[');
    for (size_t i = skip; i < n; i++) {
        size_t first = json_size(pages[0]);
        if (i > skip)
            buf_char(&p->json, ',');
        json_dump(&p->json, i < first ? json_at(pages[0], i) : json_at(pages[1], i - first), false);
    }
    buf_puts(&p->json, "]}");
    json_free(pages[0]);
    json_free(pages[1]);
}

static void on_log(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct part *p = arg;
    if (e) {
        part_done(p, e);
        return;
    }
    struct json *lines = json_parse(json, NULL);
    size_t n = json_size(lines);
    if (n > 0)
        p->from = (uint64_t)json_int(json_get(json_at(lines, n - 1), "n"), (int64_t)p->from) + 1;
    json_free(lines);
    if (n < LOG_LINES) {
        add_log(p, json);
        part_done(p, NULL);
        return;
    }
    buf_clear(&p->page);
    buf_str(&p->page, json);
    run_log(p->arg, p->from, LOG_LINES, on_log, p);
}

static void on_run(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct part *p = arg;
    if (e || json.n < 2) {
        part_done(p, e);
        return;
    }
    buf_str(&p->json, json);
    run_log(p->arg, 0, LOG_LINES, on_log, p);
}

static void ask(struct part *p)
{
    struct run_filter all = {0};
    switch (p->kind) {
    case LIVE_RUNS: run_list(&all, STR(""), LIST_ITEMS, on_list, p); break;
    case LIVE_DELIVERIES: ledger_list(STR(""), LIST_ITEMS, NULL, on_list, p); break;
    case LIVE_PIPELINES: pipeline_map(on_list, p); break;
    case LIVE_RUN: run_get(p->arg, on_run, p); break;
    case LIVE_KEYS:
        buf_char(&p->json, '[');
        kv_list(p->arg, false, 0, on_keys, p);
        break;
    case LIVE_AGENTS:
        buf_puts(&p->json, "[]");
        part_done(p, NULL);
        break;
    }
}

static void add_part(struct round *r, const struct live_topic *t)
{
    if (map_find(&r->parts, str_of(t->name)))
        return;
    struct part *p = mem_new(struct part);
    p->round = r;
    p->name = mem_strdup(t->name);
    p->kind = t->kind;
    p->arg = (struct str){p->name + (t->arg.p - t->name), t->arg.n};
    map_add(&r->parts, &p->node, str_of(p->name));
    list_append(&r->order, &p->link);
}

static void ask_all(struct round *r)
{
    list_each(at, &r->clients) {
        struct live_client *c = container_of(at, struct live_client, queue);
        for (uint32_t i = 0; i < c->sub_n; i++)
            if (c->subs[i]->named)
                add_part(r, c->subs[i]->topic);
    }
    r->pending = 1; /* ours, until all are asked */
    list_each_safe(at, &r->order) {
        r->pending++;
        ask(container_of(at, struct part, link));
    }
    if (--r->pending == 0)
        finish_round(r);
}

/* Resuming: the log instead of a snapshot, if it is worth it. */

static void resume(struct live_client *c, uint64_t last)
{
    struct buf out = {0};
    if (c->seen > last || last - c->seen > REPLAY_MAX) {
        live_resync(c, c->seen > last ? "the server's event log is not the one that you know"
                                      : "too much happened meanwhile");
        return;
    }
    buf_printf(&out, "{\"op\":\"resume\",\"id\":\"%llu\"}", (unsigned long long)c->seen);
    live_say(c, &out);
    buf_finish(&out);
    for (uint32_t i = 0; i < c->sub_n; i++) {
        c->subs[i]->named = c->subs[i]->fresh = false;
        if (c->subs[i]->topic->kind == LIVE_PIPELINES)
            live_map_send_soon(true); /* the map is not in the log */
    }
    c->sent = c->seen;
    c->resumes = false;
    live_catch_up(c);
}

static void on_last(void *arg, uint64_t last, const struct err *e)
{
    struct round *r = arg;
    if (e) {
        live_tell_stalled(true, "Redis is not reachable; what happens is told when it is back");
        r->failed = true;
        finish_round(r);
        return;
    }
    if (list_empty(&r->clients)) {
        finish_round(r);
        return;
    }
    r->id = last;
    live_tell_stalled(false, "");
    live_reader_start(last);
    list_each_safe(at, &r->clients) {
        struct live_client *c = container_of(at, struct live_client, queue);
        if (!c->resumes)
            continue;
        list_remove(&c->queue);
        resume(c, last);
    }
    ask_all(r);
}

static void begin_round(void *arg)
{
    (void)arg;
    live.round_planned = false;
    if (live.stopping || list_empty(&live.gathering) || live.rounds >= ROUNDS_MAX)
        return;
    struct round *r = mem_new(struct round);
    list_init(&r->clients);
    list_init(&r->order);
    size_t n = 0;
    list_each_safe(at, &live.gathering) {
        if (n++ == ROUND_CLIENTS)
            break;
        list_remove(at);
        list_append(&r->clients, at);
    }
    live.rounds++;
    event_last(on_last, r);
    plan_round();
}

static void plan_round(void)
{
    if (live.round_planned || list_empty(&live.gathering) || live.rounds >= ROUNDS_MAX ||
        timer_armed(live.retry))
        return;
    live.round_planned = true;
    loop_defer(begin_round, NULL);
}

void live_snapshot_join(struct live_client *c)
{
    list_append(&live.gathering, &c->queue);
    plan_round();
}

void live_snapshot_retry(void)
{
    timer_disarm(live.retry);
    plan_round();
}
