/* SPDX-License-Identifier: Apache-2.0 */
/* What requests say besides their body: preconditions, page sizes, instants; and the paged answer. The parsers are
 * pure, their errors say what to send instead. */
#ifndef HANDLERS_QUERY_H
#define HANDLERS_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/http.h"

enum { QUERY_EXISTS = -2 }; /* If-Match: *: any version but none */

/* If-Match: "N" gives N, If-Match: * gives QUERY_EXISTS, If-None-Match: * gives 0, neither gives KV_ANY. Both, lists, weak
 * tags and anything else: ERR_BAD_INPUT. An absent header is {NULL,0}. */
bool query_precondition(struct str if_match, struct str if_none_match, int64_t *version,
                        struct err *e) MUST_CHECK;
/* A number of items; an absent one (NULL) gives otherwise; not 1..max: ERR_BAD_INPUT. */
bool query_limit(struct str s, size_t otherwise, size_t max, size_t *out, struct err *e) MUST_CHECK;
/* "1", "true" or "yes", also "?follow" alone; absent is false; "0", "false" and "no" are false. */
bool query_flag(struct str s, bool *out, struct err *e) MUST_CHECK;
/* An RFC 3339 instant in any offset, or a duration before now ("24h"), as ms since 1970. */
bool query_since(struct str s, int64_t now_ms, int64_t *out_ms, struct err *e) MUST_CHECK;
/* The same for a parameter of that name, for messages. */
bool query_instant(const char *name, struct str s, int64_t now_ms, int64_t *out_ms,
                   struct err *e) MUST_CHECK;
/* A duration with its unit ("10s", or "0") of at most max_ms; an absent one (NULL) gives otherwise. */
bool query_duration(const char *name, struct str s, int64_t otherwise, int64_t max_ms,
                    int64_t *out_ms, struct err *e) MUST_CHECK;
/* ?job= or ?pipeline= as the name of a pipeline that lives as long as the request; NULL: none was asked for. */
bool query_pipeline(struct http_req *q, const char **out, struct err *e) MUST_CHECK;

/* The page that a list handler was asked for (?limit=&cursor=). */
struct query_page {
    size_t limit;
    struct str cursor;
};
bool query_page(struct http_req *q, struct query_page *out, struct err *e) MUST_CHECK;
/* 200 with the list, and Link: rel=next with the request's other parameters unless next is empty. */
void query_reply_page(struct http_req *q, struct str json, struct str next);
/* Callbacks of the core for which that is all (run_json_fn): the request is their argument. */
void query_on_page(void *arg, struct str json, struct str next, const struct err *e);
void query_on_json(void *arg, struct str json, struct str next, const struct err *e);
/* A NUL-terminated copy that lives as long as the request. */
char *query_text(struct http_req *q, struct str s);

#endif
