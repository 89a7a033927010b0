/* SPDX-License-Identifier: Apache-2.0 */
/* From a directory to a snapshot. All files are read before anything is understood, because the order in
 * which sections are understood (settings first, triggers last) has nothing to do with the order of files. When a file cannot be parsed, what
 * the others say is still checked, but not whether what they refer to exists: it may stand in the broken one. */
#include "config/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/parts.h"

enum { FILES_MAX = 500 };

static const char *const top_keys[] = {"settings", "pipelines", "extensions", "triggers", "jobs",
                                       "agents",   "scheduler", "alerts",     NULL};
static const char *const top_later[] = {"policies", "policy",    "intents", "memory",
                                        "models",   "approvals", "prices",  NULL};

static const char *const scheduler_keys[] = {"enabled", "jobs", "dead_letter", "alerts", NULL};

struct files {
    struct source *sources;
    struct yaml **yamls;
    size_t n;
};

static int wanted(const struct dirent *d)
{
    struct str name = str_of(d->d_name);
    return name.p[0] != '.' && (str_ends(name, ".yaml") || str_ends(name, ".yml"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

bool read_whole(const char *path, size_t max, const char *too_large, struct buf *out,
                const char **why)
{
    enum { PIECE = 16384 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        *why = strerror(errno);
        if (fd >= 0)
            close(fd);
        return false;
    }
    *why = !S_ISREG(st.st_mode) ? "it is not a file" : NULL;
    while (*why == NULL) {
        buf_reserve(out, PIECE);
        ssize_t n = read(fd, out->p + out->n, PIECE);
        if (n == 0)
            break;
        if (n < 0)
            *why = strerror(errno);
        else if ((out->n += (size_t)n) > max)
            *why = too_large;
    }
    close(fd);
    return *why == NULL;
}

static void read_file(struct load *l, struct files *f, const char *dir, const char *name)
{
    struct source *s = &f->sources[f->n];
    size_t slash = strlen(dir);
    while (slash > 1 && dir[slash - 1] == '/')
        slash--;
    bool here = slash == 1 && dir[0] == '.';
    s->name = here ? mem_strdup(name) : mem_format("%.*s/%s", (int)slash, dir, name);
    s->order = f->n;
    const char *why = NULL;
    if (read_whole(s->name, YAML_FILE_MAX, "it is larger than 4 MiB", &s->text, &why)) {
        f->yamls[f->n] = yaml_read(s, l->report);
    } else {
        report_error(l->report, (struct place){.source = s}, "cannot be read: %s", why);
    }
    l->broken = l->broken || f->yamls[f->n] == NULL;
    f->n++;
}

static bool read_files(struct load *l, struct files *f, const char *dir)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, wanted, by_name);
    struct place at = {.where = dir};
    if (n < 0)
        report_error(l->report, at, "the configuration directory cannot be read: %s",
                     strerror(errno));
    else if (n == 0)
        report_warning(l->report, at, "there is no *.yaml file in this directory");
    else if (n > FILES_MAX)
        report_error(l->report, at, "has %d files, at most %d are read", n, FILES_MAX);
    if (n > 0 && n <= FILES_MAX) {
        f->sources = mem_zero((size_t)n, sizeof *f->sources);
        f->yamls = mem_zero((size_t)n, sizeof *f->yamls);
        for (int i = 0; i < n; i++)
            read_file(l, f, dir, names[i]->d_name);
    }
    for (int i = 0; i < n; i++)
        free(names[i]); /* scandir's own */
    free(names);
    return n >= 0;
}

static void files_finish(struct files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        yaml_free(f->yamls[i]);
        mem_free(f->sources[i].name);
        buf_finish(&f->sources[i].text);
    }
    mem_free(f->yamls);
    mem_free(f->sources);
}

typedef void (*section_fn)(struct load *l, const struct node *n);

