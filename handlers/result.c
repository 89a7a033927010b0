/* SPDX-License-Identifier: Apache-2.0 */
/* The view of a run names the key of its result. That is a key like all others, so whatever stands there now is shown: also what
 * somebody wrote over it, and then as text when it is no JSON, so that the answer stays JSON. */
#include "handlers/result.h"

#include "base/json.h"
#include "base/mem.h"
#include "core/run.h"

bool result_is_end(struct str state)
{
    static const char *const open[] = {"queued", "running", "waiting"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        if (str_is(state, open[i]))
            return false;
    }
    return state.n != 0;
}

struct result_op {
    struct buf json;
    result_fn fn;
    void *arg;
};

static void finish(struct result_op *op, bool ended, const struct err *e)
{
    op->fn(op->arg, buf_view(&op->json), ended, e);
    buf_finish(&op->json);
    mem_free(op);
}

static void add_output(struct buf *json, struct str value)
{
    struct jscan *s = jscan_new();
    struct err e;
    json->n--; /* the object's end */
    if (jscan_parse(s, value, &e))
        buf_json_field_raw(json, "output", value);
    else
        buf_json_field(json, "output", value);
    buf_char(json, '}');
    jscan_free(s);
}

static void on_value(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    struct result_op *op = arg;
    if (e == NULL && n == 1 && values[0].version > 0)
        add_output(&op->json, values[0].value);
    finish(op, true, e);
}

static void on_run(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct result_op *op = arg;
    if (e != NULL) {
        finish(op, false, e);
        return;
    }
    buf_str(&op->json, json);
    struct json *run = json_parse(json, NULL);
    struct str state = json_str(json_get(run, "state"));
    struct str key = json_str(json_get(run, "output_key"));
    if (str_is(state, "succeeded") && key.n != 0)
        kv_get(1, &key, on_value, op);
    else
        finish(op, result_is_end(state), NULL);
    json_free(run);
}

void result_get(struct str run, result_fn fn, void *arg)
{
    struct result_op *op = mem_new(struct result_op);
    *op = (struct result_op){.fn = fn, .arg = arg};
    run_get(run, on_run, op);
}

struct value_op {
    char *run;
    char *state;
    result_value_fn fn;
    void *arg;
};

static void finish_value(struct value_op *op, const struct kv_value *v, const struct err *e)
{
    struct err none;
    if (e == NULL && v == NULL) {
        err_fail(&none, ERR_NOT_FOUND, "the run %.100s has no output: it is %s", op->run,
                 op->state);
        e = &none;
    }
    op->fn(op->arg, v, e);
    mem_free(op->run);
    mem_free(op->state);
    mem_free(op);
}

static void on_only_value(void *arg, size_t n, const struct kv_value *values, const struct err *e)
{
    bool there = e == NULL && n == 1 && values[0].version > 0;
    finish_value(arg, there ? values : NULL, e);
}

static void on_run_of_value(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct value_op *op = arg;
    struct json *run = e == NULL ? json_parse(json, NULL) : NULL;
    struct str key = json_str(json_get(run, "output_key"));
    struct str state = json_str(json_get(run, "state"));
    op->state = mem_dup(state.p, state.n);
    if (key.n != 0)
        kv_get(1, &key, on_only_value, op);
    else
        finish_value(op, NULL, e);
    json_free(run);
}

void result_value(struct str run, result_value_fn fn, void *arg)
{
    struct value_op *op = mem_new(struct value_op);
    *op = (struct value_op){.run = mem_dup(run.p, run.n), .fn = fn, .arg = arg};
    run_get(run, on_run_of_value, op);
}
