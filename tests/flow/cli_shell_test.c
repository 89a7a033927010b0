/* SPDX-License-Identifier: Apache-2.0 */
/* The command line as people meet it: in a terminal, with a shell that completes, and as a page of the manual. */
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

Suite *cli_shell_suite(void);

static const char pipelines[] =
    "pipelines:\n"
    "  - name: echo\n"
    "    stages:\n"
    "      - {name: once, watch: \"echo.*.in\", command: [cat], write: \"echo.{1}.out\"}\n"
    "  - name: envelope\n"
    "    stages:\n"
    "      - {name: fail, watch: \"envelope.*.in\", command: [sh, -c, \"exit 3\"],\n"
    "         retry: {max_attempts: 1}, write: \"envelope.{1}.out\"}\n";

static struct world *w;

static void start_world(void)
{
    w = world_make();
    world_config(w, "main.yaml", pipelines);
    world_start(w);
}

static void make_world(void)
{
    w = world_make();
}

static void stop_world(void)
{
    world_free(w);
}

static void assert_has(const struct buf *got, const char *text)
{
    ck_assert_msg(got->p != NULL && strstr(got->p, text) != NULL, "wanted: %s\ngot: %s", text,
                  got->p);
}

/* A program in a terminal of 80 columns. */
struct terminal {
    pid_t pid;
    int fd;
    struct buf got;
};

static struct terminal open_terminal(const char *const *argv)
{
    struct winsize size = {.ws_row = 50, .ws_col = 80};
    struct terminal t = {0};
    t.pid = forkpty(&t.fd, NULL, NULL, &size);
    ck_assert_int_ge(t.pid, 0);
    if (t.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char *path = mem_format(HOOKMESH_BUILD_DIR ":%s", getenv("PATH"));
        setenv("PATH", path, 1);
        setenv("TERM", "xterm", 1);
        setenv("HOME", w->dir, 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("HOOKMESH_URL", w->url != NULL ? w->url : "http://127.0.0.1:9", 1);
        unsetenv("NO_COLOR");
        union {
            const char *const *from;
            char *const *to;
        } cast = {argv};
        execvp(argv[0], cast.to);
        _exit(127);
    }
    return t;
}

static void type(struct terminal *t, const char *keys)
{
    buf_clear(&t->got);
    ck_assert_int_eq(write(t->fd, keys, strlen(keys)), (ssize_t)strlen(keys));
}

static void await(struct terminal *t, const char *text)
{
    if (!world_read_until(t->fd, &t->got, text, WORLD_TIMEOUT_MS))
        ck_abort_msg("wanted: %s\ngot: %s", text, t->got.p != NULL ? t->got.p : "");
}

static void close_terminal(struct terminal *t)
{
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    close(t->fd);
    buf_finish(&t->got);
}

/* What a line becomes by the tabulator: rows are what is typed, and the line then. The shells were told to show the line on ^G. */
struct completed {
    const char *typed;
    const char *line;
};

static void assert_completes(struct terminal *t, const struct completed *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *keys = mem_format("%s\t\x07", rows[i].typed);
        char *line = mem_format("<<%s>>", rows[i].line);
        type(t, keys);
        await(t, line);
        type(t, "\x15"); /* ^U: the line is empty again */
        mem_free(keys);
        mem_free(line);
    }
}

static const struct completed rows_of_all[] = {
    {"hookmesh sche", "hookmesh schedules "},
    {"hookmesh jobs li", "hookmesh jobs list "},
    {"hookmesh analytics jobs succ", "hookmesh analytics jobs success-rate "},
    {"hookmesh jobs list --st", "hookmesh jobs list --state "},
    {"hookmesh jobs list --state de", "hookmesh jobs list --state dead "},
    {"hookmesh jobs list --state=de", "hookmesh jobs list --state=dead "},
    {"hookmesh jobs show ec", "hookmesh jobs show echo "},
    {"hookmesh jobs run --wait env", "hookmesh jobs run --wait envelope "},
    {"hookmesh jobs show --url x --token y --json --co",
     "hookmesh jobs show --url x --token y --json --color "},
    {"hookmesh completion fi", "hookmesh completion fish "},
    {"hookmesh dlq show envelope.o", "hookmesh dlq show envelope.one "},
    {"hookmesh kv get echo.abc.i", "hookmesh kv get echo.abc.in "},
};
enum { ROWS_OF_ALL = sizeof rows_of_all / sizeof rows_of_all[0] };

