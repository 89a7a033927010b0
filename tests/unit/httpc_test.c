/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/httpc.h"
#include "net/loop.h"
#include "net/proc.h"

Suite *httpc_suite(void);

static struct proc *server;
static char base[64]; /* http://127.0.0.1:PORT */

static int done; /* callbacks of calls */
static int status;
static struct buf body;
static struct buf headers; /* those that the response shows */
static int64_t retry_after_ms;
static enum err_code code;
static struct buf text; /* of the error */
static struct buf streamed;
static struct httpc_call *call;

static void on_server_stdout(void *arg, struct str bytes)
{
    (void)arg;
    snprintf(base, sizeof base, "http://127.0.0.1:%.*s", (int)str_trim(bytes).n, bytes.p);
    loop_stop();
}

static void on_server_exit(void *arg, const struct proc_exit *x)
{
    (void)arg;
    (void)x;
    server = NULL;
    loop_stop();
}

static void setup(void)
{
    static const struct proc_events events = {on_server_stdout, NULL, on_server_exit};
    char python[] = "python3", script[] = TEST_DATA_DIR "/httpc_server.py";
    char *argv[] = {python, script, NULL};
    struct err e;
    setenv("http_proxy", "http://127.0.0.1:9", 1); /* must be ignored */
    ck_assert(loop_start(&e));
    server =
        proc_spawn(&(struct proc_options){.argv = argv, .die_with_us = true}, &events, NULL, &e);
    ck_assert_msg(server != NULL, "%s", e.text);
    loop_run();
    ck_assert_ptr_nonnull(server);
}

static void teardown(void)
{
    httpc_finish();
    proc_close_stdin(server);
    while (server != NULL)
        loop_run();
    loop_finish();
    buf_finish(&body);
    buf_finish(&headers);
    buf_finish(&text);
    buf_finish(&streamed);
}

static void put(struct buf *b, struct str s)
{
    buf_clear(b);
    buf_str(b, s);
}

static void on_done(void *arg, const struct httpc_response *r, const struct err *e)
{
    (void)arg;
    done++;
    ck_assert((r == NULL) == (e != NULL));
    code = e != NULL ? e->code : ERR_NONE;
    put(&text, e != NULL ? str_of(e->text) : STR(""));
    if (r != NULL) {
        status = r->status;
        put(&body, r->body);
        buf_clear(&headers);
        buf_printf(&headers, "%.*s|%.*s|%.*s", (int)r->content_type.n, r->content_type.p,
                   (int)r->location.n, r->location.p, (int)r->etag.n, r->etag.p);
        retry_after_ms = r->retry_after_ms;
    }
    loop_stop();
}

/* path: below the server, or a whole URL. */
static struct httpc_call *send_to(struct httpc_request q, const char *path)
{
    char *url = path[0] == '/' ? mem_format("%s%s", base, path) : mem_strdup(path);
    q.url = url;
    struct httpc_call *c = httpc_send(&q, on_done, NULL);
    mem_free(url);
    return c;
}

static void get(struct httpc_request q, const char *path)
{
    int before = done;
    send_to(q, path);
    ck_assert_int_eq(done, before);
    while (done == before)
        loop_run();
    ck_assert_int_eq(done, before + 1);
}

static const struct httpc_request plain = {.allow_private = true};

START_TEST(get_brings_status_headers_and_body)
{
    get(plain, "/echo?a=1");
    ck_assert_int_eq(code, ERR_NONE);
    ck_assert_int_eq(status, 200);
    ck_assert_str_eq(body.p,
                     "GET\n/echo?a=1\nAccept: */*\nUser-Agent: hookmesh/" HOOKMESH_VERSION "\n\n");
    ck_assert_str_eq(headers.p, "text/plain||");
    ck_assert_int_eq(retry_after_ms, -1);
}
END_TEST

START_TEST(post_sends_headers_and_body_as_they_are)
{
    static const char *const lines[] = {"Content-Type: application/json", "X-Empty:", "X-Two: a; b",
                                        NULL};
    get((struct httpc_request){.headers = lines,
                               .body = STR("{\"a\":\0 1}"),
                               .allow_private = true},
        "/echo");
    static const char want[] = "POST\n/echo\nAccept: */*\nContent-Length: 9\n"
                               "Content-Type: application/json\n"
                               "User-Agent: hookmesh/" HOOKMESH_VERSION "\n"
                               "X-Empty: \nX-Two: a; b\n\n{\"a\":\0 1}";
    ck_assert(str_eq(buf_view(&body), (struct str){want, sizeof want - 1}));
}
END_TEST

