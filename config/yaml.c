/* SPDX-License-Identifier: Apache-2.0 */
/* libfyaml's events are folded into our own nodes, and not its documents kept, for two reasons: limits
 * bite while reading (an alias costs the weight of what it stands for at the moment it is met, so a "billion laughs"
 * ends before anything grows), and every node carries its place for errors that are found much later.
 * An alias is the same node again: the tree is a DAG, freed through one flat list. */
#include "config/yaml.h"

#include <libfyaml.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

struct anchor {
    char *name;
    struct node *node;
};

struct level { /* an open list or map */
    struct node *node;
    struct node *key; /* a map's key that waits for its value */
    char *anchor;     /* known only once it is closed: an alias to itself would be endless */
};

struct yaml {
    struct node **all;
    size_t all_n;
    size_t all_cap;
    struct node **roots;
    size_t root_n;
};

struct reading {
    struct yaml *y;
    const struct source *source;
    struct report *report;
    struct level levels[YAML_DEPTH_MAX];
    size_t depth;
    struct anchor *anchors;
    size_t anchor_n;
    size_t weight; /* of all documents so far */
};

const char *node_type_name(enum node_type t)
{
    switch (t) {
    case NODE_NULL: return "nothing";
    case NODE_TEXT: return "a single value";
    case NODE_LIST: return "a list";
    case NODE_MAP: return "a map";
    }
    return "";
}

static struct place place_of(const struct reading *r, const struct fy_mark *m)
{
    if (m == NULL)
        return (struct place){.source = r->source, .line = 1, .column = 1};
    return (struct place){.source = r->source, .line = m->line + 1, .column = m->column + 1};
}

static struct node *new_node(struct reading *r, enum node_type type, struct fy_event *ev)
{
    struct yaml *y = r->y;
    if (y->all_n == y->all_cap) {
        y->all_cap = y->all_cap == 0 ? 64 : y->all_cap * 2;
        y->all = mem_resize(y->all, y->all_cap * sizeof *y->all);
    }
    struct node *n = mem_new(struct node);
    n->type = type;
    n->at = place_of(r, fy_event_start_mark(ev));
    n->weight = 1;
    y->all[y->all_n++] = n;
    return n;
}

static void free_node(struct node *n)
{
    mem_free(n->text);
    mem_free(n->items);
    mem_free(n->keys);
    mem_free(n);
}

static char *token_text(struct fy_token *t)
{
    size_t n = 0;
    const char *p = t == NULL ? NULL : fy_token_get_text(t, &n);
    return p == NULL ? NULL : mem_dup(p, n);
}

static bool set_anchor(struct reading *r, char *name, struct node *n)
{
    if (name == NULL)
        return true;
    if (r->anchor_n == YAML_ANCHORS_MAX) {
        report_error(r->report, n->at, "too many anchors: at most %d", YAML_ANCHORS_MAX);
        mem_free(name);
        return false;
    }
    r->anchors = mem_resize(r->anchors, (r->anchor_n + 1) * sizeof *r->anchors);
    r->anchors[r->anchor_n++] = (struct anchor){name, n};
    return true;
}

static struct node *find_anchor(struct reading *r, const char *name)
{
    for (size_t i = r->anchor_n; i-- > 0;) {
        if (strcmp(r->anchors[i].name, name) == 0)
            return r->anchors[i].node;
    }
    return NULL;
}

static bool is_null_text(const struct node *n)
{
    return n->plain &&
           (n->text_n == 0 || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0 ||
            strcmp(n->text, "Null") == 0 || strcmp(n->text, "NULL") == 0);
}

static bool add_key(struct reading *r, struct level *l, struct node *n)
{
    if (n->type != NODE_TEXT) {
        report_error(r->report, n->at, "a key must be a word, not %s", node_type_name(n->type));
        return false;
    }
    const struct node *before = node_key(l->node, n->text);
    if (before != NULL) {
        report_error(r->report, n->at, "the key \"%s\" stands here twice: first in line %d",
                     n->text, before->at.line);
        return false;
    }
    if (l->node->n == YAML_KEYS_MAX) {
        report_error(r->report, n->at, "too many keys in one map: at most %d", YAML_KEYS_MAX);
        return false;
    }
    l->key = n;
    return true;
}

static bool is_power_of_two(size_t n)
{
    return (n & (n - 1)) == 0;
}

