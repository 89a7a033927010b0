/* SPDX-License-Identifier: Apache-2.0 */
/* One process: configuration, loop, Redis (our own or a given one), the core, the runners, the spool, then the public port; a stop goes the
 * same way back, and the private Redis is the last to go, after everything that was accepted is in it.
 *
 * The public port opens before Redis answers when a URL was given: webhooks are spooled then. A private Redis is up in a few milliseconds, so
 * it is waited for, and if it cannot start, the reason is the program's last line. */
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/filter.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "config/config.h"
#include "core/claim.h"
#include "core/run.h"
#include "core/stage.h"
#include "core/store.h"
#include "demo.h"
#include "handlers/auth.h"
#include "handlers/hooks.h"
#include "handlers/live.h"
#include "handlers/routes.h"
#include "net/http.h"
#include "net/httpc.h"
#include "net/hub.h"
#include "net/loop.h"
#include "net/private_redis.h"
#include "trigger/cron.h"
#include "trigger/db.h"
#include "trigger/follow.h"
#include "trigger/spool.h"
#include "trigger/start.h"
#include "work/token.h"
#include "work/work.h"
#include "workers.h"

enum { READY_POLL_MS = 5 };

static struct {
    const struct serve_options *options;
    struct config *config;
    struct dir_watch *watch;
    struct timer *ready;
    struct buf url;
    bool private_redis;
    bool demo;
    bool running; /* the core is started */
    bool stopping;
    int exit_code;
} self;

static void stop(void);

static void give_up(const char *what, const struct err *e)
{
    log_error("serve", "failed", "what=%s error=%s", log_quotez(what), log_quotez(e->text));
    fprintf(stderr, "hookmesh: %s: %s\n", what, e->text);
    self.exit_code = 1;
    stop();
}

/* "127.0.0.1:4665", "[::1]:0", "localhost:80" */
bool serve_parse_listen(const char *listen, char host[256], int *port, struct err *e)
{
    const char *colon = strrchr(listen, ':');
    uint64_t number;
    if (colon == NULL || !str_u64(str_of(colon + 1), &number) || number > 65535 ||
        (size_t)(colon - listen) >= 256)
        return err_fail(e, ERR_CONFIG,
                        "listen must be HOST:PORT, such as 127.0.0.1:4665, not \"%s\"", listen);
    struct str name = {listen, (size_t)(colon - listen)};
    if (name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = (struct str){name.p + 1, name.n - 2};
    snprintf(host, 256, "%.*s", (int)name.n, name.p);
    *port = (int)number;
    return true;
}

static bool make_data_dir(const char *path, struct err *e)
{
    char *copy = mem_strdup(path);
    for (char *p = copy + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(copy, 0755); /* what matters shows at the end */
        *p = '/';
    }
    bool made = mkdir(copy, 0700) == 0 || errno == EEXIST;
    mem_free(copy);
    return made || err_errno(e, "cannot make the data directory %s", path);
}

/* The address, for scripts: whole or not there. */
static void write_url_file(void)
{
    char *path = mem_format("%s/url", self.config->set.data);
    char *temp = mem_format("%s/url.new", self.config->set.data);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool written = fd >= 0 && write(fd, self.url.p, self.url.n) == (ssize_t)self.url.n &&
                   write(fd, "\n", 1) == 1;
    if (fd >= 0)
        close(fd);
    if (!written || rename(temp, path) != 0)
        log_warn("serve", "url_file", "path=%s error=%s", log_quotez(path),
                 log_quotez(strerror(errno)));
    mem_free(path);
    mem_free(temp);
}

static void remove_url_file(void)
{
    char *path = mem_format("%s/url", self.config->set.data);
    (void)unlink(path);
    mem_free(path);
}

static char *static_dir(void)
{
    const char *set = self.config->set.static_dir;
    if (set[0] != '\0')
        return mem_strdup(set);
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0) {
        program[n] = '\0';
        char *slash = strrchr(program, '/');
        if (slash != NULL)
            *slash = '\0';
        static const char *const places[] = {"static", "../share/hookmesh/static"};
        for (size_t i = 0; i < 2; i++) {
            char *dir = mem_format("%s/%s", program, places[i]);
            if (access(dir, R_OK) == 0)
                return dir;
            mem_free(dir);
        }
    }
    return mem_strdup(HOOKMESH_SOURCE_DIR "/static");
}

