/* SPDX-License-Identifier: Apache-2.0 */
/* Commands and flags, read from the rows of cli.def. Our own parser instead of getopt, because it can say what was meant:
 * a flag that belongs to another command, a misspelt one, a value that is missing. Flags and arguments may stand in
 * any order; behind -- all are arguments. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"
#include "cli_parts.h"

const struct flag cli_flags[FLAG_COUNT] = {
#define FLAG(id, name, value, help) {name, value, help},
#include "cli.def"
};

#define F(id) (UINT64_C(1) << FLAG_##id)
static const struct command commands[] = {
#define COMMAND(words, arguments, least, most, flags, help, example, fn)                           \
    {words, arguments, least, most, (flags) | F(HELP), help, example, fn},
#include "cli.def"
    {0},
};

const struct command *cli_commands(void)
{
    return commands;
}

int cli_words_match(const struct command *c, int argc, char *const *argv)
{
    struct str rest = str_of(c->words);
    int n = 0;
    while (rest.p != NULL) {
        struct str word = str_split(&rest, ' ');
        if (n == argc || !str_is(word, argv[n]))
            return 0;
        n++;
    }
    return n;
}

bool cli_is_group(const char *word)
{
    for (const struct command *c = commands; c->words != NULL; c++) {
        struct str rest = str_of(c->words);
        if (str_is(str_split(&rest, ' '), word) && rest.p != NULL)
            return true;
    }
    return false;
}

static const char *nearest_command(const char *typed)
{
    const char *names[sizeof commands / sizeof commands[0]];
    size_t n = 0;
    for (const struct command *c = commands; c->words != NULL; c++)
        names[n++] = c->words;
    names[n] = NULL;
    return suggest(str_of(typed), names);
}

/* The group whose name is nearest: "kw" is kv, whatever follows. */
static char *nearest_group(const char *word)
{
    char *best = NULL;
    for (const struct command *c = commands; c->words != NULL && best == NULL; c++) {
        struct str rest = str_of(c->words);
        struct str group = str_split(&rest, ' ');
        char *copy = mem_dup(group.p, group.n);
        const char *const names[] = {copy, NULL};
        if (suggest(str_of(word), names) != NULL)
            best = mem_format("%s --help", copy);
        mem_free(copy);
    }
    return best;
}

const struct command *cli_find(int argc, char *const *argv, int *used, struct err *e)
{
    for (const struct command *c = commands; c->words != NULL; c++) {
        *used = cli_words_match(c, argc, argv);
        if (*used != 0)
            return c;
    }
    bool two = argc > 1 && argv[1][0] != '-';
    char *typed = two ? mem_format("%s %s", argv[0], argv[1]) : mem_strdup(argv[0]);
    const char *near = nearest_command(typed);
    if (near == NULL && argc > 2 && two) {
        char *three = mem_format("%s %s", typed, argv[2]);
        near = nearest_command(three);
        mem_free(near != NULL ? typed : three);
        typed = near != NULL ? three : typed;
    }
    char *group = near == NULL && !cli_is_group(argv[0]) ? nearest_group(argv[0]) : NULL;
    if (near == NULL)
        near = group;
    if (near != NULL)
        err_fail(e, ERR_BAD_INPUT, "unknown command \"%.80s\", did you mean \"hookmesh %s\"?",
                 typed, near);
    else if (cli_is_group(argv[0]))
        err_fail(e, ERR_BAD_INPUT, "unknown command \"%.80s\"; hookmesh %s --help lists them",
                 typed, argv[0]);
    else
        err_fail(e, ERR_BAD_INPUT, "unknown command \"%.80s\"; hookmesh --help lists them",
                 argv[0]);
    mem_free(group);
    mem_free(typed);
    return NULL;
}

static bool unknown_flag(const struct command *command, struct str name, struct err *e)
{
    const char *names[FLAG_COUNT + 1];
    size_t n = 0;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((command->flags >> i & 1) != 0)
            names[n++] = cli_flags[i].name;
    }
    names[n] = NULL;
    const char *near = suggest(name, names);
    int shown = (int)(name.n > 40 ? 40 : name.n);
    if (near != NULL)
        return err_fail(e, ERR_BAD_INPUT, "unknown flag %.*s, did you mean %s?", shown, name.p,
                        near);
    return err_fail(e, ERR_BAD_INPUT, "unknown flag %.*s; hookmesh %s --help lists them", shown,
                    name.p, command->words);
}

