/* SPDX-License-Identifier: Apache-2.0 */
/* A field is a set of bits, so the next fire is found by scanning bits from the year down to the second, never by stepping through time: the
 * first civil time that matches, turned into an instant once.
 *
 * Civil time is not time, and a schedule means one of two things by it. "At 02:30" means an hour of the day: it happens once on every day, also
 * when the clock jumps over it (then at the jump) or shows it twice (then the first time). "Every 15 minutes" means an interval: it goes by the
 * clock, in both passes of what is shown twice; and where the clock jumps, for as long as the jump by the clock as it was before as well, so that what
 * is jumped over still comes when it would have come. A full or stepped hour field tells the two apart. */
#include "base/cron.h"

#include <string.h>

enum {
    TEXT_MAX = 512,
    YEARS = 40, /* 29 February is 8 years away at most, and no field knows years */
    BOTH_CLOCKS_MAX =
        3 * 3600, /* shifts of the zone are at most this, but for changes of the calendar */
};
static const int64_t FAR_S = INT64_C(253370764800); /* the year 9999: all dates have four digits */

struct field {
    const char *name;
    const char *allowed;
    unsigned min;
    unsigned max;
    unsigned count;           /* of different values */
    const char *const *names; /* of the values from min on */
};

static const char *const month_names[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                          "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const day_names[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

enum { SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY, FIELDS };
static const struct field fields[FIELDS] = {
    {"second", "0-59", 0, 59, 60, NULL},
    {"minute", "0-59", 0, 59, 60, NULL},
    {"hour", "0-23", 0, 23, 24, NULL},
    {"day of the month", "1-31", 1, 31, 31, NULL},
    {"month", "1-12 or JAN-DEC", 1, 12, 12, month_names},
    {"day of the week", "0-7 or SUN-SAT (0 and 7 are Sunday)", 0, 7, 7, day_names},
};

static const struct {
    const char *name;
    const char *expression;
} nicknames[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};
#define NICKNAMES "@hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually"

/* What a message shows of bytes from outside. */
struct shown {
    char text[40];
};

static const char *show(struct shown *out, struct str s)
{
    size_t n = s.n < sizeof out->text - 1 ? s.n : sizeof out->text - 1;
    for (size_t i = 0; i < n; i++)
        out->text[i] = s.p[i] >= ' ' && s.p[i] <= '~' ? s.p[i] : '?';
    out->text[n] = '\0';
    return out->text;
}

static bool bad(struct err *e, const struct field *f, struct str item, const char *why)
{
    struct shown shown;
    return err_fail(e, ERR_CONFIG,
                    "%s \"%s\": %s; allowed are %s, *, lists such as 1,3, ranges such as 1-5 and "
                    "steps such as */2",
                    f->name, show(&shown, item), why, f->allowed);
}

/* A number or a name of the field. */
static bool read_value(const struct field *f, struct str s, unsigned *out, bool *named)
{
    *named = false;
    for (unsigned i = 0; f->names != NULL && f->names[i] != NULL; i++) {
        if (str_is_icase(s, f->names[i])) {
            *out = f->min + i;
            *named = true;
            return true;
        }
    }
    uint64_t number;
    if (!str_u64(s, &number) || number < f->min || number > f->max)
        return false;
    *out = (unsigned)number;
    return true;
}

/* from..to in steps; to may lie behind the end of the field when names go round (FRI-MON). */
static uint64_t bits(const struct field *f, unsigned from, unsigned to, unsigned step)
{
    uint64_t set = 0;
    for (unsigned v = from; v <= to; v += step)
        set |= UINT64_C(1) << ((v - f->min) % f->count + f->min);
    return set;
}

static bool read_range(const struct field *f, struct str item, struct str s, unsigned *from,
                       unsigned *to, struct err *e)
{
    bool first_named, last_named;
    struct str rest = s;
    struct str first = str_split(&rest, '-');
    if (!read_value(f, first, from, &first_named))
        return bad(e, f, item, "not a value of this field");
    *to = *from;
    if (rest.p == NULL)
        return true;
    if (!read_value(f, rest, to, &last_named))
        return bad(e, f, item, "not a range of this field");
    if (*to < *from && (first_named || last_named))
        *to += f->count;
    if (*to < *from)
        return bad(e, f, item, "the range runs backwards");
    return true;
}

static bool read_item(const struct field *f, struct str item, uint64_t *set, bool *stepped,
                      struct err *e)
{
    unsigned from = f->min;
    unsigned last = f->min + f->count - 1;
    unsigned to = last;
    uint64_t step = 1;
    struct str rest = item;
    struct str range = str_split(&rest, '/');
    bool is_day = f == &fields[DAY] || f == &fields[WEEKDAY];
    bool all = str_is(range, "*") || (is_day && str_is(range, "?"));
    if (item.n == 0)
        return bad(e, f, item, "an item of the list is empty");
    if (!all && !read_range(f, item, range, &from, &to, e))
        return false;
    if (rest.p != NULL) {
        if (!str_u64(rest, &step) || step == 0 || step > f->count)
            return bad(e, f, item, "a step is at least 1 and at most the whole field");
        *stepped = true;
        if (!all && memchr(range.p, '-', range.n) == NULL && to < last)
            to = last;
    }
    *set |= bits(f, from, to, (unsigned)step);
    return true;
}

/* any: it was written as all values. */
static bool read_field(const struct field *f, struct str s, uint64_t *set, bool *any, bool *stepped,
                       struct err *e)
{
    struct str rest = s;
    *set = 0;
    *stepped = false;
    while (rest.p != NULL) {
        if (!read_item(f, str_split(&rest, ','), set, stepped, e))
            return false;
    }
    *any = (str_starts(s, "*") || str_starts(s, "?")) &&
           *set == bits(f, f->min, f->min + f->count - 1, 1);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* How many words there are; the first FIELDS of them. */
static size_t split_words(struct str s, struct str *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        size_t from = i;
        while (i < s.n && !is_space(s.p[i]))
            i++;
        if (i > from && n++ < FIELDS)
            out[n - 1] = (struct str){s.p + from, i - from};
        while (i < s.n && is_space(s.p[i]))
            i++;
    }
    return n;
}

static int month_days(int year, int month)
{
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (month == 2)
        return leap ? 29 : 28;
    return 30 + ((month + (month > 7)) & 1); /* 31 and 30 in turn, with two of 31 in summer */
}

/* 30 February and the like: the other fields have a value in every day. */
static bool fires(const struct cron *c)
{
    if (c->any_day || !c->any_weekday)
        return true;
    for (int month = 1; month <= 12; month++) {
        uint64_t days = (UINT64_C(2) << month_days(2000, month)) - 1;
        if ((c->month >> month & 1) != 0 && (c->day & days) != 0)
            return true;
    }
    return false;
}

static bool nickname(struct str s, struct str *out, struct err *e)
{
    struct shown shown;
    for (size_t i = 0; i < sizeof nicknames / sizeof nicknames[0]; i++) {
        if (str_is_icase(s, nicknames[i].name)) {
            *out = str_of(nicknames[i].expression);
            return true;
        }
    }
    return err_fail(e, ERR_CONFIG, "\"%s\" is no schedule; there are " NICKNAMES, show(&shown, s));
}

bool cron_parse(struct str expression, struct cron *out, struct err *e)
{
    struct str s = str_trim(expression);
    struct str words[FIELDS + 1];
    if (s.n != 0 && s.p[0] == '@' && !nickname(s, &s, e))
        return false;
    size_t n = s.n <= TEXT_MAX ? split_words(s, words + 1) : 0;
    if (n == FIELDS)
        n = split_words(s, words);
    else
        words[SECOND] = STR("0");
    if (s.n > TEXT_MAX)
        return err_fail(e, ERR_CONFIG, "the schedule has more than %d characters", TEXT_MAX);
    if (n != FIELDS && n != FIELDS - 1)
        return err_fail(e, ERR_CONFIG,
                        "a schedule has 5 fields (minute, hour, day of the month, month, day of "
                        "the week) or 6 (second first), this one has %zu; or it is " NICKNAMES,
                        n);
    struct cron c = {0};
    uint64_t *sets[FIELDS] = {&c.second, &c.minute, &c.hour, &c.day, &c.month, &c.weekday};
    bool any[FIELDS], stepped[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        if (!read_field(&fields[i], words[i], sets[i], &any[i], &stepped[i], e))
            return false;
    }
    c.any_day = any[DAY];
    c.any_weekday = any[WEEKDAY];
    c.interval = stepped[HOUR] || c.hour == bits(&fields[HOUR], 0, 23, 1);
    if (!fires(&c))
        return err_fail(e, ERR_CONFIG,
                        "this never fires: none of its months has that day of the month");
    *out = c;
    return true;
}

/* Civil dates as numbers of days since 1970; years count from March here, so that the leap day is the last one. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2 ? 1 : 0);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t seconds_of(const struct civil *x)
{
    return days_of(x->year, x->month, x->day) * 86400 + x->hour * 3600 + x->minute * 60 + x->second;
}

static uint64_t matching_days(const struct cron *c, int year, int month)
{
    uint64_t all = (UINT64_C(2) << month_days(year, month)) - 2;
    if (c->any_weekday)
        return c->any_day ? all : c->day & all;
    int64_t first = (days_of(year, month, 1) % 7 + 11) % 7; /* its day of the week */
    uint64_t week = (c->weekday | c->weekday << 7) >> first & 0x7F;
    uint64_t days = (week | week << 7 | week << 14 | week << 21 | week << 28) << 1;
    return (c->any_day ? days : c->day | days) & all;
}

