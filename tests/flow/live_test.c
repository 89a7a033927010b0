/* SPDX-License-Identifier: Apache-2.0 */
/* The live stream, as a browser sees it: a real server, a real Redis, WebSocket frames. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *live_suite(void);

static const char pipeline[] = "pipelines:\n"
                               "  - name: echo\n"
                               "    stages:\n"
                               "      - {name: shout, watch: \"echo.*.in\", command: [sh, -c, "
                               "\"echo a line >&2; cat\"], write: \"echo.{1}.out\"}\n"
                               "  - name: broken\n"
                               "    stages:\n"
                               "      - {name: fail, watch: \"broken.*.in\", command: [\"false\"], "
                               "retry: {max_attempts: 1}}\n";

static struct world *w;

static void start(void)
{
    w = world_make();
    world_config(w, "main.yaml", pipeline);
    world_start(w);
}

static void stop(void)
{
    world_free(w);
}

static struct world_ws *open_live(void)
{
    return world_ws_open(w, "/v1/live", "hookmesh.live.v1");
}

static void put(const char *key, const char *value)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/kv/%s", key);
    struct world_reply r = world_http(w, "PUT", path, NULL, str_of(value));
    ck_assert_msg(r.status == 200 || r.status == 201, "%s", r.body.p);
    world_reply_finish(&r);
}

static void put_many(const char *prefix, int n)
{
    struct buf lines = {0};
    for (int i = 0; i < n; i++)
        buf_printf(&lines, "{\"key\":\"%s.%d\",\"value\":%d}\n", prefix, i, i);
    struct world_reply r = world_http(w, "POST", "/v1/kv", NULL, buf_view(&lines));
    ck_assert_int_eq(r.status, 200);
    world_reply_finish(&r);
    buf_finish(&lines);
}

/* The next message that is op, or an event when op is NULL; other messages fail the test. json_free. */
static struct json *next(struct world_ws *ws, const char *op)
{
    const char *text = world_ws_next(ws, WORLD_TIMEOUT_MS);
    ck_assert_msg(text != NULL, "closed or silent while waiting for %s", op ? op : "an event");
    struct json *j = json_parse(str_of(text), NULL);
    ck_assert_msg(j != NULL, "no JSON: %s", text);
    struct str got = json_str(json_get(j, "op"));
    ck_assert_msg(op ? str_is(got, op) : got.p == NULL, "%s instead of %s", text,
                  op ? op : "an event");
    return j;
}

static uint64_t id_of(const struct json *j)
{
    uint64_t id = 0;
    ck_assert(str_u64(json_str(json_get(j, "id")), &id));
    return id;
}

static uint64_t snapshot_id(struct world_ws *ws)
{
    struct json *j = next(ws, "snapshot");
    uint64_t id = id_of(j);
    json_free(j);
    return id;
}

static const char *field(const struct json *j, const char *path)
{
    static char text[4][256];
    static int at;
    char *out = text[at++ % 4];
    struct str s = json_str(json_path(j, path));
    snprintf(out, sizeof text[0], "%.*s", (int)s.n, s.p ? s.p : "");
    return out;
}

