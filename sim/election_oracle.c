/* How a baton moves, and who is accused of acting with one that isn't its own: S11, S12, S18. */
#include "sim/oracle.h"
#include "sim/session_seen.h"

/* S11: a change of the holder is one entry. It names who held last, and hands over only from who holds: so no reader sees two, or none in
 * between. */
static void check_moved(struct session_oracle *o, const Pb__Event *e,
                        const struct scope_seen *scope)
{
    struct reign before = scope_seen_now(scope);
    bool handed = e->reason == PB__GRANT_REASON__GRANT_HANDOFF ||
                  e->reason == PB__GRANT_REASON__GRANT_BETTER ||
                  e->reason == PB__GRANT_REASON__GRANT_ROTATION;
    for (uint32_t i = scope->n; i > 0 && before.session == 0; i--) {
        before = scope->reigns[i - 1];
    }
    bool vacant = scope_seen_now(scope).session == 0;
    /* One that went with its last session remembers nobody when its name is used again. */
    bool follows = (e->previous_session == before.session &&
                    e->previous_epoch == before.epoch) ||
                   (vacant && e->previous_session == 0);
    if (follows && !(handed && vacant)) {
        return;
    }
    sim_world_fail(
        o->world, SIM_UNSAFE, "S11",
        "epoch %llu is said to follow epoch %llu of session %llu, "
        "but session %llu held under %llu",
        (unsigned long long)e->epoch, (unsigned long long)e->previous_epoch,
        (unsigned long long)e->previous_session,
        (unsigned long long)before.session, (unsigned long long)before.epoch);
}

/* S11: a hand-off that failed changed nothing. */
static void check_unmoved(struct session_oracle *o, const Pb__Event *e,
                          const struct scope_seen *scope)
{
    struct reign now = scope_seen_now(scope);
    if (e->epoch != now.epoch || e->previous_session != now.session) {
        sim_world_fail(o->world, SIM_UNSAFE, "S11",
                       "a hand-off failed under epoch %llu of session %llu, "
                       "but session %llu holds under %llu",
                       (unsigned long long)e->epoch,
                       (unsigned long long)e->previous_session,
                       (unsigned long long)now.session,
                       (unsigned long long)now.epoch);
    }
}

/* S12: who comes next was said before: whom the baton was offered to, else the backup. S17 sees to it that all nodes say the same. */
static void check_successor(struct session_oracle *o, const Pb__Event *e,
                            const struct scope_seen *scope)
{
    bool succeeds = e->reason == PB__GRANT_REASON__GRANT_SUCCESSION ||
                    e->reason == PB__GRANT_REASON__GRANT_RESIGNED;
    uint64_t next = scope->offered != 0 ? scope->offered : scope->backup;
    if (succeeds && e->session != next) {
        sim_world_fail(o->world, SIM_UNSAFE, "S12",
                       "session %llu succeeds under epoch %llu, but %llu was "
                       "said to be next",
                       (unsigned long long)e->session,
                       (unsigned long long)e->epoch, (unsigned long long)next);
    }
}

static bool was_granted(const struct scope_seen *s, const Pb__ClaimEvidence *c)
{
    for (uint32_t i = s->n; i > 0; i--) {
        if (s->reigns[i - 1].session == c->session &&
            s->reigns[i - 1].epoch == c->epoch) {
            return c->session != 0;
        }
    }
    return false;
}

/* S18, precision: whoever is put on record for a claim had no right to it, and the reason given is so. */
static void check_record(struct session_oracle *o, const Pb__Event *e,
                         const struct scope_seen *scope)
{
    struct reign now = scope_seen_now(scope);
    const Pb__ClaimEvidence *stale = e->n_claims > 0 ? e->claims[0] : NULL;
    bool granted = stale != NULL && was_granted(scope, stale);
    bool holds = stale != NULL && now.session == stale->session &&
                 now.epoch == stale->epoch;
    bool forged = e->cause == PB__CAUSE__CAUSE_FORGED_CLAIM;
    bool outdated = e->cause == PB__CAUSE__CAUSE_STALE_CLAIM;
    if (stale == NULL || holds || (forged && granted) ||
        (outdated && !granted)) {
        sim_world_fail(o->world, SIM_UNSAFE, "S18",
                       "session %llu is on record for claiming epoch %llu "
                       "(cause %d), which it %s; session %llu holds under %llu",
                       (unsigned long long)(stale == NULL ? 0 : stale->session),
                       (unsigned long long)(stale == NULL ? 0 : stale->epoch),
                       (int)e->cause,
                       holds     ? "holds"
                       : granted ? "held"
                                 : "never held",
                       (unsigned long long)now.session,
                       (unsigned long long)now.epoch);
    }
}

void election_seen(struct session_oracle *o, const Pb__Event *e,
                   struct scope_seen *scope)
{
    switch (e->kind) {
    case PB__EVENT_KIND__GRANTED:
        check_moved(o, e, scope);
        check_successor(o, e, scope);
        scope->backup = e->backup;
        scope->offered = 0;
        break;
    case PB__EVENT_KIND__OFFERED:
        scope->offered = e->session;
        break;
    case PB__EVENT_KIND__BACKUP_CHANGED:
        scope->backup = e->backup;
        break;
    case PB__EVENT_KIND__VACATED:
        scope->backup = 0;
        scope->offered = 0;
        break;
    case PB__EVENT_KIND__HANDOFF_FAILED:
        check_unmoved(o, e, scope);
        scope->offered = 0;
        break;
    case PB__EVENT_KIND__CLAIM_REJECTED:
        check_record(o, e, scope);
        break;
    default:
        break;
    }
}
