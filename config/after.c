/* SPDX-License-Identifier: Apache-2.0 */
/* What follows the runs: on_complete and on_failure, deliveries of the result, notices of dead letters, alerts. Each is a stage of its own that the end of a run
 * feeds (struct stage.after), so it is claimed, tried again and shown as any step, and cannot fail the run. Which stages
 * an end feeds is settled here: Redis only puts them on their lists.
 *
 * Read last, because it names jobs and pipelines of all files. */
#include <string.h>

#include "base/mem.h"
#include "config/alert.h"
#include "config/parts.h"

/* A mail server may be away for a while: some half an hour in all. */
static const struct retry patient = {.max_attempts = 10, .initial_ms = 5000, .max_ms = 600000};

static const char *const follow_keys[] = {"job", "agent", "pipeline", "task", NULL};
const char *const dead_letter_keys[] = {"enabled", "retention", "notify", "channel",
                                        "to",      "url",       "retry",  NULL};
static const char *const alert_keys[] = {"condition", "notify",   "channel", "to", "url",
                                         "job",       "pipeline", "retry",   NULL};

/* The stages. */

static bool is_taken(const struct pipeline *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->stages[i].name, name) == 0)
            return true;
    }
    return false;
}

/* "email", or "email-2" when there is one already. */
static char *free_name(const struct pipeline *p, const char *base)
{
    char *name = mem_strdup(base);
    for (int more = 2; is_taken(p, name); more++) {
        mem_free(name);
        name = mem_format("%s-%d", base, more);
    }
    return name;
}

/* Takes w. map may set another retry. */
static void add_stage(struct load *l, size_t at, const char *base, unsigned after,
                      const struct work *w, const struct node *map, struct place place)
{
    const struct pipeline *p = &l->c->pipelines[at];
    struct stage s = {.work = *w, .after = after, .line = place.line};
    struct stage_note note = {.at = place};
    struct policy policy = {0};
    if (map != NULL && map->type == NODE_MAP && node_get(map, "retry") != NULL)
        policy_read(l, map, &policy);
    else
        policy = (struct policy){.retry_set = true, .retry = patient};
    policy.timeout_ms = 0;
    policy_use(l, &policy, &s);
    s.name = free_name(p, base);
    s.pipeline = mem_strdup(p->name);
    s.id = mem_format("%s.%s", p->name, s.name);
    s.file = mem_strdup(place.source->name);
    s.watch = mem_strdup((after & AFTER_OPEN) != 0 ? "run.open.>" : "run.ended.>");
    if (p->job != NULL && p->job->output != NULL) {
        s.also = words_add(s.also, mem_format("?%s", p->job->output));
        s.also = words_add(s.also, mem_format("?%s.{1}.input", p->name));
    }
    stage_add(l, at, &s, &note);
}

/* on_complete and on_failure. */

static void read_follow(struct load *l, size_t at, const char *field, unsigned after)
{
    const struct job_note *note = l->pipelines[at].job;
    const struct node *n = node_get(note->map, field);
    if (n == NULL)
        return;
    load_subject(l, "%s %s", note->subject, field);
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    load_keys(l, n, follow_keys, NULL);
    const struct node *key = target_key(l, n);
    if (key == NULL) {
        target_missing(l, n, "job, agent or pipeline");
        return;
    }
    if (node_key(n, "task") != NULL && strcmp(key->text, "agent") != 0)
        load_fail(l, node_key(n, "task")->at, NULL, "task needs an agent beside it");
    char *base = mem_format("%s.%s", note->job->name, field);
    const struct pipeline *target = target_read(l, n, key, n->at, base);
    mem_free(base);
    if (target == NULL)
        return;
    struct work w = {.kind = WORK_START, .target = mem_strdup(target->name)};
    add_stage(l, at, field, after, &w, NULL, node_key(note->map, field)->at);
}

/* Deliveries of the result. */

static void read_output(struct load *l, size_t at)
{
    const struct job_note *note = l->pipelines[at].job;
    const struct node *list = node_get(note->map, "output");
    load_subject(l, "%s", note->subject);
    if (list == NULL)
        return;
    if (list->type != NODE_LIST) {
        load_fail(l, list->at, "output",
                  "must be a list of deliveries, such as [{email: a@example.com}]; a step's output "
                  "is a name");
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        struct delivery d;
        load_subject(l, "%s", note->subject);
        if (!delivery_read(l, list->items[i], &d)) {
            delivery_finish(&d);
            continue;
        }
        struct work w = {.kind = WORK_DELIVER, .delivery = mem_new(struct delivery)};
        *w.delivery = d;
        add_stage(l, at, delivery_name(d.kind), AFTER_SUCCESS, &w, list->items[i],
                  list->items[i]->at);
    }
}

