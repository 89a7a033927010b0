/* SPDX-License-Identifier: Apache-2.0 */
/* Deliveries without Redis and a server: what claims end with, when the disk is full, Redis is away, a run is cancelled, the server stops. What goes over
 * the network is tested in tests/flow/deliver.test.mjs. */
#include "unit/work_harness.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/json.h"
#include "work/deliver.h"

Suite *work_deliver_suite(void);

static struct delivery to;
static struct alert alert;
static char id[] = "job.daily.file", pipeline[] = "job.daily", name[] = "file";
static struct stage stage = {.id = id,
                             .pipeline = pipeline,
                             .name = name,
                             .after = AFTER_SUCCESS,
                             .work = {.kind = WORK_DELIVER, .delivery = &to}};

static const char succeeded[] = "{\"run\":\"r-1\",\"pipeline\":\"job.daily\",\"job\":\"daily\","
                                "\"state\":\"succeeded\",\"created\":"
                                "1767225600000,\"finished\":1767225605000,\"rec\":{}}";
static const char dead[] = "{\"run\":\"r-1\",\"pipeline\":\"job.daily\",\"job\":\"daily\","
                           "\"state\":\"dead\",\"error\":\"no\","
                           "\"created\":1767225600000,\"finished\":1767225605000,\"rec\":{}}";

static void start(void)
{
    harness_start("settings: {delivery_timeout: 5s}\n");
}

/* output NULL: there is none. */
static struct given *claim(const char *value, const char *output)
{
    static struct str also[2];
    struct given *g = mem_new(struct given);
    harness.given[harness.given_n++] = g;
    also[0] = output != NULL ? str_of(output) : (struct str){NULL, 0};
    also[1] = STR("{\"n\":1}");
    snprintf(g->key, sizeof g->key, "run.ended.r-1");
    snprintf(g->run, sizeof g->run, "r-1");
    g->claim = (struct claim){.stage = &stage,
                              .key = str_of(g->key),
                              .run = str_of(g->run),
                              .value = str_of(value),
                              .version = 1,
                              .attempt = 1,
                              .also = also,
                              .also_n = 2,
                              .match = {.wild = {STR("r-1")}, .n = 1}};
    harness_give_all(&g, 1);
    return g;
}

static struct given *deliver(const char *value, const char *output)
{
    struct given *g = claim(value, output);
    harness_wait_all();
    return g;
}

static void to_file(const char *path)
{
    mem_free(to.to);
    to = (struct delivery){.kind = DELIVERY_FILE, .to = mem_format("%s/%s", harness.dir, path)};
}

static void stop(void)
{
    harness_stop();
    mem_free(to.to);
    to = (struct delivery){0};
}

static void assert_file(const char *path, const char *content)
{
    char *whole = mem_format("%s/%s", harness.dir, path);
    char got[4096] = "";
    FILE *f = fopen(whole, "r");
    ck_assert_msg(f != NULL, "there is no %s", whole);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    fclose(f);
    ck_assert_str_eq(got, content);
    mem_free(whole);
}

static int files_in(const char *path)
{
    char *text = mem_format("ls -A %s/%s | wc -l", harness.dir, path);
    FILE *p = popen(text, "r");
    int n = -1;
    ck_assert_int_eq(fscanf(p, "%d", &n), 1);
    pclose(p);
    mem_free(text);
    return n;
}

static void make_dir(const char *path)
{
    char *whole = mem_format("%s/%s", harness.dir, path);
    ck_assert_int_eq(mkdir(whole, 0755), 0);
    mem_free(whole);
}

START_TEST(file_holds_the_new_content_whole_and_nothing_is_left_beside_it)
{
    start();
    make_dir("out");
    to_file("out/{1}.md");
    assert_given(deliver(succeeded, "{\"markdown\":\"# a much longer first text\"}"), CLAIM_OK,
                 "\"sent\":\"file\"");
    assert_given(deliver(succeeded, "\"short\""), CLAIM_OK, "\"bytes\":6");
    assert_file("out/r-1.md", "short\n");
    assert_given(deliver(succeeded, NULL), CLAIM_OK, "");
    assert_file("out/r-1.md", "(no output)\n");
    to_file("out/{run}.json");
    assert_given(deliver(succeeded, "{\"a\": [1, 2]}"), CLAIM_OK, "");
    assert_file("out/r-1.json", "{\"a\": [1, 2]}\n");
    ck_assert_int_eq(files_in("out"), 2);
    stop();
}
END_TEST

