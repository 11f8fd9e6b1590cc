/* registry_kit.h - what tests of the registry share: a small registry, the commands that they need in one call each, rows kept in
 * memory, and comparing what two replicas said. Every apply is followed by registry_check(). */
#ifndef TESTS_UNIT_REGISTRY_KIT_H
#define TESTS_UNIT_REGISTRY_KIT_H

#include "proto/codec.h"
#include "session/registry.h"

struct kit {
    struct registry *r;
    struct registry_out *out; /* of the last apply */
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;
    /* of the last command of a client: one count for all of them */
    uint64_t sequence;
    bool unchecked; /* no registry_check() after each apply: for many objects */
};

#define KIT_LIMITS                                                             \
    {                                                                          \
        .namespaces_n = 16, .groups_n = 128, .devices_n = 256,                 \
        .sessions_n = 1024, .leases_n = 64, .window_blocks_n = 4096,           \
        .scope_extras_n = 512, .session_extras_n = 1024, .states_n = 16,       \
    }

/* Time starts at 1,000,000 ms, term at 1. */
void kit_init(struct kit *k);
void kit_init_limits(struct kit *k, const struct registry_limits *limits);
void kit_fini(struct kit *k);

/* The next entry, at time_ms; then registry_check(). The reply is in k->out, and returned. */
const struct reply *kit_apply(struct kit *k, const Pb__Command *command);

/* From a client, under the next sequence. The op is set already. */
const struct reply *kit_client(struct kit *k, uint64_t lease, Pb__Command *c);
/* From the leader, under the current term. */
const struct reply *kit_leader(struct kit *k, Pb__Command *c);

/* Applies what's due now, once; returns how many. */
uint32_t kit_due(struct kit *k);
/* The first `max` of it. */
uint32_t kit_due_some(struct kit *k, uint32_t max);
/* Moves on to each next deadline until `ms` from now, and applies what's due then. */
void kit_wait(struct kit *k, uint64_t ms);

/* Ids; the call fails the test if it isn't OK. The first byte of nonce and secret tells them apart. */
uint64_t kit_lease(struct kit *k, uint8_t nonce, const char *label);
uint64_t kit_session(struct kit *k, uint64_t lease, const char *path,
                     int priority);
/* "ns/group/device/tab": the parts that are there, in buffers of `path`. */
struct kit_path {
    Pb__Path path;
    char text[600];
    char *tab;
};
void kit_path(struct kit_path *out, const char *text);
const struct reply *kit_open(struct kit *k, uint64_t lease, const char *path,
                             int priority, uint8_t secret);
const struct reply *kit_attach(struct kit *k, uint64_t lease, uint64_t session,
                               uint8_t secret);
const struct reply *kit_close(struct kit *k, uint64_t lease, uint64_t session,
                              uint32_t attachment);
const struct reply *kit_close_lease(struct kit *k, uint64_t lease, bool detach);
const struct reply *kit_expire(struct kit *k, uint64_t lease);

/* Holder of a scope: 0 if vacant or not there. */
uint64_t kit_holder(struct kit *k, const char *path);
uint64_t kit_epoch(struct kit *k, const char *path);
/* How many events of the last entry are of this kind. */
uint32_t kit_events(const struct kit *k, enum event_kind kind);

/* --- rows: a checkpoint in memory ------------------------------------------------------------------------------------- */
struct kit_row {
    uint8_t key[32];
    uint32_t key_n;
    uint32_t value_n;
    uint8_t *value;
};
struct kit_rows {
    struct kit_row *rows;
    uint32_t n;
    uint32_t capacity;
};
/* Walks what changed into `rows`. */
void kit_checkpoint(struct kit *k, struct kit_rows *rows);
/* A second registry from them, at the same index; checks that it has the same hash. */
void kit_restore(const struct kit *from, struct kit_rows *rows,
                 struct kit *out);
void kit_rows_fini(struct kit_rows *rows);

/* Replies and events say the same: all but slots. Prints what differs. */
bool kit_same_out(const struct registry_out *x, const struct registry_out *y);

#endif
