/* SPDX-License-Identifier: Apache-2.0 */
/* CloudEvents as deliveries, in both modes, by the words of its HTTP binding and its JSON format. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "trigger/webhook.h"

Suite *cloudevent_suite(void);

struct sent {
    const char *name;
    const char *value;
};

static struct config *config;
static struct webhook *w;
static struct hook hook;
static char path[] = "/hooks/events";
static struct json *envelope;

static void arrive(void)
{
    config = config_load(NULL, NULL, false, NULL);
    hook = (struct hook){.path = path};
    w = webhook_new(config, &hook, 0);
    w->path = str_of(path);
    envelope = NULL;
}

static void leave(void)
{
    json_free(envelope);
    webhook_free(w);
    webhook_finish();
    config_unref(config);
}

static struct str header_of(const void *arg, const char *name)
{
    for (const struct sent *h = arg; h != NULL && h->name != NULL; h++) {
        if (strcmp(h->name, name) == 0)
            return str_of(h->value);
    }
    return (struct str){NULL, 0};
}

static bool read(const struct sent *headers, struct str body, struct err *e)
{
    *e = (struct err){0};
    webhook_free(w);
    w = webhook_new(config, &hook, 0);
    w->path = str_of(path);
    w->content_type = header_of(headers, "content-type");
    webhook_header(w, "user-agent", STR("x"));
    for (const struct sent *h = headers; h->name != NULL; h++)
        webhook_header(w, h->name, str_of(h->value));
    w->body = body;
    return webhook_read(w, header_of, headers, e);
}

static void taken(const struct sent *headers, struct str body)
{
    struct err e;
    struct buf text = {0};
    ck_assert_msg(read(headers, body, &e), "%s", e.text);
    webhook_envelope(&text, w);
    json_free(envelope);
    envelope = json_parse(buf_view(&text), &e);
    ck_assert_msg(envelope != NULL, "%s: %s", e.text, text.p);
    buf_finish(&text);
}

static void refused(const struct sent *headers, const char *body, enum err_code code,
                    const char *why)
{
    struct err e;
    ck_assert_msg(!read(headers, str_of(body), &e), "%s", why);
    ck_assert_msg(e.code == code, "%s: %s", err_name(e.code), e.text);
    ck_assert_msg(strstr(e.text, why) != NULL, "%s: %s", why, e.text);
}

static const char *at(const char *where)
{
    static char ring[8][256];
    static unsigned turn;
    char *text = ring[turn++ % 8];
    struct str s = json_str(json_path(envelope, where));
    snprintf(text, sizeof ring[0], "%.*s", (int)s.n, s.p != NULL ? s.p : "(none)");
    return text;
}

static struct json *header_at(const char *name)
{
    return json_get(json_get(envelope, "headers"), name);
}

#define JSON                                                                                       \
    {                                                                                              \
        "content-type", "application/json; charset=utf-8"                                          \
    }
#define REQUIRED                                                                                   \
    {"ce-specversion", "1.0"}, {"ce-id", "A-1"}, {"ce-source", "/shop/7"},                         \
    {                                                                                              \
        "ce-type", "com.example.order.created"                                                     \
    }

static const struct sent binary[] = {JSON, REQUIRED, {0}};

START_TEST(a_binary_event_gives_its_type_its_source_with_id_and_its_data)
{
    struct str body = STR("{\"total\": 1.50}");
    taken(binary, body);
    ck_assert(str_is(w->event, "com.example.order.created"));
    ck_assert(str_is(w->external_id, "/shop/7 A-1"));
    ck_assert(str_eq(w->payload, body));
    ck_assert_str_eq(at("event"), "com.example.order.created");
    ck_assert_str_eq(at("delivery"), "/shop/7 A-1");
}
END_TEST

START_TEST(a_binary_event_s_attributes_are_decoded)
{
    const struct sent headers[] = {JSON,
                                   {"ce-specversion", "1.0"},
                                   {"ce-id", "\"a \\\"b\\\" %25\""},
                                   {"ce-source", "urn:x"},
                                   {"ce-type", "Euro%20%E2%82%AC"},
                                   {0}};
    taken(headers, STR("1"));
    ck_assert(str_is(w->event, "Euro \xE2\x82\xAC"));
    ck_assert(str_is(w->external_id, "urn:x a \"b\" %"));
    ck_assert(str_is(json_str(header_at("ce-type")), "Euro \xE2\x82\xAC"));
    struct buf kept = {0};
    webhook_headers(&kept, w);
    ck_assert_ptr_nonnull(strstr(kept.p, "Euro%20%E2%82%AC"));
    buf_finish(&kept);
}
END_TEST

START_TEST(data_that_is_not_json_becomes_a_string)
{
    const struct sent text[] = {{"content-type", "text/plain"}, REQUIRED, {0}};
    const struct sent xml[] = {
        {"content-type", "application/soap+xml;charset=utf-8"}, REQUIRED, {0}};
    const struct sent image[] = {{"content-type", "image/png"}, REQUIRED, {0}};
    const struct sent none[] = {REQUIRED, {0}};
    taken(text, STR("say \"hi\"\n"));
    ck_assert_str_eq(at("payload"), "say \"hi\"\n");
    ck_assert_ptr_null(header_at("ce-datacontentencoding"));
    taken(xml, STR("<a/>"));
    ck_assert_str_eq(at("payload"), "<a/>");
    taken(text, STR("\xFF\xFE"));
    ck_assert_str_eq(at("payload"), "//4=");
    ck_assert(str_is(json_str(header_at("ce-datacontentencoding")), "base64"));
    taken(image, STR("\x89PNG"));
    ck_assert_str_eq(at("payload"), "iVBORw==");
    ck_assert(str_is(json_str(header_at("ce-datacontentencoding")), "base64"));
    taken(none, STR("[1]"));
    ck_assert(str_is(w->payload, "[1]"));
    taken(none, STR("plain"));
    ck_assert_str_eq(at("payload"), "plain");
    taken(image, STR(""));
    ck_assert(str_is(w->payload, "null"));
}
END_TEST

START_TEST(a_structured_event_gives_the_same_as_a_binary_one)
{
    const struct sent headers[] = {{"content-type", "application/cloudevents+json; charset=UTF-8"},
                                   {0}};
    taken(headers,
          STR("{\"specversion\":\"1.0\",\"id\":\"A-1\",\"source\":\"/shop/7\","
              "\"type\":\"com.example.order.created\",\"time\":\"2026-11-20T09:00:00.5+01:00\","
              "\"subject\":\"\xC3\x84 %\",\"datacontenttype\":\"application/json\",\"attempt\":3,"
              "\"dry\":false,\"gone\":null,\"data\": {\"total\": 1.50}}"));
    ck_assert(str_is(w->event, "com.example.order.created"));
    ck_assert(str_is(w->external_id, "/shop/7 A-1"));
    ck_assert(str_is(w->payload, "{\"total\": 1.50}"));
    ck_assert(str_is(json_str(header_at("ce-id")), "A-1"));
    ck_assert(str_is(json_str(header_at("ce-subject")), "\xC3\x84 %"));
    ck_assert(str_is(json_str(header_at("ce-attempt")), "3"));
    ck_assert(str_is(json_str(header_at("ce-dry")), "false"));
    ck_assert_ptr_null(header_at("ce-gone"));
    ck_assert(str_is(json_str(header_at("user-agent")), "x"));
    /* What is kept for a replay of a refused one are the headers as they came. */
    struct buf kept = {0};
    webhook_headers(&kept, w);
    ck_assert_ptr_nonnull(strstr(kept.p, "application/cloudevents+json"));
    ck_assert_ptr_null(strstr(kept.p, "ce-"));
    buf_finish(&kept);
}
END_TEST

