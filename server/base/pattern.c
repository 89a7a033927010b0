/* SPDX-License-Identifier: Apache-2.0 */
/* Everything walks tokens from left to right. `*` takes one token and `>` stands only at the end, so
 * matching needs no backtracking and its time is linear in the key. Whether two stages can meet
 * (pattern_overlaps, template_overlaps) is answered on the texts alone; when a template's hole could take several
 * values the answer is "may", never a wrong "no": the check for endless loops rests on it. */
#include "base/pattern.h"

#include <string.h>

static bool is_any(struct str token)
{
    return token.n == 1 && token.p[0] == '*';
}

static bool is_rest(struct str token)
{
    return token.n == 1 && token.p[0] == '>';
}

/* U+0000..U+0020, U+007F..U+009F. text is valid UTF-8. */
static bool has_control(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= 0x20 || c == 0x7F)
            return true;
        if (c == 0xC2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xA0)
            return true;
    }
    return false;
}

/* What keys, patterns and templates have in common. */
static bool name_check(const char *what, struct str name, size_t max, struct err *e)
{
    if (name.n == 0)
        return err_fail(e, ERR_BAD_INPUT, "the %s is empty", what);
    if (name.n > max)
        return err_fail(e, ERR_BAD_INPUT, "the %s is %zu bytes long, %zu are allowed", what, name.n,
                        max);
    if (!str_utf8_valid(name))
        return err_fail(e, ERR_BAD_INPUT, "the %s is not valid UTF-8", what);
    if (has_control(name))
        return err_fail(e, ERR_BAD_INPUT, "the %s has a space or a control character in it", what);
    struct str rest = name;
    while (rest.p != NULL) {
        if (str_split(&rest, '.').n == 0)
            return err_fail(e, ERR_BAD_INPUT,
                            "the %s has an empty token: no dot may stand first, last or twice",
                            what);
    }
    return true;
}

bool key_check(struct str key, size_t max, struct err *e)
{
    if (!name_check("key", key, max, e))
        return false;
    if (memchr(key.p, '*', key.n) != NULL || memchr(key.p, '>', key.n) != NULL)
        return err_fail(e, ERR_BAD_INPUT,
                        "the key has a wildcard in it: * and > belong into patterns only");
    return true;
}

bool pattern_check(struct str pattern, size_t max, struct err *e)
{
    if (!name_check("pattern", pattern, max, e))
        return false;
    size_t wilds = 0;
    struct str rest = pattern;
    while (rest.p != NULL) {
        struct str token = str_split(&rest, '.');
        bool wild = is_any(token) || is_rest(token);
        wilds += wild;
        if (is_rest(token) && rest.p != NULL)
            return err_fail(e, ERR_BAD_INPUT, "> stands for the rest and must be the last token");
        if (!wild &&
            (memchr(token.p, '*', token.n) != NULL || memchr(token.p, '>', token.n) != NULL))
            return err_fail(e, ERR_BAD_INPUT, "* and > stand for whole tokens: \"%.*s\" has more",
                            token.n > 100 ? 100 : (int)token.n, token.p);
    }
    if (wilds > PATTERN_WILDS)
        return err_fail(e, ERR_BAD_INPUT, "the pattern has %zu wildcards, %d are allowed", wilds,
                        PATTERN_WILDS);
    return true;
}

size_t pattern_wilds(struct str pattern)
{
    size_t wilds = 0;
    struct str rest = pattern;
    while (rest.p != NULL) {
        struct str token = str_split(&rest, '.');
        wilds += is_any(token) || is_rest(token);
    }
    return wilds;
}

static void take_wild(struct pattern_match *m, struct str piece)
{
    if (m != NULL && m->n < PATTERN_WILDS)
        m->wild[m->n++] = piece;
}

