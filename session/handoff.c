#include <string.h>

#include "session/settle.h"

bool handoff_is_sound(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    ASSERT(scope->phase != PHASE_IDLE && e != NULL);
    /* The device may have got another leader tab, which was never asked. */
    return member_may_lead(r, ref, e->offer_to) &&
           scope_session(r, ref, e->offer_to) == e->offer_session;
}

/* About the successor, and the holder as the previous one. */
static void emit_handoff(struct apply *a, enum event_kind kind,
                         struct scope_ref ref, enum cause cause)
{
    const struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *extra = scope_extra(r, scope);
    slot to = find_session(r, extra->offer_session);
    slot holder = find_session(r, scope->holder_session);
    ASSERT(to != 0 && holder != 0);
    struct event *e = emit_session(a, kind, to);
    e->group_scope = ref.device == 0;
    e->epoch = scope->epoch;
    e->previous_session = scope->holder_session;
    e->previous_lease = lease_at(r, session_at(r, holder)->lease)->id;
    e->reason = (enum grant_reason)extra->offer_reason;
    e->cause = cause;
    e->deadline_ms = kind == EVENT_HANDOFF_FAILED ? 0 : scope_due_ms(r, ref);
    memset(&e->caps, 0, sizeof e->caps);
}

void handoff_offer(struct apply *a, struct scope_ref ref, slot to,
                   enum grant_reason reason)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    ASSERT(scope->phase == PHASE_IDLE && scope->holder != 0);
    ASSERT(to != 0 && to != scope->holder);
    struct scope_extra *e = scope_extra_need(r, scope);
    scope->phase = PHASE_OFFERED;
    e->offer = a->index;
    e->offer_to = to;
    e->offer_session = scope_session(r, ref, to);
    e->offer_reason = (uint8_t)reason;
    e->deadline_ms = a->time_ms + policy_of(r, ref.group)->offer_ms;
    ASSERT(handoff_is_sound(r, ref));
    dirty_scope(r, ref);
    emit_handoff(a, EVENT_OFFERED, ref, CAUSE_NONE);
}

void handoff_clear(struct apply *a, struct scope_ref ref)
{
    struct scope *scope = scope_at(a->r, ref);
    ASSERT(scope->phase != PHASE_IDLE);
    struct scope_extra *e = scope_extra_need(a->r, scope);
    scope->phase = PHASE_IDLE;
    e->offer = 0;
    e->offer_to = 0;
    e->offer_session = 0;
    e->offer_reason = 0;
    /* The deadline belonged to the hand-off; a state that still waits for its holder to fetch it gets its time again. */
    e->deadline_ms = e->state == 0 ? 0 : a->time_ms + STATE_KEEP_MS;
    scope_extra_trim(a->r, scope);
    dirty_scope(a->r, ref);
}

void handoff_fail(struct apply *a, struct scope_ref ref, enum cause cause)
{
    emit_handoff(a, EVENT_HANDOFF_FAILED, ref, cause);
    handoff_clear(a, ref);
}

static void drop_state(struct registry *r, struct scope_extra *e)
{
    pool_give(&r->states, e->state);
    e->state = 0;
    e->state_epoch = 0;
    e->deadline_ms = 0;
}

static bool has_room(const struct registry *r, struct scope_ref ref)
{
    const struct scope_extra *e = scope_extra(r, scope_at(r, ref));
    return (e != NULL && e->state != 0) || r->states.live < r->limits.states_n;
}

uint32_t handoff_keep_state(struct apply *a, struct scope_ref ref,
                            struct bytes state)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    ASSERT(scope->phase == PHASE_IDLE);
    bool keep = state.n > 0 && state.n <= STATE_BYTES_MAX &&
                state.n <= policy_of(r, ref.group)->state_bytes_max &&
                has_room(r, ref);
    if (!keep && scope->extra == 0) {
        return 0;
    }
    struct scope_extra *e = scope_extra_need(r, scope);
    if (keep) {
        e->state = e->state == 0 ? pool_take(&r->states) : e->state;
        struct state_blob *blob = pool_at(&r->states, e->state);
        memcpy(blob->data, state.data, state.n);
        blob->n = (uint32_t)state.n;
    } else if (e->state != 0 && e->state_epoch != 0) {
        /* It was for a holder that is gone. One left while the scope stood empty is still for the next. */
        drop_state(r, e);
    }
    if (e->state == 0) {
        return 0;
    }
    e->state_epoch = scope->holder == 0 ? 0 : scope->epoch;
    e->deadline_ms = a->time_ms + STATE_KEEP_MS;
    return ((const struct state_blob *)pool_at(&r->states, e->state))->n;
}

