/* transport.h - transport/transport.h on the simulated net: what a node's turn speaks through. Peers are dialled, and dialled again, as the
 * real one does it; what arrives waits for the node's next turn. */
#ifndef SIM_TRANSPORT_H
#define SIM_TRANSPORT_H

#include "sim/world.h"

#define SIM_ADDRESS_BYTES TURN_ADDRESS_BYTES
#define SIM_PEER_PORT     7101u
#define SIM_CLIENT_PORT   7201u
#define SIM_HTTP_PORT     7301u

struct transport *sim_transport_new(struct sim_node *n);
void sim_transport_free(struct transport *t);
/* As transport_next(); without `clients`, theirs stay where they are. */
bool sim_transport_next(struct transport *t, bool clients,
                        struct transport_input *out);

/* "10.0.0.N:PORT" */
void sim_address(uint32_t node, uint32_t port, char out[SIM_ADDRESS_BYTES]);
/* 0: it's no node's. */
uint32_t sim_address_node(const char *address);

#endif
