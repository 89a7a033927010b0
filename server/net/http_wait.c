/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines of connections. All of a kind have the same length, so each kind is one list in which the first is due first: setting and
 * clearing cost nothing, however many connections there are, and one timer a kind is enough. */
#include "base/mem.h"
#include "net/http_conn.h"
#include "net/loop.h"

static struct {
    struct list waiting[WAITS];
    struct timer *timers[WAITS];
    int64_t ms[WAITS];
    http_late_fn late;
} self;

static struct http_conn *conn_of(struct list *link)
{
    struct http_wait *w = container_of(link, struct http_wait, link);
    return container_of(w, struct http_conn, wait);
}

static void on_timer(void *arg)
{
    enum wait_kind kind = (enum wait_kind)(uintptr_t)arg;
    struct list *head = &self.waiting[kind];
    while (!list_empty(head)) {
        struct http_conn *c = conn_of(head->next);
        if (c->wait.due_us > loop_now_us()) {
            timer_arm(self.timers[kind], (c->wait.due_us - loop_now_us()) / 1000 + 1);
            return;
        }
        list_remove(&c->wait.link);
        self.late(c, kind);
    }
}

void http_wait_start(const int64_t ms[WAITS], http_late_fn late)
{
    self.late = late;
    for (int kind = 0; kind < WAITS; kind++) {
        list_init(&self.waiting[kind]);
        self.ms[kind] = ms[kind];
        self.timers[kind] = timer_new(on_timer, (void *)(uintptr_t)kind);
    }
}

void http_wait_stop(void)
{
    for (int kind = 0; kind < WAITS; kind++)
        timer_free(self.timers[kind]);
}

void http_wait_init(struct http_conn *c)
{
    list_init(&c->wait.link);
}

void http_wait(struct http_conn *c, enum wait_kind kind)
{
    list_remove(&c->wait.link);
    list_append(&self.waiting[kind], &c->wait.link);
    c->wait.due_us = loop_now_us() + self.ms[kind] * 1000;
    if (!timer_armed(self.timers[kind]))
        timer_arm(self.timers[kind], self.ms[kind]);
}

void http_wait_no_more(struct http_conn *c)
{
    list_remove(&c->wait.link);
}
