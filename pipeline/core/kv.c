/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation is one malloc'd struct that owns copies of what it needs to make its call again, because a call that was made with an
 * old registry (ERR_STALE) is built anew after the registry was read. */
#include "core/kv.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/pattern.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/event.h"
#include "core/listen.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

enum { PAGE = 500 };

struct put_op {
    size_t n;
    struct kv_put *puts; /* slices of bytes */
    char *bytes;
    kv_put_fn fn;
    void *arg;
};

static void send_put(struct put_op *op);

static void finish_put(struct put_op *op, const int64_t *versions, const struct err *e)
{
    op->fn(op->arg, op->n, versions, e);
    mem_free(op->puts);
    mem_free(op->bytes);
    mem_free(op);
}

static void on_put_refreshed(void *arg, const struct err *e)
{
    struct put_op *op = arg;
    if (e != NULL)
        finish_put(op, NULL, e);
    else
        send_put(op);
}

static void on_put(void *arg, const struct reply *r, const struct err *e)
{
    struct put_op *op = arg;
    for (size_t i = 0; e != NULL && i < op->n; i++)
        listen_unwrote(op->puts[i].key);
    if (e != NULL && e->code == ERR_STALE) {
        stage_refresh(NULL, on_put_refreshed, op);
        return;
    }
    if (e != NULL) {
        finish_put(op, NULL, e);
        return;
    }
    int64_t *versions = mem_zero(op->n, sizeof *versions);
    for (size_t i = 0; i < op->n; i++) {
        versions[i] = reply_int(reply_at(r, i));
        if (versions[i] <= 0)
            listen_unwrote(op->puts[i].key);
    }
    metric_add(METRIC_KV_WRITES, (double)op->n);
    finish_put(op, versions, NULL);
    mem_free(versions);
}

static void send_put(struct put_op *op)
{
    struct args a = {0};
    struct buf text = {0};
    args_text(&a, stage_epoch());
    args_int(&a, store_config()->set.event_log_max);
    for (size_t i = 0; i < op->n; i++) {
        const struct kv_put *p = &op->puts[i];
        char sum[CODEC_SUM];
        codec_sum(sum, p->value);
        args_add(&a, p->key);
        args_add(&a, p->value);
        args_text(&a, str_of(sum));
        args_int(&a, p->if_version);
        struct buf bumps = {0};
        buf_clear(&text);
        stage_feeds(&text, &bumps, p->key);
        args_text(&a, buf_view(&text));
        args_text(&a, buf_view(&bumps));
        buf_clear(&text);
        buf_puts(&text, "key.put\t");
        stage_run_of(&text, p->key);
        buf_char(&text, '\t');
        buf_str(&text, p->key);
        buf_puts(&text, "\t{\"size\":");
        buf_u64(&text, p->value.n);
        args_text(&a, buf_view(&text));
        buf_finish(&bumps);
    }
    store_call("put", a.n, a.v, on_put, op);
    for (size_t i = 0; i < op->n; i++)
        listen_wrote(op->puts[i].key);
    buf_finish(&text);
    args_finish(&a);
}

void kv_put(size_t n, const struct kv_put *puts, kv_put_fn fn, void *arg)
{
    must(n > 0 && n <= PAGE);
    struct put_op *op = mem_new(struct put_op);
    *op = (struct put_op){.n = n, .puts = mem_zero(n, sizeof *puts), .fn = fn, .arg = arg};
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += puts[i].key.n + puts[i].value.n;
    op->bytes = mem_alloc(total);
    char *at = op->bytes;
    for (size_t i = 0; i < n; i++) {
        op->puts[i] = (struct kv_put){
            {at, puts[i].key.n}, {at + puts[i].key.n, puts[i].value.n}, puts[i].if_version};
        memcpy(at, puts[i].key.p, puts[i].key.n);
        at += puts[i].key.n;
        if (puts[i].value.n != 0)
            memcpy(at, puts[i].value.p, puts[i].value.n);
        at += puts[i].value.n;
    }
    send_put(op);
}

struct get_op {
    size_t n;
    struct str *keys;
    char *bytes;
    bool with_values;
    kv_get_fn fn;
    void *arg;
};

static void free_get(struct get_op *op)
{
    mem_free(op->keys);
    mem_free(op->bytes);
    mem_free(op);
}

