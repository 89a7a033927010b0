/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/pattern.h"

Suite *pattern_suite(void);

static struct str S(const char *s) {
    return str_of(s);
}

START_TEST(keys_are_dotted_tokens_without_wildcards_and_spaces)
{
    static const struct {
        const char *key;
        const char *error; /* NULL: fine */
    } rows[] = {
        {"pipeline.doc-001.raw", NULL},
        {"a", NULL},
        {"stra\xC3\x9F"
         "e.\xE6\x97\xA5",
         NULL},
        {"a{b}c", NULL},
        {"", "empty"},
        {".a", "empty token"},
        {"a.", "empty token"},
        {"a..b", "empty token"},
        {".", "empty token"},
        {"a b", "space"},
        {"a\nb", "control"},
        {"a\x7F", "control"},
        {"a\xC2\x85", "control"},
        {"a.*", "wildcard"},
        {"a.>", "wildcard"},
        {"a*b", "wildcard"},
        {"a\xFF", "UTF-8"},
        {"a\xC0\x80", "UTF-8"},
        {"0123456789012345678901234567890123", "34 bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        bool ok = key_check(S(rows[i].key), 32, &e);
        ck_assert_msg(ok == (rows[i].error == NULL), "row %zu: %s", i, e.text);
        if (!ok) {
            ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "row %zu: %s", i, e.text);
            ck_assert_int_eq(e.code, ERR_BAD_INPUT);
        }
    }
    struct err e;
    ck_assert(!key_check((struct str){"a\0b", 3}, 32, &e));
    ck_assert(!key_check((struct str){NULL, 0}, 32, &e));
}
END_TEST

START_TEST(patterns_have_wildcards_as_whole_tokens_and_the_rest_last)
{
    static const struct {
        const char *pattern;
        const char *error;
    } rows[] = {
        {"pipeline.*.raw", NULL},
        {"*", NULL},
        {">", NULL},
        {"a.>", NULL},
        {"*.*.>", NULL},
        {"a.b*", "whole tokens"},
        {"a.**", "whole tokens"},
        {"a.>>", "whole tokens"},
        {"a.>.b", "last token"},
        {"*.*.*.*.*.*.*.*", NULL},
        {"*.*.*.*.*.*.*.*.*", "9 wildcards"},
        {"a..*", "empty token"},
        {"", "empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        bool ok = pattern_check(S(rows[i].pattern), 64, &e);
        ck_assert_msg(ok == (rows[i].error == NULL), "%s: %s", rows[i].pattern, e.text);
        if (!ok)
            ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "%s: %s", rows[i].pattern, e.text);
    }
}
END_TEST

