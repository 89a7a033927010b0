/* SPDX-License-Identifier: Apache-2.0 */
/* A cancelled run says nothing: somebody stopped it. A run that failed says nothing about the output that it has not, but its result is missing. */
#include "work/alert_judge.h"

#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

static bool ended_well_or_not(const struct notice_run *r)
{
    return r->state.n != 0 && !str_is(r->state, "cancelled") && !str_is(r->state, "skipped");
}

bool alert_needs_output(const struct alert *a, const struct notice_run *r)
{
    return (a->kind == ALERT_OUTPUT || a->kind == ALERT_RESULT) && notice_succeeded(r);
}

static enum alert_verdict judge_failed(const struct notice_run *r, struct buf *why)
{
    if (!ended_well_or_not(r))
        return ALERT_SAYS_NOTHING;
    if (notice_succeeded(r))
        return ALERT_IS_FINE;
    notice_subject(why, r);
    return ALERT_FIRES;
}

static enum alert_verdict judge_duration(const struct alert *a, const struct notice_run *r,
                                         struct buf *why)
{
    bool goes_on = r->state.n == 0;
    int64_t took = r->finished_ms - (r->started_ms > 0 ? r->started_ms : r->created_ms);
    if (!goes_on && !ended_well_or_not(r))
        return ALERT_SAYS_NOTHING;
    if (!goes_on && took <= a->over_ms)
        return notice_succeeded(r) ? ALERT_IS_FINE : ALERT_SAYS_NOTHING;
    if (goes_on) {
        buf_printf(why, "%.*s has been running for more than ", (int)r->job.n, r->job.p);
        clock_format_duration(why, a->over_ms);
    } else {
        buf_printf(why, "%.*s took ", (int)r->job.n, r->job.p);
        clock_format_duration(why, took);
    }
    return ALERT_FIRES;
}

/* A list or object counts as its length where it is compared with a number: output.items == 0. */
static bool as_number(const struct json *j, double *out)
{
    switch (json_type_of(j)) {
    case J_INT:
    case J_REAL: *out = json_num(j, 0); return true;
    case J_ARR:
    case J_OBJ: *out = (double)json_size(j); return true;
    case J_NONE:
    case J_NULL:
    case J_BOOL:
    case J_STR: return false;
    }
    return false;
}

static bool same(const struct json *a, const struct json *b);

static bool same_object(const struct json *a, const struct json *b)
{
    if (json_size(a) != json_size(b))
        return false;
    for (void *it = json_iter(a); it != NULL; it = json_next(a, it)) {
        const struct json *other = json_get(b, json_iter_key(it));
        if (other == NULL || !same(json_iter_value(it), other))
            return false;
    }
    return true;
}

static bool same_array(const struct json *a, const struct json *b)
{
    if (json_size(a) != json_size(b))
        return false;
    for (size_t i = 0; i < json_size(a); i++) {
        if (!same(json_at(a, i), json_at(b, i)))
            return false;
    }
    return true;
}

static bool is_number(const struct json *j)
{
    return json_type_of(j) == J_INT || json_type_of(j) == J_REAL;
}

/* Nothing counts as null. */
static bool same(const struct json *a, const struct json *b)
{
    double x, y;
    if ((is_number(a) || is_number(b)) && as_number(a, &x) && as_number(b, &y))
        return !(x < y) && !(x > y);
    enum json_type of_a = json_type_of(a) == J_NONE ? J_NULL : json_type_of(a);
    enum json_type of_b = json_type_of(b) == J_NONE ? J_NULL : json_type_of(b);
    if (of_a != of_b)
        return false;
    switch (of_a) {
    case J_STR: return str_eq(json_str(a), json_str(b));
    case J_BOOL: return json_bool(a, false) == json_bool(b, false);
    case J_ARR: return same_array(a, b);
    case J_OBJ: return same_object(a, b);
    case J_NONE:
    case J_NULL:
    case J_INT:
    case J_REAL: return true;
    }
    return false;
}

