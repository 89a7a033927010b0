/* SPDX-License-Identifier: Apache-2.0 */
/* Runs over HTTP. Logs come as NDJSON, or as a stream of events that follows the run to its end. */
#ifndef HANDLERS_RUNS_H
#define HANDLERS_RUNS_H

#include "net/http.h"

void runs_list(
    struct http_req *q); /* GET /v1/runs?job=&state=&cause=&since=&until=&limit=&cursor= */
void runs_get(struct http_req *q);    /* GET /v1/runs/:id */
void runs_output(struct http_req *q); /* GET /v1/runs/:id/output */
void runs_logs(struct http_req *q);   /* GET /v1/runs/:id/logs */
void runs_cancel(struct http_req *q); /* POST /v1/runs/:id/cancel */
void runs_retry(struct http_req *q);  /* POST /v1/runs/:id/retry?from_start=1 */

void runs_stop(void); /* ends the log streams that are open */

#endif
