/* SPDX-License-Identifier: Apache-2.0 */
/* Webhook deliveries against the whole server: what is taken, what is refused and why, and that each stands in the ledger. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "flow/world.h"
#include "handlers/verify.h"

Suite *hooks_suite(void);

#define SECRET "It's a Secret to Everybody"

static const char config[] =
    "triggers:\n"
    "  - {type: webhook, path: /hooks/github, write: \"in.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/some, scheme: github, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     events: [push, pull_request.opened], write: \"some.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/small, scheme: github, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     max_body: 1000, write: \"small.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/sum, scheme: hmac-sha256, header: X-Acme-Sum,\n"
    "     secret_env: HOOKMESH_SECRET_GITHUB, write: \"sum.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/token, scheme: token, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     write: \"token.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/open, scheme: github, secret_env: NOT_THERE, insecure: "
    "true,\n"
    "     write: \"open.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/bare, scheme: github, write: \"bare.{run}.event\"}\n"
    "  - {type: webhook, path: /hooks/fails, scheme: github, secret_env: HOOKMESH_SECRET_GITHUB,\n"
    "     pipeline: fails}\n"
    "pipelines:\n"
    "  - name: fails\n"
    "    stages:\n"
    "      - {name: only, watch: \"fails.*.event\", command: [\"false\"], write: "
    "\"fails.{1}.out\",\n"
    "         retry: {max_attempts: 1}}\n";

static struct world *w;

static void open_world(void)
{
    w = world_make();
    world_env(w, "HOOKMESH_SECRET_GITHUB=" SECRET);
    world_config(w, "main.yaml", config);
}

static void close_world(void)
{
    world_free(w);
}

static struct world_reply push(const char *path, const char *delivery, struct str body)
{
    return world_github(w, path, "push", delivery, SECRET, body);
}

/* The value at a dotted path of an answer's JSON, as a copy that lives until the eighth next call. */
static const char *field(struct world_reply *r, const char *where)
{
    static char ring[8][512];
    static unsigned turn;
    char *text = ring[turn++ % 8];
    struct str s = json_str(json_path(r->json != NULL ? r->json : world_json(r), where));
    snprintf(text, sizeof ring[0], "%.*s", (int)s.n, s.p != NULL ? s.p : "");
    return text;
}

static void finish(struct world_reply *r)
{
    world_reply_finish(r);
}

/* Waits for the ledger's line of a delivery, by the sender's id or ours, and checks it. */
static void ledger_says(const char *id, const char *outcome, const char *reason)
{
    char path[256];
    snprintf(path, sizeof path, "/v1/deliveries/%s", id);
    world_wait_json(w, path, "outcome", outcome);
    struct world_reply r = world_get_json(w, path);
    ck_assert_msg(reason == NULL || strstr(field(&r, "reason"), reason) != NULL, "%s: %.*s", id,
                  (int)r.body.n, r.body.p);
    ck_assert_msg(strstr(r.body.p, SECRET) == NULL, "%s", r.body.p);
    finish(&r);
}

static void is_problem(struct world_reply *r, int status, const char *text)
{
    ck_assert_msg(r->status == status, "%d instead of %d: %.*s", r->status, status, (int)r->body.n,
                  r->body.p);
    ck_assert(str_is(world_header(r, "content-type"), "application/problem+json"));
    ck_assert_int_eq(json_int(json_get(world_json(r), "status"), 0), status);
    ck_assert_msg(strstr(field(r, "detail"), text) != NULL, "%.*s", (int)r->body.n, r->body.p);
    ck_assert(strlen(field(r, "title")) > 0);
}

/* How many things a listing has. */
static void there_are(size_t n, const char *path)
{
    struct world_reply r = world_get_json(w, path);
    ck_assert_msg(json_size(r.json) == n, "%s: %.*s", path, (int)r.body.n, r.body.p);
    finish(&r);
}

