/* SPDX-License-Identifier: Apache-2.0 */
/* The dashboard's files: few, small, read anew for each request that hasn't got them (the kernel caches them better than we
 * would, and an edited file is seen at once). A name is made of plain segments only, so nothing outside the directory, no
 * hidden file and no device can be reached; a symbolic link as the last part isn't followed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/http_int.h"

enum { FILE_MAX = 16 << 20, NAME_MAX_BYTES = 512 };

static const struct {
    const char *suffix;
    const char *type;
} types[] = {{".html", "text/html; charset=utf-8"},
             {".js", "text/javascript; charset=utf-8"},
             {".mjs", "text/javascript; charset=utf-8"},
             {".css", "text/css; charset=utf-8"},
             {".json", "application/json"},
             {".map", "application/json"},
             {".svg", "image/svg+xml"},
             {".png", "image/png"},
             {".ico", "image/x-icon"},
             {".webp", "image/webp"},
             {".woff2", "font/woff2"},
             {".txt", "text/plain; charset=utf-8"},
             {".md", "text/plain; charset=utf-8"},
             {".webmanifest", "application/manifest+json"}};

static const char *type_of(struct str name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (str_ends(name, types[i].suffix))
            return types[i].type;
    return "application/octet-stream";
}

static bool plain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '@' || c == '+';
}

/* "/a/b.js" is plain; "", "//", "/.", "/..", "/.git" and anything encoded are not. */
static bool plain_path(struct str path)
{
    if (path.n < 2 || path.n > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < path.n; i++) {
        bool start = i == 0 || path.p[i - 1] == '/';
        if (i == 0 ? path.p[i] != '/' : path.p[i] != '/' && !plain_char(path.p[i]))
            return false;
        if (i > 0 && start && (path.p[i] == '/' || path.p[i] == '.'))
            return false;
    }
    return path.p[path.n - 1] != '/';
}

static int open_file(struct str path, struct stat *st)
{
    char *name = mem_format("%s%.*s", http_settings()->static_dir, (int)path.n, path.p);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    mem_free(name);
    if (fd >= 0 && (fstat(fd, st) != 0 || !S_ISREG(st->st_mode) || st->st_size > FILE_MAX)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool lists_tag(struct str list, const char *tag)
{
    while (list.p != NULL) {
        struct str one = str_trim(str_split(&list, ','));
        if (str_starts(one, "W/"))
            one = (struct str){one.p + 2, one.n - 2};
        if (str_is(one, tag) || str_is(one, "*"))
            return true;
    }
    return false;
}

static void set_headers(struct http_req *q, const char *tag)
{
    http_set_header(q, "etag", str_of(tag));
    http_set_header(q, "cache-control", STR("no-cache"));
    http_set_header(q, "referrer-policy", STR("no-referrer"));
    /* connect-src 'self' covers wss: of the same host in all browsers of today, but ws: not in all. */
    http_set_header(q, "content-security-policy",
                    STR("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' "
                        "data:; font-src 'self'; connect-src 'self' ws: wss:; manifest-src 'self'; "
                        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"));
}

static bool send_file(struct http_req *q, int fd, const struct stat *st, const char *type)
{
    size_t n = (size_t)st->st_size;
    char *bytes = mem_alloc(n + 1);
    size_t got = 0;
    while (got < n) {
        ssize_t k = read(fd, bytes + got, n - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    if (got == n)
        http_reply(q, 200, type, (struct str){bytes, n});
    else
        http_problem(q, ERR_INTERNAL, "the file could not be read whole");
    mem_free(bytes);
    return true;
}

bool http_static_reply(struct http_req *q)
{
    if (http_settings()->static_dir == NULL)
        return false;
    struct str path = http_path(q);
    if (str_is(path, "/"))
        path = STR("/index.html");
    struct stat st;
    int fd = plain_path(path) ? open_file(path, &st) : -1;
    if (fd < 0)
        return false;
    char tag[64];
    snprintf(tag, sizeof tag, "\"%llx-%lx-%llx\"", (unsigned long long)st.st_mtim.tv_sec,
             st.st_mtim.tv_nsec, (unsigned long long)st.st_size);
    set_headers(q, tag);
    if (lists_tag(http_header(q, "if-none-match"), tag))
        http_reply(q, 304, NULL, STR(""));
    else
        send_file(q, fd, &st, type_of(path));
    close(fd);
    return true;
}
