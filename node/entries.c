#include "node/entries.h"

#include <stdlib.h>
#include <string.h>

struct record {
    raft_term term;
    uint64_t time_ms;
    uint64_t chain;
    uint64_t at; /* position in the bytes, counted without wrapping */
    uint32_t n;
    uint32_t kind;
};

struct entries {
    raft_index first;
    raft_index last;
    uint64_t before_chain; /* at first - 1 */
    bool before_known;
    uint64_t time_ms;
    /* bytes: where the next entry goes, counted without wrapping */
    uint64_t head;
    uint32_t entries_n;
    size_t bytes_n;
    struct record *records;
    uint8_t *bytes;
};

struct entries *entries_new(uint32_t entries_n, size_t bytes_n)
{
    ASSERT(entries_n > 0 && (entries_n & (entries_n - 1)) == 0);
    ASSERT(bytes_n > 0);
    struct entries *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return NULL;
    }
    e->entries_n = entries_n;
    e->bytes_n = bytes_n;
    e->records = calloc(entries_n, sizeof *e->records);
    e->bytes = malloc(bytes_n);
    if (e->records == NULL || e->bytes == NULL) {
        entries_free(e);
        return NULL;
    }
    e->first = 1;
    return e;
}

void entries_free(struct entries *e)
{
    if (e == NULL) {
        return;
    }
    free(e->records);
    free(e->bytes);
    free(e);
}

void entries_reset(struct entries *e, struct raft_pos before, uint64_t chain)
{
    e->first = before.index + 1;
    e->last = before.index;
    e->before_chain = chain;
    e->before_known = true;
    e->head = 0;
}

static struct record *record_at(const struct entries *e, raft_index index)
{
    ASSERT(index >= e->first);
    ASSERT(index <= e->last);
    return &e->records[index & (e->entries_n - 1)];
}

/* An entry's bytes lie in one piece: one that would wrap starts at the ring's beginning instead. */
static uint64_t place(const struct entries *e, uint64_t head, size_t n)
{
    size_t at = (size_t)(head % e->bytes_n);
    return at + n > e->bytes_n ? head + (e->bytes_n - at) : head;
}

static uint64_t tail(const struct entries *e)
{
    return e->first > e->last ? e->head : record_at(e, e->first)->at;
}

bool entries_fits(const struct entries *e, uint32_t n, size_t bytes_n,
                  raft_index applied)
{
    raft_index keep = max_u64(applied + 1, e->first);
    uint64_t held = e->last >= keep ? e->last + 1 - keep : 0;
    if (held + n > e->entries_n) {
        return false;
    }
    uint64_t kept_from = held == 0 ? e->head : record_at(e, keep)->at;
    /* The largest single entry may waste as much again at the wrap: count it twice. */
    return e->head - kept_from + 2 * (uint64_t)bytes_n <= e->bytes_n;
}

static void forget_first(struct entries *e)
{
    e->before_chain = record_at(e, e->first)->chain;
    e->before_known = true;
    e->first++;
}

void entries_append(struct entries *e, const struct store_entry *entry)
{
    ASSERT(entry->index == e->last + 1);
    ASSERT(entry->data.n <= e->bytes_n / 2);
    while (e->last + 1 - e->first >= e->entries_n) {
        forget_first(e);
    }
    uint64_t at = place(e, e->head, entry->data.n);
    while (e->first <= e->last && at + entry->data.n - tail(e) > e->bytes_n) {
        forget_first(e);
    }
    e->last++;
    *record_at(e, e->last) = (struct record){
        .term = entry->term,
        .time_ms = entry->time_ms,
        .chain = entry->chain,
        .at = at,
        .n = (uint32_t)entry->data.n,
        .kind = (uint32_t)entry->kind,
    };
    if (entry->data.n > 0) {
        memcpy(e->bytes + at % e->bytes_n, entry->data.data, entry->data.n);
    }
    e->head = at + entry->data.n;
    e->time_ms = max_u64(e->time_ms, entry->time_ms);
}

void entries_truncate(struct entries *e, raft_index from)
{
    ASSERT(from > 0);
    if (from > e->last) {
        return;
    }
    if (from < e->first) {
        /* Below what's held: nothing is left, and what comes before isn't known here. */
        e->first = from;
        e->last = from - 1;
        e->before_known = false;
        return;
    }
    e->head = record_at(e, from)->at;
    e->last = from - 1;
}

bool entries_get(const struct entries *e, raft_index index,
                 struct store_entry *out)
{
    if (index < e->first || index > e->last) {
        return false;
    }
    const struct record *r = record_at(e, index);
    *out = (struct store_entry){
        .index = index,
        .term = r->term,
        .kind = (enum raft_kind)r->kind,
        .time_ms = r->time_ms,
        .chain = r->chain,
        .data = {e->bytes + r->at % e->bytes_n, r->n},
    };
    return true;
}

raft_index entries_first(const struct entries *e)
{
    return e->first;
}

raft_index entries_last(const struct entries *e)
{
    return e->last;
}

bool entries_chain(const struct entries *e, raft_index index, uint64_t *out)
{
    if (index + 1 == e->first && e->before_known) {
        *out = e->before_chain;
        return true;
    }
    if (index < e->first || index > e->last) {
        return false;
    }
    *out = record_at(e, index)->chain;
    return true;
}

uint64_t entries_time_ms(const struct entries *e)
{
    return e->time_ms;
}

void entries_set_time(struct entries *e, uint64_t time_ms)
{
    e->time_ms = max_u64(e->time_ms, time_ms);
}
