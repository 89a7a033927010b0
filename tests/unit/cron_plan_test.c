/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "trigger/cron_plan.h"

Suite *cron_plan_suite(void);

enum { HOUR = 3600 };
static const int64_t T0 = 1772323200; /* 2026-03-01 00:00 UTC */

static struct cron parsed(const char *expression)
{
    struct cron c;
    struct err e = {0};
    ck_assert_msg(cron_parse(str_of(expression), &c, &e), "%s", e.text);
    return c;
}

/* A plan in words: "skip 0", "late 2", "start 3", "skip 0..4 (5)", by hours behind T0, and what is next. */
static void ck_plan(const char *expression, const struct cron_rules *r, int64_t due_s,
                    int64_t now_ms, const char *want)
{
    struct cron c = parsed(expression);
    struct cron_plan p;
    struct buf got = {0};
    cron_plan_make(&p, &c, zone_find(NULL, NULL), r, due_s * 1000, now_ms);
    for (size_t i = 0; i < p.n; i++) {
        const struct cron_tick *t = &p.ticks[i];
        buf_printf(&got, "%s %g",
                   !t->start   ? "skip"
                   : t->missed ? "late"
                               : "start",
                   (double)(t->at_s - T0) / HOUR);
        if (t->n > 1)
            buf_printf(&got, "..%g (%lld)", (double)(t->until_s - T0) / HOUR, (long long)t->n);
        buf_puts(&got, ", ");
    }
    buf_printf(&got, "next %g", (double)(p.next_s - T0) / HOUR);
    ck_assert_msg(strcmp(got.p, want) == 0, "%s:\n got %s\nwant %s", expression, got.p, want);
    cron_plan_finish(&p);
    buf_finish(&got);
}

static const struct cron_rules skip = {.misfire = MISFIRE_SKIP, .grace_ms = 60000, .records = 20};

START_TEST(a_tick_in_time_is_started)
{
    ck_plan("0 * * * *", &skip, T0, T0 * 1000, "start 0, next 1");
    ck_plan("0 * * * *", &skip, T0, T0 * 1000 + 60000, "start 0, next 1");
    ck_plan("0 */30 * * * *", &skip, T0, T0 * 1000 + 999, "start 0, next 0.5");
}
END_TEST

START_TEST(ticks_within_the_grace_are_all_started)
{
    struct cron_rules r = skip;
    r.grace_ms = 3 * HOUR * 1000;
    ck_plan("0 * * * *", &r, T0, (T0 + 2 * HOUR) * 1000, "start 0, start 1, start 2, next 3");
}
END_TEST

START_TEST(what_is_missed_is_skipped_by_default)
{
    ck_plan("0 * * * *", &skip, T0, T0 * 1000 + 60001, "skip 0, next 1");
    ck_plan("0 * * * *", &skip, T0, (T0 + 2 * HOUR) * 1000, "skip 0, skip 1, start 2, next 3");
    ck_plan("0 * * * *", &skip, T0, (T0 + 2 * HOUR + 120) * 1000, "skip 0, skip 1, skip 2, next 3");
}
END_TEST

START_TEST(once_starts_the_last_one_that_was_missed)
{
    struct cron_rules r = skip;
    r.misfire = MISFIRE_ONCE;
    ck_plan("0 * * * *", &r, T0, (T0 + 2 * HOUR + 120) * 1000, "skip 0, skip 1, late 2, next 3");
    ck_plan("0 * * * *", &r, T0, (T0 + 2 * HOUR) * 1000, "skip 0, late 1, start 2, next 3");
    ck_plan("0 * * * *", &r, T0, T0 * 1000, "start 0, next 1");
}
END_TEST

START_TEST(all_starts_as_many_as_its_limit)
{
    struct cron_rules r = skip;
    r.misfire = MISFIRE_ALL;
    r.misfire_max = 2;
    ck_plan("0 * * * *", &r, T0, (T0 + 3 * HOUR + 120) * 1000,
            "skip 0, skip 1, late 2, late 3, next 4");
    r.misfire_max = 100;
    ck_plan("0 * * * *", &r, T0, (T0 + 2 * HOUR + 120) * 1000, "late 0, late 1, late 2, next 3");
}
END_TEST

