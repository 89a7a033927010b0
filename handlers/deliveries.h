/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of deliveries: GET /v1/deliveries[?outcome=&limit=&cursor=], GET /v1/deliveries/:id, POST /v1/deliveries/:id/replay. */
#ifndef HANDLERS_DELIVERIES_H
#define HANDLERS_DELIVERIES_H

#include "net/http.h"

void deliveries_list(struct http_req *q);
void deliveries_get(struct http_req *q); /* :id is ours or the sender's */
/* Takes the kept delivery through the present configuration. Its signature was judged when it came; whoever replays it vouches
 * for it, so it isn't judged again. */
void deliveries_replay(struct http_req *q);

#endif
