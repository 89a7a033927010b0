/* SPDX-License-Identifier: Apache-2.0 */
/* Counts are kept by day, so a period begins with the day that `since` falls on; the answer says with which. */
#include "handlers/analytics.h"

#include "base/clock.h"
#include "core/run.h"
#include "handlers/query.h"

static const int64_t WEEK_MS = (int64_t)7 * 24 * 3600 * 1000;

void analytics_jobs(struct http_req *q)
{
    int64_t now_ms = clock_wall_us() / 1000, since_ms = now_ms - WEEK_MS;
    struct str since = http_query(q, "since");
    const char *pipeline;
    struct err e;
    if (query_pipeline(q, &pipeline, &e) &&
        (since.n == 0 || query_instant("since", since, now_ms, &since_ms, &e)))
        run_stats(pipeline, since_ms, query_on_json, q);
    else
        http_reply_err(q, &e);
}
