/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes may stand in a spool file. Reading ends, moves forward only, and what it takes for a record is written again as the same
 * bytes. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "trigger/spool_frame.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct str bytes = {(const char *)data, size};
    struct spool_record r;
    size_t at = 0;
    for (;;) {
        size_t from = at;
        enum spool_frame frame = spool_frame_read(bytes, &at, &r);
        if (frame == SPOOL_END || frame == SPOOL_TORN) {
            must(at == from && (frame == SPOOL_TORN || at == size));
            return 0;
        }
        must(at > from && at <= size);
        if (frame == SPOOL_DAMAGED)
            continue;
        struct buf again = {0};
        spool_frame_write(&again, &r);
        /* The form before had one text less. Flags of a later version are the one thing that isn't kept, and they change the sums. */
        bool old = data[from + 16] == 1;
        must(again.n == at - from + (old ? 4 : 0));
        bool plain = !old && (data[from + 17] & ~1) == 0;
        must(!plain || memcmp(again.p, data + from, again.n) == 0);
        buf_finish(&again);
    }
}
