/* SPDX-License-Identifier: Apache-2.0 */
/* What jobs, schedules and agents become. That each mistake in them is told stands in tests/data/config/jobs.txt and is tested by config_test.c. */
#include "unit/config_dir.h"

#include <dirent.h>

#include "base/log.h"
#include "trigger/start.h"

Suite *config_jobs_suite(void);

static struct config *load(bool allow_undefined)
{
    struct buf report = {0};
    struct config *c = config_load(".", NULL, allow_undefined, &report);
    ck_assert_msg(c != NULL, "%s", report.p != NULL ? report.p : "");
    buf_finish(&report);
    return c;
}

static const struct job *job_of(const struct config *c, const char *name)
{
    const struct job *j = config_job(c, str_of(name));
    ck_assert_msg(j != NULL, "there is no job %s", name);
    return j;
}

static const struct stage *stage_of(const struct config *c, const char *id)
{
    for (size_t i = 0; i < c->pipeline_n; i++) {
        for (size_t j = 0; j < c->pipelines[i].n; j++) {
            if (strcmp(c->pipelines[i].stages[j].id, id) == 0)
                return &c->pipelines[i].stages[j];
        }
    }
    ck_abort_msg("there is no stage %s", id);
    return NULL;
}

static void assert_keys(const struct config *c, const char *id, const char *watch,
                        const char *write)
{
    const struct stage *s = stage_of(c, id);
    ck_assert_str_eq(s->watch, watch);
    ck_assert_str_eq(s->write, write);
}

static void read_file(const char *path, struct buf *out)
{
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        buf_add(out, chunk, n);
    fclose(f);
}

static void copy_file(const char *from, const char *to)
{
    struct buf b = {0};
    read_file(from, &b);
    put_file(to, buf_view(&b));
    buf_finish(&b);
}

static int is_yaml(const struct dirent *d)
{
    return str_ends(str_of(d->d_name), ".yaml");
}

START_TEST(every_published_snippet_loads_as_it_stands)
{
    struct dirent **names;
    int n = scandir(TEST_DATA_DIR "/seeds", &names, is_yaml, alphasort);
    ck_assert_int_eq(n, 20);
    for (int i = 0; i < n; i++) {
        struct buf report = {0};
        char *from = mem_format("%s/seeds/%s", TEST_DATA_DIR, names[i]->d_name);
        copy_file(from, names[i]->d_name);
        struct config *c = config_load(".", NULL, true, &report);
        ck_assert_msg(c != NULL, "%s: %s", names[i]->d_name, report.p != NULL ? report.p : "");
        config_unref(c);
        buf_finish(&report);
        ck_assert_int_eq(unlink(names[i]->d_name), 0);
        mem_free(from);
        free(names[i]); /* scandir's own */
    }
    free(names);
}
END_TEST

START_TEST(the_snippets_of_a_scheduler_make_its_jobs)
{
    copy_file(TEST_DATA_DIR "/seeds/scheduler.yaml", "config.yaml");
    put_text("agents.yaml",
             "agents:\n  - {name: data-analyst, command: [cat]}\n  - {name: content-curator}\n"
             "extensions:\n"
             "  - {name: core, jobs: {publish_content: {command: [cat, core]}}}\n"
             "  - {name: analytics, jobs: {analyze_metrics: {http: \"http://localhost/m\"}}}\n"
             "  - {name: content, jobs: {refresh_content: {command: [cat, content]}}}\n");
    struct config *c = load(false);
    ck_assert(c->set.scheduler_enabled);
    ck_assert_uint_eq(c->job_n, 5); /* analyze_metrics and refresh_content are jobs too */
    ck_assert_uint_eq(c->schedule_n, 3);
    ck_assert_str_eq(c->schedules[1].name, "daily_analysis");
    ck_assert_str_eq(c->schedules[1].expression, "0 0 9 * * *");
    ck_assert_str_eq(c->schedules[1].pipeline, "job.daily_analysis");
    ck_assert_int_eq(job_of(c, "publish_content")->kind, JOB_EXTENSION);
    ck_assert_int_eq(job_of(c, "daily_analysis")->kind, JOB_HYBRID);
    const struct stage *s = stage_of(c, "job.publish_content.run");
    ck_assert_int_eq(s->work.kind, WORK_COMMAND);
    ck_assert_str_eq(s->work.argv[1], "core");
    ck_assert_str_eq(s->work.extension, "core");
    assert_keys(c, "job.daily_analysis.code", "job.daily_analysis.*.input",
                "job.daily_analysis.{1}.code");
    assert_keys(c, "job.daily_analysis.agent", "job.daily_analysis.*.code",
                "job.daily_analysis.{1}.output");
    s = stage_of(c, "job.daily_analysis.agent");
    ck_assert_int_eq(s->work.kind, WORK_COMMAND);
    ck_assert_str_eq(s->work.agent, "data-analyst");
    ck_assert_str_eq(s->work.task, "Analyze yesterday's performance");
    ck_assert_int_eq(s->retry.max_attempts, 1);
    ck_assert_int_eq(stage_of(c, "job.daily_analysis.code")->retry.max_attempts, 3);
    ck_assert_int_eq(stage_of(c, "job.content_refresh.agent")->work.kind, WORK_AGENT);
    config_unref(c);
}
END_TEST

START_TEST(a_job_in_a_file_of_its_own_has_the_name_of_the_file)
{
    copy_file(TEST_DATA_DIR "/seeds/old-way.yaml", "send report.yaml");
    copy_file(TEST_DATA_DIR "/seeds/new-way.yaml", "new-way.yml");
    struct config *c = load(true);
    const struct stage *s = stage_of(c, "job.send-report.run");
    ck_assert_int_eq(s->work.kind, WORK_COMMAND);
    ck_assert_str_eq(s->work.argv[0], "python");
    ck_assert_str_eq(s->work.argv[1], "send_report.py");
    ck_assert_str_eq(job_of(c, "new-way")->pipeline, "job.new-way");
    ck_assert_uint_eq(c->schedule_n, 2);
    ck_assert_str_eq(c->schedules[1].expression, "0 9 * * *");
    config_unref(c);
}
END_TEST

