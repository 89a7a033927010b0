/* SPDX-License-Identifier: Apache-2.0 */
/* The errors stand in tests/data/config/cases.txt. Each test runs in a process of its own (Check forks), so
 * environment, working directory and registered secrets do not reach the next one. */
#include "unit/config_dir.h"

#include "base/log.h"

Suite *config_suite(void);

/* Of a report: the lines that tell a place, without the file's name and with the directory as $DIR. */
static void heads(struct buf *out, struct str report)
{
    while (report.n != 0) {
        struct str line = str_split(&report, '\n');
        if (line.n == 0 || str_starts(line, "    "))
            continue;
        if (str_starts(line, "x.yaml:"))
            line = (struct str){line.p + 7, line.n - 7};
        const char *hit = memmem(line.p, line.n, dir, strlen(dir));
        if (hit != NULL) {
            buf_add(out, line.p, (size_t)(hit - line.p));
            buf_puts(out, "$DIR");
            line.n -= (size_t)(hit - line.p) + strlen(dir);
            line.p = hit + strlen(dir);
        }
        buf_str(out, line);
        buf_char(out, '\n');
    }
}

/* With CASES_WRITE=1 set the file of cases is written anew, with what is said now. */
static struct buf rewritten;

static void run_case(struct str name, struct str yaml, struct str expected)
{
    put_file("x.yaml", yaml);
    struct buf report = {0};
    struct buf got = {0};
    buf_puts(&got, "");
    struct config *c = config_load(".", NULL, false, &report);
    if (c == NULL)
        heads(&got, buf_view(&report));
    for (char **w = c != NULL ? c->warnings : NULL; w != NULL && *w != NULL; w++)
        buf_printf(&got, "warning %s\n", *w + strlen("x.yaml:"));
    config_unref(c);
    buf_printf(&rewritten, "%.*s%.*s--\n%s", (int)name.n, name.p, (int)yaml.n, yaml.p, got.p);
    ck_assert_msg(getenv("CASES_WRITE") != NULL || str_eq(buf_view(&got), expected),
                  "%.*s\nwanted:\n%.*s\ngot:\n%s", (int)name.n, name.p, (int)expected.n, expected.p,
                  got.p);
    buf_finish(&got);
    buf_finish(&report);
}

static void run_cases(const char *path)
{
    struct buf all = {0};
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(&all, chunk, n);
    fclose(f);
    const char *at = strstr(all.p, "=== ");
    size_t count = 0;
    buf_add(&rewritten, all.p, (size_t)(at - all.p));
    while (at != NULL) {
        const char *yaml = strchr(at, '\n') + 1;
        const char *mark = strstr(yaml, "--\n");
        ck_assert_ptr_nonnull(mark);
        const char *expected = mark + 3;
        const char *next =
            strncmp(expected, "=== ", 4) == 0 ? expected : strstr(expected, "\n=== ");
        const char *end = next == NULL ? all.p + all.n : next + (*next == '\n');
        run_case((struct str){at, (size_t)(yaml - at)}, (struct str){yaml, (size_t)(mark - yaml)},
                 (struct str){expected, (size_t)(end - expected)});
        count++;
        at = next == NULL ? NULL : end;
    }
    ck_assert_uint_gt(count, 30);
    if (getenv("CASES_WRITE") != NULL)
        put_file(path, buf_view(&rewritten));
    buf_finish(&rewritten);
    buf_finish(&all);
}

START_TEST(every_mistake_is_told_with_its_place)
{
    run_cases(TEST_DATA_DIR "/config/cases.txt");
}
END_TEST

START_TEST(every_mistake_in_jobs_is_told_with_its_place)
{
    setenv("HOOKMESH_TEST_DB", "postgresql://user:pass-of-the-db@localhost/db", 1);
    put_text("x.so", "x");
    setenv("HOOKMESH_TEST_BAD_SECRET", "whsec_not-base-64!", 1);
    run_cases(TEST_DATA_DIR "/config/jobs.txt");
}
END_TEST

