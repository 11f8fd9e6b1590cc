#include "session/election.h"

#include "session/check.h"
#include "session/settle.h"

static struct scope_ref device_ref(const struct registry *r, slot device)
{
    return (struct scope_ref){device_at(r, device)->group, device};
}

/* A move that nobody needed: too many of them, and there are none for a while. */
static void count_move(struct apply *a, struct scope_ref ref)
{
    const struct policy *p = policy_of(a->r, ref.group);
    if (p->breaker_moves == 0) {
        return;
    }
    struct scope_extra *e = scope_extra_need(a->r, scope_at(a->r, ref));
    if (e->moves == 0 ||
        a->time_ms - e->moves_since_ms > p->breaker_window_ms) {
        e->moves = 0;
        e->moves_since_ms = a->time_ms;
    }
    e->moves++;
    if (e->moves >= p->breaker_moves) {
        e->breaker_until_ms = a->time_ms + p->breaker_open_ms;
        e->moves = 0;
        e->moves_since_ms = 0;
    }
}

/* Who held until now becomes the previous holder; a vacant scope remembers the one before. */
static void remember_holder(struct scope *scope)
{
    if (scope->holder_session != 0) {
        scope->previous_session = scope->holder_session;
        scope->previous_epoch = scope->epoch;
    }
}

void scope_grant(struct apply *a, struct scope_ref ref, const struct grant *g)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    ASSERT(member_may_lead(r, ref, g->to) || g->reason == GRANT_DEVICE);
    ASSERT(scope->epoch < a->index); /* S1, S2: one grant an entry */
    if (scope->phase != PHASE_IDLE) {
        if (scope_extra(r, scope)->offer_to == g->to) {
            handoff_clear(a, ref);
        } else {
            handoff_fail(a, ref, CAUSE_REPLACED);
        }
    }
    r->batons_n += scope->holder == 0;
    remember_holder(scope);
    scope->epoch = a->index;
    scope->granted_ms = a->time_ms;
    scope->holder = g->to;
    scope->holder_session = scope_session(r, ref, g->to);
    scope->reason = (uint8_t)g->reason;
    scope->backup = election_best(r, ref, g->to);
    if (g->reason == GRANT_BETTER) {
        count_move(a, ref);
    }
    uint32_t state_bytes = handoff_keep_state(a, ref, g->state);
    scope_extra_trim(r, scope);
    dirty_scope(r, ref);
    struct event *e = emit_scope(a, EVENT_GRANTED, ref);
    e->cause = g->cause;
    e->state_bytes = state_bytes;
    ASSERT(scope->holder_session != 0);
}

void scope_vacate(struct apply *a, struct scope_ref ref, const struct grant *g)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    ASSERT(scope->holder != 0);
    if (scope->phase != PHASE_IDLE) {
        handoff_fail(a, ref, CAUSE_GONE);
    }
    ASSERT(r->batons_n > 0);
    r->batons_n--;
    remember_holder(scope);
    scope->holder = 0;
    scope->holder_session = 0;
    scope->backup = 0;
    scope->reason = (uint8_t)g->reason;
    uint32_t state_bytes = handoff_keep_state(a, ref, g->state);
    scope_extra_trim(r, scope);
    dirty_scope(r, ref);
    struct event *e = emit_scope(a, EVENT_VACATED, ref);
    e->cause = g->cause;
    e->state_bytes = state_bytes;
}

/* The holder can't go on. */
static void succeed(struct apply *a, struct scope_ref ref,
                    const struct change *c)
{
    const struct scope *scope = scope_at(a->r, ref);
    struct grant g = {.to = member_successor(a->r, ref),
                      .reason = c->reason,
                      .cause = c->cause,
                      .state = c->state};
    if (g.to == 0) {
        scope_vacate(a, ref, &g);
        return;
    }
    if (scope->phase != PHASE_IDLE) {
        const struct scope_extra *e = scope_extra(a->r, scope);
        if (e->offer_to == g.to) {
            g.reason = (enum grant_reason)e->offer_reason;
        }
    }
    scope_grant(a, ref, &g);
}

/* The holder stays: is the backup still the best of the others? Compares only with the one that changed, unless it was the
 * backup: it may rank lower now, so everybody is looked at. */
