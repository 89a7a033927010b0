/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "handlers/verify.h"

Suite *verify_suite(void);

/* The vector of GitHub's documentation. */
static char github_secret[] = "It's a Secret to Everybody";
static const char github_sum[] = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

struct sent {
    const char *name;
    const char *value;
};

static struct str header_of(const void *arg, const char *name)
{
    for (const struct sent *h = arg; h->name != NULL; h++) {
        if (strcmp(h->name, name) == 0)
            return str_of(h->value);
    }
    return (struct str){NULL, 0};
}

static bool check_at(const struct hook *hook, const struct sent *headers, struct str body,
                     int64_t now_s, struct err *e)
{
    struct verifier *v = verifier_new(hook);
    *e = (struct err){0};
    bool good = verifier_check(v, header_of, headers, body, now_s, e);
    if (!good) {
        ck_assert_int_eq(e->code, ERR_UNAUTHORIZED);
        ck_assert_msg(hook->secret == NULL || hook->secret[0] == '\0' ||
                          strstr(e->text, hook->secret) == NULL,
                      "the secret is in: %s", e->text);
    }
    verifier_free(v);
    return good;
}

static void accepted(const struct hook *hook, const struct sent *headers, const char *body)
{
    struct err e;
    ck_assert_msg(check_at(hook, headers, str_of(body), 1700000000, &e), "%s", e.text);
}

static void refused(const struct hook *hook, const struct sent *headers, const char *body,
                    const char *why)
{
    struct err e;
    ck_assert(!check_at(hook, headers, str_of(body), 1700000000, &e));
    ck_assert_msg(strstr(e.text, why) != NULL, "%s", e.text);
}

static struct hook hook_of(char *scheme, char *secret)
{
    static char path[] = "/hooks/here";
    static char name[] = "HOOKMESH_SECRET_HERE";
    return (struct hook){.path = path, .scheme = scheme, .secret = secret, .secret_name = name};
}

static char github[] = "github", gitlab[] = "gitlab", token[] = "token", generic[] = "hmac-sha256",
            slack[] = "slack", stripe[] = "stripe", standard[] = "standard-webhooks";

START_TEST(the_documented_github_signature_is_accepted_again_and_again)
{
    const struct hook hook = hook_of(github, github_secret);
    char value[80];
    snprintf(value, sizeof value, "sha256=%s", github_sum);
    const struct sent headers[] = {{"x-hub-signature-256", value}, {0}};
    struct verifier *v = verifier_new(&hook);
    struct err e;
    for (int i = 0; i < 3; i++) {
        ck_assert(verifier_check(v, header_of, headers, STR("Hello, World!"), 0, &e));
        ck_assert(!verifier_check(v, header_of, headers, STR("Hello, World?"), 0, &e));
    }
    verifier_free(v);
}
END_TEST

START_TEST(a_client_signs_as_the_check_expects)
{
    struct buf value = {0};
    verify_sign(&value, verify_scheme("github"), str_of(github_secret), STR("Hello, World!"));
    char want[80];
    snprintf(want, sizeof want, "sha256=%s", github_sum);
    ck_assert_str_eq(value.p, want);
    buf_clear(&value);
    verify_sign(&value, verify_scheme("token"), STR("open sesame"), STR("any"));
    ck_assert_str_eq(value.p, "Bearer open sesame");
    buf_finish(&value);
}
END_TEST

START_TEST(each_bad_github_signature_is_refused_with_its_reason)
{
    const struct hook hook = hook_of(github, github_secret);
    const char *body = "Hello, World!";
    const struct sent none[] = {{"x-hub-signature", "sha1=00"}, {0}};
    refused(&hook, none, body, "X-Hub-Signature-256 is missing");
    static const char *const malformed[] = {
        "sha256=",
        "sha256",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e177",
        "sha256=g57107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        const struct sent headers[] = {{"x-hub-signature-256", malformed[i]}, {0}};
        refused(&hook, headers, body, "not of the form sha256=<64 hexadecimal digits>");
    }
    const struct sent wrong[] = {
        {"x-hub-signature-256",
         "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e18"},
        {0}};
    struct err e;
    ck_assert(!check_at(&hook, wrong, str_of(body), 0, &e));
    ck_assert_str_eq(e.text,
                     "signature does not match: check that the secret here and at the sender "
                     "are the same, and that no proxy changes the body");
    ck_assert_ptr_null(strstr(e.text, github_sum));
}
END_TEST