static void on_peek(void *arg, const struct reply *r, const struct err *e)
{
    struct get_op *op = arg;
    if (e != NULL) {
        op->fn(op->arg, 0, NULL, e);
        free_get(op);
        return;
    }
    struct kv_value *values = mem_zero(op->n, sizeof *values);
    struct buf *decoded = mem_zero(op->n, sizeof *decoded);
    for (size_t i = 0; i < op->n; i++) {
        struct kv_value *v = &values[i];
        struct codec_meta meta = codec_meta(reply_str(reply_at(r, 3 * i + 2)));
        const struct reply *value = reply_at(r, 3 * i);
        v->key = op->keys[i];
        v->version = reply_int(reply_at(r, 3 * i + 1));
        if (!op->with_values) {
            v->size = codec_size(meta.encoding, (size_t)reply_int(value));
            if (v->version == 0 && v->size != 0)
                v->version = 1; /* a foreign write that is not adopted yet */
            continue;
        }
        if (reply_type(value) == REPLY_NIL) {
            v->version = 0;
            continue;
        }
        v->value = reply_str(value);
        if (v->value.p == NULL)
            v->value = STR("");
        if (v->version == 0)
            v->version = 1;
        if (meta.encoding.n != 0) {
            if (!codec_decode(&decoded[i], v->value, meta.encoding))
                log_error("kv", "undecodable", "key=%s", log_quote(v->key));
            v->value = buf_view(&decoded[i]);
        }
        v->size = v->value.n;
    }
    op->fn(op->arg, op->n, values, NULL);
    for (size_t i = 0; i < op->n; i++)
        buf_finish(&decoded[i]);
    mem_free(decoded);
    mem_free(values);
    free_get(op);
}

static void peek(size_t n, const struct str *keys, bool with_values, kv_get_fn fn, void *arg)
{
    must(n <= PAGE * 4);
    struct get_op *op = mem_new(struct get_op);
    *op = (struct get_op){.n = n,
                          .keys = mem_zero(n, sizeof *keys),
                          .with_values = with_values,
                          .fn = fn,
                          .arg = arg};
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += keys[i].n;
    op->bytes = mem_alloc(total);
    char *at = op->bytes;
    struct args a = {0};
    args_add(&a, with_values ? STR("1") : STR("0"));
    for (size_t i = 0; i < n; i++) {
        memcpy(at, keys[i].p, keys[i].n);
        op->keys[i] = (struct str){at, keys[i].n};
        at += keys[i].n;
        args_add(&a, op->keys[i]);
    }
    store_call("peek", a.n, a.v, on_peek, op);
    args_finish(&a);
}

void kv_get(size_t n, const struct str *keys, kv_get_fn fn, void *arg)
{
    peek(n, keys, true, fn, arg);
}

struct del_op {
    char *key;
    kv_del_fn fn;
    void *arg;
};

static void on_del(void *arg, const struct reply *r, const struct err *e)
{
    struct del_op *op = arg;
    op->fn(op->arg, e == NULL ? reply_int(r) : 0, e);
    mem_free(op);
}

void kv_del(struct str key, int64_t if_version, kv_del_fn fn, void *arg)
{
    struct del_op *op = mem_new(struct del_op);
    *op = (struct del_op){.fn = fn, .arg = arg};
    struct args a = {0};
    args_text(&a, stage_epoch());
    args_int(&a, store_config()->set.event_log_max);
    args_add(&a, key);
    args_int(&a, if_version);
    store_call("del", a.n, a.v, on_del, op);
    args_finish(&a);
}

struct list_op {
    char *pattern;
    bool with_values;
    uint64_t next;
    kv_list_fn fn;
    void *arg;
};

static void finish_list(struct list_op *op, size_t n, const struct kv_value *values, uint64_t next,
                        const struct err *e)
{
    op->fn(op->arg, n, values, next, e);
    mem_free(op->pattern);
    mem_free(op);
}

static void on_listed(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct list_op *op = arg;
    size_t kept = 0;
    struct kv_value *there = mem_zero(n, sizeof *there);
    for (size_t i = 0; i < n; i++) {
        if (values[i].version != 0)
            there[kept++] = values[i];
    }
    finish_list(op, kept, there, op->next, e);
    mem_free(there);
}

static void on_scan(void *arg, const struct reply *r, const struct err *e)
{
    struct list_op *op = arg;
    if (e != NULL) {
        finish_list(op, 0, NULL, 0, e);
        return;
    }
    uint64_t next = 0;
    str_u64(reply_str(reply_at(r, 0)), &next);
    op->next = next;
    const struct reply *names = reply_at(r, 1);
    size_t n = 0;
    struct str *keys = mem_zero(reply_len(names), sizeof *keys);
    const size_t prefix = sizeof "hm:kv:" - 1;
    for (size_t i = 0; i < reply_len(names); i++) {
        struct str name = reply_str(reply_at(names, i));
        struct str key = {name.p + prefix, name.n - prefix};
        if (pattern_matches(str_of(op->pattern), key, NULL))
            keys[n++] = key;
    }
    if (n == 0)
        finish_list(op, 0, NULL, next, NULL);
    else
        peek(n, keys, op->with_values, on_listed, op);
    mem_free(keys);
}

void kv_list(struct str pattern, bool with_values, uint64_t cursor, kv_list_fn fn, void *arg)
{
    struct list_op *op = mem_new(struct list_op);
    *op = (struct list_op){
        .pattern = mem_dup(pattern.p, pattern.n), .with_values = with_values, .fn = fn, .arg = arg};
    struct buf glob = {0};
    buf_puts(&glob, "hm:kv:");
    pattern_glob(&glob, pattern);
    char from[24];
    struct buf number = {0};
    buf_u64(&number, cursor);
    memcpy(from, number.p, number.n + 1);
    if (store_up()) {
        redis_cmd(store_work(), on_scan, op, "SCAN", from, "MATCH", glob.p, "COUNT", "500", NULL);
    } else {
        struct str none[] = {STR("0")};
        store_call("peek", 1, none, on_scan, op); /* answers with the error of the day */
    }
    buf_finish(&number);
    buf_finish(&glob);
}

