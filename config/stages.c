/* SPDX-License-Identifier: Apache-2.0 */
/* extensions:, pipelines: and jobs:. A job with one step is a pipeline with one stage: it is compiled here
 * and nothing below ever hears of jobs ("job.NAME", watching "job.NAME.*.input").
 *
 * A command is a list of words, or one string that is cut at spaces. It is never given to a shell: a key's
 * value or a variable with a quote in it would become code. A string that needs a shell is refused with the way to
 * say it. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "base/suggest.h"
#include "config/parts.h"

enum {
    STAGES_MAX = 2000,
    RETRY_ATTEMPTS = 3,
    RETRY_INITIAL_MS = 1000,
    RETRY_MAX_MS = 300000,
    DAY_MS = 86400000,
};

static const char *const extension_keys[] = {"name", "path", NULL};
static const char *const pipeline_keys[] = {"name", "stages", NULL};
static const char *const pipeline_later[] = {"description", "on_complete", "on_failure", "alerts",
                                             "timeout",     "retry",       NULL};
#define WORK_KEYS                                                                                  \
    "name", "command", "keep", "env", "http", "extension", "job", "agent", "task", "timeout",      \
        "retry", "concurrency", "on_error"
static const char *const stage_keys[] = {WORK_KEYS, "watch", "also", "write", NULL};
static const char *const stage_later[] = {"when",       "input",    "output", "type",
                                          "rate_limit", "priority", "budget", "debounce",
                                          "schedule",   NULL};
static const char *const job_keys[] = {WORK_KEYS, "type", NULL};
static const char *const job_later[] = {
    "schedule",    "timezone", "overlap",        "misfire",     "concurrencyPolicy",
    "steps",       "workflow", "output",         "on_complete", "on_failure",
    "budget",      "priority", "rate_limit",     "debounce",    "dead_letter",
    "alerts",      "input",    "max_iterations", "when",        "enabled",
    "description", NULL};
static const char *const http_keys[] = {"url", "method", "headers", NULL};
static const char *const retry_keys[] = {"max_attempts", "backoff", "initial_delay", "max_delay",
                                         NULL};

static void work_finish(struct work *w)
{
    words_free(w->argv);
    words_free(w->env);
    words_free(w->headers);
    mem_free(w->cwd);
    mem_free(w->extension);
    mem_free(w->job);
    mem_free(w->url);
    mem_free(w->method);
    mem_free(w->agent);
    mem_free(w->task);
}

void stage_finish(struct stage *s)
{
    mem_free(s->id);
    mem_free(s->pipeline);
    mem_free(s->name);
    mem_free(s->watch);
    words_free(s->also);
    mem_free(s->write);
    work_finish(&s->work);
    mem_free(s->file);
}

/* Extensions. */

static void add_extension(struct load *l, struct place at, char *name, char *path)
{
    struct config *c = l->c;
    for (size_t i = 0; i < c->extension_n; i++) {
        if (strcmp(c->extensions[i].name, name) != 0)
            continue;
        load_fail(l, at, NULL, "there is an extension \"%s\" already, in %s:%d", name,
                  c->extensions[i].file, c->extensions[i].line);
        mem_free(name);
        mem_free(path);
        return;
    }
    c->extensions = mem_resize(c->extensions, (c->extension_n + 1) * sizeof *c->extensions);
    l->extensions = mem_resize(l->extensions, (c->extension_n + 1) * sizeof *l->extensions);
    l->extensions[c->extension_n] = at;
    c->extensions[c->extension_n++] = (struct extension){
        .name = name, .path = path, .file = mem_strdup(at.source->name), .line = at.line};
}

static void read_extension(struct load *l, const struct node *n)
{
    load_subject(l, "extensions");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    load_keys(l, n, extension_keys, NULL);
    char *name = NULL;
    if (!load_name(l, n, &name))
        return;
    load_subject(l, "extension \"%s\"", name);
    const struct node *path_node = node_get(n, "path");
    char *path = NULL;
    if (path_node == NULL)
        load_missing(l, n, "path", "");
    else
        path = load_path(l, path_node, "path");
    struct stat st;
    if (path != NULL && (stat(path, &st) != 0 || !S_ISREG(st.st_mode)))
        load_undefined(l, path_node->at, "path", "there is no file %s", path);
    if (path != NULL)
        add_extension(l, node_get(n, "name")->at, name, path);
    else
        mem_free(name);
}

