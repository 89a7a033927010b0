/* SPDX-License-Identifier: Apache-2.0 */
/* Any body under any type: what is taken makes an envelope that is JSON and ends with the payload's bytes. The first byte chooses the
 * type. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trigger/webhook.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char *const types[] = {"application/json", "application/x-www-form-urlencoded",
                                        "application/x+json; charset=utf-8", NULL};
    static char path[] = "/hooks/x", event[] = "push", action[] = "pull_request.opened";
    static char *events[] = {event, action, NULL};
    static struct hook hook = {.path = path, .events = events};
    static struct config *config;
    static struct jscan *scan;
    if (config == NULL) {
        config = config_load(NULL, NULL, false, NULL);
        scan = jscan_new();
    }
    if (size == 0)
        return 0;
    struct webhook *w = webhook_new(config, &hook, 0);
    struct err e;
    w->path = str_of(path);
    w->content_type = str_of(types[data[0] % 4]);
    w->event = STR("pull_request");
    w->external_id = (struct str){(const char *)data, size < 32 ? size : 32};
    w->body = (struct str){(const char *)data + 1, size - 1};
    if (webhook_read(w, NULL, NULL, &e)) {
        struct buf out = {0};
        webhook_wanted(w);
        webhook_envelope(&out, w);
        must(jscan_parse(scan, buf_view(&out), &e) || strstr(e.text, "deep") != NULL);
        must(memcmp(out.p + out.n - 1 - w->payload.n, w->payload.p, w->payload.n) == 0);
        must(jscan_parse(scan, buf_view(&w->summary), &e));
        buf_finish(&out);
    }
    webhook_free(w);
    return 0;
}
