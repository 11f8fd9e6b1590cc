/* Many seeds, each a run of thousands of steps on a network that loses, repeats and reorders, with disks that are slow and
 * crashes that lose what they hadn't written; then everything heals, and it must go on. The oracle of raft_cluster.h looks
 * at each step. A failing seed is printed: run the test with it as argument to see that run alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/script/raft_cluster.h"

#define SEEDS_N 150
#define STEPS_N 2500

static uint64_t rng;
static uint64_t seed_first = 1;
static uint32_t seeds_n = SEEDS_N;
static uint32_t slowest_ms;
static uint64_t seed_now;

/* xorshift64*: the test's own, so that it doesn't lean on the core's. */
static uint32_t random_below(uint32_t n)
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (uint32_t)((rng * 0x2545f4914f6cdd1dU) >> 33) % n;
}

static bool chance(uint32_t percent)
{
    return random_below(100) < percent;
}

/* How rough this seed is, each kind of fault on or off by itself (swarm testing): a mix of everything hides what needs calm. */
struct weather {
    uint32_t loss;
    uint32_t repeat;
    uint32_t reorder;
    uint32_t crash;   /* of 1,000 steps */
    uint32_t restart; /* percent of the looks at a stopped node */
    uint32_t cut;     /* of 1,000 */
    uint32_t member;  /* of 1,000 */
    uint32_t compact;
    uint32_t slow_disk; /* percent of store chances that are let pass */
    uint32_t transfer;
    uint32_t pause; /* of 1,000 */
    /* percent of the steps in which nobody asks for anything: elections are won by more than the longest log */
    uint32_t idle;
    /* percent of the steps in which nothing is delivered: messages outlive elections and leases */
    uint32_t lag;
};

static struct weather weather_draw(void)
{
    struct weather w = {.loss = chance(50) ? random_below(25) : 0,
                        .repeat = chance(50) ? random_below(15) : 0,
                        .reorder = chance(60) ? random_below(100) : 0,
                        .crash = chance(60) ? 1 + random_below(15) : 0,
                        .restart = chance(50) ? 3 : 50,
                        .cut = chance(60) ? 1 + random_below(15) : 0,
                        .member = chance(40) ? 1 + random_below(20) : 0,
                        .compact = chance(40) ? 1 + random_below(30) : 0,
                        .slow_disk = chance(50) ? random_below(90) : 0,
                        .transfer = chance(40) ? 1 + random_below(20) : 0,
                        .idle = chance(50) ? 80 + random_below(20) : 0,
                        .pause = chance(30) ? 1 + random_below(10) : 0,
                        .lag = chance(30) ? random_below(98) : 0};
    return w;
}

static raft_id random_node(const struct cluster *c)
{
    return 1 + random_below(c->n);
}

/* How long each node stands still yet: its clock goes on, but it does nothing, and what's sent to it waits. */
static uint64_t paused_ms[CLUSTER_NODES_MAX + 1];

static void time_passes(struct cluster *c, uint64_t ms)
{
    for (raft_id id = 1; id <= c->n; id++) {
        if (paused_ms[id] == 0) {
            cluster_tick(c, id, ms);
            continue;
        }
        cluster_node(c, id)->now_ms += ms;
        paused_ms[id] -= ms < paused_ms[id] ? ms : paused_ms[id];
    }
}

static void cut_something(struct cluster *c)
{
    const raft_id from = random_node(c);
    const raft_id to = random_node(c);
    switch (random_below(4)) {
    case 0: /* heal */
        memset(c->cut, 0, sizeof(c->cut));
        break;
    case 1: /* one direction of one link */
        c->cut[from][to] = true;
        break;
    case 2: /* one link */
        c->cut[from][to] = true;
        c->cut[to][from] = true;
        break;
    default: /* one node */
        for (raft_id id = 1; id <= c->n; id++) {
            c->cut[from][id] = true;
            c->cut[id][from] = chance(80);
        }
        break;
    }
}

static void change_members(struct cluster *c, raft_id leader)
{
    const struct raft_config *now =
        raft_config_now(cluster_node(c, leader)->raft);
    struct raft_config target = {.index = 0};
    for (raft_id id = 1; id <= c->n; id++) {
        const uint32_t pick = random_below(10);
        if (pick < 6) {
            target.voters.ids[target.voters.n] = id;
            target.voters.n++;
        } else if (pick < 8) {
            target.learners.ids[target.learners.n] = id;
            target.learners.n++;
        }
    }
    if (target.voters.n > 0) {
        (void)cluster_config(c, leader, now->index, &target);
    }
}

