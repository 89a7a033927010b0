/* SPDX-License-Identifier: Apache-2.0 */
/* One value at a time: from a node, or from a text of the environment or the command line, to what a
 * struct holds. Every reader tells what is wrong itself, naming subject and field, and the caller only goes on: so one
 * run finds all errors. Strictness is the point here: a bare number is no duration, `yes` is no boolean,
 * and a variable that isn't set is an error, because each of them did harm quietly elsewhere. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "config/parts.h"

void load_subject(struct load *l, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    size_t n = b.n < sizeof l->subject - 1 ? b.n : sizeof l->subject - 1;
    memcpy(l->subject, b.p != NULL ? b.p : "", n);
    l->subject[n] = '\0';
    buf_finish(&b);
}

__attribute__((format(printf, 4, 0))) static void compose(struct load *l, struct buf *b,
                                                          const char *field, const char *fmt,
                                                          va_list ap)
{
    if (l->subject[0] != '\0')
        buf_printf(b, "%s: ", l->subject);
    if (field != NULL)
        buf_printf(b, "%s: ", field);
    buf_vprintf(b, fmt, ap);
}

void load_fail(struct load *l, struct place at, const char *field, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    compose(l, &b, field, fmt, ap);
    va_end(ap);
    report_error(l->report, at, "%s", b.p);
    buf_finish(&b);
}

void load_undefined(struct load *l, struct place at, const char *field, const char *fmt, ...)
{
    if (l->broken)
        return;
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    compose(l, &b, field, fmt, ap);
    va_end(ap);
    if (l->allow_undefined)
        report_warning(l->report, at, "%s", b.p);
    else
        report_error(l->report, at, "%s", b.p);
    buf_finish(&b);
}

bool load_is_one_of(const char *word, const char *const *names)
{
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(word, *names) == 0)
            return true;
    }
    return false;
}

void load_keys(struct load *l, const struct node *map, const char *const *known,
               const char *const *later)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct node *key = map->keys[i];
        if (load_is_one_of(key->text, known))
            continue;
        if (load_is_one_of(key->text, later)) {
            load_fail(l, key->at, NULL, "not supported by this version: %s", key->text);
            continue;
        }
        const char *near = suggest(str_of(key->text), known);
        if (near == NULL)
            near = suggest(str_of(key->text), later);
        if (near == NULL) {
            load_fail(l, key->at, NULL, "unknown key \"%s\"", key->text);
            continue;
        }
        load_fail(l, key->at, NULL, "unknown key \"%s\", did you mean \"%s\"?", key->text, near);
        size_t slot = l->meant_n++ % (sizeof l->meant / sizeof l->meant[0]);
        l->meant[slot].map = map;
        l->meant[slot].key = near;
    }
}

bool load_meant(const struct load *l, const struct node *map, const char *key)
{
    for (size_t i = 0; i < sizeof l->meant / sizeof l->meant[0]; i++) {
        if (l->meant[i].map == map && strcmp(l->meant[i].key, key) == 0)
            return true;
    }
    return false;
}

void load_missing(struct load *l, const struct node *map, const char *key, const char *hint)
{
    if (!load_meant(l, map, key))
        load_fail(l, map->at, NULL, "the key \"%s\" is missing%s", key, hint);
}

bool load_is(struct load *l, const struct node *n, enum node_type type, const char *field)
{
    if (n->type == type)
        return true;
    load_fail(l, n->at, field, "must be %s, not %s", node_type_name(type), node_type_name(n->type));
    return false;
}

static bool is_name_char(char c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Of "NAME}..." behind "${": the name, or {NULL, 0}. */
static struct str variable_name(struct str s)
{
    size_t n = 0;
    while (n < s.n && is_name_char(s.p[n], n == 0))
        n++;
    if (n == 0 || n == s.n || s.p[n] != '}')
        return (struct str){NULL, 0};
    return (struct str){s.p, n};
}

static bool sounds_secret(const char *name)
{
    static const char *const words[] = {"SECRET", "TOKEN", "PASSWORD",
                                        "PASSWD", "KEY",   "CREDENTIAL"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasestr(name, words[i]) != NULL)
            return true;
    }
    return false;
}

/* HOOKMESH_EXT_DIR has a value when it isn't set: where shared objects lie beside this very program, in a
 * build directory or an installation, so that the examples run from anywhere. */
static char *beside_program(const char *key)
{
    static const char *const places[] = {"ext", "../lib/hookmesh"};
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (strcmp(key, "HOOKMESH_EXT_DIR") != 0 || n <= 0)
        return NULL;
    exe[n] = '\0';
    char *slash = strrchr(exe, '/');
    char *first = NULL;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *path = mem_format("%.*s/%s", (int)(slash - exe), exe, places[i]);
        if (access(path, X_OK) == 0) {
            mem_free(first);
            return path;
        }
        if (first == NULL)
            first = path;
        else
            mem_free(path);
    }
    return first;
}

