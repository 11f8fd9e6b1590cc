/* store_apply.c - carrying out the ops of a batch in a write transaction. */
#include "raft/store_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void close_log(struct store_txn *t)
{
    if (t->log != NULL) {
        mdb_cursor_close(t->log);
        t->log = NULL;
    }
}

static int open_log(struct store_txn *t)
{
    return t->log != NULL ? 0 : mdb_cursor_open(t->txn, t->s->db.log, &t->log);
}

static int damaged_entry(struct store_txn *t, raft_index index)
{
    (void)snprintf(t->s->what, sizeof(t->s->what), "log entry %llu",
                   (unsigned long long)index);
    return STORE_DAMAGED;
}

/* Term and chain of the entry at `index`, which is in base .. tail. */
static int entry_at(struct store_txn *t, raft_index index,
                    struct raft_pos *out_pos, uint64_t *out_chain)
{
    const struct store_state *st = &t->state;
    ASSERT(index >= st->base.index);
    ASSERT(index <= st->tail.index);
    if (index == st->base.index) {
        *out_pos = st->base;
        *out_chain = st->base_chain;
        return 0;
    }
    int rc = open_log(t);
    if (rc != 0) {
        return rc;
    }
    struct store_entry entry = {.index = index};
    rc = store_log_get(t->log, MDB_SET_RANGE, &t->s->gather, &entry);
    if (rc == MDB_NOTFOUND || rc == STORE_DAMAGED ||
        (rc == 0 && entry.index != index)) {
        return damaged_entry(t, index);
    }
    if (rc == 0) {
        *out_pos = (struct raft_pos){entry.index, entry.term};
        *out_chain = entry.chain;
    }
    return rc;
}

static int apply_append(struct store_txn *t, const struct store_op *op,
                        struct bytes data)
{
    struct store_state *st = &t->state;
    struct store_entry entry = {
        .index = op->index,
        .term = op->term,
        .kind = (enum raft_kind)op->kind,
        .time_ms = op->time_ms,
        .chain = op->chain,
        .data = data,
    };
    /* What the next start would refuse must not get in. */
    ASSERT(entry.index == st->tail.index + 1);
    ASSERT(entry.term >= st->tail.term);
    ASSERT(entry.chain == store_chain(st->tail_chain, &entry));
    int rc = open_log(t);
    if (rc != 0) {
        return rc;
    }
    uint8_t head[STORE_LOG_HEAD_BYTES];
    store_log_encode(&entry, head);
    rc = store_chunks_put(t->log, entry.index,
                          (struct bytes){head, sizeof(head)}, data, MDB_APPEND);
    if (rc == 0) {
        st->tail = (struct raft_pos){entry.index, entry.term};
        st->tail_chain = entry.chain;
    }
    return rc;
}

static int apply_truncate(struct store_txn *t, raft_index from)
{
    struct store_state *st = &t->state;
    /* The base is covered by a checkpoint, so committed. */
    ASSERT(from > st->base.index);
    if (from > st->tail.index) {
        return 0;
    }
    struct raft_pos pos;
    uint64_t chain;
    int rc = entry_at(t, from - 1, &pos, &chain);
    if (rc != 0) {
        return rc;
    }
    close_log(t);
    rc = store_delete_from(t->txn, t->s->db.log, from);
    if (rc == 0) {
        st->tail = pos;
        st->tail_chain = chain;
    }
    return rc;
}

static int apply_trim_log(struct store_txn *t, raft_index first)
{
    struct store_state *st = &t->state;
    /* What no checkpoint covers is kept, whatever was asked for. */
    first = min_u64(first, st->checkpoint.index + 1);
    first = min_u64(first, st->tail.index + 1);
    if (first <= st->base.index + 1) {
        return 0;
    }
    struct raft_pos pos;
    uint64_t chain;
    int rc = entry_at(t, first - 1, &pos, &chain);
    if (rc == 0) {
        st->base = pos;
        st->base_chain = chain;
        st->log_waste = true;
    }
    return rc;
}

