/* swarm.h - many runs, each in a process of its own: a broken ASSERT, or a crash, ends that one. */
#ifndef SIM_SWARM_H
#define SIM_SWARM_H

#include "sim/run.h"

#define SWARM_JOBS_MAX    64u
#define SWARM_FAILED_MAX  32u
#define SWARM_REACHED_MAX SCENARIO_STEPS_MAX

struct swarm {
    const struct scenario *scenario; /* NULL: all is drawn */
    uint64_t from;                   /* seeds */
    uint64_t to;
    uint64_t seconds; /* no new run is begun after so long; 0: no limit */
    uint32_t jobs;
    bool progress; /* a line on stderr now and then */
    bool covered;  /* what never happened fails it */
};

struct swarm_result {
    uint64_t seeds;
    uint64_t failed;
    uint64_t vacuous;
    uint64_t not_deterministic;
    uint64_t events_n;
    uint64_t simulated_us;
    uint64_t real_ms;
    uint32_t stopped_by; /* a signal, before all was run; 0: none came */
    struct sim_coverage coverage;
    /* The first ones that failed. */
    struct sim_result failures[SWARM_FAILED_MAX];
    uint32_t failures_n;
    /* In how many seeds the scenario's step with that number found its counter as it expected. */
    uint64_t reached[SWARM_REACHED_MAX];
    /* What should have happened and didn't, in words; empty: nothing. */
    char missing[1024];
};

/* SIGINT, SIGTERM and SIGHUP end it early: what came of the runs until then is told. */
void swarm_run(const struct swarm *s, struct swarm_result *out);
/* What a run of this seed is made of; `scenario` NULL: all is drawn. */
void swarm_plan(const struct scenario *scenario, uint64_t seed,
                struct sim_plan *out);
/* One run, in a process of its own. The plan's record is shared memory, or NULL. Doesn't return if a signal says to end. */
void swarm_one(const struct sim_plan *plan, struct sim_result *out);
/* Is what the scenario expects in each seed among what happened in this one? False: `out` says what isn't. */
MUST_USE bool swarm_covered(const struct scenario *scenario,
                            const struct sim_coverage *coverage, char *out,
                            size_t out_bytes);
/* If it isn't, a run that passed is vacuous. `scenario` may be NULL. */
void swarm_vacuous(const struct scenario *scenario, struct sim_result *r);
/* Memory that a run's process shares with us; never given back. */
void *swarm_shared(size_t bytes);

#endif
