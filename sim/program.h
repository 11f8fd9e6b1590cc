/* program.h - what a simulated client's own program does with libbaton: the load. Unlike the rest of a client it's the simulator's own. */
#ifndef SIM_PROGRAM_H
#define SIM_PROGRAM_H

#include "sim/client.h"

void program_start(struct sim_client *c);
/* The process ends: what it believed and waited for is gone with it. */
void program_gone(struct sim_client *c);
void program_event(struct sim_client *c, const struct baton_event *e);
/* Makes one call, out of turn: with its first tab that can, as a holder if one of its tabs is one. */
void program_call(struct sim_client *c, enum sim_op_kind kind);
/* Does what's due, and sets c->op_us to when more will be. */
void program_step(struct sim_client *c);

#endif
