/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a spool file: records one behind the other, nothing in front of them.
 *
 *     FF 'H' 'M' FE       mark; holds bytes that no UTF-8 text has, and all text in a record is UTF-8
 *     u32 length          of the payload
 *     u32 checksum        CRC-32 (IEEE 802.3) of the payload
 *     u32 head checksum   CRC-32 of the twelve bytes before it
 *     payload             u8 form (2), u8 flags (1: replay), i64 received_ms, i64 size,
 *                         then ten texts in the order of struct spool_record, each u32 length and bytes;
 *                         form 1 has the first nine
 *
 * Numbers are little-endian. A file that was being written when the power went ends in the middle of a record: that is
 * torn, and nobody was told that it is stored. Damage before the last record is something else: what stands behind it is found again
 * by the mark. Pure: no I/O here. */
#ifndef TRIGGER_SPOOL_FRAME_H
#define TRIGGER_SPOOL_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct spool_record {
    struct str delivery_id;
    struct str run_id;
    struct str hook;     /* path */
    struct str pipeline; /* may be empty */
    struct str external_id;
    struct str event;
    struct str key;
    struct str value;
    struct str summary;
    struct str origin; /* what value was made from; empty: it is as it came */
    int64_t received_ms;
    int64_t size;
    bool replay;
};

void spool_frame_write(struct buf *out, const struct spool_record *r);

enum spool_frame {
    SPOOL_RECORD,  /* *r is filled (slices of bytes), *at stands behind it */
    SPOOL_END,     /* *at was the end */
    SPOOL_TORN,    /* from *at on there is no whole record any more */
    SPOOL_DAMAGED, /* *at has moved over bytes that mean nothing to us; go on */
};
enum spool_frame spool_frame_read(struct str bytes, size_t *at, struct spool_record *r);

#endif
