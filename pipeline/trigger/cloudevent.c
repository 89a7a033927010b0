/* SPDX-License-Identifier: Apache-2.0 */
/* An event's attributes are headers (binary mode) or members of the body (structured mode); both are given on under the names of binary mode, so
 * that nobody needs to know how an event came. Its data goes on as it came when it is JSON; anything else becomes a JSON string, because an
 * input is JSON. */
#include "trigger/cloudevent.h"

#include <stdio.h>
#include <string.h>

#include "base/crypto.h"

enum { ATTRIBUTES_MAX = 64, NAME_MAX_BYTES = 64, ID_MAX = 256 };

static const char batch_type[] = "application/cloudevents-batch";
static const char one_type[] = "application/cloudevents";

enum cloudevent_mode cloudevent_mode(struct str type, cloudevent_header_fn header, const void *arg)
{
    static const char *const required[] = {"ce-specversion", "ce-id", "ce-source", "ce-type"};
    size_t n = strlen(batch_type);
    if (type.n >= n && str_is_icase((struct str){type.p, n}, batch_type))
        return CLOUDEVENT_BATCH;
    n = strlen(one_type);
    if (type.n >= n && str_is_icase((struct str){type.p, n}, one_type))
        return CLOUDEVENT_STRUCTURED;
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        if (header(arg, required[i]).p != NULL)
            return CLOUDEVENT_BINARY;
    }
    return CLOUDEVENT_NONE;
}

/* Attributes. */

static bool two_digits(struct str s, size_t at, int max)
{
    if (at + 2 > s.n || s.p[at] < '0' || s.p[at] > '9' || s.p[at + 1] < '0' || s.p[at + 1] > '9')
        return false;
    return (s.p[at] - '0') * 10 + s.p[at + 1] - '0' <= max;
}

static bool has_at(struct str s, size_t at, const char *chars)
{
    return at < s.n && strchr(chars, s.p[at]) != NULL;
}

/* 2026-11-20T09:00:00.123Z, 2026-11-20T09:00:00+01:00 */
static bool is_time(struct str s)
{
    if (!two_digits(s, 0, 99) || !two_digits(s, 2, 99) || !has_at(s, 4, "-") ||
        !two_digits(s, 5, 12) || !has_at(s, 7, "-") || !two_digits(s, 8, 31) ||
        !has_at(s, 10, "Tt ") || !two_digits(s, 11, 23) || !has_at(s, 13, ":") ||
        !two_digits(s, 14, 59) || !has_at(s, 16, ":") || !two_digits(s, 17, 60))
        return false;
    size_t at = 19;
    if (has_at(s, at, ".")) {
        for (at++; has_at(s, at, "0123456789"); at++) {
        }
        if (at == 20)
            return false;
    }
    if (has_at(s, at, "Zz"))
        return at + 1 == s.n;
    return has_at(s, at, "+-") && two_digits(s, at + 1, 23) && has_at(s, at + 3, ":") &&
           two_digits(s, at + 4, 59) && at + 6 == s.n;
}

static bool is_uri(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || strchr("<>\"{}|\\^`", s.p[i]) != NULL)
            return false;
    }
    return s.n != 0;
}

/* value {NULL,0}: not there. where: "attribute" or "header ce-". */
static bool check(const char *where, const char *name, struct str value, bool required,
                  struct err *e)
{
    if (value.p == NULL)
        return !required || err_fail(e, ERR_BAD_INPUT, "a CloudEvent needs the %s%s", where, name);
    if (value.n == 0)
        return err_fail(e, ERR_BAD_INPUT, "the CloudEvent's %s%s is empty", where, name);
    if (!str_utf8_valid(value))
        return err_fail(e, ERR_BAD_INPUT, "the CloudEvent's %s%s is not valid UTF-8", where, name);
    if (strcmp(name, "specversion") == 0 && !str_is(value, "1.0"))
        return err_fail(e, ERR_BAD_INPUT,
                        "the CloudEvent's %s%s is %.*s; the version that is taken is 1.0", where,
                        name, (int)(value.n < 20 ? value.n : 20), value.p);
    if (strcmp(name, "time") == 0 && !is_time(value))
        return err_fail(e, ERR_BAD_INPUT,
                        "the CloudEvent's %s%s is no time such as 2026-11-20T09:00:00Z", where,
                        name);
    if ((strcmp(name, "source") == 0 || strcmp(name, "dataschema") == 0) && !is_uri(value))
        return err_fail(e, ERR_BAD_INPUT, "the CloudEvent's %s%s is no URI reference", where, name);
    return true;
}

static const struct {
    const char *name;
    bool required;
} defined[] = {{"specversion", true}, {"id", true},          {"source", true},  {"type", true},
               {"time", false},       {"dataschema", false}, {"subject", false}};
enum { DEFINED = sizeof defined / sizeof defined[0], AT_ID = 1, AT_SOURCE = 2, AT_TYPE = 3 };

