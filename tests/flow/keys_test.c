/* SPDX-License-Identifier: Apache-2.0 */
/* Keys over HTTP, against a real server with its private Redis. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *keys_suite(void);

static struct world *w;

static void start(void)
{
    w = world_make();
    world_start(w);
}

static void stop(void)
{
    world_free(w);
}

static struct world_reply ask(const char *method, const char *path, const char *headers,
                              const char *body)
{
    return world_http(w, method, path, headers, str_of(body));
}

/* The status alone; the body must be a problem that holds `says`. */
static int refused(const char *method, const char *path, const char *headers, const char *body,
                   const char *says)
{
    struct world_reply r = ask(method, path, headers, body);
    ck_assert(str_is(world_header(&r, "content-type"), "application/problem+json"));
    struct str detail = json_str(json_get(world_json(&r), "detail"));
    ck_assert_msg(detail.p && strstr(detail.p, says), "%s %s: %s", method, path, detail.p);
    int status = r.status;
    world_reply_finish(&r);
    return status;
}

static int64_t put(const char *key, const char *headers, const char *value)
{
    char path[512];
    snprintf(path, sizeof path, "/v1/kv/%s", key);
    struct world_reply r = ask("PUT", path, headers, value);
    ck_assert_msg(r.status == 200 || r.status == 201, "%s", r.body.p);
    int64_t version = json_int(json_get(world_json(&r), "version"), -1);
    world_reply_finish(&r);
    return version;
}

START_TEST(a_value_comes_back_as_it_was_put_with_its_version_as_etag)
{
    struct world_reply r = ask("PUT", "/v1/kv/a.b", NULL, "{\"x\": [1, 2]}\n");
    ck_assert_int_eq(r.status, 201);
    ck_assert(str_is(world_header(&r, "etag"), "\"1\""));
    world_reply_finish(&r);
    r = ask("GET", "/v1/kv/a.b", NULL, NULL);
    ck_assert_int_eq(r.status, 200);
    ck_assert(str_is(buf_view(&r.body), "{\"x\": [1, 2]}\n"));
    ck_assert(str_is(world_header(&r, "content-type"), "application/json"));
    ck_assert(str_is(world_header(&r, "etag"), "\"1\""));
    world_reply_finish(&r);
    r = ask("PUT", "/v1/kv/a.b", NULL, "2");
    ck_assert_int_eq(r.status, 200);
    ck_assert(str_is(world_header(&r, "etag"), "\"2\""));
    world_reply_finish(&r);
    r = ask("GET", "/v1/kv/a.b", "If-None-Match: \"2\"\r\n", NULL);
    ck_assert_int_eq(r.status, 304);
    world_reply_finish(&r);
}
END_TEST

START_TEST(any_bytes_can_be_a_value_and_are_called_octets_unless_json)
{
    struct str bytes = STR("\0\xFF not json \r\n");
    struct world_reply r = world_http(w, "PUT", "/v1/kv/bytes", NULL, bytes);
    ck_assert_int_eq(r.status, 201);
    world_reply_finish(&r);
    r = ask("GET", "/v1/kv/bytes", NULL, NULL);
    ck_assert(str_eq(buf_view(&r.body), bytes));
    ck_assert(str_is(world_header(&r, "content-type"), "application/octet-stream"));
    world_reply_finish(&r);
}
END_TEST

START_TEST(a_name_in_the_url_is_decoded)
{
    ck_assert_int_eq(put("stra%C3%9Fe.%7Bx%7D%2Fy", NULL, "1"), 1);
    char *value = world_redis(w, "HGET hm:kv:stra\xC3\x9F"
                                 "e.{x}/y value");
    ck_assert_str_eq(value, "1");
    mem_free(value);
}
END_TEST

START_TEST(a_missing_key_is_404)
{
    ck_assert_int_eq(refused("GET", "/v1/kv/none", NULL, NULL, "no key none"), 404);
    ck_assert_int_eq(refused("DELETE", "/v1/kv/none", NULL, NULL, "no key none"), 404);
}
END_TEST

