/* SPDX-License-Identifier: Apache-2.0 */
/* How the runs of a job may start: priority, delay, concurrency by key, rate limit, debounce, budget. Each is an upper bound, so nonsense (a limit of 0, a
 * maximum below the quiet time) is refused: it would stop the job for ever without a word. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/parts.h"

static const int64_t DAY_MS = 86400000;
static const int64_t COUNT_MAX = 1000000000;

static const char *const lane_keys[] = {"key", "limit", NULL};
static const char *const rate_keys[] = {"limit", "period", "key", NULL};
static const char *const debounce_keys[] = {"period", "max", "key", NULL};
static const char *const budget_keys[] = {"max_tokens", "max_cost_usd", NULL};

static void read_lane(struct load *l, const struct node *n, struct job *j)
{
    load_keys(l, n, lane_keys, NULL);
    const struct node *key = node_get(n, "key");
    const struct node *limit = node_get(n, "limit");
    if (key != NULL)
        load_path_into(l, key, "concurrency.key", &j->lane_key);
    j->lane_limit = 1;
    if (limit != NULL)
        load_int(l, limit, "concurrency.limit", 1, COUNT_MAX, &j->lane_limit);
    else if (key == NULL)
        load_missing(l, n, "limit", "");
}

static void read_rate(struct load *l, const struct node *n, struct job *j)
{
    if (!load_is(l, n, NODE_MAP, "rate_limit"))
        return;
    load_keys(l, n, rate_keys, NULL);
    const struct node *limit = node_get(n, "limit");
    const struct node *period = node_get(n, "period");
    const struct node *key = node_get(n, "key");
    if (limit != NULL)
        load_int(l, limit, "rate_limit.limit", 1, COUNT_MAX, &j->rate_limit);
    else
        load_missing(l, n, "limit", "");
    if (period != NULL)
        load_duration(l, period, "rate_limit.period", 1, 366 * DAY_MS, &j->rate_period_ms);
    else
        load_missing(l, n, "period", "");
    if (key != NULL)
        load_path_into(l, key, "rate_limit.key", &j->rate_key);
}

static void read_debounce(struct load *l, const struct node *n, struct job *j)
{
    if (n->type == NODE_TEXT) {
        load_duration(l, n, "debounce", 1, 30 * DAY_MS, &j->debounce_ms);
        return;
    }
    if (!load_is(l, n, NODE_MAP, "debounce"))
        return;
    load_keys(l, n, debounce_keys, NULL);
    const struct node *period = node_get(n, "period");
    const struct node *max = node_get(n, "max");
    const struct node *key = node_get(n, "key");
    bool known = false;
    if (period != NULL)
        known = load_duration(l, period, "debounce.period", 1, 30 * DAY_MS, &j->debounce_ms);
    else
        load_missing(l, n, "period", "");
    if (max != NULL &&
        load_duration(l, max, "debounce.max", 1, 366 * DAY_MS, &j->debounce_max_ms) && known &&
        j->debounce_max_ms < j->debounce_ms)
        load_fail(l, max->at, "debounce.max", "is less than the period");
    if (key != NULL)
        load_path_into(l, key, "debounce.key", &j->debounce_key);
}

/* 5.00, with at most six digits behind the point. */
static bool read_cost(struct load *l, const struct node *n, double *out)
{
    if (!load_is(l, n, NODE_TEXT, "budget.max_cost_usd"))
        return false;
    size_t whole = strspn(n->text, "0123456789");
    size_t part = n->text[whole] == '.' ? strspn(n->text + whole + 1, "0123456789") + 1 : 0;
    *out = strtod(n->text, NULL);
    if (whole != 0 && whole <= 9 && part != 1 && part <= 7 && whole + part == n->text_n && *out > 0)
        return true;
    load_fail(l, n->at, "budget.max_cost_usd",
              "must be an amount above 0, such as 5.00, not \"%.*s\"",
              n->text_n > 60 ? 60 : (int)n->text_n, n->text);
    return false;
}

static void read_budget(struct load *l, const struct node *n, struct job *j)
{
    if (!load_is(l, n, NODE_MAP, "budget"))
        return;
    load_keys(l, n, budget_keys, NULL);
    const struct node *tokens = node_get(n, "max_tokens");
    const struct node *cost = node_get(n, "max_cost_usd");
    if (tokens != NULL)
        load_int(l, tokens, "budget.max_tokens", 1, INT64_C(1000000000000), &j->budget_tokens);
    if (cost != NULL)
        read_cost(l, cost, &j->budget_cost_usd);
}

static void read_priority(struct load *l, const struct node *n, struct job *j)
{
    bool minus = n->type == NODE_TEXT && n->text[0] == '-';
    int64_t v = 0;
    if (!load_is(l, n, NODE_TEXT, "priority"))
        return;
    struct str digits = {n->text + minus, n->text_n - minus};
    uint64_t number;
    if (!str_u64(digits, &number) || number > 100)
        load_fail(l, n->at, "priority", "must be a whole number from -100 to 100, not \"%.*s\"",
                  n->text_n > 60 ? 60 : (int)n->text_n, n->text);
    else
        v = (int64_t)number;
    j->priority = minus ? (int)-v : (int)v;
}

void gates_read(struct load *l, const struct node *map, struct job *j)
{
    const struct node *n = node_get(map, "priority");
    if (n != NULL)
        read_priority(l, n, j);
    n = node_get(map, "delay");
    if (n != NULL)
        load_duration(l, n, "delay", 0, 366 * DAY_MS, &j->delay_ms);
    n = node_get(map, "concurrency");
    if (n != NULL && n->type == NODE_MAP)
        read_lane(l, n, j);
    n = node_get(map, "rate_limit");
    if (n != NULL)
        read_rate(l, n, j);
    n = node_get(map, "debounce");
    if (n != NULL)
        read_debounce(l, n, j);
    n = node_get(map, "budget");
    if (n != NULL)
        read_budget(l, n, j);
}
