#include <string.h>

#include "session/check.h"
#include "session/commands.h"

void lease_open(struct apply *a, const Pb__OpenLease *c)
{
    struct registry *r = a->r;
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    enum baton_status status = check_open_lease(c, &reason, &detail);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, detail);
        return;
    }
    slot s = find_nonce(r, c->nonce.data);
    if (s != 0) {
        /* A retry: the same answer as the first time. */
        const struct lease *l = lease_at(r, s);
        if ((l->object.flags & FLAG_ENDED) != 0) {
            apply_refuse(a, BATON_EXPIRED, REASON_LEASE_ENDED, 0);
            return;
        }
        a->out->duplicate = true;
        a->out->reply.id = l->id;
        a->out->reply.revision = l->id;
        return;
    }
    if (r->objects_n[OBJECT_LEASE] >= r->leases_max) {
        apply_refuse(a, BATON_LIMIT, REASON_LEASES_CLUSTER,
                     (int64_t)r->leases_max);
        return;
    }
    s = make_lease(r, a->index, c->nonce.data, check_bytes(c->label));
    struct lease *l = lease_at(r, s);
    l->ttl_ms = c->ttl_ms;
    l->opened_ms = a->time_ms;
    l->touched_ms = a->time_ms;
    r->leases_live++;
    a->out->reply.id = l->id;
    struct event *e = emit_session(a, EVENT_LEASE_OPENED, 0);
    e->lease = l->id;
    e->text = name_get(&r->names, l->label);
}

static void sweep(struct apply *a, slot lease, const slot *sessions, uint32_t n)
{
    struct registry *r = a->r;
    struct lease *l = lease_at(r, lease);
    ASSERT((l->object.flags & FLAG_ENDED) != 0);
    if ((l->object.flags & FLAG_CLOSING) != 0) {
        sessions_close(a, sessions, n, CAUSE_CLOSED);
    } else {
        sessions_detach(a, sessions, n, l->ended_ms, (enum cause)l->end_cause);
    }
    if ((l->object.flags & FLAG_DELETED) != 0) {
        return; /* the last one took it along */
    }
    uint32_t swept = (l->object.flags & FLAG_CLOSING) != 0 ? 0 : l->detached_n;
    ASSERT(swept <= l->sessions_n);
    due_set(r, DUE_LEASE, lease,
            swept < l->sessions_n ? l->ended_ms : UINT64_MAX);
}

/* Slots in the order of ids, which are the same on all replicas. Few. */
static void sort_by_id(const struct registry *r, slot *sessions, uint32_t n)
{
    ASSERT(n <= SWEEP_MAX);
    for (uint32_t i = 1; i < n; i++) {
        slot s = sessions[i];
        uint32_t at = i;
        while (at > 0 &&
               session_at(r, sessions[at - 1])->id > session_at(r, s)->id) {
            sessions[at] = sessions[at - 1];
            at--;
        }
        sessions[at] = s;
    }
}

static void end_lease(struct apply *a, slot lease, enum cause cause)
{
    struct registry *r = a->r;
    struct lease *l = lease_at(r, lease);
    ASSERT((l->object.flags & FLAG_ENDED) == 0);
    ASSERT(l->detached_n == 0);
    l->object.flags |= FLAG_ENDED;
    l->end_cause = (uint8_t)cause;
    l->ended_ms = a->time_ms;
    ASSERT(r->leases_live > 0);
    r->leases_live--;
    dirty_mark(r, OBJECT_LEASE, lease);
    struct event *e = emit_session(a, EVENT_LEASE_ENDED, 0);
    e->lease = l->id;
    e->cause = cause;
    e->text = name_get(&r->names, l->label);
    if (l->sessions_n == 0) {
        lease_left(a, lease);
        return;
    }
    if (l->sessions_n > SWEEP_MAX) {
        due_set(r, DUE_LEASE, lease, a->time_ms);
        return;
    }
    /* So few that they need no entry of their own. */
    slot sessions[SWEEP_MAX];
    uint32_t n = 0;
    slot s = l->sessions;
    do {
        sessions[n++] = s;
        s = session_at(r, s)->lease_next;
    } while (s != l->sessions);
    ASSERT(n == l->sessions_n);
    sort_by_id(r, sessions, n);
    sweep(a, lease, sessions, n);
}