/* Puts a finished (or, for lists and maps, just opened) node where it belongs. */
static bool place_node(struct reading *r, struct node *n)
{
    if (r->depth == 0) {
        r->y->roots = mem_resize(r->y->roots, (r->y->root_n + 1) * sizeof *r->y->roots);
        r->y->roots[r->y->root_n++] = n;
        return true;
    }
    struct level *l = &r->levels[r->depth - 1];
    struct node *into = l->node;
    if (into->type == NODE_MAP && l->key == NULL)
        return add_key(r, l, n);
    if (is_power_of_two(into->n)) {
        size_t cap = into->n == 0 ? 1 : into->n * 2;
        into->items = mem_resize(into->items, cap * sizeof *into->items);
        if (into->type == NODE_MAP)
            into->keys = mem_resize(into->keys, cap * sizeof *into->keys);
    }
    into->items[into->n] = n;
    if (into->type == NODE_MAP) {
        into->keys[into->n] = l->key;
        l->key = NULL;
    }
    into->n++;
    return true;
}

static bool add_weight(struct reading *r, const struct node *n)
{
    r->weight += n->weight;
    for (size_t i = 0; i < r->depth; i++) {
        must(r->levels[i].node != NULL);
        r->levels[i].node->weight += n->weight;
    }
    if (r->weight <= YAML_NODES_MAX)
        return true;
    report_error(r->report, n->at, "the file is too big: more than %d values, aliases counted out",
                 YAML_NODES_MAX);
    return false;
}

static bool refuse_tag(struct reading *r, struct fy_token *tag)
{
    if (tag == NULL)
        return true;
    report_error(r->report, place_of(r, fy_token_start_mark(tag)),
                 "tags are not supported here: leave it out");
    return false;
}

static bool on_scalar(struct reading *r, struct fy_event *ev)
{
    if (!refuse_tag(r, ev->scalar.tag))
        return false;
    struct node *n = new_node(r, NODE_TEXT, ev);
    struct fy_token *value = ev->scalar.value;
    size_t size = 0;
    const char *p = value == NULL ? NULL : fy_token_get_text(value, &size);
    n->text = mem_dup(p, p == NULL ? 0 : size);
    n->text_n = p == NULL ? 0 : size;
    if (memchr(n->text, '\0', n->text_n) != NULL) {
        report_error(r->report, n->at, "a NUL character cannot be used here");
        return false;
    }
    enum fy_scalar_style style = value == NULL ? FYSS_PLAIN : fy_token_scalar_style(value);
    n->plain = style == FYSS_PLAIN;
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
        n->at.column--; /* the mark stands behind the quote */
    const struct level *in = r->depth != 0 ? &r->levels[r->depth - 1] : NULL;
    must(in == NULL || in->node != NULL);
    bool as_key = in != NULL && in->node->type == NODE_MAP && in->key == NULL;
    if (!as_key && is_null_text(n)) {
        n->type = NODE_NULL;
        if (value == NULL && in != NULL && in->key != NULL)
            n->at = in->key->at; /* nothing was written: show its key */
    }
    return set_anchor(r, token_text(ev->scalar.anchor), n) && add_weight(r, n) && place_node(r, n);
}

static bool on_open(struct reading *r, struct fy_event *ev, enum node_type type)
{
    bool map = type == NODE_MAP;
    if (!refuse_tag(r, map ? ev->mapping_start.tag : ev->sequence_start.tag))
        return false;
    struct node *n = new_node(r, type, ev);
    if (r->depth == YAML_DEPTH_MAX) {
        report_error(r->report, n->at, "nested too deeply: at most %d levels", YAML_DEPTH_MAX);
        return false;
    }
    if (!add_weight(r, n) || !place_node(r, n))
        return false;
    struct fy_token *anchor = map ? ev->mapping_start.anchor : ev->sequence_start.anchor;
    r->levels[r->depth++] = (struct level){.node = n, .anchor = token_text(anchor)};
    return true;
}

static bool on_close(struct reading *r)
{
    struct level *l = &r->levels[--r->depth];
    return set_anchor(r, l->anchor, l->node);
}

static bool on_alias(struct reading *r, struct fy_event *ev)
{
    struct place at = place_of(r, fy_token_start_mark(ev->alias.anchor));
    char *name = token_text(ev->alias.anchor);
    struct node *n = name == NULL ? NULL : find_anchor(r, name);
    bool ok = n != NULL;
    if (!ok)
        report_error(r->report, at, "the alias *%s has no anchor &%s before it",
                     name == NULL ? "" : name, name == NULL ? "" : name);
    mem_free(name);
    return ok && add_weight(r, n) && place_node(r, n);
}

static void forget_anchors(struct reading *r)
{
    for (size_t i = 0; i < r->anchor_n; i++)
        mem_free(r->anchors[i].name);
    mem_free(r->anchors);
    r->anchors = NULL;
    r->anchor_n = 0;
}

