/* SPDX-License-Identifier: Apache-2.0 */
/* jobs, pipelines, dlq: runs and where they stand. A followed log resumes behind its last line after a cut, so
 * nothing is lost and nothing printed twice; a followed list asks each second, because what changed is in the newest rows anyway. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli_parts.h"

enum { FOLLOW_MS = 1000, WAIT_MS = 200, CUTS_MAX = 30, SEEN_MAX = 500 };

static const char *const run_heads[] = {"RUN",   "PIPELINE", "STATE", "CAUSE",
                                        "EVENT", "CREATED",  "ERROR", NULL};

static void add_time(struct table *t, const struct json *j)
{
    char text[20];
    table_cell(t, short_time(json_str(j), text));
}

/* An error is a text, or an object with one. */
static struct str error_of(const struct json *run)
{
    const struct json *e = json_get(run, "error");
    return json_type_of(e) == J_OBJ ? json_str(json_get(e, "text")) : json_str(e);
}

static void add_run(struct table *t, const struct json *run)
{
    table_cell_json(t, json_get(run, "id"));
    table_cell_json(t, json_get(run, "pipeline"));
    table_cell_json(t, json_get(run, "state"));
    table_cell_json(t, json_get(run, "cause"));
    table_cell_json(t, json_get(run, "event"));
    add_time(t, json_get(run, "created"));
    table_cell(t, error_of(run));
}

static char *list_path(const struct cli *c, const char *base)
{
    static const struct {
        enum flag_id flag;
        const char *name;
    } rows[] = {{FLAG_LIMIT, "limit"},
                {FLAG_STATE, "state"},
                {FLAG_JOB, "job"},
                {FLAG_SINCE, "since"},
                {FLAG_OUTCOME, "outcome"}};
    struct buf path = {0};
    buf_puts(&path, base);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (c->flags[rows[i].flag] != NULL)
            path_query(&path, rows[i].name, str_of(c->flags[rows[i].flag]));
    }
    return buf_take(&path);
}

/* What --follow has printed already: run and state, the newest last. */
struct seen {
    char *lines[SEEN_MAX];
    size_t n;
};

static bool is_news(struct seen *s, const struct json *run)
{
    struct str id = json_str(json_get(run, "id"));
    struct str state = json_str(json_get(run, "state"));
    char *line = mem_format("%.*s %.*s", (int)id.n, id.p, (int)state.n, state.p);
    for (size_t i = 0; i < SEEN_MAX; i++) {
        if (s->lines[i] != NULL && strcmp(s->lines[i], line) == 0) {
            mem_free(line);
            return false;
        }
    }
    size_t slot = s->n++ % SEEN_MAX;
    mem_free(s->lines[slot]);
    s->lines[slot] = line;
    return true;
}

static void print_news(struct seen *s, const struct json *list, bool json)
{
    for (size_t i = json_size(list); i-- > 0;) {
        const struct json *run = json_at(list, i);
        if (!is_news(s, run))
            continue;
        struct buf b = {0};
        char text[20];
        if (json) {
            json_dump(&b, run, false);
        } else {
            struct str at = short_time(json_str(json_get(run, "created")), text);
            struct str state = json_str(json_get(run, "state"));
            const char *colour = cli_colours() ? state_colour(state) : "";
            buf_printf(&b, "%-19.*s  %s%-9.*s%s  ", (int)at.n, at.p, colour, (int)state.n, state.p,
                       colour[0] != '\0' ? "\033[0m" : "");
            clean_text(&b, json_str(json_get(run, "id")));
            buf_puts(&b, "  ");
            clean_text(&b,
                       error_of(run).n != 0 ? error_of(run) : json_str(json_get(run, "pipeline")));
        }
        print_line(buf_view(&b));
        buf_finish(&b);
    }
}

static int follow_list(struct cli *c, const char *path)
{
    struct seen *seen = mem_new(struct seen);
    int code = EXIT_OK;
    struct json *list;
    while ((list = cli_get(c, path, &code)) != NULL) {
        print_news(seen, list, c->flags[FLAG_JSON] != NULL);
        json_free(list);
        cli_sleep(FOLLOW_MS);
    }
    for (size_t i = 0; i < SEEN_MAX; i++)
        mem_free(seen->lines[i]);
    mem_free(seen);
    return code;
}

static int print_list(struct cli *c, const char *path, const char *const *heads,
                      void (*add)(struct table *t, const struct json *row))
{
    int code;
    struct json *list = cli_get(c, path, &code);
    if (list == NULL)
        return code;
    if (c->flags[FLAG_JSON] != NULL) {
        print_json(list);
    } else {
        struct table *t = table_new(heads);
        for (size_t i = 0; i < json_size(list); i++)
            add(t, json_at(list, i));
        print_table(t);
        table_free(t);
    }
    json_free(list);
    return code;
}

