/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"

Suite *loop_suite(void);

static struct buf trace; /* what happened, a letter each */

static void setup(void)
{
    struct err e;
    ck_assert(loop_start(&e));
}

static void teardown(void)
{
    loop_finish();
    buf_finish(&trace);
}

static void mark(void *arg)
{
    buf_puts(&trace, arg);
}

static void mark_and_stop(void *arg)
{
    mark(arg);
    loop_stop();
}

static char A[] = "a", B[] = "b", C[] = "c";

static void defer_b(void *arg)
{
    mark(arg);
    loop_defer(mark_and_stop, B);
}

START_TEST(deferred_call_runs_later_once_and_in_order)
{
    loop_defer(mark, C);
    loop_defer(defer_b, A);
    ck_assert_uint_eq(trace.n, 0);
    loop_run();
    ck_assert_str_eq(trace.p, "cab");
}
END_TEST

static int countdown;

static void defer_again(void *arg)
{
    (void)arg;
    if (countdown-- > 0)
        loop_defer(defer_again, NULL);
}

START_TEST(endless_deferring_does_not_starve_the_timers)
{
    countdown = 100000000;
    loop_defer(defer_again, NULL);
    struct timer *t = timer_new(mark_and_stop, A);
    timer_arm(t, 5);
    loop_run();
    ck_assert_str_eq(trace.p, "a");
    countdown = 0;
    timer_free(t);
}
END_TEST

static struct loop_prepare *prepare;

static void on_prepared(void *arg)
{
    mark(arg);
    loop_prepare_stop(prepare);
    loop_defer(mark_and_stop, C);
}

START_TEST(prepare_runs_after_the_deferred_calls_of_the_turn_until_stopped)
{
    prepare = loop_prepare_start(on_prepared, B);
    loop_defer(mark, A);
    loop_run();
    ck_assert_str_eq(trace.p, "abc");
}
END_TEST

static void use_freed_later(void *arg)
{
    buf_puts(&trace, arg);
    loop_stop();
}

START_TEST(memory_freed_later_may_still_be_used_by_the_deferred_calls_of_the_turn)
{
    char *p = mem_strdup("alive");
    loop_free_later(p);
    loop_defer(use_freed_later, p);
    loop_run();
    ck_assert_str_eq(trace.p, "alive");
    loop_free_later(mem_strdup("freed by loop_finish"));
}
END_TEST

START_TEST(timers_fire_in_the_order_of_their_times)
{
    struct timer *late = timer_new(mark_and_stop, C);
    struct timer *soon = timer_new(mark, A);
    struct timer *never = timer_new(mark, B);
    timer_arm(late, 20);
    timer_arm(soon, 5);
    timer_arm(never, 6);
    ck_assert(timer_armed(never));
    timer_disarm(never);
    ck_assert(!timer_armed(never));
    int64_t start = clock_mono_us();
    loop_run();
    ck_assert_str_eq(trace.p, "ac");
    ck_assert_int_ge(clock_mono_us() - start, 19000);
    ck_assert(!timer_armed(late));
    timer_free(late);
    timer_free(soon);
    timer_free(never);
    timer_free(NULL);
}
END_TEST

static struct timer *ticker;

static void on_tick(void *arg)
{
    mark(arg);
    if (trace.n == 3) {
        timer_free(ticker);
        loop_stop();
    }
}

START_TEST(repeating_timer_may_free_itself)
{
    ticker = timer_new(on_tick, A);
    timer_every(ticker, 2);
    loop_run();
    ck_assert_str_eq(trace.p, "aaa");
}
END_TEST

static void arm_for_now(void *arg)
{
    (void)arg;
    timer_arm(ticker, 0);
}

START_TEST(timer_that_arms_itself_for_now_does_not_starve_others)
{
    ticker = timer_new(arm_for_now, NULL);
    timer_arm(ticker, 0);
    struct timer *other = timer_new(mark_and_stop, A);
    timer_arm(other, 10);
    loop_run();
    ck_assert_str_eq(trace.p, "a");
}
END_TEST

static struct io *io;
static int fds[2];

static void on_readable(void *arg, int events)
{
    (void)arg;
    ck_assert_int_eq(events, IO_READ);
    char c[2] = {0};
    ck_assert_int_eq(read(fds[0], c, 1), 1);
    mark_and_stop(c);
}

START_TEST(descriptor_is_reported_readable_when_bytes_come)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    io = io_new(fds[0], on_readable, NULL);
    io_want(io, IO_READ);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    loop_run();
    ck_assert_str_eq(trace.p, "x");
    io_free(io);
    close(fds[0]); /* at once: nothing polls it any more */
    close(fds[1]);
}
END_TEST

static void on_writable(void *arg, int events)
{
    ck_assert_int_eq(events, IO_WRITE);
    io_want(io, 0);
    timer_arm(arg, 5); /* would be preceded by many more reports if it were still wanted */
    mark(A);
}

START_TEST(writable_is_reported_only_while_it_is_wanted)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct timer *t = timer_new(mark_and_stop, B);
    io = io_new(fds[0], on_writable, t);
    io_want(io, IO_READ | IO_WRITE);
    loop_run();
    ck_assert_str_eq(trace.p, "ab");
    io_free(io);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

static void on_error(void *arg, int events)
{
    (void)arg;
    ck_assert_int_eq(events, IO_READ | IO_WRITE);
    mark(A);
    if (trace.n == 3)
        loop_stop();
}

/* The write end of a pipe whose reader went is in the state POLLERR for ever. */
START_TEST(error_on_a_descriptor_is_reported_as_readable_and_writable_and_goes_on)
{
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    io = io_new(fds[1], on_error, NULL);
    io_want(io, IO_READ);
    loop_run();
    ck_assert_str_eq(trace.p, "aaa");
    io_free(io);
    close(fds[1]);
}
END_TEST

