/* SPDX-License-Identifier: Apache-2.0 */
/* Commands with `keep: true`: a line in, a line out. */
#include "base/json.h"
#include "unit/work_harness.h"
#include "work/token.h"

/* Echoes; some inputs make trouble. */
static const char program[] =
    "import sys, os, time, signal, json\n"
    "for line in sys.stdin:\n"
    "    v = json.loads(line)\n"
    "    if v == 'pid': v = os.getpid()\n"
    "    elif v == 'die': sys.stderr.write('last words\\n'); sys.exit(4)\n"
    "    elif v == 'kill': os.kill(os.getpid(), signal.SIGKILL)\n"
    "    elif v == 'hang': time.sleep(1000)\n"
    "    elif v == 'slow': time.sleep(0.3)\n"
    "    elif v == 'error': v = {'error': 'the reason'}\n"
    "    elif v == 'not only error': v = {'error': 'the reason', 'more': 1}\n"
    "    elif v == 'garbage': print('gar\\x00bage', flush=True); continue\n"
    "    elif v == 'blank': print('', flush=True); continue\n"
    "    elif v == 'twice': v = 1; sys.stdout.write('1\\n')\n"
    "    elif v == 'endless':\n"
    "        while True: sys.stdout.write('x' * 10000)\n"
    "    elif v == 'log': sys.stderr.write('logged\\n'); sys.stderr.flush()\n"
    "    elif v == 'meet':\n"
    "        open('met-%d' % os.getpid(), 'w').close()\n"
    "        while len([n for n in os.listdir() if n.startswith('met-')]) < 2: time.sleep(0.02)\n"
    "        v = os.getpid()\n"
    "    print(json.dumps(v), flush=True)\n";

static void configure(const char *more)
{
    char *yaml = mem_format(
        "settings: {output_max: 100000}\n"
        "pipelines:\n"
        "  - name: p\n"
        "    stages:\n"
        "      - {name: s, watch: \"in.*.raw\", command: [python3, p.py], keep: true, write: "
        "\"out.{1}\"%s}\n",
        more);
    harness_configure(yaml);
    mem_free(yaml);
}

static void start(const char *more)
{
    harness_start(NULL);
    harness_file("p.py", program);
    configure(more);
}

START_TEST(one_process_serves_many_values_in_order)
{
    start("");
    const struct given *pid = harness_do("s", "\"pid\"");
    struct given *many[200];
    char values[200][8];
    for (int i = 0; i < 200; i++) {
        snprintf(values[i], sizeof values[i], "%d", i);
        many[i] = harness_claim("s", values[i]);
    }
    harness_give_all(many, 200);
    harness_wait_all();
    for (int i = 0; i < 200; i++)
        ck_assert_str_eq(many[i]->output, values[i]);
    ck_assert_str_eq(harness_do("s", "\"pid\"")->output, pid->output);
    harness_stop();
}
END_TEST

/* HOOKMESH_BENCH=50000 makes a measurement of it. */
START_TEST(values_flow_through_one_process)
{
    const char *env = getenv("HOOKMESH_BENCH");
    int n = env != NULL ? (int)strtol(env, NULL, 10) : 1000;
    struct given **many = mem_zero((size_t)n, sizeof *many);
    start(", concurrency: 64");
    harness_do("s", "1");
    for (int i = 0; i < n; i++)
        many[i] = harness_claim("s", "{\"id\":\"doc-001\",\"title\":\"T\",\"words\":13}");
    int64_t began = clock_mono_us();
    for (int i = 0; i < n; i += 20) {
        if (i > 60)
            harness_wait(i - 40);
        harness_give_all(many + i, n - i < 20 ? (size_t)(n - i) : 20);
    }
    harness_wait_all();
    int64_t us = clock_mono_us() - began;
    if (env != NULL)
        printf("%d values through one process: %lld values/s\n", n, n * 1000000LL / us);
    mem_free(many);
    harness_stop();
}
END_TEST

START_TEST(value_of_several_lines_is_given_as_one)
{
    start(", also: [\"x.{1}\"]");
    struct given *g = harness_claim("s", "{\n \"a\\n\": [1,\r\n2]\n}\n");
    struct str also = STR("[\n]");
    g->claim.also = &also;
    g->claim.also_n = 1;
    harness_give_all(&g, 1);
    harness_wait_all();
    ck_assert_str_eq(g->output, "{\"value\": {\"a\\n\": [1, 2]}, \"also\": [[]]}");
    harness_stop();
}
END_TEST

START_TEST(value_that_is_no_json_fails_and_the_others_go_on)
{
    start("");
    struct given *three[] = {harness_claim("s", "1"), harness_claim("s", "1 2"),
                             harness_claim("s", "3")};
    harness_give_all(three, 3);
    harness_wait_all();
    assert_given(three[0], CLAIM_OK, "1");
    assert_given(three[1], CLAIM_FAIL, "the value of in.1.raw is not valid JSON");
    assert_given(three[2], CLAIM_OK, "3");
    harness_stop();
}
END_TEST

