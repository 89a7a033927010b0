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
#define SETTING_SECRET(name, env, reload, help)                  char *name;
#define SETTING_CHOICE(name, env, def, choices, reload, help)    char *name;
#include "config/settings.def"
};

/* WORK_AGENT: an agent without code of its own here. WORK_START starts a job, WORK_DELIVER sends a result, WORK_ALERT judges a run. */
enum work_kind {
    WORK_NONE,
    WORK_COMMAND,
    WORK_HTTP,
    WORK_EXTENSION,
    WORK_AGENT,
    WORK_START,
    WORK_DELIVER,
    WORK_ALERT,
};

/* Where a result or a notice goes. Texts marked * may be a path into {"run","job","state","error","input","output"}, such as
 * .input.payload.after, or stand for themselves. */
enum delivery_kind {
    DELIVERY_EMAIL,
    DELIVERY_SLACK,
    DELIVERY_HTTP,
    DELIVERY_KV,
    DELIVERY_FILE,
    DELIVERY_GITHUB, /* a commit status, or with `issue` a comment */
};

struct delivery {
    enum delivery_kind kind;
    char *
        to; /* address[, address]; #channel or NULL; URL; key template; path template; * owner/repository */
    char *subject;     /* * email */
    char *text;        /* * the body; NULL: made from the output */
    char *secret;      /* http: Standard Webhooks key ("whsec_..." or any text); NULL: not signed */
    char *secret_name; /* where it is expected, for messages */
    char **headers;    /* http: "Name: value" */
    char *sha;         /* * github status */
    char *issue;       /* * github comment: number of the issue or pull request */
    char *context;     /* github status: its name; default hookmesh/JOB */
};

enum alert_kind { ALERT_FAILED, ALERT_DURATION, ALERT_OUTPUT, ALERT_RESULT, ALERT_MISSED };

struct alert {
    enum alert_kind kind;
    char *condition; /* as written: "duration > 5m" */
    char *job;       /* only runs of this job or pipeline; NULL: all */
    int64_t over_ms; /* duration */
    char *path;      /* output: ".items" */
    char *op;        /* output: == != < <= > >= */
    char *value;     /* output: JSON */
    struct delivery to;
    char *file;
    int line;
};

/* At which ends of which runs an after-stage is fed: those of its own pipeline, or of all. */
enum after { AFTER_SUCCESS = 1, AFTER_FAILURE = 2, AFTER_SKIP = 4, AFTER_OPEN = 8 };

struct work {
    enum work_kind kind;
    struct delivery *delivery; /* deliver: owned */
    struct alert *alert;       /* alert: borrowed from the configuration */
    char *target;              /* start: the pipeline's name, "job.publish_content" */
    char **argv;               /* command: NULL-terminated */
    bool keep;                 /* command: one process serves many values, a JSON line each way */
    char *cwd;                 /* the directory of the YAML file */
    char **env;                /* "NAME=value" NULL-terminated; may be NULL */
    char *extension;           /* extension: its name ... */
    char *job;                 /* ... and job */
    char *url;                 /* http */
    char *method;              /* http: default POST */
    char **headers;            /* http: "Name: value" */
    /* The agent that does it, whatever the kind: its input is {"agent","task","input","run"}, and the rest of this struct is a copy of how the agent works. */
    char *agent;
    char *task; /* may be NULL */
    bool
        triggers; /* its agent has the capability job:trigger: it gets HOOKMESH_URL and a token of the run */
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
    char **
        also; /* key templates: "pipeline.{1}.raw"; "?..." may be absent; NULL-terminated; may be NULL */
    char **
        input_names; /* of a job's step with several inputs: their names, value first; the work gets an object of them */
    unsigned
        after; /* not 0: it is fed by the ends of runs (enum after), watches "run.ended.>" ("run.open.>"), and its failure fails no run */
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
    struct job *job; /* of which it was made; borrowed; NULL: it was written as a pipeline */
    /* The after-stages that an end of its runs feeds, ids with tabs between them; NULL: none. */
    char *after_success;
    char *after_failure; /* dead, timed_out, budget_exceeded; not cancelled */
    char *after_skip;
    char *
        after_open; /* "ID<tab>ms<tab>ID<tab>ms": fed that long after the start, unless the run has ended */
};

