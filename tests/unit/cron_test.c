/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cron.h"

Suite *cron_suite(void);

static const struct zone *zone_of(const char *name)
{
    struct err e = {0};
    const struct zone *z = zone_find(name, &e);
    ck_assert_msg(z != NULL, "%s: %s", name, e.text);
    return z;
}

/* "2026-03-29 02:30" in UTC; seconds may be absent. */
static int64_t utc(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%d %H:%M", &tm);
    ck_assert_msg(end != NULL, "%s", text);
    if (*end == ':')
        end = strptime(end, ":%S", &tm);
    ck_assert_msg(end != NULL && *end == '\0', "%s", text);
    return timegm(&tm);
}

static struct cron parsed(const char *expression)
{
    struct cron c;
    struct err e = {0};
    ck_assert_msg(cron_parse(str_of(expression), &c, &e), "%s: %s", expression, e.text);
    return c;
}

/* The fires from `from` (UTC) on, in local time with the offset in hours: "29 01:30+1, 29 03:00+2". */
static void ck_fires(const char *expression, const char *zone, const char *from, const char *want)
{
    struct cron c = parsed(expression);
    const struct zone *z = zone_of(zone);
    struct buf got = {0};
    int64_t at = utc(from) - 1;
    for (const char *p = want; p != NULL; p = strchr(p + 1, ',')) {
        struct civil x;
        int offset;
        ck_assert(cron_next(&c, z, at, &at));
        zone_civil(z, at, &x, &offset);
        buf_printf(&got, "%s%02d %02d:%02d", got.n != 0 ? ", " : "", x.day, x.hour, x.minute);
        if (x.second != 0)
            buf_printf(&got, ":%02d", x.second);
        buf_printf(&got, "%+g", offset / 3600.0);
    }
    ck_assert_msg(strcmp(got.p, want) == 0, "%s in %s from %s\n got %s\nwant %s", expression, zone,
                  from, got.p, want);
    buf_finish(&got);
}

START_TEST(five_fields_begin_with_the_minute_and_six_with_the_second)
{
    ck_fires("30 9 * * *", NULL, "2026-01-31 09:30", "31 09:30+0, 01 09:30+0");
    ck_fires("15 30 9 * * *", NULL, "2026-01-31 09:30", "31 09:30:15+0, 01 09:30:15+0");
    ck_fires(" *\t* *  * * ", NULL, "2026-01-31 23:59", "31 23:59+0, 01 00:00+0");
    ck_fires("* * * * * *", NULL, "2026-12-31 23:59:59", "31 23:59:59+0, 01 00:00+0");
}
END_TEST

START_TEST(fields_take_lists_ranges_steps_and_names_in_any_case)
{
    ck_fires("0,30,45 8 * * *", NULL, "2026-05-01 00:00", "01 08:00+0, 01 08:30+0, 01 08:45+0");
    ck_fires("0 8-10 * * *", NULL, "2026-05-01 00:00", "01 08:00+0, 01 09:00+0, 01 10:00+0");
    ck_fires("*/25 0-1 * * *", NULL, "2026-05-01 00:00",
             "01 00:00+0, 01 00:25+0, 01 00:50+0, 01 01:00+0");
    ck_fires("7/20 * * * *", NULL, "2026-05-01 00:00", "01 00:07+0, 01 00:27+0, 01 00:47+0");
    ck_fires("0/15 * * * *", NULL, "2026-05-01 00:00", "01 00:00+0, 01 00:15+0, 01 00:30+0");
    ck_fires("5-45/20 0 * * *", NULL, "2026-05-01 00:00", "01 00:05+0, 01 00:25+0, 01 00:45+0");
    ck_fires("0 0 1 feb,AUG *", NULL, "2026-02-02 00:00", "01 00:00+0, 01 00:00+0");
    ck_fires("0 0 * * Mon-wed", NULL, "2026-05-01 00:00", "04 00:00+0, 05 00:00+0, 06 00:00+0");
    ck_fires("0 0 * * fri-MON", NULL, "2026-05-02 00:00",
             "02 00:00+0, 03 00:00+0, 04 00:00+0, 08 00:00+0");
    ck_fires("0 0 * * fri-mon/2", NULL, "2026-05-01 00:00", "01 00:00+0, 03 00:00+0, 08 00:00+0");
    ck_fires("0 0 1 nov-jan *", NULL, "2026-11-01 00:00",
             "01 00:00+0, 01 00:00+0, 01 00:00+0, 01 00:00+0");
    ck_fires("0 0 ? * ?", NULL, "2026-05-01 00:00", "01 00:00+0, 02 00:00+0");
}
END_TEST

