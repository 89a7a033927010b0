/* SPDX-License-Identifier: Apache-2.0 */
/* A small language on purpose: what an alert asks is a word, or one comparison, so that the error can name what is possible, and judging a run costs
 * nothing. Filters in jq were the other way; they run in a child process and may fail, and an alert must not. */
#include "config/alert.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

#define SPELLINGS                                                                                  \
    "write job_failed, duration > 5m, output.items == 0, missing RESULT, or missed_tick"

enum { CONDITION_MAX = 500 };

/* Longer ones first: >= is not > with a strange value behind it. */
static const char *const operators[] = {"==", "!=", "<=", ">=", "<", ">"};

static size_t word_length(struct str s)
{
    size_t n = 0;
    while (n < s.n && (isalnum((unsigned char)s.p[n]) || s.p[n] == '_'))
        n++;
    return n;
}

static struct str cut(struct str s, size_t n)
{
    return str_trim((struct str){s.p + n, s.n - n});
}

/* Takes an operator off the front. */
static const char *take_operator(struct str *s)
{
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (str_starts(*s, operators[i])) {
            *s = cut(*s, strlen(operators[i]));
            return operators[i];
        }
    }
    return NULL;
}

static bool parse_duration(struct str rest, struct alert *out, struct err *e)
{
    const char *op = take_operator(&rest);
    if (op == NULL || op[0] != '>')
        return err_fail(e, ERR_CONFIG, "a duration can only be too long: write duration > 5m");
    if (!clock_parse_duration(rest, &out->over_ms) || out->over_ms <= 0)
        return err_fail(e, ERR_CONFIG, "\"%.*s\" is no duration; write one with its unit: 5m, 300s",
                        (int)rest.n, rest.p);
    out->kind = ALERT_DURATION;
    return true;
}

/* How long is the path .a.b-c.0 at the front of s? 0 and *wrong: it is malformed. */
static size_t path_length(struct str s, bool *wrong)
{
    size_t i = 0;
    while (i < s.n && s.p[i] == '.') {
        size_t from = ++i;
        while (i < s.n && (isalnum((unsigned char)s.p[i]) || s.p[i] == '_' || s.p[i] == '-' ||
                           (s.p[i] & 0x80) != 0))
            i++;
        if (i == from)
            *wrong = true;
    }
    return *wrong ? 0 : i;
}

static bool parse_path(struct str *rest, struct alert *out, struct err *e)
{
    bool wrong = false;
    size_t n = path_length(*rest, &wrong);
    if (wrong)
        return err_fail(e, ERR_CONFIG,
                        "a path looks like output.report.items, with an item of a "
                        "list as its number: output.reports.0.title");
    out->path = mem_dup(rest->p, n);
    *rest = cut(*rest, n);
    return true;
}

static bool parse_value(const char *op, struct str text, struct alert *out, struct err *e)
{
    struct json *j = json_parse(text, NULL);
    enum json_type type = json_type_of(j);
    json_free(j);
    if (type == J_NONE)
        return err_fail(e, ERR_CONFIG,
                        "\"%.*s\" is no JSON value; a text stands in quotes: output.status == "
                        "\"failed\"",
                        (int)(text.n < 80 ? text.n : 80), text.p);
    bool equality = op[1] == '=' && (op[0] == '=' || op[0] == '!');
    if (!equality && type != J_INT && type != J_REAL)
        return err_fail(e, ERR_CONFIG, "%s compares numbers, and \"%.*s\" is none", op,
                        (int)(text.n < 80 ? text.n : 80), text.p);
    out->kind = ALERT_OUTPUT;
    out->op = mem_strdup(op);
    out->value = mem_dup(text.p, text.n);
    return true;
}

static bool parse_output(struct str rest, struct alert *out, struct err *e)
{
    if (!parse_path(&rest, out, e))
        return false;
    const char *op = take_operator(&rest);
    if (op == NULL)
        return err_fail(e, ERR_CONFIG,
                        "behind output%s stands one of == != < <= > >= and a JSON value: "
                        "output.items == 0",
                        out->path);
    return parse_value(op, rest, out, e);
}

