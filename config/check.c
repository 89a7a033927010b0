/* SPDX-License-Identifier: Apache-2.0 */
/* Can a document run in a circle, or a job start itself? A stage whose
 * output feeds itself never ends and is refused. A longer circle may be meant (an agent that goes back for another round,
 * a step that ends it by writing nothing, a job that ends it by failing), so it is only told. */
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "config/parts.h"

struct spot { /* a stage in the graph of all */
    const struct stage *stage;
    const struct stage_note *note;
    const char *write; /* the key that its work writes; NULL: none */
    size_t pipeline;
    size_t target; /* the pipeline that it starts; SIZE_MAX: none */
    bool of_job;
    char colour; /* 0: new, 1: on the way, 2: done */
};

struct walk {
    struct spot *spots;
    size_t *way;  /* the stages on the way, in order */
    size_t *next; /* by place on the way: the stage to try next */
    size_t n;
    size_t depth;
};

/* An edge where the output of one may be what another watches. A stage that starts a job leads to the first stage of that, and each stage of a run to what
 * follows the run. */
static bool leads_to(const struct spot *a, const struct spot *b)
{
    if (a->target != SIZE_MAX)
        return a->target == b->pipeline && b->stage->after == 0;
    if (a->of_job && b->of_job && a->pipeline != b->pipeline && a->stage->after == 0)
        return false; /* most pairs, if there are many jobs: their keys begin with their names */
    if (b->stage->after != 0)
        return a->pipeline == b->pipeline && a->stage->after == 0;
    return a->write != NULL && a->stage->watch != NULL && b->stage->watch != NULL &&
           template_overlaps(str_of(a->write), str_of(a->stage->watch), str_of(b->stage->watch));
}

static void tell_circle(struct load *l, const struct walk *w, size_t back_to)
{
    struct buf b = {0};
    size_t at = 0;
    while (w->way[at] != back_to)
        at++;
    const struct stage_note *note = w->spots[back_to].note;
    for (size_t i = at; i < w->depth; i++)
        buf_printf(&b, "%s -> ", w->spots[w->way[i]].stage->id);
    bool starts = false;
    for (size_t i = at; i < w->depth; i++)
        starts = starts || w->spots[w->way[i]].target != SIZE_MAX;
    report_warning(l->report, note->write.source != NULL ? note->write : note->at,
                   "%s may run in a circle: %s%s", starts ? "jobs" : "a document", b.p,
                   w->spots[back_to].stage->id);
    buf_finish(&b);
}

static void enter(struct walk *w, size_t stage)
{
    w->spots[stage].colour = 1;
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
            w->spots[at].colour = 2;
            w->depth--;
        } else if (to != at && w->spots[to].colour != 2 && leads_to(&w->spots[at], &w->spots[to])) {
            if (w->spots[to].colour == 1)
                tell_circle(l, w, to);
            else
                enter(w, to);
        }
    }
}

static struct spot spot_of(const struct load *l, size_t pipeline, size_t i)
{
    const struct config *c = l->c;
    const struct stage *s = &c->pipelines[pipeline].stages[i];
    struct spot spot = {.stage = s,
                        .note = &l->pipelines[pipeline].stages[i],
                        .write = s->write,
                        .pipeline = pipeline,
                        .target = SIZE_MAX,
                        .of_job = c->pipelines[pipeline].job != NULL};
    if (s->work.kind == WORK_DELIVER && s->work.delivery->kind == DELIVERY_KV)
        spot.write = s->work.delivery->to;
    if (s->work.kind == WORK_START)
        spot.target = (size_t)(config_pipeline(c, str_of(s->work.target)) - c->pipelines);
    return spot;
}

void check_loops(struct load *l)
{
    struct walk w = {0};
    if (l->stage_n > STAGES_MAX)
        return; /* was told; the time goes with the square */
    for (size_t i = 0; i < l->c->pipeline_n; i++)
        w.n += l->c->pipelines[i].n;
    w.spots = mem_zero(w.n, sizeof *w.spots);
    w.way = mem_zero(w.n, sizeof *w.way);
    w.next = mem_zero(w.n, sizeof *w.next);
    size_t at = 0;
    for (size_t i = 0; i < l->c->pipeline_n; i++) {
        for (size_t j = 0; j < l->c->pipelines[i].n; j++)
            w.spots[at++] = spot_of(l, i, j);
    }
    for (size_t i = 0; i < w.n; i++) {
        const struct stage *s = w.spots[i].stage;
        load_subject(l, "stage %s", s->id);
        if (s->write != NULL && leads_to(&w.spots[i], &w.spots[i]))
            load_fail(l, w.spots[i].note->write, "write",
                      "\"%s\" is what the stage itself watches (\"%s\"): it would never end",
                      s->write, s->watch);
        if (w.spots[i].colour == 0)
            walk_from(l, &w, i);
    }
    mem_free(w.spots);
    mem_free(w.way);
    mem_free(w.next);
}
