/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger is a stream whose entries hold the lines of one call each, newest last. A page is read backwards; its cursor is
 * "ENTRY/LINE", the place where the next page goes on. A line is found by its id by reading backwards through the (bounded) ledger. That costs nothing on the accept path, where it matters. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/kv.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    WAIT_MAX = 1000,
    BATCH_MAX = 50,
    KEPT_MAX = 500,
    PAGE = 50,
    SEARCH_PAGE = 500,
    LINES_MAX = 512
};

struct waiting {
    struct buf line; /* without its end */
    char id[ID_SIZE];
    char *hook;
    char *headers;
    struct buf body;
};

static struct {
    struct waiting *waiting; /* WAIT_MAX of them, made at first use */
    size_t n;
    bool planned;
    bool listening;
    size_t dropped;
} self;

static void flush(void *arg);

static void plan_flush(void)
{
    if (self.planned)
        return;
    self.planned = true;
    loop_defer(flush, NULL);
}

static void on_state(void *arg, bool up)
{
    (void)arg;
    if (up && self.n != 0)
        plan_flush();
}

static void flush(void *arg)
{
    (void)arg;
    self.planned = false;
    if (!store_up() || self.n == 0)
        return;
    size_t n = self.n < BATCH_MAX ? self.n : BATCH_MAX;
    struct args a = {0};
    args_int(&a, store_config()->set.event_log_max);
    args_int(&a, store_config()->set.ledger_max);
    args_int(&a, KEPT_MAX);
    for (size_t i = 0; i < n; i++) {
        struct waiting *w = &self.waiting[i];
        args_add(&a, buf_view(&w->line));
        args_add(&a, str_of(w->id));
        args_add(&a, str_of(w->hook));
        args_add(&a, str_of(w->headers));
        args_add(&a, buf_view(&w->body));
    }
    store_call("ledger", a.n, a.v, NULL, NULL);
    args_finish(&a);
    for (size_t i = 0; i < n; i++) {
        buf_finish(&self.waiting[i].line);
        buf_finish(&self.waiting[i].body);
        mem_free(self.waiting[i].hook);
        mem_free(self.waiting[i].headers);
    }
    self.n -= n;
    memmove(self.waiting, self.waiting + n, self.n * sizeof *self.waiting);
    if (self.n != 0)
        plan_flush();
}

void ledger_add(const struct ledger_line *l)
{
    if (self.waiting == NULL)
        self.waiting = mem_zero(WAIT_MAX, sizeof *self.waiting);
    if (!self.listening) {
        self.listening = true;
        store_on_state(on_state, NULL);
    }
    if (self.n == WAIT_MAX) {
        if (self.dropped++ % 1000 == 0)
            log_warn("ledger", "full",
                     "dropped=%zu hint=\"Redis is away; lines of refused deliveries are not kept "
                     "any more\"",
                     self.dropped);
        return;
    }
    struct waiting *w = &self.waiting[self.n++];
    *w = (struct waiting){.hook = mem_dup(l->hook.p, l->hook.n),
                          .headers = mem_dup(l->headers.p, l->headers.n)};
    memcpy(w->id, l->delivery_id, sizeof w->id);
    buf_str(&w->body, l->body);
    buf_char(&w->line, '{');
    buf_json_field(&w->line, "id", str_of(l->delivery_id));
    buf_json_field(&w->line, "hook", l->hook);
    buf_json_field(&w->line, "event", l->event);
    buf_json_field(&w->line, "delivery", l->external_id);
    buf_json_key(&w->line, "received_at");
    buf_char(&w->line, '"');
    clock_rfc3339(&w->line, l->received_ms * 1000);
    buf_char(&w->line, '"');
    buf_json_field_int(&w->line, "size", l->size);
    buf_json_field(&w->line, "peer", l->peer);
    buf_json_field(&w->line, "outcome", str_of(l->outcome));
    buf_json_field_int(&w->line, "status", l->status);
    buf_json_field(&w->line, "reason", l->reason);
    buf_json_field_bool(&w->line, "kept", l->body.n != 0);
    log_redact(&w->line, 0);
    plan_flush();
}

