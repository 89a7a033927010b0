/* SPDX-License-Identifier: Apache-2.0 */
/* For each stage served here there is one struct served: whether it was rung for (dirty), whether a claim call is under way, how many inputs are in
 * work. Once a turn of the loop, just before it blocks, flush() looks at all: finished work of all stages goes to Redis as one commit
 * call, and each dirty stage with room claims its next batch. So the busier it is the larger the batches are, and an idle server answers
 * the first ring at once. */
#include "core/claim.h"

#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/claim_int.h"
#include "core/codec.h"
#include "core/listen.h"
#include "core/slot.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { KINDS = WORK_ALERT + 1, LOOK_MAX = 1000 };

static struct {
    const struct claim_runner *runners[KINDS];
    struct list served;
    struct list retired;
    struct list dirty;
    struct map by_id;
    int slow; /* claimed or asked for, of work_max */
    struct list working;
    struct loop_prepare *prepare;
    struct timer *renew;
    struct timer *grace;
    bool started;
    bool registered; /* stages are in the registry, old claims handed back: claiming is on */
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    int calls; /* claims and renewals under way */
} self;

static void flush(void *arg);

void claim_register(enum work_kind kind, const struct claim_runner *r)
{
    self.runners[kind] = r;
}

/* What is rung for a stage of an earlier configuration, such as the retry of work that it had begun, is for the present one. */
static struct served *present(struct served *s)
{
    if (!s->retired)
        return s;
    struct map_node *node = map_find(&self.by_id, str_of(s->stage->id));
    return node != NULL ? container_of(node, struct served, by_id) : NULL;
}

void claim_dirty(struct served *any)
{
    struct served *s = present(any);
    if (s == NULL || !list_empty(&s->dirty_node))
        return;
    struct list *before = self.dirty.next;
    while (before != &self.dirty &&
           container_of(before, struct served, dirty_node)->priority >= s->priority)
        before = before->next;
    list_append(before, &s->dirty_node);
}

void claim_free_item(struct item *it)
{
    it->served->busy--;
    if (it->served->slow)
        self.slow--;
    buf_finish(&it->run);
    buf_finish(&it->bytes);
    buf_finish(&it->output);
    mem_free(it->also);
    mem_free(it->error);
    mem_free(it);
}

static void free_served(struct served *s)
{
    list_remove(&s->node);
    list_remove(&s->dirty_node);
    timer_free(s->later);
    buf_finish(&s->lua_pattern);
    config_unref(s->config);
    mem_free(s);
}

static int room(const struct served *s)
{
    int own = s->room_max - s->busy;
    int all = (int)s->config->set.work_max - self.slow;
    return s->slow && all < own ? all : own;
}

/* Claiming. */

struct claim_op {
    struct served *served;
    size_t also_n;
};

static struct str keep(struct buf *bytes, struct str s)
{
    size_t at = bytes->n;
    buf_str(bytes, s);
    return (struct str){bytes->p + at, s.n};
}

static bool keep_decoded(struct buf *bytes, struct str stored, struct str meta, struct str *out)
{
    size_t at = bytes->n;
    if (!codec_decode(bytes, stored, codec_meta(meta).encoding))
        return false;
    *out = (struct str){bytes->p + at, bytes->n - at};
    return true;
}

