/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/private_redis.h"
#include "net/redis.h"

Suite *private_redis_suite(void);

static char root[32];
static char *data;
static char *url;
static struct err failure;
static int readies;
static int failures;
static struct redis *conn;
static struct buf seen;
static bool answered;

static void setup(void)
{
    struct err e;
    log_setup(LOG_ERROR + 1, false, STDERR_FILENO); /* deaths are meant here */
    snprintf(root, sizeof root, "/tmp/private_redis.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    data = mem_format("%s/some/data dir", root);
    ck_assert(loop_start(&e));
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
    loop_stop();
}

/* Other callbacks stop the loop too: each wait is for what it waits for. */
static void stop_redis(void)
{
    bool stopped = false;
    private_redis_stop(on_stopped, &stopped);
    while (!stopped)
        loop_run();
    ck_assert_int_eq(private_redis_pid(), 0);
}

static void teardown(void)
{
    redis_close(conn);
    stop_redis();
    loop_finish();
    char *rm = mem_format("rm -rf %s", root);
    ck_assert_int_eq(system(rm), 0);
    mem_free(rm);
    mem_free(data);
    mem_free(url);
    buf_finish(&seen);
}

static void on_ready(void *arg, const char *at, const struct err *e)
{
    (void)arg;
    mem_free(url);
    url = mem_strdup(at);
    ck_assert((at == NULL) == (e != NULL));
    if (e != NULL) {
        failure = *e;
        failures++;
    } else {
        readies++;
    }
    loop_stop();
}

static void begin(struct private_redis_options o)
{
    if (o.data_dir == NULL)
        o.data_dir = data;
    int before = readies + failures;
    private_redis_start(&o, on_ready, NULL);
    ck_assert_int_eq(readies + failures, before);
}

static void start(struct private_redis_options o)
{
    int before = readies + failures;
    begin(o);
    while (readies + failures == before)
        loop_run();
}

static void start_well(struct private_redis_options o)
{
    int before = readies;
    start(o);
    ck_assert_msg(readies == before + 1, "%s", failure.text);
    ck_assert_int_gt(private_redis_pid(), 0);
}

static void on_state(void *arg, bool up)
{
    (void)arg;
    if (up)
        loop_stop();
}

static void connect_to_it(void)
{
    struct redis_url u;
    struct err e;
    ck_assert_msg(redis_url_parse(url, &u, &e), "%s", e.text);
    redis_close(conn);
    conn = redis_open(&u, "test", on_state, NULL);
    redis_url_finish(&u);
    while (!redis_up(conn))
        loop_run();
}

static void on_reply(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL)
        buf_puts(&seen, e->text);
    else if (reply_len(r) == 2)
        buf_str(&seen, reply_str(reply_at(r, 1)));
    else
        buf_str(&seen, reply_str(r));
    answered = true;
    loop_stop();
}

static const char *ask(const char *a, const char *b, const char *c)
{
    buf_clear(&seen);
    buf_puts(&seen, "");
    answered = false;
    redis_cmd(conn, on_reply, NULL, a, b, c, NULL);
    while (!answered)
        loop_run();
    return seen.p;
}

START_TEST(it_answers_within_50_ms_of_its_start)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 10 && best >= 50000; i++) {
        int64_t from = clock_mono_us();
        start_well((struct private_redis_options){0});
        int64_t took = clock_mono_us() - from;
        best = took < best ? took : best;
        stop_redis();
    }
    ck_assert_int_lt(best, 50000);
}
END_TEST

static const char *const settings[][2] = {
    {"port", "0"},
    {"appendonly", "yes"},
    {"appendfsync", "always"},
    {"save", ""},
    {"maxmemory-policy", "noeviction"},
    {"hash-max-listpack-value", "16384"},
    {"daemonize", "no"},
};