/* Reading. */

struct read_op {
    /* of a list */
    struct buf out;
    size_t want;
    size_t n;
    char *outcome;
    size_t skip_below; /* in the first entry: lines from here on were on the page before */
    char next[64];
    /* of a search */
    char *id;
    run_json_fn fn;
    ledger_body_fn body_fn;
    void *arg;
};

static void free_read(struct read_op *op)
{
    buf_finish(&op->out);
    mem_free(op->outcome);
    mem_free(op->id);
    mem_free(op);
}

/* A stored line with its time as people write it. */
static void add_line(struct buf *out, struct str line)
{
    const char *at = NULL;
    static const char mark[] = ",\"at\":";
    for (size_t i = line.n; i-- > 0 && at == NULL;) {
        if (line.n - i >= sizeof mark - 1 && memcmp(line.p + i, mark, sizeof mark - 1) == 0)
            at = line.p + i;
    }
    uint64_t ms;
    struct str digits = {at, 0};
    if (at != NULL)
        digits = (struct str){at + sizeof mark - 1, (size_t)(line.p + line.n - at) - sizeof mark};
    if (at == NULL || !str_u64(digits, &ms)) {
        buf_str(out, line);
        return;
    }
    buf_add(out, line.p, (size_t)(at - line.p) + sizeof mark - 1);
    buf_char(out, '"');
    clock_rfc3339(out, (int64_t)ms * 1000);
    buf_puts(out, "\"}");
}

static bool has(struct str line, const char *field, const char *value)
{
    struct buf want = {0};
    buf_char(&want, '"');
    buf_puts(&want, field);
    buf_puts(&want, "\":");
    buf_json_str(&want, str_of(value));
    bool found = memmem(line.p, line.n, want.p, want.n) != NULL;
    buf_finish(&want);
    return found;
}

static size_t lines_of(const struct reply *entry, struct str *lines, size_t max)
{
    struct str rest = reply_str(reply_at(reply_at(entry, 1), 3));
    size_t n = 0;
    while (rest.p != NULL && n < max)
        lines[n++] = str_split(&rest, '\n');
    return n;
}

static void read_page(struct read_op *op, const char *from);

static void finish_list(struct read_op *op, const struct err *e)
{
    buf_char(&op->out, ']');
    op->fn(op->arg, buf_view(&op->out), str_of(op->next), e);
    free_read(op);
}

static void on_page(void *arg, const struct reply *r, const struct err *e)
{
    struct read_op *op = arg;
    if (e != NULL) {
        finish_list(op, e);
        return;
    }
    struct str lines[LINES_MAX];
    char last[64] = "";
    for (size_t i = 0; i < reply_len(r); i++) {
        struct str name = reply_str(reply_at(reply_at(r, i), 0));
        size_t n = lines_of(reply_at(r, i), lines, LINES_MAX);
        snprintf(last, sizeof last, "(%.*s", (int)name.n, name.p);
        if (op->skip_below < n)
            n = op->skip_below;
        op->skip_below = SIZE_MAX;
        while (n-- > 0) {
            if (op->outcome != NULL && !has(lines[n], "outcome", op->outcome))
                continue;
            if (op->n == op->want) {
                snprintf(op->next, sizeof op->next, "%.*s/%zu", (int)name.n, name.p, n + 1);
                finish_list(op, NULL);
                return;
            }
            if (op->n++ != 0)
                buf_char(&op->out, ',');
            add_line(&op->out, lines[n]);
        }
    }
    if (reply_len(r) == PAGE)
        read_page(op, last);
    else
        finish_list(op, NULL);
}

static void read_page(struct read_op *op, const char *from)
{
    redis_cmd(store_work(), on_page, op, "XREVRANGE", "hm:ledger", from, "-", "COUNT", "50", NULL);
}