START_TEST(zero_and_seven_are_sunday)
{
    ck_fires("0 0 * * 0", NULL, "2026-05-01 00:00", "03 00:00+0, 10 00:00+0");
    ck_fires("0 0 * * 7", NULL, "2026-05-01 00:00", "03 00:00+0, 10 00:00+0");
    ck_fires("0 0 * * 5-7", NULL, "2026-05-01 00:00",
             "01 00:00+0, 02 00:00+0, 03 00:00+0, 08 00:00+0");
    ck_fires("0 0 * * MON-SUN/6", NULL, "2026-05-01 00:00", "03 00:00+0, 04 00:00+0, 10 00:00+0");
}
END_TEST

START_TEST(with_both_days_restricted_either_matches)
{
    ck_fires("0 0 13 * FRI", NULL, "2026-05-01 00:00",
             "01 00:00+0, 08 00:00+0, 13 00:00+0, 15 00:00+0");
    ck_fires("0 0 13 * *", NULL, "2026-05-01 00:00", "13 00:00+0, 13 00:00+0");
    ck_fires("0 0 * * FRI", NULL, "2026-05-01 00:00", "01 00:00+0, 08 00:00+0");
    ck_fires("0 0 */1 * FRI", NULL, "2026-05-01 00:00", "01 00:00+0, 08 00:00+0");
    ck_fires("0 0 30 2 MON", NULL, "2026-02-01 00:00", "02 00:00+0, 09 00:00+0");
}
END_TEST

START_TEST(nicknames_stand_for_expressions)
{
    ck_fires("@hourly", NULL, "2026-05-01 00:01", "01 01:00+0, 01 02:00+0");
    ck_fires("@daily", NULL, "2026-05-01 00:01", "02 00:00+0, 03 00:00+0");
    ck_fires("@Midnight", NULL, "2026-05-01 00:01", "02 00:00+0, 03 00:00+0");
    ck_fires("@weekly", NULL, "2026-05-01 00:01", "03 00:00+0, 10 00:00+0");
    ck_fires("@monthly", NULL, "2026-05-01 00:01", "01 00:00+0, 01 00:00+0");
    ck_fires("@yearly", NULL, "2026-05-01 00:01", "01 00:00+0, 01 00:00+0");
    ck_fires("@annually", NULL, "2026-05-01 00:01", "01 00:00+0");
}
END_TEST

START_TEST(leap_days_come_when_they_come)
{
    struct cron c = parsed("0 12 29 2 *");
    int64_t at = utc("2026-01-01 00:00");
    static const char *const want[] = {"2028-02-29 12:00", "2032-02-29 12:00"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert(cron_next(&c, zone_of("UTC"), at, &at));
        ck_assert_int_eq(at, utc(want[i]));
    }
    at = utc("2096-03-01 00:00"); /* 2100 is no leap year */
    ck_assert(cron_next(&c, zone_of("UTC"), at, &at));
    ck_assert_int_eq(at, utc("2104-02-29 12:00"));
    ck_fires("0 0 31 * *", NULL, "2026-02-01 00:00", "31 00:00+0, 31 00:00+0, 31 00:00+0");
}
END_TEST

