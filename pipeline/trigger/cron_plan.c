/* SPDX-License-Identifier: Apache-2.0 */
/* After a long pause there may be millions of missed ticks, and only the last of them matter one by one; so they are counted with the last ones kept in a ring. A
 * plan counts and holds a bounded number of ticks; what is left over is due again, and comes with the next plan. */
#include "trigger/cron_plan.h"

#include "base/mem.h"

enum { COUNT_MAX = 100000, TICKS_MAX = 500, KEPT_MAX = 100000 };
static const int64_t NEVER_S = INT64_C(253402300799); /* the end of the year 9999 */

struct missed {
    int64_t *kept; /* the last ones: tick i is at i % room */
    int64_t room;
    int64_t n;
};

static int64_t next(const struct cron *c, const struct zone *z, int64_t after_s)
{
    int64_t at;
    return cron_next(c, z, after_s, &at) ? at : NEVER_S;
}

static void add(struct cron_plan *p, struct cron_tick t)
{
    if (p->n % 64 == 0)
        p->ticks = mem_resize(p->ticks, (p->n + 64) * sizeof *p->ticks);
    p->ticks[p->n++] = t;
}

/* Counts the ticks before edge_ms and leaves *at at the first behind them. false: there are more than can be counted now. */
static bool count(struct missed *m, const struct cron *c, const struct zone *z, int64_t edge_ms,
                  int64_t *at)
{
    while (*at * 1000 < edge_ms && m->n < COUNT_MAX) {
        m->kept[m->n++ % m->room] = *at;
        *at = next(c, z, *at);
    }
    return *at * 1000 >= edge_ms;
}

static void add_missed(struct cron_plan *p, const struct missed *m, const struct cron_rules *r,
                       int64_t first_s, bool counted)
{
    int64_t starts = !counted                     ? 0
                     : r->misfire == MISFIRE_ONCE ? 1
                     : r->misfire == MISFIRE_ALL  ? r->misfire_max
                                                  : 0;
    if (starts > m->n)
        starts = m->n;
    int64_t alone = counted ? starts + r->records : 0;
    int64_t together = m->n > alone ? m->n - alone : 0;
    if (together > 0)
        add(p,
            (struct cron_tick){first_s, m->kept[(together - 1) % m->room], together, true, false});
    for (int64_t i = together; i < m->n && p->n < TICKS_MAX; i++) {
        int64_t at = m->kept[i % m->room];
        add(p, (struct cron_tick){at, at, 1, true, i >= m->n - starts});
    }
}

void cron_plan_make(struct cron_plan *p, const struct cron *c, const struct zone *z,
                    const struct cron_rules *r, int64_t due_ms, int64_t now_ms)
{
    *p = (struct cron_plan){0};
    int64_t edge_ms = now_ms - r->grace_ms;
    int64_t first_s = next(c, z, (due_ms + 999) / 1000 - 1);
    int64_t at = first_s;
    int64_t room = r->records + 1 + (r->misfire == MISFIRE_ALL ? r->misfire_max : 1);
    struct missed m = {.room = room < KEPT_MAX ? room : KEPT_MAX};
    if (at * 1000 < edge_ms) {
        m.kept = mem_zero((size_t)m.room, sizeof *m.kept);
        bool counted = count(&m, c, z, edge_ms, &at);
        add_missed(p, &m, r, first_s, counted);
        mem_free(m.kept);
    }
    p->looked = m.n;
    if (p->n == TICKS_MAX) /* the others are missed as well, and due again */
        at = next(c, z, p->ticks[p->n - 1].until_s);
    for (; at * 1000 <= now_ms && at * 1000 >= edge_ms && p->n < TICKS_MAX; p->looked++) {
        add(p, (struct cron_tick){at, at, 1, false, true});
        at = next(c, z, at);
    }
    p->next_s = at;
}

void cron_plan_finish(struct cron_plan *p)
{
    mem_free(p->ticks);
    *p = (struct cron_plan){0};
}
