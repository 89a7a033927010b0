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

struct stage_note {         /* where a stage stands, for checks that run late */
    const struct node *map; /* NULL: it was made, not written */
    struct place at;
    struct place watch;
    struct place write;
};

struct job_note;
struct pipeline_note {
    struct place at;
    struct stage_note *stages;
    const struct job_note *job; /* of which it was made; NULL: none */
};

/* How often and how long: of a step, a job, an agent. What is not set comes from the next one. */
struct policy {
    int64_t timeout_ms; /* 0: not set */
    bool retry_set;
    struct retry retry;
    int concurrency; /* 0: not set */
};

/* A step as it is written. bind.c settles what its names mean, flow.c makes a stage of it. */
struct step {
    const struct node *map;
    struct place at;
    char *name;
    char *output; /* the name that it binds */
    struct work work;
    char *job;                     /* a job's or an extension's job's name; NULL: none */
    const struct job_note *within; /* the job whose steps stand here instead; of job or agent */
    bool reads; /* it has a good `input:`; else it reads what the step before it makes */
    struct policy policy;
    const struct policy *otherwise; /* of its agent; may be NULL */
};

struct job_note {
    struct place at;
    const struct node *map;
    struct job *job; /* of the configuration */
    char *subject;   /* of what is told of it: job "x" */
    struct step *steps;
    size_t n;
    bool listed; /* written as steps: or workflow: */
    bool broken; /* was told: no stages are made */
    char colour; /* of the search for circles */
    int height;  /* levels of jobs within it */
    struct policy policy;
};

struct agent_note {
    struct place at;
    const struct node *map;
    struct policy policy;
    struct job_note *workflow; /* NULL: none */
};

