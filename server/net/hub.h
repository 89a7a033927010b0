/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket connections (libwebsockets), for live clients and agents alike.
 *
 * A message is sent to many clients as one shared, refcounted struct hub_msg, encoded once. A client has a bounded queue of references; when it is full
 * the client is told to its owner as lagging (on_lag), who may clear the queue and resync it; a client that takes nothing for hub_options.stall_ms is dropped. */
#ifndef NET_HUB_H
#define NET_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct hub_client;

/* One path with its subprotocol and its owner's callbacks. */
struct hub_service {
    const char *path;     /* "/v1/live" */
    const char *protocol; /* "hookmesh.live.v1"; a client that names no subprotocol is taken too */
    size_t max_message;   /* bytes of a whole incoming message (all fragments); more: closed 1009 */
    size_t max_queue;     /* messages that may wait for a client */
    size_t max_queue_bytes;
    void (*on_open)(struct hub_client *c);
    void (*on_message)(
        struct hub_client *c,
        struct str text); /* whole, valid UTF-8; anything else was closed with 1003/1007/1002 */
    void (*on_lag)(struct hub_client *c);
    void (*on_close)(struct hub_client *c); /* the last callback */
};

struct hub_options {
    int64_t ping_ms; /* ping after so long without traffic; no pong within as long again: dropped */
    int64_t stall_ms;
    int max_clients;
};

bool hub_start(const struct hub_options *o, const struct hub_service *services,
               struct err *e) MUST_CHECK; /* rows end with path NULL */
void hub_stop(void); /* closes all with 1001; before http_stop, for those over TLS */
/* Used by net/http: adopts a connected socket whose first bytes (the handshake) are still unread (early is empty) or in early. Takes fd. */
bool hub_adopt(int fd, struct str early, struct err *e);
bool hub_serves(struct str path);
const char *hub_protocol(struct str path); /* the subprotocol spoken there; NULL: not served */

void hub_set_user(struct hub_client *c, void *user);
void *hub_user(const struct hub_client *c);
void hub_close(struct hub_client *c, int code, const char *reason); /* on_close follows */
size_t hub_queued(const struct hub_client *c);
/* Writes what waits as far as the client takes it, now instead of at the end of this turn. hub_send does so when the queue is full. */
void hub_flush(struct hub_client *c);
void hub_clear_queue(struct hub_client *c); /* all that was not begun to be written */
size_t hub_count(void);

struct hub_msg;
struct hub_msg *hub_msg_new(struct str text);   /* one reference, the caller's */
struct hub_msg *hub_msg_ref(struct hub_msg *m); /* one more reference; gives m back */
void hub_msg_release(struct hub_msg *m);
void hub_send(struct hub_client *c, struct hub_msg *m); /* takes a reference of its own */
void hub_send_text(struct hub_client *c, struct str text);

#endif
