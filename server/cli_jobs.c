/* SPDX-License-Identifier: Apache-2.0 */
/* jobs, schedules, pipelines: what can be run, and running it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli_parts.h"

enum { RECENT = 5 };

/* What there is. */

static struct str next_fire(const struct json *schedule)
{
    return json_str(json_at(json_get(schedule, "next"), 0));
}

static void add_job(struct table *t, const struct json *job)
{
    const struct json *recent = json_get(job, "recent");
    struct buf next = {0};
    short_age(&next, next_fire(json_at(json_get(job, "schedules"), 0)), clock_wall_us() / 1000);
    table_cell_json(t, json_get(job, "name"));
    table_cell_json(t, json_get(job, "type"));
    table_cell(t, buf_view(&next));
    table_cell_json(t, json_get(recent, "runs"));
    table_cell_json(t, json_get(recent, "failed"));
    table_cell_json(t, json_get(job, "description"));
    buf_finish(&next);
}

static int list_jobs(struct cli *c)
{
    static const char *const heads[] = {"JOB",    "TYPE",        "NEXT", "RUNS/DAY",
                                        "FAILED", "DESCRIPTION", NULL};
    return cli_list(c, "/v1/jobs", heads, add_job);
}

static void print_limits(const struct json *limits)
{
    static const struct {
        const char *path;
        const char *text;
        bool time;
    } rows[] = {
        {"timeout_ms", "timeout ", true},          {"retry.max_attempts", "attempts ", false},
        {"priority", "priority ", false},          {"delay_ms", "delay ", true},
        {"concurrency.limit", "at once ", false},  {"rate_limit.limit", "rate ", false},
        {"debounce.quiet_ms", "quiet for ", true}, {"budget.max_tokens", "tokens ", false},
    };
    struct buf b = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t n = json_int(json_path(limits, rows[i].path), 0);
        if (n == 0)
            continue;
        buf_printf(&b, "%s%s", b.n != 0 ? ", " : "", rows[i].text);
        if (rows[i].time)
            clock_format_duration(&b, n);
        else
            buf_printf(&b, "%lld", (long long)n);
        if (strcmp(rows[i].path, "rate_limit.limit") == 0) {
            buf_puts(&b, " in ");
            clock_format_duration(&b, json_int(json_path(limits, "rate_limit.period_ms"), 0));
        }
    }
    print_pair("limits", buf_view(&b));
    buf_finish(&b);
}

static void print_where(const struct json *where)
{
    struct buf b = {0};
    if (where != NULL) {
        buf_str(&b, json_str(json_get(where, "file")));
        buf_printf(&b, ":%lld", (long long)json_int(json_get(where, "line"), 0));
    }
    print_pair("where", buf_view(&b));
    buf_finish(&b);
}

static void print_day(const struct json *recent)
{
    static const char *const counts[] = {"succeeded", "failed", "timed_out", "cancelled",
                                         "skipped"};
    struct buf b = {0};
    if (recent == NULL)
        return;
    int64_t runs = json_int(json_get(recent, "runs"), 0);
    buf_printf(&b, "%lld run%s", (long long)runs, runs == 1 ? "" : "s");
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        int64_t n = json_int(json_get(recent, counts[i]), 0);
        if (n != 0)
            buf_printf(&b, ", %lld %s", (long long)n, counts[i]);
    }
    print_pair("last day", buf_view(&b));
    buf_finish(&b);
}

static void print_parameters(const struct json *parameters)
{
    static const char *const heads[] = {"PARAMETER", "TYPE", "DEFAULT", "MEANING", NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(parameters); i++) {
        const struct json *p = json_at(parameters, i);
        struct buf value = {0};
        buf_puts(&value, json_bool(json_get(p, "required"), false) ? "(required)" : "");
        if (json_get(p, "default") != NULL)
            json_dump(&value, json_get(p, "default"), false);
        table_cell_json(t, json_get(p, "name"));
        table_cell_json(t, json_get(p, "type"));
        table_cell(t, buf_view(&value));
        table_cell_json(t, json_get(p, "description"));
        buf_finish(&value);
    }
    print_section(t);
}

static void add_schedule(struct table *t, const struct json *s)
{
    char text[20];
    const struct json *last = json_get(s, "last");
    bool off = json_get(s, "enabled") != NULL && !json_bool(json_get(s, "enabled"), true);
    struct str next = next_fire(s);
    struct buf at = {0};
    buf_str(&at, short_time(next, text));
    if (next.n > 19) /* the offset of its zone */
        buf_printf(&at, " %.*s", (int)(next.n - 19), next.p + 19);
    table_cell_json(t, json_get(s, "name"));
    table_cell_json(t, json_get(s, "expression"));
    table_cell(t, off ? STR("off") : buf_view(&at));
    table_cell_json(t, json_get(last, "state"));
    table_cell_json(t, json_get(s, "missed"));
    table_cell_json(t, json_get(s, "timezone"));
    buf_finish(&at);
}

