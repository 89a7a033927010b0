/* SPDX-License-Identifier: Apache-2.0 */
/* Inside config/: what the readers of the single sections share. Nobody else includes this.
 *
 * The order is fixed by config_load: read all files; settings (the others need key_max and step_timeout);
 * extensions, pipelines and jobs; triggers (which refer to pipelines); then the checks over everything. */
#ifndef CONFIG_PARTS_H
#define CONFIG_PARTS_H

#include "config/config.h"
#include "config/report.h"
#include "config/yaml.h"

struct stage_note { /* where the fields of a stage stand, for checks that run late */
    struct place at;
    struct place watch;
    struct place write;
    struct place extension;
    struct place agent;
};

struct pipeline_note {
    struct place at;
    struct stage_note *stages;
};

struct load {
    struct config *c;
    struct report *report;
    bool allow_undefined;
    bool broken;       /* a file could not be read: what seems undefined may stand in it */
    const char *dir;   /* absolute */
    char subject[160]; /* what is being read: "stage document.extract"; "" at top level */
    struct pipeline_note *pipelines; /* as c->pipelines */
    struct place *extensions;        /* as c->extensions */
    struct place *settings;          /* by row: where it was set; line 0: not yet */
    size_t stage_n;
    struct {
        const struct node *map;
        const char *key; /* what a misspelt key of the map meant: it isn't missing as well */
    } meant[8];
    size_t meant_n;
};

/* read.c: values. All tell what is wrong as "SUBJECT: FIELD: ..." and return false or NULL. */
void load_subject(struct load *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void load_fail(struct load *l, struct place at, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A reference to something that is not there: an error, or a warning with allow_undefined. */
void load_undefined(struct load *l, struct place at, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Refuses keys that are neither known nor, with a text of their own, of a later version. */
void load_keys(struct load *l, const struct node *map, const char *const *known,
               const char *const *later);
/* Did load_keys find a misspelling of the key in the map? */
bool load_meant(const struct load *l, const struct node *map, const char *key);
/* "the key X is missing", unless it was misspelt. */
void load_missing(struct load *l, const struct node *map, const char *key, const char *hint);
bool load_is(struct load *l, const struct node *n, enum node_type type, const char *field);
/* A text with ${NAME} put in. */
char *load_text(struct load *l, const struct node *n, const char *field);
char *load_word(struct load *l, const struct node *n, const char *field);   /* as it stands */
char *load_need(struct load *l, const struct node *map, const char *field); /* must be there */
bool load_name(struct load *l, const struct node *map, char **out); /* `name:`, a-z 0-9 - _ */
/* A list of texts, or a single one; NULL behind the last. */
char **load_words(struct load *l, const struct node *n, const char *field, bool expand);
bool load_bool(struct load *l, const struct node *n, const char *field, bool *out);
bool load_int(struct load *l, const struct node *n, const char *field, int64_t min, int64_t max,
              int64_t *out);
bool load_size(struct load *l, const struct node *n, const char *field, int64_t min, int64_t max,
               int64_t *out);
bool load_duration(struct load *l, const struct node *n, const char *field, int64_t min,
                   int64_t max, int64_t *out);
/* The same for text that comes from elsewhere (environment, command line). */
bool value_bool(struct load *l, struct place at, const char *field, struct str s, bool *out);
bool value_int(struct load *l, struct place at, const char *field, struct str s, int64_t min,
               int64_t max, int64_t *out);
bool value_size(struct load *l, struct place at, const char *field, struct str s, int64_t min,
                int64_t max, int64_t *out);
bool value_duration(struct load *l, struct place at, const char *field, struct str s, int64_t min,
                    int64_t max, int64_t *out);
bool value_expand(struct load *l, struct place at, const char *field, struct str s,
                  struct buf *out);
void format_size(struct buf *out, int64_t bytes);
/* A path of a file: relative to the file that names it. */
char *load_path(struct load *l, const struct node *n, const char *field);
char **words_add(char **words, char *word); /* takes both */
void words_free(char **words);

/* The value of NAME, or the content of the file that NAME_FILE names. true with *out NULL: neither is set.
 * false: it was told what is wrong. */
bool load_variable(struct load *l, struct place at, const char *field, const char *name,
                   char **out);
/* The same; the log never shows it from then on. */
bool load_secret(struct load *l, struct place at, const char *field, const char *name, char **out);
bool load_secret_file(struct load *l, struct place at, const char *field, const char *path,
                      char **out);

/* settings.c */
void settings_defaults(struct settings *s);
void settings_finish(struct settings *s);
void settings_read(struct load *l, const struct node *map);
void settings_environment(struct load *l);
void settings_overrides(struct load *l, const char *const *overrides);
void settings_check(struct load *l);

/* stages.c */
void extensions_read(struct load *l, const struct node *list);
void pipelines_read(struct load *l, const struct node *list);
void jobs_read(struct load *l, const struct node *list);
void stage_finish(struct stage *s);

/* hooks.c */
void hooks_read(struct load *l, const struct node *list);
void hook_finish(struct hook *h);

/* check.c */
void check_references(struct load *l);
void check_loops(struct load *l);

/* Appends a whole file. false: *why says it in a few words; too_large is said when there are more than max bytes. */
bool read_whole(const char *path, size_t max, const char *too_large, struct buf *out,
                const char **why);

#endif
