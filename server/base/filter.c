/* SPDX-License-Identifier: Apache-2.0 */
/* libjq 1.6 is not safe to ask about a program: some make it abort (a failed assertion), some keep it busy, and it loads ~/.jq and modules by itself. So
 * a program is looked at twice. First as tokens, by the rules of jq's own lexer: brackets must match, and names that reach outside of the
 * one input are refused wherever they would be called; as fields and keys (.env, {input: 1}) they are fine. Then libjq compiles it in a
 * forked child with little memory and little time; whatever happens to that is a message.
 *
 * libjq tells the line of an error and not its place. A syntax error is at the first token without which what stands before it could still become a
 * program: a prefix behind an open parenthesis is never a whole program, so "unexpected end" means "so far so good", and that is cheap,
 * because only whole programs are bound to jq's own definitions (15 ms). */
#include "base/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <jq.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"

#if defined(__SANITIZE_ADDRESS__)
#define MAPS_TERABYTES 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAPS_TERABYTES 1
#endif
#endif

enum {
    PROGRAM_MAX = 16 * 1024,
    DEPTH_MAX = 200,
    CHECK_S = 10,
    CHECK_MEMORY = 256 * 1024 * 1024,
    STACK = 512 * 1024,
    GOOD_MAX = 1000, /* programs known to be good, so that a reload does not compile them again */
};

/* Tokens. */

enum kind { T_WORD, T_FIELD, T_TEXT, T_OTHER };

struct token {
    enum kind kind;
    size_t at;
    size_t n;
    char inside; /* the innermost open bracket: ( [ { i (if), " (a text's interpolation), or 0 */
};

struct tokens {
    struct str program;
    struct token *all;
    size_t n;
    struct {
        char what;
        size_t at;
    } open[DEPTH_MAX];
    size_t depth;
};

static bool is_name(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char inside(const struct tokens *t)
{
    return t->depth != 0 ? t->open[t->depth - 1].what : '\0';
}

static struct str text_of(const struct tokens *t, const struct token *k)
{
    return (struct str){t->program.p + k->at, k->n};
}

static char before(const struct tokens *t, size_t i)
{
    return i != 0 ? t->program.p[t->all[i - 1].at] : '\0';
}

/* $name */
static bool is_variable(const struct tokens *t, size_t i)
{
    return before(t, i) == '$';
}

/* {name: ...} or {name} */
static bool is_key(const struct tokens *t, size_t i)
{
    return t->all[i].inside == '{' && (before(t, i) == '{' || before(t, i) == ',');
}

static bool wrong(size_t *at, size_t where, struct err *e, const char *text)
{
    *at = where;
    return err_fail(e, ERR_CONFIG, "%s", text);
}

static void add(struct tokens *t, enum kind kind, size_t at, size_t n)
{
    t->all[t->n++] = (struct token){kind, at, n, inside(t)};
}

static bool push(struct tokens *t, char what, size_t at, size_t *wrong_at, struct err *e)
{
    if (t->depth == DEPTH_MAX)
        return wrong(wrong_at, at, e, "the jq filter is nested too deeply");
    t->open[t->depth].what = what;
    t->open[t->depth++].at = at;
    return true;
}

static size_t name_end(struct str s, size_t i)
{
    while (i < s.n && is_name(s.p[i], false))
        i++;
    /* module::name is one word */
    if (i + 2 < s.n && s.p[i] == ':' && s.p[i + 1] == ':' && is_name(s.p[i + 2], true))
        return name_end(s, i + 2);
    return i;
}

static size_t number_end(struct str s, size_t i)
{
    while (i < s.n && (is_digit(s.p[i]) || s.p[i] == '.'))
        i++;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        size_t j = i + 1;
        if (j < s.n && (s.p[j] == '+' || s.p[j] == '-'))
            j++;
        if (j < s.n && is_digit(s.p[j])) {
            while (j < s.n && is_digit(s.p[j]))
                j++;
            return j;
        }
    }
    return i;
}

/* From i, inside of a text, to behind its end or its next \( . */
static bool take_text(struct tokens *t, size_t begin, size_t *i, size_t *at, struct err *e)
{
    struct str s = t->program;
    for (size_t j = *i; j < s.n; j++) {
        if (s.p[j] == '"') {
            add(t, T_TEXT, begin, j + 1 - begin);
            *i = j + 1;
            return true;
        }
        if (s.p[j] != '\\')
            continue;
        if (++j < s.n && s.p[j] == '(') {
            add(t, T_TEXT, begin, j + 1 - begin);
            *i = j + 1;
            return push(t, '"', begin, at, e);
        }
    }
    return wrong(at, begin, e, "the text that begins here has no end");
}

