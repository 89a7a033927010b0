/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters as lists, one by one, and all together. There may be very many, so what is done to all of them is done by parts: a call of Redis for some
 * hundred, and the next one when that is answered. */
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/codec.h"
#include "core/run.h"
#include "core/store.h"

/* Lists. */

struct view_op {
    char *run; /* of dead_get */
    run_json_fn fn;
    void *arg;
};

static void finish_view(struct view_op *op, struct buf *out, struct str next, const struct err *e)
{
    op->fn(op->arg, buf_view(out), next, e);
    buf_finish(out);
    mem_free(op->run);
    mem_free(op);
}

/* The members of a letter, without the object's end. */
static void add_letter(struct buf *out, struct str text)
{
    static const char *const names[] = {"id", "run", "pipeline", "stage", "key", "state", "error"};
    struct json *j = json_parse(text, NULL);
    struct str pipeline = json_str(json_get(j, "pipeline"));
    buf_char(out, '{');
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        buf_json_field(out, names[k], json_str(json_get(j, names[k])));
    if (str_starts(pipeline, "job."))
        buf_json_field(out, "job", (struct str){pipeline.p + 4, pipeline.n - 4});
    if (json_bool(json_get(j, "aside"), false))
        buf_json_field_bool(out, "after", true);
    buf_json_field_int(out, "attempts", json_int(json_get(j, "attempts"), 0));
    buf_json_key(out, "at");
    buf_char(out, '"');
    clock_rfc3339(out, json_int(json_get(j, "at"), 0) * 1000);
    buf_char(out, '"');
    json_free(j);
}

static void on_letters(void *arg, const struct reply *r, const struct err *e)
{
    struct buf out = {0};
    buf_char(&out, '[');
    for (size_t i = 1; i < reply_len(r); i++) {
        if (i != 1)
            buf_char(&out, ',');
        add_letter(&out, reply_str(reply_at(r, i)));
        buf_char(&out, '}');
    }
    buf_char(&out, ']');
    finish_view(arg, &out, reply_str(reply_at(r, 0)), e);
}

void dead_list(const char *pipeline, struct str cursor, size_t limit, run_json_fn fn, void *arg)
{
    struct args a = {0};
    struct view_op *op = mem_new(struct view_op);
    *op = (struct view_op){.fn = fn, .arg = arg};
    args_add(&a, str_of(pipeline != NULL ? pipeline : ""));
    args_add(&a, cursor);
    args_int(&a, (int64_t)limit);
    store_call("letters", a.n, a.v, on_letters, op);
    args_finish(&a);
}

/* The value as it was written; what is no JSON is shown as text. */
static void add_input(struct buf *out, struct str stored, struct str meta)
{
    struct buf plain = {0};
    struct jscan *s = jscan_new();
    struct str encoding = codec_meta(meta).encoding;
    if (encoding.n != 0 && codec_decode(&plain, stored, encoding))
        stored = buf_view(&plain);
    if (jscan_parse(s, stored, NULL))
        buf_json_field_raw(out, "input", stored);
    else if (stored.p != NULL)
        buf_json_field(out, "input", stored);
    jscan_free(s);
    buf_finish(&plain);
}

static void add_whole(struct buf *out, const struct reply *r, size_t i)
{
    add_letter(out, reply_str(reply_at(r, i)));
    add_input(out, reply_str(reply_at(r, i + 1)), reply_str(reply_at(r, i + 2)));
}

static int64_t time_of(const struct reply *letter)
{
    struct json *j = json_parse(reply_str(letter), NULL);
    int64_t at = json_int(json_get(j, "at"), 0);
    json_free(j);
    return at;
}

