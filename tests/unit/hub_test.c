/* SPDX-License-Identifier: Apache-2.0 */
/* WebSockets over the public port: a real server in a process of its own, frames made by hand. */
#include "net/hub.h"

#include <check.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/wsguard.h"

#include "unit/http_client.h"

enum { MAX_MESSAGE = 10000, MAX_QUEUE = 8, CLIENTS_MAX = 64 };

/* The server: /v1/echo answers what it hears; /v1/feed gets what POST /feed is given. */

static int opened, closed, lagged;
static struct hub_client *feeds[CLIENTS_MAX];
static int feeds_n;

static void on_open(struct hub_client *c)
{
    opened++;
    hub_set_user(c, &opened);
}

static void on_message(struct hub_client *c, struct str text)
{
    must(hub_user(c) == &opened);
    if (str_is(text, "bye"))
        hub_close(c, 4001, "as you wish");
    else
        hub_send_text(c, text);
}

static void on_close(struct hub_client *c)
{
    (void)c;
    closed++;
}

static void on_lag(struct hub_client *c)
{
    lagged++;
    hub_clear_queue(c);
    hub_send_text(c, STR("resync"));
}

static void on_feed_open(struct hub_client *c)
{
    opened++;
    feeds[feeds_n++] = c;
}

static void on_feed_close(struct hub_client *c)
{
    closed++;
    for (int i = 0; i < feeds_n; i++)
        if (feeds[i] == c)
            feeds[i--] = feeds[--feeds_n];
}

static const struct hub_service services[] = {
    {.path = "/v1/echo",
     .protocol = "echo.v1",
     .max_message = MAX_MESSAGE,
     .max_queue = 1000,
     .max_queue_bytes = 1 << 20,
     .on_open = on_open,
     .on_message = on_message,
     .on_lag = on_lag,
     .on_close = on_close},
    {.path = "/v1/feed",
     .protocol = "feed.v1",
     .max_message = 100000,
     .max_queue = MAX_QUEUE,
     .max_queue_bytes = 1 << 20,
     .on_open = on_feed_open,
     .on_message = on_message,
     .on_lag = on_lag,
     .on_close = on_feed_close},
    {.path = NULL},
};

static void on_feed(struct http_req *q)
{
    struct hub_msg *m = hub_msg_new(http_body(q));
    for (int i = 0; i < feeds_n; i++)
        hub_send(feeds[i], m);
    hub_msg_release(m);
    http_reply(q, 200, "text/plain", STR("ok"));
}

static void on_state(struct http_req *q)
{
    struct buf b = {0};
    buf_printf(&b, "opened=%d closed=%d lagged=%d now=%zu", opened, closed, lagged > 0,
               hub_count());
    http_reply(q, 200, "text/plain", buf_view(&b));
    buf_finish(&b);
}

static const struct http_route routes[] = {
    {.methods = HTTP_POST_, .path = "/feed", .fn = on_feed, .open = true},
    {.methods = HTTP_GET_, .path = "/state", .fn = on_state, .open = true},
    {.path = NULL},
};

static bool authorize_websocket(struct str path, struct str origin, struct str host,
                                struct str authorization, struct str cookie, struct err *e)
{
    (void)path, (void)authorization, (void)cookie;
    if (origin.p == NULL ||
        (str_starts(origin, "http://") && str_eq((struct str){origin.p + 7, origin.n - 7}, host)))
        return true;
    return err_fail(e, ERR_FORBIDDEN, "another origin");
}

static void on_stopped(void *arg)
{
    (void)arg;
    hub_stop();
    loop_stop();
}

static void on_term(void *arg, int signo)
{
    (void)arg, (void)signo;
    http_stop(3000, on_stopped, NULL);
}

struct world {
    struct hub_options o;
    int port;
    pid_t pid;
};

