/* SPDX-License-Identifier: Apache-2.0 */
/* agents:, and files that are an agent. An agent works by a command, an HTTP call, an extension's job, or by no code here: then something else does its work.
 * An agent with a workflow is the job of its name; who names the agent means that job. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

static const char *const agent_keys[] = {
    "name",         "type",     "description", "system_prompt", "model", "capabilities",
    "allowed_jobs", "steps",    "command",     "workflow",      "run",   "keep",
    "env",          "http",     "job",         "timeout",       "retry", "extension",
    "concurrency",  "on_error", NULL};
static const char *const agent_later[] = {
    "tools",      "memory", "policy", "budget", "max_iterations", "provider", "temperature",
    "max_tokens", "tags",   "input",  "output", "channel",        "skills",   "reasoning_timeout",
    NULL};
/* What makes a file without sections an agent. */
static const char *const agent_signs[] = {"system_prompt", "capabilities", "allowed_jobs", "model",
                                          NULL};
static const char *const types[] = {"agent",   "orchestrator", "responder", "streamer",
                                    "trigger", "publisher",    "watcher",   NULL};
static const char *const capabilities[] = {"job:trigger", NULL};

void agent_finish(struct agent *a)
{
    mem_free(a->name);
    mem_free(a->description);
    mem_free(a->system_prompt);
    mem_free(a->model);
    work_finish(&a->work);
    words_free(a->capabilities);
    words_free(a->allowed_jobs);
    mem_free(a->job);
    mem_free(a->file);
}

struct agent_note *agent_find(const struct load *l, const char *name, struct agent **agent)
{
    for (size_t i = 0; i < l->c->agent_n; i++) {
        if (strcmp(l->c->agents[i].name, name) != 0)
            continue;
        *agent = &l->c->agents[i];
        return l->agents[i];
    }
    return NULL;
}

static bool is_free(struct load *l, struct place at, const char *name)
{
    struct agent *other = NULL;
    const struct agent_note *note = agent_find(l, name, &other);
    if (note != NULL)
        load_fail(l, at, "name", "there is an agent \"%s\" already, in %s:%d", name, other->file,
                  other->line);
    return note == NULL;
}

static void read_texts(struct load *l, const struct node *map, struct agent *a)
{
    const struct node *n = node_get(map, "description");
    if (n != NULL)
        a->description = load_word(l, n, "description");
    n = node_get(map, "system_prompt");
    if (n != NULL)
        a->system_prompt = load_word(l, n, "system_prompt");
    n = node_get(map, "model");
    if (n != NULL)
        a->model = load_word(l, n, "model");
}

static void read_rights(struct load *l, const struct node *map, struct agent *a)
{
    const struct node *n = node_get(map, "capabilities");
    if (n != NULL && n->type == NODE_LIST && n->n == 0)
        n = NULL; /* none */
    if (n != NULL)
        a->capabilities = load_words(l, n, "capabilities", false);
    for (size_t i = 0; n != NULL && a->capabilities != NULL && a->capabilities[i] != NULL; i++) {
        struct buf hint = {0};
        if (load_is_one_of(a->capabilities[i], capabilities)) {
            a->work.triggers = true;
            continue;
        }
        load_hint(&hint, str_of(a->capabilities[i]), capabilities);
        load_fail(l, n->type == NODE_LIST ? n->items[i]->at : n->at, "capabilities",
                  "there is no capability \"%s\"%s", a->capabilities[i],
                  hint.n != 0 ? hint.p : "; there is job:trigger");
        buf_finish(&hint);
    }
    n = node_get(map, "allowed_jobs");
    if (n == NULL || (n->type == NODE_LIST && n->n == 0))
        return;
    a->allowed_jobs = load_words(l, n, "allowed_jobs", false);
    if (a->allowed_jobs != NULL && !a->work.triggers)
        report_warning(l->report, node_key(map, "allowed_jobs")->at,
                       "%s: allowed_jobs: it may start none of them without the capability "
                       "job:trigger",
                       l->subject);
}

/* An agent with a workflow is a job as well. */
static void read_workflow(struct load *l, const struct node *map, struct agent *a,
                          struct agent_note *note)
{
    static const char *const alone[] = {"command", "run", "http", "extension", "job", NULL};
    for (size_t i = 0; alone[i] != NULL; i++) {
        const struct node *key = node_key(map, alone[i]);
        if (key != NULL)
            load_fail(l, key->at, NULL, "has both a workflow and %s: choose one", alone[i]);
    }
    if (strchr(a->name, '.') != NULL) {
        load_fail(l, note->at, "name",
                  "an agent with a workflow is a job too, so its name has no dots");
        return;
    }
    note->workflow = job_add(l, map, note->at, mem_strdup(a->name), l->subject);
    if (note->workflow == NULL)
        return;
    a->job = mem_strdup(a->name);
    note->workflow->job->kind = JOB_WORKFLOW;
    note->workflow->job->description = mem_strdup(a->description);
    note->workflow->policy = note->policy;
    steps_read(l, note->workflow);
}

static void read_work(struct load *l, const struct node *map, struct agent *a,
                      struct agent_note *note)
{
    policy_read(l, map, &note->policy);
    if (node_key(map, "workflow") != NULL || node_key(map, "steps") != NULL)
        read_workflow(l, map, a, note);
    else if (work_has(map, WORK_CODE, true))
        work_read(l, map, WORK_CODE, &a->work, NULL);
}

static void add(struct load *l, const struct agent *a, struct agent_note *note)
{
    struct config *c = l->c;
    c->agents = mem_resize(c->agents, (c->agent_n + 1) * sizeof *c->agents);
    l->agents = mem_resize(l->agents, (c->agent_n + 1) * sizeof *l->agents);
    c->agents[c->agent_n] = *a;
    l->agents[c->agent_n++] = note;
}

void agent_read(struct load *l, const struct node *n)
{
    load_subject(l, "agents");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    if (load_name_text(n) != NULL)
        load_subject(l, "agent \"%s\"", load_name_text(n));
    load_keys(l, n, agent_keys, agent_later);
    struct agent a = {.work = {.kind = WORK_AGENT}};
    if (!load_dotted_name(l, n, &a.name))
        return;
    struct place at = node_get(n, "name")->at;
    if (!is_free(l, at, a.name)) {
        mem_free(a.name);
        return;
    }
    a.file = mem_strdup(at.source->name);
    a.line = at.line;
    if (node_get(n, "type") != NULL)
        load_choice(l, node_get(n, "type"), "type", types);
    struct agent_note *note = mem_new(struct agent_note);
    *note = (struct agent_note){.at = at, .map = n};
    read_texts(l, n, &a);
    read_rights(l, n, &a);
    read_work(l, n, &a, note);
    add(l, &a, note);
}

void agents_read(struct load *l, const struct node *list)
{
    load_each(l, list, "agents", agent_read);
}

bool agent_is_file(const struct node *map)
{
    const struct node *type = node_get(map, "type");
    if (type != NULL && type->type == NODE_TEXT &&
        (strcmp(type->text, "orchestrator") == 0 ||
         (strcmp(type->text, "agent") == 0 && node_key(map, "agent") == NULL)))
        return true;
    for (size_t i = 0; agent_signs[i] != NULL; i++) {
        if (node_key(map, agent_signs[i]) != NULL)
            return true;
    }
    return false;
}
