/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HANDLERS_SCHEDULES_H
#define HANDLERS_SCHEDULES_H

#include "net/http.h"

void schedules_list(struct http_req *q); /* GET /v1/schedules?job=&n=: each with its next fires */

#endif