static void settle_backup(struct apply *a, struct scope_ref ref,
                          const struct change *c)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    slot backup = scope->backup;
    bool may = c->member != scope->holder && member_may_lead(r, ref, c->member);
    if (c->member == backup) {
        backup = election_best(r, ref, scope->holder);
    } else if (may &&
               (backup == 0 || member_before(r, ref, c->member, backup))) {
        backup = c->member;
    }
    bool same = backup == scope->backup;
    if (same && !(c->other_session && backup == c->member)) {
        return;
    }
    scope->backup = backup;
    dirty_scope(r, ref);
    (void)emit_scope(a, EVENT_BACKUP_CHANGED, ref);
}

static void settle_holder(struct apply *a, struct scope_ref ref,
                          const struct change *c)
{
    struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    if (scope->holder == 0) {
        /* Nobody else could lead, or the scope wouldn't stand empty. */
        if (member_may_lead(r, ref, c->member)) {
            const struct grant g = {.to = c->member, .reason = GRANT_FIRST};
            scope_grant(a, ref, &g);
        }
    } else if (!member_may_stay(r, ref, scope->holder)) {
        succeed(a, ref, c);
    } else if (scope->holder_session != scope_session(r, ref, scope->holder)) {
        const struct grant g = {.to = scope->holder,
                                .reason = GRANT_DEVICE,
                                .cause = c->cause,
                                .state = c->state};
        scope_grant(a, ref, &g);
    } else {
        settle_backup(a, ref, c);
    }
}

/* From a demoted holder the baton goes at once to one that isn't; if the scope has granted in this entry already, in the next one:
 * scope_due_ms() says so. Returns true if it's one of these. */
static bool leave_demoted(struct apply *a, struct scope_ref ref)
{
    struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    if (!member_is_demoted(r, ref, scope->holder) ||
        member_is_demoted(r, ref, scope->backup)) {
        return false;
    }
    slot to = member_successor(r, ref);
    if (member_is_demoted(r, ref, to)) {
        to = scope->backup; /* it was being offered to another demoted one */
    }
    if (scope->epoch < a->index) {
        const struct grant g = {.to = to, .reason = GRANT_DEMOTION};
        scope_grant(a, ref, &g);
    }
    return true;
}

/* Moves that nobody needs, if nothing stands in their way. */
static void challenge(struct apply *a, struct scope_ref ref)
{
    struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    /* A backup that may not lead is about to fall in this entry: its own turn comes. */
    if (scope->holder == 0 || scope->backup == 0 ||
        !member_may_lead(r, ref, scope->backup)) {
        return;
    }
    if (leave_demoted(a, ref)) {
        return;
    }
    if (scope->phase != PHASE_IDLE || scope_move_ms(r, ref) > a->time_ms) {
        return;
    }
    const struct policy *p = policy_of(r, ref.group);
    if (p->max_tenure_ms != 0) {
        handoff_offer(a, ref, member_after_holder(r, ref), GRANT_ROTATION);
    } else {
        handoff_offer(a, ref, scope->backup, GRANT_BETTER);
    }
}

void scope_schedule(struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    uint64_t at_ms = scope_due_ms(r, ref);
    if (due_at(r, scope->heap_at) != at_ms) {
        due_set(r, ref.device != 0 ? DUE_DEVICE : DUE_GROUP,
                ref.device != 0 ? ref.device : ref.group, at_ms);
    }
}

void scope_settled(struct apply *a, struct scope_ref ref)
{
    challenge(a, ref);
    scope_schedule(a->r, ref);
}

void scope_settle(struct apply *a, struct scope_ref ref, const struct change *c)
{
    ASSERT(c->member != 0);
    ASSERT(c->reason != GRANT_NONE);
    const struct scope *scope = scope_at(a->r, ref);
    if (scope->phase != PHASE_IDLE && !handoff_is_sound(a->r, ref)) {
        handoff_fail(a, ref, CAUSE_GONE);
    }
    settle_holder(a, ref, c);
    scope_settled(a, ref);
}

void group_follow(struct apply *a, struct scope_ref ref, const struct change *c)
{
    if (ref.device == 0) {
        return;
    }
    struct change of_device = *c;
    of_device.member = ref.device;
    of_device.other_session = true;
    struct scope_ref group = {.group = ref.group};
    scope_settle(a, group, &of_device);
}

