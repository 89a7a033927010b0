/* SPDX-License-Identifier: Apache-2.0 */
/* The README's tour, step by step, by the same commands: what a newcomer types must work. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "flow/world.h"

#define EXAMPLES HOOKMESH_SOURCE_DIR "/config/"

/* Runs a command that must succeed. */
static struct world_run cli(struct world *w, const char *const *args)
{
    struct world_run r = world_cli(w, (struct str){NULL, 0}, args);
    ck_assert_msg(r.code == 0, "hookmesh %s %s: exit %d: %s", args[0], args[1], r.code, r.err.p);
    return r;
}
#define CLI(w, ...) cli((w), (const char *const[]){__VA_ARGS__, NULL})

struct key_wait {
    struct world *w;
    const char *key;
    struct buf value;
};

static bool key_is_there(void *arg)
{
    struct key_wait *x = arg;
    struct world_run r = WORLD_CLI(x->w, "kv", "get", x->key);
    bool there = r.code == 0;
    buf_clear(&x->value);
    buf_str(&x->value, str_trim(buf_view(&r.out)));
    world_run_finish(&r);
    return there;
}

/* The value of a key, once it has one; the caller frees the root. */
static struct json *await_key(struct world *w, const char *key)
{
    struct key_wait x = {.w = w, .key = key};
    if (!world_wait_until(key_is_there, &x, WORLD_TIMEOUT_MS))
        world_fail(w, "%s was never written", key);
    struct err e;
    struct json *j = json_parse(buf_view(&x.value), &e);
    ck_assert_msg(j != NULL, "%s: %s", key, x.value.p);
    buf_finish(&x.value);
    return j;
}

START_TEST(document_put_by_the_command_line_is_summarised)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "documents");
    world_start(w);
    struct world_run r =
        CLI(w, "kv", "put", "pipeline.doc-001.raw", "@" EXAMPLES "documents/document.json");
    world_run_finish(&r);

    struct json *summary = await_key(w, "pipeline.doc-001.summary");
    struct json *extracted = await_key(w, "pipeline.doc-001.extracted");
    ck_assert_int_eq(json_int(json_get(extracted, "word_count"), 0), 13);
    ck_assert_uint_eq(json_size(json_get(extracted, "entities")), 6);
    ck_assert_int_eq(json_int(json_get(summary, "entity_count"), 0), 6);
    ck_assert(str_is(json_str(json_get(summary, "one_liner")),
                     "Revenue at Acme Corp grew 15% in Q3. The Berlin office expanded headcount."));
    json_free(extracted);
    json_free(summary);
    world_free(w);
}
END_TEST

START_TEST(document_written_by_a_plain_redis_client_is_summarised_too)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "documents");
    world_start(w);
    const struct str hset[] = {
        STR("HSET"), STR("hm:kv:pipeline.doc-002.raw"), STR("value"),
        STR("{\"id\":\"doc-002\",\"title\":\"T\",\"body\":\"Any client of Redis will do.\"}")};
    mem_free(world_redis_argv(w, 4, hset));

    struct json *summary = await_key(w, "pipeline.doc-002.summary");
    ck_assert(str_is(json_str(json_get(summary, "one_liner")), "Any client of Redis will do."));
    json_free(summary);
    world_free(w);
}
END_TEST

START_TEST(stage_of_three_lines_shouts)
{
    struct world *w = world_make();
    world_config(w, "shout.yaml",
                 "pipelines:\n"
                 "  - name: shout\n"
                 "    stages:\n"
                 "      - name: upper\n"
                 "        watch: \"say.*.text\"\n"
                 "        command: [python3, -c, \"import json,sys; "
                 "print(json.dumps(json.load(sys.stdin).upper()))\"]\n"
                 "        write: \"say.{1}.loud\"\n");
    struct world_run r = CLI(w, "check", w->config);
    world_run_finish(&r);
    world_start(w);
    r = CLI(w, "kv", "put", "say.hello.text", "\"good morning\"");
    world_run_finish(&r);

    struct json *loud = await_key(w, "say.hello.loud");
    ck_assert(str_is(json_str(loud), "GOOD MORNING"));
    json_free(loud);
    world_free(w);
}
END_TEST

