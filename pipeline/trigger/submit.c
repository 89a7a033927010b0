/* SPDX-License-Identifier: Apache-2.0 */
/* Redis may be gone, or connected and deaf. A sender waits three seconds (Slack) to ten (GitHub), so a delivery that Redis has not
 * taken after PATIENCE_MS goes to the disk as well. The run id is the same on both ways and is stored once, so it does no
 * harm that Redis answers late; until it does, the op outlives the delivery. */
#include "trigger/submit.h"

#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"
#include "trigger/spool.h"
#include "trigger/start.h"

enum { PATIENCE_MS = 2000, TICK_MS = 250, SPARE_MAX = 64, KEEP_BYTES = 64 * 1024 };

/* The way that a delivery is on, which will answer it. After DISK_FAILED it is Redis again, whatever that says. */
enum way { TO_REDIS, TO_DISK, DISK_FAILED, ANSWERED };

struct op {
    struct list
        node; /* in self.asked while Redis is asked and patience lasts; else in self.spare */
    struct webhook *w; /* until it is answered */
    submit_fn fn;
    enum way way;
    bool asked; /* run_ingest has not come back */
    int64_t since_us;
    struct buf key;
    struct buf value;
    struct buf origin; /* the envelope, when value is what `input:` made of it */
};

static struct {
    bool begun;
    struct list asked; /* oldest first */
    struct list spare;
    size_t spare_n;
    struct timer *tick;
} self;

static void begin(void)
{
    if (self.begun)
        return;
    self.begun = true;
    list_init(&self.asked);
    list_init(&self.spare);
}

static struct op *op_new(void)
{
    struct op *op;
    if (list_empty(&self.spare)) {
        op = mem_new(struct op);
    } else {
        op = container_of(self.spare.next, struct op, node);
        list_remove(&op->node);
        self.spare_n--;
    }
    list_init(&op->node);
    return op;
}

static void op_finish(struct op *op)
{
    list_remove(&op->node);
    buf_finish(&op->key);
    buf_finish(&op->value);
    buf_finish(&op->origin);
    mem_free(op);
}

static void op_free(struct op *op)
{
    if (self.spare_n == SPARE_MAX || op->value.cap + op->origin.cap > KEEP_BYTES) {
        op_finish(op);
        return;
    }
    *op = (struct op){.key = op->key, .value = op->value, .origin = op->origin};
    buf_clear(&op->key);
    buf_clear(&op->value);
    buf_clear(&op->origin);
    list_init(&op->node);
    list_append(&self.spare, &op->node);
    self.spare_n++;
}

static void answer(struct op *op, enum submit_outcome outcome, struct str run, const struct err *e)
{
    op->way = ANSWERED;
    op->fn(op->w, outcome, run, e); /* w is gone after this, as a rule */
    if (!op->asked)
        op_free(op);
}

static void on_spooled(void *arg, const struct err *e)
{
    struct op *op = arg;
    if (e != NULL && op->asked)
        op->way = DISK_FAILED;
    else
        answer(op, SUBMIT_SPOOLED, str_of(op->w->run_id), e);
}

static void to_disk(struct op *op)
{
    const struct webhook *w = op->w;
    op->way = TO_DISK;
    spool_add(&(struct spool_record){.delivery_id = str_of(w->delivery_id),
                                     .run_id = str_of(w->run_id),
                                     .hook = str_of(w->hook->path),
                                     .pipeline = str_of(w->hook->pipeline),
                                     .external_id = w->external_id,
                                     .event = w->event,
                                     .key = buf_view(&op->key),
                                     .value = buf_view(&op->value),
                                     .summary = buf_view(&w->summary),
                                     .origin = buf_view(&op->origin),
                                     .received_ms = w->received_us / 1000,
                                     .size = (int64_t)w->body.n,
                                     .replay = w->replay.n != 0},
              on_spooled, op);
}

static void on_ingested(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    struct op *op = arg;
    list_remove(&op->node);
    op->asked = false;
    switch (op->way) {
    case TO_REDIS:
        if (e != NULL && err_http_status(e->code) >= 500) {
            to_disk(op);
            return;
        }
        break;
    case TO_DISK: return; /* which will answer */
    case DISK_FAILED: break;
    case ANSWERED: op_free(op); return;
    }
    answer(op, outcome == START_DUPLICATE ? SUBMIT_DUPLICATE : SUBMIT_ACCEPTED, run, e);
}

static void on_tick(void *unused)
{
    (void)unused;
    int64_t old = loop_now_us() - PATIENCE_MS * 1000;
    list_each_safe(node, &self.asked) {
        struct op *op = container_of(node, struct op, node);
        if (op->since_us > old)
            return;
        list_remove(&op->node);
        to_disk(op);
    }
    timer_disarm(self.tick);
}

void submit_gate(struct start *in, struct buf *text)
{
    const struct pipeline *p = config_pipeline(store_config(), in->pipeline);
    bool once = in->external_id.n != 0 && strcmp(in->cause, "replay") != 0;
    if (once) {
        buf_str(text, in->hook);
        buf_char(text, ':');
        buf_str(text, in->external_id);
    }
    size_t n = text->n;
    start_gate(p != NULL ? p->job : NULL, in->value, &in->gate, text);
    in->once = (struct str){text->p, n}; /* start_gate may have moved it */
}

static void to_redis(struct op *op)
{
    const struct webhook *w = op->w;
    struct start in = {.hook = str_of(w->hook->path),
                       .pipeline = str_of(w->hook->pipeline),
                       .cause = w->replay.n != 0 ? "replay" : "webhook",
                       .external_id = w->external_id,
                       .event = w->event,
                       .key = buf_view(&op->key),
                       .value = buf_view(&op->value),
                       .origin = buf_view(&op->origin),
                       .summary = buf_view(&w->summary),
                       .received_ms = w->received_us / 1000,
                       .size = (int64_t)w->body.n};
    struct buf text = {0};
    submit_gate(&in, &text);
    memcpy(in.delivery_id, w->delivery_id, sizeof in.delivery_id);
    memcpy(in.run_id, w->run_id, sizeof in.run_id);
    op->asked = true;
    op->since_us = loop_now_us();
    list_append(&self.asked, &op->node);
    if (self.tick == NULL)
        self.tick = timer_new(on_tick, NULL);
    if (!timer_armed(self.tick))
        timer_every(self.tick, TICK_MS);
    run_begin(&in, on_ingested, op);
    buf_finish(&text);
}

void submit(struct webhook *w, submit_fn fn)
{
    begin();
    struct op *op = op_new();
    op->w = w;
    op->fn = fn;
    /* The configuration's check has seen the template: it asks for nothing but the run. */
    must(template_fill(&op->key, str_of(w->hook->write), NULL, str_of(w->run_id)));
    if (w->input.n != 0)
        buf_str(&op->value, buf_view(&w->input));
    webhook_envelope(w->input.n != 0 ? &op->origin : &op->value, w);
    if (store_up())
        to_redis(op);
    else
        to_disk(op);
}

void submit_finish(void)
{
    if (!self.begun)
        return;
    list_each_safe(node, &self.spare)
        op_finish(container_of(node, struct op, node));
    timer_free(self.tick);
    memset(&self, 0, sizeof self);
}
