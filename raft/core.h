/* core.h - the inside of a node's core, shared by raft/'s files and by nobody else.
 *
 *   raft.c        init, the door for messages, roles, looking
 *   election.c    timeouts, pre-votes, votes, stickiness
 *   transfer.c    leadership transfer
 *   replicate.c   the leader's side: appends, acks, commit
 *   follow.c      the follower's side: entries, conflicts, heartbeats
 *   read.c        rounds, linearizable reads, the quorum lease
 *   member.c      configurations and the table of peers
 *   out.c         messages, notes, alarms
 *   terms, config, progress, durable: the parts, each with a header of its own
 *
 * Every function here runs inside one step. Those named on_* take a message whose type, sender and term were looked at. */
#ifndef RAFT_CORE_H
#define RAFT_CORE_H

#include "raft/config.h"
#include "raft/durable.h"
#include "raft/progress.h"
#include "raft/raft.h"
#include "raft/terms.h"

/* Send times of the latest rounds. A quorum's answer is never older: READ_ROUNDS_FLYING and heartbeats bound them. */
#define ROUNDS_MAX 128
/* Rounds for reads on the way at once: enough to fill the network's delay, few enough not to storm it. */
#define READ_ROUNDS_FLYING 4
/* Entries that may be proposed ahead of the commit. */
#define UNCOMMITTED_MAX 1048576
/* A node campaigns only while this many runs of terms are free. */
#define TERMS_ROOM_MIN 64

struct read_round {
    uint64_t round;
    uint64_t ticket;
    raft_index index;
};

struct transfer {
    raft_id to; /* 0: none runs */
    uint64_t deadline_ms;
    bool sent; /* TIMEOUT_NOW left */
    /* After one that was given up, TIMEOUT_NOW may still be on its way, and an election by it respects no lease: so the lease
     * stays void until `void_target` answers `void_round`, after which it obeys no earlier TIMEOUT_NOW. */
    raft_id void_target;
    uint64_t void_round;
};

struct raft {
    struct raft_options options;
    uint64_t rng;
    bool booted;
    bool muted;
    bool installing; /* a snapshot is on its way to our disk */

    raft_term term;
    raft_id vote;
    raft_id leader;
    /* who was seen to lead this term, also after we lost it: there is no second one */
    raft_id term_leader;
    enum raft_role role;
    uint64_t term_since_ms;

    struct terms terms;
    struct configs configs;
    struct durable durable;
    raft_index commit;
    raft_index applied;

    uint64_t election_ms; /* when we campaign, unless we hear a leader */
    uint64_t contact_ms;  /* last heard the leader, or a quorum */
    bool contacted;       /* since the start; else contact_ms is the start */
    /* no vote before this: a leader may count on it for its lease */
    uint64_t promised_ms;
    uint64_t campaign; /* number of the campaign, echoed in pre-votes */
    /* up to where a leader counts on us beyond our log */
    raft_index lost_noted;
    uint64_t heard_round;  /* highest round heard from this term's leader */
    raft_term stale_alarm; /* term that STALE_LEADER was last raised for */

    uint64_t heartbeat_ms; /* leader: when the next round is due */
    uint64_t round;
    uint64_t round_sent_ms[ROUNDS_MAX];
    uint64_t ticket;
    bool reads_open; /* someone holds `ticket`, and no round carries it yet */
    struct read_round reads[RAFT_READS_MAX];
    uint32_t reads_n;
    bool flush_pending; /* the last flush ran out of room */
    struct transfer transfer;

    struct progress peers[RAFT_PEERS_MAX];
    uint32_t peers_n;
};