static void each_item(struct load *l, const struct node *list, const char *what,
                      void (*read)(struct load *l, const struct node *n))
{
    load_subject(l, "%s", what);
    if (list->type == NODE_NULL || !load_is(l, list, NODE_LIST, NULL))
        return;
    for (size_t i = 0; i < list->n; i++)
        read(l, list->items[i]);
}

void extensions_read(struct load *l, const struct node *list)
{
    each_item(l, list, "extensions", read_extension);
}

/* Commands. */

static bool needs_shell(const struct node *n, char *found)
{
    for (size_t i = 0; i < n->text_n; i++) {
        char c = n->text[i];
        if (c == '$' && n->text[i + 1] == '{') {
            const char *close = strchr(n->text + i, '}');
            i = close == NULL ? i + 1 : (size_t)(close - n->text);
            continue;
        }
        bool starts = i == 0 || n->text[i - 1] == ' ';
        if (strchr("|&;<>()$`\\\"'*?[]{}\n\r", c) != NULL || (starts && (c == '#' || c == '~'))) {
            *found = c;
            return true;
        }
    }
    return false;
}

/* "python3 extract.py --fast" as three words; ${NAME} never makes two words of one. */
static char **cut_words(struct load *l, const struct node *n)
{
    char found = '\0';
    if (needs_shell(n, &found)) {
        char shown[2] = {found, '\0'};
        load_fail(l, n->at, "command",
                  "no shell reads this, so %s means nothing special: write the words as a list, "
                  "[program, \"an argument\"], or call a shell yourself: [sh, -c, \"...\"]",
                  found == '\n' || found == '\r' ? "a new line" : shown);
        return NULL;
    }
    char **words = NULL;
    bool ok = true;
    struct str rest = {n->text, n->text_n};
    while (rest.p != NULL) {
        struct str word = str_trim(str_split(&rest, ' '));
        struct buf b = {0};
        if (word.n == 0)
            continue;
        buf_puts(&b, "");
        ok = value_expand(l, n->at, "command", word, &b) && ok;
        words = words_add(words, buf_take(&b));
    }
    if (ok && words == NULL)
        load_fail(l, n->at, "command", "is empty");
    if (ok)
        return words;
    words_free(words);
    return NULL;
}

static bool can_run(char *path)
{
    bool yes = access(path, X_OK) == 0;
    mem_free(path);
    return yes;
}

static bool program_exists(const char *dir, const char *program)
{
    if (program[0] == '/')
        return can_run(mem_strdup(program));
    if (strchr(program, '/') != NULL)
        return can_run(mem_format("%s/%s", dir, program));
    const char *path = getenv("PATH");
    struct str rest = str_of(path != NULL ? path : "/usr/bin:/bin");
    while (rest.p != NULL) {
        struct str at = str_split(&rest, ':');
        if (can_run(mem_format("%.*s/%s", (int)at.n, at.p, program)))
            return true;
    }
    return false;
}

static void read_command(struct load *l, const struct node *n, struct work *w)
{
    w->kind = WORK_COMMAND;
    w->argv = n->type == NODE_TEXT ? cut_words(l, n) : load_words(l, n, "command", true);
    w->cwd = mem_strdup(l->dir);
    if (w->argv == NULL)
        return;
    if (w->argv[0][0] == '\0')
        load_fail(l, n->at, "command", "the program's name is empty");
    else if (!program_exists(l->dir,
                             w->argv[0])) /* it may be installed later: the work says it again */
        report_warning(l->report, n->at, "%s: command: there is no program %s", l->subject,
                       w->argv[0]);
}

static void read_env(struct load *l, const struct node *n, struct work *w)
{
    if (!load_is(l, n, NODE_MAP, "env"))
        return;
    for (size_t i = 0; i < n->n; i++) {
        const struct node *key = n->keys[i];
        if (key->text_n == 0 || strchr(key->text, '=') != NULL) {
            load_fail(l, key->at, "env", "\"%s\" is no name for a variable", key->text);
            continue;
        }
        char *value = load_text(l, n->items[i], "env");
        if (value == NULL)
            continue;
        w->env = words_add(w->env, mem_format("%s=%s", key->text, value));
        mem_free(value);
    }
}

