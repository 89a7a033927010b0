/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/loop.h"
#include "net/proc.h"

Suite *proc_suite(void);

static struct buf out;
static struct buf errors;
static struct proc_exit ended;
static int exits;
static struct proc *proc;
static bool kill_at_first_output;

static void setup(void)
{
    struct err e;
    ck_assert(loop_start(&e));
}

static void on_turn(void *arg)
{
    (void)arg;
    loop_stop();
}

/* A little of the loop. */
static void one_turn(void)
{
    struct timer *t = timer_new(on_turn, NULL);
    timer_arm(t, 5);
    loop_run();
    timer_free(t);
}

/* Until no process is there that a child had started. */
static void await_no_leftovers(void)
{
    siginfo_t info;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        one_turn();
    ck_assert_int_eq(errno, ECHILD);
}

static void teardown(void)
{
    await_no_leftovers(); /* no zombie either */
    loop_finish();
    buf_finish(&out);
    buf_finish(&errors);
    ck_assert(metric_value(METRIC_CHILDREN, NULL) == 0);
}

static void on_stdout(void *arg, struct str bytes)
{
    (void)arg;
    buf_str(&out, bytes);
    if (kill_at_first_output)
        proc_kill(proc);
}

static void on_stderr(void *arg, struct str bytes)
{
    (void)arg;
    ck_assert_int_eq(exits, 0);
    buf_str(&errors, bytes);
}

static void on_exit_of(void *arg, const struct proc_exit *x)
{
    (void)arg;
    ended = *x;
    exits++;
    loop_stop();
}

static const struct proc_events events = {on_stdout, on_stderr, on_exit_of};

static void start(struct proc_options o, const char *script)
{
    char sh[] = "sh", c[] = "-c";
    char *text = mem_strdup(script);
    struct err e;
    o.argv = (char *[]){sh, c, text, NULL};
    proc = proc_spawn(&o, &events, NULL, &e);
    mem_free(text);
    ck_assert_msg(proc != NULL, "%s", e.text);
    ck_assert_int_eq(exits, 0);
}

static bool lives(struct str pid_text)
{
    uint64_t pid;
    ck_assert(str_u64(str_trim(pid_text), &pid));
    return kill((pid_t)pid, 0) == 0;
}

/* Runs the script without input to its end. */
static void run(struct proc_options o, const char *script)
{
    start(o, script);
    proc_close_stdin(proc);
    loop_run();
    ck_assert_int_eq(exits, 1);
}

static bool refused(struct proc_options o, const char *program, struct err *e)
{
    char *name = mem_strdup(program);
    o.argv = (char *[]){name, NULL};
    bool no = proc_spawn(&o, &events, NULL, e) == NULL;
    mem_free(name);
    return no;
}

START_TEST(output_and_exit_code_are_reported)
{
    run((struct proc_options){0}, "echo out; echo err >&2; exit 7");
    ck_assert_str_eq(out.p, "out\n");
    ck_assert_str_eq(errors.p, "err\n");
    ck_assert_int_eq(ended.code, 7);
    ck_assert_int_eq(ended.signal, 0);
    ck_assert(!ended.timed_out && !ended.overflow && !ended.cancelled);
    ck_assert_int_gt(ended.wall_us, 0);
}
END_TEST

START_TEST(signal_that_ended_it_is_reported)
{
    run((struct proc_options){0}, "kill -9 $$");
    ck_assert_int_eq(ended.code, -1);
    ck_assert_int_eq(ended.signal, SIGKILL);
}
END_TEST

START_TEST(input_of_any_size_passes_through)
{
    start((struct proc_options){0}, "cat");
    struct buf in = {0};
    for (uint32_t i = 0; i < 1000 * 1000; i++)
        buf_add(&in, &i, sizeof i);
    proc_write(proc, (struct str){in.p, 10});
    proc_write(proc, (struct str){in.p + 10, in.n - 10});
    ck_assert_uint_gt(proc_unwritten(proc), 0);
    proc_close_stdin(proc);
    proc_write(proc, STR("too late"));
    loop_run();
    ck_assert_int_eq(ended.code, 0);
    ck_assert(str_eq(buf_view(&out), buf_view(&in)));
    buf_finish(&in);
}
END_TEST