START_TEST(if_match_writes_only_over_that_version)
{
    put("cas", NULL, "1");
    ck_assert_int_eq(put("cas", "If-Match: \"1\"\r\n", "2"), 2);
    struct world_reply r = ask("PUT", "/v1/kv/cas", "If-Match: \"1\"\r\n", "3");
    ck_assert_int_eq(r.status, 412);
    ck_assert(str_is(world_header(&r, "etag"), "\"2\""));
    ck_assert_ptr_nonnull(strstr(r.body.p, "cas is at version 2, not 1"));
    world_reply_finish(&r);
    r = ask("GET", "/v1/kv/cas", NULL, NULL);
    ck_assert(str_is(buf_view(&r.body), "2"));
    world_reply_finish(&r);
    ck_assert_int_eq(put("cas", "If-Match: *\r\n", "4"), 3);
    ck_assert_int_eq(refused("PUT", "/v1/kv/new", "If-Match: *\r\n", "1", "no key new"), 412);
    ck_assert_int_eq(refused("PUT", "/v1/kv/new", "If-Match: \"3\"\r\n", "1", "no key new"), 412);
}
END_TEST

START_TEST(if_none_match_makes_a_key_once)
{
    ck_assert_int_eq(put("once", "If-None-Match: *\r\n", "1"), 1);
    ck_assert_int_eq(refused("PUT", "/v1/kv/once", "If-None-Match: *\r\n", "2", "there already"),
                     412);
}
END_TEST

START_TEST(delete_takes_a_key_away_if_the_version_is_right)
{
    put("gone", NULL, "1");
    put("gone", NULL, "2");
    ck_assert_int_eq(refused("DELETE", "/v1/kv/gone", "If-Match: \"1\"\r\n", NULL, "version 2"),
                     412);
    struct world_reply r = ask("DELETE", "/v1/kv/gone", "If-Match: \"2\"\r\n", NULL);
    ck_assert_int_eq(r.status, 200);
    world_reply_finish(&r);
    ck_assert_int_eq(refused("GET", "/v1/kv/gone", NULL, NULL, "no key"), 404);
    ck_assert_int_eq(refused("DELETE", "/v1/kv/gone", "If-Match: \"2\"\r\n", NULL, "no key"), 412);
}
END_TEST

START_TEST(names_that_are_none_are_refused_with_the_reason)
{
    static const struct {
        const char *name, *says;
    } rows[] = {{"a..b", "empty token"}, {".a", "empty token"}, {"a.", "empty token"},
                {"a.*", "wildcard"},     {"%3E", "wildcard"},   {"a%20b", "space"},
                {"a%00b", "control"},    {"a%0Ab", "control"},  {"a%FF", "UTF-8"},
                {"%C0%80", "UTF-8"},     {"a%7Fb", "control"}};
    static const char *const methods[] = {"GET", "PUT", "DELETE"};
    char path[512];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t m = 0; m < 3; m++) {
            snprintf(path, sizeof path, "/v1/kv/%s", rows[i].name);
            ck_assert_int_eq(refused(methods[m], path, NULL, "1", rows[i].says), 400);
        }
}
END_TEST

START_TEST(a_name_of_ten_kilobytes_is_refused)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/kv/");
    for (int i = 0; i < 10240; i++)
        buf_char(&path, 'k');
    ck_assert_int_eq(refused("PUT", path.p, NULL, "1", "1024"), 400);
    ck_assert_int_eq(refused("GET", path.p, NULL, NULL, "1024"), 400);
    buf_finish(&path);
}
END_TEST

START_TEST(nonsense_in_if_match_is_refused_and_changes_nothing)
{
    static const char *const wrong[] = {"1", "\"one\"", "W/\"1\"", "\"1\", \"2\"", "\"-1\"", "\"1"};
    char headers[128];
    put("kept", NULL, "1");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(headers, sizeof headers, "If-Match: %s\r\n", wrong[i]);
        ck_assert_int_eq(refused("PUT", "/v1/kv/kept", headers, "2", "If-Match"), 400);
        ck_assert_int_eq(refused("DELETE", "/v1/kv/kept", headers, NULL, "If-Match"), 400);
    }
    ck_assert_int_eq(
        refused("PUT", "/v1/kv/kept", "If-None-Match: \"1\"\r\n", "2", "If-None-Match"), 400);
    ck_assert_int_eq(put("kept", "If-Match: \"1\"\r\n", "3"), 2);
}
END_TEST

