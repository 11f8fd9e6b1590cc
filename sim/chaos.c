#include "sim/chaos.h"

#include <stdlib.h>
#include <string.h>

#include "sim/action.h"
#include "sim/amnesia.h"
#include "sim/changes.h"
#include "sim/client.h"
#include "sim/oracle.h"

enum fault {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_PAUSE,
    FAULT_STOP,
    FAULT_ISOLATE,
    FAULT_SPLIT,
    FAULT_ONE_WAY,
    FAULT_BRIDGE,
    FAULT_CLIENT_CUT,
    FAULT_CLOG,
    FAULT_HOSTILE,
    FAULT_DISK_STALL,
    FAULT_DISK_SLOW,
    FAULT_DISK_ERROR,
    FAULT_DISK_FULL,
    FAULT_CLOCK,
    FAULT_WALL,
    FAULT_CLIENT_KILL,
    FAULT_CLIENT_PAUSE,
    FAULT_THROTTLE,
    FAULT_TRANSFER,
    FAULT_SHAPE,
    FAULT_CLIENT_CLOG,
    FAULT_WIPE,
    FAULT_IMAGE,
    FAULT_ROT,
    FAULTS_N,
};

struct chaos {
    struct sim_world *world;
    struct sim_random random;
    bool on;
    bool used[FAULTS_N]; /* what this seed has */
    uint64_t mean_us;    /* between two faults */
    uint64_t hold_us;    /* that one lasts */
    uint32_t aim;        /* permille of faults that hit the leader */
    raft_id rolled_back; /* whose disk will go back; 0: nobody's */
    uint32_t down_max;   /* nodes that may be down at once by our doing */
};

/* --- options -------------------------------------------------------------------------------------------------------------------------- */

void chaos_options(uint64_t seed, struct sim_options *out)
{
    static const uint32_t sizes[] = {1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 5, 7};
    struct sim_random r = sim_random_of(seed, SIM_FOR_OPTIONS, 0);
    *out = (struct sim_options){.seed = seed};
    out->nodes_n = sizes[sim_below(&r, countof(sizes))];
    out->clients_n = (uint32_t)sim_magnitude(&r, 2, 24);
    out->chaos_us = sim_between(&r, 20, 90) * SIM_S;
    out->election_ms = sim_magnitude(&r, 150, 1500);
    out->heartbeat_ms = max_u64(10, out->election_ms / sim_between(&r, 3, 12));
    out->ttl_ms = (uint32_t)sim_magnitude(&r, 1000, 12000);
    out->rate = (uint32_t)sim_magnitude(&r, 5, 120);
    out->groups_n = (uint32_t)sim_between(&r, 1, 8);
    out->devices_n = (uint32_t)sim_between(&r, 1, 4);
    out->tabs_n = (uint32_t)sim_between(&r, 1, 6);
    out->drift_ppm =
        sim_chance(&r, 500) ? 0 : (uint32_t)sim_magnitude(&r, 100, 50000);
    out->delay_min_us = sim_magnitude(&r, 30, 2000);
    out->delay_max_us = out->delay_min_us * sim_between(&r, 1, 8);
    out->disk_min_us = sim_magnitude(&r, 50, 2000);
    out->disk_max_us = out->disk_min_us * sim_between(&r, 1, 10);
    out->checkpoint_entries = (uint32_t)sim_magnitude(&r, 16, 1000);
    out->log_keep_entries = (uint32_t)sim_magnitude(&r, 1, 1000);
    out->read_bytes = sim_chance(&r, 500) ? sim_magnitude(&r, 64, 65536) : 0;
    out->lease_reads = sim_chance(&r, 300);
    out->calm = sim_chance(&r, 60);
    out->client_queue_bytes =
        sim_chance(&r, 500) ? 8u << 20 : sim_magnitude(&r, 64u << 10, 1u << 20);
    out->events_keep =
        sim_chance(&r, 500) ? 100000 : (uint32_t)sim_magnitude(&r, 20, 2000);
    out->sessions_max =
        sim_chance(&r, 850) ? 2048 : (uint32_t)sim_magnitude(&r, 4, 40);
    changes_options(out);
}

/* --- what can be hit -------------------------------------------------------------------------------------------------------------------- */

static struct sim_node *draw_node(struct chaos *c)
{
    struct sim_world *w = c->world;
    struct sim_node *leader = sim_world_leader(w);
    if (leader != NULL && sim_chance(&c->random, c->aim)) {
        return leader;
    }
    return &w->nodes[sim_between(&c->random, 1, w->nodes_n)];
}

