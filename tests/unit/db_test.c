/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that change in a real PostgreSQL, up to the call that starts a run: this stands where Redis and the filters stand, so that they fail when a test
 * wants it. */
#include "trigger/db.h"

#include "base/id.h"
#include "base/json.h"
#include "core/store.h"
#include "net/loop.h"
#include "net/pg.h"
#include "trigger/start.h"
#include "unit/postgres.h"
#include "work/filter.h"

Suite *db_suite(void);

enum { PATIENCE_MS = 30000, RUNS_MAX = 5000 };

static struct postgres server;
static struct config *config;
static struct db_trigger trigger;
static struct db_trigger *loaded; /* the configuration's own, while ours is in its place */
static struct timer *patience;
static bool redis_there = true;
static store_state_fn on_store;
/* What was started. */
static char *runs[RUNS_MAX]; /* "input[ skip: reason]" */
static char *names[RUNS_MAX];
static int run_n;
static int asked_n; /* also those that failed */
static int fail_next;
static enum err_code refusal = ERR_REDIS;
static bool (*until)(void);

/* Core and work, as far as they are asked. */

struct config *store_config(void)
{
    return config;
}

bool store_up(void)
{
    return redis_there;
}

void store_on_state(store_state_fn fn, void *arg)
{
    (void)arg;
    on_store = fn;
}

static void look(void)
{
    if (until != NULL && until())
        loop_stop();
}

struct answer {
    start_fn start;
    filter_fn filter;
    void *arg;
    struct err e;
    bool failed;
    enum start_outcome outcome;
    char *out;
};

static void give(void *arg)
{
    struct answer *a = arg;
    const struct err *e = a->failed ? &a->e : NULL;
    if (a->start != NULL)
        a->start(a->arg, a->outcome, STR("run"), e);
    else
        a->filter(a->arg, str_of(a->out), e);
    mem_free(a->out);
    mem_free(a);
    look();
}

static bool is_known(struct str once)
{
    for (int i = 0; i < run_n; i++) {
        if (str_is(once, names[i]))
            return true;
    }
    return false;
}

void start_run(struct config *c, const struct start_request *r, start_fn fn, void *arg)
{
    struct answer *a = mem_new(struct answer);
    *a = (struct answer){.start = fn, .arg = arg};
    ck_assert_ptr_eq(c, config);
    ck_assert_str_eq(r->cause, "database");
    asked_n++;
    if (fail_next > 0) {
        fail_next--;
        a->failed = true;
        err_fail(&a->e, refusal, "scripted");
    } else if (is_known(r->once)) {
        a->outcome = START_DUPLICATE;
    } else {
        names[run_n] = mem_dup(r->once.p, r->once.n);
        runs[run_n++] =
            mem_format("%.*s%s%.*s", (int)r->input.n, r->input.p, r->skip.n != 0 ? " skip: " : "",
                       (int)r->skip.n, r->skip.p != NULL ? r->skip.p : "");
    }
    loop_defer(give, a);
}

/* "drop", "keep", "fail", or a text that is the output. */
void filter_run(struct str program, struct str json, filter_fn fn, void *arg)
{
    struct answer *a = mem_new(struct answer);
    *a = (struct answer){.filter = fn, .arg = arg};
    a->failed = str_is(program, "fail");
    if (a->failed)
        err_fail(&a->e, ERR_UNPROCESSABLE, "cannot index number");
    else if (str_is(program, "drop odd"))
        a->out = mem_strdup(memmem(json.p, json.n, "\"id\":1,", 7) != NULL ? "false" : "true");
    else
        a->out = mem_dup(program.p, program.n);
    loop_defer(give, a);
}

bool filter_passes(struct str out)
{
    return out.n != 0 && !str_is(out, "false") && !str_is(out, "null");
}

/* The test's side. */

static void out_of_patience(void *arg)
{
    (void)arg;
    for (int i = 0; i < run_n; i++)
        fprintf(stderr, "run %d: %s %s\n", i, names[i], runs[i]);
    ck_abort_msg("waited too long; %d runs", run_n);
}

static void wait_until(bool (*condition)(void))
{
    until = condition;
    timer_arm(patience, PATIENCE_MS);
    while (!condition())
        loop_run();
    timer_disarm(patience);
    until = NULL;
}

static int wanted;

