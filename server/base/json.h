/* SPDX-License-Identifier: Apache-2.0 */
/* JSON (RFC 8259). Three needs, three ways:
 *
 * - writing: buf_json_* append text; we never build a tree in order to print it;
 * - reading small things (API answers, tests, settings): json_parse gives a tree (jansson), errors
 *   with line and column;
 * - the accept path: jscan_* (simdjson) validates bytes and picks fields as slices of the source,
 *   so that the bytes can be passed on as they came. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

/* Writing. buf_json_str writes quotes too; bytes that are not UTF-8 become U+FFFD. */
void buf_json_str(struct buf *b, struct str s);
/* ,"key":"value"  with the comma left out behind { [ or : */
void buf_json_key(struct buf *b, const char *key); /* [,]"key": */
void buf_json_field(struct buf *b, const char *key, struct str value);
void buf_json_field_int(struct buf *b, const char *key, int64_t value);
void buf_json_field_bool(struct buf *b, const char *key, bool value);
void buf_json_field_raw(struct buf *b, const char *key,
                        struct str json); /* value is JSON already */

/* Reading. A struct json belongs to the root that json_parse returned; only the root is freed.
 * Getters accept NULL and the wrong type and answer "nothing", so that a path can be followed without
 * a check at each step. */
struct json;
struct json *json_parse(struct str text,
                        struct err *e); /* ERR_BAD_INPUT with line:column; json_free */
void json_free(struct json *root);
enum json_type { J_NONE, J_NULL, J_BOOL, J_INT, J_REAL, J_STR, J_ARR, J_OBJ };
enum json_type json_type_of(const struct json *j);
struct json *json_get(const struct json *j, const char *key);
/* By a dotted path, "payload.repository.name"; array items as numbers. */
struct json *json_path(const struct json *j, const char *path);
struct str json_str(const struct json *j);                 /* {NULL,0} unless a string */
int64_t json_int(const struct json *j, int64_t otherwise); /* also of a real without fraction */
double json_num(const struct json *j, double otherwise);
bool json_bool(const struct json *j, bool otherwise);
size_t json_size(const struct json *j);               /* of an array or object; else 0 */
struct json *json_at(const struct json *j, size_t i); /* array item */
/* for (void *it = json_iter(o); it; it = json_next(o, it)) json_iter_key(it) json_iter_value(it) */
void *json_iter(const struct json *object);
void *json_next(const struct json *object, void *iter);
const char *json_iter_key(void *iter);
struct json *json_iter_value(void *iter);
void json_dump(struct buf *out, const struct json *j, bool pretty);

/* The accept path. A scanner keeps its buffers from call to call; one for each thread. */
struct jscan;
struct jscan *jscan_new(void);
void jscan_free(struct jscan *s);
/* Is text one whole valid JSON document (strict: UTF-8, no deeper than 1024)? The error names the
 * cause. Slices from
 * jscan_pick live until the next call on the scanner. */
bool jscan_parse(struct jscan *s, struct str text, struct err *e) MUST_CHECK;
bool jscan_is_object(struct jscan *s);
/* A string's unescaped text, or a number/bool as text, at a JSON pointer ("/repository/full_name");
 * {NULL,0} when absent or not a scalar. */
struct str jscan_pick(struct jscan *s, const char *pointer);
/* The members of the top-level object as they stand in the text, in one pass: out[i] becomes the raw bytes of the value of names[i]
 * (a string with its quotes), or {NULL,0}. Returns the name, raw and without quotes, of the first member that was not asked for, so that a
 * misspelt one can be refused. text is what jscan_parse took and called an object; the slices are slices of it. */
struct str jscan_members(struct jscan *s, struct str text, size_t n, const char *const *names,
                         struct str *out);
/* The same for all members, in their order. */
typedef void (*jscan_member_fn)(void *arg, struct str name, struct str value);
void jscan_each(struct jscan *s, struct str text, jscan_member_fn fn, void *arg);

#endif
