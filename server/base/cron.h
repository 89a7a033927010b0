/* SPDX-License-Identifier: Apache-2.0 */
/* Cron expressions: five fields (minute hour day-of-month month day-of-week) or six (second first), as Vixie cron reads them, and nicknames.
 *
 * A field is *, numbers, names of months and days in any case, ranges (of names also round the end: FRI-MON), lists, steps (also 0/15, from there on). 0 and 7 are
 * Sunday. Both days restricted: either matches; only * and ? restrict nothing. Where the clock is put forward, a fixed time that is skipped fires at the change;
 * where it is put back, a fixed time fires once, the first time. With all hours or a step in the hour field it is an interval, which keeps its length in
 * elapsed time: what is skipped comes all the same, and what is repeated comes in both passes. Pure: the caller says from when. */
#ifndef BASE_CRON_H
#define BASE_CRON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/zone.h"

struct cron {
    uint64_t second, minute, hour, day, month, weekday; /* bit n: n matches */
    bool any_day, any_weekday; /* written as *: only the other one restricts */
    bool interval;             /* keeps its interval where the clock changes */
};

/* ERR_CONFIG naming the field; also for what never fires (30 February). */
bool cron_parse(struct str expression, struct cron *out, struct err *e) MUST_CHECK;
/* The first fire behind after_s (seconds since 1970). false: behind the year 9999. */
bool cron_next(const struct cron *c, const struct zone *z, int64_t after_s, int64_t *out_s);

#endif
