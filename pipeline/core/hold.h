/* SPDX-License-Identifier: Apache-2.0 */
/* Names that one holder has at a time, over all servers: hm:hold:NAME. A holder that died lets go when its time is over. */
#ifndef CORE_HOLD_H
#define CORE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/id.h"

struct hold {
    char *name;
    char token[ID_SIZE];
};

/* held: it is ours until hold_drop or for ms; false: somebody else's. e: unknown. */
typedef void (*hold_fn)(void *arg, bool held, const struct err *e);
/* The name is copied into *h, which must live until fn fired. */
void hold_take(struct hold *h, struct str name, int64_t ms, hold_fn fn, void *arg);
void hold_drop(
    struct hold *h); /* frees the name; fire and forget; also of one that was never held */

#endif
