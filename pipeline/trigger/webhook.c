/* SPDX-License-Identifier: Apache-2.0 */
/* The accept path is the busiest there is, so the payload is never parsed into a tree nor printed anew: it is validated, a few
 * fields are picked, and its bytes are copied once, into the envelope. A struct webhook and its buffers are used again, so that a
 * delivery costs no allocation once the server is warm. */
#include "trigger/webhook.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

enum { SPARE_MAX = 64, KEEP_BYTES = 32 * 1024, PICK_MAX = 256, SCAN_KEPT = 1024 * 1024 };

static struct {
    struct jscan *scan;
    struct webhook *spare[SPARE_MAX];
    size_t spare_n;
} self;

struct webhook *webhook_new(struct config *c, const struct hook *hook, int64_t wall_us)
{
    struct webhook *w = self.spare_n != 0 ? self.spare[--self.spare_n] : mem_new(struct webhook);
    w->config = config_ref(c);
    w->hook = hook;
    w->received_us = wall_us;
    id_make(w->delivery_id, wall_us);
    id_make(w->run_id, wall_us);
    return w;
}

static void finish(struct webhook *w)
{
    buf_finish(&w->headers);
    buf_finish(&w->action);
    buf_finish(&w->summary);
    buf_finish(&w->decoded);
    mem_free(w);
}

/* An empty buffer that keeps its memory unless that is much. */
static struct buf reused(struct buf b)
{
    if (b.cap > KEEP_BYTES)
        buf_finish(&b);
    else
        buf_clear(&b);
    return b;
}

void webhook_free(struct webhook *w)
{
    config_unref(w->config);
    if (self.spare_n == SPARE_MAX) {
        finish(w);
        return;
    }
    *w = (struct webhook){.headers = reused(w->headers),
                          .action = reused(w->action),
                          .summary = reused(w->summary),
                          .decoded = reused(w->decoded)};
    self.spare[self.spare_n++] = w;
}

static const char *find(struct str s, const char *text)
{
    return s.n == 0 ? NULL : memmem(s.p, s.n, text, strlen(text));
}

bool webhook_header_wanted(struct str name, const char *except)
{
    static const char *const secret[] = {"auth",   "cookie", "signature",  "token",
                                         "secret", "passw",  "credential", "session"};
    static const char *const transport[] = {
        "host",   "connection",      "content-length", "transfer-encoding", "te",
        "expect", "accept-encoding", "upgrade",        "keep-alive",        "trailer"};
    /* The ledger finds the payload in an envelope by its first ,"payload": */
    if (str_is(name, except) || str_is(name, "payload"))
        return false;
    if (find(name, "key") != NULL && !str_is(name, "idempotency-key"))
        return false;
    for (size_t i = 0; i < sizeof transport / sizeof transport[0]; i++) {
        if (str_is(name, transport[i]))
            return false;
    }
    for (size_t i = 0; i < sizeof secret / sizeof secret[0]; i++) {
        if (find(name, secret[i]) != NULL)
            return false;
    }
    return true;
}

static bool is_form(struct str type)
{
    return str_is_icase(type, "application/x-www-form-urlencoded");
}

static bool is_json(struct str type)
{
    if (type.n == 0 || str_is_icase(type, "application/json"))
        return true;
    struct str suffix = {type.p + (type.n < 5 ? 0 : type.n - 5), type.n < 5 ? 0 : 5};
    return str_is_icase(suffix, "+json") && memchr(type.p, '/', type.n) != NULL;
}

/* payload=... of a form. */
static bool read_form(struct webhook *w, struct err *e)
{
    struct str rest = w->body;
    struct str found = {NULL, 0};
    while (rest.p != NULL) {
        struct str field = str_split(&rest, '&');
        if (!str_starts(field, "payload="))
            continue;
        if (found.p != NULL)
            return err_fail(e, ERR_BAD_INPUT, "the form has more than one field named payload");
        found = (struct str){field.p + 8, field.n - 8};
    }
    if (found.p == NULL)
        return err_fail(e, ERR_BAD_INPUT,
                        "the form has no field named payload; send payload=<JSON, URL-encoded>, "
                        "or JSON with the content type application/json");
    buf_clear(&w->decoded);
    if (!buf_url_decode(&w->decoded, found, true))
        return err_fail(e, ERR_BAD_INPUT, "the form's field payload has a bad %% escape");
    w->payload = buf_view(&w->decoded);
    return true;
}

