/* SPDX-License-Identifier: Apache-2.0 */
/* One run, for a person: what it is, why it began, how far it came, what follows it, and what to type next. The parts that
 * a run does not have are left out, so that a small one takes a few lines. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

const char *const run_heads[] = {"RUN", "STATE", "JOB", "AGE", "CAUSE", "EVENT", "ERROR", NULL};

char *path_of(const char *base, const char *id, const char *more)
{
    struct buf path = {0};
    buf_puts(&path, base);
    path_segment(&path, str_of(id));
    buf_puts(&path, more);
    return buf_take(&path);
}

/* An error is a text, or an object with one; a skipped run has a reason instead. */
struct str run_error(const struct json *run)
{
    const struct json *e = json_get(run, "error");
    struct str text = json_type_of(e) == J_OBJ ? json_str(json_get(e, "text")) : json_str(e);
    return text.n != 0 ? text : json_str(json_get(run, "reason"));
}

struct str run_job(const struct json *run)
{
    struct str job = json_str(json_get(run, "job"));
    if (job.n == 0)
        job = json_str(json_get(run, "pipeline"));
    if (str_starts(job, "job."))
        job = (struct str){job.p + 4, job.n - 4};
    return job;
}

void add_run(struct table *t, const struct json *run)
{
    table_cell_json(t, json_get(run, "id"));
    table_cell_json(t, json_get(run, "state"));
    table_cell(t, run_job(run));
    table_cell_age(t, json_get(run, "created"));
    table_cell_json(t, json_get(run, "cause"));
    table_cell_json(t, json_get(run, "event"));
    table_cell(t, run_error(run));
}

static bool is_after(const struct json *step)
{
    return json_bool(json_get(step, "after"), false);
}

static void cell_took(struct table *t, const struct json *step)
{
    struct buf b = {0};
    int64_t us = json_int(json_get(step, "us"), -1);
    if (us < 0 && json_get(step, "ms") != NULL)
        us = json_int(json_get(step, "ms"), 0) * 1000;
    buf_puts(&b, "");
    if (us >= 0)
        short_ms(&b, (double)us / 1000);
    table_cell(t, buf_view(&b));
    buf_finish(&b);
}

static void print_steps(const struct json *steps)
{
    static const char *const heads[] = {"STEP", "STATE", "ATTEMPT", "TIME", "ERROR", NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(steps); i++) {
        const struct json *s = json_at(steps, i);
        if (is_after(s))
            continue;
        table_cell_json(t, json_get(s, "name"));
        table_cell_json(t, json_get(s, "state"));
        table_cell_json(t, json_get(s, "attempt"));
        cell_took(t, s);
        table_cell_json(t, json_get(s, "error"));
    }
    print_section(t);
}

/* What its end set going: deliveries, jobs, alerts. */
static void print_after(const struct json *steps)
{
    static const char *const heads[] = {"AFTER", "STATE", "ATTEMPT", "TIME", "TO", "ERROR", NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(steps); i++) {
        const struct json *s = json_at(steps, i);
        if (!is_after(s) || !json_bool(json_get(s, "fed"), true))
            continue;
        table_cell_json(t, json_get(s, "name"));
        table_cell_json(t, json_get(s, "state"));
        table_cell_json(t, json_get(s, "attempt"));
        cell_took(t, s);
        table_cell_json(t, json_get(s, "to"));
        table_cell_json(t, json_get(s, "error"));
    }
    print_section(t);
}

static void print_keys(const struct json *keys)
{
    static const char *const heads[] = {"KEY", "VERSION", "SIZE", NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(keys); i++) {
        struct buf size = {0};
        short_size(&size, json_int(json_get(json_at(keys, i), "size"), 0));
        table_cell_json(t, json_get(json_at(keys, i), "key"));
        table_cell_json(t, json_get(json_at(keys, i), "version"));
        table_cell(t, buf_view(&size));
        buf_finish(&size);
    }
    print_section(t);
}

static void print_time(const char *name, const struct json *j)
{
    char text[20];
    print_pair(name, short_time(json_str(j), text));
}

/* "webhook, by devops, depth 2" */
static void print_cause(const struct json *run)
{
    struct buf b = {0};
    struct str by = json_str(json_get(run, "by"));
    buf_str(&b, json_str(json_get(run, "cause")));
    if (by.n != 0) {
        buf_puts(&b, ", by ");
        buf_str(&b, by);
    }
    if (json_int(json_get(run, "depth"), 0) > 0)
        buf_printf(&b, ", depth %lld", (long long)json_int(json_get(run, "depth"), 0));
    print_pair("cause", buf_view(&b));
    buf_finish(&b);
    print_pair("parent", json_str(json_get(run, "parent")));
    print_pair("schedule", json_str(json_get(run, "schedule")));
    print_time("due", json_get(run, "scheduled_at"));
}

/* What can be done about it; none for a run that went well. */
static void print_next(const struct json *run)
{
    static const struct {
        const char *state;
        const char *verb;
        const char *more;
    } rows[] = {
        {"dead", "retry", ""},      {"failed", "retry", ""},
        {"timed_out", "retry", ""}, {"budget_exceeded", "retry", ""},
        {"cancelled", "retry", ""}, {"running", "logs", " --follow"},
        {"queued", "cancel", ""},   {"waiting", "cancel", ""},
    };
    struct str state = json_str(json_get(run, "state"));
    struct str id = json_str(json_get(run, "id"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!str_is(state, rows[i].state))
            continue;
        struct buf b = {0};
        buf_printf(&b, "hookmesh jobs %s ", rows[i].verb);
        buf_str(&b, id);
        buf_puts(&b, rows[i].more);
        print_pair("next", buf_view(&b));
        buf_finish(&b);
    }
}

/* One line; the whole of it is in the last key. */
static void print_output(const struct json *output)
{
    enum { SHOWN = 500 };
    struct buf b = {0};
    if (json_type_of(output) == J_NONE)
        return;
    json_dump(&b, output, false);
    if (b.n > SHOWN) {
        b.n = SHOWN;
        while ((b.p[b.n] & 0xC0) == 0x80)
            b.n--;
        buf_puts(&b, "\xE2\x80\xA6");
    }
    print_pair("output", buf_view(&b));
    buf_finish(&b);
}

void print_run(const struct json *run)
{
    print_pair("run", json_str(json_get(run, "id")));
    print_pair("job", run_job(run));
    print_pair("state", json_str(json_get(run, "state")));
    print_cause(run);
    print_pair("hook", json_str(json_get(run, "hook")));
    print_pair("event", json_str(json_get(run, "event")));
    print_pair("delivery", json_str(json_get(run, "delivery_id")));
    print_time("created", json_get(run, "created"));
    print_time("finished", json_get(run, "finished"));
    bool skipped = str_is(json_str(json_get(run, "state")), "skipped");
    print_pair(skipped ? "reason" : "error", run_error(run));
    print_next(run);
    print_output(json_get(run, "output"));
    print_steps(json_get(run, "steps"));
    print_after(json_get(run, "steps"));
    print_keys(json_get(run, "keys"));
}
