/* SPDX-License-Identifier: Apache-2.0 */
/* The strict reader of WebSocket frames from a client (RFC 6455), in front of libwebsockets: bytes in, verdict out, no I/O.
 *
 * It follows the frame headers alone and skips the payloads; it owns nothing and remembers some 40 bytes a connection. */
#ifndef NET_WSGUARD_H
#define NET_WSGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsguard {
    uint64_t left;    /* payload bytes of the current frame still to come */
    uint64_t message; /* payload bytes of the current message so far announced */
    uint32_t fragments;
    unsigned char header[14];
    unsigned char header_n;
    bool inside; /* a message was begun and waits for its continuation */
};

/* Looks at the next n bytes. 0: good. Otherwise the close code of the violation (1002, 1003, 1008, 1009) with *why set; *good is
 * the number of bytes in front of the bad frame. */
int wsguard_read(struct wsguard *g, const void *bytes, size_t n, size_t max_message, size_t *good,
                 const char **why);

#endif