START_TEST(a_workflow_is_wired_by_the_names_of_its_outputs)
{
    copy_file(TEST_DATA_DIR "/seeds/content-pipeline.yaml", "content-pipeline.yaml");
    put_text("x.yaml", "agents:\n  - {name: researcher, command: [cat]}\n"
                       "  - {name: writer, command: [cat], timeout: 7s, retry: {max_attempts: 4}}\n"
                       "  - {name: reviewer, command: [cat]}\n"
                       "jobs:\n"
                       "  - {name: publish_content, command: [cat]}\n"
                       "  - {name: weekly, agent: content-pipeline, schedule: \"@weekly\"}\n");
    struct config *c = load(false);
    const struct agent *a = config_agent(c, STR("content-pipeline"));
    ck_assert_str_eq(a->job, "content-pipeline");
    const struct job *j = job_of(c, "content-pipeline");
    ck_assert_int_eq(j->kind, JOB_WORKFLOW);
    ck_assert_str_eq(j->output, "job.content-pipeline.{1}.publish");
    assert_keys(c, "job.content-pipeline.research", "job.content-pipeline.*.input",
                "job.content-pipeline.{1}.research_notes");
    assert_keys(c, "job.content-pipeline.write", "job.content-pipeline.*.research_notes",
                "job.content-pipeline.{1}.draft");
    assert_keys(c, "job.content-pipeline.review", "job.content-pipeline.*.draft",
                "job.content-pipeline.{1}.final");
    assert_keys(c, "job.content-pipeline.publish", "job.content-pipeline.*.final",
                "job.content-pipeline.{1}.publish");
    const struct stage *s = stage_of(c, "job.content-pipeline.write");
    ck_assert_int_eq(s->timeout_ms, 600000);
    ck_assert_int_eq(s->retry.max_attempts, 4);
    ck_assert_str_eq(s->work.agent, "writer");
    ck_assert_ptr_null(stage_of(c, "job.content-pipeline.publish")->work.agent);
    assert_keys(c, "job.weekly.run-publish", "job.weekly.*.run-final", "job.weekly.{1}.output");
    config_unref(c);
}
END_TEST

START_TEST(steps_fan_out_and_in)
{
    put_text("x.yaml", "jobs:\n"
                       "  - name: report\n"
                       "    timeout: 9s\n"
                       "    steps:\n"
                       "      - {name: sales, input: input, command: [cat]}\n"
                       "      - {name: costs, input: input, command: [cat], output: money}\n"
                       "      - {name: join, input: [sales, money, input], command: [cat]}\n"
                       "      - {command: [cat], timeout: 2s}\n");
    struct config *c = load(false);
    assert_keys(c, "job.report.sales", "job.report.*.input", "job.report.{1}.sales");
    assert_keys(c, "job.report.costs", "job.report.*.input", "job.report.{1}.money");
    assert_keys(c, "job.report.join", "job.report.*.sales", "job.report.{1}.join");
    assert_keys(c, "job.report.step-4", "job.report.*.join", "job.report.{1}.step-4");
    const struct stage *s = stage_of(c, "job.report.join");
    ck_assert_str_eq(s->also[0], "job.report.{1}.money");
    ck_assert_str_eq(s->also[1], "job.report.{1}.input");
    ck_assert_ptr_null(s->also[2]);
    ck_assert_str_eq(s->input_names[0], "sales");
    ck_assert_str_eq(s->input_names[1], "money");
    ck_assert_str_eq(s->input_names[2], "input");
    ck_assert_ptr_null(s->input_names[3]);
    ck_assert_int_eq(s->timeout_ms, 9000);
    ck_assert_int_eq(stage_of(c, "job.report.step-4")->timeout_ms, 2000);
    ck_assert_str_eq(job_of(c, "report")->output, "job.report.{1}.step-4");
    config_unref(c);
}
END_TEST

START_TEST(a_job_within_a_job_brings_its_steps)
{
    put_text("x.yaml", "jobs:\n"
                       "  - name: inner\n"
                       "    steps:\n"
                       "      - {name: a, command: [cat, a]}\n"
                       "      - {name: b, input: [input, a], command: [cat, b]}\n"
                       "  - {name: single, command: [cat, single], retry: {max_attempts: 7}}\n"
                       "  - name: outer\n"
                       "    workflow:\n"
                       "      - {job: single}\n"
                       "      - {job: inner, output: done, timeout: 4s}\n"
                       "      - {job: single}\n");
    struct config *c = load(false);
    ck_assert_uint_eq(config_pipeline(c, STR("job.outer"))->n, 4);
    assert_keys(c, "job.outer.single", "job.outer.*.input", "job.outer.{1}.single");
    assert_keys(c, "job.outer.inner-a", "job.outer.*.single", "job.outer.{1}.inner-a");
    assert_keys(c, "job.outer.inner-b", "job.outer.*.single", "job.outer.{1}.done");
    assert_keys(c, "job.outer.single-2", "job.outer.*.done", "job.outer.{1}.single-2");
    const struct stage *s = stage_of(c, "job.outer.inner-b");
    ck_assert_str_eq(s->also[0], "job.outer.{1}.inner-a");
    ck_assert_str_eq(s->input_names[0], "input");
    ck_assert_str_eq(s->input_names[1], "a");
    ck_assert_int_eq(s->timeout_ms, 4000);
    ck_assert_str_eq(s->work.argv[1], "b");
    ck_assert_int_eq(stage_of(c, "job.outer.single-2")->retry.max_attempts, 7);
    ck_assert_int_eq(s->line, 5);
    config_unref(c);
}
END_TEST

