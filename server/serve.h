/* SPDX-License-Identifier: Apache-2.0 */
/* The server: everything started in order, stopped in reverse. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include <stdbool.h>

#include "base/err.h"
#include "cli.h"

/* Runs until SIGTERM or SIGINT; the exit code. argv: the words behind `serve`, NULL-terminated, for workers. demo: says where the
 * dashboard is, with a link that works once. */
int serve_main(const struct serve_options *o, char **argv, bool demo);

/* "127.0.0.1:4665", "[::1]:0" */
bool serve_parse_listen(const char *listen, char host[256], int *port, struct err *e) MUST_CHECK;

#endif
