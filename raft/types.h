/* types.h - the scalars and small structs that the core, the store and the turn share. */
#ifndef RAFT_TYPES_H
#define RAFT_TYPES_H

#include "proto/base.h"

typedef uint64_t raft_index; /* of a log entry, from 1; 0: before the first */
typedef uint64_t raft_term;  /* from 1; 0: none yet */
typedef uint32_t raft_id;    /* of a node, from 1; 0: none */

/* Voters, voters of the configuration before and learners, each at most this many: seven voters and room to replace. */
#define RAFT_NODES_MAX 16

enum raft_kind {
    RAFT_NORMAL = 1, /* a Command */
    RAFT_NOOP =
        2, /* nothing: the first entry of a term, when the shell has nothing better to say */
    RAFT_CONFIG = 3, /* a ConfigData */
};

struct raft_pos {
    raft_index index;
    raft_term term;
};

/* A set of node ids, ascending, without repetition. */
struct raft_nodes {
    raft_id ids[RAFT_NODES_MAX];
    uint32_t n;
};

/* Who decides, at `index`. Joint while voters_old isn't empty: then a quorum of both is needed (Raft paper, section 6).
 * Learners get the log, and neither vote nor count. */
struct raft_config {
    raft_index index; /* of the entry that carries it */
    struct raft_nodes voters;
    struct raft_nodes voters_old;
    struct raft_nodes learners;
};

/* What the core knows of an entry: never its bytes. `config` only for RAFT_CONFIG, NULL otherwise; borrowed for the call. */
struct raft_entry {
    raft_term term;
    enum raft_kind kind;
    const struct raft_config *config;
};

#endif
