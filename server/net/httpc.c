/* SPDX-License-Identifier: Apache-2.0 */
/* libcurl's multi interface driven by the loop: curl tells which sockets and which timeout it waits for, we tell it
 * when they are due.
 *
 * curl forbids calls into it from its own callbacks, and a user's on_body is called from one of them. So a
 * call is started and cancelled by a deferred function, never at once; a timeout of zero is deferred too, because
 * curl asks for it inside curl_multi_add_handle.
 *
 * There are two pools of connections. A call that may not reach private addresses is checked when its socket is
 * opened; had it shared a pool with the others, it could be given one of their open connections and never be checked. The
 * environment's proxies are ignored for the same reason: then only the proxy's address would be checked.
 * Redirects are not followed: the caller sees the status and the location.
 *
 * Mails: curl's own SMTP blocks the thread for the answers to DATA and QUIT, however long the server takes. So curl only
 * connects (greeting, STARTTLS, login), each time with a multi handle of its own that takes the connection with it, and net/mail.c does the talking. */
#include "net/httpc.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "net/address.h"
#include "net/loop.h"

enum {
    CONNECT_TIMEOUT_MS = 10000,
    MAX_RESPONSE = 64 * 1024 * 1024,
    IDLE_CONNECTIONS = 64,
    HOST_MAX = 200,
    SAID_MAX = 200,
};

struct pool {
    CURLM *multi;
    struct timer *timer;
    bool due; /* a deferred call to curl is under way */
};

struct httpc_call {
    struct list link;
    struct pool *pool;
    CURL *easy;
    struct curl_slist *headers;
    httpc_fn fn;
    void *arg;
    void (*on_body)(void *arg, struct str bytes);
    struct buf body;
    size_t received;
    size_t max; /* 0: any */
    char error[CURL_ERROR_SIZE];
    char host[HOST_MAX]; /* for error texts: the rest of a URL may be secret */
    struct err refused;  /* why it is not even tried, or not let through */
    bool too_large;
    bool added; /* to the multi handle */
    bool cancelled;
    bool over; /* fn was called; the memory lives until the end of the turn */
    bool dial; /* to a mail server; the pool is its own */
    bool open; /* fn was called, and the caller talks */
    int fd;
    char said[SAID_MAX]; /* the mail server's last answer */
};

static struct {
    bool started;
    struct list calls;
    struct pool open; /* may reach private addresses */
    struct pool checked;
    char *trusted; /* PEM file */
} self;

static void pool_finish(struct pool *p)
{
    CURLM *multi = p->multi;
    curl_multi_cleanup(multi); /* still tells which sockets it lets go of */
    p->multi = NULL;
    p->due = false;
    timer_free(p->timer);
    p->timer = NULL;
}

static void release(struct httpc_call *c)
{
    if (c->added)
        curl_multi_remove_handle(c->pool->multi, c->easy);
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    buf_finish(&c->body);
    if (c->dial) {
        pool_finish(c->pool);
        loop_free_later(c->pool);
    }
    loop_free_later(c);
}

static void complete(struct httpc_call *c, const struct httpc_response *r, const struct err *e)
{
    c->over = true;
    list_remove(&c->link);
    if (c->added) {
        curl_multi_remove_handle(c->pool->multi, c->easy);
        c->added = false;
    }
    c->fn(c->arg, r, e);
    release(c);
}

static struct str header(struct httpc_call *c, const char *name)
{
    struct curl_header *h;
    if (curl_easy_header(c->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return (struct str){NULL, 0};
    return str_of(h->value);
}

static int64_t retry_after_ms(struct httpc_call *c)
{
    curl_off_t s = 0;
    if (header(c, "Retry-After").p == NULL ||
        curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &s) != CURLE_OK)
        return -1;
    return s < 0 ? 0 : (s < INT64_MAX / 1000 ? s * 1000 : INT64_MAX);
}

static void succeed(struct httpc_call *c)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (c->dial) {
        struct httpc_response line = {.status = (int)status, .body = str_of(c->said)};
        curl_socket_t fd = -1;
        curl_easy_getinfo(c->easy, CURLINFO_ACTIVESOCKET, &fd);
        c->fd = fd;
        c->open = true;
        c->fn(c->arg, &line, NULL);
        return;
    }
    struct httpc_response r = {
        .status = (int)status,
        .body = buf_view(&c->body),
        .content_type = header(c, "Content-Type"),
        .location = header(c, "Location"),
        .etag = header(c, "ETag"),
        .link = header(c, "Link"),
        .retry_after_ms = retry_after_ms(c),
    };
    complete(c, &r, NULL);
}

