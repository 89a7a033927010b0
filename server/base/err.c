/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *title;
    int status;
    bool retryable;
} table[ERR_COUNT] = {
#define X(code, status, retryable, title) {#code, title, status, retryable},
#include "base/err.def"
#undef X
};

bool err_fail(struct err *e, enum err_code code, const char *fmt, ...)
{
    if (e == NULL)
        return false;
    e->code = code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return false;
}

bool err_errno(struct err *e, const char *fmt, ...)
{
    int saved = errno;
    if (e == NULL)
        return false;
    e->code = ERR_SYSTEM;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", strerror(saved));
    return false;
}

const char *err_name(enum err_code code)
{
    return table[code].name;
}

const char *err_title(enum err_code code)
{
    return table[code].title;
}

int err_http_status(enum err_code code)
{
    return table[code].status;
}

bool err_retryable(enum err_code code)
{
    return table[code].retryable;
}

void must_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "hookmesh: broken invariant: %s (%s:%d)\n", what, file, line);
    abort();
}
