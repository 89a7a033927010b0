/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client of the flow tests: blocking, small, and literal. It sends exactly the bytes it is given, which no
 * client library does, and it takes nothing for granted: an answer that is not well framed fails the test. */
#include "flow/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/clock.h"
#include "base/mem.h"

int world_connect(struct world *w)
{
    ck_assert_msg(w->port != 0, "no server runs");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)w->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof to) != 0)
        world_fail(w, "cannot connect to port %d: %s", w->port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

/* A server that refuses a request may close before it read all: that is not the sender's failure. */
void world_send(int fd, struct str bytes)
{
    while (bytes.n != 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        bytes.p += n;
        bytes.n -= (size_t)n;
    }
}

bool world_read_some(int fd, struct buf *got, int64_t timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = 0;
    do
        ready = poll(&p, 1, (int)timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return false;
    buf_reserve(got, 65536);
    ssize_t n = read(fd, got->p + got->n, 65535); /* a pipe or a terminal, too */
    if (n <= 0)
        return false;
    got->n += (size_t)n;
    got->p[got->n] = '\0';
    return true;
}

bool world_read_until(int fd, struct buf *got, const char *text, int64_t timeout_ms)
{
    int64_t until = clock_mono_us() + timeout_ms * 1000;
    while (got->n == 0 || memmem(got->p, got->n, text, strlen(text)) == NULL) {
        int64_t left = (until - clock_mono_us()) / 1000;
        if (left <= 0 || !world_read_some(fd, got, left))
            return false;
    }
    return true;
}

struct str world_header(const struct world_reply *r, const char *name)
{
    struct str rest = buf_view(&r->head);
    while (rest.p != NULL) {
        struct str line = str_split(&rest, '\n');
        struct str value = line;
        struct str key = str_split(&value, ':');
        if (value.p != NULL && str_is_icase(key, name))
            return str_trim(value);
    }
    return (struct str){NULL, 0};
}

static void read_exactly(struct world *w, int fd, struct buf *in, size_t n)
{
    while (in->n < n) {
        if (!world_read_some(fd, in, WORLD_TIMEOUT_MS))
            world_fail(w, "the answer ends after %zu of %zu bytes", in->n, n);
    }
}

static void read_chunks(struct world *w, int fd, struct buf *in, struct buf *body)
{
    for (;;) {
        if (!world_read_until(fd, in, "\r\n", WORLD_TIMEOUT_MS))
            world_fail(w, "a chunk's size is missing");
        char *end = NULL;
        size_t n = strtoul(in->p, &end, 16);
        if (end == in->p || *end != '\r')
            world_fail(w, "the chunk size is wrong");
        buf_drop(in, (size_t)(end - in->p) + 2);
        read_exactly(w, fd, in, n + 2);
        buf_add(body, in->p, n);
        buf_drop(in, n + 2);
        if (n == 0)
            return;
    }
}

/* in holds what was read behind the head. */
static void read_body(struct world *w, int fd, struct buf *in, struct world_reply *r)
{
    uint64_t length = 0;
    if (r->status == 204 || r->status == 304 || r->status / 100 == 1)
        return;
    if (str_is_icase(world_header(r, "transfer-encoding"), "chunked")) {
        read_chunks(w, fd, in, &r->body);
    } else if (str_u64(world_header(r, "content-length"), &length)) {
        read_exactly(w, fd, in, (size_t)length);
        buf_add(&r->body, in->p, (size_t)length);
    } else {
        while (world_read_some(fd, in, WORLD_TIMEOUT_MS))
            ;
        buf_add(&r->body, in->p, in->n);
    }
}

static struct world_reply read_reply(struct world *w, int fd, bool head_only)
{
    struct world_reply r = {0};
    struct buf in = {0};
    buf_puts(&r.body, "");
    while (r.status == 0 || r.status == 100) {
        if (!world_read_until(fd, &in, "\r\n\r\n", WORLD_TIMEOUT_MS)) {
            if (in.n != 0)
                world_fail(w, "the answer's head is not complete: %.*s", (int)in.n, in.p);
            break; /* closed without an answer: status 0 */
        }
        size_t n = (size_t)(strstr(in.p, "\r\n\r\n") - in.p) + 4;
        buf_clear(&r.head);
        buf_add(&r.head, in.p, n);
        buf_drop(&in, n);
        if (r.head.n < 12 || memcmp(r.head.p, "HTTP/1.", 7) != 0)
            world_fail(w, "not an HTTP answer: %s", r.head.p);
        r.status = atoi(r.head.p + 9);
    }
    if (r.status != 0 && !head_only)
        read_body(w, fd, &in, &r);
    buf_finish(&in);
    return r;
}

struct world_reply world_http(struct world *w, const char *method, const char *path,
                              const char *headers, struct str body)
{
    struct buf out = {0};
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n", method, path,
               w->port);
    if (headers != NULL)
        buf_puts(&out, headers);
    if (body.p != NULL)
        buf_printf(&out, "Content-Length: %zu\r\n", body.n);
    buf_puts(&out, "\r\n");
    buf_str(&out, body);
    int fd = world_connect(w);
    world_send(fd, buf_view(&out));
    struct world_reply r = read_reply(w, fd, strcmp(method, "HEAD") == 0);
    close(fd);
    buf_finish(&out);
    return r;
}

struct world_reply world_raw(struct world *w, struct str bytes)
{
    int fd = world_connect(w);
    world_send(fd, bytes);
    struct world_reply r = read_reply(w, fd, false);
    close(fd);
    return r;
}

void world_raw_all(struct world *w, struct str bytes, int64_t quiet_ms, struct buf *out)
{
    int fd = world_connect(w);
    world_send(fd, bytes);
    while (world_read_some(fd, out, quiet_ms))
        ;
    close(fd);
}

struct json *world_json(struct world_reply *r)
{
    struct err e;
    json_free(r->json);
    r->json = json_parse(buf_view(&r->body), &e);
    ck_assert_msg(r->json != NULL, "the body is not JSON: %s: %.300s", e.text, r->body.p);
    return r->json;
}

struct world_reply world_get_json(struct world *w, const char *path)
{
    struct world_reply r = world_http(w, "GET", path, NULL, (struct str){NULL, 0});
    if (r.status != 200)
        world_fail(w, "GET %s was answered %d: %.500s", path, r.status, r.body.p);
    world_json(&r);
    return r;
}

void world_reply_finish(struct world_reply *r)
{
    json_free(r->json);
    buf_finish(&r->head);
    buf_finish(&r->body);
    r->json = NULL;
}

struct json_wait {
    struct world *w;
    const char *path;
    const char *where;
    const char *text;
    struct buf last;
};

static bool json_is_there(void *arg)
{
    struct json_wait *x = arg;
    struct world_reply r = world_http(x->w, "GET", x->path, NULL, (struct str){NULL, 0});
    buf_clear(&x->last);
    buf_printf(&x->last, "%d %s", r.status, r.body.p);
    bool same = false;
    if (r.status == 200) {
        struct json *j = json_path(world_json(&r), x->where);
        struct buf shown = {0};
        if (json_type_of(j) == J_STR)
            buf_str(&shown, json_str(j));
        else if (j != NULL)
            json_dump(&shown, j, false);
        same = str_is(buf_view(&shown), x->text);
        buf_finish(&shown);
    }
    world_reply_finish(&r);
    return same;
}

void world_wait_json(struct world *w, const char *path, const char *where, const char *text)
{
    struct json_wait x = {.w = w, .path = path, .where = where, .text = text};
    if (!world_wait_until(json_is_there, &x, WORLD_TIMEOUT_MS))
        world_fail(w, "GET %s: %s never became %s; the last answer: %.1000s", path, where, text,
                   x.last.p);
    buf_finish(&x.last);
}

/* -- GitHub -------------------------------------------------------------------------------- */

void world_sign_github(struct buf *header, const char *secret, struct str body)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned mac_n = 0;
    ck_assert(HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)body.p, body.n,
                   mac, &mac_n) != NULL);
    buf_puts(header, "X-Hub-Signature-256: sha256=");
    buf_hex(header, mac, mac_n);
    buf_puts(header, "\r\n");
}

struct world_reply world_github(struct world *w, const char *path, const char *event,
                                const char *delivery, const char *secret, struct str body)
{
    struct buf headers = {0};
    buf_printf(&headers,
               "Content-Type: application/json\r\nX-GitHub-Event: %s\r\n"
               "X-GitHub-Delivery: %s\r\nUser-Agent: GitHub-Hookshot/test\r\n",
               event, delivery);
    if (secret != NULL)
        world_sign_github(&headers, secret, body);
    struct world_reply r = world_http(w, "POST", path, headers.p, body);
    buf_finish(&headers);
    return r;
}