/* What a mail server's answer means for trying again is in its first digit. */
static void judge_dial(const struct httpc_call *c, CURLcode code, struct err *e)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_USE_SSL_FAILED)
        err_fail(e, ERR_FORBIDDEN, "%s offers no STARTTLS", c->host);
    else if (status >= 400 && status <= 499)
        err_fail(e, ERR_UNAVAILABLE, "%s puts mails off: %s", c->host, c->said);
    else if (code == CURLE_LOGIN_DENIED)
        err_fail(e, ERR_UNAUTHORIZED, "%s refused the login: %s", c->host, c->said);
    else if (status >= 500)
        err_fail(e, ERR_FORBIDDEN, "%s takes no mail: %s", c->host, c->said);
}

static void fail(struct httpc_call *c, CURLcode code)
{
    struct err e = c->refused;
    const char *why = c->error[0] != '\0' ? c->error : curl_easy_strerror(code);
    if (c->dial && e.code == ERR_NONE && code != CURLE_OPERATION_TIMEDOUT)
        judge_dial(c, code, &e);
    if (e.code != ERR_NONE)
        ; /* said already */
    else if (c->too_large)
        err_fail(&e, ERR_TOO_LARGE, "the answer of %s has more than %zu bytes", c->host, c->max);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        err_fail(&e, ERR_TIMEOUT, "%s did not answer in time: %s", c->host, why);
    else if (code == CURLE_URL_MALFORMAT)
        err_fail(&e, ERR_BAD_INPUT, "not a URL that can be called: %s", why);
    else
        err_fail(&e, ERR_UNAVAILABLE, "no answer from %s: %s", c->host, why);
    complete(c, NULL, &e);
}

/* Calls that ended in what curl just did. A cancelled one is left to on_cancel. */
static void collect(struct pool *p)
{
    CURLMsg *m;
    int left;
    while (p->multi != NULL && (m = curl_multi_info_read(p->multi, &left)) != NULL) {
        struct httpc_call *c = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
        if (m->msg != CURLMSG_DONE || c->cancelled)
            continue;
        if (code == CURLE_OK)
            succeed(c);
        else
            fail(c, code);
    }
}

static void act(struct pool *p, curl_socket_t fd, int events)
{
    int running;
    if (p->multi == NULL)
        return;
    curl_multi_socket_action(p->multi, fd, events, &running);
    collect(p);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_due(void *arg)
{
    struct pool *p = arg;
    if (!p->due)
        return;
    p->due = false;
    act(p, CURL_SOCKET_TIMEOUT, 0);
}

static int want_timeout(CURLM *multi, long ms, void *arg)
{
    (void)multi;
    struct pool *p = arg;
    timer_disarm(p->timer);
    if (ms > 0) {
        p->due = false;
        timer_arm(p->timer, ms);
    } else if (ms == 0 && !p->due) {
        p->due = true;
        loop_defer(on_due, p);
    } else if (ms < 0) {
        p->due = false;
    }
    return 0;
}

struct watched {
    struct pool *pool;
    curl_socket_t fd;
    struct io *io;
};

static void on_io(void *arg, int events)
{
    const struct watched *w = arg;
    act(w->pool, w->fd,
        ((events & IO_READ) != 0 ? CURL_CSELECT_IN : 0) |
            ((events & IO_WRITE) != 0 ? CURL_CSELECT_OUT : 0));
}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *of_socket)
{
    (void)easy;
    struct pool *p = arg;
    struct watched *w = of_socket;
    if (what == CURL_POLL_REMOVE) {
        if (w == NULL)
            return 0;
        io_free(w->io);
        loop_free_later(w); /* we may be in its callback */
        curl_multi_assign(p->multi, fd, NULL);
        return 0;
    }
    if (w == NULL) {
        w = mem_new(struct watched);
        w->pool = p;
        w->fd = fd;
        w->io = io_new(fd, on_io, w);
        curl_multi_assign(p->multi, fd, w);
    }
    io_want(w->io, ((what & CURL_POLL_IN) != 0 ? IO_READ : 0) |
                       ((what & CURL_POLL_OUT) != 0 ? IO_WRITE : 0));
    return 0;
}

