/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "trigger/spool_frame.h"

Suite *spool_frame_suite(void);

static struct buf file;

static void close_file(void)
{
    buf_finish(&file);
}

static void add_delivery(const char *run, const char *value)
{
    spool_frame_write(&file, &(struct spool_record){.delivery_id = STR("d-1"),
                                                    .run_id = str_of(run),
                                                    .hook = STR("/hooks/github"),
                                                    .pipeline = STR("github"),
                                                    .external_id = STR("72d3162e"),
                                                    .event = STR("push"),
                                                    .key = STR("github.1.event"),
                                                    .value = str_of(value),
                                                    .summary = STR("{}"),
                                                    .received_ms = 1700000000123,
                                                    .size = 7700,
                                                    .replay = true});
}

static void expect(struct str bytes, size_t *at, const char *run, const char *value)
{
    struct spool_record r;
    ck_assert_int_eq(spool_frame_read(bytes, at, &r), SPOOL_RECORD);
    ck_assert(str_is(r.run_id, run));
    ck_assert(str_is(r.value, value));
    ck_assert(str_is(r.delivery_id, "d-1"));
    ck_assert(str_is(r.hook, "/hooks/github"));
    ck_assert(str_is(r.pipeline, "github"));
    ck_assert(str_is(r.external_id, "72d3162e"));
    ck_assert(str_is(r.event, "push"));
    ck_assert(str_is(r.key, "github.1.event"));
    ck_assert(str_is(r.summary, "{}"));
    ck_assert_int_eq(r.received_ms, 1700000000123);
    ck_assert_int_eq(r.size, 7700);
    ck_assert(r.replay);
}

START_TEST(records_are_read_in_the_order_of_their_writing)
{
    add_delivery("r-1", "{\"n\":1}");
    add_delivery("r-2", "");
    size_t at = 0;
    struct spool_record r;
    expect(buf_view(&file), &at, "r-1", "{\"n\":1}");
    expect(buf_view(&file), &at, "r-2", "");
    ck_assert_int_eq(spool_frame_read(buf_view(&file), &at, &r), SPOOL_END);
    at = 0;
    ck_assert_int_eq(spool_frame_read((struct str){NULL, 0}, &at, &r), SPOOL_END);
}
END_TEST

/* Checksums come from zlib. */
static const char form_1[] = "ff484dfe3a000000fbc7750979b029ee"
                             "0100"
                             "0201000000000000"
                             "ffffffffffffffff"
                             "0100000064"
                             "0100000072"
                             "00000000"
                             "00000000"
                             "00000000"
                             "00000000"
                             "00000000"
                             "020000007b7d"
                             "00000000";
static const char form_2[] = "ff484dfe450000003a3d4fb843113474"
                             "0200"
                             "0201000000000000"
                             "ffffffffffffffff"
                             "0100000064"
                             "0100000072"
                             "00000000"
                             "00000000"
                             "00000000"
                             "00000000"
                             "00000000"
                             "020000007b7d"
                             "00000000"
                             "070000007b2261223a317d";

START_TEST(the_form_on_disk_stays_what_it_was)
{
    spool_frame_write(&file, &(struct spool_record){.delivery_id = STR("d"),
                                                    .run_id = STR("r"),
                                                    .value = STR("{}"),
                                                    .origin = STR("{\"a\":1}"),
                                                    .received_ms = 258,
                                                    .size = -1});
    struct buf hex = {0};
    buf_hex(&hex, file.p, file.n);
    ck_assert_str_eq(hex.p, form_2);
    buf_finish(&hex);
}
END_TEST

START_TEST(files_of_the_form_before_are_read)
{
    unsigned char bytes[(sizeof form_1 - 1) / 2];
    ck_assert(hex_decode(STR(form_1), bytes, sizeof bytes));
    struct spool_record r;
    size_t at = 0;
    ck_assert_int_eq(spool_frame_read((struct str){(char *)bytes, sizeof bytes}, &at, &r),
                     SPOOL_RECORD);
    ck_assert(str_is(r.delivery_id, "d"));
    ck_assert(str_is(r.value, "{}"));
    ck_assert_uint_eq(r.origin.n, 0);
    ck_assert_int_eq(r.size, -1);
}
END_TEST

