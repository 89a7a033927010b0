/* SPDX-License-Identifier: Apache-2.0 */
/* triggers: by their type. A change of a key is watched by a stage like all others, whose work is to start a job; changes in a database are heard by
 * trigger/db, which needs to know where. */
#include <ctype.h>
#include <string.h>

#include "base/filter.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "config/parts.h"

static const char *const types[] = {"webhook", "kv", "db_change", NULL};
static const char *const later_types[] = {"cron", "schedule", "rest", "agent", "intent", NULL};
static const char *const kv_keys[] = {"type",     "name",  "match", "job",
                                      "pipeline", "agent", "task",  NULL};
static const char *const db_keys[] = {"type",  "name",   "url_env", "url",   "url_file",
                                      "table", "column", "events",  "job",   "pipeline",
                                      "agent", "task",   "when",    "input", NULL};
static const char *const db_events[] = {"insert", "update", "delete", NULL};

/* jq. */

static struct str source_line(const struct source *s, int line)
{
    struct str rest = buf_view(&s->text);
    struct str at = {NULL, 0};
    while (line-- > 0 && rest.p != NULL)
        at = str_split(&rest, '\n');
    return at;
}

/* Bytes of a line before a column, which counts characters. */
static size_t bytes_before(struct str line, int column)
{
    size_t n = 0;
    while (column-- > 1 && n < line.n) {
        n++;
        while (n < line.n && ((unsigned char)line.p[n] & 0xC0) == 0x80)
            n++;
    }
    return n;
}

static size_t spaces(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] == ' ')
        n++;
    return n;
}

/* Where byte `offset` of a text stands in the file. That can be said where the text's line stands there as it is: unless it has escapes or was folded. */
static struct place place_within(const struct node *n, size_t offset)
{
    struct place at = n->at;
    size_t begin = offset = offset > n->text_n ? n->text_n : offset;
    while (begin != 0 && n->text[begin - 1] != '\n')
        begin--;
    for (size_t i = 0; i < begin; i++)
        at.line += n->text[i] == '\n';
    struct str line = source_line(at.source, at.line);
    size_t from = begin == 0 ? bytes_before(line, at.column) : 0;
    struct str rest = {line.p + from, line.n - from};
    if (rest.n != 0 && (rest.p[0] == '"' || rest.p[0] == '\''))
        from++;
    else
        from += spaces(rest); /* a block is indented */
    begin += spaces((struct str){n->text + begin, offset - begin});
    if (line.p == NULL || line.n < from + offset - begin ||
        memcmp(line.p + from, n->text + begin, offset - begin) != 0)
        return n->at;
    at.column = 1;
    for (size_t i = 0; i < from + offset - begin; i++)
        at.column += ((unsigned char)line.p[i] & 0xC0) != 0x80;
    return at;
}

char *filter_read(struct load *l, const struct node *map, const char *field)
{
    struct err e;
    size_t offset = 0;
    const struct node *n = node_get(map, field);
    char *program = n == NULL ? NULL : load_word(l, n, field);
    if (program == NULL || filter_check(str_of(program), &offset, &e))
        return program;
    load_fail(l, place_within(n, offset), field, "%s", e.text);
    mem_free(program);
    return NULL;
}

/* Names. */

/* The given name, or one that is made and told apart by a number. NULL: it is no name. */
static char *read_name(struct load *l, const struct node *map, const char *base)
{
    char *name = NULL;
    if (node_key(map, "name") != NULL)
        return load_name(l, map, &name) ? name : NULL;
    name = mem_strdup(base);
    for (char *p = name; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) || *p == '-' || *p == '_' ? *p : '-';
    return name;
}

static char *numbered(char *name, int more)
{
    char *next = more < 2 ? mem_strdup(name) : mem_format("%s-%d", name, more);
    return next;
}

/* Keys. */

/* A run of the target that writes such keys itself would start the next, for ever. */
static void check_own_keys(struct load *l, const struct node *match, const struct pipeline *p)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct stage *s = &p->stages[i];
        bool input = i == 0 && pattern_overlaps(str_of(s->watch), str_of(match->text));
        bool output = s->write != NULL &&
                      template_overlaps(str_of(s->write), str_of(s->watch), str_of(match->text));
        if (s->watch == NULL || (!input && !output))
            continue;
        load_fail(l, match->at, "match",
                  "a run of %s writes such a key itself (\"%s\"): it would never end", p->name,
                  input ? s->watch : s->write);
        return;
    }
}

/* What a run is given must be among the job's parameters, or each start would be refused. */
static void check_parameters(struct load *l, const struct node *target, const struct job *j)
{
    static const char *const given[] = {"key", "version", "value"};
    if (j == NULL || j->open || j->parameter_n == 0)
        return;
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        bool known = false;
        for (size_t k = 0; k < j->parameter_n; k++)
            known = known || strcmp(j->parameters[k].name, given[i]) == 0;
        if (known)
            continue;
        load_fail(l, target->at, "job",
                  "it would be started with key, version and value, and has no parameter \"%s\"",
                  given[i]);
        return;
    }
}

