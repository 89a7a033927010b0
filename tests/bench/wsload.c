/* SPDX-License-Identifier: Apache-2.0 */
/* Many WebSocket subscribers and one HTTP publisher in one thread.
 *
 *   wsload hookmesh|nchan PORT CLIENTS SECONDS WINDOW
 *
 * WINDOW events may be on their way: the next is published when all clients together have got as many messages as the
 * oldest of them makes. So the rate is what the server can do, and no server is asked to queue without end. Says
 * "connected" and waits for a line before it begins, "done" and waits for a line before it closes, so that whoever
 * started it can look at the server's memory and CPU time at both points. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

enum { PAYLOAD = 200, READ_BYTES = 65536, SILENCE_US = 10000000 };

struct subscriber {
    int fd;
    struct ws_walk walk;
    unsigned long got;
};

static bool nchan;
static int epoll_fd;
static struct subscriber *all;
static size_t clients;
static unsigned long received, bytes, published;
static struct subscriber publisher; /* an HTTP connection; got counts its answers */
static char answer[65536];
static size_t answer_n;

static void watch(struct subscriber *s)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    no_wait(s->fd);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) != 0)
        die("epoll: %s", strerror(errno));
}

/* hookmesh's event is made from the key: the key is as long as makes the message PAYLOAD bytes. */
static void publish(void)
{
    static const char around[] =
        "{\"id\":\"123\",\"topic\":\"keys:bench.*\",\"type\":\"key.put\",\"key\":\"bench.\","
        "\"data\":{\"version\":12,\"size\":2,\"at\":1234567890123}}";
    char text[1024], pad[PAYLOAD + 1];
    int n;
    memset(pad, 'x', PAYLOAD);
    pad[PAYLOAD] = '\0';
    if (nchan)
        n = snprintf(text, sizeof text,
                     "POST /pub HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s",
                     PAYLOAD, pad);
    else
        n = snprintf(text, sizeof text,
                     "PUT /v1/kv/bench.%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
                     "application/json\r\nContent-Length: 2\r\n\r\n42",
                     pad + sizeof around - 1);
    send_all(publisher.fd, text, (size_t)n);
    published++;
}

static void read_answers(void)
{
    ssize_t n = recv(publisher.fd, answer + answer_n, sizeof answer - answer_n, 0);
    if (n <= 0)
        die("the publisher's connection was closed");
    answer_n += (size_t)n;
    int status;
    size_t used;
    while ((used = http_response(answer, answer_n, &status)) > 0) {
        if (status / 100 != 2)
            die("publishing was answered with %d", status);
        publisher.got++;
        answer_n -= used;
        memmove(answer, answer + used, answer_n);
    }
}

static void read_messages(struct subscriber *s)
{
    static char buffer[READ_BYTES];
    ssize_t n = recv(s->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("a subscriber was dropped");
    bytes += (unsigned long)n;
    for (const char *p = buffer; p < buffer + n;)
        if (ws_next(&s->walk, &p, buffer + n)) {
            s->got++;
            received++;
        }
}

static void turn(int wait_ms)
{
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == &publisher)
            read_answers();
        else
            read_messages(events[i].data.ptr);
    }
}

static void until_received(unsigned long n, const char *what)
{
    double since = now_us();
    unsigned long before = received;
    while (received < n) {
        turn(100);
        if (received != before) {
            before = received;
            since = now_us();
        }
        if (now_us() - since > SILENCE_US)
            die("%s: only %lu of %lu messages came", what, received, n);
    }
}

static void connect_all(int port)
{
    all = calloc(clients, sizeof *all);
    for (size_t i = 0; i < clients; i++) {
        all[i].fd = connect_tcp(port);
        ws_open(all[i].fd, nchan ? "/sub" : "/v1/live", nchan ? NULL : "hookmesh.live.v1",
                nchan ? NULL : "{\"op\":\"subscribe\",\"topics\":[\"keys:bench.*\"]}");
        watch(&all[i]);
    }
    if (!nchan)
        until_received(clients, "snapshots");
}

static void wait_for_line(const char *say)
{
    char line[16];
    puts(say);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        exit(1);
}

int main(int argc, char **argv)
{
    if (argc != 6)
        die("usage: wsload hookmesh|nchan PORT CLIENTS SECONDS WINDOW");
    nchan = strcmp(argv[1], "nchan") == 0;
    int port = (int)number(argv[2]);
    clients = number(argv[3]);
    double seconds = (double)number(argv[4]);
    unsigned long window = number(argv[5]);
    epoll_fd = epoll_create1(0);
    connect_all(port);
    publisher.fd = connect_tcp(port);
    watch(&publisher);
    wait_for_line("connected");

    received = bytes = 0;
    for (size_t i = 0; i < clients; i++)
        all[i].got = 0;
    double start = now_us();
    while (now_us() - start < seconds * 1e6) {
        while (published < received / clients + window)
            publish();
        turn(1000);
    }
    until_received(published * clients, "the last events");
    double took = (now_us() - start) / 1e6;
    for (size_t i = 0; i < clients; i++)
        if (all[i].got != published)
            die("a client got %lu of %lu events", all[i].got, published);
    printf("{\"events\":%lu,\"messages\":%lu,\"seconds\":%f,\"bytes\":%f}\n", published, received,
           took, (double)bytes / (double)received);
    wait_for_line("done");
    return 0;
}
