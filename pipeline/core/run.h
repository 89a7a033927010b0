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

/* One webhook delivery to be taken in. All slices are copied. */
struct ingest {
    char delivery_id[37]; /* ours, UUIDv7 */
    char run_id[37];      /* of the run to be made, UUIDv7 */
    const struct hook *hook;
    struct str external_id; /* the sender's delivery id; empty: no duplicates check */
    struct str event;       /* "push" */
    struct str key;         /* input key */
    struct str value;       /* input value (JSON) */
    struct str
        summary; /* JSON object with what lists show: sender, repository, ... ; may be empty */
    int64_t received_ms;
    int64_t size;      /* of the body as received */
    bool replay;       /* made by hand from the ledger: not a duplicate of itself */
    const char *cause; /* a literal; NULL: "webhook", or "replay" */
};

enum ingest_outcome { INGEST_ACCEPTED, INGEST_DUPLICATE };
/* run: the run that was made, or the one that it duplicates. */
typedef void (*ingest_fn)(void *arg, enum ingest_outcome outcome, struct str run,
                          const struct err *e);
/* Calls of one turn of the loop go to Redis as one step. With e (ERR_REDIS): unknown or not stored; the caller spools it, and storing it again is
 * harmless: the same run_id is stored once. */
void run_ingest(const struct ingest *in, ingest_fn fn, void *arg);

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
    struct str body;    /* as received */
};
typedef void (*ledger_body_fn)(void *arg, const struct ledger_body *b, const struct err *e);
void ledger_body(struct str id, ledger_body_fn fn, void *arg);

struct run_filter {
    const char *pipeline; /* NULL: all */
    const char *state;    /* NULL: all */
    int64_t since_ms;     /* 0: all */
};
/* Runs with a record, newest first: [{"id","pipeline","state","cause","created","finished",...}]. */
void run_list(const struct run_filter *f, struct str cursor, size_t limit, run_json_fn fn,
              void *arg);
/* One run, also of a document: {"id","pipeline","state","created",...,"steps":[{"stage","state","key_in","key_out","version","attempt","ms","error"}],
 * "keys":[{"key","version","size"}],"delivery":{...}}. ERR_NOT_FOUND. */
void run_get(struct str id, run_json_fn fn, void *arg);
/* Log lines from a position on (0: the first): json is an array of {"n","at","stage","line"}. */
void run_log(struct str id, uint64_t from, size_t limit, run_json_fn fn, void *arg);

/* Dead letters: failed after the last attempt. */
void dead_list(struct str cursor, size_t limit, run_json_fn fn,
               void *arg); /* [{"id","run","stage","key","error","attempts","at"}] */
typedef void (*run_done_fn)(void *arg, int64_t n, const struct err *e);
void run_retry(struct str id, bool from_start, run_done_fn fn,
               void *arg); /* ERR_NOT_FOUND, ERR_CONFLICT when it did not fail */
void run_cancel(struct str id, run_done_fn fn, void *arg);
void dead_retry_all(run_done_fn fn, void *arg); /* n: how many */
void dead_purge(run_done_fn fn, void *arg);

/* The map: [{"name","stages":[{"id","name","watch","also","write","work","served","pending","running","waiting","dead"}]}] over the configuration and stages that are only in Redis. */
void pipeline_map(run_json_fn fn, void *arg);

/* The retention of runs (settings run_max): begins with run_start, after store_start. */
void run_start(void);
void run_stop(void);

#endif
