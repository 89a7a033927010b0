/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as HTTP/1: the verdict is the same however they come in pieces, and what is let through is read by
 * h2o's own parser exactly as the guard read it. */
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/guard.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { MAX_HEAD = 512, MAX_BODY = 200 };

/* Exported by libh2o. */
struct phr_header {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
int phr_parse_request(const char *buf, size_t len, const char **method, size_t *method_len,
                      const char **path, size_t *path_len, int *minor_version,
                      struct phr_header *headers, size_t *num_headers, size_t last_len);

struct outcome {
    enum guard_verdict v;
    struct buf message;
    struct guard g;
    size_t rest; /* of the input, behind the message */
};

static enum guard_verdict step(struct outcome *o)
{
    struct err e;
    size_t skip = 0;
    if (o->g.head_n == 0) {
        enum guard_verdict v = guard_head(&o->g, o->message.p, o->message.n, &skip, &e);
        must(skip <= o->message.n);
        buf_drop(&o->message, skip);
        if (v != GUARD_DONE)
            return v;
        if (!guard_limit(&o->g, MAX_BODY, &e))
            return GUARD_BAD;
    }
    return guard_body(&o->g, o->message.p, &o->message.n, &e);
}

static struct outcome feed(struct str in, size_t piece)
{
    struct outcome o = {.v = GUARD_MORE};
    guard_init(&o.g, MAX_HEAD);
    while (in.n > 0 && o.v == GUARD_MORE) {
        size_t n = in.n < piece ? in.n : piece;
        buf_add(&o.message, in.p, n);
        in = (struct str){in.p + n, in.n - n};
        o.v = step(&o);
    }
    if (o.v == GUARD_DONE) {
        size_t end = o.g.head_n + (size_t)o.g.body_n;
        must(end <= o.message.n && o.g.body_n <= MAX_BODY);
        o.rest = o.message.n - end + in.n;
        o.message.n = end;
    }
    return o;
}

static void check_header(const struct phr_header *h, struct str body, int *hosts, int *lengths)
{
    must(h->name != NULL); /* no folded line */
    struct str name = {h->name, h->name_len};
    struct str value = {h->value, h->value_len};
    uint64_t n;
    *hosts += str_is_icase(name, "host");
    must(!str_is_icase(name, "transfer-encoding"));
    if (str_is_icase(name, "content-length")) {
        ++*lengths;
        must(str_u64(str_trim(value), &n) && n == body.n);
    }
}

static void compare_with_h2o(const struct outcome *o)
{
    struct phr_header headers[100];
    size_t headers_n = 100;
    const char *method, *path;
    size_t method_n, path_n;
    int minor;
    int head_n = phr_parse_request(o->message.p, o->message.n, &method, &method_n, &path, &path_n,
                                   &minor, headers, &headers_n, 0);
    must(head_n > 0 && (size_t)head_n == o->g.head_n && headers_n == o->g.fields_n);
    must(str_eq((struct str){method, method_n}, guard_method(&o->g, o->message.p)));
    must(str_eq((struct str){path, path_n}, guard_target(&o->g, o->message.p)));
    must(minor == o->g.minor && (path[0] == '/' || path[0] == '*'));
    int hosts = 0;
    int lengths = 0;
    struct str body = {o->message.p + head_n, (size_t)o->g.body_n};
    for (size_t i = 0; i < headers_n; i++)
        check_header(&headers[i], body, &hosts, &lengths);
    must(hosts == 1 || (hosts == 0 && minor == 0));
    must(lengths <= 1 && (body.n == 0 || lengths == 1));
}

/* The body in pieces is the body as a whole. */
static void compare_with_pieces(struct str in, const struct outcome *whole, size_t piece_n)
{
    struct guard g;
    struct err e;
    size_t skip;
    guard_init(&g, MAX_HEAD);
    char *bytes = mem_dup(in.p, in.n);
    must(guard_head(&g, bytes, in.n, &skip, &e) == GUARD_DONE);
    char *p = bytes + skip;
    size_t n = in.n - skip;
    must(guard_limit(&g, MAX_BODY, &e));
    guard_strip_framing(&g, p, &skip);
    p += skip;
    n -= skip;
    must(guard_header(&g, p, "content-length").p == NULL);
    must(guard_header(&g, p, "transfer-encoding").p == NULL);
    must(memcmp(p + g.head_n - 4, "\r\n\r\n", 4) == 0);
    struct buf body = {0};
    size_t at = g.head_n;
    size_t shown = 0;
    enum guard_verdict v = GUARD_MORE;
    while (v == GUARD_MORE) {
        struct str piece;
        size_t used;
        v = guard_piece(&g, p + at, shown < n - at ? shown : n - at, &piece, &used, &e);
        buf_str(&body, piece);
        must(used <= n - at);
        at += used;
        shown = used > 0 ? piece_n : shown + piece_n;
        must(v != GUARD_MORE || used > 0 || shown <= n + 2 * piece_n);
    }
    must(v == GUARD_DONE && n - at == whole->rest);
    must(str_eq(buf_view(&body),
                (struct str){whole->message.p + whole->g.head_n, (size_t)whole->g.body_n}));
    buf_finish(&body);
    mem_free(bytes);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t piece = data[0] % 16 + 1U;
    struct str in = {(const char *)data + 1, size - 1};
    struct outcome whole = feed(in, in.n + 1);
    struct outcome pieces = feed(in, piece);
    must(whole.v == pieces.v);
    if (whole.v == GUARD_DONE) {
        must(str_eq(buf_view(&whole.message), buf_view(&pieces.message)));
        must(whole.rest == pieces.rest);
        compare_with_h2o(&whole);
        compare_with_pieces(in, &whole, piece);
    }
    buf_finish(&whole.message);
    buf_finish(&pieces.message);
    return 0;
}
