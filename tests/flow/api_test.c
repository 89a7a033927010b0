/* SPDX-License-Identifier: Apache-2.0 */
/* Runs, jobs, dead letters, the admin pages and who may see them, against a real server. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *api_suite(void);

#define TOKEN "a-token-for-a-test"

static const char pipelines[] =
    "pipelines:\n"
    "  - name: echo\n"
    "    stages:\n"
    "      - {name: say, watch: \"echo.*.in\", command: [sh, -c, \"echo one >&2; echo two >&2; "
    "cat\"], "
    "write: \"echo.{1}.out\"}\n"
    "  - name: gate\n"
    "    stages:\n"
    "      - {name: wait, watch: \"gate.*.in\", command: [sh, -c, \"echo before >&2; while test ! "
    "-e "
    "$GATE; do sleep 0.02; done; echo after >&2; cat\"], env: {GATE: \"%s/gate\"}, write: "
    "\"gate.{1}.out\"}\n"
    "  - name: broken\n"
    "    stages:\n"
    "      - {name: fail, watch: \"broken.*.in\", command: [sh, -c, \"test -e $GATE && cat\"], "
    "env: "
    "{GATE: \"%s/gate\"}, retry: {max_attempts: 1}, write: \"broken.{1}.out\"}\n"
    "  - name: many\n"
    "    stages:\n"
    "      - {name: two, watch: \"many.*.*.in\", command: [cat]}\n";

static struct world *w;

static void start(void)
{
    struct buf yaml = {0};
    w = world_make();
    buf_printf(&yaml, pipelines, w->dir, w->dir);
    world_config(w, "main.yaml", yaml.p);
    buf_finish(&yaml);
    world_start(w);
}

static void start_with_token(void)
{
    w = world_make();
    world_env(w, "HOOKMESH_TOKEN=" TOKEN);
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

static int status_of(const char *method, const char *path, const char *headers, const char *body)
{
    struct world_reply r = ask(method, path, headers, body);
    int status = r.status;
    world_reply_finish(&r);
    return status;
}

static const char *field(const struct json *j, const char *path)
{
    static char text[8][256];
    static int at;
    char *out = text[at++ % 8];
    struct str s = json_str(json_path(j, path));
    snprintf(out, sizeof text[0], "%.*s", (int)s.n, s.p ? s.p : "");
    return out;
}

/* Starts a job; the path of its run. */
static const char *run(const char *job, const char *input)
{
    static char path[128];
    char url[128];
    snprintf(url, sizeof url, "/v1/jobs/%s/runs", job);
    struct world_reply r = ask("POST", url, NULL, input);
    ck_assert_msg(r.status == 202, "%d %s", r.status, r.body.p);
    snprintf(path, sizeof path, "/v1/runs/%s", field(world_json(&r), "run_id"));
    struct str location = world_header(&r, "location");
    ck_assert(str_is(location, path));
    world_reply_finish(&r);
    return path;
}

static void open_gate(void)
{
    world_file(w, "gate", "");
}

START_TEST(a_job_started_by_hand_runs_to_its_result)
{
    const char *path = run("echo", "{\"n\": 1}");
    world_wait_json(w, path, "state", "succeeded");
    struct world_reply r = world_get_json(w, path);
    ck_assert_str_eq(field(r.json, "pipeline"), "echo");
    ck_assert_str_eq(field(r.json, "cause"), "api");
    ck_assert_str_eq(field(r.json, "steps.0.state"), "succeeded");
    char key[256];
    snprintf(key, sizeof key, "/v1/kv/%s", field(r.json, "steps.0.key_out"));
    world_reply_finish(&r);
    r = world_get_json(w, key);
    ck_assert_int_eq(json_int(json_get(r.json, "n"), 0), 1);
    world_reply_finish(&r);
}
END_TEST

START_TEST(jobs_are_listed_with_their_stages)
{
    struct world_reply r = world_get_json(w, "/v1/jobs");
    ck_assert_uint_eq(json_size(r.json), 4);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/jobs/echo");
    ck_assert_str_eq(field(r.json, "input"), "echo.*.in");
    ck_assert_str_eq(field(r.json, "stages.0.write"), "echo.{1}.out");
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/pipelines");
    ck_assert_uint_eq(json_size(r.json), 4);
    world_reply_finish(&r);
}
END_TEST

