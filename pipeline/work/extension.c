/* SPDX-License-Identifier: Apache-2.0 */
/* Stages in C: claims go as frames to a host process that loaded the shared object (host.c), hundreds in one write, and come
 * back as hundreds in one read. Parsing is in place; what a claim costs here is its two copies into and out of the pipe.
 *
 * The host runs a stranger's code, so each frame is checked against what was sent: its number must be the oldest one's, its length must fit. What was
 * said to be JSON is looked at again, because it goes into Redis and to every browser. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/event.h"
#include "net/proc.h"
#include "work/hookmesh_ext.h"
#include "work/pool.h"
#include "work/runner.h"
#include "work/value.h"
#include "work/wire.h"

enum { CONCURRENCY = 1000, WINDOW = 512, ALSO_MAX = 64, HOSTS_MIN = 4, HOSTS_MAX = 16 };

struct extension_pool {
    char *name;
    char *path;
    struct stat at_start;
};

struct host {
    struct buf in; /* a frame that has not come whole */
    struct wire_progress *page;
    uint64_t received; /* bytes; behind page->committed, answers wait in the host */
    char *names;       /* of the jobs */
    char **jobs;
    size_t job_n;
};

static struct list pools = {&pools, &pools};

static int max_workers(const struct pool *p)
{
    (void)p;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < HOSTS_MIN ? HOSTS_MIN : cpus > HOSTS_MAX ? HOSTS_MAX : (int)cpus;
}

/* The page reaches the child by inheritance: it is not close-on-exec during the one fork. */
static struct proc *start_with_page(struct worker *w, int fd, const struct proc_events *ev,
                                    struct err *e)
{
    const struct extension_pool *x = w->pool->own;
    char fd_text[16];
    char max_text[24];
    snprintf(fd_text, sizeof fd_text, "%d", fd);
    snprintf(max_text, sizeof max_text, "%lld", (long long)runner_settings()->output_max);
    char program[] = "/proc/self/exe";
    char command[] = "extension-host";
    char *argv[] = {program, command, x->path, fd_text, max_text, NULL};
    struct proc_options options = {.argv = argv, .kill_grace_ms = 1, .die_with_us = true};
    fcntl(fd, F_SETFD, 0);
    struct proc *proc = proc_spawn(&options, ev, w, e);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return proc;
}

static struct proc *start(struct worker *w, const struct proc_events *ev, struct err *e)
{
    struct host *h = mem_new(struct host);
    w->own = h;
    int fd = memfd_create("hookmesh-progress", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, sizeof *h->page) != 0) {
        err_errno(e, "no memory to share with an extension host");
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    void *page = mmap(NULL, sizeof *h->page, PROT_READ, MAP_SHARED, fd, 0);
    struct proc *proc = NULL;
    if (page == MAP_FAILED) {
        err_errno(e, "no memory to share with an extension host");
    } else {
        h->page = page;
        proc = start_with_page(w, fd, ev, e);
    }
    close(fd);
    return proc;
}

static void on_ended(struct worker *w)
{
    struct host *h = w->own;
    if (h->page != NULL)
        munmap(h->page, sizeof *h->page);
    buf_finish(&h->in);
    mem_free(h->names);
    mem_free(h->jobs);
    mem_free(h);
}

/* To the host. */

static bool job_index(const struct host *h, const char *job, uint32_t *index)
{
    for (size_t i = 0; i < h->job_n; i++) {
        if (strcmp(h->jobs[i], job) == 0) {
            *index = (uint32_t)i;
            return true;
        }
    }
    return false;
}

/* input and the also values, as they are to be said. */
static bool encode_parts(struct wire_job *j, const struct claim *c, struct str input, size_t also_n,
                         struct buf *out, struct err *e)
{
    uint64_t size = sizeof *j + also_n * sizeof(uint32_t) + c->key.n + c->run.n + input.n;
    for (size_t i = 0; i < also_n; i++)
        size += c->also[i].n;
    if (size > UINT32_MAX / 2 || also_n > ALSO_MAX)
        return err_fail(e, ERR_TOO_LARGE, "the input has %llu bytes in %zu values, too much",
                        (unsigned long long)size, also_n + 1);
    j->size = (uint32_t)size;
    j->key_n = (uint32_t)c->key.n;
    j->run_n = (uint32_t)c->run.n;
    j->input_n = (uint32_t)input.n;
    j->also_n = (uint32_t)also_n;
    buf_reserve(out, size);
    buf_add(out, j, sizeof *j);
    for (size_t i = 0; i < also_n; i++) {
        uint32_t n = c->also[i].p == NULL ? WIRE_ABSENT : (uint32_t)c->also[i].n;
        buf_add(out, &n, sizeof n);
    }
    buf_str(out, c->key);
    buf_str(out, c->run);
    buf_str(out, input);
    for (size_t i = 0; i < also_n; i++)
        buf_str(out, c->also[i]);
    return true;
}

