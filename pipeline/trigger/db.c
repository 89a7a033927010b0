/* SPDX-License-Identifier: Apache-2.0 */
/* One connection a database, however many triggers watch tables in it. Each trigger is a source: it is set up in the database (once a connection), then
 * it looks whenever it is dirty, one batch at a time: read, start, move the cursor. The cursor moves only when Redis holds every run of
 * the batch; whatever goes wrong before leaves it, and the batch is read again. Several servers do all this at once: the run of a change has a
 * name that Redis takes once, and nobody has to be the one who reads.
 *
 * Everything asynchronous here holds its source (users), which outlives its removal from the configuration until the last of it came back. */
#include "trigger/db.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/store.h"
#include "net/loop.h"
#include "net/pg.h"
#include "trigger/db_sql.h"
#include "trigger/start.h"
#include "work/filter.h"

enum { RETRY_FIRST_MS = 200, RETRY_LAST_MS = 10000, HELD_MS = 500, NUMBER_SIZE = 24 };

struct database {
    struct list node;
    struct pg *pg;
    char *url;
    struct list sources;
};

struct source {
    struct list node;
    struct database *db;   /* NULL: taken out of the configuration */
    struct config *config; /* of which trigger is */
    const struct db_trigger *trigger;
    int users;
    bool set_up;  /* in the database, as far as this connection knows */
    bool looking; /* a batch, or the setting up, is under way */
    bool dirty;
    struct timer *again;
    int64_t again_ms;
    char trouble[400]; /* what was logged last */
    /* The batch. */
    size_t open; /* changes whose runs are not known to be stored */
    bool broken; /* one of them was not, because ... */
    char why[200];
    bool full; /* there may be more behind it */
    bool held; /* the next one waits for a transaction that is under way */
    char txid[NUMBER_SIZE];
    char id[NUMBER_SIZE];
};

/* One change on its way to a run. */
struct change {
    struct source *source;
    struct buf input;
    struct buf once;
    struct buf detail;
};

static struct {
    bool started;
    struct list databases;
    struct timer *sweep;
} self = {.databases = {&self.databases, &self.databases}};

static void look(struct source *s);

static void hold(struct source *s)
{
    s->users++;
}

/* false: s is gone, or of no use any more. */
static bool let_go(struct source *s)
{
    s->users--;
    if (s->db != NULL)
        return true;
    if (s->users == 0) {
        config_unref(s->config);
        mem_free(s);
    }
    return false;
}

static void again_later(struct source *s)
{
    timer_arm(s->again, s->again_ms);
    s->again_ms = s->again_ms * 2 < RETRY_LAST_MS ? s->again_ms * 2 : RETRY_LAST_MS;
}

/* Said once for the same trouble. */
static void trouble(struct source *s, const char *what, const char *why, const char *hint)
{
    char text[sizeof s->trouble];
    snprintf(text, sizeof text, "%s: %s", what, why);
    if (strcmp(text, s->trouble) != 0)
        log_warn("db", "trouble", "trigger=%s error=%s hint=%s", log_quotez(s->trigger->name),
                 log_quotez(text), log_quotez(hint));
    memcpy(s->trouble, text, sizeof text);
    again_later(s);
}

static const char hint_of_rights[] =
    "have the database set up by somebody who may: hookmesh db setup-sql prints how";

static const char *hint_for(const struct err *e)
{
    return e->code == ERR_FORBIDDEN || e->code == ERR_NOT_FOUND ? hint_of_rights
                                                                : "it is tried again by itself";
}

/* Setting up: shared tables, this source's trigger, its cursor. Each step asks, and makes what is missing. */

static void ask(struct source *s, const char *sql, size_t n, const char *const *parameters,
                pg_result_fn fn)
{
    hold(s);
    pg_query(s->db->pg, sql, n, parameters, fn, s);
}

/* The head of every answer's callback: false when there is nothing to go on with. */
static bool answered(struct source *s, const struct err *e, const char *what)
{
    if (!let_go(s))
        return false;
    if (e == NULL)
        return true;
    s->looking = false;
    if (e->code != ERR_UNAVAILABLE || pg_up(s->db->pg))
        trouble(s, what, e->text, hint_for(e));
    return false;
}

