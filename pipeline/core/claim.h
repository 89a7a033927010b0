/* SPDX-License-Identifier: Apache-2.0 */
/* Claims: the reactive core. For each stage that is served here: hear the doorbell, claim a batch of inputs with leases
 * (the lease's end is the fencing token), hand them to the stage's runner, commit its results in one atomic step, batch by batch.
 *
 * A notification only marks a stage dirty; at most one claim call is under way for a stage. It is looked also at the start, after a
 * reconnect, when a not-before time comes, and on the sweep. */
#ifndef CORE_CLAIM_H
#define CORE_CLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/pattern.h"
#include "config/config.h"

enum claim_outcome { CLAIM_OK, CLAIM_RETRY, CLAIM_FAIL, CLAIM_TIMEOUT };

/* One claimed input. Lives until claim_finish. */
struct claim {
    const struct stage *stage; /* holds a reference on its configuration */
    struct str key;
    struct str value;
    int64_t version;
    const struct str
        *also; /* values of stage->also, in order; {NULL,0}: an optional one that is not there */
    size_t also_n;
    struct pattern_match match; /* of key */
    struct str
        run; /* run id: the first wildcard if the pipeline is started by triggers, else "pipeline.tokens" */
    int attempt;        /* 1 is the first */
    int64_t claimed_us; /* loop time */
    void *runner_data;  /* the runner's own */
    bool cancelled;     /* the run was cancelled meanwhile: the runner's on_cancel was called */
};

/* How work is done, registered by pipeline/work at start (one for each work kind). */
struct claim_runner {
    /* Takes n claims; must call claim_finish exactly once for each, later or at once. */
    void (*run)(struct claim *const *claims, size_t n);
    void (*cancel)(struct claim *c); /* may be NULL; claim_finish must still follow */
    int default_concurrency; /* claims of one stage that it takes at once; 0: the setting command_concurrency */
    bool announce; /* step.started events: for slow work */
};
void claim_register(enum work_kind kind, const struct claim_runner *r);

/* Ends a claim. output: the result for CLAIM_OK (JSON; copied unless empty); error: one sentence for the others. retry_after_ms: -1, or what the work asked for.
 * c is gone after the call. */
void claim_finish(struct claim *c, enum claim_outcome outcome, struct str output, const char *error,
                  int64_t retry_after_ms);

/* After store_start and all claim_register. The server's slot (its mark on claims) is kept in data_dir/slot, which is locked: what a
 * former life of this server had claimed is known to be nobody's, and handed back at once. Fails when another server uses the directory. */
bool claim_start(const char *data_dir, struct err *e) MUST_CHECK;
void claim_configure(
    struct config *c); /* new snapshot: stages come and go; running work ends under the old one */
/* Claims no more; done(arg) when what runs is finished, or after grace_ms: then the rest is handed back. */
void claim_stop(int64_t grace_ms, void (*done)(void *arg), void *arg);
bool claim_ready(
    void); /* every stage of the configuration is registered in Redis and its backfill is done */

/* Work of a cancelled run is cancelled, and whatever it still returns is not written. How many steps that were. */
size_t claim_cancel_run(struct str run);
void claim_counts(const char *stage_id, bool *served, size_t *working);

#endif