START_TEST(a_subscriber_gets_a_snapshot_and_then_each_change)
{
    put("a.1", "{\"x\":1}");
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\",\"runs\",\"deliveries\","
                      "\"pipelines\",\"agents\",\"run:none\"]}");
    struct json *j = next(ws, "snapshot");
    uint64_t id = id_of(j);
    ck_assert_uint_eq(json_size(json_get(j, "topics")), 6);
    struct json *data = json_get(j, "data");
    struct json *keys = json_get(data, "keys:a.*");
    ck_assert_uint_eq(json_size(keys), 1);
    ck_assert_str_eq(field(json_at(keys, 0), "key"), "a.1");
    ck_assert_int_eq(json_int(json_get(json_at(keys, 0), "version"), 0), 1);
    ck_assert_int_eq(json_int(json_get(json_at(keys, 0), "size"), 0), 7);
    ck_assert_int_eq(json_type_of(json_get(data, "runs")), J_ARR);
    ck_assert_int_eq(json_type_of(json_get(data, "deliveries")), J_ARR);
    ck_assert_int_eq(json_type_of(json_get(data, "agents")), J_ARR);
    ck_assert_int_eq(json_type_of(json_get(data, "run:none")), J_NULL);
    ck_assert_str_eq(field(json_at(json_get(data, "pipelines"), 0), "name"), "echo");
    json_free(j);
    put("b.1", "0");
    put("a.2", "[1]");
    j = next(ws, NULL);
    ck_assert_uint_eq(id_of(j), id + 2);
    ck_assert_str_eq(field(j, "topic"), "keys:a.*");
    ck_assert_str_eq(field(j, "type"), "key.put");
    ck_assert_str_eq(field(j, "key"), "a.2");
    ck_assert_int_eq(json_int(json_path(j, "data.version"), 0), 1);
    ck_assert_int_eq(json_int(json_path(j, "data.size"), 0), 3);
    json_free(j);
    struct world_reply r = world_http(w, "DELETE", "/v1/kv/a.2", NULL, STR(""));
    world_reply_finish(&r);
    j = next(ws, NULL);
    ck_assert_str_eq(field(j, "type"), "key.deleted");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(an_event_comes_once_under_the_first_topic_that_matches)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\",\"keys:>\",\"keys:a.1\"]}");
    uint64_t id = snapshot_id(ws);
    put("a.1", "1");
    put("b.1", "1");
    struct json *j = next(ws, NULL);
    ck_assert_str_eq(field(j, "topic"), "keys:a.*");
    ck_assert_uint_eq(id_of(j), id + 1);
    json_free(j);
    j = next(ws, NULL);
    ck_assert_str_eq(field(j, "topic"), "keys:>");
    ck_assert_uint_eq(id_of(j), id + 2);
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_run_is_told_from_its_start_to_its_end_with_its_keys_and_log)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"runs\",\"keys:echo.>\"]}");
    snapshot_id(ws);
    struct world_reply r = world_http(w, "POST", "/v1/jobs/echo/runs", NULL, STR("{\"x\":1}"));
    ck_assert_int_eq(r.status, 202);
    char run[64];
    snprintf(run, sizeof run, "%s", field(world_json(&r), "run_id"));
    world_reply_finish(&r);
    bool queued = false, step = false, done = false;
    while (!done) {
        struct json *j = next(ws, NULL);
        ck_assert_str_eq(field(j, "run"), run);
        queued |= strcmp(field(j, "type"), "run.queued") == 0;
        step |= strcmp(field(j, "type"), "step.done") == 0;
        done = strcmp(field(j, "type"), "run.done") == 0;
        json_free(j);
    }
    ck_assert(queued && step);
    world_ws_close(ws);

    char topic[256];
    ws = open_live();
    snprintf(topic, sizeof topic, "{\"op\":\"subscribe\",\"topics\":[\"run:%s\"]}", run);
    world_ws_send(ws, topic);
    struct json *j = next(ws, "snapshot");
    snprintf(topic, sizeof topic, "run:%s", run);
    struct json *view = json_get(json_get(j, "data"), topic);
    ck_assert_str_eq(field(view, "state"), "succeeded");
    ck_assert_str_eq(field(view, "log.0.line"), "a line");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(keys_written_by_a_step_are_told_as_puts)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:echo.*.out\"]}");
    snapshot_id(ws);
    put("echo.doc-1.in", "{}");
    struct json *j = next(ws, NULL);
    ck_assert_str_eq(field(j, "type"), "key.put");
    ck_assert_str_eq(field(j, "key"), "echo.doc-1.out");
    ck_assert_int_eq(json_int(json_path(j, "data.version"), 0), 1);
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_delivery_is_told_as_it_comes)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"deliveries\"]}");
    snapshot_id(ws);
    struct world_reply r = world_http(w, "POST", "/hooks/nowhere", NULL, STR("{}"));
    ck_assert_int_eq(r.status, 404);
    world_reply_finish(&r);
    struct json *j = next(ws, NULL);
    ck_assert_str_eq(field(j, "topic"), "deliveries");
    ck_assert_str_eq(field(j, "data.outcome"), "unrouted");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(the_map_comes_again_when_it_has_changed)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"pipelines\"]}");
    snapshot_id(ws);
    put("broken.doc-1.in", "{}");
    for (int64_t dead = 0; dead == 0;) {
        struct json *j = next(ws, NULL);
        ck_assert_str_eq(field(j, "type"), "pipelines");
        for (size_t i = 0; i < json_size(json_get(j, "data")); i++)
            dead += json_int(json_path(json_at(json_get(j, "data"), i), "stages.0.dead"), 0);
        json_free(j);
    }
    world_ws_close(ws);
}
END_TEST

