#include <string.h>

#include "session/check.h"
#include "session/commands.h"
#include "session/election.h"

/* Where a session is to be: what's there already, 0 for what isn't. */
struct place {
    slot namespace_;
    slot group;
    slot device;
    uint64_t tab_session; /* that has the tab's name, 0 */
};

static void find_place(const struct registry *r, const Pb__OpenSession *c,
                       struct place *out)
{
    *out = (struct place){
        .namespace_ = find_namespace(r, check_bytes(c->path->namespace_)),
    };
    out->group = find_group(r, out->namespace_, check_bytes(c->path->group));
    out->device = find_device(r, out->group, check_bytes(c->path->device));
    slot s = out->device == 0 ? 0 : device_at(r, out->device)->sessions;
    struct bytes tab = check_bytes(c->tab);
    for (; s != 0; s = session_at(r, s)->next) {
        struct bytes own = name_get(&r->names, session_at(r, s)->tab);
        if (own.n == tab.n && memcmp(own.data, tab.data, tab.n) == 0) {
            out->tab_session = session_at(r, s)->id;
            return;
        }
    }
}

/* A number that may not be reached. */
struct ceiling {
    uint64_t n;
    uint64_t max;
    uint32_t reason;
};

/* Half of each pool is for what's deleted and waits for the walk. */
static bool has_room(struct apply *a, const struct place *p)
{
    const struct registry *r = a->r;
    struct policy none;
    const struct policy *policy = &none;
    uint64_t in_namespace = 0;
    if (p->namespace_ != 0) {
        policy = &namespace_at(r, p->namespace_)->policy;
        in_namespace = namespace_at(r, p->namespace_)->sessions_n;
    } else {
        policy_default(&none);
    }
    const struct ceiling ceilings[] = {
        {r->sessions_live, r->sessions_max, REASON_SESSIONS_CLUSTER},
        {in_namespace, policy->sessions_max, REASON_SESSIONS_NAMESPACE},
        {lease_at(r, a->lease)->sessions_n, policy->sessions_per_lease_max,
         REASON_SESSIONS_LEASE},
        {p->namespace_ != 0 ? 0 : r->objects_n[OBJECT_NAMESPACE],
         r->namespaces_max, REASON_NAMESPACES_CLUSTER},
        {p->group != 0 ? 0 : r->objects_n[OBJECT_GROUP], r->limits.groups_n / 2,
         REASON_GROUPS_CLUSTER},
        {p->device != 0 ? 0 : r->objects_n[OBJECT_DEVICE],
         r->limits.devices_n / 2, REASON_DEVICES_CLUSTER},
        {p->group == 0 || p->device != 0 ? 0 : group_at(r, p->group)->devices_n,
         policy->devices_per_group_max, REASON_DEVICES_GROUP},
        {p->device == 0 ? 0 : device_at(r, p->device)->sessions_n,
         policy->tabs_per_device_max, REASON_TABS_DEVICE},
    };
    for (size_t i = 0; i < countof(ceilings); i++) {
        if (ceilings[i].n >= ceilings[i].max) {
            apply_refuse(a, BATON_LIMIT, ceilings[i].reason,
                         (int64_t)ceilings[i].max);
            return false;
        }
    }
    return true;
}

static void make_place(struct apply *a, const Pb__Path *path, struct place *p)
{
    struct registry *r = a->r;
    if (p->namespace_ == 0) {
        p->namespace_ =
            make_namespace(r, a->index, check_bytes(path->namespace_));
    }
    if (p->group == 0) {
        p->group =
            make_group(r, a->index, p->namespace_, check_bytes(path->group));
    }
    if (p->device == 0) {
        p->device =
            make_device(r, a->index, p->group, check_bytes(path->device));
    }
}

static void set_capabilities(struct registry *r, slot session,
                             struct capabilities caps)
{
    struct session *s = session_at(r, session);
    const struct namespace_ *ns = session_namespace(r, session);
    score_quantise(&caps);
    s->caps = caps;
    s->score = score_of(&ns->policy, &s->caps);
    s->policy_version = ns->policy_version;
    dirty_mark(r, OBJECT_SESSION, session);
}

static void set_observer(struct session *s, bool observer)
{
    if (observer) {
        s->object.flags |= FLAG_OBSERVER;
    } else {
        s->object.flags &= (uint16_t)~FLAG_OBSERVER;
    }
}

