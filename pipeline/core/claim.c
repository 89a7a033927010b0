/* SPDX-License-Identifier: Apache-2.0 */
/* For each stage served here there is one struct served: whether it was rung for (dirty), whether a claim call is under way, how many inputs are in
 * work. Once a turn of the loop, just before it blocks, flush() looks at all: finished work of all stages goes to Redis as one commit
 * call, and each dirty stage with room claims its next batch. So the busier it is the larger the batches are, and an idle server answers
 * the first ring at once.
 *
 * An item is in exactly one place: in work, finished and waiting to be committed, or in a call. It leaves only with Redis's answer; if
 * the connection breaks in between, the same commit is made again: the fence makes the second one harmless. */
#include "core/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/event.h"
#include "core/listen.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    KINDS = WORK_AGENT + 1,
    COMMIT_MAX = 250,
    BEAT_MS = 2000,
    DEAD_MS = 7000,
    RELEASE_MAX = 500,
    PAUSE_MS = 200
};

struct served {
    struct list node;
    struct config *config; /* a reference, because stage points into it */
    const struct stage *stage;
    const struct claim_runner *runner;
    struct buf lua_pattern;
    struct timer *later;
    int room_max;
    int busy; /* items that are not back from their commit */
    bool dirty;
    bool claiming;
    bool retired; /* not in the configuration any more: ends what it has */
};

struct item {
    struct claim claim;
    struct list node; /* in self.working, self.finished or none (in a call) */
    struct served *served;
    char token[32];
    struct buf run;
    struct buf bytes; /* key, value and also values */
    struct str *also;
    bool failed_before; /* so that its run may have a record even if it is a document's */
    bool finished;
    bool renewing;
    bool lost; /* the lease is gone: nothing may be written for it */
    enum claim_outcome outcome;
    struct buf output;
    char *error;
    int64_t retry_after_ms;
};

/* The items of one call, in the order of its answer. */
struct batch {
    size_t n;
    struct item *items[];
};

static struct {
    const struct claim_runner *runners[KINDS];
    struct list served;
    struct list working;
    struct list finished;
    size_t finished_n;
    struct loop_prepare *prepare;
    struct timer *renew;
    struct timer *beat;
    struct timer *grace;
    struct timer *pause; /* armed: Redis refuses writes for now */
    int64_t slot;
    bool
        exclusive; /* nobody else can hold claims in this Redis: what is claimed at the start is ours of old */
    int slot_fd;      /* locked as long as we live */
    bool beaten;      /* the slot is ours in this Redis */
    bool release_old; /* claims of a former life are still to be handed back */
    int releases;     /* calls for that under way */
    bool started;
    bool registered;
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;
    int calls; /* claim and commit calls under way */
} self;

static void flush(void *arg);
static void register_stages(void);

void claim_register(enum work_kind kind, const struct claim_runner *r)
{
    self.runners[kind] = r;
}

static void free_item(struct item *it)
{
    it->served->busy--;
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
    timer_free(s->later);
    buf_finish(&s->lua_pattern);
    config_unref(s->config);
    mem_free(s);
}

static int room(const struct served *s)
{
    return s->room_max - s->busy;
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
    for (size_t i = 0; i < also_n; i++)
        good = good && keep_decoded(&it->bytes, reply_str(reply_at(r, at + 6 + 2 * i)),
                                    reply_str(reply_at(r, at + 7 + 2 * i)), &it->also[i]);
    c->also = it->also;
    c->also_n = also_n;
    c->claimed_us = loop_now_us();
    good = good && pattern_matches(str_of(s->stage->watch), c->key, &c->match);
    stage_run(&it->run, s->stage->pipeline, &c->match);
    c->run = buf_view(&it->run);
    s->busy++;
    if (!good) {
        it->finished = true;
        it->outcome = CLAIM_FAIL;
        it->error = mem_strdup("the stored value is damaged and cannot be read");
        list_append(&self.finished, &it->node);
        self.finished_n++;
        return NULL;
    }
    list_append(&self.working, &it->node);
    return it;
}

static void on_later(void *arg)
{
    struct served *s = arg;
    s->dirty = true;
}

static void too_often(struct item *it)
{
    it->finished = true;
    it->outcome = CLAIM_FAIL;
    it->error = mem_strdup("its worker died or lost its lease on every attempt");
    list_remove(&it->node);
    list_append(&self.finished, &it->node);
    self.finished_n++;
}

