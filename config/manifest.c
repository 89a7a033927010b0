/* SPDX-License-Identifier: Apache-2.0 */
/* A Kubernetes CronJob as it stands becomes a job with the container's command: schedule, timeZone, concurrencyPolicy, suspend, backoffLimit,
 * activeDeadlineSeconds, command, args and env are taken over. The rest says where Kubernetes runs it and is told as not used, so
 * that nobody relies on an image or a limit of memory that is not there. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

enum { BACKOFF_MAX = 100, DEADLINE_MAX_S = 86400 };

bool manifest_is(const struct node *map)
{
    return node_key(map, "apiVersion") != NULL && node_key(map, "kind") != NULL;
}

/* Warns of keys that mean nothing here. */
static void not_used(struct load *l, const struct node *map, const char *const *used)
{
    for (size_t i = 0; i < map->n; i++) {
        if (!load_is_one_of(map->keys[i]->text, used))
            report_warning(l->report, map->keys[i]->at, "%s: %s is not used here", l->subject,
                           map->keys[i]->text);
    }
}

/* The map under a key; NULL: it is missing, and that was told. */
static const struct node *need_map(struct load *l, const struct node *map, const char *key)
{
    const struct node *n = map == NULL ? NULL : node_get(map, key);
    if (map != NULL && n == NULL)
        load_missing(l, map, key, "");
    return n != NULL && load_is(l, n, NODE_MAP, key) ? n : NULL;
}

/* A variable with a value, or one that the server has under the same name. */
static void read_variable(struct load *l, const struct node *n, struct work *w)
{
    if (!load_is(l, n, NODE_MAP, "env"))
        return;
    char *name = load_need(l, n, "name");
    const struct node *given = node_get(n, "value");
    char *value = NULL;
    if (name == NULL)
        return;
    if (name[0] == '\0' || strchr(name, '=') != NULL)
        load_fail(l, n->at, "env", "\"%s\" is no name for a variable", name);
    else if (given != NULL)
        value = load_word(l, given, "env");
    else if (load_secret(l, n->at, "env", name, &value) && value == NULL)
        report_warning(l->report, n->at,
                       "%s: env: set %s or %s_FILE for the server: it is taken from there",
                       l->subject, name, name);
    if (value != NULL)
        w->env = words_add(w->env, mem_format("%s=%s", name, value));
    mem_free(value);
    mem_free(name);
}

static void read_words(struct load *l, const struct node *map, const char *field, char ***argv)
{
    const struct node *n = node_get(map, field);
    char **words = n == NULL ? NULL : load_words(l, n, field, false);
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        *argv = words_add(*argv, mem_strdup(words[i]));
    words_free(words);
}

static void read_container(struct load *l, const struct node *map, struct work *w)
{
    static const char *const used[] = {"name", "command", "args", "env", NULL};
    if (!load_is(l, map, NODE_MAP, "containers"))
        return;
    not_used(l, map, used);
    w->kind = WORK_COMMAND;
    w->cwd = mem_strdup(l->dir);
    if (node_get(map, "command") == NULL)
        load_missing(l, map, "command", ": there is no image here that would have one");
    read_words(l, map, "command", &w->argv);
    read_words(l, map, "args", &w->argv);
    const struct node *env = node_get(map, "env");
    if (env == NULL || !load_is(l, env, NODE_LIST, "env"))
        return;
    for (size_t i = 0; i < env->n; i++)
        read_variable(l, env->items[i], w);
}

static void read_pod(struct load *l, const struct node *template, struct work *w)
{
    static const char *const used[] = {"containers", "restartPolicy", NULL};
    const struct node *spec = need_map(l, template, "spec");
    if (spec == NULL)
        return;
    not_used(l, spec, used);
    const struct node *containers = node_get(spec, "containers");
    if (containers == NULL)
        load_missing(l, spec, "containers", "");
    else if (load_is(l, containers, NODE_LIST, "containers") && containers->n != 1)
        load_fail(l, containers->at, "containers", "there must be one, not %zu", containers->n);
    else if (containers->type == NODE_LIST)
        read_container(l, containers->items[0], w);
}

static void read_limits(struct load *l, const struct node *map, struct policy *p)
{
    static const char *const used[] = {"backoffLimit", "activeDeadlineSeconds", "template", NULL};
    int64_t v;
    const struct node *n = node_get(map, "backoffLimit");
    not_used(l, map, used);
    p->retry_set = n != NULL;
    if (n != NULL && load_int(l, n, "backoffLimit", 0, BACKOFF_MAX, &v))
        p->retry.max_attempts = (int)v + 1;
    n = node_get(map, "activeDeadlineSeconds");
    if (n != NULL && load_int(l, n, "activeDeadlineSeconds", 1, DEADLINE_MAX_S, &v))
        p->timeout_ms = v * 1000;
}

static void read_spec(struct load *l, const struct node *spec, struct job_note *note)
{
    static const char *const used[] = {"schedule", "timeZone",    "concurrencyPolicy",
                                       "suspend",  "jobTemplate", NULL};
    not_used(l, spec, used);
    schedules_read(l, spec, note->job);
    policy_read(l, spec, &note->policy); /* for what is not said */
    struct step *s = step_add(note, note->map);
    s->at = note->at;
    s->name = mem_strdup("run");
    s->output = mem_strdup("output");
    const struct node *template = need_map(l, spec, "jobTemplate");
    const struct node *job = need_map(l, template, "spec");
    if (job != NULL)
        read_limits(l, job, &note->policy);
    const struct node *pod = need_map(l, job, "template");
    if (pod != NULL)
        read_pod(l, pod, &s->work);
}

void manifest_read(struct load *l, const struct node *n)
{
    static const char *const used[] = {"apiVersion", "kind", "metadata", "spec", NULL};
    load_subject(l, "manifest");
    const struct node *kind = node_get(n, "kind");
    if (!load_is(l, kind, NODE_TEXT, "kind"))
        return;
    if (strcmp(kind->text, "CronJob") != 0) {
        load_fail(l, kind->at, "kind", "of Kubernetes a CronJob alone can be read, not \"%s\"",
                  kind->text);
        return;
    }
    not_used(l, n, used);
    const struct node *metadata = need_map(l, n, "metadata");
    const struct node *spec = need_map(l, n, "spec");
    char *name = NULL;
    if (metadata == NULL || spec == NULL || !load_name(l, metadata, &name))
        return;
    load_subject(l, "job \"%s\"", name);
    struct job_note *note = job_add(l, spec, node_get(metadata, "name")->at, name, NULL);
    if (note != NULL)
        read_spec(l, spec, note);
}
