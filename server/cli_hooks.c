/* SPDX-License-Identifier: Apache-2.0 */
/* deliveries, and send: the other end of a webhook. send signs the bytes that it sends, by the same table of schemes
 * that the server checks with; the samples are payloads of our own, so it works without a network. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "cli_parts.h"
#include "handlers/verify.h"

/* Deliveries. */

static void add_delivery(struct table *t, const struct json *d)
{
    const struct json *reason = json_get(d, "reason");
    table_cell_json(t, json_get(d, "id"));
    table_cell_json(t, json_get(d, "outcome"));
    table_cell_age(t, json_get(d, "received_at"));
    table_cell_json(t, json_get(d, "hook"));
    table_cell_json(t, json_get(d, "event"));
    table_cell(t, json_str(reason).n != 0 ? json_str(reason) : json_str(json_get(d, "run")));
}

int cli_deliveries_list(struct cli *c)
{
    static const char *const heads[] = {"DELIVERY", "OUTCOME",       "AGE", "HOOK",
                                        "EVENT",    "RUN OR REASON", NULL};
    char *path = list_path(c, "/v1/deliveries");
    int code = cli_list(c, path, heads, add_delivery);
    mem_free(path);
    return code;
}

static void print_member(const char *name, const struct json *j)
{
    struct buf b = {0};
    struct buf value = {0};
    if (json_type_of(j) == J_STR)
        buf_str(&value, json_str(j));
    else
        json_dump(&value, j, false);
    buf_printf(&b, "%-12s ", name);
    clean_text(&b, buf_view(&value));
    print_line(buf_view(&b));
    buf_finish(&value);
    buf_finish(&b);
}

static char *delivery_path(const char *id, const char *more)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/deliveries");
    path_segment(&path, str_of(id));
    buf_puts(&path, more);
    return buf_take(&path);
}

int cli_deliveries_show(struct cli *c)
{
    int code;
    char *path = delivery_path(c->args[0], "");
    struct json *d = cli_get(c, path, &code);
    mem_free(path);
    if (d != NULL && cli_wants_json(c))
        code = cli_print(c, d);
    else
        for (void *it = json_iter(d); it != NULL; it = json_next(d, it))
            print_member(json_iter_key(it), json_iter_value(it));
    json_free(d);
    return code;
}

/* What a hook's answer says: "accepted: run 0193... (delivery 0193...)". */
static void print_outcome(struct cli *c, const struct answer *a)
{
    if (c->flags[FLAG_JSON] != NULL) {
        print_json_text(str_trim(buf_view(&a->body)));
        return;
    }
    struct json *j = json_parse(buf_view(&a->body), NULL);
    struct str outcome = json_str(json_get(j, "outcome"));
    struct str run = json_str(json_get(j, "run_id"));
    struct str reason = json_str(json_get(j, "reason"));
    struct buf b = {0};
    clean_text(&b, outcome.n != 0 ? outcome : a->status == 202 ? STR("accepted") : STR("answered"));
    if (run.n != 0) {
        buf_puts(&b, ": run ");
        clean_text(&b, run);
    }
    if (reason.n != 0) {
        buf_puts(&b, ": ");
        clean_text(&b, reason);
    }
    buf_puts(&b, " (delivery ");
    clean_text(&b, json_str(json_get(j, "delivery_id")));
    buf_puts(&b, ")");
    print_line(buf_view(&b));
    buf_finish(&b);
    json_free(j);
}

int cli_deliveries_replay(struct cli *c)
{
    char *path = delivery_path(c->args[0], "/replay");
    struct answer a = {0};
    int code = cli_request(c, &(struct request){.method = "POST", .path = path}, &a);
    if (code == EXIT_OK)
        print_outcome(c, &a);
    mem_free(path);
    answer_finish(&a);
    return code;
}

/* send */

struct sending {
    const struct verify_scheme *scheme;
    struct buf body;
    char *secret; /* NULL: unsigned */
    char *url;    /* a path of the server, or a whole URL */
};

static bool is_sample(const char *name)
{
    static const char *const names[] = {"push", "pull_request", "ping"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* Beside the program: installed, in a build directory inside the source tree, or in one elsewhere. */
static bool read_sample(const char *scheme, const char *name, struct buf *out, struct err *e)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    int dir = slash == NULL ? 0 : (int)(slash - exe);
    char *places[] = {
        mem_format("@%.*s/../share/hookmesh/samples/%s/%s.json", dir, exe, scheme, name),
        mem_format("@%.*s/../config/%s/samples/%s.json", dir, exe, scheme, name),
        mem_format("@" HOOKMESH_SOURCE_DIR "/config/%s/samples/%s.json", scheme, name),
    };
    bool found = false;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!found)
            buf_clear(out);
        found = found || read_argument(places[i], out, e);
        mem_free(places[i]);
    }
    return found ||
           err_fail(e, ERR_NOT_FOUND,
                    "the sample %s is not installed beside the program; name a file", name);
}

/* "samples/push.json" as "push". */
static char *event_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    if (name[0] == '@')
        name++;
    const char *dot = strchr(name, '.');
    return mem_dup(name, dot == NULL ? strlen(name) : (size_t)(dot - name));
}

static bool read_payload(struct cli *c, struct sending *s, struct err *e)
{
    const char *what = c->args[1];
    if (strcmp(s->scheme->name, "github") == 0 && is_sample(what)) /* a file of that name: ./push */
        return read_sample(s->scheme->name, what, &s->body, e);
    bool marked = what[0] == '@' || strcmp(what, "-") == 0;
    char *file = marked ? mem_strdup(what) : mem_format("@%s", what);
    bool ok = read_argument(file, &s->body, e);
    mem_free(file);
    if (!ok && !marked && strcmp(s->scheme->name, "github") == 0)
        err_fail(e, ERR_NOT_FOUND,
                 "%.80s is neither a sample (push, pull_request, ping) nor a file", what);
    return ok;
}

