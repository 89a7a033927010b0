/* SPDX-License-Identifier: Apache-2.0 */
/* Between claim.c, which claims and hands out, and commit.c, which writes what came of it.
 *
 * An item is in exactly one place: in work (claim.c), finished and waiting (commit.c), or in a call. It leaves only with Redis's
 * answer; if the connection breaks in between, the same commit is made again: the fence makes the second one harmless. */
#ifndef CORE_CLAIM_INT_H
#define CORE_CLAIM_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "core/claim.h"

struct timer;

struct served {
    struct list node;       /* in the served ones, or the retired ones */
    struct list dirty_node; /* in the dirty ones, the higher priority first */
    struct map_node by_id;  /* unless it is retired */
    struct config *config;  /* a reference, because stage points into it */
    const struct stage *stage;
    const struct pipeline *pipeline; /* of config */
    const struct claim_runner *runner;
    struct buf lua_pattern;
    struct timer *later;
    int room_max;
    int busy;  /* items that are not back from their commit */
    int asked; /* by the claim call that is under way */
    int priority;
    bool slow; /* counts for work_max */
    bool claiming;
    bool retired; /* not in the configuration any more: ends what it has */
};

struct item {
    struct claim claim;
    struct list node; /* in work, finished, or in none (in a call) */
    struct served *served;
    const struct pipeline *pipeline; /* served's */
    char token[32];
    struct buf run;
    struct buf bytes; /* key, value and also values */
    struct str *also;
    bool failed_before; /* so that its run may have a record even if it is a document's */
    bool finished;
    bool renewing;
    bool lost; /* the lease is gone: nothing may be written for it */
    enum claim_outcome outcome;
    struct buf output;
    char *error;
    int64_t retry_after_ms;
};

/* The items of one call, in the order of its answer. */
struct batch {
    size_t n;
    struct item *items[];
};

/* claim.c: there may be something to claim. */
void claim_dirty(struct served *s);
/* Lets go of an item; its stage has room again. */
void claim_free_item(struct item *it);

/* commit.c. */
void commit_start(void);
void commit_stop(void);
void commit_add(struct item *it); /* it is finished: goes to Redis at the end of this turn */
void commit_flush(void);          /* once a turn, while Redis is up */
bool commit_quiet(void);          /* nothing waits and no call is under way */
struct batch *commit_batch_add(struct batch *b, struct item *it, void (*send)(struct batch *));

#endif
