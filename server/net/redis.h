/* SPDX-License-Identifier: Apache-2.0 */
/* An asynchronous connection to Redis (hiredis, RESP2) that comes back by itself.
 *
 * A command's callback fires exactly once: with the reply, or with an error (ERR_REDIS when the connection is or goes
 * away: whether the command took effect is then unknown; errors of the server come as ERR_INTERNAL with Redis's text,
 * or ERR_STALE / ERR_CONFLICT / ERR_PRECONDITION when the text begins with STALE / CONFLICT / VERSION, or ERR_UNAVAILABLE
 * when Redis refuses for now (LOADING, OOM, READONLY, MISCONF, BUSY ...): then nothing took effect). Commands are sent in order. While it is down, redis_call fails at the
 * next turn; nothing is queued. Reconnects with exponential backoff (50 ms .. 5 s) and jitter. */
#ifndef NET_REDIS_H
#define NET_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct redis;
struct reply; /* borrowed by the callback for the time of the call */

/* e NULL: success. */
typedef void (*redis_fn)(void *arg, const struct reply *r, const struct err *e);
/* up true: connected, authenticated and selected; false: lost. Called at each change. */
typedef void (*redis_state_fn)(void *arg, bool up);
/* A message of a subscription: channel and payload as received. */
typedef void (*redis_message_fn)(void *arg, struct str channel, struct str payload);

struct redis_url { /* parsed redis://[user:password@]host[:port][/db] or unix:///path[?db=N] */
    char *unix_path;
    char *host;
    int port;
    int db;
    char *user;
    char *password;
};
bool redis_url_parse(const char *url, struct redis_url *out,
                     struct err *e) MUST_CHECK; /* rediss:// is refused: not yet */
void redis_url_finish(struct redis_url *u);

/* name is for logs and CLIENT SETNAME ("work", "bell", "tail"). Starts to connect at once. */
struct redis *redis_open(const struct redis_url *url, const char *name, redis_state_fn on_state,
                         void *arg);
void redis_close(struct redis *r); /* pending callbacks fire with ERR_CANCELLED; r is freed later */
bool redis_up(const struct redis *r);
const char *redis_trouble(
    const struct redis *r);                  /* why it is not up, one sentence; "" when it is */
size_t redis_pending(const struct redis *r); /* commands without a reply yet */

/* The arguments are copied. fn may be NULL. */
void redis_call(struct redis *r, redis_fn fn, void *arg, size_t argc, const struct str *argv);
/* A command of plain words: redis_cmd(r, fn, arg, "CONFIG", "GET", "maxmemory-policy", NULL). */
void redis_cmd(struct redis *r, redis_fn fn, void *arg, ...) __attribute__((sentinel));

/* Pattern subscription, once a connection, which is then for messages only. It is taken up again after each
 * reconnect. on_state(up) fires when the patterns are in force (a second time when it was up before). */
void redis_psubscribe(struct redis *r, redis_message_fn fn, void *arg, size_t n,
                      const struct str *patterns);

/* Replies. NULL (what an error comes with, and what is not in an array) is a nil. */
enum reply_type {
    REPLY_NIL,
    REPLY_STR,
    REPLY_INT,
    REPLY_ARRAY,
    REPLY_STATUS,
    REPLY_ERROR /* only inside an array; alone it is the callback's e */
};
enum reply_type reply_type(const struct reply *r);
struct str reply_str(const struct reply *r); /* {NULL,0} unless a string, status or error */
int64_t reply_int(const struct reply *r);    /* also of a string that is a number; else 0 */
size_t reply_len(const struct reply *r);     /* of an array; else 0 */
const struct reply *reply_at(const struct reply *r, size_t i); /* NULL when there is none */

#endif
