/* SPDX-License-Identifier: Apache-2.0 */
/* The README's tour: what a newcomer types must work. The shell gets the README's own lines; only addresses and directories of
 * the test take the place of those that are written there. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "flow/world.h"

#define EXAMPLES HOOKMESH_SOURCE_DIR "/config/"

/* Runs a command that must succeed. */
static struct world_run cli(struct world *w, const char *const *args)
{
    struct world_run r = world_cli(w, (struct str){NULL, 0}, args);
    ck_assert_msg(r.code == 0, "hookmesh %s %s: exit %d: %s", args[0], args[1], r.code, r.err.p);
    return r;
}
#define CLI(w, ...) cli((w), (const char *const[]){__VA_ARGS__, NULL})

struct key_wait {
    struct world *w;
    const char *key;
    struct buf value;
};

static bool key_is_there(void *arg)
{
    struct key_wait *x = arg;
    struct world_run r = WORLD_CLI(x->w, "kv", "get", x->key);
    bool there = r.code == 0;
    buf_clear(&x->value);
    buf_str(&x->value, str_trim(buf_view(&r.out)));
    world_run_finish(&r);
    return there;
}

/* The value of a key, once it has one; the caller frees the root. */
static struct json *await_key(struct world *w, const char *key)
{
    struct key_wait x = {.w = w, .key = key};
    if (!world_wait_until(key_is_there, &x, WORLD_TIMEOUT_MS))
        world_fail(w, "%s was never written", key);
    struct err e;
    struct json *j = json_parse(buf_view(&x.value), &e);
    ck_assert_msg(j != NULL, "%s: %s", key, x.value.p);
    buf_finish(&x.value);
    return j;
}

START_TEST(document_put_by_the_command_line_is_summarised)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "documents");
    world_start(w);
    struct world_run r =
        CLI(w, "kv", "put", "pipeline.doc-001.raw", "@" EXAMPLES "documents/document.json");
    world_run_finish(&r);

    struct json *summary = await_key(w, "pipeline.doc-001.summary");
    struct json *extracted = await_key(w, "pipeline.doc-001.extracted");
    ck_assert_int_eq(json_int(json_get(extracted, "word_count"), 0), 13);
    ck_assert_uint_eq(json_size(json_get(extracted, "entities")), 6);
    ck_assert_int_eq(json_int(json_get(summary, "entity_count"), 0), 6);
    ck_assert(str_is(json_str(json_get(summary, "one_liner")),
                     "Revenue at Acme Corp grew 15% in Q3. The Berlin office expanded headcount."));
    json_free(extracted);
    json_free(summary);
    world_free(w);
}
END_TEST

START_TEST(document_written_by_a_plain_redis_client_is_summarised_too)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "documents");
    world_start(w);
    const struct str hset[] = {
        STR("HSET"), STR("hm:kv:pipeline.doc-002.raw"), STR("value"),
        STR("{\"id\":\"doc-002\",\"title\":\"T\",\"body\":\"Any client of Redis will do.\"}")};
    mem_free(world_redis_argv(w, 4, hset));

    struct json *summary = await_key(w, "pipeline.doc-002.summary");
    ck_assert(str_is(json_str(json_get(summary, "one_liner")), "Any client of Redis will do."));
    json_free(summary);
    world_free(w);
}
END_TEST

START_TEST(stage_of_three_lines_shouts)
{
    struct world *w = world_make();
    world_config(w, "shout.yaml",
                 "pipelines:\n"
                 "  - name: shout\n"
                 "    stages:\n"
                 "      - name: upper\n"
                 "        watch: \"say.*.text\"\n"
                 "        command: [python3, -c, \"import json,sys; "
                 "print(json.dumps(json.load(sys.stdin).upper()))\"]\n"
                 "        write: \"say.{1}.loud\"\n");
    struct world_run r = CLI(w, "check", w->config);
    world_run_finish(&r);
    world_start(w);
    r = CLI(w, "kv", "put", "say.hello.text", "\"good morning\"");
    world_run_finish(&r);

    struct json *loud = await_key(w, "say.hello.loud");
    ck_assert(str_is(json_str(loud), "GOOD MORNING"));
    json_free(loud);
    world_free(w);
}
END_TEST

START_TEST(check_tells_file_line_and_column)
{
    struct world *w = world_make();
    world_config(w, "shout.yaml",
                 "pipelines:\n"
                 "  - name: shout\n"
                 "    stagse: []\n");
    struct world_run r = WORLD_CLI(w, "check", w->config);
    ck_assert_int_eq(r.code, 1);
    ck_assert_msg(strstr(r.err.p, "shout.yaml:3:5") != NULL, "%s", r.err.p);
    ck_assert_msg(strstr(r.err.p, "stages") != NULL, "%s", r.err.p);
    world_run_finish(&r);
    world_free(w);
}
END_TEST

