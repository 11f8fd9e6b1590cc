#include "sim/changes.h"

#include <stdlib.h>

#include "session/registry.h"
#include "sim/action.h"
#include "sim/operator.h"
#include "sim/oracle.h"

#define SPARES_MAX 3u
/* So often it is looked whether a node that is to be replaced is still heard, and after so long again. */
#define REPLACE_TRIES 50u
#define REPLACE_US    (100 * SIM_MS)

struct changes {
    struct sim_world *world;
    struct sim_random random;
    bool on;
    uint64_t mean_us;  /* between two */
    uint32_t cut_off;  /* permille of those whose leader is cut off */
    uint64_t apart_us; /* for about so long */
    bool replaces;     /* numbers are given to new nodes */
};

void changes_options(struct sim_options *o)
{
    struct sim_random r = sim_random_of(o->seed, SIM_FOR_MEMBERS, 0);
    o->changes = sim_chance(&r, 300) && !o->calm;
    if (o->changes) {
        const uint32_t most = SIM_NODES_MAX - o->nodes_n;
        o->spares_n = (uint32_t)sim_between(&r, o->nodes_n == 1,
                                            min_u64(most, SPARES_MAX));
    }
}

/* --- cutting off ------------------------------------------------------------------------------------------------------------------ */

static void later(struct changes *c, uint64_t us,
                  void (*happen)(void *arg, uint64_t a, uint64_t b), uint64_t a)
{
    sim_world_later(
        c->world, us,
        &(struct sim_event){.happen = happen, .arg = c, .a = a, .b = 0});
}

static void cut(struct changes *c, enum sim_verb verb, raft_id node)
{
    struct sim_world *w = c->world;
    for (raft_id other = 1; other <= w->nodes_n; other++) {
        if (other != node) {
            sim_act(w,
                    &(struct sim_action){.verb = verb, .a = node, .b = other});
            sim_act(w,
                    &(struct sim_action){.verb = verb, .a = other, .b = node});
        }
    }
}

static void mend(void *arg, uint64_t node, uint64_t b)
{
    struct changes *c = arg;
    (void)b;
    if (c->on) {
        cut(c, SIM_MEND, (raft_id)node);
    }
}

static void cut_off(void *arg, uint64_t node, uint64_t b)
{
    struct changes *c = arg;
    (void)b;
    if (c->on) {
        c->world->coverage.cuts++;
        cut(c, SIM_CUT, (raft_id)node);
        later(c, 10 * SIM_MS + sim_seldom(&c->random, c->apart_us), mend, node);
    }
}

/* --- one change ------------------------------------------------------------------------------------------------------------------- */

static void act(struct changes *c, enum sim_verb verb, raft_id node,
                raft_id via)
{
    sim_world_note(c->world, 0xFBu, verb, node);
    sim_act(c->world, &(struct sim_action){.verb = verb, .a = node, .b = via});
}

/* One of a set that isn't empty. */
static raft_id draw(struct changes *c, uint32_t set)
{
    uint64_t skip = sim_below(&c->random, sim_members_n(set));
    raft_id id = 1;
    for (;; id++) {
        if ((set & 1u << id) != 0 && skip-- == 0) {
            return id;
        }
    }
}

/* For nobody it's a member, nor may it come to be one by what's in a log. */
static bool is_out(const struct sim_world *w, raft_id node)
{
    const struct sim_members now = oracle_members(w);
    return (sim_members_all(&now) & 1u << node) == 0 &&
           !oracle_may_return(w, node);
}

/* No member remembers who had this number, not even in its checkpoint or its log, which others may begin with: it may be given to somebody
 * new. (Who does remember turns the newcomer away, and if that's the leader, never learns better: docs/operations.md.) */
static bool is_forgotten(const struct sim_world *w, raft_id node)
{
    const struct sim_members now = oracle_members(w);
    struct node_past past;
    struct sim_disk_counts disk;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        const struct sim_node *n = &w->nodes[id];
        if ((sim_members_all(&now) & 1u << id) == 0) {
            continue;
        }
        sim_disk_counts(n->disk, &disk);
        if (!n->up || disk.checkpoint <= oracle_left(w, node) + 1 ||
            disk.first <= oracle_left(w, node) + 1 ||
            registry_node(turn_registry(n->turn), node, &past)) {
            return false;
        }
    }
    return true;
}