static char *free_pipeline_name(struct load *l, const struct node *map, const char *base)
{
    char *given = read_name(l, map, base);
    char *full = NULL;
    for (int more = 1; given != NULL; more++) {
        char *name = numbered(given, more);
        full = mem_format("trigger.%s", name);
        mem_free(name);
        if (config_pipeline(l->c, str_of(full)) == NULL)
            break;
        if (node_key(map, "name") != NULL && more == 1)
            load_fail(l, node_get(map, "name")->at, "name", "there is a trigger \"%s\" already",
                      given);
        mem_free(full);
    }
    mem_free(given);
    return full;
}

static void add_watcher(struct load *l, const struct node *map, const struct node *match,
                        const char *target, char *name)
{
    struct stage s = {.name = mem_strdup("start"),
                      .pipeline = mem_strdup(name),
                      .id = mem_format("%s.start", name),
                      .watch = mem_dup(match->text, match->text_n),
                      .file = mem_strdup(map->at.source->name),
                      .line = map->at.line};
    struct stage_note note = {.at = map->at, .watch = match->at, .write = match->at};
    struct policy policy = {0};
    s.work = (struct work){.kind = WORK_START, .target = mem_strdup(target)};
    policy_use(l, &policy, &s);
    size_t at = l->c->pipeline_n;
    pipeline_add(l, map->at, name);
    stage_add(l, at, &s, &note);
}

static void read_kv(struct load *l, const struct node *map)
{
    struct err e;
    load_keys(l, map, kv_keys, NULL);
    const struct node *match = node_get(map, "match");
    const struct node *key = target_key(l, map);
    if (match == NULL)
        load_missing(l, map, "match", ": the pattern of the keys");
    else if (!load_is(l, match, NODE_TEXT, "match"))
        match = NULL;
    if (match != NULL &&
        !pattern_check((struct str){match->text, match->text_n}, (size_t)l->c->set.key_max, &e)) {
        load_fail(l, match->at, "match", "%s", e.text);
        match = NULL;
    }
    if (key == NULL) {
        target_missing(l, map, "job, agent or pipeline");
        return;
    }
    const struct node *named = node_get(map, key->text);
    char *name = free_pipeline_name(l, map, named->type == NODE_TEXT ? named->text : "kv");
    const struct pipeline *p = name == NULL ? NULL : target_read(l, map, key, map->at, name);
    if (p != NULL && match != NULL) {
        char *target = mem_strdup(p->name);
        check_own_keys(l, match, p);
        check_parameters(l, named, p->job);
        add_watcher(l, map, match, target, name);
        mem_free(target);
    } else {
        mem_free(name);
    }
}

/* Databases. */

void db_trigger_finish(struct db_trigger *t)
{
    mem_free(t->name);
    mem_free(t->url);
    mem_free(t->url_name);
    mem_free(t->table);
    mem_free(t->column);
    words_free(t->events);
    mem_free(t->pipeline);
    mem_free(t->when);
    mem_free(t->input);
    mem_free(t->file);
}

static void read_url(struct load *l, const struct node *map, struct db_trigger *t)
{
    const struct node *env = node_get(map, "url_env");
    const struct node *file = node_get(map, "url_file");
    const struct node *url = node_get(map, "url");
    if ((env != NULL) + (file != NULL) + (url != NULL) != 1) {
        load_fail(l, map->at, NULL, "needs one of url_env, url_file and url");
        return;
    }
    if (env != NULL) {
        t->url_name = load_word(l, env, "url_env");
        if (t->url_name != NULL && load_secret(l, env->at, "url_env", t->url_name, &t->url) &&
            t->url == NULL)
            load_undefined(l, env->at, "url_env",
                           "the environment variable %s is not set, nor is %s_FILE", t->url_name,
                           t->url_name);
    } else if (file != NULL) {
        t->url_name = load_path(l, file, "url_file");
        if (t->url_name != NULL)
            load_secret_file(l, file->at, "url_file", t->url_name, &t->url);
    } else {
        t->url_name = mem_strdup("url");
        t->url = load_text(l, url, "url");
        const char *slashes = t->url == NULL ? NULL : strstr(url->text, "//");
        const char *at = slashes == NULL ? NULL : strchr(slashes, '@');
        const char *colon = at == NULL ? NULL : memchr(slashes, ':', (size_t)(at - slashes));
        if (colon != NULL && strncmp(colon, ":${", 3) != 0) {
            log_secret((struct str){colon + 1, (size_t)(at - colon - 1)});
            load_fail(l, url->at, "url",
                      "a password does not belong into this file: write url_env: NAME and set that "
                      "variable");
        }
    }
    if (t->url != NULL && !str_starts(str_of(t->url), "postgresql://") &&
        !str_starts(str_of(t->url), "postgres://"))
        load_fail(l,
                  env != NULL    ? env->at
                  : file != NULL ? file->at
                                 : url->at,
                  "url", "must begin with postgresql://");
}

