#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/oracle.h"
#include "sim/program.h"
#include "sim/scenario.h"

#define LOOK_US (20 * SIM_MS)

/* What takes a step back. */
struct undo {
    struct undo *next;
    struct telling *telling;
    bool load; /* it's the load that goes on */
    uint32_t n;
    struct sim_action at[2 * SIM_NODES_MAX * SIM_NODES_MAX + 64];
};

struct telling {
    struct sim_world *world;
    const struct scenario *scenario;
    struct sim_random random;
    uint32_t named[SCENARIO_NAMES_MAX]; /* hosts; 0: nobody yet */
    struct undo *undos;                 /* all that there are, to be freed */
    struct undo never;                  /* of steps that stay */
};

/* A step that is being watched. */
struct hope {
    uint64_t since_us;
    uint64_t changes; /* of leaders, by then */
};

/* --- who is meant ----------------------------------------------------------------------------------------------------------- */

static uint32_t follower(struct sim_world *w, uint32_t index)
{
    const struct sim_node *leader = sim_world_leader(w);
    const struct sim_members now = oracle_members(w);
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if ((leader != NULL && leader->id == id) ||
            (sim_members_voters(&now) & 1u << id) == 0) {
            continue;
        }
        if (index == 0) {
            return id;
        }
        index--;
    }
    return 0;
}

/* Hosts, of which there's one but for "nodes" and "clients"; 0: nobody. */
static uint32_t resolve(struct telling *t, const struct target *target,
                        uint32_t out[SIM_CLIENTS_MAX])
{
    struct sim_world *w = t->world;
    const struct sim_node *leader = sim_world_leader(w);
    uint32_t n = 1;
    switch (target->kind) {
    case TARGET_HOST:
        out[0] = target->index;
        break;
    case TARGET_LEADER:
        out[0] = leader == NULL ? 0 : leader->id;
        break;
    case TARGET_FOLLOWER:
        out[0] = follower(w, target->index);
        break;
    case TARGET_RANDOM:
        out[0] = (uint32_t)sim_between(&t->random, 1, w->nodes_n);
        break;
    case TARGET_NAME:
        out[0] = t->named[target->index];
        break;
    case TARGET_NODES:
        for (n = 0; n < w->nodes_n; n++) {
            out[n] = n + 1;
        }
        return n;
    case TARGET_CLIENTS:
        for (n = 0; n < w->clients_n; n++) {
            out[n] = SIM_HOST_OF_CLIENT(n);
        }
        return n;
    }
    return out[0] == 0 ? 0 : n;
}

/* --- doing, and how it's undone ------------------------------------------------------------------------------------------------ */

static void act(struct telling *t, enum sim_verb verb, uint32_t a, uint32_t b,
                int64_t v)
{
    const struct sim_action x = {.verb = verb, .a = a, .b = b, .v = v};
    sim_world_note(t->world, 0xACu + (uint64_t)verb, a, b);
    sim_act(t->world, &x);
}

static void later_undone(struct undo *u, enum sim_verb verb, uint32_t a,
                         uint32_t b)
{
    ASSERT(u->n < countof(u->at));
    u->at[u->n++] = (struct sim_action){.verb = verb, .a = a, .b = b};
}

static void cut(struct telling *t, struct undo *u, uint32_t a, uint32_t b)
{
    if (a != b && !sim_net_is_cut(t->world->net, a, b)) {
        act(t, SIM_CUT, a, b, 0);
        later_undone(u, SIM_MEND, a, b);
    }
}

static void cut_both(struct telling *t, struct undo *u, uint32_t a, uint32_t b)
{
    cut(t, u, a, b);
    cut(t, u, b, a);
}

/* Only links for which `stays` is true are left between nodes. */
static void leave(struct telling *t, struct undo *u, const struct step *s,
                  bool (*stays)(const struct telling *t, const struct step *s,
                                uint32_t center, raft_id a, raft_id b),
                  uint32_t center)
{
    for (raft_id a = 1; a <= t->world->nodes_n; a++) {
        for (raft_id b = a + 1; b <= t->world->nodes_n; b++) {
            if (!stays(t, s, center, a, b)) {
                cut_both(t, u, a, b);
            }
        }
    }
}

