/* SPDX-License-Identifier: Apache-2.0 */
/* kv: keys of a server. A value is printed byte by byte as it is, so that it can be piped on; --json wraps it with
 * its version. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli_parts.h"

static char *key_path(const char *key)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/kv");
    path_segment(&path, str_of(key));
    return buf_take(&path);
}

/* "\"12\"" as "12". */
static struct str version_of(const struct answer *a)
{
    struct str tag = buf_view(&a->etag);
    if (tag.n >= 2 && tag.p[0] == '"')
        tag = (struct str){tag.p + 1, tag.n - 2};
    return tag.n != 0 ? tag : STR("0");
}

/* JSON goes in as it is, other text as a string, as the server's own listings have it. */
static void add_value(struct buf *out, struct str value)
{
    struct json *j = json_parse(value, NULL);
    if (j != NULL) {
        buf_json_field_raw(out, "value", value);
    } else if (str_utf8_valid(value)) {
        buf_json_field(out, "text", value);
    } else {
        buf_json_key(out, "base64");
        buf_char(out, '"');
        buf_base64(out, value.p, value.n);
        buf_char(out, '"');
    }
    json_free(j);
}

static int print_field(struct cli *c, struct str value)
{
    const char *path = c->flags[FLAG_FIELD];
    struct err e;
    struct json *root = json_parse(value, &e);
    const struct json *j = json_path(root, path);
    int code = EXIT_OK;
    if (root == NULL)
        code =
            cli_fail(c, EXIT_FAILED, "the value of %s has no fields: it is %s", c->args[0], e.text);
    else if (j == NULL)
        code = cli_fail(c, EXIT_FAILED, "the value of %s has no field %s", c->args[0], path);
    else if (json_type_of(j) == J_STR)
        print_value(json_str(j));
    else
        print_json(j);
    json_free(root);
    return code;
}

static void print_bytes(struct str value)
{
    print(value);
    if (isatty(STDOUT_FILENO) && (value.n == 0 || value.p[value.n - 1] != '\n'))
        print(STR("\n"));
}

static void print_versioned(const char *key, const struct answer *a)
{
    struct buf b = {0};
    buf_char(&b, '{');
    buf_json_field(&b, "key", str_of(key));
    buf_json_field_raw(&b, "version", version_of(a));
    add_value(&b, buf_view(&a->body));
    buf_char(&b, '}');
    print_json_text(buf_view(&b));
    buf_finish(&b);
}

static bool on_first_put(void *arg, struct str event, struct str data)
{
    (void)arg;
    (void)data;
    return !str_is(event, "put");
}

/* Until the key is there: a watch tells what there is, and then what comes. */
static int wait_for_key(struct cli *c)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/kv");
    path_query(&path, "match", str_of(c->args[0]));
    path_query(&path, "watch", STR("1"));
    struct stream s = {.c = c, .path = path.p, .fn = on_first_put};
    int code = stream_follow(&s);
    stream_finish(&s);
    buf_finish(&path);
    return code;
}

int cli_kv_get(struct cli *c)
{
    struct answer a = {0};
    char *path = key_path(c->args[0]);
    int code = c->flags[FLAG_WAIT] != NULL ? wait_for_key(c) : EXIT_OK;
    if (code == EXIT_OK)
        code = cli_request(c, &(struct request){.method = "GET", .path = path}, &a);
    if (code == EXIT_OK && c->flags[FLAG_FIELD] != NULL)
        code = print_field(c, buf_view(&a.body));
    else if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL)
        print_versioned(c->args[0], &a);
    else if (code == EXIT_OK)
        print_bytes(buf_view(&a.body));
    mem_free(path);
    answer_finish(&a);
    return code;
}

/* --if-version as a precondition; NULL: none. false: it is no number. */
static bool precondition(const struct cli *c, char **out)
{
    const char *text = c->flags[FLAG_IF_VERSION];
    uint64_t version;
    *out = NULL;
    if (text == NULL)
        return true;
    if (!str_u64(str_of(text), &version))
        return false;
    *out = version == 0 ? mem_strdup("If-None-Match: *") : mem_format("If-Match: \"%s\"", text);
    return true;
}

/* Sends a put or del and prints the version that came of it. */
static int change(struct cli *c, const char *method, struct str body)
{
    char *condition;
    if (!precondition(c, &condition))
        return cli_fail(c, EXIT_USAGE, "--if-version must be a number, not %s",
                        c->flags[FLAG_IF_VERSION]);
    const char *headers[] = {"Content-Type: application/octet-stream", condition, NULL};
    char *path = key_path(c->args[0]);
    struct answer a = {0};
    struct request q = {.method = method, .path = path, .headers = headers, .body = body};
    int code = cli_request(c, &q, &a);
    if (code == EXIT_OK && c->flags[FLAG_JSON] != NULL) {
        print_json_text(str_trim(buf_view(&a.body)));
    } else if (code == EXIT_OK) {
        struct buf line = {0};
        struct str version = version_of(&a);
        buf_printf(&line, "%s: %s version %.*s", c->args[0],
                   strcmp(method, "PUT") == 0 ? "written," : "deleted, it was", (int)version.n,
                   version.p);
        print_line(buf_view(&line));
        buf_finish(&line);
    }
    mem_free(path);
    mem_free(condition);
    answer_finish(&a);
    return code;
}