START_TEST(a_signed_push_becomes_one_run_whose_input_holds_its_bytes)
{
    world_start(w);
    struct str body =
        STR("{\"ref\": \"refs/heads/main\", \"n\": 1.0e2, \"repository\": {\"full_name\": "
            "\"o/r\"}}");
    struct world_reply r = push("/hooks/github", "d-1", body);
    ck_assert_int_eq(r.status, 202);
    const char *run = field(&r, "run_id");
    char location[128], path[128], want[512];
    snprintf(location, sizeof location, "/v1/runs/%s", run);
    ck_assert(str_is(world_header(&r, "location"), location));
    snprintf(path, sizeof path, "/v1/kv/in.%s.event", run);
    struct world_reply v = world_get_json(w, path);
    snprintf(want, sizeof want, ",\"payload\":%s}", body.p);
    ck_assert_msg(str_ends(buf_view(&v.body), want), "%s", v.body.p);
    ck_assert_str_eq(field(&v, "event"), "push");
    ck_assert_str_eq(field(&v, "delivery"), "d-1");
    ck_assert_str_eq(field(&v, "hook"), "/hooks/github");
    ck_assert_str_eq(field(&v, "headers.x-github-event"), "push");
    ck_assert_ptr_null(strstr(v.body.p, "sha256="));
    struct world_reply one = world_get_json(w, location);
    ck_assert_str_eq(field(&one, "id"), run);
    ledger_says("d-1", "accepted", NULL);
    ledger_says(field(&r, "delivery_id"), "accepted", NULL);
    finish(&one);
    finish(&v);
    finish(&r);
}
END_TEST

struct bad {
    const char *method;
    const char *path;
    const char *headers;
    const char *secret; /* NULL: unsigned */
    const char *body;
    size_t n;
    int status;
    const char *detail;
    const char *outcome;
};
#define TEXT(s) s, sizeof(s) - 1
#define JSON    "Content-Type: application/json\r\n"
#define FORM    "Content-Type: application/x-www-form-urlencoded\r\n"

static const struct bad bads[] = {
    {"POST", "/hooks/github", JSON, NULL, TEXT("{}"), 401, "X-Hub-Signature-256 is missing",
     "rejected"},
    {"POST", "/hooks/github", JSON "X-Hub-Signature-256: sha256=abc\r\n", NULL, TEXT("{}"), 401,
     "not of the form sha256=", "rejected"},
    {"POST", "/hooks/github", JSON "X-Hub-Signature-256: sha1=00\r\n", NULL, TEXT("{}"), 401,
     "not of the form sha256=", "rejected"},
    {"POST", "/hooks/github", JSON, "another secret", TEXT("{}"), 401, "signature does not match",
     "rejected"},
    {"POST", "/hooks/bare", JSON, SECRET, TEXT("{}"), 401, "HOOKMESH_SECRET_BARE", "rejected"},
    {"POST", "/hooks/sum", JSON, SECRET, TEXT("{}"), 401, "X-Acme-Sum is missing", "rejected"},
    {"POST", "/hooks/token", JSON "Authorization: Bearer nonsense\r\n", NULL, TEXT("{}"), 401,
     "does not match", "rejected"},
    {"GET", "/hooks/github", "", NULL, TEXT(""), 405, "sent with POST", "rejected"},
    {"PUT", "/hooks/github", JSON, SECRET, TEXT("{}"), 405, "sent with POST", "rejected"},
    {"DELETE", "/hooks/github", "", NULL, TEXT(""), 405, "sent with POST", "rejected"},
    {"POST", "/hooks/nowhere", JSON, SECRET, TEXT("{}"), 404, "/hooks/nowhere", "unrouted"},
    {"POST", "/hooks/github/", JSON, SECRET, TEXT("{}"), 404, "/hooks/github/", "unrouted"},
    {"GET", "/hooks/nowhere", "", NULL, TEXT(""), 404, "/hooks/nowhere", "unrouted"},
    {"POST", "/hooks/github", JSON, SECRET, TEXT(""), 400, "empty", "rejected"},
    {"POST", "/hooks/github", JSON, SECRET, TEXT("not json"), 400, "not valid JSON", "rejected"},
    {"POST", "/hooks/github", JSON, SECRET, TEXT("{\"a\":1"), 400, "not valid JSON", "rejected"},
    {"POST", "/hooks/github", JSON, SECRET, TEXT("{\"a\":\"\xC3\x28\"}"), 400, "UTF-8", "rejected"},
    {"POST", "/hooks/github", JSON, SECRET, TEXT("{\"a\":\"\0\"}"), 400, "NUL byte", "rejected"},
    {"POST", "/hooks/github", FORM, SECRET, TEXT("a=b"), 400, "no field named payload", "rejected"},
    {"POST", "/hooks/github", FORM, SECRET, TEXT("payload=%zz"), 400, "bad % escape", "rejected"},
    {"POST", "/hooks/github", "Content-Type: text/plain\r\n", SECRET, TEXT("{}"), 415,
     "text/plain is not taken", "rejected"},
    {"POST", "/hooks/github", "Content-Type: application/xml\r\n", SECRET, TEXT("<a/>"), 415,
     "send application/json", "rejected"},
};

