/* SPDX-License-Identifier: Apache-2.0 */
/* Pipelines: the map with what waits and runs in each stage. */
#ifndef HANDLERS_PIPELINES_H
#define HANDLERS_PIPELINES_H

#include "net/http.h"

void pipelines_map(struct http_req *q); /* GET /v1/pipelines */

#endif
