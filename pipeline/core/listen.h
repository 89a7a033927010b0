/* SPDX-License-Identifier: Apache-2.0 */
/* What hears and looks: the doorbell (keyspace notifications), writes of other clients, the sweep, the backfill of new stages.
 *
 * A notification says only that a key was touched. Those of our own writes are told apart by counting: listen_own() is called for each
 * key that a call of ours wrote; what rang more often is looked at, and adopted if its value is not what we stored. */
#ifndef CORE_LISTEN_H
#define CORE_LISTEN_H

#include <stdbool.h>

#include "base/buf.h"

/* fn(arg, key): the key was touched by somebody; key {NULL,0}: look at everything. */
typedef void (*listen_fn)(void *arg, struct str key);

void listen_start(listen_fn fn, void *arg);
void listen_stop(void);
void listen_own(struct str key);
/* Begins a whole look now: after the start, a reconnect, a new stage. */
void listen_sweep(void);
bool listen_filled(void); /* the backfill of every known stage is done */

#endif
