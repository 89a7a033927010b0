/* SPDX-License-Identifier: Apache-2.0 */
/* The spool in this process, with a real disk, a real Redis, and a disk that fails where a test wants it to. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/stage.h"
#include "core/store.h"
#include "flow/world.h"
#include "net/loop.h"
#include "trigger/spool.h"

Suite *spool_suite(void);

static struct world *w;
static struct config *config;
static struct timer *give_up;
static struct timer *look;
static bool (*awaited)(void);
static char *spool_dir;
static char *log_path;

/* What became of the deliveries given to the spool. */
static size_t kept, refused;
static char refusal[512];

static atomic_int syncs, writes_left, fail_syncs;

static ssize_t counted_write(int fd, const void *p, size_t n)
{
    if (atomic_fetch_sub(&writes_left, 1) > 0)
        return write(fd, p, n);
    if (n > 10 && atomic_load(&writes_left) == -1)
        return write(fd, p, n / 2); /* the disk fills in the middle of a record */
    errno = ENOSPC;
    return -1;
}

static int counted_sync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    if (atomic_load(&fail_syncs) != 0) {
        errno = EIO;
        return -1;
    }
    return fdatasync(fd);
}

static void on_give_up(void *arg)
{
    (void)arg;
    ck_abort_msg("it did not happen");
}

static void on_look(void *arg)
{
    (void)arg;
    if (awaited())
        loop_stop();
}

/* Lets the loop run until the condition holds. */
static void await(bool (*condition)(void))
{
    awaited = condition;
    timer_arm(give_up, WORLD_TIMEOUT_MS);
    timer_every(look, 1);
    loop_run();
    timer_disarm(look);
}

static void open_world(void)
{
    w = world_make();
    spool_dir = mem_format("%s/spool", w->dir);
    log_path = mem_format("%s/test.log", w->dir);
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_setup(LOG_INFO, false, fd);
    struct err e;
    ck_assert_msg(loop_start(&e), "%s", e.text);
    give_up = timer_new(on_give_up, NULL);
    look = timer_new(on_look, NULL);
    atomic_store(&writes_left, 1000000);
    spool_write = counted_write;
    spool_sync = counted_sync;
}

/* Redis's socket is where world_redis_start will put it; it may be there or not. */
static void start_spool(const char *setting)
{
    const char *settings[] = {setting, NULL};
    char *url = mem_format("unix://%s/redis.sock", w->dir);
    struct buf report = {0};
    struct err e;
    config = config_load(NULL, settings, false, &report);
    ck_assert_msg(config != NULL, "%s", report.p);
    ck_assert_msg(store_start(url, config, &e), "%s", e.text);
    ck_assert_msg(spool_start(w->dir, &e), "%s", e.text);
    mem_free(url);
}

static bool stopped;
static void on_stopped(void *arg)
{
    (void)arg;
    stopped = true;
}

static bool has_stopped(void)
{
    return stopped;
}

static void stop_spool(void)
{
    stopped = false;
    spool_stop(on_stopped, NULL);
    await(has_stopped);
    store_stop();
    config_unref(config);
    config = NULL;
}

static void close_world(void)
{
    timer_free(give_up);
    timer_free(look);
    stage_forget();
    loop_finish();
    mem_free(spool_dir);
    mem_free(log_path);
    world_free(w);
}

static void on_added(void *arg, const struct err *e)
{
    (void)arg;
    if (e == NULL) {
        ck_assert_int_gt(atomic_load(&syncs), 0);
        kept++;
        return;
    }
    ck_assert_int_eq(e->code, ERR_UNAVAILABLE);
    snprintf(refusal, sizeof refusal, "%s", e->text);
    refused++;
}

/* The n-th delivery: its run is "00000000-0000-7000-8000-00000000000N". */
static void fill(struct spool_record *r, int n, char *texts)
{
    snprintf(
        texts, 400,
        "00000000-0000-7000-8000-%012d|00000000-0000-7000-9000-%012d|hub-%d|in.%d.raw|{\"n\":%d}",
        n, n, n, n, n);
    struct str rest = str_of(texts);
    *r = (struct spool_record){.hook = STR("/hooks/x"), .event = STR("push"), .size = 7};
    r->run_id = str_split(&rest, '|');
    r->delivery_id = str_split(&rest, '|');
    r->external_id = str_split(&rest, '|');
    r->key = str_split(&rest, '|');
    r->value = str_split(&rest, '|');
}

