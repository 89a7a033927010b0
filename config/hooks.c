/* SPDX-License-Identifier: Apache-2.0 */
/* Triggers of type webhook. What a delivery needs is settled here, once: scheme, secret and the key that
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
    "type",     "path",   "job",      "pipeline", "write",      "events",
    "scheme",   "secret", "insecure", "header",   "secret_env", "secret_file",
    "max_body", "task",   "agent",    "when",     "input",      NULL};
static const char *const hook_later[] = {"name", "debounce", "timeout", NULL};
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
    mem_free(h->when);
    mem_free(h->input);
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

static void read_secret(struct load *l, const struct node *map, struct hook *h)
{
    static const char *const keys[] = {"secret_env", "secret_file", "secret"};
    struct place at = node_get(map, "path")->at;
    char *standard = default_secret_name(h->path);
    bool ok = load_secret_keys(l, map, standard, &at, &h->secret_name, &h->secret);
    bool named = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        named = named || node_key(map, keys[i]) != NULL;
    mem_free(standard);
    if (ok && h->secret == NULL && (named || !h->insecure))
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
        while (isalnum((unsigned char)*p) || (*p != '\0' && strchr("_-.:/ ", *p) != NULL))
            p++;
        bool trimmed = h->events[i][0] != ' ' && p[-1] != ' ';
        if (*p != '\0' || !trimmed)
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
    h->when = filter_read(l, map, "when");
    h->input = filter_read(l, map, "input");
    n = node_get(map, "max_body");
    int64_t max;
    if (n != NULL && load_size(l, n, "max_body", 1, BODY_MAX, &max))
        h->max_body = (size_t)max;
    if (h->insecure)
        report_warning(l->report, node_key(map, "insecure")->at,
                       "%s: insecure: anybody who can reach this path can start runs", l->subject);
}

/* What it starts. */

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
    const struct node *key = target_key(l, map);
    const struct pipeline *p = NULL;
    if (key != NULL) {
        char *base = mem_format("trigger.%s", last_part(h->path));
        p = target_read(l, map, key, node_get(map, "path")->at, base);
        mem_free(base);
        if (p != NULL)
            h->pipeline = mem_strdup(p->name);
        else if (node_get(map, key->text)->type == NODE_TEXT)
            h->pipeline = mem_strdup(node_get(map, key->text)->text); /* as is, after a warning */
    }
    if (write != NULL)
        read_write(l, write, p, h);
    else if (p != NULL)
        write_from_watch(l, node_get(map, key->text), p, h);
    else if (key == NULL)
        target_missing(l, map, "job, agent, pipeline or write");
}

static void add_hook(struct load *l, const struct node *n, struct hook *h)
{
    struct config *c = l->c;
    h->file = mem_strdup(n->at.source->name);
    h->line = node_get(n, "path")->at.line;
    c->hooks = mem_resize(c->hooks, (c->hook_n + 1) * sizeof *c->hooks);
    c->hooks[c->hook_n++] = *h;
}

void hook_read(struct load *l, const struct node *n)
{
    const struct node *path = node_get(n, "path");
    if (path != NULL && path->type == NODE_TEXT && path->text_n != 0)
        load_subject(l, "webhook %s", path->text);
    load_keys(l, n, hook_keys, hook_later);
    struct hook h = {0};
    if (!read_path(l, n, &h)) {
        hook_finish(&h);
        return;
    }
    read_details(l, n, &h);
    read_start(l, n, &h);
    add_hook(l, n, &h);
}
