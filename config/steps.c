/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of a job or of an agent's workflow: what each does, the name that its output has, and the names that it reads. Names hold within one list of
 * steps. What they read is checked here, once a list, whatever other jobs the list is put into later. */
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

static const char *const step_keys[] = {
    "name", "type", "job",   "extension", "agent",   "task",  "command",     "run",      "keep",
    "env",  "http", "input", "output",    "timeout", "retry", "concurrency", "on_error", NULL};
static const char *const step_later[] = {"when", "max_iterations", "budget", "rate_limit", NULL};
static const char *const workflow_keys[] = {"steps", NULL};
static const char *const types[] = {"code", "extension", "agent", "job", "command", "http", NULL};

void step_finish(struct step *s)
{
    mem_free(s->name);
    mem_free(s->output);
    mem_free(s->job);
    work_finish(&s->work);
}

struct step *step_add(struct job_note *note, const struct node *map)
{
    note->steps = mem_resize(note->steps, (note->n + 1) * sizeof *note->steps);
    note->steps[note->n] = (struct step){.map = map, .at = map->at};
    return &note->steps[note->n++];
}

size_t step_inputs(const struct step *s)
{
    const struct node *n = node_get(s->map, "input");
    if (n == NULL || !s->reads)
        return 0;
    return n->type == NODE_LIST ? n->n : 1;
}

const struct node *step_input(const struct step *s, size_t i)
{
    const struct node *n = node_get(s->map, "input");
    return n->type == NODE_LIST ? n->items[i] : n;
}

int step_of(const struct job_note *note, const char *name)
{
    for (size_t i = 0; i < note->n; i++) {
        if (strcmp(note->steps[i].output, name) == 0)
            return (int)i;
    }
    return -1;
}

/* Names. */

bool step_is_name(const char *s)
{
    static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return *s != '\0' && strspn(s, chars) == strlen(s);
}

static char *read_given(struct load *l, const struct node *map, const char *field)
{
    const struct node *n = node_get(map, field);
    char *name = n == NULL ? NULL : load_word(l, n, field);
    if (name == NULL || step_is_name(name))
        return name;
    load_fail(l, n->at, field, "\"%s\" may have letters, digits, - and _ only", name);
    mem_free(name);
    return NULL;
}

/* A step without a name has that of its job or agent. */
static char *name_of_work(const struct step *s, size_t number)
{
    const char *from = s->job != NULL                   ? s->job
                       : s->work.kind == WORK_AGENT     ? s->work.agent
                       : s->work.kind == WORK_EXTENSION ? s->work.job
                                                        : NULL;
    if (from == NULL)
        return mem_format("step-%zu", number);
    char *name = mem_strdup(from);
    for (char *p = name; *p != '\0'; p++) {
        char one[2] = {*p, '\0'};
        *p = step_is_name(one) ? *p : '-';
    }
    return name;
}

static bool is_taken(const struct job_note *note, const struct step *but, const char *name)
{
    for (size_t i = 0; i < note->n; i++) {
        const struct step *s = &note->steps[i];
        if (s != but && ((s->name != NULL && strcmp(s->name, name) == 0) ||
                         (s->output != NULL && strcmp(s->output, name) == 0)))
            return true;
    }
    return false;
}

static void name_steps(struct job_note *note)
{
    for (size_t i = 0; i < note->n; i++) {
        struct step *s = &note->steps[i];
        if (s->name == NULL) {
            char *name = name_of_work(s, i + 1);
            s->name = mem_strdup(name);
            for (int more = 2; is_taken(note, s, s->name); more++) {
                mem_free(s->name);
                s->name = mem_format("%s-%d", name, more);
            }
            mem_free(name);
        }
    }
    for (size_t i = 0; i < note->n; i++) {
        if (note->steps[i].output == NULL)
            note->steps[i].output = mem_strdup(note->steps[i].name);
    }
}

