/* SPDX-License-Identifier: Apache-2.0 */
/* Alerts are steps that are fed by the ends of runs (and, while a run takes too long, by the clock), so they cannot fail a run. What a run says is judged here; whether
 * that is news is decided in Redis in one step (lua/50_alert.lua), where all servers meet: the first to see a change sends, the others go on. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/kv.h"
#include "core/store.h"
#include "work/alert_judge.h"
#include "work/deliver.h"
#include "work/runner.h"

enum { CONCURRENCY = 16 };

struct judging {
    struct list node;
    struct claim *claim;       /* NULL: cancelled */
    const struct alert *alert; /* while the claim is there */
    struct deliver_op *op;
    struct notice_run run;
    struct buf output;
    struct buf why;
    struct buf field; /* of hm:alerts */
    struct buf owner;
    bool failing; /* what this run says */
    bool telling; /* what is being told: failing? */
    int64_t since_ms;
    /* What became of sending, while Redis is told. */
    struct buf result;
    struct buf error;
    enum claim_outcome outcome;
    int64_t retry_after_ms;
    bool stopping;
};

static struct list running = {&running, &running};

static void judging_free(struct judging *j)
{
    notice_finish(&j->run);
    buf_finish(&j->output);
    buf_finish(&j->why);
    buf_finish(&j->field);
    buf_finish(&j->owner);
    buf_finish(&j->result);
    buf_finish(&j->error);
    mem_free(j);
}

static void finish(struct judging *j, enum claim_outcome outcome, const char *error,
                   int64_t retry_after_ms)
{
    list_remove(&j->node);
    if (j->claim != NULL)
        claim_finish(j->claim, outcome, buf_view(&j->result), error, retry_after_ms);
    judging_free(j);
    runner_busy(-1);
}

/* What is told. */

static void alert_subject(struct buf *out, const struct judging *j)
{
    buf_printf(out, "%s %.*s: %s", j->telling ? "[alert]" : "[recovered]", (int)j->run.job.n,
               j->run.job.p, j->alert->condition);
}

static void alert_text(struct buf *out, const struct judging *j)
{
    if (!j->telling)
        buf_printf(out, "%.*s is well again: it is no longer so that %s.\n", (int)j->run.job.n,
                   j->run.job.p, j->alert->condition);
    else if (j->why.n != 0)
        buf_printf(out, "%s.\n", j->why.p);
    else
        buf_printf(out, "%.*s: it is so again that %s.\n", (int)j->run.job.n, j->run.job.p,
                   j->alert->condition);
    buf_printf(out, "\nAlert:      %s\nRun:        %.*s\nSince:      ", j->alert->condition,
               (int)j->run.run.n, j->run.run.p);
    clock_rfc3339(out, j->since_ms * 1000);
    buf_puts(out, "\nDashboard:  ");
    notice_link(out, runner_settings(), j->run.run);
    buf_char(out, '\n');
}

static void alert_data(struct buf *out, const struct judging *j)
{
    struct buf text = {0};
    buf_char(out, '{');
    buf_json_field(out, "alert", str_of(j->alert->condition));
    buf_json_field(out, "state", j->telling ? STR("failing") : STR("recovered"));
    buf_json_field(out, "job", j->run.job);
    buf_json_field(out, "run", j->run.run);
    if (j->telling && j->why.n != 0)
        buf_json_field(out, "why", buf_view(&j->why));
    clock_rfc3339(&text, j->since_ms * 1000);
    buf_json_field(out, "since", buf_view(&text));
    buf_clear(&text);
    notice_link(&text, runner_settings(), j->run.run);
    buf_json_field(out, "url", buf_view(&text));
    buf_char(out, '}');
    buf_finish(&text);
}

static void on_sent(void *arg, const struct deliver_end *e);

static void send(struct judging *j)
{
    struct buf id = {0};
    struct buf subject = {0};
    struct buf text = {0};
    struct buf data = {0};
    char since[24];
    snprintf(since, sizeof since, "%lld", (long long)j->since_ms);
    const struct str parts[] = {buf_view(&j->field), str_of(since),
                                j->telling ? STR("failing") : STR("recovered")};
    notice_id(&id, 3, parts);
    alert_subject(&subject, j);
    alert_text(&text, j);
    alert_data(&data, j);
    const struct deliver_what w = {
        .to = &j->alert->to,
        .run = &j->run,
        .id = buf_view(&id),
        .type = j->telling ? STR("alert.failing") : STR("alert.recovered"),
        .subject = buf_view(&subject),
        .text = buf_view(&text),
        .data = buf_view(&data),
        .match = &j->claim->match,
        .attempt = j->claim->attempt,
    };
    j->op = deliver_send(&w, on_sent, j);
    buf_finish(&id);
    buf_finish(&subject);
    buf_finish(&text);
    buf_finish(&data);
}