static struct item *make_item(struct served *s, const struct reply *r, size_t at, size_t also_n)
{
    struct item *it = mem_new(struct item);
    struct str key = reply_str(reply_at(r, at));
    struct str token = reply_str(reply_at(r, at + 1));
    struct str meta = reply_str(reply_at(r, at + 4));
    struct str value = reply_str(reply_at(r, at + 5));
    size_t total = key.n + codec_size(codec_meta(meta).encoding, value.n) + 16;
    for (size_t i = 0; i < also_n; i++) {
        struct str also_meta = reply_str(reply_at(r, at + 7 + 2 * i));
        total +=
            codec_size(codec_meta(also_meta).encoding, reply_str(reply_at(r, at + 6 + 2 * i)).n) +
            16;
    }
    buf_reserve(&it->bytes, total); /* so that slices of it stay good */
    it->served = s;
    it->pipeline = s->pipeline;
    list_init(&it->node);
    memcpy(it->token, token.p, token.n < sizeof it->token ? token.n : sizeof it->token - 1);
    it->retry_after_ms = -1;
    struct claim *c = &it->claim;
    c->stage = s->stage;
    c->key = keep(&it->bytes, key);
    struct str attempt = reply_str(reply_at(r, at + 2));
    it->failed_before = attempt.n != 0 && attempt.p[0] == '+';
    uint64_t number = 1;
    if (it->failed_before)
        str_u64((struct str){attempt.p + 1, attempt.n - 1}, &number);
    c->attempt = (int)number;
    c->version = reply_int(reply_at(r, at + 3));
    bool good = keep_decoded(&it->bytes, value, meta, &c->value);
    it->also = also_n == 0 ? NULL : mem_zero(also_n, sizeof *it->also);
    for (size_t i = 0; good && i < also_n; i++) {
        if (reply_type(reply_at(r, at + 6 + 2 * i)) != REPLY_NIL) /* else it is optional */
            good = keep_decoded(&it->bytes, reply_str(reply_at(r, at + 6 + 2 * i)),
                                reply_str(reply_at(r, at + 7 + 2 * i)), &it->also[i]);
    }
    c->also = it->also;
    c->also_n = also_n;
    c->claimed_us = loop_now_us();
    good = good && pattern_matches(str_of(s->stage->watch), c->key, &c->match);
    if (s->stage->after != 0)
        buf_str(&it->run, c->match.wild[0]);
    else
        stage_run(&it->run, s->stage->pipeline, &c->match);
    c->run = buf_view(&it->run);
    s->busy++;
    if (s->slow)
        self.slow++;
    if (!good) {
        it->finished = true;
        it->outcome = CLAIM_FAIL;
        it->error = mem_strdup("the stored value is damaged and cannot be read");
        commit_add(it);
        return NULL;
    }
    list_append(&self.working, &it->node);
    return it;
}

static void on_later(void *arg)
{
    claim_dirty(arg);
}

static void too_often(struct item *it)
{
    it->finished = true;
    it->outcome = CLAIM_FAIL;
    it->error = mem_strdup("its worker died or lost its lease on every attempt");
    list_remove(&it->node);
    commit_add(it);
}

static void on_claimed(void *arg, const struct reply *r, const struct err *e)
{
    struct claim_op *op = arg;
    struct served *s = op->served;
    size_t step = 6 + 2 * op->also_n;
    mem_free(op);
    self.calls--;
    s->claiming = false;
    if (s->slow)
        self.slow -= s->asked;
    if (e != NULL) {
        if (e->code != ERR_REDIS && e->code != ERR_CANCELLED) {
            log_error("claim", "failed", "stage=%s error=%s", s->stage->id, log_quotez(e->text));
            timer_arm(s->later, 1000);
        }
        return; /* when Redis is back all is looked at again */
    }
    int64_t next_ms = reply_int(reply_at(r, 0));
    int64_t reclaimed = reply_int(reply_at(r, 1));
    if (reclaimed > 0) {
        metric_add(METRIC_RECLAIMED, (double)reclaimed);
        log_info("claim", "reclaimed", "stage=%s n=%lld", s->stage->id, (long long)reclaimed);
    }
    if (next_ms == 0)
        claim_dirty(s);
    else if (next_ms > 0)
        timer_arm(s->later, next_ms);
    size_t n = (reply_len(r) - 2) / step;
    if (n == 0)
        return;
    struct claim **claims = mem_zero(n, sizeof *claims);
    size_t good = 0;
    for (size_t i = 0; i < n; i++) {
        struct item *it = make_item(s, r, 2 + i * step, (step - 6) / 2);
        if (it == NULL)
            continue;
        if (it->claim.attempt > s->stage->retry.max_attempts + 2)
            too_often(it);
        else
            claims[good++] = &it->claim;
    }
    metric_add_for(METRIC_CLAIMS, s->stage->id, (double)n);
    if (good != 0)
        s->runner->run(claims, good);
    mem_free(claims);
}

