/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs, version 7 (RFC 9562, 5.7): 48 bits of Unix milliseconds, then random bits. Within one
 * process they rise also inside a millisecond (method 1: a counter in rand_a), so that they sort in the order
 * of their making. */
#ifndef BASE_ID_H
#define BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { ID_SIZE = 37 }; /* with the NUL */

void id_make(char out[ID_SIZE], int64_t wall_us);
bool id_is_uuid(struct str s);        /* 8-4-4-4-12 hexadecimal digits */
int64_t id_wall_ms(struct str uuid7); /* its time; -1 when it isn't a version 7 UUID */
void id_random(void *out, size_t n);  /* from the kernel's generator */

#endif