START_TEST(a_value_over_the_limit_is_refused)
{
    world_free(w);
    w = world_make();
    world_config(w, "main.yaml", "settings: {value_max: 1KiB}\n");
    world_start(w);
    char value[1026];
    memset(value, '1', sizeof value);
    struct world_reply r = world_http(w, "PUT", "/v1/kv/big", NULL, (struct str){value, 1024});
    ck_assert_int_eq(r.status, 201);
    world_reply_finish(&r);
    r = world_http(w, "PUT", "/v1/kv/big", NULL, (struct str){value, 1025});
    ck_assert_int_eq(r.status, 413);
    world_reply_finish(&r);
}
END_TEST

START_TEST(other_methods_are_405_and_say_which_are_allowed)
{
    struct world_reply r = ask("PATCH", "/v1/kv/a", NULL, "1");
    ck_assert_int_eq(r.status, 405);
    ck_assert_ptr_nonnull(strstr(r.head.p, "PUT"));
    world_reply_finish(&r);
}
END_TEST

START_TEST(a_listing_has_the_keys_that_match_by_tokens)
{
    put("p.1.raw", NULL, "\"one\"");
    put("p.2.raw", NULL, "\"two\"");
    put("p.2.3.raw", NULL, "0");
    put("p.1.done", NULL, "0");
    struct world_reply r = world_get_json(w, "/v1/kv?match=p.*.raw");
    ck_assert_uint_eq(json_size(r.json), 2);
    ck_assert_ptr_null(json_get(json_at(r.json, 0), "value"));
    ck_assert_int_eq(json_int(json_get(json_at(r.json, 0), "size"), 0), 5);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/kv?match=p.%3E");
    ck_assert_uint_eq(json_size(r.json), 4);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/kv?match=p.%3E&limit=3&values=1");
    ck_assert_uint_eq(json_size(r.json), 3);
    ck_assert_ptr_nonnull(json_get(json_at(r.json, 0), "value"));
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/kv?match=nothing");
    ck_assert_uint_eq(json_size(r.json), 0);
    world_reply_finish(&r);
    ck_assert_int_eq(refused("GET", "/v1/kv?match=a..b", NULL, NULL, "empty token"), 400);
    ck_assert_int_eq(refused("GET", "/v1/kv?limit=0", NULL, NULL, "limit"), 400);
    ck_assert_int_eq(refused("GET", "/v1/kv?watch=maybe", NULL, NULL, "switch"), 400);
}
END_TEST

static void put_lines(int n, int size, struct buf *answer)
{
    struct buf lines = {0}, value = {0};
    for (int i = 0; i < size; i++)
        buf_char(&value, (char)('a' + i % 26));
    for (int i = 0; i < n; i++)
        buf_printf(&lines, "{\"key\":\"bulk.%d\",\"value\":{\"n\":%d,\"text\":\"%s\"}}\n", i, i,
                   size ? value.p : "");
    struct world_reply r = world_http(w, "POST", "/v1/kv", NULL, buf_view(&lines));
    ck_assert_int_eq(r.status, 200);
    buf_str(answer, buf_view(&r.body));
    world_reply_finish(&r);
    buf_finish(&lines);
    buf_finish(&value);
}

START_TEST(many_lines_are_written_and_answered_in_their_order)
{
    struct buf answer = {0};
    put_lines(5000, 0, &answer);
    struct str rest = buf_view(&answer);
    char want[64];
    for (int i = 0; i < 5000; i++) {
        snprintf(want, sizeof want, "{\"key\":\"bulk.%d\",\"version\":1}", i);
        struct str line = str_split(&rest, '\n');
        ck_assert_msg(str_is(line, want), "line %d: %.*s", i, (int)line.n, line.p);
    }
    ck_assert_uint_eq(rest.n, 0);
    buf_finish(&answer);
    struct world_reply r = world_get_json(w, "/v1/kv/bulk.4999");
    ck_assert_int_eq(json_int(json_get(r.json, "n"), 0), 4999);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/kv?match=bulk.*");
    ck_assert_uint_eq(json_size(r.json), 5000);
    world_reply_finish(&r);
}
END_TEST

START_TEST(a_listing_larger_than_a_page_with_large_values_is_whole)
{
    struct buf answer = {0};
    put_lines(3000, 3000, &answer);
    buf_finish(&answer);
    struct world_reply r = world_get_json(w, "/v1/kv?match=bulk.*&values=1");
    ck_assert_uint_eq(json_size(r.json), 3000);
    ck_assert_uint_eq(json_str(json_path(r.json, "2999.value.text")).n, 3000);
    world_reply_finish(&r);
}
END_TEST

