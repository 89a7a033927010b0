/* SPDX-License-Identifier: Apache-2.0 */
/* Short texts go into chunks that are never moved, so that slices of them stay good while more is
 * added; one call has thousands of arguments, and an allocation for each would cost more than the call. */
#include "core/args.h"

#include <string.h>

#include "base/mem.h"

enum { CHUNK_SIZE = 16384 };

struct args_chunk {
    struct args_chunk *next;
    size_t used;
    size_t size;
    char bytes[];
};

void args_add(struct args *a, struct str s)
{
    if (a->n == a->cap) {
        a->cap = a->cap == 0 ? 64 : 2 * a->cap;
        a->v = mem_resize(a->v, a->cap * sizeof *a->v);
    }
    a->v[a->n++] = s;
}

static char *room(struct args *a, size_t n)
{
    struct args_chunk *c = a->chunks;
    if (c == NULL || c->size - c->used < n) {
        size_t size = n > CHUNK_SIZE ? n : CHUNK_SIZE;
        c = mem_alloc(sizeof *c + size);
        *c = (struct args_chunk){.next = a->chunks, .size = size};
        a->chunks = c;
    }
    char *p = c->bytes + c->used;
    c->used += n;
    return p;
}

void args_text(struct args *a, struct str s)
{
    char *p = room(a, s.n);
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    args_add(a, (struct str){p, s.n});
}

void args_int(struct args *a, int64_t v)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u != 0);
    if (v < 0)
        digits[--at] = '-';
    args_text(a, (struct str){digits + at, sizeof digits - at});
}

void args_finish(struct args *a)
{
    while (a->chunks != NULL) {
        struct args_chunk *next = a->chunks->next;
        mem_free(a->chunks);
        a->chunks = next;
    }
    mem_free(a->v);
    *a = (struct args){0};
}
