/* SPDX-License-Identifier: Apache-2.0 */
/* The server's own writes ring as well, and nothing in a notification says whose it was. So every key has a balance while it is
 * in doubt: a notification adds one, the answer to a call of ours that wrote the key takes one off. What has more rings than writes after a short while was
 * (perhaps) written by another client or another server, and is looked at: if the sum in its meta is not that of its value, the write
 * is adopted. A wrong suspicion costs one read and changes nothing.
 *
 * The sweep is the same look at all keys, a page at a time: after the start and after the subscription was lost at once and without pause,
 * otherwise slowly, so that a million parked documents cost an idle server next to nothing. The backfill of new stages rides on it. */
#include "core/listen.h"

#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    DOUBT_US = 40000,
    DOUBT_TICK_MS = 20,
    FORGET_US = 5000000,
    LOOK_MAX = 200,
    PAGE_KEYS = 500,
    SLOW_PAGES = 40
};

struct ring {
    struct map_node node;
    struct list order; /* in self.order, oldest first */
    int balance;
    int64_t since_us;
    char key[];
};

/* Keys to be looked at, then the suspicious ones of them. */
struct look {
    size_t n;
    char **keys;
    bool live;  /* heard, not swept: another counter */
    bool page;  /* part of the sweep: go on when done */
    bool again; /* made anew after the registry changed */
};

static struct {
    listen_fn fn;
    void *arg;
    struct map rings;
    struct list order;
    struct timer *doubts;
    struct timer *sweep;
    bool running;
    bool scanning;
    bool fast;       /* this scan must see everything now */
    bool fast_again; /* and another one after it */
    uint64_t cursor;
    int pages;
} self;

static void next_page(void);
static void look_at(struct look *l);

static void free_look(struct look *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem_free(l->keys[i]);
    mem_free(l->keys);
    mem_free(l);
}

static void forget(struct ring *r)
{
    map_remove(&self.rings, &r->node);
    list_remove(&r->order);
    mem_free(r);
}

static void turn(struct str key, int by)
{
    struct map_node *node = map_find(&self.rings, key);
    struct ring *r = node != NULL ? container_of(node, struct ring, node) : NULL;
    if (r == NULL) {
        r = mem_alloc(sizeof *r + key.n + 1);
        r->balance = 0;
        r->since_us = loop_now_us();
        memcpy(r->key, key.p, key.n);
        r->key[key.n] = '\0';
        map_add(&self.rings, &r->node, (struct str){r->key, key.n});
        list_append(&self.order, &r->order);
    }
    r->balance += by;
    if (r->balance == 0)
        forget(r);
    if (self.rings.n != 0 && !timer_armed(self.doubts))
        timer_arm(self.doubts, DOUBT_TICK_MS);
}

void listen_wrote(struct str key)
{
    if (!self.running)
        return;
    if (store_notifications())
        turn(key, -1);
    self.fn(self.arg, LISTEN_KEY, key);
}

void listen_unwrote(struct str key)
{
    if (self.running && store_notifications())
        turn(key, 1);
}

static void on_bell(void *arg, enum store_bell what, struct str name, struct str event)
{
    (void)arg;
    if (what == STORE_STAGE) {
        self.fn(self.arg, name.n != 0 ? LISTEN_STAGE : LISTEN_ALL, name);
        return;
    }
    if (what == STORE_CANCEL) {
        self.fn(self.arg, LISTEN_CANCEL, name);
        return;
    }
    /* Keys that Redis writes by itself: it rings for the stages that it gives them to. */
    if (str_starts(name, "run.ended.") || str_starts(name, "run.open."))
        return;
    if (str_is(event, "hset") || str_is(event, "hincrby")) {
        struct map_node *node = map_find(&self.rings, name);
        bool ours = node != NULL && container_of(node, struct ring, node)->balance < 0;
        turn(name, 1);
        if (ours)
            return;
    }
    self.fn(self.arg, LISTEN_KEY, name);
}

