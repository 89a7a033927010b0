/* SPDX-License-Identifier: Apache-2.0 */
/* What those ask who run the server: is it alive, is it ready, how is it. */
#ifndef HANDLERS_ADMIN_H
#define HANDLERS_ADMIN_H

#include "net/http.h"

void admin_health(struct http_req *q);  /* GET /healthz: the process answers */
void admin_ready(struct http_req *q);   /* GET /readyz: 200, or 503 with the reasons */
void admin_metrics(struct http_req *q); /* GET /metrics, Prometheus text */
void admin_status(struct http_req *q);  /* GET /v1/status, for the dashboard */

#endif
