/* SPDX-License-Identifier: Apache-2.0 */
/* One process a value: the input on stdin, one JSON value on stdout, log lines on stderr, the exit status says
 * whether it went well. A status that isn't 0 is tried again (the program may not have reached something), unless it is one of those that say that
 * it will not get better; a result that is no JSON is not: the same program would print it again.
 *
 * Output is gathered up to output_max, beyond which proc kills the group, so a program that prints without end costs no memory. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "net/proc.h"
#include "work/lines.h"
#include "work/pool.h"
#include "work/runner.h"
#include "work/token.h"
#include "work/value.h"

struct command {
    struct list node;
    struct claim *claim; /* NULL: cancelled */
    struct proc *proc;
    struct buf out;
    struct lines lines;
    int64_t timeout_ms;
};

static struct list running = {&running, &running};

static struct lines_to lines_to(const struct command *m)
{
    return (struct lines_to){m->claim->run, str_of(m->claim->stage->id),
                             runner_settings()->run_log_max};
}

static void on_stdout(void *arg, struct str bytes)
{
    struct command *m = arg;
    buf_str(&m->out, bytes);
}

static void on_stderr(void *arg, struct str bytes)
{
    struct command *m = arg;
    if (m->claim == NULL)
        return;
    struct lines_to to = lines_to(m);
    lines_feed(&m->lines, &to, bytes);
}

/* How the end of the process is to be judged; the text says why, unless it is CLAIM_OK. */
static enum claim_outcome judge(const struct command *m, const struct proc_exit *x,
                                struct str *output, struct buf *why)
{
    if (x->timed_out) {
        buf_puts(why, "the command took longer than ");
        clock_format_duration(why, m->timeout_ms);
        buf_puts(why, " and was killed");
        return CLAIM_TIMEOUT;
    }
    if (x->overflow) {
        buf_printf(why, "the command printed more than %lld bytes (setting output_max)",
                   (long long)runner_settings()->output_max);
        return CLAIM_FAIL;
    }
    if (x->signal != 0 || x->code != 0) {
        buf_puts(why, "the command ");
        runner_describe_exit(why, x, lines_tail(&m->lines));
        return runner_exit_outcome(x);
    }
    struct err e;
    *output = buf_view(&m->out);
    if (value_output(output, m->claim->stage, "the command", &e))
        return CLAIM_OK;
    buf_puts(why, e.text);
    return CLAIM_FAIL;
}

static void on_exit(void *arg, const struct proc_exit *x)
{
    struct command *m = arg;
    list_remove(&m->node);
    if (m->claim != NULL) {
        struct lines_to to = lines_to(m);
        lines_end(&m->lines, &to);
        struct str output = {NULL, 0};
        struct buf why = {0};
        enum claim_outcome outcome = judge(m, x, &output, &why);
        claim_finish(m->claim, outcome, output, outcome == CLAIM_OK ? NULL : why.p, -1);
        buf_finish(&why);
    }
    buf_finish(&m->out);
    lines_finish(&m->lines);
    mem_free(m);
    runner_busy(-1);
}

/* What an agent that may start jobs needs for it. false: not yet known. */
static bool add_token(char **env, size_t *n, const struct claim *c)
{
    const struct work *work = &c->stage->work;
    if (!work->triggers || work->agent == NULL)
        return true;
    struct buf url = {0};
    struct buf token = {0};
    bool known = token_for_work(&url, &token, c->run, work->agent, value_work_ms(c->stage));
    if (known) {
        env[(*n)++] = mem_format("HOOKMESH_URL=%s", url.p);
        env[(*n)++] = mem_format("HOOKMESH_TOKEN=%s", token.p);
    }
    buf_finish(&url);
    buf_finish(&token);
    return known;
}

/* HOOKMESH_... for this claim, before what the configuration gives. NULL: one of them is not known yet. */
static char **environment(const struct claim *c)
{
    char *const *given = c->stage->work.env;
    size_t n = 0;
    while (given != NULL && given[n] != NULL)
        n++;
    char **env = mem_zero(n + 7, sizeof(char *));
    size_t at = 0;
    env[at++] = mem_format("HOOKMESH_RUN=%.*s", (int)c->run.n, c->run.p);
    env[at++] = mem_format("HOOKMESH_KEY=%.*s", (int)c->key.n, c->key.p);
    env[at++] = mem_format("HOOKMESH_STAGE=%s", c->stage->id);
    env[at++] = mem_format("HOOKMESH_ATTEMPT=%d", c->attempt);
    if (!add_token(env, &at, c)) {
        runner_list_free(env);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        env[at++] = mem_strdup(given[i]);
    return env;
}

static void start(struct claim *c)
{
    static const struct proc_events events = {on_stdout, on_stderr, on_exit};
    struct buf input = {0};
    struct err e;
    if (!value_input(&input, c, false, &e)) {
        claim_finish(c, CLAIM_FAIL, (struct str){NULL, 0}, e.text, -1);
        buf_finish(&input);
        return;
    }
    char **env = environment(c);
    if (env == NULL) {
        claim_finish(c, CLAIM_RETRY, (struct str){NULL, 0},
                     "the secret for the run's token has not come from Redis yet", -1);
        buf_finish(&input);
        return;
    }
    struct command *m = mem_new(struct command);
    m->claim = c;
    m->timeout_ms = value_timeout_ms(c->stage);
    list_init(&m->node);
    struct proc_options options = {
        .argv = c->stage->work.argv,
        .env = env,
        .cwd = c->stage->work.cwd,
        .timeout_ms = m->timeout_ms,
        .kill_grace_ms = runner_kill_grace_ms(),
        .stdout_max = (size_t)runner_settings()->output_max,
        .die_with_us = true,
    };
    m->proc = proc_spawn(&options, &events, m, &e);
    runner_list_free(env);
    if (m->proc == NULL) {
        mem_free(m);
        claim_finish(c, runner_spawn_outcome(&e), (struct str){NULL, 0}, e.text, -1);
    } else {
        runner_busy(1);
        list_append(&running, &m->node);
        c->runner_data = m;
        proc_write(m->proc, buf_view(&input));
        proc_close_stdin(m->proc);
    }
    buf_finish(&input);
}

static void run(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (claims[i]->stage->work.keep)
            keep_run(claims[i]);
        else
            start(claims[i]);
    }
    keep_flush();
}

static void cancel(struct claim *c)
{
    if (c->stage->work.keep) {
        pool_cancel(c);
        return;
    }
    struct command *m = c->runner_data;
    m->claim = NULL;
    proc_kill(m->proc);
    runner_cancelled(c);
}

void command_stop(void)
{
    list_each_safe(at, &running)
        proc_kill(container_of(at, struct command, node)->proc);
}

const struct claim_runner command_runner = {.run = run, .cancel = cancel, .announce = true};
