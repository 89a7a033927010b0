/* SPDX-License-Identifier: Apache-2.0 */
/* Topics: which events belong to which, and what they look like on the wire.
 *
 * A topic exists once for all its clients, so that an event is matched and encoded once for each topic, however many
 * listen. Topics with one name are found by it; only patterns of keys must be tried one by one. */
#include "handlers/live_int.h"

#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"

static struct {
    struct map topics;
    struct list patterns;
    struct jscan *scanner;
} self = {.patterns = {&self.patterns, &self.patterns}};

bool live_topic_parse(struct str name, enum live_kind *kind, size_t *arg, struct err *e)
{
    static const struct {
        const char *name;
        enum live_kind kind;
    } plain[] = {{"runs", LIVE_RUNS},
                 {"deliveries", LIVE_DELIVERIES},
                 {"pipelines", LIVE_PIPELINES},
                 {"agents", LIVE_AGENTS}};
    *arg = name.n;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        *kind = plain[i].kind;
        if (str_is(name, plain[i].name))
            return true;
    }
    if (str_starts(name, "run:") && name.n > 4 && name.n <= LIVE_RUN_NAME_MAX &&
        !memchr(name.p, '\0', name.n)) {
        *kind = LIVE_RUN;
        *arg = 4;
        return true;
    }
    if (str_starts(name, "keys:")) {
        *kind = LIVE_KEYS;
        *arg = 5;
        return pattern_check((struct str){name.p + 5, name.n - 5}, 1024, e);
    }
    return err_fail(e, ERR_BAD_INPUT,
                    "there is no topic \"%.*s\"; topics are runs, run:ID, keys:PATTERN, "
                    "deliveries, pipelines, agents",
                    (int)(name.n < 60 ? name.n : 60), name.p);
}

struct live_topic *live_topic_find(struct str name)
{
    struct map_node *node = map_find(&self.topics, name);
    return node ? container_of(node, struct live_topic, node) : NULL;
}

struct live_topic *live_topic_get(struct str name, struct err *e)
{
    enum live_kind kind;
    size_t arg;
    struct live_topic *t = live_topic_find(name);
    if (t)
        return t;
    if (!live_topic_parse(name, &kind, &arg, e))
        return NULL;
    t = mem_new(struct live_topic);
    t->name = mem_dup(name.p, name.n);
    t->kind = kind;
    t->arg = (struct str){t->name + arg, name.n - arg};
    list_init(&t->link);
    map_add(&self.topics, &t->node, (struct str){t->name, name.n});
    if (kind == LIVE_KEYS)
        list_append(&self.patterns, &t->link);
    return t;
}

static void free_topic(struct live_topic *t)
{
    map_remove(&self.topics, &t->node);
    list_remove(&t->link);
    if (t->message)
        hub_msg_release(t->message);
    mem_free(t->subs);
    mem_free(t->name);
    mem_free(t);
}

void live_topic_add(struct live_topic *t, struct live_sub *s)
{
    if (t->n == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1;
        t->subs = mem_resize(t->subs, t->cap * sizeof(struct live_sub *));
    }
    s->topic = t;
    s->at = t->n;
    t->subs[t->n++] = s;
}

void live_topic_remove(struct live_sub *s)
{
    struct live_topic *t = s->topic;
    struct live_sub *moved = t->subs[--t->n];
    t->subs[s->at] = moved;
    moved->at = s->at;
    if (t->n == 0)
        free_topic(t);
}

static bool is_run_event(const struct event *ev)
{
    return str_starts(ev->kind, "run.") || str_starts(ev->kind, "step.");
}

/* A key is written by a put, by a trigger (its input) and by a step (its output). */
static bool writes_key(const struct event *ev)
{
    return ev->key.n > 0 && (str_is(ev->kind, "key.put") || str_is(ev->kind, "step.done") ||
                             str_is(ev->kind, "run.queued"));
}