static void check_ready(void *arg)
{
    (void)arg;
    if (!claim_ready()) {
        timer_arm(self.ready, READY_POLL_MS);
        return;
    }
    log_info("serve", "ready", "url=%s stages=%zu", self.url.p, stage_count());
    if (self.demo)
        demo_show(self.url.p);
}

static bool open_port(struct err *e)
{
    const struct settings *set = &self.config->set;
    char host[256];
    int port;
    if (!serve_parse_listen(set->listen, host, &port, e))
        return false;
    const struct hub_service services[] = {live_service(set), {0}};
    live_start();
    struct hub_options hub = {
        .ping_ms = 30000, .stall_ms = 30000, .max_clients = (int)set->max_connections};
    if (!hub_start(&hub, services, e))
        return false;
    char *dir = static_dir();
    struct http_options o = {
        .host = host,
        .port = port,
        .reuseport = workers_inside(),
        .tls_cert = set->tls_cert[0] != '\0' ? set->tls_cert : NULL,
        .tls_key = set->tls_key[0] != '\0' ? set->tls_key : NULL,
        .http2 = set->http2,
        .max_body = (size_t)set->max_body,
        .max_head = (size_t)set->max_head,
        .head_timeout_ms = set->head_timeout,
        .body_timeout_ms = set->body_timeout,
        .idle_timeout_ms = set->idle_timeout,
        .max_connections = (int)set->max_connections,
        .static_dir = dir,
        .authorize = auth_request,
        .authorize_websocket = auth_websocket,
    };
    bool opened = http_start(&o, routes_table(), e);
    mem_free(dir);
    if (!opened)
        return false;
    const char *shown = strchr(host, ':') != NULL ? "[" : "";
    buf_printf(&self.url, "%s://%s%s%s:%d", o.tls_cert != NULL ? "https" : "http", shown, host,
               shown[0] != '\0' ? "]" : "", http_port());
    return true;
}

/* Where a child of ours finds us: the address that we listen on, not the name that the world knows, but for TLS, whose certificate has that name. */
static void tell_children(void)
{
    const char *public_url = self.config->set.public_url;
    const char *any = strstr(self.url.p, "://0.0.0.0:");
    const char *any6 = strstr(self.url.p, "://[::]:");
    bool tls = strncmp(self.url.p, "https:", 6) == 0;
    if (tls && public_url[0] != '\0') {
        token_url(public_url);
    } else if (any != NULL || any6 != NULL) {
        char *url = mem_format("%s://%s:%d", tls ? "https" : "http",
                               any != NULL ? "127.0.0.1" : "[::1]", http_port());
        token_url(url);
        mem_free(url);
    } else {
        token_url(self.url.p);
    }
}

static bool start_core(const char *redis_url, struct err *e)
{
    struct config *c = self.config;
    if (!store_start(redis_url, c, e) || !work_start(e))
        return false;
    token_start();
    work_configure(c);
    follow_start();
    if (!claim_start(c->set.data, e))
        return false;
    self.running = true;
    cron_start();
    db_start();
    run_start();
    auth_start(c->set.token);
    if (!spool_start(c->set.data, e) || !open_port(e))
        return false;
    tell_children();
    return true;
}

static void start(const char *redis_url)
{
    struct err e;
    if (!start_core(redis_url, &e)) {
        give_up("cannot start", &e);
        return;
    }
    write_url_file();
    log_info("serve", "listening", "url=%s version=%s pid=%d", self.url.p, HOOKMESH_VERSION,
             (int)getpid());
    self.ready = timer_new(check_ready, NULL);
    check_ready(NULL);
}

static void on_private_redis(void *arg, const char *url, const struct err *e)
{
    (void)arg;
    if (e != NULL) {
        give_up("cannot start the private Redis", e);
        return;
    }
    if (!self.running && !self.stopping)
        start(url);
}

static void reload(void *arg)
{
    (void)arg;
    struct buf report = {0};
    struct config *c = config_load(self.options->config_dir,
                                   (const char *const *)self.options->overrides, false, &report);
    if (c == NULL) {
        metric_add_for(METRIC_RELOADS, "refused", 1);
        log_error("config", "refused", "hint=\"the old configuration stays in force\" report=%s",
                  log_quote(buf_view(&report)));
        buf_finish(&report);
        return;
    }
    metric_add_for(METRIC_RELOADS, "ok", 1);
    for (char **w = c->warnings; w != NULL && *w != NULL; w++)
        log_warn("config", "warning", "text=%s", log_quotez(*w));
    config_unref(self.config);
    self.config = c;
    enum log_level level;
    if (log_parse_level(c->set.log_level, &level))
        log_setup(level, strcmp(c->set.log_format, "json") == 0, STDERR_FILENO);
    if (self.running) {
        store_configure(c);
        claim_configure(c);
        work_configure(c);
        cron_configure(c);
        db_configure(c);
    }
    log_info("config", "reloaded", "pipelines=%zu hooks=%zu", c->pipeline_n, c->hook_n);
    buf_finish(&report);
}