static void add(int n)
{
    struct spool_record r;
    char texts[400];
    fill(&r, n, texts);
    spool_add(&r, on_added, NULL);
}

static size_t told;
static bool all_are_told(void)
{
    return kept + refused == told;
}

static void add_and_wait(int from, int to)
{
    for (int i = from; i <= to; i++)
        add(i);
    told += (size_t)(to - from + 1);
    await(all_are_told);
}

static bool is_empty(void)
{
    return spool_bytes() == 0;
}

/* Names of the directory, "a b c". */
static char *files(void)
{
    struct buf all = {0};
    char *command = mem_format("ls %s", spool_dir);
    FILE *f = popen(command, "r");
    char line[256];
    buf_puts(&all, "");
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (all.n != 0)
            buf_char(&all, ' ');
        buf_puts(&all, line);
    }
    pclose(f);
    mem_free(command);
    return buf_take(&all);
}

static void no_files(void)
{
    char *all = files();
    ck_assert_str_eq(all, "");
    mem_free(all);
}

static void logged(const char *text)
{
    char *log = world_slurp(log_path, NULL);
    ck_assert_msg(strstr(log, text) != NULL, "%s is not in\n%s", text, log);
    mem_free(log);
}

static size_t inputs(void)
{
    char *keys = world_redis(w, "KEYS hm:kv:in.*");
    size_t n = keys[0] != '\0';
    for (const char *p = keys; *p != '\0'; p++)
        n += *p == '\n';
    mem_free(keys);
    return n;
}

static void stored(size_t runs)
{
    ck_assert_uint_eq(inputs(), runs);
}

static void value_is(int n, const char *want)
{
    char *value = world_redis(w, "HGET hm:kv:in.%d.raw value", n);
    ck_assert_str_eq(value, want);
    mem_free(value);
}

START_TEST(deliveries_wait_on_disk_and_are_stored_in_order_when_redis_is_back)
{
    start_spool(NULL);
    add_and_wait(1, 300);
    ck_assert_uint_eq(kept, 300);
    ck_assert_int_lt(atomic_load(&syncs), 10); /* one for many */
    ck_assert(spool_bytes() > 0);
    ck_assert(metric_value(METRIC_SPOOLED, NULL) > 0);
    world_redis_start(w);
    await(is_empty);
    stored(300);
    value_is(300, "{\"n\":300}");
    /* The ledger tells them in the order in which they came. */
    char *ledger = world_redis(w, "XRANGE hm:ledger - +");
    char *at = ledger;
    for (int i = 1; i <= 300; i++) {
        char want[64];
        snprintf(want, sizeof want, "\"delivery\":\"hub-%d\"", i);
        at = strstr(at, want);
        ck_assert_msg(at != NULL, "%s", want);
    }
    mem_free(ledger);
    stop_spool();
    no_files();
    ck_assert(metric_value(METRIC_SPOOLED, NULL) <= 0);
}
END_TEST

START_TEST(what_a_dead_server_left_is_stored_at_the_next_start)
{
    start_spool(NULL);
    add_and_wait(1, 5);
    stop_spool(); /* Redis was never there */
    world_redis_start(w);
    start_spool(NULL);
    await(is_empty);
    stored(5);
    stop_spool();
    no_files();
    logged("event=found files=1");
}
END_TEST

/* A file as a server that was killed would leave it. */
static char *leave_file(const char *name, struct str bytes)
{
    mkdir(spool_dir, 0700);
    char *path = mem_format("%s/%s", spool_dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, bytes.p, bytes.n), (ssize_t)bytes.n);
    close(fd);
    return path;
}

static void frames(struct buf *out, int from, int to)
{
    for (int i = from; i <= to; i++) {
        struct spool_record r;
        char texts[400];
        fill(&r, i, texts);
        spool_frame_write(out, &r);
    }
}

