/* SPDX-License-Identifier: Apache-2.0 */
/* What a run looks like is derived: from its record if it has one, from the keys of its steps and from the sets in which they wait. One
 * call to Redis gives all of it as of one instant. */
#include "core/runview.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/args.h"
#include "core/claim.h"
#include "core/codec.h"
#include "core/run.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { LOG_PAGE_MAX = 1000 };
static const uint64_t LEASE = (uint64_t)1
                              << 52; /* scores from here on are claims, see lua/00_head.lua */

static const struct pipeline *pipeline_named(struct str name)
{
    const struct config *c = store_config();
    for (size_t i = 0; i < c->pipeline_n; i++) {
        if (str_is(name, c->pipelines[i].name))
            return &c->pipelines[i];
    }
    return NULL;
}

/* Of "document.doc-001": the longest pipeline name that it begins with. */
static const struct pipeline *pipeline_of_document(struct str run)
{
    const struct config *c = store_config();
    const struct pipeline *best = NULL;
    for (size_t i = 0; i < c->pipeline_n; i++) {
        const struct pipeline *p = &c->pipelines[i];
        size_t n = strlen(p->name);
        if (str_starts(run, p->name) && run.n > n && run.p[n] == '.' &&
            (best == NULL || n > strlen(best->name)))
            best = p;
    }
    return best;
}

struct find_op {
    char *run;
    runview_pipeline_fn fn;
    void *arg;
};

static void on_found(void *arg, const struct reply *r, const struct err *e)
{
    struct find_op *op = arg;
    const struct pipeline *p = NULL;
    if (e == NULL)
        p = reply_str(r).n != 0 ? pipeline_named(reply_str(r))
                                : pipeline_of_document(str_of(op->run));
    op->fn(op->arg, p, e);
    mem_free(op->run);
    mem_free(op);
}

void runview_pipeline(struct str run, runview_pipeline_fn fn, void *arg)
{
    struct find_op *op = mem_new(struct find_op);
    *op = (struct find_op){mem_dup(run.p, run.n), fn, arg};
    char *name = mem_format("hm:run:%s", op->run);
    redis_cmd(store_work(), on_found, op, "HGET", name, "pipeline", NULL);
    mem_free(name);
}

static void field_time(struct buf *out, const char *name, int64_t ms)
{
    if (ms <= 0)
        return;
    buf_json_key(out, name);
    buf_char(out, '"');
    clock_rfc3339(out, ms * 1000);
    buf_char(out, '"');
}

/* A job's pipeline is "job.NAME". The record of a run that was started says so itself. */
static void field_pipeline(struct buf *out, struct str pipeline, struct str rec)
{
    static const char job[] = "\"job\":";
    buf_json_field(out, "pipeline", pipeline);
    if (str_starts(pipeline, "job.") &&
        (rec.n == 0 || memmem(rec.p, rec.n, job, sizeof job - 1) == NULL))
        buf_json_field(out, "job", (struct str){pipeline.p + 4, pipeline.n - 4});
}

/* The record's own JSON object, kept without its end: its members are spliced in behind what stands there. */
static void splice(struct buf *out, struct str object)
{
    if (object.n <= 1)
        return;
    buf_char(out, ',');
    buf_add(out, object.p + 1, object.n - 1);
}

/* One run. */

struct view_op {
    char *run;
    char *pipeline;
    size_t n; /* steps, and for each: */
    struct view_step {
        char *stage;
        char *name;
        char *in;
        char *out;
        const char *kind; /* a literal */
        char *work;
        bool after;
    } * steps;
    run_json_fn fn;
    void *arg;
};

static void free_view(struct view_op *op)
{
    for (size_t i = 0; i < op->n; i++) {
        mem_free(op->steps[i].stage);
        mem_free(op->steps[i].name);
        mem_free(op->steps[i].in);
        mem_free(op->steps[i].out);
        mem_free(op->steps[i].work);
    }
    mem_free(op->steps);
    mem_free(op->pipeline);
    mem_free(op->run);
    mem_free(op);
}

static struct str record_field(const struct reply *record, const char *name, const char *suffix)
{
    for (size_t i = 0; i + 1 < reply_len(record); i += 2) {
        struct str f = reply_str(reply_at(record, i));
        size_t n = strlen(name);
        if (str_starts(f, name) && str_is((struct str){f.p + n, f.n - n}, suffix))
            return reply_str(reply_at(record, i + 1));
    }
    return (struct str){NULL, 0};
}

