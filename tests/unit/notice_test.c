/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/config.h"
#include "work/notice.h"

Suite *notice_suite(void);

static struct notice_run run;
static struct buf out;
static struct config *config;

static const char ended[] =
    "{\"run\":\"r-1\",\"pipeline\":\"job.daily\",\"job\":\"daily\",\"state\":\"dead\","
    "\"error\":\"it \\\"broke\\\"\\nbadly\",\"output_key\":\"job.daily.r-1.output\","
    "\"created\":1767225600000,\"started\":1767225601000,\"finished\":1767225605000,"
    "\"rec\":{\"cause\":\"schedule\",\"missed\":2}}";
static const char input[] =
    "{\"payload\":{\"after\":\"0123abcd\",\"n\":7,\"big\":1.5,\"yes\":true,\"no\":null,"
    "\"a/b~c\":\"odd\",\"commits\":[{\"id\":\"c0\"},{\"id\":\"c1\"}],\"text\":\"\\u00fc\\n\"}}";
static const char output[] = "{\"items\":[1,2],\"markdown\":\"# Done\"}";

static void setup(void)
{
    struct err e;
    struct buf report = {0};
    config = config_load(NULL, NULL, false, &report);
    ck_assert_ptr_nonnull(config);
    ck_assert_msg(notice_parse(&run, str_of(ended), &e), "%s", e.text);
    run.input = str_of(input);
    run.output = str_of(output);
    buf_finish(&report);
}

static void teardown(void)
{
    notice_finish(&run);
    buf_finish(&out);
    config_unref(config);
}

static void assert_has(const char *part)
{
    ck_assert_msg(out.n != 0 && strstr(out.p, part) != NULL, "\"%s\" is not in:\n%s", part,
                  out.n != 0 ? out.p : "");
}

START_TEST(end_of_a_run_is_read)
{
    ck_assert(str_is(run.run, "r-1"));
    ck_assert(str_is(run.job, "daily"));
    ck_assert(str_is(run.state, "dead"));
    ck_assert(str_is(run.output_key, "job.daily.r-1.output"));
    ck_assert_int_eq(run.missed, 2);
    ck_assert_int_eq(run.finished_ms - run.started_ms, 4000);
    ck_assert(!notice_succeeded(&run));
    struct notice_run late;
    struct err e;
    ck_assert(
        notice_parse(&late, STR("{\"run\":\"r\",\"pipeline\":\"job.a-b\",\"created\":5}"), &e));
    ck_assert(str_is(late.job, "a-b"));
    ck_assert_uint_eq(late.state.n, 0);
    notice_finish(&late);
    ck_assert(!notice_parse(&late, STR("{}"), &e));
    ck_assert(!notice_parse(&late, STR("[1]"), &e));
    ck_assert(!notice_parse(&late, STR("no json"), &e));
    ck_assert(!notice_parse(&late, STR(""), &e));
}
END_TEST

START_TEST(paths_point_into_the_run)
{
    static const struct {
        const char *text, *value, *json;
    } rows[] = {
        {".input.payload.after", "0123abcd", "\"0123abcd\""},
        {".input.payload.n", "7", "7"},
        {".input.payload.big", "1.5", "1.5"},
        {".input.payload.yes", "true", "true"},
        {".input.payload.a/b~c", "odd", "\"odd\""},
        {".input.payload.commits[1].id", "c1", "\"c1\""},
        {".input.payload.commits.0.id", "c0", "\"c0\""},
        {".input.payload.commits[0]", "{\"id\":\"c0\"}", "{\"id\":\"c0\"}"},
        {".input.payload.text", "\xc3\xbc\n", NULL},
        {".output.items", "[1,2]", "[1,2]"},
        {".job", "daily", "\"daily\""},
        {".run", "r-1", "\"r-1\""},
        {".state", "dead", "\"dead\""},
        {".error", "it \"broke\"\nbadly", "\"it \\\"broke\\\"\\nbadly\""},
        {"plain text", "plain text", "\"plain text\""},
        {".5 percent", ".5 percent", "\".5 percent\""},
        {".inputs.a", ".inputs.a", "\".inputs.a\""},
        {"", "", "\"\""},
    };
    struct err e;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_clear(&out);
        ck_assert_msg(notice_value(&out, &run, rows[i].text, &e), "%s: %s", rows[i].text, e.text);
        ck_assert_msg(str_is(buf_view(&out), rows[i].value), "%s: %s", rows[i].text, out.p);
        if (rows[i].json == NULL)
            continue;
        buf_clear(&out);
        ck_assert_msg(notice_json(&out, &run, rows[i].text, &e), "%s: %s", rows[i].text, e.text);
        ck_assert_str_eq(out.p, rows[i].json);
    }
    ck_assert(notice_is_path(".output"));
    ck_assert(!notice_is_path("output"));
    ck_assert(!notice_is_path(NULL));
}
END_TEST

START_TEST(paths_to_nothing_are_told_by_their_name)
{
    static const char *const rows[] = {".input.nothing",
                                       ".input.payload.no",
                                       ".input.payload.commits[9]",
                                       ".input.payload.after.x",
                                       ".run.x",
                                       ".input..payload",
                                       ".input.payload.commits[-1]"};
    struct err e;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_clear(&out);
        ck_assert_msg(!notice_value(&out, &run, rows[i], &e), "%s", rows[i]);
        ck_assert_int_eq(e.code, ERR_NOT_FOUND);
        ck_assert_ptr_nonnull(strstr(e.text, rows[i]));
        ck_assert(!notice_json(&out, &run, rows[i], &e));
    }
    run.input = run.output = (struct str){NULL, 0};
    ck_assert(!notice_value(&out, &run, ".input.payload", &e));
    ck_assert(!notice_json(&out, &run, ".output", &e));
}
END_TEST

