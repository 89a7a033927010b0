/* SPDX-License-Identifier: Apache-2.0 */
/* The clients of the live stream and what they say.
 *
 * A browser must see every event in order, once, whatever happens: a snapshot in the middle of traffic, a cut, a
 * connection that is too slow, a topic that is added later. That is too much for special cases, so there are few
 * states and one rule about held events (live_int.h), and whatever a client asks while it is not live waits until it is. A client that is too
 * slow costs the others nothing: its queue is thrown away, it is told so, and it gets a new snapshot when it has
 * taken that; the wait doubles when it happens again and again, because a snapshot is dearer than an event.
 *
 * The hub may call on_lag inside of hub_send, in the middle of a walk over clients; nothing is unlinked there. */
#include "handlers/live.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/store.h"
#include "handlers/live_int.h"
#include "net/loop.h"

enum {
    MAGIC = 0x6c697665,
    MESSAGE_MAX = 65536,
    LATER_MAX = 65536,
    STRIKES = 5,
    TICK_MS = 20,
    LAG_WAIT_MS = 100,
    LAG_WAIT_MAX_MS = 5000,
};

struct live_self live;

static void on_message(struct hub_client *h, struct str text);

void live_send(struct live_client *c, struct hub_msg *m)
{
    if (c->hub)
        hub_send(c->hub, m);
}

void live_say(struct live_client *c, const struct buf *text)
{
    if (c->hub)
        hub_send_text(c->hub, buf_view(text));
}

static void say_error(struct live_client *c, const char *detail)
{
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field(&out, "op", STR("error"));
    buf_json_field(&out, "detail", str_of(detail));
    buf_char(&out, '}');
    live_say(c, &out);
    buf_finish(&out);
    if (++c->strikes >= STRIKES && c->hub)
        hub_close(c->hub, 1008, "too many messages that make no sense");
}

void live_drop_hold(struct live_client *c)
{
    for (uint32_t i = 0; i < c->held_n; i++)
        hub_msg_release(c->held[i].message);
    mem_free(c->held);
    c->held = NULL;
    c->held_n = c->held_cap = 0;
}

/* The log has what does not fit: from there the client will be served instead, up to this event. Only what came between
 * two snapshots cannot be put in order any more. */
static void overflow(struct live_client *c, uint64_t id)
{
    bool old = false;
    for (uint32_t i = 0; i < c->sub_n; i++)
        old |= !c->subs[i]->fresh;
    if (c->state == LIVE_WAITING && old && !c->resumes) {
        live_resync(c, "too much happened while the snapshot was taken");
        return;
    }
    live_drop_hold(c);
    c->hold_from = id;
}

void live_hold(struct live_client *c, struct live_sub *sub, uint64_t id, struct hub_msg *m)
{
    if (c->held_n >= live.queue_max / 2) {
        overflow(c, id);
        return;
    }
    if (c->held_n == c->held_cap) {
        c->held_cap = c->held_cap ? c->held_cap * 2 : 8;
        c->held = mem_resize(c->held, c->held_cap * sizeof *c->held);
    }
    hub_msg_ref(m);
    c->held[c->held_n++] = (struct live_held){id, sub, m};
}

static void handle_later(void *arg)
{
    struct live_client *c = arg;
    must(c->magic == MAGIC);
    while (c->hub && c->later.n > 0 && (c->state == LIVE_LIVE || c->state == LIVE_IDLE)) {
        struct buf first = {0};
        size_t n = strlen(c->later.p);
        buf_add(&first, c->later.p, n);
        buf_drop(&c->later, n + 1);
        on_message(c->hub, buf_view(&first));
        buf_finish(&first);
    }
}

void live_go(struct live_client *c)
{
    struct live_held *held = c->held;
    uint32_t n = c->held_n;
    c->held = NULL;
    c->held_n = c->held_cap = 0;
    c->state = LIVE_LIVE;
    for (uint32_t i = 0; i < n; i++) {
        if (held[i].id > c->sent && c->state == LIVE_LIVE) {
            c->sent = held[i].id;
            live_send(c, held[i].message);
        }
        hub_msg_release(held[i].message);
    }
    mem_free(held);
    if (c->later.n > 0 && c->hub)
        loop_defer(handle_later, c);
}

