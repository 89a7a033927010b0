/* SPDX-License-Identifier: Apache-2.0 */
/* What clients say, as any bytes: a line of a bulk write, of which every member that is found must be JSON inside the line;
 * preconditions and instants. */
#include <string.h>

#include "base/json.h"
#include "handlers/query.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void members(struct str text)
{
    static const char *const names[] = {"key", "value", "if_version"};
    static struct jscan *line, *part;
    struct str raw[3];
    struct err e;
    if (line == NULL) {
        line = jscan_new();
        part = jscan_new();
    }
    if (!jscan_parse(line, text, &e) || !jscan_is_object(line))
        return;
    struct str unknown = jscan_members(line, text, 3, names, raw);
    must(unknown.p == NULL ||
         (unknown.p > text.p && unknown.p + unknown.n < text.p + text.n && unknown.p[-1] == '"'));
    for (size_t i = 0; i < 3; i++) {
        if (raw[i].p == NULL)
            continue;
        must(raw[i].p > text.p && raw[i].p + raw[i].n < text.p + text.n);
        must(jscan_parse(part, raw[i], &e) && str_eq(raw[i], str_trim(raw[i])));
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct str text = {(const char *)data, size};
    int64_t n = 0;
    size_t limit = 0;
    bool flag = false;
    struct err e;
    members(text);
    if (query_precondition(text, (struct str){NULL, 0}, &n, &e))
        must(n >= 0 || n == QUERY_EXISTS);
    if (query_limit(text, 50, 1000, &limit, &e))
        must(limit >= 1 && limit <= 1000);
    (void)query_flag(text, &flag, &e);
    (void)query_since(text, 1000000000000, &n, &e);
    return 0;
}