/* What Redis answers: "" or what is to be told, and since when. */
static void on_verdict(void *arg, const struct reply *r, const struct err *e)
{
    struct judging *j = arg;
    struct str tell = reply_str(reply_at(r, 0));
    if (e != NULL || j->claim == NULL || j->stopping) {
        /* If something was sent and that is not noted, it is sent once more. */
        finish(j, CLAIM_RETRY, e != NULL ? e->text : "the server stopped meanwhile", -1);
        return;
    }
    if (tell.n == 0) {
        if (j->result.n == 0 && j->outcome == CLAIM_OK)
            buf_printf(&j->result, "{\"alert\":\"%s\",\"told\":false}",
                       j->failing ? "failing" : "fine");
        finish(j, j->outcome, j->error.n != 0 ? j->error.p : NULL, j->retry_after_ms);
        return;
    }
    j->telling = str_is(tell, "failing");
    j->since_ms = reply_int(reply_at(r, 1));
    send(j);
}

static void on_sent(void *arg, const struct deliver_end *e)
{
    struct judging *j = arg;
    bool told = e->outcome == CLAIM_OK;
    j->op = NULL;
    j->outcome = e->outcome;
    j->retry_after_ms = e->retry_after_ms;
    buf_clear(&j->result);
    buf_clear(&j->error);
    buf_str(&j->result, e->result);
    if (e->error != NULL)
        buf_puts(&j->error, e->error);
    log_info("alert", told ? "told" : "not_told", "run=%.*s alert=%s state=%s%s%s",
             (int)j->run.run.n, j->run.run.p, log_quote(buf_view(&j->field)),
             j->telling ? "failing" : "recovered",
             told ? "" : " error=", told ? "" : log_quote(buf_view(&j->error)));
    const struct str args[] = {buf_view(&j->field), buf_view(&j->owner),
                               told ? STR("1") : STR("0")};
    store_call("alert_told", 3, args, on_verdict, j);
}

static void name_field(struct judging *j)
{
    const struct delivery *to = &j->alert->to;
    const char kind[] = {(char)('0' + to->kind), '\0'};
    const struct str parts[] = {str_of(kind), str_of(to->to)};
    struct buf id = {0};
    notice_id(&id, 2, parts); /* the address may be a secret */
    buf_printf(&j->field, "%s %.8s\t%.*s", j->alert->condition, id.p, (int)j->run.job.n,
               j->run.job.p);
    buf_printf(&j->owner, "%s %.*s", j->claim->stage->id, (int)j->run.run.n, j->run.run.p);
    buf_finish(&id);
}

static void judge(struct judging *j)
{
    enum alert_verdict v = alert_judge(j->alert, &j->run, &j->why);
    if (v == ALERT_SAYS_NOTHING) {
        finish(j, CLAIM_OK, NULL, -1);
        return;
    }
    int64_t at =
        j->run.finished_ms > 0 ? j->run.finished_ms : j->run.created_ms + j->alert->over_ms;
    char when[24], dead[24];
    snprintf(when, sizeof when, "%lld", (long long)at);
    snprintf(dead, sizeof dead, "%lld", (long long)(4 * runner_settings()->delivery_timeout));
    j->failing = v == ALERT_FIRES;
    j->outcome = CLAIM_OK;
    j->retry_after_ms = -1;
    name_field(j);
    const struct str args[] = {buf_view(&j->field), buf_view(&j->owner),
                               j->failing ? STR("failing") : STR("fine"), str_of(when),
                               str_of(dead)};
    store_call("alert_judge", 5, args, on_verdict, j);
}

static void on_output(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct judging *j = arg;
    if (e != NULL || j->claim == NULL || j->stopping) {
        finish(j, CLAIM_RETRY, e != NULL ? e->text : "the server stopped meanwhile", -1);
        return;
    }
    if (n == 1 && values[0].version > 0) {
        buf_puts(&j->output, "");
        buf_str(&j->output, values[0].value);
        j->run.output = buf_view(&j->output);
    }
    judge(j);
}

static bool concerns(const struct alert *a, const struct notice_run *r)
{
    return a->job == NULL || str_is(r->job, a->job) || str_is(r->pipeline, a->job);
}

static void start(struct claim *c)
{
    struct err e;
    struct judging *j = mem_new(struct judging);
    runner_busy(1);
    list_append(&running, &j->node);
    j->claim = c;
    j->alert = c->stage->work.alert;
    c->runner_data = j;
    if (!notice_parse(&j->run, c->value, &e)) {
        finish(j, CLAIM_FAIL, e.text, -1);
        return;
    }
    if (c->also_n > 0)
        j->run.output = c->also[0];
    if (c->also_n > 1)
        j->run.input = c->also[1];
    if (!concerns(j->alert, &j->run))
        finish(j, CLAIM_OK, NULL, -1);
    else if (c->also_n == 0 && j->run.output_key.n != 0 && alert_needs_output(j->alert, &j->run))
        kv_get(1, &j->run.output_key, on_output, j);
    else
        judge(j);
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++)
        start(claims[i]);
}

static void cancel(struct claim *c)
{
    struct judging *j = c->runner_data;
    j->claim = NULL;
    if (j->op != NULL)
        deliver_cancel(j->op);
    runner_cancelled(c);
}

void alert_stop(void)
{
    list_each_safe(at, &running) {
        struct judging *j = container_of(at, struct judging, node);
        j->stopping = true;
        if (j->op != NULL)
            deliver_cancel(j->op);
    }
}

const struct claim_runner alert_runner = {
    .run = run, .cancel = cancel, .default_concurrency = CONCURRENCY, .announce = false};