START_TEST(settings_are_in_force_and_the_directory_is_private)
{
    start_well((struct private_redis_options){.appendfsync = "always"});
    connect_to_it();
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        ck_assert_str_eq(ask("CONFIG", "GET", settings[i][0]), settings[i][1]);
    const char *flags = ask("CONFIG", "GET", "notify-keyspace-events");
    ck_assert(strlen(flags) == 3 && strspn(flags, "Kgh") == 3);
    char *dir = mem_format("%s/redis", data);
    struct stat st;
    ck_assert_int_eq(stat(dir, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    mem_free(dir);
}
END_TEST

START_TEST(default_is_to_sync_every_second)
{
    start_well((struct private_redis_options){0});
    connect_to_it();
    ck_assert_str_eq(ask("CONFIG", "GET", "appendfsync"), "everysec");
}
END_TEST

START_TEST(data_outlives_a_stop)
{
    start_well((struct private_redis_options){0});
    connect_to_it();
    ask("SET", "k", "kept");
    int pid = private_redis_pid();
    stop_redis();
    ck_assert_int_ne(kill(pid, 0), 0);
    start_well((struct private_redis_options){0});
    connect_to_it();
    ck_assert_str_eq(ask("GET", "k", NULL), "kept");
}
END_TEST

/* State and processor time (clock ticks) of a process; false: it is gone, or waits to be reaped. */
static bool lives(int pid, unsigned long *ticks)
{
    char *path = mem_format("/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    mem_free(path);
    char state = 'X';
    if (f != NULL && fscanf(f, "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu",
                            &state, ticks) != 2)
        state = 'X';
    if (f != NULL)
        fclose(f);
    return state != 'X' && state != 'Z';
}

static int old_redis;
static bool old_lived_at_ready;

static void on_ready_after_old(void *arg, const char *at, const struct err *e)
{
    unsigned long ticks;
    old_lived_at_ready = lives(old_redis, &ticks);
    on_ready(arg, at, e);
}

/* In a process of its own: a server whose Redis works on a script for about a second, so that it
 * cannot end at once. (Stopping it by a signal does not do: when the server dies the kernel continues it.) */
static void serve_with_busy_redis(int report)
{
    struct err e;
    ck_assert(loop_start(&e));
    start_well((struct private_redis_options){0});
    connect_to_it();
    ask("SET", "k", "kept");
    int pid = private_redis_pid();
    ck_assert_int_eq(write(report, &pid, sizeof pid), sizeof pid);
    redis_cmd(conn, on_reply, NULL, "EVAL", "for i = 1, 200000000 do end", "0", NULL);
    loop_run();
    _exit(1); /* to be killed before the script ends */
}

START_TEST(data_outlives_the_death_of_the_server_and_the_next_one_waits_for_the_old_redis)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    loop_finish();
    pid_t server = fork();
    if (server == 0)
        serve_with_busy_redis(fds[1]);
    ck_assert_int_eq(read(fds[0], &old_redis, sizeof old_redis), sizeof old_redis);
    unsigned long before = 0, now = 0;
    ck_assert(lives(old_redis, &before));
    do {
        ck_assert(lives(old_redis, &now)); /* until it is in the script */
        ck_assert_int_eq(waitpid(server, NULL, WNOHANG), 0);
    } while (now < before + 5);
    kill(server, SIGKILL);
    int status;
    waitpid(server, &status, 0);
    ck_assert(WIFSIGNALED(status));
    struct err e;
    ck_assert(loop_start(&e));
    private_redis_start(&(struct private_redis_options){.data_dir = data}, on_ready_after_old,
                        NULL);
    while (readies + failures == 0)
        loop_run();
    ck_assert_msg(readies == 1, "%s", failure.text);
    ck_assert(!old_lived_at_ready);
    connect_to_it();
    ck_assert_str_eq(ask("GET", "k", NULL), "kept");
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(redis_that_was_killed_is_started_again_with_its_data)
{
    start_well((struct private_redis_options){0});
    connect_to_it();
    ask("SET", "k", "kept");
    int old = private_redis_pid();
    kill(old, SIGKILL);
    while (readies < 2)
        loop_run();
    ck_assert_int_ne(private_redis_pid(), old);
    while (!redis_up(conn))
        loop_run();
    ck_assert_str_eq(ask("GET", "k", NULL), "kept");
}
END_TEST

START_TEST(server_that_finds_the_data_in_use_says_by_whom)
{
    loop_finish();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct err e;
    pid_t other = fork();
    if (other == 0) {
        ck_assert(loop_start(&e));
        start_well((struct private_redis_options){0});
        ck_assert_int_eq(write(fds[1], "x", 1), 1);
        loop_run();
        _exit(0);
    }
    char c;
    ck_assert_int_eq(read(fds[0], &c, 1), 1);
    ck_assert(loop_start(&e));
    start((struct private_redis_options){0});
    ck_assert_int_eq(failures, 1);
    ck_assert_int_eq(failure.code, ERR_CONFLICT);
    char *want = mem_format("another hookmesh server (process %d) uses the data directory %s: stop "
                            "it or choose another directory with --data",
                            (int)other, data);
    ck_assert_str_eq(failure.text, want);
    mem_free(want);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    start_well((struct private_redis_options){0}); /* and takes over when that one is gone */
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(data_directory_may_be_deeper_than_a_socket_address_holds)
{
    char deep[151];
    memset(deep, 'd', 150);
    deep[150] = '\0';
    char *dir = mem_format("%s/%s/%%41?", root, deep);
    start_well((struct private_redis_options){.data_dir = dir});
    connect_to_it();
    ck_assert_str_eq(ask("SET", "k", "v"), "OK");
    mem_free(dir);
}
END_TEST

START_TEST(missing_program_is_told)
{
    start((struct private_redis_options){.program = "no-redis-here"});
    ck_assert_int_eq(failures, 1);
    ck_assert_str_eq(failure.text, "there is no program no-redis-here: install Redis, or give the "
                                   "URL of one with --redis");
    start_well((struct private_redis_options){0}); /* the lock was given back */
}
END_TEST

START_TEST(program_that_ends_at_once_is_told_with_its_last_words)
{
    char *path = mem_format("%s/fake", root);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("#!/bin/sh\necho noise >&2\necho no memory today >&2\nexit 9\n", f);
    fclose(f);
    chmod(path, 0700);
    start((struct private_redis_options){.program = path});
    ck_assert_int_eq(failures, 1);
    char *want = mem_format("redis-server ended with status 9: no memory today (its log is "
                            "%s/redis/redis.log)",
                            data);
    ck_assert_str_eq(failure.text, want);
    mem_free(want);
    mem_free(path);
}
END_TEST

START_TEST(damaged_data_is_told_with_the_last_line_of_the_log)
{
    start_well((struct private_redis_options){0});
    stop_redis();
    char *damage =
        mem_format("echo nonsense > '%s/redis/appendonlydir/appendonly.aof.manifest'", data);
    ck_assert_int_eq(system(damage), 0);
    start((struct private_redis_options){0});
    ck_assert_int_eq(failures, 1);
    ck_assert_int_eq(failure.code, ERR_UNAVAILABLE);
    ck_assert_msg(strstr(failure.text, "redis-server ended with status 1: ") != NULL &&
                      strstr(failure.text, "manifest") != NULL,
                  "%s", failure.text);
    mem_free(damage);
}
END_TEST

START_TEST(data_directory_that_cannot_be_made_is_told)
{
    start((struct private_redis_options){.data_dir = "/proc/no/data"});
    ck_assert_int_eq(failures, 1);
    ck_assert_str_eq(failure.text,
                     "cannot make the data directory /proc/no/data: No such file or directory");
    start((struct private_redis_options){.data_dir = "/dev/null"});
    ck_assert_int_eq(failures, 2);
    ck_assert_str_eq(failure.text, "the data directory /dev/null is not a directory");
}
END_TEST

START_TEST(stop_while_it_starts_ends_it)
{
    private_redis_start(&(struct private_redis_options){.data_dir = data}, on_ready, NULL);
    struct timer *t = timer_new(stop, NULL);
    timer_arm(t, 4);
    loop_run();
    stop_redis();
    timer_free(t);
    start_well((struct private_redis_options){0});
}
END_TEST

Suite *private_redis_suite(void)
{
    Suite *s = suite_create("private_redis");
    TCase *t = tcase_create("private_redis");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, it_answers_within_50_ms_of_its_start);
    tcase_add_test(t, settings_are_in_force_and_the_directory_is_private);
    tcase_add_test(t, default_is_to_sync_every_second);
    tcase_add_test(t, data_outlives_a_stop);
    tcase_add_test(t,
                   data_outlives_the_death_of_the_server_and_the_next_one_waits_for_the_old_redis);
    tcase_add_test(t, redis_that_was_killed_is_started_again_with_its_data);
    tcase_add_test(t, server_that_finds_the_data_in_use_says_by_whom);
    tcase_add_test(t, data_directory_may_be_deeper_than_a_socket_address_holds);
    tcase_add_test(t, missing_program_is_told);
    tcase_add_test(t, program_that_ends_at_once_is_told_with_its_last_words);
    tcase_add_test(t, damaged_data_is_told_with_the_last_line_of_the_log);
    tcase_add_test(t, data_directory_that_cannot_be_made_is_told);
    tcase_add_test(t, stop_while_it_starts_ends_it);
    suite_add_tcase(s, t);
    return s;
}