static bool on_event(struct reading *r, struct fy_event *ev)
{
    switch (ev->type) {
    case FYET_SCALAR: return on_scalar(r, ev);
    case FYET_SEQUENCE_START: return on_open(r, ev, NODE_LIST);
    case FYET_MAPPING_START: return on_open(r, ev, NODE_MAP);
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END: return on_close(r);
    case FYET_ALIAS: return on_alias(r, ev);
    case FYET_DOCUMENT_END: forget_anchors(r); return true;
    case FYET_NONE:
    case FYET_STREAM_START:
    case FYET_STREAM_END:
    case FYET_DOCUMENT_START: return true;
    }
    return true;
}

/* What libfyaml collected, as errors of ours; it may find several. */
static void take_errors(struct reading *r, struct fy_diag *diag)
{
    void *iter = NULL;
    const struct fy_diag_error *e;
    size_t found = 0;
    while ((e = fy_diag_errors_iterate(diag, &iter)) != NULL) {
        struct place at = {.source = r->source, .line = e->line, .column = e->column};
        if (at.line < 1)
            at.line = at.column = 1;
        report_error(r->report, at, "not valid YAML: %s", e->msg);
        found++;
    }
    if (found == 0)
        report_error(r->report, (struct place){.source = r->source, .line = 1, .column = 1},
                     "not valid YAML: the document cannot be read from here on");
}

/* libfyaml writes a few errors of its start-up past its own collection; stderr is not theirs. */
static void swallow(struct fy_diag *diag, void *user, const char *text, size_t n)
{
    (void)diag;
    (void)user;
    (void)text;
    (void)n;
}

static bool check_bytes(const struct source *s, struct report *report)
{
    struct str rest = buf_view(&s->text);
    for (int line = 1; rest.p != NULL; line++) {
        struct str text = str_split(&rest, '\n');
        struct place at = {.source = s, .line = line, .column = 1};
        if (!str_utf8_valid(text)) {
            report_error(report, at, "this line is not valid UTF-8: save the file as UTF-8");
            return false;
        }
        for (size_t i = 0; i < text.n; i++) {
            unsigned char c = (unsigned char)text.p[i];
            if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7F) {
                report_error(report, at, "this line has the control character 0x%02x in it", c);
                return false;
            }
        }
    }
    return true;
}

static bool parse(struct reading *r, struct fy_diag *diag)
{
    struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE | FYPCF_DEFAULT_VERSION_1_2,
        .diag = diag,
    };
    struct fy_parser *parser = fy_parser_create(&cfg);
    must(parser != NULL);
    const struct buf *text = &r->source->text;
    must(fy_parser_set_string(parser, text->n != 0 ? text->p : "\n", text->n != 0 ? text->n : 1) ==
         0);
    bool ok = true;
    struct fy_event *ev;
    while (ok && (ev = fy_parser_parse(parser)) != NULL) {
        ok = on_event(r, ev);
        fy_parser_event_free(parser, ev);
    }
    if (ok && (fy_parser_get_stream_error(parser) || fy_diag_got_error(diag))) {
        take_errors(r, diag);
        ok = false;
    }
    fy_parser_destroy(parser);
    return ok;
}

struct yaml *yaml_read(const struct source *s, struct report *report)
{
    if (!check_bytes(s, report))
        return NULL;
    struct reading r = {.y = mem_new(struct yaml), .source = s, .report = report};
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.output_fn = swallow;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    must(diag != NULL);
    fy_diag_set_collect_errors(diag, true);
    bool ok = parse(&r, diag);
    fy_diag_destroy(diag);
    forget_anchors(&r);
    while (r.depth != 0)
        mem_free(r.levels[--r.depth].anchor);
    if (ok)
        return r.y;
    yaml_free(r.y);
    return NULL;
}

void yaml_free(struct yaml *y)
{
    if (y == NULL)
        return;
    for (size_t i = 0; i < y->all_n; i++)
        free_node(y->all[i]);
    mem_free(y->all);
    mem_free(y->roots);
    mem_free(y);
}

size_t yaml_documents(const struct yaml *y)
{
    return y->root_n;
}

const struct node *yaml_root(const struct yaml *y, size_t i)
{
    return y->roots[i];
}

static size_t find_key(const struct node *map, const char *key)
{
    size_t i = 0;
    while (i < map->n && strcmp(map->keys[i]->text, key) != 0)
        i++;
    return i;
}

const struct node *node_get(const struct node *map, const char *key)
{
    size_t i = find_key(map, key);
    return i == map->n ? NULL : map->items[i];
}

const struct node *node_key(const struct node *map, const char *key)
{
    size_t i = find_key(map, key);
    return i == map->n ? NULL : map->keys[i];
}
