/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: one immutable, refcounted snapshot made from a directory of YAML files.
 *
 * config_load reads all *.yaml and *.yml of the directory (in the order of their names; not below it), checks
 * everything over all files together, and gives a whole snapshot or a list of errors, each with file:line:column and a caret.
 * Whoever keeps a pointer into a snapshot holds a reference. A reload makes a new snapshot and never changes an old one. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* The settings table (config/settings.def) as a struct: one member a row. Durations are in ms, sizes in bytes. */
struct settings {
#define SETTING_BOOL(name, env, def, reload, help)               bool name;
#define SETTING_INT(name, env, def, min, max, reload, help)      int64_t name;
#define SETTING_SIZE(name, env, def, min, max, reload, help)     int64_t name;
#define SETTING_DURATION(name, env, def, min, max, reload, help) int64_t name;
#define SETTING_STRING(name, env, def, reload, help)             char *name;
#define SETTING_CHOICE(name, env, def, choices, reload, help)    char *name;
#include "config/settings.def"
};

enum work_kind { WORK_NONE, WORK_COMMAND, WORK_HTTP, WORK_EXTENSION, WORK_AGENT };

struct work {
    enum work_kind kind;
    char **argv;     /* command: NULL-terminated */
    bool keep;       /* command: one process serves many values, a JSON line each way */
    char *cwd;       /* the directory of the YAML file */
    char **env;      /* "NAME=value" NULL-terminated; may be NULL */
    char *extension; /* extension: its name ... */
    char *job;       /* ... and job */
    char *url;       /* http */
    char *method;    /* http: default POST */
    char **headers;  /* http: "Name: value" */
    char *agent;     /* agent: its name ... */
    char *task;      /* ... and task */
};

struct retry {
    int max_attempts; /* in total; 1: no retry */
    bool fixed;       /* else exponential, factor 2 */
    int64_t initial_ms;
    int64_t max_ms;
};

struct stage {
    char *id; /* "document.extract": pipeline and stage; the name of its pending set */
    char *pipeline;
    char *name;
    char *watch; /* pattern: "pipeline.*.raw" */
    char **also; /* key templates: "pipeline.{1}.raw"; NULL-terminated; may be NULL */
    char *write; /* key template; NULL: the result is not kept */
    struct work work;
    struct retry retry;
    int64_t timeout_ms;
    int concurrency; /* inputs worked on at once by one server; 0: the work kind's default */
    char *file;      /* where it stands */
    int line;
};

struct pipeline {
    char *name;
    struct stage *stages;
    size_t n;
};

struct extension { /* code under a name: a shared object, or commands by job name */
    char *name;
    char *path; /* of the .so, resolved; NULL: commands */
    char *file;
    int line;
};

struct hook {          /* a webhook trigger */
    char *path;        /* "/hooks/github" */
    char *scheme;      /* a row of handlers/verify's table; NULL: none known */
    char *secret;      /* resolved from secret_env / secret_file; NULL: none there */
    char *secret_name; /* where it is expected, for messages: "HOOKMESH_SECRET_GITHUB" */
    char *header;      /* generic schemes: the header's name */
    bool insecure;
    char **events; /* "push", "pull_request.opened"; NULL: all */
    char *
        write; /* key template of the run's input: "github.{run}.event"; NULL only after allow_undefined */
    char *pipeline;  /* the pipeline that it starts, or NULL */
    size_t max_body; /* 0: the setting */
    char *file;
    int line;
};

struct config {
    int refs;
    struct settings set;
    struct pipeline *pipelines;
    size_t pipeline_n;
    struct extension *extensions;
    size_t extension_n;
    struct hook *hooks;
    size_t hook_n;
    char *dir;       /* NULL: built without a directory (defaults) */
    char **warnings; /* one line each, NULL-terminated */
};

/* overrides: "listen=127.0.0.1:0" from the command line, NULL-terminated, stronger than environment, stronger than the files. dir NULL: defaults, environment and overrides
 * alone. On failure *report holds all errors as text for a person (several lines each, with the caret). */
struct config *config_load(const char *dir, const char *const *overrides, bool allow_undefined,
                           struct buf *report);
struct config *config_ref(struct config *c);
void config_unref(struct config *c); /* NULL is fine */

/* The settings reference, as Markdown (README) or as the text of `serve --help`. */
void config_reference(struct buf *out, bool markdown);

/* The names of settings that differ and that a reload cannot change, separated by spaces. */
void config_needs_restart(const struct config *before, const struct config *after, struct buf *out);

/* The webhook schemes that there are (NULL behind the last, not copied): told at start by whoever verifies
 * them, so that a misspelt one is refused at load. Never called: any name is taken. */
void config_schemes(const char *const *names);

const struct hook *config_hook(const struct config *c, struct str path);
const struct extension *config_extension(const struct config *c, const char *name);

#endif
