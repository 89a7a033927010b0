/* SPDX-License-Identifier: Apache-2.0 */
/* jq programs, run by children (filter_host.c). Events are sent ahead, so that a busy child never waits for us; when it ends in the middle, what it had not
 * answered goes to a new one. It tells itself which event made it end, so that event fails and the others do not know.
 *
 * A program that made a child end is a suspect for a while and has a second child, with the other suspects: one endless program
 * holds up its own events and nobody else's. A child that broke down after it had answered others may have been worn out (memory in
 * pieces, a bug's damage), so the event is tried once more, as the first of a new child.
 *
 * An end without last words (the kernel's killer) leaves the blame open: then events are sent one at a time until one is answered, and the
 * second such end is the event's own. */
#include "work/filter.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/loop.h"
#include "net/proc.h"
#include "work/filter_wire.h"
#include "work/runner.h"

enum {
    WINDOW = 64,
    SENT_BYTES = 1024 * 1024, /* sent and not answered, of more than one event */
    TICK_MS = 250,
    HANG_MS = 12000, /* more than the child's own limits: it does not even tick */
    PATIENCE = 5,    /* an event waits so many filter_timeouts for its turn */
    SUSPECT_MS = 60000,
    SUSPECTS_MAX = 100,
    IDLE_MS = 300000,
    SCAN_KEPT = 1024 * 1024,
    TRIES = 2,
};

struct op {
    struct list node; /* in its host's queue or sent */
    filter_fn fn;
    filter_judge_fn judge; /* instead of fn */
    void *arg;
    int64_t since_us;
    int tries;    /* that ended a child */
    bool in_when; /* where it was at last */
    size_t size;  /* of the frame: */
    char frame[]; /* struct filter_ask, when, program, JSON */
};

struct host {
    struct proc *proc;
    bool ending; /* what it still says does not count */
    bool told;   /* it said why it ends */
    struct list queue;
    struct list sent; /* in the order of their numbers */
    size_t sent_n;
    size_t sent_bytes;
    size_t window; /* so many events are sent ahead, */
    size_t window_max;
    uint32_t next;     /* number */
    uint64_t answered; /* since it was started */
    int64_t head_since_us;
    int64_t used_us;
    struct buf in; /* a frame that has not come whole */
    struct timer *timer;
};

struct suspect {
    struct map_node node;
    int64_t until_us;
    char text[];
};

static struct {
    bool begun;
    bool stopping;
    bool planned;
    struct host hosts[2]; /* the second for suspects */
    struct map suspects;
    size_t bytes; /* of all ops */
    struct jscan *scan;
    struct buf frames; /* scratch */
} self;

static void pump(struct host *h);

bool filter_passes(struct str out)
{
    return out.n != 0 && !str_is(out, "false") && !str_is(out, "null");
}

/* Both, as one text: what a suspect is known by. */
static struct str program_of(const struct op *op)
{
    struct filter_ask ask;
    memcpy(&ask, op->frame, sizeof ask);
    return (struct str){op->frame + sizeof ask, (size_t)ask.when_n + ask.program_n};
}

/* Suspects. */

static void pardon(struct suspect *s)
{
    map_remove(&self.suspects, &s->node);
    mem_free(s);
}

static bool is_suspect(struct str program)
{
    struct map_node *n = map_find(&self.suspects, program);
    if (n == NULL)
        return false;
    struct suspect *s = container_of(n, struct suspect, node);
    if (s->until_us > loop_now_us())
        return true;
    pardon(s);
    return false;
}

static void suspect(struct str program)
{
    struct map_node *n = map_find(&self.suspects, program);
    if (n == NULL) {
        if (self.suspects.n == SUSPECTS_MAX)
            pardon(container_of(map_any(&self.suspects), struct suspect, node));
        struct suspect *s = mem_zero(1, sizeof *s + program.n);
        memcpy(s->text, program.p, program.n);
        map_add(&self.suspects, &s->node, (struct str){s->text, program.n});
        n = &s->node;
    }
    container_of(n, struct suspect, node)->until_us = loop_now_us() + SUSPECT_MS * 1000;
}

