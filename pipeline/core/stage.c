/* SPDX-License-Identifier: Apache-2.0 */
/* The registry is read whole. Ten thousand jobs are ten thousand patterns, so they are kept by what stands before their first wildcard ("job.NAME" of
 * "job.NAME.*.input"): of a key only the patterns under one of its own beginnings are matched. */
#include "core/stage.h"

#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/args.h"
#include "core/store.h"

/* A stage under the beginning of its watch pattern, or of an also template. */
struct entry {
    struct entry *next;
    struct known_stage *stage;
    const char *also; /* NULL: its watch pattern */
};

struct beginning {
    struct map_node node;
    char *text;
    struct entry *entries;
};

static struct {
    struct known_stage *stages;
    size_t n;
    struct buf epoch;
    struct map beginnings;
} self;

struct refresh {
    stage_fn fn;
    void *arg;
};

/* The whole tokens before the first with a wildcard or a place in it. */
static struct str beginning_of(const char *pattern)
{
    size_t n = strcspn(pattern, "*>{");
    if (pattern[n] == '\0')
        return (struct str){pattern, n};
    while (n != 0 && pattern[n] != '.')
        n--;
    return (struct str){pattern, n};
}

static void enter(struct known_stage *stage, const char *pattern, bool also)
{
    struct str text = beginning_of(pattern);
    struct map_node *node = map_find(&self.beginnings, text);
    struct beginning *b;
    if (node != NULL) {
        b = container_of(node, struct beginning, node);
    } else {
        b = mem_new(struct beginning);
        b->text = mem_dup(text.p, text.n);
        map_add(&self.beginnings, &b->node, str_of(b->text));
    }
    struct entry *e = mem_new(struct entry);
    *e = (struct entry){b->entries, stage, also ? pattern : NULL};
    b->entries = e;
}

static void make_index(void)
{
    for (size_t i = self.n; i-- != 0;) { /* so that the entries come in the registry's order */
        struct known_stage *s = &self.stages[i];
        enter(s, s->watch, false);
        for (char **a = s->also; *a != NULL; a++) {
            if ((*a)[0] != '?') /* nobody waits for what may be absent */
                enter(s, *a, true);
        }
    }
}

static void clear_index(void)
{
    struct map_node *node;
    while ((node = map_any(&self.beginnings)) != NULL) {
        struct beginning *b = container_of(node, struct beginning, node);
        map_remove(&self.beginnings, node);
        while (b->entries != NULL) {
            struct entry *e = b->entries;
            b->entries = e->next;
            mem_free(e);
        }
        mem_free(b->text);
        mem_free(b);
    }
    map_finish(&self.beginnings);
}

typedef void (*entry_fn)(void *arg, const struct entry *e);

/* The entries under each beginning of the key, the empty one and the whole key too. */
static void each_entry(struct str key, entry_fn fn, void *arg)
{
    for (size_t n = 0; n <= key.n; n++) {
        if (n != 0 && n != key.n && key.p[n] != '.')
            continue;
        struct map_node *node = map_find(&self.beginnings, (struct str){key.p, n});
        if (node == NULL)
            continue;
        for (const struct entry *e = container_of(node, struct beginning, node)->entries; e != NULL;
             e = e->next)
            fn(arg, e);
    }
}

static void clear(void)
{
    clear_index();
    for (size_t i = 0; i < self.n; i++) {
        struct known_stage *s = &self.stages[i];
        for (char **a = s->also; *a != NULL; a++)
            mem_free(*a);
        mem_free(s->also);
        mem_free(s->id);
        mem_free(s->pipeline);
        mem_free(s->watch);
    }
    mem_free(self.stages);
    self.stages = NULL;
    self.n = 0;
}

void stage_forget(void)
{
    clear();
    buf_finish(&self.epoch);
}

static bool read_stage(struct known_stage *s, struct str id, struct str text, uint64_t since,
                       bool filled)
{
    struct err e;
    struct json *j = json_parse(text, &e);
    struct str watch = json_str(json_get(j, "watch"));
    struct str pipeline = json_str(json_get(j, "pipeline"));
    if (watch.n == 0) {
        log_error("stage", "unreadable", "stage=%s", log_quote(id));
        json_free(j);
        return false;
    }
    struct json *also = json_get(j, "also");
    size_t n = json_size(also);
    *s = (struct known_stage){.id = mem_dup(id.p, id.n),
                              .pipeline = mem_dup(pipeline.p, pipeline.n),
                              .watch = mem_dup(watch.p, watch.n),
                              .also = mem_zero(n + 1, sizeof *s->also),
                              .since = since,
                              .filled = filled};
    for (size_t i = 0; i < n; i++) {
        struct str one = json_str(json_at(also, i));
        s->also[i] = mem_dup(one.p, one.n);
    }
    json_free(j);
    return true;
}

