/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation that never returns NULL: with no memory left the process aborts here and nowhere else,
 * because Redis holds the truth and a restart loses nothing. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);              /* not zeroed */
void *mem_zero(size_t count, size_t size); /* zeroed; the product is checked for overflow */
void *mem_resize(void *p, size_t size);
char *mem_dup(const void *p, size_t size); /* a copy with a NUL behind it */
char *mem_strdup(const char *s);           /* NULL gives NULL */
char *mem_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mem_free(void *p); /* NULL is fine */

#define mem_new(type)                   ((type *)mem_zero(1, sizeof(type)))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
