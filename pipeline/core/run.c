/* SPDX-License-Identifier: Apache-2.0 */
/* Starting runs, and what can be done to them. Starts of one turn of the loop go to Redis in one call: under load that is many, and it is what
 * makes ingest fast; alone it is one, and waits for nobody. */
#include "core/run.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/pattern.h"
#include "core/args.h"
#include "core/claim.h"
#include "core/codec.h"
#include "core/listen.h"
#include "core/runview.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { BATCH_MAX = 64 };

struct begin_op {
    struct start in; /* slices of bytes */
    char *bytes;
    char encoding[CODEC_NAME];
    int64_t plain_size;
    start_fn fn;
    void *arg;
};

struct begin_batch {
    size_t n;
    struct begin_op *ops[BATCH_MAX];
};

static struct {
    struct begin_batch *open; /* to be sent at the end of this turn */
} self;

static void send_batch(struct begin_batch *b);

static void finish_op(struct begin_op *op, enum start_outcome outcome, struct str run,
                      const struct err *e)
{
    op->fn(op->arg, outcome, run, e);
    mem_free(op->bytes);
    mem_free(op);
}

static void fail_batch(struct begin_batch *b, const struct err *e)
{
    for (size_t i = 0; i < b->n; i++)
        finish_op(b->ops[i], START_NEW, (struct str){NULL, 0}, e);
    mem_free(b);
}

static void on_batch_refreshed(void *arg, const struct err *e)
{
    if (e != NULL)
        fail_batch(arg, e);
    else
        send_batch(arg);
}

static void on_refused(void *arg, const struct reply *r, const struct err *e)
{
    (void)r;
    fail_batch(arg, e);
}

/* Is the key this run's alone? Then nobody can have written it before, and it needs no look at what is there. */
static bool own_key(const struct begin_op *op)
{
    return memmem(op->in.key.p, op->in.key.n, op->in.run_id, strlen(op->in.run_id)) != NULL;
}

static void unwrite(const struct begin_batch *b)
{
    for (size_t i = 0; i < b->n; i++)
        listen_unwrote(b->ops[i]->in.key);
}

static void forget_origin(const struct begin_op *op)
{
    if (op->in.origin.n == 0)
        return;
    char *name = mem_format("hm:origin:%s", op->in.run_id);
    redis_cmd(store_work(), NULL, NULL, "UNLINK", name, NULL);
    mem_free(name);
}

/* "1" and the runs that were replaced, "dRUN", "jRUN", "sREASON", "g" or "c", see lua/30_run.lua. */
static void finish_answered(struct begin_op *op, struct str answer)
{
    char code = answer.n != 0 ? answer.p[0] : 'c';
    struct str rest = {answer.p + 1, answer.n != 0 ? answer.n - 1 : 0};
    bool nothing = code == 'd' || code == 'g' || code == 'c';
    if (nothing && !own_key(op))
        listen_unwrote(op->in.key);
    if (nothing)
        forget_origin(op);
    struct err e;
    switch (code) {
    case '1':
        while (rest.n != 0) {
            struct str old = str_split(&rest, '\t');
            if (old.n != 0)
                claim_cancel_run(old);
        }
        finish_op(op, START_NEW, str_of(op->in.run_id), NULL);
        break;
    case 'd': finish_op(op, START_DUPLICATE, rest, NULL); break;
    case 'j': finish_op(op, START_JOINED, rest, NULL); break;
    case 's': finish_op(op, START_SKIPPED, str_of(op->in.run_id), NULL); break;
    case 'g': finish_op(op, START_GONE, (struct str){NULL, 0}, NULL); break;
    default:
        err_fail(&e, ERR_UNPROCESSABLE,
                 "this key was used for another request before; choose a new one, or send the same "
                 "request");
        finish_op(op, START_NEW, (struct str){NULL, 0}, &e);
    }
}

/* r is EXEC's: the answers of all commands, the last one the function's. */
static void on_ingested(void *arg, const struct reply *r, const struct err *e)
{
    struct begin_batch *b = arg;
    const struct reply *answers = e == NULL ? reply_at(r, reply_len(r) - 1) : NULL;
    struct err why;
    if (e == NULL && reply_type(answers) == REPLY_ERROR) {
        if (str_starts(reply_str(answers), "STALE")) {
            unwrite(b);
            stage_refresh(NULL, on_batch_refreshed, b);
            return;
        }
        err_fail(&why, ERR_INTERNAL, "Redis: %.*s", (int)reply_str(answers).n,
                 reply_str(answers).p);
        e = &why;
    }
    if (e != NULL) {
        unwrite(b);
        fail_batch(b, e);
        return;
    }
    for (size_t i = 0; i < b->n; i++)
        finish_answered(b->ops[i], reply_str(reply_at(answers, i)));
    mem_free(b);
}

