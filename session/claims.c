/* Split brain among clients, put on record: the leader found a claim to be false and proposes to keep the proof. */
#include "session/check.h"
#include "session/settle.h"

static bool is_false_claim(Pb__Cause cause)
{
    return cause == PB__CAUSE__CAUSE_STALE_CLAIM ||
           cause == PB__CAUSE__CAUSE_FORGED_CLAIM ||
           cause == PB__CAUSE__CAUSE_DOUBLE_CLAIM;
}

static struct claim claim_of(const Pb__ClaimEvidence *m)
{
    return (struct claim){.session = m->session,
                          .epoch = m->epoch,
                          .lease = m->lease,
                          .relay = check_bytes(m->relay),
                          .time_ms = m->time_ms};
}

/* The other side, when nobody spoke for it: the holder as the registry has it. */
static struct claim claim_of_holder(const struct registry *r,
                                    const struct scope *scope)
{
    struct claim claim = {.epoch = scope->epoch, .time_ms = scope->granted_ms};
    if (scope->holder != 0) {
        slot s = find_session(r, scope->holder_session);
        ASSERT(s != 0);
        const struct lease *l = lease_at(r, session_at(r, s)->lease);
        claim.session = scope->holder_session;
        claim.lease = l->id;
        claim.relay = name_get(&r->names, l->label);
    }
    return claim;
}

/* What emit_scope() said of the holder is said of the claimant, if it's still there. A device's scope has its device all the same. */
static void describe_claimant(const struct registry *r, struct event *e)
{
    const struct bytes none = {NULL, 0};
    slot s = find_session(r, e->session);
    const struct session *session = s == 0 ? NULL : session_at(r, s);
    e->tab = s == 0 ? none : name_get(&r->names, session->tab);
    e->score = s == 0 ? 0 : session->score;
    if (e->group_scope) {
        e->device =
            s == 0 ? none
                   : name_get(&r->names, device_at(r, session->device)->name);
    }
}

static void put_on_record(struct apply *a, struct scope_ref ref,
                          const Pb__RecordClaim *c)
{
    struct registry *r = a->r;
    struct scope *scope = scope_at(r, ref);
    struct scope_extra *extra = scope_extra_need(r, scope);
    extra->audited_session = c->stale->session;
    extra->audited_epoch = c->stale->epoch;
    dirty_scope(r, ref);
    struct event *e = emit_scope(a, EVENT_CLAIM_REJECTED, ref);
    e->cause = (enum cause)c->cause;
    e->claims[0] = claim_of(c->stale);
    e->claims[1] =
        c->valid == NULL ? claim_of_holder(r, scope) : claim_of(c->valid);
    /* Whom to tell: the claimant to stop, the holder that it was challenged. */
    e->previous_session = e->session;
    e->previous_lease = e->lease;
    e->session = c->stale->session;
    e->lease = c->stale->lease;
    e->previous_epoch = c->stale->epoch;
    e->reason = GRANT_NONE;
    describe_claimant(r, e);
}

void election_record_claim(struct apply *a, const Pb__RecordClaim *c)
{
    struct scope_ref ref = {0, 0};
    uint32_t reason = REASON_NONE;
    if (c->stale == NULL || c->stale->session == 0 ||
        !is_false_claim(c->cause) ||
        find_scope(a->r, c->scope, &ref, &reason) != BATON_OK) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    const struct scope *scope = scope_at(a->r, ref);
    const struct scope_extra *e = scope_extra(a->r, scope);
    bool is_true = scope->holder_session == c->stale->session &&
                   scope->epoch == c->stale->epoch;
    bool on_record = e != NULL && e->audited_session == c->stale->session &&
                     e->audited_epoch == c->stale->epoch;
    if (is_true || on_record) {
        apply_refuse(a, BATON_CONFLICT, REASON_NOT_DUE, 0);
        return;
    }
    put_on_record(a, ref, c);
}
