/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that change in a real PostgreSQL start runs of a real server. */
#include "flow/world.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "unit/postgres.h"

Suite *db_suite(void);

static struct postgres server;

static void setup(void)
{
    postgres_make(&server);
    postgres_do(&server, "CREATE TABLE orders (id int PRIMARY KEY, note text)");
}

static void teardown(void)
{
    postgres_free(&server);
}

static void set_url(struct world *w, const char *user)
{
    char *env = mem_format("ORDERS_DB=postgresql://%s@/postgres?host=%s", user, server.dir);
    world_env(w, env);
    mem_free(env);
}

static struct world *world_of(const char *more)
{
    struct world *w = world_make();
    char *yaml =
        mem_format("jobs: [{name: order, command: [cat]}]\n"
                   "triggers:\n"
                   "  - {type: db_change, url_env: ORDERS_DB, table: orders, job: order%s}\n",
                   more);
    world_config(w, "main.yaml", yaml);
    mem_free(yaml);
    set_url(w, "tester:a-pass-word");
    return w;
}

struct question {
    const char *sql;
    const char *answer;
};

static bool says(void *arg)
{
    const struct question *q = arg;
    char *got = postgres_sql(&server, q->sql);
    bool same = strcmp(got, q->answer) == 0;
    mem_free(got);
    return same;
}

static void await_sql(struct world *w, const char *sql, const char *answer)
{
    struct question q = {sql, answer};
    if (!world_wait_until(says, &q, WORLD_TIMEOUT_MS))
        world_fail(w, "%s is not %s", sql, answer);
}

static void await_watching(struct world *w)
{
    world_wait_log(w, "event=watching");
}

/* Every change was read, and what it started is in Redis. */
static void await_all_read(struct world *w)
{
    await_sql(w, "SELECT count(*) FROM hookmesh.changes", "0\n");
}

static bool is_done(void *arg)
{
    struct world_reply r = world_get_json(arg, "/v1/runs?state=queued,running");
    bool none = json_size(r.json) == 0;
    world_reply_finish(&r);
    return none;
}

/* One run for each of the ids 1..n, and no other. */
static void check_once_each(struct world *w, int n)
{
    int *seen = mem_zero((size_t)n + 1, sizeof *seen);
    ck_assert(world_wait_until(is_done, w, WORLD_TIMEOUT_MS));
    struct world_reply r = world_get_json(w, "/v1/kv?match=job.order.*.input&values=1&limit=10000");
    for (size_t i = 0; i < json_size(r.json); i++) {
        int64_t id = json_int(json_path(json_at(r.json, i), "value.id"), -1);
        if (id < 1 || id > n || seen[id]++ != 0)
            world_fail(w, "the change of row %lld was started twice, or is none", (long long)id);
    }
    if ((int)json_size(r.json) != n)
        world_fail(w, "%zu runs of %d changes", json_size(r.json), n);
    world_reply_finish(&r);
    ck_assert_int_eq(world_redis_int(w, "LLEN hm:runs:job.order"), n);
    mem_free(seen);
}

static void insert(int from, int to)
{
    char *sql = mem_format("INSERT INTO orders SELECT generate_series(%d, %d)", from, to);
    postgres_do(&server, sql);
    mem_free(sql);
}

START_TEST(inserted_row_starts_a_run_that_tells_where_it_comes_from)
{
    struct world *w = world_of("");
    world_start(w);
    await_watching(w);
    insert(7, 7);
    world_wait_json(w, "/v1/runs?cause=database", "0.state", "succeeded");
    struct world_reply r = world_get_json(w, "/v1/runs?cause=database");
    struct json *run = json_at(r.json, 0);
    ck_assert(str_is(json_str(json_get(run, "job")), "order"));
    ck_assert(str_is(json_str(json_get(run, "by")), "orders"));
    char *path = mem_format("/v1/runs/%.*s/output", (int)json_str(json_get(run, "id")).n,
                            json_str(json_get(run, "id")).p);
    struct world_reply output = world_get_json(w, path);
    ck_assert_str_eq(output.body.p,
                     "{\"table\":\"orders\",\"op\":\"insert\",\"id\":7,\"change\":1}");
    ck_assert(!world_has_log(w, "a-pass-word"));
    world_reply_finish(&output);
    world_reply_finish(&r);
    mem_free(path);
    world_free(w);
}
END_TEST

