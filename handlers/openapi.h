/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HANDLERS_OPENAPI_H
#define HANDLERS_OPENAPI_H

#include "net/http.h"

void openapi_get(struct http_req *q); /* GET /v1/openapi.json */

#endif