static bool holds(const struct json *left, const char *op, const struct json *right)
{
    double x, y;
    if (strcmp(op, "==") == 0)
        return same(left, right);
    if (strcmp(op, "!=") == 0)
        return !same(left, right);
    if (!as_number(left, &x) || !as_number(right, &y))
        return false;
    if (op[1] == '=')
        return op[0] == '<' ? x <= y : x >= y;
    return op[0] == '<' ? x < y : x > y;
}

static const struct json *at_path(const struct json *tree, const char *path)
{
    return path == NULL || path[0] == '\0' ? tree : json_path(tree, path + 1);
}

static enum alert_verdict judge_output(const struct alert *a, const struct notice_run *r,
                                       struct buf *why)
{
    if (!notice_succeeded(r))
        return ALERT_SAYS_NOTHING;
    struct json *tree = r->output.p != NULL ? json_parse(r->output, NULL) : NULL;
    struct json *right = json_parse(str_of(a->value), NULL);
    const struct json *left = at_path(tree, a->path);
    bool fires = holds(left, a->op, right);
    if (fires) {
        struct buf shown = {0};
        if (left != NULL)
            json_dump(&shown, left, false);
        else
            buf_puts(&shown, "not there");
        buf_printf(why, "%.*s: output%s is ", (int)r->job.n, r->job.p, a->path);
        notice_line(why, buf_view(&shown), 100);
        buf_finish(&shown);
    }
    json_free(tree);
    json_free(right);
    return fires ? ALERT_FIRES : ALERT_IS_FINE;
}

static bool is_there(const struct json *j)
{
    switch (json_type_of(j)) {
    case J_NONE:
    case J_NULL: return false;
    case J_STR: return json_str(j).n != 0;
    case J_ARR:
    case J_OBJ:
    case J_BOOL:
    case J_INT:
    case J_REAL: return true;
    }
    return false;
}

static enum alert_verdict judge_result(const struct alert *a, const struct notice_run *r,
                                       struct buf *why)
{
    if (!ended_well_or_not(r))
        return ALERT_SAYS_NOTHING;
    struct json *tree =
        notice_succeeded(r) && r->output.p != NULL ? json_parse(r->output, NULL) : NULL;
    bool there = is_there(at_path(tree, a->path));
    json_free(tree);
    if (there)
        return ALERT_IS_FINE;
    buf_printf(why, "%.*s ended without ", (int)r->job.n, r->job.p);
    if (a->path != NULL && a->path[0] != '\0')
        buf_printf(why, "output%s", a->path);
    else
        buf_puts(why, "a result");
    return ALERT_FIRES;
}

static enum alert_verdict judge_missed(const struct notice_run *r, struct buf *why)
{
    if (r->missed > 0) {
        buf_printf(why, "%.*s missed %lld %s", (int)r->job.n, r->job.p, (long long)r->missed,
                   r->missed == 1 ? "tick" : "ticks");
        if (str_is(r->state, "skipped") && r->error.n != 0) {
            buf_puts(why, ": ");
            notice_line(why, r->error, 200);
        }
        return ALERT_FIRES;
    }
    /* Only a tick that came in time says that the schedule is well. */
    bool by_schedule = str_is(json_str(json_path(r->ended, "rec.cause")), "schedule");
    return by_schedule && !str_is(r->state, "skipped") ? ALERT_IS_FINE : ALERT_SAYS_NOTHING;
}

enum alert_verdict alert_judge(const struct alert *a, const struct notice_run *r, struct buf *why)
{
    switch (a->kind) {
    case ALERT_FAILED: return judge_failed(r, why);
    case ALERT_DURATION: return judge_duration(a, r, why);
    case ALERT_OUTPUT: return judge_output(a, r, why);
    case ALERT_RESULT: return judge_result(a, r, why);
    case ALERT_MISSED: return judge_missed(r, why);
    }
    return ALERT_SAYS_NOTHING;
}