static void on_registry(void *arg, const struct reply *r, const struct err *e)
{
    struct refresh *op = arg;
    if (e == NULL) {
        clear();
        buf_clear(&self.epoch);
        buf_str(&self.epoch, reply_str(reply_at(r, 0)));
        size_t n = reply_len(r) / 4;
        self.stages = mem_zero(n, sizeof *self.stages);
        for (size_t i = 0; i < n; i++) {
            const size_t at = 1 + 4 * i;
            if (read_stage(&self.stages[self.n], reply_str(reply_at(r, at)),
                           reply_str(reply_at(r, at + 1)), (uint64_t)reply_int(reply_at(r, at + 2)),
                           reply_int(reply_at(r, at + 3)) != 0))
                self.n++;
        }
        make_index();
    }
    op->fn(op->arg, e);
    mem_free(op);
}

static void describe(struct buf *out, const struct stage *s)
{
    buf_puts(out, "{");
    buf_json_field(out, "pipeline", str_of(s->pipeline));
    buf_json_field(out, "watch", str_of(s->watch));
    buf_json_key(out, "also");
    buf_char(out, '[');
    for (char **a = s->also; a != NULL && *a != NULL; a++) {
        if (a != s->also)
            buf_char(out, ',');
        buf_json_str(out, str_of(*a));
    }
    buf_char(out, ']');
    if (s->after != 0)
        buf_json_field_bool(out, "after", true);
    buf_char(out, '}');
}

void stage_refresh(const struct config *c, stage_fn fn, void *arg)
{
    struct refresh *op = mem_new(struct refresh);
    *op = (struct refresh){fn, arg};
    struct args a = {0};
    struct buf text = {0};
    for (size_t p = 0; c != NULL && p < c->pipeline_n; p++) {
        for (size_t i = 0; i < c->pipelines[p].n; i++) {
            const struct stage *s = &c->pipelines[p].stages[i];
            buf_clear(&text);
            describe(&text, s);
            args_add(&a, str_of(s->id));
            args_text(&a, buf_view(&text));
        }
    }
    store_call("stages", a.n, a.v, on_registry, op);
    buf_finish(&text);
    args_finish(&a);
}

struct str stage_epoch(void)
{
    return self.epoch.n == 0 ? STR("0") : buf_view(&self.epoch);
}

uint64_t stage_seq(void)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < self.n; i++) {
        if (self.stages[i].since > seq)
            seq = self.stages[i].since;
    }
    return seq + 1;
}

size_t stage_count(void)
{
    return self.n;
}

struct known_stage *stage_at(size_t i)
{
    return &self.stages[i];
}

struct known_stage *stage_find(struct str id)
{
    for (size_t i = 0; i < self.n; i++) {
        if (str_is(id, self.stages[i].id))
            return &self.stages[i];
    }
    return NULL;
}

/* If key is what tmpl gives for some input, which input? Works where each {n} is a token of its own. */
static bool input_of(struct buf *member, const char *tmpl, const char *watch, struct str key)
{
    struct str wild[PATTERN_WILDS + 1] = {{0}};
    struct str t = str_of(tmpl);
    struct str k = key;
    while (t.p != NULL && k.p != NULL) {
        struct str a = str_split(&t, '.');
        struct str b = str_split(&k, '.');
        if (a.n == 3 && a.p[0] == '{' && a.p[2] == '}' && a.p[1] >= '1' && a.p[1] <= '8')
            wild[a.p[1] - '0'] = b;
        else if (!str_eq(a, b))
            return false;
    }
    if (t.p != NULL || k.p != NULL)
        return false;
    size_t next = 1;
    for (struct str w = str_of(watch); w.p != NULL;) {
        struct str token = str_split(&w, '.');
        if (str_is(token, "*") || str_is(token, ">")) {
            token = wild[next++];
            if (token.n == 0)
                return false;
        }
        if (member->n != 0 && member->p[member->n - 1] != '\t')
            buf_char(member, '.');
        buf_str(member, token);
    }
    return true;
}