START_TEST(how_the_runs_of_a_job_start_is_read_whole)
{
    put_text(
        "x.yaml",
        "jobs:\n"
        "  - name: sync\n"
        "    description: Brings the numbers over\n"
        "    command: [cat]\n"
        "    schedule: [\"0 */4 * * *\", \"30 1 * * SUN\"]\n"
        "    timezone: Europe/Berlin\n"
        "    overlap: queue\n"
        "    misfire: all\n"
        "    misfire_limit: 5\n"
        "    priority: -7\n"
        "    delay: 3s\n"
        "    concurrency: {key: .payload.repository.id, limit: 2}\n"
        "    rate_limit: {limit: 10, period: 1m, key: .who}\n"
        "    debounce: {period: 2s, max: 30s, key: .payload.ref}\n"
        "    budget: {max_tokens: 50000, max_cost_usd: 5.00}\n"
        "    parameters:\n"
        "      - {name: day, type: string, description: Which day}\n"
        "      - {name: depth, type: integer, default: 3, choices: [1, 3, 5]}\n"
        "    input: {region: eu, deep: {a: [1, \"2\", true, null]}}\n"
        "  - {name: k8s, command: [cat], concurrencyPolicy: Forbid, debounce: 5s}\n"
        "  - {name: off, command: [cat], schedule: \"@daily\", enabled: false}\n"
        "  - {name: lane, command: [cat], concurrency: {limit: 1}, parameters: {a: 1, b: null, "
        "c: {type: number}}}\n"
        "  - {name: width, command: [cat], concurrency: 3}\n");
    struct config *c = load(false);
    const struct job *j = job_of(c, "sync");
    ck_assert_ptr_eq(config_pipeline(c, STR("job.sync"))->job, j);
    ck_assert_str_eq(j->description, "Brings the numbers over");
    ck_assert(j->overlap_set);
    ck_assert_int_eq(j->overlap, OVERLAP_QUEUE);
    ck_assert_int_eq(j->priority, -7);
    ck_assert_int_eq(j->delay_ms, 3000);
    ck_assert_str_eq(j->lane_key, ".payload.repository.id");
    ck_assert_int_eq(j->lane_limit, 2);
    ck_assert_int_eq(j->rate_limit, 10);
    ck_assert_int_eq(j->rate_period_ms, 60000);
    ck_assert_str_eq(j->rate_key, ".who");
    ck_assert_int_eq(j->debounce_ms, 2000);
    ck_assert_int_eq(j->debounce_max_ms, 30000);
    ck_assert_str_eq(j->debounce_key, ".payload.ref");
    ck_assert_int_eq(j->budget_tokens, 50000);
    ck_assert_double_eq(j->budget_cost_usd, 5.0);
    ck_assert_uint_eq(j->parameter_n, 4);
    ck_assert_str_eq(j->parameters[0].description, "Which day");
    ck_assert(!j->open);
    ck_assert_str_eq(j->parameters[1].standard, "3");
    ck_assert_str_eq(j->parameters[1].choices, "[1,3,5]");
    ck_assert_str_eq(j->parameters[2].standard, "\"eu\"");
    ck_assert_str_eq(j->parameters[3].standard, "{\"a\":[1,\"2\",true,null]}");
    ck_assert_uint_eq(c->schedule_n, 2);
    ck_assert_str_eq(c->schedules[0].name, "sync");
    ck_assert_str_eq(c->schedules[1].name, "sync#2");
    ck_assert_str_eq(c->schedules[1].timezone, "Europe/Berlin");
    ck_assert_int_eq(c->schedules[1].misfire, MISFIRE_ALL);
    ck_assert_int_eq(c->schedules[1].misfire_max, 5);
    ck_assert_int_eq(c->schedules[1].line, 5);
    j = job_of(c, "k8s");
    ck_assert(j->overlap_set);
    ck_assert_int_eq(j->overlap, OVERLAP_SKIP);
    ck_assert_int_eq(j->debounce_ms, 5000);
    j = job_of(c, "lane");
    ck_assert_int_eq(j->lane_limit, 1);
    ck_assert_ptr_null(j->lane_key);
    ck_assert_str_eq(j->parameters[0].standard, "1");
    ck_assert_ptr_null(j->parameters[1].standard);
    ck_assert_str_eq(j->parameters[2].type, "number");
    ck_assert_int_eq(stage_of(c, "job.width.run")->concurrency, 3);
    config_unref(c);
}
END_TEST

START_TEST(a_start_gives_parameters_and_gets_what_it_left_out)
{
    static const struct {
        const char *job;
        const char *input;
        const char *wanted; /* or the error's beginning */
    } cases[] = {
        {"open", "", "{\"region\":\"eu\",\"n\":[1]}"},
        {"open", "{\"x\":1,\"n\":2}", "{\"x\":1,\"n\":2,\"region\":\"eu\"}"},
        {"open", "\"a text\"", "\"a text\""},
        {"closed", "{\"day\":\"MON\"}", "{\"day\":\"MON\",\"region\":\"eu\"}"},
        {"closed", "{\"dai\":1}", "job closed: the parameter day is missing"},
        {"closed", "{\"day\":\"MON\",\"zone\":1}", "job closed has no parameter \"zone\""},
        {"closed", "\"a text\"", "job closed has parameters, so its input must be a JSON object"},
        {"none", "\"a text\"", "\"a text\""},
    };
    put_text("x.yaml", "jobs:\n"
                       "  - {name: open, command: [cat], input: {region: eu, n: [1]}}\n"
                       "  - {name: closed, command: [cat], input: {region: eu},\n"
                       "     parameters: [{name: day, required: true}]}\n"
                       "  - {name: none, command: [cat]}\n");
    struct config *c = load(false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out = {0};
        struct err e;
        if (!start_input(job_of(c, cases[i].job), str_of(cases[i].input), &out, &e))
            buf_puts(&out, e.text);
        ck_assert_msg(str_starts(buf_view(&out), cases[i].wanted), "wanted %s got %s",
                      cases[i].wanted, out.p);
        buf_finish(&out);
    }
    config_unref(c);
}
END_TEST

