/* SPDX-License-Identifier: Apache-2.0 */
/* The arguments of one function call, gathered in order. args_add borrows, args_text and args_int copy into memory that does not move. */
#ifndef CORE_ARGS_H
#define CORE_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct args_chunk;

struct args {
    struct str *v;
    size_t n;
    size_t cap;
    struct args_chunk *chunks;
};

void args_add(struct args *a, struct str s); /* s must live until the call was made */
void args_text(struct args *a, struct str s);
void args_int(struct args *a, int64_t v);
void args_finish(struct args *a);

#endif
