/* SPDX-License-Identifier: Apache-2.0 */
/* The schedules as people see them: the configuration, the next fires by Redis's clock, and what Redis noted of the ticks so far. Asked for
 * in pieces, so that ten thousand schedules do not hold Redis up. */
#include "trigger/cron.h"

#include <string.h>

#include "base/cron.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/store.h"

enum { CHUNK = 250, FIELDS = 4 };

struct list_op {
    struct config *config; /* a reference */
    char *job;
    size_t n;
    size_t at; /* of the piece that is asked for */
    size_t end;
    struct buf out;
    cron_json_fn fn;
    void *arg;
};

static void finish(struct list_op *op, const struct err *e)
{
    if (e == NULL)
        buf_char(&op->out, ']');
    op->fn(op->arg, e == NULL ? buf_view(&op->out) : (struct str){NULL, 0}, e);
    config_unref(op->config);
    mem_free(op->job);
    buf_finish(&op->out);
    mem_free(op);
}

static const struct job *job_of(const struct list_op *op, const struct schedule *s)
{
    const struct pipeline *p = config_pipeline(op->config, str_of(s->pipeline));
    return p != NULL ? p->job : NULL;
}

static bool wanted(const struct list_op *op, const struct schedule *s)
{
    const struct job *j = job_of(op, s);
    return op->job == NULL || strcmp(op->job, s->pipeline) == 0 ||
           (j != NULL && strcmp(op->job, j->name) == 0);
}

static void add_instant(struct buf *out, const struct zone *z, int64_t at_s)
{
    buf_char(out, '"');
    zone_rfc3339(out, z, at_s);
    buf_char(out, '"');
}

static void add_offset(struct buf *out, const char *key, const struct zone *z, int64_t at_s)
{
    struct buf text = {0};
    zone_rfc3339(&text, z, at_s);
    buf_json_field(out, key, (struct str){text.p + text.n - 6, 6});
    buf_finish(&text);
}

static void add_fires(const struct list_op *op, struct buf *out, const struct schedule *s,
                      int64_t now_s)
{
    struct cron c;
    const struct zone *z = zone_find(s->timezone, NULL);
    int64_t at = now_s, change;
    buf_json_key(out, "next");
    buf_char(out, '[');
    bool known = z != NULL && cron_parse(str_of(s->expression), &c, NULL);
    for (size_t i = 0; known && i < op->n && cron_next(&c, z, at, &at); i++) {
        if (i != 0)
            buf_char(out, ',');
        add_instant(out, z, at);
    }
    buf_char(out, ']');
    if (!known || !zone_next_change(z, now_s, &change) || change > at)
        return;
    buf_json_key(out, "change");
    buf_char(out, '{');
    buf_json_key(out, "at");
    add_instant(out, z, change);
    add_offset(out, "from", z, change - 1);
    add_offset(out, "to", z, change);
    buf_char(out, '}');
}

/* r: what cron_view says, from i on. */
static void add_past(struct buf *out, const struct schedule *s, const struct reply *r, size_t i)
{
    const struct zone *z = zone_find(s->timezone, NULL);
    struct str run = reply_str(reply_at(r, i + 1));
    struct str state = reply_str(reply_at(r, i + 3));
    buf_json_field_int(out, "missed", reply_int(reply_at(r, i)));
    if (run.n == 0 || z == NULL)
        return;
    buf_json_key(out, "last");
    buf_char(out, '{');
    buf_json_field(out, "run", run);
    buf_json_key(out, "at");
    add_instant(out, z, reply_int(reply_at(r, i + 2)) / 1000);
    if (state.n != 0)
        buf_json_field(out, "state", state);
    buf_char(out, '}');
}

static void add_schedule(const struct list_op *op, struct buf *out, const struct schedule *s,
                         const struct reply *r, size_t i)
{
    static const char *const misfires[] = {
        [MISFIRE_SKIP] = "skip", [MISFIRE_ONCE] = "once", [MISFIRE_ALL] = "all"};
    static const char *const overlaps[] = {[OVERLAP_SKIP] = "skip",
                                           [OVERLAP_QUEUE] = "queue",
                                           [OVERLAP_REPLACE] = "replace",
                                           [OVERLAP_ALLOW] = "allow"};
    const struct job *j = job_of(op, s);
    buf_char(out, '{');
    buf_json_field(out, "name", str_of(s->name));
    buf_json_field(out, "job", str_of(j != NULL ? j->name : s->pipeline));
    buf_json_field(out, "expression", str_of(s->expression));
    buf_json_field(out, "timezone", str_of(s->timezone != NULL ? s->timezone : "UTC"));
    buf_json_field(out, "misfire", str_of(misfires[s->misfire]));
    buf_json_field(out, "overlap", str_of(overlaps[j != NULL ? j->overlap : OVERLAP_SKIP]));
    buf_json_field_bool(out, "enabled", op->config->set.scheduler_enabled);
    add_fires(op, out, s, reply_int(reply_at(r, 0)) / 1000);
    add_past(out, s, r, i);
    buf_char(out, '}');
}

static void ask(struct list_op *op);

static void on_view(void *arg, const struct reply *r, const struct err *e)
{
    struct list_op *op = arg;
    if (e != NULL) {
        finish(op, e);
        return;
    }
    size_t field = 1;
    for (; op->at < op->end; op->at++) {
        const struct schedule *s = &op->config->schedules[op->at];
        if (!wanted(op, s))
            continue;
        if (op->out.n > 1)
            buf_char(&op->out, ',');
        add_schedule(op, &op->out, s, r, field);
        field += FIELDS;
    }
    if (op->end == op->config->schedule_n)
        finish(op, NULL);
    else
        ask(op);
}

static void ask(struct list_op *op)
{
    struct args a = {0};
    for (op->end = op->at; op->end < op->config->schedule_n && a.n < CHUNK; op->end++) {
        const struct schedule *s = &op->config->schedules[op->end];
        if (wanted(op, s))
            args_add(&a, str_of(s->name));
    }
    store_call("cron_view", a.n, a.v, on_view, op);
    args_finish(&a);
}

void cron_list(const char *job, size_t n, cron_json_fn fn, void *arg)
{
    struct list_op *op = mem_new(struct list_op);
    *op = (struct list_op){
        .config = config_ref(store_config()), .job = mem_strdup(job), .n = n, .fn = fn, .arg = arg};
    buf_char(&op->out, '[');
    ask(op);
}