void session_open(struct apply *a, const Pb__OpenSession *c)
{
    struct registry *r = a->r;
    struct capabilities caps = {.known = 0};
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    enum baton_status status = check_capabilities(
        c->capabilities, c->n_capabilities, &caps, &reason, &detail);
    ASSERT(status == BATON_OK); /* its fields were checked before */
    ASSERT(c->secret.len == sizeof((struct session *)NULL)->secret);
    struct place place;
    find_place(r, c, &place);
    if (place.tab_session != 0) {
        apply_refuse(a, BATON_CONFLICT, REASON_TAB_IN_USE,
                     (int64_t)place.tab_session);
        return;
    }
    if (!has_room(a, &place)) {
        return;
    }
    make_place(a, c->path, &place);
    slot s = make_session(r, &(struct session_seed){
                                 .id = a->index,
                                 .device = place.device,
                                 .lease = a->lease,
                                 .tab = check_bytes(c->tab),
                             });
    struct session *session = session_at(r, s);
    session->opened_ms = a->time_ms;
    memcpy(session->secret, c->secret.data, sizeof session->secret);
    set_observer(session, c->observer);
    set_capabilities(r, s, caps);
    a->out->reply.id = session->id;
    a->out->reply.detail = session->attachment;
    (void)emit_session(a, EVENT_SESSION_OPENED, s);
    election_session_changed(a, s);
}

static bool same_capabilities(const struct capabilities *x,
                              const struct capabilities *y)
{
    /* What isn't known is 0 in both. */
    return x->known == y->known && x->battery == y->battery &&
           x->charging == y->charging && x->kind == y->kind &&
           x->network == y->network && x->rtt_ms == y->rtt_ms &&
           x->visible == y->visible && x->cores == y->cores &&
           x->memory_mb == y->memory_mb && x->priority == y->priority;
}

/* `caps`: as the update leaves them, not quantised. */
static bool update_changes(const struct session *s,
                           const struct capabilities *caps,
                           const Pb__UpdateSession *c)
{
    struct capabilities quantised = *caps;
    score_quantise(&quantised);
    bool observer = (s->object.flags & FLAG_OBSERVER) != 0;
    return (c->set_observer && (c->observer != 0) != observer) ||
           !same_capabilities(&s->caps, &quantised);
}

bool registry_update_is_noop(const struct registry *r,
                             const Pb__Command *command)
{
    const Pb__UpdateSession *c = command->update_session;
    if (command->op_case != PB__COMMAND__OP_UPDATE_SESSION || c == NULL) {
        return false;
    }
    slot s = find_session(r, c->session);
    if (s == 0) {
        return false;
    }
    const struct session *session = session_at(r, s);
    const struct lease *l = lease_at(r, session->lease);
    if (l->id != command->lease || (l->object.flags & FLAG_ENDED) != 0 ||
        (c->attachment != 0 && c->attachment != session->attachment)) {
        return false;
    }
    struct capabilities caps = session->caps;
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    return check_capabilities(c->capabilities, c->n_capabilities, &caps,
                              &reason, &detail) == BATON_OK &&
           !update_changes(session, &caps, c);
}

void session_update(struct apply *a, const Pb__UpdateSession *c)
{
    struct registry *r = a->r;
    slot s = apply_own_session(a, c->session, c->attachment);
    if (s == 0) {
        return;
    }
    struct session *session = session_at(r, s);
    struct capabilities caps = session->caps;
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    enum baton_status status = check_capabilities(
        c->capabilities, c->n_capabilities, &caps, &reason, &detail);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, detail);
        return;
    }
    a->out->reply.id = session->id;
    a->out->reply.detail = session->attachment;
    if (!update_changes(session, &caps, c)) {
        return;
    }
    if (c->set_observer) {
        set_observer(session, c->observer);
    }
    set_capabilities(r, s, caps);
    (void)emit_session(a, EVENT_SESSION_UPDATED, s);
    election_session_changed(a, s);
}

/* It is marked as deleted already. */
static void close_one(struct apply *a, slot s, enum cause cause,
                      struct bytes state)
{
    struct registry *r = a->r;
    struct session *session = session_at(r, s);
    ASSERT((session->object.flags & FLAG_DELETED) != 0);
    slot lease = session->lease;
    emit_session(a, EVENT_SESSION_CLOSED, s)->cause = cause;
    election_session_leaving(a, s, cause, state);
    remove_session(a, s);
    lease_left(a, lease);
}

static void mark_deleted(struct registry *r, slot s)
{
    /* Dirty first: what's deleted is on the list of the walk. */
    dirty_mark(r, OBJECT_SESSION, s);
    session_at(r, s)->object.flags |= FLAG_DELETED;
}