START_TEST(a_caret_stands_under_the_place)
{
    put_text("x.yaml", "settings: {data: \"Stra\xC3\x9F"
                       "e\",\tworkers: viele}\n");
    struct buf report = load_bad(NULL);
    ck_assert_str_eq(report.p,
                     "x.yaml:1:37: settings: workers: must be a whole number, not \"viele\"\n"
                     "    settings: {data: \"Stra\xC3\x9F"
                     "e\",\tworkers: viele}\n"
                     "                              \t         ^\n");
    buf_finish(&report);
}
END_TEST

START_TEST(a_long_line_is_cut_around_the_place)
{
    struct buf y = {0};
    buf_puts(&y, "settings: {data: \"");
    for (int i = 0; i < 1000; i++)
        buf_char(&y, 'x');
    buf_puts(&y, "\", workers: viele}\n");
    put_file("x.yaml", buf_view(&y));
    struct buf report = load_bad(NULL);
    ck_assert_uint_lt(report.n, 400);
    assert_says(&report, "workers: viele}");
    buf_finish(&report);
    buf_finish(&y);
}
END_TEST

START_TEST(bytes_that_are_no_text_are_refused)
{
    put_text("x.yaml", "settings: {}\n# \xFF\n");
    struct buf report = load_bad(NULL);
    assert_says(&report, "x.yaml:2:1: this line is not valid UTF-8");
    buf_finish(&report);
    put_file("x.yaml", (struct str){"a: b\0c\n", 7});
    report = load_bad(NULL);
    assert_says(&report, "x.yaml:1:1: this line has the control character 0x00");
    buf_finish(&report);
}
END_TEST