static void pool_start(struct pool *p)
{
    p->multi = curl_multi_init();
    must(p->multi != NULL);
    p->timer = timer_new(on_timer, p);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERFUNCTION, want_timeout);
    curl_multi_setopt(p->multi, CURLMOPT_TIMERDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(p->multi, CURLMOPT_SOCKETDATA, p);
    curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
}

static void start_once(void)
{
    if (self.started)
        return;
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    list_init(&self.calls);
    pool_start(&self.open);
    pool_start(&self.checked);
    self.started = true;
}

static size_t on_bytes(char *bytes, size_t one, size_t n, void *arg)
{
    (void)one;
    struct httpc_call *c = arg;
    if (c->cancelled)
        return 0;
    if (c->max != 0 && n > c->max - c->received) {
        c->too_large = true;
        return 0; /* ends the transfer */
    }
    c->received += n;
    if (c->on_body != NULL)
        c->on_body(c->arg, (struct str){bytes, n});
    else
        buf_add(&c->body, bytes, n);
    return n;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    struct httpc_call *c = arg;
    if (c->pool == &self.checked && !address_is_public(&a->addr)) {
        err_fail(&c->refused, ERR_FORBIDDEN,
                 "%s has a private address, and calls to private addresses are not allowed",
                 c->host);
        return CURL_SOCKET_BAD;
    }
    c->refused.code = ERR_NONE; /* an earlier address was private, this one is not */
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool is_token(const char *s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        bool letter = (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z');
        if (!letter && !(*s >= '0' && *s <= '9') && strchr(others, *s) == NULL)
            return false;
    }
    return true;
}

/* Adds a header line as the caller gave it; one that could begin another line is refused. */
static bool add_header(struct httpc_call *c, const char *line)
{
    const char *colon = strchr(line, ':');
    if (colon == NULL || strpbrk(line, "\r\n") != NULL)
        return err_fail(&c->refused, ERR_BAD_INPUT, "a header of the call is malformed");
    char *name = mem_dup(line, (size_t)(colon - line));
    bool ok = is_token(name) ||
              err_fail(&c->refused, ERR_BAD_INPUT, "a header of the call has a bad name");
    mem_free(name);
    /* To curl "Name:" means: without it. An empty value is written with a semicolon. */
    bool empty = colon[1 + strspn(colon + 1, " \t")] == '\0';
    char *text = empty ? mem_format("%.*s;", (int)(colon - line), line) : mem_strdup(line);
    c->headers = curl_slist_append(c->headers, text);
    mem_free(text);
    return ok;
}

static bool has_header(const struct httpc_request *q, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; q->headers != NULL && q->headers[i] != NULL; i++) {
        if (strncasecmp(q->headers[i], name, n) == 0 && q->headers[i][n] == ':')
            return true;
    }
    return false;
}

static void set_headers(struct httpc_call *c, const struct httpc_request *q)
{
    for (size_t i = 0; q->headers != NULL && q->headers[i] != NULL; i++) {
        if (!add_header(c, q->headers[i]))
            return;
    }
    if (!has_header(q, "Expect"))
        c->headers = curl_slist_append(c->headers, "Expect:"); /* costs a round trip */
    if (!has_header(q, "Content-Type"))
        c->headers = curl_slist_append(c->headers, "Content-Type:"); /* not a form */
    curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "hookmesh/" HOOKMESH_VERSION);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
}

