/* SPDX-License-Identifier: Apache-2.0 */
/* Key names, patterns and templates. A key is dotted tokens, "pipeline.doc-001.raw"; in a pattern `*` stands for
 * exactly one token and a last `>` for one or more; in a template {1} {2} ... stand for what the first, second `*` (or the `>`)
 * matched, {run} for the run's id. Redis's own globbing is not enough: its `*` crosses dots. */
#ifndef CORE_PATTERN_H
#define CORE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { PATTERN_WILDS = 8 };

struct pattern_match {
    struct str wild[PATTERN_WILDS]; /* slices of the key */
    size_t n;
};

/* A key's name: 1..max bytes of UTF-8 without control characters and space, tokens not empty, no `*` and `>` in it. */
bool key_check(struct str key, size_t max, struct err *e) MUST_CHECK;
bool pattern_check(struct str pattern, size_t max, struct err *e) MUST_CHECK;
bool pattern_matches(struct str pattern, struct str key,
                     struct pattern_match *m); /* m may be NULL */
/* May some key match both? For references over all stages. */
bool pattern_overlaps(struct str a, struct str b);
/* false: a number without a match, or an unclosed brace. run may be empty when the template has no {run}. */
bool template_fill(struct buf *out, struct str tmpl, const struct pattern_match *m,
                   struct str run) MUST_CHECK;
/* The smallest Redis glob that covers the pattern (special characters escaped): for SCAN and PSUBSCRIBE. */
void pattern_glob(struct buf *out, struct str pattern);

#endif
