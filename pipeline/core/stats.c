/* SPDX-License-Identifier: Apache-2.0 */
/* What the counts of a day say (lua/15_end.lua, count_run), put together for a period. Times are kept as a histogram whose buckets grow by 2^(1/4), so a percentile is
 * right to within a tenth and costs no list of times. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/run.h"
#include "core/store.h"

enum { DAY_MS = 86400000, DAYS_MAX = 400, BUCKETS = 160 };

enum outcome { SUCCEEDED, DEAD, TIMED_OUT, CANCELLED, BUDGET, SKIPPED, OUTCOMES };
static const char *const outcomes[OUTCOMES] = {
    "succeeded", "dead", "timed_out", "cancelled", "budget_exceeded", "skipped"};

struct day {
    int64_t n[OUTCOMES];
};

struct job_stats {
    struct map_node node;
    struct job_stats *next; /* in the order of their first sight */
    char *pipeline;
    int64_t ms;
    int64_t max_ms;
    char *last; /* "RUN STATE MS" */
    int64_t buckets[BUCKETS];
    struct day days[];
};

struct stats_op {
    char *name;
    int64_t since_ms;
    int64_t now_ms;
    int64_t first_day;
    size_t day_n;
    struct map jobs;
    struct job_stats *first;
    struct job_stats **last;
    run_json_fn fn;
    void *arg;
};

static struct job_stats *job_of(struct stats_op *op, struct str pipeline)
{
    struct map_node *node = map_find(&op->jobs, pipeline);
    if (node != NULL)
        return container_of(node, struct job_stats, node);
    struct job_stats *j = mem_zero(1, sizeof *j + op->day_n * sizeof j->days[0]);
    j->pipeline = mem_dup(pipeline.p, pipeline.n);
    map_add(&op->jobs, &j->node, str_of(j->pipeline));
    *op->last = j;
    op->last = &j->next;
    return j;
}

static bool wanted(const struct stats_op *op, struct str pipeline)
{
    return op->name == NULL || str_is(pipeline, op->name) ||
           (str_starts(pipeline, "job.") &&
            str_is((struct str){pipeline.p + 4, pipeline.n - 4}, op->name));
}

static void take(struct stats_op *op, size_t day, struct str field, const struct reply *r)
{
    int64_t value = reply_int(r);
    struct str what = field;
    struct str pipeline = str_split(&what, '\t');
    if (what.p == NULL || !wanted(op, pipeline))
        return;
    struct job_stats *j = job_of(op, pipeline);
    uint64_t bucket;
    if (str_is(what, "last")) { /* the days come in order */
        mem_free(j->last);
        j->last = mem_dup(reply_str(r).p, reply_str(r).n);
    } else if (str_is(what, "ms")) {
        j->ms += value;
    } else if (str_is(what, "max")) {
        j->max_ms = value > j->max_ms ? value : j->max_ms;
    } else if (what.n > 1 && what.p[0] == 'b' &&
               str_u64((struct str){what.p + 1, what.n - 1}, &bucket)) {
        j->buckets[bucket < BUCKETS ? bucket : BUCKETS - 1] += value;
    } else {
        for (size_t i = 0; i < OUTCOMES; i++) {
            if (str_is(what, outcomes[i]))
                j->days[day].n[i] += value;
        }
    }
}

/* The time that a share of the runs stayed below: the middle of its bucket, and never more than the longest. */
static double percentile(const struct job_stats *j, double share)
{
    int64_t all = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        all += j->buckets[i];
    int64_t below = 0;
    for (size_t i = 0; i < BUCKETS && all != 0; i++) {
        below += j->buckets[i];
        if ((double)below >= share * (double)all) {
            double ms = exp2(((double)i + 0.5) / 4.0) - 1.0;
            return ms < (double)j->max_ms ? ms : (double)j->max_ms;
        }
    }
    return 0.0;
}

static void add_duration(struct buf *out, const struct job_stats *j)
{
    int64_t n = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        n += j->buckets[i];
    buf_json_key(out, "duration");
    buf_printf(out, "{\"mean\":%.1f,\"p50\":%.1f,\"p95\":%.1f,\"p99\":%.1f,\"max\":%lld}",
               n == 0 ? 0.0 : (double)j->ms / (double)n, percentile(j, 0.50), percentile(j, 0.95),
               percentile(j, 0.99), (long long)j->max_ms);
}

static void add_days(struct buf *out, const struct stats_op *op, const struct job_stats *j)
{
    buf_json_key(out, "days");
    buf_char(out, '[');
    for (size_t d = 0; d < op->day_n; d++) {
        const int64_t *n = j->days[d].n;
        int64_t failed = n[DEAD] + n[TIMED_OUT] + n[BUDGET];
        struct buf at = {0};
        clock_rfc3339(&at, (op->first_day + (int64_t)d) * DAY_MS * 1000);
        if (d != 0)
            buf_char(out, ',');
        buf_printf(out, "{\"day\":\"%.10s\",\"succeeded\":%lld,\"failed\":%lld}", at.p,
                   (long long)n[SUCCEEDED], (long long)failed);
        buf_finish(&at);
    }
    buf_char(out, ']');
}