static bool enough_runs(void)
{
    return run_n >= wanted;
}

static void await_runs(int n)
{
    wanted = n;
    wait_until(enough_runs);
    ck_assert_int_eq(run_n, n);
}

static void end_turn(void *arg)
{
    (void)arg;
    loop_stop();
}

/* The loop goes on until this question has that answer. */
static void await_sql(const char *sql, const char *answer)
{
    struct timer *t = timer_new(end_turn, NULL);
    for (int i = 0;; i++) {
        char *got = postgres_sql(&server, sql);
        bool there = strcmp(got, answer) == 0;
        ck_assert_msg(there || i < 1000, "%s: %s, not %s", sql, got, answer);
        mem_free(got);
        if (there)
            break;
        timer_arm(t, 10);
        loop_run();
    }
    timer_free(t);
}

/* All that was changed was started, and is forgotten. */
static void await_quiet(void)
{
    await_sql("SELECT count(*) FROM hookmesh.changes", "0\n");
}

static void await_watching(void)
{
    await_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'hookmesh'", "2\n");
    await_sql("SELECT count(*) FROM hookmesh.cursors", "1\n");
}

static void setup(void)
{
    struct err e;
    struct buf report = {0};
    postgres_make(&server);
    postgres_do(&server, "CREATE TABLE orders (id int PRIMARY KEY, note text)");
    ck_assert(loop_start(&e));
    char *path = mem_format("%s/main.yaml", server.dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fprintf(f,
            "jobs: [{name: order, command: [cat]}]\n"
            "triggers: [{type: db_change, url: \"%s\", table: orders, job: order}]\n",
            server.url);
    fclose(f);
    config = config_load(server.dir, NULL, false, &report);
    ck_assert_msg(config != NULL, "%s", report.p);
    buf_finish(&report);
    mem_free(path);
    ck_assert_uint_eq(config->db_trigger_n, 1);
    loaded = config->db_triggers;
    trigger = loaded[0];
    config->db_triggers = &trigger;
    patience = timer_new(out_of_patience, NULL);
}

static void start(void)
{
    db_start();
    await_watching();
}

static void teardown(void)
{
    db_stop();
    loop_finish();
    config->db_triggers = loaded;
    config->db_trigger_n = 1;
    config_unref(config);
    for (int i = 0; i < run_n; i++) {
        mem_free(runs[i]);
        mem_free(names[i]);
    }
    postgres_free(&server);
}

START_TEST(insert_update_and_delete_start_a_run_each_with_ids_only)
{
    start();
    postgres_do(&server, "INSERT INTO orders VALUES (7, 'a secret note');"
                         "UPDATE orders SET note = 'x' WHERE id = 7; DELETE FROM orders");
    await_runs(3);
    ck_assert_str_eq(runs[0], "{\"table\":\"orders\",\"op\":\"insert\",\"id\":7,\"change\":1}");
    ck_assert_str_eq(runs[1], "{\"table\":\"orders\",\"op\":\"update\",\"id\":7,\"change\":2}");
    ck_assert_str_eq(runs[2], "{\"table\":\"orders\",\"op\":\"delete\",\"id\":7,\"change\":3}");
    await_quiet();
    ck_assert_int_eq(asked_n, 3);
}
END_TEST

START_TEST(change_that_was_rolled_back_starts_nothing)
{
    start();
    postgres_do(&server, "BEGIN; INSERT INTO orders VALUES (1); ROLLBACK;"
                         "INSERT INTO orders VALUES (2)");
    await_runs(1);
    ck_assert_ptr_nonnull(strstr(runs[0], "\"id\":2"));
}
END_TEST

START_TEST(names_of_any_kind_are_quoted)
{
    char table[] = "odd schema.Tab\"le's", column[] = "The \"Key\"", name[] = "it's \\ odd";
    trigger.table = table;
    trigger.column = column;
    trigger.name = name;
    postgres_do(&server,
                "CREATE SCHEMA \"odd schema\"; CREATE TABLE \"odd schema\".\"Tab\"\"le's\" "
                "(\"The \"\"Key\"\"\" text)");
    start();
    postgres_do(&server, "INSERT INTO \"odd schema\".\"Tab\"\"le's\" VALUES ('a \"b\"'), (NULL)");
    await_runs(2);
    ck_assert_ptr_nonnull(strstr(runs[0], "\"id\":\"a \\\"b\\\"\""));
    ck_assert_ptr_nonnull(strstr(runs[1], "\"id\":null"));
    await_quiet();
}
END_TEST

START_TEST(long_name_of_a_trigger_is_kept_apart_from_another_that_begins_alike)
{
    char name[] = "a-name-that-is-much-longer-than-the-sixty-three-bytes-of-postgresql-one";
    trigger.name = name;
    start();
    db_stop();
    name[sizeof name - 2] = 'x';
    db_start();
    await_sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'hookmesh%'", "2\n");
}
END_TEST

START_TEST(changes_of_the_time_when_nobody_listened_are_found)
{
    start();
    db_stop();
    postgres_do(&server, "INSERT INTO orders SELECT generate_series(1, 3)");
    db_start();
    await_runs(3);
    await_quiet();
}
END_TEST

START_TEST(nothing_is_missed_when_postgresql_is_killed)
{
    start();
    postgres_do(&server, "INSERT INTO orders VALUES (1)");
    await_runs(1);
    postgres_do(&server, "INSERT INTO orders VALUES (2)");
    postgres_kill9(&server);
    postgres_start(&server);
    postgres_do(&server, "INSERT INTO orders VALUES (3)");
    await_runs(3);
    await_quiet();
    postgres_do(&server, "INSERT INTO orders VALUES (4)");
    await_runs(4);
}
END_TEST

START_TEST(backlog_of_many_batches_is_worked_off_in_order)
{
    start();
    db_stop();
    postgres_do(&server, "INSERT INTO orders SELECT generate_series(1, 1100)");
    db_start();
    await_runs(1100);
    for (int i = 0; i < run_n; i++) {
        char id[32];
        snprintf(id, sizeof id, "\"id\":%d,", i + 1);
        ck_assert_ptr_nonnull(strstr(runs[i], id));
    }
    await_quiet();
}
END_TEST

/* A session of its own, for a transaction that stays open. */
static struct pg *session;
static bool session_up;
static int session_answers;
static int session_wanted;

static void on_session(void *arg, bool up)
{
    (void)arg;
    session_up = up;
    look();
}

static void on_session_notify(void *arg, struct str channel, struct str payload)
{
    (void)arg, (void)channel, (void)payload;
}

static void on_session_answer(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)arg, (void)r;
    ck_assert_msg(e == NULL, "%s", e != NULL ? e->text : "");
    session_answers++;
    look();
}

