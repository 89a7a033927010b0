/* SPDX-License-Identifier: Apache-2.0 */
/* The schedules as pipeline/trigger/cron tells them. */
#include "handlers/schedules.h"

#include "config/config.h"
#include "core/store.h"
#include "handlers/query.h"
#include "trigger/cron.h"

enum { FIRES = 5, FIRES_MAX = 100 };

static void on_list(void *arg, struct str json, const struct err *e)
{
    query_on_json(arg, json, (struct str){NULL, 0}, e);
}

void schedules_list(struct http_req *q)
{
    struct str n = http_query(q, "n"), name = http_query(q, "job");
    const struct job *j = store_config() && name.n > 0 ? config_job(store_config(), name) : NULL;
    size_t fires;
    if (!query_limit(n, FIRES, FIRES_MAX, &fires, NULL))
        http_problem(q, ERR_BAD_INPUT, "n must be a number of fires from 1 to %d", FIRES_MAX);
    else if (name.n > 0 && !j)
        http_problem(q, ERR_NOT_FOUND, "there is no job %.*s; GET /v1/jobs lists them",
                     (int)(name.n < 100 ? name.n : 100), name.p);
    else
        cron_list(j ? j->name : NULL, fires, on_list, q);
}
