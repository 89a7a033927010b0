/* SPDX-License-Identifier: Apache-2.0 */
/* Commands, one process a value. */
#include "unit/work_harness.h"
#include "work/token.h"

/* A pipeline of one stage `s` with this command, a list of YAML, and these further settings of the stage. */
static void start(const char *command, const char *more)
{
    char *yaml = mem_format("settings: {output_max: 100000, run_log_max: 50}\n"
                            "pipelines:\n"
                            "  - name: p\n"
                            "    stages:\n"
                            "      - {name: s, watch: \"in.*.raw\", command: %s%s}\n",
                            command, more);
    harness_start(yaml);
    mem_free(yaml);
}

#define WRITE ", write: \"out.{1}.done\""

START_TEST(command_gets_the_value_and_its_output_is_the_result)
{
    start("[cat]", WRITE);
    const struct given *g = harness_do("s", " {\"a\": [1, \"x\"]}\n");
    assert_given(g, CLAIM_OK, "");
    ck_assert_str_eq(g->output, "{\"a\": [1, \"x\"]}");
    harness_stop();
}
END_TEST

START_TEST(with_also_the_input_is_an_object_of_value_and_also)
{
    start("[cat]", WRITE ", also: [\"x.{1}\", \"y.{1}\"]");
    struct given *g = harness_claim("s", "1");
    struct str also[] = {STR("{\"b\":2}"), {NULL, 0}};
    g->claim.also = also;
    g->claim.also_n = 2;
    harness_give_all(&g, 1);
    harness_wait_all();
    ck_assert_str_eq(g->output, "{\"value\":1,\"also\":[{\"b\":2},null]}");
    harness_stop();
}
END_TEST

static struct stage *stage_s(void)
{
    return &harness.config->pipelines[0].stages[0];
}

START_TEST(with_names_the_input_is_an_object_of_them_and_absent_ones_are_null)
{
    start("[cat]", WRITE ", also: [\"x.{1}\", \"y.{1}\"]");
    char a[] = "notes", b[] = "draft \"2\"", c[] = "review";
    char *names[] = {a, b, c, NULL};
    stage_s()->input_names = names;
    struct given *g = harness_claim("s", "{\"a\":\n1}");
    struct str also[] = {STR("[2]"), {NULL, 0}};
    g->claim.also = also;
    g->claim.also_n = 2;
    harness_give_all(&g, 1);
    harness_wait_all();
    ck_assert_str_eq(g->output, "{\"notes\":{\"a\":\n1},\"draft \\\"2\\\"\":[2],\"review\":null}");
    stage_s()->input_names = NULL;
    harness_stop();
}
END_TEST

START_TEST(agent_gets_its_name_task_input_and_run)
{
    start("[cat]", WRITE);
    char agent[] = "analyst", task[] = "Summarise \"it\"";
    stage_s()->work.agent = agent;
    stage_s()->work.task = task;
    ck_assert_str_eq(harness_do("s", "{\"n\":1}")->output,
                     "{\"agent\":\"analyst\",\"task\":\"Summarise \\\"it\\\"\",\"input\":{\"n\":1},"
                     "\"run\":\"run-0\"}");
    stage_s()->work.task = NULL;
    ck_assert_str_eq(harness_do("s", "1")->output,
                     "{\"agent\":\"analyst\",\"task\":null,\"input\":1,\"run\":\"run-1\"}");
    stage_s()->work.agent = NULL;
    harness_stop();
}
END_TEST

START_TEST(agent_that_may_start_jobs_finds_url_and_token_in_its_environment)
{
    start("[sh, -c, 'cat >/dev/null; echo \"\\\"$HOOKMESH_URL $HOOKMESH_TOKEN\\\"\"']", WRITE);
    char agent[] = "analyst";
    stage_s()->work.agent = agent;
    ck_assert_str_eq(harness_do("s", "1")->output, "\" \"");
    stage_s()->work.triggers = true;
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "the secret for the run's token has not come");
    token_use_secret(STR("of all servers"));
    token_url("http://127.0.0.1:4665");
    const struct given *g = harness_do("s", "1");
    assert_given(g, CLAIM_OK, "\"http://127.0.0.1:4665 " TOKEN_PREFIX);
    stage_s()->work.agent = NULL;
    stage_s()->work.triggers = false;
    token_stop();
    harness_stop();
}
END_TEST

