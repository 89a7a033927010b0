/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules with real servers on a real Redis: ticks, several servers, clocks that differ, overlap, misfires, reload; and the command line's view of them. */
#include "flow/world.h"

#include <glob.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/mem.h"

Suite *cron_suite(void);

/* Runs of a schedule, by what the API lists. */

struct wanted {
    struct world *w;
    const char *schedule;
    const char *state; /* NULL: any */
    int n;
};

static bool is_wanted(const struct wanted *q, const struct json *run)
{
    return str_is(json_str(json_get(run, "schedule")), q->schedule) &&
           (q->state == NULL || str_is(json_str(json_get(run, "state")), q->state));
}

static int count_runs(const struct wanted *q)
{
    struct world_reply r = world_get_json(q->w, "/v1/runs?limit=1000");
    int n = 0;
    for (size_t i = 0; i < json_size(r.json); i++)
        n += is_wanted(q, json_at(r.json, i));
    world_reply_finish(&r);
    return n;
}

static bool are_there(void *arg)
{
    const struct wanted *q = arg;
    return count_runs(q) >= q->n;
}

static void wait_runs(struct world *w, const char *schedule, const char *state, int n)
{
    struct wanted q = {w, schedule, state, n};
    if (!world_wait_until(are_there, &q, WORLD_TIMEOUT_MS))
        world_fail(w, "only %d of %d runs of %s are %s", count_runs(&q), n, schedule,
                   state != NULL ? state : "there");
}

/* A member of the first (newest) run that is wanted; the caller frees. */
static char *run_text(struct world *w, const char *schedule, const char *state, const char *member)
{
    struct wanted q = {w, schedule, state, 1};
    struct world_reply r = world_get_json(w, "/v1/runs?limit=1000");
    char *text = NULL;
    for (size_t i = 0; i < json_size(r.json) && text == NULL; i++) {
        struct str s = json_str(json_get(json_at(r.json, i), member));
        if (is_wanted(&q, json_at(r.json, i)) && s.p != NULL)
            text = mem_dup(s.p, s.n);
    }
    world_reply_finish(&r);
    if (text == NULL)
        world_fail(w, "no run of %s has %s", schedule, member);
    return text;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The instants of all runs in order. Each must be there once; the caller frees. */
static char **instants(struct world *w, const char *schedule, int *n)
{
    struct wanted q = {w, schedule, NULL, 0};
    struct world_reply r = world_get_json(w, "/v1/runs?limit=1000");
    char **out = mem_zero(json_size(r.json) + 1, sizeof *out);
    *n = 0;
    for (size_t i = 0; i < json_size(r.json); i++) {
        if (!is_wanted(&q, json_at(r.json, i)))
            continue;
        struct str at = json_str(json_get(json_at(r.json, i), "scheduled_at"));
        out[(*n)++] = mem_dup(at.p, at.n);
    }
    world_reply_finish(&r);
    qsort(out, (size_t)*n, sizeof *out, compare);
    for (int i = 1; i < *n; i++)
        ck_assert_msg(strcmp(out[i - 1], out[i]) != 0, "two runs of the tick %s", out[i]);
    return out;
}

static void free_instants(char **list, int n)
{
    for (int i = 0; i < n; i++)
        mem_free(list[i]);
    mem_free(list);
}

static int second_of_day(const char *instant)
{
    int h = 0, m = 0, s = 0;
    ck_assert_int_eq(sscanf(instant, "%*d-%*d-%*dT%d:%d:%d", &h, &m, &s), 3);
    return h * 3600 + m * 60 + s;
}

/* A schedule of each second had a run for each second from its first to its last. */
static void ck_every_second(struct world *w, const char *schedule)
{
    int n;
    char **at = instants(w, schedule, &n);
    for (int i = 1; i < n; i++)
        ck_assert_msg((second_of_day(at[i]) + 86400 - second_of_day(at[i - 1])) % 86400 == 1,
                      "a tick is missing between %s and %s", at[i - 1], at[i]);
    free_instants(at, n);
}

static char *get_key(struct world *w, const char *key)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct world_reply r = world_http(w, "GET", path, NULL, (struct str){NULL, 0});
    ck_assert_msg(r.status == 200, "%s: %d", key, r.status);
    char *value = mem_dup(r.body.p, r.body.n);
    world_reply_finish(&r);
    mem_free(path);
    return value;
}

