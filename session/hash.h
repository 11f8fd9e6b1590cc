/* hash.h - hashes of keys, for the tables. They decide where a thing lies in memory, and nothing else. */
#ifndef SESSION_HASH_H
#define SESSION_HASH_H

#include <xxhash.h>

#include "proto/base.h"

/* A name below a parent, named by its slot (0: below nothing). Clients choose names: the seed keeps them from choosing ones that all
 * fall into one bucket. */
static inline uint32_t hash_name(uint64_t seed, struct bytes name,
                                 uint32_t parent)
{
    /* An odd factor spreads the slot over all bits (2^64 over the golden ratio). */
    uint64_t below = seed ^ parent * 0x9E3779B97F4A7C15ull;
    return (uint32_t)XXH3_64bits_withSeed(name.data, name.n, below);
}

/* Ids are log indices: as they are, they fill buckets evenly, and what was opened together lies together. */
static inline uint32_t hash_id(uint64_t id)
{
    return (uint32_t)id;
}

static inline uint32_t hash_nonce(uint64_t seed, const uint8_t nonce[16])
{
    return (uint32_t)XXH3_64bits_withSeed(nonce, 16, seed);
}

#endif
