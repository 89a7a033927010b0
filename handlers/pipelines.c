/* SPDX-License-Identifier: Apache-2.0 */
/* The map as pipeline/core tells it. */
#include "handlers/pipelines.h"

#include "core/run.h"
#include "handlers/query.h"

void pipelines_map(struct http_req *q)
{
    pipeline_map(query_on_json, q);
}