static void send_bad(const struct bad *b, const char *id)
{
    struct buf headers = {0};
    struct str body = {b->body, b->n};
    buf_printf(&headers, "%sX-GitHub-Event: push\r\nX-GitHub-Delivery: %s\r\nX-Delivery-Id: %s\r\n",
               b->headers, id, id);
    if (b->secret != NULL)
        world_sign_github(&headers, b->secret, body);
    struct world_reply r = world_http(w, b->method, b->path, headers.p, body);
    is_problem(&r, b->status, b->detail);
    ck_assert_ptr_null(strstr(r.body.p, SECRET));
    if (b->status == 405)
        ck_assert(str_is(world_header(&r, "allow"), "POST"));
    if (b->status == 401)
        ck_assert_ptr_nonnull(world_header(&r, "www-authenticate").p);
    ledger_says(id, b->outcome, b->detail);
    finish(&r);
    buf_finish(&headers);
}

START_TEST(each_bad_delivery_gets_its_status_its_reason_and_a_line_in_the_ledger)
{
    world_start(w);
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        char id[32];
        snprintf(id, sizeof id, "bad-%zu", i);
        send_bad(&bads[i], id);
    }
    there_are(0, "/v1/runs?limit=100");
}
END_TEST

START_TEST(json_of_200_000_levels_is_refused)
{
    world_start(w);
    struct buf deep = {0};
    for (int i = 0; i < 200000; i++)
        buf_puts(&deep, "{\"a\":");
    buf_char(&deep, '1');
    for (int i = 0; i < 200000; i++)
        buf_char(&deep, '}');
    struct world_reply r = push("/hooks/github", "deep", buf_view(&deep));
    is_problem(&r, 400, "deep");
    ledger_says("deep", "rejected", "deep");
    finish(&r);
    buf_finish(&deep);
}
END_TEST

/* The newest line with that outcome has this reason. */
static bool has_reason(void *arg)
{
    struct world_reply r = world_get_json(w, "/v1/deliveries?outcome=rejected&limit=1");
    bool there = strstr(r.body.p, arg) != NULL;
    finish(&r);
    return there;
}

static void newest_rejection_says(char *text)
{
    ck_assert_msg(world_wait_until(has_reason, text, WORLD_TIMEOUT_MS), "%s", text);
}

START_TEST(a_body_beyond_the_trigger_s_limit_is_413_however_it_is_framed)
{
    world_start(w);
    struct buf big = {0};
    buf_char(&big, '"');
    while (big.n < 1000)
        buf_char(&big, 'x');
    buf_char(&big, '"');
    struct world_reply r = push("/hooks/small", "large-1", buf_view(&big));
    is_problem(&r, 413, "larger than 1000 bytes");
    ledger_says("large-1", "rejected", "larger than 1000 bytes");
    finish(&r);
    struct buf chunked = {0};
    buf_puts(&chunked, "POST /hooks/small HTTP/1.1\r\nHost: x\r\nX-GitHub-Delivery: large-2\r\n"
                       "Transfer-Encoding: chunked\r\n");
    world_sign_github(&chunked, SECRET, buf_view(&big));
    buf_printf(&chunked, "\r\n%zx\r\n%s\r\n0\r\n\r\n", big.n, big.p);
    r = world_raw(w, buf_view(&chunked));
    is_problem(&r, 413, "");
    ledger_says("large-2", "rejected", NULL);
    finish(&r);
    buf_finish(&chunked);
    buf_finish(&big);
}
END_TEST

START_TEST(a_body_beyond_the_setting_is_413_before_it_was_sent)
{
    world_start(w);
    struct world_reply r = world_raw(w, STR("POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                                            "X-GitHub-Delivery: announced\r\n"
                                            "Content-Length: 27000000000\r\n\r\n"));
    is_problem(&r, 413, "");
    ledger_says("announced", "rejected", NULL);
    finish(&r);
}
END_TEST