START_TEST(a_star_takes_one_token_and_the_arrow_the_rest)
{
    static const struct {
        const char *pattern;
        const char *key;
        const char *wilds; /* joined by space; NULL: no match */
    } rows[] = {
        {"pipeline.*.raw", "pipeline.doc-001.raw", "doc-001"},
        {"pipeline.*.raw", "pipeline.a.b.raw", NULL},
        {"pipeline.*.raw", "pipeline..raw", NULL},
        {"pipeline.*.raw", "pipeline.doc-001.rawer", NULL},
        {"pipeline.*.raw", "pipeline.doc-001", NULL},
        {"pipeline.*.raw", "pipeline.doc-001.raw.more", NULL},
        {"a.b", "a.b", ""},
        {"a.b", "a.c", NULL},
        {"*.*", "x.y", "x y"},
        {">", "a", "a"},
        {">", "a.b.c", "a.b.c"},
        {"a.>", "a.b.c", "b.c"},
        {"a.>", "a", NULL},
        {"a.>", "a.", NULL},
        {"*.x.>", "1.x.2.3", "1 2.3"},
        {"*", "", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct pattern_match m;
        bool hit = pattern_matches(S(rows[i].pattern), S(rows[i].key), &m);
        ck_assert_msg(hit == (rows[i].wilds != NULL), "%s on %s", rows[i].pattern, rows[i].key);
        ck_assert(pattern_matches(S(rows[i].pattern), S(rows[i].key), NULL) == hit);
        if (!hit)
            continue;
        struct buf b = {0};
        buf_puts(&b, "");
        for (size_t w = 0; w < m.n; w++) {
            if (w != 0)
                buf_char(&b, ' ');
            buf_str(&b, m.wild[w]);
        }
        ck_assert_msg(str_is(buf_view(&b), rows[i].wilds), "%s on %s", rows[i].pattern,
                      rows[i].key);
        buf_finish(&b);
    }
}
END_TEST

START_TEST(patterns_overlap_when_one_key_could_match_both)
{
    static const struct {
        const char *a;
        const char *b;
        bool overlap;
    } rows[] = {
        {"a.*", "a.b", true},    {"a.*", "*.b", true},   {"a.*", "b.*", false},
        {"a.*", "a.*.c", false}, {"a.>", "a.*.c", true}, {"a.>", "a", false},
        {">", "x.y.z", true},    {"a.b", "a.b", true},   {"a.b", "a.c", false},
        {"a.>", "b.>", false},   {"a.>", "*.>", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(pattern_overlaps(S(rows[i].a), S(rows[i].b)) == rows[i].overlap, "%s %s",
                      rows[i].a, rows[i].b);
        ck_assert_msg(pattern_overlaps(S(rows[i].b), S(rows[i].a)) == rows[i].overlap, "%s %s",
                      rows[i].b, rows[i].a);
    }
}
END_TEST

START_TEST(a_glob_escapes_what_redis_would_read_and_covers_every_match)
{
    static const struct {
        const char *pattern;
        const char *glob;
    } rows[] = {
        {"pipeline.*.raw", "pipeline.?*.raw"},
        {">", "?*"},
        {"a.>", "a.?*"},
        {"plain.key", "plain.key"},
        {"w[x]?\\y.*", "w\\[x\\]\\?\\\\y.?*"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};
        pattern_glob(&b, S(rows[i].pattern));
        ck_assert_str_eq(b.p, rows[i].glob);
        buf_finish(&b);
    }
    struct buf b = {0};
    pattern_glob(&b, S("w[x]?\\y.*"));
    ck_assert_int_eq(fnmatch(b.p, "w[x]?\\y.1", 0), 0);
    ck_assert_int_ne(fnmatch(b.p, "wx?\\y.1", 0), 0);
    buf_finish(&b);
}
END_TEST

START_TEST(templates_are_filled_with_what_the_wildcards_matched)
{
    static const struct {
        const char *tmpl;
        const char *run;
        const char *result; /* NULL: refused */
    } rows[] = {
        {"pipeline.{1}.done", "", "pipeline.doc.done"},
        {"{2}.{1}", "", "x.y.doc"},
        {"pre-{1}-post.{1}", "", "pre-doc-post.doc"},
        {"fixed.key", "", "fixed.key"},
        {"r.{run}", "0192", "r.0192"},
        {"r.{run}", "", NULL},
        {"{3}", "", NULL},
        {"{0}", "", NULL},
        {"{}", "", NULL},
        {"{x}", "", NULL},
        {"a.{1", "", NULL},
        {"a.}{1}", "", "a.}doc"},
        {"{99999999999999999999999}", "", NULL},
    };
    struct pattern_match m;
    ck_assert(pattern_matches(S("in.*.>"), S("in.doc.x.y"), &m));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};
        buf_puts(&b, "=");
        bool ok = template_fill(&b, S(rows[i].tmpl), &m, S(rows[i].run));
        ck_assert_msg(ok == (rows[i].result != NULL), "%s", rows[i].tmpl);
        ck_assert_str_eq(b.p + 1, ok ? rows[i].result : "");
        buf_finish(&b);
    }
    struct buf b = {0};
    ck_assert(!template_fill(&b, S("{1}"), NULL, S("")));
    buf_finish(&b);
}
END_TEST

