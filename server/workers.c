/* SPDX-License-Identifier: Apache-2.0 */
/* A worker is this program again, with the same words and a few more behind them: the Redis of the parent, a port that is known by now, a data directory of its
 * own (its spool must not be another's). The parent holds the port's socket without listening, so that port 0 means one port for
 * all and nobody else gets it while a worker is being started again. */
#include "workers.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/private_redis.h"
#include "net/proc.h"
#include "serve.h"

#define INSIDE "HOOKMESH_WORKER"
enum { RESTART_MIN_MS = 100, RESTART_MAX_MS = 5000, CALM_US = 10000000 };

struct worker {
    int number;
    struct proc *proc;
    struct timer *again;
    int64_t delay_ms;
};

static struct {
    struct config *config;
    char **argv;
    struct worker *workers;
    size_t n;
    size_t alive;
    char *redis;
    char *listen;
    int port_holder;
    bool stopping;
    int exit_code;
} self = {.port_holder = -1};

bool workers_inside(void)
{
    return getenv(INSIDE) != NULL;
}

static void end(void *arg)
{
    (void)arg;
    loop_stop();
}

static void maybe_end(void)
{
    if (!self.stopping || self.alive != 0)
        return;
    if (self.config->set.redis[0] == '\0')
        private_redis_stop(end, NULL);
    else
        loop_stop();
}

static void on_exit_of(void *arg, const struct proc_exit *x)
{
    struct worker *w = arg;
    w->proc = NULL;
    self.alive--;
    if (self.stopping) {
        maybe_end();
        return;
    }
    log_error("workers", "died", "worker=%d code=%d signal=%d again_ms=%lld", w->number, x->code,
              x->signal, (long long)w->delay_ms);
    if (x->wall_us > CALM_US)
        w->delay_ms = RESTART_MIN_MS;
    timer_arm(w->again, w->delay_ms);
    w->delay_ms = w->delay_ms * 2 < RESTART_MAX_MS ? w->delay_ms * 2 : RESTART_MAX_MS;
}

static void start_worker(void *arg)
{
    struct worker *w = arg;
    extern char **environ;
    static const struct proc_events events = {.on_exit = on_exit_of};
    size_t given = 0;
    while (self.argv[given] != NULL)
        given++;
    char **words = mem_zero(given + 16, sizeof *words);
    size_t n = 0;
    char *data = mem_format("%s/worker-%d", self.config->set.data, w->number);
    words[n++] = mem_strdup("/proc/self/exe");
    words[n++] = mem_strdup("serve");
    for (size_t i = 0; i < given; i++)
        words[n++] = mem_strdup(self.argv[i]);
    const char *more[] = {"--workers", "1",        "--data",   data,
                          "--redis",   self.redis, "--listen", self.listen};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        words[n++] = mem_strdup(more[i]); /* of a flag that is given twice the last one counts */
    size_t vars = 0;
    while (environ[vars] != NULL)
        vars++;
    char **env = mem_zero(vars + 2, sizeof *env);
    memcpy(env, environ, vars * sizeof *env);
    env[vars] = mem_strdup(INSIDE "=1");
    struct err e;
    struct proc_options o = {.argv = words, .env = env, .no_limits = true, .die_with_us = false};
    w->proc = proc_spawn(&o, &events, w, &e);
    if (w->proc == NULL) {
        log_error("workers", "not_started", "worker=%d error=%s", w->number, log_quotez(e.text));
        timer_arm(w->again, w->delay_ms);
    } else {
        self.alive++;
        log_info("workers", "started", "worker=%d pid=%d", w->number, proc_pid(w->proc));
    }
    mem_free(env[vars]);
    mem_free(env);
    for (size_t i = 0; i < n; i++)
        mem_free(words[i]);
    mem_free(words);
    mem_free(data);
}

static bool hold_port(struct err *e)
{
    char host[256];
    int port;
    if (!serve_parse_listen(self.config->set.listen, host, &port, e))
        return false;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0)
        return err_fail(e, ERR_CONFIG, "listen address %s: %s", host, gai_strerror(code));
    int one = 1;
    self.port_holder = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool held = self.port_holder >= 0 &&
                setsockopt(self.port_holder, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0 &&
                bind(self.port_holder, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    if (!held)
        return err_errno(e, "cannot listen on %s", self.config->set.listen);
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char number[16] = "0";
    if (getsockname(self.port_holder, (struct sockaddr *)&address, &size) == 0)
        getnameinfo((struct sockaddr *)&address, size, NULL, 0, number, sizeof number,
                    NI_NUMERICSERV);
    self.listen = mem_format(strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, number);
    return true;
}

static void start_all(const char *redis_url)
{
    self.redis = mem_strdup(redis_url);
    for (size_t i = 0; i < self.n; i++)
        start_worker(&self.workers[i]);
}

static void on_redis(void *arg, const char *url, const struct err *e)
{
    (void)arg;
    if (e != NULL) {
        fprintf(stderr, "hookmesh: cannot start the private Redis: %s\n", e->text);
        self.exit_code = 1;
        self.stopping = true;
        maybe_end();
    } else if (self.redis == NULL && !self.stopping) {
        start_all(url);
    }
}

static void on_signal(void *arg, int signo)
{
    (void)arg;
    for (size_t i = 0; i < self.n; i++) {
        if (self.workers[i].proc != NULL)
            (void)kill(proc_pid(self.workers[i].proc), signo);
        if (signo != SIGHUP)
            timer_disarm(self.workers[i].again);
    }
    if (signo == SIGHUP)
        return;
    self.stopping = true;
    maybe_end();
}

int workers_run(struct config *c, char **argv)
{
    struct err e;
    self.config = c;
    self.argv = argv;
    if (!hold_port(&e)) {
        fprintf(stderr, "hookmesh: %s\n", e.text);
        return 1;
    }
    loop_on_signal(SIGTERM, on_signal, NULL);
    loop_on_signal(SIGINT, on_signal, NULL);
    loop_on_signal(SIGHUP, on_signal, NULL);
    self.n = (size_t)c->set.workers;
    self.workers = mem_zero(self.n, sizeof *self.workers);
    for (size_t i = 0; i < self.n; i++) {
        self.workers[i] = (struct worker){.number = (int)i + 1, .delay_ms = RESTART_MIN_MS};
        self.workers[i].again = timer_new(start_worker, &self.workers[i]);
    }
    if (c->set.redis[0] == '\0') {
        struct private_redis_options redis = {.data_dir = c->set.data,
                                              .appendfsync = c->set.redis_fsync,
                                              .program = c->set.redis_program};
        private_redis_start(&redis, on_redis, NULL);
    } else {
        start_all(c->set.redis);
    }
    loop_run();
    for (size_t i = 0; i < self.n; i++)
        timer_free(self.workers[i].again);
    mem_free(self.workers);
    mem_free(self.redis);
    mem_free(self.listen);
    close(self.port_holder);
    return self.exit_code;
}
