/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a filter: looking at them always comes to an end with a place within them, and what is taken has no name of a function that is refused,
 * unless it is a field, a key, a text or in a comment. Now and then libjq compiles what was taken, in its child. */
#include <string.h>

#include "base/filter.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static bool plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strchr("\"#.{,", p[i]) != NULL)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static unsigned taken;
    struct str program = {(const char *)data, size};
    struct err e = {0};
    size_t at = size + 1;
    bool good = filter_look(program, &at, &e);
    must(good ? true : at <= size && e.code == ERR_CONFIG && e.text[0] != '\0');
    if (!good)
        return 0;
    struct str rest = program;
    while (rest.p != NULL && plain(program.p, program.n)) {
        struct str word = str_trim(str_split(&rest, '|'));
        must(!str_is(word, "env") && !str_is(word, "input") && !str_is(word, "$ENV"));
    }
    if (taken++ % 256 == 0) {
        at = size + 1;
        good = filter_check(program, &at, &e);
        must(good || (at <= size && e.text[0] != '\0'));
    }
    return 0;
}