static void ask_something(struct cluster *c, const struct weather *w)
{
    const raft_id leader = chance(85) ? cluster_leader(c) : random_node(c);
    if (leader == 0 || paused_ms[leader] > 0 || !cluster_node(c, leader)->up ||
        c->committed_n > CLUSTER_LOG_MAX - 500) {
        return;
    }
    uint64_t ticket = 0;
    if (random_below(1000) < w->member) {
        change_members(c, leader);
    } else if (random_below(1000) < w->transfer) {
        (void)cluster_transfer(c, leader, chance(50) ? 0 : random_node(c));
    } else if (chance(30)) {
        (void)cluster_read(c, leader, &ticket);
    } else if (chance(60)) {
        (void)cluster_propose(c, leader, 1 + random_below(4));
    }
}

static void fault(struct cluster *c, const struct weather *w)
{
    const raft_id id = random_node(c);
    struct cluster_node *node = cluster_node(c, id);
    if (paused_ms[id] > 0) {
        return;
    }
    if (random_below(1000) < w->pause) {
        paused_ms[id] = 1 + random_below(400);
        return;
    }
    if (node->up && random_below(1000) < w->crash) {
        cluster_crash(c, id);
    } else if (!node->up && chance(w->restart)) {
        cluster_restart(c, id);
    }
    if (random_below(1000) < w->cut) {
        cut_something(c);
    }
    if (node->up && random_below(1000) < w->compact) {
        const raft_index disk = node->disk.base.index + node->disk.n;
        const raft_index index = node->applied < disk ? node->applied : disk;
        if (index > 0 && raft_config_at(node->raft, index) != NULL &&
            node->queue_n == 0) {
            cluster_compact(c, id, index);
        }
    }
    if (node->up && chance(2)) {
        cluster_peer_up(c, id, random_node(c));
    }
}

static void network(struct cluster *c, const struct weather *w)
{
    for (uint32_t n = random_below(6); n > 0 && c->pool_n > 0; n--) {
        const uint32_t i = chance(w->reorder) ? random_below(c->pool_n) : 0;
        if (paused_ms[c->pool[i].m.to] > 0) {
            /* It stays, and others may overtake it. */
            continue;
        }
        if (chance(w->loss)) {
            cluster_drop(c, i);
            continue;
        }
        if (chance(w->repeat)) {
            cluster_repeat(c, i);
        }
        cluster_deliver(c, i);
    }
}

static void disks(struct cluster *c, const struct weather *w)
{
    for (raft_id id = 1; id <= c->n; id++) {
        const struct cluster_node *node = cluster_node(c, id);
        if (paused_ms[id] > 0) {
            continue;
        }
        if (!chance(w->slow_disk) || node->queue_n > CLUSTER_BATCH_MAX / 2) {
            (void)cluster_store(c, id);
        }
    }
}

static void step(struct cluster *c, const struct weather *w)
{
    if (chance(70)) {
        time_passes(c, 1 + random_below(8));
    }
    if (!chance(w->lag)) {
        network(c, w);
    }
    disks(c, w);
    if (!chance(w->idle)) {
        ask_something(c, w);
    }
    fault(c, w);
}

/* A leader that committed something new, and all its peers have all of its log. */
static bool healed(const struct cluster *c, raft_index before)
{
    const raft_id leader = cluster_leader(c);
    if (leader == 0 || c->committed_n <= before) {
        return false;
    }
    const struct raft *lead = c->nodes[leader - 1].raft;
    struct raft_peer_view peers[RAFT_NODES_MAX * 2];
    const uint32_t n = raft_peers(lead, peers);
    for (uint32_t i = 0; i < n; i++) {
        if (peers[i].match != raft_last(lead) || peers[i].quarantined) {
            return false;
        }
    }
    return raft_commit(lead) == c->committed_n;
}

/* Everything works again: soon a leader commits, and all members have all of it. Returns when, in ms; a minute is too long
 * for the slowest draw (an entry a message, one message on the way, thousands behind). */
