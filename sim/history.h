/* history.h - what simulated clients asked and were told, scope by scope, as nobody but they could know it; and whether it can have been so.
 *
 * Kept for one seed in twenty, and when a run is asked for it (sim_options.linear). It only looks on: the run is the same with and without
 * it. Of an answer it takes what the API promises (client/baton.h), never the revision. */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "sim/client.h"

struct sim_history;

/* NULL: this run's history isn't kept. The others accept that. */
struct sim_history *sim_history_new(const struct sim_options *options);
void sim_history_free(struct sim_history *h);

void sim_history_end(struct sim_history *h, const struct sim_client *c,
                     const struct sim_op *op, const struct baton_reply *reply);
void sim_history_lost(struct sim_history *h, const struct sim_client *c,
                      const struct sim_op *op);
/* An event told that a session was granted a baton. */
void sim_history_granted(struct sim_history *h, const struct sim_client *c,
                         const struct sim_tab *tab, bool group, uint64_t epoch);

/* At the end of a run: S16, unless it has failed already. */
void sim_history_check(struct sim_history *h, struct sim_world *w);

#endif
