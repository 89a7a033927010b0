/* SPDX-License-Identifier: Apache-2.0 */
/* What is wrong with a configuration: errors and warnings with their place, collected over all files and told
 * in one go, in the order of files and lines, each with its source line and a caret under the place.
 *
 * Texts are copied; a struct source must outlive the report. */
#ifndef CONFIG_REPORT_H
#define CONFIG_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct source { /* one file as it was read */
    char *name; /* as it is shown: "config/github/hookmesh.yaml" */
    struct buf text;
    size_t order; /* among the files */
};

struct place {
    const struct source *source; /* NULL: not in a file */
    const char *where;           /* without a source: "HOOKMESH_LEASE", "--set lease=..." */
    int line;                    /* from 1 */
    int column;                  /* from 1, in characters */
};

struct report;
struct report *report_new(void);
void report_free(struct report *r); /* NULL is fine */
void report_error(struct report *r, struct place at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void report_warning(struct report *r, struct place at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
size_t report_errors(const struct report *r);
/* All errors with source lines; secrets redacted. */
void report_render(struct report *r, struct buf *out);
/* The warnings, one line each; NULL behind the last; the caller frees all. */
char **report_take_warnings(struct report *r);

#endif