/* The lowest bit of set from `from` on, which is at most 63; -1: none. */
static int next_bit(uint64_t set, int from)
{
    set = set >> from << from;
    return set == 0 ? -1 : __builtin_ctzll(set);
}

/* Moves the time of day on to the first that matches; false: none is left today. The second may be 60. */
static bool match_time(const struct cron *c, struct civil *x)
{
    int second = -1, minute = -1;
    int hour = next_bit(c->hour, x->hour);
    if (hour == x->hour) {
        minute = next_bit(c->minute, x->minute);
        if (minute == x->minute)
            second = next_bit(c->second, x->second);
        if (minute == x->minute && second < 0)
            minute = next_bit(c->minute, x->minute + 1);
        if (minute < 0)
            hour = next_bit(c->hour, x->hour + 1);
    }
    if (hour < 0)
        return false;
    x->second = second >= 0 ? second : next_bit(c->second, 0);
    x->minute = minute >= 0 ? minute : next_bit(c->minute, 0);
    x->hour = hour;
    return true;
}

/* Moves x on to the first civil time from there on that matches. */
static bool match(const struct cron *c, struct civil *x)
{
    uint64_t days = (c->month >> x->month & 1) != 0 ? matching_days(c, x->year, x->month) : 0;
    if ((days >> x->day & 1) != 0 && match_time(c, x))
        return true;
    x->hour = x->minute = x->second = 0;
    (void)match_time(c, x);
    int day = next_bit(days, x->day + 1);
    int until = x->year + YEARS;
    while (day < 0) {
        int month = next_bit(c->month, x->month + 1);
        if (month < 0 && x->year++ == until)
            return false;
        x->month = month >= 0 ? month : next_bit(c->month, 1);
        day = next_bit(matching_days(c, x->year, x->month), 1);
    }
    x->day = day;
    return true;
}

