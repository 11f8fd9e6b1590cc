#include "session/commands.h"

/* Blocks of a lease form a list, newest first: new sequences are near its head. */

static slot make_block(struct registry *r, slot lease, uint64_t block,
                       slot *link)
{
    slot s = pool_take(&r->pools[OBJECT_WINDOW]);
    struct window *w = window_at(r, s);
    r->objects_n[OBJECT_WINDOW]++;
    w->lease_id = lease_at(r, lease)->id;
    w->lease = lease;
    w->block = block;
    w->next = *link;
    *link = s;
    dirty_mark(r, OBJECT_WINDOW, s);
    return s;
}

/* Where the block is linked, or would be. */
static slot *link_of(const struct registry *r, slot lease, uint64_t block)
{
    slot *link = &lease_at(r, lease)->window;
    while (*link != 0 && window_at(r, *link)->block > block) {
        link = &window_at(r, *link)->next;
    }
    return link;
}

const struct reply *window_find(const struct registry *r, slot lease,
                                uint64_t sequence)
{
    slot s = *link_of(r, lease, sequence / WINDOW_BLOCK);
    if (s == 0) {
        return NULL;
    }
    const struct window *w = window_at(r, s);
    uint32_t i = (uint32_t)(sequence % WINDOW_BLOCK);
    if (w->block != sequence / WINDOW_BLOCK || (w->present & 1u << i) == 0) {
        return NULL;
    }
    ASSERT(w->lease == lease);
    return &w->replies[i];
}

/* Unlinks `*link` and all older blocks. */
static void drop_from(struct registry *r, slot lease, slot *link)
{
    struct lease *l = lease_at(r, lease);
    slot s = *link;
    *link = 0;
    while (s != 0) {
        const struct window *w = window_at(r, s);
        slot next = w->next;
        uint32_t n = (uint32_t)__builtin_popcount(w->present);
        ASSERT(l->window_n >= n);
        l->window_n -= n;
        dirty_delete(r, OBJECT_WINDOW, s);
        s = next;
    }
}

static void trim(struct registry *r, slot lease, uint64_t first)
{
    struct lease *l = lease_at(r, lease);
    if (first <= l->sequence_min) {
        return;
    }
    l->sequence_min = first;
    dirty_mark(r, OBJECT_LEASE, lease);
    uint64_t block = first / WINDOW_BLOCK;
    slot *link = link_of(r, lease, block);
    if (*link != 0 && window_at(r, *link)->block == block) {
        struct window *w = window_at(r, *link);
        uint32_t below = (1u << first % WINDOW_BLOCK) - 1;
        uint32_t gone = w->present & below;
        if (gone != 0) {
            w->present &= ~below;
            l->window_n -= (uint32_t)__builtin_popcount(gone);
            dirty_mark(r, OBJECT_WINDOW, *link);
        }
        /* Kept even if it's empty now: dropped and made again before the walk, one key would be deleted and written at once. */
        link = &w->next;
    }
    drop_from(r, lease, link);
}

enum baton_status window_admit(struct registry *r, slot lease,
                               uint64_t sequence, uint64_t first_outstanding)
{
    ASSERT(sequence >= first_outstanding);
    const struct lease *l = lease_at(r, lease);
    trim(r, lease, first_outstanding);
    if (sequence < l->sequence_min) {
        return BATON_WINDOW;
    }
    /* Half of the pool may wait for the walk. */
    if (sequence - l->sequence_min >= WINDOW_REPLIES_MAX ||
        r->objects_n[OBJECT_WINDOW] >= r->limits.window_blocks_n / 2) {
        return BATON_LIMIT;
    }
    return BATON_OK;
}

void window_keep(struct registry *r, slot lease, uint64_t sequence,
                 const struct reply *reply)
{
    struct lease *l = lease_at(r, lease);
    ASSERT(sequence >= l->sequence_min);
    ASSERT(window_find(r, lease, sequence) == NULL);
    uint64_t block = sequence / WINDOW_BLOCK;
    slot *link = link_of(r, lease, block);
    slot s = *link;
    if (s == 0 || window_at(r, s)->block != block) {
        s = make_block(r, lease, block, link);
    }
    struct window *w = window_at(r, s);
    w->replies[sequence % WINDOW_BLOCK] = *reply;
    w->present |= 1u << sequence % WINDOW_BLOCK;
    l->window_n++;
    ASSERT(l->window_n <= WINDOW_REPLIES_MAX);
    dirty_mark(r, OBJECT_WINDOW, s);
}

void window_drop(struct registry *r, slot lease)
{
    struct lease *l = lease_at(r, lease);
    drop_from(r, lease, &l->window);
    ASSERT(l->window == 0);
    ASSERT(l->window_n == 0);
}

slot window_load(struct registry *r, slot lease, uint64_t block)
{
    slot *link = link_of(r, lease, block);
    if (*link != 0 && window_at(r, *link)->block == block) {
        return 0;
    }
    return make_block(r, lease, block, link);
}