START_TEST(full_disk_is_tried_again_and_leaves_the_old_file)
{
    start();
    make_dir("out");
    to_file("out/a.txt");
    assert_given(deliver(succeeded, "\"old\""), CLAIM_OK, "");
    struct rlimit old, small = {64, 0};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    char *large = mem_zero(1, 1003);
    memset(large, 'x', 1002);
    large[0] = large[1001] = '"';
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct given *g = deliver(succeeded, large);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_given(g, CLAIM_RETRY, "out/a.txt cannot be written: ");
    assert_file("out/a.txt", "old\n");
    ck_assert_int_eq(files_in("out"), 1);
    mem_free(large);
    stop();
}
END_TEST

START_TEST(directories_that_are_not_there_or_not_ours_fail_at_once)
{
    start();
    make_dir("out");
    make_dir("out/a.txt");
    to_file("missing/a.txt");
    assert_given(deliver(succeeded, "1"), CLAIM_FAIL, "its directory must be there");
    to_file("out/a.txt");
    assert_given(deliver(succeeded, "1"), CLAIM_FAIL, "cannot be put in its place");
    ck_assert_int_eq(files_in("out"), 1);
    to_file("pipeline.yaml/a.txt");
    assert_given(deliver(succeeded, "1"), CLAIM_FAIL, "Not a directory");
    stop();
}
END_TEST

