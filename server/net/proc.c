/* SPDX-License-Identifier: Apache-2.0 */
/* A child is started by clone(CLONE_VM | CLONE_VFORK), as posix_spawn does it: no page table is copied,
 * however big the server is, and since the memory is shared until the exec, the child tells by a plain variable which of its
 * calls failed. posix_spawn itself cannot set no_new_privs or the death signal; a helper program that sets them and
 * then execs cost 6 ms of processor time a child, most of it the dynamic linker's.
 *
 * Between clone and exec only plain system calls are made (child_main): it runs on a stack of its own in our memory, all
 * signals blocked, and an allocation or a lock there would be ours too.
 *
 * The leader of a contained child is a subreaper: what it starts stays below it in the tree of processes, also in a session of its own, as long as it
 * lives. When it ends, what it leaves becomes our child, because we are a subreaper as well; so a child of ours that nobody started here is a leftover, and is
 * killed, and what it leaves in turn (on_sweep). A cgroup would do the same for who may make one, which a server rarely may.
 *
 * The end of the leader is seen by its pidfd. It is left a zombie until all is over, because as long
 * as it is one, no other process group can get its number, and killing the group cannot hit a stranger. */
#include "net/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/loop.h"

enum {
    PROC_MAGIC = 0x50524f43,
    GRACE_MS = 2000,
    READ_SIZE = 64 * 1024,
    READS_A_TURN = 8,
    CHILD_STACK = 64 * 1024,
    FIRST_FREE_FD = 3,
    SWEEP_FIRST_MS = 5,
    SWEEP_LAST_MS = 1000,
};

/* Runs until all pipes are closed and the leader has ended. */
enum stage { RUNNING, ASKED_TO_END, KILLED };

struct out {
    struct proc *proc;
    int fd; /* -1: closed */
    struct io *io;
    void (*on_bytes)(void *arg, struct str bytes);
};

struct proc {
    struct list node; /* in living */
    uint32_t magic;
    pid_t pid;
    int pidfd;
    struct io *exit_io;
    struct proc_events events;
    void *arg;
    struct proc_exit exit;
    enum stage stage;
    bool exited;
    int64_t grace_ms;
    int64_t started_us;
    struct timer *timer; /* the timeout, then the grace */
    struct out out;
    struct out err;
    size_t stdout_left; /* bytes it may still print */
    bool stdout_limited;
    int in_fd; /* -1: closed */
    struct io *in_io;
    struct buf in; /* not written yet, from in_sent on */
    size_t in_sent;
    bool close_in; /* when all is written */
};

/* What the child needs between clone and exec, and what it tells back. */
struct start {
    const char *program;
    char *const *argv;
    char *const *env;
    const char *cwd;
    int in, out, err; /* err -1: ours */
    bool limits;
    int death_signal; /* 0: none */
    pid_t parent;
    const char *failed; /* the call; NULL: it runs */
    int cause;
};

static size_t children;
static struct list living = {&living, &living};

static struct {
    bool asked;
    bool on; /* we are a subreaper, and can see our children */
    struct timer *timer;
    int64_t next_ms;
} sweep;

static int failed_at(struct start *s, const char *what)
{
    s->failed = what;
    s->cause = errno;
    return 127;
}

/* No sanitizer here: it would take this stack for the parent's. */
__attribute__((no_sanitize("address", "undefined"))) static int child_main(void *arg)
{
    struct start *s = arg;
    struct sigaction plain = {.sa_handler = SIG_DFL};
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &plain,
                  NULL); /* our handlers must not run over there; nor is SIGPIPE ignored */
    setpgid(0, 0);
    if (s->death_signal != 0) {
        prctl(PR_SET_PDEATHSIG, s->death_signal);
        if (getppid() != s->parent)
            return failed_at(s, "parent");
    }
    if (s->limits) {
        struct rlimit none = {0, 0};
        if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            return failed_at(s, "limits");
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    if (dup2(s->in, STDIN_FILENO) < 0 || dup2(s->out, STDOUT_FILENO) < 0 ||
        (s->err >= 0 && dup2(s->err, STDERR_FILENO) < 0))
        return failed_at(s, "pipes");
    if (s->cwd != NULL && chdir(s->cwd) != 0)
        return failed_at(s, "cwd");
    sigset_t nothing;
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    execve(s->program, s->argv, s->env);
    return failed_at(s, "exec");
}