static int64_t record_int(const struct reply *record, const char *name)
{
    uint64_t v = 0;
    str_u64(record_field(record, name, ""), &v);
    return (int64_t)v;
}

static const char *step_state(const struct reply *r, size_t at, int64_t now_ms,
                              const struct view_step *s, struct str done, int64_t *wait_ms)
{
    struct str score = reply_str(reply_at(r, at));
    *wait_ms = 0;
    if (reply_str(reply_at(r, at + 6)).n != 0)
        return "failed";
    if (str_is(score, "inf"))
        return "waiting";
    uint64_t v;
    if (str_u64(score, &v)) {
        if (v >= LEASE)
            return "running";
        *wait_ms = (int64_t)v - now_ms;
        return *wait_ms > 0 ? "retrying" : "queued";
    }
    if (reply_int(reply_at(r, at + 4)) > 0 || done.n != 0)
        return "succeeded";
    if (reply_int(reply_at(r, at + 2)) > 0 && !s->after)
        return s->out != NULL ? "cancelled" : "succeeded";
    return "pending";
}

static void add_step(struct buf *out, const struct view_op *op, size_t i, const struct reply *r,
                     const char **state)
{
    const struct view_step *s = &op->steps[i];
    const struct reply *record = reply_at(r, 1);
    size_t at = 2 + 9 * i;
    struct str done = record_field(record, "step:", s->stage);
    int64_t wait_ms;
    *state = step_state(r, at, reply_int(reply_at(r, 0)), s, done, &wait_ms);
    if (i != 0)
        buf_char(out, ',');
    buf_char(out, '{');
    buf_json_field(out, "stage", str_of(s->stage));
    buf_json_field(out, "name", str_of(s->name));
    buf_json_field(out, "state", str_of(*state));
    buf_json_field(out, "kind", str_of(s->kind));
    if (s->after) {
        buf_json_field_bool(out, "after", true);
        buf_json_field(out, "to", str_of(s->work));
        buf_json_field_bool(out, "fed", strcmp(*state, "pending") != 0);
    }
    buf_json_field(out, "key_in", str_of(s->in));
    if (s->out != NULL)
        buf_json_field(out, "key_out", str_of(s->out));
    buf_json_field_int(out, "version", reply_int(reply_at(r, at + 2)));
    if (reply_int(reply_at(r, at + 1)) > 0)
        buf_json_field_int(out, "failed_attempts", reply_int(reply_at(r, at + 1)));
    if (wait_ms > 0)
        buf_json_field_int(out, "retry_ms", wait_ms);
    struct str letter = reply_str(reply_at(r, at + 6));
    struct err e;
    struct json *j = letter.n != 0 ? json_parse(letter, &e)
                     : done.n != 0 ? json_parse(done, &e)
                                   : NULL;
    if (letter.n != 0)
        buf_json_field(out, "error", json_str(json_get(j, "error")));
    if (json_get(j, "attempts") != NULL || json_get(j, "attempt") != NULL)
        buf_json_field_int(out, "attempt",
                           json_int(json_get(j, letter.n != 0 ? "attempts" : "attempt"), 1));
    if (json_get(j, "us") != NULL)
        buf_json_field_int(out, "us", json_int(json_get(j, "us"), 0));
    if (json_get(j, "result") != NULL) {
        buf_json_key(out, "result");
        json_dump(out, json_get(j, "result"), false);
    }
    field_time(out, "at", json_int(json_get(j, "at"), 0));
    json_free(j);
    buf_char(out, '}');
}

static void add_key(struct buf *out, bool *first, const char *key, const struct reply *version,
                    const struct reply *size, const struct reply *meta)
{
    if (key == NULL || (reply_int(version) == 0 && reply_int(size) == 0))
        return;
    if (!*first)
        buf_char(out, ',');
    *first = false;
    buf_char(out, '{');
    buf_json_field(out, "key", str_of(key));
    buf_json_field_int(out, "version", reply_int(version));
    buf_json_field_int(
        out, "size",
        (int64_t)codec_size(codec_meta(reply_str(meta)).encoding, (size_t)reply_int(size)));
    buf_char(out, '}');
}