START_TEST(a_fixed_time_that_is_skipped_fires_at_the_change)
{
    ck_fires("30 2 * * *", "Europe/Berlin", "2026-03-28 00:00",
             "28 02:30+1, 29 03:00+2, 30 02:30+2");
    ck_fires("*/20 2 * * *", "Europe/Berlin", "2026-03-28 01:30",
             "28 02:40+1, 29 03:00+2, 30 02:00+2");
    ck_fires("0 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", "29 03:00+2, 30 02:00+2");
    ck_fires("30 2 * * *", "America/New_York", "2026-03-08 00:00", "08 03:00-4, 09 02:30-4");
    ck_fires("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", "04 02:30+11, 05 02:15+11");
    ck_fires("0 0 * * *", "America/Santiago", "2026-09-05 12:00", "06 01:00-3, 07 00:00-3");
}
END_TEST

START_TEST(a_fixed_time_that_is_repeated_fires_the_first_time)
{
    ck_fires("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", "25 02:30+2, 26 02:30+1");
    ck_fires("*/20 2 * * *", "Europe/Berlin", "2026-10-24 23:50",
             "25 02:00+2, 25 02:20+2, 25 02:40+2, 26 02:00+1");
    ck_fires("30 2 * * *", "Europe/Berlin", "2026-10-25 01:10",
             "26 02:30+1"); /* in the second pass */
    ck_fires("59 59 2 * * *", "Europe/Berlin", "2026-10-25 00:59:59",
             "25 02:59:59+2, 26 02:59:59+1");
    ck_fires("* 2-3 * * *", "Europe/Berlin", "2026-10-25 00:59", "25 02:59+2, 25 03:00+1");
    ck_fires("30 1 * * *", "America/New_York", "2026-11-01 00:00", "01 01:30-4, 02 01:30-5");
    ck_fires("45 1 * * *", "Australia/Lord_Howe", "2026-04-04 00:00", "05 01:45+11, 06 01:45+10.5");
}
END_TEST

START_TEST(an_interval_goes_on_in_elapsed_time_when_the_clock_is_put_forward)
{
    ck_fires("*/30 * * * *", "Europe/Berlin", "2026-03-29 00:00",
             "29 01:00+1, 29 01:30+1, 29 03:00+2, 29 03:30+2");
    ck_fires("@hourly", "Europe/Berlin", "2026-03-29 00:00", "29 01:00+1, 29 03:00+2, 29 04:00+2");
    ck_fires("15 * * * *", "Europe/Berlin", "2026-03-29 00:00", "29 01:15+1, 29 03:15+2");
    ck_fires("0 */2 * * *", "Europe/Berlin", "2026-03-28 23:00",
             "29 00:00+1, 29 03:00+2, 29 04:00+2, 29 06:00+2");
    ck_fires("0 0-23 * * *", "America/New_York", "2026-03-08 06:00", "08 01:00-5, 08 03:00-4");
    ck_fires("*/15 * * * *", "Australia/Lord_Howe", "2026-10-03 15:15",
             "04 01:45+10.5, 04 02:30+11, 04 02:45+11");
    ck_fires("0 * * * *", "Australia/Lord_Howe", "2026-10-03 14:30",
             "04 01:00+10.5, 04 02:30+11, 04 03:00+11, 04 04:00+11");
}
END_TEST