bool live_topic_matches(const struct live_topic *t, const struct event *ev)
{
    switch (t->kind) {
    case LIVE_RUNS: return is_run_event(ev);
    case LIVE_RUN: return str_eq(ev->run, t->arg);
    case LIVE_KEYS:
        return (writes_key(ev) || str_is(ev->kind, "key.deleted")) &&
               pattern_matches(t->arg, ev->key, NULL);
    case LIVE_DELIVERIES: return str_is(ev->kind, "delivery");
    case LIVE_PIPELINES:
    case LIVE_AGENTS: return false;
    }
    return false;
}

static void offer(struct live_topic *t, const struct event *ev,
                  void (*fn)(struct live_topic *t, const struct event *ev))
{
    if (t && live_topic_matches(t, ev))
        fn(t, ev);
}

void live_topic_each_matching(const struct event *ev,
                              void (*fn)(struct live_topic *t, const struct event *ev))
{
    char name[LIVE_RUN_NAME_MAX];
    if (is_run_event(ev))
        offer(live_topic_find(STR("runs")), ev, fn);
    else if (str_is(ev->kind, "delivery"))
        offer(live_topic_find(STR("deliveries")), ev, fn);
    if (ev->run.n > 0 && ev->run.n + 4 <= sizeof name) {
        memcpy(name, "run:", 4);
        memcpy(name + 4, ev->run.p, ev->run.n);
        offer(live_topic_find((struct str){name, ev->run.n + 4}), ev, fn);
    }
    if (ev->key.n > 0)
        list_each_safe(at, &self.patterns)
            offer(container_of(at, struct live_topic, link), ev, fn);
}

/* What a topic of keys tells of an event that wrote one: the version and size that the key has now. */
static void key_data(struct buf *out, const struct event *ev)
{
    static const char *const names[] = {"version", "out_version", "size", "at", "foreign"};
    static const char *const shown[] = {"version", "version", "size", "at", "foreign"};
    struct str raw[5] = {{0}};
    if (!self.scanner)
        self.scanner = jscan_new();
    if (jscan_parse(self.scanner, ev->data, NULL))
        (void)jscan_members(self.scanner, ev->data, 5, names, raw);
    bool step = str_is(ev->kind, "step.done");
    buf_char(out, '{');
    for (size_t i = 0; i < 5; i++)
        if (raw[i].p && i != (step ? 0 : 1))
            buf_json_field_raw(out, shown[i], raw[i]);
    buf_char(out, '}');
}

void live_topic_encode(struct buf *out, const struct live_topic *t, const struct event *ev)
{
    bool put = t->kind == LIVE_KEYS && writes_key(ev);
    buf_puts(out, "{\"id\":\"");
    buf_u64(out, ev->id);
    buf_puts(out, "\",\"topic\":");
    buf_json_str(out, str_of(t->name));
    buf_puts(out, ",\"type\":");
    buf_json_str(out, put ? STR("key.put") : ev->kind);
    if (ev->key.n > 0)
        buf_json_field(out, "key", ev->key);
    if (ev->run.n > 0)
        buf_json_field(out, "run", ev->run);
    buf_puts(out, ",\"data\":");
    if (put)
        key_data(out, ev);
    else
        buf_str(out, ev->data.n > 0 ? ev->data : STR("{}"));
    buf_char(out, '}');
}

struct hub_msg *live_topic_message(struct live_topic *t, const struct event *ev)
{
    static struct buf text;
    if (t->message && t->encoded == ev->id)
        return t->message;
    if (t->message)
        hub_msg_release(t->message);
    buf_clear(&text);
    live_topic_encode(&text, t, ev);
    t->message = hub_msg_new(buf_view(&text));
    t->encoded = ev->id;
    return t->message;
}

void live_topic_finish(void)
{
    must(self.topics.n == 0);
    map_finish(&self.topics);
    jscan_free(self.scanner);
    self.scanner = NULL;
}
