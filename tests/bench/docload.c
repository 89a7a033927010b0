/* SPDX-License-Identifier: Apache-2.0 */
/* Documents for the three stages: submits them, waits for their summaries, and checks each.
 *
 *   docload bulk PORT REDIS ROOT ID N PIPELINE   N documents ROOT.ID-i.raw in batches over POST /v1/kv; with a PIPELINE it
 *                                                waits until that has nothing left to do: prints seconds
 *   docload drain REDIS PIPELINE                 only that wait
 *   docload one PORT ROOT ID N                   one at a time, PUT to the summary's event on a WebSocket
 *   docload check REDIS COMMAND ID N             COMMAND is "HGET hm:kv:pipeline.%s.summary value" or the like
 *   docload print ID N                           the documents, a line each
 *
 * A document follows from its number, and so does the summary that must come of it; this program knows it by itself. All
 * requests are made before the clock starts. That all is done is seen in Redis: a step takes its input from the pending
 * set of its stage and enters its output in that of the next in one atomic step, so when the sets, looked at in the
 * order of the stages, are empty, the last summary is written. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum { CONNECTIONS = 4, LINES = 1000, DOCUMENT_MAX = 1024, WAIT_S = 300 };

struct document {
    char id[64], title[64], body[512];
    unsigned entities;
};

static void make_document(struct document *d, const char *prefix, unsigned long i)
{
    static const char *const words[] = {
        "Revenue", "at",  "Acme",   "grew",  "15%",    "in",     "Q3.",       "The",
        "Berlin",  "and", "office", "hired", "twelve", "people", "headcount", "expanded"};
    uint32_t x = (uint32_t)i * 2654435761u + 1;
    size_t n = 0;
    memset(d, 0, sizeof *d);
    snprintf(d->id, sizeof d->id, "%s-%06lu", prefix, i);
    snprintf(d->title, sizeof d->title, "Report %lu", i);
    unsigned count = 8 + x % 12;
    for (unsigned k = 0; k < count; k++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        const char *w = words[x % 16];
        n += (size_t)snprintf(d->body + n, sizeof d->body - n, "%s%s", k ? " " : "", w);
        d->entities += *w >= 'A' && *w <= 'Z';
    }
}

static int document_json(char *out, const struct document *d)
{
    return snprintf(out, DOCUMENT_MAX, "{\"id\":\"%s\",\"title\":\"%s\",\"body\":\"%s\"}", d->id,
                    d->title, d->body);
}

static int summary_json(char *out, const struct document *d)
{
    return snprintf(
        out, DOCUMENT_MAX,
        "{\"id\":\"%s\",\"title\":\"%s\",\"one_liner\":\"%.80s%s\",\"entity_count\":%u}", d->id,
        d->title, d->body, strlen(d->body) > 80 ? "..." : "", d->entities);
}

/* -- waiting ----------------------------------------------------------------------------------- */

static size_t ask(int redis, const char *request, char *reply, size_t size)
{
    send_all(redis, request, strlen(request));
    ssize_t n = recv(redis, reply, size - 1, 0);
    if (n <= 0)
        die("Redis has gone");
    reply[n] = '\0';
    return (size_t)n;
}

static bool pending(int redis, const char *pipeline)
{
    char request[256], reply[256];
    static const char *const stages[] = {"extract", "summarize"};
    for (size_t i = 0; i < 2; i++) {
        snprintf(request, sizeof request, "ZCARD hm:wait:%s.%s\r\n", pipeline, stages[i]);
        ask(redis, request, reply, sizeof reply);
        if (*reply != ':')
            die("Redis says %s", reply);
        if (atol(reply + 1) != 0)
            return true;
    }
    return false;
}

static void wait_done(int redis, const char *pipeline)
{
    double start = now_us();
    while (pending(redis, pipeline)) {
        usleep(2000);
        if (now_us() - start > WAIT_S * 1e6)
            die("not done in %d s", WAIT_S);
    }
}

/* -- bulk -------------------------------------------------------------------------------------- */

struct request {
    char *p;
    size_t n;
    unsigned long lines;
};

struct lane {
    int fd;
    char *answer;
    size_t n, cap;
    unsigned long lines; /* that the answer must have; 0: nothing is under way */
};

static struct request make_request(const char *root, const char *id, unsigned long from,
                                   unsigned long lines)
{
    char *body = malloc(lines * DOCUMENT_MAX);
    size_t n = 0;
    for (unsigned long i = 0; i < lines; i++) {
        struct document d;
        make_document(&d, id, from + i);
        n += (size_t)sprintf(body + n, "{\"key\":\"%s.%s.raw\",\"value\":", root, d.id);
        n += (size_t)document_json(body + n, &d);
        memcpy(body + n, "}\n", 2);
        n += 2;
    }
    struct request r = {.p = malloc(n + 256), .lines = lines};
    r.n = (size_t)sprintf(r.p,
                          "POST /v1/kv HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                          "application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
                          n);
    memcpy(r.p + r.n, body, n);
    r.n += n;
    free(body);
    return r;
}

