/* SPDX-License-Identifier: Apache-2.0 */
/* Who may: the token of the settings, as a bearer or as the session cookie that /login sets, and where a browser's request may come from.
 *
 * Without a token the server listens on loopback only and everybody there may; but a page of another site, open in a
 * browser on this machine, may not: its Origin and its Host give it away. */
#ifndef HANDLERS_AUTH_H
#define HANDLERS_AUTH_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/http.h"

void auth_start(const char *token); /* copied; NULL or empty: none is asked for */
void auth_stop(void);
/* A code for one visit of /login?code=, within ten minutes. Valid until the next call. */
const char *auth_one_time_code(void);

/* For http_options. */
bool auth_request(struct http_req *q, struct err *e);
bool auth_websocket(struct str path, struct str origin, struct str host, struct str authorization,
                    struct str cookie, struct err *e);

/* GET /login?code=CODE, POST /login with {"token":"..."} or token=...; POST /logout. */
void auth_login_code(struct http_req *q);
void auth_login_token(struct http_req *q);
void auth_logout(struct http_req *q);

/* Pure parts, for tests. What a request says about where it comes from; absent headers are {NULL,0}. */
struct auth_facts {
    bool changes; /* not GET or HEAD */
    struct str host;
    struct str origin;
    struct str fetch_site;
    struct str authorization;
    struct str cookie;
};
bool auth_check(const struct auth_facts *f, struct err *e) MUST_CHECK;

#endif