/* Returns the pid, or -1 with s->failed and s->cause. CLONE_VFORK: the one stack is free again on return. */
static pid_t launch(struct start *s, int *pidfd)
{
    static _Alignas(16) char stack[CHILD_STACK];
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(child_main, stack + sizeof stack,
                      CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, s, pidfd);
    if (pid < 0)
        failed_at(s, "clone");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0 || s->failed == NULL)
        return pid;
    waitpid(pid, NULL, 0);
    close(*pidfd);
    return -1;
}

static bool tell_failure(const struct start *s, const char *name, struct err *e)
{
    const char *why = strerror(s->cause);
    if (strcmp(s->failed, "cwd") == 0)
        return err_fail(e, s->cause == ENOENT ? ERR_NOT_FOUND : ERR_SYSTEM,
                        "cannot start %s in %s: %s", name, s->cwd, why);
    switch (s->cause) {
    case ENOENT:
    case ENOTDIR: return err_fail(e, ERR_NOT_FOUND, "cannot start %s: %s", name, why);
    case EACCES:
    case EPERM:
    case EISDIR:
    case ENOEXEC: return err_fail(e, ERR_FORBIDDEN, "cannot start %s: %s", name, why);
    case E2BIG: return err_fail(e, ERR_TOO_LARGE, "cannot start %s: %s", name, why);
    case ETXTBSY:
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE: return err_fail(e, ERR_UNAVAILABLE, "cannot start %s: %s", name, why);
    default: return err_fail(e, ERR_SYSTEM, "cannot start %s: %s", name, why);
    }
}

static const char *value_in(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; env[i] != NULL; i++) {
        if (strncmp(env[i], name, n) == 0 && env[i][n] == '=')
            return env[i] + n + 1;
    }
    return NULL;
}

/* What is passed on of our environment, unless the options set it, then what the options name. */
static char **make_env(char *const *extra)
{
    static const char *const kept[] = {"PATH", "HOME", "LANG", "TMPDIR", "TZ"};
    enum { KEPT = sizeof kept / sizeof kept[0] };
    static char *none[] = {NULL};
    if (extra == NULL)
        extra = none;
    size_t count = 0;
    while (extra[count] != NULL)
        count++;
    char **env = mem_zero(count + KEPT + 1, sizeof *env);
    size_t n = 0;
    for (size_t i = 0; i < KEPT; i++) {
        const char *ours = getenv(kept[i]);
        if (ours != NULL && value_in(extra, kept[i]) == NULL)
            env[n++] = mem_format("%s=%s", kept[i], ours);
    }
    for (size_t i = 0; i < count; i++)
        env[n++] = mem_strdup(extra[i]);
    return env;
}

static void free_env(char **env)
{
    for (size_t i = 0; env[i] != NULL; i++)
        mem_free(env[i]);
    mem_free(env);
}

/* The path to exec, by the child's own PATH; a name with a slash is taken as it is, from the child's
 * directory. */
