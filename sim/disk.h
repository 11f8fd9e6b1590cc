/* disk.h - the inside of store.h: what is on disk, for store.c (batches, reads), disk.c (carrying out) and store_text.c. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim/store.h"

/* A value with its key or its index. Owns its bytes. */
struct sim_item {
    raft_index index;
    struct bytes key;
    struct bytes value;
    raft_term term;
    uint64_t time_ms;
    uint64_t chain;
    enum raft_kind kind;
};

struct sim_items {
    struct sim_item *at;
    uint32_t n;
    uint32_t capacity;
};

struct sim_disk {
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
    uint64_t salt; /* an image draws other numbers than the original */
    bool initialised;
    raft_term term;
    raft_id vote;
    struct raft_pos base; /* the log begins behind it */
    uint64_t base_chain;
    struct sim_items log;
    struct sim_items rows; /* by key */
    struct sim_items incoming_rows;
    bool incoming;
    struct store_checkpoint incoming_checkpoint; /* config is owned */
    struct store_checkpoint checkpoint;
    struct sim_items events;
    raft_index events_base;
};

enum sim_op_type {
    SIM_HARD_STATE,
    SIM_TRUNCATE,
    SIM_APPEND,
    SIM_PUT_ROW,
    SIM_DELETE_ROW,
    SIM_CHECKPOINT,
    SIM_EVENT,
    SIM_TRIM_LOG,
    SIM_TRIM_EVENTS,
    SIM_INCOMING_BEGIN,
    SIM_INCOMING_ROW,
    SIM_INCOMING_INSTALL,
};

struct sim_op {
    enum sim_op_type type;
    struct sim_item item; /* owned */
    raft_id vote;
    struct store_checkpoint checkpoint; /* config is owned */
};

/* What the oldest batch that waits has; false: none waits. */
bool sim_store_oldest(const struct store *s, const struct sim_op **out_ops,
                      uint32_t *out_n);

void *sim_alloc(size_t n);
struct bytes sim_copy(struct bytes b);
void sim_drop(struct bytes *b);
struct sim_item *sim_items_add(struct sim_items *items);
void sim_items_clear(struct sim_items *items);
/* Place of the first item whose key isn't below `key`. */
uint32_t sim_items_find(const struct sim_items *items, struct bytes key);

struct raft_pos sim_disk_tail(const struct sim_disk *d, uint64_t *out_chain);
void sim_disk_apply(struct sim_disk *d, const struct sim_op *op);

#endif
