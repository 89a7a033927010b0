/* SPDX-License-Identifier: Apache-2.0 */
/* A listing is one JSON array, written page by page: the next page is asked for when the last one has gone out to the client, so that
 * a million keys take no more memory here than five hundred. An error after the first byte cannot be told any more; the
 * array is then left without its end, which no parser takes for a whole one. */
#include "handlers/keys.h"

#include "base/json.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/kv.h"
#include "core/store.h"
#include "handlers/query.h"
#include "net/loop.h"

enum { LIMIT_MAX = 10000000, MAGIC = 0x6b6c7374 };

struct listing {
    uint32_t magic;
    struct list link;
    struct http_req *q;
    char *pattern;
    uint64_t cursor;
    size_t left; /* keys that may still be listed */
    size_t n;    /* written */
    bool values;
    bool begun;
    bool asking;
    bool done;
};

static struct list open_list = {&open_list, &open_list};

static void release(struct listing *l)
{
    if (l->asking)
        return;
    l->magic = 0;
    mem_free(l->pattern);
    loop_free_later(l);
}

static void finish(struct listing *l, const struct err *e)
{
    http_on_gone(l->q, NULL, NULL);
    http_on_drain(l->q, NULL, NULL);
    if (!l->begun)
        http_reply_err(l->q, e);
    else if (e)
        http_end(l->q);
    else {
        http_write(l->q, STR("]\n"));
        http_end(l->q);
    }
    l->done = true;
    list_remove(&l->link);
    release(l);
}

static void finish_cut(struct listing *l)
{
    struct err e;
    err_fail(&e, ERR_UNAVAILABLE, "the server is stopping; ask again");
    finish(l, &e);
}

static void on_gone(void *arg)
{
    struct listing *l = arg;
    must(l->magic == MAGIC);
    finish_cut(l);
}

static void on_page(void *arg, size_t n, const struct kv_value *values, uint64_t next,
                    const struct err *e);

static void ask(void *arg)
{
    struct listing *l = arg;
    must(l->magic == MAGIC);
    l->asking = true;
    kv_list(str_of(l->pattern), l->values, l->cursor, on_page, l);
}

static void add(struct listing *l, struct buf *out, const struct kv_value *v)
{
    buf_puts(out, l->n++ == 0 ? "\n" : ",\n");
    buf_char(out, '{');
    buf_json_field(out, "key", v->key);
    buf_json_field_int(out, "version", v->version);
    buf_json_field_int(out, "size", (int64_t)v->size);
    if (l->values)
        keys_add_value(out, v->value, false);
    buf_char(out, '}');
    l->left--;
}

static void on_page(void *arg, size_t n, const struct kv_value *values, uint64_t next,
                    const struct err *e)
{
    struct listing *l = arg;
    must(l->magic == MAGIC);
    l->asking = false;
    if (l->done) {
        release(l);
        return;
    }
    if (e) {
        finish(l, e);
        return;
    }
    if (!l->begun) {
        l->begun = true;
        http_set_header(l->q, "cache-control", STR("no-store"));
        http_begin(l->q, 200, "application/json");
        http_write(l->q, STR("["));
    }
    struct buf out = {0};
    for (size_t i = 0; i < n && l->left > 0; i++)
        add(l, &out, &values[i]);
    http_write(l->q, buf_view(&out));
    buf_finish(&out);
    l->cursor = next;
    if (next == 0 || l->left == 0)
        finish(l, NULL);
    else
        http_on_drain(l->q, ask, l);
}

void keys_list(struct http_req *q)
{
    struct err e;
    bool watch = false, values = false;
    size_t limit = 0;
    struct str pattern = http_query(q, "match");
    const struct config *c = store_config();
    if (!pattern.p)
        pattern = STR(">");
    if (!pattern_check(pattern, c ? (size_t)c->set.key_max : 1024, &e) ||
        !query_flag(http_query(q, "watch"), &watch, &e) ||
        !query_flag(http_query(q, "values"), &values, &e) ||
        !query_limit(http_query(q, "limit"), LIMIT_MAX, LIMIT_MAX, &limit, &e)) {
        http_reply_err(q, &e);
        return;
    }
    if (watch) {
        keys_watch(q, pattern);
        return;
    }
    struct listing *l = mem_new(struct listing);
    *l = (struct listing){.magic = MAGIC,
                          .q = q,
                          .pattern = mem_dup(pattern.p, pattern.n),
                          .left = limit,
                          .values = values};
    list_append(&open_list, &l->link);
    http_on_gone(q, on_gone, l);
    ask(l);
}

void keys_list_stop(void)
{
    list_each_safe(at, &open_list)
        finish_cut(container_of(at, struct listing, link));
}
