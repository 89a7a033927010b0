/* SPDX-License-Identifier: Apache-2.0 */
/* Tables for people: columns as wide as their widest cell. On a terminal that is too narrow the columns behind the first give
 * way, the widest first; the first, what one copies into the next command, is never cut. Coloured only on a terminal and
 * without NO_COLOR, unless --color says otherwise. What comes from outside (event names, error texts) is cleaned first: an
 * escape sequence in a webhook's payload must not reach the terminal of whoever lists it, nor one that turns the order of letters round. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli_parts.h"
#include "handlers/query.h"

struct table {
    const char *const *heads;
    size_t columns;
    char **cells;
    size_t n;
};

static enum { COLOUR_AUTO, COLOUR_ALWAYS, COLOUR_NEVER } colour;

bool cli_colour(const char *when)
{
    static const char *const names[] = {"auto", "always", "never"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(when, names[i]) == 0) {
            colour = i;
            return true;
        }
    }
    return false;
}

bool cli_colours(void)
{
    if (colour != COLOUR_AUTO)
        return colour == COLOUR_ALWAYS;
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

/* One character of valid UTF-8; *n: its bytes. */
static uint32_t character(const char *s, size_t *n)
{
    const unsigned char *p = (const unsigned char *)s;
    *n = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t c = *n == 1 ? p[0] : p[0] & (0x7FU >> *n);
    for (size_t i = 1; i < *n; i++)
        c = c << 6 | (p[i] & 0x3FU);
    return c;
}

struct range {
    uint32_t from, to;
};

static bool is_in(uint32_t c, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (c >= r[i].from && c <= r[i].to)
            return true;
    }
    return false;
}

/* What a terminal obeys, C0 and C1, and what turns or hides the text around it. */
static bool is_control(uint32_t c)
{
    static const struct range r[] = {
        {0, 0x1F},        {0x7F, 0x9F},     {0x61C, 0x61C},   {0x200B, 0x200B}, {0x200E, 0x200F},
        {0x2028, 0x202E}, {0x2060, 0x206F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE007F}};
    return is_in(c, r, sizeof r / sizeof r[0]);
}

void clean_text(struct buf *out, struct str text)
{
    bool valid = str_utf8_valid(text);
    for (size_t i = 0, n = 1; i < text.n; i += n) {
        unsigned char byte = (unsigned char)text.p[i];
        uint32_t c = valid ? character(text.p + i, &n) : byte;
        if (c == '\n' || c == '\t' || c == '\r')
            buf_char(out, ' ');
        else if (is_control(c) || (!valid && byte >= 0x80))
            buf_char(out, '?');
        else
            buf_add(out, text.p + i, n);
    }
}