/* Rings without an explanation for a while are looked at; explanations without a ring were missed notifications and harmless. */
static void on_doubts(void *arg)
{
    (void)arg;
    int64_t now = loop_now_us();
    struct look *l = NULL;
    size_t seen = 0;
    list_each_safe(at, &self.order) {
        struct ring *r = container_of(at, struct ring, order);
        /* In order of their coming: behind a young one all are young. */
        if (now - r->since_us < DOUBT_US || ++seen > LOOK_MAX)
            break;
        if (r->balance < 0 && now - r->since_us < FORGET_US)
            continue;
        if (r->balance > 0) {
            if (l == NULL) {
                l = mem_new(struct look);
                l->keys = mem_zero(LOOK_MAX, sizeof *l->keys);
                l->live = true;
            }
            l->keys[l->n++] = mem_strdup(r->key);
        }
        forget(r);
    }
    if (l != NULL)
        look_at(l);
    if (self.rings.n != 0)
        timer_arm(self.doubts, DOUBT_TICK_MS);
}

static void look_done(struct look *l)
{
    bool page = l->page;
    free_look(l);
    if (page)
        next_page();
}

static void on_look_refreshed(void *arg, const struct err *e)
{
    struct look *l = arg;
    if (e != NULL)
        look_done(l);
    else
        look_at(l);
}

static void on_adopted(void *arg, const struct reply *r, const struct err *e)
{
    struct look *l = arg;
    if (e != NULL && e->code == ERR_STALE && !l->again) {
        l->again = true;
        stage_refresh(NULL, on_look_refreshed, l);
        return;
    }
    size_t adopted = 0;
    for (size_t i = 0; i < reply_len(r); i++)
        adopted += reply_int(reply_at(r, i)) > 0;
    if (adopted != 0) {
        metric_add(l->live ? METRIC_ADOPTED : METRIC_RECOVERED, (double)adopted);
        log_debug("listen", "adopted", "keys=%zu live=%d", adopted, l->live);
        self.fn(self.arg, LISTEN_ALL, (struct str){NULL, 0});
    }
    look_done(l);
}

/* Puts the arguments of one adoption behind the others, when the value is not what its meta says. */
static bool suspect(struct args *a, struct str key, struct str value, struct str meta)
{
    char sum[CODEC_SUM];
    if (str_is(codec_meta(meta).sum, "*"))
        return false; /* Redis wrote it by itself */
    codec_sum(sum, value);
    if (str_is(codec_meta(meta).sum, sum))
        return false;
    struct buf feeds = {0};
    struct buf bumps = {0};
    struct buf run = {0};
    stage_feeds(&feeds, &bumps, key);
    stage_run_of(&run, key);
    args_text(a, key);
    args_add(a, value);
    args_text(a, str_of(sum));
    args_text(a, buf_view(&feeds));
    args_text(a, buf_view(&bumps));
    args_text(a, buf_view(&run));
    buf_finish(&feeds);
    buf_finish(&bumps);
    buf_finish(&run);
    return true;
}

static void on_looked(void *arg, const struct reply *r, const struct err *e)
{
    struct look *l = arg;
    if (e != NULL) {
        look_done(l);
        return;
    }
    struct args a = {0};
    size_t n = 0;
    args_text(&a, stage_epoch());
    args_int(&a, store_config()->set.event_log_max);
    for (size_t i = 0; i < l->n; i++) {
        const struct reply *value = reply_at(r, 3 * i);
        struct str bytes = reply_str(value);
        if (reply_type(value) == REPLY_NIL)
            continue;
        if (bytes.p == NULL)
            bytes = STR("");
        n += suspect(&a, str_of(l->keys[i]), bytes, reply_str(reply_at(r, 3 * i + 2)));
    }
    if (n != 0)
        store_call("adopt", a.n, a.v, on_adopted, l);
    else
        look_done(l);
    args_finish(&a);
}

static void look_at(struct look *l)
{
    struct args a = {0};
    args_add(&a, STR("1"));
    for (size_t i = 0; i < l->n; i++)
        args_add(&a, str_of(l->keys[i]));
    store_call("peek", a.n, a.v, on_looked, l);
    args_finish(&a);
}

static void on_nothing(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    (void)e;
    if (reply_int(r) > 0)
        self.fn(self.arg, LISTEN_ALL, (struct str){NULL, 0});
}

/* New stages get those keys of the page that they watch. Sent before the look: an unknown foreign key is left to adoption. */
static void backfill_page(const struct look *l)
{
    for (size_t s = 0; s < stage_count(); s++) {
        const struct known_stage *stage = stage_at(s);
        if (stage->filled)
            continue;
        struct args a = {0};
        args_add(&a, str_of(stage->id));
        args_int(&a, (int64_t)stage->since);
        for (size_t i = 0; i < l->n; i++) {
            if (pattern_matches(str_of(stage->watch), str_of(l->keys[i]), NULL))
                args_add(&a, str_of(l->keys[i]));
        }
        if (a.n > 2)
            store_call("backfill", a.n, a.v, on_nothing, NULL);
        args_finish(&a);
    }
}

