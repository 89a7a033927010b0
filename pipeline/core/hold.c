/* SPDX-License-Identifier: Apache-2.0 */
/* A key with an expiry and a random token: whoever was too slow and lost it must not take it away from the next holder, so it is dropped by comparing. */
#include "core/hold.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/store.h"

struct hold_op {
    hold_fn fn;
    void *arg;
};

static void on_taken(void *arg, const struct reply *r, const struct err *e)
{
    struct hold_op *op = arg;
    op->fn(op->arg, e == NULL && reply_int(r) == 1, e);
    mem_free(op);
}

void hold_take(struct hold *h, struct str name, int64_t ms, hold_fn fn, void *arg)
{
    struct hold_op *op = mem_new(struct hold_op);
    struct args a = {0};
    *op = (struct hold_op){fn, arg};
    h->name = mem_dup(name.p, name.n);
    id_make(h->token, clock_wall_us());
    args_add(&a, name);
    args_add(&a, str_of(h->token));
    args_int(&a, ms);
    store_call("hold", a.n, a.v, on_taken, op);
    args_finish(&a);
}

void hold_drop(struct hold *h)
{
    struct str argv[] = {str_of(h->name), str_of(h->token)};
    if (h->name == NULL)
        return;
    store_call("let_go", 2, argv, NULL, NULL);
    mem_free(h->name);
    h->name = NULL;
}
