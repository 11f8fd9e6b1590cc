#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cover.h"
#include "sim/oracle.h"
#include "sim/transport.h"
#include "sim/world.h"

#define INPUTS_A_TURN 1024u
/* A turn takes so long, and so long more for each input: a node isn't infinitely fast. */
#define TURN_US  20u
#define INPUT_US 3u

/* --- clocks -------------------------------------------------------------------------------------------------------------- */

static uint64_t local_us(const struct sim_clock *c, uint64_t true_us)
{
    uint64_t run = true_us - c->since_us;
    int64_t drift = (int64_t)run * c->ppm / 1000000;
    return c->base_us + (uint64_t)((int64_t)run + drift);
}

uint64_t sim_clock_ms(const struct sim_clock *c, uint64_t true_us)
{
    return local_us(c, true_us) / 1000;
}

uint64_t sim_clock_when_us(const struct sim_clock *c, uint64_t ms)
{
    if (ms * 1000 <= c->base_us) {
        return c->since_us;
    }
    /* Rounded down, and then the us or two that integers lose. */
    uint64_t run = ms * 1000 - c->base_us;
    uint64_t at_us = c->since_us + run * 1000000 / (uint64_t)(1000000 + c->ppm);
    while (local_us(c, at_us) < ms * 1000) {
        at_us++;
    }
    return at_us;
}

void sim_clock_rate(struct sim_clock *c, uint64_t true_us, int32_t ppm)
{
    c->base_us = local_us(c, true_us);
    c->since_us = true_us;
    c->ppm = ppm;
}

static uint64_t now_ms(const struct sim_node *n)
{
    return sim_clock_ms(&n->clock, n->world->now_us);
}

static uint64_t wall_ms(const struct sim_node *n)
{
    return (uint64_t)((int64_t)(1700000000000u + now_ms(n)) +
                      n->clock.wall_offset_ms);
}

/* --- starting and ending ------------------------------------------------------------------------------------------------- */

static void on_log(void *arg, int level, const char *line)
{
    struct sim_node *n = arg;
    oracle_log(n, level, line);
}

static void set_options(const struct sim_node *n, struct turn_options *out)
{
    const struct sim_world *w = n->world;
    const struct sim_options *o = &w->options;
    turn_options_default(out);
    out->id = n->id;
    out->cluster = 7;
    (void)snprintf(out->version, sizeof out->version, "sim");
    out->election_ms = o->election_ms;
    out->heartbeat_ms = o->heartbeat_ms;
    out->clock_drift_ppm = max_u64(o->drift_ppm, 1000) > 100000
                               ? 100000u
                               : (uint32_t)max_u64(o->drift_ppm, 1000);
    out->seed = sim_mix(o->seed, n->id, n->world->now_us);
    out->join = n->join;
    out->lease_reads = o->lease_reads;
    out->checkpoint_entries = o->checkpoint_entries;
    out->log_keep_entries = o->log_keep_entries;
    out->registry_limits = (struct registry_limits){
        .namespaces_n = 16,
        .groups_n = 256,
        .devices_n = 1024,
        .sessions_n =
            2 *
            o->sessions_max, /* half of it is for what waits to be removed */
        .leases_n = 1024,
        .window_blocks_n = 8192,
        .scope_extras_n = 1024,
        .session_extras_n = 4096,
        .states_n = 64,
    };
    out->entries_bytes = 8u << 20;
    out->entries_n = 4096;
    out->events_bytes = 1u << 20;
    out->events_keep_n = o->events_keep;
    out->pending_max = 1024;
    out->reads_max = 1024;
    out->watches_max = 256;
    /* Half of what a stream holds; the load's names are short. */
    out->watch_room_bytes =
        min_u64(out->watch_room_bytes, o->client_queue_bytes / 2);
    out->watches_per_connection_max = 16;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if ((n->told & 1u << id) != 0) {
            struct turn_member *m = &out->members[out->members_n++];
            m->id = id;
            sim_address(id, SIM_PEER_PORT, m->peer);
            sim_address(id, SIM_CLIENT_PORT, m->client);
            sim_address(id, SIM_HTTP_PORT, m->http);
        }
    }
    out->log = on_log;
    out->log_arg = (void *)(uintptr_t)n;
    out->log_level = w->log != NULL || w->trace != NULL ? 3 : 2;
}

static void ended(struct sim_node *n, const char *why)
{
    oracle_node_ended(n, why);
}