START_TEST(older_misses_share_one_record)
{
    struct cron_rules r = skip;
    r.records = 2;
    ck_plan("0 * * * *", &r, T0, (T0 + 9 * HOUR + 120) * 1000,
            "skip 0..7 (8), skip 8, skip 9, next 10");
    r.misfire = MISFIRE_ALL;
    r.misfire_max = 1;
    ck_plan("0 * * * *", &r, T0, (T0 + 9 * HOUR + 120) * 1000,
            "skip 0..6 (7), skip 7, skip 8, late 9, next 10");
    r = skip;
    r.records = 0;
    ck_plan("0 * * * *", &r, T0, (T0 + 2 * HOUR + 120) * 1000, "skip 0..2 (3), next 3");
}
END_TEST

START_TEST(a_long_pause_is_worked_off_in_bounded_pieces)
{
    struct cron c = parsed("* * * * * *");
    struct cron_plan p;
    int64_t due = T0, now = T0 + 250000, counted = 0;
    int plans = 0;
    for (; due <= now; plans++) {
        cron_plan_make(&p, &c, zone_find(NULL, NULL), &skip, due * 1000, now * 1000);
        ck_assert_int_le(p.looked, 100100);
        for (size_t i = 0; i < p.n; i++)
            counted += p.ticks[i].n;
        due = p.next_s;
        cron_plan_finish(&p);
    }
    ck_assert_int_eq(counted, 250001);
    ck_assert_int_eq(plans, 3);
}
END_TEST

START_TEST(many_late_starts_come_in_bounded_pieces_too)
{
    struct cron c = parsed("* * * * *");
    struct cron_rules r = skip;
    r.misfire = MISFIRE_ALL;
    r.misfire_max = 1200;
    int64_t due = T0, now = T0 + 1999 * 60 + 119, late = 0, skipped = 0, last = 0;
    while (due <= now) {
        struct cron_plan p;
        cron_plan_make(&p, &c, zone_find(NULL, NULL), &r, due * 1000, now * 1000);
        ck_assert_uint_le(p.n, 501);
        for (size_t i = 0; i < p.n; i++) {
            ck_assert_int_gt(p.ticks[i].at_s, last);
            last = p.ticks[i].until_s;
            late += p.ticks[i].missed && p.ticks[i].start;
            skipped += p.ticks[i].start ? 0 : p.ticks[i].n;
        }
        due = p.next_s;
        cron_plan_finish(&p);
    }
    ck_assert_int_eq(late, 1200);
    ck_assert_int_eq(skipped, 2000 - 1200);
}
END_TEST

START_TEST(an_instant_that_is_no_tick_counts_as_the_next_one)
{
    ck_plan("0 * * * *", &skip, T0 + 10, (T0 + 20) * 1000, "next 1");
    ck_plan("0 * * * *", &skip, T0 - 10, T0 * 1000, "start 0, next 1");
}
END_TEST

Suite *cron_plan_suite(void)
{
    Suite *s = suite_create("cron_plan");
    TCase *t = tcase_create("cron_plan");
    tcase_add_test(t, a_tick_in_time_is_started);
    tcase_add_test(t, ticks_within_the_grace_are_all_started);
    tcase_add_test(t, what_is_missed_is_skipped_by_default);
    tcase_add_test(t, once_starts_the_last_one_that_was_missed);
    tcase_add_test(t, all_starts_as_many_as_its_limit);
    tcase_add_test(t, older_misses_share_one_record);
    tcase_add_test(t, a_long_pause_is_worked_off_in_bounded_pieces);
    tcase_add_test(t, many_late_starts_come_in_bounded_pieces_too);
    tcase_add_test(t, an_instant_that_is_no_tick_counts_as_the_next_one);
    suite_add_tcase(s, t);
    return s;
}
