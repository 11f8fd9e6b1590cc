/* list.h - a list whose links lie in what it lists: no memory of its own, removal from anywhere.
 *
 * A node is in one list or in none; zeroed memory is a node in none. list_init() before use of a list. */
#ifndef TRANSPORT_LIST_H
#define TRANSPORT_LIST_H

#include "proto/base.h"

struct list_node {
    struct list_node *next;
    struct list_node *prev;
};

struct list {
    struct list_node head;
};

/* The struct that a node is a member of. */
#define LIST_OWNER(node, type, member)                                         \
    ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.next = &l->head;
    l->head.prev = &l->head;
}

static inline bool list_is_in(const struct list_node *n)
{
    return n->next != NULL;
}

static inline struct list_node *list_first(struct list *l)
{
    return l->head.next == &l->head ? NULL : l->head.next;
}

/* Of a node that is in l; NULL behind the last. */
static inline struct list_node *list_after(struct list *l, struct list_node *n)
{
    ASSERT(list_is_in(n));
    return n->next == &l->head ? NULL : n->next;
}

static inline void list_append(struct list *l, struct list_node *n)
{
    ASSERT(!list_is_in(n));
    n->prev = l->head.prev;
    n->next = &l->head;
    l->head.prev->next = n;
    l->head.prev = n;
}

/* Of whichever list it's in; nothing if in none. */
static inline void list_remove(struct list_node *n)
{
    if (!list_is_in(n)) {
        return;
    }
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = NULL;
    n->prev = NULL;
}

#endif
