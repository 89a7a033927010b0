/* SPDX-License-Identifier: Apache-2.0 */
/* What a child writes to stderr, as lines of a run's log. Lines are bounded in length and number and made
 * printable (bytes that are not UTF-8 and control characters become U+FFFD); the last ones are kept for the error's text. */
#ifndef WORK_LINES_H
#define WORK_LINES_H

#include "base/buf.h"

enum { LINES_TAIL = 300, LINES_LONGEST = 4096 };

struct lines {
    struct buf part; /* of a line that has not ended */
    int64_t count;   /* in this step */
    struct buf tail; /* the last LINES_TAIL bytes or so, lines joined by " / " */
};

/* Where they go. run.n == 0: no step is at work, so they go to the server's own log. */
struct lines_to {
    struct str run;
    struct str stage;
    int64_t max; /* lines a step; later ones are left out */
};

void lines_feed(struct lines *l, const struct lines_to *to, struct str bytes);
void lines_end(struct lines *l, const struct lines_to *to); /* a last line without newline */
void lines_begin_step(struct lines *l);                     /* counts anew, forgets the tail */
struct str lines_tail(const struct lines *l);
void lines_finish(struct lines *l);

/* text made printable as described, at most max bytes of it, "..." behind if it was cut. */
void lines_printable(struct buf *out, struct str text, size_t max);

#endif