static void add_time(struct buf *out, const char *name, int64_t ms)
{
    buf_json_key(out, name);
    buf_char(out, '"');
    clock_rfc3339(out, ms * 1000);
    buf_char(out, '"');
}

static void add_last(struct buf *out, const struct job_stats *j)
{
    struct str rest = str_of(j->last);
    uint64_t ms = 0;
    if (j->last == NULL)
        return;
    buf_json_key(out, "last");
    buf_char(out, '{');
    buf_json_field(out, "run", str_split(&rest, ' '));
    buf_json_field(out, "state", str_split(&rest, ' '));
    str_u64(rest, &ms);
    add_time(out, "at", (int64_t)ms);
    buf_char(out, '}');
}

static void add_job(struct buf *out, const struct stats_op *op, const struct job_stats *j)
{
    int64_t n[OUTCOMES] = {0};
    for (size_t d = 0; d < op->day_n; d++) {
        for (size_t i = 0; i < OUTCOMES; i++)
            n[i] += j->days[d].n[i];
    }
    int64_t failed = n[DEAD] + n[TIMED_OUT] + n[BUDGET];
    int64_t judged = n[SUCCEEDED] + failed;
    buf_char(out, '{');
    bool job = str_starts(str_of(j->pipeline), "job.");
    buf_json_field(out, "job", str_of(job ? j->pipeline + 4 : j->pipeline));
    buf_json_field(out, "pipeline", str_of(j->pipeline));
    buf_json_field_int(out, "runs", judged + n[CANCELLED] + n[SKIPPED]);
    buf_json_field_int(out, "failed", failed);
    for (size_t i = 0; i < OUTCOMES; i++)
        buf_json_field_int(out, outcomes[i], n[i]);
    buf_json_key(out, "success_rate");
    if (judged == 0)
        buf_puts(out, "null");
    else
        buf_printf(out, "%.4f", (double)n[SUCCEEDED] / (double)judged);
    add_last(out, j);
    add_duration(out, j);
    buf_puts(out, ",\"tokens\":0,\"cost_usd\":0");
    add_days(out, op, j);
    buf_char(out, '}');
}

static void finish(struct stats_op *op)
{
    for (struct job_stats *j = op->first; j != NULL;) {
        struct job_stats *next = j->next;
        map_remove(&op->jobs, &j->node);
        mem_free(j->pipeline);
        mem_free(j->last);
        mem_free(j);
        j = next;
    }
    map_finish(&op->jobs);
    mem_free(op->name);
    mem_free(op);
}

static void on_stats(void *arg, const struct reply *r, const struct err *e)
{
    struct stats_op *op = arg;
    struct buf out = {0};
    for (size_t d = 0; e == NULL && d < op->day_n && d < reply_len(r); d++) {
        const struct reply *day = reply_at(r, d);
        for (size_t i = 0; i + 1 < reply_len(day); i += 2)
            take(op, d, reply_str(reply_at(day, i)), reply_at(day, i + 1));
    }
    buf_char(&out, '{');
    add_time(&out, "since", op->first_day * DAY_MS);
    add_time(&out, "until", op->now_ms);
    buf_json_key(&out, "jobs");
    buf_char(&out, '[');
    for (struct job_stats *j = op->first; j != NULL; j = j->next) {
        if (j != op->first)
            buf_char(&out, ',');
        add_job(&out, op, j);
    }
    buf_puts(&out, "]}");
    op->fn(op->arg, buf_view(&out), (struct str){NULL, 0}, e);
    buf_finish(&out);
    finish(op);
}

void run_stats(const char *name, int64_t since_ms, run_json_fn fn, void *arg)
{
    struct stats_op *op = mem_new(struct stats_op);
    op->name = mem_strdup(name);
    op->now_ms = clock_wall_us() / 1000;
    int64_t today = op->now_ms / DAY_MS;
    op->first_day = since_ms / DAY_MS;
    if (op->first_day > today)
        op->first_day = today;
    if (op->first_day <= today - DAYS_MAX)
        op->first_day = today - DAYS_MAX + 1;
    op->day_n = (size_t)(today - op->first_day + 1);
    op->last = &op->first;
    op->fn = fn;
    op->arg = arg;
    struct args a = {0};
    for (size_t d = 0; d < op->day_n; d++)
        args_int(&a, op->first_day + (int64_t)d);
    store_call("stats", a.n, a.v, on_stats, op);
    args_finish(&a);
}