START_TEST(a_value_in_a_line_is_kept_byte_for_byte)
{
    const char *line =
        "{\"value\" : { \"b\":1.50 , \"a\":\"\\u00e4\\\"\" } ,\"key\":\"raw\\u002evalue\"}";
    struct world_reply r = ask("POST", "/v1/kv", NULL, line);
    ck_assert_str_eq(r.body.p, "{\"key\":\"raw.value\",\"version\":1}\n");
    world_reply_finish(&r);
    r = ask("GET", "/v1/kv/raw.value", NULL, NULL);
    ck_assert(str_is(buf_view(&r.body), "{ \"b\":1.50 , \"a\":\"\\u00e4\\\"\" }"));
    world_reply_finish(&r);
}
END_TEST

START_TEST(a_bad_line_gets_an_error_with_its_number_and_the_rest_goes_on)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"{\"key\":\"ok.1\",\"value\":1}", "\"version\":1"},
        {"not json", "\"line\":2,\"error\":\"not valid JSON"},
        {"[1]", "must be an object"},
        {"{\"value\":1}", "key is missing"},
        {"{\"key\":7,\"value\":1}", "key is missing or not a string"},
        {"{\"key\":\"a\"}", "value is missing"},
        {"{\"key\":\"a..b\",\"value\":1}", "empty token"},
        {"{\"key\":\"a.*\",\"value\":1}", "wildcard"},
        {"{\"key\":\"\",\"value\":1}", "empty"},
        {"{\"key\":\"a\",\"value\":1,\"version\":3}", "unknown member \\\"version\\\""},
        {"{\"key\":\"a\",\"value\":1,\"if_version\":-1}", "if_version must be"},
        {"{\"key\":\"a\",\"value\":1,\"if_version\":\"1\"}", "if_version must be"},
        {"{\"key\":\"ok.1\",\"value\":2,\"if_version\":5}", "\"current_version\":1"},
        {"{\"key\":\"ok.1\",\"value\":2,\"if_version\":1}", "\"version\":2"},
        {"{\"key\":\"new\",\"value\":\"\xFF\"}", "not valid JSON"},
        {"{\"key\":\"ok.2\",\"value\":null,\"if_version\":0}", "\"version\":1"},
    };
    struct buf body = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        buf_printf(&body, "%s\n%s", rows[i].line, i == 4 ? "\n \r\n" : "");
    struct world_reply r = world_http(w, "POST", "/v1/kv", NULL, buf_view(&body));
    ck_assert_int_eq(r.status, 200);
    struct str rest = buf_view(&r.body);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct str line = str_split(&rest, '\n');
        char *text = mem_dup(line.p, line.n);
        ck_assert_msg(strstr(text, rows[i].says), "%s answered %s", rows[i].line, text);
        mem_free(text);
    }
    ck_assert_uint_eq(rest.n, 0);
    world_reply_finish(&r);
    buf_finish(&body);
}
END_TEST

START_TEST(a_line_that_is_too_long_is_refused_and_the_rest_goes_on)
{
    world_free(w);
    w = world_make();
    world_config(w, "main.yaml", "settings: {value_max: 1KiB}\n");
    world_start(w);
    struct buf body = {0};
    buf_puts(&body, "{\"key\":\"a\",\"value\":\"");
    for (int i = 0; i < 3000000; i++)
        buf_char(&body, 'x');
    buf_puts(&body, "\"}\n{\"key\":\"b\",\"value\":1}\n{\"key\":\"c\",\"value\":\"");
    for (int i = 0; i < 2000; i++)
        buf_char(&body, 'x');
    buf_puts(&body, "\"}\n{\"key\":\"d\",\"value\":1}");
    struct world_reply r = world_http(w, "POST", "/v1/kv", NULL, buf_view(&body));
    ck_assert_int_eq(r.status, 200);
    ck_assert_ptr_nonnull(strstr(r.body.p, "{\"line\":1,\"error\":\"the line is too long"));
    ck_assert_ptr_nonnull(strstr(r.body.p, "{\"key\":\"b\",\"version\":1}"));
    ck_assert_ptr_nonnull(
        strstr(r.body.p, "{\"line\":3,\"key\":\"c\",\"error\":\"the value is larger"));
    ck_assert_ptr_nonnull(strstr(r.body.p, "{\"key\":\"d\",\"version\":1}\n"));
    world_reply_finish(&r);
    buf_finish(&body);
}
END_TEST

