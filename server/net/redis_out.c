/* SPDX-License-Identifier: Apache-2.0 */
/* A command is copied once, into the last chunk if it fits there, else into a new one. Chunks are big enough that a
 * turn's worth of small commands is one, and a write takes many of them, so the kernel's buffer is filled by one call. */
#include "net/redis_out.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/mem.h"

enum { CHUNK_SIZE = 128 * 1024, IOV_COUNT = 64 };

struct redis_chunk {
    struct list link;
    size_t n;
    size_t sent;
    size_t cap;
    char bytes[];
};

static struct redis_chunk *chunk_of(struct list *link)
{
    return container_of(link, struct redis_chunk, link);
}

void redis_out_init(struct redis_out *o)
{
    list_init(&o->chunks);
    o->spare = NULL;
}

static void release(struct redis_out *o, struct redis_chunk *c)
{
    list_remove(&c->link);
    if (o->spare == NULL && c->cap == CHUNK_SIZE)
        o->spare = c;
    else
        mem_free(c);
}

void redis_out_clear(struct redis_out *o)
{
    list_each_safe(at, &o->chunks)
        release(o, chunk_of(at));
}

void redis_out_finish(struct redis_out *o)
{
    redis_out_clear(o);
    mem_free(o->spare);
    o->spare = NULL;
}

bool redis_out_empty(const struct redis_out *o)
{
    return list_empty(&o->chunks);
}

/* A chunk with room for n more bytes. */
static struct redis_chunk *reserve(struct redis_out *o, size_t n)
{
    if (!list_empty(&o->chunks)) {
        struct redis_chunk *last = chunk_of(o->chunks.prev);
        if (last->cap - last->n >= n)
            return last;
    }
    struct redis_chunk *c = o->spare;
    if (c != NULL && c->cap >= n) {
        o->spare = NULL;
    } else {
        size_t cap = n > CHUNK_SIZE ? n : CHUNK_SIZE;
        c = mem_alloc(sizeof *c + cap);
        c->cap = cap;
    }
    c->n = c->sent = 0;
    list_append(&o->chunks, &c->link);
    return c;
}

static char *put_header(char *p, char mark, size_t n)
{
    char digits[20];
    size_t len = 0;
    do {
        digits[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n != 0);
    *p++ = mark;
    while (len != 0)
        *p++ = digits[--len];
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

void redis_out_command(struct redis_out *o, size_t argc, const struct str *argv)
{
    enum { HEADER = 1 + 20 + 2, ENDING = 2 };
    size_t most = HEADER;
    for (size_t i = 0; i < argc; i++)
        most += HEADER + argv[i].n + ENDING;
    struct redis_chunk *c = reserve(o, most);
    char *p = put_header(c->bytes + c->n, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        p = put_header(p, '$', argv[i].n);
        if (argv[i].n != 0)
            memcpy(p, argv[i].p, argv[i].n);
        p += argv[i].n;
        *p++ = '\r';
        *p++ = '\n';
    }
    c->n = (size_t)(p - c->bytes);
}

static size_t gather(struct redis_out *o, struct iovec *iov, size_t *total)
{
    size_t count = 0;
    list_each(at, &o->chunks) {
        struct redis_chunk *c = chunk_of(at);
        iov[count++] = (struct iovec){c->bytes + c->sent, c->n - c->sent};
        *total += c->n - c->sent;
        if (count == IOV_COUNT)
            break;
    }
    return count;
}

static void drop(struct redis_out *o, size_t n)
{
    while (n != 0) {
        struct redis_chunk *c = chunk_of(o->chunks.next);
        size_t part = c->n - c->sent < n ? c->n - c->sent : n;
        c->sent += part;
        n -= part;
        if (c->sent == c->n)
            release(o, c);
    }
}

enum redis_written redis_out_write(struct redis_out *o, int fd)
{
    while (!list_empty(&o->chunks)) {
        struct iovec iov[IOV_COUNT];
        size_t total = 0;
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = gather(o, iov, &total)};
        ssize_t n = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? WRITTEN_SOME : WRITTEN_BROKEN;
        drop(o, (size_t)n);
        if ((size_t)n < total)
            return WRITTEN_SOME;
    }
    return WRITTEN_ALL;
}