static struct host *host_of(const struct op *op)
{
    return &self.hosts[is_suspect(program_of(op))];
}

/* Ops. */

static void finish(struct op *op, bool wanted, struct str out, const struct err *e)
{
    list_remove(&op->node);
    self.bytes -= op->size;
    if (op->judge != NULL)
        op->judge(op->arg, wanted, out, e);
    else
        op->fn(op->arg, out, e);
    mem_free(op);
}

static void fail(struct op *op, enum err_code code, const char *outcome, const char *text)
{
    struct err e;
    if (op->judge != NULL)
        err_fail(&e, code, "%s: %s", op->in_when ? "when" : "input", text);
    else
        err_fail(&e, code, "%s", text);
    metric_add_for(METRIC_FILTERS, outcome, 1);
    finish(op, false, (struct str){NULL, 0}, &e);
}

static void unsend(struct host *h, struct op *op)
{
    list_remove(&op->node);
    h->sent_n--;
    h->sent_bytes -= op->size;
    h->head_since_us = loop_now_us();
}

/* To the front of where it belongs by now. */
static void put_back(struct op *op)
{
    struct host *h = host_of(op);
    list_append(h->queue.next, &op->node); /* before the first */
    if (h->timer != NULL && !timer_armed(h->timer))
        timer_every(h->timer, TICK_MS);
}

static void plan_pump(void);

/* Its program has become a suspect: the others of it in the queue follow it. */
static void move_suspects(void)
{
    struct host *from = &self.hosts[0];
    list_each_safe(node, &from->queue) {
        struct op *op = container_of(node, struct op, node);
        struct host *to = host_of(op);
        if (to == from)
            continue;
        list_remove(&op->node);
        list_append(&to->queue, &op->node);
    }
    plan_pump();
}

static void timed_out(struct op *op)
{
    char text[160];
    snprintf(text, sizeof text, "it took longer than %lld ms (setting filter_timeout)",
             (long long)runner_settings()->filter_timeout);
    suspect(program_of(op));
    fail(op, ERR_TIMEOUT, "timeout", text);
    move_suspects();
}

/* It made its child end; op is in no list. */
static void broke(const struct host *h, struct op *op, const char *text)
{
    if (++op->tries < TRIES && h->answered != 0) {
        put_back(op);
        return;
    }
    suspect(program_of(op));
    fail(op, ERR_UNPROCESSABLE, "broke", text);
    move_suspects();
}

/* From the child. */

static bool is_json(struct str s)
{
    struct err e;
    if (self.scan == NULL)
        must((self.scan = jscan_new()) != NULL);
    bool good = jscan_parse(self.scan, s, &e);
    if (s.n > SCAN_KEPT) {
        jscan_free(self.scan);
        self.scan = NULL;
    }
    return good;
}

static void on_output(struct op *op, struct str out)
{
    struct filter_ask ask;
    memcpy(&ask, op->frame, sizeof ask);
    if (out.n != 0 && !is_json(out)) {
        fail(op, ERR_UNPROCESSABLE, "failed",
             "its output is nested too deeply for JSON that others can read");
    } else if (out.n == 0 && op->judge != NULL && ask.program_n != 0) {
        fail(op, ERR_UNPROCESSABLE, "failed", "it gives nothing for this event");
    } else {
        metric_add_for(METRIC_FILTERS, "ok", 1);
        finish(op, true, out, NULL);
    }
}

static void on_unwanted(struct op *op)
{
    metric_add_for(METRIC_FILTERS, "ok", 1);
    finish(op, false, (struct str){NULL, 0}, NULL);
}