static void claim_batch(struct served *s)
{
    int64_t batch = s->config->set.batch;
    int64_t n = room(s) < batch ? room(s) : batch;
    struct claim_op *op = mem_new(struct claim_op);
    op->served = s;
    list_remove(&s->dirty_node);
    s->claiming = true;
    s->asked = (int)n;
    if (s->slow)
        self.slow += s->asked;
    self.calls++;
    struct args a = {0};
    args_add(&a, str_of(s->stage->id));
    args_int(&a, n);
    args_int(&a, s->config->set.lease);
    args_int(&a, slot_number());
    args_int(&a, s->config->set.event_log_max);
    args_add(&a, s->runner->announce ? STR("1") : STR("0"));
    args_add(&a, str_of(s->stage->pipeline));
    args_add(&a, buf_view(&s->lua_pattern));
    for (char **also = s->stage->also; also != NULL && *also != NULL; also++) {
        args_add(&a, str_of(*also));
        op->also_n++;
    }
    store_call("claim", a.n, a.v, on_claimed, op);
    args_finish(&a);
}

/* Finishing. */

void claim_finish(struct claim *c, enum claim_outcome outcome, struct str output, const char *error,
                  int64_t retry_after_ms)
{
    struct item *it = container_of(c, struct item, claim);
    must(!it->finished);
    it->finished = true;
    it->outcome = outcome;
    if (outcome == CLAIM_OK)
        buf_str(&it->output, output);
    else
        it->error = mem_strdup(error != NULL ? error : "failed");
    it->retry_after_ms = retry_after_ms;
    list_remove(&it->node);
    commit_add(it);
}

static bool all_quiet(void)
{
    return list_empty(&self.working) && self.calls == 0 && commit_quiet();
}
static void finish_stop(void *arg);

static void flush(void *arg)
{
    (void)arg;
    if (store_up())
        commit_flush();
    if (self.stopping) {
        if (self.stopped != NULL && (all_quiet() || !store_up()))
            loop_defer(finish_stop, NULL);
        return;
    }
    if (!store_up() || !self.registered)
        return;
    list_each_safe(at, &self.dirty) {
        struct served *s = container_of(at, struct served, dirty_node);
        if (!s->claiming && room(s) > 0)
            claim_batch(s);
    }
    list_each_safe(at, &self.retired) {
        struct served *s = container_of(at, struct served, node);
        if (s->busy == 0 && !s->claiming)
            free_served(s);
    }
}

/* Leases. */

static void on_renewed(void *arg, const struct reply *r, const struct err *e)
{
    struct batch *b = arg;
    self.calls--;
    for (size_t i = 0; i < b->n; i++) {
        struct item *it = b->items[i];
        it->renewing = false;
        if (e != NULL)
            continue; /* unknown: if the lease ran out, the commit will be refused */
        struct str token = reply_str(reply_at(r, i));
        if (token.n != 0 && token.n < sizeof it->token) {
            memcpy(it->token, token.p, token.n);
            it->token[token.n] = '\0';
            continue;
        }
        it->lost = true;
        it->claim.cancelled = true;
        log_warn("claim", "lost", "run=%s stage=%s", log_quote(it->claim.run), it->claim.stage->id);
        if (!it->finished && it->served->runner->cancel != NULL)
            it->served->runner->cancel(&it->claim);
    }
    mem_free(b);
}

static void send_renewal(struct batch *b)
{
    struct args a = {0};
    args_int(&a, store_config()->set.lease);
    args_int(&a, slot_number());
    for (size_t i = 0; i < b->n; i++) {
        struct item *it = b->items[i];
        it->renewing = true;
        args_add(&a, str_of(it->claim.stage->id));
        args_add(&a, it->claim.key);
        args_add(&a, str_of(it->token));
    }
    self.calls++;
    store_call("renew", a.n, a.v, on_renewed, b);
    args_finish(&a);
}