START_TEST(jobs_that_cannot_be_started_are_refused)
{
    ck_assert_int_eq(status_of("GET", "/v1/jobs/none", NULL, NULL), 404);
    ck_assert_int_eq(status_of("POST", "/v1/jobs/none/runs", NULL, "{}"), 404);
    ck_assert_int_eq(status_of("POST", "/v1/jobs/many/runs", NULL, "{}"), 422);
    ck_assert_int_eq(status_of("POST", "/v1/jobs/echo/runs", NULL, ""),
                     202); /* an empty body is {} */
    ck_assert_int_eq(status_of("POST", "/v1/jobs/echo/runs", NULL, "{\"a\":"), 400);
    ck_assert_int_eq(status_of("POST", "/v1/jobs/echo/runs", NULL, "\"\xFF\""), 400);
    ck_assert_int_eq(status_of("GET", "/v1/jobs/echo/runs", NULL, NULL), 405);
}
END_TEST

START_TEST(runs_are_listed_newest_first_in_pages)
{
    char last[128] = "";
    for (int i = 0; i < 5; i++)
        snprintf(last, sizeof last, "%s", run("echo", "1"));
    world_wait_json(w, last, "state", "succeeded");
    struct world_reply r = world_get_json(w, "/v1/runs?limit=2&job=echo");
    ck_assert_uint_eq(json_size(r.json), 2);
    ck_assert_str_eq(field(r.json, "0.id"), last + strlen("/v1/runs/"));
    char first_of_page[64];
    snprintf(first_of_page, sizeof first_of_page, "%s", field(r.json, "1.id"));
    struct str link = world_header(&r, "link");
    ck_assert(link.n > 2 && str_ends(link, "; rel=\"next\""));
    struct str rest = {link.p + 1, link.n - 1};
    struct str target = str_split(&rest, '>');
    char next[256];
    snprintf(next, sizeof next, "%.*s", (int)target.n, target.p);
    ck_assert_ptr_nonnull(strstr(next, "job=echo"));
    world_reply_finish(&r);
    r = world_get_json(w, next);
    ck_assert_uint_eq(json_size(r.json), 2);
    ck_assert_int_lt(strcmp(field(r.json, "0.id"), first_of_page), 0);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/runs?job=gate");
    ck_assert_uint_eq(json_size(r.json), 0);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/runs?since=1h");
    ck_assert_uint_eq(json_size(r.json), 5);
    ck_assert_ptr_null(world_header(&r, "link").p);
    world_reply_finish(&r);
}
END_TEST

START_TEST(filters_that_make_no_sense_are_refused)
{
    ck_assert_int_eq(status_of("GET", "/v1/runs?state=sleeping", NULL, NULL), 400);
    ck_assert_int_eq(status_of("GET", "/v1/runs?since=tomorrow", NULL, NULL), 400);
    ck_assert_int_eq(status_of("GET", "/v1/runs?limit=0", NULL, NULL), 400);
    ck_assert_int_eq(status_of("GET", "/v1/runs?limit=1001", NULL, NULL), 400);
    ck_assert_int_eq(status_of("GET", "/v1/runs/none", NULL, NULL), 404);
    ck_assert_int_eq(status_of("GET", "/v1/runs/none/logs", NULL, NULL), 404);
    ck_assert_int_eq(status_of("POST", "/v1/runs/none/cancel", NULL, NULL), 404);
    ck_assert_int_eq(status_of("POST", "/v1/runs/none/retry", NULL, NULL), 404);
    ck_assert_int_eq(status_of("POST", "/v1/runs/none/retry?from_start=perhaps", NULL, NULL), 400);
}
END_TEST

START_TEST(a_log_is_lines_of_json)
{
    char path[160];
    const char *at = run("echo", "1");
    world_wait_json(w, at, "state", "succeeded");
    snprintf(path, sizeof path, "%s/logs", at);
    struct world_reply r = ask("GET", path, NULL, NULL);
    ck_assert_int_eq(r.status, 200);
    ck_assert(str_is(world_header(&r, "content-type"), "application/x-ndjson"));
    struct str rest = buf_view(&r.body);
    struct json *first = json_parse(str_split(&rest, '\n'), NULL);
    struct json *second = json_parse(str_split(&rest, '\n'), NULL);
    ck_assert_str_eq(field(first, "line"), "one");
    ck_assert_str_eq(field(second, "line"), "two");
    ck_assert_int_eq(json_int(json_get(second, "n"), 0), json_int(json_get(first, "n"), 0) + 1);
    ck_assert_uint_eq(rest.n, 0);
    char from[200];
    snprintf(from, sizeof from, "%s?from=%lld", path,
             (long long)json_int(json_get(second, "n"), 0));
    json_free(first);
    json_free(second);
    world_reply_finish(&r);
    r = ask("GET", from, NULL, NULL);
    ck_assert_ptr_null(strstr(r.body.p, "\"one\""));
    ck_assert_ptr_nonnull(strstr(r.body.p, "\"two\""));
    world_reply_finish(&r);
    snprintf(from, sizeof from, "%s?from=x", path);
    ck_assert_int_eq(status_of("GET", from, NULL, NULL), 400);
    ck_assert_int_eq(status_of("GET", path, "Last-Event-ID: x\r\n", NULL), 400);
}
END_TEST

