/* SPDX-License-Identifier: Apache-2.0 */
/* Webhook bodies are JSON with much repetition; what limits ingest is how many bytes Redis has to log, so a body is compressed once, when
 * it comes in. Small values stay as they are: any client can read them. */
#include "core/codec.h"

#include <lz4.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/err.h"

enum { ZSTD_LEVEL = -1, VALUE_LIMIT = 1 << 30 };

void codec_sum(char out[CODEC_SUM], struct str stored)
{
    static const char digits[] = "0123456789abcdef";
    XXH64_hash_t h = XXH3_64bits(stored.p, stored.n);
    for (int i = 15; i >= 0; i--) {
        out[i] = digits[h & 15];
        h >>= 4;
    }
    out[16] = '\0';
}

bool codec_encode(struct buf *out, char name[CODEC_NAME], struct str value, const char *method)
{
    static ZSTD_CCtx *context;
    name[0] = '\0';
    buf_clear(out);
    if (value.n > VALUE_LIMIT)
        return false;
    size_t n = 0;
    char letter = method[0];
    if (letter == 'z') {
        if (context == NULL)
            must((context = ZSTD_createCCtx()) != NULL);
        size_t bound = ZSTD_compressBound(value.n);
        buf_reserve(out, bound);
        n = ZSTD_compressCCtx(context, out->p, bound, value.p, value.n, ZSTD_LEVEL);
        if (ZSTD_isError(n))
            n = 0;
    } else if (letter == 'l') {
        int bound = LZ4_compressBound((int)value.n);
        buf_reserve(out, (size_t)bound);
        int got = LZ4_compress_default(value.p, out->p, (int)value.n, bound);
        n = got > 0 ? (size_t)got : 0;
    }
    if (n == 0 || n > value.n - value.n / 8)
        return false;
    out->n = n;
    out->p[n] = '\0';
    snprintf(name, CODEC_NAME, "%c%zu", letter, value.n);
    return true;
}

static bool decoded_size(struct str encoding, size_t *n)
{
    uint64_t size;
    if (encoding.n < 2 || !str_u64((struct str){encoding.p + 1, encoding.n - 1}, &size) ||
        size > VALUE_LIMIT)
        return false;
    *n = size;
    return true;
}

bool codec_decode(struct buf *out, struct str stored, struct str encoding)
{
    size_t n;
    if (encoding.n == 0) {
        buf_str(out, stored);
        return true;
    }
    if (!decoded_size(encoding, &n))
        return false;
    buf_reserve(out, n);
    char *to = out->p + out->n;
    bool good = false;
    if (encoding.p[0] == 'z')
        good = ZSTD_decompress(to, n, stored.p, stored.n) == n;
    else if (encoding.p[0] == 'l' && stored.n <= VALUE_LIMIT)
        good = LZ4_decompress_safe(stored.p, to, (int)stored.n, (int)n) == (int)n;
    if (good)
        out->n += n;
    out->p[out->n] = '\0';
    return good;
}

struct codec_meta codec_meta(struct str meta)
{
    struct codec_meta m = {0};
    struct str rest = meta;
    if (meta.n == 0)
        return m;
    m.sum = str_split(&rest, ':');
    m.version = str_split(&rest, ':');
    str_split(&rest, ':');
    m.encoding = rest;
    return m;
}

size_t codec_size(struct str encoding, size_t stored)
{
    size_t n;
    return decoded_size(encoding, &n) ? n : stored;
}
