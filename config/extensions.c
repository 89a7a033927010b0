/* SPDX-License-Identifier: Apache-2.0 */
/* extensions: code under a name, and the jobs in it. With `path` it is a shared object, and `jobs` may say which jobs it has, so that a step can name one of
 * them alone; without, each of its `jobs` is a command or an HTTP call. */
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "config/parts.h"

static const char *const extension_keys[] = {"name", "path", "jobs", "description", NULL};
static const char *const job_keys[] = {"command", "run", "keep", "env", "http", NULL};

void extension_finish(struct extension *x)
{
    for (size_t i = 0; i < x->job_n; i++) {
        mem_free(x->jobs[i].name);
        work_finish(&x->jobs[i].work);
    }
    mem_free(x->jobs);
    mem_free(x->name);
    mem_free(x->path);
    mem_free(x->file);
}

static bool is_free(struct load *l, struct place at, const char *name)
{
    const struct extension *x = config_extension(l->c, name);
    if (x != NULL)
        load_fail(l, at, NULL, "there is an extension \"%s\" already, in %s:%d", name, x->file,
                  x->line);
    return x == NULL;
}

static struct extension_job *add_job(struct load *l, struct extension *x, struct place at,
                                     const char *name)
{
    for (size_t i = 0; i < x->job_n; i++) {
        if (strcmp(x->jobs[i].name, name) != 0)
            continue;
        load_fail(l, at, "jobs", "\"%s\" stands here twice", name);
        return NULL;
    }
    x->jobs = mem_resize(x->jobs, (x->job_n + 1) * sizeof *x->jobs);
    x->jobs[x->job_n] = (struct extension_job){.name = mem_strdup(name)};
    return &x->jobs[x->job_n++];
}

/* Names of what the shared object has. */
static void read_declared(struct load *l, const struct node *n, struct extension *x)
{
    char **names = load_words(l, n, "jobs", false);
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        struct place at = n->type == NODE_LIST ? n->items[i]->at : n->at;
        struct extension_job *j = add_job(l, x, at, names[i]);
        if (j != NULL)
            j->work = (struct work){.kind = WORK_EXTENSION,
                                    .extension = mem_strdup(x->name),
                                    .job = mem_strdup(names[i])};
    }
    words_free(names);
}

static void read_commands(struct load *l, const struct node *n, struct extension *x)
{
    if (!load_is(l, n, NODE_MAP, "jobs"))
        return;
    if (n->n == 0)
        load_fail(l, n->at, "jobs", "is empty");
    for (size_t i = 0; i < n->n; i++) {
        const char *name = n->keys[i]->text;
        load_subject(l, "extension \"%s\" job \"%s\"", x->name, name);
        struct extension_job *j = add_job(l, x, n->keys[i]->at, name);
        if (j == NULL || !load_is(l, n->items[i], NODE_MAP, NULL))
            continue;
        load_keys(l, n->items[i], job_keys, NULL);
        work_read(l, n->items[i], WORK_CODE, &j->work, NULL);
    }
}

static void read_path(struct load *l, const struct node *n, struct extension *x)
{
    struct stat st;
    x->path = load_path(l, n, "path");
    if (x->path != NULL && (stat(x->path, &st) != 0 || !S_ISREG(st.st_mode)))
        load_undefined(l, n->at, "path", "there is no file %s", x->path);
}

static void read_extension(struct load *l, const struct node *n)
{
    load_subject(l, "extensions");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    load_keys(l, n, extension_keys, NULL);
    struct extension x = {0};
    if (!load_name(l, n, &x.name))
        return;
    struct place at = node_get(n, "name")->at;
    load_subject(l, "extension \"%s\"", x.name);
    if (!is_free(l, at, x.name)) {
        mem_free(x.name);
        return;
    }
    x.file = mem_strdup(at.source->name);
    x.line = at.line;
    const struct node *path = node_get(n, "path");
    const struct node *jobs = node_get(n, "jobs");
    if (path != NULL)
        read_path(l, path, &x);
    else if (jobs == NULL)
        load_missing(l, n, "path", ": of the shared object; or add jobs");
    if (jobs != NULL && path != NULL)
        read_declared(l, jobs, &x);
    else if (jobs != NULL)
        read_commands(l, jobs, &x);
    struct config *c = l->c;
    c->extensions = mem_resize(c->extensions, (c->extension_n + 1) * sizeof *c->extensions);
    l->extensions = mem_resize(l->extensions, (c->extension_n + 1) * sizeof *l->extensions);
    l->extensions[c->extension_n] = at;
    c->extensions[c->extension_n++] = x;
}

void extensions_read(struct load *l, const struct node *list)
{
    load_each(l, list, "extensions", read_extension);
}

const struct extension *extension_with_job(const struct load *l, const char *job, size_t *n)
{
    const struct extension *found = NULL;
    *n = 0;
    for (size_t i = 0; i < l->c->extension_n; i++) {
        const struct extension *x = &l->c->extensions[i];
        for (size_t j = 0; j < x->job_n; j++) {
            if (strcmp(x->jobs[j].name, job) != 0)
                continue;
            found = x;
            ++*n;
        }
    }
    return *n == 1 ? found : NULL;
}

static void add_as_job(struct load *l, const char *name, struct place at)
{
    static const struct node nothing = {.type = NODE_MAP};
    struct job_note *note = job_add(l, &nothing, at, mem_strdup(name), NULL);
    struct step *s = step_add(note, &nothing);
    s->at = at;
    s->name = mem_strdup("run");
    s->output = mem_strdup("output");
    s->job = mem_strdup(name);
}

void extensions_jobs(struct load *l)
{
    for (size_t i = 0; i < l->c->extension_n; i++) {
        const struct extension *x = &l->c->extensions[i];
        for (size_t j = 0; j < x->job_n; j++) {
            size_t n;
            const char *name = x->jobs[j].name;
            if (step_is_name(name) && job_find(l, name) == NULL &&
                extension_with_job(l, name, &n) != NULL)
                add_as_job(l, name, l->extensions[i]);
        }
    }
}
