/* SPDX-License-Identifier: Apache-2.0 */
/* Many keys in one request: a line each, {"key":...,"value":...[,"if_version":N]}, answered by a line each in the same order.
 *
 * The body is never whole in memory. Lines are parsed where they arrive, gathered into batches that are one atomic step of
 * Redis each, and a few batches are under way at once, because the trip to Redis is what takes the time. A batch keeps
 * of its lines only what the answer needs. Reading stops while enough is under way, and while the client does not
 * take its answers: it may send all before it reads anything, so a good deal of answers may wait, but not without bound.
 *
 * A line that makes no sense gets an error line of its own; the others go on. Without that, a million lines would
 * hang on the worst of them. */
#include "handlers/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/kv.h"
#include "core/store.h"
#include "net/loop.h"

enum {
    BATCH_LINES = 200,
    BATCH_BYTES = 4 << 20, /* of values; a single larger one goes alone */
    FLIGHTS = 4,
    UNSENT_MAX = 32 << 20, /* of answers */
    READ_AHEAD = 1 << 20,
    LINE_EXTRA = 65536, /* what a line may have besides its value */
    MAGIC = 0x6b62756c
};

struct line { /* what the answer to a line needs */
    uint64_t number;
    uint32_t key_at, key_n; /* in batch->text */
    uint32_t error_at, error_n;
    int put; /* its index among the puts; -1: it went wrong before */
};

struct batch {
    struct list link;
    struct bulk *bulk;
    struct buf text; /* keys and errors */
    struct line lines[BATCH_LINES];
    int64_t versions[BATCH_LINES]; /* results, or at first what was asked for */
    size_t n;
    size_t puts;
    bool finished;
};

struct bulk {
    uint32_t magic;
    struct http_req *q;
    struct bulk **handle; /* in the request's memory, for a piece that comes after the end */
    struct list batches;  /* in the order of their lines */
    size_t flights;
    struct buf in; /* what has come; parsed up to at */
    size_t at;
    size_t lines_ready; /* line ends in it behind at */
    uint64_t number;    /* of the last line */
    char *failure;      /* why the body broke off */
    bool skipping;      /* inside a line that is too long: up to its end */
    bool last;          /* no more of the body comes */
    bool reading;       /* a piece is on its way */
    bool begun;
    bool done; /* the request is answered: nothing more is written */
    size_t key_max, value_max;
};

static struct jscan *scanner;

static void pump(struct bulk *b);
static void on_drain(void *arg);

static void free_batch(struct batch *t)
{
    list_remove(&t->link);
    buf_finish(&t->text);
    mem_free(t);
}

static void release(struct bulk *b)
{
    if (b->flights > 0)
        return;
    list_each_safe(at, &b->batches)
        free_batch(container_of(at, struct batch, link));
    buf_finish(&b->in);
    mem_free(b->failure);
    b->magic = 0;
    loop_free_later(b);
}

static void begin(struct bulk *b)
{
    if (b->begun)
        return;
    b->begun = true;
    http_begin(b->q, 200, "application/x-ndjson");
}

static void write_failure(struct bulk *b)
{
    struct buf out = {0};
    buf_char(&out, '{');
    buf_json_field_int(&out, "line", (int64_t)b->number + 1);
    buf_json_field(&out, "error", str_of(b->failure));
    buf_puts(&out, "}\n");
    http_write(b->q, buf_view(&out));
    buf_finish(&out);
}

static void finish(struct bulk *b)
{
    http_on_gone(b->q, NULL, NULL);
    http_on_drain(b->q, NULL, NULL);
    begin(b);
    if (b->failure)
        write_failure(b);
    *b->handle = NULL;
    http_end(b->q);
    b->done = true;
    release(b);
}

static void on_gone(void *arg)
{
    struct bulk *b = arg;
    must(b->magic == MAGIC);
    finish(b);
}

/* The answer to one line. */
static void answer(const struct batch *t, const struct line *l, struct buf *out,
                   const char *failure)
{
    int64_t result = l->put < 0 ? 0 : t->versions[l->put];
    struct str key = {t->text.p + l->key_at, l->key_n};
    if (l->put >= 0 && !failure && result > 0) {
        buf_puts(out, "{\"key\":");
        buf_json_str(out, key);
        buf_puts(out, ",\"version\":");
        buf_u64(out, (uint64_t)result);
        buf_puts(out, "}\n");
        return;
    }
    buf_puts(out, "{\"line\":");
    buf_u64(out, l->number);
    if (l->key_n > 0)
        buf_json_field(out, "key", key);
    if (l->put < 0) {
        buf_json_field(out, "error", (struct str){t->text.p + l->error_at, l->error_n});
    } else if (failure) {
        buf_json_field(out, "error", str_of(failure));
    } else {
        buf_json_field(out, "error", STR("the key is at another version: read it and decide"));
        buf_json_field_int(out, "current_version", -1 - result);
    }
    buf_puts(out, "}\n");
}