static void on_claimed(void *arg, const struct reply *r, const struct err *e)
{
    struct claim_op *op = arg;
    struct served *s = op->served;
    size_t step = 6 + 2 * op->also_n;
    mem_free(op);
    self.calls--;
    s->claiming = false;
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
        s->dirty = true;
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
    s->dirty = false;
    s->claiming = true;
    self.calls++;
    struct args a = {0};
    args_add(&a, str_of(s->stage->id));
    args_int(&a, n);
    args_int(&a, s->config->set.lease);
    args_int(&a, self.slot);
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
    list_append(&self.finished, &it->node);
    self.finished_n++;
}

static void put_back(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        list_append(&self.finished, &b->items[i]->node);
        self.finished_n++;
    }
    mem_free(b);
}

static void on_refreshed(void *arg, const struct err *e)
{
    (void)e; /* the next turn tries again either way */
    put_back(arg);
}

/* A commit whose answer got lost is made again: should it have worked, the fence is gone and nothing happens twice. */
static bool call_again(struct batch *b, const struct err *e)
{
    if (e == NULL)
        return false;
    if (e->code == ERR_STALE)
        stage_refresh(NULL, on_refreshed, b);
    else if (e->code == ERR_REDIS || e->code == ERR_CANCELLED)
        put_back(b);
    else if (e->code == ERR_UNAVAILABLE) {
        timer_arm(self.pause, PAUSE_MS); /* out of memory, a full disk, a replica: not for good */
        put_back(b);
    } else
        return false;
    return true;
}

static void count_step(const struct item *it, const char *outcome)
{
    metric_add_for(METRIC_STEPS, outcome, 1);
    metric_observe_us(METRIC_STEP_SECONDS, loop_now_us() - it->claim.claimed_us);
}

static bool output_key(struct buf *out, const struct item *it)
{
    const struct stage *s = it->claim.stage;
    return s->write != NULL &&
           template_fill(out, str_of(s->write), &it->claim.match, it->claim.run);
}

static void on_committed(void *arg, const struct reply *r, const struct err *e)
{
    struct batch *b = arg;
    self.calls--;
    if (call_again(b, e))
        return;
    struct buf key = {0};
    if (e != NULL)
        log_error("claim", "commit_failed", "n=%zu error=%s", b->n, log_quotez(e->text));
    for (size_t i = 0; i < b->n; i++) {
        struct item *it = b->items[i];
        int64_t version = e == NULL ? reply_int(reply_at(r, i)) : -1;
        if (version < 0) {
            count_step(it, "stale");
        } else {
            count_step(it, "done");
            buf_clear(&key);
            if (output_key(&key, it))
                listen_own(buf_view(&key));
        }
        it->served->dirty = true; /* there is room again */
        free_item(it);
    }
    buf_finish(&key);
    mem_free(b);
}

static void add_commit(struct args *a, struct item *it, struct buf *text)
{
    const struct claim *c = &it->claim;
    struct buf key = {0};
    struct buf feeds = {0};
    struct buf bumps = {0};
    char sum[CODEC_SUM] = "";
    if (output_key(&key, it)) {
        codec_sum(sum, buf_view(&it->output));
        stage_feeds(&feeds, &bumps, buf_view(&key));
    }
    size_t fed = feeds.n != 0;
    for (size_t i = 0; i < feeds.n; i++)
        fed += feeds.p[i] == '\t';
    int64_t us = loop_now_us() - c->claimed_us;
    args_add(a, str_of(c->stage->id));
    args_add(a, c->key);
    args_add(a, str_of(it->token));
    bool recorded = stage_run_recorded(c->run);
    args_int(a, it->failed_before && !recorded ? 0 : c->attempt);
    args_text(a, buf_view(&key));
    args_add(a, buf_view(&it->output));
    args_text(a, str_of(sum));
    args_text(a, buf_view(&feeds));
    args_text(a, buf_view(&bumps));
    args_add(a, recorded || it->failed_before ? c->run : STR(""));
    buf_clear(text);
    buf_puts(text, "step.done\t");
    buf_str(text, c->run);
    buf_char(text, '\t');
    buf_str(text, buf_view(&key));
    buf_char(text, '\t');
    buf_puts(text, "{\"stage\":\"");
    buf_puts(text, c->stage->id);
    buf_puts(text, "\",\"in\":");
    buf_json_str(text, c->key);
    buf_puts(text, ",\"version\":");
    buf_u64(text, (uint64_t)c->version);
    buf_puts(text, ",\"us\":");
    buf_u64(text, (uint64_t)(us > 0 ? us : 0));
    buf_puts(text, ",\"attempt\":");
    buf_u64(text, (uint64_t)c->attempt);
    buf_puts(text, ",\"fed\":");
    buf_u64(text, fed);
    buf_puts(text, ",\"size\":");
    buf_u64(text, it->output.n);
    args_text(a, buf_view(text));
    buf_finish(&key);
    buf_finish(&feeds);
    buf_finish(&bumps);
}