START_TEST(object_with_only_error_fails_the_step)
{
    start("");
    assert_given(harness_do("s", "\"error\""), CLAIM_FAIL, "the reason");
    assert_given(harness_do("s", "\"not only error\""), CLAIM_OK, "\"more\"");
    harness_stop();
}
END_TEST

START_TEST(line_that_is_no_json_fails_its_step_alone)
{
    start("");
    assert_given(harness_do("s", "\"garbage\""), CLAIM_FAIL,
                 "gar\xEF\xBF\xBD"
                 "bage");
    assert_given(harness_do("s", "\"blank\""), CLAIM_FAIL, "gave no output");
    assert_given(harness_do("s", "1"), CLAIM_OK, "1");
    harness_stop();
}
END_TEST

START_TEST(death_costs_only_the_value_at_work)
{
    start("");
    struct given *four[] = {harness_claim("s", "1"), harness_claim("s", "\"die\""),
                            harness_claim("s", "\"kill\""), harness_claim("s", "4")};
    harness_give_all(four, 4);
    harness_wait_all();
    assert_given(four[0], CLAIM_OK, "1");
    assert_given(four[1], CLAIM_RETRY, "ended with status 4: last words");
    assert_given(four[2], CLAIM_RETRY, "was killed by signal KILL");
    assert_given(four[3], CLAIM_OK, "4");
    harness_stop();
}
END_TEST

START_TEST(hang_ends_by_the_timeout_and_costs_only_its_value)
{
    start(", timeout: 4s, concurrency: 1");
    struct given *three[] = {harness_claim("s", "1"), harness_claim("s", "\"hang\""),
                             harness_claim("s", "3")};
    harness_give_all(three, 3);
    harness_wait_all();
    assert_given(three[0], CLAIM_OK, "1");
    assert_given(three[1], CLAIM_TIMEOUT, "took longer than 4s");
    assert_given(three[2], CLAIM_OK, "3");
    harness_stop();
}
END_TEST

START_TEST(endless_line_is_cut_off)
{
    start("");
    assert_given(harness_do("s", "\"endless\""), CLAIM_FAIL, "more than 100000 bytes");
    assert_given(harness_do("s", "1"), CLAIM_OK, "1");
    harness_stop();
}
END_TEST

START_TEST(line_too_many_ends_the_process_before_it_shifts_the_answers)
{
    start(", concurrency: 1");
    assert_given(harness_do("s", "\"twice\""), CLAIM_OK, "1");
    harness_do("s", "\"pid\"");
    assert_given(harness_do("s", "7"), CLAIM_OK, "7");
    harness_stop();
}
END_TEST

START_TEST(stderr_goes_to_the_log_of_the_value_at_work)
{
    start("");
    harness_do("s", "1");
    harness_give("s", "\"log\"");
    harness_wait_log("logged");
    ck_assert_str_eq(harness.log.p, "run-1|logged\n");
    harness_wait_all();
    harness_stop();
}
END_TEST

START_TEST(slow_work_gets_more_processes_up_to_the_concurrency)
{
    start(", concurrency: 2");
    harness_do("s", "\"slow\""); /* now it knows that one value takes long */
    struct given *two[] = {harness_claim("s", "\"meet\""), harness_claim("s", "\"meet\"")};
    harness_give_all(two, 2);
    harness_wait_all();
    ck_assert_str_ne(two[0]->output, two[1]->output);
    harness_stop();
}
END_TEST

START_TEST(edited_program_is_started_anew_at_the_next_configuration)
{
    start("");
    assert_given(harness_do("s", "1"), CLAIM_OK, "1");
    harness_file("p.py", "import sys\nfor line in sys.stdin: print('\"new\"', flush=True)\n");
    configure("");
    assert_given(harness_do("s", "1"), CLAIM_OK, "\"new\"");
    harness_stop();
}
END_TEST

START_TEST(reload_without_a_change_keeps_the_process)
{
    start("");
    const struct given *first = harness_do("s", "\"pid\"");
    configure("");
    ck_assert_str_eq(harness_do("s", "\"pid\"")->output, first->output);
    harness_stop();
}
END_TEST

START_TEST(work_under_way_ends_under_the_old_configuration)
{
    start("");
    struct given *g = harness_give("s", "\"slow\"");
    struct config *old = config_ref(harness.config); /* as core/claim does */
    configure(", timeout: 77s, concurrency: 3");
    harness_wait_all();
    assert_given(g, CLAIM_OK, "slow");
    config_unref(old);
    harness_stop();
}
END_TEST

