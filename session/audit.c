/* registry_check(): every invariant that can be seen from outside of an apply. Slow and plain on purpose; for tests and the
 * simulator, after each step. */
#include "session/check.h"
#include "session/election.h"
#include "session/hash.h"
#include "session/table.h"

/* What the walk over one kind of object adds up to. */
struct tally {
    uint32_t live;
    uint32_t deleted;
};

static struct tally tally_kind(const struct registry *r, enum object_kind kind)
{
    const struct pool *p = &r->pools[kind];
    struct tally t = {.live = 0};
    uint32_t listed = 0;
    for (slot s = r->dirty[kind]; s != 0;) {
        const struct object *o = pool_at(p, s);
        ASSERT((o->flags & FLAG_DIRTY) != 0);
        t.deleted += (o->flags & FLAG_DELETED) != 0;
        listed++;
        ASSERT(listed <= p->live);
        s = o->dirty_next;
    }
    ASSERT(p->live >= t.deleted);
    t.live = p->live - t.deleted;
    ASSERT(t.live == r->objects_n[kind]);
    return t;
}

/* A slot with an object that isn't deleted. Freed slots are zero but for the link of the free list, in the place
 * of a row hash. */
static bool is_live(const struct object *o, bool named)
{
    return named && (o->flags & FLAG_DELETED) == 0;
}

static void check_heap_slot(const struct registry *r, uint32_t heap_at,
                            enum due_kind kind, slot s)
{
    if (heap_at != 0) {
        ASSERT(heap_at <= r->heap_n);
        ASSERT(r->heap[heap_at].kind == (uint32_t)kind);
        ASSERT(r->heap[heap_at].object == s);
    }
}

static void check_heap(const struct registry *r)
{
    for (uint32_t at = 2; at <= r->heap_n; at++) {
        ASSERT(r->heap[at / 2].at_ms <= r->heap[at].at_ms);
    }
}

static void check_namespace(const struct registry *r, slot s)
{
    const struct namespace_ *ns = namespace_at(r, s);
    ASSERT(find_namespace(r, name_get(&r->names, ns->name)) == s);
    ASSERT(ns->born != 0 && ns->born <= r->applied);
    ASSERT(ns->groups_n > 0 || ns->has_policy);
    ASSERT(ns->has_policy == (ns->policy_version > 0));
    ASSERT(ns->rescoring == (ns->heap_at != 0));
    check_heap_slot(r, ns->heap_at, DUE_NAMESPACE, s);
}

static void check_scope_fields(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    ASSERT(scope->epoch <= r->applied);
    ASSERT_IMPLIES(scope->epoch != 0,
                   scope->previous_epoch <= scope->epoch); /* S2 */
    ASSERT((scope->holder == 0) == (scope->holder_session == 0));
    ASSERT_IMPLIES(scope->holder != 0, scope->epoch != 0);
    ASSERT_IMPLIES(scope->holder != 0, scope->holder != scope->backup);
    /* S9: the holder is a live member, and the one that the id names. */
    ASSERT(scope_session(r, ref, scope->holder) == scope->holder_session);
    const struct scope_extra *extra = scope_extra(r, scope);
    ASSERT_IMPLIES(scope->phase != PHASE_IDLE, extra != NULL);
    if (extra != NULL && extra->state != 0) {
        ASSERT(extra->state <= r->states.high);
    }
    election_check_scope(r, ref);
}

static void check_group(const struct registry *r, slot s)
{
    const struct group *g = group_at(r, s);
    ASSERT(find_group(r, g->namespace_, name_get(&r->names, g->name)) == s);
    ASSERT(g->born != 0 && g->born <= r->applied);
    uint32_t n = 0;
    slot prev = 0;
    for (slot d = g->devices; d != 0; d = device_at(r, d)->next) {
        ASSERT(device_at(r, d)->prev == prev);
        ASSERT(device_at(r, d)->group == s);
        prev = d;
        n++;
        ASSERT(n <= g->devices_n);
    }
    ASSERT(n == g->devices_n && n > 0);
    check_heap_slot(r, g->scope.heap_at, DUE_GROUP, s);
    check_scope_fields(r, (struct scope_ref){.group = s});
    if (g->scope.holder != 0) {
        ASSERT(device_at(r, g->scope.holder)->group == s);
    }
}

