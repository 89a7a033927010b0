/* SPDX-License-Identifier: Apache-2.0 */
/* Three dangers, three checks. A stranger on the network: the token, compared in constant time. A page of another site that lets the
 * user's browser speak for it: requests that change something, and WebSockets, must come from our own origin unless they
 * carry the token itself, which no foreign page knows. A foreign name that was made to point at 127.0.0.1: without a
 * token the Host must be an address or localhost, because then the browser takes the foreign page for ours.
 *
 * The session cookie holds no secret of ours: it is the instant of its end and a MAC over it, keyed by the token, so that
 * any process and a restarted one know it, and a new token ends all sessions. The MAC is the one that the webhooks' rows have. */
#include "handlers/auth.h"

#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "handlers/verify.h"

#define COOKIE "hookmesh_session"

enum { SESSION_S = 30 * 86400, CODE_S = 600, CODE_BYTES = 16 };

static struct {
    char *token; /* NULL: none is asked for */
    char code[CODE_BYTES * 2 + 1];
    int64_t code_until_us; /* monotonic; 0: no code is out */
} auth;

void auth_start(const char *token)
{
    auth_stop();
    auth.token = token && *token ? mem_strdup(token) : NULL;
}

void auth_stop(void)
{
    mem_free(auth.token);
    memset(&auth, 0, sizeof auth);
}

const char *auth_one_time_code(void)
{
    unsigned char bytes[CODE_BYTES];
    struct buf hex = {0};
    id_random(bytes, sizeof bytes);
    buf_hex(&hex, bytes, sizeof bytes);
    memcpy(auth.code, hex.p, sizeof auth.code);
    buf_finish(&hex);
    auth.code_until_us = clock_mono_us() + CODE_S * 1000000LL;
    return auth.code;
}

/* The time it takes depends on the length of what was sent, never on the secret. */
static bool same_secret(struct str sent, struct str secret)
{
    unsigned char differ = sent.n != secret.n;
    for (size_t i = 0; i < sent.n && secret.n > 0; i++)
        differ |= (unsigned char)(sent.p[i] ^ secret.p[i % secret.n]);
    return differ == 0;
}

static void session_mac(struct str until, struct buf *out)
{
    struct buf text = {0};
    buf_puts(&text, "session:");
    buf_str(&text, until);
    verify_sign(out, verify_scheme("github"), str_of(auth.token), buf_view(&text));
    buf_finish(&text);
}

static bool session_valid(struct str cookie)
{
    uint64_t until = 0;
    struct str rest = cookie;
    struct str stamp = str_split(&rest, '.');
    if (!rest.p || !str_u64(stamp, &until))
        return false;
    struct buf mac = {0};
    session_mac(stamp, &mac);
    bool ok = same_secret(rest, buf_view(&mac));
    buf_finish(&mac);
    return ok && (int64_t)until > clock_wall_us() / 1000000;
}

static struct str cookie_value(struct str header)
{
    while (header.p) {
        struct str pair = str_trim(str_split(&header, ';'));
        if (str_starts(pair, COOKIE "="))
            return (struct str){pair.p + sizeof COOKIE, pair.n - sizeof COOKIE};
    }
    return (struct str){0};
}

static struct str host_name(struct str host)
{
    struct str name = host;
    if (name.n > 0 && name.p[0] == '[') {
        const char *end = memchr(name.p, ']', name.n);
        return end ? (struct str){name.p + 1, (size_t)(end - name.p) - 1} : (struct str){0};
    }
    return str_split(&name, ':');
}

/* An address, or localhost: nobody's domain can be made to look like that. */
static bool host_is_safe(struct str host)
{
    struct str name = host_name(host);
    if (str_is_icase(name, "localhost") || str_ends(name, ".localhost"))
        return true;
    bool colon = false, letter = false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool hex = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
        colon |= c == ':';
        letter |= hex && c > '9';
        if (!hex && c != '.' && c != ':')
            return false;
    }
    return name.n > 0 && (colon || !letter);
}

static bool host_matches(struct str origin_host, struct str host, const char *default_port)
{
    struct buf a = {0}, b = {0};
    buf_str(&a, origin_host);
    buf_str(&b, host);
    if (!str_ends(buf_view(&a), default_port) && str_ends(buf_view(&b), default_port))
        buf_puts(&a, default_port);
    bool same = a.n > 0 && a.n == b.n && str_is_icase(buf_view(&a), b.p);
    buf_finish(&a);
    buf_finish(&b);
    return same;
}

