/* SPDX-License-Identifier: Apache-2.0 */
/* Structured logs: one line an entry on stderr, logfmt or JSON.
 *
 *     log_info("run", "started", "run=%s stage=%s", id, stage);
 *     ts=2026-11-20T09:00:00.123Z level=info mod=run event=started run=... stage=...
 *
 * fmt yields key=value pairs; a value with spaces is written by log_quote: "error=%s", log_quotez(e->text).
 * Secrets that were registered by log_secret are replaced by [redacted] wherever they appear, here and in
 * every text that passes log_redact (events, errors, run logs). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/buf.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_setup(enum log_level level, bool json, int fd); /* default: info, logfmt, stderr */
bool log_parse_level(const char *name, enum log_level *out);
bool log_wants(enum log_level level);

void log_write(enum log_level level, const char *module, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define log_debug(...) (log_wants(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...)  log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

/* A quoted copy for a value with spaces or control characters; valid until the fourth next call. */
const char *log_quote(struct str s);
#define log_quotez(s) log_quote(str_of(s))

void log_secret(struct str secret); /* shorter than 6 bytes: ignored, it would redact words */
/* In place, from that offset on. Tokens of runs are known by their look, because there are too many to be registered. */
#define LOG_RUN_TOKEN "hmr1."
void log_redact(struct buf *text, size_t from);
void log_forget_secrets(void);

#endif
