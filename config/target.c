/* SPDX-License-Identifier: Apache-2.0 */
/* What triggers and ends of runs start: a job, an agent, or a pipeline. An agent, and a job that only an extension has, becomes a job of the starter's own. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

const struct node *target_key(struct load *l, const struct node *map)
{
    static const char *const keys[] = {"job", "pipeline", "agent"};
    const struct node *found = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct node *key = node_key(map, keys[i]);
        if (key != NULL && found != NULL)
            load_fail(l, map->at, NULL, "has both %s and %s: choose one", found->text, keys[i]);
        if (found == NULL)
            found = key;
    }
    return found;
}

void target_missing(struct load *l, const struct node *map, const char *ways)
{
    if (!load_meant(l, map, "job") && !load_meant(l, map, "agent") &&
        !load_meant(l, map, "pipeline") && !load_meant(l, map, "write"))
        load_fail(l, map->at, NULL, "starts nothing: add %s", ways);
}

const struct pipeline *target_pipeline(const struct load *l, const char *field, const char *name)
{
    const struct pipeline *p = NULL;
    if (strcmp(field, "job") == 0) {
        char *compiled = mem_format("job.%s", name);
        p = config_pipeline(l->c, str_of(compiled));
        mem_free(compiled);
    }
    return p != NULL ? p : config_pipeline(l->c, str_of(name));
}

/* Jobs of users have no dots in their names. */
static bool is_shown(const char *pipeline, bool job)
{
    bool made = strncmp(pipeline, "job.", 4) == 0;
    return made ? job && strchr(pipeline + 4, '.') == NULL : strncmp(pipeline, "trigger.", 8) != 0;
}

void target_undefined(struct load *l, const struct node *n, const char *field)
{
    bool job = strcmp(field, "job") == 0;
    const char **names = mem_zero(l->c->pipeline_n + 1, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        const char *name = l->c->pipelines[i].name;
        if (is_shown(name, job))
            names[count++] = strncmp(name, "job.", 4) == 0 ? name + 4 : name;
    }
    struct buf hint = {0};
    load_hint(&hint, str_of(n->text), names);
    load_undefined(l, n->at, field, "there is no %s \"%s\"%s", field, n->text, hint.p);
    buf_finish(&hint);
    mem_free(names);
}

static const struct pipeline *anonymous(struct load *l, const struct node *map, struct place at,
                                        const char *base)
{
    char *name = mem_strdup(base);
    for (int more = 2; job_find(l, name) != NULL; more++) {
        mem_free(name);
        name = mem_format("%s-%d", base, more);
    }
    char subject[sizeof l->subject];
    memcpy(subject, l->subject, sizeof subject);
    const char *pipeline = flow_anonymous(l, map, at, name);
    load_subject(l, "%s", subject);
    return config_pipeline(l->c, str_of(pipeline));
}

const struct pipeline *target_read(struct load *l, const struct node *map, const struct node *key,
                                   struct place at, const char *base)
{
    const struct node *n = node_get(map, key->text);
    char *name = load_word(l, n, key->text);
    if (name == NULL)
        return NULL;
    bool agent = strcmp(key->text, "agent") == 0;
    size_t declared = 0;
    const struct pipeline *p = agent ? NULL : target_pipeline(l, key->text, name);
    if (p == NULL && strcmp(key->text, "job") == 0)
        extension_with_job(l, name, &declared);
    if (agent || declared != 0)
        p = anonymous(l, map, at, base);
    if (p == NULL)
        target_undefined(l, n, key->text);
    mem_free(name);
    return p;
}
