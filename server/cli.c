/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatch: argv to a row of cli.def, help, and what all commands print with. Commands live in
 * cli_*.c, one file a family; they return an exit code and have told what went wrong. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli_parts.h"
#include "config/config.h"
#include "handlers/verify.h"

int cli_fail(const struct cli *c, int code, const char *fmt, ...)
{
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&b, fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "hookmesh%s%s: %s\n", c != NULL && c->command != NULL ? " " : "",
            c != NULL && c->command != NULL ? c->command->words : "", b.p);
    buf_finish(&b);
    return code;
}

/* SIGPIPE is off, because of the loop: a reader that went (`| head`) ends the program here, without a word. */
static void check_reader(void)
{
    if (ferror(stdout) != 0)
        _exit(errno == EPIPE ? EXIT_OK : EXIT_FAILED);
}

void print(struct str text)
{
    fwrite(text.p != NULL ? text.p : "", 1, text.n, stdout);
    fflush(stdout);
    check_reader();
}

void print_line(struct str text)
{
    fwrite(text.p != NULL ? text.p : "", 1, text.n, stdout);
    print(STR("\n"));
}

void print_json_text(struct str json)
{
    struct buf b = {0};
    clean_json(&b, json);
    print_line(buf_view(&b));
    buf_finish(&b);
}

void print_json(const struct json *j)
{
    struct buf b = {0};
    json_dump(&b, j, true);
    print_json_text(buf_view(&b));
    buf_finish(&b);
}

void print_value(struct str text)
{
    struct buf b = {0};
    if (isatty(STDOUT_FILENO))
        clean_text(&b, text);
    else
        buf_str(&b, text);
    print_line(buf_view(&b));
    buf_finish(&b);
}

void print_table(const struct table *t)
{
    struct buf b = {0};
    table_render(t, &b, cli_colours(), cli_width());
    print(buf_view(&b));
    buf_finish(&b);
}

static int usage(const struct cli *c, const struct err *e)
{
    return cli_fail(c, EXIT_USAGE, "%s", e->text);
}

static int help(const char *word)
{
    struct buf b = {0};
    if (word == NULL)
        buf_puts(&b, "hookmesh " HOOKMESH_VERSION
                     ": webhooks and keys through pipelines of stages, live in the browser.\n\n");
    cli_help_group(&b, word);
    print(buf_view(&b));
    buf_finish(&b);
    return EXIT_OK;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct cli c = {0};
    struct err e;
    if (!cli_parse(&c, command, argc, argv, &e))
        return usage(&c, &e);
    if (c.flags[FLAG_HELP] != NULL) {
        struct buf b = {0};
        cli_help_command(&b, command);
        print(buf_view(&b));
        buf_finish(&b);
        return EXIT_OK;
    }
    if (command->fn == NULL)
        return cli_fail(&c, EXIT_FAILED, "cannot be started from here");
    int code = command->fn(&c);
    cli_disconnect();
    return code;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

int cli_main(int argc, char **argv)
{
    struct err e;
    if (argc < 2)
        return cli_fail(NULL, EXIT_USAGE, "a command is missing; hookmesh --help lists them");
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        print(STR("hookmesh " HOOKMESH_VERSION "\n"));
        return EXIT_OK;
    }
    if (strcmp(argv[1], "__complete") == 0)
        return cli_complete(argc - 2, argv + 2);
    if (is_help(argv[1]) && argc == 2)
        return help(NULL);
    if (is_help(argv[1])) { /* "help kv get" is "kv get --help" */
        int words;
        const struct command *command = cli_find(argc - 2, argv + 2, &words, &e);
        char *ask[] = {(char[]){"--help"}, NULL};
        if (command != NULL)
            return run_command(command, 1, ask);
        return cli_is_group(argv[2]) ? help(argv[2]) : usage(NULL, &e);
    }
    if (cli_is_group(argv[1]) && argc == 2) {
        help(argv[1]);
        return EXIT_USAGE;
    }
    if (cli_is_group(argv[1]) && is_help(argv[2]))
        return help(argv[1]);
    int used;
    const struct command *command = cli_find(argc - 1, argv + 1, &used, &e);
    if (command == NULL)
        return usage(NULL, &e);
    return run_command(command, argc - 1 - used, argv + 1 + used);
}

/* Which webhook schemes there are, for the checks of the configuration. */
static void tell_schemes(void)
{
    static const char *names[32];
    size_t n;
    const struct verify_scheme *schemes = verify_schemes(&n);
    for (size_t i = 0; i < n && i < 31; i++)
        names[i] = schemes[i].name;
    config_schemes(names);
}

