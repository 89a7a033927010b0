/* SPDX-License-Identifier: Apache-2.0 */
/* The reactive core from outside: documents through real stages, written over HTTP, by the command line and by plain Redis clients. */
#include "flow/world.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define DOCUMENTS HOOKMESH_SOURCE_DIR "/config/documents"
#define DOCUMENT                                                                                   \
    "{\"id\":\"doc-001\",\"title\":\"Quarterly Report\",\"body\":\"Revenue at Acme Corp grew 15% " \
    "in Q3. The Berlin office expanded headcount.\"}"

static void put(struct world *w, const char *key, const char *value)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct world_reply r =
        world_http(w, "PUT", path, "Content-Type: application/json\r\n", str_of(value));
    if (r.status != 200 && r.status != 201)
        world_fail(w, "PUT %s: %d %s", key, r.status, r.body.p);
    world_reply_finish(&r);
    mem_free(path);
}

static char *get(struct world *w, const char *key)
{
    char *path = mem_format("/v1/kv/%s", key);
    struct world_reply r = world_http(w, "GET", path, NULL, (struct str){NULL, 0});
    mem_free(path);
    char *value = r.status == 200 ? mem_dup(r.body.p, r.body.n) : NULL;
    world_reply_finish(&r);
    return value;
}

struct want {
    struct world *w;
    const char *key;
};

static bool is_there(void *arg)
{
    struct want *want = arg;
    char *value = get(want->w, want->key);
    mem_free(value);
    return value != NULL;
}

static char *await(struct world *w, const char *key)
{
    struct want want = {w, key};
    if (!world_wait_until(is_there, &want, WORLD_TIMEOUT_MS))
        world_fail(w, "%s never came", key);
    return get(w, key);
}

static struct world *documents(void)
{
    struct world *w = world_make();
    world_config_dir(w, DOCUMENTS);
    return w;
}

START_TEST(the_documents_stages_give_six_entities_thirteen_words_and_the_whole_body)
{
    struct world *w = documents();
    world_start(w);
    put(w, "pipeline.doc-001.raw", DOCUMENT);
    char *summary = await(w, "pipeline.doc-001.summary");
    char *extracted = get(w, "pipeline.doc-001.extracted");
    struct err e;
    struct json *s = json_parse(str_of(summary), &e);
    struct json *x = json_parse(str_of(extracted), &e);
    ck_assert_int_eq(json_int(json_get(x, "word_count"), 0), 13);
    ck_assert_uint_eq(json_size(json_get(x, "entities")), 6);
    ck_assert_int_eq(json_int(json_get(s, "entity_count"), 0), 6);
    struct str line = json_str(json_get(s, "one_liner"));
    ck_assert(
        str_is(line, "Revenue at Acme Corp grew 15% in Q3. The Berlin office expanded headcount."));
    json_free(s);
    json_free(x);
    mem_free(summary);
    mem_free(extracted);
    world_free(w);
}
END_TEST

START_TEST(a_plain_hset_of_another_client_drives_the_stages)
{
    struct world *w = documents();
    world_redis_start(w);
    world_start(w);
    struct str argv[] = {STR("HSET"), STR("hm:kv:pipeline.doc-001.raw"), STR("value"),
                         STR(DOCUMENT)};
    mem_free(world_redis_argv(w, 4, argv));
    mem_free(await(w, "pipeline.doc-001.summary"));
    ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:pipeline.doc-001.raw version"), 1);
    world_free(w);
}
END_TEST

START_TEST(a_client_with_its_own_version_counter_works_on_the_same_keys)
{
    static const char script[] =
        "local current_version = redis.call('HGET', KEYS[1], 'version') "
        "if current_version == ARGV[2] then redis.call('HSET', KEYS[1], 'value', ARGV[1]) "
        "redis.call('HINCRBY', KEYS[1], 'version', 1) return 1 end return 0";
    struct world *w = documents();
    world_redis_start(w);
    world_start(w);
    put(w, "pipeline.doc-001.raw", "{\"id\":\"doc-001\",\"title\":\"Old\",\"body\":\"nothing\"}");
    mem_free(await(w, "pipeline.doc-001.summary"));
    struct str argv[] = {STR("EVAL"),   str_of(script), STR("1"), STR("hm:kv:pipeline.doc-001.raw"),
                         STR(DOCUMENT), STR("1")};
    char *answer = world_redis_argv(w, 6, argv);
    ck_assert_str_eq(answer, "1");
    mem_free(answer);
    world_wait_json(w, "/v1/kv/pipeline.doc-001.summary", "entity_count", "6");
    ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:pipeline.doc-001.raw version"), 2);
    ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:pipeline.doc-001.summary version"), 2);
    world_free(w);
}
END_TEST

