/* SPDX-License-Identifier: Apache-2.0 */
/* One key by one request. The value is the body, as it came, so that curl and a browser can use it without unwrapping; what is said about it
 * stands in headers. The version is the ETag, and the preconditions of HTTP are the compare-and-set.
 *
 * If-Match: * (any version, but there must be one) has no counterpart below: it is a read and then a write of that
 * version, again if somebody came in between. */
#include "handlers/keys.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/kv.h"
#include "core/store.h"
#include "handlers/query.h"

enum { BIG = 1 << 20, EXISTS_TRIES = 8, TEXT_SHOWN = 120 };

static size_t key_max(void)
{
    const struct config *c = store_config();
    return c ? (size_t)c->set.key_max : 1024;
}

bool keys_is_json(struct str value)
{
    static struct jscan *kept;
    if (!kept)
        kept = jscan_new();
    /* A scanner's buffers grow to its largest document, and would stay that large. */
    struct jscan *s = value.n > BIG ? jscan_new() : kept;
    bool ok = jscan_parse(s, value, NULL);
    if (s != kept)
        jscan_free(s);
    return ok;
}

void keys_add_value(struct buf *out, struct str value, bool one_line)
{
    if (keys_is_json(value)) {
        buf_json_field_raw(out, "value", value);
        /* Outside of strings JSON has line breaks only as space, and in strings it can have none. */
        for (size_t i = out->n - value.n; one_line && i < out->n; i++)
            if (out->p[i] == '\n' || out->p[i] == '\r')
                out->p[i] = ' ';
    } else if (str_utf8_valid(value)) {
        buf_json_field(out, "text", value);
    } else {
        buf_json_key(out, "base64");
        buf_char(out, '"');
        buf_base64(out, value.p, value.n);
        buf_char(out, '"');
    }
}

struct key_op {
    struct http_req *q;
    struct str key; /* lives as long as the request */
    int64_t want;   /* the request's: KV_ANY, QUERY_EXISTS, 0, N */
    int64_t asked;  /* of the core in this try */
    int tries;
    bool deletes;
};

/* The key of the path and what is demanded of it; false: answered. */
static bool begin(struct http_req *q, struct key_op *op)
{
    struct err e;
    *op = (struct key_op){.q = q, .key = http_wild(q)};
    if (key_check(op->key, key_max(), &e) &&
        query_precondition(http_header(q, "if-match"), http_header(q, "if-none-match"), &op->want,
                           &e))
        return true;
    http_reply_err(q, &e);
    return false;
}

static int shown(struct str s)
{
    return (int)(s.n < TEXT_SHOWN ? s.n : TEXT_SHOWN);
}

static void set_etag(struct http_req *q, int64_t version)
{
    struct buf tag = {0};
    buf_printf(&tag, "\"%lld\"", (long long)version);
    http_set_header(q, "etag", buf_view(&tag));
    buf_finish(&tag);
}

static void reply_missing(struct http_req *q, struct str key)
{
    http_problem(q, ERR_NOT_FOUND, "there is no key %.*s; PUT makes it", shown(key), key.p);
}

static void on_get(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct http_req *q = arg;
    if (e) {
        http_reply_err(q, e);
        return;
    }
    if (n == 0 || values[0].version == 0) {
        reply_missing(q, http_wild(q));
        return;
    }
    struct str have = http_header(q, "if-none-match");
    struct buf tag = {0};
    buf_printf(&tag, "\"%lld\"", (long long)values[0].version);
    http_set_header(q, "etag", buf_view(&tag));
    http_set_header(q, "cache-control", STR("no-cache"));
    if (have.p && str_eq(str_trim(have), buf_view(&tag)))
        http_reply(q, 304, NULL, STR(""));
    else
        http_reply(q, 200,
                   keys_is_json(values[0].value) ? "application/json" : "application/octet-stream",
                   values[0].value);
    buf_finish(&tag);
}

void keys_get(struct http_req *q)
{
    struct err e;
    struct str key = http_wild(q);
    if (key_check(key, key_max(), &e))
        kv_get(1, &key, on_get, q);
    else
        http_reply_err(q, &e);
}

