/* SPDX-License-Identifier: Apache-2.0 */
/* The server writes its log into a file, not a pipe: nobody must drain it, it outlives a kill -9, and a failing test can show its end.
 * Waiting for a line is inotify on that file together with a pidfd, so that the death of the server ends the wait too.
 *
 * Every child gets PR_SET_PDEATHSIG, because Check ends a failed test by _exit: no teardown runs then. That is also why the
 * directory of a failed test stays; tests/run removes it after it has shown the log. */
#include "flow/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "base/mem.h"

enum { LOG_TAIL = 6000, WORDS_MAX = 32 };

/* -- failing ------------------------------------------------------------------------------- */

char *world_slurp(const char *path, size_t *n)
{
    struct buf b = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = 0;
    do {
        buf_reserve(&b, 65536);
        got = fd < 0 ? -1 : read(fd, b.p + b.n, 65535);
        if (got > 0)
            b.n += (size_t)got;
    } while (got > 0);
    if (fd >= 0)
        close(fd);
    if (n != NULL)
        *n = b.n;
    b.p[b.n] = '\0';
    return b.p;
}

void world_fail(const struct world *w, const char *fmt, ...)
{
    struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    size_t n = 0;
    char *log = world_slurp(w->log, &n);
    fprintf(stderr, "--- %s (its world: %s)\n%s--- end of the server's log\n", text.p, w->dir,
            log + (n > LOG_TAIL ? n - LOG_TAIL : 0));
    ck_abort_msg("%s", text.p);
    abort();
}

/* -- setting up ---------------------------------------------------------------------------- */

struct world *world_make(void)
{
    const char *tmp = getenv("TMPDIR");
    struct world *w = mem_new(struct world);
    w->dir = mem_format("%s/hookmesh-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_msg(mkdtemp(w->dir) != NULL, "cannot make %s: %s", w->dir, strerror(errno));
    w->data = mem_format("%s/data", w->dir);
    w->log = mem_format("%s/server.log", w->dir);
    w->redis_socket = mem_format("%s/redis.sock", w->dir);
    w->env = mem_zero(WORDS_MAX + 1, sizeof *w->env);
    w->args = mem_zero(WORDS_MAX + 1, sizeof *w->args);
    world_file(w, "server.log", "");
    signal(SIGPIPE, SIG_IGN);
    return w;
}

static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* By a temporary name and rename(2), so that a server that watches the directory never reads half a file. */
void world_file(struct world *w, const char *name, const char *text)
{
    char *path = mem_format("%s/%s", w->dir, name);
    char *part = mem_format("%s.part", path);
    make_parents(path);
    FILE *f = fopen(part, "we");
    ck_assert_msg(f != NULL, "cannot write %s: %s", part, strerror(errno));
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(rename(part, path), 0);
    mem_free(part);
    mem_free(path);
}

void world_config(struct world *w, const char *name, const char *yaml)
{
    if (w->config == NULL)
        w->config = mem_format("%s/config", w->dir);
    char *below = mem_format("config/%s", name);
    world_file(w, below, yaml);
    mem_free(below);
}

void world_config_dir(struct world *w, const char *path)
{
    mem_free(w->config);
    w->config = mem_strdup(path);
}

void world_env(struct world *w, const char *assignment)
{
    ck_assert_uint_lt(w->env_n, WORDS_MAX);
    w->env[w->env_n++] = mem_strdup(assignment);
}

void world_arg(struct world *w, const char *arg)
{
    ck_assert_uint_lt(w->args_n, WORDS_MAX);
    w->args[w->args_n++] = mem_strdup(arg);
}

/* -- children ------------------------------------------------------------------------------ */

struct child {
    const char *const *argv;
    char *const *env; /* NULL-terminated */
    int in;           /* -1: /dev/null */
    int out;
    int err;
};

static pid_t spawn(const struct child *c)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    ck_assert_msg(pid >= 0, "fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    dup2(c->in >= 0 ? c->in : null, 0);
    dup2(c->out >= 0 ? c->out : null, 1);
    dup2(c->err >= 0 ? c->err : null, 2);
    syscall(SYS_close_range, 3U, ~0U, 0U);
    execvpe(c->argv[0], (char *const *)(uintptr_t)c->argv, c->env);
    dprintf(2, "%s: %s\n", c->argv[0], strerror(errno));
    _exit(127);
}

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits for the end of a child of ours by its pidfd; -1: it still runs after the time. */
static int reap(pid_t pid, int64_t timeout_ms)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0U);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t until = clock_mono_us() + timeout_ms * 1000;
    int ready = 0;
    do {
        int64_t left = until - clock_mono_us();
        ready = poll(&p, 1, left > 0 ? (int)(left / 1000) + 1 : 0);
    } while (ready < 0 && errno == EINTR);
    close(fd);
    int status = 0;
    if (ready <= 0 || waitpid(pid, &status, 0) != pid)
        return -1;
    return exit_code(status);
}

