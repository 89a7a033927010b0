/* SPDX-License-Identifier: Apache-2.0 */
/* The WebSocket handshake, judged here and written anew with the few headers that matter: libwebsockets sees no header of the
 * client's choosing, negotiates no extension, and always finds the version and the key that it does not insist on. */
#include <string.h>

#include "net/http_int.h"

static bool has_token(const struct http_req *q, const char *header, const char *token)
{
    struct str list = http_header(q, header);
    while (list.p != NULL)
        if (str_is_icase(str_trim(str_split(&list, ',')), token))
            return true;
    return false;
}

static bool is_key(struct str key)
{
    struct buf bytes = {0};
    bool ok = key.n == 24 && buf_base64_decode(&bytes, key) && bytes.n == 16;
    buf_finish(&bytes);
    return ok;
}

bool http_handshake(const struct http_req *q, const char *protocol, struct buf *out, struct err *e)
{
    struct str key = http_header(q, "sec-websocket-key");
    if (!has_token(q, "connection", "upgrade"))
        return err_fail(e, ERR_BAD_INPUT, "a WebSocket handshake needs Connection: Upgrade");
    if (!str_is(http_header(q, "sec-websocket-version"), "13"))
        return err_fail(e, ERR_BAD_INPUT, "a WebSocket handshake needs Sec-WebSocket-Version: 13");
    if (!is_key(key))
        return err_fail(e, ERR_BAD_INPUT,
                        "a WebSocket handshake needs a Sec-WebSocket-Key of 16 bytes in base64");
    if (q->guard.left > 0 || q->guard.chunked)
        return err_fail(e, ERR_BAD_INPUT, "a WebSocket handshake has no body");
    struct str asked = http_header(q, "sec-websocket-protocol");
    if (asked.p != NULL && !has_token(q, "sec-websocket-protocol", protocol))
        return err_fail(e, ERR_BAD_INPUT, "the WebSocket subprotocol here is %s", protocol);
    struct str path = http_path(q);
    buf_puts(out, "GET ");
    buf_str(out, path);
    buf_puts(out, " HTTP/1.1\r\nHost: ");
    buf_str(out, path); /* the hub's virtual host */
    buf_puts(out, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    buf_str(out, key);
    if (asked.p != NULL)
        buf_printf(out, "\r\nSec-WebSocket-Protocol: %s", protocol);
    buf_puts(out, "\r\n\r\n");
    return true;
}
