/* SPDX-License-Identifier: Apache-2.0 */
/* Who may: the token of the settings, as a bearer or as the session cookie that /login sets, and where a browser's request may come from. The
 * token of a run may far less, and says who asks, also where no other token is asked for.
 *
 * Without a token the server listens on loopback only and everybody there may; but a page of another site, open in a
 * browser on this machine, may not: its Origin and its Host give it away. */
#ifndef HANDLERS_AUTH_H
#define HANDLERS_AUTH_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/http.h"
#include "work/token.h"

void auth_start(const char *token); /* copied; NULL or empty: none is asked for */
void auth_stop(void);
/* A code for one visit of /login?code=, within ten minutes. Valid until the next call. */
const char *auth_one_time_code(void);

/* Is it the work of an agent that asks, by a token of its run (work/token.h)? Such a request came here only to start a job or to look at a
 * run; whether it may start this one, or see that one, is the handler's to say. token_finish in any case. */
bool auth_agent(struct http_req *q, struct token *out);

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
    struct str path;
    bool post;
    int64_t now_ms; /* since 1970 */
};
bool auth_check(const struct auth_facts *f, struct err *e) MUST_CHECK;

#endif
