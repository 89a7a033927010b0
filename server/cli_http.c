/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of HTTP. A command does one thing after the other, so each request runs the loop until its
 * answer is there; callbacks only stop the loop. Problems are told here, in one line with what the server itself says
 * is to be done, so that no command needs an error path of its own.
 *
 * What is followed for long is a stream of server-sent events with a position. A cut, or a server that has said nothing for
 * longer than its heartbeat, is no end: the stream is opened again behind the last event, so nothing is missed or seen twice. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli_parts.h"
#include "net/httpc.h"
#include "net/loop.h"

enum {
    TIMEOUT_MS = 60000,
    FILE_MAX = 1 << 30,
    SILENCE_MS = 45000, /* three heartbeats of a stream */
    AWAY_MAX_MS = 5 * 60000,
    AGAIN_MS = 50, /* and twice as long each time, up to */
    AGAIN_MAX_MS = 2000,
    PAGE_MAX = 1000, /* rows that a server gives at once */
};

static bool connected;

struct exchange {
    const struct request *q;
    struct answer *a;
    struct httpc_call *call;
    struct err error;
    bool failed;
    bool begun;   /* of a stream: something came */
    bool problem; /* ... and it is not the stream */
    bool enough;  /* on_body said so */
    struct timer *silence;
};

/* The server's address without a slash at its end. */
static char *base_url(const struct cli *c)
{
    const char *url = c->flags[FLAG_URL];
    const char *listen = getenv("HOOKMESH_LISTEN");
    if (url == NULL || url[0] == '\0')
        url = getenv("HOOKMESH_URL");
    char *base;
    if (url != NULL && url[0] != '\0')
        base = mem_format("%s%s", strstr(url, "://") == NULL ? "http://" : "", url);
    else if (listen != NULL && listen[0] != '\0')
        base = mem_format("http://%s", listen);
    else
        base = mem_strdup("http://127.0.0.1:4665");
    for (size_t n = strlen(base); n != 0 && base[n - 1] == '/'; n--)
        base[n - 1] = '\0';
    return base;
}

static bool read_file(const char *path, struct buf *out)
{
    int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n;
    do {
        buf_reserve(out, 65536);
        n = read(fd, out->p + out->n, 65536);
        if (n > 0)
            out->n += (size_t)n;
    } while ((n > 0 && out->n < FILE_MAX) || (n < 0 && errno == EINTR));
    int saved = errno;
    close(fd);
    errno = saved;
    return n == 0;
}

bool read_argument(const char *arg, struct buf *out, struct err *e)
{
    bool is_file = arg[0] == '@' || strcmp(arg, "-") == 0;
    buf_puts(out, "");
    if (!is_file)
        buf_puts(out, arg);
    else if (!read_file(arg[0] == '@' ? arg + 1 : arg, out))
        return err_errno(e, "%s cannot be read", arg[0] == '@' ? arg + 1 : "standard input");
    return true;
}

/* "Authorization: Bearer ...", or NULL. false: the file of the token cannot be read. */
static bool authorization(const struct cli *c, char **out, struct err *e)
{
    const char *token = c->flags[FLAG_TOKEN];
    const char *file = getenv("HOOKMESH_TOKEN_FILE");
    struct buf b = {0};
    *out = NULL;
    if (token == NULL)
        token = getenv("HOOKMESH_TOKEN");
    if (token != NULL && token[0] != '\0') {
        buf_puts(&b, token);
    } else if (file != NULL && file[0] != '\0' && !read_file(file, &b)) {
        buf_finish(&b);
        return err_errno(e, "the token cannot be read from %s", file);
    }
    struct str text = str_trim(buf_view(&b));
    if (text.n != 0)
        *out = mem_format("Authorization: Bearer %.*s", (int)text.n, text.p);
    buf_finish(&b);
    return true;
}

/* Streams are server-sent events, which never begin with a brace: a problem's JSON does. */
static void on_body(void *arg, struct str bytes)
{
    struct exchange *x = arg;
    if (x->enough || bytes.n == 0)
        return;
    timer_arm(x->silence, SILENCE_MS);
    if (!x->begun) {
        x->begun = true;
        x->problem = bytes.p[0] == '{';
    }
    if (x->problem) {
        buf_str(&x->a->body, bytes);
    } else if (!x->q->on_body(x->q->arg, bytes)) {
        x->enough = x->a->enough = true;
        loop_stop();
    }
}