START_TEST(child_that_does_not_read_its_input_ends_as_it_likes)
{
    start((struct proc_options){0}, "exec <&-; echo done");
    char *big = mem_zero(1, 1000 * 1000);
    proc_write(proc, (struct str){big, 1000 * 1000});
    proc_close_stdin(proc);
    mem_free(big);
    loop_run();
    ck_assert_str_eq(out.p, "done\n");
    ck_assert_int_eq(ended.code, 0);
}
END_TEST

START_TEST(timeout_ends_the_whole_group)
{
    run((struct proc_options){.timeout_ms = 200, .kill_grace_ms = 5000},
        "sleep 1000 & echo $!; (sleep 1001 & echo $!; wait) & wait");
    ck_assert(ended.timed_out);
    ck_assert_int_eq(ended.signal, SIGTERM);
    ck_assert_int_lt(ended.wall_us, 4000000);
    struct str rest = str_trim(buf_view(&out));
    int seen = 0;
    while (rest.p != NULL) {
        uint64_t pid;
        ck_assert(str_u64(str_split(&rest, '\n'), &pid));
        /* Dead, or a zombie that its new parent has not waited for yet. */
        char *path = mem_format("/proc/%d/cmdline", (int)pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        char c;
        ck_assert(fd < 0 || read(fd, &c, 1) <= 0);
        close(fd);
        mem_free(path);
        seen++;
    }
    ck_assert_int_eq(seen, 2);
}
END_TEST

START_TEST(timeout_kills_what_ignores_the_first_signal)
{
    run((struct proc_options){.timeout_ms = 100, .kill_grace_ms = 100},
        "trap '' TERM; echo ready; while :; do sleep 1000; done");
    ck_assert(ended.timed_out);
    ck_assert_int_eq(ended.signal, SIGKILL);
}
END_TEST

START_TEST(too_much_output_kills_the_group_and_passes_no_more_than_the_limit)
{
    run((struct proc_options){.stdout_max = 100000}, "yes");
    ck_assert(ended.overflow);
    ck_assert_uint_eq(out.n, 100000);
    ck_assert_int_eq(ended.signal, SIGKILL);
}
END_TEST

START_TEST(output_of_exactly_the_limit_is_fine)
{
    run((struct proc_options){.stdout_max = 4}, "printf abcd");
    ck_assert(!ended.overflow);
    ck_assert_str_eq(out.p, "abcd");
}
END_TEST

static void kill_it(void *arg)
{
    (void)arg;
    proc_kill(proc);
    ck_assert_int_eq(exits, 0);
    proc_kill(proc);
}

START_TEST(killed_child_is_reported_as_cancelled)
{
    start((struct proc_options){0}, "sleep 1000");
    loop_defer(kill_it, NULL);
    loop_run();
    ck_assert(ended.cancelled && !ended.timed_out);
    ck_assert_int_eq(ended.signal, SIGTERM);
}
END_TEST

START_TEST(background_process_that_holds_the_pipe_is_killed_after_the_grace)
{
    run((struct proc_options){.kill_grace_ms = 100}, "trap '' TERM; sleep 1000 & exit 3");
    ck_assert_int_eq(ended.code, 3);
    ck_assert(!ended.timed_out && !ended.cancelled);
}
END_TEST

/* In a session of its own and deaf to TERM; tells its pid on the stdout that it is given, and closes that. */
static char daemon_script[] =
    "DAEMON=trap '' TERM; echo $$; exec >&-; while :; do sleep 1000; done";
static char *daemon_env[] = {daemon_script, NULL};

START_TEST(process_that_left_the_group_with_the_pipe_cannot_hold_up_the_end)
{
    run((struct proc_options){.kill_grace_ms = 100, .env = daemon_env},
        "x=$(setsid sh -c \"$DAEMON\" &); echo $x; exit 4");
    ck_assert_int_eq(ended.code, 4);
    await_no_leftovers();
    ck_assert(!lives(buf_view(&out)));
}
END_TEST

START_TEST(daemon_without_pipes_ends_with_the_child_that_started_it)
{
    run((struct proc_options){.env = daemon_env},
        "x=$(sh -c 'setsid sh -c \"$DAEMON\" 2>&- &'); echo $x");
    ck_assert_int_eq(ended.code, 0);
    await_no_leftovers();
    ck_assert(!lives(buf_view(&out)));
}
END_TEST

START_TEST(daemon_ends_when_its_child_is_deaf_to_the_first_signal_too)
{
    kill_at_first_output = true;
    run((struct proc_options){.kill_grace_ms = 50, .env = daemon_env},
        "trap '' TERM; x=$(sh -c 'setsid sh -c \"$DAEMON\" &'); echo $x; "
        "while :; do sleep 1000; done");
    ck_assert(ended.cancelled);
    ck_assert_int_eq(ended.signal, SIGKILL);
    await_no_leftovers();
    ck_assert(!lives(buf_view(&out)));
}
END_TEST

START_TEST(daemon_of_another_child_lives_on)
{
    start((struct proc_options){.env = daemon_env},
          "x=$(sh -c 'setsid sh -c \"$DAEMON\" 2>&- &'); echo $x; cat");
    struct proc *first = proc;
    while (out.n == 0)
        one_turn();
    run((struct proc_options){.env = daemon_env}, "x=$(setsid sh -c \"$DAEMON\" 2>&- &)");
    for (int i = 0; i < 10; i++)
        one_turn();
    ck_assert(lives(buf_view(&out)));
    proc_close_stdin(first);
    while (exits < 2)
        loop_run();
    await_no_leftovers();
    ck_assert(!lives(buf_view(&out)));
}
END_TEST

START_TEST(background_process_without_pipes_ends_with_its_leader)
{
    run((struct proc_options){0}, "sleep 1000 >&- 2>&- & echo $!");
    uint64_t pid;
    ck_assert(str_u64(str_trim(buf_view(&out)), &pid));
    while (kill((pid_t)pid, 0) == 0) {
        /* The signal was sent: it takes a moment, or is a zombie of init's. */
        char *state = mem_format("grep -qs 'State:.[ZX]' /proc/%d/status", (int)pid);
        bool zombie = system(state) == 0;
        mem_free(state);
        if (zombie)
            break;
    }
}
END_TEST

START_TEST(only_the_named_environment_reaches_the_child)
{
    setenv("HOOKMESH_TOKEN", "secret", 1);
    setenv("TZ", "UTC", 1);
    setenv("LANG", "C.UTF-8", 1);
    char a[] = "LANG=de_DE", b[] = "X=a b";
    char *env[] = {a, b, NULL};
    run((struct proc_options){.env = env},
        "env | sort | grep -vE '^(_|SHLVL|PWD|OLDPWD|HOME|PATH|TMPDIR)='");
    ck_assert_str_eq(out.p, "LANG=de_DE\nTZ=UTC\nX=a b\n");
}
END_TEST

START_TEST(no_descriptor_but_the_three_reaches_the_child)
{
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC); /* what the test itself was started with */
    run((struct proc_options){0}, "ls /proc/self/fd | tr '\\n' ' '");
    ck_assert_str_eq(out.p, "0 1 2 3 "); /* 3: ls reads the directory */
}
END_TEST

