/* SPDX-License-Identifier: Apache-2.0 */
/* What a run says about an alert. Pure. */
#ifndef WORK_ALERT_JUDGE_H
#define WORK_ALERT_JUDGE_H

#include "config/config.h"
#include "work/notice.h"

/* NOTHING: this run says neither that it goes wrong nor that it goes well. */
enum alert_verdict { ALERT_SAYS_NOTHING, ALERT_FIRES, ALERT_IS_FINE };

/* Does it take the output to say it? */
bool alert_needs_output(const struct alert *a, const struct notice_run *r);
/* why: one sentence, when it fires. */
enum alert_verdict alert_judge(const struct alert *a, const struct notice_run *r, struct buf *why);

#endif
