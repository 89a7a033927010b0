/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs and pipelines as things that can be started: what each is made of, what starts it, and the start by hand. */
#ifndef HANDLERS_JOBS_H
#define HANDLERS_JOBS_H

#include "config/config.h"
#include "net/http.h"

void jobs_list(struct http_req *q); /* GET /v1/jobs */
void jobs_get(struct http_req *q);  /* GET /v1/jobs/:name */
/* POST /v1/jobs/:name/runs[?wait=10s&priority=N&delay=5m]: body = input, Idempotency-Key */
void jobs_start(struct http_req *q);

/* A job's pipeline, or a pipeline, by its name. NULL: answered with 404. */
const struct pipeline *jobs_named(struct http_req *q);

#endif
