/* SPDX-License-Identifier: Apache-2.0 */
/* Every URL of the server, as the table that net/http reads. */
#ifndef HANDLERS_ROUTES_H
#define HANDLERS_ROUTES_H

#include "net/http.h"

const struct http_route *routes_table(void);
/* Ends the answers that would go on for ever (streams of keys and logs). Before http_stop, which waits for those under way. */
void routes_stop(void);

#endif
