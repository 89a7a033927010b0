/* SPDX-License-Identifier: Apache-2.0 */
/* Any body under any type, CloudEvents among them: what is taken makes an envelope that is JSON and ends with the payload's bytes. The first
 * byte chooses the type. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trigger/webhook.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

struct event { /* in binary mode */
    struct str id;
    struct str source;
    struct str type;
    struct str time;
};

static struct str header_of(const void *arg, const char *name)
{
    const struct event *ev = arg;
    if (ev == NULL)
        return (struct str){NULL, 0};
    if (strcmp(name, "ce-specversion") == 0)
        return STR("1.0");
    if (strcmp(name, "ce-id") == 0)
        return ev->id;
    if (strcmp(name, "ce-source") == 0)
        return ev->source;
    if (strcmp(name, "ce-type") == 0)
        return ev->type;
    return strcmp(name, "ce-time") == 0 ? ev->time : (struct str){NULL, 0};
}

static void check_taken(struct webhook *w)
{
    static struct jscan *scan;
    struct err e;
    struct buf out = {0};
    struct buf headers = {0};
    if (scan == NULL)
        scan = jscan_new();
    webhook_wanted(w);
    webhook_envelope(&out, w);
    webhook_headers(&headers, w);
    must(jscan_parse(scan, buf_view(&out), &e) || strstr(e.text, "deep") != NULL);
    must(memcmp(out.p + out.n - 1 - w->payload.n, w->payload.p, w->payload.n) == 0);
    must(jscan_parse(scan, buf_view(&w->summary), &e));
    must(jscan_parse(scan, buf_view(&headers), &e));
    buf_finish(&headers);
    buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    enum { BINARY = 5, TYPES = 7 };
    static const char *const types[TYPES] = {"application/json",
                                             "application/x-www-form-urlencoded",
                                             "application/x+json; charset=utf-8",
                                             NULL,
                                             "application/cloudevents+json",
                                             "text/plain",
                                             "image/png"};
    static const char *const at[] = {"/event/type", "/type", NULL};
    static char path[] = "/hooks/x", event[] = "push", action[] = "pull_request.opened";
    static char *events[] = {event, action, NULL};
    static struct hook hook = {.path = path, .events = events};
    static struct config *config;
    if (config == NULL)
        config = config_load(NULL, NULL, false, NULL);
    if (size == 0)
        return 0;
    struct webhook *w = webhook_new(config, &hook, 0);
    struct err e;
    struct event ev;
    struct str body = {(const char *)data + 1, size - 1};
    size_t type = data[0] % TYPES;
    w->path = str_of(path);
    w->content_type = str_of(types[type]);
    w->ids_at = w->events_at = at;
    if (type >= BINARY) { /* its attributes are the first lines */
        ev.id = str_split(&body, '\n');
        ev.source = str_split(&body, '\n');
        ev.type = str_split(&body, '\n');
        ev.time = str_split(&body, '\n');
        webhook_header(w, "ce-id", ev.id);
        webhook_header(w, "ce-type", ev.type);
    } else if (size % 2 == 0) {
        w->event = STR("pull_request");
        w->external_id = (struct str){(const char *)data, size < 32 ? size : 32};
    }
    webhook_header(w, "user-agent", (struct str){(const char *)data, size < 16 ? size : 16});
    w->body = body;
    if (webhook_read(w, header_of, type >= BINARY ? &ev : NULL, &e))
        check_taken(w);
    else
        must(e.text[0] != '\0');
    webhook_free(w);
    return 0;
}