/* The scope of a command, held, under the epoch named (0: whichever, where that's allowed); else it's refused. */
static bool held_scope(struct apply *a, const Pb__Path *path, uint64_t epoch,
                       struct scope_ref *out)
{
    uint32_t reason = REASON_NONE;
    enum baton_status status = find_scope(a->r, path, out, &reason);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, 0);
        return false;
    }
    const struct scope *scope = scope_at(a->r, *out);
    if (scope->holder == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_HOLDER, 0);
        return false;
    }
    if (epoch != scope->epoch) {
        apply_refuse(a, BATON_STALE_EPOCH, REASON_EPOCH_CURRENT,
                     (int64_t)scope->epoch);
        return false;
    }
    return true;
}

static bool held_scope_any(struct apply *a, const Pb__Path *path,
                           uint64_t epoch, struct scope_ref *out)
{
    uint32_t reason = REASON_NONE;
    if (epoch == 0 && find_scope(a->r, path, out, &reason) == BATON_OK) {
        epoch = scope_at(a->r, *out)->epoch;
    }
    return held_scope(a, path, epoch, out);
}

/* A state that can't be kept refuses the command whole: a hand-off that loses nothing, or none. */
static bool state_fits(struct apply *a, struct scope_ref ref, size_t n)
{
    uint32_t max = policy_of(a->r, ref.group)->state_bytes_max;
    if (n > max) {
        apply_refuse(a, BATON_INVALID, REASON_STATE_BYTES, max);
        return false;
    }
    if (n > 0 && !has_room(a->r, ref)) {
        apply_refuse(a, BATON_LIMIT, REASON_STATES_CLUSTER,
                     a->r->limits.states_n);
        return false;
    }
    return true;
}

static void answer_holder(struct apply *a, struct scope_ref ref)
{
    const struct scope *scope = scope_at(a->r, ref);
    struct reply *reply = &a->out->reply;
    reply->id = scope->holder_session;
    reply->epoch = scope->holder == 0 ? 0 : scope->epoch;
}

/* The member that the session named stands for, 0 if the baton can't be offered to it: refused. */
static slot offerable(struct apply *a, struct scope_ref ref, uint64_t id)
{
    const struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    if (id == 0) {
        if (scope->backup == 0) {
            apply_refuse(a, BATON_CONFLICT, REASON_NO_SUCCESSOR, 0);
        }
        return scope->backup;
    }
    slot s = find_session(r, id);
    if (s == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_SESSION, 0);
        return 0;
    }
    slot device = session_at(r, s)->device;
    slot member = ref.device != 0 ? s : device;
    if ((ref.device != 0 && device != ref.device) ||
        device_at(r, device)->group != ref.group) {
        apply_refuse(a, BATON_NOT_ALLOWED, REASON_OTHER_SCOPE, 0);
        return 0;
    }
    if (scope->holder_session == id) {
        apply_refuse(a, BATON_CONFLICT, REASON_ALREADY_HOLDER, 0);
        return 0;
    }
    if (member == scope->holder || !member_may_lead(r, ref, member) ||
        scope_session(r, ref, member) != id) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_ELIGIBLE, 0);
        return 0;
    }
    return member;
}

/* scope_settled() grants only away from a demoted holder that kept the baton because its scope had granted in that entry already;
 * whatever comes first after that moves it, and the group follows. Returns true if it moved. */
static bool settled_and_followed(struct apply *a, struct scope_ref ref)
{
    const struct scope *scope = scope_at(a->r, ref);
    uint64_t epoch = scope->epoch;
    scope_settled(a, ref);
    if (scope->epoch == epoch) {
        return false;
    }
    const struct change c = {.reason = GRANT_DEMOTION};
    ASSERT(scope->reason == GRANT_DEMOTION);
    group_follow(a, ref, &c);
    return true;
}

void election_handoff(struct apply *a, const Pb__Handoff *c)
{
    struct scope_ref ref = {0, 0};
    if (!held_scope_any(a, c->scope, c->epoch, &ref)) {
        return;
    }
    const struct scope *scope = scope_at(a->r, ref);
    if (scope->phase != PHASE_IDLE) {
        apply_refuse(a, BATON_CONFLICT, REASON_HANDOFF_RUNNING,
                     (int64_t)scope_extra(a->r, scope)->offer);
        return;
    }
    slot to = offerable(a, ref, c->to);
    if (to == 0) {
        return;
    }
    handoff_offer(a, ref, to, GRANT_HANDOFF);
    (void)settled_and_followed(a, ref);
    answer_holder(a, ref);
    a->out->reply.id = a->index;
}

/* The successor won't, or didn't say: it isn't asked again for a while. */
static void turned_down(struct apply *a, struct scope_ref ref, enum cause cause)
{
    slot s = find_session(
        a->r, scope_extra(a->r, scope_at(a->r, ref))->offer_session);
    ASSERT(s != 0);
    handoff_fail(a, ref, cause);
    cooldown_start(a, s);
    const struct change c = {
        .member = s, .reason = GRANT_SUCCESSION, .cause = cause};
    session_settle(a, s, &c);
    /* The session's own scope isn't this one if this is a group's and the tab's device has another leader by now. */
    (void)settled_and_followed(a, ref);
}

