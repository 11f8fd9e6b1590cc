#include "sim/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/action.h"
#include "sim/changes.h"
#include "sim/chaos.h"
#include "sim/cover.h"
#include "sim/history.h"
#include "sim/operator.h"
#include "sim/oracle.h"
#include "sim/trace.h"

/* So many answers, or a run says nothing. */
#define OPS_MIN 20u

static struct sim_result *result;

static void fill_in(struct sim_world *w, struct sim_result *out)
{
    struct sim_net_stats net;
    sim_net_stats(w->net, &net);
    w->coverage.frames_lost = net.lost;
    w->coverage.frames_doubled = net.doubled;
    w->coverage.frames_overtaken = net.overtaken;
    w->coverage.frames_held = net.held;
    cover_end(w);
    trace_end(w);
    out->failure = w->failure;
    out->coverage = w->coverage;
    out->options = w->options;
    out->simulated_us = w->now_us;
    out->events_n = w->events_n;
    out->trace_hash = w->trace_hash;
    out->overlap_ms = oracle_overlap_ms(w);
    out->unavailable_ms = oracle_unavailable_ms(w);
    out->commits = oracle_committed(w);
}

/* The product's own invariants are invariants of the run. */
void assert_failed(const char *condition, const char *file, int line,
                   const char *function)
{
    struct sim_world *w = sim_world_now();
    if (w != NULL && result != NULL) {
        w->failure.verdict = SIM_PASS;
        sim_world_fail(w, SIM_UNSAFE, "ASSERT", "%s:%d: %s: %s", file, line,
                       function, condition);
        fill_in(w, result);
    } else {
        (void)fprintf(stderr, "baton-sim: %s:%d: %s: ASSERT(%s)\n", file, line,
                      function, condition);
    }
    _exit(1);
}

/* --- liveness ------------------------------------------------------------------------------------------------------------------------- */

/* Goes on, and looks after those who were healed. */
static bool go_on(struct sim_world *w, uint64_t us)
{
    uint64_t until = w->now_us + us;
    while (w->now_us < until) {
        sim_tend(w);
        if (!sim_world_run(w, min_u64(w->now_us + 100 * SIM_MS, until))) {
            return false;
        }
    }
    return true;
}

/* L1: a leader within 12 election timeouts, and the time that restarted nodes withhold their votes and links take to come back. One
 * outside of the core serves as well: L4 tells whether it does. */
static bool await_leader(struct sim_world *w)
{
    const uint64_t within_ms = 24 * w->options.election_ms + 12000;
    uint64_t until = w->now_us + within_ms * SIM_MS;
    while (w->now_us < until && sim_world_leader(w) == NULL) {
        if (!go_on(w, 100 * SIM_MS)) {
            return false;
        }
    }
    if (sim_world_leader(w) == NULL) {
        sim_world_fail(w, SIM_NOT_LIVE, "L1",
                       "a quorum is whole, but has no leader after %llu ms",
                       (unsigned long long)within_ms);
        return false;
    }
    return true;
}

/* L4: clients get answers again, soon. */
static bool await_answers(struct sim_world *w)
{
    uint64_t since = w->now_us;
    uint64_t until = since + 30 * SIM_S;
    while (w->now_us < until && oracle_answered_us(w) <= since + SIM_S) {
        if (!go_on(w, 100 * SIM_MS)) {
            return false;
        }
    }
    if (oracle_answered_us(w) <= since + SIM_S) {
        sim_world_fail(w, SIM_NOT_LIVE, "L4",
                       "a quorum is whole and has a leader, but no client got "
                       "an answer in 30 s");
        return false;
    }
    return true;
}

/* L5: all that run come to the same, once nothing is asked any more. */
static bool await_convergence(struct sim_world *w)
{
    uint64_t until = w->now_us + 120 * SIM_S;
    while (w->now_us < until && !oracle_converged(w)) {
        if (!go_on(w, 100 * SIM_MS)) {
            return false;
        }
    }
    if (!oracle_converged(w)) {
        sim_world_fail(w, SIM_NOT_LIVE, "L5",
                       "all is whole, but the nodes haven't come to the same "
                       "after 120 s");
        return false;
    }
    return true;
}

/* L4, of the operator: a change is made where all is whole, whatever was left half done before. */
static bool await_change(struct sim_world *w, struct changes *changes)
{
    uint64_t until = w->now_us + 30 * SIM_S;
    changes_one(changes);
    while (w->now_us < until && sim_operator_busy(w->operator)) {
        if (!go_on(w, 100 * SIM_MS)) {
            return false;
        }
    }
    if (sim_operator_busy(w->operator)) {
        sim_world_fail(w, SIM_NOT_LIVE, "L4",
                       "all is whole, but a change of members isn't done after "
                       "30 s");
        return false;
    }
    return true;
}

/* --- phases ----------------------------------------------------------------------------------------------------------------------------- */

/* What the seed draws. */
struct drawn {
    struct chaos *chaos;
    struct changes *changes;
};

