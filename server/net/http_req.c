/* SPDX-License-Identifier: Apache-2.0 */
/* One request, from the route to the answer, without a word of h2o.
 *
 * All that a handler can read of a request are slices of the message as the guard left it, so they stay good however late
 * the handler answers and whatever became of the connection. Small memory of a request (decoded names, header values, the
 * answer's body) comes from a first chunk inside it; requests are kept for reuse, because tens of thousands
 * come and go each second. Freeing waits for the end of the turn: a handler may still look at a request that
 * it has just answered. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "net/hub.h"
#include "net/loop.h"

#include "net/http_int.h"

enum {
    SPARE_MAX = 128,
    REFUSALS_LOGGED = 20, /* a second */
    BODY_WITHOUT_ROUTE = 65536,
};

static struct {
    struct http_req *spare[SPARE_MAX];
    size_t spare_n;
    struct http_req **dead;
    size_t dead_n;
    size_t dead_cap;
    int64_t log_second;
    int log_n;
} self;

/* Lifetime. */

struct http_req *http_req_new(void)
{
    struct http_req *q =
        self.spare_n > 0 ? self.spare[--self.spare_n] : mem_alloc(sizeof(struct http_req));
    memset(q, 0, offsetof(struct http_req, guard));
    q->magic = HTTP_REQ_MAGIC;
    q->holds = 1;
    q->first = (struct http_chunk){NULL, 0, HTTP_FIRST_CHUNK, q->first_bytes};
    q->chunks = &q->first;
    guard_init(&q->guard, http_settings()->max_head);
    return q;
}

static void bury(struct http_req *q)
{
    for (struct http_chunk *c = q->chunks; c != &q->first;) {
        struct http_chunk *next = c->next;
        mem_free(c);
        c = next;
    }
    buf_finish(&q->out);
    buf_finish(&q->flight);
    if (q->kept != NULL)
        http_tx_free_kept(q->kept);
    q->magic = 0;
    if (self.spare_n < SPARE_MAX)
        self.spare[self.spare_n++] = q;
    else
        mem_free(q);
}

static void bury_dead(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < self.dead_n; i++)
        bury(self.dead[i]);
    self.dead_n = 0;
}

void http_req_hold(struct http_req *q)
{
    must(q->magic == HTTP_REQ_MAGIC && q->holds > 0);
    q->holds++;
}

void http_req_release(struct http_req *q)
{
    must(q->magic == HTTP_REQ_MAGIC && q->holds > 0);
    if (--q->holds > 0)
        return;
    if (self.dead_n == self.dead_cap) {
        self.dead_cap = self.dead_cap == 0 ? 64 : self.dead_cap * 2;
        self.dead = mem_resize(self.dead, self.dead_cap * sizeof *self.dead);
    }
    self.dead[self.dead_n++] = q;
    if (self.dead_n == 1)
        loop_defer(bury_dead, NULL);
}

void *http_req_bytes(struct http_req *q, size_t n)
{
    enum { ALIGN = 16, CHUNK = 4096 };
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    struct http_chunk *c = q->chunks;
    if (c->cap - c->used < n) {
        size_t cap = n > CHUNK ? n : CHUNK;
        struct http_chunk *more = mem_alloc(sizeof *more + ALIGN + cap);
        *more = (struct http_chunk){c, 0, cap, (char *)(more + 1)};
        more->p += ALIGN - (uintptr_t)more->p % ALIGN;
        q->chunks = c = more;
    }
    void *p = c->p + c->used;
    c->used += n;
    return p;
}

void *http_alloc(struct http_req *q, size_t n)
{
    return memset(http_req_bytes(q, n), 0, n);
}

