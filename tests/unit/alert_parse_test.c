/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "config/alert.h"

Suite *alert_parse_suite(void);

START_TEST(conditions_are_read_as_people_write_them)
{
    static const struct {
        const char *text;
        enum alert_kind kind;
        int64_t over_ms;
        const char *path, *op, *value;
    } rows[] = {
        {"job_failed", ALERT_FAILED, 0, NULL, NULL, NULL},
        {" job_failed\n", ALERT_FAILED, 0, NULL, NULL, NULL},
        {"duration > 5m", ALERT_DURATION, 300000, NULL, NULL, NULL},
        {"duration>300s", ALERT_DURATION, 300000, NULL, NULL, NULL},
        {"duration >= 15_minutes", ALERT_DURATION, 900000, NULL, NULL, NULL},
        {"output.items == 0", ALERT_OUTPUT, 0, ".items", "==", "0"},
        {"output.a.b-c.0<=1.5", ALERT_OUTPUT, 0, ".a.b-c.0", "<=", "1.5"},
        {"output.status != \"ok > 1\"", ALERT_OUTPUT, 0, ".status", "!=", "\"ok > 1\""},
        {"output == null", ALERT_OUTPUT, 0, "", "==", "null"},
        {"output.list == [1, 2]", ALERT_OUTPUT, 0, ".list", "==", "[1, 2]"},
        {"output.n > -3", ALERT_OUTPUT, 0, ".n", ">", "-3"},
        {"missing RESULT", ALERT_RESULT, 0, "", NULL, NULL},
        {"missing result", ALERT_RESULT, 0, "", NULL, NULL},
        {"missing_result", ALERT_RESULT, 0, "", NULL, NULL},
        {"missing output.path", ALERT_RESULT, 0, ".path", NULL, NULL},
        {"missing RESULT.path", ALERT_RESULT, 0, ".path", NULL, NULL},
        {"missed_tick", ALERT_MISSED, 0, NULL, NULL, NULL},
        {"missed tick", ALERT_MISSED, 0, NULL, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct alert a = {0};
        struct err e;
        ck_assert_msg(alert_parse(str_of(rows[i].text), &a, &e), "%s: %s", rows[i].text, e.text);
        ck_assert_msg(a.kind == rows[i].kind, "%s", rows[i].text);
        ck_assert_int_eq(a.over_ms, rows[i].over_ms);
        ck_assert_pstr_eq(a.path, rows[i].path);
        ck_assert_pstr_eq(a.op, rows[i].op);
        ck_assert_pstr_eq(a.value, rows[i].value);
        struct str trimmed = str_trim(str_of(rows[i].text));
        ck_assert(str_is(trimmed, a.condition));
        alert_finish(&a);
    }
}
END_TEST

START_TEST(conditions_that_cannot_be_judged_are_refused_with_how_to_write_them)
{
    static const char *const rows[][2] = {
        {"", "empty"},
        {"  ", "empty"},
        {"job_faild", "write job_failed, duration > 5m"},
        {"job_failed and more", "is no condition"},
        {"duration", "write duration > 5m"},
        {"duration < 5m", "can only be too long"},
        {"duration == 5m", "can only be too long"},
        {"duration > 5", "with its unit"},
        {"duration > 0s", "is no duration"},
        {"duration > -5m", "is no duration"},
        {"duration > 5m or more", "is no duration"},
        {"output.items", "== != < <= > >="},
        {"output.items = 0", "== != < <= > >="},
        {"output.items ==", "no JSON value"},
        {"output.status == failed", "stands in quotes"},
        {"output.items == 0 0", "no JSON value"},
        {"output.items > \"a\"", "compares numbers"},
        {"output.items >= null", "compares numbers"},
        {"output..items == 0", "a path looks like"},
        {"output. == 0", "a path looks like"},
        {"output.items. == 0", "a path looks like"},
        {"outputs.items == 0", "is no condition"},
        {"missing", "what is missing?"},
        {"missing input", "what is missing?"},
        {"missing RESULT == 0", "makes no sense"},
        {"missing output..a", "a path looks like"},
        {"\xff\xfe", "no text"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct alert a = {0};
        struct err e;
        ck_assert_msg(!alert_parse(str_of(rows[i][0]), &a, &e), "%s", rows[i][0]);
        ck_assert_int_eq(e.code, ERR_CONFIG);
        ck_assert_msg(strstr(e.text, rows[i][1]) != NULL, "%s: %s", rows[i][0], e.text);
        ck_assert_ptr_null(a.condition);
        ck_assert_ptr_null(a.path);
    }
    struct alert a = {0};
    struct err e;
    ck_assert(!alert_parse((struct str){"job\0failed", 10}, &a, &e));
}
END_TEST

Suite *alert_parse_suite(void)
{
    Suite *s = suite_create("alert_parse");
    TCase *t = tcase_create("parse");
    tcase_add_test(t, conditions_are_read_as_people_write_them);
    tcase_add_test(t, conditions_that_cannot_be_judged_are_refused_with_how_to_write_them);
    suite_add_tcase(s, t);
    return s;
}
