/* amnesia.h - which node may lose its memory so that the others must notice: what docs/guarantees.md, 12 promises, and no more.
 *
 * A minority may have forgotten, ever. Whoever could let a node in must know the record that convicts it: of its data directory for one that
 * is wiped, of a start after the copy was made for one whose image comes back. An image from within the current run is told by the leader
 * alone, if that stays; so nobody restores one while leaders may go. */
#ifndef SIM_AMNESIA_H
#define SIM_AMNESIA_H

#include "sim/world.h"

/* How many nodes have forgotten. */
uint32_t amnesia_n(const struct sim_world *w);
bool amnesia_may_wipe(const struct sim_world *w, const struct sim_node *n);
bool amnesia_may_restore(const struct sim_world *w, const struct sim_node *n);
/* What's on a disk is damaged, and its node won't start from it: nobody needs to know. */
bool amnesia_may_rot(const struct sim_world *w, const struct sim_node *n);

#endif
