/* SPDX-License-Identifier: Apache-2.0 */
/* An event is only the doorbell: what is answered is read from Redis after it rang. A run is looked at once when the reading of events has begun, because it may
 * have ended before, and then when an event tells its end. The order matters: looked at first, an end in between would be waited for in vain.
 *
 * A spot is one run that is waited for, by any number of requests: one look serves them all. The reader stays for a while after the last one, because
 * whoever waits once mostly does it again, and each new reader costs a connection. */
#include "handlers/waits.h"

#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/event.h"
#include "core/store.h"
#include "handlers/result.h"
#include "net/loop.h"

enum { LINGER_MS = 10000 };

struct spot {
    struct map_node node;
    struct list link; /* in self.all */
    struct list waits;
    bool looking; /* result_get has not answered: the spot stays */
    bool firing;  /* its waits are being told: the spot stays */
    bool again;   /* something happened meanwhile */
    char *run;
};

struct wait {
    struct list link;
    struct spot *spot;
    struct timer *timer;
    wait_fn fn;
    void *arg;
};

static struct {
    bool started;
    bool beginning; /* event_last has not answered */
    struct map spots;
    struct list all;
    struct event_reader *reader;
    struct timer *linger;
} self;

static void look(struct spot *s);
static void begin(void);

static void drop_if_done(struct spot *s)
{
    if (!list_empty(&s->waits) || s->looking || s->firing)
        return;
    map_remove(&self.spots, &s->node);
    list_remove(&s->link);
    mem_free(s->run);
    mem_free(s);
    if (self.spots.n != 0)
        return;
    if (self.started)
        timer_arm(self.linger, LINGER_MS);
    else
        map_finish(&self.spots);
}

static void fire(struct wait *w, struct str json, const struct err *e)
{
    wait_fn fn = w->fn;
    void *arg = w->arg;
    wait_end(w);
    fn(arg, json, e);
}

static void on_time(void *arg)
{
    fire(arg, (struct str){NULL, 0}, NULL);
}

/* The waits of a spot are taken off it first: what they answer may add new ones. The spot may be gone afterwards. */
static void fire_all(struct spot *s, struct str json, const struct err *e)
{
    struct list due;
    list_init(&due);
    list_each_safe(at, &s->waits) {
        list_remove(at);
        list_append(&due, at);
    }
    s->firing = true;
    while (!list_empty(&due))
        fire(container_of(due.next, struct wait, link), json, e);
    s->firing = false;
    drop_if_done(s);
}

static void on_look(void *arg, struct str json, bool ended, const struct err *e)
{
    struct spot *s = arg;
    s->looking = false;
    if (e != NULL && e->code != ERR_REDIS)
        fire_all(s, (struct str){NULL, 0}, e);
    else if (e == NULL && ended)
        fire_all(s, json, NULL);
    else if (s->again && !list_empty(&s->waits))
        look(s);
    else
        drop_if_done(s);
}

static void look(struct spot *s)
{
    s->again = s->looking;
    if (s->looking)
        return;
    s->looking = true;
    result_get(str_of(s->run), on_look, s);
}

static void look_at_all(void)
{
    list_each(at, &self.all)
        look(container_of(at, struct spot, link));
}

static bool tells_an_end(const struct event *ev)
{
    return str_is(ev->kind, "run.done") || str_is(ev->kind, "run.failed") ||
           str_is(ev->kind, "run.skipped");
}

static void on_event(void *arg, const struct event *ev, const struct err *e)
{
    (void)arg;
    if (e != NULL && e->code == ERR_NOT_FOUND) { /* the log has passed us: from its end on anew */
        event_stop(self.reader);
        self.reader = NULL;
        begin();
    }
    if (e != NULL || !tells_an_end(ev))
        return;
    struct map_node *n = map_find(&self.spots, ev->run);
    if (n != NULL)
        look(container_of(n, struct spot, node));
}

/* From an id on, not from "now": a reader may take its time to begin. */
static void on_last(void *arg, uint64_t last, const struct err *e)
{
    (void)arg;
    self.beginning = false;
    if (e != NULL || !self.started)
        return; /* begun again when Redis is back */
    self.reader = event_read(last, on_event, NULL);
    look_at_all();
}

static void begin(void)
{
    if (self.reader != NULL || self.beginning || self.spots.n == 0 || !store_up())
        return;
    self.beginning = true;
    event_last(on_last, NULL);
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (!up || !self.started)
        return;
    if (self.reader != NULL)
        look_at_all();
    begin();
}

static void on_linger(void *arg)
{
    (void)arg;
    if (self.spots.n != 0)
        return;
    event_stop(self.reader);
    self.reader = NULL;
}

static void start(void)
{
    static bool heard;
    if (self.started)
        return;
    self.started = true;
    self.linger = timer_new(on_linger, NULL);
    if (heard)
        return;
    heard = true;
    list_init(&self.all);
    store_on_state(on_store, NULL);
}

static struct spot *spot_of(struct str run)
{
    struct map_node *n = map_find(&self.spots, run);
    if (n != NULL)
        return container_of(n, struct spot, node);
    struct spot *s = mem_new(struct spot);
    s->run = mem_dup(run.p, run.n);
    list_init(&s->waits);
    map_add(&self.spots, &s->node, str_of(s->run));
    list_append(&self.all, &s->link);
    return s;
}

struct wait *wait_run(struct str run, int64_t ms, wait_fn fn, void *arg)
{
    start();
    struct wait *w = mem_new(struct wait);
    *w = (struct wait){.spot = spot_of(run), .fn = fn, .arg = arg};
    list_append(&w->spot->waits, &w->link);
    w->timer = timer_new(on_time, w);
    timer_arm(w->timer, ms);
    if (self.reader != NULL)
        look(w->spot);
    else
        begin();
    return w;
}

void wait_end(struct wait *w)
{
    if (w == NULL)
        return;
    struct spot *s = w->spot;
    list_remove(&w->link);
    timer_free(w->timer);
    mem_free(w);
    drop_if_done(s);
}

void waits_stop(void)
{
    if (!self.started)
        return;
    self.started = false; /* a look that is under way drops its spot later */
    list_each_safe(at, &self.all)
        fire_all(container_of(at, struct spot, link), (struct str){NULL, 0}, NULL);
    event_stop(self.reader);
    timer_free(self.linger);
    self.reader = NULL;
    self.linger = NULL;
}
