/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens of runs, and what they open. */
#include "work/token.h"

#include <check.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "handlers/auth.h"

Suite *token_suite(void);

enum { NOW = 1000000 };

static struct buf text;

static void setup(void)
{
    token_use_secret(STR("a secret of all servers"));
    ck_assert(token_make(&text, STR("0193-run"), "orche\"strator", NOW));
}

static void teardown(void)
{
    buf_finish(&text);
    token_stop();
}

static bool reads(struct str s, int64_t now)
{
    struct token t;
    struct err e = {0};
    bool good = token_read(&t, s, now, &e);
    ck_assert(good || e.code == ERR_UNAUTHORIZED);
    token_finish(&t);
    return good;
}

START_TEST(token_tells_its_run_and_agent_until_its_end)
{
    struct token t;
    ck_assert(token_is_one(buf_view(&text)));
    ck_assert(token_read(&t, buf_view(&text), NOW, NULL));
    ck_assert(str_is(t.run, "0193-run"));
    ck_assert(str_is(t.agent, "orche\"strator"));
    token_finish(&t);
    ck_assert(!reads(buf_view(&text), NOW + 1));
}
END_TEST

START_TEST(token_with_any_other_byte_is_refused)
{
    for (size_t i = 0; i < text.n; i++) {
        char was = text.p[i];
        text.p[i] = was == 'A' ? 'B' : 'A';
        ck_assert_msg(!reads(buf_view(&text), NOW), "byte %zu", i);
        text.p[i] = was;
    }
    for (size_t n = 0; n < text.n; n++)
        ck_assert_msg(!reads((struct str){text.p, n}, NOW), "%zu bytes", n);
    ck_assert(reads(buf_view(&text), NOW));
}
END_TEST

START_TEST(token_of_another_secret_is_refused)
{
    token_use_secret(STR("the secret of other servers"));
    ck_assert(!reads(buf_view(&text), NOW));
}
END_TEST

START_TEST(nothing_is_made_or_believed_before_the_secret_is_known)
{
    struct buf out = {0};
    token_stop();
    ck_assert(!token_make(&out, STR("r"), "a", NOW));
    ck_assert(!reads(buf_view(&text), NOW));
    buf_finish(&out);
}
END_TEST

START_TEST(long_rubbish_is_refused)
{
    struct buf out = {0};
    buf_puts(&out, TOKEN_PREFIX);
    for (int i = 0; i < 100000; i++)
        buf_char(&out, i % 100 == 99 ? '.' : 'A');
    ck_assert(!reads(buf_view(&out), NOW));
    ck_assert(!reads(STR(TOKEN_PREFIX), NOW));
    ck_assert(!reads(STR(TOKEN_PREFIX "."), NOW));
    buf_finish(&out);
}
END_TEST

/* What auth says to this request with our token. */
static enum err_code asks(bool post, const char *path)
{
    struct buf header = {0};
    struct err e = {0};
    buf_printf(&header, "Bearer %s", text.p);
    struct auth_facts f = {.changes = post,
                           .post = post,
                           .path = str_of(path),
                           .host = STR("127.0.0.1:1"),
                           .authorization = buf_view(&header),
                           .now_ms = NOW};
    enum err_code code = auth_check(&f, &e) ? ERR_NONE : e.code;
    buf_finish(&header);
    return code;
}

static const char *const server_tokens[] = {"", "the token of the server"};

START_TEST(token_opens_the_start_of_jobs_and_the_sight_of_runs_and_nothing_else)
{
    static const char *const closed_posts[] = {
        "/v1/kv", "/v1/runs/ID/cancel", "/v1/jobs//runs", "/v1/jobs/x/y/runs", "/v1/jobs/x",
        "/",      "/v1/dlq/retry",      "/v1/runs/ID"};
    static const char *const closed_gets[] = {"/v1/runs",           "/v1/runs/", "/v1/runs//logs",
                                              "/v1/runs/ID/x/logs", "/v1/kv/a",  "/metrics",
                                              "/v1/jobs/x/runs",    "/v1/live"};
    auth_start(server_tokens[_i]);
    ck_assert_int_eq(asks(true, "/v1/jobs/publish_content/runs"), ERR_NONE);
    ck_assert_int_eq(asks(false, "/v1/runs/0193-other"), ERR_NONE);
    ck_assert_int_eq(asks(false, "/v1/runs/0193-other/logs"), ERR_NONE);
    ck_assert_int_eq(asks(false, "/v1/runs/0193-other/output"), ERR_NONE);
    for (size_t i = 0; i < sizeof closed_posts / sizeof *closed_posts; i++)
        ck_assert_msg(asks(true, closed_posts[i]) == ERR_FORBIDDEN, "POST %s", closed_posts[i]);
    for (size_t i = 0; i < sizeof closed_gets / sizeof *closed_gets; i++)
        ck_assert_msg(asks(false, closed_gets[i]) == ERR_FORBIDDEN, "GET %s", closed_gets[i]);
    text.p[text.n - 1] = text.p[text.n - 1] == 'A' ? 'B' : 'A';
    ck_assert_int_eq(asks(true, "/v1/jobs/publish_content/runs"), ERR_UNAUTHORIZED);
    auth_stop();
}
END_TEST

START_TEST(tokens_are_left_out_of_every_text)
{
    struct buf line = {0};
    buf_printf(&line, "HOOKMESH_TOKEN=%s and %s; the prefix hmr1. alone", text.p, text.p);
    log_redact(&line, 0);
    ck_assert_str_eq(line.p, "HOOKMESH_TOKEN=[redacted] and [redacted]; the prefix hmr1. alone");
    buf_finish(&line);
}
END_TEST

Suite *token_suite(void)
{
    Suite *s = suite_create("token");
    TCase *t = tcase_create("token");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, token_tells_its_run_and_agent_until_its_end);
    tcase_add_test(t, token_with_any_other_byte_is_refused);
    tcase_add_test(t, token_of_another_secret_is_refused);
    tcase_add_test(t, nothing_is_made_or_believed_before_the_secret_is_known);
    tcase_add_test(t, long_rubbish_is_refused);
    tcase_add_loop_test(t, token_opens_the_start_of_jobs_and_the_sight_of_runs_and_nothing_else, 0,
                        2);
    tcase_add_test(t, tokens_are_left_out_of_every_text);
    suite_add_tcase(s, t);
    return s;
}
