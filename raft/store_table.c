/* store_table.c - records in LMDB's tables: chunks, log entries, events, meta. */
#include "raft/store_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int store_buffer_reserve(struct store_buffer *b, size_t bytes)
{
    if (b->bytes >= bytes) {
        return 0;
    }
    uint8_t *data = realloc(b->data, bytes);
    if (data == NULL) {
        return ENOMEM;
    }
    b->data = data;
    b->bytes = bytes;
    return 0;
}

static uint64_t key_id(const MDB_val *key)
{
    ASSERT(key->mv_size >= STORE_KEY_BYTES);
    return store_unpack_u64(key->mv_data);
}

int store_chunks_put(MDB_cursor *cursor, uint64_t id, struct bytes head,
                     struct bytes data, unsigned flags)
{
    ASSERT(head.n > 0);
    ASSERT(head.n < STORE_VALUE_BYTES);
    uint8_t key_bytes[STORE_CHUNK_KEY_BYTES];
    store_pack_u64(key_bytes, id);
    MDB_val key = {STORE_KEY_BYTES, key_bytes};
    size_t n = min_u64(data.n, STORE_VALUE_BYTES - head.n);
    MDB_val value = {head.n + n, NULL};
    int rc = mdb_cursor_put(cursor, &key, &value, flags | MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    store_copy(value.mv_data, head.data, head.n);
    store_copy((uint8_t *)value.mv_data + head.n, data.data, n);
    size_t done = n;
    for (uint32_t chunk = 1; done < data.n; chunk++) {
        n = min_u64(data.n - done, STORE_VALUE_BYTES);
        store_pack_u32(key_bytes + STORE_KEY_BYTES, chunk);
        key = (MDB_val){STORE_CHUNK_KEY_BYTES, key_bytes};
        value = (MDB_val){n, NULL};
        rc = mdb_cursor_put(cursor, &key, &value, flags | MDB_RESERVE);
        if (rc != 0) {
            return rc;
        }
        store_copy(value.mv_data, data.data + done, n);
        done += n;
    }
    return 0;
}

/* `value` is what of the head record is data; data->n says how much there must be. */
static int chunks_get(MDB_cursor *cursor, struct bytes value,
                      struct store_buffer *buffer, struct bytes *data)
{
    if (value.n == data->n) {
        *data = value;
        return 0;
    }
    if (value.n > data->n) {
        return STORE_DAMAGED;
    }
    int rc = store_buffer_reserve(buffer, data->n);
    if (rc != 0) {
        return rc;
    }
    store_copy(buffer->data, value.data, value.n);
    size_t done = value.n;
    for (uint32_t chunk = 1; done < data->n; chunk++) {
        MDB_val key;
        MDB_val part;
        rc = mdb_cursor_get(cursor, &key, &part, MDB_NEXT);
        if (rc == MDB_NOTFOUND) {
            return STORE_DAMAGED;
        }
        if (rc != 0) {
            return rc;
        }
        if (key.mv_size != STORE_CHUNK_KEY_BYTES ||
            store_unpack_u32((uint8_t *)key.mv_data + STORE_KEY_BYTES) !=
                chunk ||
            part.mv_size == 0 || part.mv_size > data->n - done) {
            return STORE_DAMAGED;
        }
        store_copy(buffer->data + done, part.mv_data, part.mv_size);
        done += part.mv_size;
    }
    data->data = buffer->data;
    return 0;
}

static int seek(MDB_cursor *cursor, MDB_cursor_op op, uint64_t *id,
                struct bytes *out)
{
    uint8_t key_bytes[STORE_KEY_BYTES];
    store_pack_u64(key_bytes, *id);
    MDB_val key = {STORE_KEY_BYTES, key_bytes};
    MDB_val value;
    int rc = mdb_cursor_get(cursor, &key, &value, op);
    if (rc != 0) {
        return rc;
    }
    if (key.mv_size < STORE_KEY_BYTES) {
        return STORE_DAMAGED;
    }
    *id = key_id(&key);
    if (key.mv_size != STORE_KEY_BYTES) {
        return STORE_DAMAGED; /* a chunk without its head */
    }
    *out = (struct bytes){value.mv_data, value.mv_size};
    return 0;
}

int store_log_get(MDB_cursor *cursor, MDB_cursor_op op,
                  struct store_buffer *buffer, struct store_entry *out)
{
    struct bytes value;
    int rc = seek(cursor, op, &out->index, &value);
    if (rc != 0) {
        return rc;
    }
    size_t data_n = 0;
    if (!store_log_decode(out->index, value, out, &data_n)) {
        return STORE_DAMAGED;
    }
    struct bytes data = {NULL, data_n};
    struct bytes first = {value.data + STORE_LOG_HEAD_BYTES,
                          value.n - STORE_LOG_HEAD_BYTES};
    rc = chunks_get(cursor, first, buffer, &data);
    if (rc != 0) {
        return rc;
    }
    out->data = data;
    return store_log_sound(value.data, out) ? 0 : STORE_DAMAGED;
}

int store_event_get(MDB_cursor *cursor, MDB_cursor_op op,
                    struct store_buffer *buffer, struct store_record *out)
{
    struct bytes value;
    int rc = seek(cursor, op, &out->index, &value);
    if (rc != 0) {
        return rc;
    }
    size_t data_n = 0;
    if (!store_event_decode(value, &data_n)) {
        return STORE_DAMAGED;
    }
    struct bytes data = {NULL, data_n};
    struct bytes first = {value.data + STORE_EVENT_HEAD_BYTES,
                          value.n - STORE_EVENT_HEAD_BYTES};
    rc = chunks_get(cursor, first, buffer, &data);
    if (rc != 0) {
        return rc;
    }
    out->value = data;
    return store_event_sound(value.data, out->index, data) ? 0 : STORE_DAMAGED;
}

int store_meta_put(MDB_txn *txn, MDB_dbi db, const char *name,
                   struct bytes payload)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value = {STORE_META_HEAD_BYTES + payload.n, NULL};
    int rc = mdb_put(txn, db, &key, &value, MDB_RESERVE);
    if (rc != 0) {
        return rc;
    }
    store_pack_u64(value.mv_data, store_meta_checksum(name, payload));
    store_copy((uint8_t *)value.mv_data + STORE_META_HEAD_BYTES, payload.data,
               payload.n);
    return 0;
}

