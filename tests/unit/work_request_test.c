/* SPDX-License-Identifier: Apache-2.0 */
/* Work done by an HTTP service, which here is a thread that answers by the path. */
#include "unit/work_harness.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

static struct {
    int fd;
    int port;
    _Atomic int seen;   /* requests */
    char request[8192]; /* the last one */
    pthread_mutex_t lock;
} service;

static bool read_request(int fd, char *to, size_t max)
{
    size_t n = 0;
    for (;;) {
        ssize_t got = recv(fd, to + n, max - 1 - n, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
        to[n] = '\0';
        const char *end = strstr(to, "\r\n\r\n");
        if (end == NULL)
            continue;
        const char *length = strcasestr(to, "\r\ncontent-length:");
        size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
        if ((size_t)(end + 4 - to) + body <= n)
            return true;
    }
}

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    char *text = mem_format("HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n%s",
                            status, strlen(body), headers, body);
    send(fd, text, strlen(text), MSG_NOSIGNAL);
    mem_free(text);
}

static void answer_by_path(int fd, const char *request)
{
    const char *path = strchr(request, ' ') + 1;
    const char *body = strstr(request, "\r\n\r\n") + 4;
    if (strncmp(path, "/echo", 5) == 0)
        answer(fd, "200 OK", "", body);
    else if (strncmp(path, "/garbage", 8) == 0)
        answer(fd, "200 OK", "", "<html>");
    else if (strncmp(path, "/empty", 6) == 0)
        answer(fd, "204 No Content", "", "");
    else if (strncmp(path, "/busy", 5) == 0)
        answer(fd, "429 Too Many Requests", "Retry-After: 7\r\n", "slowly");
    else if (strncmp(path, "/broken", 7) == 0)
        answer(fd, "503 Service Unavailable", "", "");
    else if (strncmp(path, "/wrong", 6) == 0)
        answer(fd, "422 Unprocessable Entity", "", "no \x01 id\n");
    else if (strncmp(path, "/moved", 6) == 0)
        answer(fd, "302 Found", "Location: /echo\r\n", "");
    else if (strncmp(path, "/hang", 5) == 0)
        recv(fd, (char[1]){0}, 1, 0); /* until the other side has had enough */
    else if (strncmp(path, "/large", 6) == 0) {
        char *big = mem_alloc(200001);
        memset(big, '1', 200000);
        big[200000] = '\0';
        answer(fd, "200 OK", "", big);
        mem_free(big);
    }
    /* /cut: closed without an answer */
}

static void *connection(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char request[sizeof service.request];
    if (read_request(fd, request, sizeof request)) {
        pthread_mutex_lock(&service.lock);
        memcpy(service.request, request, sizeof request);
        pthread_mutex_unlock(&service.lock);
        atomic_fetch_add(&service.seen, 1);
        answer_by_path(fd, request);
    }
    close(fd);
    return NULL;
}

static void *serve(void *unused)
{
    (void)unused;
    for (;;) {
        int fd = accept4(service.fd, NULL, NULL, SOCK_CLOEXEC);
        pthread_t t;
        if (fd >= 0 && pthread_create(&t, NULL, connection, (void *)(intptr_t)fd) == 0)
            pthread_detach(t);
    }
    return NULL;
}

/* A stage `s` that asks this path of the service. */
static void start(const char *path, const char *more)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    pthread_t t;
    pthread_mutex_init(&service.lock, NULL);
    service.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(service.fd, (struct sockaddr *)&a, n), 0);
    ck_assert_int_eq(listen(service.fd, 64), 0);
    ck_assert_int_eq(getsockname(service.fd, (struct sockaddr *)&a, &n), 0);
    service.port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&t, NULL, serve, NULL), 0);
    pthread_detach(t);
    char *yaml = mem_format("settings: {output_max: 100000}\n"
                            "pipelines:\n"
                            "  - name: p\n"
                            "    stages:\n"
                            "      - name: s\n"
                            "        watch: \"in.*.raw\"\n"
                            "        http: {url: \"http://127.0.0.1:%d%s\"%s\n",
                            service.port, path, more);
    harness_start(yaml);
    mem_free(yaml);
}

#define WRITE "}\n        write: \"out.{1}\""

static void assert_request(const char *part)
{
    pthread_mutex_lock(&service.lock);
    ck_assert_msg(strcasestr(service.request, part) != NULL, "\"%s\" is not in:\n%s", part,
                  service.request);
    pthread_mutex_unlock(&service.lock);
}

START_TEST(value_is_posted_and_the_answer_is_the_result)
{
    start("/echo", WRITE);
    assert_given(harness_do("s", "{\"a\":1}"), CLAIM_OK, "{\"a\":1}");
    assert_request("POST /echo ");
    assert_request("\r\nContent-Type: application/json\r\n");
    assert_request("\r\nHookmesh-Run: run-0\r\n");
    assert_request("\r\nIdempotency-Key: p.s/in.0.raw/1\r\n");
    harness_stop();
}
END_TEST

START_TEST(configured_method_and_headers_are_sent)
{
    start("/echo", ", method: PUT, headers: {Content-Type: text/json, X-Own: mine}" WRITE);
    assert_given(harness_do("s", "1"), CLAIM_OK, "1");
    assert_request("PUT /echo ");
    assert_request("\r\nX-Own: mine\r\n");
    assert_request("\r\nContent-Type: text/json\r\n");
    ck_assert_ptr_null(strcasestr(service.request, "application/json\r\nContent"));
    harness_stop();
}
END_TEST

