/* SPDX-License-Identifier: Apache-2.0 */
/* The server as an operator meets it: start, reload, several of them, the end. */
#include "flow/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define DOCUMENTS HOOKMESH_SOURCE_DIR "/config/documents"
static const char document[] = "{\"id\":\"d\",\"title\":\"T\",\"body\":\"One two Three\"}";
static const char slow[] =
    "pipelines:\n  - name: slow\n    stages:\n"
    "      - {name: nap, watch: \"in.*.raw\", command: [sh, -c, \"read line; echo begun >&2; tail "
    "-f /dev/null & wait\"], write: \"in.{1}.done\"}\n";

static void put(struct world *w, const char *key, const char *value)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct world_reply r = world_http(w, "PUT", path, NULL, str_of(value));
    ck_assert_int_eq(r.status / 100, 2);
    world_reply_finish(&r);
    mem_free(path);
}

static int status_of(struct world *w, const char *path)
{
    struct world_reply r = world_http(w, "GET", path, NULL, (struct str){NULL, 0});
    int status = r.status;
    world_reply_finish(&r);
    return status;
}

START_TEST(a_broken_reload_leaves_the_old_configuration_in_force)
{
    struct world *w = world_make();
    world_config(w, "a.yaml", slow);
    world_start(w);
    world_config(w, "b.yaml", "pipelines:\n  - name: bad\n    stages:\n      - {nam: x}\n");
    world_wait_log(w, "mod=config event=refused");
    ck_assert(world_has_log(w, "b.yaml:4:"));
    struct world_reply r = world_get_json(w, "/v1/pipelines");
    ck_assert(memmem(r.body.p, r.body.n, "slow.nap", 8) != NULL);
    ck_assert(memmem(r.body.p, r.body.n, "\"bad\"", 5) == NULL);
    world_reply_finish(&r);
    ck_assert_int_eq(status_of(w, "/readyz"), 200);
    world_free(w);
}
END_TEST

START_TEST(sighup_reloads_the_configuration)
{
    struct world *w = world_make();
    world_config(w, "a.yaml", slow);
    world_start(w);
    kill(w->pid, SIGHUP);
    world_wait_log(w, "mod=config event=reloaded");
    ck_assert_int_eq(status_of(w, "/healthz"), 200);
    world_free(w);
}
END_TEST

static bool has_begun(void *arg)
{
    const struct world *w = arg;
    char *path = mem_format("%s/begun", w->dir);
    bool there = access(path, F_OK) == 0;
    mem_free(path);
    return there;
}

/* The sweep is far away: only the failed step itself can have called for its next attempt. */
START_TEST(a_retry_comes_in_time_though_the_configuration_was_reloaded_meanwhile)
{
    struct world *w = world_make();
    char *yaml =
        mem_format("settings: {sweep: 1h, lease: 1h}\n"
                   "pipelines:\n"
                   "  - name: again\n"
                   "    stages:\n"
                   "      - name: try\n"
                   "        watch: again.*.in\n"
                   "        write: \"again.{1}.out\"\n"
                   "        retry: {max_attempts: 2, initial_delay: 300ms}\n"
                   "        command: [sh, -c, \"cat; [ -e %s/begun ] && exit 0; touch %s/begun; "
                   "until [ -e %s/go ]; do sleep 0.02; done; exit 1\"]\n",
                   w->dir, w->dir, w->dir);
    world_config(w, "a.yaml", yaml);
    world_start(w);
    struct world_reply r = world_http(w, "PUT", "/v1/kv/again.one.in", NULL, STR("1"));
    world_reply_finish(&r);
    ck_assert(world_wait_until(has_begun, w, WORLD_TIMEOUT_MS));
    world_config(w, "b.yaml", slow);
    world_wait_log(w, "mod=config event=reloaded");
    world_file(w, "go", "");
    world_wait_json(w, "/v1/runs/again.one", "state", "succeeded");
    mem_free(yaml);
    world_free(w);
}
END_TEST