/* Civil times go up, and so do the instants at which they fire. */
static bool next_fixed(const struct cron *c, const struct zone *z, int64_t after_s, int64_t *out_s)
{
    struct civil x;
    int offset;
    zone_civil(z, after_s, &x, &offset);
    for (;;) {
        int64_t first, last, change;
        x.second++;
        if (!match(c, &x))
            return false;
        enum zone_kind kind = zone_instant(z, &x, &first, &last);
        if (first > after_s) {
            *out_s = first;
            return true;
        }
        /* We stand in the second pass of a repeated time, and it fired in the first: go on behind it. */
        if (kind == ZONE_REPEATED && zone_next_change(z, first, &change))
            zone_civil(z, change - 1, &x, &offset);
    }
}

/* The first match from at_s on by a clock with this offset. */
static bool next_by_offset(const struct cron *c, int64_t at_s, int offset, int64_t *out_s)
{
    struct civil x;
    int utc;
    zone_civil(zone_find(NULL, NULL), at_s + offset, &x, &utc);
    if (!match(c, &x))
        return false;
    *out_s = seconds_of(&x) - offset;
    return true;
}

/* Does the clock of before count as well, for as long as the shift? Where it was put back, the second pass brings every hourly match again, but for
 * a shift that is not of whole hours. */
static bool old_clock_counts(const struct cron *c, int before, int after)
{
    bool every_hour = c->hour == bits(&fields[HOUR], 0, 23, 1);
    return after > before || (every_hour && (before - after) % 3600 != 0);
}

/* Just behind a change at change_s: a match by the clock of before. */
static bool next_by_old_clock(const struct cron *c, const struct zone *z, int64_t change_s,
                              int64_t at_s, int64_t *out_s)
{
    struct civil x;
    int before, after;
    zone_civil(z, change_s - 1, &x, &before);
    zone_civil(z, change_s, &x, &after);
    int64_t until = change_s + (after > before ? after - before : before - after);
    return until - change_s <= BOTH_CLOCKS_MAX && old_clock_counts(c, before, after) &&
           next_by_offset(c, at_s, before, out_s) && *out_s < until;
}

/* From change to change of the zone's offset, in most cases within the first. */
static bool next_interval(const struct cron *c, const struct zone *z, int64_t after_s,
                          int64_t *out_s)
{
    int64_t at_s = after_s + 1;
    for (;;) {
        struct civil x;
        int offset;
        int64_t change, old = INT64_MAX;
        zone_civil(z, at_s, &x, &offset);
        if (!match(c, &x))
            return false;
        *out_s = seconds_of(&x) - offset;
        bool changes = zone_next_change(z, at_s - 1 - BOTH_CLOCKS_MAX, &change);
        if (changes && change <= at_s) {
            if (next_by_old_clock(c, z, change, at_s, &old) && old < *out_s)
                *out_s = old;
            changes = zone_next_change(z, at_s, &change);
        }
        if (!changes || *out_s < change)
            return true;
        at_s = change;
    }
}

bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, int64_t *out_s)
{
    if (after_s > FAR_S || after_s < -FAR_S)
        return false;
    return c->interval ? next_interval(c, z, after_s, out_s) : next_fixed(c, z, after_s, out_s);
}
