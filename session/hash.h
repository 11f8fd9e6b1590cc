/* hash.h - hashes of keys, for the tables. They decide where a thing lies in memory, and nothing else. */
#ifndef SESSION_HASH_H
#define SESSION_HASH_H

#include <xxhash.h>

#include "proto/base.h"

/* A name below a parent, named by its slot (0: below nothing). */
static inline uint32_t hash_name(struct bytes name, uint32_t parent)
{
    return (uint32_t)XXH3_64bits_withSeed(name.data, name.n, parent);
}

/* Ids are log indices: as they are, they fill buckets evenly, and what was opened together lies together. */
static inline uint32_t hash_id(uint64_t id)
{
    return (uint32_t)id;
}

static inline uint32_t hash_bytes(const uint8_t *data, size_t n)
{
    return (uint32_t)XXH3_64bits(data, n);
}

#endif
