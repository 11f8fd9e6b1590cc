/* store_read.c - answering reads: short read transactions, everything copied out before they end.
 *
 * An answer's bytes lie in the read's own arena, which is as large as bytes_max or the first record, so that it never
 * moves while records point into it. */
#include "raft/store_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a record costs beside its bytes, so that empty ones end too. */
#define RECORD_BYTES   ((uint64_t)32)
#define READ_BYTES_MAX ((uint64_t)64 << 20)
#define KEEP_ARENA     ((size_t)1 << 20)

enum room {
    ROOM_YES,
    ROOM_NO, /* the answer is full */
    ROOM_MEMORY,
};

static enum room make_room(struct store_read *read, uint64_t bytes)
{
    uint64_t cost = bytes + RECORD_BYTES;
    uint64_t limit = min_u64(read->bytes_max, READ_BYTES_MAX);
    uint64_t spent = read->arena_n + read->records_n * RECORD_BYTES;
    if (read->records_n > 0 && spent + cost > limit) {
        return ROOM_NO;
    }
    if (read->records_n == 0 &&
        store_buffer_reserve(&read->arena, max_u64(cost, limit)) != 0) {
        return ROOM_MEMORY;
    }
    if (read->records_n == read->records_max) {
        uint32_t max = read->records_max == 0 ? 64 : read->records_max * 2;
        struct store_record *records =
            realloc(read->records, max * sizeof(*records));
        if (records == NULL) {
            return ROOM_MEMORY;
        }
        read->records = records;
        read->records_max = max;
    }
    return ROOM_YES;
}

static struct bytes keep(struct store_read *read, struct bytes bytes)
{
    ASSERT(bytes.n <= read->arena.bytes - read->arena_n);
    uint8_t *at = read->arena.data + read->arena_n;
    store_copy(at, bytes.data, bytes.n);
    read->arena_n += bytes.n;
    return (struct bytes){at, bytes.n};
}

static struct store_record *add(struct store_read *read)
{
    struct store_record *record = &read->records[read->records_n++];
    *record = (struct store_record){0};
    return record;
}

static int read_log(struct store *s, MDB_cursor *cursor,
                    struct store_read *read)
{
    const struct store_state *st = &s->state;
    if (read->from <= st->base.index) {
        read->gone = true;
        return 0;
    }
    struct store_entry entry = {.index = read->from};
    MDB_cursor_op op = MDB_SET_RANGE;
    raft_index to = min_u64(read->to, st->tail.index);
    raft_index index = read->from;
    for (; index <= to; index++) {
        int rc = store_log_get(cursor, op, &s->gather, &entry);
        if (rc == MDB_NOTFOUND || rc == STORE_DAMAGED ||
            (rc == 0 && entry.index != index)) {
            (void)snprintf(s->what, sizeof(s->what), "log entry %llu",
                           (unsigned long long)index);
            return STORE_DAMAGED;
        }
        if (rc != 0) {
            return rc;
        }
        enum room room = make_room(read, entry.data.n);
        if (room != ROOM_YES) {
            return room == ROOM_NO ? 0 : ENOMEM;
        }
        struct store_record *record = add(read);
        record->index = index;
        record->entry = entry;
        record->entry.data = keep(read, entry.data);
        op = MDB_NEXT;
    }
    read->end = index > st->tail.index;
    return 0;
}

static int read_events(struct store *s, MDB_cursor *cursor,
                       struct store_read *read)
{
    if (read->from < s->state.events_base) {
        read->gone = true;
        return 0;
    }
    struct store_record found = {.index = read->from};
    MDB_cursor_op op = MDB_SET_RANGE;
    for (;;) {
        int rc = store_event_get(cursor, op, &s->gather, &found);
        if (rc == MDB_NOTFOUND || (rc == 0 && found.index > read->to)) {
            read->end = true;
            return 0;
        }
        if (rc == STORE_DAMAGED) {
            (void)snprintf(s->what, sizeof(s->what),
                           "the event at revision %llu",
                           (unsigned long long)found.index);
        }
        if (rc != 0) {
            return rc;
        }
        enum room room = make_room(read, found.value.n);
        if (room != ROOM_YES) {
            return room == ROOM_NO ? 0 : ENOMEM;
        }
        struct store_record *record = add(read);
        record->index = found.index;
        record->value = keep(read, found.value);
        op = MDB_NEXT;
    }
}