static bool close_bracket(struct tokens *t, size_t *i, size_t *at, struct err *e)
{
    static const char pairs[] = "()[]{}";
    char c = t->program.p[*i];
    char begin = inside(t);
    if (c == ')' && begin == '"') {
        t->depth--;
        size_t from = (*i)++;
        return take_text(t, from, i, at, e);
    }
    if (begin == '\0' || strchr("([{", begin) == NULL || strchr(pairs, begin)[1] != c)
        return wrong(at, *i, e, "this bracket closes none");
    t->depth--;
    add(t, T_OTHER, *i, 1);
    (*i)++;
    return true;
}

static bool take_word(struct tokens *t, size_t *i, size_t *at, struct err *e)
{
    size_t begin = *i;
    *i = name_end(t->program, begin);
    add(t, T_WORD, begin, *i - begin);
    struct str word = {t->program.p + begin, *i - begin};
    if (is_variable(t, t->n - 1) || is_key(t, t->n - 1))
        return true;
    if (str_is(word, "if"))
        return push(t, 'i', begin, at, e);
    if (str_is(word, "end") && inside(t) == 'i')
        t->depth--;
    return true;
}

static bool take_token(struct tokens *t, size_t *i, size_t *at, struct err *e)
{
    struct str s = t->program;
    char c = s.p[*i];
    if (c == '#') {
        const char *newline = memchr(s.p + *i, '\n', s.n - *i);
        *i = newline != NULL ? (size_t)(newline - s.p) : s.n;
        return true;
    }
    size_t begin = *i;
    if (c == '"') {
        (*i)++;
        return take_text(t, begin, i, at, e);
    }
    if (strchr("([{", c) != NULL) {
        add(t, T_OTHER, (*i)++, 1);
        return push(t, c, begin, at, e);
    }
    if (strchr(")]}", c) != NULL)
        return close_bracket(t, i, at, e);
    if (is_name(c, true))
        return take_word(t, i, at, e);
    if (c == '.' && begin + 1 < s.n && is_name(s.p[begin + 1], true)) {
        *i = begin + 1;
        while (*i < s.n && is_name(s.p[*i], false))
            (*i)++;
        add(t, T_FIELD, begin, *i - begin);
    } else if (is_digit(c) || (c == '.' && begin + 1 < s.n && is_digit(s.p[begin + 1]))) {
        *i = number_end(s, begin);
        add(t, T_OTHER, begin, *i - begin);
    } else if (c == '@') {
        *i = name_end(s, begin + 1);
        add(t, T_OTHER, begin, *i - begin);
    } else { /* an operator, a character at a time, but those that a prefix must not cut */
        static const char *const longer[] = {"?//=", "?//", "//=", "..", "==", "!=", "<=", ">=",
                                             "|=",   "+=",  "-=",  "*=", "/=", "%=", "//"};
        size_t n = 1;
        for (size_t k = 0; k < sizeof longer / sizeof longer[0] && n == 1; k++) {
            size_t m = strlen(longer[k]);
            if (m <= s.n - begin && memcmp(s.p + begin, longer[k], m) == 0)
                n = m;
        }
        add(t, T_OTHER, begin, n);
        *i += n;
    }
    return true;
}

static bool read_tokens(struct tokens *t, size_t *at, struct err *e)
{
    for (size_t i = 0; i < t->program.n;) {
        if (strchr(" \t\r\n", t->program.p[i]) != NULL)
            i++;
        else if (!take_token(t, &i, at, e))
            return false;
    }
    while (t->depth != 0 && inside(t) == 'i') /* libjq says that better */
        t->depth--;
    if (t->depth != 0)
        return wrong(at, t->open[t->depth - 1].at, e, "this bracket is never closed");
    return t->n != 0 || wrong(at, 0, e, "the jq filter is empty");
}

/* What is refused. */

static const struct refusal {
    const char *word;
    const char *why;
} refusals[] = {
    {"import", "reads a file"},
    {"include", "reads a file"},
    {"module", "belongs to a library"},
    {"modulemeta", "reads a file"},
    {"get_search_list", "tells where files are"},
    {"get_jq_origin", "tells where files are"},
    {"get_prog_origin", "tells where files are"},
    {"env", "reads the environment"},
    {"$ENV", "reads the environment"},
    {"$__prog_args", "reads the command line"},
    {"input", "reads a further input, and there is one alone: ."},
    {"inputs", "reads further inputs, and there is one alone: ."},
    {"input_filename", "names a file, and the input comes from none"},
    {"input_line_number", "counts the lines of a file, and the input comes from none"},
    {"debug", "writes to the terminal"},
    {"stderr", "writes to the terminal"},
    {"halt", "ends the program"},
    {"halt_error", "ends the program"},
};