int cli_jobs_list(struct cli *c)
{
    char *path = list_path(c, "/v1/runs");
    int code = c->flags[FLAG_FOLLOW] != NULL ? follow_list(c, path)
                                             : print_list(c, path, run_heads, add_run);
    mem_free(path);
    return code;
}

/* One run. */

static void print_pair(const char *name, struct str value)
{
    struct buf b = {0};
    if (value.n == 0)
        return;
    buf_printf(&b, "%-10s ", name);
    clean_text(&b, value);
    print_line(buf_view(&b));
    buf_finish(&b);
}

static void print_steps(const struct json *steps)
{
    static const char *const heads[] = {"STEP",  "STATE",  "ATTEMPT", "TIME",
                                        "READS", "WRITES", "ERROR",   NULL};
    struct table *t = table_new(heads);
    for (size_t i = 0; i < json_size(steps); i++) {
        const struct json *s = json_at(steps, i);
        int64_t us = json_int(json_get(s, "us"), -1);
        if (us < 0 && json_get(s, "ms") != NULL)
            us = json_int(json_get(s, "ms"), 0) * 1000;
        table_cell_json(t, json_get(s, "name"));
        table_cell_json(t, json_get(s, "state"));
        table_cell_json(t, json_get(s, "attempt"));
        if (us < 0)
            table_cell(t, STR(""));
        else if (us < 10000)
            table_cellf(t, "%.1f ms", (double)us / 1000);
        else
            table_cellf(t, "%lld ms", (long long)(us / 1000));
        table_cell_json(t, json_get(s, "key_in"));
        table_cell_json(t, json_get(s, "key_out"));
        table_cell_json(t, json_get(s, "error"));
    }
    if (table_rows(t) != 0) {
        print(STR("\n"));
        print_table(t);
    }
    table_free(t);
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
    if (table_rows(t) != 0) {
        print(STR("\n"));
        print_table(t);
    }
    table_free(t);
}

static void print_run(const struct json *run)
{
    char text[20];
    print_pair("run", json_str(json_get(run, "id")));
    print_pair("pipeline", json_str(json_get(run, "pipeline")));
    print_pair("state", json_str(json_get(run, "state")));
    print_pair("cause", json_str(json_get(run, "cause")));
    print_pair("hook", json_str(json_get(run, "hook")));
    print_pair("event", json_str(json_get(run, "event")));
    print_pair("delivery", json_str(json_get(run, "delivery_id")));
    print_pair("created", short_time(json_str(json_get(run, "created")), text));
    print_pair("finished", short_time(json_str(json_get(run, "finished")), text));
    print_pair("error", error_of(run));
    print_steps(json_get(run, "steps"));
    print_keys(json_get(run, "keys"));
}

static void print_job(const struct json *job)
{
    static const char *const heads[] = {"STAGE", "WATCHES", "WRITES", NULL};
    const struct json *stages = json_get(job, "stages");
    struct table *t = table_new(heads);
    print_pair("job", json_str(json_get(job, "name")));
    print_pair("type", json_str(json_get(job, "type")));
    print_pair("input", json_str(json_get(job, "input")));
    print_pair("hook", json_str(json_get(job, "hook")));
    for (size_t i = 0; i < json_size(stages); i++) {
        table_cell_json(t, json_get(json_at(stages, i), "name"));
        table_cell_json(t, json_get(json_at(stages, i), "watch"));
        table_cell_json(t, json_get(json_at(stages, i), "write"));
    }
    print(STR("\n"));
    print_table(t);
    table_free(t);
}

static char *path_of(const char *base, const char *id, const char *more)
{
    struct buf path = {0};
    buf_puts(&path, base);
    path_segment(&path, str_of(id));
    buf_puts(&path, more);
    return buf_take(&path);
}

/* A job of that name? Asked without a word when there is none: then it is a run's id. */
static struct json *find_job(struct cli *c, const char *name, int *code)
{
    struct json *found = NULL;
    struct json *jobs = cli_get(c, "/v1/jobs", code);
    for (size_t i = 0; i < json_size(jobs) && found == NULL; i++) {
        struct buf text = {0};
        if (!str_is(json_str(json_get(json_at(jobs, i), "name")), name))
            continue;
        json_dump(&text, json_at(jobs, i), false);
        found = json_parse(buf_view(&text), NULL);
        buf_finish(&text);
    }
    json_free(jobs);
    return found;
}

