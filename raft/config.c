#include "raft/config.h"

#include <string.h>

bool nodes_has(const struct raft_nodes *nodes, raft_id id)
{
    ASSERT(nodes->n <= RAFT_NODES_MAX);
    for (uint32_t i = 0; i < nodes->n; i++) {
        if (nodes->ids[i] == id) {
            return true;
        }
    }
    return false;
}

bool nodes_equal(const struct raft_nodes *a, const struct raft_nodes *b)
{
    if (a->n != b->n) {
        return false;
    }
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->ids[i] != b->ids[i]) {
            return false;
        }
    }
    return true;
}

bool nodes_valid(const struct raft_nodes *nodes)
{
    if (nodes->n > RAFT_NODES_MAX) {
        return false;
    }
    raft_id before = 0;
    for (uint32_t i = 0; i < nodes->n; i++) {
        if (nodes->ids[i] <= before) {
            return false;
        }
        before = nodes->ids[i];
    }
    return true;
}

bool config_votes(const struct raft_config *c, raft_id id)
{
    return nodes_has(&c->voters, id) || nodes_has(&c->voters_old, id);
}

bool config_has(const struct raft_config *c, raft_id id)
{
    return config_votes(c, id) || nodes_has(&c->learners, id);
}

bool config_joint(const struct raft_config *c)
{
    return c->voters_old.n > 0;
}

bool config_valid(const struct raft_config *c)
{
    if (!nodes_valid(&c->voters) || !nodes_valid(&c->voters_old) ||
        !nodes_valid(&c->learners) || c->voters.n == 0) {
        return false;
    }
    for (uint32_t i = 0; i < c->learners.n; i++) {
        if (nodes_has(&c->voters, c->learners.ids[i])) {
            return false;
        }
    }
    raft_id members[3 * RAFT_NODES_MAX];
    return config_members(c, members) <= RAFT_PEERS_MAX;
}

static uint32_t add_member(raft_id *ids, uint32_t n, raft_id id)
{
    uint32_t at = n;
    while (at > 0 && ids[at - 1] > id) {
        at--;
    }
    if (at > 0 && ids[at - 1] == id) {
        return n;
    }
    memmove(&ids[at + 1], &ids[at], (n - at) * sizeof(ids[0]));
    ids[at] = id;
    return n + 1;
}

uint32_t config_members(const struct raft_config *c,
                        raft_id out[3 * RAFT_NODES_MAX])
{
    const struct raft_nodes *sets[] = {&c->voters, &c->voters_old,
                                       &c->learners};
    uint32_t n = 0;
    for (size_t s = 0; s < countof(sets); s++) {
        ASSERT(sets[s]->n <= RAFT_NODES_MAX);
        for (uint32_t i = 0; i < sets[s]->n; i++) {
            n = add_member(out, n, sets[s]->ids[i]);
        }
    }
    ASSERT(n <= 3 * RAFT_NODES_MAX);
    return n;
}

static uint64_t value_of(const struct config_value *values, uint32_t n,
                         raft_id id)
{
    for (uint32_t i = 0; i < n; i++) {
        if (values[i].id == id) {
            return values[i].value;
        }
    }
    return 0;
}

/* Sort descending; what stands at place n/2 is held by n/2+1 nodes. */
static uint64_t majority_value(const struct raft_nodes *voters,
                               const struct config_value *values, uint32_t n)
{
    uint64_t sorted[RAFT_NODES_MAX];
    ASSERT(voters->n > 0);
    ASSERT(voters->n <= RAFT_NODES_MAX);
    for (uint32_t i = 0; i < voters->n; i++) {
        const uint64_t value = value_of(values, n, voters->ids[i]);
        uint32_t at = i;
        while (at > 0 && sorted[at - 1] < value) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = value;
    }
    return sorted[voters->n / 2];
}

uint64_t config_quorum(const struct raft_config *c,
                       const struct config_value *values, uint32_t n)
{
    if (c->voters.n == 0) {
        return 0;
    }
    const uint64_t value = majority_value(&c->voters, values, n);
    if (!config_joint(c)) {
        return value;
    }
    return min_u64(value, majority_value(&c->voters_old, values, n));
}

void configs_reset(struct configs *h, const struct raft_config *base)
{
    h->items[0] = *base;
    h->n = 1;
}

void configs_push(struct configs *h, const struct raft_config *c)
{
    ASSERT(h->n > 0);
    ASSERT(c->index > configs_latest(h)->index);
    if (h->n == CONFIGS_MAX) {
        /* At most one of them can still be truncated, so the oldest only served checkpoints far behind the log. */
        memmove(&h->items[0], &h->items[1],
                (CONFIGS_MAX - 1) * sizeof(h->items[0]));
        h->n--;
    }
    h->items[h->n] = *c;
    h->n++;
}

bool configs_truncate(struct configs *h, raft_index from)
{
    const uint32_t before = h->n;
    while (h->n > 1 && h->items[h->n - 1].index >= from) {
        h->n--;
    }
    ASSERT(h->items[h->n - 1].index < from);
    return h->n != before;
}

void configs_compact(struct configs *h, raft_index index)
{
    uint32_t drop = 0;
    while (drop + 1 < h->n && h->items[drop + 1].index <= index) {
        drop++;
    }
    memmove(&h->items[0], &h->items[drop], (h->n - drop) * sizeof(h->items[0]));
    h->n -= drop;
    ASSERT(h->n > 0);
}

const struct raft_config *configs_latest(const struct configs *h)
{
    ASSERT(h->n > 0);
    return &h->items[h->n - 1];
}

const struct raft_config *configs_at(const struct configs *h, raft_index index)
{
    for (uint32_t i = h->n; i > 0; i--) {
        if (h->items[i - 1].index <= index) {
            return &h->items[i - 1];
        }
    }
    return NULL;
}

void configs_check(const struct configs *h)
{
    ASSERT(h->n > 0);
    ASSERT(h->n <= CONFIGS_MAX);
    for (uint32_t i = 1; i < h->n; i++) {
        ASSERT(h->items[i].index > h->items[i - 1].index);
        ASSERT(config_valid(&h->items[i]));
    }
}
