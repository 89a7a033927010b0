/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to a request: at once, as a problem, or streamed.
 *
 * What a handler gives is copied into the request, where it stays put until h2o has written it. A streamed answer has two buffers: one
 * is being written, the other takes what comes meanwhile, and they change places when the first is out: many small writes
 * become few. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/metric.h"
#include "net/loop.h"

#include "net/http_int.h"

static const struct {
    int status;
    const char *text;
} reasons[] = {{200, "OK"},
               {201, "Created"},
               {202, "Accepted"},
               {204, "No Content"},
               {206, "Partial Content"},
               {207, "Multi-Status"},
               {301, "Moved Permanently"},
               {302, "Found"},
               {303, "See Other"},
               {304, "Not Modified"},
               {307, "Temporary Redirect"},
               {308, "Permanent Redirect"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {403, "Forbidden"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {406, "Not Acceptable"},
               {408, "Request Timeout"},
               {409, "Conflict"},
               {410, "Gone"},
               {412, "Precondition Failed"},
               {413, "Content Too Large"},
               {415, "Unsupported Media Type"},
               {422, "Unprocessable Content"},
               {426, "Upgrade Required"},
               {428, "Precondition Required"},
               {429, "Too Many Requests"},
               {431, "Request Header Fields Too Large"},
               {500, "Internal Server Error"},
               {502, "Bad Gateway"},
               {503, "Service Unavailable"},
               {504, "Gateway Timeout"}};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

static bool header_set(const struct http_req *q, const char *name)
{
    for (size_t i = 0; i < q->headers_n; i++)
        if (str_is(q->headers[i].name, name))
            return true;
    return false;
}

static void add_header(struct http_req *q, const char *name, struct str value)
{
    must(q->headers_n < HTTP_REPLY_HEADERS);
    q->headers[q->headers_n++] = (struct http_pair){str_of(name), value};
}

/* Control characters in a value would end the header: they become spaces. */
void http_set_header(struct http_req *q, const char *lower_case_name, struct str value)
{
    if (q->answered || q->begun)
        return;
    char *p = http_req_bytes(q, value.n);
    for (size_t i = 0; i < value.n; i++)
        p[i] = (unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f ? ' ' : value.p[i];
    struct str copy = {p, value.n};
    for (size_t i = 0; i < q->headers_n; i++) {
        if (!str_is(q->headers[i].name, lower_case_name))
            continue;
        q->headers[i].value = copy;
        return;
    }
    must(q->headers_n < HTTP_REPLY_HEADERS - 4); /* those of standard_headers */
    q->headers[q->headers_n++] = (struct http_pair){http_req_dup(q, str_of(lower_case_name)), copy};
}

static void standard_headers(struct http_req *q, const char *content_type)
{
    if (content_type != NULL && !header_set(q, "content-type"))
        add_header(q, "content-type", http_req_dup(q, str_of(content_type)));
    add_header(q, "x-request-id", (struct str){q->id, ID_SIZE - 1});
    add_header(q, "x-content-type-options", STR("nosniff"));
    if (!header_set(q, "cache-control"))
        add_header(q, "cache-control", STR("no-store"));
}

static void count_answer(struct http_req *q, int status)
{
    static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    q->status = status;
    must(status >= 200 && status <= 599);
    metric_add_for(METRIC_HTTP_REQUESTS, classes[status / 100 - 1], 1);
    metric_observe_us(METRIC_HTTP_SECONDS, loop_now_us() - q->began_us);
    if (!log_wants(LOG_DEBUG))
        return;
    struct str method = http_method_name(q);
    struct str path = http_path(q);
    path.n = path.n < 200 ? path.n : 200;
    log_debug("http", "answered", "req=%s peer=%.*s method=%.*s path=%s status=%d us=%lld", q->id,
              (int)q->peer.n, q->peer.p, (int)method.n, method.p, log_quote(path), status,
              (long long)(loop_now_us() - q->began_us));
}

static void let_go(struct http_req *q)
{
    if (!q->handled)
        return;
    q->handled = false;
    http_req_release(q);
}

void http_reply(struct http_req *q, int status, const char *content_type, struct str body)
{
    must(q->magic == HTTP_REQ_MAGIC && !q->answered && !q->begun);
    if (q->tx != NULL) {
        bool empty = status == 204 || status == 304;
        standard_headers(q, empty ? NULL : content_type);
        count_answer(q, status);
        q->answered = true;
        http_tx_start(q, reason_of(status), empty ? SIZE_MAX : body.n);
        if (q->tx != NULL)
            http_tx_send(q, empty || q->head ? STR("") : http_req_dup(q, body), true);
    }
    q->answered = true;
    let_go(q);
}

void http_reply_json(struct http_req *q, int status, struct str json)
{
    http_reply(q, status, "application/json", json);
}

static void problem_json(struct buf *b, const struct http_req *q, const struct err *e)
{
    char type[64];
    const char *name = err_name(e->code);
    name += strncmp(name, "ERR_", 4) == 0 ? 4 : 0;
    int n = snprintf(type, sizeof type, "urn:hookmesh:problem:%s", name);
    for (int i = 0; i < n; i++)
        if (type[i] >= 'A' && type[i] <= 'Z')
            type[i] = (char)(type[i] | 0x20);
    buf_char(b, '{');
    buf_json_field(b, "type", str_of(type));
    buf_json_field(b, "title", str_of(err_title(e->code)));
    buf_json_field_int(b, "status", err_http_status(e->code));
    buf_json_field(b, "detail", str_of(e->text));
    buf_json_field(b, "instance", http_path(q));
    buf_json_field(b, "request_id", str_of(q->id));
    buf_char(b, '}');
}

void http_reply_err(struct http_req *q, const struct err *e)
{
    int status = err_http_status(e->code);
    must(status >= 400);
    if (status == 401 && !header_set(q, "www-authenticate"))
        http_set_header(q, "www-authenticate", STR("Bearer realm=\"hookmesh\""));
    if ((status == 503 || status == 429) && !header_set(q, "retry-after"))
        http_set_header(q, "retry-after", STR("1"));
    static struct buf b;
    buf_clear(&b);
    problem_json(&b, q, e);
    http_reply(q, status, "application/problem+json", buf_view(&b));
}

void http_problem(struct http_req *q, enum err_code code, const char *fmt, ...)
{
    struct err e = {.code = code};
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.text, sizeof e.text, fmt, args);
    va_end(args);
    http_reply_err(q, &e);
}

/* Streamed answers. */

static void send_waiting(struct http_req *q)
{
    if (q->tx == NULL || http_tx_sending(q) || (q->out.n == 0 && !q->answered))
        return;
    struct buf empty = q->flight;
    q->flight = q->out;
    q->out = empty;
    buf_clear(&q->out);
    http_tx_send(q, buf_view(&q->flight), q->answered);
}

void http_begin(struct http_req *q, int status, const char *content_type)
{
    must(q->magic == HTTP_REQ_MAGIC && !q->answered && !q->begun);
    q->events = content_type != NULL && strncmp(content_type, "text/event-stream", 17) == 0;
    if (q->tx != NULL) {
        standard_headers(q, content_type);
        count_answer(q, status);
        http_tx_start(q, reason_of(status), SIZE_MAX);
        if (q->tx != NULL && q->head)
            http_tx_send(q, STR(""), true);
    }
    q->begun = true;
    /* h2o keeps the head back until a first byte comes; a comment is one that no client minds. */
    if (q->events)
        http_write(q, STR(":\n\n"));
}

void http_write(struct http_req *q, struct str bytes)
{
    must(q->magic == HTTP_REQ_MAGIC && q->begun && !q->answered);
    if (q->tx == NULL || q->head || bytes.n == 0)
        return;
    buf_str(&q->out, bytes);
    send_waiting(q);
}

void http_end(struct http_req *q)
{
    must(q->magic == HTTP_REQ_MAGIC && q->begun && !q->answered);
    q->answered = true;
    if (!q->head)
        send_waiting(q);
    let_go(q);
}

size_t http_unsent(const struct http_req *q)
{
    return q->tx == NULL ? 0 : q->out.n + q->flight.n;
}

static void drained(struct http_req *q)
{
    void (*fn)(void *) = q->on_drain;
    q->on_drain = NULL;
    if (fn != NULL)
        fn(q->on_drain_arg);
}

static void drained_deferred(void *arg)
{
    struct http_req *q = arg;
    if (q->tx != NULL && http_unsent(q) == 0)
        drained(q);
    http_req_release(q);
}

void http_on_drain(struct http_req *q, void (*fn)(void *arg), void *arg)
{
    q->on_drain = fn;
    q->on_drain_arg = arg;
    if (fn == NULL || q->tx == NULL || http_unsent(q) > 0)
        return;
    http_req_hold(q);
    loop_defer(drained_deferred, q);
}

void http_req_sent(struct http_req *q)
{
    buf_clear(&q->flight);
    send_waiting(q);
    if (q->tx != NULL && http_unsent(q) == 0)
        drained(q);
}
