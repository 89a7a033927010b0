/* SPDX-License-Identifier: Apache-2.0 */
/* Stages in C, in a host process of their own. */
#include "unit/work_harness.h"

static const char yaml_of[] =
    "settings: {output_max: 1000000}\n"
    "extensions:\n"
    "  - {name: trial, path: \"%s\"}\n"
    "pipelines:\n"
    "  - name: p\n"
    "    stages:\n"
    "      - {name: echo, watch: \"a.*.raw\", extension: trial, job: echo, write: \"a.{1}.b\"}\n"
    "      - {name: context, watch: \"a.*.raw\", also: [\"x.{1}\", \"y.{1}\"], extension: trial, "
    "job: context, write: \"a.{1}.c\"}\n"
    "      - {name: trouble, watch: \"a.*.raw\", extension: trial, job: trouble, "
    "write: \"a.{1}.d\", timeout: 1s}\n"
    "      - {name: scribble, watch: \"a.*.raw\", extension: trial, job: scribble}\n"
    "      - {name: pid, watch: \"a.*.raw\", extension: trial, job: pid, write: \"a.{1}.f\"}\n"
    "      - {name: environment, watch: \"a.*.raw\", extension: trial, job: environment, "
    "write: \"a.{1}.g\"}\n"
    "      - {name: nojob, watch: \"a.*.raw\", extension: trial, job: nojob}\n"
    "      - {name: unkept, watch: \"a.*.raw\", extension: trial, job: trouble}\n";

static void configure(const char *path)
{
    char *yaml = mem_format(yaml_of, path);
    harness_configure(yaml);
    mem_free(yaml);
}

static void start(const char *object)
{
    harness_start(NULL);
    char *path = mem_format("%s/ext/%s", HOOKMESH_BUILD_DIR, object);
    configure(path);
    mem_free(path);
}

START_TEST(job_gets_the_value_and_its_output_is_the_result)
{
    start("trial.so");
    assert_given(harness_do("echo", "{\"a\":[1]}"), CLAIM_OK, "{\"a\":[1]}");
    harness_stop();
}
END_TEST

START_TEST(job_gets_key_run_attempt_and_also)
{
    start("trial.so");
    struct given *g = harness_claim("context", "1");
    struct str also[] = {{NULL, 0}, STR("\"y\"")};
    g->claim.also = also;
    g->claim.also_n = 2;
    g->claim.attempt = 2;
    harness_give_all(&g, 1);
    harness_wait_all();
    ck_assert_str_eq(g->output, "[\"in.0.raw\",\"run-0\",2,null,\"y\"]");
    harness_stop();
}
END_TEST

START_TEST(thousands_of_values_get_each_its_own_answer)
{
    enum { N = 5000 };
    static struct given *many[N];
    static char values[N][400];
    start("trial.so");
    for (int i = 0; i < N; i++) {
        snprintf(values[i], sizeof values[i], "\"%0*d\"", 1 + i % 300, i);
        many[i] = harness_claim("echo", values[i]);
    }
    for (int i = 0; i < N; i += 500)
        harness_give_all(many + i, 500);
    harness_wait_all();
    for (int i = 0; i < N; i++)
        ck_assert_str_eq(many[i]->output, values[i]);
    harness_stop();
}
END_TEST

/* As core/claim does it: up to 1000 in work, claimed 100 at a time. HOOKMESH_BENCH=1000000 makes a measurement of it. */
START_TEST(tiny_jobs_flow_in_batches)
{
    const char *env = getenv("HOOKMESH_BENCH");
    int n = env != NULL ? (int)strtol(env, NULL, 10) : 20000;
    struct given **many = mem_zero((size_t)n, sizeof *many);
    start("trial.so");
    for (int i = 0; i < n; i++)
        many[i] = harness_claim("echo", "{\"id\":\"doc-001\",\"title\":\"T\",\"words\":13}");
    int64_t began = clock_mono_us();
    for (int i = 0; i < n; i += 100) {
        if (i > 1000)
            harness_wait(i - 1000);
        harness_give_all(many + i, n - i < 100 ? (size_t)(n - i) : 100);
    }
    harness_wait_all();
    int64_t us = clock_mono_us() - began;
    if (env != NULL)
        printf("%d jobs through the host and back: %lld jobs/s\n", n, n * 1000000LL / us);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(many[i]->outcome, CLAIM_OK);
    mem_free(many);
    harness_stop();
}
END_TEST

