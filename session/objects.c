#include <string.h>

#include "session/election.h"
#include "session/hash.h"
#include "session/table.h"

/* That no other object has the name or id is for the caller to know: it looked. registry_check() looks again. */
static void *make(struct registry *r, enum object_kind kind, slot *out)
{
    *out = pool_take(&r->pools[kind]);
    r->objects_n[kind]++;
    dirty_mark(r, kind, *out);
    return pool_at(&r->pools[kind], *out);
}

slot make_namespace(struct registry *r, uint64_t born, struct bytes name)
{
    slot s = 0;
    struct namespace_ *ns = make(r, OBJECT_NAMESPACE, &s);
    ns->born = born;
    ns->name = name_put(&r->names, name);
    ns->object.hash = hash_name(r->hash_seed, name, 0);
    policy_default(&ns->policy);
    table_add(&r->namespaces, &r->pools[OBJECT_NAMESPACE], s);
    return s;
}

slot make_group(struct registry *r, uint64_t born, slot namespace_,
                struct bytes name)
{
    slot s = 0;
    struct group *g = make(r, OBJECT_GROUP, &s);
    g->born = born;
    g->namespace_ = namespace_;
    g->name = name_put(&r->names, name);
    g->object.hash = hash_name(r->hash_seed, name, namespace_);
    table_add(&r->groups, &r->pools[OBJECT_GROUP], s);
    namespace_at(r, namespace_)->groups_n++;
    return s;
}

slot make_device(struct registry *r, uint64_t born, slot group,
                 struct bytes name)
{
    slot s = 0;
    struct group *g = group_at(r, group);
    struct device *d = make(r, OBJECT_DEVICE, &s);
    d->born = born;
    d->group = group;
    d->name = name_put(&r->names, name);
    d->object.hash = hash_name(r->hash_seed, name, group);
    table_add(&r->devices, &r->pools[OBJECT_DEVICE], s);
    d->next = g->devices;
    if (d->next != 0) {
        device_at(r, d->next)->prev = s;
    }
    g->devices = s;
    g->devices_n++;
    return s;
}

/* Into the lease's ring: at the front, or behind all others if it's detached. */
static void ring_in(struct registry *r, struct lease *l, slot s)
{
    struct session *session = session_at(r, s);
    bool detached = (session->object.flags & FLAG_DETACHED) != 0;
    slot head = l->sessions;
    if (head == 0) {
        session->lease_next = s;
        session->lease_prev = s;
    } else {
        slot tail = session_at(r, head)->lease_prev;
        session->lease_next = head;
        session->lease_prev = tail;
        session_at(r, tail)->lease_next = s;
        session_at(r, head)->lease_prev = s;
    }
    if (head == 0 || !detached) {
        l->sessions = s;
    }
    l->sessions_n++;
    l->detached_n += detached;
}

/* `detached`: as it was when it came in. */
static void ring_out(struct registry *r, struct lease *l, slot s, bool detached)
{
    ASSERT(l->sessions_n > 0);
    const struct session *session = session_at(r, s);
    if (session->lease_next == s) {
        ASSERT(l->sessions == s);
        l->sessions = 0;
    } else {
        session_at(r, session->lease_next)->lease_prev = session->lease_prev;
        session_at(r, session->lease_prev)->lease_next = session->lease_next;
        if (l->sessions == s) {
            l->sessions = session->lease_next;
        }
    }
    l->sessions_n--;
    ASSERT_IMPLIES(detached, l->detached_n > 0);
    l->detached_n -= detached;
}

slot make_session(struct registry *r, const struct session_seed *seed)
{
    ASSERT(seed->id != 0);
    slot s = 0;
    struct session *session = make(r, OBJECT_SESSION, &s);
    struct device *d = device_at(r, seed->device);
    session->id = seed->id;
    session->object.hash = hash_id(seed->id);
    session->device = seed->device;
    session->lease = seed->lease;
    session->tab = name_put(&r->names, seed->tab);
    session->attachment = 1;
    if (seed->detached) {
        session->object.flags |= FLAG_DETACHED;
        r->detached_n++;
    }
    table_add(&r->sessions, &r->pools[OBJECT_SESSION], s);
    session->next = d->sessions;
    if (session->next != 0) {
        session_at(r, session->next)->prev = s;
    }
    d->sessions = s;
    d->sessions_n++;
    group_namespace(r, d->group)->sessions_n++;
    ring_in(r, lease_at(r, seed->lease), s);
    r->sessions_live++;
    return s;
}

