/* SPDX-License-Identifier: Apache-2.0 */
/* Completion. The scripts for the shells hold no commands: they ask the program itself, `hookmesh __complete WORD...` with
 * the words typed so far, the last of which is to be completed. So there is one place that knows what may stand where,
 * cli.def, and the three shells cannot fall behind it.
 *
 * An answer is a line each: a word, a tab, what it means. A last line ":files" or ":dirs" says that the shell completes names of
 * files by itself. Names of jobs, runs and keys are asked from the server, briefly and without a word when there is none. They come
 * from outside: one with a control character, which a shell or terminal would obey, is never offered. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli_parts.h"
#include "handlers/verify.h"

enum { NAMES_MAX = 200, ASK_MS = 1000 };

struct completing {
    struct cli cli; /* --url and --token of the line */
    struct buf out;
    const char *typed;  /* the word to be completed */
    const char *before; /* what stands before its value: "--state=", or "" */
    const char *shell;  /* ":files" and the like; NULL: nothing for the shell */
};

static void offer(struct completing *x, struct str word, struct str help)
{
    struct buf clean = {0};
    clean_text(&clean, word);
    bool good = word.n != 0 && str_eq(buf_view(&clean), word) && word.p[0] != ':' &&
                str_starts(word, x->typed);
    buf_finish(&clean);
    if (!good)
        return;
    buf_puts(&x->out, x->before);
    buf_str(&x->out, word);
    if (help.n != 0) {
        buf_char(&x->out, '\t');
        clean_text(&x->out, help);
    }
    buf_char(&x->out, '\n');
}

/* Names that the server has. */

static struct json *ask(struct completing *x, const char *path)
{
    struct request q = {.method = "GET", .path = path, .timeout_ms = ASK_MS};
    struct answer a = {0};
    struct buf problem = {0};
    int code = cli_try(&x->cli, &q, &a, &problem);
    struct json *j = code == EXIT_OK ? json_parse(buf_view(&a.body), NULL) : NULL;
    buf_finish(&problem);
    answer_finish(&a);
    return j;
}

static void offer_list(struct completing *x, const char *path, const char *name, const char *help)
{
    struct json *list = ask(x, path);
    for (size_t i = 0; i < json_size(list) && i < NAMES_MAX; i++) {
        const struct json *row = json_at(list, i);
        offer(x, json_str(json_get(row, name)), json_str(json_get(row, help)));
    }
    json_free(list);
}

static void offer_runs(struct completing *x)
{
    struct json *list = ask(x, "/v1/runs");
    for (size_t i = 0; i < json_size(list); i++) {
        const struct json *run = json_at(list, i);
        struct buf help = {0};
        buf_str(&help, run_job(run));
        buf_puts(&help, ", ");
        buf_str(&help, json_str(json_get(run, "state")));
        offer(x, json_str(json_get(run, "id")), buf_view(&help));
        buf_finish(&help);
    }
    json_free(list);
}

/* Keys below the whole tokens that are typed. */
static void offer_keys(struct completing *x)
{
    struct buf path = {0};
    struct buf match = {0};
    const char *dot = strrchr(x->typed, '.');
    if (dot != NULL)
        buf_add(&match, x->typed, (size_t)(dot - x->typed + 1));
    buf_char(&match, '>');
    buf_puts(&path, "/v1/kv?limit=200");
    path_query(&path, "match", buf_view(&match));
    offer_list(x, path.p, "key", "");
    buf_finish(&path);
    buf_finish(&match);
}

/* Words that are known here. */

static void offer_words(struct completing *x, const char *const *words)
{
    for (; *words != NULL; words++)
        offer(x, str_of(*words), STR(""));
}

static void offer_schemes(struct completing *x)
{
    size_t n;
    const struct verify_scheme *schemes = verify_schemes(&n);
    for (size_t i = 0; i < n; i++)
        offer(x, str_of(schemes[i].name), STR(""));
}