START_TEST(a_file_cut_anywhere_gives_its_whole_records_and_then_says_torn)
{
    add_delivery("r-1", "{\"n\":1}");
    size_t first = file.n;
    add_delivery("r-2", "{\"n\":2}");
    struct spool_record r;
    for (size_t n = 1; n < file.n; n++) {
        struct str cut = {file.p, n};
        size_t at = 0;
        if (n >= first)
            expect(cut, &at, "r-1", "{\"n\":1}");
        ck_assert_int_eq(at, n >= first ? first : 0);
        ck_assert_int_eq(spool_frame_read(cut, &at, &r), n == first ? SPOOL_END : SPOOL_TORN);
    }
}
END_TEST

START_TEST(any_damaged_byte_costs_its_record_and_no_other)
{
    add_delivery("r-1", "{\"n\":1}");
    size_t first = file.n;
    add_delivery("r-2", "{\"n\":2}");
    size_t second = file.n;
    add_delivery("r-3", "{\"n\":3}");
    struct spool_record r;
    for (size_t i = first; i < second; i++) {
        file.p[i] ^= 0x20;
        size_t at = 0;
        expect(buf_view(&file), &at, "r-1", "{\"n\":1}");
        ck_assert_int_eq(spool_frame_read(buf_view(&file), &at, &r), SPOOL_DAMAGED);
        expect(buf_view(&file), &at, "r-3", "{\"n\":3}");
        ck_assert_int_eq(spool_frame_read(buf_view(&file), &at, &r), SPOOL_END);
        file.p[i] ^= 0x20;
    }
}
END_TEST

START_TEST(a_page_of_zeroes_behind_the_records_is_torn)
{
    add_delivery("r-1", "{}");
    char zeroes[4096] = {0};
    buf_add(&file, zeroes, sizeof zeroes);
    size_t at = 0;
    struct spool_record r;
    expect(buf_view(&file), &at, "r-1", "{}");
    size_t good = at;
    ck_assert_int_eq(spool_frame_read(buf_view(&file), &at, &r), SPOOL_TORN);
    ck_assert_int_eq(at, good);
}
END_TEST

START_TEST(a_whole_record_of_another_form_is_damage_and_not_a_torn_end)
{
    /* A payload of form 2, whole by its checksums (zlib's). */
    static const unsigned char other[] = {0xff, 'H',  'M',  0xfe, 1,    0,    0,    0,   0xa1,
                                          0x8e, 0x0c, 0x3c, 0x47, 0xa0, 0x3b, 0x45, 0x02};
    buf_add(&file, other, sizeof other);
    add_delivery("r-1", "{}");
    size_t at = 0;
    struct spool_record r;
    ck_assert_int_eq(spool_frame_read(buf_view(&file), &at, &r), SPOOL_DAMAGED);
    ck_assert_int_eq(at, sizeof other);
    expect(buf_view(&file), &at, "r-1", "{}");
}
END_TEST

Suite *spool_frame_suite(void)
{
    Suite *s = suite_create("spool_frame");
    TCase *t = tcase_create("spool_frame");
    tcase_add_checked_fixture(t, NULL, close_file);
    tcase_add_test(t, records_are_read_in_the_order_of_their_writing);
    tcase_add_test(t, the_form_on_disk_stays_what_it_was);
    tcase_add_test(t, files_of_the_form_before_are_read);
    tcase_add_test(t, a_file_cut_anywhere_gives_its_whole_records_and_then_says_torn);
    tcase_add_test(t, any_damaged_byte_costs_its_record_and_no_other);
    tcase_add_test(t, a_page_of_zeroes_behind_the_records_is_torn);
    tcase_add_test(t, a_whole_record_of_another_form_is_damage_and_not_a_torn_end);
    suite_add_tcase(s, t);
    return s;
}
