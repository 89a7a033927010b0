/* SPDX-License-Identifier: Apache-2.0 */
/* Two locks in the data directory. DATA/lock is ours alone and says that a server runs here. DATA/redis/lock is
 * inherited by our redis-server: it lasts as long as that process does, so after we were killed the next server sees by it
 * that the old Redis is still writing its last bytes, and waits. (A pid file would have to be believed, and a pid
 * can belong to somebody else by then.)
 *
 * redis-server runs in DATA/redis and is given a socket name without a directory, which it can bind however long our
 * path is. It listens before it has loaded its data and answers LOADING until then, so it is ready when it says PONG.
 *
 * on_exit is where every end of the process arrives, and decides: stopped, failed to start, or died. */
#include "net/private_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/proc.h"
#include "net/unix_socket.h"

enum {
    STOP_MS = 10000,
    OLD_REDIS_MS = 15000, /* it has STOP_MS to save; then something is wrong */
    PROBE_FIRST_MS = 2,
    PROBE_LATER_MS = 25,
    PROBE_FIRST_FOR_MS = 500,
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 5000,
    LOG_MAX = 16 * 1024 * 1024,
    STDERR_KEEP = 2000,
};

enum state { OFF, WAITING_FOR_OLD, STARTING, RUNNING, PAUSING, STOPPING };

static struct {
    enum state state;
    bool was_ready; /* once since private_redis_start */
    private_redis_fn ready;
    void *arg;
    void (*stopped)(void *arg);
    void *stopped_arg;
    char *program;
    char *appendfsync;
    char *dir; /* DATA/redis */
    char *socket_path;
    char *url;
    int server_lock;
    int redis_lock;
    struct timer *timer; /* the next look at what the state waits for */
    int64_t since_us;    /* when the state began */
    unsigned failures;   /* ends in a row without having been ready */
    struct proc *proc;
    struct buf complaints; /* the end of its stderr */
    int probe_fd;
    struct io *probe_io;
} self = {.server_lock = -1, .redis_lock = -1, .probe_fd = -1};

static void enter(enum state state)
{
    self.state = state;
    self.since_us = clock_mono_us();
}

static int64_t state_ms(void)
{
    return (clock_mono_us() - self.since_us) / 1000;
}

static void end_probe(void)
{
    io_free(self.probe_io);
    self.probe_io = NULL;
    if (self.probe_fd >= 0)
        close(self.probe_fd);
    self.probe_fd = -1;
}

static void close_lock(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void clean_up(void)
{
    end_probe();
    timer_free(self.timer);
    self.timer = NULL;
    close_lock(&self.redis_lock);
    close_lock(&self.server_lock);
    buf_finish(&self.complaints);
    mem_free(self.program);
    mem_free(self.appendfsync);
    mem_free(self.dir);
    mem_free(self.socket_path);
    mem_free(self.url);
    self.program = self.appendfsync = self.dir = self.socket_path = self.url = NULL;
    enter(OFF);
}

static void give_up(const struct err *e)
{
    private_redis_fn ready = self.ready;
    void *arg = self.arg;
    struct err copy = *e;
    clean_up();
    ready(arg, NULL, &copy);
}

static bool make_directory(const char *path, struct err *e)
{
    char *copy = mem_strdup(path);
    for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(copy, 0755); /* a failure shows at the last one */
        *slash = '/';
    }
    mem_free(copy);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_errno(e, "cannot make the data directory %s", path);
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_fail(e, ERR_SYSTEM, "the data directory %s is not a directory", path);
    return true;
}

/* The descriptor in *fd; false with errno EWOULDBLOCK when somebody else holds the lock. */
static bool take_lock(const char *path, int *fd)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    return false;
}

