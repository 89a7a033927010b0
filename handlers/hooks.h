/* SPDX-License-Identifier: Apache-2.0 */
/* POST /hooks/...: webhook deliveries. Each that arrives leaves one line in the ledger, whatever became of it. */
#ifndef HANDLERS_HOOKS_H
#define HANDLERS_HOOKS_H

#include "handlers/verify.h"
#include "net/http.h"
#include "trigger/webhook.h"

/* For the route of all below /hooks/: all methods, refusals too, open to everybody. */
void hooks_post(struct http_req *q);
/* The largest body that the path's trigger takes. */
size_t hooks_max_body(const struct http_req *q);

/* The way of a delivery that may be believed, from its content on: answers w->user (a struct http_req) and frees w. */
void hooks_take(struct webhook *w, webhook_header_fn header, const void *arg);
/* How deliveries for a hook are read: its row of the table of schemes. */
const struct verify_scheme *hooks_scheme(struct config *c, const struct hook *hook);

/* At the end of the process, after http_stop and spool_stop: frees what is kept for further deliveries. */
void hooks_finish(void);

#endif
