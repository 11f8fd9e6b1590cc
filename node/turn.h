/* turn.h - one node: the one path from inputs to outputs, in turns.
 *
 *   transport_next --> turn_input --.
 *   store_next ------> turn_store --+--> decode -> gate -> raft core -> store batch -> apply -> replies, events, votes
 *   the clock -------> turn_end ----'
 *
 * The owner of the loop calls turn_begin(now), then turn_store() and turn_input() for what has happened (bounded), then turn_end().
 * All decisions about order are in here: what needs no disk is sent at once, the batch goes to the store, what promises something
 * waits for it. batond and the simulator link the same files; they differ in who implements transport.h and store.h.
 *
 * No clock, no thread, no I/O of its own: time comes in, bytes go out through transport.h and store.h. It allocates at turn_open()
 * only. */
#ifndef NODE_TURN_H
#define NODE_TURN_H

#include "raft/raft.h"
#include "raft/store.h"
#include "session/registry.h"
#include "transport/transport.h"

struct turn;

#define TURN_ADDRESS_BYTES 128

/* Where a node can be reached. */
struct turn_member {
    raft_id id;
    char peer[TURN_ADDRESS_BYTES];
    char client[TURN_ADDRESS_BYTES];
    char http[TURN_ADDRESS_BYTES];
};

struct turn_options {
    raft_id id;
    uint64_t cluster;
    char version[64];
    uint64_t election_ms;
    uint64_t heartbeat_ms;
    uint32_t clock_drift_ppm;
    uint32_t append_entries_max;
    uint32_t inflight_max;
    uint64_t seed;
    /* of the first configuration; also the addresses until the log names others */
    struct turn_member members[RAFT_NODES_MAX];
    uint32_t members_n;
    bool join;        /* no first configuration: wait to be added */
    bool lease_reads; /* serve LEASE reads without a round */
    struct registry_limits registry_limits;
    /* a checkpoint at each multiple of it; the same on all nodes */
    uint32_t checkpoint_entries;
    uint32_t log_keep_entries; /* kept behind a checkpoint for slow peers */
    /* history: at least this many entries' events ... */
    uint64_t events_keep_n;
    uint64_t events_keep_ms; /* ... no older than this */
    size_t entries_bytes;    /* of log in memory */
    uint32_t entries_n;      /* likewise; a power of two */
    size_t events_bytes;     /* of history in memory */
    uint32_t pending_max;    /* client commands in flight; a power of two */
    uint32_t reads_max;      /* reads that wait; a power of two */
    uint32_t watches_max;
    uint32_t watches_per_connection_max;
    uint64_t watch_room_bytes; /* watch_env.room_bytes */
    int log_level; /* lines above it aren't even made; 0 error .. 3 debug */
    void (*log)(void *arg, int level,
                const char *line); /* as transport_options.log */
    void *log_arg;
};

/* Defaults for everything but id, cluster, members, seed, log. */
void turn_options_default(struct turn_options *out);

#define TURN_SETTINGS_BYTES 128

/* Takes over what the store found: loads rows, log positions, the log's tail. NULL and a sentence if the data can't be used. The store and
 * the transport stay the caller's. `transport` may be set later (turn_set_transport) but before the first turn. */
struct turn_start {
    struct store *store;
    /* as store_open() gave it; borrowed for the call */
    const struct store_boot *boot;
    uint64_t now_ms;
};
struct turn *turn_open(const struct turn_options *options,
                       const struct turn_start *start, char *error,
                       size_t error_bytes);
/* What peers are told of us, for transport_options: our past, and the settings that must be the same on all nodes, "name=value
 * name=value". */
struct lineage turn_lineage(const struct turn *t);
const char *turn_settings(const struct turn *t);
void turn_set_transport(struct turn *t, struct transport *transport,
                        uint64_t now_ms);
void turn_close(struct turn *t);

void turn_begin(struct turn *t, uint64_t now_ms, uint64_t wall_ms);
/* The clock, read anew after an input was taken and before it is given to turn_input(): what a follower promises counts from when it heard,
 * so a message must never be dated before it came (a process may be stopped between any two lines). */
void turn_clock(struct turn *t, uint64_t now_ms);
void turn_input(struct turn *t, const struct transport_input *input);
void turn_store(struct turn *t, const struct store_event *event);
void turn_end(struct turn *t);

/* When the next turn must begin at the latest. */
uint64_t turn_deadline_ms(const struct turn *t);
/* True while the disk or a peer is about to answer something that somebody waits for. */
bool turn_expects_soon(const struct turn *t);
/* False: queues are full; take nothing more from the transport in this turn. */
bool turn_has_room(const struct turn *t);

/* Stopping: hands leadership over if we lead, refuses new requests, flushes (transport_close() then says goodbye to clients). True once there's nothing left to wait for. */
void turn_stop(struct turn *t);
bool turn_stopped(const struct turn *t);
/* The log level that the admin socket asked for; false: none was. */
bool turn_log_level(const struct turn *t, uint32_t *out_level);
/* NULL, or why this node can't go on: the owner logs it, closes, and exits non-zero. */
const char *turn_fatal(const struct turn *t);

/* Every invariant that holds between turns, of all parts. For tests and the simulator. */
void turn_check(const struct turn *t);

/* Looking, for tests and the simulator. */
const struct raft *turn_raft(const struct turn *t);
const struct registry *turn_registry(const struct turn *t);
raft_index turn_applied(const struct turn *t);

#endif