static void serve_help(const struct command *command)
{
    struct buf b = {0};
    cli_help_command(&b, command);
    buf_puts(&b, "\nSettings, for --set and for `settings:` in the configuration:\n");
    config_reference(&b, false);
    print(buf_view(&b));
    buf_finish(&b);
}

static const char *setting_of(enum flag_id flag)
{
    return flag == FLAG_DATA     ? "data"
           : flag == FLAG_LISTEN ? "listen"
           : flag == FLAG_REDIS  ? "redis"
                                 : "workers";
}

static void take_overrides(const struct cli *c, struct serve_options *out)
{
    static const enum flag_id named[] = {FLAG_DATA, FLAG_LISTEN, FLAG_REDIS, FLAG_WORKERS};
    size_t n = 0;
    out->overrides =
        mem_zero(c->set_n + sizeof named / sizeof named[0] + 1, sizeof *out->overrides);
    for (size_t i = 0; i < c->set_n; i++)
        out->overrides[n++] = mem_strdup(c->sets[i]);
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (c->flags[named[i]] != NULL)
            out->overrides[n++] = mem_format("%s=%s", setting_of(named[i]), c->flags[named[i]]);
    }
}

bool cli_serve_options(int argc, char **argv, struct serve_options *out)
{
    struct cli c = {0};
    struct err e;
    int used;
    *out = (struct serve_options){0};
    tell_schemes();
    const struct command *command = cli_find(argc, argv, &used, &e);
    if (command == NULL || !cli_parse(&c, command, argc - used, argv + used, &e)) {
        out->exit_code = usage(&c, &e);
        return false;
    }
    if (c.flags[FLAG_HELP] != NULL) {
        serve_help(command);
        return false;
    }
    out->config_dir = c.flags[FLAG_CONFIG];
    if (out->config_dir == NULL)
        out->config_dir = getenv("HOOKMESH_CONFIG");
    if (out->config_dir != NULL && out->config_dir[0] == '\0')
        out->config_dir = NULL;
    take_overrides(&c, out);
    return true;
}

void serve_options_finish(struct serve_options *o)
{
    for (size_t i = 0; o->overrides != NULL && o->overrides[i] != NULL; i++) {
        union {
            const char *from;
            char *to;
        } cast = {o->overrides[i]};
        mem_free(cast.to);
    }
    mem_free(o->overrides);
    o->overrides = NULL;
}

/* hookmesh check */

static void print_texts(struct buf *out, const char *key, char **lines)
{
    buf_json_key(out, key);
    buf_char(out, '[');
    for (size_t i = 0; lines != NULL && lines[i] != NULL; i++) {
        if (i != 0)
            buf_char(out, ',');
        buf_json_str(out, str_of(lines[i]));
    }
    buf_char(out, ']');
}

static void check_json(const struct config *config, const struct buf *report)
{
    struct buf b = {0};
    buf_char(&b, '{');
    buf_json_field_bool(&b, "ok", config != NULL);
    if (config != NULL)
        print_texts(&b, "warnings", config->warnings);
    else
        buf_json_field(&b, "errors", buf_view(report));
    buf_char(&b, '}');
    print_line(buf_view(&b));
    buf_finish(&b);
}

static void check_text(const struct config *config, const char *dir)
{
    size_t stages = 0;
    for (size_t i = 0; i < config->pipeline_n; i++)
        stages += config->pipelines[i].n;
    for (char **w = config->warnings; *w != NULL; w++)
        fprintf(stderr, "warning: %s\n", *w);
    printf("%s is fine: %zu pipeline%s with %zu stage%s, %zu webhook%s, %zu extension%s\n", dir,
           config->pipeline_n, config->pipeline_n == 1 ? "" : "s", stages, stages == 1 ? "" : "s",
           config->hook_n, config->hook_n == 1 ? "" : "s", config->extension_n,
           config->extension_n == 1 ? "" : "s");
}

int cli_check(struct cli *c)
{
    const char *dir = c->arg_n != 0 ? c->args[0] : c->flags[FLAG_CONFIG];
    if (dir == NULL)
        dir = getenv("HOOKMESH_CONFIG");
    if (dir == NULL || dir[0] == '\0')
        dir = ".";
    tell_schemes();
    struct buf report = {0};
    struct config *config = config_load(dir, NULL, c->flags[FLAG_ALLOW_UNDEFINED] != NULL, &report);
    if (c->flags[FLAG_JSON] != NULL)
        check_json(config, &report);
    else if (config != NULL)
        check_text(config, dir);
    else
        fwrite(report.p, 1, report.n, stderr);
    int code = config != NULL ? EXIT_OK : EXIT_FAILED;
    config_unref(config);
    buf_finish(&report);
    verify_finish();
    return code;
}