bool pattern_matches(struct str pattern, struct str key, struct pattern_match *m)
{
    if (m != NULL)
        m->n = 0;
    while (pattern.p != NULL && key.p != NULL) {
        struct str want = str_split(&pattern, '.');
        if (is_rest(want)) {
            take_wild(m, key);
            return key.n != 0;
        }
        struct str token = str_split(&key, '.');
        if (is_any(want)) {
            if (token.n == 0)
                return false;
            take_wild(m, token);
        } else if (!str_eq(want, token)) {
            return false;
        }
    }
    return pattern.p == NULL && key.p == NULL;
}

bool pattern_overlaps(struct str a, struct str b)
{
    while (a.p != NULL && b.p != NULL) {
        struct str x = str_split(&a, '.');
        struct str y = str_split(&b, '.');
        if (is_rest(x) || is_rest(y))
            return true;
        if (!is_any(x) && !is_any(y) && !str_eq(x, y))
            return false;
    }
    return a.p == NULL && b.p == NULL;
}

void pattern_glob(struct buf *out, struct str pattern)
{
    bool first = true;
    while (pattern.p != NULL) {
        struct str token = str_split(&pattern, '.');
        if (!first)
            buf_char(out, '.');
        first = false;
        if (is_any(token) || is_rest(token)) {
            buf_puts(out, "?*"); /* no token is empty */
            continue;
        }
        for (size_t i = 0; i < token.n; i++) {
            if (strchr("*?[]\\", token.p[i]) != NULL)
                buf_char(out, '\\');
            buf_char(out, token.p[i]);
        }
    }
}

/* A template in pieces: literal text, then a hole. */
struct piece {
    struct str text;
    bool hole;
    bool run;      /* the hole is {run} */
    size_t number; /* else {number}, from 1 */
};

/* Cuts the next piece off *rest. false: the brace is not closed or holds neither a number nor "run". */
static bool next_piece(struct str *rest, struct piece *out)
{
    *out = (struct piece){.text = *rest};
    const char *open = rest->n == 0 ? NULL : memchr(rest->p, '{', rest->n);
    if (open == NULL) {
        *rest = (struct str){NULL, 0};
        return true;
    }
    out->hole = true;
    out->text.n = (size_t)(open - rest->p);
    struct str after = {open + 1, rest->n - out->text.n - 1};
    const char *close = after.n == 0 ? NULL : memchr(after.p, '}', after.n);
    if (close == NULL)
        return false;
    struct str name = {after.p, (size_t)(close - after.p)};
    *rest = (struct str){close + 1, after.n - name.n - 1};
    uint64_t number;
    if (str_is(name, "run")) {
        out->run = true;
        return true;
    }
    if (!str_u64(name, &number) || number == 0)
        return false;
    out->number = number;
    return true;
}

bool template_check(struct str tmpl, size_t wilds, bool run, size_t max, struct err *e)
{
    if (!name_check("key template", tmpl, max, e))
        return false;
    if (memchr(tmpl.p, '*', tmpl.n) != NULL || memchr(tmpl.p, '>', tmpl.n) != NULL)
        return err_fail(e, ERR_BAD_INPUT,
                        "a key that is written has no wildcards: {1} puts in what the first * "
                        "matched");
    struct str rest = tmpl;
    while (rest.n != 0) {
        struct piece piece;
        if (!next_piece(&rest, &piece))
            return err_fail(e, ERR_BAD_INPUT,
                            "a brace is not closed or holds something else than a number from 1 or "
                            "run");
        if (piece.run && !run)
            return err_fail(e, ERR_BAD_INPUT, "there is no {run} here");
        if (piece.hole && !piece.run && piece.number > wilds)
            return err_fail(e, ERR_BAD_INPUT, "{%zu} has no wildcard: the pattern has %zu",
                            piece.number, wilds);
    }
    return true;
}

