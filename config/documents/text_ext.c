/* SPDX-License-Identifier: Apache-2.0 */
/* The extension `text`: two jobs about documents, and an example of how a stage is written in C.
 *
 *   extract    {"id","title","body"} -> {"id","entities","word_count"}: words between white space; those that begin with
 *              an upper-case letter are entities
 *   summarize  {"id","entities",...} and the document -> {"id","title","one_liner","entity_count"}
 *
 * What counts as white space and as an upper-case letter is what Python's str.split() and str.isupper() say, so that this and
 * ../documents-python give the same. Letters are looked up in the C.UTF-8 locale, whatever the user's is. */
#include <jansson.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "hookmesh_ext.h"

enum { ONE_LINER = 80 }; /* characters */

static int fail(struct hookmesh_call *call, const char *why)
{
    call->fail(call, why);
    return HOOKMESH_FAIL; /* the same input would fail again */
}

static json_t *parse(struct hookmesh_bytes b)
{
    return b.p == NULL ? NULL : json_loadb(b.p, b.n, JSON_ALLOW_NUL, NULL);
}

static int append(const char *p, size_t n, void *call)
{
    ((struct hookmesh_call *)call)->write(call, p, n);
    return 0;
}

static int give(struct hookmesh_call *call, json_t *result)
{
    int failed = json_dump_callback(result, append, call, JSON_COMPACT);
    json_decref(result);
    return failed == 0 ? HOOKMESH_OK : fail(call, "the result cannot be written as JSON");
}

/* The character at p and its length. The JSON parser has checked that this is UTF-8. */
static size_t decode(const char *p, wint_t *out)
{
    const unsigned char *u = (const unsigned char *)p;
    if (u[0] < 0x80) {
        *out = u[0];
        return 1;
    }
    size_t n = u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;
    uint32_t c = u[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (u[i] & 0x3Fu);
    *out = c;
    return n;
}

static int is_space(wint_t c)
{
    if (c < 0x80)
        return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* The title-case letters (a capital joined to a small one): the C library takes them for upper case. */
static int is_title(wint_t c)
{
    return c == 0x1C5 || c == 0x1C8 || c == 0x1CB || c == 0x1F2 ||
           (c >= 0x1F88 && c <= 0x1FAF && (c & 8) != 0) || c == 0x1FBC || c == 0x1FCC ||
           c == 0x1FFC;
}

static int is_upper(wint_t c)
{
    static locale_t utf8;
    if (c < 0x80)
        return c >= 'A' && c <= 'Z';
    if (utf8 == (locale_t)0)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return utf8 != (locale_t)0 && iswupper_l(c, utf8) && !is_title(c);
}

static size_t find_words(const char *p, size_t n, json_t *entities)
{
    size_t words = 0;
    for (size_t i = 0; i < n;) {
        wint_t first;
        size_t from = i;
        i += decode(p + i, &first);
        if (is_space(first))
            continue;
        words++;
        while (i < n) {
            wint_t c;
            size_t length = decode(p + i, &c);
            if (is_space(c))
                break;
            i += length;
        }
        if (is_upper(first))
            json_array_append_new(entities, json_stringn_nocheck(p + from, i - from));
    }
    return words;
}

static int extract(struct hookmesh_call *call)
{
    json_t *document = parse(call->input);
    json_t *id = json_object_get(document, "id");
    json_t *body = json_object_get(document, "body");
    if (!json_is_string(id) || !json_is_string(body)) {
        json_decref(document);
        return fail(call, "a document needs the strings id, title and body");
    }
    json_t *entities = json_array();
    size_t words = find_words(json_string_value(body), json_string_length(body), entities);
    json_t *result = json_object();
    json_object_set(result, "id", id);
    json_object_set_new(result, "entities", entities);
    json_object_set_new(result, "word_count", json_integer((json_int_t)words));
    json_decref(document);
    return give(call, result);
}

/* The whole body, or its first characters with three dots behind. */
static json_t *one_liner(const char *p, size_t n)
{
    size_t end = 0;
    wint_t c;
    for (int i = 0; i < ONE_LINER && end < n; i++)
        end += decode(p + end, &c);
    if (end == n)
        return json_stringn_nocheck(p, n);
    char *text = malloc(end + 3);
    if (text == NULL)
        return NULL;
    memcpy(text, p, end);
    memset(text + end, '.', 3);
    json_t *line = json_stringn_nocheck(text, end + 3);
    free(text);
    return line;
}

static int summarize(struct hookmesh_call *call)
{
    json_t *extracted = parse(call->input);
    json_t *document = call->also_n == 1 ? parse(call->also[0]) : NULL;
    json_t *id = json_object_get(extracted, "id");
    json_t *entities = json_object_get(extracted, "entities");
    json_t *title = json_object_get(document, "title");
    json_t *body = json_object_get(document, "body");
    int status;
    if (!json_is_string(id) || !json_is_array(entities)) {
        status = fail(call, "the input needs the string id and the list entities");
    } else if (!json_is_string(title) || !json_is_string(body)) {
        status = fail(call, "the document (in `also`) is not there or lacks title or body");
    } else {
        json_t *result = json_object();
        json_object_set(result, "id", id);
        json_object_set(result, "title", title);
        json_object_set_new(result, "one_liner",
                            one_liner(json_string_value(body), json_string_length(body)));
        json_object_set_new(result, "entity_count",
                            json_integer((json_int_t)json_array_size(entities)));
        status = give(call, result);
    }
    json_decref(extracted);
    json_decref(document);
    return status;
}

static const struct hookmesh_job jobs[] = {{"extract", extract}, {"summarize", summarize}, {0}};

const struct hookmesh_ext hookmesh_ext = {HOOKMESH_EXT_ABI, jobs};