static void send_commits(struct batch *b)
{
    struct args a = {0};
    struct buf text = {0};
    args_text(&a, stage_epoch());
    args_int(&a, store_config()->set.event_log_max);
    for (size_t i = 0; i < b->n; i++)
        add_commit(&a, b->items[i], &text);
    self.calls++;
    store_call("commit", a.n, a.v, on_committed, b);
    buf_finish(&text);
    args_finish(&a);
}

static void on_failed(void *arg, const struct reply *r, const struct err *e)
{
    struct batch *b = arg;
    self.calls--;
    if (call_again(b, e))
        return;
    for (size_t i = 0; i < b->n; i++) {
        if (e != NULL)
            log_error("claim", "fail_failed", "key=%s error=%s", log_quote(b->items[i]->claim.key),
                      log_quotez(e->text));
        if (e != NULL || reply_int(reply_at(r, i)) < 0)
            count_step(b->items[i], "stale");
        b->items[i]->served->dirty = true;
        free_item(b->items[i]);
    }
    mem_free(b);
}

/* Before attempt n+1: initial * 2^(n-1), at most max, and up to a tenth more, so that what failed together does not come back together. */
static int64_t backoff_ms(const struct retry *r, int attempt, int64_t asked_ms)
{
    int64_t ms = r->initial_ms;
    for (int i = 1; i < attempt && !r->fixed && ms < r->max_ms; i++)
        ms *= 2;
    if (r->max_ms > 0 && ms > r->max_ms)
        ms = r->max_ms;
    if (asked_ms > ms)
        ms = asked_ms;
    unsigned char byte;
    id_random(&byte, 1);
    return ms + ms * byte / 2560;
}

static void add_failure(struct args *a, const struct item *it, struct buf *text)
{
    const struct claim *c = &it->claim;
    bool again = (it->outcome == CLAIM_RETRY || it->outcome == CLAIM_TIMEOUT) &&
                 c->attempt < c->stage->retry.max_attempts;
    int64_t delay = again ? backoff_ms(&c->stage->retry, c->attempt, it->retry_after_ms) : 0;
    struct buf why = {0};
    buf_puts(&why, it->error);
    log_redact(&why, 0);
    args_add(a, str_of(c->stage->id));
    args_add(a, c->key);
    args_add(a, str_of(it->token));
    args_add(a, again ? STR("retry") : STR("dead"));
    args_int(a, delay);
    args_add(a, it->outcome == CLAIM_TIMEOUT ? STR("timed_out") : STR("dead"));
    args_add(a, c->run);
    args_add(a, str_of(c->stage->pipeline));
    buf_clear(text);
    buf_json_str(text, buf_view(&why));
    args_text(a, buf_view(text));
    args_int(a, c->attempt);
    count_step(it, again ? "retry" : "dead");
    log_info("step", again ? "failed" : "dead", "run=%s stage=%s attempt=%d retry_ms=%lld error=%s",
             log_quote(c->run), c->stage->id, c->attempt, (long long)delay,
             log_quote(buf_view(&why)));
    buf_finish(&why);
}

static void send_failures(struct batch *b)
{
    struct args a = {0};
    struct buf text = {0};
    args_int(&a, store_config()->set.event_log_max);
    for (size_t i = 0; i < b->n; i++)
        add_failure(&a, b->items[i], &text);
    self.calls++;
    store_call("fail", a.n, a.v, on_failed, b);
    buf_finish(&text);
    args_finish(&a);
}

static struct batch *new_batch(void)
{
    struct batch *b = mem_alloc(sizeof *b + COMMIT_MAX * sizeof b->items[0]);
    b->n = 0;
    return b;
}

static struct batch *add_to(struct batch *b, struct item *it, void (*send)(struct batch *))
{
    if (b == NULL)
        b = new_batch();
    b->items[b->n++] = it;
    if (b->n < COMMIT_MAX)
        return b;
    send(b);
    return NULL;
}