/* Something of it may still be on its way to a node: that would be taken for the new one's word, which is then refused. */
static bool is_heard(const struct sim_world *w, raft_id node)
{
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if (w->nodes[id].peers[node].in != NULL) {
            return true;
        }
    }
    return false;
}

/* The machine is set up anew, once nothing of the old one is under way. */
static void replace(void *arg, uint64_t node, uint64_t tries)
{
    struct changes *c = arg;
    const raft_id id = (raft_id)node;
    if (!c->on || !is_out(c->world, id) || !is_forgotten(c->world, id)) {
        return;
    }
    act(c, SIM_CRASH, id, 0);
    if (!is_heard(c->world, id)) {
        act(c, SIM_WIPE, id, 0);
        act(c, SIM_ADD, id, 0);
    } else if (tries > 0) {
        sim_world_later(
            c->world, REPLACE_US,
            &(struct sim_event){
                .happen = replace, .arg = c, .a = node, .b = tries - 1});
    }
}

/* Who was removed comes back with its data; or, where the seed replaces nodes, somebody new comes under its number. */
static void add(struct changes *c, raft_id node, raft_id via)
{
    const struct sim_node *n = &c->world->nodes[node];
    if (n->ready && c->replaces) {
        replace(c, node, REPLACE_TRIES);
        return;
    }
    act(c, SIM_ADD, node, via);
}

static void change(struct changes *c, raft_id via)
{
    const struct sim_members now = oracle_members(c->world);
    const uint32_t in = sim_members_all(&now);
    const uint32_t out = ((2u << c->world->nodes_n) - 2) & ~in;
    const uint64_t drawn = sim_below(&c->random, 100);
    if (now.learners != 0 && drawn < 50) {
        act(c, SIM_PROMOTE, draw(c, now.learners), via);
    } else if (out != 0 && drawn < 80) {
        add(c, draw(c, out), via);
    } else if (sim_members_n(now.voters) > 1) {
        act(c, SIM_REMOVE, draw(c, in), via);
    }
}

void changes_one(struct changes *c)
{
    const struct sim_node *leader = sim_world_leader(c->world);
    change(c, leader == NULL ? 0 : leader->id);
}

/* --- one after the other ---------------------------------------------------------------------------------------------------------- */

/* Who was removed is stopped, sooner or later; until then it goes on, and bothers the others. */
static void stop_one(struct changes *c)
{
    struct sim_world *w = c->world;
    raft_id id = (raft_id)sim_between(&c->random, 1, w->nodes_n);
    if (w->nodes[id].up && is_out(w, id) && sim_chance(&c->random, 200)) {
        act(c, SIM_STOP, id, 0);
    }
}

static void next(void *arg, uint64_t a, uint64_t b)
{
    struct changes *c = arg;
    (void)a;
    (void)b;
    if (!c->on) {
        return;
    }
    const struct sim_node *leader = sim_world_leader(c->world);
    if (leader != NULL && sim_chance(&c->random, c->cut_off)) {
        later(c, sim_below(&c->random, 60 * SIM_MS), cut_off, leader->id);
        change(c, leader->id);
    } else {
        change(c, 0);
    }
    stop_one(c);
    later(c, 1 + sim_seldom(&c->random, c->mean_us), next, 0);
}

struct changes *changes_start(struct sim_world *w, bool on)
{
    struct changes *c = calloc(1, sizeof *c);
    ASSERT(c != NULL);
    c->world = w;
    c->random = sim_random_of(w->options.seed, SIM_FOR_MEMBERS, 1);
    c->mean_us = sim_magnitude(&c->random, 200 * SIM_MS, 8 * SIM_S);
    c->cut_off = sim_chance(&c->random, 500) && !w->options.calm ? 400 : 0;
    c->apart_us = sim_magnitude(&c->random, 50 * SIM_MS, 5 * SIM_S);
    c->replaces = sim_chance(&c->random, 500);
    c->on = on && w->options.changes;
    if (c->on) {
        later(c, sim_below(&c->random, 5 * SIM_S), next, 0);
    }
    return c;
}

void changes_stop(struct changes *c)
{
    c->on = false;
    sim_operator_stop(c->world->operator);
}

void changes_free(struct changes *c)
{
    free(c);
}
