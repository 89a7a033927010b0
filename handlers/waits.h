/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for the end of a run. All share one reader of the event log, which exists only while somebody waits; nobody asks
 * Redis again and again. */
#ifndef HANDLERS_WAITS_H
#define HANDLERS_WAITS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct wait;
/* json: the run with its output (handlers/result.h); {NULL,0} without an error: the time is over, or the server stops. Fires once, not after wait_end. */
typedef void (*wait_fn)(void *arg, struct str json, const struct err *e);
struct wait *wait_run(struct str run, int64_t ms, wait_fn fn, void *arg);
void wait_end(struct wait *w); /* before it fired; NULL is fine */
void waits_stop(void);         /* all that wait are told that the time is over */

#endif
