/* SPDX-License-Identifier: Apache-2.0 */
/* The child `hookmesh filter-host MEMORY`: runs jq programs over events, one at a time, and keeps the programs compiled.
 *
 * libjq cannot be told to stop, so this process ends instead: at the time limit (a ticking SIGALRM), at a failed allocation, at a
 * signal that means a bug. It says so first, and for which event, together with the answers that it had gathered; so the server never has to
 * guess which of the events that it sent was to blame. Signals have a stack of their own, because endless recursion is one of these bugs.
 *
 * Between the handlers and the rest stands `busy`: while it is set, the gathered answers are being changed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/filter.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "work/filter.h"
#include "work/filter_wire.h"

enum {
    IN_SIZE = 256 * 1024,
    OUT_FLUSH = 64 * 1024,
    TICK_US = 2000,
    COMPILE_MS = 10000, /* of a program that was compiled before, by the check */
    PROGRAMS_MAX = 64,
    STACK = 64 * 1024,
};

struct program {
    struct map_node node;
    struct list used; /* in self.used, the latest first */
    struct filter *filter;
    char text[];
};

static struct {
    struct map programs;
    struct list used;
    struct buf out; /* answers, not written yet */
    struct buf result;
    volatile sig_atomic_t busy;
    volatile sig_atomic_t working;
    uint32_t number;
    volatile uint32_t in_when;
    volatile int64_t begun_us;
    volatile int64_t limit_us;
} self;

static void write_all(const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n != 0) {
        ssize_t wrote = write(STDOUT_FILENO, p, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            _exit(0); /* the server is gone: nobody to answer to */
        p += wrote;
        n -= (size_t)wrote;
    }
}

static void flush(void)
{
    write_all(self.out.p, self.out.n);
    self.out.n = 0;
}

static void say(enum filter_said_kind kind, struct str body)
{
    struct filter_said said = {(uint32_t)(sizeof said + body.n), self.number, kind, self.in_when};
    self.busy = 1;
    buf_add(&self.out, &said, sizeof said);
    buf_str(&self.out, body);
    if (self.out.n > OUT_FLUSH)
        flush();
    self.busy = 0;
}

/* The last words. */
__attribute__((noreturn)) static void end(enum filter_said_kind kind, int signo)
{
    if (self.busy || !self.working)
        _exit(EXIT_FAILURE);
    struct {
        struct filter_said said;
        int signo;
    } last = {{sizeof last, self.number, kind, self.in_when}, signo};
    flush();
    write_all(&last, sizeof last);
    _exit(EXIT_FAILURE);
}

static void on_tick(int signo)
{
    int code = errno;
    if (self.working && !self.busy) {
        if (clock_mono_us() - self.begun_us > self.limit_us)
            end(FILTER_TIMEOUT, signo);
        if (self.out.n != 0) /* answers must not wait behind a slow event */
            flush();
    }
    errno = code;
}

static void on_crash(int signo)
{
    end(FILTER_CRASH, signo);
}

static void on_no_memory(void)
{
    end(FILTER_MEMORY, 0);
}

static void tick(bool on)
{
    struct itimerval t = {0};
    t.it_interval.tv_usec = t.it_value.tv_usec = on ? TICK_US : 0;
    setitimer(ITIMER_REAL, &t, NULL);
}