START_TEST(agents_are_read_whole)
{
    copy_file(TEST_DATA_DIR "/seeds/orchestrator.yaml", "orchestrator.yaml");
    put_text("x.yaml",
             "agents:\n"
             "  - name: team.coder\n"
             "    description: Writes code\n"
             "    model: some/model\n"
             "    command: [cat, coder]\n"
             "    keep: true\n"
             "    env: {A: b}\n"
             "    capabilities: [job:trigger]\n"
             "    allowed_jobs: [publish_content]\n"
             "jobs:\n"
             "  - {name: publish_content, command: [cat]}\n"
             "  - {name: send_notifications, command: [cat]}\n"
             "  - {name: code, agent: team.coder, task: write it}\n"
             "  - name: twice\n"
             "    steps: [{agent: team.coder}, {agent: team.coder, task: again}]\n"
             "pipelines:\n"
             "  - name: p\n"
             "    stages: [{name: a, watch: in.*, agent: team.coder, write: \"out.{1}\"}]\n");
    struct config *c = load(false);
    const struct agent *a = config_agent(c, STR("orchestrator"));
    ck_assert_str_eq(a->capabilities[0], "job:trigger");
    ck_assert_str_eq(a->allowed_jobs[1], "send_notifications");
    ck_assert(str_starts(str_of(a->system_prompt), "You orchestrate content workflows.\nWhen"));
    ck_assert_int_eq(a->work.kind, WORK_AGENT);
    ck_assert(a->work.triggers);
    a = config_agent(c, STR("team.coder"));
    ck_assert_str_eq(a->model, "some/model");
    ck_assert_str_eq(a->description, "Writes code");
    const struct stage *s = stage_of(c, "job.code.run");
    ck_assert_int_eq(s->work.kind, WORK_COMMAND);
    ck_assert_str_eq(s->work.argv[1], "coder");
    ck_assert(s->work.keep);
    ck_assert_str_eq(s->work.env[0], "A=b");
    ck_assert_str_eq(s->work.agent, "team.coder");
    ck_assert_str_eq(s->work.task, "write it");
    ck_assert(s->work.triggers);
    ck_assert_str_eq(stage_of(c, "job.twice.team-coder-2")->work.task, "again");
    ck_assert_str_eq(stage_of(c, "p.a")->work.argv[1], "coder");
    ck_assert_int_eq(stage_of(c, "p.a")->retry.max_attempts, 1);
    config_unref(c);
}
END_TEST

START_TEST(a_job_of_an_extension_is_a_job_by_its_name_alone)
{
    put_text("x.so", "x");
    put_text("x.yaml", "extensions:\n"
                       "  - {name: lib, path: x.so, jobs: [tidy, count]}\n"
                       "  - {name: net, jobs: {ping: {http: \"http://localhost/ping\"}}}\n"
                       "jobs:\n"
                       "  - {name: tidy, job: tidy}\n"
                       "  - {name: both, steps: [{job: count}, {type: code, job: ping}]}\n"
                       "triggers:\n"
                       "  - {type: webhook, path: /hooks/ping, insecure: true, job: ping}\n");
    struct config *c = load(false);
    const struct stage *s = stage_of(c, "job.tidy.run");
    ck_assert_int_eq(s->work.kind, WORK_EXTENSION);
    ck_assert_str_eq(s->work.extension, "lib");
    ck_assert_str_eq(s->work.job, "tidy");
    s = stage_of(c, "job.both.ping");
    ck_assert_int_eq(s->work.kind, WORK_HTTP);
    ck_assert_str_eq(s->work.url, "http://localhost/ping");
    ck_assert_str_eq(c->hooks[0].pipeline, "job.ping");
    ck_assert_str_eq(c->hooks[0].write, "job.ping.{run}.input");
    ck_assert_int_eq(stage_of(c, "job.ping.run")->work.kind, WORK_HTTP);
    ck_assert_uint_eq(c->job_n, 4);
    ck_assert_int_eq(job_of(c, "count")->kind, JOB_EXTENSION);
    config_unref(c);
}
END_TEST

START_TEST(the_agent_of_a_webhook_is_a_job_of_its_own)
{
    copy_file(TEST_DATA_DIR "/seeds/webhook-events.yaml", "x.yaml");
    put_text("y.yaml", "agents: [{name: devops, command: [cat]}]\n");
    struct config *c = load(false);
    ck_assert_str_eq(c->hooks[0].pipeline, "job.trigger.github");
    ck_assert_str_eq(c->hooks[0].write, "job.trigger.github.{run}.input");
    ck_assert_str_eq(c->hooks[0].task, "Process GitHub event and take appropriate action");
    const struct stage *s = stage_of(c, "job.trigger.github.run");
    ck_assert_str_eq(s->work.agent, "devops");
    ck_assert_str_eq(s->work.task, "Process GitHub event and take appropriate action");
    ck_assert_int_eq(job_of(c, "trigger.github")->kind, JOB_AGENT);
    config_unref(c);
}
END_TEST

START_TEST(a_kubernetes_cron_job_is_a_job)
{
    copy_file(TEST_DATA_DIR "/seeds/cronjob.yaml", "x.yaml");
    setenv("OPENAI_API_KEY", "sk-of-the-cron-job", 1);
    struct config *c = load(false);
    ck_assert_str_eq(c->warnings[0], "x.yaml:16:13: job \"daily-digest\": image is not used here");
    ck_assert_str_eq(c->warnings[1],
                     "x.yaml:22:13: job \"daily-digest\": resources is not used here");
    ck_assert_str_eq(c->schedules[0].expression, "0 3 * * *");
    const struct job *j = job_of(c, "daily-digest");
    ck_assert(j->overlap_set);
    ck_assert_int_eq(j->overlap, OVERLAP_SKIP);
    const struct stage *s = stage_of(c, "job.daily-digest.run");
    ck_assert_int_eq(s->retry.max_attempts, 2);
    ck_assert_str_eq(s->work.argv[2], "jobs.daily_digest");
    ck_assert_ptr_null(s->work.argv[3]);
    ck_assert_str_eq(s->work.env[0], "OPENAI_API_KEY=sk-of-the-cron-job");
    config_unref(c);
    struct buf b = {0};
    buf_puts(&b, "it is sk-of-the-cron-job");
    log_redact(&b, 0);
    ck_assert_str_eq(b.p, "it is [redacted]");
    buf_finish(&b);
}
END_TEST