START_TEST(a_hook_without_a_secret_names_the_variable_to_set)
{
    char empty[] = "";
    const struct sent headers[] = {{"x-hub-signature-256", "sha256=00"}, {0}};
    const struct hook without = hook_of(github, NULL);
    refused(&without, headers, "{}", "HOOKMESH_SECRET_HERE");
    const struct hook with_empty = hook_of(github, empty);
    refused(&with_empty, headers, "{}", "HOOKMESH_SECRET_HERE");
    const struct hook no_scheme = hook_of(NULL, NULL);
    refused(&no_scheme, headers, "{}", "no secret is configured for /hooks/here");
}
END_TEST

START_TEST(an_insecure_hook_takes_unsigned_deliveries_only_when_it_has_no_secret)
{
    const struct sent none[] = {{0}};
    struct hook hook = hook_of(github, NULL);
    hook.insecure = true;
    accepted(&hook, none, "{}");
    hook.secret = github_secret;
    refused(&hook, none, "{}", "is missing");
}
END_TEST

START_TEST(an_unknown_scheme_refuses_everything)
{
    char odd[] = "carrier-pigeon";
    struct hook hook = hook_of(odd, github_secret);
    hook.insecure = true;
    const struct sent none[] = {{0}};
    refused(&hook, none, "{}", "unknown scheme carrier-pigeon");
}
END_TEST

START_TEST(the_generic_scheme_takes_a_named_header_and_an_optional_prefix)
{
    char named[] = "X-Acme-Sum";
    struct hook hook = hook_of(generic, github_secret);
    char prefixed[80];
    snprintf(prefixed, sizeof prefixed, "sha256=%s", github_sum);
    const struct sent by_default[] = {{"x-signature-256", github_sum}, {0}};
    const struct sent with_prefix[] = {{"x-acme-sum", prefixed}, {0}};
    const struct sent without[] = {{"x-acme-sum", github_sum}, {0}};
    accepted(&hook, by_default, "Hello, World!");
    hook.header = named;
    accepted(&hook, with_prefix, "Hello, World!");
    accepted(&hook, without, "Hello, World!");
    refused(&hook, by_default, "Hello, World!", "X-Acme-Sum is missing");
    refused(&hook, without, "Hello, World", "signature does not match");
    hook.scheme = NULL;
    accepted(&hook, without, "Hello, World!");
}
END_TEST

START_TEST(a_token_comes_as_bearer_or_in_a_named_header)
{
    char secret[] = "open sesame";
    char named[] = "X-Api-Token";
    struct hook hook = hook_of(token, secret);
    const struct sent bearer[] = {{"authorization", "bearer open sesame"}, {0}};
    const struct sent basic[] = {{"authorization", "Basic open sesame"}, {0}};
    const struct sent shorter[] = {{"authorization", "Bearer open sesam"}, {0}};
    const struct sent longer[] = {{"authorization", "Bearer open sesamee"}, {0}};
    const struct sent plain[] = {{"x-api-token", "open sesame"}, {0}};
    accepted(&hook, bearer, "{}");
    refused(&hook, basic, "{}", "not of the form Bearer <token>");
    refused(&hook, shorter, "{}", "does not match");
    refused(&hook, longer, "{}", "does not match");
    hook.header = named;
    accepted(&hook, plain, "{}");
    refused(&hook, bearer, "{}", "X-Api-Token is missing");
    const struct hook lab = hook_of(gitlab, secret);
    const struct sent lab_headers[] = {{"x-gitlab-token", "open sesame"}, {0}};
    accepted(&lab, lab_headers, "{}");
}
END_TEST

static const char slack_body[] =
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&"
    "channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&"
    "response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%"
    "2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    "803a0bc887a14d10d2c447fce8b6703c";

