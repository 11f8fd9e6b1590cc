#include "sim/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/cover.h"
#include "sim/history.h"
#include "sim/operator.h"
#include "sim/oracle.h"
#include "sim/trace.h"

#define SIM_INSTANT_MAX 10000u

static struct sim_world *running;

struct sim_world *sim_world_now(void)
{
    return running;
}

/* --- what the net tells -------------------------------------------------------------------------------------------------------- */

static struct sim_client *client_at(struct sim_world *w, uint32_t host)
{
    ASSERT(host > SIM_NODES_MAX);
    return w->clients[host - SIM_NODES_MAX - 1];
}

static bool on_accept(void *arg, struct sim_stream *s)
{
    struct sim_world *w = arg;
    return sim_node_accept(&w->nodes[s->hosts[1]], s);
}

static void on_up(void *arg, struct sim_stream *s)
{
    struct sim_world *w = arg;
    if (s->kind == SIM_PEERS) {
        sim_node_up(&w->nodes[s->hosts[0]], s);
    } else if (s->hosts[0] == SIM_HOST_OF_OPERATOR) {
        sim_operator_up(w->operator, s);
    } else {
        sim_client_up(client_at(w, s->hosts[0]), s);
    }
}

static void on_frame(void *arg, struct sim_stream *s, uint32_t side,
                     struct bytes body)
{
    struct sim_world *w = arg;
    sim_world_note(w, 0xF0u + side, s->id, body.n);
    if (s->hosts[side] <= SIM_NODES_MAX) {
        sim_node_frame(&w->nodes[s->hosts[side]], s, side, body);
    } else if (s->hosts[side] == SIM_HOST_OF_OPERATOR) {
        sim_operator_frame(w->operator, s, body);
    } else {
        sim_client_frame(client_at(w, s->hosts[side]), s, body);
    }
}

static void on_down(void *arg, struct sim_stream *s, uint32_t side,
                    const char *why)
{
    struct sim_world *w = arg;
    sim_world_note(w, 0xD0u + side, s->id, 0);
    if (s->hosts[side] <= SIM_NODES_MAX) {
        sim_node_down(&w->nodes[s->hosts[side]], s, side, why);
    } else if (s->hosts[side] == SIM_HOST_OF_OPERATOR) {
        sim_operator_down(w->operator, s);
    } else {
        sim_client_down(client_at(w, s->hosts[side]), s, why);
    }
}

static void on_room(void *arg, struct sim_stream *s, uint32_t side)
{
    struct sim_world *w = arg;
    if (s->hosts[side] <= SIM_NODES_MAX) {
        sim_node_room(&w->nodes[s->hosts[side]], s);
    } else if (s->hosts[side] != SIM_HOST_OF_OPERATOR) {
        sim_client_room(client_at(w, s->hosts[side]), s);
    }
}

/* --- beginning and end ----------------------------------------------------------------------------------------------------------- */

static int32_t draw_ppm(const struct sim_options *o, uint64_t host)
{
    struct sim_random r = sim_random_of(o->seed, SIM_FOR_CLOCK, host);
    if (o->drift_ppm == 0) {
        return 0;
    }
    return (int32_t)sim_below(&r, 2ull * o->drift_ppm + 1) -
           (int32_t)o->drift_ppm;
}

static void make_node(struct sim_world *w, raft_id id)
{
    struct sim_node *n = &w->nodes[id];
    n->world = w;
    n->id = id;
    n->machine = true;
    n->ready = id <= w->options.nodes_n;
    n->told = (2u << w->options.nodes_n) - 2;
    n->random = sim_random_of(w->options.seed, SIM_FOR_NODE, id);
    n->clock.base_us = SIM_S * (100 + 7 * (uint64_t)id);
    n->clock.ppm = draw_ppm(&w->options, id);
    n->disk = sim_disk_new(1000 + ++w->incarnations);
    n->run_us = UINT64_MAX;
    n->inputs_end = &n->inputs;
}

