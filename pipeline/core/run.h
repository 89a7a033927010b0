/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and deliveries.
 *
 * A run is one execution of a pipeline. What triggers start has a record, hm:run:ID. A document that was put as a key is a run as well: its id is the pipeline's name
 * and the tokens that the first stage's pattern matched ("document.doc-001"), and nothing is written for it unless it fails.
 * A delivery is one incoming webhook and what became of it; each is one line of the ledger. */
#ifndef CORE_RUN_H
#define CORE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

/* What may put a start off, refuse it or join it with another. All zero: nothing does. */
struct gate {
    int64_t delay_ms;
    int priority; /* 0..100, higher first among what waits for the same stage */
    /* A lane holds at most lane_limit open runs; what comes while it is full waits for its turn (OVERLAP_QUEUE), is
     * recorded as skipped, replaces the runs that are there, or joins them all the same (OVERLAP_ALLOW). */
    struct str lane;
    int64_t lane_limit;
    enum overlap when_full;
    struct str rate; /* at most rate_limit starts in any rate_period_ms: the others wait */
    int64_t rate_limit;
    int64_t rate_period_ms;
    struct str
        debounce; /* until it has been quiet for debounce_ms, at most debounce_max_ms (0: for ever), starts join one run; the last input counts */
    int64_t debounce_ms;
    int64_t debounce_max_ms;
    struct str skip; /* not empty: the run is recorded as skipped, for this reason */
    /* A schedule: the start happens only if due_ms is still its next fire; next_ms takes its place, in the same step. */
    struct str tick;
    int64_t due_ms;
    int64_t next_ms;
    struct str
        sum; /* of a request, with `once`: the same name with another sum is refused, with the same it is a duplicate whatever became of its run */
    int64_t once_ms; /* how long `once` is remembered; 0: the setting dedupe_window */
};

/* One run to be started, by whatever trigger. All slices are copied. */
struct start {
    char run_id[37]; /* of the run to be made, UUIDv7 */
    struct str pipeline;
    struct str key;   /* input key */
    struct str value; /* input value (JSON) */
    struct str
        origin; /* of a webhook: the envelope, when value was made from it; kept for a replay. Empty: value is the envelope */
    const char *
        cause; /* a literal: "webhook", "replay", "api", "schedule", "key", "database", "job", "agent" */
    struct str
        detail; /* more of its cause, as JSON members: "parent":"...","depth":2 ; may be empty */
    struct str
        once; /* name under which it may happen once (see run_once); empty: as often as it is asked */
    struct gate gate;
    /* Of a webhook; the ledger gets a line if there is a delivery_id. */
    char delivery_id[37];   /* ours, UUIDv7 */
    struct str hook;        /* path */
    struct str external_id; /* the sender's delivery id */
    struct str event;       /* "push" */
    struct str
        summary; /* JSON object with what lists show: sender, repository, ... ; may be empty */
    int64_t received_ms;
    int64_t size; /* of the body as received */
};

enum start_outcome {
    START_NEW,
    START_DUPLICATE, /* `once` is known: its run is queued, running or succeeded */
    START_JOINED,    /* debounced: it became the input of a run that waits */
    START_SKIPPED,   /* recorded as skipped: by gate.skip or a full lane */
    START_GONE,      /* the tick was another server's: nothing was done */
};
/* run: the run that was made, or the other one. ERR_UNPROCESSABLE: `once` is known with another sum. */
typedef void (*start_fn)(void *arg, enum start_outcome outcome, struct str run,
                         const struct err *e);
/* Calls of one turn of the loop go to Redis as one step. With e (ERR_REDIS): unknown or not stored; storing it again is
 * harmless: the same run_id is stored once. */
void run_begin(const struct start *in, start_fn fn, void *arg);

/* A ledger line for a delivery that started nothing. outcome: "filtered", "rejected", "unrouted", "ping". body (may be empty) is kept for a replay, bounded by the caller. */
struct ledger_line {
    char delivery_id[37];
    struct str hook; /* path */
    struct str external_id;
    struct str event;
    const char *outcome;
    struct str reason;  /* for a person, with what to do */
    int status;         /* the HTTP status that was answered */
    struct str headers; /* JSON object of the headers of interest */
    struct str body;
    struct str peer;
    int64_t received_ms;
    int64_t size;
};
void ledger_add(const struct ledger_line
                    *l); /* fire and forget; while Redis is away up to 1000 lines wait in memory */