/* A watch: the position in the event log first, then the keys that are there, then what the log says changed since. Changes are
 * collected while a read is under way, a key once. */
struct changed {
    char *key;
};

struct kv_watch {
    char *pattern;
    kv_watch_fn fn;
    void *arg;
    struct event_reader *reader;
    uint64_t after;
    struct changed *changed;
    size_t n;
    size_t cap;
    bool reading;
    bool stopped;
    int busy; /* calls under way that will come back to this struct */
};

static void free_watch(struct kv_watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        mem_free(w->changed[i].key);
    mem_free(w->changed);
    mem_free(w->pattern);
    mem_free(w);
}

/* Ends a call's hold on w; true: w was stopped meanwhile and is gone now or soon. */
static bool came_back(struct kv_watch *w)
{
    w->busy--;
    if (w->stopped && w->busy == 0)
        free_watch(w);
    else if (!w->stopped)
        return false;
    return true;
}

static void read_changed(struct kv_watch *w);

static void on_changed_read(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct kv_watch *w = arg;
    if (came_back(w))
        return;
    w->reading = false;
    for (size_t i = 0; i < n && e == NULL && !w->stopped; i++)
        w->fn(w->arg, values[i].version == 0 ? KV_DELETED : KV_CHANGED, &values[i]);
    if (!w->stopped)
        read_changed(w);
}

static void read_changed(struct kv_watch *w)
{
    if (w->reading || w->n == 0)
        return;
    size_t n = w->n < PAGE ? w->n : PAGE;
    struct str *keys = mem_zero(n, sizeof *keys);
    for (size_t i = 0; i < n; i++)
        keys[i] = str_of(w->changed[i].key);
    w->reading = true;
    w->busy++;
    kv_get(n, keys, on_changed_read, w);
    for (size_t i = 0; i < n; i++)
        mem_free(w->changed[i].key);
    memmove(w->changed, w->changed + n, (w->n - n) * sizeof *w->changed);
    w->n -= n;
    mem_free(keys);
}

static void list_again(struct kv_watch *w);

static void on_watch_event(void *arg, const struct event *ev, const struct err *e)
{
    struct kv_watch *w = arg;
    if (e != NULL) {
        if (e->code == ERR_NOT_FOUND) { /* the log is trimmed behind us: look at all again */
            event_stop(w->reader);
            w->reader = NULL;
            list_again(w);
        }
        return;
    }
    if (ev->key.n == 0 || !pattern_matches(str_of(w->pattern), ev->key, NULL))
        return;
    if (!str_starts(ev->kind, "key.") && !str_is(ev->kind, "step.done") &&
        !str_is(ev->kind, "run.queued"))
        return;
    for (size_t i = 0; i < w->n; i++) {
        if (str_is(ev->key, w->changed[i].key))
            return;
    }
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 16 : 2 * w->cap;
        w->changed = mem_resize(w->changed, w->cap * sizeof *w->changed);
    }
    w->changed[w->n++] = (struct changed){.key = mem_dup(ev->key.p, ev->key.n)};
    read_changed(w);
}

static void on_watch_page(void *arg, size_t n, const struct kv_value *values, uint64_t next,
                          const struct err *e)
{
    struct kv_watch *w = arg;
    if (came_back(w))
        return;
    for (size_t i = 0; i < n && !w->stopped; i++)
        w->fn(w->arg, KV_VALUE, &values[i]);
    if (w->stopped)
        return;
    if (e != NULL || next == 0) {
        w->reader = event_read(w->after, on_watch_event, w);
        w->fn(w->arg, KV_READY, NULL);
        return;
    }
    w->busy++;
    kv_list(str_of(w->pattern), true, next, on_watch_page, w);
}

static void on_watch_last(void *arg, uint64_t last, const struct err *e)
{
    struct kv_watch *w = arg;
    if (came_back(w))
        return;
    w->after = e == NULL ? last : EVENT_NOW;
    w->busy++;
    kv_list(str_of(w->pattern), true, 0, on_watch_page, w);
}

static void list_again(struct kv_watch *w)
{
    w->busy++;
    event_last(on_watch_last, w);
}

static void let_go(void *arg)
{
    came_back(arg);
}

struct kv_watch *kv_watch_start(struct str pattern, kv_watch_fn fn, void *arg)
{
    struct kv_watch *w = mem_new(struct kv_watch);
    *w = (struct kv_watch){.pattern = mem_dup(pattern.p, pattern.n), .fn = fn, .arg = arg};
    list_again(w);
    return w;
}

void kv_watch_stop(struct kv_watch *w)
{
    if (w == NULL)
        return;
    w->stopped = true;
    if (w->reader != NULL)
        event_stop(w->reader);
    w->reader = NULL;
    /* Freed now, or by the last call that comes back; later in the turn when fn is what called us. */
    w->busy++;
    loop_defer(let_go, w);
}
