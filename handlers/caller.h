/* SPDX-License-Identifier: Apache-2.0 */
/* The work of an agent as a caller of ours: by the token of its run it may start its agent's allowed jobs, as long as that run goes on, and see what it
 * started. Everybody else passes through here untouched. */
#ifndef HANDLERS_CALLER_H
#define HANDLERS_CALLER_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"
#include "net/http.h"

struct caller {
    bool is_agent; /* false: none of the rest counts */
    char *run;     /* that asks */
    char *agent;
    int depth;    /* of the run that it would start */
    char *detail; /* JSON members for the record of that run */
    char
        *refusal; /* why it may not start this job: to be recorded and answered 403; NULL: it may */
};

/* Whether the request's caller may start p. e: it may nothing, and nothing is to be recorded. Fires once, at once when it is no agent. */
typedef void (*caller_fn)(void *arg, const struct err *e);
void caller_judge(struct caller *c, struct http_req *q, const struct config *config,
                  const struct pipeline *p, caller_fn fn, void *arg);
void caller_finish(struct caller *c);

/* Goes on with then(q) if the caller may see the run :id, else answers 404. */
void caller_sees_run(struct http_req *q, http_handler_fn then);

#endif
