/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs and outputs can be large, and most notices want one field of them: it is picked by the scanner of the accept path, and a tree is built only
 * for what is no scalar. Whatever comes out of a payload is cut and, where a line is meant, made one line: a payload is somebody else's text. */
#include "work/notice.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "base/mem.h"

enum { PRETTY_MAX = 262144, ERROR_SHOWN = 2000, SUBJECT_ERROR = 100 };

bool notice_parse(struct notice_run *r, struct str value, struct err *e)
{
    *r = (struct notice_run){.ended = json_parse(value, e)};
    if (r->ended == NULL)
        return false;
    r->run = json_str(json_get(r->ended, "run"));
    r->pipeline = json_str(json_get(r->ended, "pipeline"));
    r->job = json_str(json_get(r->ended, "job"));
    r->state = json_str(json_get(r->ended, "state"));
    r->error = json_str(json_get(r->ended, "error"));
    r->output_key = json_str(json_get(r->ended, "output_key"));
    r->created_ms = json_int(json_get(r->ended, "created"), 0);
    r->started_ms = json_int(json_get(r->ended, "started"), 0);
    r->finished_ms = json_int(json_get(r->ended, "finished"), 0);
    r->missed = json_int(json_get(r->ended, "missed"), 0);
    if (r->missed == 0)
        r->missed = json_int(json_path(r->ended, "rec.missed"), 0);
    if (r->job.n == 0)
        r->job = r->pipeline;
    if (str_starts(r->job, "job.")) {
        r->job.p += 4;
        r->job.n -= 4;
    }
    if (r->run.n != 0)
        return true;
    notice_finish(r);
    return err_fail(e, ERR_BAD_INPUT, "the value names no run");
}

void notice_finish(struct notice_run *r)
{
    json_free(r->ended);
    r->ended = NULL;
}

bool notice_succeeded(const struct notice_run *r)
{
    return str_is(r->state, "succeeded");
}

/* Paths. */

static const char *const roots[] = {"run", "job", "state", "error", "input", "output"};

/* Which root; *rest is what follows its name. -1: no path. */
static int root_of(const char *text, const char **rest)
{
    if (text == NULL || text[0] != '.')
        return -1;
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        size_t n = strlen(roots[i]);
        if (strncmp(text + 1, roots[i], n) == 0 && memchr(".[", text[1 + n], 3) != NULL) {
            *rest = text + 1 + n;
            return (int)i;
        }
    }
    return -1;
}

bool notice_is_path(const char *text)
{
    const char *rest;
    return root_of(text, &rest) >= 0;
}

static struct str root_json(struct buf *made, const struct notice_run *r, int root)
{
    const struct str texts[] = {r->run, r->job, r->state, r->error};
    if (root >= 4)
        return root == 4 ? r->input : r->output;
    if (texts[root].n == 0)
        return (struct str){NULL, 0};
    buf_json_str(made, texts[root]);
    return buf_view(made);
}

/* .a.b[0] as a JSON pointer /a/b/0, and as the dotted path a.b.0. */
static void spell(const char *rest, struct buf *pointer, struct buf *dotted)
{
    buf_puts(pointer, "");
    buf_puts(dotted, "");
    for (const char *p = rest; *p != '\0'; p++) {
        if (*p == '.' || *p == '[') {
            buf_char(pointer, '/');
            if (p != rest)
                buf_char(dotted, '.');
        } else if (*p == '~' || *p == '/') {
            buf_puts(pointer, *p == '~' ? "~0" : "~1");
            buf_char(dotted, *p);
        } else if (*p != ']') {
            buf_char(pointer, *p);
            buf_char(dotted, *p);
        }
    }
}

/* What the path points at, as JSON, or false: nothing is there. */
static bool look_up(struct buf *out, struct str json, const char *rest)
{
    struct buf pointer = {0};
    struct buf dotted = {0};
    spell(rest, &pointer, &dotted);
    struct json *tree = json_parse(json, NULL);
    struct json *at = dotted.n == 0 ? tree : json_path(tree, dotted.p);
    bool found = at != NULL && json_type_of(at) != J_NULL;
    if (found)
        json_dump(out, at, false);
    json_free(tree);
    buf_finish(&pointer);
    buf_finish(&dotted);
    return found;
}