/* A document's state is that of its steps: the first of these that any step has. */
static const char *derived_state(const char *const *states, size_t n)
{
    static const char *const order[][2] = {{"failed", "dead"},    {"running", "running"},
                                           {"queued", "queued"},  {"retrying", "queued"},
                                           {"waiting", "queued"}, {"cancelled", "cancelled"},
                                           {"pending", "queued"}};
    for (size_t k = 0; k < sizeof order / sizeof order[0]; k++) {
        for (size_t i = 0; i < n; i++) {
            if (strcmp(states[i], order[k][0]) == 0)
                return order[k][1];
        }
    }
    return "succeeded";
}

/* Where the result is: what the last step writes. */
static void add_output_key(struct buf *out, const struct view_op *op)
{
    for (size_t i = op->n; i-- != 0;) {
        if (op->steps[i].after)
            continue;
        if (op->steps[i].out != NULL)
            buf_json_field(out, "output_key", str_of(op->steps[i].out));
        return;
    }
}

static void on_view(void *arg, const struct reply *r, const struct err *e)
{
    struct view_op *op = arg;
    struct err none;
    const struct reply *record = reply_at(r, 1);
    bool known = reply_len(record) != 0;
    for (size_t i = 0; i < op->n && e == NULL; i++)
        known = known || reply_int(reply_at(r, 2 + 9 * i + 2)) > 0 ||
                reply_int(reply_at(r, 2 + 9 * i + 4)) > 0;
    if (e == NULL && !known) {
        err_fail(&none, ERR_NOT_FOUND, "there is no run %s (any more)", op->run);
        e = &none;
    }
    if (e != NULL) {
        op->fn(op->arg, (struct str){NULL, 0}, (struct str){NULL, 0}, e);
        free_view(op);
        return;
    }
    struct buf steps = {0};
    const char **states = mem_zero(op->n, sizeof *states);
    for (size_t i = 0; i < op->n; i++) {
        add_step(&steps, op, i, r, &states[i]);
        if (op->steps[i].after)
            states[i] = "succeeded"; /* what follows its end says nothing about the run */
    }
    struct str state = record_field(record, "state", "");
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field(&out, "id", str_of(op->run));
    field_pipeline(&out, str_of(op->pipeline), record_field(record, "rec", ""));
    buf_json_field(&out, "state", state.n != 0 ? state : str_of(derived_state(states, op->n)));
    field_time(&out, "created", record_int(record, "created"));
    field_time(&out, "started", record_int(record, "started"));
    field_time(&out, "finished", record_int(record, "finished"));
    if (str_is(state, "waiting"))
        field_time(&out, "starts", record_int(record, "starts"));
    if (record_field(record, "error", "").n != 0)
        buf_json_field_raw(&out, str_is(state, "skipped") ? "reason" : "error",
                           record_field(record, "error", ""));
    add_output_key(&out, op);
    struct str rec = record_field(record, "rec", "");
    splice(&out, rec.n != 0 ? rec : STR("{\"cause\":\"key\""));
    if (record_field(record, "delivery", "").n != 0)
        buf_json_field(&out, "delivery_id", record_field(record, "delivery", ""));
    buf_json_key(&out, "steps");
    buf_char(&out, '[');
    buf_str(&out, buf_view(&steps));
    buf_puts(&out, "]");
    buf_json_key(&out, "keys");
    buf_char(&out, '[');
    bool first = true;
    for (size_t i = 0; i < op->n; i++) {
        size_t at = 2 + 9 * i;
        bool seen = op->steps[i].after;
        for (size_t k = 0; k < i && !seen; k++)
            seen = strcmp(op->steps[k].in, op->steps[i].in) == 0 ||
                   (op->steps[k].out != NULL && strcmp(op->steps[k].out, op->steps[i].in) == 0);
        if (!seen)
            add_key(&out, &first, op->steps[i].in, reply_at(r, at + 2), reply_at(r, at + 3),
                    reply_at(r, at + 7));
        add_key(&out, &first, op->steps[i].out, reply_at(r, at + 4), reply_at(r, at + 5),
                reply_at(r, at + 8));
    }
    buf_puts(&out, "]}");
    op->fn(op->arg, buf_view(&out), (struct str){NULL, 0}, NULL);
    buf_finish(&steps);
    buf_finish(&out);
    mem_free(states);
    free_view(op);
}