static int64_t redis_now_s(struct world *w)
{
    char *text = world_redis(w, "TIME");
    int64_t s = strtoll(text, NULL, 10);
    mem_free(text);
    return s;
}

static bool is_entered(void *arg)
{
    const struct wanted *q = arg;
    return world_redis_int(q->w, "HEXISTS hm:cron.spec %s", q->schedule) == 1;
}

static void wait_entered(struct world *w, const char *schedule)
{
    struct wanted q = {w, schedule, NULL, 0};
    if (!world_wait_until(is_entered, &q, WORLD_TIMEOUT_MS))
        world_fail(w, "the schedule %s is not entered", schedule);
}

static const char every_second[] = "jobs:\n"
                                   "  - name: beat\n"
                                   "    schedule: '* * * * * *'\n"
                                   "    overlap: allow\n"
                                   "    command: [cat]\n";

START_TEST(a_schedule_starts_its_job_with_the_defaults_and_the_instant)
{
    struct world *w = world_make();
    world_config(w, "main.yaml",
                 "jobs:\n"
                 "  - name: greet\n"
                 "    schedule: '* * * * * *'\n"
                 "    timezone: Asia/Kolkata\n"
                 "    overlap: allow\n"
                 "    parameters:\n"
                 "      - {name: whom, type: string, default: world}\n"
                 "    command: [cat]\n");
    world_start(w);
    wait_runs(w, "greet", "succeeded", 3);
    char *key = run_text(w, "greet", "succeeded", "key");
    char *at = run_text(w, "greet", "succeeded", "scheduled_at");
    char *cause = run_text(w, "greet", "succeeded", "cause");
    ck_assert_str_eq(cause, "schedule");
    ck_assert_msg(strstr(at, "+05:30") != NULL, "%s", at);
    mem_free(at);
    char *input = get_key(w, key);
    struct json *j = json_parse(str_of(input), NULL);
    ck_assert(str_is(json_str(json_get(j, "whom")), "world"));
    ck_assert_msg(str_ends(json_str(json_get(j, "scheduled_at")), "+05:30"), "%s", input);
    ck_every_second(w, "greet");
    json_free(j);
    mem_free(input);
    mem_free(key);
    mem_free(cause);
    world_free(w);
}
END_TEST

/* A second server on a's Redis, with the same configuration unless told otherwise. */
static struct world *beside(const struct world *a, const char *yaml)
{
    struct world *b = world_make();
    world_config(b, "main.yaml", yaml);
    world_arg(b, "--redis");
    world_arg(b, a->redis_url);
    return b;
}

static double ticks_of(struct world *w)
{
    struct world_reply r = world_http(w, "GET", "/metrics", NULL, (struct str){NULL, 0});
    const char *line = strstr(r.body.p, "\nhookmesh_ticks_total{outcome=\"started\"} ");
    double n = line != NULL ? strtod(strrchr(line, '\n') != NULL ? line + 41 : "0", NULL) : 0;
    world_reply_finish(&r);
    return n;
}

START_TEST(a_tick_is_one_run_however_many_servers_look)
{
    struct world *a = world_make();
    world_config(a, "main.yaml", every_second);
    world_redis_start(a);
    world_start(a);
    struct world *b = beside(a, every_second);
    world_start(b);
    wait_runs(a, "beat", "succeeded", 5);
    ck_every_second(a, "beat");
    world_free(b);
    world_free(a);
}
END_TEST

static bool have_faketime(char *preload, size_t size)
{
    glob_t found = {0};
    bool there = glob("/usr/lib/*/faketime/libfaketime.so.1", 0, NULL, &found) == 0;
    if (there)
        snprintf(preload, size, "LD_PRELOAD=%s", found.gl_pathv[0]);
    globfree(&found);
    return there;
}