START_TEST(an_interval_goes_on_in_elapsed_time_when_the_clock_is_put_back)
{
    ck_fires("*/30 * * * *", "Europe/Berlin", "2026-10-25 00:00",
             "25 02:00+2, 25 02:30+2, 25 02:00+1, 25 02:30+1, 25 03:00+1");
    ck_fires("@hourly", "Europe/Berlin", "2026-10-25 00:00", "25 02:00+2, 25 02:00+1, 25 03:00+1");
    ck_fires("15 0/1 * * *", "America/New_York", "2026-11-01 05:00",
             "01 01:15-4, 01 01:15-5, 01 02:15-5");
    ck_fires("0 */2 * * *", "Europe/Berlin", "2026-10-24 22:00",
             "25 00:00+2, 25 02:00+2, 25 02:00+1, 25 04:00+1");
    ck_fires("0 */3 * * *", "Europe/Berlin", "2026-10-24 22:00",
             "25 00:00+2, 25 03:00+1, 25 06:00+1");
    ck_fires("0 */6 * * *", "America/Santiago", "2026-04-04 21:00", "04 18:00-3, 05 00:00-4");
    ck_fires("30 * * * SUN", "America/Santiago", "2026-04-05 02:00", "05 00:30-4, 05 01:30-4");
    ck_fires("0 * * * *", "Australia/Lord_Howe", "2026-04-04 14:00",
             "05 01:00+11, 05 01:30+10.5, 05 02:00+10.5, 05 03:00+10.5");
    ck_fires("0 * * * MON", "Europe/Berlin", "2026-10-25 00:00", "26 00:00+1, 26 01:00+1");
}
END_TEST

START_TEST(next_fires_are_behind_the_instant_that_is_given)
{
    struct cron c = parsed("0 * * * *");
    int64_t at = utc("2026-05-01 10:00"), next;
    ck_assert(cron_next(&c, zone_of("UTC"), at, &next));
    ck_assert_int_eq(next, at + 3600);
    ck_assert(cron_next(&c, zone_of("UTC"), at - 1, &next));
    ck_assert_int_eq(next, at);
    ck_assert(cron_next(&c, zone_of("Asia/Kolkata"), -1, &next));
    ck_assert_int_eq(next, 1800);
    ck_assert(!cron_next(&c, zone_of("UTC"), INT64_MAX, &next));
    ck_assert(!cron_next(&c, zone_of("UTC"), INT64_MIN, &next));
}
END_TEST

