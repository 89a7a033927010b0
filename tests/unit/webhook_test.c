/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "trigger/webhook.h"

Suite *webhook_suite(void);

static struct config *config;
static struct webhook *w;
static struct hook hook;
static char path[] = "/hooks/github";

static void arrive(void)
{
    config = config_load(NULL, NULL, false, NULL);
    ck_assert_ptr_nonnull(config);
    hook = (struct hook){.path = path};
    w = webhook_new(config, &hook, 1700000000123456);
    w->path = str_of(path);
    w->event = STR("push");
    webhook_header(w, "x-github-event", STR("push"));
}

static void leave(void)
{
    webhook_free(w);
    webhook_finish();
    config_unref(config);
}

static void reads(const char *type, struct str body, const char *payload)
{
    struct err e;
    w->content_type = str_of(type);
    w->body = body;
    ck_assert_msg(webhook_read(w, NULL, NULL, &e), "%s: %s", type, e.text);
    ck_assert_msg(payload != NULL ? str_is(w->payload, payload) : str_eq(w->payload, body), "%.*s",
                  (int)w->payload.n, w->payload.p);
}

static void refuses(const char *type, struct str body, enum err_code code, const char *why)
{
    struct err e = {0};
    w->content_type = str_of(type);
    w->body = body;
    ck_assert(!webhook_read(w, NULL, NULL, &e));
    ck_assert_int_eq(e.code, code);
    ck_assert_msg(strstr(e.text, why) != NULL, "%s", e.text);
}