START_TEST(servers_whose_clocks_differ_start_one_run_a_tick)
{
    char preload[256];
    ck_assert_msg(have_faketime(preload, sizeof preload), "install the package faketime");
    struct world *a = world_make();
    world_config(a, "main.yaml", every_second);
    world_redis_start(a);
    world_start(a);
    static const char *const clocks[] = {"FAKETIME=+3h", "FAKETIME=-45s"};
    struct world *others[2];
    for (size_t i = 0; i < 2; i++) {
        others[i] = beside(a, every_second);
        world_env(others[i], preload);
        world_env(others[i], clocks[i]);
        world_env(others[i], "FAKETIME_DONT_FAKE_MONOTONIC=1");
        world_env(others[i], "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0");
        world_start(others[i]);
    }
    int64_t from = redis_now_s(a);
    wait_runs(a, "beat", "succeeded", 5);
    ck_every_second(a, "beat");
    char *at = run_text(a, "beat", NULL, "scheduled_at");
    int64_t behind = (second_of_day(at) + 86400 - from % 86400) % 86400;
    ck_assert_msg(behind < 60, "%s is not the time of Redis", at);
    mem_free(at);
    /* Alone, the one whose clock is ahead goes on as if nothing were. */
    world_stop(a);
    world_stop(others[1]);
    struct wanted q = {others[0], "beat", NULL, 0};
    wait_runs(others[0], "beat", "succeeded", count_runs(&q) + 2);
    ck_every_second(others[0], "beat");
    ck_assert(ticks_of(others[0]) >= 2);
    world_free(others[1]);
    world_free(others[0]);
    world_free(a);
}
END_TEST

START_TEST(a_short_outage_loses_no_tick)
{
    struct world *w = world_make();
    world_config(w, "main.yaml", every_second);
    world_redis_start(w);
    world_start(w);
    for (int i = 1; i <= 2; i++) {
        struct wanted q = {w, "beat", NULL, 0};
        wait_runs(w, "beat", NULL, count_runs(&q) + 2);
        world_kill9(w);
        if (i == 2) {
            world_redis_kill9(w);
            world_redis_start(w);
        }
        world_start(w);
    }
    struct wanted q = {w, "beat", NULL, 0};
    wait_runs(w, "beat", "succeeded", count_runs(&q) + 2);
    ck_every_second(w, "beat");
    world_free(w);
}
END_TEST

START_TEST(a_tick_that_has_run_does_not_run_again)
{
    struct world *w = world_make();
    world_config(w, "main.yaml", every_second);
    world_redis_start(w);
    world_start(w);
    wait_runs(w, "beat", "succeeded", 4);
    int n;
    char **at = instants(w, "beat", &n);
    struct wanted q = {w, "beat", NULL, 0};
    world_kill9(w);
    int64_t now = redis_now_s(w);
    int64_t first = now - (now % 86400 - second_of_day(at[0]) + 86400) % 86400;
    mem_free(world_redis(w, "ZADD hm:cron %lld000 beat", (long long)first));
    free_instants(at, n);
    world_start(w);
    wait_runs(w, "beat", NULL, count_runs(&q) + 2);
    ck_every_second(w, "beat");
    world_free(w);
}
END_TEST

/* Overlap. The jobs run until the file `go` is there. */

static struct world *overlap(const char *how, const char *script)
{
    struct world *w = world_make();
    char *yaml = mem_format("jobs:\n"
                            "  - name: slow\n"
                            "    schedule: '* * * * * *'\n"
                            "    %s\n"
                            "    command: [sh, -c, '%s']\n",
                            how, script);
    world_config(w, "main.yaml", yaml);
    mem_free(yaml);
    world_start(w);
    return w;
}
#define UNTIL_GO "while [ ! -e ../go ]; do sleep 0.05; done; echo 1"

START_TEST(a_tick_is_skipped_while_the_job_still_runs_unless_it_says_otherwise)
{
    struct world *w = overlap("", UNTIL_GO);
    wait_runs(w, "slow", "skipped", 2);
    struct wanted all = {w, "slow", NULL, 0}, skipped = {w, "slow", "skipped", 0};
    ck_assert_int_eq(count_runs(&all) - count_runs(&skipped), 1);
    char *why = run_text(w, "slow", "skipped", "reason");
    ck_assert_msg(strstr(why, "still open") != NULL, "%s", why);
    mem_free(why);
    world_file(w, "go", "");
    wait_runs(w, "slow", "succeeded", 2);
    world_free(w);
}
END_TEST