static const struct {
    const char *method, *body, *want;
} methods[] = {
    {"PUT", "x", "PUT\n/echo\nAccept: */*\nContent-Length: 1\n"},
    {"PUT", "", "PUT\n/echo\nAccept: */*\nContent-Length: 0\n"},
    {"POST", "", "POST\n/echo\nAccept: */*\nContent-Length: 0\n"},
    {"PATCH", "x", "PATCH\n/echo\nAccept: */*\nContent-Length: 1\n"},
    {"DELETE", "", "DELETE\n/echo\nAccept: */*\nUser-Agent"},
    {"GET", "x", "GET\n/echo\nAccept: */*\nContent-Length: 1\n"},
    {"HEAD", "", ""},
};

START_TEST(each_method_is_sent_as_named)
{
    get((struct httpc_request){.method = methods[_i].method,
                               .body = str_of(methods[_i].body),
                               .allow_private = true},
        "/echo");
    ck_assert_int_eq(status, 200);
    ck_assert_msg(str_starts(buf_view(&body), methods[_i].want), "%s", body.p);
}
END_TEST

START_TEST(error_statuses_and_redirects_are_answers)
{
    get(plain, "/status?503&7");
    ck_assert_int_eq(code, ERR_NONE);
    ck_assert_int_eq(status, 503);
    ck_assert_int_eq(retry_after_ms, 7000);
    get(plain, "/status?302");
    ck_assert_int_eq(status, 302);
    ck_assert_str_eq(headers.p, "|/elsewhere|\"7\"");
    ck_assert_int_eq(retry_after_ms, -1);
    get(plain, "/status?429&Fri,%2031%20Dec%201999%2023:59:59%20GMT");
    ck_assert_int_eq(retry_after_ms, 0);
}
END_TEST

START_TEST(answer_larger_than_allowed_is_refused)
{
    struct httpc_request q = {.max_response = 100000, .allow_private = true};
    get(q, "/big?100000");
    ck_assert_int_eq(code, ERR_NONE);
    ck_assert_uint_eq(body.n, 100000);
    get(q, "/big?100001");
    ck_assert_int_eq(code, ERR_TOO_LARGE);
    ck_assert_str_eq(text.p, "the answer of 127.0.0.1 has more than 100000 bytes");
    get(q, "/chunks?100000");
    ck_assert_int_eq(code, ERR_TOO_LARGE);
    get(q, "/chunks?1000");
    ck_assert_int_eq(code, ERR_NONE);
}
END_TEST

static void on_body(void *arg, struct str bytes)
{
    (void)arg;
    buf_str(&streamed, bytes);
    loop_stop();
}

START_TEST(streamed_answer_arrives_while_it_is_made)
{
    send_to((struct httpc_request){.on_body = on_body, .allow_private = true}, "/wait");
    loop_run();
    ck_assert_int_eq(done, 0);
    ck_assert_str_eq(streamed.p, "first\n");
    send_to(plain, "/release");
    while (done < 2)
        loop_run();
    ck_assert_str_eq(streamed.p, "first\nsecond\n");
    ck_assert_int_eq(code, ERR_NONE);
}
END_TEST

START_TEST(silent_server_runs_into_the_timeout)
{
    int64_t from = clock_mono_us();
    get((struct httpc_request){.timeout_ms = 100, .allow_private = true}, "/silent");
    ck_assert_int_eq(code, ERR_TIMEOUT);
    ck_assert_int_ge(clock_mono_us() - from, 90000);
}
END_TEST

static const char *const broken[] = {"/reset", "/short", "/garbage"};

START_TEST(broken_answer_is_an_error_that_names_the_host)
{
    get(plain, broken[_i]);
    ck_assert_int_eq(code, ERR_UNAVAILABLE);
    ck_assert_msg(str_starts(buf_view(&text), "no answer from 127.0.0.1: "), "%s", text.p);
}
END_TEST

START_TEST(server_that_is_not_there_is_an_error)
{
    get(plain, "http://user:secret@127.0.0.1:1/?token=secret");
    ck_assert_int_eq(code, ERR_UNAVAILABLE);
    ck_assert_ptr_null(strstr(text.p, "secret"));
    get(plain, "http://no.such.host.invalid/");
    ck_assert_int_eq(code, ERR_UNAVAILABLE);
}
END_TEST

static const char *const bad_urls[] = {
    "",
    "nonsense://x",
    "http://",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "http://a b/",
    "http://127.0.0.1:99999/",
    "gopher://127.0.0.1/",
};

START_TEST(url_that_cannot_be_called_is_refused)
{
    get(plain, bad_urls[_i]);
    ck_assert_msg(code == ERR_BAD_INPUT, "%s: %s", bad_urls[_i], text.p);
}
END_TEST

static const char *const bad_headers[] = {"X: a\r\nY: b", "X: a\nY: b", "no colon",
                                          ": x",          "a b: c",     "X\r\n: a"};

START_TEST(header_that_could_forge_another_is_refused)
{
    const char *lines[] = {bad_headers[_i], NULL};
    get((struct httpc_request){.headers = lines, .allow_private = true}, "/echo");
    ck_assert_int_eq(code, ERR_BAD_INPUT);
    get((struct httpc_request){.method = "GET / HTTP/1.1\r\nX: y", .allow_private = true}, "/echo");
    ck_assert_int_eq(code, ERR_BAD_INPUT);
    get(plain, "/hits");
    ck_assert_str_eq(body.p, "0");
}
END_TEST

