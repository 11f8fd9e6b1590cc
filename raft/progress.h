/* progress.h - what a node knows of another one: its log, while we lead; its vote, while we campaign.
 *
 *      PROBE --ack--> STREAM --reject, loss, reconnect--> PROBE
 *        '---- what it needs is gone from our log ----> SNAPSHOT --sent, installed, failed--> PROBE
 *
 * PROBE: one append on the way at most, until we know where its log matches. STREAM: `next` runs ahead of the acks, with at
 * most `inflight_max` messages on the way. SNAPSHOT: no appends, the shell sends rows.
 *
 * Owns no memory but itself. Only this module changes match, next, mode and the window. Invariants (progress_check): match <
 * next; in SNAPSHOT next == snapshot + 1; the window holds ascending indexes in match+1 .. next-1. */
#ifndef RAFT_PROGRESS_H
#define RAFT_PROGRESS_H

#include "raft/types.h"

#define PROGRESS_INFLIGHT_MAX 1024

enum progress_mode {
    PROGRESS_PROBE = 0,
    PROGRESS_STREAM = 1,
    PROGRESS_SNAPSHOT = 2,
};

enum progress_vote {
    PROGRESS_VOTE_NONE = 0,
    PROGRESS_VOTE_GRANTED = 1,
    PROGRESS_VOTE_REJECTED = 2,
};

struct progress {
    raft_id id;
    bool down;        /* its stream is: nothing but heartbeats is sent */
    bool quarantined; /* lost what it promised, or diverged: never counts */
    enum progress_vote vote;

    enum progress_mode mode;
    raft_index match;    /* stored there, and the same as ours */
    raft_index next;     /* first entry of the next append */
    raft_index snapshot; /* SNAPSHOT: what the rows reach at least */
    bool probing;        /* PROBE: one is on the way */
    /* when it left; SNAPSHOT: when the shell was asked last */
    uint64_t probe_ms;
    uint64_t wait_ms; /* since when an ack is overdue, while match + 1 < next */
    raft_index sent_commit; /* highest commit index told */
    uint64_t heard_ms;      /* last reply of our term */

    uint64_t acked_round;   /* highest heartbeat round it answered */
    uint64_t acked_sent_ms; /* when that round was sent */
    uint64_t sample_round;  /* a round on the way, 0 none, and ... */
    /* ... what was acked before it was sent: its answer can't show less */
    raft_index sample_match;

    uint32_t inflight_head;
    uint32_t inflight_n;
    raft_index inflight[PROGRESS_INFLIGHT_MAX]; /* last entry of each append */
};

/* Starts over, knowing nothing but where our log ends; keeps id, down, quarantined. */
void progress_reset(struct progress *p, raft_index last, uint64_t now_ms);

/* An append of entries next .. next+n-1 leaves (n == 0: it only probes or tells the commit index). */
void progress_sent(struct progress *p, uint32_t n, uint64_t now_ms);

/* True if an append may leave now. */
bool progress_ready(const struct progress *p, uint32_t inflight_max);

/* The follower stored everything up to `index`. Returns true if `match` moved, so that the caller recomputes the commit. */
bool progress_ack(struct progress *p, raft_index index, uint64_t now_ms);

/* It rejected the append behind `rejected`; our log and its hint say that they can't match behind `hint`. Returns false if
 * that's an old answer, reordered or repeated, which must not move anything (reliability.md, bug 10). */
bool progress_reject(struct progress *p, raft_index rejected, raft_index hint);

/* What's on the way may be lost: start again behind what is acked. */
void progress_probe(struct progress *p);

/* It needs entries up to `snapshot`, which we no longer have. */
void progress_snapshot(struct progress *p, raft_index snapshot);

/* Rows up to `index` reached it (or nothing did: index 0): the log goes on behind. */
void progress_snapshot_end(struct progress *p, raft_index index);

void progress_check(const struct progress *p);

#endif