/* Behind "missing": RESULT, result, output, with a path or not. */
static bool parse_missing(struct str rest, struct alert *out, struct err *e)
{
    size_t n = word_length(rest);
    struct str what = {rest.p, n};
    if (!str_is_icase(what, "result") && !str_is(what, "output"))
        return err_fail(e, ERR_CONFIG,
                        "what is missing? Write missing RESULT, or missing "
                        "output.path for a part of it");
    rest = (struct str){rest.p + n, rest.n - n};
    if (!parse_path(&rest, out, e))
        return false;
    if (rest.n != 0)
        return err_fail(e, ERR_CONFIG,
                        "\"%.*s\" behind the path makes no sense; write missing "
                        "RESULT or missing output.path",
                        (int)(rest.n < 80 ? rest.n : 80), rest.p);
    out->kind = ALERT_RESULT;
    return true;
}

static bool is_one_of(struct str s, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (str_is_icase(s, *names))
            return true;
    }
    return false;
}

static bool parse(struct str s, struct alert *out, struct err *e)
{
    static const char *const failed[] = {"job_failed", "job failed", NULL};
    static const char *const missed[] = {"missed_tick", "missed tick", "tick_missed", NULL};
    static const char *const result[] = {"missing_result", "result_missing", "result missing",
                                         "no_result", NULL};
    if (is_one_of(s, failed)) {
        out->kind = ALERT_FAILED;
        return true;
    }
    if (is_one_of(s, missed)) {
        out->kind = ALERT_MISSED;
        return true;
    }
    if (is_one_of(s, result)) {
        out->kind = ALERT_RESULT;
        out->path = mem_strdup("");
        return true;
    }
    size_t n = word_length(s);
    struct str word = {s.p, n};
    if (str_is(word, "duration"))
        return parse_duration(cut(s, n), out, e);
    if (str_is(word, "output"))
        return parse_output((struct str){s.p + n, s.n - n}, out, e);
    if (str_is(word, "missing"))
        return parse_missing(cut(s, n), out, e);
    return err_fail(e, ERR_CONFIG, "\"%.*s\" is no condition; " SPELLINGS,
                    (int)(s.n < 80 ? s.n : 80), s.p);
}

bool alert_parse(struct str text, struct alert *out, struct err *e)
{
    struct str s = str_trim(text);
    if (s.n == 0)
        return err_fail(e, ERR_CONFIG, "the condition is empty; " SPELLINGS);
    if (s.n > CONDITION_MAX || memchr(s.p, '\0', s.n) != NULL || !str_utf8_valid(s))
        return err_fail(e, ERR_CONFIG, "the condition is no text of at most %d bytes; " SPELLINGS,
                        CONDITION_MAX);
    struct alert got = {0};
    if (!parse(s, &got, e)) {
        alert_finish(&got);
        return false;
    }
    out->kind = got.kind;
    out->condition = mem_dup(s.p, s.n);
    out->over_ms = got.over_ms;
    out->path = got.path;
    out->op = got.op;
    out->value = got.value;
    return true;
}

unsigned alert_after(enum alert_kind kind)
{
    switch (kind) {
    case ALERT_FAILED: return AFTER_SUCCESS | AFTER_FAILURE;
    case ALERT_DURATION: return AFTER_SUCCESS | AFTER_FAILURE | AFTER_OPEN;
    case ALERT_OUTPUT: return AFTER_SUCCESS;
    case ALERT_RESULT: return AFTER_SUCCESS | AFTER_FAILURE;
    case ALERT_MISSED: return AFTER_SUCCESS | AFTER_FAILURE | AFTER_SKIP;
    }
    return 0;
}

void alert_finish(struct alert *a)
{
    mem_free(a->condition);
    mem_free(a->path);
    mem_free(a->op);
    mem_free(a->value);
    a->condition = a->path = a->op = a->value = NULL;
}
