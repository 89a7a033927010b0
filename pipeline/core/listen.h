/* SPDX-License-Identifier: Apache-2.0 */
/* What hears and looks: the doorbell (keyspace notifications), writes of other clients, the sweep, the backfill of new stages.
 *
 * A notification says only that a key was touched. Those of our own writes are told apart by counting: listen_wrote() is called for each
 * key that a call of ours writes, when it is sent; what rings more often is looked at, and adopted if its value is not what we stored. Our own
 * stages do not wait for the ring of our own write: they are woken by listen_wrote, and their claim goes out behind the write. */
#ifndef CORE_LISTEN_H
#define CORE_LISTEN_H

#include <stdbool.h>

#include "base/buf.h"

/* A key was touched by somebody; inputs of a stage became ready without a write of their key; look at everything; a run was cancelled somewhere. */
enum listen_what { LISTEN_KEY, LISTEN_STAGE, LISTEN_ALL, LISTEN_CANCEL };
typedef void (*listen_fn)(void *arg, enum listen_what what, struct str name);

void listen_start(listen_fn fn, void *arg);
void listen_stop(void);
void listen_wrote(struct str key);
void listen_unwrote(
    struct str key); /* it turned out that the call did not write it, or that nobody knows */
/* Begins a whole look now: after the start, a reconnect, a new stage. */
void listen_sweep(void);
bool listen_filled(void); /* the backfill of every known stage is done */

#endif