static void plan_step(struct view_op *op, const struct pipeline *p, const struct stage *s,
                      struct args *a)
{
    struct buf in = {0};
    struct buf out = {0};
    struct buf text = {0};
    struct pattern_match m;
    if (s->after != 0)
        buf_printf(&in, s->after & AFTER_OPEN ? "run.open.%s" : "run.ended.%s", op->run);
    else if (!stage_key_of_run(&in, p->name, str_of(s->watch), str_of(op->run)))
        return;
    if (!pattern_matches(str_of(s->watch), buf_view(&in), &m)) {
        buf_finish(&in);
        return;
    }
    bool writes = s->write != NULL && template_fill(&out, str_of(s->write), &m, str_of(op->run));
    work_text(&text, &s->work);
    op->steps = mem_resize(op->steps, (op->n + 1) * sizeof *op->steps);
    struct view_step *step = &op->steps[op->n++];
    *step = (struct view_step){.stage = mem_strdup(s->id),
                               .name = mem_strdup(s->name),
                               .in = buf_take(&in),
                               .out = writes ? buf_take(&out) : NULL,
                               .kind = work_kind_name(&s->work),
                               .work = text.n != 0 ? buf_take(&text) : mem_strdup(""),
                               .after = s->after != 0};
    buf_finish(&out);
    buf_finish(&text);
    args_add(a, str_of(step->stage));
    args_add(a, str_of(step->in));
    args_add(a, str_of(step->out != NULL ? step->out : ""));
}

static const struct stage *configured(const char *id)
{
    const struct config *c = store_config();
    for (size_t p = 0; p < c->pipeline_n; p++) {
        for (size_t i = 0; i < c->pipelines[p].n; i++) {
            if (strcmp(c->pipelines[p].stages[i].id, id) == 0)
                return &c->pipelines[p].stages[i];
        }
    }
    return NULL;
}

/* Those of other pipelines that its ends feed: notices and alerts. Each once. */
static void plan_followers(struct view_op *op, const struct pipeline *p, struct args *a)
{
    const char *const lists[] = {p->after_success, p->after_failure, p->after_skip};
    for (size_t l = 0; l < 3; l++) {
        for (struct str rest = str_of(lists[l]); rest.p != NULL && rest.n != 0;) {
            struct str id = str_split(&rest, '\t');
            bool planned = false;
            for (size_t i = 0; i < op->n && !planned; i++)
                planned = str_is(id, op->steps[i].stage);
            char *name = mem_dup(id.p, id.n);
            const struct stage *s = planned ? NULL : configured(name);
            if (s != NULL)
                plan_step(op, p, s, a);
            mem_free(name);
        }
    }
}

static void plan_steps(struct view_op *op, const struct pipeline *p, struct args *a)
{
    for (size_t i = 0; i < p->n; i++)
        plan_step(op, p, &p->stages[i], a);
    plan_followers(op, p, a);
}

static void on_view_pipeline(void *arg, const struct pipeline *p, const struct err *e)
{
    struct view_op *op = arg;
    if (e != NULL) {
        op->fn(op->arg, (struct str){NULL, 0}, (struct str){NULL, 0}, e);
        free_view(op);
        return;
    }
    struct args a = {0};
    args_add(&a, str_of(op->run));
    op->pipeline = mem_strdup(p != NULL ? p->name : "");
    if (p != NULL)
        plan_steps(op, p, &a);
    store_call("view", a.n, a.v, on_view, op);
    args_finish(&a);
}

void run_get(struct str id, run_json_fn fn, void *arg)
{
    struct view_op *op = mem_new(struct view_op);
    *op = (struct view_op){.run = mem_dup(id.p, id.n), .fn = fn, .arg = arg};
    runview_pipeline(id, on_view_pipeline, op);
}

/* Lists. */

struct json_op {
    run_json_fn fn;
    void *arg;
    uint64_t from;
    size_t limit;
};

static struct json_op *json_op(run_json_fn fn, void *arg)
{
    struct json_op *op = mem_new(struct json_op);
    *op = (struct json_op){.fn = fn, .arg = arg};
    return op;
}

static void finish_json(struct json_op *op, struct buf *out, struct str next, const struct err *e)
{
    op->fn(op->arg, buf_view(out), next, e);
    buf_finish(out);
    mem_free(op);
}

/* Looking for rare ones among many takes several calls, so that no single one keeps Redis busy for long. */
enum { LIST_CALLS = 10 };