/* Our pid is in the file only for the text that a second server prints. */
static bool lock_for_server(const char *data_dir, struct err *e)
{
    char *path = mem_format("%s/lock", data_dir);
    bool ok = take_lock(path, &self.server_lock);
    if (ok) {
        char text[16];
        int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
        ok = ftruncate(self.server_lock, 0) == 0 && write(self.server_lock, text, (size_t)n) == n;
        if (!ok)
            err_errno(e, "cannot write %s", path);
    } else if (self.server_lock >= 0 && errno == EWOULDBLOCK) {
        char text[16] = "?";
        ssize_t n = read(self.server_lock, text, sizeof text - 1);
        text[n > 0 ? strcspn(text, "\n") : 1] = '\0';
        err_fail(e, ERR_CONFLICT,
                 "another hookmesh server (process %s) uses the data directory %s: stop it or "
                 "choose another directory with --data",
                 text, data_dir);
    } else {
        err_errno(e, "cannot lock %s", path);
    }
    mem_free(path);
    return ok;
}

static char *make_url(const char *path)
{
    struct buf url = {0};
    buf_puts(&url, "unix://");
    struct str rest = str_of(path + 1);
    while (rest.p != NULL) {
        buf_char(&url, '/');
        buf_url_encode(&url, str_split(&rest, '/'));
    }
    return buf_take(&url);
}

static bool prepare(const char *data_dir, struct err *e)
{
    char *redis_dir = mem_format("%s/redis", data_dir);
    bool ok =
        make_directory(data_dir, e) && lock_for_server(data_dir, e) && make_directory(redis_dir, e);
    char full[PATH_MAX];
    if (ok && (chmod(redis_dir, 0700) != 0 || realpath(redis_dir, full) == NULL))
        ok = err_errno(e, "cannot use the directory %s", redis_dir);
    mem_free(redis_dir);
    if (!ok)
        return false;
    self.dir = mem_strdup(full);
    self.socket_path = mem_format("%s/redis.sock", full);
    self.url = make_url(self.socket_path);
    return true;
}

static void rotate_log(void)
{
    char *log = mem_format("%s/redis.log", self.dir);
    char *old = mem_format("%s/redis.log.1", self.dir);
    struct stat st;
    if (stat(log, &st) == 0 && st.st_size > LOG_MAX)
        rename(log, old);
    mem_free(log);
    mem_free(old);
}

static void on_stderr(void *arg, struct str bytes)
{
    (void)arg;
    buf_str(&self.complaints, bytes);
    if (self.complaints.n > STDERR_KEEP)
        buf_drop(&self.complaints, self.complaints.n - STDERR_KEEP);
}

static void on_exit_of_redis(void *arg, const struct proc_exit *x);

static void probe(void);

static void become_ready(void)
{
    log_info("private_redis", "ready", "pid=%d ms=%lld socket=%s", proc_pid(self.proc),
             (long long)state_ms(), log_quotez(self.socket_path));
    enter(RUNNING);
    self.failures = 0;
    self.was_ready = true;
    self.ready(self.arg, self.url, NULL);
}

static void probe_again(void)
{
    end_probe();
    timer_arm(self.timer, state_ms() < PROBE_FIRST_FOR_MS ? PROBE_FIRST_MS : PROBE_LATER_MS);
}

static void on_probe_answer(void *arg, int events)
{
    (void)arg;
    (void)events;
    char answer[8];
    ssize_t n = recv(self.probe_fd, answer, sizeof answer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 5 || memcmp(answer, "+PONG", 5) != 0) {
        probe_again(); /* -LOADING, or it ended */
        return;
    }
    end_probe();
    become_ready();
}

static void probe(void)
{
    static const char ping[] = "PING\r\n";
    self.probe_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (self.probe_fd < 0 || unix_socket_connect(self.probe_fd, self.socket_path) != 0 ||
        send(self.probe_fd, ping, sizeof ping - 1, MSG_NOSIGNAL) < 0) {
        probe_again();
        return;
    }
    self.probe_io = io_new(self.probe_fd, on_probe_answer, NULL);
    io_want(self.probe_io, IO_READ);
}

