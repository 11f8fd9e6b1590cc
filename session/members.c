#include "session/settle.h"

static bool session_may_stay(const struct session *s)
{
    uint16_t flags = s->object.flags;
    return (flags & (FLAG_OBSERVER | FLAG_DELETED | FLAG_HOLDER_GRACE_OVER)) ==
           0;
}

static bool session_may_lead(const struct registry *r, const struct session *s)
{
    if (!session_may_stay(s) || (s->object.flags & FLAG_DETACHED) != 0) {
        return false;
    }
    const struct session_extra *e = session_extra(r, s);
    return e == NULL || e->cooldown_until_ms == 0;
}

static bool session_is_demoted(const struct registry *r,
                               const struct session *s)
{
    const struct session_extra *e = session_extra(r, s);
    return e != NULL && e->demoted_until_ms != 0;
}

slot member_first(const struct registry *r, struct scope_ref ref)
{
    return ref.device != 0 ? device_at(r, ref.device)->sessions
                           : group_at(r, ref.group)->devices;
}

slot member_next(const struct registry *r, struct scope_ref ref, slot member)
{
    return ref.device != 0 ? session_at(r, member)->next
                           : device_at(r, member)->next;
}

bool member_may_lead(const struct registry *r, struct scope_ref ref,
                     slot member)
{
    slot s = scope_session_slot(r, ref, member);
    return s != 0 && session_may_lead(r, session_at(r, s));
}

bool member_may_stay(const struct registry *r, struct scope_ref ref,
                     slot member)
{
    slot s = scope_session_slot(r, ref, member);
    return s != 0 && session_may_stay(session_at(r, s));
}

bool member_is_demoted(const struct registry *r, struct scope_ref ref,
                       slot member)
{
    slot s = scope_session_slot(r, ref, member);
    return s != 0 && session_is_demoted(r, session_at(r, s));
}

bool member_before(const struct registry *r, struct scope_ref ref, slot x,
                   slot y)
{
    ASSERT(x != y);
    const struct session *a = session_at(r, scope_session_slot(r, ref, x));
    const struct session *b = session_at(r, scope_session_slot(r, ref, y));
    bool a_demoted = session_is_demoted(r, a);
    if (a_demoted != session_is_demoted(r, b)) {
        return !a_demoted;
    }
    if (a->score != b->score) {
        return a->score > b->score;
    }
    ASSERT(a->id != b->id);
    return a->id < b->id;
}

bool member_leads(const struct registry *r, struct scope_ref ref,
                  slot challenger, slot holder)
{
    ASSERT(challenger != holder);
    if (member_is_demoted(r, ref, challenger) !=
        member_is_demoted(r, ref, holder)) {
        return member_before(r, ref, challenger, holder);
    }
    const struct session *c =
        session_at(r, scope_session_slot(r, ref, challenger));
    const struct session *h = session_at(r, scope_session_slot(r, ref, holder));
    return (int64_t)c->score - h->score >
           (int64_t)policy_of(r, ref.group)->margin;
}

slot election_best(const struct registry *r, struct scope_ref ref,
                   slot not_this)
{
    slot best = 0;
    for (slot m = member_first(r, ref); m != 0; m = member_next(r, ref, m)) {
        if (m != not_this && member_may_lead(r, ref, m) &&
            (best == 0 || member_before(r, ref, m, best))) {
            best = m;
        }
    }
    return best;
}

/* Order in the ring that starts behind `from`: those that aren't demoted, then ids above it, then from the lowest on. */
static bool ring_before(const struct registry *r, struct scope_ref ref, slot x,
                        slot y)
{
    uint64_t from = scope_at(r, ref)->holder_session;
    bool x_demoted = member_is_demoted(r, ref, x);
    if (x_demoted != member_is_demoted(r, ref, y)) {
        return !x_demoted;
    }
    /* Unsigned distances wrap around the ring. */
    return scope_session(r, ref, x) - from < scope_session(r, ref, y) - from;
}