static void check_names(struct load *l, struct job_note *note)
{
    size_t before = report_errors(l->report);
    for (size_t i = 0; i < note->n; i++) {
        const struct step *s = &note->steps[i];
        const struct node *output = node_get(s->map, "output");
        struct place at = output != NULL ? output->at : s->at;
        const char *field = output != NULL ? "output" : "name";
        load_subject(l, "%s step \"%s\"", note->subject, s->name);
        if (strcmp(s->name, "on_complete") == 0 || strcmp(s->name, "on_failure") == 0)
            load_fail(l, s->at, "name", "\"%s\" is the name of what follows a run", s->name);
        if (strcmp(s->output, "input") == 0)
            load_fail(l, at, field, "\"input\" is the job's own input");
        for (size_t j = 0; j < i; j++) {
            const struct step *other = &note->steps[j];
            bool output_taken = strcmp(other->output, s->output) == 0;
            if (!output_taken && strcmp(other->name, s->name) != 0)
                continue;
            if (output_taken)
                load_fail(l, at, field, "there is an output \"%s\" already, of line %d", s->output,
                          other->at.line);
            else
                load_fail(l, s->at, "name", "there is a step \"%s\" already, in line %d", s->name,
                          other->at.line);
            break;
        }
    }
    note->broken = note->broken || report_errors(l->report) != before;
}

/* One step. */

static void check_type(struct load *l, const struct node *map)
{
    const struct node *type = node_get(map, "type");
    if (type == NULL)
        return;
    int kind = load_choice(l, type, "type", types);
    if (kind < 0)
        return;
    bool agent = strcmp(types[kind], "agent") == 0;
    if (agent && node_key(map, "agent") == NULL)
        load_fail(l, type->at, "type", "agent needs agent: NAME");
    else if (!agent && node_key(map, "agent") != NULL)
        load_fail(l, type->at, "type", "%s does not go with agent", type->text);
}

static void read_step(struct load *l, const struct node *map, struct job_note *note)
{
    load_subject(l, "%s", note->subject);
    if (!load_is(l, map, NODE_MAP, "steps"))
        return;
    struct step *s = step_add(note, map);
    load_subject(l, "%s step %zu", note->subject, note->n);
    const struct node *name = node_get(map, "name");
    if (name != NULL) {
        s->at = name->at;
        if (load_name_text(map) != NULL)
            load_subject(l, "%s step \"%s\"", note->subject, load_name_text(map));
    }
    load_keys(l, map, step_keys, step_later);
    s->name = read_given(l, map, "name");
    s->output = read_given(l, map, "output");
    check_type(l, map);
    work_read(l, map, WORK_CODE | WORK_AGENTS, &s->work, &s->job);
    policy_read(l, map, &s->policy);
    const struct node *input = node_get(map, "input");
    if (input != NULL) {
        char **names = load_words(l, input, "input", false);
        s->reads = names != NULL;
        words_free(names);
    }
}

static const struct node *find_list(struct load *l, const struct node *map)
{
    const struct node *steps = node_get(map, "steps");
    const struct node *workflow = node_get(map, "workflow");
    if (steps != NULL && workflow != NULL)
        load_fail(l, node_key(map, "workflow")->at, NULL,
                  "has both steps and workflow: choose one");
    const char *field = steps != NULL ? "steps" : "workflow";
    const struct node *list = steps != NULL ? steps : workflow;
    if (list->type == NODE_MAP && steps == NULL) {
        load_keys(l, list, workflow_keys, NULL);
        list = node_get(workflow, "steps");
        if (list == NULL)
            load_missing(l, workflow, "steps", "");
    }
    if (list == NULL || !load_is(l, list, NODE_LIST, field))
        return NULL;
    if (list->n == 0)
        load_fail(l, list->at, field, "the list is empty");
    return list;
}

/* What the steps read. */

