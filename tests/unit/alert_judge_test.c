/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/alert.h"
#include "work/alert_judge.h"

Suite *alert_judge_suite(void);

static const char *const verdicts[] = {"nothing", "fires", "fine"};

/* more: members of the run's end, with the comma. output NULL: there is none. */
static void assert_verdict(const char *condition, const char *state, const char *more,
                           const char *output, enum alert_verdict wanted, const char *part)
{
    struct alert a = {0};
    struct notice_run r;
    struct err e;
    struct buf why = {0};
    char *value = mem_format(
        "{\"run\":\"r-1\",\"pipeline\":\"job.daily\",\"created\":1000000%s%s%s%s}",
        state[0] != '\0' ? ",\"state\":\"" : "", state, state[0] != '\0' ? "\"" : "", more);
    ck_assert_msg(alert_parse(str_of(condition), &a, &e), "%s: %s", condition, e.text);
    ck_assert_msg(notice_parse(&r, str_of(value), &e), "%s: %s", value, e.text);
    r.output = output != NULL ? str_of(output) : (struct str){NULL, 0};
    enum alert_verdict v = alert_judge(&a, &r, &why);
    ck_assert_msg(v == wanted, "%s, %s%s, %s: %s, not %s", condition, state, more,
                  output != NULL ? output : "(none)", verdicts[v], verdicts[wanted]);
    ck_assert_msg((v == ALERT_FIRES) == (why.n != 0), "%s", condition);
    if (part != NULL)
        ck_assert_msg(why.n != 0 && strstr(why.p, part) != NULL, "%s: %s", condition,
                      why.n != 0 ? why.p : "");
    buf_finish(&why);
    notice_finish(&r);
    alert_finish(&a);
    mem_free(value);
}

START_TEST(failed_runs_fire_and_succeeded_ones_are_fine)
{
    static const char error[] = ",\"error\":\"no\\nway\",\"finished\":1005000";
    assert_verdict("job_failed", "dead", error, NULL, ALERT_FIRES, "daily failed: no way");
    assert_verdict("job_failed", "timed_out", error, NULL, ALERT_FIRES, "daily took too long");
    assert_verdict("job_failed", "budget_exceeded", "", NULL, ALERT_FIRES, "over its budget");
    assert_verdict("job_failed", "succeeded", "", "1", ALERT_IS_FINE, NULL);
    assert_verdict("job_failed", "cancelled", "", NULL, ALERT_SAYS_NOTHING, NULL);
    assert_verdict("job_failed", "skipped", "", NULL, ALERT_SAYS_NOTHING, NULL);
}
END_TEST

START_TEST(slow_runs_fire_while_they_run_and_at_their_end)
{
    assert_verdict("duration > 5s", "", "", NULL, ALERT_FIRES, "running for more than 5s");
    assert_verdict("duration > 5s", "succeeded", ",\"finished\":1006000", "1", ALERT_FIRES,
                   "daily took 6s");
    assert_verdict("duration > 5s", "dead", ",\"finished\":1006000", NULL, ALERT_FIRES, "took 6s");
    assert_verdict("duration > 5s", "succeeded", ",\"finished\":1005000", "1", ALERT_IS_FINE, NULL);
    assert_verdict("duration > 5s", "dead", ",\"finished\":1001000", NULL, ALERT_SAYS_NOTHING,
                   NULL);
    /* Time that it waited for its turn does not count. */
    assert_verdict("duration > 5s", "succeeded", ",\"started\":1003000,\"finished\":1006000", "1",
                   ALERT_IS_FINE, NULL);
    assert_verdict("duration > 5s", "cancelled", ",\"finished\":1009000", NULL, ALERT_SAYS_NOTHING,
                   NULL);
}
END_TEST