START_TEST(templates_are_checked_before_anything_is_filled)
{
    static const struct {
        const char *tmpl;
        size_t wilds;
        bool run;
        const char *error;
    } rows[] = {
        {"a.{1}.b", 1, false, NULL},      {"a.{2}.b", 1, false, "{2} has no wildcard"},
        {"a.{run}", 0, true, NULL},       {"a.{run}", 0, false, "no {run}"},
        {"a.{1", 1, true, "not closed"},  {"a.{name}", 1, true, "number"},
        {"a.*", 1, true, "no wildcards"}, {"a..{1}", 1, true, "empty token"},
        {"", 0, true, "empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = {0};
        bool ok = template_check(S(rows[i].tmpl), rows[i].wilds, rows[i].run, 64, &e);
        ck_assert_msg(ok == (rows[i].error == NULL), "%s: %s", rows[i].tmpl, e.text);
        if (!ok)
            ck_assert_msg(strstr(e.text, rows[i].error) != NULL, "%s: %s", rows[i].tmpl, e.text);
    }
}
END_TEST

START_TEST(a_template_that_could_feed_its_own_watch_is_seen)
{
    static const struct {
        const char *watch;
        const char *tmpl;
        bool overlap;
    } rows[] = {
        {"pipeline.*.raw", "pipeline.{1}.raw", true},
        {"pipeline.*.raw", "pipeline.{1}.done", false},
        {"a.*", "a.{1}-x", true},
        {"a.*", "a-{1}.c", false},
        {"a.*", "a.b.{1}", false},
        {"a.>", "a.b.{1}", true},
        {"a.>", "b.{1}", false},
        {"a.*.>", "{2}.a", true}, /* {2} may be "a.b.c" */
        {"x.*.>", "y.{2}.z", false},
        {"*.raw", "{run}.raw", true},
        {"*.raw", "{run}.{1}", true},
        {"*.raw", "{1}.raw.x", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(template_overlaps(S(rows[i].tmpl), S(rows[i].watch), S(rows[i].watch)) ==
                          rows[i].overlap,
                      "%s writes %s", rows[i].watch, rows[i].tmpl);
    ck_assert(template_overlaps(S("out.{1}.end"), S("in.>"), S("out.*.*.*.end")));
    ck_assert(!template_overlaps(S("out.{1}.end"), S("in.>"), S("out.*.*.*.fin")));
    ck_assert(!template_overlaps(S("out.{1}.{1}.end"), S("in.>"), S("out.x.end")));
    ck_assert(!template_overlaps(S("out.o{1}.end"), S("in.>"), S("out.x.end")));
}
END_TEST

START_TEST(many_dotted_holes_are_answered_at_once)
{
    struct buf t = {0};
    struct buf p = {0};
    for (int i = 0; i < 200; i++) {
        buf_puts(&t, "{1}.");
        buf_puts(&p, "a.a.");
    }
    buf_puts(&t, "x");
    buf_puts(&p, "y");
    ck_assert(!template_overlaps(buf_view(&t), S(">"), buf_view(&p)));
    buf_finish(&t);
    buf_finish(&p);
}
END_TEST

Suite *pattern_suite(void)
{
    Suite *s = suite_create("pattern");
    TCase *t = tcase_create("pattern");
    tcase_add_test(t, keys_are_dotted_tokens_without_wildcards_and_spaces);
    tcase_add_test(t, patterns_have_wildcards_as_whole_tokens_and_the_rest_last);
    tcase_add_test(t, a_star_takes_one_token_and_the_arrow_the_rest);
    tcase_add_test(t, patterns_overlap_when_one_key_could_match_both);
    tcase_add_test(t, a_glob_escapes_what_redis_would_read_and_covers_every_match);
    tcase_add_test(t, templates_are_filled_with_what_the_wildcards_matched);
    tcase_add_test(t, templates_are_checked_before_anything_is_filled);
    tcase_add_test(t, a_template_that_could_feed_its_own_watch_is_seen);
    tcase_add_test(t, many_dotted_holes_are_answered_at_once);
    suite_add_tcase(s, t);
    return s;
}
