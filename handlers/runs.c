/* SPDX-License-Identifier: Apache-2.0 */
/* Thin: the core gives finished JSON, so most handlers are a check of the parameters and one call. The log streams live in runs_logs.c. */
#include "handlers/runs.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "core/run.h"
#include "handlers/query.h"

static const char *const states[] = {"queued",    "running",         "waiting", "succeeded",
                                     "failed",    "timed_out",       "skipped", "dead",
                                     "cancelled", "budget_exceeded", NULL};

static char *text_in(struct http_req *q, struct str s)
{
    char *copy = http_alloc(q, s.n + 1);
    memcpy(copy, s.p, s.n);
    return copy;
}

static bool read_filter(struct http_req *q, struct run_filter *f, struct err *e)
{
    struct str pipeline = http_query(q, "pipeline"), state = http_query(q, "state");
    struct str since = http_query(q, "since");
    if (!pipeline.p)
        pipeline = http_query(q, "job");
    if (pipeline.n > 0)
        f->pipeline = text_in(q, pipeline);
    for (const char *const *s = states; state.n > 0 && *s; s++)
        if (str_is(state, *s))
            f->state = *s;
    if (state.n > 0 && !f->state)
        return err_fail(e, ERR_BAD_INPUT,
                        "state must be one of queued, running, waiting, succeeded, failed, "
                        "timed_out, cancelled, budget_exceeded, skipped, dead");
    return since.n == 0 || query_since(since, clock_wall_us() / 1000, &f->since_ms, e);
}

static void on_page(void *arg, struct str json, struct str next, const struct err *e)
{
    if (e)
        http_reply_err(arg, e);
    else
        query_reply_page(arg, json, next);
}

void runs_list(struct http_req *q)
{
    struct run_filter f = {0};
    struct query_page page;
    struct err e;
    if (!query_page(q, &page, &e) || !read_filter(q, &f, &e)) {
        http_reply_err(q, &e);
        return;
    }
    run_list(&f, page.cursor, page.limit, on_page, q);
}

static void on_one(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    if (e)
        http_reply_err(arg, e);
    else
        http_reply_json(arg, 200, json);
}

void runs_get(struct http_req *q)
{
    run_get(http_segment(q, "id"), on_one, q);
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

void runs_dead_list(struct http_req *q)
{
    struct query_page page;
    struct err e;
    if (query_page(q, &page, &e))
        dead_list(page.cursor, page.limit, on_page, q);
    else
        http_reply_err(q, &e);
}

static void reply_count(struct http_req *q, const char *name, int64_t n, const struct err *e)
{
    if (e) {
        http_reply_err(q, e);
        return;
    }
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field_int(&out, name, n);
    buf_char(&out, '}');
    http_reply_json(q, 200, buf_view(&out));
    buf_finish(&out);
}

static void on_retried(void *arg, int64_t n, const struct err *e)
{
    reply_count(arg, "retried", n, e);
}

void runs_dead_retry(struct http_req *q)
{
    dead_retry_all(on_retried, q);
}

static void on_purged(void *arg, int64_t n, const struct err *e)
{
    reply_count(arg, "purged", n, e);
}

void runs_dead_purge(struct http_req *q)
{
    dead_purge(on_purged, q);
}
