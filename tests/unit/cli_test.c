/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the command line that need no server: parsing, help, tables, streams. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

Suite *cli_suite(void);

enum { WORDS_MAX = 24 };

/* "kv get a" as words; quotes keep spaces together. The words point into *line, which is cut up. */
static int split(char *line, char **words)
{
    int n = 0;
    while (*line != '\0') {
        while (*line == ' ')
            *line++ = '\0';
        if (*line == '\0')
            break;
        char quote = *line == '\'' || *line == '"' ? *line++ : ' ';
        ck_assert_int_lt(n, WORDS_MAX);
        words[n++] = line;
        while (*line != '\0' && *line != quote)
            line++;
        if (*line != '\0')
            *line++ = '\0';
    }
    words[n] = NULL;
    return n;
}

/* Parses a line as main would. NULL: e tells why. */
static const struct command *parse(struct cli *c, char *line, struct err *e)
{
    char *words[WORDS_MAX + 1];
    int used;
    int n = split(line, words);
    const struct command *command = cli_find(n, words, &used, e);
    *c = (struct cli){0};
    if (command == NULL || !cli_parse(c, command, n - used, words + used, e))
        return NULL;
    return command;
}

START_TEST(every_command_has_an_example_that_parses)
{
    size_t count = 0;
    for (const struct command *k = cli_commands(); k->words != NULL; k++, count++) {
        struct cli c;
        struct err e = {0};
        char *line = mem_strdup(k->example);
        ck_assert_msg(strncmp(line, "hookmesh ", 9) == 0, "%s", line);
        const struct command *found = parse(&c, line + 9, &e);
        ck_assert_msg(found == k, "%s: %s", k->example, e.text);
        mem_free(line);

        struct buf help = {0};
        cli_help_command(&help, k);
        ck_assert_ptr_nonnull(strstr(help.p, k->example));
        ck_assert_ptr_nonnull(strstr(help.p, "--help"));
        ck_assert_msg(k->help[strlen(k->help) - 1] == '.', "%s", k->help);
        buf_clear(&help);
        cli_help_group(&help, NULL);
        ck_assert_ptr_nonnull(strstr(help.p, k->words));
        buf_finish(&help);
    }
    ck_assert_uint_gt(count, 20);
}
END_TEST

/* The text of the lines together: what is said, however it is broken. */
static char *unbroken(const char *text)
{
    struct buf out = {0};
    for (bool blank = false; *text != '\0'; text++) {
        bool now = *text == ' ' || *text == '\n';
        if (now && !blank)
            buf_char(&out, ' ');
        else if (!now)
            buf_char(&out, *text);
        blank = now;
    }
    return buf_take(&out);
}

START_TEST(help_fits_80_columns_and_leaves_nothing_out)
{
    struct buf all = {0};
    cli_help_group(&all, NULL);
    char *whole = unbroken(all.p);
    for (const struct command *k = cli_commands(); k->words != NULL; k++) {
        struct buf help = {0};
        cli_help_command(&help, k);
        char *own = unbroken(help.p);
        ck_assert_msg(strstr(own, k->help) == own, "%s", help.p);
        ck_assert_msg(strstr(whole, k->help) != NULL, "%s", k->words);
        for (size_t i = 0; i < FLAG_COUNT; i++) {
            if ((k->flags >> i & 1) != 0)
                ck_assert_msg(strstr(own, cli_flags[i].help) != NULL, "%s", cli_flags[i].help);
        }
        buf_puts(&all, help.p);
        buf_finish(&help);
        mem_free(own);
    }
    struct str rest = buf_view(&all);
    while (rest.n != 0) {
        struct str line = str_split(&rest, '\n');
        ck_assert_msg(line.n <= 80 || str_starts(line, "  hookmesh "), "%.*s", (int)line.n, line.p);
    }
    mem_free(whole);
    buf_finish(&all);
}
END_TEST

