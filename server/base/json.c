/* SPDX-License-Identifier: Apache-2.0 */
/* The writer is ours, the tree is jansson's: struct json is a json_t under a name that keeps the
 * foreign header in this file. */
#include "base/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* One valid UTF-8 sequence's length at p, or 0. */
static size_t sequence(const char *p, size_t n)
{
    size_t want = (unsigned char)*p < 0xE0 ? 2 : (unsigned char)*p < 0xF0 ? 3 : 4;
    return want <= n && str_utf8_valid((struct str){p, want}) ? want : 0;
}

void buf_json_str(struct buf *b, struct str s)
{
    buf_reserve(b, s.n + 2);
    buf_char(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t good = c >= 0x80 ? sequence(s.p + i, s.n - i) : 0;
        if (good != 0) {
            i += good;
            continue;
        }
        buf_add(b, s.p + from, i - from);
        switch (c) {
        case '"': buf_puts(b, "\\\""); break;
        case '\\': buf_puts(b, "\\\\"); break;
        case '\n': buf_puts(b, "\\n"); break;
        case '\r': buf_puts(b, "\\r"); break;
        case '\t': buf_puts(b, "\\t"); break;
        default:
            if (c < 0x20)
                buf_printf(b, "\\u%04x", c);
            else
                buf_puts(b, "\xEF\xBF\xBD");
        }
        from = ++i;
    }
    if (from < s.n) /* an empty text may be NULL, to which nothing may be added */
        buf_add(b, s.p + from, s.n - from);
    buf_char(b, '"');
}

void buf_json_key(struct buf *b, const char *key)
{
    char last = b->n == 0 ? '{' : b->p[b->n - 1];
    if (last != '{' && last != '[' && last != ':')
        buf_char(b, ',');
    buf_json_str(b, str_of(key));
    buf_char(b, ':');
}

void buf_json_field(struct buf *b, const char *key, struct str value)
{
    buf_json_key(b, key);
    buf_json_str(b, value);
}

void buf_json_field_int(struct buf *b, const char *key, int64_t value)
{
    buf_json_key(b, key);
    buf_printf(b, "%lld", (long long)value);
}

void buf_json_field_bool(struct buf *b, const char *key, bool value)
{
    buf_json_key(b, key);
    buf_puts(b, value ? "true" : "false");
}

void buf_json_field_raw(struct buf *b, const char *key, struct str json)
{
    buf_json_key(b, key);
    buf_str(b, json);
}

static json_t *in(const struct json *j)
{
    union {
        const struct json *from;
        json_t *to;
    } cast = {j};
    return cast.to;
}

static struct json *out(json_t *j)
{
    return (struct json *)(void *)j;
}

struct json *json_parse(struct str text, struct err *e)
{
    json_error_t error;
    json_t *j = json_loadb(text.p != NULL ? text.p : "", text.n,
                           JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (j == NULL) {
        err_fail(e, ERR_BAD_INPUT, "not valid JSON at line %d, column %d: %s", error.line,
                 error.column, error.text);
        return NULL;
    }
    return out(j);
}

void json_free(struct json *root)
{
    json_decref(in(root));
}

enum json_type json_type_of(const struct json *j)
{
    if (j == NULL)
        return J_NONE;
    switch (json_typeof(in(j))) {
    case JSON_OBJECT: return J_OBJ;
    case JSON_ARRAY: return J_ARR;
    case JSON_STRING: return J_STR;
    case JSON_INTEGER: return J_INT;
    case JSON_REAL: return J_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return J_BOOL;
    case JSON_NULL: return J_NULL;
    }
    return J_NONE;
}

struct json *json_get(const struct json *j, const char *key)
{
    return j == NULL ? NULL : out(json_object_get(in(j), key));
}

struct json *json_path(const struct json *j, const char *path)
{
    struct str rest = str_of(path);
    while (j != NULL && rest.p != NULL) {
        struct str part = str_split(&rest, '.');
        uint64_t i;
        if (json_type_of(j) == J_ARR) {
            j = str_u64(part, &i) ? json_at(j, i) : NULL;
            continue;
        }
        char *key = mem_dup(part.p, part.n);
        j = json_get(j, key);
        mem_free(key);
    }
    return out(in(j));
}

struct str json_str(const struct json *j)
{
    if (json_type_of(j) != J_STR)
        return (struct str){NULL, 0};
    return (struct str){json_string_value(in(j)), json_string_length(in(j))};
}

int64_t json_int(const struct json *j, int64_t otherwise)
{
    if (json_type_of(j) == J_INT)
        return json_integer_value(in(j));
    if (json_type_of(j) != J_REAL)
        return otherwise;
    double v = json_real_value(in(j));
    return floor(v) == v && fabs(v) < 9e15 ? (int64_t)v : otherwise;
}

double json_num(const struct json *j, double otherwise)
{
    return json_is_number(in(j)) ? json_number_value(in(j)) : otherwise;
}

bool json_bool(const struct json *j, bool otherwise)
{
    return json_type_of(j) == J_BOOL ? json_is_true(in(j)) : otherwise;
}

size_t json_size(const struct json *j)
{
    switch (json_type_of(j)) {
    case J_ARR: return json_array_size(in(j));
    case J_OBJ: return json_object_size(in(j));
    case J_NONE:
    case J_NULL:
    case J_BOOL:
    case J_INT:
    case J_REAL:
    case J_STR: return 0;
    }
    return 0;
}

struct json *json_at(const struct json *j, size_t i)
{
    return json_type_of(j) == J_ARR ? out(json_array_get(in(j), i)) : NULL;
}

void *json_iter(const struct json *object)
{
    return json_type_of(object) == J_OBJ ? json_object_iter(in(object)) : NULL;
}

void *json_next(const struct json *object, void *iter)
{
    return json_object_iter_next(in(object), iter);
}

const char *json_iter_key(void *iter)
{
    return json_object_iter_key(iter);
}

struct json *json_iter_value(void *iter)
{
    return out(json_object_iter_value(iter));
}

static int append(const char *p, size_t n, void *to)
{
    buf_add(to, p, n);
    return 0;
}

void json_dump(struct buf *to, const struct json *j, bool pretty)
{
    must(json_dump_callback(in(j), append, to,
                            JSON_ENCODE_ANY | (pretty ? JSON_INDENT(2) : JSON_COMPACT)) == 0);
}
