/* SPDX-License-Identifier: Apache-2.0 */
/* Two runs of the filters' child, one after the other: an event that is not wanted is not reshaped. */
#include "trigger/judge.h"

#include "base/mem.h"
#include "net/loop.h"
#include "work/filter.h"

struct op {
    char *input; /* the program; NULL: none */
    judge_fn fn;
    void *arg;
    struct buf event;
};

static void finish(struct op *op, bool wanted, struct str input, const struct err *e)
{
    op->fn(op->arg, wanted, input, e);
    mem_free(op->input);
    buf_finish(&op->event);
    mem_free(op);
}

/* The error's text, with the filter's key in front. */
static void fail(struct op *op, const char *key, const char *text, enum err_code code)
{
    struct err told;
    err_fail(&told, code, "%s: %s", key, text);
    finish(op, false, (struct str){NULL, 0}, &told);
}

static void on_input(void *arg, struct str out, const struct err *e)
{
    struct op *op = arg;
    if (e != NULL)
        fail(op, "input", e->text, e->code);
    else if (out.n == 0)
        fail(op, "input", "it gives nothing for this event", ERR_UNPROCESSABLE);
    else
        finish(op, true, out, NULL);
}

static void wanted(void *arg)
{
    struct op *op = arg;
    if (op->input != NULL)
        filter_run(str_of(op->input), buf_view(&op->event), on_input, op);
    else
        finish(op, true, buf_view(&op->event), NULL);
}

static void on_when(void *arg, struct str out, const struct err *e)
{
    struct op *op = arg;
    if (e != NULL)
        fail(op, "when", e->text, e->code);
    else if (filter_passes(out))
        wanted(op);
    else
        finish(op, false, (struct str){NULL, 0}, NULL);
}

void judge(const char *when, const char *input, struct str event, judge_fn fn, void *arg)
{
    struct op *op = mem_new(struct op);
    *op = (struct op){.input = mem_strdup(input), .fn = fn, .arg = arg};
    buf_str(&op->event, event);
    if (when != NULL)
        filter_run(str_of(when), buf_view(&op->event), on_when, op);
    else if (input != NULL)
        wanted(op);
    else
        loop_defer(wanted, op);
}