START_TEST(json_is_taken_under_each_of_its_types_as_it_came)
{
    static const char *const types[] = {NULL, "application/json", "Application/JSON; charset=utf-8",
                                        "application/vnd.github.v3+json",
                                        "application/vnd.acme+json;charset=UTF-8"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        reads(types[i], STR(" {\"n\": 1.0e2}\n"), " {\"n\": 1.0e2}\n");
    reads("application/json", STR("[1]"), "[1]");
    reads("application/json", STR("\"text\""), "\"text\"");
    reads("application/json", STR("null"), "null");
}
END_TEST

START_TEST(other_types_are_refused_with_those_that_are_taken)
{
    static const char *const types[] = {
        "text/plain", "application/xml",     "multipart/form-data", "+json", "json",
        ";",          "application/json+xml"};
    for (size_t i = 0; i + 2 < sizeof types / sizeof types[0]; i++)
        refuses(types[i], STR("{}"), ERR_MEDIA_TYPE, "send application/json");
    refuses(types[6], STR("{}"), ERR_MEDIA_TYPE, "send application/json");
}
END_TEST

START_TEST(a_form_s_payload_is_decoded)
{
    const char *form = "application/x-www-form-urlencoded";
    reads(form, STR("payload=%7B%22a%22%3A+%22b%26c%3Dd%22%7D"), "{\"a\": \"b&c=d\"}");
    reads(form, STR("x=1&payload=%5B1%2C2%5d&y=2"), "[1,2]");
    reads("application/x-www-form-urlencoded; charset=utf-8", STR("payload=1"), "1");
    refuses(form, STR("x=1"), ERR_BAD_INPUT, "no field named payload");
    refuses(form, STR(""), ERR_BAD_INPUT, "no field named payload");
    refuses(form, (struct str){NULL, 0}, ERR_BAD_INPUT, "no field named payload");
    refuses(form, STR("payload=1&payload=2"), ERR_BAD_INPUT, "more than one field");
    refuses(form, STR("payload=%7"), ERR_BAD_INPUT, "bad % escape");
    refuses(form, STR("payload=%GG"), ERR_BAD_INPUT, "bad % escape");
    refuses(form, STR("payload="), ERR_BAD_INPUT, "empty");
    refuses(form, STR("payload=%7B%00%7D"), ERR_BAD_INPUT, "NUL byte");
}
END_TEST

START_TEST(what_is_not_json_is_refused_with_its_reason)
{
    const char *json = "application/json";
    refuses(json, STR(""), ERR_BAD_INPUT, "empty");
    refuses(json, STR("  "), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("{\"a\":"), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("{}{}"), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("payload=%7B%7D"), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("{\"a\":\"\xC3\x28\"}"), ERR_BAD_INPUT, "UTF-8");
    refuses(json, STR("{\"a\":\"\xED\xA0\x80\"}"), ERR_BAD_INPUT, "UTF-8");
    refuses(json, STR("{\"a\":\"b\0c\"}"), ERR_BAD_INPUT, "NUL byte");
    refuses(json, STR("{}\0"), ERR_BAD_INPUT, "NUL byte");
    refuses(json, STR("{\"a\":NaN}"), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("{'a':1}"), ERR_BAD_INPUT, "not valid JSON");
    refuses(json, STR("{\"a\":1,}"), ERR_BAD_INPUT, "not valid JSON");
}
END_TEST

START_TEST(nesting_of_200_000_levels_is_refused)
{
    struct buf deep = {0};
    for (int i = 0; i < 200000; i++)
        buf_char(&deep, '[');
    for (int i = 0; i < 200000; i++)
        buf_char(&deep, ']');
    refuses("application/json", buf_view(&deep), ERR_BAD_INPUT, "deep");
    buf_finish(&deep);
}
END_TEST

START_TEST(a_payload_of_20_megabytes_is_read)
{
    struct buf big = {0};
    buf_puts(&big, "{\"action\":\"opened\",\"pad\":\"");
    while (big.n < 20 * 1024 * 1024)
        buf_puts(&big, "0123456789abcdef");
    buf_puts(&big, "\"}");
    reads("application/json", buf_view(&big), big.p);
    ck_assert_str_eq(w->action.p, "opened");
    reads("application/json", STR("{}"), "{}");
    ck_assert_uint_eq(w->action.n, 0);
    buf_finish(&big);
}
END_TEST

START_TEST(the_envelope_holds_the_payload_s_bytes_as_they_came)
{
    struct buf out = {0};
    w->external_id = STR("72d3162e-\"x\"");
    reads("application/json", STR("{\"n\": 1.0e2, \"ref\":\"refs/heads/main\"}"),
          "{\"n\": 1.0e2, \"ref\":\"refs/heads/main\"}");
    webhook_envelope(&out, w);
    ck_assert_str_eq(
        out.p, "{\"hook\":\"/hooks/github\",\"event\":\"push\","
               "\"delivery\":\"72d3162e-\\\"x\\\"\",\"received_at\":\"2023-11-14T22:13:20.123Z\","
               "\"headers\":{\"x-github-event\":\"push\"},"
               "\"payload\":{\"n\": 1.0e2, \"ref\":\"refs/heads/main\"}}");
    struct err e;
    struct json *j = json_parse(buf_view(&out), &e);
    ck_assert_msg(j != NULL, "%s", e.text);
    json_free(j);
    buf_finish(&out);
}
END_TEST

START_TEST(a_delivery_without_an_id_is_known_by_ours)
{
    struct buf out = {0};
    reads(NULL, STR("7"), "7");
    webhook_envelope(&out, w);
    struct err e;
    struct json *j = json_parse(buf_view(&out), &e);
    ck_assert(str_is(json_str(json_get(j, "delivery")), w->delivery_id));
    ck_assert_int_eq(json_int(json_get(j, "payload"), 0), 7);
    json_free(j);
    buf_finish(&out);
}
END_TEST

static bool takes(const char *event, const char *body, const char *const *events)
{
    char *copies[4] = {NULL};
    for (size_t i = 0; events[i] != NULL; i++)
        copies[i] = mem_strdup(events[i]);
    hook.events = copies;
    w->event = str_of(event);
    reads(NULL, str_of(body), body);
    bool taken = webhook_wanted(w);
    for (size_t i = 0; copies[i] != NULL; i++)
        mem_free(copies[i]);
    hook.events = NULL;
    return taken;
}

START_TEST(events_are_chosen_by_name_or_by_name_and_action)
{
    const char *const events[] = {"push", "pull_request.opened", NULL};
    const char *opened = "{\"action\":\"opened\"}";
    ck_assert(takes("push", "{}", events));
    ck_assert(takes("push", opened, events));
    ck_assert(takes("pull_request", opened, events));
    ck_assert(!takes("pull_request", "{\"action\":\"closed\"}", events));
    ck_assert(!takes("pull_request", "{}", events));
    ck_assert(!takes("pull_request", "[\"opened\"]", events));
    ck_assert(!takes("pull_request", "{\"action\":{}}", events));
    ck_assert(!takes("pus", "{\"action\":\"h\"}", events));
    ck_assert(!takes("pull_request_review", opened, events));
    ck_assert(!takes("issues", opened, events));
    ck_assert(!takes("", "{}", events));
    const char *const dotted[] = {"order.created", NULL};
    ck_assert(takes("order.created", "{}", dotted));
    ck_assert(takes("order", "{\"action\":\"created\"}", dotted));
    ck_assert(!takes("order", "{}", dotted));
    ck_assert(webhook_wanted(w)); /* a trigger without a list takes all */
}
END_TEST

START_TEST(lists_show_who_did_what_where)
{
    reads(NULL,
          STR("{\"action\":\"opened\",\"ref\":7,\"repository\":{\"full_name\":\"o/r\"},"
              "\"sender\":{\"login\":\"octo\\\"cat\"}}"),
          NULL);
    ck_assert_str_eq(w->summary.p, "{\"repository\":\"o/r\",\"sender\":\"octo\\\"cat\","
                                   "\"action\":\"opened\",\"ref\":\"7\"}");
    reads(NULL,
          STR("{\"project\":{\"path_with_namespace\":\"g/p\"},\"user_username\":\"jo\",\"ref\":"
              "\"refs/heads/main\"}"),
          NULL);
    ck_assert_str_eq(w->summary.p,
                     "{\"repository\":\"g/p\",\"sender\":\"jo\",\"ref\":\"refs/heads/main\"}");
    reads(NULL, STR("[1]"), "[1]");
    ck_assert_str_eq(w->summary.p, "{}");
}
END_TEST

START_TEST(no_header_with_a_secret_reaches_a_run)
{
    static const char *const wanted[] = {"content-type",      "user-agent", "x-github-event",
                                         "x-github-delivery", "ce-type",    "idempotency-key",
                                         "traceparent",       "webhook-id", "x-request-id"};
    static const char *const unwanted[] = {"authorization",  "proxy-authorization",
                                           "cookie",         "x-hub-signature-256",
                                           "x-gitlab-token", "x-auth",
                                           "x-api-key",      "x-acme-sum",
                                           "content-length", "host",
                                           "connection",     "x-client-secret",
                                           "x-password",     "payload",
                                           "x-session-id"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        ck_assert_msg(webhook_header_wanted(str_of(wanted[i]), "x-acme-sum"), "%s", wanted[i]);
    for (size_t i = 0; i < sizeof unwanted / sizeof unwanted[0]; i++)
        ck_assert_msg(!webhook_header_wanted(str_of(unwanted[i]), "x-acme-sum"), "%s", unwanted[i]);
}
END_TEST

START_TEST(a_delivery_that_is_used_again_begins_empty)
{
    w->external_id = STR("old");
    reads("application/x-www-form-urlencoded", STR("payload=%7B%22action%22:%22a%22%7D"),
          "{\"action\":\"a\"}");
    char before[ID_SIZE];
    memcpy(before, w->delivery_id, sizeof before);
    webhook_free(w);
    w = webhook_new(config, NULL, 1700000001000000);
    ck_assert_uint_eq(w->headers.n + w->action.n + w->summary.n + w->external_id.n + w->payload.n,
                      0);
    ck_assert_str_ne(w->delivery_id, before);
    ck_assert_str_ne(w->delivery_id, w->run_id);
    ck_assert(id_is_uuid(str_of(w->run_id)));
}
END_TEST

Suite *webhook_suite(void)
{
    Suite *s = suite_create("webhook");
    TCase *t = tcase_create("webhook");
    tcase_add_checked_fixture(t, arrive, leave);
    tcase_add_test(t, json_is_taken_under_each_of_its_types_as_it_came);
    tcase_add_test(t, other_types_are_refused_with_those_that_are_taken);
    tcase_add_test(t, a_form_s_payload_is_decoded);
    tcase_add_test(t, what_is_not_json_is_refused_with_its_reason);
    tcase_add_test(t, nesting_of_200_000_levels_is_refused);
    tcase_add_test(t, a_payload_of_20_megabytes_is_read);
    tcase_add_test(t, the_envelope_holds_the_payload_s_bytes_as_they_came);
    tcase_add_test(t, a_delivery_without_an_id_is_known_by_ours);
    tcase_add_test(t, events_are_chosen_by_name_or_by_name_and_action);
    tcase_add_test(t, lists_show_who_did_what_where);
    tcase_add_test(t, no_header_with_a_secret_reaches_a_run);
    tcase_add_test(t, a_delivery_that_is_used_again_begins_empty);
    suite_add_tcase(s, t);
    return s;
}
