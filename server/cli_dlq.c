/* SPDX-License-Identifier: Apache-2.0 */
/* dlq: what failed after its last attempt, looked at, tried again or dropped. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

static void add_letter(struct table *t, const struct json *l)
{
    table_cell_json(t, json_get(l, "run"));
    table_cell_json(t, json_get(l, "stage"));
    table_cell_json(t, json_get(l, "attempts"));
    table_cell_age(t, json_get(l, "at"));
    table_cell_json(t, json_get(l, "error"));
}

int cli_dlq_list(struct cli *c)
{
    static const char *const heads[] = {"RUN", "STAGE", "ATTEMPTS", "AGE", "ERROR", NULL};
    char *path = list_path(c, "/v1/dlq");
    int code = cli_list(c, path, heads, add_letter);
    mem_free(path);
    return code;
}

/* The letter with the value that failed; what the run did before is shown by jobs show. */
static void print_letter(const struct json *l)
{
    char text[20];
    struct buf number = {0};
    struct buf input = {0};
    struct buf next = {0};
    struct str run = json_str(json_get(l, "run"));
    buf_printf(&number, "%lld", (long long)json_int(json_get(l, "attempts"), 1));
    if (json_get(l, "input") != NULL)
        json_dump(&input, json_get(l, "input"), false);
    buf_printf(&next, "hookmesh dlq retry %.*s", (int)run.n, run.p);
    print_pair("run", run);
    print_pair("job", run_job(l));
    print_pair("stage", json_str(json_get(l, "stage")));
    print_pair("state", json_str(json_get(l, "state")));
    print_pair("attempts", buf_view(&number));
    print_pair("at", short_time(json_str(json_get(l, "at")), text));
    print_pair("error", json_str(json_get(l, "error")));
    print_pair("key", json_str(json_get(l, "key")));
    print_pair("input", buf_view(&input));
    print_pair("next", buf_view(&next));
    buf_finish(&number);
    buf_finish(&input);
    buf_finish(&next);
}

static void print_letters(const struct json *l)
{
    const struct json *others = json_get(l, "others");
    print_letter(l);
    for (size_t i = 0; i < json_size(others); i++) {
        print(STR("\n"));
        print_letter(json_at(others, i));
    }
}

int cli_dlq_show(struct cli *c)
{
    int code;
    char *path = path_of("/v1/dlq", c->args[0], "");
    struct json *l = cli_get(c, path, &code);
    mem_free(path);
    if (l != NULL && cli_wants_json(c))
        code = cli_print(c, l);
    else if (l != NULL)
        print_letters(l);
    json_free(l);
    return code;
}

/* Does something with the queue or one of it and prints how many it was. */
static int change(struct cli *c, const char *method, const char *path, const char *field,
                  const char *text)
{
    struct answer a = {0};
    int code = cli_request(c, &(struct request){.method = method, .path = path}, &a);
    struct json *j = json_parse(buf_view(&a.body), NULL);
    if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL) {
        print_json_text(str_trim(buf_view(&a.body)));
    } else if (code == EXIT_OK) {
        struct buf line = {0};
        buf_printf(&line, "%s: %lld", text, (long long)json_int(json_get(j, field), 1));
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
    if (!all && c->flags[FLAG_JOB] != NULL)
        return cli_fail(c, EXIT_USAGE, "--job goes with --all");
    if (!all)
        return cli_jobs_retry(c);
    if (c->flags[FLAG_FROM_START] != NULL || c->flags[FLAG_WAIT] != NULL)
        return cli_fail(c, EXIT_USAGE, "--from-start and --wait go with one run");
    char *path = list_path(c, "/v1/dlq/retry");
    int code = change(c, "POST", path, "retried", "tried again");
    mem_free(path);
    return code;
}

int cli_dlq_purge(struct cli *c)
{
    if (c->arg_n != 0 && c->flags[FLAG_JOB] != NULL)
        return cli_fail(c, EXIT_USAGE, "name one run, or say --job");
    char *path = c->arg_n != 0 ? path_of("/v1/dlq", c->args[0], "") : list_path(c, "/v1/dlq");
    int code = change(c, "DELETE", path, "purged", "dropped");
    mem_free(path);
    return code;
}