static void say_resync(struct live_client *c, const char *reason)
{
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field(&out, "op", STR("resync"));
    buf_json_field(&out, "reason", str_of(reason));
    buf_char(&out, '}');
    live_say(c, &out);
    buf_finish(&out);
}

/* Out of whatever list its state had put it into. */
static void leave(struct live_client *c)
{
    list_remove(&c->queue);
    live_drop_hold(c);
    if (c->snapshot)
        hub_msg_release(c->snapshot);
    c->snapshot = NULL;
    if (c->state == LIVE_CATCHING_UP)
        live_end_empty_catch_ups();
}

void live_resync(struct live_client *c, const char *reason)
{
    int64_t now = loop_now_us();
    if (!c->hub)
        return;
    metric_add(METRIC_LIVE_RESYNC, 1);
    leave(c);
    c->resumes = false;
    bool again = c->lag_due_us > 0 && now - c->lag_due_us < 30000000;
    c->lag_wait_ms = again ? c->lag_wait_ms * 2 : LAG_WAIT_MS;
    if (c->lag_wait_ms > LAG_WAIT_MAX_MS)
        c->lag_wait_ms = LAG_WAIT_MAX_MS;
    c->lag_due_us = now + c->lag_wait_ms * 1000;
    c->state = LIVE_LAGGED;
    hub_clear_queue(c->hub);
    say_resync(c, reason);
    if (!timer_armed(live.tick))
        timer_every(live.tick, TICK_MS);
}

static void say_state(struct live_client *c)
{
    static const char text[] = "{\"op\":\"state\",\"state\":\"stalled\",\"detail\":\"Redis is not "
                               "reachable; what happens is told when it is back\"}";
    if (live.stalled && c->hub)
        hub_send_text(c->hub, STR(text));
}

static void begin_waiting(struct live_client *c)
{
    say_state(c);
    c->state = LIVE_WAITING;
    c->hold_from = live.position;
    live_snapshot_join(c);
}

static void handle_lag(void *arg)
{
    struct live_client *c = arg;
    must(c->magic == MAGIC);
    c->lag_told = false;
    if (c->hub && c->state != LIVE_LAGGED)
        live_resync(c, "this connection is too slow for what happens");
}

static void on_lag(struct hub_client *h)
{
    struct live_client *c = hub_user(h);
    if (!c || c->lag_told)
        return;
    c->lag_told = true;
    loop_defer(handle_lag, c);
}

/* Lagged clients that have taken their queue start anew; paused ones go on. */
static void on_tick(void *arg)
{
    (void)arg;
    bool any = !list_empty(&live.paused);
    int64_t now = loop_now_us();
    list_each_safe(at, &live.clients) {
        struct live_client *c = container_of(at, struct live_client, link);
        if (c->state != LIVE_LAGGED || !c->hub)
            continue;
        any = true;
        if (now < c->lag_due_us || hub_queued(c->hub) > 0)
            continue;
        for (uint32_t i = 0; i < c->sub_n; i++)
            c->subs[i]->named = c->subs[i]->fresh = true;
        begin_waiting(c);
    }
    live_look_after_paused();
    if (!any)
        timer_disarm(live.tick);
}

void live_tell_stalled(bool stalled, const char *detail)
{
    if (live.stalled == stalled)
        return;
    live.stalled = stalled;
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field(&out, "op", STR("state"));
    buf_json_field(&out, "state", stalled ? STR("stalled") : STR("live"));
    if (stalled)
        buf_json_field(&out, "detail", str_of(detail));
    buf_char(&out, '}');
    struct hub_msg *m = hub_msg_new(buf_view(&out));
    list_each(at, &live.clients)
        live_send(container_of(at, struct live_client, link), m);
    hub_msg_release(m);
    buf_finish(&out);
}

/* What clients say. */

static struct live_sub *find_sub(const struct live_client *c, struct str name)
{
    for (uint32_t i = 0; i < c->sub_n; i++)
        if (str_is(name, c->subs[i]->topic->name))
            return c->subs[i];
    return NULL;
}

