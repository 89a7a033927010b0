/* SPDX-License-Identifier: Apache-2.0 */
/* Mails to a real mail server (tests/data/smtp_server.py), which treats some recipients badly. */
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/mail.h"
#include "net/proc.h"

Suite *mail_suite(void);

static struct proc *server;
static char dir[64];
static char url[64];
static struct buf told; /* by the server, lines of JSON */

static int done;
static enum err_code code;
static struct buf said;
static struct buf refused;
static struct buf text; /* of the error */

static void on_server_stdout(void *arg, struct str bytes)
{
    (void)arg;
    buf_str(&told, bytes);
    loop_stop();
}

static void on_server_stderr(void *arg, struct str bytes)
{
    (void)arg;
    (void)bytes; /* it wonders at length about clients that break off */
}

static void on_server_exit(void *arg, const struct proc_exit *x)
{
    (void)arg;
    (void)x;
    server = NULL;
    loop_stop();
}

/* The server's n-th line (0: its port), as soon as it is there. */
static struct json *line(int n)
{
    for (;;) {
        struct str rest = buf_view(&told);
        for (int i = 0; rest.p != NULL; i++) {
            struct str one = str_split(&rest, '\n');
            if (i == n && rest.p != NULL)
                return json_parse(one, NULL);
        }
        ck_assert_msg(server != NULL, "the mail server ended");
        loop_run();
    }
}

/* words: of the server's command line, NULL behind the last; "DIR" is the test's directory. */
static void serve(const char *scheme, const char *const *words)
{
    static const struct proc_events events = {on_server_stdout, on_server_stderr, on_server_exit};
    char *argv[10] = {mem_strdup("/usr/bin/python3"), mem_strdup(TEST_DATA_DIR "/smtp_server.py")};
    size_t n = 2;
    struct err e;
    strcpy(dir, "/tmp/hookmesh-mail-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (; words[n - 2] != NULL; n++)
        argv[n] = mem_strdup(strcmp(words[n - 2], "DIR") == 0 ? dir : words[n - 2]);
    ck_assert(loop_start(&e));
    server =
        proc_spawn(&(struct proc_options){.argv = argv, .die_with_us = true}, &events, NULL, &e);
    ck_assert_msg(server != NULL, "%s", e.text);
    for (size_t i = 0; i < n; i++)
        mem_free(argv[i]);
    struct json *port = line(0);
    snprintf(url, sizeof url, "%s://127.0.0.1:%d", scheme,
             (int)json_int(json_get(port, "port"), 0));
    json_free(port);
}
#define SERVE(scheme, ...) serve(scheme, (const char *const[]){__VA_ARGS__, NULL})

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st;
    (void)type;
    (void)f;
    return remove(path);
}

static void teardown(void)
{
    httpc_finish();
    if (server != NULL)
        proc_kill(server);
    while (server != NULL)
        loop_run();
    loop_finish();
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    buf_finish(&told);
    buf_finish(&said);
    buf_finish(&refused);
    buf_finish(&text);
}

static void put(struct buf *b, struct str s)
{
    buf_clear(b);
    buf_puts(b, "");
    buf_str(b, s);
}

static void on_done(void *arg, const struct mail_result *r, const struct err *e)
{
    (void)arg;
    done++;
    ck_assert((r == NULL) == (e != NULL));
    code = e != NULL ? e->code : ERR_NONE;
    put(&text, e != NULL ? str_of(e->text) : STR(""));
    put(&said, r != NULL ? r->said : STR(""));
    put(&refused, r != NULL ? r->refused : STR(""));
    loop_stop();
}

/* to: addresses with spaces between them. */
static struct mail_call *begin(struct httpc_dial d, const char *from, const char *to,
                               const char *message)
{
    const char *list[10] = {NULL};
    char *copy = mem_strdup(to);
    size_t n = 0;
    char *save = NULL;
    for (char *one = strtok_r(copy, " ", &save); one != NULL; one = strtok_r(NULL, " ", &save))
        list[n++] = one;
    d.url = d.url != NULL ? d.url : url;
    d.timeout_ms = d.timeout_ms != 0 ? d.timeout_ms : 20000;
    struct mail m = {d, from, list, str_of(message)};
    struct mail_call *c = mail_send(&m, on_done, NULL);
    mem_free(copy);
    return c;
}

