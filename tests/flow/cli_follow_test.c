/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line follows, and lists of many pages. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *cli_follow_suite(void);

static struct world *w;

/* A stage that goes on when a file is there, so that a test decides how long a run takes. */
static void start_world(void)
{
    w = world_make();
    world_redis_start(w);
    char *yaml = mem_format(
        "settings: {stop_grace: 100ms, lease: 1s}\n"
        "pipelines:\n"
        "  - name: echo\n"
        "    stages:\n"
        "      - {name: once, watch: \"echo.*.in\", command: [cat], write: \"echo.{1}.out\"}\n"
        "  - name: slow\n"
        "    stages:\n"
        "      - name: wait\n"
        "        watch: \"slow.*.in\"\n"
        "        write: \"slow.{1}.out\"\n"
        "        command: [sh, -c, \"echo begun >&2; until [ -e %s/go ]; do sleep 0.05; done; "
        "echo ended >&2; cat\"]\n",
        w->dir);
    world_config(w, "main.yaml", yaml);
    world_config(w, "bad.yaml",
                 "jobs:\n  - {name: bad, command: [sh, -c, exit 3], retry: {max_attempts: 1}}\n");
    mem_free(yaml);
    world_start(w);
}

static void stop_world(void)
{
    world_free(w);
}

struct following {
    pid_t pid;
    int out;
    struct buf got;
    int code;
};

static struct following follow(const char *const *args)
{
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    struct following f = {.pid = fork(), .out = out[0]};
    if (f.pid == 0) {
        const char *words[10] = {"hookmesh"};
        for (size_t i = 0; args[i] != NULL; i++)
            words[i + 1] = args[i];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        setenv("HOOKMESH_URL", w->url, 1);
        union {
            const char *const *from;
            char *const *to;
        } cast = {words};
        execv(HOOKMESH_BIN, cast.to);
        _exit(127);
    }
    close(out[1]);
    return f;
}

static void await(struct following *f, const char *text)
{
    if (!world_read_until(f->out, &f->got, text, WORLD_TIMEOUT_MS))
        world_fail(w, "wanted: %s\ngot: %s", text, f->got.p != NULL ? f->got.p : "");
}