/* A name of SQL, or two with a dot between them. */
static char *read_identifier(struct load *l, const struct node *map, const char *field, bool dotted)
{
    const struct node *n = node_get(map, field);
    char *name = n == NULL ? NULL : load_word(l, n, field);
    size_t dots = 0;
    if (name == NULL)
        return NULL;
    for (const char *p = name; *p != '\0'; p++) {
        bool starts = p == name || p[-1] == '.';
        dots += *p == '.';
        if (isalpha((unsigned char)*p) || *p == '_' || (*p & 0x80) != 0 ||
            (!starts && isalnum((unsigned char)*p)) || (*p == '.' && !starts && p[1] != '\0'))
            continue;
        dots = 9;
        break;
    }
    if (dots <= dotted && strlen(name) < 128)
        return name;
    load_fail(l, n->at, field, "\"%.100s\" is no name of a %s%s", name, field,
              dotted ? ": write orders, or sales.orders" : "");
    mem_free(name);
    return NULL;
}

static void read_db_events(struct load *l, const struct node *map, struct db_trigger *t)
{
    const struct node *n = node_get(map, "events");
    t->events = n == NULL ? NULL : load_words(l, n, "events", false);
    for (size_t i = 0; t->events != NULL && t->events[i] != NULL; i++)
        load_choice(l, n->type == NODE_LIST ? n->items[i] : n, "events", db_events);
}

static bool name_db(struct load *l, const struct node *map, struct db_trigger *t)
{
    char *given = read_name(l, map, t->table);
    for (int more = 1; given != NULL && t->name == NULL; more++) {
        t->name = numbered(given, more);
        for (size_t i = 0; t->name != NULL && i < l->c->db_trigger_n; i++) {
            if (strcmp(l->c->db_triggers[i].name, t->name) != 0)
                continue;
            if (node_key(map, "name") != NULL && more == 1)
                load_fail(l, node_get(map, "name")->at, "name", "there is a trigger \"%s\" already",
                          given);
            mem_free(t->name);
            t->name = NULL;
        }
    }
    mem_free(given);
    return t->name != NULL;
}

static void add_db(struct load *l, const struct node *map, struct db_trigger *t)
{
    struct config *c = l->c;
    t->file = mem_strdup(map->at.source->name);
    t->line = map->at.line;
    c->db_triggers = mem_resize(c->db_triggers, (c->db_trigger_n + 1) * sizeof *c->db_triggers);
    c->db_triggers[c->db_trigger_n++] = *t;
}

static void read_db(struct load *l, const struct node *map)
{
    struct db_trigger t = {0};
    load_keys(l, map, db_keys, NULL);
    read_url(l, map, &t);
    t.table = read_identifier(l, map, "table", true);
    if (node_get(map, "table") == NULL)
        load_missing(l, map, "table", "");
    t.column = read_identifier(l, map, "column", false);
    if (node_get(map, "column") == NULL)
        t.column = mem_strdup("id");
    read_db_events(l, map, &t);
    t.when = filter_read(l, map, "when");
    t.input = filter_read(l, map, "input");
    const struct node *key = target_key(l, map);
    if (key == NULL)
        target_missing(l, map, "job, agent or pipeline");
    const struct pipeline *p = NULL;
    if (key != NULL && t.table != NULL && name_db(l, map, &t)) {
        char *base = mem_format("trigger.%s", t.name);
        p = target_read(l, map, key, map->at, base);
        mem_free(base);
    }
    if (p != NULL && t.url != NULL && t.column != NULL) {
        t.pipeline = mem_strdup(p->name);
        add_db(l, map, &t);
        return;
    }
    db_trigger_finish(&t);
}

static void read_trigger(struct load *l, const struct node *n)
{
    load_subject(l, "triggers");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    const struct node *type = node_get(n, "type");
    if (type == NULL) {
        load_missing(l, n, "type", ": write webhook, kv or db_change");
        hook_read(l, n);
        return;
    }
    if (type->type == NODE_TEXT && load_is_one_of(type->text, later_types)) {
        load_fail(l, type->at, NULL, "not supported by this version: type %s", type->text);
        return;
    }
    switch (load_choice(l, type, "type", types)) {
    case 0: hook_read(l, n); break;
    case 1:
        load_subject(l, "kv trigger");
        read_kv(l, n);
        break;
    case 2:
        load_subject(l, "db_change trigger");
        read_db(l, n);
        break;
    default: break; /* the keys of another type are none of ours */
    }
}

void triggers_read(struct load *l, const struct node *list)
{
    load_each(l, list, "triggers", read_trigger);
}
