#include "tests/script/raft_log.h"

#include <stdlib.h>
#include <string.h>

void cluster_log_append(struct cluster_log *log, const struct cluster_entry *e)
{
    if (log->items == NULL) {
        log->items = calloc(CLUSTER_LOG_MAX, sizeof(*log->items));
        ASSERT(log->items != NULL);
    }
    ASSERT(log->n < CLUSTER_LOG_MAX);
    log->items[log->n] = *e;
    log->n++;
}

void cluster_log_truncate(struct cluster_log *log, raft_index from)
{
    ASSERT(from > log->base.index);
    log->n = (uint32_t)min_u64(log->n, from - log->base.index - 1);
}

void cluster_log_compact(struct cluster_log *log, struct raft_pos pos,
                         const struct raft_config *config)
{
    const uint64_t drop = min_u64(log->n, pos.index - log->base.index);
    if (log->n > drop) {
        memmove(log->items, log->items + drop,
                (log->n - drop) * sizeof(*log->items));
    }
    log->n -= (uint32_t)drop;
    log->base = pos;
    log->base_config = *config;
}

void cluster_log_copy(struct cluster_log *to, const struct cluster_log *from)
{
    to->n = 0;
    to->base = from->base;
    to->base_config = from->base_config;
    for (uint32_t i = 0; i < from->n; i++) {
        cluster_log_append(to, &from->items[i]);
    }
}

struct cluster_entry *cluster_log_slice(const struct cluster_log *log,
                                        raft_index first, uint32_t n)
{
    if (n == 0) {
        return NULL;
    }
    struct cluster_entry *copy = calloc(n, sizeof(*copy));
    ASSERT(copy != NULL);
    ASSERT(first > log->base.index);
    ASSERT(first - log->base.index - 1 + n <= log->n);
    memcpy(copy, log->items + (first - log->base.index - 1), n * sizeof(*copy));
    return copy;
}

struct raft_pos cluster_log_last(const struct cluster_log *log)
{
    return log->n == 0 ? log->base
                       : (struct raft_pos){.index = log->base.index + log->n,
                                           .term = log->items[log->n - 1].term};
}