static void write_finished(struct bulk *b)
{
    struct buf out = {0};
    list_each_safe(at, &b->batches) {
        struct batch *t = container_of(at, struct batch, link);
        if (!t->finished)
            break;
        for (size_t i = 0; i < t->n; i++)
            answer(t, &t->lines[i], &out, NULL);
        free_batch(t);
    }
    if (out.n > 0) {
        begin(b);
        http_write(b->q, buf_view(&out));
    }
    buf_finish(&out);
}

/* Redis failed a whole batch: its lines become errors, which keeps them in their order. */
static void fail_lines(struct batch *t, const struct err *e)
{
    size_t n = strlen(e->text);
    uint32_t at = (uint32_t)t->text.n;
    buf_add(&t->text, e->text, n);
    for (size_t i = 0; i < t->n; i++) {
        if (t->lines[i].put < 0)
            continue;
        t->lines[i].put = -1;
        t->lines[i].error_at = at;
        t->lines[i].error_n = (uint32_t)n;
    }
}

static void on_put(void *arg, size_t n, const int64_t *versions, const struct err *e)
{
    struct batch *t = arg;
    struct bulk *b = t->bulk;
    must(b->magic == MAGIC);
    b->flights--;
    t->finished = true;
    if (b->done) {
        release(b);
        return;
    }
    if (e)
        fail_lines(t, e);
    else
        memcpy(t->versions, versions, n * sizeof *versions);
    write_finished(b);
    pump(b);
}

static struct line *new_line(struct bulk *b, struct batch *t)
{
    struct line *l = &t->lines[t->n++];
    *l = (struct line){.number = b->number, .put = -1};
    return l;
}

static void wrong(struct batch *t, struct line *l, const char *why)
{
    l->error_at = (uint32_t)t->text.n;
    buf_puts(&t->text, why);
    l->error_n = (uint32_t)(t->text.n - l->error_at);
}

/* "if_version": absent is any. */
static bool read_version(struct str raw, int64_t *out)
{
    uint64_t n = 0;
    *out = KV_ANY;
    if (!raw.p)
        return true;
    if (!str_u64(raw, &n) || n > INT64_MAX)
        return false;
    *out = (int64_t)n;
    return true;
}

/* The key's text: a slice of the line, or of the scanner when it has escapes. */
static bool read_key(struct str raw, struct str *key)
{
    if (raw.n < 2 || raw.p[0] != '"')
        return false;
    *key = (struct str){raw.p + 1, raw.n - 2};
    if (memchr(raw.p, '\\', raw.n))
        *key = jscan_pick(scanner, "/key");
    return true;
}

static bool parse(struct bulk *b, struct str text, struct str *key, struct kv_put *put,
                  struct err *e)
{
    static const char *const names[] = {"key", "value", "if_version"};
    struct str raw[3];
    if (!jscan_parse(scanner, text, e))
        return false;
    if (!jscan_is_object(scanner))
        return err_fail(e, ERR_BAD_INPUT, "a line must be an object with key and value");
    struct str unknown = jscan_members(scanner, text, 3, names, raw);
    if (!read_key(raw[0], key))
        return err_fail(e, ERR_BAD_INPUT, "key is missing or not a string");
    if (unknown.p)
        return err_fail(e, ERR_BAD_INPUT,
                        "unknown member \"%.*s\"; known are key, value, if_version",
                        (int)(unknown.n < 60 ? unknown.n : 60), unknown.p);
    if (!raw[1].p)
        return err_fail(e, ERR_BAD_INPUT, "value is missing");
    if (!read_version(raw[2], &put->if_version))
        return err_fail(e, ERR_BAD_INPUT, "if_version must be a version: 0, 1, 2, ...");
    if (raw[1].n > b->value_max)
        return err_fail(e, ERR_TOO_LARGE,
                        "the value is larger than the setting value_max (%zu bytes)", b->value_max);
    put->value = raw[1];
    return key_check(*key, b->key_max, e);
}

static void take_line(struct bulk *b, struct batch *t, struct str text, struct kv_put *puts,
                      size_t *bytes)
{
    struct err e;
    struct str key = {0};
    struct kv_put put = {0};
    b->number++;
    if (str_trim(text).n == 0)
        return; /* an empty line has no answer */
    struct line *l = new_line(b, t);
    bool ok = parse(b, text, &key, &put, &e);
    l->key_at = (uint32_t)t->text.n;
    l->key_n = (uint32_t)(key.n <= b->key_max ? key.n : b->key_max);
    buf_add(&t->text, key.p, l->key_n);
    if (!ok) {
        wrong(t, l, e.text);
        return;
    }
    l->put = (int)t->puts;
    /* An escaped key lives in the scanner only until the next line, and text moves while it grows: the offset is made a slice when
     * the batch is full. */
    put.key = (struct str){NULL, l->key_n};
    t->versions[t->puts] = l->key_at;
    puts[t->puts++] = put;
    *bytes += put.value.n;
}

