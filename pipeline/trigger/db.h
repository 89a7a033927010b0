/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that change in PostgreSQL start runs.
 *
 * A trigger in the database writes each change as a line of hookmesh.changes, in the transaction of the change itself, and notifies. We listen; on a
 * notification, after a reconnect and on the sweep we read the lines behind our cursor, start a run for each, and only then move the cursor. So a lost
 * notification or a lost connection costs time and no change; and a change that is read twice starts one run, because its name is known. */
#ifndef TRIGGER_DB_H
#define TRIGGER_DB_H

#include "base/buf.h"
#include "config/config.h"

void db_start(void); /* after store_start */
void db_configure(struct config *c);
void db_stop(void);

/* What the database needs, for those who set it up by hand. */
void db_setup_sql(struct buf *out, const struct config *c);

#endif
