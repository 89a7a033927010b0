/* SPDX-License-Identifier: Apache-2.0 */
/* jobs: as they are written, and files that are a job. A job that only names its work (a command, an extension's job, an agent) has one step, or two: code first,
 * then the agent that gets its output. What follows its runs (output, on_complete, alerts ...) is read by after.c, when all jobs are known. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

static const char *const job_keys[] = {
    "name",     "type",        "description",   "enabled",           "schedule",   "timezone",
    "overlap",  "misfire",     "misfire_limit", "concurrencyPolicy", "parameters", "input",
    "priority", "concurrency", "rate_limit",    "debounce",          "delay",      "timeout",
    "retry",    "budget",      "output",        "on_complete",       "on_failure", "steps",
    "workflow", "dead_letter", "alerts",        "on_error",          "command",    "run",
    "keep",     "env",         "http",          "extension",         "job",        "agent",
    "task",     NULL};
static const char *const job_later[] = {"max_iterations", "when", "memory", "policy", NULL};
static const char *const types[] = {"extension", "agent", "hybrid", "workflow", "code", NULL};

static void parameter_finish(struct parameter *p)
{
    mem_free(p->name);
    mem_free(p->type);
    mem_free(p->standard);
    mem_free(p->choices);
    mem_free(p->description);
}

void job_finish(struct job *j)
{
    for (size_t i = 0; i < j->parameter_n; i++)
        parameter_finish(&j->parameters[i]);
    mem_free(j->parameters);
    mem_free(j->name);
    mem_free(j->pipeline);
    mem_free(j->description);
    mem_free(j->output);
    mem_free(j->lane_key);
    mem_free(j->rate_key);
    mem_free(j->debounce_key);
    mem_free(j->file);
    mem_free(j);
}

void job_note_finish(struct job_note *n)
{
    for (size_t i = 0; i < n->n; i++)
        step_finish(&n->steps[i]);
    mem_free(n->steps);
    mem_free(n->subject);
    mem_free(n);
}

struct job_note *job_find(const struct load *l, const char *name)
{
    size_t at = names_job(l->c, str_of(name));
    return at == SIZE_MAX ? NULL : l->jobs[at];
}

struct job_note *job_add(struct load *l, const struct node *map, struct place at, char *name,
                         const char *subject)
{
    struct config *c = l->c;
    const struct job_note *other = job_find(l, name);
    if (other != NULL) {
        load_fail(l, at, "name", "there is a job \"%s\" already, in %s:%d", name,
                  other->at.source->name, other->at.line);
        mem_free(name);
        return NULL;
    }
    struct job *j = mem_new(struct job);
    struct job_note *note = mem_new(struct job_note);
    *j = (struct job){.name = name,
                      .pipeline = mem_format("job.%s", name),
                      .file = mem_strdup(at.source->name),
                      .line = at.line};
    *note = (struct job_note){.at = at, .map = map, .job = j};
    note->subject = subject != NULL ? mem_strdup(subject) : mem_format("job \"%s\"", name);
    c->jobs = mem_resize(c->jobs, (c->job_n + 1) * sizeof *c->jobs);
    l->jobs = mem_resize(l->jobs, (c->job_n + 1) * sizeof *l->jobs);
    c->jobs[c->job_n] = j;
    l->jobs[c->job_n++] = note;
    names_add_job(c, c->job_n - 1);
    return note;
}

/* The steps. */

static struct step *add_step(struct job_note *note, const char *name, const char *output)
{
    struct step *s = step_add(note, note->map);
    s->at = note->at;
    s->name = mem_strdup(name);
    s->output = mem_strdup(output);
    return s;
}

static void read_work(struct load *l, struct job_note *note)
{
    bool code = work_has(note->map, WORK_CODE, true);
    bool agent = work_has(note->map, WORK_AGENTS, false);
    if (!code || !agent) {
        struct step *s = add_step(note, "run", "output");
        work_read(l, note->map, WORK_CODE | WORK_AGENTS, &s->work, &s->job);
        note->job->kind = agent ? JOB_AGENT : JOB_EXTENSION;
        return;
    }
    struct step *first = add_step(note, "code", "code");
    work_read(l, note->map, WORK_CODE, &first->work, &first->job);
    struct step *second = add_step(note, "agent", "output");
    work_read(l, note->map, WORK_AGENTS, &second->work, NULL);
    note->job->kind = JOB_HYBRID;
}