/* Notices of dead letters: for all, or of a job alone, which replaces that. */

static void add_notice(struct load *l, size_t at, const struct node *map, const struct node *n)
{
    struct delivery d;
    if (!notice_read(l, map, n, &d)) {
        delivery_finish(&d);
        return;
    }
    struct work w = {.kind = WORK_DELIVER, .delivery = mem_new(struct delivery)};
    *w.delivery = d;
    add_stage(l, at, "dead-letter", AFTER_FAILURE, &w, map, n->at);
}

static void read_notify(struct load *l, size_t at, const struct node *map)
{
    const struct node *n = node_get(map, "notify");
    if (n == NULL)
        return;
    if (n->type == NODE_LIST && n->n == 0)
        load_fail(l, n->at, "notify", "the list is empty");
    if (n->type != NODE_LIST)
        add_notice(l, at, map, n);
    for (size_t i = 0; n->type == NODE_LIST && i < n->n; i++)
        add_notice(l, at, map, n->items[i]);
}

static size_t own_pipeline(struct load *l, struct place at)
{
    const struct pipeline *p = config_pipeline(l->c, STR("hookmesh"));
    if (p != NULL)
        return (size_t)(p - l->c->pipelines);
    pipeline_add(l, at, mem_strdup("hookmesh"));
    return l->c->pipeline_n - 1;
}

void after_scheduler(struct load *l, const struct node *map)
{
    const struct node *dead = map->type == NODE_MAP ? node_get(map, "dead_letter") : NULL;
    load_subject(l, "dead_letter");
    if (dead != NULL && dead->type == NODE_MAP && node_get(dead, "notify") != NULL)
        read_notify(l, own_pipeline(l, dead->at), dead);
    const struct node *alerts = map->type == NODE_MAP ? node_get(map, "alerts") : NULL;
    if (alerts != NULL)
        alerts_read(l, alerts);
}

static void read_dead_letter(struct load *l, size_t at)
{
    const struct job_note *note = l->pipelines[at].job;
    const struct node *n = node_get(note->map, "dead_letter");
    load_subject(l, "%s dead_letter", note->subject);
    if (n == NULL || !load_is(l, n, NODE_MAP, NULL))
        return;
    load_keys(l, n, dead_letter_keys, NULL);
    for (size_t i = 0; i < 2; i++) {
        const struct node *key = node_key(n, dead_letter_keys[i]);
        if (key != NULL)
            load_fail(l, key->at, NULL,
                      "%s is the same for all jobs: write it in scheduler: {dead_letter: ...}",
                      key->text);
    }
    read_notify(l, at, n);
}

/* Alerts. */

/* Takes a. */
static void add_alert(struct load *l, struct alert *a, const struct node *map, struct place place)
{
    struct config *c = l->c;
    size_t at = own_pipeline(l, place);
    struct alert *kept = mem_new(struct alert);
    *kept = *a;
    kept->file = mem_strdup(place.source->name);
    kept->line = place.line;
    c->alerts = mem_resize(c->alerts, (c->alert_n + 1) * sizeof *c->alerts);
    c->alerts[c->alert_n++] = kept;
    char *name = mem_format("alert-%zu", c->alert_n);
    char *late = mem_format("%s-late", name);
    unsigned after = alert_after(kept->kind);
    struct work w = {.kind = WORK_ALERT, .alert = kept};
    add_stage(l, at, name, after & ~(unsigned)AFTER_OPEN, &w, map, place);
    if ((after & AFTER_OPEN) != 0) {
        add_stage(l, at, late, AFTER_OPEN, &w, NULL, place);
        struct pipeline *p = &c->pipelines[at];
        p->stages[p->n - 1].retry = p->stages[p->n - 2].retry;
    }
    mem_free(name);
    mem_free(late);
}

static bool read_condition(struct load *l, const struct node *map, struct alert *a)
{
    struct err e;
    const struct node *n = node_get(map, "condition");
    if (n == NULL) {
        load_missing(l, map, "condition", "");
        return false;
    }
    if (!load_is(l, n, NODE_TEXT, "condition"))
        return false;
    if (alert_parse((struct str){n->text, n->text_n}, a, &e))
        return true;
    load_fail(l, n->at, "condition", "%s", e.text);
    return false;
}

static char *read_scope(struct load *l, const struct node *map)
{
    const struct node *key =
        node_key(map, "job") != NULL ? node_key(map, "job") : node_key(map, "pipeline");
    if (key == NULL)
        return NULL;
    char *name = load_word(l, node_get(map, key->text), key->text);
    if (name == NULL)
        return NULL;
    const struct pipeline *p = target_pipeline(l, key->text, name);
    if (p == NULL)
        target_undefined(l, node_get(map, key->text), key->text);
    else if (p->job == NULL || strcmp(p->job->name, name) == 0)
        return name;
    mem_free(name);
    return p != NULL ? mem_strdup(p->job->name) : NULL;
}

