/* SPDX-License-Identifier: Apache-2.0 */
/* The events of /v1/live for clients without WebSocket: GET /v1/events, as server-sent events. */
#ifndef HANDLERS_EVENTS_H
#define HANDLERS_EVENTS_H

#include "net/http.h"

void events_stream(struct http_req *q); /* GET /v1/events?topics=runs,run:ID,...&after=ID */
void events_stop(void);                 /* ends the streams that are open */

#endif
