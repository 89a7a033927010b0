/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: how their steps hang together, what may put a start off, and what follows an end. A step that is to wait reads a FIFO, so a test decides when it goes on. */
#include "flow/world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static const struct str NONE = {NULL, 0};

/* yaml may have %1$s for the world's directory, several times. */
static struct world *world_of(const char *yaml)
{
    struct world *w = world_make();
    struct buf text = {0};
    for (const char *c = yaml; *c != '\0'; c++) {
        if (*c == '@')
            buf_puts(&text, w->dir);
        else
            buf_char(&text, *c);
    }
    world_config(w, "main.yaml", text.p);
    buf_finish(&text);
    return w;
}

static char *path_of(const struct world *w, const char *name)
{
    return mem_format("%s/%s", w->dir, name);
}

static void make_fifo(struct world *w, const char *name)
{
    char *path = path_of(w, name);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    mem_free(path);
}

/* Lets one step that reads the FIFO go on; waits for it to come. */
static void let_go(struct world *w, const char *name)
{
    char *path = path_of(w, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "\n", 1), 1);
    close(fd);
    mem_free(path);
}

/* The id of a new run. */
static char *start(struct world *w, const char *job, const char *input)
{
    char *path = mem_format("/v1/jobs/%s/runs", job);
    struct world_reply r = world_http(w, "POST", path, NULL, str_of(input));
    if (r.status != 202)
        world_fail(w, "POST %s: %d %s", path, r.status, r.body.p);
    struct str run = json_str(json_get(world_json(&r), "run_id"));
    char *id = mem_dup(run.p, run.n);
    world_reply_finish(&r);
    mem_free(path);
    return id;
}

static void wait_run(struct world *w, const char *run, const char *where, const char *text)
{
    char *path = mem_format("/v1/runs/%s", run);
    world_wait_json(w, path, where, text);
    mem_free(path);
}

static struct world_reply get_run(struct world *w, const char *run)
{
    char *path = mem_format("/v1/runs/%s", run);
    struct world_reply r = world_get_json(w, path);
    mem_free(path);
    return r;
}

static const struct json *step_of(const struct json *run, const char *name)
{
    const struct json *steps = json_get(run, "steps");
    for (size_t i = 0; i < json_size(steps); i++) {
        if (str_is(json_str(json_get(json_at(steps, i), "name")), name))
            return json_at(steps, i);
    }
    return NULL;
}

static void assert_step(struct world *w, const char *run, const char *name, const char *state)
{
    struct world_reply r = get_run(w, run);
    struct str got = json_str(json_get(step_of(r.json, name), "state"));
    if (!str_is(got, state))
        world_fail(w, "step %s is %.*s, not %s: %s", name, (int)got.n, got.p, state, r.body.p);
    world_reply_finish(&r);
}

static void assert_value(struct world *w, const char *key, const char *run, const char *tail,
                         const char *value)
{
    char *path = mem_format("/v1/kv/%s.%s.%s", key, run, tail);
    struct world_reply r = world_http(w, "GET", path, NULL, NONE);
    ck_assert_int_eq(r.status, 200);
    struct str got = str_trim(buf_view(&r.body));
    if (!str_is(got, value))
        world_fail(w, "%s is %.*s, not %s", path, (int)got.n, got.p, value);
    world_reply_finish(&r);
    mem_free(path);
}

static void act(struct world *w, const char *run, const char *what, int status)
{
    char *path = mem_format("/v1/runs/%s/%s", run, what);
    struct world_reply r = world_http(w, "POST", path, NULL, NONE);
    if (r.status != status)
        world_fail(w, "POST %s: %d %s", path, r.status, r.body.p);
    world_reply_finish(&r);
    mem_free(path);
}

/* The only run of a job, as soon as there is one. */
static char *only_run(struct world *w, const char *job)
{
    char *path = mem_format("/v1/runs?job=%s", job);
    world_wait_json(w, path, "0.pipeline", job);
    struct world_reply r = world_get_json(w, path);
    struct str id = json_str(json_path(r.json, "0.id"));
    char *run = mem_dup(id.p, id.n);
    world_reply_finish(&r);
    mem_free(path);
    return run;
}

