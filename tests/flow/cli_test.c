/* SPDX-License-Identifier: Apache-2.0 */
/* The command line against a real server. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *cli_suite(void);

static const char pipelines[] =
    "pipelines:\n"
    "  - name: echo\n"
    "    stages:\n"
    "      - {name: once, watch: \"echo.*.in\", command: [cat], write: "
    "\"echo.{1}.mid\"}\n"
    "      - {name: twice, watch: \"echo.*.mid\", command: [sh, -c, \"echo all "
    "is well >&2; "
    "cat\"],\n"
    "         write: \"echo.{1}.out\"}\n"
    "  - name: bad\n"
    "    stages:\n"
    "      - {name: fail, watch: \"bad.*.in\", command: [sh, -c, \"exit 3\"], "
    "write: "
    "\"bad.{1}.out\",\n"
    "         retry: {max_attempts: 1}}\n"
    "triggers:\n"
    "  - {type: webhook, path: /hooks/github, pipeline: echo}\n";

static struct world *w;

static void start_world(void)
{
    w = world_make();
    world_config(w, "main.yaml", pipelines);
    world_env(w, "HOOKMESH_SECRET_GITHUB=a-secret-of-the-tests");
    world_start(w);
}

static void stop_world(void)
{
    world_free(w);
}

#define CLI(...) WORLD_CLI(w, __VA_ARGS__)

static void assert_says(const struct buf *got, const char *text)
{
    ck_assert_msg(strstr(got->p, text) != NULL, "wanted: %s\ngot: %s", text, got->p);
}

static void assert_run(struct world_run r, int code, const char *out, const char *err)
{
    ck_assert_msg(r.code == code, "exit code %d, wanted %d\n%s%s", r.code, code, r.out.p, r.err.p);
    if (out != NULL)
        assert_says(&r.out, out);
    if (err != NULL)
        assert_says(&r.err, err);
    else
        ck_assert_msg(r.err.n == 0, "%s", r.err.p);
    world_run_finish(&r);
}

/* One field of what a command printed as JSON; the caller frees. */
static char *json_field(struct world_run r, const char *path)
{
    struct err e;
    ck_assert_msg(r.code == 0, "%s", r.err.p);
    struct json *j = json_parse(buf_view(&r.out), &e);
    ck_assert_msg(j != NULL, "%s: %s", e.text, r.out.p);
    struct str s = json_str(json_path(j, path));
    ck_assert_msg(s.p != NULL, "no %s in %s", path, r.out.p);
    char *copy = mem_dup(s.p, s.n);
    json_free(j);
    world_run_finish(&r);
    return copy;
}

START_TEST(keys_are_written_read_listed_and_deleted)
{
    assert_run(CLI("kv", "put", "a.b", "{\"x\":[1,{\"y\":\"text\"}]}"), 0,
               "a.b: written, version 1\n", NULL);
    assert_run(CLI("kv", "get", "a.b"), 0, "{\"x\":[1,{\"y\":\"text\"}]}", NULL);
    assert_run(CLI("kv", "get", "a.b", "--json"), 0, "{\"key\":\"a.b\",\"version\":1,\"value\":{",
               NULL);
    assert_run(CLI("kv", "get", "a.b", "--field", "x.1.y"), 0, "text\n", NULL);
    assert_run(CLI("kv", "get", "a.b", "--field", "x.7"), 1, NULL, "has no field x.7\n");
    assert_run(CLI("kv", "get", "a.b", "--wait"), 0, "{\"x\":[1,{\"y\":\"text\"}]}", NULL);
    assert_run(CLI("kv", "get", "a.c"), 1, NULL, "hookmesh kv get: there is no key a.c");
    assert_run(CLI("kv", "get", "a..c"), 1, NULL, "empty token");
    assert_run(CLI("kv", "put", "a.b", "2", "--if-version", "7"), 1, NULL,
               "is at version 1, not 7");
    assert_run(CLI("kv", "put", "a.b", "2", "--if-version", "0"), 1, NULL, "is there already");
    assert_run(CLI("kv", "put", "a.b", "2", "--if-version", "x"), 64, NULL, "must be a number");
    assert_run(CLI("kv", "put", "a.b", "2", "--if-version", "1", "--json"), 0, "\"version\":2",
               NULL);
    assert_run(CLI("kv", "list", "a.*"), 0, "KEY  VERSION  SIZE\na.b  2        1 B\n", NULL);
    assert_run(CLI("kv", "list", "--json"), 0, "\"key\": \"a.b\"", NULL);
    assert_run(CLI("kv", "list", "a.b*"), 1, NULL, "whole tokens");
    assert_run(CLI("kv", "del", "a.b"), 0, "a.b: deleted, it was version 2\n", NULL);
    assert_run(CLI("kv", "del", "a.b"), 1, NULL, "there is no key a.b");
}
END_TEST

