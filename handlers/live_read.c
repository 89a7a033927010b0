/* SPDX-License-Identifier: Apache-2.0 */
/* Where events come from: one reader of the log for all clients that are up to date, and short-lived ones for those that come
 * back and have to catch up.
 *
 * A client that catches up holds what the shared reader brings meanwhile; when the old events reach the first held one it
 * goes on from the hold, without a gap, because the log has no gaps in its numbers. Clients that come back together share a
 * reader. One whose connection is full pauses, and goes on later from where it was: the log is its queue. */
#include "handlers/live_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/run.h"
#include "net/loop.h"

enum { MAP_EVERY_MS = 1000, MAP_SOON_MS = 50, PAUSE_TICK_MS = 10 };

struct catch_up {
    struct list link;
    struct list clients;
    struct event_reader *reader; /* NULL: ended */
    uint64_t at;                 /* the last event that it gave */
};

static struct {
    struct live_topic **matches; /* of the event at hand */
    size_t match_n, match_cap;
    struct buf map;  /* as it was told last */
    bool map_asked;  /* is being read */
    bool map_dirty;  /* something happened since it was asked for */
    bool map_forced; /* somebody has not seen it: tell it even if it is the same */
    int64_t map_us;  /* when it was asked for last */
} self;

/* To the client: at once when it is live, later otherwise. */
static void give(struct live_client *c, struct live_sub *s, const struct event *ev,
                 struct live_topic *t)
{
    switch (c->state) {
    case LIVE_LIVE:
        /* Of a lagging client the queue is about to be thrown away; a snapshot may be ahead of the reader. */
        if (c->lag_told || ev->id <= c->sent)
            return;
        c->sent = ev->id;
        live_send(c, live_topic_message(t, ev));
        return;
    case LIVE_WAITING:
    case LIVE_CATCHING_UP: live_hold(c, s, ev->id, live_topic_message(t, ev)); return;
    case LIVE_IDLE:
    case LIVE_LAGGED: return;
    }
}

/* The first of the client's topics that the event belongs to; all that it may belong to are marked. */
static struct live_sub *first_marked(const struct live_client *c, uint64_t id)
{
    for (uint32_t i = 0; i < c->sub_n; i++)
        if (c->subs[i]->topic->matched == id)
            return c->subs[i];
    return NULL;
}

static void mark(struct live_topic *t, const struct event *ev)
{
    if (self.match_n == self.match_cap) {
        self.match_cap = self.match_cap ? self.match_cap * 2 : 16;
        self.matches = mem_resize(self.matches, self.match_cap * sizeof(struct live_topic *));
    }
    t->matched = ev->id;
    self.matches[self.match_n++] = t;
}

/* Nothing here may take a subscription away: hub_send can report a client as lagging, which is handled later. */
static void give_to_all(struct live_topic *t, const struct event *ev)
{
    for (size_t i = 0; i < t->n; i++) {
        struct live_client *c = t->subs[i]->client;
        if (self.match_n == 1 || c->sub_n == 1)
            give(c, t->subs[i], ev, t);
        else if (first_marked(c, ev->id) == t->subs[i])
            give(c, t->subs[i], ev, t);
    }
}

static void resync_all(const char *reason)
{
    live_reader_stop();
    list_each(at, &live.clients) {
        struct live_client *c = container_of(at, struct live_client, link);
        if (c->hub && c->sub_n > 0 && c->state != LIVE_LAGGED)
            live_resync(c, reason);
    }
}

static void on_event(void *arg, const struct event *ev, const struct err *e)
{
    (void)arg;
    if (e && e->code == ERR_NOT_FOUND) {
        resync_all("the event log does not reach back so far any more");
        return;
    }
    if (e) {
        live_tell_stalled(true, e->text);
        return;
    }
    live_tell_stalled(false, "");
    self.match_n = 0;
    live_topic_each_matching(ev, mark);
    for (size_t i = 0; i < self.match_n; i++)
        give_to_all(self.matches[i], ev);
    live.position = ev->id;
    if (!list_empty(&live.awaiting))
        live_snapshot_deliver();
    live_map_send_soon(false);
}

void live_reader_start(uint64_t position)
{
    if (live.reader)
        return;
    live.position = position;
    list_each(at, &live.clients) {
        struct live_client *c = container_of(at, struct live_client, link);
        c->hold_from = position;
    }
    live.reader = event_read(position, on_event, NULL);
}

void live_reader_stop(void)
{
    if (!live.reader)
        return;
    event_stop(live.reader);
    live.reader = NULL;
    timer_disarm(live.map_due);
}

/* Catching up. */

static void end_if_empty(struct catch_up *u)
{
    if (!list_empty(&u->clients) || !u->reader)
        return;
    event_stop(u->reader);
    u->reader = NULL;
    list_remove(&u->link);
    loop_free_later(u);
}

