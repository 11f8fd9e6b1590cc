/* lab.h - a cluster in one process, moved by hand: whole turns on stores and links that do what the test says, when it says so.
 *
 *     lab_tick()    a node's time passes           lab_deliver()  one frame arrives
 *     lab_write()   its disk writes one batch      lab_client()   a request arrives
 *     lab_settle()  all of the last three, until nothing moves any more, while no time passes
 *
 * Deterministic: no thread, no clock, nothing random but the seed. Each step is one turn of one node, followed by turn_check(). Each
 * node has a clock of its own. A stream between two nodes comes up as soon as both run, want each other and aren't cut; what's on its way
 * when it goes down is lost. What nodes say goes to the listener. */
#ifndef TESTS_LAB_LAB_H
#define TESTS_LAB_LAB_H

#include "node/turn.h"
#include "sim/store.h"

#define LAB_NODES_MAX 7u
#define LAB_STEP_MS   10u
#define LAB_WALL_MS   1700000000000ull
#define LAB_CONNS_MAX 16u

/* Any may be NULL. Bytes are valid during the call. */
struct lab_listener {
    void *arg;
    void (*log)(void *arg, raft_id node, int level, const char *line);
    void (*client)(void *arg, raft_id node, uint64_t conn, struct bytes body);
    void (*closed)(void *arg, raft_id node, uint64_t conn, const char *why);
    void (*frame)(void *arg, raft_id from, raft_id to, struct bytes body);
    void (*stored)(void *arg, raft_id node, const char *what);
    /* The node is no longer there: what it died of; "stopped" if that's what it was asked for. */
    void (*ended)(void *arg, raft_id node, const char *why);
};

struct lab_input;
struct lab_frame;

struct lab_node {
    struct lab *lab;
    raft_id id;
    bool up;
    bool join;
    bool held;    /* lab_settle() leaves its disk alone */
    bool gathers; /* see lab_gather() */
    bool stopping;
    uint64_t now_ms;
    struct sim_disk *disk; /* outlives crashes */
    struct store *store;
    struct transport *transport;
    struct turn *turn;
    struct lab_input *inputs; /* oldest first */
    uint64_t rooms[LAB_CONNS_MAX];
};

struct lab {
    uint32_t n;
    uint32_t founders_n; /* of the first configuration: 1 .. founders_n */
    struct lab_node nodes[LAB_NODES_MAX + 1]; /* 0 isn't used */
    struct turn_options options;              /* but id and join */
    struct lab_frame *frames;                 /* on their way, oldest first */
    bool cut[LAB_NODES_MAX + 1][LAB_NODES_MAX + 1]; /* from, to */
    bool linked[LAB_NODES_MAX + 1][LAB_NODES_MAX + 1];
    bool refused[LAB_NODES_MAX + 1][LAB_NODES_MAX + 1];
    uint64_t incarnations;
    uint64_t read_bytes_max; /* see sim_store_set_read_bytes() */
    struct lab_listener listener;
};

/* Small limits, everything else as batond has it; change lab->options before lab_start(). */
void lab_init(struct lab *lab, uint32_t founders_n,
              const struct lab_listener *listener);
void lab_fini(struct lab *lab);

struct lab_node *lab_node(struct lab *lab, raft_id id);
/* Starts a node on its disk, or on a new one. False, with a sentence to the listener's `ended`: its data can't be used. */
bool lab_start(struct lab *lab, raft_id id);
void lab_crash(struct lab *lab, raft_id id);
/* SIGTERM. */
void lab_stop(struct lab *lab, raft_id id);
/* Another node, that waits to be added. */
raft_id lab_join(struct lab *lab);
/* Its disk is another one from now on; it must be down. NULL: a fresh one. Takes over `disk`. */
void lab_replace_disk(struct lab *lab, raft_id id, struct sim_disk *disk);

void lab_tick(struct lab *lab, raft_id id, uint64_t ms);
/* One step of time, in one turn: the node stood still. */
void lab_stall(struct lab *lab, raft_id id, uint64_t ms);
/* What comes to it waits, so that one turn takes all of it; off: that turn. */
void lab_gather(struct lab *lab, raft_id id, bool on);
bool lab_write(struct lab *lab, raft_id id);
/* The oldest frame from `from` (0: anybody) to `to` (0: anybody); false: none. */
bool lab_deliver(struct lab *lab, raft_id from, raft_id to);
bool lab_lose(struct lab *lab, raft_id from, raft_id to);
uint32_t lab_frames(const struct lab *lab, raft_id from, raft_id to);
/* Brings streams up or down as things are. */
bool lab_link(struct lab *lab);
void lab_settle(struct lab *lab);
/* Time for all, settled after every step. */
void lab_run(struct lab *lab, uint64_t ms);

void lab_client(struct lab *lab, raft_id id, uint64_t conn, struct bytes body);
void lab_client_close(struct lab *lab, raft_id id, uint64_t conn);
void lab_set_room(struct lab *lab, raft_id id, uint64_t conn, uint64_t bytes);

#endif