static int follow(const char *run_path, const char *headers)
{
    char head[400];
    int fd = world_connect(w);
    snprintf(head, sizeof head,
             "GET %s/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s\r\n",
             run_path, headers);
    world_send(fd, str_of(head));
    return fd;
}

START_TEST(a_followed_log_grows_with_the_run_and_ends_with_it)
{
    struct buf got = {0}, again = {0};
    const char *path = run("gate", "1");
    int fd = follow(path, "");
    ck_assert(world_read_until(fd, &got, "\"before\"", WORLD_TIMEOUT_MS));
    ck_assert_ptr_null(strstr(got.p, "\"after\""));
    open_gate();
    ck_assert(world_read_until(fd, &got, "event: end\ndata: {}\n\n", WORLD_TIMEOUT_MS));
    ck_assert_ptr_nonnull(strstr(got.p, "\"after\""));
    close(fd);
    /* Whoever comes back with the id of the last line misses nothing and sees nothing twice. */
    const char *id = strstr(got.p, "\nid: ");
    char header[64];
    ck_assert_ptr_nonnull(id);
    snprintf(header, sizeof header, "Last-Event-ID: %.*s\r\n", (int)strcspn(id + 5, "\n"), id + 5);
    fd = follow(path, header);
    ck_assert(world_read_until(fd, &again, "event: end", WORLD_TIMEOUT_MS));
    ck_assert_ptr_null(strstr(again.p, "\"before\""));
    ck_assert_ptr_nonnull(strstr(again.p, "\"after\""));
    close(fd);
    buf_finish(&got);
    buf_finish(&again);
}
END_TEST

START_TEST(a_follower_that_leaves_does_no_harm)
{
    const char *path = run("gate", "1");
    for (int i = 0; i < 20; i++) {
        struct buf got = {0};
        int fd = follow(path, "");
        if (i % 2)
            ck_assert(world_read_until(fd, &got, "\"before\"", WORLD_TIMEOUT_MS));
        close(fd);
        buf_finish(&got);
    }
    open_gate();
    world_wait_json(w, path, "state", "succeeded");
}
END_TEST

START_TEST(a_running_run_can_be_cancelled)
{
    const char *path = run("gate", "1");
    char url[160];
    world_wait_json(w, path, "steps.0.state", "running");
    snprintf(url, sizeof url, "%s/cancel", path);
    ck_assert_int_eq(status_of("POST", url, NULL, NULL), 202);
    world_wait_json(w, path, "state", "cancelled");
}
END_TEST

START_TEST(a_failed_run_stands_in_the_dead_letters_until_it_is_retried)
{
    const char *path = run("broken", "{\"x\":1}");
    char url[160];
    world_wait_json(w, path, "state", "dead");
    struct world_reply r = world_get_json(w, "/v1/dlq");
    ck_assert_uint_eq(json_size(r.json), 1);
    ck_assert_str_eq(field(r.json, "0.run"), path + strlen("/v1/runs/"));
    ck_assert_str_eq(field(r.json, "0.stage"), "broken.fail");
    world_reply_finish(&r);
    snprintf(url, sizeof url, "%s/retry", path);
    open_gate();
    ck_assert_int_eq(status_of("POST", url, NULL, NULL), 202);
    world_wait_json(w, path, "state", "succeeded");
    ck_assert_int_eq(status_of("POST", url, NULL, NULL), 409);
    r = world_get_json(w, "/v1/dlq");
    ck_assert_uint_eq(json_size(r.json), 0);
    world_reply_finish(&r);
}
END_TEST