START_TEST(missing_program_fails_all_that_wait)
{
    harness_start("pipelines:\n  - name: p\n    stages:\n      - {name: s, watch: \"in.*.raw\", "
                  "command: [./not-there], keep: true}\n");
    struct given *two[] = {harness_claim("s", "1"), harness_claim("s", "2")};
    harness_give_all(two, 2);
    harness_wait_all();
    assert_given(two[0], CLAIM_FAIL, "not-there");
    assert_given(two[1], CLAIM_FAIL, "not-there");
    harness_stop();
}
END_TEST

START_TEST(cancelled_value_at_work_is_ended_and_the_next_one_served)
{
    start(", concurrency: 1");
    harness_do("s", "1");
    struct given *g = harness_give("s", "\"hang\"");
    struct given *next = harness_give("s", "2");
    harness_cancel(g);
    harness_wait_all();
    assert_given(g, CLAIM_FAIL, "cancelled");
    assert_given(next, CLAIM_OK, "2");
    harness_stop();
}
END_TEST

START_TEST(cancelled_value_that_waits_is_left_out)
{
    start(", concurrency: 1");
    struct given *first = harness_give("s", "\"slow\"");
    struct given *second = harness_give("s", "2");
    struct given *third = harness_give("s", "3");
    harness_cancel(second);
    harness_wait_all();
    assert_given(first, CLAIM_OK, "slow");
    assert_given(second, CLAIM_FAIL, "cancelled");
    ck_assert_int_lt(second->order, first->order);
    assert_given(third, CLAIM_OK, "3");
    harness_stop();
}
END_TEST

START_TEST(stop_ends_a_process_at_work)
{
    start("");
    harness_do("s", "1");
    struct given *two[] = {harness_claim("s", "\"hang\""), harness_claim("s", "2")};
    harness_give_all(two, 2);
    harness_stop();
    ck_assert_int_eq(harness.done_n, 3);
}
END_TEST

START_TEST(agent_that_is_kept_finds_url_and_token_of_each_run_in_its_line)
{
    start("");
    struct stage *stage = &harness.config->pipelines[0].stages[0];
    char agent[] = "analyst";
    token_use_secret(STR("of all servers"));
    token_url("http://127.0.0.1:4665");
    stage->work.agent = agent;
    stage->work.triggers = true;
    struct given *g = harness_do("s", "1");
    struct json *line = json_parse(str_of(g->output), NULL);
    ck_assert_msg(line != NULL, "%s", g->output);
    struct str token = json_str(json_path(line, "hookmesh.token"));
    struct token t;
    ck_assert(str_is(json_str(json_path(line, "hookmesh.url")), "http://127.0.0.1:4665"));
    ck_assert(token_read(&t, token, clock_wall_us() / 1000, NULL));
    ck_assert(str_is(t.run, "run-0") && str_is(t.agent, "analyst"));
    token_finish(&t);
    json_free(line);
    stage->work.agent = NULL;
    stage->work.triggers = false;
    token_stop();
    harness_stop();
}
END_TEST

Suite *work_keep_suite(void);
Suite *work_keep_suite(void)
{
    Suite *s = suite_create("work keep");
    TCase *t = tcase_create("keep");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, one_process_serves_many_values_in_order);
    tcase_add_test(t, values_flow_through_one_process);
    tcase_add_test(t, value_of_several_lines_is_given_as_one);
    tcase_add_test(t, value_that_is_no_json_fails_and_the_others_go_on);
    tcase_add_test(t, object_with_only_error_fails_the_step);
    tcase_add_test(t, line_that_is_no_json_fails_its_step_alone);
    tcase_add_test(t, death_costs_only_the_value_at_work);
    tcase_add_test(t, hang_ends_by_the_timeout_and_costs_only_its_value);
    tcase_add_test(t, endless_line_is_cut_off);
    tcase_add_test(t, line_too_many_ends_the_process_before_it_shifts_the_answers);
    tcase_add_test(t, stderr_goes_to_the_log_of_the_value_at_work);
    tcase_add_test(t, slow_work_gets_more_processes_up_to_the_concurrency);
    tcase_add_test(t, edited_program_is_started_anew_at_the_next_configuration);
    tcase_add_test(t, reload_without_a_change_keeps_the_process);
    tcase_add_test(t, work_under_way_ends_under_the_old_configuration);
    tcase_add_test(t, missing_program_fails_all_that_wait);
    tcase_add_test(t, cancelled_value_at_work_is_ended_and_the_next_one_served);
    tcase_add_test(t, cancelled_value_that_waits_is_left_out);
    tcase_add_test(t, stop_ends_a_process_at_work);
    tcase_add_test(t, agent_that_is_kept_finds_url_and_token_of_each_run_in_its_line);
    suite_add_tcase(s, t);
    return s;
}