static char *find_program(const char *name, char *const *env, struct err *e)
{
    if (strchr(name, '/') != NULL)
        return mem_strdup(name);
    struct str path = str_of(value_in(env, "PATH"));
    if (path.n == 0)
        path = STR("/usr/local/bin:/usr/bin:/bin");
    char *not_executable = NULL;
    while (path.p != NULL) {
        struct str dir = str_split(&path, ':');
        if (!str_starts(dir, "/"))
            continue; /* the current directory is nobody's program directory */
        char *full = mem_format("%.*s/%s", (int)dir.n, dir.p, name);
        struct stat st;
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(full, X_OK) == 0) {
                mem_free(not_executable);
                return full;
            }
            if (not_executable == NULL) {
                not_executable = full;
                continue;
            }
        }
        mem_free(full);
    }
    if (not_executable != NULL)
        err_fail(e, ERR_FORBIDDEN, "cannot start %s: %s is not executable", name, not_executable);
    else
        err_fail(e, ERR_NOT_FOUND, "cannot start %s: no such program in PATH", name);
    mem_free(not_executable);
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Not 0, 1 or 2, which may be free when our own were closed: the child's dup2 would trip over them. */
static bool make_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= FIRST_FREE_FD)
            continue;
        int moved = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
        close(fds[i]);
        fds[i] = moved;
    }
    if (fds[0] >= 0 && fds[1] >= 0)
        return true;
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    return false;
}

/* A whole small file of /proc; false: it is not there. */
static bool read_proc(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    buf_clear(out);
    ssize_t n;
    do {
        buf_reserve(out, 4096);
        n = read(fd, out->p + out->n, 4096);
        out->n += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    close(fd);
    buf_puts(out, "");
    return true;
}

static bool read_children(struct buf *out)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    return read_proc(path, out);
}

/* Where our children cannot be listed, adopting strangers would only collect zombies. */
static void become_subreaper(void)
{
    if (sweep.asked)
        return;
    struct buf text = {0};
    sweep.asked = true;
    sweep.on = read_children(&text) && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
    buf_finish(&text);
}