START_TEST(names_of_runs_stay_within_their_part_of_a_path)
{
    static const struct {
        const char *tmpl, *wild, *path;
    } rows[] = {
        {"/a/{1}.md", "r-1", "/a/r-1.md"},
        {"/a/{run}/{1}", "x", "/a/RUN/x"},
        {"/a/b{1}", "c d", "/a/bc d"},
        {"/a/{1}.md", "..", NULL},
        {"/a/{1}", "..", NULL},
        {"/a/{1}/b", "..", NULL},
        {"/a/{1}", "../../etc/passwd", NULL},
        {"/a/{1}", "b/c", NULL},
        {"/a/x{1}", "/../../b", NULL},
        {"/a/{1}", ".ssh", NULL},
        {"/a/{1}", "", NULL},
        {"/a/{2}", "x", NULL},
        {"/a/{what}", "x", NULL},
        {"/a/{1", "x", NULL},
        {"a/{1}", "x", NULL},
        {"/a/", "x", NULL},
        {"", "x", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        struct err e;
        struct pattern_match m = {.wild = {str_of(rows[i].wild)}, .n = 1};
        bool ok = deliver_file_path(&out, rows[i].tmpl, &m, STR("RUN"), &e);
        ck_assert_msg(ok == (rows[i].path != NULL), "%s with %s", rows[i].tmpl, rows[i].wild);
        if (ok)
            ck_assert_str_eq(out.p, rows[i].path);
        else
            ck_assert_int_eq(e.code, ERR_CONFIG);
        buf_finish(&out);
    }
    char longest[300];
    memset(longest, 'x', sizeof longest);
    struct pattern_match m = {.wild = {{longest, sizeof longest}}, .n = 1};
    struct buf out = {0};
    ck_assert(!deliver_file_path(&out, "/a/{1}", &m, STR("RUN"), NULL));
    buf_finish(&out);
}
END_TEST

START_TEST(key_is_written_and_a_redis_that_is_away_is_waited_for)
{
    start();
    to = (struct delivery){.kind = DELIVERY_KV, .to = mem_strdup("reports.{1}.daily")};
    assert_given(deliver(succeeded, "{\"a\":1}"), CLAIM_OK,
                 "{\"sent\":\"kv\",\"key\":\"reports.r-1.daily\",\"version\":7}");
    ck_assert_str_eq(harness.kv_key.p, "reports.r-1.daily");
    ck_assert_str_eq(harness.kv_value.p, "{\"a\":1}");
    assert_given(deliver(succeeded, NULL), CLAIM_OK, "");
    ck_assert_str_eq(harness.kv_value.p, "null");
    harness.redis_away = true;
    assert_given(deliver(succeeded, "1"), CLAIM_RETRY, "Redis is not reachable");
    assert_given(deliver(dead, NULL), CLAIM_RETRY, "Redis is not reachable");
    harness.redis_away = false;
    mem_free(to.to);
    to.to = mem_strdup("a..{1}");
    assert_given(deliver(succeeded, "1"), CLAIM_FAIL, "");
    mem_free(to.to);
    to.to = mem_strdup("a.{2}");
    assert_given(deliver(succeeded, "1"), CLAIM_FAIL, "something in braces");
    stop();
}
END_TEST

START_TEST(output_is_read_where_the_claim_does_not_bring_it)
{
    start();
    to_file("out.json");
    static const char value[] = "{\"run\":\"r-1\",\"pipeline\":\"doc\",\"state\":\"succeeded\","
                                "\"output_key\":\"doc.a.out\"}";
    buf_puts(&harness.kv_key, "doc.a.out");
    buf_puts(&harness.kv_value, "[7]");
    struct given *g = claim(value, NULL);
    harness_wait_all(); /* with also: nothing is there */
    assert_given(g, CLAIM_OK, "");
    assert_file("out.json", "null\n");
    g = mem_new(struct given);
    harness.given[harness.given_n++] = g;
    g->claim = (struct claim){.stage = &stage,
                              .key = STR("run.ended.r-1"),
                              .run = STR("r-1"),
                              .value = str_of(value),
                              .version = 1,
                              .attempt = 1};
    harness_give_all(&g, 1);
    harness_wait_all();
    assert_given(g, CLAIM_OK, "");
    assert_file("out.json", "[7]\n");
    stop();
}
END_TEST

START_TEST(failure_names_the_step_and_a_run_that_is_gone_is_told_without)
{
    start();
    to_file("out.json");
    harness.view = "{\"steps\":[{\"name\":\"fetch\",\"state\":\"succeeded\",\"attempt\":1},"
                   "{\"name\":\"sum\",\"state\":\"failed\",\"error\":\"no\",\"attempt\":3},"
                   "{\"name\":\"email\",\"after\":true,\"error\":\"x\",\"attempt\":9}]}";
    assert_given(deliver(dead, NULL), CLAIM_OK, "");
    char *text = NULL;
    size_t n;
    char *path = mem_format("%s/out.json", harness.dir);
    FILE *f = fopen(path, "r");
    text = mem_zero(1, 4096);
    n = fread(text, 1, 4095, f);
    fclose(f);
    struct json *j = json_parse((struct str){text, n}, NULL);
    ck_assert(str_is(json_str(json_get(j, "step")), "sum"));
    ck_assert_int_eq(json_int(json_get(j, "attempts"), 0), 3);
    ck_assert(str_is(json_str(json_get(j, "state")), "dead"));
    json_free(j);
    mem_free(text);
    mem_free(path);
    harness.view = NULL;
    assert_given(deliver(dead, NULL), CLAIM_OK, "");
    stop();
}
END_TEST

START_TEST(values_that_tell_of_no_run_fail_at_once)
{
    static const char *const wrong[] = {"",
                                        "null",
                                        "{}",
                                        "[]",
                                        "{\"run\":5}",
                                        "{\"run\":\"\"}",
                                        "x",
                                        "\"r-1\"",
                                        "{\"run\":\"r\"",
                                        "{\"run\":\"r\"}}"};
    start();
    to_file("out.txt");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        stage.work.kind = WORK_DELIVER;
        assert_given(deliver(wrong[i], "1"), CLAIM_FAIL, "");
        stage.work.kind = WORK_ALERT;
        stage.work.alert = &alert;
        assert_given(deliver(wrong[i], "1"), CLAIM_FAIL, "");
    }
    stage.work.kind = WORK_DELIVER;
    stop();
}
END_TEST

