/* SPDX-License-Identifier: Apache-2.0 */
/* What a trigger's `when:` and `input:` say of an event. */
#ifndef TRIGGER_JUDGE_H
#define TRIGGER_JUDGE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

/* wanted: `when` lets it pass (or there is none); input: what `input` made of it (the event itself without `input`), borrowed.
 * With e: a filter failed. Then the event is to be recorded with the error's text and can be tried again later; ERR_UNAVAILABLE and
 * ERR_CANCELLED say that it was not the filter's fault. */
typedef void (*judge_fn)(void *arg, bool wanted, struct str input, const struct err *e);
/* when and input may be NULL; the event is copied. fn fires once, never inside the call. */
void judge(const char *when, const char *input, struct str event, judge_fn fn, void *arg);

#endif