static const char *const schedule_heads[] = {"SCHEDULE", "EXPRESSION", "NEXT", "LAST",
                                             "MISSED",   "ZONE",       NULL};

static void print_schedules(const struct json *schedules)
{
    struct table *t = table_new(schedule_heads);
    for (size_t i = 0; i < json_size(schedules); i++)
        add_schedule(t, json_at(schedules, i));
    print_section(t);
}

static void print_triggers(const struct json *triggers)
{
    static const char *const heads[] = {"TRIGGER", "OF", NULL};
    static const char *const of[] = {"path", "watch", "table", "job", "name"};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(triggers); i++) {
        const struct json *one = json_at(triggers, i);
        struct str what = {NULL, 0};
        for (size_t k = 0; k < sizeof of / sizeof of[0] && what.n == 0; k++)
            what = json_str(json_get(one, of[k]));
        table_cell_json(t, json_get(one, "type"));
        table_cell(t, what);
    }
    print_section(t);
}

static void print_stages(const struct json *stages)
{
    static const char *const heads[] = {"STEP", "KIND", "WATCHES", "WRITES", NULL};
    static const char *const after_heads[] = {"AFTER", "KIND", "TO", NULL};
    struct table *t = table_new(heads);
    struct table *after = table_new(after_heads);
    for (size_t i = 0; i < json_size(stages); i++) {
        const struct json *s = json_at(stages, i);
        const struct json *to =
            json_get(s, "to") != NULL ? json_get(s, "to") : json_get(s, "starts");
        bool follows = json_get(s, "after") != NULL;
        table_cell_json(follows ? after : t, json_get(s, "name"));
        table_cell_json(follows ? after : t, json_get(s, "kind"));
        if (follows) {
            table_cell_json(after, to);
            continue;
        }
        table_cell_json(t, json_get(s, "watch"));
        table_cell_json(t, json_get(s, "write"));
    }
    print_section(t);
    print_section(after);
}

static void on_recent(void *arg, const struct json *run)
{
    add_run(arg, run);
}

static int print_recent(struct cli *c, struct str name)
{
    struct buf path = {0};
    struct table *t = table_new(run_heads);
    buf_puts(&path, "/v1/runs");
    path_query(&path, "job", name);
    int code = cli_pages(c, path.p, RECENT, on_recent, t);
    buf_finish(&path);
    print_section(t);
    return code;
}

static int print_job(struct cli *c, const struct json *job)
{
    print_pair("job", json_str(json_get(job, "name")));
    print_pair("type", json_str(json_get(job, "type")));
    print_pair("what", json_str(json_get(job, "description")));
    print_where(json_get(job, "where"));
    print_pair("input", json_str(json_get(job, "input")));
    print_pair("output", json_str(json_get(job, "output")));
    print_limits(json_get(job, "limits"));
    print_day(json_get(job, "recent"));
    print_parameters(json_get(job, "parameters"));
    print_schedules(json_get(job, "schedules"));
    print_triggers(json_get(job, "triggers"));
    print_stages(json_get(job, "stages"));
    return print_recent(c, json_str(json_get(job, "name")));
}

/* A job of that name? Asked without a word when there is none: then it is a run's id. */
static struct json *find_job(struct cli *c, const char *name, int *code)
{
    char *path = path_of("/v1/jobs", name, "");
    struct answer a = {0};
    struct buf problem = {0};
    *code = cli_try(c, &(struct request){.method = "GET", .path = path}, &a, &problem);
    struct json *j = *code == EXIT_OK ? json_parse(buf_view(&a.body), NULL) : NULL;
    if (a.status == 404)
        *code = EXIT_OK;
    else if (*code != EXIT_OK)
        cli_fail(c, *code, "%s", problem.p);
    buf_finish(&problem);
    answer_finish(&a);
    mem_free(path);
    return j;
}

