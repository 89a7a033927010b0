/* SPDX-License-Identifier: Apache-2.0 */
/* Values travel as the bytes they came as: they are validated (simdjson) and copied, never parsed into a tree and dumped again. What is
 * left of a JSON text when the line breaks are dropped is the same JSON, because a string cannot hold one. */
#include "work/value.h"

#include <string.h>

#include "base/json.h"
#include "work/lines.h"
#include "work/runner.h"
#include "work/token.h"

enum { SHOWN = 200 };

static struct jscan *scan; /* one for all: there is one thread */

static struct jscan *scanner(void)
{
    if (scan == NULL)
        must((scan = jscan_new()) != NULL);
    return scan;
}

void value_finish(void)
{
    if (scan != NULL)
        jscan_free(scan);
    scan = NULL;
}

static void add(struct buf *out, struct str json, bool one_line)
{
    if (!one_line ||
        (memchr(json.p, '\n', json.n) == NULL && memchr(json.p, '\r', json.n) == NULL)) {
        buf_str(out, json);
        return;
    }
    buf_reserve(out, json.n);
    for (size_t i = 0; i < json.n; i++) {
        if (json.p[i] != '\n' && json.p[i] != '\r')
            buf_char(out, json.p[i]);
    }
}

static bool check(struct str json, struct str key, struct err *e)
{
    struct err why;
    if (jscan_parse(scanner(), json, &why))
        return true;
    return err_fail(e, ERR_BAD_INPUT, "the value of %.*s is %s", (int)(key.n < 200 ? key.n : 200),
                    key.p, json.n == 0 ? "empty" : why.text); /* "not valid JSON: ..." */
}

/* A further value, or null. */
static bool add_also(struct buf *out, const struct claim *c, size_t i, bool one_line, struct err *e)
{
    if (c->also[i].p == NULL) {
        buf_puts(out, "null");
        return true;
    }
    const char *key = c->stage->also[i];
    if (!check(c->also[i], str_of(key[0] == '?' ? key + 1 : key), e))
        return false;
    add(out, c->also[i], one_line);
    return true;
}

static bool add_named(struct buf *out, const struct claim *c, bool one_line, struct err *e)
{
    char *const *names = c->stage->input_names;
    buf_char(out, '{');
    for (size_t i = 0; names[i] != NULL; i++) {
        buf_json_key(out, names[i]);
        if (i == 0)
            add(out, c->value, one_line);
        else if (i > c->also_n)
            buf_puts(out, "null");
        else if (!add_also(out, c, i - 1, one_line, e))
            return false;
    }
    buf_char(out, '}');
    return true;
}

static bool add_plain(struct buf *out, const struct claim *c, bool one_line, struct err *e)
{
    if (c->also_n == 0) {
        add(out, c->value, one_line);
        return true;
    }
    buf_puts(out, "{\"value\":");
    add(out, c->value, one_line);
    buf_puts(out, ",\"also\":[");
    for (size_t i = 0; i < c->also_n; i++) {
        if (i != 0)
            buf_char(out, ',');
        if (!add_also(out, c, i, one_line, e))
            return false;
    }
    buf_puts(out, "]}");
    return true;
}

static bool add_input(struct buf *out, const struct claim *c, bool one_line, struct err *e)
{
    return c->stage->input_names != NULL ? add_named(out, c, one_line, e)
                                         : add_plain(out, c, one_line, e);
}

/* A command that is started for one value has these in its environment. */
static void add_token(struct buf *out, const struct claim *c)
{
    const struct work *w = &c->stage->work;
    struct buf url = {0};
    struct buf token = {0};
    if (w->triggers && (w->kind != WORK_COMMAND || w->keep) &&
        token_for_work(&url, &token, c->run, w->agent, value_work_ms(c->stage))) {
        buf_json_key(out, "hookmesh");
        buf_char(out, '{');
        buf_json_field(out, "url", buf_view(&url));
        buf_json_field(out, "token", buf_view(&token));
        buf_char(out, '}');
    }
    buf_finish(&url);
    buf_finish(&token);
}

bool value_is_wrapped(const struct stage *s)
{
    return s->work.agent != NULL || s->input_names != NULL;
}

bool value_input(struct buf *out, const struct claim *c, bool one_line, struct err *e)
{
    if (!check(c->value, c->key, e))
        return false;
    const struct work *w = &c->stage->work;
    if (w->agent == NULL)
        return add_input(out, c, one_line, e);
    const struct agent *a = config_agent(runner_config(), str_of(w->agent));
    buf_char(out, '{');
    buf_json_field(out, "agent", str_of(w->agent));
    if (w->task != NULL)
        buf_json_field(out, "task", str_of(w->task));
    else
        buf_json_field_raw(out, "task", STR("null"));
    buf_json_key(out, "input");
    if (!add_input(out, c, one_line, e))
        return false;
    buf_json_field(out, "run", c->run);
    if (a != NULL && a->system_prompt != NULL)
        buf_json_field(out, "system_prompt", str_of(a->system_prompt));
    add_token(out, c);
    buf_char(out, '}');
    return true;
}

bool value_output(struct str *output, const struct stage *s, const char *who, struct err *e)
{
    *output = str_trim(*output);
    if (output->n == 0) {
        if (s->write == NULL)
            return true;
        return err_fail(e, ERR_WORK, "%s gave no output; it must be one JSON value", who);
    }
    struct err why;
    if (jscan_parse(scanner(), *output, &why))
        return true;
    struct buf shown = {0};
    lines_printable(&shown, *output, SHOWN);
    err_fail(e, ERR_WORK, "the output of %s is %s; it begins: %s", who, why.text, shown.p);
    buf_finish(&shown);
    return false;
}

struct str value_error(struct str output)
{
    /* Only a short look for the usual line that is no error; {"error" may follow white space. */
    if (output.n < sizeof "{\"error\":\"\"}" - 1 || output.p[0] != '{' ||
        memmem(output.p, output.n < 32 ? output.n : 32, "\"error\"", 7) == NULL)
        return (struct str){NULL, 0};
    struct json *j = json_parse(output, NULL);
    static struct buf text;
    buf_clear(&text);
    const struct json *member = json_get(j, "error");
    bool is_error = json_size(j) == 1 && json_type_of(member) == J_STR;
    if (is_error)
        lines_printable(&text, json_str(member), 400);
    json_free(j);
    return is_error ? (text.n != 0 ? buf_view(&text) : STR("no reason given"))
                    : (struct str){NULL, 0};
}

int64_t value_timeout_ms(const struct stage *s)
{
    return s->timeout_ms > 0 ? s->timeout_ms : runner_settings()->step_timeout;
}

int64_t value_work_ms(const struct stage *s)
{
    return value_timeout_ms(s) + runner_settings()->kill_grace;
}
