/* SPDX-License-Identifier: Apache-2.0 */
/* The public port, with a real server in a process of its own and real sockets. */
#include "net/http.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/hub.h"
#include "net/loop.h"

#include "unit/http_client.h"

enum { MAX_BODY = 1 << 20, HOOK_BODY = 65536 };

/* The server. */

static void on_hello(struct http_req *q)
{
    http_reply_json(q, 200, STR("{\"hello\":\"world\"}"));
}

static void on_echo(struct http_req *q)
{
    http_set_header(q, "x-method", http_method_name(q));
    http_reply(q, 200, "text/plain", http_body(q));
}

static void on_item(struct http_req *q)
{
    struct buf b = {0};
    struct str id = http_segment(q, "id");
    struct str rest = http_wild(q);
    struct str x = http_query(q, "x");
    buf_printf(&b, "id=%.*s rest=%.*s x=%.*s", (int)id.n, id.p, (int)rest.n, rest.p, (int)x.n, x.p);
    http_reply(q, 200, "text/plain", buf_view(&b));
    buf_finish(&b);
}

static void on_fail(struct http_req *q)
{
    http_problem(q, ERR_CONFLICT, "it is \"so\"");
}

/* Late answers: /wait is answered when /go is asked for. */
static struct http_req *waiting[16];
static int waiting_n;
static int gone_n;

static void on_gone(void *arg)
{
    (void)arg;
    gone_n++;
}

static void on_wait(struct http_req *q)
{
    http_on_gone(q, on_gone, NULL);
    waiting[waiting_n++] = q;
}

static void on_go(struct http_req *q)
{
    struct buf b = {0};
    buf_printf(&b, "waiting=%d gone=%d", waiting_n, gone_n);
    for (int i = 0; i < waiting_n; i++)
        http_reply(waiting[i], 200, "text/plain", http_body(waiting[i]));
    waiting_n = 0;
    http_reply(q, 200, "text/plain", buf_view(&b));
    buf_finish(&b);
}

static void on_state(struct http_req *q)
{
    struct buf b = {0};
    buf_printf(&b, "waiting=%d gone=%d", waiting_n, gone_n);
    http_reply(q, 200, "text/plain", buf_view(&b));
    buf_finish(&b);
}

/* Refusals are told. */
static struct buf refusals;

static void on_hook(struct http_req *q)
{
    const struct err *e = http_refused(q);
    if (e == NULL) {
        http_reply(q, 202, "text/plain", http_path(q));
        return;
    }
    struct str event = http_header(q, "x-event");
    struct str path = http_path(q);
    buf_printf(&refusals, "%s %.*s %.*s;", err_name(e->code), (int)path.n, path.p, (int)event.n,
               event.p);
}

static void on_refusals(struct http_req *q)
{
    http_reply(q, 200, "text/plain", buf_view(&refusals));
}

/* A streamed body: answers with its length and sum. */
struct sum {
    struct http_req *q;
    uint64_t n;
    uint64_t sum;
    uint64_t pieces;
};

static void on_piece(void *arg, struct str piece, bool last, const struct err *e)
{
    struct sum *s = arg;
    if (e != NULL) {
        http_reply_err(s->q, e);
        return;
    }
    for (size_t i = 0; i < piece.n; i++)
        s->sum += (unsigned char)piece.p[i];
    s->n += piece.n;
    s->pieces++;
    if (!last) {
        http_read_more(s->q);
        return;
    }
    struct buf b = {0};
    buf_printf(&b, "n=%llu sum=%llu", (unsigned long long)s->n, (unsigned long long)s->sum);
    http_reply(s->q, 200, "text/plain", buf_view(&b));
    buf_finish(&b);
}

static void on_sum(struct http_req *q)
{
    struct sum *s = http_alloc(q, sizeof *s);
    s->q = q;
    http_read_body(q, on_piece, s);
}

static void on_unread(struct http_req *q)
{
    http_problem(q, ERR_UNAUTHORIZED, "no");
}

/* Echoes piece by piece while it comes. */
static void on_echo_piece(void *arg, struct str piece, bool last, const struct err *e)
{
    struct http_req *q = arg;
    http_write(q, piece);
    if (last || e != NULL)
        http_end(q);
    else
        http_read_more(q);
}