START_TEST(large_value_passes)
{
    enum { N = 900000 };
    start("trial.so");
    char *value = mem_alloc(N + 1);
    memset(value, 'x', N);
    value[0] = value[N - 1] = '"';
    value[N] = '\0';
    struct given *three[] = {harness_claim("echo", value), harness_claim("echo", "2"),
                             harness_claim("echo", value)};
    harness_give_all(three, 3);
    harness_wait_all();
    ck_assert_str_eq(three[0]->output, value);
    assert_given(three[1], CLAIM_OK, "2");
    ck_assert_str_eq(three[2]->output, value);
    mem_free(value);
    harness_stop();
}
END_TEST

START_TEST(crash_costs_only_the_value_at_work)
{
    start("trial.so");
    struct given *many[30];
    for (int i = 0; i < 30; i++)
        many[i] = harness_claim("trouble", i == 7 ? "\"segv\"" : i == 20 ? "\"exit\"" : "1");
    harness_give_all(many, 30);
    harness_wait_all();
    for (int i = 0; i < 30; i++) {
        if (i == 7)
            assert_given(many[i], CLAIM_RETRY, "was killed by signal SEGV");
        else if (i == 20)
            assert_given(many[i], CLAIM_RETRY, "ended with status 3");
        else
            assert_given(many[i], CLAIM_OK, "1");
    }
    harness_stop();
}
END_TEST

START_TEST(hang_ends_by_the_timeout_and_costs_only_its_value)
{
    start("trial.so");
    struct given *many[10];
    for (int i = 0; i < 10; i++)
        many[i] = harness_claim("trouble", i == 3 ? "\"hang\"" : "1");
    harness_give_all(many, 10);
    harness_wait_all();
    for (int i = 0; i < 10; i++) {
        if (i == 3)
            assert_given(many[i], CLAIM_TIMEOUT, "took longer than 1s");
        else
            assert_given(many[i], CLAIM_OK, "1");
    }
    harness_stop();
}
END_TEST

START_TEST(answers_do_not_wait_behind_a_slow_value)
{
    start("trial.so");
    harness_do("echo", "0");
    struct given *quick = harness_claim("trouble", "1");
    struct given *slow = harness_claim("trouble", "\"slow\"");
    struct given *both[] = {quick, slow};
    harness_give_all(both, 2);
    harness_wait(2);
    ck_assert(quick->done);
    ck_assert(!slow->done);
    harness_wait_all();
    assert_given(slow, CLAIM_OK, "slow");
    harness_stop();
}
END_TEST

START_TEST(result_must_be_one_json_value)
{
    start("trial.so");
    assert_given(harness_do("trouble", "\"garbage\""), CLAIM_FAIL, "is not valid JSON");
    assert_given(harness_do("trouble", "\"garbage\""), CLAIM_FAIL, "{\"half\":");
    assert_given(harness_do("trouble", "\"two\""), CLAIM_FAIL, "1 2");
    assert_given(harness_do("trouble", "\"nothing\""), CLAIM_FAIL, "gave no output");
    assert_given(harness_do("unkept", "\"nothing\""), CLAIM_OK, "");
    harness_stop();
}
END_TEST

START_TEST(job_says_retry_or_fail_and_why)
{
    start("trial.so");
    assert_given(harness_do("trouble", "\"retry\""), CLAIM_RETRY, "the sea is rough");
    assert_given(harness_do("trouble", "\"fail\""), CLAIM_FAIL, "this is no boat");
    assert_given(harness_do("trouble", "\"odd\""), CLAIM_FAIL, "gave no reason");
    harness_stop();
}
END_TEST