/* Not one that was started here; and contained, which all that a contained one starts remains. */
static bool is_leftover(pid_t pid, struct buf *scratch)
{
    list_each(at, &living) {
        if (container_of(at, struct proc, node)->pid == pid)
            return false;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    return read_proc(path, scratch) && strstr(scratch->p, "\nNoNewPrivs:\t1") != NULL;
}

/* All our children were started here, as nearly always? */
static bool none_is_left(struct str list)
{
    size_t n = 0;
    for (size_t i = 0; i < list.n; i++)
        n += list.p[i] == ' '; /* one behind each */
    return n == children;
}

/* Kills the leftovers and buries those that are dead. Are there more to come? */
static bool kill_leftovers(void)
{
    struct buf list = {0};
    struct buf scratch = {0};
    bool more = false;
    struct str rest = read_children(&list) ? buf_view(&list) : (struct str){NULL, 0};
    if (none_is_left(rest))
        rest.p = NULL;
    while (rest.p != NULL) {
        uint64_t pid;
        if (!str_u64(str_split(&rest, ' '), &pid) || !is_leftover((pid_t)pid, &scratch))
            continue;
        kill((pid_t)pid, SIGKILL);
        more |= waitpid((pid_t)pid, NULL, WNOHANG) == 0;
    }
    buf_finish(&list);
    buf_finish(&scratch);
    return more;
}

/* Death takes a moment, and what a leftover leaves is ours only then. */
static void on_sweep(void *unused)
{
    (void)unused;
    if (kill_leftovers()) {
        timer_arm(sweep.timer, sweep.next_ms);
        sweep.next_ms = sweep.next_ms * 2 < SWEEP_LAST_MS ? sweep.next_ms * 2 : SWEEP_LAST_MS;
        return;
    }
    timer_free(sweep.timer);
    sweep.timer = NULL;
}

static void sweep_leftovers(void)
{
    if (!sweep.on)
        return;
    if (sweep.timer == NULL)
        sweep.timer = timer_new(on_sweep, NULL);
    sweep.next_ms = SWEEP_FIRST_MS;
    on_sweep(NULL);
}

static void finish_if_over(struct proc *p)
{
    if (!p->exited || p->out.fd >= 0 || p->err.fd >= 0)
        return;
    kill(-p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    list_remove(&p->node);
    metric_set(METRIC_CHILDREN, (double)--children);
    sweep_leftovers();
    io_free(p->exit_io);
    close(p->pidfd);
    io_free(p->in_io);
    close_fd(&p->in_fd);
    timer_free(p->timer);
    buf_finish(&p->in);
    p->magic = 0;
    loop_free_later(p);
    p->events.on_exit(p->arg, &p->exit);
}

static void close_out(struct out *o)
{
    io_free(o->io);
    o->io = NULL;
    close_fd(&o->fd);
}

static void kill_group(struct proc *p, int signo)
{
    kill(-p->pid, signo);
    p->stage = signo == SIGKILL ? KILLED : ASKED_TO_END;
    if (p->stage == KILLED && p->exited)
        sweep_leftovers(); /* which may hold its pipes */
    timer_arm(p->timer, p->grace_ms);
}

static void on_timer(void *arg)
{
    struct proc *p = arg;
    if (p->stage == RUNNING && !p->exited) {
        p->exit.timed_out = true;
        kill_group(p, SIGTERM);
    } else if (p->stage != KILLED) {
        kill_group(p, SIGKILL);
    } else if (p->exited) {
        close_out(&p->out); /* held by something that left the group */
        close_out(&p->err);
        finish_if_over(p);
    }
}

static void on_leader_exit(void *arg, int events)
{
    (void)events;
    struct proc *p = arg;
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return;
    io_want(p->exit_io, 0);
    p->exited = true;
    p->exit.wall_us = clock_mono_us() - p->started_us;
    p->exit.code = info.si_code == CLD_EXITED ? info.si_status : -1;
    p->exit.signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
    timer_arm(p->timer, p->grace_ms);
    if (p->stage == KILLED)
        sweep_leftovers();
    finish_if_over(p);
}

/* How many of n bytes are within the limit; the rest ends the group at once. */
static size_t within_limit(struct proc *p, size_t n)
{
    if (!p->stdout_limited)
        return n;
    if (n <= p->stdout_left) {
        p->stdout_left -= n;
        return n;
    }
    size_t take = p->stdout_left;
    p->stdout_left = 0;
    if (!p->exit.overflow) {
        p->exit.overflow = true;
        kill_group(p, SIGKILL);
    }
    return take;
}

static void on_output(void *arg, int events)
{
    (void)events;
    /* Two, because each is in use once at most: stderr is read in the middle of stdout, and callbacks do not read. */
    static char of_stdout[READ_SIZE];
    static char of_stderr[READ_SIZE];
    struct out *o = arg;
    struct proc *p = o->proc;
    char *bytes = o == &p->out ? of_stdout : of_stderr;
    for (int i = 0; i < READS_A_TURN && o->fd >= 0; i++) {
        ssize_t n = read(o->fd, bytes, READ_SIZE);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_out(o);
            finish_if_over(p);
            return;
        }
        if (o == &p->out && p->err.fd >= 0)
            on_output(&p->err, IO_READ); /* what it said there before it printed this */
        size_t take = o == &p->out ? within_limit(p, (size_t)n) : (size_t)n;
        if (take != 0 && o->on_bytes != NULL)
            o->on_bytes(p->arg, (struct str){bytes, take});
        if ((size_t)n < READ_SIZE)
            return;
    }
}

static void close_in(struct proc *p)
{
    io_free(p->in_io);
    p->in_io = NULL;
    close_fd(&p->in_fd);
    buf_finish(&p->in);
    p->in_sent = 0;
}

/* Writes what the pipe takes. A child that closed its end wants no more. */
static void write_in(struct proc *p)
{
    while (p->in_sent < p->in.n) {
        ssize_t n = write(p->in_fd, p->in.p + p->in_sent, p->in.n - p->in_sent);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            io_want(p->in_io, IO_WRITE);
            return;
        }
        if (n < 0) {
            close_in(p);
            return;
        }
        p->in_sent += (size_t)n;
    }
    buf_clear(&p->in);
    p->in_sent = 0;
    if (p->close_in)
        close_in(p);
    else
        io_want(p->in_io, 0);
}

static void on_in_writable(void *arg, int events)
{
    (void)events;
    write_in(arg);
}