slot member_after_holder(const struct registry *r, struct scope_ref ref)
{
    slot holder = scope_at(r, ref)->holder;
    ASSERT(holder != 0);
    slot next = 0;
    for (slot m = member_first(r, ref); m != 0; m = member_next(r, ref, m)) {
        if (m != holder && member_may_lead(r, ref, m) &&
            (next == 0 || ring_before(r, ref, m, next))) {
            next = m;
        }
    }
    return next;
}

slot member_successor(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    if (scope->phase != PHASE_IDLE && handoff_is_sound(r, ref)) {
        return scope_extra(r, scope)->offer_to;
    }
    /* The backup may be falling in the same entry, and its own turn not have come. */
    if (scope->backup != 0 && member_may_lead(r, ref, scope->backup)) {
        return scope->backup;
    }
    return election_best(r, ref, scope->holder);
}

uint64_t scope_move_ms(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    ASSERT(scope->holder != 0 && scope->backup != 0);
    const struct scope_extra *e = scope_extra(r, scope);
    const struct policy *p = policy_of(r, ref.group);
    uint64_t breaker_ms = e == NULL ? 0 : e->breaker_until_ms;
    if (member_is_demoted(r, ref, scope->holder) &&
        !member_is_demoted(r, ref, scope->backup)) {
        return scope->granted_ms;
    }
    if (p->max_tenure_ms != 0) {
        return max_u64(scope->granted_ms + p->max_tenure_ms, breaker_ms);
    }
    if (!member_leads(r, ref, scope->backup, scope->holder)) {
        return UINT64_MAX;
    }
    return max_u64(scope->granted_ms + p->min_tenure_ms, breaker_ms);
}

uint64_t scope_due_ms(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    if (scope->phase != PHASE_IDLE) {
        ASSERT(e != NULL && e->deadline_ms != 0);
        return e->deadline_ms;
    }
    uint64_t at_ms = UINT64_MAX;
    if (scope->holder != 0 && scope->backup != 0) {
        at_ms = scope_move_ms(r, ref);
    }
    if (e != NULL && e->state != 0) {
        at_ms = min_u64(at_ms, e->deadline_ms);
    }
    return at_ms;
}

enum role election_role(const struct registry *r, slot session)
{
    const struct session *s = session_at(r, session);
    const struct scope *scope = &device_at(r, s->device)->scope;
    if ((s->object.flags & FLAG_OBSERVER) != 0) {
        return ROLE_OBSERVER;
    }
    if (scope->holder == session) {
        return ROLE_LEADER;
    }
    if (scope->backup == session) {
        return ROLE_BACKUP;
    }
    return session_may_lead(r, s) ? ROLE_CANDIDATE : ROLE_NONE;
}

static void check_handoff(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    if (scope->phase == PHASE_IDLE) {
        ASSERT(e == NULL || (e->offer == 0 && e->offer_session == 0));
        ASSERT(e == NULL || (e->offer_to == 0 && e->offer_reason == 0));
    } else {
        ASSERT(e != NULL);
        ASSERT(scope->holder != 0 && e->offer_to != scope->holder);
        ASSERT(e->offer > scope->epoch && e->offer <= r->applied);
        ASSERT(handoff_is_sound(r, ref));
    }
    if (e != NULL && e->state != 0) {
        ASSERT(e->state_epoch == (scope->holder == 0 ? 0 : scope->epoch));
        ASSERT(e->deadline_ms != 0);
    }
}

void election_check_scope(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    ASSERT(scope->epoch <= r->applied);
    ASSERT(scope->holder_session == scope_session(r, ref, scope->holder));
    if (scope->holder == 0) {
        ASSERT(scope->backup == 0);
        ASSERT(scope->phase == PHASE_IDLE);
        /* Never to nobody if somebody can lead. */
        ASSERT(election_best(r, ref, 0) == 0);
    } else {
        ASSERT(member_may_stay(r, ref, scope->holder));
        ASSERT(scope->epoch > scope->previous_epoch);
        ASSERT(scope->backup == election_best(r, ref, scope->holder));
    }
    check_handoff(r, ref);
    /* A new policy changes deadlines, too; each scope's follows when its sessions are rescored. */
    ASSERT_IMPLIES(!group_namespace(r, ref.group)->rescoring,
                   due_at(r, scope->heap_at) == scope_due_ms(r, ref));
}