/* One flag at argv[*at]; *at goes on past its value. */
static bool parse_flag(struct cli *c, int argc, char *const *argv, int *at, struct err *e)
{
    struct str value = str_of(argv[*at]);
    struct str name = str_split(&value, '=');
    if (str_is(name, "-h"))
        name = STR("--help");
    size_t i = 0;
    while (i < FLAG_COUNT &&
           ((c->command->flags >> i & 1) == 0 || !str_is(name, cli_flags[i].name)))
        i++;
    if (i == FLAG_COUNT)
        return unknown_flag(c->command, name, e);
    if (cli_flags[i].value == NULL) {
        if (value.p != NULL)
            return err_fail(e, ERR_BAD_INPUT, "%s takes no value", cli_flags[i].name);
        c->flags[i] = "";
        return true;
    }
    const char *text = value.p;
    if (text == NULL && *at + 1 < argc)
        text = argv[++*at];
    if (text == NULL)
        return err_fail(e, ERR_BAD_INPUT, "%s needs a value: %s %s", cli_flags[i].name,
                        cli_flags[i].name, cli_flags[i].value);
    if (i == FLAG_SET && c->set_n == CLI_SETS_MAX)
        return err_fail(e, ERR_BAD_INPUT, "at most %d times --set", CLI_SETS_MAX);
    if (i == FLAG_COLOR && !cli_colour(text))
        return err_fail(e, ERR_BAD_INPUT, "--color must be auto, always or never, not %.40s", text);
    if (i == FLAG_SET)
        c->sets[c->set_n++] = text;
    c->flags[i] = text;
    return true;
}

bool cli_parse(struct cli *c, const struct command *command, int argc, char *const *argv,
               struct err *e)
{
    bool only_arguments = false;
    c->command = command;
    for (int i = 0; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!parse_flag(c, argc, argv, &i, e))
                return false;
        } else if (c->arg_n == (size_t)command->most) {
            return err_fail(e, ERR_BAD_INPUT,
                            "\"%.60s\" is one argument too many; usage: hookmesh %s %s", argv[i],
                            command->words, command->arguments);
        } else {
            c->args[c->arg_n++] = argv[i];
        }
    }
    if (c->flags[FLAG_HELP] == NULL && c->arg_n < (size_t)command->least)
        return err_fail(e, ERR_BAD_INPUT, "an argument is missing; usage: hookmesh %s %s",
                        command->words, command->arguments);
    return true;
}

enum { HELP_WIDTH = 79, FLAG_HEAD = 22, COMMAND_HEAD = 30 };

/* "  HEAD    TEXT", the text in lines of its own column. */
static void add_columns(struct buf *out, const char *head, int width, const char *text)
{
    size_t indent = (size_t)width + 3;
    size_t room = HELP_WIDTH - indent;
    buf_printf(out, "  %-*s", width, head);
    if (strlen(head) > (size_t)width)
        buf_printf(out, "\n  %*s", width, "");
    while (strlen(text) > room) {
        size_t n = room;
        while (n > 1 && text[n] != ' ')
            n--;
        buf_printf(out, " %.*s\n%*s", (int)n, text, (int)indent - 1, "");
        text += n + (text[n] == ' ');
    }
    buf_printf(out, " %s\n", text);
}

static void add_flag_line(struct buf *out, size_t i)
{
    char *head = mem_format("%s%s%s", cli_flags[i].name, cli_flags[i].value != NULL ? " " : "",
                            cli_flags[i].value != NULL ? cli_flags[i].value : "");
    add_columns(out, head, FLAG_HEAD, cli_flags[i].help);
    mem_free(head);
}

void cli_help_command(struct buf *out, const struct command *command)
{
    struct str help = str_of(command->help);
    while (help.n > HELP_WIDTH) {
        size_t n = HELP_WIDTH;
        while (help.p[n] != ' ')
            n--;
        buf_printf(out, "%.*s\n", (int)n, help.p);
        help = (struct str){help.p + n + 1, help.n - n - 1};
    }
    buf_str(out, help);
    buf_printf(out, "\n\nUsage: hookmesh %s%s%s [flags]\n\n", command->words,
               command->arguments[0] != '\0' ? " " : "", command->arguments);
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((command->flags >> i & 1) != 0)
            add_flag_line(out, i);
    }
    buf_printf(out, "\nExample:\n  %s\n", command->example);
}

void cli_help_group(struct buf *out, const char *word)
{
    buf_printf(out, "Usage: hookmesh %s%sCOMMAND [flags]\n\n", word == NULL ? "" : word,
               word == NULL ? "" : " ");
    struct str last = {NULL, 0};
    for (const struct command *c = commands; c->words != NULL; c++) {
        struct str rest = str_of(c->words);
        struct str group = str_split(&rest, ' ');
        if (word != NULL && !str_is(group, word))
            continue;
        if (word == NULL && last.p != NULL && !str_eq(group, last) && rest.p != NULL)
            buf_char(out, '\n');
        last = group;
        char *head = mem_format("%s %s", c->words, c->arguments);
        add_columns(out, head, COMMAND_HEAD, c->help);
        mem_free(head);
    }
    buf_puts(out, "\nEach has --help with an example. Exit code: 0 done, 1 failed, 64 wrong "
                  "usage,\n69 no server reachable, 77 not allowed.\n");
}