static bool same_origin(struct str origin, struct str host)
{
    if (str_starts(origin, "http://"))
        return host_matches((struct str){origin.p + 7, origin.n - 7}, host, ":80");
    if (str_starts(origin, "https://"))
        return host_matches((struct str){origin.p + 8, origin.n - 8}, host, ":443");
    return false;
}

static bool check_origin(const struct auth_facts *f, bool by_cookie, struct err *e)
{
    if (f->origin.p) {
        if (same_origin(f->origin, f->host))
            return true;
        return err_fail(e, ERR_FORBIDDEN,
                        "a page of another site may not do this; send the token as "
                        "Authorization: Bearer to act from elsewhere");
    }
    if (f->fetch_site.p && !str_is(f->fetch_site, "same-origin") && !str_is(f->fetch_site, "none"))
        return err_fail(e, ERR_FORBIDDEN, "this request was started by another site");
    if (by_cookie && !f->fetch_site.p)
        return err_fail(e, ERR_FORBIDDEN,
                        "a request that is authorised by the session cookie must have an Origin; "
                        "programs send Authorization: Bearer");
    return true;
}

static bool bearer(struct str authorization, struct str *token)
{
    if (authorization.n < 7)
        return false;
    *token = str_trim((struct str){authorization.p + 7, authorization.n - 7});
    return str_is_icase((struct str){authorization.p, 7}, "bearer ");
}

/* /v1/jobs/NAME/runs, or /v1/runs/ID */
static bool path_is(struct str path, const char *before, const char *after)
{
    size_t n = strlen(before), m = strlen(after);
    return path.n > n + m && str_starts(path, before) && str_ends(path, after) &&
           !memchr(path.p + n, '/', path.n - n - m);
}

static bool check_run(const struct auth_facts *f, struct str text, struct err *e)
{
    struct token t;
    bool good = token_read(&t, text, f->now_ms, e);
    token_finish(&t);
    if (!good)
        return false;
    if (f->post && path_is(f->path, "/v1/jobs/", "/runs"))
        return true;
    if (!f->changes &&
        (path_is(f->path, "/v1/runs/", "") || path_is(f->path, "/v1/runs/", "/logs") ||
         path_is(f->path, "/v1/runs/", "/output")))
        return true;
    return err_fail(e, ERR_FORBIDDEN,
                    "a run's token is good for POST /v1/jobs/NAME/runs of its agent's "
                    "allowed_jobs, and GET /v1/runs/ID of the runs that it started");
}

bool auth_check(const struct auth_facts *f, struct err *e)
{
    struct str of_run = {0};
    if (f->authorization.p && bearer(f->authorization, &of_run) && token_is_one(of_run))
        return check_run(f, of_run, e);
    if (!auth.token) {
        if (!host_is_safe(f->host))
            return err_fail(e, ERR_FORBIDDEN,
                            "without a token this server answers under 127.0.0.1 or localhost "
                            "only; set HOOKMESH_TOKEN to use another name");
        return !f->changes || check_origin(f, false, e);
    }
    struct str token = {0};
    if (f->authorization.p) {
        if (bearer(f->authorization, &token) && same_secret(token, str_of(auth.token)))
            return true;
        return err_fail(e, ERR_UNAUTHORIZED,
                        "wrong token; send Authorization: Bearer with the HOOKMESH_TOKEN of the "
                        "server");
    }
    if (!session_valid(cookie_value(f->cookie)))
        return err_fail(e, ERR_UNAUTHORIZED,
                        "a token is needed: send Authorization: Bearer with the HOOKMESH_TOKEN of "
                        "the server, or log in at /login");
    return !f->changes || check_origin(f, true, e);
}

bool auth_request(struct http_req *q, struct err *e)
{
    struct auth_facts f = {.changes = !(http_method_of(q) & ((int)HTTP_GET_ | (int)HTTP_HEAD_)),
                           .host = http_header(q, "host"),
                           .origin = http_header(q, "origin"),
                           .fetch_site = http_header(q, "sec-fetch-site"),
                           .authorization = http_header(q, "authorization"),
                           .cookie = http_header(q, "cookie"),
                           .path = http_path(q),
                           .post = http_method_of(q) == HTTP_POST_,
                           .now_ms = clock_wall_us() / 1000};
    return auth_check(&f, e);
}

