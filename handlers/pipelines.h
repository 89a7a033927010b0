/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines: the map with what waits and runs in each stage, and as jobs that can be started by hand. */
#ifndef HANDLERS_PIPELINES_H
#define HANDLERS_PIPELINES_H

#include "net/http.h"

void pipelines_map(struct http_req *q); /* GET /v1/pipelines */

void pipelines_jobs(struct http_req *q);  /* GET /v1/jobs */
void pipelines_job(struct http_req *q);   /* GET /v1/jobs/:name */
void pipelines_start(struct http_req *q); /* POST /v1/jobs/:name/runs: body = input */

#endif
