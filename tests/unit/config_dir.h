/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary directory with configuration files in it, for the tests that load one. Included by one file of a program; each test runs in a
 * process of its own, so the working directory is the test's. */
#ifndef UNIT_CONFIG_DIR_H
#define UNIT_CONFIG_DIR_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/config.h"

static char dir[64];

__attribute__((unused)) static void enter_temp_dir(void)
{
    static const char *const schemes[] = {"github", "gitlab", "hmac-sha256", "token", NULL};
    config_schemes(schemes);
    snprintf(dir, sizeof dir, "/tmp/config_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chdir(dir), 0);
    unsetenv("HOOKMESH_TOKEN");
    unsetenv("HOOKMESH_LISTEN");
}

__attribute__((unused)) static void leave_temp_dir(void)
{
    char *command = mem_format("rm -rf %s", dir);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(system(command), 0);
    mem_free(command);
}

__attribute__((unused)) static void put_file(const char *name, struct str text)
{
    FILE *f = fopen(name, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text.p, 1, text.n, f), text.n);
    fclose(f);
}

__attribute__((unused)) static void put_text(const char *name, const char *text)
{
    put_file(name, str_of(text));
}

__attribute__((unused)) static struct config *load_good(const char *const *overrides)
{
    struct buf report = {0};
    struct config *c = config_load(".", overrides, false, &report);
    ck_assert_msg(c != NULL, "%s", report.p != NULL ? report.p : "");
    buf_finish(&report);
    return c;
}

__attribute__((unused)) static struct buf load_bad(const char *const *overrides)
{
    struct buf report = {0};
    struct config *c = config_load(".", overrides, false, &report);
    ck_assert_ptr_null(c);
    ck_assert_ptr_nonnull(report.p);
    return report;
}

__attribute__((unused)) static void assert_says(struct buf *report, const char *text)
{
    ck_assert_msg(strstr(report->p, text) != NULL, "wanted: %s\ngot: %s", text, report->p);
}

#endif
