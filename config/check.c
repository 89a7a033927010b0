/* SPDX-License-Identifier: Apache-2.0 */
/* Can a document run in a circle? A stage whose
 * output feeds itself never ends and is refused. A longer circle may be meant (an agent that goes back for another round,
 * a step that ends it by writing nothing), so it is only told. */
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "config/parts.h"

/* The graph of all stages: an edge where the output of one may be what another watches. */
struct walk {
    const struct stage **stages;
    const struct stage_note **notes;
    char *colours; /* 0: new, 1: on the way, 2: done */
    size_t *way;   /* the stages on the way, in order */
    size_t *next;  /* by place on the way: the stage to try next */
    size_t n;
    size_t depth;
};

static bool leads_to(const struct stage *a, const struct stage *b)
{
    return a->write != NULL && a->watch != NULL && b->watch != NULL &&
           template_overlaps(str_of(a->write), str_of(a->watch), str_of(b->watch));
}

static void tell_circle(struct load *l, const struct walk *w, size_t back_to)
{
    struct buf b = {0};
    size_t at = 0;
    while (w->way[at] != back_to)
        at++;
    for (size_t i = at; i < w->depth; i++)
        buf_printf(&b, "%s -> ", w->stages[w->way[i]]->id);
    report_warning(l->report, w->notes[w->way[at]]->write, "a document may run in a circle: %s%s",
                   b.p, w->stages[back_to]->id);
    buf_finish(&b);
}

static void enter(struct walk *w, size_t stage)
{
    w->colours[stage] = 1;
    w->way[w->depth] = stage;
    w->next[w->depth++] = 0;
}

/* Depth first without recursion; each stage is entered once. */
static void walk_from(struct load *l, struct walk *w, size_t start)
{
    enter(w, start);
    while (w->depth != 0) {
        size_t at = w->way[w->depth - 1];
        size_t to = w->next[w->depth - 1]++;
        if (to == w->n) {
            w->colours[at] = 2;
            w->depth--;
        } else if (to != at && w->colours[to] != 2 && leads_to(w->stages[at], w->stages[to])) {
            if (w->colours[to] == 1)
                tell_circle(l, w, to);
            else
                enter(w, to);
        }
    }
}

void check_loops(struct load *l)
{
    struct walk w = {0};
    for (size_t i = 0; i < l->c->pipeline_n; i++)
        w.n += l->c->pipelines[i].n;
    w.stages = mem_zero(w.n, sizeof *w.stages);
    w.notes = mem_zero(w.n, sizeof *w.notes);
    w.colours = mem_zero(w.n, 1);
    w.way = mem_zero(w.n, sizeof *w.way);
    w.next = mem_zero(w.n, sizeof *w.next);
    size_t at = 0;
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        for (size_t j = 0; j < l->c->pipelines[i].n; j++) {
            w.stages[at] = &l->c->pipelines[i].stages[j];
            w.notes[at++] = &l->pipelines[i].stages[j];
        }
    }
    for (size_t i = 0; i < w.n; i++) {
        load_subject(l, "stage %s", w.stages[i]->id);
        if (leads_to(w.stages[i], w.stages[i]))
            load_fail(l, w.notes[i]->write, "write",
                      "\"%s\" is what the stage itself watches (\"%s\"): it would never end",
                      w.stages[i]->write, w.stages[i]->watch);
        if (w.colours[i] == 0)
            walk_from(l, &w, i);
    }
    mem_free(w.stages);
    mem_free(w.notes);
    mem_free(w.colours);
    mem_free(w.way);
    mem_free(w.next);
}
