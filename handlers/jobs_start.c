/* SPDX-License-Identifier: Apache-2.0 */
/* Starting a job by hand. Redis decides in one step whether an Idempotency-Key is new, so two requests with the same key never start two runs, whichever servers
 * they reach. A name that is held besides, from the request to its answer, makes the difference between "it was done" and "it is being done": who comes while it
 * is held is told to come again. It is given back with the answer; if this server dies it ends by itself, soon after the longest time that the answer could take.
 *
 * What belongs to the request that a key stands for is the job, the body, priority and delay; not `wait`, which only says how the answer is wanted. */
#include "handlers/jobs.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "core/codec.h"
#include "core/hold.h"
#include "core/run.h"
#include "core/store.h"
#include "handlers/caller.h"
#include "handlers/query.h"
#include "handlers/waits.h"
#include "net/loop.h"
#include "trigger/start.h"

enum { KEY_MAX = 255, HELD_MS = 10000, PRIORITY_MAX = 100, SUM_SIZE = CODEC_SUM };

static const int64_t DAY_MS = 24 * 3600 * 1000;
static const int64_t DELAY_MAX_MS = (int64_t)365 * 24 * 3600 * 1000;

struct start_op {
    struct http_req *q;
    struct config *config; /* ours, until it is started */
    const struct pipeline *pipeline;
    struct caller caller;
    int64_t wait_ms;
    int64_t delay_ms; /* -1: the job's */
    int priority;
    struct buf key; /* idem:PIPELINE:KEY; empty: none was given */
    char sum[SUM_SIZE];
    struct hold hold;
    char *run;
    bool replayed;
    enum start_outcome outcome;
    struct wait *wait;
};

/* The answers. */

static void finish(struct start_op *op)
{
    http_on_gone(op->q, NULL, NULL);
    wait_end(op->wait);
    hold_drop(&op->hold);
    config_unref(op->config);
    caller_finish(&op->caller);
    buf_finish(&op->key);
    mem_free(op->run);
    mem_free(op);
}

static void refuse(struct start_op *op, const struct err *e)
{
    if (e->code == ERR_CONFLICT)
        http_set_header(op->q, "retry-after", STR("1"));
    http_reply_err(op->q, e);
    finish(op);
}

static void set_headers(const struct start_op *op)
{
    struct buf location = {0};
    buf_puts(&location, "/v1/runs/");
    buf_url_encode(&location, str_of(op->run));
    http_set_header(op->q, "location", buf_view(&location));
    if (op->replayed)
        http_set_header(op->q, "idempotency-replayed", STR("true"));
    buf_finish(&location);
}

/* 202. reason: why it was skipped; {NULL,0}: it was not. */
static void accept(struct start_op *op, struct str reason)
{
    struct buf out = {0};
    set_headers(op);
    buf_char(&out, '{');
    buf_json_field(&out, "run_id", str_of(op->run));
    if (reason.p != NULL) {
        buf_json_field(&out, "state", STR("skipped"));
        buf_json_field(&out, "reason", reason);
    }
    if (op->outcome == START_JOINED)
        buf_json_field_bool(&out, "joined", true);
    buf_char(&out, '}');
    http_reply_json(op->q, 202, buf_view(&out));
    buf_finish(&out);
    finish(op);
}

static void on_wait(void *arg, struct str json, const struct err *e)
{
    struct start_op *op = arg;
    op->wait = NULL;
    if (e != NULL) {
        refuse(op, e);
    } else if (json.p == NULL) {
        accept(op, (struct str){NULL, 0});
    } else {
        set_headers(op);
        http_reply_json(op->q, 200, json);
        finish(op);
    }
}

static void on_gone(void *arg)
{
    struct start_op *op = arg;
    accept(op, (struct str){NULL, 0}); /* nobody reads it, but the request ends */
}

/* Of a run that may have been skipped: the answer says so. */
static void on_state(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct start_op *op = arg;
    struct json *run = e == NULL ? json_parse(json, NULL) : NULL;
    struct str reason = json_str(json_get(run, "reason"));
    if (reason.p == NULL)
        reason = json_str(json_get(run, "error"));
    bool skipped = str_is(json_str(json_get(run, "state")), "skipped");
    accept(op, !skipped ? (struct str){NULL, 0} : reason.p != NULL ? reason : STR("skipped"));
    json_free(run);
}

static void on_started(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    struct start_op *op = arg;
    if (e != NULL) {
        refuse(op, e);
        return;
    }
    op->run = mem_dup(run.p, run.n);
    op->outcome = outcome;
    if (op->caller.refusal != NULL) {
        http_problem(op->q, ERR_FORBIDDEN, "%s (recorded as run %s)", op->caller.refusal, op->run);
        finish(op);
        return;
    }
    op->replayed = outcome == START_DUPLICATE;
    if (op->wait_ms > 0) {
        op->wait = wait_run(run, op->wait_ms, on_wait, op);
        http_on_gone(op->q, on_gone, op);
    } else if (outcome == START_SKIPPED || outcome == START_DUPLICATE) {
        run_get(run, on_state, op);
    } else {
        accept(op, (struct str){NULL, 0});
    }
}

