/* swarm.h - many runs, each in a process of its own: a broken ASSERT, or a crash, ends that one. */
#ifndef SIM_SWARM_H
#define SIM_SWARM_H

#include "sim/run.h"

#define SWARM_JOBS_MAX   64u
#define SWARM_FAILED_MAX 32u

struct swarm {
    uint64_t from; /* seeds */
    uint64_t to;
    uint64_t seconds; /* no new run is begun after so long; 0: no limit */
    uint32_t jobs;
    bool progress; /* a line on stderr now and then */
};

struct swarm_result {
    uint64_t seeds;
    uint64_t failed;
    uint64_t vacuous;
    uint64_t not_deterministic;
    uint64_t events_n;
    uint64_t simulated_us;
    uint64_t real_ms;
    struct sim_coverage coverage;
    /* The first ones that failed. */
    struct sim_result failures[SWARM_FAILED_MAX];
    uint32_t failures_n;
};

void swarm_run(const struct swarm *s, struct swarm_result *out);
/* One seed, in a process of its own. `log`: what nodes say goes to stderr. */
void swarm_one(uint64_t seed, bool log, struct sim_result *out);

#endif
