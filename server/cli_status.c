/* SPDX-License-Identifier: Apache-2.0 */
/* status: is the server there, and can it work? With --wait it is asked until it can, so that a script may start one in the
 * background and go on. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli_parts.h"

enum { READY_MAX_MS = 60000, ASK_AGAIN_MS = 20, ASK_AGAIN_MAX_MS = 500 };

static int wait_ready(struct cli *c)
{
    int64_t until_us = clock_mono_us() + (int64_t)READY_MAX_MS * 1000;
    struct buf problem = {0};
    int64_t pause_ms = ASK_AGAIN_MS;
    for (;;) {
        struct answer a = {0};
        struct request q = {.method = "GET", .path = "/readyz", .timeout_ms = 5000};
        buf_clear(&problem);
        int code = cli_try(c, &q, &a, &problem);
        bool later = code == EXIT_UNREACHABLE || a.status == 503;
        answer_finish(&a);
        if (code == EXIT_OK || !later || clock_mono_us() > until_us) {
            if (code != EXIT_OK)
                cli_fail(c, code, "%s", problem.p);
            buf_finish(&problem);
            return code;
        }
        cli_sleep(pause_ms);
        pause_ms = pause_ms * 2 < ASK_AGAIN_MAX_MS ? pause_ms * 2 : ASK_AGAIN_MAX_MS;
    }
}

static void print_texts(const char *name, const struct json *list)
{
    for (size_t i = 0; i < json_size(list); i++)
        print_pair(name, json_str(json_at(list, i)));
}

static void print_status(const struct json *s)
{
    struct buf age = {0};
    struct buf pipelines = {0};
    struct buf memory = {0};
    const struct json *config = json_get(s, "config");
    bool ready = json_bool(json_get(s, "ready"), false);
    short_age(&age, json_str(json_get(s, "started")), clock_wall_us() / 1000);
    buf_printf(&pipelines, "%lld, %lld webhooks",
               (long long)json_int(json_get(config, "pipelines"), 0),
               (long long)json_int(json_get(config, "hooks"), 0));
    short_size(&memory, json_int(json_get(s, "memory_bytes"), 0));
    print_pair("state", ready ? STR("ready") : STR("not ready"));
    print_texts("because", json_get(s, "reasons"));
    print_pair("version", json_str(json_get(s, "version")));
    print_pair("up for", buf_view(&age));
    print_pair("redis", json_bool(json_path(s, "redis.up"), false) ? STR("up") : STR("away"));
    print_pair("config", json_str(json_get(config, "dir")));
    print_pair("pipelines", buf_view(&pipelines));
    print_pair("memory", buf_view(&memory));
    print_texts("warning", json_get(config, "warnings"));
    buf_finish(&age);
    buf_finish(&pipelines);
    buf_finish(&memory);
}

int cli_status(struct cli *c)
{
    int code = c->flags[FLAG_WAIT] != NULL ? wait_ready(c) : EXIT_OK;
    struct json *s = code == EXIT_OK ? cli_get(c, "/v1/status", &code) : NULL;
    if (s == NULL)
        return code;
    if (cli_wants_json(c))
        code = cli_print(c, s);
    else
        print_status(s);
    if (code == EXIT_OK && !json_bool(json_get(s, "ready"), false))
        code = EXIT_FAILED;
    json_free(s);
    return code;
}