static void on_filled(void *arg, const struct reply *r, const struct err *e)
{
    (void)r;
    char *id = arg;
    struct known_stage *s = e == NULL ? stage_find(str_of(id)) : NULL;
    if (s != NULL) {
        s->filled = true;
        log_info("stage", "ready", "stage=%s", id);
    }
    mem_free(id);
}

static void scan_done(void)
{
    self.scanning = false;
    if (self.fast) {
        for (size_t s = 0; s < stage_count(); s++) {
            struct known_stage *stage = stage_at(s);
            struct str id[] = {str_of(stage->id)};
            if (!stage->filled)
                store_call("backfilled", 1, id, on_filled, mem_strdup(stage->id));
        }
    }
    self.fast = false;
    if (self.fast_again)
        listen_sweep();
}

static void on_page(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL || !self.running) {
        self.scanning = false;
        return; /* begun anew when Redis is back */
    }
    uint64_t next = 0;
    str_u64(reply_str(reply_at(r, 0)), &next);
    self.cursor = next;
    const struct reply *names = reply_at(r, 1);
    size_t n = reply_len(names);
    if (n == 0) {
        next_page();
        return;
    }
    struct look *l = mem_new(struct look);
    l->page = true;
    l->keys = mem_zero(n, sizeof *l->keys);
    const size_t prefix = sizeof "hm:kv:" - 1;
    for (size_t i = 0; i < n; i++) {
        struct str name = reply_str(reply_at(names, i));
        l->keys[l->n++] = mem_dup(name.p + prefix, name.n - prefix);
    }
    if (self.fast)
        backfill_page(l);
    look_at(l);
}

static void scan(void)
{
    char from[24];
    struct buf number = {0};
    buf_u64(&number, self.cursor);
    memcpy(from, number.p, number.n + 1);
    buf_finish(&number);
    redis_cmd(store_work(), on_page, NULL, "SCAN", from, "MATCH", "hm:kv:*", "COUNT", "500", NULL);
}

static void next_page(void)
{
    if (!self.running || !store_up()) {
        self.scanning = false;
        return;
    }
    if (self.cursor == 0) {
        scan_done();
        return;
    }
    if (!self.fast && ++self.pages >= SLOW_PAGES) {
        self.scanning = false; /* the next tick goes on from the cursor */
        return;
    }
    scan();
}

static void begin(bool fast)
{
    if (!store_up() || !self.running)
        return;
    if (self.scanning) {
        self.fast_again = self.fast_again || fast;
        return;
    }
    self.scanning = true;
    self.fast = fast;
    self.fast_again = false;
    self.pages = 0;
    if (fast)
        self.cursor = 0;
    scan();
}

void listen_sweep(void)
{
    begin(true);
}

static void on_tick(void *arg)
{
    (void)arg;
    self.fn(self.arg, LISTEN_ALL, (struct str){NULL, 0});
    begin(!store_notifications());
    timer_arm(self.sweep, store_config()->set.sweep);
}

static void on_state(void *arg, bool up)
{
    (void)arg;
    if (!up)
        self.scanning = false;
}

bool listen_filled(void)
{
    for (size_t s = 0; s < stage_count(); s++) {
        if (!stage_at(s)->filled)
            return false;
    }
    return true;
}

void listen_start(listen_fn fn, void *arg)
{
    self.fn = fn;
    self.arg = arg;
    self.running = true;
    list_init(&self.order);
    self.doubts = timer_new(on_doubts, NULL);
    self.sweep = timer_new(on_tick, NULL);
    timer_arm(self.sweep, store_config()->set.sweep);
    store_on_bell(on_bell, NULL);
    store_on_state(on_state, NULL);
}

void listen_stop(void)
{
    if (!self.running)
        return;
    self.running = false;
    store_on_bell(NULL, NULL);
    timer_free(self.doubts);
    timer_free(self.sweep);
    self.doubts = self.sweep = NULL;
    list_each_safe(at, &self.order)
        forget(container_of(at, struct ring, order));
    map_finish(&self.rings);
}
