/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/events: the event log for clients without WebSocket. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *events_suite(void);

static struct world *w;

static void start_world(void)
{
    w = world_make();
    world_redis_start(w);
    world_config(w, "main.yaml",
                 "pipelines:\n"
                 "  - name: echo\n"
                 "    stages:\n"
                 "      - {name: once, watch: \"echo.*.in\", command: [cat], "
                 "write: \"echo.{1}.out\"}\n");
    world_start(w);
}

static void stop_world(void)
{
    world_free(w);
}

struct sse_client {
    int fd;
    struct buf got;
};

static struct sse_client open_stream(const char *query, const char *headers)
{
    struct sse_client s = {.fd = world_connect(w)};
    char *head = mem_format("GET /v1/events?%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", query,
                            w->port, headers);
    world_send(s.fd, str_of(head));
    mem_free(head);
    return s;
}

static void close_stream(struct sse_client *s)
{
    close(s->fd);
    buf_finish(&s->got);
}

static void await(struct sse_client *s, const char *text)
{
    if (!world_read_until(s->fd, &s->got, text, WORLD_TIMEOUT_MS))
        world_fail(w, "the stream never said %s: %s", text, s->got.p);
}

static char *start_run(void)
{
    struct world_reply r =
        world_http(w, "POST", "/v1/jobs/echo/runs", "Content-Type: application/json\r\n", STR("1"));
    ck_assert_int_eq(r.status, 202);
    struct str id = json_str(json_get(world_json(&r), "run_id"));
    char *copy = mem_dup(id.p, id.n);
    world_reply_finish(&r);
    return copy;
}

/* The id that stands before the last `event: KIND`. */
static char *id_before(const struct sse_client *s, const char *kind)
{
    char *event = mem_format("event: %s\n", kind);
    const char *found = strstr(s->got.p, event);
    ck_assert_msg(found != NULL, "no %s in %s", event, s->got.p);
    for (const char *next = found; (next = strstr(next + 1, event)) != NULL;)
        found = next;
    while (strncmp(found, "id: ", 4) != 0)
        found--;
    mem_free(event);
    return mem_dup(found + 4, strcspn(found + 4, "\n"));
}