START_TEST(a_torn_last_record_is_cut_off_and_the_others_are_stored)
{
    struct buf bytes = {0};
    frames(&bytes, 1, 3);
    bytes.n -= 5;
    char *path = leave_file("1.spool", buf_view(&bytes));
    world_redis_start(w);
    start_spool(NULL);
    await(is_empty);
    stored(2);
    stop_spool();
    no_files();
    logged("event=torn");
    mem_free(path);
    buf_finish(&bytes);
}
END_TEST

START_TEST(a_damaged_file_is_stored_around_and_set_aside)
{
    struct buf bytes = {0};
    frames(&bytes, 1, 1);
    size_t second = bytes.n;
    frames(&bytes, 2, 3);
    bytes.p[second + 40] ^= 1;
    char *path = leave_file("1.spool", buf_view(&bytes));
    world_redis_start(w);
    start_spool(NULL);
    await(is_empty);
    stored(2);
    value_is(2, "");
    value_is(3, "{\"n\":3}");
    stop_spool();
    char *all = files();
    ck_assert_str_eq(all, "1.spool.kept");
    logged("event=set-aside");
    mem_free(all);
    mem_free(path);
    buf_finish(&bytes);
}
END_TEST

START_TEST(storing_a_file_twice_makes_no_second_run)
{
    struct buf bytes = {0};
    frames(&bytes, 1, 50);
    world_redis_start(w);
    for (int i = 0; i < 2; i++) {
        mem_free(leave_file("1.spool", buf_view(&bytes)));
        start_spool(NULL);
        await(is_empty);
        stop_spool();
    }
    stored(50);
    char *version = world_redis(w, "HGET hm:kv:in.7.raw version");
    ck_assert_str_eq(version, "1");
    mem_free(version);
    buf_finish(&bytes);
}
END_TEST

START_TEST(files_that_another_server_holds_are_left_to_it)
{
    struct buf bytes = {0};
    frames(&bytes, 1, 1);
    char *path = leave_file("1.spool", buf_view(&bytes));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    world_redis_start(w);
    start_spool(NULL);
    await(is_empty); /* it counts as the other's */
    stored(0);
    stop_spool();
    ck_assert_int_eq(access(path, F_OK), 0);
    close(fd); /* the other one dies */
    start_spool(NULL);
    await(is_empty);
    stored(1);
    stop_spool();
    mem_free(path);
    buf_finish(&bytes);
}
END_TEST

static bool some_are_stored(void)
{
    return inputs() > 100;
}

START_TEST(redis_dying_while_the_spool_is_drained_loses_and_doubles_nothing)
{
    start_spool(NULL);
    add_and_wait(1, 3000);
    world_redis_start(w);
    await(some_are_stored);
    ck_assert(spool_bytes() > 0); /* in the middle of it */
    world_redis_kill9(w);
    world_redis_start(w);
    await(is_empty);
    stored(3000);
    /* Each key was written once. */
    const struct str sum[] = {
        STR("EVAL"),
        STR("local n = 0 for _, k in ipairs(redis.call('KEYS', 'hm:kv:in.*')) do "
            "n = n + redis.call('HGET', k, 'version') end return n"),
        STR("0")};
    char *versions = world_redis_argv(w, 3, sum);
    ck_assert_str_eq(versions, "3000");
    mem_free(versions);
    stop_spool();
    no_files();
}
END_TEST

START_TEST(a_full_disk_refuses_and_leaves_nothing_behind)
{
    start_spool(NULL);
    atomic_store(&writes_left, 0);
    add_and_wait(1, 1);
    ck_assert_uint_eq(refused, 1);
    ck_assert_msg(strstr(refusal, "No space left") != NULL, "%s", refusal);
    no_files();
    ck_assert_uint_eq(spool_bytes(), 0);
    atomic_store(&writes_left, 1000);
    add_and_wait(2, 2);
    ck_assert_uint_eq(kept, 1);
    atomic_store(&writes_left, 0);
    add_and_wait(3, 3);
    ck_assert_uint_eq(refused, 2);
    atomic_store(&writes_left, 1000);
    add_and_wait(4, 4);
    world_redis_start(w);
    await(is_empty);
    stored(2);
    value_is(3, "");
    stop_spool();
    no_files();
    logged("event=write-failed");
}
END_TEST