static void mail_whole(struct httpc_dial d, const char *from, const char *to, const char *message)
{
    int before = done;
    begin(d, from, to, message);
    ck_assert_int_eq(done, before);
    while (done == before)
        loop_run();
}

static void mail(struct httpc_dial d, const char *to)
{
    mail_whole(d, "hookmesh@mail.test", to, "Subject: x\r\n\r\nHello\r\n");
}

static void assert_error(enum err_code wanted, const char *part)
{
    ck_assert_msg(code == wanted, "%s, not %s: %s", err_name(code), err_name(wanted), text.p);
    ck_assert_msg(strstr(text.p, part) != NULL, "\"%s\" is not in: %s", part, text.p);
}

START_TEST(mail_arrives_as_it_was_given_with_dots_at_line_starts)
{
    static const char message[] =
        "Subject: x\r\n\r\n.\r\n..two\r\n.one line\r\nlast without a dot\r\n.\r\n";
    SERVE("smtp", NULL);
    mail_whole((struct httpc_dial){0}, "hookmesh@mail.test", "a@mail.test b@mail.test", message);
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    ck_assert_str_eq(said.p, "250 2.0.0 queued as 4F1");
    ck_assert_uint_eq(refused.n, 0);
    struct json *got = line(1);
    ck_assert(str_is(json_str(json_get(got, "data")), message));
    ck_assert(str_is(json_str(json_get(got, "from")), "hookmesh@mail.test"));
    ck_assert(str_is(json_str(json_path(got, "to.0")), "a@mail.test"));
    ck_assert(str_is(json_str(json_path(got, "to.1")), "b@mail.test"));
    ck_assert(!json_bool(json_get(got, "tls"), true));
    json_free(got);
    struct json *quit = line(2);
    ck_assert(json_bool(json_get(quit, "quit"), false));
    json_free(quit);
}
END_TEST

START_TEST(bare_line_breaks_cannot_end_a_mail_early)
{
    SERVE("smtp", NULL);
    mail_whole((struct httpc_dial){0}, "hookmesh@mail.test", "a@mail.test",
               "Subject: x\r\n\r\na\n.\nMAIL FROM:<b@mail.test>\r.\rb\n.\r\nc");
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    struct json *got = line(1);
    ck_assert(
        str_is(json_str(json_get(got, "data")),
               "Subject: x\r\n\r\na\r\n.\r\nMAIL FROM:<b@mail.test>\r\n.\r\nb\r\n.\r\nc\r\n"));
    json_free(got);
}
END_TEST

START_TEST(recipient_that_is_refused_keeps_the_mail_from_nobody_else)
{
    SERVE("smtp", NULL);
    mail((struct httpc_dial){0}, "unknown@mail.test a@mail.test full@mail.test");
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    ck_assert_str_eq(refused.p, "unknown@mail.test\t550 5.1.1 no such mailbox\n"
                                "full@mail.test\t452 4.2.2 mailbox full\n");
    struct json *got = line(1);
    ck_assert_uint_eq(json_size(json_get(got, "to")), 1);
    json_free(got);
}
END_TEST

START_TEST(answers_of_the_server_say_whether_to_try_again)
{
    static const struct {
        const char *to;
        enum err_code code;
        const char *part;
    } rows[] = {
        {"unknown@mail.test", ERR_FORBIDDEN, "127.0.0.1 refused the mail: 550 5.1.1 no such"},
        {"full@mail.test", ERR_UNAVAILABLE, "put the mail off: 452 4.2.2 mailbox full"},
        {"spam@mail.test", ERR_FORBIDDEN, "554 5.7.1 this is spam"},
        {"later@mail.test", ERR_UNAVAILABLE, "451 4.3.0 not now"},
        {"drop@mail.test", ERR_UNAVAILABLE, "no answer from 127.0.0.1"},
    };
    SERVE("smtp", NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        mail((struct httpc_dial){0}, rows[i].to);
        assert_error(rows[i].code, rows[i].part);
    }
}
END_TEST