START_TEST(steps_feed_each_other_by_the_names_of_their_outputs)
{
    struct world *w = world_of(
        "jobs:\n"
        "  - name: chain\n"
        "    workflow:\n"
        "      - {name: one, command: [sh, -c, 'cat >/dev/null; echo 1'], output: first}\n"
        "      - {name: two, command: [sh, -c, 'x=$(cat); echo $((x + 1))'], output: second}\n"
        "      - {name: again, input: first, command: [sh, -c, 'x=$(cat); echo $((x + 10))']}\n"
        "      - {name: all, input: [first, second, again], command: [cat]}\n");
    world_start(w);
    char *run = start(w, "chain", "{\"a\":1}");
    wait_run(w, run, "state", "succeeded");
    assert_value(w, "job.chain", run, "input", "{\"a\":1}");
    assert_value(w, "job.chain", run, "first", "1");
    assert_value(w, "job.chain", run, "second", "2");
    assert_value(w, "job.chain", run, "again", "11");
    assert_value(w, "job.chain", run, "all", "{\"first\":1,\"second\":2,\"again\":11}");
    mem_free(run);
    world_free(w);
}
END_TEST

static const char fan[] =
    "jobs:\n"
    "  - name: fan\n"
    "    workflow:\n"
    "      - {name: start, command: [cat], output: seed}\n"
    "      - {name: left, input: seed, command: [sh, -c, 'echo l >>@/left.log; cat >/dev/null; "
    "echo 1']}\n"
    "      - {name: right, input: seed, retry: {max_attempts: 1},\n"
    "         command: [sh, -c, 'cat >/dev/null; test -e @/flag || exit 3; echo 2']}\n"
    "      - {name: join, input: [left, right], command: [cat]}\n";

