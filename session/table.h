/* table.h - hash tables of slots, by linear hashing.
 *
 *     heads  [ 0 | 1 | 2 | 3 | 4 | 5 |             ]      level 2, split 2: buckets 0 and 1 are split already, by three
 *              '-> object -> object -> 0                  bits of the hash into 0, 4 and 1, 5; 2 and 3 go by two bits
 *
 * An insert that brings more objects than buckets splits one bucket: no insert is ever long, and the heads that aren't
 * reached yet cost no memory. Chains run through the objects: their hash and link are at hash_at and next_at in them.
 * Nothing outside may depend on the order of a chain. Owns nothing. */
#ifndef SESSION_TABLE_H
#define SESSION_TABLE_H

#include "session/state.h"

#define TABLE_BUCKETS_MIN 16

/* Heads for up to `objects` of them: a power of two, at least TABLE_BUCKETS_MIN. */
uint32_t table_capacity(uint32_t objects);

/* `heads`: `capacity` zeroes. */
void table_init(struct table *t, slot *heads, uint32_t capacity, size_t hash_at,
                size_t next_at);

/* The chain that everything with this hash is in: walk it with table_next(), compare hash and key. 0: the end. */
slot table_first(const struct table *t, uint32_t hash);
slot table_next(const struct table *t, const struct pool *p, slot s);

/* The object's hash is set; it's in no chain. */
void table_add(struct table *t, const struct pool *p, slot s);
void table_remove(struct table *t, const struct pool *p, slot s);

/* Every object is in the bucket of its hash, and they are n. */
void table_check(const struct table *t, const struct pool *p);

#endif
