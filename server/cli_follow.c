/* SPDX-License-Identifier: Apache-2.0 */
/* What goes on as things happen: the log of a run, the list of runs, and waiting for an end.
 *
 * A followed list notes where the event log ends, shows the list, and goes on from that place, so that nothing falls
 * between the two; what is in both is printed once. When the log does not reach back any more after a cut the list is
 * asked again, from the last run that was seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli_parts.h"
#include "handlers/query.h"

enum { SEEN_MAX = 4096, LATEST_MAX = 32 };

/* The list. */

struct list_view {
    struct cli *c;
    struct stream stream;
    bool resync;
    char latest[LATEST_MAX]; /* when the newest run that was shown began */
    struct seen {
        char *id;
        char *state; /* that was printed last */
        int64_t at_ms;
    } seen[SEEN_MAX]; /* a ring */
    size_t seen_n;
    struct json **page; /* newest first, to be printed the other way round */
    size_t page_n;
};

static struct seen *find_seen(struct list_view *v, struct str id)
{
    for (size_t i = 0; i < SEEN_MAX && i < v->seen_n; i++) {
        struct seen *s = &v->seen[(v->seen_n - 1 - i) % SEEN_MAX];
        if (str_is(id, s->id))
            return s;
    }
    return NULL;
}

/* The list may be ahead of the events: what they say of a run as it was before is no news. */
static bool is_news(struct list_view *v, struct str id, struct str state, int64_t at_ms)
{
    struct seen *s = find_seen(v, id);
    if (s != NULL && (str_is(state, s->state) || at_ms < s->at_ms))
        return false;
    if (s == NULL) {
        s = &v->seen[v->seen_n++ % SEEN_MAX];
        mem_free(s->id);
        s->id = mem_dup(id.p, id.n);
    }
    mem_free(s->state);
    s->state = mem_dup(state.p, state.n);
    s->at_ms = at_ms;
    return true;
}

static void add_padded(struct buf *out, struct str text, size_t width)
{
    size_t before = out->n;
    clean_text(out, text);
    while (out->n < before + width)
        buf_char(out, ' ');
}

/* "2026-11-20 09:00:00  succeeded  0193...  digest" */
static void add_line(struct buf *out, const struct json *run, struct str id, struct str at)
{
    char text[20];
    struct str error = run_error(run);
    struct str state = json_str(json_get(run, "state"));
    const char *colour = cli_colours() ? state_colour(state) : "";
    add_padded(out, short_time(at, text), 21);
    buf_puts(out, colour);
    add_padded(out, state, 9);
    buf_puts(out, colour[0] != '\0' ? "\033[0m  " : "  ");
    clean_text(out, id);
    buf_puts(out, "  ");
    clean_text(out, run_job(run));
    buf_puts(out, error.n != 0 ? ": " : "");
    clean_text(out, error);
}

/* The run as a list has it, or what an event says of it, with its id. */
static void add_object(struct buf *out, const struct json *run, struct str id)
{
    struct buf members = {0};
    json_dump(&members, run, false);
    if (json_get(run, "id") == NULL && members.n > 2) {
        buf_puts(out, "{\"id\":");
        buf_json_str(out, id);
        buf_printf(out, ",%s", members.p + 1);
    } else {
        buf_str(out, buf_view(&members));
    }
    buf_finish(&members);
}

static void print_change(struct list_view *v, const struct json *run, struct str id, struct str at)
{
    struct buf b = {0};
    if (v->c->flags[FLAG_JSON] != NULL) {
        add_object(&b, run, id);
        print_json_text(buf_view(&b));
    } else {
        add_line(&b, run, id, at);
        print_line(buf_view(&b));
    }
    buf_finish(&b);
}

static void show(struct list_view *v, const struct json *run, struct str id, struct str at)
{
    int64_t ms = 0;
    struct str end = json_str(json_get(run, "finished"));
    if (!query_since(end.n != 0 ? end : at, 0, &ms, NULL))
        ms = 0;
    if (is_news(v, id, json_str(json_get(run, "state")), ms))
        print_change(v, run, id, at);
}