static void on_answer(void *arg, const struct httpc_response *r, const struct err *e)
{
    struct exchange *x = arg;
    x->call = NULL;
    if (e != NULL) {
        x->failed = true;
        x->error = *e;
    } else {
        x->a->status = r->status;
        buf_str(&x->a->body, r->body);
        buf_str(&x->a->etag, r->etag);
        buf_str(&x->a->link, r->link);
    }
    loop_stop();
}

static void on_time(void *arg)
{
    (void)arg;
    loop_stop();
}

static void transfer(struct exchange *x, const char *url, const char *const *headers)
{
    bool stream = x->q->on_body != NULL;
    int64_t limit = x->q->timeout_ms != 0 ? x->q->timeout_ms : TIMEOUT_MS;
    struct httpc_request q = {
        .method = x->q->method,
        .url = url,
        .headers = headers,
        .body = x->q->body,
        .timeout_ms = stream ? 0 : limit,
        .max_response = stream ? 0 : FILE_MAX,
        .allow_private = true,
        .on_body = stream ? on_body : NULL,
    };
    if (stream) {
        x->silence = timer_new(on_time, NULL);
        timer_arm(x->silence, SILENCE_MS);
    }
    x->call = httpc_send(&q, on_answer, x);
    loop_run();
    if (x->call != NULL) { /* enough was seen before the end, or nothing for too long */
        httpc_cancel(x->call);
        loop_run();
        x->failed = true;
        err_fail(&x->error, ERR_TIMEOUT, "the server is silent");
    }
    x->failed = x->failed && !x->enough; /* a cut behind what we wanted is none */
    if (stream)
        timer_free(x->silence);
}

static bool connect_loop(struct err *e)
{
    connected = connected || loop_start(e);
    return connected;
}

void cli_disconnect(void)
{
    if (!connected)
        return;
    httpc_finish();
    loop_finish();
    connected = false;
}

void cli_sleep(int64_t ms)
{
    struct timer *t = timer_new(on_time, NULL);
    timer_arm(t, ms);
    loop_run();
    timer_free(t);
}

/* A status of 400 and more, in the server's own words. */
static int read_problem(const struct cli *c, const struct answer *a, const char *url,
                        struct buf *problem)
{
    struct json *j = json_parse(buf_view(&a->body), NULL);
    struct str detail = json_str(json_get(j, "detail"));
    struct str title = json_str(json_get(j, "title"));
    clean_text(problem, detail.n != 0 ? detail : title);
    if (problem->n == 0)
        buf_printf(problem, "%s answered %d", url, a->status);
    else if (a->status == 401 && c->command->fn != cli_send)
        buf_puts(problem, "; set HOOKMESH_TOKEN or give --token");
    json_free(j);
    return a->status == 401 || a->status == 403 ? EXIT_NOT_ALLOWED : EXIT_FAILED;
}

/* Why there is no answer. */
static int read_failure(const struct exchange *x, const char *url, const char *server,
                        struct buf *problem)
{
    if (x->error.code == ERR_TOO_LARGE) {
        buf_puts(problem, x->error.text);
        return EXIT_FAILED;
    }
    if (x->error.code == ERR_BAD_INPUT) {
        buf_printf(problem, "%s: %s", url, x->error.text);
        return EXIT_USAGE;
    }
    buf_printf(problem,
               "no server answers at %s (%s); start one with hookmesh serve, or name it with --url",
               server, x->error.text);
    return EXIT_UNREACHABLE;
}

int cli_try(struct cli *c, const struct request *q, struct answer *a, struct buf *problem)
{
    struct err e;
    char *bearer = NULL;
    bool whole = strstr(q->path, "://") != NULL;
    buf_puts(problem, "");
    if (!connect_loop(&e) || (!whole && !authorization(c, &bearer, &e))) {
        buf_puts(problem, e.text);
        return EXIT_FAILED;
    }
    char *base = whole ? mem_strdup("") : base_url(c);
    char *url = mem_format("%s%s", base, q->path);
    const char *headers[16];
    size_t n = 0;
    for (size_t i = 0; q->headers != NULL && q->headers[i] != NULL && n < 14; i++)
        headers[n++] = q->headers[i];
    if (bearer != NULL)
        headers[n++] = bearer;
    headers[n] = NULL;
    struct exchange x = {.q = q, .a = a};
    transfer(&x, url, headers);
    int code = EXIT_OK;
    if (x.failed)
        code = read_failure(&x, url, whole ? url : base, problem);
    else if (a->status >= 400)
        code = read_problem(c, a, url, problem);
    mem_free(url);
    mem_free(base);
    mem_free(bearer);
    return code;
}

