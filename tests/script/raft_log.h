/* raft_log.h - a log of test entries, in memory: of a node, and of its disk. Frees nothing but what cluster_fini() frees. */
#ifndef TESTS_SCRIPT_RAFT_LOG_H
#define TESTS_SCRIPT_RAFT_LOG_H

#include "tests/script/raft_cluster.h"

void cluster_log_append(struct cluster_log *log, const struct cluster_entry *e);
/* Drops `from` and what's behind. */
void cluster_log_truncate(struct cluster_log *log, raft_index from);
/* Drops everything up to pos. */
void cluster_log_compact(struct cluster_log *log, struct raft_pos pos,
                         const struct raft_config *config);
void cluster_log_copy(struct cluster_log *to, const struct cluster_log *from);
/* A copy of n entries from `first` on, the caller's to free; NULL for none. */
struct cluster_entry *cluster_log_slice(const struct cluster_log *log,
                                        raft_index first, uint32_t n);
struct raft_pos cluster_log_last(const struct cluster_log *log);

#endif
