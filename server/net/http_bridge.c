/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket over TLS. The TLS state of a connection is inside h2o and can't be handed on, so libwebsockets gets one end of a pair of
 * sockets, and the bytes are carried between the other end and the connection: each way stops reading while its far end
 * takes nothing. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_conn.h"
#include "net/hub.h"
#include "net/loop.h"

enum { BATCH = 65536 };

struct http_bridge {
    int fd;
    struct io *io;
    struct http_conn *c;
    bool writing; /* to the client */
    bool to_hub;  /* bytes wait for the hub's end to take them */
};

static void update_interest(struct http_bridge *b)
{
    io_want(b->io, (b->writing ? 0 : IO_READ) | (b->to_hub ? IO_WRITE : 0));
}

static void carry_to_client(struct http_bridge *b)
{
    static char batch[BATCH]; /* TLS copies it while it encrypts */
    ssize_t n = read(b->fd, batch, sizeof batch);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(b->c);
        return;
    }
    b->writing = true;
    update_interest(b);
    if (!conn_write(b->c, (struct str){batch, (size_t)n}))
        conn_close(b->c);
}

static void carry_to_hub(struct http_bridge *b)
{
    struct http_bytes in = conn_input(b->c);
    while (in.n > 0) {
        ssize_t n = send(b->fd, in.p, in.n, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            conn_close(b->c);
            return;
        }
        conn_drop(b->c, (size_t)n);
        in = conn_input(b->c);
    }
    b->to_hub = in.n > 0;
    if (b->to_hub)
        conn_pause(b->c);
    else
        conn_read_on(b->c);
    update_interest(b);
}

static void on_io(void *arg, int events)
{
    struct http_bridge *b = arg;
    struct http_conn *c = b->c;
    if ((events & IO_WRITE) != 0 && b->to_hub)
        carry_to_hub(b);
    if (c->bridge == b && (events & IO_READ) != 0 && !b->writing)
        carry_to_client(b);
}

bool http_bridge_open(struct http_conn *c, struct str handshake, struct err *e)
{
    int pair[2];
    if (c->reused)
        return err_fail(e, ERR_BAD_INPUT, "over TLS a WebSocket needs a connection of its own");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        return err_errno(e, "cannot make a pair of sockets");
    if (!hub_adopt(pair[1], handshake, e)) {
        close(pair[0]);
        return false;
    }
    struct http_bridge *b = mem_new(struct http_bridge);
    b->fd = pair[0];
    b->c = c;
    b->io = io_new(b->fd, on_io, b);
    update_interest(b);
    c->bridge = b;
    return true;
}

void http_bridge_input(struct http_conn *c)
{
    carry_to_hub(c->bridge);
}

void http_bridge_written(struct http_conn *c)
{
    c->bridge->writing = false;
    update_interest(c->bridge);
}

void http_bridge_close(struct http_conn *c)
{
    struct http_bridge *b = c->bridge;
    if (b == NULL)
        return;
    c->bridge = NULL;
    io_free(b->io);
    close(b->fd);
    loop_free_later(b);
}