static bool same_side(const struct telling *t, const struct step *s,
                      uint32_t center, raft_id a, raft_id b)
{
    (void)t;
    return (s->sides >> a & 1) == (s->sides >> b & 1) || a == center ||
           b == center;
}

static bool neighbours(const struct telling *t, const struct step *s,
                       uint32_t center, raft_id a, raft_id b)
{
    (void)center;
    return b == a + 1 ||
           (s->verb == STEP_RING && a == 1 && b == t->world->nodes_n);
}

static bool spoke(const struct telling *t, const struct step *s,
                  uint32_t center, raft_id a, raft_id b)
{
    (void)t;
    (void)s;
    return a == center || b == center;
}

/* Links are stopped one by one, and come back in another order (Antithesis and FoundationDB call it that). */
static void swizzle(struct telling *t, struct undo *u)
{
    for (raft_id a = 1; a <= t->world->nodes_n; a++) {
        raft_id b = (raft_id)sim_between(&t->random, 1, t->world->nodes_n);
        if (a != b) {
            act(t, SIM_CLOG, a, b,
                (int64_t)sim_between(&t->random, SIM_S / 10, 2 * SIM_S));
            later_undone(u, SIM_CLOG, a, b);
        }
    }
}

static void on_disk(struct telling *t, struct undo *u, const struct step *s,
                    uint32_t host)
{
    act(t, s->act, host, 0, s->v);
    later_undone(u, SIM_DISK_OK, host, 0);
    if (s->act == SIM_EIO || s->act == SIM_FULL) {
        later_undone(u, SIM_START, host, 0);
    }
}

static void on_links(struct telling *t, struct undo *u, const struct step *s,
                     uint32_t a, uint32_t b)
{
    for (int way = 0; way < (s->both ? 2 : 1); way++) {
        uint32_t from = way == 0 ? a : b;
        uint32_t to = way == 0 ? b : a;
        if (from == to) {
            continue;
        }
        if (s->verb == STEP_CUT) {
            cut(t, u, from, to);
        } else if (s->verb == STEP_MEND) {
            act(t, SIM_MEND, from, to, 0);
        } else {
            act(t, SIM_CLOG, from, to, s->v);
            later_undone(u, SIM_CLOG, from, to);
        }
    }
}

static void on_all_links(struct telling *t, struct undo *u, uint32_t host,
                         bool out, bool in)
{
    for (raft_id other = 1; other <= t->world->nodes_n; other++) {
        if (out) {
            cut(t, u, host, other);
        }
        if (in) {
            cut(t, u, other, host);
        }
    }
}

static void on_host(struct telling *t, struct undo *u, const struct step *s,
                    uint32_t host)
{
    switch (s->verb) {
    case STEP_CRASH:
        act(t, s->power ? SIM_POWER : SIM_CRASH, host, 0, 0);
        later_undone(u, SIM_START, host, 0);
        break;
    case STEP_STOP:
        act(t, SIM_STOP, host, 0, 0);
        later_undone(u, SIM_START, host, 0);
        break;
    case STEP_RESTART:
        act(t, SIM_START, host, 0, 0);
        break;
    case STEP_WIPE:
        act(t, SIM_WIPE, host, 0, 0);
        break;
    case STEP_IMAGE:
        act(t, SIM_IMAGE, host, 0, 0);
        break;
    case STEP_RESTORE:
        act(t, SIM_RESTORE, host, 0, 0);
        break;
    case STEP_PAUSE:
        act(t, SIM_PAUSE, host, 0, 0);
        later_undone(u, SIM_RESUME, host, 0);
        break;
    case STEP_RESUME:
        act(t, SIM_RESUME, host, 0, 0);
        break;
    case STEP_ISOLATE:
    case STEP_MUTE:
    case STEP_DEAF:
        on_all_links(t, u, host, s->verb != STEP_DEAF, s->verb != STEP_MUTE);
        break;
    case STEP_BRIDGE:
        leave(t, u, s, same_side, host);
        break;
    case STEP_STAR:
        leave(t, u, s, spoke, host);
        break;
    case STEP_DISK:
        on_disk(t, u, s, host);
        break;
    case STEP_CLOCK:
        act(t, s->act, host, 0, s->v);
        if (s->act == SIM_DRIFT) {
            later_undone(u, SIM_DRIFT, host, 0);
        }
        break;
    case STEP_THROTTLE:
        act(t, SIM_THROTTLE, host, 0, s->v);
        later_undone(u, SIM_THROTTLE, host, 0);
        break;
    case STEP_CALL:
        if (host >= SIM_HOST_OF_CLIENT(0)) {
            program_call(t->world->clients[host - SIM_HOST_OF_CLIENT(0)],
                         (enum sim_op_kind)s->call);
        }
        break;
    default:
        break;
    }
}

