/* SPDX-License-Identifier: Apache-2.0 */
/* settings.def is the only place where a setting is described: the struct, this table of rows, the
 * readers, the checks of ranges and the reference page are all made from it. A setting comes from the
 * files, then the environment, then the command line; the later one wins, and each is checked in full even when a later one wins. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "config/parts.h"

enum kind { BOOL, INT, SIZE, DURATION, STRING, SECRET, CHOICE };

struct row {
    enum kind kind;
    const char *name;
    const char *env;
    size_t offset;
    int64_t number;   /* default of numbers and booleans */
    const char *text; /* default of texts */
    int64_t min;
    int64_t max;
    const char *choices;
    bool reload;
    const char *help;
};

#define AT(name) offsetof(struct settings, name)
static const struct row rows[] = {
#define SETTING_BOOL(name, env, def, reload, help)                                                 \
    {BOOL, #name, env, AT(name), def, NULL, 0, 0, NULL, reload, help},
#define SETTING_INT(name, env, def, min, max, reload, help)                                        \
    {INT, #name, env, AT(name), def, NULL, min, max, NULL, reload, help},
#define SETTING_SIZE(name, env, def, min, max, reload, help)                                       \
    {SIZE, #name, env, AT(name), def, NULL, min, max, NULL, reload, help},
#define SETTING_DURATION(name, env, def, min, max, reload, help)                                   \
    {DURATION, #name, env, AT(name), def, NULL, min, max, NULL, reload, help},
#define SETTING_STRING(name, env, def, reload, help)                                               \
    {STRING, #name, env, AT(name), 0, def, 0, 0, NULL, reload, help},
#define SETTING_SECRET(name, env, reload, help)                                                    \
    {SECRET, #name, env, AT(name), 0, "", 0, 0, NULL, reload, help},
#define SETTING_CHOICE(name, env, def, choices, reload, help)                                      \
    {CHOICE, #name, env, AT(name), 0, def, 0, 0, choices, reload, help},
#include "config/settings.def"
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void *member(const struct settings *s, const struct row *row)
{
    union {
        const void *from;
        char *to;
    } base = {s};
    return base.to + row->offset;
}

static bool is_text(const struct row *row)
{
    return row->kind == STRING || row->kind == SECRET || row->kind == CHOICE;
}

static void set_text(struct settings *s, const struct row *row, char *take)
{
    char **m = member(s, row);
    mem_free(*m);
    *m = take;
}

void settings_defaults(struct settings *s)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (is_text(&rows[i]))
            set_text(s, &rows[i], mem_strdup(rows[i].text));
        else if (rows[i].kind == BOOL)
            *(bool *)member(s, &rows[i]) = rows[i].number != 0;
        else
            *(int64_t *)member(s, &rows[i]) = rows[i].number;
    }
}

void settings_finish(struct settings *s)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (is_text(&rows[i]))
            set_text(s, &rows[i], NULL);
    }
}

static const struct row *find_row(struct str name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (str_is(name, rows[i].name))
            return &rows[i];
    }
    return NULL;
}

static const char *nearest(struct str name)
{
    const char *names[ROWS + 1];
    for (size_t i = 0; i < ROWS; i++)
        names[i] = rows[i].name;
    names[ROWS] = NULL;
    return suggest(name, names);
}

static bool is_choice(struct str choices, struct str word)
{
    while (choices.p != NULL) {
        if (str_eq(str_split(&choices, ' '), word))
            return true;
    }
    return false;
}

/* Secrets, and the password in redis://user:PASSWORD@host. */
static void note_secret(const struct row *row, struct str value)
{
    if (row->kind == SECRET)
        log_secret(value);
    if (strcmp(row->name, "redis") != 0 || value.n == 0)
        return;
    const char *at = memrchr(value.p, '@', value.n);
    const char *slashes = memmem(value.p, value.n, "//", 2);
    if (at == NULL || slashes == NULL || slashes > at)
        return;
    const char *colon = memchr(slashes, ':', (size_t)(at - slashes));
    if (colon != NULL)
        log_secret((struct str){colon + 1, (size_t)(at - colon - 1)});
}

/* Is a relative path of it, in a file, meant from that file? */
static bool is_path(const struct row *row)
{
    static const char *const names[] = {"data", "tls_cert", "tls_key", "static_dir"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(row->name, names[i]) == 0)
            return true;
    }
    return false;
}

/* field: what it is called where it was written. */
static void set_as(struct load *l, struct place at, const struct row *row, const char *field,
                   struct str value)
{
    void *m = member(&l->c->set, row);
    switch (row->kind) {
    case BOOL: {
        bool on;
        if (value_bool(l, at, field, value, &on))
            *(bool *)m = on;
        return;
    }
    case INT: value_int(l, at, field, value, row->min, row->max, m); return;
    case SIZE: value_size(l, at, field, value, row->min, row->max, m); return;
    case DURATION: value_duration(l, at, field, value, row->min, row->max, m); return;
    case CHOICE:
        if (!is_choice(str_of(row->choices), value)) {
            load_fail(l, at, field, "must be one of: %s", row->choices);
            return;
        }
        break;
    case STRING:
    case SECRET: note_secret(row, value); break;
    }
    set_text(&l->c->set, row, mem_dup(value.p, value.n));
}

static void set(struct load *l, struct place at, const struct row *row, struct str value)
{
    set_as(l, at, row, row->name, value);
}

static bool set_before(struct load *l, const struct row *row, const struct node *key)
{
    struct place *first = &l->settings[row - rows];
    if (first->line != 0) {
        load_fail(l, key->at, NULL, "the setting %s was made already, in %s:%d", row->name,
                  first->source->name, first->line);
        return true;
    }
    *first = key->at;
    return false;
}

static void read_one(struct load *l, const struct node *key, const struct node *n)
{
    const struct row *row = find_row(str_of(key->text));
    if (row == NULL) {
        const char *near = nearest(str_of(key->text));
        if (near != NULL)
            load_fail(l, key->at, NULL, "unknown setting \"%s\", did you mean \"%s\"?", key->text,
                      near);
        else
            load_fail(l, key->at, NULL, "unknown setting \"%s\": hookmesh serve --help lists them",
                      key->text);
        return;
    }
    if (set_before(l, row, key))
        return;
    char *text = is_path(row) && n->type == NODE_TEXT && n->text_n != 0
                     ? load_path(l, n, row->name)
                     : load_text(l, n, row->name);
    if (text == NULL)
        return;
    set(l, n->at, row, str_of(text));
    mem_free(text);
}

void settings_read(struct load *l, const struct node *map)
{
    load_subject(l, "settings");
    if (map->type == NODE_NULL || !load_is(l, map, NODE_MAP, NULL))
        return;
    if (l->settings == NULL)
        l->settings = mem_zero(ROWS, sizeof *l->settings);
    for (size_t i = 0; i < map->n; i++)
        read_one(l, map->keys[i], map->items[i]);
}

void settings_alias(struct load *l, const struct node *key, const struct node *value,
                    const char *setting)
{
    const struct row *row = find_row(str_of(setting));
    if (l->settings == NULL)
        l->settings = mem_zero(ROWS, sizeof *l->settings);
    char *text = set_before(l, row, key) ? NULL : load_text(l, value, key->text);
    if (text != NULL)
        set_as(l, value->at, row, key->text, str_of(text));
    mem_free(text);
}

void settings_environment(struct load *l)
{
    load_subject(l, "%s", "");
    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        struct place at = {.where = row->env};
        const char *value = getenv(row->env);
        if (row->env[0] == '\0')
            continue;
        if (row->kind == SECRET || strcmp(row->name, "redis") == 0) {
            char *secret = NULL;
            if (load_variable(l, at, row->name, row->env, &secret) && secret != NULL)
                set(l, at, row, str_of(secret));
            mem_free(secret);
        } else if (value != NULL && value[0] != '\0') {
            set(l, at, row, str_of(value));
        }
    }
}

void settings_overrides(struct load *l, const char *const *overrides)
{
    load_subject(l, "%s", "");
    struct place at = {.where = "command line"};
    for (; overrides != NULL && *overrides != NULL; overrides++) {
        struct str value = str_of(*overrides);
        struct str name = str_split(&value, '=');
        const struct row *row = find_row(name);
        if (value.p == NULL) {
            load_fail(l, at, NULL, "\"%s\" must be name=value", *overrides);
            continue;
        }
        if (row != NULL) {
            set(l, at, row, value);
            continue;
        }
        const char *near = nearest(name);
        load_fail(l, at, NULL, "unknown setting \"%.*s\"%s%s%s", (int)name.n, name.p,
                  near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                  near != NULL ? "\"?" : "");
    }
}

/* Where a setting was made in the files, or nowhere. */
static struct place place_of(struct load *l, const char *name)
{
    const struct row *row = find_row(str_of(name));
    if (l->settings != NULL && l->settings[row - rows].line != 0)
        return l->settings[row - rows];
    return (struct place){.where = "settings"};
}

/* HOST:PORT, [V6]:PORT. */
static bool split_listen(struct str listen, struct str *host, uint64_t *port)
{
    const char *colon = listen.n == 0 ? NULL : memrchr(listen.p, ':', listen.n);
    if (colon == NULL)
        return false;
    *host = (struct str){listen.p, (size_t)(colon - listen.p)};
    struct str digits = {colon + 1, listen.n - host->n - 1};
    if (host->n > 2 && host->p[0] == '[' && host->p[host->n - 1] == ']')
        *host = (struct str){host->p + 1, host->n - 2};
    else if (memchr(host->p, ':', host->n) != NULL)
        return false;
    return host->n != 0 && str_u64(digits, port) && *port <= 65535;
}

static bool is_loopback(struct str host)
{
    return str_starts(host, "127.") || str_is(host, "::1") || str_is_icase(host, "localhost");
}

void settings_check(struct load *l)
{
    const struct settings *s = &l->c->set;
    load_subject(l, "%s", "");
    struct str host;
    uint64_t port;
    if (!split_listen(str_of(s->listen), &host, &port))
        load_fail(l, place_of(l, "listen"), "listen",
                  "\"%s\" must be HOST:PORT, such as 127.0.0.1:4665 or [::1]:4665", s->listen);
    else if (!is_loopback(host) && s->token[0] == '\0')
        load_undefined(l, place_of(l, "listen"), "listen",
                       "%s can be reached from outside, so a token is needed: set HOOKMESH_TOKEN "
                       "or HOOKMESH_TOKEN_FILE",
                       s->listen);
    if ((s->tls_cert[0] == '\0') != (s->tls_key[0] == '\0'))
        load_fail(l, place_of(l, s->tls_cert[0] != '\0' ? "tls_cert" : "tls_key"), NULL,
                  "tls_cert and tls_key belong together: set both or none");
    if (s->data[0] == '\0')
        load_fail(l, place_of(l, "data"), "data", "is empty: name a directory");
    if (s->redis[0] != '\0' && !str_starts(str_of(s->redis), "redis://") &&
        !str_starts(str_of(s->redis), "unix:///"))
        load_fail(l, place_of(l, "redis"), "redis",
                  "must begin with redis:// or unix:/// (rediss:// is not supported by this "
                  "version)");
}

static void add_default(struct buf *out, const struct row *row)
{
    switch (row->kind) {
    case BOOL: buf_puts(out, row->number != 0 ? "true" : "false"); return;
    case INT: buf_printf(out, "%lld", (long long)row->number); return;
    case SIZE: format_size(out, row->number); return;
    case DURATION: clock_format_duration(out, row->number); return;
    case STRING:
    case SECRET:
    case CHOICE: buf_puts(out, row->text); return;
    }
}

/* "1 to 64", "everysec, always, no", "true, false". */
static void add_range(struct buf *out, const struct row *row)
{
    switch (row->kind) {
    case BOOL: buf_puts(out, "true, false"); return;
    case INT: buf_printf(out, "%lld to %lld", (long long)row->min, (long long)row->max); return;
    case SIZE:
        format_size(out, row->min);
        buf_puts(out, " to ");
        format_size(out, row->max);
        return;
    case DURATION:
        clock_format_duration(out, row->min);
        buf_puts(out, " to ");
        clock_format_duration(out, row->max);
        return;
    case STRING: buf_puts(out, "text"); return;
    case SECRET: buf_puts(out, "secret"); return;
    case CHOICE:
        for (const char *p = row->choices; *p != '\0'; p++) {
            if (*p == ' ')
                buf_puts(out, ", ");
            else
                buf_char(out, *p);
        }
        return;
    }
}

static void add_markdown(struct buf *out, const struct row *row)
{
    buf_printf(out, "| `%s` | ", row->name);
    if (!is_text(row) || row->text[0] != '\0') {
        buf_char(out, '`');
        add_default(out, row);
        buf_char(out, '`');
    }
    buf_puts(out, " | ");
    add_range(out, row);
    buf_printf(out, " | %s%s%s | %s | %s |\n", row->env[0] != '\0' ? "`" : "", row->env,
               row->env[0] != '\0' ? "`" : "", row->reload ? "yes" : "no", row->help);
}

static void add_plain(struct buf *out, const struct row *row)
{
    buf_printf(out, "  %-20s %s\n", row->name, row->help);
    buf_printf(out, "  %-20s ", "");
    if (!is_text(row) || row->text[0] != '\0') {
        buf_puts(out, "default ");
        add_default(out, row);
    } else {
        buf_puts(out, "default empty");
    }
    buf_puts(out, "; ");
    add_range(out, row);
    if (row->env[0] != '\0')
        buf_printf(out, "; %s", row->env);
    buf_char(out, '\n');
}

void config_reference(struct buf *out, bool markdown)
{
    if (markdown)
        buf_puts(out, "| setting | default | values | environment | reload | meaning |\n"
                      "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < ROWS; i++) {
        if (markdown)
            add_markdown(out, &rows[i]);
        else
            add_plain(out, &rows[i]);
    }
}

static bool differs(const struct row *row, const struct settings *a, const struct settings *b)
{
    if (is_text(row))
        return strcmp(*(char **)member(a, row), *(char **)member(b, row)) != 0;
    if (row->kind == BOOL)
        return *(bool *)member(a, row) != *(bool *)member(b, row);
    return *(int64_t *)member(a, row) != *(int64_t *)member(b, row);
}

void config_needs_restart(const struct config *before, const struct config *after, struct buf *out)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].reload || !differs(&rows[i], &before->set, &after->set))
            continue;
        buf_printf(out, "%s%s", out->n != 0 ? " " : "", rows[i].name);
    }
}