/* JSON has C0 escaped already, but not what else a terminal obeys. */
void clean_json(struct buf *out, struct str json)
{
    bool valid = str_utf8_valid(json);
    for (size_t i = 0, n = 1; i < json.n; i += n) {
        uint32_t c = valid ? character(json.p + i, &n) : (unsigned char)json.p[i];
        if (c < 0x7F || !is_control(c))
            buf_add(out, json.p + i, n);
        else if (c < 0x10000)
            buf_printf(out, "\\u%04x", c);
        else
            buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                       0xDC00 + ((c - 0x10000) & 0x3FF));
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

/* Columns that a character takes: CJK and pictures two, combining marks none. */
static size_t columns_of(uint32_t c)
{
    static const struct range none[] = {{0x300, 0x36F},   {0x1AB0, 0x1AFF}, {0x200C, 0x200D},
                                        {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}};
    static const struct range two[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},  {0x3041, 0xA4CF},
                                       {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},  {0xFE30, 0xFE6F},
                                       {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F},
                                       {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
    return is_in(c, none, sizeof none / sizeof none[0]) ? 0
           : is_in(c, two, sizeof two / sizeof two[0])  ? 2
                                                        : 1;
}

static size_t width_of(const char *s)
{
    size_t width = 0;
    for (size_t n; *s != '\0'; s += n)
        width += columns_of(character(s, &n));
    return width;
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

/* A cell in `room` columns, its end cut off with dots. Returns how many columns it took. */
static size_t add_cell(struct buf *out, const char *text, size_t room, const char *colours)
{
    bool cut = width_of(text) > room;
    size_t shown = 0;
    buf_puts(out, colours);
    for (size_t n; *text != '\0'; text += n) {
        size_t columns = columns_of(character(text, &n));
        if (shown + columns > room - cut)
            break;
        buf_add(out, text, n);
        shown += columns;
    }
    if (cut)
        buf_puts(out, "\xE2\x80\xA6");
    if (colours[0] != '\0')
        buf_puts(out, "\033[0m");
    return shown + cut;
}

static void add_row(const struct table *t, struct buf *out, const char *const *cells,
                    const size_t *widths, const char *row_colour, bool colours)
{
    size_t gap = 0; /* blanks are written before the next cell, so that no line ends with them */
    for (size_t i = 0; i < t->columns; i++) {
        if (widths[i] == 0)
            continue;
        const char *own = row_colour;
        if (colours && own[0] == '\0')
            own = state_colour(str_of(cells[i]));
        if (cells[i][0] == '\0') {
            gap += widths[i] + 2;
            continue;
        }
        for (; gap != 0; gap--)
            buf_char(out, ' ');
        gap = widths[i] - add_cell(out, cells[i], widths[i], own) + 2;
    }
    buf_char(out, '\n');
}

enum { LEAST_WIDTH = 8 };

static size_t least_width(const struct table *t, size_t i)
{
    size_t head = width_of(t->heads[i]);
    return head < LEAST_WIDTH ? LEAST_WIDTH : head;
}

/* The widest column but the first gives way, down to what its head or eight columns need; if that is
 * not enough the last ones are left out, and the others get what that frees. */
static void fit(const struct table *t, size_t *widths, size_t width)
{
    size_t total = 2 * (t->columns - 1);
    size_t shown = t->columns;
    size_t *wanted = mem_zero(t->columns, sizeof *wanted);
    memcpy(wanted, widths, t->columns * sizeof *wanted);
    for (size_t i = 0; i < t->columns; i++)
        total += widths[i];
    while (total > width && shown > 1) {
        size_t widest = 0;
        for (size_t i = 1; i < shown; i++) {
            if (widths[i] > least_width(t, i) && (widest == 0 || widths[i] > widths[widest]))
                widest = i;
        }
        if (widest != 0) {
            widths[widest]--;
            total--;
        } else {
            total -= widths[--shown] + 2;
            widths[shown] = 0;
        }
    }
    for (size_t i = 1; i < shown && total < width; i++) {
        size_t more = wanted[i] - widths[i];
        more = more < width - total ? more : width - total;
        widths[i] += more;
        total += more;
    }
    mem_free(wanted);
}

void table_render(const struct table *t, struct buf *out, bool colours, size_t width)
{
    must(t->columns != 0);
    size_t *widths = mem_zero(t->columns, sizeof *widths);
    for (size_t i = 0; i < t->columns; i++)
        widths[i] = width_of(t->heads[i]);
    for (size_t i = 0; i < t->n; i++) {
        size_t own = width_of(t->cells[i]);
        if (own > widths[i % t->columns])
            widths[i % t->columns] = own;
    }
    if (width != 0)
        fit(t, widths, width);
    add_row(t, out, t->heads, widths, colours ? "\033[1m" : "", colours);
    const char *const *cells = (const char *const *)(const void *)t->cells;
    for (size_t i = 0; i + t->columns <= t->n; i += t->columns)
        add_row(t, out, cells + i, widths, "", colours);
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

void short_age(struct buf *out, struct str rfc3339, int64_t now_ms)
{
    static const struct {
        int64_t below, unit;
        char name;
    } rows[] = {{120, 1, 's'}, {7200, 60, 'm'}, {172800, 3600, 'h'}, {INT64_MAX, 86400, 'd'}};
    int64_t ms;
    buf_puts(out, "");
    if (rfc3339.n == 0 || !query_since(rfc3339, now_ms, &ms, NULL)) {
        clean_text(out, rfc3339);
        return;
    }
    int64_t s = (now_ms - ms) / 1000;
    if (s < 0) {
        buf_puts(out, "in ");
        s = -s;
    }
    size_t i = 0;
    while (s >= rows[i].below)
        i++;
    buf_printf(out, "%lld%c", (long long)(s / rows[i].unit), rows[i].name);
}

void table_cell_age(struct table *t, const struct json *j)
{
    struct buf b = {0};
    short_age(&b, json_str(j), clock_wall_us() / 1000);
    table_cell(t, buf_view(&b));
    buf_finish(&b);
}

void short_ms(struct buf *out, double ms)
{
    if (ms < 10)
        buf_printf(out, "%.1f ms", ms);
    else if (ms < 10000)
        buf_printf(out, "%.0f ms", ms);
    else if (ms < 120000)
        buf_printf(out, "%.1f s", ms / 1000);
    else if (ms < 7200000)
        buf_printf(out, "%.1f min", ms / 60000);
    else
        buf_printf(out, "%.1f h", ms / 3600000);
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
