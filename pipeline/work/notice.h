/* SPDX-License-Identifier: Apache-2.0 */
/* What is told of a run that ended, in words and as JSON. Pure: the clock, the network and Redis are elsewhere.
 *
 * A path such as .input.payload.after points into {"run","job","state","error","input","output"}; every other text stands for itself. */
#ifndef WORK_NOTICE_H
#define WORK_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

/* A run as its end is told (the value of run.ended.RUN), or its being late (run.open.RUN). */
struct notice_run {
    struct json *ended; /* owned; the slices below are its, or the caller's */
    struct str run;
    struct str job; /* the job's name, else the pipeline's */
    struct str pipeline;
    struct str state;      /* empty: it goes on */
    struct str error;      /* may be empty */
    struct str output_key; /* may be empty */
    int64_t created_ms;    /* 0: not known, as the others */
    int64_t started_ms;
    int64_t finished_ms;
    int64_t
        missed; /* ticks that were missed before this run, or for which it is recorded as skipped */
    struct str step;   /* that failed; empty: not known */
    int64_t attempts;  /* of that step; 0: not known */
    struct str input;  /* JSON; {NULL,0}: absent */
    struct str output; /* JSON; {NULL,0}: absent */
};
bool notice_parse(struct notice_run *r, struct str value, struct err *e) MUST_CHECK;
void notice_finish(struct notice_run *r);
bool notice_succeeded(const struct notice_run *r);

/* Is the text a path? */
bool notice_is_path(const char *text);
/* The text itself, or what its path points at: a string as it is, everything else as JSON. ERR_NOT_FOUND: nothing is there. */
bool notice_value(struct buf *out, const struct notice_run *r, const char *text,
                  struct err *e) MUST_CHECK;
/* The same as one JSON value. */
bool notice_json(struct buf *out, const struct notice_run *r, const char *text,
                 struct err *e) MUST_CHECK;
/* A result as text: a string, or its member markdown, text, report, summary or message, or indented JSON. */
void notice_output_text(struct buf *out, struct str output);

/* Address of the run in the dashboard. */
void notice_link(struct buf *out, const struct settings *set, struct str run);
/* "a result of analysis", "analysis failed: ..." in one line. */
void notice_subject(struct buf *out, const struct notice_run *r);
/* The whole text of a result, or of a run that failed: job, run, step, error, attempts, how to look at it and try again. */
void notice_text(struct buf *out, const struct notice_run *r, const struct settings *set);
/* {"run","job","pipeline","state",...,"output"}; an output of more than max bytes is left out, and its size told. */
void notice_data(struct buf *out, const struct notice_run *r, const struct settings *set,
                 size_t max);

/* Ends text at max bytes, at the beginning of a character, with a last line that says so. */
void notice_cut(struct buf *text, size_t max);
/* One line: line breaks and control characters become spaces, at most max bytes. */
void notice_line(struct buf *out, struct str text, size_t max);
/* 32 hexadecimal digits that are the same for the same parts. */
void notice_id(struct buf *out, size_t n, const struct str *parts);

#endif
