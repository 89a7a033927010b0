/* SPDX-License-Identifier: Apache-2.0 */
/* Retention. What goes is decided in Redis, by age and by count; which keys a run has left is known only to the configuration, so runs go in two calls: which
 * are next, and then those with their keys. In between nothing is lost: a run that was not dropped is named again. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/args.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"

enum { TICK_MS = 5000, RUNS_A_CALL = 200, DAY_MS = 86400000 };

static struct {
    struct timer *timer;
} self;

/* The key of a run that a template or a pattern with one place for it stands for. */
static size_t add_key(struct args *a, const char *tmpl, struct str run)
{
    struct buf text = {0};
    size_t wilds = 0;
    for (struct str rest = str_of(tmpl); rest.p != NULL;) {
        struct str token = str_split(&rest, '.');
        bool wild = str_is(token, "*") || str_is(token, "{run}") || str_is(token, "{1}");
        wilds += wild;
        if (text.n != 0)
            buf_char(&text, '.');
        buf_str(&text, wild ? run : token);
    }
    if (wilds == 1)
        args_text(a, buf_view(&text));
    buf_finish(&text);
    return wilds == 1;
}

static size_t add_keys(struct args *a, const struct pipeline *p, struct str run)
{
    const struct config *c = store_config();
    size_t n = 0;
    for (size_t i = 0; p != NULL && i < p->n; i++) {
        const struct stage *s = &p->stages[i];
        if (s->after != 0)
            continue;
        n += add_key(a, s->watch, run);
        if (s->write != NULL)
            n += add_key(a, s->write, run);
    }
    for (size_t h = 0; h < c->hook_n; h++) {
        const struct hook *hook = &c->hooks[h];
        if (hook->write != NULL && hook->pipeline != NULL && p != NULL &&
            strcmp(hook->pipeline, p->name) == 0)
            n += add_key(a, hook->write, run);
    }
    return n;
}

static void on_dropped(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e == NULL && reply_int(r) > 0)
        log_debug("run", "dropped", "n=%lld", (long long)reply_int(r));
    if (self.timer != NULL)
        timer_arm(self.timer, e == NULL && reply_int(r) == RUNS_A_CALL ? 1 : TICK_MS);
}

static void on_old(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL || reply_len(r) == 0) {
        if (self.timer != NULL)
            timer_arm(self.timer, TICK_MS);
        return;
    }
    struct args a = {0};
    struct args keys = {0};
    for (size_t i = 0; i + 1 < reply_len(r); i += 2) {
        struct str run = reply_str(reply_at(r, i));
        size_t first = keys.n;
        size_t n =
            add_keys(&keys, config_pipeline(store_config(), reply_str(reply_at(r, i + 1))), run);
        args_add(&a, run);
        args_add(&a, reply_str(reply_at(r, i + 1)));
        args_int(&a, (int64_t)n);
        for (size_t k = 0; k < n; k++)
            args_add(&a, keys.v[first + k]);
    }
    store_call("drop_runs", a.n, a.v, on_dropped, NULL);
    args_finish(&a);
    args_finish(&keys);
}

static void on_tick(void *arg)
{
    (void)arg;
    const struct settings *set = &store_config()->set;
    int64_t now = clock_wall_us() / 1000;
    struct args a = {0};
    args_int(&a, now - set->event_retention);
    args_int(&a, now - set->ledger_retention);
    args_int(&a, now - set->dead_retention);
    args_int(&a, (now - set->stats_retention) / DAY_MS);
    store_call("expire", a.n, a.v, NULL, NULL);
    args_finish(&a);
    a = (struct args){0};
    args_int(&a, set->run_max);
    args_int(&a, now - set->run_retention);
    args_int(&a, RUNS_A_CALL);
    store_call("old_runs", a.n, a.v, on_old, NULL);
    args_finish(&a);
}

void run_start(void)
{
    self.timer = timer_new(on_tick, NULL);
    timer_arm(self.timer, TICK_MS);
}

void run_stop(void)
{
    timer_free(self.timer);
    self.timer = NULL;
}
