/* SPDX-License-Identifier: Apache-2.0 */
/* Agents as steps: what they are given, and what those that may start jobs can do with the token of their run. */
#include "flow/world.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

Suite *agents_suite(void);

#define PUBLISH                                                                                    \
    "  - {name: publish, command: [cat]}\n"                                                        \
    "  - {name: secret_job, command: [cat], parameters: [{name: who, required: true}]}\n"

static const char *const no_headers = NULL;

/* Jobs of one agent `boss` whose command is this script; HOOKMESH stands for the program. */
static struct world *world_of(const char *settings, const char *script)
{
    struct world *w = world_make();
    struct buf yaml = {0};
    world_file(w, "boss.sh", script);
    buf_printf(&yaml,
               "settings: {%s}\n"
               "agents:\n"
               "  - name: boss\n"
               "    system_prompt: You decide.\n"
               "    capabilities: [job:trigger]\n"
               "    allowed_jobs: [publish, work]\n"
               "    command: [sh, \"%s/boss.sh\"]\n"
               "    env: {HOOKMESH: \"%s\"}\n"
               "  - {name: idler, system_prompt: You wait.}\n"
               "jobs:\n"
               "  - {name: work, agent: boss, task: Do it}\n"
               "  - {name: idle, agent: idler, task: Nothing}\n" PUBLISH,
               settings, w->dir, HOOKMESH_BIN);
    world_config(w, "main.yaml", yaml.p);
    buf_finish(&yaml);
    return w;
}

static char *auth; /* "Authorization: ..." for the test's own requests; NULL: none */

static struct json *get(struct world *w, struct world_reply *r, const char *path)
{
    *r = world_http(w, "GET", path, auth, (struct str){NULL, 0});
    if (r->status != 200)
        world_fail(w, "GET %s: %d %s", path, r->status, r->body.p);
    return world_json(r);
}

static char *start(struct world *w, const char *job, const char *input)
{
    char *path = mem_format("/v1/jobs/%s/runs", job);
    struct world_reply r = world_http(w, "POST", path, auth, str_of(input));
    if (r.status != 202)
        world_fail(w, "POST %s: %d %s", path, r.status, r.body.p);
    struct str id = json_str(json_get(world_json(&r), "run_id"));
    char *run = mem_dup(id.p, id.n);
    world_reply_finish(&r);
    mem_free(path);
    return run;
}

struct awaited {
    struct world *w;
    const char *run;
    char state[32];
};

static bool has_ended(void *arg)
{
    struct awaited *a = arg;
    char *path = mem_format("/v1/runs/%s", a->run);
    struct world_reply r;
    struct str state = json_str(json_get(get(a->w, &r, path), "state"));
    snprintf(a->state, sizeof a->state, "%.*s", (int)state.n, state.p);
    world_reply_finish(&r);
    mem_free(path);
    return strcmp(a->state, "queued") != 0 && strcmp(a->state, "running") != 0;
}

/* Its last state; the test fails unless it is that one. */
static void await_end(struct world *w, const char *run, const char *state)
{
    struct awaited a = {.w = w, .run = run};
    if (!world_wait_until(has_ended, &a, WORLD_TIMEOUT_MS))
        world_fail(w, "run %s has not ended", run);
    if (strcmp(a.state, state) != 0) {
        char *path = mem_format("/v1/runs/%s", run);
        struct world_reply r;
        get(w, &r, path);
        world_fail(w, "run %s is %s, not %s: %s", run, a.state, state, r.body.p);
    }
}

static char *output_of(struct world *w, const char *run)
{
    char *path = mem_format("/v1/runs/%s/output", run);
    struct world_reply r;
    get(w, &r, path);
    mem_free(path);
    char *text = mem_dup(r.body.p, r.body.n);
    world_reply_finish(&r);
    return text;
}

