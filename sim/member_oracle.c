/* R13: who is a member is decided by the log like everything else. Which configuration each node has to go by is worked out here from what
 * it gave its store, and not taken from its word. */
#include <stdlib.h>

#include "proto/codec.h"
#include "sim/oracle.h"
#include "sim/raft_seen.h"

void members_seen_fini(struct members_seen *o)
{
    free(o->committed);
    facts_fini(&o->known);
}

static struct sim_members decoded(struct sim_node *n, struct bytes data)
{
    struct arena *a = &n->world->raft->arena;
    arena_reset(a);
    const Pb__ConfigData *c = codec_decode_config(data, a);
    if (c == NULL) {
        sim_world_fail(n->world, SIM_UNSAFE, "R19",
                       "node %u stores a configuration that can't be decoded",
                       n->id);
        return (struct sim_members){.index = 0};
    }
    return sim_members_decoded(c);
}

/* --- in a node's log -------------------------------------------------------------------------------------------------------------- */

/* A leader proposes one when that before it is committed, and something of its own term is (Ongaro 2015): or the quorums of two that
 * are open at once needn't meet. */
static void check_proposal(struct sim_node *n, const struct sim_members *before,
                           const struct sim_members *next)
{
    const struct raft *raft = turn_raft(n->turn);
    raft_index commit = raft_commit(raft);
    if (before->index > commit) {
        sim_world_fail(n->world, SIM_UNSAFE, "R13",
                       "node %u proposes configuration %llu, but %llu isn't "
                       "committed yet",
                       n->id, (unsigned long long)next->index,
                       (unsigned long long)before->index);
    }
    if (raft_term_at(raft, commit) != raft_term_now(raft)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R13",
                       "node %u proposes configuration %llu before anything "
                       "of its term %llu is committed",
                       n->id, (unsigned long long)next->index,
                       (unsigned long long)raft_term_now(raft));
    }
    if (!sim_members_meet(before, next)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R13",
                       "node %u proposes configuration %llu, of which a "
                       "quorum has nobody of one of %llu",
                       n->id, (unsigned long long)next->index,
                       (unsigned long long)before->index);
    }
}

void members_seen_append(struct sim_node *n, const struct store_entry *e)
{
    struct shadow *s = &raft_seen_of(n)->log;
    struct sim_members m = decoded(n, e->data);
    m.index = e->index;
    m.term = e->term;
    (void)facts_first(&n->world->raft->members.known,
                      raft_seen_key(e->index, e->term), sim_members_pack(&m));
    if (n->turn != NULL && raft_role_now(turn_raft(n->turn)) == RAFT_LEADER) {
        check_proposal(n, &s->config, &m);
    }
    s->config = m;
}

/* The last one that a log has, or follows on. */
static struct sim_members last_in(const struct raft_oracle *o,
                                  const struct shadow *s)
{
    for (uint32_t i = s->n; i > 0; i--) {
        struct raft_pos at = {s->base + i, s->entries[i - 1].term};
        uint64_t packed = 0;
        if (facts_get(&o->members.known, raft_seen_key(at.index, at.term),
                      &packed)) {
            return sim_members_unpack(packed, at);
        }
    }
    return s->base_config;
}

void members_seen_truncate(struct sim_node *n, raft_index from)
{
    struct shadow *s = &raft_seen_of(n)->log;
    if (s->config.index >= from) {
        n->world->coverage.trunc_conf_entry++;
        s->config = last_in(n->world->raft, s);
    }
}

void members_seen_boot(struct sim_node *n, struct shadow *s,
                       const struct store_boot *boot)
{
    s->base_config = (struct sim_members){.index = 0};
    if (boot->checkpoint.index > 0) {
        s->base_config = decoded(n, boot->checkpoint_config);
        s->base_config.index = boot->checkpoint_config_index;
    }
    s->config = last_in(n->world->raft, s);
}

void members_seen_checkpoint(struct sim_node *n,
                             const struct store_checkpoint *c)
{
    struct node_seen *seen = raft_seen_of(n);
    seen->checkpoint = c->pos.index;
    seen->checkpoint_config = decoded(n, c->config);
    seen->checkpoint_config.index = c->config_index;
}

/* --- in force --------------------------------------------------------------------------------------------------------------------- */

static bool same(const struct sim_members *a, const struct sim_members *b)
{
    return a->index == b->index && a->voters == b->voters &&
           a->voters_old == b->voters_old && a->learners == b->learners;
}

/* What a node goes by is the last one in its log, committed or not, and goes when its entry goes. */
static void check_in_force(struct sim_node *n, const struct shadow *s)
{
    const struct raft *raft = turn_raft(n->turn);
    const struct sim_members now = sim_members_of(raft_config_now(raft));
    raft_index last = s->base + s->n;
    raft_term term = s->n > 0 ? s->entries[s->n - 1].term : s->base_term;
    if (raft_last(raft) != last || raft_term_at(raft, last) != term) {
        return; /* a snapshot is on its way to the disk */
    }
    if (!same(&now, &s->config)) {
        sim_world_fail(n->world, SIM_UNSAFE, "R13",
                       "node %u goes by configuration %llu (voters %x, old %x, "
                       "learners %x), but the last one in its log is %llu "
                       "(%x, %x, %x)",
                       n->id, (unsigned long long)now.index, now.voters,
                       now.voters_old, now.learners,
                       (unsigned long long)s->config.index, s->config.voters,
                       s->config.voters_old, s->config.learners);
    }
}

