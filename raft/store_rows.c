/* store_rows.c - the two tables of rows: the active one, and the one that a snapshot is received into.
 *
 * Which is active stands in the state record, so installing a snapshot costs one word however many rows it has. The
 * other table is emptied afterwards. A walk over the active one is for the loop's thread, at boot or after an install. */
#include "raft/store_inner.h"

#include <stdio.h>

int store_apply_row(struct store_txn *t, struct bytes key, struct bytes value,
                    uint32_t table)
{
    ASSERT(key.n > 0);
    ASSERT(key.n <= STORE_ROW_KEY_BYTES_MAX);
    MDB_val k = {key.n, (void *)(uintptr_t)key.data};
    MDB_val v = {STORE_ROW_HEAD_BYTES + value.n, NULL};
    int rc = mdb_put(t->txn, t->s->db.rows[table], &k, &v, MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    store_pack_u64(v.mv_data, store_row_checksum(key, value));
    store_copy((uint8_t *)v.mv_data + STORE_ROW_HEAD_BYTES, value.data,
               value.n);
    return 0;
}

int store_apply_row_delete(struct store_txn *t, struct bytes key)
{
    ASSERT(key.n > 0);
    MDB_val k = {key.n, (void *)(uintptr_t)key.data};
    int rc = mdb_del(t->txn, t->s->db.rows[t->state.active], &k, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc; /* made and gone between checkpoints */
}

static bool same_incoming(const struct store_state *st,
                          const struct store_checkpoint *c)
{
    return st->incoming && st->incoming_pos.index == c->pos.index &&
           st->incoming_pos.term == c->pos.term &&
           st->incoming_chain == c->chain && st->incoming_hash == c->hash;
}

int store_apply_incoming_begin(struct store_txn *t,
                               const struct store_checkpoint *c)
{
    struct store_state *st = &t->state;
    ASSERT(c->pos.index > 0);
    if (same_incoming(st, c)) {
        return 0;
    }
    int rc = mdb_drop(t->txn, t->s->db.rows[st->active ^ 1U], 0);
    if (rc != 0) {
        return rc;
    }
    st->rows_waste = false;
    st->incoming = true;
    st->incoming_pos = c->pos;
    st->incoming_chain = c->chain;
    st->incoming_hash = c->hash;
    return store_checkpoint_put(t, "incoming", c);
}

int store_apply_install(struct store_txn *t, const struct store_checkpoint *c)
{
    struct store_state *st = &t->state;
    ASSERT(same_incoming(st, c));
    ASSERT(c->pos.index > st->checkpoint.index);
    char name[] = "incoming";
    MDB_val key = {sizeof(name) - 1, name};
    int rc = mdb_del(t->txn, t->s->db.meta, &key, NULL);
    if (rc != 0) {
        return rc;
    }
    st->active ^= 1U;
    st->incoming = false;
    st->rows_waste = true;
    st->checkpoint = c->pos;
    st->checkpoint_chain = c->chain;
    /* Revisions between the last event here and the snapshot are missing: history starts anew, so that nobody is given a gap. */
    if (c->pos.index + 1 > st->events_base) {
        st->events_base = c->pos.index + 1;
        st->events_waste = true;
    }
    return store_checkpoint_put(t, "checkpoint", c);
}

int store_rows_verify(struct store *s, MDB_txn *txn)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->db.rows[s->state.active], &cursor);
    if (rc != 0) {
        return rc;
    }
    uint64_t n = 0;
    MDB_val key;
    MDB_val value;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct bytes ignored;
        n++;
        if (!store_row_decode((struct bytes){key.mv_data, key.mv_size},
                              (struct bytes){value.mv_data, value.mv_size},
                              &ignored)) {
            rc = STORE_DAMAGED;
            break;
        }
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND) {
        (void)snprintf(s->what, sizeof(s->what), "row %llu of the checkpoint",
                       (unsigned long long)n);
        return rc;
    }
    return 0;
}

bool store_rows_next(struct store *s, uint64_t *cursor, struct bytes *out_key,
                     struct bytes *out_value)
{
    struct store_walk *walk = &s->rows_walk;
    if (*cursor == 0) {
        store_walk_end(s, walk);
        /* Only the loop's own batches change what is active, and it waits for them before it walks. */
        (void)pthread_mutex_lock(s->lock);
        uint32_t active = s->active;
        (void)pthread_mutex_unlock(s->lock);
        int rc = store_walk_begin(s, walk, s->db.rows[active]);
        ASSERT(rc == 0);
    }
    ASSERT(walk->txn != NULL);
    ASSERT(walk->at == *cursor);
    MDB_val key;
    MDB_val value;
    int rc = mdb_cursor_get(walk->cursor, &key, &value, MDB_NEXT);
    if (rc == MDB_NOTFOUND) {
        store_walk_end(s, walk);
        return false;
    }
    ASSERT(rc == 0);
    *out_key = (struct bytes){key.mv_data, key.mv_size};
    struct bytes stored = {value.mv_data, value.mv_size};
    /* All were verified at open or written since; there is no going on without one. */
    bool sound = store_row_decode(*out_key, stored, out_value);
    ASSERT(sound);
    walk->at++;
    *cursor = walk->at;
    return true;
}

void store_rows_end(struct store *s)
{
    store_walk_end(s, &s->rows_walk);
}
