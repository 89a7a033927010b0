/* SPDX-License-Identifier: Apache-2.0 */
/* A child may write anything to stderr, without end and without newlines. Memory stays bounded by cutting lines, the run's
 * log by counting them; the count is per step, so a kept process that serves a thousand values is not silenced by the first. */
#include "work/lines.h"

#include <ctype.h>
#include <string.h>

#include "base/log.h"
#include "core/event.h"

static size_t sequence_at(const char *p, size_t n)
{
    unsigned char c = (unsigned char)*p;
    size_t want = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    return want <= n && str_utf8_valid((struct str){p, want}) ? want : 0;
}

void lines_printable(struct buf *out, struct str text, size_t max)
{
    size_t i = 0;
    size_t end = out->n + max;
    while (i < text.n) {
        size_t n = sequence_at(text.p + i, text.n - i);
        bool control = n == 1 && ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F);
        struct str piece = n == 0 || control ? STR("\xEF\xBF\xBD") : (struct str){text.p + i, n};
        if (n == 1 && (text.p[i] == '\t' || text.p[i] == '\n' || text.p[i] == '\r'))
            piece = STR(" ");
        if (out->n + piece.n > end) {
            buf_puts(out, "...");
            return;
        }
        buf_str(out, piece);
        i += n == 0 ? 1 : n;
    }
}

static void keep_tail(struct lines *l, struct str line)
{
    if (l->tail.n != 0)
        buf_puts(&l->tail, " / ");
    buf_str(&l->tail, line);
    if (l->tail.n <= LINES_TAIL)
        return;
    size_t drop = l->tail.n - LINES_TAIL;
    while (drop < l->tail.n && (l->tail.p[drop] & 0xC0) == 0x80)
        drop++; /* not inside a character */
    buf_drop(&l->tail, drop);
}

static void emit(struct lines *l, const struct lines_to *to, struct str raw)
{
    while (raw.n != 0 && isspace((unsigned char)raw.p[raw.n - 1]))
        raw.n--; /* not in front: a traceback means something by its indentation */
    if (raw.n == 0)
        return;
    struct buf line = {0};
    lines_printable(&line, raw, LINES_LONGEST);
    keep_tail(l, buf_view(&line));
    l->count++;
    if (to->run.n == 0)
        log_info("work", "output", "stage=%.*s line=%s", (int)to->stage.n, to->stage.p,
                 log_quote(buf_view(&line)));
    else if (l->count <= to->max)
        event_log_line(to->run, to->stage, buf_view(&line));
    else if (l->count == to->max + 1)
        event_log_line(to->run, to->stage, STR("(further lines of this step are left out)"));
    buf_finish(&line);
}

void lines_feed(struct lines *l, const struct lines_to *to, struct str bytes)
{
    while (bytes.n != 0) {
        const char *newline = memchr(bytes.p, '\n', bytes.n);
        size_t n = newline != NULL ? (size_t)(newline - bytes.p) : bytes.n;
        size_t room = LINES_LONGEST - l->part.n;
        bool cut = n > room;
        n = cut ? room : n;
        buf_add(&l->part, bytes.p, n);
        if (newline != NULL || cut || l->part.n == LINES_LONGEST) {
            emit(l, to, buf_view(&l->part));
            buf_clear(&l->part);
        }
        n += !cut && newline != NULL;
        bytes = (struct str){bytes.p + n, bytes.n - n};
    }
}

void lines_end(struct lines *l, const struct lines_to *to)
{
    emit(l, to, buf_view(&l->part));
    buf_clear(&l->part);
}

void lines_begin_step(struct lines *l)
{
    l->count = 0;
    buf_clear(&l->tail);
}

struct str lines_tail(const struct lines *l)
{
    return buf_view(&l->tail);
}

void lines_finish(struct lines *l)
{
    buf_finish(&l->part);
    buf_finish(&l->tail);
}
