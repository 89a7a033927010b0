/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to core/run's struct start. A path such as .payload.repository.id is looked up by the scanner of the accept path, so a job without gates costs
 * nothing here, and one with them no tree of its input; parameters need one, and are small. */
#include "trigger/start.h"

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pattern.h"
#include "base/suggest.h"
#include "net/loop.h"

static struct jscan *scan; /* one for all: there is one thread */

void start_finish(void)
{
    if (scan != NULL)
        jscan_free(scan);
    scan = NULL;
}

static bool scan_input(struct str input, struct err *e)
{
    if (scan == NULL)
        must((scan = jscan_new()) != NULL);
    return jscan_parse(scan, input, e);
}

/* Parameters. */

static bool has_type(const struct json *v, const char *type)
{
    enum json_type t = json_type_of(v);
    if (strcmp(type, "string") == 0)
        return t == J_STR;
    if (strcmp(type, "boolean") == 0)
        return t == J_BOOL;
    if (strcmp(type, "array") == 0)
        return t == J_ARR;
    if (strcmp(type, "object") == 0)
        return t == J_OBJ;
    if (strcmp(type, "number") == 0)
        return t == J_INT || t == J_REAL;
    return t == J_INT || (t == J_REAL && json_int(v, 0) == json_int(v, 1)); /* integer */
}

static bool is_choice(const struct json *v, const char *choices)
{
    struct json *list = json_parse(str_of(choices), NULL);
    struct buf text = {0};
    struct buf one = {0};
    bool found = false;
    json_dump(&text, v, false);
    for (size_t i = 0; i < json_size(list) && !found; i++) {
        buf_clear(&one);
        json_dump(&one, json_at(list, i), false);
        found = str_eq(buf_view(&text), buf_view(&one));
    }
    buf_finish(&text);
    buf_finish(&one);
    json_free(list);
    return found;
}

static bool check_parameter(const struct job *j, const struct parameter *p, const struct json *v,
                            struct err *e)
{
    if (v == NULL)
        return !p->required || p->standard != NULL ||
               err_fail(e, ERR_UNPROCESSABLE, "job %s: the parameter %s is missing%s%.200s",
                        j->name, p->name, p->description != NULL ? ": " : "",
                        p->description != NULL ? p->description : "");
    if (p->type != NULL && !has_type(v, p->type))
        return err_fail(e, ERR_UNPROCESSABLE, "job %s: the parameter %s must be of type %s",
                        j->name, p->name, p->type);
    if (p->choices != NULL && !is_choice(v, p->choices))
        return err_fail(e, ERR_UNPROCESSABLE, "job %s: the parameter %s must be one of %.300s",
                        j->name, p->name, p->choices);
    return true;
}

static bool check_names(const struct job *j, const struct json *input, struct err *e)
{
    const char **names = mem_zero(j->parameter_n + 1, sizeof *names);
    for (size_t i = 0; i < j->parameter_n; i++)
        names[i] = j->parameters[i].name;
    bool good = true;
    for (void *it = json_iter(input); it != NULL && good; it = json_next(input, it)) {
        const char *key = json_iter_key(it);
        bool known = false;
        for (size_t i = 0; i < j->parameter_n && !known; i++)
            known = strcmp(names[i], key) == 0;
        /* A schedule says of which instant it is; a job need not ask for it. */
        if (known || strcmp(key, "scheduled_at") == 0)
            continue;
        const char *near = suggest(str_of(key), names);
        good = err_fail(e, ERR_UNPROCESSABLE, "job %s has no parameter \"%.100s\"%s%s%s", j->name,
                        key, near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
                        near != NULL ? "\"?" : "");
    }
    mem_free(names);
    return good;
}

static void add_defaults(const struct job *j, const struct json *input, struct str text,
                         struct buf *out)
{
    text = str_trim(text);
    buf_add(out, text.p, text.n - 1); /* without its brace */
    bool empty = json_size(input) == 0;
    for (size_t i = 0; i < j->parameter_n; i++) {
        const struct parameter *p = &j->parameters[i];
        if (p->standard == NULL || json_get(input, p->name) != NULL)
            continue;
        if (!empty)
            buf_char(out, ',');
        empty = false;
        buf_json_str(out, str_of(p->name));
        buf_char(out, ':');
        buf_puts(out, p->standard);
    }
    buf_char(out, '}');
}