int store_meta_get(MDB_txn *txn, MDB_dbi db, const char *name,
                   struct bytes *out)
{
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val value;
    int rc = mdb_get(txn, db, &key, &value);
    if (rc != 0) {
        return rc;
    }
    if (value.mv_size < STORE_META_HEAD_BYTES) {
        return STORE_DAMAGED;
    }
    const uint8_t *stored = value.mv_data;
    struct bytes payload = {stored + STORE_META_HEAD_BYTES,
                            value.mv_size - STORE_META_HEAD_BYTES};
    if (store_unpack_u64(stored) != store_meta_checksum(name, payload)) {
        return STORE_DAMAGED;
    }
    *out = payload;
    return 0;
}

#define STATE_WORDS 10

int store_state_put(struct store_txn *t)
{
    const struct store_state *st = &t->state;
    ASSERT(st->base.index <= st->tail.index);
    ASSERT(st->active <= 1);
    const uint64_t words[STATE_WORDS] = {
        st->term,       st->vote,       st->base.index, st->base.term,
        st->base_chain, st->tail.index, st->tail.term,  st->tail_chain,
        st->active,     st->events_base};
    uint8_t bytes[STATE_WORDS * 8];
    for (size_t i = 0; i < STATE_WORDS; i++) {
        store_pack_u64(bytes + i * 8, words[i]);
    }
    return store_meta_put(t->txn, t->s->db.meta, "state",
                          (struct bytes){bytes, sizeof(bytes)});
}

