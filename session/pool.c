#include "session/state.h"

#include <string.h>

slot pool_take(struct pool *p)
{
    slot s = p->free_head;
    if (s != 0) {
        uint8_t *item = pool_at(p, s);
        /* The link to the next free one lies in the first bytes. */
        memcpy(&p->free_head, item, sizeof(slot));
        memset(item, 0, sizeof(slot));
    } else {
        ASSERT(p->high < p->capacity);
        s = ++p->high; /* never used: still zero */
    }
    p->live++;
    ASSERT(p->live <= p->high);
    return s;
}

void pool_give(struct pool *p, slot s)
{
    ASSERT(p->live > 0);
    uint8_t *item = pool_at(p, s);
    memset(item, 0, p->item_bytes);
    memcpy(item, &p->free_head, sizeof(slot));
    p->free_head = s;
    p->live--;
}