/* A run id out of `{"run_id":"..."...}`; the caller frees. */
static char *run_id(const struct world_run *r)
{
    struct err e;
    struct json *j = json_parse(buf_view(&r->out), &e);
    ck_assert_msg(j != NULL, "not JSON: %s", r->out.p);
    struct str id = json_str(json_get(j, "run_id"));
    ck_assert_uint_eq(id.n, 36);
    char *copy = mem_dup(id.p, id.n);
    json_free(j);
    return copy;
}

START_TEST(signed_push_ends_as_a_report)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "github");
    world_env(w, "HOOKMESH_SECRET_GITHUB=only-the-tour-knows");
    world_start(w);
    struct world_run r = CLI(w, "send", "github", "push", "--json");
    char *id = run_id(&r);
    world_run_finish(&r);
    r = CLI(w, "jobs", "logs", id, "--follow");
    world_run_finish(&r);

    char *key = mem_format("github.%s.report", id);
    r = CLI(w, "kv", "get", key, "--field", "markdown");
    ck_assert_msg(r.out.p[0] == '#', "no Markdown: %s", r.out.p);
    world_run_finish(&r);
    char *path = mem_format("/v1/runs/%s", id);
    world_wait_json(w, path, "state", "succeeded");
    struct world_reply list = world_get_json(w, "/v1/deliveries");
    struct json *newest = json_at(list.json, 0);
    ck_assert(str_is(json_str(json_get(newest, "outcome")), "accepted"));
    world_reply_finish(&list);
    mem_free(path);
    mem_free(key);
    mem_free(id);
    world_free(w);
}
END_TEST

START_TEST(push_with_another_secret_is_refused_and_told)
{
    struct world *w = world_make();
    world_config_dir(w, EXAMPLES "github");
    world_env(w, "HOOKMESH_SECRET_GITHUB=only-the-tour-knows");
    world_start(w);
    struct world_run r = WORLD_CLI(w, "send", "github", "push", "--secret", "somebody-elses");
    ck_assert_int_ne(r.code, 0);
    world_run_finish(&r);

    r = CLI(w, "deliveries", "list");
    ck_assert_msg(strstr(r.out.p, "rejected") != NULL, "%s", r.out.p);
    ck_assert_msg(strstr(r.out.p, "signature") != NULL, "%s", r.out.p);
    world_run_finish(&r);
    world_free(w);
}
END_TEST

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static void replace(struct buf *text, const char *what, const char *with)
{
    struct buf out = {0};
    const char *from = text->p;
    for (const char *at; (at = strstr(from, what)) != NULL; from = at + strlen(what)) {
        buf_add(&out, from, (size_t)(at - from));
        buf_puts(&out, with);
    }
    buf_puts(&out, from);
    buf_finish(text);
    *text = out;
}

/* The lines for a shell in a section of the README, as they stand. */
static void read_commands(struct buf *out, const char *section)
{
    static const char begin[] = "\n```sh\n";
    char *readme = world_slurp(HOOKMESH_SOURCE_DIR "/README.md", NULL);
    char *at = strstr(readme, section);
    ck_assert_ptr_nonnull(at);
    char *end = strstr(at + 1, "\n## ");
    ck_assert_ptr_nonnull(end);
    *end = '\0';
    while ((at = strstr(at, begin)) != NULL) {
        at += sizeof begin - 1;
        const char *stop = strstr(at, "```");
        ck_assert_ptr_nonnull(stop);
        buf_add(out, at, (size_t)(stop - at));
    }
    mem_free(readme);
}

/* The test's own places instead of the README's. */
static void move_places(struct world *w, struct buf *script)
{
    static const char *const ports[] = {"127.0.0.1:4666", "127.0.0.1:4667", "127.0.0.1:4668"};
    char *dir = mem_format("%s/tmp/", w->dir);
    char *secret = mem_format("%s/secret", w->dir);
    if (w->url != NULL)
        replace(script, "http://127.0.0.1:4665", w->url);
    replace(script, " /tmp/", " /places/");
    replace(script, ">/tmp/", ">/places/");
    replace(script, "/places/", dir);
    replace(script, ".hookmesh/secret-github", secret);
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        char *own = mem_format("127.0.0.1:%d", free_port());
        replace(script, ports[i], own);
        mem_free(own);
    }
    mem_free(dir);
    mem_free(secret);
}

/* A directory that looks like a clone with its build. */
static char *make_clone(struct world *w)
{
    char *clone = mem_format("%s/clone", w->dir);
    char *build = mem_format("%s/build", clone);
    char *config = mem_format("%s/config", clone);
    world_file(w, "clone/README.md", "");
    world_file(w, "tmp/here", "");
    world_file(w, "secret", "only-the-tour-knows\n");
    ck_assert_int_eq(symlink(HOOKMESH_BUILD_DIR, build), 0);
    ck_assert_int_eq(symlink(HOOKMESH_SOURCE_DIR "/config", config), 0);
    mem_free(build);
    mem_free(config);
    return clone;
}