START_TEST(bad_schedules_are_refused_naming_the_field_and_what_is_allowed)
{
    static const struct {
        const char *expression;
        const char *says;
        const char *also;
    } rows[] = {
        {"", "5 fields", "6 (second first), this one has 0"},
        {"* * * *", "this one has 4", "@hourly"},
        {"* * * * * * *", "this one has 7", "5 fields"},
        {"60 * * * *", "minute \"60\"", "0-59"},
        {"* 24 * * *", "hour \"24\"", "0-23"},
        {"* * 0 * *", "day of the month \"0\"", "1-31"},
        {"* * 32 * *", "day of the month \"32\"", "1-31"},
        {"* * * 13 *", "month \"13\"", "1-12 or JAN-DEC"},
        {"* * * 0 *", "month \"0\"", "1-12"},
        {"* * * * 8", "day of the week \"8\"", "0-7 or SUN-SAT"},
        {"60 * * * * *", "second \"60\"", "0-59"},
        {"* * * JANUARY *", "month \"JANUARY\"", "JAN-DEC"},
        {"* * MON * *", "day of the month \"MON\"", "1-31"},
        {"-1 * * * *", "minute \"-1\"", "0-59"},
        {"1.5 * * * *", "minute \"1.5\"", "0-59"},
        {"1- * * * *", "minute \"1-\"", "range"},
        {"1-2-3 * * * *", "minute \"1-2-3\"", "range"},
        {"50-10 * * * *", "minute \"50-10\"", "backwards"},
        {"* 22-2 * * *", "hour \"22-2\"", "backwards"},
        {"* * * * 5-1", "day of the week \"5-1\"", "backwards"},
        {"*/0 * * * *", "minute \"*/0\"", "step"},
        {"*/61 * * * *", "minute \"*/61\"", "step"},
        {"*/ * * * *", "minute \"*/\"", "step"},
        {"*/2/3 * * * *", "minute \"*/2/3\"", "step"},
        {"/5 * * * *", "minute \"/5\"", "0-59"},
        {"1,,2 * * * *", "minute \"\"", "empty"},
        {"1, * * * *", "minute \"\"", "empty"},
        {"? * * * *", "minute \"?\"", "0-59"},
        {"* * L * *", "day of the month \"L\"", "1-31"},
        {"* * * * 5#2", "day of the week \"5#2\"", "SUN-SAT"},
        {"* * 15W * *", "day of the month \"15W\"", "1-31"},
        {"99999999999999999999 * * * *", "minute \"9999", "0-59"},
        {"\x1b[31m * * * *", "minute \"?[31m\"", "0-59"},
        {"@reboot", "\"@reboot\"", "@hourly, @daily"},
        {"@every 5m", "\"@every 5m\"", "@hourly, @daily"},
        {"@", "\"@\"", "@hourly"},
        {"0 0 30 2 *", "never fires", "day of the month"},
        {"0 0 30,31 FEB *", "never fires", "day of the month"},
        {"0 0 31 4,6,9,11 ?", "never fires", "day of the month"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cron c;
        struct err e = {0};
        ck_assert_msg(!cron_parse(str_of(rows[i].expression), &c, &e), "%s is taken",
                      rows[i].expression);
        ck_assert_int_eq(e.code, ERR_CONFIG);
        ck_assert_msg(strstr(e.text, rows[i].says) != NULL, "%s: %s", rows[i].expression, e.text);
        ck_assert_msg(strstr(e.text, rows[i].also) != NULL, "%s: %s", rows[i].expression, e.text);
    }
    struct cron c;
    struct err e;
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_puts(&b, "1,");
    buf_puts(&b, "1 * * * *");
    ck_assert(!cron_parse(buf_view(&b), &c, &e));
    buf_finish(&b);
    ck_assert(!cron_parse((struct str){"* * * * *\0", 10}, &c, &e));
    ck_assert(!cron_parse((struct str){NULL, 0}, &c, &e));
}
END_TEST

START_TEST(zones_are_known_by_their_names_alone)
{
    static const char *const wrong[] = {
        "Europe/Belin", "",         "/etc/localtime",     "../zoneinfo/UTC",
        "localtime",    "+02:00",   "Fixed/UTC+02:00:00", "UTC+2",
        "Europe",       "zone.tab", "Europe/Berlin\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct err e = {0};
        ck_assert_msg(zone_find(wrong[i], &e) == NULL, "%s is taken", wrong[i]);
        ck_assert_int_eq(e.code, ERR_CONFIG);
        ck_assert(strstr(e.text, "such as Europe/Berlin") != NULL);
    }
    ck_assert(zone_of("Europe/Berlin") == zone_of("Europe/Berlin"));
    ck_assert(zone_of(NULL) == zone_of("UTC"));
}
END_TEST

START_TEST(zones_tell_local_times_and_their_changes)
{
    const struct zone *z = zone_of("Europe/Berlin");
    struct civil x;
    int offset;
    zone_civil(z, utc("2026-03-29 00:59:59"), &x, &offset);
    ck_assert_int_eq(x.hour * 10000 + x.minute * 100 + x.second, 15959);
    ck_assert_int_eq(offset, 3600);
    ck_assert_int_eq(x.weekday, 0);
    int64_t change, first, last;
    ck_assert(zone_next_change(z, utc("2026-01-01 00:00"), &change));
    ck_assert_int_eq(change, utc("2026-03-29 01:00"));
    ck_assert(zone_next_change(z, change, &change));
    ck_assert_int_eq(change, utc("2026-10-25 01:00"));
    ck_assert(zone_next_change(z, utc("2090-01-01 00:00"), &change));
    ck_assert(!zone_next_change(zone_of("UTC"), 0, &change));
    struct civil skipped = {.year = 2026, .month = 3, .day = 29, .hour = 2, .minute = 30};
    ck_assert_int_eq(zone_instant(z, &skipped, &first, &last), ZONE_SKIPPED);
    ck_assert_int_eq(first, utc("2026-03-29 01:00"));
    ck_assert_int_eq(last, utc("2026-03-29 01:30"));
    struct civil repeated = {.year = 2026, .month = 10, .day = 25, .hour = 2, .minute = 30};
    ck_assert_int_eq(zone_instant(z, &repeated, &first, &last), ZONE_REPEATED);
    ck_assert_int_eq(first, utc("2026-10-25 00:30"));
    ck_assert_int_eq(last, utc("2026-10-25 01:30"));
    struct civil plain = {.year = 2026, .month = 7, .day = 1};
    ck_assert_int_eq(zone_instant(z, &plain, &first, &last), ZONE_UNIQUE);
    ck_assert_int_eq(first, utc("2026-06-30 22:00"));
    zone_civil(z, -1, &x, &offset);
    ck_assert_int_eq(x.weekday, 4);
    ck_assert_int_eq(x.year, 1970);
}
END_TEST

/* All of it against the slowest reader there is: one that looks at every minute by itself. */
static bool slow_match(const struct cron *c, const struct civil *x)
{
    bool day = (c->day >> x->day & 1) != 0;
    bool weekday = (c->weekday >> x->weekday & 1) != 0;
    bool date = c->any_day ? weekday : c->any_weekday ? day : day || weekday;
    return date && (c->month >> x->month & 1) != 0 && (c->hour >> x->hour & 1) != 0 &&
           (c->minute >> x->minute & 1) != 0;
}

START_TEST(the_search_finds_what_a_look_at_every_minute_finds)
{
    static const char *const expressions[] = {
        "*/7 * * * *",    "0 */5 * * *",      "13 4,16 * * *", "0 0 */10 * *",  "59 23 31 * *",
        "0 0 1,15 * MON", "*/50 22-23 * 2 *", "1 1 * 3/3 2-4", "30 12 * * 6,0", "0 5 29 2 *",
    };
    const struct zone *z = zone_of("UTC");
    for (size_t i = 0; i < sizeof expressions / sizeof expressions[0]; i++) {
        struct cron c = parsed(expressions[i]);
        int64_t from = utc("2027-12-15 00:00"), next = from;
        ck_assert(cron_next(&c, z, from - 1, &next));
        for (int64_t at = from; at < from + 100 * 86400; at += 60) {
            struct civil x;
            int offset;
            zone_civil(z, at, &x, &offset);
            if (!slow_match(&c, &x))
                continue;
            ck_assert_msg(next == at, "%s: %lld, not %lld", expressions[i], (long long)next,
                          (long long)at);
            ck_assert(cron_next(&c, z, at, &next));
        }
        ck_assert(next >= from + 100 * 86400);
    }
}
END_TEST

Suite *cron_suite(void)
{
    Suite *s = suite_create("cron");
    TCase *t = tcase_create("cron");
    tcase_add_test(t, five_fields_begin_with_the_minute_and_six_with_the_second);
    tcase_add_test(t, fields_take_lists_ranges_steps_and_names_in_any_case);
    tcase_add_test(t, zero_and_seven_are_sunday);
    tcase_add_test(t, with_both_days_restricted_either_matches);
    tcase_add_test(t, nicknames_stand_for_expressions);
    tcase_add_test(t, leap_days_come_when_they_come);
    tcase_add_test(t, a_fixed_time_that_is_skipped_fires_at_the_change);
    tcase_add_test(t, a_fixed_time_that_is_repeated_fires_the_first_time);
    tcase_add_test(t, an_interval_goes_on_in_elapsed_time_when_the_clock_is_put_forward);
    tcase_add_test(t, an_interval_goes_on_in_elapsed_time_when_the_clock_is_put_back);
    tcase_add_test(t, next_fires_are_behind_the_instant_that_is_given);
    tcase_add_test(t, bad_schedules_are_refused_naming_the_field_and_what_is_allowed);
    tcase_add_test(t, zones_are_known_by_their_names_alone);
    tcase_add_test(t, zones_tell_local_times_and_their_changes);
    tcase_add_test(t, the_search_finds_what_a_look_at_every_minute_finds);
    suite_add_tcase(s, t);
    return s;
}
