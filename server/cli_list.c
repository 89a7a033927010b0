/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of the server: read page by page as far as --limit goes, then shown as one table, or with --json as they came. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

bool cli_wants_json(const struct cli *c)
{
    return c->flags[FLAG_JSON] != NULL || c->flags[FLAG_FIELD] != NULL;
}

int cli_print(struct cli *c, const struct json *j)
{
    const char *path = c->flags[FLAG_FIELD];
    const struct json *field = path != NULL ? json_path(j, path) : j;
    if (field == NULL)
        return cli_fail(c, EXIT_FAILED, "there is no %.80s in what came; --json shows it", path);
    if (path != NULL && json_type_of(field) == J_STR)
        print_value(json_str(field));
    else
        print_json(field);
    return EXIT_OK;
}

void print_pair(const char *name, struct str value)
{
    struct buf b = {0};
    if (value.n == 0)
        return;
    buf_printf(&b, "%-10s ", name);
    clean_text(&b, value);
    print_line(buf_view(&b));
    buf_finish(&b);
}

void print_section(struct table *t)
{
    if (table_rows(t) != 0) {
        print(STR("\n"));
        print_table(t);
    }
    table_free(t);
}

char *list_path(const struct cli *c, const char *base)
{
    static const struct {
        enum flag_id flag;
        const char *name;
    } rows[] = {
        {FLAG_STATE, "state"}, {FLAG_JOB, "job"}, {FLAG_SINCE, "since"}, {FLAG_OUTCOME, "outcome"}};
    struct buf path = {0};
    buf_puts(&path, base);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (c->flags[rows[i].flag] != NULL)
            path_query(&path, rows[i].name, str_of(c->flags[rows[i].flag]));
    }
    return buf_take(&path);
}

bool cli_limit(const struct cli *c, size_t *out)
{
    uint64_t n = 0;
    const char *text = c->flags[FLAG_LIMIT];
    if (text != NULL && (!str_u64(str_of(text), &n) || n == 0 || n > SIZE_MAX / 2)) {
        cli_fail(c, EXIT_USAGE, "--limit must be a number from 1 on, not %.40s", text);
        return false;
    }
    *out = n;
    return true;
}

struct rows {
    struct table *table; /* NULL: JSON */
    void (*add)(struct table *t, const struct json *row);
    struct buf json;
};

static void on_row(void *arg, const struct json *row)
{
    struct rows *r = arg;
    if (r->table != NULL) {
        r->add(r->table, row);
        return;
    }
    if (r->json.n > 1)
        buf_char(&r->json, ',');
    json_dump(&r->json, row, false);
}

static int print_rows(struct cli *c, struct rows *r)
{
    buf_char(&r->json, ']');
    struct json *j = json_parse(buf_view(&r->json), NULL);
    int code = cli_print(c, j);
    json_free(j);
    return code;
}

int cli_list(struct cli *c, const char *path, const char *const *heads,
             void (*add)(struct table *t, const struct json *row))
{
    size_t limit;
    struct rows r = {.add = add};
    if (!cli_limit(c, &limit))
        return EXIT_USAGE;
    if (!cli_wants_json(c))
        r.table = table_new(heads);
    buf_char(&r.json, '[');
    int code = cli_pages(c, path, limit, on_row, &r);
    if (code == EXIT_OK && r.table != NULL)
        print_table(r.table);
    else if (code == EXIT_OK)
        code = print_rows(c, &r);
    if (r.table != NULL)
        table_free(r.table);
    buf_finish(&r.json);
    return code;
}