static void on_renew(void *arg)
{
    (void)arg;
    int64_t third = store_config()->set.lease / 3;
    timer_arm(self.renew, third);
    if (!store_up())
        return;
    struct batch *b = NULL;
    list_each(at, &self.working) {
        struct item *it = container_of(at, struct item, node);
        if (!it->renewing && !it->lost && loop_now_us() - it->claim.claimed_us > third * 500)
            b = commit_batch_add(b, it, send_renewal);
    }
    if (b != NULL)
        send_renewal(b);
}

static void serve(struct config *c, const struct pipeline *p, const struct stage *stage)
{
    const struct claim_runner *runner = self.runners[stage->work.kind];
    if (runner == NULL) {
        log_warn("claim", "not_served", "stage=%s reason=\"nothing here does work of this kind\"",
                 stage->id);
        return;
    }
    struct served *s = mem_new(struct served);
    *s = (struct served){.config = config_ref(c),
                         .stage = stage,
                         .pipeline = p,
                         .runner = runner,
                         .priority = p->job != NULL ? p->job->priority : 0,
                         .slow = runner->announce};
    int standard = runner->default_concurrency > 0 ? runner->default_concurrency
                                                   : (int)c->set.command_concurrency;
    s->room_max = stage->concurrency > 0 ? stage->concurrency : standard;
    s->later = timer_new(on_later, s);
    stage_lua_pattern(&s->lua_pattern, str_of(stage->watch));
    list_append(&self.served, &s->node);
    list_init(&s->dirty_node);
    map_add(&self.by_id, &s->by_id, str_of(stage->id));
    claim_dirty(s);
}

static void all_dirty(void)
{
    list_each(at, &self.served)
        claim_dirty(container_of(at, struct served, node));
}

/* The sweep: Redis is asked first which stages have inputs at all, because of thousands of jobs most wait for their hour. */
static void on_waiting(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    for (size_t i = 0; e == NULL && i < reply_len(r); i++) {
        struct map_node *node = map_find(&self.by_id, reply_str(reply_at(r, i)));
        if (node != NULL)
            claim_dirty(container_of(node, struct served, by_id));
    }
}

static void look_at_all(void)
{
    struct args a = {0};
    list_each(at, &self.served) {
        args_add(&a, str_of(container_of(at, struct served, node)->stage->id));
        if (a.n == LOOK_MAX || at->next == &self.served) {
            store_call("waiting", a.n, a.v, on_waiting, NULL);
            args_finish(&a);
            a = (struct args){0};
        }
    }
}

static void begin_claiming(void)
{
    self.registered = true;
    all_dirty();
    listen_sweep();
}

static void on_registered(void *arg, const struct err *e)
{
    (void)arg;
    if (e == NULL)
        slot_clear(begin_claiming);
}

static void register_stages(void)
{
    stage_refresh(store_config(), on_registered, NULL);
}

void claim_configure(struct config *c)
{
    list_each_safe(at, &self.served) {
        struct served *s = container_of(at, struct served, node);
        list_remove(&s->node);
        list_remove(&s->dirty_node);
        map_remove(&self.by_id, &s->by_id);
        s->retired = true;
        list_append(&self.retired, &s->node);
    }
    for (size_t p = 0; p < c->pipeline_n; p++) {
        for (size_t i = 0; i < c->pipelines[p].n; i++)
            serve(c, &c->pipelines[p], &c->pipelines[p].stages[i]);
    }
    self.registered = false;
    if (store_up())
        register_stages();
}

static void ring_stage(void *arg, const struct known_stage *known)
{
    (void)arg;
    struct map_node *node = map_find(&self.by_id, str_of(known->id));
    if (node != NULL)
        claim_dirty(container_of(node, struct served, by_id));
}