START_TEST(alert_waits_for_redis_before_it_tells_anybody)
{
    char condition[] = "job_failed";
    start();
    alert = (struct alert){
        .kind = ALERT_FAILED, .condition = condition, .to = {.kind = DELIVERY_SLACK}};
    stage.work.kind = WORK_ALERT;
    stage.work.alert = &alert;
    assert_given(deliver(dead, NULL), CLAIM_RETRY, "Redis is not reachable");
    char other[] = "other";
    alert.job = other; /* not of this job: nobody is asked */
    assert_given(deliver(dead, NULL), CLAIM_OK, "");
    stage.work.kind = WORK_DELIVER;
    stop();
}
END_TEST

/* A service that takes connections and never answers. */
static int silent_service(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, n), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

/* HTTP, mail and file, each while it waits for its service. */
static struct given *begin(int kind, int port)
{
    mem_free(to.to);
    if (kind == 0) {
        to = (struct delivery){.kind = DELIVERY_HTTP,
                               .to = mem_format("http://127.0.0.1:%d/", port)};
    } else if (kind == 1) {
        mem_free(harness.config->set.smtp_url);
        harness.config->set.smtp_url = mem_format("smtp://127.0.0.1:%d", port);
        to = (struct delivery){.kind = DELIVERY_EMAIL, .to = mem_strdup("a@example.com")};
    } else {
        to = (struct delivery){.kind = kind == 2 ? DELIVERY_FILE : DELIVERY_KV,
                               .to = mem_strdup(kind == 2 ? "/dev/shm/{2}" : "a.b")};
        if (kind == 2) {
            mem_free(to.to);
            to.to = mem_format("%s/x.txt", harness.dir);
        }
    }
    return claim(succeeded, "1");
}

START_TEST(cancelled_delivery_ends_at_once)
{
    int port;
    int fd = silent_service(&port);
    start();
    for (int kind = 0; kind < 4; kind++) {
        struct given *g = begin(kind, port);
        harness_cancel(g);
        harness_wait_all();
        assert_given(g, CLAIM_FAIL, "the run was cancelled");
    }
    close(fd);
    stop();
}
END_TEST

START_TEST(stop_hands_back_what_is_being_delivered)
{
    int port;
    int fd = silent_service(&port);
    start();
    struct given *http = begin(0, port);
    struct given *mail = begin(1, port);
    struct given *file = begin(2, port);
    work_stop(harness_on_stopped, NULL);
    while (!harness.stopped)
        loop_run();
    assert_given(http, CLAIM_RETRY, "the server stopped meanwhile");
    assert_given(mail, CLAIM_RETRY, "the server stopped meanwhile");
    assert_given(file, CLAIM_RETRY, "the server stopped meanwhile");
    harness_stopped();
    close(fd);
    mem_free(to.to);
    to = (struct delivery){0};
}
END_TEST

Suite *work_deliver_suite(void)
{
    Suite *s = suite_create("work deliver");
    TCase *t = tcase_create("deliver");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, file_holds_the_new_content_whole_and_nothing_is_left_beside_it);
    tcase_add_test(t, full_disk_is_tried_again_and_leaves_the_old_file);
    tcase_add_test(t, directories_that_are_not_there_or_not_ours_fail_at_once);
    tcase_add_test(t, names_of_runs_stay_within_their_part_of_a_path);
    tcase_add_test(t, key_is_written_and_a_redis_that_is_away_is_waited_for);
    tcase_add_test(t, output_is_read_where_the_claim_does_not_bring_it);
    tcase_add_test(t, failure_names_the_step_and_a_run_that_is_gone_is_told_without);
    tcase_add_test(t, values_that_tell_of_no_run_fail_at_once);
    tcase_add_test(t, alert_waits_for_redis_before_it_tells_anybody);
    tcase_add_test(t, cancelled_delivery_ends_at_once);
    tcase_add_test(t, stop_hands_back_what_is_being_delivered);
    suite_add_tcase(s, t);
    return s;
}