static void make_names(void)
{
    struct world_run r = WORLD_CLI(w, "kv", "put", "envelope.one.in", "1");
    ck_assert_int_eq(r.code, 0);
    world_run_finish(&r);
    r = WORLD_CLI(w, "kv", "put", "echo.abc.in", "1");
    ck_assert_int_eq(r.code, 0);
    world_run_finish(&r);
    r = WORLD_CLI(w, "kv", "put", "echo.bcd.in", "1");
    world_run_finish(&r);
    world_wait_json(w, "/v1/dlq", "0.run", "envelope.one");
    world_file(w, "inputs/first.json", "{}");
}

START_TEST(bash_completes_commands_flags_and_names)
{
    static const char *const bash[] = {"bash", "--noprofile", "--norc", "-i", NULL};
    static const char setup[] =
        "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; "
        "bind -x '\"\\C-g\": printf \"<<%s>>\" \"$READLINE_LINE\"'; "
        "source <(hookmesh completion bash); alias hm=hookmesh; complete -F _hookmesh hm; "
        "echo ready$((1+1))\n";
    make_names();
    struct terminal t = open_terminal(bash);
    type(&t, setup);
    await(&t, "ready2");
    assert_completes(&t, rows_of_all, ROWS_OF_ALL);
    char *files = mem_format("hookmesh jobs run echo --input @%s/inputs/fi", w->dir);
    char *found = mem_format("hookmesh jobs run echo --input @%s/inputs/first.json ", w->dir);
    char *dirs = mem_format("hookmesh check %s/inp", w->dir);
    char *dir = mem_format("hookmesh check %s/inputs", w->dir);
    char *url =
        mem_format("hookmesh --x; hookmesh jobs show --url http://127.0.0.1:%d ec", w->port);
    char *named =
        mem_format("hookmesh --x; hookmesh jobs show --url http://127.0.0.1:%d echo ", w->port);
    const struct completed rows[] = {
        {files, found},
        {url, named}, /* bash cuts words at colons */
        {"hm jobs sho", "hm jobs show "},
        {"hookmesh jobs run echo --input '{\"a\": 1}' --wa",
         "hookmesh jobs run echo --input '{\"a\": 1}' --wait "},
    };
    assert_completes(&t, rows, sizeof rows / sizeof rows[0]);
    char *keys = mem_format("%s\t\x07", dirs);
    type(&t, keys);
    await(&t, dir);
    mem_free(keys);
    mem_free(files);
    mem_free(found);
    mem_free(dirs);
    mem_free(dir);
    mem_free(url);
    mem_free(named);
    close_terminal(&t);
}
END_TEST

/* zsh_setup: how the function gets into the shell. */
static void try_zsh(const char *zsh_setup)
{
    static const char *const zsh[] = {"zsh", "-f", "-i", NULL};
    struct terminal t = open_terminal(zsh);
    char *setup =
        mem_format("unsetopt beep prompt_sp; %s; "
                   "show() { print -rn -- \"<<$BUFFER>>\" }; zle -N show; bindkey -e '^G' show; "
                   "echo ready$((1+1))\n",
                   zsh_setup);
    type(&t, setup);
    await(&t, "ready2");
    assert_completes(&t, rows_of_all, ROWS_OF_ALL);
    char *files = mem_format("hookmesh jobs run echo --input @%s/inputs/fi", w->dir);
    char *found = mem_format("hookmesh jobs run echo --input @%s/inputs/first.json ", w->dir);
    const struct completed rows[] = {{files, found}};
    assert_completes(&t, rows, 1);
    mem_free(files);
    mem_free(found);
    mem_free(setup);
    close_terminal(&t);
}

START_TEST(zsh_completes_commands_flags_and_names)
{
    make_names();
    try_zsh("autoload -Uz compinit; compinit -u -D; source <(hookmesh completion zsh)");
    try_zsh("mkdir $HOME/zsh; hookmesh completion zsh >$HOME/zsh/_hookmesh; "
            "fpath=($HOME/zsh $fpath); autoload -Uz compinit; compinit -u -D");
}
END_TEST

