/* SPDX-License-Identifier: Apache-2.0 */
/* triggers: of type webhook. What a delivery needs is settled here, once: scheme, secret and the key that
 * it writes. A trigger without a secret loads all the same, with a warning, and its deliveries are refused one by one with the reason:
 * so a configuration can be looked at (check, demo) on a machine that doesn't have the secrets. */
#include <ctype.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "base/suggest.h"
#include "config/parts.h"

enum { BODY_MAX = 268435456 };

/* task says in words what a run is for; a job or pipeline needs no such thing, so it is for people. */
static const char *const hook_keys[] = {
    "type",     "path",   "job",        "pipeline",    "write",    "events", "scheme", "secret",
    "insecure", "header", "secret_env", "secret_file", "max_body", "task",   "agent",  NULL};
static const char *const hook_later[] = {"when", "input", "name", "debounce", "timeout", NULL};
static const char *const later_types[] = {"kv",    "db_change", "cron",   "schedule", "rest",
                                          "agent", "http",      "intent", NULL};
/* Schemes that a path's last part may name. */
static const char *const path_schemes[] = {"github", "gitlab", "stripe", "slack", NULL};

static const char *const *known_schemes;

void config_schemes(const char *const *names)
{
    known_schemes = names;
}

void hook_finish(struct hook *h)
{
    mem_free(h->path);
    mem_free(h->scheme);
    mem_free(h->secret);
    mem_free(h->secret_name);
    mem_free(h->header);
    words_free(h->events);
    mem_free(h->write);
    mem_free(h->pipeline);
    mem_free(h->task);
    mem_free(h->file);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static bool path_is_plain(const char *path)
{
    struct str rest = str_of(path + 1);
    while (rest.p != NULL) {
        struct str part = str_split(&rest, '/');
        if (part.n == 0 || str_is(part, ".") || str_is(part, ".."))
            return false;
        for (size_t i = 0; i < part.n; i++) {
            if (!isalnum((unsigned char)part.p[i]) && strchr("-_.~", part.p[i]) == NULL)
                return false;
        }
    }
    return true;
}

static bool read_path(struct load *l, const struct node *map, struct hook *h)
{
    h->path = load_need(l, map, "path");
    if (h->path == NULL)
        return false;
    struct place at = node_get(map, "path")->at;
    if (!str_starts(str_of(h->path), "/hooks/") || !path_is_plain(h->path)) {
        load_fail(l, at, "path",
                  "\"%s\" must begin with /hooks/ and go on with letters, digits and - _ . ~ "
                  "between single slashes",
                  h->path);
        return false;
    }
    for (size_t i = 0; i < l->c->hook_n; i++) {
        const struct hook *other = &l->c->hooks[i];
        if (strcmp(other->path, h->path) != 0)
            continue;
        load_fail(l, at, "path", "there is a webhook with this path already, in %s:%d", other->file,
                  other->line);
        return false;
    }
    return true;
}

static bool is_in(const char *word, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, word) == 0)
            return true;
    }
    return false;
}

static void read_scheme(struct load *l, const struct node *map, struct hook *h)
{
    const struct node *n = node_get(map, "scheme");
    if (n == NULL) {
        if (!is_in(last_part(h->path), path_schemes))
            return;
        h->scheme = mem_strdup(last_part(h->path));
        if (known_schemes != NULL && !is_in(h->scheme, known_schemes))
            load_fail(l, node_get(map, "path")->at, "path",
                      "it ends in /%s, and that scheme is not supported by this version",
                      h->scheme);
        return;
    }
    h->scheme = load_word(l, n, "scheme");
    if (h->scheme == NULL || known_schemes == NULL || is_in(h->scheme, known_schemes))
        return;
    if (is_in(h->scheme, path_schemes)) {
        load_fail(l, n->at, NULL, "not supported by this version: scheme %s", h->scheme);
        return;
    }
    const char *near = suggest(str_of(h->scheme), known_schemes);
    if (near != NULL) {
        load_fail(l, n->at, "scheme", "unknown scheme \"%s\", did you mean \"%s\"?", h->scheme,
                  near);
        return;
    }
    struct buf all = {0};
    for (size_t i = 0; known_schemes[i] != NULL; i++)
        buf_printf(&all, "%s%s", i != 0 ? ", " : "", known_schemes[i]);
    load_fail(l, n->at, "scheme", "unknown scheme \"%s\"; there are %s", h->scheme, all.p);
    buf_finish(&all);
}

