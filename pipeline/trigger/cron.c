/* SPDX-License-Identifier: Apache-2.0 */
/* Every server looks at hm:cron when something is due there, and no server decides: whoever moves a tick on, in the same step in which the run begins, has it; the
 * others learn that it is gone. A leader would need an election, and would be one more thing that can be away.
 *
 * Nothing here asks the local clock. Redis tells its time with what is due, and how long it is until the next fire; a timer only measures that while, and
 * never more than LOOK_MS, because Redis's clock may be set, and hm:cron may be changed by others. The next fire follows from the tick, not from when
 * somebody came to it, so nothing drifts. */
#include "trigger/cron.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cron.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/claim.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"
#include "trigger/cron_plan.h"
#include "trigger/start.h"

enum {
    LOOK_MS = 1000,
    POLL_MS = 10,             /* until the stages are there */
    RETRY_MS = 250,           /* after a failure */
    DUE_MAX = 250,            /* schedules in one look */
    COST_MAX = 200000,        /* ticks counted in one look: some 20 ms */
    CHUNK = 500,              /* schedules in one call */
    TOUCH_MS = 6 * 3600000,   /* how often Redis is told that a schedule is still there ... */
    FORGET_MS = 3 * 86400000, /* ... and after which time without it is forgotten */
    SILENT_MS = 60000,
    ONCE_LEAST_MS = 3600000,
    ONCE_TICKS = 10,
};

struct sched {
    struct map_node node; /* by name */
    int refs;             /* the map's, and one for each start under way */
    bool gone;            /* not in the configuration any more */
    char *name;
    char *spec; /* EXPRESSION<tab>ZONE */
    char *pipeline;
    struct cron cron;
    const struct zone *zone;
    enum misfire misfire;
    int64_t misfire_max;
    int busy; /* starts under way */
};

/* A start under way. */
struct tick {
    struct sched *sched;
    int64_t due_ms;
    int64_t next_ms;
    int64_t missed;
    bool refused; /* the job would not take it: it is being recorded as skipped */
};

static struct {
    bool running;
    struct config *config;
    struct map scheds;
    struct sched **order;
    size_t n;
    struct timer *timer;
    struct timer *touch;
    bool looking;
    bool syncing;
    bool synced;
    bool resync;    /* the configuration changed while schedules were entered */
    bool forget;    /* what is overdue was not missed: the scheduler was off */
    bool failed;    /* a start of this look failed: not again at once */
    bool again;     /* look again at once */
    size_t strange; /* due ones that are not ours: they stand in the way of a look */
    int in_flight;
    struct args told;
} self;

static void look(void);

static void on_timer(void *arg)
{
    (void)arg;
    look();
}

static void look_after(int64_t ms)
{
    if (self.running)
        timer_arm(self.timer, ms);
}

static void sched_unref(struct sched *s)
{
    if (--s->refs != 0)
        return;
    mem_free(s->name);
    mem_free(s->spec);
    mem_free(s->pipeline);
    mem_free(s);
}

static struct sched *sched_find(struct str name)
{
    struct map_node *node = map_find(&self.scheds, name);
    return node != NULL ? container_of(node, struct sched, node) : NULL;
}

/* What became of ticks, in one call a turn. */

static void send_told(void *arg)
{
    (void)arg;
    if (self.told.n != 0)
        store_call("cron_told", self.told.n, self.told.v, NULL, NULL);
    args_finish(&self.told);
    self.told = (struct args){0};
}

static void tell(const struct tick *t, struct str run)
{
    if (self.told.n == 0)
        loop_defer(send_told, NULL);
    args_text(&self.told, str_of(t->sched->name));
    args_int(&self.told, t->missed);
    args_text(&self.told, run);
    args_int(&self.told, t->due_ms / 1000 * 1000);
    if (t->missed > 0)
        metric_add_for(METRIC_TICKS_MISSED, t->sched->name, (double)t->missed);
}

/* Starting. */

static void on_started(void *arg, enum start_outcome outcome, struct str run, const struct err *e);