static void flush_finished(void)
{
    struct batch *done = NULL;
    struct batch *failed = NULL;
    list_each_safe(at, &self.finished) {
        struct item *it = container_of(at, struct item, node);
        if (it->renewing)
            continue; /* its token is about to change */
        list_remove(at);
        self.finished_n--;
        if (it->lost) {
            count_step(it, "stale");
            it->served->dirty = true;
            free_item(it);
        } else if (it->outcome == CLAIM_OK) {
            done = add_to(done, it, send_commits);
        } else {
            failed = add_to(failed, it, send_failures);
        }
    }
    if (done != NULL)
        send_commits(done);
    if (failed != NULL)
        send_failures(failed);
}

/* Its end wakes the loop, whose next turn tries again. */
static void on_pause(void *arg)
{
    (void)arg;
}

static bool all_quiet(void)
{
    return list_empty(&self.working) && list_empty(&self.finished) && self.calls == 0;
}

static void finish_stop(void *arg);

static void flush(void *arg)
{
    (void)arg;
    if (store_up() && self.finished_n != 0 && !timer_armed(self.pause))
        flush_finished();
    if (self.stopping) {
        if (self.stopped != NULL && (all_quiet() || !store_up()))
            loop_defer(finish_stop, NULL);
        return;
    }
    if (!store_up() || !self.registered)
        return;
    list_each_safe(at, &self.served) {
        struct served *s = container_of(at, struct served, node);
        if (s->retired) {
            if (s->busy == 0 && !s->claiming)
                free_served(s);
            continue;
        }
        if (s->dirty && !s->claiming && room(s) > 0)
            claim_batch(s);
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
    args_int(&a, self.slot);
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
            b = add_to(b, it, send_renewal);
    }
    if (b != NULL)
        send_renewal(b);
}

struct release_op {
    char *stage;
    int64_t slot;
};

static void release_stage(struct release_op *op);
static void begin_claiming(void);

static void on_released(void *arg, const struct reply *r, const struct err *e)
{
    struct release_op *op = arg;
    if (e == NULL && reply_int(r) > 0) {
        log_info("claim", "handed_back", "stage=%s n=%lld", op->stage, (long long)reply_int(r));
        list_each(at, &self.served)
            container_of(at, struct served, node)->dirty = true;
    }
    if (e == NULL && reply_int(r) == RELEASE_MAX) {
        release_stage(op);
        return;
    }
    bool own = op->slot == self.slot;
    mem_free(op->stage);
    mem_free(op);
    if (own && --self.releases == 0 && e == NULL)
        begin_claiming();
}

static void release_stage(struct release_op *op)
{
    struct args a = {0};
    args_add(&a, str_of(op->stage));
    args_int(&a, op->slot);
    args_int(&a, RELEASE_MAX);
    store_call("release_dead", a.n, a.v, on_released, op);
    args_finish(&a);
}

/* Hands back what a dead server had claimed. */
static void release_slot(int64_t slot)
{
    for (size_t i = 0; i < stage_count(); i++) {
        struct release_op *op = mem_new(struct release_op);
        *op = (struct release_op){mem_strdup(stage_at(i)->id), slot};
        release_stage(op);
    }
}

/* The slot survives in the data directory, so that the next life knows which claims were ours. */
static void keep_slot(int64_t slot)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld\n", (long long)slot);
    self.slot = slot;
    if (pwrite(self.slot_fd, text, (size_t)n, 0) != n || ftruncate(self.slot_fd, n) != 0)
        log_warn("claim", "slot_not_kept", "error=%s", log_quotez(strerror(errno)));
}

static int64_t parse_slot(const char *text)
{
    uint64_t slot;
    return str_u64(str_trim(str_of(text)), &slot) && slot >= 1 && slot <= 500 ? (int64_t)slot : 0;
}

static bool take_slot(const char *data_dir, struct err *e)
{
    char *path = mem_format("%s/slot", data_dir);
    char text[24] = "";
    self.slot_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool taken = self.slot_fd >= 0 && flock(self.slot_fd, LOCK_EX | LOCK_NB) == 0;
    if (!taken && self.slot_fd >= 0)
        err_fail(e, ERR_CONFLICT,
                 "another server uses the data directory %s; give this one its own with --data",
                 data_dir);
    else if (!taken)
        err_errno(e, "cannot open %s", path);
    mem_free(path);
    if (taken && read(self.slot_fd, text, sizeof text - 1) > 0)
        self.slot = parse_slot(text);
    return taken;
}

