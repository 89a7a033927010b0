/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "core/kv.h"
#include "handlers/query.h"

Suite *query_suite(void);

static struct str header(const char *s)
{
    return s ? str_of(s) : (struct str){0};
}

START_TEST(if_match_names_the_version_that_a_write_is_for)
{
    static const struct {
        const char *match, *none;
        int64_t version;
    } rows[] = {
        {NULL, NULL, KV_ANY},
        {"\"7\"", NULL, 7},
        {" \"7\" ", NULL, 7},
        {"\"0\"", NULL, 0},
        {"*", NULL, QUERY_EXISTS},
        {NULL, "*", 0},
        {"\"9223372036854775807\"", NULL, INT64_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t version = -7;
        struct err e;
        ck_assert(query_precondition(header(rows[i].match), header(rows[i].none), &version, &e));
        ck_assert_int_eq(version, rows[i].version);
    }
}
END_TEST

START_TEST(preconditions_that_make_no_sense_are_refused_with_what_to_send)
{
    static const char *const wrong[] = {
        "7",
        "\"\"",
        "\"7",
        "7\"",
        "W/\"7\"",
        "\"-1\"",
        "\"7\",\"8\"",
        "\"seven\"",
        "\"7.0\"",
        "\"+7\"",
        "\" 7\"",
        "\"9223372036854775808\"",
        "\"99999999999999999999999\"",
        "",
        "**",
        "\"*\"",
        "'7'",
    };
    int64_t version;
    struct err e;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_msg(!query_precondition(str_of(wrong[i]), header(NULL), &version, &e), "%s",
                      wrong[i]);
        ck_assert_int_eq(e.code, ERR_BAD_INPUT);
        ck_assert_ptr_nonnull(strstr(e.text, "If-Match: \"7\""));
    }
    ck_assert(!query_precondition(header(NULL), STR("\"7\""), &version, &e));
    ck_assert(!query_precondition(STR("\"7\""), STR("*"), &version, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "not both"));
}
END_TEST

START_TEST(limits_are_numbers_from_one_to_the_most)
{
    static const char *const wrong[] = {"0", "-1", "101", "ten", "", "1e2", "99999999999999999999"};
    size_t n = 0;
    struct err e;
    ck_assert(query_limit(header(NULL), 50, 100, &n, &e) && n == 50);
    ck_assert(query_limit(STR("1"), 50, 100, &n, &e) && n == 1);
    ck_assert(query_limit(STR("100"), 50, 100, &n, &e) && n == 100);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(!query_limit(str_of(wrong[i]), 50, 100, &n, &e), "%s", wrong[i]);
}
END_TEST

START_TEST(switches_are_on_off_or_refused)
{
    bool on = true;
    struct err e;
    ck_assert(query_flag(header(NULL), &on, &e) && !on);
    ck_assert(query_flag(STR(""), &on, &e) && on);
    ck_assert(query_flag(STR("0"), &on, &e) && !on);
    ck_assert(query_flag(STR("true"), &on, &e) && on);
    ck_assert(query_flag(STR("No"), &on, &e) && !on);
    ck_assert(!query_flag(STR("maybe"), &on, &e));
}
END_TEST

START_TEST(since_is_an_instant_in_any_zone_or_a_time_ago)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"2026-11-20T09:00:00Z", 1795165200000},      {"2026-11-20t09:00:00.5z", 1795165200500},
        {"2026-11-20T10:00:00+01:00", 1795165200000}, {"2026-11-20 03:30:00-05:30", 1795165200000},
        {"1970-01-01T00:00:00.123456Z", 123},         {"24h", 1000000000000 - 86400000},
    };
    static const char *const wrong[] = {"",
                                        "yesterday",
                                        "2026-11-20",
                                        "2026-13-20T09:00:00Z",
                                        "2026-11-20T09:00:00",
                                        "2026-11-20T25:00:00Z",
                                        "2026-11-20T09:00:00Zx",
                                        "2026-11-20T09:00:00.Z",
                                        "12"};
    int64_t ms;
    struct err e;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ck_assert_msg(query_since(str_of(rows[i].text), 1000000000000, &ms, &e), "%s",
                      rows[i].text);
        ck_assert_int_eq(ms, rows[i].ms);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_msg(!query_since(str_of(wrong[i]), 0, &ms, &e), "%s", wrong[i]);
}
END_TEST

START_TEST(durations_have_a_unit_and_a_limit_that_the_error_tells)
{
    static const char *const wrong[] = {"", "10", "-1s", "61m", "soon", "9999999999999s", "1h1s"};
    int64_t ms = 7;
    struct err e;
    ck_assert(query_duration("wait", header(NULL), -1, 3600000, &ms, &e) && ms == -1);
    ck_assert(query_duration("wait", STR("0"), -1, 3600000, &ms, &e) && ms == 0);
    ck_assert(query_duration("wait", STR("1h"), -1, 3600000, &ms, &e) && ms == 3600000);
    ck_assert(query_duration("wait", STR("50ms"), -1, 3600000, &ms, &e) && ms == 50);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_msg(!query_duration("wait", str_of(wrong[i]), -1, 3600000, &ms, &e), "%s",
                      wrong[i]);
        ck_assert_str_eq(e.text,
                         "wait must be a duration with its unit, such as 10s, of at most 1h");
    }
}
END_TEST

Suite *query_suite(void)
{
    Suite *s = suite_create("query");
    TCase *t = tcase_create("query");
    tcase_add_test(t, if_match_names_the_version_that_a_write_is_for);
    tcase_add_test(t, preconditions_that_make_no_sense_are_refused_with_what_to_send);
    tcase_add_test(t, limits_are_numbers_from_one_to_the_most);
    tcase_add_test(t, switches_are_on_off_or_refused);
    tcase_add_test(t, since_is_an_instant_in_any_zone_or_a_time_ago);
    tcase_add_test(t, durations_have_a_unit_and_a_limit_that_the_error_tells);
    suite_add_tcase(s, t);
    return s;
}
