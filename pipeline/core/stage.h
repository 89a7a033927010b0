/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: every stage that any server ever served, as it stands in Redis. A write must feed them all, also those that nobody
 * serves at the moment, and those of other servers' configurations. Each writing call shows the epoch of the registry that it was made with; if that is
 * old (ERR_STALE), stage_refresh() and make the call again. */
#ifndef CORE_STAGE_H
#define CORE_STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/pattern.h"
#include "config/config.h"

struct known_stage {
    char *id;
    char *pipeline;
    char *watch;
    char **also;    /* NULL-terminated */
    uint64_t since; /* keys with a higher seq were fed live */
    bool filled;    /* its backfill is done */
};

typedef void (*stage_fn)(void *arg, const struct err *e);
/* Enters the stages of c (NULL: none) and reads the whole registry. Calls while one is under way share its answer when c is NULL. */
void stage_refresh(const struct config *c, stage_fn fn, void *arg);
void stage_forget(void);
struct str stage_epoch(void);

/* A seq for a key that is written without asking Redis for one: behind the registration of every stage of this epoch. */
uint64_t stage_seq(void);

size_t stage_count(void);
struct known_stage *stage_at(size_t i);
struct known_stage *stage_find(struct str id);

/* fn hears of every stage whose watch pattern matches key. */
typedef void (*stage_match_fn)(void *arg, const struct known_stage *s);
void stage_matching(struct str key, stage_match_fn fn, void *arg);
/* Which stages a write of key feeds ("ID<tab>ID"), and which parked inputs it may release ("ID<tab>MEMBER..."). Both are appended. */
void stage_feeds(struct buf *feeds, struct buf *bumps, struct str key);
/* The id of the run that a key belongs to: a wildcard that is a UUID, else "pipeline.tokens"; nothing appended when no stage watches it. */
void stage_run_of(struct buf *out, struct str key);
/* Is run a run with a record (its id is a UUID)? */
bool stage_run_recorded(struct str run);
/* The run of a match of a stage's watch pattern. */
void stage_run(struct buf *out, const char *pipeline, const struct pattern_match *m);
/* A pattern in Lua's syntax with a capture for each wildcard. */
void stage_lua_pattern(struct buf *out, struct str pattern);
/* The key of a watch pattern for a run: its wildcards filled with the run's tokens. false: it does not fit. */
bool stage_key_of_run(struct buf *out, const char *pipeline, struct str pattern, struct str run);

#endif
