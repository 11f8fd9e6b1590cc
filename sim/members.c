#include "sim/members.h"

#include "sim/world.h"

#define SET_BITS 16u

static uint32_t set_of(const uint32_t *ids, size_t n)
{
    uint32_t set = 0;
    for (size_t i = 0; i < n; i++) {
        ASSERT(ids[i] >= 1 && ids[i] <= SIM_NODES_MAX);
        set |= 1u << ids[i];
    }
    return set;
}

struct sim_members sim_members_of(const struct raft_config *c)
{
    return (struct sim_members){
        .index = c->index,
        .voters = set_of(c->voters.ids, c->voters.n),
        .voters_old = set_of(c->voters_old.ids, c->voters_old.n),
        .learners = set_of(c->learners.ids, c->learners.n)};
}

struct sim_members sim_members_decoded(const Pb__ConfigData *c)
{
    return (struct sim_members){.voters = set_of(c->voters, c->n_voters),
                                .voters_old =
                                    set_of(c->voters_old, c->n_voters_old),
                                .learners = set_of(c->learners, c->n_learners)};
}

uint64_t sim_members_pack(const struct sim_members *m)
{
    return (uint64_t)m->voters | (uint64_t)m->voters_old << SET_BITS |
           (uint64_t)m->learners << 2 * SET_BITS | 1ull << 63;
}

struct sim_members sim_members_unpack(uint64_t packed, struct raft_pos at)
{
    const uint32_t mask = (1u << SET_BITS) - 1;
    return (struct sim_members){
        .index = at.index,
        .term = at.term,
        .voters = (uint32_t)packed & mask,
        .voters_old = (uint32_t)(packed >> SET_BITS) & mask,
        .learners = (uint32_t)(packed >> 2 * SET_BITS) & mask};
}

uint32_t sim_members_n(uint32_t set)
{
    return (uint32_t)__builtin_popcount(set);
}

uint32_t sim_members_voters(const struct sim_members *m)
{
    return m->voters | m->voters_old;
}

uint32_t sim_members_all(const struct sim_members *m)
{
    return m->voters | m->voters_old | m->learners;
}

bool sim_members_quorum(const struct sim_members *m, uint32_t set)
{
    return 2 * sim_members_n(m->voters & set) > sim_members_n(m->voters) &&
           (m->voters_old == 0 || 2 * sim_members_n(m->voters_old & set) >
                                      sim_members_n(m->voters_old));
}

bool sim_members_meet(const struct sim_members *a, const struct sim_members *b)
{
    const uint32_t all = sim_members_voters(a) | sim_members_voters(b);
    for (uint32_t set = 0; set < 2u << SIM_NODES_MAX; set += 2) {
        if ((set & ~all) == 0 && sim_members_quorum(a, set) &&
            sim_members_quorum(b, all & ~set)) {
            return false;
        }
    }
    return true;
}