static bool check_words(const struct tokens *t, size_t *at, struct err *e)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct token *k = &t->all[i];
        if (k->kind != T_WORD)
            continue;
        for (size_t r = 0; r < sizeof refusals / sizeof refusals[0]; r++) {
            const char *word = refusals[r].word;
            bool variable = word[0] == '$';
            if (variable != is_variable(t, i) || is_key(t, i) ||
                !str_is(text_of(t, k), word + variable))
                continue;
            *at = t->all[variable ? i - 1 : i].at;
            return err_fail(e, ERR_CONFIG, "%s is not for filters: it %s", word, refusals[r].why);
        }
    }
    return true;
}

/* libjq, in a child. */

struct heard {
    char text[400]; /* the first message */
};

static void on_message(void *arg, jv message)
{
    struct heard *h = arg;
    message = jq_format_error(message);
    if (h->text[0] == '\0' && jv_get_kind(message) == JV_KIND_STRING)
        snprintf(h->text, sizeof h->text, "%s", jv_string_value(message));
    jv_free(message);
}

static bool compile(struct str program, const char *front, struct heard *h)
{
    h->text[0] = '\0';
    char *text = mem_format("%s%.*s", front, (int)program.n, program.p);
    jq_state *jq = jq_init();
    must(jq != NULL);
    jq_set_error_cb(jq, on_message, h);
    bool good = jq_compile(jq, text) != 0;
    jq_teardown(&jq);
    mem_free(text);
    return good;
}

/* The first token that no program could have there, by bisection over "so far so good". */
static size_t find_syntax_error(const struct tokens *t)
{
    struct heard h;
    size_t good = 0;
    size_t bad = t->n;
    while (bad - good > 1) {
        size_t middle = good + (bad - good) / 2;
        const struct token *k = &t->all[middle - 1];
        compile((struct str){t->program.p, k->at + k->n}, "(", &h);
        if (h.text[0] == '\0' || strstr(h.text, "unexpected $end") != NULL)
            good = middle;
        else
            bad = middle;
    }
    return t->all[bad - 1].at;
}

static size_t line_start(struct str program, long line)
{
    size_t at = 0;
    for (; line > 1; line--) {
        const char *newline = memchr(program.p + at, '\n', program.n - at);
        if (newline == NULL)
            break;
        at = (size_t)(newline + 1 - program.p);
    }
    return at;
}

/* Of the call of the word i. */
static unsigned long arity(const struct tokens *t, size_t i)
{
    unsigned long n = 0;
    int depth = 0;
    for (size_t j = i + 1; j < t->n && (j == i + 1 || depth > 0); j++) {
        struct str s = text_of(t, &t->all[j]);
        char first = s.p[0], last = s.p[s.n - 1];
        if (j == i + 1 && first != '(')
            return 0;
        if (strchr(")]}", first) != NULL)
            depth--;
        if (strchr("([{", last) != NULL)
            depth++;
        n += j == i + 1 || (depth == 1 && first == ';');
    }
    return n;
}

/* "foo/0 is not defined", "$x is not defined", "$*label-x is not defined" */
static size_t find_name(const struct tokens *t, const char *message, size_t from)
{
    bool label = strncmp(message, "$*label-", 8) == 0;
    bool variable = !label && message[0] == '$';
    const char *p = message + (label ? 8 : variable ? 1 : 0);
    const struct str name = {p, strcspn(p, "/ ")};
    unsigned long arguments = p[name.n] == '/' ? strtoul(p + name.n + 1, NULL, 10) : 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct token *k = &t->all[i];
        if (k->at < from || k->kind != T_WORD || !str_eq(text_of(t, k), name) || is_key(t, i))
            continue;
        bool dollar = is_variable(t, i);
        bool defined = i != 0 && str_is(text_of(t, &t->all[i - 1]), "def");
        if (dollar == (variable || label) && (dollar || arity(t, i) == arguments) && !defined)
            return dollar ? t->all[i - 1].at : k->at;
    }
    return from;
}

static void cut_out(char *text, const char *what)
{
    char *p = strstr(text, what);
    if (p != NULL)
        memmove(p, p + strlen(what), strlen(p + strlen(what)) + 1);
}

