/* SPDX-License-Identifier: Apache-2.0 */
/* `when:` and `input:` of webhooks: what is filtered out, reshaped, or fails, and what a replay makes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *filter_suite(void);

#define SECRET "It's a Secret to Everybody"

static const char config[] =
    "settings: {filter_timeout: 2s}\n"
    "triggers:\n"
    "  - {type: webhook, path: /hooks/main, scheme: github, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"main.{run}.in\", when: '.payload.ref == \"refs/heads/main\"'}\n"
    "  - type: webhook\n"
    "    path: /hooks/shape\n"
    "    scheme: github\n"
    "    secret_env: HOOKMESH_SECRET_GITHUB\n"
    "    write: \"shape.{run}.in\"\n"
    "    when: .payload.ref\n"
    "    input: |\n"
    "      # who pushed what\n"
    "      {who: .payload.pusher.name, payload: \"of my own\", headers: .event}\n"
    "  - {type: webhook, path: /hooks/fails, scheme: github, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"fails.{run}.in\", input: .payload.ref.name}\n"
    "  - {type: webhook, path: /hooks/nothing, scheme: github, secret_env: "
    "HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"nothing.{run}.in\", input: 'empty'}\n"
    "  - {type: webhook, path: /hooks/endless, scheme: github, secret_env: "
    "HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"endless.{run}.in\", when: 'def f: f; f'}\n"
    "  - {type: webhook, path: /hooks/events, scheme: token, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"events.{run}.in\", when: '.headers[\"ce-subject\"] != \"no\"'}\n";

static struct world *w;

static void open_world(void)
{
    w = world_make();
    world_env(w, "HOOKMESH_SECRET_GITHUB=" SECRET);
    world_config(w, "main.yaml", config);
}

static void close_world(void)
{
    world_free(w);
}

static struct world_reply push(const char *path, const char *delivery, const char *body)
{
    return world_github(w, path, "push", delivery, SECRET, str_of(body));
}

/* The text at a dotted path of an answer's JSON, as a copy that lives until the eighth next call. */
static const char *field(struct world_reply *r, const char *where)
{
    static char ring[8][512];
    static unsigned turn;
    char *text = ring[turn++ % 8];
    struct str s = json_str(json_path(r->json != NULL ? r->json : world_json(r), where));
    snprintf(text, sizeof ring[0], "%.*s", (int)s.n, s.p != NULL ? s.p : "");
    return text;
}

static void answers(struct world_reply *r, int status, const char *outcome, const char *reason)
{
    ck_assert_msg(r->status == status, "%d: %s", r->status, r->body.p);
    ck_assert_str_eq(field(r, "outcome"), outcome);
    ck_assert_msg(strstr(field(r, "reason"), reason) != NULL, "%s", r->body.p);
}

static void ledger_says(const char *id, const char *outcome, const char *reason)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/deliveries/%s", id);
    world_wait_json(w, path, "outcome", outcome);
    struct world_reply r = world_get_json(w, path);
    ck_assert_msg(strstr(field(&r, "reason"), reason) != NULL, "%s", r.body.p);
    world_reply_finish(&r);
}

static void there_are_runs(size_t n)
{
    struct world_reply r = world_get_json(w, "/v1/runs?limit=100");
    ck_assert_msg(json_size(r.json) == n, "%s", r.body.p);
    world_reply_finish(&r);
}

/* The input of the run that an answer names, once it is stored. */
static void input_is(const char *prefix, struct world_reply *r, const char *want)
{
    char path[256];
    ck_assert_msg(r->status == 202, "%d: %s", r->status, r->body.p);
    snprintf(path, sizeof path, "/v1/runs/%s", field(r, "run_id"));
    world_wait_json(w, path, "id", field(r, "run_id"));
    snprintf(path, sizeof path, "/v1/kv/%s.%s.in", prefix, field(r, "run_id"));
    struct world_reply v = world_get_json(w, path);
    ck_assert_str_eq(v.body.p, want);
    world_reply_finish(&v);
}

static struct world_reply replay(const char *id)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/deliveries/%s/replay", id);
    return world_http(w, "POST", path, NULL, (struct str){NULL, 0});
}

START_TEST(an_event_that_when_does_not_want_starts_nothing_and_is_recorded)
{
    world_start(w);
    struct world_reply r = push("/hooks/main", "w-1", "{\"ref\":\"refs/heads/side\"}");
    answers(&r, 200, "filtered", "when: does not want this event");
    world_reply_finish(&r);
    ledger_says("w-1", "filtered", "when: does not want this event");
    there_are_runs(0);
    r = push("/hooks/main", "w-2", "{\"ref\":\"refs/heads/main\"}");
    ck_assert_int_eq(r.status, 202);
    world_reply_finish(&r);
    ledger_says("w-2", "accepted", "");
    there_are_runs(1);
}
END_TEST