START_TEST(a_body_of_exactly_the_limit_is_taken)
{
    world_start(w);
    struct buf body = {0};
    buf_char(&body, '"');
    while (body.n < 999)
        buf_char(&body, 'x');
    buf_char(&body, '"');
    struct world_reply r = push("/hooks/small", "exact", buf_view(&body));
    ck_assert_int_eq(r.status, 202);
    finish(&r);
    buf_finish(&body);
}
END_TEST

START_TEST(a_body_that_does_not_come_is_a_timeout_in_the_ledger)
{
    world_config(w, "settings.yaml", "settings: {body_timeout: 300ms}\n");
    world_start(w);
    struct world_reply r = world_raw(w, STR("POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                                            "X-GitHub-Delivery: slow\r\n"
                                            "Content-Length: 100\r\n\r\n{\"a\":"));
    ck_assert_int_eq(r.status, 408);
    ledger_says("slow", "rejected", NULL);
    finish(&r);
}
END_TEST

START_TEST(bad_header_bytes_and_bad_framing_are_400_and_in_the_ledger)
{
    world_start(w);
    struct world_reply r = world_raw(w, STR("POST /hooks/github HTTP/1.1\r\nHost: x\r\n"
                                            "X-Odd: a\x01z\r\nContent-Length: 2\r\n\r\n{}"));
    ck_assert_int_eq(r.status, 400);
    finish(&r);
    newest_rejection_says("\"status\":400");
    r = world_raw(w, STR("POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                         "Content-Length: 3\r\n\r\n{}"));
    ck_assert_int_eq(r.status, 400);
    finish(&r);
    struct world_reply list = world_get_json(w, "/v1/deliveries?outcome=rejected");
    finish(&list);
}
END_TEST

START_TEST(names_in_headers_are_bounded_and_clean)
{
    world_start(w);
    struct buf headers = {0};
    buf_puts(&headers, JSON "X-GitHub-Event: push\r\nX-GitHub-Delivery: ");
    for (int i = 0; i < 300; i++)
        buf_char(&headers, 'x');
    buf_puts(&headers, "\r\n");
    world_sign_github(&headers, SECRET, STR("{}"));
    struct world_reply r = world_http(w, "POST", "/hooks/github", headers.p, STR("{}"));
    is_problem(&r, 400, "longer than 256 bytes");
    newest_rejection_says("longer than 256 bytes");
    finish(&r);
    buf_clear(&headers);
    buf_puts(&headers, JSON "X-GitHub-Event: p\xC3(sh\r\nX-GitHub-Delivery: odd\r\n");
    world_sign_github(&headers, SECRET, STR("{}"));
    r = world_http(w, "POST", "/hooks/github", headers.p, STR("{}"));
    ck_assert_int_eq(r.status, 400);
    finish(&r);
    buf_finish(&headers);
}
END_TEST

START_TEST(a_form_is_signed_as_it_came_and_read_as_json)
{
    world_start(w);
    struct buf headers = {0};
    struct str body = STR("payload=%7B%22ref%22%3A+%22refs%2Fheads%2Fmain%22%7D");
    buf_puts(&headers, FORM "X-GitHub-Event: push\r\nX-GitHub-Delivery: form-1\r\n");
    world_sign_github(&headers, SECRET, body);
    struct world_reply r = world_http(w, "POST", "/hooks/github", headers.p, body);
    ck_assert_int_eq(r.status, 202);
    char path[128];
    snprintf(path, sizeof path, "/v1/kv/in.%s.event", field(&r, "run_id"));
    struct world_reply v = world_get_json(w, path);
    ck_assert_str_eq(field(&v, "payload.ref"), "refs/heads/main");
    finish(&v);
    finish(&r);
    buf_finish(&headers);
}
END_TEST

START_TEST(other_schemes_are_rows_that_work)
{
    world_start(w);
    struct buf headers = {0};
    buf_puts(&headers, JSON "X-Delivery-Id: sum-1\r\nX-Event: built\r\nX-Acme-Sum: ");
    verify_sign(&headers, verify_scheme("hmac-sha256"), STR(SECRET), STR("{}"));
    buf_puts(&headers, "\r\n");
    struct world_reply r = world_http(w, "POST", "/hooks/sum", headers.p, STR("{}"));
    ck_assert_int_eq(r.status, 202);
    ledger_says("sum-1", "accepted", NULL);
    finish(&r);
    r = world_http(w, "POST", "/hooks/token",
                   JSON "X-Delivery-Id: token-1\r\nAuthorization: Bearer " SECRET "\r\n",
                   STR("{}"));
    ck_assert_int_eq(r.status, 202);
    ledger_says("token-1", "accepted", NULL);
    finish(&r);
    r = world_http(w, "POST", "/hooks/open", "X-GitHub-Delivery: open-1\r\n", STR("{}"));
    ck_assert_int_eq(r.status, 202); /* no content type: JSON */
    finish(&r);
    buf_finish(&headers);
    verify_finish();
}
END_TEST

START_TEST(a_ping_is_greeted_and_starts_nothing)
{
    world_start(w);
    struct world_reply r =
        world_github(w, "/hooks/github", "ping", "ping-1", SECRET, STR("{\"zen\":\"x\"}"));
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(field(&r, "outcome"), "ping");
    ledger_says("ping-1", "ping", NULL);
    there_are(0, "/v1/runs?limit=100");
    finish(&r);
}
END_TEST

START_TEST(an_event_that_is_filtered_out_is_recorded_and_starts_nothing)
{
    world_start(w);
    struct world_reply r =
        world_github(w, "/hooks/some", "issues", "f-1", SECRET, STR("{\"action\":\"opened\"}"));
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(field(&r, "outcome"), "filtered");
    ledger_says("f-1", "filtered", "issues.opened is not among the trigger's events");
    finish(&r);
    r = world_github(w, "/hooks/some", "pull_request", "f-2", SECRET,
                     STR("{\"action\":\"closed\"}"));
    ck_assert_int_eq(r.status, 200);
    finish(&r);
    r = world_github(w, "/hooks/some", "pull_request", "f-3", SECRET,
                     STR("{\"action\":\"opened\"}"));
    ck_assert_int_eq(r.status, 202);
    finish(&r);
    there_are(1, "/v1/runs?limit=100");
}
END_TEST

START_TEST(the_same_delivery_again_is_the_same_run_until_that_fails)
{
    world_start(w);
    struct world_reply first = push("/hooks/github", "same", STR("{}"));
    struct world_reply again = push("/hooks/github", "same", STR("{}"));
    ck_assert_int_eq(first.status, 202);
    ck_assert_int_eq(again.status, 200);
    ck_assert_str_eq(field(&again, "outcome"), "duplicate");
    ck_assert_str_eq(field(&again, "run_id"), field(&first, "run_id"));
    there_are(1, "/v1/runs?limit=100");
    there_are(1, "/v1/kv?match=in.*.event");
    /* Another hook is another matter. */
    struct world_reply other = push("/hooks/some", "same", STR("{}"));
    ck_assert_int_eq(other.status, 202);
    finish(&other);
    finish(&again);
    finish(&first);
    first = push("/hooks/fails", "failing", STR("{}"));
    ck_assert_int_eq(first.status, 202);
    char path[128];
    snprintf(path, sizeof path, "/v1/runs/%s", field(&first, "run_id"));
    world_wait_json(w, path, "state", "dead");
    again = push("/hooks/fails", "failing", STR("{}"));
    ck_assert_int_eq(again.status, 202);
    ck_assert_str_ne(field(&again, "run_id"), field(&first, "run_id"));
    finish(&again);
    finish(&first);
}
END_TEST

/* The ledger's pages. */

START_TEST(the_ledger_lists_newest_first_by_pages_and_by_outcome)
{
    world_start(w);
    for (int i = 0; i < 7; i++) {
        char id[16];
        snprintf(id, sizeof id, "page-%d", i);
        struct world_reply r =
            world_github(w, "/hooks/some", i % 2 == 0 ? "push" : "issues", id, SECRET, STR("{}"));
        ck_assert_int_eq(r.status, i % 2 == 0 ? 202 : 200);
        ledger_says(id, i % 2 == 0 ? "accepted" : "filtered", NULL);
        finish(&r);
    }
    char path[256] = "/v1/deliveries?limit=3";
    int seen = 6;
    for (int page = 0; page < 3; page++) {
        struct world_reply r = world_get_json(w, path);
        size_t n = json_size(r.json);
        ck_assert_uint_eq(n, page < 2 ? 3 : 1);
        for (size_t i = 0; i < n; i++, seen--) {
            char id[16];
            snprintf(id, sizeof id, "page-%d", seen);
            ck_assert(str_is(json_str(json_get(json_at(r.json, i), "delivery")), id));
        }
        struct str link = world_header(&r, "link");
        ck_assert_int_eq(link.n != 0, page < 2);
        if (link.n != 0) {
            ck_assert(str_starts(link, "<") && str_ends(link, ">; rel=\"next\""));
            snprintf(path, sizeof path, "%.*s", (int)(link.n - 14), link.p + 1);
            path[strcspn(path, ">")] = '\0';
        }
        finish(&r);
    }
    struct world_reply r = world_get_json(w, "/v1/deliveries?outcome=filtered");
    ck_assert_uint_eq(json_size(r.json), 3);
    finish(&r);
    r = world_http(w, "GET", "/v1/deliveries?outcome=odd", NULL, STR(""));
    is_problem(&r, 400, "there is no outcome odd");
    finish(&r);
    r = world_http(w, "GET", "/v1/deliveries?limit=0", NULL, STR(""));
    is_problem(&r, 400, "");
    finish(&r);
    r = world_http(w, "GET", "/v1/deliveries/nobody", NULL, STR(""));
    is_problem(&r, 404, "nobody");
    finish(&r);
}
END_TEST

/* Replays. */

static struct world_reply replay(const char *id)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/deliveries/%s/replay", id);
    return world_http(w, "POST", path, NULL, STR(""));
}

static bool is_routed(void *arg)
{
    struct world_reply *r = arg;
    finish(r);
    *r = replay("lost");
    return r->status != 409;
}

START_TEST(an_unrouted_delivery_is_replayed_after_its_trigger_was_added)
{
    world_start(w);
    struct world_reply r = push("/hooks/late", "lost", STR("{\"n\":1}"));
    ck_assert_int_eq(r.status, 404);
    finish(&r);
    ledger_says("lost", "unrouted", NULL);
    r = replay("lost");
    is_problem(&r, 409, "/hooks/late");
    world_config(w, "late.yaml",
                 "triggers:\n  - {type: webhook, path: /hooks/late, scheme: github, "
                 "secret_env: HOOKMESH_SECRET_GITHUB, write: \"late.{run}.event\"}\n");
    ck_assert(world_wait_until(is_routed, &r, WORLD_TIMEOUT_MS));
    ck_assert_int_eq(r.status, 202);
    ck_assert_str_eq(field(&r, "replay_of"), "lost");
    char path[128];
    snprintf(path, sizeof path, "/v1/kv/late.%s.event", field(&r, "run_id"));
    struct world_reply v = world_get_json(w, path);
    ck_assert_int_eq(json_int(json_path(v.json, "payload.n"), 0), 1);
    ck_assert_str_eq(field(&v, "event"), "push");
    char line[128];
    snprintf(line, sizeof line, "/v1/deliveries/%s", field(&r, "delivery_id"));
    struct world_reply l = world_get_json(w, line);
    ck_assert_str_eq(field(&l, "cause"), "replay");
    finish(&l);
    finish(&v);
    finish(&r);
}
END_TEST

START_TEST(a_refused_delivery_is_replayed_on_the_word_of_the_operator)
{
    world_start(w);
    struct world_reply r =
        world_github(w, "/hooks/github", "push", "unsigned", "wrong", STR("{\"n\":2}"));
    ck_assert_int_eq(r.status, 401);
    finish(&r);
    ledger_says("unsigned", "rejected", NULL);
    r = replay("unsigned");
    ck_assert_int_eq(r.status, 202);
    finish(&r);
}
END_TEST

START_TEST(an_accepted_delivery_is_replayed_as_a_second_run_also_one_that_came_as_a_form)
{
    world_start(w);
    struct buf headers = {0};
    struct str body = STR("payload=%7B%22n%22%3A3%7D");
    buf_puts(&headers, FORM "X-GitHub-Event: push\r\nX-GitHub-Delivery: twice\r\n");
    world_sign_github(&headers, SECRET, body);
    struct world_reply first = world_http(w, "POST", "/hooks/github", headers.p, body);
    ck_assert_int_eq(first.status, 202);
    struct world_reply r = replay("twice");
    ck_assert_int_eq(r.status, 202);
    ck_assert_str_ne(field(&r, "run_id"), field(&first, "run_id"));
    char path[128];
    snprintf(path, sizeof path, "/v1/kv/in.%s.event", field(&r, "run_id"));
    struct world_reply v = world_get_json(w, path);
    ck_assert_int_eq(json_int(json_path(v.json, "payload.n"), 0), 3);
    ck_assert_str_eq(field(&v, "event"), "push");
    finish(&v);
    finish(&r);
    finish(&first);
    buf_finish(&headers);
}
END_TEST

START_TEST(a_replay_that_is_filtered_or_wrong_says_so_in_the_ledger)
{
    world_start(w);
    struct world_reply r = world_github(w, "/hooks/some", "issues", "no", SECRET, STR("{}"));
    finish(&r);
    ledger_says("no", "filtered", NULL);
    r = replay("no");
    ck_assert_int_eq(r.status, 200);
    ck_assert_str_eq(field(&r, "outcome"), "filtered");
    ledger_says(field(&r, "delivery_id"), "filtered", "replay of no: ");
    finish(&r);
    r = push("/hooks/some", "odd", STR("{"));
    finish(&r);
    ledger_says("odd", "rejected", NULL);
    r = replay("odd");
    is_problem(&r, 400, "not valid JSON");
    finish(&r);
    r = replay("unknown");
    is_problem(&r, 404, "unknown");
    finish(&r);
}
END_TEST

/* Redis away. */

static void has_run(const char *run)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/runs/%s", run);
    world_wait_json(w, path, "id", run);
}

