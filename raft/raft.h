/* raft.h - the consensus core: a pure state machine of terms, votes and log positions.
 *
 *      raft_tick / raft_receive / raft_propose / raft_stored / ...
 *                 |
 *                 v        struct raft_out: what the shell must do, in this order
 *          +-------------+   1. add store work (hard state, truncation, appended range) to the batch of this turn
 *          | struct raft |   2. send what has after == 0 at once; hold the rest until the batch `after` is stored
 *          +-------------+   3. when the batch is stored: raft_stored(), then send what waited for it
 *                            4. apply entries up to raft_commit(), which only rises
 *
 * Holds no payloads: an entry is (index, term, kind) here, and the shell keeps the bytes. Owns its memory, given at
 * init; allocates nothing, so no step can fail. All time comes in as now_ms of one monotonic clock that never goes back;
 * all randomness from the seed in the options. Every step may be followed by raft_check().
 *
 * Durability before speech: votes, acks and the leader's own count wait for `stored`. The shell numbers its batches from
 * 1 upwards, one open batch at a time: raft is told the number of the batch that this step's store work goes into
 * (`batch` in struct raft_in) and marks what must wait with it. Batches are stored in order.
 *
 * Invariants checked by raft_check(): commit <= last; applied <= commit; match < next; terms of the log never fall;
 * a leader's last entry is of its term or it has none of it yet; at most one configuration is uncommitted, to the knowledge of
 * a leader that has committed in its term (on others several may look so, because their commit index lags). */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include "proto/status.h"
#include "raft/message.h"

enum raft_role {
    RAFT_FOLLOWER = 0,
    RAFT_PRECANDIDATE = 1,
    RAFT_CANDIDATE = 2,
    RAFT_LEADER = 3,
};

struct raft_options {
    raft_id id;
    /* timeouts are drawn from election_ms .. 2 * election_ms; 100 .. 60,000 */
    uint64_t election_ms;
    uint64_t heartbeat_ms; /* 10 .. election_ms / 3 */
    /* bound on how fast clocks of nodes may drift apart: shortens the quorum lease */
    uint32_t clock_drift_ppm;
    /* append messages on the way to one follower; 1 .. 1,024 */
    uint32_t inflight_max;
    /* entries in one append message; 1 .. 65,536 */
    uint32_t append_entries_max;
    /* a leader whose oldest append isn't stored for this long steps down; 0: 3 * election_ms */
    uint64_t stall_ms;
    uint64_t seed;
    bool prevote;      /* on, but in tests of what happens without */
    bool check_quorum; /* likewise */
};

/* What the disk says at start. */
struct raft_boot {
    raft_term term;
    raft_id vote;
    /* the entry before the first in the log; 0/0 for a fresh one */
    struct raft_pos snapshot;
    struct raft_config snapshot_config;
    raft_index last; /* of the log; == snapshot.index if it's empty */
    /* at least this much is known committed (the checkpoint's index) */
    raft_index commit;
    /* a restarted voter gives no vote for one election timeout (it may have promised a lease) */
    bool withhold;
};

/* Context of a step. `now_ms` is read after the message was taken from the inbox, never before: a follower's promise to its leader
 * is counted from it, and a process that was stopped in between would promise too little. */
struct raft_in {
    uint64_t now_ms;
    uint64_t batch; /* number of the open store batch, from 1, never falling */
};

#define RAFT_SENDS_MAX  256
#define RAFT_NOTES_MAX  32
#define RAFT_NOTE_BYTES 200
#define RAFT_READS_MAX  64

struct raft_send {
    struct raft_message message; /* entries == NULL: the shell adds the bytes */
    uint64_t after;              /* batch that must be stored first; 0: none */
};

/* Something impossible was seen: split brain among nodes, a log that lost what it acknowledged. For an alarm with evidence. */
enum raft_alarm {
    RAFT_ALARM_NONE = 0,
    RAFT_ALARM_TWO_LEADERS, /* two leaders in one term */
    RAFT_ALARM_ACK_REGRESSION, /* a follower's log ends before what it has acknowledged */
    RAFT_ALARM_STALE_LEADER, /* a deposed leader is still sending */
};

/* Filled by steps, emptied by the shell with raft_out_reset() once it has acted on it (after each step or after several:
 * steps append). One range of the log fits: between two steps that change the log (an APPEND with something new, proposals
 * behind it) it must be emptied. A message or note for which there is no room is lost, but appends wait for the next flush. */
struct raft_out {
    /* Store work of these steps. */
    /* term and vote must be stored, in the batch named at the time */
    bool hard_state;
    raft_term term;
    raft_id vote;
    /* 0: none; else drop this entry and all behind it, before appending */
    raft_index truncate_from;
    /* entries that the shell was given with the message or proposal: */
    raft_index append_first;
    /*   of an incoming APPEND, those from append_first on are new */
    uint32_t append_n;

