/* SPDX-License-Identifier: Apache-2.0 */
/* A WebSocket client (RFC 6455) for the flow tests. It masks by a mask of zeroes, which is allowed and keeps the
 * bytes readable in a capture, and can send any frame, right or wrong. */
#include "flow/world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

struct world_ws {
    struct world *w;
    int fd;
    struct buf in;   /* what came and was not taken yet */
    struct buf text; /* the last message, until the next call */
    int close_code;
};

static const char key[] = "aG9va21lc2gtdGVzdGtleQ==";

struct world_ws *world_ws_try(struct world *w, const char *path, const char *headers, int *status)
{
    struct world_ws *ws = mem_new(struct world_ws);
    ws->w = w;
    ws->fd = world_connect(w);
    struct buf out = {0};
    buf_printf(
        &out,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n%s\r\n",
        path, w->port, key, headers != NULL ? headers : "");
    world_send(ws->fd, buf_view(&out));
    buf_finish(&out);
    *status = 0;
    if (world_read_until(ws->fd, &ws->in, "\r\n\r\n", WORLD_TIMEOUT_MS)) {
        *status = ws->in.n > 12 ? atoi(ws->in.p + 9) : 0;
        buf_drop(&ws->in, (size_t)(strstr(ws->in.p, "\r\n\r\n") - ws->in.p) + 4);
    }
    if (*status == 101)
        return ws;
    world_ws_close(ws);
    return NULL;
}

struct world_ws *world_ws_open(struct world *w, const char *path, const char *protocol)
{
    int status = 0;
    char *header = protocol != NULL ? mem_format("Sec-WebSocket-Protocol: %s\r\n", protocol) : NULL;
    struct world_ws *ws = world_ws_try(w, path, header, &status);
    mem_free(header);
    if (ws == NULL)
        world_fail(w, "the handshake for %s was answered %d", path, status);
    return ws;
}

void world_ws_close(struct world_ws *ws)
{
    close(ws->fd);
    buf_finish(&ws->in);
    buf_finish(&ws->text);
    mem_free(ws);
}

void world_ws_frame(struct world_ws *ws, int first_byte, bool masked, struct str payload)
{
    struct buf out = {0};
    const int mask_bit = masked ? 0x80 : 0;
    buf_char(&out, (char)first_byte);
    if (payload.n < 126) {
        buf_char(&out, (char)(mask_bit | (int)payload.n));
    } else {
        int bytes = payload.n < 65536 ? 2 : 8;
        buf_char(&out, (char)(mask_bit | (bytes == 2 ? 126 : 127)));
        for (int i = bytes - 1; i >= 0; i--)
            buf_char(&out, (char)((uint64_t)payload.n >> (8 * i)));
    }
    if (masked)
        buf_add(&out, "\0\0\0\0", 4);
    buf_str(&out, payload);
    world_send(ws->fd, buf_view(&out));
    buf_finish(&out);
}

void world_ws_send(struct world_ws *ws, const char *text)
{
    world_ws_frame(ws, 0x81, true, str_of(text));
}

void world_ws_bytes(struct world_ws *ws, struct str bytes)
{
    world_send(ws->fd, bytes);
}

/* Until n bytes are there; false: closed or the time is over. */
static bool fill(struct world_ws *ws, size_t n, int64_t until_us)
{
    while (ws->in.n < n) {
        int64_t left = (until_us - clock_mono_us()) / 1000;
        if (left <= 0 || !world_read_some(ws->fd, &ws->in, left))
            return false;
    }
    return true;
}

/* One frame of the server: its opcode, with the payload added to out; -1: closed or nothing in time. */
static int take_frame(struct world_ws *ws, struct buf *out, int64_t until_us)
{
    if (!fill(ws, 2, until_us))
        return -1;
    const unsigned char *p = (const unsigned char *)ws->in.p;
    int opcode = p[0] & 0x0f;
    uint64_t n = p[1];
    size_t head = 2;
    ck_assert_msg((p[0] & 0x80) != 0, "the server sent a fragment");
    ck_assert_msg(n < 128, "the server masked a frame");
    if (n >= 126) {
        size_t bytes = n == 126 ? 2 : 8;
        head += bytes;
        if (!fill(ws, head, until_us))
            return -1;
        n = 0;
        for (size_t i = 2; i < head; i++)
            n = n << 8 | (unsigned char)ws->in.p[i];
    }
    if (!fill(ws, head + (size_t)n, until_us))
        return -1;
    buf_add(out, ws->in.p + head, (size_t)n);
    buf_drop(&ws->in, head + (size_t)n);
    return opcode;
}

const char *world_ws_next(struct world_ws *ws, int64_t timeout_ms)
{
    int64_t until = clock_mono_us() + timeout_ms * 1000;
    for (;;) {
        buf_clear(&ws->text);
        buf_puts(&ws->text, "");
        int opcode = take_frame(ws, &ws->text, until);
        if (opcode == 1)
            return ws->text.p;
        if (opcode == 9)
            world_ws_frame(ws, 0x8a, true, buf_view(&ws->text));
        if (opcode == 8 && ws->text.n >= 2)
            ws->close_code = (unsigned char)ws->text.p[0] << 8 | (unsigned char)ws->text.p[1];
        if (opcode == 8 || opcode < 0)
            return NULL;
    }
}

const char *world_ws_until(struct world_ws *ws, const char *text)
{
    int64_t until = clock_mono_us() + WORLD_TIMEOUT_MS * INT64_C(1000);
    const char *message;
    do {
        int64_t left = (until - clock_mono_us()) / 1000;
        message = left > 0 ? world_ws_next(ws, left) : NULL;
        if (message == NULL)
            world_fail(ws->w, "no message with %s came", text);
    } while (strstr(message, text) == NULL);
    return message;
}

int world_ws_close_code(struct world_ws *ws)
{
    while (ws->close_code == 0 && world_ws_next(ws, WORLD_TIMEOUT_MS) != NULL)
        ;
    return ws->close_code;
}