void lease_close(struct apply *a, const Pb__CloseLease *c)
{
    struct lease *l = lease_at(a->r, a->lease);
    a->out->reply.id = l->id;
    a->out->reply.detail = l->sessions_n;
    if (!c->detach) {
        l->object.flags |= FLAG_CLOSING;
    }
    end_lease(a, a->lease, CAUSE_CLOSED);
}

void lease_expire(struct apply *a, const Pb__ExpireLease *c)
{
    const struct registry *r = a->r;
    slot s = find_lease(r, c->lease);
    if (s == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_LEASE, 0);
        return;
    }
    const struct lease *l = lease_at(r, s);
    if ((l->object.flags & FLAG_ENDED) != 0) {
        apply_refuse(a, BATON_EXPIRED, REASON_LEASE_ENDED, 0);
        return;
    }
    if (l->renewals != c->renewals) {
        /* It spoke since the leader decided: that was too early. */
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, (int64_t)l->renewals);
        return;
    }
    a->out->reply.id = l->id;
    a->out->reply.detail = l->sessions_n;
    end_lease(a, s, CAUSE_EXPIRED);
}

void lease_sweep(struct apply *a, const Pb__SweepLease *c)
{
    const struct registry *r = a->r;
    slot lease = find_lease(r, c->lease);
    if (lease == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_LEASE, 0);
        return;
    }
    const struct lease *l = lease_at(r, lease);
    if ((l->object.flags & FLAG_ENDED) == 0) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    if (c->n_sessions > SWEEP_MAX) {
        apply_refuse(a, BATON_INVALID, REASON_SESSION, SWEEP_MAX);
        return;
    }
    bool closing = (l->object.flags & FLAG_CLOSING) != 0;
    slot sessions[SWEEP_MAX];
    uint32_t n = 0;
    for (size_t i = 0; i < c->n_sessions; i++) {
        /* One that was attached elsewhere meanwhile, or was swept already, is left alone. */
        slot s = find_session(r, c->sessions[i]);
        if (s == 0 || session_at(r, s)->lease != lease ||
            (!closing &&
             (session_at(r, s)->object.flags & FLAG_DETACHED) != 0)) {
            continue;
        }
        bool twice = false;
        for (uint32_t k = 0; k < n; k++) {
            twice = twice || sessions[k] == s;
        }
        if (!twice) {
            sessions[n++] = s;
        }
    }
    a->out->reply.id = l->id;
    a->out->reply.detail = n;
    sweep(a, lease, sessions, n);
}

void lease_alive(struct apply *a, slot lease)
{
    struct lease *l = lease_at(a->r, lease);
    ASSERT((l->object.flags & FLAG_ENDED) == 0);
    l->renewals++;
    l->touched_ms = a->time_ms;
    dirty_mark(a->r, OBJECT_LEASE, lease);
}

void lease_touch(struct apply *a, const Pb__Touched *c)
{
    uint64_t id = 0;
    bool good = c->n_lease_deltas <= TOUCHED_MAX;
    for (size_t i = 0; good && i < c->n_lease_deltas; i++) {
        good = c->lease_deltas[i] != 0 && id + c->lease_deltas[i] > id;
        id += c->lease_deltas[i];
    }
    if (!good) {
        apply_refuse(a, BATON_INVALID, REASON_LEASE_DELTAS, TOUCHED_MAX);
        return;
    }
    id = 0;
    for (size_t i = 0; i < c->n_lease_deltas; i++) {
        id += c->lease_deltas[i];
        slot s = find_lease(a->r, id);
        if (s != 0 && (lease_at(a->r, s)->object.flags & FLAG_ENDED) == 0) {
            lease_alive(a, s);
        }
    }
}

void lease_left(struct apply *a, slot lease)
{
    struct lease *l = lease_at(a->r, lease);
    if ((l->object.flags & FLAG_ENDED) == 0 || l->sessions_n > 0) {
        return;
    }
    window_drop(a->r, lease);
    remove_lease(a->r, lease);
    ASSERT((l->object.flags & FLAG_DELETED) != 0);
}
