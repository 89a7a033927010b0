/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as WebSocket frames: the verdict and the place of the first bad frame don't depend on how they come in pieces. */
#include "base/err.h"
#include "net/wsguard.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { MAX_MESSAGE = 300 };

static int feed(const unsigned char *p, size_t n, size_t piece, size_t *good)
{
    struct wsguard g = {0};
    *good = 0;
    for (size_t at = 0; at < n;) {
        size_t k = n - at < piece ? n - at : piece;
        size_t fine;
        const char *why = NULL;
        int code = wsguard_read(&g, p + at, k, MAX_MESSAGE, &fine, &why);
        must(fine <= k);
        if (code != 0) {
            must(why != NULL);
            return code;
        }
        must(fine == k);
        at += k;
        *good = at;
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t whole_good;
    size_t pieces_good;
    int whole = feed(data + 1, size - 1, size, &whole_good);
    int pieces = feed(data + 1, size - 1, data[0] % 8 + 1U, &pieces_good);
    must(whole == pieces);
    return 0;
}