static bool put_variable(struct load *l, struct place at, const char *field, struct str name,
                         struct buf *out)
{
    char *key = mem_dup(name.p, name.n);
    char *file_key = mem_format("%s_FILE", key);
    char *value = NULL;
    bool ok = true;
    if (getenv(key) != NULL) {
        value = mem_strdup(getenv(key));
        if (sounds_secret(key))
            log_secret(str_of(value));
    } else if (getenv(file_key) != NULL) {
        ok = load_secret(l, at, field, key, &value);
    } else if ((value = beside_program(key)) == NULL) {
        load_fail(l, at, field, "the environment variable %s is not set", key);
        ok = false;
    }
    if (ok && value != NULL)
        buf_puts(out, value);
    mem_free(value);
    mem_free(file_key);
    mem_free(key);
    return ok;
}

bool value_expand(struct load *l, struct place at, const char *field, struct str s, struct buf *out)
{
    bool ok = true;
    for (size_t i = 0; i < s.n; i++) {
        struct str rest = {s.p + i, s.n - i};
        if (str_starts(rest, "$${")) { /* an escaped ${ */
            buf_puts(out, "${");
            i += 2;
        } else if (str_starts(rest, "${")) {
            struct str name = variable_name((struct str){rest.p + 2, rest.n - 2});
            if (name.p == NULL) {
                load_fail(l, at, field,
                          "${ must be followed by a variable's name and }; write $${ for the "
                          "characters themselves");
                return false;
            }
            ok = put_variable(l, at, field, name, out) && ok;
            i += name.n + 2;
        } else {
            buf_char(out, s.p[i]);
        }
    }
    return ok;
}

char *load_word(struct load *l, const struct node *n, const char *field)
{
    if (!load_is(l, n, NODE_TEXT, field))
        return NULL;
    if (n->text_n == 0) {
        load_fail(l, n->at, field, "is empty");
        return NULL;
    }
    return mem_dup(n->text, n->text_n);
}

char *load_text(struct load *l, const struct node *n, const char *field)
{
    if (!load_is(l, n, NODE_TEXT, field))
        return NULL;
    struct buf b = {0};
    buf_puts(&b, "");
    if (!value_expand(l, n->at, field, (struct str){n->text, n->text_n}, &b)) {
        buf_finish(&b);
        return NULL;
    }
    return buf_take(&b);
}

char *load_need(struct load *l, const struct node *map, const char *field)
{
    const struct node *n = node_get(map, field);
    if (n != NULL)
        return load_word(l, n, field);
    load_missing(l, map, field, "");
    return NULL;
}

static bool read_name(struct load *l, const struct node *map, bool dots, char **out)
{
    char *name = load_need(l, map, "name");
    if (name == NULL)
        return false;
    for (const char *p = name; *p != '\0'; p++) {
        bool inner = dots && p != name && p[-1] != '.' && p[1] != '\0';
        if (is_name_char(*p, false) || *p == '-' || (*p == '.' && inner))
            continue;
        load_fail(l, node_get(map, "name")->at, "name",
                  "\"%s\" may have letters, digits, - and _ only%s", name,
                  dots ? ", with single dots between them" : "");
        mem_free(name);
        return false;
    }
    *out = name;
    return true;
}

bool load_name(struct load *l, const struct node *map, char **out)
{
    return read_name(l, map, false, out);
}

bool load_dotted_name(struct load *l, const struct node *map, char **out)
{
    return read_name(l, map, true, out);
}

const char *load_name_text(const struct node *map)
{
    const struct node *n = node_get(map, "name");
    return n != NULL && n->type == NODE_TEXT && n->text_n != 0 ? n->text : NULL;
}

int load_choice(struct load *l, const struct node *n, const char *field, const char *const *choices)
{
    if (!load_is(l, n, NODE_TEXT, field))
        return -1;
    struct buf all = {0};
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(n->text, choices[i]) == 0) {
            buf_finish(&all);
            return i;
        }
        buf_printf(&all, "%s%s", i == 0 ? "" : choices[i + 1] == NULL ? " or " : ", ", choices[i]);
    }
    struct str shown = {n->text, n->text_n > 60 ? 60 : n->text_n};
    load_fail(l, n->at, field, "must be %s, not \"%.*s\"", all.p, (int)shown.n, shown.p);
    buf_finish(&all);
    return -1;
}