/* "@FILE": shells do not look behind the @. */
static void offer_at_files(struct completing *x)
{
    const char *path = x->typed + 1;
    const char *slash = strrchr(path, '/');
    size_t stem = slash == NULL ? 0 : (size_t)(slash - path + 1);
    char *dir = stem == 0 ? mem_strdup(".") : mem_dup(path, stem);
    DIR *d = opendir(dir);
    const struct dirent *entry;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.' && path[stem] != '.')
            continue;
        char *word = mem_format("@%.*s%s%s", (int)stem, path, entry->d_name,
                                entry->d_type == DT_DIR ? "/" : "");
        offer(x, str_of(word), STR(""));
        mem_free(word);
    }
    if (d != NULL)
        closedir(d);
    mem_free(dir);
}

/* One alternative of an argument as cli.def names it: "NAME" of "[NAME|RUN]". */
static void offer_kind(struct completing *x, struct str kind, struct str group)
{
    static const char *const samples[] = {"push", "pull_request", "ping", NULL};
    if (kind.n != 0 && kind.p[0] >= 'a' && kind.p[0] <= 'z')
        offer(x, kind, STR(""));
    else if (str_is(kind, "NAME"))
        offer_list(x, "/v1/jobs", "name", "description");
    else if (str_is(kind, "RUN") && str_is(group, "dlq"))
        offer_list(x, "/v1/dlq", "run", "error");
    else if (str_is(kind, "RUN"))
        offer_runs(x);
    else if (str_is(kind, "ID"))
        offer_list(x, "/v1/deliveries", "id", "outcome");
    else if (str_is(kind, "KEY") || str_is(kind, "PATTERN"))
        offer_keys(x);
    else if (str_is(kind, "SCHEME"))
        offer_schemes(x);
    else if (str_is(kind, "SAMPLE"))
        offer_words(x, samples);
    else if (str_is(kind, "@FILE") && x->typed[0] == '@')
        offer_at_files(x);
    else if (str_is(kind, "FILE"))
        x->shell = ":files";
    else if (str_is(kind, "DIR"))
        x->shell = ":dirs";
}

static void offer_kinds(struct completing *x, struct str kinds, struct str group)
{
    if (kinds.n > 1 && kinds.p[0] == '[')
        kinds = (struct str){kinds.p + 1, kinds.n - 2};
    while (kinds.p != NULL)
        offer_kind(x, str_split(&kinds, '|'), group);
}

static void offer_value(struct completing *x, enum flag_id flag)
{
    static const char *const states[] = {"queued",  "running",   "waiting",   "succeeded",
                                         "failed",  "timed_out", "cancelled", "budget_exceeded",
                                         "skipped", "dead",      NULL};
    static const char *const outcomes[] = {"accepted", "duplicate", "filtered", "rejected",
                                           "unrouted", "ping",      NULL};
    static const char *const times[] = {"1h", "24h", "7d", "30d", NULL};
    static const char *const colours[] = {"auto", "always", "never", NULL};
    if (flag == FLAG_STATE)
        offer_words(x, states);
    else if (flag == FLAG_OUTCOME)
        offer_words(x, outcomes);
    else if (flag == FLAG_SINCE)
        offer_words(x, times);
    else if (flag == FLAG_COLOR)
        offer_words(x, colours);
    else if (flag == FLAG_JOB)
        offer_list(x, "/v1/jobs", "name", "description");
    else if (flag != FLAG_EVENT)
        offer_kinds(x, str_of(cli_flags[flag].value), STR(""));
}

/* The words typed before, against a command: its words, flags and how many arguments there are. */

static void offer_flags(struct completing *x, const struct command *command)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((command->flags >> i & 1) != 0 && x->cli.flags[i] == NULL)
            offer(x, str_of(cli_flags[i].name), str_of(cli_flags[i].help));
    }
}

