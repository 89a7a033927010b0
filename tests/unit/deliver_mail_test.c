/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "work/deliver_mail.h"

Suite *deliver_mail_suite(void);

static struct buf out;
static struct buf id;

static void teardown(void)
{
    buf_finish(&out);
    buf_finish(&id);
}

static char to_one[] = "a@mail.test", to_two[] = "b@mail.test";
static char *const two[] = {to_one, to_two, NULL};

static const struct letter plain = {
    .from = "hookmesh@mail.test",
    .to = two,
    .subject = {"daily succeeded", 15},
    .text = {"All is well.\n", 13},
    .id = {"0123456789abcdef0123456789abcdef", 32},
    .run = {"run-1", 5},
    .wall_us = 1767225600000000, /* 2026-01-01 */
};

static void build(struct letter l)
{
    struct err e;
    buf_clear(&out);
    buf_clear(&id);
    ck_assert_msg(deliver_letter(&out, &id, &l, &e), "%s", e.text);
}

static void assert_has(const char *part)
{
    ck_assert_msg(strstr(out.p, part) != NULL, "\"%s\" is not in:\n%s", part, out.p);
}

/* Each line ends with CRLF, none is longer than 78 bytes, all is ASCII; how many header lines there are. */
static int assert_form(void)
{
    int headers = 0;
    bool in_head = true;
    struct str rest = buf_view(&out);
    while (rest.n != 0) {
        const char *end = memchr(rest.p, '\n', rest.n);
        ck_assert_ptr_nonnull(end);
        struct str line = {rest.p, (size_t)(end - rest.p)};
        ck_assert(line.n != 0 && line.p[line.n - 1] == '\r');
        line.n--;
        ck_assert_msg(line.n <= 78, "%.*s", (int)line.n, line.p);
        for (size_t i = 0; i < line.n; i++)
            ck_assert(line.p[i] == '\t' || (line.p[i] >= 0x20 && line.p[i] < 0x7f));
        ck_assert(line.n == 0 || line.p[line.n - 1] != ' ');
        in_head = in_head && line.n != 0;
        headers += in_head && line.p[0] != ' ';
        ck_assert(in_head || line.n == 0 || line.p[0] != '.');
        rest.n -= (size_t)(end + 1 - rest.p);
        rest.p = end + 1;
    }
    return headers;
}

START_TEST(mail_has_the_headers_that_it_needs)
{
    build(plain);
    ck_assert_str_eq(out.p, "From: hookmesh@mail.test\r\n"
                            "To: a@mail.test,\r\n b@mail.test\r\n"
                            "Subject: daily succeeded\r\n"
                            "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
                            "Message-ID: <0123456789abcdef0123456789abcdef@mail.test>\r\n"
                            "Auto-Submitted: auto-generated\r\n"
                            "X-Hookmesh-Run: run-1\r\n"
                            "MIME-Version: 1.0\r\n"
                            "Content-Type: text/plain; charset=utf-8\r\n"
                            "Content-Transfer-Encoding: quoted-printable\r\n"
                            "\r\n"
                            "All is well.\r\n");
    ck_assert_str_eq(id.p, "<0123456789abcdef0123456789abcdef@mail.test>");
    ck_assert_int_eq(assert_form(), 10);
}
END_TEST

START_TEST(no_payload_can_add_a_header_or_a_command)
{
    static const char *const evil[] = {
        "x\r\nBcc: victim@mail.test",
        "x\nBcc: victim@mail.test",
        "x\rBcc: victim@mail.test",
        "x\r\n\r\nbody",
        "\r\n.\r\nMAIL FROM:<a@b>",
        "=?UTF-8?Q?=0D=0ABcc:_v?=",
        "x\x0b\x0c\x1c\x1d\x7f\x01 y",
        "x\xc2\x85y\xe2\x80\xa8z",
        "\xff\xfe\x80",
    };
    for (size_t i = 0; i < sizeof evil / sizeof *evil; i++) {
        struct letter l = plain;
        l.subject = str_of(evil[i]);
        l.text = str_of(evil[i]);
        l.run = str_of(evil[i]);
        build(l);
        ck_assert_int_eq(assert_form(), 10);
        const char *bcc = strstr(out.p, "\nBcc:");
        ck_assert(bcc == NULL || bcc > strstr(out.p, "\r\n\r\n")); /* text is text */
        ck_assert_ptr_null(strstr(out.p, "\n.\r"));
    }
}
END_TEST

START_TEST(subjects_that_are_long_or_no_ascii_are_encoded_words)
{
    struct letter l = plain;
    l.subject =
        STR("Bericht: \xc3\x9c"
            "bersicht f\xc3\xbcr K\xc3\xb6ln \xe2\x80\x94 \xf0\x9f\x9a\x80 alles gr\xc3\xbcn, "
            "alles gr\xc3\xbcn, alles gr\xc3\xbcn");
    build(l);
    ck_assert_int_eq(assert_form(), 10);
    /* What the words hold, put together, is the subject; each is whole characters. */
    struct buf got = {0};
    for (const char *p = out.p; (p = strstr(p, "=?UTF-8?B?")) != NULL;) {
        const char *from = p + 10;
        const char *end = strstr(from, "?=");
        size_t before = got.n;
        ck_assert_int_le(end + 2 - p, 75);
        ck_assert(buf_base64_decode(&got, (struct str){from, (size_t)(end - from)}));
        ck_assert(str_utf8_valid((struct str){got.p + before, got.n - before}));
        p = end;
    }
    ck_assert(str_eq(buf_view(&got), l.subject));
    buf_finish(&got);

    char *longer = mem_zero(1, 3001);
    memset(longer, 'x', 3000);
    l.subject = str_of(longer);
    build(l);
    ck_assert_int_eq(assert_form(), 10);
    mem_free(longer);
}
END_TEST