void session_settle(struct apply *a, slot session, const struct change *c)
{
    const struct registry *r = a->r;
    ASSERT(c->member == session);
    struct scope_ref ref = device_ref(r, session_at(r, session)->device);
    const struct scope *scope = scope_at(r, ref);
    slot was = scope->holder;
    scope_settle(a, ref, c);
    if (scope->holder != was) {
        group_follow(a, ref, c);
    } else if (was == session) {
        struct change of_device = *c;
        of_device.member = ref.device;
        of_device.other_session = false;
        struct scope_ref group = {.group = ref.group};
        scope_settle(a, group, &of_device);
    }
}

static void rescore(struct apply *a, slot session)
{
    struct registry *r = a->r;
    struct session *s = session_at(r, session);
    const struct namespace_ *ns = session_namespace(r, session);
    int32_t score = score_of(&ns->policy, &s->caps);
    if (score != s->score || s->policy_version != ns->policy_version) {
        s->score = score;
        s->policy_version = ns->policy_version;
        dirty_mark(r, OBJECT_SESSION, session);
    }
}

void election_session_changed(struct apply *a, slot session)
{
    const struct session *s = session_at(a->r, session);
    rescore(a, session);
    demote_follow_rtt(a, session);
    bool grace_over = (s->object.flags & FLAG_HOLDER_GRACE_OVER) != 0;
    const struct change c = {.member = session,
                             .reason = GRANT_SUCCESSION,
                             .cause = grace_over ? CAUSE_GRACE : CAUSE_NONE};
    session_settle(a, session, &c);
    election_session_schedule(a->r, session);
}

void election_session_leaving(struct apply *a, slot session, enum cause cause,
                              struct bytes state)
{
    ASSERT((session_at(a->r, session)->object.flags & FLAG_DELETED) != 0);
    const struct change c = {.member = session,
                             .reason = GRANT_SUCCESSION,
                             .cause = cause,
                             .state = state};
    session_settle(a, session, &c);
}

void election_scope_drop(struct apply *a, struct scope_ref ref)
{
    struct scope *scope = scope_at(a->r, ref);
    ASSERT(scope->holder == 0 && scope->backup == 0);
    ASSERT(scope->phase == PHASE_IDLE);
    scope_extra_drop(a->r, scope);
    due_set(a->r, ref.device != 0 ? DUE_DEVICE : DUE_GROUP,
            ref.device != 0 ? ref.device : ref.group, UINT64_MAX);
}

void election_scope_loaded(struct registry *r, struct scope_ref ref)
{
    scope_schedule(r, ref);
}

void election_policy_changed(struct apply *a, slot namespace_)
{
    struct namespace_ *ns = namespace_at(a->r, namespace_);
    ns->rescoring = true;
    ns->rescore_from = 0;
    dirty_mark(a->r, OBJECT_NAMESPACE, namespace_);
    due_set(a->r, DUE_NAMESPACE, namespace_, a->time_ms);
}

/* Sessions that closed or were rescored meanwhile are passed over. */
static void rescore_named(struct apply *a, slot namespace_, uint64_t id)
{
    struct registry *r = a->r;
    slot s = find_session(r, id);
    const struct namespace_ *ns = namespace_at(r, namespace_);
    if (s != 0 && session_namespace(r, s) == ns &&
        session_at(r, s)->policy_version != ns->policy_version) {
        election_session_changed(a, s);
    }
}

void election_rescore(struct apply *a, const Pb__Rescore *c)
{
    struct registry *r = a->r;
    const struct bytes name = check_bytes(c->namespace_);
    slot n = find_namespace(r, name);
    if (n == 0 || !namespace_at(r, n)->rescoring ||
        namespace_at(r, n)->policy_version != c->policy_version ||
        c->n_sessions > SWEEP_MAX) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    for (size_t i = 0; i < c->n_sessions; i++) {
        rescore_named(a, n, c->sessions[i]);
    }
    if (c->done) {
        namespace_at(r, n)->rescoring = false;
        dirty_mark(r, OBJECT_NAMESPACE, n);
        due_set(r, DUE_NAMESPACE, n, UINT64_MAX);
    } else {
        due_rescored(r, n);
        due_set(r, DUE_NAMESPACE, n, a->time_ms);
    }
}