/* Runs a program to its end; both of its outputs. */
static struct world_run run(const char *const *argv)
{
    struct world_run r = {0};
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *path = mem_format(HOOKMESH_BUILD_DIR ":%s", getenv("PATH"));
        setenv("PATH", path, 1);
        setenv("HOME", w->dir, 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        setenv("HOOKMESH_URL", w->url != NULL ? w->url : "http://127.0.0.1:9", 1);
        dup2(out[1], STDOUT_FILENO);
        dup2(out[1], STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        union {
            const char *const *from;
            char *const *to;
        } cast = {argv};
        execvp(argv[0], cast.to);
        _exit(127);
    }
    close(out[1]);
    while (world_read_some(out[0], &r.out, WORLD_TIMEOUT_MS))
        ;
    close(out[0]);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return r;
}

START_TEST(fish_completes_commands_flags_and_names)
{
    make_names();
    struct buf script = {0};
    buf_puts(&script, "hookmesh completion fish | source\n");
    for (size_t i = 0; i < ROWS_OF_ALL; i++)
        buf_printf(&script, "complete -C '%s'; echo ==\n", rows_of_all[i].typed);
    buf_printf(&script, "complete -C 'hookmesh check %s/inp'; echo ==\n", w->dir);
    const char *const argv[] = {"fish", "--no-config", "-c", script.p, NULL};
    struct world_run r = run(argv);
    ck_assert_msg(r.code == 0, "%s", r.out.p);
    struct str rest = buf_view(&r.out);
    for (size_t i = 0; i < ROWS_OF_ALL;
         i++) { /* one word each, the last of the line, and what it means */
        struct str line = str_split(&rest, '\n');
        struct str word = str_split(&line, '\t');
        struct str wanted = str_trim(str_of(rows_of_all[i].line));
        const char *blank = strrchr(rows_of_all[i].typed, ' ');
        wanted.n -= (size_t)(blank + 1 - rows_of_all[i].typed);
        wanted.p += (size_t)(blank + 1 - rows_of_all[i].typed);
        ck_assert_msg(str_eq(word, wanted), "%s: %.*s", rows_of_all[i].typed, (int)word.n, word.p);
        ck_assert(str_is(str_split(&rest, '\n'), "=="));
    }
    ck_assert(str_ends(str_split(&rest, '\t'), "/inputs/"));
    buf_finish(&script);
    world_run_finish(&r);
}
END_TEST

START_TEST(shells_and_shellcheck_read_the_scripts)
{
    static const char *const checks[] = {
        "hookmesh completion bash | bash -n",
        "hookmesh completion bash | shellcheck -s bash -",
        "hookmesh completion zsh >$HOME/_hookmesh && zsh -n $HOME/_hookmesh",
        "hookmesh completion fish | fish --no-execute",
    };
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        const char *const argv[] = {"sh", "-c", checks[i], NULL};
        struct world_run r = run(argv);
        ck_assert_msg(r.code == 0 && r.out.n == 0, "%s: %d %s", checks[i], r.code, r.out.p);
        world_run_finish(&r);
    }
    struct world_run r = WORLD_CLI(w, "completion", "tcsh");
    ck_assert_int_eq(r.code, 64);
    assert_has(&r.err, "there is for bash, zsh and fish");
    world_run_finish(&r);
}
END_TEST

