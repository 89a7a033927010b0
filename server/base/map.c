/* SPDX-License-Identifier: Apache-2.0 */
/* Chains in a table of a power of two slots that doubles when it is full. Nodes are intrusive, so an insertion
 * allocates only when the table grows. The seed matters: patterns and keys are chosen by clients, and with a known
 * hash they could put everything into one chain. */
#include "base/map.h"

#include "base/err.h"
#include "base/id.h"
#include "base/mem.h"

static uint64_t hash_of(struct str key)
{
    static uint64_t seed;
    while (seed == 0)
        id_random(&seed, sizeof seed);
    uint64_t h = seed ^ (key.n * 0x9e3779b97f4a7c15U);
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (unsigned char)key.p[i]) * 0x100000001b3U;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93U;
    return h ^ h >> 32;
}

static void grow(struct map *m)
{
    size_t cap = m->cap ? m->cap * 2 : 16;
    struct map_node **slots = mem_zero(cap, sizeof *slots);
    for (size_t i = 0; i < m->cap; i++)
        for (struct map_node *at = m->slots[i], *next; at; at = next) {
            next = at->next;
            at->next = slots[at->hash & (cap - 1)];
            slots[at->hash & (cap - 1)] = at;
        }
    mem_free(m->slots);
    m->slots = slots;
    m->cap = cap;
}

struct map_node *map_find(const struct map *m, struct str key)
{
    if (m->n == 0)
        return NULL;
    uint64_t hash = hash_of(key);
    struct map_node *at = m->slots[hash & (m->cap - 1)];
    while (at && (at->hash != hash || !str_eq(at->key, key)))
        at = at->next;
    return at;
}

void map_add(struct map *m, struct map_node *node, struct str key)
{
    if (m->n >= m->cap)
        grow(m);
    node->key = key;
    node->hash = hash_of(key);
    struct map_node **slot = &m->slots[node->hash & (m->cap - 1)];
    node->next = *slot;
    *slot = node;
    m->n++;
}

void map_remove(struct map *m, struct map_node *node)
{
    must(m->n > 0);
    struct map_node **at = &m->slots[node->hash & (m->cap - 1)];
    while (*at && *at != node)
        at = &(*at)->next;
    must(*at == node);
    *at = node->next;
    m->n--;
}

struct map_node *map_any(const struct map *m)
{
    for (size_t i = 0; m->n > 0 && i < m->cap; i++)
        if (m->slots[i])
            return m->slots[i];
    return NULL;
}

void map_finish(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}
