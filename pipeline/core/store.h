/* SPDX-License-Identifier: Apache-2.0 */
/* Redis as the pipeline sees it: the connections (work, bell for notifications, tail for the event log), the start-up checks, the
 * function library. Everything above calls store_call with a function of the library and never a bare command that
 * writes. */
#ifndef CORE_STORE_H
#define CORE_STORE_H

#include <stdbool.h>

#include "config/config.h"
#include "net/redis.h"

/* up true: connected, checks passed, library loaded. false: gone (why in text). Several listeners; each gets the current state at once if it is up. */
typedef void (*store_state_fn)(void *arg, bool up);

/* Connects in the background; the checks (version >= 7, noeviction, notifications) run at each connect; what is
 * wrong is logged with what to set, and stands in store_trouble(). */
bool store_start(const char *redis_url, struct config *c, struct err *e) MUST_CHECK;
void store_stop(void);
void store_configure(struct config *c); /* after a reload */
struct config *store_config(void);      /* the live snapshot, borrowed */
bool store_up(void);
const char *store_trouble(void); /* why it is not up, or what is degraded; "" when all is well */
void store_on_state(store_state_fn fn, void *arg);
bool store_notifications(void); /* false: a managed Redis without them; we live on sweeps */

/* What is heard: a notification for a key (its name without prefix), whoever wrote it; that inputs of a stage became ready without a write of their key (empty: of any
 * stage); that a run was cancelled. The latter two are published by our functions; channels know no databases, so they may be somebody else's. One listener. */
enum store_bell { STORE_KEY, STORE_STAGE, STORE_CANCEL };
typedef void (*store_bell_fn)(void *arg, enum store_bell what, struct str name, struct str event);
void store_on_bell(store_bell_fn fn, void *arg);

struct redis *store_work(void); /* for reads that are plain commands */
const char *store_url(void);
/* A connection of one's own beside these (the event log's blocked read). */
struct redis *store_open(const char *name, redis_state_fn on_state, void *arg);
/* Calls a function of the library (pipeline/lua) by its name without the version: "put". Which keys it touches stands at the head of each.
 * ERR_REDIS while it is not up. */
void store_call(const char *function, size_t argc, const struct str *argv, redis_fn fn, void *arg);

#endif
