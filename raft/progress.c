#include "raft/progress.h"

void progress_reset(struct progress *p, raft_index last, uint64_t now_ms)
{
    p->vote = PROGRESS_VOTE_NONE;
    p->mode = PROGRESS_PROBE;
    p->match = 0;
    p->next = last + 1;
    p->snapshot = 0;
    p->probing = false;
    p->probe_ms = now_ms;
    p->wait_ms = now_ms;
    p->sent_commit = 0;
    p->heard_ms = now_ms;
    p->acked_round = 0;
    p->acked_sent_ms = 0;
    p->sample_round = 0;
    p->sample_match = 0;
    p->inflight_head = 0;
    p->inflight_n = 0;
}

void progress_sent(struct progress *p, uint32_t n, uint64_t now_ms)
{
    ASSERT(p->mode != PROGRESS_SNAPSHOT);
    if (p->mode == PROGRESS_PROBE) {
        ASSERT(!p->probing);
        p->probing = true;
        p->probe_ms = now_ms;
        return;
    }
    if (n == 0) {
        return;
    }
    ASSERT(p->inflight_n < PROGRESS_INFLIGHT_MAX);
    if (p->match + 1 == p->next) {
        p->wait_ms = now_ms;
    }
    p->next += n;
    p->inflight[(p->inflight_head + p->inflight_n) % PROGRESS_INFLIGHT_MAX] =
        p->next - 1;
    p->inflight_n++;
}

bool progress_ready(const struct progress *p, uint32_t inflight_max)
{
    ASSERT(inflight_max <= PROGRESS_INFLIGHT_MAX);
    switch (p->mode) {
    case PROGRESS_PROBE:
        return !p->probing;
    case PROGRESS_STREAM:
        return p->inflight_n < inflight_max;
    case PROGRESS_SNAPSHOT:
        return false;
    }
    return false;
}

static void window_clear(struct progress *p)
{
    p->inflight_head = 0;
    p->inflight_n = 0;
}

bool progress_ack(struct progress *p, raft_index index, uint64_t now_ms)
{
    const bool moved = index > p->match;
    if (moved) {
        p->match = index;
        p->wait_ms = now_ms;
    }
    while (p->inflight_n > 0 && p->inflight[p->inflight_head] <= index) {
        p->inflight_head = (p->inflight_head + 1) % PROGRESS_INFLIGHT_MAX;
        p->inflight_n--;
    }
    if (p->mode == PROGRESS_PROBE && index + 1 >= p->next) {
        /* The answer to the probe, or one that came later than what it says: either way the logs agree up to match. */
        p->mode = PROGRESS_STREAM;
        p->probing = false;
        p->wait_ms = now_ms;
        p->next = p->match + 1;
        window_clear(p);
    }
    if (p->mode == PROGRESS_SNAPSHOT) {
        p->snapshot = p->snapshot > p->match ? p->snapshot : p->match;
        p->next = p->snapshot + 1;
    }
    p->next = p->next > p->match ? p->next : p->match + 1;
    return moved;
}

bool progress_reject(struct progress *p, raft_index rejected, raft_index hint)
{
    if (p->mode == PROGRESS_SNAPSHOT || rejected <= p->match) {
        return false;
    }
    if (p->mode == PROGRESS_STREAM) {
        if (rejected >= p->next) {
            return false;
        }
        progress_probe(p);
        return true;
    }
    if (rejected + 1 != p->next) {
        return false;
    }
    ASSERT(rejected > 0);
    const raft_index down_to = rejected < hint + 1 ? rejected : hint + 1;
    p->next = down_to > p->match ? down_to : p->match + 1;
    p->probing = false;
    return true;
}

void progress_probe(struct progress *p)
{
    if (p->mode == PROGRESS_PROBE && p->match == 0) {
        /* We haven't found yet where it matches: keep the place, ask again. */
        p->probing = false;
        return;
    }
    p->mode = PROGRESS_PROBE;
    p->probing = false;
    p->next = p->match + 1;
    window_clear(p);
}

void progress_snapshot(struct progress *p, raft_index snapshot)
{
    ASSERT(snapshot >= p->match);
    p->mode = PROGRESS_SNAPSHOT;
    p->probing = false;
    p->snapshot = snapshot;
    p->next = snapshot + 1;
    window_clear(p);
}

void progress_snapshot_end(struct progress *p, raft_index index)
{
    p->mode = PROGRESS_PROBE;
    p->probing = false;
    p->snapshot = 0;
    p->next = (index > p->match ? index : p->match) + 1;
    window_clear(p);
}

void progress_check(const struct progress *p)
{
    ASSERT(p->match < p->next);
    ASSERT_IMPLIES(p->mode == PROGRESS_SNAPSHOT, p->next == p->snapshot + 1);
    ASSERT_IMPLIES(p->mode != PROGRESS_STREAM, p->inflight_n == 0);
    ASSERT_IMPLIES(p->probing, p->mode == PROGRESS_PROBE);
    raft_index before = p->match;
    for (uint32_t i = 0; i < p->inflight_n; i++) {
        const raft_index last =
            p->inflight[(p->inflight_head + i) % PROGRESS_INFLIGHT_MAX];
        ASSERT(last > before);
        ASSERT(last < p->next);
        before = last;
    }
}
