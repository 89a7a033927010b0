/* SPDX-License-Identifier: Apache-2.0 */
/* The table and nothing else: what a URL is called stands here once. The first row that fits a path and method is taken, and
 * what no row takes is a file of the dashboard. */
#include "handlers/routes.h"

#include "handlers/admin.h"
#include "handlers/analytics.h"
#include "handlers/auth.h"
#include "handlers/dead.h"
#include "handlers/deliveries.h"
#include "handlers/events.h"
#include "handlers/hooks.h"
#include "handlers/jobs.h"
#include "handlers/keys.h"
#include "handlers/openapi.h"
#include "handlers/pipelines.h"
#include "handlers/runs.h"
#include "handlers/schedules.h"
#include "handlers/waits.h"

enum { SMALL = 65536, ANY_METHOD = 255 };

#define ROW(method, url, ...)                                                                      \
    {                                                                                              \
        .methods = method, .path = url, .fn = __VA_ARGS__                                          \
    }
/* clang-format off */
static const struct http_route table[] = {
    ROW(ANY_METHOD,   "/hooks/*",               hooks_post, .open = true, .refusals = true, .limit = hooks_max_body),
    ROW(HTTP_GET_,    "/v1/deliveries",         deliveries_list),
    ROW(HTTP_GET_,    "/v1/deliveries/:id",     deliveries_get),
    ROW(HTTP_POST_,   "/v1/deliveries/:id/replay", deliveries_replay, .max_body = SMALL),

    ROW(HTTP_GET_,    "/v1/kv",                 keys_list),
    ROW(HTTP_POST_,   "/v1/kv",                 keys_bulk,   .stream = true),
    ROW(HTTP_GET_,    "/v1/kv/*",               keys_get),
    ROW(HTTP_PUT_,    "/v1/kv/*",               keys_put),
    ROW(HTTP_DELETE_, "/v1/kv/*",               keys_delete, .max_body = SMALL),

    ROW(HTTP_GET_,    "/v1/runs",               runs_list),
    ROW(HTTP_GET_,    "/v1/runs/:id",           runs_get),
    ROW(HTTP_GET_,    "/v1/runs/:id/output",    runs_output),
    ROW(HTTP_GET_,    "/v1/runs/:id/logs",      runs_logs),
    ROW(HTTP_POST_,   "/v1/runs/:id/cancel",    runs_cancel, .max_body = SMALL),
    ROW(HTTP_POST_,   "/v1/runs/:id/retry",     runs_retry,  .max_body = SMALL),
    ROW(HTTP_GET_,    "/v1/dlq",                dead_letters),
    ROW(HTTP_DELETE_, "/v1/dlq",                dead_forget_all, .max_body = SMALL),
    ROW(HTTP_POST_,   "/v1/dlq/retry",          dead_again_all,  .max_body = SMALL),
    ROW(HTTP_GET_,    "/v1/dlq/:id",            dead_letter),
    ROW(HTTP_DELETE_, "/v1/dlq/:id",            dead_forget, .max_body = SMALL),
    ROW(HTTP_POST_,   "/v1/dlq/:id/retry",      dead_again,  .max_body = SMALL),

    ROW(HTTP_GET_,    "/v1/pipelines",          pipelines_map),
    ROW(HTTP_GET_,    "/v1/jobs",               jobs_list),
    ROW(HTTP_GET_,    "/v1/jobs/:name",         jobs_get),
    ROW(HTTP_POST_,   "/v1/jobs/:name/runs",    jobs_start),
    ROW(HTTP_GET_,    "/v1/schedules",          schedules_list),
    ROW(HTTP_GET_,    "/v1/analytics/jobs",     analytics_jobs),
    ROW(HTTP_GET_,    "/v1/events",             events_stream),

    ROW(HTTP_GET_,    "/v1/openapi.json",       openapi_get, .open = true),
    ROW(HTTP_GET_,    "/v1/status",             admin_status),
    ROW(HTTP_GET_,    "/metrics",               admin_metrics),
    ROW(HTTP_GET_,    "/healthz",               admin_health, .open = true),
    ROW(HTTP_GET_,    "/readyz",                admin_ready,  .open = true),
    ROW(HTTP_GET_,    "/login",                 auth_login_code,  .open = true),
    ROW(HTTP_POST_,   "/login",                 auth_login_token, .open = true, .max_body = SMALL),
    ROW(HTTP_POST_,   "/logout",                auth_logout,      .max_body = SMALL),
    {.path = NULL},
};
/* clang-format on */

const struct http_route *routes_table(void)
{
    return table;
}

void routes_stop(void)
{
    keys_list_stop();
    keys_watch_stop();
    runs_stop();
    waits_stop();
    events_stop();
}
