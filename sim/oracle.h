/* oracle.h - those who know everything, and look on: what the invariants of Raft and of sessions are checked by. Each check names the
 * invariant that it is (docs/simulation.md lists them) where it fails: grep for "R7". */
#ifndef SIM_ORACLE_H
#define SIM_ORACLE_H

#include "sim/client.h"
#include "sim/members.h"

/* --- raft_oracle.c: what every node does ------------------------------------------------------------------------------------ */

struct raft_oracle *raft_oracle_new(void);
void raft_oracle_free(struct raft_oracle *o);

void oracle_log(struct sim_node *n, int level, const char *line);
void oracle_node_started(struct sim_node *n, const struct store_boot *boot);
/* It's about to be taken down; its turn is still there. */
void oracle_node_down(struct sim_node *n);
/* It ended by itself. */
void oracle_node_ended(struct sim_node *n, const char *why);
void oracle_turn(struct sim_node *n);
void oracle_stored(struct sim_node *n);
void oracle_peer_send(struct sim_node *n, raft_id to, struct bytes body);
/* To a client. */
void oracle_client_send(struct sim_node *n, const struct sim_stream *s,
                        struct bytes body);
/* The highest index that is known to be committed, by anybody. */
raft_index oracle_committed(const struct sim_world *w);
/* Whose disk went back by a moment is known for it, where the leader that it acknowledged to is still there. False: it isn't. */
bool oracle_rolled_back(struct sim_world *w);
/* All that's up has applied the same, and everything: L5. False: not yet. */
bool oracle_converged(const struct sim_world *w);

/* --- member_oracle.c: who is a member ------------------------------------------------------------------------------------------ */

/* The configuration that was committed last, by anybody; before there's one, the founders'. */
struct sim_members oracle_members(const struct sim_world *w);
/* The index of the first committed configuration without that node, since it was last in one; 0: it never left. */
raft_index oracle_left(const struct sim_world *w, raft_id node);
/* Nodes without which those of `set` are no quorum of a configuration that may be in force among them; 0: they are. */
uint32_t oracle_lacking(const struct sim_world *w, uint32_t set);
/* There's a configuration in somebody's log that isn't committed yet, of which it is a member. */
bool oracle_may_return(const struct sim_world *w, raft_id node);
/* The operator was told that its change is this configuration. */
void oracle_changed(struct sim_world *w, raft_index index);

/* --- session_oracle.c: what leases, sessions, scopes and clients come to ------------------------------------------------------ */

struct session_oracle *session_oracle_new(struct sim_world *w);
void session_oracle_free(struct session_oracle *o);

/* A node kept what happened at this revision: the first to do so tells everybody, the others must say the same. */
void oracle_events(struct sim_node *n, raft_index revision, struct bytes batch);

void oracle_op_begin(struct sim_client *c, struct sim_op *op);
void oracle_op_end(struct sim_client *c, const struct sim_op *op,
                   const struct baton_reply *reply);
/* It won't be answered any more: its process is gone. */
void oracle_op_lost(struct sim_client *c, const struct sim_op *op);

void oracle_belief_begin(struct sim_client *c, struct sim_tab *tab, bool group,
                         uint64_t epoch);
void oracle_belief_end(struct sim_client *c, struct sim_tab *tab, bool group);
/* It is about to act as a leader, or may be: log_oracle.c. */
void oracle_right(struct sim_client *c);
/* It does what only a leader may, at a resource that checks epochs. */
void oracle_write(struct sim_client *c, const struct sim_tab *tab, bool group);

void oracle_watch_reset(struct sim_client *c);
void oracle_watch_synced(struct sim_client *c, uint64_t revision);
void oracle_watch_event(struct sim_client *c, const Pb__Event *e);

/* Whoever holds a scope, by the log, believes to; but for those who are down or paused. */
bool oracle_all_told(const struct sim_world *w);
/* --- lease_oracle.c, budget_oracle.c: what must be over in time, and what it may cost ------------------------------------------- */

/* A majority is whole, has a leader, and answers: leases that nobody renews for very long are gone. */
void oracle_churned(struct sim_world *w);
/* At the end: who is gone has left nothing behind. */
void oracle_leases_end(struct sim_world *w);
/* It leads since then, and has just had a turn. */
void oracle_leader_works(struct sim_node *n, uint64_t led_us);
/* It has just had a turn. */
void oracle_renewals(struct sim_client *c);
/* It sends a peer a frame. */
void oracle_frame(struct sim_node *n, raft_id to);
struct sim_idle {
    raft_term term;
    raft_index last;
    raft_index committed;
};
/* From then until then nobody asks for anything. */
void oracle_idle_begins(struct sim_world *w, struct sim_idle *out);
void oracle_idle_ends(struct sim_world *w, const struct sim_idle *before);

/* At the end: what became of calls whose clients weren't told. */
void oracle_end_unknown(struct sim_world *w);
/* At the end: what must have been told, was. */
void oracle_end(struct sim_world *w);
/* True milliseconds that two clients believed in one scope at once. */
uint64_t oracle_overlap_ms(const struct sim_world *w);
/* When a client last got an answer that a quorum stands behind. */
uint64_t oracle_answered_us(const struct sim_world *w);
/* The longest that there was none. */
uint64_t oracle_unavailable_ms(const struct sim_world *w);

#endif
