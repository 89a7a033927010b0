/* SPDX-License-Identifier: Apache-2.0 */
/* jq programs (libjq 1.6): checking one at load, and running it.
 *
 * libjq cannot be interrupted, aborts the process on some programs, and reads files and the environment. So modules, $ENV, env, input, inputs and
 * the like are refused here by their names, and programs are compiled in a forked child and run in a child process alone (work/filter.h). */
#ifndef BASE_FILTER_H
#define BASE_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Is it a jq program that we run? ERR_CONFIG says what is wrong with it, *at where in the program (bytes from its beginning). 
 * Some milliseconds, but for a program that was checked before. */
bool filter_check(struct str program, size_t *at, struct err *e) MUST_CHECK;

/* The first half of it, which libjq has no part in: its tokens and its names. */
bool filter_look(struct str program, size_t *at, struct err *e) MUST_CHECK;

/* The child's side: a compiled program, run over an input. out: its first output as JSON; empty when it gives none. */
struct filter;
struct filter_input;
struct filter *filter_new(struct str program, struct err *e);
struct filter_input *filter_input_new(struct str json,
                                      struct err *e); /* NULL: libjq cannot read it */
bool filter_apply(struct filter *f, const struct filter_input *in, struct buf *out,
                  struct err *e) MUST_CHECK;
void filter_input_free(struct filter_input *in);
void filter_free(struct filter *f);
/* For such a process, before all that: no ~/.jq, no core, and so many bytes of memory more than it has now. */
void filter_confine(size_t memory);
void filter_on_no_memory(void (*fn)(void)); /* fn must end the process */

void filter_finish(void); /* at the end of the process */

#endif