struct sim_world *sim_world_new(const struct sim_options *options)
{
    struct sim_world *w = calloc(1, sizeof *w);
    ASSERT(w != NULL);
    ASSERT(options->nodes_n >= 1 &&
           options->nodes_n + options->spares_n <= SIM_NODES_MAX);
    ASSERT(options->clients_n <= SIM_CLIENTS_MAX);
    running = w;
    w->options = *options;
    const struct sim_net_options net = {
        .seed = options->seed,
        .delay_min_us = options->delay_min_us,
        .delay_max_us = options->delay_max_us,
        .queue_bytes = {[SIM_PEERS] = 8u << 20,
                        [SIM_CLIENT] = options->client_queue_bytes},
    };
    const struct sim_net_hooks hooks = {.arg = w,
                                        .accept = on_accept,
                                        .up = on_up,
                                        .frame = on_frame,
                                        .down = on_down,
                                        .room = on_room};
    w->net = sim_net_new(&w->queue, &w->now_us, &net, &hooks);
    w->raft = raft_oracle_new();
    w->sessions = session_oracle_new(w);
    w->cover = cover_new();
    w->history = sim_history_new(&w->options);
    w->nodes_n = options->nodes_n + options->spares_n;
    w->operator= sim_operator_new(w);
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        make_node(w, id);
    }
    w->clients_n = options->clients_n;
    for (uint32_t i = 0; i < w->clients_n; i++) {
        w->clients[i] = sim_client_new(w, i);
        w->clients[i]->clock.base_us = SIM_S * (500 + 3 * (uint64_t)i);
        w->clients[i]->clock.ppm = draw_ppm(options, SIM_HOST_OF_CLIENT(i));
    }
    return w;
}

void sim_world_free(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->clients_n; i++) {
        sim_client_free(w->clients[i]);
    }
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        sim_node_fini(&w->nodes[id]);
    }
    sim_operator_free(w->operator);
    sim_net_free(w->net);
    raft_oracle_free(w->raft);
    session_oracle_free(w->sessions);
    cover_free(w->cover);
    sim_history_free(w->history);
    sim_queue_fini(&w->queue);
    running = NULL;
    free(w);
}

/* --- going on ------------------------------------------------------------------------------------------------------------------ */

/* L10: who asks, is answered, and asks again at once gets nowhere. */
static void check_instant(struct sim_world *w)
{
    if (w->instant_n > SIM_INSTANT_MAX) {
        sim_world_fail(w, SIM_NOT_LIVE, "L10",
                       "%u events happened at one moment", w->instant_n);
    }
}

bool sim_world_run(struct sim_world *w, uint64_t until_us)
{
    struct sim_event e;
    while (w->failure.verdict == SIM_PASS &&
           sim_queue_next_us(&w->queue) <= until_us) {
        bool any = sim_queue_take(&w->queue, &e);
        ASSERT(any);
        ASSERT(e.at_us >= w->now_us);
        w->instant_n = e.at_us == w->now_us ? w->instant_n + 1 : 0;
        w->now_us = e.at_us;
        check_instant(w);
        w->events_n++;
        e.happen(e.arg, e.a, e.b);
        if (w->trace != NULL) {
            trace_look(w);
        }
    }
    if (w->failure.verdict == SIM_PASS) {
        w->now_us = max_u64(w->now_us, until_us);
    }
    return w->failure.verdict == SIM_PASS;
}

void sim_world_later(struct sim_world *w, uint64_t in_us,
                     const struct sim_event *what)
{
    struct sim_event e = *what;
    e.at_us = w->now_us + in_us;
    sim_queue_put(&w->queue, &e);
}

void sim_world_fail(struct sim_world *w, enum sim_verdict verdict,
                    const char *invariant, const char *format, ...)
{
    va_list args;
    if (w->failure.verdict != SIM_PASS) {
        return;
    }
    w->failure.verdict = verdict;
    w->failure.at_us = w->now_us;
    (void)snprintf(w->failure.invariant, sizeof w->failure.invariant, "%s",
                   invariant);
    va_start(args, format);
    (void)vsnprintf(w->failure.text, sizeof w->failure.text, format, args);
    va_end(args);
}

void sim_world_note(struct sim_world *w, uint64_t a, uint64_t b, uint64_t c)
{
    w->trace_hash = sim_mix(w->trace_hash ^ a, b ^ w->now_us, c);
}

struct sim_node *sim_world_leader(struct sim_world *w)
{
    struct sim_node *found = NULL;
    raft_term term = 0;
    for (raft_id id = 1; id <= w->nodes_n; id++) {
        struct sim_node *n = &w->nodes[id];
        if (sim_node_leads(n) && raft_term_now(turn_raft(n->turn)) > term) {
            term = raft_term_now(turn_raft(n->turn));
            found = n;
        }
    }
    return found;
}