START_TEST(queued_ticks_run_one_after_the_other)
{
    /* It fails when two run at once. */
    struct world *w =
        overlap("overlap: queue", "mkdir ../lock || exit 9; " UNTIL_GO "; rmdir ../lock");
    wait_runs(w, "slow", NULL, 3);
    struct wanted done = {w, "slow", "succeeded", 0}, skipped = {w, "slow", "skipped", 0};
    ck_assert_int_eq(count_runs(&done), 0);
    world_file(w, "go", "");
    wait_runs(w, "slow", "succeeded", 3);
    ck_assert_int_eq(count_runs(&skipped), 0);
    struct wanted dead = {w, "slow", "dead", 0};
    ck_assert_int_eq(count_runs(&dead), 0);
    world_free(w);
}
END_TEST

START_TEST(a_tick_may_replace_the_run_before_it)
{
    struct world *w = overlap("concurrencyPolicy: Replace", UNTIL_GO);
    wait_runs(w, "slow", "cancelled", 2);
    char *error = run_text(w, "slow", "cancelled", "error");
    ck_assert_msg(strstr(error, "replaced") != NULL, "%s", error);
    mem_free(error);
    world_file(w, "go", "");
    wait_runs(w, "slow", "succeeded", 1);
    world_free(w);
}
END_TEST

START_TEST(ticks_may_be_allowed_to_run_at_once)
{
    /* Each waits until two have begun. */
    struct world *w =
        overlap("overlap: allow", ": > ../$$.begun; while [ $(ls .. | grep -c begun) -lt 2 ]; do "
                                  "sleep 0.05; done; echo 1");
    wait_runs(w, "slow", "succeeded", 2);
    world_free(w);
}
END_TEST

/* Misfires. Jobs at the hour of the day that is farthest away; then Redis is told that they were due two days before. */

static char *daily(int64_t now_s)
{
    return mem_format("0 %lld * * *", (long long)((now_s / 3600 + 12) % 24));
}

START_TEST(missed_ticks_are_skipped_made_good_once_or_all_as_the_job_says)
{
    struct world *w = world_make();
    world_redis_start(w);
    int64_t now = redis_now_s(w);
    int64_t last = (now / 3600 + 12) % 24 * 3600 + now / 86400 * 86400;
    last -= last > now ? 86400 : 0;
    char *at = daily(now);
    char *yaml = mem_format("jobs:\n"
                            "  - {name: leave, schedule: '%s', command: [cat]}\n"
                            "  - {name: once, schedule: '%s', misfire: once, command: [cat]}\n"
                            "  - {name: all, schedule: '%s', misfire: all, misfire_limit: 2, "
                            "command: [cat]}\n"
                            "  - {name: never, schedule: '%s', command: [cat]}\n",
                            at, at, at, at);
    world_config(w, "main.yaml", yaml);
    world_start(w);
    wait_entered(w, "all");
    struct wanted early = {w, "leave", NULL, 0};
    ck_assert_int_eq(count_runs(&early), 0);
    world_kill9(w);
    static const char *const late[] = {"leave", "once", "all"};
    for (size_t i = 0; i < 3; i++)
        mem_free(world_redis(w, "ZADD hm:cron %lld000 %s", (long long)(last - 2 * 86400), late[i]));
    world_start(w);
    static const struct {
        const char *schedule;
        int skipped;
        int succeeded;
    } rows[] = {{"leave", 3, 0}, {"once", 2, 1}, {"all", 1, 2}, {"never", 0, 0}};
    for (size_t i = 0; i < 4; i++) {
        wait_runs(w, rows[i].schedule, "skipped", rows[i].skipped);
        wait_runs(w, rows[i].schedule, "succeeded", rows[i].succeeded);
        struct wanted all = {w, rows[i].schedule, NULL, 0};
        ck_assert_int_eq(count_runs(&all), rows[i].skipped + rows[i].succeeded);
    }
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(world_redis_int(w, "HGET hm:cron.missed %s", late[i]), 3);
        ck_assert_int_eq(world_redis_int(w, "ZSCORE hm:cron %s", late[i]), (last + 86400) * 1000);
    }
    char *why = run_text(w, "leave", "skipped", "reason");
    ck_assert_msg(strstr(why, "missed") != NULL && strstr(why, "misfire: skip") != NULL, "%s", why);
    mem_free(why);
    int n;
    char **each = instants(w, "all", &n);
    free_instants(each, n);
    mem_free(yaml);
    mem_free(at);
    world_free(w);
}
END_TEST