static void on_cursor(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)r;
    struct source *s = arg;
    if (!answered(s, e, "the cursor cannot be made"))
        return;
    log_info("db", "watching", "trigger=%s table=%s", log_quotez(s->trigger->name),
             log_quotez(s->trigger->table));
    s->trouble[0] = '\0';
    s->again_ms = RETRY_FIRST_MS;
    s->set_up = true;
    s->looking = false;
    s->dirty = true;
    look(s);
}

static void on_cursor_made(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)r;
    struct source *s = arg;
    if (!answered(s, e, "the cursor cannot be made"))
        return;
    const char *const name[] = {s->trigger->name};
    ask(s, db_sql_mend_cursor, 1, name, on_cursor);
}

static void make_cursor(struct source *s)
{
    const char *const name[] = {s->trigger->name};
    ask(s, db_sql_make_cursor, 1, name, on_cursor_made);
}

static void on_trigger_made(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)r;
    if (answered(arg, e, "the trigger cannot be made"))
        make_cursor(arg);
}

static void on_trigger_of(void *arg, const struct pg_result *r, const struct err *e)
{
    struct source *s = arg;
    if (!answered(s, e, "the table cannot be looked at"))
        return;
    if (!str_is(pg_value(r, 0, 1), "t")) {
        s->looking = false;
        trouble(s, "there is no such table", s->trigger->table, "make it, or mend the name");
        return;
    }
    struct buf mark = {0};
    db_sql_mark(&mark, s->trigger);
    if (str_eq(pg_value(r, 0, 0), buf_view(&mark))) {
        make_cursor(s);
    } else {
        struct buf sql = {0};
        db_sql_make_trigger(&sql, s->trigger);
        ask(s, sql.p, 0, NULL, on_trigger_made);
        buf_finish(&sql);
    }
    buf_finish(&mark);
}

static void look_for_trigger(struct source *s)
{
    struct buf table = {0};
    struct buf name = {0};
    db_sql_table(&table, s->trigger);
    db_sql_trigger_name(&name, s->trigger);
    const char *const parameters[] = {table.p, name.p};
    ask(s, db_sql_trigger_of, 2, parameters, on_trigger_of);
    buf_finish(&table);
    buf_finish(&name);
}

static void on_set_up(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)r;
    if (answered(arg, e, "the tables of hookmesh cannot be made"))
        look_for_trigger(arg);
}

static void on_is_set_up(void *arg, const struct pg_result *r, const struct err *e)
{
    struct source *s = arg;
    if (!answered(s, e, "the database cannot be looked at"))
        return;
    if (str_is(pg_value(r, 0, 0), "t")) {
        look_for_trigger(s);
        return;
    }
    struct buf sql = {0};
    db_sql_set_up(&sql);
    ask(s, sql.p, 0, NULL, on_set_up);
    buf_finish(&sql);
}

static void prepare(struct source *s)
{
    if (s->looking || !pg_up(s->db->pg))
        return;
    s->looking = true;
    ask(s, db_sql_is_set_up, 0, NULL, on_is_set_up);
}

/* A batch: read, start, move on. */

/* Nobody notifies when the transaction ends that it waits for. */
static void look_again_if_held(struct source *s)
{
    s->again_ms = RETRY_FIRST_MS;
    if (s->held)
        timer_arm(s->again, HELD_MS);
}

static void on_moved(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)r;
    struct source *s = arg;
    if (!answered(s, e, "the cursor cannot be moved"))
        return;
    s->looking = false;
    s->trouble[0] = '\0';
    s->dirty |= s->full;
    look_again_if_held(s);
    look(s);
}

static void end_batch(struct source *s)
{
    if (s->broken) {
        s->looking = false;
        trouble(s, "runs cannot be started", s->why, "they will be, when that is mended");
        return;
    }
    const char *const place[] = {s->trigger->name, s->txid, s->id};
    pg_query(s->db->pg, db_sql_move_cursor, 3, place, NULL, NULL);
    ask(s, db_sql_remove, 3, place, on_moved);
}