void ledger_list(struct str cursor, size_t limit, const char *outcome, run_json_fn fn, void *arg)
{
    struct read_op *op = mem_new(struct read_op);
    *op = (struct read_op){.want = limit,
                           .outcome = mem_strdup(outcome),
                           .skip_below = SIZE_MAX,
                           .fn = fn,
                           .arg = arg};
    buf_char(&op->out, '[');
    struct str rest = cursor;
    struct str entry = str_split(&rest, '/');
    uint64_t line;
    char from[64] = "+";
    if (entry.n != 0 && entry.n < sizeof from && str_u64(rest, &line)) {
        memcpy(from, entry.p, entry.n);
        from[entry.n] = '\0';
        op->skip_below = line;
    }
    read_page(op, from);
}

static void finish_search(struct read_op *op, struct str line, const struct err *e)
{
    struct err none;
    if (e == NULL && line.p == NULL) {
        err_fail(&none, ERR_NOT_FOUND, "there is no delivery %s in the ledger (any more)", op->id);
        e = &none;
    }
    buf_clear(&op->out);
    if (line.p != NULL)
        add_line(&op->out, line);
    op->fn(op->arg, buf_view(&op->out), (struct str){NULL, 0}, e);
    free_read(op);
}

static void search(struct read_op *op, const char *from);

static void on_searched(void *arg, const struct reply *r, const struct err *e)
{
    struct read_op *op = arg;
    struct str lines[LINES_MAX];
    char last[64] = "";
    if (e != NULL) {
        finish_search(op, (struct str){NULL, 0}, e);
        return;
    }
    for (size_t i = 0; i < reply_len(r); i++) {
        struct str name = reply_str(reply_at(reply_at(r, i), 0));
        size_t n = lines_of(reply_at(r, i), lines, LINES_MAX);
        snprintf(last, sizeof last, "(%.*s", (int)name.n, name.p);
        while (n-- > 0) {
            if (has(lines[n], "id", op->id) || has(lines[n], "delivery", op->id)) {
                finish_search(op, lines[n], NULL);
                return;
            }
        }
    }
    if (reply_len(r) == SEARCH_PAGE)
        search(op, last);
    else
        finish_search(op, (struct str){NULL, 0}, NULL);
}

static void search(struct read_op *op, const char *from)
{
    redis_cmd(store_work(), on_searched, op, "XREVRANGE", "hm:ledger", from, "-", "COUNT", "500",
              NULL);
}

void ledger_get(struct str id, run_json_fn fn, void *arg)
{
    struct read_op *op = mem_new(struct read_op);
    *op = (struct read_op){.id = mem_dup(id.p, id.n), .fn = fn, .arg = arg};
    search(op, "+");
}

/* Bodies: of a run in its input key, of others in hm:kept. */

struct body_op {
    char *id;
    char *hook;
    char *run;
    ledger_body_fn fn;
    void *arg;
};

static void finish_body(struct body_op *op, const struct ledger_body *b, const struct err *e)
{
    op->fn(op->arg, b, e);
    mem_free(op->id);
    mem_free(op->hook);
    mem_free(op->run);
    mem_free(op);
}

static void no_body(struct body_op *op)
{
    struct err e;
    err_fail(&e, ERR_NOT_FOUND, "the body of delivery %s was not kept, or is gone by now", op->id);
    finish_body(op, NULL, &e);
}

static void on_kept(void *arg, const struct reply *r, const struct err *e)
{
    struct body_op *op = arg;
    if (e != NULL) {
        finish_body(op, NULL, e);
        return;
    }
    for (size_t i = 0; i < reply_len(r); i++) {
        const struct reply *f = reply_at(reply_at(r, i), 1);
        if (!str_is(reply_str(reply_at(f, 1)), op->id))
            continue;
        struct ledger_body b = {.hook = reply_str(reply_at(f, 3)),
                                .headers = reply_str(reply_at(f, 5)),
                                .body = reply_str(reply_at(f, 7))};
        finish_body(op, &b, NULL);
        return;
    }
    no_body(op);
}

