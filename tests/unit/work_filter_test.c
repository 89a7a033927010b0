/* SPDX-License-Identifier: Apache-2.0 */
/* Filters with the real child: what ends it, and what becomes of the events that were sent along. */
#include "unit/work_harness.h"

#include <dirent.h>
#include <unistd.h>

#include "work/filter.h"

Suite *work_filter_suite(void);

__attribute__((constructor)) static void be_the_host(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "filter-host") == 0)
        exit(filter_host_main(argc - 1, argv + 1));
}

#if defined(__SANITIZE_ADDRESS__)
enum { LIMITED = 0 }; /* the sanitizer's own memory is no matter of a limit */
#else
enum { LIMITED = 1 };
#endif

enum { ASKED_MAX = 20000 };

struct asked {
    bool done;
    int order;
    char *out;
    struct err e; /* ERR_NONE: it worked */
};

static struct asked asked[ASKED_MAX];
static int asked_n, answered_n;
static bool in_call;

static void on_answer(void *arg, struct str out, const struct err *e)
{
    struct asked *a = arg;
    ck_assert(!in_call);
    ck_assert(!a->done);
    a->done = true;
    a->order = answered_n++;
    if (e != NULL)
        a->e = *e;
    else
        a->out = mem_dup(out.n != 0 ? out.p : "", out.n);
    if (answered_n == asked_n)
        loop_stop();
}

static struct asked *ask_bytes(const char *program, struct str json)
{
    struct asked *a = &asked[asked_n++];
    ck_assert_int_lt(asked_n, ASKED_MAX);
    in_call = true;
    filter_run(str_of(program), json, on_answer, a);
    in_call = false;
    return a;
}

static struct asked *ask(const char *program, const char *json)
{
    return ask_bytes(program, str_of(json));
}

static void wait_all(void)
{
    timer_arm(harness.patience, PATIENCE_MS);
    while (answered_n < asked_n)
        loop_run();
    timer_disarm(harness.patience);
}

static void begin(const char *settings)
{
    char *yaml = mem_format("settings: {%s}\n", settings);
    harness_start(yaml);
    mem_free(yaml);
}

static void end(void)
{
    harness_stop();
    for (int i = 0; i < asked_n; i++)
        mem_free(asked[i].out);
}

static void gave(const struct asked *a, const char *want)
{
    ck_assert(a->done);
    ck_assert_msg(a->e.code == ERR_NONE, "%s", a->e.text);
    ck_assert_str_eq(a->out, want);
}

static void failed(const struct asked *a, enum err_code code, const char *why)
{
    ck_assert(a->done);
    ck_assert_msg(a->e.code == code, "%s: %s%s", err_name(a->e.code), a->e.text,
                  a->out != NULL ? a->out : "");
    ck_assert_msg(strstr(a->e.text, why) != NULL, "%s", a->e.text);
}

START_TEST(a_filter_gives_its_output_or_fails_in_jqs_words)
{
    begin("");
    const struct asked *a = ask(".a", "{\"a\":{\"b\":[1,\"\\u00e4\"]}}");
    const struct asked *b = ask(".a.b", "{\"a\":1}");
    const struct asked *c = ask("empty", "{}");
    const struct asked *d = ask(".a", "{\"a\":");
    const struct asked *e = ask("foo", "{}");
    const struct asked *f = ask("1, error(\"later\")", "{}");
    wait_all();
    gave(a, "{\"b\":[1,\"\xC3\xA4\"]}");
    failed(b, ERR_UNPROCESSABLE, "Cannot index number with string \"b\"");
    gave(c, "");
    failed(d, ERR_UNPROCESSABLE, "Unfinished");
    failed(e, ERR_UNPROCESSABLE, "foo/0 is not defined");
    gave(f, "1");
    end();
}
END_TEST

START_TEST(false_null_and_nothing_do_not_let_an_event_pass)
{
    ck_assert(filter_passes(STR("true")));
    ck_assert(filter_passes(STR("0")));
    ck_assert(filter_passes(STR("\"\"")));
    ck_assert(!filter_passes(STR("false")));
    ck_assert(!filter_passes(STR("null")));
    ck_assert(!filter_passes(STR("")));
}
END_TEST

struct judged {
    int n;
    bool wanted;
    char input[64];
    struct err e;
};

static void on_judged(void *arg, bool wanted, struct str input, const struct err *e)
{
    struct judged *j = arg;
    *j = (struct judged){.n = j->n + 1, .wanted = wanted};
    snprintf(j->input, sizeof j->input, "%.*s", (int)input.n, input.p != NULL ? input.p : "");
    if (e != NULL)
        j->e = *e;
    loop_stop();
}

