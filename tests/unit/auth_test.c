/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "handlers/auth.h"

Suite *auth_suite(void);

#define TOKEN "a-token-of-some-length"

static struct str header(const char *s)
{
    return s ? str_of(s) : (struct str){0};
}

/* ERR_NONE: it may. */
static enum err_code check(bool changes, const char *host, const char *origin, const char *site,
                           const char *authorization, const char *cookie)
{
    struct err e = {0};
    struct auth_facts f = {.changes = changes,
                           .host = header(host),
                           .origin = header(origin),
                           .fetch_site = header(site),
                           .authorization = header(authorization),
                           .cookie = header(cookie)};
    return auth_check(&f, &e) ? ERR_NONE : e.code;
}

START_TEST(without_a_token_programs_on_this_machine_may_do_all)
{
    auth_start("");
    ck_assert_int_eq(check(true, "127.0.0.1:4665", NULL, NULL, NULL, NULL), ERR_NONE);
    ck_assert_int_eq(check(true, "localhost:4665", NULL, NULL, NULL, NULL), ERR_NONE);
    ck_assert_int_eq(check(true, "[::1]:4665", NULL, NULL, NULL, NULL), ERR_NONE);
    ck_assert_int_eq(check(true, "127.0.0.1:1", NULL, NULL, "Bearer whatever", NULL), ERR_NONE);
    auth_stop();
}
END_TEST

START_TEST(a_foreign_name_that_points_at_this_machine_is_refused_without_a_token)
{
    static const char *const hosts[] = {
        "evil.example:4665", "evil.example", "", "abc.de:80", "[", NULL};
    auth_start(NULL);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++)
        ck_assert_int_eq(check(false, hosts[i], NULL, NULL, NULL, NULL), ERR_FORBIDDEN);
    auth_stop();
}
END_TEST

START_TEST(a_page_of_another_site_may_change_nothing_without_a_token)
{
    auth_start(NULL);
    ck_assert_int_eq(check(true, "127.0.0.1:1", "http://evil.example", NULL, NULL, NULL),
                     ERR_FORBIDDEN);
    ck_assert_int_eq(check(true, "127.0.0.1:1", "http://127.0.0.1:2", NULL, NULL, NULL),
                     ERR_FORBIDDEN);
    ck_assert_int_eq(check(true, "127.0.0.1:1", "null", NULL, NULL, NULL), ERR_FORBIDDEN);
    ck_assert_int_eq(check(true, "127.0.0.1:1", "", NULL, NULL, NULL), ERR_FORBIDDEN);
    ck_assert_int_eq(check(true, "127.0.0.1:1", NULL, "cross-site", NULL, NULL), ERR_FORBIDDEN);
    ck_assert_int_eq(check(true, "127.0.0.1:1", "http://127.0.0.1:1", NULL, NULL, NULL), ERR_NONE);
    ck_assert_int_eq(check(true, "localhost", "http://localhost", "same-origin", NULL, NULL),
                     ERR_NONE);
    ck_assert_int_eq(check(true, "localhost:443", "https://localhost", NULL, NULL, NULL), ERR_NONE);
    auth_stop();
}
END_TEST

START_TEST(the_token_opens_everything_to_programs_from_anywhere)
{
    auth_start(TOKEN);
    ck_assert_int_eq(
        check(true, "mesh.example", "https://other.example", "cross-site", "Bearer " TOKEN, NULL),
        ERR_NONE);
    ck_assert_int_eq(check(false, "mesh.example", NULL, NULL, "bearer  " TOKEN, NULL), ERR_NONE);
    auth_stop();
}
END_TEST

START_TEST(a_wrong_token_is_refused)
{
    static const char *const wrong[] = {"Bearer ",
                                        "Bearer x",
                                        "Bearer " TOKEN "x",
                                        "Basic " TOKEN,
                                        TOKEN,
                                        "Bearer",
                                        "",
                                        "Bearer a-token-of-some-lengt",
                                        "Bearer " TOKEN TOKEN};
    auth_start(TOKEN);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_int_eq(check(false, "127.0.0.1:1", NULL, NULL, wrong[i], NULL), ERR_UNAUTHORIZED);
    ck_assert_int_eq(check(false, "127.0.0.1:1", NULL, NULL, NULL, NULL), ERR_UNAUTHORIZED);
    auth_stop();
}
END_TEST

START_TEST(a_made_up_session_is_refused)
{
    static const char *const wrong[] = {"hookmesh_session=",
                                        "hookmesh_session=99999999999",
                                        "hookmesh_session=99999999999.",
                                        "hookmesh_session=99999999999.sha256=00",
                                        "hookmesh_session=x.y",
                                        "other=1; hookmesh_session=.",
                                        ";;;",
                                        "="};
    auth_start(TOKEN);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        ck_assert_int_eq(check(false, "127.0.0.1:1", NULL, NULL, NULL, wrong[i]), ERR_UNAUTHORIZED);
    auth_stop();
}
END_TEST

START_TEST(a_websocket_of_another_site_is_refused_and_one_of_a_program_is_not)
{
    struct err e;
    struct str none = {0};
    auth_start(NULL);
    ck_assert(auth_websocket(STR("/v1/live"), none, STR("127.0.0.1:1"), none, none, &e));
    ck_assert(auth_websocket(STR("/v1/live"), STR("http://127.0.0.1:1"), STR("127.0.0.1:1"), none,
                             none, &e));
    ck_assert(!auth_websocket(STR("/v1/live"), STR("http://evil.example"), STR("127.0.0.1:1"), none,
                              none, &e));
    ck_assert_int_eq(e.code, ERR_FORBIDDEN);
    auth_start(TOKEN);
    ck_assert(!auth_websocket(STR("/v1/live"), none, STR("127.0.0.1:1"), none, none, &e));
    ck_assert_int_eq(e.code, ERR_UNAUTHORIZED);
    ck_assert(
        auth_websocket(STR("/v1/live"), none, STR("x.example"), STR("Bearer " TOKEN), none, &e));
    auth_stop();
}
END_TEST

START_TEST(every_one_time_code_is_another_one)
{
    char first[64];
    auth_start(TOKEN);
    strncpy(first, auth_one_time_code(), sizeof first - 1);
    first[sizeof first - 1] = '\0';
    ck_assert_uint_eq(strlen(first), 32);
    ck_assert_str_ne(first, auth_one_time_code());
    auth_stop();
}
END_TEST

Suite *auth_suite(void)
{
    Suite *s = suite_create("auth");
    TCase *t = tcase_create("auth");
    tcase_add_test(t, without_a_token_programs_on_this_machine_may_do_all);
    tcase_add_test(t, a_foreign_name_that_points_at_this_machine_is_refused_without_a_token);
    tcase_add_test(t, a_page_of_another_site_may_change_nothing_without_a_token);
    tcase_add_test(t, the_token_opens_everything_to_programs_from_anywhere);
    tcase_add_test(t, a_wrong_token_is_refused);
    tcase_add_test(t, a_made_up_session_is_refused);
    tcase_add_test(t, a_websocket_of_another_site_is_refused_and_one_of_a_program_is_not);
    tcase_add_test(t, every_one_time_code_is_another_one);
    suite_add_tcase(s, t);
    return s;
}