/* why NULL: its run is stored, or there is to be none. Else all of the batch is read again. */
static void change_done(struct change *c, const char *why)
{
    struct source *s = c->source;
    if (why != NULL) {
        s->broken = true;
        snprintf(s->why, sizeof s->why, "%s", why);
    }
    buf_finish(&c->input);
    buf_finish(&c->once);
    buf_finish(&c->detail);
    mem_free(c);
    if (!let_go(s))
        return;
    if (--s->open == 0)
        end_batch(s);
}

static void on_started(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    (void)outcome;
    (void)run;
    struct change *c = arg;
    bool later = e != NULL && err_http_status(e->code) >= 500;
    if (e != NULL && !later) /* it would be refused for ever, and hold up all behind it */
        log_warn("db", "refused", "change=%s error=%s", log_quote(buf_view(&c->once)),
                 log_quotez(e->text));
    change_done(c, later ? e->text : NULL);
}

/* skip not empty: it is only recorded, with that as the reason. */
static void start_change(struct change *c, struct str skip)
{
    struct config *live = store_config();
    const struct pipeline *p =
        live != NULL ? config_pipeline(live, str_of(c->source->trigger->pipeline)) : NULL;
    if (p == NULL) {
        change_done(c, "the configuration has no such pipeline any more");
        return;
    }
    struct start_request r = {.pipeline = p,
                              .input = buf_view(&c->input),
                              .cause = "database",
                              .detail = buf_view(&c->detail),
                              .once = buf_view(&c->once),
                              .skip = skip,
                              .delay_ms = -1};
    start_run(live, &r, on_started, c);
}

/* The filter has spoken, or could not. true: go on with its output. */
static bool filtered(struct change *c, const char *which, struct str out, const struct err *e)
{
    if (e == NULL && out.n != 0)
        return true;
    if (e != NULL && (e->code == ERR_UNPROCESSABLE || e->code == ERR_TIMEOUT)) {
        char why[sizeof e->text + 32];
        snprintf(why, sizeof why, "%s: %s", which, e->text);
        start_change(c, str_of(why));
        return false;
    }
    change_done(c, e != NULL ? e->text : NULL);
    return false;
}

static void on_input(void *arg, struct str out, const struct err *e)
{
    struct change *c = arg;
    if (!filtered(c, "input", out, e))
        return;
    buf_clear(&c->input);
    buf_str(&c->input, out);
    start_change(c, (struct str){NULL, 0});
}

static void reshape(struct change *c)
{
    const char *program = c->source->trigger->input;
    if (program != NULL)
        filter_run(str_of(program), buf_view(&c->input), on_input, c);
    else
        start_change(c, (struct str){NULL, 0});
}

static void on_when(void *arg, struct str out, const struct err *e)
{
    struct change *c = arg;
    if (e == NULL && !filter_passes(out))
        out.n = 0;
    if (filtered(c, "when", out, e))
        reshape(c);
}

static bool wanted(const struct db_trigger *t, struct str op)
{
    if (t->events == NULL || t->events[0] == NULL)
        return true;
    for (size_t i = 0; t->events[i] != NULL; i++) {
        if (str_is_icase(op, t->events[i]))
            return true;
    }
    return false;
}

static void take_change(struct source *s, const struct pg_result *r, size_t row)
{
    struct str txid = pg_value(r, row, 0);
    struct str id = pg_value(r, row, 1);
    struct str row_id = pg_value(r, row, 3);
    struct change *c = mem_new(struct change);
    c->source = s;
    hold(s);
    s->open++;
    buf_printf(&c->once, "db:%s:%.*s:%.*s", s->trigger->name, (int)id.n, id.p, (int)txid.n, txid.p);
    buf_json_field(&c->detail, "by", str_of(s->trigger->name));
    buf_char(&c->input, '{');
    buf_json_field(&c->input, "table", str_of(s->trigger->table));
    buf_json_field(&c->input, "op", pg_value(r, row, 2));
    buf_json_field_raw(&c->input, "id", row_id.p != NULL ? row_id : STR("null"));
    buf_json_field_raw(&c->input, "change", id);
    buf_char(&c->input, '}');
    if (!wanted(s->trigger, pg_value(r, row, 2)))
        change_done(c, NULL);
    else if (s->trigger->when != NULL)
        filter_run(str_of(s->trigger->when), buf_view(&c->input), on_when, c);
    else
        reshape(c);
}