/* HOOKMESH_SECRET_<LAST PATH PART>, with _ for what a variable's name cannot hold. */
static char *default_secret_name(const char *path)
{
    char *name = mem_format("HOOKMESH_SECRET_%s", last_part(path));
    for (char *p = name; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    return name;
}

/* secret: ${NAME} says the same as secret_env: NAME. A secret itself has no place in a file that is shared. */
static char *variable_of(const struct node *n)
{
    size_t size = n->text_n;
    if (n->type != NODE_TEXT || size < 4 || strncmp(n->text, "${", 2) != 0 ||
        strchr(n->text, '}') != n->text + size - 1)
        return NULL;
    return mem_dup(n->text + 2, size - 3);
}

static void read_secret(struct load *l, const struct node *map, struct hook *h)
{
    const struct node *env = node_get(map, "secret_env");
    const struct node *file = node_get(map, "secret_file");
    const struct node *direct = node_get(map, "secret");
    if ((env != NULL) + (file != NULL) + (direct != NULL) > 1) {
        load_fail(l, map->at, NULL, "has several of secret_env, secret_file, secret: choose one");
        return;
    }
    if (file != NULL) {
        h->secret_name = load_path(l, file, "secret_file");
        if (h->secret_name != NULL)
            load_secret_file(l, file->at, "secret_file", h->secret_name, &h->secret);
        return;
    }
    struct place at = node_get(map, "path")->at;
    if (env != NULL) {
        at = env->at;
        h->secret_name = load_word(l, env, "secret_env");
    } else if (direct != NULL) {
        at = direct->at;
        h->secret_name = variable_of(direct);
        if (h->secret_name == NULL && direct->type == NODE_TEXT)
            log_secret(str_of(direct->text)); /* the report must not show it */
        if (h->secret_name == NULL)
            load_fail(l, at, "secret",
                      "a secret does not belong into this file: write secret_env: NAME and set "
                      "that variable");
    } else {
        h->secret_name = default_secret_name(h->path);
    }
    if (h->secret_name == NULL || !load_secret(l, at, "secret", h->secret_name, &h->secret))
        return;
    bool named = env != NULL || direct != NULL;
    if (h->secret == NULL && (named || !h->insecure))
        report_warning(l->report, at, "%s: there is no secret: set %s or %s_FILE; until then %s",
                       l->subject, h->secret_name, h->secret_name,
                       h->insecure ? "signatures are not checked (insecure)"
                                   : "every delivery is refused");
}

static void read_events(struct load *l, const struct node *n, struct hook *h)
{
    h->events = load_words(l, n, "events", false);
    for (size_t i = 0; h->events != NULL && h->events[i] != NULL; i++) {
        const char *p = h->events[i];
        while (isalnum((unsigned char)*p) || (*p != '\0' && strchr("_-.:/", *p) != NULL))
            p++;
        if (*p != '\0')
            load_fail(l, n->type == NODE_LIST ? n->items[i]->at : n->at, "events",
                      "\"%s\" is no event: write push, or pull_request.opened for one action",
                      h->events[i]);
    }
}

static void read_details(struct load *l, const struct node *map, struct hook *h)
{
    const struct node *n = node_get(map, "insecure");
    if (n != NULL)
        load_bool(l, n, "insecure", &h->insecure);
    read_scheme(l, map, h);
    read_secret(l, map, h);
    n = node_get(map, "header");
    if (n != NULL) {
        h->header = load_word(l, n, "header");
        for (const char *p = h->header; p != NULL && *p != '\0'; p++) {
            if (isalnum((unsigned char)*p) || *p == '-' || *p == '_')
                continue;
            load_fail(l, n->at, "header", "\"%s\" is no name for a header", h->header);
            break;
        }
    }
    n = node_get(map, "events");
    if (n != NULL)
        read_events(l, n, h);
    n = node_get(map, "task");
    if (n != NULL)
        h->task = load_word(l, n, "task");
    n = node_get(map, "max_body");
    int64_t max;
    if (n != NULL && load_size(l, n, "max_body", 1, BODY_MAX, &max))
        h->max_body = (size_t)max;
    if (h->insecure)
        report_warning(l->report, node_key(map, "insecure")->at,
                       "%s: insecure: anybody who can reach this path can start runs", l->subject);
}

/* What a trigger starts. */

static const struct pipeline *find_pipeline(struct load *l, const char *name)
{
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        if (strcmp(l->c->pipelines[i].name, name) == 0)
            return &l->c->pipelines[i];
    }
    return NULL;
}