/* Copies the checkpoint of that name with its configuration, which outlives the transaction like the records do. */
static int read_checkpoint(struct store *s, MDB_txn *txn, const char *name,
                           struct store_read *read)
{
    struct bytes payload;
    int rc = store_meta_get(txn, s->db.meta, name, &payload);
    if (rc != 0) {
        return rc;
    }
    struct store_checkpoint c;
    if (!store_checkpoint_decode(payload, &c)) {
        return STORE_DAMAGED;
    }
    if (c.config.n > 0) {
        free(read->config);
        read->config = malloc(c.config.n);
        if (read->config == NULL) {
            return ENOMEM;
        }
        store_copy(read->config, c.config.data, c.config.n);
    }
    c.config.data = read->config;
    read->checkpoint = c;
    return 0;
}

static int read_row(struct store *s, struct store_read *read, MDB_val key,
                    MDB_val value, bool *out_full)
{
    struct bytes k = {key.mv_data, key.mv_size};
    struct bytes v;
    if (!store_row_decode(k, (struct bytes){value.mv_data, value.mv_size},
                          &v)) {
        (void)snprintf(s->what, sizeof(s->what), "a row of checkpoint %llu",
                       (unsigned long long)s->state.checkpoint.index);
        return STORE_DAMAGED;
    }
    enum room room = make_room(read, k.n + v.n);
    if (room == ROOM_MEMORY) {
        return ENOMEM;
    }
    *out_full = room == ROOM_NO;
    if (room == ROOM_YES) {
        struct store_record *record = add(read);
        record->key = keep(read, k);
        record->value = keep(read, v);
    }
    return 0;
}

static int read_rows(struct store *s, MDB_txn *txn, MDB_cursor *cursor,
                     struct store_read *read)
{
    if (s->state.checkpoint.index != read->from) {
        read->gone = true;
        return 0;
    }
    int rc = read_checkpoint(s, txn, "checkpoint", read);
    if (rc == MDB_NOTFOUND) {
        read->gone = true;
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    MDB_val key = {read->key_n, read->key};
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value,
                        read->key_n > 0 ? MDB_SET_RANGE : MDB_FIRST);
    if (rc == 0 && key.mv_size == read->key_n &&
        memcmp(key.mv_data, read->key, read->key_n) == 0) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    while (rc == 0) {
        bool full = false;
        rc = read_row(s, read, key, value, &full);
        if (rc != 0 || full) {
            return rc;
        }
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    read->end = rc == MDB_NOTFOUND;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int read_incoming(struct store *s, MDB_txn *txn, MDB_cursor *cursor,
                         struct store_read *read)
{
    read->end = true;
    if (!s->state.incoming) {
        return 0;
    }
    int rc = read_checkpoint(s, txn, "incoming", read);
    if (rc != 0) {
        return rc;
    }
    MDB_val key = {0};
    MDB_val value;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc != 0 && rc != MDB_NOTFOUND) {
        return rc;
    }
    struct bytes last = {key.mv_data, rc == 0 ? key.mv_size : 0};
    if (make_room(read, last.n) != ROOM_YES) {
        return ENOMEM;
    }
    struct store_record *record = add(read);
    record->index = read->checkpoint.pos.index;
    record->key = keep(read, last);
    return 0;
}

int store_read_serve(struct store *s, MDB_txn *txn, struct store_read *read)
{
    MDB_dbi db = s->db.log;
    uint32_t active = s->state.active;
    switch (read->type) {
    case STORE_READ_LOG:
        break;
    case STORE_READ_EVENTS:
        db = s->db.events;
        break;
    case STORE_READ_ROWS:
        db = s->db.rows[active];
        break;
    case STORE_READ_INCOMING:
        db = s->db.rows[active ^ 1U];
        break;
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, db, &cursor);
    if (rc != 0) {
        return rc;
    }
    switch (read->type) {
    case STORE_READ_LOG:
        rc = read_log(s, cursor, read);
        break;
    case STORE_READ_EVENTS:
        rc = read_events(s, cursor, read);
        break;
    case STORE_READ_ROWS:
        rc = read_rows(s, txn, cursor, read);
        break;
    case STORE_READ_INCOMING:
        rc = read_incoming(s, txn, cursor, read);
        break;
    }
    mdb_cursor_close(cursor);
    return rc;
}

void store_read_free(struct store_read *read)
{
    free(read->records);
    free(read->arena.data);
    free(read->config);
    free(read);
}

void store_read_reset(struct store_read *read)
{
    if (read->arena.bytes > KEEP_ARENA) {
        free(read->arena.data);
        read->arena = (struct store_buffer){0};
    }
    struct store_read kept = {
        .records = read->records,
        .records_max = read->records_max,
        .arena = read->arena,
        .config = read->config,
    };
    *read = kept;
}