static void read_alert(struct load *l, const struct node *map, const struct node *notify,
                       const char *job)
{
    struct alert a = {0};
    if (!read_condition(l, map, &a))
        return;
    a.job = job != NULL ? mem_strdup(job) : read_scope(l, map);
    if (notice_read(l, map, notify, &a.to)) {
        add_alert(l, &a, map, map->at);
        return;
    }
    delivery_finish(&a.to);
    alert_finish(&a);
    mem_free(a.job);
}

static void read_alerts(struct load *l, const struct node *list, const char *job)
{
    char subject[sizeof l->subject];
    memcpy(subject, l->subject, sizeof subject);
    if (list->type == NODE_NULL || !load_is(l, list, NODE_LIST, NULL))
        return;
    for (size_t i = 0; i < list->n; i++) {
        const struct node *map = list->items[i];
        load_subject(l, "%s", subject);
        if (!load_is(l, map, NODE_MAP, NULL))
            continue;
        load_keys(l, map, alert_keys, NULL);
        const struct node *n = node_get(map, "notify");
        if (node_key(map, "condition") == NULL && n == NULL)
            load_missing(l, map, "condition", "");
        if (job != NULL && node_key(map, "job") != NULL)
            load_fail(l, node_key(map, "job")->at, NULL, "this alert is of job \"%s\" already",
                      job);
        if (n == NULL)
            load_missing(l, map, "notify", "");
        else if (n->type != NODE_LIST)
            read_alert(l, map, n, job);
        for (size_t j = 0; n != NULL && n->type == NODE_LIST && j < n->n; j++)
            read_alert(l, map, n->items[j], job);
    }
}

void alerts_read(struct load *l, const struct node *list)
{
    load_subject(l, "alerts");
    read_alerts(l, list, NULL);
}

void alert_free(struct alert *a)
{
    alert_finish(a);
    delivery_finish(&a->to);
    mem_free(a->job);
    mem_free(a->file);
    mem_free(a);
}

void after_jobs(struct load *l)
{
    for (size_t i = 0, n = l->c->pipeline_n; i < n; i++) {
        const struct job *j = l->c->pipelines[i].job;
        if (j == NULL || strchr(j->name, '.') != NULL)
            continue; /* one that a trigger or another job made: its map is not a job's */
        read_follow(l, i, "on_complete", AFTER_SUCCESS);
        read_follow(l, i, "on_failure", AFTER_FAILURE);
        read_output(l, i);
        read_dead_letter(l, i);
        const struct job_note *note = l->pipelines[i].job;
        const struct node *alerts = node_get(note->map, "alerts");
        load_subject(l, "%s alerts", note->subject);
        if (alerts != NULL)
            read_alerts(l, alerts, j->name);
    }
}

/* Which ends feed which stages. */

static void add_id(char **list, const char *id)
{
    char *more = *list == NULL ? mem_strdup(id) : mem_format("%s\t%s", *list, id);
    mem_free(*list);
    *list = more;
}

static void feed(struct pipeline *p, const struct stage *s)
{
    if ((s->after & AFTER_SUCCESS) != 0)
        add_id(&p->after_success, s->id);
    if ((s->after & AFTER_FAILURE) != 0)
        add_id(&p->after_failure, s->id);
    if ((s->after & AFTER_SKIP) != 0)
        add_id(&p->after_skip, s->id);
    if ((s->after & AFTER_OPEN) == 0)
        return;
    char *late = mem_format("%s\t%lld", s->id, (long long)s->work.alert->over_ms);
    add_id(&p->after_open, late);
    mem_free(late);
}

static bool concerns(const struct stage *s, const struct pipeline *p)
{
    const char *job = s->work.kind == WORK_ALERT ? s->work.alert->job : NULL;
    return job == NULL || strcmp(job, p->name) == 0 ||
           (p->job != NULL && strcmp(job, p->job->name) == 0);
}

void after_feed(struct load *l)
{
    const struct pipeline *all = config_pipeline(l->c, STR("hookmesh"));
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        struct pipeline *p = &l->c->pipelines[i];
        bool noticed = false; /* the job has notices of its own */
        if (p == all)
            continue;
        for (size_t j = 0; j < p->n; j++) {
            const struct stage *s = &p->stages[j];
            noticed = noticed || (s->work.kind == WORK_DELIVER && s->after == AFTER_FAILURE);
            feed(p, s);
        }
        for (size_t j = 0; all != NULL && j < all->n; j++) {
            const struct stage *s = &all->stages[j];
            if (concerns(s, p) && !(noticed && s->work.kind == WORK_DELIVER))
                feed(p, s);
        }
    }
}
