/* SPDX-License-Identifier: Apache-2.0 */
/* libpq never blocks here but in one place: PQconnectStart looks the host's name up. So that call is made in the thread pool, and what it
 * gives is polled on the loop. A result is gathered until it is whole; rows are few here.
 *
 * A server that is gone without a word (its machine died, a firewall forgot us) would be noticed by nobody, as we only listen: every query
 * has a time limit, and who listens asks something now and then. */
#include "net/pg.h"

#include <dlfcn.h>
#include <libpq-fe.h>
#include <string.h>

#include "base/id.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_LAST_MS = 15000, CONNECT_MS = 10000, QUERY_MS = 30000 };

enum state { WAITING, LOOKING_UP, CONNECTING, UP };

struct query {
    struct list node;
    char *sql;
    char **parameters;
    size_t n;
    pg_result_fn fn;
    void *arg;
};

struct pg {
    char *url;
    char *name;
    pg_state_fn on_state;
    pg_notify_fn on_notify;
    void *arg;
    enum state state;
    PGconn *conn;
    struct io *io;
    int fd;
    struct timer *timer; /* backoff, connecting, the query at work */
    int64_t backoff_ms;
    struct list queries; /* the first one is at work when `sent` */
    bool sent;
    PGresult *result; /* of the query at work; the first that failed, or the last */
    bool lookup;      /* in the thread pool; closed: free it then */
    bool closed;
    char trouble[400];
};

struct pg_result {
    PGresult *r;
};

static void connect_now(void *arg);
static void fail_connection(struct pg *p, const char *why);
static void send_next(struct pg *p);

/* Loaded with the first connection: libpq brings Kerberos, LDAP and more with it, and few servers need them. */
/* clang-format off */
#define FUNCTIONS(X) \
    X(PQclear) X(PQconnectPoll) X(PQconnectStartParams) X(PQconninfoFree) \
    X(PQconninfoParse) X(PQconsumeInput) X(PQerrorMessage) X(PQfinish) \
    X(PQflush) X(PQfreemem) X(PQgetResult) X(PQgetisnull) \
    X(PQgetlength) X(PQgetvalue) X(PQisBusy) X(PQnfields) \
    X(PQnotifies) X(PQntuples) X(PQresultErrorField) X(PQresultErrorMessage) \
    X(PQresultStatus) X(PQsendQuery) X(PQsendQueryParams) X(PQserverVersion) \
    X(PQsetNoticeProcessor) X(PQsetnonblocking) X(PQsocket) X(PQstatus)
/* clang-format on */

static struct {
    bool loaded;
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} pq;

static bool load(struct err *e)
{
    if (pq.loaded)
        return true;
    void *library = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return err_fail(e, ERR_UNAVAILABLE,
                        "PostgreSQL's client library cannot be loaded (%s): install libpq5",
                        dlerror());
    pq.loaded = true;
    void *found;
#define LOAD(name)                                                                                 \
    found = dlsym(library, #name);                                                                 \
    memcpy(&pq.name, &found, sizeof found);                                                        \
    pq.loaded = pq.loaded && found != NULL;
    FUNCTIONS(LOAD)
#undef LOAD
    return pq.loaded ||
           err_fail(e, ERR_UNAVAILABLE, "PostgreSQL's client library is older than this program");
}

bool pg_check_url(const char *url, struct err *e)
{
    char *why = NULL;
    if (!load(e))
        return false;
    PQconninfoOption *options = pq.PQconninfoParse(url, &why);
    pq.PQfreemem(why); /* it may show the password */
    if (options == NULL)
        return err_fail(
            e, ERR_CONFIG,
            "it is no PostgreSQL address; write postgresql://USER:PASSWORD@HOST/DATABASE");
    for (PQconninfoOption *o = options; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "password") == 0 && o->val != NULL)
            log_secret(str_of(o->val));
    }
    pq.PQconninfoFree(options);
    return true;
}

/* libpq's words on one line, without a secret. */
static void keep_trouble(char *out, size_t size, const char *text)
{
    struct buf line = {0};
    for (const char *p = text; *p != '\0'; p++)
        buf_char(&line, *p == '\n' || *p == '\t' ? ' ' : *p);
    log_redact(&line, 0);
    struct str trimmed = str_trim(buf_view(&line));
    size_t n = trimmed.n < size - 1 ? trimmed.n : size - 1;
    if (n != 0)
        memcpy(out, trimmed.p, n);
    out[n] = '\0';
    buf_finish(&line);
}