START_TEST(the_documented_slack_signature_counts_only_within_its_window)
{
    char secret[] = "8f742231b10e8888abcd99yyyzzz85a5";
    const struct hook hook = hook_of(slack, secret);
    const struct sent headers[] = {
        {"x-slack-signature",
         "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
        {"x-slack-request-timestamp", "1531420618"},
        {0}};
    struct err e;
    ck_assert_msg(check_at(&hook, headers, str_of(slack_body), 1531420618 + 300, &e), "%s", e.text);
    ck_assert(check_at(&hook, headers, str_of(slack_body), 1531420618 - 300, &e));
    ck_assert(!check_at(&hook, headers, str_of(slack_body), 1531420618 + 301, &e));
    ck_assert_msg(strstr(e.text, "301 s behind") != NULL, "%s", e.text);
    ck_assert(!check_at(&hook, headers, str_of(slack_body), 1531420618 - 301, &e));
    ck_assert_msg(strstr(e.text, "301 s ahead of") != NULL, "%s", e.text);
    const struct sent untimed[] = {{"x-slack-signature", headers[0].value}, {0}};
    refused(&hook, untimed, slack_body,
            "timestamp in the header x-slack-request-timestamp is missing");
    const struct sent odd[] = {
        {"x-slack-signature", headers[0].value}, {"x-slack-request-timestamp", "-1531420618"}, {0}};
    refused(&hook, odd, slack_body, "not a number of seconds");
}
END_TEST

START_TEST(the_documented_standard_webhook_is_accepted_beside_another_key_s_signature)
{
    char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    struct hook hook = hook_of(standard, secret);
    const struct sent headers[] = {{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
                                   {"webhook-timestamp", "1614265330"},
                                   {"webhook-signature",
                                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OF= v1a,bm9ub25v "
                                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
                                   {0}};
    struct str body = STR("{\"test\": 2432232314}");
    struct err e;
    ck_assert_msg(check_at(&hook, headers, body, 1614265330, &e), "%s", e.text);
    const struct sent other_id[] = {{"webhook-id", "msg_other"}, headers[1], headers[2], {0}};
    ck_assert(!check_at(&hook, other_id, body, 1614265330, &e));
    const struct sent shapeless[] = {
        headers[0], headers[1], {"webhook-signature", "v1,abc v2,def"}, {0}};
    ck_assert(!check_at(&hook, shapeless, body, 1614265330, &e));
    ck_assert_msg(strstr(e.text, "base64") != NULL, "%s", e.text);
    char broken[] = "whsec_!";
    hook.secret = broken;
    hook.insecure = true;
    ck_assert(!check_at(&hook, headers, body, 1614265330, &e));
    ck_assert_msg(strstr(e.text, "not base64") != NULL, "%s", e.text);
}
END_TEST

static bool standard_check(const char *secret, const char *signatures, struct err *e)
{
    char *kept = strdup(secret);
    const struct hook hook = hook_of(standard, kept);
    const struct sent headers[] = {{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"},
                                   {"webhook-timestamp", "1614265330"},
                                   {"webhook-signature", signatures},
                                   {0}};
    bool good = check_at(&hook, headers, STR("{\"test\": 2432232314}"), 1614265330, e);
    free(kept);
    return good;
}

#define STANDARD_SUM "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

START_TEST(any_of_several_keys_will_do_while_they_are_changed)
{
    struct err e;
    ck_assert_msg(standard_check("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD "
                                 "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                 STANDARD_SUM, &e),
                  "%s", e.text);
    ck_assert(standard_check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", STANDARD_SUM, &e));
    ck_assert(!standard_check("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", STANDARD_SUM, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "signature does not match"));
    ck_assert(!standard_check("   ", STANDARD_SUM, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "holds no key"));
    ck_assert(!standard_check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_!", STANDARD_SUM, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "not base64"));
}
END_TEST

/* Of RFC 8032's second vector. */
#define PUBLIC_KEY "whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw="

START_TEST(a_public_key_s_signature_is_checked_beside_the_others)
{
    static const char text[] = "msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
    unsigned char seed[32], out[CRYPTO_ED25519_SIGNATURE];
    struct buf good = {0}, many = {0};
    struct err e;
    ck_assert(hex_decode(STR("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
                         seed, sizeof seed));
    ck_assert(crypto_ed25519_sign(seed, STR(text), out, &e));
    buf_puts(&good, "v1,AAAA v1a,");
    buf_base64(&good, out, sizeof out);
    ck_assert_msg(standard_check(PUBLIC_KEY, good.p, &e), "%s", e.text);
    ck_assert_msg(standard_check("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD " PUBLIC_KEY, good.p, &e),
                  "%s", e.text);
    ck_assert(!standard_check(PUBLIC_KEY, STANDARD_SUM, &e));
    ck_assert(!standard_check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", good.p, &e));
    ck_assert(!standard_check("whpk_AAAA", good.p, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "is not 32 bytes in base64"));
    /* Each costs time, so a header full of them is not looked at to its end. */
    out[0] ^= 1;
    for (int i = 0; i < 40; i++) {
        buf_puts(&many, "v1a,");
        buf_base64(&many, out, sizeof out);
        buf_char(&many, ' ');
    }
    buf_add(&many, good.p + 8, good.n - 8);
    ck_assert(!standard_check(PUBLIC_KEY, many.p, &e));
    buf_finish(&good);
    buf_finish(&many);
}
END_TEST

START_TEST(the_generic_scheme_takes_hexadecimal_and_base64)
{
    const struct hook hook = hook_of(generic, github_secret);
    unsigned char sum[32];
    struct buf coded = {0};
    ck_assert(hex_decode(STR(github_sum), sum, sizeof sum));
    buf_base64(&coded, sum, sizeof sum);
    const struct sent headers[] = {{"x-signature-256", coded.p}, {0}};
    accepted(&hook, headers, "Hello, World!");
    refused(&hook, headers, "Hello, World", "signature does not match");
    const struct sent odd[] = {{"x-signature-256", "abc"}, {0}};
    refused(&hook, odd, "Hello", "64 hexadecimal digits or 44 characters of base64");
    buf_finish(&coded);
}
END_TEST

START_TEST(stripe_s_timestamp_is_read_out_of_the_signature_s_header)
{
    char secret[] = "whsec_test"; /* used as it is: only one row takes the prefix as base64 */
    const struct hook hook = hook_of(stripe, secret);
    const struct sent good[] = {
        {"stripe-signature",
         "t=1700000000,v1=0000000000000000000000000000000000000000000000000000000000000000,"
         "v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925,v0=00"},
        {0}};
    accepted(&hook, good, "{\"id\":\"evt_1\"}");
    const struct sent moved[] = {
        {"stripe-signature",
         "t=1700000001,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"},
        {0}};
    refused(&hook, moved, "{\"id\":\"evt_1\"}", "signature does not match");
    const struct sent untimed[] = {
        {"stripe-signature", "v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"},
        {0}};
    refused(&hook, untimed, "{\"id\":\"evt_1\"}",
            "timestamp in the header stripe-signature is missing");
}
END_TEST

START_TEST(every_row_is_complete)
{
    size_t n;
    const struct verify_scheme *rows = verify_schemes(&n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_eq(verify_scheme(rows[i].name), &rows[i]);
        ck_assert_ptr_nonnull(rows[i].header);
        ck_assert_ptr_nonnull(rows[i].prefix);
        ck_assert_msg((rows[i].how == VERIFY_TOKEN) == (rows[i].text == NULL), "%s", rows[i].name);
        bool timed = rows[i].time != NULL || rows[i].time_field != NULL;
        ck_assert_msg(timed == (rows[i].window_s != 0), "%s", rows[i].name);
        ck_assert_msg(rows[i].time_field == NULL || rows[i].between != 0, "%s", rows[i].name);
        ck_assert_ptr_null(rows[i].ids[VERIFY_NAMES - 1]);
        ck_assert_ptr_null(rows[i].events[VERIFY_NAMES - 1]);
    }
}
END_TEST

Suite *verify_suite(void)
{
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_add_checked_fixture(t, NULL, verify_finish);
    tcase_add_test(t, the_documented_github_signature_is_accepted_again_and_again);
    tcase_add_test(t, a_client_signs_as_the_check_expects);
    tcase_add_test(t, each_bad_github_signature_is_refused_with_its_reason);
    tcase_add_test(t, a_hook_without_a_secret_names_the_variable_to_set);
    tcase_add_test(t, an_insecure_hook_takes_unsigned_deliveries_only_when_it_has_no_secret);
    tcase_add_test(t, an_unknown_scheme_refuses_everything);
    tcase_add_test(t, the_generic_scheme_takes_a_named_header_and_an_optional_prefix);
    tcase_add_test(t, a_token_comes_as_bearer_or_in_a_named_header);
    tcase_add_test(t, the_documented_slack_signature_counts_only_within_its_window);
    tcase_add_test(t, the_documented_standard_webhook_is_accepted_beside_another_key_s_signature);
    tcase_add_test(t, any_of_several_keys_will_do_while_they_are_changed);
    tcase_add_test(t, a_public_key_s_signature_is_checked_beside_the_others);
    tcase_add_test(t, the_generic_scheme_takes_hexadecimal_and_base64);
    tcase_add_test(t, stripe_s_timestamp_is_read_out_of_the_signature_s_header);
    tcase_add_test(t, every_row_is_complete);
    suite_add_tcase(s, t);
    return s;
}