START_TEST(child_starts_with_default_signals_in_a_group_of_its_own)
{
    run((struct proc_options){0}, "cat /proc/self/status | grep -E 'Sig(Blk|Ign):' | tr -d "
                                  "'\\t\\n'; cut -d' ' -f5 /proc/$$/stat");
    int group = 0;
    ck_assert_int_eq(sscanf(out.p, "SigBlk:0000000000000000SigIgn:0000000000000000 %d", &group), 1);
    ck_assert_int_eq(group, proc_pid(proc));
}
END_TEST

START_TEST(limits_hold_for_the_child_unless_switched_off)
{
    struct rlimit old;
    getrlimit(RLIMIT_CORE, &old);
    static const char script[] = "ulimit -c; sed -n 's/NoNewPrivs:.//p' /proc/self/status";
    run((struct proc_options){0}, script);
    ck_assert_str_eq(out.p, "0\n1\n");
    exits = 0;
    buf_clear(&out);
    setrlimit(RLIMIT_CORE, &(struct rlimit){old.rlim_max, old.rlim_max});
    run((struct proc_options){.no_limits = true}, script);
    ck_assert(str_ends(buf_view(&out), "\n0\n"));
    ck_assert_int_eq(str_starts(buf_view(&out), "0"), old.rlim_max == 0);
}
END_TEST