static void query_free(struct query *q)
{
    for (size_t i = 0; i < q->n; i++)
        mem_free(q->parameters[i]);
    mem_free(q->parameters);
    mem_free(q->sql);
    mem_free(q);
}

static void drop_connection(struct pg *p)
{
    io_free(p->io);
    p->io = NULL;
    if (p->result != NULL)
        pq.PQclear(p->result);
    p->result = NULL;
    p->sent = false;
    if (p->conn != NULL)
        pq.PQfinish(p->conn);
    p->conn = NULL;
}

/* Those that came while it was up; a callback may ask anew, which then waits for the next connection. */
static void fail_queries(struct pg *p, enum err_code code, const char *why)
{
    struct err e;
    err_fail(&e, code, "%s", why);
    struct list gone;
    list_init(&gone);
    while (!list_empty(&p->queries)) {
        struct list *first = p->queries.next;
        list_remove(first);
        list_append(&gone, first);
    }
    while (!list_empty(&gone)) {
        struct query *q = container_of(gone.next, struct query, node);
        list_remove(&q->node);
        if (q->fn != NULL)
            q->fn(q->arg, NULL, &e);
        query_free(q);
    }
}

static void plan_connect(struct pg *p)
{
    unsigned char random;
    id_random(&random, 1);
    p->state = WAITING;
    timer_arm(p->timer, p->backoff_ms / 2 + p->backoff_ms * random / 512);
    p->backoff_ms = p->backoff_ms * 2 < BACKOFF_LAST_MS ? p->backoff_ms * 2 : BACKOFF_LAST_MS;
}

static void fail_connection(struct pg *p, const char *why)
{
    char text[sizeof p->trouble];
    keep_trouble(text, sizeof text, why);
    bool was_up = p->state == UP;
    bool news = was_up || strcmp(text, p->trouble) != 0;
    drop_connection(p);
    memcpy(p->trouble, text, sizeof text);
    plan_connect(p);
    if (news) {
        log_warn("pg", "down", "name=%s error=%s", p->name, log_quotez(p->trouble));
        p->on_state(p->arg, false);
    }
    if (!p->closed)
        fail_queries(p, ERR_UNAVAILABLE, p->trouble);
}

/* Results. */

static enum err_code code_of(const PGresult *r)
{
    const char *state = pq.PQresultErrorField(r, PG_DIAG_SQLSTATE);
    if (state == NULL)
        return ERR_UNAVAILABLE;
    if (strcmp(state, "42501") == 0)
        return ERR_FORBIDDEN;
    if (strncmp(state, "42P01", 5) == 0 || strncmp(state, "3F000", 5) == 0)
        return ERR_NOT_FOUND;
    bool passing = strncmp(state, "57", 2) == 0 || strncmp(state, "53", 2) == 0 ||
                   strncmp(state, "40", 2) == 0 || strncmp(state, "55", 2) == 0;
    return passing ? ERR_UNAVAILABLE : ERR_INTERNAL;
}

static void end_query(struct pg *p)
{
    struct query *q = container_of(p->queries.next, struct query, node);
    struct pg_result result = {p->result};
    list_remove(&q->node);
    p->result = NULL;
    p->sent = false;
    timer_disarm(p->timer);
    ExecStatusType status = pq.PQresultStatus(result.r); /* PGRES_FATAL_ERROR of NULL */
    if (q->fn == NULL) {
    } else if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK ||
               status == PGRES_EMPTY_QUERY) {
        q->fn(q->arg, &result, NULL);
    } else {
        struct err e;
        char text[300];
        keep_trouble(text, sizeof text,
                     result.r != NULL ? pq.PQresultErrorMessage(result.r)
                                      : pq.PQerrorMessage(p->conn));
        err_fail(&e, result.r != NULL ? code_of(result.r) : ERR_UNAVAILABLE, "%s", text);
        q->fn(q->arg, NULL, &e);
    }
    if (result.r != NULL)
        pq.PQclear(result.r);
    query_free(q);
    if (!p->closed && p->state == UP)
        send_next(p);
}

/* false: there may be more later. */
static bool take_results(struct pg *p)
{
    while (pq.PQisBusy(p->conn) == 0) {
        PGresult *r = pq.PQgetResult(p->conn);
        if (r == NULL)
            return true;
        if (p->result != NULL && pq.PQresultStatus(p->result) == PGRES_FATAL_ERROR) {
            pq.PQclear(r);
            continue;
        }
        if (p->result != NULL)
            pq.PQclear(p->result);
        p->result = r;
    }
    return false;
}

