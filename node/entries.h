/* entries.h - the bytes of recent log entries: what the core's positions stand for.
 *
 *     first ......................................... last
 *     [ applied, kept for slow peers ][ not applied yet ]
 *
 * A ring of records and a ring of bytes, both of fixed size. Appending makes room by forgetting the oldest *applied* entries; those that
 * aren't applied yet are never forgotten while the node runs, so entries_fits() bounds what is taken in. (At boot a log tail
 * longer than the ring leaves its beginning to the store: the turn reads it from there.)
 *
 * Owns its memory. Views stay valid until the next append. Invariant: last + 1 - first <= capacity; bytes of different
 * entries don't overlap. */
#ifndef NODE_ENTRIES_H
#define NODE_ENTRIES_H

#include "raft/store.h"

struct entries;

/* NULL if there's no memory. entries_n a power of two. */
struct entries *entries_new(uint32_t entries_n, size_t bytes_n);
void entries_free(struct entries *e);

/* The log begins anew behind `before`, whose chain hash is `chain`; everything held is forgotten. */
void entries_reset(struct entries *e, struct raft_pos before, uint64_t chain);

/* True if n more entries with these bytes in all can be held without forgetting any above `applied`. */
bool entries_fits(const struct entries *e, uint32_t n, size_t bytes_n,
                  raft_index applied);
/* Copies. index == last + 1. Forgets the oldest as it must. */
void entries_append(struct entries *e, const struct store_entry *entry);
/* Forgets from `from` on. */
void entries_truncate(struct entries *e, raft_index from);

/* False: not held. */
bool entries_get(const struct entries *e, raft_index index,
                 struct store_entry *out);
raft_index entries_first(const struct entries *e); /* last + 1 if empty */
raft_index entries_last(const struct entries *e);
/* Chain hash at `index`; false if it isn't known here. The position before the first counts, if it's known. */
bool entries_chain(const struct entries *e, raft_index index, uint64_t *out);
/* Stamp of the last entry: no later one may be earlier. */
uint64_t entries_time_ms(const struct entries *e);
/* After a boot or an install: the stamp that the next one may not go below. */
void entries_set_time(struct entries *e, uint64_t time_ms);

#endif