START_TEST(every_listing_can_print_json)
{
    for (const struct command *k = cli_commands(); k->words != NULL; k++) {
        if (str_ends(str_of(k->words), " list"))
            ck_assert_msg((k->flags >> FLAG_JSON & 1) != 0, "%s", k->words);
    }
}
END_TEST

START_TEST(mistakes_say_what_was_meant)
{
    static const struct {
        const char *line;
        const char *error;
    } rows[] = {
        {"kv gett x", "unknown command \"kv gett\", did you mean \"hookmesh kv get\"?"},
        {"kw get x", "unknown command \"kw get\", did you mean \"hookmesh kv get\"?"},
        {"kw frobnicate",
         "unknown command \"kw frobnicate\", did you mean \"hookmesh kv --help\"?"},
        {"kv frobnicate", "unknown command \"kv frobnicate\"; hookmesh kv --help lists them"},
        {"frobnicate", "unknown command \"frobnicate\"; hookmesh --help lists them"},
        {"chek", "unknown command \"chek\", did you mean \"hookmesh check\"?"},
        {"kv get", "an argument is missing; usage: hookmesh kv get KEY"},
        {"kv get a b", "\"b\" is one argument too many; usage: hookmesh kv get KEY"},
        {"kv get a --jsn", "unknown flag --jsn, did you mean --json?"},
        {"kv get a --limit 3", "unknown flag --limit; hookmesh kv get --help lists them"},
        {"kv get a -x", "unknown flag -x; hookmesh kv get --help lists them"},
        {"jobs list --limit", "--limit needs a value: --limit N"},
        {"jobs list --json=yes", "--json takes no value"},
        {"jobs list --color blue", "--color must be auto, always or never, not blue"},
        {"jobs rum x", "unknown command \"jobs rum\", did you mean \"hookmesh jobs run\"?"},
        {"analytics jobs cost", "unknown command \"analytics jobs cost\", did you mean \"hookmesh "
                                "analytics jobs costs\"?"},
        {"completion", "an argument is missing; usage: hookmesh completion bash|zsh|fish"},
        {"serve here", "\"here\" is one argument too many; usage: hookmesh serve "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cli c;
        struct err e = {0};
        char *line = mem_strdup(rows[i].line);
        ck_assert_msg(parse(&c, line, &e) == NULL, "%s", rows[i].line);
        ck_assert_str_eq(e.text, rows[i].error);
        mem_free(line);
    }
}
END_TEST

START_TEST(flags_and_arguments_may_stand_in_any_order)
{
    struct cli c;
    struct err e;
    char line[] = "kv put --if-version=3 a --json -- --b";
    ck_assert_ptr_nonnull(parse(&c, line, &e));
    ck_assert_uint_eq(c.arg_n, 2);
    ck_assert_str_eq(c.args[0], "a");
    ck_assert_str_eq(c.args[1], "--b");
    ck_assert_str_eq(c.flags[FLAG_IF_VERSION], "3");
    ck_assert_ptr_nonnull(c.flags[FLAG_JSON]);
    ck_assert_ptr_null(c.flags[FLAG_URL]);
    char dash[] = "kv put a - --if-version 0";
    ck_assert_ptr_nonnull(parse(&c, dash, &e));
    ck_assert_str_eq(c.args[1], "-");
    ck_assert_str_eq(c.flags[FLAG_IF_VERSION], "0");
    char help[] = "kv put -h";
    ck_assert_ptr_nonnull(parse(&c, help, &e));
    ck_assert_ptr_nonnull(c.flags[FLAG_HELP]);
}
END_TEST

START_TEST(serve_options_become_overrides_of_settings)
{
    char line[] =
        "serve --config conf --listen 127.0.0.1:0 --set batch=3 --workers 2 --set sweep=1s";
    char *words[WORDS_MAX + 1];
    int n = split(line, words);
    struct serve_options o;
    setenv("HOOKMESH_CONFIG", "elsewhere", 1);
    ck_assert(cli_serve_options(n, words, &o));
    ck_assert_str_eq(o.config_dir, "conf");
    ck_assert_str_eq(o.overrides[0], "batch=3");
    ck_assert_str_eq(o.overrides[1], "sweep=1s");
    ck_assert_str_eq(o.overrides[2], "listen=127.0.0.1:0");
    ck_assert_str_eq(o.overrides[3], "workers=2");
    ck_assert_ptr_null(o.overrides[4]);
    serve_options_finish(&o);

    char bare[] = "serve";
    n = split(bare, words);
    ck_assert(cli_serve_options(n, words, &o));
    ck_assert_str_eq(o.config_dir, "elsewhere");
    ck_assert_ptr_null(o.overrides[0]);
    serve_options_finish(&o);
    unsetenv("HOOKMESH_CONFIG");
    ck_assert(cli_serve_options(n, words, &o));
    ck_assert_ptr_null(o.config_dir);
    serve_options_finish(&o);
}
END_TEST

static char *rendered(const struct table *t, bool colours, size_t width)
{
    struct buf b = {0};
    table_render(t, &b, colours, width);
    return buf_take(&b);
}

START_TEST(tables_are_aligned_cut_and_coloured)
{
    static const char *const heads[] = {"KEY", "STATE", "ERROR", NULL};
    struct table *t = table_new(heads);
    table_cell(t, STR("stra\xC3\x9F"
                      "e.raw"));
    table_cell(t, STR("dead"));
    table_cell(t, STR("it broke"));
    table_cell(t, STR("a"));
    table_cellf(t, "%s", "succeeded");
    table_cell(t, STR(""));
    ck_assert_uint_eq(table_rows(t), 2);
    char *text = rendered(t, false, 0);
    ck_assert_str_eq(text, "KEY         STATE      ERROR\n"
                           "stra\xC3\x9F"
                           "e.raw  dead       it broke\n"
                           "a           succeeded\n");
    mem_free(text);
    text = rendered(t, false, 26); /* no room for the last column: the others get it */
    ck_assert_str_eq(text, "KEY         STATE\n"
                           "stra\xC3\x9F"
                           "e.raw  dead\n"
                           "a           succeeded\n");
    mem_free(text);
    text = rendered(t, true, 0);
    ck_assert_ptr_nonnull(strstr(text, "\033[31mdead\033[0m       it broke\n"));
    ck_assert_ptr_nonnull(strstr(text, "\033[1mKEY\033[0m"));
    mem_free(text);
    table_free(t);
}
END_TEST

START_TEST(outside_text_cannot_command_the_terminal)
{
    struct buf b = {0};
    clean_text(&b, STR("red \033[31m\x9B"
                       "2J"));
    ck_assert_str_eq(b.p, "red ?[31m?2J");
    buf_clear(&b);
    clean_text(&b, STR("tab\there\r\nnew \xC2\x9B"
                       "2J gr\xC3\xBC\xC3\x9F"
                       "e\x7F"));
    ck_assert_str_eq(b.p, "tab here  new ?2J gr\xC3\xBC\xC3\x9F"
                          "e?");
    buf_finish(&b);
}
END_TEST

START_TEST(names_that_turn_or_hide_letters_are_shown_for_what_they_are)
{
    static const struct {
        const char *text;
        const char *shown;
    } rows[] = {
        {"a\xE2\x80\xAE"
         "fdp.exe",
         "a?fdp.exe"},                        /* right to left */
        {"\xE2\x81\xA6x\xE2\x81\xA9", "?x?"}, /* isolates */
        {"a\xE2\x80\x8B"
         "b",
         "a?b"},                         /* no width */
        {"\xEF\xBB\xBFstart", "?start"}, /* byte order mark */
        {"tag\xF3\xA0\x81\x81", "tag?"}, /* tags */
        {"cut\xE2\x80", "cut??"},        /* half a character */
        {"caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8D\x9E",
         "caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x8D\x9E"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};
        clean_text(&b, str_of(rows[i].text));
        ck_assert_str_eq(b.p, rows[i].shown);
        buf_finish(&b);
    }
}
END_TEST

START_TEST(json_stays_the_same_json_without_what_a_terminal_obeys)
{
    static const char text[] = "{\"a\":\"x\xC2\x9B"
                               "2J\xE2\x80\xAE\xF3\xA0\x81\x81\x7F \xC3\xA9\"}";
    struct buf b = {0};
    clean_json(&b, str_of(text));
    ck_assert_str_eq(b.p, "{\"a\":\"x\\u009b2J\\u202e\\udb40\\udc41\\u007f \xC3\xA9\"}");
    struct json *before = json_parse(str_of(text), NULL);
    struct json *after = json_parse(buf_view(&b), NULL);
    ck_assert(str_eq(json_str(json_get(before, "a")), json_str(json_get(after, "a"))));
    json_free(before);
    json_free(after);
    buf_finish(&b);
}
END_TEST

START_TEST(wide_characters_take_two_columns_and_are_never_cut_in_half)
{
    static const char *const heads[] = {"ID", "NAME", "END", NULL};
    struct table *t = table_new(heads);
    table_cell(t, STR("1"));
    table_cell(
        t, STR("\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xA7\xE3\x81\x99")); /* 10 columns */
    table_cell(t, STR("x"));
    table_cell(t, STR("2"));
    table_cell(t, STR("e\xCC\x81t\xC3\xA9")); /* 3 columns */
    table_cell(t, STR("y"));
    char *text = rendered(t, false, 0);
    ck_assert_str_eq(text, "ID  NAME        END\n"
                           "1   \xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xA7\xE3\x81\x99  x\n"
                           "2   e\xCC\x81t\xC3\xA9         y\n");
    mem_free(text);
    text = rendered(t, false, 18); /* nine columns for the name: four characters and the dots */
    ck_assert_str_eq(text, "ID  NAME       END\n"
                           "1   \xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE3\x81\xA7\xE2\x80\xA6  x\n"
                           "2   e\xCC\x81t\xC3\xA9        y\n");
    mem_free(text);
    table_free(t);
}
END_TEST

START_TEST(the_first_column_is_never_cut)
{
    static const char *const heads[] = {"RUN", "STATE", "ERROR", NULL};
    struct table *t = table_new(heads);
    table_cell(t, STR("01890a5d-ac96-774b-bcce-b302099a8057"));
    table_cell(t, STR("dead"));
    table_cell(t, STR("a long story about what went wrong"));
    char *text = rendered(t, false, 60);
    ck_assert_str_eq(text,
                     "RUN                                   STATE  ERROR\n"
                     "01890a5d-ac96-774b-bcce-b302099a8057  dead   a long story a\xE2\x80\xA6\n");
    mem_free(text);
    text = rendered(t, false, 10);
    ck_assert_str_eq(text, "RUN\n01890a5d-ac96-774b-bcce-b302099a8057\n");
    mem_free(text);
    table_free(t);
}
END_TEST

START_TEST(ages_and_durations_are_short)
{
    static const int64_t now_ms = INT64_C(1795252497000); /* 2026-11-21T09:14:57Z */
    static const struct {
        const char *at;
        const char *age;
    } ages[] = {
        {"2026-11-21T09:14:57.000Z", "0s"},
        {"2026-11-21T09:13:00Z", "117s"},
        {"2026-11-21T09:12:00Z", "2m"},
        {"2026-11-20T09:14:57Z", "24h"},
        {"2026-11-01T09:14:57Z", "20d"},
        {"2026-11-21T10:15:30+01:00", "in 33s"},
        {"2026-11-21T19:00:00+01:00", "in 8h"},
        {"", ""},
        {"soon", "soon"},
    };
    static const struct {
        double ms;
        const char *text;
    } times[] = {{0.42, "0.4 ms"},  {312, "312 ms"},     {9999, "9999 ms"},
                 {12500, "12.5 s"}, {240000, "4.0 min"}, {9000000, "2.5 h"}};
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        struct buf b = {0};
        short_age(&b, str_of(ages[i].at), now_ms);
        ck_assert_msg(strcmp(b.p, ages[i].age) == 0, "%s: %s", ages[i].at, b.p);
        buf_finish(&b);
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct buf b = {0};
        short_ms(&b, times[i].ms);
        ck_assert_str_eq(b.p, times[i].text);
        buf_finish(&b);
    }
}
END_TEST

