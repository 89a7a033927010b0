/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: columns as wide as their widest cell, cut at the terminal's edge, coloured only on a
 * terminal and without NO_COLOR. What comes from outside (event names, error texts) is cleaned first: an escape sequence
 * in a webhook's payload must not reach the terminal of whoever lists it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli_parts.h"

struct table {
    const char *const *heads;
    size_t columns;
    char **cells;
    size_t n;
};

bool cli_colours(void)
{
    const char *no = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && (no == NULL || no[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

size_t cli_width(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}

struct table *table_new(const char *const *heads)
{
    struct table *t = mem_new(struct table);
    t->heads = heads;
    while (heads[t->columns] != NULL)
        t->columns++;
    return t;
}

void table_free(struct table *t)
{
    for (size_t i = 0; i < t->n; i++)
        mem_free(t->cells[i]);
    mem_free(t->cells);
    mem_free(t);
}

void clean_text(struct buf *out, struct str text)
{
    bool valid = str_utf8_valid(text);
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool c1 = valid && c == 0xC2 && (unsigned char)text.p[i + 1] < 0xA0;
        if (c == '\n' || c == '\t' || c == '\r')
            buf_char(out, ' ');
        else if (c < 0x20 || c == 0x7F || c1 || (!valid && c >= 0x80))
            buf_char(out, '?');
        else
            buf_char(out, text.p[i]);
        i += c1;
    }
}

void table_cell(struct table *t, struct str text)
{
    struct buf b = {0};
    buf_puts(&b, "");
    clean_text(&b, text);
    t->cells = mem_resize(t->cells, (t->n + 1) * sizeof *t->cells);
    t->cells[t->n++] = buf_take(&b);
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    table_cell(t, buf_view(&b));
    buf_finish(&b);
}

void table_cell_json(struct table *t, const struct json *j)
{
    switch (json_type_of(j)) {
    case J_STR: table_cell(t, json_str(j)); return;
    case J_INT: table_cellf(t, "%lld", (long long)json_int(j, 0)); return;
    case J_REAL: table_cellf(t, "%g", json_num(j, 0)); return;
    case J_BOOL: table_cell(t, json_bool(j, false) ? STR("yes") : STR("no")); return;
    case J_NONE:
    case J_NULL:
    case J_ARR:
    case J_OBJ: table_cell(t, STR("")); return;
    }
}

size_t table_rows(const struct table *t)
{
    return t->n / t->columns;
}

/* Characters, not bytes: near enough to columns for names and times. */
static size_t length(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

const char *state_colour(struct str state)
{
    static const struct {
        const char *state;
        const char *colour;
    } rows[] = {
        {"succeeded", "\033[32m"}, {"accepted", "\033[32m"},
        {"running", "\033[36m"},   {"queued", "\033[36m"},
        {"waiting", "\033[33m"},   {"retrying", "\033[33m"},
        {"duplicate", "\033[33m"}, {"filtered", "\033[33m"},
        {"skipped", "\033[33m"},   {"dead", "\033[31m"},
        {"failed", "\033[31m"},    {"timed_out", "\033[31m"},
        {"rejected", "\033[31m"},  {"unrouted", "\033[31m"},
        {"cancelled", "\033[33m"}, {"budget_exceeded", "\033[31m"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (str_is(state, rows[i].state))
            return rows[i].colour;
    }
    return "";
}

/* A cell, cut to `room` characters, with its colour. Returns how many it took. */
static size_t add_cell(struct buf *out, const char *text, size_t room, const char *colour)
{
    size_t shown = 0;
    buf_puts(out, colour);
    for (const char *p = text; *p != '\0'; p++) {
        if (((unsigned char)*p & 0xC0) != 0x80 && ++shown > room) {
            shown = room;
            break;
        }
        buf_char(out, *p);
    }
    if (colour[0] != '\0')
        buf_puts(out, "\033[0m");
    return shown;
}

static void add_row(const struct table *t, struct buf *out, const char *const *cells,
                    const size_t *widths, const char *colour, bool colours, size_t width)
{
    size_t room = width == 0 ? SIZE_MAX : width;
    for (size_t i = 0; i < t->columns && room != 0; i++) {
        const char *own = colour;
        if (colours && own[0] == '\0')
            own = state_colour(str_of(cells[i]));
        size_t shown = add_cell(out, cells[i], room, own);
        room -= shown;
        if (i + 1 == t->columns)
            break;
        for (size_t pad = widths[i] - length(cells[i]) + 2; pad != 0 && room != 0; pad--, room--)
            buf_char(out, ' ');
    }
    while (out->n != 0 && out->p[out->n - 1] == ' ')
        out->n--;
    buf_char(out, '\n');
}

void table_render(const struct table *t, struct buf *out, bool colours, size_t width)
{
    must(t->columns != 0);
    size_t *widths = mem_zero(t->columns, sizeof *widths);
    for (size_t i = 0; i < t->columns; i++)
        widths[i] = length(t->heads[i]);
    for (size_t i = 0; i < t->n; i++) {
        if (length(t->cells[i]) > widths[i % t->columns])
            widths[i % t->columns] = length(t->cells[i]);
    }
    add_row(t, out, t->heads, widths, colours ? "\033[1m" : "", colours, width);
    const char *const *cells = (const char *const *)(const void *)t->cells;
    for (size_t i = 0; i + t->columns <= t->n; i += t->columns)
        add_row(t, out, cells + i, widths, "", colours, width);
    mem_free(widths);
}

struct str short_time(struct str rfc3339, char out[20])
{
    if (rfc3339.n < 19 || rfc3339.p[10] != 'T')
        return rfc3339;
    memcpy(out, rfc3339.p, 19);
    out[10] = ' ';
    out[19] = '\0';
    return (struct str){out, 19};
}

void short_size(struct buf *out, int64_t bytes)
{
    static const char *const units[] = {"KB", "MB", "GB", "TB"};
    if (bytes < 1000) {
        buf_printf(out, "%lld B", (long long)bytes);
        return;
    }
    double v = (double)bytes / 1000;
    size_t i = 0;
    while (v >= 999.5 && i + 1 < sizeof units / sizeof units[0]) {
        v /= 1000;
        i++;
    }
    buf_printf(out, v < 9.95 ? "%.1f %s" : "%.0f %s", v, units[i]);
}
