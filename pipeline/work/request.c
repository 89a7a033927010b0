/* SPDX-License-Identifier: Apache-2.0 */
/* Work done by an HTTP service: the input is the request's body, the answer's body the result.
 *
 * What the status says about trying again: 429, 408 and 5xx ask for it (and Retry-After says when), other 4xx mean
 * that the request is wrong and would be wrong again. A redirect is not followed: a POST would arrive as a GET. Each request carries
 * an Idempotency-Key that stays the same over attempts, so that the service can tell a repetition. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/httpc.h"
#include "work/lines.h"
#include "work/runner.h"
#include "work/value.h"

enum { CONCURRENCY = 32, SHOWN = 200 };

struct request {
    struct list node;
    struct claim *claim; /* NULL: cancelled */
    struct httpc_call *call;
    int64_t timeout_ms;
};

static struct list running = {&running, &running};

static enum claim_outcome judge_failure(const struct request *q, const struct err *e,
                                        struct buf *why)
{
    switch (e->code) {
    case ERR_TIMEOUT:
        buf_puts(why, "the service took longer than ");
        clock_format_duration(why, q->timeout_ms);
        return CLAIM_TIMEOUT;
    case ERR_CANCELLED: buf_puts(why, "the server stopped meanwhile"); return CLAIM_RETRY;
    case ERR_TOO_LARGE:
        buf_printf(why, "the service answered more than %lld bytes (setting output_max)",
                   (long long)runner_settings()->output_max);
        return CLAIM_FAIL;
    case ERR_BAD_INPUT:
    case ERR_FORBIDDEN: buf_puts(why, e->text); return CLAIM_FAIL;
    default: buf_puts(why, e->text); return CLAIM_RETRY;
    }
}

static enum claim_outcome judge(const struct request *q, const struct httpc_response *r,
                                struct str *output, struct buf *why)
{
    if (r->status < 200 || r->status > 299) {
        buf_printf(why, "the service answered %d", r->status);
        struct str body = str_trim(r->body);
        if (body.n != 0) {
            buf_puts(why, ": ");
            lines_printable(why, body, SHOWN);
        }
        bool again = r->status == 429 || r->status == 408 || r->status >= 500;
        return again ? CLAIM_RETRY : CLAIM_FAIL;
    }
    if (q->claim->stage->write == NULL)
        return CLAIM_OK; /* many services say just "ok"; nobody keeps it */
    struct err e;
    *output = r->body;
    if (value_output(output, q->claim->stage, "the service", &e))
        return CLAIM_OK;
    buf_puts(why, e.text);
    return CLAIM_FAIL;
}

static void on_response(void *arg, const struct httpc_response *r, const struct err *e)
{
    struct request *q = arg;
    list_remove(&q->node);
    if (q->claim != NULL) {
        struct str output = {NULL, 0};
        struct buf why = {0};
        enum claim_outcome outcome =
            e != NULL ? judge_failure(q, e, &why) : judge(q, r, &output, &why);
        claim_finish(q->claim, outcome, output, outcome == CLAIM_OK ? NULL : why.p,
                     e == NULL ? r->retry_after_ms : -1);
        buf_finish(&why);
    }
    mem_free(q);
    runner_busy(-1);
}

static bool has_header(char *const *headers, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; headers != NULL && headers[i] != NULL; i++) {
        if (strncasecmp(headers[i], name, n) == 0 && headers[i][n] == ':')
            return true;
    }
    return false;
}

/* The configured ones and ours, where they don't say otherwise. */
static char **headers_for(const struct claim *c, bool with_body)
{
    char *const *given = c->stage->work.headers;
    size_t n = 0;
    while (given != NULL && given[n] != NULL)
        n++;
    char **h = mem_zero(n + 6, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        h[i] = mem_strdup(given[i]);
    if (with_body && !has_header(given, "Content-Type"))
        h[n++] = mem_strdup("Content-Type: application/json");
    if (!has_header(given, "Accept"))
        h[n++] = mem_strdup("Accept: application/json");
    struct buf text = {0};
    buf_puts(&text, "Hookmesh-Run: ");
    buf_url_encode(&text, c->run);
    h[n++] = buf_take(&text);
    if (!has_header(given, "Idempotency-Key")) {
        buf_puts(&text, "Idempotency-Key: ");
        buf_url_encode(&text, str_of(c->stage->id));
        buf_char(&text, '/');
        buf_url_encode(&text, c->key);
        buf_printf(&text, "/%lld", (long long)c->version);
        h[n++] = buf_take(&text);
    }
    return h;
}

static void start(struct claim *c)
{
    const struct work *work = &c->stage->work;
    const char *method = work->method != NULL ? work->method : "POST";
    bool with_body = strcasecmp(method, "GET") != 0 && strcasecmp(method, "HEAD") != 0;
    struct buf body = {0};
    struct err e;
    if (with_body && !value_input(&body, c, false, &e)) {
        claim_finish(c, CLAIM_FAIL, (struct str){NULL, 0}, e.text, -1);
        buf_finish(&body);
        return;
    }
    struct request *q = mem_new(struct request);
    q->claim = c;
    q->timeout_ms = value_timeout_ms(c->stage);
    list_append(&running, &q->node);
    c->runner_data = q;
    char **headers = headers_for(c, with_body);
    struct httpc_request request = {
        .method = method,
        .url = work->url,
        .headers = (const char *const *)headers,
        .body = buf_view(&body),
        .timeout_ms = q->timeout_ms,
        .max_response = (size_t)runner_settings()->output_max,
        .allow_private = true, /* the address stands in the configuration, not in an input */
    };
    runner_busy(1);
    q->call = httpc_send(&request, on_response, q);
    runner_list_free(headers);
    buf_finish(&body);
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++)
        start(claims[i]);
}

static void cancel(struct claim *c)
{
    struct request *q = c->runner_data;
    q->claim = NULL;
    httpc_cancel(q->call);
    runner_cancelled(c);
}

void request_stop(void)
{
    list_each_safe(at, &running)
        httpc_cancel(container_of(at, struct request, node)->call);
}

const struct claim_runner request_runner = {
    .run = run, .cancel = cancel, .default_concurrency = CONCURRENCY, .announce = true};