bool load_path_into(struct load *l, const struct node *n, const char *field, char **out)
{
    if (!load_is(l, n, NODE_TEXT, field))
        return false;
    struct str rest = {n->text + 1, n->text_n - 1};
    bool ok = n->text[0] == '.' && n->text_n > 1 && n->text_n < 500;
    while (ok && rest.p != NULL) {
        struct str part = str_split(&rest, '.');
        ok = part.n != 0;
        for (size_t i = 0; i < part.n; i++)
            ok = ok && (is_name_char(part.p[i], false) || part.p[i] == '-');
    }
    if (ok)
        *out = mem_dup(n->text, n->text_n);
    else
        load_fail(l, n->at, field, "must be a path into the input, such as .payload.repository.id");
    return ok;
}

static bool is_json_number(const struct node *n)
{
    const char *p = n->text;
    p += *p == '-';
    if (*p == '0')
        p++;
    else
        while (*p >= '0' && *p <= '9')
            p++;
    bool ok = p != n->text && p[-1] != '-';
    if (*p == '.') {
        ok = ok && p[1] >= '0' && p[1] <= '9';
        for (p++; *p >= '0' && *p <= '9';)
            p++;
    }
    if (ok && (*p == 'e' || *p == 'E')) {
        p++;
        p += *p == '-' || *p == '+';
        ok = *p >= '0' && *p <= '9';
        while (*p >= '0' && *p <= '9')
            p++;
    }
    return ok && p == n->text + n->text_n;
}

void load_json(struct buf *out, const struct node *n)
{
    struct str text = {n->text, n->text_n};
    switch (n->type) {
    case NODE_NULL: buf_puts(out, "null"); return;
    case NODE_TEXT:
        if (n->plain && (str_is(text, "true") || str_is(text, "false") || is_json_number(n)))
            buf_str(out, text);
        else
            buf_json_str(out, text);
        return;
    case NODE_LIST:
    case NODE_MAP: break;
    }
    buf_char(out, n->type == NODE_LIST ? '[' : '{');
    for (size_t i = 0; i < n->n; i++) {
        if (n->type == NODE_MAP)
            buf_json_key(out, n->keys[i]->text);
        else if (i != 0)
            buf_char(out, ',');
        load_json(out, n->items[i]);
    }
    buf_char(out, n->type == NODE_LIST ? ']' : '}');
}

void load_hint(struct buf *out, struct str word, const char *const *names)
{
    const char *near = suggest(word, names);
    buf_puts(out, "");
    if (near != NULL)
        buf_printf(out, ", did you mean \"%s\"?", near);
}

void load_each(struct load *l, const struct node *list, const char *what,
               void (*read)(struct load *l, const struct node *n))
{
    load_subject(l, "%s", what);
    if (list->type == NODE_NULL || !load_is(l, list, NODE_LIST, NULL))
        return;
    for (size_t i = 0; i < list->n; i++)
        read(l, list->items[i]);
}

char **words_add(char **words, char *word)
{
    size_t n = 0;
    while (words != NULL && words[n] != NULL)
        n++;
    words = mem_resize(words, (n + 2) * sizeof *words);
    words[n] = word;
    words[n + 1] = NULL;
    return words;
}

void words_free(char **words)
{
    for (size_t i = 0; words != NULL && words[i] != NULL; i++)
        mem_free(words[i]);
    mem_free(words);
}

char **load_words(struct load *l, const struct node *n, const char *field, bool expand)
{
    char *one = NULL;
    if (n->type == NODE_TEXT) {
        one = expand ? load_text(l, n, field) : load_word(l, n, field);
        return one == NULL ? NULL : words_add(NULL, one);
    }
    if (!load_is(l, n, NODE_LIST, field))
        return NULL;
    if (n->n == 0) {
        load_fail(l, n->at, field, "the list is empty");
        return NULL;
    }
    char **words = mem_zero(n->n + 1, sizeof *words);
    size_t count = 0;
    for (size_t i = 0; i < n->n; i++) {
        one = expand ? load_text(l, n->items[i], field) : load_word(l, n->items[i], field);
        if (one != NULL)
            words[count++] = one;
    }
    if (count == n->n)
        return words;
    words_free(words);
    return NULL;
}

bool value_bool(struct load *l, struct place at, const char *field, struct str s, bool *out)
{
    *out = str_is(s, "true");
    if (*out || str_is(s, "false"))
        return true;
    load_fail(l, at, field, "must be true or false, not \"%.*s\"", (int)(s.n > 60 ? 60 : s.n), s.p);
    return false;
}

bool load_bool(struct load *l, const struct node *n, const char *field, bool *out)
{
    return load_is(l, n, NODE_TEXT, field) &&
           value_bool(l, n->at, field, (struct str){n->text, n->text_n}, out);
}

static struct str shortened(struct str s)
{
    return (struct str){s.p, s.n > 60 ? 60 : s.n};
}

