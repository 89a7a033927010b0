/* SPDX-License-Identifier: Apache-2.0 */
/* The jobs of config/jobs by the command line: started, shown, measured, broken and retried. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *cli_jobs_suite(void);

static struct world *w;

/* A copy: the jobs deliver files beside their configuration. */
static void copy_example(void)
{
    static const char *const names[] = {"jobs.yaml", "bakery.py", "writer.py", "sales.csv"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *from = mem_format(HOOKMESH_SOURCE_DIR "/config/jobs/%s", names[i]);
        char *text = world_slurp(from, NULL);
        ck_assert_msg(text[0] != '\0', "%s", from);
        world_config(w, names[i], text);
        mem_free(text);
        mem_free(from);
    }
    world_file(w, "config/out/here", "");
}

static void start_world(void)
{
    w = world_make();
    copy_example();
    world_config(w, "slow.yaml",
                 "jobs:\n"
                 "  - {name: slow, command: [sleep, '60']}\n"
                 "  - {name: echo, command: [cat], description: \"says\\eit \\u202eagain\"}\n");
    world_start(w);
}

static void stop_world(void)
{
    world_free(w);
}

#define CLI(...) WORLD_CLI(w, __VA_ARGS__)

static void assert_run(struct world_run r, int code, const char *out, const char *err)
{
    ck_assert_msg(r.code == code, "exit code %d, wanted %d\n%s%s", r.code, code, r.out.p, r.err.p);
    ck_assert_msg(out == NULL || strstr(r.out.p, out) != NULL, "wanted: %s\ngot: %s", out, r.out.p);
    ck_assert_msg(err == NULL ? r.err.n == 0 : strstr(r.err.p, err) != NULL, "%s", r.err.p);
    world_run_finish(&r);
}

/* What a command prints, without the line break. */
static char *said(struct world_run r)
{
    ck_assert_msg(r.code == 0, "%s", r.err.p);
    struct str text = str_trim(buf_view(&r.out));
    char *copy = mem_dup(text.p, text.n);
    world_run_finish(&r);
    return copy;
}

START_TEST(a_workflow_waits_for_both_of_its_branches_and_delivers)
{
    assert_run(CLI("jobs", "run", "sales_report", "--input", "{\"day\": \"tuesday\"}", "--wait",
                   "--field", "output.title"),
               0, "Tuesday: 169 sold for 406.00\n", NULL);
    char *run = said(CLI("jobs", "list", "--field", "0.id"));
    char *path = mem_format("/v1/runs/%s", run);
    assert_run(CLI("kv", "get", "bakery.report", "--wait", "--field", "bake_less.0"), 0, "rye\n",
               NULL);
    world_wait_json(w, path, "steps.4.state", "succeeded"); /* the file */
    char *file = mem_format("%s/config/out/report.json", w->dir);
    ck_assert_int_eq(access(file, R_OK), 0);
    struct world_run r = CLI("jobs", "show", run);
    static const char *const parts[] = {"job        sales_report\n",
                                        "cause      api\n",
                                        "STEP       STATE      ATTEMPT  TIME",
                                        "leftovers  succeeded  1 ",
                                        "AFTER  STATE      ATTEMPT  TIME",
                                        "file   succeeded  1 ",
                                        "bakery.report\n",
                                        "KEY ",
                                        ".report "};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(r.out.p, parts[i]) != NULL, "%s\n%s", parts[i], r.out.p);
    ck_assert_ptr_null(strstr(r.out.p, "next  "));
    world_run_finish(&r);
    mem_free(file);
    mem_free(path);
    mem_free(run);
}
END_TEST

START_TEST(code_goes_first_and_then_the_agent)
{
    assert_run(CLI("jobs", "run", "comment", "--wait", "--field", "output.text"), 0,
               "On monday 169 pieces were sold, most of all pretzel.\n", NULL);
}
END_TEST