int cli_request(struct cli *c, const struct request *q, struct answer *a)
{
    struct buf problem = {0};
    int code = cli_try(c, q, a, &problem);
    if (code != EXIT_OK)
        cli_fail(c, code, "%s", problem.p);
    buf_finish(&problem);
    return code;
}

void answer_finish(struct answer *a)
{
    buf_finish(&a->body);
    buf_finish(&a->etag);
    buf_finish(&a->link);
}

static struct json *read_json(struct cli *c, const struct answer *a, int *code)
{
    struct err e;
    struct json *j = json_parse(buf_view(&a->body), &e);
    if (j == NULL)
        *code = cli_fail(c, EXIT_FAILED, "the answer of the server makes no sense: %s", e.text);
    return j;
}

struct json *cli_get(struct cli *c, const char *path, int *code)
{
    struct request q = {.method = "GET", .path = path};
    struct answer a = {0};
    *code = cli_request(c, &q, &a);
    struct json *j = *code == EXIT_OK ? read_json(c, &a, code) : NULL;
    answer_finish(&a);
    return j;
}

/* The path in `<PATH>; rel="next"`; only one of the same server is followed. */
static char *next_page(struct str link)
{
    while (link.n != 0) {
        struct str one = str_trim(str_split(&link, ','));
        const char *end = one.n != 0 ? memchr(one.p, '>', one.n) : NULL;
        struct buf rest = {0};
        if (end == NULL || !str_starts(one, "</") || str_starts(one, "<//"))
            continue;
        buf_add(&rest, end, (size_t)(one.p + one.n - end));
        bool next = strstr(rest.p, "rel=\"next\"") != NULL || strstr(rest.p, "rel=next") != NULL;
        buf_finish(&rest);
        if (next)
            return mem_dup(one.p + 1, (size_t)(end - one.p - 1));
    }
    return NULL;
}

int cli_pages(struct cli *c, const char *path, size_t limit, page_fn fn, void *arg)
{
    struct buf first = {0};
    buf_puts(&first, path);
    if (limit != 0) {
        char number[24];
        snprintf(number, sizeof number, "%zu", limit < PAGE_MAX ? limit : (size_t)PAGE_MAX);
        path_query(&first, "limit", str_of(number));
    }
    char *at = buf_take(&first);
    size_t left = limit != 0 ? limit : SIZE_MAX;
    int code = EXIT_OK;
    while (at != NULL && left != 0 && code == EXIT_OK) {
        struct answer a = {0};
        code = cli_request(c, &(struct request){.method = "GET", .path = at}, &a);
        struct json *rows = code == EXIT_OK ? read_json(c, &a, &code) : NULL;
        for (size_t i = 0; i < json_size(rows) && left != 0; i++, left--)
            fn(arg, json_at(rows, i));
        mem_free(at);
        at = code == EXIT_OK && limit != 0 ? next_page(buf_view(&a.link)) : NULL;
        json_free(rows);
        answer_finish(&a);
    }
    mem_free(at);
    return code;
}

void path_query(struct buf *path, const char *name, struct str value)
{
    bool first = path->n == 0 || memchr(path->p, '?', path->n) == NULL;
    buf_printf(path, "%c%s=", first ? '?' : '&', name);
    buf_url_encode(path, value);
}

void path_segment(struct buf *path, struct str segment)
{
    buf_char(path, '/');
    buf_url_encode(path, segment);
}