static bool session_answered(void)
{
    return session_answers == session_wanted;
}

static bool session_is_up(void)
{
    return session_up;
}

static void session_do(const char *sql)
{
    if (session == NULL) {
        session = pg_open(server.url, "session", on_session, on_session_notify, NULL);
        wait_until(session_is_up);
    }
    session_wanted++;
    pg_query(session, sql, 0, NULL, on_session_answer, NULL);
    wait_until(session_answered);
}

START_TEST(transaction_that_commits_late_is_not_passed_by)
{
    start();
    session_do("BEGIN");
    session_do("INSERT INTO orders VALUES (1)"); /* the lower txid, and the lower id */
    postgres_do(&server, "INSERT INTO orders VALUES (2)");
    postgres_do(&server, "UPDATE orders SET note = 'x' WHERE id = 2");
    session_do("INSERT INTO orders VALUES (3)");
    session_do("COMMIT");
    await_runs(4);
    static const char *const order[] = {"\"id\":1,", "\"id\":3,", "\"id\":2,", "\"id\":2,"};
    for (int i = 0; i < 4; i++)
        ck_assert_msg(strstr(runs[i], order[i]) != NULL, "run %d: %s", i, runs[i]);
    await_quiet();
    pg_close(session);
}
END_TEST

START_TEST(changes_behind_a_transaction_that_stays_open_wait_and_then_come_by_themselves)
{
    start();
    session_do("BEGIN");
    session_do("CREATE TABLE elsewhere (id int)"); /* writes, but no row that is watched */
    postgres_do(&server, "INSERT INTO orders VALUES (5)");
    session_do("SELECT 1");
    ck_assert_int_eq(run_n, 0);
    session_do("ROLLBACK"); /* nobody notifies of that */
    await_runs(1);
    pg_close(session);
}
END_TEST