START_TEST(a_write_whose_notification_nobody_heard_is_found_after_the_start)
{
    struct world *w = documents();
    world_redis_start(w);
    struct str argv[] = {STR("HSET"), STR("hm:kv:pipeline.doc-001.raw"), STR("value"),
                         STR(DOCUMENT)};
    mem_free(world_redis_argv(w, 4, argv));
    world_start(w);
    mem_free(await(w, "pipeline.doc-001.summary"));
    world_free(w);
}
END_TEST

static const char one_stage[] =
    "extensions:\n  - {name: text, path: \"${HOOKMESH_EXT_DIR}/text.so\"}\n"
    "pipelines:\n  - name: document\n    stages:\n"
    "      - {name: extract, watch: \"pipeline.*.raw\", extension: text, job: extract, write: "
    "\"pipeline.{1}.extracted\"}\n";
static const char both_stages[] =
    "extensions:\n  - {name: text, path: \"${HOOKMESH_EXT_DIR}/text.so\"}\n"
    "pipelines:\n  - name: document\n    stages:\n"
    "      - {name: extract, watch: \"pipeline.*.raw\", extension: text, job: extract, write: "
    "\"pipeline.{1}.extracted\"}\n"
    "      - {name: summarize, watch: \"pipeline.*.extracted\", also: [\"pipeline.{1}.raw\"], "
    "extension: text, job: summarize, write: \"pipeline.{1}.summary\"}\n";

START_TEST(a_stage_that_is_added_later_gets_the_keys_that_were_there_before)
{
    struct world *w = world_make();
    world_config(w, "p.yaml", one_stage);
    world_start(w);
    put(w, "pipeline.doc-001.raw", DOCUMENT);
    mem_free(await(w, "pipeline.doc-001.extracted"));
    world_config(w, "p.yaml", both_stages); /* the directory is watched */
    mem_free(await(w, "pipeline.doc-001.summary"));
    ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:pipeline.doc-001.extracted version"), 1);
    world_free(w);
}
END_TEST

START_TEST(a_stopped_stage_parks_its_documents_and_resumes_with_them)
{
    struct world *w = world_make();
    world_config(w, "p.yaml", both_stages);
    world_start(w);
    world_stop(w);
    world_config(w, "p.yaml", one_stage);
    world_start(w);
    for (int i = 0; i < 20; i++) {
        char *key = mem_format("pipeline.doc-%d.raw", i);
        put(w, key, DOCUMENT);
        mem_free(key);
    }
    mem_free(await(w, "pipeline.doc-19.extracted"));
    ck_assert_ptr_null(get(w, "pipeline.doc-0.summary"));
    world_config(w, "p.yaml", both_stages);
    for (int i = 0; i < 20; i++) {
        char *key = mem_format("pipeline.doc-%d.summary", i);
        mem_free(await(w, key));
        mem_free(key);
    }
    world_free(w);
}
END_TEST

START_TEST(a_document_that_a_stage_cannot_read_dies_alone)
{
    struct world *w = documents();
    world_start(w);
    put(w, "pipeline.bad.raw", "{\"id\":7}");
    put(w, "pipeline.doc-001.raw", DOCUMENT);
    mem_free(await(w, "pipeline.doc-001.summary"));
    world_wait_json(w, "/v1/runs/document.bad", "state", "dead");
    struct world_reply r = world_get_json(w, "/v1/dlq");
    struct json *list = json_type_of(r.json) == J_ARR ? r.json : json_get(r.json, "items");
    ck_assert_uint_eq(json_size(list), 1);
    ck_assert(str_is(json_str(json_get(json_at(list, 0), "key")), "pipeline.bad.raw"));
    world_reply_finish(&r);
    put(w, "pipeline.doc-002.raw", DOCUMENT);
    mem_free(await(w, "pipeline.doc-002.summary"));
    world_free(w);
}
END_TEST

START_TEST(a_dead_document_runs_on_when_its_value_is_mended)
{
    struct world *w = documents();
    world_start(w);
    put(w, "pipeline.doc-001.raw", "{\"id\":7}");
    world_wait_json(w, "/v1/runs/document.doc-001", "state", "dead");
    put(w, "pipeline.doc-001.raw", DOCUMENT);
    mem_free(await(w, "pipeline.doc-001.summary"));
    world_wait_json(w, "/v1/runs/document.doc-001", "state", "succeeded");
    struct world_reply r = world_get_json(w, "/v1/dlq");
    ck_assert_uint_eq(json_size(json_type_of(r.json) == J_ARR ? r.json : json_get(r.json, "items")),
                      0);
    world_reply_finish(&r);
    world_free(w);
}
END_TEST