static struct judged judged(const char *when, const char *input, const char *event)
{
    struct judged j = {0};
    timer_arm(harness.patience, PATIENCE_MS);
    filter_judge(when, input, str_of(event), on_judged, &j);
    ck_assert_int_eq(j.n, 0);
    loop_run();
    timer_disarm(harness.patience);
    ck_assert_int_eq(j.n, 1);
    return j;
}

START_TEST(an_event_is_judged_by_when_and_made_an_input_of_in_one_go)
{
    begin("filter_timeout: 1s");
    struct judged j = judged(".a == 1", "[.a]", "{\"a\":1}");
    ck_assert(j.wanted && j.e.code == ERR_NONE);
    ck_assert_str_eq(j.input, "[1]");
    j = judged(".a == 1", NULL, "{\"a\":1}");
    ck_assert(j.wanted && j.input[0] == '\0');
    j = judged(NULL, ".a", "{\"a\":null}");
    ck_assert(j.wanted);
    ck_assert_str_eq(j.input, "null");
    static const char *const unwanted[] = {"false", "null", "empty", ".b"};
    for (size_t i = 0; i < 4; i++) {
        j = judged(unwanted[i], "error(\"not asked\")", "{}");
        ck_assert(!j.wanted && j.e.code == ERR_NONE && j.input[0] == '\0');
    }
    static const struct {
        const char *when;
        const char *input;
        enum err_code code;
        const char *why;
    } cases[] = {
        {"error(\"x\")", ".", ERR_UNPROCESSABLE, "when: x"},
        {"true", "error(\"x\")", ERR_UNPROCESSABLE, "input: x"},
        {"true", "empty", ERR_UNPROCESSABLE, "input: it gives nothing for this event"},
        {"def f: f; f", ".", ERR_TIMEOUT, "when: it took longer than 1000 ms"},
        {"true", "def f: f; f", ERR_TIMEOUT, "input: it took longer than 1000 ms"},
        {"foo", NULL, ERR_UNPROCESSABLE, "when: foo/0 is not defined"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        j = judged(cases[i].when, cases[i].input, "{}");
        ck_assert_msg(!j.wanted && j.e.code == cases[i].code, "%s", j.e.text);
        ck_assert_msg(strncmp(j.e.text, cases[i].why, strlen(cases[i].why)) == 0, "%s", j.e.text);
    }
    end();
}
END_TEST

START_TEST(a_thousand_events_are_answered_in_order)
{
    begin("");
    for (int i = 0; i < 1000; i++) {
        char json[64];
        snprintf(json, sizeof json, "{\"i\":%d}", i);
        ask(i % 2 == 0 ? ".i" : "[.i]", json);
    }
    wait_all();
    for (int i = 0; i < 1000; i++) {
        char want[32];
        snprintf(want, sizeof want, i % 2 == 0 ? "%d" : "[%d]", i);
        gave(&asked[i], want);
        ck_assert_int_eq(asked[i].order, i);
    }
    end();
}
END_TEST

/* Between 20 others on each side. */
static const struct asked *among_others(const char *program)
{
    for (int i = 0; i < 20; i++)
        ask(".a", "{\"a\":1}");
    const struct asked *a = ask(program, "{\"a\":1}");
    for (int i = 0; i < 20; i++)
        ask(".a", "{\"a\":1}");
    wait_all();
    for (int i = 0; i < asked_n; i++) {
        if (&asked[i] != a)
            gave(&asked[i], "1");
    }
    return a;
}

START_TEST(an_endless_filter_fails_alone_when_its_time_is_up)
{
    static const char *const endless[] = {"def f: f; f", "[limit(1; repeat(.) | select(false))]",
                                          "last(range(1e12))", "until(false; .)"};
    begin("filter_timeout: 200ms");
    int64_t began = clock_mono_us();
    failed(among_others(endless[_i]), ERR_TIMEOUT, "longer than 200 ms (setting filter_timeout)");
    ck_assert_int_ge(clock_mono_us() - began, 200000);
    end();
}
END_TEST

START_TEST(a_filter_that_builds_a_huge_value_fails_alone)
{
    static const char *const huge[] = {"[range(1e12)]", "def f: 1 + f; f", ".[1000000000] = 1",
                                       "reduce range(100) as $i (\"x\"; . + .) | length"};
    begin("filter_timeout: 20s, filter_memory: 64MiB");
    if (LIMITED)
        failed(among_others(_i == 2 ? "[] | .[1000000000] = 1" : huge[_i]), ERR_UNPROCESSABLE,
               "more than 64 MiB of memory (setting filter_memory)");
    end();
}
END_TEST

START_TEST(a_filter_that_breaks_jq_fails_alone)
{
    begin("filter_timeout: 20s");
    /* Printing descends once a level. */
    failed(among_others("reduce range(2000000) as $i (0; [.])"), ERR_UNPROCESSABLE,
           "jq broke down over it (SIGSEGV)");
    end();
}
END_TEST

START_TEST(an_output_that_is_too_large_fails_its_event)
{
    begin("output_max: 1KiB");
    const struct asked *a = ask("\"x\" * 1021", "{}");
    const struct asked *b = ask("\"x\" * 2000", "{}");
    wait_all();
    ck_assert_int_eq(a->e.code, ERR_NONE);
    failed(b, ERR_UNPROCESSABLE, "2002 bytes (setting output_max)");
    end();
}
END_TEST

START_TEST(an_output_that_no_other_could_read_fails_its_event)
{
    begin("");
    const struct asked *a = ask("reduce range(3000) as $i (0; [.])", "{}");
    wait_all();
    failed(a, ERR_UNPROCESSABLE, "nested too deeply");
    end();
}
END_TEST

START_TEST(an_endless_filter_does_not_hold_up_the_others)
{
    begin("filter_timeout: 2s");
    const struct asked *first = ask("def f: f; f", "{}");
    wait_all();
    failed(first, ERR_TIMEOUT, "longer than");
    const struct asked *again = ask("def f: f; f", "{}");
    const struct asked *other = ask(".a", "{\"a\":1}");
    wait_all();
    gave(other, "1");
    failed(again, ERR_TIMEOUT, "longer than");
    ck_assert_int_lt(other->order, again->order);
    end();
}
END_TEST

START_TEST(events_that_wait_too_long_behind_an_endless_filter_are_refused)
{
    begin("filter_timeout: 100ms");
    for (int i = 0; i < 20; i++)
        ask("def f: f; f", "{}");
    wait_all();
    failed(&asked[0], ERR_TIMEOUT, "longer than");
    failed(&asked[19], ERR_UNAVAILABLE, "busy with earlier events");
    end();
}
END_TEST

START_TEST(what_is_more_than_may_wait_is_refused)
{
    begin("filter_queue: 1MiB");
    struct buf big = {0};
    buf_char(&big, '"');
    for (int i = 0; i < 600000; i++)
        buf_char(&big, 'x');
    buf_char(&big, '"');
    const struct asked *a = ask_bytes("length", buf_view(&big));
    const struct asked *b = ask_bytes("length", buf_view(&big));
    const struct asked *c = ask("1", "{}");
    wait_all();
    gave(a, "600000");
    failed(b, ERR_UNAVAILABLE, "setting filter_queue");
    gave(c, "1");
    buf_finish(&big);
    end();
}
END_TEST

/* The pids of our children that run jq. */
static int host_pids(int *pids, int max)
{
    int n = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *d; (d = readdir(proc)) != NULL;) {
        char path[300], line[300] = "", name[64] = "";
        int ppid = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", d->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL)
            continue;
        if (fgets(line, sizeof line, f) != NULL &&
            sscanf(line, "%*d (%60[^)]) %*c %d", name, &ppid) == 2 && ppid == (int)getpid() &&
            strcmp(name, "hookmesh-jq") == 0 && n < max)
            pids[n++] = atoi(d->d_name);
        fclose(f);
    }
    closedir(proc);
    return n;
}