static void on_beaten(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL)
        return;
    bool first = !self.beaten;
    self.beaten = true;
    if (self.slot == 0)
        keep_slot(reply_int(reply_at(r, 0)));
    for (size_t i = 1; i < reply_len(r); i++) {
        int64_t dead = reply_int(reply_at(r, i));
        if (dead == self.slot)
            continue;
        log_warn("claim", "server_dead", "slot=%lld", (long long)dead);
        release_slot(dead);
        struct args a = {0};
        args_int(&a, dead);
        store_call("leave", a.n, a.v, NULL, NULL);
        args_finish(&a);
    }
    if (first) {
        self.release_old = true;
        register_stages();
    }
}

static void beat(void)
{
    struct args a = {0};
    args_int(&a, self.slot);
    args_int(&a, DEAD_MS);
    store_call("beat", a.n, a.v, on_beaten, NULL);
    args_finish(&a);
}

static void on_beat(void *arg)
{
    (void)arg;
    if (store_up())
        beat();
}

/* Stages come and go. */

static void serve(struct config *c, const struct stage *stage)
{
    const struct claim_runner *runner = self.runners[stage->work.kind];
    if (runner == NULL) {
        log_warn("claim", "not_served", "stage=%s reason=\"nothing here does work of this kind\"",
                 stage->id);
        return;
    }
    struct served *s = mem_new(struct served);
    *s = (struct served){.config = config_ref(c), .stage = stage, .runner = runner, .dirty = true};
    int standard = runner->default_concurrency > 0 ? runner->default_concurrency
                                                   : (int)c->set.command_concurrency;
    s->room_max = stage->concurrency > 0 ? stage->concurrency : standard;
    s->later = timer_new(on_later, s);
    stage_lua_pattern(&s->lua_pattern, str_of(stage->watch));
    list_append(&self.served, &s->node);
}

static void begin_claiming(void)
{
    self.release_old = false;
    self.registered = true;
    list_each(at, &self.served)
        container_of(at, struct served, node)->dirty = true;
    listen_sweep();
}

static void on_registered(void *arg, const struct err *e)
{
    (void)arg;
    if (e != NULL || self.releases != 0)
        return; /* when Redis is back, or when they are done */
    if (!self.release_old || stage_count() == 0) {
        begin_claiming();
        return;
    }
    /* Nothing is claimed before this is through: our new claims have the same slot. */
    self.releases = (int)stage_count();
    release_slot(self.slot);
}

static void register_stages(void)
{
    stage_refresh(store_config(), on_registered, NULL);
}

void claim_configure(struct config *c)
{
    list_each(at, &self.served)
        container_of(at, struct served, node)->retired = true;
    for (size_t p = 0; p < c->pipeline_n; p++) {
        for (size_t i = 0; i < c->pipelines[p].n; i++)
            serve(c, &c->pipelines[p].stages[i]);
    }
    self.registered = false;
    if (store_up() && self.beaten)
        register_stages();
}

static void on_ring(void *arg, struct str key)
{
    (void)arg;
    list_each(at, &self.served) {
        struct served *s = container_of(at, struct served, node);
        if (s->dirty)
            continue;
        s->dirty = key.p == NULL || s->stage->also != NULL ||
                   pattern_matches(str_of(s->stage->watch), key, NULL);
    }
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (up) {
        self.registered = false;
        if (!self.beaten)
            beat();
        else
            register_stages();
    }
}

bool claim_start(const char *data_dir, struct err *e)
{
    if (!take_slot(data_dir, e))
        return false;
    list_init(&self.served);
    list_init(&self.working);
    list_init(&self.finished);
    self.started = true;
    self.prepare = loop_prepare_start(flush, NULL);
    self.renew = timer_new(on_renew, NULL);
    self.beat = timer_new(on_beat, NULL);
    self.pause = timer_new(on_pause, NULL);
    timer_arm(self.renew, store_config()->set.lease / 3);
    timer_every(self.beat, BEAT_MS);
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
    timer_free(self.beat);
    timer_free(self.pause);
    timer_free(self.grace);
    loop_prepare_stop(self.prepare);
    self.renew = self.beat = self.grace = self.pause = NULL;
    close(self.slot_fd);
    if (self.slot != 0 && store_up()) {
        struct args a = {0};
        args_int(&a, self.slot);
        store_call("leave", a.n, a.v, NULL, NULL);
        args_finish(&a);
    }
    list_each_safe(at, &self.served) {
        struct served *s = container_of(at, struct served, node);
        if (s->busy == 0 && !s->claiming)
            free_served(s);
    }
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
    list_each(at, &self.served) {
        struct served *s = container_of(at, struct served, node);
        if (s->retired || strcmp(s->stage->id, stage_id) != 0)
            continue;
        *served = true;
        *working = (size_t)s->busy;
    }
}