START_TEST(the_scheduler_section_makes_settings)
{
    put_text("x.yaml", "scheduler:\n  enabled: false\n"
                       "  dead_letter: {enabled: false, retention: 7d}\n");
    struct config *c = load(false);
    ck_assert(!c->set.scheduler_enabled);
    ck_assert(!c->set.dead_letters);
    ck_assert_int_eq(c->set.dead_retention, INT64_C(7) * 86400000);
    config_unref(c);
}
END_TEST

START_TEST(what_follows_a_run_is_stages_that_its_end_feeds)
{
    put_text("x.yaml", "jobs:\n"
                       "  - name: sync\n"
                       "    command: [cat]\n"
                       "    on_complete: {agent: analyst, task: Summarize}\n"
                       "    on_failure: {job: mend}\n"
                       "    output:\n"
                       "      - email: team@example.com\n"
                       "      - slack: \"#daily\"\n"
                       "      - slack: {channel: \"#more\", text: .output.text}\n"
                       "  - {name: mend, command: [cat]}\n"
                       "agents: [{name: analyst, command: [cat]}]\n");
    struct config *c = load(false);
    const struct pipeline *p = config_pipeline(c, STR("job.sync"));
    ck_assert_str_eq(p->after_success,
                     "job.sync.on_complete\tjob.sync.email\tjob.sync.slack\tjob.sync.slack-2");
    ck_assert_str_eq(p->after_failure, "job.sync.on_failure");
    ck_assert_ptr_null(p->after_skip);
    ck_assert_ptr_null(p->after_open);
    ck_assert_uint_eq(p->stages[0].after, 0);
    const struct stage *s = stage_of(c, "job.sync.on_complete");
    ck_assert_uint_eq(s->after, AFTER_SUCCESS);
    ck_assert_str_eq(s->watch, "run.ended.>");
    ck_assert_str_eq(s->also[0], "?job.sync.{1}.output");
    ck_assert_str_eq(s->also[1], "?job.sync.{1}.input");
    ck_assert_ptr_null(s->write);
    ck_assert_int_eq(s->work.kind, WORK_START);
    ck_assert_str_eq(s->work.target, "job.sync.on_complete");
    ck_assert_str_eq(s->pipeline, "job.sync");
    s = stage_of(c, "job.sync.on_complete.run");
    ck_assert_str_eq(s->watch, "job.sync.on_complete.*.input");
    ck_assert_str_eq(s->work.agent, "analyst");
    ck_assert_str_eq(s->work.task, "Summarize");
    ck_assert_str_eq(stage_of(c, "job.sync.on_failure")->work.target, "job.mend");
    ck_assert_uint_eq(stage_of(c, "job.sync.on_failure")->after, AFTER_FAILURE);
    s = stage_of(c, "job.sync.email");
    ck_assert_int_eq(s->work.kind, WORK_DELIVER);
    ck_assert_str_eq(s->work.delivery->to, "team@example.com");
    ck_assert_int_eq(s->retry.max_attempts, 10);
    s = stage_of(c, "job.sync.slack-2");
    ck_assert_int_eq(s->work.delivery->kind, DELIVERY_SLACK);
    ck_assert_str_eq(s->work.delivery->to, "#more");
    ck_assert_str_eq(s->work.delivery->text, ".output.text");
    ck_assert_ptr_null(config_pipeline(c, STR("job.mend"))->after_success);
    ck_assert_ptr_null(config_pipeline(c, STR("hookmesh")));
    config_unref(c);
}
END_TEST

START_TEST(deliveries_are_read_whole)
{
    setenv("HOOKMESH_TEST_SIGN", "whsec_c2VjcmV0LW9mLXRoZS1kZWxpdmVyeQ==", 1);
    put_text("x.yaml",
             "jobs:\n"
             "  - name: j\n"
             "    command: [cat]\n"
             "    output:\n"
             "      - email: {to: [a@example.com, \"b@example.com, c@example.com\"], subject: "
             ".output.title, text: Hello}\n"
             "        retry: {max_attempts: 2}\n"
             "      - slack:\n"
             "      - http: \"http://localhost/in\"\n"
             "      - http: {url: \"https://example.com/in\", headers: {X-A: b}, secret_env: "
             "HOOKMESH_TEST_SIGN}\n"
             "      - kv: report.{run}\n"
             "      - kv: {key: report.latest}\n"
             "      - file: reports/{run}.json\n"
             "      - file: {path: /var/reports/x.json}\n"
             "      - github: {repository: .input.payload.repository.full_name, sha: "
             ".input.payload.after, context: ci/hookmesh, text: done}\n"
             "      - github: {repository: owner/name, issue: \"17\"}\n");
    struct config *c = load(false);
    const struct pipeline *p = config_pipeline(c, STR("job.j"));
    const struct stage *s = &p->stages[1];
    ck_assert_uint_eq(p->n, 11);
    ck_assert_str_eq(s->work.delivery->to, "a@example.com, b@example.com, c@example.com");
    ck_assert_str_eq(s->work.delivery->subject, ".output.title");
    ck_assert_str_eq(s->work.delivery->text, "Hello");
    ck_assert_int_eq(s->retry.max_attempts, 2);
    ck_assert_int_eq(s[1].work.delivery->kind, DELIVERY_SLACK);
    ck_assert_ptr_null(s[1].work.delivery->to);
    ck_assert_str_eq(s[2].work.delivery->to, "http://localhost/in");
    ck_assert_ptr_null(s[2].work.delivery->secret);
    ck_assert_str_eq(s[3].work.delivery->secret, "whsec_c2VjcmV0LW9mLXRoZS1kZWxpdmVyeQ==");
    ck_assert_str_eq(s[3].work.delivery->secret_name, "HOOKMESH_TEST_SIGN");
    ck_assert_str_eq(s[3].work.delivery->headers[0], "X-A: b");
    ck_assert_str_eq(s[4].work.delivery->to, "report.{run}");
    ck_assert_int_eq(s[5].work.delivery->kind, DELIVERY_KV);
    ck_assert_str_eq(s[5].work.delivery->to, "report.latest");
    ck_assert(str_starts(str_of(s[6].work.delivery->to), dir));
    ck_assert(str_ends(str_of(s[6].work.delivery->to), "/reports/{run}.json"));
    ck_assert_str_eq(s[7].work.delivery->to, "/var/reports/x.json");
    ck_assert_str_eq(s[8].work.delivery->to, ".input.payload.repository.full_name");
    ck_assert_str_eq(s[8].work.delivery->sha, ".input.payload.after");
    ck_assert_str_eq(s[8].work.delivery->context, "ci/hookmesh");
    ck_assert_str_eq(s[9].work.delivery->issue, "17");
    ck_assert_str_eq(s[9].id, "job.j.github-2");
    config_unref(c);
}
END_TEST

