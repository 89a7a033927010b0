/* SPDX-License-Identifier: Apache-2.0 */
/* A start looks for its job, and there may be ten thousand: so names are found by a map. It holds places in the arrays and not pointers, because the arrays move
 * while the configuration is read; the names themselves do not. */
#include <stdint.h>

#include "base/map.h"
#include "base/mem.h"
#include "config/parts.h"

struct entry {
    struct map_node node;
    size_t at;
};

struct config_names {
    struct map pipelines;
    struct map jobs;
};

static void add(struct map *m, const char *name, size_t at)
{
    if (map_find(m, str_of(name)) != NULL)
        return; /* told as an error by whoever read it */
    struct entry *e = mem_new(struct entry);
    e->at = at;
    map_add(m, &e->node, str_of(name));
}

static size_t find(const struct map *m, struct str name)
{
    struct map_node *node = map_find(m, name);
    return node == NULL ? SIZE_MAX : container_of(node, struct entry, node)->at;
}

static struct config_names *names_of(struct config *c)
{
    if (c->names == NULL)
        c->names = mem_new(struct config_names);
    return c->names;
}

void names_add_pipeline(struct config *c, size_t at)
{
    add(&names_of(c)->pipelines, c->pipelines[at].name, at);
}

void names_add_job(struct config *c, size_t at)
{
    add(&names_of(c)->jobs, c->jobs[at]->name, at);
}

static void free_map(struct map *m)
{
    struct map_node *node;
    while ((node = map_any(m)) != NULL) {
        map_remove(m, node);
        mem_free(container_of(node, struct entry, node));
    }
    map_finish(m);
}

void names_free(struct config_names *n)
{
    if (n == NULL)
        return;
    free_map(&n->pipelines);
    free_map(&n->jobs);
    mem_free(n);
}

size_t names_job(const struct config *c, struct str name)
{
    return c->names == NULL ? SIZE_MAX : find(&c->names->jobs, name);
}

const struct pipeline *config_pipeline(const struct config *c, struct str name)
{
    size_t at = c->names == NULL ? SIZE_MAX : find(&c->names->pipelines, name);
    return at == SIZE_MAX ? NULL : &c->pipelines[at];
}

const struct job *config_job(const struct config *c, struct str name)
{
    size_t at = names_job(c, name);
    if (at != SIZE_MAX)
        return c->jobs[at];
    const struct pipeline *p = config_pipeline(c, name);
    return p == NULL ? NULL : p->job;
}