static void move_on(const struct tick *t)
{
    struct args a = {0};
    args_text(&a, str_of(t->sched->name));
    args_int(&a, t->due_ms);
    args_int(&a, t->next_ms);
    store_call("cron_move", a.n, a.v, NULL, NULL);
    args_finish(&a);
}

static void add_instant(struct buf *out, const struct sched *s, int64_t at_s)
{
    zone_rfc3339(out, s->zone, at_s);
}

static void describe(struct buf *detail, const struct sched *s, int64_t at_s, int64_t missed)
{
    struct buf at = {0};
    add_instant(&at, s, at_s);
    buf_json_field(detail, "schedule", str_of(s->name));
    buf_json_field(detail, "scheduled_at", buf_view(&at));
    if (missed > 0)
        buf_json_field_int(detail, "missed", missed);
    buf_finish(&at);
}

/* A job that does not take the input of a tick (a parameter without a default): the tick is recorded with the reason, and the schedule goes on. */
static void refuse(struct tick *t, const struct err *why)
{
    struct start s = {.pipeline = str_of(t->sched->pipeline), .cause = "schedule"};
    struct buf detail = {0}, key = {0};
    const struct job *j = config_job(self.config, str_of(t->sched->pipeline));
    id_make(s.run_id, clock_wall_us());
    if (j != NULL)
        buf_json_field(&detail, "job", str_of(j->name));
    describe(&detail, t->sched, t->due_ms / 1000, 0);
    buf_printf(&key, "%s.%s.input", t->sched->pipeline, s.run_id);
    s.received_ms = clock_wall_us() / 1000;
    s.key = buf_view(&key);
    s.value = STR("{}");
    s.detail = buf_view(&detail);
    s.gate.skip = str_of(why->text);
    s.gate.tick = str_of(t->sched->name);
    s.gate.due_ms = t->due_ms;
    s.gate.next_ms = t->next_ms;
    t->refused = true;
    run_begin(&s, on_started, t);
    buf_finish(&detail);
    buf_finish(&key);
}

static void tick_done(struct tick *t)
{
    t->sched->busy--;
    sched_unref(t->sched);
    mem_free(t);
    if (--self.in_flight != 0)
        return;
    look_after(self.failed ? RETRY_MS : 0);
    self.failed = false;
}

static void on_started(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    struct tick *t = arg;
    if (e != NULL && self.running && !t->refused && !err_retryable(e->code)) {
        log_error("cron", "refused", "schedule=%s error=%s", log_quotez(t->sched->name),
                  log_quotez(e->text));
        refuse(t, e);
        return;
    }
    self.failed = self.failed || e != NULL;
    if (e == NULL && outcome == START_DUPLICATE)
        move_on(t);
    else if (e == NULL && outcome != START_GONE)
        tell(t, run);
    if (e == NULL && outcome != START_GONE)
        metric_add_for(METRIC_TICKS,
                       outcome == START_SKIPPED     ? "skipped"
                       : outcome == START_DUPLICATE ? "duplicate"
                                                    : "started",
                       1);
    tick_done(t);
}

static const char *const misfires[] = {
    [MISFIRE_SKIP] = "skip", [MISFIRE_ONCE] = "once", [MISFIRE_ALL] = "all"};

static void say_missed(struct buf *why, const struct sched *s, const struct cron_tick *t,
                       int64_t now_ms)
{
    struct buf late = {0};
    clock_format_duration(&late, (now_ms / 1000 - t->until_s) * 1000);
    if (t->n == 1) {
        buf_printf(why, "missed: nobody was there until %s later (misfire: %s)", late.p,
                   misfires[s->misfire]);
    } else {
        buf_printf(why, "missed: %lld ticks, up to ", (long long)t->n);
        add_instant(why, s, t->until_s);
        buf_printf(why, " (misfire: %s)", misfires[s->misfire]);
    }
    buf_finish(&late);
}

