#include "session/state.h"

#include <string.h>

/* A reference is the class in the top two bits, and the slot in its pool. */
#define CLASS_SHIFT 30
#define SLOT_MASK   ((1u << CLASS_SHIFT) - 1)

/* Around a name: its length in front, a NUL behind. */
#define NAME_FRAME_BYTES 2u

static uint32_t class_for(const struct names *n, size_t name_bytes)
{
    uint32_t c = 0;
    while (name_bytes + NAME_FRAME_BYTES > n->classes[c].item_bytes) {
        c++;
        ASSERT(c < countof(n->classes));
    }
    return c;
}

name_ref name_put(struct names *n, struct bytes name)
{
    ASSERT(name.n <= NAME_BYTES_MAX);
    if (name.n == 0) {
        return 0;
    }
    uint32_t c = class_for(n, name.n);
    slot s = pool_take(&n->classes[c]);
    ASSERT(s <= SLOT_MASK);
    uint8_t *item = pool_at(&n->classes[c], s);
    item[0] = (uint8_t)name.n;
    memcpy(item + 1, name.data, name.n);
    item[1 + name.n] = 0;
    return c << CLASS_SHIFT | s;
}

struct bytes name_get(const struct names *n, name_ref ref)
{
    if (ref == 0) {
        return (struct bytes){(const uint8_t *)"", 0};
    }
    const struct pool *p = &n->classes[ref >> CLASS_SHIFT];
    const uint8_t *item = pool_at(p, ref & SLOT_MASK);
    ASSERT(item[0] > 0);
    ASSERT((uint32_t)item[0] + NAME_FRAME_BYTES <= p->item_bytes);
    return (struct bytes){item + 1, item[0]};
}

void name_drop(struct names *n, name_ref ref)
{
    if (ref != 0) {
        pool_give(&n->classes[ref >> CLASS_SHIFT], ref & SLOT_MASK);
    }
}