    struct raft_send sends[RAFT_SENDS_MAX];
    uint32_t sends_n;

    /* Confirmed reads: every raft_read() ticket up to reads_ticket may be served once applied >= reads_index; those in
     * (.., reads_failed] that weren't confirmed won't be. */
    uint64_t reads_ticket;
    raft_index reads_index;
    uint64_t reads_failed;

    /* 0: none; else this follower needs rows, not log: start (or go on) sending a snapshot; said again each election timeout until raft_snapshot_sent() or its answer */
    raft_id snapshot_to;
    bool role_changed;
    /* raft_config_now() is another one: open or close peers */
    bool config_changed;
    /* a transfer ended: with a new leader, or given up (transfer_failed) */
    bool transfer_done;
    bool transfer_failed;

    /* the last one, with the node and the term that it's about; ACK_REGRESSION about ourselves: our disk lost what we acknowledged */
    enum raft_alarm alarm;
    raft_id alarm_node;
    raft_term alarm_term;
    raft_index alarm_index;

    char notes
        [RAFT_NOTES_MAX]
        [RAFT_NOTE_BYTES]; /* "2 grants vote to 1: log equal (7^3)"; NUL-terminated */
    uint32_t notes_n;
};

struct raft; /* size from raft_bytes(); see raft/core.h for its inside */

/* Bytes that a core needs, all at init. */
size_t raft_bytes(void);

/* Takes raft_bytes() of zeroed memory, aligned to 16, and makes a follower of it. The shell then gives the kinds, terms and
 * configurations of the log's entries snapshot.index+1 .. last, in order, with raft_boot_entry(), and calls raft_booted(). */
struct raft *raft_init(void *memory, const struct raft_options *options,
                       const struct raft_boot *boot);
void raft_boot_entry(struct raft *r, const struct raft_entry *entry);
void raft_booted(struct raft *r, uint64_t now_ms);

/* Time passes: elections, heartbeats, step-downs, deadlines of transfers. Call at least every heartbeat_ms / 2, or at
 * raft_deadline_ms(), which is 0 when a flush left appends behind for want of room. */
void raft_tick(struct raft *r, const struct raft_in *in, struct raft_out *out);
uint64_t raft_deadline_ms(const struct raft *r);

/* A peer said something. Messages from nodes outside the configuration are heard where the protocol needs it (votes of
 * a promoted learner) and never raise our term otherwise. */
void raft_receive(struct raft *r, const struct raft_in *in,
                  const struct raft_message *message, struct raft_out *out);

/* Appends n entries of our own term (kinds NORMAL or NOOP), whose bytes the shell holds. OK, and out_first is the index of
 * the first; NOT_LEADER; BUSY while a transfer runs or the log has no room. On becoming leader the core itself appends
 * nothing: when role_changed says so, the shell proposes its first entry (a TermStart command) at once. */
MUST_USE enum baton_status raft_propose(struct raft *r,
                                        const struct raft_in *in, uint32_t n,
                                        struct raft_out *out,
                                        raft_index *out_first);

/* Proposes the next configuration: the target voters and learners. If its voters differ, the core makes it joint and will
 * ask (raft_config_leave) for the entry that leaves. `expected` is the index of the configuration that the caller saw.
 * OK: *out_config is what the entry at *out_index must carry. CONFLICT: another index, or one is still uncommitted;
 * NOT_LEADER; BUSY before an entry of our own term is committed (Ongaro 2015). */
MUST_USE enum baton_status
raft_propose_config(struct raft *r, const struct raft_in *in,
                    raft_index expected, const struct raft_nodes *voters,
                    const struct raft_nodes *learners, struct raft_out *out,
                    struct raft_config *out_config, raft_index *out_index);

/* True when a joint configuration is committed and we lead: the shell calls raft_propose_leave() and stores what it gives. */
bool raft_config_leave(const struct raft *r);
MUST_USE enum baton_status raft_propose_leave(struct raft *r,
                                              const struct raft_in *in,
                                              struct raft_out *out,
                                              struct raft_config *out_config,
                                              raft_index *out_index);

/* A linearizable read wants in. OK and *out_ticket (rising; several reads of one turn share one); NOT_LEADER. It's served
 * when raft_out says so; the round starts at the next raft_flush(). Safe only after an entry of our term is committed:
 * before that it waits (Raft thesis 6.4). */
MUST_USE enum baton_status raft_read(struct raft *r, const struct raft_in *in,
                                     uint64_t *out_ticket);

/* True while a quorum is known to follow us until at least now + margin_ms: counted from the *send* time of the acked
 * round, shortened by the drift bound, void while a transfer runs and before our term's first commit. */
bool raft_lease_valid(const struct raft *r, uint64_t now_ms,
                      uint64_t margin_ms);