struct list_op {
    char *pipeline;
    char *state;
    char *cause;
    int64_t since_ms;
    int64_t until_ms;
    char *cursor;
    size_t want;
    int calls;
    struct buf out;
    run_json_fn fn;
    void *arg;
};

static void ask_runs(struct list_op *op);

static void finish_runs(struct list_op *op, const struct err *e)
{
    buf_char(&op->out, ']');
    op->fn(op->arg, buf_view(&op->out), str_of(op->cursor), e);
    buf_finish(&op->out);
    mem_free(op->pipeline);
    mem_free(op->state);
    mem_free(op->cause);
    mem_free(op->cursor);
    mem_free(op);
}

/* Of an answer of "runs": nine parts from i on. */
static void add_listed(struct buf *out, const struct reply *r, size_t i)
{
    if (out->n > 1)
        buf_char(out, ',');
    buf_char(out, '{');
    buf_json_field(out, "id", reply_str(reply_at(r, i)));
    field_pipeline(out, reply_str(reply_at(r, i + 2)), reply_str(reply_at(r, i + 6)));
    buf_json_field(out, "state", reply_str(reply_at(r, i + 1)));
    field_time(out, "created", reply_int(reply_at(r, i + 3)));
    field_time(out, str_is(reply_str(reply_at(r, i + 1)), "waiting") ? "starts" : "started",
               reply_int(reply_at(r, i + 7)));
    field_time(out, "finished", reply_int(reply_at(r, i + 4)));
    if (reply_str(reply_at(r, i + 5)).n != 0)
        buf_json_field_raw(out,
                           str_is(reply_str(reply_at(r, i + 1)), "skipped") ? "reason" : "error",
                           reply_str(reply_at(r, i + 5)));
    splice(out, reply_str(reply_at(r, i + 6)));
    if (reply_str(reply_at(r, i + 8)).n != 0)
        buf_json_field(out, "delivery_id", reply_str(reply_at(r, i + 8)));
    buf_char(out, '}');
}

static void on_runs(void *arg, const struct reply *r, const struct err *e)
{
    struct list_op *op = arg;
    struct str next = reply_str(reply_at(r, 0));
    for (size_t i = 1; e == NULL && i + 8 < reply_len(r) && op->want > 0; i += 9, op->want--)
        add_listed(&op->out, r, i);
    mem_free(op->cursor);
    op->cursor = mem_dup(next.p, next.n);
    if (e == NULL && next.n != 0 && op->want > 0 && op->calls < LIST_CALLS)
        ask_runs(op);
    else
        finish_runs(op, e);
}

static void ask_runs(struct list_op *op)
{
    struct args a = {0};
    op->calls++;
    args_add(&a, str_of(op->pipeline));
    args_add(&a, str_of(op->cursor));
    args_int(&a, (int64_t)op->want);
    args_add(&a, str_of(op->state));
    args_int(&a, op->since_ms);
    args_int(&a, op->until_ms);
    args_add(&a, str_of(op->cause));
    store_call("runs", a.n, a.v, on_runs, op);
    args_finish(&a);
}

static char *text_or_empty(const char *s)
{
    return mem_strdup(s != NULL ? s : "");
}

void run_list(const struct run_filter *f, struct str cursor, size_t limit, run_json_fn fn,
              void *arg)
{
    struct list_op *op = mem_new(struct list_op);
    *op = (struct list_op){.pipeline = text_or_empty(f->pipeline),
                           .state = text_or_empty(f->state),
                           .cause = text_or_empty(f->cause),
                           .since_ms = f->since_ms,
                           .until_ms = f->until_ms,
                           .cursor = mem_dup(cursor.p, cursor.n),
                           .want = limit,
                           .fn = fn,
                           .arg = arg};
    buf_char(&op->out, '[');
    ask_runs(op);
}