START_TEST(a_retry_takes_a_run_up_where_it_failed_and_waits_for_all_its_steps)
{
    struct world *w = world_of(fan);
    world_start(w);
    char *run = start(w, "fan", "{}");
    wait_run(w, run, "state", "dead");
    wait_run(w, run, "steps.1.state", "succeeded");
    assert_step(w, run, "join", "waiting");
    world_file(w, "flag", "");
    act(w, run, "retry", 202);
    wait_run(w, run, "state", "succeeded");
    assert_step(w, run, "join", "succeeded");
    assert_value(w, "job.fan", run, "join", "{\"left\":1,\"right\":2}");
    char *log = path_of(w, "left.log");
    char *lines = world_slurp(log, NULL);
    ck_assert_str_eq(lines, "l\n");
    mem_free(lines);
    act(w, run, "retry", 409);
    act(w, run, "retry?from_start=1", 202);
    wait_run(w, run, "steps.1.version", "2");
    wait_run(w, run, "state", "succeeded");
    wait_run(w, run, "steps.3.version", "2");
    mem_free(log);
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(on_complete_gets_the_output_and_on_failure_the_error)
{
    struct world *w = world_of("jobs:\n"
                               "  - name: good\n"
                               "    command: [sh, -c, 'cat >/dev/null; echo 7']\n"
                               "    on_complete: {job: after}\n"
                               "    on_failure: {job: never}\n"
                               "  - name: bad\n"
                               "    command: [sh, -c, 'exit 3']\n"
                               "    retry: {max_attempts: 1}\n"
                               "    on_complete: {job: never}\n"
                               "    on_failure: {job: rescue}\n"
                               "  - {name: after, command: [cat]}\n"
                               "  - {name: rescue, command: [cat]}\n"
                               "  - {name: never, command: [cat]}\n");
    world_start(w);
    char *good = start(w, "good", "{}");
    char *bad = start(w, "bad", "{}");
    char *after = only_run(w, "job.after");
    char *rescue = only_run(w, "job.rescue");
    wait_run(w, after, "state", "succeeded");
    wait_run(w, rescue, "state", "succeeded");
    assert_value(w, "job.after", after, "output", "7");
    wait_run(w, after, "parent", good);
    wait_run(w, after, "depth", "1");
    wait_run(w, after, "cause", "job");
    wait_run(w, rescue, "parent", bad);
    wait_run(w, good, "state", "succeeded");
    wait_run(w, bad, "state", "dead");
    struct world_reply r = world_get_json(w, "/v1/runs?job=job.never");
    ck_assert_uint_eq(json_size(r.json), 0);
    world_reply_finish(&r);
    mem_free(good);
    mem_free(bad);
    mem_free(after);
    mem_free(rescue);
    world_free(w);
}
END_TEST

START_TEST(a_job_that_starts_itself_ends_at_the_depth_limit)
{
    struct world *w = world_of("settings: {depth_max: 3}\n"
                               "jobs:\n"
                               "  - {name: loop, command: [cat], on_complete: {job: loop}}\n");
    world_start(w);
    mem_free(start(w, "loop", "{}"));
    world_wait_json(w, "/v1/runs?state=skipped", "0.depth", "4");
    struct world_reply r = world_get_json(w, "/v1/runs");
    ck_assert_uint_eq(json_size(r.json),
                      5); /* the first, three children, and the one that was refused */
    ck_assert(memmem(r.body.p, r.body.n, "depth limit", 11) != NULL);
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

/* The shell itself reads the FIFO: a child of it would live on when the server is killed. */
static const char lanes[] =
    "jobs:\n"
    "  - name: lane\n"
    "    concurrency: {key: .who, limit: 1}\n"
    "    command: [sh, -c, 'read -r x; read y <@/$(echo \"$x\" | cut -c9); echo \"$x\"']\n";

START_TEST(runs_of_one_concurrency_key_wait_for_each_other_and_others_do_not)
{
    struct world *w = world_of(lanes);
    make_fifo(w, "a");
    make_fifo(w, "b");
    world_start(w);
    char *first = start(w, "lane", "{\"who\":\"a\"}");
    wait_run(w, first, "state", "running");
    char *second = start(w, "lane", "{\"who\":\"a\"}");
    char *third = start(w, "lane", "{\"who\":\"a\"}");
    assert_step(w, second, "run", "waiting");
    act(w, second, "cancel", 202);
    let_go(w, "a");
    wait_run(w, first, "state", "succeeded");
    wait_run(w, third, "state", "running");
    char *other = start(w, "lane", "{\"who\":\"b\"}");
    wait_run(w, other, "state", "running");
    let_go(w, "a");
    let_go(w, "b");
    wait_run(w, third, "state", "succeeded");
    wait_run(w, other, "state", "succeeded");
    wait_run(w, second, "state", "cancelled");
    mem_free(first);
    mem_free(second);
    mem_free(third);
    mem_free(other);
    world_free(w);
}
END_TEST

START_TEST(a_lane_is_free_again_after_its_run_died_with_the_server)
{
    struct world *w = world_of(lanes);
    make_fifo(w, "a");
    world_start(w);
    char *first = start(w, "lane", "{\"who\":\"a\"}");
    wait_run(w, first, "state", "running");
    char *second = start(w, "lane", "{\"who\":\"a\"}");
    world_kill9(w);
    world_start(w);
    let_go(w, "a");
    wait_run(w, first, "state", "succeeded");
    wait_run(w, second, "state", "running");
    let_go(w, "a");
    wait_run(w, second, "state", "succeeded");
    mem_free(first);
    mem_free(second);
    world_free(w);
}
END_TEST

START_TEST(a_rate_limit_puts_off_what_is_too_much)
{
    struct world *w =
        world_of("jobs:\n"
                 "  - {name: rare, rate_limit: {limit: 2, period: 1h}, command: [cat]}\n");
    world_start(w);
    char *one = start(w, "rare", "{}");
    char *two = start(w, "rare", "{}");
    char *three = start(w, "rare", "{}");
    wait_run(w, one, "state", "succeeded");
    wait_run(w, two, "state", "succeeded");
    wait_run(w, three, "state", "waiting");
    struct world_reply r = get_run(w, three);
    ck_assert(json_str(json_get(r.json, "starts")).n != 0);
    world_reply_finish(&r);
    act(w, three, "cancel", 202);
    mem_free(one);
    mem_free(two);
    mem_free(three);
    world_free(w);
}
END_TEST

START_TEST(debounced_starts_join_one_run_and_the_last_input_counts)
{
    struct world *w = world_of("jobs:\n"
                               "  - {name: calm, debounce: 1h, command: [cat]}\n"
                               "  - {name: brisk, debounce: 300ms, command: [cat]}\n");
    world_start(w);
    char *one = start(w, "calm", "{\"n\":1}");
    char *two = start(w, "calm", "{\"n\":2}");
    char *three = start(w, "calm", "{\"n\":3}");
    ck_assert_str_eq(one, two);
    ck_assert_str_eq(one, three);
    wait_run(w, one, "state", "waiting");
    assert_value(w, "job.calm", one, "input", "{\"n\":3}");
    char *brisk = start(w, "brisk", "{\"n\":1}");
    wait_run(w, brisk, "state", "succeeded");
    char *next = start(w, "brisk", "{\"n\":2}");
    ck_assert_str_ne(brisk, next);
    wait_run(w, next, "state", "succeeded");
    assert_value(w, "job.brisk", next, "output", "{\"n\":2}");
    mem_free(one);
    mem_free(two);
    mem_free(three);
    mem_free(brisk);
    mem_free(next);
    world_free(w);
}
END_TEST

START_TEST(a_delayed_run_waits_until_its_time_and_then_runs)
{
    struct world *w = world_of("jobs:\n"
                               "  - {name: later, delay: 1h, command: [cat]}\n"
                               "  - {name: soon, delay: 200ms, command: [cat]}\n");
    world_start(w);
    char *later = start(w, "later", "{}");
    char *soon = start(w, "soon", "{}");
    wait_run(w, soon, "state", "succeeded");
    wait_run(w, later, "state", "waiting");
    act(w, later, "cancel", 202);
    wait_run(w, later, "state", "cancelled");
    mem_free(later);
    mem_free(soon);
    world_free(w);
}
END_TEST

struct gone {
    struct world *w;
    char *path;
};

static bool is_gone(void *arg)
{
    const struct gone *g = arg;
    struct world_reply r = world_http(g->w, "GET", g->path, NULL, NONE);
    int status = r.status;
    world_reply_finish(&r);
    return status == 404;
}

START_TEST(old_runs_go_with_their_keys_and_open_ones_stay)
{
    struct world *w = world_of("settings: {run_retention: 1s}\n"
                               "jobs:\n"
                               "  - {name: short, command: [cat]}\n"
                               "  - {name: long, delay: 1h, command: [cat]}\n");
    world_start(w);
    char *open = start(w, "long", "{}");
    char *run = start(w, "short", "{}");
    wait_run(w, run, "state", "succeeded");
    struct gone gone = {w, mem_format("/v1/runs/%s", run)};
    ck_assert(world_wait_until(is_gone, &gone, WORLD_TIMEOUT_MS));
    mem_free(gone.path);
    char *key = mem_format("/v1/kv/job.short.%s.output", run);
    struct world_reply r = world_http(w, "GET", key, NULL, NONE);
    ck_assert_int_eq(r.status, 404);
    world_reply_finish(&r);
    wait_run(w, open, "state", "waiting");
    mem_free(key);
    mem_free(open);
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(what_a_webhook_makes_of_its_event_is_checked_against_the_parameters)
{
    struct world *w = world_of("jobs: [{name: greet, parameters: {who: {type: string, required: "
                               "true}, n: {type: integer, default: 2}}, command: [cat]}]\n"
                               "triggers: [{type: webhook, path: /hooks/in, scheme: token, "
                               "insecure: true, job: greet, input: '{who: .payload.name}'}]\n");
    world_start(w);
    struct world_reply r = world_http(w, "POST", "/hooks/in", NULL, STR("{\"name\":\"Ada\"}"));
    ck_assert_int_eq(r.status, 202);
    world_reply_finish(&r);
    char *run = only_run(w, "job.greet");
    wait_run(w, run, "state", "succeeded");
    assert_value(w, "job.greet", run, "output", "{\"who\":\"Ada\",\"n\":2}");
    r = world_http(w, "POST", "/hooks/in", NULL, STR("{\"name\":5}"));
    ck_assert_int_eq(r.status, 200);
    ck_assert_msg(memmem(r.body.p, r.body.n, "the parameter who must be of type string", 40) !=
                      NULL,
                  "%s", r.body.p);
    world_reply_finish(&r);
    world_wait_json(w, "/v1/deliveries?outcome=rejected", "0.outcome", "rejected");
    mem_free(run);
    world_free(w);
}
END_TEST

static bool is_emptied(void *arg)
{
    struct world *w = arg;
    struct world_reply dead = world_get_json(w, "/v1/dlq");
    struct world_reply lines = world_get_json(w, "/v1/deliveries");
    bool empty = json_size(dead.json) == 0 && json_size(lines.json) == 0;
    world_reply_finish(&dead);
    world_reply_finish(&lines);
    return empty && world_redis_int(w, "XLEN hm:events") == 0;
}

START_TEST(dead_letters_deliveries_and_events_go_when_they_are_old)
{
    struct world *w = world_of(
        "settings: {dead_retention: 1s, ledger_retention: 1s, event_retention: 1s}\n"
        "jobs: [{name: bad, command: ['false'], retry: {max_attempts: 1}}]\n"
        "triggers: [{type: webhook, path: /hooks/in, scheme: token, insecure: true, job: bad}]\n");
    world_start(w);
    struct world_reply r = world_http(w, "POST", "/hooks/in", NULL, STR("{}"));
    ck_assert_int_eq(r.status, 202);
    world_reply_finish(&r);
    world_wait_json(w, "/v1/dlq", "0.pipeline", "job.bad");
    ck_assert_int_gt(world_redis_int(w, "XLEN hm:events"), 0);
    ck_assert(world_wait_until(is_emptied, w, WORLD_TIMEOUT_MS));
    world_wait_json(w, "/v1/runs", "0.state", "dead"); /* the run itself is kept */
    world_free(w);
}
END_TEST

START_TEST(a_change_of_a_key_starts_a_job_whoever_wrote_it)
{
    struct world *w = world_of("jobs: [{name: seen, command: [cat]}]\n"
                               "triggers: [{type: kv, match: 'stock.*.level', job: seen}]\n");
    world_start(w);
    mem_free(world_redis(w, "HSET hm:kv:stock.bolts.level value 5"));
    char *run = only_run(w, "job.seen");
    wait_run(w, run, "state", "succeeded");
    wait_run(w, run, "cause", "key");
    assert_value(w, "job.seen", run, "output",
                 "{\"key\":\"stock.bolts.level\",\"version\":1,\"value\":5}");
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(runs_and_jobs_of_higher_priority_go_first)
{
    struct world *w =
        world_of("settings: {work_max: 1}\n"
                 "jobs:\n"
                 "  - {name: block, command: [sh, -c, 'read y <@/gate; echo 0']}\n"
                 "  - {name: low, command: [sh, -c, 'read x; echo low $x >>@/order; echo 0']}\n"
                 "  - {name: high, priority: 50, command: [sh, -c, 'read x; echo high $x "
                 ">>@/order; echo 0']}\n");
    make_fifo(w, "gate");
    world_start(w);
    char *block = start(w, "block", "1");
    wait_run(w, block, "state", "running");
    char *runs[4] = {start(w, "low", "1"), start(w, "low", "2"), NULL, start(w, "high", "4")};
    struct world_reply r = world_http(w, "POST", "/v1/jobs/low/runs?priority=9", NULL, STR("3"));
    ck_assert_int_eq(r.status, 202);
    struct str id = json_str(json_get(world_json(&r), "run_id"));
    runs[2] = mem_dup(id.p, id.n);
    world_reply_finish(&r);
    let_go(w, "gate");
    for (size_t i = 0; i < 4; i++) {
        wait_run(w, runs[i], "state", "succeeded");
        mem_free(runs[i]);
    }
    char *order = path_of(w, "order");
    char *lines = world_slurp(order, NULL);
    ck_assert_str_eq(lines, "high 4\nlow 3\nlow 1\nlow 2\n");
    mem_free(lines);
    mem_free(order);
    mem_free(block);
    world_free(w);
}
END_TEST

Suite *jobs_suite(void);
Suite *jobs_suite(void)
{
    Suite *s = suite_create("jobs");
    TCase *t = tcase_create("jobs");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, steps_feed_each_other_by_the_names_of_their_outputs);
    tcase_add_test(t, a_retry_takes_a_run_up_where_it_failed_and_waits_for_all_its_steps);
    tcase_add_test(t, runs_of_one_concurrency_key_wait_for_each_other_and_others_do_not);
    tcase_add_test(t, a_lane_is_free_again_after_its_run_died_with_the_server);
    tcase_add_test(t, a_rate_limit_puts_off_what_is_too_much);
    tcase_add_test(t, debounced_starts_join_one_run_and_the_last_input_counts);
    tcase_add_test(t, a_delayed_run_waits_until_its_time_and_then_runs);
    tcase_add_test(t, old_runs_go_with_their_keys_and_open_ones_stay);
    tcase_add_test(t, a_change_of_a_key_starts_a_job_whoever_wrote_it);
    tcase_add_test(t, on_complete_gets_the_output_and_on_failure_the_error);
    tcase_add_test(t, a_job_that_starts_itself_ends_at_the_depth_limit);
    tcase_add_test(t, runs_and_jobs_of_higher_priority_go_first);
    tcase_add_test(t, dead_letters_deliveries_and_events_go_when_they_are_old);
    tcase_add_test(t, what_a_webhook_makes_of_its_event_is_checked_against_the_parameters);
    suite_add_tcase(s, t);
    return s;
}
