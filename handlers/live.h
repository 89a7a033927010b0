/* SPDX-License-Identifier: Apache-2.0 */
/* The live stream of browsers: WebSocket /v1/live. The protocol is described in README.md of this folder. */
#ifndef HANDLERS_LIVE_H
#define HANDLERS_LIVE_H

#include "config/config.h"
#include "net/hub.h"

/* The row for hub_start, with the limits of the settings. */
struct hub_service live_service(const struct settings *s);
/* After store_start, before hub_start. */
void live_start(void);
/* After hub_stop: lets go of what the clients left behind. */
void live_stop(void);

#endif
