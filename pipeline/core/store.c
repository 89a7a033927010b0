/* SPDX-License-Identifier: Apache-2.0 */
/* A connection is not trusted until the checks of every connect passed: version, eviction policy, function library. They are a chain
 * of commands, each answered by the next step; whatever fails ends in trouble(), which is tried again by a timer, so that a Redis that
 * is mended needs no restart of ours. Whether notifications work is found out by hearing one, since CONFIG may be forbidden. */
#include "core/store.h"

#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "core/args.h"
#include "net/loop.h"

extern const unsigned char lua_library[];
extern const size_t lua_library_size;

#define KEY_PREFIX "hm:kv:"
/* Rung for everything at once, and by us in order to hear whether rings arrive. */
#define BELL   "hm:bell"
#define CANCEL "hm:cancel"
#define RING   "hm:ring"
enum { RECHECK_MS = 2000, PROBE_MS = 3000 };

struct state_listener {
    struct list node;
    store_state_fn fn;
    void *arg;
};

static struct {
    struct config *config;
    char *url;
    struct redis_url parsed;
    struct redis *work;
    struct redis *bell;
    struct list listeners;
    store_bell_fn on_bell;
    void *bell_arg;
    struct timer *recheck;
    struct timer *probe;
    size_t channel_prefix; /* length of "__keyspace@N__:" */
    bool up;
    bool bell_up;
    bool notifications;
    char trouble[512];
} self;

static void set_up(bool up)
{
    if (self.up == up)
        return;
    self.up = up;
    metric_set(METRIC_REDIS_UP, up);
    if (up)
        log_info("store", "up", "notifications=%s", self.notifications ? "yes" : "unknown");
    else
        log_warn("store", "down", "why=%s", log_quotez(self.trouble));
    list_each_safe(at, &self.listeners) {
        struct state_listener *l = container_of(at, struct state_listener, node);
        l->fn(l->arg, up);
    }
}

/* A stop ends the questions under way with an error each; nothing is to follow from those. */
static bool stopped(void)
{
    return self.work == NULL;
}

static void trouble(const char *fmt, const char *detail)
{
    if (stopped())
        return;
    char text[sizeof self.trouble];
    snprintf(text, sizeof text, "%s%s%s", fmt, detail[0] != '\0' ? ": " : "", detail);
    if (strcmp(text, self.trouble) != 0)
        log_error("store", "trouble", "error=%s", log_quotez(text));
    memcpy(self.trouble, text, sizeof text);
    set_up(false);
    timer_arm(self.recheck, RECHECK_MS);
}

static void check_version(void *arg, const struct reply *r, const struct err *e);
static void check_policy(void *arg, const struct reply *r, const struct err *e);
static void check_flags(void *arg, const struct reply *r, const struct err *e);
static void load_library(void);

static void check(void)
{
    if (redis_up(self.work) && !self.up)
        redis_cmd(self.work, check_version, NULL, "INFO", "server", NULL);
}

static void on_recheck(void *arg)
{
    (void)arg;
    check();
}

static void check_version(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (e != NULL) {
        trouble("Redis did not answer the checks", e->text);
        return;
    }
    struct str info = reply_str(r);
    const char *at = info.n == 0 ? NULL : memmem(info.p, info.n, "redis_version:", 14);
    int major = 0;
    if (at != NULL)
        sscanf(at, "redis_version:%d", &major);
    if (major < 7) {
        trouble("Redis is older than version 7; use redis-server 7.0 or later (it needs functions)",
                "");
        return;
    }
    redis_cmd(self.work, check_policy, NULL, "CONFIG", "GET", "maxmemory-policy", NULL);
}

static void check_policy(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (stopped() || (e != NULL && e->code == ERR_REDIS))
        return; /* the connection is gone: its return begins anew */
    struct str policy = reply_str(reply_at(r, 1));
    if (e != NULL) {
        log_warn(
            "store", "policy_unknown",
            "hint=\"CONFIG is not allowed here; make sure that maxmemory-policy is noeviction\"");
    } else if (!str_is(policy, "noeviction") && policy.n != 0) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)policy.n, policy.p);
        trouble(
            "Redis may throw away keys; set it by: CONFIG SET maxmemory-policy noeviction. It is",
            name);
        return;
    }
    redis_cmd(self.work, check_flags, NULL, "CONFIG", "GET", "notify-keyspace-events", NULL);
}

