#include "session/state.h"

void dirty_mark(struct registry *r, enum object_kind kind, slot s)
{
    ASSERT(kind < OBJECT_KINDS);
    struct object *o = pool_at(&r->pools[kind], s);
    ASSERT((o->flags & FLAG_DELETED) == 0 || (o->flags & FLAG_DIRTY) != 0);
    if ((o->flags & FLAG_DIRTY) == 0) {
        o->flags |= FLAG_DIRTY;
        o->dirty_next = r->dirty[kind];
        r->dirty[kind] = s;
    }
}

void dirty_scope(struct registry *r, struct scope_ref ref)
{
    ASSERT(ref.group != 0);
    if (ref.device != 0) {
        dirty_mark(r, OBJECT_DEVICE, ref.device);
    } else {
        dirty_mark(r, OBJECT_GROUP, ref.group);
    }
}

void dirty_delete(struct registry *r, enum object_kind kind, slot s)
{
    dirty_mark(r, kind, s);
    struct object *o = pool_at(&r->pools[kind], s);
    o->flags |= FLAG_DELETED;
    ASSERT(r->objects_n[kind] > 0);
    r->objects_n[kind]--;
    r->deleted_n++;
}
