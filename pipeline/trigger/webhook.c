/* SPDX-License-Identifier: Apache-2.0 */
/* The accept path is the busiest there is, so the payload is never parsed into a tree nor printed anew: it is validated, a few
 * fields are picked, and its bytes are copied once, into the envelope. A struct webhook and its buffers are used again, so that a
 * delivery costs no allocation once the server is warm. */
#include "trigger/webhook.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "trigger/cloudevent.h"

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
    buf_finish(&w->ce);
    buf_finish(&w->action);
    buf_finish(&w->summary);
    buf_finish(&w->challenge);
    buf_finish(&w->attributes);
    buf_finish(&w->decoded);
    buf_finish(&w->names);
    buf_finish(&w->input);
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
                          .ce = reused(w->ce),
                          .action = reused(w->action),
                          .summary = reused(w->summary),
                          .challenge = reused(w->challenge),
                          .attributes = reused(w->attributes),
                          .decoded = reused(w->decoded),
                          .names = reused(w->names),
                          .input = reused(w->input)};
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

static struct str media_type(struct str type)
{
    const char *end = type.n == 0 ? NULL : memchr(type.p, ';', type.n);
    if (end != NULL)
        type.n = (size_t)(end - type.p);
    return str_trim(type);
}

static struct str no_header(const void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return (struct str){NULL, 0};
}

static void add_header(struct buf *b, const char *name, struct str value)
{
    char mark[80];
    snprintf(mark, sizeof mark, "\"%s\":", name);
    if (b->n == 0)
        buf_char(b, '{');
    if (find(buf_view(b), mark) == NULL) /* of several with one name the first counts */
        buf_json_field(b, name, value);
}

void webhook_header(struct webhook *w, const char *name, struct str value)
{
    if (strncmp(name, "ce-", 3) != 0) {
        add_header(&w->headers, name, value);
        return;
    }
    if (cloudevent_mode(media_type(w->content_type), no_header, NULL) == CLOUDEVENT_STRUCTURED)
        return; /* what the body says counts */
    struct buf text = {0};
    bool good = cloudevent_decode(&text, value);
    add_header(&w->ce, name, value);
    add_header(&w->attributes, name, good && text.n != 0 ? buf_view(&text) : value);
    buf_finish(&text);
}

/* Two objects without their ends as one. */
static void add_joined(struct buf *out, const struct buf *a, const struct buf *b)
{
    buf_char(out, '{');
    if (a->n > 1)
        buf_add(out, a->p + 1, a->n - 1);
    if (a->n > 1 && b->n > 1)
        buf_char(out, ',');
    if (b->n > 1)
        buf_add(out, b->p + 1, b->n - 1);
    buf_char(out, '}');
}

void webhook_headers(struct buf *out, const struct webhook *w)
{
    add_joined(out, &w->headers, &w->ce);
}

static bool wrong_type(struct str type, const char *send, struct err *e)
{
    return err_fail(e, ERR_MEDIA_TYPE, "the content type %.*s is not taken; send %s",
                    (int)(type.n < 100 ? type.n : 100), type.p, send);
}

static bool read_event(struct webhook *w, enum cloudevent_mode mode, struct str type,
                       webhook_header_fn header, const void *arg, struct err *e)
{
    struct cloudevent c = {
        .attributes = &w->attributes, .names = &w->names, .decoded = &w->decoded};
    if (w->attributes.n == 0)
        buf_char(&w->attributes, '{');
    bool good = mode == CLOUDEVENT_BINARY
                    ? cloudevent_binary(&c, header, arg, type, w->body, self.scan, e)
                    : cloudevent_structured(&c, w->body, self.scan, e);
    w->event = c.type;
    w->external_id = c.id;
    w->payload = c.data;
    return good;
}

static bool find_json(struct webhook *w, webhook_header_fn header, const void *arg, struct err *e)
{
    struct str type = media_type(w->content_type);
    enum cloudevent_mode mode = cloudevent_mode(type, header, arg);
    w->payload = w->body;
    if (mode == CLOUDEVENT_BATCH)
        return wrong_type(type, "CloudEvents one by one: a delivery is one run", e);
    if (mode == CLOUDEVENT_STRUCTURED && !str_is_icase(type, "application/cloudevents+json"))
        return wrong_type(type, "CloudEvents as application/cloudevents+json", e);
    if (mode != CLOUDEVENT_NONE)
        return read_event(w, mode, type, header, arg, e);
    if (is_form(type))
        return read_form(w, e);
    return is_json(type) || wrong_type(type,
                                       "application/json, or "
                                       "application/x-www-form-urlencoded with the JSON in "
                                       "payload=",
                                       e);
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

/* What the body itself says that it is, where no header did. Both stand behind each other in one buffer, which moves while it grows. */
static void pick_names(struct webhook *w)
{
    if (w->names.n != 0)
        return; /* a CloudEvent */
    struct str found[2] = {{NULL, 0}, {NULL, 0}};
    const char *const *const pointers[2] = {w->event.n == 0 ? w->events_at : NULL,
                                            w->external_id.n == 0 ? w->ids_at : NULL};
    size_t n[2];
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; pointers[k] != NULL && pointers[k][i] != NULL && found[k].n == 0; i++)
            found[k] = jscan_pick(self.scan, pointers[k][i]);
        buf_str(&w->names, found[k]);
        n[k] = found[k].n;
    }
    if (n[0] != 0)
        w->event = (struct str){w->names.p, n[0]};
    if (n[1] != 0)
        w->external_id = (struct str){w->names.p + n[0], n[1]};
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
    buf_clear(&w->challenge);
    buf_clear(&w->summary);
    buf_char(&w->summary, '{');
    if (jscan_is_object(self.scan)) {
        pick_names(w);
        buf_str(&w->action, jscan_pick(self.scan, "/action"));
        buf_str(&w->challenge, jscan_pick(self.scan, "/challenge"));
        pick(&w->summary, "repository", repository);
        pick(&w->summary, "sender", sender);
        pick(&w->summary, "action", action);
        pick(&w->summary, "ref", ref);
    }
    buf_char(&w->summary, '}');
}

bool webhook_read(struct webhook *w, webhook_header_fn header, const void *arg, struct err *e)
{
    if (self.scan == NULL)
        must((self.scan = jscan_new()) != NULL);
    buf_clear(&w->names);
    bool found = find_json(w, header != NULL ? header : no_header, arg, e);
    bool good = found && jscan_parse(self.scan, w->payload, e);
    if (good)
        pick_fields(w);
    else if (found && w->payload.n != 0 && memchr(w->payload.p, '\0', w->payload.n) != NULL)
        err_fail(e, ERR_BAD_INPUT, "not valid JSON: it has a NUL byte in it; send UTF-8 text");
    if (w->body.n > SCAN_KEPT) { /* one big delivery must not cost memory for ever */
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
    buf_reserve(out, w->payload.n + w->headers.n + w->attributes.n + w->path.n + 512);
    buf_char(out, '{');
    buf_json_field(out, "hook", w->path);
    buf_json_field(out, "event", w->event);
    buf_json_field(out, "delivery",
                   w->external_id.n != 0 ? w->external_id : str_of(w->delivery_id));
    buf_puts(out, ",\"received_at\":\"");
    clock_rfc3339(out, w->received_us);
    buf_puts(out, "\",\"headers\":");
    add_joined(out, &w->headers, &w->attributes);
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