START_TEST(after_a_cut_exactly_the_missed_events_come)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    snapshot_id(ws);
    put("a.1", "1");
    struct json *j = next(ws, NULL);
    uint64_t id = id_of(j);
    json_free(j);
    world_ws_close(ws);
    put_many("a", 3000);
    char text[128];
    ws = open_live();
    snprintf(text, sizeof text,
             "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"],\"after\":\"%llu\"}",
             (unsigned long long)id);
    world_ws_send(ws, text);
    j = next(ws, "resume");
    ck_assert_uint_eq(id_of(j), id);
    json_free(j);
    for (int i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "a.%d", i);
        j = next(ws, NULL);
        ck_assert_uint_eq(id_of(j), ++id);
        ck_assert_str_eq(field(j, "key"), key);
        json_free(j);
    }
    put("a.last", "1");
    j = next(ws, NULL);
    ck_assert_uint_eq(id_of(j), id + 1);
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_resume_survives_a_restart_of_the_server)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    uint64_t id = snapshot_id(ws);
    put("a.1", "1");
    world_restart(w);
    ck_assert_int_eq(world_ws_close_code(ws), 1001);
    world_ws_close(ws);
    put("a.2", "1");
    char text[128];
    ws = open_live();
    snprintf(text, sizeof text,
             "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"],\"after\":\"%llu\"}",
             (unsigned long long)id);
    world_ws_send(ws, text);
    json_free(next(ws, "resume"));
    struct json *j = next(ws, NULL);
    ck_assert_str_eq(field(j, "key"), "a.1");
    json_free(j);
    j = next(ws, NULL);
    ck_assert_str_eq(field(j, "key"), "a.2");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(an_id_of_the_future_or_out_of_the_log_gets_a_new_snapshot)
{
    world_free(w);
    w = world_make();
    world_config(w, "main.yaml", "settings: {event_log_max: 1000}\n");
    world_start(w);
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"],\"after\":\"999999999\"}");
    json_free(next(ws, "resync"));
    snapshot_id(ws);
    world_ws_close(ws);
    for (int i = 0; i < 1500; i++)
        put_many("b", 1); /* the log counts steps, however many keys each of them writes */
    ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"],\"after\":\"1\"}");
    json_free(next(ws, "resume"));
    json_free(next(ws, "resync"));
    uint64_t id = snapshot_id(ws);
    put("a.2", "1");
    struct json *j = next(ws, NULL);
    ck_assert_uint_eq(id_of(j), id + 1);
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_topic_that_is_added_later_gets_its_own_snapshot)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:b.*\"]}");
    snapshot_id(ws);
    struct json *j = next(ws, "snapshot");
    ck_assert_uint_eq(json_size(json_get(j, "topics")), 1);
    ck_assert_str_eq(field(j, "topics.0"), "keys:b.*");
    json_free(j);
    put("a.1", "1");
    put("b.1", "1");
    j = next(ws, NULL);
    ck_assert_str_eq(field(j, "key"), "a.1");
    json_free(j);
    j = next(ws, NULL);
    ck_assert_str_eq(field(j, "key"), "b.1");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(an_unsubscribed_topic_is_silent)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\",\"keys:b.*\"]}");
    snapshot_id(ws);
    world_ws_send(ws, "{\"op\":\"unsubscribe\",\"topics\":[\"keys:a.*\",\"never.had\"]}");
    json_free(next(ws, "unsubscribed"));
    put("a.1", "1");
    put("b.1", "1");
    struct json *j = next(ws, NULL);
    ck_assert_str_eq(field(j, "key"), "b.1");
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(messages_that_make_no_sense_are_told_and_the_fifth_closes)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"not json", "expected"},
                {"[1,2]", "must be a JSON object"},
                {"\"subscribe\"", "JSON object"},
                {"{\"op\":\"explode\"}", "no op \\\"explode\\\""},
                {"{}", "no op"},
                {"{\"op\":7}", "no op"},
                {"{\"op\":\"subscribe\"}", "topics must be"},
                {"{\"op\":\"subscribe\",\"topics\":\"runs\"}", "topics must be"},
                {"{\"op\":\"subscribe\",\"topics\":[]}", "topics must be"},
                {"{\"op\":\"subscribe\",\"topics\":[1]}", "topics must be"},
                {"{\"op\":\"subscribe\",\"topics\":[\"nope\"]}", "no topic \\\"nope\\\""},
                {"{\"op\":\"subscribe\",\"topics\":[\"runs\",\"run:\"]}", "no topic"},
                {"{\"op\":\"subscribe\",\"topics\":[\"keys:a..b\"]}", "empty token"},
                {"{\"op\":\"subscribe\",\"topics\":[\"keys:\"]}", "empty"},
                {"{\"op\":\"subscribe\",\"topics\":[\"runs\"],\"after\":\"x\"}", "after must be"},
                {"{\"op\":\"subscribe\",\"topics\":[\"runs\"],\"after\":-1}", "after must be"},
                {"{\"op\":\"subscribe\",\"topics\":[\"runs\"],\"after\":[]}", "after must be"},
                {"{\"op\":\"unsubscribe\"}", "topics must be"}};
    struct world_ws *ws = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (i % 5 == 0)
            ws = open_live();
        world_ws_send(ws, rows[i].text);
        const char *text = world_ws_next(ws, WORLD_TIMEOUT_MS);
        ck_assert_msg(text && strstr(text, "\"op\":\"error\""), "%s: %s", rows[i].text, text);
        if (i > 0) /* the words for a syntax error are the parser's */
            ck_assert_msg(strstr(text, rows[i].says), "%s: %s", rows[i].text, text);
        if (i % 5 != 4)
            continue;
        ck_assert_int_eq(world_ws_close_code(ws), 1008);
        world_ws_close(ws);
    }
    world_ws_send(ws, "{\"op\":\"ping\"}");
    json_free(next(ws, "pong")); /* three errors do no harm */
    world_ws_close(ws);
}
END_TEST

