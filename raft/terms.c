#include "raft/terms.h"

static struct raft_pos run_at(const struct terms *t, uint32_t i)
{
    ASSERT(i < t->n);
    return t->runs[(t->head + i) % TERMS_MAX];
}

/* Number of the run that holds `index`, which must be in base.index+1 .. last. */
static uint32_t run_of(const struct terms *t, raft_index index)
{
    ASSERT(index > t->base.index);
    ASSERT(index <= t->last);
    uint32_t low = 0;
    uint32_t high = t->n;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (run_at(t, middle).index <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    ASSERT(run_at(t, low).index <= index);
    return low;
}

void terms_reset(struct terms *t, struct raft_pos base)
{
    t->base = base;
    t->last = base.index;
    t->head = 0;
    t->n = 0;
}

bool terms_append(struct terms *t, uint32_t n, raft_term term)
{
    ASSERT(n > 0);
    ASSERT(term > 0);
    ASSERT(term >= terms_last(t).term);
    if (t->n == 0 || run_at(t, t->n - 1).term != term) {
        if (t->n == TERMS_MAX) {
            return false;
        }
        t->runs[(t->head + t->n) % TERMS_MAX] =
            (struct raft_pos){.index = t->last + 1, .term = term};
        t->n++;
    }
    t->last += n;
    return true;
}

void terms_truncate(struct terms *t, raft_index from)
{
    ASSERT(from > t->base.index);
    ASSERT(from <= t->last);
    while (t->n > 0 && run_at(t, t->n - 1).index >= from) {
        t->n--;
    }
    t->last = from - 1;
}

void terms_compact(struct terms *t, raft_index index)
{
    ASSERT(index >= t->base.index);
    ASSERT(index <= t->last);
    if (index == t->base.index) {
        return;
    }
    const uint32_t run = run_of(t, index);
    const struct raft_pos base = {.index = index, .term = run_at(t, run).term};
    t->head = (t->head + run) % TERMS_MAX;
    t->n -= run;
    const raft_index run_end = t->n > 1 ? run_at(t, 1).index - 1 : t->last;
    if (run_end == index) {
        t->head = (t->head + 1) % TERMS_MAX;
        t->n--;
    } else {
        t->runs[t->head].index = index + 1;
    }
    t->base = base;
}

raft_index terms_drop_oldest(struct terms *t)
{
    ASSERT(t->n > 1);
    terms_compact(t, run_at(t, 1).index - 1);
    return t->base.index;
}

raft_term terms_at(const struct terms *t, raft_index index)
{
    if (index < t->base.index || index > t->last) {
        return 0;
    }
    if (index == t->base.index) {
        return t->base.term;
    }
    return run_at(t, run_of(t, index)).term;
}

struct raft_pos terms_last(const struct terms *t)
{
    if (t->n == 0) {
        return t->base;
    }
    return (struct raft_pos){.index = t->last,
                             .term = run_at(t, t->n - 1).term};
}

raft_index terms_run_first(const struct terms *t, raft_index index)
{
    return run_at(t, run_of(t, index)).index;
}

raft_index terms_find(const struct terms *t, raft_index index, raft_term term)
{
    raft_index at = min_u64(index, t->last);
    while (at > t->base.index) {
        const struct raft_pos run = run_at(t, run_of(t, at));
        if (run.term <= term) {
            return at;
        }
        at = run.index - 1;
    }
    return at == t->base.index && t->base.term <= term ? at : 0;
}

uint32_t terms_room(const struct terms *t)
{
    return TERMS_MAX - t->n;
}

void terms_check(const struct terms *t)
{
    ASSERT(t->n <= TERMS_MAX);
    ASSERT(t->head < TERMS_MAX);
    ASSERT(t->last >= t->base.index);
    ASSERT((t->n == 0) == (t->last == t->base.index));
    struct raft_pos before = t->base;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct raft_pos run = run_at(t, i);
        ASSERT(run.index > before.index);
        ASSERT_IMPLIES(i == 0, run.index == t->base.index + 1);
        ASSERT_IMPLIES(i == 0, run.term >= before.term);
        ASSERT_IMPLIES(i > 0, run.term > before.term);
        ASSERT(run.index <= t->last);
        before = run;
    }
}
