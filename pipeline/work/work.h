/* SPDX-License-Identifier: Apache-2.0 */
/* The runners of a stage's work: command, http, extension. Each registers itself with core/claim. */
#ifndef WORK_WORK_H
#define WORK_WORK_H

#include "base/err.h"
#include "config/config.h"

bool work_start(struct err *e) MUST_CHECK;
void work_configure(
    struct config *c); /* kept processes and extension hosts of work that is gone end when idle */
void work_stop(void (*done)(void *arg), void *arg);

/* What the child `hookmesh extension-host PATH` does. */
int work_extension_host_main(int argc, char **argv);

#endif
