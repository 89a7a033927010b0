/* SPDX-License-Identifier: Apache-2.0 */
/* Processes that live on and serve many claims: kept commands and extension hosts. A pool has one queue and as many
 * workers as the load asks for; each worker has a window of claims that were sent and not yet answered, and answers in order.
 *
 * When a worker dies, only the claim that it was working on has failed; those behind it go back to the front of the queue, and
 * it costs them nothing. Each claim given to pool_add is finished exactly once. */
#ifndef WORK_POOL_H
#define WORK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "core/claim.h"
#include "net/proc.h"
#include "work/lines.h"

struct pool;
struct worker;

/* What kept commands and extension hosts do differently. */
struct pool_kind {
    const char *noun; /* "the command": begins error texts */
    size_t window;    /* most claims sent to a worker at once; a power of two */
    int64_t ahead_us; /* so much work is sent ahead to a worker */
    int64_t tick_ms;  /* how often a busy worker is looked at; 0: only when a time limit ends */
    int (*max_workers)(const struct pool *p);
    /* Starts w's child with these events and w as their argument. */
    struct proc *(*start)(struct worker *w, const struct proc_events *ev, struct err *e);
    /* Appends the claim in the child's language. false: it cannot be said; the claim fails with e. */
    bool (*encode)(struct worker *w, const struct claim *c, uint32_t number, struct buf *out,
                   struct err *e);
    void (*on_bytes)(struct worker *w, struct str bytes);
    /* Which number it works on and since when; it may be wrong, the child says so. NULL: the oldest. */
    void (*at_work)(struct worker *w, uint32_t *number, int64_t *since_us);
    /* Time that its child has spent on claims so far. NULL: it is taken from when answers come. */
    int64_t (*worked_us)(const struct worker *w);
    void (*on_tick)(struct worker *w);  /* may be NULL */
    void (*on_ended)(struct worker *w); /* frees w->own */
    void (*on_gone)(struct pool *p);    /* frees p->own; p is freed after it */
};

struct sent {
    struct claim *c; /* NULL: cancelled; the answer will be dropped */
    int64_t timeout_ms;
};

enum worker_fate { FATE_NONE, FATE_TIMEOUT, FATE_CANCEL, FATE_BREACH, FATE_STOP };

struct worker {
    struct list node; /* in pool.workers */
    struct pool *pool;
    struct proc *proc;
    void *own; /* the kind's */
    bool ready;
    bool ending; /* gets no more claims */
    enum worker_fate fate;
    uint32_t culprit; /* of FATE_TIMEOUT and FATE_BREACH */
    enum claim_outcome culprit_outcome;
    char why[400];
    struct sent *ring; /* numbers head..tail-1, at number & (window - 1) */
    uint32_t head;
    uint32_t tail;
    int64_t head_since_us; /* when the oldest became the oldest */
    int64_t idle_since_us;
    int64_t each_us;   /* running average of one claim */
    int measured;      /* batches that went into it */
    int64_t worked_us; /* of the child at the last batch */
    struct timer *timer;
    int64_t timer_at_us;
    struct lines lines; /* its stderr */
};

struct pool {
    struct list node; /* in its owner's list of pools that take claims */
    struct list in_all;
    const struct pool_kind *kind;
    void *own;
    char *name; /* of the extension or the stage, for logs */
    struct list workers;
    int worker_n;
    struct claim **queue; /* a ring of queue_cap, a power of two */
    size_t queue_cap;
    size_t queue_head;
    size_t queue_n;
    struct timer *timer;
    struct buf frames; /* scratch of sending */
    bool retired;
    bool stopping;
    int depth;                /* in callbacks that send afterwards by themselves */
    int64_t refused_until_us; /* so long no new try to start a child */
    enum claim_outcome refused_outcome;
    char refusal[400];
};

struct pool *pool_new(const struct pool_kind *kind, const char *name, void *own);
void pool_add(struct pool *p, struct claim *c);
void pool_pump(struct pool *p);    /* sends what was added */
void pool_cancel(struct claim *c); /* in whatever pool it is; it ends after this turn */
void pool_retire(struct pool *p);  /* ends when its claims are finished; the owner forgets it now */
void pool_stop_all(void);          /* like that, and work that goes on is ended now */

/* For the kinds, about a worker. */
void pool_ready(struct worker *w);
void pool_refused(struct worker *w, struct str why); /* its child ends by itself */
/* The oldest claim's answer. */
void pool_answer(struct worker *w, enum claim_outcome outcome, struct str output,
                 const char *error);
const struct claim *pool_oldest(const struct worker *w); /* NULL: none, or cancelled */
/* It broke the rules: it is killed, and its oldest claim ends with this outcome. */
void pool_breach(struct worker *w, enum claim_outcome outcome, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
