/* SPDX-License-Identifier: Apache-2.0 */
/* From a job's steps to stages: each watches the key of what it reads and writes the key of what it makes, and nothing hands work from
 * step to step. Keys are job.NAME.RUN.OUTPUT; the run's own input is job.NAME.RUN.input.
 *
 * A step that names another job has that job's steps in its place, named STEP-INNER, and the last of them makes what the
 * step makes. So a run is one run however its job is put together, and it can be resumed at any of the stages. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

enum { STEPS_MAX = 2000 };

/* What stands for "input" in a list of steps: one output, or several as an object. */
struct feed {
    size_t n;
    const char **tokens; /* last tokens of the keys */
    const char **labels; /* NULL: the value as it is */
};

struct making {
    struct load *l;
    struct job_note *note;
    size_t pipeline;
    bool full;
};

static char *key_of(const struct making *m, const char *hole, const char *token)
{
    return mem_format("%s.%s.%s", m->note->job->pipeline, hole, token);
}

static void feed_finish(struct feed *f)
{
    mem_free(f->tokens);
    mem_free(f->labels);
}

static void feed_copy(struct feed *to, const struct feed *from)
{
    *to = (struct feed){.n = from->n, .tokens = mem_zero(from->n, sizeof *to->tokens)};
    memcpy(to->tokens, from->tokens, from->n * sizeof *to->tokens);
    if (from->labels == NULL)
        return;
    to->labels = mem_zero(from->n, sizeof *to->labels);
    memcpy(to->labels, from->labels, from->n * sizeof *to->labels);
}

/* What step i of a list gets. in: what "input" is there; tokens: what its steps make. */
static bool feed_step(struct making *m, const struct job_note *def, size_t i, char *const *tokens,
                      const struct feed *in, struct feed *out)
{
    const struct step *s = &def->steps[i];
    size_t n = step_inputs(s);
    bool list = n != 0 && node_get(s->map, "input")->type == NODE_LIST;
    if (n == 0 ? i == 0 : !list && strcmp(step_input(s, 0)->text, "input") == 0) {
        feed_copy(out, in);
        return true;
    }
    *out = (struct feed){.n = n == 0 ? 1 : n};
    out->tokens = mem_zero(out->n, sizeof *out->tokens);
    if (list)
        out->labels = mem_zero(out->n, sizeof *out->labels);
    if (n == 0)
        out->tokens[0] = tokens[i - 1];
    for (size_t k = 0; k < n; k++) {
        const char *name = step_input(s, k)->text;
        bool own = strcmp(name, "input") == 0;
        if (own && in->labels != NULL) {
            load_subject(m->l, "%s step \"%s\"", def->subject, s->name);
            load_fail(m->l, step_input(s, k)->at, "input",
                      "job \"%s\" puts this job in a place with several inputs, so input cannot be "
                      "one among others here",
                      m->note->job->name);
            feed_finish(out);
            return false;
        }
        out->tokens[k] = own ? in->tokens[0] : tokens[step_of(def, name)];
        if (list)
            out->labels[k] = name;
    }
    return true;
}

static void fill_keys(const struct making *m, struct stage *s, const struct feed *f,
                      const char *token)
{
    s->watch = key_of(m, "*", f->tokens[0]);
    s->write = key_of(m, "{1}", token);
    for (size_t i = 1; i < f->n; i++)
        s->also = words_add(s->also, key_of(m, "{1}", f->tokens[i]));
    for (size_t i = 0; f->labels != NULL && i < f->n; i++)
        s->input_names = words_add(s->input_names, mem_strdup(f->labels[i]));
}

/* Two steps of different jobs may come to the same name: "a-b" and "b" within "a". */
static void check_name(struct making *m, const struct stage *s, const struct step *step)
{
    const struct pipeline *p = &m->l->c->pipelines[m->pipeline];
    for (size_t i = 0; i < p->n; i++) {
        bool name = strcmp(p->stages[i].name, s->name) == 0;
        if (!name && strcmp(p->stages[i].write, s->write) != 0)
            continue;
        load_subject(m->l, "%s", m->note->subject);
        load_fail(m->l, step->at, name ? "name" : "output",
                  "\"%s\" comes twice, the other time from %s:%d",
                  name ? s->name : strrchr(s->write, '.') + 1, p->stages[i].file,
                  p->stages[i].line);
        return;
    }
}

