/* SPDX-License-Identifier: Apache-2.0 */
/* jq programs run in a child process of ours (`hookmesh filter-host`), which keeps them compiled, so that one that never ends or aborts costs one event and not
 * the server. The child is started with the first program and again when it died. */
#ifndef WORK_FILTER_H
#define WORK_FILTER_H

#include "base/buf.h"
#include "base/err.h"

/* out: the program's first output as JSON, empty when it gives none. ERR_UNPROCESSABLE: the program failed on this input, with jq's own words, or
 * needed too much memory; ERR_TIMEOUT: it took longer than the setting filter_timeout; ERR_UNAVAILABLE: no child, or too much waits.
 * Fires once, never inside the call. program and json are copied. */
typedef void (*filter_fn)(void *arg, struct str out, const struct err *e);
void filter_run(struct str program, struct str json, filter_fn fn, void *arg);

/* What a trigger's `when:` and `input:` (either may be NULL) say of an event, under the same conditions. wanted: `when` lets it pass. input: what `input` made of
 * the event; empty without an `input`. The error's text begins with the key that it is about. ERR_UNPROCESSABLE too when `input` gives nothing. */
typedef void (*filter_judge_fn)(void *arg, bool wanted, struct str input, const struct err *e);
void filter_judge(const char *when, const char *input, struct str event, filter_judge_fn fn,
                  void *arg);

/* Does a `when:` with this output let its event pass? Not with false, null, or no output. */
bool filter_passes(struct str out);

/* What waits fails with ERR_CANCELLED. work_stop calls it, and waits for the children. */
void filter_stop(void);

int filter_host_main(int argc, char **argv); /* the child */

#endif
