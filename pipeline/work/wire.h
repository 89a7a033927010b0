/* SPDX-License-Identifier: Apache-2.0 */
/* What the server and an extension host say to each other: frames of native structs over two pipes, because both ends
 * are the same program on the same machine. The host answers in the order of the jobs.
 *
 * Answers are written in batches, so the last answer received does not tell what the host was doing when it
 * died. That stands in one shared page, which outlives the host. Nothing in a frame or in the page is trusted by the server: the
 * host has a stranger's code in it. */
#ifndef WORK_WIRE_H
#define WORK_WIRE_H

#include <stdatomic.h>
#include <stdint.h>

/* To the host: this, then also_n lengths (u32), then key, run, input and the also values without gaps. */
struct wire_job {
    uint32_t size;   /* of the whole frame */
    uint32_t number; /* rises by one from 0 */
    uint32_t job;    /* index into the names of the hello */
    uint32_t attempt;
    uint32_t key_n;
    uint32_t run_n;
    uint32_t input_n;
    uint32_t also_n;
};

#define WIRE_ABSENT UINT32_MAX /* length of an also value that is not there */

enum wire_kind {
    WIRE_HELLO = 1, /* the first frame: the names of the jobs, a newline behind each */
    WIRE_REFUSED,   /* instead of it: why the object could not be loaded; the host ends */
    WIRE_RESULT,
    WIRE_LOG,
};

/* From the host: this, then size - sizeof(this) bytes. */
struct wire_answer {
    uint32_t size;
    uint32_t number;
    uint32_t kind;   /* enum wire_kind */
    uint32_t result; /* WIRE_RESULT: enum hookmesh_result */
};

/* The shared page; the host writes, the server reads. */
struct wire_progress {
    _Atomic uint32_t begun;     /* number of the last job begun, + 1; 0: none yet */
    _Atomic int64_t begun_us;   /* clock_mono_us() then */
    _Atomic int64_t worked_us;  /* spent in jobs so far */
    _Atomic uint64_t committed; /* bytes of finished frames, written out or not */
};

#endif