static void on_said(struct host *h, struct op *op, const struct filter_said *said, struct str body)
{
    enum filter_said_kind kind = said->kind;
    char text[600];
    int signo = 0;
    unsend(h, op);
    op->in_when = said->in_when != 0;
    h->told = kind >= FILTER_TIMEOUT;
    if (!h->told) {
        h->answered++;
        h->window = h->window * 2 < h->window_max ? h->window * 2 : h->window_max;
    }
    switch (kind) {
    case FILTER_OUTPUT: on_output(op, body); break;
    case FILTER_UNWANTED: on_unwanted(op); break;
    case FILTER_FAILED:
        snprintf(text, sizeof text, "%.*s", (int)(body.n < 500 ? body.n : 500), body.p);
        fail(op, ERR_UNPROCESSABLE, "failed", text);
        break;
    case FILTER_TIMEOUT: timed_out(op); break;
    case FILTER_MEMORY:
        snprintf(text, sizeof text, "it needs more than %lld MiB of memory (setting filter_memory)",
                 (long long)(runner_settings()->filter_memory / 1048576));
        broke(h, op, text);
        break;
    case FILTER_CRASH:
        memcpy(&signo, body.p, sizeof signo < body.n ? sizeof signo : body.n);
        const char *name = sigabbrev_np(signo);
        snprintf(text, sizeof text, "jq broke down over it (SIG%s)", name != NULL ? name : "?");
        broke(h, op, text);
        break;
    }
}

static void give_up_on(struct host *h)
{
    h->ending = true;
    proc_kill(h->proc);
}

static size_t take_frames(struct host *h, struct str bytes)
{
    size_t at = 0;
    struct filter_said said;
    while (!h->ending && bytes.n - at >= sizeof said) {
        memcpy(&said, bytes.p + at, sizeof said);
        struct op *op = list_empty(&h->sent) ? NULL : container_of(h->sent.next, struct op, node);
        uint32_t number = h->next - (uint32_t)h->sent_n;
        if (op == NULL || said.number != number || said.size < sizeof said ||
            said.kind < FILTER_OUTPUT || said.kind > FILTER_CRASH) {
            log_error("filter", "corrupt", "pid=%d kind=%u", proc_pid(h->proc), said.kind);
            give_up_on(h);
            break;
        }
        if (bytes.n - at < said.size)
            break;
        struct str body = {bytes.p + at + sizeof said, said.size - sizeof said};
        at += said.size;
        on_said(h, op, &said, body);
    }
    return at;
}

static void on_stdout(void *arg, struct str bytes)
{
    struct host *h = arg;
    if (h->in.n != 0) {
        buf_str(&h->in, bytes);
        buf_drop(&h->in, take_frames(h, buf_view(&h->in)));
    } else {
        size_t taken = take_frames(h, bytes);
        buf_add(&h->in, bytes.p + taken, bytes.n - taken);
    }
    if (h->in.n == 0 && h->in.cap > SCAN_KEPT)
        buf_finish(&h->in);
    pump(h);
}

static void on_stderr(void *arg, struct str bytes)
{
    const struct host *h = arg;
    bytes.n = bytes.n < 500 ? bytes.n : 500;
    log_warn("filter", "said", "pid=%d text=%s", proc_pid(h->proc), log_quote(str_trim(bytes)));
}

static void stopped(void)
{
    if (!self.stopping || self.hosts[0].proc != NULL || self.hosts[1].proc != NULL)
        return;
    for (struct map_node *n; (n = map_any(&self.suspects)) != NULL;)
        pardon(container_of(n, struct suspect, node));
    map_finish(&self.suspects);
    jscan_free(self.scan);
    buf_finish(&self.frames);
    bool planned = self.planned;
    memset(&self, 0, sizeof self);
    self.planned = planned;
    self.stopping = true;
}

static void on_exit(void *arg, const struct proc_exit *x)
{
    struct host *h = arg;
    h->proc = NULL;
    buf_finish(&h->in);
    bool told = h->told || h->ending;
    h->ending = self.stopping;
    struct op *head = list_empty(&h->sent) ? NULL : container_of(h->sent.next, struct op, node);
    struct buf how = {0};
    if (head != NULL && !told) {
        runner_describe_exit(&how, x, (struct str){NULL, 0});
        log_warn("filter", "ended", "how=%s events=%zu", log_quotez(how.p), h->sent_n);
        h->window = 1;
        head->tries++;
    }
    while (!list_empty(&h->sent)) { /* the last one first: each goes to the front */
        struct op *op = container_of(h->sent.prev, struct op, node);
        unsend(h, op);
        if (op->tries < TRIES)
            put_back(op);
        else
            broke(h, op, how.n != 0 ? how.p : "jq broke down over it");
    }
    buf_finish(&how);
    runner_busy(-1);
    if (self.stopping)
        stopped();
    else
        plan_pump();
}

