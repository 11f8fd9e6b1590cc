#include <string.h>

#include "session/election.h"

/* Slots that due_rescore() looks at before it gives up for this time. */
#define RESCORE_LOOK_MAX 16384

static uint32_t *heap_at_of(struct registry *r, enum due_kind kind, slot s)
{
    switch (kind) {
    case DUE_SESSION:
        return &session_at(r, s)->heap_at;
    case DUE_LEASE:
        return &lease_at(r, s)->heap_at;
    case DUE_DEVICE:
        return &device_at(r, s)->scope.heap_at;
    case DUE_GROUP:
        return &group_at(r, s)->scope.heap_at;
    case DUE_NAMESPACE:
        return &namespace_at(r, s)->heap_at;
    }
    ASSERT(kind == DUE_SESSION); /* no other kinds */
    return NULL;
}

/* Ties go by kind and slot: any order will do, if it's always the same. */
static bool earlier(const struct due *a, const struct due *b)
{
    if (a->at_ms != b->at_ms) {
        return a->at_ms < b->at_ms;
    }
    if (a->kind != b->kind) {
        return a->kind < b->kind;
    }
    return a->object < b->object;
}

static void put(struct registry *r, uint32_t at, struct due due)
{
    r->heap[at] = due;
    *heap_at_of(r, (enum due_kind)due.kind, due.object) = at;
}

static void sift_up(struct registry *r, uint32_t at)
{
    struct due due = r->heap[at];
    while (at > 1 && earlier(&due, &r->heap[at / 2])) {
        put(r, at, r->heap[at / 2]);
        at /= 2;
    }
    put(r, at, due);
}

static void sift_down(struct registry *r, uint32_t at)
{
    struct due due = r->heap[at];
    while (at * 2 <= r->heap_n) {
        uint32_t child = at * 2;
        if (child < r->heap_n &&
            earlier(&r->heap[child + 1], &r->heap[child])) {
            child++;
        }
        if (!earlier(&r->heap[child], &due)) {
            break;
        }
        put(r, at, r->heap[child]);
        at = child;
    }
    put(r, at, due);
}

static void take_out(struct registry *r, uint32_t at)
{
    ASSERT(at > 0 && at <= r->heap_n);
    *heap_at_of(r, (enum due_kind)r->heap[at].kind, r->heap[at].object) = 0;
    struct due last = r->heap[r->heap_n--];
    if (at <= r->heap_n) {
        put(r, at, last);
        sift_up(r, at);
        sift_down(r, *heap_at_of(r, (enum due_kind)last.kind, last.object));
    }
}

void due_set(struct registry *r, enum due_kind kind, slot object,
             uint64_t at_ms)
{
    uint32_t at = *heap_at_of(r, kind, object);
    if (at_ms == UINT64_MAX) {
        if (at != 0) {
            take_out(r, at);
        }
        return;
    }
    if (at == 0) {
        ASSERT(r->heap_n < r->heap_capacity);
        at = ++r->heap_n;
        put(r, at, (struct due){at_ms, object, kind});
    }
    ASSERT(r->heap[at].object == object && r->heap[at].kind == kind);
    r->heap[at].at_ms = at_ms;
    sift_up(r, at);
    sift_down(r, *heap_at_of(r, kind, object));
}

uint64_t due_at(const struct registry *r, uint32_t heap_at)
{
    ASSERT(heap_at <= r->heap_n);
    return heap_at == 0 ? UINT64_MAX : r->heap[heap_at].at_ms;
}

uint64_t registry_due_ms(const struct registry *r)
{
    return r->heap_n == 0 ? UINT64_MAX : r->heap[1].at_ms;
}