/* Runs that make good for missed ticks come all at once; one that skipped the others would make good for nothing. */
static enum overlap overlap_of(const struct job *j, const struct cron_tick *t)
{
    enum overlap o = j != NULL ? j->overlap : OVERLAP_SKIP;
    return o == OVERLAP_SKIP && t->missed ? OVERLAP_QUEUE : o;
}

static int64_t once_ms(int64_t due_ms, int64_t next_ms)
{
    int64_t ms = (next_ms - due_ms) * ONCE_TICKS;
    int64_t most = self.config->set.dedupe_window;
    return ms > most ? most : ms > ONCE_LEAST_MS ? ms : ONCE_LEAST_MS;
}

static void start_tick(struct sched *s, const struct cron_tick *ct, int64_t due_ms, int64_t next_ms,
                       int64_t now_ms)
{
    struct buf at = {0}, once = {0}, input = {0}, detail = {0}, why = {0};
    const struct pipeline *p = config_pipeline(self.config, str_of(s->pipeline));
    struct tick *t = mem_new(struct tick);
    *t = (struct tick){
        .sched = s, .due_ms = due_ms, .next_ms = next_ms, .missed = ct->missed ? ct->n : 0};
    s->refs++;
    s->busy++;
    self.in_flight++;
    add_instant(&at, s, ct->at_s);
    buf_printf(&once, "cron:%s:%s", s->name, at.p);
    buf_char(&input, '{');
    buf_json_field(&input, "scheduled_at", buf_view(&at));
    buf_char(&input, '}');
    describe(&detail, s, ct->at_s, t->missed);
    if (!ct->start)
        say_missed(&why, s, ct, now_ms);
    struct start_request r = {.pipeline = p,
                              .input = buf_view(&input),
                              .cause = "schedule",
                              .detail = buf_view(&detail),
                              .once = ct->start ? buf_view(&once) : (struct str){NULL, 0},
                              .once_ms = ct->start ? once_ms(due_ms, next_ms) : 0,
                              .skip = buf_view(&why),
                              .delay_ms = -1,
                              .tick = str_of(s->name),
                              .due_ms = due_ms,
                              .next_ms = next_ms,
                              .overlap = overlap_of(p->job, ct),
                              .overlap_set = true};
    start_run(self.config, &r, on_started, t);
    buf_finish(&at);
    buf_finish(&once);
    buf_finish(&input);
    buf_finish(&detail);
    buf_finish(&why);
}

/* How many ticks were counted. */
static int64_t fire(struct sched *s, int64_t due_ms, int64_t now_ms)
{
    const struct settings *set = &self.config->set;
    struct cron_rules rules = {s->misfire, s->misfire_max, set->misfire_grace,
                               set->misfire_records};
    struct cron_plan p;
    cron_plan_make(&p, &s->cron, s->zone, &rules, due_ms, now_ms);
    int64_t missed = 0;
    for (size_t i = 0; i < p.n; i++) {
        int64_t next_s = i + 1 < p.n ? p.ticks[i + 1].at_s : p.next_s;
        int64_t due = i == 0 ? due_ms : p.ticks[i].at_s * 1000;
        missed += p.ticks[i].missed ? p.ticks[i].n : 0;
        start_tick(s, &p.ticks[i], due, next_s * 1000, now_ms);
    }
    if (missed > 0)
        log_warn("cron", "missed", "schedule=%s ticks=%lld misfire=%s", log_quotez(s->name),
                 (long long)missed, misfires[s->misfire]);
    if (p.n == 0) { /* somebody set it to what is no tick of it */
        move_on(&(struct tick){.sched = s, .due_ms = due_ms, .next_ms = p.next_s * 1000});
        self.again = true;
    }
    int64_t looked = p.looked;
    cron_plan_finish(&p);
    return looked;
}

/* Looking. */

static void drop_strange(const struct args *names, int64_t now_ms)
{
    struct args a = {0};
    args_int(&a, now_ms - FORGET_MS);
    for (size_t i = 0; i < names->n; i++)
        args_add(&a, names->v[i]);
    if (names->n != 0)
        store_call("cron_drop", a.n, a.v, NULL, NULL);
    args_finish(&a);
}