static void on_letters_of(void *arg, const struct reply *r, const struct err *e)
{
    struct view_op *op = arg;
    struct buf out = {0};
    struct err none;
    size_t newest = 0;
    if (e == NULL && reply_len(r) == 0) {
        err_fail(&none, ERR_NOT_FOUND, "there is no dead letter of a run %s (any more)", op->run);
        e = &none;
    }
    if (e != NULL) {
        finish_view(op, &out, (struct str){NULL, 0}, e);
        return;
    }
    for (size_t i = 3; i + 2 < reply_len(r); i += 3) {
        if (time_of(reply_at(r, i)) > time_of(reply_at(r, newest)))
            newest = i;
    }
    add_whole(&out, r, newest);
    if (reply_len(r) > 3) {
        buf_json_key(&out, "others");
        buf_char(&out, '[');
        for (size_t i = 0; i + 2 < reply_len(r); i += 3) {
            if (i == newest)
                continue;
            if (out.p[out.n - 1] != '[')
                buf_char(&out, ',');
            add_whole(&out, r, i);
            buf_char(&out, '}');
        }
        buf_char(&out, ']');
    }
    buf_char(&out, '}');
    finish_view(op, &out, (struct str){NULL, 0}, NULL);
}

void dead_get(struct str run, run_json_fn fn, void *arg)
{
    struct view_op *op = mem_new(struct view_op);
    *op = (struct view_op){.run = mem_dup(run.p, run.n), .fn = fn, .arg = arg};
    store_call("letters_of", 1, &run, on_letters_of, op);
}

/* All, by parts. */

struct all_op {
    bool retry;
    char *pipeline;
    char *place; /* where the next part begins */
    int64_t n;
    run_done_fn fn;
    void *arg;
};

static void next_part(struct all_op *op);

static void on_part(void *arg, const struct reply *r, const struct err *e)
{
    struct all_op *op = arg;
    struct str place = reply_str(reply_at(r, 1));
    op->n += e == NULL ? reply_int(reply_at(r, 0)) : 0;
    mem_free(op->place);
    op->place = mem_dup(place.p, place.n);
    if (e == NULL && place.n != 0) {
        next_part(op);
        return;
    }
    op->fn(op->arg, op->n, e);
    mem_free(op->pipeline);
    mem_free(op->place);
    mem_free(op);
}

static void next_part(struct all_op *op)
{
    struct args a = {0};
    args_int(&a, store_config()->set.event_log_max);
    args_add(&a, str_of(op->pipeline));
    args_add(&a, str_of(op->place));
    store_call(op->retry ? "retry_letters" : "purge", a.n, a.v, on_part, op);
    args_finish(&a);
}

static void all(bool retry, const char *pipeline, run_done_fn fn, void *arg)
{
    struct all_op *op = mem_new(struct all_op);
    *op = (struct all_op){
        retry, mem_strdup(pipeline != NULL ? pipeline : ""), mem_strdup(""), 0, fn, arg};
    next_part(op);
}

void dead_retry_all(const char *pipeline, run_done_fn fn, void *arg)
{
    all(true, pipeline, fn, arg);
}

void dead_purge(const char *pipeline, run_done_fn fn, void *arg)
{
    all(false, pipeline, fn, arg);
}

struct run_op {
    char *run;
    run_done_fn fn;
    void *arg;
};

static void on_purged(void *arg, const struct reply *r, const struct err *e)
{
    struct run_op *op = arg;
    struct err none;
    if (e == NULL && reply_int(r) == 0) {
        err_fail(&none, ERR_NOT_FOUND, "there is no dead letter of a run %s (any more)", op->run);
        e = &none;
    }
    op->fn(op->arg, e == NULL ? reply_int(r) : 0, e);
    mem_free(op->run);
    mem_free(op);
}

void dead_purge_run(struct str run, run_done_fn fn, void *arg)
{
    struct run_op *op = mem_new(struct run_op);
    *op = (struct run_op){mem_dup(run.p, run.n), fn, arg};
    struct args a = {0};
    args_int(&a, store_config()->set.event_log_max);
    args_add(&a, run);
    store_call("purge_run", a.n, a.v, on_purged, op);
    args_finish(&a);
}