int cli_jobs_show(struct cli *c)
{
    int code;
    struct json *job = find_job(c, c->args[0], &code);
    if (code != EXIT_OK)
        return code;
    struct json *run = NULL;
    if (job == NULL) {
        char *path = path_of("/v1/runs", c->args[0], "");
        run = cli_get(c, path, &code);
        mem_free(path);
    }
    if (c->flags[FLAG_JSON] != NULL && code == EXIT_OK)
        print_json(job != NULL ? job : run);
    else if (job != NULL)
        print_job(job);
    else if (run != NULL)
        print_run(run);
    json_free(job);
    json_free(run);
    return code;
}

/* Logs. */

struct log_stream {
    struct cli *c;
    struct sse sse;
    bool ended;
    bool got; /* something since the last cut */
};

static void print_log_line(struct cli *c, struct str json)
{
    struct json *j = json_parse(json, NULL);
    if (c->flags[FLAG_JSON] != NULL || j == NULL) {
        print_line(json);
        json_free(j);
        return;
    }
    struct str at = json_str(json_get(j, "at"));
    struct str stage = json_str(json_get(j, "stage"));
    struct buf b = {0};
    char text[20];
    at = short_time(at, text);
    buf_printf(&b, "%.*s  %.*s  ", (int)at.n, at.p, (int)stage.n, stage.p);
    clean_text(&b, json_str(json_get(j, "line")));
    print_line(buf_view(&b));
    buf_finish(&b);
    json_free(j);
}

static bool on_log(void *arg, struct str event, struct str data)
{
    struct log_stream *l = arg;
    l->got = true;
    if (str_is(event, "end")) {
        l->ended = true;
        return false;
    }
    if (data.n != 0)
        print_log_line(l->c, data);
    return true;
}

static bool on_log_bytes(void *arg, struct str bytes)
{
    struct log_stream *l = arg;
    return sse_feed(&l->sse, bytes, on_log, l);
}

static int follow_once(struct log_stream *l, const char *path)
{
    char *last = NULL;
    if (l->sse.id.n != 0)
        last = mem_format("Last-Event-ID: %.*s", (int)l->sse.id.n, l->sse.id.p);
    const char *const headers[] = {"Accept: text/event-stream", last, NULL};
    struct answer a = {0};
    struct request q = {
        .method = "GET", .path = path, .headers = headers, .on_body = on_log_bytes, .arg = l};
    int code = cli_request(l->c, &q, &a);
    answer_finish(&a);
    mem_free(last);
    buf_clear(&l->sse.line); /* half a line of the cut */
    return code;
}

static int follow_log(struct cli *c, const char *path)
{
    struct log_stream l = {.c = c};
    int code = EXIT_OK;
    for (int cuts = 0; cuts < CUTS_MAX; cuts++) {
        l.got = false;
        code = follow_once(&l, path);
        bool first_try_failed = code != EXIT_OK && cuts == 0;
        if (l.ended || first_try_failed || (code != EXIT_OK && code != EXIT_UNREACHABLE))
            break;
        if (l.got)
            cuts = 0;
        cli_sleep(FOLLOW_MS);
    }
    sse_finish(&l.sse);
    return l.ended ? EXIT_OK : code;
}

static int print_log(struct cli *c, const char *path)
{
    struct answer a = {0};
    int code = cli_request(c, &(struct request){.method = "GET", .path = path}, &a);
    struct str rest = buf_view(&a.body);
    while (code == EXIT_OK && rest.n != 0) {
        struct str line = str_split(&rest, '\n');
        if (line.n != 0)
            print_log_line(c, line);
    }
    answer_finish(&a);
    return code;
}

int cli_jobs_logs(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0], "/logs");
    int code = c->flags[FLAG_FOLLOW] != NULL ? follow_log(c, path) : print_log(c, path);
    mem_free(path);
    return code;
}

/* Starting, cancelling, trying again. */

static bool is_over(struct str state)
{
    static const char *const open[] = {"queued", "running", "waiting"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        if (str_is(state, open[i]))
            return false;
    }
    return true;
}

static int wait_for(struct cli *c, const char *id)
{
    char *path = path_of("/v1/runs", id, "");
    int code = EXIT_OK;
    for (;;) {
        struct json *run = cli_get(c, path, &code);
        struct str state = json_str(json_get(run, "state"));
        bool over = run == NULL || is_over(state);
        if (over && run != NULL) {
            code = str_is(state, "succeeded") ? EXIT_OK : EXIT_FAILED;
            if (c->flags[FLAG_JSON] != NULL)
                print_json(run);
            else
                print_run(run);
        }
        json_free(run);
        if (over)
            break;
        cli_sleep(WAIT_MS);
    }
    mem_free(path);
    return code;
}

