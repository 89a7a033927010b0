/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2, of which h2o does everything but two things: to notice that a client only opens streams and resets them, and
 * to keep a request beyond the life of its stream.
 *
 * A reset costs the client nothing and us a request, and h2o 2.2.5 sets it no limit (CVE-2023-44487). Frames are counted where they
 * come in, because a stream that was reset while it waited its turn never reaches a handler. An honest client that cancels now and then
 * is given one more for each answer that it took. */
#include <string.h>

#include "base/mem.h"
#include "net/http_conn.h"

enum { FRAME_RST_STREAM = 3, RESETS_FREE = 100, PREFACE = 24 };

bool http_frames_read(struct http_frames *f, const void *bytes, size_t n, uint32_t answered)
{
    const unsigned char *p = bytes;
    for (size_t at = 0; at < n;) {
        if (f->skip > 0) {
            size_t skip = f->skip < n - at ? f->skip : n - at;
            f->skip -= (uint32_t)skip;
            at += skip;
            continue;
        }
        f->header[f->header_n++] = p[at++];
        if (f->header_n < sizeof f->header)
            continue;
        f->header_n = 0;
        /* The preface begins like a frame of 0x505249 bytes. */
        bool preface = memcmp(f->header, "PRI * HTT", sizeof f->header) == 0;
        f->skip = preface ? PREFACE - (uint32_t)sizeof f->header
                          : (uint32_t)(f->header[0] << 16 | f->header[1] << 8 | f->header[2]);
        f->resets += f->header[3] == FRAME_RST_STREAM && !preface;
    }
    return f->resets <= RESETS_FREE + answered;
}

static void add_field(struct http_req *q, struct buf *text, const struct http_pair *h)
{
    q->guard.fields[q->guard.fields_n++] =
        (struct guard_field){(uint32_t)text->n, (uint32_t)(text->n + h->name.n + 1),
                             (uint32_t)h->name.n, (uint32_t)h->value.n};
    buf_str(text, h->name);
    buf_char(text, ' ');
    buf_str(text, h->value);
    buf_char(text, '\n');
}

static bool acceptable(const struct http_req *q, size_t headers_n, struct err *e)
{
    if (q->guard.target_n == 0 || q->base[q->guard.target] != '/')
        return err_fail(e, ERR_BAD_INPUT, "the request's path does not begin with a slash");
    if (headers_n > GUARD_FIELDS)
        return err_fail(e, ERR_HEADER_TOO_LARGE, "the request has more than %d headers",
                        GUARD_FIELDS);
    uint64_t max = http_req_max_body(q);
    if (q->body.n > max)
        return err_fail(e, ERR_TOO_LARGE, "the body is larger than %llu bytes",
                        (unsigned long long)max);
    return true;
}

/* It is written down as the guard would have left it. */
struct http_req *http_req_of_h2(struct str method, struct str path, const struct http_pair *headers,
                                size_t headers_n, struct str body)
{
    struct http_req *q = http_req_new();
    struct guard *g = &q->guard;
    struct buf text = {0};
    buf_str(&text, method);
    buf_char(&text, ' ');
    buf_str(&text, path);
    buf_char(&text, '\n');
    g->method_n = (uint32_t)method.n;
    g->target = g->method_n + 1;
    g->target_n = (uint32_t)path.n;
    g->keep_alive = true;
    for (size_t i = 0; i < headers_n && i < GUARD_FIELDS; i++)
        add_field(q, &text, &headers[i]);
    g->head_n = text.n;
    q->base = http_req_bytes(q, text.n);
    memcpy(q->base, text.p, text.n);
    buf_finish(&text);
    q->http2 = q->secure = q->body_done = true;
    q->body = http_req_dup(q, body);
    http_req_route(q);
    struct err e;
    if (!acceptable(q, headers_n, &e))
        http_req_refuse(q, &e);
    return q;
}
