#include "sim/chaos.h"

#include <stdlib.h>
#include <string.h>

#include "sim/client.h"

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
    uint32_t down_max;   /* nodes that may be down at once by our doing */
    bool core[SIM_NODES_MAX + 1];
    bool all; /* everybody was made whole */
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
        n += !c->world->nodes[id].up;
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

static void restart(void *arg, uint64_t id, uint64_t b)
{
    struct chaos *c = arg;
    struct sim_node *n = &c->world->nodes[id];
    (void)b;
    if (c->on && !n->up) {
        n->machine = true;
        sim_net_machine(c->world->net, n->id, true);
        n->faults = (struct sim_disk_faults){.stalled = false};
        (void)sim_node_start(n);
    }
}

static void wake_node(void *arg, uint64_t id, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    if (c->on) {
        sim_node_pause(&c->world->nodes[id], false);
    }
}

static void hit_process(struct chaos *c, enum fault fault)
{
    struct sim_node *n = draw_node(c);
    if (fault == FAULT_PAUSE) {
        c->world->coverage.pauses++;
        sim_node_pause(n, true);
        later(c, lasts_us(c), wake_node, n->id, 0);
        return;
    }
    if (!n->up || down_n(c) >= c->down_max) {
        return;
    }
    if (fault == FAULT_KILL) {
        sim_node_kill(n);
    } else if (fault == FAULT_POWER) {
        sim_node_power_off(n);
    } else {
        sim_node_stop(n);
    }
    later(c, lasts_us(c), restart, n->id, 0);
}

/* --- the net ---------------------------------------------------------------------------------------------------------------------------- */

