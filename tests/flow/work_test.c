/* SPDX-License-Identifier: Apache-2.0 */
/* Work that goes wrong, in a real server: the step fails as it should, and the server and the other documents go on. */
#include "flow/world.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void put(struct world *w, const char *key, const char *value)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct world_reply r = world_http(w, "PUT", path, NULL, str_of(value));
    if (r.status != 200 && r.status != 201)
        world_fail(w, "PUT %s: %d %s", key, r.status, r.body.p);
    world_reply_finish(&r);
    mem_free(path);
}

struct want {
    struct world *w;
    const char *path;
    struct buf body;
};

static bool is_there(void *arg)
{
    struct want *want = arg;
    struct world_reply r = world_http(want->w, "GET", want->path, NULL, (struct str){NULL, 0});
    bool there = r.status == 200;
    if (there) {
        buf_clear(&want->body);
        buf_str(&want->body, buf_view(&r.body));
    }
    world_reply_finish(&r);
    return there;
}

/* The key's value as soon as there is one. */
static char *await(struct world *w, const char *key)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct want want = {.w = w, .path = path};
    if (!world_wait_until(is_there, &want, WORLD_TIMEOUT_MS))
        world_fail(w, "%s never came", key);
    mem_free(path);
    return buf_take(&want.body);
}

static bool is_gone(void *arg)
{
    pid_t pid = *(const pid_t *)arg;
    return kill(pid, 0) != 0 && errno == ESRCH;
}

static struct world *world_of(const char *stage)
{
    struct world *w = world_make();
    char *yaml = mem_format("settings: {output_max: 1MiB}\n"
                            "extensions: [{name: trial, path: \"%s/ext/trial.so\"}]\n"
                            "pipelines:\n"
                            "  - name: p\n"
                            "    stages:\n"
                            "      - {name: s, watch: \"p.*.in\", write: \"p.{1}.out\", %s}\n",
                            HOOKMESH_BUILD_DIR, stage);
    world_config(w, "main.yaml", yaml);
    mem_free(yaml);
    world_start(w);
    return w;
}

static const struct trouble {
    const char *stage;
    const char *error;
    int attempts;
} troubles[] = {
    {"command: [echo, plain text]", "is not valid JSON", 1},
    {"command: [sh, -c, 'exit 3'], retry: {max_attempts: 2, initial_delay: 10ms}", "status 3", 2},
    {"command: [sh, -c, 'kill -9 $$'], retry: {max_attempts: 2, initial_delay: 10ms}",
     "signal KILL", 2},
    {"command: [sleep, '1000'], timeout: 50ms, retry: {max_attempts: 1}", "longer than 50ms", 1},
    {"command: [head, -c, '100000000', /dev/zero]", "more than 1048576 bytes", 1},
    {"command: [sh, -c, 'read x; exit 4'], keep: true, retry: {max_attempts: 1}", "status 4", 1},
    {"extension: trial, job: trouble, retry: {max_attempts: 2, initial_delay: 10ms}", "signal SEGV",
     2},
    {"http: {url: 'http://127.0.0.1:1/'}, retry: {max_attempts: 2, initial_delay: 10ms}",
     "127.0.0.1", 2},
};

START_TEST(trouble_of_the_work_ends_as_a_dead_letter_with_its_reason)
{
    const struct trouble *t = &troubles[_i];
    struct world *w = world_of(t->stage);
    put(w, "p.a.in", "\"segv\"");
    world_wait_json(w, "/v1/runs/p.a", "state", strstr(t->error, "longer") ? "timed_out" : "dead");
    struct world_reply r = world_get_json(w, "/v1/dlq");
    const struct json *letter = json_at(r.json, 0);
    ck_assert_ptr_nonnull(strstr(json_str(json_get(letter, "error")).p, t->error));
    ck_assert_int_eq(json_int(json_get(letter, "attempts"), 0), t->attempts);
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(crash_of_an_extension_costs_one_document_and_not_the_server)
{
    struct world *w = world_of("extension: trial, job: trouble, retry: {max_attempts: 1}");
    char key[32];
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof key, "p.d%d.in", i);
        put(w, key, i == 20 ? "\"segv\"" : "1");
    }
    for (int i = 0; i < 50; i++) {
        if (i == 20)
            continue;
        snprintf(key, sizeof key, "p.d%d.out", i);
        mem_free(await(w, key));
    }
    world_wait_json(w, "/v1/runs/p.d20", "state", "dead");
    struct world_reply r = world_get_json(w, "/v1/dlq");
    ck_assert_uint_eq(json_size(r.json), 1);
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(kept_python_stages_summarise_the_document)
{
    struct world *w = world_make();
    world_config_dir(w, HOOKMESH_SOURCE_DIR "/config/documents-python");
    world_start(w);
    put(w, "pipeline.doc-001.raw",
        "{\"id\":\"doc-001\",\"title\":\"T\",\"body\":\"One Two three\"}");
    char *summary = await(w, "pipeline.doc-001.summary");
    ck_assert_ptr_nonnull(strstr(summary, "\"one_liner\": \"One Two three\", \"entity_count\": 2"));
    mem_free(summary);
    world_free(w);
}
END_TEST