static bool add_sub(struct live_client *c, struct str name, struct err *e)
{
    struct live_sub *s = find_sub(c, name);
    if (s) {
        s->named = true;
        return true;
    }
    if (c->sub_n == LIVE_TOPICS_MAX)
        return err_fail(e, ERR_LIMIT, "a connection may have %d topics", LIVE_TOPICS_MAX);
    struct live_topic *t = live_topic_get(name, e);
    if (!t)
        return false;
    s = mem_new(struct live_sub);
    *s = (struct live_sub){.client = c, .named = true, .fresh = true};
    live_topic_add(t, s);
    c->subs = mem_resize(c->subs, (c->sub_n + 1) * sizeof(struct live_sub *));
    c->subs[c->sub_n++] = s;
    live.sub_n++;
    return true;
}

static void remove_sub(struct live_client *c, struct live_sub *s)
{
    uint32_t i = 0;
    while (c->subs[i] != s)
        i++;
    memmove(c->subs + i, c->subs + i + 1, (c->sub_n - i - 1) * sizeof(struct live_sub *));
    c->sub_n--;
    live_topic_remove(s);
    mem_free(s);
    if (--live.sub_n == 0)
        live_reader_stop();
}

static bool topics_of(const struct json *message, struct json **out, struct err *e)
{
    *out = json_get(message, "topics");
    size_t n = json_size(*out);
    bool good = json_type_of(*out) == J_ARR && n > 0;
    for (size_t i = 0; good && i < n; i++)
        good = json_type_of(json_at(*out, i)) == J_STR;
    return good || err_fail(e, ERR_BAD_INPUT,
                            "topics must be a list of names: {\"op\":\"subscribe\","
                            "\"topics\":[\"runs\"]}");
}

/* "after": a decimal number as a string; a plain number is understood as well. */
static bool after_of(const struct json *message, bool *given, uint64_t *out, struct err *e)
{
    const struct json *j = json_get(message, "after");
    enum json_type type = json_type_of(j);
    *given = type != J_NONE && type != J_NULL;
    if (!*given)
        return true;
    int64_t n = json_int(j, -1);
    *out = n >= 0 ? (uint64_t)n : 0;
    return (type == J_INT && n >= 0) || (type == J_STR && str_u64(json_str(j), out)) ||
           err_fail(e, ERR_BAD_INPUT, "after must be the id of an event, as a string of digits");
}

static bool subscribe(struct live_client *c, const struct json *message, struct err *e)
{
    struct json *topics;
    bool given = false, first = c->sub_n == 0;
    uint64_t after = 0;
    if (!topics_of(message, &topics, e) || !after_of(message, &given, &after, e))
        return false;
    uint32_t had = c->sub_n;
    for (size_t i = 0; i < json_size(topics); i++)
        if (!add_sub(c, json_str(json_at(topics, i)), e)) {
            while (c->sub_n > had)
                remove_sub(c, c->subs[c->sub_n - 1]);
            for (uint32_t k = 0; k < c->sub_n; k++)
                c->subs[k]->named = false;
            return false;
        }
    c->resumes = given && first;
    c->seen = after;
    begin_waiting(c);
    return true;
}

static bool unsubscribe(struct live_client *c, const struct json *message, struct err *e)
{
    struct json *topics;
    if (!topics_of(message, &topics, e))
        return false;
    for (size_t i = 0; i < json_size(topics); i++) {
        struct live_sub *s = find_sub(c, json_str(json_at(topics, i)));
        if (s)
            remove_sub(c, s);
    }
    if (c->sub_n == 0)
        c->state = LIVE_IDLE;
    struct buf out = {0}, list = {0};
    json_dump(&list, topics, false);
    buf_char(&out, '{');
    buf_json_field(&out, "op", STR("unsubscribed"));
    buf_json_field_raw(&out, "topics", buf_view(&list));
    buf_char(&out, '}');
    live_say(c, &out);
    buf_finish(&out);
    buf_finish(&list);
    return true;
}

static bool handle(struct live_client *c, const struct json *message, struct err *e)
{
    struct str op = json_str(json_get(message, "op"));
    if (str_is(op, "ping")) {
        if (c->hub)
            hub_send_text(c->hub, STR("{\"op\":\"pong\"}"));
        return true;
    }
    if (str_is(op, "subscribe"))
        return subscribe(c, message, e);
    if (str_is(op, "unsubscribe"))
        return unsubscribe(c, message, e);
    if (json_type_of(message) != J_OBJ)
        return err_fail(e, ERR_BAD_INPUT, "a message must be a JSON object with op");
    return err_fail(e, ERR_BAD_INPUT,
                    "there is no op \"%.*s\"; send subscribe, unsubscribe or ping",
                    (int)(op.n < 40 ? op.n : 40), op.p ? op.p : "");
}