/* To the child. */

static bool start(struct host *h, struct err *e)
{
    static const struct proc_events events = {
        .on_stdout = on_stdout, .on_stderr = on_stderr, .on_exit = on_exit};
    char program[] = "/proc/self/exe";
    char command[] = "filter-host";
    char memory[24];
    snprintf(memory, sizeof memory, "%lld", (long long)runner_settings()->filter_memory);
    char *argv[] = {program, command, memory, NULL};
    struct proc_options options = {.argv = argv, .kill_grace_ms = 1, .die_with_us = true};
    h->proc = proc_spawn(&options, &events, h, e);
    if (h->proc == NULL)
        return false;
    runner_busy(1);
    h->ending = h->told = false;
    h->answered = 0;
    h->next = 0;
    return true;
}

static void send(struct host *h, struct op *op)
{
    struct filter_ask ask;
    memcpy(&ask, op->frame, sizeof ask);
    ask.number = h->next++;
    ask.timeout_ms = (uint32_t)runner_settings()->filter_timeout;
    ask.output_max = (uint64_t)runner_settings()->output_max;
    memcpy(op->frame, &ask, sizeof ask);
    buf_add(&self.frames, op->frame, op->size);
    list_remove(&op->node);
    list_append(&h->sent, &op->node);
    if (h->sent_n++ == 0)
        h->head_since_us = loop_now_us();
    h->sent_bytes += op->size;
}

static void refuse_all(struct host *h, const struct err *e)
{
    log_error("filter", "no_child", "error=%s", log_quotez(e->text));
    list_each_safe(node, &h->queue)
        fail(container_of(node, struct op, node), ERR_UNAVAILABLE, "refused", e->text);
}

static void pump(struct host *h)
{
    struct err e;
    if (self.stopping || h->ending || (h->told && h->proc != NULL) || list_empty(&h->queue))
        return;
    if (h->proc == NULL && !start(h, &e)) {
        refuse_all(h, &e);
        return;
    }
    while (!list_empty(&h->queue) && h->sent_n < h->window) {
        struct op *op = container_of(h->queue.next, struct op, node);
        if (h->sent_n != 0 && h->sent_bytes + op->size > SENT_BYTES)
            break;
        send(h, op);
    }
    h->used_us = loop_now_us();
    if (self.frames.n != 0)
        proc_write(h->proc, buf_view(&self.frames));
    if (self.frames.cap > SCAN_KEPT)
        buf_finish(&self.frames);
    buf_clear(&self.frames);
}

static void pump_all(void *unused)
{
    (void)unused;
    self.planned = false;
    if (!self.begun)
        return;
    pump(&self.hosts[0]);
    pump(&self.hosts[1]);
}

static void plan_pump(void)
{
    if (self.planned)
        return;
    self.planned = true;
    loop_defer(pump_all, NULL);
}

/* Looks after what takes too long. */
static void on_tick(void *arg)
{
    struct host *h = arg;
    int64_t now = loop_now_us();
    int64_t timeout_us = runner_settings()->filter_timeout * 1000;
    list_each_safe(node, &h->queue) {
        struct op *op = container_of(node, struct op, node);
        if (now - op->since_us <= PATIENCE * timeout_us)
            break;
        fail(op, ERR_UNAVAILABLE, "refused",
             "the filters are busy with earlier events; send it again later");
    }
    if (!list_empty(&h->sent) && !h->ending &&
        now - h->head_since_us > timeout_us + HANG_MS * 1000) {
        struct op *op = container_of(h->sent.next, struct op, node);
        unsend(h, op);
        give_up_on(h);
        timed_out(op);
    }
    if (list_empty(&h->sent) && list_empty(&h->queue) && now - h->used_us > IDLE_MS * 1000) {
        timer_disarm(h->timer);
        if (h->proc != NULL) {
            h->ending = true;
            proc_close_stdin(h->proc);
        }
    }
}

