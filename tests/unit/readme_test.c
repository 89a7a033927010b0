/* SPDX-License-Identifier: Apache-2.0 */
/* The README's table of settings is the one that the program prints, and its examples are taken. After a change of config/settings.def:
 *
 *     README_WRITE=1 build/unit_readme
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/config.h"

static const char path[] = HOOKMESH_SOURCE_DIR "/README.md";
static const char begin_mark[] = "<!-- settings:";
static const char end_mark[] = "<!-- end of settings -->";

static void read_file(struct buf *out)
{
    FILE *f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    char bytes[4096];
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        buf_add(out, bytes, n);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(readme_shows_the_settings_that_there_are)
{
    struct buf readme = {0};
    struct buf table = {0};
    read_file(&readme);
    config_reference(&table, true);
    char *begin = strstr(readme.p, begin_mark);
    ck_assert_ptr_nonnull(begin);
    begin = strchr(begin, '\n') + 1;
    char *end = strstr(begin, end_mark);
    ck_assert_ptr_nonnull(end);
    struct str shown = {begin, (size_t)(end - begin)};
    if (getenv("README_WRITE") != NULL && !str_eq(shown, buf_view(&table))) {
        FILE *f = fopen(path, "we");
        ck_assert_ptr_nonnull(f);
        fprintf(f, "%.*s%s%s", (int)(begin - readme.p), readme.p, table.p, end);
        ck_assert_int_eq(fclose(f), 0);
    } else {
        ck_assert_msg(str_eq(shown, buf_view(&table)),
                      "README.md shows other settings than the program; "
                      "README_WRITE=1 build/unit_readme writes them");
    }
    buf_finish(&readme);
    buf_finish(&table);
}
END_TEST

static void write_file(const char *name, const char *p, size_t n)
{
    FILE *f = fopen(name, "we");
    ck_assert_msg(f != NULL, "%s: %s", name, strerror(errno));
    ck_assert_uint_eq(fwrite(p, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

/* Loads one example from a directory of its own. Programs and shared objects that it names need not be there. */
static void check_example(const char *p, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = mem_format("%s/readme-XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    char *file = mem_format("%s/example.yaml", dir);
    write_file(file, p, n);
    struct buf report = {0};
    struct config *c = config_load(dir, NULL, true, &report);
    unlink(file);
    rmdir(dir);
    ck_assert_msg(c != NULL, "an example is refused:\n%s", report.p);
    ck_assert_uint_gt(c->pipeline_n, 0);
    config_unref(c);
    buf_finish(&report);
    mem_free(file);
    mem_free(dir);
}

START_TEST(examples_of_the_readme_are_taken)
{
    static const char begin_code[] = "\n```yaml\n";
    struct buf readme = {0};
    size_t examples = 0;
    read_file(&readme);
    setenv("TELL_TOKEN", "a-token-of-the-example", 1);
    for (const char *p = strstr(readme.p, begin_code); p != NULL; p = strstr(p, begin_code)) {
        p += sizeof begin_code - 1;
        const char *end = strstr(p, "```\n");
        ck_assert_ptr_nonnull(end);
        check_example(p, (size_t)(end - p));
        examples++;
    }
    ck_assert_uint_ge(examples, 2);
    buf_finish(&readme);
}
END_TEST

Suite *readme_suite(void);
Suite *readme_suite(void)
{
    Suite *s = suite_create("readme");
    TCase *t = tcase_create("readme");
    tcase_add_test(t, readme_shows_the_settings_that_there_are);
    tcase_add_test(t, examples_of_the_readme_are_taken);
    suite_add_tcase(s, t);
    return s;
}
