/* SPDX-License-Identifier: Apache-2.0 */
/* cron next: when a schedule fires, by the same code as the server's, without a server. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cron.h"
#include "cli_parts.h"
#include "handlers/query.h"

enum { COUNT_MAX = 100000 };

struct asked {
    const struct zone *zone;
    int64_t from_s;
    uint64_t n;
    bool json;
};

/* "2026-03-29", "2026-03-29 02:30", "2026-03-29T02:30:00": by the clock of the zone. */
static bool read_local(const char *text, const struct zone *z, int64_t *out_s)
{
    struct civil x = {0};
    int date = 0, minute = 0, second = 0;
    char between = ' ';
    int got = sscanf(text, "%4d-%2d-%2d%n%c%2d:%2d%n:%2d%n", &x.year, &x.month, &x.day, &date,
                     &between, &x.hour, &x.minute, &minute, &x.second, &second);
    size_t end = (size_t)(got == 3 ? date : got == 6 ? minute : got == 7 ? second : 0);
    bool fits = x.month >= 1 && x.month <= 12 && x.day >= 1 && x.day <= 31 && x.hour >= 0 &&
                x.hour < 24 && x.minute >= 0 && x.minute < 60 && x.second >= 0 && x.second < 60;
    if (end == 0 || text[end] != '\0' || !fits || x.year < 0 || (between != ' ' && between != 'T'))
        return false;
    struct civil same;
    int64_t last;
    int offset;
    (void)zone_instant(zone_find(NULL, NULL), &x, out_s, &last);
    zone_civil(zone_find(NULL, NULL), *out_s, &same, &offset);
    if (same.day != x.day) /* 30 February */
        return false;
    (void)zone_instant(z, &x, out_s, &last);
    return true;
}

static bool read_from(const char *text, struct asked *a, struct err *e)
{
    int64_t now_ms = clock_wall_us() / 1000, ms;
    a->from_s = now_ms / 1000;
    if (text == NULL || read_local(text, a->zone, &a->from_s))
        return true;
    if (!query_since(str_of(text), now_ms, &ms, NULL))
        return err_fail(e, ERR_BAD_INPUT,
                        "--from must be an instant such as 2026-03-29T00:00:00Z, or a time of the "
                        "zone such as 2026-03-29 00:00");
    a->from_s = ms >= 0 ? ms / 1000 : -((999 - ms) / 1000);
    return true;
}

static bool read_flags(struct cli *c, struct asked *a, struct err *e)
{
    const char *n = c->flags[FLAG_NUMBER];
    a->n = 1;
    a->json = c->flags[FLAG_JSON] != NULL;
    if (n != NULL && (!str_u64(str_of(n), &a->n) || a->n == 0 || a->n > COUNT_MAX))
        return err_fail(e, ERR_BAD_INPUT, "-n must be a number from 1 to %d", COUNT_MAX);
    a->zone = zone_find(c->flags[FLAG_TZ], e);
    return a->zone != NULL && read_from(c->flags[FLAG_FROM], a, e);
}

/* As lines or as a JSON array of texts. */
static void add_fires(struct buf *out, const struct asked *a, const struct cron *c)
{
    int64_t at = a->from_s;
    for (uint64_t i = 0; i < a->n && cron_next(c, a->zone, at, &at); i++) {
        if (a->json)
            buf_puts(out, i == 0 ? "\"" : ",\"");
        zone_rfc3339(out, a->zone, at);
        buf_char(out, a->json ? '"' : '\n');
    }
}

/* Each of them a line: {"expression","next":[...]} or {"expression","error"}. */
static bool add_schedule(struct buf *out, const struct asked *a, struct str expression,
                         struct err *e)
{
    struct cron c;
    bool good = cron_parse(expression, &c, e);
    if (!a->json) {
        if (good)
            add_fires(out, a, &c);
        return good;
    }
    buf_char(out, '{');
    buf_json_field(out, "expression", expression);
    if (good) {
        buf_json_key(out, "next");
        buf_char(out, '[');
        add_fires(out, a, &c);
        buf_char(out, ']');
    } else {
        buf_json_field(out, "error", str_of(e->text));
    }
    buf_puts(out, "}\n");
    return good;
}

static int next_of_lines(struct cli *c, const struct asked *a)
{
    struct buf text = {0}, out = {0};
    struct err e = {0};
    int code = EXIT_OK, line = 0;
    if (!read_argument("-", &text, &e))
        return cli_fail(c, EXIT_FAILED, "%s", e.text);
    struct str rest = str_trim(buf_view(&text));
    while (rest.p != NULL) {
        struct str expression = str_trim(str_split(&rest, '\n'));
        line++;
        if (expression.n != 0 && !add_schedule(&out, a, expression, &e))
            code = a->json ? EXIT_FAILED : cli_fail(c, EXIT_FAILED, "line %d: %s", line, e.text);
        print(buf_view(&out));
        buf_clear(&out);
    }
    buf_finish(&text);
    buf_finish(&out);
    return code;
}

int cli_cron_next(struct cli *c)
{
    struct asked a;
    struct err e = {0};
    struct buf out = {0};
    if (!read_flags(c, &a, &e))
        return cli_fail(c, EXIT_USAGE, "%s", e.text);
    if (strcmp(c->args[0], "-") == 0)
        return next_of_lines(c, &a);
    bool good = add_schedule(&out, &a, str_of(c->args[0]), &e);
    if (good)
        print(buf_view(&out));
    buf_finish(&out);
    return good ? EXIT_OK : cli_fail(c, EXIT_USAGE, "%s", e.text);
}
