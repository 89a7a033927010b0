/* SPDX-License-Identifier: Apache-2.0 */
/* Thin, as runs.c is. A job in ?job= may be gone from the configuration while its letters are still there, so an unknown name is
 * not refused: it is taken as the name of a pipeline. */
#include "handlers/dead.h"

#include "base/json.h"
#include "core/run.h"
#include "handlers/query.h"

void dead_letters(struct http_req *q)
{
    struct query_page page;
    const char *pipeline;
    struct err e;
    if (query_page(q, &page, &e) && query_pipeline(q, &pipeline, &e))
        dead_list(pipeline, page.cursor, page.limit, query_on_page, q);
    else
        http_reply_err(q, &e);
}

void dead_letter(struct http_req *q)
{
    dead_get(http_segment(q, "id"), query_on_json, q);
}

static void reply_count(struct http_req *q, const char *name, int64_t n, const struct err *e)
{
    struct buf out = {0};
    if (e != NULL) {
        http_reply_err(q, e);
        return;
    }
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

static void on_purged(void *arg, int64_t n, const struct err *e)
{
    reply_count(arg, "purged", n, e);
}

void dead_again(struct http_req *q)
{
    run_retry(http_segment(q, "id"), false, on_retried, q);
}

void dead_again_all(struct http_req *q)
{
    const char *pipeline;
    struct err e;
    if (query_pipeline(q, &pipeline, &e))
        dead_retry_all(pipeline, on_retried, q);
    else
        http_reply_err(q, &e);
}

void dead_forget(struct http_req *q)
{
    dead_purge_run(http_segment(q, "id"), on_purged, q);
}

void dead_forget_all(struct http_req *q)
{
    const char *pipeline;
    struct err e;
    if (query_pipeline(q, &pipeline, &e))
        dead_purge(pipeline, on_purged, q);
    else
        http_reply_err(q, &e);
}
