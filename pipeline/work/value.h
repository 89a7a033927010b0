/* SPDX-License-Identifier: Apache-2.0 */
/* A step's input as work gets it, and its output as work gives it. */
#ifndef WORK_VALUE_H
#define WORK_VALUE_H

#include "base/buf.h"
#include "base/err.h"
#include "core/claim.h"

/* Appends the input: the value alone; {"value":...,"also":[...]} when the stage has `also`; {"name":...} when it has input_names (null: not
 * there). For an agent that stands in {"agent","task","input","run"}, with "system_prompt" if it has one, and "hookmesh":{"url","token"} if it may start jobs
 * and has no environment of its own for that. one_line: without line breaks.
 * Fails when a value is no JSON, naming its key. */
bool value_input(struct buf *out, const struct claim *c, bool one_line, struct err *e) MUST_CHECK;

/* Is the input more than the value and its `also`, so that work which gets those apart must be given it whole? */
bool value_is_wrapped(const struct stage *s);

/* Is output one JSON value (or empty, if the stage writes none)? *output is trimmed. who begins the error's text: "the command". The text shows how the
 * output begins. */
bool value_output(struct str *output, const struct stage *s, const char *who,
                  struct err *e) MUST_CHECK;

/* The one member of {"error": "text"}, or {NULL,0}; valid until the next call of value_*. */
struct str value_error(struct str output);

/* The stage's limit, or the setting step_timeout. */
int64_t value_timeout_ms(const struct stage *s);
/* ... and the time that it may take to be killed. */
int64_t value_work_ms(const struct stage *s);

void value_finish(void); /* at the end of the process */

#endif