/* HTTP work: http: URL, or http: {url, method, headers}. */

static bool is_token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(const char *s)
{
    const char *p = s;
    while (*p != '\0' && is_token_char(*p))
        p++;
    return p != s && *p == '\0';
}

static void read_headers(struct load *l, const struct node *n, struct work *w)
{
    if (!load_is(l, n, NODE_MAP, "headers"))
        return;
    for (size_t i = 0; i < n->n; i++) {
        char *value = load_text(l, n->items[i], "headers");
        if (value == NULL)
            continue;
        if (!is_token(n->keys[i]->text))
            load_fail(l, n->keys[i]->at, "headers", "\"%s\" is no name for a header",
                      n->keys[i]->text);
        else if (strpbrk(value, "\r\n") != NULL)
            load_fail(l, n->items[i]->at, "headers", "the value of %s has a line break in it",
                      n->keys[i]->text);
        else
            w->headers = words_add(w->headers, mem_format("%s: %s", n->keys[i]->text, value));
        mem_free(value);
    }
}

static void read_url(struct load *l, const struct node *n, struct work *w)
{
    w->url = load_text(l, n, "http");
    if (w->url == NULL)
        return;
    struct str url = str_of(w->url);
    if ((!str_starts(url, "http://") && !str_starts(url, "https://")) || str_ends(url, "://") ||
        strpbrk(w->url, " \t\r\n") != NULL)
        load_fail(l, n->at, "http", "must be a URL that begins with http:// or https://");
}

static void read_http(struct load *l, const struct node *n, struct work *w)
{
    w->kind = WORK_HTTP;
    w->method = mem_strdup("POST");
    if (n->type == NODE_TEXT) {
        read_url(l, n, w);
        return;
    }
    if (!load_is(l, n, NODE_MAP, "http"))
        return;
    load_keys(l, n, http_keys, NULL);
    const struct node *url = node_get(n, "url");
    const struct node *method = node_get(n, "method");
    const struct node *headers = node_get(n, "headers");
    if (url != NULL)
        read_url(l, url, w);
    else
        load_missing(l, n, "url", "");
    if (method != NULL) {
        mem_free(w->method);
        w->method = load_word(l, method, "method");
        if (w->method != NULL && !is_token(w->method))
            load_fail(l, method->at, "method", "\"%s\" is no HTTP method", w->method);
    }
    if (headers != NULL)
        read_headers(l, headers, w);
}

/* The work of a stage or job. */

static void refuse_alone(struct load *l, const struct node *map, const char *key, const char *needs)
{
    const struct node *n = node_key(map, key);
    if (n != NULL)
        load_fail(l, n->at, NULL, "%s needs %s", key, needs);
}

static const struct node *first_work(struct load *l, const struct node *map)
{
    static const char *const kinds[] = {"command", "http", "extension", "agent"};
    const struct node *found = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct node *key = node_key(map, kinds[i]);
        if (key == NULL)
            continue;
        if (found == NULL)
            found = key;
        else
            load_fail(l, key->at, NULL, "has both %s and %s: choose one", found->text, key->text);
    }
    return found;
}

static void read_extension_work(struct load *l, const struct node *map, struct work *w)
{
    w->kind = WORK_EXTENSION;
    w->extension = load_need(l, map, "extension");
    if (node_get(map, "job") != NULL)
        w->job = load_word(l, node_get(map, "job"), "job");
    else
        load_missing(l, map, "job", ": which of the extension's jobs?");
}

static void read_agent_work(struct load *l, const struct node *map, struct work *w)
{
    w->kind = WORK_AGENT;
    w->agent = load_need(l, map, "agent");
    if (node_get(map, "task") != NULL)
        w->task = load_word(l, node_get(map, "task"), "task");
}