struct matching {
    struct str key;
    stage_match_fn fn;
    void *arg;
};

static void match_entry(void *arg, const struct entry *e)
{
    const struct matching *m = arg;
    if (e->also == NULL && pattern_matches(str_of(e->stage->watch), m->key, NULL))
        m->fn(m->arg, e->stage);
}

void stage_matching(struct str key, stage_match_fn fn, void *arg)
{
    struct matching m = {key, fn, arg};
    each_entry(key, match_entry, &m);
}

struct feeding {
    struct str key;
    struct buf *feeds;
    struct buf *bumps;
};

static void feed_entry(void *arg, const struct entry *e)
{
    const struct feeding *f = arg;
    if (e->also == NULL) {
        if (!pattern_matches(str_of(e->stage->watch), f->key, NULL))
            return;
        if (f->feeds->n != 0)
            buf_char(f->feeds, '\t');
        buf_puts(f->feeds, e->stage->id);
        return;
    }
    size_t before = f->bumps->n;
    if (before != 0)
        buf_char(f->bumps, '\t');
    buf_puts(f->bumps, e->stage->id);
    buf_char(f->bumps, '\t');
    if (!input_of(f->bumps, e->also, e->stage->watch, f->key))
        f->bumps->n = before;
}

void stage_feeds(struct buf *feeds, struct buf *bumps, struct str key)
{
    struct feeding f = {key, feeds, bumps};
    each_entry(key, feed_entry, &f);
}

bool stage_run_recorded(struct str run)
{
    return id_is_uuid(run);
}

void stage_run(struct buf *out, const char *pipeline, const struct pattern_match *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (id_is_uuid(m->wild[i])) {
            buf_str(out, m->wild[i]);
            return;
        }
    }
    buf_puts(out, pipeline);
    for (size_t i = 0; i < m->n; i++) {
        buf_char(out, '.');
        buf_str(out, m->wild[i]);
    }
}

struct running {
    struct str key;
    struct buf *out;
    size_t before;
};

static void run_entry(void *arg, const struct known_stage *s)
{
    const struct running *r = arg;
    struct pattern_match m;
    if (r->out->n == r->before && pattern_matches(str_of(s->watch), r->key, &m))
        stage_run(r->out, s->pipeline, &m);
}

void stage_run_of(struct buf *out, struct str key)
{
    struct running r = {key, out, out->n};
    stage_matching(key, run_entry, &r);
}

void stage_lua_pattern(struct buf *out, struct str pattern)
{
    buf_char(out, '^');
    for (struct str rest = pattern; rest.p != NULL;) {
        struct str token = str_split(&rest, '.');
        if (str_is(token, "*"))
            buf_puts(out, "([^.]+)");
        else if (str_is(token, ">"))
            buf_puts(out, "(.+)");
        else
            for (size_t i = 0; i < token.n; i++) {
                if (strchr("^$()%.[]*+-?", token.p[i]) != NULL)
                    buf_char(out, '%');
                buf_char(out, token.p[i]);
            }
        if (rest.p != NULL)
            buf_puts(out, "%.");
    }
    buf_char(out, '$');
}

bool stage_key_of_run(struct buf *out, const char *pipeline, struct str pattern, struct str run)
{
    struct str tokens = run;
    if (!stage_run_recorded(run)) {
        size_t n = strlen(pipeline);
        if (!str_starts(run, pipeline) || run.n <= n + 1 || run.p[n] != '.')
            return false;
        tokens = (struct str){run.p + n + 1, run.n - n - 1};
    }
    size_t from = out->n;
    for (struct str rest = pattern; rest.p != NULL;) {
        struct str token = str_split(&rest, '.');
        if (out->n != from)
            buf_char(out, '.');
        if (str_is(token, ">")) {
            buf_str(out, tokens);
            tokens = (struct str){NULL, 0};
        } else if (str_is(token, "*")) {
            struct str one = tokens.p == NULL          ? (struct str){NULL, 0}
                             : stage_run_recorded(run) ? run
                                                       : str_split(&tokens, '.');
            if (one.n == 0) {
                out->n = from;
                return false;
            }
            buf_str(out, one);
        } else {
            buf_str(out, token);
        }
    }
    return true;
}