static void keep_number(char out[NUMBER_SIZE], struct str digits)
{
    snprintf(out, NUMBER_SIZE, "%.*s", (int)digits.n, digits.p);
}

static void on_read(void *arg, const struct pg_result *r, const struct err *e)
{
    struct source *s = arg;
    if (e != NULL && e->code == ERR_NOT_FOUND)
        s->set_up = false; /* somebody took the tables away */
    if (!answered(s, e, "the changes cannot be read"))
        return;
    size_t n = pg_rows(r);
    size_t take = 0;
    while (take < n && str_is(pg_value(r, take, 4), "t"))
        take++;
    s->held = take < n;
    s->full = take == DB_SQL_BATCH;
    s->broken = false;
    if (take == 0) {
        s->looking = false;
        look_again_if_held(s);
        look(s);
        return;
    }
    keep_number(s->txid, pg_value(r, take - 1, 0));
    keep_number(s->id, pg_value(r, take - 1, 1));
    s->open = 1; /* ours: the batch must not end while it is handed out */
    hold(s);
    for (size_t i = 0; i < take && s->db != NULL; i++)
        take_change(s, r, i);
    if (let_go(s) && --s->open == 0)
        end_batch(s);
}

static void look(struct source *s)
{
    if (!s->dirty || s->looking || !pg_up(s->db->pg) || !store_up())
        return;
    if (!s->set_up) {
        prepare(s);
        return;
    }
    const char *const name[] = {s->trigger->name};
    s->dirty = false;
    s->looking = true;
    ask(s, db_sql_read, 1, name, on_read);
}

static void on_again(void *arg)
{
    struct source *s = arg;
    s->dirty = true;
    look(s);
}

/* Connections. */

static void look_at_all(struct database *db)
{
    list_each_safe(at, &db->sources) {
        struct source *s = container_of(at, struct source, node);
        s->dirty = true;
        look(s);
    }
}

static void on_state(void *arg, bool up)
{
    struct database *db = arg;
    if (!up)
        return; /* what is under way fails by itself */
    pg_query(db->pg, "LISTEN hookmesh", 0, NULL, NULL, NULL);
    list_each_safe(at, &db->sources)
        container_of(at, struct source, node)->set_up = false;
    look_at_all(db);
}

static void on_notify(void *arg, struct str channel, struct str payload)
{
    struct database *db = arg;
    if (!str_is(channel, "hookmesh"))
        return;
    list_each_safe(at, &db->sources) {
        struct source *s = container_of(at, struct source, node);
        if (!str_is(payload, s->trigger->name))
            continue;
        s->dirty = true;
        look(s);
    }
}

static void look_everywhere(void)
{
    list_each_safe(at, &self.databases)
        look_at_all(container_of(at, struct database, node));
}

static void on_sweep(void *unused)
{
    (void)unused;
    look_everywhere();
    timer_arm(self.sweep, store_config()->set.sweep);
}

static void on_store(void *unused, bool up)
{
    (void)unused;
    if (up && self.started)
        look_everywhere();
}

/* The configuration. */

static struct database *database_for(const struct db_trigger *t)
{
    list_each(at, &self.databases) {
        struct database *db = container_of(at, struct database, node);
        if (strcmp(db->url, t->url) == 0)
            return db;
    }
    struct err e;
    if (!pg_check_url(t->url, &e)) {
        log_error("db", "bad_url", "trigger=%s url=%s error=%s", log_quotez(t->name),
                  log_quotez(t->url_name != NULL ? t->url_name : ""), log_quotez(e.text));
        return NULL;
    }
    struct database *db = mem_new(struct database);
    db->url = mem_strdup(t->url);
    list_init(&db->sources);
    list_append(&self.databases, &db->node);
    db->pg = pg_open(t->url, t->name, on_state, on_notify, db);
    return db;
}