START_TEST(dead_letters_and_alerts_are_stages_of_hookmesh)
{
    copy_file(TEST_DATA_DIR "/seeds/dead-letter.yaml", "a.yaml");
    copy_file(TEST_DATA_DIR "/seeds/alerts.yaml", "b.yaml");
    put_text("x.yaml",
             "jobs:\n"
             "  - {name: plain, command: [cat]}\n"
             "  - {name: own, command: [cat], dead_letter: {notify: [\"#own\", me@example.com]},\n"
             "     alerts: [{condition: output.items == 0, notify: http, url: \"http://x/\"}]}\n"
             "pipelines:\n"
             "  - {name: doc, stages: [{name: a, watch: doc.*, command: [cat]}]}\n"
             "scheduler:\n"
             "  alerts:\n"
             "    - {condition: missed_tick, notify: ops@example.com, job: plain}\n"
             "    - {condition: job_failed, notify: slack, pipeline: doc}\n");
    struct config *c = load(false);
    ck_assert_int_eq(c->set.dead_retention, INT64_C(7) * 86400000);
    const struct stage *s = stage_of(c, "hookmesh.dead-letter");
    ck_assert_int_eq(s->work.kind, WORK_DELIVER);
    ck_assert_str_eq(s->work.delivery->to, "ops@example.com");
    ck_assert_uint_eq(s->after, AFTER_FAILURE);
    ck_assert_uint_eq(c->alert_n, 5);
    s = stage_of(c, "hookmesh.alert-1");
    ck_assert_int_eq(s->work.kind, WORK_ALERT);
    ck_assert_int_eq(s->work.alert->kind, ALERT_OUTPUT);
    ck_assert_str_eq(s->work.alert->job, "own");
    ck_assert_str_eq(s->work.alert->to.to, "http://x/");
    s = stage_of(c, "hookmesh.alert-2");
    ck_assert_int_eq(s->work.alert->kind, ALERT_FAILED);
    ck_assert_str_eq(s->work.alert->to.to, "#ops-alerts");
    ck_assert_int_eq(s->work.alert->line, 3);
    s = stage_of(c, "hookmesh.alert-3-late");
    ck_assert_uint_eq(s->after, AFTER_OPEN);
    ck_assert_str_eq(s->watch, "run.open.>");
    ck_assert_int_eq(s->work.alert->over_ms, 300000);
    ck_assert_str_eq(s->work.alert->condition, "duration > 5m");
    ck_assert_int_eq(s->work.alert->to.kind, DELIVERY_EMAIL);
    const struct pipeline *p = config_pipeline(c, STR("job.plain"));
    ck_assert_str_eq(p->after_failure, "hookmesh.dead-letter\thookmesh.alert-2\t"
                                       "hookmesh.alert-3\thookmesh.alert-4");
    ck_assert_str_eq(p->after_open, "hookmesh.alert-3-late\t300000");
    ck_assert_str_eq(p->after_skip, "hookmesh.alert-4");
    p = config_pipeline(c, STR("job.own"));
    ck_assert(str_starts(str_of(p->after_failure), "job.own.dead-letter\tjob.own.dead-letter-2\t"));
    ck_assert_ptr_null(strstr(p->after_failure, "hookmesh.dead-letter"));
    ck_assert_ptr_nonnull(strstr(p->after_success, "hookmesh.alert-1"));
    p = config_pipeline(c, STR("doc"));
    ck_assert_ptr_nonnull(strstr(p->after_failure, "hookmesh.alert-5"));
    ck_assert_ptr_nonnull(strstr(p->after_failure, "hookmesh.dead-letter"));
    ck_assert_ptr_null(strstr(p->after_success, "hookmesh.alert-1"));
    p = config_pipeline(c, STR("hookmesh"));
    ck_assert_ptr_null(p->after_failure);
    config_unref(c);
}
END_TEST