START_TEST(agent_without_code_fails_at_once_and_says_what_to_add)
{
    start("[cat]", WRITE);
    char agent[] = "writer";
    stage_s()->work.agent = agent;
    stage_s()->work.kind = WORK_AGENT;
    assert_given(harness_do("s", "1"), CLAIM_FAIL,
                 "agent writer has no code here: give it command:, http:, or extension:");
    stage_s()->work.agent = NULL;
    stage_s()->work.kind = WORK_COMMAND;
    harness_stop();
}
END_TEST

START_TEST(environment_names_run_key_stage_and_attempt)
{
    start("[sh, -c, 'echo \"\\\"$HOOKMESH_RUN $HOOKMESH_KEY $HOOKMESH_STAGE $HOOKMESH_ATTEMPT "
          "$OWN\\\"\"']",
          WRITE ", env: {OWN: mine}");
    struct given *g = harness_claim("s", "1");
    g->claim.attempt = 3;
    harness_give_all(&g, 1);
    harness_wait_all();
    ck_assert_str_eq(g->output, "\"run-0 in.0.raw p.s 3 mine\"");
    harness_stop();
}
END_TEST

START_TEST(our_secrets_are_not_in_its_environment)
{
    setenv("HOOKMESH_TOKEN", "a-token-of-ours", 1);
    start("[sh, -c, 'cat >/dev/null; echo \"\\\"$HOOKMESH_TOKEN\\\"\"']", WRITE);
    ck_assert_str_eq(harness_do("s", "1")->output, "\"\"");
    harness_stop();
}
END_TEST

START_TEST(command_runs_in_the_directory_of_its_yaml_file)
{
    start("[cat, here.json]", WRITE);
    harness_file("here.json", "\"found\"");
    ck_assert_str_eq(harness_do("s", "1")->output, "\"found\"");
    harness_stop();
}
END_TEST

START_TEST(value_that_is_no_json_fails_and_names_its_key)
{
    start("[cat]", WRITE);
    assert_given(harness_do("s", "not json"), CLAIM_FAIL,
                 "the value of in.0.raw is not valid JSON");
    assert_given(harness_do("s", ""), CLAIM_FAIL, "the value of in.1.raw is empty");
    harness_stop();
}
END_TEST

START_TEST(output_that_is_no_json_fails_and_is_shown)
{
    start("[sh, -c, 'printf \"Hello \\033[1m%0300d\" 7']", WRITE);
    const struct given *g = harness_do("s", "1");
    assert_given(g, CLAIM_FAIL, "the output of the command is not valid JSON");
    assert_given(g, CLAIM_FAIL, "Hello \xEF\xBF\xBD[1m000");
    ck_assert_uint_lt(strlen(g->error), 400);
    harness_stop();
}
END_TEST

