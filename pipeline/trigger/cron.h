/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules. The sorted set hm:cron holds each schedule's next fire (ms); whoever finds one due by Redis's clock starts the run and sets the next fire in one step,
 * so one tick is one run, however many servers look and whatever their clocks say. */
#ifndef TRIGGER_CRON_H
#define TRIGGER_CRON_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

void cron_start(void); /* after claim_start */
void cron_configure(struct config *c);
void cron_stop(void);

/* [{"name","job","expression","timezone","misfire","overlap","enabled","next":["2026-11-21T09:00:00+01:00",...],"change" (the next change of the zone's
 * offset within the listed fires: {"at","from","to"}), "missed","last":{"run","at","state"}}], with n next fires each. job NULL: all. */
typedef void (*cron_json_fn)(void *arg, struct str json, const struct err *e);
void cron_list(const char *job, size_t n, cron_json_fn fn, void *arg);

#endif
