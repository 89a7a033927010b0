/* SPDX-License-Identifier: Apache-2.0 */
/* A hash map from byte strings to things that carry a map_node inside.
 *
 * The map owns neither: a node's key points at bytes of the thing that it lives in, and whoever frees the thing removes
 * the node first. The hash is seeded at random for each process, because keys come from outside. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct map_node {
    struct map_node *next;
    uint64_t hash;
    struct str key;
};

struct map { /* all zeroes is an empty map */
    struct map_node **slots;
    size_t cap;
    size_t n;
};

struct map_node *map_find(const struct map *m, struct str key);     /* NULL: not there */
void map_add(struct map *m, struct map_node *node, struct str key); /* the key must be new */
void map_remove(struct map *m, struct map_node *node);
struct map_node *map_any(const struct map *m); /* some node; NULL when empty */
void map_finish(struct map *m);                /* frees the table, not the nodes */

#endif
