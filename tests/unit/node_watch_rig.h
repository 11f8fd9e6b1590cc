/* node_watch_rig.h - watches with a registry, a history and a disk behind them, and clients in front that believe what they're told. Each client
 * asserts that no revision comes twice or out of order; rig_assert_true_belief() compares what it believes with what's true. */
#ifndef TESTS_UNIT_NODE_WATCH_RIG_H
#define TESTS_UNIT_NODE_WATCH_RIG_H

#include "node/watches.h"
#include "sim/store.h"
#include "tests/lab/lab_transport.h"
#include "tests/unit/registry_kit.h"

#define RIG_SESSIONS_MAX 8192u
#define RIG_CLIENTS_MAX  8u
#define RIG_ROOM_FULL    (1u << 20)
#define RIG_READ_TAG     (6ull << 56)

/* What one watch was told. Its connection is its number + 1, its request's id 100. */
struct rig_client {
    uint64_t sessions[RIG_SESSIONS_MAX]; /* believed to be there, unordered */
    uint32_t sessions_n;
    uint64_t revision;
    uint64_t room;
    bool takes; /* sends go through at all */
    bool synced;
    uint32_t resets;
    uint32_t parts;
    uint32_t scopes;
    uint32_t batches;
    uint32_t events;
};

struct rig {
    struct kit kit;
    struct watches *ws;
    struct history *history;
    struct sim_disk *disk;
    struct store *store;
    struct transport *transport;
    struct arena scratch;
    struct arena events;
    struct arena decode;
    uint8_t *frame;
    uint64_t horizon;
    struct rig_client clients[RIG_CLIENTS_MAX];
};

/* What a client watches. */
struct rig_filter {
    const char *namespace_name;
    const char *group;
    uint64_t lease;
    uint64_t from;
};

/* NULL: KIT_LIMITS. */
extern const struct registry_limits rig_many; /* thousands of everything */
void rig_init(struct rig *r, const struct registry_limits *limits,
              size_t history_bytes);
void rig_fini(struct rig *r);
/* A group's setup and teardown: memory for a rig in *state, since it's too large for a stack. */
int rig_make(void **state);
int rig_drop(void **state);

/* Entries, published as the turn does; ids. */
uint64_t rig_lease(struct rig *r, uint8_t nonce);
uint64_t rig_labelled(struct rig *r, uint8_t nonce, const char *label);
uint64_t rig_session(struct rig *r, uint64_t on, const char *path);
/* Straight into the registry: the kit checks everything each time, which is too slow for thousands. */
uint64_t rig_quick_session(struct rig *r, uint64_t on, const char *path);
void rig_quick_close(struct rig *r, uint64_t on, uint64_t id);
void rig_close_session(struct rig *r, uint64_t on, uint64_t id);
/* What the kit applied last. */
void rig_publish(struct rig *r);

enum baton_status rig_try_watch(struct rig *r, uint32_t client, uint64_t id,
                                struct rig_filter f, uint32_t *out_reason);
/* It must be taken. The request's id is 100, the connection client + 1. */
struct rig_client *rig_watch(struct rig *r, uint32_t client,
                             struct rig_filter f);
bool rig_pump(struct rig *r);
/* Writes what waits, and hands out what the store has. */
void rig_disk(struct rig *r);
/* Room for everybody, until nothing moves any more. */
void rig_settle(struct rig *r);

bool rig_believes(const struct rig_client *c, uint64_t session);
void rig_assert_true_belief(const struct rig *r, const struct rig_client *c,
                            struct rig_filter f);

#endif
