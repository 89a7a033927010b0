/* SPDX-License-Identifier: Apache-2.0 */
/* Commands with `keep: true`: a process that reads a JSON line for each value and prints a JSON line for each, in the same order. Starting a
 * Python program takes some 30 ms; a line through one that runs takes 0.05.
 *
 * A pool belongs to a stage and what it starts; when either changes, or a file named in the command was edited, the next claim goes to a
 * new pool and the old one ends with its last answer. A line too many would shift every later answer by one value, so a process that
 * prints unasked is killed. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "net/proc.h"
#include "work/pool.h"
#include "work/runner.h"
#include "work/value.h"

struct keep {
    char *stage; /* its id */
    char **argv;
    char **env;
    char *cwd;
    int concurrency;
    uint64_t stamp; /* of the files named in argv */
};

static struct list pools = {&pools, &pools};

/* Changes when a file that the command names is edited. */
static uint64_t stamp(const struct work *k)
{
    uint64_t sum = 0;
    for (size_t i = 0; k->argv[i] != NULL; i++) {
        struct stat st;
        char *path = k->argv[i][0] == '/' || k->cwd == NULL
                         ? mem_strdup(k->argv[i])
                         : mem_format("%s/%s", k->cwd, k->argv[i]);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            sum = sum * 1000003 + (uint64_t)st.st_mtim.tv_sec * 1000000007 +
                  (uint64_t)st.st_mtim.tv_nsec + (uint64_t)st.st_ino + (uint64_t)st.st_size;
        mem_free(path);
    }
    return sum;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool serves(const struct keep *k, const struct stage *s)
{
    return s->work.kind == WORK_COMMAND && s->work.keep && strcmp(k->stage, s->id) == 0 &&
           runner_list_eq(k->argv, s->work.argv) && runner_list_eq(k->env, s->work.env) &&
           same_text(k->cwd, s->work.cwd) && k->concurrency == s->concurrency;
}

static int max_workers(const struct pool *p)
{
    const struct keep *k = p->own;
    return k->concurrency > 0 ? k->concurrency : (int)runner_settings()->command_concurrency;
}

static struct proc *start(struct worker *w, const struct proc_events *ev, struct err *e)
{
    const struct keep *k = w->pool->own;
    size_t n = 0;
    while (k->env != NULL && k->env[n] != NULL)
        n++;
    char **env = mem_zero(n + 2, sizeof(char *));
    char *stage = mem_format("HOOKMESH_STAGE=%s", k->stage);
    env[0] = stage;
    for (size_t i = 0; i < n; i++)
        env[1 + i] = k->env[i];
    struct proc_options options = {.argv = k->argv,
                                   .env = env,
                                   .cwd = k->cwd,
                                   .kill_grace_ms = runner_kill_grace_ms(),
                                   .die_with_us = true};
    struct proc *proc = proc_spawn(&options, ev, w, e);
    mem_free(stage);
    mem_free(env);
    w->own = mem_new(struct buf);
    w->ready = true; /* lines may wait in the pipe until it reads */
    return proc;
}

static bool encode(struct worker *w, const struct claim *c, uint32_t number, struct buf *out,
                   struct err *e)
{
    (void)w;
    (void)number;
    if (!value_input(out, c, true, e))
        return false;
    buf_char(out, '\n');
    return true;
}

static void on_line(struct worker *w, struct str line)
{
    const struct claim *c = pool_oldest(w);
    struct err e;
    if (c == NULL) { /* cancelled: nobody wants to know */
        pool_answer(w, CLAIM_OK, (struct str){NULL, 0}, NULL);
        return;
    }
    if (!value_output(&line, c->stage, "the command", &e)) {
        pool_answer(w, CLAIM_FAIL, (struct str){NULL, 0}, e.text);
        return;
    }
    struct str error = value_error(line);
    if (error.p != NULL)
        pool_answer(w, CLAIM_FAIL, (struct str){NULL, 0}, error.p);
    else
        pool_answer(w, CLAIM_OK, line, NULL);
}

static void on_bytes(struct worker *w, struct str bytes)
{
    struct buf *part = w->own;
    const char *newline;
    while ((newline = memchr(bytes.p, '\n', bytes.n)) != NULL) {
        struct str line = {bytes.p, (size_t)(newline - bytes.p)};
        bytes = (struct str){newline + 1, bytes.n - line.n - 1};
        if (w->head == w->tail) {
            pool_breach(w, CLAIM_FAIL, "the command printed a line more than it was asked for");
            return;
        }
        if (part->n != 0) {
            buf_str(part, line);
            line = buf_view(part);
        }
        on_line(w, line);
        buf_clear(part);
        if (bytes.n == 0)
            return;
    }
    buf_str(part, bytes);
    if (part->n > (size_t)runner_settings()->output_max)
        pool_breach(w, CLAIM_FAIL, "the command printed more than %lld bytes (setting output_max)",
                    (long long)runner_settings()->output_max);
}

static void on_ended(struct worker *w)
{
    struct buf *part = w->own;
    if (part != NULL)
        buf_finish(part);
    mem_free(part);
}

static void on_gone(struct pool *p)
{
    struct keep *k = p->own;
    mem_free(k->stage);
    mem_free(k->cwd);
    runner_list_free(k->argv);
    runner_list_free(k->env);
    mem_free(k);
}

static const struct pool_kind kind = {
    .noun = "the command",
    .window =
        1, /* so that stderr and a death belong to the value at work; 64 would double the rate */
    .ahead_us = 0,
    .max_workers = max_workers,
    .start = start,
    .encode = encode,
    .on_bytes = on_bytes,
    .on_ended = on_ended,
    .on_gone = on_gone,
};

static struct pool *pool_for(const struct stage *s)
{
    list_each(at, &pools) {
        struct pool *p = container_of(at, struct pool, node);
        if (serves(p->own, s))
            return p;
    }
    struct keep *k = mem_new(struct keep);
    k->stage = mem_strdup(s->id);
    k->argv = runner_list_dup(s->work.argv);
    k->env = runner_list_dup(s->work.env);
    k->cwd = mem_strdup(s->work.cwd);
    k->concurrency = s->concurrency;
    k->stamp = stamp(&s->work);
    struct pool *p = pool_new(&kind, s->id, k);
    list_append(&pools, &p->node);
    return p;
}

void keep_run(struct claim *c)
{
    pool_add(pool_for(c->stage), c);
}

void keep_flush(void)
{
    list_each_safe(at, &pools)
        pool_pump(container_of(at, struct pool, node));
}

static bool is_wanted(const struct keep *k, const struct config *c)
{
    for (size_t i = 0; i < c->pipeline_n; i++) {
        for (size_t j = 0; j < c->pipelines[i].n; j++) {
            const struct stage *s = &c->pipelines[i].stages[j];
            if (serves(k, s))
                return stamp(&s->work) == k->stamp;
        }
    }
    return false;
}

void keep_configure(void)
{
    list_each_safe(at, &pools) {
        struct pool *p = container_of(at, struct pool, node);
        if (!is_wanted(p->own, runner_config()))
            pool_retire(p);
    }
}
