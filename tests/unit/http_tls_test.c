/* SPDX-License-Identifier: Apache-2.0 */
/* TLS on the public port: HTTP/1.1, WebSockets through the bridge, and HTTP/2 where it is switched on. */
#include <check.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/http.h"
#include "net/hub.h"
#include "net/loop.h"

#include "unit/http_client.h"

enum { MAX_BODY = 1 << 20 };

/* The server. */

static struct http_req *waiting;
static int gone;

static void on_hello(struct http_req *q)
{
    ck_assert(http_secure(q));
    http_reply(q, 200, "text/plain", STR("hello"));
}

static void on_echo(struct http_req *q)
{
    http_reply(q, 200, "text/plain", http_body(q));
}

static void on_gone(void *arg)
{
    (void)arg;
    gone++;
}

static void on_wait(struct http_req *q)
{
    http_on_gone(q, on_gone, NULL);
    waiting = q;
}

static void on_go(struct http_req *q)
{
    http_reply(waiting, 200, "text/plain", http_body(waiting));
    http_reply(q, 200, "text/plain", gone > 0 ? STR("gone") : STR("here"));
}

static void on_state(struct http_req *q)
{
    http_reply(q, 200, "text/plain",
               gone > 0          ? STR("gone")
               : waiting != NULL ? STR("waiting")
                                 : STR(""));
}

static void on_piece(void *arg, struct str piece, bool last, const struct err *e)
{
    struct http_req *q = arg;
    http_write(q, piece);
    if (last || e != NULL)
        http_end(q);
    else
        http_read_more(q);
}

static void on_stream(struct http_req *q)
{
    http_begin(q, 200, "application/x-ndjson");
    http_read_body(q, on_piece, q);
}

static void on_open(struct hub_client *c)
{
    (void)c;
}

static void on_message(struct hub_client *c, struct str text)
{
    hub_send_text(c, text);
}

static const struct http_route routes[] = {
    {.methods = HTTP_GET_, .path = "/hello", .fn = on_hello, .open = true},
    {.methods = HTTP_POST_, .path = "/echo", .fn = on_echo, .open = true},
    {.methods = HTTP_POST_, .path = "/wait", .fn = on_wait, .open = true},
    {.methods = HTTP_GET_, .path = "/go", .fn = on_go, .open = true},
    {.methods = HTTP_GET_, .path = "/state", .fn = on_state, .open = true},
    {.methods = HTTP_POST_, .path = "/small", .fn = on_echo, .open = true, .max_body = 10},
    {.methods = HTTP_POST_, .path = "/stream", .fn = on_stream, .open = true, .stream = true},
    {.path = NULL},
};

static const struct hub_service services[] = {
    {.path = "/v1/echo",
     .protocol = "echo.v1",
     .max_message = 1 << 20,
     .max_queue = 1000,
     .max_queue_bytes = 16 << 20,
     .on_open = on_open,
     .on_message = on_message,
     .on_lag = on_open,
     .on_close = on_open},
    {.path = NULL},
};

static void on_stopped(void *arg)
{
    (void)arg;
    loop_stop();
}

static void on_term(void *arg, int signo)
{
    (void)arg, (void)signo;
    hub_stop();
    http_stop(3000, on_stopped, NULL);
}

struct world {
    char dir[64];
    char cert[80];
    char key[80];
    struct http_options o;
    int port;
    pid_t pid;
};