struct str http_req_dup(struct http_req *q, struct str s)
{
    char *p = http_req_bytes(q, s.n + 1);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

/* Routes. */

static const struct {
    const char *name;
    enum http_method method;
} methods[] = {{"GET", HTTP_GET_},        {"POST", HTTP_POST_}, {"PUT", HTTP_PUT_},
               {"DELETE", HTTP_DELETE_},  {"HEAD", HTTP_HEAD_}, {"PATCH", HTTP_PATCH_},
               {"OPTIONS", HTTP_OPTIONS_}};
enum { METHODS = sizeof methods / sizeof methods[0] };

static enum http_method method_of(struct str name)
{
    for (size_t i = 0; i < METHODS; i++)
        if (str_is(name, methods[i].name))
            return methods[i].method;
    return HTTP_OTHER_;
}

static size_t segment_end(struct str s, size_t at)
{
    const char *slash = at < s.n ? memchr(s.p + at, '/', s.n - at) : NULL;
    return slash == NULL ? s.n : (size_t)(slash - s.p);
}

/* ":name" takes one segment that isn't empty, a last '*' whatever is left. */
static bool path_matches(struct http_req *q, struct str pattern, struct str path)
{
    size_t i = 0;
    size_t k = 0;
    q->segments_n = 0;
    while (i < pattern.n) {
        if (pattern.p[i] == '*' && i + 1 == pattern.n) {
            q->wild = (struct http_segment){{"*", 1}, q->guard.target + k, path.n - k};
            return true;
        }
        if (pattern.p[i] == ':') {
            size_t name_end = segment_end(pattern, i);
            size_t end = segment_end(path, k);
            must(q->segments_n < HTTP_SEGMENTS);
            if (end == k)
                return false;
            q->segments[q->segments_n++] = (struct http_segment){
                {pattern.p + i + 1, name_end - i - 1}, q->guard.target + k, end - k};
            i = name_end;
            k = end;
        } else if (k == path.n || pattern.p[i++] != path.p[k++]) {
            return false;
        }
    }
    return k == path.n;
}

void http_req_route(struct http_req *q)
{
    q->method = method_of(http_method_name(q));
    q->head = q->method == HTTP_HEAD_;
    q->route = NULL;
    q->allowed = 0;
    struct str path = http_path(q);
    for (const struct http_route *r = http_routes(); r->path != NULL; r++) {
        if (!path_matches(q, str_of(r->path), path))
            continue;
        int takes = r->methods | ((r->methods & HTTP_GET_) != 0 ? HTTP_HEAD_ : 0);
        q->allowed |= takes;
        if ((takes & (int)q->method) == 0)
            continue;
        if (q->head && (r->methods & HTTP_HEAD_) == 0)
            q->method = HTTP_GET_;
        q->route = r;
        return;
    }
    q->segments_n = 0;
    q->wild = (struct http_segment){{NULL, 0}, 0, 0};
}

bool http_req_streams(const struct http_req *q)
{
    return q->route != NULL && q->route->stream;
}

uint64_t http_req_max_body(const struct http_req *q)
{
    if (http_req_streams(q))
        return q->route->max_body != 0 ? q->route->max_body : UINT64_MAX;
    if (q->route == NULL)
        return BODY_WITHOUT_ROUTE;
    if (q->route->limit != NULL)
        return q->route->limit(q);
    return q->route->max_body != 0 ? q->route->max_body : http_settings()->max_body;
}

bool http_req_allowed(struct http_req *q, struct err *e)
{
    const struct http_options *o = http_settings();
    if (q->route == NULL || q->route->open || o->authorize == NULL)
        return true;
    return o->authorize(q, e);
}

void http_req_refuse(struct http_req *q, const struct err *e)
{
    q->refusal = http_req_bytes(q, sizeof *q->refusal);
    *q->refusal = *e;
}

static void no_route(struct http_req *q)
{
    struct str path = http_path(q);
    int n = (int)(path.n < 200 ? path.n : 200);
    if (hub_serves(path)) {
        http_problem(q, ERR_BAD_INPUT, "%.*s is for WebSocket clients", n, path.p);
        return;
    }
    if (q->allowed == 0) {
        bool file = q->method == HTTP_GET_ || q->method == HTTP_HEAD_;
        if (!file || q->refusal != NULL || !http_static_reply(q))
            http_problem(q, ERR_NOT_FOUND, "there is nothing at %.*s", n, path.p);
        return;
    }
    char allow[80];
    size_t at = 0;
    for (size_t i = 0; i < METHODS; i++)
        if ((q->allowed & (int)methods[i].method) != 0)
            at += (size_t)snprintf(allow + at, sizeof allow - at, "%s%s", at > 0 ? ", " : "",
                                   methods[i].name);
    http_set_header(q, "allow", (struct str){allow, at});
    http_problem(q, ERR_METHOD, "%.*s takes %s", n, path.p, allow);
}

static void log_refusal(const struct http_req *q)
{
    int64_t second = loop_now_us() / 1000000;
    if (second != self.log_second) {
        if (self.log_n > REFUSALS_LOGGED)
            log_warn("http", "refused_more", "n=%d", self.log_n - REFUSALS_LOGGED);
        self.log_second = second;
        self.log_n = 0;
    }
    if (++self.log_n > REFUSALS_LOGGED)
        return;
    struct str path = http_path(q);
    path.n = path.n < 200 ? path.n : 200;
    log_info("http", "refused", "req=%s peer=%.*s path=%s reason=%s", q->id, (int)q->peer.n,
             q->peer.p, log_quote(path), log_quotez(q->refusal->text));
}

static void run_refused(struct http_req *q)
{
    metric_add_for(METRIC_HTTP_REFUSED, err_title(q->refusal->code), 1);
    log_refusal(q);
    if (q->route == NULL && q->guard.head_n > 0 && q->refusal->code == ERR_TOO_LARGE) {
        no_route(q);
        return;
    }
    if (q->route != NULL && q->route->refusals)
        q->route->fn(q);
    if (!q->answered)
        http_reply_err(q, q->refusal);
}

void http_req_run(struct http_req *q)
{
    q->began_us = loop_now_us();
    id_make(q->id, clock_wall_us());
    struct err e;
    if (q->refusal != NULL) {
        run_refused(q);
    } else if (q->route == NULL) {
        no_route(q);
    } else if (!http_req_allowed(q, &e)) {
        http_reply_err(q, &e);
    } else {
        q->handled = true;
        http_req_hold(q);
        q->route->fn(q);
    }
}

/* What a handler reads. */

enum http_method http_method_of(const struct http_req *q)
{
    return q->method;
}

struct str http_method_name(const struct http_req *q)
{
    return guard_method(&q->guard, q->base);
}

struct str http_path(const struct http_req *q)
{
    return guard_path(&q->guard, q->base);
}

/* A name with a wrong escape stays as it is: it then fits nothing that exists. */
static struct str decoded(const struct http_req *q, struct str s, bool plus_is_space)
{
    if (s.n == 0 ||
        (memchr(s.p, '%', s.n) == NULL && (!plus_is_space || memchr(s.p, '+', s.n) == NULL)))
        return s;
    struct buf b = {0};
    if (buf_url_decode(&b, s, plus_is_space)) {
        /* const promises the message; the request's own memory may grow. */
        s = http_req_dup((struct http_req *)(uintptr_t)q, buf_view(&b));
    }
    buf_finish(&b);
    return s;
}

struct str http_wild(const struct http_req *q)
{
    if (q->wild.name.p == NULL)
        return (struct str){NULL, 0};
    return decoded(q, (struct str){q->base + q->wild.at, q->wild.n}, false);
}

struct str http_segment(const struct http_req *q, const char *name)
{
    for (size_t i = 0; i < q->segments_n; i++) {
        const struct http_segment *s = &q->segments[i];
        if (str_is(s->name, name))
            return decoded(q, (struct str){q->base + s->at, s->n}, false);
    }
    return (struct str){NULL, 0};
}

struct str http_query(struct http_req *q, const char *name)
{
    struct str query = guard_target(&q->guard, q->base);
    str_split(&query, '?');
    while (query.p != NULL) {
        struct str value = str_split(&query, '&');
        struct str key = str_split(&value, '=');
        if (str_is(decoded(q, key, true), name))
            return value.p == NULL ? STR("") : decoded(q, value, true);
    }
    return (struct str){NULL, 0};
}

struct str http_header(const struct http_req *q, const char *lower_case_name)
{
    return guard_header(&q->guard, q->base, lower_case_name);
}

void http_each_header(const struct http_req *q,
                      void (*fn)(void *arg, struct str name, struct str value), void *arg)
{
    for (uint32_t i = 0; i < q->guard.fields_n; i++) {
        const struct guard_field *f = &q->guard.fields[i];
        fn(arg, (struct str){q->base + f->name, f->name_n},
           (struct str){q->base + f->value, f->value_n});
    }
}

struct str http_body(const struct http_req *q)
{
    return q->body;
}

struct str http_peer(const struct http_req *q)
{
    return q->peer;
}

const char *http_id(const struct http_req *q)
{
    return q->id;
}

bool http_secure(const struct http_req *q)
{
    return q->secure;
}

const struct err *http_refused(const struct http_req *q)
{
    return q->refusal;
}

void http_on_gone(struct http_req *q, void (*fn)(void *arg), void *arg)
{
    q->on_gone = fn;
    q->on_gone_arg = arg;
}

static void read_deferred(void *arg)
{
    struct http_req *q = arg;
    q->wants_piece = true;
    http_tx_read(q);
    http_req_release(q);
}

void http_read_body(struct http_req *q, http_piece_fn fn, void *arg)
{
    must(http_req_streams(q) && q->on_piece == NULL);
    q->on_piece = fn;
    q->on_piece_arg = arg;
    http_read_more(q);
}

void http_read_more(struct http_req *q)
{
    http_req_hold(q);
    loop_defer(read_deferred, q);
}

static void gone_deferred(void *arg)
{
    struct http_req *q = arg;
    void (*fn)(void *) = q->on_gone;
    q->on_gone = NULL;
    if (q->wants_piece && !q->answered)
        http_tx_read(q); /* tells that no more will come */
    if (fn != NULL && !q->answered)
        fn(q->on_gone_arg);
    http_req_release(q);
}

/* Deferred, because the transport may notice it inside a call of the handler's. */
void http_req_gone(struct http_req *q)
{
    if (q->answered || (q->on_gone == NULL && !q->wants_piece))
        return;
    http_req_hold(q);
    loop_defer(gone_deferred, q);
}
