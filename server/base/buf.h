/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes: struct str is a borrowed slice of somebody's bytes, struct buf owns bytes and grows.
 *
 * Bytes from outside always travel as pointer and length, never as C strings. A buf of all zeroes is
 * empty and valid; buf_finish frees. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
struct str str_of(const char *s); /* of a C string; NULL gives the empty slice */
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *b);       /* equal to a C string */
bool str_is_icase(struct str a, const char *b); /* ASCII case ignored */
bool str_starts(struct str a, const char *prefix);
bool str_ends(struct str a, const char *suffix);
struct str str_trim(struct str a); /* without leading and trailing space, tab, CR, LF */
/* Cuts *rest at the first sep: returns what stands before it; *rest becomes what follows, or
 * {NULL, 0} after the last piece. Call while rest->p != NULL. */
struct str str_split(struct str *rest, char sep);
/* A whole decimal number without sign, spaces or overflow. */
bool str_u64(struct str a, uint64_t *out);
bool str_utf8_valid(struct str a); /* strict UTF-8 as RFC 3629 has it */

struct buf {
    char *p; /* NUL behind the last byte once anything was added */
    size_t n;
    size_t cap;
};

void buf_finish(struct buf *b); /* frees and zeroes */
void buf_clear(struct buf *b);  /* keeps the memory */
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_u64(struct buf *b, uint64_t v); /* decimal; faster than buf_printf */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
void buf_drop(struct buf *b, size_t n);   /* removes n bytes from the front */
struct str buf_view(const struct buf *b); /* valid until b changes */
char *buf_take(
    struct buf *b); /* the bytes with a NUL; the caller frees with mem_free; b is empty */

/* Text encodings. */
void buf_hex(struct buf *b, const void *p, size_t n); /* lower case */
bool hex_decode(struct str hex, unsigned char *out,
                size_t out_n);                           /* needs exactly 2*out_n digits */
void buf_base64(struct buf *b, const void *p, size_t n); /* RFC 4648, padded */
bool buf_base64_decode(struct buf *b, struct str s);     /* strict, padded; false: not base64 */
bool buf_url_decode(struct buf *b, struct str s, bool plus_is_space); /* false: bad % escape */
void buf_url_encode(struct buf *b, struct str s); /* all but RFC 3986 unreserved */

#endif
