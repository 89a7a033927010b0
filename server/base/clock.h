/* SPDX-License-Identifier: Apache-2.0 */
/* Time. Logic takes `now` as a parameter; only the edges ask the clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

int64_t clock_wall_us(void);                          /* since 1970, UTC */
int64_t clock_mono_us(void);                          /* for durations */
void clock_rfc3339(struct buf *out, int64_t wall_us); /* "2026-11-20T09:00:00.123Z" */

/* A duration as configurations write it: 500ms, 300s, 5m, 2h, 7d, 15_minutes, 3_seconds, ... A
 * bare number is refused, because nobody can know its unit. */
bool clock_parse_duration(struct str s, int64_t *out_ms);
void clock_format_duration(struct buf *out, int64_t ms); /* "1.5s", "5m", "7d" */

#endif
