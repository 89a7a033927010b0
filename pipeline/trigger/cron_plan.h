/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of the ticks of one schedule that are due: which are started, which come too late and are recorded as missed. Pure. */
#ifndef TRIGGER_CRON_PLAN_H
#define TRIGGER_CRON_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cron.h"
#include "config/config.h"

struct cron_rules {
    enum misfire misfire;
    int64_t misfire_max; /* for MISFIRE_ALL */
    int64_t grace_ms;    /* later than this: missed */
    int64_t records;     /* missed ticks that get a record of their own; those before share one */
};

struct cron_tick {
    int64_t at_s;
    int64_t until_s; /* of the last tick that it stands for */
    int64_t n;       /* how many it stands for */
    bool missed;
    bool start; /* else it is recorded as skipped */
};

struct cron_plan {
    struct cron_tick *ticks; /* in order */
    size_t n;
    int64_t next_s; /* the fire behind them; it may be due as well */
    int64_t looked; /* how many ticks were counted: the cost */
};

/* due_ms: what stands in Redis. It need not be a tick of the schedule: then its first one behind it counts. */
void cron_plan_make(struct cron_plan *p, const struct cron *c, const struct zone *z,
                    const struct cron_rules *r, int64_t due_ms, int64_t now_ms);
void cron_plan_finish(struct cron_plan *p);

#endif
