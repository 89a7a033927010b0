/* SPDX-License-Identifier: Apache-2.0 */
/* What a run gave: the value of the key that its job's output is kept in. */
#ifndef HANDLERS_RESULT_H
#define HANDLERS_RESULT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/kv.h"

/* Has a run in this state ended? */
bool result_is_end(struct str state);

/* The run as run_get has it and, when it has succeeded, its result as "output". ended: whether it has. Fires once. */
typedef void (*result_fn)(void *arg, struct str json, bool ended, const struct err *e);
void result_get(struct str run, result_fn fn, void *arg);

/* The result alone. ERR_NOT_FOUND: there is no such run, or it has none (yet). */
typedef void (*result_value_fn)(void *arg, const struct kv_value *v, const struct err *e);
void result_value(struct str run, result_value_fn fn, void *arg);

#endif