START_TEST(check_tells_file_line_and_column)
{
    struct world *w = world_make();
    world_config(w, "shout.yaml",
                 "pipelines:\n"
                 "  - name: shout\n"
                 "    stagse: []\n");
    struct world_run r = WORLD_CLI(w, "check", w->config);
    ck_assert_int_eq(r.code, 1);
    ck_assert_msg(strstr(r.err.p, "shout.yaml:3:5") != NULL, "%s", r.err.p);
    ck_assert_msg(strstr(r.err.p, "stages") != NULL, "%s", r.err.p);
    world_run_finish(&r);
    world_free(w);
}
END_TEST

/* A run id out of `{"run_id":"..."...}`; the caller frees. */
static char *run_id(const struct world_run *r)
{
    struct err e;
    struct json *j = json_parse(buf_view(&r->out), &e);
    ck_assert_msg(j != NULL, "not JSON: %s", r->out.p);
    struct str id = json_str(json_get(j, "run_id"));
    ck_assert_uint_eq(id.n, 36);
    char *copy = mem_dup(id.p, id.n);
    json_free(j);
    return copy;
}

START_TEST(signed_push_ends_as_a_report)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "github");
    world_env(w, "HOOKMESH_SECRET_GITHUB=only-the-tour-knows");
    world_start(w);
    struct world_run r = CLI(w, "send", "github", "push", "--json");
    char *id = run_id(&r);
    world_run_finish(&r);
    r = CLI(w, "jobs", "logs", id, "--follow");
    world_run_finish(&r);

    char *key = mem_format("github.%s.report", id);
    r = CLI(w, "kv", "get", key, "--field", "markdown");
    ck_assert_msg(r.out.p[0] == '#', "no Markdown: %s", r.out.p);
    world_run_finish(&r);
    char *path = mem_format("/v1/runs/%s", id);
    world_wait_json(w, path, "state", "succeeded");
    struct world_reply list = world_get_json(w, "/v1/deliveries");
    struct json *newest = json_at(list.json, 0);
    ck_assert(str_is(json_str(json_get(newest, "outcome")), "accepted"));
    world_reply_finish(&list);
    mem_free(path);
    mem_free(key);
    mem_free(id);
    world_free(w);
}
END_TEST

START_TEST(push_with_another_secret_is_refused_and_told)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "github");
    world_env(w, "HOOKMESH_SECRET_GITHUB=only-the-tour-knows");
    world_start(w);
    struct world_run r = WORLD_CLI(w, "send", "github", "push", "--secret", "somebody-elses");
    ck_assert_int_ne(r.code, 0);
    world_run_finish(&r);

    r = CLI(w, "deliveries", "list");
    ck_assert_msg(strstr(r.out.p, "rejected") != NULL, "%s", r.out.p);
    ck_assert_msg(strstr(r.out.p, "signature") != NULL, "%s", r.out.p);
    world_run_finish(&r);
    world_free(w);
}
END_TEST

Suite *tour_suite(void);
Suite *tour_suite(void)
{
    Suite *s = suite_create("tour");
    TCase *t = tcase_create("readme");
    tcase_add_test(t, document_put_by_the_command_line_is_summarised);
    tcase_add_test(t, document_written_by_a_plain_redis_client_is_summarised_too);
    tcase_add_test(t, stage_of_three_lines_shouts);
    tcase_add_test(t, check_tells_file_line_and_column);
    tcase_add_test(t, signed_push_ends_as_a_report);
    tcase_add_test(t, push_with_another_secret_is_refused_and_told);
    suite_add_tcase(s, t);
    return s;
}