/* A checkpoint, one's own or another's, has the configuration that was in force at its index. */
static void check_checkpoint(struct sim_node *n, struct node_seen *seen)
{
    const struct members_seen *o = &n->world->raft->members;
    uint32_t i = o->committed_n;
    while (i > 0 && o->committed[i - 1].index > seen->checkpoint) {
        i--;
    }
    if (seen->checkpoint != 0 && i > 0 &&
        !same(&o->committed[i - 1], &seen->checkpoint_config)) {
        sim_world_fail(
            n->world, SIM_UNSAFE, "R13",
            "node %u has a checkpoint of %llu with configuration %llu, but "
            "%llu was in force there",
            n->id, (unsigned long long)seen->checkpoint,
            (unsigned long long)seen->checkpoint_config.index,
            (unsigned long long)o->committed[i - 1].index);
    }
    seen->checkpoint = 0;
}

void members_seen_turn(struct sim_node *n)
{
    struct node_seen *seen = raft_seen_of(n);
    check_in_force(n, &seen->log);
    check_checkpoint(n, seen);
    seen->config_before = seen->log.config;
}

/* --- committed -------------------------------------------------------------------------------------------------------------------- */

/* The last one before `n` that wasn't joint. */
static const struct sim_members *settled_before(const struct members_seen *o,
                                                uint32_t n)
{
    while (n > 1 && o->committed[n - 1].voters_old != 0) {
        n--;
    }
    return &o->committed[n - 1];
}

/* What came of it, now that it's committed and isn't joint. `by` led. */
static void count_change(struct sim_world *w, const struct sim_members *before,
                         const struct sim_members *now, raft_id by)
{
    struct sim_coverage *c = &w->coverage;
    const uint32_t came = sim_members_all(now) & ~sim_members_all(before);
    const uint32_t went = sim_members_all(before) & ~sim_members_all(now);
    c->learner_added += sim_members_n(now->learners & came);
    c->learner_promoted += sim_members_n(now->voters & before->learners);
    c->members_removed += sim_members_n(went);
    c->leader_removed += (before->voters & ~now->voters & 1u << by) != 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if ((came & 1u << id) != 0) {
            w->nodes[id].anew = w->nodes[id].forgot;
        }
    }
}

void members_seen_commit(struct sim_node *n, struct raft_pos at)
{
    struct members_seen *o = &n->world->raft->members;
    uint64_t packed = 0;
    if (!facts_get(&o->known, raft_seen_key(at.index, at.term), &packed)) {
        return;
    }
    if (o->committed_n == o->committed_capacity) {
        o->committed_capacity =
            o->committed_capacity == 0 ? 16 : 2 * o->committed_capacity;
        o->committed =
            realloc(o->committed, o->committed_capacity * sizeof *o->committed);
        ASSERT(o->committed != NULL);
    }
    const struct sim_members now = sim_members_unpack(packed, at);
    o->committed[o->committed_n++] = now;
    if (o->committed_n > 1 && now.voters_old == 0) {
        n->world->coverage.joint_left +=
            o->committed[o->committed_n - 2].voters_old != 0;
        count_change(n->world, settled_before(o, o->committed_n - 1), &now,
                     n->id);
    }
}

/* --- looking ---------------------------------------------------------------------------------------------------------------------- */

struct sim_members oracle_members(const struct sim_world *w)
{
    const struct members_seen *o = &w->raft->members;
    if (o->committed_n > 0) {
        return o->committed[o->committed_n - 1];
    }
    return (struct sim_members){.voters = (2u << w->options.nodes_n) - 2};
}

raft_index oracle_left(const struct sim_world *w, raft_id node)
{
    const struct members_seen *o = &w->raft->members;
    uint32_t i = o->committed_n;
    while (i > 0 && (sim_members_all(&o->committed[i - 1]) & 1u << node) == 0) {
        i--;
    }
    return i > 0 && i < o->committed_n ? o->committed[i].index : 0;
}

/* Voters that make `set` a quorum; 0: it is one. */
static uint32_t lacking(const struct sim_members *m, uint32_t set)
{
    uint32_t more = 0;
    for (raft_id id = 1; id <= SIM_NODES_MAX; id++) {
        const uint32_t one = 1u << id;
        if (!sim_members_quorum(m, set | more) &&
            (sim_members_voters(m) & one & ~set) != 0) {
            more |= one;
        }
    }
    return more;
}

/* Whoever of them comes to lead goes by what's committed, or by a later one that's in its log. */
uint32_t oracle_lacking(const struct sim_world *w, uint32_t set)
{
    const struct sim_members committed = oracle_members(w);
    uint32_t more = lacking(&committed, set);
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_members *m = &w->raft->nodes[id].log.config;
        if ((set & 1u << id) != 0 && m->index > committed.index) {
            more |= lacking(m, set | more);
        }
    }
    return more;
}

bool oracle_may_return(const struct sim_world *w, raft_id node)
{
    const struct sim_members committed = oracle_members(w);
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_members *m = &w->raft->nodes[id].log.config;
        if (m->index > committed.index &&
            (sim_members_all(m) & 1u << node) != 0) {
            return true;
        }
    }
    return false;
}

/* S16: what the operator was told of is committed. */
void oracle_changed(struct sim_world *w, raft_index index)
{
    const struct members_seen *o = &w->raft->members;
    for (uint32_t i = 0; i < o->committed_n; i++) {
        if (o->committed[i].index == index) {
            return;
        }
    }
    sim_world_fail(w, SIM_UNSAFE, "S16",
                   "configuration %llu was answered for, but isn't committed",
                   (unsigned long long)index);
}
