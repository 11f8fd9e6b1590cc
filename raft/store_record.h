/* store_record.h - the bytes of each kind of record in the database, and their checksums. Pure.
 *
 *   log     key  index:8                 value  checksum:8 term:8 time_ms:8 chain:8 data_n:4 kind:1 version:1 0:2 data
 *   events  key  revision:8              value  checksum:8 data_n:4 0:4 data
 *           key  index:8 chunk:4 (1..)   value  what of the data did not fit into the records before, log and events alike
 *   rows    key  the row's               value  checksum:8 data
 *   meta    key  a name                  value  checksum:8 words of 8 bytes each [bytes]
 *
 * Numbers are big-endian. No value is longer than STORE_VALUE_BYTES but rows' and the checkpoint's: LMDB puts a longer
 * one on pages of its own behind a header of 16 bytes, and 4,081 bytes would take two pages. Checksums are XXH3 over
 * everything behind them, seeded with the key, so that a record that turns up in another's place is found out too. */
#ifndef RAFT_STORE_RECORD_H
#define RAFT_STORE_RECORD_H

#include "raft/store.h"

#define STORE_VALUE_BYTES      4080
#define STORE_LOG_HEAD_BYTES   40
#define STORE_EVENT_HEAD_BYTES 16
#define STORE_ROW_HEAD_BYTES   8
#define STORE_KEY_BYTES        8
#define STORE_CHUNK_KEY_BYTES  12
#define STORE_RECORD_VERSION   1
#define STORE_META_WORDS_MAX   16
#define STORE_META_HEAD_BYTES  8
#define STORE_CHECKPOINT_WORDS 6
#define STORE_CHECKPOINT_BYTES (STORE_CHECKPOINT_WORDS * 8)
#define STORE_DATA_BYTES_MAX   (1U << 30)

static inline void store_pack_u64(uint8_t *out, uint64_t value)
{
    uint64_t wire = __builtin_bswap64(value);
    __builtin_memcpy(out, &wire, sizeof(wire));
}

static inline uint64_t store_unpack_u64(const uint8_t *in)
{
    uint64_t wire;
    __builtin_memcpy(&wire, in, sizeof(wire));
    return __builtin_bswap64(wire);
}

static inline void store_pack_u32(uint8_t *out, uint32_t value)
{
    uint32_t wire = __builtin_bswap32(value);
    __builtin_memcpy(out, &wire, sizeof(wire));
}

static inline uint32_t store_unpack_u32(const uint8_t *in)
{
    uint32_t wire;
    __builtin_memcpy(&wire, in, sizeof(wire));
    return __builtin_bswap32(wire);
}

/* Copies n bytes; n may be 0 with no source, which memcpy() does not allow. */
static inline void store_copy(uint8_t *out, const uint8_t *in, size_t n)
{
    if (n > 0) {
        __builtin_memcpy(out, in, n);
    }
}

/* Writes the head of a log record for the entry, checksum over head and all of its data included. */
void store_log_encode(const struct store_entry *entry,
                      uint8_t out_head[STORE_LOG_HEAD_BYTES]);

/* Reads a head found at `index` into everything of *out but its data, and the data's length. False: too short, of
 * another version, or impossible. */
MUST_USE bool store_log_decode(raft_index index, struct bytes value,
                               struct store_entry *out, size_t *out_data_n);

/* True if the head's checksum holds for the whole entry, whose data the caller has put together again. */
MUST_USE bool store_log_sound(const uint8_t head[STORE_LOG_HEAD_BYTES],
                              const struct store_entry *entry);

void store_event_encode(raft_index revision, struct bytes data,
                        uint8_t out_head[STORE_EVENT_HEAD_BYTES]);
MUST_USE bool store_event_decode(struct bytes value, size_t *out_data_n);
MUST_USE bool store_event_sound(const uint8_t head[STORE_EVENT_HEAD_BYTES],
                                raft_index revision, struct bytes data);

/* A row's checksum over key and value. */
uint64_t store_row_checksum(struct bytes key, struct bytes value);

/* Takes a stored row's value apart. False: too short, or the checksum does not hold. */
MUST_USE bool store_row_decode(struct bytes key, struct bytes stored,
                               struct bytes *out_value);

/* A meta record's checksum: its name and everything behind the checksum. */
uint64_t store_meta_checksum(const char *name, struct bytes payload);

/* A checkpoint's fixed part; its configuration's bytes follow it. */
void store_checkpoint_encode(const struct store_checkpoint *c,
                             uint8_t out[STORE_CHECKPOINT_BYTES]);

/* The whole payload of a checkpoint; out->config points into it. */
MUST_USE bool store_checkpoint_decode(struct bytes payload,
                                      struct store_checkpoint *out);

#endif
