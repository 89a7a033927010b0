/* SPDX-License-Identifier: Apache-2.0 */
/* The manual page, made from the tables that the program itself reads: commands and flags from cli.def, settings from
 * config/settings.def. man(7) macros, because every man knows them. */
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"

/* Text that roff must take as it is: a leading dot or quote is a request, a backslash an escape, and a - would be a hyphen. */
static void add_text(struct buf *out, const char *text)
{
    bool start = true;
    for (; *text != '\0'; text++) {
        if (start && (*text == '.' || *text == '\''))
            buf_puts(out, "\\&");
        start = *text == '\n';
        if (*text == '\\')
            buf_puts(out, "\\e");
        else if (*text == '-')
            buf_puts(out, "\\-");
        else if (*text == '\'')
            buf_puts(out, "\\(aq");
        else if (*text == '~')
            buf_puts(out, "\\(ti");
        else if (*text == '^')
            buf_puts(out, "\\(ha");
        else if (*text == '`')
            buf_puts(out, "\\(ga");
        else
            buf_char(out, *text);
    }
}

/* Sentences begin on lines of their own, as mandoc likes it. */
static void add_prose(struct buf *out, const char *text)
{
    char *copy = mem_strdup(text);
    for (char *p = copy; (p = strstr(p, ". ")) != NULL; p++) {
        bool sentence = p[2] >= 'A' && p[2] <= 'Z';
        if (sentence)
            p[1] = '\n';
    }
    add_text(out, copy);
    buf_char(out, '\n');
    mem_free(copy);
}

static void add_section(struct buf *out, const char *name)
{
    buf_printf(out, ".SH %s\n", name);
}

/* A term in bold, with what follows it in plain. */
static void add_term(struct buf *out, const char *term, const char *plain)
{
    buf_puts(out, ".TP\n\\fB");
    add_text(out, term);
    buf_puts(out, "\\fR");
    if (plain != NULL && plain[0] != '\0') {
        buf_char(out, ' ');
        add_text(out, plain);
    }
    buf_char(out, '\n');
}

static void add_command(struct buf *out, const struct command *k)
{
    char *words = mem_format("hookmesh %s", k->words);
    add_term(out, words, k->arguments);
    add_prose(out, k->help);
    bool any = false;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (i == FLAG_HELP || (k->flags >> i & 1) == 0)
            continue;
        buf_puts(out, any ? ", " : "Flags: ");
        any = true;
        buf_puts(out, "\\fB");
        add_text(out, cli_flags[i].name);
        buf_puts(out, "\\fR");
    }
    if (any)
        buf_puts(out, ".\n");
    buf_puts(out, ".IP\nExample: \\fB");
    add_text(out, k->example);
    buf_puts(out, "\\fR\n");
    mem_free(words);
}

static void add_settings(struct buf *out)
{
    static const struct {
        const char *name;
        const char *help;
    } rows[] = {
#define SETTING_BOOL(name, env, def, reload, help)               {#name, help},
#define SETTING_INT(name, env, def, min, max, reload, help)      {#name, help},
#define SETTING_SIZE(name, env, def, min, max, reload, help)     {#name, help},
#define SETTING_DURATION(name, env, def, min, max, reload, help) {#name, help},
#define SETTING_STRING(name, env, def, reload, help)             {#name, help},
#define SETTING_SECRET(name, env, reload, help)                  {#name, help},
#define SETTING_CHOICE(name, env, def, choices, reload, help)    {#name, help},
#include "config/settings.def"
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        add_term(out, rows[i].name, NULL);
        add_prose(out, rows[i].help);
    }
}

