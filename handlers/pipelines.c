/* SPDX-License-Identifier: Apache-2.0 */
/* A job is started as everything is started here: by writing its input key, in the atomic step that takes a delivery in, so that it has
 * a record of its run and a line in the ledger. A new UUID fills the one wildcard of the first stage's pattern; a key
 * with a UUID in it belongs to the run of that id. */
#include "handlers/pipelines.h"

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "core/run.h"
#include "core/store.h"

static void on_map(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    if (e)
        http_reply_err(arg, e);
    else
        http_reply_json(arg, 200, json);
}

void pipelines_map(struct http_req *q)
{
    pipeline_map(on_map, q);
}

static const struct pipeline *find(const struct config *c, struct str name)
{
    for (size_t i = 0; c && i < c->pipeline_n; i++)
        if (str_is(name, c->pipelines[i].name))
            return &c->pipelines[i];
    return NULL;
}

static const struct hook *hook_of(const struct config *c, const char *pipeline)
{
    for (size_t i = 0; i < c->hook_n; i++)
        if (c->hooks[i].pipeline && strcmp(c->hooks[i].pipeline, pipeline) == 0)
            return &c->hooks[i];
    return NULL;
}

/* What the first stage watches; NULL: there is none. */
static const char *input_of(const struct pipeline *p)
{
    return p->n > 0 ? p->stages[0].watch : NULL;
}

static void add_job(struct buf *out, const struct config *c, const struct pipeline *p)
{
    const struct hook *hook = hook_of(c, p->name);
    buf_char(out, '{');
    buf_json_field(out, "name", str_of(p->name));
    buf_json_field(out, "type", STR("pipeline"));
    if (input_of(p))
        buf_json_field(out, "input", str_of(input_of(p)));
    if (hook)
        buf_json_field(out, "hook", str_of(hook->path));
    buf_json_key(out, "stages");
    buf_char(out, '[');
    for (size_t i = 0; i < p->n; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_char(out, '{');
        buf_json_field(out, "id", str_of(p->stages[i].id));
        buf_json_field(out, "name", str_of(p->stages[i].name));
        buf_json_field(out, "watch", str_of(p->stages[i].watch));
        if (p->stages[i].write)
            buf_json_field(out, "write", str_of(p->stages[i].write));
        buf_char(out, '}');
    }
    buf_puts(out, "]}");
}

void pipelines_jobs(struct http_req *q)
{
    const struct config *c = store_config();
    struct buf out = {0};
    buf_char(&out, '[');
    for (size_t i = 0; c && i < c->pipeline_n; i++) {
        if (i > 0)
            buf_char(&out, ',');
        add_job(&out, c, &c->pipelines[i]);
    }
    buf_char(&out, ']');
    http_reply_json(q, 200, buf_view(&out));
    buf_finish(&out);
}

static const struct pipeline *named(struct http_req *q)
{
    struct str name = http_segment(q, "name");
    const struct pipeline *p = find(store_config(), name);
    if (!p)
        http_problem(q, ERR_NOT_FOUND, "there is no job %.*s; GET /v1/jobs lists them",
                     (int)(name.n < 100 ? name.n : 100), name.p);
    return p;
}

void pipelines_job(struct http_req *q)
{
    const struct pipeline *p = named(q);
    if (!p)
        return;
    struct buf out = {0};
    add_job(&out, store_config(), p);
    http_reply_json(q, 200, buf_view(&out));
    buf_finish(&out);
}

struct start_op {
    struct http_req *q;
    char *run; /* what the answer names */
};

static void finish_start(struct start_op *op, const struct err *e)
{
    struct buf out = {0}, location = {0};
    if (e) {
        http_reply_err(op->q, e);
    } else {
        buf_puts(&location, "/v1/runs/");
        buf_url_encode(&location, str_of(op->run));
        http_set_header(op->q, "location", buf_view(&location));
        buf_char(&out, '{');
        buf_json_field(&out, "run_id", str_of(op->run));
        buf_char(&out, '}');
        http_reply_json(op->q, 202, buf_view(&out));
    }
    buf_finish(&out);
    buf_finish(&location);
    mem_free(op->run);
    mem_free(op);
}

static void on_ingested(void *arg, enum start_outcome outcome, struct str run, const struct err *e)
{
    (void)outcome;
    (void)run;
    finish_start(arg, e);
}

/* The input key with id in the place of the wildcard; false: the pattern has none or several. */
static bool input_key(struct buf *key, const char *watch, struct str id)
{
    if (!watch || pattern_wilds(str_of(watch)) != 1)
        return false;
    for (const char *c = watch; *c; c++)
        if (*c == '*' || *c == '>')
            buf_str(key, id);
        else
            buf_char(key, *c);
    return true;
}

static bool is_json(struct str body, struct err *e)
{
    struct jscan *s = jscan_new();
    bool ok = jscan_parse(s, body, e);
    jscan_free(s);
    return ok;
}

static void start(struct http_req *q, const struct pipeline *p, const char *id, struct str key)
{
    struct start_op *op = mem_new(struct start_op);
    op->q = q;
    op->run = mem_strdup(id);
    struct start in = {.pipeline = str_of(p->name),
                       .cause = "api",
                       .key = key,
                       .value = http_body(q),
                       .received_ms = clock_wall_us() / 1000,
                       .size = (int64_t)http_body(q).n};
    memcpy(in.run_id, id, ID_SIZE);
    run_begin(&in, on_ingested, op);
}

void pipelines_start(struct http_req *q)
{
    struct err e;
    struct buf key = {0};
    char id[ID_SIZE];
    const struct pipeline *p = named(q);
    if (!p)
        return;
    if (!is_json(http_body(q), &e)) {
        http_reply_err(q, &e);
        return;
    }
    id_make(id, clock_wall_us());
    if (!store_up())
        http_problem(q, ERR_REDIS, "Redis is not reachable, so no run can be kept; try again");
    else if (!input_key(&key, input_of(p), str_of(id)))
        http_problem(q, ERR_UNPROCESSABLE,
                     "the first stage of %s does not watch a pattern with one wildcard, so its key "
                     "cannot be chosen here; put the key by /v1/kv",
                     p->name);
    else
        start(q, p, id, buf_view(&key));
    buf_finish(&key);
}
