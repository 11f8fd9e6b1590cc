/* link.h - transport/dial.h on the simulated net: what libbaton speaks through. */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include "sim/client.h"

/* Whose loop the next link_loop_open() makes. */
void sim_link_owner(struct sim_client *c);
bool sim_link_waiting(const struct link_loop *loop);
void sim_link_up(struct link_loop *loop, struct sim_stream *s);
void sim_link_frame(struct link_loop *loop, struct sim_stream *s,
                    struct bytes body);
void sim_link_down(struct link_loop *loop, struct sim_stream *s,
                   const char *why);
void sim_link_room(struct link_loop *loop, struct sim_stream *s);

#endif