START_TEST(times_and_sizes_are_short)
{
    char out[20];
    struct str t = short_time(STR("2026-11-20T09:00:00.123Z"), out);
    ck_assert(str_is(t, "2026-11-20 09:00:00"));
    ck_assert(str_is(short_time(STR("soon"), out), "soon"));
    static const struct {
        int64_t bytes;
        const char *text;
    } rows[] = {{0, "0 B"},          {812, "812 B"},        {7700, "7.7 KB"},
                {21555, "22 KB"},    {999400, "999 KB"},    {999600, "1.0 MB"},
                {12345678, "12 MB"}, {3200000000, "3.2 GB"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};
        short_size(&b, rows[i].bytes);
        ck_assert_str_eq(b.p, rows[i].text);
        buf_finish(&b);
    }
}
END_TEST

static bool note_event(void *arg, struct str event, struct str data)
{
    struct buf *out = arg;
    buf_char(out, '<');
    buf_str(out, event);
    buf_char(out, '|');
    buf_str(out, data);
    buf_char(out, '>');
    return !str_is(event, "end");
}

START_TEST(streams_are_read_however_they_are_cut)
{
    static const char text[] = "id: 1\nevent: log\ndata: {\"n\":1}\n\n: still here\n\nid: 2\r\n"
                               "data:a\ndata: b\r\n\r\nevent: end\ndata: {}\n\nevent: no\n\n";
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct sse s = {0};
        struct buf out = {0};
        bool on = true;
        for (size_t i = 0; on && i < sizeof text - 1; i += piece) {
            size_t n = sizeof text - 1 - i < piece ? sizeof text - 1 - i : piece;
            on = sse_feed(&s, (struct str){text + i, n}, note_event, &out);
        }
        ck_assert(!on);
        ck_assert_str_eq(out.p, "<log|{\"n\":1}><|a\nb><end|{}>");
        ck_assert_str_eq(s.id.p, "2");
        sse_finish(&s);
        buf_finish(&out);
    }
}
END_TEST