/* What is known of it, for the ledger, the run's record and the events alike: JSON without its end, to which each adds its own. */
static void describe(struct buf *out, const struct begin_op *op)
{
    const struct start *in = &op->in;
    buf_char(out, '{');
    buf_json_field(out, "cause", str_of(in->cause));
    if (in->hook.n != 0)
        buf_json_field(out, "hook", in->hook);
    if (in->delivery_id[0] != '\0') {
        buf_json_field(out, "event", in->event);
        buf_json_field(out, "delivery", in->external_id);
    }
    buf_json_field(out, "key", in->key);
    if (in->detail.n != 0) {
        buf_char(out, ',');
        buf_str(out, in->detail);
    }
    if (in->origin.n != 0)
        buf_json_field_bool(out, "shaped", true);
    buf_puts(out, ",\"received_at\":\"");
    clock_rfc3339(out, in->received_ms * 1000);
    buf_puts(out, "\",\"size\":");
    buf_u64(out, (uint64_t)in->size);
    if (in->summary.n != 0)
        buf_json_field_raw(out, "summary", in->summary);
}

static void gate_int(struct buf *out, const char *name, int64_t value)
{
    if (value > 0)
        buf_json_field_int(out, name, value);
}

static void gate_text(struct buf *out, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    buf_json_field(out, name, str_of(text));
}

/* The steps of a run whose id is still to be put in: what is withdrawn from one that is replaced. */
static void gate_steps(struct buf *out, const struct pipeline *p)
{
    buf_json_key(out, "steps");
    buf_char(out, '[');
    for (size_t i = 0; p != NULL && i < p->n; i++) {
        struct buf key = {0};
        if (p->stages[i].after != 0)
            continue;
        for (const char *c = p->stages[i].watch; *c != '\0'; c++)
            buf_puts(&key, *c == '*' || *c == '>' ? "{1}" : (char[]){*c, '\0'});
        if (out->p[out->n - 1] != '[')
            buf_char(out, ',');
        buf_json_str(out, str_of(p->stages[i].id));
        buf_char(out, ',');
        buf_json_str(out, buf_view(&key));
        buf_finish(&key);
    }
    buf_char(out, ']');
}

/* "ID<tab>ms<tab>ID<tab>ms" as a list. */
static void gate_late(struct buf *out, const char *open)
{
    struct str rest = str_of(open);
    buf_json_key(out, "late");
    buf_char(out, '[');
    while (rest.p != NULL) {
        struct str id = str_split(&rest, '\t');
        struct str ms = str_split(&rest, '\t');
        if (out->p[out->n - 1] != '[')
            buf_char(out, ',');
        buf_json_str(out, id);
        buf_char(out, ',');
        buf_str(out, ms);
    }
    buf_char(out, ']');
}

/* Empty for most: then Redis has nothing to look at. */
static void describe_gate(struct buf *out, const struct start *in)
{
    static const char *const full[] = {[OVERLAP_SKIP] = "skip",
                                       [OVERLAP_QUEUE] = "queue",
                                       [OVERLAP_REPLACE] = "replace",
                                       [OVERLAP_ALLOW] = "join"};
    const struct gate *g = &in->gate;
    const struct pipeline *p = config_pipeline(store_config(), in->pipeline);
    const char *skip = p != NULL ? p->after_skip : NULL;
    const char *late = p != NULL ? p->after_open : NULL;
    bool plain = g->delay_ms <= 0 && g->priority <= 0 && g->lane.n == 0 && g->rate.n == 0 &&
                 g->debounce.n == 0 && g->skip.n == 0 && g->tick.n == 0 && g->sum.n == 0 &&
                 g->once_ms == 0 && late == NULL;
    if (plain)
        return;
    buf_char(out, '{');
    gate_int(out, "delay", g->delay_ms);
    gate_int(out, "prio", g->priority);
    if (g->lane.n != 0) {
        buf_json_field(out, "lane", g->lane);
        gate_int(out, "limit", g->lane_limit);
        buf_json_field(out, "full", str_of(full[g->when_full]));
        if (g->when_full == OVERLAP_REPLACE)
            gate_steps(out, p);
    }
    if (g->rate.n != 0) {
        buf_json_field(out, "rate", g->rate);
        gate_int(out, "rate_limit", g->rate_limit);
        gate_int(out, "rate_ms", g->rate_period_ms);
    }
    if (g->debounce.n != 0) {
        buf_json_field(out, "debounce", g->debounce);
        buf_json_field_int(out, "debounce_ms", g->debounce_ms);
        buf_json_field_int(out, "debounce_max_ms", g->debounce_max_ms);
    }
    if (g->skip.n != 0)
        buf_json_field(out, "skip", g->skip);
    if (skip != NULL)
        buf_json_field(out, "after_skip", str_of(skip));
    if (g->tick.n != 0) {
        buf_json_field(out, "tick", g->tick);
        gate_text(out, "due", g->due_ms);
        gate_text(out, "next", g->next_ms);
    }
    if (g->sum.n != 0)
        buf_json_field(out, "sum", g->sum);
    if (g->once_ms > 0)
        gate_text(out, "once_ms", g->once_ms);
    if (late != NULL)
        gate_late(out, late);
    buf_char(out, '}');
}

