/* SPDX-License-Identifier: Apache-2.0 */
/* The example pipelines under config/, stage by stage, without Redis: what each stage writes is given to the next. The same document goes
 * through the stages in C and in Python, which must agree also on the odd letters and spaces of Unicode. */
#include "unit/work_harness.h"

#include "base/json.h"

static void start(const char *example)
{
    struct err e;
    struct buf report = {0};
    char *dir = mem_format("%s/config/%s", HOOKMESH_SOURCE_DIR, example);
    setenv("HOOKMESH_SECRET_GITHUB", "only-for-this-test", 1);
    ck_assert(loop_start(&e));
    ck_assert(work_start(&e));
    harness.patience = timer_new(harness_out_of_patience, NULL);
    harness.config = config_load(dir, NULL, false, &report);
    ck_assert_msg(harness.config != NULL, "%s", report.n != 0 ? report.p : "");
    work_configure(harness.config);
    buf_finish(&report);
    mem_free(dir);
    strcpy(harness.dir, "/tmp/hookmesh-work-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(harness.dir));
}

static const char *give_with(const char *stage, const char *value, const char *also)
{
    struct given *g = harness_claim(stage, value);
    struct str slices[] = {str_of(also)};
    g->claim.also = slices;
    g->claim.also_n = also != NULL;
    harness_give_all(&g, 1);
    harness_wait_all();
    assert_given(g, CLAIM_OK, "");
    return g->output;
}

/* The document's text as JSON with "id", "title" and this body. */
static char *document(const char *body)
{
    struct buf b = {0};
    buf_puts(&b, "{\"id\":\"doc-001\",\"title\":\"Quarterly Report\",\"body\":");
    buf_json_str(&b, str_of(body));
    buf_char(&b, '}');
    return buf_take(&b);
}

struct figures {
    char one_liner[1000];
    int64_t words;
    int64_t entities;
    char first_entity[100];
};

static void copy(char *to, size_t max, struct str s)
{
    snprintf(to, max, "%.*s", (int)s.n, s.p != NULL ? s.p : "");
}

static void run_document(struct figures *f, const char *body)
{
    char *raw = document(body);
    const char *extracted = give_with("extract", raw, NULL);
    const char *summary = give_with("summarize", extracted, raw);
    struct json *e = json_parse(str_of(extracted), NULL);
    struct json *s = json_parse(str_of(summary), NULL);
    ck_assert_str_eq(json_str(json_get(s, "id")).p, "doc-001");
    ck_assert_str_eq(json_str(json_get(s, "title")).p, "Quarterly Report");
    f->words = json_int(json_get(e, "word_count"), -1);
    f->entities = json_int(json_get(s, "entity_count"), -1);
    ck_assert_int_eq(json_size(json_get(e, "entities")), f->entities);
    copy(f->first_entity, sizeof f->first_entity, json_str(json_path(e, "entities.0")));
    copy(f->one_liner, sizeof f->one_liner, json_str(json_get(s, "one_liner")));
    json_free(e);
    json_free(s);
    mem_free(raw);
}

static const char *const implementations[] = {"documents", "documents-python"};

START_TEST(document_of_the_recipe_gives_its_summary)
{
    static const char body[] =
        "Revenue at Acme Corp grew 15% in Q3. The Berlin office expanded headcount.";
    struct figures f;
    start(implementations[_i]);
    run_document(&f, body);
    ck_assert_int_eq(f.words, 13);
    ck_assert_int_eq(f.entities, 6);
    ck_assert_str_eq(f.first_entity, "Revenue");
    ck_assert_str_eq(f.one_liner, body);
    harness_stop();
}
END_TEST

START_TEST(long_body_is_cut_after_80_characters_not_bytes)
{
    struct buf body = {0};
    for (int i = 0; i < 80; i++)
        buf_puts(&body, "\u20ac");
    struct figures f;
    start(implementations[_i]);
    run_document(&f, body.p);
    ck_assert_str_eq(f.one_liner, body.p); /* 80: as it is */
    struct buf longer = {0};
    buf_printf(&longer, "%s\u20ac", body.p);
    run_document(&f, longer.p);
    buf_puts(&body, "...");
    ck_assert_str_eq(f.one_liner, body.p);
    buf_finish(&body);
    buf_finish(&longer);
    harness_stop();
}
END_TEST

START_TEST(words_and_capitals_are_those_of_unicode)
{
    struct figures f;
    start(implementations[_i]);
    /* no-break space, ideographic space, line separator, file separator divide; a zero-width space does not */
    run_document(&f, "a\u00a0b\u3000c\u2028d\x1c"
                     "e f\u200bg");
    ck_assert_int_eq(f.words, 6);
    run_document(&f, "\u00c4rger \u03a9mega \u042f \u01c4 \U0001d400");
    ck_assert_int_eq(f.entities, 5);
    run_document(&f, "\u00e4rger \u03c9 \u044f \u01c5 \u1f88 \u01c6 1A _B");
    ck_assert_int_eq(f.words, 8);
    ck_assert_int_eq(f.entities, 0);
    run_document(&f, "");
    ck_assert_int_eq(f.words, 0);
    harness_stop();
}
END_TEST

START_TEST(what_is_no_document_fails_and_the_stage_lives_on)
{
    static const char *const bad[] = {"{}", "[]", "\"text\"", "{\"id\":1,\"title\":\"\"}", "null"};
    start(implementations[_i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_given(harness_do("extract", bad[i]), CLAIM_FAIL, "id, title and body");
    struct figures f;
    run_document(&f, "One");
    ck_assert_int_eq(f.entities, 1);
    harness_stop();
}
END_TEST

/* GitHub. */

static char *envelope(const char *event, const char *payload)
{
    return mem_format("{\"hook\":\"/hooks/github\",\"event\":\"%s\",\"delivery\":\"d-1\","
                      "\"received_at\":\"2026-11-20T09:00:00.123Z\",\"headers\":{},\"payload\":%s}",
                      event, payload);
}

static struct json *report_of(const char *event, const char *payload)
{
    char *value = envelope(event, payload);
    const char *facts = give_with("normalise", value, NULL);
    const char *figures = give_with("analyse", facts, NULL);
    const char *report = give_with("report", figures, facts);
    struct json *j = json_parse(str_of(report), NULL);
    ck_assert_uint_gt(json_str(json_get(j, "title")).n, 5);
    ck_assert_uint_gt(json_str(json_get(j, "markdown")).n, 20);
    mem_free(value);
    return j;
}

#define COMMIT(id, message, files)                                                                 \
    "{\"id\":\"" id "\",\"message\":\"" message                                                    \
    "\",\"url\":\"https://github.com/acme/widget/commit/" id                                       \
    "\",\"author\":{\"name\":\"Ada\",\"username\":\"ada\"}," files "}"

static const char push[] =
    "{\"ref\":\"refs/heads/feature/x\",\"before\":\"1111\",\"after\":\"2222\",\"created\":false,"
    "\"deleted\":false,\"forced\":false,\"compare\":\"https://github.com/acme/widget/compare/"
    "1...2\","
    "\"repository\":{\"full_name\":\"acme/widget\",\"html_url\":\"https://github.com/acme/"
    "widget\"},"
    "\"pusher\":{\"name\":\"ada\"},\"commits\":[" COMMIT("aaaaaaaaaa", "feat(api)!: Take | and <b>",
                                                         "\"added\":[\"src/api/"
                                                         "a.c\",\"tmp.txt\"],\"modified\":[],"
                                                         "\"removed\":[]") "," COMMIT("bbbbbbbbbb",
                                                                                      "fix: Mind "
                                                                                      "@everyone\\n"
                                                                                      "\\nBody",
                                                                                      "\"added\":[]"
                                                                                      ",\"modified"
                                                                                      "\":[\"src/"
                                                                                      "api/"
                                                                                      "a.c\","
                                                                                      "\"README."
                                                                                      "md\"],"
                                                                                      "\"removed\":"
                                                                                      "[\"tmp."
                                                                                      "txt\"]") "]"
                                                                                                "}";

static void assert_contains(const struct json *report, const char *part)
{
    const char *markdown = json_str(json_get(report, "markdown")).p;
    ck_assert_msg(strstr(markdown, part) != NULL, "\"%s\" is not in:\n%s", part, markdown);
}

START_TEST(push_becomes_a_report)
{
    start("github");
    struct json *r = report_of("push", push);
    ck_assert_str_eq(json_str(json_get(r, "title")).p, "acme/widget: 2 commits on feature/x");
    assert_contains(r, "**ada** pushed 2 commits to `feature/x`");
    /* a.c was added and then modified: added; tmp.txt came and went: not touched */
    assert_contains(r, "| 2 | 2 | 1 | 1 | 0 | small |");
    assert_contains(r, "| `src/api/` | 1 |");
    assert_contains(r, "- Types: 1 feat, 1 fix");
    assert_contains(r, "- Breaking: 1 commit");
    assert_contains(r, "Take \\| and \\<b\\>");
    assert_contains(r, "@\u200b"
                       "everyone");
    json_free(r);
    harness_stop();
}
END_TEST

START_TEST(branch_that_was_deleted_becomes_a_report)
{
    start("github");
    struct json *r =
        report_of("push", "{\"ref\":\"refs/heads/old\",\"deleted\":true,\"commits\":[],"
                          "\"head_commit\":null,\"repository\":{\"full_name\":\"a/b\"}}");
    ck_assert_str_eq(json_str(json_get(r, "title")).p, "a/b: branch old deleted");
    json_free(r);
    harness_stop();
}
END_TEST

START_TEST(poor_payloads_become_reports_too)
{
    static const char *const poor[] = {
        "{}", "{\"action\":null,\"repository\":null,\"sender\":null}",
        "{\"commits\":null,\"ref\":null,\"issue\":[],\"number\":\"x\"}"};
    start("github");
    for (size_t i = 0; i < sizeof poor / sizeof poor[0]; i++) {
        json_free(report_of("push", poor[i]));
        json_free(report_of("pull_request", poor[i]));
        json_free(report_of("issues", poor[i]));
        json_free(report_of("some_new_event", poor[i]));
    }
    harness_stop();
}
END_TEST

START_TEST(payload_that_is_no_object_fails_with_the_reason)
{
    start("github");
    char *value = envelope("push", "[1]");
    assert_given(harness_do("normalise", value), CLAIM_FAIL, "the payload is no JSON object");
    assert_log("ValueError");
    mem_free(value);
    harness_stop();
}
END_TEST

/* Every payload that GitHub's own examples have, if they are installed (tests/run does). */
START_TEST(every_example_payload_becomes_a_report)
{
    static const char *const places[] = {
        HOOKMESH_SOURCE_DIR
        "/tests/node_modules/@octokit/webhooks-examples/api.github.com/index.json",
        HOOKMESH_SOURCE_DIR "/node_modules/@octokit/webhooks-examples/api.github.com/index.json",
    };
    FILE *f = NULL;
    for (size_t i = 0; f == NULL && i < sizeof places / sizeof places[0]; i++)
        f = fopen(places[i], "r");
    if (f == NULL)
        return;
    struct buf text = {0};
    char piece[65536];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) != 0;)
        buf_add(&text, piece, n);
    fclose(f);
    struct json *all = json_parse(buf_view(&text), NULL);
    ck_assert_uint_gt(json_size(all), 50);
    start("github");
    int reports = 0;
    for (size_t i = 0; i < json_size(all); i++) {
        const struct json *event = json_at(all, i);
        const struct json *examples = json_get(event, "examples");
        for (size_t j = 0; j < json_size(examples); j++) {
            struct buf payload = {0};
            json_dump(&payload, json_at(examples, j), false);
            json_free(report_of(json_str(json_get(event, "name")).p, payload.p));
            buf_finish(&payload);
            reports++;
        }
    }
    ck_assert_int_gt(reports, 300);
    json_free(all);
    buf_finish(&text);
    harness_stop();
}
END_TEST

Suite *work_examples_suite(void);
Suite *work_examples_suite(void)
{
    Suite *s = suite_create("work examples");
    TCase *t = tcase_create("examples");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, document_of_the_recipe_gives_its_summary, 0, 2);
    tcase_add_loop_test(t, long_body_is_cut_after_80_characters_not_bytes, 0, 2);
    tcase_add_loop_test(t, words_and_capitals_are_those_of_unicode, 0, 2);
    tcase_add_loop_test(t, what_is_no_document_fails_and_the_stage_lives_on, 0, 2);
    tcase_add_test(t, push_becomes_a_report);
    tcase_add_test(t, branch_that_was_deleted_becomes_a_report);
    tcase_add_test(t, poor_payloads_become_reports_too);
    tcase_add_test(t, payload_that_is_no_object_fails_with_the_reason);
    tcase_add_test(t, every_example_payload_becomes_a_report);
    suite_add_tcase(s, t);
    return s;
}
