/* raft_seen.h - what the Raft oracle knows, shared by its files and by nobody else.
 *
 *    raft_oracle.c   logs, commits, what's applied: R3 .. R9, R11, R12, R17, S17, S20
 *    vote_oracle.c   who's elected, and what's sent: R1, R2, R3, R6, R10, R15, R19, L2
 *    member_oracle.c who is a member: R13
 *    log_oracle.c    what the log says, against what came of it: S8, S13 */
#ifndef SIM_RAFT_SEEN_H
#define SIM_RAFT_SEEN_H

#include "sim/log_oracle.h"
#include "sim/members.h"

struct entry_id {
    raft_term term;
    uint64_t chain;
    raft_term committed; /* the term in which it was; 0: of a log */
};

/* A node's log as it believes it to be: what it gave to its store. entries[i] is at base + 1 + i. */
struct shadow {
    raft_index base;
    raft_term base_term;
    struct sim_members base_config; /* in force at the base */
    struct sim_members config;      /* the last one in the log, or that */
    struct entry_id *entries;
    uint32_t n;
    uint32_t capacity;
};

/* Somebody began to lead a term; terms rise from one to the next. */
struct reign_began {
    raft_term term;
    uint64_t at_us;
};

struct node_seen {
    struct shadow log;
    raft_term term;
    raft_id vote; /* in that term; 0: none yet */
    raft_index commit;
    raft_index applied;
    raft_term led_term; /* checked as its leader */
    uint64_t led_us;    /* since when */
    uint64_t led_ms;    /* when it last led, by its own clock */
    bool prompt; /* nothing waits for its disk, so what it sends was said now */
    struct entry_id
        dropped; /* the first that was taken back in this turn; term 0: none was */
    raft_index match[SIM_NODES_MAX + 1]; /* as a leader, of match_term */
    raft_term match_term;
    struct sim_members config_before; /* in force when the turn began */
    raft_index
        promised; /* to the leader, when its disk went back; 0: it didn't */
    raft_term promised_term; /* that one's */
    uint64_t promised_us;    /* when it came back */
    uint64_t failed_us;      /* its disk has since; 0: it works */
    raft_index checkpoint;   /* made or installed in this turn; 0: none was */
    struct sim_members checkpoint_config;
};

/* All configurations that ever were. */
struct members_seen {
    struct facts known;            /* (index, term) -> sim_members_pack() */
    struct sim_members *committed; /* in order */
    uint32_t committed_n;
    uint32_t committed_capacity;
};

struct raft_oracle {
    struct node_seen nodes[SIM_NODES_MAX + 1];
    struct entry_id *committed; /* from index 1 */
    uint32_t committed_n;
    uint32_t committed_capacity;
    struct facts chains; /* (index, term) -> chain */
    struct facts votes;  /* (term, node) -> whom it voted for */
    struct facts
        forced; /* (term, node) that campaigned since its leader said so */
    struct facts leaders;
    struct facts hashes; /* state at a checkpoint, by index */
    struct facts events; /* hash of what happened, by revision */
    uint8_t *memory;
    struct arena arena;
    raft_id last_leader;
    struct reign_began *reigns;
    uint32_t reigns_n;
    uint32_t reigns_capacity;
    struct log_oracle log;
    struct members_seen members;
    uint32_t
        quiet_elections; /* since all was whole, and nothing was asked any more */
};

struct node_seen *raft_seen_of(const struct sim_node *n);
/* NULL: the log doesn't reach there, or not any more. */
const struct entry_id *raft_seen_entry(const struct shadow *s,
                                       raft_index index);

/* (index, term) or (term, node) as one key. */
static inline uint64_t raft_seen_key(uint64_t a, uint64_t b)
{
    ASSERT(a < 1ull << 40 && b < 1ull << 24);
    return a << 24 | b;
}

/* member_oracle.c: what a node gives its store, and how it begins. */
void members_seen_append(struct sim_node *n, const struct store_entry *e);
/* After the entries went. */
void members_seen_truncate(struct sim_node *n, raft_index from);
void members_seen_boot(struct sim_node *n, struct shadow *s,
                       const struct store_boot *boot);
void members_seen_checkpoint(struct sim_node *n,
                             const struct store_checkpoint *c);
void members_seen_turn(struct sim_node *n);
/* The entry there is committed, and nobody said so before. */
void members_seen_commit(struct sim_node *n, struct raft_pos at);
void members_seen_fini(struct members_seen *o);

/* vote_oracle.c: it leads that term. */
void raft_seen_leader(struct sim_node *n, struct node_seen *seen,
                      raft_term term);

#endif