START_TEST(events_survive_a_child_that_is_killed)
{
    begin("filter_timeout: 20s");
    ask("1", "{}");
    wait_all();
    int pid;
    ck_assert_int_eq(host_pids(&pid, 1), 1);
    for (int i = 0; i < 100; i++)
        ask(".a", "{\"a\":1}");
    kill(pid, SIGKILL);
    wait_all();
    for (int i = 1; i <= 100; i++)
        gave(&asked[i], "1");
    int next;
    ck_assert_int_eq(host_pids(&next, 1), 1);
    ck_assert_int_ne(pid, next);
    end();
}
END_TEST

START_TEST(the_child_has_no_secret_and_no_core)
{
    setenv("HOOKMESH_SECRET_X", "open sesame", 1);
    begin("");
    ask("1", "{}");
    wait_all();
    int pid;
    char path[64], text[8192];
    ck_assert_int_eq(host_pids(&pid, 1), 1);
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    FILE *f = fopen(path, "r");
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    ck_assert_uint_gt(n, 0);
    ck_assert_ptr_null(memmem(text, n, "HOOKMESH_SECRET_X", 17));
    end();
}
END_TEST

START_TEST(what_waits_at_the_end_is_cancelled)
{
    begin("");
    const struct asked *a = ask("def f: f; f", "{}");
    const struct asked *b = ask("1", "{}");
    filter_stop();
    const struct asked *c = ask("1", "{}");
    wait_all();
    failed(a, ERR_CANCELLED, "stopping");
    failed(b, ERR_CANCELLED, "stopping");
    failed(c, ERR_CANCELLED, "stopping");
    end();
}
END_TEST

