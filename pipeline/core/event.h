/* SPDX-License-Identifier: Apache-2.0 */
/* The event log: what happened, appended by the function that made it happen, numbered without gaps (the id is a
 * decimal number, the same for every server). One stream entry may carry many events; readers here get them one by one.
 *
 * A reader exists only while somebody listens; the log is read by one blocked XREAD for all listeners. */
#ifndef CORE_EVENT_H
#define CORE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* kind, run, key are what topics are chosen by; data is a JSON object. Kinds:
 *   key.put       key; {"version","size"}              a key was written (REST, CLI, foreign client: "foreign":true)
 *   key.deleted   key; {"version"}
 *   run.queued    run, key (input); {"pipeline","cause","hook","event","state","created",...}    a trigger made a run
 *   run.done      run; {"pipeline","state":"succeeded","finished"}
 *   run.failed    run; {"pipeline","state","error"}     state: dead, timed_out, cancelled
 *   step.started  run, key (input); {"stage","attempt"}    of slow work only (commands, http)
 *   step.done     run, key (output or empty); {"stage","in","version","out_version","ms","attempt","fed"}, of what follows a run also "result"
 *   step.failed   run, key (input); {"stage","attempt","error","retry_ms" or "state":"dead"}
 *   log           run; {"stage","line","at"}
 *   delivery      run (may be empty); the ledger's line
 *   letters.dropped {"n"}   dead letters were forgotten
 *   config        {"reloaded":true,...}
 * Every data has "at" (ms since 1970). */
struct event {
    uint64_t id;
    struct str kind;
    struct str run;
    struct str key;
    struct str data;
};

/* Events in order. e not NULL: the log's beginning has passed `after` (ERR_NOT_FOUND: resync), or Redis went (ERR_REDIS: it will go on by
 * itself, without a gap if it can). */
typedef void (*event_fn)(void *arg, const struct event *ev, const struct err *e);

struct event_reader;
/* after: the id behind which to begin; EVENT_NOW: from now on. */
#define EVENT_NOW UINT64_MAX
struct event_reader *event_read(uint64_t after, event_fn fn, void *arg);
void event_stop(struct event_reader *r);

typedef void (*event_last_fn)(void *arg, uint64_t last_id, const struct err *e);
void event_last(event_last_fn fn, void *arg);

/* A line for the log of a run (redacted, bounded), and the event of it. */
void event_log_line(struct str run, struct str stage, struct str line);

#endif