/* Tells that a pipeline or job is missing; jobs only: pipelines named "job.x" are shown as "x". */
static void undefined_target(struct load *l, const struct node *n, const char *field)
{
    bool job = strcmp(field, "job") == 0;
    const char **names = mem_zero(l->c->pipeline_n + 1, sizeof *names);
    size_t count = 0;
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        const char *name = l->c->pipelines[i].name;
        bool is_job = strncmp(name, "job.", 4) == 0;
        if (is_job && job)
            names[count++] = name + 4;
        else if (!is_job)
            names[count++] = name;
    }
    const char *near = suggest(str_of(n->text), names);
    load_undefined(l, n->at, field, "there is no %s \"%s\"%s%s%s", field, n->text,
                   near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                   near != NULL ? "\"?" : "");
    mem_free(names);
}

/* Which of job, pipeline and agent it starts; NULL: none. */
static const struct node *target_key(struct load *l, const struct node *map)
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

static const struct pipeline *named_target(struct load *l, const struct node *n, const char *field)
{
    const struct pipeline *p = NULL;
    if (strcmp(field, "job") == 0) {
        char *compiled = mem_format("job.%s", n->text);
        p = find_pipeline(l, compiled);
        mem_free(compiled);
    }
    return p != NULL ? p : find_pipeline(l, n->text);
}

/* An agent, or a job that only an extension has, is started as a job of the trigger's own: "trigger.github". */
static const struct pipeline *anonymous_target(struct load *l, const struct node *map,
                                               const struct hook *h)
{
    char *name = mem_format("trigger.%s", last_part(h->path));
    for (int more = 2; job_find(l, name) != NULL; more++) {
        mem_free(name);
        name = mem_format("trigger.%s-%d", last_part(h->path), more);
    }
    char subject[sizeof l->subject];
    memcpy(subject, l->subject, sizeof subject);
    const char *pipeline = flow_anonymous(l, map, node_get(map, "path")->at, name);
    load_subject(l, "%s", subject);
    return find_pipeline(l, pipeline);
}

static const struct pipeline *read_target(struct load *l, const struct node *map,
                                          const struct node *key, struct hook *h)
{
    const struct node *n = key == NULL ? NULL : node_get(map, key->text);
    char *name = n == NULL ? NULL : load_word(l, n, key->text);
    if (name == NULL)
        return NULL;
    bool agent = strcmp(key->text, "agent") == 0;
    size_t declared = 0;
    const struct pipeline *p = agent ? NULL : named_target(l, n, key->text);
    if (p == NULL && strcmp(key->text, "job") == 0)
        extension_with_job(l, name, &declared);
    if (agent || declared != 0)
        p = anonymous_target(l, map, h);
    if (p == NULL) {
        undefined_target(l, n, key->text);
        h->pipeline = name; /* with --allow-undefined it stays so */
        return NULL;
    }
    mem_free(name);
    h->pipeline = mem_strdup(p->name);
    return p;
}

/* "github.*.event" as "github.{run}.event". */
static void write_from_watch(struct load *l, const struct node *target, const struct pipeline *p,
                             struct hook *h)
{
    struct str watch = str_of(p->n != 0 ? p->stages[0].watch : NULL);
    if (watch.p == NULL)
        return; /* was told */
    struct buf b = {0};
    size_t stars = 0;
    bool rest = false;
    while (watch.p != NULL) {
        struct str token = str_split(&watch, '.');
        if (b.n != 0)
            buf_char(&b, '.');
        rest = rest || str_is(token, ">");
        if (str_is(token, "*")) {
            stars++;
            token = STR("{run}");
        }
        buf_str(&b, token);
    }
    h->write = buf_take(&b);
    if (stars == 1 && !rest)
        return;
    load_fail(l, target->at, NULL,
              "the first stage of %s watches \"%s\", which does not say where the run's id goes: "
              "give it exactly one *, or add write: KEY with {run} in it",
              p->name, p->stages[0].watch);
}

