/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a read delivery into Redis or, while that is away, to the disk. */
#ifndef TRIGGER_SUBMIT_H
#define TRIGGER_SUBMIT_H

#include "base/err.h"
#include "core/run.h"
#include "trigger/webhook.h"

enum submit_outcome { SUBMIT_ACCEPTED, SUBMIT_DUPLICATE, SUBMIT_SPOOLED };
/* run: the run that was made or will be, or the one that the delivery repeats. e: it is not stored (ERR_UNAVAILABLE and the like). */
typedef void (*submit_fn)(struct webhook *w, enum submit_outcome outcome, struct str run,
                          const struct err *e);
/* After webhook_read. fn fires once, when Redis or the disk holds it; w stays the caller's. */
void submit(struct webhook *w, submit_fn fn);

/* What the job that a delivery starts says of it, and under which name it happens once. Strings live in text. */
void submit_gate(struct start *in, struct buf *text);

void submit_finish(void); /* at the end of the process */

#endif