#define STRUCTURED(rest)                                                                           \
    "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"" rest "}"

static const struct sent structured[] = {{"content-type", "application/cloudevents+json"}, {0}};

START_TEST(data_in_base64_is_decoded_where_it_can_be)
{
    taken(structured, STR(STRUCTURED(",\"datacontenttype\":\"application/json\","
                                     "\"data_base64\":\"eyJhIjoxfQ==\"")));
    ck_assert(str_is(w->payload, "{\"a\":1}"));
    taken(structured,
          STR(STRUCTURED(",\"datacontenttype\":\"text/plain\",\"data_base64\":\"w6Q=\"")));
    ck_assert_str_eq(at("payload"), "\xC3\xA4");
    taken(structured,
          STR(STRUCTURED(",\"datacontenttype\":\"image/png\",\"data_base64\":\"iVBORw==\"")));
    ck_assert_str_eq(at("payload"), "iVBORw==");
    ck_assert(str_is(json_str(header_at("ce-datacontentencoding")), "base64"));
    taken(structured, STR(STRUCTURED(",\"data\":null")));
    ck_assert(str_is(w->payload, "null"));
    taken(structured, STR(STRUCTURED("")));
    ck_assert(str_is(w->payload, "null"));
    taken(structured, STR(STRUCTURED(",\"datacontenttype\":\"text/xml\",\"data\":\"<a/>\"")));
    ck_assert_str_eq(at("payload"), "<a/>");
    refused(structured, STRUCTURED(",\"data_base64\":\"%%%\""), ERR_BAD_INPUT,
            "data_base64 is not base64");
    refused(structured, STRUCTURED(",\"data_base64\":7"), ERR_BAD_INPUT,
            "data_base64 is not base64");
    refused(structured, STRUCTURED(",\"data\":1,\"data_base64\":\"\""), ERR_BAD_INPUT,
            "both data and data_base64");
    refused(structured,
            STRUCTURED(",\"datacontenttype\":\"application/json\",\"data_base64\":\"e30x\""),
            ERR_BAD_INPUT, "not valid JSON");
}
END_TEST

