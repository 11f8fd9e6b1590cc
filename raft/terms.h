/* terms.h - the term of every entry in the log, as runs.
 *
 *      base (7^2)   runs: [8^2 ........][15^3 ..][19^5 .............] last
 *
 * A log of millions of entries has few terms, so index -> term is a ring of (first index, term), searched by halves. Bounded:
 * TERMS_MAX runs. When it is nearly full the node stops campaigning (each election could add a run) until the log is trimmed.
 *
 * Owns its memory. Invariants (terms_check): runs are contiguous, ascend in index and term, and cover base+1 .. last;
 * `base` is the entry before the first, whose term is still known. */
#ifndef RAFT_TERMS_H
#define RAFT_TERMS_H

#include "raft/types.h"

#define TERMS_MAX 4096

struct terms {
    struct raft_pos base;
    raft_index last;
    struct raft_pos runs[TERMS_MAX];
    uint32_t head;
    uint32_t n;
};

/* An empty log behind `base`; also what is left when a snapshot replaces everything. */
void terms_reset(struct terms *t, struct raft_pos base);

/* Adds n entries of one term, not below the last one's. False, and nothing done, if it needs a run and there is none left. */
bool terms_append(struct terms *t, uint32_t n, raft_term term);

/* Drops `from` and everything behind it; base.index < from. */
void terms_truncate(struct terms *t, raft_index from);

/* Forgets entries up to `index` (base.index .. last), whose term becomes the base's. */
void terms_compact(struct terms *t, raft_index index);

/* Forgets the oldest run but one entry's worth of base, to make room at boot. Returns the new base index. */
raft_index terms_drop_oldest(struct terms *t);

/* Term at `index`; 0 if it isn't in base.index .. last. */
raft_term terms_at(const struct terms *t, raft_index index);

struct raft_pos terms_last(const struct terms *t);

/* Index of the first entry of the run that `index` is in; `index` in base.index+1 .. last. */
raft_index terms_run_first(const struct terms *t, raft_index index);

/* Largest index <= `index` whose term is <= `term`; 0 if that would be before the base. For conflict hints. */
raft_index terms_find(const struct terms *t, raft_index index, raft_term term);

/* Runs that can still be added. */
uint32_t terms_room(const struct terms *t);

void terms_check(const struct terms *t);

#endif