void live_end_empty_catch_ups(void)
{
    list_each_safe(at, &live.catch_ups)
        end_if_empty(container_of(at, struct catch_up, link));
}

static void pause_client(struct live_client *c)
{
    list_remove(&c->queue);
    list_append(&live.paused, &c->queue);
    if (!timer_armed(live.tick))
        timer_every(live.tick, PAUSE_TICK_MS);
}

/* The queue is written at the end of a turn, and a page of the log is many events in one. */
static bool is_full(struct live_client *c)
{
    if (!c->hub || hub_queued(c->hub) <= live.queue_max / 4)
        return false;
    hub_flush(c->hub);
    return hub_queued(c->hub) > live.queue_max / 4;
}

static void give_old(struct live_client *c, const struct event *ev)
{
    for (uint32_t i = 0; i < c->sub_n && ev->id > c->sent; i++) {
        if (!live_topic_matches(c->subs[i]->topic, ev))
            continue;
        c->sent = ev->id;
        live_send(c, live_topic_message(c->subs[i]->topic, ev));
    }
    c->seen = ev->id;
    if (c->seen >= c->hold_from) {
        list_remove(&c->queue);
        live_go(c);
    } else if (is_full(c)) {
        pause_client(c);
    }
}

static void on_old_event(void *arg, const struct event *ev, const struct err *e)
{
    struct catch_up *u = arg;
    if (e && e->code != ERR_NOT_FOUND)
        return; /* it goes on by itself */
    if (!e)
        u->at = ev->id;
    list_each_safe(at, &u->clients) {
        struct live_client *c = container_of(at, struct live_client, queue);
        if (e)
            live_resync(c, "the event log does not reach back so far any more");
        else if (c->lag_told)
            continue;
        else if (ev->id > c->seen)
            give_old(c, ev);
    }
    end_if_empty(u);
}

void live_catch_up(struct live_client *c)
{
    c->state = LIVE_CATCHING_UP;
    if (c->seen >= c->hold_from) {
        live_go(c);
        return;
    }
    list_each(at, &live.catch_ups) {
        struct catch_up *u = container_of(at, struct catch_up, link);
        if (u->at > c->seen || !u->reader)
            continue;
        list_append(&u->clients, &c->queue);
        return;
    }
    struct catch_up *u = mem_new(struct catch_up);
    list_init(&u->clients);
    u->at = c->seen;
    list_append(&u->clients, &c->queue);
    list_append(&live.catch_ups, &u->link);
    u->reader = event_read(c->seen, on_old_event, u);
}

void live_look_after_paused(void)
{
    list_each_safe(at, &live.paused) {
        struct live_client *c = container_of(at, struct live_client, queue);
        if (c->hub && hub_queued(c->hub) > live.queue_max / 16)
            continue;
        list_remove(&c->queue);
        live_catch_up(c);
    }
}

/* The map of pipelines. */

static void tell_map(struct live_topic *t, struct str json)
{
    struct buf out = {0};
    buf_printf(&out, "{\"id\":\"%llu\",\"topic\":\"pipelines\",\"type\":\"pipelines\",\"data\":",
               (unsigned long long)live.position);
    buf_str(&out, json);
    buf_char(&out, '}');
    struct hub_msg *m = hub_msg_new(buf_view(&out));
    for (size_t i = 0; i < t->n; i++) {
        struct live_client *c = t->subs[i]->client;
        if (c->state == LIVE_LIVE && !c->lag_told)
            live_send(c, m);
        else
            self.map_forced = true; /* it will want to see it once it is live */
    }
    hub_msg_release(m);
    buf_finish(&out);
}

static void on_map(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)arg;
    (void)next;
    self.map_asked = false;
    struct live_topic *t = live_topic_find(STR("pipelines"));
    if (!t || e)
        return;
    if (self.map_forced || !str_eq(json, buf_view(&self.map))) {
        self.map_forced = false;
        buf_clear(&self.map);
        buf_str(&self.map, json);
        tell_map(t, json);
    }
    if (self.map_dirty || self.map_forced)
        live_map_send_soon(self.map_forced);
}

void live_map_send_soon(bool forced)
{
    self.map_forced |= forced;
    if (timer_armed(live.map_due) || !live_topic_find(STR("pipelines")))
        return;
    self.map_dirty = true;
    if (self.map_asked)
        return;
    int64_t due_ms = (self.map_us - loop_now_us()) / 1000 + MAP_EVERY_MS;
    timer_arm(live.map_due, due_ms > MAP_SOON_MS ? due_ms : MAP_SOON_MS);
}

void live_map_send(void)
{
    self.map_dirty = false;
    self.map_asked = true;
    self.map_us = loop_now_us();
    pipeline_map(on_map, NULL);
}

void live_read_finish(void)
{
    live_reader_stop();
    live_end_empty_catch_ups();
    buf_finish(&self.map);
    mem_free(self.matches);
    self.matches = NULL;
    self.match_n = self.match_cap = 0;
}