START_TEST(a_port_that_others_can_reach_needs_a_token)
{
    struct world *w = world_make();
    struct world_run r = WORLD_CLI(w, "serve", "--listen", "0.0.0.0:0", "--data", w->data);
    ck_assert_int_eq(r.code, 1);
    ck_assert_ptr_nonnull(strstr(r.err.p, "HOOKMESH_TOKEN"));
    world_run_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(a_second_server_on_the_same_data_directory_is_refused)
{
    struct world *w = world_make();
    world_redis_start(w);
    world_start(w);
    struct world_run r = WORLD_CLI(w, "serve", "--listen", "127.0.0.1:0", "--data", w->data,
                                   "--redis", w->redis_url);
    ck_assert_int_eq(r.code, 1);
    ck_assert_ptr_nonnull(strstr(r.err.p, "another server uses the data directory"));
    world_run_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(a_redis_that_may_evict_keys_is_refused_until_it_is_mended)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    world_redis_start(w);
    mem_free(world_redis(w, "CONFIG SET maxmemory-policy allkeys-lru"));
    world_launch(w);
    world_wait_log(w, "CONFIG SET maxmemory-policy noeviction");
    ck_assert_int_eq(status_of(w, "/readyz"), 503);
    mem_free(world_redis(w, "CONFIG SET maxmemory-policy noeviction"));
    world_wait_json(w, "/readyz", "status", "ready");
    world_free(w);
}
END_TEST

START_TEST(data_of_another_format_is_not_touched)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    world_redis_start(w);
    mem_free(world_redis(w, "SET hm:format 77"));
    world_launch(w);
    world_wait_log(w, "is of format 77");
    ck_assert_int_eq(status_of(w, "/readyz"), 503);
    ck_assert_int_eq(world_redis_int(w, "DBSIZE"), 1);
    mem_free(world_redis(w, "FLUSHALL"));
    world_wait_json(w, "/readyz", "status", "ready");
    world_free(w);
}
END_TEST

START_TEST(without_notifications_the_sweep_finds_the_work)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    world_redis_start(w);
    world_arg(w, "--set");
    world_arg(w, "sweep=300ms");
    world_start(w);
    mem_free(world_redis(w, "CONFIG SET notify-keyspace-events %s", "g"));
    struct str argv[] = {STR("HSET"), STR("hm:kv:pipeline.d.raw"), STR("value"), STR(document)};
    mem_free(world_redis_argv(w, 4, argv));
    world_wait_json(w, "/v1/kv/pipeline.d.summary", "id", "d");
    struct world_reply r = world_http(w, "GET", "/metrics", NULL, (struct str){NULL, 0});
    ck_assert_ptr_nonnull(strstr(r.body.p, "hookmesh_notifications_missed_total 1\n"));
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(what_a_killed_server_had_claimed_is_done_by_another)
{
    struct world *a = world_make();
    world_config(a, "a.yaml", slow);
    world_redis_start(a);
    world_start(a);
    put(a, "in.d.raw", "1");
    world_wait_json(a, "/v1/runs/slow.d", "state", "running");
    struct world *b = world_make();
    world_config(
        b, "a.yaml",
        "pipelines:\n  - name: slow\n    stages:\n"
        "      - {name: nap, watch: \"in.*.raw\", command: [cat], write: \"in.{1}.done\"}\n");
    world_arg(b, "--redis");
    world_arg(b, a->redis_url);
    world_start(b);
    world_kill9(a);
    world_wait_json(b, "/v1/runs/slow.d", "state", "succeeded");
    ck_assert_int_eq(world_redis_int(a, "HGET hm:kv:in.d.done version"), 1);
    world_free(b);
    world_free(a);
}
END_TEST

START_TEST(a_stop_hands_back_the_work_that_does_not_end_in_time)
{
    struct world *w = world_make();
    world_config(w, "a.yaml", slow);
    world_redis_start(w);
    world_arg(w, "--set");
    world_arg(w, "stop_grace=100ms");
    world_start(w);
    put(w, "in.d.raw", "1");
    world_wait_json(w, "/v1/runs/slow.d", "state", "running");
    world_stop(w);
    ck_assert_int_eq(world_redis_int(w, "ZCOUNT hm:wait:slow.nap -inf 4503599627370495"),
                     1); /* ready, not claimed */
    world_free(w);
}
END_TEST

