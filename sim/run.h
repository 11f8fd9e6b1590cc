/* run.h - a run and its phases (Brooker, Desai; TigerBeetle's VOPR): boot, chaos, a random quorum healed while the rest stays broken, then
 * all of it healed; what must hold always is checked always, what must happen in the end is checked after each healing. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "sim/scenario.h"

/* How long a drawn run goes without faults at first. */
#define SIM_BOOT_US (3 * SIM_S)

struct sim_result {
    struct sim_failure failure;
    struct sim_coverage coverage;
    struct sim_options options;
    uint64_t simulated_us;
    uint64_t events_n;
    uint64_t trace_hash;
    uint64_t overlap_ms;
    uint64_t unavailable_ms;
    uint64_t commits;
};

struct sim_plan {
    struct sim_options options;
    const struct scenario *scenario; /* NULL: all is drawn from the seed */
    struct sim_record *record; /* NULL: nobody wants to know what was done */
    struct sim_trace *trace;   /* trace.h; NULL: nobody draws it */
    bool log;                  /* what nodes say goes to stderr */
};

/* Runs in this very process: a broken ASSERT ends it, after `out` was filled in (it may be memory that is shared). */
void sim_run(const struct sim_plan *plan, struct sim_result *out);

#endif