/* The request. */

static void begin(struct start_op *op)
{
    struct start_request r = {.pipeline = op->pipeline,
                              .input = http_body(op->q),
                              .cause = "api",
                              .delay_ms = op->delay_ms,
                              .priority = op->priority};
    if (op->caller.is_agent) {
        r.cause = "agent";
        r.parent = str_of(op->caller.run);
        r.depth = op->caller.depth;
        r.detail = str_of(op->caller.detail);
        r.skip = str_of(op->caller.refusal);
    }
    if (op->key.n != 0 && op->caller.refusal == NULL) {
        r.once = buf_view(&op->key);
        r.sum = str_of(op->sum);
        r.once_ms = op->config->set.idempotency_window;
    }
    start_run(op->config, &r, on_started, op);
}

static void on_held(void *arg, bool held, const struct err *e)
{
    struct start_op *op = arg;
    struct err busy;
    if (e == NULL && !held) {
        err_fail(&busy, ERR_CONFLICT,
                 "a request with this Idempotency-Key is still being answered; send it again later "
                 "to get its answer");
        e = &busy;
    }
    if (e != NULL)
        refuse(op, e);
    else
        begin(op);
}

/* As the draft writes it the key is a string in quotes; nearly all clients send it bare. */
static bool read_key(struct str header, struct str *key, struct err *e)
{
    bool good = header.p != NULL;
    header = str_trim(header);
    if (header.n != 0 && header.p[0] == '"') {
        good = header.n >= 2 && header.p[header.n - 1] == '"';
        header = good ? (struct str){header.p + 1, header.n - 2} : header;
        good = good && memchr(header.p, '"', header.n) == NULL;
    }
    good = good && header.n >= 1 && header.n <= KEY_MAX;
    for (size_t i = 0; i < header.n && good; i++)
        good = header.p[i] > 0x20 && header.p[i] < 0x7f;
    *key = header;
    return good || err_fail(e, ERR_BAD_INPUT,
                            "Idempotency-Key must be 1 to %d printable ASCII characters without "
                            "spaces, such as a UUID",
                            KEY_MAX);
}

static void add_sum(struct start_op *op, struct str body)
{
    struct buf text = {0};
    buf_printf(&text, "%d %lld ", op->priority, (long long)op->delay_ms);
    body = str_trim(body);
    buf_str(&text, body.n != 0 ? body : STR("{}"));
    codec_sum(op->sum, buf_view(&text));
    buf_finish(&text);
}

static bool read_priority(struct str s, int *out, struct err *e)
{
    bool minus = s.n != 0 && s.p[0] == '-';
    uint64_t n = 0;
    *out = 0;
    if (s.p == NULL)
        return true;
    if (!str_u64((struct str){s.p + minus, s.n - minus}, &n) || n > PRIORITY_MAX)
        return err_fail(e, ERR_BAD_INPUT, "priority must be a number from -%d to %d", PRIORITY_MAX,
                        PRIORITY_MAX);
    *out = minus ? -(int)n : (int)n;
    return true;
}

static bool read_request(struct start_op *op, struct err *e)
{
    struct http_req *q = op->q;
    struct str header = http_header(q, "idempotency-key"), key;
    if (!query_duration("wait", http_query(q, "wait"), 0, DAY_MS, &op->wait_ms, e) ||
        !query_duration("delay", http_query(q, "delay"), -1, DELAY_MAX_MS, &op->delay_ms, e) ||
        !read_priority(http_query(q, "priority"), &op->priority, e))
        return false;
    if (op->wait_ms > op->config->set.wait_max)
        op->wait_ms = op->config->set.wait_max;
    if (header.p == NULL)
        return true;
    if (!read_key(header, &key, e))
        return false;
    buf_printf(&op->key, "idem:%s:", op->pipeline->name);
    buf_str(&op->key, key);
    add_sum(op, http_body(q));
    return true;
}

static void on_judged(void *arg, const struct err *e)
{
    struct start_op *op = arg;
    if (e != NULL)
        refuse(op, e);
    else if (op->key.n != 0 && op->caller.refusal == NULL)
        hold_take(&op->hold, buf_view(&op->key), op->wait_ms + HELD_MS, on_held, op);
    else
        begin(op);
}

void jobs_start(struct http_req *q)
{
    struct err e;
    const struct pipeline *p = jobs_named(q);
    if (p == NULL)
        return;
    struct start_op *op = mem_new(struct start_op);
    *op = (struct start_op){.q = q, .config = config_ref(store_config()), .pipeline = p};
    if (!read_request(op, &e)) {
        refuse(op, &e);
    } else if (!store_up()) {
        err_fail(&e, ERR_REDIS, "Redis is not reachable, so no run can be kept; try again");
        refuse(op, &e);
    } else {
        caller_judge(&op->caller, q, op->config, p, on_judged, op);
    }
}
