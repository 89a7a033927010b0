/* SPDX-License-Identifier: Apache-2.0 */
/* The token says who asks; all else is looked up when it asks, in the record of its run and in the live configuration: a run that has ended starts nothing
 * any more, whoever kept its token, and a right that was taken away is gone at once. */
#include "handlers/caller.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "core/run.h"
#include "core/store.h"
#include "handlers/auth.h"
#include "handlers/result.h"

struct question {
    struct caller *caller;
    const struct config *config; /* the asker's */
    const struct pipeline *pipeline;
    caller_fn fn;
    void *arg;
};

static bool read_caller(struct http_req *q, struct caller *c)
{
    struct token t;
    *c = (struct caller){.is_agent = auth_agent(q, &t)};
    if (c->is_agent) {
        c->run = mem_dup(t.run.p, t.run.n);
        c->agent = mem_dup(t.agent.p, t.agent.n);
    }
    token_finish(&t);
    return c->is_agent;
}

void caller_finish(struct caller *c)
{
    mem_free(c->run);
    mem_free(c->agent);
    mem_free(c->detail);
    mem_free(c->refusal);
}

static bool is_allowed(const struct agent *a, const struct pipeline *p)
{
    const char *name = p->job != NULL ? p->job->name : p->name;
    if (a == NULL || !a->work.triggers)
        return false;
    for (size_t i = 0; a->allowed_jobs != NULL && a->allowed_jobs[i] != NULL; i++) {
        if (strcmp(a->allowed_jobs[i], name) == 0)
            return true;
    }
    return false;
}

static void judge_job(struct question *k)
{
    struct caller *c = k->caller;
    const struct agent *a = config_agent(k->config, str_of(c->agent));
    const char *name = k->pipeline->job != NULL ? k->pipeline->job->name : k->pipeline->name;
    struct buf detail = {0};
    buf_json_field(&detail, "by", str_of(c->agent));
    c->detail = buf_take(&detail);
    if (!is_allowed(a, k->pipeline))
        c->refusal = mem_format("the agent %s may not start the job %s: it is not among its "
                                "allowed_jobs",
                                c->agent, name);
}

static void on_parent(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct question *k = arg;
    struct err gone;
    struct json *run = e == NULL ? json_parse(json, NULL) : NULL;
    if (e == NULL && !result_is_end(json_str(json_get(run, "state")))) {
        k->caller->depth = (int)json_int(json_get(run, "depth"), 0) + 1;
        judge_job(k);
    } else if (e == NULL || e->code == ERR_NOT_FOUND) {
        err_fail(&gone, ERR_FORBIDDEN,
                 "the run %.100s, whose token this is, has ended; only a run that goes on may "
                 "start others",
                 k->caller->run);
        e = &gone;
    }
    k->fn(k->arg, e);
    json_free(run);
    mem_free(k);
}

void caller_judge(struct caller *c, struct http_req *q, const struct config *config,
                  const struct pipeline *p, caller_fn fn, void *arg)
{
    if (!read_caller(q, c)) {
        fn(arg, NULL);
        return;
    }
    struct question *k = mem_new(struct question);
    *k = (struct question){c, config, p, fn, arg};
    run_get(str_of(c->run), on_parent, k);
}

struct sight {
    struct http_req *q;
    struct caller caller;
    http_handler_fn then;
};

static void on_run(void *arg, struct str json, struct str next, const struct err *e)
{
    (void)next;
    struct sight *s = arg;
    struct json *run = e == NULL ? json_parse(json, NULL) : NULL;
    if (e != NULL)
        http_reply_err(s->q, e);
    else if (str_is(json_str(json_get(run, "parent")), s->caller.run) ||
             str_is(json_str(json_get(run, "id")), s->caller.run))
        s->then(s->q);
    else
        http_problem(s->q, ERR_NOT_FOUND, "the run %.100s started no such run", s->caller.run);
    json_free(run);
    caller_finish(&s->caller);
    mem_free(s);
}

void caller_sees_run(struct http_req *q, http_handler_fn then)
{
    struct caller c;
    if (!read_caller(q, &c)) {
        then(q);
        return;
    }
    struct sight *s = mem_new(struct sight);
    *s = (struct sight){q, c, then};
    run_get(http_segment(q, "id"), on_run, s);
}