static bool find_json(struct webhook *w, struct err *e)
{
    struct str type = w->content_type;
    const char *end = type.n == 0 ? NULL : memchr(type.p, ';', type.n);
    if (end != NULL)
        type.n = (size_t)(end - type.p);
    type = str_trim(type);
    if (is_form(type))
        return read_form(w, e);
    if (!is_json(type))
        return err_fail(e, ERR_MEDIA_TYPE,
                        "the content type %.*s is not taken; send application/json, or "
                        "application/x-www-form-urlencoded with the JSON in payload=",
                        (int)(type.n < 100 ? type.n : 100), type.p);
    w->payload = w->body;
    return true;
}

static void pick(struct buf *out, const char *name, const char *const *pointers)
{
    for (; *pointers != NULL; pointers++) {
        struct str s = jscan_pick(self.scan, *pointers);
        if (s.n != 0) {
            buf_json_field(out, name, (struct str){s.p, s.n < PICK_MAX ? s.n : PICK_MAX});
            return;
        }
    }
}

/* What lists show of a delivery, where the payload looks like those of the known code hosts. */
static void pick_fields(struct webhook *w)
{
    static const char *const repository[] = {"/repository/full_name",
                                             "/project/path_with_namespace", NULL};
    static const char *const sender[] = {"/sender/login", "/user_username", NULL};
    static const char *const action[] = {"/action", NULL};
    static const char *const ref[] = {"/ref", NULL};
    buf_clear(&w->action);
    buf_clear(&w->summary);
    buf_char(&w->summary, '{');
    if (jscan_is_object(self.scan)) {
        buf_str(&w->action, jscan_pick(self.scan, "/action"));
        pick(&w->summary, "repository", repository);
        pick(&w->summary, "sender", sender);
        pick(&w->summary, "action", action);
        pick(&w->summary, "ref", ref);
    }
    buf_char(&w->summary, '}');
}

bool webhook_read(struct webhook *w, struct err *e)
{
    if (!find_json(w, e))
        return false;
    if (self.scan == NULL)
        must((self.scan = jscan_new()) != NULL);
    bool good = jscan_parse(self.scan, w->payload, e);
    if (good)
        pick_fields(w);
    else if (w->payload.n != 0 && memchr(w->payload.p, '\0', w->payload.n) != NULL)
        err_fail(e, ERR_BAD_INPUT, "not valid JSON: it has a NUL byte in it; send UTF-8 text");
    if (w->payload.n > SCAN_KEPT) { /* one big delivery must not cost memory for ever */
        jscan_free(self.scan);
        self.scan = NULL;
    }
    return good;
}

/* "push", or "pull_request.opened": event and action. */
static bool entry_takes(const char *entry, const struct webhook *w)
{
    if (str_is(w->event, entry))
        return true;
    size_t n = strlen(entry);
    return w->action.n != 0 && n == w->event.n + 1 + w->action.n &&
           memcmp(entry, w->event.p, w->event.n) == 0 && entry[w->event.n] == '.' &&
           memcmp(entry + w->event.n + 1, w->action.p, w->action.n) == 0;
}

bool webhook_wanted(const struct webhook *w)
{
    if (w->hook->events == NULL)
        return true;
    for (char **entry = w->hook->events; *entry != NULL; entry++) {
        if (entry_takes(*entry, w))
            return true;
    }
    return false;
}

void webhook_envelope(struct buf *out, const struct webhook *w)
{
    buf_reserve(out, w->payload.n + w->headers.n + w->path.n + 512);
    buf_char(out, '{');
    buf_json_field(out, "hook", w->path);
    buf_json_field(out, "event", w->event);
    buf_json_field(out, "delivery",
                   w->external_id.n != 0 ? w->external_id : str_of(w->delivery_id));
    buf_puts(out, ",\"received_at\":\"");
    clock_rfc3339(out, w->received_us);
    buf_puts(out, "\",\"headers\":");
    if (w->headers.n != 0)
        buf_str(out, buf_view(&w->headers));
    else
        buf_puts(out, "{}");
    buf_puts(out, ",\"payload\":");
    buf_str(out, w->payload);
    buf_char(out, '}');
}

void webhook_finish(void)
{
    while (self.spare_n != 0)
        finish(self.spare[--self.spare_n]);
    jscan_free(self.scan);
    self.scan = NULL;
}