static void set_method(struct httpc_call *c, const struct httpc_request *q)
{
    const char *method = q->method != NULL ? q->method : q->body.n != 0 ? "POST" : "GET";
    if (!is_token(method)) {
        err_fail(&c->refused, ERR_BAD_INPUT, "the method of the call is malformed");
        return;
    }
    bool writes =
        strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
    if (q->body.n != 0 || writes) {
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.n);
        curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, q->body.n != 0 ? q->body.p : "");
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L);
    }
    curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, method);
}

/* An URL that curl would refuse is refused before anything is opened. */
static void check_url(struct httpc_call *c, const char *url, const char *plain, const char *tls)
{
    CURLU *u = curl_url();
    char *host = NULL;
    char *scheme = NULL;
    CURLUcode bad = curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    if (bad == CURLUE_OK)
        bad = curl_url_get(u, CURLUPART_HOST, &host, 0);
    if (bad == CURLUE_OK)
        bad = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0);
    if (bad != CURLUE_OK)
        err_fail(&c->refused, ERR_BAD_INPUT, "not a URL that can be called: %s",
                 curl_url_strerror(bad));
    else if (strcmp(scheme, plain) != 0 && strcmp(scheme, tls) != 0)
        err_fail(&c->refused, ERR_BAD_INPUT,
                 "not a URL that can be called: it must begin with %s:// or %s://", plain, tls);
    snprintf(c->host, sizeof c->host, "%s", host != NULL ? host : "the server");
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(u);
}

static void start(void *arg)
{
    struct httpc_call *c = arg;
    if (c->over || c->cancelled)
        return;
    if (c->refused.code != ERR_NONE) {
        fail(c, CURLE_OK);
        return;
    }
    c->added = true;
    must(curl_multi_add_handle(c->pool->multi, c->easy) == CURLM_OK);
}

static struct httpc_call *call_new(struct pool *p, httpc_fn fn, void *arg)
{
    struct httpc_call *c = mem_new(struct httpc_call);
    c->pool = p;
    c->fn = fn;
    c->arg = arg;
    c->fd = -1;
    list_append(&self.calls, &c->link);
    c->easy = curl_easy_init();
    must(c->easy != NULL);
    return c;
}

static void set_common(struct httpc_call *c, const char *url, const char *schemes,
                       int64_t timeout_ms)
{
    CURL *easy = c->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, c);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    if (self.trusted != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, self.trusted); /* the system's directory stays */
}

struct httpc_call *httpc_send(const struct httpc_request *q, httpc_fn fn, void *arg)
{
    start_once();
    struct httpc_call *c = call_new(q->allow_private ? &self.open : &self.checked, fn, arg);
    c->on_body = q->on_body;
    c->max = q->max_response != 0 || q->on_body != NULL ? q->max_response : MAX_RESPONSE;
    check_url(c, q->url, "http", "https");
    set_method(c, q);
    set_headers(c, q);
    set_common(c, q->url, "http,https", q->timeout_ms);
    loop_defer(start, c);
    return c;
}

/* Mail servers. */

static size_t on_answer(char *p, size_t one, size_t n, void *arg)
{
    (void)one;
    struct httpc_call *c = arg;
    struct str line = str_trim((struct str){p, n});
    size_t used = line.n < sizeof c->said ? line.n : sizeof c->said - 1;
    for (size_t i = 0; i < used; i++) /* it goes into errors */
        c->said[i] = line.p[i] >= ' ' && line.p[i] < 0x7f ? line.p[i] : '?';
    c->said[used] = '\0';
    return n;
}