static unsigned long occurrences(const char *p, size_t n, const char *what)
{
    unsigned long count = 0;
    const char *end = p + n;
    while ((p = memmem(p, (size_t)(end - p), what, strlen(what))) != NULL) {
        count++;
        p++;
    }
    return count;
}

static void read_lane(struct lane *l, int port)
{
    if (l->cap - l->n < 65536) {
        l->cap += 262144;
        l->answer = realloc(l->answer, l->cap);
    }
    ssize_t n = recv(l->fd, l->answer + l->n, l->cap - l->n, 0);
    if (n <= 0)
        die("the server closed the connection");
    l->n += (size_t)n;
    int status;
    size_t whole = http_response(l->answer, l->n, &status);
    if (whole == 0)
        return;
    /* A chunk may end inside a line, so lines are counted by what no chunk header has. */
    if (status != 200 || occurrences(l->answer, whole, "\n{\"key\"") > l->lines ||
        memmem(l->answer, whole, "\"error\"", 7) != NULL)
        die("status %d: %.300s", status, l->answer);
    /* The server ends a connection on which it began to answer before it had the whole request. */
    if (memmem(l->answer, whole < 512 ? whole : 512, "\r\nConnection: close", 19) != NULL) {
        close(l->fd);
        l->fd = connect_tcp(port);
    }
    l->n = 0;
    l->lines = 0;
}

static void submit(int port, struct request *requests, size_t n)
{
    struct lane lanes[CONNECTIONS] = {0};
    struct pollfd polls[CONNECTIONS];
    size_t next = 0, busy;
    for (size_t i = 0; i < CONNECTIONS; i++)
        lanes[i].fd = connect_tcp(port);
    do {
        busy = 0;
        for (size_t i = 0; i < CONNECTIONS; i++) {
            if (lanes[i].lines == 0 && next < n) {
                lanes[i].lines = requests[next].lines;
                send_all(lanes[i].fd, requests[next].p, requests[next].n);
                next++;
            }
            busy += lanes[i].lines > 0;
            polls[i] = (struct pollfd){lanes[i].fd, lanes[i].lines > 0 ? POLLIN : 0, 0};
        }
        if (busy > 0 && poll(polls, CONNECTIONS, 60000) == 0)
            die("no answer for 60 s");
        for (size_t i = 0; i < CONNECTIONS && busy > 0; i++)
            if (polls[i].revents)
                read_lane(&lanes[i], port);
    } while (busy > 0);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        close(lanes[i].fd);
        free(lanes[i].answer);
    }
}

static void bulk(char **a)
{
    int port = (int)number(a[0]);
    int redis = connect_unix(a[1]);
    unsigned long n = number(a[4]);
    size_t count = (n + LINES - 1) / LINES;
    struct request *requests = calloc(count, sizeof *requests);
    for (size_t i = 0; i < count; i++) {
        unsigned long from = i * LINES;
        requests[i] = make_request(a[2], a[3], from, n - from < LINES ? n - from : LINES);
    }
    double start = now_us();
    submit(port, requests, count);
    double submitted = now_us() - start;
    if (*a[5] != '\0')
        wait_done(redis, a[5]);
    printf("{\"seconds\":%f,\"submitted\":%f}\n", (now_us() - start) / 1e6, submitted / 1e6);
}

static void drain(char **a)
{
    int redis = connect_unix(a[0]);
    double start = now_us();
    wait_done(redis, a[1]);
    printf("{\"seconds\":%f}\n", (now_us() - start) / 1e6);
}

/* -- one at a time ------------------------------------------------------------------------------ */

/* Reads what is there. True: among it was text that has `what`; pieces of a message are put together. */
static bool heard(int fd, const char *what)
{
    static char buffer[1 << 20];
    static size_t n;
    ssize_t got = recv(fd, buffer + n, sizeof buffer - n, 0);
    if (got <= 0)
        die("the live stream was closed");
    n += (size_t)got;
    bool found = memmem(buffer, n, what, strlen(what)) != NULL;
    if (found || n > sizeof buffer / 2)
        n = 0;
    return found;
}

static void read_answer(int fd)
{
    char text[4096];
    size_t n = 0;
    int status;
    do {
        ssize_t got = recv(fd, text + n, sizeof text - n, 0);
        if (got <= 0)
            die("the server closed the connection");
        n += (size_t)got;
    } while (http_response(text, n, &status) == 0);
    if (status / 100 != 2)
        die("PUT was answered with %d", status);
}