static void on_echo_stream(struct http_req *q)
{
    http_begin(q, 200, "application/x-ndjson");
    http_read_body(q, on_echo_piece, q);
}

/* A streamed answer of 200 lines, each after the last was sent. */
struct lines {
    struct http_req *q;
    int n;
};

static void write_line(void *arg)
{
    struct lines *l = arg;
    char text[1025];
    memset(text, 'a' + l->n % 26, sizeof text - 1);
    text[sizeof text - 1] = '\n';
    http_write(l->q, (struct str){text, sizeof text});
    if (++l->n == 200)
        http_end(l->q);
    else
        http_on_drain(l->q, write_line, l);
}

static void on_lines(struct http_req *q)
{
    struct lines *l = http_alloc(q, sizeof *l);
    l->q = q;
    http_begin(q, 200, "application/x-ndjson");
    write_line(l);
}

static void on_events(struct http_req *q)
{
    http_on_gone(q, on_gone, NULL);
    waiting[waiting_n++] = q;
    http_begin(q, 200, "text/event-stream");
    http_write(q, STR("data: 1\n\n"));
    waiting_n--;
}

static void on_big(struct http_req *q)
{
    char *p = mem_alloc(8 << 20);
    memset(p, 'x', 8 << 20);
    http_reply(q, 200, "text/plain", (struct str){p, 8 << 20});
    mem_free(p);
}

static const struct http_route routes[] = {
    {.methods = HTTP_GET_, .path = "/hello", .fn = on_hello, .open = true},
    {.methods = HTTP_POST_ | HTTP_PUT_, .path = "/echo", .fn = on_echo, .open = true},
    {.methods = HTTP_GET_, .path = "/items/:id/*", .fn = on_item, .open = true},
    {.methods = HTTP_GET_, .path = "/fail", .fn = on_fail, .open = true},
    {.methods = HTTP_POST_, .path = "/wait", .fn = on_wait, .open = true},
    {.methods = HTTP_GET_, .path = "/go", .fn = on_go, .open = true},
    {.methods = HTTP_GET_, .path = "/state", .fn = on_state, .open = true},
    {.methods = HTTP_POST_,
     .path = "/hooks/*",
     .fn = on_hook,
     .open = true,
     .refusals = true,
     .max_body = HOOK_BODY},
    {.methods = HTTP_GET_, .path = "/refusals", .fn = on_refusals, .open = true},
    {.methods = HTTP_POST_, .path = "/sum", .fn = on_sum, .open = true, .stream = true},
    {.methods = HTTP_POST_, .path = "/unread", .fn = on_unread, .open = true, .stream = true},
    {.methods = HTTP_POST_,
     .path = "/echo-stream",
     .fn = on_echo_stream,
     .open = true,
     .stream = true},
    {.methods = HTTP_GET_, .path = "/lines", .fn = on_lines, .open = true},
    {.methods = HTTP_GET_, .path = "/events", .fn = on_events, .open = true},
    {.methods = HTTP_GET_, .path = "/big", .fn = on_big, .open = true},
    {.methods = HTTP_POST_, .path = "/closed", .fn = on_echo},
    {.path = NULL},
};

static bool authorize(struct http_req *q, struct err *e)
{
    if (str_is(http_header(q, "authorization"), "Bearer good"))
        return true;
    return err_fail(e, ERR_UNAUTHORIZED, "a token is needed");
}

struct world {
    struct http_options o;
    int port;
    pid_t pid;
    int64_t grace_ms;
};

static void on_stopped(void *arg)
{
    (void)arg;
    loop_stop();
}

static void on_term(void *arg, int signo)
{
    (void)signo;
    struct world *w = arg;
    http_stop(w->grace_ms, on_stopped, NULL);
}

