/* SPDX-License-Identifier: Apache-2.0 */
/* One delivery: find the trigger, judge the signature over the bytes as they came, and only then read them. Who can't sign learns
 * nothing but that; who can gets the exact reason of a refusal, and the same reason stands in the ledger.
 *
 * A sender switches a hook off for good after certain answers, so each status is chosen: 401 for a bad signature alone, 200 for what is
 * fine but starts nothing, 503 with Retry-After for what is our fault. */
#include "handlers/hooks.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/run.h"
#include "core/store.h"
#include "trigger/start.h"
#include "trigger/submit.h"
#include "work/filter.h"

enum {
    BODY_KEPT = 1024 * 1024,        /* largest body that the ledger keeps for a replay, */
    BODY_KEPT_UNKNOWN = 256 * 1024, /* from who knows whom, */
    BODY_KEPT_AWAY = 16 * 1024,     /* and while Redis is away and lines wait in memory */
    NAME_MAX_BYTES = 256            /* of an event's name or a delivery's id */
};

/* The verifiers of the live configuration, each made at its hook's first delivery. */
static struct {
    struct config *config;
    struct verifier **verifiers; /* by the hook's place in config->hooks */
} self;

static void forget_verifiers(void)
{
    for (size_t i = 0; self.config != NULL && i < self.config->hook_n; i++)
        verifier_free(self.verifiers[i]);
    mem_free(self.verifiers);
    config_unref(self.config);
    memset(&self, 0, sizeof self);
}

void hooks_finish(void)
{
    forget_verifiers();
    submit_finish();
    webhook_finish();
    verify_finish();
}

static struct verifier *verifier_of(struct config *c, const struct hook *hook)
{
    if (self.config != c) {
        forget_verifiers();
        self.config = config_ref(c);
        self.verifiers = mem_zero(c->hook_n, sizeof *self.verifiers);
    }
    struct verifier **v = &self.verifiers[hook - c->hooks];
    if (*v == NULL)
        *v = verifier_new(hook);
    return *v;
}

const struct verify_scheme *hooks_scheme(struct config *c, const struct hook *hook)
{
    return verifier_scheme(verifier_of(c, hook));
}

/* The ledger. */

static struct str cut(struct str s)
{
    return (struct str){s.p, s.n < NAME_MAX_BYTES ? s.n : NAME_MAX_BYTES};
}

static struct str body_to_keep(const struct webhook *w)
{
    size_t most = w->believed ? BODY_KEPT : BODY_KEPT_UNKNOWN;
    if (!store_up() && most > BODY_KEPT_AWAY)
        most = BODY_KEPT_AWAY;
    bool whole = http_refused(w->user) == NULL && w->body.n <= most;
    return whole ? w->body : (struct str){NULL, 0};
}

static void record(const struct webhook *w, const char *outcome, int status, struct str reason)
{
    struct buf headers = {0};
    webhook_headers(&headers, w);
    struct ledger_line line = {.hook = w->path,
                               .external_id = cut(w->external_id),
                               .event = cut(w->event),
                               .outcome = outcome,
                               .reason = reason,
                               .status = status,
                               .headers = buf_view(&headers),
                               .body = body_to_keep(w),
                               .peer = http_peer(w->user),
                               .received_ms = w->received_us / 1000,
                               .size = (int64_t)w->body.n};
    memcpy(line.delivery_id, w->delivery_id, sizeof line.delivery_id);
    struct buf text = {0};
    if (w->replay.n != 0) {
        buf_printf(&text, "replay of %.*s: ", (int)w->replay.n, w->replay.p);
        buf_str(&text, reason);
        line.reason = buf_view(&text);
    }
    ledger_add(&line);
    buf_finish(&headers);
    buf_finish(&text);
    metric_add_for(METRIC_DELIVERIES, outcome, 1);
}

static void reject(struct webhook *w, const char *outcome, const struct err *e)
{
    struct http_req *q = w->user;
    record(w, outcome, err_http_status(e->code), str_of(e->text));
    if (http_refused(q) == NULL) /* else http answers in its own way */
        http_reply_err(q, e);
    webhook_free(w);
}

/* Answers. */

static void reply(struct webhook *w, int status, const char *outcome, struct str run,
                  const char *reason)
{
    struct http_req *q = w->user;
    static struct buf json;
    buf_clear(&json);
    buf_char(&json, '{');
    if (run.n != 0)
        buf_json_field(&json, "run_id", run);
    buf_json_field(&json, "delivery_id", str_of(w->delivery_id));
    if (outcome != NULL)
        buf_json_field(&json, "outcome", str_of(outcome));
    if (reason != NULL)
        buf_json_field(&json, "reason", str_of(reason));
    if (w->replay.n != 0)
        buf_json_field(&json, "replay_of", w->replay);
    if (status == 202 && outcome != NULL)
        buf_puts(&json, ",\"spooled\":true");
    buf_char(&json, '}');
    if (run.n != 0) {
        static struct buf location;
        buf_clear(&location);
        buf_puts(&location, "/v1/runs/");
        buf_str(&location, run); /* a UUID */
        http_set_header(q, "location", buf_view(&location));
    }
    http_reply_json(q, status, buf_view(&json));
    webhook_free(w);
}

