/* SPDX-License-Identifier: Apache-2.0 */
/* Each trigger of the configuration has lines and a cursor of its own, so that one can be taken away, or be behind, without the others. The
 * function runs as its owner: whoever may change the table need not be able to touch our schema. Only ids leave the row. */
#include "trigger/db_sql.h"

#include <stdio.h>
#include <string.h>

#include "net/pg.h"

enum { NAME_MAX_BYTES = 63, NAME_KEPT = 40 };

#define PREFIX "hookmesh_"

const char db_sql_is_set_up[] = "SELECT to_regclass('hookmesh.changes') IS NOT NULL AND "
                                "to_regclass('hookmesh.cursors') IS NOT NULL AND "
                                "to_regprocedure('hookmesh.changed()') IS NOT NULL";

static const char set_up[] =
    "CREATE SCHEMA IF NOT EXISTS hookmesh;\n"
    "CREATE TABLE IF NOT EXISTS hookmesh.changes (\n"
    "    id bigserial PRIMARY KEY,\n"
    "    txid bigint NOT NULL DEFAULT txid_current(),\n"
    "    source text NOT NULL,\n"
    "    \"table\" text NOT NULL,\n"
    "    op text NOT NULL,\n"
    "    row_id jsonb,\n"
    "    at timestamptz NOT NULL DEFAULT now()\n"
    ");\n"
    "CREATE INDEX IF NOT EXISTS changes_in_order ON hookmesh.changes (source, txid, id);\n"
    "CREATE TABLE IF NOT EXISTS hookmesh.cursors (\n"
    "    source text PRIMARY KEY,\n"
    "    txid bigint NOT NULL DEFAULT 0,\n"
    "    id bigint NOT NULL DEFAULT 0,\n"
    "    at timestamptz NOT NULL DEFAULT now()\n"
    ");\n"
    "CREATE OR REPLACE FUNCTION hookmesh.changed() RETURNS trigger\n"
    "    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$\n"
    "DECLARE\n"
    "    row_id jsonb;\n"
    "BEGIN\n"
    "    IF TG_OP = 'DELETE' THEN\n"
    "        EXECUTE format('SELECT to_jsonb(($1).%I)', TG_ARGV[1]) INTO row_id USING OLD;\n"
    "    ELSE\n"
    "        EXECUTE format('SELECT to_jsonb(($1).%I)', TG_ARGV[1]) INTO row_id USING NEW;\n"
    "    END IF;\n"
    "    INSERT INTO hookmesh.changes (source, \"table\", op, row_id)\n"
    "        VALUES (TG_ARGV[0], TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, lower(TG_OP), row_id);\n"
    "    PERFORM pg_notify('hookmesh', TG_ARGV[0]);\n"
    "    RETURN NULL;\n"
    "END $$;\n";

/* Two servers may find at once that it is missing; somebody may hold the table for an hour. */
static const char first[] =
    "SELECT set_config('lock_timeout', '5s', true), pg_advisory_xact_lock(4665, 1);\n";

const char db_sql_trigger_of[] =
    "SELECT (SELECT obj_description(t.oid, 'pg_trigger') FROM pg_trigger t "
    "WHERE t.tgrelid = to_regclass($1) AND t.tgname = $2::name), to_regclass($1) IS NOT NULL";

const char db_sql_make_cursor[] =
    "INSERT INTO hookmesh.cursors (source) VALUES ($1) ON CONFLICT (source) DO NOTHING";

/* After a restore into another server its transactions have lower numbers than those that the cursor tells of. */
const char db_sql_mend_cursor[] =
    "UPDATE hookmesh.cursors SET txid = 0, id = 0, at = now() WHERE source = $1 AND "
    "txid > txid_snapshot_xmax(txid_current_snapshot())";

#define TEXT_OF(n) #n
#define TEXT(n)    TEXT_OF(n)
#define BATCH      200
_Static_assert(BATCH == (int)DB_SQL_BATCH, "one number");

