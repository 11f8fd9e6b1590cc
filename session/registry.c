#include <string.h>

#include "session/election.h"
#include "session/table.h"

/* Where everything lies in the memory given: the same walk measures it and deals it out. */
struct carve {
    uint8_t *base; /* NULL: only measuring */
    size_t used;
};

static void *carve_take(struct carve *c, size_t n)
{
    size_t at = c->used;
    ASSERT(at % 64 == 0);
    c->used += (n + 63) / 64 * 64;
    return c->base == NULL ? NULL : c->base + at;
}

static void carve_pool(struct carve *c, struct pool *p, size_t item_bytes,
                       uint32_t capacity)
{
    ASSERT(item_bytes % sizeof(uint32_t) == 0);
    *p = (struct pool){
        .item_bytes = (uint32_t)item_bytes,
        .capacity = capacity,
    };
    /* Slot 0 isn't used, but has its place: a slot's address is one multiplication. */
    p->base = carve_take(c, item_bytes * ((size_t)capacity + 1));
}

static void carve_table(struct carve *c, struct table *t, uint32_t objects,
                        size_t hash_at, size_t next_at)
{
    uint32_t capacity = table_capacity(objects);
    slot *heads = carve_take(c, capacity * sizeof(slot));
    table_init(t, heads, capacity, hash_at, next_at);
}

static void carve_tables(struct carve *c, struct registry *r)
{
    const struct registry_limits *l = &r->limits;
    const size_t hash_at = offsetof(struct object, hash);
    const size_t next_at = offsetof(struct object, hash_next);
    carve_table(c, &r->namespaces, l->namespaces_n, hash_at, next_at);
    carve_table(c, &r->groups, l->groups_n, hash_at, next_at);
    carve_table(c, &r->devices, l->devices_n, hash_at, next_at);
    carve_table(c, &r->sessions, l->sessions_n, hash_at, next_at);
    carve_table(c, &r->leases, l->leases_n, hash_at, next_at);
    carve_table(c, &r->nonces, l->leases_n, offsetof(struct lease, nonce_hash),
                offsetof(struct lease, nonce_next));
}

static void carve_all(struct carve *c, struct registry *r)
{
    static const uint32_t name_bytes[] = {16, 32, 64, 136};
    const struct registry_limits *l = &r->limits;
    struct pool *pools = r->pools;
    carve_pool(c, &pools[OBJECT_NAMESPACE], sizeof(struct namespace_),
               l->namespaces_n);
    carve_pool(c, &pools[OBJECT_GROUP], sizeof(struct group), l->groups_n);
    carve_pool(c, &pools[OBJECT_DEVICE], sizeof(struct device), l->devices_n);
    carve_pool(c, &pools[OBJECT_SESSION], sizeof(struct session),
               l->sessions_n);
    carve_pool(c, &pools[OBJECT_LEASE], sizeof(struct lease), l->leases_n);
    carve_pool(c, &pools[OBJECT_WINDOW], sizeof(struct window),
               l->window_blocks_n);
    carve_pool(c, &r->scope_extras, sizeof(struct scope_extra),
               l->scope_extras_n);
    carve_pool(c, &r->session_extras, sizeof(struct session_extra),
               l->session_extras_n);
    carve_pool(c, &r->states, sizeof(struct state_blob), l->states_n);
    /* One name each, and all of them may be of one size: address space is cheap, and only what's used is touched. */
    uint32_t names_n = l->namespaces_n + l->groups_n + l->devices_n +
                       l->sessions_n + l->leases_n;
    for (size_t i = 0; i < countof(name_bytes); i++) {
        carve_pool(c, &r->names.classes[i], name_bytes[i], names_n);
    }
    carve_tables(c, r);
    r->heap_capacity = names_n; /* the same objects, each at most once */
    r->heap = carve_take(c, ((size_t)names_n + 1) * sizeof(struct due));
}

size_t registry_bytes(const struct registry_limits *limits)
{
    struct registry r = {.limits = *limits};
    struct carve c = {.base = NULL};
    (void)carve_take(&c, sizeof(struct registry));
    carve_all(&c, &r);
    return c.used;
}

struct registry *registry_init(void *memory,
                               const struct registry_limits *limits)
{
    ASSERT(memory != NULL);
    ASSERT((uintptr_t)memory % 64 == 0);
    /* An extra for whoever may need one: refusing in the middle of an election isn't possible. */
    ASSERT(limits->session_extras_n >= limits->sessions_n / 2);
    ASSERT(limits->scope_extras_n >=
           limits->groups_n / 2 + limits->devices_n / 2);
    ASSERT(limits->sessions_n >= 2 && limits->leases_n >= 2);
    ASSERT(limits->namespaces_n >= 2 && limits->window_blocks_n >= 2);
    struct carve c = {.base = memory};
    struct registry *r = carve_take(&c, sizeof *r);
    r->limits = *limits;
    carve_all(&c, r);
    ASSERT(c.used == registry_bytes(limits));
    r->sessions_max = limits->sessions_n / 2;
    r->leases_max = limits->leases_n / 2;
    r->namespaces_max = limits->namespaces_n / 2;
    r->cluster_dirty = true;
    return r;
}

void registry_seed(struct registry *r, uint64_t seed)
{
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        ASSERT(r->pools[kind].high == 0);
    }
    r->hash_seed = seed;
}

uint64_t registry_applied(const struct registry *r)
{
    return r->applied;
}

uint64_t registry_time_ms(const struct registry *r)
{
    return r->time_ms;
}

uint64_t registry_wall_ms(const struct registry *r)
{
    return r->wall_known ? r->time_ms + (uint64_t)r->wall_offset_ms : 0;
}

void registry_counts(const struct registry *r, struct registry_counts *out)
{
    *out = (struct registry_counts){
        .namespaces = r->objects_n[OBJECT_NAMESPACE],
        .groups = r->objects_n[OBJECT_GROUP],
        .devices = r->objects_n[OBJECT_DEVICE],
        .sessions = r->sessions_live,
        .detached = r->detached_n,
        .leases = r->leases_live,
        .batons = r->batons_n,
    };
}

bool registry_wants_checkpoint(const struct registry *r)
{
    /* Half of each pool is for what's deleted and waits: half of that is gone. */
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        const struct pool *p = &r->pools[kind];
        ASSERT(p->live >= r->objects_n[kind]);
        if (p->live - r->objects_n[kind] > p->capacity / 4) {
            return true;
        }
    }
    return false;
}