static bool redis_is_missed(void *arg)
{
    (void)arg;
    return world_has_log(w, "mod=store event=down");
}

START_TEST(deliveries_are_taken_while_redis_is_away_and_run_when_it_is_back)
{
    world_redis_start(w);
    world_start(w);
    world_redis_stop(w);
    ck_assert(world_wait_until(redis_is_missed, NULL, WORLD_TIMEOUT_MS));
    struct world_reply r = push("/hooks/github", "away-1", STR("{\"n\":1}"));
    ck_assert_int_eq(r.status, 202);
    ck_assert(json_bool(json_get(world_json(&r), "spooled"), false));
    /* What is wrong is still refused: a spool is for what may be believed. */
    struct world_reply bad = world_github(w, "/hooks/github", "push", "away-2", "wrong", STR("{}"));
    ck_assert_int_eq(bad.status, 401);
    struct world_reply list = world_http(w, "GET", "/v1/deliveries", NULL, STR(""));
    is_problem(&list, 503, "");
    ck_assert_ptr_nonnull(world_header(&list, "retry-after").p);
    world_redis_start(w);
    has_run(field(&r, "run_id"));
    ledger_says("away-1", "accepted", NULL);
    ledger_says("away-2", "rejected", NULL);
    finish(&list);
    finish(&bad);
    finish(&r);
}
END_TEST

