/* SPDX-License-Identifier: Apache-2.0 */
/* Sends one notice over one channel: what deliveries of results, notices of dead letters and alerts have in common. */
#ifndef WORK_DELIVER_H
#define WORK_DELIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/pattern.h"
#include "config/config.h"
#include "core/claim.h"
#include "work/notice.h"

/* Borrowed until deliver_send comes back. */
struct deliver_what {
    const struct delivery *to;
    const struct notice_run *run;
    struct str id;      /* notice_id: a repeat is known by it */
    struct str type;    /* "run.succeeded", "alert.failing" */
    struct str subject; /* where `to` has none of its own, as with text */
    struct str text;
    struct str data;                   /* JSON object */
    const struct pattern_match *match; /* for {1} in the names of keys and files */
    int attempt;
};

struct deliver_end {            /* borrowed by the callback */
    enum claim_outcome outcome; /* CLAIM_OK, CLAIM_RETRY, CLAIM_FAIL */
    struct str result;          /* JSON: what was sent where, and the answer's id */
    const char *error;          /* without secrets; NULL when it is OK */
    int64_t retry_after_ms;
};
typedef void (*deliver_fn)(void *arg, const struct deliver_end *end);

/* fn fires exactly once, never inside the call. One attempt takes the setting delivery_timeout at most. */
struct deliver_op;
struct deliver_op *deliver_send(const struct deliver_what *w, deliver_fn fn, void *arg);
void deliver_cancel(struct deliver_op *op); /* fn fires soon, with CLAIM_RETRY */

/* deliver_file.c. Writes a file as a whole: those who read it see the old content or the new one. The path's directory must be there. fn fires once, later;
 * outcome CLAIM_FAIL: what is wrong will not go by itself. */
typedef void (*deliver_file_fn)(void *arg, enum claim_outcome outcome, const char *error);
struct deliver_file;
struct deliver_file *deliver_file_write(const char *path, struct str id, int attempt,
                                        struct buf *content /* taken */, deliver_file_fn fn,
                                        void *arg);
void deliver_file_forget(struct deliver_file *f); /* fn does not fire; the thread ends by itself */
/* The template's path with {1} and {run} put in, each within its own part of the path. */
bool deliver_file_path(struct buf *out, const char *tmpl, const struct pattern_match *m,
                       struct str run, struct err *e) MUST_CHECK;

#endif