START_TEST(change_is_kept_while_its_run_cannot_be_stored_and_started_once_in_the_end)
{
    start();
    fail_next = 3;
    postgres_do(&server, "INSERT INTO orders VALUES (1), (2)");
    await_runs(2);
    ck_assert_int_ge(asked_n, 5);
    await_quiet();
}
END_TEST

START_TEST(nothing_is_read_while_redis_is_away_and_all_when_it_is_back)
{
    start();
    redis_there = false;
    postgres_do(&server, "INSERT INTO orders VALUES (1)");
    await_sql("SELECT count(*) FROM hookmesh.changes", "1\n");
    ck_assert_int_eq(run_n, 0);
    redis_there = true;
    on_store(NULL, true);
    await_runs(1);
}
END_TEST

START_TEST(run_that_is_refused_for_good_does_not_hold_up_those_behind_it)
{
    start();
    fail_next = 1;
    refusal = ERR_UNPROCESSABLE;
    postgres_do(&server, "INSERT INTO orders VALUES (1), (2)");
    await_runs(1);
    await_quiet();
    ck_assert_int_eq(asked_n, 2);
}
END_TEST

START_TEST(only_the_wanted_events_start_runs)
{
    char insert[] = "insert", del[] = "delete";
    char *events[] = {insert, del, NULL};
    trigger.events = events;
    start();
    postgres_do(&server, "INSERT INTO orders VALUES (1); UPDATE orders SET note = 'x'; "
                         "DELETE FROM orders");
    await_runs(2);
    ck_assert_ptr_nonnull(strstr(runs[0], "insert"));
    ck_assert_ptr_nonnull(strstr(runs[1], "delete"));
    await_quiet();
}
END_TEST

START_TEST(trigger_in_the_database_follows_the_configuration)
{
    char update[] = "update";
    char *events[] = {update, NULL};
    start();
    db_stop();
    trigger.events = events;
    db_start();
    await_sql("SELECT count(*) FROM pg_trigger WHERE tgname = 'hookmesh_orders' AND "
              "obj_description(oid, 'pg_trigger') = 'hookmesh 1: id of update'",
              "1\n");
    postgres_do(&server, "INSERT INTO orders VALUES (1); UPDATE orders SET note = 'x'");
    await_runs(1);
    ck_assert_ptr_nonnull(strstr(runs[0], "update"));
}
END_TEST

START_TEST(when_and_input_filter_and_reshape_a_change)
{
    char when[] = "drop odd", input[] = "{\"n\":5}";
    trigger.when = when;
    trigger.input = input;
    start();
    postgres_do(&server, "INSERT INTO orders VALUES (1), (2)");
    await_runs(1);
    ck_assert_str_eq(runs[0], "{\"n\":5}");
    await_quiet();
}
END_TEST

START_TEST(filter_that_fails_is_recorded_as_a_skipped_run)
{
    char when[] = "fail";
    trigger.when = when;
    start();
    postgres_do(&server, "INSERT INTO orders VALUES (1)");
    await_runs(1);
    ck_assert_ptr_nonnull(strstr(runs[0], " skip: when: cannot index number"));
    await_quiet();
}
END_TEST

START_TEST(missing_table_is_watched_once_it_is_there)
{
    char table[] = "later";
    trigger.table = table;
    db_start();
    await_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'hookmesh'", "2\n");
    postgres_do(&server, "CREATE TABLE later (id uuid)");
    await_watching();
    postgres_do(&server, "INSERT INTO later VALUES ('0193f000-0000-7000-8000-000000000001')");
    await_runs(1);
    ck_assert_ptr_nonnull(strstr(runs[0], "\"id\":\"0193f000-0000-7000-8000-000000000001\""));
}
END_TEST

START_TEST(user_without_rights_works_in_a_database_that_was_set_up_by_hand)
{
    struct buf sql = {0};
    postgres_do(&server,
                "CREATE ROLE plain LOGIN; CREATE ROLE app LOGIN; GRANT INSERT ON orders TO app");
    char *url = mem_format("postgresql:///postgres?host=%s&user=plain", server.dir);
    trigger.url = url;
    db_setup_sql(&sql, config);
    postgres_do(&server, sql.p);
    postgres_do(&server, "GRANT USAGE ON SCHEMA hookmesh TO plain; "
                         "GRANT SELECT, DELETE ON hookmesh.changes TO plain; "
                         "GRANT SELECT, INSERT, UPDATE ON hookmesh.cursors TO plain");
    start();
    postgres_do(&server, "SET ROLE app; INSERT INTO orders VALUES (1)"); /* knows nothing of us */
    await_runs(1);
    await_quiet();
    buf_finish(&sql);
    mem_free(url);
}
END_TEST

