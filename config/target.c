/* SPDX-License-Identifier: Apache-2.0 */
/* What triggers and ends of runs start: a job, an agent, or a pipeline. An agent becomes a job of the starter's own. */
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

/* Pipelines that were not made of jobs or triggers have no dots in their names. */
static const char **pipeline_names(const struct config *c)
{
    const char **names = mem_zero(c->pipeline_n + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < c->pipeline_n; i++) {
        if (strchr(c->pipelines[i].name, '.') == NULL)
            names[n++] = c->pipelines[i].name;
    }
    return names;
}
void target_undefined(struct load *l, const struct node *n, const char *field)
{
    const char **names = strcmp(field, "job") == 0 ? job_names(l->c) : pipeline_names(l->c);
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
    const struct pipeline *p = agent ? NULL : target_pipeline(l, key->text, name);
    if (agent)
        p = anonymous(l, map, at, base);
    if (p == NULL)
        target_undefined(l, n, key->text);
    mem_free(name);
    return p;
}