START_TEST(each_bad_attribute_is_named)
{
    static const struct {
        const char *body;
        const char *why;
    } cases[] = {
        {"[]", "is a JSON object"},
        {"{\"a\":", "not valid JSON"},
        {"", "empty"},
        {"{}", "needs the attribute specversion"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\"}", "needs the attribute type"},
        {"{\"specversion\":\"1.0\",\"id\":null,\"source\":\"/s\",\"type\":\"t\"}",
         "needs the attribute id"},
        {"{\"specversion\":\"1.0\",\"id\":\"\",\"source\":\"/s\",\"type\":\"t\"}",
         "attribute id is empty"},
        {"{\"specversion\":\"1.0\",\"id\":7,\"source\":\"/s\",\"type\":\"t\"}",
         "attribute id is not a string"},
        {"{\"specversion\":\"0.3\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}",
         "specversion is 0.3; the version that is taken is 1.0"},
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"a b\",\"type\":\"t\"}",
         "source is no URI reference"},
        {STRUCTURED(",\"id\":\"2\""), "attribute id stands there twice"},
        {STRUCTURED(",\"time\":\"yesterday\""), "time is no time such as"},
        {STRUCTURED(",\"time\":\"2026-13-20T09:00:00Z\""), "time is no time such as"},
        {STRUCTURED(",\"time\":\"2026-11-20T09:00:00\""), "time is no time such as"},
        {STRUCTURED(",\"subject\":\"\""), "subject is empty"},
        {STRUCTURED(",\"dataschema\":\"no uri\""), "dataschema is no URI reference"},
        {STRUCTURED(",\"Loud\":\"x\""), "Loud has a name of other than lower-case letters"},
        {STRUCTURED(",\"a-b\":\"x\""), "a-b has a name of other than"},
        {STRUCTURED(",\"x\":{}"), "x is neither a string nor a boolean nor an integer"},
        {STRUCTURED(",\"x\":1.5"), "x is neither a string nor a boolean nor an integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(structured, cases[i].body, ERR_BAD_INPUT, cases[i].why);
    struct buf many = {0};
    buf_puts(&many, "{\"specversion\":\"1.0\"");
    for (int i = 0; i < 100; i++)
        buf_printf(&many, ",\"x%d\":1", i);
    buf_char(&many, '}');
    refused(structured, many.p, ERR_BAD_INPUT, "is one too many");
    buf_finish(&many);
}
END_TEST

START_TEST(each_bad_header_is_named)
{
    const struct sent no_version[] = {
        JSON, {"ce-id", "1"}, {"ce-source", "/s"}, {"ce-type", "t"}, {0}};
    const struct sent no_id[] = {
        JSON, {"ce-specversion", "1.0"}, {"ce-source", "/s"}, {"ce-type", "t"}, {0}};
    const struct sent alone[] = {JSON, {"ce-type", "t"}, {0}};
    const struct sent empty[] = {JSON, {"ce-id", ""}, REQUIRED, {0}};
    const struct sent escape[] = {JSON, {"ce-id", "%zz"}, REQUIRED, {0}};
    const struct sent broken[] = {JSON, {"ce-id", "%FF"}, REQUIRED, {0}};
    const struct sent later[] = {JSON, {"ce-time", "soon"}, REQUIRED, {0}};
    const struct sent old[] = {JSON, {"ce-specversion", "0.2"}, REQUIRED, {0}};
    refused(no_version, "{}", ERR_BAD_INPUT, "needs the header ce-specversion");
    refused(no_id, "{}", ERR_BAD_INPUT, "needs the header ce-id");
    refused(alone, "{}", ERR_BAD_INPUT, "needs the header ce-specversion");
    refused(empty, "{}", ERR_BAD_INPUT, "header ce-id is empty");
    refused(escape, "{}", ERR_BAD_INPUT, "ce-id has a bad % escape");
    refused(broken, "{}", ERR_BAD_INPUT, "ce-id is not valid UTF-8");
    refused(later, "{}", ERR_BAD_INPUT, "ce-time is no time");
    refused(old, "{}", ERR_BAD_INPUT, "ce-specversion is 0.2");
    refused(binary, "{\"a\":", ERR_BAD_INPUT, "not valid JSON");
}
END_TEST

START_TEST(batches_and_other_formats_are_refused)
{
    const struct sent batch[] = {{"content-type", "application/cloudevents-batch+json"}, {0}};
    const struct sent avro[] = {{"content-type", "application/cloudevents+avro"}, {0}};
    refused(batch, "[]", ERR_MEDIA_TYPE, "CloudEvents one by one");
    refused(avro, "x", ERR_MEDIA_TYPE, "application/cloudevents+json");
}
END_TEST

START_TEST(a_source_and_id_that_are_too_long_for_a_name_are_summed_up)
{
    char id[301];
    memset(id, 'x', 300);
    id[300] = '\0';
    const struct sent headers[] = {JSON, {"ce-id", id}, REQUIRED, {0}};
    taken(headers, STR("{}"));
    ck_assert_uint_eq(w->external_id.n, 64);
    char first[65];
    memcpy(first, w->external_id.p, 64);
    taken(headers, STR("{}"));
    ck_assert_int_eq(memcmp(first, w->external_id.p, 64), 0);
    id[299] = 'y';
    taken(headers, STR("{}"));
    ck_assert_int_ne(memcmp(first, w->external_id.p, 64), 0);
}
END_TEST

START_TEST(a_delivery_without_such_headers_is_no_event)
{
    const struct sent plain[] = {JSON, {"ce-subject", "x"}, {0}};
    taken(plain, STR("{}"));
    ck_assert_uint_eq(w->event.n, 0);
    ck_assert(str_is(json_str(header_at("ce-subject")), "x"));
}
END_TEST

Suite *cloudevent_suite(void)
{
    Suite *s = suite_create("cloudevent");
    TCase *t = tcase_create("cloudevent");
    tcase_add_checked_fixture(t, arrive, leave);
    tcase_add_test(t, a_binary_event_gives_its_type_its_source_with_id_and_its_data);
    tcase_add_test(t, a_binary_event_s_attributes_are_decoded);
    tcase_add_test(t, data_that_is_not_json_becomes_a_string);
    tcase_add_test(t, a_structured_event_gives_the_same_as_a_binary_one);
    tcase_add_test(t, data_in_base64_is_decoded_where_it_can_be);
    tcase_add_test(t, each_bad_attribute_is_named);
    tcase_add_test(t, each_bad_header_is_named);
    tcase_add_test(t, batches_and_other_formats_are_refused);
    tcase_add_test(t, a_source_and_id_that_are_too_long_for_a_name_are_summed_up);
    tcase_add_test(t, a_delivery_without_such_headers_is_no_event);
    suite_add_tcase(s, t);
    return s;
}
