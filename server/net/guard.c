/* SPDX-License-Identifier: Apache-2.0 */
/* The reading of HTTP/1 messages, by the letter of RFC 9112.
 *
 * Two programs that disagree on where a message ends let a second, hidden request through. The lenient readers beneath us (h2o 2.2.5's, and
 * Debian's build of http-parser too, which takes "3\rX" for a chunk size) can't be switched to strict, so nothing reaches them that this file
 * hasn't judged, and in the simplest form: CRLF line ends, one Host, at most one Content-Length, no chunks.
 *
 * A head is read line by line as the lines become complete. Whatever is ambiguous is refused, never repaired. Chunked bodies are decoded
 * here and the head rewritten, so that the chunk decoder beneath never runs. Widening a character class or accepting a bare LF
 * here reopens request smuggling; tests/fuzz/guard_fuzz.c holds the promises. */
#include "net/guard.h"

#include <string.h>

enum {
    METHOD_MAX = 32,
    CHUNK_DIGITS = 15,    /* below 2^60: sums can't overflow */
    CHUNK_LINE_MAX = 256, /* one chunk's size with extensions */
    FRAMING_MAX = 8192,   /* all chunk extensions and trailers of a message */
};
static const uint64_t BODY_CEILING = 9999999999; /* its digits fit where "chunked" stood */

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER };

enum { TOKEN = 1, VALUE = 2, TARGET = 4, HOST = 8 };
static unsigned char classes[256];

static void fill_classes(void)
{
    if (classes['a'] != 0)
        return;
    for (int c = 0x21; c <= 0x7e; c++)
        classes[c] = VALUE | (c == '#' ? 0 : TARGET);
    for (int c = 0x80; c <= 0xff; c++)
        classes[c] = VALUE;
    classes[' '] |= VALUE;
    classes['\t'] |= VALUE;
    for (int c = 0; c < 26; c++) {
        classes['a' + c] |= TOKEN | HOST;
        classes['A' + c] |= TOKEN | HOST;
    }
    for (const char *s = "0123456789"; *s != '\0'; s++)
        classes[(unsigned char)*s] |= TOKEN | HOST;
    for (const char *s = "!#$%&'*+-.^_`|~"; *s != '\0'; s++)
        classes[(unsigned char)*s] |= TOKEN;
    for (const char *s = "-._~%!$&'()*+,;=:[]"; *s != '\0'; s++)
        classes[(unsigned char)*s] |= HOST;
}