static void set_tls(struct httpc_call *c, const struct httpc_dial *d)
{
    bool login = d->user != NULL && d->user[0] != '\0';
    bool insist = d->tls == HTTPC_TLS_ALWAYS || (login && d->tls == HTTPC_TLS_TRY);
    long use = insist ? CURLUSESSL_ALL : CURLUSESSL_TRY;
    curl_easy_setopt(c->easy, CURLOPT_USE_SSL,
                     d->tls == HTTPC_TLS_NEVER ? (long)CURLUSESSL_NONE : use);
    /* Where the clear would do as well, a certificate that nobody vouches for is no reason to send nothing. */
    if (!insist && strncasecmp(d->url, "smtps:", 6) != 0) {
        curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (login) {
        curl_easy_setopt(c->easy, CURLOPT_USERNAME, d->user);
        curl_easy_setopt(c->easy, CURLOPT_PASSWORD, d->password != NULL ? d->password : "");
    }
}

struct httpc_call *httpc_dial(const struct httpc_dial *d, httpc_fn fn, void *arg)
{
    start_once();
    struct pool *own = mem_new(struct pool);
    pool_start(own);
    struct httpc_call *c = call_new(own, fn, arg);
    c->dial = true;
    check_url(c, d->url, "smtp", "smtps");
    if (strchr(d->url, '@') != NULL)
        err_fail(&c->refused, ERR_BAD_INPUT, "the login does not belong into the URL");
    set_common(c, d->url, "smtp,smtps", d->timeout_ms);
    set_tls(c, d);
    curl_easy_setopt(c->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_answer);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
    loop_defer(start, c);
    return c;
}

int httpc_fd(const struct httpc_call *c)
{
    return c->fd;
}

const char *httpc_host(const struct httpc_call *c)
{
    return c->host;
}

static bool line_failed(struct httpc_call *c, CURLcode code, struct err *e)
{
    return err_fail(e, ERR_UNAVAILABLE, "no answer from %s: %s", c->host,
                    code == CURLE_OK ? "it closed the connection" : curl_easy_strerror(code));
}

bool httpc_write(struct httpc_call *c, struct str *rest, struct err *e)
{
    while (rest->n != 0) {
        size_t n = 0;
        CURLcode code = curl_easy_send(c->easy, rest->p, rest->n, &n);
        if (code == CURLE_AGAIN)
            return true;
        if (code != CURLE_OK)
            return line_failed(c, code, e);
        rest->p += n;
        rest->n -= n;
    }
    return true;
}

bool httpc_read(struct httpc_call *c, struct buf *got, struct err *e)
{
    for (;;) {
        char bytes[4096];
        size_t n = 0;
        CURLcode code = curl_easy_recv(c->easy, bytes, sizeof bytes, &n);
        if (code == CURLE_AGAIN)
            return true;
        if (code != CURLE_OK || n == 0)
            return line_failed(c, code, e);
        buf_add(got, bytes, n);
    }
}

void httpc_hang_up(struct httpc_call *c)
{
    must(c->open);
    list_remove(&c->link);
    /* curl would say QUIT and wait for the answer; on a closed line it cannot. */
    shutdown(c->fd, SHUT_RDWR);
    release(c);
}

void httpc_trust(const char *pem_path)
{
    mem_free(self.trusted);
    self.trusted = pem_path != NULL && pem_path[0] != '\0' ? mem_strdup(pem_path) : NULL;
}

static const struct err cancelled = {ERR_CANCELLED, "the call was cancelled"};

static void on_cancel(void *arg)
{
    struct httpc_call *c = arg;
    if (!c->over)
        complete(c, NULL, &cancelled);
}

void httpc_cancel(struct httpc_call *c)
{
    if (c->cancelled || c->over || c->open)
        return;
    c->cancelled = true;
    loop_defer(on_cancel, c);
}

void httpc_finish(void)
{
    httpc_trust(NULL);
    if (!self.started)
        return;
    list_each_safe(at, &self.calls) {
        struct httpc_call *c = container_of(at, struct httpc_call, link);
        if (!c->open) /* an open line is its user's to close */
            complete(c, NULL, &cancelled);
    }
    pool_finish(&self.open);
    pool_finish(&self.checked);
    curl_global_cleanup();
    self.started = false;
}