const char db_sql_read[] = "SELECT c.txid, c.id, c.op, c.row_id, "
                           "c.txid < txid_snapshot_xmin(txid_current_snapshot()) "
                           "FROM hookmesh.changes c WHERE c.source = $1 AND (c.txid, c.id) > "
                           "(SELECT k.txid, k.id FROM hookmesh.cursors k WHERE k.source = $1) "
                           "ORDER BY c.txid, c.id LIMIT " TEXT(BATCH);

const char db_sql_move_cursor[] =
    "UPDATE hookmesh.cursors SET txid = $2, id = $3, at = now() WHERE source = $1 AND "
    "(txid, id) < ($2::bigint, $3::bigint)";

const char db_sql_remove[] = "DELETE FROM hookmesh.changes WHERE source = $1 AND "
                             "(txid, id) <= ($2::bigint, $3::bigint)";

void db_sql_set_up(struct buf *out)
{
    buf_puts(out, first);
    buf_puts(out, set_up);
}

void db_sql_table(struct buf *out, const struct db_trigger *t)
{
    struct str rest = str_of(t->table);
    while (rest.p != NULL) {
        pg_identifier(out, str_split(&rest, '.'));
        if (rest.p != NULL)
            buf_char(out, '.');
    }
}

/* Names of more than 63 bytes are cut by PostgreSQL, and then two may be one. */
void db_sql_trigger_name(struct buf *out, const struct db_trigger *t)
{
    size_t n = strlen(t->name);
    if (n + sizeof PREFIX - 1 <= NAME_MAX_BYTES) {
        buf_printf(out, PREFIX "%s", t->name);
        return;
    }
    uint64_t sum = 14695981039346656037U; /* FNV-1a */
    for (const char *p = t->name; *p != '\0'; p++)
        sum = (sum ^ (unsigned char)*p) * 1099511628211U;
    size_t kept = NAME_KEPT;
    while (kept > 0 && (t->name[kept] & 0xC0) == 0x80)
        kept--; /* not inside a character */
    buf_printf(out, PREFIX "%.*s_%08x", (int)kept, t->name, (unsigned)sum);
}

static void events_of(struct buf *out, const struct db_trigger *t)
{
    if (t->events == NULL || t->events[0] == NULL) {
        buf_puts(out, "insert or update or delete");
        return;
    }
    for (size_t i = 0; t->events[i] != NULL; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : " or ", t->events[i]);
}

void db_sql_mark(struct buf *out, const struct db_trigger *t)
{
    buf_printf(out, "hookmesh 1: %s of ", t->column != NULL ? t->column : "id");
    events_of(out, t);
}

void db_sql_make_trigger(struct buf *out, const struct db_trigger *t)
{
    struct buf table = {0};
    struct buf name = {0};
    struct buf text = {0};
    db_sql_table(&table, t);
    db_sql_trigger_name(&text, t);
    pg_identifier(&name, buf_view(&text));
    buf_puts(out, first);
    buf_printf(out, "DROP TRIGGER IF EXISTS %s ON %s;\n", name.p, table.p);
    buf_printf(out, "CREATE TRIGGER %s AFTER ", name.p);
    events_of(out, t);
    buf_printf(out, " ON %s\n    FOR EACH ROW EXECUTE FUNCTION hookmesh.changed(", table.p);
    pg_literal(out, str_of(t->name));
    buf_puts(out, ", ");
    pg_literal(out, str_of(t->column != NULL ? t->column : "id"));
    buf_printf(out, ");\nCOMMENT ON TRIGGER %s ON %s IS ", name.p, table.p);
    buf_clear(&text);
    db_sql_mark(&text, t);
    pg_literal(out, buf_view(&text));
    buf_puts(out, ";\n");
    buf_finish(&table);
    buf_finish(&name);
    buf_finish(&text);
}