/* Runs the lines in bash; every command that fails is told, and servers are stopped in the end. */
static void run_script(struct world *w, const struct buf *lines, struct buf *said)
{
    struct buf script = {0};
    char *clone = make_clone(w);
    int out[2];
    buf_printf(&script,
               "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
               "trap 'echo \"FAILED: $BASH_COMMAND\"' ERR\ncd %s\n%s",
               clone, lines->p);
    ck_assert_int_eq(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(out[1], STDOUT_FILENO);
        dup2(out[1], STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        execlp("bash", "bash", "-c", script.p, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    while (world_read_some(out[0], said, WORLD_TIMEOUT_MS))
        ;
    close(out[0]);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    buf_finish(&script);
    mem_free(clone);
}

/* The texts in this order, and no command failed but the one named. */
static void assert_said(const struct buf *said, const char *const *texts, const char *may_fail)
{
    const char *at = said->p;
    for (; *texts != NULL; texts++) {
        const char *found = strstr(at, *texts);
        ck_assert_msg(found != NULL, "wanted: %s\nthe shell said: %s", *texts, said->p);
        at = found;
    }
    at = said->p;
    while ((at = strstr(at, "FAILED: ")) != NULL) {
        at += 8;
        ck_assert_msg(may_fail != NULL && strncmp(at, may_fail, strlen(may_fail)) == 0, "%s",
                      said->p);
    }
}

START_TEST(the_five_minutes_of_the_readme_go_as_they_are_written)
{
    static const char *const texts[] = {
        "accepted: run ",
        "accepted ",
        "is fine: ",
        "state      ready",
        "state      succeeded",
        "output     {\"text\":\"Good morning, Ada\"}",
        "job        greet",
        "Europe/Berlin",
        "state      dead",
        "FAILED: hookmesh jobs run greet --wait",
        "stage      job.greet.run",
        "attempts   2",
        "input      {\"name\":\"world\"}",
        "KeyError: 'nom'",
        "KeyError: 'nom'",
        "state      succeeded",
        "output     {\"text\":\"Good morning, world\"}",
        "RUN  STAGE  ATTEMPTS  AGE  ERROR\n",
        "job        sales_report\nstate      succeeded",
        "\"text\": \"Good morning, ",
        NULL,
    };
    struct world *w = world_make();
    struct buf script = {0};
    struct buf said = {0};
    world_config_dir(w, EXAMPLES "github");
    world_env(w, "HOOKMESH_SECRET_GITHUB=only-the-tour-knows");
    world_start(w);
    read_commands(&script, "\n## Five minutes\n");
    move_places(w, &script);
    run_script(w, &script, &said);
    assert_said(&said, texts, "hookmesh jobs run greet --wait");
    buf_finish(&script);
    buf_finish(&said);
    world_free(w);
}
END_TEST

START_TEST(keys_and_stages_of_the_readme_go_as_they_are_written)
{
    static const char *const texts[] = {
        "state      ready", "pipeline.doc-001.raw: written, version 1",
        "\"entity_count\"", "Any client of Redis will do.",
        "state      ready", "say.hello.text: written, version 1",
        "\"GOOD MORNING\"", NULL,
    };
    struct world *w = world_make();
    struct buf script = {0};
    struct buf said = {0};
    buf_puts(&script, "PATH=$PWD/build:$PATH\n"); /* as of the minutes before */
    read_commands(&script, "\n## Keys and stages\n");
    move_places(w, &script);
    run_script(w, &script, &said);
    assert_said(&said, texts, NULL);
    buf_finish(&script);
    buf_finish(&said);
    world_free(w);
}
END_TEST

Suite *tour_suite(void);
Suite *tour_suite(void)
{
    Suite *s = suite_create("tour");
    TCase *t = tcase_create("readme");
    tcase_set_timeout(t, 180);
    tcase_add_test(t, the_five_minutes_of_the_readme_go_as_they_are_written);
    tcase_add_test(t, keys_and_stages_of_the_readme_go_as_they_are_written);
    tcase_add_test(t, document_put_by_the_command_line_is_summarised);
    tcase_add_test(t, document_written_by_a_plain_redis_client_is_summarised_too);
    tcase_add_test(t, stage_of_three_lines_shouts);
    tcase_add_test(t, check_tells_file_line_and_column);
    tcase_add_test(t, signed_push_ends_as_a_report);
    tcase_add_test(t, push_with_another_secret_is_refused_and_told);
    suite_add_tcase(s, t);
    return s;
}
