/* SPDX-License-Identifier: Apache-2.0 */
/* The child `hookmesh extension-host PATH FD OUTPUT_MAX`: loads one shared object and runs its jobs, one at a time.
 *
 * This is the fast path of stages in C, so nothing is allocated or asked of the kernel for one job: frames are read in bulk and parsed in
 * place, answers are gathered and written when the input is used up (or a millisecond has passed). What that hides
 * from the server - which job is at work, and since when - stands in a shared page.
 *
 * An answer that waits behind a slow job is written by a second thread when the server asks for it by SIGUSR1; a signal handler
 * in the main thread would interrupt the extension's system calls. The two threads share only the bytes before `committed`.
 * stdin and stdout are moved away before the object is loaded: its printf must not get between the frames. */
#include "work/work.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "work/hookmesh_ext.h"
#include "work/wire.h"

enum {
    IN_SIZE = 256 * 1024,
    OUT_FLUSH = 64 * 1024,
    FLUSH_US = 1000,
    ALSO_MAX = 64,
    SHOWN = 200, /* bytes of a bad result in the error's text */
};

static struct {
    int in_fd;
    int out_fd;
    size_t output_max;
    struct wire_progress *progress;
    const struct hookmesh_ext *ext;
    size_t job_n;
    struct jscan *scan;
    /* Answers: [flushed, committed) are whole frames that wait; behind committed the main thread alone writes. lock guards flushed,
     * the memory's place, and the descriptor. */
    pthread_mutex_t lock;
    char *out;
    size_t cap;
    size_t flushed;
    _Atomic size_t committed;
    int64_t flushed_us;
    /* The job at work. */
    uint32_t number;
    struct buf result;
    struct buf why;
    bool too_large;
} self;