bool start_input(const struct job *j, struct str input, struct buf *out, struct err *e)
{
    input = str_trim(input);
    if (input.n == 0)
        input = STR("{}");
    if (!scan_input(input, e))
        return false;
    if (j == NULL || j->parameter_n == 0) {
        buf_str(out, input);
        return true;
    }
    struct json *tree = json_parse(input, e);
    bool good = tree != NULL;
    if (good && j->open && json_type_of(tree) != J_OBJ) {
        buf_str(out, input);
        json_free(tree);
        return true;
    }
    if (good && json_type_of(tree) != J_OBJ)
        good = err_fail(e, ERR_UNPROCESSABLE,
                        "job %s has parameters, so its input must be a JSON object", j->name);
    for (size_t i = 0; good && i < j->parameter_n; i++)
        good = check_parameter(j, &j->parameters[i], json_get(tree, j->parameters[i].name), e);
    good = good && (j->open || check_names(j, tree, e));
    if (good)
        add_defaults(j, tree, input, out);
    json_free(tree);
    return good;
}

/* Gates. */

/* What a path of the configuration points at, as a name: ".a.b" is the pointer "/a/b". Nothing there is a name too. */
static void add_value(struct buf *text, const char *path)
{
    struct buf pointer = {0};
    for (const char *c = path; *c != '\0'; c++)
        buf_puts(&pointer, *c == '.' ? "/" : *c == '/' ? "~1" : (char[]){*c, '\0'});
    if (path[0] != '.')
        buf_puts(&pointer, "");
    struct str value = jscan_pick(scan, pointer.p);
    buf_char(text, ':');
    buf_str(text, (struct str){value.p, value.n < 256 ? value.n : 256});
    buf_finish(&pointer);
}

struct piece {
    size_t at;
    size_t n;
};

static struct piece add_name(struct buf *text, const struct job *j, const char *path)
{
    struct piece p = {.at = text->n};
    buf_puts(text, j->name);
    if (path != NULL)
        add_value(text, path);
    p.n = text->n - p.at;
    return p;
}

static struct str slice(const struct buf *text, struct piece p)
{
    return (struct str){text->p + p.at, p.n};
}

void start_gate(const struct job *j, struct str input, struct gate *out, struct buf *text)
{
    *out = (struct gate){0};
    if (j == NULL)
        return;
    bool paths = j->lane_key != NULL || j->rate_key != NULL || j->debounce_key != NULL;
    if (paths && !scan_input(input, NULL))
        return;
    struct piece lane = {0}, rate = {0}, debounce = {0};
    out->delay_ms = j->delay_ms;
    if (j->lane_limit > 0 || j->overlap_set) {
        lane = add_name(text, j, j->lane_limit > 0 ? j->lane_key : NULL);
        out->lane_limit = j->lane_limit > 0 ? j->lane_limit : 1;
        /* Without a limit of its own every run of a scheduled job is counted, and only ticks look at the count. */
        out->when_full = j->lane_limit > 0 ? OVERLAP_QUEUE : OVERLAP_ALLOW;
    }
    if (j->rate_limit > 0) {
        rate = add_name(text, j, j->rate_key);
        out->rate_limit = j->rate_limit;
        out->rate_period_ms = j->rate_period_ms;
    }
    if (j->debounce_ms > 0) {
        debounce = add_name(text, j, j->debounce_key);
        out->debounce_ms = j->debounce_ms;
        out->debounce_max_ms = j->debounce_max_ms;
    }
    out->lane = slice(text, lane);
    out->rate = slice(text, rate);
    out->debounce = slice(text, debounce);
}

/* The start. */

