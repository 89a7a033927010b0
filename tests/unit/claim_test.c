/* SPDX-License-Identifier: Apache-2.0 */
/* The reactive core against a real Redis, with a runner of the test's own: what is put is worked on, committed once and feeds the next stage. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/claim.h"
#include "core/event.h"
#include "core/kv.h"
#include "core/run.h"
#include "core/stage.h"
#include "core/store.h"
#include "net/loop.h"

static char dir[64];
static char url[128];
static pid_t redis;
static struct config *config;
static struct stage *stages;

/* The runner: what it does with each claim is up to the test. */
static void (*work)(struct claim *c);

static void run_claims(struct claim *const *claims, size_t n)
{
    for (size_t i = 0; i < n; i++)
        work(claims[i]);
}

static const struct claim_runner runner = {.run = run_claims, .default_concurrency = 1000};

static void start_redis(void)
{
    char socket[128];
    snprintf(socket, sizeof socket, "%s/redis.sock", dir);
    redis = fork();
    ck_assert_int_ge(redis, 0);
    if (redis == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        freopen("/dev/null", "w", stdout);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
               "--dir", dir, "--appendonly", "yes", NULL);
        _exit(127);
    }
}

static void stop_redis(void)
{
    kill(redis, SIGTERM);
    waitpid(redis, NULL, 0);
}

static void on_give_up(void *arg)
{
    (void)arg;
    ck_abort_msg("nothing happened for 30 s");
}

static struct timer *give_up;

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/hm-claim-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(url, sizeof url, "unix://%s/redis.sock", dir);
    start_redis();
    log_setup(LOG_ERROR, false, 2);
    struct err e;
    struct buf report = {0};
    ck_assert(loop_start(&e));
    give_up = timer_new(on_give_up, NULL);
    timer_arm(give_up, 30000);
    char conf[128];
    snprintf(conf, sizeof conf, "%s/conf", dir);
    ck_assert_int_eq(mkdir(conf, 0700), 0);
    char file[160];
    snprintf(file, sizeof file, "%s/p.yaml", conf);
    FILE *f = fopen(file, "w");
    fputs("pipelines:\n  - name: doc\n    stages:\n"
          "      - {name: one, watch: \"d.*.raw\", command: [x], write: \"d.{1}.one\", retry: "
          "{max_attempts: 2, backoff: fixed, initial_delay: 10ms, max_delay: 10ms}}\n"
          "      - {name: two, watch: \"d.*.one\", also: [\"d.{1}.raw\"], command: [x], write: "
          "\"d.{1}.two\"}\n"
          "settings: {lease: 200ms, sweep: 300ms}\n",
          f);
    fclose(f);
    config = config_load(conf, NULL, false, &report);
    ck_assert_msg(config != NULL, "%s", report.p);
    stages = config->pipelines[0].stages;
    ck_assert(store_start(url, config, &e));
    claim_register(WORK_COMMAND, &runner);
    ck_assert(claim_start(dir, &e));
}

static void end(void *arg)
{
    (void)arg;
    store_stop();
    loop_stop();
}

static void finish(void)
{
    claim_stop(1000, end, NULL);
}

static void teardown(void)
{
    timer_free(give_up);
    stage_forget();
    loop_finish();
    config_unref(config);
    stop_redis();
    char *rm = mem_format("rm -rf %s", dir);
    ck_assert_int_eq(system(rm), 0);
    mem_free(rm);
}

static size_t ones, twos, wanted;
static size_t done;

static void copy_work(struct claim *c)
{
    struct buf out = {0};
    if (c->stage == &stages[0]) {
        ones++;
        buf_printf(&out, "{\"was\":%.*s}", (int)c->value.n, c->value.p);
    } else {
        twos++;
        ck_assert_uint_eq(c->also_n, 1);
        buf_printf(&out, "[%.*s,%.*s]", (int)c->value.n, c->value.p, (int)c->also[0].n,
                   c->also[0].p);
    }
    claim_finish(c, CLAIM_OK, buf_view(&out), NULL, -1);
    buf_finish(&out);
}

static void on_put(void *arg, size_t n, const int64_t *versions, const struct err *e)
{
    (void)arg;
    ck_assert_msg(e == NULL, "%s", e != NULL ? e->text : "");
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(versions[i], 1);
}

static void on_value(void *arg, size_t n, const struct kv_value *v, const struct err *e)
{
    (void)arg;
    ck_assert_ptr_null(e);
    ck_assert_uint_eq(n, 1);
    ck_assert(str_is(v->value, "[{\"was\":7},7]"));
    finish();
}

static void on_event(void *arg, const struct event *ev, const struct err *e)
{
    (void)arg;
    if (e != NULL || !str_is(ev->kind, "step.done") || !str_ends(ev->key, ".two"))
        return;
    if (++done < wanted)
        return;
    struct str key = STR("d.0.two");
    kv_get(1, &key, on_value, NULL);
}

static void on_up_put(void *arg, bool up)
{
    (void)arg;
    if (!up)
        return;
    for (size_t at = 0; at < wanted; at += 100) {
        struct kv_put puts[100];
        char names[100][32];
        size_t n = 0;
        for (; n < 100 && at + n < wanted; n++) {
            snprintf(names[n], sizeof names[n], "d.%zu.raw", at + n);
            puts[n] = (struct kv_put){str_of(names[n]), STR("7"), KV_ANY};
        }
        kv_put(n, puts, on_put, NULL);
    }
}

START_TEST(documents_flow_through_both_stages_once)
{
    wanted = 1000;
    work = copy_work;
    event_read(0, on_event, NULL);
    store_on_state(on_up_put, NULL);
    loop_run();
    ck_assert_uint_eq(ones, 1000);
    ck_assert_uint_eq(twos, 1000);
}
END_TEST

Suite *claim_suite(void)
{
    Suite *s = suite_create("claim");
    TCase *t = tcase_create("claim");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, documents_flow_through_both_stages_once);
    suite_add_tcase(s, t);
    return s;
}