struct verdict {
    bool good;
    size_t at;
    char text[400];
};

static void explain(const struct tokens *t, struct heard *h, struct verdict *v)
{
    static const char place[] = " at <top-level>, line ";
    cut_out(h->text, "jq: error: ");
    cut_out(h->text, " (Unix shell quoting issues?)");
    char *p = strstr(h->text, place);
    long line = p != NULL ? strtol(p + strlen(place), NULL, 10) : 1;
    h->text[p != NULL ? (size_t)(p - h->text) : strcspn(h->text, "\n")] = '\0';
    bool syntax = strncmp(h->text, "syntax error", 12) == 0;
    if (strstr(h->text, "unexpected $end") != NULL) {
        v->at = t->program.n;
        snprintf(v->text, sizeof v->text, "syntax error: the filter ends too early");
    } else if (syntax) {
        v->at = find_syntax_error(t);
        char *end = strstr(h->text, "$end");
        int n = (int)(end != NULL ? (size_t)(end - h->text) : strlen(h->text));
        snprintf(v->text, sizeof v->text, "%.*s%s", n, h->text, end != NULL ? "the end" : "");
    } else {
        v->at = find_name(t, h->text, line_start(t->program, line));
        cut_out(h->text, "*label-");
        snprintf(v->text, sizeof v->text, "%s", h->text[0] != '\0' ? h->text : "jq refuses it");
    }
}

/* The stack counts as memory too: what it needs to report that there is no more, it gets in advance. */
static void grow_stack(void)
{
    volatile char pages[STACK];
    for (size_t i = 0; i < sizeof pages; i += 1024)
        pages[i] = 0;
}

void filter_confine(size_t memory)
{
    grow_stack();
    unsetenv("HOME"); /* libjq would read ~/.jq */
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#ifndef MAPS_TERABYTES
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%lu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + memory;
    setrlimit(RLIMIT_AS, &(struct rlimit){limit, limit});
#else
    (void)memory;
#endif
}

__attribute__((noreturn)) static void check_in_child(const struct tokens *t, int to)
{
    sigset_t set;
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    alarm(CHECK_S);
    int null = open("/dev/null", O_WRONLY); /* for libjq's last words */
    dup2(null, STDERR_FILENO);
    filter_confine(CHECK_MEMORY);
    struct heard h;
    struct verdict v = {0};
    v.good = compile(t->program, "", &h);
    if (!v.good)
        explain(t, &h, &v);
    ssize_t wrote = write(to, &v, sizeof v);
    _exit(wrote == sizeof v ? 0 : 1);
}

/* false: the child died before it said anything. */
static bool ask_child(const struct tokens *t, struct verdict *v, int *status, struct err *e)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_errno(e, "a jq filter cannot be checked");
    sigset_t all, old; /* no signal of ours may find the loop's handlers in the child */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0)
        check_in_child(t, ends[1]);
    int code = errno;
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(ends[1]);
    ssize_t got = -1;
    if (pid > 0) {
        while ((got = read(ends[0], v, sizeof *v)) < 0 && errno == EINTR) {
        }
        while (waitpid(pid, status, 0) < 0 && errno == EINTR) {
        }
    }
    close(ends[0]);
    errno = code;
    if (pid < 0)
        return err_errno(e, "a jq filter cannot be checked");
    if (got == sizeof *v)
        return true;
    return err_fail(e, ERR_CONFIG, "%s",
                    WIFSIGNALED(*status) && WTERMSIG(*status) == SIGALRM
                        ? "jq takes too long to compile this filter"
                        : "jq breaks down over this filter");
}

/* Programs known to be good. */

struct good {
    struct map_node node;
    char text[];
};

static struct map known;

void filter_finish(void)
{
    for (struct map_node *n; (n = map_any(&known)) != NULL;) {
        map_remove(&known, n);
        mem_free(container_of(n, struct good, node));
    }
    map_finish(&known);
}

static void remember(struct str program)
{
    if (known.n == GOOD_MAX)
        filter_finish();
    struct good *g = mem_alloc(sizeof *g + program.n);
    memcpy(g->text, program.p, program.n);
    map_add(&known, &g->node, (struct str){g->text, program.n});
}

static struct token *room_for(struct str program)
{
    size_t n = program.n < PROGRAM_MAX ? program.n : PROGRAM_MAX;
    return mem_zero(n + 1, sizeof(struct token));
}