enum overlap { OVERLAP_SKIP, OVERLAP_QUEUE, OVERLAP_REPLACE, OVERLAP_ALLOW };
enum misfire { MISFIRE_SKIP, MISFIRE_ONCE, MISFIRE_ALL };
enum job_kind { JOB_EXTENSION, JOB_AGENT, JOB_HYBRID, JOB_WORKFLOW };

struct schedule {
    char *name; /* the job's, or JOB#2 and so on when it has several */
    char *expression;
    char *timezone; /* NULL: UTC */
    enum misfire misfire;
    int64_t misfire_max; /* for MISFIRE_ALL */
    char *pipeline;      /* "job.NAME" */
    char *file;
    int line;
};

struct parameter {
    char *name;
    char *type;     /* string number integer boolean array object; NULL: any */
    char *standard; /* JSON; NULL: none */
    char *choices;  /* JSON array; NULL: any */
    char *description;
    bool required;
};

/* A job is a pipeline "job.NAME" (its stages watch job.NAME.*.input and the outputs of each other), and how its runs may start. A path
 * such as .payload.repository.id points into the input. */
struct job {
    char *name;
    char *pipeline;
    enum job_kind kind;
    char *description;
    struct parameter *parameters;
    size_t parameter_n;
    bool open; /* the parameters are values for what is left out: anything else may come as well */
    char *output; /* key template of the result: "job.NAME.{1}.output" */
    bool overlap_set;
    enum overlap overlap; /* of scheduled runs, unless there is concurrency */
    int priority;         /* -100..100; higher is served first */
    int64_t delay_ms;
    int64_t
        lane_limit; /* concurrency: runs open at once, of each value of the key; 0: any number */
    char *lane_key; /* path; NULL: one lane for the job */
    int64_t rate_limit; /* starts in any rate_period_ms; 0: any number */
    int64_t rate_period_ms;
    char *rate_key;
    int64_t debounce_ms; /* 0: none */
    int64_t debounce_max_ms;
    char *debounce_key;
    int64_t budget_tokens;  /* 0: no limit */
    double budget_cost_usd; /* 0: no limit */
    char *file;
    int line;
};

struct agent {
    char *name;
    char *description;
    char *system_prompt;
    char *model;
    struct work work; /* kind WORK_AGENT: it has no code here */
    char **capabilities;
    char **allowed_jobs;
    char *job; /* an orchestrator's workflow: the job that it is; else NULL */
    char *file;
    int line;
};

struct db_trigger { /* rows that change in PostgreSQL */
    char *name;
    char *url; /* secret */
    char *url_name;
    char *table;
    char *column;   /* the row's id; default "id" */
    char **events;  /* insert update delete; NULL: all */
    char *pipeline; /* what it starts */
    char *when;
    char *input;
    char *file;
    int line;
};

struct extension { /* code under a name: a shared object, or commands by job name */
    char *name;
    char *path; /* of the .so, resolved; NULL: commands */
    struct extension_job {
        char *name;
        struct work work; /* command or http */
    } * jobs;
    size_t job_n;
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
    char *pipeline; /* the pipeline that it starts, or NULL */
    char *when;     /* jq over the envelope: false or null filters it out; NULL: all pass */
    char *input; /* jq over the envelope: its first output is the run's input; NULL: the envelope */
    char *task;  /* said to the agent that it starts */
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
    struct job **jobs;
    size_t job_n;
    struct agent *agents;
    size_t agent_n;
    struct schedule *schedules;
    size_t schedule_n;
    struct alert **alerts;
    size_t alert_n;
    struct db_trigger *db_triggers;
    size_t db_trigger_n;
    struct config_names *names; /* what config_pipeline and config_job look in */
    char *dir;                  /* NULL: built without a directory (defaults) */
    char **warnings;            /* one line each, NULL-terminated */
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

/* "command", "http", "extension", "agent", "start", "alert", or how a result is delivered: "email", "slack", "http", "kv", "file", "github". */
const char *work_kind_name(const struct work *w);
/* In a few words what it does: the command, the URL without secrets, where a result goes. */
void work_text(struct buf *out, const struct work *w);

const struct hook *config_hook(const struct config *c, struct str path);
const struct extension *config_extension(const struct config *c, const char *name);
const struct pipeline *config_pipeline(const struct config *c, struct str name);
/* By its name or its pipeline's. */
const struct job *config_job(const struct config *c, struct str name);
const struct agent *config_agent(const struct config *c, struct str name);

#endif