static void answer_nothing_to_do(struct webhook *w, const char *outcome, const char *reason)
{
    record(w, outcome, 200, str_of(reason));
    reply(w, 200, outcome, (struct str){NULL, 0}, reason);
}

static void on_submitted(struct webhook *w, enum submit_outcome outcome, struct str run,
                         const struct err *e)
{
    if (e != NULL) {
        metric_add_for(METRIC_DELIVERIES, "failed", 1);
        http_reply_err(w->user, e);
        webhook_free(w);
        return;
    }
    switch (outcome) {
    case SUBMIT_ACCEPTED:
        metric_add_for(METRIC_DELIVERIES, "accepted", 1);
        reply(w, 202, NULL, run, NULL);
        break;
    case SUBMIT_DUPLICATE:
        metric_add_for(METRIC_DELIVERIES, "duplicate", 1);
        reply(w, 200, "duplicate", run, NULL);
        break;
    case SUBMIT_SPOOLED:
        metric_add_for(METRIC_DELIVERIES, "spooled", 1);
        reply(w, 202, "spooled", run, NULL);
        break;
    }
}

/* From the content on. */

static bool name_fits(struct str s, const char *what, struct err *e)
{
    if (s.n > NAME_MAX_BYTES)
        return err_fail(e, ERR_BAD_INPUT, "the %s is longer than %d bytes", what, NAME_MAX_BYTES);
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F)
            return err_fail(e, ERR_BAD_INPUT, "the %s has a control character", what);
    }
    return str_utf8_valid(s) || err_fail(e, ERR_BAD_INPUT, "the %s is not valid UTF-8", what);
}

/* Slack's way of asking whether the receiver has the secret. */
static void answer_challenge(struct webhook *w)
{
    static struct buf json;
    record(w, "ping", 200,
           STR("the sender asks for its challenge, to see that the hook is set up"));
    buf_clear(&json);
    buf_char(&json, '{');
    buf_json_field(&json, "challenge", buf_view(&w->challenge));
    buf_char(&json, '}');
    http_reply_json(w->user, 200, buf_view(&json));
    webhook_free(w);
}

static void answer_unwanted(struct webhook *w)
{
    char reason[128 + 2 * NAME_MAX_BYTES];
    struct str action = cut(buf_view(&w->action));
    snprintf(reason, sizeof reason, "the event %.*s%s%.*s is not among the trigger's events",
             (int)w->event.n, w->event.p, action.n != 0 ? "." : "", (int)action.n, action.p);
    answer_nothing_to_do(w, "filtered", reason);
}

/* A filter that fails is a fault of our configuration. The sender did nothing wrong and cannot mend it: it gets 200, so that it neither
 * switches the hook off nor sends the same again and again; the ledger has the reason and the body for a replay. What may be better in a
 * moment is answered 503, and is in the ledger too, because some senders never try again. */
static void answer_broken_filter(struct webhook *w, const struct err *e)
{
    if (e->code == ERR_UNAVAILABLE || e->code == ERR_CANCELLED) {
        reject(w, "rejected", e);
        return;
    }
    record(w, "rejected", 200, str_of(e->text));
    reply(w, 200, "rejected", (struct str){NULL, 0}, e->text);
}

/* What the trigger's input: made of the event must be what the job asks for. */
static bool take_input(struct webhook *w, struct str input, struct err *e)
{
    const struct pipeline *p = config_pipeline(w->config, str_of(w->hook->pipeline));
    if (input.n != 0 && p != NULL && p->job != NULL)
        return start_input(p->job, input, &w->input, e);
    buf_str(&w->input, input);
    return true;
}

static void on_judged(void *arg, bool wanted, struct str input, const struct err *e)
{
    struct webhook *w = arg;
    struct err wrong;
    if (e != NULL) {
        answer_broken_filter(w, e);
    } else if (!wanted) {
        answer_nothing_to_do(w, "filtered", "the trigger's when: does not want this event");
    } else if (!take_input(w, input, &wrong)) {
        answer_broken_filter(w, &wrong);
    } else {
        submit(w, on_submitted);
    }
}