/* Values up to 16 KB are kept in compact hashes: a key is a value with its version, written once and read
 * whole. The log is rewritten later than by default, and without compression: a rewrite costs a core, of which there may be two. Subscribers may lag further than the default 32 MB before Redis cuts them off. */
static struct proc *spawn(struct err *e)
{
    static const char *const settings[] = {
        "--port",
        "0",
        "--unixsocket",
        "redis.sock",
        "--unixsocketperm",
        "700",
        "--daemonize",
        "no",
        "--supervised",
        "no",
        "--logfile",
        "redis.log",
        "--appendonly",
        "yes",
        "--save",
        "",
        "--maxmemory",
        "0",
        "--maxmemory-policy",
        "noeviction",
        "--notify-keyspace-events",
        "Kgh",
        "--hash-max-listpack-value",
        "16384",
        "--auto-aof-rewrite-min-size",
        "512mb",
        "--rdbcompression",
        "no",
        "--latency-tracking",
        "no",
        "--lazyfree-lazy-user-del",
        "yes",
        "--lazyfree-lazy-server-del",
        "yes",
        "--client-output-buffer-limit",
        "pubsub",
        "256mb",
        "128mb",
        "60",
        "--appendfsync",
    };
    enum { SETTINGS = sizeof settings / sizeof settings[0] };
    static const struct proc_events events = {NULL, on_stderr, on_exit_of_redis};
    char *argv[SETTINGS + 3] = {self.program};
    for (size_t i = 0; i < SETTINGS; i++)
        argv[i + 1] = mem_strdup(settings[i]);
    argv[SETTINGS + 1] = self.appendfsync;
    struct proc_options o = {
        .argv = argv,
        .cwd = self.dir,
        .kill_grace_ms = STOP_MS,
        .no_limits = true,
        .die_with_us = true,
        .death_signal = SIGTERM,
    };
    fcntl(self.redis_lock, F_SETFD, 0); /* this one child inherits it */
    struct proc *p = proc_spawn(&o, &events, NULL, e);
    fcntl(self.redis_lock, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < SETTINGS; i++)
        mem_free(argv[i + 1]);
    return p;
}

static void pause_then_start(const char *why)
{
    unsigned shift = self.failures < 7 ? self.failures : 7;
    int64_t ms = (int64_t)PAUSE_MIN_MS << shift;
    ms = ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
    self.failures++;
    log_error("private_redis", "down", "again_in_ms=%lld error=%s", (long long)ms, log_quotez(why));
    enter(PAUSING);
    timer_arm(self.timer, ms);
}

static void start_redis(void)
{
    struct err e;
    rotate_log();
    buf_clear(&self.complaints);
    enter(STARTING);
    self.proc = spawn(&e);
    if (self.proc != NULL) {
        proc_close_stdin(self.proc);
        timer_arm(self.timer, PROBE_FIRST_MS);
        return;
    }
    if (e.code == ERR_NOT_FOUND)
        err_fail(&e, ERR_NOT_FOUND,
                 "there is no program %s: install Redis, or give the URL of one with --redis",
                 self.program);
    if (self.was_ready)
        pause_then_start(e.text);
    else
        give_up(&e);
}

/* The lock on DATA/redis is free when the last redis-server on it has ended. */
static void wait_for_old(void)
{
    char *path = mem_format("%s/lock", self.dir);
    bool ok = take_lock(path, &self.redis_lock);
    if (ok) {
        if (state_ms() > 0)
            log_info("private_redis", "old_ended", "waited_ms=%lld", (long long)state_ms());
        start_redis();
    } else {
        bool held = self.redis_lock >= 0 && errno == EWOULDBLOCK;
        struct err e = {0};
        if (!held)
            err_errno(&e, "cannot lock %s", path);
        else if (state_ms() > OLD_REDIS_MS)
            err_fail(
                &e, ERR_CONFLICT,
                "a redis-server of an earlier start still runs in %s and does not end: stop it",
                self.dir);
        close_lock(&self.redis_lock);
        if (e.code != ERR_NONE)
            give_up(&e);
        else
            timer_arm(self.timer, PROBE_FIRST_MS);
    }
    mem_free(path);
}