int cli_kv_put(struct cli *c)
{
    struct buf value = {0};
    struct err e;
    int code;
    if (read_argument(c->args[1], &value, &e))
        code = change(c, "PUT", buf_view(&value));
    else
        code = cli_fail(c, EXIT_FAILED, "%s", e.text);
    buf_finish(&value);
    return code;
}

int cli_kv_del(struct cli *c)
{
    return change(c, "DELETE", STR(""));
}

int cli_kv_list(struct cli *c)
{
    static const char *const heads[] = {"KEY", "VERSION", "SIZE", NULL};
    struct buf path = {0};
    int code;
    buf_puts(&path, "/v1/kv");
    path_query(&path, "match", str_of(c->arg_n != 0 ? c->args[0] : ">"));
    if (c->flags[FLAG_LIMIT] != NULL)
        path_query(&path, "limit", str_of(c->flags[FLAG_LIMIT]));
    struct json *list = cli_get(c, path.p, &code);
    buf_finish(&path);
    if (list != NULL && cli_wants_json(c)) {
        code = cli_print(c, list);
    } else if (list != NULL) {
        struct table *t = table_new(heads);
        for (size_t i = 0; i < json_size(list); i++) {
            const struct json *row = json_at(list, i);
            struct buf size = {0};
            short_size(&size, json_int(json_get(row, "size"), 0));
            table_cell_json(t, json_get(row, "key"));
            table_cell_json(t, json_get(row, "version"));
            table_cell(t, buf_view(&size));
            buf_finish(&size);
        }
        print_table(t);
        table_free(t);
    }
    json_free(list);
    return code;
}

/* Watching. */

struct watching {
    struct cli *c;
    struct sse sse;
};

static void watch_line(const struct json *j, struct str event)
{
    struct buf line = {0};
    bool deleted = json_bool(json_get(j, "deleted"), false) || str_is(event, "delete") ||
                   str_is(event, "deleted");
    clean_text(&line, json_str(json_get(j, "key")));
    if (deleted) {
        buf_puts(&line, "  deleted");
    } else {
        buf_printf(&line, "  %lld  ", (long long)json_int(json_get(j, "version"), 0));
        const struct json *value = json_get(j, "value");
        struct buf text = {0};
        if (value != NULL)
            json_dump(&text, value, false);
        else if (json_get(j, "text") != NULL)
            buf_str(&text, json_str(json_get(j, "text")));
        else
            buf_puts(&text, "(bytes)");
        clean_text(&line, buf_view(&text));
        buf_finish(&text);
    }
    print_line(buf_view(&line));
    buf_finish(&line);
}

static bool on_watch(void *arg, struct str event, struct str data)
{
    struct watching *w = arg;
    bool ready = str_is(event, "ready");
    if (w->c->flags[FLAG_JSON] != NULL) {
        struct buf line = {0};
        buf_char(&line, '{');
        buf_json_field(&line, "event", event.n != 0 ? event : STR("message"));
        if (data.n != 0)
            buf_json_field_raw(&line, "data", data);
        buf_char(&line, '}');
        print_json_text(buf_view(&line));
        buf_finish(&line);
        return true;
    }
    if (ready) {
        print_line(STR("-- that is all there is now; changes follow"));
        return true;
    }
    struct json *j = json_parse(data, NULL);
    if (j != NULL && json_get(j, "key") != NULL)
        watch_line(j, event);
    json_free(j);
    return true;
}

static bool on_watch_bytes(void *arg, struct str bytes)
{
    struct watching *w = arg;
    return sse_feed(&w->sse, bytes, on_watch, w);
}

int cli_kv_watch(struct cli *c)
{
    static const char *const headers[] = {"Accept: text/event-stream", NULL};
    struct watching w = {.c = c};
    struct buf path = {0};
    struct answer a = {0};
    buf_puts(&path, "/v1/kv");
    path_query(&path, "match", str_of(c->args[0]));
    path_query(&path, "watch", STR("1"));
    struct request q = {
        .method = "GET", .path = path.p, .headers = headers, .on_body = on_watch_bytes, .arg = &w};
    int code = cli_request(c, &q, &a);
    if (code == EXIT_OK)
        code = cli_fail(c, EXIT_UNREACHABLE, "the server ended the stream; call again");
    sse_finish(&w.sse);
    buf_finish(&path);
    answer_finish(&a);
    return code;
}