slot make_lease(struct registry *r, uint64_t id, const uint8_t nonce[16],
                struct bytes label)
{
    ASSERT(id != 0);
    slot s = 0;
    struct lease *l = make(r, OBJECT_LEASE, &s);
    l->id = id;
    l->object.hash = hash_id(id);
    l->label = name_put(&r->names, label);
    memcpy(l->nonce, nonce, sizeof l->nonce);
    l->nonce_hash = hash_nonce(r->hash_seed, nonce);
    table_add(&r->leases, &r->pools[OBJECT_LEASE], s);
    table_add(&r->nonces, &r->pools[OBJECT_LEASE], s);
    return s;
}

static void remove_namespace_if_empty(struct registry *r, slot namespace_)
{
    struct namespace_ *ns = namespace_at(r, namespace_);
    if (ns->groups_n > 0 || ns->has_policy) {
        return;
    }
    ASSERT(ns->sessions_n == 0);
    due_set(r, DUE_NAMESPACE, namespace_, UINT64_MAX);
    table_remove(&r->namespaces, &r->pools[OBJECT_NAMESPACE], namespace_);
    dirty_delete(r, OBJECT_NAMESPACE, namespace_);
}

static void remove_group_if_empty(struct apply *a, slot group)
{
    struct registry *r = a->r;
    struct group *g = group_at(r, group);
    if (g->devices_n > 0) {
        return;
    }
    ASSERT(g->devices == 0);
    struct scope_ref ref = {.group = group};
    election_scope_drop(a, ref);
    ASSERT(g->scope.heap_at == 0 && g->scope.extra == 0);
    ASSERT(g->scope.holder == 0 && g->scope.backup == 0);
    table_remove(&r->groups, &r->pools[OBJECT_GROUP], group);
    namespace_at(r, g->namespace_)->groups_n--;
    dirty_delete(r, OBJECT_GROUP, group);
    remove_namespace_if_empty(r, g->namespace_);
}

static void remove_device_if_empty(struct apply *a, slot device)
{
    struct registry *r = a->r;
    struct device *d = device_at(r, device);
    if (d->sessions_n > 0) {
        return;
    }
    ASSERT(d->sessions == 0);
    struct scope_ref ref = {.group = d->group, .device = device};
    election_scope_drop(a, ref);
    ASSERT(d->scope.heap_at == 0 && d->scope.extra == 0);
    ASSERT(d->scope.holder == 0 && d->scope.backup == 0);
    struct group *g = group_at(r, d->group);
    if (d->next != 0) {
        device_at(r, d->next)->prev = d->prev;
    }
    if (d->prev != 0) {
        device_at(r, d->prev)->next = d->next;
    } else {
        g->devices = d->next;
    }
    g->devices_n--;
    table_remove(&r->devices, &r->pools[OBJECT_DEVICE], device);
    dirty_delete(r, OBJECT_DEVICE, device);
    remove_group_if_empty(a, d->group);
}

void remove_session(struct apply *a, slot session)
{
    struct registry *r = a->r;
    struct session *s = session_at(r, session);
    struct device *d = device_at(r, s->device);
    bool detached = (s->object.flags & FLAG_DETACHED) != 0;
    due_set(r, DUE_SESSION, session, UINT64_MAX);
    session_extra_drop(r, s);
    ring_out(r, lease_at(r, s->lease), session, detached);
    if (s->next != 0) {
        session_at(r, s->next)->prev = s->prev;
    }
    if (s->prev != 0) {
        session_at(r, s->prev)->next = s->next;
    } else {
        d->sessions = s->next;
    }
    d->sessions_n--;
    group_namespace(r, d->group)->sessions_n--;
    table_remove(&r->sessions, &r->pools[OBJECT_SESSION], session);
    dirty_delete(r, OBJECT_SESSION, session);
    ASSERT(r->sessions_live > 0);
    r->sessions_live--;
    r->detached_n -= detached;
    remove_device_if_empty(a, s->device);
}

void remove_lease(struct registry *r, slot lease)
{
    struct lease *l = lease_at(r, lease);
    ASSERT(l->sessions == 0 && l->sessions_n == 0 && l->detached_n == 0);
    ASSERT(l->window == 0 && l->window_n == 0);
    due_set(r, DUE_LEASE, lease, UINT64_MAX);
    table_remove(&r->leases, &r->pools[OBJECT_LEASE], lease);
    table_remove(&r->nonces, &r->pools[OBJECT_LEASE], lease);
    dirty_delete(r, OBJECT_LEASE, lease);
}

void move_session(struct registry *r, slot session, slot lease, bool detached)
{
    struct session *s = session_at(r, session);
    bool was = (s->object.flags & FLAG_DETACHED) != 0;
    ring_out(r, lease_at(r, s->lease), session, was);
    s->lease = lease;
    if (detached) {
        s->object.flags |= FLAG_DETACHED;
    } else {
        s->object.flags &= (uint16_t)~FLAG_DETACHED;
    }
    ring_in(r, lease_at(r, lease), session);
    r->detached_n = r->detached_n - was + detached;
    dirty_mark(r, OBJECT_SESSION, session);
}
