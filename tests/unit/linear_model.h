/* linear_model.h - histories that are good because somebody made them so: a scope whose every step is known, and calls that it answers. */
#ifndef TESTS_UNIT_LINEAR_MODEL_H
#define TESTS_UNIT_LINEAR_MODEL_H

#include "sim/linear.h"
#include "sim/random.h"

#define LINEAR_MODEL_OPS_MAX   400u
#define LINEAR_MODEL_ALIVE_MAX 3u

/* A scope whose every step is known; the calls that it answers spread around the time at which they were done. */
struct linear_model {
    struct sim_random random;
    struct linear_op ops[LINEAR_MODEL_OPS_MAX];
    uint32_t n;
    uint64_t now_us;
    uint64_t spread_us;
    uint64_t index; /* next session, or epoch */
    uint64_t alive[LINEAR_MODEL_ALIVE_MAX];
    struct linear_holder holder;  /* epoch 0: nobody */
    struct linear_holder past[8]; /* that were granted */
    uint32_t past_n;
    uint32_t grants_max;
};

/* `n` calls out of that seed; at most so many grants. */
void linear_model_make(struct linear_model *m, uint64_t seed, uint32_t n,
                       uint32_t grants_max);
/* One of the last that were granted; epoch 0: none was. */
struct linear_holder linear_model_past(struct linear_model *m);

#endif
