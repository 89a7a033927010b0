/* SPDX-License-Identifier: Apache-2.0 */
/* analytics: three views of one answer, the counts of ended runs by job over a period. */
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

static void cell_duration(struct table *t, const struct json *ms)
{
    struct buf b = {0};
    buf_puts(&b, "");
    if (json_type_of(ms) == J_INT || json_type_of(ms) == J_REAL)
        short_ms(&b, json_num(ms, 0));
    table_cell(t, buf_view(&b));
    buf_finish(&b);
}

static struct str name_of(const struct json *job)
{
    return run_job(job);
}

static void add_success(struct table *t, const struct json *job)
{
    static const char *const counts[] = {"runs",      "succeeded", "failed",
                                         "timed_out", "cancelled", "skipped"};
    const struct json *rate = json_get(job, "success_rate");
    table_cell(t, name_of(job));
    if (json_type_of(rate) == J_INT || json_type_of(rate) == J_REAL)
        table_cellf(t, "%.1f %%", json_num(rate, 0) * 100);
    else
        table_cell(t, STR(""));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        table_cell_json(t, json_get(job, counts[i]));
}

static void add_duration(struct table *t, const struct json *job)
{
    static const char *const values[] = {"mean", "p50", "p95", "p99", "max"};
    table_cell(t, name_of(job));
    table_cell_json(t, json_get(job, "runs"));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        cell_duration(t, json_get(json_get(job, "duration"), values[i]));
}

static void add_costs(struct table *t, const struct json *job)
{
    double cost = json_num(json_get(job, "cost_usd"), 0);
    int64_t runs = json_int(json_get(job, "runs"), 0);
    table_cell(t, name_of(job));
    table_cell_json(t, json_get(job, "runs"));
    table_cellf(t, "%lld", (long long)json_int(json_get(job, "tokens"), 0));
    table_cellf(t, "$%.4f", cost);
    table_cellf(t, "$%.4f", runs > 0 ? cost / (double)runs : 0);
}

static int show(struct cli *c, const char *const *heads,
                void (*add)(struct table *t, const struct json *job))
{
    int code;
    char *path = list_path(c, "/v1/analytics/jobs");
    struct json *stats = cli_get(c, path, &code);
    mem_free(path);
    if (stats != NULL && cli_wants_json(c)) {
        code = cli_print(c, stats);
    } else if (stats != NULL) {
        const struct json *jobs = json_get(stats, "jobs");
        struct table *t = table_new(heads);
        for (size_t i = 0; i < json_size(jobs); i++)
            add(t, json_at(jobs, i));
        print_table(t);
        table_free(t);
    }
    json_free(stats);
    return code;
}

int cli_analytics_success(struct cli *c)
{
    static const char *const heads[] = {"JOB",       "RATE",      "RUNS",    "SUCCEEDED", "FAILED",
                                        "TIMED OUT", "CANCELLED", "SKIPPED", NULL};
    return show(c, heads, add_success);
}

int cli_analytics_duration(struct cli *c)
{
    static const char *const heads[] = {"JOB", "RUNS", "MEAN", "P50", "P95", "P99", "MAX", NULL};
    return show(c, heads, add_duration);
}

int cli_analytics_costs(struct cli *c)
{
    static const char *const heads[] = {"JOB", "RUNS", "TOKENS", "COST", "COST/RUN", NULL};
    return show(c, heads, add_costs);
}