bool sim_node_start(struct sim_node *n)
{
    struct turn_options options;
    struct store_boot boot;
    char error[512] = "";
    if (n->up || !n->machine || !n->ready || n->refused) {
        return false;
    }
    set_options(n, &options);
    n->store = sim_store_open(n->disk, &boot);
    sim_store_set_read_bytes(n->store, n->world->options.read_bytes);
    oracle_node_started(n, &boot);
    const struct turn_start start = {
        .store = n->store, .boot = &boot, .now_ms = now_ms(n)};
    n->turn = turn_open(&options, &start, error, sizeof error);
    if (n->turn == NULL) {
        sim_store_crash(n->store);
        n->store = NULL;
        ended(n, error);
        return false;
    }
    (void)snprintf(n->world->settings, sizeof n->world->settings, "%s",
                   turn_settings(n->turn));
    n->up = true;
    n->paused = false;
    n->stopping = false;
    n->busy_us = 0;
    n->writing_n = 0;
    n->inputs_end = &n->inputs;
    n->transport = sim_transport_new(n);
    turn_set_transport(n->turn, n->transport, now_ms(n));
    n->run_us = UINT64_MAX;
    sim_node_wake(n, n->world->now_us);
    return true;
}

/* The process is gone, and all that it knew. */
static void take_down(struct sim_node *n, bool silently)
{
    oracle_node_down(n);
    turn_close(n->turn);
    sim_store_crash(n->store);
    sim_transport_free(n->transport);
    n->turn = NULL;
    n->store = NULL;
    n->transport = NULL;
    n->up = false;
    n->paused = false;
    sim_queue_drop(&n->world->queue, &n->run_place);
    n->write_serial++;
    n->writing_n = 0;
    n->write_planned = false;
    n->run_us = UINT64_MAX;
    sim_net_process_died(n->world->net, n->id, silently);
}

/* The transaction at hand may have got there before it was known: LMDB's last page decides, all of it or nothing. */
static void unfinished_write(struct sim_node *n, uint32_t permille)
{
    if (n->writing_n == 0 || n->faults.failure != STORE_FAILURE_NONE) {
        return;
    }
    bool whole = sim_chance(&n->random, permille);
    if (sim_store_cut(n->store, n->writing_n, whole)) {
        n->world->coverage.kept_unacknowledged++;
        n->writing_n = 0;
        oracle_stored(n);
    } else {
        n->world->coverage.lost_unsynced++;
    }
}

void sim_node_kill(struct sim_node *n)
{
    if (n->up) {
        unfinished_write(n, 700);
        take_down(n, false);
        n->world->coverage.kills++;
    }
}

void sim_node_power_off(struct sim_node *n)
{
    if (n->up) {
        unfinished_write(n, 300);
        take_down(n, true);
    }
    if (n->machine) {
        n->machine = false;
        sim_disk_power_off(n->disk);
        sim_net_machine(n->world->net, n->id, false);
        n->world->coverage.power_losses++;
    }
}

void sim_node_fini(struct sim_node *n)
{
    if (n->up) {
        take_down(n, true);
    }
    sim_disk_free(n->disk);
    n->disk = NULL;
    if (n->image != NULL) {
        sim_disk_free(n->image);
        n->image = NULL;
    }
    if (n->lost != NULL) {
        sim_disk_free(n->lost);
        n->lost = NULL;
    }
}

/* What it had before it forgot for the first time is what it promised. */
static void forget(struct sim_node *n, struct sim_disk *has_now)
{
    if (n->lost == NULL) {
        n->lost = n->disk;
    } else {
        sim_disk_free(n->disk);
    }
    n->disk = has_now;
    n->forgot = true;
    n->anew = false;
}

bool sim_node_keeps_out(const struct sim_node *n)
{
    return n->forgot && !n->anew;
}

void sim_node_wipe(struct sim_node *n)
{
    if (!n->up) {
        forget(n, sim_disk_new(1000 + ++n->world->incarnations));
        n->world->coverage.wipes++;
    }
}

void sim_node_image(struct sim_node *n)
{
    if (n->image != NULL) {
        sim_disk_free(n->image);
    }
    n->image = sim_disk_copy(n->disk);
}

void sim_node_restore(struct sim_node *n)
{
    if (!n->up && n->image != NULL) {
        forget(n, n->image);
        n->image = NULL;
        n->world->coverage.images++;
    }
}

void sim_node_rot(struct sim_node *n, uint32_t row)
{
    struct sim_disk_counts counts;
    sim_disk_counts(n->disk, &counts);
    if (!n->up && counts.rows_n > 0 &&
        sim_disk_rot(n->disk, row % counts.rows_n)) {
        n->forgot = true;
        n->rotten = true;
    }
}

void sim_node_stop(struct sim_node *n)
{
    if (n->up && !n->stopping) {
        n->stopping = true;
        sim_node_wake(n, n->world->now_us);
    }
}

void sim_node_pause(struct sim_node *n, bool paused)
{
    if (n->up && n->paused != paused) {
        n->paused = paused;
        if (!paused) {
            sim_node_wake(n, n->world->now_us);
            sim_node_disk(n);
        }
    }
}

bool sim_node_leads(const struct sim_node *n)
{
    return n->up && raft_role_now(turn_raft(n->turn)) == RAFT_LEADER;
}

/* --- the disk --------------------------------------------------------------------------------------------------------------- */