/* The runs of a cause or state, newest first. */
static struct json *runs(struct world *w, struct world_reply *r, const char *query)
{
    char *path = mem_format("/v1/runs?%s", query);
    struct json *list = get(w, r, path);
    mem_free(path);
    return list;
}

START_TEST(agent_gets_its_task_its_prompt_and_the_input)
{
    struct world *w = world_of("log_level: info", "cat\n");
    world_start(w);
    char *run = start(w, "work", "{\"n\":1}");
    await_end(w, run, "succeeded");
    char *output = output_of(w, run);
    char *want = mem_format("{\"agent\":\"boss\",\"task\":\"Do it\",\"input\":{\"n\":1},"
                            "\"run\":\"%s\",\"system_prompt\":\"You decide.\"}",
                            run);
    ck_assert_str_eq(output, want);
    mem_free(want);
    mem_free(output);
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(agent_without_code_is_a_dead_letter_that_says_what_to_add)
{
    struct world *w = world_of("log_level: info", "cat\n");
    world_start(w);
    char *run = start(w, "idle", "{}");
    await_end(w, run, "dead");
    struct world_reply r;
    struct str error = json_str(json_get(json_at(get(w, &r, "/v1/dlq"), 0), "error"));
    ck_assert_ptr_nonnull(strstr(error.p, "idler has no code here: give it command:"));
    world_reply_finish(&r);
    mem_free(run);
    world_free(w);
}
END_TEST

static const char *const tokens[] = {NULL, "the-token-of-the-server"};

START_TEST(agent_starts_an_allowed_job_and_the_run_tells_who_did)
{
    struct world *w =
        world_of("log_level: info", "cat >/dev/null\n"
                                    "exec \"$HOOKMESH\" jobs run publish --input '{\"page\":7}' "
                                    "--wait --json\n");
    if (tokens[_i] != NULL) {
        char *env = mem_format("HOOKMESH_TOKEN=%s", tokens[_i]);
        world_env(w, env);
        mem_free(env);
        auth = mem_format("Authorization: Bearer %s\r\n", tokens[_i]);
    }
    world_start(w);
    char *run = start(w, "work", "{}");
    await_end(w, run, "succeeded");
    struct world_reply r;
    struct json *list = runs(w, &r, "cause=agent");
    ck_assert_uint_eq(json_size(list), 1);
    struct json *child = json_at(list, 0);
    ck_assert(str_is(json_str(json_get(child, "job")), "publish"));
    ck_assert(str_is(json_str(json_get(child, "parent")), run));
    ck_assert(str_is(json_str(json_get(child, "by")), "boss"));
    ck_assert(str_is(json_str(json_get(child, "state")), "succeeded"));
    ck_assert_int_eq(json_int(json_get(child, "depth"), 0), 1);
    world_reply_finish(&r);
    mem_free(run);
    mem_free(auth);
    auth = NULL;
    world_free(w);
}
END_TEST

START_TEST(job_that_is_not_allowed_is_refused_and_recorded)
{
    struct world *w =
        world_of("log_level: info", "cat >/dev/null\nexec \"$HOOKMESH\" jobs run secret_job\n");
    world_start(w);
    char *run = start(w, "work", "{}");
    await_end(w, run, "dead"); /* status 77 of the client: not again */
    struct world_reply r;
    struct json *list = runs(w, &r, "state=skipped");
    ck_assert_uint_eq(json_size(list), 1);
    struct json *refused = json_at(list, 0);
    ck_assert(str_is(json_str(json_get(refused, "job")), "secret_job"));
    ck_assert(str_is(json_str(json_get(refused, "parent")), run));
    ck_assert(str_is(json_str(json_get(refused, "by")), "boss"));
    ck_assert(str_is(json_str(json_get(refused, "cause")), "agent"));
    ck_assert(str_is(json_str(json_get(refused, "reason")),
                     "the agent boss may not start the job secret_job: it is not among its "
                     "allowed_jobs"));
    world_reply_finish(&r);
    struct str error = json_str(json_get(json_at(get(w, &r, "/v1/dlq"), 0), "error"));
    ck_assert_ptr_nonnull(strstr(error.p, "may not start the job secret_job"));
    ck_assert_int_eq(json_int(json_get(json_at(r.json, 0), "attempts"), 0), 1);
    world_reply_finish(&r);
    mem_free(run);
    world_free(w);
}
END_TEST

static bool is_skipped(void *arg)
{
    struct world_reply r;
    bool there = json_size(runs(arg, &r, "state=skipped")) != 0;
    world_reply_finish(&r);
    return there;
}

START_TEST(job_that_starts_itself_ends_at_the_depth_limit)
{
    struct world *w =
        world_of("depth_max: 3", "cat >/dev/null\nexec \"$HOOKMESH\" jobs run work --json\n");
    world_start(w);
    char *run = start(w, "work", "{}");
    ck_assert(world_wait_until(is_skipped, w, WORLD_TIMEOUT_MS));
    struct world_reply r;
    struct json *last = json_at(runs(w, &r, "state=skipped"), 0);
    ck_assert_int_eq(json_int(json_get(last, "depth"), 0), 4);
    ck_assert_ptr_nonnull(strstr(json_str(json_get(last, "reason")).p, "depth limit"));
    ck_assert_ptr_nonnull(strstr(json_str(json_get(last, "reason")).p, "depth_max"));
    world_reply_finish(&r);
    ck_assert_uint_eq(json_size(runs(w, &r, "job=work")), 5);
    for (size_t i = 0; i < 5; i++)
        ck_assert_int_eq(json_int(json_get(json_at(r.json, i), "depth"), 0), 4 - (int64_t)i);
    world_reply_finish(&r);
    mem_free(run);
    world_free(w);
}
END_TEST

/* A token that the work wrote into DIR/token. */
static char *stolen(const struct world *w)
{
    char *path = mem_format("%s/token", w->dir);
    size_t n;
    char *text = world_slurp(path, &n);
    text[strcspn(text, "\n")] = '\0';
    char *header = mem_format("Authorization: Bearer %s\r\n", text);
    mem_free(text);
    mem_free(path);
    return header;
}

static int status_of(struct world *w, const char *method, const char *path, const char *headers)
{
    struct world_reply r = world_http(
        w, method, path, headers, strcmp(method, "GET") == 0 ? (struct str){NULL, 0} : STR("{}"));
    int status = r.status;
    world_reply_finish(&r);
    return status;
}

static const char write_token[] = "cat >/dev/null\ncd \"$(dirname \"$0\")\"\n"
                                  "env | grep TOKEN >&2\n"
                                  "echo \"$HOOKMESH_TOKEN\" > token\n"
                                  "echo '\"done\"'\n";

START_TEST(token_opens_little_while_its_run_goes_on_and_nothing_afterwards)
{
    struct world *w = world_of("log_level: debug", write_token);
    world_start(w);
    char *other = start(w, "publish", "{}");
    char *run = start(w, "work", "{}");
    await_end(w, run, "succeeded");
    char *header = stolen(w);
    char *path = mem_format("/v1/runs/%s", other);
    ck_assert_int_eq(status_of(w, "POST", "/v1/jobs/publish/runs", header), 403);
    ck_assert_int_eq(status_of(w, "GET", path, header), 404);
    ck_assert_int_eq(status_of(w, "GET", "/v1/runs", header), 403);
    ck_assert_int_eq(status_of(w, "GET", "/v1/kv/a", header), 403);
    ck_assert_int_eq(status_of(w, "PUT", "/v1/kv/a", header), 403);
    mem_free(path);
    path = mem_format("/v1/runs/%s", run);
    ck_assert_int_eq(status_of(w, "GET", path, header), 200);
    ck_assert_int_eq(
        status_of(w, "POST", "/v1/jobs/publish/runs", "Authorization: Bearer hmr1.e30.AAAA\r\n"),
        401);
    struct world_reply r;
    ck_assert_uint_eq(json_size(runs(w, &r, "cause=agent")), 0);
    world_reply_finish(&r);
    mem_free(path);
    mem_free(header);
    mem_free(other);
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(token_is_in_no_log_and_in_no_event)
{
    struct world *w = world_of("log_level: debug", write_token);
    world_start(w);
    char *run = start(w, "work", "{}");
    await_end(w, run, "succeeded");
    char *header = stolen(w);
    const char *token = strchr(header, ' ') + strlen(" Bearer ");
    char *secret = mem_dup(token, 40);
    char *path = mem_format("/v1/runs/%s/logs", run);
    struct world_reply r = world_http(w, "GET", path, no_headers, (struct str){NULL, 0});
    ck_assert_ptr_nonnull(strstr(r.body.p, "HOOKMESH_TOKEN=[redacted]"));
    world_reply_finish(&r);
    ck_assert(!world_has_log(w, secret));
    char *events = world_redis(w, "XRANGE hm:events - +");
    ck_assert_ptr_null(strstr(events, secret));
    mem_free(events);
    mem_free(path);
    mem_free(secret);
    mem_free(header);
    mem_free(run);
    world_free(w);
}
END_TEST

START_TEST(token_is_good_at_every_server_of_the_same_redis)
{
    struct world *other = world_make();
    struct world *w = world_of(
        "log_level: info", "cat >/dev/null\ncd \"$(dirname \"$0\")\"\n"
                           "exec \"$HOOKMESH\" jobs run publish --url \"$(cat other)\" --json\n");
    world_redis_start(w);
    world_start(w);
    char *config = mem_strdup(w->config);
    world_config_dir(other, config);
    world_arg(other, "--redis");
    world_arg(other, w->redis_url);
    world_start(other);
    world_file(w, "other", other->url);
    char *run = start(w, "work", "{}");
    await_end(w, run, "succeeded");
    struct world_reply r;
    ck_assert_uint_eq(json_size(runs(w, &r, "cause=agent")), 1);
    world_reply_finish(&r);
    mem_free(run);
    mem_free(config);
    world_free(other);
    world_free(w);
}
END_TEST

START_TEST(steps_with_several_inputs_get_them_by_name)
{
    struct world *w = world_make();
    world_config(
        w, "main.yaml",
        "jobs:\n"
        "  - name: join\n"
        "    steps:\n"
        "      - {name: left, command: [echo, '\"l\"'], output: left_part}\n"
        "      - {name: right, input: input, command: [echo, '\"r\"'], output: right_part}\n"
        "      - {name: both, input: [left_part, right_part], command: [cat]}\n");
    world_start(w);
    char *run = start(w, "join", "{}");
    await_end(w, run, "succeeded");
    char *output = output_of(w, run);
    ck_assert_str_eq(output, "{\"left_part\":\"l\",\"right_part\":\"r\"}");
    mem_free(output);
    mem_free(run);
    world_free(w);
}
END_TEST

Suite *agents_suite(void)
{
    Suite *s = suite_create("agents");
    TCase *t = tcase_create("agents");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, agent_gets_its_task_its_prompt_and_the_input);
    tcase_add_test(t, agent_without_code_is_a_dead_letter_that_says_what_to_add);
    tcase_add_loop_test(t, agent_starts_an_allowed_job_and_the_run_tells_who_did, 0, 2);
    tcase_add_test(t, job_that_is_not_allowed_is_refused_and_recorded);
    tcase_add_test(t, job_that_starts_itself_ends_at_the_depth_limit);
    tcase_add_test(t, token_opens_little_while_its_run_goes_on_and_nothing_afterwards);
    tcase_add_test(t, token_is_in_no_log_and_in_no_event);
    tcase_add_test(t, token_is_good_at_every_server_of_the_same_redis);
    tcase_add_test(t, steps_with_several_inputs_get_them_by_name);
    suite_add_tcase(s, t);
    return s;
}