static void check_device(const struct registry *r, slot s)
{
    const struct device *d = device_at(r, s);
    ASSERT(find_device(r, d->group, name_get(&r->names, d->name)) == s);
    ASSERT(d->born != 0 && d->born <= r->applied);
    uint32_t n = 0;
    slot prev = 0;
    for (slot t = d->sessions; t != 0; t = session_at(r, t)->next) {
        ASSERT(session_at(r, t)->prev == prev);
        ASSERT(session_at(r, t)->device == s);
        prev = t;
        n++;
        ASSERT(n <= d->sessions_n);
    }
    ASSERT(n == d->sessions_n && n > 0);
    check_heap_slot(r, d->scope.heap_at, DUE_DEVICE, s);
    check_scope_fields(r, (struct scope_ref){.group = d->group, .device = s});
    if (d->scope.holder != 0) {
        ASSERT(session_at(r, d->scope.holder)->device == s);
    }
}

static void check_session(const struct registry *r, slot s)
{
    const struct session *session = session_at(r, s);
    const struct lease *l = lease_at(r, session->lease);
    bool detached = (session->object.flags & FLAG_DETACHED) != 0;
    ASSERT(find_session(r, session->id) == s);
    ASSERT(session->id <= r->applied);
    ASSERT(session->attachment > 0);
    ASSERT(l->id != 0 && (l->object.flags & FLAG_DELETED) == 0);
    ASSERT_IMPLIES(detached, (l->object.flags & FLAG_ENDED) != 0);
    ASSERT_IMPLIES(detached, session_extra(r, session) != NULL);
    ASSERT_IMPLIES(detached, session->heap_at != 0); /* it won't be forgotten */
    ASSERT_IMPLIES((session->object.flags & FLAG_HOLDER_GRACE_OVER) != 0,
                   detached);
    check_heap_slot(r, session->heap_at, DUE_SESSION, s);
    const struct namespace_ *ns = session_namespace(r, s);
    ASSERT(session->policy_version <= ns->policy_version);
    if (session->policy_version == ns->policy_version) {
        ASSERT(session->score == score_of(&ns->policy, &session->caps));
    } else {
        ASSERT(ns->rescoring);
    }
}

static void check_ring(const struct registry *r, slot lease)
{
    const struct lease *l = lease_at(r, lease);
    uint32_t n = 0;
    uint32_t detached = 0;
    slot s = l->sessions;
    while (n < l->sessions_n) {
        const struct session *session = session_at(r, s);
        bool is_detached = (session->object.flags & FLAG_DETACHED) != 0;
        ASSERT(session->lease == lease);
        ASSERT(session_at(r, session->lease_next)->lease_prev == s);
        ASSERT_IMPLIES(detached > 0, is_detached); /* those behind all others */
        detached += is_detached;
        n++;
        s = session->lease_next;
    }
    ASSERT(s == l->sessions);
    ASSERT(detached == l->detached_n);
}

static uint32_t check_windows(const struct registry *r, slot lease)
{
    const struct lease *l = lease_at(r, lease);
    uint32_t blocks = 0;
    uint32_t replies = 0;
    uint64_t newer = UINT64_MAX;
    for (slot s = l->window; s != 0; s = window_at(r, s)->next) {
        const struct window *w = window_at(r, s);
        ASSERT(w->lease == lease && w->lease_id == l->id);
        ASSERT((w->object.flags & FLAG_DELETED) == 0);
        ASSERT(w->block < newer);
        ASSERT(w->block >= l->sequence_min / WINDOW_BLOCK);
        newer = w->block;
        replies += (uint32_t)__builtin_popcount(w->present);
        blocks++;
    }
    ASSERT(replies == l->window_n && replies <= WINDOW_REPLIES_MAX);
    return blocks;
}