/* It ends by itself. */
static int await_end(struct following *f)
{
    int status;
    while (world_read_some(f->out, &f->got, WORLD_TIMEOUT_MS))
        ;
    ck_assert_int_eq(waitpid(f->pid, &status, 0), f->pid);
    f->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void finish(struct following *f)
{
    if (f->pid != 0) {
        kill(f->pid, SIGTERM);
        waitpid(f->pid, NULL, 0);
    }
    close(f->out);
    buf_finish(&f->got);
}

static size_t count(const struct buf *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text->p; p != NULL && (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

static char *start_run(const char *job)
{
    struct world_run r = WORLD_CLI(w, "jobs", "run", job, "--json");
    struct json *j = json_parse(buf_view(&r.out), NULL);
    struct str id = json_str(json_get(j, "run_id"));
    ck_assert_msg(id.n != 0, "%s%s", r.out.p, r.err.p);
    char *copy = mem_dup(id.p, id.n);
    json_free(j);
    world_run_finish(&r);
    return copy;
}

/* The same address again: a client that follows comes back to it. */
static void keep_port(void)
{
    char *listen = mem_format("--listen=127.0.0.1:%d", w->port);
    world_arg(w, listen);
    mem_free(listen);
}

START_TEST(followed_list_loses_nothing_over_a_restart_of_the_server)
{
    static const char *const args[] = {"jobs", "list", "--follow", NULL};
    char *before = start_run("echo");
    struct following f = follow(args);
    await(&f, before); /* was there already */
    char *first = start_run("echo");
    await(&f, first);
    keep_port();
    world_stop(w);
    world_start(w);
    char *second = start_run("echo");
    await(&f, second);
    world_kill9(w);
    world_start(w);
    char *third = start_run("echo");
    char *last = mem_format("succeeded  %s", third);
    await(&f, last);
    char *all[] = {before, first, second, third};
    for (size_t i = 0; i < 4; i++) {
        char *end = mem_format("succeeded  %s", all[i]);
        ck_assert_msg(count(&f.got, end) == 1, "%s\n%s", end, f.got.p);
        mem_free(end);
        mem_free(all[i]);
    }
    mem_free(last);
    finish(&f);
}
END_TEST

START_TEST(followed_list_asks_again_when_the_log_was_trimmed_meanwhile)
{
    static const char *const args[] = {"jobs", "list", "--follow", NULL};
    struct following f = follow(args);
    char *first = start_run("echo");
    await(&f, first);
    keep_port();
    ck_assert_int_eq(kill(f.pid, SIGSTOP), 0); /* away longer than the log reaches */
    world_stop(w);
    world_start(w);
    char *second = start_run("echo");
    char *path = mem_format("/v1/runs/%s", second);
    world_wait_json(w, path, "state", "succeeded");
    mem_free(world_redis(w, "XTRIM hm:events MAXLEN 0"));
    ck_assert_int_eq(kill(f.pid, SIGCONT), 0);
    await(&f, second);
    char *third = start_run("echo");
    await(&f, third);
    mem_free(path);
    mem_free(first);
    mem_free(second);
    mem_free(third);
    finish(&f);
}
END_TEST

START_TEST(followed_list_takes_only_what_is_asked_for)
{
    static const char *const args[] = {"jobs", "list",    "--follow",         "--json", "--job",
                                       "slow", "--state", "queued,succeeded", NULL};
    struct following f = follow(args);
    char *other = start_run("echo");
    char *slow = start_run("slow");
    world_file(w, "go", "");
    await(&f, slow);
    await(&f, "}\n");
    ck_assert_ptr_null(strstr(f.got.p, other));
    struct str rest = buf_view(&f.got);
    while (rest.n != 0) {
        struct str line = str_split(&rest, '\n');
        struct json *j = json_parse(line, NULL);
        ck_assert_msg(j != NULL || rest.p == NULL, "%.*s", (int)line.n, line.p);
        if (j != NULL)
            ck_assert(str_is(json_str(json_get(j, "id")), slow));
        json_free(j);
    }
    mem_free(other);
    mem_free(slow);
    finish(&f);
}
END_TEST

START_TEST(followed_list_tells_each_failure_of_a_run_that_is_retried)
{
    static const char *const args[] = {"jobs", "list", "--follow", NULL};
    char *id = start_run("bad");
    char *dead = mem_format("dead       %s", id);
    struct following f = follow(args);
    await(&f, dead);
    for (size_t n = 2; n < 5; n++) {
        struct world_run r = WORLD_CLI(w, "jobs", "retry", id, "--wait");
        ck_assert_int_eq(r.code, 1);
        world_run_finish(&r);
        while (count(&f.got, dead) < n)
            ck_assert(world_read_some(f.out, &f.got, WORLD_TIMEOUT_MS));
    }
    mem_free(dead);
    mem_free(id);
    finish(&f);
}
END_TEST

START_TEST(followed_log_ends_with_the_run_also_over_a_restart)
{
    char *id = start_run("slow");
    const char *const args[] = {"jobs", "logs", id, "--follow", NULL};
    struct following f = follow(args);
    await(&f, "slow.wait  begun\n");
    keep_port();
    world_kill9(w);
    world_start(w);
    await(&f, "begun\n");
    world_file(w, "go", "");
    ck_assert_int_eq(await_end(&f), 0);
    ck_assert_uint_eq(count(&f.got, "slow.wait  ended\n"), 1);
    mem_free(id);
    finish(&f);
}
END_TEST

START_TEST(waiting_for_a_run_survives_a_restart)
{
    static const char *const args[] = {"jobs", "run", "slow", "--wait", NULL};
    struct following f = follow(args);
    world_wait_json(w, "/v1/runs", "0.state", "running");
    keep_port();
    world_kill9(w);
    world_start(w);
    world_file(w, "go", "");
    ck_assert_int_eq(await_end(&f), 0);
    ck_assert_ptr_nonnull(strstr(f.got.p, "state      succeeded\n"));
    finish(&f);
}
END_TEST

START_TEST(a_list_is_read_over_as_many_pages_as_asked_for)
{
    enum { LINES = 1040 };
    for (int i = 0; i < LINES; i++) {
        struct world_reply r = world_http(w, "POST", "/hooks/nobody", NULL, STR("{}"));
        ck_assert_int_eq(r.status, 404);
        world_reply_finish(&r);
    }
    char *path = mem_format("/v1/deliveries?limit=1000");
    world_wait_json(w, path, "999.outcome", "unrouted");
    static const struct {
        const char *limit;
        size_t rows;
    } rows[] = {{"1", 1}, {"50", 50}, {"1000", 1000}, {"1001", 1001}, {"5000", LINES}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world_run r = WORLD_CLI(w, "deliveries", "list", "--json", "--limit", rows[i].limit);
        struct json *list = json_parse(buf_view(&r.out), NULL);
        ck_assert_msg(json_size(list) == rows[i].rows, "%zu rows: %s", json_size(list), r.err.p);
        struct str first = json_str(json_get(json_at(list, 0), "id"));
        struct str last = json_str(json_get(json_at(list, json_size(list) - 1), "id"));
        ck_assert(json_size(list) == 1 || !str_eq(first, last));
        json_free(list);
        world_run_finish(&r);
    }
    struct world_run r = WORLD_CLI(w, "deliveries", "list", "--limit", "none");
    ck_assert_int_eq(r.code, 64);
    ck_assert_ptr_nonnull(strstr(r.err.p, "--limit must be a number from 1 on, not none"));
    world_run_finish(&r);
    mem_free(path);
}
END_TEST

Suite *cli_follow_suite(void)
{
    Suite *s = suite_create("cli_follow");
    TCase *t = tcase_create("server");
    tcase_add_checked_fixture(t, start_world, stop_world);
    tcase_set_timeout(t, 180);
    tcase_add_test(t, followed_list_loses_nothing_over_a_restart_of_the_server);
    tcase_add_test(t, followed_list_asks_again_when_the_log_was_trimmed_meanwhile);
    tcase_add_test(t, followed_list_takes_only_what_is_asked_for);
    tcase_add_test(t, followed_list_tells_each_failure_of_a_run_that_is_retried);
    tcase_add_test(t, followed_log_ends_with_the_run_also_over_a_restart);
    tcase_add_test(t, waiting_for_a_run_survives_a_restart);
    tcase_add_test(t, a_list_is_read_over_as_many_pages_as_asked_for);
    suite_add_tcase(s, t);
    return s;
}
