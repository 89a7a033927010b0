/* SPDX-License-Identifier: Apache-2.0 */
/* Optimal string alignment distance with three rows. A third of the word may be wrong, at least one
 * letter: more, and the hint would name something that nobody meant. */
#include "base/suggest.h"

#include <string.h>

enum { WORD_MAX = 63 };

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c == '-' ? '_' : c;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(struct str a, struct str b)
{
    size_t rows[3][WORD_MAX + 1];
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *now = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *two_above = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            bool same = lower(a.p[i - 1]) == lower(b.p[j - 1]);
            now[j] = least(least(above[j], now[j - 1]) + 1, above[j - 1] + !same);
            if (i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
                lower(a.p[i - 2]) == lower(b.p[j - 1]))
                now[j] = least(now[j], two_above[j - 2] + 1);
        }
    }
    return rows[a.n % 3][b.n];
}

const char *suggest(struct str word, const char *const *names)
{
    if (names == NULL || word.n == 0 || word.n > WORD_MAX)
        return NULL;
    const char *best = NULL;
    size_t best_distance = word.n / 3 + (word.n < 3);
    if (best_distance == 0)
        best_distance = 1;
    for (; *names != NULL; names++) {
        struct str name = str_of(*names);
        if (name.n > WORD_MAX)
            continue;
        size_t d = distance(word, name);
        if (d <= best_distance && d < name.n) {
            best = *names;
            if (d == 0)
                break;
            best_distance = d - 1;
        }
    }
    return best;
}
