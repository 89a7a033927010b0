/* SPDX-License-Identifier: Apache-2.0 */
/* Runners without Redis: this stands where core/claim, core/event, core/kv, core/run and core/store stand. Claims are made here from a real
 * configuration, given to the runner, and what becomes of them is kept for the test to look at. Included by one file of a program.
 *
 * The test program is also its own `extension-host`, as hookmesh is. */
#ifndef UNIT_WORK_HARNESS_H
#define UNIT_WORK_HARNESS_H

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "config/config.h"
#include "core/claim.h"
#include "core/event.h"
#include "core/kv.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"
#include "work/work.h"

enum { GIVEN_MAX = 2000000, PATIENCE_MS = 30000 };

struct given {
    struct claim claim;
    char key[64];
    char run[64];
    bool done;
    int order; /* in which claims were finished */
    enum claim_outcome outcome;
    char *output;
    char *error;
    int64_t retry_after_ms;
};

static struct {
    char dir[64];
    struct config *config;
    const struct claim_runner *runners[WORK_ALERT + 1];
    struct given *given[GIVEN_MAX];
    int given_n;
    int done_n;
    int wait_for;
    const char *wait_for_log;
    struct buf log; /* "run|line\n" */
    struct timer *patience;
    bool stopped;
    struct buf kv_key; /* the key that was put, or is there to be read */
    struct buf kv_value;
    const char *view; /* what run_get tells; NULL: ERR_NOT_FOUND */
    bool redis_away;  /* kv_put, kv_get and run_get fail */
} harness;

void claim_register(enum work_kind kind, const struct claim_runner *r)
{
    harness.runners[kind] = r;
}

void claim_finish(struct claim *c, enum claim_outcome outcome, struct str output, const char *error,
                  int64_t retry_after_ms)
{
    struct given *g = container_of(c, struct given, claim);
    ck_assert_msg(!g->done, "claim %s was finished twice", g->key);
    g->done = true;
    g->order = harness.done_n++;
    g->outcome = outcome;
    g->output = mem_dup(output.n != 0 ? output.p : "", output.n);
    g->error = mem_strdup(error);
    g->retry_after_ms = retry_after_ms;
    if (harness.done_n >= harness.wait_for)
        loop_stop();
}

void event_log_line(struct str run, struct str stage, struct str line)
{
    ck_assert(stage.n != 0);
    ck_assert(str_utf8_valid(line));
    buf_str(&harness.log, run);
    buf_char(&harness.log, '|');
    buf_str(&harness.log, line);
    buf_char(&harness.log, '\n');
    if (harness.wait_for_log != NULL && strstr(harness.log.p, harness.wait_for_log) != NULL)
        loop_stop();
}

/* Redis, as far as runners ask it: one key, one run. Answers come in the next turn. */

struct harness_call {
    kv_put_fn put;
    kv_get_fn get;
    run_json_fn json;
    redis_fn call;
    void *arg;
};

static void harness_answer(void *arg)
{
    static const struct err away = {ERR_REDIS, "Redis is not reachable"};
    static const struct err gone = {ERR_NOT_FOUND, "there is no such run"};
    struct harness_call *c = arg;
    const struct err *e = harness.redis_away ? &away : NULL;
    const int64_t version = 7;
    struct kv_value v = {.key = buf_view(&harness.kv_key),
                         .value = buf_view(&harness.kv_value),
                         .version = harness.kv_value.n != 0};
    if (c->put != NULL)
        c->put(c->arg, 1, &version, e);
    else if (c->get != NULL)
        c->get(c->arg, 1, &v, e);
    else if (c->json != NULL)
        c->json(c->arg, str_of(harness.view), (struct str){NULL, 0},
                e == NULL && harness.view == NULL ? &gone : e);
    else if (c->call != NULL)
        c->call(c->arg, NULL, &away);
    mem_free(c);
}

static void harness_ask(struct harness_call call)
{
    struct harness_call *c = mem_new(struct harness_call);
    *c = call;
    loop_defer(harness_answer, c);
}

void kv_put(size_t n, const struct kv_put *puts, kv_put_fn fn, void *arg)
{
    ck_assert_uint_eq(n, 1);
    buf_clear(&harness.kv_key);
    buf_clear(&harness.kv_value);
    buf_str(&harness.kv_key, puts->key);
    buf_str(&harness.kv_value, puts->value);
    harness_ask((struct harness_call){.put = fn, .arg = arg});
}

void kv_get(size_t n, const struct str *keys, kv_get_fn fn, void *arg)
{
    ck_assert_uint_eq(n, 1);
    ck_assert(str_eq(*keys, buf_view(&harness.kv_key)));
    harness_ask((struct harness_call){.get = fn, .arg = arg});
}

void run_get(struct str id, run_json_fn fn, void *arg)
{
    ck_assert(id.n != 0);
    harness_ask((struct harness_call){.json = fn, .arg = arg});
}

void store_call(const char *function, size_t argc, const struct str *argv, redis_fn fn, void *arg)
{
    (void)function;
    (void)argc;
    (void)argv;
    harness_ask((struct harness_call){.call = fn, .arg = arg});
}

void store_on_state(store_state_fn fn, void *arg)
{
    (void)fn;
    (void)arg;
}

__attribute__((constructor)) static void be_the_helper(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "extension-host") == 0)
        exit(work_extension_host_main(argc, argv));
}

static void harness_out_of_patience(void *unused)
{
    (void)unused;
    ck_abort_msg("waited too long: %d of %d claims are finished; log:\n%s", harness.done_n,
                 harness.wait_for, harness.log.n != 0 ? harness.log.p : "");
}