static bool encode(struct worker *w, const struct claim *c, uint32_t number, struct buf *out,
                   struct err *e)
{
    const struct work *work = &c->stage->work;
    struct wire_job j = {.number = number, .attempt = (uint32_t)c->attempt};
    if (!job_index(w->own, work->job, &j.job))
        return err_fail(e, ERR_CONFIG, "extension %s has no job %s", work->extension, work->job);
    if (!value_is_wrapped(c->stage))
        return encode_parts(&j, c, c->value, c->also_n, out, e);
    struct buf input = {0};
    bool ok = value_input(&input, c, false, e) && encode_parts(&j, c, buf_view(&input), 0, out, e);
    buf_finish(&input);
    return ok;
}

/* From the host. */

static void on_hello(struct worker *w, struct str names)
{
    struct host *h = w->own;
    h->names = mem_dup(names.p, names.n);
    h->jobs = mem_zero(names.n + 1, sizeof(char *));
    char *from = h->names;
    for (char *newline; (newline = strchr(from, '\n')) != NULL; from = newline + 1) {
        *newline = '\0';
        h->jobs[h->job_n++] = from;
    }
    pool_ready(w);
    log_info("work", "loaded", "name=%s pid=%d jobs=%zu", w->pool->name, proc_pid(w->proc),
             h->job_n);
}

static void on_result(struct worker *w, const struct wire_answer *a, struct str body)
{
    const struct claim *c = pool_oldest(w);
    struct str none = {NULL, 0};
    struct err e;
    if (c == NULL) {
        pool_answer(w, CLAIM_OK, none, NULL);
    } else if (a->result == HOOKMESH_OK) {
        if (value_output(&body, c->stage, "the extension", &e))
            pool_answer(w, CLAIM_OK, body, NULL);
        else
            pool_answer(w, CLAIM_FAIL, none, e.text);
    } else {
        struct buf why = {0};
        lines_printable(&why, body, 480);
        pool_answer(w, a->result == HOOKMESH_RETRY ? CLAIM_RETRY : CLAIM_FAIL, none,
                    why.n != 0 ? why.p : "the extension gave no reason");
        buf_finish(&why);
    }
}

static void on_log(struct worker *w, struct str line)
{
    const struct claim *c = pool_oldest(w);
    if (c == NULL)
        return;
    struct lines_to to = {c->run, str_of(c->stage->id), runner_settings()->run_log_max};
    lines_feed(&w->lines, &to, line);
    lines_end(&w->lines, &to);
}

/* false: not a frame that this host may send now. */
static bool on_frame(struct worker *w, const struct wire_answer *a, struct str body)
{
    switch (a->kind) {
    case WIRE_HELLO:
        if (w->ready)
            return false;
        on_hello(w, body);
        return true;
    case WIRE_REFUSED:
        if (w->ready)
            return false;
        pool_refused(w, body);
        return true;
    case WIRE_RESULT:
    case WIRE_LOG:
        if (w->head == w->tail || a->number != w->head)
            return false;
        if (a->kind == WIRE_RESULT)
            on_result(w, a, body);
        else
            on_log(w, body);
        return true;
    default: return false;
    }
}

/* Handles the whole frames in bytes and tells how many bytes they were. */
static size_t take_frames(struct worker *w, struct str bytes)
{
    size_t at = 0;
    struct wire_answer a;
    while (bytes.n - at >= sizeof a && w->fate == FATE_NONE) {
        memcpy(&a, bytes.p + at, sizeof a);
        if (a.size < sizeof a ||
            a.size > sizeof a + (uint64_t)runner_settings()->output_max + 65536) {
            pool_breach(w, CLAIM_RETRY, "the extension corrupted its host (a frame of %u bytes)",
                        a.size);
            break;
        }
        if (bytes.n - at < a.size)
            break;
        struct str body = {bytes.p + at + sizeof a, a.size - sizeof a};
        if (!on_frame(w, &a, body)) {
            pool_breach(w, CLAIM_RETRY, "the extension corrupted its host (answer %u of kind %u)",
                        a.number, a.kind);
            break;
        }
        at += a.size;
    }
    return at;
}

