/* SPDX-License-Identifier: Apache-2.0 */
/* The strict reading of HTTP/1: each message whole and byte by byte, with the same verdict. */
#include "net/guard.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

enum { MAX_HEAD = 2048, MAX_BODY = 64 };

/* What a reader behind the guard would see. */
struct outcome {
    enum guard_verdict verdict;
    struct err error;
    struct buf message; /* rewritten head and body */
    size_t head_n;
    size_t left_over; /* bytes of the next message */
    struct guard guard;
};

static enum guard_verdict step(struct outcome *o, bool *in_body)
{
    size_t skip = 0;
    enum guard_verdict v = GUARD_DONE;
    if (!*in_body) {
        v = guard_head(&o->guard, o->message.p, o->message.n, &skip, &o->error);
        buf_drop(&o->message, skip);
        if (v != GUARD_DONE)
            return v;
        *in_body = true;
        if (!guard_limit(&o->guard, MAX_BODY, &o->error))
            return GUARD_BAD;
    }
    return guard_body(&o->guard, o->message.p, &o->message.n, &o->error);
}

static struct outcome feed(struct str text, size_t piece)
{
    struct outcome o = {.verdict = GUARD_MORE};
    guard_init(&o.guard, MAX_HEAD);
    bool in_body = false;
    size_t at = 0;
    while (at < text.n && o.verdict == GUARD_MORE) {
        size_t n = text.n - at < piece ? text.n - at : piece;
        buf_add(&o.message, text.p + at, n);
        at += n;
        o.verdict = step(&o, &in_body);
    }
    o.head_n = o.guard.head_n;
    if (o.verdict == GUARD_DONE)
        o.left_over = o.message.n - o.head_n - (size_t)o.guard.body_n + text.n - at;
    return o;
}

#define HOST    "Host: a.example\r\n"
#define START   "POST /x HTTP/1.1\r\n" HOST
#define CHUNKED START "Transfer-Encoding: chunked\r\n\r\n"

struct row {
    const char *name;
    struct str text;
    enum guard_verdict verdict;
    enum err_code code;
    const char *body; /* of a good message */
};

#define GOOD(name, text, body)                                                                     \
    {                                                                                              \
        name, {text, sizeof(text) - 1}, GUARD_DONE, ERR_NONE, body                                 \
    }
#define BAD(name, text)                                                                            \
    {                                                                                              \
        name, {text, sizeof(text) - 1}, GUARD_BAD, ERR_BAD_INPUT, NULL                             \
    }
#define LARGE(name, text)                                                                          \
    {                                                                                              \
        name, {text, sizeof(text) - 1}, GUARD_BAD, ERR_TOO_LARGE, NULL                             \
    }
#define SHORT(name, text)                                                                          \
    {                                                                                              \
        name, {text, sizeof(text) - 1}, GUARD_MORE, ERR_NONE, NULL                                 \
    }