/* Did world_env say it? */
static bool is_set(const struct world *w, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < w->env_n; i++) {
        if (strncmp(w->env[i], name, n) == 0 && w->env[i][n] == '=')
            return true;
    }
    return false;
}

/* What a child of a test may see of our environment. */
static char **clean_env(const struct world *w, const char *more)
{
    static const char *const kept[] = {"PATH",         "ASAN_OPTIONS",         "UBSAN_OPTIONS",
                                       "LSAN_OPTIONS", "ASAN_SYMBOLIZER_PATH", "LLVM_PROFILE_FILE"};
    char **env = mem_zero(WORDS_MAX + 16, sizeof *env);
    size_t n = 0;
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        const char *value = getenv(kept[i]);
        if (value != NULL && !is_set(w, kept[i]))
            env[n++] = mem_format("%s=%s", kept[i], value);
    }
    env[n++] = mem_format("HOME=%s", w->dir);
    env[n++] = mem_format("TMPDIR=%s", w->dir);
    env[n++] = mem_strdup("LANG=C.UTF-8");
    if (more != NULL)
        env[n++] = mem_strdup(more);
    for (size_t i = 0; i < w->env_n; i++)
        env[n++] = mem_strdup(w->env[i]);
    return env;
}

static void free_words(char **words)
{
    for (size_t i = 0; words[i] != NULL; i++)
        mem_free(words[i]);
    mem_free(words);
}

/* -- the server's log ---------------------------------------------------------------------- */

/* The first whole line behind log_from that holds text; NULL. The caller frees. */
static char *log_line(const struct world *w, const char *text)
{
    size_t n = 0;
    char *all = world_slurp(w->log, &n);
    char *found = NULL;
    char *line = all + ((size_t)w->log_from < n ? (size_t)w->log_from : n);
    for (char *end; found == NULL && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strstr(line, text) != NULL)
            found = mem_strdup(line);
    }
    mem_free(all);
    return found;
}

bool world_has_log(const struct world *w, const char *text)
{
    char *line = log_line(w, text);
    mem_free(line);
    return line != NULL;
}

