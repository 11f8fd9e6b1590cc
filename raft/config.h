/* config.h - who is in, who decides, and which configuration is in force at an index.
 *
 * A configuration takes effect when it is in the log, not when it is committed, and is taken back when its entry is truncated
 * (Raft paper, section 6): so the core keeps a short history of them. The oldest kept is the one in force at the
 * log's base. Pure values, no memory owned but the history's array. */
#ifndef RAFT_CONFIG_H
#define RAFT_CONFIG_H

#include "raft/types.h"

/* Other nodes that one node can know at once: two full sets of a joint configuration, learners among them. */
#define RAFT_PEERS_MAX (2 * RAFT_NODES_MAX)
#define CONFIGS_MAX    32

bool nodes_has(const struct raft_nodes *nodes, raft_id id);
bool nodes_equal(const struct raft_nodes *a, const struct raft_nodes *b);
/* Ascending, no zero, no repetition, not too many. */
bool nodes_valid(const struct raft_nodes *nodes);

/* Votes and counts, in either half. */
bool config_votes(const struct raft_config *c, raft_id id);
bool config_has(const struct raft_config *c, raft_id id);
bool config_joint(const struct raft_config *c);
/* Someone votes, sets are well formed, no learner is among the new voters, and everyone fits the core's tables. */
bool config_valid(const struct raft_config *c);

/* Everyone in it, ascending; returns how many. */
uint32_t config_members(const struct raft_config *c,
                        raft_id out[3 * RAFT_NODES_MAX]);

struct config_value {
    raft_id id;
    uint64_t value;
};

/* Largest v such that a majority of the voters has a value >= v, and of the old voters too while joint. A voter without a
 * value counts as 0. 0 if nobody votes. */
uint64_t config_quorum(const struct raft_config *c,
                       const struct config_value *values, uint32_t n);

/* The history, ascending by index; never empty after configs_reset(). */
struct configs {
    struct raft_config items[CONFIGS_MAX];
    uint32_t n;
};

void configs_reset(struct configs *h, const struct raft_config *base);
/* The entry at c->index carries it. A full history forgets its oldest. */
void configs_push(struct configs *h, const struct raft_config *c);
/* Takes back those at `from` and behind. True if there was one. */
bool configs_truncate(struct configs *h, raft_index from);
/* Forgets those that were replaced at or before `index`. */
void configs_compact(struct configs *h, raft_index index);
const struct raft_config *configs_latest(const struct configs *h);
/* In force at `index`; NULL if it's older than what's kept. */
const struct raft_config *configs_at(const struct configs *h, raft_index index);
void configs_check(const struct configs *h);

#endif