START_TEST(the_private_redis_ends_with_the_server_and_keeps_the_data)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    world_start(w);
    put(w, "pipeline.d.raw", document);
    world_wait_json(w, "/v1/kv/pipeline.d.summary", "id", "d");
    char *before = world_redis(w, "INFO server");
    const char *at = strstr(before, "process_id:");
    ck_assert_ptr_nonnull(at);
    pid_t redis = (pid_t)strtol(at + 11, NULL, 10);
    mem_free(before);
    world_stop(w);
    ck_assert_int_ne(kill(redis, 0), 0);
    world_start(w);
    world_wait_json(w, "/v1/kv/pipeline.d.summary", "id", "d");
    world_free(w);
}
END_TEST

START_TEST(two_workers_serve_one_port_and_a_killed_one_is_started_again)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    world_arg(w, "--workers");
    world_arg(w, "2");
    world_start(w);
    char *log = world_slurp(w->log, NULL);
    const char *at = strstr(log, "mod=workers event=started worker=1 pid=");
    ck_assert_ptr_nonnull(at);
    pid_t first = (pid_t)strtol(strstr(at, "pid=") + 4, NULL, 10);
    mem_free(log);
    for (int i = 0; i < 20; i++) {
        char *key = mem_format("pipeline.d%d.raw", i);
        put(w, key, document);
        mem_free(key);
    }
    ck_assert_int_eq(kill(first, SIGKILL), 0);
    world_wait_log(w, "mod=workers event=died worker=1");
    for (int i = 0; i < 20; i++) {
        char *path = mem_format("/v1/runs/document.d%d", i);
        world_wait_json(w, path, "state", "succeeded");
        mem_free(path);
    }
    world_free(w);
}
END_TEST

START_TEST(the_demo_shows_a_document_and_takes_a_signed_push)
{
    struct world *w = world_make();
    world_config_dir(w, HOOKMESH_SOURCE_DIR "/config/demo");
    world_env(w, "HOOKMESH_SECRET_GITHUB=correct horse");
    world_start(w);
    struct world_run r =
        WORLD_CLI(w, "send", "github", "push", "--secret", "correct horse", "--json");
    ck_assert_msg(r.code == 0, "%s", r.err.p);
    struct err e;
    struct json *answer = json_parse(buf_view(&r.out), &e);
    struct str run = json_str(json_get(answer, "run_id"));
    char *path = mem_format("/v1/runs/%.*s", (int)run.n, run.p);
    world_wait_json(w, path, "state", "succeeded");
    mem_free(path);
    json_free(answer);
    world_run_finish(&r);
    world_free(w);
}
END_TEST

Suite *serve_suite(void)
{
    Suite *s = suite_create("serve");
    TCase *t = tcase_create("serve");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_broken_reload_leaves_the_old_configuration_in_force);
    tcase_add_test(t, sighup_reloads_the_configuration);
    tcase_add_test(t, a_retry_comes_in_time_though_the_configuration_was_reloaded_meanwhile);
    tcase_add_test(t, a_port_that_others_can_reach_needs_a_token);
    tcase_add_test(t, a_second_server_on_the_same_data_directory_is_refused);
    tcase_add_test(t, a_redis_that_may_evict_keys_is_refused_until_it_is_mended);
    tcase_add_test(t, data_of_another_format_is_not_touched);
    tcase_add_test(t, without_notifications_the_sweep_finds_the_work);
    tcase_add_test(t, what_a_killed_server_had_claimed_is_done_by_another);
    tcase_add_test(t, a_stop_hands_back_the_work_that_does_not_end_in_time);
    tcase_add_test(t, the_private_redis_ends_with_the_server_and_keeps_the_data);
    tcase_add_test(t, two_workers_serve_one_port_and_a_killed_one_is_started_again);
    tcase_add_test(t, the_demo_shows_a_document_and_takes_a_signed_push);
    suite_add_tcase(s, t);
    return s;
}