static void take_notifications(struct pg *p)
{
    PGnotify *n;
    while (p->conn != NULL && (n = pq.PQnotifies(p->conn)) != NULL) {
        p->on_notify(p->arg, str_of(n->relname), str_of(n->extra));
        pq.PQfreemem(n);
    }
}

static void flush(struct pg *p)
{
    int left = pq.PQflush(p->conn);
    if (left < 0)
        fail_connection(p, pq.PQerrorMessage(p->conn));
    else
        io_want(p->io, left > 0 ? IO_READ | IO_WRITE : IO_READ);
}

static void send_next(struct pg *p)
{
    if (p->sent || list_empty(&p->queries))
        return;
    struct query *q = container_of(p->queries.next, struct query, node);
    int sent = q->n == 0 ? pq.PQsendQuery(p->conn, q->sql)
                         : pq.PQsendQueryParams(p->conn, q->sql, (int)q->n, NULL,
                                                (const char *const *)q->parameters, NULL, NULL, 0);
    if (sent == 0) {
        fail_connection(p, pq.PQerrorMessage(p->conn));
        return;
    }
    p->sent = true;
    timer_arm(p->timer, QUERY_MS);
    flush(p);
}

static void on_ready(struct pg *p, int events)
{
    if ((events & IO_READ) != 0 && pq.PQconsumeInput(p->conn) == 0) {
        fail_connection(p, pq.PQerrorMessage(p->conn));
        return;
    }
    if ((events & IO_WRITE) != 0) {
        flush(p);
        if (p->state != UP)
            return;
    }
    take_notifications(p);
    if (p->sent && take_results(p))
        end_query(p);
}

/* Connecting. */

static void become_up(struct pg *p)
{
    timer_disarm(p->timer);
    p->state = UP;
    p->backoff_ms = BACKOFF_FIRST_MS;
    p->trouble[0] = '\0';
    io_want(p->io, IO_READ);
    log_info("pg", "up", "name=%s server=%d", p->name, pq.PQserverVersion(p->conn));
    p->on_state(p->arg, true);
    if (!p->closed && p->state == UP)
        send_next(p);
}

static void on_io(void *arg, int events);

/* libpq may change the socket while it connects (several addresses). */
static void watch_socket(struct pg *p, int wanted)
{
    int fd = pq.PQsocket(p->conn);
    if (p->io != NULL && fd != p->fd) {
        io_free(p->io);
        p->io = NULL;
    }
    if (p->io == NULL)
        p->io = io_new(fd, on_io, p);
    p->fd = fd;
    io_want(p->io, wanted);
}

static void go_on_connecting(struct pg *p)
{
    /* It may close this descriptor and open another of the same number: the watch must not outlive it. */
    io_free(p->io);
    p->io = NULL;
    switch (pq.PQconnectPoll(p->conn)) {
    case PGRES_POLLING_READING: watch_socket(p, IO_READ); break;
    case PGRES_POLLING_WRITING: watch_socket(p, IO_WRITE); break;
    case PGRES_POLLING_OK:
        if (pq.PQsetnonblocking(p->conn, 1) != 0) {
            fail_connection(p, pq.PQerrorMessage(p->conn));
            break;
        }
        watch_socket(p, IO_READ);
        become_up(p);
        break;
    case PGRES_POLLING_FAILED:
    case PGRES_POLLING_ACTIVE:
    default: fail_connection(p, pq.PQerrorMessage(p->conn)); break;
    }
}

static void on_io(void *arg, int events)
{
    struct pg *p = arg;
    if (p->state == CONNECTING)
        go_on_connecting(p);
    else
        on_ready(p, events);
}

static void no_notice(void *arg, const char *message)
{
    (void)arg;
    (void)message; /* "already exists, skipping" would go to stderr */
}

static void look_up(void *arg)
{
    struct pg *p = arg;
    const char *const keys[] = {"dbname", "client_encoding", "application_name", NULL};
    const char *const values[] = {p->url, "UTF8", "hookmesh", NULL};
    if (pq.loaded)
        p->conn = pq.PQconnectStartParams(keys, values, 1);
}

static void free_closed(struct pg *p)
{
    drop_connection(p);
    mem_free(p->url);
    mem_free(p->name);
    loop_free_later(p);
}

static void on_looked_up(void *arg)
{
    struct pg *p = arg;
    p->lookup = false;
    if (p->closed) {
        free_closed(p);
        return;
    }
    if (p->conn == NULL || pq.PQstatus(p->conn) == CONNECTION_BAD) {
        struct err e = {.text = "no memory"};
        (void)load(&e);
        fail_connection(p, p->conn != NULL ? pq.PQerrorMessage(p->conn) : e.text);
        return;
    }
    p->state = CONNECTING;
    pq.PQsetNoticeProcessor(p->conn, no_notice, NULL);
    timer_arm(p->timer, CONNECT_MS);
    watch_socket(p, IO_WRITE); /* before the first poll, as libpq has it */
}