START_TEST(a_connection_may_have_so_many_topics_and_no_more)
{
    struct buf text = {0};
    buf_puts(&text, "{\"op\":\"subscribe\",\"topics\":[\"runs\"");
    for (int i = 0; i < 64; i++)
        buf_printf(&text, ",\"keys:k%d.*\"", i);
    buf_puts(&text, "]}");
    struct world_ws *ws = open_live();
    world_ws_send(ws, text.p);
    json_free(next(ws, "error"));
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    struct json *j = next(ws, "snapshot"); /* nothing of the refused list was kept */
    ck_assert_uint_eq(json_size(json_get(j, "topics")), 1);
    json_free(j);
    world_ws_close(ws);
    buf_finish(&text);
}
END_TEST

START_TEST(a_page_of_another_site_cannot_listen)
{
    int status = 0;
    ck_assert_ptr_null(world_ws_try(w, "/v1/live", "Origin: http://evil.example\r\n", &status));
    ck_assert_int_eq(status, 403);
    char origin[64];
    snprintf(origin, sizeof origin, "Origin: http://127.0.0.1:%d\r\n", w->port);
    struct world_ws *ws = world_ws_try(w, "/v1/live", origin, &status);
    ck_assert_int_eq(status, 101);
    world_ws_close(ws);
}
END_TEST

