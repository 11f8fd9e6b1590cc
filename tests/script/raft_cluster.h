/* raft_cluster.h - several cores in one process, each with a disk that it can lose, on a network that tests steer.
 *
 *    step -> out -> log, open batch, messages --after == 0--> pool --deliver--> step
 *                        |              '--held until the batch is stored--'
 *                        '--> queue of batches --store--> disk; a crash loses the queue
 *
 * What the turn does with a core, this does with test entries (a number for a payload). It checks on the way what must hold
 * of any run: one leader a term, log matching, leader completeness, commits on a quorum's disks, one order of commands,
 * votes and acks that are on disk when they leave, reads that see what was committed before them, a lease that excludes
 * other leaders. Breaking one ends the process.
 *
 * Shared by tests/script/raft_script.c and tests/unit/raft_random_test.c. */
#ifndef TESTS_SCRIPT_RAFT_CLUSTER_H
#define TESTS_SCRIPT_RAFT_CLUSTER_H

#include <stdio.h>

#include "raft/raft.h"

#define CLUSTER_NODES_MAX  8
#define CLUSTER_POOL_MAX   4096
#define CLUSTER_BATCH_MAX  512
#define CLUSTER_HELD_MAX   1024
#define CLUSTER_TERMS_MAX  100000
#define CLUSTER_LOG_MAX    8192
#define CLUSTER_TICKET_MAX 8192

struct cluster_entry {
    raft_term term;
    enum raft_kind kind;
    uint64_t value;
    struct raft_config config;
};

struct cluster_log {
    struct raft_pos base;
    struct raft_config base_config;
    struct cluster_entry *items; /* base.index + 1 + i */
    uint32_t n;
};

struct cluster_message {
    struct raft_message m; /* entries unused */
    struct cluster_entry *entries;
    struct raft_pos snapshot; /* SNAPSHOT */
    struct raft_config config;
};

struct cluster_batch {
    uint64_t number;
    bool hard;
    raft_term term;
    raft_id vote;
    /* log from here on is replaced by entries; 0: untouched */
    raft_index first;
    struct cluster_entry *entries;
    uint32_t n;
};

struct cluster_held {
    struct cluster_message message;
    uint64_t after;
};

struct cluster_node {
    raft_id id;
    bool up;
    uint64_t now_ms;
    void *memory;
    struct raft *raft;
    struct raft_options options;

    struct cluster_log log;  /* as the core has it */
    struct cluster_log disk; /* as a restart finds it */
    raft_term disk_term;
    raft_id disk_vote;

    struct cluster_batch open;
    struct cluster_batch queue[CLUSTER_BATCH_MAX];
    uint32_t queue_n;
    uint64_t batch_stored;
    struct cluster_held held[CLUSTER_HELD_MAX];
    uint32_t held_n;

    raft_index applied;
    bool first_due; /* leads, and hasn't proposed the first entry of its term */
    raft_index ticket_needs[CLUSTER_TICKET_MAX]; /* committed when asked */
    uint64_t ticket_done;
    uint64_t ticket_last;
};

/* An entry that was once in some log: its payload, and the term of the one before it. */
#define CLUSTER_SEEN_MAX 8
struct cluster_seen {
    raft_term term;
    uint64_t value;
    raft_term past;
};

struct cluster {
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    uint32_t n;
    FILE *trace; /* notes and messages as text; NULL: none */
    bool cut[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1]; /* [from][to] */
    struct cluster_message pool[CLUSTER_POOL_MAX];
    uint32_t pool_n;
    uint64_t value; /* last payload given out */

    /* History, never forgotten by a crash. */
    raft_id term_leader[CLUSTER_TERMS_MAX];
    raft_id votes[CLUSTER_NODES_MAX + 1][CLUSTER_TERMS_MAX];
    struct cluster_entry committed[CLUSTER_LOG_MAX];
    raft_index committed_n; /* [1 .. n] */
    struct cluster_seen seen[CLUSTER_LOG_MAX][CLUSTER_SEEN_MAX];
    uint32_t alarms[4]; /* by enum raft_alarm */
    bool lies; /* the test forges history (alarms): don't check elections */
    bool leases_checked;
    uint64_t leases_seen;
    uint64_t reads_done;
    uint64_t reads_failed;
    uint64_t truncations;
    uint64_t snapshots;
};

/* A cluster of n nodes on zeroed memory; `config` at index 0 for all that are in it, none for the others. */
void cluster_init(struct cluster *c, uint32_t n,
                  const struct raft_options *options,
                  const struct raft_config *config);
void cluster_fini(struct cluster *c);

struct cluster_node *cluster_node(struct cluster *c, raft_id id);

/* Each runs one turn of a node: the step, what follows from it, flush, closing of the batch. */
void cluster_tick(struct cluster *c, raft_id id, uint64_t ms);
enum baton_status cluster_propose(struct cluster *c, raft_id id, uint32_t n);
enum baton_status cluster_read(struct cluster *c, raft_id id,
                               uint64_t *out_ticket);
enum baton_status cluster_transfer(struct cluster *c, raft_id id, raft_id to);
enum baton_status cluster_config(struct cluster *c, raft_id id,
                                 raft_index expected,
                                 const struct raft_config *target);
void cluster_peer_up(struct cluster *c, raft_id id, raft_id peer);
void cluster_step_down(struct cluster *c, raft_id id);

/* The oldest batch of a node reaches its disk. False: there is none. */
bool cluster_store(struct cluster *c, raft_id id);

/* Message number i of the pool: hands it to its receiver (or loses it if that is down), or forgets, or repeats it. */
void cluster_deliver(struct cluster *c, uint32_t i);
void cluster_drop(struct cluster *c, uint32_t i);
void cluster_repeat(struct cluster *c, uint32_t i);
/* Puts a forged message in the pool. */
void cluster_forge(struct cluster *c, const struct raft_message *m);

/* Loses what wasn't stored; the disk stays. */
void cluster_crash(struct cluster *c, raft_id id);
/* Boots from the disk. */
void cluster_restart(struct cluster *c, raft_id id);
/* Cuts a stopped node's disk back to `last`: amnesia. */
void cluster_forget(struct cluster *c, raft_id id, raft_index last);
/* Trims log and disk up to `index`, which must be applied and stored. */
void cluster_compact(struct cluster *c, raft_id id, raft_index index);

/* A node that leads the highest term; 0: nobody does. */
raft_id cluster_leader(const struct cluster *c);

#endif