static void written(void *arg, uint64_t serial, uint64_t b)
{
    struct sim_node *n = arg;
    (void)b;
    if (!n->up || serial != n->write_serial) {
        return;
    }
    n->write_planned = false;
    if (n->faults.stalled || n->paused) {
        return; /* sim_node_disk() goes on when they're over */
    }
    if (n->faults.failure != STORE_FAILURE_NONE) {
        n->world->coverage.enospc_leader +=
            n->faults.failure == STORE_FAILURE_DISK_FULL &&
            !sim_store_failed(n->store) && sim_node_leads(n);
        sim_store_fail(n->store, n->faults.failure,
                       n->faults.failure == STORE_FAILURE_DISK_FULL
                           ? "writing failed: the disk is full"
                           : "writing or syncing failed: Input/output error");
        (void)sim_store_write(n->store);
        n->writing_n = 0;
    } else {
        while (n->writing_n > 0) {
            n->writing_n--;
            (void)sim_store_write(n->store);
        }
        oracle_stored(n);
    }
    sim_node_wake(n, n->world->now_us);
    sim_node_disk(n);
}

void sim_node_disk(struct sim_node *n)
{
    const struct sim_options *o = &n->world->options;
    if (!n->up || n->paused || n->faults.stalled || n->write_planned) {
        return;
    }
    if (n->writing_n == 0) {
        /* As the store's writer does: all that waits becomes one transaction. */
        n->writing_n = sim_store_begin(n->store);
    }
    if (n->writing_n == 0) {
        if (sim_store_has_news(n->store)) {
            sim_node_wake(n, n->world->now_us);
        }
        return;
    }
    uint64_t us = sim_between(&n->random, o->disk_min_us, o->disk_max_us);
    us *= n->faults.slow > 0 ? n->faults.slow : 1;
    n->write_planned = true;
    sim_world_later(n->world, us,
                    &(struct sim_event){
                        .happen = written, .arg = n, .a = ++n->write_serial});
}

/* --- turns ------------------------------------------------------------------------------------------------------------------ */

static void plan(struct sim_node *n)
{
    uint64_t at_us = UINT64_MAX;
    uint64_t deadline_ms = turn_deadline_ms(n->turn);
    if (n->inputs != NULL || sim_store_has_news(n->store)) {
        at_us = n->busy_us;
    } else if (deadline_ms != UINT64_MAX) {
        at_us = max_u64(sim_clock_when_us(&n->clock, deadline_ms), n->busy_us);
    }
    if (at_us != UINT64_MAX) {
        sim_node_wake(n, at_us);
    }
}

static bool after_turn(struct sim_node *n)
{
    const char *fatal = turn_fatal(n->turn);
    char why[512];
    if (fatal != NULL) {
        n->world->coverage.eio_abort +=
            sim_store_failed(n->store) && n->faults.failure == STORE_FAILURE_IO;
        (void)snprintf(why, sizeof why, "%s", fatal);
        take_down(n, false);
        ended(n, why);
        return false;
    }
    if (n->stopping && turn_stopped(n->turn)) {
        /* As store_close() does. */
        while (sim_store_write(n->store)) {
        }
        oracle_stored(n);
        take_down(n, false);
        ended(n, "stopped");
        return false;
    }
    return true;
}

static void taken(struct sim_node *n, const struct transport_input *input)
{
    if (input->type == TRANSPORT_PEER_FRAME) {
        cover_peer_takes(n, input->body);
    } else if (input->type == TRANSPORT_CLIENT_FRAME) {
        cover_client_takes(n, input->conn, input->body);
    }
}

static void one_turn(struct sim_node *n)
{
    struct transport_input input;
    struct store_event event;
    uint64_t inputs = 0;
    turn_begin(n->turn, now_ms(n), wall_ms(n));
    if (n->stopping) {
        turn_stop(n->turn);
    }
    while (store_next(n->store, &event)) {
        turn_store(n->turn, &event);
    }
    bool room = turn_has_room(n->turn);
    while (inputs < INPUTS_A_TURN &&
           sim_transport_next(n->transport, room, &input)) {
        turn_clock(n->turn, now_ms(n));
        taken(n, &input);
        turn_input(n->turn, &input);
        inputs++;
    }
    turn_end(n->turn);
    n->turns++;
    n->busy_us = n->world->now_us + TURN_US + inputs * INPUT_US;
}

static void run(void *arg, uint64_t a, uint64_t b)
{
    struct sim_node *n = arg;
    (void)a;
    (void)b;
    ASSERT(n->up);
    n->run_us = UINT64_MAX;
    if (n->paused) {
        return;
    }
    one_turn(n);
    oracle_turn(n);
    if (after_turn(n)) {
        sim_node_disk(n);
        plan(n);
    }
}

void sim_node_wake(struct sim_node *n, uint64_t at_us)
{
    at_us = max_u64(max_u64(at_us, n->busy_us), n->world->now_us);
    if (!n->up || n->paused || at_us >= n->run_us) {
        return;
    }
    n->run_us = at_us;
    sim_queue_plan(&n->world->queue,
                   &(struct sim_event){.at_us = at_us, .happen = run, .arg = n},
                   &n->run_place);
}
