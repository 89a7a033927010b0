/* SPDX-License-Identifier: Apache-2.0 */
/* A doubly linked ring of nodes that live inside the things they link. An unlinked node points at
 * itself, so unlinking twice is harmless. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

#define list_each(at, head) for (struct list *at = (head)->next; at != (head); at = at->next)
/* The body may unlink or free the current node. */
#define list_each_safe(at, head)                                                                   \
    for (struct list *at = (head)->next, *at##_next = at->next; at != (head);                      \
         at = at##_next, at##_next = at->next)

#endif
