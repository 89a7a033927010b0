/* SPDX-License-Identifier: Apache-2.0 */
/* Redis is away and senders like GitHub never send again, so a delivery must be on the disk before it is answered. One fdatasync a
 * delivery would allow a few hundred a second; so what arrives while one batch is written waits in `pending` and is the next
 * batch (group commit). All of the disk's work is done in the thread pool.
 *
 * A file has one writer for its life: a server never appends to what it found. It is locked (flock) by the process that
 * writes or stores it, so that several servers can share the directory: a lock that is held means its owner lives and will
 * care; the lock of a dead one is gone with it. A file that Redis is to take is sealed first, so reading and writing never meet.
 *
 * What breaks if you touch it: the answer to the sender must not go out before write_done without an error; a file must not be
 * removed before every record in it was confirmed. */
#include "trigger/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"
#include "trigger/submit.h"

enum { RETRY_MS = 1000, WINDOW = 64 };
static const size_t segment_bytes = 16 * 1024 * 1024;
static const size_t pending_bytes = 128 * 1024 * 1024; /* waiting for a slow disk */
static const size_t window_bytes = 4 * 1024 * 1024;

ssize_t (*spool_write)(int fd, const void *p, size_t n) = write;
int (*spool_sync)(int fd) = fdatasync;

struct segment {
    struct list node; /* in self.sealed, oldest first */
    char *path;
    int fd; /* with the lock; -1: not open */
    size_t size;
    size_t done;      /* confirmed up to here by this process */
    size_t set_aside; /* records and damaged places that can't be stored */
};

/* One delivery that waits for the disk. */
struct waiter {
    struct list node;
    size_t n; /* bytes of its record */
    spool_fn fn;
    void *arg;
    struct err e; /* for one that is refused at once */
};

/* The job under way in the thread pool; at most one of each kind. */
struct write_job {
    struct segment *seg;
    struct buf bytes;
    struct list waiters;
    bool failed;
    bool uncut; /* what was written of it could not be taken back */
    struct err e;
};

enum read_result { READ_OK, READ_BUSY, READ_GONE, READ_FAILED };

struct drain_job {
    struct segment *seg;
    enum read_result result;
    struct err e;
    struct buf bytes;
    size_t torn;   /* bytes cut off at the end */
    size_t at;     /* read up to here */
    size_t asked;  /* records given to Redis whose answer is outstanding */
    size_t stored; /* records confirmed */
    bool failed;   /* Redis went */
};

static struct {
    bool started;
    bool stopping;
    unsigned epoch; /* answers to an earlier life are ignored */
    char *dir;
    unsigned made; /* files, for their names */
    uint64_t bytes;
    struct segment *active;
    struct list sealed;
    struct buf pending;
    struct list waiters;
    struct write_job *writing;
    struct drain_job *draining;
    struct timer *retry;
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;
} self;

static void write_next(void);
static void drain(void *unused);
static void pump(struct drain_job *j);

uint64_t spool_bytes(void)
{
    return self.bytes;
}

static void account(uint64_t more, uint64_t less)
{
    self.bytes = self.bytes + more - less;
    metric_set(METRIC_SPOOLED, (double)self.bytes);
}

static void segment_free(struct segment *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    list_remove(&s->node);
    mem_free(s->path);
    mem_free(s);
}

static struct segment *segment_new(char *path)
{
    struct segment *s = mem_new(struct segment);
    s->path = path;
    s->fd = -1;
    list_init(&s->node);
    return s;
}

static void drain_later(void)
{
    if (!self.stopping && !timer_armed(self.retry))
        timer_arm(self.retry, RETRY_MS);
}

static void stopped_if_idle(void)
{
    if (!self.stopping || self.writing != NULL || self.draining != NULL)
        return;
    void (*fn)(void *arg) = self.on_stopped;
    void *arg = self.on_stopped_arg;
    list_each_safe(node, &self.sealed)
        segment_free(container_of(node, struct segment, node));
    segment_free(self.active);
    timer_free(self.retry);
    buf_finish(&self.pending);
    mem_free(self.dir);
    unsigned epoch = self.epoch + 1;
    memset(&self, 0, sizeof self);
    self.epoch = epoch;
    fn(arg);
}

static void stop_turn(void *unused)
{
    (void)unused;
    stopped_if_idle();
}

/* Writing. */

