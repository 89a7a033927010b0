/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as a tree of nodes that know their place. libfyaml reads, this module keeps: no other file sees
 * its types, so the rest of config/ would not notice another parser.
 *
 * Only what a configuration needs is let in: maps with text keys, lists, scalars, anchors and aliases. Refused, with
 * the place: duplicate keys, tags, keys that are no text, too much nesting, too many nodes after aliases are
 * counted out, anything that is not UTF-8. Nodes live until yaml_free; texts are NUL-terminated but may hold
 * NULs as well, which the readers above refuse. */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "config/report.h"

enum node_type { NODE_NULL, NODE_TEXT, NODE_LIST, NODE_MAP };

struct node {
    enum node_type type;
    struct place at;
    char *text; /* NODE_TEXT */
    size_t text_n;
    bool plain; /* NODE_TEXT: written without quotes, so it may mean a number or a boolean */
    struct node **items; /* list items, or a map's values */
    struct node **keys;  /* a map's keys, each NODE_TEXT */
    size_t n;
    size_t weight; /* nodes when every alias is written out */
};

enum {
    YAML_DEPTH_MAX = 30,
    YAML_NODES_MAX = 100000,
    YAML_KEYS_MAX = 4096,
    YAML_ANCHORS_MAX = 1000,
    YAML_FILE_MAX = 4 << 20,
};

struct yaml;
/* The documents of one file. NULL when any error was added to the report. */
struct yaml *yaml_read(const struct source *s, struct report *r);
void yaml_free(struct yaml *y); /* NULL is fine */
size_t yaml_documents(const struct yaml *y);
const struct node *yaml_root(const struct yaml *y, size_t i);

const struct node *node_get(const struct node *map, const char *key); /* NULL: not there */
const struct node *node_key(const struct node *map, const char *key); /* the key itself */
const char *node_type_name(enum node_type t);                         /* "a list" */

#endif
