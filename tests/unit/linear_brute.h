/* linear_brute.h - the slow, plain judge beside sim/linear.c: every order of a small history, over every way in which the scope itself may go
 * on. It shares no code with the checker and no idea: epochs that were granted, sessions that are born and die, leases that expire are all
 * moves of their own here. */
#ifndef TESTS_UNIT_LINEAR_BRUTE_H
#define TESTS_UNIT_LINEAR_BRUTE_H

#include "sim/linear.h"

#define BRUTE_OPS_MAX 10u

/* Up to BRUTE_OPS_MAX calls, 16 epochs and 6 sessions. */
bool brute_is_linear(const struct linear_op *ops, uint32_t n);

#endif
