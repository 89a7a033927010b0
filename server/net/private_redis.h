/* SPDX-License-Identifier: Apache-2.0 */
/* A redis-server of our own, for when no URL is given: unix socket only (port 0), AOF on (everysec), noeviction,
 * keyspace notifications set, in DATA/redis (0700), locked by DATA/lock (flock) against a second server.
 *
 * It gets SIGTERM when we die, however we die (PR_SET_PDEATHSIG), and then saves; a next start waits for the old one's
 * end before it starts its own. Its socket's path may be longer than 107 bytes: redis_open copes; redis-cli must be
 * started in its directory then. */
#ifndef NET_PRIVATE_REDIS_H
#define NET_PRIVATE_REDIS_H

#include <stdbool.h>

#include "base/err.h"

struct private_redis_options {
    const char *data_dir;    /* made when missing */
    const char *appendfsync; /* "everysec" (default when NULL), "always", "no" */
    const char *program;     /* NULL: redis-server from PATH */
};
/* ready(arg, url, NULL) once it has loaded its data and answers (again, when it died and was started again), or
 * ready(arg, NULL, e) when it cannot be started: then nothing goes on, and a new private_redis_start may follow. When
 * it cannot be started *again*, that is logged and tried on with growing pauses. The url is unix://... */
typedef void (*private_redis_fn)(void *arg, const char *url, const struct err *e);
void private_redis_start(const struct private_redis_options *o, private_redis_fn ready, void *arg);
/* SIGTERM, wait for its end (at most 10 s, then SIGKILL), then done(arg). */
void private_redis_stop(void (*done)(void *arg), void *arg);
int private_redis_pid(void); /* 0: none runs */

#endif
