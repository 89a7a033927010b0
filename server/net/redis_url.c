/* SPDX-License-Identifier: Apache-2.0 */
/* Redis URLs: redis://[[user:]password@]host[:port][/db] and unix://[[user:]password@]/path[?db=N], the forms that
 * redis-cli takes too. Parts are percent-decoded after they were cut, so that a password may hold any byte.
 * No error text repeats the URL: it may hold a password. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "net/redis.h"

enum { DEFAULT_PORT = 6379, DB_MAX = 1000000 };

/* Bytes up to the first of `stops`, or all. */
static struct str cut_before(struct str s, const char *stops)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr(stops, s.p[i]) != NULL)
            return (struct str){s.p, i};
    }
    return s;
}

static struct str skip(struct str s, size_t n)
{
    return (struct str){s.p + n, s.n - n};
}

static char *decode(struct str s, const char *what, struct err *e)
{
    struct buf out = {0};
    if (!buf_url_decode(&out, s, false) || (out.n != 0 && memchr(out.p, '\0', out.n) != NULL)) {
        buf_finish(&out);
        err_fail(e, ERR_CONFIG, "the %s in the Redis URL has a bad %% escape", what);
        return NULL;
    }
    return buf_take(&out);
}

static bool parse_db(struct str s, struct redis_url *out, struct err *e)
{
    uint64_t db;
    if (s.n == 0)
        return true;
    if (!str_u64(s, &db) || db > DB_MAX)
        return err_fail(e, ERR_CONFIG, "the database in the Redis URL is not a number");
    out->db = (int)db;
    return true;
}

/* Takes [[user:]password@] off the front of *authority. */
static bool parse_login(struct str *authority, struct redis_url *out, struct err *e)
{
    const char *at = authority->n == 0 ? NULL : memrchr(authority->p, '@', authority->n);
    if (at == NULL)
        return true;
    struct str login = {authority->p, (size_t)(at - authority->p)};
    *authority = skip(*authority, login.n + 1);
    struct str user = cut_before(login, ":");
    if (user.n != login.n) {
        if (user.n != 0 && (out->user = decode(user, "user", e)) == NULL)
            return false;
        login = skip(login, user.n + 1);
    }
    if (login.n == 0)
        return out->user == NULL ||
               err_fail(e, ERR_CONFIG, "the Redis URL has a user but no password");
    return (out->password = decode(login, "password", e)) != NULL;
}

static bool parse_unix(struct str rest, struct redis_url *out, struct err *e)
{
    struct str login = cut_before(rest, "/");
    rest = skip(rest, login.n);
    if (!parse_login(&login, out, e))
        return false;
    struct str path = cut_before(rest, "?");
    struct str query = skip(rest, path.n);
    if (login.n != 0 || path.n < 2)
        return err_fail(e, ERR_CONFIG,
                        "the Redis URL must have an absolute path: unix:///run/redis.sock");
    if ((out->unix_path = decode(path, "path", e)) == NULL)
        return false;
    if (query.n == 0)
        return true;
    if (!str_starts(query, "?db="))
        return err_fail(e, ERR_CONFIG, "the Redis URL takes only ?db=N behind the path");
    return parse_db(skip(query, 4), out, e);
}

static bool parse_host(struct str authority, struct redis_url *out, struct err *e)
{
    struct str host;
    if (str_starts(authority, "[")) {
        host = cut_before(skip(authority, 1), "]");
        if (host.n + 1 >= authority.n)
            return err_fail(e, ERR_CONFIG, "the Redis URL has a [ without a ]");
        authority = skip(authority, host.n + 2);
    } else {
        host = cut_before(authority, ":");
        authority = skip(authority, host.n);
    }
    if ((out->host = decode(host.n != 0 ? host : STR("127.0.0.1"), "host", e)) == NULL)
        return false;
    out->port = DEFAULT_PORT;
    if (authority.n == 0)
        return true;
    uint64_t port;
    if (authority.p[0] != ':' || !str_u64(skip(authority, 1), &port) || port == 0 || port > 65535)
        return err_fail(e, ERR_CONFIG, "the Redis URL has a bad port");
    out->port = (int)port;
    return true;
}

static bool parse_tcp(struct str rest, struct redis_url *out, struct err *e)
{
    struct str authority = cut_before(rest, "/?#");
    rest = skip(rest, authority.n);
    if (rest.n != 0 && rest.p[0] != '/')
        return err_fail(e, ERR_CONFIG,
                        "the Redis URL takes nothing behind redis://user:password@host:port/db");
    return parse_login(&authority, out, e) && parse_host(authority, out, e) &&
           parse_db(rest.n == 0 ? rest : skip(rest, 1), out, e);
}

bool redis_url_parse(const char *url, struct redis_url *out, struct err *e)
{
    *out = (struct redis_url){0};
    struct str s = str_of(url);
    bool ok;
    if (str_starts(s, "redis://"))
        ok = parse_tcp(skip(s, strlen("redis://")), out, e);
    else if (str_starts(s, "unix://"))
        ok = parse_unix(skip(s, strlen("unix://")), out, e);
    else if (str_starts(s, "rediss://"))
        ok = err_fail(e, ERR_CONFIG,
                      "rediss:// (TLS to Redis) is not supported: use redis:// or unix://");
    else
        ok = err_fail(e, ERR_CONFIG, "the Redis URL must begin with redis:// or unix://");
    if (!ok)
        redis_url_finish(out);
    return ok;
}

void redis_url_finish(struct redis_url *u)
{
    if (u->password != NULL)
        explicit_bzero(u->password, strlen(u->password));
    mem_free(u->unix_path);
    mem_free(u->host);
    mem_free(u->user);
    mem_free(u->password);
    *u = (struct redis_url){0};
}