/* Stopping: each step begins the next when it is done. */

static void end_loop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void stop_redis(void *arg)
{
    (void)arg;
    run_stop();
    store_stop();
    if (self.private_redis)
        private_redis_stop(end_loop, NULL);
    else
        loop_stop();
}

static void stop_spool(void *arg)
{
    (void)arg;
    spool_stop(stop_redis, NULL);
}

static void stop_work(void *arg)
{
    (void)arg;
    work_stop(stop_spool, NULL);
}

static void stop_claims(void *arg)
{
    (void)arg;
    claim_stop(self.config->set.stop_grace, stop_work, NULL);
}

static void stop(void)
{
    if (self.stopping)
        return;
    self.stopping = true;
    timer_free(self.ready);
    self.ready = NULL;
    if (self.watch != NULL)
        dir_watch_stop(self.watch);
    if (!self.running) {
        if (self.private_redis)
            private_redis_stop(end_loop, NULL);
        else
            loop_stop();
        return;
    }
    remove_url_file();
    cron_stop();
    db_stop();
    if (http_port() == 0) {
        stop_claims(NULL);
        return;
    }
    hub_stop();
    live_stop();
    routes_stop();
    http_stop(self.config->set.stop_grace, stop_claims, NULL);
}

static void on_signal(void *arg, int signo)
{
    (void)arg;
    if (signo == SIGHUP) {
        reload(NULL);
        return;
    }
    log_info("serve", "stopping", "signal=%d", signo);
    stop();
}

static struct config *load(void)
{
    struct buf report = {0};
    struct config *c = config_load(self.options->config_dir,
                                   (const char *const *)self.options->overrides, false, &report);
    if (c == NULL)
        fprintf(stderr, "%s",
                report.p != NULL ? report.p : "hookmesh: the configuration cannot be loaded\n");
    buf_finish(&report);
    return c;
}

static void run_here(void)
{
    const struct settings *set = &self.config->set;
    struct err e;
    loop_on_signal(SIGTERM, on_signal, NULL);
    loop_on_signal(SIGINT, on_signal, NULL);
    loop_on_signal(SIGHUP, on_signal, NULL);
    if (self.options->config_dir != NULL) {
        self.watch = dir_watch_start(self.options->config_dir, reload, NULL, &e);
        if (self.watch == NULL)
            log_warn("serve", "no_watch", "error=%s hint=\"reload with SIGHUP\"",
                     log_quotez(e.text));
    }
    self.private_redis = set->redis[0] == '\0';
    if (self.private_redis) {
        struct private_redis_options redis = {
            .data_dir = set->data, .appendfsync = set->redis_fsync, .program = set->redis_program};
        private_redis_start(&redis, on_private_redis, NULL);
    } else {
        start(set->redis);
    }
    loop_run();
}

int serve_main(const struct serve_options *o, char **argv, bool demo)
{
    struct err e = {0};
    self.options = o;
    self.demo = demo;
    self.config = load();
    if (self.config == NULL)
        return 1;
    const struct settings *set = &self.config->set;
    enum log_level level = LOG_INFO;
    (void)log_parse_level(set->log_level, &level);
    log_setup(level, strcmp(set->log_format, "json") == 0, STDERR_FILENO);
    for (char **w = self.config->warnings; w != NULL && *w != NULL; w++)
        log_warn("config", "warning", "text=%s", log_quotez(*w));
    if (!make_data_dir(set->data, &e) || !loop_start(&e)) {
        fprintf(stderr, "hookmesh: %s\n", e.text);
        config_unref(self.config);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    if (set->workers > 1 && !workers_inside()) {
        self.exit_code = workers_run(self.config, argv);
    } else {
        run_here();
        httpc_finish();
        stage_forget();
        auth_stop();
        token_stop();
        hooks_finish();
        start_finish();
    }
    filter_finish();
    loop_finish();
    config_unref(self.config);
    buf_finish(&self.url);
    log_forget_secrets();
    return self.exit_code;
}