START_TEST(too_large_a_result_fails)
{
    start("trial.so");
    assert_given(harness_do("trouble", "\"big\""), CLAIM_FAIL,
                 "more than 1000000 bytes (setting output_max)");
    harness_stop();
}
END_TEST

START_TEST(log_lines_go_to_the_run)
{
    start("trial.so");
    harness_do("trouble", "\"log\"");
    ck_assert_str_eq(harness.log.p, "run-0|first line\nrun-0|second line\n");
    harness_stop();
}
END_TEST

START_TEST(log_line_is_there_while_the_job_still_works)
{
    start("trial.so");
    struct given *g = harness_give("trouble", "\"log then hang\"");
    harness_wait_log("before the long wait");
    ck_assert(!g->done);
    harness_wait_all();
    assert_given(g, CLAIM_TIMEOUT, "took longer");
    harness_stop();
}
END_TEST

START_TEST(printing_does_not_get_between_the_frames)
{
    start("trial.so");
    assert_given(harness_do("trouble", "\"print\""), CLAIM_OK, "print");
    assert_given(harness_do("trouble", "1"), CLAIM_OK, "1");
    harness_stop();
}
END_TEST

START_TEST(host_that_breaks_the_frames_is_replaced)
{
    start("trial.so");
    struct given *two[] = {harness_claim("scribble", "1"), harness_claim("echo", "2")};
    harness_give_all(two, 2);
    harness_wait_all();
    assert_given(two[0], CLAIM_RETRY, "corrupted its host");
    assert_given(two[1], CLAIM_OK, "2");
    harness_stop();
}
END_TEST

START_TEST(unknown_job_fails_and_is_named)
{
    start("trial.so");
    assert_given(harness_do("nojob", "1"), CLAIM_FAIL, "extension trial has no job nojob");
    harness_stop();
}
END_TEST

START_TEST(object_of_another_abi_is_refused)
{
    start("oldabi.so");
    assert_given(harness_do("echo", "1"), CLAIM_RETRY, "built for ABI 42");
    harness_stop();
}
END_TEST

START_TEST(object_that_is_none_is_refused)
{
    harness_start(NULL);
    harness_file("text.so", "this is no shared object");
    char *path = mem_format("%s/text.so", harness.dir);
    configure(path);
    struct given *two[] = {harness_claim("echo", "1"), harness_claim("echo", "2")};
    harness_give_all(two, 2);
    harness_wait_all();
    assert_given(two[0], CLAIM_RETRY, "cannot be loaded");
    assert_given(two[1], CLAIM_RETRY, "cannot be loaded");
    assert_given(harness_do("echo", "3"), CLAIM_RETRY, "cannot be loaded");
    mem_free(path);
    harness_stop();
}
END_TEST

START_TEST(object_that_dies_while_it_is_loaded_is_refused)
{
    start("deadborn.so");
    assert_given(harness_do("echo", "1"), CLAIM_RETRY, "ABRT");
    harness_stop();
}
END_TEST

START_TEST(our_secrets_are_not_in_its_environment)
{
    setenv("HOOKMESH_TOKEN", "a-token-of-ours", 1);
    start("trial.so");
    ck_assert_str_eq(harness_do("environment", "\"HOOKMESH_TOKEN\"")->output, "null");
    ck_assert_str_eq(harness_do("environment", "\"PATH\"")->output, "\"set\"");
    harness_stop();
}
END_TEST

START_TEST(new_object_is_loaded_at_the_next_configuration)
{
    start("trial.so");
    const struct given *old = harness_do("pid", "1");
    char *copy = mem_format("%s/copy.so", harness.dir);
    ck_assert_int_eq(symlink(HOOKMESH_BUILD_DIR "/ext/trial.so", copy), 0);
    configure(copy);
    const struct given *new = harness_do("pid", "1");
    ck_assert_str_ne(old->output, new->output);
    configure(copy);
    ck_assert_str_eq(harness_do("pid", "1")->output, new->output);
    mem_free(copy);
    harness_stop();
}
END_TEST

