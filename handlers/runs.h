/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and dead letters over HTTP. Logs come as NDJSON, or as a stream of events that follows the run to its end. */
#ifndef HANDLERS_RUNS_H
#define HANDLERS_RUNS_H

#include "net/http.h"

void runs_list(struct http_req *q);   /* GET /v1/runs?pipeline=|job=&state=&since=&limit=&cursor= */
void runs_get(struct http_req *q);    /* GET /v1/runs/:id */
void runs_logs(struct http_req *q);   /* GET /v1/runs/:id/logs */
void runs_cancel(struct http_req *q); /* POST /v1/runs/:id/cancel */
void runs_retry(struct http_req *q);  /* POST /v1/runs/:id/retry?from_start=1 */

void runs_dead_list(struct http_req *q);  /* GET /v1/dlq */
void runs_dead_retry(struct http_req *q); /* POST /v1/dlq/retry: all */
void runs_dead_purge(struct http_req *q); /* DELETE /v1/dlq */

void runs_stop(void); /* ends the log streams that are open */

#endif