START_TEST(an_input_waits_for_its_second_key_and_goes_on_when_that_comes)
{
    struct world *w = world_make();
    world_config(
        w, "p.yaml",
        "pipelines:\n  - name: pair\n    stages:\n"
        "      - {name: join, watch: \"p.*.in\", also: [\"p.{1}.side\"], command: [cat], write: "
        "\"p.{1}.out\"}\n");
    world_start(w);
    put(w, "p.a.in", "1");
    world_wait_json(w, "/v1/pipelines", "0.stages.0.waiting", "1");
    ck_assert_ptr_null(get(w, "p.a.out"));
    put(w, "p.a.side", "2");
    char *out = await(w, "p.a.out");
    ck_assert_ptr_nonnull(strstr(out, "\"also\""));
    mem_free(out);
    ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:p.a.out version"), 1);
    world_free(w);
}
END_TEST

static const char fragile[] =
    "pipelines:\n  - name: fragile\n    stages:\n"
    "      - {name: first, watch: \"f.*.raw\", command: [sh, -c, \"cat; test -e %s/mended\"], "
    "retry: {max_attempts: 1}, write: \"f.{1}.one\"}\n"
    "      - {name: second, watch: \"f.*.one\", command: [cat], write: \"f.{1}.two\"}\n";

START_TEST(a_failed_document_that_is_retried_succeeds_through_all_its_steps)
{
    struct world *w = world_make();
    char *yaml = mem_format(fragile, w->dir);
    world_config(w, "p.yaml", yaml);
    mem_free(yaml);
    world_start(w);
    put(w, "f.a.raw", "1");
    world_wait_json(w, "/v1/runs/fragile.a", "state", "dead");
    struct world_reply r =
        world_http(w, "POST", "/v1/runs/fragile.a/cancel", NULL, (struct str){NULL, 0});
    ck_assert_int_eq(r.status, 409);
    world_reply_finish(&r);
    world_file(w, "mended", "");
    r = world_http(w, "POST", "/v1/runs/fragile.a/retry", NULL, (struct str){NULL, 0});
    ck_assert_int_eq(r.status / 100, 2);
    world_reply_finish(&r);
    world_wait_json(w, "/v1/runs/fragile.a", "state", "succeeded");
    mem_free(await(w, "f.a.two"));
    world_free(w);
}
END_TEST

START_TEST(redis_killed_in_the_middle_of_a_load_comes_back_and_nothing_is_missing)
{
    struct world *w = documents();
    world_redis_start(w);
    world_start(w);
    for (int round = 0; round < 3; round++) {
        /* With everysec Redis answers before it has written while a flush of the second before is slow. */
        mem_free(world_redis(w, "CONFIG SET appendfsync always"));
        for (int i = 0; i < 50; i++) {
            char *key = mem_format("pipeline.doc-%d-%d.raw", round, i);
            put(w, key, DOCUMENT);
            mem_free(key);
        }
        world_redis_kill9(w);
        struct world_reply r = world_http(w, "GET", "/v1/kv/a.b", NULL, (struct str){NULL, 0});
        ck_assert_int_eq(r.status, 503);
        ck_assert_uint_gt(world_header(&r, "retry-after").n, 0);
        world_reply_finish(&r);
        world_redis_start(w);
        world_wait_json(w, "/readyz", "status", "ready");
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++) {
            char *key = mem_format("pipeline.doc-%d-%d.summary", round, i);
            mem_free(await(w, key));
            ck_assert_int_eq(world_redis_int(w, "HGET hm:kv:%s version", key), 1);
            mem_free(key);
        }
    }
    world_free(w);
}
END_TEST

Suite *pipeline_suite(void)
{
    Suite *s = suite_create("pipeline");
    TCase *t = tcase_create("pipeline");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, the_documents_stages_give_six_entities_thirteen_words_and_the_whole_body);
    tcase_add_test(t, a_plain_hset_of_another_client_drives_the_stages);
    tcase_add_test(t, a_client_with_its_own_version_counter_works_on_the_same_keys);
    tcase_add_test(t, a_write_whose_notification_nobody_heard_is_found_after_the_start);
    tcase_add_test(t, a_stage_that_is_added_later_gets_the_keys_that_were_there_before);
    tcase_add_test(t, a_stopped_stage_parks_its_documents_and_resumes_with_them);
    tcase_add_test(t, an_input_waits_for_its_second_key_and_goes_on_when_that_comes);
    tcase_add_test(t, a_document_that_a_stage_cannot_read_dies_alone);
    tcase_add_test(t, a_dead_document_runs_on_when_its_value_is_mended);
    tcase_add_test(t, a_failed_document_that_is_retried_succeeds_through_all_its_steps);
    tcase_add_test(t, redis_killed_in_the_middle_of_a_load_comes_back_and_nothing_is_missing);
    suite_add_tcase(s, t);
    return s;
}
