/* SPDX-License-Identifier: Apache-2.0 */
/* What the server and `hookmesh filter-host` say to each other: frames of native structs over two pipes, because both ends are the same program on the
 * same machine. The child answers in the order in which it was asked; behind one of the last three kinds it ends. */
#ifndef WORK_FILTER_WIRE_H
#define WORK_FILTER_WIRE_H

#include <stdint.h>

/* To the child: this, then `when`, the program and the JSON without gaps. Either of the first two may be missing (0 bytes). */
struct filter_ask {
    uint32_t size; /* of the whole frame */
    uint32_t number;
    uint32_t when_n;
    uint32_t program_n;
    uint32_t timeout_ms; /* of each */
    uint64_t output_max;
};

enum filter_said_kind {
    FILTER_OUTPUT = 1, /* of the program */
    FILTER_UNWANTED,   /* `when` does not want it */
    FILTER_FAILED,     /* in jq's words */
    FILTER_TIMEOUT,
    FILTER_MEMORY,
    FILTER_CRASH, /* its body is the signal's number */
};

/* From the child: this, then size - sizeof(this) bytes. */
struct filter_said {
    uint32_t size;
    uint32_t number;
    uint32_t kind;
    uint32_t in_when; /* what it tells happened in `when` */
};

#endif