static void begin(void)
{
    self.begun = true;
    for (size_t i = 0; i < 2; i++) {
        struct host *h = &self.hosts[i];
        list_init(&h->queue);
        list_init(&h->sent);
        h->window = h->window_max = i == 0 ? WINDOW : 1;
        h->timer = timer_new(on_tick, h);
    }
}

struct refusal {
    filter_fn fn;
    filter_judge_fn judge;
    void *arg;
    struct err e;
};

static void refuse(void *arg)
{
    struct refusal *r = arg;
    if (r->judge != NULL)
        r->judge(r->arg, false, (struct str){NULL, 0}, &r->e);
    else
        r->fn(r->arg, (struct str){NULL, 0}, &r->e);
    mem_free(r);
}

static bool has_room(size_t size, struct err *e)
{
    if (self.stopping)
        return err_fail(e, ERR_CANCELLED, "the server is stopping");
    if (size > UINT32_MAX / 2)
        return err_fail(e, ERR_TOO_LARGE, "the event is too large for a filter");
    if (self.bytes != 0 && self.bytes + size > (uint64_t)runner_settings()->filter_queue)
        return err_fail(e, ERR_UNAVAILABLE,
                        "too many events wait for their filters (setting filter_queue); send it "
                        "again later");
    return true;
}

/* One of fn and judge is NULL. */
static void run(struct str when, struct str program, struct str json, filter_fn fn,
                filter_judge_fn judge, void *arg)
{
    struct err e;
    size_t size = sizeof(struct filter_ask) + when.n + program.n + json.n;
    if (!has_room(size, &e)) {
        struct refusal *r = mem_new(struct refusal);
        *r = (struct refusal){fn, judge, arg, e};
        metric_add_for(METRIC_FILTERS, "refused", 1);
        loop_defer(refuse, r);
        return;
    }
    if (!self.begun)
        begin();
    struct op *op = mem_alloc(sizeof *op + size);
    *op =
        (struct op){.fn = fn, .judge = judge, .arg = arg, .since_us = loop_now_us(), .size = size};
    op->in_when = when.n != 0;
    struct filter_ask ask = {
        .size = (uint32_t)size, .when_n = (uint32_t)when.n, .program_n = (uint32_t)program.n};
    const struct str parts[] = {{(const char *)&ask, sizeof ask}, when, program, json};
    char *at = op->frame;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].n != 0)
            memcpy(at, parts[i].p, parts[i].n);
        at += parts[i].n;
    }
    self.bytes += size;
    struct host *h = host_of(op);
    list_append(&h->queue, &op->node);
    if (!timer_armed(h->timer))
        timer_every(h->timer, TICK_MS);
    plan_pump();
}

void filter_run(struct str program, struct str json, filter_fn fn, void *arg)
{
    run((struct str){NULL, 0}, program, json, fn, NULL, arg);
}

void filter_judge(const char *when, const char *input, struct str event, filter_judge_fn fn,
                  void *arg)
{
    run(str_of(when), str_of(input), event, NULL, fn, arg);
}

void filter_stop(void)
{
    self.stopping = true;
    if (!self.begun)
        return;
    for (size_t i = 0; i < 2; i++) {
        struct host *h = &self.hosts[i];
        timer_free(h->timer);
        h->timer = NULL;
        h->ending = true;
        struct list *const lists[] = {&h->sent, &h->queue};
        for (size_t k = 0; k < 2; k++) {
            list_each_safe(node, lists[k])
                fail(container_of(node, struct op, node), ERR_CANCELLED, "refused",
                     "the server is stopping");
        }
        if (h->proc != NULL)
            proc_kill(h->proc);
    }
    stopped();
}