static void on_pairs(struct telling *t, struct undo *u, const struct step *s)
{
    uint32_t a[SIM_CLIENTS_MAX];
    uint32_t b[SIM_CLIENTS_MAX];
    uint32_t a_n = resolve(t, &s->a, a);
    uint32_t b_n = resolve(t, &s->b, b);
    for (uint32_t i = 0; i < a_n; i++) {
        for (uint32_t j = 0; j < b_n; j++) {
            on_links(t, u, s, a[i], b[j]);
        }
    }
}

static void transfer(struct telling *t, const struct step *s)
{
    uint32_t by[SIM_CLIENTS_MAX];
    uint32_t to[SIM_CLIENTS_MAX] = {0};
    bool any = s->b.kind == TARGET_HOST && s->b.index == 0;
    if (resolve(t, &s->a, by) > 0 && (resolve(t, &s->b, to) > 0 || any)) {
        act(t, SIM_TRANSFER, by[0], to[0], 0);
    }
}

static void change_members(struct telling *t, const struct step *s)
{
    const enum sim_verb verb = s->verb == STEP_ADD       ? SIM_ADD
                               : s->verb == STEP_PROMOTE ? SIM_PROMOTE
                                                         : SIM_REMOVE;
    uint32_t nodes[SIM_CLIENTS_MAX];
    uint32_t via[SIM_CLIENTS_MAX] = {0};
    if (resolve(t, &s->a, nodes) > 0) {
        (void)resolve(t, &s->b, via);
        act(t, verb, nodes[0], via[0], 0);
        if (s->name != UINT32_MAX) {
            t->named[s->name] = nodes[0];
        }
    }
}

/* Steps about no host, or about two. False: it's none of them. */
static bool on_world(struct telling *t, struct undo *u, const struct step *s)
{
    switch (s->verb) {
    case STEP_CUT:
    case STEP_MEND:
    case STEP_CLOG:
        on_pairs(t, u, s);
        return true;
    case STEP_SPLIT:
        t->world->coverage.partitions++;
        leave(t, u, s, same_side, 0);
        return true;
    case STEP_RING:
    case STEP_CHAIN:
        leave(t, u, s, neighbours, 0);
        return true;
    case STEP_SWIZZLE:
        swizzle(t, u);
        return true;
    case STEP_HOSTILE:
        act(t, SIM_HOSTILE, s->loss, s->twice, s->v);
        later_undone(u, SIM_HOSTILE, 0, 0);
        return true;
    case STEP_TRANSFER:
        transfer(t, s);
        return true;
    case STEP_ADD:
    case STEP_PROMOTE:
    case STEP_REMOVE:
        change_members(t, s);
        return true;
    case STEP_LOAD:
        t->world->quiet = s->v == 0;
        u->load = true;
        return true;
    case STEP_HEAL:
        act(t, SIM_HEAL, 0, 0, (int64_t)s->sides);
        return true;
    default:
        return false;
    }
}

static void undo(void *arg, uint64_t a, uint64_t b)
{
    struct undo *u = arg;
    (void)a;
    (void)b;
    for (uint32_t i = 0; i < u->n; i++) {
        const struct sim_action *x = &u->at[i];
        act(u->telling, x->verb, x->a, x->b, x->v);
    }
    if (u->load) {
        u->telling->world->quiet = false;
    }
}

