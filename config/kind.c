/* SPDX-License-Identifier: Apache-2.0 */
/* How a stage's work is shown: its kind and, in a few words, what it does. Never a secret: URLs are shown without what may be one. */
#include <string.h>

#include "base/log.h"
#include "config/config.h"

const char *work_kind_name(const struct work *w)
{
    static const char *const deliveries[] = {
        [DELIVERY_EMAIL] = "email", [DELIVERY_SLACK] = "slack", [DELIVERY_HTTP] = "http",
        [DELIVERY_KV] = "kv",       [DELIVERY_FILE] = "file",   [DELIVERY_GITHUB] = "github"};
    if (w->kind == WORK_DELIVER && w->delivery != NULL)
        return deliveries[w->delivery->kind];
    if (w->agent != NULL)
        return "agent";
    switch (w->kind) {
    case WORK_NONE: return "none";
    case WORK_COMMAND: return "command";
    case WORK_HTTP: return "http";
    case WORK_EXTENSION: return "extension";
    case WORK_AGENT: return "agent";
    case WORK_START: return "start";
    case WORK_DELIVER: return "deliver";
    case WORK_ALERT: return "alert";
    }
    return "none";
}

/* Up to a query, and without user:password@. */
static void add_url(struct buf *out, const char *url)
{
    const char *slashes = strstr(url, "://");
    size_t end = strcspn(url, "?#");
    if (slashes != NULL) {
        const char *host = slashes + 3;
        size_t n = strcspn(host, "/?#");
        const char *at = memrchr(host, '@', n);
        if (at != NULL) {
            buf_add(out, url, (size_t)(host - url));
            buf_add(out, at + 1, end - (size_t)(at + 1 - url));
            return;
        }
    }
    buf_add(out, url, end);
}

static void add_delivery(struct buf *out, const struct delivery *d)
{
    if (d->to == NULL)
        return;
    if (d->kind == DELIVERY_HTTP)
        add_url(out, d->to);
    else
        buf_puts(out, d->to);
}

void work_text(struct buf *out, const struct work *w)
{
    size_t from = out->n;
    if (w->agent != NULL) {
        buf_puts(out, w->agent);
    } else if (w->kind == WORK_COMMAND) {
        for (char **a = w->argv; a != NULL && *a != NULL; a++) {
            if (a != w->argv)
                buf_char(out, ' ');
            buf_puts(out, *a);
        }
    } else if (w->kind == WORK_EXTENSION) {
        buf_printf(out, "%s: %s", w->extension, w->job);
    } else if (w->kind == WORK_HTTP && w->url != NULL) {
        add_url(out, w->url);
    } else if (w->kind == WORK_START && w->target != NULL) {
        buf_puts(out, strncmp(w->target, "job.", 4) == 0 ? w->target + 4 : w->target);
    } else if (w->kind == WORK_DELIVER && w->delivery != NULL) {
        add_delivery(out, w->delivery);
    } else if (w->kind == WORK_ALERT && w->alert != NULL) {
        buf_puts(out, w->alert->condition);
    }
    log_redact(out, from);
}
