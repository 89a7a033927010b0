/* SPDX-License-Identifier: Apache-2.0 */
/* Small readers of headers and parameters. HTTP lets a client say many things in If-Match that a versioned key cannot mean
 * (weak tags, lists); each is refused with a sentence rather than guessed at, because a precondition that is read wrongly
 * overwrites somebody's data. */
#include "handlers/query.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "core/store.h"

enum { VERSION_ANY = -1, NAME_MAX_BYTES = 255, CURSOR_MAX = 2000 };

static bool etag(struct str s, int64_t *version)
{
    uint64_t n = 0;
    if (s.n < 3 || s.p[0] != '"' || s.p[s.n - 1] != '"')
        return false;
    if (!str_u64((struct str){s.p + 1, s.n - 2}, &n) || n > INT64_MAX)
        return false;
    *version = (int64_t)n;
    return true;
}

bool query_precondition(struct str if_match, struct str if_none_match, int64_t *version,
                        struct err *e)
{
    *version = VERSION_ANY;
    if (if_match.p && if_none_match.p)
        return err_fail(e, ERR_BAD_INPUT, "send If-Match or If-None-Match, not both");
    if (if_none_match.p) {
        if (!str_is(str_trim(if_none_match), "*"))
            return err_fail(e, ERR_BAD_INPUT,
                            "If-None-Match can only be * here: write if there is no such key yet");
        *version = 0;
        return true;
    }
    if (!if_match.p)
        return true;
    struct str s = str_trim(if_match);
    if (str_is(s, "*")) {
        *version = QUERY_EXISTS;
        return true;
    }
    if (!etag(s, version))
        return err_fail(e, ERR_BAD_INPUT,
                        "If-Match must be one version in quotes, as the ETag of the key gave it: "
                        "If-Match: \"7\"");
    return true;
}

bool query_limit(struct str s, size_t otherwise, size_t max, size_t *out, struct err *e)
{
    uint64_t n = otherwise;
    if (s.p && (!str_u64(s, &n) || n < 1 || n > max))
        return err_fail(e, ERR_BAD_INPUT, "limit must be a number from 1 to %zu", max);
    *out = (size_t)n;
    return true;
}

bool query_flag(struct str s, bool *out, struct err *e)
{
    *out = s.p && (s.n == 0 || str_is(s, "1") || str_is_icase(s, "true") || str_is_icase(s, "yes"));
    if (!s.p || *out || str_is(s, "0") || str_is_icase(s, "false") || str_is_icase(s, "no"))
        return true;
    return err_fail(e, ERR_BAD_INPUT, "a switch is 1 or 0, not \"%.*s\"",
                    (int)(s.n < 40 ? s.n : 40), s.p);
}

/* n digits at *at; false when there are none. */
static bool digits(const char **at, const char *end, int n, int *out)
{
    int v = 0;
    for (int i = 0; i < n; i++, (*at)++) {
        if (*at >= end || **at < '0' || **at > '9')
            return false;
        v = v * 10 + (**at - '0');
    }
    *out = v;
    return true;
}

static bool one_of(const char **at, const char *end, const char *set)
{
    if (*at >= end || **at == '\0' || !strchr(set, **at))
        return false;
    (*at)++;
    return true;
}

