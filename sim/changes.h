/* changes.h - what a seed draws of changes of members: when, which, and whether the leader that's asked is cut off at that moment. Chance
 * of its own, so that a seed without changes is what it would be if there were none. */
#ifndef SIM_CHANGES_H
#define SIM_CHANGES_H

#include "sim/world.h"

/* Whether there are any in a run of this seed, and how many nodes more for them. */
void changes_options(struct sim_options *o);

struct changes;
/* One after the other from now on, until changes_stop(); or none, if not `on`. */
struct changes *changes_start(struct sim_world *w, bool on);
/* What the operator hasn't done stays undone. */
void changes_stop(struct changes *c);
void changes_free(struct changes *c);
/* One more, of those that make sense at the moment; perhaps none does. */
void changes_one(struct changes *c);

#endif