static void on_timer(void *arg)
{
    (void)arg;
    switch (self.state) {
    case WAITING_FOR_OLD: wait_for_old(); break;
    case STARTING: probe(); break;
    case PAUSING: start_redis(); break;
    case OFF:
    case RUNNING:
    case STOPPING: break;
    }
}

/* The last line of what it said, for the error text. */
static void last_words(struct buf *out)
{
    struct str said = str_trim(buf_view(&self.complaints));
    char tail[STDERR_KEEP];
    if (said.n == 0) {
        char *path = mem_format("%s/redis.log", self.dir);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        mem_free(path);
        if (fd < 0)
            return;
        off_t size = lseek(fd, 0, SEEK_END);
        ssize_t n = pread(fd, tail, sizeof tail, size > STDERR_KEEP ? size - STDERR_KEEP : 0);
        close(fd);
        said = str_trim((struct str){tail, n > 0 ? (size_t)n : 0});
    }
    const char *newline = said.n == 0 ? NULL : memrchr(said.p, '\n', said.n);
    if (newline != NULL)
        said = (struct str){newline + 1, said.n - (size_t)(newline + 1 - said.p)};
    if (said.n != 0)
        buf_printf(out, ": %.*s", (int)(said.n < 300 ? said.n : 300), said.p);
}

static void finish_stop(void *arg)
{
    (void)arg;
    void (*stopped)(void *) = self.stopped;
    void *stopped_arg = self.stopped_arg;
    clean_up();
    if (stopped != NULL)
        stopped(stopped_arg);
}

static void on_exit_of_redis(void *arg, const struct proc_exit *x)
{
    (void)arg;
    self.proc = NULL;
    end_probe();
    timer_disarm(self.timer);
    if (self.state == STOPPING) {
        log_info("private_redis", "stopped", "ms=%lld", (long long)state_ms());
        finish_stop(NULL);
        return;
    }
    struct buf why = {0};
    if (x->signal != 0)
        buf_printf(&why, "redis-server was ended by signal %d", x->signal);
    else
        buf_printf(&why, "redis-server ended with status %d", x->code);
    last_words(&why);
    struct err e;
    err_fail(&e, ERR_UNAVAILABLE, "%s (its log is %s/redis.log)", why.p, self.dir);
    buf_finish(&why);
    if (self.was_ready)
        pause_then_start(e.text);
    else
        give_up(&e);
}

static void tell_failure(void *arg)
{
    give_up(arg);
    mem_free(arg);
}

void private_redis_start(const struct private_redis_options *o, private_redis_fn ready, void *arg)
{
    must(self.state == OFF);
    self.ready = ready;
    self.arg = arg;
    self.was_ready = false;
    self.failures = 0;
    self.program = mem_strdup(o->program != NULL ? o->program : "redis-server");
    self.appendfsync = mem_strdup(o->appendfsync != NULL ? o->appendfsync : "everysec");
    self.timer = timer_new(on_timer, NULL);
    enter(WAITING_FOR_OLD);
    struct err *e = mem_new(struct err);
    if (prepare(o->data_dir, e)) {
        mem_free(e);
        timer_arm(self.timer, 0);
    } else {
        loop_defer(tell_failure, e);
    }
}

void private_redis_stop(void (*done)(void *arg), void *arg)
{
    must(self.state != STOPPING);
    self.stopped = done;
    self.stopped_arg = arg;
    enter(STOPPING);
    end_probe();
    if (self.timer != NULL)
        timer_disarm(self.timer);
    if (self.proc != NULL)
        proc_kill(self.proc);
    else
        loop_defer(finish_stop, NULL);
}

int private_redis_pid(void)
{
    return self.proc != NULL ? proc_pid(self.proc) : 0;
}
