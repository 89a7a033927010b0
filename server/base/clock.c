/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void clock_rfc3339(struct buf *out, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(wall_us / 1000 % 1000));
}

static const struct {
    const char *name;
    int64_t ms;
} units[] = {
    {"ms", 1},          {"s", 1000},        {"m", 60000},        {"h", 3600000},
    {"d", 86400000},    {"w", 604800000},   {"millisecond", 1},  {"milliseconds", 1},
    {"second", 1000},   {"seconds", 1000},  {"sec", 1000},       {"minute", 60000},
    {"minutes", 60000}, {"min", 60000},     {"hour", 3600000},   {"hours", 3600000},
    {"day", 86400000},  {"days", 86400000}, {"week", 604800000}, {"weeks", 604800000},
};

bool clock_parse_duration(struct str s, int64_t *out_ms)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t number;
    if (digits > 12 || !str_u64((struct str){s.p, digits}, &number))
        return false;
    struct str unit = {s.p + digits, s.n - digits};
    if (unit.n != 0 && (unit.p[0] == '_' || unit.p[0] == ' ')) {
        unit.p++;
        unit.n--;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (!str_is(unit, units[i].name))
            continue;
        if (number > (uint64_t)(INT64_MAX / units[i].ms))
            return false;
        *out_ms = (int64_t)number * units[i].ms;
        return true;
    }
    return false;
}

void clock_format_duration(struct buf *out, int64_t ms)
{
    if (ms < 1000)
        buf_printf(out, "%lldms", (long long)ms);
    else if (ms % 1000 != 0)
        buf_printf(out, "%.1fs", (double)ms / 1000);
    else if (ms % 86400000 == 0)
        buf_printf(out, "%lldd", (long long)(ms / 86400000));
    else if (ms % 3600000 == 0)
        buf_printf(out, "%lldh", (long long)(ms / 3600000));
    else if (ms % 60000 == 0)
        buf_printf(out, "%lldm", (long long)(ms / 60000));
    else
        buf_printf(out, "%llds", (long long)(ms / 1000));
}
