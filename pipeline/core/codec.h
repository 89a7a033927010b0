/* SPDX-License-Identifier: Apache-2.0 */
/* How a value stands in Redis: a 64-bit sum (XXH3), by which writes of other clients are noticed, and, for large webhook bodies, compression (zstd or lz4).
 *
 * The sum is of the stored bytes. encoding is "" or a letter with the size before: "z7712" (zstd), "l7712" (lz4 block). */
#ifndef CORE_CODEC_H
#define CORE_CODEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { CODEC_SUM = 17, CODEC_NAME = 24 }; /* with the NUL */

void codec_sum(char out[CODEC_SUM], struct str stored);
/* Compresses value into out and names the encoding; false (out and name empty): not worth it, store the value itself. */
bool codec_encode(struct buf *out, char name[CODEC_NAME], struct str value, const char *method);
/* false: damaged, or an encoding that this version does not know. */
bool codec_decode(struct buf *out, struct str stored, struct str encoding);

/* The parts of meta, "sum:version:seq:encoding"; all empty when it is absent. */
struct codec_meta {
    struct str sum;
    struct str version;
    struct str encoding;
};
struct codec_meta codec_meta(struct str meta);
size_t codec_size(struct str encoding, size_t stored); /* size of the value itself */

#endif