/* --- out.c */
void raft_note(struct raft_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Room for one more message. A message for which there is none is lost, as the network may lose any. */
bool raft_out_room(const struct raft_out *out);
/* Sends `m` from us, in our term unless it names one; what it says of term and vote, and of the log up to `promise`, is
 * stored before it leaves. */
void raft_send(const struct raft *r, struct raft_out *out,
               struct raft_message m, raft_index promise);
void raft_raise(struct raft_out *out, enum raft_alarm alarm, raft_id node,
                struct raft_pos at);

/* --- raft.c */
/* Any role to follower; `term` not below ours; `leader` 0 if unknown. The vote is forgotten only with the term (bug 2). */
void raft_become_follower(struct raft *r, const struct raft_in *in,
                          struct raft_out *out, raft_term term, raft_id leader);
void raft_set_term(struct raft *r, const struct raft_in *in,
                   struct raft_out *out, raft_term term, raft_id vote);

/* --- election.c */
void raft_election_reset(struct raft *r, uint64_t now_ms);
void raft_election_timeout(struct raft *r, const struct raft_in *in,
                           struct raft_out *out);
/* A campaign that nobody may refuse for having heard a leader. */
void raft_campaign_forced(struct raft *r, const struct raft_in *in,
                          struct raft_out *out);
void raft_election_stored(struct raft *r, const struct raft_in *in,
                          struct raft_out *out);
void raft_on_vote(struct raft *r, const struct raft_in *in,
                  const struct raft_message *m, struct raft_out *out);
void raft_on_vote_reply(struct raft *r, const struct raft_in *in,
                        const struct raft_message *m, struct raft_out *out);
bool raft_disk_stalled(const struct raft *r, uint64_t now_ms);

/* --- transfer.c */
void raft_transfer_tick(struct raft *r, const struct raft_in *in,
                        struct raft_out *out);
void raft_transfer_flush(struct raft *r, const struct raft_in *in,
                         struct raft_out *out);
/* `leader` is known now: how our transfer, if one runs, came out. */
void raft_transfer_ended(struct raft *r, struct raft_out *out, raft_id leader);
void raft_on_timeout_now(struct raft *r, const struct raft_in *in,
                         const struct raft_message *m, struct raft_out *out);

/* --- replicate.c */
void raft_lead(struct raft *r, const struct raft_in *in, struct raft_out *out);
void raft_lead_tick(struct raft *r, const struct raft_in *in,
                    struct raft_out *out);
void raft_commit_advance(struct raft *r, const struct raft_in *in,
                         struct raft_out *out);
void raft_on_append_reply(struct raft *r, const struct raft_in *in,
                          const struct raft_message *m, struct raft_out *out);
void raft_on_snapshot_reply(struct raft *r, const struct raft_in *in,
                            const struct raft_message *m, struct raft_out *out);
/* Appends to our own log what the shell stores in this batch. */
void raft_append_own(struct raft *r, const struct raft_in *in, uint32_t n,
                     struct raft_out *out);

/* --- follow.c */
void raft_on_append(struct raft *r, const struct raft_in *in,
                    const struct raft_message *m, struct raft_out *out);
void raft_on_heartbeat(struct raft *r, const struct raft_in *in,
                       const struct raft_message *m, struct raft_out *out);

/* --- read.c */
void raft_round_start(struct raft *r, const struct raft_in *in,
                      struct raft_out *out);
void raft_reads_flush(struct raft *r, const struct raft_in *in,
                      struct raft_out *out);
void raft_reads_fail(struct raft *r, struct raft_out *out);
void raft_on_heartbeat_reply(struct raft *r, const struct raft_in *in,
                             const struct raft_message *m,
                             struct raft_out *out);

/* --- member.c */
struct progress *raft_peer(struct raft *r, raft_id id); /* NULL: not in it */
/* The table of peers follows the latest configuration. */
void raft_peers_sync(struct raft *r, uint64_t now_ms);
void raft_config_append(struct raft *r, const struct raft_config *config,
                        raft_index index);
bool raft_we_vote(const struct raft *r);
/* We vote, or did until a change that isn't known to be committed. */
bool raft_may_campaign(const struct raft *r);

enum raft_measure {
    RAFT_MEASURE_MATCH,
    RAFT_MEASURE_ROUND,
    RAFT_MEASURE_SENT_MS,
    RAFT_MEASURE_HEARD_MS,
    RAFT_MEASURE_GRANTED,
    RAFT_MEASURE_NOT_REJECTED,
};
/* What a quorum reaches, with `own` for ourselves. Quarantined nodes count as 0. */
uint64_t raft_quorum(const struct raft *r, enum raft_measure measure,
                     uint64_t own);

#endif
