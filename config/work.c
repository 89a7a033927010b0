/* SPDX-License-Identifier: Apache-2.0 */
/* What a stage, a step or an agent does (command, http, extension, agent), and how often and how long it may try.
 *
 * A command is a list of words, or one string that is cut at spaces. It is never given to a shell: a key's
 * value or a variable with a quote in it would become code. A string that needs a shell is refused with the way to
 * say it. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/parts.h"

enum {
    RETRY_ATTEMPTS = 3,
    RETRY_INITIAL_MS = 1000,
    RETRY_MAX_MS = 300000,
    DAY_MS = 86400000,
};

static const char *const http_keys[] = {"url", "method", "headers", NULL};
static const char *const retry_keys[] = {"max_attempts", "backoff", "initial_delay", "max_delay",
                                         NULL};

void work_finish(struct work *w)
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
    mem_free(w->target);
    if (w->delivery != NULL)
        delivery_finish(w->delivery);
    mem_free(w->delivery);
}

static char **words_copy(char *const *words)
{
    char **copy = NULL;
    for (; words != NULL && *words != NULL; words++)
        copy = words_add(copy, mem_strdup(*words));
    return copy;
}

void work_copy(struct work *to, const struct work *from)
{
    *to = (struct work){
        .kind = from->kind,
        .argv = words_copy(from->argv),
        .keep = from->keep,
        .cwd = mem_strdup(from->cwd),
        .env = words_copy(from->env),
        .extension = mem_strdup(from->extension),
        .job = mem_strdup(from->job),
        .url = mem_strdup(from->url),
        .method = mem_strdup(from->method),
        .headers = words_copy(from->headers),
        .agent = mem_strdup(from->agent),
        .task = mem_strdup(from->task),
        .triggers = from->triggers,
    };
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

void headers_read(struct load *l, const struct node *n, char ***headers)
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
            *headers = words_add(*headers, mem_format("%s: %s", n->keys[i]->text, value));
        mem_free(value);
    }
}

bool url_check(struct load *l, const struct node *n, const char *field, const char *text)
{
    struct str url = str_of(text);
    if ((str_starts(url, "http://") || str_starts(url, "https://")) && !str_ends(url, "://") &&
        strpbrk(text, " \t\r\n") == NULL)
        return true;
    load_fail(l, n->at, field, "must be a URL that begins with http:// or https://");
    return false;
}

static void read_url(struct load *l, const struct node *n, struct work *w)
{
    w->url = load_text(l, n, "http");
    if (w->url != NULL)
        url_check(l, n, "http", w->url);
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
        headers_read(l, headers, &w->headers);
}

/* The ways of working. */

static void refuse_alone(struct load *l, const struct node *map, const char *key, const char *needs)
{
    const struct node *n = node_key(map, key);
    if (n != NULL)
        load_fail(l, n->at, NULL, "%s needs %s", key, needs);
}

static const char *const code_kinds[] = {"command", "run", "http", "extension"};
enum { CODE_KINDS = sizeof code_kinds / sizeof code_kinds[0] };

bool work_has(const struct node *map, unsigned kinds, bool job)
{
    bool found = (kinds & WORK_AGENTS) != 0 && node_key(map, "agent") != NULL;
    for (size_t i = 0; (kinds & WORK_CODE) != 0 && i < CODE_KINDS; i++)
        found = found || node_key(map, code_kinds[i]) != NULL;
    return found || (job && node_key(map, "job") != NULL);
}

static void choose(struct load *l, const struct node *key, const struct node **found)
{
    if (key == NULL)
        return;
    if (*found == NULL)
        *found = key;
    else
        load_fail(l, key->at, NULL, "has both %s and %s: choose one", (*found)->text, key->text);
}