START_TEST(spooled_deliveries_survive_a_kill_of_the_server)
{
    world_redis_start(w);
    world_start(w);
    world_redis_stop(w);
    ck_assert(world_wait_until(redis_is_missed, NULL, WORLD_TIMEOUT_MS));
    char runs[20][64];
    for (int i = 0; i < 20; i++) {
        char id[16];
        snprintf(id, sizeof id, "kill-%d", i);
        struct world_reply r = push("/hooks/github", id, STR("{}"));
        ck_assert_int_eq(r.status, 202);
        snprintf(runs[i], sizeof runs[i], "%s", field(&r, "run_id"));
        finish(&r);
    }
    world_kill9(w);
    world_launch(w);
    world_redis_start(w);
    for (int i = 0; i < 20; i++)
        has_run(runs[i]);
    there_are(20, "/v1/runs?limit=100");
}
END_TEST

START_TEST(with_the_spool_off_a_delivery_gets_503_and_when_to_come_again)
{
    world_config(w, "settings.yaml", "settings: {spool: false}\n");
    world_redis_start(w);
    world_start(w);
    world_redis_stop(w);
    ck_assert(world_wait_until(redis_is_missed, NULL, WORLD_TIMEOUT_MS));
    struct world_reply r = push("/hooks/github", "off-1", STR("{}"));
    is_problem(&r, 503, "setting spool");
    ck_assert_ptr_nonnull(world_header(&r, "retry-after").p);
    finish(&r);
    world_redis_start(w);
    world_wait_log(w, "mod=store event=up");
}
END_TEST

