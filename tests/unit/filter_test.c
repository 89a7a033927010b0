/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/filter.h"
#include "base/mem.h"

Suite *filter_suite(void);

START_TEST(programs_that_people_write_are_taken)
{
    static const char *const programs[] = {
        ".",
        ".payload.ref == \"refs/heads/main\"",
        ".payload.commits | map(.added[]) | any(endswith(\".md\"))",
        "# only main\n.payload.ref | test(\"main\")",
        "{repo: .payload.repository.full_name, input: .event, env, import: 1, debug: 2}",
        "if .event == \"push\" then {a: 1, b: 2} else empty end",
        "if .a then 1 elif .b then {if: 2, end: 3} else \"a\\(.x | {input: 1})\" end",
        "def f(g): g | .env; f(.payload)",
        "reduce .payload.commits[] as $c ({}; . + {($c.id): $c.author})",
        ". as {payload: {$ref}, $event} | \"\\($event): \\($ref)\\n\\u0041\"",
        "[.payload.a[]?, (.b // 1.5e-3)] | @base64 \"x\\(.)\"",
        "label $out | foreach .payload[] as $x (0; . + $x; if . > 3 then ., break $out else . end)",
        ".payload[\"import\"] | .[1:] // .[:-1]",
        ".. | .input? // empty",
        ". as [$a] ?// $a | [$a, $__loc__]",
    };
    struct err e;
    size_t at;
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        ck_assert_msg(filter_check(str_of(programs[i]), &at, &e), "%s: %s", programs[i], e.text);
    filter_finish();
}
END_TEST

static const struct wrong {
    const char *program; /* ^ stands before the place */
    const char *why;
} wrongs[] = {
    {"^", "the jq filter is empty"},
    {"^  # only a comment", "the jq filter is empty"},
    {".a | ^| .b", "syntax error, unexpected '|'"},
    {".a |\n .b\n | | ^} ", "closes none"},
    {".a == \"x\" ^foo", "syntax error, unexpected IDENT, expecting the end"},
    {".a = ^= 1", "syntax error"},
    {".a | ^foo", "foo/0 is not defined"},
    {".a |\n  .foo + {foo: 1} + (^foo | 1) + bar(1; 2)\n", "foo/0 is not defined"},
    {"def f(g): g; f(1) |\n ^f + f(1;2)", "f/0 is not defined"},
    {"def f(g): g; f(1) |\n f(.) + ^f(1;2)", "f/2 is not defined"},
    {".a + ^$x", "$x is not defined"},
    {". as [$a] | ^$b", "$b is not defined"},
    {"label $f | break ^$g", "$g is not defined"},
    {"^(.a", "this bracket is never closed"},
    {".a^)", "this bracket closes none"},
    {"[.a^}", "this bracket closes none"},
    {".a | test(^\"x)", "has no end"},
    {"\"a\\(1 | ^} )\"", "closes none"},
    {"\"a\\(1 | ^| 2)\"", "syntax error, unexpected '|'"},
    {"if . then 1 ^end", "syntax error, unexpected end"},
    {"if . then 1 else^", "the filter ends too early"},
    {".a |^", "the filter ends too early"},
    {"{^1: 2}", "syntax error, unexpected LITERAL"},
    {"^{(1): 2}", "Cannot use number (1) as object key"},
    {"^\"\\ \"", "Invalid escape"},
    {"^@", "syntax error"},
    {"^%%%", "syntax error"},
    {".a ^\x01", "syntax error"},
    {"^import \"a\" as b; .", "import is not for filters: it reads a file"},
    {"^import \"a\" as $b; .", "import is not for filters"},
    {"^include \"a\";", "include is not for filters"},
    {"^include \"\\ \"; .", "include is not for filters"},
    {"^module {}; .", "module is not for filters"},
    {"\"a\" | ^modulemeta", "modulemeta is not for filters"},
    {"^env.HOME", "env is not for filters: it reads the environment"},
    {"{a: ^env}", "env is not for filters"},
    {"{a: (1, ^env)}", "env is not for filters"},
    {"{a: .[^env:]}", "env is not for filters"},
    {"{(^env): 1}", "env is not for filters"},
    {"{a: 1 | ^env}", "env is not for filters"},
    {"\"\\(^env)\"", "env is not for filters"},
    {"{a: if 1 then 2, ^env else 3 end}", "env is not for filters"},
    {"^$ENV.PATH", "$ENV is not for filters: it reads the environment"},
    {"^$ # behind a comment\n ENV", "$ENV is not for filters"},
    {"{^$ENV}", "$ENV is not for filters"},
    {"^$__prog_args", "$__prog_args is not for filters"},
    {"[., ^input]", "input is not for filters"},
    {"[^inputs]", "inputs is not for filters"},
    {"^input_filename", "input_filename is not for filters"},
    {"^input_line_number", "input_line_number is not for filters"},
    {". | ^debug", "debug is not for filters"},
    {". | ^stderr", "stderr is not for filters"},
    {"^halt", "halt is not for filters: it ends the program"},
    {"1 | ^halt_error(3)", "halt_error is not for filters"},
    {"^get_search_list", "get_search_list is not for filters"},
    {"def ^input: 1; .", "input is not for filters"},
};

