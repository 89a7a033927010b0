/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/mem.h"

struct str str_of(const char *s)
{
    return (struct str){s, s == NULL ? 0 : strlen(s)};
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_is(struct str a, const char *b)
{
    return str_eq(a, str_of(b));
}

bool str_is_icase(struct str a, const char *b)
{
    return a.n == strlen(b) && (a.n == 0 || strncasecmp(a.p, b, a.n) == 0);
}

bool str_starts(struct str a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && memcmp(a.p != NULL ? a.p : "", prefix, n) == 0;
}

bool str_ends(struct str a, const char *suffix)
{
    size_t n = strlen(suffix);
    return a.n >= n && (n == 0 || memcmp(a.p + a.n - n, suffix, n) == 0);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str a)
{
    while (a.n != 0 && is_space(a.p[0])) {
        a.p++;
        a.n--;
    }
    while (a.n != 0 && is_space(a.p[a.n - 1]))
        a.n--;
    return a;
}

struct str str_split(struct str *rest, char sep)
{
    const char *at = rest->n == 0 ? NULL : memchr(rest->p, sep, rest->n);
    struct str piece = *rest;
    if (at == NULL) {
        *rest = (struct str){NULL, 0};
        return piece;
    }
    piece.n = (size_t)(at - rest->p);
    rest->n -= piece.n + 1;
    rest->p = at + 1;
    return piece;
}

bool str_u64(struct str a, uint64_t *out)
{
    if (a.n == 0 || a.n > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(a.p[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool str_utf8_valid(struct str a)
{
    const unsigned char *p = (const unsigned char *)a.p;
    const unsigned char *end = p + a.n;
    while (p < end) {
        if (*p < 0x80) {
            p++;
            continue;
        }
        size_t more = *p >= 0xC2 && *p <= 0xDF   ? 1
                      : (*p & 0xF0) == 0xE0      ? 2
                      : *p >= 0xF0 && *p <= 0xF4 ? 3
                                                 : 0;
        if (more == 0 || (size_t)(end - p) <= more)
            return false;
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xC0) != 0x80)
                return false;
        }
        if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
            (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
            return false;
        p += more + 1;
    }
    return true;
}

void buf_finish(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){NULL, 0, 0};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    if (b->p != NULL)
        b->p[0] = '\0';
}

void buf_reserve(struct buf *b, size_t more)
{
    must(more < SIZE_MAX / 2 - b->n);
    size_t need = b->n + more + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap += cap / 2 + 1;
    b->p = mem_resize(b->p, cap);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    buf_reserve(b, n);
    if (n != 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_puts(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    buf_add(b, digits + at, sizeof digits - at);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    must(n >= 0);
    buf_reserve(b, (size_t)n);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    va_end(again);
    b->n += (size_t)n;
}

void buf_drop(struct buf *b, size_t n)
{
    must(n <= b->n);
    if (n == 0)
        return;
    b->n -= n;
    memmove(b->p, b->p + n, b->n);
    b->p[b->n] = '\0';
}

struct str buf_view(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

char *buf_take(struct buf *b)
{
    buf_reserve(b, 0);
    b->p[b->n] = '\0';
    char *p = b->p;
    *b = (struct buf){NULL, 0, 0};
    return p;
}

void buf_hex(struct buf *b, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = p;
    buf_reserve(b, 2 * n);
    for (size_t i = 0; i < n; i++) {
        b->p[b->n++] = digits[bytes[i] >> 4];
        b->p[b->n++] = digits[bytes[i] & 15];
    }
    b->p[b->n] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(struct str hex, unsigned char *out, size_t out_n)
{
    if (hex.n != 2 * out_n)
        return false;
    for (size_t i = 0; i < out_n; i++) {
        int high = hex_digit(hex.p[2 * i]);
        int low = hex_digit(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void buf_base64(struct buf *b, const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)s[i] << 16 | (i + 1 < n ? (unsigned)s[i + 1] << 8 : 0) |
                     (i + 2 < n ? (unsigned)s[i + 2] : 0);
        char four[4] = {base64_digits[v >> 18], base64_digits[v >> 12 & 63],
                        i + 1 < n ? base64_digits[v >> 6 & 63] : '=',
                        i + 2 < n ? base64_digits[v & 63] : '='};
        buf_add(b, four, 4);
    }
}

bool buf_base64_decode(struct buf *b, struct str s)
{
    if (s.n % 4 != 0)
        return false;
    for (size_t i = 0; i < s.n; i += 4) {
        unsigned v = 0;
        size_t pad = 0;
        for (size_t j = 0; j < 4; j++) {
            char c = s.p[i + j];
            if (c == '=' && i + 4 == s.n && j >= 2) {
                pad++;
                v <<= 6;
                continue;
            }
            const char *digit = c == '\0' || pad != 0 ? NULL : strchr(base64_digits, c);
            if (digit == NULL)
                return false;
            v = v << 6 | (unsigned)(digit - base64_digits);
        }
        unsigned char three[3] = {(unsigned char)(v >> 16), (unsigned char)(v >> 8),
                                  (unsigned char)v};
        buf_add(b, three, 3 - pad);
    }
    return true;
}

bool buf_url_decode(struct buf *b, struct str s, bool plus_is_space)
{
    buf_reserve(b, s.n);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%') {
            unsigned char byte;
            if (s.n - i < 3 || !hex_decode((struct str){s.p + i + 1, 2}, &byte, 1))
                return false;
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        b->p[b->n++] = c;
    }
    b->p[b->n] = '\0';
    return true;
}

void buf_url_encode(struct buf *b, struct str s)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (plain)
            buf_char(b, (char)c);
        else
            buf_add(b, escaped, 3);
    }
}
