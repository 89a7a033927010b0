/* SPDX-License-Identifier: Apache-2.0 */
/* The one way in which failures of the world are told.
 *
 * A function that can fail returns bool and takes a struct err last; it fills it only when it
 * returns false. A callback gets a const struct err, NULL meaning success. Our own bugs are not
 * errors: must() aborts. The text is one sentence for a person that says what to do; it never holds
 * a secret. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err_code {
#define X(code, status, retryable, title) code,
#include "base/err.def"
#undef X
    ERR_COUNT
};

struct err {
    enum err_code code;
    char text[512];
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills e (which may be NULL) and returns false, so that a guard is one line. */
bool err_fail(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Like err_fail with ERR_SYSTEM and ": strerror(errno)" appended. */
bool err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_name(enum err_code code);  /* "ERR_NOT_FOUND" */
const char *err_title(enum err_code code); /* "not found" */
int err_http_status(enum err_code code);
bool err_retryable(enum err_code code);

/* Always on: a broken invariant of ours ends the process before it can do harm. */
#define must(x) ((x) ? (void)0 : must_failed(#x, __FILE__, __LINE__))
__attribute__((noreturn)) void must_failed(const char *what, const char *file, int line);

#endif