START_TEST(a_redis_that_hears_nothing_does_not_keep_the_sender_waiting)
{
    world_redis_start(w);
    world_start(w);
    world_redis_pause(w);
    int64_t begin = clock_mono_us();
    struct world_reply r = push("/hooks/github", "deaf-1", STR("{}"));
    ck_assert_int_eq(r.status, 202);
    ck_assert(json_bool(json_get(world_json(&r), "spooled"), false));
    ck_assert_int_lt(clock_mono_us() - begin, 10 * 1000000);
    world_redis_resume(w);
    has_run(field(&r, "run_id"));
    world_wait_log(w, "mod=spool event=drained");
    there_are(1, "/v1/runs?limit=100");
    finish(&r);
}
END_TEST

START_TEST(deliveries_are_counted_by_outcome)
{
    world_start(w);
    struct world_reply r = push("/hooks/github", "count-1", STR("{}"));
    finish(&r);
    r = push("/hooks/github", "count-1", STR("{}"));
    finish(&r);
    r = push("/hooks/github", "count-2", STR("{"));
    finish(&r);
    r = world_http(w, "GET", "/metrics", NULL, STR(""));
    ck_assert_ptr_nonnull(strstr(r.body.p, "hookmesh_deliveries_total{outcome=\"accepted\"} 1"));
    ck_assert_ptr_nonnull(strstr(r.body.p, "hookmesh_deliveries_total{outcome=\"duplicate\"} 1"));
    ck_assert_ptr_nonnull(strstr(r.body.p, "hookmesh_deliveries_total{outcome=\"rejected\"} 1"));
    finish(&r);
}
END_TEST