static void nobody_makes(struct load *l, const struct job_note *note, const struct node *n)
{
    const char **names = mem_zero(note->n + 2, sizeof *names);
    struct buf hint = {0};
    names[0] = "input";
    for (size_t i = 0; i < note->n; i++)
        names[i + 1] = note->steps[i].output;
    load_hint(&hint, (struct str){n->text, n->text_n}, names);
    load_fail(l, n->at, "input", "no step makes \"%s\"%s", n->text, hint.p);
    buf_finish(&hint);
    mem_free(names);
}

static void check_inputs(struct load *l, struct job_note *note, struct step *s)
{
    for (size_t i = 0; i < step_inputs(s); i++) {
        const struct node *n = step_input(s, i);
        if (strcmp(n->text, "input") != 0 && step_of(note, n->text) < 0) {
            nobody_makes(l, note, n);
            note->broken = true;
        }
        for (size_t j = 0; j < i; j++) {
            if (strcmp(step_input(s, j)->text, n->text) == 0)
                load_fail(l, n->at, "input", "\"%s\" stands here twice", n->text);
        }
    }
}

/* The steps that step i waits for, one by one from *k on; -1: no more. */
static int next_before(const struct job_note *note, size_t i, size_t *k)
{
    const struct step *s = &note->steps[i];
    if (!s->reads) {
        bool first = i == 0 || *k != 0;
        ++*k;
        return first ? -1 : (int)i - 1;
    }
    while (*k < step_inputs(s)) {
        int before = step_of(note, step_input(s, (*k)++)->text);
        if (before >= 0)
            return before;
    }
    return -1;
}

static void tell_circle(struct load *l, const struct job_note *note, const size_t *way, size_t from,
                        size_t n)
{
    struct buf b = {0};
    for (size_t i = n; i-- > from;)
        buf_printf(&b, "%s -> ", note->steps[way[i]].name);
    const struct step *s = &note->steps[way[n - 1]];
    const struct node *input = node_get(s->map, "input");
    load_fail(l, input != NULL ? input->at : s->at, "input", "the steps wait for each other: %s%s",
              b.p, s->name);
    buf_finish(&b);
}

/* Depth first, against the way of the values. */
static void find_circles(struct load *l, struct job_note *note)
{
    enum { NEW, ON_THE_WAY, DONE };
    char *colour = mem_zero(note->n, 1);
    size_t *way = mem_zero(note->n, sizeof *way);
    size_t *next = mem_zero(note->n, sizeof *next);
    for (size_t start = 0; start < note->n; start++) {
        size_t depth = 0;
        if (colour[start] != NEW)
            continue;
        way[depth++] = start;
        colour[start] = ON_THE_WAY;
        while (depth != 0) {
            size_t at = way[depth - 1];
            int before = next_before(note, at, &next[at]);
            if (before < 0) {
                colour[at] = DONE;
                depth--;
            } else if (colour[before] == NEW) {
                way[depth++] = (size_t)before;
                colour[before] = ON_THE_WAY;
            } else if (colour[before] == ON_THE_WAY) {
                size_t from = 0;
                while (way[from] != (size_t)before)
                    from++;
                tell_circle(l, note, way, from, depth);
                note->broken = true;
            }
        }
    }
    mem_free(colour);
    mem_free(way);
    mem_free(next);
}

static void steps_check(struct load *l, struct job_note *note)
{
    for (size_t i = 0; i < note->n; i++) {
        load_subject(l, "%s step \"%s\"", note->subject, note->steps[i].name);
        check_inputs(l, note, &note->steps[i]);
    }
    load_subject(l, "%s", note->subject);
    if (note->n != 0)
        find_circles(l, note);
}

void steps_read(struct load *l, struct job_note *note)
{
    note->listed = true;
    const struct node *list = find_list(l, note->map);
    for (size_t i = 0; list != NULL && i < list->n; i++)
        read_step(l, list->items[i], note);
    name_steps(note);
    check_names(l, note);
    steps_check(l, note);
}