START_TEST(changes_of_keys_and_rows_start_jobs)
{
    setenv("HOOKMESH_TEST_DB", "postgresql://user:pass-of-the-db@localhost/db", 1);
    put_text(
        "x.yaml",
        "agents: [{name: analyst, command: [cat]}]\n"
        "jobs: [{name: j, command: [cat]}]\n"
        "pipelines:\n"
        "  - {name: doc, stages: [{name: a, watch: doc.*, command: [cat]}]}\n"
        "triggers:\n"
        "  - {type: kv, match: \"order.*.paid\", job: j}\n"
        "  - {type: kv, match: \"order.>\", job: j}\n"
        "  - {type: kv, match: \"stock.*\", pipeline: doc, name: restock}\n"
        "  - {type: kv, match: \"mail.*\", agent: analyst, task: Read it}\n"
        "  - {type: db_change, url_env: HOOKMESH_TEST_DB, table: sales.orders, job: j}\n"
        "  - {type: db_change, url_env: HOOKMESH_TEST_DB, table: sales.orders, job: j}\n"
        "  - {type: db_change, url: \"postgresql:///db\", name: people, table: person, column: "
        "uuid, events: [insert, delete], agent: analyst, when: \".op == \\\"insert\\\"\", "
        "input: .row}\n");
    struct config *c = load(false);
    const struct stage *s = stage_of(c, "trigger.j.start");
    ck_assert_str_eq(s->watch, "order.*.paid");
    ck_assert_int_eq(s->work.kind, WORK_START);
    ck_assert_str_eq(s->work.target, "job.j");
    ck_assert_str_eq(stage_of(c, "trigger.j-2.start")->watch, "order.>");
    ck_assert_str_eq(stage_of(c, "trigger.restock.start")->work.target, "doc");
    ck_assert_str_eq(stage_of(c, "trigger.analyst.start")->work.target, "job.trigger.analyst");
    ck_assert_str_eq(stage_of(c, "job.trigger.analyst.run")->work.task, "Read it");
    ck_assert_uint_eq(c->db_trigger_n, 3);
    const struct db_trigger *t = &c->db_triggers[0];
    ck_assert_str_eq(t->name, "sales-orders");
    ck_assert_str_eq(t->url, "postgresql://user:pass-of-the-db@localhost/db");
    ck_assert_str_eq(t->url_name, "HOOKMESH_TEST_DB");
    ck_assert_str_eq(t->table, "sales.orders");
    ck_assert_str_eq(t->column, "id");
    ck_assert_ptr_null(t->events);
    ck_assert_str_eq(t->pipeline, "job.j");
    ck_assert_int_eq(t->line, 10);
    ck_assert_str_eq(t[1].name, "sales-orders-2");
    ck_assert_str_eq(t[2].name, "people");
    ck_assert_str_eq(t[2].column, "uuid");
    ck_assert_str_eq(t[2].events[1], "delete");
    ck_assert_str_eq(t[2].when, ".op == \"insert\"");
    ck_assert_str_eq(t[2].input, ".row");
    ck_assert_str_eq(t[2].pipeline, "job.trigger.people");
    config_unref(c);
    struct buf b = {0};
    buf_puts(&b, "postgresql://user:pass-of-the-db@localhost/db");
    log_redact(&b, 0);
    ck_assert_ptr_null(strstr(b.p, "pass-of-the-db"));
    buf_finish(&b);
}
END_TEST

START_TEST(a_webhook_filters_and_reshapes)
{
    put_text("x.yaml", "jobs: [{name: j, command: [cat]}]\n"
                       "triggers:\n"
                       "  - type: webhook\n"
                       "    path: /hooks/gitlab\n"
                       "    insecure: true\n"
                       "    job: j\n"
                       "    events: [\"Push Hook\", \"Tag Push Hook\"]\n"
                       "    when: .payload.ref == \"refs/heads/main\"\n"
                       "    input: |\n"
                       "      {commits: [.payload.commits[].id],\n"
                       "       branch: .payload.ref}\n");
    struct config *c = load(false);
    ck_assert_str_eq(c->hooks[0].events[0], "Push Hook");
    ck_assert_str_eq(c->hooks[0].when, ".payload.ref == \"refs/heads/main\"");
    ck_assert_str_eq(c->hooks[0].input,
                     "{commits: [.payload.commits[].id],\n branch: .payload.ref}\n");
    ck_assert_str_eq(c->hooks[0].write, "job.j.{run}.input");
    config_unref(c);
}
END_TEST

