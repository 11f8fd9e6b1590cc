/* message.h - what nodes say to each other, as the core sees it: no payloads, no addresses.
 *
 * The turn turns a PeerFrame (proto/baton/v1/peer.proto) into one of these and back; for APPEND it adds the bytes of
 * entries index+1 .. index+entries_n, for SNAPSHOT the rows.
 *
 *   VOTE            pre, force (a transfer: ignore stickiness), index/log_term: the candidate's last entry
 *                   round: number of the campaign, so that a late answer to an earlier pre-vote isn't taken for one to this
 *   VOTE_REPLY      pre, success; echoes round, and term (of the request for a pre-vote grant)
 *   APPEND          index/log_term: the entry before the first; entries_n; commit. quiet: without entries, to say that more is
 *                   committed; only a rejection is answered
 *   APPEND_REPLY    success: index = last entry known to match and stored. Else index = the rejected previous index,
 *                   hint_index/hint_term: where to go on (fast backtracking)
 *   HEARTBEAT       round: unique and rising in a term, one quorum confirmation each (ReadIndex, quorum lease); commit:
 *                   at most what the receiver is known to match
 *   HEARTBEAT_REPLY round echoed; index = last stored entry of the receiver (detects loss; says nothing of matching)
 *   TIMEOUT_NOW     leadership transfer: campaign at once, with force; round: the leader's latest, so that a late one is void
 *   SNAPSHOT        the shell's chunks; to the core only a sign of life of the leader
 *   SNAPSHOT_REPLY  index = the checkpoint that was installed, or lies behind the receiver's commit index (success: go on behind
 *                   it; no ack), or that the receiver gave up (not success)
 */
#ifndef RAFT_MESSAGE_H
#define RAFT_MESSAGE_H

#include "raft/types.h"

enum raft_message_type {
    RAFT_VOTE = 1,
    RAFT_VOTE_REPLY = 2,
    RAFT_APPEND = 3,
    RAFT_APPEND_REPLY = 4,
    RAFT_HEARTBEAT = 5,
    RAFT_HEARTBEAT_REPLY = 6,
    RAFT_TIMEOUT_NOW = 7,
    RAFT_SNAPSHOT = 8,
    RAFT_SNAPSHOT_REPLY = 9,
};

struct raft_message {
    enum raft_message_type type;
    raft_id from;
    raft_id to;
    raft_term term;
    raft_index index;
    raft_term log_term;
    raft_index commit;
    uint64_t round;
    raft_index hint_index;
    raft_term hint_term;
    uint32_t entries_n;
    /* incoming APPEND only; borrowed for the call */
    const struct raft_entry *entries;
    bool success;
    bool pre;
    bool force;
    bool quiet;
};

#endif