/* Does --job and --state take it? The list was filtered by the server. */
static bool is_wanted(const struct list_view *v, const struct json *data)
{
    const char *job = v->c->flags[FLAG_JOB];
    const char *state = v->c->flags[FLAG_STATE];
    if (job != NULL && !str_is(run_job(data), job) &&
        !str_is(json_str(json_get(data, "pipeline")), job))
        return false;
    struct str rest = str_of(state);
    while (rest.p != NULL) {
        if (str_eq(str_split(&rest, ','), json_str(json_get(data, "state"))))
            return true;
    }
    return state == NULL;
}

static void on_change(struct list_view *v, struct str text)
{
    struct json *j = json_parse(text, NULL);
    struct json *data = json_get(j, "data");
    struct str id = json_str(json_get(j, "run"));
    if (id.n != 0 && json_get(data, "state") != NULL && is_wanted(v, data)) {
        struct buf at = {0};
        clock_rfc3339(&at, json_int(json_get(data, "at"), 0) * 1000);
        if (at.n < LATEST_MAX)
            memcpy(v->latest, at.p, at.n + 1);
        show(v, data, id, buf_view(&at));
        buf_finish(&at);
    }
    json_free(j);
}

static bool on_list_event(void *arg, struct str event, struct str data)
{
    struct list_view *v = arg;
    bool first = v->latest[0] == '\0';
    if (str_is(event, "resync"))
        v->resync = true;
    else if (str_starts(event, "run."))
        on_change(v, data);
    return !v->resync && !(first && str_is(event, "ready"));
}

static void on_listed(void *arg, const struct json *run)
{
    struct list_view *v = arg;
    struct buf text = {0};
    json_dump(&text, run, false);
    v->page = mem_resize(v->page, (v->page_n + 1) * sizeof(struct json *));
    v->page[v->page_n++] = json_parse(buf_view(&text), NULL);
    buf_finish(&text);
}

/* The newest runs, the oldest of them first; all since the last one that was seen, once there is one. */
static int show_list(struct list_view *v, size_t limit)
{
    char *base = list_path(v->c, "/v1/runs");
    struct buf path = {0};
    buf_puts(&path, base);
    if (v->latest[0] != '\0' && v->c->flags[FLAG_SINCE] == NULL)
        path_query(&path, "since", str_of(v->latest));
    int code = cli_pages(v->c, path.p, v->latest[0] != '\0' ? SIZE_MAX / 2 : limit, on_listed, v);
    while (v->page_n != 0) {
        struct json *run = v->page[--v->page_n];
        struct str at = json_str(json_get(run, "created"));
        if (code == EXIT_OK)
            show(v, run, json_str(json_get(run, "id")), at);
        if (at.n < LATEST_MAX)
            snprintf(v->latest, LATEST_MAX, "%.*s", (int)at.n, at.p);
        json_free(run);
    }
    if (v->latest[0] == '\0') {
        struct buf now = {0};
        clock_rfc3339(&now, clock_wall_us());
        snprintf(v->latest, LATEST_MAX, "%s", now.p);
        buf_finish(&now);
    }
    mem_free(base);
    buf_finish(&path);
    return code;
}

static int follow_list(struct cli *c)
{
    size_t limit;
    if (!cli_limit(c, &limit))
        return EXIT_USAGE;
    struct list_view *v = mem_new(struct list_view);
    v->c = c;
    v->stream =
        (struct stream){.c = c, .path = "/v1/events?topics=runs", .fn = on_list_event, .arg = v};
    int code = stream_follow(&v->stream); /* as far as the end of the log */
    while (code == EXIT_OK) {
        v->resync = false;
        code = show_list(v, limit);
        if (code == EXIT_OK)
            code = stream_follow(&v->stream); /* until a resync */
    }
    for (size_t i = 0; i < SEEN_MAX && i < v->seen_n; i++) {
        mem_free(v->seen[i].id);
        mem_free(v->seen[i].state);
    }
    stream_finish(&v->stream);
    mem_free(v->page);
    mem_free(v);
    return code;
}