START_TEST(deep_nesting_and_big_files_are_refused_quickly)
{
    struct buf y = {0};
    for (int i = 0; i < 200000; i++)
        buf_char(&y, '[');
    put_file("x.yaml", buf_view(&y));
    struct buf report = load_bad(NULL);
    assert_says(&report, "nested too deeply: at most 30 levels");
    buf_finish(&report);

    buf_clear(&y);
    buf_puts(&y, "a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (char c = 'b'; c < 'k'; c++)
        buf_printf(&y, "%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c - 1, c - 1, c - 1,
                   c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
    put_file("x.yaml", buf_view(&y));
    report = load_bad(NULL);
    assert_says(&report, "x.yaml:5:7: the file is too big: more than 100000 values");
    buf_finish(&report);

    buf_clear(&y);
    buf_puts(&y, "settings:\n");
    for (int i = 0; i < 5000; i++)
        buf_printf(&y, "  k%d: 1\n", i);
    put_file("x.yaml", buf_view(&y));
    report = load_bad(NULL);
    assert_says(&report, "too many keys in one map: at most 4096");
    buf_finish(&report);

    buf_clear(&y);
    buf_puts(&y, "a: [");
    for (int i = 0; i < 2000; i++)
        buf_printf(&y, "&a%d x, ", i);
    buf_puts(&y, "y]\n");
    put_file("x.yaml", buf_view(&y));
    report = load_bad(NULL);
    assert_says(&report, "too many anchors: at most 1000");
    buf_finish(&report);

    buf_clear(&y);
    for (int i = 0; i < 5000000 / 16; i++)
        buf_puts(&y, "# ..............\n");
    put_file("x.yaml", buf_view(&y));
    report = load_bad(NULL);
    assert_says(&report, "x.yaml: cannot be read: it is larger than 4 MiB");
    buf_finish(&report);
    buf_finish(&y);
}
END_TEST

START_TEST(errors_of_all_files_come_in_one_go_sorted_by_file_and_line)
{
    put_text("b.yaml", "pipelines:\n  - {name: p, stages: [{name: a, watch: x.*, comand: cat}]}\n");
    put_text("a.yml", "triggers:\n  - {type: webhook, path: /x}\nsettings: {workers: 0}\n");
    put_text("c.yaml", "settings: [\n");
    put_text(".hidden.yaml", "]\n");
    put_text("notes.txt", "]\n");
    struct buf report = load_bad(NULL);
    struct buf got = {0};
    heads(&got, buf_view(&report));
    ck_assert_str_eq(got.p,
                     "a.yml:2:27: webhook /x: path: \"/x\" must begin with /hooks/ and go on with "
                     "letters, digits and - _ . ~ between single slashes\n"
                     "a.yml:3:21: settings: workers: 0 is out of range: 1 to 64\n"
                     "b.yaml:2:46: stage p.a: unknown key \"comand\", did you mean \"command\"?\n"
                     "c.yaml:2:1: not valid YAML: flow sequence without a closing bracket\n");
    buf_finish(&got);
    buf_finish(&report);
}
END_TEST

START_TEST(a_directory_that_is_not_there_is_told)
{
    struct buf report = {0};
    ck_assert_ptr_null(config_load("nowhere", NULL, false, &report));
    assert_says(&report, "nowhere: the configuration directory cannot be read: No such file");
    buf_finish(&report);
}
END_TEST

START_TEST(an_empty_directory_loads_with_a_warning)
{
    struct config *c = load_good(NULL);
    ck_assert_str_eq(c->warnings[0], ".: there is no *.yaml file in this directory");
    config_unref(c);
}
END_TEST

START_TEST(no_directory_means_the_defaults)
{
    struct buf report = {0};
    struct config *c = config_load(NULL, NULL, false, &report);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->set.listen, "127.0.0.1:4665");
    ck_assert_int_eq(c->set.lease, 30000);
    ck_assert_int_eq(c->set.hook_max_body, 25 << 20);
    ck_assert(c->set.spool);
    ck_assert(!c->set.http2);
    ck_assert_uint_eq(c->pipeline_n, 0);
    ck_assert_ptr_null(c->dir);
    config_unref(c);
    config_unref(NULL);
    buf_finish(&report);
}
END_TEST

START_TEST(the_command_line_beats_the_environment_and_that_the_files)
{
    put_text("x.yaml", "settings:\n  batch: 7\n  data: from-file\n  listen: 127.0.0.1:1\n"
                       "  lease: 15_seconds\n  value_max: 2MiB\n  http2: true\n");
    setenv("HOOKMESH_DATA", "/from/environment", 1);
    setenv("HOOKMESH_LISTEN", "127.0.0.1:2", 1);
    static const char *const overrides[] = {"listen=127.0.0.1:3", "sweep=1s", NULL};
    struct config *c = load_good(overrides);
    ck_assert_int_eq(c->set.batch, 7);
    ck_assert_int_eq(c->set.lease, 15000);
    ck_assert_int_eq(c->set.value_max, 2 << 20);
    ck_assert(c->set.http2);
    ck_assert_str_eq(c->set.data, "/from/environment");
    ck_assert_str_eq(c->set.listen, "127.0.0.1:3");
    ck_assert_int_eq(c->set.sweep, 1000);
    config_unref(c);
    unsetenv("HOOKMESH_DATA");
    c = load_good(overrides);
    ck_assert(str_ends(str_of(c->set.data), "/from-file"));
    ck_assert(str_starts(str_of(c->set.data), dir));
    config_unref(c);
}
END_TEST

START_TEST(mistakes_outside_the_files_name_their_source)
{
    setenv("HOOKMESH_LOG", "loud", 1);
    static const char *const overrides[] = {"lisen=x", "batch", "sweep=5", NULL};
    struct buf report = load_bad(overrides);
    assert_says(&report, "HOOKMESH_LOG: log_level: must be one of: debug info warn error\n");
    assert_says(&report, "command line: unknown setting \"lisen\", did you mean \"listen\"?\n");
    assert_says(&report, "command line: \"batch\" must be name=value\n");
    assert_says(&report, "command line: sweep: 5 has no unit");
    buf_finish(&report);
}
END_TEST

START_TEST(a_setting_is_made_in_one_file_only)
{
    put_text("a.yaml", "settings: {batch: 1}\n");
    put_text("b.yaml", "settings: {batch: 2}\n");
    struct buf report = load_bad(NULL);
    assert_says(&report, "b.yaml:1:12: settings: the setting batch was made already, in a.yaml:1");
    buf_finish(&report);
}
END_TEST

START_TEST(the_token_comes_from_a_file_and_never_shows)
{
    put_text("token", "s3cr3t-of-the-house\n");
    setenv("HOOKMESH_TOKEN_FILE", "token", 1);
    setenv("HOOKMESH_LISTEN", "0.0.0.0:0", 1);
    struct config *c = load_good(NULL);
    ck_assert_str_eq(c->set.token, "s3cr3t-of-the-house");
    config_unref(c);
    struct buf b = {0};
    buf_puts(&b, "token=s3cr3t-of-the-house");
    log_redact(&b, 0);
    ck_assert_str_eq(b.p, "token=[redacted]");
    buf_finish(&b);

    put_text("x.yaml", "settings: {token: s3cr3t-of-the-house, workerz: 1}\n");
    struct buf report = load_bad(NULL);
    assert_says(&report, "{token: [redacted], workerz: 1}");
    buf_finish(&report);

    unlink("x.yaml");
    setenv("HOOKMESH_TOKEN", "another-secret", 1);
    report = load_bad(NULL);
    assert_says(&report, "HOOKMESH_TOKEN and HOOKMESH_TOKEN_FILE are both set: unset one");
    buf_finish(&report);

    unsetenv("HOOKMESH_TOKEN");
    put_text("token", "\n");
    report = load_bad(NULL);
    assert_says(&report, "the secret cannot be read from token: the file is empty");
    buf_finish(&report);
    setenv("HOOKMESH_TOKEN_FILE", "/nowhere/token", 1);
    report = load_bad(NULL);
    assert_says(&report, "the secret cannot be read from /nowhere/token: No such file");
    buf_finish(&report);
}
END_TEST

START_TEST(every_secret_setting_may_come_from_a_file)
{
    put_text("secret", "from-the-secret-file\n");
#define SETTING_SECRET(name, env, ...) setenv(env "_FILE", "secret", 1);
#include "config/settings.def"
    struct config *c = load_good(NULL);
#define SETTING_SECRET(name, ...) ck_assert_str_eq(c->set.name, "from-the-secret-file");
#include "config/settings.def"
    config_unref(c);
}
END_TEST

START_TEST(a_password_in_the_url_of_redis_is_a_secret)
{
    setenv("HOOKMESH_REDIS", "redis://user:pass-of-redis@localhost:6379/0", 1);
    struct config *c = load_good(NULL);
    struct buf b = {0};
    buf_puts(&b, c->set.redis);
    log_redact(&b, 0);
    ck_assert_str_eq(b.p, "redis://user:[redacted]@localhost:6379/0");
    buf_finish(&b);
    config_unref(c);
}
END_TEST

START_TEST(a_pipeline_is_read_whole)
{
    put_text("x.yaml",
             "pipelines:\n"
             "  - name: document\n"
             "    stages:\n"
             "      - name: extract\n"
             "        watch: \"pipeline.*.raw\"\n"
             "        command: [python3, extract.py, \"an argument\"]\n"
             "        keep: true\n"
             "        env: {MODE: \"${HOOKMESH_TEST_MODE}\", COST: \"$${5}\"}\n"
             "        write: \"pipeline.{1}.extracted\"\n"
             "        timeout: 90s\n"
             "        retry: {max_attempts: 5, backoff: fixed, initial_delay: 10s}\n"
             "        concurrency: 3\n"
             "      - {name: summarize, watch: \"pipeline.*.extracted\", also: "
             "[\"pipeline.{1}.raw\"],\n"
             "         extension: text, job: summarize, write: \"pipeline.{1}.summary\"}\n"
             "      - name: send\n"
             "        watch: pipeline.*.summary\n"
             "        http: {url: \"http://localhost:1/x\", method: PUT, headers: {X-A: b}}\n"
             "extensions:\n"
             "  - {name: text, path: text.so}\n");
    put_text("text.so", "x");
    setenv("HOOKMESH_TEST_MODE", "fast", 1);
    struct config *c = load_good(NULL);
    ck_assert_uint_eq(c->pipeline_n, 1);
    const struct pipeline *p = &c->pipelines[0];
    ck_assert_uint_eq(p->n, 3);
    const struct stage *s = &p->stages[0];
    ck_assert_str_eq(s->id, "document.extract");
    ck_assert_str_eq(s->pipeline, "document");
    ck_assert_str_eq(s->watch, "pipeline.*.raw");
    ck_assert_str_eq(s->write, "pipeline.{1}.extracted");
    ck_assert_int_eq(s->work.kind, WORK_COMMAND);
    ck_assert_str_eq(s->work.argv[2], "an argument");
    ck_assert_ptr_null(s->work.argv[3]);
    ck_assert(s->work.keep);
    ck_assert_str_eq(s->work.env[0], "MODE=fast");
    ck_assert_str_eq(s->work.env[1], "COST=${5}");
    ck_assert_str_eq(s->work.cwd, dir);
    ck_assert_int_eq(s->timeout_ms, 90000);
    ck_assert_int_eq(s->retry.max_attempts, 5);
    ck_assert(s->retry.fixed);
    ck_assert_int_eq(s->retry.initial_ms, 10000);
    ck_assert_int_eq(s->concurrency, 3);
    ck_assert_str_eq(s->file, "x.yaml");
    ck_assert_int_eq(s->line, 4);
    s = &p->stages[1];
    ck_assert_str_eq(s->also[0], "pipeline.{1}.raw");
    ck_assert_int_eq(s->work.kind, WORK_EXTENSION);
    ck_assert_str_eq(s->work.extension, "text");
    ck_assert_str_eq(s->work.job, "summarize");
    ck_assert_int_eq(s->timeout_ms, 300000);
    ck_assert_int_eq(s->retry.max_attempts, 3);
    s = &p->stages[2];
    ck_assert_ptr_null(s->write);
    ck_assert_int_eq(s->work.kind, WORK_HTTP);
    ck_assert_str_eq(s->work.url, "http://localhost:1/x");
    ck_assert_str_eq(s->work.method, "PUT");
    ck_assert_str_eq(s->work.headers[0], "X-A: b");
    const struct extension *x = config_extension(c, "text");
    ck_assert_ptr_nonnull(x);
    ck_assert(str_ends(str_of(x->path), "/text.so"));
    ck_assert_ptr_null(config_extension(c, "other"));
    config_unref(c);
}
END_TEST

START_TEST(a_command_may_be_one_string_of_simple_words)
{
    put_text("x.yaml",
             "pipelines:\n"
             "  - name: p\n"
             "    stages:\n"
             "      - {name: a, watch: a.*, command: \"cat  -n ${HOOKMESH_TEST_FILE}\"}\n");
    setenv("HOOKMESH_TEST_FILE", "two words; rm", 1);
    struct config *c = load_good(NULL);
    char **argv = c->pipelines[0].stages[0].work.argv;
    ck_assert_str_eq(argv[0], "cat");
    ck_assert_str_eq(argv[1], "-n");
    ck_assert_str_eq(argv[2], "two words; rm");
    ck_assert_ptr_null(argv[3]);
    config_unref(c);
}
END_TEST

START_TEST(a_variable_may_come_from_a_file)
{
    put_text("key", "from-the-file\n");
    setenv("HOOKMESH_TEST_KEY_FILE", "key", 1);
    put_text("x.yaml", "pipelines:\n"
                       "  - name: p\n"
                       "    stages:\n"
                       "      - name: a\n"
                       "        watch: a.*\n"
                       "        http: {url: \"http://x/\", headers: {Authorization: \"Bearer "
                       "${HOOKMESH_TEST_KEY}\"}}\n");
    struct config *c = load_good(NULL);
    ck_assert_str_eq(c->pipelines[0].stages[0].work.headers[0],
                     "Authorization: Bearer from-the-file");
    config_unref(c);
}
END_TEST

START_TEST(shared_objects_are_looked_for_beside_the_program)
{
    unsetenv("HOOKMESH_EXT_DIR");
    put_text("x.yaml", "extensions:\n  - {name: t, path: \"${HOOKMESH_EXT_DIR}/none.so\"}\n");
    struct buf report = load_bad(NULL);
    assert_says(&report, HOOKMESH_BUILD_DIR "/ext/none.so");
    buf_finish(&report);
    put_text("none.so", "x");
    setenv("HOOKMESH_EXT_DIR", dir, 1);
    struct config *c = load_good(NULL);
    ck_assert(str_starts(str_of(c->extensions[0].path), dir));
    config_unref(c);
}
END_TEST

START_TEST(a_job_is_a_pipeline_of_one_stage)
{
    put_text("x.yaml", "jobs:\n"
                       "  - {name: count, type: extension, command: [wc, -w], timeout: 5s}\n"
                       "triggers:\n"
                       "  - {type: webhook, path: /hooks/count, insecure: true, job: count}\n");
    struct config *c = load_good(NULL);
    ck_assert_uint_eq(c->pipeline_n, 1);
    ck_assert_str_eq(c->pipelines[0].name, "job.count");
    ck_assert_uint_eq(c->pipelines[0].n, 1);
    const struct stage *s = &c->pipelines[0].stages[0];
    ck_assert_str_eq(s->id, "job.count.run");
    ck_assert_str_eq(s->watch, "job.count.*.input");
    ck_assert_str_eq(s->write, "job.count.{1}.output");
    ck_assert_int_eq(s->timeout_ms, 5000);
    ck_assert_str_eq(c->hooks[0].pipeline, "job.count");
    ck_assert_str_eq(c->hooks[0].write, "job.count.{run}.input");
    config_unref(c);
}
END_TEST

START_TEST(a_webhook_is_read_whole)
{
    setenv("HOOKMESH_SECRET_GITHUB", "secret-of-github", 1);
    setenv("MY_SECRET", "secret-of-mine", 1);
    put_text("sf", "secret-of-file\n");
    put_text("x.yaml",
             "pipelines:\n"
             "  - name: push\n"
             "    stages:\n"
             "      - {name: a, watch: github.*.event, command: [cat]}\n"
             "triggers:\n"
             "  - {type: webhook, path: /hooks/github, pipeline: push, events: [push, "
             "pull_request.opened], max_body: 1MiB}\n"
             "  - {type: webhook, path: /hooks/team/own, write: \"github.{run}.event\", scheme: "
             "hmac-sha256, header: X-Sig, secret: \"${MY_SECRET}\"}\n"
             "  - {type: webhook, path: /hooks/gitlab, write: \"other.{run}\", secret_file: sf}\n"
             "  - {type: webhook, path: /hooks/more, write: \"other.{run}\", secret_env: "
             "MY_SECRET, events: ping}\n");
    struct config *c = load_good(NULL);
    ck_assert_ptr_null(c->warnings[0]);
    ck_assert_uint_eq(c->hook_n, 4);
    const struct hook *h = config_hook(c, STR("/hooks/github"));
    ck_assert_ptr_nonnull(h);
    ck_assert_str_eq(h->scheme, "github");
    ck_assert_str_eq(h->secret, "secret-of-github");
    ck_assert_str_eq(h->secret_name, "HOOKMESH_SECRET_GITHUB");
    ck_assert_str_eq(h->write, "github.{run}.event");
    ck_assert_str_eq(h->pipeline, "push");
    ck_assert_str_eq(h->events[1], "pull_request.opened");
    ck_assert_ptr_null(h->events[2]);
    ck_assert_uint_eq(h->max_body, 1 << 20);
    ck_assert_int_eq(h->line, 6);
    h = config_hook(c, STR("/hooks/team/own"));
    ck_assert_str_eq(h->scheme, "hmac-sha256");
    ck_assert_str_eq(h->secret, "secret-of-mine");
    ck_assert_str_eq(h->header, "X-Sig");
    ck_assert_str_eq(h->pipeline, "push");
    h = config_hook(c, STR("/hooks/gitlab"));
    ck_assert_str_eq(h->scheme, "gitlab");
    ck_assert_str_eq(h->secret, "secret-of-file");
    ck_assert_ptr_null(h->pipeline);
    h = config_hook(c, STR("/hooks/more"));
    ck_assert_ptr_null(h->scheme);
    ck_assert_str_eq(h->events[0], "ping");
    ck_assert_ptr_null(config_hook(c, STR("/hooks/none")));
    struct buf b = {0};
    buf_puts(&b, "secret-of-github secret-of-mine secret-of-file");
    log_redact(&b, 0);
    ck_assert_str_eq(b.p, "[redacted] [redacted] [redacted]");
    buf_finish(&b);
    config_unref(c);
}
END_TEST

START_TEST(a_secret_in_the_file_itself_is_refused_and_not_shown)
{
    put_text("x.yaml", "triggers:\n  - {type: webhook, path: /hooks/a, write: \"a.{run}\", secret: "
                       "hunter2hunter2}\n");
    struct buf report = load_bad(NULL);
    assert_says(&report, "a secret does not belong into this file");
    ck_assert_ptr_null(strstr(report.p, "hunter2"));
    buf_finish(&report);
}
END_TEST

START_TEST(undefined_names_are_warnings_when_that_is_asked_for)
{
    put_text("x.yaml", "pipelines:\n"
                       "  - name: p\n"
                       "    stages:\n"
                       "      - {name: a, watch: a.*, extension: text, job: x}\n"
                       "      - {name: b, watch: b.*, agent: analyst, task: look}\n"
                       "triggers:\n"
                       "  - {type: webhook, path: /hooks/a, insecure: true, job: later}\n");
    struct buf report = {0};
    struct config *c = config_load(".", NULL, true, &report);
    ck_assert_msg(c != NULL, "%s", report.p != NULL ? report.p : "");
    ck_assert_str_eq(c->warnings[0],
                     "x.yaml:4:42: stage p.a: extension: there is no extension \"text\"");
    ck_assert(strstr(c->warnings[1], "there is no agent \"analyst\"") != NULL);
    ck_assert(strstr(c->warnings[2], "insecure") != NULL);
    ck_assert(strstr(c->warnings[3], "there is no job \"later\"") != NULL);
    config_unref(c);
    buf_finish(&report);
}
END_TEST

START_TEST(anchors_and_several_documents_are_fine)
{
    put_text("x.yaml",
             "pipelines:\n"
             "  - name: p\n"
             "    stages:\n"
             "      - {name: a, watch: a.*, command: &c [cat], retry: &r {max_attempts: 2}}\n"
             "      - {name: b, watch: b.*, command: *c, retry: *r}\n"
             "---\n"
             "settings: {batch: 5}\n");
    struct config *c = load_good(NULL);
    ck_assert_str_eq(c->pipelines[0].stages[1].work.argv[0], "cat");
    ck_assert_int_eq(c->pipelines[0].stages[1].retry.max_attempts, 2);
    ck_assert_int_eq(c->set.batch, 5);
    config_unref(c);
}
END_TEST

START_TEST(snapshots_do_not_share_anything)
{
    put_text("x.yaml", "settings: {batch: 5, workers: 1}\n");
    struct config *before = load_good(NULL);
    struct config *held = config_ref(before);
    put_text("x.yaml", "settings: {batch: 6, workers: 2, max_body: 1MiB, data: elsewhere}\n");
    struct config *after = load_good(NULL);
    ck_assert_int_eq(held->set.batch, 5);
    struct buf b = {0};
    config_needs_restart(before, after, &b);
    ck_assert_str_eq(b.p, "data workers max_body");
    buf_finish(&b);
    config_unref(before);
    ck_assert_int_eq(held->set.batch, 5);
    config_unref(held);
    ck_assert_int_eq(after->set.batch, 6);
    config_unref(after);
}
END_TEST

START_TEST(the_reference_names_every_setting)
{
    struct buf b = {0};
    config_reference(&b, true);
    assert_says(&b, "| `listen` | `127.0.0.1:4665` | text | `HOOKMESH_LISTEN` | no |");
    assert_says(&b, "| `lease` | `30s` | 200ms to 1h |  | yes |");
    assert_says(&b, "| `hook_max_body` | `25MiB` | 1KiB to 256MiB |");
    assert_says(&b, "| `compress` | `zstd` | off, lz4, zstd |");
    buf_clear(&b);
    config_reference(&b, false);
#define SETTING_BOOL(name, ...)     assert_says(&b, "\n  " #name " ");
#define SETTING_INT(name, ...)      assert_says(&b, "\n  " #name " ");
#define SETTING_SIZE(name, ...)     assert_says(&b, "\n  " #name " ");
#define SETTING_DURATION(name, ...) assert_says(&b, "\n  " #name " ");
#define SETTING_CHOICE(name, ...)   assert_says(&b, "\n  " #name " ");
#include "config/settings.def"
    buf_finish(&b);
}
END_TEST

Suite *config_suite(void)
{
    Suite *s = suite_create("config");
    TCase *t = tcase_create("config");
    tcase_add_checked_fixture(t, enter_temp_dir, leave_temp_dir);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, every_mistake_is_told_with_its_place);
    tcase_add_test(t, every_mistake_in_jobs_is_told_with_its_place);
    tcase_add_test(t, a_caret_stands_under_the_place);
    tcase_add_test(t, a_long_line_is_cut_around_the_place);
    tcase_add_test(t, bytes_that_are_no_text_are_refused);
    tcase_add_test(t, deep_nesting_and_big_files_are_refused_quickly);
    tcase_add_test(t, errors_of_all_files_come_in_one_go_sorted_by_file_and_line);
    tcase_add_test(t, a_directory_that_is_not_there_is_told);
    tcase_add_test(t, an_empty_directory_loads_with_a_warning);
    tcase_add_test(t, no_directory_means_the_defaults);
    tcase_add_test(t, the_command_line_beats_the_environment_and_that_the_files);
    tcase_add_test(t, mistakes_outside_the_files_name_their_source);
    tcase_add_test(t, a_setting_is_made_in_one_file_only);
    tcase_add_test(t, the_token_comes_from_a_file_and_never_shows);
    tcase_add_test(t, every_secret_setting_may_come_from_a_file);
    tcase_add_test(t, a_password_in_the_url_of_redis_is_a_secret);
    tcase_add_test(t, a_pipeline_is_read_whole);
    tcase_add_test(t, a_command_may_be_one_string_of_simple_words);
    tcase_add_test(t, a_variable_may_come_from_a_file);
    tcase_add_test(t, shared_objects_are_looked_for_beside_the_program);
    tcase_add_test(t, a_job_is_a_pipeline_of_one_stage);
    tcase_add_test(t, a_webhook_is_read_whole);
    tcase_add_test(t, a_secret_in_the_file_itself_is_refused_and_not_shown);
    tcase_add_test(t, undefined_names_are_warnings_when_that_is_asked_for);
    tcase_add_test(t, anchors_and_several_documents_are_fine);
    tcase_add_test(t, snapshots_do_not_share_anything);
    tcase_add_test(t, the_reference_names_every_setting);
    suite_add_tcase(s, t);
    return s;
}