static void on_sig(void *arg, int signo)
{
    ck_assert_int_eq(signo, SIGHUP);
    mark_and_stop(arg);
}

static void raise_hup(void *arg)
{
    (void)arg;
    kill(getpid(), SIGHUP);
}

START_TEST(signal_arrives_as_a_callback)
{
    loop_on_signal(SIGHUP, on_sig, A);
    loop_defer(raise_hup, NULL);
    loop_run();
    ck_assert_str_eq(trace.p, "a");
}
END_TEST

static char dir[] = "/tmp/loop_test.XXXXXX";

static void touch(const char *name)
{
    char *path = mem_format("%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    mem_free(path);
}

static void touch_two(void *arg)
{
    (void)arg;
    touch("one");
    touch("two");
}

START_TEST(directory_changes_are_reported_once_after_they_settle)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    struct err e;
    struct dir_watch *w = dir_watch_start(dir, mark, A, &e);
    ck_assert_ptr_nonnull(w);
    loop_defer(touch_two, NULL);
    struct timer *t = timer_new(mark_and_stop, B);
    timer_arm(t, 250);
    loop_run();
    ck_assert_str_eq(trace.p, "ab");
    dir_watch_stop(w);
    dir_watch_stop(NULL);
    char *rm = mem_format("rm -r %s", dir);
    ck_assert_int_eq(system(rm), 0);
    mem_free(rm);
}
END_TEST

START_TEST(watching_a_missing_directory_fails_with_its_name)
{
    struct err e;
    ck_assert_ptr_null(dir_watch_start("/nonexistent/dir", mark, A, &e));
    ck_assert_int_eq(e.code, ERR_NOT_FOUND);
    ck_assert_str_eq(e.text, "cannot watch /nonexistent/dir: no such file or directory");
}
END_TEST

static pthread_t worker;

static void work_in_pool(void *arg)
{
    worker = pthread_self();
    *(int *)arg = 42;
}

static void work_done(void *arg)
{
    ck_assert_int_eq(*(int *)arg, 42);
    ck_assert(!pthread_equal(worker, pthread_self()));
    mark_and_stop(A);
}

START_TEST(work_runs_in_another_thread_and_is_told_done_on_the_loop)
{
    int answer = 0;
    loop_work(work_in_pool, work_done, &answer);
    loop_run();
    ck_assert_str_eq(trace.p, "a");
}
END_TEST

static void free_op(void *arg)
{
    mem_free(arg);
    loop_free_later(mem_strdup("x"));
    timer_arm(timer_new(mark, B), 1000); /* left behind on purpose */
    mark(A);
}

static void idle_work(void *arg)
{
    (void)arg;
}

START_TEST(finish_ends_pending_work_and_frees_what_was_left_behind)
{
    loop_work(idle_work, free_op, mem_alloc(8));
    timer_every(timer_new(mark, C), 1000);
    loop_on_signal(SIGUSR1, on_sig, NULL);
    loop_prepare_start(mark, C);
    loop_defer(free_op, mem_alloc(8));
    struct err e;
    ck_assert_ptr_nonnull(dir_watch_start("/tmp", mark, C, &e));
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    io_want(io_new(fds[0], on_readable, NULL), IO_READ);
    loop_finish();
    ck_assert_str_eq(trace.p, "aa");
    close(fds[0]);
    close(fds[1]);
    ck_assert(loop_start(&e)); /* and it can be started again */
}
END_TEST

static void compare_now(void *arg)
{
    int64_t first = *(int64_t *)arg;
    ck_assert_int_ge(loop_now_us() - first, 5000);
    ck_assert_int_eq(loop_now_us(), loop_now_us());
    ck_assert_int_le(loop_now_us(), clock_mono_us());
    loop_stop();
}

START_TEST(loop_time_is_that_of_the_turn)
{
    int64_t first = loop_now_us();
    ck_assert_int_eq(first, loop_now_us());
    timer_arm(timer_new(compare_now, &first), 6);
    loop_run();
}
END_TEST

Suite *loop_suite(void)
{
    Suite *s = suite_create("loop");
    TCase *t = tcase_create("loop");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 20);
    tcase_add_test(t, deferred_call_runs_later_once_and_in_order);
    tcase_add_test(t, endless_deferring_does_not_starve_the_timers);
    tcase_add_test(t, prepare_runs_after_the_deferred_calls_of_the_turn_until_stopped);
    tcase_add_test(t, memory_freed_later_may_still_be_used_by_the_deferred_calls_of_the_turn);
    tcase_add_test(t, timers_fire_in_the_order_of_their_times);
    tcase_add_test(t, repeating_timer_may_free_itself);
    tcase_add_test(t, timer_that_arms_itself_for_now_does_not_starve_others);
    tcase_add_test(t, descriptor_is_reported_readable_when_bytes_come);
    tcase_add_test(t, writable_is_reported_only_while_it_is_wanted);
    tcase_add_test(t, error_on_a_descriptor_is_reported_as_readable_and_writable_and_goes_on);
    tcase_add_test(t, signal_arrives_as_a_callback);
    tcase_add_test(t, directory_changes_are_reported_once_after_they_settle);
    tcase_add_test(t, watching_a_missing_directory_fails_with_its_name);
    tcase_add_test(t, work_runs_in_another_thread_and_is_told_done_on_the_loop);
    tcase_add_test(t, finish_ends_pending_work_and_frees_what_was_left_behind);
    tcase_add_test(t, loop_time_is_that_of_the_turn);
    suite_add_tcase(s, t);
    return s;
}