static struct sim_client *draw_client(struct chaos *c)
{
    return c->world->clients[sim_below(&c->random, c->world->clients_n)];
}

static uint32_t down_n(const struct chaos *c)
{
    uint32_t n = 0;
    for (raft_id id = 1; id <= c->world->nodes_n; id++) {
        n += c->world->nodes[id].ready && !c->world->nodes[id].up;
    }
    return n;
}

static uint64_t lasts_us(struct chaos *c)
{
    return 10 * SIM_MS + sim_seldom(&c->random, c->hold_us);
}

static void later(struct chaos *c, uint64_t us,
                  void (*happen)(void *arg, uint64_t a, uint64_t b), uint64_t a,
                  uint64_t b)
{
    sim_world_later(
        c->world, us,
        &(struct sim_event){.happen = happen, .arg = c, .a = a, .b = b});
}

/* --- processes and machines ----------------------------------------------------------------------------------------------------------- */

static void act(struct chaos *c, enum sim_verb verb, uint32_t a, uint32_t b,
                int64_t v)
{
    sim_act(c->world,
            &(struct sim_action){.verb = verb, .a = a, .b = b, .v = v});
}

/* What is to be done once the fault is over, unless chaos is. */
static void undo(void *arg, uint64_t verb, uint64_t host)
{
    struct chaos *c = arg;
    bool node = host <= SIM_NODES_MAX;
    if (c->on || !node) {
        act(c, (enum sim_verb)verb, (uint32_t)host, 0, 0);
    }
}

static void restart(void *arg, uint64_t id, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    if (c->on && !c->world->nodes[id].up) {
        act(c, SIM_START, (uint32_t)id, 0, 0);
    }
}

static void hit_process(struct chaos *c, enum fault fault)
{
    struct sim_node *n = draw_node(c);
    if (fault == FAULT_PAUSE) {
        act(c, SIM_PAUSE, n->id, 0, 0);
        later(c, lasts_us(c), undo, SIM_RESUME, n->id);
        return;
    }
    if (!n->up || down_n(c) >= c->down_max) {
        return;
    }
    act(c,
        fault == FAULT_KILL    ? SIM_CRASH
        : fault == FAULT_POWER ? SIM_POWER
                               : SIM_STOP,
        n->id, 0, 0);
    later(c, lasts_us(c), restart, n->id, 0);
}

/* --- the net ---------------------------------------------------------------------------------------------------------------------------- */

static void cut(struct chaos *c, uint32_t a, uint32_t b, bool on)
{
    if (sim_net_is_cut(c->world->net, a, b) != on) {
        act(c, on ? SIM_CUT : SIM_MEND, a, b, 0);
    }
}

static void cut_both(struct chaos *c, uint32_t a, uint32_t b, bool on)
{
    cut(c, a, b, on);
    cut(c, b, a, on);
}

static void mend_net(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    (void)a;
    (void)b;
    if (!c->on) {
        return;
    }
    for (raft_id x = 1; x <= SIM_NODES_MAX; x++) {
        for (raft_id y = 1; y <= SIM_NODES_MAX; y++) {
            cut(c, x, y, false);
        }
    }
}

/* Sides by the bits of a number. The bridge, if any, sees both. */
static void split(struct chaos *c, uint64_t sides, raft_id bridge)
{
    struct sim_world *w = c->world;
    for (raft_id a = 1; a <= w->nodes_n; a++) {
        for (raft_id b = a + 1; b <= w->nodes_n; b++) {
            bool apart = (sides >> a & 1) != (sides >> b & 1) && a != bridge &&
                         b != bridge;
            if (apart) {
                cut_both(c, a, b, true);
            }
        }
    }
}

/* Links between nodes are left only along a ring, a chain, or from one to all others. */
static void shape(struct chaos *c, raft_id center)
{
    uint32_t n = c->world->nodes_n;
    uint64_t which = sim_below(&c->random, 3);
    for (raft_id a = 1; a <= n; a++) {
        for (raft_id b = a + 1; b <= n; b++) {
            bool chained = b == a + 1;
            bool ringed = chained || (a == 1 && b == n);
            bool stays = which == 0   ? ringed
                         : which == 1 ? chained
                                      : a == center || b == center;
            if (!stays) {
                cut_both(c, a, b, true);
            }
        }
    }
}

