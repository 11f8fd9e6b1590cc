/* history.h - recent event batches, encoded, in memory: what watches catch up from before the disk is asked.
 *
 * A ring of bytes with an index over it, by revision; the oldest go when room is needed. Only revisions that had events are in it.
 * Owns its memory. Views stay valid until the next put. */
#ifndef NODE_HISTORY_H
#define NODE_HISTORY_H

#include "proto/base.h"

struct history;

/* NULL if there's no memory. */
struct history *history_new(size_t bytes_n);
void history_free(struct history *h);
/* Nothing before `from` is in here: the history begins at it (a boot, an install). */
void history_reset(struct history *h, uint64_t from);
/* revision > the last one put. A batch larger than the whole ring clears it. */
void history_put(struct history *h, uint64_t revision, struct bytes batch);
/* Every event at or after this revision is in here. */
uint64_t history_from(const struct history *h);
/* The first batch with revision >= from; false: none. */
bool history_get(const struct history *h, uint64_t from, uint64_t *out_revision,
                 struct bytes *out_batch);

#endif