START_TEST(all_dead_letters_can_be_retried_or_purged)
{
    char path[2][128];
    for (int i = 0; i < 2; i++)
        snprintf(path[i], sizeof path[i], "%s", run("broken", "1"));
    world_wait_json(w, path[0], "state", "dead");
    world_wait_json(w, path[1], "state", "dead");
    open_gate();
    struct world_reply r = ask("POST", "/v1/dlq/retry", NULL, NULL);
    ck_assert_int_eq(json_int(json_get(world_json(&r), "retried"), 0), 2);
    world_reply_finish(&r);
    world_wait_json(w, path[0], "state", "succeeded");
    world_wait_json(w, path[1], "state", "succeeded");
    char gate[256];
    snprintf(gate, sizeof gate, "%s/gate", w->dir);
    ck_assert_int_eq(unlink(gate), 0);
    world_wait_json(w, run("broken", "1"), "state", "dead");
    r = ask("DELETE", "/v1/dlq", NULL, NULL);
    ck_assert_int_eq(json_int(json_get(world_json(&r), "purged"), 0), 1);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/dlq");
    ck_assert_uint_eq(json_size(r.json), 0);
    world_reply_finish(&r);
}
END_TEST

START_TEST(the_admin_pages_say_that_all_is_well)
{
    struct world_reply r = world_get_json(w, "/healthz");
    ck_assert_str_eq(field(r.json, "status"), "ok");
    world_reply_finish(&r);
    r = world_get_json(w, "/readyz");
    ck_assert_str_eq(field(r.json, "status"), "ready");
    world_reply_finish(&r);
    r = ask("GET", "/metrics", NULL, NULL);
    ck_assert_int_eq(r.status, 200);
    ck_assert_ptr_nonnull(strstr(r.body.p, "hookmesh_redis_up 1"));
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/status");
    ck_assert(json_bool(json_path(r.json, "redis.up"), false));
    ck_assert_int_eq(json_int(json_path(r.json, "config.pipelines"), 0), 4);
    ck_assert(json_int(json_get(r.json, "memory_bytes"), 0) > 1000000);
    ck_assert_int_eq(json_type_of(json_get(r.json, "event_id")), J_STR);
    world_reply_finish(&r);
}
END_TEST

START_TEST(without_redis_it_is_healthy_but_not_ready_and_says_why)
{
    world_free(w);
    w = world_make();
    world_redis_start(w);
    world_start(w);
    world_redis_kill9(w);
    world_wait_json(w, "/v1/status", "redis.up", "false");
    struct world_reply r = ask("GET", "/readyz", NULL, NULL);
    ck_assert_int_eq(r.status, 503);
    ck_assert(world_header(&r, "retry-after").n > 0);
    ck_assert(str_is(world_header(&r, "content-type"), "application/problem+json"));
    ck_assert_uint_gt(json_size(json_get(world_json(&r), "reasons")), 0);
    world_reply_finish(&r);
    ck_assert_int_eq(status_of("GET", "/healthz", NULL, NULL), 200);
    ck_assert_int_eq(status_of("GET", "/v1/runs", NULL, NULL), 503);
    ck_assert_int_eq(status_of("GET", "/v1/pipelines", NULL, NULL), 503);
    ck_assert_int_eq(status_of("GET", "/v1/dlq", NULL, NULL), 503);
    ck_assert_int_eq(status_of("GET", "/v1/deliveries", NULL, NULL), 503);
    ck_assert_int_eq(status_of("GET", "/v1/runs/x/logs", NULL, NULL), 503);
    world_redis_start(w);
    world_wait_json(w, "/v1/status", "ready", "true");
    ck_assert_int_eq(status_of("GET", "/readyz", NULL, NULL), 200);
    ck_assert_int_eq(status_of("GET", "/v1/runs", NULL, NULL), 200);
}
END_TEST

START_TEST(a_page_of_another_site_can_change_nothing_here)
{
    char own[128];
    ck_assert_int_eq(status_of("PUT", "/v1/kv/a", "Origin: http://evil.example\r\n", "1"), 403);
    ck_assert_int_eq(status_of("POST", "/v1/kv", "Sec-Fetch-Site: cross-site\r\n", "{}"), 403);
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", w->port);
    int status = status_of("PUT", "/v1/kv/a", own, "1");
    ck_assert_int_eq(status, 201);
    struct world_reply r =
        world_raw(w, STR("GET /v1/kv HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"));
    ck_assert_int_eq(r.status, 403);
    world_reply_finish(&r);
}
END_TEST

START_TEST(with_a_token_the_api_is_for_those_who_have_it)
{
    struct world_reply r = ask("GET", "/v1/runs", NULL, NULL);
    ck_assert_int_eq(r.status, 401);
    ck_assert(str_starts(world_header(&r, "www-authenticate"), "Bearer"));
    world_reply_finish(&r);
    ck_assert_int_eq(status_of("GET", "/v1/runs", "Authorization: Bearer wrong\r\n", NULL), 401);
    ck_assert_int_eq(status_of("GET", "/v1/runs", "Authorization: Bearer " TOKEN "\r\n", NULL),
                     200);
    ck_assert_int_eq(status_of("GET", "/metrics", NULL, NULL), 401);
    ck_assert_int_eq(status_of("GET", "/healthz", NULL, NULL), 200);
    ck_assert_int_eq(status_of("GET", "/readyz", NULL, NULL), 200);
    ck_assert_int_eq(status_of("POST", "/hooks/none", NULL, "{}"), 404);
}
END_TEST

