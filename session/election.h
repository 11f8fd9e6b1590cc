/* election.h - who leads a scope: one piece of code for tabs on a device and devices in a group.
 *
 *             open, attach, update, close, detach            offer ---accept---> yielding ---yield---> grant(new epoch)
 *                          |                                   |                    |
 *                   score, eligibility                      lapse, decline,      lapse: grant all the same (the old epoch is fenced)
 *                          v                                 successor gone
 *     vacant --best eligible--> held --challenger > margin--> offer
 *
 * A candidate is a session that isn't an observer, isn't detached and isn't cooling down; a device is one if such a session leads it,
 * and its score is that session's. A holder that is detached, or cools down because of another scope, stays; until its
 * holder's grace is over. Order: not demoted first, then score, then the older session id (for devices: of the leader
 * tab). The backup is the best candidate that doesn't hold; a vacancy goes to it in the same entry. Moves that nobody needs (a better
 * challenger, rotation) respect minimum tenure, cooldown and the breaker, and go through offer, accept and yield; when only time
 * stands in the way, the scope is put into the due heap. A demoted holder is left at once, if there's one that isn't demoted.
 *
 * Invariants (registry_check): S1 one session per (scope, epoch); S2 epoch = index of the granting entry, so strictly rising; S9
 * holders and backups are live members; a group's holder_session is its holder device's holder_session. */
#ifndef SESSION_ELECTION_H
#define SESSION_ELECTION_H

#include "session/state.h"

/* The session joined, attached, detached, changed its capabilities or its observer flag: rescore it and settle its device's
 * scope and its group's. */
void election_session_changed(struct apply *a, slot session);

/* The session is about to be taken off its device (closed, expired): it's treated as no candidate any more; both scopes settle without
 * it, before the caller unlinks it. `state`: what it hands to its successor, may be empty. */
void election_session_leaving(struct apply *a, slot session, enum cause cause,
                              struct bytes state);

/* When several sessions go or are detached in one entry (SweepLease), the flags of all of them are set before the first of these calls:
 * a scope grants at most once in an entry (S1), so it mustn't grant to one that falls later in the same entry. */

/* A session's own deadlines, and the end of its patience: holder's grace, session's grace, cooldown, demotion, slowness (an rtt at or
 * above the policy's for too long). _schedule puts the earliest into the due heap (DUE_SESSION; the command for all of them is
 * EndGrace): call it when FLAG_DETACHED or FLAG_HOLDER_GRACE_OVER changed, and after loading rows. _due ends what's over of cooldown,
 * demotion and slowness, and settles; false if none was (then, unless a grace was over, the command is void). */
void election_session_schedule(struct registry *r, slot session);
bool election_session_due(struct apply *a, slot session);

/* The device (or group: device 0) is about to be removed, and is empty: its extra, state and due entry go. No event: what there was to
 * tell has been told by election_session_leaving(). */
void election_scope_drop(struct apply *a, struct scope_ref ref);

/* After all rows are loaded, for each scope: puts it into the due heap where its state says so. */
void election_scope_loaded(struct registry *r, struct scope_ref ref);

/* The policy of the namespace changed: its sessions are rescored in bounded parts that the leader proposes (Rescore), until
 * none is left under an older policy; scores are state, so a replica that loaded rows agrees with one that replayed. */
void election_policy_changed(struct apply *a, slot namespace_);
void election_rescore(struct apply *a, const Pb__Rescore *c);

/* Commands. Each fills out->reply.status, reason, id, epoch, detail. */
void election_handoff(struct apply *a, const Pb__Handoff *c);
void election_answer(struct apply *a, const Pb__AnswerOffer *c);
void election_yield(struct apply *a, const Pb__Yield *c);
void election_resign(struct apply *a, const Pb__Resign *c);
void election_demote(struct apply *a, const Pb__Demote *c);
void election_due(struct apply *a, const Pb__ScopeDue *c);
void election_record_claim(struct apply *a, const Pb__RecordClaim *c);

/* score.c */
/* Rounds to steps, so that small changes don't reach the log: battery 5 %, rtt and memory to powers of two, cores to powers of two. */
void score_quantise(struct capabilities *caps);
int32_t score_of(const struct policy *policy, const struct capabilities *caps);
/* Points of one capability: known or not, 0 if unknown (neutral: see score.c for why that isn't the lowest). */
int32_t score_part(const struct policy *policy, const struct capabilities *caps,
                   enum capability key);

/* policy.c */
void policy_default(struct policy *out);
/* Defaults filled in, ranges checked; INVALID with reason POLICY_FIELD and the field's number in *out_detail. */
MUST_USE enum baton_status policy_from_message(const Pb__Policy *message,
                                               struct policy *out,
                                               uint32_t *out_reason,
                                               int64_t *out_detail);
void policy_to_message(const struct policy *policy, struct arena *arena,
                       Pb__Policy *out);

/* Candidate order at one scope: the best eligible member that isn't `not_this`, 0 if none. The slow, plain way: a walk over all members; the
 * oracle in registry_check and the fallback when a holder or backup falls. */
slot election_best(const struct registry *r, struct scope_ref ref,
                   slot not_this);
enum role election_role(const struct registry *r, slot session);

/* Holder, backup and hand-off of the scope are what they must be (S1, S2, S9, the oracle above). O(members). */
void election_check_scope(const struct registry *r, struct scope_ref ref);

#endif