/* More programs than the child keeps, again and again. */
START_TEST(a_program_that_was_forgotten_is_compiled_again)
{
    begin("filter_timeout: 20s");
    for (int i = 0; i < 140; i++) {
        char program[32];
        snprintf(program, sizeof program, ".a + %d", i % 70);
        ask(program, "{\"a\":1000}");
    }
    wait_all();
    for (int i = 0; i < 140; i++) {
        char want[32];
        snprintf(want, sizeof want, "%d", 1000 + i % 70);
        gave(&asked[i], want);
    }
    end();
}
END_TEST

/* Not a test of speed: it prints what an event costs. */
START_TEST(many_events_through_one_filter)
{
    begin("filter_timeout: 20s");
    struct buf body = {0};
    buf_puts(&body, "{\"event\":\"push\",\"payload\":{\"ref\":\"refs/heads/main\",\"commits\":[");
    for (int i = 0; body.n < 10000; i++)
        buf_printf(&body, "%s{\"id\":\"%040d\",\"message\":\"commit number %d\",\"added\":[\"a\"]}",
                   i == 0 ? "" : ",", i, i);
    buf_puts(&body, "]}}");
    static const struct {
        const char *name;
        const char *program;
        bool big;
    } cases[] = {
        {"small event, .a", ".a", false},
        {"10 KB event, ref == main", ".payload.ref == \"refs/heads/main\"", true},
        {"10 KB event, reshaped", "{ref: .payload.ref, ids: [.payload.commits[].id]}", true}};
    for (size_t k = 0; k < 3; k++) {
        ask(cases[k].program, "{}"); /* compiled */
        wait_all();
        int64_t began = clock_mono_us();
        for (int i = 0; i < 2000; i++)
            ask_bytes(cases[k].program, cases[k].big ? buf_view(&body) : STR("{\"a\":1}"));
        wait_all();
        printf("%s: %.1f us each\n", cases[k].name, (double)(clock_mono_us() - began) / 2000);
        began = clock_mono_us();
        for (int i = 0; i < 200; i++) {
            ask_bytes(cases[k].program, cases[k].big ? buf_view(&body) : STR("{\"a\":1}"));
            wait_all();
        }
        printf("%s, one at a time: %.1f us each\n", cases[k].name,
               (double)(clock_mono_us() - began) / 200);
    }
    buf_finish(&body);
    end();
}
END_TEST

Suite *work_filter_suite(void)
{
    Suite *s = suite_create("work_filter");
    TCase *t = tcase_create("filter");
    tcase_add_test(t, a_filter_gives_its_output_or_fails_in_jqs_words);
    tcase_add_test(t, false_null_and_nothing_do_not_let_an_event_pass);
    tcase_add_test(t, an_event_is_judged_by_when_and_made_an_input_of_in_one_go);
    tcase_add_test(t, a_thousand_events_are_answered_in_order);
    tcase_add_loop_test(t, an_endless_filter_fails_alone_when_its_time_is_up, 0, 4);
    tcase_add_loop_test(t, a_filter_that_builds_a_huge_value_fails_alone, 0, 4);
    tcase_add_test(t, a_filter_that_breaks_jq_fails_alone);
    tcase_add_test(t, an_output_that_is_too_large_fails_its_event);
    tcase_add_test(t, an_output_that_no_other_could_read_fails_its_event);
    tcase_add_test(t, an_endless_filter_does_not_hold_up_the_others);
    tcase_add_test(t, events_that_wait_too_long_behind_an_endless_filter_are_refused);
    tcase_add_test(t, what_is_more_than_may_wait_is_refused);
    tcase_add_test(t, events_survive_a_child_that_is_killed);
    tcase_add_test(t, the_child_has_no_secret_and_no_core);
    tcase_add_test(t, what_waits_at_the_end_is_cancelled);
    tcase_add_test(t, a_program_that_was_forgotten_is_compiled_again);
    tcase_add_test(t, many_events_through_one_filter);
    suite_add_tcase(s, t);
    return s;
}
