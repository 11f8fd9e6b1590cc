/* cover.h - what must happen now and then, or nobody looked there: the counters of SIM_COVERAGE that no fault counts by itself, each raised
 * where the onlookers see it happen. docs/simulation.md says what each means.
 *
 *    a frame is sent ----> cover_peer_sends, cover_client_sends          a node's turn ends ---> cover_turn
 *    a frame is taken ---> cover_peer_takes, cover_client_takes          a node goes down -----> cover_down
 *
 * They only look: a run is the same with and without them. */
#ifndef SIM_COVER_H
#define SIM_COVER_H

#include "proto/codec.h"
#include "sim/client.h"

struct cover;

struct cover *cover_new(void);
void cover_free(struct cover *c);

void cover_started(struct sim_node *n);
void cover_turn(struct sim_node *n);
/* It is about to be taken down; its turn is still there. */
void cover_down(struct sim_node *n);
void cover_log(struct sim_node *n, const char *line);
void cover_installs(struct sim_node *n, raft_index index);
/* It leads that term now. `forced`: it campaigned since its leader said so. */
void cover_leads(struct sim_node *n, raft_term term, bool forced);

void cover_peer_sends(struct sim_node *n, raft_id to, const Pb__PeerFrame *f);
void cover_peer_takes(struct sim_node *n, struct bytes frame);
void cover_client_sends(struct sim_node *n, const struct sim_client *to,
                        uint64_t conn, struct bytes frame);
void cover_client_takes(struct sim_node *n, uint64_t conn, struct bytes frame);
/* What a client's full stream held up goes on. */
void cover_room(struct sim_node *n);

/* A leader proposes that time ends this lease. */
void cover_expiry(struct sim_world *w, uint64_t lease);
/* What can be told only at the end. */
void cover_end(struct sim_world *w);

#endif