/* A source and an id make a delivery; a source has no spaces. */
static void set_names(struct cloudevent *c, struct str type, struct str source, struct str id)
{
    buf_clear(c->names);
    buf_str(c->names, type);
    if (source.n + 1 + id.n <= ID_MAX) {
        buf_str(c->names, source);
        buf_char(c->names, ' ');
        buf_str(c->names, id);
    } else { /* too long for a name; its sum is as good */
        const struct str parts[] = {source, STR(" "), id};
        unsigned char sum[CRYPTO_SHA256];
        crypto_hmac_once(STR("cloudevent"), 3, parts, sum);
        buf_hex(c->names, sum, sizeof sum);
    }
    c->type = (struct str){c->names->p, type.n};
    c->id = (struct str){c->names->p + type.n, c->names->n - type.n};
}

static void add_attribute(struct cloudevent *c, struct str name, struct str value)
{
    char full[NAME_MAX_BYTES + 4];
    snprintf(full, sizeof full, "ce-%.*s", (int)name.n, name.p);
    buf_json_field(c->attributes, full, value);
}

/* Data. */

static bool type_is(struct str type, const char *prefix, const char *suffix)
{
    size_t p = strlen(prefix);
    size_t s = strlen(suffix);
    return type.n >= p && type.n >= s && str_is_icase((struct str){type.p, p}, prefix) &&
           str_is_icase((struct str){type.p + type.n - s, s}, suffix);
}

static struct str media_type(struct str type)
{
    const char *end = type.n == 0 ? NULL : memchr(type.p, ';', type.n);
    if (end != NULL)
        type.n = (size_t)(end - type.p);
    return str_trim(type);
}

/* Bytes of a media type as JSON; whether what is said to be JSON is, the caller of all this finds out. */
static void take_bytes(struct cloudevent *c, struct str type, struct str bytes, struct jscan *scan)
{
    type = media_type(type);
    bool json = type_is(type, "application/json", "") || type_is(type, "text/json", "") ||
                type_is(type, "", "+json");
    bool text = type_is(type, "text/", "") || type_is(type, "application/xml", "") ||
                type_is(type, "", "+xml") || type.n == 0;
    struct err unused;
    if (bytes.n == 0) {
        c->data = STR("null");
        return;
    }
    if (json || (type.n == 0 && jscan_parse(scan, bytes, &unused))) {
        c->data = bytes;
        return;
    }
    struct buf coded = {0}; /* bytes may stand in the old one */
    if (text && str_utf8_valid(bytes) && memchr(bytes.p, '\0', bytes.n) == NULL) {
        buf_json_str(&coded, bytes);
    } else {
        buf_char(&coded, '"');
        buf_base64(&coded, bytes.p, bytes.n);
        buf_char(&coded, '"');
        add_attribute(c, STR("datacontentencoding"), STR("base64"));
    }
    buf_finish(c->decoded);
    *c->decoded = coded;
    c->data = buf_view(c->decoded);
}

/* Binary mode. */

void cloudevent_encode(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char byte = (unsigned char)text.p[i];
        if (byte > ' ' && byte < 0x7F && byte != '"' && byte != '%')
            buf_char(out, (char)byte);
        else
            buf_printf(out, "%%%02X", byte);
    }
}

bool cloudevent_decode(struct buf *out, struct str value)
{
    value = str_trim(value);
    if (value.n < 2 || value.p[0] != '"' || value.p[value.n - 1] != '"')
        return buf_url_decode(out, value, false);
    struct buf plain = {0};
    for (size_t i = 1; i + 1 < value.n; i++) {
        if (value.p[i] == '\\' && i + 2 < value.n)
            i++;
        buf_char(&plain, value.p[i]);
    }
    bool good = buf_url_decode(out, buf_view(&plain), false);
    buf_finish(&plain);
    return good;
}

static bool check_header(cloudevent_header_fn header, const void *arg, size_t i, struct buf *value,
                         struct err *e)
{
    char name[32];
    snprintf(name, sizeof name, "ce-%s", defined[i].name);
    struct str raw = header(arg, name);
    if (raw.p != NULL && !cloudevent_decode(value, raw))
        return err_fail(e, ERR_BAD_INPUT, "the CloudEvent's header %s has a bad %% escape", name);
    struct str text = raw.p == NULL ? raw : value->p == NULL ? STR("") : buf_view(value);
    return check("header ce-", defined[i].name, text, defined[i].required, e);
}

bool cloudevent_binary(struct cloudevent *c, cloudevent_header_fn header, const void *arg,
                       struct str type, struct str body, struct jscan *scan, struct err *e)
{
    struct buf values[DEFINED] = {{0}};
    bool good = true;
    for (size_t i = 0; i < DEFINED && good; i++)
        good = check_header(header, arg, i, &values[i], e);
    if (good)
        set_names(c, buf_view(&values[AT_TYPE]), buf_view(&values[AT_SOURCE]),
                  buf_view(&values[AT_ID]));
    for (size_t i = 0; i < DEFINED; i++)
        buf_finish(&values[i]);
    if (!good)
        return false;
    take_bytes(c, type, body, scan);
    return true;
}