START_TEST(bodies_of_any_bytes_have_short_lines_and_say_the_same)
{
    struct buf text = {0};
    for (int c = 0; c < 256; c++)
        buf_char(&text, (char)c);
    for (int i = 0; i < 300; i++)
        buf_puts(&text, "=. ");
    buf_puts(&text, "\n.\n..\nFrom here \t\n\n");
    for (int i = 0; i < 200; i++)
        buf_puts(&text, "\xf0\x9f\x9a\x80");
    struct letter l = plain;
    l.text = buf_view(&text);
    build(l);
    assert_form();
    /* Decoded again: line breaks are the only thing that became another. */
    struct buf got = {0};
    const char *p = strstr(out.p, "\r\n\r\n") + 4;
    while (*p != '\0') {
        if (strncmp(p, "=\r\n", 3) == 0) {
            p += 3;
        } else if (*p == '=') {
            unsigned char byte;
            char digits[2] = {(char)(p[1] | (p[1] >= 'A' ? 0x20 : 0)),
                              (char)(p[2] | (p[2] >= 'A' ? 0x20 : 0))};
            ck_assert(hex_decode((struct str){digits, 2}, &byte, 1));
            buf_char(&got, (char)byte);
            p += 3;
        } else if (*p == '\r') {
            buf_char(&got, '\n');
            p += 2;
        } else {
            buf_char(&got, *p++);
        }
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\r')
            text.p[i] = '\n';
    }
    ck_assert_uint_eq(got.n, text.n + 1); /* the last line is ended */
    ck_assert_int_eq(memcmp(got.p, text.p, text.n), 0);
    buf_finish(&got);
    buf_finish(&text);
}
END_TEST

START_TEST(sender_may_have_a_name)
{
    struct letter l = plain;
    l.from = "Hook Mesh <robot@mail.test>";
    build(l);
    assert_has("From: Hook Mesh\r\n <robot@mail.test>\r\n");
    l.from = "\"K\xc3\xb6ln, <x>\" <robot@mail.test>";
    build(l);
    assert_has("From: =?UTF-8?B?");
    assert_has("\r\n <robot@mail.test>\r\n");
    assert_form();
}
END_TEST

START_TEST(sender_that_is_no_address_is_refused_with_what_to_set)
{
    static const char *const wrong[] = {"", "robot", "Robot <robot>",
                                        "robot@mail.test\r\nBcc: v@mail.test", "<a@b>>"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct letter l = plain;
        struct err e;
        l.from = wrong[i];
        buf_clear(&out);
        ck_assert_msg(!deliver_letter(&out, &id, &l, &e), "%s", wrong[i]);
        ck_assert_int_eq(e.code, ERR_CONFIG);
        ck_assert_ptr_nonnull(strstr(e.text, "HOOKMESH_SMTP_FROM"));
    }
}
END_TEST

START_TEST(lists_of_addresses_are_read_and_wrong_ones_named)
{
    struct err e;
    char **list = deliver_addresses("a@x.org, Name <b@y.org> ,c@z.org", &e);
    ck_assert_ptr_nonnull(list);
    ck_assert_str_eq(list[0], "a@x.org");
    ck_assert_str_eq(list[1], "b@y.org");
    ck_assert_str_eq(list[2], "c@z.org");
    ck_assert_ptr_null(list[3]);
    deliver_addresses_free(list);
    static const char *const wrong[] = {
        "",   "a",       "a@x.org,", "a@x.org; b@x.org", "a@@x.org", "a b@x.org", "a@x.org\r\nDATA",
        "<>", "Name <a>"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ck_assert_msg(deliver_addresses(wrong[i], &e) == NULL, "%s", wrong[i]);
        ck_assert_int_eq(e.code, ERR_CONFIG);
        ck_assert_ptr_nonnull(strstr(e.text, "is no mail address"));
        ck_assert_ptr_null(strchr(e.text, '\n'));
    }
    struct buf many = {0};
    for (int i = 0; i <= 100; i++)
        buf_printf(&many, "%sa%d@x.org", i == 0 ? "" : ",", i);
    ck_assert_ptr_null(deliver_addresses(many.p, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "at most 100"));
    buf_finish(&many);
}
END_TEST

Suite *deliver_mail_suite(void)
{
    Suite *s = suite_create("deliver_mail");
    TCase *t = tcase_create("mail");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, mail_has_the_headers_that_it_needs);
    tcase_add_test(t, no_payload_can_add_a_header_or_a_command);
    tcase_add_test(t, subjects_that_are_long_or_no_ascii_are_encoded_words);
    tcase_add_test(t, bodies_of_any_bytes_have_short_lines_and_say_the_same);
    tcase_add_test(t, sender_may_have_a_name);
    tcase_add_test(t, sender_that_is_no_address_is_refused_with_what_to_set);
    tcase_add_test(t, lists_of_addresses_are_read_and_wrong_ones_named);
    suite_add_tcase(s, t);
    return s;
}