static void start(struct webhook *w)
{
    if (w->hook->when == NULL && w->hook->input == NULL) {
        submit(w, on_submitted);
        return;
    }
    struct buf envelope = {0};
    webhook_envelope(&envelope, w);
    filter_judge(w->hook->when, w->hook->input, buf_view(&envelope), on_judged, w);
    buf_finish(&envelope);
}

void hooks_take(struct webhook *w, webhook_header_fn header, const void *arg)
{
    struct err e;
    const struct verify_scheme *scheme = hooks_scheme(w->config, w->hook);
    w->ids_at = scheme->ids_at;
    w->events_at = scheme->events_at;
    if (!webhook_read(w, header, arg, &e) || !name_fits(w->event, "event's name", &e) ||
        !name_fits(w->external_id, "delivery's id", &e)) {
        reject(w, "rejected", &e);
        return;
    }
    if (scheme->challenge != NULL && w->challenge.n != 0 && str_is(w->event, scheme->challenge)) {
        answer_challenge(w);
        return;
    }
    if (w->hook->write == NULL) { /* only where undefined targets were allowed */
        err_fail(&e, ERR_UNAVAILABLE, "the trigger %s starts nothing: its target is not defined",
                 w->hook->path);
        reject(w, "rejected", &e);
        return;
    }
    if (scheme->ping != NULL && str_is(w->event, scheme->ping))
        answer_nothing_to_do(w, "ping", "the sender only says that the hook is set up");
    else if (!webhook_wanted(w))
        answer_unwanted(w);
    else
        start(w);
}

/* From the outside. */

struct collecting {
    struct webhook *to;
    const char *except;
};

static void collect_header(void *arg, struct str name, struct str value)
{
    struct collecting *c = arg;
    char lower[64];
    if (name.n >= sizeof lower)
        return;
    for (size_t i = 0; i < name.n; i++)
        lower[i] = (char)tolower((unsigned char)name.p[i]);
    lower[name.n] = '\0';
    if (webhook_header_wanted((struct str){lower, name.n}, c->except))
        webhook_header(c->to, lower, value);
}

static struct str header_of(const void *q, const char *name)
{
    return http_header(q, name);
}

/* Who the delivery says it is: by its hook's row, or by any row when it came for no hook. */
static void name_delivery(struct webhook *w)
{
    size_t n = 1;
    const struct verify_scheme *row;
    if (w->hook != NULL)
        row = hooks_scheme(w->config, w->hook);
    else
        row = verify_schemes(&n);
    for (size_t i = 0; i < n; i++) {
        if (w->event.n == 0)
            w->event = verify_first(row[i].events, header_of, w->user);
        if (w->external_id.n == 0)
            w->external_id = verify_first(row[i].ids, header_of, w->user);
    }
}

static struct webhook *arrive(struct http_req *q)
{
    struct config *c = store_config();
    struct str path = http_path(q);
    struct webhook *w = webhook_new(c, config_hook(c, path), clock_wall_us());
    w->user = q;
    w->path = path;
    w->body = http_body(q);
    w->content_type = http_header(q, "content-type");
    struct collecting to = {w, w->hook == NULL ? "" : verifier_header(verifier_of(c, w->hook))};
    http_each_header(q, collect_header, &to);
    name_delivery(w);
    return w;
}

static bool admit(const struct webhook *w, struct err *e)
{
    struct http_req *q = w->user;
    if (http_refused(q) != NULL) {
        *e = *http_refused(q);
        return false;
    }
    if (w->hook == NULL)
        return err_fail(e, ERR_NOT_FOUND,
                        "no webhook trigger has the path %.*s: check the URL at the sender, or "
                        "add the trigger and replay this delivery",
                        (int)(w->path.n < 200 ? w->path.n : 200), w->path.p);
    if (http_method_of(q) != HTTP_POST_) {
        http_set_header(q, "allow", STR("POST"));
        struct str method = http_method_name(q);
        return err_fail(e, ERR_METHOD, "a webhook is sent with POST, not with %.*s",
                        (int)(method.n < 20 ? method.n : 20), method.p);
    }
    return verifier_check(verifier_of(w->config, w->hook), header_of, q, w->body,
                          w->received_us / 1000000, e);
}

size_t hooks_max_body(const struct http_req *q)
{
    const struct config *c = store_config();
    const struct hook *hook = config_hook(c, http_path(q));
    return hook != NULL && hook->max_body != 0 ? hook->max_body : (size_t)c->set.hook_max_body;
}

void hooks_post(struct http_req *q)
{
    struct webhook *w = arrive(q);
    struct err e;
    w->believed = admit(w, &e);
    if (w->believed)
        hooks_take(w, header_of, q);
    else
        reject(w, w->hook == NULL && http_refused(q) == NULL ? "unrouted" : "rejected", &e);
}