/* The flag of the command that the word begins with; FLAG_COUNT: none. *value: behind its "=", or NULL. */
static size_t flag_of(const struct command *command, const char *word, const char **value)
{
    struct str text = str_of(word);
    struct str name = str_split(&text, '=');
    *value = text.p;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if ((command->flags >> i & 1) != 0 && str_is(name, cli_flags[i].name))
            return i;
    }
    return FLAG_COUNT;
}

static void complete_argument(struct completing *x, const struct command *command, size_t at)
{
    struct str arguments = str_of(command->arguments);
    struct str words = str_of(command->words);
    struct str group = str_split(&words, ' ');
    for (size_t i = 0; arguments.n != 0; i++) {
        struct str kinds = str_split(&arguments, ' ');
        if (i == at) {
            offer_kinds(x, kinds, group);
            return;
        }
    }
    offer_flags(x, command);
}

/* words: those behind the command's own, without the last one. */
static void complete_command(struct completing *x, const struct command *command, int n,
                             char *const *words)
{
    size_t wants = FLAG_COUNT; /* the flag whose value comes next */
    size_t arguments = 0;
    const char *value;
    for (int i = 0; i < n; i++) {
        if (wants != FLAG_COUNT) {
            x->cli.flags[wants] = words[i];
            wants = FLAG_COUNT;
        } else if (words[i][0] != '-' || words[i][1] == '\0') {
            arguments++;
        } else {
            size_t flag = flag_of(command, words[i], &value);
            if (flag == FLAG_COUNT)
                continue;
            x->cli.flags[flag] = value != NULL ? value : "";
            if (cli_flags[flag].value != NULL && value == NULL)
                wants = flag;
        }
    }
    size_t flag = flag_of(command, x->typed, &value);
    if (wants != FLAG_COUNT) {
        offer_value(x, wants);
    } else if (flag != FLAG_COUNT && value != NULL && cli_flags[flag].value != NULL) {
        char *before = mem_dup(x->typed, (size_t)(value - x->typed));
        x->before = before;
        x->typed = value;
        offer_value(x, flag);
        mem_free(before);
    } else if (x->typed[0] == '-') {
        offer_flags(x, command);
    } else {
        complete_argument(x, command, arguments);
    }
}

/* The next word of every command that begins with the words typed. */
static void complete_words(struct completing *x, int n, char *const *words)
{
    struct str last = {NULL, 0};
    for (const struct command *k = cli_commands(); k->words != NULL; k++) {
        struct str rest = str_of(k->words);
        int same = 0;
        while (same < n && rest.p != NULL && str_is(str_split(&rest, ' '), words[same]))
            same++;
        if (same != n || rest.p == NULL)
            continue;
        struct str word = str_split(&rest, ' ');
        bool group = rest.p != NULL;
        if (last.p == NULL || !str_eq(word, last))
            offer(x, word, group ? STR("") : str_of(k->help));
        last = word;
    }
    if (n == 0 || x->typed[0] == '-')
        offer(x, STR("--help"), STR("Prints this."));
    if (n == 0)
        offer(x, STR("--version"), STR("Prints the version."));
}

int cli_complete(int argc, char *const *argv)
{
    static const struct command completing = {.words = "__complete"};
    if (argc == 0)
        return EXIT_USAGE;
    struct completing x = {.cli = {.command = &completing}, .typed = argv[argc - 1], .before = ""};
    const struct command *command = NULL;
    int used = 0;
    for (const struct command *k = cli_commands(); k->words != NULL && used == 0; k++) {
        used = cli_words_match(k, argc - 1, argv);
        command = k;
    }
    if (used != 0)
        complete_command(&x, command, argc - 1 - used, argv + used);
    else
        complete_words(&x, argc - 1, argv);
    if (x.shell != NULL)
        buf_printf(&x.out, "%s\n", x.shell);
    print(buf_view(&x.out));
    buf_finish(&x.out);
    cli_disconnect();
    return EXIT_OK;
}

/* The scripts. */

