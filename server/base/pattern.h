/* SPDX-License-Identifier: Apache-2.0 */
/* Key names, patterns and templates. A key is dotted tokens, "pipeline.doc-001.raw"; in a pattern
 * `*` stands for exactly one token and a last `>` for one or more; in a template {1} {2} ... stand for what
 * the first, second wildcard matched, {run} for the run's id. Redis's own globbing is not enough: its `*`
 * crosses dots. Pure text: nothing here knows of Redis. */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { PATTERN_WILDS = 8 };

struct pattern_match {
    struct str wild[PATTERN_WILDS]; /* slices of the key */
    size_t n;
};

/* A key's name: 1..max bytes of UTF-8 without control characters and spaces, tokens not empty, no `*`
 * and `>` in it. All checks fail with ERR_BAD_INPUT. */
bool key_check(struct str key, size_t max, struct err *e) MUST_CHECK;
/* Like a key, but whole tokens may be `*`, and the last one `>`; at most PATTERN_WILDS of them. */
bool pattern_check(struct str pattern, size_t max, struct err *e) MUST_CHECK;
bool pattern_matches(struct str pattern, struct str key,
                     struct pattern_match *m); /* m may be NULL */
size_t pattern_wilds(struct str pattern);
/* May some key match both? For references over all stages. */
bool pattern_overlaps(struct str a, struct str b);
/* The smallest Redis glob that covers the pattern (special characters escaped): for SCAN and PSUBSCRIBE. */
void pattern_glob(struct buf *out, struct str pattern);

/* Like a key, but with {1}..{wilds}, and {run} where run is true, anywhere in it. */
bool template_check(struct str tmpl, size_t wilds, bool run, size_t max, struct err *e) MUST_CHECK;
/* false: a number without a match, {run} without a run, an unknown name, or an unclosed brace; out is then as it was. */
bool template_fill(struct buf *out, struct str tmpl, const struct pattern_match *m,
                   struct str run) MUST_CHECK;
/* May the template, filled from a key that matches watch, give a key that matches pattern? */
bool template_overlaps(struct str tmpl, struct str watch, struct str pattern);

#endif