static void connect_now(void *arg)
{
    struct pg *p = arg;
    (void)load(NULL); /* told when it was looked up */
    p->state = LOOKING_UP;
    p->lookup = true;
    loop_work(look_up, on_looked_up, p);
}

static void on_timer(void *arg)
{
    struct pg *p = arg;
    switch (p->state) {
    case WAITING: connect_now(p); break;
    case CONNECTING: fail_connection(p, "PostgreSQL did not answer within 10 seconds"); break;
    case UP: fail_connection(p, "PostgreSQL did not answer a query within 30 seconds"); break;
    case LOOKING_UP: break;
    }
}

struct pg *pg_open(const char *url, const char *name, pg_state_fn on_state, pg_notify_fn on_notify,
                   void *arg)
{
    struct pg *p = mem_new(struct pg);
    p->url = mem_strdup(url);
    p->name = mem_strdup(name);
    p->on_state = on_state;
    p->on_notify = on_notify;
    p->arg = arg;
    p->backoff_ms = BACKOFF_FIRST_MS;
    p->timer = timer_new(on_timer, p);
    list_init(&p->queries);
    memcpy(p->trouble, "not yet connected", sizeof "not yet connected");
    connect_now(p);
    return p;
}

static void cancel_queries(void *arg)
{
    struct pg *p = arg;
    fail_queries(p, ERR_CANCELLED, "the connection was closed");
    if (!p->lookup)
        free_closed(p);
}

void pg_close(struct pg *p)
{
    p->closed = true;
    timer_free(p->timer);
    p->timer = NULL;
    if (!p->lookup)
        drop_connection(p);
    p->state = WAITING;
    loop_defer(cancel_queries, p);
}

bool pg_up(const struct pg *p)
{
    return p->state == UP;
}

const char *pg_trouble(const struct pg *p)
{
    return p->trouble;
}

static void refuse(void *arg)
{
    struct query *q = arg;
    struct err e;
    err_fail(&e, ERR_UNAVAILABLE, "PostgreSQL is not connected");
    if (q->fn != NULL)
        q->fn(q->arg, NULL, &e);
    query_free(q);
}

static void send_later(void *arg)
{
    struct pg *p = arg;
    if (!p->closed && p->state == UP)
        send_next(p);
}

void pg_query(struct pg *p, const char *sql, size_t n, const char *const *parameters,
              pg_result_fn fn, void *arg)
{
    struct query *q = mem_new(struct query);
    q->sql = mem_strdup(sql);
    q->n = n;
    q->parameters = mem_zero(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        q->parameters[i] = mem_strdup(parameters[i]);
    q->fn = fn;
    q->arg = arg;
    list_init(&q->node);
    if (p->state != UP || p->closed) {
        loop_defer(refuse, q);
        return;
    }
    list_append(&p->queries, &q->node);
    loop_defer(send_later, p);
}

size_t pg_rows(const struct pg_result *r)
{
    return r->r != NULL ? (size_t)pq.PQntuples(r->r) : 0;
}

struct str pg_value(const struct pg_result *r, size_t row, size_t column)
{
    if (row >= pg_rows(r) || (int)column >= pq.PQnfields(r->r) ||
        pq.PQgetisnull(r->r, (int)row, (int)column))
        return (struct str){NULL, 0};
    return (struct str){pq.PQgetvalue(r->r, (int)row, (int)column),
                        (size_t)pq.PQgetlength(r->r, (int)row, (int)column)};
}

static void quoted(struct buf *out, struct str text, char quote)
{
    buf_char(out, quote);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == quote)
            buf_char(out, quote);
        buf_char(out, text.p[i]);
    }
    buf_char(out, quote);
}

void pg_identifier(struct buf *out, struct str name)
{
    quoted(out, name, '"');
}

/* With standard_conforming_strings (the default since 9.1) a backslash is just one; E'' says it whatever is set. */
void pg_literal(struct buf *out, struct str text)
{
    if (text.n == 0 || memchr(text.p, '\\', text.n) == NULL) {
        quoted(out, text, '\'');
        return;
    }
    struct buf doubled = {0};
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\')
            buf_char(&doubled, '\\');
        buf_char(&doubled, text.p[i]);
    }
    buf_char(out, 'E');
    quoted(out, buf_view(&doubled), '\'');
    buf_finish(&doubled);
}
