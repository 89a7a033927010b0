/* SPDX-License-Identifier: Apache-2.0 */
/* What a job is comes from the live configuration; the next fires and the counts of its last day are Redis's, asked for once for a whole list. A list
 * without them is better than none, so while Redis is away they are left out. */
#include "handlers/jobs.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/run.h"
#include "core/store.h"
#include "handlers/query.h"
#include "trigger/cron.h"

enum { FIRES = 5, PAGE = 1000, RECENT_MS = 24 * 3600 * 1000 };

static const struct pipeline *find(const struct config *c, struct str name)
{
    const struct job *j = c != NULL ? config_job(c, name) : NULL;
    if (c == NULL)
        return NULL;
    return config_pipeline(c, j != NULL ? str_of(j->pipeline) : name);
}

const struct pipeline *jobs_named(struct http_req *q)
{
    struct str name = http_segment(q, "name");
    const struct pipeline *p = find(store_config(), name);
    if (p == NULL)
        http_problem(q, ERR_NOT_FOUND, "there is no job %.*s; GET /v1/jobs lists them",
                     (int)(name.n < 100 ? name.n : 100), name.p);
    return p;
}

static const char *name_of(const struct pipeline *p)
{
    return p->job != NULL ? p->job->name : p->name;
}

/* Pipelines that are the inside of something else: of a trigger, of our own notices, of what follows a job. */
static bool is_inside(const struct pipeline *p)
{
    if (p->job != NULL)
        return strchr(p->job->name, '.') != NULL;
    return strcmp(p->name, "hookmesh") == 0 || strncmp(p->name, "trigger.", 8) == 0;
}

/* Members that are left out when there is nothing to say. */
static void field_text(struct buf *out, const char *name, const char *text)
{
    if (text != NULL)
        buf_json_field(out, name, str_of(text));
}

static void field_number(struct buf *out, const char *name, int64_t n)
{
    if (n != 0)
        buf_json_field_int(out, name, n);
}

static void field_texts(struct buf *out, const char *name, char *const *texts)
{
    if (texts == NULL)
        return;
    buf_json_key(out, name);
    buf_char(out, '[');
    for (size_t i = 0; texts[i] != NULL; i++) {
        if (i != 0)
            buf_char(out, ',');
        buf_json_str(out, str_of(texts[i]));
    }
    buf_char(out, ']');
}

static void comma(struct buf *out)
{
    if (out->p[out->n - 1] != '[')
        buf_char(out, ',');
}

/* Parameters. */

