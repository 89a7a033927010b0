/* SPDX-License-Identifier: Apache-2.0 */
/* The interface for stages written in C as a shared object.
 *
 * The object exports `const struct hookmesh_ext hookmesh_ext`. hookmesh loads it into a child process of its own
 * (never into the server) and calls run() for one input at a time; a crash costs that input one attempt. run() gets the
 * input as JSON bytes and appends its result, which must be one JSON value:
 *
 *     static int shout(struct hookmesh_call *call)
 *     {
 *         struct hookmesh_bytes in = call->input;
 *         ...
 *         call->write(call, out, out_n);
 *         return HOOKMESH_OK;
 *     }
 *     static const struct hookmesh_job jobs[] = {{"shout", shout}, {0}};
 *     const struct hookmesh_ext hookmesh_ext = {HOOKMESH_EXT_ABI, jobs};
 */
#ifndef HOOKMESH_EXT_H
#define HOOKMESH_EXT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HOOKMESH_EXT_ABI 1

struct hookmesh_bytes {
    const char *p; /* not NUL-terminated; valid during run() */
    size_t n;
};

enum hookmesh_result {
    HOOKMESH_OK,
    HOOKMESH_RETRY, /* failed for now: counts as an attempt, tried again as the stage's retry says */
    HOOKMESH_FAIL,  /* will never work: to the dead letters */
};

struct hookmesh_call {
    struct hookmesh_bytes input;       /* the value of the watched key */
    const struct hookmesh_bytes *also; /* the values of the stage's `also` keys, in order */
    size_t also_n;
    struct hookmesh_bytes key;                                          /* "pipeline.doc-001.raw" */
    struct hookmesh_bytes run;                                          /* the run's id */
    int attempt;                                                        /* 1 is the first */
    void (*write)(struct hookmesh_call *call, const char *p, size_t n); /* appends to the result */
    void (*log)(struct hookmesh_call *call, const char *line); /* a line for the run's log */
    void (*fail)(struct hookmesh_call *call,
                 const char *why); /* the error's text, with RETRY or FAIL */
};

struct hookmesh_job {
    const char *name;
    int (*run)(struct hookmesh_call *call); /* enum hookmesh_result */
};

struct hookmesh_ext {
    int abi;                         /* HOOKMESH_EXT_ABI */
    const struct hookmesh_job *jobs; /* ends with a row of name NULL */
};

#ifdef __cplusplus
}
#endif
#endif
