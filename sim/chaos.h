/* chaos.h - what a seed draws: the cluster, its load, and what goes wrong with them; and how that is taken back. */
#ifndef SIM_CHAOS_H
#define SIM_CHAOS_H

#include "sim/world.h"

/* What a run of this seed is made of. */
void chaos_options(uint64_t seed, struct sim_options *out);

struct chaos;
/* Faults happen from now on, until chaos_stop(); or none, if not `on`. */
struct chaos *chaos_start(struct sim_world *w, bool on);
void chaos_stop(struct chaos *c);
void chaos_free(struct chaos *c);
/* A random quorum and all clients are made whole, and stay so; what else is broken stays broken. */
void chaos_heal_core(struct chaos *c);

/* Now and then: a follower's disk is copied; and later, when all have come to the same and nobody asks for anything, that copy comes back.
 * Nothing can be lost by that, whoever leads, but what that node acknowledged. False: the run has failed. */
void chaos_image(struct chaos *c);
bool chaos_roll_back(struct chaos *c);

#endif
