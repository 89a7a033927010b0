/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the command line: what the commands share. */
#ifndef SERVER_CLI_PARTS_H
#define SERVER_CLI_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "cli.h"

enum flag_id {
#define FLAG(id, name, value, help) FLAG_##id,
#include "cli.def"
    FLAG_COUNT
};

enum { CLI_ARGS_MAX = 4, CLI_SETS_MAX = 64 };

struct cli {
    const struct command *command;
    const char *args[CLI_ARGS_MAX];
    size_t arg_n;
    const char *flags[FLAG_COUNT];  /* the value, "" for a switch; NULL: not given */
    const char *sets[CLI_SETS_MAX]; /* of --set */
    size_t set_n;
};

typedef int (*cli_fn)(struct cli *c);

struct command {
    const char *words; /* "kv get" */
    const char *arguments;
    int least;
    int most;
    uint64_t flags;
    const char *help;
    const char *example;
    cli_fn fn;
};

struct flag {
    const char *name;  /* "--limit" */
    const char *value; /* "N"; NULL: a switch */
    const char *help;
};
extern const struct flag cli_flags[FLAG_COUNT];

/* cli_args.c: pure. */
/* How many words of the command argv begins with; 0: it is another one. */
int cli_words_match(const struct command *c, int argc, char *const *argv);
const struct command *cli_commands(void); /* ends with words NULL */
/* The command that argv[1...] names; *used: how many words it took. NULL: fills e with a suggestion. */
const struct command *cli_find(int argc, char *const *argv, int *used, struct err *e);
bool cli_is_group(const char *word);
/* argv: what follows the command's words. --help is only noted. */
bool cli_parse(struct cli *c, const struct command *command, int argc, char *const *argv,
               struct err *e) MUST_CHECK;
void cli_help_command(struct buf *out, const struct command *command);
void cli_help_group(struct buf *out, const char *word); /* NULL: all */

