/* SPDX-License-Identifier: Apache-2.0 */
/* The description of the API is a file of its own, handlers/openapi.json, that the program carries: whoever runs it can ask what it answers, without
 * a copy of the sources and of the right version. A test holds the file against the table of routes and against real answers. */
#include "handlers/openapi.h"

#include <stdio.h>

#include "core/codec.h"

extern const unsigned char openapi_json[]; /* made by the build */
extern const size_t openapi_json_size;

void openapi_get(struct http_req *q)
{
    static char tag[CODEC_SUM + 2];
    struct str text = {(const char *)openapi_json, openapi_json_size};
    if (tag[0] == '\0') {
        char sum[CODEC_SUM];
        codec_sum(sum, text);
        snprintf(tag, sizeof tag, "\"%s\"", sum);
    }
    http_set_header(q, "etag", str_of(tag));
    http_set_header(q, "cache-control", STR("no-cache"));
    if (str_is(http_header(q, "if-none-match"), tag))
        http_reply(q, 304, "application/json", (struct str){NULL, 0});
    else
        http_reply_json(q, 200, text);
}