/* --secret, or the variable that the server's configuration looks for as well. */
static bool find_secret(struct cli *c, struct sending *s, struct err *e)
{
    if (c->flags[FLAG_SECRET] != NULL) {
        s->secret = c->flags[FLAG_SECRET][0] != '\0' ? mem_strdup(c->flags[FLAG_SECRET]) : NULL;
        return true;
    }
    char *name = mem_format("HOOKMESH_SECRET_%s", s->scheme->name);
    for (char *p = name; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    char *file_name = mem_format("%s_FILE", name);
    const char *value = getenv(name);
    const char *file = getenv(file_name);
    bool ok = true;
    if (value != NULL && value[0] != '\0') {
        s->secret = mem_strdup(value);
    } else if (file != NULL && file[0] != '\0') {
        struct buf b = {0};
        char *arg = mem_format("@%s", file);
        ok = read_argument(arg, &b, e);
        struct str text = buf_view(&b); /* as the server reads it: without line breaks at the end */
        while (text.n != 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.n--;
        s->secret = ok ? mem_dup(text.p, text.n) : NULL;
        mem_free(arg);
        buf_finish(&b);
    } else {
        ok = err_fail(e, ERR_BAD_INPUT,
                      "there is no secret: set %s or %s to what the server has, or give --secret "
                      "('' sends it unsigned)",
                      name, file_name);
    }
    mem_free(file_name);
    mem_free(name);
    return ok;
}

/* --to: a whole URL, or a server's address alone, which gets the scheme's usual path. */
static char *target(const char *to, const char *scheme)
{
    if (to == NULL)
        return mem_format("/hooks/%s", scheme);
    struct str text = str_of(to);
    const char *host = strstr(to, "://");
    host = host == NULL ? to : host + 3;
    while (text.n != 0 && text.p[text.n - 1] == '/')
        text.n--;
    bool has_path =
        text.p + text.n > host && memchr(host, '/', (size_t)(text.p + text.n - host)) != NULL;
    return mem_format("%s%.*s%s%s", host == to ? "http://" : "", (int)text.n, text.p,
                      has_path ? "" : "/hooks/", has_path ? "" : scheme);
}

static int post_delivery(struct cli *c, const struct sending *s, const char *event)
{
    const struct verify_scheme *scheme = s->scheme;
    char id[ID_SIZE];
    const char *headers[5] = {"Content-Type: application/json"};
    char *owned[3] = {0};
    size_t n = 1;
    id_make(id, clock_wall_us());
    if (scheme->events[0] != NULL)
        headers[n++] = owned[0] = mem_format("%s: %s", scheme->events[0], event);
    if (scheme->ids[0] != NULL)
        headers[n++] = owned[1] = mem_format("%s: %s", scheme->ids[0],
                                             c->flags[FLAG_ID] != NULL ? c->flags[FLAG_ID] : id);
    if (s->secret != NULL) {
        struct buf signature = {0};
        verify_sign(&signature, scheme, str_of(s->secret), buf_view(&s->body));
        headers[n++] = owned[2] = mem_format("%s: %s", scheme->header, signature.p);
        buf_finish(&signature);
    }
    struct answer a = {0};
    struct request q = {
        .method = "POST", .path = s->url, .headers = headers, .body = buf_view(&s->body)};
    int code = cli_request(c, &q, &a);
    if (code == EXIT_OK)
        print_outcome(c, &a);
    answer_finish(&a);
    for (size_t i = 0; i < 3; i++)
        mem_free(owned[i]);
    return code;
}

/* Only schemes that sign the body alone can be sent: others need a clock of the sender's. */
static const struct verify_scheme *sendable(const char *name, struct err *e)
{
    const struct verify_scheme *s = verify_scheme(name);
    if (s == NULL)
        err_fail(e, ERR_BAD_INPUT, "there is no webhook scheme %.40s; try github", name);
    else if (s->time != NULL || s->time_field != NULL)
        err_fail(e, ERR_BAD_INPUT, "deliveries of the scheme %s cannot be sent from here", name);
    else
        return s;
    return NULL;
}

static bool is_header_text(const char *s)
{
    for (; s != NULL && *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7F)
            return false;
    }
    return true;
}

int cli_send(struct cli *c)
{
    struct err e;
    struct sending s = {.scheme = sendable(c->args[0], &e)};
    char *event = NULL;
    int code;
    if (s.scheme == NULL)
        return cli_fail(c, EXIT_USAGE, "%s", e.text);
    if (!is_header_text(c->flags[FLAG_EVENT]) || !is_header_text(c->flags[FLAG_ID]))
        return cli_fail(c, EXIT_USAGE, "--event and --id must not have control characters");
    if (!find_secret(c, &s, &e)) {
        code = cli_fail(c, EXIT_USAGE, "%s", e.text);
    } else if (!read_payload(c, &s, &e)) {
        code = cli_fail(c, EXIT_FAILED, "%s", e.text);
    } else {
        event = c->flags[FLAG_EVENT] != NULL ? mem_strdup(c->flags[FLAG_EVENT])
                                             : event_of_file(c->args[1]);
        s.url = target(c->flags[FLAG_TO], s.scheme->name);
        code = post_delivery(c, &s, event);
    }
    mem_free(event);
    mem_free(s.url);
    mem_free(s.secret);
    buf_finish(&s.body);
    verify_finish();
    return code;
}