static int incoming_get(struct store *s, MDB_txn *txn, struct store_state *out)
{
    struct bytes payload;
    struct store_checkpoint c;
    int rc = store_meta_get(txn, s->db.meta, "checkpoint", &payload);
    if (rc == 0) {
        if (!store_checkpoint_decode(payload, &c)) {
            return STORE_DAMAGED;
        }
        out->checkpoint = c.pos;
        out->checkpoint_chain = c.chain;
    } else if (rc != MDB_NOTFOUND) {
        return rc;
    }
    rc = store_meta_get(txn, s->db.meta, "incoming", &payload);
    if (rc == MDB_NOTFOUND) {
        return 0;
    }
    if (rc == 0 && !store_checkpoint_decode(payload, &c)) {
        return STORE_DAMAGED;
    }
    if (rc == 0) {
        out->incoming = true;
        out->incoming_pos = c.pos;
        out->incoming_chain = c.chain;
        out->incoming_hash = c.hash;
    }
    return rc;
}

int store_state_get(struct store *s, MDB_txn *txn, struct store_state *out)
{
    struct bytes payload;
    *out = (struct store_state){0};
    int rc = store_meta_get(txn, s->db.meta, "state", &payload);
    if (rc != 0) {
        return rc;
    }
    if (payload.n != STATE_WORDS * (size_t)8) {
        return STORE_DAMAGED;
    }
    uint64_t words[STATE_WORDS];
    for (size_t i = 0; i < STATE_WORDS; i++) {
        words[i] = store_unpack_u64(payload.data + i * 8);
    }
    out->term = words[0];
    out->vote = (raft_id)words[1];
    out->base = (struct raft_pos){words[2], words[3]};
    out->base_chain = words[4];
    out->tail = (struct raft_pos){words[5], words[6]};
    out->tail_chain = words[7];
    out->active = (uint32_t)words[8];
    out->events_base = words[9];
    if (words[1] > UINT32_MAX || words[8] > 1 || words[2] > words[5]) {
        return STORE_DAMAGED;
    }
    return incoming_get(s, txn, out);
}

/* Deletes from one end while the key there is on the wrong side of `bound`. */
static int delete_while(MDB_cursor *cursor, MDB_cursor_op end, uint64_t bound,
                        uint32_t keys_max, bool *out_more)
{
    *out_more = false;
    for (uint32_t n = 0;; n++) {
        MDB_val key;
        MDB_val value;
        int rc = mdb_cursor_get(cursor, &key, &value, end);
        if (rc == MDB_NOTFOUND) {
            return 0;
        }
        if (rc != 0) {
            return rc;
        }
        if (key.mv_size < STORE_KEY_BYTES) {
            return STORE_DAMAGED;
        }
        bool wrong =
            end == MDB_FIRST ? key_id(&key) < bound : key_id(&key) >= bound;
        if (!wrong) {
            return 0;
        }
        if (n == keys_max) {
            *out_more = true;
            return 0;
        }
        rc = mdb_cursor_del(cursor, 0);
        if (rc != 0) {
            return rc;
        }
    }
}

int store_delete_below(MDB_txn *txn, MDB_dbi db, uint64_t first,
                       uint32_t keys_max, bool *out_more)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, db, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = delete_while(cursor, MDB_FIRST, first, keys_max, out_more);
    mdb_cursor_close(cursor);
    return rc;
}

int store_delete_from(MDB_txn *txn, MDB_dbi db, uint64_t from)
{
    MDB_cursor *cursor;
    bool more;
    int rc = mdb_cursor_open(txn, db, &cursor);
    if (rc != 0) {
        return rc;
    }
    rc = delete_while(cursor, MDB_LAST, from, UINT32_MAX, &more);
    mdb_cursor_close(cursor);
    return rc;
}

int store_last_id(MDB_txn *txn, MDB_dbi db, uint64_t *out)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, db, &cursor);
    if (rc != 0) {
        return rc;
    }
    MDB_val key;
    MDB_val value;
    *out = 0;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc == MDB_NOTFOUND) {
        rc = 0;
    } else if (rc == 0) {
        if (key.mv_size >= STORE_KEY_BYTES) {
            *out = key_id(&key);
        } else {
            rc = STORE_DAMAGED;
        }
    }
    mdb_cursor_close(cursor);
    return rc;
}