static void send(struct batch *t, struct kv_put *puts)
{
    for (size_t i = 0; i < t->puts; i++)
        puts[i].key.p = t->text.p + t->versions[i];
    t->bulk->flights++;
    kv_put(t->puts, puts, on_put, t); /* copies: the lines may go now */
}

/* The next line, without its end; the last one may have none. Call when there is one. */
static struct str next_line(struct bulk *b)
{
    struct str rest = {b->in.p + b->at, b->in.n - b->at};
    struct str line = str_split(&rest, '\n');
    b->at = rest.p ? (size_t)(rest.p - b->in.p) : b->in.n;
    if (b->lines_ready > 0)
        b->lines_ready--;
    return line;
}

static bool has_line(const struct bulk *b)
{
    return b->lines_ready > 0 || (b->last && b->at < b->in.n);
}

static void take_batch(struct bulk *b)
{
    static struct kv_put puts[BATCH_LINES];
    size_t bytes = 0;
    struct batch *t = mem_new(struct batch);
    t->bulk = b;
    while (t->n < BATCH_LINES && bytes < BATCH_BYTES && has_line(b))
        take_line(b, t, next_line(b), puts, &bytes);
    list_append(&b->batches, &t->link);
    if (t->puts > 0)
        send(t, puts);
    else
        t->finished = true;
}

static void refuse_long_line(struct bulk *b)
{
    struct batch *t = mem_new(struct batch);
    t->bulk = b;
    b->number++;
    wrong(t, new_line(b, t), "the line is too long for any value (setting value_max)");
    t->finished = true;
    list_append(&b->batches, &t->link);
    buf_finish(&b->in);
    b->at = 0;
    b->skipping = true;
}

/* A batch that is not full waits while others are under way, so that a body that comes in small pieces makes few steps, and a
 * single line is not held up. */
static bool may_send(const struct bulk *b)
{
    if (!has_line(b) || b->flights >= FLIGHTS)
        return false;
    return b->flights == 0 || b->last || b->lines_ready >= BATCH_LINES ||
           b->in.n - b->at >= BATCH_BYTES;
}

static void pump(struct bulk *b)
{
    while (may_send(b))
        take_batch(b);
    if (!b->last && b->lines_ready == 0 && b->in.n - b->at > b->value_max + LINE_EXTRA)
        refuse_long_line(b);
    write_finished(b);
    if (b->last && !has_line(b) && b->flights == 0) {
        finish(b);
        return;
    }
    bool room = b->in.n - b->at < READ_AHEAD || b->lines_ready == 0;
    if (b->last || b->reading || !room)
        return;
    if (b->begun && http_unsent(b->q) > UNSENT_MAX) {
        http_on_drain(b->q, on_drain, b);
        return;
    }
    b->reading = true;
    http_read_more(b->q);
}

static void on_drain(void *arg)
{
    struct bulk *b = arg;
    must(b->magic == MAGIC);
    pump(b);
}

/* Takes in what has come, without the rest of a line that was refused. */
static void take_in(struct bulk *b, struct str piece)
{
    if (b->skipping) {
        struct str rest = piece;
        str_split(&rest, '\n');
        b->skipping = rest.p == NULL;
        piece = rest;
    }
    if (b->at > 0)
        buf_drop(&b->in, b->at);
    b->at = 0;
    buf_add(&b->in, piece.p, piece.n);
    for (const char *p = piece.p, *end = piece.p + piece.n; p && p < end; b->lines_ready++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p)
            break;
        p++;
    }
}

static void on_piece(void *arg, struct str piece, bool last, const struct err *e)
{
    struct bulk **handle = arg;
    struct bulk *b = *handle;
    if (!b)
        return;
    must(b->magic == MAGIC);
    b->reading = false;
    if (e) {
        b->failure = mem_strdup(e->text);
        b->in.n = b->at; /* half a line must not be taken for a whole one */
        b->lines_ready = 0;
    } else {
        take_in(b, piece);
    }
    b->last = last || e;
    pump(b);
}

void keys_bulk(struct http_req *q)
{
    const struct config *c = store_config();
    if (!store_up() || !c) {
        http_problem(q, ERR_REDIS, "Redis is not reachable; nothing was written, try again");
        return;
    }
    if (!scanner)
        scanner = jscan_new();
    struct bulk *b = mem_new(struct bulk);
    b->magic = MAGIC;
    b->q = q;
    b->key_max = (size_t)c->set.key_max;
    b->value_max = (size_t)c->set.value_max;
    b->handle = http_alloc(q, sizeof(struct bulk *));
    *b->handle = b;
    list_init(&b->batches);
    b->reading = true;
    http_on_gone(q, on_gone, b);
    http_read_body(q, on_piece, b->handle);
}