static void read_work(struct load *l, const struct node *map, struct work *w)
{
    const struct node *kind = first_work(l, map);
    if (kind == NULL) {
        if (node_key(map, "job") != NULL)
            refuse_alone(l, map, "job", "an extension: write extension: NAME beside it");
        else if (!load_meant(l, map, "command") && !load_meant(l, map, "http") &&
                 !load_meant(l, map, "extension") && !load_meant(l, map, "agent"))
            load_fail(l, map->at, NULL, "does nothing: add command, http, or extension with job");
        return;
    }
    const struct node *value = node_get(map, kind->text);
    if (strcmp(kind->text, "command") == 0)
        read_command(l, value, w);
    else if (strcmp(kind->text, "http") == 0)
        read_http(l, value, w);
    else if (strcmp(kind->text, "extension") == 0)
        read_extension_work(l, map, w);
    else
        read_agent_work(l, map, w);
    if (w->kind != WORK_EXTENSION)
        refuse_alone(l, map, "job", "an extension beside it");
    if (w->kind != WORK_AGENT)
        refuse_alone(l, map, "task", "an agent beside it");
    if (w->kind != WORK_COMMAND) {
        refuse_alone(l, map, "keep", "a command beside it");
        refuse_alone(l, map, "env", "a command beside it");
        return;
    }
    if (node_get(map, "keep") != NULL)
        load_bool(l, node_get(map, "keep"), "keep", &w->keep);
    if (node_get(map, "env") != NULL)
        read_env(l, node_get(map, "env"), w);
}

static void read_retry(struct load *l, const struct node *n, struct retry *r)
{
    if (!load_is(l, n, NODE_MAP, "retry"))
        return;
    load_keys(l, n, retry_keys, NULL);
    int64_t attempts;
    const struct node *v = node_get(n, "max_attempts");
    if (v != NULL && load_int(l, v, "max_attempts", 1, 1000, &attempts))
        r->max_attempts = (int)attempts;
    v = node_get(n, "backoff");
    if (v != NULL && load_is(l, v, NODE_TEXT, "backoff")) {
        r->fixed = strcmp(v->text, "fixed") == 0;
        if (!r->fixed && strcmp(v->text, "exponential") != 0)
            load_fail(l, v->at, "backoff", "must be exponential or fixed, not \"%s\"", v->text);
    }
    v = node_get(n, "initial_delay");
    bool given = v != NULL && load_duration(l, v, "initial_delay", 0, DAY_MS, &r->initial_ms);
    v = node_get(n, "max_delay");
    if (v != NULL && load_duration(l, v, "max_delay", 0, 7 * (int64_t)DAY_MS, &r->max_ms)) {
        if (given && r->max_ms < r->initial_ms)
            load_fail(l, v->at, "max_delay", "is less than initial_delay");
    }
    if (r->max_ms < r->initial_ms)
        r->max_ms = r->initial_ms;
}

static void read_policy(struct load *l, const struct node *map, struct stage *s)
{
    const struct node *n = node_get(map, "timeout");
    s->timeout_ms = l->c->set.step_timeout;
    if (n != NULL)
        load_duration(l, n, "timeout", 10, DAY_MS, &s->timeout_ms);
    s->retry = (struct retry){
        .max_attempts = RETRY_ATTEMPTS, .initial_ms = RETRY_INITIAL_MS, .max_ms = RETRY_MAX_MS};
    if (s->work.kind == WORK_AGENT)
        s->retry.max_attempts = 1;
    n = node_get(map, "retry");
    if (n != NULL)
        read_retry(l, n, &s->retry);
    n = node_get(map, "concurrency");
    int64_t concurrency;
    if (n != NULL && n->type == NODE_MAP)
        load_fail(l, n->at, NULL, "not supported by this version: concurrency by key");
    else if (n != NULL && load_int(l, n, "concurrency", 1, 10000, &concurrency))
        s->concurrency = (int)concurrency;
    n = node_get(map, "on_error");
    if (n != NULL && load_is(l, n, NODE_TEXT, "on_error") && strcmp(n->text, "dead_letter") != 0)
        load_fail(l, n->at, "on_error",
                  "must be dead_letter: after its last attempt an input goes there");
}

/* Keys of a stage. */