static void make_stage(struct making *m, const struct step *step, const struct policy *policy,
                       char *name, const struct feed *f, const char *token)
{
    struct stage s = {.name = name, .line = step->at.line};
    struct stage_note note = {
        .at = step->at, .map = step->map, .watch = step->at, .write = step->at};
    s.pipeline = mem_strdup(m->note->job->pipeline);
    s.id = mem_format("%s.%s", s.pipeline, name);
    s.file = mem_strdup(step->at.source->name);
    fill_keys(m, &s, f, token);
    work_copy(&s.work, &step->work);
    policy_use(m->l, policy, &s);
    check_name(m, &s, step);
    m->full = m->full || m->l->c->pipelines[m->pipeline].n >= STEPS_MAX;
    stage_add(m->l, m->pipeline, &s, &note);
}

/* The policy of a step: what it says, else what the step says that it stands within, else its job, else its agent. */
static struct policy policy_of(const struct job_note *def, const struct step *s,
                               const struct policy *outer)
{
    struct policy p = {0};
    if (outer != NULL)
        p = *outer; /* who puts a job somewhere knows how long it may take there */
    policy_default(&p, &s->policy);
    policy_default(&p, &def->policy);
    if (s->otherwise != NULL)
        policy_default(&p, s->otherwise);
    return p;
}

static void make_steps(struct making *m, const struct job_note *def, const char *prefix,
                       const struct feed *in, const char *result, const struct policy *outer);

static void make_step(struct making *m, const struct job_note *def, size_t i, const char *prefix,
                      const struct feed *f, const char *token, const struct policy *outer)
{
    const struct step *s = &def->steps[i];
    bool alone = !def->listed && def->n == 1 && prefix[0] != '\0';
    char *name = alone ? mem_dup(prefix, strlen(prefix) - 1) : mem_format("%s%s", prefix, s->name);
    if (s->within == NULL) {
        struct policy p = policy_of(def, s, outer);
        make_stage(m, s, &p, name, f, token);
        return;
    }
    char *inner = mem_format("%s-", name);
    struct policy p = outer != NULL ? *outer : (struct policy){0};
    policy_default(&p, &s->policy);
    make_steps(m, s->within, inner, f, token, &p);
    mem_free(inner);
    mem_free(name);
}

/* result: the token of what the last step makes; NULL: its own name. */
static void make_steps(struct making *m, const struct job_note *def, const char *prefix,
                       const struct feed *in, const char *result, const struct policy *outer)
{
    char **tokens = mem_zero(def->n + 1, sizeof *tokens);
    for (size_t i = 0; i < def->n; i++)
        tokens[i] = result != NULL && i + 1 == def->n
                        ? mem_strdup(result)
                        : mem_format("%s%s", prefix, def->steps[i].output);
    for (size_t i = 0; i < def->n && !m->full && m->l->stage_n <= STAGES_MAX; i++) {
        struct feed f;
        if (!feed_step(m, def, i, tokens, in, &f))
            continue;
        make_step(m, def, i, prefix, &f, tokens[i], outer);
        feed_finish(&f);
    }
    for (size_t i = 0; i < def->n; i++)
        mem_free(tokens[i]);
    mem_free(tokens);
}

void flow_compile(struct load *l, struct job_note *note)
{
    static const char *const input[] = {"input"};
    const char *tokens[] = {input[0]};
    struct feed in = {.n = 1, .tokens = tokens};
    struct making m = {.l = l, .note = note, .pipeline = l->c->pipeline_n};
    pipeline_add(l, note->at, mem_strdup(note->job->pipeline))->job = note->job;
    l->pipelines[m.pipeline].job = note;
    if (note->broken || note->n == 0)
        return;
    make_steps(&m, note, "", &in, NULL, NULL);
    note->job->output = key_of(&m, "{1}", note->steps[note->n - 1].output);
    load_subject(l, "%s", note->subject);
    if (m.full)
        load_fail(l, note->at, NULL, "too many steps: at most %d, with those of the jobs in it",
                  STEPS_MAX);
}

const char *flow_anonymous(struct load *l, const struct node *map, struct place at, char *name)
{
    struct job_note *note = job_add(l, map, at, name, l->subject);
    if (note == NULL)
        return NULL;
    struct step *s = step_add(note, map);
    s->name = mem_strdup("run");
    s->output = mem_strdup("output");
    work_read(l, map, WORK_AGENTS, &s->work, NULL);
    note->job->kind = JOB_AGENT;
    bind_job(l, note);
    bind_circles(l, note);
    flow_compile(l, note);
    return note->job->pipeline;
}