START_TEST(get_sends_no_body)
{
    start("/empty", ", method: GET}");
    assert_given(harness_do("s", "{\"a\":1}"), CLAIM_OK, "");
    assert_request("GET /empty ");
    ck_assert_ptr_null(strstr(service.request, "{\"a\""));
    harness_stop();
}
END_TEST

START_TEST(busy_service_is_asked_again_not_before_it_said)
{
    start("/busy", WRITE);
    const struct given *g = harness_do("s", "1");
    assert_given(g, CLAIM_RETRY, "the service answered 429: slowly");
    ck_assert_int_eq(g->retry_after_ms, 7000);
    harness_stop();
}
END_TEST

START_TEST(broken_service_is_asked_again)
{
    start("/broken", WRITE);
    const struct given *g = harness_do("s", "1");
    assert_given(g, CLAIM_RETRY, "the service answered 503");
    ck_assert_int_eq(g->retry_after_ms, -1);
    harness_stop();
}
END_TEST

START_TEST(refused_request_fails_and_shows_the_answer)
{
    start("/wrong", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "the service answered 422: no \xEF\xBF\xBD id");
    harness_stop();
}
END_TEST

START_TEST(redirect_is_not_followed)
{
    start("/moved", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "the service answered 302");
    ck_assert_int_eq(atomic_load(&service.seen), 1);
    harness_stop();
}
END_TEST

START_TEST(answer_that_is_no_json_fails_where_it_is_to_be_written)
{
    start("/garbage", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "it begins: <html>");
    harness_stop();
}
END_TEST

START_TEST(answer_does_not_matter_where_nothing_is_to_be_written)
{
    start("/garbage", "}");
    assert_given(harness_do("s", "1"), CLAIM_OK, "");
    harness_stop();
}
END_TEST

START_TEST(empty_answer_fails_where_a_result_is_to_be_written)
{
    start("/empty", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "the service gave no output");
    harness_stop();
}
END_TEST

START_TEST(too_large_an_answer_fails)
{
    start("/large", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "more than 100000 bytes (setting output_max)");
    harness_stop();
}
END_TEST

START_TEST(connection_that_is_cut_is_tried_again)
{
    start("/cut", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "");
    harness_stop();
}
END_TEST

START_TEST(service_that_is_not_there_is_tried_again)
{
    start("/echo", WRITE);
    shutdown(service.fd, SHUT_RDWR);
    close(service.fd);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "");
    harness_stop();
}
END_TEST

START_TEST(service_over_its_time_is_a_timeout)
{
    start("/hang", WRITE "\n        timeout: 100ms");
    assert_given(harness_do("s", "1"), CLAIM_TIMEOUT, "the service took longer than 100ms");
    harness_stop();
}
END_TEST

START_TEST(value_that_is_no_json_is_not_sent)
{
    start("/echo", WRITE);
    assert_given(harness_do("s", "{"), CLAIM_FAIL, "the value of in.0.raw is not valid JSON");
    ck_assert_int_eq(atomic_load(&service.seen), 0);
    harness_stop();
}
END_TEST

START_TEST(cancelled_request_ends)
{
    start("/hang", WRITE);
    struct given *g = harness_give("s", "1");
    harness_cancel(g);
    ck_assert(!g->done);
    harness_wait_all();
    assert_given(g, CLAIM_FAIL, "cancelled");
    harness_stop();
}
END_TEST

START_TEST(stop_ends_requests_that_wait)
{
    start("/hang", WRITE);
    struct given *g = harness_give("s", "1");
    work_stop(harness_on_stopped, NULL);
    harness_wait_all();
    assert_given(g, CLAIM_RETRY, "the server stopped meanwhile");
    harness_stopped();
}
END_TEST

Suite *work_request_suite(void);
Suite *work_request_suite(void)
{
    Suite *s = suite_create("work request");
    TCase *t = tcase_create("request");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, value_is_posted_and_the_answer_is_the_result);
    tcase_add_test(t, configured_method_and_headers_are_sent);
    tcase_add_test(t, get_sends_no_body);
    tcase_add_test(t, busy_service_is_asked_again_not_before_it_said);
    tcase_add_test(t, broken_service_is_asked_again);
    tcase_add_test(t, refused_request_fails_and_shows_the_answer);
    tcase_add_test(t, redirect_is_not_followed);
    tcase_add_test(t, answer_that_is_no_json_fails_where_it_is_to_be_written);
    tcase_add_test(t, answer_does_not_matter_where_nothing_is_to_be_written);
    tcase_add_test(t, empty_answer_fails_where_a_result_is_to_be_written);
    tcase_add_test(t, too_large_an_answer_fails);
    tcase_add_test(t, connection_that_is_cut_is_tried_again);
    tcase_add_test(t, service_that_is_not_there_is_tried_again);
    tcase_add_test(t, service_over_its_time_is_a_timeout);
    tcase_add_test(t, value_that_is_no_json_is_not_sent);
    tcase_add_test(t, cancelled_request_ends);
    tcase_add_test(t, stop_ends_requests_that_wait);
    suite_add_tcase(s, t);
    return s;
}