static void on_bytes(struct worker *w, struct str bytes)
{
    struct host *h = w->own;
    h->received += bytes.n;
    if (h->in.n != 0) {
        buf_str(&h->in, bytes);
        buf_drop(&h->in, take_frames(w, buf_view(&h->in)));
        return;
    }
    size_t taken = take_frames(w, bytes);
    buf_add(&h->in, bytes.p + taken, bytes.n - taken);
}

static void at_work(struct worker *w, uint32_t *number, int64_t *since_us)
{
    const struct host *h = w->own;
    *number = atomic_load_explicit(&h->page->begun, memory_order_acquire) - 1;
    *since_us = atomic_load_explicit(&h->page->begun_us, memory_order_relaxed);
}

static int64_t worked_us(const struct worker *w)
{
    const struct host *h = w->own;
    return atomic_load_explicit(&h->page->worked_us, memory_order_relaxed);
}

/* Answers that were finished wait in the host because it is busy with the next one: ask for them. */
static void on_tick(struct worker *w)
{
    const struct host *h = w->own;
    if (atomic_load_explicit(&h->page->committed, memory_order_acquire) > h->received)
        kill(proc_pid(w->proc), SIGUSR1);
}

static void on_gone(struct pool *p)
{
    struct extension_pool *x = p->own;
    mem_free(x->name);
    mem_free(x->path);
    mem_free(x);
}

static const struct pool_kind kind = {
    .noun = "the extension",
    .window = WINDOW,
    .ahead_us = 10000,
    .tick_ms = 5,
    .max_workers = max_workers,
    .start = start,
    .encode = encode,
    .on_bytes = on_bytes,
    .at_work = at_work,
    .worked_us = worked_us,
    .on_tick = on_tick,
    .on_ended = on_ended,
    .on_gone = on_gone,
};

static struct pool *pool_for(const char *name)
{
    list_each(at, &pools) {
        struct pool *p = container_of(at, struct pool, node);
        if (strcmp(p->name, name) == 0)
            return p;
    }
    const struct extension *x = config_extension(runner_config(), name);
    if (x == NULL || x->path == NULL)
        return NULL;
    struct extension_pool *own = mem_new(struct extension_pool);
    own->name = mem_strdup(name);
    own->path = mem_strdup(x->path);
    if (stat(x->path, &own->at_start) != 0)
        own->at_start = (struct stat){0};
    struct pool *p = pool_new(&kind, name, own);
    list_append(&pools, &p->node);
    return p;
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n;) {
        const char *name = claims[i]->stage->work.extension;
        struct pool *p = pool_for(name);
        for (; i < n && strcmp(claims[i]->stage->work.extension, name) == 0; i++) {
            if (p != NULL)
                pool_add(p, claims[i]);
            else
                claim_finish(claims[i], CLAIM_RETRY, (struct str){NULL, 0},
                             "the configuration has no such extension any more", -1);
        }
    }
    list_each_safe(at, &pools)
        pool_pump(container_of(at, struct pool, node));
}

static bool is_wanted(const struct extension_pool *own)
{
    const struct extension *x = config_extension(runner_config(), own->name);
    struct stat st;
    if (x == NULL || x->path == NULL || strcmp(x->path, own->path) != 0)
        return false;
    return stat(x->path, &st) == 0 && st.st_ino == own->at_start.st_ino &&
           st.st_size == own->at_start.st_size &&
           st.st_mtim.tv_sec == own->at_start.st_mtim.tv_sec &&
           st.st_mtim.tv_nsec == own->at_start.st_mtim.tv_nsec;
}

void extension_configure(void)
{
    list_each_safe(at, &pools) {
        struct pool *p = container_of(at, struct pool, node);
        if (!is_wanted(p->own))
            pool_retire(p);
    }
}

const struct claim_runner extension_runner = {
    .run = run, .cancel = pool_cancel, .default_concurrency = CONCURRENCY};
