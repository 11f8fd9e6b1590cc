/* lab_disk.h - the inside of lab_store.h: what is on disk, for lab_store.c (batches, reads) and lab_disk.c (carrying out). */
#ifndef TESTS_LAB_LAB_DISK_H
#define TESTS_LAB_LAB_DISK_H

#include "tests/lab/lab_store.h"

/* A value with its key or its index. Owns its bytes. */
struct lab_item {
    raft_index index;
    struct bytes key;
    struct bytes value;
    raft_term term;
    uint64_t time_ms;
    uint64_t chain;
    enum raft_kind kind;
};

struct lab_items {
    struct lab_item *at;
    uint32_t n;
    uint32_t capacity;
};

struct lab_disk {
    uint64_t incarnation;
    uint64_t boot;
    bool initialised;
    raft_term term;
    raft_id vote;
    struct raft_pos base; /* the log begins behind it */
    uint64_t base_chain;
    struct lab_items log;
    struct lab_items rows; /* by key */
    struct lab_items incoming_rows;
    bool incoming;
    struct store_checkpoint incoming_checkpoint; /* config is owned */
    struct store_checkpoint checkpoint;
    struct lab_items events;
    raft_index events_base;
};

enum lab_op_type {
    LAB_HARD_STATE,
    LAB_TRUNCATE,
    LAB_APPEND,
    LAB_PUT_ROW,
    LAB_DELETE_ROW,
    LAB_CHECKPOINT,
    LAB_EVENT,
    LAB_TRIM_LOG,
    LAB_TRIM_EVENTS,
    LAB_INCOMING_BEGIN,
    LAB_INCOMING_ROW,
    LAB_INCOMING_INSTALL,
};

struct lab_op {
    enum lab_op_type type;
    struct lab_item item; /* owned */
    raft_id vote;
    struct store_checkpoint checkpoint; /* config is owned */
};

void *lab_alloc(size_t n);
struct bytes lab_copy(struct bytes b);
void lab_drop(struct bytes *b);
struct lab_item *lab_items_add(struct lab_items *items);
void lab_items_clear(struct lab_items *items);
/* Place of the first item whose key isn't below `key`. */
uint32_t lab_items_find(const struct lab_items *items, struct bytes key);

struct raft_pos lab_disk_tail(const struct lab_disk *d, uint64_t *out_chain);
void lab_disk_apply(struct lab_disk *d, const struct lab_op *op);

#endif