START_TEST(what_fails_is_tried_again_then_a_dead_letter_and_then_retried)
{
    assert_run(
        CLI("jobs", "run", "order", "--input", "{\"item\": \"rye\", \"count\": 3}", "--wait"), 1,
        "the mill refuses 3 of rye: at least 10\n", NULL);
    char *run = said(CLI("dlq", "list", "--job", "order", "--field", "0.run"));
    char *next = mem_format("next       hookmesh jobs retry %s\n", run);
    assert_run(CLI("jobs", "show", run), 0, next, NULL);
    assert_run(CLI("jobs", "show", run), 0, "on_failure  succeeded", NULL);
    assert_run(CLI("dlq", "show", run), 0, "attempts   3\n", NULL);
    assert_run(CLI("dlq", "show", run), 0, "input      {\"item\":\"rye\",\"count\":3}\n", NULL);

    char *code = world_slurp(HOOKMESH_SOURCE_DIR "/config/jobs/bakery.py", NULL);
    char *limit = strstr(code, "< 10");
    ck_assert_ptr_nonnull(limit);
    limit[2] = '0';
    limit[3] = ' ';
    world_config(w, "bakery.py", code);
    assert_run(CLI("dlq", "retry", run, "--wait"), 0,
               "output     {\"ordered\":\"rye\",\"count\":3}\n", NULL);
    assert_run(CLI("dlq", "list", "--job", "order", "--json"), 0, "[]\n", NULL);
    mem_free(code);
    mem_free(next);
    mem_free(run);
}
END_TEST

