/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side of HTTP. A command does one thing after the other, so each request runs the loop until its
 * answer is there; the callback is the only place that stops the loop. Problems are told here, in one line with what
 * the server itself says is to be done, so that no command needs an error path of its own. */
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

enum { TIMEOUT_MS = 60000, FILE_MAX = 1 << 30 };

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
    if (!x->begun) {
        x->begun = true;
        x->problem = bytes.p[0] == '{';
    }
    if (x->problem) {
        buf_str(&x->a->body, bytes);
    } else if (!x->q->on_body(x->q->arg, bytes)) {
        x->enough = true;
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
    }
    loop_stop();
}

static void transfer(struct exchange *x, const char *url, const char *const *headers)
{
    struct httpc_request q = {
        .method = x->q->method,
        .url = url,
        .headers = headers,
        .body = x->q->body,
        .timeout_ms = x->q->on_body != NULL ? 0 : TIMEOUT_MS,
        .max_response = x->q->on_body != NULL ? 0 : FILE_MAX,
        .allow_private = true,
        .on_body = x->q->on_body != NULL ? on_body : NULL,
    };
    x->call = httpc_send(&q, on_answer, x);
    loop_run();
    if (x->call != NULL) { /* enough was seen before the end */
        httpc_cancel(x->call);
        loop_run();
        x->failed = false;
    }
}

static int connect_loop(const struct cli *c)
{
    struct err e;
    if (connected || loop_start(&e)) {
        connected = true;
        return EXIT_OK;
    }
    return cli_fail(c, EXIT_FAILED, "%s", e.text);
}

void cli_disconnect(void)
{
    if (!connected)
        return;
    httpc_finish();
    loop_finish();
    connected = false;
}

static void on_time(void *arg)
{
    (void)arg;
    loop_stop();
}

void cli_sleep(int64_t ms)
{
    struct timer *t = timer_new(on_time, NULL);
    timer_arm(t, ms);
    loop_run();
    timer_free(t);
}

/* A status of 400 and more, in the server's own words. */
static int tell_problem(const struct cli *c, const struct answer *a, const char *url)
{
    struct json *j = json_parse(buf_view(&a->body), NULL);
    struct str detail = json_str(json_get(j, "detail"));
    struct str title = json_str(json_get(j, "title"));
    struct buf text = {0};
    buf_puts(&text, "");
    clean_text(&text, detail.n != 0 ? detail : title);
    int code = a->status == 401 || a->status == 403 ? EXIT_NOT_ALLOWED : EXIT_FAILED;
    if (text.n == 0)
        cli_fail(c, code, "%s answered %d", url, a->status);
    else if (a->status == 401 && c->command->fn != cli_send)
        cli_fail(c, code, "%s; set HOOKMESH_TOKEN or give --token", text.p);
    else
        cli_fail(c, code, "%s", text.p);
    buf_finish(&text);
    json_free(j);
    return code;
}

int cli_request(struct cli *c, const struct request *q, struct answer *a)
{
    struct err e;
    char *bearer = NULL;
    bool whole = strstr(q->path, "://") != NULL;
    if (connect_loop(c) != EXIT_OK)
        return EXIT_FAILED;
    if (!whole && !authorization(c, &bearer, &e))
        return cli_fail(c, EXIT_FAILED, "%s", e.text);
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
    if (x.failed && x.error.code == ERR_TOO_LARGE)
        code = cli_fail(c, EXIT_FAILED, "%s", x.error.text);
    else if (x.failed && x.error.code == ERR_BAD_INPUT)
        code = cli_fail(c, EXIT_USAGE, "%s: %s", url, x.error.text);
    else if (x.failed)
        code = cli_fail(c, EXIT_UNREACHABLE,
                        "no server answers at %s (%s); start one with hookmesh serve, or name it "
                        "with --url",
                        whole ? url : base, x.error.text);
    else if (a->status >= 400)
        code = tell_problem(c, a, url);
    mem_free(url);
    mem_free(base);
    mem_free(bearer);
    return code;
}

void answer_finish(struct answer *a)
{
    buf_finish(&a->body);
    buf_finish(&a->etag);
}

struct json *cli_get(struct cli *c, const char *path, int *code)
{
    struct request q = {.method = "GET", .path = path};
    struct answer a = {0};
    struct json *j = NULL;
    struct err e;
    *code = cli_request(c, &q, &a);
    if (*code == EXIT_OK) {
        j = json_parse(buf_view(&a.body), &e);
        if (j == NULL)
            *code = cli_fail(c, EXIT_FAILED, "the answer of the server makes no sense: %s", e.text);
    }
    answer_finish(&a);
    return j;
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