/* Without a server: the words alone, and nothing on stderr. */
START_TEST(what_may_follow_is_known_without_a_server)
{
    static const struct {
        const char *words[6];
        const char *has; /* a whole line's beginning; NULL: nothing at all */
        const char *lacks;
    } rows[] = {
        {{""}, "kv\n", "get"},
        {{""}, "serve\tStarts the server.\n", NULL},
        {{"kv", ""}, "get\tPrints the value of a key; with", "serve"},
        {{"kv", "g"}, "get\t", "put"},
        {{"analytics", "jobs", ""}, "duration\t", NULL},
        {{"--"}, "--version\t", "--url"},
        {{"kv", "get", "--"}, "--field\t", "--limit"},
        {{"kv", "get", "--json", "--"}, "--field\t", "--json"},
        {{"jobs", "list", "--state", ""}, "timed_out\n", NULL},
        {{"jobs", "list", "--state="}, "--state=timed_out\n", NULL},
        {{"send", ""}, "github\n", NULL},
        {{"send", "github", ""}, "pull_request\n", NULL},
        {{"send", "github", ""}, ":files\n", NULL},
        {{"serve", "--config", ""}, ":dirs\n", NULL},
        {{"check", ""}, ":dirs\n", NULL},
        {{"jobs", "run", ""}, NULL, NULL},
        {{"nothing", "is", ""}, NULL, NULL},
        {{"jobs", "show", "a", ""}, "--json\t", NULL},
        {{"kv", "get", "--nonsense", ""}, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *words[10] = {"__complete"};
        for (size_t k = 0; k < 6 && rows[i].words[k] != NULL; k++)
            words[k + 1] = rows[i].words[k];
        w->url = w->url != NULL ? w->url : mem_strdup("http://127.0.0.1:9");
        struct world_run r = world_cli(w, (struct str){NULL, 0}, words);
        ck_assert_int_eq(r.code, 0);
        ck_assert_msg(r.err.n == 0, "%s", r.err.p);
        if (rows[i].has != NULL)
            assert_has(&r.out, rows[i].has);
        else
            ck_assert_msg(r.out.n == 0, "row %zu: %s", i, r.out.p);
        if (rows[i].lacks != NULL)
            ck_assert_msg(strstr(r.out.p, rows[i].lacks) == NULL, "row %zu: %s", i, r.out.p);
        world_run_finish(&r);
    }
}
END_TEST

START_TEST(names_that_a_shell_would_obey_are_not_offered)
{
    struct world_run r = WORLD_CLI(w, "kv", "put", "odd.$(id)", "1");
    ck_assert_msg(r.code == 0, "%s", r.err.p);
    world_run_finish(&r);
    r = WORLD_CLI(w, "kv", "put", "odd.good", "1");
    world_run_finish(&r);
    struct world_reply put = world_http(w, "PUT", "/v1/kv/odd.%1B%5B2J", NULL, STR("1"));
    world_reply_finish(&put);
    r = WORLD_CLI(w, "__complete", "kv", "get", "odd.");
    assert_has(&r.out, "odd.good\n");
    ck_assert_msg(strchr(r.out.p, 0x1B) == NULL, "%s", r.out.p);
    world_run_finish(&r);

    static const char *const bash[] = {"bash", "--noprofile", "--norc", "-i", NULL};
    struct terminal t = open_terminal(bash);
    type(&t, "bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; "
             "bind -x '\"\\C-g\": printf \"<<%s>>\" \"$READLINE_LINE\"'; "
             "source <(hookmesh completion bash); echo ready$((1+1))\n");
    await(&t, "ready2");
    type(&t, "hookmesh kv get odd.\\$\t\x07");
    await(&t, ">>");
    ck_assert_msg(strstr(t.got.p, "odd.$(") == NULL, "%s", t.got.p);
    close_terminal(&t);
}
END_TEST

START_TEST(the_manual_page_has_everything_and_no_mistake)
{
    static const char *const lint[] = {"sh", "-c", "hookmesh man | mandoc -Tlint -Wstyle", NULL};
    struct world_run r = run(lint);
    ck_assert_msg(r.code == 0 && r.out.n == 0, "%s", r.out.p);
    world_run_finish(&r);
    static const char *const show[] = {"sh", "-c",
                                       "hookmesh man | mandoc -Tutf8 | sed 's/.\\x08//g'", NULL};
    r = run(show);
    ck_assert_int_eq(r.code, 0);
    assert_has(&r.out, "hookmesh jobs run NAME");
    assert_has(&r.out, "Example: hookmesh kv get pipeline.doc-001.summary");
    assert_has(&r.out, "--idempotency-key");
    assert_has(&r.out, "hook_max_body");
    assert_has(&r.out, "EXIT STATUS");
    world_run_finish(&r);
}
END_TEST

/* The text of a terminal without its colours. */
static void plain(struct buf *out, const struct buf *screen)
{
    for (size_t i = 0; i < screen->n; i++) {
        if (screen->p[i] == '\033') {
            while (i < screen->n && screen->p[i] != 'm')
                i++;
        } else if (screen->p[i] != '\r') {
            buf_char(out, screen->p[i]);
        }
    }
}

static size_t columns(struct str line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.n; i++)
        n += ((unsigned char)line.p[i] & 0xC0) != 0x80;
    return n;
}

