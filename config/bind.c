/* SPDX-License-Identifier: Apache-2.0 */
/* What the names of agents, extensions and jobs mean, once all files were read. A step that names an agent gets a copy of how the agent works; one that names an
 * extension's command gets that command; one that names a job will have that job's steps in its place. Each name is looked up
 * where it is written, once, so an error is told once however often the job is put into others. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

enum { NESTING_MAX = 50 };

static struct place place_of(const struct node *map, const char *field)
{
    const struct node *n = node_get(map, field);
    return n != NULL ? n->at : map->at;
}

/* Tells that there is no such thing, and which was meant. Frees names. */
static void undefined(struct load *l, struct place at, const char *field, const char *what,
                      const char *name, const char **names)
{
    struct buf hint = {0};
    load_hint(&hint, str_of(name), names);
    load_undefined(l, at, field, "there is no %s \"%s\"%s", what, name, hint.p);
    buf_finish(&hint);
    mem_free(names);
}

static const char **agent_names(const struct config *c)
{
    const char **names = mem_zero(c->agent_n + 1, sizeof *names);
    for (size_t i = 0; i < c->agent_n; i++)
        names[i] = c->agents[i].name;
    return names;
}

static const char **extension_names(const struct config *c)
{
    const char **names = mem_zero(c->extension_n + 1, sizeof *names);
    for (size_t i = 0; i < c->extension_n; i++)
        names[i] = c->extensions[i].name;
    return names;
}

static const char **names_of_jobs(const struct extension *x)
{
    const char **names = mem_zero(x->job_n + 1, sizeof *names);
    for (size_t i = 0; i < x->job_n; i++)
        names[i] = x->jobs[i].name;
    return names;
}

const char **job_names(const struct config *c)
{
    const char **names = mem_zero(c->job_n + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < c->job_n; i++) {
        if (strchr(c->jobs[i]->name, '.') == NULL)
            names[n++] = c->jobs[i]->name;
    }
    return names;
}

/* Extensions. */

static void take_job(struct work *w, const struct extension *x, const char *name)
{
    for (size_t i = 0; i < x->job_n; i++) {
        if (strcmp(x->jobs[i].name, name) != 0)
            continue;
        struct work made;
        work_copy(&made, &x->jobs[i].work);
        mem_free(made.extension);
        mem_free(made.job);
        made.extension = mem_strdup(x->name);
        made.job = mem_strdup(name);
        work_finish(w);
        *w = made;
        return;
    }
}

static bool has_job(const struct extension *x, const char *name)
{
    for (size_t i = 0; i < x->job_n; i++) {
        if (strcmp(x->jobs[i].name, name) == 0)
            return true;
    }
    return false;
}

static void bind_extension(struct load *l, const struct node *map, struct work *w)
{
    if (w->extension == NULL || w->job == NULL)
        return;
    const struct extension *x = config_extension(l->c, w->extension);
    if (x == NULL) {
        undefined(l, place_of(map, "extension"), "extension", "extension", w->extension,
                  extension_names(l->c));
    } else if (x->job_n != 0 && !has_job(x, w->job)) {
        struct buf what = {0};
        buf_printf(&what, "job of extension %s named", x->name);
        undefined(l, place_of(map, "job"), "job", what.p, w->job, names_of_jobs(x));
        buf_finish(&what);
    } else {
        char *job = mem_strdup(w->job); /* of the work that is replaced */
        bool triggers = w->triggers;
        take_job(w, x, job);
        w->triggers = triggers;
        mem_free(job);
    }
}

/* Agents. */

/* Gives work that names an agent the agent's own ways. NULL: there is no such agent. */
static const struct agent_note *bind_agent(struct load *l, const struct node *map, struct work *w)
{
    struct agent *a = NULL;
    if (w->agent == NULL)
        return NULL;
    const struct agent_note *note = agent_find(l, w->agent, &a);
    if (note == NULL) {
        undefined(l, place_of(map, "agent"), "agent", "agent", w->agent, agent_names(l->c));
        return NULL;
    }
    struct work made;
    work_copy(&made, &a->work);
    made.agent = w->agent;
    made.task = w->task;
    w->agent = NULL;
    w->task = NULL;
    work_finish(w);
    *w = made;
    return note;
}

static void bind_agents(struct load *l)
{
    for (size_t i = 0; i < l->c->agent_n; i++) {
        struct agent *a = &l->c->agents[i];
        const struct agent_note *note = l->agents[i];
        load_subject(l, "agent \"%s\"", a->name);
        if (a->work.kind == WORK_EXTENSION)
            bind_extension(l, note->map, &a->work);
        const struct node *n = node_get(note->map, "allowed_jobs");
        for (size_t j = 0; a->allowed_jobs != NULL && a->allowed_jobs[j] != NULL; j++) {
            if (job_find(l, a->allowed_jobs[j]) == NULL)
                undefined(l, n->type == NODE_LIST ? n->items[j]->at : n->at, "allowed_jobs", "job",
                          a->allowed_jobs[j], job_names(l->c));
        }
    }
}

/* Jobs. */