static void check_lease(const struct registry *r, slot s)
{
    const struct lease *l = lease_at(r, s);
    bool ended = (l->object.flags & FLAG_ENDED) != 0;
    bool closing = (l->object.flags & FLAG_CLOSING) != 0;
    ASSERT(find_lease(r, l->id) == s);
    ASSERT(find_nonce(r, l->nonce) == s);
    ASSERT((l->sessions == 0) == (l->sessions_n == 0));
    ASSERT_IMPLIES(ended, l->sessions_n > 0); /* else it would be gone */
    ASSERT_IMPLIES(!ended, l->detached_n == 0);
    ASSERT_IMPLIES(closing, ended && l->detached_n == 0);
    /* S7: what ended is swept to the end. */
    ASSERT((l->heap_at != 0) == (ended && l->detached_n < l->sessions_n));
    check_heap_slot(r, l->heap_at, DUE_LEASE, s);
    check_ring(r, s);
}

static bool live_object(const struct registry *r, enum object_kind kind, slot s)
{
    switch (kind) {
    case OBJECT_NAMESPACE:
        return is_live(&namespace_at(r, s)->object,
                       namespace_at(r, s)->name != 0);
    case OBJECT_GROUP:
        return is_live(&group_at(r, s)->object, group_at(r, s)->name != 0);
    case OBJECT_DEVICE:
        return is_live(&device_at(r, s)->object, device_at(r, s)->name != 0);
    case OBJECT_SESSION:
        return is_live(&session_at(r, s)->object, session_at(r, s)->id != 0);
    case OBJECT_LEASE:
        return is_live(&lease_at(r, s)->object, lease_at(r, s)->id != 0);
    case OBJECT_WINDOW:
        return is_live(&window_at(r, s)->object,
                       window_at(r, s)->lease_id != 0);
    case OBJECT_KINDS:
        break;
    }
    return false;
}

static void check_object(const struct registry *r, enum object_kind kind,
                         slot s)
{
    switch (kind) {
    case OBJECT_NAMESPACE:
        check_namespace(r, s);
        break;
    case OBJECT_GROUP:
        check_group(r, s);
        break;
    case OBJECT_DEVICE:
        check_device(r, s);
        break;
    case OBJECT_SESSION:
        check_session(r, s);
        break;
    case OBJECT_LEASE:
        check_lease(r, s);
        break;
    case OBJECT_WINDOW: /* with its lease: check_windows() */
    case OBJECT_KINDS:
        break;
    }
}

/* Sums over all objects. */
struct sums {
    uint64_t hash;
    uint32_t heap_n;
    uint32_t blocks;
    uint32_t scope_extras;
    uint32_t session_extras;
    uint64_t detached;
    uint64_t leases_live;
    uint64_t batons;
    uint32_t sessions_in_namespaces;
    uint32_t groups_in_namespaces;
    uint32_t devices_in_groups;
    uint32_t sessions_on_leases;
};

static void sum_scope(const struct scope *scope, struct sums *sums)
{
    sums->heap_n += scope->heap_at != 0;
    sums->scope_extras += scope->extra != 0;
    sums->batons += scope->holder != 0;
}