/* --- expectations ---------------------------------------------------------------------------------------------------------------- */

static const char *const expectation_names[EXPECTATIONS_N] = {
    "a leader",
    "no leader",
    "that it leads",
    "that another one leads",
    "that it runs",
    "that it doesn't run",
    "that it is a voter",
    "that it is a learner",
    "that it is no member",
    "answers",
    "so many leader changes at most",
    "all nodes equal",
    "that each holder knows it",
    "coverage",
    "overlap of beliefs",
    "time without an answer",
};

static void not_met(struct telling *t, const struct step *s)
{
    sim_world_fail(t->world, SIM_NOT_LIVE, "EXPECT",
                   "line %u of %s expected %s, in %llu ms: that didn't happen",
                   s->line, t->scenario->name, expectation_names[s->expect],
                   (unsigned long long)s->within_us / SIM_MS);
}

static bool is_met(struct telling *t, const struct step *s,
                   const struct hope *h)
{
    struct sim_world *w = t->world;
    const struct sim_node *leader = sim_world_leader(w);
    const struct sim_members now = oracle_members(w);
    uint32_t host[SIM_CLIENTS_MAX] = {0};
    (void)resolve(t, &s->a, host);
    const bool node = host[0] >= 1 && host[0] <= w->nodes_n;
    switch (s->expect) {
    case EXPECT_LEADER:
        return leader != NULL;
    case EXPECT_NO_LEADER:
        return leader == NULL;
    case EXPECT_LEADS:
        return leader != NULL && leader->id == host[0];
    case EXPECT_LEADS_NOT:
        return leader != NULL && leader->id != host[0];
    case EXPECT_UP:
    case EXPECT_DOWN:
        return node && w->nodes[host[0]].up == (s->expect == EXPECT_UP);
    case EXPECT_VOTER:
        return node && (now.voters & 1u << host[0]) != 0;
    case EXPECT_LEARNER:
        return node && (now.learners & 1u << host[0]) != 0;
    case EXPECT_NO_MEMBER:
        return node && (sim_members_all(&now) & 1u << host[0]) == 0;
    case EXPECT_ANSWERS:
        return oracle_answered_us(w) > h->since_us;
    case EXPECT_CONVERGED:
        return oracle_converged(w);
    case EXPECT_TOLD:
        return oracle_all_told(w);
    default:
        return false;
    }
}

struct watched {
    struct telling *telling;
    const struct step *step;
    struct hope hope;
};

static void look(void *arg, uint64_t a, uint64_t b);

static void look_again(struct watched *x)
{
    sim_world_later(x->telling->world, LOOK_US,
                    &(struct sim_event){.happen = look, .arg = x});
}

static void look(void *arg, uint64_t a, uint64_t b)
{
    struct watched *x = arg;
    const struct step *s = x->step;
    struct sim_world *w = x->telling->world;
    bool over = w->now_us >= x->hope.since_us + s->within_us;
    (void)a;
    (void)b;
    if (s->expect == EXPECT_LEADER_CHANGES) {
        uint64_t changes = w->coverage.leader_changes - x->hope.changes;
        if (changes > s->number) {
            sim_world_fail(w, SIM_NOT_LIVE, "EXPECT",
                           "line %u of %s allows %llu leader changes in %llu "
                           "ms: there were %llu",
                           s->line, x->telling->scenario->name,
                           (unsigned long long)s->number,
                           (unsigned long long)s->within_us / SIM_MS,
                           (unsigned long long)changes);
        } else if (!over) {
            look_again(x);
            return;
        }
    } else if (!is_met(x->telling, s, &x->hope)) {
        if (!over) {
            look_again(x);
            return;
        }
        not_met(x->telling, s);
    }
    free(x);
}

static void expect(struct telling *t, const struct step *s)
{
    struct watched *x = calloc(1, sizeof *x);
    ASSERT(x != NULL);
    x->telling = t;
    x->step = s;
    x->hope =
        (struct hope){t->world->now_us, t->world->coverage.leader_changes};
    look(x, 0, 0);
}

/* --- steps ------------------------------------------------------------------------------------------------------------------------ */

