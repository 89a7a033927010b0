/* SPDX-License-Identifier: Apache-2.0 */
/* The connection to PostgreSQL, against a real one. */
#include "net/pg.h"

#include "base/log.h"
#include "net/loop.h"
#include "unit/postgres.h"

Suite *pg_suite(void);

enum { PATIENCE_MS = 30000 };

static struct postgres server;
static struct pg *pg;
static int ups;
static int downs;
static int answers;
static struct buf
    got; /* "channel:payload\n" of notifications, "value\n" of results, "!CODE text\n" of errors */
static int wanted_ups;
static int wanted_answers;
static const char *wanted_text;
static struct timer *patience;

static bool all_there(void)
{
    return ups >= wanted_ups && answers >= wanted_answers &&
           (wanted_text == NULL || (got.n != 0 && strstr(got.p, wanted_text) != NULL));
}

static void look(void)
{
    if (all_there())
        loop_stop();
}

static void on_state(void *arg, bool up)
{
    (void)arg;
    ups += up;
    downs += !up;
    look();
}

static void on_notify(void *arg, struct str channel, struct str payload)
{
    (void)arg;
    buf_printf(&got, "%.*s:%.*s\n", (int)channel.n, channel.p, (int)payload.n, payload.p);
    look();
}

static void on_result(void *arg, const struct pg_result *r, const struct err *e)
{
    (void)arg;
    answers++;
    if (e != NULL)
        buf_printf(&got, "!%s %s\n", err_name(e->code), e->text);
    for (size_t i = 0; e == NULL && i < pg_rows(r); i++) {
        struct str v = pg_value(r, i, 0);
        buf_printf(&got, "%.*s\n", v.p != NULL ? (int)v.n : 4, v.p != NULL ? v.p : "NULL");
    }
    look();
}

static void out_of_patience(void *arg)
{
    (void)arg;
    ck_abort_msg("waited too long; got so far:\n%s", got.n != 0 ? got.p : "");
}

static void await(int up, int n, const char *text)
{
    wanted_ups = up;
    wanted_answers = n;
    wanted_text = text;
    timer_arm(patience, PATIENCE_MS);
    while (!all_there())
        loop_run();
    timer_disarm(patience);
}

static void end_turn(void *arg)
{
    (void)arg;
    loop_stop();
}

static void one_turn(void)
{
    loop_defer(end_turn, NULL);
    loop_run();
}

static bool is_asleep(void)
{
    char *n = postgres_sql(&server, "SELECT count(*) FROM pg_stat_activity "
                                    "WHERE query = 'SELECT pg_sleep(1000)'");
    bool yes = n[0] == '1';
    mem_free(n);
    return yes;
}

static void query(const char *sql)
{
    pg_query(pg, sql, 0, NULL, on_result, NULL);
}

static void setup(void)
{
    struct err e;
    postgres_make(&server);
    ck_assert(loop_start(&e));
    patience = timer_new(out_of_patience, NULL);
    pg = pg_open(server.url, "test", on_state, on_notify, NULL);
    await(1, 0, NULL);
}

static void teardown(void)
{
    pg_close(pg);
    loop_finish();
    buf_finish(&got);
    postgres_free(&server);
}

START_TEST(queries_are_answered_in_order_with_their_values)
{
    const char *const parameters[] = {"it's 100% \\ \"x\""};
    pg_query(pg, "SELECT $1::text", 1, parameters, on_result, NULL);
    query("SELECT NULL::int");
    query("SELECT 1; SELECT 2");
    query("");
    await(1, 4, NULL);
    ck_assert_str_eq(got.p, "it's 100% \\ \"x\"\nNULL\n2\n");
}
END_TEST

START_TEST(errors_of_the_server_are_told_by_their_kind)
{
    query("SELEC 1");
    query("SELECT * FROM nowhere");
    query("CREATE ROLE other; SET ROLE other; CREATE SCHEMA x");
    query("SELECT 5");
    await(1, 4, NULL);
    ck_assert_ptr_nonnull(strstr(got.p, "!ERR_INTERNAL ERROR:  syntax error"));
    ck_assert_ptr_nonnull(strstr(got.p, "!ERR_NOT_FOUND ERROR:  relation \"nowhere\""));
    ck_assert_ptr_nonnull(strstr(got.p, "!ERR_FORBIDDEN ERROR:  permission denied"));
    ck_assert_ptr_nonnull(strstr(got.p, "\n5\n"));
}
END_TEST

START_TEST(notifications_come_while_nothing_is_asked)
{
    query("LISTEN bell");
    await(1, 1, NULL);
    postgres_do(&server, "NOTIFY bell, 'one'; NOTIFY other, 'x'; NOTIFY bell, 'two'");
    await(1, 1, "bell:two\n");
    ck_assert_str_eq(got.p, "bell:one\nbell:two\n");
}
END_TEST

START_TEST(a_result_of_many_rows_comes_whole)
{
    query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)");
    await(1, 1, NULL);
    ck_assert_uint_eq(got.n, 20000 * 1001);
}
END_TEST