START_TEST(each_wrong_program_is_refused_where_it_is_wrong)
{
    const struct wrong *w = &wrongs[_i];
    const char *mark = strchr(w->program, '^');
    struct buf program = {0};
    buf_add(&program, w->program, (size_t)(mark - w->program));
    buf_puts(&program, mark + 1);
    struct err e = {0};
    size_t at = 12345;
    ck_assert_msg(!filter_check(buf_view(&program), &at, &e), "%s is taken", program.p);
    ck_assert_int_eq(e.code, ERR_CONFIG);
    ck_assert_msg(strstr(e.text, w->why) != NULL, "%s: %s", w->program, e.text);
    ck_assert_msg(at == (size_t)(mark - w->program), "%s: %zu: %s", w->program, at, e.text);
    buf_finish(&program);
    filter_finish();
}
END_TEST

START_TEST(what_is_no_text_or_too_long_or_too_deep_is_refused)
{
    struct err e;
    size_t at;
    ck_assert(!filter_check(STR(".a\0.b"), &at, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "not UTF-8 text"));
    ck_assert(!filter_check(STR("\"\xFF\""), &at, &e));
    struct buf b = {0};
    for (int i = 0; i < 20000; i++)
        buf_char(&b, '1');
    ck_assert(!filter_check(buf_view(&b), &at, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "longer than"));
    buf_clear(&b);
    for (int i = 0; i < 5000; i++)
        buf_char(&b, '[');
    ck_assert(!filter_check(buf_view(&b), &at, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "nested too deeply"));
    buf_finish(&b);
    filter_finish();
}
END_TEST

/* Deep in operators instead of brackets, where only libjq can say how much is too much. */
START_TEST(a_program_that_breaks_libjq_costs_a_message)
{
    static const char *const repeated[] = {
        "-", "try ", "1 as $x | ", "def f: ", "not|", "1+", ".a"};
    for (size_t k = 0; k < sizeof repeated / sizeof repeated[0]; k++) {
        struct buf b = {0};
        while (b.n < 16000)
            buf_puts(&b, repeated[k]);
        struct err e = {0};
        size_t at;
        if (!filter_check(buf_view(&b), &at, &e))
            ck_assert_msg(e.text[0] != '\0' && e.code == ERR_CONFIG, "%s", e.text);
        buf_finish(&b);
    }
    filter_finish();
}
END_TEST

START_TEST(a_program_that_was_checked_is_not_compiled_again)
{
    struct err e;
    size_t at;
    ck_assert(filter_check(STR(".a.b.c"), &at, &e));
    int64_t before = clock_mono_us();
    for (int i = 0; i < 1000; i++)
        ck_assert(filter_check(STR(".a.b.c"), &at, &e));
    ck_assert_int_lt(clock_mono_us() - before, 1000000);
    filter_finish();
}
END_TEST