int cli_jobs_list(struct cli *c)
{
    if (c->flags[FLAG_FOLLOW] != NULL)
        return follow_list(c);
    char *path = list_path(c, "/v1/runs");
    int code = cli_list(c, path, run_heads, add_run);
    mem_free(path);
    return code;
}

/* Logs. */

static void print_log_line(struct cli *c, struct str json)
{
    struct json *j = json_parse(json, NULL);
    if (c->flags[FLAG_JSON] != NULL || j == NULL) {
        print_json_text(json);
        json_free(j);
        return;
    }
    struct buf b = {0};
    char text[20];
    struct str at = short_time(json_str(json_get(j, "at")), text);
    clean_text(&b, at);
    buf_puts(&b, "  ");
    clean_text(&b, json_str(json_get(j, "stage")));
    buf_puts(&b, "  ");
    clean_text(&b, json_str(json_get(j, "line")));
    print_line(buf_view(&b));
    buf_finish(&b);
    json_free(j);
}

struct log_view {
    struct cli *c;
    bool silent; /* only its end is waited for */
};

static bool on_log(void *arg, struct str event, struct str data)
{
    struct log_view *l = arg;
    if (str_is(event, "end"))
        return false;
    if (data.n != 0 && !l->silent)
        print_log_line(l->c, data);
    return true;
}

static int follow_log(struct cli *c, const char *id, bool silent)
{
    char *path = path_of("/v1/runs", id, "/logs");
    struct log_view l = {.c = c, .silent = silent};
    struct stream s = {.c = c, .path = path, .fn = on_log, .arg = &l};
    s.opened = silent; /* who waits has spoken with the server already */
    int code = stream_follow(&s);
    stream_finish(&s);
    mem_free(path);
    return code;
}

static int print_log(struct cli *c)
{
    char *path = path_of("/v1/runs", c->args[0], "/logs");
    struct answer a = {0};
    int code = cli_request(c, &(struct request){.method = "GET", .path = path}, &a);
    struct str rest = buf_view(&a.body);
    while (code == EXIT_OK && rest.n != 0) {
        struct str line = str_split(&rest, '\n');
        if (line.n != 0)
            print_log_line(c, line);
    }
    answer_finish(&a);
    mem_free(path);
    return code;
}

int cli_jobs_logs(struct cli *c)
{
    return c->flags[FLAG_FOLLOW] != NULL ? follow_log(c, c->args[0], false) : print_log(c);
}

/* The run with its result, when it has one that is JSON. */
static struct json *with_output(struct cli *c, const char *id, struct json *run)
{
    char *path = path_of("/v1/runs", id, "/output");
    struct answer a = {0};
    struct buf problem = {0};
    struct buf text = {0};
    struct json *whole = NULL;
    if (cli_try(c, &(struct request){.method = "GET", .path = path}, &a, &problem) == EXIT_OK) {
        json_dump(&text, run, false);
        text.n--; /* its brace */
        buf_json_field_raw(&text, "output", str_trim(buf_view(&a.body)));
        buf_char(&text, '}');
        whole = json_parse(buf_view(&text), NULL);
    }
    buf_finish(&text);
    buf_finish(&problem);
    answer_finish(&a);
    mem_free(path);
    if (whole == NULL)
        return run;
    json_free(run);
    return whole;
}

int run_wait(struct cli *c, const char *id)
{
    int code = follow_log(c, id, true);
    char *path = path_of("/v1/runs", id, "");
    struct json *run = code == EXIT_OK ? cli_get(c, path, &code) : NULL;
    if (run != NULL) {
        bool good = str_is(json_str(json_get(run, "state")), "succeeded");
        if (good)
            run = with_output(c, id, run);
        if (cli_wants_json(c))
            code = cli_print(c, run);
        else
            print_run(run);
        code = good ? code : EXIT_FAILED;
    }
    json_free(run);
    mem_free(path);
    return code;
}
