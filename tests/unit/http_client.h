/* SPDX-License-Identifier: Apache-2.0 */
/* A plain client of the public port, for tests: blocking sockets, and answers read to the byte. */
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/id.h"

enum { WAIT_MS = 10000 };

__attribute__((unused)) static int dial_port(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return fd;
}

__attribute__((unused)) static void put(int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the server has refused: the answer tells why */
        s = (struct str){s.p + n, s.n - (size_t)n};
    }
}

__attribute__((unused)) static void puts_to(int fd, const char *s)
{
    put(fd, str_of(s));
}

__attribute__((unused)) static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, WAIT_MS) == 1;
}

__attribute__((unused)) static bool more(int fd, struct buf *b)
{
    char bytes[65536];
    ck_assert_msg(readable(fd), "no answer: %.*s", (int)b->n, b->p);
    ssize_t n = read(fd, bytes, sizeof bytes);
    if (n <= 0)
        return false;
    buf_add(b, bytes, (size_t)n);
    return true;
}

struct answer {
    int status;
    struct buf head;
    struct buf body;
    bool closed; /* the connection ended inside it */
};

__attribute__((unused)) static void forget(struct answer *a)
{
    buf_finish(&a->head);
    buf_finish(&a->body);
}

__attribute__((unused)) static struct str field(const struct answer *a, const char *name)
{
    struct str rest = buf_view(&a->head);
    while (rest.p != NULL) {
        struct str line = str_trim(str_split(&rest, '\n'));
        struct str key = str_split(&line, ':');
        if (str_is_icase(key, name))
            return str_trim(line);
    }
    return (struct str){NULL, 0};
}

/* Bytes that were read and belong to the next answer. */
static struct buf ahead;

__attribute__((unused)) static size_t head_end(const struct buf *b)
{
    char *end = b->n < 4 ? NULL : memmem(b->p, b->n, "\r\n\r\n", 4);
    return end == NULL ? 0 : (size_t)(end - b->p) + 4;
}

__attribute__((unused)) static void take_chunks(int fd, struct answer *a)
{
    for (;;) {
        char *lf;
        while ((lf = ahead.n == 0 ? NULL : memchr(ahead.p, '\n', ahead.n)) == NULL)
            if (!more(fd, &ahead)) {
                a->closed = true;
                return;
            }
        size_t n = strtoul(ahead.p, NULL, 16);
        size_t line = (size_t)(lf - ahead.p) + 1;
        while (ahead.n < line + n + 2)
            if (!more(fd, &ahead)) {
                a->closed = true;
                return;
            }
        buf_add(&a->body, ahead.p + line, n);
        buf_drop(&ahead, line + n + 2);
        if (n == 0)
            return;
    }
}

__attribute__((unused)) static struct answer get_answer(int fd, bool head_only)
{
    struct answer a = {0};
    size_t end;
    while ((end = head_end(&ahead)) == 0)
        if (!more(fd, &ahead)) {
            a.closed = true;
            return a;
        }
    buf_add(&a.head, ahead.p, end);
    buf_drop(&ahead, end);
    ck_assert_int_eq(sscanf(a.head.p, "HTTP/1.1 %d ", &a.status), 1);
    uint64_t n = 0;
    struct str length = field(&a, "content-length");
    if (head_only || a.status == 304 || a.status == 204 || a.status == 100)
        return a;
    if (str_is(field(&a, "transfer-encoding"), "chunked")) {
        take_chunks(fd, &a);
        return a;
    }
    ck_assert_msg(str_u64(length, &n), "no length: %.*s", (int)a.head.n, a.head.p);
    while (ahead.n < n)
        ck_assert(more(fd, &ahead));
    buf_add(&a.body, ahead.p, n);
    buf_drop(&ahead, n);
    return a;
}

__attribute__((unused)) static bool ends(int fd)
{
    char c;
    return ahead.n == 0 && readable(fd) && read(fd, &c, 1) <= 0;
}

__attribute__((unused)) static bool id_is_there(const struct answer *a)
{
    return id_is_uuid(field(a, "x-request-id"));
}

__attribute__((unused)) static void expect(int fd, int status, const char *body)
{
    struct answer a = get_answer(fd, false);
    ck_assert_msg(a.status == status, "status %d instead of %d: %.*s", a.status, status,
                  (int)a.body.n, a.body.p);
    if (body != NULL)
        ck_assert_msg(str_is(buf_view(&a.body), body), "body: %.*s", (int)a.body.n, a.body.p);
    ck_assert(id_is_there(&a));
    forget(&a);
}

#define GET(path)        "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, more) "POST " path " HTTP/1.1\r\nHost: a\r\n" more

#endif
