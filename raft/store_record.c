/* store_record.c - encoding and checking of stored records. */
#include "raft/store_record.h"

#include <string.h>
#include <xxhash.h>

enum log_offset {
    LOG_CHECKSUM = 0,
    LOG_TERM = 8,
    LOG_TIME = 16,
    LOG_CHAIN = 24,
    LOG_DATA_N = 32,
    LOG_KIND = 36,
    LOG_VERSION = 37,
};

/* The data is hashed first and seeds the hash of the head: both together need no copy and no streaming state. */
static uint64_t head_checksum(const uint8_t *head, size_t head_n, uint64_t key,
                              struct bytes data)
{
    ASSERT(head_n > 8);
    ASSERT(data.n == 0 || data.data != NULL);
    uint64_t seed = XXH3_64bits_withSeed(data.data, data.n, key);
    return XXH3_64bits_withSeed(head + 8, head_n - 8, seed);
}

void store_log_encode(const struct store_entry *entry,
                      uint8_t out_head[STORE_LOG_HEAD_BYTES])
{
    ASSERT(entry->index > 0);
    ASSERT(entry->data.n <= STORE_DATA_BYTES_MAX);
    store_pack_u64(out_head + LOG_TERM, entry->term);
    store_pack_u64(out_head + LOG_TIME, entry->time_ms);
    store_pack_u64(out_head + LOG_CHAIN, entry->chain);
    store_pack_u32(out_head + LOG_DATA_N, (uint32_t)entry->data.n);
    out_head[LOG_KIND] = (uint8_t)entry->kind;
    out_head[LOG_VERSION] = STORE_RECORD_VERSION;
    out_head[LOG_VERSION + 1] = 0;
    out_head[LOG_VERSION + 2] = 0;
    store_pack_u64(out_head + LOG_CHECKSUM,
                   head_checksum(out_head, STORE_LOG_HEAD_BYTES, entry->index,
                                 entry->data));
}

bool store_log_decode(raft_index index, struct bytes value,
                      struct store_entry *out, size_t *out_data_n)
{
    if (value.n < STORE_LOG_HEAD_BYTES ||
        value.data[LOG_VERSION] != STORE_RECORD_VERSION) {
        return false;
    }
    uint8_t kind = value.data[LOG_KIND];
    uint32_t data_n = store_unpack_u32(value.data + LOG_DATA_N);
    if (kind < RAFT_NORMAL || kind > RAFT_CONFIG ||
        data_n > STORE_DATA_BYTES_MAX) {
        return false;
    }
    out->index = index;
    out->term = store_unpack_u64(value.data + LOG_TERM);
    out->time_ms = store_unpack_u64(value.data + LOG_TIME);
    out->chain = store_unpack_u64(value.data + LOG_CHAIN);
    out->kind = (enum raft_kind)kind;
    *out_data_n = data_n;
    return true;
}

bool store_log_sound(const uint8_t head[STORE_LOG_HEAD_BYTES],
                     const struct store_entry *entry)
{
    ASSERT(entry->index > 0);
    return store_unpack_u64(head + LOG_CHECKSUM) ==
           head_checksum(head, STORE_LOG_HEAD_BYTES, entry->index, entry->data);
}

void store_event_encode(raft_index revision, struct bytes data,
                        uint8_t out_head[STORE_EVENT_HEAD_BYTES])
{
    ASSERT(data.n <= STORE_DATA_BYTES_MAX);
    store_pack_u32(out_head + 8, (uint32_t)data.n);
    store_pack_u32(out_head + 12, 0);
    store_pack_u64(out_head, head_checksum(out_head, STORE_EVENT_HEAD_BYTES,
                                           revision, data));
}

bool store_event_decode(struct bytes value, size_t *out_data_n)
{
    if (value.n < STORE_EVENT_HEAD_BYTES) {
        return false;
    }
    *out_data_n = store_unpack_u32(value.data + 8);
    return *out_data_n <= STORE_DATA_BYTES_MAX;
}

bool store_event_sound(const uint8_t head[STORE_EVENT_HEAD_BYTES],
                       raft_index revision, struct bytes data)
{
    return store_unpack_u64(head) ==
           head_checksum(head, STORE_EVENT_HEAD_BYTES, revision, data);
}

uint64_t store_row_checksum(struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    ASSERT(value.n == 0 || value.data != NULL);
    uint64_t seed = XXH3_64bits_withSeed(key.data, key.n, key.n);
    return XXH3_64bits_withSeed(value.data, value.n, seed);
}

bool store_row_decode(struct bytes key, struct bytes stored,
                      struct bytes *out_value)
{
    if (key.n == 0 || stored.n < STORE_ROW_HEAD_BYTES) {
        return false;
    }
    struct bytes value = {stored.data + STORE_ROW_HEAD_BYTES,
                          stored.n - STORE_ROW_HEAD_BYTES};
    if (store_unpack_u64(stored.data) != store_row_checksum(key, value)) {
        return false;
    }
    *out_value = value;
    return true;
}

uint64_t store_meta_checksum(const char *name, struct bytes payload)
{
    ASSERT(name != NULL);
    uint64_t seed = XXH3_64bits_withSeed(name, strlen(name), 0);
    return XXH3_64bits_withSeed(payload.data, payload.n, seed);
}

void store_checkpoint_encode(const struct store_checkpoint *c,
                             uint8_t out[STORE_CHECKPOINT_BYTES])
{
    store_pack_u64(out, c->pos.index);
    store_pack_u64(out + 8, c->pos.term);
    store_pack_u64(out + 16, c->chain);
    store_pack_u64(out + 24, c->hash);
    store_pack_u64(out + 32, c->time_ms);
    store_pack_u64(out + 40, c->config_index);
}

bool store_checkpoint_decode(struct bytes payload, struct store_checkpoint *out)
{
    if (payload.n < STORE_CHECKPOINT_BYTES) {
        return false;
    }
    out->pos.index = store_unpack_u64(payload.data);
    out->pos.term = store_unpack_u64(payload.data + 8);
    out->chain = store_unpack_u64(payload.data + 16);
    out->hash = store_unpack_u64(payload.data + 24);
    out->time_ms = store_unpack_u64(payload.data + 32);
    out->config_index = store_unpack_u64(payload.data + 40);
    out->config.data = payload.data + STORE_CHECKPOINT_BYTES;
    out->config.n = payload.n - STORE_CHECKPOINT_BYTES;
    return true;
}
