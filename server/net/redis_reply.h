/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to replies (hiredis' parser). Of net/redis alone; what a reply is made of is read by the
 * functions in net/redis.h. */
#ifndef NET_REDIS_REPLY_H
#define NET_REDIS_REPLY_H

#include <stddef.h>

#include "base/err.h"
#include "net/redis.h"

struct reply_parser;

struct reply_parser *reply_parser_new(void);
void reply_parser_free(struct reply_parser *p); /* NULL is fine */
void reply_parser_feed(struct reply_parser *p, const char *bytes, size_t n);
/* The next whole reply, valid until the next call of any of these; NULL when more bytes are needed, or, with e filled, when
 * the stream cannot be read: then no more can come of it. e->code must be ERR_NONE before. */
const struct reply *reply_parser_next(struct reply_parser *p, struct err *e);

#endif