/* Would a run's key be heard, and as this run? The run's id is what the first wildcard takes. */
static bool feeds(const struct hook *h, const struct pipeline *p)
{
    static const char run[] = "0";
    struct buf key = {0};
    bool fed = false;
    if (!template_fill(&key, str_of(h->write), NULL, STR(run)))
        return false;
    for (size_t i = 0; i < p->n && !fed; i++) {
        struct pattern_match m;
        fed = p->stages[i].watch != NULL &&
              pattern_matches(str_of(p->stages[i].watch), buf_view(&key), &m) && m.n != 0 &&
              str_is(m.wild[0], run);
    }
    buf_finish(&key);
    return fed;
}

static void read_write(struct load *l, const struct node *n, const struct pipeline *p,
                       struct hook *h)
{
    struct err e;
    h->write = load_word(l, n, "write");
    if (h->write == NULL)
        return;
    if (!template_check(str_of(h->write), 0, true, (size_t)l->c->set.key_max, &e)) {
        load_fail(l, n->at, "write", "%s", e.text);
        return;
    }
    if (strstr(h->write, "{run}") == NULL) {
        load_fail(l, n->at, "write",
                  "must have {run} in it, so that each run has a key of its own");
        return;
    }
    if (p != NULL && !feeds(h, p))
        load_fail(l, n->at, "write",
                  "no stage of %s watches such a key with {run} as what its first wildcard takes",
                  p->name);
    for (size_t i = 0; h->pipeline == NULL && i < l->c->pipeline_n; i++) {
        if (feeds(h, &l->c->pipelines[i]))
            h->pipeline = mem_strdup(l->c->pipelines[i].name);
    }
}

static void read_start(struct load *l, const struct node *map, struct hook *h)
{
    const struct node *write = node_get(map, "write");
    const struct node *target = target_key(l, map);
    const struct pipeline *p = read_target(l, map, target, h);
    if (write != NULL)
        read_write(l, write, p, h);
    else if (p != NULL)
        write_from_watch(l, node_get(map, target->text), p, h);
    else if (target == NULL)
        load_fail(l, map->at, NULL, "starts nothing: add job, agent, pipeline or write");
}

static bool check_type(struct load *l, const struct node *type)
{
    if (!load_is(l, type, NODE_TEXT, "type"))
        return false;
    if (strcmp(type->text, "webhook") == 0)
        return true;
    if (is_in(type->text, later_types))
        load_fail(l, type->at, NULL, "not supported by this version: type %s", type->text);
    else
        load_fail(l, type->at, "type", "must be webhook, not \"%s\"", type->text);
    return false;
}

static void add_hook(struct load *l, const struct node *n, struct hook *h)
{
    struct config *c = l->c;
    h->file = mem_strdup(n->at.source->name);
    h->line = node_get(n, "path")->at.line;
    c->hooks = mem_resize(c->hooks, (c->hook_n + 1) * sizeof *c->hooks);
    c->hooks[c->hook_n++] = *h;
}

static void read_hook(struct load *l, const struct node *n)
{
    load_subject(l, "triggers");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    const struct node *type = node_get(n, "type");
    if (type != NULL && !check_type(l, type))
        return; /* the keys of another type are none of ours */
    const struct node *path = node_get(n, "path");
    if (path != NULL && path->type == NODE_TEXT && path->text_n != 0)
        load_subject(l, "webhook %s", path->text);
    load_keys(l, n, hook_keys, hook_later);
    if (type == NULL)
        load_missing(l, n, "type", ": write type: webhook");
    struct hook h = {0};
    if (!read_path(l, n, &h)) {
        hook_finish(&h);
        return;
    }
    read_details(l, n, &h);
    read_start(l, n, &h);
    add_hook(l, n, &h);
}

void hooks_read(struct load *l, const struct node *list)
{
    load_subject(l, "triggers");
    if (list->type == NODE_NULL || !load_is(l, list, NODE_LIST, NULL))
        return;
    for (size_t i = 0; i < list->n; i++)
        read_hook(l, list->items[i]);
}
