/* SPDX-License-Identifier: Apache-2.0 */
/* Thin: the core gives finished JSON, so most handlers are a check of the parameters and one call. The log streams live in runs_logs.c. */
#include "handlers/runs.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "core/run.h"
#include "handlers/caller.h"
#include "handlers/query.h"
#include "handlers/result.h"

static bool is_one_of(struct str s, const char *const *names)
{
    for (; *names; names++)
        if (str_is(s, *names))
            return true;
    return false;
}

static bool read_states(struct http_req *q, struct run_filter *f, struct err *e)
{
    static const char *const states[] = {"queued",    "running",         "waiting", "succeeded",
                                         "failed",    "timed_out",       "skipped", "dead",
                                         "cancelled", "budget_exceeded", NULL};
    struct str all = http_query(q, "state");
    if (all.n == 0)
        return true;
    for (struct str rest = all; rest.p;)
        if (!is_one_of(str_split(&rest, ','), states))
            return err_fail(e, ERR_BAD_INPUT,
                            "state must be one of queued, running, waiting, succeeded, failed, "
                            "timed_out, cancelled, budget_exceeded, skipped, dead, or several of "
                            "them with commas");
    f->state = query_text(q, all);
    return true;
}

static bool read_cause(struct http_req *q, struct run_filter *f, struct err *e)
{
    static const char *const causes[] = {"webhook",  "replay", "api",   "schedule", "key",
                                         "database", "job",    "agent", NULL};
    struct str cause = http_query(q, "cause");
    if (cause.n == 0)
        return true;
    if (!is_one_of(cause, causes))
        return err_fail(e, ERR_BAD_INPUT,
                        "cause must be one of webhook, replay, api, schedule, key, database, job, "
                        "agent");
    f->cause = query_text(q, cause);
    return true;
}

static bool read_filter(struct http_req *q, struct run_filter *f, struct err *e)
{
    struct str since = http_query(q, "since"), until = http_query(q, "until");
    int64_t now_ms = clock_wall_us() / 1000;
    return query_pipeline(q, &f->pipeline, e) && read_states(q, f, e) && read_cause(q, f, e) &&
           (since.n == 0 || query_instant("since", since, now_ms, &f->since_ms, e)) &&
           (until.n == 0 || query_instant("until", until, now_ms, &f->until_ms, e));
}

void runs_list(struct http_req *q)
{
    struct run_filter f = {0};
    struct query_page page;
    struct err e;
    if (query_page(q, &page, &e) && read_filter(q, &f, &e))
        run_list(&f, page.cursor, page.limit, query_on_page, q);
    else
        http_reply_err(q, &e);
}

static void get(struct http_req *q)
{
    run_get(http_segment(q, "id"), query_on_json, q);
}

void runs_get(struct http_req *q)
{
    caller_sees_run(q, get);
}

/* The result alone. */

static void on_value(void *arg, const struct kv_value *v, const struct err *e)
{
    struct http_req *q = arg;
    char tag[24];
    if (e) {
        http_reply_err(q, e);
        return;
    }
    snprintf(tag, sizeof tag, "\"%lld\"", (long long)v->version);
    http_set_header(q, "etag", str_of(tag));
    if (str_is(http_header(q, "if-none-match"), tag))
        http_reply(q, 304, "application/json", (struct str){NULL, 0});
    else
        http_reply_json(q, 200, v->value);
}

static void output(struct http_req *q)
{
    result_value(http_segment(q, "id"), on_value, q);
}

void runs_output(struct http_req *q)
{
    caller_sees_run(q, output);
}

/* 202 with the run's id and where to look. */
static void reply_accepted(struct http_req *q)
{
    struct buf out = {0}, location = {0};
    struct str id = http_segment(q, "id");
    buf_puts(&location, "/v1/runs/");
    buf_url_encode(&location, id);
    http_set_header(q, "location", buf_view(&location));
    buf_char(&out, '{');
    buf_json_field(&out, "run_id", id);
    buf_char(&out, '}');
    http_reply_json(q, 202, buf_view(&out));
    buf_finish(&location);
    buf_finish(&out);
}

static void on_accepted(void *arg, int64_t n, const struct err *e)
{
    (void)n;
    if (e)
        http_reply_err(arg, e);
    else
        reply_accepted(arg);
}

void runs_cancel(struct http_req *q)
{
    run_cancel(http_segment(q, "id"), on_accepted, q);
}

void runs_retry(struct http_req *q)
{
    bool from_start = false;
    struct err e;
    if (!query_flag(http_query(q, "from_start"), &from_start, &e)) {
        http_reply_err(q, &e);
        return;
    }
    run_retry(http_segment(q, "id"), from_start, on_accepted, q);
}
