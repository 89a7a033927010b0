/* SPDX-License-Identifier: Apache-2.0 */
/* A line is built whole and written by one write(2), so that lines of several processes on one
 * stderr do not mix. Redaction runs over the finished line: a secret cannot slip by as part of some other field. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

enum { SECRETS_MAX = 256, SECRET_MIN = 6, RUN_TOKEN_MIN = 40 };

static struct {
    enum log_level level;
    bool json;
    int fd;
    char *secrets[SECRETS_MAX];
    size_t secret_count;
} self = {.level = LOG_INFO, .fd = STDERR_FILENO};

static const char *const names[] = {"debug", "info", "warn", "error"};

void log_setup(enum log_level level, bool json, int fd)
{
    self.level = level;
    self.json = json;
    self.fd = fd;
}

bool log_parse_level(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_wants(enum log_level level)
{
    return level >= self.level;
}

void log_secret(struct str secret)
{
    if (secret.n < SECRET_MIN || self.secret_count == SECRETS_MAX)
        return;
    for (size_t i = 0; i < self.secret_count; i++) {
        if (str_is(secret, self.secrets[i]))
            return;
    }
    self.secrets[self.secret_count++] = mem_dup(secret.p, secret.n);
}

void log_forget_secrets(void)
{
    while (self.secret_count != 0)
        mem_free(self.secrets[--self.secret_count]);
}

/* Puts the mark in the place of n bytes; returns where it ends. */
static size_t redact_at(struct buf *text, size_t at, size_t n)
{
    static const char mark[] = "[redacted]";
    struct buf tail = {0};
    buf_add(&tail, text->p + at + n, text->n - at - n);
    text->n = at;
    buf_puts(text, mark);
    size_t end = text->n;
    buf_str(text, buf_view(&tail));
    buf_finish(&tail);
    return end;
}

static bool is_of_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

static void redact_run_tokens(struct buf *text, size_t from)
{
    size_t at = from;
    char *hit;
    while (at < text->n && (hit = memmem(text->p + at, text->n - at, LOG_RUN_TOKEN,
                                         sizeof LOG_RUN_TOKEN - 1)) != NULL) {
        size_t begin = (size_t)(hit - text->p);
        size_t n = 0;
        while (begin + n < text->n && is_of_token(text->p[begin + n]))
            n++;
        at = n > RUN_TOKEN_MIN ? redact_at(text, begin, n) : begin + n;
    }
}

void log_redact(struct buf *text, size_t from)
{
    for (size_t i = 0; i < self.secret_count && text->n != 0; i++) {
        size_t n = strlen(self.secrets[i]);
        size_t at = from;
        char *hit;
        while (at < text->n &&
               (hit = memmem(text->p + at, text->n - at, self.secrets[i], n)) != NULL)
            at = redact_at(text, (size_t)(hit - text->p), n);
    }
    redact_run_tokens(text, from);
}

const char *log_quote(struct str s)
{
    static struct buf ring[4];
    static unsigned turn;
    struct buf *b = &ring[turn++ % 4];
    buf_clear(b);
    buf_json_str(b, s);
    return b->p;
}

/* key=value pairs as JSON members; a quoted value is JSON already. */
static void pairs_as_json(struct buf *line, struct str pairs)
{
    const char *p = pairs.p;
    const char *end = pairs.p + pairs.n;
    while (p < end) {
        const char *eq = memchr(p, '=', (size_t)(end - p));
        if (eq == NULL)
            break;
        buf_char(line, ',');
        buf_json_str(line, (struct str){p, (size_t)(eq - p)});
        buf_char(line, ':');
        const char *v = eq + 1;
        const char *stop = v;
        if (v < end && *v == '"') {
            for (stop = v + 1; stop < end && *stop != '"'; stop++)
                stop += *stop == '\\' && stop + 1 < end;
            stop += stop < end;
            buf_add(line, v, (size_t)(stop - v));
        } else {
            while (stop < end && *stop != ' ')
                stop++;
            buf_json_str(line, (struct str){v, (size_t)(stop - v)});
        }
        p = stop + (stop < end);
    }
}

void log_write(enum log_level level, const char *module, const char *event, const char *fmt, ...)
{
    if (!log_wants(level))
        return;
    struct buf pairs = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&pairs, fmt, ap);
    va_end(ap);
    struct buf line = {0};
    buf_puts(&line, self.json ? "{\"ts\":\"" : "ts=");
    clock_rfc3339(&line, clock_wall_us());
    if (self.json) {
        buf_printf(&line, "\",\"level\":\"%s\",\"mod\":\"%s\",\"event\":\"%s\"", names[level],
                   module, event);
        pairs_as_json(&line, buf_view(&pairs));
        buf_puts(&line, "}");
    } else {
        buf_printf(&line, " level=%s mod=%s event=%s ", names[level], module, event);
        size_t from = line.n;
        buf_str(&line, buf_view(&pairs));
        for (size_t i = from; i < line.n; i++) {
            if ((unsigned char)line.p[i] < 0x20)
                line.p[i] = ' '; /* outside text must not forge a second line */
        }
    }
    log_redact(&line, 0);
    buf_char(&line, '\n');
    ssize_t written = write(self.fd, line.p, line.n);
    (void)written; /* nowhere left to complain */
    buf_finish(&line);
    buf_finish(&pairs);
}
