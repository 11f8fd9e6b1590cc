#include "session/deadlines.h"

#include <string.h>

/* 1,024 buckets of 64 ms: a round is 65 s. A lease with a longer TTL comes up once a round and is put back. */
#define TICK_MS   64u
#define BUCKETS_N 1024u

enum entry_state {
    ENTRY_ABSENT = 0,
    ENTRY_WAITING = 1,
    ENTRY_EXPIRING = 2,
};

struct entry {
    uint64_t heard_ms;  /* node's clock; 0: not since it was added */
    uint64_t logged_ms; /* cluster time */
    uint32_t ttl_ms;
    uint32_t next;
    uint32_t prev; /* 0: first in its bucket */
    uint16_t bucket;
    uint8_t state;
    uint8_t heard_since_logged;
};

struct deadlines {
    uint64_t takeover_ms;
    uint64_t takeover_cluster_ms;
    uint64_t tick; /* the next one to look at */
    uint32_t leases_n;
    uint32_t high; /* highest slot ever used */
    uint32_t waiting_n;
    uint32_t heads[BUCKETS_N];
    struct entry entries[]; /* 0 isn't used */
};

size_t deadlines_bytes(uint32_t leases_n)
{
    return sizeof(struct deadlines) +
           ((size_t)leases_n + 1) * sizeof(struct entry);
}

struct deadlines *deadlines_init(void *memory, uint32_t leases_n,
                                 uint64_t now_ms)
{
    struct deadlines *d = memory;
    ASSERT(d != NULL);
    ASSERT(leases_n > 0);
    d->leases_n = leases_n;
    d->tick = now_ms / TICK_MS;
    d->takeover_ms = now_ms;
    return d;
}

static struct entry *entry_at(struct deadlines *d, uint32_t slot)
{
    ASSERT(slot > 0);
    ASSERT(slot <= d->leases_n);
    return &d->entries[slot];
}

/* What a new leader may give at most: see the header for why nobody was acknowledged later. */
static uint64_t inherited_ms(const struct deadlines *d, const struct entry *e)
{
    uint64_t latest = e->logged_ms + DEADLINES_UNLOGGED_MS;
    uint64_t age =
        d->takeover_cluster_ms > latest ? d->takeover_cluster_ms - latest : 0;
    return d->takeover_ms > age ? d->takeover_ms - age : 0;
}

static uint64_t deadline_of(const struct deadlines *d, const struct entry *e)
{
    return max_u64(e->heard_ms, inherited_ms(d, e)) + e->ttl_ms;
}

static void unlink_entry(struct deadlines *d, uint32_t slot)
{
    struct entry *e = entry_at(d, slot);
    ASSERT(e->state == ENTRY_WAITING);
    if (e->prev != 0) {
        d->entries[e->prev].next = e->next;
    } else {
        d->heads[e->bucket] = e->next;
    }
    if (e->next != 0) {
        d->entries[e->next].prev = e->prev;
    }
    e->next = 0;
    e->prev = 0;
    d->waiting_n--;
}

static void link_entry(struct deadlines *d, uint32_t slot, uint64_t at_ms)
{
    struct entry *e = entry_at(d, slot);
    /* Round up: an entry is looked at when its deadline has passed, not shortly before. */
    uint64_t tick = at_ms / TICK_MS + 1;
    tick = max_u64(tick, d->tick);
    tick = min_u64(tick, d->tick + BUCKETS_N - 1);
    e->bucket = (uint16_t)(tick % BUCKETS_N);
    e->prev = 0;
    e->next = d->heads[e->bucket];
    if (e->next != 0) {
        d->entries[e->next].prev = slot;
    }
    d->heads[e->bucket] = slot;
    e->state = ENTRY_WAITING;
    d->waiting_n++;
}

void deadlines_logged(struct deadlines *d, uint32_t slot, uint32_t ttl_ms,
                      uint64_t cluster_ms, uint64_t now_ms)
{
    struct entry *e = entry_at(d, slot);
    ASSERT(ttl_ms > 0);
    e->ttl_ms = ttl_ms;
    e->logged_ms = max_u64(e->logged_ms, cluster_ms);
    e->heard_ms = max_u64(e->heard_ms, now_ms);
    e->heard_since_logged = 0;
    if (slot > d->high) {
        d->high = slot;
    }
    if (e->state == ENTRY_ABSENT) {
        link_entry(d, slot, deadline_of(d, e));
    }
}

void deadlines_touched_at(struct deadlines *d, uint32_t slot,
                          uint64_t cluster_ms)
{
    struct entry *e = entry_at(d, slot);
    if (e->state != ENTRY_ABSENT) {
        e->logged_ms = max_u64(e->logged_ms, cluster_ms);
    }
}