int cli_jobs_show(struct cli *c)
{
    int code;
    if (c->arg_n == 0)
        return list_jobs(c);
    struct json *job = find_job(c, c->args[0], &code);
    if (code != EXIT_OK)
        return code;
    struct json *run = NULL;
    if (job == NULL) {
        char *path = path_of("/v1/runs", c->args[0], "");
        run = cli_get(c, path, &code);
        mem_free(path);
    }
    if (cli_wants_json(c) && code == EXIT_OK)
        code = cli_print(c, job != NULL ? job : run);
    else if (job != NULL)
        code = print_job(c, job);
    else if (run != NULL)
        print_run(run);
    json_free(job);
    json_free(run);
    return code;
}

int cli_schedules_list(struct cli *c)
{
    char *path = list_path(c, "/v1/schedules");
    int code = cli_list(c, path, schedule_heads, add_schedule);
    mem_free(path);
    return code;
}

/* Starting, cancelling, trying again. */

/* POST path; prints "TEXT RUN", or the answer with --json. */
static int post(struct cli *c, const char *path, const char *key, struct str body, const char *text)
{
    char *once = key != NULL ? mem_format("Idempotency-Key: %s", key) : NULL;
    const char *const headers[] = {"Content-Type: application/json", once, NULL};
    struct answer a = {0};
    struct request q = {.method = "POST", .path = path, .headers = headers, .body = body};
    int code = cli_request(c, &q, &a);
    struct json *j = json_parse(buf_view(&a.body), NULL);
    struct str run = json_str(json_get(j, "run_id"));
    if (code == EXIT_OK && c->flags[FLAG_WAIT] != NULL && run.n != 0) {
        char *id = mem_dup(run.p, run.n);
        code = run_wait(c, id);
        mem_free(id);
    } else if (code == EXIT_OK && c->flags[FLAG_FIELD] != NULL) {
        code = cli_print(c, j);
    } else if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL) {
        print_json_text(str_trim(buf_view(&a.body)));
    } else if (code == EXIT_OK) {
        struct buf line = {0};
        buf_puts(&line, text);
        clean_text(&line, run);
        print_line(buf_view(&line));
        buf_finish(&line);
    }
    json_free(j);
    answer_finish(&a);
    mem_free(once);
    return code;
}

int cli_jobs_run(struct cli *c)
{
    struct buf input = {0};
    struct buf path = {0};
    struct err e;
    const char *arg = c->flags[FLAG_INPUT] != NULL ? c->flags[FLAG_INPUT] : "{}";
    const char *key = c->flags[FLAG_IDEMPOTENCY_KEY];
    for (const char *p = key; p != NULL && *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return cli_fail(c, EXIT_USAGE, "--idempotency-key must not have control characters");
    }
    if (!read_argument(arg, &input, &e)) {
        buf_finish(&input);
        return cli_fail(c, EXIT_FAILED, "%s", e.text);
    }
    buf_puts(&path, "/v1/jobs");
    path_segment(&path, str_of(c->args[0]));
    buf_puts(&path, "/runs");
    if (c->flags[FLAG_DELAY] != NULL)
        path_query(&path, "delay", str_of(c->flags[FLAG_DELAY]));
    if (c->flags[FLAG_PRIORITY] != NULL)
        path_query(&path, "priority", str_of(c->flags[FLAG_PRIORITY]));
    int code = post(c, path.p, key, buf_view(&input), "started: ");
    buf_finish(&path);
    buf_finish(&input);
    return code;
}

int cli_jobs_cancel(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0], "/cancel");
    int code = post(c, path, NULL, STR(""), "cancelled: ");
    mem_free(path);
    return code;
}

int cli_jobs_retry(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0],
                         c->flags[FLAG_FROM_START] != NULL ? "/retry?from_start=1" : "/retry");
    int code = post(c, path, NULL, STR(""), "goes on: ");
    mem_free(path);
    return code;
}

/* Pipelines. */

static void add_stages(struct table *t, const struct json *pipeline)
{
    static const char *const numbers[] = {"pending", "running", "waiting", "dead"};
    const struct json *stages = json_get(pipeline, "stages");
    for (size_t i = 0; i < json_size(stages); i++) {
        const struct json *s = json_at(stages, i);
        table_cell_json(t, json_get(s, "id"));
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            table_cell_json(t, json_get(s, numbers[k]));
        table_cell_json(t, json_get(s, "watch"));
        table_cell_json(t, json_get(s, "write"));
        table_cell_json(t, json_get(s, "work"));
    }
}

int cli_pipelines_list(struct cli *c)
{
    static const char *const heads[] = {"STAGE",   "PENDING", "RUNNING", "WAITING", "DEAD",
                                        "WATCHES", "WRITES",  "WORK",    NULL};
    return cli_list(c, "/v1/pipelines", heads, add_stages);
}