START_TEST(many_missed_ticks_share_a_record)
{
    struct world *w = world_make();
    world_redis_start(w);
    world_config(w, "main.yaml",
                 "settings: {misfire_records: 2, misfire_grace: 1h}\n"
                 "jobs:\n  - {name: often, schedule: '0 0 * * * *', command: [cat]}\n");
    world_start(w);
    wait_entered(w, "often");
    world_kill9(w);
    int64_t hour = redis_now_s(w) / 3600 * 3600;
    mem_free(world_redis(w, "ZADD hm:cron %lld000 often", (long long)(hour - 300000 * 3600LL)));
    world_start(w);
    wait_runs(w, "often", "succeeded", 1);
    struct wanted skipped = {w, "often", "skipped", 0};
    ck_assert_int_ge(count_runs(&skipped), 5); /* three pieces, and two alone */
    ck_assert_int_le(count_runs(&skipped), 6);
    ck_assert_int_ge(world_redis_int(w, "HGET hm:cron.missed often"), 299999);
    world_free(w);
}
END_TEST

static bool is_gone(void *arg)
{
    char *score = world_redis(arg, "ZSCORE hm:cron beat");
    bool gone = score[0] == '\0';
    mem_free(score);
    return gone;
}

START_TEST(a_reload_enters_alters_and_removes_schedules)
{
    struct world *w = world_make();
    world_redis_start(w);
    world_config(w, "main.yaml",
                 "jobs:\n  - {name: beat, schedule: '0 0 1 1 *', command: [cat]}\n"
                 "  - {name: other, command: [cat]}\n");
    world_start(w);
    wait_entered(w, "beat");
    world_config(w, "main.yaml",
                 "jobs:\n  - {name: beat, schedule: '* * * * * *', command: [cat]}\n"
                 "  - {name: other, schedule: '*/2 * * * * *', command: [cat]}\n");
    wait_runs(w, "beat", "succeeded", 2);
    wait_runs(w, "other", "succeeded", 1);
    world_config(w, "main.yaml",
                 "jobs:\n  - {name: beat, command: [cat]}\n"
                 "  - {name: other, schedule: '*/2 * * * * *', command: [cat]}\n");
    if (!world_wait_until(is_gone, w, WORLD_TIMEOUT_MS))
        world_fail(w, "the schedule is still there");
    struct wanted q = {w, "beat", NULL, 0}, other = {w, "other", NULL, 0};
    int before = count_runs(&q);
    wait_runs(w, "other", NULL, count_runs(&other) + 1);
    ck_assert_int_eq(count_runs(&q), before);
    world_free(w);
}
END_TEST

START_TEST(a_scheduler_that_is_off_fires_nothing_and_misses_nothing)
{
    static const char off[] = "scheduler: {enabled: false}\n"
                              "jobs:\n  - {name: beat, schedule: '* * * * * *', overlap: allow, "
                              "command: [cat]}\n";
    struct world *a = world_make();
    world_config(a, "main.yaml", every_second);
    world_redis_start(a);
    world_start(a);
    struct world *b = beside(a, off);
    world_start(b);
    wait_runs(a, "beat", NULL, 3);
    ck_assert(ticks_of(a) >= 1);
    ck_assert(ticks_of(b) == 0);
    world_stop(a); /* nobody fires now; then it is switched on again, long after the last tick */
    int64_t old = redis_now_s(a) - 7200;
    mem_free(world_redis(a, "ZADD hm:cron %lld000 beat", (long long)old));
    struct wanted q = {b, "beat", NULL, 0};
    int before = count_runs(&q);
    world_config(b, "main.yaml", every_second);
    wait_runs(b, "beat", "succeeded", before + 2);
    char *missed = world_redis(a, "HGET hm:cron.missed beat");
    ck_assert_str_eq(missed, "");
    mem_free(missed);
    world_free(b);
    world_free(a);
}
END_TEST