static const char *const private_hosts[] = {
    "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]", "[::]",
};

START_TEST(private_address_is_refused_unless_allowed)
{
    get(plain, "/hits"); /* its connection stays open, and must not be used for the next */
    char *url = mem_format("http://%s%s/echo", private_hosts[_i], strrchr(base, ':'));
    get((struct httpc_request){0}, url);
    ck_assert_msg(code == ERR_FORBIDDEN, "%s: %s", url, text.p);
    ck_assert_msg(str_ends(buf_view(&text), " has a private address, and calls to private "
                                            "addresses are not allowed"),
                  "%s", text.p);
    mem_free(url);
    get(plain, "/hits");
    ck_assert_str_eq(body.p, "1");
}
END_TEST

START_TEST(cancelled_call_fires_once_and_later)
{
    httpc_cancel(send_to(plain, "/echo")); /* before it began */
    ck_assert_int_eq(done, 0);
    loop_run();
    ck_assert_int_eq(done, 1);
    ck_assert_int_eq(code, ERR_CANCELLED);
    call = send_to((struct httpc_request){.on_body = on_body, .allow_private = true}, "/wait");
    loop_run();
    ck_assert_str_eq(streamed.p, "first\n");
    httpc_cancel(call);
    httpc_cancel(call);
    loop_run();
    ck_assert_int_eq(done, 2);
    ck_assert_int_eq(code, ERR_CANCELLED);
    get(plain, "/release");
    ck_assert_str_eq(streamed.p, "first\n");
}
END_TEST

static void cancel_in_body(void *arg, struct str bytes)
{
    (void)arg;
    buf_str(&streamed, bytes);
    httpc_cancel(call);
    send_to(plain, "/hits"); /* and begin another from here */
}

START_TEST(call_may_be_cancelled_by_what_it_brings)
{
    call = send_to((struct httpc_request){.on_body = cancel_in_body, .allow_private = true},
                   "/chunks?100000");
    loop_run();
    ck_assert_int_eq(code, ERR_CANCELLED);
    while (done < 2)
        loop_run();
    ck_assert_str_eq(body.p, "1");
}
END_TEST

START_TEST(hundred_calls_at_once_all_end)
{
    for (int i = 0; i < 100; i++)
        send_to(plain, "/big?1000");
    while (done < 100)
        loop_run();
    ck_assert_int_eq(code, ERR_NONE);
    get(plain, "/hits");
    ck_assert_str_eq(body.p, "100");
}
END_TEST

START_TEST(finish_cancels_what_is_under_way)
{
    send_to(plain, "/silent");
    send_to((struct httpc_request){.on_body = on_body, .allow_private = true}, "/wait");
    loop_run();
    send_to(plain, "/echo"); /* not even begun */
    httpc_finish();
    ck_assert_int_eq(done, 3);
    ck_assert_int_eq(code, ERR_CANCELLED);
    get(plain, "/release"); /* and it can be used again */
}
END_TEST

Suite *httpc_suite(void)
{
    Suite *s = suite_create("httpc");
    TCase *t = tcase_create("httpc");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, get_brings_status_headers_and_body);
    tcase_add_test(t, post_sends_headers_and_body_as_they_are);
    tcase_add_loop_test(t, each_method_is_sent_as_named, 0, sizeof methods / sizeof methods[0]);
    tcase_add_test(t, error_statuses_and_redirects_are_answers);
    tcase_add_test(t, answer_larger_than_allowed_is_refused);
    tcase_add_test(t, streamed_answer_arrives_while_it_is_made);
    tcase_add_test(t, silent_server_runs_into_the_timeout);
    tcase_add_loop_test(t, broken_answer_is_an_error_that_names_the_host, 0,
                        sizeof broken / sizeof broken[0]);
    tcase_add_test(t, server_that_is_not_there_is_an_error);
    tcase_add_loop_test(t, url_that_cannot_be_called_is_refused, 0,
                        sizeof bad_urls / sizeof bad_urls[0]);
    tcase_add_loop_test(t, header_that_could_forge_another_is_refused, 0,
                        sizeof bad_headers / sizeof bad_headers[0]);
    tcase_add_loop_test(t, private_address_is_refused_unless_allowed, 0,
                        sizeof private_hosts / sizeof private_hosts[0]);
    tcase_add_test(t, cancelled_call_fires_once_and_later);
    tcase_add_test(t, call_may_be_cancelled_by_what_it_brings);
    tcase_add_test(t, hundred_calls_at_once_all_end);
    tcase_add_test(t, finish_cancels_what_is_under_way);
    suite_add_tcase(s, t);
    return s;
}