static const struct row rows[] = {
    GOOD("a plain GET", "GET /a?b=c HTTP/1.1\r\n" HOST "\r\n", ""),
    GOOD("spaces around a value", "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n", ""),
    GOOD("an empty header value", "GET / HTTP/1.1\r\n" HOST "X-A:\r\n\r\n", ""),
    GOOD("bytes above 127 in a value", "GET / HTTP/1.1\r\n" HOST "X-A: \xc3\xa9\r\n\r\n", ""),
    GOOD("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", ""),
    GOOD("OPTIONS *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", ""),
    GOOD("an absolute target", "GET http://A.example/x HTTP/1.1\r\n" HOST "\r\n", ""),
    GOOD("an absolute target without a path", "GET http://a.example HTTP/1.1\r\n" HOST "\r\n", ""),
    GOOD("an absolute target with a query alone",
         "GET https://a.example?x HTTP/1.1\r\n" HOST "\r\n", ""),
    GOOD("Content-Length", START "Content-Length: 5\r\n\r\nhello", "hello"),
    GOOD("Content-Length: 0", START "Content-Length: 0\r\n\r\n", ""),
    GOOD("the largest body",
         START "Content-Length: 64\r\n\r\n"
               "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    GOOD("100-continue", START "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nok", "ok"),
    GOOD("chunks", CHUNKED "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello!"),
    GOOD("no chunk at all", CHUNKED "0\r\n\r\n", ""),
    GOOD("upper and lower case sizes", CHUNKED "0A\r\n0123456789\r\n0b\r\n0123456789a\r\n0\r\n\r\n",
         "01234567890123456789a"),
    GOOD("tight Transfer-Encoding", START "transfer-encoding:chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
         "x"),
    GOOD("a short chunk extension", CHUNKED "3;a=b\r\nabc\r\n0\r\n\r\n", "abc"),
    GOOD("trailers", CHUNKED "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "abc"),
    GOOD("Expect before a chunked body",
         START "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
         "abc"),

    SHORT("a head without an end", "GET / HTTP/1.1\r\n" HOST),
    SHORT("half a body", START "Content-Length: 5\r\n\r\nhel"),
    SHORT("chunks without an end", CHUNKED "3\r\nabc\r\n"),
    SHORT("a last chunk without its empty line", CHUNKED "0\r\n"),

    BAD("nothing but an empty line", "\r\n\r\n"),
    BAD("a TLS hello", "\x16\x03\x01\x02"),
    BAD("a control character in the method", "G\x01T / HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an endless method", "GETGETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n" HOST "\r\n"),
    BAD("two spaces", "GET  / HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a space in the target", "GET /a b HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a tab in the target", "GET /a\tb HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a byte above 127 in the target", "GET /\xff HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a NUL in the target", "GET /\0 HTTP/1.1\r\n" HOST "\r\n"),
    BAD("no version", "GET /\r\n" HOST "\r\n"),
    BAD("a space behind the version", "GET / HTTP/1.1 \r\n" HOST "\r\n"),
    BAD("HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD("HTTP/1.2", "GET / HTTP/1.2\r\n" HOST "\r\n"),
    BAD("http/1.1", "GET / http/1.1\r\n" HOST "\r\n"),
    BAD("a target that is no path", "GET a HTTP/1.1\r\n" HOST "\r\n"),
    BAD("GET *", "GET * HTTP/1.1\r\n" HOST "\r\n"),
    BAD("CONNECT", "CONNECT a.example:443 HTTP/1.1\r\n" HOST "\r\n"),
    BAD("a target of another scheme", "GET ftp://a.example/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an absolute target without a host", "GET http:///x HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an absolute target with a user", "GET http://u@a.example/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an absolute target of another host", "GET http://b.example/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD("an absolute target of a longer host", "GET http://a.example.b/ HTTP/1.1\r\n" HOST "\r\n"),
    BAD("no Host", "GET / HTTP/1.1\r\n\r\n"),
    BAD("Host twice", "GET / HTTP/1.1\r\n" HOST HOST "\r\n"),
    BAD("two Hosts of unlike case", "GET / HTTP/1.1\r\nHOST: a\r\nhost: b\r\n\r\n"),
    BAD("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD("a path in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    BAD("a user in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    BAD("a space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    BAD("a header without a colon", "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n"),
    BAD("a header without a name", "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n"),
    BAD("a space in a name", "GET / HTTP/1.1\r\n" HOST "X Y: z\r\n\r\n"),
    BAD("a folded line", "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"),
    BAD("a first header that is folded", "GET / HTTP/1.1\r\n " HOST "\r\n"),
    BAD("a NUL in a value", "GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"),
    BAD("a control character in a value", "GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n"),
    BAD("a bare CR in a value", "GET / HTTP/1.1\r\n" HOST "X: a\rY: b\r\n\r\n"),
    BAD("two CRs", "GET / HTTP/1.1\r\n" HOST "X: a\r\r\n\r\n"),
    BAD("a bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD("a bare LF behind a header", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    BAD("a bare LF as the end of the head", "GET / HTTP/1.1\r\n" HOST "\n"),
    BAD("Content-Length twice", START "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    BAD("the same Content-Length twice",
        START "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    BAD("a list of lengths", START "Content-Length: 5, 5\r\n\r\nhello"),
    BAD("a length with a sign", START "Content-Length: +5\r\n\r\nhello"),
    BAD("a negative length", START "Content-Length: -1\r\n\r\nhello"),
    BAD("a hexadecimal length", START "Content-Length: 0x5\r\n\r\nhello"),
    BAD("no length", START "Content-Length:\r\n\r\nhello"),
    BAD("a length that overflows", START "Content-Length: 18446744073709551616\r\n\r\n"),
    BAD("a length near the overflow", START "Content-Length: 18446744073709551615\r\n\r\n"),
    BAD("length and encoding",
        START "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("encoding and length",
        START "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    BAD("chunked twice", START "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    BAD("two Transfer-Encodings",
        START "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("gzip, chunked", START "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    BAD("identity", START "Transfer-Encoding: identity\r\n\r\n"),
    BAD("xchunked", START "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    BAD("a quoted coding", START "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    BAD("a vertical tab before chunked", START "Transfer-Encoding:\x0b"
                                               "chunked\r\n\r\n0\r\n\r\n"),
    BAD("chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    BAD("another expectation", START "Expect: 200-ok\r\nContent-Length: 2\r\n\r\nok"),
    BAD("a chunk size with a NUL", CHUNKED "7\0\r\nsmuggle\r\n0\r\n\r\n"),
    BAD("a chunk size with a space", CHUNKED "3 \r\nabc\r\n0\r\n\r\n"),
    BAD("a space before a chunk size", CHUNKED " 3\r\nabc\r\n0\r\n\r\n"),
    BAD("a chunk size with 0x", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"),
    BAD("a chunk size with a sign", CHUNKED "+3\r\nabc\r\n0\r\n\r\n"),
    BAD("a negative chunk size", CHUNKED "-3\r\nabc\r\n0\r\n\r\n"),
    BAD("an empty chunk size", CHUNKED "\r\nabc\r\n0\r\n\r\n"),
    BAD("a chunk size that overflows", CHUNKED "FFFFFFFFFFFFFFFF\r\n"),
    BAD("a chunk size beyond 64 bits", CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n"),
    BAD("a chunk size that ends in LF", CHUNKED "3\nabc\r\n0\r\n\r\n"),
    BAD("a chunk size that ends in CR", CHUNKED "3\rXabc\r\n0\r\n\r\n"),
    BAD("a chunk that is longer than its size", CHUNKED "3\r\nabcd\r\n0\r\n\r\n"),
    BAD("a chunk that ends in LF", CHUNKED "3\r\nabc\n0\r\n\r\n"),
    BAD("a chunk that ends in CR and something", CHUNKED "3\r\nabc\rX0\r\n\r\n"),
    BAD("a control character in an extension", CHUNKED "3;a\x01\r\nabc\r\n0\r\n\r\n"),
    BAD("a bare LF in an extension", CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n"),
    BAD("a trailer without a colon", CHUNKED "0\r\nX\r\n\r\n"),
    BAD("a trailer that ends in LF", CHUNKED "0\r\nX: 1\n\r\n"),
    BAD("a folded trailer", CHUNKED "0\r\n X: 1\r\n\r\n"),

    LARGE("a Content-Length over the limit", START "Content-Length: 65\r\n\r\n"),
    LARGE("a chunk over the limit", CHUNKED "41\r\n"),
    LARGE("chunks that add up over the limit",
          CHUNKED "3f\r\n"
                  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\r\n2\r\n"),
    LARGE("a huge chunk", CHUNKED "FFFFFFFFFFFFFFF\r\n"),
};

static void check_good(const struct row *row, const struct outcome *o)
{
    struct str body = {o->message.p + o->head_n, (size_t)o->guard.body_n};
    ck_assert_msg(str_is(body, row->body), "%s: body is %.*s", row->name, (int)body.n, body.p);
    ck_assert_msg(o->left_over == 0, "%s: %zu bytes too many", row->name, o->left_over);
    struct str target = guard_target(&o->guard, o->message.p);
    ck_assert_msg(target.p[0] == '/' || target.p[0] == '*', "%s: target %.*s", row->name,
                  (int)target.n, target.p);
    ck_assert_msg(guard_header(&o->guard, o->message.p, "transfer-encoding").p == NULL,
                  "%s: still has a transfer-encoding", row->name);
    uint64_t length = 0;
    if (body.n > 0) {
        struct str value = guard_header(&o->guard, o->message.p, "content-length");
        ck_assert_msg(str_u64(value, &length) && length == body.n, "%s: length", row->name);
    }
    ck_assert_msg(memcmp(o->message.p + o->head_n - 4, "\r\n\r\n", 4) == 0, "%s", row->name);
}

START_TEST(every_message_gets_its_verdict_in_pieces_of_any_size)
{
    const struct row *row = &rows[_i];
    for (size_t piece = 1; piece <= row->text.n; piece = piece < 9 ? piece + 1 : piece * 2) {
        struct outcome o = feed(row->text, piece);
        ck_assert_msg(o.verdict == row->verdict, "%s in pieces of %zu: verdict %d (%s)", row->name,
                      piece, o.verdict, o.verdict == GUARD_BAD ? o.error.text : "");
        if (o.verdict == GUARD_BAD)
            ck_assert_msg(o.error.code == row->code, "%s: %s", row->name, o.error.text);
        if (o.verdict == GUARD_DONE)
            check_good(row, &o);
        buf_finish(&o.message);
    }
}
END_TEST

START_TEST(head_over_the_limit_is_refused_before_it_ends)
{
    struct buf text = {0};
    buf_puts(&text, "GET / HTTP/1.1\r\nX: ");
    while (text.n <= MAX_HEAD)
        buf_char(&text, 'x');
    for (size_t piece = 1; piece <= text.n; piece *= 3) {
        struct outcome o = feed(buf_view(&text), piece);
        ck_assert_int_eq(o.verdict, GUARD_BAD);
        ck_assert_int_eq(o.error.code, ERR_HEADER_TOO_LARGE);
        buf_finish(&o.message);
    }
    buf_finish(&text);
}
END_TEST

START_TEST(more_headers_than_the_limit_are_refused)
{
    struct buf text = {0};
    buf_puts(&text, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 1; i < GUARD_FIELDS; i++)
        buf_puts(&text, "A: b\r\n");
    struct buf more = {0};
    buf_str(&more, buf_view(&text));
    buf_puts(&text, "\r\n");
    buf_puts(&more, "A: b\r\n\r\n");
    struct outcome o = feed(buf_view(&text), 100);
    ck_assert_int_eq(o.verdict, GUARD_DONE);
    buf_finish(&o.message);
    o = feed(buf_view(&more), 100);
    ck_assert_int_eq(o.verdict, GUARD_BAD);
    ck_assert_int_eq(o.error.code, ERR_HEADER_TOO_LARGE);
    buf_finish(&o.message);
    buf_finish(&text);
    buf_finish(&more);
}
END_TEST

START_TEST(endless_chunk_extensions_and_trailers_are_refused)
{
    static const char *const starts[] = {CHUNKED "1;", CHUNKED "0\r\nA: "};
    for (size_t k = 0; k < 2; k++) {
        struct buf text = {0};
        buf_puts(&text, starts[k]);
        for (int i = 0; i < 10000; i++)
            buf_char(&text, 'x');
        struct outcome o = feed(buf_view(&text), 1000);
        ck_assert_int_eq(o.verdict, GUARD_BAD);
        buf_finish(&o.message);
        buf_finish(&text);
    }
    struct buf many = {0};
    buf_puts(&many, CHUNKED);
    for (int i = 0; i < 60; i++)
        buf_puts(&many, "1;0123456789012345678901234567890123456789012345678901234567890123456789"
                        "0123456789012345678901234567890123456789012345678901234567890123456789"
                        "0123456789012345678901234567890123456789012345678901234567890123456789"
                        "\r\nx\r\n");
    struct outcome o = feed(buf_view(&many), 64);
    ck_assert_int_eq(o.verdict, GUARD_BAD);
    buf_finish(&o.message);
    buf_finish(&many);
}
END_TEST

START_TEST(bytes_of_the_next_message_stay_behind_the_first)
{
    struct str text = STR(CHUNKED "3\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\n");
    struct outcome o = feed(text, text.n);
    ck_assert_int_eq(o.verdict, GUARD_DONE);
    size_t end = o.head_n + (size_t)o.guard.body_n;
    ck_assert(str_starts((struct str){o.message.p + end, o.message.n - end}, "GET /next"));
    buf_finish(&o.message);
}
END_TEST

START_TEST(stripping_leaves_a_message_without_framing)
{
    struct str text = STR("PUT http://a/x?q=1 HTTP/1.1\r\nExpect: 100-continue\r\nX-A: 1\r\n"
                          "Content-Length: 5\r\nHost: a\r\nX-B: 2\r\n\r\nhello");
    struct guard g;
    guard_init(&g, MAX_HEAD);
    char *p = mem_dup(text.p, text.n);
    size_t skip;
    struct err e;
    ck_assert_int_eq(guard_head(&g, p, text.n, &skip, &e), GUARD_DONE);
    size_t at = skip;
    ck_assert(g.expect_continue);
    guard_strip_framing(&g, p + at, &skip);
    at += skip;
    struct str head = {p + at, g.head_n};
    ck_assert_msg(str_is(head, "PUT /x?q=1 HTTP/1.1\r\nx-a: 1\r\nhost: a\r\nx-b: 2\r\n\r\n"),
                  "%.*s", (int)head.n, head.p);
    ck_assert(str_is(guard_header(&g, p + at, "x-a"), "1"));
    ck_assert(str_is(guard_header(&g, p + at, "x-b"), "2"));
    ck_assert(str_is(guard_header(&g, p + at, "host"), "a"));
    ck_assert_ptr_null(guard_header(&g, p + at, "content-length").p);
    ck_assert_ptr_null(guard_header(&g, p + at, "expect").p);
    ck_assert(str_is(guard_path(&g, p + at), "/x"));
    struct str piece;
    size_t used;
    ck_assert_int_eq(guard_piece(&g, p + at + g.head_n, 5, &piece, &used, &e), GUARD_DONE);
    ck_assert(str_is(piece, "hello"));
    mem_free(p);
}
END_TEST

START_TEST(connection_close_and_websocket_upgrades_are_seen)
{
    struct outcome o =
        feed(STR("GET /v1/live HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                 "Upgrade: WebSocket\r\n\r\n"),
             7);
    ck_assert_int_eq(o.verdict, GUARD_DONE);
    ck_assert(o.guard.websocket);
    ck_assert(o.guard.keep_alive);
    buf_finish(&o.message);
    o = feed(STR("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"), 7);
    ck_assert(!o.guard.websocket);
    ck_assert(!o.guard.keep_alive);
    buf_finish(&o.message);
    o = feed(STR("GET / HTTP/1.0\r\nConnection: keep-alive\r\nUpgrade: websocket\r\n\r\n"), 7);
    ck_assert(!o.guard.websocket);
    ck_assert(!o.guard.keep_alive);
    buf_finish(&o.message);
}
END_TEST

Suite *guard_suite(void);
Suite *guard_suite(void)
{
    Suite *s = suite_create("guard");
    TCase *t = tcase_create("guard");
    tcase_add_loop_test(t, every_message_gets_its_verdict_in_pieces_of_any_size, 0,
                        (int)(sizeof rows / sizeof rows[0]));
    tcase_add_test(t, head_over_the_limit_is_refused_before_it_ends);
    tcase_add_test(t, more_headers_than_the_limit_are_refused);
    tcase_add_test(t, endless_chunk_extensions_and_trailers_are_refused);
    tcase_add_test(t, bytes_of_the_next_message_stay_behind_the_first);
    tcase_add_test(t, stripping_leaves_a_message_without_framing);
    tcase_add_test(t, connection_close_and_websocket_upgrades_are_seen);
    suite_add_tcase(s, t);
    return s;
}