static void on_ring(void *arg, enum listen_what what, struct str name)
{
    (void)arg;
    const struct known_stage *known;
    switch (what) {
    case LISTEN_KEY: stage_matching(name, ring_stage, NULL); break;
    case LISTEN_STAGE:
        known = stage_find(name);
        if (known != NULL)
            ring_stage(NULL, known);
        break;
    case LISTEN_ALL: look_at_all(); break;
    case LISTEN_CANCEL: claim_cancel_run(name); break;
    }
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (up) {
        self.registered = false;
        register_stages();
    }
}

bool claim_start(const char *data_dir, struct err *e)
{
    if (!slot_start(data_dir, all_dirty, e))
        return false;
    list_init(&self.served);
    list_init(&self.retired);
    list_init(&self.dirty);
    list_init(&self.working);
    self.started = true;
    self.prepare = loop_prepare_start(flush, NULL);
    commit_start();
    self.renew = timer_new(on_renew, NULL);
    timer_arm(self.renew, store_config()->set.lease / 3);
    listen_start(on_ring, NULL);
    claim_configure(store_config());
    store_on_state(on_store, NULL);
    return true;
}

bool claim_ready(void)
{
    return self.registered && listen_filled();
}

/* Stopping. */

static void finish_stop(void *arg)
{
    (void)arg;
    void (*done)(void *) = self.stopped;
    if (done == NULL)
        return;
    self.stopped = NULL;
    listen_stop();
    timer_free(self.renew);
    timer_free(self.grace);
    loop_prepare_stop(self.prepare);
    self.renew = self.grace = NULL;
    commit_stop();
    slot_stop();
    struct list *const lists[] = {&self.served, &self.retired};
    for (size_t i = 0; i < 2; i++) {
        list_each_safe(at, lists[i]) {
            struct served *s = container_of(at, struct served, node);
            if (!s->retired)
                map_remove(&self.by_id, &s->by_id);
            if (s->busy == 0 && !s->claiming)
                free_served(s);
        }
    }
    map_finish(&self.by_id);
    done(self.stopped_arg);
}

static void on_handed_back(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e == NULL)
        log_info("claim", "handed_back", "n=%lld", (long long)reply_int(r));
    self.calls--;
    loop_defer(finish_stop, NULL);
}

/* The grace is over: what is still in work goes back, for whoever serves the stage next. */
static void on_grace(void *arg)
{
    (void)arg;
    struct args a = {0};
    list_each(at, &self.working) {
        struct item *it = container_of(at, struct item, node);
        it->lost = true;
        args_add(&a, str_of(it->claim.stage->id));
        args_add(&a, it->claim.key);
        args_add(&a, str_of(it->token));
    }
    self.calls++;
    store_call("release", a.n, a.v, on_handed_back, NULL);
    args_finish(&a);
}

void claim_stop(int64_t grace_ms, void (*done)(void *arg), void *arg)
{
    self.stopping = true;
    self.stopped = done;
    self.stopped_arg = arg;
    if (!self.started || all_quiet() || !store_up()) {
        loop_defer(finish_stop, NULL);
        return;
    }
    self.grace = timer_new(on_grace, NULL);
    timer_arm(self.grace, grace_ms > 0 ? grace_ms : 1);
}

size_t claim_cancel_run(struct str run)
{
    size_t n = 0;
    list_each_safe(at, &self.working) {
        struct item *it = container_of(at, struct item, node);
        if (!str_eq(it->claim.run, run) || it->lost)
            continue;
        it->lost = it->claim.cancelled = true;
        n++;
        if (it->served->runner->cancel != NULL)
            it->served->runner->cancel(&it->claim);
    }
    return n;
}

void claim_counts(const char *stage_id, bool *served, size_t *working)
{
    *served = false;
    *working = 0;
    struct map_node *node = map_find(&self.by_id, str_of(stage_id));
    if (node == NULL)
        return;
    *served = true;
    *working = (size_t)container_of(node, struct served, by_id)->busy;
}