static void check_template(struct load *l, const struct node *n, const char *field,
                           const struct stage *s)
{
    struct err e;
    if (!template_check((struct str){n->text, n->text_n}, pattern_wilds(str_of(s->watch)), true,
                        (size_t)l->c->set.key_max, &e))
        load_fail(l, n->at, field, "%s", e.text);
}

static void read_also(struct load *l, const struct node *n, struct stage *s)
{
    s->also = load_words(l, n, "also", false);
    if (s->also == NULL || s->watch == NULL)
        return;
    if (n->type == NODE_TEXT)
        check_template(l, n, "also", s);
    for (size_t i = 0; n->type == NODE_LIST && i < n->n; i++)
        check_template(l, n->items[i], "also", s);
}

static void read_stage_keys(struct load *l, const struct node *map, struct stage *s,
                            struct stage_note *note)
{
    struct err e;
    s->watch = load_need(l, map, "watch");
    if (s->watch != NULL) {
        note->watch = node_get(map, "watch")->at;
        if (!pattern_check(str_of(s->watch), (size_t)l->c->set.key_max, &e)) {
            load_fail(l, note->watch, "watch", "%s", e.text);
            mem_free(s->watch);
            s->watch = NULL;
        }
    }
    const struct node *also = node_get(map, "also");
    const struct node *write = node_get(map, "write");
    if (also != NULL)
        read_also(l, also, s);
    if (write == NULL)
        return;
    s->write = load_word(l, write, "write");
    note->write = write->at;
    if (s->write != NULL && s->watch != NULL)
        check_template(l, write, "write", s);
}

static void note_stage(const struct node *map, struct stage *s, struct stage_note *note)
{
    const struct node *name = node_get(map, "name");
    note->at = name != NULL ? name->at : map->at;
    s->file = mem_strdup(note->at.source->name);
    s->line = note->at.line;
    if (node_get(map, "extension") != NULL)
        note->extension = node_get(map, "extension")->at;
    if (node_get(map, "agent") != NULL)
        note->agent = node_get(map, "agent")->at;
}

/* For subjects, before the name was checked. */
static const char *name_text(const struct node *map)
{
    const struct node *n = node_get(map, "name");
    return n != NULL && n->type == NODE_TEXT && n->text_n != 0 ? n->text : NULL;
}

static void read_stage(struct load *l, const struct node *n, struct pipeline *p,
                       struct pipeline_note *notes)
{
    load_subject(l, "pipeline \"%s\"", p->name);
    if (!load_is(l, n, NODE_MAP, "stages"))
        return;
    struct stage s = {0};
    struct stage_note note = {0};
    if (name_text(n) != NULL)
        load_subject(l, "stage %s.%s", p->name, name_text(n));
    load_keys(l, n, stage_keys, stage_later);
    load_name(l, n, &s.name);
    note_stage(n, &s, &note);
    s.pipeline = mem_strdup(p->name);
    s.id = mem_format("%s.%s", p->name, s.name != NULL ? s.name : "");
    read_stage_keys(l, n, &s, &note);
    read_work(l, n, &s.work);
    read_policy(l, n, &s);
    for (size_t i = 0; s.name != NULL && i < p->n; i++) {
        if (p->stages[i].name != NULL && strcmp(p->stages[i].name, s.name) == 0)
            load_fail(l, note.at, "name", "there is a stage \"%s\" already, in line %d", s.name,
                      p->stages[i].line);
    }
    p->stages = mem_resize(p->stages, (p->n + 1) * sizeof *p->stages);
    notes->stages = mem_resize(notes->stages, (p->n + 1) * sizeof *notes->stages);
    p->stages[p->n] = s;
    notes->stages[p->n++] = note;
    if (++l->stage_n == STAGES_MAX + 1)
        load_fail(l, note.at, NULL, "too many stages: at most %d in all", STAGES_MAX);
}

static bool is_taken(struct load *l, struct place at, const char *what, const char *shown,
                     const char *name)
{
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        if (strcmp(l->c->pipelines[i].name, name) != 0)
            continue;
        load_fail(l, at, "name", "there is a %s \"%s\" already, in %s:%d", what, shown,
                  l->pipelines[i].at.source->name, l->pipelines[i].at.line);
        return true;
    }
    return false;
}

