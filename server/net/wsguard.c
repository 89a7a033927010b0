/* SPDX-License-Identifier: Apache-2.0 */
/* libwebsockets accepts frames without a mask, fragments without end and lengths that no memory holds, and announces none
 * of it to its user in time. All of that stands in the frame headers, so these are read here before it sees them: a header is
 * collected byte by byte, judged when it is whole, and its payload skipped by its length. What is wrong with the contents
 * (UTF-8) is left to whoever has the message. */
#include "net/wsguard.h"

#include <string.h>

enum { FRAGMENTS_MAX = 1024 };
enum { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* Of the header of which some bytes are known. */
static size_t header_length(const unsigned char *h, size_t n)
{
    if (n < 2)
        return 2;
    size_t mask = (h[1] & 0x80) != 0 ? 4 : 0;
    int length = h[1] & 0x7f;
    return 2 + mask + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

static uint64_t payload_length(const unsigned char *h)
{
    int length = h[1] & 0x7f;
    if (length < 126)
        return (uint64_t)length;
    uint64_t v = 0;
    for (int i = 0; i < (length == 126 ? 2 : 8); i++)
        v = v << 8 | h[2 + i];
    return v;
}

static int bad(const char **why, int code, const char *text)
{
    *why = text;
    return code;
}

/* The first two bytes tell all but the length. */
static int judge_start(const struct wsguard *g, const char **why)
{
    unsigned char first = g->header[0];
    int op = first & 0x0f;
    bool final = (first & 0x80) != 0;
    if ((first & 0x70) != 0)
        return bad(why, 1002, "reserved bits");
    if ((g->header[1] & 0x80) == 0)
        return bad(why, 1002, "a frame without a mask");
    if (op == CLOSE || op == PING || op == PONG) {
        if (!final || (g->header[1] & 0x7f) > 125)
            return bad(why, 1002, "a control frame that is fragmented or too long");
        return 0;
    }
    if (op == BINARY)
        return bad(why, 1003, "only text is taken");
    if (op != TEXT && op != CONTINUATION)
        return bad(why, 1002, "an unknown opcode");
    if ((op == CONTINUATION) != g->inside)
        return bad(why, 1002, g->inside ? "a new message inside another" : "a stray continuation");
    return 0;
}

static int judge_header(struct wsguard *g, size_t max_message, const char **why)
{
    uint64_t length = payload_length(g->header);
    int short_length = g->header[1] & 0x7f;
    g->left = length;
    if ((g->header[0] & 0x08) != 0)
        return 0;
    if ((short_length == 126 && length < 126) || (short_length == 127 && length < 65536))
        return bad(why, 1002, "a length that is longer than needed");
    if (!g->inside)
        g->message = g->fragments = 0;
    if (length > max_message || g->message + length > max_message)
        return bad(why, 1009, "the message is too large");
    if (++g->fragments > FRAGMENTS_MAX)
        return bad(why, 1008, "too many fragments");
    g->message += length;
    g->inside = (g->header[0] & 0x80) == 0;
    return 0;
}

int wsguard_read(struct wsguard *g, const void *bytes, size_t n, size_t max_message, size_t *good,
                 const char **why)
{
    const unsigned char *p = bytes;
    size_t at = 0;
    *good = 0;
    while (at < n) {
        if (g->left > 0) {
            size_t skip = g->left < n - at ? (size_t)g->left : n - at;
            g->left -= skip;
            at += skip;
            *good = at;
            continue;
        }
        g->header[g->header_n++] = p[at++];
        int code = g->header_n == 2 ? judge_start(g, why) : 0;
        if (code == 0 && g->header_n == header_length(g->header, g->header_n)) {
            code = judge_header(g, max_message, why);
            g->header_n = 0;
        }
        if (code != 0)
            return code;
        if (g->header_n == 0)
            *good = at;
    }
    *good = n;
    return 0;
}