/* A string or whole number at the path, as text; without a tree. */
static bool pick(struct buf *out, struct str json, const char *rest)
{
    struct buf pointer = {0};
    struct buf dotted = {0};
    spell(rest, &pointer, &dotted);
    struct jscan *scan = jscan_new();
    must(scan != NULL);
    struct str got = {NULL, 0};
    if (jscan_parse(scan, json, NULL))
        got = jscan_pick(scan, pointer.p);
    bool found = got.p != NULL;
    buf_str(out, got);
    jscan_free(scan);
    buf_finish(&pointer);
    buf_finish(&dotted);
    return found;
}

static bool nothing_at(const char *text, struct err *e)
{
    return err_fail(e, ERR_NOT_FOUND, "there is nothing at %s in this run", text);
}

bool notice_value(struct buf *out, const struct notice_run *r, const char *text, struct err *e)
{
    const char *rest;
    int root = root_of(text, &rest);
    if (root < 0) {
        buf_puts(out, text);
        return true;
    }
    struct buf made = {0};
    struct str json = root_json(&made, r, root);
    bool found = json.p != NULL && (pick(out, json, rest) || look_up(out, json, rest));
    buf_finish(&made);
    return found || nothing_at(text, e);
}

bool notice_json(struct buf *out, const struct notice_run *r, const char *text, struct err *e)
{
    const char *rest;
    int root = root_of(text, &rest);
    if (root < 0) {
        buf_json_str(out, str_of(text));
        return true;
    }
    struct buf made = {0};
    struct str json = root_json(&made, r, root);
    bool found = json.p != NULL;
    if (found && *rest == '\0')
        buf_str(out, json);
    else
        found = found && look_up(out, json, rest);
    buf_finish(&made);
    return found || nothing_at(text, e);
}

/* Texts. */

static bool whole_string(struct buf *out, struct str output)
{
    struct str s = str_trim(output);
    return s.n != 0 && s.p[0] == '"' && pick(out, s, "");
}

/* The first of the members that say it in words. */
static bool said_in_words(struct buf *out, struct str output)
{
    static const char *const names[] = {"markdown", "text", "report", "summary", "message"};
    struct str raw[5];
    struct jscan *scan = jscan_new();
    bool found = false;
    must(scan != NULL);
    if (jscan_parse(scan, output, NULL) && jscan_is_object(scan)) {
        jscan_members(scan, output, 5, names, raw);
        for (size_t i = 0; i < 5 && !found; i++) {
            if (raw[i].n <= 2 || raw[i].p[0] != '"')
                continue;
            char pointer[16];
            snprintf(pointer, sizeof pointer, "/%s", names[i]);
            buf_str(out, jscan_pick(scan, pointer));
            found = true;
        }
    }
    jscan_free(scan);
    return found;
}

void notice_output_text(struct buf *out, struct str output)
{
    if (output.p == NULL) {
        buf_puts(out, "(no output)");
        return;
    }
    if (whole_string(out, output) || said_in_words(out, output))
        return;
    struct json *tree = output.n <= PRETTY_MAX ? json_parse(output, NULL) : NULL;
    if (tree != NULL)
        json_dump(out, tree, true);
    else
        buf_str(out, output);
    json_free(tree);
}

void notice_link(struct buf *out, const struct settings *set, struct str run)
{
    struct str base = str_of(set->public_url);
    if (base.n == 0) {
        buf_puts(out, set->tls_cert[0] != '\0' ? "https://" : "http://");
        base = str_of(set->listen);
    }
    while (base.n != 0 && base.p[base.n - 1] == '/')
        base.n--;
    buf_str(out, base);
    buf_puts(out, "/#/runs/");
    buf_url_encode(out, run);
}