static void each_section(struct load *l, const struct files *f, const char *key, section_fn read)
{
    for (size_t i = 0; i < f->n; i++) {
        size_t documents = f->yamls[i] == NULL ? 0 : yaml_documents(f->yamls[i]);
        for (size_t j = 0; j < documents; j++) {
            const struct node *root = yaml_root(f->yamls[i], j);
            const struct node *section = root->type == NODE_MAP ? node_get(root, key) : NULL;
            if (section != NULL)
                read(l, section);
        }
    }
}

/* What a document without sections is: an agent, a job (perhaps without a name), or nothing known. A job may have alerts of its own. */
static section_fn whole_document(const struct node *root)
{
    bool job = false;
    if (manifest_is(root))
        return manifest_read;
    for (size_t i = 0; i < root->n; i++) {
        const char *key = root->keys[i]->text;
        if (strcmp(key, "alerts") == 0)
            continue;
        if (load_is_one_of(key, top_keys))
            return NULL;
        job = job || job_is_key(key);
    }
    if (agent_is_file(root))
        return agent_read;
    if (job)
        return job_read_file;
    return node_get(root, "name") != NULL ? agent_read : NULL;
}

static void each_document(struct load *l, const struct files *f, section_fn which)
{
    for (size_t i = 0; i < f->n; i++) {
        size_t documents = f->yamls[i] == NULL ? 0 : yaml_documents(f->yamls[i]);
        for (size_t j = 0; j < documents; j++) {
            const struct node *root = yaml_root(f->yamls[i], j);
            section_fn read = root->type == NODE_MAP ? whole_document(root) : NULL;
            if (read != NULL && read == which)
                read(l, root);
            if (read != NULL || which != NULL || root->type == NODE_NULL)
                continue;
            load_subject(l, "%s", "");
            if (load_is(l, root, NODE_MAP, "the file"))
                load_keys(l, root, top_keys, top_later);
        }
    }
}

static void scheduler_settings(struct load *l, const struct node *map)
{
    load_subject(l, "scheduler");
    if (map->type == NODE_NULL || !load_is(l, map, NODE_MAP, NULL))
        return;
    load_keys(l, map, scheduler_keys, NULL);
    if (node_get(map, "enabled") != NULL)
        settings_alias(l, node_key(map, "enabled"), node_get(map, "enabled"), "scheduler_enabled");
    const struct node *dead = node_get(map, "dead_letter");
    if (dead == NULL || !load_is(l, dead, NODE_MAP, "dead_letter"))
        return;
    load_subject(l, "dead_letter");
    load_keys(l, dead, dead_letter_keys, NULL);
    if (node_get(dead, "enabled") != NULL)
        settings_alias(l, node_key(dead, "enabled"), node_get(dead, "enabled"), "dead_letters");
    if (node_get(dead, "retention") != NULL)
        settings_alias(l, node_key(dead, "retention"), node_get(dead, "retention"),
                       "dead_retention");
}

static void scheduler_jobs(struct load *l, const struct node *map)
{
    const struct node *jobs = map->type == NODE_MAP ? node_get(map, "jobs") : NULL;
    if (jobs != NULL)
        jobs_read(l, jobs);
}

static void understand(struct load *l, const struct files *f, const char *const *overrides)
{
    each_document(l, f, NULL);
    each_section(l, f, "settings", settings_read);
    each_section(l, f, "scheduler", scheduler_settings);
    settings_environment(l);
    settings_overrides(l, overrides);
    settings_check(l);
    each_section(l, f, "extensions", extensions_read);
    each_section(l, f, "agents", agents_read);
    each_document(l, f, agent_read);
    each_section(l, f, "pipelines", pipelines_read);
    each_section(l, f, "jobs", jobs_read);
    each_section(l, f, "scheduler", scheduler_jobs);
    each_document(l, f, job_read_file);
    each_document(l, f, manifest_read);
    extensions_jobs(l);
    bind_all(l);
    for (size_t i = 0, n = l->c->job_n; i < n; i++)
        flow_compile(l, l->jobs[i]);
    each_section(l, f, "triggers", triggers_read);
    after_jobs(l);
    each_section(l, f, "scheduler", after_scheduler);
    each_section(l, f, "alerts", alerts_read);
    after_feed(l);
    check_loops(l);
}

