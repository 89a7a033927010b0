/* SPDX-License-Identifier: Apache-2.0 */
#include "core/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { BEAT_MS = 2000, DEAD_MS = 7000, RELEASE_MAX = 500 };

static struct {
    int fd; /* of data_dir/slot, locked as long as we live */
    int64_t slot;
    bool beaten;  /* the slot is ours in this Redis */
    bool clean;   /* claims of a former life were handed back */
    int releases; /* calls for that under way */
    struct timer *beat;
    void (*released)(void);
    void (*ready)(void);
} self = {.fd = -1};

static void done(void)
{
    void (*ready)(void) = self.ready;
    self.clean = true;
    self.ready = NULL;
    if (ready != NULL)
        ready();
}

static void release_old(void);

struct release_op {
    char *stage;
    int64_t slot;
};

static void release_stage(struct release_op *op);

static void on_released(void *arg, const struct reply *r, const struct err *e)
{
    struct release_op *op = arg;
    if (e == NULL && reply_int(r) > 0) {
        log_info("claim", "handed_back", "stage=%s n=%lld", op->stage, (long long)reply_int(r));
        self.released();
    }
    if (e == NULL && reply_int(r) == RELEASE_MAX) {
        release_stage(op);
        return;
    }
    bool own = op->slot == self.slot;
    mem_free(op->stage);
    mem_free(op);
    if (own && --self.releases == 0 && e == NULL)
        done();
}

static void release_stage(struct release_op *op)
{
    struct args a = {0};
    args_add(&a, str_of(op->stage));
    args_int(&a, op->slot);
    args_int(&a, RELEASE_MAX);
    store_call("release_dead", a.n, a.v, on_released, op);
    args_finish(&a);
}

/* Hands back what a dead server had claimed. */
static void release_slot(int64_t slot)
{
    for (size_t i = 0; i < stage_count(); i++) {
        struct release_op *op = mem_new(struct release_op);
        *op = (struct release_op){mem_strdup(stage_at(i)->id), slot};
        release_stage(op);
    }
}

/* The slot survives in the data directory, so that the next life knows which claims were ours. */
static void keep_slot(int64_t slot)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%lld\n", (long long)slot);
    self.slot = slot;
    if (pwrite(self.fd, text, (size_t)n, 0) != n || ftruncate(self.fd, n) != 0)
        log_warn("claim", "slot_not_kept", "error=%s", log_quotez(strerror(errno)));
}

static int64_t parse_slot(const char *text)
{
    uint64_t slot;
    return str_u64(str_trim(str_of(text)), &slot) && slot >= 1 && slot <= 500 ? (int64_t)slot : 0;
}

static bool take_slot(const char *data_dir, struct err *e)
{
    char *path = mem_format("%s/slot", data_dir);
    char text[24] = "";
    self.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool taken = self.fd >= 0 && flock(self.fd, LOCK_EX | LOCK_NB) == 0;
    if (!taken && self.fd >= 0)
        err_fail(e, ERR_CONFLICT,
                 "another server uses the data directory %s; give this one its own with --data",
                 data_dir);
    else if (!taken)
        err_errno(e, "cannot open %s", path);
    mem_free(path);
    if (taken && read(self.fd, text, sizeof text - 1) > 0)
        self.slot = parse_slot(text);
    return taken;
}

static void on_beaten(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL)
        return;
    bool first = !self.beaten;
    self.beaten = true;
    if (self.slot == 0)
        keep_slot(reply_int(reply_at(r, 0)));
    for (size_t i = 1; i < reply_len(r); i++) {
        int64_t dead = reply_int(reply_at(r, i));
        if (dead == self.slot)
            continue;
        log_warn("claim", "server_dead", "slot=%lld", (long long)dead);
        release_slot(dead);
        struct args a = {0};
        args_int(&a, dead);
        store_call("leave", a.n, a.v, NULL, NULL);
        args_finish(&a);
    }
    if (first)
        release_old();
}

static void beat(void)
{
    struct args a = {0};
    args_int(&a, self.slot);
    args_int(&a, DEAD_MS);
    store_call("beat", a.n, a.v, on_beaten, NULL);
    args_finish(&a);
}

static void on_beat(void *arg)
{
    (void)arg;
    if (store_up())
        beat();
}

/* Stages come and go. */

/* Nothing is claimed before this is through: our new claims have the same slot. */
static void release_old(void)
{
    if (self.releases != 0)
        return;
    if (stage_count() == 0) {
        done();
        return;
    }
    self.releases = (int)stage_count();
    release_slot(self.slot);
}

void slot_clear(void (*ready)(void))
{
    self.ready = ready;
    if (self.clean)
        done();
    else if (self.beaten)
        release_old();
    else
        beat();
}

int64_t slot_number(void)
{
    return self.slot;
}

bool slot_start(const char *data_dir, void (*released)(void), struct err *e)
{
    if (!take_slot(data_dir, e))
        return false;
    self.released = released;
    self.beat = timer_new(on_beat, NULL);
    timer_every(self.beat, BEAT_MS);
    return true;
}

void slot_stop(void)
{
    timer_free(self.beat);
    self.beat = NULL;
    if (self.fd >= 0)
        close(self.fd);
    self.fd = -1;
    if (self.slot == 0 || !store_up())
        return;
    struct args a = {0};
    args_int(&a, self.slot);
    store_call("leave", a.n, a.v, NULL, NULL);
    args_finish(&a);
}