static void put_input(const struct begin_op *op, const char *sum, uint64_t seq)
{
    struct buf name = {0};
    struct buf meta = {0};
    buf_puts(&name, "hm:kv:");
    buf_str(&name, op->in.key);
    buf_printf(&meta, "%s:1:%llu:%s", sum, (unsigned long long)seq, op->encoding);
    struct str argv[] = {STR("HSET"),    buf_view(&name), STR("value"), op->in.value,
                         STR("version"), STR("1"),        STR("meta"),  buf_view(&meta)};
    redis_call(store_work(), NULL, NULL, 8, argv);
    buf_finish(&name);
    buf_finish(&meta);
}

/* What the input was made from, for a replay: it goes with the run. */
static void put_origin(const struct begin_op *op)
{
    if (op->in.origin.n == 0)
        return;
    char ms[24];
    char *name = mem_format("hm:origin:%s", op->in.run_id);
    snprintf(ms, sizeof ms, "%lld", (long long)store_config()->set.run_retention);
    struct str argv[] = {STR("SET"), str_of(name), op->in.origin, STR("PX"), str_of(ms)};
    redis_call(store_work(), NULL, NULL, 5, argv);
    mem_free(name);
}

static void send_batch(struct begin_batch *b)
{
    const struct settings *set = &store_config()->set;
    if (!store_up()) {
        struct str none[] = {STR("0")};
        store_call("begin", 1, none, on_refused, b);
        return;
    }
    struct args a = {0};
    struct buf text = {0};
    struct buf bumps = {0};
    redis_cmd(store_work(), NULL, NULL, "MULTI", NULL);
    args_text(&a, stage_epoch());
    args_int(&a, set->event_log_max);
    args_int(&a, set->ledger_max);
    args_int(&a, set->dedupe_window);
    for (size_t i = 0; i < b->n; i++) {
        const struct begin_op *op = b->ops[i];
        bool own = own_key(op);
        char sum[CODEC_SUM];
        codec_sum(sum, op->in.value);
        if (own)
            put_input(op, sum, stage_seq());
        put_origin(op);
        args_add(&a, str_of(op->in.run_id));
        args_add(&a, str_of(op->in.delivery_id));
        args_add(&a, op->in.once);
        args_add(&a, op->in.key);
        buf_clear(&text);
        buf_clear(&bumps);
        stage_feeds(&text, &bumps, op->in.key);
        args_text(&a, buf_view(&text));
        args_add(&a, op->in.pipeline);
        buf_clear(&text);
        describe(&text, op);
        args_text(&a, buf_view(&text));
        args_add(&a, own ? STR("") : op->in.value);
        args_text(&a, own ? STR("") : str_of(sum));
        args_add(&a, str_of(op->encoding));
        buf_clear(&text);
        describe_gate(&text, &op->in);
        args_text(&a, buf_view(&text));
    }
    store_call("begin", a.n, a.v, NULL, NULL);
    redis_cmd(store_work(), on_ingested, b, "EXEC", NULL);
    for (size_t i = 0; i < b->n; i++)
        listen_wrote(b->ops[i]->in.key);
    buf_finish(&bumps);
    buf_finish(&text);
    args_finish(&a);
}

static void send_open(void *arg)
{
    (void)arg;
    struct begin_batch *b = self.open;
    self.open = NULL;
    if (b != NULL)
        send_batch(b);
}