START_TEST(a_job_that_cannot_take_a_tick_says_so_in_a_skipped_run)
{
    struct world *w = world_make();
    world_config(w, "main.yaml",
                 "jobs:\n"
                 "  - name: picky\n"
                 "    schedule: '* * * * * *'\n"
                 "    parameters: [{name: scheduled_at, type: integer, default: 0}]\n"
                 "    command: [cat]\n");
    world_start(w);
    wait_runs(w, "picky", "skipped", 2);
    char *why = run_text(w, "picky", "skipped", "reason");
    ck_assert_msg(strstr(why, "scheduled_at must be of type integer") != NULL, "%s", why);
    mem_free(why);
    ck_every_second(w, "picky");
    world_free(w);
}
END_TEST

START_TEST(schedules_come_back_after_redis_was_emptied)
{
    struct world *w = world_make();
    world_config(w, "main.yaml", every_second);
    world_redis_start(w);
    world_start(w);
    wait_runs(w, "beat", "succeeded", 1);
    mem_free(world_redis(w, "DEL hm:cron hm:cron.spec"));
    struct wanted q = {w, "beat", NULL, 0};
    wait_runs(w, "beat", "succeeded", count_runs(&q) + 2);
    world_free(w);
}
END_TEST

static bool is_ours(void *arg)
{
    char *spec = world_redis(arg, "HGET hm:cron.spec beat");
    bool ours = strstr(spec, "\t* * * * * *\tUTC") != NULL;
    mem_free(spec);
    return ours;
}

START_TEST(what_another_server_meant_by_a_schedule_holds_until_nobody_serves_it)
{
    struct world *w = world_make();
    world_config(w, "main.yaml", every_second);
    world_redis_start(w);
    world_start(w);
    wait_runs(w, "beat", "succeeded", 1);
    char *spec = mem_format("%lld\t0 0 1 1 *\tUTC", (long long)redis_now_s(w) * 1000);
    struct str argv[] = {STR("HSET"), STR("hm:cron.spec"), STR("beat"), str_of(spec)};
    mem_free(world_redis_argv(w, 4, argv));
    mem_free(world_redis(w, "ZADD hm:cron %lld beat", (long long)(redis_now_s(w) - 90) * 1000));
    struct wanted q = {w, "beat", NULL, 0};
    if (!world_wait_until(is_ours, w, WORLD_TIMEOUT_MS))
        world_fail(w, "the schedule stays with a server that is gone");
    wait_runs(w, "beat", "succeeded", count_runs(&q) + 1);
    mem_free(spec);
    world_free(w);
}
END_TEST

START_TEST(another_servers_schedules_are_left_alone)
{
    struct world *w = world_make();
    world_config(w, "main.yaml", every_second);
    world_redis_start(w);
    world_start(w);
    int64_t old = (redis_now_s(w) - 7200) * 1000;
    char *now = mem_format("%lld\t* * * * *\tUTC", (long long)redis_now_s(w) * 1000);
    struct str argv[] = {STR("HSET"), STR("hm:cron.spec"), STR("strange"), str_of(now)};
    mem_free(world_redis_argv(w, 4, argv));
    mem_free(world_redis(w, "ZADD hm:cron %lld strange", (long long)old));
    wait_runs(w, "beat", "succeeded", 3);
    ck_assert_int_eq(world_redis_int(w, "ZSCORE hm:cron strange"), old);
    /* Nobody has had it for days: it is cleared away. */
    mem_free(world_redis(w, "HSET hm:cron.spec strange 1000"));
    world_kill9(w);
    world_start(w);
    struct wanted q = {w, "beat", NULL, 0};
    wait_runs(w, "beat", "succeeded", count_runs(&q) + 2);
    char *score = world_redis(w, "ZSCORE hm:cron strange");
    ck_assert_str_eq(score, "");
    mem_free(score);
    mem_free(now);
    world_free(w);
}
END_TEST