/* Structured mode. */

struct members {
    struct cloudevent *c;
    struct jscan *scan;
    struct str names[ATTRIBUTES_MAX];
    size_t n;
    struct str data;
    struct str data_base64;
    struct str type; /* of the data */
    bool failed;
    struct err *e;
};

static void refuse(struct members *m, struct str name, const char *why)
{
    if (!m->failed)
        err_fail(m->e, ERR_BAD_INPUT, "the CloudEvent's attribute %.*s %s",
                 (int)(name.n < NAME_MAX_BYTES ? name.n : NAME_MAX_BYTES), name.p, why);
    m->failed = true;
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9'))
            return false;
    }
    return s.n != 0 && s.n < NAME_MAX_BYTES;
}

static struct str member_text(struct members *m, struct str name)
{
    char pointer[NAME_MAX_BYTES + 2];
    snprintf(pointer, sizeof pointer, "/%.*s", (int)name.n, name.p);
    return jscan_pick(m->scan, pointer);
}

static void on_member(void *arg, struct str name, struct str value)
{
    struct members *m = arg;
    for (size_t i = 0; i < m->n; i++) {
        if (str_eq(m->names[i], name))
            refuse(m, name, "stands there twice");
    }
    if (m->n == ATTRIBUTES_MAX) {
        refuse(m, name, "is one too many");
        return;
    }
    m->names[m->n++] = name;
    if (str_is(name, "data")) {
        m->data = value;
        return;
    }
    if (str_is(name, "data_base64")) {
        m->data_base64 = value;
        return;
    }
    if (!is_name(name)) {
        refuse(m, name, "has a name of other than lower-case letters and digits");
        return;
    }
    if (value.p[0] == 'n')
        return; /* null: not there */
    struct str text = member_text(m, name);
    if (value.p[0] == '{' || value.p[0] == '[' || text.p == NULL) {
        refuse(m, name, "is neither a string nor a boolean nor an integer");
        return;
    }
    bool string = value.p[0] == '"';
    for (size_t i = 0; i < DEFINED; i++) {
        if (str_is(name, defined[i].name) && !string)
            refuse(m, name, "is not a string");
        if (str_is(name, defined[i].name) && !m->failed)
            m->failed = !check("attribute ", defined[i].name, text, true, m->e);
    }
    if (str_is(name, "datacontenttype"))
        m->type = text;
    add_attribute(m->c, name, text);
}

static bool has_all(struct members *m)
{
    for (size_t i = 0; i < DEFINED; i++) {
        struct str name = str_of(defined[i].name);
        if (defined[i].required &&
            !check("attribute ", defined[i].name, member_text(m, name), true, m->e))
            return false;
    }
    if (m->data.p != NULL && m->data_base64.p != NULL)
        return err_fail(m->e, ERR_BAD_INPUT, "the CloudEvent has both data and data_base64");
    return true;
}

static bool take_base64(struct cloudevent *c, struct members *m)
{
    struct str coded =
        m->data_base64.p[0] == '"' ? jscan_pick(m->scan, "/data_base64") : (struct str){NULL, 0};
    struct buf bytes = {0};
    char type[128];
    snprintf(type, sizeof type, "%.*s", (int)m->type.n, m->type.p != NULL ? m->type.p : "");
    bool good = coded.p != NULL && buf_base64_decode(&bytes, coded);
    buf_finish(c->decoded);
    *c->decoded = bytes;
    if (!good)
        err_fail(m->e, ERR_BAD_INPUT, "the CloudEvent's data_base64 is not base64");
    else
        take_bytes(c, str_of(type), buf_view(c->decoded), m->scan);
    return good;
}

bool cloudevent_structured(struct cloudevent *c, struct str body, struct jscan *scan, struct err *e)
{
    if (!jscan_parse(scan, body, e))
        return false;
    if (!jscan_is_object(scan))
        return err_fail(e, ERR_BAD_INPUT, "a CloudEvent is a JSON object");
    struct members m = {.c = c, .scan = scan, .e = e};
    jscan_each(scan, body, on_member, &m);
    if (m.failed || !has_all(&m))
        return false;
    struct buf type = {0};
    struct buf source = {0};
    buf_str(&type, member_text(&m, STR("type")));
    buf_str(&source, member_text(&m, STR("source")));
    set_names(c, buf_view(&type), buf_view(&source), member_text(&m, STR("id")));
    buf_finish(&type);
    buf_finish(&source);
    if (m.data_base64.p != NULL && m.data_base64.p[0] != 'n')
        return take_base64(c, &m);
    c->data = m.data.p != NULL ? m.data : STR("null");
    return true;
}