static void reply_conflict(const struct key_op *op, int64_t current)
{
    struct err e;
    int n = shown(op->key);
    if (current > 0)
        set_etag(op->q, current);
    if (current == 0)
        err_fail(&e, ERR_PRECONDITION,
                 "there is no key %.*s (any more); write it with If-None-Match: * to make it", n,
                 op->key.p);
    else if (op->want == 0)
        err_fail(&e, ERR_PRECONDITION, "%.*s is there already, at version %lld", n, op->key.p,
                 (long long)current);
    else
        err_fail(&e, ERR_PRECONDITION,
                 "%.*s is at version %lld, not %lld: read it again and decide", n, op->key.p,
                 (long long)current, (long long)op->asked);
    http_reply_err(op->q, &e);
}

static void reply_version(const struct key_op *op, int status, int64_t version)
{
    struct buf out = {0};
    set_etag(op->q, version);
    buf_char(&out, '{');
    buf_json_field(&out, "key", op->key);
    buf_json_field_int(&out, "version", version);
    buf_char(&out, '}');
    http_reply_json(op->q, status, buf_view(&out));
    buf_finish(&out);
}

static void attempt(struct key_op *op);

/* True: another try goes on with op. */
static bool try_again(struct key_op *op)
{
    if (op->want != QUERY_EXISTS || ++op->tries >= EXISTS_TRIES)
        return false;
    attempt(op);
    return true;
}

static void on_put(void *arg, size_t n, const int64_t *versions, const struct err *e)
{
    struct key_op *op = arg;
    if (e)
        http_reply_err(op->q, e);
    else if (n == 1 && versions[0] > 0)
        reply_version(op, op->asked == 0 || versions[0] == 1 ? 201 : 200, versions[0]);
    else if (n == 1 && try_again(op))
        return;
    else
        reply_conflict(op, n == 1 ? -1 - versions[0] : 0);
    mem_free(op);
}

static void on_deleted(void *arg, int64_t result, const struct err *e)
{
    struct key_op *op = arg;
    if (e)
        http_reply_err(op->q, e);
    else if (result > 0)
        reply_version(op, 200, result);
    else if (result < 0 && try_again(op))
        return;
    else if (result < 0 || op->asked != KV_ANY)
        reply_conflict(op, result < 0 ? -1 - result : 0);
    else
        reply_missing(op->q, op->key);
    mem_free(op);
}

static void write_now(struct key_op *op)
{
    struct kv_put put = {op->key, http_body(op->q), op->asked};
    if (op->deletes)
        kv_del(op->key, op->asked, on_deleted, op);
    else
        kv_put(1, &put, on_put, op);
}

static void on_exists(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct key_op *op = arg;
    if (!e && n == 1 && values[0].version > 0) {
        op->asked = values[0].version;
        write_now(op);
        return;
    }
    if (e)
        http_reply_err(op->q, e);
    else
        reply_conflict(op, 0);
    mem_free(op);
}

static void attempt(struct key_op *op)
{
    op->asked = op->want;
    if (op->want == QUERY_EXISTS)
        kv_get(1, &op->key, on_exists, op);
    else
        write_now(op);
}

static void start(const struct key_op *first)
{
    struct key_op *op = mem_new(struct key_op);
    *op = *first;
    attempt(op);
}

void keys_put(struct http_req *q)
{
    struct key_op op;
    const struct config *c = store_config();
    if (!begin(q, &op))
        return;
    if (c && http_body(q).n > (size_t)c->set.value_max)
        http_problem(q, ERR_TOO_LARGE, "a value may have %lld bytes at most (setting value_max)",
                     (long long)c->set.value_max);
    else
        start(&op);
}

void keys_delete(struct http_req *q)
{
    struct key_op op;
    if (!begin(q, &op))
        return;
    op.deletes = true;
    if (op.want == 0)
        http_problem(q, ERR_BAD_INPUT, "what is not there cannot be deleted; send If-Match: \"N\"");
    else
        start(&op);
}