static void on_log(void *arg, const struct reply *r, const struct err *e)
{
    struct json_op *op = arg;
    struct buf out = {0};
    uint64_t n = 0;
    size_t given = 0;
    buf_char(&out, '[');
    for (size_t i = 0; i < reply_len(r) && given < op->limit; i++, n++) {
        if (n < op->from)
            continue;
        const struct reply *f = reply_at(reply_at(r, i), 1);
        struct str id = reply_str(reply_at(reply_at(r, i), 0));
        uint64_t ms = 0;
        str_u64(str_split(&id, '-'), &ms);
        if (given++ != 0)
            buf_char(&out, ',');
        buf_char(&out, '{');
        buf_json_field_int(&out, "n", (int64_t)n);
        field_time(&out, "at", (int64_t)ms);
        buf_json_field(&out, "stage", reply_str(reply_at(f, 1)));
        buf_json_field(&out, "line", reply_str(reply_at(f, 3)));
        buf_char(&out, '}');
    }
    buf_char(&out, ']');
    char next[24] = "";
    if (n < reply_len(r))
        snprintf(next, sizeof next, "%llu", (unsigned long long)n);
    finish_json(op, &out, str_of(next), e);
}

void run_log(struct str id, uint64_t from, size_t limit, run_json_fn fn, void *arg)
{
    struct json_op *op = json_op(fn, arg);
    op->from = from;
    op->limit = limit == 0 || limit > LOG_PAGE_MAX ? LOG_PAGE_MAX : limit;
    char *name = mem_format("hm:log:%.*s", (int)id.n, id.p);
    redis_cmd(store_work(), on_log, op, "XRANGE", name, "-", "+", NULL);
    mem_free(name);
}

/* The map. */

static void add_work(struct buf *out, const struct work *w)
{
    struct buf text = {0};
    work_text(&text, w);
    buf_json_field(out, "kind", str_of(work_kind_name(w)));
    buf_json_field(out, "work", buf_view(&text));
    buf_finish(&text);
}

static void add_stage(struct buf *out, const struct known_stage *k, const struct reply *r,
                      size_t at)
{
    const struct stage *s = configured(k->id);
    bool served;
    size_t working;
    claim_counts(k->id, &served, &working);
    buf_char(out, '{');
    buf_json_field(out, "id", str_of(k->id));
    const char *dot = strrchr(k->id, '.');
    buf_json_field(out, "name", str_of(dot != NULL ? dot + 1 : k->id));
    buf_json_field(out, "watch", str_of(k->watch));
    buf_json_key(out, "also");
    buf_char(out, '[');
    for (char **a = k->also; *a != NULL; a++) {
        if (a != k->also)
            buf_char(out, ',');
        buf_json_str(out, str_of(*a));
    }
    buf_char(out, ']');
    if (s != NULL && s->write != NULL)
        buf_json_field(out, "write", str_of(s->write));
    if (s != NULL)
        add_work(out, &s->work);
    if (s != NULL && s->after != 0)
        buf_json_field_bool(out, "after", true);
    buf_json_field_bool(out, "served", served);
    buf_json_field_int(out, "pending", reply_int(reply_at(r, at)));
    buf_json_field_int(out, "running", reply_int(reply_at(r, at + 1)));
    buf_json_field_int(out, "waiting", reply_int(reply_at(r, at + 2)));
    buf_json_field_int(out, "dead", reply_int(reply_at(r, at + 3)));
    buf_char(out, '}');
}

static void on_map(void *arg, const struct reply *r, const struct err *e)
{
    struct buf out = {0};
    buf_char(&out, '[');
    bool *done = mem_zero(stage_count(), sizeof *done);
    for (size_t i = 0; e == NULL && i < stage_count() && 4 * i + 3 < reply_len(r); i++) {
        if (done[i])
            continue;
        if (out.n > 1)
            buf_char(&out, ',');
        buf_char(&out, '{');
        buf_json_field(&out, "name", str_of(stage_at(i)->pipeline));
        buf_json_key(&out, "stages");
        buf_char(&out, '[');
        for (size_t k = i; k < stage_count() && 4 * k + 3 < reply_len(r); k++) {
            if (strcmp(stage_at(k)->pipeline, stage_at(i)->pipeline) != 0)
                continue;
            if (k != i)
                buf_char(&out, ',');
            add_stage(&out, stage_at(k), r, 4 * k);
            done[k] = true;
        }
        buf_puts(&out, "]}");
    }
    buf_char(&out, ']');
    mem_free(done);
    finish_json(arg, &out, (struct str){NULL, 0}, e);
}

void pipeline_map(run_json_fn fn, void *arg)
{
    struct args a = {0};
    for (size_t i = 0; i < stage_count(); i++)
        args_add(&a, str_of(stage_at(i)->id));
    store_call("map", a.n, a.v, on_map, json_op(fn, arg));
    args_finish(&a);
}