START_TEST(output_is_told_in_its_own_words)
{
    static const char *const rows[][2] = {
        {"\"all is well\"", "all is well"},
        {" \"a\\nb\" ", "a\nb"},
        {"{\"message\":\"m\",\"summary\":\"s\"}", "s"},
        {"{\"report\":\"r\",\"text\":\"t\"}", "t"},
        {"{\"markdown\":\"# m\",\"text\":\"t\"}", "# m"},
        {"{\"text\":5,\"summary\":\"s\"}", "s"},
        {"{\"text\":\"\",\"summary\":\"s\"}", "s"},
        {"{\"a\":1}", "{\n  \"a\": 1\n}"},
        {"[]", "[]"},
        {"null", "null"},
        {"12", "12"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf_clear(&out);
        notice_output_text(&out, str_of(rows[i][0]));
        ck_assert_msg(str_is(buf_view(&out), rows[i][1]), "%s: %s", rows[i][0], out.p);
    }
    buf_clear(&out);
    notice_output_text(&out, (struct str){NULL, 0});
    ck_assert_str_eq(out.p, "(no output)");
}
END_TEST

START_TEST(failure_is_told_with_how_to_look_and_try_again)
{
    run.step = STR("analyse");
    run.attempts = 3;
    notice_text(&out, &run, &config->set);
    assert_has("daily failed after 3 attempts.\n");
    assert_has("Run:     r-1\n");
    assert_has("Step:    analyse\n");
    assert_has("Error:   it \"broke\" badly\n");
    assert_has("Ended:   2026-01-01T00:00:05.000Z\n");
    assert_has("hookmesh dlq show r-1\n");
    assert_has("hookmesh dlq retry r-1\n");
    assert_has("http://127.0.0.1:4665/#/runs/r-1\n");
    buf_clear(&out);
    notice_subject(&out, &run);
    ck_assert_str_eq(out.p, "daily failed: it \"broke\" badly");
    run.state = STR("timed_out");
    buf_clear(&out);
    notice_subject(&out, &run);
    assert_has("daily took too long");
}
END_TEST

START_TEST(result_is_told_with_its_run)
{
    run.state = STR("succeeded");
    run.error = (struct str){NULL, 0};
    notice_text(&out, &run, &config->set);
    ck_assert_str_eq(out.p, "# Done\n\n-- \ndaily, run r-1\nhttp://127.0.0.1:4665/#/runs/r-1\n");
    buf_clear(&out);
    notice_subject(&out, &run);
    ck_assert_str_eq(out.p, "daily succeeded");
    buf_clear(&out);
    notice_data(&out, &run, &config->set, 1000);
    struct json *j = json_parse(buf_view(&out), NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(json_size(json_path(j, "output.items")), 2);
    ck_assert(str_is(json_str(json_get(j, "finished")), "2026-01-01T00:00:05.000Z"));
    json_free(j);
    buf_clear(&out);
    notice_data(&out, &run, &config->set, 5); /* too much for it */
    assert_has("\"output_size\":");
    ck_assert_ptr_null(strstr(out.p, "items"));
}
END_TEST

START_TEST(texts_are_cut_between_characters)
{
    for (size_t max = 0; max < 9; max++) {
        buf_clear(&out);
        buf_puts(&out, "\xf0\x9f\x9a\x80\xf0\x9f\x9a\x80x");
        notice_cut(&out, max);
        ck_assert(str_utf8_valid(buf_view(&out)));
        ck_assert(out.n < max + 40);
        struct buf line = {0};
        notice_line(&line, STR("\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbcx"), max);
        ck_assert(str_utf8_valid(buf_view(&line)));
        ck_assert(line.n <= max + 3);
        buf_finish(&line);
    }
    buf_clear(&out);
    notice_line(&out, STR("\r\na\r\n\tb\x01\x7f\n"), 100);
    ck_assert_str_eq(out.p, "a b ");
}
END_TEST

START_TEST(ids_follow_from_their_parts)
{
    struct buf other = {0};
    const struct str one[] = {STR("run"), STR("stage")};
    const struct str two[] = {STR("ru"), STR("nstage")};
    notice_id(&out, 2, one);
    notice_id(&other, 2, one);
    ck_assert_uint_eq(out.n, 32);
    ck_assert_str_eq(out.p, other.p);
    buf_clear(&other);
    notice_id(&other, 2, two);
    ck_assert_str_ne(out.p, other.p);
    buf_finish(&other);
}
END_TEST

START_TEST(links_use_the_public_address)
{
    mem_free(config->set.public_url);
    config->set.public_url = mem_strdup("https://hooks.example.org/");
    notice_link(&out, &config->set, STR("documents.a b/\xc3\xbc"));
    ck_assert_str_eq(out.p, "https://hooks.example.org/#/runs/documents.a%20b%2F%C3%BC");
}
END_TEST

Suite *notice_suite(void)
{
    Suite *s = suite_create("notice");
    TCase *t = tcase_create("notice");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, end_of_a_run_is_read);
    tcase_add_test(t, paths_point_into_the_run);
    tcase_add_test(t, paths_to_nothing_are_told_by_their_name);
    tcase_add_test(t, output_is_told_in_its_own_words);
    tcase_add_test(t, failure_is_told_with_how_to_look_and_try_again);
    tcase_add_test(t, result_is_told_with_its_run);
    tcase_add_test(t, texts_are_cut_between_characters);
    tcase_add_test(t, ids_follow_from_their_parts);
    tcase_add_test(t, links_use_the_public_address);
    suite_add_tcase(s, t);
    return s;
}
