/* SPDX-License-Identifier: Apache-2.0 */
/* The statements of trigger/db: what stands in the database, and how it is read. */
#ifndef TRIGGER_DB_SQL_H
#define TRIGGER_DB_SQL_H

#include "base/buf.h"
#include "config/config.h"

/* One row: is all there that triggers share? */
extern const char db_sql_is_set_up[];
void db_sql_set_up(struct buf *out);

/* $1 table, $2 name of the trigger: one row {comment, is the table there?} */
extern const char db_sql_trigger_of[];
void db_sql_table(struct buf *out, const struct db_trigger *t); /* quoted, for $1 and statements */
void db_sql_trigger_name(struct buf *out, const struct db_trigger *t);
/* The comment of the trigger that we would make: another one is an older one. */
void db_sql_mark(struct buf *out, const struct db_trigger *t);
void db_sql_make_trigger(struct buf *out, const struct db_trigger *t);

/* $1 the trigger's name in the configuration. */
extern const char db_sql_make_cursor[];
extern const char db_sql_mend_cursor[];
/* Rows {txid, id, op, id of the row as JSON, may it be taken?}, in order. A transaction that is still under way may have drawn a lower number than one that is done:
 * what is not below the oldest one under way waits, so that the cursor never passes a change that nobody can see yet. */
extern const char db_sql_read[];
enum { DB_SQL_BATCH = 200 };
/* $2 txid, $3 id */
extern const char db_sql_move_cursor[];
extern const char db_sql_remove[];

#endif
