/* SPDX-License-Identifier: Apache-2.0 */
/* When a job runs by the clock: schedule, timezone, overlap (or Kubernetes's concurrencyPolicy), misfire, enabled. */
#include <string.h>
#include <strings.h>

#include "base/cron.h"
#include "base/mem.h"
#include "base/zone.h"
#include "config/parts.h"

enum { MISFIRE_LIMIT = 100, MISFIRE_LIMIT_MAX = 10000 };

static const char *const misfires[] = {"skip", "once", "all", NULL};

void schedule_finish(struct schedule *s)
{
    mem_free(s->name);
    mem_free(s->expression);
    mem_free(s->timezone);
    mem_free(s->pipeline);
    mem_free(s->file);
}

/* skip, queue, replace, allow, and as Kubernetes says it: Forbid, Replace, Allow. */
static void read_overlap(struct load *l, const struct node *key, const struct node *n,
                         struct job *j)
{
    static const struct {
        const char *word;
        enum overlap overlap;
    } words[] = {{"skip", OVERLAP_SKIP},
                 {"forbid", OVERLAP_SKIP},
                 {"queue", OVERLAP_QUEUE},
                 {"replace", OVERLAP_REPLACE},
                 {"allow", OVERLAP_ALLOW}};
    if (j->overlap_set) {
        load_fail(l, key->at, NULL, "has both overlap and concurrencyPolicy: choose one");
        return;
    }
    if (!load_is(l, n, NODE_TEXT, key->text))
        return;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(n->text, words[i].word) != 0)
            continue;
        j->overlap = words[i].overlap;
        j->overlap_set = true;
        return;
    }
    load_fail(l, n->at, key->text,
              "must be skip (or Forbid), queue, replace or allow, not \"%.*s\"",
              n->text_n > 60 ? 60 : (int)n->text_n, n->text);
}

struct timing {
    char *timezone;
    enum misfire misfire;
    int64_t misfire_max;
};

static void add(struct load *l, const struct node *n, const struct timing *t, const struct job *j,
                size_t number)
{
    struct cron cron;
    struct err e;
    char *expression = load_word(l, n, "schedule");
    if (expression == NULL)
        return;
    if (!cron_parse(str_of(expression), &cron, &e))
        load_fail(l, n->at, "schedule", "%s", e.text);
    struct config *c = l->c;
    c->schedules = mem_resize(c->schedules, (c->schedule_n + 1) * sizeof *c->schedules);
    c->schedules[c->schedule_n++] = (struct schedule){
        .name = number == 0 ? mem_strdup(j->name) : mem_format("%s#%zu", j->name, number + 1),
        .expression = expression,
        .timezone = mem_strdup(t->timezone),
        .misfire = t->misfire,
        .misfire_max = t->misfire_max,
        .pipeline = mem_strdup(j->pipeline),
        .file = mem_strdup(n->at.source->name),
        .line = n->at.line,
    };
}

static void read_misfire(struct load *l, const struct node *map, struct timing *t)
{
    const struct node *n = node_get(map, "misfire");
    int misfire = n == NULL ? -1 : load_choice(l, n, "misfire", misfires);
    if (misfire >= 0)
        t->misfire = (enum misfire)misfire;
    t->misfire_max = MISFIRE_LIMIT;
    n = node_get(map, "misfire_limit");
    if (n == NULL)
        return;
    load_int(l, n, "misfire_limit", 1, MISFIRE_LIMIT_MAX, &t->misfire_max);
    if (t->misfire != MISFIRE_ALL)
        load_fail(l, node_key(map, "misfire_limit")->at, NULL, "misfire_limit needs misfire: all");
}

static void read_list(struct load *l, const struct node *n, const struct timing *t,
                      const struct job *j)
{
    if (n->type == NODE_LIST && n->n == 0)
        load_fail(l, n->at, "schedule", "the list is empty");
    if (n->type != NODE_LIST)
        add(l, n, t, j, 0);
    for (size_t i = 0; n->type == NODE_LIST && i < n->n; i++)
        add(l, n->items[i], t, j, i);
}

static void need_schedule(struct load *l, const struct node *map)
{
    static const char *const keys[] = {"timezone", "misfire", "misfire_limit"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct node *key = node_key(map, keys[i]);
        if (key != NULL && !load_meant(l, map, "schedule"))
            load_fail(l, key->at, NULL, "%s needs a schedule beside it", keys[i]);
    }
}

void schedules_read(struct load *l, const struct node *map, struct job *j)
{
    struct timing t = {0};
    struct err e;
    bool enabled = true;
    const struct node *n = node_get(map, "overlap");
    if (n != NULL)
        read_overlap(l, node_key(map, "overlap"), n, j);
    n = node_get(map, "concurrencyPolicy");
    if (n != NULL)
        read_overlap(l, node_key(map, "concurrencyPolicy"), n, j);
    n = node_get(map, "enabled");
    if (n != NULL)
        load_bool(l, n, "enabled", &enabled);
    bool suspended = false;
    n = node_get(map, "suspend");
    if (n != NULL && load_bool(l, n, "suspend", &suspended) && suspended)
        enabled = false;
    n = node_get(map, "schedule");
    if (n == NULL) {
        need_schedule(l, map);
        return;
    }
    j->overlap_set = true; /* skip, unless it said otherwise: its open runs must be counted */
    read_misfire(l, map, &t);
    const struct node *zone = node_get(map, "timezone");
    if (zone == NULL)
        zone = node_get(map, "timeZone"); /* Kubernetes's spelling, as suspend */
    if (zone != NULL)
        t.timezone = load_word(l, zone, "timezone");
    if (zone != NULL && t.timezone != NULL && zone_find(t.timezone, &e) == NULL)
        load_fail(l, zone->at, "timezone", "%s", e.text);
    size_t before = l->c->schedule_n;
    read_list(l, n, &t, j);
    while (!enabled && l->c->schedule_n > before) /* it was checked all the same */
        schedule_finish(&l->c->schedules[--l->c->schedule_n]);
    mem_free(t.timezone);
}
