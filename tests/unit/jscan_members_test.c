/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>

#include "base/json.h"

Suite *jscan_members_suite(void);

static const char *const names[] = {"key", "value", "if_version"};

static struct str members(struct jscan *s, struct str text, struct str out[3])
{
    struct err e;
    ck_assert_msg(jscan_parse(s, text, &e), "%.*s: %s", (int)text.n, text.p, e.text);
    return jscan_members(s, text, 3, names, out);
}

static void check(const char *text, const char *key, const char *value, const char *version,
                  const char *unknown)
{
    struct jscan *s = jscan_new();
    struct str out[3];
    struct str other = members(s, str_of(text), out);
    const char *want[] = {key, value, version};
    for (int i = 0; i < 3; i++) {
        if (want[i])
            ck_assert_msg(str_is(out[i], want[i]), "%s: %s is %.*s", text, names[i], (int)out[i].n,
                          out[i].p);
        else
            ck_assert_ptr_null(out[i].p);
    }
    if (unknown)
        ck_assert(str_is(other, unknown) && other.p);
    else
        ck_assert_ptr_null(other.p);
    jscan_free(s);
}

START_TEST(members_are_given_as_they_stand_in_the_text)
{
    check("{\"key\":\"a\",\"value\":1}", "\"a\"", "1", NULL, NULL);
    check(" { \"key\" : \"a\" , \"value\" : { \"x\" : [ 1 , 2 ] } , \"if_version\" : 7 } ", "\"a\"",
          "{ \"x\" : [ 1 , 2 ] }", "7", NULL);
    check("{\"value\":\"}],\\\"\\\\\",\"key\":\"\\\\\"}", "\"\\\\\"", "\"}],\\\"\\\\\"", NULL,
          NULL);
    check("{\"value\":[\"]\",{\"a\":\"}\"},[[]],{}],\"key\":null}", "null",
          "[\"]\",{\"a\":\"}\"},[[]],{}]", NULL, NULL);
    check("{\"value\":-1.5e10\t,\"key\":true}", "true", "-1.5e10", NULL, NULL);
    check("{\"value\":\"\",\"key\":\"\"}", "\"\"", "\"\"", NULL, NULL);
    check("{}", NULL, NULL, NULL, NULL);
}
END_TEST

START_TEST(members_inside_other_values_are_not_taken)
{
    check("{\"value\":{\"key\":\"inner\"}}", NULL, "{\"key\":\"inner\"}", NULL, NULL);
}
END_TEST

START_TEST(the_first_unknown_member_is_named)
{
    check("{\"key\":\"a\",\"ifversion\":1,\"other\":2,\"value\":3}", "\"a\"", "3", NULL,
          "ifversion");
    check("{\"\":1}", NULL, NULL, NULL, "");
}
END_TEST

START_TEST(of_a_member_that_comes_twice_the_first_is_taken)
{
    check("{\"key\":\"a\",\"key\":\"b\"}", "\"a\"", NULL, NULL, NULL);
}
END_TEST

START_TEST(what_is_no_object_has_no_members)
{
    check("[1]", NULL, NULL, NULL, NULL);
    check("\"key\"", NULL, NULL, NULL, NULL);
}
END_TEST

Suite *jscan_members_suite(void)
{
    Suite *s = suite_create("jscan_members");
    TCase *t = tcase_create("members");
    tcase_add_test(t, members_are_given_as_they_stand_in_the_text);
    tcase_add_test(t, members_inside_other_values_are_not_taken);
    tcase_add_test(t, the_first_unknown_member_is_named);
    tcase_add_test(t, of_a_member_that_comes_twice_the_first_is_taken);
    tcase_add_test(t, what_is_no_object_has_no_members);
    suite_add_tcase(s, t);
    return s;
}