uint32_t due_rescore(const struct registry *r, slot namespace_, uint64_t *out,
                     uint32_t max, slot *out_next)
{
    const struct namespace_ *ns = namespace_at(r, namespace_);
    uint32_t high = r->pools[OBJECT_SESSION].high;
    uint32_t n = 0;
    slot s = ns->rescore_from == 0 ? 1 : ns->rescore_from;
    for (uint32_t looked = 0; s <= high && looked < RESCORE_LOOK_MAX && n < max;
         s++, looked++) {
        const struct session *session = session_at(r, s);
        if (session->id != 0 && (session->object.flags & FLAG_DELETED) == 0 &&
            session->policy_version != ns->policy_version &&
            session_namespace(r, s) == ns) {
            out[n++] = session->id;
        }
    }
    ASSERT(n <= max);
    *out_next = s > high ? SLOT_END : s;
    return n;
}

void due_rescored(struct registry *r, slot namespace_)
{
    uint64_t found = 0;
    slot next = 0;
    uint32_t n = due_rescore(r, namespace_, &found, 1, &next);
    if (next == SLOT_END) {
        next = r->pools[OBJECT_SESSION].high + 1;
    }
    ASSERT(next >= namespace_at(r, namespace_)->rescore_from);
    /* The one that was found is still to do. */
    namespace_at(r, namespace_)->rescore_from = next - n;
}

/* The `max` first of the heap that are due, in order, without touching the heap: those whose parents are taken already wait
 * in a sorted list, `ahead`. */
struct ahead {
    uint32_t at[DUE_MAX + 1]; /* positions, latest first */
    uint32_t n;
};

static void ahead_add(struct ahead *w, const struct registry *r, uint32_t at,
                      uint64_t now_ms)
{
    if (at > r->heap_n || r->heap[at].at_ms > now_ms) {
        return;
    }
    /* Each one taken brings two: never more than one beyond those taken. */
    ASSERT(w->n < countof(w->at));
    uint32_t i = w->n++;
    for (; i > 0 && earlier(&r->heap[w->at[i - 1]], &r->heap[at]); i--) {
        w->at[i] = w->at[i - 1];
    }
    w->at[i] = at;
}

static char *text_of(struct bytes name)
{
    /* Messages hold char *, but nobody writes through them; names have a NUL behind. */
    return (char *)(uintptr_t)name.data;
}

static bool due_grace(const struct registry *r, slot s, Pb__Command *out,
                      struct arena *arena)
{
    Pb__EndGrace *m = arena_alloc(arena, sizeof *m);
    if (m == NULL) {
        return false;
    }
    pb__end_grace__init(m);
    m->session = session_at(r, s)->id;
    m->attachment = session_at(r, s)->attachment;
    out->op_case = PB__COMMAND__OP_END_GRACE;
    out->end_grace = m;
    return true;
}

/* One bounded part of an ended lease's sessions, from *at on in its ring; *at is where the next part begins, 0 at the end. Those still
 * to sweep are at the front of the ring. */
static bool due_sweep(const struct registry *r, slot s, slot *at,
                      Pb__Command *out, struct arena *arena)
{
    const struct lease *l = lease_at(r, s);
    ASSERT(l->sessions != 0);
    Pb__SweepLease *m = arena_alloc(arena, sizeof *m);
    uint64_t *ids = arena_alloc(arena, SWEEP_MAX * sizeof *ids);
    if (m == NULL || ids == NULL) {
        return false;
    }
    pb__sweep_lease__init(m);
    m->lease = l->id;
    m->sessions = ids;
    while (*at != 0 && m->n_sessions < SWEEP_MAX) {
        const struct session *session = session_at(r, *at);
        if ((l->object.flags & FLAG_CLOSING) == 0 &&
            (session->object.flags & FLAG_DETACHED) != 0) {
            *at = 0;
            break;
        }
        ids[m->n_sessions++] = session->id;
        *at = session->lease_next == l->sessions ? 0 : session->lease_next;
    }
    pb__command__init(out);
    out->version = COMMAND_VERSION;
    out->op_case = PB__COMMAND__OP_SWEEP_LEASE;
    out->sweep_lease = m;
    return m->n_sessions > 0;
}