/* `job: X` in a step: a job X, else the one extension that declares X. */
static void bind_job_name(struct load *l, const struct job_note *note, struct step *s)
{
    size_t n;
    const struct extension *x = extension_with_job(l, s->job, &n);
    const struct job_note *other = job_find(l, s->job);
    if (other != NULL && (other != note || n == 0)) {
        s->within = other;
    } else if (x != NULL) {
        take_job(&s->work, x, s->job);
    } else if (n > 1) {
        load_fail(l, place_of(s->map, "job"), "job",
                  "%zu extensions have a job \"%s\": say which, with extension: NAME beside it", n,
                  s->job);
    } else {
        undefined(l, place_of(s->map, "job"), "job", "job", s->job, job_names(l->c));
    }
}

static void step_subject(struct load *l, const struct job_note *note, const struct step *s)
{
    if (note->listed)
        load_subject(l, "%s step \"%s\"", note->subject, s->name);
    else
        load_subject(l, "%s", note->subject);
}

void bind_job(struct load *l, struct job_note *note)
{
    for (size_t i = 0; i < note->n; i++) {
        struct step *s = &note->steps[i];
        step_subject(l, note, s);
        if (s->job != NULL) {
            bind_job_name(l, note, s);
        } else if (s->work.kind == WORK_AGENT) {
            const struct agent_note *agent = bind_agent(l, s->map, &s->work);
            if (agent != NULL && agent->workflow != NULL)
                s->within = agent->workflow;
            else if (agent != NULL)
                s->otherwise = &agent->policy;
        } else if (s->work.kind == WORK_EXTENSION) {
            bind_extension(l, s->map, &s->work);
        }
    }
}

/* Stages of pipelines name agents and extensions too. */
static void bind_stage(struct load *l, struct stage *s, const struct stage_note *note)
{
    load_subject(l, "stage %s", s->id);
    if (s->work.kind == WORK_EXTENSION)
        bind_extension(l, note->map, &s->work);
    if (s->work.kind != WORK_AGENT)
        return;
    const struct agent_note *agent = bind_agent(l, note->map, &s->work);
    if (agent != NULL && agent->workflow != NULL)
        load_fail(l, place_of(note->map, "agent"), "agent",
                  "\"%s\" has a workflow: make it a job, and start that", s->work.agent);
    if (agent == NULL)
        return;
    struct policy policy = {0};
    policy_read(l, note->map, &policy);
    policy_default(&policy, &agent->policy);
    policy_use(l, &policy, s);
}

/* Jobs within jobs. */

static bool find_circle(struct load *l, struct job_note *note, struct job_note **way, size_t depth);

static void tell_circle(struct load *l, const struct job_note *to, const struct step *s,
                        struct job_note *const *way, size_t depth)
{
    struct buf b = {0};
    size_t from = 0;
    while (from < depth && way[from] != to)
        from++;
    for (size_t i = from; i < depth; i++)
        buf_printf(&b, "%s -> ", way[i]->job->name);
    step_subject(l, way[depth - 1], s);
    const char *field = s->job != NULL ? "job" : "agent";
    load_fail(l, place_of(s->map, field), field, "the job would contain itself: %s%s", b.p,
              to->job->name);
    buf_finish(&b);
}

static bool follow_step(struct load *l, const struct step *s, struct job_note **way, size_t depth)
{
    struct job_note *to = job_find(l, s->within->job->name);
    if (to->colour == 1) {
        tell_circle(l, to, s, way, depth);
        return false;
    }
    bool ok =
        to->colour == 2 ? !to->broken : depth == NESTING_MAX || find_circle(l, to, way, depth);
    struct job_note *note = way[depth - 1];
    if (note->height <= to->height)
        note->height = to->height + 1;
    if (ok && (depth == NESTING_MAX || note->height == NESTING_MAX)) {
        step_subject(l, note, s);
        load_fail(l, place_of(s->map, "job"), "job", "jobs within jobs: at most %d levels",
                  NESTING_MAX);
        return false;
    }
    return ok;
}

static bool find_circle(struct load *l, struct job_note *note, struct job_note **way, size_t depth)
{
    bool ok = true;
    note->colour = 1;
    way[depth] = note;
    for (size_t i = 0; i < note->n; i++) {
        if (note->steps[i].within != NULL)
            ok = follow_step(l, &note->steps[i], way, depth + 1) && ok;
    }
    note->colour = 2;
    note->broken = note->broken || !ok;
    return !note->broken;
}

void bind_circles(struct load *l, struct job_note *note)
{
    struct job_note *way[NESTING_MAX + 1] = {NULL};
    if (note->colour == 0)
        find_circle(l, note, way, 0);
}

void bind_all(struct load *l)
{
    bind_agents(l);
    for (size_t i = 0; i < l->c->job_n; i++)
        bind_job(l, l->jobs[i]);
    for (size_t i = 0; i < l->c->job_n; i++)
        bind_circles(l, l->jobs[i]);
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        struct pipeline *p = &l->c->pipelines[i];
        for (size_t j = 0; j < p->n; j++)
            bind_stage(l, &p->stages[j], &l->pipelines[i].stages[j]);
    }
}