static bool postpone(struct live_client *c, struct str text)
{
    if (c->later.n + text.n + 1 > LATER_MAX)
        return false;
    buf_str(&c->later, text);
    buf_char(&c->later, '\0');
    return true;
}

static void on_message(struct hub_client *h, struct str text)
{
    struct live_client *c = hub_user(h);
    struct err e = {0};
    if (!c)
        return; /* we are stopping */
    must(c->magic == MAGIC);
    struct json *message = json_parse(text, &e);
    if (!message) {
        say_error(c, e.text);
        return;
    }
    bool busy = c->state != LIVE_IDLE && c->state != LIVE_LIVE;
    if (busy && !str_is(json_str(json_get(message, "op")), "ping")) {
        if (!postpone(c, text))
            say_error(c, "too many messages while a snapshot is being taken");
    } else if (!handle(c, message, &e)) {
        say_error(c, e.text);
    }
    json_free(message);
}

/* Coming and going. */

static void on_open(struct hub_client *h)
{
    struct live_client *c = mem_new(struct live_client);
    c->magic = MAGIC;
    c->hub = h;
    list_init(&c->queue);
    list_append(&live.clients, &c->link);
    hub_set_user(h, c);
}

static void free_client(void *arg)
{
    struct live_client *c = arg;
    must(c->magic == MAGIC);
    leave(c);
    while (c->sub_n > 0)
        remove_sub(c, c->subs[c->sub_n - 1]);
    mem_free(c->subs);
    buf_finish(&c->later);
    list_remove(&c->link);
    c->magic = 0;
    loop_free_later(c);
}

static void on_close(struct hub_client *h)
{
    struct live_client *c = hub_user(h);
    if (!c)
        return;
    hub_set_user(h, NULL);
    c->hub = NULL;
    loop_defer(free_client, c);
}

struct hub_service live_service(const struct settings *s)
{
    live.queue_max = (size_t)s->live_queue;
    return (struct hub_service){.path = "/v1/live",
                                .protocol = "hookmesh.live.v1",
                                .max_message = MESSAGE_MAX,
                                .max_queue = (size_t)s->live_queue,
                                .max_queue_bytes = (size_t)s->live_queue_bytes,
                                .on_open = on_open,
                                .on_message = on_message,
                                .on_lag = on_lag,
                                .on_close = on_close};
}

static void on_retry(void *arg)
{
    (void)arg;
    live_snapshot_retry();
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (live.stopping || !live.started)
        return;
    if (up) {
        live_tell_stalled(false, "");
        live_snapshot_retry();
    } else {
        live_tell_stalled(true, "Redis is not reachable; what happens is told when it is back");
    }
}

static void on_map_due(void *arg)
{
    (void)arg;
    live_map_send();
}

void live_start(void)
{
    live.started = true;
    live.stopping = false;
    list_init(&live.clients);
    list_init(&live.gathering);
    list_init(&live.catch_ups);
    list_init(&live.paused);
    list_init(&live.awaiting);
    live.tick = timer_new(on_tick, NULL);
    live.map_due = timer_new(on_map_due, NULL);
    live.retry = timer_new(on_retry, NULL);
    store_on_state(on_store, NULL);
}

/* Behind the clients whose end was told already and is on its way. */
static void finish(void *arg)
{
    (void)arg;
    must(list_empty(&live.clients));
    live_read_finish();
    live_topic_finish();
    timer_free(live.tick);
    timer_free(live.map_due);
    timer_free(live.retry);
    live.tick = live.map_due = live.retry = NULL;
    live.started = false;
}

void live_stop(void)
{
    if (!live.started || live.stopping)
        return;
    live.stopping = true;
    list_each_safe(at, &live.clients) {
        struct live_client *c = container_of(at, struct live_client, link);
        if (!c->hub)
            continue;
        hub_set_user(c->hub, NULL); /* its end may come later */
        free_client(c);
    }
    loop_defer(finish, NULL);
}