/* Lists. */

static bool says(struct world *w, const char *path, const char *where, const char *want)
{
    struct world_reply r = world_get_json(w, path);
    struct str got = json_str(json_path(r.json, where));
    bool same = str_is(got, want);
    if (!same)
        fprintf(stderr, "%s: %s is %.*s, not %s\n", path, where, (int)got.n, got.p, want);
    world_reply_finish(&r);
    return same;
}

static struct json *item(const struct json *list, const char *name)
{
    for (size_t i = 0; i < json_size(list); i++) {
        if (str_is(json_str(json_get(json_at(list, i), "name")), name))
            return json_at(list, i);
    }
    ck_abort_msg("no schedule %s", name);
    return NULL;
}

START_TEST(schedules_are_listed_with_next_fires_changes_of_the_clock_and_the_last_run)
{
    struct world *w = world_make();
    world_config(w, "main.yaml",
                 "jobs:\n"
                 "  - {name: beat, schedule: '* * * * * *', overlap: allow, command: [cat]}\n"
                 "  - name: night\n"
                 "    schedule: ['30 2 * * *', '0 0 1 1 *']\n"
                 "    timezone: Europe/Berlin\n"
                 "    misfire: once\n"
                 "    overlap: queue\n"
                 "    command: [cat]\n"
                 "  - {name: manual, command: [cat]}\n");
    world_start(w);
    wait_runs(w, "beat", "succeeded", 2);
    struct world_reply r = world_get_json(w, "/v1/schedules?n=100");
    ck_assert_uint_eq(json_size(r.json), 3);
    struct json *beat = item(r.json, "beat"), *night = item(r.json, "night");
    ck_assert(str_is(json_str(json_path(beat, "last.state")), "succeeded"));
    ck_assert(id_is_uuid(json_str(json_path(beat, "last.run"))));
    ck_assert(json_bool(json_get(beat, "enabled"), false));
    ck_assert_int_eq(json_int(json_get(beat, "missed"), -1), 0);
    ck_assert(str_is(json_str(json_get(beat, "timezone")), "UTC"));
    ck_assert(json_get(beat, "change") == NULL);
    ck_assert(str_is(json_str(json_get(night, "misfire")), "once"));
    ck_assert(str_is(json_str(json_get(night, "overlap")), "queue"));
    ck_assert(json_get(night, "last") == NULL);
    ck_assert_uint_eq(json_size(json_get(night, "next")), 100);
    struct json *second = item(r.json, "night#2");
    ck_assert(str_is(json_str(json_get(second, "job")), "night"));
    /* A hundred years have a change of the clock. */
    struct json *change = json_get(second, "change");
    struct str from = json_str(json_get(change, "from")), to = json_str(json_get(change, "to"));
    struct str at = json_str(json_get(change, "at"));
    ck_assert(str_is(from, "+01:00") ? str_is(to, "+02:00") : str_is(to, "+01:00"));
    ck_assert_msg(str_ends(at, "T03:00:00+02:00") || str_ends(at, "T02:00:00+01:00"), "%.*s",
                  (int)at.n, at.p);
    world_reply_finish(&r);
    r = world_get_json(w, "/v1/schedules?job=night&n=1");
    ck_assert_uint_eq(json_size(r.json), 2);
    ck_assert_uint_eq(json_size(json_get(json_at(r.json, 0), "next")), 1);
    world_reply_finish(&r);
    ck_assert(says(w, "/v1/schedules?job=beat", "0.expression", "* * * * * *"));
    world_free(w);
}
END_TEST

/* The command line. */

static void ck_cli(struct world *w, int code, const char *out, const char *err, ...)
{
    const char *args[12] = {"cron", "next"};
    size_t n = 2;
    va_list ap;
    va_start(ap, err);
    while (n < 11 && (args[n] = va_arg(ap, const char *)) != NULL)
        n++;
    va_end(ap);
    struct world_run r = world_cli(w, STR("@daily\n61 * * * *\n"), args);
    ck_assert_msg(r.code == code, "%s: %d, %s", args[2], r.code, r.err.p);
    ck_assert_msg(strstr(r.out.p != NULL ? r.out.p : "", out) != NULL, "%s: %s", args[2], r.out.p);
    ck_assert_msg(strstr(r.err.p != NULL ? r.err.p : "", err) != NULL, "%s: %s", args[2], r.err.p);
    world_run_finish(&r);
}