/* The end of a turn: one append per follower however many proposals came in, one heartbeat round for all reads. */
void raft_flush(struct raft *r, const struct raft_in *in, struct raft_out *out);

/* Everything in batches up to `batch` is on disk. `last`: the last entry stored by then. */
void raft_stored(struct raft *r, const struct raft_in *in, uint64_t batch,
                 struct raft_pos last, struct raft_out *out);

/* The shell applied up to here; <= commit. */
void raft_applied(struct raft *r, raft_index applied);

/* A peer's stream is up again (what was on its way may be lost), or down. */
void raft_peer_up(struct raft *r, const struct raft_in *in, raft_id node,
                  struct raft_out *out);
void raft_peer_down(struct raft *r, raft_id node);

/* A node that lost what it promised, or whose state diverged: the leader no longer counts it, and asks it for nothing. */
void raft_quarantine(struct raft *r, raft_id node, bool on);

/* Hands leadership over: waits until `to` (0: the best) has everything, sends TIMEOUT_NOW, gives up after election_ms.
 * NOT_LEADER; NOT_FOUND (no such voter, or it's us); BUSY (one is running). */
MUST_USE enum baton_status raft_transfer(struct raft *r,
                                         const struct raft_in *in, raft_id to,
                                         struct raft_out *out);

/* A node that finds its state wrong (diverged hash, amnesia) stops voting and campaigning for good. */
void raft_mute(struct raft *r);

/* Leave leadership without an election of our own (stopping, disk full). */
void raft_step_down(struct raft *r, const struct raft_in *in, const char *why,
                    struct raft_out *out);

/* The log was trimmed: entries up to `first` - 1 are gone from log and core. first - 1 <= applied. */
void raft_compacted(struct raft *r, raft_index first);

/* Leader: the snapshot up to `index` reached `node` (then go on with the log behind it), or failed. */
void raft_snapshot_sent(struct raft *r, const struct raft_in *in, raft_id node,
                        raft_index index, bool ok, struct raft_out *out);

/* Follower: the shell has queued the install of a checkpoint behind our commit index. Until raft_snapshot_installed() the core
 * takes no entries, commits nothing, and doesn't campaign: what it would append, the store would drop. */
void raft_snapshot_installing(struct raft *r);

/* Follower: rows of a checkpoint at `pos` were installed and stored; entries behind it are kept if ours at pos.index has
 * pos.term, dropped otherwise. False, and nothing done, unless pos.index > commit (R17): it is, if it was when
 * raft_snapshot_installing() was called. Then look at raft_config_now(). */
MUST_USE bool raft_snapshot_installed(struct raft *r, struct raft_pos pos,
                                      const struct raft_config *config);

/* Looking. */
enum raft_role raft_role_now(const struct raft *r);
raft_term raft_term_now(const struct raft *r);
/* The term is on disk: a message may name it (R3). Those of the core wait for that, and for the vote, by themselves. */
bool raft_term_stored(const struct raft *r);
raft_id raft_vote_now(const struct raft *r);
raft_id raft_leader(const struct raft *r); /* 0: unknown */
raft_index raft_commit(const struct raft *r);
raft_index raft_last(const struct raft *r);
raft_index
raft_first(const struct raft *r); /* of what's kept; last + 1 if empty */
raft_term raft_term_at(
    const struct raft *r,
    raft_index
        index); /* 0: not in the log (the snapshot's own index counts as in) */
bool raft_term_committed(
    const struct raft *r); /* we lead, and an entry of our term is committed */
const struct raft_config *raft_config_now(
    const struct raft *r); /* the latest in the log, as the rule is */
bool raft_config_committed(const struct raft *r);
const struct raft_config *raft_config_at(
    const struct raft *r,
    raft_index
        index); /* in force at `index`; for checkpoints; NULL if compacted */
uint64_t raft_last_contact_ms(
    const struct raft *
        r); /* when a follower last heard its leader, or a leader a quorum; the start, if it never did since */
bool raft_contacted(const struct raft *r); /* did it since the start? */
/* The oldest round that reads wait for; 0: none is on its way. */
uint64_t raft_read_waits(const struct raft *r);

struct raft_peer_view {
    raft_id id;
    raft_index match;
    raft_index next;
    uint64_t heard_ms;
    bool voter;
    bool learner;
    bool snapshot;
    bool quarantined;
};
/* Fills out[0 .. RAFT_NODES_MAX*2) with what a leader knows of the others; returns how many; 0 unless leader. */
uint32_t raft_peers(const struct raft *r, struct raft_peer_view *out);

void raft_out_reset(struct raft_out *out);

/* Asserts every invariant named above. Cheap: O(nodes + terms in the log). */
void raft_check(const struct raft *r);

const char *raft_role_name(enum raft_role role);

#endif
