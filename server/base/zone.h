/* SPDX-License-Identifier: Apache-2.0 */
/* Time zones of the IANA database (cctz): from an instant to the local civil time and back, with what happens where the clock changes. */
#ifndef BASE_ZONE_H
#define BASE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct zone; /* kept for the life of the process, shared; never freed */

/* "Europe/Berlin", "UTC". NULL with e (ERR_CONFIG) when there is no such zone; offsets such as "+02:00" are none. name NULL: UTC. */
const struct zone *zone_find(const char *name, struct err *e);

struct civil {                                  /* local time; the Gregorian calendar */
    int year, month, day, hour, minute, second; /* month and day from 1 */
    int weekday;                                /* 0: Sunday */
};
/* Seconds since 1970, and the offset from UTC in seconds that holds then. */
void zone_civil(const struct zone *z, int64_t at_s, struct civil *out, int *offset_s);

enum zone_kind { ZONE_UNIQUE, ZONE_SKIPPED, ZONE_REPEATED };
/* The instant of a local time (weekday is not looked at). ZONE_SKIPPED: *first is the instant of the change, which the local time would have come after, *last
 * is the local time as counted by the offset before the change. ZONE_REPEATED: the first and the last of the two. */
enum zone_kind zone_instant(const struct zone *z, const struct civil *c, int64_t *first,
                            int64_t *last);
/* The next instant behind at_s at which the offset changes; false: none. */
bool zone_next_change(const struct zone *z, int64_t at_s, int64_t *out_s);

/* "2026-03-29T03:00:00+02:00" */
void zone_rfc3339(struct buf *out, const struct zone *z, int64_t at_s);

#endif
