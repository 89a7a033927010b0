/* SPDX-License-Identifier: Apache-2.0 */
/* The steps that tell of a run that ended: the delivery of its result, or the notice that it failed. What the stage did not get with its claim is
 * read first: the output, where the stage belongs to all pipelines and so could not name its key, and of a failed run the step and its attempts. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "core/kv.h"
#include "core/run.h"
#include "work/deliver.h"
#include "work/runner.h"

enum { CONCURRENCY = 8 };

struct delivering {
    struct list node;
    struct claim *claim; /* NULL: cancelled */
    struct deliver_op *op;
    struct notice_run run;
    struct buf output;
    struct json *view; /* of the run */
    bool stopping;
};

static struct list running = {&running, &running};

static void finish(struct delivering *d, enum claim_outcome outcome, struct str result,
                   const char *error, int64_t retry_after_ms)
{
    list_remove(&d->node);
    if (d->claim != NULL)
        claim_finish(d->claim, outcome, result, error, retry_after_ms);
    notice_finish(&d->run);
    json_free(d->view);
    buf_finish(&d->output);
    mem_free(d);
    runner_busy(-1);
}

static void fail(struct delivering *d, enum claim_outcome outcome, const char *error)
{
    finish(d, outcome, (struct str){NULL, 0}, error, -1);
}

static void on_sent(void *arg, const struct deliver_end *e)
{
    struct delivering *d = arg;
    finish(d, e->outcome, e->result, e->error, e->retry_after_ms);
}

static void send(struct delivering *d)
{
    const struct claim *c = d->claim;
    const struct settings *set = runner_settings();
    if (c == NULL || d->stopping) {
        fail(d, CLAIM_RETRY, "the server stopped meanwhile");
        return;
    }
    char version[24];
    struct buf id = {0};
    struct buf type = {0};
    struct buf subject = {0};
    struct buf text = {0};
    struct buf data = {0};
    snprintf(version, sizeof version, "%lld", (long long)c->version);
    const struct str parts[] = {d->run.run, str_of(c->stage->id), str_of(version)};
    notice_id(&id, 3, parts);
    buf_puts(&type, "run.");
    buf_str(&type, d->run.state);
    notice_subject(&subject, &d->run);
    notice_text(&text, &d->run, set);
    notice_data(&data, &d->run, set, (size_t)set->delivery_max);
    const struct deliver_what w = {
        .to = c->stage->work.delivery,
        .run = &d->run,
        .id = buf_view(&id),
        .type = buf_view(&type),
        .subject = buf_view(&subject),
        .text = buf_view(&text),
        .data = buf_view(&data),
        .match = &c->match,
        .attempt = c->attempt,
    };
    d->op = deliver_send(&w, on_sent, d);
    buf_finish(&id);
    buf_finish(&type);
    buf_finish(&subject);
    buf_finish(&text);
    buf_finish(&data);
}

static void on_output(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct delivering *d = arg;
    if (e != NULL) {
        fail(d, CLAIM_RETRY, e->text);
        return;
    }
    if (n == 1 && values[0].version > 0) {
        buf_puts(&d->output, "");
        buf_str(&d->output, values[0].value);
        d->run.output = buf_view(&d->output);
    }
    send(d);
}

/* The step that failed. A run that is gone meanwhile is told without. */
static void on_view(void *arg, struct str json, struct str next, const struct err *e)
{
    struct delivering *d = arg;
    (void)next;
    if (e != NULL && err_retryable(e->code)) {
        fail(d, CLAIM_RETRY, e->text);
        return;
    }
    d->view = e == NULL ? json_parse(json, NULL) : NULL;
    const struct json *steps = json_get(d->view, "steps");
    for (size_t i = 0; i < json_size(steps) && d->run.step.n == 0; i++) {
        const struct json *s = json_at(steps, i);
        if (json_bool(json_get(s, "after"), false) || json_get(s, "error") == NULL)
            continue;
        d->run.step = json_str(json_get(s, "name"));
        d->run.attempts = json_int(json_get(s, "attempt"), 0);
    }
    send(d);
}

static void start(struct claim *c)
{
    struct err e;
    struct delivering *d = mem_new(struct delivering);
    runner_busy(1);
    list_append(&running, &d->node);
    d->claim = c;
    c->runner_data = d;
    if (!notice_parse(&d->run, c->value, &e)) {
        fail(d, CLAIM_FAIL, e.text);
        return;
    }
    if (c->also_n > 0)
        d->run.output = c->also[0];
    if (c->also_n > 1)
        d->run.input = c->also[1];
    if (!notice_succeeded(&d->run))
        run_get(d->run.run, on_view, d);
    else if (c->also_n == 0 && d->run.output_key.n != 0)
        kv_get(1, &d->run.output_key, on_output, d);
    else
        send(d);
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++)
        start(claims[i]);
}

static void cancel(struct claim *c)
{
    struct delivering *d = c->runner_data;
    d->claim = NULL;
    if (d->op != NULL)
        deliver_cancel(d->op);
    runner_cancelled(c);
}

void deliver_stop(void)
{
    list_each_safe(at, &running) {
        struct delivering *d = container_of(at, struct delivering, node);
        d->stopping = true;
        if (d->op != NULL)
            deliver_cancel(d->op);
    }
}

const struct claim_runner deliver_runner = {
    .run = run, .cancel = cancel, .default_concurrency = CONCURRENCY, .announce = true};