/* The pid that the stage tells as its result. */
static pid_t started(struct world *w)
{
    put(w, "p.pid.in", "1");
    char *told = await(w, "p.pid.out");
    pid_t pid = (pid_t)strtol(told, NULL, 10);
    mem_free(told);
    ck_assert_int_eq(kill(pid, 0), 0);
    return pid;
}

START_TEST(children_die_with_a_server_that_is_killed)
{
    static const char *const stages[] = {
        "command: [python3, -uc, \"import os,sys\\nfor l in sys.stdin: print(os.getpid())\"], "
        "keep: true",
        "extension: trial, job: pid",
    };
    struct world *w = world_of(stages[_i]);
    pid_t pid = started(w);
    world_kill9(w);
    ck_assert(world_wait_until(is_gone, &pid, WORLD_TIMEOUT_MS));
    world_free(w);
}
END_TEST

START_TEST(daemon_that_a_step_leaves_ends_with_the_step)
{
    struct world *w = world_make();
    world_config(
        w, "main.yaml",
        "pipelines:\n"
        "  - name: p\n"
        "    stages:\n"
        "      - {name: s, watch: \"p.*.in\", write: \"p.{1}.out\", command: [sh, d.sh]}\n");
    world_file(w, "config/d.sh",
               "pid=$(setsid sh -c 'trap \"\" TERM; echo $$; exec >&- 2>&-; "
               "while :; do sleep 1000; done' &)\necho $pid\n");
    world_start(w);
    put(w, "p.a.in", "1");
    char *told = await(w, "p.a.out");
    pid_t pid = (pid_t)strtol(told, NULL, 10);
    ck_assert_int_gt(pid, 1);
    ck_assert(world_wait_until(is_gone, &pid, WORLD_TIMEOUT_MS));
    mem_free(told);
    world_free(w);
}
END_TEST

START_TEST(children_end_with_a_server_that_is_stopped)
{
    struct world *w = world_of("extension: trial, job: pid");
    pid_t pid = started(w);
    world_stop(w);
    ck_assert(is_gone(&pid));
    world_free(w);
}
END_TEST

START_TEST(work_that_a_stop_cut_off_is_done_after_the_next_start)
{
    struct world *w = world_make();
    world_config(w, "main.yaml",
                 "settings: {stop_grace: 50ms}\n"
                 "pipelines:\n"
                 "  - name: p\n"
                 "    stages:\n"
                 "      - {name: s, watch: \"p.*.in\", write: \"p.{1}.out\", command: [sh, -c, "
                 "'echo begun >&2; test -e done || exec sleep 1000; echo 1']}\n");
    world_start(w);
    put(w, "p.a.in", "1");
    world_wait_json(w, "/v1/runs/p.a", "steps.0.state", "running");
    world_stop(w);
    world_file(w, "config/done", "");
    world_start(w);
    mem_free(await(w, "p.a.out"));
    struct world_reply r = world_get_json(w, "/v1/runs/p.a");
    ck_assert(str_is(json_str(json_path(r.json, "state")), "succeeded"));
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

Suite *work_suite(void);
Suite *work_suite(void)
{
    Suite *s = suite_create("work");
    TCase *t = tcase_create("work");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, trouble_of_the_work_ends_as_a_dead_letter_with_its_reason, 0,
                        sizeof troubles / sizeof troubles[0]);
    tcase_add_test(t, crash_of_an_extension_costs_one_document_and_not_the_server);
    tcase_add_test(t, kept_python_stages_summarise_the_document);
    tcase_add_loop_test(t, children_die_with_a_server_that_is_killed, 0, 2);
    tcase_add_test(t, daemon_that_a_step_leaves_ends_with_the_step);
    tcase_add_test(t, children_end_with_a_server_that_is_stopped);
    tcase_add_test(t, work_that_a_stop_cut_off_is_done_after_the_next_start);
    suite_add_tcase(s, t);
    return s;
}