START_TEST(with_a_token_only_who_has_it_can_listen)
{
    world_free(w);
    w = world_make();
    world_env(w, "HOOKMESH_TOKEN=a-token-for-a-test");
    world_start(w);
    int status = 0;
    ck_assert_ptr_null(world_ws_try(w, "/v1/live", NULL, &status));
    ck_assert_int_eq(status, 401);
    struct world_ws *ws =
        world_ws_try(w, "/v1/live", "Authorization: Bearer a-token-for-a-test\r\n", &status);
    ck_assert_int_eq(status, 101);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_client_that_does_not_read_is_resynced_and_then_goes_on)
{
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    snapshot_id(ws);
    for (int i = 0; i < 20; i++)
        put_many("a", 5000); /* more than the connection's buffers and the queue hold */
    world_ws_until(ws, "\"op\":\"resync\"");
    uint64_t id = snapshot_id(ws);
    put("a.end", "1");
    struct json *j = next(ws, NULL);
    ck_assert_uint_eq(id_of(j), id + 1);
    json_free(j);
    world_ws_close(ws);
}
END_TEST

START_TEST(a_burst_larger_than_the_queue_reaches_a_client_that_keeps_up)
{
    world_free(w);
    w = world_make();
    world_config(w, "main.yaml", "settings: {live_queue: 16}\n");
    world_start(w);
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    uint64_t id = snapshot_id(ws);
    put_many("a", 1000);
    for (int i = 0; i < 1000; i++) {
        struct json *j = next(ws, NULL);
        ck_assert_uint_eq(id_of(j), ++id);
        json_free(j);
    }
    world_ws_close(ws);
}
END_TEST

START_TEST(all_clients_of_a_topic_get_every_event_in_the_same_order)
{
    enum { CLIENTS = 100, EVENTS = 50 };
    struct world_ws *ws[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        ws[i] = open_live();
        world_ws_send(ws[i], "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    }
    uint64_t first[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        first[i] = snapshot_id(ws[i]);
    put_many("a", EVENTS);
    for (int i = 0; i < CLIENTS; i++) {
        ck_assert_uint_eq(first[i], first[0]);
        for (int k = 1; k <= EVENTS; k++) {
            struct json *j = next(ws[i], NULL);
            ck_assert_uint_eq(id_of(j), first[0] + (uint64_t)k);
            json_free(j);
        }
        world_ws_close(ws[i]);
    }
}
END_TEST

/* Writes keys until it is killed: each is one event, so the ids that a subscriber to all keys sees have no gaps. */
static pid_t start_writer(void)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0)
        return pid;
    for (;;)
        put_many("a", 20);
}

static void stop_writer(pid_t pid)
{
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

START_TEST(subscribing_in_the_middle_of_traffic_misses_nothing_and_repeats_nothing)
{
    pid_t writer = start_writer();
    for (int round = 0; round < 20; round++) {
        struct world_ws *ws = open_live();
        world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:>\"]}");
        uint64_t id = snapshot_id(ws);
        for (int i = 0; i < 100; i++) {
            struct json *j = next(ws, NULL);
            ck_assert_uint_eq(id_of(j), ++id);
            json_free(j);
        }
        world_ws_close(ws);
    }
    stop_writer(writer);
}
END_TEST

START_TEST(resuming_in_the_middle_of_traffic_misses_nothing_and_repeats_nothing)
{
    pid_t writer = start_writer();
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:>\"]}");
    uint64_t id = snapshot_id(ws);
    for (int round = 0; round < 30; round++) {
        char text[128];
        world_ws_close(ws);
        ws = open_live();
        snprintf(text, sizeof text,
                 "{\"op\":\"subscribe\",\"topics\":[\"keys:>\"],\"after\":\"%llu\"}",
                 (unsigned long long)id);
        world_ws_send(ws, text);
        json_free(next(ws, "resume"));
        for (int i = 0; i < 60 + 20 * round; i++) {
            struct json *j = next(ws, NULL);
            ck_assert_uint_eq(id_of(j), ++id);
            json_free(j);
        }
    }
    world_ws_close(ws);
    stop_writer(writer);
}
END_TEST