START_TEST(two_json_values_are_one_too_many)
{
    start("[echo, '1 2']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "1 2");
    harness_stop();
}
END_TEST

START_TEST(no_output_fails_where_a_result_is_to_be_written)
{
    start("['true']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "gave no output");
    harness_stop();
}
END_TEST

START_TEST(no_output_is_fine_where_nothing_is_to_be_written)
{
    start("['true']", "");
    assert_given(harness_do("s", "1"), CLAIM_OK, "");
    harness_stop();
}
END_TEST

START_TEST(exit_status_that_is_not_0_is_retried_and_shows_the_last_lines)
{
    start("[sh, -c, 'echo one >&2; echo two >&2; exit 3']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "ended with status 3: one / two");
    harness_stop();
}
END_TEST

static const int final_statuses[] = {64, 65, 77, 78};

START_TEST(statuses_that_say_it_will_not_get_better_are_not_retried)
{
    char *command = mem_format("[sh, -c, 'echo bad row 7 >&2; exit %d']", final_statuses[_i]);
    start(command, WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "(which says: not again): bad row 7");
    mem_free(command);
    harness_stop();
}
END_TEST

START_TEST(status_75_is_retried)
{
    start("[sh, -c, 'exit 75']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "ended with status 75");
    harness_stop();
}
END_TEST

START_TEST(death_by_a_signal_is_retried_and_names_it)
{
    start("[sh, -c, 'kill -SEGV $$']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "was killed by signal SEGV");
    harness_stop();
}
END_TEST

START_TEST(missing_program_fails_and_is_named)
{
    start("[./not-there]", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "./not-there");
    harness_stop();
}
END_TEST

START_TEST(program_that_may_not_be_executed_fails)
{
    harness_start(NULL);
    harness_file("plain", "text\n");
    harness_configure(
        "pipelines:\n  - name: p\n    stages:\n      - {name: s, watch: \"in.*.raw\", "
        "command: [./plain]}\n");
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "plain");
    harness_stop();
}
END_TEST

START_TEST(command_over_its_time_is_killed_with_its_children)
{
    start("[sh, -c, 'sleep 1000 & wait']", WRITE ", timeout: 100ms");
    int64_t began = clock_mono_us();
    assert_given(harness_do("s", "1"), CLAIM_TIMEOUT, "took longer than 100ms");
    ck_assert_int_lt(clock_mono_us() - began, 10 * 1000000);
    harness_stop();
}
END_TEST

START_TEST(command_that_ignores_term_is_killed_after_kill_grace)
{
    harness_start("settings: {kill_grace: 50ms}\n"
                  "pipelines:\n  - name: p\n    stages:\n"
                  "      - {name: s, watch: \"in.*.raw\", timeout: 200ms, command: "
                  "[sh, -c, 'trap \"\" TERM; while :; do sleep 1000; done']}\n");
    int64_t began = clock_mono_us();
    assert_given(harness_do("s", "1"), CLAIM_TIMEOUT, "took longer than 200ms");
    ck_assert_int_lt(clock_mono_us() - began, 1900 * 1000); /* proc's own grace is 2 s */
    harness_stop();
}
END_TEST

START_TEST(output_that_is_not_utf8_fails_and_is_shown_printable)
{
    start("[printf, '\"a\\377b\"']", WRITE);
    const struct given *g = harness_do("s", "1");
    assert_given(g, CLAIM_FAIL, "is not valid JSON");
    assert_given(g, CLAIM_FAIL,
                 "a\xEF\xBF\xBD"
                 "b");
    ck_assert(str_utf8_valid(str_of(g->error)));
    harness_stop();
}
END_TEST

START_TEST(command_that_fills_the_disk_fails_alone_and_says_so)
{
    /* ulimit -f stands for a full disk: the write fails, or ends the program. */
    start("[sh, -c, 'ulimit -f 1; trap \"\" XFSZ; cat /dev/zero > big']", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_RETRY, "File too large");
    harness_stop();
}
END_TEST

START_TEST(endless_output_is_cut_off)
{
    start("[cat, /dev/zero]", WRITE);
    assert_given(harness_do("s", "1"), CLAIM_FAIL, "more than 100000 bytes (setting output_max)");
    harness_stop();
}
END_TEST

START_TEST(stderr_becomes_lines_of_the_run_log)
{
    start("[sh, -c, 'printf \"one\\ntwo \\377\\001 end\\n  three\" >&2; cat']", WRITE);
    harness_do("s", "1");
    ck_assert_str_eq(harness.log.p,
                     "run-0|one\nrun-0|two \xEF\xBF\xBD\xEF\xBF\xBD end\nrun-0|  three\n");
    harness_stop();
}
END_TEST

START_TEST(endless_line_on_stderr_is_cut_into_bounded_ones)
{
    start("[sh, -c, 'head -c 10000 /dev/zero | tr \"\\\\0\" x >&2; cat']", WRITE);
    harness_do("s", "1");
    int lines = 0;
    for (const char *p = harness.log.p; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    ck_assert_int_eq(lines, 3);
    harness_stop();
}
END_TEST

START_TEST(too_many_lines_on_stderr_are_left_out_and_that_is_said)
{
    start("[sh, -c, 'seq 1 5000 >&2; cat']", WRITE);
    harness_do("s", "1");
    assert_log("run-0|50\n");
    assert_log("further lines of this step are left out");
    ck_assert_ptr_null(strstr(harness.log.p, "run-0|51\n"));
    harness_stop();
}
END_TEST

START_TEST(command_that_does_not_read_its_input_is_no_trouble)
{
    char *value = mem_alloc(300001);
    memset(value, '1', 300000);
    value[0] = value[299999] = '"';
    value[300000] = '\0';
    start("[echo, '{}']", WRITE);
    assert_given(harness_do("s", value), CLAIM_OK, "{}");
    mem_free(value);
    harness_stop();
}
END_TEST

START_TEST(cancelled_command_is_killed_and_its_claim_ends)
{
    start("[sh, -c, 'echo started >&2; exec sleep 1000']", WRITE);
    struct given *g = harness_give("s", "1");
    harness_wait_log("started");
    harness_cancel(g);
    ck_assert(!g->done);
    harness_wait_all();
    assert_given(g, CLAIM_FAIL, "cancelled");
    harness_stop();
}
END_TEST

START_TEST(stop_ends_commands_that_still_run)
{
    start("[sh, -c, 'echo started >&2; exec sleep 1000']", WRITE);
    harness_give("s", "1");
    harness_wait_log("started");
    harness_stop();
}
END_TEST

START_TEST(several_commands_run_at_once)
{
    /* Each waits until the other has begun: one after the other they would wait for ever. */
    start("[sh, -c, 'read me; touch at-$me; until [ -e at-1 ] && [ -e at-2 ]; do sleep 0.02; done; "
          "echo $me']",
          WRITE);
    struct given *two[] = {harness_claim("s", "1\n"), harness_claim("s", "2\n")};
    harness_give_all(two, 2);
    harness_wait_all();
    ck_assert_str_eq(two[0]->output, "1");
    ck_assert_str_eq(two[1]->output, "2");
    harness_stop();
}
END_TEST

Suite *work_command_suite(void);
Suite *work_command_suite(void)
{
    Suite *s = suite_create("work command");
    TCase *t = tcase_create("command");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, command_gets_the_value_and_its_output_is_the_result);
    tcase_add_test(t, with_also_the_input_is_an_object_of_value_and_also);
    tcase_add_test(t, with_names_the_input_is_an_object_of_them_and_absent_ones_are_null);
    tcase_add_test(t, agent_gets_its_name_task_input_and_run);
    tcase_add_test(t, agent_that_may_start_jobs_finds_url_and_token_in_its_environment);
    tcase_add_test(t, agent_without_code_fails_at_once_and_says_what_to_add);
    tcase_add_test(t, status_75_is_retried);
    tcase_add_test(t, command_that_ignores_term_is_killed_after_kill_grace);
    tcase_add_test(t, output_that_is_not_utf8_fails_and_is_shown_printable);
    tcase_add_test(t, command_that_fills_the_disk_fails_alone_and_says_so);
    tcase_add_loop_test(t, statuses_that_say_it_will_not_get_better_are_not_retried, 0,
                        sizeof final_statuses / sizeof final_statuses[0]);
    tcase_add_test(t, environment_names_run_key_stage_and_attempt);
    tcase_add_test(t, our_secrets_are_not_in_its_environment);
    tcase_add_test(t, command_runs_in_the_directory_of_its_yaml_file);
    tcase_add_test(t, value_that_is_no_json_fails_and_names_its_key);
    tcase_add_test(t, output_that_is_no_json_fails_and_is_shown);
    tcase_add_test(t, two_json_values_are_one_too_many);
    tcase_add_test(t, no_output_fails_where_a_result_is_to_be_written);
    tcase_add_test(t, no_output_is_fine_where_nothing_is_to_be_written);
    tcase_add_test(t, exit_status_that_is_not_0_is_retried_and_shows_the_last_lines);
    tcase_add_test(t, death_by_a_signal_is_retried_and_names_it);
    tcase_add_test(t, missing_program_fails_and_is_named);
    tcase_add_test(t, program_that_may_not_be_executed_fails);
    tcase_add_test(t, command_over_its_time_is_killed_with_its_children);
    tcase_add_test(t, endless_output_is_cut_off);
    tcase_add_test(t, stderr_becomes_lines_of_the_run_log);
    tcase_add_test(t, endless_line_on_stderr_is_cut_into_bounded_ones);
    tcase_add_test(t, too_many_lines_on_stderr_are_left_out_and_that_is_said);
    tcase_add_test(t, command_that_does_not_read_its_input_is_no_trouble);
    tcase_add_test(t, cancelled_command_is_killed_and_its_claim_ends);
    tcase_add_test(t, stop_ends_commands_that_still_run);
    tcase_add_test(t, several_commands_run_at_once);
    suite_add_tcase(s, t);
    return s;
}