/* Where members change, it was wiped to be added anew. */
static bool is_left_out(const struct sim_world *w, raft_id id)
{
    return !w->options.changes && sim_node_keeps_out(&w->nodes[id]);
}

/* What the alarm about it asks for: until then it takes clients, but is never told anything. */
static void remove_who_forgot(struct sim_world *w)
{
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        if (is_left_out(w, id)) {
            sim_act(w, &(struct sim_action){.verb = SIM_CRASH, .a = id});
        }
    }
}

static void heal_all(struct sim_world *w)
{
    int64_t all = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        all |= is_left_out(w, id) ? 0 : SIM_SET(id);
    }
    sim_act(w, &(struct sim_action){.verb = SIM_HEAL, .v = all});
}

static bool settle(struct sim_world *w, struct drawn *d,
                   const struct scenario *told)
{
    int64_t core = told == NULL ? 0 : (int64_t)told->core;
    if (core != 0) {
        sim_act(w, &(struct sim_action){.verb = SIM_HEAL, .v = core});
    } else {
        chaos_heal_core(d->chaos);
    }
    trace_phase(w, TRACE_CORE_HEALED);
    if (!await_leader(w) || !await_answers(w) || !go_on(w, 10 * SIM_S)) {
        return false;
    }
    oracle_churned(w);
    remove_who_forgot(w);
    heal_all(w);
    trace_phase(w, TRACE_ALL_HEALED);
    if (told == NULL) {
        chaos_image(d->chaos);
    }
    if (!go_on(w, 15 * SIM_S) ||
        (w->options.changes && !await_change(w, d->changes))) {
        return false;
    }
    w->quiet = true;
    return go_on(w, 10 * SIM_S) && await_convergence(w) &&
           chaos_roll_back(d->chaos) && go_on(w, 10 * SIM_S) &&
           oracle_rolled_back(w);
}

/* Everybody leaves; what they leave behind is over in two minutes; and from then on nothing happens, for an hour, or as many heartbeats as
 * one has at 100 ms. */
static void idle(struct sim_world *w)
{
    struct sim_idle before;
    uint64_t us =
        min_u64(3600 * SIM_S, 36000 * w->options.heartbeat_ms * SIM_MS);
    for (uint32_t i = 0; i < w->clients_n; i++) {
        sim_act(w, &(struct sim_action){.verb = SIM_CRASH,
                                        .a = w->clients[i]->host});
    }
    if (go_on(w, 120 * SIM_S)) {
        oracle_idle_begins(w, &before);
        (void)go_on(w, us);
        oracle_idle_ends(w, &before);
    }
}

/* Faults, drawn or told, and then what must come of it. */
static bool phases(struct sim_world *w, struct drawn *d,
                   const struct scenario *told)
{
    if (!sim_world_run(w, w->now_us + w->options.chaos_us)) {
        return false;
    }
    chaos_stop(d->chaos);
    changes_stop(d->changes);
    if (told == NULL || told->settles) {
        if (!settle(w, d, told)) {
            return false;
        }
        oracle_end(w);
        oracle_leases_end(w);
        if (told == NULL && w->options.calm) {
            idle(w);
        }
    }
    return w->failure.verdict == SIM_PASS;
}

static void say(struct sim_world *w, raft_id node, const char *line)
{
    (void)fprintf(stderr, "%10.3f %u: %s\n", (double)w->now_us / 1e6, node,
                  line);
}

static void start_all(struct sim_world *w)
{
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        (void)sim_node_start(&w->nodes[id]);
    }
    for (uint32_t i = 0; i < w->clients_n; i++) {
        (void)sim_client_start(w->clients[i]);
    }
}

void sim_run(const struct sim_plan *plan, struct sim_result *out)
{
    struct sim_world *w = sim_world_new(&plan->options);
    const struct scenario *told = plan->scenario;
    struct telling *telling = told == NULL ? NULL : telling_new(w, told);
    struct drawn d = {NULL, NULL};
    w->log = plan->log ? say : NULL;
    w->record = plan->record;
    trace_begin(w, plan->trace);
    result = out;
    start_all(w);
    if (told != NULL || sim_world_run(w, SIM_BOOT_US)) {
        d.chaos = chaos_start(w, told == NULL || told->swarm);
        d.changes = changes_start(w, told == NULL || told->swarm);
        trace_phase(w, TRACE_CHAOS);
        if (phases(w, &d, told) && telling != NULL) {
            telling_end(telling);
        }
    }
    sim_history_check(w->history, w);
    if (w->failure.verdict == SIM_PASS && w->coverage.ops_ok < OPS_MIN &&
        told == NULL) {
        sim_world_fail(w, SIM_VACUOUS, "-",
                       "only %llu calls were answered: that says nothing",
                       (unsigned long long)w->coverage.ops_ok);
    }
    fill_in(w, out);
    result = NULL;
    sim_world_free(w);
    telling_free(telling);
    chaos_free(d.chaos);
    changes_free(d.changes);
}