static void serve(const struct world *w, int tell)
{
    struct err e;
    log_setup(getenv("HTTP_TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR, false, 2);
    struct http_options o = {.host = "127.0.0.1",
                             .max_body = 1 << 20,
                             .max_head = 16384,
                             .head_timeout_ms = 5000,
                             .body_timeout_ms = 5000,
                             .idle_timeout_ms = 20000,
                             .max_connections = 1000,
                             .authorize_websocket = authorize_websocket};
    if (!loop_start(&e) || !hub_start(&w->o, services, &e) || !http_start(&o, routes, &e)) {
        fprintf(stderr, "%s\n", e.text);
        _exit(1);
    }
    int port = http_port();
    loop_on_signal(SIGTERM, on_term, NULL);
    if (write(tell, &port, sizeof port) != sizeof port)
        _exit(2);
    loop_run();
    loop_finish();
    exit(0);
}

static struct world start_with(struct hub_options o)
{
    struct world w = {.o = o};
    int tell[2];
    ck_assert(pipe(tell) == 0);
    w.pid = fork();
    ck_assert(w.pid >= 0);
    if (w.pid == 0) {
        close(tell[0]);
        serve(&w, tell[1]);
    }
    close(tell[1]);
    ck_assert(read(tell[0], &w.port, sizeof w.port) == sizeof w.port);
    close(tell[0]);
    return w;
}

static struct world start(void)
{
    return start_with((struct hub_options){.ping_ms = 20000, .stall_ms = 20000, .max_clients = 32});
}

static void stop(struct world *w)
{
    kill(w->pid, SIGTERM);
    int status;
    ck_assert(waitpid(w->pid, &status, 0) == w->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %d",
                  status);
}

static void wait_for_state(const struct world *w, const char *want)
{
    int fd = dial_port(w->port);
    struct buf last = {0};
    for (int i = 0; i < 1000; i++) {
        puts_to(fd, GET("/state"));
        struct answer a = get_answer(fd, false);
        buf_clear(&last);
        buf_str(&last, buf_view(&a.body));
        forget(&a);
        if (str_is(buf_view(&last), want)) {
            buf_finish(&last);
            close(fd);
            return;
        }
        poll(NULL, 0, 2);
    }
    ck_abort_msg("never %s, but %s", want, last.p);
}

/* The client's side. */

#define KEY             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE         "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
#define HANDSHAKE(path) "GET " path " HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n"

static int connect_to(const struct world *w, const char *handshake)
{
    int fd = dial_port(w->port);
    puts_to(fd, handshake);
    struct answer a = get_answer(fd, true);
    ck_assert_msg(a.status == 101, "%.*s", (int)a.head.n, a.head.p);
    ck_assert(str_is(field(&a, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    ck_assert(field(&a, "sec-websocket-extensions").p == NULL);
    forget(&a);
    return fd;
}

static void add_frame(struct buf *b, int first, struct str payload, bool masked)
{
    static const unsigned char mask[4] = {0x11, 0x22, 0x33, 0x44};
    buf_char(b, (char)first);
    int bit = masked ? 0x80 : 0;
    if (payload.n < 126) {
        buf_char(b, (char)(bit | (int)payload.n));
    } else if (payload.n < 65536) {
        buf_char(b, (char)(bit | 126));
        buf_char(b, (char)(payload.n >> 8));
        buf_char(b, (char)payload.n);
    } else {
        buf_char(b, (char)(bit | 127));
        for (int i = 7; i >= 0; i--)
            buf_char(b, (char)(payload.n >> (8 * i)));
    }
    if (masked)
        buf_add(b, mask, 4);
    for (size_t i = 0; i < payload.n; i++)
        buf_char(b, (char)(payload.p[i] ^ (masked ? mask[i % 4] : 0)));
}

static void send_frame(int fd, int first, struct str payload)
{
    struct buf b = {0};
    add_frame(&b, first, payload, true);
    put(fd, buf_view(&b));
    buf_finish(&b);
}

static void say(int fd, const char *text)
{
    send_frame(fd, 0x81, str_of(text));
}

/* The next frame: its first byte and payload; -1 at the end of the connection. */
static int hear(int fd, struct buf *payload)
{
    buf_clear(payload);
    while (ahead.n < 2)
        if (!more(fd, &ahead))
            return -1;
    unsigned char *p = (unsigned char *)ahead.p;
    size_t header = p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10;
    while (ahead.n < header)
        if (!more(fd, &ahead))
            return -1;
    p = (unsigned char *)ahead.p;
    ck_assert_msg((p[1] & 0x80) == 0, "the server masks");
    size_t n = p[1];
    if (n >= 126) {
        n = 0;
        for (size_t i = 2; i < header; i++)
            n = n << 8 | p[i];
    }
    while (ahead.n < header + n)
        if (!more(fd, &ahead))
            return -1;
    int first = (unsigned char)ahead.p[0];
    buf_add(payload, ahead.p + header, n);
    buf_drop(&ahead, header + n);
    return first;
}

static void expect_text(int fd, const char *text)
{
    struct buf b = {0};
    int first = hear(fd, &b);
    ck_assert_msg(first == 0x81 && str_is(buf_view(&b), text), "%x %.*s", first, (int)b.n, b.p);
    buf_finish(&b);
}

/* A close frame with the code; then the end. */
static void expect_close(int fd, int code)
{
    struct buf b = {0};
    int first = hear(fd, &b);
    ck_assert_msg(first == 0x88 && b.n >= 2, "%x", first);
    int got = (unsigned char)b.p[0] << 8 | (unsigned char)b.p[1];
    ck_assert_msg(got == code, "closed with %d instead of %d: %.*s", got, code, (int)b.n - 2,
                  b.p + 2);
    send_frame(fd, 0x88, (struct str){b.p, 2});
    ck_assert_int_eq(hear(fd, &b), -1);
    buf_finish(&b);
}

START_TEST(text_is_echoed_whole_and_in_fragments)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    say(fd, "hello");
    expect_text(fd, "hello");
    say(fd, "");
    expect_text(fd, "");
    say(fd, "gr\xc3\xbc\xc3\x9f dich");
    expect_text(fd, "gr\xc3\xbc\xc3\x9f dich");
    send_frame(fd, 0x01, STR("a\xc3"));
    send_frame(fd, 0x89, STR("ping"));
    struct buf b = {0};
    ck_assert_int_eq(hear(fd, &b), 0x8a);
    ck_assert(str_is(buf_view(&b), "ping"));
    send_frame(fd, 0x00,
               STR("\xbc"
                   "b"));
    send_frame(fd, 0x80, STR("c"));
    expect_text(fd, "a\xc3\xbc"
                    "bc");
    char big[MAX_MESSAGE + 1];
    memset(big, 'x', MAX_MESSAGE);
    big[MAX_MESSAGE] = '\0';
    say(fd, big);
    expect_text(fd, big);
    buf_finish(&b);
    close(fd);
    wait_for_state(&w, "opened=1 closed=1 lagged=0 now=0");
    stop(&w);
}
END_TEST

START_TEST(frames_split_at_every_byte_are_understood)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    struct buf b = {0};
    char text[301];
    memset(text, 'y', 300);
    text[300] = '\0';
    add_frame(&b, 0x01, STR("ab"), true);
    add_frame(&b, 0x80, STR("cd"), true);
    add_frame(&b, 0x81, str_of(text), true);
    for (size_t i = 0; i < b.n; i++)
        put(fd, (struct str){b.p + i, 1});
    expect_text(fd, "abcd");
    expect_text(fd, text);
    buf_finish(&b);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(subprotocol_is_agreed_on_or_refused)
{
    struct world w = start();
    int fd = dial_port(w.port);
    puts_to(fd, "GET /v1/echo?x=1 HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Protocol: chat, echo.v1\r\n"
                "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    struct answer a = get_answer(fd, true);
    ck_assert_int_eq(a.status, 101);
    ck_assert(str_is(field(&a, "sec-websocket-protocol"), "echo.v1"));
    ck_assert(field(&a, "sec-websocket-extensions").p == NULL);
    forget(&a);
    say(fd, "hello");
    expect_text(fd, "hello");
    close(fd);
    fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    close(fd);
    stop(&w);
}
END_TEST

static const struct {
    const char *text;
    int status;
} handshakes[] = {
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE KEY "\r\n", 400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 8\r\n\r\n", 400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE "Sec-WebSocket-Version: 13\r\n\r\n", 400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE
     "Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n\r\n",
     400},
    {"GET /v1/echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" KEY
     "Sec-WebSocket-Version: 13\r\n\r\n",
     400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE KEY
     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
     400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE KEY
     "Sec-WebSocket-Version: 13\r\nOrigin: http://evil\r\n\r\n",
     403},
    {"GET /v1/nothing HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n", 404},
    {"POST /v1/echo HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n", 400},
    {"GET /v1/echo HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /v1/echo HTTP/1.1\r\n" UPGRADE KEY "Sec-WebSocket-Version: 13\r\n\r\n\x81\x80zzzz", 400},
};

START_TEST(bad_handshake_is_refused_with_a_problem)
{
    struct world w = start();
    int fd = dial_port(w.port);
    puts_to(fd, handshakes[_i].text);
    struct answer a = get_answer(fd, false);
    ck_assert_int_eq(a.status, handshakes[_i].status);
    ck_assert(str_is(field(&a, "content-type"), "application/problem+json"));
    forget(&a);
    close(fd);
    stop(&w);
}
END_TEST

#define FRAME(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

static const struct {
    const char *name;
    struct str bytes;
    int code;
} bad_frames[] = {
    {"no mask", FRAME("\x81\x05hello"), 1002},
    {"no mask, empty", FRAME("\x81\x00"), 1002},
    {"no mask on a ping", FRAME("\x89\x00"), 1002},
    {"a reserved bit", FRAME("\xc1\x80zzzz"), 1002},
    {"opcode 3", FRAME("\x83\x80zzzz"), 1002},
    {"opcode 11", FRAME("\x8b\x80zzzz"), 1002},
    {"binary", FRAME("\x82\x81zzzz!"), 1003},
    {"a stray continuation", FRAME("\x80\x81zzzz!"), 1002},
    {"a message inside a message", FRAME("\x01\x81zzzz!\x81\x81zzzz!"), 1002},
    {"a fragmented ping", FRAME("\x09\x80zzzz"), 1002},
    {"a long ping", FRAME("\x89\xfe\x00\x80zzzz"), 1002},
    {"a length that needs no 16 bits", FRAME("\x81\xfe\x00\x05zzzzhello"), 1002},
    {"a length that needs no 64 bits", FRAME("\x81\xff\x00\x00\x00\x00\x00\x00\x00\x05zzzzhello"),
     1002},
    {"a length of 2^62", FRAME("\x81\xff\x40\x00\x00\x00\x00\x00\x00\x00zzzz"), 1009},
    {"a length of 2^63", FRAME("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00zzzz"), 1009},
    {"more than the limit", FRAME("\x81\xfe\x27\x11zzzz"), 1009},
    {"more than the limit in pieces", FRAME("\x01\x81zzzz!\x80\xfe\x27\x10zzzz"), 1009},
    {"bad UTF-8", FRAME("\x81\x82\x00\x00\x00\x00\xc3\x28"), 1007},
    {"half a character", FRAME("\x81\x81\x00\x00\x00\x00\xc3"), 1007},
    {"bad UTF-8 in fragments", FRAME("\x01\x81\x00\x00\x00\x00\xc3\x80\x81\x00\x00\x00\x00("),
     1007},
};

START_TEST(bad_frame_closes_with_the_right_code)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    say(fd, "before");
    expect_text(fd, "before"); /* what is read together with a bad frame is not answered */
    put(fd, bad_frames[_i].bytes);
    expect_close(fd, bad_frames[_i].code);
    close(fd);
    wait_for_state(&w, "opened=1 closed=1 lagged=0 now=0");
    stop(&w);
}
END_TEST

START_TEST(endless_fragments_are_closed)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    struct buf b = {0};
    add_frame(&b, 0x01, STR(""), true);
    for (int i = 0; i < 2000; i++)
        add_frame(&b, 0x00, STR(""), true);
    put(fd, buf_view(&b));
    expect_close(fd, 1008);
    buf_finish(&b);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(either_side_may_close)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    say(fd, "bye");
    expect_close(fd, 4001);
    close(fd);
    fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    send_frame(fd, 0x88, STR("\x03\xe8"));
    struct buf b = {0};
    ck_assert_int_eq(hear(fd, &b), 0x88);
    ck_assert(str_is(buf_view(&b), "\x03\xe8"));
    ck_assert_int_eq(hear(fd, &b), -1);
    buf_finish(&b);
    close(fd);
    wait_for_state(&w, "opened=2 closed=2 lagged=0 now=0");
    stop(&w);
}
END_TEST

static void feed(const struct world *w, struct str text)
{
    static int fd = -1;
    if (fd < 0)
        fd = dial_port(w->port);
    struct buf b = {0};
    buf_printf(&b, "POST /feed HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", text.n);
    buf_str(&b, text);
    put(fd, buf_view(&b));
    struct buf mine = ahead; /* what is ahead belongs to another connection */
    ahead = (struct buf){0};
    expect(fd, 200, "ok");
    buf_finish(&ahead);
    ahead = mine;
    buf_finish(&b);
}

START_TEST(one_message_reaches_all_clients_in_order)
{
    struct world w = start();
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = connect_to(&w, HANDSHAKE("/v1/feed"));
    char text[70001];
    memset(text, 'z', 70000);
    text[70000] = '\0';
    feed(&w, STR("one"));
    feed(&w, str_of(text));
    feed(&w, STR("three"));
    for (int i = 0; i < 20; i++) {
        expect_text(fds[i], "one");
        expect_text(fds[i], text);
        expect_text(fds[i], "three");
        close(fds[i]);
    }
    wait_for_state(&w, "opened=20 closed=20 lagged=0 now=0");
    stop(&w);
}
END_TEST

START_TEST(slow_client_is_resynced_and_the_others_do_not_wait)
{
    struct world w = start();
    int slow = connect_to(&w, HANDSHAKE("/v1/feed"));
    int quick = connect_to(&w, HANDSHAKE("/v1/feed"));
    char text[90001];
    memset(text, 'z', 90000);
    text[90000] = '\0';
    for (int i = 0; i < 200; i++) {
        feed(&w, str_of(text));
        expect_text(quick, text);
    }
    wait_for_state(&w, "opened=2 closed=0 lagged=1 now=2");
    struct buf b = {0};
    int whole = 0;
    while (hear(slow, &b) == 0x81 && !str_is(buf_view(&b), "resync"))
        whole++;
    ck_assert_int_lt(whole, 200);
    buf_finish(&b);
    close(slow);
    close(quick);
    stop(&w);
}
END_TEST

START_TEST(stalled_client_is_dropped)
{
    struct world w =
        start_with((struct hub_options){.ping_ms = 20000, .stall_ms = 100, .max_clients = 32});
    int slow = connect_to(&w, HANDSHAKE("/v1/feed"));
    char text[90001];
    memset(text, 'z', 90000);
    text[90000] = '\0';
    for (int i = 0; i < 100; i++)
        feed(&w, str_of(text));
    wait_for_state(&w, "opened=1 closed=1 lagged=1 now=0");
    close(slow);
    stop(&w);
}
END_TEST

START_TEST(silent_client_is_pinged_and_dropped)
{
    struct world w =
        start_with((struct hub_options){.ping_ms = 100, .stall_ms = 20000, .max_clients = 32});
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    struct buf b = {0};
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(hear(fd, &b), 0x89);
        send_frame(fd, 0x8a, buf_view(&b));
    }
    ck_assert_int_eq(hear(fd, &b), 0x89);
    ck_assert_int_eq(hear(fd, &b), -1); /* it kept silent */
    buf_finish(&b);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(more_clients_than_the_limit_are_not_taken)
{
    struct world w =
        start_with((struct hub_options){.ping_ms = 20000, .stall_ms = 20000, .max_clients = 2});
    int fds[3];
    for (int i = 0; i < 2; i++)
        fds[i] = connect_to(&w, HANDSHAKE("/v1/echo"));
    fds[2] = dial_port(w.port);
    puts_to(fds[2], HANDSHAKE("/v1/echo"));
    ck_assert(ends(fds[2]));
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    stop(&w);
}
END_TEST

START_TEST(stop_says_that_the_server_goes_away)
{
    struct world w = start();
    int fd = connect_to(&w, HANDSHAKE("/v1/echo"));
    say(fd, "hello");
    expect_text(fd, "hello");
    stop(&w);
    struct buf b = {0};
    ck_assert_int_eq(hear(fd, &b), 0x88);
    ck_assert(b.n == 2 && b.p[0] == 3 && (unsigned char)b.p[1] == 0xe9);
    ck_assert_int_eq(hear(fd, &b), -1);
    buf_finish(&b);
    close(fd);
}
END_TEST

Suite *hub_suite(void);
Suite *hub_suite(void)
{
    Suite *s = suite_create("hub");
    TCase *t = tcase_create("hub");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, text_is_echoed_whole_and_in_fragments);
    tcase_add_test(t, frames_split_at_every_byte_are_understood);
    tcase_add_test(t, subprotocol_is_agreed_on_or_refused);
    tcase_add_loop_test(t, bad_handshake_is_refused_with_a_problem, 0,
                        (int)(sizeof handshakes / sizeof handshakes[0]));
    tcase_add_loop_test(t, bad_frame_closes_with_the_right_code, 0,
                        (int)(sizeof bad_frames / sizeof bad_frames[0]));
    tcase_add_test(t, endless_fragments_are_closed);
    tcase_add_test(t, either_side_may_close);
    tcase_add_test(t, one_message_reaches_all_clients_in_order);
    tcase_add_test(t, slow_client_is_resynced_and_the_others_do_not_wait);
    tcase_add_test(t, stalled_client_is_dropped);
    tcase_add_test(t, silent_client_is_pinged_and_dropped);
    tcase_add_test(t, more_clients_than_the_limit_are_not_taken);
    tcase_add_test(t, stop_says_that_the_server_goes_away);
    suite_add_tcase(s, t);
    return s;
}
