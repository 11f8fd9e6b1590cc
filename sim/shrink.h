/* shrink.h - from a seed that fails to the smallest scenario that fails the same way (delta debugging: Zeller, Hildebrandt 2002).
 *
 *    run the seed, recording what is done --> tell it as a scenario --> leave out more and more, as long as it still fails so
 *
 * "The same way" is the same invariant; of an ASSERT, the same condition. */
#ifndef SIM_SHRINK_H
#define SIM_SHRINK_H

#include "sim/swarm.h"

struct shrink {
    uint64_t seed;
    uint64_t seconds; /* no new run is begun after so long */
    bool progress;    /* a line on stderr now and then */
};

enum shrink_result {
    SHRINK_DONE,
    SHRINK_PASSES,   /* the seed doesn't fail */
    SHRINK_NOT_TOLD, /* told as a scenario it doesn't fail the same way */
};

struct shrunk {
    struct sim_result failure; /* of the smallest */
    uint32_t runs;
    uint32_t actions_before;
    uint32_t actions_after;
    char *text; /* of the scenario; to be freed */
};

enum shrink_result shrink_run(const struct shrink *s, struct shrunk *out);

#endif