START_TEST(values_come_from_files_and_standard_input)
{
    world_file(w, "value.json", "{\"from\": \"file\"}\n");
    char *arg = mem_format("@%s/value.json", w->dir);
    assert_run(CLI("kv", "put", "f.a", arg), 0, "version 1", NULL);
    assert_run(CLI("kv", "get", "f.a"), 0, "{\"from\": \"file\"}\n", NULL);
    mem_free(arg);
    const char *const words[] = {"kv", "put", "f.b", "-", NULL};
    assert_run(world_cli(w, STR("\"from input\""), words), 0, "version 1", NULL);
    assert_run(CLI("kv", "get", "f.b"), 0, "\"from input\"", NULL);
    assert_run(CLI("kv", "put", "f.c", "@/no/such/file"), 1, NULL,
               "/no/such/file cannot be read: No such file");
}
END_TEST

/* A command that doesn't end by itself: its output, and its end by a signal. */
struct running {
    pid_t pid;
    int out;
    struct buf got;
};

static struct running run_on(const char *const *args)
{
    int out[2];
    char *words[8] = {(char[]){"hookmesh"}};
    for (size_t i = 0; args[i] != NULL; i++)
        words[i + 1] = mem_strdup(args[i]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
    struct running r = {.pid = fork()};
    if (r.pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        setenv("HOOKMESH_URL", w->url, 1);
        execv(HOOKMESH_BIN, words);
        _exit(127);
    }
    for (size_t i = 1; words[i] != NULL; i++)
        mem_free(words[i]);
    close(out[1]);
    r.out = out[0];
    return r;
}

static void stop_running(struct running *r)
{
    kill(r->pid, SIGTERM);
    waitpid(r->pid, NULL, 0);
    close(r->out);
    buf_finish(&r->got);
}

START_TEST(a_watch_shows_what_is_there_and_then_changes)
{
    assert_run(CLI("kv", "put", "w.a", "1"), 0, "version 1", NULL);
    static const char *const args[] = {"kv", "watch", "w.*", NULL};
    struct running r = run_on(args);
    ck_assert(world_read_until(r.out, &r.got, "changes follow\n", WORLD_TIMEOUT_MS));
    assert_says(&r.got, "w.a  1  1\n--");
    assert_run(CLI("kv", "put", "w.b", "{\"n\": 2}"), 0, "version 1", NULL);
    ck_assert(world_read_until(r.out, &r.got, "w.b  1  {\"n\":2}\n", WORLD_TIMEOUT_MS));
    assert_run(CLI("kv", "del", "w.a"), 0, "deleted", NULL);
    ck_assert(world_read_until(r.out, &r.got, "w.a  deleted\n", WORLD_TIMEOUT_MS));
    stop_running(&r);
}
END_TEST

START_TEST(a_key_that_is_not_there_yet_can_be_waited_for)
{
    static const char *const args[] = {"kv", "get", "w.later", "--wait", "--field", "n", NULL};
    struct running r = run_on(args);
    assert_run(CLI("kv", "put", "w.sooner", "{\"n\": 1}"), 0, "version 1", NULL);
    assert_run(CLI("kv", "put", "w.later", "{\"n\": 2}"), 0, "version 1", NULL);
    ck_assert(world_read_until(r.out, &r.got, "2\n", WORLD_TIMEOUT_MS));
    ck_assert_ptr_null(strstr(r.got.p, "1"));
    stop_running(&r);
    assert_run(CLI("kv", "get", "w..x", "--wait"), 1, NULL, "empty token");
}
END_TEST

START_TEST(a_bad_pattern_of_a_watch_is_told)
{
    assert_run(CLI("kv", "watch", "w.*x"), 1, NULL, "whole tokens");
}
END_TEST

START_TEST(a_sample_is_signed_sent_and_runs_to_its_end)
{
    const char *const send[] = {"send", "github",     "push",   "--secret", "a-secret-of-the-tests",
                                "--id", "delivery-1", "--json", NULL};
    char *run = json_field(world_cli(w, (struct str){NULL, 0}, send), "run_id");
    struct world_run log = CLI("jobs", "logs", run, "--follow");
    assert_says(&log.out, "echo.twice  all is well\n");
    assert_run(log, 0, NULL, NULL);
    assert_run(CLI("jobs", "logs", run), 0, "all is well\n", NULL);
    assert_run(CLI("jobs", "logs", run, "--json"), 0, "\"line\":\"all is well\"", NULL);

    struct world_run show = CLI("jobs", "show", run);
    assert_says(&show.out, "state      succeeded\n");
    assert_says(&show.out, "STEP ");
    assert_says(&show.out, "twice ");
    assert_run(show, 0, "event      push\n", NULL);
    assert_run(CLI("jobs", "show", run, "--json"), 0, "\"state\": \"succeeded\"", NULL);
    assert_run(CLI("jobs", "list"), 0, "succeeded", NULL);
    assert_run(CLI("jobs", "list", "--state", "dead"), 0, "RUN  STATE  JOB  AGE", NULL);
    assert_run(CLI("jobs", "list", "--state", "happy"), 1, NULL, "state must be one of");
    char *key = mem_format("echo.%s.out", run);
    assert_run(CLI("kv", "get", key, "--field", "payload.repository.full_name"), 0,
               "greenhouse-works/irrigation\n", NULL);
    mem_free(key);

    /* The same id again is no second run. */
    char *outcome = json_field(world_cli(w, (struct str){NULL, 0}, send), "outcome");
    ck_assert_str_eq(outcome, "duplicate");
    mem_free(outcome);
    mem_free(run);
}
END_TEST

START_TEST(deliveries_are_listed_shown_and_replayed)
{
    assert_run(CLI("send", "github", "ping", "--secret", "a-secret-of-the-tests"), 0, "ping", NULL);
    assert_run(
        CLI("send", "github", "pull_request", "--secret", "a-secret-of-the-tests", "--id", "pr-1"),
        0, "accepted: run ", NULL);
    assert_run(CLI("send", "github", "push", "--secret", "not-the-right-one"), 77, NULL,
               "hookmesh send: ");
    assert_run(CLI("send", "github", "push", "--secret", ""), 77, NULL, "X-Hub-Signature-256");
    world_wait_json(w, "/v1/deliveries?outcome=rejected", "1.outcome", "rejected");
    assert_run(CLI("deliveries", "list", "--outcome", "rejected"), 0, "rejected", NULL);
    assert_run(CLI("deliveries", "list", "--limit", "1", "--json"), 0, "\"outcome\"", NULL);
    assert_run(CLI("deliveries", "list", "--outcome", "lost"), 1, NULL, "there is no outcome lost");
    assert_run(CLI("deliveries", "show", "pr-1"), 0, "pull_request\n", NULL);
    assert_run(CLI("deliveries", "show", "nobody"), 1, NULL, "nobody");
    assert_run(CLI("deliveries", "replay", "pr-1"), 0, "accepted: run ", NULL);
}
END_TEST

START_TEST(a_file_is_sent_under_an_event_of_its_name)
{
    world_file(w, "issues.json", "{\"action\":\"opened\"}");
    char *file = mem_format("%s/issues.json", w->dir);
    char *to = mem_format("%s/hooks/github", w->url);
    const char *const send[] = {
        "send", "github", file, "--to", to, "--secret", "a-secret-of-the-tests", "--json", NULL};
    char *run = json_field(world_cli(w, (struct str){NULL, 0}, send), "run_id");
    assert_run(CLI("jobs", "show", run), 0, "event      issues\n", NULL);
    mem_free(run);
    mem_free(file);
    mem_free(to);
    assert_run(CLI("send", "token", "push", "--to", w->url), 64, NULL,
               "there is no secret: set HOOKMESH_SECRET_TOKEN or");
    assert_run(CLI("send", "token", "push", "--secret", "x"), 1, NULL, "push cannot be read");
    assert_run(CLI("send", "slack", "push", "--secret", "x"), 64, NULL, "cannot be sent from here");
    assert_run(CLI("send", "githb", "push", "--secret", "x"), 64, NULL,
               "there is no webhook scheme");
    assert_run(CLI("send", "github", "nothing", "--secret", "x"), 1, NULL,
               "nothing is neither a sample");
    assert_run(CLI("send", "github", "push", "--secret", "x", "--event", "a\nb"), 64, NULL,
               "control characters");
}
END_TEST

START_TEST(dead_letters_are_listed_retried_and_purged)
{
    assert_run(CLI("kv", "put", "bad.one.in", "1"), 0, "version 1", NULL);
    world_wait_json(w, "/v1/dlq", "0.stage", "bad.fail");
    assert_run(CLI("dlq", "list"), 0, "bad.one", NULL);
    assert_run(CLI("dlq", "list", "--json"), 0, "\"stage\": \"bad.fail\"", NULL);
    assert_run(CLI("dlq", "show", "bad.one"), 0, "attempts   1\nat         20", NULL);
    assert_run(CLI("dlq", "show", "bad.one"), 0,
               "key        bad.one.in\ninput      1\nnext       hookmesh dlq retry bad.one\n",
               NULL);
    assert_run(CLI("dlq", "show", "bad.one", "--field", "stage"), 0, "bad.fail\n", NULL);
    assert_run(CLI("dlq", "list", "--field", "0.run"), 0, "bad.one\n", NULL);
    assert_run(CLI("dlq", "list", "--field", "1.run"), 1, NULL, "there is no 1.run in what came");
    assert_run(CLI("dlq", "show", "bad.none"), 1, NULL,
               "there is no dead letter of a run bad.none");
    assert_run(CLI("dlq", "list", "--job", "echo"), 0, "RUN  STAGE  ATTEMPTS  AGE  ERROR\n", NULL);
    assert_run(CLI("dlq", "retry"), 64, NULL, "name one run, or say --all");
    assert_run(CLI("dlq", "retry", "bad.one", "--job", "bad"), 64, NULL, "--job goes with --all");
    assert_run(CLI("dlq", "retry", "--all", "--wait"), 64, NULL, "go with one run");
    assert_run(CLI("dlq", "purge", "bad.one", "--job", "bad"), 64, NULL, "name one run, or");
    assert_run(CLI("dlq", "retry", "--all", "--job", "echo"), 0, "tried again: 0\n", NULL);
    assert_run(CLI("dlq", "retry", "bad.one", "--wait"), 1, "state      dead\n", NULL);
    assert_run(CLI("dlq", "retry", "bad.one"), 0, "goes on: bad.one\n", NULL);
    world_wait_json(w, "/v1/dlq", "0.stage", "bad.fail");
    assert_run(CLI("dlq", "retry", "bad.none"), 1, NULL, "bad.none");
    assert_run(CLI("dlq", "retry", "--all"), 0, "tried again: 1\n", NULL);
    world_wait_json(w, "/v1/dlq", "0.stage", "bad.fail");
    assert_run(CLI("dlq", "purge", "bad.none"), 1, NULL, "bad.none");
    assert_run(CLI("dlq", "purge", "bad.one"), 0, "dropped: 1\n", NULL);
    assert_run(CLI("kv", "put", "bad.two.in", "1"), 0, "version 1", NULL);
    world_wait_json(w, "/v1/dlq", "0.run", "bad.two");
    assert_run(CLI("dlq", "purge"), 0, "dropped: 1\n", NULL);
    assert_run(CLI("dlq", "list", "--json"), 0, "[]\n", NULL);
}
END_TEST

START_TEST(jobs_are_started_and_waited_for)
{
    assert_run(CLI("jobs", "run", "echo", "--input", "{\"a\":1}", "--wait"), 0,
               "state      succeeded\n", NULL);
    assert_run(CLI("jobs", "run", "bad", "--wait"), 1, "state      dead\n", NULL);
    assert_run(CLI("jobs", "run", "echo"), 0, "started: ", NULL);
    assert_run(CLI("jobs", "run", "nothing"), 1, NULL, "there is no job nothing");
    assert_run(CLI("jobs", "run", "echo", "--input", "{"), 1, NULL, "hookmesh jobs run: ");
    assert_run(CLI("jobs", "show", "echo"), 0, "once   command  echo.*.in   echo.{1}.mid\n", NULL);
    assert_run(CLI("jobs", "show", "echo.nobody"), 1, NULL, "there is no run echo.nobody");
    assert_run(CLI("jobs", "logs", "echo.nobody"), 1, NULL, "there is no run echo.nobody");
    assert_run(CLI("jobs", "logs", "echo.nobody", "--follow"), 1, NULL,
               "there is no run echo.nobody");
    assert_run(CLI("pipelines", "list"), 0, "echo.once", NULL);
    assert_run(CLI("pipelines", "list", "--json"), 0, "\"echo.once\"", NULL);
}
END_TEST

START_TEST(a_followed_list_shows_runs_as_they_come)
{
    static const char *const args[] = {"jobs", "list", "--follow", NULL};
    struct running r = run_on(args);
    char *run = json_field(CLI("jobs", "run", "echo", "--json"), "run_id");
    ck_assert(world_read_until(r.out, &r.got, run, WORLD_TIMEOUT_MS));
    stop_running(&r);
    mem_free(run);
}
END_TEST

START_TEST(a_server_with_a_token_wants_it)
{
    world_env(w, "HOOKMESH_TOKEN=the-token-of-the-house");
    world_config(w, "main.yaml", pipelines);
    world_start(w);
    assert_run(CLI("kv", "list", "--token", "wrong-token"), 77, NULL,
               "set HOOKMESH_TOKEN or give --token");
    assert_run(CLI("kv", "list", "--token", "the-token-of-the-house"), 0, "KEY", NULL);
    world_file(w, "token", "the-token-of-the-house\n");
}
END_TEST

START_TEST(without_a_server_the_exit_code_says_so)
{
    assert_run(CLI("kv", "list", "--url", "http://127.0.0.1:9"), 69, NULL,
               "no server answers at http://127.0.0.1:9 (");
    assert_run(CLI("jobs", "logs", "x", "--follow", "--url", "127.0.0.1:9"), 69, NULL,
               "start one with hookmesh serve");
}
END_TEST

START_TEST(status_says_whether_the_server_can_work)
{
    assert_run(CLI("status"), 0, "state      ready\n", NULL);
    assert_run(CLI("status", "--field", "redis.up"), 0, "true\n", NULL);
    assert_run(CLI("status", "--wait"), 0, "pipelines  2, 1 webhooks\n", NULL);
    assert_run(CLI("status", "--url", "http://127.0.0.1:9"), 69, NULL, "no server answers");
}
END_TEST

START_TEST(a_server_that_is_just_starting_can_be_waited_for)
{
    world_redis_start(w);
    world_redis_pause(w); /* it listens, but is not ready */
    world_config(w, "main.yaml", pipelines);
    world_launch(w);
    assert_run(CLI("jobs", "run", "echo"), 1, NULL, "Redis is not reachable");
    static const char *const args[] = {"status", "--wait", NULL};
    struct running r = run_on(args);
    world_redis_resume(w);
    ck_assert(world_read_until(r.out, &r.got, "state      ready\n", WORLD_TIMEOUT_MS));
    stop_running(&r);
}
END_TEST

START_TEST(check_tells_what_is_wrong_with_a_directory)
{
    world_config(w, "main.yaml", pipelines);
    assert_run(CLI("check", w->config), 0, "is fine: 2 pipelines with 3 stages, 1 webhook, ",
               "there is no secret: set HOOKMESH_SECRET_GITHUB");
    assert_run(CLI("check", w->config, "--json"), 0, "{\"ok\":true,\"warnings\":[", NULL);
    world_config(w, "second.yaml",
                 "triggers:\n  - {type: webhook, path: /hooks/a, scheme: gihub, "
                 "write: \"a.{run}\"}\n");
    assert_run(CLI("check", w->config), 1, NULL,
               "second.yaml:2:45: webhook /hooks/a: scheme: unknown scheme "
               "\"gihub\", did you mean");
    assert_run(CLI("check", w->config, "--json"), 1, "{\"ok\":false,\"errors\":\"", NULL);
    assert_run(CLI("check", "/no/such/dir"), 1, NULL, "cannot be read");
    world_config(w, "second.yaml",
                 "pipelines:\n  - name: p\n    stages:\n"
                 "      - {name: a, watch: x.*, extension: text, job: y}\n");
    assert_run(CLI("check", w->config), 1, NULL, "there is no extension \"text\"");
    assert_run(CLI("check", w->config, "--allow-undefined"), 0, "is fine", "warning: ");
}
END_TEST

START_TEST(usage_errors_have_their_own_exit_code)
{
    assert_run(CLI("--version"), 0, "hookmesh " HOOKMESH_VERSION "\n", NULL);
    assert_run(CLI("--help"), 0, "kv watch PATTERN", NULL);
    assert_run(CLI("kv", "--help"), 0, "kv watch PATTERN", NULL);
    assert_run(CLI("kv"), 64, "kv watch PATTERN", NULL);
    assert_run(CLI("kv", "watch", "--help"), 0, "Example:\n  hookmesh kv watch", NULL);
    assert_run(CLI("help", "kv", "watch"), 0, "Example:\n  hookmesh kv watch", NULL);
    assert_run(CLI("serve", "--help"), 0, "hook_max_body", NULL);
    assert_run(CLI("serve", "--listn", "x"), 64, NULL, "did you mean --listen?");
    assert_run(CLI("kv", "gett"), 64, NULL, "did you mean \"hookmesh kv get\"?");
    assert_run(CLI("frobnicate"), 64, NULL, "hookmesh --help lists them");
}
END_TEST

static void make_world(void)
{
    w = world_make();
}

Suite *cli_suite(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("server");
    tcase_add_checked_fixture(t, start_world, stop_world);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, keys_are_written_read_listed_and_deleted);
    tcase_add_test(t, values_come_from_files_and_standard_input);
    tcase_add_test(t, a_watch_shows_what_is_there_and_then_changes);
    tcase_add_test(t, a_key_that_is_not_there_yet_can_be_waited_for);
    tcase_add_test(t, a_bad_pattern_of_a_watch_is_told);
    tcase_add_test(t, a_sample_is_signed_sent_and_runs_to_its_end);
    tcase_add_test(t, deliveries_are_listed_shown_and_replayed);
    tcase_add_test(t, a_file_is_sent_under_an_event_of_its_name);
    tcase_add_test(t, dead_letters_are_listed_retried_and_purged);
    tcase_add_test(t, jobs_are_started_and_waited_for);
    tcase_add_test(t, a_followed_list_shows_runs_as_they_come);
    tcase_add_test(t, status_says_whether_the_server_can_work);
    suite_add_tcase(s, t);
    t = tcase_create("alone");
    tcase_add_checked_fixture(t, make_world, stop_world);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_server_with_a_token_wants_it);
    tcase_add_test(t, without_a_server_the_exit_code_says_so);
    tcase_add_test(t, a_server_that_is_just_starting_can_be_waited_for);
    tcase_add_test(t, check_tells_what_is_wrong_with_a_directory);
    tcase_add_test(t, usage_errors_have_their_own_exit_code);
    suite_add_tcase(s, t);
    return s;
}