static void on_flags_set(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    (void)r;
    if (stopped())
        return;
    if (e != NULL)
        log_warn("store", "notifications_off",
                 "hint=\"keyspace notifications are off and may not be set from here; set "
                 "notify-keyspace-events to Kgh; until then the sweep finds the work\"");
    load_library();
}

static void check_flags(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    if (stopped() || (e != NULL && e->code == ERR_REDIS))
        return;
    struct str flags = reply_str(reply_at(r, 1));
    const char *p = flags.p != NULL ? flags.p : "";
    bool all = strchr(p, 'A') != NULL;
    if (e != NULL ||
        (strchr(p, 'K') != NULL && (all || (strchr(p, 'h') != NULL && strchr(p, 'g') != NULL)))) {
        load_library();
        return;
    }
    char merged[64];
    snprintf(merged, sizeof merged, "%.*sKgh", (int)(flags.n < 32 ? flags.n : 32), p);
    redis_cmd(self.work, on_flags_set, NULL, "CONFIG", "SET", "notify-keyspace-events", merged,
              NULL);
}

static void try_probe(void)
{
    if (self.up && self.bell_up) {
        redis_cmd(self.work, NULL, NULL, "HSET", BELL, "at", "0", NULL);
        timer_arm(self.probe, PROBE_MS);
    }
}

static void on_probe_silent(void *arg)
{
    (void)arg;
    if (self.notifications || !self.up || !self.bell_up)
        return;
    snprintf(self.trouble, sizeof self.trouble,
             "no keyspace notifications arrive; set notify-keyspace-events to Kgh; until then the "
             "sweep finds the work");
    log_warn("store", "no_notifications", "hint=%s", log_quotez(self.trouble));
}

static void on_opened(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    (void)r;
    if (e != NULL) {
        if (e->code != ERR_REDIS)
            trouble(e->text, "");
        return;
    }
    self.trouble[0] = '\0';
    set_up(true);
    try_probe();
}

static void on_library(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg;
    (void)r;
    if (e == NULL)
        redis_cmd(self.work, on_opened, NULL, "FCALL", "hm2_open", "0", NULL);
    else if (e->code != ERR_REDIS)
        trouble("the function library cannot be loaded", e->text);
}

static void load_library(void)
{
    struct str argv[] = {STR("FUNCTION"),
                         STR("LOAD"),
                         STR("REPLACE"),
                         {(const char *)lua_library, lua_library_size}};
    redis_call(self.work, on_library, NULL, 4, argv);
}

static void on_work(void *arg, bool up)
{
    (void)arg;
    if (up) {
        check();
        return;
    }
    if (self.up)
        metric_add(METRIC_REDIS_RECONNECTS, 1);
    snprintf(self.trouble, sizeof self.trouble, "Redis is not reachable");
    set_up(false);
}

static void on_bell_state(void *arg, bool up)
{
    (void)arg;
    self.bell_up = up;
    if (up)
        try_probe();
    else
        self.notifications = false;
}

static void on_message(void *arg, struct str channel, struct str payload)
{
    (void)arg;
    if (str_is(channel, CANCEL) || str_is(channel, RING)) {
        if (self.on_bell != NULL)
            self.on_bell(self.bell_arg, str_is(channel, RING) ? STORE_STAGE : STORE_CANCEL, payload,
                         STR(""));
        return;
    }
    struct str name = {channel.p + self.channel_prefix, channel.n - self.channel_prefix};
    if (!self.notifications) {
        self.notifications = true;
        timer_disarm(self.probe);
        if (self.up)
            self.trouble[0] = '\0';
    }
    if (!str_starts(name, KEY_PREFIX))
        return; /* the probe's */
    metric_add(METRIC_NOTIFICATIONS, 1);
    name.p += sizeof KEY_PREFIX - 1;
    name.n -= sizeof KEY_PREFIX - 1;
    if (self.on_bell != NULL)
        self.on_bell(self.bell_arg, STORE_KEY, name, payload);
}