static void harness_file(const char *name, const char *text)
{
    char *path = mem_format("%s/%s", harness.dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    mem_free(path);
}

/* Loads the YAML (with the files written before) and makes it the live configuration. */
static void harness_configure(const char *yaml)
{
    harness_file("pipeline.yaml", yaml);
    struct buf report = {0};
    struct config *c = config_load(harness.dir, NULL, false, &report);
    ck_assert_msg(c != NULL, "%s", report.n != 0 ? report.p : "");
    buf_finish(&report);
    work_configure(c);
    config_unref(harness.config);
    harness.config = c;
}

static void harness_start(const char *yaml)
{
    struct err e;
    strcpy(harness.dir, "/tmp/hookmesh-work-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(harness.dir));

    ck_assert(loop_start(&e));
    ck_assert(work_start(&e));
    harness.patience = timer_new(harness_out_of_patience, NULL);
    if (yaml != NULL)
        harness_configure(yaml);
}

static const struct stage *harness_stage(const char *name)
{
    for (size_t i = 0; i < harness.config->pipeline_n; i++) {
        const struct pipeline *p = &harness.config->pipelines[i];
        for (size_t j = 0; j < p->n; j++) {
            if (strcmp(p->stages[j].name, name) == 0)
                return &p->stages[j];
        }
    }
    ck_abort_msg("no stage %s", name);
    return NULL;
}

static struct given *harness_claim(const char *stage, const char *value)
{
    struct given *g = mem_new(struct given);
    int n = harness.given_n++;
    harness.given[n] = g;
    snprintf(g->key, sizeof g->key, "in.%d.raw", n);
    snprintf(g->run, sizeof g->run, "run-%d", n);
    g->claim.stage = harness_stage(stage);
    g->claim.key = str_of(g->key);
    g->claim.run = str_of(g->run);
    g->claim.value = str_of(value);
    g->claim.version = 1;
    g->claim.attempt = 1;
    g->claim.claimed_us = loop_now_us();
    return g;
}

static void harness_give_all(struct given *const *given, size_t n)
{
    struct claim **claims = mem_zero(n, sizeof *claims);
    for (size_t i = 0; i < n; i++)
        claims[i] = &given[i]->claim;
    harness.runners[claims[0]->stage->work.kind]->run(claims, n);
    mem_free(claims);
}

static struct given *harness_give(const char *stage, const char *value)
{
    struct given *g = harness_claim(stage, value);
    harness_give_all(&g, 1);
    return g;
}

/* Runs the loop until n claims in all are finished. */
static void harness_wait(int n)
{
    harness.wait_for = n;
    timer_arm(harness.patience, PATIENCE_MS);
    while (harness.done_n < n)
        loop_run();
    timer_disarm(harness.patience);
}

static void harness_wait_all(void)
{
    harness_wait(harness.given_n);
}

__attribute__((unused)) static void harness_wait_log(const char *text)
{
    harness.wait_for_log = text;
    timer_arm(harness.patience, PATIENCE_MS);
    while (harness.log.n == 0 || strstr(harness.log.p, text) == NULL)
        loop_run();
    timer_disarm(harness.patience);
    harness.wait_for_log = NULL;
}

__attribute__((unused)) static struct given *harness_do(const char *stage, const char *value)
{
    struct given *g = harness_give(stage, value);
    harness_wait_all();
    return g;
}

__attribute__((unused)) static void harness_cancel(struct given *g)
{
    harness.runners[g->claim.stage->work.kind]->cancel(&g->claim);
}

static void harness_on_stopped(void *unused)
{
    (void)unused;
    harness.stopped = true;
    loop_stop();
}

static int harness_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

/* After work_stop. */
static void harness_stopped(void)
{
    timer_arm(harness.patience, PATIENCE_MS);
    while (!harness.stopped)
        loop_run();
    timer_free(harness.patience);
    ck_assert_int_eq(harness.done_n, harness.given_n);
    loop_finish();
    for (int i = 0; i < harness.given_n; i++) {
        mem_free(harness.given[i]->output);
        mem_free(harness.given[i]->error);
        mem_free(harness.given[i]);
    }
    config_unref(harness.config);
    buf_finish(&harness.log);
    buf_finish(&harness.kv_key);
    buf_finish(&harness.kv_value);
    ck_assert_int_eq(nftw(harness.dir, harness_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static void harness_stop(void)
{
    work_stop(harness_on_stopped, NULL);
    harness_stopped();
}

static const char *const outcome_names[] = {"OK", "RETRY", "FAIL", "TIMEOUT"};

#define assert_given(g, wanted, part)                                                              \
    do {                                                                                           \
        const struct given *g_ = (g);                                                              \
        ck_assert_msg(g_->done, "%s is not finished", g_->key);                                    \
        const char *text_ = g_->outcome == CLAIM_OK ? g_->output : g_->error;                      \
        ck_assert_msg(g_->outcome == (wanted), "%s: %s, not %s: %s", g_->key,                      \
                      outcome_names[g_->outcome], outcome_names[wanted], text_);                   \
        ck_assert_msg(strstr(text_, part) != NULL, "%s: \"%s\" is not in: %s", g_->key, part,      \
                      text_);                                                                      \
    } while (0)
#define assert_log(part)                                                                           \
    ck_assert_msg(harness.log.n != 0 && strstr(harness.log.p, part) != NULL,                       \
                  "\"%s\" is not in the log:\n%s", part, harness.log.n != 0 ? harness.log.p : "")

#endif