START_TEST(outputs_are_compared)
{
    static const struct {
        const char *condition, *output;
        bool fires;
    } rows[] = {
        {"output.items == 0", "{\"items\":0}", true},
        {"output.items == 0", "{\"items\":0.0}", true},
        {"output.items == 0", "{\"items\":3}", false},
        {"output.items == 0", "{\"items\":[]}", true},
        {"output.items == 0", "{\"items\":[0]}", false},
        {"output.items == 0", "{\"items\":{}}", true},
        {"output.items == 0", "{\"items\":\"0\"}", false},
        {"output.items == 0", "{\"items\":false}", false},
        {"output.items == 0", "{}", false},
        {"output.items != 0", "{}", true},
        {"output.items == null", "{}", true},
        {"output.items == null", "{\"items\":null}", true},
        {"output.items < 3", "{\"items\":2}", true},
        {"output.items < 3", "{\"items\":3}", false},
        {"output.items <= 3", "{\"items\":3}", true},
        {"output.items > 1", "{\"items\":[1,2]}", true},
        {"output.items >= 2", "{\"items\":[1]}", false},
        {"output.items > 1", "{\"items\":\"5\"}", false},
        {"output.a.0.b == \"x\"", "{\"a\":[{\"b\":\"x\"}]}", true},
        {"output.a == \"x\"", "{\"a\":\"y\"}", false},
        {"output.ok == true", "{\"ok\":true}", true},
        {"output.ok != true", "{\"ok\":true}", false},
        {"output == [1,{\"a\":2}]", "[1.0,{\"a\":2}]", true},
        {"output == [1,2]", "[2,1]", false},
        {"output == {\"a\":1,\"b\":null}", "{\"b\":null,\"a\":1}", true},
        {"output == {\"a\":1}", "{\"a\":1,\"b\":2}", false},
        {"output.deep.er > 1", "{\"deep\":7}", false},
        {"output == 1", "no json", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_verdict(rows[i].condition, "succeeded", "", rows[i].output,
                       rows[i].fires ? ALERT_FIRES : ALERT_IS_FINE, NULL);
    assert_verdict("output.items == 0", "succeeded", "", "{\"items\":[]}", ALERT_FIRES,
                   "daily: output.items is []");
    assert_verdict("output.items != 1", "succeeded", "", NULL, ALERT_FIRES, "is not there");
    assert_verdict("output.items == 0", "dead", "", "{\"items\":0}", ALERT_SAYS_NOTHING, NULL);
}
END_TEST

START_TEST(missing_results_fire)
{
    static const struct {
        const char *condition, *state, *output;
        bool fires;
    } rows[] = {
        {"missing RESULT", "succeeded", NULL, true},
        {"missing RESULT", "succeeded", "null", true},
        {"missing RESULT", "succeeded", "\"\"", true},
        {"missing RESULT", "succeeded", "0", false},
        {"missing RESULT", "succeeded", "{}", false},
        {"missing RESULT", "dead", NULL, true},
        {"missing RESULT", "timed_out", NULL, true},
        {"missing RESULT.path", "succeeded", "{\"items\":1}", true},
        {"missing RESULT.path", "succeeded", "{\"path\":\"digest.md\"}", false},
        {"missing output.a.b", "succeeded", "{\"a\":{\"b\":false}}", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_verdict(rows[i].condition, rows[i].state, "", rows[i].output,
                       rows[i].fires ? ALERT_FIRES : ALERT_IS_FINE, NULL);
    assert_verdict("missing RESULT", "cancelled", "", NULL, ALERT_SAYS_NOTHING, NULL);
    assert_verdict("missing RESULT.path", "succeeded", "", "{}", ALERT_FIRES,
                   "daily ended without output.path");
}
END_TEST

START_TEST(missed_ticks_fire_until_one_comes_in_time)
{
    assert_verdict("missed_tick", "skipped",
                   ",\"error\":\"missed: 3 ticks\",\"rec\":{\"cause\":\"schedule\",\"missed\":3}",
                   NULL, ALERT_FIRES, "daily missed 3 ticks: missed: 3 ticks");
    assert_verdict("missed_tick", "succeeded", ",\"rec\":{\"cause\":\"schedule\",\"missed\":1}",
                   "1", ALERT_FIRES, "daily missed 1 tick");
    assert_verdict("missed_tick", "succeeded", ",\"rec\":{\"cause\":\"schedule\"}", "1",
                   ALERT_IS_FINE, NULL);
    assert_verdict("missed_tick", "dead", ",\"rec\":{\"cause\":\"schedule\"}", NULL, ALERT_IS_FINE,
                   NULL);
    assert_verdict("missed_tick", "succeeded", ",\"rec\":{\"cause\":\"api\"}", "1",
                   ALERT_SAYS_NOTHING, NULL);
    assert_verdict("missed_tick", "skipped", ",\"rec\":{\"cause\":\"schedule\"}", NULL,
                   ALERT_SAYS_NOTHING, NULL);
}
END_TEST

Suite *alert_judge_suite(void)
{
    Suite *s = suite_create("alert_judge");
    TCase *t = tcase_create("judge");
    tcase_add_test(t, failed_runs_fire_and_succeeded_ones_are_fine);
    tcase_add_test(t, slow_runs_fire_while_they_run_and_at_their_end);
    tcase_add_test(t, outputs_are_compared);
    tcase_add_test(t, missing_results_fire);
    tcase_add_test(t, missed_ticks_fire_until_one_comes_in_time);
    suite_add_tcase(s, t);
    return s;
}
