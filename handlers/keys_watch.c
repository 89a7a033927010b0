/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as a stream of events: current values, `ready`, then changes.
 *
 * The trouble is the slow reader: values come faster than its connection takes them. While too much waits for it, only the names of
 * the keys that changed are kept, each once, and their values are read when the connection has room again; so a
 * burst costs it intermediate values but never the last one. Names are bounded as well: a reader that is behind by more is
 * told to come back, which costs it nothing but the current values once more. */
#include "handlers/keys.h"

#include "base/json.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/kv.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    UNSENT_MAX = 1 << 20,
    NAMES_MAX = 100000,
    NAME_BYTES_MAX = 16 << 20,
    READ_AT_ONCE = 100,
    HEARTBEAT_MS = 15000,
    MAGIC = 0x6b776174
};

struct behind { /* a key whose value is still to be told */
    struct map_node node;
    struct list link;
    char *key;
};

struct watcher {
    uint32_t magic;
    struct list link;
    struct http_req *q;
    struct kv_watch *watch;
    struct map names;
    struct list order; /* of struct behind, oldest first */
    size_t name_bytes;
    bool ready;   /* all current values were given to us */
    bool said_it; /* `ready` was written */
    bool reading; /* values of names are being read */
    bool done;
};

static struct {
    struct list open;
    struct timer *beat;
} watchers;

static void on_beat(void *arg)
{
    (void)arg;
    list_each(at, &watchers.open) {
        struct watcher *w = container_of(at, struct watcher, link);
        if (http_unsent(w->q) == 0)
            http_write(w->q, STR(": still here\n\n"));
    }
}

static void forget(struct watcher *w, struct behind *b)
{
    map_remove(&w->names, &b->node);
    list_remove(&b->link);
    w->name_bytes -= b->node.key.n;
    mem_free(b->key);
    mem_free(b);
}

static void release(struct watcher *w)
{
    if (w->reading)
        return;
    list_each_safe(at, &w->order)
        forget(w, container_of(at, struct behind, link));
    map_finish(&w->names);
    w->magic = 0;
    loop_free_later(w);
}

static void finish(struct watcher *w, struct str last_words)
{
    http_on_gone(w->q, NULL, NULL);
    http_on_drain(w->q, NULL, NULL);
    http_write(w->q, last_words);
    http_end(w->q);
    kv_watch_stop(w->watch);
    w->watch = NULL;
    w->done = true;
    list_remove(&w->link);
    release(w);
}

static void on_gone(void *arg)
{
    struct watcher *w = arg;
    must(w->magic == MAGIC);
    finish(w, STR(""));
}

static void tell(struct watcher *w, const struct kv_value *v, bool deleted)
{
    struct buf out = {0};
    buf_puts(&out, deleted ? "event: delete\ndata: {" : "event: put\ndata: {");
    buf_json_field(&out, "key", v->key);
    if (!deleted) {
        buf_json_field_int(&out, "version", v->version);
        keys_add_value(&out, v->value, true);
    }
    buf_puts(&out, "}\n\n");
    http_write(w->q, buf_view(&out));
    buf_finish(&out);
}

static void read_behind(struct watcher *w);

static void on_drain(void *arg)
{
    struct watcher *w = arg;
    must(w->magic == MAGIC);
    read_behind(w);
}

static void on_values(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct watcher *w = arg;
    must(w->magic == MAGIC);
    w->reading = false;
    if (w->done) {
        release(w);
        return;
    }
    if (e) {
        finish(w, STR(": Redis is not reachable; come back\n\n"));
        return;
    }
    for (size_t i = 0; i < n; i++)
        tell(w, &values[i], values[i].version == 0);
    http_on_drain(w->q, on_drain, w);
}

/* Reads the values of the oldest names; with none left `ready` may be said. */
static void read_behind(struct watcher *w)
{
    struct str keys[READ_AT_ONCE];
    struct behind *taken[READ_AT_ONCE];
    size_t n = 0;
    if (w->reading)
        return;
    list_each(at, &w->order) {
        if (n == READ_AT_ONCE)
            break;
        taken[n] = container_of(at, struct behind, link);
        keys[n] = taken[n]->node.key;
        n++;
    }
    if (n == 0) {
        if (w->ready && !w->said_it)
            http_write(w->q, STR("event: ready\ndata: {}\n\n"));
        w->said_it = w->ready;
        return;
    }
    w->reading = true;
    kv_get(n, keys, on_values, w);
    for (size_t i = 0; i < n; i++)
        forget(w, taken[i]);
}

static void note(struct watcher *w, struct str key)
{
    if (map_find(&w->names, key))
        return;
    if (w->names.n >= NAMES_MAX || w->name_bytes + key.n > NAME_BYTES_MAX) {
        finish(w, STR(": too slow for so many changes; come back\n\n"));
        return;
    }
    struct behind *b = mem_new(struct behind);
    b->key = mem_dup(key.p, key.n);
    map_add(&w->names, &b->node, (struct str){b->key, key.n});
    list_append(&w->order, &b->link);
    w->name_bytes += key.n;
    if (!w->reading)
        http_on_drain(w->q, on_drain, w);
}

static void on_watch(void *arg, enum kv_watch_what what, const struct kv_value *v)
{
    struct watcher *w = arg;
    must(w->magic == MAGIC);
    if (w->done)
        return;
    bool behind = w->names.n > 0 || w->reading || http_unsent(w->q) > UNSENT_MAX;
    if (what == KV_READY) {
        w->ready = true;
        if (!behind)
            read_behind(w);
        else
            http_on_drain(w->q, on_drain, w);
    } else if (behind) {
        note(w, v->key);
    } else {
        tell(w, v, what == KV_DELETED);
    }
}

void keys_watch(struct http_req *q, struct str pattern)
{
    if (!store_up()) {
        http_problem(q, ERR_REDIS, "Redis is not reachable; come back to watch");
        return;
    }
    if (!watchers.beat) {
        list_init(&watchers.open);
        watchers.beat = timer_new(on_beat, NULL);
        timer_every(watchers.beat, HEARTBEAT_MS);
    }
    struct watcher *w = mem_new(struct watcher);
    w->magic = MAGIC;
    w->q = q;
    list_init(&w->order);
    list_append(&watchers.open, &w->link);
    http_on_gone(q, on_gone, w);
    http_set_header(q, "cache-control", STR("no-store"));
    http_begin(q, 200, "text/event-stream");
    w->watch = kv_watch_start(pattern, on_watch, w);
}

void keys_watch_stop(void)
{
    if (!watchers.beat)
        return;
    list_each_safe(at, &watchers.open)
        finish(container_of(at, struct watcher, link), STR(": the server is stopping\n\n"));
    timer_free(watchers.beat);
    watchers.beat = NULL;
}
