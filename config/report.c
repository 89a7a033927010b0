/* SPDX-License-Identifier: Apache-2.0 */
/* Someone who mends a configuration wants all that is wrong at once and in reading order, not in the
 * order in which our checks happen to run; so entries are collected and sorted at the end (stably: two
 * errors of one place stay as they were found). A source line may be long or hold tabs: it is cut around the column, and the
 * caret's padding repeats the tabs, otherwise the caret points elsewhere. */
#include "config/report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { ENTRIES_MAX = 1000, SHOWN_BEFORE = 60, SHOWN_MAX = 120 };

struct entry {
    bool error;
    struct place at;
    char *where; /* a copy of at.where */
    char *text;
    size_t found; /* order of finding */
};

struct report {
    struct entry *entries;
    size_t n;
    size_t errors;
    size_t dropped;
};

struct report *report_new(void)
{
    return mem_new(struct report);
}

void report_free(struct report *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++) {
        mem_free(r->entries[i].where);
        mem_free(r->entries[i].text);
    }
    mem_free(r->entries);
    mem_free(r);
}

__attribute__((format(printf, 4, 0))) static void add(struct report *r, bool error, struct place at,
                                                      const char *fmt, va_list ap)
{
    r->errors += error;
    if (r->n == ENTRIES_MAX) {
        r->dropped++;
        return;
    }
    struct buf text = {0};
    buf_vprintf(&text, fmt, ap);
    r->entries = mem_resize(r->entries, (r->n + 1) * sizeof *r->entries);
    r->entries[r->n] = (struct entry){.error = error,
                                      .at = at,
                                      .where = mem_strdup(at.where),
                                      .text = buf_take(&text),
                                      .found = r->n};
    r->n++;
}

void report_error(struct report *r, struct place at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, true, at, fmt, ap);
    va_end(ap);
}

void report_warning(struct report *r, struct place at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add(r, false, at, fmt, ap);
    va_end(ap);
}

size_t report_errors(const struct report *r)
{
    return r->errors;
}

static int compare_sizes(size_t a, size_t b)
{
    return a < b ? -1 : a > b;
}

static int compare(const void *pa, const void *pb)
{
    const struct entry *a = pa;
    const struct entry *b = pb;
    if ((a->at.source == NULL) != (b->at.source == NULL))
        return a->at.source == NULL ? -1 : 1;
    int order = 0;
    if (a->at.source != NULL) {
        order = compare_sizes(a->at.source->order, b->at.source->order);
        if (order == 0)
            order = compare_sizes((size_t)a->at.line, (size_t)b->at.line);
        if (order == 0)
            order = compare_sizes((size_t)a->at.column, (size_t)b->at.column);
    }
    return order != 0 ? order : compare_sizes(a->found, b->found);
}

static struct str line_of(const struct source *s, int line)
{
    struct str rest = buf_view(&s->text);
    struct str at = {NULL, 0};
    while (line-- > 0 && rest.p != NULL)
        at = str_split(&rest, '\n');
    while (at.n != 0 && at.p[at.n - 1] == '\r')
        at.n--;
    return at;
}

static bool is_inner_byte(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

static void add_clean(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        buf_char(out, (c < 0x20 && c != '\t') || c == 0x7F ? '?' : text.p[i]);
    }
}

/* The source line, cut around the column, and a caret below. */
static void add_excerpt(struct buf *out, const struct place *at)
{
    struct str line = line_of(at->source, at->line);
    if (line.n == 0 || !str_utf8_valid(line))
        return;
    size_t caret = 0;
    for (int column = 1; column < at->column && caret < line.n; column++) {
        caret++;
        while (caret < line.n && is_inner_byte(line.p[caret]))
            caret++;
    }
    size_t from = caret > SHOWN_BEFORE ? caret - SHOWN_BEFORE : 0;
    while (from < caret && is_inner_byte(line.p[from]))
        from++;
    size_t to = line.n - from > SHOWN_MAX ? from + SHOWN_MAX : line.n;
    while (to < line.n && is_inner_byte(line.p[to]))
        to++;
    buf_puts(out, "    ");
    add_clean(out, (struct str){line.p + from, to - from});
    buf_puts(out, "\n    ");
    for (size_t i = from; i < caret; i++) {
        if (!is_inner_byte(line.p[i]))
            buf_char(out, line.p[i] == '\t' ? '\t' : ' ');
    }
    buf_puts(out, "^\n");
}

static void add_head(struct buf *out, const struct entry *e)
{
    if (e->at.source != NULL && e->at.line > 0)
        buf_printf(out, "%s:%d:%d: ", e->at.source->name, e->at.line, e->at.column);
    else if (e->at.source != NULL)
        buf_printf(out, "%s: ", e->at.source->name);
    else if (e->where != NULL)
        buf_printf(out, "%s: ", e->where);
    buf_puts(out, e->text);
}

void report_render(struct report *r, struct buf *out)
{
    size_t from = out->n;
    if (r->n != 0)
        qsort(r->entries, r->n, sizeof *r->entries, compare);
    for (size_t i = 0; i < r->n; i++) {
        const struct entry *e = &r->entries[i];
        if (!e->error)
            continue;
        add_head(out, e);
        buf_char(out, '\n');
        if (e->at.source != NULL && e->at.line > 0)
            add_excerpt(out, &e->at);
    }
    if (r->dropped != 0)
        buf_printf(out, "... and %zu more\n", r->dropped);
    log_redact(out, from);
}

char **report_take_warnings(struct report *r)
{
    if (r->n != 0)
        qsort(r->entries, r->n, sizeof *r->entries, compare);
    char **lines = mem_zero(r->n + 1, sizeof *lines);
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (r->entries[i].error)
            continue;
        struct buf line = {0};
        add_head(&line, &r->entries[i]);
        log_redact(&line, 0);
        lines[n++] = buf_take(&line);
    }
    return lines;
}
