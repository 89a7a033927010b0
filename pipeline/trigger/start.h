/* SPDX-License-Identifier: Apache-2.0 */
/* The one way in which a run of a job or pipeline begins, whatever the trigger: its parameters are checked and filled, the job's gates (concurrency, rate
 * limit, debounce, delay, priority, depth) are worked out from its input, and core/run writes its input key. */
#ifndef TRIGGER_START_H
#define TRIGGER_START_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "core/run.h"

struct start_request {
    const struct pipeline *pipeline; /* of c */
    struct str input;                /* JSON; empty: {} */
    const char *cause;               /* a literal, see core/run.h */
    struct str detail; /* JSON members; may be empty. parent and depth are added by start_run */
    struct str parent; /* the run that caused it; may be empty */
    int depth;         /* of the parent + 1; 0: nobody's child */
    struct str once;
    struct str sum; /* see struct gate */
    int64_t once_ms;
    struct str skip;  /* not empty: record it as skipped */
    int64_t delay_ms; /* -1: the job's */
    int priority;     /* added to the job's */
    struct str tick;  /* a schedule's name, with */
    int64_t due_ms;
    int64_t next_ms;
    enum overlap
        overlap; /* with overlap_set: what becomes of it while another run of the job is open; the job's concurrency, if it has one, goes first */
    bool overlap_set;
};

/* Everything is copied. fn may fire with ERR_UNPROCESSABLE (a parameter is wrong, or the first stage has no place for a run's id), ERR_REDIS, ... */
void start_run(struct config *c, const struct start_request *r, start_fn fn, void *arg);

/* Input with the parameters' defaults filled in. ERR_UNPROCESSABLE names the parameter. Without parameters any JSON is taken as it is. */
bool start_input(const struct job *j, struct str input, struct buf *out, struct err *e) MUST_CHECK;

/* What the job's gates are for this input; strings live in text. job NULL: none. */
void start_gate(const struct job *j, struct str input, struct gate *out, struct buf *text);

/* The input key of a new run: what the first stage watches, with id in the place of its wildcard. */
bool start_key(struct buf *out, const struct pipeline *p, struct str id, struct err *e) MUST_CHECK;

void start_finish(void); /* at the end of the process */

#endif