START_TEST(when_and_input_are_jq_over_the_change)
{
    struct world *w = world_of(", when: '.id > 2', input: '{id: (.id * 10), op}'");
    world_start(w);
    await_watching(w);
    insert(1, 3);
    world_wait_json(w, "/v1/runs?cause=database", "0.state", "succeeded");
    await_all_read(w);
    struct world_reply r = world_get_json(w, "/v1/kv?match=job.order.*.input&values=1");
    ck_assert_uint_eq(json_size(r.json), 1);
    ck_assert_int_eq(json_int(json_path(r.json, "0.value.id"), 0), 30);
    ck_assert(str_is(json_str(json_path(r.json, "0.value.op")), "insert"));
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(nothing_is_missed_and_nothing_twice_when_server_and_postgresql_are_killed)
{
    struct world *w = world_of("");
    world_redis_start(w);
    world_start(w);
    await_watching(w);
    insert(1, 300);
    world_kill9(w); /* in the middle of a batch, or behind one */
    insert(301, 310);
    world_start(w);
    insert(311, 700);
    postgres_kill9(&server);
    postgres_start(&server);
    insert(701, 705);
    world_kill9(w);
    postgres_kill9(&server);
    world_start(w); /* with PostgreSQL away */
    postgres_start(&server);
    insert(706, 710);
    await_all_read(w);
    check_once_each(w, 710);
    world_free(w);
}
END_TEST

START_TEST(changes_wait_while_redis_is_away)
{
    struct world *w = world_of("");
    world_redis_start(w);
    world_start(w);
    await_watching(w);
    insert(1, 5);
    await_all_read(w);
    world_redis_kill9(w);
    insert(6, 60);
    world_redis_start(w);
    await_all_read(w);
    check_once_each(w, 60);
    world_free(w);
}
END_TEST

START_TEST(two_servers_start_one_run_a_change)
{
    struct world *w = world_of("");
    struct world *other = world_of("");
    world_redis_start(w);
    world_arg(other, "--redis");
    world_arg(other, w->redis_url);
    world_start(w);
    world_start(other);
    await_watching(w);
    await_watching(other);
    for (int i = 0; i < 20; i++)
        insert(1 + 20 * i, 20 + 20 * i);
    await_all_read(w);
    check_once_each(w, 400);
    world_free(other);
    world_free(w);
}
END_TEST

START_TEST(database_that_was_set_up_by_the_printed_sql_needs_no_rights)
{
    struct world *w = world_of("");
    set_url(w, "plain"); /* the later one counts */
    setenv("ORDERS_DB", "postgresql:///any", 1);
    struct world_run run = WORLD_CLI(w, "db", "setup-sql", w->config);
    ck_assert_msg(run.code == 0, "%s", run.err.p);
    unsetenv("ORDERS_DB");
    postgres_do(&server, "CREATE ROLE plain LOGIN");
    postgres_do(&server, run.out.p);
    postgres_do(&server, "GRANT USAGE ON SCHEMA hookmesh TO plain;"
                         "GRANT SELECT, DELETE ON hookmesh.changes TO plain;"
                         "GRANT SELECT, INSERT, UPDATE ON hookmesh.cursors TO plain");
    world_run_finish(&run);
    world_start(w);
    await_watching(w);
    insert(1, 3);
    await_all_read(w);
    check_once_each(w, 3);
    world_free(w);
}
END_TEST

START_TEST(trigger_that_a_reload_brings_is_watched)
{
    struct world *w = world_make();
    set_url(w, "tester");
    world_config(w, "main.yaml", "jobs: [{name: order, command: [cat]}]\n");
    world_start(w);
    world_config(w, "more.yaml",
                 "triggers:\n"
                 "  - {type: db_change, url_env: ORDERS_DB, table: orders, "
                 "job: order, events: [delete]}\n");
    await_watching(w);
    insert(1, 3);
    postgres_do(&server, "DELETE FROM orders");
    await_all_read(w);
    check_once_each(w, 3);
    world_free(w);
}
END_TEST

Suite *db_suite(void)
{
    Suite *s = suite_create("db");
    TCase *t = tcase_create("db");
    tcase_set_timeout(t, 240);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, inserted_row_starts_a_run_that_tells_where_it_comes_from);
    tcase_add_test(t, when_and_input_are_jq_over_the_change);
    tcase_add_test(t, nothing_is_missed_and_nothing_twice_when_server_and_postgresql_are_killed);
    tcase_add_test(t, changes_wait_while_redis_is_away);
    tcase_add_test(t, two_servers_start_one_run_a_change);
    tcase_add_test(t, database_that_was_set_up_by_the_printed_sql_needs_no_rights);
    tcase_add_test(t, trigger_that_a_reload_brings_is_watched);
    suite_add_tcase(s, t);
    return s;
}
