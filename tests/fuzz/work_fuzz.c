/* SPDX-License-Identifier: Apache-2.0 */
/* What children of the server send: an extension host's frames and a kept command's lines, in pieces, and stderr. Whatever comes, each claim is finished
 * once, what is taken for a result is JSON, and log lines are bounded UTF-8. A value given to a kept command is one line.
 *
 * There is no child here: this file stands where net/proc, core/claim and core/event stand. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/event.h"
#include "core/kv.h"
#include "core/run.h"
#include "core/store.h"
#include "net/loop.h"
#include "work/pool.h"
#include "work/runner.h"
#include "work/value.h"
#include "work/work.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct proc_events *events;
static void *events_arg;
static bool alive; /* the child of events_arg */
static bool killed;
static int open_claims;
static struct jscan *scan;

struct proc *proc_spawn(const struct proc_options *o, const struct proc_events *ev, void *arg,
                        struct err *e)
{
    static char any;
    (void)o;
    (void)e;
    events = ev;
    events_arg = arg;
    alive = true;
    return (struct proc *)(void *)&any;
}

void proc_write(struct proc *p, struct str bytes)
{
    (void)p;
    must(bytes.n != 0);
}

void proc_close_stdin(struct proc *p)
{
    (void)p;
}

size_t proc_unwritten(const struct proc *p)
{
    (void)p;
    return 0;
}

void proc_kill(struct proc *p)
{
    (void)p;
    killed = true;
}

int proc_pid(const struct proc *p)
{
    (void)p;
    return 0;
}

void claim_register(enum work_kind kind, const struct claim_runner *r)
{
    (void)kind;
    (void)r;
}

void claim_finish(struct claim *c, enum claim_outcome outcome, struct str output, const char *error,
                  int64_t retry_after_ms)
{
    (void)retry_after_ms;
    must(open_claims-- > 0);
    must((outcome == CLAIM_OK) == (error == NULL));
    must(outcome != CLAIM_OK || output.n == 0 || jscan_parse(scan, output, NULL));
    mem_free(c);
}

void event_log_line(struct str run, struct str stage, struct str line)
{
    must(run.n != 0 && stage.n != 0 && line.n != 0 && line.n <= LINES_LONGEST + 3);
    must(str_utf8_valid(line) && memchr(line.p, '\n', line.n) == NULL);
}

/* Redis is not asked by any of this. */

void kv_put(size_t n, const struct kv_put *puts, kv_put_fn fn, void *arg)
{
    (void)n;
    (void)puts;
    (void)fn;
    (void)arg;
    must(false);
}

void kv_get(size_t n, const struct str *keys, kv_get_fn fn, void *arg)
{
    (void)n;
    (void)keys;
    (void)fn;
    (void)arg;
    must(false);
}

void run_get(struct str id, run_json_fn fn, void *arg)
{
    (void)id;
    (void)fn;
    (void)arg;
    must(false);
}

void store_call(const char *function, size_t argc, const struct str *argv, redis_fn fn, void *arg)
{
    (void)function;
    (void)argc;
    (void)argv;
    (void)fn;
    (void)arg;
    must(false);
}

void store_on_state(store_state_fn fn, void *arg)
{
    (void)fn;
    (void)arg;
}

static struct claim *claim_on(const struct stage *s)
{
    struct claim *c = mem_new(struct claim);
    *c = (struct claim){.stage = s, .key = STR("a.b"), .value = STR("{}"), .run = STR("r")};
    open_claims++;
    return c;
}

/* Bytes come in pieces, the size of each told by the byte before it. */
static void feed(const struct claim_runner *r, const struct stage *s, const uint8_t *data,
                 size_t size)
{
    struct claim *claims[3] = {claim_on(s), claim_on(s), claim_on(s)};
    killed = false;
    r->run(claims, 3);
    while (size > 1 && !killed) {
        size_t n = data[0] & 0x7F;
        bool to_stderr = (data[0] & 0x80) != 0;
        n = n < size ? n : size - 1;
        /* A copy of its own, so that reading beyond it is seen. */
        char *piece = mem_alloc(n + 1);
        memcpy(piece, data + 1, n);
        if (n != 0)
            (to_stderr ? events->on_stderr : events->on_stdout)(events_arg, (struct str){piece, n});
        free(piece);
        data += 1 + n;
        size -= 1 + n;
    }
}

/* What was not finished goes to a new child when one ends, until each claim had its turn. */
static void end_children(void)
{
    static const struct proc_exit gone = {.code = -1, .signal = 9};
    while (alive) {
        alive = false;
        events->on_exit(events_arg, &gone);
    }
    must(open_claims == 0);
}

static void stop_loop(void *unused)
{
    (void)unused;
    loop_stop();
}

static void check_one_line(const struct stage *s, const uint8_t *data, size_t size)
{
    struct claim c = {.stage = s, .key = STR("k"), .value = {(const char *)data, size}};
    struct buf line = {0};
    struct err e;
    if (value_input(&line, &c, true, &e)) {
        must(memchr(line.p, '\n', line.n) == NULL);
        must(jscan_parse(scan, buf_view(&line), NULL));
    }
    buf_finish(&line);
}

static struct config *config;

static void start(void)
{
    struct err e;
    struct buf report = {0};
    log_setup(LOG_ERROR, false, 2);
    scan = jscan_new();
    must(loop_start(&e) && work_start(&e));
    config = config_load(NULL, NULL, false, &report);
    must(config != NULL);
    config->extensions = mem_new(struct extension);
    config->extensions->name = mem_strdup("x");
    config->extensions->path = mem_strdup("/x.so");
    config->extension_n = 1;
    work_configure(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char echo[] = "echo";
    static char job[] = "j";
    static char name[] = "x";
    static char id[] = "p.s";
    static char write[] = "out";
    static char *argv[] = {echo, NULL};
    static const struct stage command = {
        .id = id,
        .write = write,
        .concurrency = 1,
        .work = {.kind = WORK_COMMAND, .keep = true, .argv = argv}};
    static const struct stage extension = {
        .id = id, .write = write, .work = {.kind = WORK_EXTENSION, .extension = name, .job = job}};
    if (config == NULL)
        start();
    if (size < 2)
        return 0;
    switch (data[0] % 3) {
    case 0: feed(&extension_runner, &extension, data + 1, size - 1); break;
    case 1: feed(&command_runner, &command, data + 1, size - 1); break;
    default: check_one_line(&command, data + 1, size - 1); return 0;
    }
    end_children();
    work_configure(config); /* it names none of this, so the pools end */
    loop_defer(stop_loop, NULL);
    loop_run();
    return 0;
}