static void add_source(struct config *c, const struct db_trigger *t)
{
    if (t->url == NULL || t->pipeline == NULL)
        return; /* a snippet that was loaded with undefined names */
    struct database *db = database_for(t);
    if (db == NULL)
        return;
    struct source *s = mem_new(struct source);
    s->db = db;
    s->config = config_ref(c);
    s->trigger = t;
    s->again = timer_new(on_again, s);
    s->again_ms = RETRY_FIRST_MS;
    s->dirty = true;
    list_append(&db->sources, &s->node);
    look(s);
}

static void remove_source(struct source *s)
{
    list_remove(&s->node);
    timer_free(s->again);
    s->again = NULL;
    hold(s);
    s->db = NULL;
    let_go(s);
}

static void remove_all(void)
{
    list_each_safe(at, &self.databases) {
        struct database *db = container_of(at, struct database, node);
        list_each_safe(node, &db->sources)
            remove_source(container_of(node, struct source, node));
        list_remove(&db->node);
        pg_close(db->pg);
        mem_free(db->url);
        loop_free_later(db);
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool same_list(char *const *a, char *const *b)
{
    static char *const none[] = {NULL};
    a = a != NULL ? a : none;
    b = b != NULL ? b : none;
    while (*a != NULL && *b != NULL && strcmp(*a, *b) == 0)
        a++, b++;
    return *a == NULL && *b == NULL;
}

static bool same_trigger(const struct db_trigger *a, const struct db_trigger *b)
{
    return same_text(a->name, b->name) && same_text(a->url, b->url) &&
           same_text(a->table, b->table) && same_text(a->column, b->column) &&
           same_list(a->events, b->events) && same_text(a->pipeline, b->pipeline) &&
           same_text(a->when, b->when) && same_text(a->input, b->input);
}

/* Is each trigger of c watched already, and nothing else? */
static bool is_in_force(const struct config *c)
{
    size_t watched = 0;
    size_t found = 0;
    list_each(at, &self.databases) {
        struct database *db = container_of(at, struct database, node);
        list_each(node, &db->sources) {
            const struct source *s = container_of(node, struct source, node);
            watched++;
            for (size_t i = 0; i < c->db_trigger_n; i++)
                found += same_trigger(s->trigger, &c->db_triggers[i]);
        }
    }
    return watched == c->db_trigger_n && found == watched;
}

void db_configure(struct config *c)
{
    if (!self.started || is_in_force(c))
        return;
    remove_all();
    for (size_t i = 0; i < c->db_trigger_n; i++)
        add_source(c, &c->db_triggers[i]);
}

void db_start(void)
{
    self.started = true;
    self.sweep = timer_new(on_sweep, NULL);
    timer_arm(self.sweep, store_config()->set.sweep);
    store_on_state(on_store, NULL);
    db_configure(store_config());
}

void db_stop(void)
{
    if (!self.started)
        return;
    self.started = false;
    remove_all();
    timer_free(self.sweep);
    self.sweep = NULL;
}

void db_setup_sql(struct buf *out, const struct config *c)
{
    struct buf all = {0};
    db_sql_set_up(&all);
    for (size_t i = 0; i < c->db_trigger_n; i++) {
        buf_char(&all, '\n');
        db_sql_make_trigger(&all, &c->db_triggers[i]);
    }
    buf_puts(out, "BEGIN;\n");
    buf_str(out, buf_view(&all));
    buf_puts(out, "\n-- For the user that hookmesh connects as:\n"
                  "-- GRANT USAGE ON SCHEMA hookmesh TO ...;\n"
                  "-- GRANT SELECT, DELETE ON hookmesh.changes TO ...;\n"
                  "-- GRANT SELECT, INSERT, UPDATE ON hookmesh.cursors TO ...;\n"
                  "COMMIT;\n");
    buf_finish(&all);
}