static void load_finish(struct load *l)
{
    for (size_t i = 0; i < l->c->pipeline_n; i++)
        mem_free(l->pipelines[i].stages);
    mem_free(l->pipelines);
    for (size_t i = 0; i < l->c->job_n; i++)
        job_note_finish(l->jobs[i]);
    mem_free(l->jobs);
    for (size_t i = 0; i < l->c->agent_n; i++)
        mem_free(l->agents[i]);
    mem_free(l->agents);
    mem_free(l->extensions);
    mem_free(l->settings);
}

struct config *config_load(const char *dir, const char *const *overrides, bool allow_undefined,
                           struct buf *report)
{
    struct config *c = mem_new(struct config);
    c->refs = 1;
    settings_defaults(&c->set);
    struct load l = {.c = c, .report = report_new(), .allow_undefined = allow_undefined};
    struct files f = {0};
    bool there = true;
    if (dir != NULL) {
        char *absolute = realpath(dir, NULL);
        c->dir = mem_strdup(absolute != NULL ? absolute : dir);
        free(absolute); /* realpath's own */
        l.dir = c->dir;
        there = read_files(&l, &f, dir);
    }
    if (there)
        understand(&l, &f, overrides);
    load_finish(&l);
    c->warnings = report_take_warnings(l.report);
    bool ok = report_errors(l.report) == 0;
    if (!ok)
        report_render(l.report, report);
    report_free(l.report);
    files_finish(&f);
    if (ok)
        return c;
    config_unref(c);
    return NULL;
}

struct config *config_ref(struct config *c)
{
    c->refs++;
    return c;
}

void config_unref(struct config *c)
{
    if (c == NULL || --c->refs != 0)
        return;
    settings_finish(&c->set);
    names_free(c->names);
    for (size_t i = 0; i < c->pipeline_n; i++)
        pipeline_finish(&c->pipelines[i]);
    mem_free(c->pipelines);
    for (size_t i = 0; i < c->job_n; i++)
        job_finish(c->jobs[i]);
    mem_free(c->jobs);
    for (size_t i = 0; i < c->agent_n; i++)
        agent_finish(&c->agents[i]);
    mem_free(c->agents);
    for (size_t i = 0; i < c->alert_n; i++)
        alert_free(c->alerts[i]);
    mem_free(c->alerts);
    for (size_t i = 0; i < c->db_trigger_n; i++)
        db_trigger_finish(&c->db_triggers[i]);
    mem_free(c->db_triggers);
    for (size_t i = 0; i < c->schedule_n; i++)
        schedule_finish(&c->schedules[i]);
    mem_free(c->schedules);
    for (size_t i = 0; i < c->extension_n; i++)
        extension_finish(&c->extensions[i]);
    mem_free(c->extensions);
    for (size_t i = 0; i < c->hook_n; i++)
        hook_finish(&c->hooks[i]);
    mem_free(c->hooks);
    mem_free(c->dir);
    words_free(c->warnings);
    mem_free(c);
}

const struct hook *config_hook(const struct config *c, struct str path)
{
    for (size_t i = 0; i < c->hook_n; i++) {
        if (str_is(path, c->hooks[i].path))
            return &c->hooks[i];
    }
    return NULL;
}

const struct extension *config_extension(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->extension_n; i++) {
        if (strcmp(c->extensions[i].name, name) == 0)
            return &c->extensions[i];
    }
    return NULL;
}

const struct agent *config_agent(const struct config *c, struct str name)
{
    for (size_t i = 0; i < c->agent_n; i++) {
        if (str_is(name, c->agents[i].name))
            return &c->agents[i];
    }
    return NULL;
}
