/* SPDX-License-Identifier: Apache-2.0 */
/* `hookmesh demo`: a server that is of use without a word of configuration. */
#ifndef SERVER_DEMO_H
#define SERVER_DEMO_H

#include "base/err.h"
#include "cli.h"

/* Before the configuration is loaded: the examples if no --config was given, and a secret for signed webhooks in
 * DATA/secret-github unless the environment has one. */
bool demo_prepare(struct serve_options *o, struct err *e) MUST_CHECK;
/* When the server is ready: a first document is put, and the next steps are printed. url is the server's. */
void demo_show(const char *url);
void demo_finish(void);

#endif