static struct str copy(char **at, struct str s)
{
    struct str c = {*at, s.n};
    if (s.n != 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return c;
}

/* Empty stays empty. */
static void pack_origin(struct buf *out, struct str envelope)
{
    static struct buf packed;
    const struct settings *set = &store_config()->set;
    char encoding[CODEC_NAME];
    buf_clear(out);
    if (envelope.n == 0)
        return;
    if ((int64_t)envelope.n >= set->compress_min && strcmp(set->compress, "off") != 0 &&
        codec_encode(&packed, encoding, envelope, set->compress)) {
        buf_puts(out, encoding);
        envelope = buf_view(&packed);
    }
    buf_char(out, '\n');
    buf_str(out, envelope);
}

void run_begin(const struct start *in, start_fn fn, void *arg)
{
    static struct buf packed; /* reused from call to call */
    const struct settings *set = &store_config()->set;
    struct begin_op *op = mem_new(struct begin_op);
    *op = (struct begin_op){.in = *in, .fn = fn, .arg = arg};
    struct str value = in->value;
    if ((int64_t)value.n >= set->compress_min && strcmp(set->compress, "off") != 0 &&
        codec_encode(&packed, op->encoding, value, set->compress))
        value = buf_view(&packed);
    op->in.value = value;
    static struct buf origin; /* "ENCODING<newline>" and the envelope */
    pack_origin(&origin, in->origin);
    op->in.origin = buf_view(&origin);
    struct str *const slices[] = {
        &op->in.pipeline,  &op->in.key,       &op->in.value,     &op->in.detail,
        &op->in.once,      &op->in.hook,      &op->in.event,     &op->in.external_id,
        &op->in.summary,   &op->in.gate.lane, &op->in.gate.rate, &op->in.gate.debounce,
        &op->in.gate.skip, &op->in.gate.tick, &op->in.gate.sum,  &op->in.origin};
    size_t total = 0;
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++)
        total += slices[i]->n;
    op->bytes = mem_alloc(total);
    char *at = op->bytes;
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++)
        *slices[i] = copy(&at, *slices[i]);
    if (self.open == NULL) {
        self.open = mem_new(struct begin_batch);
        loop_defer(send_open, NULL);
    }
    self.open->ops[self.open->n++] = op;
    if (self.open->n == BATCH_MAX)
        send_open(NULL);
}

/* Retry and cancel. */

struct change_op {
    char *run;
    bool cancel;
    run_done_fn fn;
    void *arg;
};

static void on_change(void *arg, const struct reply *r, const struct err *e)
{
    struct change_op *op = arg;
    int64_t n = reply_int(r);
    struct err why;
    if (e == NULL && n == -1) {
        err_fail(&why, ERR_NOT_FOUND, "there is no run %s, or its input is gone", op->run);
        e = &why;
    } else if (e == NULL && n == -2) {
        err_fail(&why, ERR_CONFLICT,
                 op->cancel ? "run %s has already ended"
                            : "run %s did not fail; only a failed run is retried",
                 op->run);
        e = &why;
    }
    if (e == NULL && op->cancel)
        claim_cancel_run(str_of(op->run));
    op->fn(op->arg, n, e);
    mem_free(op->run);
    mem_free(op);
}

struct with_pipeline {
    struct change_op *op;
    bool from_start;
};

static void on_pipeline(void *arg, const struct pipeline *p, const struct err *e)
{
    struct with_pipeline *w = arg;
    struct change_op *op = w->op;
    struct args a = {0};
    struct buf text = {0};
    struct buf bumps = {0};
    args_int(&a, store_config()->set.event_log_max);
    args_add(&a, str_of(op->run));
    if (!op->cancel)
        args_int(&a, w->from_start);
    for (size_t i = 0; p != NULL && i < p->n; i++) {
        buf_clear(&text);
        if (!stage_key_of_run(&text, p->name, str_of(p->stages[i].watch), str_of(op->run)))
            continue;
        if (p->stages[i].after != 0)
            continue;
        if (op->cancel) {
            args_add(&a, str_of(p->stages[i].id));
            args_text(&a, buf_view(&text));
            continue;
        }
        args_text(&a, buf_view(&text)); /* the run's input is the first stage's */
        struct buf feeds = {0};
        stage_feeds(&feeds, &bumps, buf_view(&text));
        args_text(&a, buf_view(&feeds));
        buf_finish(&feeds);
        break;
    }
    if (!op->cancel && a.n == 3) {
        args_add(&a, STR(""));
        args_add(&a, STR(""));
    }
    struct err none;
    if (e == NULL) {
        store_call(op->cancel ? "cancel" : "retry", a.n, a.v, on_change, op);
    } else {
        none = *e;
        op->fn(op->arg, 0, &none);
        mem_free(op->run);
        mem_free(op);
    }
    buf_finish(&text);
    buf_finish(&bumps);
    args_finish(&a);
    mem_free(w);
}

static void change(struct str id, bool cancel, bool from_start, run_done_fn fn, void *arg)
{
    struct change_op *op = mem_new(struct change_op);
    *op = (struct change_op){mem_dup(id.p, id.n), cancel, fn, arg};
    struct with_pipeline *w = mem_new(struct with_pipeline);
    *w = (struct with_pipeline){op, from_start};
    runview_pipeline(id, on_pipeline, w);
}

void run_retry(struct str id, bool from_start, run_done_fn fn, void *arg)
{
    change(id, false, from_start, fn, arg);
}

void run_cancel(struct str id, run_done_fn fn, void *arg)
{
    change(id, true, false, fn, arg);
}
