#include "raft/durable.h"

#include <string.h>

void durable_append(struct durable *d, raft_index last, uint64_t batch,
                    uint64_t now_ms)
{
    ASSERT(batch > d->batch_stored);
    const uint32_t n = d->marks_n;
    ASSERT_IMPLIES(n > 0, batch >= d->marks[n - 1].batch);
    if (n > 0 && (d->marks[n - 1].batch == batch || n == DURABLE_MARKS_MAX)) {
        ASSERT(last >= d->marks[n - 1].index);
        d->marks[n - 1].index = last;
        d->marks[n - 1].batch = batch;
        return;
    }
    d->marks[n] =
        (struct durable_mark){.index = last, .batch = batch, .put_ms = now_ms};
    d->marks_n++;
}

void durable_truncate(struct durable *d, raft_index from)
{
    ASSERT(from > 0);
    d->stored = min_u64(d->stored, from - 1);
    for (uint32_t i = 0; i < d->marks_n; i++) {
        d->marks[i].index = min_u64(d->marks[i].index, from - 1);
    }
    /* Marks that promise nothing more go, so that what's left says how long the disk has been behind. */
    while (d->marks_n > 0 && d->marks[d->marks_n - 1].index <= d->stored) {
        d->marks_n--;
    }
}

void durable_snapshot(struct durable *d, raft_index index, bool kept)
{
    d->stored = max_u64(d->stored, index);
    if (!kept) {
        d->stored = index;
        d->marks_n = 0;
        return;
    }
    uint32_t drop = 0;
    while (drop < d->marks_n && d->marks[drop].index <= d->stored) {
        drop++;
    }
    memmove(&d->marks[0], &d->marks[drop],
            (d->marks_n - drop) * sizeof(d->marks[0]));
    d->marks_n -= drop;
}

void durable_hard(struct durable *d, uint64_t batch, bool term_new)
{
    ASSERT(batch > d->batch_stored);
    ASSERT(batch >= d->hard_batch);
    d->hard_batch = batch;
    if (term_new) {
        d->term_batch = batch;
    }
}

void durable_stored(struct durable *d, uint64_t batch)
{
    d->batch_stored = max_u64(d->batch_stored, batch);
    uint32_t drop = 0;
    while (drop < d->marks_n && d->marks[drop].batch <= d->batch_stored) {
        d->stored = max_u64(d->stored, d->marks[drop].index);
        drop++;
    }
    memmove(&d->marks[0], &d->marks[drop],
            (d->marks_n - drop) * sizeof(d->marks[0]));
    d->marks_n -= drop;
}

bool durable_hard_stored(const struct durable *d)
{
    return d->hard_batch <= d->batch_stored;
}

bool durable_term_stored(const struct durable *d)
{
    return d->term_batch <= d->batch_stored;
}

uint64_t durable_after(const struct durable *d, raft_index index)
{
    uint64_t after = durable_hard_stored(d) ? 0 : d->hard_batch;
    if (index <= d->stored) {
        return after;
    }
    for (uint32_t i = 0; i < d->marks_n; i++) {
        if (d->marks[i].index >= index) {
            return max_u64(after, d->marks[i].batch);
        }
    }
    /* Only what was put in a batch may be promised. */
    ASSERT(false);
    return after;
}

bool durable_oldest(const struct durable *d, uint64_t *out_ms)
{
    if (d->marks_n == 0) {
        return false;
    }
    *out_ms = d->marks[0].put_ms;
    return true;
}

void durable_check(const struct durable *d, raft_index last)
{
    ASSERT(d->term_batch <= d->hard_batch);
    ASSERT(d->stored <= last);
    ASSERT(d->marks_n <= DURABLE_MARKS_MAX);
    for (uint32_t i = 0; i < d->marks_n; i++) {
        ASSERT(d->marks[i].batch > d->batch_stored);
        ASSERT(d->marks[i].index <= last);
        ASSERT_IMPLIES(i > 0, d->marks[i].batch > d->marks[i - 1].batch);
        ASSERT_IMPLIES(i > 0, d->marks[i].index >= d->marks[i - 1].index);
    }
    ASSERT((d->marks_n == 0 ? d->stored : d->marks[d->marks_n - 1].index) ==
           last);
}