static void watch_out(struct proc *p, struct out *o, int fd,
                      void (*on_bytes)(void *arg, struct str bytes))
{
    *o = (struct out){.proc = p, .fd = fd, .on_bytes = on_bytes};
    if (fd < 0)
        return;
    o->io = io_new(fd, on_output, o);
    io_want(o->io, IO_READ);
}

static struct proc *watch(const struct proc_options *o, const struct proc_events *ev, void *arg,
                          pid_t pid, int pidfd, int in, int out, int err)
{
    struct proc *p = mem_new(struct proc);
    p->magic = PROC_MAGIC;
    p->pid = pid;
    list_append(&living, &p->node);
    p->pidfd = pidfd;
    p->events = *ev;
    p->arg = arg;
    p->started_us = clock_mono_us();
    p->grace_ms = o->kill_grace_ms != 0 ? o->kill_grace_ms : GRACE_MS;
    p->stdout_limited = o->stdout_max != 0;
    p->stdout_left = o->stdout_max;
    p->exit_io = io_new(pidfd, on_leader_exit, p);
    io_want(p->exit_io, IO_READ);
    p->in_fd = in;
    p->in_io = io_new(in, on_in_writable, p);
    watch_out(p, &p->out, out, ev->on_stdout);
    watch_out(p, &p->err, err, ev->on_stderr);
    p->timer = timer_new(on_timer, p);
    if (o->timeout_ms != 0)
        timer_arm(p->timer, o->timeout_ms);
    metric_set(METRIC_CHILDREN, (double)++children);
    return p;
}

struct proc *proc_spawn(const struct proc_options *o, const struct proc_events *ev, void *arg,
                        struct err *e)
{
    struct proc *p = NULL;
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    int pidfd = -1;
    char **env = make_env(o->env);
    char *program = find_program(o->argv[0], env, e);
    if (program == NULL)
        goto cleanup;
    struct start s = {.program = program, .argv = o->argv, .env = env, .cwd = o->cwd};
    if (!make_pipe(in) || !make_pipe(out) || (ev->on_stderr != NULL && !make_pipe(err))) {
        failed_at(&s, "pipes");
        tell_failure(&s, o->argv[0], e);
        goto cleanup;
    }
    s.in = in[0];
    s.out = out[1];
    s.err = err[1];
    s.limits = !o->no_limits;
    if (s.limits)
        become_subreaper();
    s.parent = getpid();
    if (o->die_with_us)
        s.death_signal = o->death_signal != 0 ? o->death_signal : SIGKILL;
    pid_t pid = launch(&s, &pidfd);
    if (pid < 0) {
        tell_failure(&s, o->argv[0], e);
        goto cleanup;
    }
    p = watch(o, ev, arg, pid, pidfd, in[1], out[0], err[0]);
    in[1] = out[0] = err[0] = -1;
cleanup:
    for (int i = 0; i < 2; i++) {
        close_fd(&in[i]);
        close_fd(&out[i]);
        close_fd(&err[i]);
    }
    mem_free(program);
    free_env(env);
    return p;
}

void proc_write(struct proc *p, struct str bytes)
{
    must(p->magic == PROC_MAGIC);
    if (p->in_fd < 0 || p->close_in || bytes.n == 0)
        return;
    bool idle = p->in_sent == p->in.n;
    if (p->in_sent > p->in.n / 2) {
        buf_drop(&p->in, p->in_sent);
        p->in_sent = 0;
    }
    buf_str(&p->in, bytes);
    if (idle)
        write_in(p);
}

void proc_close_stdin(struct proc *p)
{
    must(p->magic == PROC_MAGIC);
    p->close_in = true;
    if (p->in_fd >= 0 && p->in_sent == p->in.n)
        close_in(p);
}

size_t proc_unwritten(const struct proc *p)
{
    return p->in.n - p->in_sent;
}

void proc_kill(struct proc *p)
{
    must(p->magic == PROC_MAGIC);
    if (p->stage != RUNNING)
        return;
    if (!p->exited)
        p->exit.cancelled = true;
    kill_group(p, SIGTERM);
}

int proc_pid(const struct proc *p)
{
    return p->pid;
}