Suite *hooks_suite(void)
{
    Suite *s = suite_create("hooks");
    TCase *t = tcase_create("hooks");
    tcase_add_checked_fixture(t, open_world, close_world);
    tcase_add_test(t, a_signed_push_becomes_one_run_whose_input_holds_its_bytes);
    tcase_add_test(t, each_bad_delivery_gets_its_status_its_reason_and_a_line_in_the_ledger);
    tcase_add_test(t, json_of_200_000_levels_is_refused);
    tcase_add_test(t, a_body_beyond_the_trigger_s_limit_is_413_however_it_is_framed);
    tcase_add_test(t, a_body_beyond_the_setting_is_413_before_it_was_sent);
    tcase_add_test(t, a_body_of_exactly_the_limit_is_taken);
    tcase_add_test(t, a_body_that_does_not_come_is_a_timeout_in_the_ledger);
    tcase_add_test(t, bad_header_bytes_and_bad_framing_are_400_and_in_the_ledger);
    tcase_add_test(t, names_in_headers_are_bounded_and_clean);
    tcase_add_test(t, a_form_is_signed_as_it_came_and_read_as_json);
    tcase_add_test(t, other_schemes_are_rows_that_work);
    tcase_add_test(t, a_ping_is_greeted_and_starts_nothing);
    tcase_add_test(t, an_event_that_is_filtered_out_is_recorded_and_starts_nothing);
    tcase_add_test(t, the_same_delivery_again_is_the_same_run_until_that_fails);
    tcase_add_test(t, the_ledger_lists_newest_first_by_pages_and_by_outcome);
    tcase_add_test(t, an_unrouted_delivery_is_replayed_after_its_trigger_was_added);
    tcase_add_test(t, a_refused_delivery_is_replayed_on_the_word_of_the_operator);
    tcase_add_test(t,
                   an_accepted_delivery_is_replayed_as_a_second_run_also_one_that_came_as_a_form);
    tcase_add_test(t, a_replay_that_is_filtered_or_wrong_says_so_in_the_ledger);
    tcase_add_test(t, deliveries_are_taken_while_redis_is_away_and_run_when_it_is_back);
    tcase_add_test(t, spooled_deliveries_survive_a_kill_of_the_server);
    tcase_add_test(t, with_the_spool_off_a_delivery_gets_503_and_when_to_come_again);
    tcase_add_test(t, a_redis_that_hears_nothing_does_not_keep_the_sender_waiting);
    tcase_add_test(t, deliveries_are_counted_by_outcome);
    suite_add_tcase(s, t);
    return s;
}