void deadlines_remove(struct deadlines *d, uint32_t slot)
{
    struct entry *e = entry_at(d, slot);
    if (e->state == ENTRY_WAITING) {
        unlink_entry(d, slot);
    }
    memset(e, 0, sizeof *e);
}

void deadlines_takeover(struct deadlines *d, uint64_t now_ms,
                        uint64_t cluster_ms)
{
    ASSERT(now_ms >= d->takeover_ms);
    d->takeover_ms = now_ms;
    d->takeover_cluster_ms = cluster_ms;
}

bool deadlines_heard(struct deadlines *d, uint32_t slot, uint64_t now_ms)
{
    struct entry *e = entry_at(d, slot);
    if (e->state != ENTRY_WAITING) {
        return false;
    }
    e->heard_ms = max_u64(e->heard_ms, now_ms);
    e->heard_since_logged = 1;
    return true;
}

bool deadlines_must_log(const struct deadlines *d, uint32_t slot,
                        uint64_t cluster_ms)
{
    ASSERT(slot > 0 && slot <= d->leases_n);
    const struct entry *e = &d->entries[slot];
    return e->state != ENTRY_ABSENT &&
           cluster_ms > e->logged_ms + DEADLINES_UNLOGGED_MS;
}

bool deadlines_expiring(const struct deadlines *d, uint32_t slot)
{
    ASSERT(slot > 0 && slot <= d->leases_n);
    return d->entries[slot].state == ENTRY_EXPIRING;
}

/* Looks through one bucket: puts back what was heard since, reports the rest. False if `out` is full before the end. */
static bool scan_bucket(struct deadlines *d, uint64_t now_ms, uint32_t *out,
                        uint32_t *n, uint32_t max)
{
    uint32_t slot = d->heads[d->tick % BUCKETS_N];
    while (slot != 0) {
        struct entry *e = entry_at(d, slot);
        uint32_t next = e->next;
        uint64_t at_ms = deadline_of(d, e);
        if (at_ms <= now_ms && *n == max) {
            return false;
        }
        unlink_entry(d, slot);
        if (at_ms <= now_ms) {
            e->state = ENTRY_EXPIRING;
            out[(*n)++] = slot;
        } else {
            /* Never into the bucket at hand: it's being left behind. */
            link_entry(d, slot, max_u64(at_ms, (d->tick + 1) * TICK_MS));
        }
        slot = next;
    }
    return true;
}

uint32_t deadlines_expired(struct deadlines *d, uint64_t now_ms,
                           uint32_t *out_slots, uint32_t max)
{
    uint32_t n = 0;
    uint64_t now_tick = now_ms / TICK_MS;
    /* After a long stop every bucket is due, but each only once. */
    if (now_tick > d->tick + BUCKETS_N) {
        d->tick = now_tick - BUCKETS_N;
    }
    while (d->tick <= now_tick && n < max) {
        if (!scan_bucket(d, now_ms, out_slots, &n, max)) {
            break;
        }
        d->tick++;
    }
    return n;
}

void deadlines_rearm(struct deadlines *d, uint32_t slot, uint64_t now_ms)
{
    struct entry *e = entry_at(d, slot);
    if (e->state == ENTRY_EXPIRING) {
        link_entry(d, slot, max_u64(deadline_of(d, e), now_ms));
    }
}

uint32_t deadlines_touched(struct deadlines *d, uint32_t *cursor,
                           uint32_t *out_slots, uint32_t max)
{
    uint32_t n = 0;
    uint32_t slot = *cursor;
    while (n < max && slot < d->high) {
        slot++;
        struct entry *e = entry_at(d, slot);
        if (e->state == ENTRY_WAITING && e->heard_since_logged) {
            e->heard_since_logged = 0;
            out_slots[n++] = slot;
        }
    }
    *cursor = slot;
    return n;
}

uint64_t deadlines_of(const struct deadlines *d, uint32_t slot)
{
    ASSERT(slot > 0 && slot <= d->leases_n);
    const struct entry *e = &d->entries[slot];
    return e->state == ENTRY_ABSENT ? UINT64_MAX : deadline_of(d, e);
}

void deadlines_check(const struct deadlines *d)
{
    uint32_t found = 0;
    for (uint32_t b = 0; b < BUCKETS_N; b++) {
        uint32_t prev = 0;
        for (uint32_t s = d->heads[b]; s != 0; s = d->entries[s].next) {
            ASSERT(d->entries[s].state == ENTRY_WAITING);
            ASSERT(d->entries[s].bucket == b);
            ASSERT(d->entries[s].prev == prev);
            prev = s;
            found++;
        }
    }
    ASSERT(found == d->waiting_n);
}
