/* durable.h - which of our promises are on disk: durability before speech.
 *
 *   stored ............ mark(15, batch 7) ....... mark(22, batch 9) == last
 *
 * Everything up to `stored` is on disk. Behind it, each mark says: the log up to `index` is on disk when `batch` is. The hard
 * state (term and vote) was last put in `hard_batch`, the term alone in `term_batch`: a vote may come later. Batches are
 * stored in order, so the later of two covers both.
 *
 * Bounded: when the marks run out, new work is merged into the last one, which then waits for the later batch. That
 * holds an ack back for longer, never for less. */
#ifndef RAFT_DURABLE_H
#define RAFT_DURABLE_H

#include "raft/types.h"

#define DURABLE_MARKS_MAX 64

struct durable_mark {
    raft_index index;
    uint64_t batch;
    uint64_t put_ms;
};

struct durable {
    uint64_t batch_stored;
    uint64_t hard_batch;
    uint64_t term_batch;
    raft_index stored;
    struct durable_mark marks[DURABLE_MARKS_MAX];
    uint32_t marks_n;
};

/* The log now reaches `last`, by work in `batch`. */
void durable_append(struct durable *d, raft_index last, uint64_t batch,
                    uint64_t now_ms);
/* The log now ends before `from`, in the core; what's there now will be written over. */
void durable_truncate(struct durable *d, raft_index from);
/* Rows replaced the log up to `index`; `kept` if entries behind it stay. */
void durable_snapshot(struct durable *d, raft_index index, bool kept);
/* Term and vote were put in `batch`; `term_new` if the term is another one than before. */
void durable_hard(struct durable *d, uint64_t batch, bool term_new);
void durable_stored(struct durable *d, uint64_t batch);

/* Term and vote are on disk. */
bool durable_hard_stored(const struct durable *d);
/* The term is, whatever became of the vote. */
bool durable_term_stored(const struct durable *d);
/* The batch that a message must wait for whose sender has term and vote stored, and the log up to `index`; 0: none. */
uint64_t durable_after(const struct durable *d, raft_index index);
/* When the oldest log entry that isn't stored yet was put; false if all are. */
bool durable_oldest(const struct durable *d, uint64_t *out_ms);

void durable_check(const struct durable *d, raft_index last);

#endif