START_TEST(the_file_in_home_that_jq_reads_by_itself_is_not_read)
{
    char dir[] = "/tmp/hookmesh-filter.XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/.jq", dir);
    FILE *f = fopen(path, "w");
    fputs("def mine: 1;\n", f);
    fclose(f);
    setenv("HOME", dir, 1);
    struct err e;
    size_t at;
    ck_assert(!filter_check(STR("mine"), &at, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "mine/0 is not defined"));
    ck_assert_str_eq(getenv("HOME"), dir);
    unlink(path);
    rmdir(dir);
}
END_TEST

static bool apply(struct filter *f, const char *json, struct buf *out, struct err *e)
{
    struct filter_input *in = filter_input_new(str_of(json), e);
    bool good = in != NULL && filter_apply(f, in, out, e);
    filter_input_free(in);
    return good;
}

static void gives(struct filter *f, const char *json, const char *want)
{
    struct buf out = {0};
    struct err e;
    ck_assert_msg(apply(f, json, &out, &e), "%s", e.text);
    ck_assert_str_eq(out.n != 0 ? out.p : "", want);
    buf_finish(&out);
}

START_TEST(a_filter_gives_its_first_output_again_and_again)
{
    struct err e;
    struct filter *f = filter_new(STR(".a[] | {x: .}"), &e);
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 3; i++) {
        gives(f, "{\"a\":[\"\\u00e4\",2]}", "{\"x\":\"\xC3\xA4\"}");
        gives(f, "{\"a\":[]}", "");
        gives(f, "{\"a\":[null]}", "{\"x\":null}");
    }
    filter_free(f);
}
END_TEST

START_TEST(a_filter_that_fails_says_so_in_jqs_words)
{
    static const struct {
        const char *program;
        const char *json;
        const char *why;
    } cases[] = {
        {".a.b", "{\"a\":1}", "Cannot index number with string \"b\""},
        {"error({x: 1})", "{}", "{\"x\":1}"},
        {"error(\"no\")", "{}", "no"},
        {".", "", "the input is empty"},
        {".", "{\"a\":", "Unfinished"},
        {"@foo", "{}", "foo is not a valid format"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        struct filter *f = filter_new(str_of(cases[i].program), &e);
        struct buf out = {0};
        ck_assert_ptr_nonnull(f);
        ck_assert_msg(!apply(f, cases[i].json, &out, &e), "%s", cases[i].program);
        ck_assert_int_eq(e.code, ERR_UNPROCESSABLE);
        ck_assert_msg(strstr(e.text, cases[i].why) != NULL, "%s", e.text);
        buf_finish(&out);
        filter_free(f);
    }
    struct err e = {0};
    ck_assert_ptr_null(filter_new(STR("foo"), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "foo/0 is not defined"));
}
END_TEST

Suite *filter_suite(void)
{
    Suite *s = suite_create("filter");
    TCase *t = tcase_create("filter");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, programs_that_people_write_are_taken);
    tcase_add_loop_test(t, each_wrong_program_is_refused_where_it_is_wrong, 0,
                        sizeof wrongs / sizeof wrongs[0]);
    tcase_add_test(t, what_is_no_text_or_too_long_or_too_deep_is_refused);
    tcase_add_test(t, a_program_that_breaks_libjq_costs_a_message);
    tcase_add_test(t, a_program_that_was_checked_is_not_compiled_again);
    tcase_add_test(t, the_file_in_home_that_jq_reads_by_itself_is_not_read);
    tcase_add_test(t, a_filter_gives_its_first_output_again_and_again);
    tcase_add_test(t, a_filter_that_fails_says_so_in_jqs_words);
    suite_add_tcase(s, t);
    return s;
}
