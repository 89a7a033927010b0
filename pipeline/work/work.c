/* SPDX-License-Identifier: Apache-2.0 */
/* Starts, configures and stops the runners, and holds what they share. At the end it counts what still lives (children, requests): stop is done when
 * nothing does, so that no callback comes into a module that is gone. */
#include "work/work.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "base/mem.h"
#include "net/httpc.h"
#include "net/loop.h"
#include "work/filter.h"
#include "work/pool.h"
#include "work/runner.h"
#include "work/value.h"

static struct {
    struct config *config;
    struct claim **cancelled;
    size_t cancelled_n;
    size_t cancelled_cap;
    int busy;
    bool stopping;
    void (*done)(void *arg);
    void *done_arg;
} self;

struct config *runner_config(void)
{
    return self.config;
}

const struct settings *runner_settings(void)
{
    return &self.config->set;
}

static void finish_cancelled(void *unused)
{
    (void)unused;
    while (self.cancelled_n != 0)
        claim_finish(self.cancelled[--self.cancelled_n], CLAIM_FAIL, (struct str){NULL, 0},
                     "the run was cancelled", -1);
}

void runner_cancelled(struct claim *c)
{
    if (self.cancelled_n == self.cancelled_cap) {
        self.cancelled_cap = self.cancelled_cap == 0 ? 16 : 2 * self.cancelled_cap;
        self.cancelled = mem_resize(self.cancelled, self.cancelled_cap * sizeof(struct claim *));
    }
    self.cancelled[self.cancelled_n++] = c;
    if (self.cancelled_n == 1)
        loop_defer(finish_cancelled, NULL);
}

void runner_describe_exit(struct buf *out, const struct proc_exit *x, struct str last_lines)
{
    if (x->signal != 0) {
        const char *name = sigabbrev_np(x->signal);
        buf_printf(out, "was killed by signal %s", name != NULL ? name : "(unknown)");
    } else {
        buf_printf(out, "ended with status %d", x->code);
        if (runner_exit_outcome(x) == CLAIM_FAIL)
            buf_puts(out, " (which says: not again)");
    }
    if (last_lines.n != 0) {
        buf_puts(out, ": ");
        buf_str(out, last_lines);
    }
}

enum claim_outcome runner_exit_outcome(const struct proc_exit *x)
{
    bool final = x->code == EX_USAGE || x->code == EX_DATAERR || x->code == EX_NOPERM ||
                 x->code == EX_CONFIG;
    return final && !x->cancelled ? CLAIM_FAIL : CLAIM_RETRY;
}

int64_t runner_kill_grace_ms(void)
{
    int64_t ms = runner_settings()->kill_grace;
    return ms > 0 ? ms : 1;
}

enum claim_outcome runner_spawn_outcome(const struct err *e)
{
    switch (e->code) {
    case ERR_UNAVAILABLE:
    case ERR_LIMIT: return CLAIM_RETRY;
    default: return CLAIM_FAIL;
    }
}

char **runner_list_dup(char *const *list)
{
    if (list == NULL)
        return NULL;
    size_t n = 0;
    while (list[n] != NULL)
        n++;
    char **copy = mem_zero(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_strdup(list[i]);
    return copy;
}

void runner_list_free(char **list)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++)
        mem_free(list[i]);
    mem_free(list);
}

bool runner_list_eq(char *const *a, char *const *b)
{
    static char *const none[] = {NULL};
    a = a != NULL ? a : none;
    b = b != NULL ? b : none;
    while (*a != NULL && *b != NULL && strcmp(*a, *b) == 0)
        a++, b++;
    return *a == NULL && *b == NULL;
}

static void on_all_ended(void *unused)
{
    (void)unused;
    if (self.done == NULL || self.busy != 0 || self.cancelled_n != 0)
        return;
    void (*done)(void *) = self.done;
    self.done = NULL;
    value_finish();
    deliver_finish();
    config_unref(self.config);
    mem_free(self.cancelled);
    self.config = NULL;
    self.cancelled = NULL;
    self.cancelled_cap = 0;
    done(self.done_arg);
}

void runner_busy(int by)
{
    self.busy += by;
    if (self.busy == 0 && self.stopping)
        loop_defer(on_all_ended, NULL);
}

bool work_start(struct err *e)
{
    (void)e; /* children are started when there is work for them */
    self.stopping = false;
    claim_register(WORK_COMMAND, &command_runner);
    claim_register(WORK_HTTP, &request_runner);
    claim_register(WORK_EXTENSION, &extension_runner);
    claim_register(WORK_AGENT, &agent_runner);
    claim_register(WORK_DELIVER, &deliver_runner);
    claim_register(WORK_ALERT, &alert_runner);
    return true;
}

void work_configure(struct config *c)
{
    struct config *old = self.config;
    self.config = config_ref(c);
    config_unref(old);
    httpc_trust(c->set.tls_ca);
    keep_configure();
    extension_configure();
}

void work_stop(void (*done)(void *arg), void *arg)
{
    self.stopping = true;
    self.done = done;
    self.done_arg = arg;
    pool_stop_all();
    command_stop();
    request_stop();
    filter_stop();
    deliver_stop();
    alert_stop();
    loop_defer(on_all_ended, NULL);
}