static char *await_log(struct world *w, const char *text)
{
    int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    ck_assert_int_ge(inotify_add_watch(notify, w->log, IN_MODIFY), 0);
    int pidfd = (int)syscall(SYS_pidfd_open, w->pid, 0U);
    int64_t until = clock_mono_us() + WORLD_TIMEOUT_MS * INT64_C(1000);
    char *line = NULL;
    bool gone = false;
    for (;;) {
        line = log_line(w, text);
        int64_t left = until - clock_mono_us();
        if (line != NULL || gone || left <= 0)
            break;
        struct pollfd p[] = {{.fd = notify, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
        if (poll(p, 2, (int)(left / 1000) + 1) < 0 && errno != EINTR)
            break;
        gone = p[1].revents != 0; /* one more look: its last words */
        char events[4096];
        while (read(notify, events, sizeof events) > 0)
            ;
    }
    close(pidfd);
    close(notify);
    if (line == NULL)
        world_fail(w, "the server %s before it logged \"%s\"", gone ? "ended" : "took too long",
                   text);
    return line;
}

void world_wait_log(struct world *w, const char *text)
{
    ck_assert_msg(w->pid != 0, "no server runs");
    mem_free(await_log(w, text));
}

/* -- the server ---------------------------------------------------------------------------- */

static void learn_address(struct world *w)
{
    char *line = await_log(w, "mod=serve event=listening url=");
    char *url = strstr(line, " url=") + 5;
    url[strcspn(url, " ")] = '\0';
    mem_free(w->url);
    w->url = mem_strdup(url);
    const char *colon = strrchr(url, ':');
    w->port = colon != NULL ? atoi(colon + 1) : 0;
    mem_free(line);
    if (w->port <= 0)
        world_fail(w, "the server did not say its port");
}

void world_launch(struct world *w)
{
    ck_assert_msg(w->pid == 0, "a server runs already");
    const char *argv[WORDS_MAX + 16] = {HOOKMESH_BIN,  "serve",  "--listen",
                                        "127.0.0.1:0", "--data", w->data};
    size_t n = 6;
    if (w->config != NULL) {
        argv[n++] = "--config";
        argv[n++] = w->config;
    }
    if (w->redis_url != NULL && strstr(w->redis_url, w->redis_socket) != NULL) {
        argv[n++] = "--redis";
        argv[n++] = w->redis_url;
    }
    for (size_t i = 0; i < w->args_n; i++)
        argv[n++] = w->args[i];
    int log = open(w->log, O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_ge(log, 0);
    w->log_from = lseek(log, 0, SEEK_END);
    char **env = clean_env(w, NULL);
    w->pid = spawn(&(struct child){.argv = argv, .env = env, .in = -1, .out = log, .err = log});
    close(log);
    free_words(env);
    learn_address(w);
}

void world_start(struct world *w)
{
    world_launch(w);
    world_wait_log(w, "mod=serve event=ready");
}

static void forget_server(struct world *w)
{
    w->pid = 0;
    w->port = 0;
    mem_free(w->url);
    w->url = NULL;
}

int world_wait_exit(struct world *w)
{
    ck_assert_msg(w->pid != 0, "no server runs");
    int code = reap(w->pid, WORLD_TIMEOUT_MS);
    if (code < 0)
        world_fail(w, "the server does not end");
    forget_server(w);
    return code;
}

void world_stop(struct world *w)
{
    ck_assert_msg(w->pid != 0, "no server runs");
    ck_assert_int_eq(kill(w->pid, SIGTERM), 0);
    int code = world_wait_exit(w);
    if (code != 0)
        world_fail(w, "the server stopped with exit code %d", code);
}

void world_kill9(struct world *w)
{
    ck_assert_msg(w->pid != 0, "no server runs");
    ck_assert_int_eq(kill(w->pid, SIGKILL), 0);
    ck_assert_int_eq(world_wait_exit(w), 128 + SIGKILL);
}

void world_restart(struct world *w)
{
    world_stop(w);
    world_start(w);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    remove(path);
    return 0;
}

static bool dir_is_gone(void *arg)
{
    const struct world *w = arg;
    nftw(w->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return access(w->dir, F_OK) != 0;
}

void world_free(struct world *w)
{
    if (w->pid != 0)
        world_stop(w);
    if (w->redis_pid != 0)
        world_redis_kill9(w);
    /* After a kill -9 of the server its private Redis may still be saving into the directory. */
    ck_assert(world_wait_until(dir_is_gone, w, WORLD_TIMEOUT_MS));
    mem_free(w->dir);
    mem_free(w->data);
    mem_free(w->config);
    mem_free(w->log);
    mem_free(w->redis_url);
    mem_free(w->redis_socket);
    mem_free(w->url);
    free_words(w->env);
    free_words(w->args);
    mem_free(w);
}

bool world_wait_until(bool (*condition)(void *arg), void *arg, int64_t timeout_ms)
{
    int64_t until = clock_mono_us() + timeout_ms * 1000;
    struct timespec pause = {.tv_nsec = 1000000};
    while (!condition(arg)) {
        if (clock_mono_us() > until)
            return false;
        ppoll(NULL, 0, &pause, NULL);
        if (pause.tv_nsec < 50000000)
            pause.tv_nsec += pause.tv_nsec / 2;
    }
    return true;
}

/* -- Redis of the test --------------------------------------------------------------------- */

static redisContext *redis_connect(const char *path)
{
    redisContext *c = redisConnectUnixWithTimeout(path, (struct timeval){.tv_sec = 5});
    if (c != NULL && c->err == 0) {
        redisSetTimeout(c, (struct timeval){.tv_sec = 30});
        return c;
    }
    if (c != NULL)
        redisFree(c);
    return NULL;
}

/* Up, and done with loading its data. */
static bool redis_answers(void *arg)
{
    const struct world *w = arg;
    redisContext *c = redis_connect(w->redis_socket);
    if (c == NULL)
        return false;
    redisReply *r = redisCommand(c, "PING");
    bool ok = r != NULL && r->type == REDIS_REPLY_STATUS;
    if (r != NULL)
        freeReplyObject(r);
    redisFree(c);
    return ok;
}

void world_redis_start(struct world *w)
{
    ck_assert_msg(w->redis_pid == 0, "Redis runs already");
    const char *argv[] = {"redis-server",
                          "--port",
                          "0",
                          "--unixsocket",
                          w->redis_socket,
                          "--dir",
                          w->dir,
                          "--appendonly",
                          "yes",
                          "--save",
                          "",
                          "--maxmemory-policy",
                          "noeviction",
                          "--appendfilename",
                          "test.aof",
                          "--logfile",
                          "redis.log",
                          NULL};
    char **env = clean_env(w, NULL);
    w->redis_pid = spawn(&(struct child){.argv = argv, .env = env, .in = -1, .out = -1, .err = -1});
    free_words(env);
    ck_assert_msg(world_wait_until(redis_answers, w, WORLD_TIMEOUT_MS),
                  "redis-server does not answer; see %s/redis.log", w->dir);
    mem_free(w->redis_url);
    w->redis_url = mem_format("unix://%s", w->redis_socket);
}

static void end_redis(struct world *w, int signo)
{
    ck_assert_msg(w->redis_pid != 0, "no Redis of the test's own runs");
    ck_assert_int_eq(kill(w->redis_pid, signo), 0);
    ck_assert_msg(reap(w->redis_pid, WORLD_TIMEOUT_MS) >= 0, "redis-server does not end");
    w->redis_pid = 0;
}

void world_redis_stop(struct world *w)
{
    end_redis(w, SIGTERM);
}

void world_redis_kill9(struct world *w)
{
    end_redis(w, SIGKILL);
}

void world_redis_pause(struct world *w)
{
    ck_assert_int_eq(kill(w->redis_pid, SIGSTOP), 0);
}

void world_redis_resume(struct world *w)
{
    ck_assert_int_eq(kill(w->redis_pid, SIGCONT), 0);
}

static void show(struct buf *out, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_INTEGER: buf_printf(out, "%lld", r->integer); break;
    case REDIS_REPLY_NIL: break;
    case REDIS_REPLY_ARRAY:
        for (size_t i = 0; i < r->elements; i++) {
            if (i != 0)
                buf_char(out, '\n');
            show(out, r->element[i]);
        }
        break;
    default: buf_add(out, r->str, r->len); break;
    }
}

/* The socket of the test's Redis, or of the server's private one. */
static char *socket_path(const struct world *w)
{
    if (w->redis_pid != 0)
        return mem_strdup(w->redis_socket);
    char *path = mem_format("%s/redis/redis.sock", w->data);
    ck_assert_msg(access(path, F_OK) == 0, "no Redis at %s", path);
    return path;
}

char *world_redis_argv(struct world *w, size_t argc, const struct str *argv)
{
    const char *words[WORDS_MAX];
    size_t lengths[WORDS_MAX];
    ck_assert_uint_le(argc, WORDS_MAX);
    for (size_t i = 0; i < argc; i++) {
        words[i] = argv[i].p;
        lengths[i] = argv[i].n;
    }
    char *path = socket_path(w);
    redisContext *c = redis_connect(path);
    ck_assert_msg(c != NULL, "cannot connect to %s", path);
    redisReply *r = redisCommandArgv(c, (int)argc, words, lengths);
    if (r == NULL)
        world_fail(w, "Redis did not answer: %s", c->errstr);
    struct buf out = {0};
    buf_puts(&out, ""); /* never NULL */
    if (r->type == REDIS_REPLY_ERROR)
        world_fail(w, "Redis answered %s", r->str);
    show(&out, r);
    freeReplyObject(r);
    redisFree(c);
    mem_free(path);
    return buf_take(&out);
}

static char *redis_words(struct world *w, const char *fmt, va_list ap)
{
    struct buf line = {0};
    buf_vprintf(&line, fmt, ap);
    struct str words[WORDS_MAX];
    size_t n = 0;
    for (struct str rest = buf_view(&line); rest.p != NULL;) {
        struct str word = str_split(&rest, ' ');
        ck_assert_uint_lt(n, WORDS_MAX);
        if (word.n != 0)
            words[n++] = word;
    }
    char *out = world_redis_argv(w, n, words);
    buf_finish(&line);
    return out;
}

char *world_redis(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *out = redis_words(w, fmt, ap);
    va_end(ap);
    return out;
}

int64_t world_redis_int(struct world *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = redis_words(w, fmt, ap);
    va_end(ap);
    int64_t n = strtoll(text, NULL, 10);
    mem_free(text);
    return n;
}

/* -- the command line ---------------------------------------------------------------------- */

/* Feeds input and collects both outputs until the child closed them. */
static void converse(int in, struct str input, int out, struct buf *out_buf, int err,
                     struct buf *err_buf)
{
    struct pollfd p[] = {{.fd = in, .events = POLLOUT},
                         {.fd = out, .events = POLLIN},
                         {.fd = err, .events = POLLIN}};
    struct buf *bufs[] = {NULL, out_buf, err_buf};
    for (int open_n = 2; open_n > 0;) {
        if (input.n == 0 && p[0].fd >= 0) {
            close(in);
            p[0].fd = -1;
        }
        if (poll(p, 3, WORLD_TIMEOUT_MS) <= 0)
            break;
        if (p[0].revents != 0) {
            ssize_t n = write(in, input.p, input.n);
            input = n > 0 ? (struct str){input.p + n, input.n - (size_t)n} : (struct str){NULL, 0};
        }
        for (int i = 1; i < 3; i++) {
            char bytes[65536];
            ssize_t n = p[i].revents != 0 ? read(p[i].fd, bytes, sizeof bytes) : -1;
            if (n > 0)
                buf_add(bufs[i], bytes, (size_t)n);
            if (n == 0) {
                p[i].fd = -1;
                open_n--;
            }
        }
    }
    if (p[0].fd >= 0)
        close(in);
}

struct world_run world_cli(struct world *w, struct str input, const char *const *args)
{
    const char *argv[WORDS_MAX + 2] = {HOOKMESH_BIN};
    for (size_t i = 0; args[i] != NULL; i++) {
        ck_assert_uint_lt(i, WORDS_MAX);
        argv[i + 1] = args[i];
    }
    int in[2], out[2], err[2];
    ck_assert_int_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    char *url = w->url != NULL ? mem_format("HOOKMESH_URL=%s", w->url) : NULL;
    char **env = clean_env(w, url);
    pid_t pid =
        spawn(&(struct child){.argv = argv, .env = env, .in = in[0], .out = out[1], .err = err[1]});
    close(in[0]);
    close(out[1]);
    close(err[1]);
    struct world_run r = {0};
    buf_puts(&r.out, "");
    buf_puts(&r.err, "");
    converse(in[1], input, out[0], &r.out, err[0], &r.err);
    close(out[0]);
    close(err[0]);
    r.code = reap(pid, WORLD_TIMEOUT_MS);
    ck_assert_msg(r.code >= 0, "hookmesh %s does not end", args[0]);
    free_words(env);
    mem_free(url);
    return r;
}

void world_run_finish(struct world_run *r)
{
    buf_finish(&r->out);
    buf_finish(&r->err);
}