static void sum_object(const struct registry *r, enum object_kind kind, slot s,
                       struct sums *sums)
{
    switch (kind) {
    case OBJECT_NAMESPACE:
        sums->heap_n += namespace_at(r, s)->heap_at != 0;
        sums->sessions_in_namespaces += namespace_at(r, s)->sessions_n;
        sums->groups_in_namespaces += namespace_at(r, s)->groups_n;
        break;
    case OBJECT_GROUP:
        sum_scope(&group_at(r, s)->scope, sums);
        sums->devices_in_groups += group_at(r, s)->devices_n;
        break;
    case OBJECT_DEVICE:
        sum_scope(&device_at(r, s)->scope, sums);
        break;
    case OBJECT_SESSION:
        sums->heap_n += session_at(r, s)->heap_at != 0;
        sums->session_extras += session_at(r, s)->extra != 0;
        sums->detached += (session_at(r, s)->object.flags & FLAG_DETACHED) != 0;
        break;
    case OBJECT_LEASE:
        sums->heap_n += lease_at(r, s)->heap_at != 0;
        sums->blocks += check_windows(r, s);
        sums->sessions_on_leases += lease_at(r, s)->sessions_n;
        sums->leases_live += (lease_at(r, s)->object.flags & FLAG_ENDED) == 0;
        break;
    case OBJECT_WINDOW:
    case OBJECT_KINDS:
        break;
    }
}

static void check_sums(const struct registry *r, const struct sums *sums)
{
    const uint32_t *n = r->objects_n;
    ASSERT(sums->hash + r->cluster_row_hash == r->hash);
    ASSERT(sums->heap_n == r->heap_n);
    ASSERT(sums->blocks == n[OBJECT_WINDOW]);
    ASSERT(sums->scope_extras == r->scope_extras.live);
    ASSERT(sums->session_extras == r->session_extras.live);
    ASSERT(sums->detached == r->detached_n);
    ASSERT(sums->leases_live == r->leases_live);
    ASSERT(sums->batons == r->batons_n);
    ASSERT(r->sessions_live == n[OBJECT_SESSION]);
    ASSERT(sums->sessions_in_namespaces == n[OBJECT_SESSION]);
    ASSERT(sums->sessions_on_leases == n[OBJECT_SESSION]);
    ASSERT(sums->groups_in_namespaces == n[OBJECT_GROUP]);
    ASSERT(sums->devices_in_groups == n[OBJECT_DEVICE]);
}

static void check_tables(const struct registry *r)
{
    const uint32_t *n = r->objects_n;
    table_check(&r->namespaces, &r->pools[OBJECT_NAMESPACE]);
    table_check(&r->groups, &r->pools[OBJECT_GROUP]);
    table_check(&r->devices, &r->pools[OBJECT_DEVICE]);
    table_check(&r->sessions, &r->pools[OBJECT_SESSION]);
    table_check(&r->leases, &r->pools[OBJECT_LEASE]);
    table_check(&r->nonces, &r->pools[OBJECT_LEASE]);
    ASSERT(r->namespaces.n == n[OBJECT_NAMESPACE]);
    ASSERT(r->groups.n == n[OBJECT_GROUP]);
    ASSERT(r->devices.n == n[OBJECT_DEVICE]);
    ASSERT(r->sessions.n == n[OBJECT_SESSION]);
    ASSERT(r->leases.n == n[OBJECT_LEASE]);
    ASSERT(r->nonces.n == n[OBJECT_LEASE]);
}

void registry_check(const struct registry *r)
{
    struct sums sums = {.hash = 0};
    uint32_t deleted = 0;
    check_heap(r);
    check_tables(r);
    for (int k = 0; k < OBJECT_KINDS; k++) {
        enum object_kind kind = (enum object_kind)k;
        struct tally tally = tally_kind(r, kind);
        uint32_t live = 0;
        for (slot s = 1; s <= r->pools[kind].high; s++) {
            const struct object *o = pool_at(&r->pools[kind], s);
            if (live_object(r, kind, s)) {
                check_object(r, kind, s);
                sum_object(r, kind, s, &sums);
                live++;
                sums.hash += o->row_hash;
            } else if ((o->flags & FLAG_DELETED) != 0) {
                sums.hash += o->row_hash; /* its row is still there */
            }
        }
        ASSERT(live == tally.live);
        deleted += tally.deleted;
    }
    ASSERT(deleted == r->deleted_n);
    check_sums(r, &sums);
}