static void add_environment(struct buf *out)
{
    static const char *const rows[][2] = {
        {"HOOKMESH_URL", "The server that client commands talk to; --url is stronger."},
        {"HOOKMESH_TOKEN", "Its token. HOOKMESH_TOKEN_FILE names a file that holds it."},
        {"HOOKMESH_CONFIG", "The directory of the configuration."},
        {"HOOKMESH_DATA", "The directory for the private Redis, the spool and other state."},
        {"HOOKMESH_LISTEN", "Address and port of the server."},
        {"HOOKMESH_REDIS", "The Redis to use; none: a private one."},
        {"HOOKMESH_LOG", "Least important log level written."},
        {"HOOKMESH_SECRET_NAME",
         "The secret of the webhook /hooks/name. "
         "Every secret can also be given as a file: HOOKMESH_SECRET_NAME_FILE."},
        {"NO_COLOR", "Not empty: no colours, unless --color=always is given."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        add_term(out, rows[i][0], NULL);
        add_prose(out, rows[i][1]);
    }
}

static void add_exit_codes(struct buf *out)
{
    static const char *const rows[][2] = {
        {"0", "Done; with --wait: the run succeeded."},
        {"1", "Failed: the server refused it, or the run failed."},
        {"64", "Wrong usage."},
        {"69", "No server is reachable."},
        {"77", "Not allowed: the token is missing or wrong."},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        add_term(out, rows[i][0], NULL);
        add_prose(out, rows[i][1]);
    }
}

static void add_options(struct buf *out)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        add_term(out, cli_flags[i].name, cli_flags[i].value);
        add_prose(out, cli_flags[i].help);
    }
}

static void add_page(struct buf *out)
{
    buf_puts(out, ".\\\" Made by: hookmesh man\n"
                  ".TH HOOKMESH 1 " HOOKMESH_DATE " \"hookmesh " HOOKMESH_VERSION "\"\n");
    add_section(out, "NAME");
    buf_puts(out, "hookmesh \\- webhooks, schedules and keys through pipelines of stages\n");
    add_section(out, "SYNOPSIS");
    buf_puts(out, "\\fBhookmesh\\fR \\fIcommand\\fR [\\fIflags\\fR]\n");
    add_section(out, "DESCRIPTION");
    add_prose(
        out,
        "A server that turns webhooks, schedules, calls over HTTP and changes of keys into runs, "
        "and "
        "the client for it. A trigger only writes a key. A stage watches keys, claims one "
        "version of one key, works, and writes its result as the next key. Redis holds all of it.");
    buf_puts(out, ".PP\n");
    add_prose(
        out, "Flags and arguments may stand in any order; behind -- all are arguments. An argument "
             "that takes a value also takes @FILE, or - for standard input. Each command has "
             "--help with an example.");
    add_section(out, "COMMANDS");
    for (const struct command *k = cli_commands(); k->words != NULL; k++)
        add_command(out, k);
    add_section(out, "FLAGS");
    add_options(out);
    add_section(out, "SETTINGS");
    add_prose(out,
              "For --set NAME=VALUE and for settings: in the configuration. hookmesh serve --help "
              "prints them with their defaults.");
    add_settings(out);
    add_section(out, "ENVIRONMENT");
    add_environment(out);
    add_section(out, "EXIT STATUS");
    add_exit_codes(out);
}

enum { LINE_LENGTH = 79 };

/* Breaks long lines of text at blanks; a request of roff stays one line. */
static void wrap_line(struct buf *out, struct str line)
{
    bool text = line.n != 0 && line.p[0] != '.';
    while (text && line.n > LINE_LENGTH) {
        size_t at = LINE_LENGTH;
        while (at != 0 && line.p[at] != ' ')
            at--;
        if (at == 0)
            break;
        buf_add(out, line.p, at);
        buf_char(out, '\n');
        line = (struct str){line.p + at + 1, line.n - at - 1};
        if (line.p[0] == '.')
            buf_puts(out, "\\&");
    }
    buf_str(out, line);
    buf_char(out, '\n');
}

int cli_man(struct cli *c)
{
    (void)c;
    struct buf page = {0};
    struct buf wrapped = {0};
    add_page(&page);
    struct str rest = {page.p, page.n - 1};
    while (rest.p != NULL)
        wrap_line(&wrapped, str_split(&rest, '\n'));
    print(buf_view(&wrapped));
    buf_finish(&page);
    buf_finish(&wrapped);
    return EXIT_OK;
}
