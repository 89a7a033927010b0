/* SPDX-License-Identifier: Apache-2.0 */
/* Committing: what was finished in a turn of the loop goes to Redis as one call for what was done and one for what failed. A call whose answer
 * got lost, that met an old registry, or that Redis refuses for now is made again. */
#include "core/claim_int.h"

#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/listen.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { COMMIT_MAX = 250, PAUSE_MS = 200, RESULT_MAX = 2048 };

static struct {
    struct list finished;
    size_t finished_n;
    struct timer *pause; /* armed: Redis refuses writes for now */
    int calls;           /* under way */
} self;

void commit_add(struct item *it)
{
    list_append(&self.finished, &it->node);
    self.finished_n++;
}

static void put_back(struct batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        commit_add(b->items[i]);
    mem_free(b);
}

static void on_refreshed(void *arg, const struct err *e)
{
    (void)e; /* the next turn tries again either way */
    put_back(arg);
}

static bool output_key(struct buf *out, const struct item *it)
{
    const struct stage *s = it->claim.stage;
    return s->write != NULL &&
           template_fill(out, str_of(s->write), &it->claim.match, it->claim.run);
}

static void unwrite(const struct item *it)
{
    struct buf key = {0};
    if (it->outcome == CLAIM_OK && output_key(&key, it))
        listen_unwrote(buf_view(&key));
    buf_finish(&key);
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

static void on_committed(void *arg, const struct reply *r, const struct err *e)
{
    struct batch *b = arg;
    self.calls--;
    for (size_t i = 0; e != NULL && i < b->n; i++)
        unwrite(b->items[i]);
    if (call_again(b, e))
        return;
    if (e != NULL)
        log_error("claim", "commit_failed", "n=%zu error=%s", b->n, log_quotez(e->text));
    for (size_t i = 0; i < b->n; i++) {
        struct item *it = b->items[i];
        int64_t version = e == NULL ? reply_int(reply_at(r, i)) : -1;
        if (e == NULL && version < 0)
            unwrite(it);
        count_step(it, version < 0 ? "stale"
                                   : "done"); /* a stage that had no room for more is dirty still */
        claim_free_item(it);
    }
    mem_free(b);
}

/* The run, with the stages that its end would feed; "@RUN": it has ended before. */
static void add_run(struct buf *out, const struct item *it, const char *after)
{
    if (it->claim.stage->after != 0)
        buf_char(out, '@');
    buf_str(out, it->claim.run);
    if (it->claim.stage->after != 0 || after == NULL)
        return;
    buf_char(out, '\t');
    buf_puts(out, after);
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
        listen_wrote(
            buf_view(&key)); /* so that what it feeds is claimed in this turn, behind the commit */
    }
    size_t fed = feeds.n != 0;
    for (size_t i = 0; i < feeds.n; i++)
        fed += feeds.p[i] == '\t';
    int64_t us = loop_now_us() - c->claimed_us;
    args_add(a, str_of(c->stage->id));
    args_add(a, c->key);
    args_add(a, str_of(it->token));
    bool recorded = stage_run_recorded(c->run) || c->stage->after != 0;
    args_int(a, it->failed_before && !recorded ? 0 : c->attempt);
    args_text(a, buf_view(&key));
    args_add(a, buf_view(&it->output));
    args_text(a, str_of(sum));
    args_text(a, buf_view(&feeds));
    args_text(a, buf_view(&bumps));
    buf_clear(text);
    if (recorded || it->failed_before)
        add_run(text, it, it->pipeline != NULL ? it->pipeline->after_success : NULL);
    args_text(a, buf_view(text));
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
    if (c->stage->after != 0 && it->output.n != 0 && it->output.n <= RESULT_MAX)
        buf_json_field_raw(text, "result", buf_view(&it->output)); /* no key keeps it */
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
        claim_dirty(b->items[i]->served);
        claim_free_item(b->items[i]);
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
    args_add(a, c->stage->after != 0           ? STR("aside")
                : it->outcome == CLAIM_TIMEOUT ? STR("timed_out")
                                               : STR("dead"));
    buf_clear(text);
    if (c->stage->after != 0)
        buf_str(text, c->run);
    else
        add_run(text, it, it->pipeline != NULL ? it->pipeline->after_failure : NULL);
    args_text(a, buf_view(text));
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
    args_int(&a, store_config()->set.dead_letters);
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

struct batch *commit_batch_add(struct batch *b, struct item *it, void (*send)(struct batch *))
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
            claim_dirty(it->served);
            claim_free_item(it);
        } else if (it->outcome == CLAIM_OK) {
            done = commit_batch_add(done, it, send_commits);
        } else {
            failed = commit_batch_add(failed, it, send_failures);
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

void commit_flush(void)
{
    if (self.finished_n != 0 && !timer_armed(self.pause))
        flush_finished();
}

bool commit_quiet(void)
{
    return list_empty(&self.finished) && self.calls == 0;
}

void commit_start(void)
{
    list_init(&self.finished);
    self.pause = timer_new(on_pause, NULL);
}

void commit_stop(void)
{
    timer_free(self.pause);
    self.pause = NULL;
}