struct load {
    struct config *c;
    struct report *report;
    bool allow_undefined;
    bool broken;       /* a file could not be read: what seems undefined may stand in it */
    const char *dir;   /* absolute */
    char subject[160]; /* what is being read: "stage document.extract"; "" at top level */
    struct pipeline_note *pipelines; /* as c->pipelines */
    struct job_note **jobs;          /* as c->jobs */
    struct place *extensions;        /* as c->extensions */
    struct agent_note **agents;      /* as c->agents */
    struct place *settings;          /* by row: where it was set; line 0: not yet */
    size_t stage_n;
    unsigned lacking; /* kinds of deliveries of which it was told that a setting is missing */
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
bool load_is_one_of(const char *word, const char *const *names);
bool load_is(struct load *l, const struct node *n, enum node_type type, const char *field);
/* A text with ${NAME} put in. */
char *load_text(struct load *l, const struct node *n, const char *field);
char *load_word(struct load *l, const struct node *n, const char *field);   /* as it stands */
char *load_need(struct load *l, const struct node *map, const char *field); /* must be there */
bool load_name(struct load *l, const struct node *map, char **out); /* `name:`, a-z 0-9 - _ */
/* Of an agent: such names with dots between them. */
bool load_dotted_name(struct load *l, const struct node *map, char **out);
const char *load_name_text(const struct node *map); /* for subjects, before it was checked */
/* A word out of a list (NULL behind the last): its place in it, or -1 and told. */
int load_choice(struct load *l, const struct node *n, const char *field,
                const char *const *choices);
bool load_path_into(struct load *l, const struct node *n, const char *field,
                    char **out);                       /* ".payload.id" */
void load_json(struct buf *out, const struct node *n); /* the value as JSON */
/* ", did you mean \"x\"?" for an error's end, or "". */
void load_hint(struct buf *out, struct str word, const char *const *names);
void load_each(struct load *l, const struct node *list, const char *what,
               void (*read)(struct load *l, const struct node *n));
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

/* secret_env, secret_file or secret: ${NAME} of a map; standard: the variable when none of them stands there (NULL: then there is no secret). *at becomes where it
 * is named. false: it was told what is wrong. *value NULL: the variable is not set. */
bool load_secret_keys(struct load *l, const struct node *map, const char *standard,
                      struct place *at, char **name, char **value);

/* settings.c */
void settings_defaults(struct settings *s);
void settings_finish(struct settings *s);
void settings_read(struct load *l, const struct node *map);
void settings_environment(struct load *l);
void settings_overrides(struct load *l, const char *const *overrides);
void settings_check(struct load *l);

/* The setting under another name, such as scheduler: {enabled}. */
void settings_alias(struct load *l, const struct node *key, const struct node *value,
                    const char *setting);

/* work.c */
enum { WORK_CODE = 1, WORK_AGENTS = 2 };
/* What a step, stage or agent does. kinds: which ways may stand there. job: gets a `job:` that has no extension beside it; NULL: there is no such thing here. */
void work_read(struct load *l, const struct node *map, unsigned kinds, struct work *w, char **job);
bool work_has(const struct node *map, unsigned kinds, bool job);
void work_copy(struct work *to, const struct work *from);
void work_finish(struct work *w);
void headers_read(struct load *l, const struct node *n, char ***headers);
bool url_check(struct load *l, const struct node *n, const char *field, const char *url);
void policy_read(struct load *l, const struct node *map, struct policy *p);
/* *p where it is set, else what `otherwise` says. */
void policy_default(struct policy *p, const struct policy *otherwise);
void policy_use(const struct load *l, const struct policy *p, struct stage *s);

/* extensions.c */
void extensions_read(struct load *l, const struct node *list);
void extension_finish(struct extension *x);
/* Each declared job that no other has the name of is a job by itself. After all jobs were read. */
void extensions_jobs(struct load *l);
/* The one extension that declares a job of this name; NULL: none, or several (*n tells). */
const struct extension *extension_with_job(const struct load *l, const char *job, size_t *n);

/* names.c: where pipelines and jobs stand in the configuration; each is told when it is added. */
void names_add_pipeline(struct config *c, size_t at);
void names_add_job(struct config *c, size_t at);
size_t names_job(const struct config *c, struct str name); /* SIZE_MAX: there is none */
void names_free(struct config_names *n);

/* stages.c */
enum { STAGES_MAX = 20000 }; /* of all pipelines */
void pipelines_read(struct load *l, const struct node *list);
void stage_finish(struct stage *s);
void pipeline_finish(struct pipeline *p);
/* Takes name. The new pipeline is the last one. */
struct pipeline *pipeline_add(struct load *l, struct place at, char *name);
/* Takes s. */
void stage_add(struct load *l, size_t pipeline, struct stage *s, const struct stage_note *note);

/* agents.c */
void agents_read(struct load *l, const struct node *list);
void agent_read(struct load *l, const struct node *n);
void agent_finish(struct agent *a);
bool agent_is_file(const struct node *map); /* does a file without sections describe an agent? */
struct agent_note *agent_find(const struct load *l, const char *name, struct agent **agent);

/* jobs.c */
void jobs_read(struct load *l, const struct node *list);
void job_read_file(struct load *l, const struct node *n); /* a file that is a job */
void job_finish(struct job *j);
void job_note_finish(struct job_note *n);
struct job_note *job_find(const struct load *l, const char *name);
bool job_is_key(const char *key); /* that only a job has */
/* Takes name; NULL: it is taken, and that was told. subject: NULL for job "NAME". */
struct job_note *job_add(struct load *l, const struct node *map, struct place at, char *name,
                         const char *subject);
void job_read_keys(struct load *l, struct job_note *note);

/* manifest.c: a Kubernetes CronJob as a job. */
bool manifest_is(const struct node *map);
void manifest_read(struct load *l, const struct node *n);

/* gates.c: how the runs of a job may start. */
void gates_read(struct load *l, const struct node *map, struct job *j);

/* parameters.c */
void parameters_read(struct load *l, const struct node *map, struct job *j);

/* schedules.c */
void schedules_read(struct load *l, const struct node *map, struct job *j);
void schedule_finish(struct schedule *s);

/* steps.c */
void steps_read(struct load *l, struct job_note *note);
/* Which step makes the name; -1: none. */
int step_of(const struct job_note *note, const char *name);
struct step *step_add(struct job_note *note, const struct node *map);
void step_finish(struct step *s);
bool step_is_name(const char *s);         /* letters, digits, - and _ */
size_t step_inputs(const struct step *s); /* 0: it says none */
const struct node *step_input(const struct step *s, size_t i);

/* bind.c: what names mean, once everything was read. */
void bind_all(struct load *l);
void bind_job(struct load *l, struct job_note *note);
void bind_circles(struct load *l, struct job_note *note);
const char **job_names(const struct config *c); /* for suggestions; free it */

/* flow.c */
void flow_compile(struct load *l, struct job_note *note);
/* A job that a trigger or another job makes of `map`, which names an agent: its pipeline. Takes name. */
const char *flow_anonymous(struct load *l, const struct node *map, struct place at, char *name);

/* hooks.c */
void hook_read(struct load *l, const struct node *n);
void hook_finish(struct hook *h);

/* deliveries.c */
/* An item of a list of deliveries. false: told, and *d is to be finished all the same. */
bool delivery_read(struct load *l, const struct node *item, struct delivery *d);
/* Who gets a notice: `notify` and what stands beside it in the map. */
bool notice_read(struct load *l, const struct node *map, const struct node *notify,
                 struct delivery *d);
const char *delivery_name(enum delivery_kind kind);
void delivery_finish(struct delivery *d);

/* target.c: what a trigger or the end of a run starts. */
/* Which of job, pipeline and agent stands there; NULL: none. */
const struct node *target_key(struct load *l, const struct node *map);
const struct pipeline *target_pipeline(const struct load *l, const char *field, const char *name);
/* base: the name of the job that is made when the key names an agent. NULL: there is no such thing, which was told. */
const struct pipeline *target_read(struct load *l, const struct node *map, const struct node *key,
                                   struct place at, const char *base);
void target_missing(struct load *l, const struct node *map, const char *ways);
void target_undefined(struct load *l, const struct node *n, const char *field);

/* after.c */
extern const char *const dead_letter_keys[];
void after_scheduler(struct load *l, const struct node *map); /* its alerts and notices */
void alerts_read(struct load *l, const struct node *list);
void after_jobs(struct load *l); /* what follows the runs of each job */
void after_feed(struct load *l); /* at last: which ends feed which stages */
void alert_free(struct alert *a);

/* triggers.c */
void triggers_read(struct load *l, const struct node *list);
void db_trigger_finish(struct db_trigger *t);
/* A jq program; NULL: there is none, or it is none that runs, which was told with the place in it. */
char *filter_read(struct load *l, const struct node *map, const char *field);

/* check.c */
void check_loops(struct load *l);

/* Appends a whole file. false: *why says it in a few words; too_large is said when there are more than max bytes. */
bool read_whole(const char *path, size_t max, const char *too_large, struct buf *out,
                const char **why);

#endif