static void catch_signals(void)
{
    static const int bugs[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
    static char stack[STACK];
    stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL);
    struct sigaction act = {.sa_flags = SA_ONSTACK | SA_RESTART, .sa_handler = on_tick};
    sigfillset(&act.sa_mask);
    sigaction(SIGALRM, &act, NULL);
    act.sa_handler = on_crash;
    for (size_t i = 0; i < sizeof bugs / sizeof bugs[0]; i++)
        sigaction(bugs[i], &act, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void forget(struct program *p)
{
    map_remove(&self.programs, &p->node);
    list_remove(&p->used);
    filter_free(p->filter);
    mem_free(p);
}

/* NULL: it cannot be compiled. */
static struct filter *find(struct str text, struct err *e)
{
    struct map_node *known = map_find(&self.programs, text);
    if (known != NULL) {
        struct program *p = container_of(known, struct program, node);
        list_remove(&p->used);
        list_append(self.used.next, &p->used);
        return p->filter;
    }
    if (self.programs.n == PROGRAMS_MAX)
        forget(container_of(self.used.prev, struct program, used));
    self.limit_us = COMPILE_MS * 1000;
    struct filter *filter = filter_new(text, e);
    if (filter == NULL)
        return NULL;
    struct program *p = mem_zero(1, sizeof *p + text.n);
    memcpy(p->text, text.p, text.n);
    p->filter = filter;
    map_add(&self.programs, &p->node, (struct str){p->text, text.n});
    list_append(self.used.next, &p->used);
    return filter;
}

/* One program; its output is in self.result. */
static bool apply(const struct filter_ask *ask, struct str program, const struct filter_input *in,
                  struct err *e)
{
    self.begun_us = clock_mono_us();
    struct filter *f = find(program, e);
    if (f == NULL)
        return false;
    self.begun_us = clock_mono_us();
    self.limit_us = (int64_t)ask->timeout_ms * 1000;
    if (!filter_apply(f, in, &self.result, e))
        return false;
    return self.result.n <= ask->output_max ||
           err_fail(e, ERR_UNPROCESSABLE, "its output has %zu bytes (setting output_max)",
                    self.result.n);
}

/* Returns what is to be said; a failure's text is in e. */
static enum filter_said_kind judge(const struct filter_ask *ask, const char *bytes, struct err *e)
{
    size_t programs = (size_t)ask->when_n + ask->program_n;
    struct str when = {bytes, ask->when_n};
    struct str program = {bytes + ask->when_n, ask->program_n};
    struct filter_input *in =
        filter_input_new((struct str){bytes + programs, ask->size - sizeof *ask - programs}, e);
    bool good = in != NULL;
    bool wanted = true;
    buf_clear(&self.result);
    if (good && when.n != 0) {
        self.in_when = 1;
        good = apply(ask, when, in, e);
        wanted = filter_passes(buf_view(&self.result));
        self.in_when = good ? 0 : 1;
    }
    if (good && wanted && program.n != 0)
        good = apply(ask, program, in, e);
    else
        buf_clear(&self.result);
    filter_input_free(in);
    return !good ? FILTER_FAILED : wanted ? FILTER_OUTPUT : FILTER_UNWANTED;
}

static void run(const struct filter_ask *ask, const char *bytes)
{
    struct err e;
    self.number = ask->number;
    self.in_when = 0;
    self.begun_us = clock_mono_us();
    self.limit_us = (int64_t)ask->timeout_ms * 1000;
    self.working = 1;
    enum filter_said_kind kind = judge(ask, bytes, &e);
    self.working = 0;
    say(kind, kind == FILTER_FAILED ? str_of(e.text) : buf_view(&self.result));
    if (self.result.cap > OUT_FLUSH)
        buf_finish(&self.result);
}

/* Runs what came whole; *wanted is the size of what did not. Returns the bytes used. */
static size_t run_all(const char *in, size_t n, size_t *wanted)
{
    size_t at = 0;
    struct filter_ask ask;
    *wanted = 0;
    while (n - at >= sizeof ask) {
        memcpy(&ask, in + at, sizeof ask);
        if (n - at < ask.size) {
            *wanted = ask.size;
            break;
        }
        run(&ask, in + at + sizeof ask);
        at += ask.size;
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
        tick(true);
        size_t used = run_all(in, n, &wanted);
        tick(false);
        flush();
        memmove(in, in + used, n - used);
        n -= used;
        size_t want = wanted > IN_SIZE ? wanted : IN_SIZE;
        if (want > cap || cap > 4 * want) { /* one big event must not cost memory for ever */
            cap = want > n ? want : n;
            in = mem_resize(in, cap);
        }
        ssize_t got = read(STDIN_FILENO, in + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    mem_free(in);
}

int filter_host_main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("hookmesh filter-host is started by the server only\n", stderr);
        return 64;
    }
    prctl(PR_SET_NAME, "hookmesh-jq"); /* else ps calls it "exe" */
    list_init(&self.used);
    buf_reserve(&self.out, 2 * OUT_FLUSH);
    catch_signals();
    filter_on_no_memory(on_no_memory);
    filter_confine(strtoul(argv[argc - 1], NULL, 10));
    serve();
    while (self.programs.n != 0)
        forget(container_of(self.used.prev, struct program, used));
    map_finish(&self.programs);
    buf_finish(&self.out);
    buf_finish(&self.result);
    return EXIT_SUCCESS;
}
