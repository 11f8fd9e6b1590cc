#include "session/table.h"

#include <string.h>

static uint32_t buckets(const struct table *t)
{
    return (1u << t->level) + t->split;
}

static uint32_t bucket_of(const struct table *t, uint32_t hash)
{
    uint32_t b = hash & ((1u << t->level) - 1);
    if (b < t->split) {
        b = hash & ((2u << t->level) - 1);
    }
    ASSERT(b < buckets(t));
    return b;
}

static slot *next_of(const struct table *t, const struct pool *p, slot s)
{
    return (slot *)(void *)((uint8_t *)pool_at(p, s) + t->next_at);
}

uint32_t table_capacity(uint32_t objects)
{
    ASSERT(objects <= 1u << 30);
    uint32_t capacity = TABLE_BUCKETS_MIN;
    while (capacity < objects) {
        capacity *= 2;
    }
    return capacity;
}

void table_init(struct table *t, slot *heads, uint32_t capacity, size_t hash_at,
                size_t next_at)
{
    ASSERT(capacity >= TABLE_BUCKETS_MIN);
    ASSERT((capacity & (capacity - 1)) == 0);
    *t = (struct table){
        .heads = heads,
        .hash_at = (uint32_t)hash_at,
        .next_at = (uint32_t)next_at,
        .capacity = capacity,
        .level = 4,
    };
    ASSERT(buckets(t) == TABLE_BUCKETS_MIN);
}

slot table_first(const struct table *t, uint32_t hash)
{
    return t->heads[bucket_of(t, hash)];
}

slot table_next(const struct table *t, const struct pool *p, slot s)
{
    return *next_of(t, p, s);
}

static uint32_t hash_at(const struct table *t, const struct pool *p, slot s)
{
    uint32_t hash = 0;
    memcpy(&hash, (const uint8_t *)pool_at(p, s) + t->hash_at, sizeof hash);
    return hash;
}

/* Deals the next bucket's objects out to itself and its new other half. */
static void grow(struct table *t, const struct pool *p)
{
    if (buckets(t) == t->capacity) {
        return; /* chains get longer from here on */
    }
    uint32_t from = t->split;
    slot s = t->heads[from];
    t->heads[from] = 0;
    t->split++;
    if (t->split == 1u << t->level) {
        t->level++;
        t->split = 0;
    }
    while (s != 0) {
        slot next = *next_of(t, p, s);
        uint32_t b = bucket_of(t, hash_at(t, p, s));
        *next_of(t, p, s) = t->heads[b];
        t->heads[b] = s;
        s = next;
    }
    ASSERT(buckets(t) <= t->capacity);
}

void table_add(struct table *t, const struct pool *p, slot s)
{
    ASSERT(*next_of(t, p, s) == 0);
    uint32_t b = bucket_of(t, hash_at(t, p, s));
    ASSERT(t->heads[b] != s);
    *next_of(t, p, s) = t->heads[b];
    t->heads[b] = s;
    t->n++;
    if (t->n > buckets(t)) {
        grow(t, p);
    }
}

void table_remove(struct table *t, const struct pool *p, slot s)
{
    ASSERT(t->n > 0);
    slot *at = &t->heads[bucket_of(t, hash_at(t, p, s))];
    while (*at != s) {
        ASSERT(*at != 0);
        at = next_of(t, p, *at);
    }
    *at = *next_of(t, p, s);
    *next_of(t, p, s) = 0;
    t->n--;
}

void table_check(const struct table *t, const struct pool *p)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < buckets(t); b++) {
        for (slot s = t->heads[b]; s != 0; s = table_next(t, p, s)) {
            ASSERT(bucket_of(t, hash_at(t, p, s)) == b);
            n++;
            ASSERT(n <= t->n);
        }
    }
    ASSERT(n == t->n);
}