static void hit_net(struct chaos *c, enum fault fault)
{
    struct sim_world *w = c->world;
    struct sim_node *n = draw_node(c);
    w->coverage.cuts++;
    switch (fault) {
    case FAULT_ISOLATE:
        split(c, 1ull << n->id, 0);
        break;
    case FAULT_SPLIT:
        w->coverage.partitions++;
        split(c, sim_random(&c->random), 0);
        break;
    case FAULT_BRIDGE:
        w->coverage.partitions++;
        split(c, sim_random(&c->random), n->id);
        break;
    case FAULT_SHAPE:
        w->coverage.partitions++;
        shape(c, n->id);
        break;
    default:
        w->coverage.one_way_cuts++;
        for (raft_id other = 1; other <= w->nodes_n; other++) {
            if (other == n->id) {
                continue;
            }
            if (sim_chance(&c->random, 500)) {
                cut(c, n->id, other, true);
            } else if (sim_chance(&c->random, 300)) {
                cut(c, other, n->id, true);
            }
        }
        break;
    }
    later(c, lasts_us(c), mend_net, 0, 0);
}

static void mend_client(void *arg, uint64_t host, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    for (raft_id id = 1; id <= SIM_NODES_MAX; id++) {
        cut_both(c, (uint32_t)host, id, false);
    }
}

static void hit_client_net(struct chaos *c)
{
    const struct sim_client *client = draw_client(c);
    bool all = sim_chance(&c->random, 500);
    c->world->coverage.cuts++;
    for (raft_id id = 1; id <= c->world->nodes_n; id++) {
        if (all || sim_chance(&c->random, 500)) {
            cut(c, client->host, id, true);
            cut(c, id, client->host, sim_chance(&c->random, 700));
        }
    }
    later(c, lasts_us(c), mend_client, client->host, 0);
}

static void unclog(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    act(c, SIM_CLOG, (uint32_t)a, (uint32_t)b, 0);
}

static void hit_link(struct chaos *c)
{
    struct sim_world *w = c->world;
    raft_id a = draw_node(c)->id;
    raft_id b = (raft_id)sim_between(&c->random, 1, w->nodes_n);
    if (a != b) {
        act(c, SIM_CLOG, a, b, (int64_t)sim_magnitude(&c->random, 1000, SIM_S));
        later(c, lasts_us(c), unclog, a, b);
    }
}

/* One way only, mostly: an answer that's late is a right that's shorter. */
static void hit_client_link(struct chaos *c)
{
    uint32_t a = draw_client(c)->host;
    uint32_t b = draw_node(c)->id;
    bool out = sim_chance(&c->random, 500);
    uint32_t from = out ? a : b;
    uint32_t to = out ? b : a;
    act(c, SIM_CLOG, from, to, (int64_t)sim_magnitude(&c->random, 1000, SIM_S));
    later(c, lasts_us(c), unclog, from, to);
}

static void calm_net(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    (void)a;
    (void)b;
    act(c, SIM_HOSTILE, 0, 0, 0);
}

static void hostile(struct chaos *c)
{
    uint32_t loss = (uint32_t)sim_below(&c->random, 100);
    uint32_t twice = (uint32_t)sim_below(&c->random, 100);
    act(c, SIM_HOSTILE, loss, twice, (int64_t)sim_below(&c->random, 200));
    later(c, lasts_us(c), calm_net, 0, 0);
}

/* --- disks -------------------------------------------------------------------------------------------------------------------------------- */

static void mend_disk(void *arg, uint64_t id, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    act(c, SIM_DISK_OK, (uint32_t)id, 0, 0);
    restart(c, id, 0);
}

static void hit_disk(struct chaos *c, enum fault fault)
{
    const struct sim_node *n = draw_node(c);
    if (fault == FAULT_DISK_STALL) {
        act(c, SIM_STALL, n->id, 0, 0);
    } else if (fault == FAULT_DISK_SLOW) {
        act(c, SIM_SLOW_DISK, n->id, 0,
            (int64_t)sim_magnitude(&c->random, 2, 500));
    } else if (down_n(c) < c->down_max) {
        act(c, fault == FAULT_DISK_FULL ? SIM_FULL : SIM_EIO, n->id, 0, 0);
    }
    later(c, lasts_us(c), mend_disk, n->id, 0);
}

/* --- memory -------------------------------------------------------------------------------------------------------------------------------- */

/* Only of one that's down, and not in between. */
static void lose_memory(struct chaos *c, struct sim_node *n, enum sim_verb verb)
{
    if (n->up) {
        act(c, sim_chance(&c->random, 500) ? SIM_CRASH : SIM_POWER, n->id, 0,
            0);
    }
    act(c, verb, n->id, 0, (int64_t)sim_below(&c->random, 1000));
    later(c, lasts_us(c), restart, n->id, 0);
}