static void fire_due(const struct reply *r)
{
    int64_t now_ms = reply_int(reply_at(r, 0));
    int64_t cost = 0;
    struct args strange = {0};
    for (size_t i = 3; i + 2 < reply_len(r); i += 3) {
        struct sched *s = sched_find(reply_str(reply_at(r, i)));
        struct str spec = reply_str(reply_at(r, i + 2));
        int64_t due_ms = reply_int(reply_at(r, i + 1));
        bool ours = s != NULL && str_is(spec, s->spec);
        if (!ours)
            args_add(&strange, reply_str(reply_at(r, i)));
        if (s != NULL && !ours && now_ms - due_ms > SILENT_MS)
            self.synced = false; /* who meant something else by it is gone: it is ours again */
        if (ours && s->busy == 0 && cost < COST_MAX)
            cost += fire(s, due_ms, now_ms);
    }
    if (strange.n != self.strange) {
        drop_strange(&strange, now_ms);
        self.again = true; /* ours may stand behind them */
    }
    self.strange = strange.n;
    args_finish(&strange);
}

static void on_due(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    self.looking = false;
    if (!self.running)
        return;
    if (e != NULL) {
        if (e->code != ERR_REDIS && e->code != ERR_CANCELLED)
            log_warn("cron", "look_failed", "error=%s", log_quotez(e->text));
        look_after(LOOK_MS);
        return;
    }
    int64_t wait = reply_int(reply_at(r, 2));
    self.again = false;
    if (reply_int(reply_at(r, 1)) < (int64_t)self.n)
        self.synced = false; /* somebody emptied it */
    fire_due(r);
    if (self.in_flight == 0)
        look_after(self.again ? 0 : wait >= 0 && wait < LOOK_MS ? wait : LOOK_MS);
}

static void sync_all(void);

static void look(void)
{
    if (!self.running || self.n == 0 || !self.config->set.scheduler_enabled || self.looking ||
        self.syncing || self.in_flight != 0 || !store_up())
        return;
    if (!claim_ready()) { /* a run whose stages are not known yet would have nothing to do */
        look_after(POLL_MS);
        return;
    }
    if (!self.synced) {
        sync_all();
        return;
    }
    struct args a = {0};
    self.looking = true;
    args_int(&a, (int64_t)(DUE_MAX + self.strange));
    store_call("cron_due", a.n, a.v, on_due, NULL);
    args_finish(&a);
}

/* Entering what the configuration has. */

struct sync {
    int left; /* calls without an answer */
    bool failed;
};

static void sync_done(bool good)
{
    self.syncing = false;
    self.synced = good && !self.resync;
    if (good)
        self.forget = false;
    self.resync = false;
    look_after(good ? 0 : RETRY_MS);
}

static void on_synced(void *arg, const struct reply *r, const struct err *e)
{
    (void)r;
    struct sync *op = arg;
    op->failed = op->failed || e != NULL;
    if (--op->left != 0)
        return;
    bool good = !op->failed;
    mem_free(op);
    sync_done(good);
}

static void send_sync(struct sync *op, size_t from, int64_t now_ms)
{
    struct args a = {0};
    if (self.forget)
        args_int(&a, now_ms - self.config->set.misfire_grace);
    else
        args_add(&a, STR(""));
    for (size_t i = from; i < self.n && i < from + CHUNK; i++) {
        int64_t next_s = 0;
        const struct sched *s = self.order[i];
        if (!cron_next(&s->cron, s->zone, now_ms / 1000, &next_s))
            continue;
        args_add(&a, str_of(s->name));
        args_add(&a, str_of(s->spec));
        args_int(&a, next_s * 1000);
    }
    store_call("cron_sync", a.n, a.v, on_synced, op);
    args_finish(&a);
}