bool start_key(struct buf *out, const struct pipeline *p, struct str id, struct err *e)
{
    const char *watch = NULL;
    for (size_t i = 0; i < p->n && watch == NULL; i++) {
        if (p->stages[i].after == 0)
            watch = p->stages[i].watch;
    }
    if (watch == NULL || pattern_wilds(str_of(watch)) != 1)
        return err_fail(e, ERR_UNPROCESSABLE,
                        "the first stage of %s does not watch a pattern with one wildcard, so its "
                        "key cannot be chosen here; put the key by /v1/kv",
                        p->name);
    for (const char *c = watch; *c != '\0'; c++) {
        if (*c == '*' || *c == '>')
            buf_str(out, id);
        else
            buf_char(out, *c);
    }
    return true;
}

struct failed {
    start_fn fn;
    void *arg;
    struct err e;
};

static void tell_failed(void *arg)
{
    struct failed *f = arg;
    f->fn(f->arg, START_NEW, (struct str){NULL, 0}, &f->e);
    mem_free(f);
}

static void fail_later(start_fn fn, void *arg, const struct err *e)
{
    struct failed *f = mem_new(struct failed);
    *f = (struct failed){fn, arg, *e};
    loop_defer(tell_failed, f);
}

static void describe(struct buf *out, const struct start_request *r)
{
    if (r->pipeline->job != NULL)
        buf_json_field(out, "job", str_of(r->pipeline->job->name));
    if (r->parent.n != 0)
        buf_json_field(out, "parent", r->parent);
    if (r->depth > 0)
        buf_json_field_int(out, "depth", r->depth);
    if (r->detail.n != 0) {
        if (out->n != 0)
            buf_char(out, ',');
        buf_str(out, r->detail);
    }
}

static void set_overlap(struct gate *g, const struct start_request *r)
{
    const struct job *j = r->pipeline->job;
    if (!r->overlap_set || g->lane.n == 0)
        return;
    if (j != NULL && j->lane_limit > 0 && r->overlap == OVERLAP_ALLOW)
        return;
    g->when_full = r->overlap;
}

/* What is only recorded need not be what the job would have taken. */
static bool take_input(const struct start_request *r, struct buf *out, struct err *e)
{
    if (r->skip.n == 0)
        return start_input(r->pipeline->job, r->input, out, e);
    return start_input(NULL, r->input, out, NULL) || start_input(NULL, STR("{}"), out, e);
}

static bool too_deep(const struct config *c, const struct start_request *r, struct buf *why)
{
    if (r->depth <= c->set.depth_max)
        return false;
    buf_printf(why, "depth limit: jobs started jobs %d times in a row (setting depth_max)",
               r->depth - 1);
    return true;
}

void start_run(struct config *c, const struct start_request *r, start_fn fn, void *arg)
{
    struct err e;
    struct start s = {.pipeline = str_of(r->pipeline->name),
                      .cause = r->cause,
                      .once = r->once,
                      .received_ms = clock_wall_us() / 1000};
    struct buf input = {0}, key = {0}, text = {0}, detail = {0}, why = {0};
    id_make(s.run_id, clock_wall_us());
    if (!take_input(r, &input, &e) || !start_key(&key, r->pipeline, str_of(s.run_id), &e)) {
        fail_later(fn, arg, &e);
    } else {
        describe(&detail, r);
        start_gate(r->pipeline->job, buf_view(&input), &s.gate, &text);
        set_overlap(&s.gate, r);
        if (r->delay_ms >= 0)
            s.gate.delay_ms = r->delay_ms;
        s.gate.priority = r->priority;
        s.gate.skip = too_deep(c, r, &why) ? buf_view(&why) : r->skip;
        s.gate.tick = r->tick;
        s.gate.due_ms = r->due_ms;
        s.gate.next_ms = r->next_ms;
        s.gate.sum = r->sum;
        s.gate.once_ms = r->once_ms;
        s.key = buf_view(&key);
        s.value = buf_view(&input);
        s.detail = buf_view(&detail);
        s.size = (int64_t)input.n;
        run_begin(&s, fn, arg);
    }
    buf_finish(&input);
    buf_finish(&key);
    buf_finish(&text);
    buf_finish(&detail);
    buf_finish(&why);
}
