/* commands.h - what the commands about leases, sessions and settings do. For apply.c, and for each other.
 *
 * Each fills the reply: apply.c has set it to OK at this revision. Fields of clients' commands are checked before
 * (check_fields); those of the leader's own aren't. */
#ifndef SESSION_COMMANDS_H
#define SESSION_COMMANDS_H

#include "session/state.h"

/* --- leases.c -------------------------------------------------------------------------------------------------------- */
void lease_open(struct apply *a, const Pb__OpenLease *c);
void lease_close(struct apply *a, const Pb__CloseLease *c);
void lease_expire(struct apply *a, const Pb__ExpireLease *c);
void lease_sweep(struct apply *a, const Pb__SweepLease *c);
void lease_touch(struct apply *a, const Pb__Touched *c);
/* It said something: the next proof of life counts from here, and an Expire that doesn't know of it is void. */
void lease_alive(struct apply *a, slot lease);
/* A session left it: if it has ended and that was the last, it goes with its window. */
void lease_left(struct apply *a, slot lease);

/* --- sessions.c ------------------------------------------------------------------------------------------------------ */
void session_open(struct apply *a, const Pb__OpenSession *c);
void session_update(struct apply *a, const Pb__UpdateSession *c);
void session_close(struct apply *a, const Pb__CloseSession *c);
void session_attach(struct apply *a, const Pb__AttachSession *c);
void session_end_grace(struct apply *a, const Pb__EndGrace *c);
/* Several at once, in the order given. They're all marked before the first of them goes: a scope grants once in an entry, so it must not
 * grant to one that's about to fall. Detaching counts from `since_ms`. */
void sessions_close(struct apply *a, const slot *sessions, uint32_t n,
                    enum cause cause);
void sessions_detach(struct apply *a, const slot *sessions, uint32_t n,
                     uint64_t since_ms, enum cause cause);

/* --- settings.c ------------------------------------------------------------------------------------------------------ */
void settings_term_start(struct apply *a, const Pb__TermStart *c);
void settings_node_seen(struct apply *a, const Pb__NodeSeen *c);
void settings_policy(struct apply *a, const Pb__SetPolicy *c);
void settings_limits(struct apply *a, const Pb__SetLimits *c);

/* --- window.c: exactly once ------------------------------------------------------------------------------------------ */
/* The reply kept for this sequence; NULL: none. */
const struct reply *window_find(const struct registry *r, slot lease,
                                uint64_t sequence);
/* Forgets replies below first_outstanding, and says if a reply to `sequence` can be kept: else WINDOW or LIMIT. */
MUST_USE enum baton_status window_admit(struct registry *r, slot lease,
                                        uint64_t sequence,
                                        uint64_t first_outstanding);
void window_keep(struct registry *r, slot lease, uint64_t sequence,
                 const struct reply *reply);
void window_drop(struct registry *r, slot lease);
/* From a row: a new block; 0 if it's there already. */
slot window_load(struct registry *r, slot lease, uint64_t block);

#endif