bool auth_agent(struct http_req *q, struct token *out)
{
    struct str authorization = http_header(q, "authorization"), text = {0};
    *out = (struct token){0};
    return authorization.p && bearer(authorization, &text) && token_is_one(text) &&
           token_read(out, text, clock_wall_us() / 1000, NULL);
}

bool auth_websocket(struct str path, struct str origin, struct str host, struct str authorization,
                    struct str cookie, struct err *e)
{
    struct auth_facts f = {.host = host,
                           .origin = origin,
                           .authorization = authorization,
                           .cookie = cookie,
                           .path = path,
                           .now_ms = clock_wall_us() / 1000};
    if (origin.p && !same_origin(origin, host))
        return err_fail(e, ERR_FORBIDDEN, "a page of another site may not listen here");
    return auth_check(&f, e);
}

static void set_cookie(struct http_req *q, struct str value, int64_t max_age_s)
{
    struct buf line = {0};
    buf_puts(&line, COOKIE "=");
    buf_str(&line, value);
    buf_printf(&line, "; Path=/; Max-Age=%lld; HttpOnly; SameSite=Strict%s", (long long)max_age_s,
               http_secure(q) ? "; Secure" : "");
    http_set_header(q, "set-cookie", buf_view(&line));
    buf_finish(&line);
}

static void begin_session(struct http_req *q)
{
    if (!auth.token)
        return;
    struct buf value = {0}, mac = {0};
    buf_u64(&value, (uint64_t)(clock_wall_us() / 1000000 + SESSION_S));
    session_mac(buf_view(&value), &mac);
    buf_char(&value, '.');
    buf_str(&value, buf_view(&mac));
    set_cookie(q, buf_view(&value), SESSION_S);
    buf_finish(&value);
    buf_finish(&mac);
}

void auth_login_code(struct http_req *q)
{
    bool ok = auth.code_until_us > clock_mono_us() &&
              same_secret(http_query(q, "code"), str_of(auth.code));
    http_set_header(q, "cache-control", STR("no-store"));
    if (!ok) {
        http_problem(q, ERR_FORBIDDEN,
                     "this link was used already or is too old; start the server again for a new "
                     "one, or log in with the token");
        return;
    }
    auth.code_until_us = 0;
    begin_session(q);
    http_set_header(q, "location", STR("/"));
    http_reply(q, 303, "text/plain; charset=utf-8", STR("logged in\n"));
}

/* The token in a JSON object or in a form; the copy is the caller's. */
static char *sent_token(struct str body)
{
    struct str text = str_trim(body);
    struct buf value = {0};
    if (text.n > 0 && text.p[0] == '{') {
        struct json *root = json_parse(text, NULL);
        buf_str(&value, json_str(json_get(root, "token")));
        json_free(root);
    } else if (str_starts(text, "token=")) {
        struct str rest = {text.p + 6, text.n - 6};
        if (!buf_url_decode(&value, str_split(&rest, '&'), true))
            buf_clear(&value);
    }
    buf_puts(&value, "");
    return buf_take(&value);
}

void auth_login_token(struct http_req *q)
{
    struct str origin = http_header(q, "origin");
    http_set_header(q, "cache-control", STR("no-store"));
    if (origin.p && !same_origin(origin, http_header(q, "host"))) {
        http_problem(q, ERR_FORBIDDEN, "a page of another site may not log you in");
        return;
    }
    char *token = sent_token(http_body(q));
    bool ok = !auth.token || same_secret(str_of(token), str_of(auth.token));
    mem_free(token);
    if (!ok) {
        log_warn("auth", "login_refused", "peer=%.*s", (int)http_peer(q).n, http_peer(q).p);
        http_problem(q, ERR_UNAUTHORIZED,
                     "wrong token; it is the HOOKMESH_TOKEN that the server was started with");
        return;
    }
    begin_session(q);
    http_reply_json(q, 200, STR("{\"ok\":true}"));
}

void auth_logout(struct http_req *q)
{
    set_cookie(q, STR(""), 0);
    http_reply_json(q, 200, STR("{\"ok\":true}"));
}
