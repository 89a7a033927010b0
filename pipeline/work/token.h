/* SPDX-License-Identifier: Apache-2.0 */
/* A run's token: what the work of an agent with the capability job:trigger shows to this server (or another one of the same Redis) when it starts jobs. It
 * says which run of which agent it is, until when it holds, and that one of us said so; what it allows is up to whoever reads it. How deep the run
 * is nested is not in it, because that stands in the run's record, where it is looked up together with whether the run still goes on. */
#ifndef WORK_TOKEN_H
#define WORK_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#define TOKEN_PREFIX LOG_RUN_TOKEN /* which base/log leaves out of every text */

struct token {
    struct str run;
    struct str agent;
    int64_t until_ms; /* since 1970 */
    struct buf text;  /* private */
};

void token_start(void); /* after store_start: fetches the secret, or makes it */
void token_stop(void);
void token_url(const char *url); /* where the children of this server find it */

/* Appends a token; false: the secret is not known yet. */
bool token_make(struct buf *out, struct str run, const char *agent, int64_t until_ms);
/* Does it look like one? Then token_read judges it. */
bool token_is_one(struct str text);
/* ERR_UNAUTHORIZED: forged or too old. token_finish afterwards, also when it failed. */
bool token_read(struct token *out, struct str text, int64_t now_ms, struct err *e) MUST_CHECK;
void token_finish(struct token *t);

/* For the work of a run: the URL, and a token that holds as long as a step with this limit may take. false: not yet known. */
bool token_for_work(struct buf *url, struct buf *token, struct str run, const char *agent,
                    int64_t limit_ms);

/* For tests: instead of Redis's. */
void token_use_secret(struct str secret);

#endif
