/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HANDLERS_ANALYTICS_H
#define HANDLERS_ANALYTICS_H

#include "net/http.h"

void analytics_jobs(struct http_req *q); /* GET /v1/analytics/jobs?job=&since=7d */

#endif
