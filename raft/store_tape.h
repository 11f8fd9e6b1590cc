/* store_tape.h - batches on their way from the loop to the writer: operations as bytes, one behind the other.
 *
 *   tape:  | batch head | op | op | ... | batch head | op | ... | batch head | op ...
 *          0          taken                        committed (= open)        end
 *            written      in the writer's hands      the open batch
 *
 * The loop alone moves `end` and `open`; `committed` and `taken` are guarded by the store's lock. There are two: the
 * loop changes to the other one whenever that is empty, so that none grows longer than what is waiting, and the bytes of a
 * batch never move. The memory is address space until it is touched. */
#ifndef RAFT_STORE_TAPE_H
#define RAFT_STORE_TAPE_H

#include "raft/store.h"

enum store_op_type {
    STORE_OP_HARD_STATE = 1,
    STORE_OP_TRUNCATE,
    STORE_OP_APPEND,
    STORE_OP_PUT_ROW,
    STORE_OP_DELETE_ROW,
    STORE_OP_CHECKPOINT,
    STORE_OP_EVENT,
    STORE_OP_TRIM_LOG,
    STORE_OP_TRIM_EVENTS,
    STORE_OP_INCOMING_BEGIN,
    STORE_OP_INCOMING_ROW,
    STORE_OP_INCOMING_INSTALL,
};

/* One operation; its key and then its data follow it. */
struct store_op {
    uint32_t type;
    uint32_t kind;
    uint64_t index; /* of the entry, revision, first to keep; the vote */
    uint64_t term;
    uint64_t time_ms;
    uint64_t chain;
    uint32_t key_n;
    uint32_t data_n;
};

struct store_batch {
    uint64_t number;
    uint64_t committed_us;
    uint64_t bytes; /* with this head */
};

struct store_tape {
    uint8_t *memory;
    size_t bytes_max;
    size_t taken;
    size_t committed;
    size_t open;
    size_t end;
};

/* 0, or errno. */
MUST_USE int store_tape_init(struct store_tape *tape, size_t bytes_max);
void store_tape_fini(struct store_tape *tape);

/* Forgets everything, for the loop to write from the start. */
void store_tape_rewind(struct store_tape *tape);

/* Gives back the pages of a tape that grew large once; its content is void then. */
void store_tape_shrink(struct store_tape *tape);

/* Adds an op to the open batch and copies key and data behind it. Running out of the tape is the caller's bug: it took in
 * more although store_room() was 0. */
void store_tape_add(struct store_tape *tape, const struct store_op *op,
                    struct bytes key, struct bytes data);

/* Ends the open batch. */
void store_tape_close(struct store_tape *tape, uint64_t number,
                      uint64_t now_us);

/* The batch at `offset`, and the first op of it: call store_tape_op() until it returns NULL. */
const struct store_batch *store_tape_batch(const struct store_tape *tape,
                                           size_t offset);

struct store_tape_walk {
    const uint8_t *at;
    const uint8_t *end;
};
struct store_tape_walk store_tape_ops(const struct store_batch *batch);
const struct store_op *store_tape_op(struct store_tape_walk *walk,
                                     struct bytes *out_key,
                                     struct bytes *out_data);

/* Bytes of the open batch. */
static inline size_t store_tape_open_bytes(const struct store_tape *tape)
{
    return tape->end - tape->open;
}

#endif