START_TEST(child_runs_in_the_given_directory)
{
    run((struct proc_options){.cwd = "/usr"}, "pwd");
    ck_assert_str_eq(out.p, "/usr\n");
}
END_TEST

START_TEST(missing_program_is_refused)
{
    struct err e;
    ck_assert(refused((struct proc_options){0}, "no-such-program", &e));
    ck_assert_int_eq(e.code, ERR_NOT_FOUND);
    ck_assert_str_eq(e.text, "cannot start no-such-program: no such program in PATH");
    ck_assert(refused((struct proc_options){0}, "/no/such/program", &e));
    ck_assert_int_eq(e.code, ERR_NOT_FOUND);
    ck_assert_str_eq(e.text, "cannot start /no/such/program: No such file or directory");
}
END_TEST

START_TEST(missing_directory_is_refused)
{
    struct err e;
    ck_assert(refused((struct proc_options){.cwd = "/no/such"}, "true", &e));
    ck_assert_int_eq(e.code, ERR_NOT_FOUND);
    ck_assert_str_eq(e.text, "cannot start true in /no/such: No such file or directory");
}
END_TEST

START_TEST(file_that_is_not_executable_is_refused)
{
    char dir[] = "/tmp/proc_test.XXXXXX";
    struct err e;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *path = mem_format("%s/data", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs("this is no program\n", f);
    fclose(f);
    ck_assert(refused((struct proc_options){0}, path, &e));
    ck_assert_int_eq(e.code, ERR_FORBIDDEN);
    char *path_env = mem_format("PATH=%s", dir);
    char *env[] = {path_env, NULL};
    ck_assert(refused((struct proc_options){.env = env}, "data", &e));
    ck_assert_int_eq(e.code, ERR_FORBIDDEN);
    chmod(path, 0700); /* neither a program nor a script */
    ck_assert(refused((struct proc_options){.env = env}, "data", &e));
    ck_assert_int_eq(e.code, ERR_FORBIDDEN);
    ck_assert(refused((struct proc_options){0}, dir, &e));
    ck_assert_int_eq(e.code, ERR_FORBIDDEN);
    unlink(path);
    rmdir(dir);
    mem_free(path);
    mem_free(path_env);
}
END_TEST

START_TEST(exhausted_descriptors_are_refused_as_a_passing_trouble)
{
    struct rlimit old;
    struct err e;
    getrlimit(RLIMIT_NOFILE, &old);
    int next = dup(0);
    close(next);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 5, old.rlim_max});
    ck_assert(refused((struct proc_options){0}, "true", &e));
    ck_assert_int_eq(e.code, ERR_UNAVAILABLE);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 6, old.rlim_max});
    ck_assert(refused((struct proc_options){0}, "true", &e)); /* the pidfd is one too many */
    ck_assert_int_eq(e.code, ERR_UNAVAILABLE);
    setrlimit(RLIMIT_NOFILE, &old);
    run((struct proc_options){0}, "echo again");
    ck_assert_str_eq(out.p, "again\n");
}
END_TEST