#define PUSH   "{\"ref\":\"refs/heads/main\",\"pusher\":{\"name\":\"ada\"}}"
#define SHAPED "{\"who\":\"ada\",\"payload\":\"of my own\",\"headers\":\"push\"}"

START_TEST(input_makes_the_run_s_input_out_of_the_event)
{
    world_start(w);
    struct world_reply r = push("/hooks/shape", "s-1", PUSH);
    input_is("shape", &r, SHAPED);
    struct world_reply again = push("/hooks/shape", "s-1", PUSH);
    answers(&again, 200, "duplicate", "");
    ck_assert_str_eq(field(&again, "run_id"), field(&r, "run_id"));
    world_reply_finish(&again);
    world_reply_finish(&r);
    r = push("/hooks/shape", "s-2", "{\"pusher\":{\"name\":\"ada\"}}");
    answers(&r, 200, "filtered", "when:");
    world_reply_finish(&r);
    there_are_runs(1);
    char *left = world_redis(w, "KEYS hm:origin:*"); /* of the one run, not of its duplicate */
    ck_assert_msg(strstr(left, "hm:origin:") != NULL && strchr(left, '\n') == strrchr(left, '\n'),
                  "%s", left);
    mem_free(left);
}
END_TEST

START_TEST(a_reshaped_delivery_is_replayed_from_what_came)
{
    world_start(w);
    struct world_reply r = push("/hooks/shape", "s-1", PUSH);
    input_is("shape", &r, SHAPED);
    world_reply_finish(&r);
    r = replay("s-1");
    input_is("shape", &r, SHAPED);
    world_reply_finish(&r);
    there_are_runs(2);
    /* Also one that is stored compressed. */
    struct buf body = {0};
    buf_puts(&body, "{\"ref\":\"x\",\"pusher\":{\"name\":\"bo\"},\"more\":[0");
    for (int i = 0; i < 5000; i++)
        buf_printf(&body, ",%d", i);
    buf_puts(&body, "]}");
    r = push("/hooks/shape", "s-2", body.p);
    ck_assert_int_eq(r.status, 202);
    world_reply_finish(&r);
    ledger_says("s-2", "accepted", "");
    r = replay("s-2");
    input_is("shape", &r, "{\"who\":\"bo\",\"payload\":\"of my own\",\"headers\":\"push\"}");
    world_reply_finish(&r);
    buf_finish(&body);
}
END_TEST

START_TEST(a_filter_that_fails_rejects_in_jq_s_words_and_a_replay_makes_it_good)
{
    world_start(w);
    struct world_reply r = push("/hooks/fails", "f-1", "{\"ref\":\"main\"}");
    answers(&r, 200, "rejected", "input: Cannot index string with string \"name\"");
    world_reply_finish(&r);
    ledger_says("f-1", "rejected", "input: Cannot index string");
    r = push("/hooks/nothing", "n-1", "{}");
    answers(&r, 200, "rejected", "input: it gives nothing for this event");
    world_reply_finish(&r);
    there_are_runs(0);
    r = replay("f-1");
    answers(&r, 200, "rejected", "Cannot index");
    world_reply_finish(&r);
    /* The configuration is mended. */
    char *mended = mem_strdup(config);
    char *at = strstr(mended, ".payload.ref.name");
    memcpy(at, ".payload.ref     ", 17);
    world_config(w, "main.yaml", mended);
    mem_free(mended);
    world_wait_log(w, "mod=config event=reloaded");
    r = replay("f-1");
    input_is("fails", &r, "\"main\"");
    world_reply_finish(&r);
}
END_TEST

START_TEST(an_endless_filter_rejects_its_event_and_leaves_the_others_alone)
{
    world_start(w);
    struct world_reply r = push("/hooks/endless", "e-1", "{}");
    answers(&r, 200, "rejected", "when: it took longer than 2000 ms");
    world_reply_finish(&r);
    ledger_says("e-1", "rejected", "longer than 2000 ms");
    r = push("/hooks/main", "w-1", "{\"ref\":\"refs/heads/main\"}");
    ck_assert_int_eq(r.status, 202);
    world_reply_finish(&r);
}
END_TEST