static void add_parameters(struct buf *out, const struct job *j)
{
    buf_json_key(out, "parameters");
    buf_char(out, '[');
    for (size_t i = 0; i < j->parameter_n; i++) {
        const struct parameter *p = &j->parameters[i];
        comma(out);
        buf_char(out, '{');
        buf_json_field(out, "name", str_of(p->name));
        field_text(out, "type", p->type);
        field_text(out, "description", p->description);
        buf_json_field_bool(out, "required", p->required);
        if (p->standard != NULL)
            buf_json_field_raw(out, "default", str_of(p->standard));
        if (p->choices != NULL)
            buf_json_field_raw(out, "choices", str_of(p->choices));
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

/* Limits. */

static void add_retry(struct buf *out, const struct retry *r)
{
    buf_json_key(out, "retry");
    buf_char(out, '{');
    buf_json_field_int(out, "max_attempts", r->max_attempts);
    buf_json_field(out, "backoff", str_of(r->fixed ? "fixed" : "exponential"));
    buf_json_field_int(out, "initial_delay_ms", r->initial_ms);
    buf_json_field_int(out, "max_delay_ms", r->max_ms);
    buf_char(out, '}');
}

static void add_budget(struct buf *out, const struct job *j)
{
    if (j->budget_tokens == 0 && !(j->budget_cost_usd > 0))
        return;
    buf_json_key(out, "budget");
    buf_char(out, '{');
    field_number(out, "max_tokens", j->budget_tokens);
    if (j->budget_cost_usd > 0) {
        buf_json_key(out, "max_cost_usd");
        buf_printf(out, "%.10g", j->budget_cost_usd);
    }
    buf_char(out, '}');
}

static void add_gates(struct buf *out, const struct job *j)
{
    buf_json_field_int(out, "priority", j->priority);
    field_number(out, "delay_ms", j->delay_ms);
    if (j->lane_limit != 0) {
        buf_json_key(out, "concurrency");
        buf_char(out, '{');
        buf_json_field_int(out, "limit", j->lane_limit);
        field_text(out, "key", j->lane_key);
        buf_char(out, '}');
    }
    if (j->rate_limit != 0) {
        buf_json_key(out, "rate_limit");
        buf_char(out, '{');
        buf_json_field_int(out, "limit", j->rate_limit);
        buf_json_field_int(out, "period_ms", j->rate_period_ms);
        field_text(out, "key", j->rate_key);
        buf_char(out, '}');
    }
    if (j->debounce_ms != 0) {
        buf_json_key(out, "debounce");
        buf_char(out, '{');
        buf_json_field_int(out, "quiet_ms", j->debounce_ms);
        field_number(out, "max_ms", j->debounce_max_ms);
        field_text(out, "key", j->debounce_key);
        buf_char(out, '}');
    }
    add_budget(out, j);
}

/* The first stage that does the job's work; limits of one step are limits of the job. */
static const struct stage *only_step(const struct pipeline *p)
{
    const struct stage *found = NULL;
    for (size_t i = 0; i < p->n; i++) {
        if (p->stages[i].after != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = &p->stages[i];
    }
    return found;
}

static void add_limits(struct buf *out, const struct pipeline *p)
{
    const struct stage *step = only_step(p);
    buf_json_key(out, "limits");
    buf_char(out, '{');
    if (p->job != NULL)
        add_gates(out, p->job);
    if (step != NULL) {
        buf_json_field_int(out, "timeout_ms", step->timeout_ms);
        add_retry(out, &step->retry);
    }
    buf_char(out, '}');
}

/* What the whole configuration and Redis say of each pipeline, gathered in one pass over all of it. */

struct about {
    struct map_node by_pipeline;
    struct map_node by_job;
    const struct hook *hook; /* the first one */
    struct buf triggers;     /* objects with commas between them */
    struct buf schedules;
    const struct json *counts;
};

struct view_op {
    struct http_req *q;
    struct config *config;       /* ours until the answer */
    const struct pipeline *only; /* NULL: a page of all */
    size_t limit;
    struct str cursor;
    struct json *schedules; /* NULL: not known */
    struct json *stats;
    struct about *about; /* one a pipeline, in their order */
    struct map pipelines;
    struct map jobs;
};

static struct about *about_pipeline(const struct view_op *op, struct str name)
{
    struct map_node *n = name.n != 0 ? map_find(&op->pipelines, name) : NULL;
    return n != NULL ? container_of(n, struct about, by_pipeline) : NULL;
}

/* Of a line of Redis's, which names the job, the pipeline, or both. */
static struct about *about_line(const struct view_op *op, const struct json *line)
{
    struct str job = json_str(json_get(line, "job"));
    struct about *a = about_pipeline(op, json_str(json_get(line, "pipeline")));
    struct map_node *n = a == NULL && job.n != 0 ? map_find(&op->jobs, job) : NULL;
    if (n != NULL)
        return container_of(n, struct about, by_job);
    return a != NULL ? a : about_pipeline(op, job);
}

static struct buf *next_trigger(struct about *a, const char *type)
{
    if (a->triggers.n != 0)
        buf_char(&a->triggers, ',');
    buf_char(&a->triggers, '{');
    buf_json_field(&a->triggers, "type", str_of(type));
    return &a->triggers;
}

static void gather_hook(struct view_op *op, const struct hook *h)
{
    struct about *a = about_pipeline(op, str_of(h->pipeline));
    if (a == NULL)
        return;
    struct buf *out = next_trigger(a, "webhook");
    buf_json_field(out, "path", str_of(h->path));
    field_text(out, "scheme", h->scheme);
    field_texts(out, "events", h->events);
    field_text(out, "when", h->when);
    field_text(out, "input", h->input);
    field_text(out, "task", h->task);
    buf_char(out, '}');
    if (a->hook == NULL)
        a->hook = h;
}

static void gather_table(struct view_op *op, const struct db_trigger *t)
{
    struct about *a = about_pipeline(op, str_of(t->pipeline));
    if (a == NULL)
        return;
    struct buf *out = next_trigger(a, "db_change");
    field_text(out, "name", t->name);
    field_text(out, "table", t->table);
    field_texts(out, "events", t->events);
    field_text(out, "when", t->when);
    field_text(out, "input", t->input);
    buf_char(out, '}');
}

/* Stages that start another pipeline: changes of keys, and what follows a job. */
static void gather_starter(struct view_op *op, const struct pipeline *p, const struct stage *s)
{
    struct about *a =
        s->work.kind == WORK_START ? about_pipeline(op, str_of(s->work.target)) : NULL;
    if (a == NULL)
        return;
    if (s->after == 0) {
        struct buf *out = next_trigger(a, "kv");
        buf_json_field(out, "watch", str_of(s->watch));
        buf_char(out, '}');
        return;
    }
    struct buf *out = next_trigger(a, s->after & AFTER_SUCCESS ? "on_complete" : "on_failure");
    buf_json_field(out, "job", str_of(name_of(p)));
    buf_char(out, '}');
}

/* While Redis is away: what the configuration says of a schedule. */
static void gather_schedule(struct view_op *op, const struct schedule *s)
{
    struct about *a = about_pipeline(op, str_of(s->pipeline));
    if (a == NULL)
        return;
    if (a->schedules.n != 0)
        buf_char(&a->schedules, ',');
    buf_char(&a->schedules, '{');
    buf_json_field(&a->schedules, "name", str_of(s->name));
    buf_json_field(&a->schedules, "expression", str_of(s->expression));
    buf_json_field(&a->schedules, "timezone", str_of(s->timezone != NULL ? s->timezone : "UTC"));
    buf_char(&a->schedules, '}');
}

static void gather_lines(struct view_op *op)
{
    const struct config *c = op->config;
    for (size_t i = 0; i < c->schedule_n && op->schedules == NULL; i++)
        gather_schedule(op, &c->schedules[i]);
    for (size_t i = 0; i < json_size(op->schedules); i++) {
        struct about *a = about_line(op, json_at(op->schedules, i));
        if (a == NULL)
            continue;
        if (a->schedules.n != 0)
            buf_char(&a->schedules, ',');
        json_dump(&a->schedules, json_at(op->schedules, i), false);
    }
    const struct json *lines = json_get(op->stats, "jobs");
    for (size_t i = 0; i < json_size(lines); i++) {
        struct about *a = about_line(op, json_at(lines, i));
        if (a != NULL)
            a->counts = json_at(lines, i);
    }
}

static void gather(struct view_op *op)
{
    const struct config *c = op->config;
    op->about = mem_zero(c->pipeline_n, sizeof *op->about);
    for (size_t i = 0; i < c->pipeline_n; i++) {
        const struct pipeline *p = &c->pipelines[i];
        map_add(&op->pipelines, &op->about[i].by_pipeline, str_of(p->name));
        if (p->job != NULL)
            map_add(&op->jobs, &op->about[i].by_job, str_of(p->job->name));
    }
    for (size_t i = 0; i < c->hook_n; i++)
        gather_hook(op, &c->hooks[i]);
    for (size_t i = 0; i < c->db_trigger_n; i++)
        gather_table(op, &c->db_triggers[i]);
    for (size_t i = 0; i < c->pipeline_n; i++) {
        for (size_t k = 0; k < c->pipelines[i].n; k++)
            gather_starter(op, &c->pipelines[i], &c->pipelines[i].stages[k]);
    }
    gather_lines(op);
}

/* Stages. */

static void field_to(struct buf *out, struct delivery *d)
{
    const struct work w = {.kind = WORK_DELIVER, .delivery = d};
    struct buf to = {0};
    work_text(&to, &w);
    if (to.n != 0)
        buf_json_field(out, "to", buf_view(&to));
    buf_finish(&to);
}

static void add_ends(struct buf *out, unsigned after)
{
    static const char *const names[] = {"success", "failure", "skip", "open"};
    buf_json_key(out, "after");
    buf_char(out, '[');
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((after & (1U << i)) == 0)
            continue;
        comma(out);
        buf_json_str(out, str_of(names[i]));
    }
    buf_char(out, ']');
}

static void add_work(struct buf *out, const struct config *c, const struct work *w)
{
    const struct pipeline *target =
        w->kind == WORK_START ? config_pipeline(c, str_of(w->target)) : NULL;
    struct buf text = {0};
    buf_json_field(out, "kind", str_of(work_kind_name(w)));
    work_text(&text, w);
    if (w->kind != WORK_DELIVER)
        buf_json_field(out, "work", buf_view(&text));
    buf_finish(&text);
    field_text(out, "agent", w->agent);
    field_text(out, "task", w->task);
    if (target != NULL)
        buf_json_field(out, "starts", str_of(name_of(target)));
    if (w->kind == WORK_DELIVER)
        field_to(out, w->delivery);
    else if (w->kind == WORK_ALERT && w->alert != NULL)
        field_to(out, &w->alert->to);
}

static void add_stage(struct buf *out, const struct config *c, const struct stage *s)
{
    buf_char(out, '{');
    buf_json_field(out, "id", str_of(s->id));
    buf_json_field(out, "name", str_of(s->name));
    add_work(out, c, &s->work);
    buf_json_field(out, "watch", str_of(s->watch));
    field_texts(out, "also", s->also);
    field_texts(out, "inputs", s->input_names);
    field_text(out, "write", s->write);
    if (s->after != 0)
        add_ends(out, s->after);
    buf_json_field_int(out, "timeout_ms", s->timeout_ms);
    add_retry(out, &s->retry);
    field_number(out, "concurrency", s->concurrency);
    buf_char(out, '}');
}

static void add_stages(struct buf *out, const struct config *c, const struct pipeline *p)
{
    buf_json_key(out, "stages");
    buf_char(out, '[');
    for (size_t i = 0; i < p->n; i++) {
        comma(out);
        add_stage(out, c, &p->stages[i]);
    }
    buf_char(out, ']');
}

static void add_recent(struct buf *out, const struct json *counts)
{
    static const char *const names[] = {"runs",      "succeeded", "failed",
                                        "timed_out", "cancelled", "skipped"};
    buf_json_key(out, "recent");
    buf_char(out, '{');
    buf_json_field_int(out, "ms", RECENT_MS);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        buf_json_field_int(out, names[i], json_int(json_get(counts, names[i]), 0));
    buf_char(out, '}');
}

static void add_where(struct buf *out, const struct pipeline *p)
{
    const struct stage *first = p->n != 0 ? &p->stages[0] : NULL;
    const char *file = p->job != NULL ? p->job->file : first != NULL ? first->file : NULL;
    int line = p->job != NULL ? p->job->line : first != NULL ? first->line : 0;
    if (file == NULL)
        return;
    buf_json_key(out, "where");
    buf_char(out, '{');
    buf_json_field(out, "file", str_of(file));
    buf_json_field_int(out, "line", line);
    buf_char(out, '}');
}

static void field_list(struct buf *out, const char *name, const struct buf *items)
{
    buf_json_key(out, name);
    buf_char(out, '[');
    buf_str(out, buf_view(items));
    buf_char(out, ']');
}

static void add_definition(struct buf *out, const struct pipeline *p)
{
    static const char *const kinds[] = {[JOB_EXTENSION] = "extension",
                                        [JOB_AGENT] = "agent",
                                        [JOB_HYBRID] = "hybrid",
                                        [JOB_WORKFLOW] = "workflow"};
    static const char *const overlaps[] = {[OVERLAP_SKIP] = "skip",
                                           [OVERLAP_QUEUE] = "queue",
                                           [OVERLAP_REPLACE] = "replace",
                                           [OVERLAP_ALLOW] = "allow"};
    const struct job *j = p->job;
    buf_json_field(out, "name", str_of(name_of(p)));
    buf_json_field(out, "type", str_of(j != NULL ? kinds[j->kind] : "pipeline"));
    buf_json_field(out, "pipeline", str_of(p->name));
    if (p->n != 0)
        buf_json_field(out, "input", str_of(p->stages[0].watch));
    if (j == NULL)
        return;
    field_text(out, "output", j->output);
    field_text(out, "description", j->description);
    add_parameters(out, j);
    buf_json_field(out, "overlap", str_of(overlaps[j->overlap_set ? j->overlap : OVERLAP_SKIP]));
}

static void add_job(struct buf *out, const struct view_op *op, const struct pipeline *p)
{
    const struct about *a = &op->about[p - op->config->pipelines];
    comma(out);
    buf_char(out, '{');
    add_definition(out, p);
    add_limits(out, p);
    if (a->hook != NULL)
        buf_json_field(out, "hook", str_of(a->hook->path));
    field_list(out, "triggers", &a->triggers);
    field_list(out, "schedules", &a->schedules);
    add_stages(out, op->config, p);
    add_where(out, p);
    if (op->stats != NULL)
        add_recent(out, a->counts);
    buf_char(out, '}');
}

static void free_view(struct view_op *op)
{
    for (size_t i = 0; i < op->config->pipeline_n && op->about != NULL; i++) {
        buf_finish(&op->about[i].triggers);
        buf_finish(&op->about[i].schedules);
    }
    map_finish(&op->pipelines);
    map_finish(&op->jobs);
    mem_free(op->about);
    json_free(op->schedules);
    json_free(op->stats);
    config_unref(op->config);
    mem_free(op);
}

static void reply_one(struct view_op *op)
{
    struct buf out = {0};
    buf_char(&out, '[');
    add_job(&out, op, op->only);
    http_reply_json(op->q, 200, (struct str){out.p + 1, out.n - 1});
    buf_finish(&out);
}

/* The cursor is the name of the last job of a page. */
static void reply_page(struct view_op *op)
{
    const struct config *c = op->config;
    struct buf out = {0};
    struct str last = {NULL, 0};
    bool more = false;
    size_t n = 0, i = 0;
    while (op->cursor.n != 0 && i < c->pipeline_n &&
           !str_is(op->cursor, name_of(&c->pipelines[i++])))
        ;
    buf_char(&out, '[');
    for (; i < c->pipeline_n && !more; i++) {
        if (is_inside(&c->pipelines[i]))
            continue;
        more = n == op->limit;
        if (more)
            break;
        add_job(&out, op, &c->pipelines[i]);
        last = str_of(name_of(&c->pipelines[i]));
        n++;
    }
    buf_char(&out, ']');
    query_reply_page(op->q, buf_view(&out), more ? last : (struct str){NULL, 0});
    buf_finish(&out);
}

static void on_stats(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct view_op *op = arg;
    op->stats = e == NULL ? json_parse(json, NULL) : NULL;
    gather(op);
    if (op->only != NULL)
        reply_one(op);
    else
        reply_page(op);
    free_view(op);
}

static void on_schedules(void *arg, struct str json, const struct err *e)
{
    struct view_op *op = arg;
    op->schedules = e == NULL ? json_parse(json, NULL) : NULL;
    run_stats(op->only != NULL ? op->only->name : NULL, clock_wall_us() / 1000 - RECENT_MS,
              on_stats, op);
}

static void view(struct http_req *q, const struct pipeline *only, const struct query_page *page)
{
    struct view_op *op = mem_new(struct view_op);
    *op = (struct view_op){.q = q, .config = config_ref(store_config()), .only = only};
    if (page != NULL) {
        op->limit = page->limit;
        op->cursor = page->cursor;
    }
    cron_list(only != NULL ? name_of(only) : NULL, FIRES, on_schedules, op);
}

void jobs_list(struct http_req *q)
{
    struct query_page page = {.limit = PAGE};
    struct err e;
    struct str limit = http_query(q, "limit");
    if (!query_page(q, &page, &e) || !query_limit(limit, PAGE, PAGE, &page.limit, &e))
        http_reply_err(q, &e);
    else if (store_config() == NULL)
        http_problem(q, ERR_UNAVAILABLE, "no configuration is live yet; ask again");
    else
        view(q, NULL, &page);
}

void jobs_get(struct http_req *q)
{
    const struct pipeline *p = jobs_named(q);
    if (p != NULL)
        view(q, p, NULL);
}
