/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters over HTTP. A letter goes by the id of its run. */
#ifndef HANDLERS_DEAD_H
#define HANDLERS_DEAD_H

#include "net/http.h"

void dead_letters(struct http_req *q);    /* GET /v1/dlq?job=&limit=&cursor= */
void dead_letter(struct http_req *q);     /* GET /v1/dlq/:id */
void dead_again(struct http_req *q);      /* POST /v1/dlq/:id/retry */
void dead_again_all(struct http_req *q);  /* POST /v1/dlq/retry?job= */
void dead_forget(struct http_req *q);     /* DELETE /v1/dlq/:id */
void dead_forget_all(struct http_req *q); /* DELETE /v1/dlq?job= */

#endif