static size_t count(const struct buf *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text->p; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

START_TEST(runs_are_told_as_they_happen)
{
    struct sse_client s = open_stream("topics=runs", "");
    await(&s, "event: ready\n");
    ck_assert_ptr_nonnull(strstr(s.got.p, "text/event-stream"));
    char *id = start_run();
    await(&s, "event: run.queued\n");
    await(&s, "event: run.done\n");
    await(&s, "\n\n");
    ck_assert_ptr_nonnull(strstr(s.got.p, id));
    ck_assert_ptr_nonnull(strstr(s.got.p, "\"topic\":\"runs\",\"type\":\"run.done\""));
    mem_free(id);
    close_stream(&s);
}
END_TEST

START_TEST(only_the_topics_asked_for_are_told)
{
    struct sse_client s = open_stream("topics=keys:other.*,keys:echo.*.out", "");
    await(&s, "event: ready\n");
    char *id = start_run();
    await(&s, "event: key.put\n");
    await(&s, "\"version\":1");
    ck_assert_ptr_null(strstr(s.got.p, "run.queued"));
    ck_assert_ptr_null(strstr(s.got.p, ".in\""));
    mem_free(id);
    close_stream(&s);
}
END_TEST

START_TEST(a_client_goes_on_behind_its_last_event)
{
    struct sse_client s = open_stream("topics=runs", "");
    await(&s, "event: ready\n");
    char *first = start_run();
    await(&s, "event: run.done\n");
    char *last = id_before(&s, "run.done");
    close_stream(&s);

    char *second = start_run();
    char *header = mem_format("Last-Event-ID: %s\r\n", last);
    s = open_stream("topics=runs", header);
    await(&s, "event: run.done\n");
    await(&s, "\n\n");
    ck_assert_ptr_nonnull(strstr(s.got.p, second));
    ck_assert_ptr_null(strstr(s.got.p, first));
    close_stream(&s);

    char *query = mem_format("topics=runs&after=%s", last);
    s = open_stream(query, "");
    await(&s, "event: run.done\n");
    ck_assert_ptr_null(strstr(s.got.p, first));
    close_stream(&s);
    mem_free(query);
    mem_free(header);
    mem_free(last);
    mem_free(first);
    mem_free(second);
}
END_TEST

START_TEST(nothing_is_lost_over_a_restart_of_the_server)
{
    struct sse_client s = open_stream("topics=runs", "");
    await(&s, "event: ready\n");
    char *last = id_before(&s, "ready");
    struct buf ids = {0};
    for (int i = 0; i < 3; i++) {
        char *id = start_run();
        buf_printf(&ids, "%s ", id);
        mem_free(id);
        if (i < 2)
            world_restart(w);
    }
    close_stream(&s);
    char *header = mem_format("Last-Event-ID: %s\r\n", last);
    s = open_stream("topics=runs", header);
    struct str rest = buf_view(&ids);
    while (rest.n != 0) {
        struct str id = str_split(&rest, ' ');
        char *done =
            mem_format("\"type\":\"run.queued\",\"key\":\"echo.%.*s.in\"", (int)id.n, id.p);
        await(&s, done);
        ck_assert_uint_eq(count(&s.got, done), 1);
        mem_free(done);
    }
    close_stream(&s);
    buf_finish(&ids);
    mem_free(header);
    mem_free(last);
}
END_TEST

START_TEST(a_position_that_is_gone_is_told_and_the_stream_goes_on)
{
    struct sse_client s = open_stream("topics=runs&after=999999999", "");
    await(&s, "event: resync\ndata: {\"reason\":\"the event log begins anew\"}\n");
    char *id = start_run();
    await(&s, id);
    mem_free(id);
    close_stream(&s);

    mem_free(world_redis(w, "XTRIM hm:events MAXLEN 1"));
    s = open_stream("topics=runs&after=0", "");
    await(&s, "event: resync\n");
    await(&s, "does not reach back");
    id = start_run();
    await(&s, id);
    mem_free(id);
    close_stream(&s);
}
END_TEST

START_TEST(a_client_that_reads_slowly_gets_everything_in_the_end)
{
    struct sse_client s = open_stream("topics=keys:slow.*", "");
    await(&s, "event: ready\n");
    struct buf lines = {0};
    enum { KEYS = 12000 };
    for (int i = 0; i < KEYS; i++)
        buf_printf(&lines, "{\"key\":\"slow.k%d-%0200d\",\"value\":1}\n", i, i);
    struct world_reply r = world_http(w, "POST", "/v1/kv", NULL, buf_view(&lines));
    ck_assert_int_eq(r.status, 200);
    world_reply_finish(&r);
    char *last = mem_format("slow.k%d-", KEYS - 1);
    await(&s, last);
    await(&s, "\n\n");
    ck_assert_uint_eq(count(&s.got, "event: key.put\n"), KEYS);
    mem_free(last);
    buf_finish(&lines);
    close_stream(&s);
}
END_TEST

START_TEST(bad_requests_say_what_to_ask)
{
    static const struct {
        const char *query;
        const char *says;
    } rows[] = {
        {"", "topics is missing"},
        {"topics=", "topics is missing"},
        {"topics=nothing", "there is no topic"},
        {"topics=runs,", "there is no topic"},
        {"topics=pipelines", "WebSocket /v1/live"},
        {"topics=keys:a..b", "empty token"},
        {"topics=runs&after=x", "must be the id of an event"},
        {"topics=runs&after=-1", "must be the id of an event"},
        {"topics=run:1,run:2,run:3,run:4,run:5,run:6,run:7,run:8,run:9,run:10,run:11,run:12,"
         "run:13,run:14,run:15,run:16,run:17",
         "at most 16 topics"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = mem_format("/v1/events?%s", rows[i].query);
        struct world_reply r = world_http(w, "GET", path, NULL, STR(""));
        ck_assert_msg(r.status == 400, "%s: %d", path, r.status);
        ck_assert_msg(strstr(r.body.p, rows[i].says) != NULL, "%s: %s", path, r.body.p);
        world_reply_finish(&r);
        mem_free(path);
    }
}
END_TEST

START_TEST(without_redis_the_stream_is_refused_and_a_running_one_goes_on)
{
    struct sse_client s = open_stream("topics=runs", "");
    await(&s, "event: ready\n");
    world_redis_stop(w);
    world_wait_log(w, "redis");
    struct world_reply r = world_http(w, "GET", "/v1/events?topics=runs", NULL, STR(""));
    ck_assert_int_eq(r.status, 503);
    world_reply_finish(&r);
    world_redis_start(w);
    world_wait_json(w, "/readyz", "status", "ready");
    char *id = start_run();
    await(&s, id);
    mem_free(id);
    close_stream(&s);
}
END_TEST

Suite *events_suite(void)
{
    Suite *s = suite_create("events");
    TCase *t = tcase_create("stream");
    tcase_add_checked_fixture(t, start_world, stop_world);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, runs_are_told_as_they_happen);
    tcase_add_test(t, only_the_topics_asked_for_are_told);
    tcase_add_test(t, a_client_goes_on_behind_its_last_event);
    tcase_add_test(t, nothing_is_lost_over_a_restart_of_the_server);
    tcase_add_test(t, a_position_that_is_gone_is_told_and_the_stream_goes_on);
    tcase_add_test(t, a_client_that_reads_slowly_gets_everything_in_the_end);
    tcase_add_test(t, bad_requests_say_what_to_ask);
    tcase_add_test(t, without_redis_the_stream_is_refused_and_a_running_one_goes_on);
    suite_add_tcase(s, t);
    return s;
}