static size_t span(const char *p, size_t n, int class)
{
    size_t i = 0;
    while (i < n && (classes[(unsigned char)p[i]] & class) != 0)
        i++;
    return i;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static enum guard_verdict bad(struct err *e, const char *what)
{
    err_fail(e, ERR_BAD_INPUT, "the request is malformed: %s", what);
    return GUARD_BAD;
}

void guard_init(struct guard *g, size_t max_head)
{
    fill_classes();
    memset(g, 0, offsetof(struct guard, fields));
    memset((char *)g + offsetof(struct guard, host), 0, sizeof *g - offsetof(struct guard, host));
    g->max_head = max_head;
    g->host = g->length = g->coding = g->expect = -1;
    g->body_max = UINT64_MAX;
}

static enum guard_verdict read_request_line(struct guard *g, const char *p, size_t n, struct err *e)
{
    size_t method_n = span(p, n, TOKEN);
    if (method_n == 0 || method_n > METHOD_MAX || method_n == n || p[method_n] != ' ')
        return bad(e, "the method");
    const char *target = p + method_n + 1;
    size_t rest = n - method_n - 1;
    size_t target_n = span(target, rest, TARGET);
    if (target_n == 0 || target_n == rest || target[target_n] != ' ')
        return bad(e, "the request target");
    struct str version = {target + target_n + 1, rest - target_n - 1};
    if (str_is(version, "HTTP/1.1"))
        g->minor = 1;
    else if (!str_is(version, "HTTP/1.0"))
        return bad(e, "the HTTP version (1.0 and 1.1 are served)");
    g->keep_alive = g->minor == 1;
    g->method_n = (uint32_t)method_n;
    g->target = (uint32_t)method_n + 1;
    g->target_n = (uint32_t)target_n;
    return GUARD_DONE;
}

/* Also a trailer's line. Lower-cases the name. */
static enum guard_verdict read_field(char *p, size_t n, size_t *name_n, struct str *value,
                                     struct err *e)
{
    if (p[0] == ' ' || p[0] == '\t')
        return bad(e, "a folded header line");
    size_t name = span(p, n, TOKEN);
    if (name == 0 || name == n || p[name] != ':')
        return bad(e, "a header's name");
    for (size_t i = 0; i < name; i++)
        p[i] = lower(p[i]);
    size_t from = name + 1;
    if (from + span(p + from, n - from, VALUE) != n)
        return bad(e, "a control character in a header");
    while (from < n && (p[from] == ' ' || p[from] == '\t'))
        from++;
    while (n > from && (p[n - 1] == ' ' || p[n - 1] == '\t'))
        n--;
    *name_n = name;
    *value = (struct str){p + from, n - from};
    return GUARD_DONE;
}

static bool has_token(struct str list, const char *token)
{
    while (list.p != NULL)
        if (str_is_icase(str_trim(str_split(&list, ',')), token))
            return true;
    return false;
}

static enum guard_verdict read_content_length(struct guard *g, struct str value, int at,
                                              struct err *e)
{
    if (g->length >= 0)
        return bad(e, "Content-Length twice");
    uint64_t length;
    if (!str_u64(value, &length) || length > INT64_MAX)
        return bad(e, "Content-Length is not a number");
    g->length = at;
    g->left = length;
    return GUARD_DONE;
}

/* What the framing of the message hangs on; every other header is only checked for its characters. */
static enum guard_verdict judge_field(struct guard *g, struct str name, struct str value, int at,
                                      struct err *e)
{
    if (str_is(name, "host")) {
        if (g->host >= 0)
            return bad(e, "Host twice");
        if (value.n == 0 || span(value.p, value.n, HOST) != value.n)
            return bad(e, "the Host header");
        g->host = at;
    } else if (str_is(name, "content-length")) {
        return read_content_length(g, value, at, e);
    } else if (str_is(name, "transfer-encoding")) {
        if (g->coding >= 0 || !str_is_icase(value, "chunked"))
            return bad(e, "Transfer-Encoding other than one \"chunked\"");
        g->coding = at;
        g->chunked = true;
    } else if (str_is(name, "expect")) {
        if (g->expect >= 0 || !str_is_icase(value, "100-continue"))
            return bad(e, "Expect other than one \"100-continue\"");
        g->expect = at;
        g->expect_continue = g->minor == 1;
    } else if (str_is(name, "connection")) {
        if (has_token(value, "close"))
            g->keep_alive = false;
    } else if (str_is(name, "upgrade")) {
        g->websocket = has_token(value, "websocket");
    }
    return GUARD_DONE;
}

static enum guard_verdict read_header(struct guard *g, char *p, size_t line, size_t n,
                                      struct err *e)
{
    size_t name_n;
    struct str value;
    if (read_field(p + line, n, &name_n, &value, e) == GUARD_BAD)
        return GUARD_BAD;
    if (g->fields_n == GUARD_FIELDS) {
        err_fail(e, ERR_HEADER_TOO_LARGE, "the request has more than %d headers", GUARD_FIELDS);
        return GUARD_BAD;
    }
    int at = (int)g->fields_n++;
    g->fields[at] = (struct guard_field){(uint32_t)line, (uint32_t)(value.p - p), (uint32_t)name_n,
                                         (uint32_t)value.n};
    /* Names of these lengths alone can matter: most headers need no comparison. */
    switch (name_n) {
    case 4:
    case 6:
    case 7:
    case 10:
    case 14:
    case 17: return judge_field(g, (struct str){p + line, name_n}, value, at, e);
    default: return GUARD_DONE;
    }
}

/* Removes p[at .. at+cut) by moving what stands before it towards it: the message then starts cut bytes
 * later, and offsets behind the gap shrink by cut. */
static void cut_out(struct guard *g, char *p, size_t at, size_t cut)
{
    memmove(p + cut, p, at);
    for (uint32_t i = 0; i < g->fields_n; i++) {
        if (g->fields[i].name < at)
            continue;
        g->fields[i].name -= (uint32_t)cut;
        g->fields[i].value -= (uint32_t)cut;
    }
    g->head_n -= cut;
}

/* "GET http://host/path" becomes "GET /path", after a check that host is what the Host header says. */
static enum guard_verdict rewrite_absolute(struct guard *g, char *p, size_t *skip, struct err *e)
{
    struct str target = {p + g->target, g->target_n};
    struct str scheme = {target.p, target.n < 8 ? target.n : 8};
    size_t authority = str_is_icase(scheme, "https://") ? 8 : 7;
    scheme.n = scheme.n < 7 ? scheme.n : 7;
    if (authority == 7 && !str_is_icase(scheme, "http://"))
        return bad(e, "the request target is neither a path nor an http URL");
    size_t authority_n = span(target.p + authority, target.n - authority, HOST);
    size_t path = authority + authority_n;
    if (authority_n == 0 || (path < target.n && target.p[path] != '/' && target.p[path] != '?'))
        return bad(e, "the host in the request target");
    struct str said = {target.p + authority, authority_n};
    if (g->host >= 0) {
        const struct guard_field *host = &g->fields[g->host];
        if (host->value_n != said.n)
            return bad(e, "Host differs from the request target");
        for (size_t i = 0; i < said.n; i++)
            if (lower(p[host->value + i]) != lower(said.p[i]))
                return bad(e, "Host differs from the request target");
    }
    bool slash = path == target.n || target.p[path] != '/';
    size_t cut = path - (slash ? 1 : 0);
    if (slash)
        p[g->target + cut] = '/';
    cut_out(g, p, g->target, cut);
    g->target_n -= (uint32_t)cut;
    *skip += cut;
    return GUARD_DONE;
}

static enum guard_verdict judge_head(struct guard *g, char *p, size_t *skip, struct err *e)
{
    if (g->minor == 1 && g->host < 0)
        return bad(e, "no Host header");
    if (g->coding >= 0 && g->length >= 0)
        return bad(e, "both Content-Length and Transfer-Encoding");
    if (g->coding >= 0 && g->minor == 0)
        return bad(e, "Transfer-Encoding in HTTP/1.0");
    struct str method = guard_method(g, p);
    g->websocket = g->websocket && g->minor == 1 && str_is(method, "GET");
    if (str_is(method, "CONNECT"))
        return bad(e, "CONNECT is not served");
    char first = p[g->target];
    if (first == '/' || (g->target_n == 1 && first == '*' && str_is(method, "OPTIONS")))
        return GUARD_DONE;
    return rewrite_absolute(g, p, skip, e);
}

static enum guard_verdict too_long(struct guard *g, struct err *e)
{
    err_fail(e, ERR_HEADER_TOO_LARGE, "the request's head is longer than %zu bytes", g->max_head);
    return GUARD_BAD;
}

enum guard_verdict guard_head(struct guard *g, char *p, size_t n, size_t *skip, struct err *e)
{
    *skip = 0;
    if (n > 0 && (classes[(unsigned char)p[0]] & TOKEN) == 0)
        return bad(e, "the method");
    for (;;) {
        char *lf = memchr(p + g->seen, '\n', n - g->seen);
        if (lf == NULL) {
            g->seen = n;
            return n > g->max_head ? too_long(g, e) : GUARD_MORE;
        }
        size_t end = (size_t)(lf - p);
        if (end >= g->max_head)
            return too_long(g, e);
        if (end == g->line || p[end - 1] != '\r')
            return bad(e, "a line that ends in a bare LF");
        size_t line = g->line;
        size_t line_n = end - 1 - line;
        g->line = g->seen = end + 1;
        if (line == 0) {
            if (read_request_line(g, p, line_n, e) == GUARD_BAD)
                return GUARD_BAD;
        } else if (line_n == 0) {
            g->head_n = end + 1;
            return judge_head(g, p, skip, e);
        } else if (read_header(g, p, line, line_n, e) == GUARD_BAD) {
            return GUARD_BAD;
        }
    }
}

bool guard_has_body(const struct guard *g)
{
    return g->chunked || g->left > 0;
}

static bool body_too_large(struct guard *g, struct err *e)
{
    return err_fail(e, ERR_TOO_LARGE, "the body is larger than %llu bytes",
                    (unsigned long long)g->body_max);
}

bool guard_limit(struct guard *g, uint64_t max_body, struct err *e)
{
    g->body_max = max_body;
    if (!g->chunked && g->left > g->body_max)
        return body_too_large(g, e);
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A chunk's size line, "1a2b;name=value\r\n"; *used is its length. */
static enum guard_verdict read_chunk_size(struct guard *g, const char *p, size_t n, size_t *used,
                                          struct err *e)
{
    uint64_t size = 0;
    size_t i = 0;
    for (; i < n && hex_value(p[i]) >= 0; i++) {
        if (i == CHUNK_DIGITS)
            return bad(e, "a chunk size that is too large");
        size = size << 4 | (uint64_t)hex_value(p[i]);
    }
    if (i == n)
        return GUARD_MORE;
    if (i == 0 || (p[i] != '\r' && p[i] != ';'))
        return bad(e, "a chunk size");
    size_t extension = span(p + i, n - i, VALUE);
    i += extension;
    if (i > CHUNK_LINE_MAX || g->framing_n + extension > FRAMING_MAX)
        return bad(e, "chunk extensions that are too long");
    if (i == n)
        return GUARD_MORE;
    if (p[i] != '\r')
        return bad(e, "a chunk size");
    if (i + 1 == n)
        return GUARD_MORE;
    if (p[i + 1] != '\n')
        return bad(e, "a chunk size line without CRLF");
    g->framing_n += extension;
    g->left = size;
    *used = i + 2;
    if (size > g->body_max - g->body_n) {
        body_too_large(g, e);
        return GUARD_BAD;
    }
    return GUARD_DONE;
}

/* Trailers are checked and dropped. GUARD_DONE with *last: the message ends. */
static enum guard_verdict read_trailer(struct guard *g, char *p, size_t n, size_t *used, bool *last,
                                       struct err *e)
{
    char *lf = memchr(p, '\n', n);
    size_t line_n = lf == NULL ? n : (size_t)(lf - p) + 1;
    if (g->framing_n + line_n > FRAMING_MAX)
        return bad(e, "trailers that are too long");
    if (lf == NULL)
        return GUARD_MORE;
    if (line_n < 2 || p[line_n - 2] != '\r')
        return bad(e, "a trailer that ends in a bare LF");
    g->framing_n += line_n;
    *used = line_n;
    *last = line_n == 2;
    size_t name_n;
    struct str value;
    return *last ? GUARD_DONE : read_field(p, line_n - 2, &name_n, &value, e);
}

static enum guard_verdict read_data_end(const char *p, size_t n, struct err *e)
{
    if (n > 0 && p[0] != '\r')
        return bad(e, "a chunk that is longer than its size");
    if (n > 1 && p[1] != '\n')
        return bad(e, "a chunk without CRLF behind it");
    return n < 2 ? GUARD_MORE : GUARD_DONE;
}

static void take_data(struct guard *g, char *p, size_t n, struct str *piece)
{
    size_t take = g->left < n ? (size_t)g->left : n;
    *piece = (struct str){p, take};
    g->left -= take;
    g->body_n += take;
}

static enum guard_verdict chunked_piece(struct guard *g, char *p, size_t n, struct str *piece,
                                        size_t *used, struct err *e)
{
    for (;;) {
        char *at = p + *used;
        size_t have = n - *used;
        size_t step = 0;
        bool last = false;
        enum guard_verdict v = GUARD_DONE;
        switch (g->chunk) {
        case CHUNK_SIZE:
            v = read_chunk_size(g, at, have, &step, e);
            if (v == GUARD_DONE)
                g->chunk = g->left == 0 ? CHUNK_TRAILER : CHUNK_DATA;
            break;
        case CHUNK_DATA:
            take_data(g, at, have, piece);
            *used += piece->n;
            if (g->left == 0)
                g->chunk = CHUNK_DATA_END;
            return GUARD_MORE;
        case CHUNK_DATA_END:
            v = read_data_end(at, have, e);
            step = 2;
            if (v == GUARD_DONE)
                g->chunk = CHUNK_SIZE;
            break;
        default: v = read_trailer(g, at, have, &step, &last, e); break;
        }
        if (v != GUARD_DONE)
            return v;
        *used += step;
        if (last)
            return GUARD_DONE;
    }
}

enum guard_verdict guard_piece(struct guard *g, char *p, size_t n, struct str *piece, size_t *used,
                               struct err *e)
{
    *piece = (struct str){p, 0};
    *used = 0;
    if (g->chunked)
        return chunked_piece(g, p, n, piece, used, e);
    take_data(g, p, n, piece);
    *used = piece->n;
    return g->left == 0 ? GUARD_DONE : GUARD_MORE;
}

/* "transfer-encoding: chunked" is at least as long as the content-length that replaces it. */
static void write_length(struct guard *g, char *p)
{
    struct guard_field *f = &g->fields[g->coding];
    size_t end = f->value + f->value_n;
    uint64_t rest = g->body_n;
    size_t at = end;
    do {
        p[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    size_t colon = f->name + sizeof "content-length" - 1;
    must(colon < at);
    memcpy(p + f->name, "content-length:", sizeof "content-length:" - 1);
    memset(p + colon + 1, ' ', at - colon - 1);
    f->name_n = sizeof "content-length" - 1;
    f->value = (uint32_t)at;
    f->value_n = (uint32_t)(end - at);
    g->length = g->coding;
    g->coding = -1;
}

static enum guard_verdict chunked_body(struct guard *g, char *p, size_t *n, struct err *e)
{
    if (g->body_max > BODY_CEILING)
        g->body_max = BODY_CEILING;
    size_t in = g->head_n + (size_t)g->body_n;
    size_t out = in;
    enum guard_verdict v;
    struct str piece;
    do {
        size_t used;
        v = guard_piece(g, p + in, *n - in, &piece, &used, e);
        if (v == GUARD_BAD)
            return v;
        if (piece.n > 0)
            memmove(p + out, piece.p, piece.n);
        out += piece.n;
        in += used;
    } while (v == GUARD_MORE && piece.n > 0);
    if (out != in) {
        memmove(p + out, p + in, *n - in);
        *n -= in - out;
    }
    if (v == GUARD_DONE)
        write_length(g, p);
    return v;
}

enum guard_verdict guard_body(struct guard *g, char *p, size_t *n, struct err *e)
{
    if (g->chunked)
        return chunked_body(g, p, n, e);
    if (*n - g->head_n < g->left)
        return GUARD_MORE;
    g->body_n = g->left;
    return GUARD_DONE;
}

static void strip(struct guard *g, char *p, int *field, size_t *skip)
{
    if (*field < 0)
        return;
    size_t from = g->fields[*field].name;
    size_t end = from;
    while (p[end] != '\n')
        end++;
    size_t cut = end + 1 - from;
    uint32_t gone = (uint32_t)*field;
    *field = -1;
    memmove(g->fields + gone, g->fields + gone + 1, (g->fields_n - gone - 1) * sizeof g->fields[0]);
    g->fields_n--;
    int *indexes[] = {&g->host, &g->length, &g->coding, &g->expect};
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++)
        if (*indexes[i] > (int)gone)
            --*indexes[i];
    cut_out(g, p, from, cut);
    *skip += cut;
}

void guard_strip_expect(struct guard *g, char *p, size_t *skip)
{
    *skip = 0;
    strip(g, p, &g->expect, skip);
}

void guard_strip_framing(struct guard *g, char *p, size_t *skip)
{
    *skip = 0;
    strip(g, p, &g->expect, skip);
    strip(g, p + *skip, &g->length, skip);
    strip(g, p + *skip, &g->coding, skip);
}

struct str guard_method(const struct guard *g, const char *p)
{
    return (struct str){p, g->method_n};
}

struct str guard_target(const struct guard *g, const char *p)
{
    return (struct str){p + g->target, g->target_n};
}

struct str guard_path(const struct guard *g, const char *p)
{
    struct str target = guard_target(g, p);
    return str_split(&target, '?');
}

struct str guard_header(const struct guard *g, const char *p, const char *lower_case_name)
{
    size_t n = strlen(lower_case_name);
    for (uint32_t i = 0; i < g->fields_n; i++) {
        const struct guard_field *f = &g->fields[i];
        if (f->name_n == n && memcmp(p + f->name, lower_case_name, n) == 0)
            return (struct str){p + f->value, f->value_n};
    }
    return (struct str){NULL, 0};
}
