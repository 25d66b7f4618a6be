/* list.h - a circular doubly linked list whose nodes live inside their owners. The list allocates nothing and
 * takes no lock: it belongs to whoever owns its head. */
#ifndef RILL_CORE_LIST_H
#define RILL_CORE_LIST_H

#include "rill/core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A head (points at itself when empty) or a member. */
struct rill_list {
    struct rill_list *next;
    struct rill_list *previous;
};

/* Makes NODE an empty head, or a member of no list. Call once before anything else. */
static inline void rill_list_init(struct rill_list *node)
{
    node->next = node->previous = node;
}

/* Whether HEAD has no members; for a member: whether it is in no list. */
static inline bool rill_list_empty(const struct rill_list *head)
{
    return head->next == head;
}

/* Appends NODE, which must be in no list, as HEAD's last member. */
static inline void rill_list_push_back(struct rill_list *head, struct rill_list *node)
{
    node->previous = head->previous;
    node->next = head;
    head->previous->next = node;
    head->previous = node;
}

/* Puts NODE, which must be in no list, before HEAD's first member. */
static inline void rill_list_push_front(struct rill_list *head, struct rill_list *node)
{
    rill_list_push_back(head->next, node);
}

/* Takes NODE out of its list; a no-op when it is in none. */
static inline void rill_list_remove(struct rill_list *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    rill_list_init(node);
}

/* Takes out and returns HEAD's first member, or NULL when there is none. */
static inline struct rill_list *rill_list_pop_front(struct rill_list *head)
{
    struct rill_list *node = head->next;
    if (node == head)
        return NULL;
    rill_list_remove(node);
    return node;
}

/* Moves all members of FROM to the end of TO; FROM is empty afterwards. */
static inline void rill_list_splice_back(struct rill_list *to, struct rill_list *from)
{
    if (rill_list_empty(from))
        return;
    from->next->previous = to->previous;
    to->previous->next = from->next;
    from->previous->next = to;
    to->previous = from->previous;
    rill_list_init(from);
}

#ifdef __cplusplus
}
#endif

#endif