/* One line on stderr: "hookmesh kv get: ...". Returns code. */
int cli_fail(const struct cli *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* cli_table.c: aligned columns; plain text unless colours are wanted. */
bool cli_colour(const char *when); /* auto, always or never; false: none of them */
bool cli_colours(void);            /* auto: stdout is a terminal and NO_COLOR is not set */
size_t cli_width(void);            /* of the terminal; 0: not one */
struct table;
struct table *table_new(const char *const *heads); /* NULL behind the last */
void table_cell(struct table *t, struct str text); /* row by row; control characters are replaced */
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_cell_json(struct table *t,
                     const struct json *j); /* a text, number or boolean; else "" */
size_t table_rows(const struct table *t);
void table_cell_age(struct table *t, const struct json *rfc3339);
/* width: cells are shortened so that lines fit; 0: not. */
void table_render(const struct table *t, struct buf *out, bool colours, size_t width);
void table_free(struct table *t);
const char *state_colour(struct str state);        /* an escape sequence, or "" */
void clean_text(struct buf *out, struct str text); /* without what a terminal would obey */
void clean_json(struct buf *out, struct str json); /* the same JSON, with that written as \\u.... */
/* "2026-11-20T09:00:00.123Z" as "2026-11-20 09:00:00". */
struct str short_time(struct str rfc3339, char out[20]);
void short_age(struct buf *out, struct str rfc3339, int64_t now_ms); /* 12s, 5m, in 3h, 40d */
void short_ms(struct buf *out, double ms);       /* 0.4 ms, 312 ms, 12.5 s, 4.0 min */
void short_size(struct buf *out, int64_t bytes); /* 812 B, 7.7 KB, 12 MB */

/* cli_http.c: one request at a time, on the loop, as if it were blocking. */
struct answer {
    int status;
    bool enough; /* on_body ended the stream; the server may have done so as well */
    struct buf body;
    struct buf etag;
    struct buf link;
};
struct request {
    const char *method;
    const char *path;           /* "/v1/runs"; or a whole URL */
    const char *const *headers; /* NULL behind the last; may be NULL */
    struct str body;
    int64_t timeout_ms; /* 0: a minute */
    /* A stream: called for what comes; false: enough. Then no time limit, but silence is one. */
    bool (*on_body)(void *arg, struct str bytes);
    void *arg;
};
/* An exit code; what went wrong was told. Any status below 400 is fine. */
int cli_request(struct cli *c, const struct request *q, struct answer *a);
/* The same without a word: problem gets what is to be told. */
int cli_try(struct cli *c, const struct request *q, struct answer *a, struct buf *problem);
/* GET path as a tree; NULL with *code set. */
struct json *cli_get(struct cli *c, const char *path, int *code);
/* The rows of a list, over as many of its pages as limit takes (0: one page). */
typedef void (*page_fn)(void *arg, const struct json *row);
int cli_pages(struct cli *c, const char *path, size_t limit, page_fn fn, void *arg);
void answer_finish(struct answer *a);
void cli_sleep(int64_t ms); /* on the loop */
void cli_disconnect(void);  /* at the end */
/* Adds "?name=value" or "&name=value". */
void path_query(struct buf *path, const char *name, struct str value);
void path_segment(struct buf *path, struct str segment); /* "/SEGMENT", URL-encoded */
/* Lines of server-sent events out of pieces. */
struct sse {
    struct buf line;
    struct buf event;
    struct buf data;
    struct buf id; /* the last one seen */
};
/* fn gets each whole event; false: enough. */
typedef bool (*sse_fn)(void *arg, struct str event, struct str data);
bool sse_feed(struct sse *s, struct str bytes, sse_fn fn, void *arg);
void sse_finish(struct sse *s);
/* A stream that outlives its server: after a cut it goes on behind the last event. */
struct stream {
    struct cli *c;
    const char *path;
    sse_fn fn;
    void *arg;
    struct sse sse;
    bool opened; /* once: from then on a server that is away is waited for */
    bool alive;  /* something came since the last cut */
    bool said;   /* that we wait */
};
int stream_follow(struct stream *s); /* until fn has enough: EXIT_OK, or what went wrong, told */
void stream_finish(struct stream *s);

/* Output; a reader that went away ends the program quietly. */
void print(struct str text);
void print_line(struct str text);
void print_json(const struct json *j); /* pretty, with a line break */
void print_json_text(struct str json); /* as it is, with a line break */
void print_value(struct str text);     /* a line; byte by byte unless it goes to a terminal */
void print_table(const struct table *t);
/* --json, or --field, which takes one value out of it. */
bool cli_wants_json(const struct cli *c);
int cli_print(struct cli *c, const struct json *j);
/* "NAME       VALUE"; nothing for an empty value. */
void print_pair(const char *name, struct str value);
/* Behind an empty line, unless it has no rows. Frees it. */
void print_section(struct table *t);
/* --limit; false: it is no number, which was told. 0: not given. */
bool cli_limit(const struct cli *c, size_t *out);
/* base with what --state, --job, --since, --outcome say. */
char *list_path(const struct cli *c, const char *base);
/* A list of the server as a table, or with --json as it is, over as many pages as --limit asks for. */
int cli_list(struct cli *c, const char *path, const char *const *heads,
             void (*add)(struct table *t, const struct json *row));

/* "@FILE", "-" or the text itself. */
bool read_argument(const char *arg, struct buf *out, struct err *e) MUST_CHECK;

/* cli_run.c */
extern const char *const run_heads[];
void add_run(struct table *t, const struct json *run);
struct str run_error(const struct json *run);
struct str run_job(const struct json *run); /* "digest" of "job.digest" */
void print_run(const struct json *run);
char *path_of(const char *base, const char *id, const char *more);
/* cli_follow.c: until the run ends; then shows it. */
int run_wait(struct cli *c, const char *id);

/* The commands. */
int cli_check(struct cli *c);
int cli_status(struct cli *c);
int cli_completion(struct cli *c);
int cli_man(struct cli *c);
int cli_complete(int argc, char *const *argv); /* the words typed so far: what may follow */
int cli_send(struct cli *c);
int cli_kv_get(struct cli *c);
int cli_kv_put(struct cli *c);
int cli_kv_del(struct cli *c);
int cli_kv_list(struct cli *c);
int cli_kv_watch(struct cli *c);
int cli_jobs_list(struct cli *c);
int cli_jobs_show(struct cli *c);
int cli_jobs_logs(struct cli *c);
int cli_jobs_run(struct cli *c);
int cli_jobs_cancel(struct cli *c);
int cli_jobs_retry(struct cli *c);
int cli_pipelines_list(struct cli *c);
int cli_schedules_list(struct cli *c);
int cli_deliveries_list(struct cli *c);
int cli_deliveries_show(struct cli *c);
int cli_deliveries_replay(struct cli *c);
int cli_db_setup_sql(struct cli *c);
int cli_dlq_list(struct cli *c);
int cli_dlq_show(struct cli *c);
int cli_dlq_retry(struct cli *c);
int cli_dlq_purge(struct cli *c);
int cli_cron_next(struct cli *c);
int cli_analytics_success(struct cli *c);
int cli_analytics_duration(struct cli *c);
int cli_analytics_costs(struct cli *c);

#endif