/* Several parts at once: a relay with a hundred thousand sessions is gone in a few rounds, not in a thousand. */
static uint32_t due_sweeps(const struct registry *r, slot s, Pb__Command *out,
                           uint32_t max, struct arena *arena)
{
    uint32_t n = 0;
    slot at = lease_at(r, s)->sessions;
    while (n < max && at != 0 && due_sweep(r, s, &at, &out[n], arena)) {
        n++;
    }
    return n;
}

static bool due_scope(const struct registry *r, struct scope_ref ref,
                      Pb__Command *out, struct arena *arena)
{
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *extra = scope_extra(r, scope);
    Pb__ScopeDue *m = arena_alloc(arena, sizeof *m);
    Pb__Path *path = arena_alloc(arena, sizeof *path);
    if (m == NULL || path == NULL) {
        return false;
    }
    pb__path__init(path);
    path->namespace_ =
        text_of(name_get(&r->names, group_namespace(r, ref.group)->name));
    path->group = text_of(name_get(&r->names, group_at(r, ref.group)->name));
    if (ref.device != 0) {
        path->device =
            text_of(name_get(&r->names, device_at(r, ref.device)->name));
    }
    pb__scope_due__init(m);
    m->scope = path;
    m->epoch = scope->epoch;
    m->offer = extra == NULL ? 0 : extra->offer;
    out->op_case = PB__COMMAND__OP_SCOPE_DUE;
    out->scope_due = m;
    return true;
}

static bool due_namespace(const struct registry *r, slot s, Pb__Command *out,
                          struct arena *arena)
{
    const struct namespace_ *ns = namespace_at(r, s);
    Pb__Rescore *m = arena_alloc(arena, sizeof *m);
    uint64_t *ids = arena_alloc(arena, SWEEP_MAX * sizeof *ids);
    if (m == NULL || ids == NULL) {
        return false;
    }
    slot next = 0;
    pb__rescore__init(m);
    m->namespace_ = text_of(name_get(&r->names, ns->name));
    m->policy_version = ns->policy_version;
    m->sessions = ids;
    m->n_sessions = due_rescore(r, s, ids, SWEEP_MAX, &next);
    m->done = next == SLOT_END;
    out->op_case = PB__COMMAND__OP_RESCORE;
    out->rescore = m;
    return true;
}

static bool due_command(const struct registry *r, const struct due *due,
                        Pb__Command *out, struct arena *arena)
{
    pb__command__init(out);
    out->version = COMMAND_VERSION;
    slot s = due->object;
    switch ((enum due_kind)due->kind) {
    case DUE_SESSION:
        return due_grace(r, s, out, arena);
    case DUE_LEASE:
        break; /* due_sweeps() */
    case DUE_DEVICE:
        return due_scope(r, (struct scope_ref){device_at(r, s)->group, s}, out,
                         arena);
    case DUE_GROUP:
        return due_scope(r, (struct scope_ref){s, 0}, out, arena);
    case DUE_NAMESPACE:
        return due_namespace(r, s, out, arena);
    }
    ASSERT(due->kind == DUE_SESSION); /* no other kinds */
    return false;
}

uint32_t registry_due(const struct registry *r, uint64_t now_ms,
                      Pb__Command *out, uint32_t max, struct arena *arena)
{
    ASSERT(max <= DUE_MAX);
    struct ahead ahead = {.n = 0};
    uint32_t n = 0;
    ahead_add(&ahead, r, 1, now_ms);
    while (n < max && ahead.n > 0) {
        uint32_t at = ahead.at[--ahead.n];
        const struct due *due = &r->heap[at];
        uint32_t more =
            due->kind == DUE_LEASE
                ? due_sweeps(r, due->object, &out[n], max - n, arena)
                : due_command(r, due, &out[n], arena);
        if (more == 0) {
            break; /* the arena is full: the rest the next time */
        }
        n += more;
        ahead_add(&ahead, r, at * 2, now_ms);
        ahead_add(&ahead, r, at * 2 + 1, now_ms);
    }
    ASSERT(n <= max);
    return n;
}