static bool write_all(int fd, struct str bytes)
{
    while (bytes.n != 0) {
        ssize_t n = spool_write(fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
    return true;
}

static bool sync_dir_of(const char *path)
{
    char *dir = mem_strdup(path);
    *strrchr(dir, '/') = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    mem_free(dir);
    return good;
}

static bool segment_open_new(struct segment *s)
{
    s->fd = open(s->path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    return s->fd >= 0 && flock(s->fd, LOCK_EX | LOCK_NB) == 0 && sync_dir_of(s->path);
}

static void write_work(void *arg)
{
    struct write_job *j = arg;
    struct segment *s = j->seg;
    bool opened = s->fd >= 0 || segment_open_new(s);
    if (opened && write_all(s->fd, buf_view(&j->bytes)) && spool_sync(s->fd) == 0)
        return;
    j->failed = true;
    err_errno(&j->e, "Redis is not reachable, and the spool file %s cannot be written", s->path);
    j->e.code = ERR_UNAVAILABLE;
    if (s->fd >= 0 && s->size == 0)
        unlink(s->path);
    else if (s->fd >= 0)
        j->uncut = ftruncate(s->fd, (off_t)s->size) != 0;
}

static void answer_all(struct list *waiters, const struct err *e)
{
    list_each_safe(node, waiters) {
        struct waiter *w = container_of(node, struct waiter, node);
        list_remove(&w->node);
        if (e != NULL)
            account(0, w->n);
        w->fn(w->arg, e);
        mem_free(w);
    }
}

static void seal(struct segment *s)
{
    list_append(&self.sealed, &s->node);
    self.active = NULL;
}

static void write_done(void *arg)
{
    struct write_job *j = arg;
    struct segment *s = j->seg;
    self.writing = NULL;
    if (j->failed)
        log_error("spool", "write-failed", "error=%s%s", log_quotez(j->e.text),
                  j->uncut ? " uncut=true" : "");
    else
        s->size += j->bytes.n;
    /* After a failed sync nobody knows what of the file is on the disk: it gets no more records. */
    if (j->failed && s->size == 0) {
        segment_free(s);
        self.active = NULL;
    } else if (j->failed || s->size >= segment_bytes) {
        seal(s);
    }
    answer_all(&j->waiters, j->failed ? &j->e : NULL);
    buf_finish(&j->bytes);
    mem_free(j);
    write_next();
    drain_later();
    stopped_if_idle();
}

static void write_next(void)
{
    if (self.writing != NULL || self.pending.n == 0)
        return;
    if (self.active == NULL)
        self.active = segment_new(mem_format("%s/%013lld-%07d-%06u.spool", self.dir,
                                             (long long)(clock_wall_us() / 1000), (int)getpid(),
                                             self.made++));
    struct write_job *j = mem_new(struct write_job);
    j->seg = self.active;
    j->bytes = self.pending;
    self.pending = (struct buf){0};
    list_init(&j->waiters);
    list_each_safe(node, &self.waiters) {
        list_remove(node);
        list_append(&j->waiters, node);
    }
    self.writing = j;
    loop_work(write_work, write_done, j);
}

static void refuse(void *arg)
{
    struct waiter *w = arg;
    w->fn(w->arg, &w->e);
    mem_free(w);
}

static bool room_for(const struct spool_record *r, struct err *e)
{
    const struct settings *set = &store_config()->set;
    size_t about = r->value.n + r->origin.n + r->key.n + r->summary.n + 256;
    if (!self.started || self.stopping)
        return err_fail(e, ERR_UNAVAILABLE, "Redis is not reachable and the server is stopping");
    if (!set->spool)
        return err_fail(e, ERR_UNAVAILABLE,
                        "Redis is not reachable, and keeping deliveries on disk is switched off "
                        "(setting spool); send it again later");
    if (self.bytes + about > (uint64_t)set->spool_max / (uint64_t)set->workers)
        return err_fail(e, ERR_UNAVAILABLE,
                        "Redis is not reachable, and the spool is full (setting spool_max); send "
                        "it again later");
    if (self.pending.n != 0 && self.pending.n + about > pending_bytes)
        return err_fail(e, ERR_UNAVAILABLE,
                        "Redis is not reachable, and the disk is too slow for all that arrives; "
                        "send it again later");
    return true;
}

void spool_add(const struct spool_record *r, spool_fn fn, void *arg)
{
    struct waiter *w = mem_new(struct waiter);
    list_init(&w->node);
    w->fn = fn;
    w->arg = arg;
    if (!room_for(r, &w->e)) {
        loop_defer(refuse, w);
        return;
    }
    size_t before = self.pending.n;
    spool_frame_write(&self.pending, r);
    w->n = self.pending.n - before;
    account(w->n, 0);
    list_append(&self.waiters, &w->node);
    write_next();
}

/* Storing. */

static bool read_whole(int fd, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    buf_reserve(out, (size_t)st.st_size);
    while (out->n < (size_t)st.st_size) {
        ssize_t n = pread(fd, out->p + out->n, (size_t)st.st_size - out->n, (off_t)out->n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0)
            break;
        out->n += (size_t)n;
    }
    return true;
}

static enum read_result open_found(struct segment *s)
{
    struct stat st;
    s->fd = open(s->path, O_RDWR | O_CLOEXEC);
    if (s->fd < 0)
        return errno == ENOENT ? READ_GONE : READ_FAILED;
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? READ_BUSY : READ_FAILED;
    /* Its former owner may have finished it between our open and our lock. */
    if (fstat(s->fd, &st) != 0 || st.st_nlink == 0)
        return READ_GONE;
    return READ_OK;
}

/* Cuts off what a crash left of a record that nobody was told of. */
static void cut_torn_end(struct drain_job *j)
{
    struct spool_record r;
    size_t at = 0;
    enum spool_frame frame;
    do
        frame = spool_frame_read(buf_view(&j->bytes), &at, &r);
    while (frame == SPOOL_RECORD || frame == SPOOL_DAMAGED);
    if (frame != SPOOL_TORN)
        return;
    j->torn = j->bytes.n - at;
    j->bytes.n = at;
    if (ftruncate(j->seg->fd, (off_t)at) != 0)
        j->torn = 0; /* it will be met again */
}

static void read_work(void *arg)
{
    struct drain_job *j = arg;
    j->result = j->seg->fd >= 0 ? READ_OK : open_found(j->seg);
    if (j->result == READ_OK && !read_whole(j->seg->fd, &j->bytes))
        j->result = READ_FAILED;
    if (j->result == READ_FAILED)
        err_errno(&j->e, "the spool file %s cannot be read", j->seg->path);
    if (j->result == READ_OK)
        cut_torn_end(j);
}

static void end_drain(struct drain_job *j)
{
    self.draining = NULL;
    buf_finish(&j->bytes);
    mem_free(j);
    stopped_if_idle();
}

static void forget_segment(struct segment *s)
{
    account(0, s->size);
    segment_free(s);
}

static void remove_work(void *arg)
{
    struct drain_job *j = arg;
    const char *path = j->seg->path;
    char *kept = mem_format("%s.kept", path);
    bool good = j->seg->set_aside == 0 ? unlink(path) == 0 : rename(path, kept) == 0;
    j->failed = !good && errno != ENOENT;
    mem_free(kept);
}

static void remove_done(void *arg)
{
    struct drain_job *j = arg;
    struct segment *s = j->seg;
    if (j->failed)
        log_error("spool", "not-removed", "file=%s hint=%s", log_quotez(s->path),
                  log_quotez("its deliveries are stored; remove it by hand"));
    if (s->set_aside != 0)
        log_error("spool", "set-aside", "file=%s.kept records=%zu", s->path, s->set_aside);
    log_info("spool", "drained", "file=%s deliveries=%zu", log_quotez(s->path), j->stored);
    forget_segment(s);
    bool stopping = self.stopping;
    end_drain(j);
    if (!stopping)
        drain(NULL);
}

static void read_done(void *arg)
{
    struct drain_job *j = arg;
    struct segment *s = j->seg;
    if (j->torn != 0)
        log_warn("spool", "torn", "file=%s cut=%zu", log_quotez(s->path), j->torn);
    if (j->result == READ_FAILED) {
        log_error("spool", "read-failed", "error=%s", log_quotez(j->e.text));
        drain_later();
        end_drain(j);
        return;
    }
    if (j->result != READ_OK) { /* another server has it, or had it */
        forget_segment(s);
        bool stopping = self.stopping;
        end_drain(j);
        if (!stopping)
            drain(NULL);
        return;
    }
    account(j->bytes.n, s->size);
    s->size = j->bytes.n;
    j->at = s->done < j->bytes.n ? s->done : j->bytes.n;
    pump(j);
}

/* One record on its way to Redis. */
struct item {
    unsigned epoch;
    struct drain_job *job;
    char run[ID_SIZE];
};

static void window_done(struct drain_job *j)
{
    if (j->failed) {
        drain_later();
        end_drain(j);
        return;
    }
    j->seg->done = j->at;
    pump(j);
}

static void on_stored(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    (void)outcome;
    (void)run;
    struct item *item = arg;
    struct drain_job *j = item->epoch == self.epoch ? item->job : NULL;
    if (j != NULL && e == NULL) {
        j->stored++;
    } else if (j != NULL && err_http_status(e->code) >= 500) {
        j->failed = true;
        log_warn("spool", "waits", "run=%s error=%s", item->run, log_quotez(e->text));
    } else if (j != NULL) {
        j->seg->set_aside++;
        log_error("spool", "not-stored", "run=%s error=%s", item->run, log_quotez(e->text));
    }
    mem_free(item);
    if (j != NULL && --j->asked == 0)
        window_done(j);
}

static void store_record(struct drain_job *j, const struct spool_record *r)
{
    struct item *item = mem_new(struct item);
    item->epoch = self.epoch;
    item->job = j;
    struct start in = {.hook = r->hook,
                       .pipeline = r->pipeline,
                       .cause = r->replay ? "replay" : "webhook",
                       .external_id = r->external_id,
                       .event = r->event,
                       .key = r->key,
                       .value = r->value,
                       .origin = r->origin,
                       .summary = r->summary,
                       .received_ms = r->received_ms,
                       .size = r->size};
    struct buf text = {0};
    submit_gate(&in, &text);
    snprintf(in.delivery_id, sizeof in.delivery_id, "%.*s", (int)r->delivery_id.n,
             r->delivery_id.p);
    snprintf(in.run_id, sizeof in.run_id, "%.*s", (int)r->run_id.n, r->run_id.p);
    memcpy(item->run, in.run_id, sizeof item->run);
    j->asked++;
    run_begin(&in, on_stored, item);
    buf_finish(&text);
}

/* Gives Redis the next records, in order, and goes on when all of them are answered. */
static void pump(struct drain_job *j)
{
    struct spool_record r;
    size_t from = j->at;
    enum spool_frame frame = SPOOL_RECORD;
    if (self.stopping) {
        end_drain(j);
        return;
    }
    while (j->asked < WINDOW && (j->asked == 0 || j->at - from < window_bytes) &&
           frame != SPOOL_END && frame != SPOOL_TORN) {
        frame = spool_frame_read(buf_view(&j->bytes), &j->at, &r);
        if (frame == SPOOL_RECORD) {
            store_record(j, &r);
        } else if (frame == SPOOL_DAMAGED) {
            j->seg->set_aside++;
            log_error("spool", "damaged", "file=%s offset=%zu", log_quotez(j->seg->path), j->at);
        }
    }
    if (j->asked == 0)
        loop_work(remove_work, remove_done, j);
}

static void drain(void *unused)
{
    (void)unused;
    if (self.draining != NULL || self.stopping || !store_up())
        return;
    if (list_empty(&self.sealed) && self.active != NULL) {
        if (self.writing != NULL)
            return; /* write_done comes back here */
        seal(self.active);
    }
    if (list_empty(&self.sealed))
        return;
    struct drain_job *j = mem_new(struct drain_job);
    j->seg = container_of(self.sealed.next, struct segment, node);
    self.draining = j;
    loop_work(read_work, read_done, j);
}

static void on_store(void *arg, bool up)
{
    (void)arg;
    if (up && self.started)
        drain(NULL);
}

/* Starting and stopping. */

static int is_segment(const struct dirent *d)
{
    return str_ends(str_of(d->d_name), ".spool");
}

static void take_up_files(void)
{
    struct dirent **found = NULL;
    int n = scandir(self.dir, &found, is_segment, alphasort);
    for (int i = 0; i < n; i++) {
        struct segment *s = segment_new(mem_format("%s/%s", self.dir, found[i]->d_name));
        struct stat st;
        s->size = stat(s->path, &st) == 0 ? (size_t)st.st_size : 0;
        account(s->size, 0);
        list_append(&self.sealed, &s->node);
        free(found[i]);
    }
    free(found);
    if (n > 0)
        log_info("spool", "found", "files=%d bytes=%llu", n, (unsigned long long)self.bytes);
}

bool spool_start(const char *data_dir, struct err *e)
{
    struct stat st;
    char *dir = mem_format("%s/spool", data_dir);
    bool there = mkdir(dir, 0700) == 0 || errno == EEXIST;
    if (there && (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))) {
        errno = ENOTDIR;
        there = false;
    }
    if (!there && store_config()->set.spool) {
        err_errno(e, "the directory %s cannot be made; mend that, or set spool: false", dir);
        mem_free(dir);
        return false;
    }
    sync_dir_of(dir); /* its name in its parent */
    self.dir = dir;
    list_init(&self.sealed);
    list_init(&self.waiters);
    self.retry = timer_new(drain, NULL);
    self.started = true;
    take_up_files();
    store_on_state(on_store, NULL); /* calls us at once if Redis is there */
    return true;
}

void spool_stop(void (*done)(void *arg), void *arg)
{
    if (!self.started) {
        loop_defer(done, arg);
        return;
    }
    self.stopping = true;
    self.on_stopped = done;
    self.on_stopped_arg = arg;
    timer_disarm(self.retry);
    /* Answers of Redis are not waited for: what is unconfirmed stays on the disk. */
    if (self.draining != NULL && self.draining->asked != 0) {
        self.epoch++;
        buf_finish(&self.draining->bytes);
        mem_free(self.draining);
        self.draining = NULL;
    }
    loop_defer(stop_turn, NULL);
}