static void on_now(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL || !self.running || self.n == 0) {
        sync_done(false);
        return;
    }
    struct sync *op = mem_new(struct sync);
    op->left = (int)((self.n + CHUNK - 1) / CHUNK);
    for (size_t i = 0; i < self.n; i += CHUNK)
        send_sync(op, i, reply_int(reply_at(r, 0)));
}

static void sync_all(void)
{
    self.syncing = true;
    store_call("cron_due", 1, (struct str[]){STR("0")}, on_now, NULL);
}

static void on_touch(void *arg)
{
    (void)arg;
    self.synced = false;
    self.strange = 0; /* may have grown old */
    look();
}

/* The configuration. */

static struct sched *sched_make(const struct config *c, const struct schedule *from)
{
    struct err e;
    struct sched *s = mem_new(struct sched);
    s->refs = 1;
    s->name = mem_strdup(from->name);
    s->pipeline = mem_strdup(from->pipeline);
    s->spec =
        mem_format("%s\t%s", from->expression, from->timezone != NULL ? from->timezone : "UTC");
    s->misfire = from->misfire;
    s->misfire_max = from->misfire_max;
    s->zone = zone_find(from->timezone, &e);
    if (s->zone != NULL && cron_parse(str_of(from->expression), &s->cron, &e) &&
        config_pipeline(c, str_of(from->pipeline)) != NULL)
        return s;
    log_error("cron", "left_out", "schedule=%s", log_quotez(from->name));
    sched_unref(s);
    return NULL;
}

static void add_scheds(const struct config *c)
{
    self.order = mem_zero(c->schedule_n + 1, sizeof *self.order);
    for (size_t i = 0; i < c->schedule_n; i++) {
        struct sched *s = sched_make(c, &c->schedules[i]);
        if (s == NULL)
            continue;
        map_add(&self.scheds, &s->node, str_of(s->name));
        self.order[self.n++] = s;
    }
}

/* Takes all out; those that are not in c any more are dropped in Redis. */
static void remove_scheds(const struct config *c)
{
    struct map names = {0};
    struct map_node *nodes = mem_zero(c != NULL ? c->schedule_n + 1 : 1, sizeof *nodes);
    struct args a = {0};
    args_add(&a, STR("inf"));
    for (size_t i = 0; c != NULL && i < c->schedule_n; i++)
        map_add(&names, &nodes[i], str_of(c->schedules[i].name));
    for (size_t i = 0; i < self.n; i++) {
        struct sched *s = self.order[i];
        map_remove(&self.scheds, &s->node);
        if (map_find(&names, str_of(s->name)) == NULL)
            args_text(&a, str_of(s->name));
        sched_unref(s);
    }
    if (c != NULL && a.n > 1 && c->set.scheduler_enabled && store_up())
        store_call("cron_drop", a.n, a.v, NULL, NULL);
    args_finish(&a);
    map_finish(&names);
    mem_free(nodes);
    mem_free(self.order);
    self.order = NULL;
    self.n = 0;
}

void cron_configure(struct config *c)
{
    if (!self.running)
        return;
    struct config *old = self.config;
    bool was_off = old != NULL && !old->set.scheduler_enabled;
    remove_scheds(c);
    self.config = config_ref(c);
    add_scheds(c);
    self.forget = self.forget || was_off;
    self.synced = false;
    self.resync = self.syncing;
    if (old != NULL)
        config_unref(old);
    look_after(0);
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (!up || !self.running)
        return;
    self.synced = false;
    look();
}

void cron_start(void)
{
    self.running = true;
    self.timer = timer_new(on_timer, NULL);
    self.touch = timer_new(on_touch, NULL);
    timer_every(self.touch, TOUCH_MS);
    cron_configure(store_config());
    store_on_state(on_store, NULL);
}

void cron_stop(void)
{
    if (!self.running)
        return;
    self.running = false;
    timer_free(self.timer);
    timer_free(self.touch);
    self.timer = self.touch = NULL;
    remove_scheds(NULL);
    map_finish(&self.scheds);
    config_unref(self.config);
    self.config = NULL;
}