START_TEST(the_caret_points_into_the_filter)
{
    static const struct {
        const char *line;
        const char *wanted;
    } cases[] = {
        {"    when: .payload | nope\n", "x.yaml:5:22: "},
        {"    when: \"1 | nope\"\n", "x.yaml:5:16: "},
        {"    when: '\"\xC3\xA4\xC3\xB6\" | nope'\n", "x.yaml:5:19: "},
        {"    when: |\n\n      1 |\n        nope\n", "x.yaml:8:9: "},
        {"    when: |2\n        1 | nope\n", "x.yaml:6:13: "},
        {"    when: >-\n      1 |\n      nope\n", "x.yaml:"},
        {"    when: \"1\\t| nope\"\n", "x.yaml:5:11: "},
        {"    when: 1 |\n      2 | nope\n", "x.yaml:5:11: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf y = {0};
        buf_puts(&y, "jobs: [{name: j, command: [cat]}]\ntriggers:\n"
                     "  - {type: kv, match: a.*, job: j}\n"
                     "  - type: webhook\n");
        buf_puts(&y, cases[i].line);
        buf_puts(&y, "    path: /hooks/x\n    insecure: true\n    job: j\n");
        put_file("x.yaml", buf_view(&y));
        struct buf report = load_bad(NULL);
        ck_assert_msg(str_starts(buf_view(&report), cases[i].wanted), "wanted %s got %s",
                      cases[i].wanted, report.p);
        assert_says(&report, "webhook /hooks/x: when: nope/0 is not defined");
        buf_finish(&report);
        buf_finish(&y);
    }
}
END_TEST

START_TEST(many_jobs_load_in_a_moment)
{
    struct buf y = {0};
    buf_puts(&y, "scheduler: {alerts: [{condition: job_failed, notify: slack}]}\njobs:\n");
    for (int i = 0; i < 4000; i++)
        buf_printf(&y, "  - {name: j%d, command: [cat], schedule: \"@daily\"}\n", i);
    put_file("x.yaml", buf_view(&y));
    struct config *c = load(false);
    ck_assert_uint_eq(c->job_n, 4000);
    ck_assert_uint_eq(c->schedule_n, 4000);
    ck_assert_str_eq(config_job(c, STR("j3999"))->pipeline, "job.j3999");
    ck_assert_ptr_eq(config_job(c, STR("job.j17")), config_job(c, STR("j17")));
    ck_assert_ptr_null(config_job(c, STR("j4000")));
    config_unref(c);
    buf_finish(&y);
}
END_TEST

START_TEST(jobs_that_multiply_within_each_other_are_refused)
{
    struct buf y = {0};
    buf_puts(&y, "jobs:\n  - {name: j0, command: [cat]}\n");
    for (int i = 1; i < 40; i++)
        buf_printf(&y, "  - {name: j%d, steps: [{job: j%d}, {job: j%d}]}\n", i, i - 1, i - 1);
    put_file("x.yaml", buf_view(&y));
    struct buf report = load_bad(NULL);
    assert_says(&report, "too many steps: at most 2000, with those of the jobs in it");
    buf_finish(&report);
    buf_clear(&y);
    buf_puts(&y, "jobs:\n  - {name: j0, command: [cat]}\n");
    for (int i = 1; i < 200; i++)
        buf_printf(&y, "  - {name: j%d, job: j%d}\n", i, i - 1);
    put_file("x.yaml", buf_view(&y));
    report = load_bad(NULL);
    assert_says(&report, "jobs within jobs: at most 50 levels");
    buf_finish(&report);
    buf_finish(&y);
}
END_TEST

START_TEST(every_example_of_the_reference_loads)
{
    struct buf text = {0};
    read_file(HOOKMESH_SOURCE_DIR "/config/README.md", &text);
    size_t examples = 0;
    setenv("DATABASE_URL", "postgresql://localhost/db", 1);
    for (const char *at = strstr(text.p, "```yaml\n"); at != NULL; at = strstr(at, "```yaml\n")) {
        struct buf report = {0};
        const char *end = strstr(at, "\n```\n");
        ck_assert_ptr_nonnull(end);
        put_file("x.yaml", (struct str){at + 8, (size_t)(end + 1 - at - 8)});
        struct config *c = config_load(".", NULL, true, &report);
        ck_assert_msg(c != NULL, "%s", report.p != NULL ? report.p : "");
        config_unref(c);
        buf_finish(&report);
        examples++;
        at = end;
    }
    ck_assert_uint_gt(examples, 6);
    buf_finish(&text);
}
END_TEST

START_TEST(what_is_not_defined_is_a_warning_when_that_is_asked_for)
{
    put_text("x.yaml", "jobs:\n"
                       "  - {name: a, agent: nobody}\n"
                       "  - {name: b, job: nothing}\n"
                       "  - {name: c, extension: none, job: x}\n"
                       "  - {name: d, steps: [{job: nothing}, {agent: nobody}, {job: a}]}\n");
    struct config *c = load(true);
    ck_assert_str_eq(c->warnings[0], "x.yaml:2:22: job \"a\": agent: there is no agent \"nobody\"");
    ck_assert_str_eq(c->warnings[1], "x.yaml:3:20: job \"b\": job: there is no job \"nothing\"");
    ck_assert_str_eq(c->warnings[2],
                     "x.yaml:4:26: job \"c\": extension: there is no extension \"none\"");
    ck_assert_int_eq(stage_of(c, "job.a.run")->work.kind, WORK_AGENT);
    ck_assert_int_eq(stage_of(c, "job.b.run")->work.kind, WORK_NONE);
    ck_assert_int_eq(stage_of(c, "job.c.run")->work.kind, WORK_EXTENSION);
    ck_assert_uint_eq(config_pipeline(c, STR("job.d"))->n, 3);
    config_unref(c);
}
END_TEST

Suite *config_jobs_suite(void)
{
    Suite *s = suite_create("config_jobs");
    TCase *t = tcase_create("jobs");
    tcase_add_checked_fixture(t, enter_temp_dir, leave_temp_dir);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, every_published_snippet_loads_as_it_stands);
    tcase_add_test(t, the_snippets_of_a_scheduler_make_its_jobs);
    tcase_add_test(t, a_job_in_a_file_of_its_own_has_the_name_of_the_file);
    tcase_add_test(t, a_workflow_is_wired_by_the_names_of_its_outputs);
    tcase_add_test(t, steps_fan_out_and_in);
    tcase_add_test(t, a_job_within_a_job_brings_its_steps);
    tcase_add_test(t, how_the_runs_of_a_job_start_is_read_whole);
    tcase_add_test(t, a_start_gives_parameters_and_gets_what_it_left_out);
    tcase_add_test(t, agents_are_read_whole);
    tcase_add_test(t, a_job_of_an_extension_is_a_job_by_its_name_alone);
    tcase_add_test(t, the_agent_of_a_webhook_is_a_job_of_its_own);
    tcase_add_test(t, a_kubernetes_cron_job_is_a_job);
    tcase_add_test(t, the_scheduler_section_makes_settings);
    tcase_add_test(t, what_follows_a_run_is_stages_that_its_end_feeds);
    tcase_add_test(t, deliveries_are_read_whole);
    tcase_add_test(t, dead_letters_and_alerts_are_stages_of_hookmesh);
    tcase_add_test(t, changes_of_keys_and_rows_start_jobs);
    tcase_add_test(t, a_webhook_filters_and_reshapes);
    tcase_add_test(t, the_caret_points_into_the_filter);
    tcase_add_test(t, many_jobs_load_in_a_moment);
    tcase_add_test(t, jobs_that_multiply_within_each_other_are_refused);
    tcase_add_test(t, every_example_of_the_reference_loads);
    tcase_add_test(t, what_is_not_defined_is_a_warning_when_that_is_asked_for);
    suite_add_tcase(s, t);
    return s;
}
