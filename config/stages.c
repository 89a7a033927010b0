/* SPDX-License-Identifier: Apache-2.0 */
/* pipelines: and their stages, as they are written. Pipelines that are made of jobs get their stages by pipeline_add and stage_add as well, so that the
 * limits and the names of all are looked after in one place. */
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "config/parts.h"

static const char *const pipeline_keys[] = {"name", "stages", "description", NULL};
static const char *const pipeline_later[] = {"on_complete", "on_failure", "alerts",
                                             "timeout",     "retry",      NULL};
static const char *const stage_keys[] = {
    "name", "watch", "also", "write",   "command", "keep",        "env",      "http", "extension",
    "job",  "agent", "task", "timeout", "retry",   "concurrency", "on_error", NULL};
static const char *const stage_later[] = {"when",       "input",    "output", "type",
                                          "rate_limit", "priority", "budget", "debounce",
                                          "schedule",   NULL};

void stage_finish(struct stage *s)
{
    mem_free(s->id);
    mem_free(s->pipeline);
    mem_free(s->name);
    mem_free(s->watch);
    words_free(s->also);
    words_free(s->input_names);
    mem_free(s->write);
    work_finish(&s->work);
    mem_free(s->file);
}

void pipeline_finish(struct pipeline *p)
{
    for (size_t i = 0; i < p->n; i++)
        stage_finish(&p->stages[i]);
    mem_free(p->stages);
    mem_free(p->name);
    mem_free(p->after_success);
    mem_free(p->after_failure);
    mem_free(p->after_skip);
    mem_free(p->after_open);
}

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
    note->map = map;
    note->at = name != NULL ? name->at : map->at;
    s->file = mem_strdup(note->at.source->name);
    s->line = note->at.line;
}

struct pipeline *pipeline_add(struct load *l, struct place at, char *name)
{
    struct config *c = l->c;
    size_t n = c->pipeline_n + 1;
    c->pipelines = mem_resize(c->pipelines, n * sizeof *c->pipelines);
    l->pipelines = mem_resize(l->pipelines, n * sizeof *l->pipelines);
    c->pipelines[n - 1] = (struct pipeline){.name = name};
    l->pipelines[n - 1] = (struct pipeline_note){.at = at};
    c->pipeline_n = n;
    names_add_pipeline(c, n - 1);
    return &c->pipelines[n - 1];
}

void stage_add(struct load *l, size_t pipeline, struct stage *s, const struct stage_note *note)
{
    struct pipeline *p = &l->c->pipelines[pipeline];
    struct pipeline_note *notes = &l->pipelines[pipeline];
    p->stages = mem_resize(p->stages, (p->n + 1) * sizeof *p->stages);
    notes->stages = mem_resize(notes->stages, (p->n + 1) * sizeof *notes->stages);
    p->stages[p->n] = *s;
    notes->stages[p->n++] = *note;
    if (++l->stage_n == STAGES_MAX + 1)
        load_fail(l, note->at, NULL, "too many stages: at most %d in all", STAGES_MAX);
}

static void read_stage(struct load *l, const struct node *n, size_t at)
{
    const struct pipeline *p = &l->c->pipelines[at];
    load_subject(l, "pipeline \"%s\"", p->name);
    if (!load_is(l, n, NODE_MAP, "stages"))
        return;
    struct stage s = {0};
    struct stage_note note = {0};
    struct policy policy = {0};
    if (load_name_text(n) != NULL)
        load_subject(l, "stage %s.%s", p->name, load_name_text(n));
    load_keys(l, n, stage_keys, stage_later);
    load_name(l, n, &s.name);
    note_stage(n, &s, &note);
    s.pipeline = mem_strdup(p->name);
    s.id = mem_format("%s.%s", p->name, s.name != NULL ? s.name : "");
    read_stage_keys(l, n, &s, &note);
    work_read(l, n, WORK_CODE | WORK_AGENTS, &s.work, NULL);
    policy_read(l, n, &policy);
    policy_use(l, &policy, &s);
    if (node_get(n, "concurrency") != NULL && node_get(n, "concurrency")->type == NODE_MAP)
        load_fail(l, node_get(n, "concurrency")->at, "concurrency",
                  "a stage takes a number; {key, limit} belongs to a job");
    for (size_t i = 0; s.name != NULL && i < p->n; i++) {
        if (p->stages[i].name != NULL && strcmp(p->stages[i].name, s.name) == 0)
            load_fail(l, note.at, "name", "there is a stage \"%s\" already, in line %d", s.name,
                      p->stages[i].line);
    }
    stage_add(l, at, &s, &note);
}

static bool name_is_free(struct load *l, struct place at, const char *name)
{
    if (strcmp(name, "hookmesh") == 0) {
        load_fail(l, at, "name", "\"hookmesh\" is the name of what is sent after runs");
        return false;
    }
    const struct pipeline *other = config_pipeline(l->c, str_of(name));
    if (other == NULL)
        return true;
    const struct place *first = &l->pipelines[other - l->c->pipelines].at;
    load_fail(l, at, "name", "there is a pipeline \"%s\" already, in %s:%d", name,
              first->source->name, first->line);
    return false;
}

static void read_pipeline(struct load *l, const struct node *n)
{
    load_subject(l, "pipelines");
    if (!load_is(l, n, NODE_MAP, NULL))
        return;
    char *name = NULL;
    if (load_name_text(n) != NULL)
        load_subject(l, "pipeline \"%s\"", load_name_text(n));
    load_keys(l, n, pipeline_keys, pipeline_later);
    if (!load_name(l, n, &name))
        return;
    struct place at = node_get(n, "name")->at;
    if (!name_is_free(l, at, name)) {
        mem_free(name);
        return;
    }
    size_t place = l->c->pipeline_n;
    pipeline_add(l, at, name);
    const struct node *stages = node_get(n, "stages");
    if (stages == NULL)
        load_missing(l, n, "stages", "");
    else if (load_is(l, stages, NODE_LIST, "stages") && stages->n == 0)
        load_fail(l, stages->at, "stages", "the list is empty");
    else if (stages->type == NODE_LIST)
        for (size_t i = 0; i < stages->n; i++)
            read_stage(l, stages->items[i], place);
}

void pipelines_read(struct load *l, const struct node *list)
{
    load_each(l, list, "pipelines", read_pipeline);
}