START_TEST(a_login_gives_a_session_that_only_our_own_pages_can_use)
{
    char cookie[256], headers[512];
    ck_assert_int_eq(status_of("GET", "/login?code=00000000000000000000000000000000", NULL, NULL),
                     403);
    ck_assert_int_eq(status_of("POST", "/login", NULL, "{\"token\":\"wrong\"}"), 401);
    ck_assert_int_eq(status_of("POST", "/login", NULL, "token=wrong"), 401);
    ck_assert_int_eq(status_of("POST", "/login", NULL, "{"), 401);
    ck_assert_int_eq(status_of("POST", "/login", "Origin: http://evil.example\r\n", "token=" TOKEN),
                     403);
    struct world_reply r = ask("POST", "/login", NULL, "{\"token\":\"" TOKEN "\"}");
    ck_assert_int_eq(r.status, 200);
    struct str set = world_header(&r, "set-cookie");
    ck_assert_ptr_nonnull(strstr(r.head.p, "HttpOnly; SameSite=Strict"));
    struct str rest = set;
    struct str pair = str_split(&rest, ';');
    snprintf(cookie, sizeof cookie, "Cookie: %.*s\r\n", (int)pair.n, pair.p);
    ck_assert_ptr_null(strstr(cookie, TOKEN));
    world_reply_finish(&r);
    ck_assert_int_eq(status_of("GET", "/v1/runs", cookie, NULL), 200);
    ck_assert_int_eq(status_of("PUT", "/v1/kv/a", cookie, "1"), 403);
    snprintf(headers, sizeof headers, "%sOrigin: http://127.0.0.1:%d\r\n", cookie, w->port);
    ck_assert_int_eq(status_of("PUT", "/v1/kv/a", headers, "1"), 201);
    snprintf(headers, sizeof headers, "%sOrigin: http://evil.example\r\n", cookie);
    ck_assert_int_eq(status_of("PUT", "/v1/kv/a", headers, "1"), 403);
    int status = 0;
    struct world_ws *ws = world_ws_try(w, "/v1/live", cookie, &status);
    ck_assert_int_eq(status, 101);
    world_ws_close(ws);
    world_restart(w); /* the same token: the session goes on */
    ck_assert_int_eq(status_of("GET", "/v1/runs", cookie, NULL), 200);
    cookie[strlen(cookie) - 3] ^= 1;
    ck_assert_int_eq(status_of("GET", "/v1/runs", cookie, NULL), 401);
}
END_TEST

Suite *api_suite(void)
{
    Suite *s = suite_create("api");
    TCase *t = tcase_create("api");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, start, stop);
    tcase_add_test(t, a_job_started_by_hand_runs_to_its_result);
    tcase_add_test(t, jobs_are_listed_with_their_stages);
    tcase_add_test(t, jobs_that_cannot_be_started_are_refused);
    tcase_add_test(t, runs_are_listed_newest_first_in_pages);
    tcase_add_test(t, filters_that_make_no_sense_are_refused);
    tcase_add_test(t, a_log_is_lines_of_json);
    tcase_add_test(t, a_followed_log_grows_with_the_run_and_ends_with_it);
    tcase_add_test(t, a_follower_that_leaves_does_no_harm);
    tcase_add_test(t, a_running_run_can_be_cancelled);
    tcase_add_test(t, a_failed_run_stands_in_the_dead_letters_until_it_is_retried);
    tcase_add_test(t, all_dead_letters_can_be_retried_or_purged);
    tcase_add_test(t, the_admin_pages_say_that_all_is_well);
    tcase_add_test(t, without_redis_it_is_healthy_but_not_ready_and_says_why);
    tcase_add_test(t, a_page_of_another_site_can_change_nothing_here);
    suite_add_tcase(s, t);
    TCase *locked = tcase_create("token");
    tcase_set_timeout(locked, 120);
    tcase_add_checked_fixture(locked, start_with_token, stop);
    tcase_add_test(locked, with_a_token_the_api_is_for_those_who_have_it);
    tcase_add_test(locked, a_login_gives_a_session_that_only_our_own_pages_can_use);
    suite_add_tcase(s, locked);
    return s;
}