/* POST path; prints "TEXT RUN", or the answer with --json. */
static int post(struct cli *c, const char *path, struct str body, const char *text)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    struct answer a = {0};
    struct request q = {.method = "POST", .path = path, .headers = headers, .body = body};
    int code = cli_request(c, &q, &a);
    struct json *j = json_parse(buf_view(&a.body), NULL);
    struct str run = json_str(json_get(j, "run_id"));
    if (code == EXIT_OK && c->flags[FLAG_WAIT] != NULL && run.n != 0) {
        char *id = mem_dup(run.p, run.n);
        code = wait_for(c, id);
        mem_free(id);
    } else if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL) {
        print_line(str_trim(buf_view(&a.body)));
    } else if (code == EXIT_OK) {
        struct buf line = {0};
        buf_puts(&line, text);
        clean_text(&line, run);
        print_line(buf_view(&line));
        buf_finish(&line);
    }
    json_free(j);
    answer_finish(&a);
    return code;
}

int cli_jobs_run(struct cli *c)
{
    struct buf input = {0};
    struct err e;
    const char *arg = c->flags[FLAG_INPUT] != NULL ? c->flags[FLAG_INPUT] : "{}";
    if (!read_argument(arg, &input, &e)) {
        buf_finish(&input);
        return cli_fail(c, EXIT_FAILED, "%s", e.text);
    }
    char *path = path_of("/v1/jobs", c->args[0], "/runs");
    int code = post(c, path, buf_view(&input), "started: ");
    mem_free(path);
    buf_finish(&input);
    return code;
}

int cli_jobs_cancel(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0], "/cancel");
    int code = post(c, path, STR(""), "cancelled: ");
    mem_free(path);
    return code;
}

int cli_jobs_retry(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0],
                         c->flags[FLAG_FROM_START] != NULL ? "/retry?from_start=1" : "/retry");
    int code = post(c, path, STR(""), "goes on: ");
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
        table_cell_json(t, json_get(s, "watch"));
        table_cell_json(t, json_get(s, "write"));
        table_cell_json(t, json_get(s, "work"));
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            table_cell_json(t, json_get(s, numbers[k]));
    }
}

int cli_pipelines_list(struct cli *c)
{
    static const char *const heads[] = {"STAGE",   "WATCHES", "WRITES", "WORK", "PENDING",
                                        "RUNNING", "WAITING", "DEAD",   NULL};
    return print_list(c, "/v1/pipelines", heads, add_stages);
}

/* Dead letters. */

static void add_letter(struct table *t, const struct json *l)
{
    table_cell_json(t, json_get(l, "run"));
    table_cell_json(t, json_get(l, "stage"));
    table_cell_json(t, json_get(l, "attempts"));
    add_time(t, json_get(l, "at"));
    table_cell_json(t, json_get(l, "key"));
    table_cell_json(t, json_get(l, "error"));
}

int cli_dlq_list(struct cli *c)
{
    static const char *const heads[] = {"RUN", "STAGE", "ATTEMPTS", "AT", "KEY", "ERROR", NULL};
    char *path = list_path(c, "/v1/dlq");
    int code = print_list(c, path, heads, add_letter);
    mem_free(path);
    return code;
}

/* Does something with the whole queue and prints how many it was. */
static int whole_queue(struct cli *c, const char *method, const char *path, const char *field,
                       const char *text)
{
    struct answer a = {0};
    int code = cli_request(c, &(struct request){.method = method, .path = path}, &a);
    struct json *j = json_parse(buf_view(&a.body), NULL);
    if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL) {
        print_line(str_trim(buf_view(&a.body)));
    } else if (code == EXIT_OK) {
        struct buf line = {0};
        buf_printf(&line, "%s: %lld", text, (long long)json_int(json_get(j, field), 0));
        print_line(buf_view(&line));
        buf_finish(&line);
    }
    json_free(j);
    answer_finish(&a);
    return code;
}

int cli_dlq_retry(struct cli *c)
{
    bool all = c->flags[FLAG_ALL] != NULL;
    if (all == (c->arg_n != 0))
        return cli_fail(c, EXIT_USAGE, "name one run, or say --all");
    return all ? whole_queue(c, "POST", "/v1/dlq/retry", "retried", "tried again")
               : cli_jobs_retry(c);
}

int cli_dlq_purge(struct cli *c)
{
    return whole_queue(c, "DELETE", "/v1/dlq", "purged", "dropped");
}