static const char *end_in_words(struct str state)
{
    static const struct {
        const char *state, *words;
    } rows[] = {
        {"succeeded", "succeeded"},      {"dead", "failed"},
        {"timed_out", "took too long"},  {"budget_exceeded", "went over its budget"},
        {"skipped", "was skipped"},      {"cancelled", "was cancelled"},
        {"", "runs longer than wanted"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (str_is(state, rows[i].state))
            return rows[i].words;
    }
    return "ended";
}

void notice_subject(struct buf *out, const struct notice_run *r)
{
    buf_str(out, r->job);
    buf_printf(out, " %s", end_in_words(r->state));
    if (r->error.n != 0 && !notice_succeeded(r)) {
        buf_puts(out, ": ");
        notice_line(out, r->error, SUBJECT_ERROR);
    }
}

static void time_line(struct buf *out, const char *name, int64_t ms)
{
    if (ms <= 0)
        return;
    buf_puts(out, name);
    clock_rfc3339(out, ms * 1000);
    buf_char(out, '\n');
}

static void failure_text(struct buf *out, const struct notice_run *r, const struct settings *set)
{
    buf_printf(out, "%.*s %s", (int)r->job.n, r->job.p, end_in_words(r->state));
    if (r->attempts > 0)
        buf_printf(out, " after %lld %s", (long long)r->attempts,
                   r->attempts == 1 ? "attempt" : "attempts");
    buf_puts(out, ".\n\n");
    buf_printf(out, "Run:     %.*s\n", (int)r->run.n, r->run.p);
    if (r->step.n != 0)
        buf_printf(out, "Step:    %.*s\n", (int)r->step.n, r->step.p);
    if (r->error.n != 0) {
        buf_puts(out, "Error:   ");
        notice_line(out, r->error, ERROR_SHOWN);
        buf_char(out, '\n');
    }
    time_line(out, "Began:   ", r->created_ms);
    time_line(out, "Ended:   ", r->finished_ms);
    buf_printf(out, "\nLook at it:  hookmesh dlq show %.*s\n", (int)r->run.n, r->run.p);
    buf_printf(out, "Try again:   hookmesh dlq retry %.*s\n", (int)r->run.n, r->run.p);
    buf_puts(out, "Dashboard:   ");
    notice_link(out, set, r->run);
    buf_char(out, '\n');
}

void notice_text(struct buf *out, const struct notice_run *r, const struct settings *set)
{
    if (!notice_succeeded(r)) {
        failure_text(out, r, set);
        return;
    }
    struct buf text = {0};
    notice_output_text(&text, r->output);
    notice_cut(&text, (size_t)set->delivery_max);
    buf_str(out, str_trim(buf_view(&text)));
    buf_puts(out, "\n\n-- \n");
    buf_printf(out, "%.*s, run %.*s\n", (int)r->job.n, r->job.p, (int)r->run.n, r->run.p);
    notice_link(out, set, r->run);
    buf_char(out, '\n');
    buf_finish(&text);
}

void notice_data(struct buf *out, const struct notice_run *r, const struct settings *set,
                 size_t max)
{
    struct buf text = {0};
    buf_char(out, '{');
    buf_json_field(out, "run", r->run);
    buf_json_field(out, "job", r->job);
    buf_json_field(out, "pipeline", r->pipeline);
    buf_json_field(out, "state", r->state);
    if (r->error.n != 0)
        buf_json_field(out, "error", r->error);
    if (r->step.n != 0)
        buf_json_field(out, "step", r->step);
    if (r->attempts > 0)
        buf_json_field_int(out, "attempts", r->attempts);
    if (r->created_ms > 0) {
        clock_rfc3339(&text, r->created_ms * 1000);
        buf_json_field(out, "created", buf_view(&text));
    }
    if (r->finished_ms > 0) {
        buf_clear(&text);
        clock_rfc3339(&text, r->finished_ms * 1000);
        buf_json_field(out, "finished", buf_view(&text));
    }
    buf_clear(&text);
    notice_link(&text, set, r->run);
    buf_json_field(out, "url", buf_view(&text));
    if (r->output.p != NULL && r->output.n <= max)
        buf_json_field_raw(out, "output", r->output);
    else if (r->output.p != NULL)
        buf_json_field_int(out, "output_size", (int64_t)r->output.n);
    buf_char(out, '}');
    buf_finish(&text);
}

void notice_cut(struct buf *text, size_t max)
{
    if (text->n <= max)
        return;
    size_t all = text->n;
    size_t n = max;
    while (n != 0 && ((unsigned char)text->p[n] & 0xC0) == 0x80)
        n--;
    text->n = n;
    buf_printf(text, "\n... (%zu of %zu bytes)", n, all);
}

void notice_line(struct buf *out, struct str text, size_t max)
{
    size_t n = text.n;
    if (n > max) {
        n = max;
        while (n != 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
            n--;
    }
    bool space = true; /* none at the beginning, no two in a row for line breaks */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool control = c < 0x20 || c == 0x7f;
        if (control && space)
            continue;
        space = control;
        buf_char(out, control ? ' ' : text.p[i]);
    }
    if (n < text.n)
        buf_puts(out, "...");
}

void notice_id(struct buf *out, size_t n, const struct str *parts)
{
    static const char key[] = "hookmesh notice";
    unsigned char sum[CRYPTO_SHA256];
    struct buf text = {0};
    for (size_t i = 0; i < n; i++) {
        buf_str(&text, parts[i]);
        buf_char(&text, '\0');
    }
    struct str whole = buf_view(&text);
    crypto_hmac_once(STR(key), 1, &whole, sum);
    buf_hex(out, sum, 16);
    buf_finish(&text);
}