START_TEST(host_that_is_killed_between_values_is_replaced)
{
    start("trial.so");
    pid_t pid = (pid_t)strtol(harness_do("pid", "1")->output, NULL, 10);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    harness_give("pid", "1");
    harness_wait_all();
    const struct given *g = harness.given[harness.given_n - 1];
    if (g->outcome ==
        CLAIM_OK) /* else it was sent before the death was seen, and is to be tried again */
        ck_assert_int_ne(strtol(g->output, NULL, 10), pid);
    else
        assert_given(g, CLAIM_RETRY, "KILL");
    assert_given(harness_do("echo", "1"), CLAIM_OK, "1");
    harness_stop();
}
END_TEST

START_TEST(cancelled_job_at_work_is_ended_and_the_next_one_done)
{
    start("trial.so");
    struct given *g = harness_give("trouble", "\"log then hang\"");
    struct given *next = harness_give("echo", "2");
    harness_wait_log("before the long wait");
    harness_cancel(g);
    ck_assert(!g->done);
    harness_wait_all();
    assert_given(g, CLAIM_FAIL, "cancelled");
    assert_given(next, CLAIM_OK, "2");
    harness_stop();
}
END_TEST

START_TEST(slow_jobs_get_several_hosts)
{
    start("trial.so");
    struct given *many[12];
    int64_t began = clock_mono_us();
    for (int i = 0; i < 12; i++)
        many[i] = harness_claim("trouble", "\"slow\"");
    harness_give_all(many, 12);
    harness_wait_all();
    ck_assert_int_lt(clock_mono_us() - began, 12 * 300000);
    harness_stop();
}
END_TEST

START_TEST(stop_ends_a_host_at_work)
{
    start("trial.so");
    harness_give("trouble", "\"log then hang\"");
    harness_wait_log("before the long wait");
    harness_stop();
}
END_TEST

Suite *work_extension_suite(void);
Suite *work_extension_suite(void)
{
    Suite *s = suite_create("work extension");
    TCase *t = tcase_create("extension");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, job_gets_the_value_and_its_output_is_the_result);
    tcase_add_test(t, job_gets_key_run_attempt_and_also);
    tcase_add_test(t, thousands_of_values_get_each_its_own_answer);
    tcase_add_test(t, tiny_jobs_flow_in_batches);
    tcase_add_test(t, large_value_passes);
    tcase_add_test(t, crash_costs_only_the_value_at_work);
    tcase_add_test(t, hang_ends_by_the_timeout_and_costs_only_its_value);
    tcase_add_test(t, answers_do_not_wait_behind_a_slow_value);
    tcase_add_test(t, result_must_be_one_json_value);
    tcase_add_test(t, job_says_retry_or_fail_and_why);
    tcase_add_test(t, too_large_a_result_fails);
    tcase_add_test(t, log_lines_go_to_the_run);
    tcase_add_test(t, log_line_is_there_while_the_job_still_works);
    tcase_add_test(t, printing_does_not_get_between_the_frames);
    tcase_add_test(t, host_that_breaks_the_frames_is_replaced);
    tcase_add_test(t, unknown_job_fails_and_is_named);
    tcase_add_test(t, object_of_another_abi_is_refused);
    tcase_add_test(t, object_that_is_none_is_refused);
    tcase_add_test(t, object_that_dies_while_it_is_loaded_is_refused);
    tcase_add_test(t, our_secrets_are_not_in_its_environment);
    tcase_add_test(t, new_object_is_loaded_at_the_next_configuration);
    tcase_add_test(t, host_that_is_killed_between_values_is_replaced);
    tcase_add_test(t, cancelled_job_at_work_is_ended_and_the_next_one_done);
    tcase_add_test(t, slow_jobs_get_several_hosts);
    tcase_add_test(t, stop_ends_a_host_at_work);
    suite_add_tcase(s, t);
    return s;
}