START_TEST(lists_fit_a_terminal_of_80_columns)
{
    static const char *const lists[][4] = {
        {"jobs", "list"},
        {"jobs", "show"},
        {"dlq", "list"},
        {"kv", "list"},
        {"pipelines", "list"},
        {"deliveries", "list"},
        {"jobs", "show", "envelope"},
        {"jobs", "show", "envelope.one"},
    };
    make_names();
    struct world_reply lost =
        world_http(w, "POST", "/hooks/nobody-listens-to-a-path-of-this-length", NULL, STR("{}"));
    world_reply_finish(&lost);
    struct world_run started = WORLD_CLI(w, "jobs", "run", "envelope", "--wait");
    ck_assert_int_eq(started.code, 1);
    world_run_finish(&started);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const char *argv[6] = {"hookmesh"};
        for (size_t k = 0; k < 4 && lists[i][k] != NULL; k++)
            argv[k + 1] = lists[i][k];
        struct terminal t = open_terminal(argv);
        struct buf text = {0};
        while (world_read_some(t.fd, &t.got, WORLD_TIMEOUT_MS))
            ;
        plain(&text, &t.got);
        struct str rest = buf_view(&text);
        ck_assert_uint_gt(rest.n, 40);
        while (rest.n != 0) {
            struct str line = str_split(&rest, '\n');
            ck_assert_msg(columns(line) <= 80, "%s %s: %.*s", lists[i][0], lists[i][1], (int)line.n,
                          line.p);
        }
        buf_finish(&text);
        close_terminal(&t);
    }
}
END_TEST

static bool has_colour(const char *how, const char *no_color)
{
    char *line = mem_format("%s hookmesh dlq list %s", no_color, how);
    const char *const argv[] = {"sh", "-c", line, NULL};
    struct terminal t = open_terminal(argv);
    while (world_read_some(t.fd, &t.got, WORLD_TIMEOUT_MS))
        ;
    bool found = strstr(t.got.p, "\033[") != NULL;
    close_terminal(&t);
    mem_free(line);
    return found;
}

START_TEST(colours_are_for_terminals_and_can_be_had_or_not)
{
    make_names();
    ck_assert(has_colour("", ""));
    ck_assert(!has_colour("", "NO_COLOR=1"));
    ck_assert(has_colour("", "NO_COLOR="));
    ck_assert(!has_colour("", "TERM=dumb"));
    ck_assert(!has_colour("--color=never", ""));
    ck_assert(has_colour("--color=always", "NO_COLOR=1"));
    ck_assert(!has_colour("--json", ""));
    struct world_run r = WORLD_CLI(w, "dlq", "list");
    ck_assert_ptr_null(strchr(r.out.p, '\033'));
    world_run_finish(&r);
    r = WORLD_CLI(w, "dlq", "list", "--color", "always");
    ck_assert_ptr_nonnull(strchr(r.out.p, '\033'));
    world_run_finish(&r);
    r = WORLD_CLI(w, "dlq", "list", "--color", "sometimes");
    ck_assert_int_eq(r.code, 64);
    assert_has(&r.err, "--color must be auto, always or never, not sometimes");
    world_run_finish(&r);
}
END_TEST

Suite *cli_shell_suite(void)
{
    Suite *s = suite_create("cli_shell");
    TCase *t = tcase_create("server");
    tcase_add_checked_fixture(t, start_world, stop_world);
    tcase_set_timeout(t, 180);
    tcase_add_test(t, bash_completes_commands_flags_and_names);
    tcase_add_test(t, zsh_completes_commands_flags_and_names);
    tcase_add_test(t, fish_completes_commands_flags_and_names);
    tcase_add_test(t, names_that_a_shell_would_obey_are_not_offered);
    tcase_add_test(t, lists_fit_a_terminal_of_80_columns);
    tcase_add_test(t, colours_are_for_terminals_and_can_be_had_or_not);
    suite_add_tcase(s, t);
    t = tcase_create("alone");
    tcase_add_checked_fixture(t, make_world, stop_world);
    tcase_set_timeout(t, 180);
    tcase_add_test(t, shells_and_shellcheck_read_the_scripts);
    tcase_add_test(t, what_may_follow_is_known_without_a_server);
    tcase_add_test(t, the_manual_page_has_everything_and_no_mistake);
    suite_add_tcase(s, t);
    return s;
}