static bool date_and_time(const char **at, const char *end, struct tm *tm)
{
    if (!digits(at, end, 4, &tm->tm_year) || !one_of(at, end, "-") ||
        !digits(at, end, 2, &tm->tm_mon) || !one_of(at, end, "-") ||
        !digits(at, end, 2, &tm->tm_mday) || !one_of(at, end, "Tt ") ||
        !digits(at, end, 2, &tm->tm_hour) || !one_of(at, end, ":") ||
        !digits(at, end, 2, &tm->tm_min) || !one_of(at, end, ":") ||
        !digits(at, end, 2, &tm->tm_sec))
        return false;
    if (tm->tm_mon < 1 || tm->tm_mon > 12 || tm->tm_mday < 1 || tm->tm_mday > 31 ||
        tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
        return false;
    tm->tm_year -= 1900;
    tm->tm_mon -= 1;
    return true;
}

static bool rfc3339(struct str s, int64_t *out_ms)
{
    const char *at = s.p, *end = s.p + s.n;
    struct tm tm = {0};
    if (!date_and_time(&at, end, &tm))
        return false;
    int64_t ms = 0, unit = 100;
    if (one_of(&at, end, ".")) {
        const char *first = at;
        for (; at < end && *at >= '0' && *at <= '9'; at++, unit /= 10)
            ms += (*at - '0') * unit;
        if (at == first)
            return false;
    }
    int64_t offset = 0;
    if (!one_of(&at, end, "Zz")) {
        int sign = at < end && *at == '-' ? -1 : 1, hours = 0, minutes = 0;
        if (!one_of(&at, end, "+-") || !digits(&at, end, 2, &hours) || !one_of(&at, end, ":") ||
            !digits(&at, end, 2, &minutes))
            return false;
        offset = sign * (hours * 60 + minutes) * 60;
    }
    *out_ms = ((int64_t)timegm(&tm) - offset) * 1000 + ms;
    return at == end;
}

bool query_instant(const char *name, struct str s, int64_t now_ms, int64_t *out_ms, struct err *e)
{
    int64_t ago = 0;
    if (s.n > 0 && rfc3339(s, out_ms))
        return true;
    if (!clock_parse_duration(s, &ago))
        return err_fail(e, ERR_BAD_INPUT,
                        "%s must be an instant (2026-11-20T09:00:00Z) or a time ago (24h)", name);
    *out_ms = now_ms - ago;
    return true;
}

bool query_since(struct str s, int64_t now_ms, int64_t *out_ms, struct err *e)
{
    return query_instant("since", s, now_ms, out_ms, e);
}

bool query_duration(const char *name, struct str s, int64_t otherwise, int64_t max_ms,
                    int64_t *out_ms, struct err *e)
{
    *out_ms = otherwise;
    if (!s.p)
        return true;
    *out_ms = 0;
    if (str_is(s, "0") || (clock_parse_duration(s, out_ms) && *out_ms <= max_ms))
        return true;
    struct buf most = {0};
    clock_format_duration(&most, max_ms);
    err_fail(e, ERR_BAD_INPUT, "%s must be a duration with its unit, such as 10s, of at most %s",
             name, most.p);
    buf_finish(&most);
    return false;
}

char *query_text(struct http_req *q, struct str s)
{
    char *copy = http_alloc(q, s.n + 1);
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return copy;
}

bool query_pipeline(struct http_req *q, const char **out, struct err *e)
{
    struct str name = http_query(q, "job");
    *out = NULL;
    if (!name.p)
        name = http_query(q, "pipeline");
    if (name.n == 0)
        return true;
    if (name.n > NAME_MAX_BYTES || memchr(name.p, '"', name.n) || memchr(name.p, '\\', name.n) ||
        memchr(name.p, '\0', name.n) || !str_utf8_valid(name))
        return err_fail(e, ERR_BAD_INPUT, "job must be the name of a job; GET /v1/jobs lists them");
    const struct job *j = store_config() ? config_job(store_config(), name) : NULL;
    *out = query_text(q, j ? str_of(j->pipeline) : name);
    return true;
}

bool query_page(struct http_req *q, struct query_page *out, struct err *e)
{
    out->cursor = http_query(q, "cursor");
    if (out->cursor.n > CURSOR_MAX)
        return err_fail(e, ERR_BAD_INPUT, "cursor must be what the Link of the last page has");
    return query_limit(http_query(q, "limit"), 50, 1000, &out->limit, e);
}

void query_reply_page(struct http_req *q, struct str json, struct str next)
{
    static const char *const kept[] = {"limit", "outcome", "pipeline", "job",
                                       "state", "since",   "until",    "cause"};
    if (next.n > 0) {
        struct buf link = {0};
        buf_char(&link, '<');
        buf_str(&link, http_path(q));
        buf_puts(&link, "?cursor=");
        buf_url_encode(&link, next);
        for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
            struct str value = http_query(q, kept[i]);
            if (!value.p)
                continue;
            buf_printf(&link, "&%s=", kept[i]);
            buf_url_encode(&link, value);
        }
        buf_puts(&link, ">; rel=\"next\"");
        http_set_header(q, "link", buf_view(&link));
        buf_finish(&link);
    }
    http_reply_json(q, 200, json);
}

void query_on_page(void *arg, struct str json, struct str next, const struct err *e)
{
    if (e)
        http_reply_err(arg, e);
    else
        query_reply_page(arg, json, next);
}

void query_on_json(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    if (e)
        http_reply_err(arg, e);
    else
        http_reply_json(arg, 200, json);
}