START_TEST(user_without_rights_is_no_harm_and_tried_again)
{
    postgres_do(&server, "CREATE ROLE plain LOGIN");
    char *url = mem_format("postgresql:///postgres?host=%s&user=plain", server.dir);
    trigger.url = url;
    db_start();
    await_sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'plain'", "1\n");
    postgres_do(&server, "ALTER ROLE plain SUPERUSER");
    await_watching();
    postgres_do(&server, "INSERT INTO orders VALUES (1)");
    await_runs(1);
    db_stop(); /* before url goes */
    mem_free(url);
}
END_TEST

START_TEST(cursor_of_a_restored_database_begins_anew)
{
    start();
    db_stop();
    postgres_do(&server, "UPDATE hookmesh.cursors SET txid = 999999999, id = 5;"
                         "INSERT INTO orders VALUES (1)");
    db_start();
    await_runs(1);
    await_quiet();
}
END_TEST

START_TEST(reload_without_a_change_keeps_the_connection_and_with_one_follows_it)
{
    static const char pids[] = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE "
                               "application_name = 'hookmesh'";
    start();
    char *pid = postgres_sql(&server, "SELECT pid FROM pg_stat_activity WHERE "
                                      "application_name = 'hookmesh'");
    db_configure(config);
    await_sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'hookmesh'", pid);
    mem_free(pid);
    config->db_trigger_n = 0;
    db_configure(config);
    await_sql(pids, "0\n");
    config->db_trigger_n = 1;
    db_configure(config);
    await_sql(pids, "1\n");
}
END_TEST

START_TEST(dropped_tables_of_ours_are_made_anew)
{
    start();
    postgres_do(&server, "DROP SCHEMA hookmesh CASCADE");
    on_store(NULL, true); /* makes it look */
    await_watching();
    postgres_do(&server, "INSERT INTO orders VALUES (1)");
    await_runs(1);
}
END_TEST

Suite *db_suite(void)
{
    Suite *s = suite_create("db");
    TCase *t = tcase_create("db");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, insert_update_and_delete_start_a_run_each_with_ids_only);
    tcase_add_test(t, change_that_was_rolled_back_starts_nothing);
    tcase_add_test(t, names_of_any_kind_are_quoted);
    tcase_add_test(t, long_name_of_a_trigger_is_kept_apart_from_another_that_begins_alike);
    tcase_add_test(t, changes_of_the_time_when_nobody_listened_are_found);
    tcase_add_test(t, nothing_is_missed_when_postgresql_is_killed);
    tcase_add_test(t, backlog_of_many_batches_is_worked_off_in_order);
    tcase_add_test(t, transaction_that_commits_late_is_not_passed_by);
    tcase_add_test(t,
                   changes_behind_a_transaction_that_stays_open_wait_and_then_come_by_themselves);
    tcase_add_test(t, change_is_kept_while_its_run_cannot_be_stored_and_started_once_in_the_end);
    tcase_add_test(t, nothing_is_read_while_redis_is_away_and_all_when_it_is_back);
    tcase_add_test(t, run_that_is_refused_for_good_does_not_hold_up_those_behind_it);
    tcase_add_test(t, only_the_wanted_events_start_runs);
    tcase_add_test(t, trigger_in_the_database_follows_the_configuration);
    tcase_add_test(t, when_and_input_filter_and_reshape_a_change);
    tcase_add_test(t, filter_that_fails_is_recorded_as_a_skipped_run);
    tcase_add_test(t, missing_table_is_watched_once_it_is_there);
    tcase_add_test(t, user_without_rights_works_in_a_database_that_was_set_up_by_hand);
    tcase_add_test(t, user_without_rights_is_no_harm_and_tried_again);
    tcase_add_test(t, cursor_of_a_restored_database_begins_anew);
    tcase_add_test(t, reload_without_a_change_keeps_the_connection_and_with_one_follows_it);
    tcase_add_test(t, dropped_tables_of_ours_are_made_anew);
    suite_add_tcase(s, t);
    return s;
}
