/* settle.h - what the files of the elections share: members and their order, grants, and settling a scope.
 *
 *     members.c    who may lead, who comes first            (looks only)
 *     election.c   settle: vacancy, succession, backup, challenge; both levels
 *     handoff.c    offer, answer, yield, resign; the scope's deadlines
 *     demote.c     slowness, demotion, the deadlines of a session
 *
 * Who may lead is a matter of state alone: a cooldown or a demotion lasts until an entry ends it (EndGrace), not until a
 * moment. So the slow oracle and the incremental choice agree at every index, whatever the clock says. */
#ifndef SESSION_SETTLE_H
#define SESSION_SETTLE_H

#include "session/election.h"
#include "session/policy.h"

/* --- members.c ---------------------------------------------------------------------------------------------------------- */
slot member_first(const struct registry *r, struct scope_ref ref);
slot member_next(const struct registry *r, struct scope_ref ref, slot member);
/* May be chosen: a session that isn't an observer, leaving, detached or cooling down; a device that one of these leads. */
bool member_may_lead(const struct registry *r, struct scope_ref ref,
                     slot member);
/* May go on holding: a detached one may until its holder's grace is over, and a cooldown doesn't matter. */
bool member_may_stay(const struct registry *r, struct scope_ref ref,
                     slot member);
bool member_is_demoted(const struct registry *r, struct scope_ref ref,
                       slot member);
/* True if `x` comes before `y`, which are two different members that a session stands for. */
bool member_before(const struct registry *r, struct scope_ref ref, slot x,
                   slot y);
/* The challenger leads the holder by more than the margin. */
bool member_leads(const struct registry *r, struct scope_ref ref,
                  slot challenger, slot holder);
/* The next one that may lead, in the ring of session ids, after the holder; those that aren't demoted go first. 0: none. */
slot member_after_holder(const struct registry *r, struct scope_ref ref);
/* Who gets the baton if the holder loses it now: whom it is being offered to, else the backup, else the best; 0: nobody. */
slot member_successor(const struct registry *r, struct scope_ref ref);
/* When the baton may move although nobody fell, UINT64_MAX: never. The scope is held and has a backup. */
uint64_t scope_move_ms(const struct registry *r, struct scope_ref ref);
/* When the scope has something to do by itself, UINT64_MAX: never. */
uint64_t scope_due_ms(const struct registry *r, struct scope_ref ref);

/* --- election.c ----------------------------------------------------------------------------------------------------------- */
/* A grant, or a vacancy, and what brought it about. */
struct grant {
    slot to; /* member; not used by scope_vacate() */
    enum grant_reason reason;
    enum cause cause;
    struct bytes state; /* for the new holder; empty: none */
};
void scope_grant(struct apply *a, struct scope_ref ref, const struct grant *g);
void scope_vacate(struct apply *a, struct scope_ref ref, const struct grant *g);

/* What happened to one member of a scope. */
struct change {
    slot member;
    bool other_session;       /* a device: another session stands for it now */
    enum grant_reason reason; /* of a grant that this leads to */
    enum cause cause;
    struct bytes state;
};
void scope_settle(struct apply *a, struct scope_ref ref,
                  const struct change *c);
/* The session changed: settles its device's scope, and its group's if the device's leader is or was concerned. */
void session_settle(struct apply *a, slot session, const struct change *c);
/* The device's scope changed its holder: settles the group's. Nothing if `ref` is a group's. */
void group_follow(struct apply *a, struct scope_ref ref,
                  const struct change *c);
/* Puts the scope into the due heap where its state and policy say so. */
void scope_schedule(struct registry *r, struct scope_ref ref);
/* What only time stood in the way of, and the due heap: last step of whatever changed a scope. */
void scope_settled(struct apply *a, struct scope_ref ref);

/* --- handoff.c ------------------------------------------------------------------------------------------------------------ */
void handoff_offer(struct apply *a, struct scope_ref ref, slot to,
                   enum grant_reason reason);
/* The hand-off ends without a grant: the holder stays. */
void handoff_fail(struct apply *a, struct scope_ref ref, enum cause cause);
/* True while the one it's offered to could take over. */
bool handoff_is_sound(const struct registry *r, struct scope_ref ref);
/* Keeps `state` for whoever holds now (`state_epoch`; 0: for the next holder). Returns the bytes kept: 0 if there are none, they
 * don't fit the policy, or the cluster keeps too many. */
uint32_t handoff_keep_state(struct apply *a, struct scope_ref ref,
                            struct bytes state);
/* Back to idle, without a word. */
void handoff_clear(struct apply *a, struct scope_ref ref);

/* --- demote.c ------------------------------------------------------------------------------------------------------------- */
/* Follows the session's rtt: it may have become slow, or recovered. */
void demote_follow_rtt(struct apply *a, slot session);
void cooldown_start(struct apply *a, slot session);

static inline const struct policy *policy_of(const struct registry *r,
                                             slot group)
{
    return &group_namespace(r, group)->policy;
}

#endif