/* bash cuts words at : and =, also where no blank stands; they are put together again, and what it has cut off is taken off
 * the answers. An alias is not expanded in a function, so it is looked up. */
static const char bash_script[] =
    "# bash completion for hookmesh: source <(hookmesh completion bash)\n"
    "_hookmesh() {\n"
    "    local rest=$COMP_LINE before i word cut line\n"
    "    local -a words=() program\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        before=${rest%%\"$word\"*}\n"
    "        rest=${rest#\"$before$word\"}\n"
    "        if ((i > 1)) && [[ -z $before ]]; then\n"
    "            words[-1]+=$word\n"
    "        else\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    read -ra program <<<\"${BASH_ALIASES[${words[0]}]:-${words[0]}}\"\n"
    "    program[0]=${program[0]/#\\~/$HOME}\n"
    "    word=${words[-1]}\n"
    "    cut=\n"
    "    if [[ $word == *[:=]* && $COMP_WORDBREAKS == *[:=]* ]]; then\n"
    "        cut=${word%\"${word##*[:=]}\"}\n"
    "    fi\n"
    "    COMPREPLY=()\n"
    "    while IFS= read -r line; do\n"
    "        case $line in\n"
    "            :files) compopt -o default -o filenames 2>/dev/null ;;\n"
    "            :dirs) compopt -o dirnames 2>/dev/null ;;\n"
    "            *)\n"
    "                line=${line%%$'\\t'*}\n"
    "                [[ $line == *[/=.] ]] && compopt -o nospace 2>/dev/null\n"
    "                COMPREPLY+=(\"$(printf %q \"${line#\"$cut\"}\")\")\n"
    "                ;;\n"
    "        esac\n"
    "    done < <(\"${program[@]}\" __complete \"${words[@]:1}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _hookmesh hookmesh\n";

static const char zsh_script[] =
    "#compdef hookmesh\n"
    "# zsh completion for hookmesh: a file _hookmesh in $fpath, or source <(hookmesh completion "
    "zsh)\n"
    "_hookmesh() {\n"
    "    local line word\n"
    "    local -a found\n"
    "    for line in \"${(@f)$(_call_program words ${(q)words[1]} __complete "
    "\"${(@qq)${(@Q)words[2,CURRENT]}}\" 2>/dev/null)}\"; do\n"
    "        case $line in\n"
    "            (:files) _files ;;\n"
    "            (:dirs) _files -/ ;;\n"
    "            (?*)\n"
    "                word=${line%%$'\\t'*}\n"
    "                line=${line#\"$word\"}\n"
    "                found+=(\"${word//:/\\\\:}${line:+:${line#$'\\t'}}\")\n"
    "                ;;\n"
    "        esac\n"
    "    done\n"
    "    (( $#found )) && _describe -V hookmesh found\n"
    "}\n"
    "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n"
    "    _hookmesh \"$@\"\n"
    "else\n"
    "    compdef _hookmesh hookmesh\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion for hookmesh: hookmesh completion fish | source\n"
    "function __hookmesh_complete\n"
    "    set -l words (commandline -opc)\n"
    "    for line in ($words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)\n"
    "        switch $line\n"
    "            case :files\n"
    "                __fish_complete_path (commandline -ct)\n"
    "            case :dirs\n"
    "                __fish_complete_directories (commandline -ct)\n"
    "            case '*'\n"
    "                echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c hookmesh -f -a '(__hookmesh_complete)'\n";

int cli_completion(struct cli *c)
{
    const char *shell = c->args[0];
    const char *script = strcmp(shell, "bash") == 0   ? bash_script
                         : strcmp(shell, "zsh") == 0  ? zsh_script
                         : strcmp(shell, "fish") == 0 ? fish_script
                                                      : NULL;
    if (script == NULL)
        return cli_fail(c, EXIT_USAGE,
                        "there is no completion for %.40s; there is for bash, zsh and fish", shell);
    print(str_of(script));
    return EXIT_OK;
}