void election_answer(struct apply *a, const Pb__AnswerOffer *c)
{
    struct registry *r = a->r;
    struct scope_ref ref = {0, 0};
    if (apply_own_session(a, c->session, c->attachment) == 0 ||
        !held_scope_any(a, c->scope, 0, &ref)) {
        return;
    }
    struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    if (scope->phase != PHASE_OFFERED || e->offer != c->offer ||
        e->offer_session != c->session) {
        apply_refuse(a, BATON_CONFLICT, REASON_NO_OFFER, 0);
        return;
    }
    if (!c->accept) {
        turned_down(a, ref, CAUSE_DECLINED);
    } else {
        scope->phase = PHASE_YIELDING;
        scope_extra_need(r, scope)->deadline_ms =
            a->time_ms + policy_of(r, ref.group)->yield_ms;
        dirty_scope(r, ref);
        emit_handoff(a, EVENT_ACCEPTED, ref, CAUSE_NONE);
        (void)settled_and_followed(a, ref);
    }
    answer_holder(a, ref);
}

/* The holder handed over, or let its deadline pass: the old epoch is fenced either way. */
static void complete(struct apply *a, struct scope_ref ref, enum cause cause,
                     struct bytes state)
{
    const struct scope_extra *e = scope_extra(a->r, scope_at(a->r, ref));
    ASSERT(scope_at(a->r, ref)->phase == PHASE_YIELDING);
    const struct grant g = {.to = e->offer_to,
                            .reason = (enum grant_reason)e->offer_reason,
                            .cause = cause,
                            .state = state};
    scope_grant(a, ref, &g);
    scope_settled(a, ref);
    const struct change c = {
        .reason = g.reason, .cause = cause, .state = state};
    group_follow(a, ref, &c);
}

void election_yield(struct apply *a, const Pb__Yield *c)
{
    struct scope_ref ref = {0, 0};
    if (apply_own_session(a, c->session, c->attachment) == 0 ||
        !held_scope(a, c->scope, c->epoch, &ref) ||
        !state_fits(a, ref, c->state.len)) {
        return;
    }
    const struct scope *scope = scope_at(a->r, ref);
    if (scope->holder_session != c->session) {
        apply_refuse(a, BATON_NOT_ALLOWED, REASON_OTHER_SCOPE, 0);
        return;
    }
    if (scope->phase != PHASE_YIELDING) {
        apply_refuse(a, BATON_CONFLICT, REASON_NO_OFFER, 0);
        return;
    }
    const struct bytes state = {c->state.data, c->state.len};
    complete(a, ref, CAUSE_NONE, state);
    answer_holder(a, ref);
}

void election_resign(struct apply *a, const Pb__Resign *c)
{
    struct registry *r = a->r;
    struct scope_ref ref = {0, 0};
    if (!held_scope(a, c->scope, c->epoch, &ref) ||
        !state_fits(a, ref, c->state.len)) {
        return;
    }
    const struct scope *scope = scope_at(r, ref);
    cooldown_start(a, scope_session_slot(r, ref, scope->holder));
    struct change change = {.reason = GRANT_RESIGNED,
                            .state = {c->state.data, c->state.len}};
    struct grant g = {.to = member_successor(r, ref),
                      .reason = GRANT_RESIGNED,
                      .state = change.state};
    if (g.to == 0) {
        scope_vacate(a, ref, &g);
    } else {
        scope_grant(a, ref, &g);
    }
    scope_settled(a, ref);
    group_follow(a, ref, &change);
    answer_holder(a, ref);
}

/* A deadline of an idle scope: returns false if there was none. */
static bool due_idle(struct apply *a, struct scope_ref ref)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    bool dropped = e != NULL && e->state != 0 && a->time_ms >= e->deadline_ms;
    if (dropped) {
        drop_state(r, scope_extra_need(r, scope));
        scope_extra_trim(r, scope);
        dirty_scope(r, ref);
    }
    if (settled_and_followed(a, ref)) {
        return true;
    }
    return dropped || scope->phase != PHASE_IDLE;
}

void election_due(struct apply *a, const Pb__ScopeDue *c)
{
    struct registry *r = a->r;
    struct scope_ref ref = {0, 0};
    uint32_t reason = REASON_NONE;
    if (find_scope(r, c->scope, &ref, &reason) != BATON_OK) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *e = scope_extra(r, scope);
    if (scope->epoch != c->epoch || (e == NULL ? 0 : e->offer) != c->offer ||
        scope_due_ms(r, ref) > a->time_ms) {
        /* It may have been scheduled under an older policy. */
        scope_schedule(r, ref);
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    bool done = true;
    switch ((enum scope_phase)scope->phase) {
    case PHASE_IDLE:
        done = due_idle(a, ref);
        break;
    case PHASE_OFFERED:
        turned_down(a, ref, CAUSE_LAPSED);
        break;
    case PHASE_YIELDING:
        complete(a, ref, CAUSE_LAPSED, (struct bytes){NULL, 0});
        break;
    }
    ASSERT(done); /* what's due and can't be done would be proposed for ever */
}