/* The envelope is ours: {...,"headers":{...},"payload":RAW}. Header names are from a fixed list, so the first ,"payload": is the one. */
static void take_envelope(struct body_op *op, struct str v)
{
    static const char headers_mark[] = ",\"headers\":";
    static const char payload_mark[] = ",\"payload\":";
    const char *payload = memmem(v.p, v.n, payload_mark, sizeof payload_mark - 1);
    const char *headers = memmem(v.p, v.n, headers_mark, sizeof headers_mark - 1);
    if (payload == NULL || headers == NULL || headers > payload) {
        no_body(op);
        return;
    }
    headers += sizeof headers_mark - 1;
    struct ledger_body b = {
        .hook = str_of(op->hook), .headers = {headers, (size_t)(payload - headers)}, .json = true};
    b.body.p = payload + sizeof payload_mark - 1;
    b.body.n = (size_t)(v.p + v.n - b.body.p) - 1;
    finish_body(op, &b, NULL);
}

static void on_envelope(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct body_op *op = arg;
    if (e != NULL)
        finish_body(op, NULL, e);
    else if (n == 0 || values[0].version == 0)
        no_body(op);
    else
        take_envelope(op, values[0].value);
}

/* The input was made from the envelope, which is kept beside it: "ENCODING<newline>" and its bytes. */
static void on_origin(void *arg, const struct reply *r, const struct err *e)
{
    struct body_op *op = arg;
    struct str bytes = e == NULL ? reply_str(r) : (struct str){NULL, 0};
    struct str encoding = str_split(&bytes, '\n');
    struct buf plain = {0};
    if (e != NULL)
        finish_body(op, NULL, e);
    else if (bytes.p == NULL || (encoding.n != 0 && !codec_decode(&plain, bytes, encoding)))
        no_body(op);
    else
        take_envelope(op, encoding.n != 0 ? buf_view(&plain) : bytes);
    buf_finish(&plain);
}

static void on_record(void *arg, const struct reply *r, const struct err *e)
{
    struct body_op *op = arg;
    struct err why;
    struct buf text = {0};
    buf_str(&text, reply_str(r));
    buf_char(&text, '}'); /* it is kept without its end */
    struct json *rec = e == NULL && text.n > 1 ? json_parse(buf_view(&text), &why) : NULL;
    struct str key = json_str(json_get(rec, "key"));
    if (e != NULL) {
        finish_body(op, NULL, e);
    } else if (key.n == 0) {
        no_body(op);
    } else if (json_bool(json_get(rec, "shaped"), false)) {
        char *name = mem_format("hm:origin:%s", op->run);
        redis_cmd(store_work(), on_origin, op, "GET", name, NULL);
        mem_free(name);
    } else {
        kv_get(1, &key, on_envelope, op);
    }
    json_free(rec);
    buf_finish(&text);
}

static void on_line(void *arg, struct str text, struct str next, const struct err *e)
{
    (void)next;
    struct body_op *op = arg;
    if (e != NULL) {
        finish_body(op, NULL, e);
        return;
    }
    struct err why;
    struct json *line = json_parse(text, &why);
    struct str run = json_str(json_get(line, "run"));
    struct str hook = json_str(json_get(line, "hook"));
    struct str id = json_str(json_get(line, "id"));
    op->hook = mem_dup(hook.p, hook.n);
    op->run = mem_dup(run.p, run.n);
    mem_free(op->id);
    op->id = mem_dup(id.p, id.n);
    if (run.n != 0) {
        char *name = mem_format("hm:run:%.*s", (int)run.n, run.p);
        redis_cmd(store_work(), on_record, op, "HGET", name, "rec", NULL);
        mem_free(name);
    } else {
        redis_cmd(store_work(), on_kept, op, "XREVRANGE", "hm:kept", "+", "-", NULL);
    }
    json_free(line);
}

void ledger_body(struct str id, ledger_body_fn fn, void *arg)
{
    struct body_op *op = mem_new(struct body_op);
    *op = (struct body_op){.id = mem_dup(id.p, id.n), .fn = fn, .arg = arg};
    ledger_get(id, on_line, op);
}
