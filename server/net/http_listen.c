/* SPDX-License-Identifier: Apache-2.0 */
/* The listening socket. libuv 1.44 cannot set SO_REUSEPORT, which several workers on one port need, so it is made here. */
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "net/http_conn.h"

enum { BACKLOG = 4096 };

static int listen_at(const struct addrinfo *a, const struct http_options *o, int *port,
                     struct err *e)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0) {
        err_errno(e, "cannot make a socket");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (o->reuseport)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    union {
        struct sockaddr any;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } at = {.in6 = {0}};
    socklen_t at_n = sizeof at;
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &at.any, &at_n) != 0) {
        err_errno(e, "cannot listen on %s, port %d", o->host, o->port);
        close(fd);
        return -1;
    }
    *port = ntohs(at.any.sa_family == AF_INET6 ? at.in6.sin6_port : at.in4.sin_port);
    return fd;
}

int http_listen(const struct http_options *o, int *port, struct err *e)
{
    char service[16];
    snprintf(service, sizeof service, "%d", o->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found;
    int rc = getaddrinfo(o->host, service, &hints, &found);
    if (rc != 0) {
        err_fail(e, ERR_CONFIG, "cannot listen on %s: %s", o->host, gai_strerror(rc));
        return -1;
    }
    int fd = listen_at(found, o, port, e);
    freeaddrinfo(found);
    return fd;
}