START_TEST(server_that_is_not_there_is_not_reachable)
{
    SERVE("smtp", NULL);
    mail((struct httpc_dial){.url = "smtp://127.0.0.1:1"}, "a@mail.test");
    assert_error(ERR_UNAVAILABLE, "no answer from 127.0.0.1");
    mail((struct httpc_dial){.url = "smtp://nowhere.invalid"}, "a@mail.test");
    assert_error(ERR_UNAVAILABLE, "no answer from nowhere.invalid");
}
END_TEST

START_TEST(slow_server_runs_into_the_time_limit)
{
    SERVE("smtp", NULL);
    mail((struct httpc_dial){.timeout_ms = 300}, "silent@mail.test");
    assert_error(ERR_TIMEOUT, "127.0.0.1 did not answer in time");
}
END_TEST

START_TEST(server_that_never_answers_quit_blocks_nobody)
{
    SERVE("smtp", NULL);
    int64_t begun = clock_mono_us();
    mail((struct httpc_dial){0}, "rude@mail.test");
    ck_assert_int_eq(code, ERR_NONE);
    ck_assert_int_lt(clock_mono_us() - begun, 20000000);
}
END_TEST

static void stop_waiting(void *arg)
{
    (void)arg;
    loop_stop();
}

START_TEST(cancelled_mail_ends_at_once)
{
    SERVE("smtp", NULL);
    struct timer *later = timer_new(stop_waiting, NULL);
    for (int ms = 0; ms < 40; ms += 3) { /* at any state of the talk */
        int before = done;
        struct mail_call *c =
            begin((struct httpc_dial){0}, "a@mail.test", "silent@mail.test", "Subject: x\r\n\r\nx");
        if (ms != 0) {
            timer_arm(later, ms);
            while (timer_armed(later))
                loop_run();
        }
        mail_cancel(c);
        ck_assert_int_eq(done, before);
        while (done == before)
            loop_run();
        ck_assert_int_eq(code, ERR_CANCELLED);
    }
    timer_free(later);
}
END_TEST

START_TEST(starttls_is_used_where_it_is_offered)
{
    SERVE("smtp", "--starttls", "DIR", "--require-starttls");
    mail((struct httpc_dial){.tls = HTTPC_TLS_TRY}, "a@mail.test");
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    struct json *got = line(1);
    ck_assert(json_bool(json_get(got, "tls"), false));
    json_free(got);
    mail((struct httpc_dial){.tls = HTTPC_TLS_NEVER}, "a@mail.test");
    assert_error(ERR_FORBIDDEN, "530");
}
END_TEST

START_TEST(always_means_a_certificate_that_is_trusted)
{
    SERVE("smtp", "--starttls", "DIR");
    mail((struct httpc_dial){.tls = HTTPC_TLS_ALWAYS}, "a@mail.test");
    assert_error(ERR_UNAVAILABLE, "certificate");
    char *pem = mem_format("%s/cert.pem", dir);
    httpc_trust(pem);
    mem_free(pem);
    mail((struct httpc_dial){.tls = HTTPC_TLS_ALWAYS}, "a@mail.test");
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
}
END_TEST

START_TEST(always_refuses_a_server_without_starttls)
{
    SERVE("smtp", NULL);
    mail((struct httpc_dial){.tls = HTTPC_TLS_ALWAYS}, "a@mail.test");
    assert_error(ERR_FORBIDDEN, "127.0.0.1 offers no STARTTLS");
    ck_assert_ptr_null(strstr(told.p, "data"));
}
END_TEST

START_TEST(password_goes_through_tls_alone)
{
    SERVE("smtp", "--auth", "me:pass word");
    struct httpc_dial m = {.user = "me", .password = "pass word", .tls = HTTPC_TLS_TRY};
    mail(m, "a@mail.test");
    assert_error(ERR_FORBIDDEN, "offers no STARTTLS");
    m.tls = HTTPC_TLS_NEVER;
    mail(m, "a@mail.test");
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    struct json *got = line(1);
    ck_assert(str_is(json_str(json_get(got, "user")), "me"));
    json_free(got);
}
END_TEST

