/* SPDX-License-Identifier: Apache-2.0 */
/* An asynchronous connection to PostgreSQL (libpq) that comes back by itself.
 *
 * Queries wait in a queue and are made one after the other. A query's callback fires exactly once: with the result, or with an error (ERR_UNAVAILABLE
 * when the connection is or goes away, or the server takes no answer in time: whether it took effect is then unknown; ERR_FORBIDDEN when the user may not;
 * ERR_INTERNAL with PostgreSQL's text for all else). While it is down pg_query fails at the next turn. Reconnects with backoff (100 ms .. 15 s) and jitter.
 * Neither an error nor a log line holds the password. */
#ifndef NET_PG_H
#define NET_PG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct pg;
struct pg_result; /* borrowed by the callback for the time of the call */

/* up true: connected; false: lost, or a try to connect failed for another reason than before (pg_trouble says why). */
typedef void (*pg_state_fn)(void *arg, bool up);
typedef void (*pg_notify_fn)(void *arg, struct str channel, struct str payload);
typedef void (*pg_result_fn)(void *arg, const struct pg_result *r, const struct err *e);

/* Can it be read as a URL or a list of key=value? The text of the error never shows it. */
bool pg_check_url(const char *url, struct err *e) MUST_CHECK;

/* Begins to connect. name is for logs. */
struct pg *pg_open(const char *url, const char *name, pg_state_fn on_state, pg_notify_fn on_notify,
                   void *arg);
void pg_close(
    struct pg
        *p); /* queries under way fail with ERR_CANCELLED after this turn; no other callback */
bool pg_up(const struct pg *p);
const char *pg_trouble(const struct pg *p); /* one sentence; "" when it is up */

/* With parameters ($1 ...), one statement; without, several, which succeed or fail as one. Texts are copied. */
void pg_query(struct pg *p, const char *sql, size_t n, const char *const *parameters,
              pg_result_fn fn, void *arg);

size_t pg_rows(const struct pg_result *r);
struct str pg_value(const struct pg_result *r, size_t row, size_t column); /* {NULL,0}: null */

/* Appends an identifier in double quotes, a text in single ones. */
void pg_identifier(struct buf *out, struct str name);
void pg_literal(struct buf *out, struct str text);

#endif