static void one(char **a)
{
    int port = (int)number(a[0]);
    unsigned long n = number(a[3]);
    double *took = calloc(n, sizeof *took);
    char topic[256];
    int http = connect_tcp(port), live = connect_tcp(port);
    snprintf(topic, sizeof topic, "{\"op\":\"subscribe\",\"topics\":[\"keys:%s.*.summary\"]}",
             a[1]);
    ws_open(live, "/v1/live", "hookmesh.live.v1", topic);
    while (!heard(live, "\"snapshot\""))
        ;
    for (unsigned long i = 0; i < n; i++) {
        struct document d;
        char value[DOCUMENT_MAX], text[2 * DOCUMENT_MAX], want[128];
        make_document(&d, a[2], i);
        int length = document_json(value, &d);
        int size = snprintf(text, sizeof text,
                            "PUT /v1/kv/%s.%s.raw HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                            "application/json\r\nContent-Length: %d\r\n\r\n%s",
                            a[1], d.id, length, value);
        snprintf(want, sizeof want, "%s.%s.summary", a[1], d.id);
        double start = now_us();
        send_all(http, text, (size_t)size);
        while (!heard(live, want))
            ;
        took[i] = now_us() - start;
        read_answer(http);
    }
    sort_doubles(took, n);
    printf("{\"p50\":%f,\"p99\":%f,\"max\":%f}\n", percentile(took, n, 0.5) / 1e3,
           percentile(took, n, 0.99) / 1e3, took[n - 1] / 1e3);
}

/* -- checking ----------------------------------------------------------------------------------- */

static void read_exactly(int fd, char *p, size_t n)
{
    static char buffer[65536];
    static size_t at, end;
    while (n > 0) {
        if (at == end) {
            ssize_t got = recv(fd, buffer, sizeof buffer, 0);
            if (got <= 0)
                die("Redis has gone");
            at = 0;
            end = (size_t)got;
        }
        size_t take = end - at < n ? end - at : n;
        memcpy(p, buffer + at, take);
        at += take;
        p += take;
        n -= take;
    }
}

/* A bulk string; -1: there is none. */
static long read_bulk(int fd, char *out)
{
    char line[32];
    size_t n = 0;
    do
        read_exactly(fd, &line[n++], 1);
    while (line[n - 1] != '\n' && n < sizeof line - 1);
    line[n] = '\0';
    if (*line != '$')
        die("Redis says %s", line);
    long size = atol(line + 1);
    if (size > DOCUMENT_MAX - 2)
        die("a summary of %ld bytes", size);
    if (size >= 0)
        read_exactly(fd, out, (size_t)size + 2);
    return size;
}

static void check(char **a)
{
    enum { AT_ONCE = 200 };
    int redis = connect_unix(a[0]);
    unsigned long n = number(a[3]), right = 0;
    const char *mark = strstr(a[1], "%s");
    if (mark == NULL)
        die("no %%s in the command");
    for (unsigned long from = 0; from < n; from += AT_ONCE) {
        static char text[AT_ONCE * 256];
        struct document d;
        size_t size = 0;
        unsigned long to = from + AT_ONCE < n ? from + AT_ONCE : n;
        for (unsigned long i = from; i < to; i++) {
            make_document(&d, a[2], i);
            size += (size_t)snprintf(text + size, 256, "%.*s%s%s\r\n", (int)(mark - a[1]), a[1],
                                     d.id, mark + 2);
        }
        send_all(redis, text, size);
        for (unsigned long i = from; i < to; i++) {
            char value[DOCUMENT_MAX], want[DOCUMENT_MAX];
            make_document(&d, a[2], i);
            int length = summary_json(want, &d);
            long got = read_bulk(redis, value);
            if (got == length && memcmp(value, want, (size_t)length) == 0)
                right++;
            else if (right == i)
                fprintf(stderr, "wanted %s\ngot    %.*s\n", want, (int)(got < 0 ? 0 : got), value);
        }
    }
    printf("{\"right\":%lu}\n", right);
}

static void print(char **a)
{
    unsigned long n = number(a[1]);
    for (unsigned long i = 0; i < n; i++) {
        struct document d;
        char text[DOCUMENT_MAX];
        make_document(&d, a[0], i);
        document_json(text, &d);
        puts(text);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int words;
        void (*run)(char **a);
    } modes[] = {{"bulk", 6, bulk},
                 {"drain", 2, drain},
                 {"one", 4, one},
                 {"check", 4, check},
                 {"print", 2, print}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (argc == modes[i].words + 2 && strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run(argv + 2);
            return 0;
        }
    die("usage: docload bulk PORT REDIS ROOT ID N PIPELINE | drain REDIS PIPELINE | one PORT ROOT "
        "ID N | "
        "check REDIS COMMAND ID N | print ID N");
}