START_TEST(child_works_when_our_own_standard_descriptors_are_closed)
{
    int keep[3];
    for (int fd = 0; fd < 3; fd++) {
        keep[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
        close(fd);
    }
    start((struct proc_options){0}, "cat; echo err >&2");
    proc_write(proc, STR("in"));
    proc_close_stdin(proc);
    loop_run();
    for (int fd = 0; fd < 3; fd++)
        dup2(keep[fd], fd);
    ck_assert_str_eq(out.p, "in");
    ck_assert_str_eq(errors.p, "err\n");
}
END_TEST

/* A process of ours starts a child, tells its pid and is killed. */
START_TEST(child_dies_with_us_when_asked_to)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    loop_finish();
    pid_t middle = fork();
    if (middle == 0) {
        struct err e;
        if (!loop_start(&e))
            _exit(1);
        start((struct proc_options){.die_with_us = true, .death_signal = SIGTERM},
              "exec sleep 1000");
        int pid = proc_pid(proc);
        if (write(fds[1], &pid, sizeof pid) != sizeof pid)
            _exit(1);
        loop_run();
        _exit(1);
    }
    int pid;
    ck_assert_int_eq(read(fds[0], &pid, sizeof pid), sizeof pid);
    ck_assert_int_eq(kill(pid, 0), 0);
    char *stat = mem_format("/proc/%d/stat", pid);
    kill(middle, SIGKILL);
    waitpid(middle, NULL, 0);
    for (char state = 'R'; state != 'Z' && state != 'X' && kill(pid, 0) == 0;) {
        FILE *f = fopen(stat, "r");
        if (f == NULL || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = 'X';
        if (f != NULL)
            fclose(f);
    }
    mem_free(stat);
    close(fds[0]);
    close(fds[1]);
    struct err e;
    ck_assert(loop_start(&e));
}
END_TEST

START_TEST(two_hundred_children_at_once_all_end)
{
    static const struct proc_events quiet = {NULL, NULL, on_exit_of};
    char program[] = "true";
    char *argv[] = {program, NULL};
    struct err e;
    for (int i = 0; i < 200; i++)
        ck_assert_ptr_nonnull(proc_spawn(&(struct proc_options){.argv = argv}, &quiet, NULL, &e));
    ck_assert(metric_value(METRIC_CHILDREN, NULL) == 200);
    while (exits < 200)
        loop_run();
}
END_TEST

Suite *proc_suite(void)
{
    Suite *s = suite_create("proc");
    TCase *t = tcase_create("proc");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, output_and_exit_code_are_reported);
    tcase_add_test(t, signal_that_ended_it_is_reported);
    tcase_add_test(t, input_of_any_size_passes_through);
    tcase_add_test(t, child_that_does_not_read_its_input_ends_as_it_likes);
    tcase_add_test(t, timeout_ends_the_whole_group);
    tcase_add_test(t, timeout_kills_what_ignores_the_first_signal);
    tcase_add_test(t, too_much_output_kills_the_group_and_passes_no_more_than_the_limit);
    tcase_add_test(t, output_of_exactly_the_limit_is_fine);
    tcase_add_test(t, killed_child_is_reported_as_cancelled);
    tcase_add_test(t, background_process_that_holds_the_pipe_is_killed_after_the_grace);
    tcase_add_test(t, process_that_left_the_group_with_the_pipe_cannot_hold_up_the_end);
    tcase_add_test(t, daemon_without_pipes_ends_with_the_child_that_started_it);
    tcase_add_test(t, daemon_ends_when_its_child_is_deaf_to_the_first_signal_too);
    tcase_add_test(t, daemon_of_another_child_lives_on);
    tcase_add_test(t, background_process_without_pipes_ends_with_its_leader);
    tcase_add_test(t, only_the_named_environment_reaches_the_child);
    tcase_add_test(t, no_descriptor_but_the_three_reaches_the_child);
    tcase_add_test(t, child_starts_with_default_signals_in_a_group_of_its_own);
    tcase_add_test(t, limits_hold_for_the_child_unless_switched_off);
    tcase_add_test(t, child_runs_in_the_given_directory);
    tcase_add_test(t, missing_program_is_refused);
    tcase_add_test(t, missing_directory_is_refused);
    tcase_add_test(t, file_that_is_not_executable_is_refused);
    tcase_add_test(t, exhausted_descriptors_are_refused_as_a_passing_trouble);
    tcase_add_test(t, child_works_when_our_own_standard_descriptors_are_closed);
    tcase_add_test(t, child_dies_with_us_when_asked_to);
    tcase_add_test(t, two_hundred_children_at_once_all_end);
    suite_add_tcase(s, t);
    return s;
}