static void read_listed(struct load *l, struct job_note *note)
{
    static const char *const alone[] = {"command",   "run", "http",  "keep", "env",
                                        "extension", "job", "agent", "task", NULL};
    const char *list = node_get(note->map, "steps") != NULL ? "steps" : "workflow";
    for (size_t i = 0; alone[i] != NULL; i++) {
        const struct node *key = node_key(note->map, alone[i]);
        if (key != NULL)
            load_fail(l, key->at, NULL, "has both %s and %s: choose one", list, alone[i]);
    }
    note->job->kind = strcmp(list, "steps") == 0 ? JOB_HYBRID : JOB_WORKFLOW;
    steps_read(l, note);
}

/* `type` says what the other keys say as well; it may not say something else. */
static void check_type(struct load *l, const struct job_note *note)
{
    const struct node *type = node_get(note->map, "type");
    int given = type == NULL ? -1 : load_choice(l, type, "type", types);
    if (given < 0)
        return;
    enum job_kind kind = note->job->kind;
    bool listed = kind == JOB_HYBRID || kind == JOB_WORKFLOW;
    if (given <= JOB_WORKFLOW && listed && given >= JOB_HYBRID)
        note->job->kind = (enum job_kind)given;
    else if (given == JOB_AGENT && kind != JOB_AGENT)
        load_fail(l, type->at, "type", "agent needs agent: NAME and no other work");
    else if ((given == JOB_HYBRID || given == JOB_WORKFLOW) && !listed)
        load_fail(l, type->at, "type", "%s needs steps, or code and an agent", type->text);
    else if ((given == JOB_EXTENSION || given > JOB_WORKFLOW) && kind != JOB_EXTENSION)
        load_fail(l, type->at, "type", "%s needs an extension's job, a command or http alone",
                  type->text);
}

/* A tick says of which instant it is, and nothing else. */
static void check_scheduled(struct load *l, const struct job_note *note)
{
    const struct node *schedule = node_get(note->map, "schedule");
    for (size_t i = 0; schedule != NULL && i < note->job->parameter_n; i++) {
        const struct parameter *p = &note->job->parameters[i];
        if (!p->required || strcmp(p->name, "scheduled_at") == 0)
            continue;
        report_warning(l->report, schedule->at,
                       "%s: schedule: a tick does not give the required parameter \"%s\", so each "
                       "will be skipped: add input: {%s: ...}",
                       l->subject, p->name, p->name);
    }
}

void job_read_keys(struct load *l, struct job_note *note)
{
    const struct node *map = note->map;
    load_keys(l, map, job_keys, job_later);
    const struct node *text = node_get(map, "description");
    if (text != NULL)
        note->job->description = load_word(l, text, "description");
    gates_read(l, map, note->job);
    parameters_read(l, map, note->job);
    schedules_read(l, map, note->job);
    check_scheduled(l, note);
    policy_read(l, map, &note->policy);
    if (node_key(map, "steps") != NULL || node_key(map, "workflow") != NULL)
        read_listed(l, note);
    else
        read_work(l, note);
    load_subject(l, "%s", note->subject);
    check_type(l, note);
}

static void read_job(struct load *l, const struct node *n)
{
    load_subject(l, "jobs");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    char *name = NULL;
    if (load_name_text(n) != NULL)
        load_subject(l, "job \"%s\"", load_name_text(n));
    if (!load_name(l, n, &name)) {
        load_keys(l, n, job_keys, job_later);
        return;
    }
    struct job_note *note = job_add(l, n, node_get(n, "name")->at, name, NULL);
    if (note != NULL)
        job_read_keys(l, note);
}

void jobs_read(struct load *l, const struct node *list)
{
    load_each(l, list, "jobs", read_job);
}

bool job_is_key(const char *key)
{
    return load_is_one_of(key, job_keys) && strcmp(key, "name") != 0 && strcmp(key, "type") != 0 &&
           strcmp(key, "description") != 0;
}

/* "night-report" of "config/night report.yaml". */
static char *name_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = mem_strdup(slash != NULL ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot != NULL && dot != name)
        *dot = '\0';
    for (char *p = name; *p != '\0'; p++) {
        bool fine = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
                    (*p >= '0' && *p <= '9') || *p == '-' || *p == '_';
        *p = fine ? *p : '-';
    }
    return name;
}

void job_read_file(struct load *l, const struct node *n)
{
    if (node_get(n, "name") != NULL) {
        read_job(l, n);
        return;
    }
    char *name = name_of_file(n->at.source->name);
    load_subject(l, "job \"%s\"", name);
    struct job_note *note = job_add(l, n, n->at, name, NULL);
    if (note != NULL)
        job_read_keys(l, note);
}