static int apply_event(struct store_txn *t, raft_index revision,
                       struct bytes data)
{
    struct store_state *st = &t->state;
    ASSERT(revision > 0);
    if (revision < st->events_base) {
        return 0; /* trimmed before a restart replayed it */
    }
    unsigned flags = MDB_APPEND;
    if (revision <= st->events_last) {
        /* A restart replays the log behind the checkpoint, and its events with it: the same ones. */
        uint8_t key_bytes[STORE_KEY_BYTES];
        store_pack_u64(key_bytes, revision);
        MDB_val key = {sizeof(key_bytes), key_bytes};
        MDB_val value;
        int rc = mdb_get(t->txn, t->s->db.events, &key, &value);
        if (rc != MDB_NOTFOUND) {
            return rc;
        }
        flags = 0;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(t->txn, t->s->db.events, &cursor);
    if (rc != 0) {
        return rc;
    }
    uint8_t head[STORE_EVENT_HEAD_BYTES];
    store_event_encode(revision, data, head);
    rc = store_chunks_put(cursor, revision, (struct bytes){head, sizeof(head)},
                          data, flags);
    mdb_cursor_close(cursor);
    st->events_last = max_u64(st->events_last, revision);
    return rc;
}

int store_checkpoint_put(struct store_txn *t, const char *name,
                         const struct store_checkpoint *c)
{
    size_t n = STORE_CHECKPOINT_BYTES + c->config.n;
    int rc = store_buffer_reserve(&t->s->gather, n);
    if (rc != 0) {
        return rc;
    }
    store_checkpoint_encode(c, t->s->gather.data);
    store_copy(t->s->gather.data + STORE_CHECKPOINT_BYTES, c->config.data,
               c->config.n);
    return store_meta_put(t->txn, t->s->db.meta, name,
                          (struct bytes){t->s->gather.data, n});
}

static int apply_checkpoint(struct store_txn *t,
                            const struct store_checkpoint *c)
{
    struct store_state *st = &t->state;
    ASSERT(c->pos.index >= st->checkpoint.index);
    if (c->pos.index > st->tail.index) {
        /* A start without a log, from a state that others agreed on: only an empty log may begin behind it. */
        ASSERT(st->base.index == st->tail.index);
        st->base = c->pos;
        st->base_chain = c->chain;
        st->tail = c->pos;
        st->tail_chain = c->chain;
    }
    struct raft_pos pos;
    uint64_t chain;
    int rc = entry_at(t, c->pos.index, &pos, &chain);
    if (rc != 0) {
        return rc;
    }
    /* The next start compares them, and would refuse. */
    ASSERT(pos.term == c->pos.term);
    ASSERT(chain == c->chain);
    st->checkpoint = c->pos;
    st->checkpoint_chain = c->chain;
    return store_checkpoint_put(t, "checkpoint", c);
}

static int apply_checkpoint_op(struct store_txn *t, uint32_t type,
                               struct bytes fixed, struct bytes config)
{
    struct store_checkpoint c;
    bool whole = store_checkpoint_decode(fixed, &c);
    ASSERT(whole);
    c.config = config;
    if (type == STORE_OP_CHECKPOINT) {
        return apply_checkpoint(t, &c);
    }
    if (type == STORE_OP_INCOMING_BEGIN) {
        return store_apply_incoming_begin(t, &c);
    }
    ASSERT(type == STORE_OP_INCOMING_INSTALL);
    struct store_state *st = &t->state;
    struct raft_pos pos = {0};
    uint64_t chain = 0;
    if (c.pos.index >= st->base.index && c.pos.index <= st->tail.index) {
        int rc = entry_at(t, c.pos.index, &pos, &chain);
        if (rc != 0) {
            return rc;
        }
    }
    close_log(t);
    /* Equal index and term mean equal chain; entries behind another chain could not be verified at the next start. */
    bool held =
        pos.index == c.pos.index && pos.term == c.pos.term && chain == c.chain;
    int rc = store_apply_install(t, &c);
    if (rc != 0) {
        return rc;
    }
    st->base = c.pos;
    st->base_chain = c.chain;
    if (held) {
        st->log_waste = true;
        return 0;
    }
    st->tail = c.pos;
    st->tail_chain = c.chain;
    st->log_waste = false;
    return mdb_drop(t->txn, t->s->db.log, 0);
}

int store_apply(struct store_txn *t, const struct store_op *op,
                struct bytes key, struct bytes data)
{
    struct store_state *st = &t->state;
    switch ((enum store_op_type)op->type) {
    case STORE_OP_HARD_STATE:
        ASSERT(op->term >= st->term);
        st->term = op->term;
        st->vote = (raft_id)op->index;
        return 0;
    case STORE_OP_TRUNCATE:
        return apply_truncate(t, op->index);
    case STORE_OP_APPEND:
        return apply_append(t, op, data);
    case STORE_OP_PUT_ROW:
        return store_apply_row(t, key, data, st->active);
    case STORE_OP_DELETE_ROW:
        return store_apply_row_delete(t, key);
    case STORE_OP_EVENT:
        return apply_event(t, op->index, data);
    case STORE_OP_TRIM_LOG:
        return apply_trim_log(t, op->index);
    case STORE_OP_TRIM_EVENTS:
        if (op->index > st->events_base) {
            st->events_base = op->index;
            st->events_waste = true;
        }
        return 0;
    case STORE_OP_CHECKPOINT:
    case STORE_OP_INCOMING_BEGIN:
    case STORE_OP_INCOMING_INSTALL:
        return apply_checkpoint_op(t, op->type, key, data);
    case STORE_OP_INCOMING_ROW:
        ASSERT(st->incoming);
        return store_apply_row(t, key, data, st->active ^ 1U);
    }
    ASSERT(false);
}

int store_tidy(struct store_txn *t, uint32_t keys_max)
{
    struct store_state *st = &t->state;
    int rc = 0;
    close_log(t);
    if (st->rows_waste) {
        ASSERT(!st->incoming);
        rc = mdb_drop(t->txn, t->s->db.rows[st->active ^ 1U], 0);
        st->rows_waste = false;
    }
    if (rc == 0 && st->log_waste) {
        rc = store_delete_below(t->txn, t->s->db.log, st->base.index + 1,
                                keys_max, &st->log_waste);
    }
    if (rc == 0 && st->events_waste) {
        rc = store_delete_below(t->txn, t->s->db.events, st->events_base,
                                keys_max, &st->events_waste);
    }
    return rc;
}