START_TEST(query_under_way_fails_when_the_server_dies_and_it_comes_back_by_itself)
{
    query("SELECT pg_sleep(1000)");
    query("SELECT 1");
    while (!is_asleep())
        one_turn();
    postgres_kill9(&server);
    await(1, 2, NULL);
    ck_assert_int_eq(downs, 1);
    ck_assert_ptr_nonnull(strstr(got.p, "!ERR_UNAVAILABLE"));
    ck_assert(!pg_up(pg) && pg_trouble(pg)[0] != '\0');
    query("SELECT 2");
    await(1, 3, NULL);
    ck_assert_ptr_nonnull(strstr(got.p, "is not connected"));
    postgres_start(&server);
    await(2, 3, NULL);
    query("SELECT 'again'");
    await(2, 4, "again\n");
}
END_TEST

START_TEST(connection_that_the_server_ends_is_made_anew)
{
    postgres_do(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                         "WHERE application_name = 'hookmesh'");
    await(2, 0, NULL);
    query("SELECT 7");
    await(2, 1, "7\n");
}
END_TEST

START_TEST(closing_ends_what_is_under_way)
{
    query("SELECT pg_sleep(1000)");
    pg_close(pg);
    await(1, 1, NULL);
    ck_assert_ptr_nonnull(strstr(got.p, "!ERR_CANCELLED"));
    pg = pg_open(server.url, "test", on_state, on_notify, NULL); /* for teardown */
}
END_TEST

START_TEST(address_that_cannot_be_read_is_refused_without_showing_it)
{
    static const char *const bad[] = {"postgresql://u:secret-word@h:port/db?nonsense=1",
                                      "secret-word", "postgresql://u:secret-word@[::1/db"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e;
        ck_assert_msg(!pg_check_url(bad[i], &e), "%s", bad[i]);
        ck_assert_ptr_null(strstr(e.text, "secret-word"));
        ck_assert_ptr_nonnull(strstr(e.text, "postgresql://"));
    }
    ck_assert(pg_check_url("host=h user=u password='secret-word'", NULL));
    struct buf text = {0};
    buf_puts(&text, "the password is secret-word");
    log_redact(&text, 0);
    ck_assert_str_eq(text.p, "the password is [redacted]");
    buf_finish(&text);
}
END_TEST

START_TEST(trouble_with_the_connection_never_shows_the_password)
{
    pg_close(pg);
    pg = pg_open("postgresql://u:hunter2222@127.0.0.1:1/x", "test", on_state, on_notify, NULL);
    ck_assert(pg_check_url("postgresql://u:hunter2222@127.0.0.1:1/x", NULL));
    while (downs == 0)
        loop_run();
    ck_assert_ptr_nonnull(strstr(pg_trouble(pg), "127.0.0.1"));
    ck_assert_ptr_null(strstr(pg_trouble(pg), "hunter2222"));
}
END_TEST

START_TEST(identifiers_and_literals_are_quoted_so_that_they_stay_what_they_are)
{
    static const char *const nasty[] = {"plain", "it's", "a\"b", "back\\slash", "$1; DROP TABLE x",
                                        "",      "é"};
    for (size_t i = 0; i < sizeof nasty / sizeof nasty[0]; i++) {
        struct buf sql = {0};
        buf_puts(&sql, "SET standard_conforming_strings = off; SELECT ");
        pg_literal(&sql, str_of(nasty[i]));
        buf_puts(&sql, " || x.");
        pg_identifier(&sql, str_of(nasty[i][0] != '\0' ? nasty[i] : "x"));
        buf_puts(&sql, " FROM (SELECT '!'::text AS ");
        pg_identifier(&sql, str_of(nasty[i][0] != '\0' ? nasty[i] : "x"));
        buf_puts(&sql, ") x");
        query(sql.p);
        buf_finish(&sql);
        await(1, (int)i + 1, NULL);
        struct buf want = {0};
        buf_printf(&want, "%s!\n", nasty[i]);
        ck_assert_msg(str_ends(buf_view(&got), want.p), "%s", got.p);
        buf_finish(&want);
    }
}
END_TEST

Suite *pg_suite(void)
{
    Suite *s = suite_create("pg");
    TCase *t = tcase_create("pg");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, queries_are_answered_in_order_with_their_values);
    tcase_add_test(t, errors_of_the_server_are_told_by_their_kind);
    tcase_add_test(t, notifications_come_while_nothing_is_asked);
    tcase_add_test(t, a_result_of_many_rows_comes_whole);
    tcase_add_test(t, query_under_way_fails_when_the_server_dies_and_it_comes_back_by_itself);
    tcase_add_test(t, connection_that_the_server_ends_is_made_anew);
    tcase_add_test(t, closing_ends_what_is_under_way);
    tcase_add_test(t, address_that_cannot_be_read_is_refused_without_showing_it);
    tcase_add_test(t, trouble_with_the_connection_never_shows_the_password);
    tcase_add_test(t, identifiers_and_literals_are_quoted_so_that_they_stay_what_they_are);
    suite_add_tcase(s, t);
    return s;
}
