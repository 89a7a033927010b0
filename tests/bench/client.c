/* SPDX-License-Identifier: Apache-2.0 */
/* Load programs share two cores with what they measure, so they do the least that is right: responses are recognised, not
 * parsed, and the payload of a frame is counted, not looked at. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

unsigned long number(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0')
        die("not a number: %s", text);
    return n;
}

int connect_tcp(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("cannot connect to port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        die("cannot connect to %s: %s", path, strerror(errno));
    return fd;
}

void no_wait(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd want = {fd, POLLOUT, 0};
            if (poll(&want, 1, 10000) == 0)
                die("the server takes nothing for 10 s");
        } else {
            die("cannot send: %s", strerror(errno));
        }
    }
}

/* The value of a header, which must be written in one of two ways; NULL: it is not there. */
static const char *header(const char *p, size_t n, const char *a, const char *b)
{
    const char *at = memmem(p, n, a, strlen(a));
    if (at == NULL)
        at = memmem(p, n, b, strlen(b));
    return at == NULL ? NULL : at + strlen(a);
}

size_t http_response(const char *p, size_t n, int *status)
{
    const char *head_end = memmem(p, n, "\r\n\r\n", 4);
    if (head_end == NULL)
        return 0;
    size_t head = (size_t)(head_end - p) + 4;
    if (n < 12 || memcmp(p, "HTTP/1.1 ", 9) != 0)
        die("no HTTP/1.1 response: %.60s", p);
    *status = atoi(p + 9);
    const char *length = header(p, head, "\r\ncontent-length: ", "\r\nContent-Length: ");
    if (length != NULL) {
        size_t whole = head + strtoul(length, NULL, 10);
        return n >= whole ? whole : 0;
    }
    if (header(p, head, "chunked", "Chunked") == NULL)
        return *status == 204 ? head : 0;
    for (size_t at = head; at < n;) { /* chunk by chunk */
        const char *line_end = memmem(p + at, n - at, "\r\n", 2);
        if (line_end == NULL)
            return 0;
        size_t size = strtoul(p + at, NULL, 16);
        at = (size_t)(line_end - p) + 2 + size + 2;
        if (size == 0)
            return n >= at ? at : 0;
    }
    return 0;
}

static size_t masked_frame(char *out, const char *text)
{
    size_t n = strlen(text), at = 0;
    out[at++] = (char)0x81;
    if (n < 126) {
        out[at++] = (char)(0x80 | n);
    } else {
        out[at++] = (char)(0x80 | 126);
        out[at++] = (char)(n >> 8);
        out[at++] = (char)n;
    }
    memset(out + at, 0, 4); /* a mask of zeroes leaves the text as it is */
    memcpy(out + at + 4, text, n);
    return at + 4 + n;
}

void ws_open(int fd, const char *path, const char *protocol, const char *first)
{
    char text[2048];
    int n = snprintf(
        text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
        path, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
        protocol ? "\r\n" : "");
    send_all(fd, text, (size_t)n);
    size_t got = 0;
    while (got < 4 ||
           memcmp(text + got - 4, "\r\n\r\n", 4) != 0) { /* not a byte more than the head */
        if (got == sizeof text || recv(fd, text + got, 1, 0) != 1)
            die("no answer to the WebSocket handshake");
        got++;
    }
    if (memcmp(text, "HTTP/1.1 101", 12) != 0)
        die("the WebSocket was refused: %.60s", text);
    if (first != NULL)
        send_all(fd, text, masked_frame(text, first));
}

/* The header of a frame is whole. */
static bool head_whole(const struct ws_walk *w)
{
    if (w->head_n < 2)
        return false;
    unsigned small = w->head[1] & 0x7fu;
    return w->head_n == (small == 127 ? 10u : small == 126 ? 4u : 2u);
}

static void begin_payload(struct ws_walk *w)
{
    w->left = w->head[1] & 0x7fu;
    if (w->head_n > 2) {
        w->left = 0;
        for (unsigned i = 2; i < w->head_n; i++)
            w->left = w->left << 8 | w->head[i];
    }
    w->text = (w->head[0] & 0x8fu) == 0x81;
    if ((w->head[0] & 0x0fu) == 8)
        die("the server closed a WebSocket");
}

bool ws_next(struct ws_walk *w, const char **p, const char *end)
{
    while (*p < end) {
        if (!head_whole(w)) {
            w->head[w->head_n++] = (unsigned char)*(*p)++;
            if (!head_whole(w))
                continue;
            begin_payload(w);
        }
        size_t here = (size_t)(end - *p);
        size_t take = w->left < here ? (size_t)w->left : here;
        *p += take;
        w->left -= take;
        if (w->left > 0)
            return false;
        w->head_n = 0;
        if (w->text)
            return true;
    }
    return false;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void sort_doubles(double *p, size_t n)
{
    qsort(p, n, sizeof *p, compare);
}

double percentile(double *sorted, size_t n, double part)
{
    size_t at = (size_t)((double)n * part);
    return sorted[at < n ? at : n - 1];
}