bool store_start(const char *redis_url, struct config *c, struct err *e)
{
    if (!redis_url_parse(redis_url, &self.parsed, e))
        return false;
    list_init(&self.listeners);
    self.url = mem_strdup(redis_url);
    self.config = config_ref(c);
    self.recheck = timer_new(on_recheck, NULL);
    self.probe = timer_new(on_probe_silent, NULL);
    snprintf(self.trouble, sizeof self.trouble, "not yet connected to Redis");
    self.work = redis_open(&self.parsed, "work", on_work, NULL);
    self.bell = redis_open(&self.parsed, "bell", on_bell_state, NULL);
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, "__keyspace@%d__:", self.parsed.db);
    self.channel_prefix = (size_t)n;
    char *keys = mem_format("%s" KEY_PREFIX "*", prefix);
    char *bell = mem_format("%s" BELL, prefix);
    struct str patterns[] = {str_of(keys), str_of(bell), STR(CANCEL), STR(RING)};
    redis_psubscribe(self.bell, on_message, NULL, 4, patterns);
    mem_free(keys);
    mem_free(bell);
    return true;
}

void store_stop(void)
{
    if (self.work == NULL)
        return;
    self.up = false;
    redis_close(self.bell);
    redis_close(self.work);
    timer_free(self.recheck);
    timer_free(self.probe);
    list_each_safe(at, &self.listeners)
        mem_free(container_of(at, struct state_listener, node));
    list_init(&self.listeners);
    config_unref(self.config);
    redis_url_finish(&self.parsed);
    mem_free(self.url);
    self.work = self.bell = NULL;
    self.recheck = self.probe = NULL;
    self.config = NULL;
    self.url = NULL;
}

void store_configure(struct config *c)
{
    struct config *old = self.config;
    self.config = config_ref(c);
    config_unref(old);
}

struct config *store_config(void)
{
    return self.config;
}

bool store_up(void)
{
    return self.up;
}

const char *store_trouble(void)
{
    return self.trouble;
}

void store_on_state(store_state_fn fn, void *arg)
{
    struct state_listener *l = mem_new(struct state_listener);
    l->fn = fn;
    l->arg = arg;
    list_append(&self.listeners, &l->node);
    if (self.up)
        fn(arg, true);
}

void store_on_bell(store_bell_fn fn, void *arg)
{
    self.on_bell = fn;
    self.bell_arg = arg;
}

bool store_notifications(void)
{
    return self.notifications;
}

struct redis *store_work(void)
{
    return self.work;
}

const char *store_url(void)
{
    return self.url;
}

struct redis *store_open(const char *name, redis_state_fn on_state, void *arg)
{
    return redis_open(&self.parsed, name, on_state, arg);
}

struct refusal {
    redis_fn fn;
    void *arg;
};

static void refuse(void *arg)
{
    struct refusal *r = arg;
    struct err e;
    err_fail(&e, ERR_REDIS, "%s",
             self.trouble[0] != '\0' ? self.trouble : "Redis is not reachable");
    r->fn(r->arg, NULL, &e);
    mem_free(r);
}

void store_call(const char *function, size_t argc, const struct str *argv, redis_fn fn, void *arg)
{
    if (!self.up) {
        if (fn == NULL)
            return;
        struct refusal *r = mem_new(struct refusal);
        *r = (struct refusal){fn, arg};
        loop_defer(refuse, r);
        return;
    }
    char name[32];
    int n = snprintf(name, sizeof name, "hm2_%s", function);
    struct args a = {0};
    args_add(&a, STR("FCALL"));
    args_add(&a, (struct str){name, (size_t)n});
    args_add(&a, STR("0"));
    for (size_t i = 0; i < argc; i++)
        args_add(&a, argv[i]);
    redis_call(self.work, fn, arg, a.n, a.v);
    args_finish(&a);
}