/* Where it's noted how a step is undone. */
static struct undo *undo_of(struct telling *t, const struct step *s)
{
    if (s->for_us == 0) {
        t->never.n = 0;
        return &t->never;
    }
    struct undo *u = calloc(1, sizeof *u);
    ASSERT(u != NULL);
    u->telling = t;
    u->next = t->undos;
    t->undos = u;
    return u;
}

static void step(void *arg, uint64_t index, uint64_t b)
{
    struct telling *t = arg;
    const struct step *s = &t->scenario->steps[index];
    struct sim_world *w = t->world;
    uint32_t hosts[SIM_CLIENTS_MAX];
    (void)b;
    if (s->every_us > 0 && w->now_us + s->every_us <= s->to_us) {
        sim_world_later(
            w, s->every_us,
            &(struct sim_event){.happen = step, .arg = t, .a = index});
    }
    if (s->verb == STEP_EXPECT) {
        expect(t, s);
        return;
    }
    struct undo *u = undo_of(t, s);
    w->coverage.cuts += s->verb >= STEP_CUT && s->verb <= STEP_SWIZZLE;
    w->coverage.one_way_cuts += s->verb == STEP_MUTE || s->verb == STEP_DEAF ||
                                (s->verb == STEP_CUT && !s->both);
    if (!on_world(t, u, s)) {
        uint32_t n = resolve(t, &s->a, hosts);
        for (uint32_t i = 0; i < n; i++) {
            on_host(t, u, s, hosts[i]);
        }
        if (n > 0 && s->name != UINT32_MAX) {
            t->named[s->name] = hosts[0];
        }
    }
    if (s->for_us > 0) {
        sim_world_later(w, s->for_us,
                        &(struct sim_event){.happen = undo, .arg = u});
    }
}

struct telling *telling_new(struct sim_world *w, const struct scenario *s)
{
    struct telling *t = calloc(1, sizeof *t);
    ASSERT(t != NULL);
    t->world = w;
    t->scenario = s;
    t->random = sim_random_of(w->options.seed, SIM_FOR_FAULTS, 1);
    for (uint32_t i = 0; i < s->steps_n; i++) {
        if (s->steps[i].at_us != UINT64_MAX) {
            sim_world_later(
                w, s->steps[i].at_us - w->now_us,
                &(struct sim_event){.happen = step, .arg = t, .a = i});
        }
    }
    return t;
}

void telling_end(struct telling *t)
{
    struct sim_world *w = t->world;
    for (uint32_t i = 0; i < t->scenario->steps_n; i++) {
        const struct step *s = &t->scenario->steps[i];
        bool overlap = s->verb == STEP_EXPECT && s->expect == EXPECT_OVERLAP;
        bool away = s->verb == STEP_EXPECT && s->expect == EXPECT_UNAVAILABLE;
        uint64_t ms = overlap ? oracle_overlap_ms(w)
                      : away  ? oracle_unavailable_ms(w)
                              : 0;
        if (ms * SIM_MS > s->within_us && (overlap || away)) {
            sim_world_fail(w, overlap ? SIM_UNSAFE : SIM_NOT_LIVE, "EXPECT",
                           "line %u of %s allows %s of %llu ms: it was %llu ms",
                           s->line, t->scenario->name,
                           expectation_names[s->expect],
                           (unsigned long long)s->within_us / SIM_MS,
                           (unsigned long long)ms);
        }
    }
}

void telling_free(struct telling *t)
{
    while (t != NULL && t->undos != NULL) {
        struct undo *u = t->undos;
        t->undos = u->next;
        free(u);
    }
    free(t);
}

uint64_t scenario_lasts_us(const struct scenario *s)
{
    uint64_t lasts = 0;
    for (uint32_t i = 0; i < s->steps_n; i++) {
        const struct step *x = &s->steps[i];
        if (x->at_us == UINT64_MAX) {
            continue;
        }
        uint64_t from =
            x->every_us > 0 ? max_u64(x->at_us, x->to_us) : x->at_us;
        uint64_t until = from + max_u64(x->for_us, x->within_us);
        lasts = max_u64(lasts, until);
    }
    return lasts;
}