void sessions_close(struct apply *a, const slot *sessions, uint32_t n,
                    enum cause cause)
{
    ASSERT(n <= SWEEP_MAX);
    for (uint32_t i = 0; i < n; i++) {
        mark_deleted(a->r, sessions[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        close_one(a, sessions[i], cause, (struct bytes){NULL, 0});
    }
}

void sessions_detach(struct apply *a, const slot *sessions, uint32_t n,
                     uint64_t since_ms, enum cause cause)
{
    struct registry *r = a->r;
    ASSERT(n <= SWEEP_MAX);
    for (uint32_t i = 0; i < n; i++) {
        struct session *s = session_at(r, sessions[i]);
        ASSERT((s->object.flags & FLAG_DETACHED) == 0);
        session_extra_need(r, s)->detached_ms = since_ms;
        s->object.flags &= (uint16_t)~FLAG_HOLDER_GRACE_OVER;
        move_session(r, sessions[i], s->lease, true);
    }
    for (uint32_t i = 0; i < n; i++) {
        emit_session(a, EVENT_SESSION_DETACHED, sessions[i])->cause = cause;
        election_session_changed(a, sessions[i]);
        election_session_schedule(r, sessions[i]);
    }
}

void session_close(struct apply *a, const Pb__CloseSession *c)
{
    slot s = apply_own_session(a, c->session, c->attachment);
    if (s == 0) {
        return;
    }
    uint32_t max = session_namespace(a->r, s)->policy.state_bytes_max;
    if (c->state.len > max) {
        apply_refuse(a, BATON_INVALID, REASON_STATE_BYTES, max);
        return;
    }
    a->out->reply.id = c->session;
    mark_deleted(a->r, s);
    close_one(a, s, CAUSE_CLOSED, (struct bytes){c->state.data, c->state.len});
}

void session_attach(struct apply *a, const Pb__AttachSession *c)
{
    struct registry *r = a->r;
    slot s = find_session(r, c->session);
    if (s == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_SESSION, 0);
        return;
    }
    struct session *session = session_at(r, s);
    if (c->secret.len != sizeof session->secret ||
        !check_secret(c->secret.data, session->secret)) {
        apply_refuse(a, BATON_NOT_ALLOWED, REASON_WRONG_SECRET, 0);
        return;
    }
    slot old = session->lease;
    uint32_t max = session_namespace(r, s)->policy.sessions_per_lease_max;
    if (old != a->lease && lease_at(r, a->lease)->sessions_n >= max) {
        apply_refuse(a, BATON_LIMIT, REASON_SESSIONS_LEASE, max);
        return;
    }
    uint64_t old_id = lease_at(r, old)->id;
    session->attachment++;
    session->object.flags &= (uint16_t)~FLAG_HOLDER_GRACE_OVER;
    move_session(r, s, a->lease, false);
    if (session->extra != 0) {
        session_extra_need(r, session)->detached_ms = 0;
        session_extra_trim(r, session);
    }
    a->out->reply.id = session->id;
    a->out->reply.detail = session->attachment;
    /* The lease that it was on is told, too: a relay that still carries it stops. */
    emit_session(a, EVENT_SESSION_ATTACHED, s)->previous_lease = old_id;
    election_session_changed(a, s);
    election_session_schedule(r, s);
    lease_left(a, old);
}

void session_end_grace(struct apply *a, const Pb__EndGrace *c)
{
    struct registry *r = a->r;
    slot s = find_session(r, c->session);
    if (s == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_SESSION, 0);
        return;
    }
    struct session *session = session_at(r, s);
    a->out->reply.id = session->id;
    if (session->attachment != c->attachment) {
        apply_refuse(a, BATON_CONFLICT, REASON_ATTACHMENT, session->attachment);
        return;
    }
    const struct policy *policy = &session_namespace(r, s)->policy;
    const struct session_extra *extra = session_extra(r, session);
    bool detached = (session->object.flags & FLAG_DETACHED) != 0;
    ASSERT_IMPLIES(detached, extra != NULL);
    uint64_t away_ms = detached ? a->time_ms - extra->detached_ms : 0;
    if (detached && away_ms >= policy->session_grace_ms) {
        sessions_close(a, &s, 1, CAUSE_GRACE);
        return;
    }
    bool due = false;
    if (detached && away_ms >= policy->holder_grace_ms &&
        (session->object.flags & FLAG_HOLDER_GRACE_OVER) == 0) {
        session->object.flags |= FLAG_HOLDER_GRACE_OVER;
        dirty_mark(r, OBJECT_SESSION, s);
        election_session_changed(a, s);
        due = true;
    }
    due = election_session_due(a, s) || due;
    election_session_schedule(r, s);
    if (!due) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
    }
}
