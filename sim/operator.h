/* operator.h - who adds, promotes and removes nodes: what `baton member` does, several at a time, and again until it's done.
 *
 *    DIALS --up--> STATUS --its configuration--> CHANGE --OK, or there's nothing to do--> done
 *      ^                                           |
 *      '------ a while later, another node --------'   refused for now, no answer, not the leader (then it's the leader's turn at once)
 *
 * Each change names the configuration that it's a change of, as a node told it: of two that were made of one, one is refused. A host of its
 * own on the simulated net, whose links nothing happens to. */
#ifndef SIM_OPERATOR_H
#define SIM_OPERATOR_H

#include "sim/action.h"

struct sim_operator;

struct sim_operator *sim_operator_new(struct sim_world *w);
void sim_operator_free(struct sim_operator *o);
/* SIM_ADD, SIM_PROMOTE or SIM_REMOVE of `node`, of which node `via` is asked first; 0: any. More than it can do at once is left undone. */
void sim_operator_ask(struct sim_operator *o, enum sim_verb verb, raft_id node,
                      raft_id via);
/* It has something to do. */
bool sim_operator_busy(const struct sim_operator *o);
/* It leaves undone what isn't done. What it asked for may still happen. */
void sim_operator_stop(struct sim_operator *o);

/* What the net tells it. */
void sim_operator_up(struct sim_operator *o, struct sim_stream *s);
void sim_operator_frame(struct sim_operator *o, struct sim_stream *s,
                        struct bytes body);
void sim_operator_down(struct sim_operator *o, struct sim_stream *s);

#endif