static void write_all(const char *p, size_t n)
{
    while (n != 0) {
        ssize_t wrote = write(self.out_fd, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            _exit(0); /* the server is gone: nobody to answer to */
        p += wrote;
        n -= (size_t)wrote;
    }
}

/* Only the main thread may move the frames to the front: it alone writes behind committed. */
static void flush(bool main_thread)
{
    pthread_mutex_lock(&self.lock);
    size_t end = atomic_load(&self.committed);
    write_all(self.out + self.flushed, end - self.flushed);
    self.flushed = end;
    if (main_thread) {
        self.flushed = 0;
        atomic_store(&self.committed, 0);
    }
    pthread_mutex_unlock(&self.lock);
    if (main_thread)
        self.flushed_us = clock_mono_us();
}

static void *flush_on_demand(void *unused)
{
    (void)unused;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (;;) {
        int signo;
        if (sigwait(&set, &signo) == 0)
            flush(false);
    }
    return NULL;
}

static void answer(enum wire_kind kind, uint32_t result, struct str body)
{
    struct wire_answer a = {(uint32_t)(sizeof a + body.n), self.number, kind, result};
    size_t at = atomic_load_explicit(&self.committed, memory_order_relaxed);
    if (self.cap - at < a.size) {
        flush(true);
        at = 0;
        if (self.cap < a.size) {
            pthread_mutex_lock(&self.lock);
            self.cap = a.size + OUT_FLUSH;
            self.out = mem_resize(self.out, self.cap);
            pthread_mutex_unlock(&self.lock);
        }
    }
    memcpy(self.out + at, &a, sizeof a);
    if (body.n != 0)
        memcpy(self.out + at + sizeof a, body.p, body.n);
    atomic_store(&self.committed, at + a.size);
    atomic_fetch_add_explicit(&self.progress->committed, a.size, memory_order_release);
}

/* What a job may call. The call is the host's own variable, so it carries no state. */
static void on_write(struct hookmesh_call *call, const char *p, size_t n)
{
    (void)call;
    if (self.too_large || n > self.output_max - self.result.n) {
        self.too_large = true;
        return;
    }
    buf_add(&self.result, p, n);
}

static void on_log(struct hookmesh_call *call, const char *line)
{
    (void)call;
    answer(WIRE_LOG, 0, (struct str){line, strnlen(line, 8192)});
    if (clock_mono_us() - self.flushed_us > FLUSH_US)
        flush(true);
}

static void on_fail(struct hookmesh_call *call, const char *why)
{
    (void)call;
    buf_clear(&self.why);
    buf_add(&self.why, why, strnlen(why, 400));
}

/* The one JSON value that the result must be, or a reason in self.why. */
static bool result_is_json(const char *job)
{
    struct err e;
    buf_clear(&self.why);
    if (self.too_large) {
        buf_printf(&self.why, "job %s wrote more than %zu bytes (setting output_max)", job,
                   self.output_max);
        return false;
    }
    if (self.result.n == 0 || jscan_parse(self.scan, buf_view(&self.result), &e))
        return true; /* whether there must be a result is the stage's matter */
    size_t n = self.result.n < SHOWN ? self.result.n : SHOWN;
    buf_printf(&self.why, "the output of job %s is %s; it begins: ", job, e.text);
    buf_add(&self.why, self.result.p, n);
    return false;
}

static void run_job(const struct wire_job *j, const char *bytes)
{
    struct hookmesh_bytes also[ALSO_MAX];
    uint32_t lengths[ALSO_MAX];
    memcpy(lengths, bytes, j->also_n * sizeof lengths[0]);
    const char *p = bytes + j->also_n * sizeof lengths[0];
    struct hookmesh_call call = {
        .also = also,
        .also_n = j->also_n,
        .attempt = (int)j->attempt,
        .write = on_write,
        .log = on_log,
        .fail = on_fail,
    };
    call.key = (struct hookmesh_bytes){p, j->key_n};
    p += j->key_n;
    call.run = (struct hookmesh_bytes){p, j->run_n};
    p += j->run_n;
    call.input = (struct hookmesh_bytes){p, j->input_n};
    p += j->input_n;
    for (uint32_t i = 0; i < j->also_n; i++) {
        bool there = lengths[i] != WIRE_ABSENT;
        also[i] = (struct hookmesh_bytes){there ? p : NULL, there ? lengths[i] : 0};
        p += also[i].n;
    }
    self.number = j->number;
    self.too_large = false;
    buf_clear(&self.result);
    buf_clear(&self.why);
    int64_t now = clock_mono_us();
    atomic_store_explicit(&self.progress->begun_us, now, memory_order_relaxed);
    atomic_store_explicit(&self.progress->begun, j->number + 1, memory_order_release);
    if (now - self.flushed_us > FLUSH_US && atomic_load(&self.committed) != 0)
        flush(true);
    const struct hookmesh_job *job = &self.ext->jobs[j->job];
    int result = job->run(&call);
    atomic_fetch_add_explicit(&self.progress->worked_us, clock_mono_us() - now,
                              memory_order_relaxed);
    if (result == HOOKMESH_OK && result_is_json(job->name))
        answer(WIRE_RESULT, HOOKMESH_OK, buf_view(&self.result));
    else
        answer(WIRE_RESULT, result == HOOKMESH_RETRY ? HOOKMESH_RETRY : HOOKMESH_FAIL,
               buf_view(&self.why));
}

static bool frame_is_sound(const struct wire_job *j, const char *bytes)
{
    if (j->job >= self.job_n || j->also_n > ALSO_MAX ||
        j->size < sizeof *j + j->also_n * sizeof(uint32_t))
        return false;
    uint64_t sum = sizeof *j + j->also_n * sizeof(uint32_t) + (uint64_t)j->key_n + j->run_n +
                   (uint64_t)j->input_n;
    for (uint32_t i = 0; i < j->also_n; i++) {
        uint32_t n;
        memcpy(&n, bytes + i * sizeof n, sizeof n);
        sum += n == WIRE_ABSENT ? 0 : n;
    }
    return sum == j->size;
}

/* Runs the jobs that came whole; *wanted is the size of one that did not. Returns the bytes used. */
static size_t run_jobs(const char *in, size_t n, size_t *wanted)
{
    size_t at = 0;
    struct wire_job j;
    *wanted = 0;
    while (n - at >= sizeof j) {
        memcpy(&j, in + at, sizeof j);
        if (n - at < j.size) {
            *wanted = j.size;
            break;
        }
        must(frame_is_sound(&j, in + at + sizeof j)); /* the server is ours */
        run_job(&j, in + at + sizeof j);
        at += j.size;
        if (atomic_load_explicit(&self.committed, memory_order_relaxed) > OUT_FLUSH)
            flush(true);
    }
    return at;
}

/* Until stdin ends. */
static void serve(void)
{
    size_t cap = IN_SIZE;
    char *in = mem_alloc(cap);
    size_t n = 0;
    for (;;) {
        size_t wanted;
        size_t used = run_jobs(in, n, &wanted);
        if (atomic_load(&self.committed) != 0)
            flush(true);
        memmove(in, in + used, n - used);
        n -= used;
        if (wanted > cap) {
            cap = wanted;
            in = mem_resize(in, cap);
        }
        ssize_t got = read(self.in_fd, in + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    mem_free(in);
}

/* Frames go over copies of the descriptors; the object's own stdout joins its stderr. */
static bool take_pipes(void)
{
    self.in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    self.out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (self.in_fd < 0 || self.out_fd < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return false;
    close(null);
    setvbuf(stdout, NULL, _IOLBF, 0);
    return true;
}

static bool map_progress(const char *fd_text)
{
    int fd = (int)strtol(fd_text, NULL, 10);
    void *page =
        mmap(NULL, sizeof(struct wire_progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    self.progress = page == MAP_FAILED ? NULL : page;
    return self.progress != NULL;
}

/* A stranger's code: no core files of our inputs, no more rights by set-uid programs, no life after ours. */
static void confine(void)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_NAME, "hookmesh-ext"); /* else ps calls it "exe" */
    signal(SIGPIPE, SIG_IGN);
}

static int refuse(const char *why)
{
    answer(WIRE_REFUSED, 0, str_of(why));
    flush(true);
    return EXIT_FAILURE;
}

static const char *load(const char *path)
{
    static char text[300];
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL)
        return dlerror();
    self.ext = dlsym(object, "hookmesh_ext");
    if (self.ext == NULL)
        return "it exports no hookmesh_ext; see hookmesh_ext.h";
    if (self.ext->abi != HOOKMESH_EXT_ABI) {
        snprintf(text, sizeof text, "it was built for ABI %d and this is ABI %d; build it anew",
                 self.ext->abi, HOOKMESH_EXT_ABI);
        return text;
    }
    if (self.ext->jobs == NULL)
        return "its table of jobs is NULL";
    return NULL;
}

static void hello(void)
{
    struct buf names = {0};
    for (const struct hookmesh_job *j = self.ext->jobs; j->name != NULL; j++, self.job_n++) {
        buf_puts(&names, j->name);
        buf_char(&names, '\n');
    }
    answer(WIRE_HELLO, 0, buf_view(&names));
    flush(true);
    buf_finish(&names);
}

static bool start_flusher(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_t thread;
    return pthread_sigmask(SIG_BLOCK, &set, NULL) == 0 &&
           pthread_create(&thread, NULL, flush_on_demand, NULL) == 0 && pthread_detach(thread) == 0;
}

int work_extension_host_main(int argc, char **argv)
{
    if (argc < 4) {
        fputs("hookmesh extension-host is started by the server only\n", stderr);
        return 64;
    }
    argv += argc - 3; /* behind the command's name, wherever main() left it */
    confine();
    if (!take_pipes() || !map_progress(argv[1])) {
        perror("extension-host");
        return EXIT_FAILURE;
    }
    self.output_max = strtoul(argv[2], NULL, 10);
    self.cap = 2 * OUT_FLUSH;
    self.out = mem_alloc(self.cap);
    self.scan = jscan_new();
    pthread_mutex_init(&self.lock, NULL);
    if (!start_flusher())
        return refuse("no thread could be started");
    const char *trouble = load(argv[0]);
    if (trouble != NULL)
        return refuse(trouble);
    hello();
    serve();
    return EXIT_SUCCESS;
}