static uint32_t heal(struct cluster *c)
{
    memset(c->cut, 0, sizeof(c->cut));
    memset(paused_ms, 0, sizeof(paused_ms));
    for (raft_id id = 1; id <= c->n; id++) {
        if (!cluster_node(c, id)->up) {
            cluster_restart(c, id);
        }
    }
    const struct weather calm = {.loss = 0};
    const raft_index before = c->committed_n;
    uint32_t ms = 0;
    while (!healed(c, before) && ms < 60000) {
        ms += 5;
        time_passes(c, 5);
        for (uint32_t turn = 0; turn < 12; turn++) {
            network(c, &calm);
            disks(c, &calm);
        }
        const raft_id leader = cluster_leader(c);
        if (ms % 500 == 0 && leader != 0 && c->committed_n <= before) {
            (void)cluster_propose(c, leader, 1);
        }
    }
    if (!healed(c, before)) {
        fail_msg("not healed after a minute");
    }
    return ms;
}

static void run(uint64_t seed, struct cluster *sum)
{
    rng = seed * 0x9e3779b97f4a7c15U + 1;
    struct cluster *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    const struct weather w = weather_draw();
    const uint32_t n = 3 + random_below(3);
    struct raft_config config = {.index = 0};
    for (raft_id id = 1; id <= n; id++) {
        if (id <= 2 || chance(80)) {
            config.voters.ids[config.voters.n] = id;
            config.voters.n++;
        }
    }
    const struct raft_options options = {.election_ms = 100,
                                         .heartbeat_ms = 10 + random_below(23),
                                         .clock_drift_ppm = 1000,
                                         .inflight_max = 1 + random_below(8),
                                         .append_entries_max =
                                             1 + random_below(8),
                                         .seed = seed,
                                         .prevote = true,
                                         .check_quorum = true};
    if (seeds_n == 1) {
        c->trace = stdout;
    }
    cluster_init(c, n, &options, &config);
    for (uint32_t i = 0; i < STEPS_N; i++) {
        step(c, &w);
    }
    const uint32_t ms = heal(c);
    slowest_ms = ms > slowest_ms ? ms : slowest_ms;
    /* Nobody lied, so nobody may have been accused. A stale leader is no lie. */
    assert_int_equal(c->alarms[RAFT_ALARM_TWO_LEADERS], 0);
    assert_int_equal(c->alarms[RAFT_ALARM_ACK_REGRESSION], 0);
    sum->committed_n += c->committed_n;
    sum->reads_done += c->reads_done;
    sum->leases_seen += c->leases_seen;
    sum->truncations += c->truncations;
    sum->snapshots += c->snapshots;
    cluster_fini(c);
    free(c);
}

static void seeds_hold(void **state)
{
    (void)state;
    struct cluster *sum = calloc(1, sizeof(*sum));
    assert_non_null(sum);
    for (uint64_t seed = seed_first; seed < seed_first + seeds_n; seed++) {
        seed_now = seed;
        run(seed, sum);
    }
    (void)printf("committed %llu, reads %llu, turns with a lease %llu, "
                 "truncations %llu, snapshots %llu, slowest healing %u ms\n",
                 (unsigned long long)sum->committed_n,
                 (unsigned long long)sum->reads_done,
                 (unsigned long long)sum->leases_seen,
                 (unsigned long long)sum->truncations,
                 (unsigned long long)sum->snapshots, slowest_ms);
    /* A test in which nothing happens would pass too. */
    if (seeds_n > 1) {
        assert_true(sum->committed_n > 0);
        assert_true(sum->reads_done > 0);
        assert_true(sum->leases_seen > 0);
        assert_true(sum->truncations > 0);
        assert_true(sum->snapshots > 0);
    }
    free(sum);
}

/* assert_stub.h's, and which seed it was. */
void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    (void)fprintf(stderr, "seed %llu: %s:%d: %s: ASSERT(%s)\n",
                  (unsigned long long)seed_now, file, line, function,
                  condition);
    abort();
}

static int name_the_seed(void **state)
{
    (void)state;
    (void)printf("last seed: %llu\n", (unsigned long long)seed_now);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        seed_first = strtoull(argv[1], NULL, 10);
        seeds_n = 1;
    }
    if (argc > 2) {
        seeds_n = (uint32_t)strtoul(argv[2], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(seeds_hold, name_the_seed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