static void cut_both(struct sim_world *w, uint32_t a, uint32_t b, bool cut)
{
    sim_net_cut(w->net, a, b, cut);
    sim_net_cut(w->net, b, a, cut);
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
            sim_net_cut(c->world->net, x, y, false);
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
                cut_both(w, a, b, true);
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
    default:
        w->coverage.one_way_cuts++;
        for (raft_id other = 1; other <= w->nodes_n; other++) {
            if (other == n->id) {
                continue;
            }
            if (sim_chance(&c->random, 500)) {
                sim_net_cut(w->net, n->id, other, true);
            } else if (sim_chance(&c->random, 300)) {
                sim_net_cut(w->net, other, n->id, true);
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
        cut_both(c->world, (uint32_t)host, id, false);
    }
}

static void hit_client_net(struct chaos *c)
{
    const struct sim_client *client = draw_client(c);
    bool all = sim_chance(&c->random, 500);
    c->world->coverage.cuts++;
    for (raft_id id = 1; id <= c->world->nodes_n; id++) {
        if (all || sim_chance(&c->random, 500)) {
            sim_net_cut(c->world->net, client->host, id, true);
            sim_net_cut(c->world->net, id, client->host,
                        sim_chance(&c->random, 700));
        }
    }
    later(c, lasts_us(c), mend_client, client->host, 0);
}

static void unclog(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    sim_net_slow(c->world->net, (uint32_t)a, (uint32_t)b, 0);
}

static void hit_link(struct chaos *c)
{
    struct sim_world *w = c->world;
    raft_id a = draw_node(c)->id;
    raft_id b = (raft_id)sim_between(&c->random, 1, w->nodes_n);
    if (a != b) {
        w->coverage.clogs++;
        sim_net_slow(w->net, a, b, sim_magnitude(&c->random, 1000, SIM_S));
        later(c, lasts_us(c), unclog, a, b);
    }
}

static void calm_net(void *arg, uint64_t a, uint64_t b)
{
    struct chaos *c = arg;
    (void)a;
    (void)b;
    sim_net_hostile(c->world->net, 0, 0, 0);
}

static void hostile(struct chaos *c)
{
    c->world->coverage.hostile_times++;
    sim_net_hostile(c->world->net, (uint32_t)sim_below(&c->random, 100),
                    (uint32_t)sim_below(&c->random, 100),
                    (uint32_t)sim_below(&c->random, 200));
    later(c, lasts_us(c), calm_net, 0, 0);
}

/* --- disks -------------------------------------------------------------------------------------------------------------------------------- */

static void mend_disk(void *arg, uint64_t id, uint64_t b)
{
    struct chaos *c = arg;
    struct sim_node *n = &c->world->nodes[id];
    (void)b;
    n->faults = (struct sim_disk_faults){.stalled = false};
    sim_node_disk(n);
    if (c->on && !n->up) {
        restart(c, id, 0);
    }
}

static void hit_disk(struct chaos *c, enum fault fault)
{
    struct sim_node *n = draw_node(c);
    struct sim_coverage *coverage = &c->world->coverage;
    if (fault == FAULT_DISK_STALL) {
        coverage->disk_stalls++;
        n->faults.stalled = true;
    } else if (fault == FAULT_DISK_SLOW) {
        n->faults.slow = (uint32_t)sim_magnitude(&c->random, 2, 500);
    } else if (down_n(c) < c->down_max) {
        coverage->disk_failures += fault == FAULT_DISK_ERROR;
        coverage->disk_full += fault == FAULT_DISK_FULL;
        n->faults.failure = fault == FAULT_DISK_FULL ? STORE_FAILURE_DISK_FULL
                                                     : STORE_FAILURE_IO;
    }
    later(c, lasts_us(c), mend_disk, n->id, 0);
}

/* --- clocks and clients ----------------------------------------------------------------------------------------------------------------- */

static void hit_clock(struct chaos *c, enum fault fault)
{
    struct sim_world *w = c->world;
    uint32_t ppm = w->options.drift_ppm;
    bool client = sim_chance(&c->random, 500);
    struct sim_clock *clock =
        client ? &draw_client(c)->clock : &draw_node(c)->clock;
    if (fault == FAULT_WALL) {
        w->coverage.wall_jumps++;
        clock->wall_offset_ms +=
            (int64_t)sim_below(&c->random, 7200000) - 3600000;
        return;
    }
    w->coverage.clock_changes++;
    sim_clock_rate(clock, w->now_us,
                   (int32_t)sim_below(&c->random, 2ull * ppm + 1) -
                       (int32_t)ppm);
}

static void start_client(void *arg, uint64_t number, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    (void)sim_client_start(c->world->clients[number]);
}

static void wake_client(void *arg, uint64_t number, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    sim_client_pause(c->world->clients[number], false);
}

static void unthrottle(void *arg, uint64_t number, uint64_t b)
{
    struct chaos *c = arg;
    (void)b;
    c->world->clients[number]->throttle_ms = 0;
}

static void hit_client(struct chaos *c, enum fault fault)
{
    struct sim_client *client = draw_client(c);
    if (fault == FAULT_CLIENT_KILL) {
        sim_client_kill(client);
        later(c, lasts_us(c), start_client, client->number, 0);
    } else if (fault == FAULT_CLIENT_PAUSE) {
        c->world->coverage.suspends++;
        sim_client_pause(client, true);
        later(c, lasts_us(c), wake_client, client->number, 0);
    } else {
        client->throttle_ms = sim_chance(&c->random, 500) ? 1000 : 60000;
        later(c, lasts_us(c), unthrottle, client->number, 0);
    }
}

static void transfer(struct chaos *c)
{
    struct sim_client *client = draw_client(c);
    if (client->up && !client->paused) {
        const struct baton_call call = {.tag = UINT64_MAX - 1};
        c->world->coverage.transfers++;
        sim_system_of(client);
        (void)baton_transfer(
            client->baton, &call,
            (uint32_t)sim_below(&c->random, c->world->nodes_n + 1), NULL);
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
        hit_net(c, fault);
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
struct chaos *chaos_start(struct sim_world *w)
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
    c->on = true;
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

/* --- healing -------------------------------------------------------------------------------------------------------------------------------- */

static void heal_node(struct sim_world *w, raft_id id)
{
    struct sim_node *n = &w->nodes[id];
    n->faults = (struct sim_disk_faults){.stalled = false};
    if (!n->machine) {
        n->machine = true;
        sim_net_machine(w->net, id, true);
    }
    sim_node_pause(n, false);
    (void)sim_node_start(n);
    sim_node_disk(n);
}

static void heal_links(struct sim_world *w, uint32_t a, uint32_t b)
{
    cut_both(w, a, b, false);
    sim_net_slow(w->net, a, b, 0);
    sim_net_slow(w->net, b, a, 0);
}

static void heal(struct chaos *c, bool all)
{
    struct sim_world *w = c->world;
    sim_net_hostile(w->net, 0, 0, 0);
    for (raft_id a = 1; a <= w->nodes_n; a++) {
        if (!all && !c->core[a]) {
            continue;
        }
        for (raft_id b = 1; b <= w->nodes_n; b++) {
            if (all || c->core[b]) {
                heal_links(w, a, b);
            }
        }
        for (uint32_t i = 0; i < w->clients_n; i++) {
            heal_links(w, a, w->clients[i]->host);
        }
        heal_node(w, a);
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        w->clients[i]->throttle_ms = 0;
        sim_client_pause(w->clients[i], false);
        (void)sim_client_start(w->clients[i]);
    }
}

void chaos_heal_core(struct chaos *c)
{
    struct sim_world *w = c->world;
    uint32_t n =
        (uint32_t)sim_between(&c->random, w->nodes_n / 2 + 1, w->nodes_n);
    while (n > 0) {
        raft_id id = (raft_id)sim_between(&c->random, 1, w->nodes_n);
        if (!c->core[id]) {
            c->core[id] = true;
            n--;
        }
    }
    heal(c, false);
}

void chaos_heal_all(struct chaos *c)
{
    c->all = true;
    heal(c, true);
}

void chaos_tend(struct chaos *c)
{
    for (raft_id id = 1; id <= c->world->nodes_n; id++) {
        if ((c->all || c->core[id]) && !c->world->nodes[id].up) {
            heal_node(c->world, id);
        }
    }
}
