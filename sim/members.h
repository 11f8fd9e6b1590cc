/* members.h - a configuration as sets of nodes, bit by number, so that what's said of quorums can be tried out: a set of nodes is a quorum
 * if it has a majority of the voters, and of the old voters too while joint. Written apart from raft/config.c, which it judges. */
#ifndef SIM_MEMBERS_H
#define SIM_MEMBERS_H

#include "proto/codec.h"
#include "raft/types.h"

struct sim_members {
    raft_index index; /* of its entry; 0: none yet */
    raft_term term;
    uint32_t voters;
    uint32_t voters_old; /* 0: it isn't joint */
    uint32_t learners;
};

struct sim_members sim_members_of(const struct raft_config *c);
struct sim_members sim_members_decoded(const Pb__ConfigData *c);
/* The three sets in one number, which is never 0; and back. */
uint64_t sim_members_pack(const struct sim_members *m);
struct sim_members sim_members_unpack(uint64_t packed, struct raft_pos at);

uint32_t sim_members_n(uint32_t set);
uint32_t sim_members_voters(const struct sim_members *m);
uint32_t sim_members_all(const struct sim_members *m);
bool sim_members_quorum(const struct sim_members *m, uint32_t set);
/* Each quorum of the one has a node in each quorum of the other. */
bool sim_members_meet(const struct sim_members *a, const struct sim_members *b);

#endif