static bool look(struct tokens *t, size_t *at, struct err *e)
{
    *at = 0;
    if (t->program.n > PROGRAM_MAX)
        return err_fail(e, ERR_CONFIG, "the jq filter is longer than %d bytes", PROGRAM_MAX);
    if (!str_utf8_valid(t->program) ||
        (t->program.n != 0 && memchr(t->program.p, '\0', t->program.n) != NULL))
        return err_fail(e, ERR_CONFIG, "the jq filter is not UTF-8 text");
    return read_tokens(t, at, e) && check_words(t, at, e);
}

bool filter_look(struct str program, size_t *at, struct err *e)
{
    struct tokens t = {.program = program, .all = room_for(program)};
    bool good = look(&t, at, e);
    mem_free(t.all);
    return good;
}

bool filter_check(struct str program, size_t *at, struct err *e)
{
    *at = 0;
    if (map_find(&known, program) != NULL)
        return true;
    struct tokens t = {.program = program, .all = room_for(program)};
    struct verdict v = {0};
    int status = 0;
    bool good = look(&t, at, e) && ask_child(&t, &v, &status, e);
    if (good && !v.good) {
        *at = v.at;
        good = err_fail(e, ERR_CONFIG, "%s", v.text);
    }
    mem_free(t.all);
    if (good)
        remember(program);
    return good;
}

static void (*no_memory)(void);

static void on_no_memory(void *unused)
{
    (void)unused; /* libjq 1.6 forgets it */
    if (no_memory != NULL)
        no_memory();
    abort();
}

void filter_on_no_memory(void (*fn)(void))
{
    no_memory = fn;
}

/* Running, in a process that may break down. */

struct filter {
    jq_state *jq;
    struct heard heard;
};

struct filter *filter_new(struct str program, struct err *e)
{
    struct filter *f = mem_new(struct filter);
    f->jq = jq_init();
    must(f->jq != NULL);
    jq_set_error_cb(f->jq, on_message, &f->heard);
    jq_set_nomem_handler(f->jq, on_no_memory, NULL);
    char *text = mem_dup(program.p, program.n);
    bool good = jq_compile(f->jq, text) != 0;
    mem_free(text);
    if (good)
        return f;
    cut_out(f->heard.text, "jq: error: ");
    err_fail(e, ERR_CONFIG, "%.*s", (int)strcspn(f->heard.text, "\n"), f->heard.text);
    filter_free(f);
    return NULL;
}

void filter_free(struct filter *f)
{
    if (f == NULL)
        return;
    jq_teardown(&f->jq);
    mem_free(f);
}

/* Consumes the message of something invalid. */
static bool failed(jv message, struct err *e)
{
    if (jv_get_kind(message) != JV_KIND_STRING)
        message = jv_dump_string(message, 0);
    err_fail(e, ERR_UNPROCESSABLE, "%s", jv_string_value(message));
    jv_free(message);
    return false;
}

struct filter_input {
    jv value;
};

struct filter_input *filter_input_new(struct str json, struct err *e)
{
    if (json.n > INT32_MAX) {
        err_fail(e, ERR_UNPROCESSABLE, "the input has more than 2 GiB");
        return NULL;
    }
    jv_parser *parser = jv_parser_new(0);
    must(parser != NULL);
    jv_parser_set_buf(parser, json.p, (int)json.n, 0);
    jv value = jv_parser_next(parser);
    jv_parser_free(parser);
    if (jv_is_valid(value)) {
        struct filter_input *in = mem_new(struct filter_input);
        in->value = value;
        return in;
    }
    if (jv_invalid_has_msg(jv_copy(value)))
        failed(jv_invalid_get_msg(value), e);
    else
        err_fail(e, ERR_UNPROCESSABLE, "the input is empty");
    return NULL;
}

void filter_input_free(struct filter_input *in)
{
    if (in == NULL)
        return;
    jv_free(in->value);
    mem_free(in);
}

bool filter_apply(struct filter *f, const struct filter_input *in, struct buf *out, struct err *e)
{
    buf_clear(out);
    jq_start(f->jq, jv_copy(in->value), 0);
    jv result = jq_next(f->jq);
    bool good = true;
    if (jv_is_valid(result)) {
        jv text = jv_dump_string(result, 0);
        buf_add(out, jv_string_value(text), (size_t)jv_string_length_bytes(jv_copy(text)));
        jv_free(text);
    } else if (jv_invalid_has_msg(jv_copy(result))) {
        good = failed(jv_invalid_get_msg(result), e);
    } else {
        jv_free(result);
    }
    jq_start(f->jq, jv_null(), 0); /* lets go of the input */
    return good;
}
