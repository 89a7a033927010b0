/* SPDX-License-Identifier: Apache-2.0 */
/* This server's slot: its mark on the claims that it holds. It beats in Redis, so that others notice when it dies and hand back what it had claimed,
 * as it does for them; and it is kept in the data directory, so that after a kill the next life of the same server hands its old
 * claims back at once, without waiting for anybody's timeout. */
#ifndef CORE_SLOT_H
#define CORE_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Locks data_dir/slot; fails (ERR_CONFLICT) when another server uses the directory. released is called when claims became ready. */
bool slot_start(const char *data_dir, void (*released)(void), struct err *e) MUST_CHECK;
void slot_stop(void);
int64_t slot_number(void); /* 0: none yet */
/* Makes sure that there is a slot and that nothing of a former life is claimed under it, then calls ready, once. Nothing happens when Redis
 * goes meanwhile: call it again when it is back. Needs the registry of stages. */
void slot_clear(void (*ready)(void));

#endif
