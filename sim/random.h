/* random.h - where all chance in the simulator comes from: streams that don't disturb each other.
 *
 * A stream is named by (seed, purpose, id), so that drawing once more from one of them changes nothing in the others: a fault that is
 * taken out while a failure is being made smaller doesn't reshuffle the rest of the run. Integers alone, the same on every machine. */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include "proto/base.h"

enum sim_purpose {
    SIM_FOR_OPTIONS = 1,
    SIM_FOR_FAULTS,
    SIM_FOR_PACKETS,
    SIM_FOR_NODE,
    SIM_FOR_CLIENT,
    SIM_FOR_WORKLOAD,
    SIM_FOR_CLOCK,
    SIM_FOR_MEDIA,
    SIM_FOR_OPERATOR,
    SIM_FOR_MEMBERS,
};

/* splitmix64 (Steele, Lea, Flood 2014). */
struct sim_random {
    uint64_t state;
};

struct sim_random sim_random_of(uint64_t seed, enum sim_purpose purpose,
                                uint64_t id);
uint64_t sim_random(struct sim_random *r);
/* 0 .. n - 1; n > 0. */
uint64_t sim_below(struct sim_random *r, uint64_t n);
/* from .. to, both included. */
uint64_t sim_between(struct sim_random *r, uint64_t from, uint64_t to);
bool sim_chance(struct sim_random *r, uint32_t permille);
/* Exponentially distributed around `mean`, at most 8 times that: what happens seldom and comes in bursts. */
uint64_t sim_seldom(struct sim_random *r, uint64_t mean);
/* From .. to, each order of magnitude as likely as another; 0 < from <= to. */
uint64_t sim_magnitude(struct sim_random *r, uint64_t from, uint64_t to);
/* A hash of three numbers, for what is decided once and looked up again. */
uint64_t sim_mix(uint64_t a, uint64_t b, uint64_t c);

#endif
