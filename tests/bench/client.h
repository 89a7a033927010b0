/* SPDX-License-Identifier: Apache-2.0 */
/* What the load programs share: sockets on loopback, the HTTP and WebSocket that they speak, and no more. They are not
 * servers: whatever goes wrong ends the program with a sentence on stderr. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
double now_us(void);
unsigned long number(const char *text);

int connect_tcp(int port); /* 127.0.0.1, blocking, TCP_NODELAY */
int connect_unix(const char *path);
void no_wait(int fd);
void send_all(int fd, const char *p, size_t n); /* waits when it must */

/* The length of the first HTTP response in p[0..n), 0 while it is not whole. */
size_t http_response(const char *p, size_t n, int *status);

/* Opens a WebSocket on a connected, blocking fd and sends first (unless NULL) as a text frame. */
void ws_open(int fd, const char *path, const char *protocol, const char *first);

/* A walk over a server's frames, whatever the pieces they come in. */
struct ws_walk {
    uint64_t left; /* of the payload that is passing */
    unsigned char head[10];
    unsigned head_n;
    bool text;
};
/* Takes bytes from *p up to the end of a frame; true: a text frame ended just before *p. */
bool ws_next(struct ws_walk *w, const char **p, const char *end);

double percentile(double *sorted, size_t n, double part);
void sort_doubles(double *p, size_t n);

#endif
