/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger over HTTP. What it shows is made by pipeline/core; here is only the way of a replay: the kept delivery gets
 * a new id, the headers that were kept with it name its event again, and from there it goes as if it had just come and
 * been believed. */
#include "handlers/deliveries.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "core/run.h"
#include "core/store.h"
#include "handlers/hooks.h"
#include "handlers/query.h"
#include "trigger/cloudevent.h"
#include "trigger/webhook.h"

static void on_list(void *arg, struct str json, struct str next, const struct err *e)
{
    if (e != NULL)
        http_reply_err(arg, e);
    else
        query_reply_page(arg, json, next);
}

/* A fixed name for an outcome that was asked for; NULL with e set: there is no such outcome. */
static const char *outcome_named(struct str s, struct err *e)
{
    static const char *const names[] = {"accepted", "duplicate", "filtered",
                                        "ping",     "rejected",  "unrouted"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(s, names[i]))
            return names[i];
    }
    err_fail(e, ERR_BAD_INPUT,
             "there is no outcome %.*s; it is one of accepted, duplicate, filtered, ping, "
             "rejected, unrouted",
             (int)(s.n < 100 ? s.n : 100), s.p);
    return NULL;
}

void deliveries_list(struct http_req *q)
{
    struct query_page page;
    struct err e;
    struct str asked = http_query(q, "outcome");
    const char *outcome = asked.p == NULL ? NULL : outcome_named(asked, &e);
    if ((asked.p != NULL && outcome == NULL) || !query_page(q, &page, &e))
        http_reply_err(q, &e);
    else
        ledger_list(page.cursor, page.limit, outcome, on_list, q);
}

static void on_line(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    if (e != NULL)
        http_reply_err(arg, e);
    else
        http_reply_json(arg, 200, json);
}

void deliveries_get(struct http_req *q)
{
    ledger_get(http_segment(q, "id"), on_line, q);
}

/* Headers from the ledger: an object of strings. */
static struct str kept_header(const void *headers, const char *name)
{
    return json_str(json_get(headers, name));
}

static struct str copy(struct http_req *q, struct str s)
{
    char *p = http_alloc(q, s.n + 1);
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

/* What became a run was kept as the JSON in it, and its headers as text: as a delivery they say so. */
static struct json *as_delivered(const struct ledger_body *b)
{
    struct json *kept = json_parse(b->headers.n != 0 ? b->headers : STR("{}"), NULL);
    if (!b->json)
        return kept;
    struct buf text = {0};
    buf_char(&text, '{');
    for (void *it = json_iter(kept); it != NULL; it = json_next(kept, it)) {
        const char *name = json_iter_key(it);
        struct str value = json_str(json_iter_value(it));
        struct buf coded = {0};
        if (strcmp(name, "content-type") == 0)
            buf_puts(&coded, "application/json");
        else if (strncmp(name, "ce-", 3) == 0)
            cloudevent_encode(&coded, value);
        else
            buf_str(&coded, value);
        buf_json_field(&text, name, buf_view(&coded));
        buf_finish(&coded);
    }
    buf_char(&text, '}');
    struct json *headers = json_parse(buf_view(&text), NULL);
    buf_finish(&text);
    json_free(kept);
    return headers;
}

static void replay(struct http_req *q, const struct ledger_body *b, const struct hook *hook,
                   const struct json *headers)
{
    struct webhook *w = webhook_new(store_config(), hook, clock_wall_us());
    const struct verify_scheme *scheme = hooks_scheme(w->config, hook);
    w->user = q;
    w->path = str_of(hook->path);
    w->body = copy(q, b->body);
    w->believed = true;
    w->replay = http_segment(q, "id");
    w->event = copy(q, verify_first(scheme->events, kept_header, headers));
    w->external_id = copy(q, verify_first(scheme->ids, kept_header, headers));
    w->content_type = copy(q, kept_header(headers, "content-type"));
    for (void *it = json_iter(headers); it != NULL; it = json_next(headers, it))
        webhook_header(w, json_iter_key(it), json_str(json_iter_value(it)));
    hooks_take(w, kept_header, headers);
}

static void on_body(void *arg, const struct ledger_body *kept, const struct err *e)
{
    struct http_req *q = arg;
    if (e != NULL) {
        http_reply_err(q, e);
        return;
    }
    struct ledger_body b = *kept;
    if (b.body.p == NULL) {
        http_problem(q, ERR_CONFLICT,
                     "the body of this delivery was not kept (it was too large, or is too old), so "
                     "it cannot be replayed; let the sender send it again");
        return;
    }
    const struct hook *hook = config_hook(store_config(), b.hook);
    if (hook == NULL) {
        http_problem(q, ERR_CONFLICT,
                     "no webhook trigger has the path %.*s now; add it to the configuration, then "
                     "replay the delivery",
                     (int)(b.hook.n < 200 ? b.hook.n : 200), b.hook.p);
        return;
    }
    struct json *headers = as_delivered(&b);
    replay(q, &b, hook, headers);
    json_free(headers);
}

void deliveries_replay(struct http_req *q)
{
    ledger_body(http_segment(q, "id"), on_body, q);
}