static void serve(const struct world *w, int tell)
{
    struct err e;
    log_setup(getenv("HTTP_TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR, false, 2);
    struct hub_options hub = {.ping_ms = 20000, .stall_ms = 20000, .max_clients = 32};
    if (!loop_start(&e) || !hub_start(&hub, services, &e) || !http_start(&w->o, routes, &e)) {
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

static struct world prepare(void)
{
    struct world w = {.dir = "/tmp/http_tls_test.XXXXXX"};
    ck_assert(mkdtemp(w.dir) != NULL);
    snprintf(w.cert, sizeof w.cert, "%s/cert", w.dir);
    snprintf(w.key, sizeof w.key, "%s/key", w.dir);
    char command[512];
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=localhost -keyout %s -out %s 2>/dev/null",
             w.key, w.cert);
    ck_assert(system(command) == 0);
    w.o = (struct http_options){.host = "127.0.0.1",
                                .max_body = MAX_BODY,
                                .max_head = 16384,
                                .head_timeout_ms = 5000,
                                .body_timeout_ms = 5000,
                                .idle_timeout_ms = 20000,
                                .max_connections = 100};
    return w;
}

static void run(struct world *w)
{
    w->o.tls_cert = w->cert;
    w->o.tls_key = w->key;
    int tell[2];
    ck_assert(pipe(tell) == 0);
    w->pid = fork();
    ck_assert(w->pid >= 0);
    if (w->pid == 0) {
        close(tell[0]);
        serve(w, tell[1]);
    }
    close(tell[1]);
    ck_assert(read(tell[0], &w->port, sizeof w->port) == sizeof w->port);
    close(tell[0]);
}

static void stop(struct world *w)
{
    kill(w->pid, SIGTERM);
    int status;
    ck_assert(waitpid(w->pid, &status, 0) == w->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %d",
                  status);
    unlink(w->cert);
    unlink(w->key);
    rmdir(w->dir);
}

/* The client: a thread-free relay is enough, as the helpers want a descriptor that speaks plain text. A child
 * process carries bytes between one end of a pair and the TLS connection. */

struct link {
    int fd;
    pid_t pid;
};

static bool carry_in(SSL *ssl, int plain)
{
    char bytes[16384];
    do {
        int n = SSL_read(ssl, bytes, sizeof bytes);
        if (n <= 0)
            return SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ; /* a session ticket alone */
        for (int at = 0; at < n;) {
            ssize_t k = send(plain, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
            if (k <= 0)
                return false;
            at += (int)k;
        }
    } while (SSL_pending(ssl) > 0);
    return true;
}

static void relay(SSL *ssl, int net, int plain)
{
    char bytes[16384];
    struct pollfd fds[2] = {{.fd = net, .events = POLLIN}, {.fd = plain, .events = POLLIN}};
    while (poll(fds, 2, -1) > 0) {
        if (fds[0].revents != 0 && !carry_in(ssl, plain))
            return;
        if (fds[1].revents == 0)
            continue;
        ssize_t n = read(plain, bytes, sizeof bytes);
        if (n <= 0 || SSL_write(ssl, bytes, (int)n) <= 0) {
            if (n > 0) /* refused: the answer may still come */
                while (carry_in(ssl, plain))
                    continue;
            return;
        }
    }
}

static struct link dial_tls(const struct world *w, const char *alpn, bool hard)
{
    int pair[2];
    ck_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    struct link l = {.fd = pair[0], .pid = fork()};
    ck_assert(l.pid >= 0);
    if (l.pid > 0) {
        close(pair[1]);
        return l;
    }
    close(pair[0]);
    signal(SIGPIPE, SIG_IGN);
    int net = dial_port(w->port);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    if (alpn != NULL)
        SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    SSL_set_fd(ssl, net);
    SSL_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    if (SSL_connect(ssl) == 1)
        relay(ssl, net, pair[1]);
    struct linger reset = {1, 0};
    if (hard)
        setsockopt(net, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(net);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    _exit(0);
}

static struct link dial(const struct world *w)
{
    return dial_tls(w, NULL, false);
}

static void hang_up(struct link l)
{
    close(l.fd);
    int status;
    waitpid(l.pid, &status, 0);
}

START_TEST(requests_and_large_bodies_go_over_tls)
{
    struct world w = prepare();
    run(&w);
    struct link l = dial(&w);
    puts_to(l.fd, GET("/hello") POST("/echo", "Content-Length: 3\r\n\r\none")
                      POST("/echo", "Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"));
    expect(l.fd, 200, "hello");
    expect(l.fd, 200, "one");
    expect(l.fd, 200, "two");
    struct buf body = {0};
    for (size_t i = 0; i < MAX_BODY; i++)
        buf_char(&body, (char)('a' + i % 23));
    for (int i = 0; i < 3; i++) {
        puts_to(l.fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 1048576\r\n\r\n"));
        struct answer a = get_answer(l.fd, true);
        ck_assert_int_eq(a.status, 100);
        forget(&a);
        put(l.fd, buf_view(&body));
        expect(l.fd, 200, body.p);
    }
    puts_to(l.fd, POST("/stream", "Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"));
    puts_to(l.fd, "4\r\ntwo\n\r\n0\r\n\r\n");
    struct answer a = get_answer(l.fd, false);
    ck_assert(str_is(buf_view(&a.body), "one\ntwo\n"));
    forget(&a);
    buf_finish(&body);
    hang_up(l);
    stop(&w);
}
END_TEST

START_TEST(refusals_over_tls_are_read_and_the_connection_ends)
{
    struct world w = prepare();
    w.o.body_timeout_ms = 300;
    run(&w);
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {POST("/echo", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello") GET("/hello"), 400},
        {POST("/echo", "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n") GET("/hello"),
         400},
        {POST("/small", "Content-Length: 11\r\n\r\n0123456789a"), 413},
        {POST("/echo", "Content-Length: 11\r\n\r\n0123"), 408},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct link l = dial(&w);
        puts_to(l.fd, rows[i].text);
        expect(l.fd, rows[i].status, NULL);
        ck_assert(ends(l.fd));
        hang_up(l);
    }
    stop(&w);
}
END_TEST

START_TEST(late_answer_to_a_tls_client_that_left_does_no_harm)
{
    struct world w = prepare();
    run(&w);
    struct link other = dial(&w); /* first: a later child would hold the other's descriptor */
    struct link l = dial_tls(&w, NULL, true);
    puts_to(l.fd, POST("/wait", "Content-Length: 5\r\n\r\nhello"));
    for (bool here = false; !here;) {
        puts_to(other.fd, GET("/state"));
        struct answer a = get_answer(other.fd, false);
        here = str_is(buf_view(&a.body), "waiting");
        forget(&a);
    }
    hang_up(l);
    for (bool left = false; !left;) {
        puts_to(other.fd, GET("/state"));
        struct answer a = get_answer(other.fd, false);
        left = str_is(buf_view(&a.body), "gone");
        forget(&a);
    }
    puts_to(other.fd, GET("/go"));
    expect(other.fd, 200, "gone");
    hang_up(other);
    stop(&w);
}
END_TEST

START_TEST(plain_text_on_the_tls_port_is_closed)
{
    struct world w = prepare();
    run(&w);
    int fd = dial_port(w.port);
    puts_to(fd, GET("/hello"));
    struct buf b = {0};
    while (more(fd, &b))
        continue;
    ck_assert(b.n == 0 || memmem(b.p, b.n, "hello", 5) == NULL);
    buf_finish(&b);
    close(fd);
    char command[256];
    snprintf(command, sizeof command,
             "openssl s_client -connect 127.0.0.1:%d -tls1_1 </dev/null >/dev/null 2>&1", w.port);
    ck_assert(system(command) != 0);
    stop(&w);
}
END_TEST

#define HANDSHAKE                                                                                  \
    "GET /v1/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"            \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

START_TEST(websocket_works_over_tls)
{
    struct world w = prepare();
    run(&w);
    struct link l = dial(&w);
    puts_to(l.fd, HANDSHAKE);
    struct answer a = get_answer(l.fd, true);
    ck_assert_int_eq(a.status, 101);
    ck_assert(str_is(field(&a, "sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    forget(&a);
    put(l.fd, (struct str){"\x81\x85\0\0\0\0hello", 11});
    while (ahead.n < 7)
        ck_assert(more(l.fd, &ahead));
    ck_assert(memcmp(ahead.p, "\x81\x05hello", 7) == 0);
    buf_drop(&ahead, 7);
    /* A megabyte there and back. */
    struct buf big = {0};
    buf_add(&big, "\x81\xff\0\0\0\0\0\x10\0\0\0\0\0\0", 14);
    for (int i = 0; i < 1 << 20; i++)
        buf_char(&big, (char)('a' + i % 23));
    put(l.fd, buf_view(&big));
    while (ahead.n < 10 + (1 << 20))
        ck_assert(more(l.fd, &ahead));
    ck_assert(memcmp(ahead.p + 10, big.p + 14, 1 << 20) == 0);
    buf_drop(&ahead, 10 + (1 << 20));
    buf_finish(&big);
    put(l.fd, (struct str){"\x81\x05hello", 7}); /* no mask */
    while (ahead.n < 4)
        ck_assert(more(l.fd, &ahead));
    ck_assert(memcmp(ahead.p, "\x88", 1) == 0 && memcmp(ahead.p + 2, "\x03\xea", 2) == 0);
    while (more(l.fd, &ahead))
        continue;
    buf_clear(&ahead);
    hang_up(l);
    /* One that stays until the server goes. */
    l = dial(&w);
    puts_to(l.fd, HANDSHAKE);
    a = get_answer(l.fd, true);
    ck_assert_int_eq(a.status, 101);
    forget(&a);
    stop(&w);
    while (more(l.fd, &ahead))
        continue;
    ck_assert(ahead.n >= 4 && memcmp(ahead.p, "\x88\x02\x03\xe9", 4) == 0);
    hang_up(l);
}
END_TEST

static void curl(const struct world *w, const char *options, const char *want)
{
    char command[512];
    snprintf(command, sizeof command, "curl -sk --max-time 20 %s https://127.0.0.1:%d", options,
             w->port);
    /* The path follows what stands at the end of the options. */
    char *path = strstr(command, "PATH=");
    ck_assert(path != NULL);
    char name[64];
    sscanf(path + 5, "%63s", name);
    memset(path, ' ', 5 + strlen(name));
    strcat(command, name);
    FILE *f = popen(command, "r");
    ck_assert(f != NULL);
    struct buf got = {0};
    char bytes[65536];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(&got, bytes, n);
    pclose(f);
    ck_assert_msg(str_is(buf_view(&got), want), "%s: %.*s", command, (int)got.n, got.p);
    buf_finish(&got);
}

START_TEST(http2_is_spoken_only_where_it_is_switched_on)
{
    struct world w = prepare();
    run(&w);
    curl(&w, "--http2 -w ' %{http_version}' PATH=/hello", "hello 1.1");
    stop(&w);
    w = prepare();
    w.o.http2 = true;
    run(&w);
    curl(&w, "--http2 -w ' %{http_version}' PATH=/hello", "hello 2");
    curl(&w, "--http2 -w ' %{http_version}' -d some-body PATH=/echo", "some-body 2");
    curl(&w, "--http2 -w ' %{http_version}' -d some-body PATH=/stream", "some-body 2");
    curl(&w, "--http2 -o /dev/null -w '%{http_code} %{content_type}' -d 0123456789a PATH=/small",
         "413 application/problem+json");
    curl(&w, "--http2 -o /dev/null -w '%{http_code}' PATH=/nothing", "404");
    curl(&w, "--http2 -o /dev/null -w '%{http_code}' -X DELETE PATH=/hello", "405");
    curl(&w, "--http2 -I -o /dev/null -w '%{http_code}' PATH=/hello", "200");
    curl(&w, "--http1.1 -w ' %{http_version}' PATH=/hello", "hello 1.1");
    stop(&w);
}
END_TEST

START_TEST(endless_resets_end_the_http2_connection)
{
    struct world w = prepare();
    w.o.http2 = true;
    run(&w);
    struct link l = dial_tls(&w, "\x02h2", false);
    struct buf b = {0};
    buf_puts(&b, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    buf_add(&b, "\0\0\0\x04\0\0\0\0\0", 9);
    for (unsigned id = 1; id < 2000; id += 2) {
        const unsigned char stream[4] = {0, 0, (unsigned char)(id >> 8), (unsigned char)id};
        buf_add(&b, "\0\0\x0d\x01\x05", 5);
        buf_add(&b, stream, 4);
        buf_add(&b,
                "\x82\x87\x44\x06/hello\x41\x01"
                "a",
                13);
        buf_add(&b, "\0\0\x04\x03\0", 5);
        buf_add(&b, stream, 4);
        buf_add(&b, "\0\0\0\x08", 4);
    }
    put(l.fd, buf_view(&b));
    while (more(l.fd, &ahead))
        continue;
    buf_clear(&ahead);
    buf_finish(&b);
    hang_up(l);
    curl(&w, "--http2 PATH=/hello", "hello");
    stop(&w);
}
END_TEST

START_TEST(key_that_does_not_fit_is_told_at_the_start)
{
    struct world w = prepare();
    struct world other = prepare();
    struct err e;
    ck_assert(loop_start(&e));
    w.o.tls_cert = w.cert;
    ck_assert(!http_start(&w.o, routes, &e));
    ck_assert_msg(strstr(e.text, "tls_key") != NULL, "%s", e.text);
    w.o.tls_key = other.key;
    ck_assert(!http_start(&w.o, routes, &e));
    ck_assert_msg(strstr(e.text, other.key) != NULL, "%s", e.text);
    w.o.tls_cert = "/nowhere";
    ck_assert(!http_start(&w.o, routes, &e));
    ck_assert_msg(strstr(e.text, "/nowhere") != NULL, "%s", e.text);
    loop_finish();
    const char *const files[] = {w.cert, w.key, other.cert, other.key};
    for (size_t i = 0; i < 4; i++)
        unlink(files[i]);
    rmdir(w.dir);
    rmdir(other.dir);
}
END_TEST

Suite *http_tls_suite(void);
Suite *http_tls_suite(void)
{
    Suite *s = suite_create("http_tls");
    TCase *t = tcase_create("http_tls");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, requests_and_large_bodies_go_over_tls);
    tcase_add_test(t, refusals_over_tls_are_read_and_the_connection_ends);
    tcase_add_test(t, late_answer_to_a_tls_client_that_left_does_no_harm);
    tcase_add_test(t, plain_text_on_the_tls_port_is_closed);
    tcase_add_test(t, websocket_works_over_tls);
    tcase_add_test(t, http2_is_spoken_only_where_it_is_switched_on);
    tcase_add_test(t, endless_resets_end_the_http2_connection);
    tcase_add_test(t, key_that_does_not_fit_is_told_at_the_start);
    suite_add_tcase(s, t);
    return s;
}