bool value_int(struct load *l, struct place at, const char *field, struct str s, int64_t min,
               int64_t max, int64_t *out)
{
    uint64_t v;
    struct str shown = shortened(s);
    if (!str_u64(s, &v) || v > INT64_MAX) {
        load_fail(l, at, field, "must be a whole number, not \"%.*s\"", (int)shown.n, shown.p);
        return false;
    }
    if ((int64_t)v < min || (int64_t)v > max) {
        load_fail(l, at, field, "%llu is out of range: %lld to %lld", (unsigned long long)v,
                  (long long)min, (long long)max);
        return false;
    }
    *out = (int64_t)v;
    return true;
}

bool load_int(struct load *l, const struct node *n, const char *field, int64_t min, int64_t max,
              int64_t *out)
{
    return load_is(l, n, NODE_TEXT, field) &&
           value_int(l, n->at, field, (struct str){n->text, n->text_n}, min, max, out);
}

static const struct {
    const char *name;
    int64_t bytes;
} size_units[] = {
    {"", 1},          {"B", 1},           {"KiB", 1 << 10},      {"MiB", 1 << 20},
    {"GiB", 1 << 30}, {"TiB", 1LL << 40}, {"kB", 1000},          {"KB", 1000},
    {"MB", 1000000},  {"GB", 1000000000}, {"TB", 1000000000000},
};

static bool parse_size(struct str s, int64_t *out)
{
    size_t digits = 0;
    while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
        digits++;
    uint64_t number;
    if (!str_u64((struct str){s.p, digits}, &number))
        return false;
    struct str unit = str_trim((struct str){s.p + digits, s.n - digits});
    for (size_t i = 0; i < sizeof size_units / sizeof size_units[0]; i++) {
        if (!str_is(unit, size_units[i].name))
            continue;
        if (number > (uint64_t)(INT64_MAX / size_units[i].bytes))
            return false;
        *out = (int64_t)number * size_units[i].bytes;
        return true;
    }
    return false;
}

void format_size(struct buf *out, int64_t bytes)
{
    static const char *const names[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;
    while (i < 4 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        i++;
    }
    buf_printf(out, "%lld%s", (long long)bytes, names[i]);
}

bool value_size(struct load *l, struct place at, const char *field, struct str s, int64_t min,
                int64_t max, int64_t *out)
{
    int64_t v;
    struct str shown = shortened(s);
    if (!parse_size(s, &v)) {
        load_fail(l, at, field, "must be a size like 64KiB or 25MiB, not \"%.*s\"", (int)shown.n,
                  shown.p);
        return false;
    }
    if (v >= min && v <= max) {
        *out = v;
        return true;
    }
    struct buf b = {0};
    format_size(&b, min);
    buf_puts(&b, " to ");
    format_size(&b, max);
    load_fail(l, at, field, "%.*s is out of range: %s", (int)shown.n, shown.p, b.p);
    buf_finish(&b);
    return false;
}

bool load_size(struct load *l, const struct node *n, const char *field, int64_t min, int64_t max,
               int64_t *out)
{
    return load_is(l, n, NODE_TEXT, field) &&
           value_size(l, n->at, field, (struct str){n->text, n->text_n}, min, max, out);
}

bool value_duration(struct load *l, struct place at, const char *field, struct str s, int64_t min,
                    int64_t max, int64_t *out)
{
    int64_t v;
    uint64_t bare;
    struct str shown = shortened(s);
    if (str_u64(s, &bare)) {
        load_fail(l, at, field, "%.*s has no unit: write %.*ss for seconds, or ms, m, h, d",
                  (int)shown.n, shown.p, (int)shown.n, shown.p);
        return false;
    }
    if (!clock_parse_duration(s, &v)) {
        load_fail(l, at, field, "must be a duration like 500ms, 30s, 5m or 7d, not \"%.*s\"",
                  (int)shown.n, shown.p);
        return false;
    }
    if (v >= min && v <= max) {
        *out = v;
        return true;
    }
    struct buf b = {0};
    clock_format_duration(&b, min);
    buf_puts(&b, " to ");
    clock_format_duration(&b, max);
    load_fail(l, at, field, "%.*s is out of range: %s", (int)shown.n, shown.p, b.p);
    buf_finish(&b);
    return false;
}

bool load_duration(struct load *l, const struct node *n, const char *field, int64_t min,
                   int64_t max, int64_t *out)
{
    return load_is(l, n, NODE_TEXT, field) &&
           value_duration(l, n->at, field, (struct str){n->text, n->text_n}, min, max, out);
}

char *load_path(struct load *l, const struct node *n, const char *field)
{
    char *path = load_text(l, n, field);
    if (path == NULL)
        return NULL;
    if (path[0] == '\0') {
        load_fail(l, n->at, field, "is empty");
        mem_free(path);
        return NULL;
    }
    if (path[0] == '/')
        return path;
    char *whole = mem_format("%s/%s", l->dir, path);
    mem_free(path);
    return whole;
}