bool template_fill(struct buf *out, struct str tmpl, const struct pattern_match *m, struct str run)
{
    size_t before = out->n;
    while (tmpl.n != 0) {
        struct piece piece;
        if (!next_piece(&tmpl, &piece))
            goto fail;
        buf_str(out, piece.text);
        if (!piece.hole)
            continue;
        struct str value = run;
        if (!piece.run)
            value = m != NULL && piece.number <= m->n ? m->wild[piece.number - 1]
                                                      : (struct str){NULL, 0};
        if (value.n == 0)
            goto fail;
        buf_str(out, value);
    }
    return true;
fail:
    out->n = before;
    if (out->p != NULL)
        out->p[before] = '\0';
    return false;
}

/* One token of a template: what stands before its first hole and behind its last one. */
struct shape {
    struct str before;
    struct str after;
    bool hole;
    bool many; /* a hole is filled by the watch's `>` or a run's id and may hold dots */
};

static struct shape shape_of(struct str token, size_t rest_number)
{
    struct shape s = {.before = token};
    struct str left = token;
    while (left.n != 0) {
        struct piece piece;
        if (!next_piece(&left, &piece))
            break;
        if (!piece.hole)
            break;
        if (!s.hole)
            s.before = piece.text;
        s.hole = true;
        s.after = left;
        s.many = s.many || piece.run || piece.number == rest_number;
    }
    return s;
}

static bool starts(struct str text, struct str with)
{
    return text.n >= with.n && (with.n == 0 || memcmp(text.p, with.p, with.n) == 0);
}

static bool ends(struct str text, struct str with)
{
    return text.n >= with.n &&
           (with.n == 0 || memcmp(text.p + text.n - with.n, with.p, with.n) == 0);
}

static bool shape_allows(const struct shape *s, struct str want)
{
    if (is_any(want))
        return true;
    if (!s->hole)
        return str_eq(s->before, want);
    return want.n > s->before.n + s->after.n && starts(want, s->before) && ends(want, s->after);
}

static size_t token_count(struct str text)
{
    size_t n = 0;
    while (text.p != NULL) {
        str_split(&text, '.');
        n++;
    }
    return n;
}

/* What follows a hole with dots: only the tokens behind the last such hole have a fixed place, counted
 * from the end. Trying all lengths of several such holes would be exponential; "may" is good enough. */
static bool tails_meet(struct str tmpl, struct str pattern, size_t rest_number)
{
    if (str_is(pattern, ">") || str_ends(pattern, ".>"))
        return true;
    size_t have = token_count(pattern);
    size_t need = token_count(tmpl);
    if (have < need)
        return false;
    struct str tail = tmpl;
    for (struct str at = tmpl; at.p != NULL;) {
        if (shape_of(str_split(&at, '.'), rest_number).many)
            tail = at;
    }
    for (size_t skip = have - token_count(tail); skip != 0; skip--)
        str_split(&pattern, '.');
    while (tail.p != NULL) {
        struct shape s = shape_of(str_split(&tail, '.'), rest_number);
        if (!shape_allows(&s, str_split(&pattern, '.')))
            return false;
    }
    return true;
}

static bool shapes_meet(struct str tmpl, struct str pattern, size_t rest_number)
{
    while (tmpl.p != NULL && pattern.p != NULL) {
        struct shape s = shape_of(str_split(&tmpl, '.'), rest_number);
        struct str want = str_split(&pattern, '.');
        if (is_rest(want))
            return true;
        if (s.many)
            return (is_any(want) || starts(want, s.before)) &&
                   tails_meet(tmpl, pattern, rest_number);
        if (!shape_allows(&s, want))
            return false;
    }
    return tmpl.p == NULL && pattern.p == NULL;
}

bool template_overlaps(struct str tmpl, struct str watch, struct str pattern)
{
    size_t rest_number = 0;
    if (str_is(watch, ">") || str_ends(watch, ".>"))
        rest_number = pattern_wilds(watch);
    return shapes_meet(tmpl, pattern, rest_number);
}
