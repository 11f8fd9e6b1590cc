/* store_chain.c - the hash chain over entries: pure, so that the simulator and the turn link it without a database. */
#include "raft/store.h"

#include <xxhash.h>

#include "raft/store_record.h"

uint64_t store_chain(uint64_t before, const struct store_entry *entry)
{
    uint8_t words[32];
    ASSERT(entry != NULL);
    ASSERT(entry->data.n == 0 || entry->data.data != NULL);
    store_pack_u64(words, before);
    store_pack_u64(words + 8, entry->term);
    store_pack_u64(words + 16, (uint64_t)entry->kind);
    store_pack_u64(words + 24, entry->time_ms);
    uint64_t data = XXH3_64bits_withSeed(entry->data.data, entry->data.n, 0);
    return XXH3_64bits_withSeed(words, sizeof(words), data);
}