START_TEST(while_redis_is_away_events_are_judged_before_they_are_spooled)
{
    world_redis_start(w);
    world_start(w);
    world_redis_stop(w);
    world_wait_log(w, "mod=store event=down");
    struct world_reply r = push("/hooks/main", "w-1", "{\"ref\":\"refs/heads/side\"}");
    answers(&r, 200, "filtered", "when:");
    world_reply_finish(&r);
    r = push("/hooks/shape", "s-1", PUSH);
    ck_assert(json_bool(json_get(world_json(&r), "spooled"), false));
    world_redis_start(w);
    world_wait_log(w, "mod=spool event=drained");
    input_is("shape", &r, SHAPED);
    world_reply_finish(&r);
    r = replay("s-1");
    input_is("shape", &r, SHAPED);
    world_reply_finish(&r);
    ledger_says("w-1", "filtered", "when:");
}
END_TEST

static struct world_reply event(const char *id, const char *subject, const char *type,
                                const char *body)
{
    char *headers = mem_format("Authorization: Bearer " SECRET
                               "\r\nContent-Type: %s\r\nce-specversion: 1.0\r\nce-id: %s\r\n"
                               "ce-source: /s\r\nce-type: t\r\nce-subject: %s\r\n",
                               type, id, subject);
    struct world_reply r = world_http(w, "POST", "/hooks/events", headers, str_of(body));
    mem_free(headers);
    return r;
}

START_TEST(filters_see_an_event_s_attributes_and_a_replay_keeps_them)
{
    world_start(w);
    struct world_reply r = event("1", "no", "application/json", "{}");
    answers(&r, 200, "filtered", "when:");
    world_reply_finish(&r);
    r = event("2", "100%25%20%C3%A4", "text/plain", "say \"hi\"");
    ck_assert_int_eq(r.status, 202);
    struct world_reply again = replay(field(&r, "delivery_id"));
    ck_assert_msg(again.status == 202, "%s", again.body.p);
    world_reply_finish(&r);
    struct world_reply third = replay(field(&again, "delivery_id"));
    ck_assert_msg(third.status == 202, "%s", third.body.p);
    char path[256];
    snprintf(path, sizeof path, "/v1/kv/events.%s.in", field(&third, "run_id"));
    struct world_reply v = world_get_json(w, path);
    ck_assert_str_eq(field(&v, "payload"), "say \"hi\"");
    ck_assert_str_eq(field(&v, "headers.ce-subject"), "100% \xC3\xA4");
    ck_assert_str_eq(field(&v, "delivery"), "/s 2");
    ck_assert_str_eq(field(&v, "event"), "t");
    world_reply_finish(&v);
    world_reply_finish(&third);
    world_reply_finish(&again);
}
END_TEST

START_TEST(a_program_that_is_wrong_is_shown_by_check_where_it_is_wrong)
{
    world_config(w, "wrong.yaml",
                 "triggers:\n"
                 "  - {type: webhook, path: /hooks/x, insecure: true, write: \"x.{run}.in\",\n"
                 "     when: '.payload.ref == $main'}\n");
    struct world_run r = WORLD_CLI(w, "check", w->config);
    ck_assert_int_ne(r.code, 0);
    struct buf all = {0};
    buf_str(&all, buf_view(&r.out));
    buf_str(&all, buf_view(&r.err));
    ck_assert_msg(strstr(all.p, "wrong.yaml:3:") != NULL, "%s", all.p);
    ck_assert_msg(strstr(all.p, "$main is not defined") != NULL, "%s", all.p);
    buf_finish(&all);
    world_run_finish(&r);
}
END_TEST

Suite *filter_suite(void)
{
    Suite *s = suite_create("filter");
    TCase *t = tcase_create("filter");
    tcase_add_checked_fixture(t, open_world, close_world);
    tcase_add_test(t, an_event_that_when_does_not_want_starts_nothing_and_is_recorded);
    tcase_add_test(t, input_makes_the_run_s_input_out_of_the_event);
    tcase_add_test(t, a_reshaped_delivery_is_replayed_from_what_came);
    tcase_add_test(t, a_filter_that_fails_rejects_in_jq_s_words_and_a_replay_makes_it_good);
    tcase_add_test(t, an_endless_filter_rejects_its_event_and_leaves_the_others_alone);
    tcase_add_test(t, while_redis_is_away_events_are_judged_before_they_are_spooled);
    tcase_add_test(t, filters_see_an_event_s_attributes_and_a_replay_keeps_them);
    tcase_add_test(t, a_program_that_is_wrong_is_shown_by_check_where_it_is_wrong);
    suite_add_tcase(s, t);
    return s;
}
