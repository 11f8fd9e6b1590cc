#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/link.h"
#include "sim/oracle.h"
#include "sim/program.h"
#include "sim/transport.h"

/* A client isn't infinitely fast, either. */
#define STEP_US 50u

struct sim_client *sim_client_new(struct sim_world *w, uint32_t number)
{
    struct sim_client *c = calloc(1, sizeof *c);
    const struct sim_options *o = &w->options;
    size_t at = 0;
    ASSERT(c != NULL);
    c->world = w;
    c->number = number;
    c->host = SIM_HOST_OF_CLIENT(number);
    c->random = sim_random_of(o->seed, SIM_FOR_WORKLOAD, number);
    c->system = sim_random_of(o->seed, SIM_FOR_CLIENT, number);
    c->tabs_n = o->tabs_n < SIM_TABS_MAX ? o->tabs_n : SIM_TABS_MAX;
    (void)snprintf(c->label, sizeof c->label, "client-%u", number);
    for (uint32_t node = 1; node <= w->nodes_n; node++) {
        char address[SIM_ADDRESS_BYTES];
        sim_address(node, SIM_CLIENT_PORT, address);
        at += (size_t)snprintf(c->endpoints + at, sizeof c->endpoints - at,
                               "%s%s", at > 0 ? "," : "", address);
    }
    return c;
}

void sim_client_free(struct sim_client *c)
{
    if (c != NULL) {
        sim_client_kill(c);
        free(c);
    }
}

bool sim_client_start(struct sim_client *c)
{
    char error[256] = "";
    if (c->up) {
        return false;
    }
    const struct baton_options options = {
        .endpoints = c->endpoints,
        .label = c->label,
        .ttl_ms = c->world->options.ttl_ms,
        .timeout_ms = 4000,
        .drift_permille =
            (uint32_t)max_u64(c->world->options.drift_ppm / 1000, 1),
    };
    sim_system_of(c);
    sim_link_owner(c);
    enum baton_status status =
        baton_open(&options, &c->baton, error, sizeof error);
    ASSERT(status == BATON_OK);
    c->up = true;
    c->changed_us = c->world->now_us;
    c->paused = false;
    c->run_us = UINT64_MAX;
    c->watching = false;
    program_start(c);
    sim_client_wake(c, c->world->now_us);
    return true;
}

void sim_client_kill(struct sim_client *c)
{
    if (!c->up) {
        return;
    }
    program_gone(c);
    c->up = false;
    c->changed_us = c->world->now_us;
    sim_queue_drop(&c->world->queue, &c->run_place);
    sim_system_of(c);
    enum baton_status status = baton_close(c->baton, BATON_LEAVE_ABANDON, 0);
    ASSERT(status == BATON_OK);
    c->baton = NULL;
    c->loop = NULL;
    sim_net_process_died(c->world->net, c->host, false);
}

void sim_client_pause(struct sim_client *c, bool paused)
{
    if (c->up && c->paused != paused) {
        c->paused = paused;
        c->run_us = UINT64_MAX;
        sim_queue_drop(&c->world->queue, &c->run_place);
        sim_client_wake(c, c->world->now_us);
    }
}

bool sim_client_may_lead(struct sim_client *c)
{
    if (!c->up) {
        return false;
    }
    sim_system_of(c);
    return baton_right_ms(c->baton) > 0;
}

static void take_events(struct sim_client *c)
{
    struct baton_event e;
    while (c->up && baton_poll(c->baton, 0, &e)) {
        program_event(c, &e);
    }
}

/* Throttled timers fire at whole multiples of their grain. */
static uint64_t timer_us(const struct sim_client *c, uint64_t ms)
{
    if (c->throttle_ms > 0) {
        ms = (ms + c->throttle_ms - 1) / c->throttle_ms * c->throttle_ms;
    }
    return sim_clock_when_us(&c->clock, ms);
}

static void run(void *arg, uint64_t a, uint64_t b)
{
    struct sim_client *c = arg;
    (void)a;
    (void)b;
    ASSERT(c->up);
    ASSERT(!c->paused);
    c->run_us = UINT64_MAX;
    sim_system_of(c);
    sim_world_note(c->world, 0xC1u, c->number, c->world->now_us);
    loop_take(c->baton);
    take_events(c);
    program_step(c);
    int wait_ms = loop_work(c->baton);
    oracle_renewals(c);
    take_events(c);
    uint64_t now_us = c->world->now_us;
    uint64_t next_us = max_u64(c->op_us, now_us + STEP_US);
    if (c->baton->calls.changed || sim_link_waiting(c->loop)) {
        next_us = now_us + STEP_US;
    } else if (wait_ms >= 0) {
        uint64_t at_us = timer_us(c, client_now_ms() + (uint64_t)wait_ms);
        next_us = min_u64(next_us, max_u64(at_us, now_us + STEP_US));
    }
    sim_client_wake(c, next_us);
}

void sim_client_wake(struct sim_client *c, uint64_t at_us)
{
    at_us = max_u64(at_us, c->world->now_us);
    if (!c->up || c->paused || at_us >= c->run_us) {
        return;
    }
    c->run_us = at_us;
    sim_queue_plan(&c->world->queue,
                   &(struct sim_event){.at_us = at_us, .happen = run, .arg = c},
                   &c->run_place);
}

void sim_client_up(struct sim_client *c, struct sim_stream *s)
{
    if (c->up) {
        sim_link_up(c->loop, s);
    }
}

void sim_client_frame(struct sim_client *c, struct sim_stream *s,
                      struct bytes body)
{
    if (c->up) {
        sim_link_frame(c->loop, s, body);
    }
}

void sim_client_down(struct sim_client *c, struct sim_stream *s,
                     const char *why)
{
    if (c->up) {
        sim_link_down(c->loop, s, why);
    }
}

void sim_client_room(struct sim_client *c, struct sim_stream *s)
{
    if (c->up) {
        sim_link_room(c->loop, s);
    }
}