/* Takes name. The new pipeline is the last one. */
static struct pipeline *add_pipeline(struct load *l, struct place at, char *name)
{
    struct config *c = l->c;
    size_t n = c->pipeline_n + 1;
    c->pipelines = mem_resize(c->pipelines, n * sizeof *c->pipelines);
    l->pipelines = mem_resize(l->pipelines, n * sizeof *l->pipelines);
    c->pipelines[n - 1] = (struct pipeline){.name = name};
    l->pipelines[n - 1] = (struct pipeline_note){.at = at};
    c->pipeline_n = n;
    return &c->pipelines[n - 1];
}

static void read_pipeline(struct load *l, const struct node *n)
{
    load_subject(l, "pipelines");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    char *name = NULL;
    if (name_text(n) != NULL)
        load_subject(l, "pipeline \"%s\"", name_text(n));
    load_keys(l, n, pipeline_keys, pipeline_later);
    if (!load_name(l, n, &name))
        return;
    struct place at = node_get(n, "name")->at;
    if (is_taken(l, at, "pipeline", name, name)) {
        mem_free(name);
        return;
    }
    struct pipeline *p = add_pipeline(l, at, name);
    const struct node *stages = node_get(n, "stages");
    if (stages == NULL)
        load_missing(l, n, "stages", "");
    else if (load_is(l, stages, NODE_LIST, "stages") && stages->n == 0)
        load_fail(l, stages->at, "stages", "the list is empty");
    else if (stages->type == NODE_LIST)
        for (size_t i = 0; i < stages->n; i++)
            read_stage(l, stages->items[i], p, &l->pipelines[l->c->pipeline_n - 1]);
}

void pipelines_read(struct load *l, const struct node *list)
{
    each_item(l, list, "pipelines", read_pipeline);
}

/* Jobs. */

static bool job_type_fits(struct load *l, const struct node *map)
{
    const struct node *type = node_get(map, "type");
    if (type == NULL)
        return true;
    if (!load_is(l, type, NODE_TEXT, "type"))
        return false;
    if (strcmp(type->text, "extension") == 0 || strcmp(type->text, "code") == 0)
        return true;
    if (strcmp(type->text, "agent") == 0 || strcmp(type->text, "hybrid") == 0)
        load_fail(l, type->at, NULL, "not supported by this version: type %s", type->text);
    else
        load_fail(l, type->at, "type", "must be extension, agent or hybrid, not \"%s\"",
                  type->text);
    return false;
}

/* Is it something that only a later version runs, and was that told? */
static bool is_later(const struct node *map)
{
    static const char *const keys[] = {"schedule", "steps", "workflow"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (node_key(map, keys[i]) != NULL)
            return true;
    }
    return false;
}

static void read_job(struct load *l, const struct node *n)
{
    load_subject(l, "jobs");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    char *name = NULL;
    if (name_text(n) != NULL)
        load_subject(l, "job \"%s\"", name_text(n));
    load_keys(l, n, job_keys, job_later);
    if (!load_name(l, n, &name))
        return;
    struct place at = node_get(n, "name")->at;
    char *pipeline = mem_format("job.%s", name);
    if (!job_type_fits(l, n) || is_later(n) || is_taken(l, at, "job", name, pipeline)) {
        mem_free(pipeline);
        mem_free(name);
        return;
    }
    struct pipeline *p = add_pipeline(l, at, pipeline);
    struct pipeline_note *note = &l->pipelines[l->c->pipeline_n - 1];
    struct stage *s = p->stages = mem_new(struct stage);
    note->stages = mem_new(struct stage_note);
    p->n = 1;
    s->name = mem_strdup("run");
    s->pipeline = mem_strdup(pipeline);
    s->id = mem_format("%s.run", pipeline);
    s->watch = mem_format("%s.*.input", pipeline);
    s->write = mem_format("%s.{1}.output", pipeline);
    note_stage(n, s, note->stages);
    read_work(l, n, &s->work);
    read_policy(l, n, s);
    l->stage_n++;
    mem_free(name);
}

void jobs_read(struct load *l, const struct node *list)
{
    each_item(l, list, "jobs", read_job);
}