/* A body sent piece by piece is answered line by line while it is still under way. */
START_TEST(a_line_is_answered_before_the_next_one_is_sent)
{
    int fd = world_connect(w);
    struct buf got = {0};
    world_send(
        fd, STR("POST /v1/kv HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 3; i++) {
        struct buf line = {0}, chunk = {0};
        char want[64];
        buf_printf(&line, "{\"key\":\"slow.%d\",\"value\":%d}\n", i, i);
        buf_printf(&chunk, "%zx\r\n%s\r\n", line.n, line.p);
        world_send(fd, buf_view(&chunk));
        snprintf(want, sizeof want, "{\"key\":\"slow.%d\",\"version\":1}", i);
        ck_assert(world_read_until(fd, &got, want, WORLD_TIMEOUT_MS));
        buf_finish(&line);
        buf_finish(&chunk);
    }
    world_send(fd, STR("0\r\n\r\n"));
    ck_assert(world_read_until(fd, &got, "\r\n0\r\n\r\n", WORLD_TIMEOUT_MS));
    close(fd);
    buf_finish(&got);
}
END_TEST

static int watch(const char *pattern, struct buf *got)
{
    char head[256];
    int fd = world_connect(w);
    snprintf(head, sizeof head, "GET /v1/kv?match=%s&watch=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
             pattern);
    world_send(fd, str_of(head));
    ck_assert(world_read_until(fd, got, "text/event-stream", WORLD_TIMEOUT_MS));
    return fd;
}

START_TEST(a_watch_gives_current_values_then_ready_then_changes_and_deletes)
{
    struct buf got = {0};
    put("w.1.x", NULL, "{\n\"a\": 1\n}");
    put("w.1.y", NULL, "0");
    int fd = watch("w.*.x", &got);
    ck_assert(world_read_until(fd, &got, "event: ready\ndata: {}\n\n", WORLD_TIMEOUT_MS));
    ck_assert_ptr_nonnull(strstr(
        got.p, "event: put\ndata: {\"key\":\"w.1.x\",\"version\":1,\"value\":{ \"a\": 1 }}\n\n"));
    put("w.2.x", NULL, "\"new\"");
    ck_assert(world_read_until(
        fd, &got, "event: put\ndata: {\"key\":\"w.2.x\",\"version\":1,\"value\":\"new\"}\n\n",
        WORLD_TIMEOUT_MS));
    put("w.2.x", NULL, "plain text");
    ck_assert(
        world_read_until(fd, &got, "\"version\":2,\"text\":\"plain text\"}", WORLD_TIMEOUT_MS));
    struct world_reply r = ask("DELETE", "/v1/kv/w.1.x", NULL, NULL);
    world_reply_finish(&r);
    ck_assert(world_read_until(fd, &got, "event: delete\ndata: {\"key\":\"w.1.x\"}\n\n",
                               WORLD_TIMEOUT_MS));
    ck_assert_ptr_null(strstr(got.p, "w.1.y"));
    close(fd);
    buf_finish(&got);
}
END_TEST

START_TEST(a_watch_sees_what_a_plain_redis_client_writes)
{
    struct buf got = {0};
    int fd = watch("plain.%3E", &got);
    ck_assert(world_read_until(fd, &got, "event: ready", WORLD_TIMEOUT_MS));
    mem_free(world_redis(w, "HSET hm:kv:plain.key value 42"));
    ck_assert(
        world_read_until(fd, &got, "\"plain.key\",\"version\":1,\"value\":42}", WORLD_TIMEOUT_MS));
    close(fd);
    buf_finish(&got);
}
END_TEST

START_TEST(a_reader_that_sleeps_through_many_changes_gets_the_last_value_of_each)
{
    struct buf got = {0}, answer = {0};
    int fd = watch("bulk.*", &got);
    ck_assert(world_read_until(fd, &got, "event: ready", WORLD_TIMEOUT_MS));
    for (int i = 0; i < 8; i++)
        put_lines(1000, 4000, &answer); /* 32 MB: far more than a connection holds */
    put("bulk.last", NULL, "1");
    buf_clear(&got);
    ck_assert(world_read_until(fd, &got, "\"bulk.last\"", WORLD_TIMEOUT_MS));
    for (int i = 0; i < 1000; i++) {
        char want[64];
        snprintf(want, sizeof want, "{\"key\":\"bulk.%d\",\"version\":8,", i);
        ck_assert_msg(strstr(got.p, want), "%s is missing", want);
    }
    close(fd);
    buf_finish(&got);
    buf_finish(&answer);
}
END_TEST

START_TEST(open_watches_do_not_hold_up_the_stop_of_the_server)
{
    struct buf got = {0};
    int fd = watch("%3E", &got);
    ck_assert(world_read_until(fd, &got, "event: ready", WORLD_TIMEOUT_MS));
    world_stop(w);
    ck_assert(world_read_until(fd, &got, ": the server is stopping", WORLD_TIMEOUT_MS));
    close(fd);
    buf_finish(&got);
}
END_TEST

START_TEST(without_redis_keys_are_503_with_retry_after)
{
    world_free(w);
    w = world_make();
    world_redis_start(w);
    world_start(w);
    put("kept", NULL, "1");
    world_redis_kill9(w);
    world_wait_json(w, "/v1/status", "redis.up", "false");
    struct world_reply r = ask("GET", "/v1/kv/kept", NULL, NULL);
    ck_assert_int_eq(r.status, 503);
    ck_assert(world_header(&r, "retry-after").n > 0);
    world_reply_finish(&r);
    ck_assert_int_eq(refused("PUT", "/v1/kv/kept", NULL, "2", "Redis"), 503);
    ck_assert_int_eq(refused("DELETE", "/v1/kv/kept", NULL, NULL, "Redis"), 503);
    ck_assert_int_eq(refused("GET", "/v1/kv?match=%3E", NULL, NULL, "Redis"), 503);
    ck_assert_int_eq(refused("GET", "/v1/kv?watch=1", NULL, NULL, "Redis"), 503);
    ck_assert_int_eq(refused("POST", "/v1/kv", NULL, "{\"key\":\"a\",\"value\":1}\n", "Redis"),
                     503);
    world_redis_start(w);
    world_wait_json(w, "/v1/status", "ready", "true");
    r = ask("GET", "/v1/kv/kept", NULL, NULL);
    ck_assert_int_eq(r.status, 200);
    world_reply_finish(&r);
}
END_TEST

Suite *keys_suite(void)
{
    Suite *s = suite_create("keys");
    TCase *t = tcase_create("keys");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, a_value_comes_back_as_it_was_put_with_its_version_as_etag);
    tcase_add_test(t, any_bytes_can_be_a_value_and_are_called_octets_unless_json);
    tcase_add_test(t, a_name_in_the_url_is_decoded);
    tcase_add_test(t, a_missing_key_is_404);
    tcase_add_test(t, if_match_writes_only_over_that_version);
    tcase_add_test(t, if_none_match_makes_a_key_once);
    tcase_add_test(t, delete_takes_a_key_away_if_the_version_is_right);
    tcase_add_test(t, names_that_are_none_are_refused_with_the_reason);
    tcase_add_test(t, a_name_of_ten_kilobytes_is_refused);
    tcase_add_test(t, nonsense_in_if_match_is_refused_and_changes_nothing);
    tcase_add_test(t, a_value_over_the_limit_is_refused);
    tcase_add_test(t, other_methods_are_405_and_say_which_are_allowed);
    tcase_add_test(t, a_listing_has_the_keys_that_match_by_tokens);
    tcase_add_test(t, many_lines_are_written_and_answered_in_their_order);
    tcase_add_test(t, a_listing_larger_than_a_page_with_large_values_is_whole);
    tcase_add_test(t, a_value_in_a_line_is_kept_byte_for_byte);
    tcase_add_test(t, a_bad_line_gets_an_error_with_its_number_and_the_rest_goes_on);
    tcase_add_test(t, a_line_that_is_too_long_is_refused_and_the_rest_goes_on);
    tcase_add_test(t, a_line_is_answered_before_the_next_one_is_sent);
    tcase_add_test(t, a_watch_gives_current_values_then_ready_then_changes_and_deletes);
    tcase_add_test(t, a_watch_sees_what_a_plain_redis_client_writes);
    tcase_add_test(t, a_reader_that_sleeps_through_many_changes_gets_the_last_value_of_each);
    tcase_add_test(t, open_watches_do_not_hold_up_the_stop_of_the_server);
    tcase_add_test(t, without_redis_keys_are_503_with_retry_after);
    suite_add_tcase(s, t);
    return s;
}