START_TEST(login_over_starttls_and_smtps)
{
    static const char *const ways[] = {"--starttls", "--smtps"};
    for (size_t i = 0; i < 2; i++) {
        if (i != 0)
            teardown();
        SERVE(i == 0 ? "smtp" : "smtps", ways[i], "DIR", "--auth", "me:right");
        char *pem = mem_format("%s/cert.pem", dir);
        httpc_trust(pem);
        mem_free(pem);
        struct httpc_dial m = {.user = "me", .password = "right"};
        mail(m, "a@mail.test");
        ck_assert_msg(code == ERR_NONE, "%s", text.p);
        struct json *got = line(1);
        ck_assert(json_bool(json_get(got, "tls"), false));
        ck_assert(str_is(json_str(json_get(got, "user")), "me"));
        json_free(got);
        m.password = "wrong-password";
        mail(m, "a@mail.test");
        assert_error(ERR_UNAUTHORIZED, "127.0.0.1 refused the login: 535");
        ck_assert_ptr_null(strstr(text.p, "wrong-password"));
    }
}
END_TEST

START_TEST(malformed_addresses_and_urls_reach_no_server)
{
    static const char *const wrong[] = {"a",
                                        "@mail.test",
                                        "a@",
                                        "a@b>RCPT",
                                        "a@b\r\nDATA",
                                        "a@b\tc",
                                        "<a@b.test>",
                                        "a,b@mail.test",
                                        "\"a\"@mail.test",
                                        "\xc3\xa4@mail.test"};
    SERVE("smtp", NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        mail((struct httpc_dial){0}, wrong[i]);
        assert_error(ERR_BAD_INPUT, "an address of the mail is malformed");
        mail_whole((struct httpc_dial){0}, wrong[i], "a@mail.test", "x");
        assert_error(ERR_BAD_INPUT, "an address of the mail is malformed");
    }
    mail((struct httpc_dial){0}, "");
    assert_error(ERR_BAD_INPUT, "an address of the mail is malformed");
    mail((struct httpc_dial){.url = "http://127.0.0.1"}, "a@mail.test");
    assert_error(ERR_BAD_INPUT, "must begin with smtp:// or smtps://");
    mail((struct httpc_dial){.url = "smtp://me:secret@127.0.0.1"}, "a@mail.test");
    assert_error(ERR_BAD_INPUT, "does not belong into the URL");
    ck_assert_ptr_null(strstr(text.p, "secret"));
    mail((struct httpc_dial){.url = "mail.test 25"}, "a@mail.test");
    ck_assert_int_eq(code, ERR_BAD_INPUT);
}
END_TEST

START_TEST(large_mail_arrives_whole)
{
    SERVE("smtp", NULL);
    struct buf b = {0};
    buf_puts(&b, "Subject: x\r\n\r\n");
    for (int i = 0; i < 40000; i++)
        buf_printf(&b, ".line %d\r\n", i);
    mail_whole((struct httpc_dial){0}, "hookmesh@mail.test", "a@mail.test", b.p);
    ck_assert_msg(code == ERR_NONE, "%s", text.p);
    struct json *got = line(1);
    ck_assert(str_eq(json_str(json_get(got, "data")), buf_view(&b)));
    json_free(got);
    buf_finish(&b);
}
END_TEST

Suite *mail_suite(void)
{
    Suite *s = suite_create("mail");
    TCase *t = tcase_create("mail");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, mail_arrives_as_it_was_given_with_dots_at_line_starts);
    tcase_add_test(t, bare_line_breaks_cannot_end_a_mail_early);
    tcase_add_test(t, recipient_that_is_refused_keeps_the_mail_from_nobody_else);
    tcase_add_test(t, answers_of_the_server_say_whether_to_try_again);
    tcase_add_test(t, server_that_is_not_there_is_not_reachable);
    tcase_add_test(t, slow_server_runs_into_the_time_limit);
    tcase_add_test(t, server_that_never_answers_quit_blocks_nobody);
    tcase_add_test(t, cancelled_mail_ends_at_once);
    tcase_add_test(t, starttls_is_used_where_it_is_offered);
    tcase_add_test(t, always_means_a_certificate_that_is_trusted);
    tcase_add_test(t, always_refuses_a_server_without_starttls);
    tcase_add_test(t, password_goes_through_tls_alone);
    tcase_add_test(t, login_over_starttls_and_smtps);
    tcase_add_test(t, malformed_addresses_and_urls_reach_no_server);
    tcase_add_test(t, large_mail_arrives_whole);
    suite_add_tcase(s, t);
    return s;
}