START_TEST(a_job_is_shown_with_its_schedule_and_parameters)
{
    assert_run(CLI("jobs", "show"), 0, "sales_report  workflow   in ", NULL);
    assert_run(CLI("jobs", "show", "--json"), 0, "\"name\": \"sales_report\"", NULL);
    struct world_run r = CLI("jobs", "show", "sales_report");
    static const char *const parts[] = {"type       workflow\n",
                                        "what       What was sold and what was left on a day.\n",
                                        "jobs.yaml:",
                                        "PARAMETER  TYPE    DEFAULT   MEANING\nday        string  "
                                        "\"monday\"  The day to look at.\n",
                                        "0 0 19 * * MON-SAT",
                                        "Europe/Berlin\n",
                                        "totals     command",
                                        "AFTER  KIND  TO\nfile   file  ",
                                        "kv     kv    bakery.report\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(r.out.p, parts[i]) != NULL, "%s\n%s", parts[i], r.out.p);
    world_run_finish(&r);
    assert_run(CLI("schedules", "list"), 0, "sales_report  0 0 19 * * MON-SAT  20", NULL);
    assert_run(CLI("schedules", "list", "--job", "order", "--json"), 0, "[]\n", NULL);
    assert_run(CLI("schedules", "list", "--field", "0.timezone"), 0, "Europe/Berlin\n", NULL);
    assert_run(CLI("jobs", "show", "echo"), 0, "what       says?it ?again\n", NULL);
}
END_TEST

START_TEST(a_start_with_the_same_key_answers_with_the_same_run)
{
    char *first = said(CLI("jobs", "run", "echo", "--idempotency-key", "k1", "--field", "run_id"));
    char *second = said(CLI("jobs", "run", "echo", "--idempotency-key", "k1", "--field", "run_id"));
    char *third = said(CLI("jobs", "run", "echo", "--idempotency-key", "k2", "--field", "run_id"));
    ck_assert_str_eq(first, second);
    ck_assert_str_ne(first, third);
    assert_run(CLI("jobs", "run", "echo", "--idempotency-key", "k1", "--input", "{\"a\":1}"), 1,
               NULL, "hookmesh jobs run: ");
    assert_run(CLI("jobs", "run", "echo", "--idempotency-key", "a\nb"), 64, NULL,
               "control characters");
    mem_free(first);
    mem_free(second);
    mem_free(third);
}
END_TEST

START_TEST(a_delayed_run_waits_and_can_be_cancelled)
{
    char *run =
        said(CLI("jobs", "run", "echo", "--delay", "1h", "--priority", "5", "--field", "run_id"));
    assert_run(CLI("jobs", "show", run), 0, "state      waiting\n", NULL);
    char *next = mem_format("next       hookmesh jobs cancel %s\n", run);
    assert_run(CLI("jobs", "show", run), 0, next, NULL);
    char *cancelled = mem_format("cancelled: %s\n", run);
    assert_run(CLI("jobs", "cancel", run), 0, cancelled, NULL);
    assert_run(CLI("jobs", "show", run), 0, "state      cancelled\n", NULL);
    assert_run(CLI("jobs", "list", "--state", "cancelled,waiting", "--field", "0.id"), 0, run,
               NULL);
    assert_run(CLI("jobs", "run", "echo", "--delay", "soon"), 1, NULL, "delay");
    assert_run(CLI("jobs", "run", "echo", "--priority", "high"), 1, NULL, "priority");
    mem_free(cancelled);
    mem_free(next);
    mem_free(run);
}
END_TEST

START_TEST(parameters_are_checked_before_anything_runs)
{
    assert_run(CLI("jobs", "run", "order", "--input", "{}"), 1, NULL, "item");
    assert_run(CLI("jobs", "run", "sales_report", "--input", "{\"day\": \"sunday\"}"), 1, NULL,
               "day");
    assert_run(CLI("jobs", "list", "--json"), 0, "[]\n", NULL);
}
END_TEST

START_TEST(runs_are_counted_by_job)
{
    assert_run(CLI("jobs", "run", "echo", "--wait"), 0, "succeeded", NULL);
    assert_run(CLI("jobs", "run", "echo", "--wait"), 0, "succeeded", NULL);
    assert_run(
        CLI("jobs", "run", "order", "--input", "{\"item\": \"rye\", \"count\": 3}", "--wait"), 1,
        "dead", NULL);
    assert_run(CLI("analytics", "jobs", "success-rate", "--since", "1d"), 0,
               "100.0 %  2     2          0       0", NULL);
    assert_run(CLI("analytics", "jobs", "success-rate", "--job", "order"), 0,
               "JOB    RATE   RUNS  SUCCEEDED  FAILED", NULL);
    assert_run(CLI("analytics", "jobs", "duration", "--job", "echo"), 0, "JOB   RUNS  MEAN", NULL);
    assert_run(CLI("analytics", "jobs", "costs", "--job", "echo"), 0, "echo  2     0       $0.0000",
               NULL);
    assert_run(CLI("analytics", "jobs", "duration", "--field", "jobs.0.runs"), 0, "2\n", NULL);
    assert_run(CLI("analytics", "jobs", "costs", "--since", "yesterday"), 1, NULL, "since must be");
}
END_TEST

Suite *cli_jobs_suite(void)
{
    Suite *s = suite_create("cli_jobs");
    TCase *t = tcase_create("bakery");
    tcase_add_checked_fixture(t, start_world, stop_world);
    tcase_set_timeout(t, 180);
    tcase_add_test(t, a_workflow_waits_for_both_of_its_branches_and_delivers);
    tcase_add_test(t, code_goes_first_and_then_the_agent);
    tcase_add_test(t, what_fails_is_tried_again_then_a_dead_letter_and_then_retried);
    tcase_add_test(t, a_job_is_shown_with_its_schedule_and_parameters);
    tcase_add_test(t, a_start_with_the_same_key_answers_with_the_same_run);
    tcase_add_test(t, a_delayed_run_waits_and_can_be_cancelled);
    tcase_add_test(t, parameters_are_checked_before_anything_runs);
    tcase_add_test(t, runs_are_counted_by_job);
    suite_add_tcase(s, t);
    return s;
}