static void serve(struct world *w, int tell)
{
    struct err e;
    log_setup(getenv("HTTP_TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR, false, 2);
    if (!loop_start(&e) || !http_start(&w->o, routes, &e)) {
        fprintf(stderr, "%s\n", e.text);
        _exit(1);
    }
    int port = http_port();
    loop_on_signal(SIGTERM, on_term, w);
    if (write(tell, &port, sizeof port) != sizeof port)
        _exit(2);
    loop_run();
    loop_finish();
    buf_finish(&refusals);
    exit(0);
}

static struct world start_with(struct http_options o)
{
    struct world w = {.o = o, .grace_ms = 3000};
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

static struct http_options usual(void)
{
    return (struct http_options){.host = "127.0.0.1",
                                 .max_body = MAX_BODY,
                                 .max_head = 16384,
                                 .head_timeout_ms = 5000,
                                 .body_timeout_ms = 5000,
                                 .idle_timeout_ms = 20000,
                                 .max_connections = 100,
                                 .authorize = authorize};
}

static struct world start(void)
{
    return start_with(usual());
}

static void stop(struct world *w)
{
    kill(w->pid, SIGTERM);
    int status;
    ck_assert(waitpid(w->pid, &status, 0) == w->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %d",
                  status);
}

/* The client. */

static int dial(const struct world *w)
{
    return dial_port(w->port);
}

START_TEST(several_requests_go_over_one_connection)
{
    struct world w = start();
    int fd = dial(&w);
    for (int i = 0; i < 3; i++) {
        puts_to(fd, GET("/hello"));
        expect(fd, 200, "{\"hello\":\"world\"}");
        puts_to(fd, POST("/echo", "Content-Length: 5\r\n\r\nhello"));
        expect(fd, 200, "hello");
    }
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/echo", "Content-Length: 3\r\n\r\none") GET("/hello")
                    POST("/echo", "Transfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n"));
    expect(fd, 200, "one");
    expect(fd, 200, "{\"hello\":\"world\"}");
    expect(fd, 200, "three");
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(request_sent_byte_by_byte_is_understood)
{
    struct world w = start();
    int fd = dial(&w);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    const char *text =
        POST("/echo", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            GET("/hello");
    for (const char *p = text; *p != '\0'; p++)
        put(fd, (struct str){p, 1});
    expect(fd, 200, "abcde");
    expect(fd, 200, NULL);
    close(fd);
    stop(&w);
}
END_TEST

/* What follows the ambiguous message must never be answered. */
static const struct {
    struct str text;
    int status;
} smuggles[] = {
#define SMUGGLE(text, status)                                                                      \
    {                                                                                              \
        {text, sizeof(text) - 1}, status                                                           \
    }
    SMUGGLE(POST("/echo", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello") GET("/hello"),
            400),
    SMUGGLE(POST("/echo", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                GET("/hello"),
            400),
    SMUGGLE(POST("/echo", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
                          "2e\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n"),
            400),
    SMUGGLE(POST("/echo", "Transfer-Encoding: chunked\r\n\r\n7\0\r\nsmuggle\r\n0\r\n\r\n")
                GET("/hello"),
            400),
    SMUGGLE(POST("/echo", "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n")
                GET("/hello"),
            400),
    SMUGGLE(POST("/echo", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n") GET("/hello"), 400),
    SMUGGLE("GET /hello HTTP/1.1\r\n\r\n" GET("/hello"), 400),
    SMUGGLE("GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" GET("/hello"), 400),
    SMUGGLE("GET /hello HTTP/1.1\nHost: a\n\n" GET("/hello"), 400),
    SMUGGLE("GET /hello HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n" GET("/hello"), 400),
    SMUGGLE("GET http://b/hello HTTP/1.1\r\nHost: a\r\n\r\n" GET("/hello"), 400),
    SMUGGLE("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    SMUGGLE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
};

START_TEST(ambiguous_request_is_answered_once_and_the_connection_closed)
{
    struct world w = start();
    for (int first = 0; first < 2; first++) {
        int fd = dial(&w);
        if (first) {
            puts_to(fd, GET("/hello"));
            expect(fd, 200, NULL);
        }
        put(fd, smuggles[_i].text);
        struct answer a = get_answer(fd, false);
        ck_assert_msg(a.status == smuggles[_i].status, "%d: %.*s", a.status, (int)a.body.n,
                      a.body.p);
        ck_assert(str_is(field(&a, "content-type"), "application/problem+json"));
        ck_assert(str_is(field(&a, "connection"), "close"));
        forget(&a);
        ck_assert(ends(fd));
        close(fd);
    }
    stop(&w);
}
END_TEST

START_TEST(good_requests_before_a_bad_one_are_answered)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, GET("/hello")
                    POST("/echo", "Content-Length: 2\r\n\r\nok") "GET /hello HTTP/1.1\r\n\r\n" GET(
                        "/hello"));
    expect(fd, 200, NULL);
    expect(fd, 200, "ok");
    expect(fd, 400, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(unknown_path_and_wrong_method_are_told_with_what_is_right)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, GET("/nothing"));
    struct answer a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 404);
    struct json *j = json_parse(buf_view(&a.body), NULL);
    ck_assert(j != NULL);
    ck_assert(str_is(json_str(json_get(j, "type")), "urn:hookmesh:problem:not_found"));
    ck_assert_int_eq(json_int(json_get(j, "status"), 0), 404);
    ck_assert(str_is(json_str(json_get(j, "instance")), "/nothing"));
    ck_assert(json_str(json_get(j, "detail")).n > 0);
    json_free(j);
    forget(&a);
    puts_to(fd, "DELETE /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 405);
    ck_assert(str_is(field(&a, "allow"), "POST, PUT"));
    forget(&a);
    puts_to(fd, "BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 405);
    ck_assert(str_is(field(&a, "allow"), "GET, HEAD"));
    forget(&a);
    puts_to(fd, GET("/fail"));
    expect(fd, 409, NULL);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(head_gets_the_head_of_get)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    struct answer a = get_answer(fd, true);
    ck_assert_int_eq(a.status, 200);
    ck_assert(str_is(field(&a, "content-length"), "17"));
    forget(&a);
    puts_to(fd, "HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    a = get_answer(fd, true);
    ck_assert_int_eq(a.status, 404);
    forget(&a);
    puts_to(fd, GET("/hello"));
    expect(fd, 200, "{\"hello\":\"world\"}");
    puts_to(fd, "HEAD /lines HTTP/1.1\r\nHost: a\r\n\r\n");
    a = get_answer(fd, true);
    ck_assert_int_eq(a.status, 200);
    forget(&a);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(path_segments_rest_and_query_are_decoded)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, GET("/items/a%20b/c%2Fd/e?y=1&x=%41+b"));
    expect(fd, 200, "id=a b rest=c/d/e x=A b");
    puts_to(fd, GET("/items/a/?x"));
    expect(fd, 200, "id=a rest= x=");
    puts_to(fd, GET("/items//b"));
    expect(fd, 404, NULL);
    puts_to(fd, "GET http://a/items/1/2 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, 200, "id=1 rest=2 x=");
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(http_1_0_is_answered_and_closed)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" GET("/hello"));
    expect(fd, 200, "{\"hello\":\"world\"}");
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(connection_close_is_obeyed)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n");
    expect(fd, 200, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(client_that_only_stopped_sending_gets_its_answers)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, GET("/hello") POST("/echo", "Content-Length: 2\r\n\r\nok"));
    shutdown(fd, SHUT_WR);
    expect(fd, 200, NULL);
    expect(fd, 200, "ok");
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(large_bodies_go_both_ways)
{
    struct world w = start();
    int fd = dial(&w);
    struct buf body = {0};
    for (size_t i = 0; i < MAX_BODY; i++)
        buf_char(&body, (char)('a' + i % 23));
    puts_to(fd, POST("/echo", "Content-Length: 1048576\r\n\r\n"));
    put(fd, buf_view(&body));
    expect(fd, 200, body.p);
    puts_to(fd, POST("/echo", "Transfer-Encoding: chunked\r\n\r\n"));
    for (size_t at = 0; at < body.n; at += 4096) {
        puts_to(fd, "1000\r\n");
        put(fd, (struct str){body.p + at, 4096});
        puts_to(fd, "\r\n");
    }
    puts_to(fd, "0\r\n\r\n");
    expect(fd, 200, body.p);
    puts_to(fd, GET("/big"));
    struct answer a = get_answer(fd, false);
    ck_assert_int_eq(a.body.n, 8 << 20);
    forget(&a);
    puts_to(fd, GET("/hello"));
    expect(fd, 200, NULL);
    buf_finish(&body);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(body_over_the_limit_is_refused_before_it_came)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/echo", "Content-Length: 1048577\r\n\r\n"));
    expect(fd, 413, NULL);
    ck_assert(ends(fd));
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/echo", "Transfer-Encoding: chunked\r\n\r\n100001\r\n"));
    expect(fd, 413, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(client_that_sends_its_whole_large_body_still_reads_the_refusal)
{
    struct world w = start();
    struct buf body = {0};
    for (size_t i = 0; i < 4 * MAX_BODY; i++)
        buf_char(&body, 'x');
    int fd = dial(&w);
    puts_to(fd, POST("/echo", "Content-Length: 4194304\r\n\r\n"));
    put(fd, buf_view(&body));
    expect(fd, 413, NULL);
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/echo", "Transfer-Encoding: chunked\r\n\r\n"));
    for (size_t at = 0; at < body.n; at += 65536) {
        puts_to(fd, "10000\r\n");
        put(fd, (struct str){body.p + at, 65536});
        puts_to(fd, "\r\n");
    }
    expect(fd, 413, NULL);
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/nothing", "Content-Length: 4194304\r\n\r\n"));
    put(fd, buf_view(&body));
    expect(fd, 404, NULL);
    close(fd);
    buf_finish(&body);
    stop(&w);
}
END_TEST

START_TEST(long_head_is_refused)
{
    struct world w = start();
    int fd = dial(&w);
    struct buf text = {0};
    buf_puts(&text, "GET /hello HTTP/1.1\r\nHost: a\r\nX: ");
    for (int i = 0; i < 20000; i++)
        buf_char(&text, 'x');
    put(fd, buf_view(&text));
    expect(fd, 431, NULL);
    ck_assert(ends(fd));
    buf_finish(&text);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(slow_head_and_slow_body_time_out)
{
    struct http_options o = usual();
    o.head_timeout_ms = 150;
    o.body_timeout_ms = 250;
    struct world w = start_with(o);
    int fd = dial(&w);
    puts_to(fd, "GET /hello HTTP/1.1\r\nHo");
    expect(fd, 408, NULL);
    ck_assert(ends(fd));
    close(fd);
    fd = dial(&w);
    puts_to(fd, GET("/hello"));
    expect(fd, 200, NULL);
    puts_to(fd, POST("/echo", "Content-Length: 5\r\n\r\nhell"));
    expect(fd, 408, NULL);
    ck_assert(ends(fd));
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/sum", "Content-Length: 5\r\n\r\nhell"));
    expect(fd, 408, NULL);
    ck_assert(ends(fd));
    close(fd);
    fd = dial(&w); /* says nothing at all */
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(idle_connection_is_closed)
{
    struct http_options o = usual();
    o.idle_timeout_ms = 150;
    struct world w = start_with(o);
    int fd = dial(&w);
    puts_to(fd, GET("/hello"));
    expect(fd, 200, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(client_that_reads_nothing_is_cut)
{
    struct http_options o = usual();
    o.body_timeout_ms = 150;
    struct world w = start_with(o);
    int fd = dial(&w);
    int small = 4096;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    puts_to(fd, GET("/big"));
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    ck_assert_int_eq(poll(&p, 1, WAIT_MS), 1);
    close(fd);
    fd = dial(&w);
    puts_to(fd, GET("/hello"));
    expect(fd, 200, NULL);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(refusals_are_told_to_the_route_that_wants_them)
{
    struct http_options o = usual();
    o.body_timeout_ms = 150;
    struct world w = start_with(o);
    int fd = dial(&w);
    puts_to(fd, POST("/hooks/a", "X-Event: push\r\nContent-Length: 70000\r\n\r\n"));
    expect(fd, 413, NULL);
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/hooks/b", "X-Event: ping\r\nContent-Length: 7\r\n\r\n{"));
    expect(fd, 408, NULL);
    close(fd);
    fd = dial(&w);
    puts_to(fd,
            POST("/hooks/c", "X-Event: pong\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n{"));
    expect(fd, 400, NULL);
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/hooks/d", "Content-Length: 2\r\n\r\n{}"));
    expect(fd, 202, "/hooks/d");
    puts_to(fd, GET("/refusals"));
    expect(fd, 200,
           "ERR_TOO_LARGE /hooks/a push;ERR_TIMEOUT /hooks/b ping;ERR_BAD_INPUT /hooks/c pong;");
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(expect_100_is_answered_before_the_body)
{
    struct world w = start();
    int fd = dial(&w);
    for (int i = 0; i < 2; i++) {
        puts_to(fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
        struct answer a = get_answer(fd, true);
        ck_assert_int_eq(a.status, 100);
        forget(&a);
        puts_to(fd, "hello");
        expect(fd, 200, "hello");
    }
    puts_to(fd, POST("/sum", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    struct answer a = get_answer(fd, true);
    ck_assert_int_eq(a.status, 100);
    forget(&a);
    puts_to(fd, "hello");
    expect(fd, 200, "n=5 sum=532");
    puts_to(fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"));
    expect(fd, 200, "hello");
    puts_to(fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n"));
    expect(fd, 413, NULL);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(unauthorized_request_is_refused_before_its_body)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/closed", "Authorization: Bearer good\r\nContent-Length: 2\r\n\r\nok"));
    expect(fd, 200, "ok");
    puts_to(fd, POST("/closed", "Content-Length: 2\r\n\r\nok"));
    struct answer a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 401);
    ck_assert(field(&a, "www-authenticate").n > 0);
    forget(&a);
    puts_to(fd, POST("/closed", "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
    expect(fd, 401, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(streamed_bodies_of_both_framings_arrive_whole)
{
    struct world w = start();
    int fd = dial(&w);
    struct buf body = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < 3 * MAX_BODY; i++) {
        buf_char(&body, (char)('a' + i % 23));
        sum += (unsigned char)('a' + i % 23);
    }
    char want[64];
    snprintf(want, sizeof want, "n=%zu sum=%llu", body.n, (unsigned long long)sum);
    puts_to(fd, POST("/sum", "Content-Length: 3145728\r\n\r\n"));
    put(fd, buf_view(&body));
    expect(fd, 200, want);
    puts_to(fd, POST("/sum", "Transfer-Encoding: chunked\r\n\r\n"));
    for (size_t at = 0; at < body.n; at += 3072) {
        puts_to(fd, "c00\r\n");
        put(fd, (struct str){body.p + at, 3072});
        puts_to(fd, "\r\n");
    }
    puts_to(fd, "0\r\n\r\n" GET("/hello"));
    expect(fd, 200, want);
    expect(fd, 200, "{\"hello\":\"world\"}");
    puts_to(fd, POST("/sum", "\r\n"));
    expect(fd, 200, "n=0 sum=0");
    puts_to(fd,
            POST("/sum", "Content-Length: 0\r\n\r\n") POST("/sum", "Content-Length: 1\r\n\r\n "));
    expect(fd, 200, "n=0 sum=0");
    expect(fd, 200, "n=1 sum=32");
    buf_finish(&body);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(streamed_body_with_bad_chunks_is_refused)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/sum", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n7\r\nabc\r\n0\r\n\r\n")
                    GET("/hello"));
    expect(fd, 400, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(streamed_body_that_nobody_read_is_no_request)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/unread", "Content-Length: 32\r\n\r\n" GET("/hello")) GET("/hello"));
    expect(fd, 401, NULL);
    expect(fd, 200, NULL);
    puts_to(fd, POST("/unread", "Content-Length: 100\r\n\r\n" GET("/hello")));
    expect(fd, 401, NULL);
    ck_assert(ends(fd));
    close(fd);
    fd = dial(&w);
    puts_to(fd, POST("/unread", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n") GET("/hello"));
    expect(fd, 401, NULL);
    ck_assert(ends(fd));
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(answer_is_streamed_while_the_body_still_comes)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, POST("/echo-stream", "Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"));
    struct buf seen = {0};
    while (seen.n == 0 || memmem(seen.p, seen.n, "one\n", 4) == NULL)
        ck_assert(more(fd, &seen));
    puts_to(fd, "4\r\ntwo\n\r\n0\r\n\r\n");
    while (memmem(seen.p, seen.n, "0\r\n\r\n", 5) == NULL)
        ck_assert(more(fd, &seen));
    ck_assert(memmem(seen.p, seen.n, "two\n", 4) != NULL);
    buf_finish(&seen);
    close(fd);
    stop(&w);
}
END_TEST

START_TEST(streamed_answer_waits_for_its_reader)
{
    struct world w = start();
    int fd = dial(&w);
    for (int i = 0; i < 2; i++) {
        puts_to(fd, GET("/lines"));
        struct answer a = get_answer(fd, false);
        ck_assert_int_eq(a.body.n, 200 * 1025);
        forget(&a);
    }
    close(fd);
    stop(&w);
}
END_TEST

static void wait_for_state(const struct world *w, const char *want)
{
    int fd = dial(w);
    for (int i = 0; i < 1000; i++) {
        puts_to(fd, GET("/state"));
        struct answer a = get_answer(fd, false);
        bool is = str_is(buf_view(&a.body), want);
        forget(&a);
        if (is) {
            close(fd);
            return;
        }
        poll(NULL, 0, 2);
    }
    ck_abort_msg("never: %s", want);
}

START_TEST(late_answer_to_a_client_that_left_does_no_harm)
{
    struct world w = start();
    int reset = dial(&w);
    puts_to(reset, POST("/wait", "Content-Length: 9\r\n\r\nfirst one"));
    wait_for_state(&w, "waiting=1 gone=0");
    struct linger hard = {1, 0};
    setsockopt(reset, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(reset);
    int stays = dial(&w);
    puts_to(stays, POST("/wait", "Content-Length: 10\r\n\r\nsecond one"));
    wait_for_state(&w, "waiting=2 gone=1");
    int fd = dial(&w);
    puts_to(fd, GET("/go"));
    expect(fd, 200, "waiting=2 gone=1");
    expect(stays, 200, "second one");
    close(fd);
    close(stays);
    stop(&w);
}
END_TEST

START_TEST(event_stream_sees_its_client_leave)
{
    struct world w = start();
    int fd = dial(&w);
    puts_to(fd, GET("/events"));
    struct buf seen = {0};
    while (seen.n == 0 || memmem(seen.p, seen.n, "data: 1\n\n", 9) == NULL)
        ck_assert(more(fd, &seen));
    buf_finish(&seen);
    close(fd);
    wait_for_state(&w, "waiting=0 gone=1");
    stop(&w);
}
END_TEST

START_TEST(more_connections_than_the_limit_are_closed)
{
    struct http_options o = usual();
    o.max_connections = 3;
    struct world w = start_with(o);
    int fds[4];
    for (int i = 0; i < 3; i++) {
        fds[i] = dial(&w);
        puts_to(fds[i], GET("/hello"));
        expect(fds[i], 200, NULL);
    }
    fds[3] = dial(&w);
    ck_assert(ends(fds[3]));
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    stop(&w);
}
END_TEST

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert(f != NULL);
    fputs(text, f);
    fclose(f);
}

START_TEST(static_files_have_types_tags_and_no_way_out)
{
    char dir[] = "/tmp/http_test.XXXXXX";
    ck_assert(mkdtemp(dir) != NULL);
    char root[64];
    snprintf(root, sizeof root, "%s/static", dir);
    ck_assert(mkdir(root, 0755) == 0);
    write_file(dir, "secret", "secret");
    write_file(root, "index.html", "<h1>hi</h1>");
    write_file(root, "app.js", "export {}");
    write_file(root, ".hidden", "hidden");
    struct http_options o = usual();
    o.static_dir = root;
    struct world w = start_with(o);
    int fd = dial(&w);
    puts_to(fd, GET("/"));
    struct answer a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 200);
    ck_assert(str_is(buf_view(&a.body), "<h1>hi</h1>"));
    ck_assert(str_is(field(&a, "content-type"), "text/html; charset=utf-8"));
    ck_assert(str_is(field(&a, "cache-control"), "no-cache"));
    ck_assert(str_is(field(&a, "x-content-type-options"), "nosniff"));
    ck_assert(field(&a, "content-security-policy").n > 0);
    char again[256];
    struct str tag = field(&a, "etag");
    snprintf(again, sizeof again, "GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"x\", %.*s\r\n\r\n",
             (int)tag.n, tag.p);
    forget(&a);
    puts_to(fd, again);
    a = get_answer(fd, false);
    ck_assert_int_eq(a.status, 304);
    forget(&a);
    puts_to(fd, "HEAD /app.js HTTP/1.1\r\nHost: a\r\n\r\n");
    a = get_answer(fd, true);
    ck_assert(str_is(field(&a, "content-type"), "text/javascript; charset=utf-8"));
    ck_assert(str_is(field(&a, "content-length"), "9"));
    forget(&a);
    static const char *const outside[] = {
        "/../secret", "/%2e%2e/secret", "/..%2fsecret", "/.hidden", "/./app.js",
        "//app.js",   "/app.js/",       "/nothing.js",  "/..",      "/static"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", outside[i]);
        puts_to(fd, text);
        expect(fd, 404, NULL);
    }
    puts_to(fd, POST("/app.js", "Content-Length: 0\r\n\r\n"));
    expect(fd, 404, NULL);
    close(fd);
    stop(&w);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    ck_assert(system(command) == 0);
}
END_TEST

START_TEST(stop_lets_requests_under_way_finish)
{
    struct world w = start();
    int idle = dial(&w);
    puts_to(idle, GET("/hello"));
    expect(idle, 200, NULL);
    int busy = dial(&w);
    puts_to(busy, POST("/echo", "Content-Length: 5\r\n\r\nhel"));
    wait_for_state(&w, "waiting=0 gone=0");
    kill(w.pid, SIGTERM);
    ck_assert(ends(idle));
    puts_to(busy, "lo");
    struct answer a = get_answer(busy, false);
    ck_assert(str_is(buf_view(&a.body), "hello"));
    ck_assert(str_is(field(&a, "connection"), "close"));
    forget(&a);
    ck_assert(ends(busy));
    close(idle);
    close(busy);
    int status;
    ck_assert(waitpid(w.pid, &status, 0) == w.pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

Suite *http_suite(void);
Suite *http_suite(void)
{
    Suite *s = suite_create("http");
    TCase *t = tcase_create("http");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, several_requests_go_over_one_connection);
    tcase_add_test(t, pipelined_requests_are_answered_in_order);
    tcase_add_test(t, request_sent_byte_by_byte_is_understood);
    tcase_add_loop_test(t, ambiguous_request_is_answered_once_and_the_connection_closed, 0,
                        (int)(sizeof smuggles / sizeof smuggles[0]));
    tcase_add_test(t, good_requests_before_a_bad_one_are_answered);
    tcase_add_test(t, unknown_path_and_wrong_method_are_told_with_what_is_right);
    tcase_add_test(t, head_gets_the_head_of_get);
    tcase_add_test(t, path_segments_rest_and_query_are_decoded);
    tcase_add_test(t, http_1_0_is_answered_and_closed);
    tcase_add_test(t, connection_close_is_obeyed);
    tcase_add_test(t, client_that_only_stopped_sending_gets_its_answers);
    tcase_add_test(t, large_bodies_go_both_ways);
    tcase_add_test(t, body_over_the_limit_is_refused_before_it_came);
    tcase_add_test(t, client_that_sends_its_whole_large_body_still_reads_the_refusal);
    tcase_add_test(t, long_head_is_refused);
    tcase_add_test(t, slow_head_and_slow_body_time_out);
    tcase_add_test(t, idle_connection_is_closed);
    tcase_add_test(t, client_that_reads_nothing_is_cut);
    tcase_add_test(t, refusals_are_told_to_the_route_that_wants_them);
    tcase_add_test(t, expect_100_is_answered_before_the_body);
    tcase_add_test(t, unauthorized_request_is_refused_before_its_body);
    tcase_add_test(t, streamed_bodies_of_both_framings_arrive_whole);
    tcase_add_test(t, streamed_body_with_bad_chunks_is_refused);
    tcase_add_test(t, streamed_body_that_nobody_read_is_no_request);
    tcase_add_test(t, answer_is_streamed_while_the_body_still_comes);
    tcase_add_test(t, streamed_answer_waits_for_its_reader);
    tcase_add_test(t, late_answer_to_a_client_that_left_does_no_harm);
    tcase_add_test(t, event_stream_sees_its_client_leave);
    tcase_add_test(t, more_connections_than_the_limit_are_closed);
    tcase_add_test(t, static_files_have_types_tags_and_no_way_out);
    tcase_add_test(t, stop_lets_requests_under_way_finish);
    suite_add_tcase(s, t);
    return s;
}
