/* SPDX-License-Identifier: Apache-2.0 */
/* Several server processes on one port (SO_REUSEPORT) under a small parent, which owns the private Redis, starts a worker that died again, and passes
 * SIGTERM and SIGHUP on. Workers meet only in Redis. */
#ifndef SERVER_WORKERS_H
#define SERVER_WORKERS_H

#include <stdbool.h>

#include "config/config.h"

bool workers_inside(void); /* is this process a worker? */
/* Runs the loop until the end; the exit code. */
int workers_run(struct config *c, char **argv); /* argv: the words behind `serve` */

#endif