START_TEST(a_failed_sync_refuses_and_the_file_gets_no_more_records)
{
    start_spool(NULL);
    add_and_wait(1, 1);
    atomic_store(&fail_syncs, 1);
    add_and_wait(2, 2);
    ck_assert_uint_eq(refused, 1);
    atomic_store(&fail_syncs, 0);
    add_and_wait(3, 3);
    char *all = files();
    ck_assert_msg(strchr(all, ' ') != NULL, "one file only: %s", all);
    mem_free(all);
    world_redis_start(w);
    await(is_empty);
    stored(2);
    value_is(2, "");
    stop_spool();
}
END_TEST

START_TEST(a_full_spool_refuses_and_says_which_setting)
{
    start_spool("spool_max=1000");
    add_and_wait(1, 10);
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_gt(refused, 0);
    ck_assert_msg(strstr(refusal, "spool_max") != NULL, "%s", refusal);
    size_t there = kept;
    world_redis_start(w);
    await(is_empty);
    stored(there);
    stop_spool();
}
END_TEST

START_TEST(a_spool_that_is_switched_off_refuses_but_stores_what_was_there)
{
    struct buf bytes = {0};
    frames(&bytes, 1, 1);
    mem_free(leave_file("1.spool", buf_view(&bytes)));
    start_spool("spool=false");
    add_and_wait(2, 2);
    ck_assert_uint_eq(refused, 1);
    ck_assert_msg(strstr(refusal, "switched off") != NULL, "%s", refusal);
    world_redis_start(w);
    await(is_empty);
    stored(1);
    stop_spool();
    buf_finish(&bytes);
}
END_TEST

START_TEST(a_spool_that_cannot_be_made_is_told_at_start)
{
    world_file(w, "spool", "a file where the directory should be");
    const char *settings[] = {NULL};
    struct err e;
    config = config_load(NULL, settings, false, NULL);
    char *url = mem_format("unix://%s/redis.sock", w->dir);
    ck_assert(store_start(url, config, &e));
    ck_assert(!spool_start(w->dir, &e));
    ck_assert_msg(strstr(e.text, "spool: false") != NULL, "%s", e.text);
    mem_free(url);
    stop_spool();
}
END_TEST

START_TEST(stopping_waits_for_the_disk_and_answers_everybody)
{
    start_spool(NULL);
    for (int i = 1; i <= 20; i++)
        add(i);
    stop_spool();
    ck_assert_uint_eq(kept, 20);
    world_redis_start(w);
    start_spool(NULL);
    await(is_empty);
    stored(20);
    stop_spool();
}
END_TEST

Suite *spool_suite(void)
{
    Suite *s = suite_create("spool");
    TCase *t = tcase_create("spool");
    tcase_add_checked_fixture(t, open_world, close_world);
    tcase_add_test(t, deliveries_wait_on_disk_and_are_stored_in_order_when_redis_is_back);
    tcase_add_test(t, what_a_dead_server_left_is_stored_at_the_next_start);
    tcase_add_test(t, a_torn_last_record_is_cut_off_and_the_others_are_stored);
    tcase_add_test(t, a_damaged_file_is_stored_around_and_set_aside);
    tcase_add_test(t, storing_a_file_twice_makes_no_second_run);
    tcase_add_test(t, files_that_another_server_holds_are_left_to_it);
    tcase_add_test(t, redis_dying_while_the_spool_is_drained_loses_and_doubles_nothing);
    tcase_add_test(t, a_full_disk_refuses_and_leaves_nothing_behind);
    tcase_add_test(t, a_failed_sync_refuses_and_the_file_gets_no_more_records);
    tcase_add_test(t, a_full_spool_refuses_and_says_which_setting);
    tcase_add_test(t, a_spool_that_is_switched_off_refuses_but_stores_what_was_there);
    tcase_add_test(t, a_spool_that_cannot_be_made_is_told_at_start);
    tcase_add_test(t, stopping_waits_for_the_disk_and_answers_everybody);
    suite_add_tcase(s, t);
    return s;
}
