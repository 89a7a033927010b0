/* SPDX-License-Identifier: Apache-2.0 */
/* The conditions of alerts, as people write them:
 *
 *     job_failed                    a run failed after its last attempt
 *     duration > 5m                 a run takes longer; told while it runs
 *     output.items == 0             == != < <= > >= and a JSON value; a list or object counts as its length beside a number
 *     missing RESULT                a run ended without a result;  missing output.path: without this part of it
 *     missed_tick                   a schedule's tick was missed
 *
 * Pure text: nothing here knows of runs. */
#ifndef CONFIG_ALERT_H
#define CONFIG_ALERT_H

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

/* Fills kind, condition, over_ms, path (".items", "" for the output itself), op and value of *out, which owns them; the rest stays as it is. ERR_CONFIG
 * says what is wrong and how it is written; then nothing is filled. */
bool alert_parse(struct str text, struct alert *out, struct err *e) MUST_CHECK;
/* The ends of runs (enum after) that an alert must hear of: it recovers at some. AFTER_OPEN: it is told while a run takes too long. */
unsigned alert_after(enum alert_kind kind);
/* Frees what alert_parse filled. */
void alert_finish(struct alert *a);

#endif
