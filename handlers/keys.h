/* SPDX-License-Identifier: Apache-2.0 */
/* Keys over HTTP: one at a time with versions as ETags, listed, watched as a stream of events, and many at once as lines. */
#ifndef HANDLERS_KEYS_H
#define HANDLERS_KEYS_H

#include "base/buf.h"
#include "net/http.h"

void keys_get(struct http_req *q);    /* GET /v1/kv/KEY: the value as the body */
void keys_put(struct http_req *q);    /* PUT /v1/kv/KEY, with If-Match or If-None-Match */
void keys_delete(struct http_req *q); /* DELETE /v1/kv/KEY, with If-Match */
void keys_list(struct http_req *q);   /* GET /v1/kv?match=PATTERN&values=1&limit=N; &watch=1 */
void keys_watch(struct http_req *q, struct str pattern); /* keys_watch.c */
void keys_bulk(struct http_req *q);                      /* POST /v1/kv, keys_bulk.c */

/* Ends the streams that are open. */
void keys_list_stop(void);
void keys_watch_stop(void);

bool keys_is_json(struct str value);
/* ,"value":JSON for a value that is JSON, else ,"text":"..." for text, else ,"base64":"...". one_line: line breaks
 * between the tokens of JSON become spaces. */
void keys_add_value(struct buf *out, struct str value, bool one_line);

#endif
