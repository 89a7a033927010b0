/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that were answered and closed while the client was still sending.
 *
 * Closing a socket with unread bytes makes the kernel send a reset, which takes the answer away from the client before it
 * was read. So the descriptor lives on: our side is shut down, and what the client
 * sends is thrown away until it closes or the time is over. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/http_int.h"
#include "net/loop.h"

enum { LINGER_MS = 3000, LINGER_MAX = 512, READS_A_TURN = 16 };

struct leaving {
    struct list link;
    int fd;
    struct io *io;
    struct timer *timer;
};

static struct {
    struct list all;
    int n;
} self;

static void finish(struct leaving *l)
{
    list_remove(&l->link);
    self.n--;
    io_free(l->io);
    timer_free(l->timer);
    close(l->fd);
    loop_free_later(l);
}

static void on_late(void *arg)
{
    finish(arg);
}

static void on_bytes(void *arg, int events)
{
    (void)events;
    struct leaving *l = arg;
    static char waste[65536];
    for (int i = 0; i < READS_A_TURN; i++) {
        ssize_t n = read(l->fd, waste, sizeof waste);
        if (n > 0)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        finish(l);
        return;
    }
}

void http_linger(int fd)
{
    if (self.all.next == NULL)
        list_init(&self.all);
    shutdown(fd, SHUT_WR);
    if (self.n == LINGER_MAX) {
        close(fd);
        return;
    }
    struct leaving *l = mem_new(struct leaving);
    l->fd = fd;
    l->io = io_new(fd, on_bytes, l);
    l->timer = timer_new(on_late, l);
    list_append(&self.all, &l->link);
    self.n++;
    io_want(l->io, IO_READ);
    timer_arm(l->timer, LINGER_MS);
}

void http_linger_stop(void)
{
    if (self.all.next == NULL)
        return;
    list_each_safe(at, &self.all)
        finish(container_of(at, struct leaving, link));
}
