/* raft_oracle.h - what must hold of any run of a cluster (reliability.md, 3.1), looked at from outside, over all of history.
 * raft_cluster.c calls these where something happens; what doesn't hold ends the process. */
#ifndef TESTS_SCRIPT_RAFT_ORACLE_H
#define TESTS_SCRIPT_RAFT_ORACLE_H

#include "tests/script/raft_cluster.h"

/* A message leaves: what it promises is on its sender's disk (R2, R3, R10). */
void oracle_send(struct cluster *c, const struct cluster_node *node,
                 const struct cluster_message *message);
/* An entry joins a log: index and term name one payload and one past, for ever (R5, R18). */
void oracle_append(struct cluster *c, const struct cluster_node *node,
                   raft_index index);
/* A node leads: the only one of its term, and with everything that was ever committed (R1, R6). */
void oracle_leader(struct cluster *c, const struct cluster_node *node);
/* An entry is applied: the same everywhere, and on a quorum's disks before anyone applied it (R7, R9). */
void oracle_apply(struct cluster *c, const struct cluster_node *node,
                  raft_index index);
/* A read is asked; reads are served: with all that was committed before (R14). */
void oracle_read(struct cluster *c, struct cluster_node *node, uint64_t ticket);
void oracle_reads(struct cluster *c, struct cluster_node *node,
                  const struct raft_out *out);
/* A valid lease: nobody leads a later term (R15). */
void oracle_lease(struct cluster *c, const struct cluster_node *node);

#endif
