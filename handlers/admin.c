/* SPDX-License-Identifier: Apache-2.0 */
/* /healthz must not look at Redis: a supervisor that restarts the process because Redis is away makes things worse. /readyz is what
 * a load balancer asks: it says every reason at once, so that one look is enough. */
#include "handlers/admin.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/claim.h"
#include "core/event.h"
#include "core/store.h"
#include "net/hub.h"

static int64_t started_us; /* wall clock of the first look, which is the start */

__attribute__((constructor)) static void note_start(void)
{
    started_us = clock_wall_us();
}

void admin_health(struct http_req *q)
{
    http_set_header(q, "cache-control", STR("no-store"));
    http_reply_json(q, 200, STR("{\"status\":\"ok\"}"));
}

static void add_reason(struct buf *list, const char *reason)
{
    if (list->n > 0)
        buf_char(list, ',');
    buf_json_str(list, str_of(reason));
}

/* The reasons against being ready as JSON strings with commas; nothing: ready. */
static void reasons(struct buf *list)
{
    if (!store_config())
        add_reason(list, "no configuration is live");
    if (!store_up())
        add_reason(list, *store_trouble() ? store_trouble() : "Redis is not connected yet");
    else if (!claim_ready())
        add_reason(list, "the stages are being registered");
}

void admin_ready(struct http_req *q)
{
    struct buf list = {0}, out = {0};
    reasons(&list);
    http_set_header(q, "cache-control", STR("no-store"));
    if (list.n == 0) {
        http_reply_json(q, 200, STR("{\"status\":\"ready\"}"));
        return;
    }
    buf_puts(&out, "{\"type\":\"about:blank\",\"title\":\"not ready\",\"status\":503,"
                   "\"detail\":\"the server runs, but cannot do its work yet; see reasons\","
                   "\"reasons\":[");
    buf_str(&out, buf_view(&list));
    buf_puts(&out, "]}");
    http_set_header(q, "retry-after", STR("1"));
    http_reply(q, 503, "application/problem+json", buf_view(&out));
    buf_finish(&list);
    buf_finish(&out);
}

void admin_metrics(struct http_req *q)
{
    struct buf out = {0};
    metric_set(METRIC_REDIS_UP, store_up() ? 1 : 0);
    metric_set_for(METRIC_CONNECTIONS, "live", (double)hub_count());
    metric_render(&out);
    http_reply(q, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&out));
    buf_finish(&out);
}

static int64_t resident_bytes(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(f);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static void add_config(struct buf *out)
{
    const struct config *c = store_config();
    buf_json_key(out, "config");
    if (!c) {
        buf_puts(out, "null");
        return;
    }
    buf_char(out, '{');
    if (c->dir)
        buf_json_field(out, "dir", str_of(c->dir));
    buf_json_field_int(out, "pipelines", (int64_t)c->pipeline_n);
    buf_json_field_int(out, "hooks", (int64_t)c->hook_n);
    buf_json_key(out, "warnings");
    buf_char(out, '[');
    for (char **w = c->warnings; w && *w; w++) {
        if (w != c->warnings)
            buf_char(out, ',');
        buf_json_str(out, str_of(*w));
    }
    buf_puts(out, "]}");
}

static void add_redis(struct buf *out)
{
    buf_json_key(out, "redis");
    buf_char(out, '{');
    buf_json_field_bool(out, "up", store_up());
    buf_json_field_bool(out, "notifications", store_notifications());
    if (*store_trouble())
        buf_json_field(out, "trouble", str_of(store_trouble()));
    buf_char(out, '}');
}

static void on_last(void *arg, uint64_t last_id, const struct err *e)
{
    struct http_req *q = arg;
    struct buf out = {0}, why = {0}, instant = {0};
    reasons(&why);
    clock_rfc3339(&instant, started_us);
    buf_char(&out, '{');
    buf_json_field(&out, "version", STR(HOOKMESH_VERSION));
    buf_json_field(&out, "started", buf_view(&instant));
    buf_json_field_int(&out, "uptime_ms", (clock_wall_us() - started_us) / 1000);
    buf_json_field_int(&out, "pid", getpid());
    buf_json_field_bool(&out, "ready", why.n == 0);
    buf_json_key(&out, "reasons");
    buf_char(&out, '[');
    buf_str(&out, buf_view(&why));
    buf_char(&out, ']');
    add_redis(&out);
    if (!e) {
        buf_json_key(&out, "event_id");
        buf_printf(&out, "\"%llu\"", (unsigned long long)last_id);
    }
    add_config(&out);
    buf_json_field_int(&out, "memory_bytes", resident_bytes());
    buf_json_field_int(&out, "live_clients", (int64_t)hub_count());
    buf_char(&out, '}');
    http_set_header(q, "cache-control", STR("no-store"));
    http_reply_json(q, 200, buf_view(&out));
    buf_finish(&out);
    buf_finish(&why);
    buf_finish(&instant);
}

void admin_status(struct http_req *q)
{
    event_last(on_last, q);
}
