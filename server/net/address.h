/* SPDX-License-Identifier: Apache-2.0 */
/* Which addresses lie in the public internet. Whoever may name a URL in a configuration or a payload must not thereby
 * reach what only this machine or its network can (RFC 6890 and its registries). */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <stdbool.h>

struct sockaddr;

/* False also for families other than IPv4 and IPv6. */
bool address_is_public(const struct sockaddr *a);

#endif