static void hit_memory(struct chaos *c, enum fault fault)
{
    const struct sim_world *w = c->world;
    struct sim_node *n = draw_node(c);
    if (fault == FAULT_WIPE && amnesia_may_wipe(w, n)) {
        lose_memory(c, n, SIM_WIPE);
    } else if (fault == FAULT_ROT && amnesia_may_rot(w, n)) {
        lose_memory(c, n, SIM_ROT);
    } else if (fault == FAULT_IMAGE && amnesia_may_restore(w, n)) {
        lose_memory(c, n, SIM_RESTORE);
    } else if (fault == FAULT_IMAGE && n->image == NULL) {
        act(c, SIM_IMAGE, n->id, 0, 0);
    }
}

/* --- clocks and clients ----------------------------------------------------------------------------------------------------------------- */

static void hit_clock(struct chaos *c, enum fault fault)
{
    uint32_t ppm = c->world->options.drift_ppm;
    bool client = sim_chance(&c->random, 500);
    uint32_t host = client ? draw_client(c)->host : draw_node(c)->id;
    if (fault == FAULT_WALL) {
        act(c, SIM_JUMP, host, 0,
            (int64_t)sim_below(&c->random, 7200000) - 3600000);
        return;
    }
    act(c, SIM_DRIFT, host, 0,
        (int64_t)sim_below(&c->random, 2ull * ppm + 1) - (int64_t)ppm);
}

/* It wakes just about when its lease ends. */
static uint64_t until_expiry_us(struct chaos *c,
                                const struct sim_client *client)
{
    uint64_t ttl_us = c->world->options.ttl_ms * SIM_MS;
    uint64_t heard_us = c->world->now_us;
    if (client->up && client->baton->lease.phase == LEASE_LIVE) {
        heard_us =
            sim_clock_when_us(&client->clock, client->baton->lease.proven_ms);
    }
    uint64_t since_us = c->world->now_us - min_u64(heard_us, c->world->now_us);
    return sim_between(&c->random, 0, SIM_S / 4) +
           (ttl_us > since_us ? ttl_us - since_us : 0);
}

static void hit_client(struct chaos *c, enum fault fault)
{
    const struct sim_client *client = draw_client(c);
    uint32_t host = client->host;
    uint64_t us = lasts_us(c);
    enum sim_verb over = SIM_THROTTLE;
    if (fault == FAULT_CLIENT_KILL) {
        act(c, SIM_CRASH, host, 0, 0);
        over = SIM_START;
    } else if (fault == FAULT_CLIENT_PAUSE) {
        act(c, SIM_PAUSE, host, 0, 0);
        over = SIM_RESUME;
        us = sim_chance(&c->random, 300) ? until_expiry_us(c, client) : us;
    } else {
        act(c, SIM_THROTTLE, host, 0,
            sim_chance(&c->random, 500) ? 1000 : 60000);
    }
    later(c, us, undo, over, host);
}

static void transfer(struct chaos *c)
{
    const struct sim_client *client = draw_client(c);
    if (client->up && !client->paused) {
        act(c, SIM_TRANSFER, client->host,
            (uint32_t)sim_below(&c->random, c->world->nodes_n + 1), 0);
    }
}

/* --- one after the other ---------------------------------------------------------------------------------------------------------------- */

static void hit(struct chaos *c, enum fault fault)
{
    switch (fault) {
    case FAULT_KILL:
    case FAULT_POWER:
    case FAULT_PAUSE:
    case FAULT_STOP:
        hit_process(c, fault);
        break;
    case FAULT_ISOLATE:
    case FAULT_SPLIT:
    case FAULT_ONE_WAY:
    case FAULT_BRIDGE:
    case FAULT_SHAPE:
        hit_net(c, fault);
        break;
    case FAULT_CLIENT_CLOG:
        hit_client_link(c);
        break;
    case FAULT_WIPE:
    case FAULT_IMAGE:
    case FAULT_ROT:
        hit_memory(c, fault);
        break;
    case FAULT_CLIENT_CUT:
        hit_client_net(c);
        break;
    case FAULT_CLOG:
        hit_link(c);
        break;
    case FAULT_HOSTILE:
        hostile(c);
        break;
    case FAULT_DISK_STALL:
    case FAULT_DISK_SLOW:
    case FAULT_DISK_ERROR:
    case FAULT_DISK_FULL:
        hit_disk(c, fault);
        break;
    case FAULT_CLOCK:
    case FAULT_WALL:
        hit_clock(c, fault);
        break;
    case FAULT_CLIENT_KILL:
    case FAULT_CLIENT_PAUSE:
    case FAULT_THROTTLE:
        hit_client(c, fault);
        break;
    case FAULT_TRANSFER:
        transfer(c);
        break;
    case FAULTS_N:
        break;
    }
}

