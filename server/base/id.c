/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id.h"

#include <string.h>
#include <sys/random.h>

#include "base/err.h"

void id_random(void *out, size_t n)
{
    /* A pool saves a system call for each of the many small requests. */
    static unsigned char pool[1024];
    static size_t used = sizeof pool;
    if (n > sizeof pool) {
        must(getrandom(out, n, 0) == (ssize_t)n);
        return;
    }
    if (sizeof pool - used < n) {
        for (size_t got = 0; got < sizeof pool;) {
            ssize_t k = getrandom(pool + got, sizeof pool - got, 0);
            must(k > 0);
            got += (size_t)k;
        }
        used = 0;
    }
    memcpy(out, pool + used, n);
    memset(pool + used, 0, n);
    used += n;
}

void id_make(char out[ID_SIZE], int64_t wall_us)
{
    static uint64_t last_ms;
    static unsigned counter;
    uint64_t ms = (uint64_t)wall_us / 1000;
    unsigned char random[8];
    id_random(random, sizeof random);
    if (ms > last_ms) {
        last_ms = ms;
        counter =
            (unsigned)(random[6] | (random[7] & 1) << 8); /* half of the 12 bits left to count */
    } else if (++counter > 0xFFF) {
        last_ms++;
        counter = 0;
    }
    unsigned char u[16];
    for (int i = 0; i < 6; i++)
        u[i] = (unsigned char)(last_ms >> (40 - 8 * i));
    u[6] = (unsigned char)(0x70 | counter >> 8);
    u[7] = (unsigned char)counter;
    memcpy(u + 8, random, 8);
    u[8] = (unsigned char)(0x80 | (u[8] & 0x3F));
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[at++] = '-';
        out[at++] = digits[u[i] >> 4];
        out[at++] = digits[u[i] & 15];
    }
    out[at] = '\0';
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool id_is_uuid(struct str s)
{
    if (s.n != ID_SIZE - 1)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s.p[i] != '-' : !is_hex(s.p[i]))
            return false;
    }
    return true;
}

int64_t id_wall_ms(struct str uuid7)
{
    if (!id_is_uuid(uuid7) || uuid7.p[14] != '7')
        return -1;
    char hex[12];
    memcpy(hex, uuid7.p, 8);
    memcpy(hex + 8, uuid7.p + 9, 4);
    unsigned char bytes[6];
    must(hex_decode((struct str){hex, 12}, bytes, 6));
    int64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | bytes[i];
    return ms;
}