START_TEST(adding_a_topic_in_the_middle_of_traffic_keeps_the_order)
{
    pid_t writer = start_writer();
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.>\"]}");
    uint64_t id = snapshot_id(ws);
    for (int round = 0; round < 20; round++) {
        char text[128];
        snprintf(text, sizeof text, "{\"op\":\"subscribe\",\"topics\":[\"keys:other.%d\"]}", round);
        world_ws_send(ws, text);
        bool snapshot = false;
        for (int i = 0; i < 50 || !snapshot;) {
            struct json *j = json_parse(str_of(world_ws_next(ws, WORLD_TIMEOUT_MS)), NULL);
            if (json_str(json_get(j, "op")).p) {
                ck_assert_str_eq(field(j, "op"), "snapshot");
                ck_assert_uint_ge(id_of(j), id);
                snapshot = true;
            } else {
                ck_assert_uint_eq(id_of(j), ++id);
                i++;
            }
            json_free(j);
        }
    }
    world_ws_close(ws);
    stop_writer(writer);
}
END_TEST

START_TEST(while_redis_is_away_clients_are_told_and_then_it_goes_on_without_a_gap)
{
    world_free(w);
    w = world_make();
    world_redis_start(w);
    world_start(w);
    struct world_ws *ws = open_live();
    world_ws_send(ws, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    uint64_t id = snapshot_id(ws);
    put("a.1", "1");
    json_free(next(ws, NULL));
    world_redis_stop(w);
    struct json *j = next(ws, "state");
    ck_assert_str_eq(field(j, "state"), "stalled");
    json_free(j);
    struct world_ws *late = open_live();
    world_ws_send(late, "{\"op\":\"subscribe\",\"topics\":[\"keys:a.*\"]}");
    j = next(late, "state");
    ck_assert_str_eq(field(j, "state"), "stalled");
    json_free(j);
    world_redis_start(w);
    j = next(ws, "state");
    ck_assert_str_eq(field(j, "state"), "live");
    json_free(j);
    world_wait_json(w, "/v1/status", "ready", "true");
    put("a.2", "1");
    j = next(ws, NULL);
    ck_assert_uint_eq(id_of(j), id + 2);
    json_free(j);
    world_ws_until(late, "\"op\":\"snapshot\"");
    world_ws_close(ws);
    world_ws_close(late);
}
END_TEST

Suite *live_suite(void)
{
    Suite *s = suite_create("live");
    TCase *t = tcase_create("live");
    tcase_set_timeout(t, 180);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, a_subscriber_gets_a_snapshot_and_then_each_change);
    tcase_add_test(t, an_event_comes_once_under_the_first_topic_that_matches);
    tcase_add_test(t, a_run_is_told_from_its_start_to_its_end_with_its_keys_and_log);
    tcase_add_test(t, keys_written_by_a_step_are_told_as_puts);
    tcase_add_test(t, a_delivery_is_told_as_it_comes);
    tcase_add_test(t, the_map_comes_again_when_it_has_changed);
    tcase_add_test(t, after_a_cut_exactly_the_missed_events_come);
    tcase_add_test(t, a_resume_survives_a_restart_of_the_server);
    tcase_add_test(t, an_id_of_the_future_or_out_of_the_log_gets_a_new_snapshot);
    tcase_add_test(t, a_topic_that_is_added_later_gets_its_own_snapshot);
    tcase_add_test(t, an_unsubscribed_topic_is_silent);
    tcase_add_test(t, messages_that_make_no_sense_are_told_and_the_fifth_closes);
    tcase_add_test(t, a_connection_may_have_so_many_topics_and_no_more);
    tcase_add_test(t, a_page_of_another_site_cannot_listen);
    tcase_add_test(t, with_a_token_only_who_has_it_can_listen);
    tcase_add_test(t, a_client_that_does_not_read_is_resynced_and_then_goes_on);
    tcase_add_test(t, a_burst_larger_than_the_queue_reaches_a_client_that_keeps_up);
    tcase_add_test(t, all_clients_of_a_topic_get_every_event_in_the_same_order);
    tcase_add_test(t, subscribing_in_the_middle_of_traffic_misses_nothing_and_repeats_nothing);
    tcase_add_test(t, resuming_in_the_middle_of_traffic_misses_nothing_and_repeats_nothing);
    tcase_add_test(t, adding_a_topic_in_the_middle_of_traffic_keeps_the_order);
    tcase_add_test(t, while_redis_is_away_clients_are_told_and_then_it_goes_on_without_a_gap);
    suite_add_tcase(s, t);
    return s;
}