static bool sse_line(struct sse *s, struct str line, sse_fn fn, void *arg)
{
    if (line.n == 0) {
        bool on = s->data.n == 0 && s->event.n == 0
                      ? true
                      : fn(arg, buf_view(&s->event), buf_view(&s->data));
        buf_clear(&s->event);
        buf_clear(&s->data);
        return on;
    }
    struct str value = line;
    struct str name = str_split(&value, ':');
    if (value.n != 0 && value.p[0] == ' ')
        value = (struct str){value.p + 1, value.n - 1};
    if (str_is(name, "id")) {
        buf_clear(&s->id);
        buf_str(&s->id, value);
    } else if (str_is(name, "event")) {
        buf_clear(&s->event);
        buf_str(&s->event, value);
    } else if (str_is(name, "data")) {
        if (s->data.n != 0)
            buf_char(&s->data, '\n');
        buf_str(&s->data, value);
    }
    return true;
}

bool sse_feed(struct sse *s, struct str bytes, sse_fn fn, void *arg)
{
    buf_str(&s->line, bytes);
    const char *end;
    while (s->line.n != 0 && (end = memchr(s->line.p, '\n', s->line.n)) != NULL) {
        size_t n = (size_t)(end - s->line.p);
        struct str line = {s->line.p, n != 0 && end[-1] == '\r' ? n - 1 : n};
        bool on = sse_line(s, line, fn, arg);
        buf_drop(&s->line, n + 1);
        if (!on)
            return false;
    }
    return true;
}

void sse_finish(struct sse *s)
{
    buf_finish(&s->line);
    buf_finish(&s->event);
    buf_finish(&s->data);
    buf_finish(&s->id);
}

/* Streams that are followed. */

static bool on_stream_bytes(void *arg, struct str bytes)
{
    struct stream *s = arg;
    s->alive = true;
    return sse_feed(&s->sse, bytes, s->fn, s->arg);
}

/* How one connection of a stream ended. */
struct ending {
    int code;
    bool enough; /* we ended it, not the server */
    bool away;   /* the server is gone, or there but not ready */
    struct buf problem;
};

static void stream_once(struct stream *s, struct ending *out)
{
    char *last = NULL;
    if (s->sse.id.n != 0)
        last = mem_format("Last-Event-ID: %.*s", (int)s->sse.id.n, s->sse.id.p);
    const char *const headers[] = {"Accept: text/event-stream", last, NULL};
    struct answer a = {0};
    struct request q = {
        .method = "GET", .path = s->path, .headers = headers, .on_body = on_stream_bytes, .arg = s};
    buf_clear(&out->problem);
    out->code = cli_try(s->c, &q, &a, &out->problem);
    out->enough = out->code == EXIT_OK && a.enough;
    out->away = out->code == EXIT_OK || out->code == EXIT_UNREACHABLE || a.status == 503;
    answer_finish(&a);
    mem_free(last);
    buf_clear(&s->sse.line); /* half an event of the cut */
    buf_clear(&s->sse.event);
    buf_clear(&s->sse.data);
}

/* After a cut: waits, longer each time. false: long enough. */
static bool wait_again(struct stream *s, int64_t *away_ms, int64_t *pause_ms)
{
    if (s->alive) {
        *away_ms = 0;
        *pause_ms = AGAIN_MS;
        s->alive = false;
    }
    if (*away_ms >= AWAY_MAX_MS)
        return false;
    if (*away_ms > 1000 && !s->said) {
        cli_fail(s->c, 0, "the server is away; going on when it is back");
        s->said = true;
    }
    cli_sleep(*pause_ms);
    *away_ms += *pause_ms;
    *pause_ms = *pause_ms * 2 < AGAIN_MAX_MS ? *pause_ms * 2 : AGAIN_MAX_MS;
    return true;
}

int stream_follow(struct stream *s)
{
    struct ending end = {0};
    int64_t away_ms = 0;
    int64_t pause_ms = AGAIN_MS;
    for (;;) {
        stream_once(s, &end);
        s->opened |= end.code == EXIT_OK || s->alive;
        if (end.enough || !end.away || !s->opened || !wait_again(s, &away_ms, &pause_ms))
            break;
    }
    if (end.code != EXIT_OK)
        cli_fail(s->c, end.code, "%s", end.problem.p);
    else if (!end.enough)
        end.code = cli_fail(s->c, EXIT_UNREACHABLE, "the server ends the stream again and again");
    buf_finish(&end.problem);
    return end.code;
}

void stream_finish(struct stream *s)
{
    sse_finish(&s->sse);
}