START_TEST(paths_are_encoded)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/kv");
    path_segment(&path, STR("a b/c.\xC3\x9F"));
    path_query(&path, "match", STR("a.*&b"));
    path_query(&path, "limit", STR("3"));
    ck_assert_str_eq(path.p, "/v1/kv/a%20b%2Fc.%C3%9F?match=a.%2A%26b&limit=3");
    buf_finish(&path);
}
END_TEST

Suite *cli_suite(void)
{
    Suite *s = suite_create("cli");
    TCase *t = tcase_create("cli");
    tcase_add_test(t, every_command_has_an_example_that_parses);
    tcase_add_test(t, help_fits_80_columns_and_leaves_nothing_out);
    tcase_add_test(t, every_listing_can_print_json);
    tcase_add_test(t, mistakes_say_what_was_meant);
    tcase_add_test(t, flags_and_arguments_may_stand_in_any_order);
    tcase_add_test(t, serve_options_become_overrides_of_settings);
    tcase_add_test(t, tables_are_aligned_cut_and_coloured);
    tcase_add_test(t, outside_text_cannot_command_the_terminal);
    tcase_add_test(t, names_that_turn_or_hide_letters_are_shown_for_what_they_are);
    tcase_add_test(t, json_stays_the_same_json_without_what_a_terminal_obeys);
    tcase_add_test(t, wide_characters_take_two_columns_and_are_never_cut_in_half);
    tcase_add_test(t, the_first_column_is_never_cut);
    tcase_add_test(t, ages_and_durations_are_short);
    tcase_add_test(t, times_and_sizes_are_short);
    tcase_add_test(t, streams_are_read_however_they_are_cut);
    tcase_add_test(t, paths_are_encoded);
    suite_add_tcase(s, t);
    return s;
}