START_TEST(cron_next_prints_the_next_fires_without_a_server)
{
    struct world *w = world_make();
    ck_cli(w, 0,
           "2026-03-28T02:30:00+01:00\n2026-03-29T03:00:00+02:00\n2026-03-30T02:30:00+02:00\n", "",
           "30 2 * * *", "-n", "3", "--tz", "Europe/Berlin", "--from", "2026-03-28", NULL);
    ck_cli(w, 0, "2026-10-25T01:00:00+00:00\n", "", "@hourly", "--from",
           "2026-10-25T02:30:00+02:00", NULL);
    ck_cli(w, 0, "{\"expression\":\"@daily\",\"next\":[\"2026-01-02T00:00:00+00:00\"]}\n", "",
           "@daily", "--json", "--from", "2026-01-01 00:00", NULL);
    ck_cli(w, 1, "2026-01-02T00:00:00+00:00\n", "line 2: minute \"61\"", "-", "--from",
           "2026-01-01T00:00:00Z", NULL);
    ck_cli(w, 1, "{\"expression\":\"61 * * * *\",\"error\":\"minute", "", "-", "--json", NULL);
    ck_cli(w, 64, "", "never fires", "0 0 30 2 *", NULL);
    ck_cli(w, 64, "", "5 fields", "* * *", NULL);
    ck_cli(w, 64, "", "Europe/Berlin", "@daily", "--tz", "Mars/Olympus", NULL);
    ck_cli(w, 64, "", "--from must be", "@daily", "--from", "2026-02-30", NULL);
    ck_cli(w, 64, "", "--from must be", "@daily", "--from", "2026-02-28 24:00", NULL);
    ck_cli(w, 64, "", "-n must be", "@daily", "-n", "0", NULL);
    ck_cli(w, 64, "", "-n must be", "@daily", "-n", "1000000", NULL);
    world_free(w);
}
END_TEST

Suite *cron_suite(void)
{
    Suite *s = suite_create("cron");
    TCase *t = tcase_create("cron");
    tcase_add_test(t, a_schedule_starts_its_job_with_the_defaults_and_the_instant);
    tcase_add_test(t, a_tick_is_one_run_however_many_servers_look);
    tcase_add_test(t, servers_whose_clocks_differ_start_one_run_a_tick);
    tcase_add_test(t, a_short_outage_loses_no_tick);
    tcase_add_test(t, a_tick_that_has_run_does_not_run_again);
    tcase_add_test(t, a_tick_is_skipped_while_the_job_still_runs_unless_it_says_otherwise);
    tcase_add_test(t, queued_ticks_run_one_after_the_other);
    tcase_add_test(t, a_tick_may_replace_the_run_before_it);
    tcase_add_test(t, ticks_may_be_allowed_to_run_at_once);
    tcase_add_test(t, missed_ticks_are_skipped_made_good_once_or_all_as_the_job_says);
    tcase_add_test(t, many_missed_ticks_share_a_record);
    tcase_add_test(t, a_reload_enters_alters_and_removes_schedules);
    tcase_add_test(t, a_scheduler_that_is_off_fires_nothing_and_misses_nothing);
    tcase_add_test(t, a_job_that_cannot_take_a_tick_says_so_in_a_skipped_run);
    tcase_add_test(t, schedules_come_back_after_redis_was_emptied);
    tcase_add_test(t, what_another_server_meant_by_a_schedule_holds_until_nobody_serves_it);
    tcase_add_test(t, another_servers_schedules_are_left_alone);
    tcase_add_test(t, schedules_are_listed_with_next_fires_changes_of_the_clock_and_the_last_run);
    tcase_add_test(t, cron_next_prints_the_next_fires_without_a_server);
    suite_add_tcase(s, t);
    return s;
}
