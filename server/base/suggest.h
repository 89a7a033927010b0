/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the nearest of a list of names to a misspelt word. */
#ifndef BASE_SUGGEST_H
#define BASE_SUGGEST_H

#include "base/buf.h"

/* names: NULL behind the last; may be NULL itself. The nearest one (insertions, deletions, substitutions and swaps of
 * neighbours count 1 each), or NULL when none is near enough to be meant. */
const char *suggest(struct str word, const char *const *names);

#endif