/* The key that says how it works. `job` is one of its own where a job may stand alone. */
static const struct node *first_work(struct load *l, const struct node *map, unsigned kinds,
                                     bool job)
{
    const struct node *found = NULL;
    for (size_t i = 0; (kinds & WORK_CODE) != 0 && i < CODE_KINDS; i++)
        choose(l, node_key(map, code_kinds[i]), &found);
    if ((kinds & WORK_CODE) != 0 && job && node_key(map, "extension") == NULL)
        choose(l, node_key(map, "job"), &found);
    if ((kinds & WORK_AGENTS) != 0)
        choose(l, node_key(map, "agent"), &found);
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

static void read_options(struct load *l, const struct node *map, unsigned kinds, struct work *w)
{
    if (w->kind != WORK_AGENT && (kinds & WORK_AGENTS) != 0)
        refuse_alone(l, map, "task", "an agent beside it");
    if ((kinds & WORK_CODE) == 0)
        return;
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

static void does_nothing(struct load *l, const struct node *map, unsigned kinds, bool job)
{
    for (size_t i = 0; i < CODE_KINDS; i++) {
        if (load_meant(l, map, code_kinds[i]))
            return;
    }
    if (load_meant(l, map, "agent") || load_meant(l, map, "job") || load_meant(l, map, "steps") ||
        load_meant(l, map, "workflow"))
        return;
    if ((kinds & WORK_AGENTS) == 0)
        load_fail(l, map->at, NULL, "does nothing: add command or http");
    else
        load_fail(l, map->at, NULL, "does nothing: add command, http, agent, %sextension with job",
                  job ? "job, or " : "or ");
}

void work_read(struct load *l, const struct node *map, unsigned kinds, struct work *w, char **job)
{
    const struct node *kind = first_work(l, map, kinds, job != NULL);
    if (kind == NULL) {
        if (node_key(map, "job") != NULL)
            refuse_alone(l, map, "job", "an extension: write extension: NAME beside it");
        else
            does_nothing(l, map, kinds, job != NULL);
        return;
    }
    const struct node *value = node_get(map, kind->text);
    if (strcmp(kind->text, "command") == 0 || strcmp(kind->text, "run") == 0)
        read_command(l, value, w);
    else if (strcmp(kind->text, "http") == 0)
        read_http(l, value, w);
    else if (strcmp(kind->text, "extension") == 0)
        read_extension_work(l, map, w);
    else if (job != NULL && strcmp(kind->text, "job") == 0)
        *job = load_word(l, value, "job");
    else
        read_agent_work(l, map, w);
    if (job == NULL && (kinds & WORK_CODE) != 0 && w->kind != WORK_EXTENSION)
        refuse_alone(l, map, "job", "an extension beside it");
    read_options(l, map, kinds, w);
}

/* How often and how long. */

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

void policy_read(struct load *l, const struct node *map, struct policy *p)
{
    const struct node *n = node_get(map, "timeout");
    if (n != NULL)
        load_duration(l, n, "timeout", 10, DAY_MS, &p->timeout_ms);
    n = node_get(map, "retry");
    p->retry = (struct retry){
        .max_attempts = RETRY_ATTEMPTS, .initial_ms = RETRY_INITIAL_MS, .max_ms = RETRY_MAX_MS};
    p->retry_set = n != NULL;
    if (n != NULL)
        read_retry(l, n, &p->retry);
    n = node_get(map, "concurrency");
    int64_t concurrency;
    if (n != NULL && n->type != NODE_MAP && load_int(l, n, "concurrency", 1, 10000, &concurrency))
        p->concurrency = (int)concurrency;
    n = node_get(map, "on_error");
    if (n != NULL && load_is(l, n, NODE_TEXT, "on_error") && strcmp(n->text, "dead_letter") != 0)
        load_fail(l, n->at, "on_error",
                  "must be dead_letter: after its last attempt an input goes there");
}

void policy_default(struct policy *p, const struct policy *otherwise)
{
    if (p->timeout_ms == 0)
        p->timeout_ms = otherwise->timeout_ms;
    if (p->concurrency == 0)
        p->concurrency = otherwise->concurrency;
    if (p->retry_set || !otherwise->retry_set)
        return;
    p->retry_set = true;
    p->retry = otherwise->retry;
}

void policy_use(const struct load *l, const struct policy *p, struct stage *s)
{
    s->timeout_ms = p->timeout_ms != 0 ? p->timeout_ms : l->c->set.step_timeout;
    s->concurrency = p->concurrency;
    s->retry = (struct retry){
        .max_attempts = RETRY_ATTEMPTS, .initial_ms = RETRY_INITIAL_MS, .max_ms = RETRY_MAX_MS};
    if (p->retry_set)
        s->retry = p->retry;
    else if (s->work.agent != NULL) /* what an agent did may not be undone by a second try */
        s->retry.max_attempts = 1;
}