/* JSON answers, ready to be sent. next is the cursor of the next page, empty at the end. */
typedef void (*run_json_fn)(void *arg, struct str json, struct str next, const struct err *e);
/* Newest first. cursor: empty or a former `next`. json: an array of ledger lines. outcome: NULL, or only that one. */
void ledger_list(struct str cursor, size_t limit, const char *outcome, run_json_fn fn, void *arg);
void ledger_get(struct str id, run_json_fn fn,
                void *arg); /* our id or the sender's; ERR_NOT_FOUND */
/* What a replay needs. value {NULL,0}: nothing was kept. */
struct ledger_body {
    struct str hook;
    struct str headers; /* JSON object */
    struct str body;    /* as received, or */
    bool json;          /* the JSON in it, of what became a run */
};
typedef void (*ledger_body_fn)(void *arg, const struct ledger_body *b, const struct err *e);
void ledger_body(struct str id, ledger_body_fn fn, void *arg);

struct run_filter {
    const char *pipeline; /* NULL: all */
    const char *state;    /* NULL: all; several with commas: "dead,timed_out" */
    const char *cause;    /* NULL: all */
    int64_t since_ms;     /* 0: all; created at that time or later */
    int64_t until_ms;     /* 0: all; created before it */
};
/* Runs with a record, newest first: [{"id","pipeline","state","cause","created","finished",...}]. */
void run_list(const struct run_filter *f, struct str cursor, size_t limit, run_json_fn fn,
              void *arg);
/* One run, also of a document: {"id","pipeline","state","created",...,"steps":[{"stage","state","key_in","key_out","version","attempt","ms","error"}],
 * "keys":[{"key","version","size"}],"delivery":{...}}. ERR_NOT_FOUND. */
void run_get(struct str id, run_json_fn fn, void *arg);
/* Log lines from a position on (0: the first): json is an array of {"n","at","stage","line"}. */
void run_log(struct str id, uint64_t from, size_t limit, run_json_fn fn, void *arg);

typedef void (*run_done_fn)(void *arg, int64_t n, const struct err *e);
void run_retry(struct str id, bool from_start, run_done_fn fn,
               void *arg); /* ERR_NOT_FOUND, ERR_CONFLICT when it did not fail */
void run_cancel(struct str id, run_done_fn fn, void *arg);

/* Dead letters: inputs that failed after the last attempt, newest first: [{"id","run","job","pipeline","stage","key","state","error","attempts","at"}]; "after":true: of what
 * follows a run. The id is the run's, so a run whose branches failed has several lines. pipeline NULL: of all. */
void dead_list(const char *pipeline, struct str cursor, size_t limit, run_json_fn fn, void *arg);
/* The newest letter of a run with "input" (the value that failed), and "others" when there are more of that run. ERR_NOT_FOUND. */
void dead_get(struct str run, run_json_fn fn, void *arg);
/* n: how many. What fails again meanwhile is not taken up a second time. One run's: run_retry. */
void dead_retry_all(const char *pipeline, run_done_fn fn, void *arg);
/* Forgets them; their runs keep their state and can be retried as before. */
void dead_purge(const char *pipeline, run_done_fn fn, void *arg);
void dead_purge_run(struct str run, run_done_fn fn, void *arg); /* ERR_NOT_FOUND: it has none */

/* The map: [{"name","stages":[{"id","name","watch","also","write","work","served","pending","running","waiting","dead"}]}] over the configuration and stages that are only in Redis. */
void pipeline_map(run_json_fn fn, void *arg);

/* Counts of ended runs by job and day: {"since","until","jobs":[{"job","pipeline","runs","succeeded","failed","timed_out","cancelled","skipped",...,
 * "success_rate","last":{"run","state","at"},"duration":{"mean","p50","p95","p99","max"} (ms),"tokens","cost_usd","days":[{"day","succeeded","failed"}]}]}. name NULL: all. */
void run_stats(const char *name, int64_t since_ms, run_json_fn fn, void *arg);

/* The retention of runs, logs, ledger, events and dead letters (settings *_max, *_retention): begins with run_start, after store_start. */
void run_start(void);
void run_stop(void);

#endif
