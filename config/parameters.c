/* SPDX-License-Identifier: Apache-2.0 */
/* What a job may be started with. `parameters` is a list, or a map by name; `input` gives values for what a start leaves out. Standard values and choices are kept
 * as JSON, because they are put into the input as they stand. */
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "config/parts.h"

static const char *const parameter_keys[] = {"name", "type",     "default",     "choices",
                                             "enum", "required", "description", NULL};
static const char *const types[] = {"string", "number", "integer", "boolean",
                                    "array",  "object", NULL};

static struct parameter *find(const struct job *j, const char *name)
{
    for (size_t i = 0; i < j->parameter_n; i++) {
        if (strcmp(j->parameters[i].name, name) == 0)
            return &j->parameters[i];
    }
    return NULL;
}

static struct parameter *add(struct job *j, const char *name)
{
    j->parameters = mem_resize(j->parameters, (j->parameter_n + 1) * sizeof *j->parameters);
    struct parameter *p = &j->parameters[j->parameter_n++];
    *p = (struct parameter){.name = mem_strdup(name)};
    return p;
}

static bool fits(const char *type, const char *text)
{
    struct json *json = json_parse(str_of(text), NULL);
    bool ok = false;
    switch (json_type_of(json)) {
    case J_NONE: break;
    case J_NULL: ok = true; break;
    case J_BOOL: ok = strcmp(type, "boolean") == 0; break;
    case J_INT: ok = strcmp(type, "integer") == 0 || strcmp(type, "number") == 0; break;
    case J_REAL: ok = strcmp(type, "number") == 0; break;
    case J_STR: ok = strcmp(type, "string") == 0; break;
    case J_ARR: ok = strcmp(type, "array") == 0; break;
    case J_OBJ: ok = strcmp(type, "object") == 0; break;
    }
    json_free(json);
    return ok;
}

static void set_standard(struct load *l, const struct node *n, struct parameter *p)
{
    struct buf b = {0};
    load_json(&b, n);
    p->standard = buf_take(&b);
    if (p->type != NULL && !fits(p->type, p->standard))
        load_fail(l, n->at, "parameters", "the default of \"%s\" is no %s", p->name, p->type);
}

static void read_choices(struct load *l, const struct node *n, struct parameter *p)
{
    struct buf b = {0};
    if (!load_is(l, n, NODE_LIST, "choices"))
        return;
    if (n->n == 0)
        load_fail(l, n->at, "choices", "the list is empty");
    load_json(&b, n);
    p->choices = buf_take(&b);
}

static void check_choice(struct load *l, const struct node *choices, const struct node *standard,
                         const struct parameter *p)
{
    for (size_t i = 0; i < choices->n; i++) {
        struct buf one = {0};
        load_json(&one, choices->items[i]);
        bool same = strcmp(one.p, p->standard) == 0;
        buf_finish(&one);
        if (same)
            return;
    }
    load_fail(l, standard->at, "parameters", "the default of \"%s\" is none of its choices",
              p->name);
}

static void read_details(struct load *l, const struct node *map, struct parameter *p)
{
    load_keys(l, map, parameter_keys, NULL);
    const struct node *n = node_get(map, "type");
    int type = n == NULL ? -1 : load_choice(l, n, "parameters", types);
    if (type >= 0)
        p->type = mem_strdup(types[type]);
    n = node_get(map, "required");
    if (n != NULL)
        load_bool(l, n, "required", &p->required);
    n = node_get(map, "description");
    if (n != NULL)
        p->description = load_word(l, n, "description");
    const struct node *choices =
        node_get(map, node_get(map, "choices") != NULL ? "choices" : "enum");
    if (choices != NULL)
        read_choices(l, choices, p);
    n = node_get(map, "default");
    if (n != NULL)
        set_standard(l, n, p);
    if (n != NULL && choices != NULL && p->choices != NULL)
        check_choice(l, choices, n, p);
    if (n != NULL && p->required)
        load_fail(l, n->at, "parameters", "\"%s\" is required, so its default is never used",
                  p->name);
}

static void read_item(struct load *l, const struct node *n, struct job *j)
{
    if (!load_is(l, n, NODE_MAP, "parameters"))
        return;
    char *name = NULL;
    if (!load_name(l, n, &name))
        return;
    if (find(j, name) != NULL)
        load_fail(l, node_get(n, "name")->at, "parameters", "\"%s\" stands here twice", name);
    read_details(l, n, add(j, name));
    mem_free(name);
}

/* NAME: {type: ...}, or NAME: its default. */
static void read_named(struct load *l, const struct node *key, const struct node *n, struct job *j)
{
    struct parameter *p = add(j, key->text);
    if (n->type == NODE_MAP)
        read_details(l, n, p);
    else if (n->type != NODE_NULL)
        set_standard(l, n, p);
}

static void read_input(struct load *l, const struct node *n, struct job *j)
{
    if (!load_is(l, n, NODE_MAP, "input"))
        return;
    for (size_t i = 0; i < n->n; i++) {
        struct parameter *p = find(j, n->keys[i]->text);
        if (p == NULL)
            p = add(j, n->keys[i]->text);
        if (p->standard != NULL) {
            load_fail(l, n->keys[i]->at, "input", "the parameter \"%s\" has a default already",
                      p->name);
            continue;
        }
        p->required = false;
        set_standard(l, n->items[i], p);
    }
}

void parameters_read(struct load *l, const struct node *map, struct job *j)
{
    const struct node *n = node_get(map, "parameters");
    if (n != NULL && n->type == NODE_MAP) {
        for (size_t i = 0; i < n->n; i++)
            read_named(l, n->keys[i], n->items[i], j);
    } else if (n != NULL && load_is(l, n, NODE_LIST, "parameters")) {
        for (size_t i = 0; i < n->n; i++)
            read_item(l, n->items[i], j);
    }
    j->open = n == NULL;
    n = node_get(map, "input");
    if (n != NULL)
        read_input(l, n, j);
}