static void next(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    (void)a;
    (void)b;
    if (!c->on) {
        return;
    }
    enum fault fault = (enum fault)sim_below(&c->random, FAULTS_N);
    if (c->used[fault]) {
        sim_world_note(c->world, 0xFAu, fault, 0);
        hit(c, fault);
    }
    later(c, 1 + sim_seldom(&c->random, c->mean_us), next, 0, 0);
}

/* Swarm testing (Groce 2012): each seed leaves out a random half, so that what hides behind something else shows. */
struct chaos *chaos_start(struct sim_world *w, bool on)
{
    struct chaos *c = calloc(1, sizeof *c);
    ASSERT(c != NULL);
    c->world = w;
    c->random = sim_random_of(w->options.seed, SIM_FOR_FAULTS, 0);
    uint32_t kept = sim_chance(&c->random, 100) ? 1000 : 500;
    for (uint32_t f = 0; f < FAULTS_N; f++) {
        c->used[f] = !w->options.calm && sim_chance(&c->random, kept);
    }
    if (sim_chance(&c->random, 100)) {
        uint64_t only = sim_below(&c->random, FAULTS_N);
        for (uint32_t f = 0; f < FAULTS_N; f++) {
            c->used[f] = c->used[f] && f == only;
        }
    }
    c->mean_us = sim_magnitude(&c->random, 20 * SIM_MS, 4 * SIM_S);
    c->hold_us = sim_magnitude(&c->random, 50 * SIM_MS, 8 * SIM_S);
    c->aim = sim_chance(&c->random, 500) ? 400 : 0;
    c->down_max = (uint32_t)sim_between(&c->random, 1, w->nodes_n);
    c->on = on;
    later(c, sim_below(&c->random, 5 * SIM_S), next, 0, 0);
    return c;
}

void chaos_stop(struct chaos *c)
{
    c->on = false;
}

void chaos_free(struct chaos *c)
{
    free(c);
}

/* --- back by a moment ----------------------------------------------------------------------------------------------------------------- */

void chaos_image(struct chaos *c)
{
    struct sim_world *w = c->world;
    struct sim_node *n = &w->nodes[sim_between(&c->random, 1, w->nodes_n)];
    if (sim_chance(&c->random, 300) && !w->options.calm &&
        !w->options.changes && n->up && !n->forgot &&
        amnesia_n(w) < (w->nodes_n - 1) / 2) {
        act(c, SIM_IMAGE, n->id, 0, 0);
        c->rolled_back = n->id;
    }
}

bool chaos_roll_back(struct chaos *c)
{
    struct sim_node *n = &c->world->nodes[c->rolled_back];
    if (c->rolled_back != 0 && n->up && !sim_node_leads(n)) {
        act(c, SIM_POWER, n->id, 0, 0);
        act(c, SIM_RESTORE, n->id, 0, 0);
        act(c, SIM_START, n->id, 0, 0);
    }
    return c->world->failure.verdict == SIM_PASS;
}

/* --- healing -------------------------------------------------------------------------------------------------------------------------------- */

/* A majority of all that remembers, and now and then somebody who forgot. */
void chaos_heal_core(struct chaos *c)
{
    struct sim_world *w = c->world;
    const struct sim_members m = oracle_members(w);
    const uint32_t voters_n = sim_members_n(sim_members_voters(&m));
    int64_t core = 0;
    uint32_t may = 0; /* voters, and they remember */
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        may |= sim_node_keeps_out(&w->nodes[id]) ? 0 : 1u << id;
    }
    may &= sim_members_voters(&m);
    uint32_t n =
        (uint32_t)sim_between(&c->random, voters_n / 2 + 1, sim_members_n(may));
    while (n > 0) {
        raft_id id = (raft_id)sim_between(&c->random, 1, w->nodes_n);
        if ((may & ~core & SIM_SET(id)) != 0) {
            core |= SIM_SET(id);
            n--;
        }
    }
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if (sim_node_keeps_out(&w->nodes[id]) && sim_chance(&c->random, 500)) {
            core |= SIM_SET(id);
        }
    }
    /* Of both halves, if it's joint; and of what it may come to. */
    core |= oracle_lacking(w, (uint32_t)core);
    act(c, SIM_HEAL, 0, 0, core);
}
