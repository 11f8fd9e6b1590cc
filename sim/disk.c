#include "sim/disk.h"

#include <stdlib.h>
#include <string.h>

/* --- memory -------------------------------------------------------------------------------------------------------- */

void *sim_alloc(size_t n)
{
    void *at = calloc(1, n == 0 ? 1 : n);
    ASSERT(at != NULL);
    return at;
}

struct bytes sim_copy(struct bytes b)
{
    uint8_t *data = sim_alloc(b.n + 1);
    if (b.n > 0) {
        memcpy(data, b.data, b.n);
    }
    return (struct bytes){data, b.n};
}

void sim_drop(struct bytes *b)
{
    free((void *)(uintptr_t)b->data);
    *b = (struct bytes){NULL, 0};
}

struct sim_item *sim_items_add(struct sim_items *items)
{
    if (items->n == items->capacity) {
        items->capacity = items->capacity == 0 ? 16 : items->capacity * 2;
        items->at = realloc(items->at, items->capacity * sizeof items->at[0]);
        ASSERT(items->at != NULL);
    }
    struct sim_item *item = &items->at[items->n++];
    memset(item, 0, sizeof *item);
    return item;
}

static void drop_item(struct sim_item *item)
{
    sim_drop(&item->key);
    sim_drop(&item->value);
}

void sim_items_clear(struct sim_items *items)
{
    for (uint32_t i = 0; i < items->n; i++) {
        drop_item(&items->at[i]);
    }
    free(items->at);
    *items = (struct sim_items){.n = 0};
}

static void remove_items(struct sim_items *items, uint32_t at, uint32_t n)
{
    ASSERT(at + n <= items->n);
    for (uint32_t i = at; i < at + n; i++) {
        drop_item(&items->at[i]);
    }
    if (items->n > at + n) {
        memmove(&items->at[at], &items->at[at + n],
                (items->n - at - n) * sizeof items->at[0]);
    }
    items->n -= n;
}

static struct sim_item *insert_item(struct sim_items *items, uint32_t at)
{
    (void)sim_items_add(items);
    memmove(&items->at[at + 1], &items->at[at],
            (items->n - 1 - at) * sizeof items->at[0]);
    memset(&items->at[at], 0, sizeof items->at[at]);
    return &items->at[at];
}

static int compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

uint32_t sim_items_find(const struct sim_items *items, struct bytes key)
{
    uint32_t low = 0;
    uint32_t high = items->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (compare(items->at[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void put_row(struct sim_items *rows, struct bytes key,
                    struct bytes value)
{
    ASSERT(key.n > 0);
    ASSERT(key.n <= STORE_ROW_KEY_BYTES_MAX);
    uint32_t at = sim_items_find(rows, key);
    if (at < rows->n && compare(rows->at[at].key, key) == 0) {
        sim_drop(&rows->at[at].value);
    } else {
        insert_item(rows, at)->key = sim_copy(key);
    }
    rows->at[at].value = sim_copy(value);
}

static void copy_items(struct sim_items *to, const struct sim_items *from)
{
    *to = (struct sim_items){.n = 0};
    for (uint32_t i = 0; i < from->n; i++) {
        struct sim_item *item = sim_items_add(to);
        *item = from->at[i];
        item->key = sim_copy(from->at[i].key);
        item->value = sim_copy(from->at[i].value);
    }
}

/* --- the disk -------------------------------------------------------------------------------------------------------- */

struct sim_disk *sim_disk_new(uint64_t incarnation)
{
    struct sim_disk *d = sim_alloc(sizeof *d);
    d->incarnation = incarnation;
    d->lineage.own = incarnation * 1000 + 1;
    return d;
}

void sim_disk_free(struct sim_disk *d)
{
    if (d == NULL) {
        return;
    }
    sim_items_clear(&d->log);
    sim_items_clear(&d->rows);
    sim_items_clear(&d->incoming_rows);
    sim_items_clear(&d->events);
    sim_drop(&d->checkpoint.config);
    sim_drop(&d->incoming_checkpoint.config);
    free(d);
}

void sim_disk_power_off(struct sim_disk *d)
{
    ASSERT(d != NULL);
}

struct sim_disk *sim_disk_copy(const struct sim_disk *d)
{
    struct sim_disk *copy = sim_alloc(sizeof *copy);
    *copy = *d;
    copy->salt++;
    copy_items(&copy->log, &d->log);
    copy_items(&copy->rows, &d->rows);
    copy_items(&copy->incoming_rows, &d->incoming_rows);
    copy_items(&copy->events, &d->events);
    copy->checkpoint.config = sim_copy(d->checkpoint.config);
    copy->incoming_checkpoint.config = sim_copy(d->incoming_checkpoint.config);
    return copy;
}

void sim_disk_identity(const struct sim_disk *d, uint64_t *out_incarnation,
                       uint64_t *out_boot, struct lineage *out_lineage)
{
    *out_incarnation = d->incarnation;
    *out_boot = d->boot;
    *out_lineage = d->lineage;
}

void sim_disk_counts(const struct sim_disk *d, struct sim_disk_counts *out)
{
    uint64_t chain = 0;
    *out = (struct sim_disk_counts){
        .first = d->base.index + 1,
        .last = sim_disk_tail(d, &chain).index,
        .checkpoint = d->checkpoint.pos.index,
        .rows_n = d->rows.n,
        .incoming_n = d->incoming_rows.n,
        .events_n = d->events.n,
    };
}

void sim_disk_row(const struct sim_disk *d, uint32_t i, struct bytes *out_key,
                  struct bytes *out_value)
{
    ASSERT(i < d->rows.n);
    *out_key = d->rows.at[i].key;
    *out_value = d->rows.at[i].value;
}

void sim_disk_set_row(struct sim_disk *d, struct bytes key, struct bytes value)
{
    put_row(&d->rows, key, value);
}

bool sim_disk_rot(struct sim_disk *d, uint32_t i)
{
    ASSERT(i < d->rows.n);
    struct bytes *value = &d->rows.at[i].value;
    if (value->n == 0) {
        return false;
    }
    /* It's our own copy. */
    uint8_t *data = (uint8_t *)(uintptr_t)value->data;
    data[value->n / 2] ^= 1u;
    return true;
}

uint64_t sim_disk_hash(const struct sim_disk *d)
{
    return d->checkpoint.hash;
}

void sim_disk_set_hash(struct sim_disk *d, uint64_t hash)
{
    d->checkpoint.hash = hash;
}

struct raft_pos sim_disk_tail(const struct sim_disk *d, uint64_t *out_chain)
{
    if (d->log.n == 0) {
        *out_chain = d->base_chain;
        return d->base;
    }
    const struct sim_item *last = &d->log.at[d->log.n - 1];
    *out_chain = last->chain;
    return (struct raft_pos){last->index, last->term};
}

/* --- ops: with the assertions of raft/store_apply.c -------------------------------------------------------------------- */

static void apply_append(struct sim_disk *d, const struct sim_item *item)
{
    uint64_t chain = 0;
    struct raft_pos tail = sim_disk_tail(d, &chain);
    struct store_entry entry = {
        .index = item->index,
        .term = item->term,
        .kind = item->kind,
        .time_ms = item->time_ms,
        .chain = item->chain,
        .data = item->value,
    };
    ASSERT(entry.index == tail.index + 1);
    ASSERT(entry.term >= tail.term);
    ASSERT(entry.chain == store_chain(chain, &entry));
    struct sim_item *added = sim_items_add(&d->log);
    *added = *item;
    added->key = sim_copy((struct bytes){NULL, 0});
    added->value = sim_copy(item->value);
}

static void apply_truncate(struct sim_disk *d, raft_index from)
{
    ASSERT(from > d->base.index);
    uint32_t keep = (uint32_t)(from - d->base.index - 1);
    if (keep < d->log.n) {
        remove_items(&d->log, keep, d->log.n - keep);
    }
}

/* Drops what's before `first`; the base becomes the entry before it. */
static void apply_trim_log(struct sim_disk *d, raft_index first)
{
    uint64_t chain = 0;
    first = min_u64(first, d->checkpoint.pos.index + 1);
    first = min_u64(first, sim_disk_tail(d, &chain).index + 1);
    if (first <= d->base.index + 1) {
        return;
    }
    uint32_t n = (uint32_t)(first - d->base.index - 1);
    const struct sim_item *last = &d->log.at[n - 1];
    d->base = (struct raft_pos){last->index, last->term};
    d->base_chain = last->chain;
    remove_items(&d->log, 0, n);
}

static void apply_event(struct sim_disk *d, const struct sim_item *item)
{
    ASSERT(item->index > 0);
    uint32_t at = 0;
    if (item->index < d->events_base) {
        return;
    }
    /* Most come at the end. */
    at = d->events.n;
    while (at > 0 && d->events.at[at - 1].index >= item->index) {
        at--;
    }
    if (at < d->events.n && d->events.at[at].index == item->index) {
        return; /* a restart replays: the same ones */
    }
    struct sim_item *event = insert_item(&d->events, at);
    event->index = item->index;
    event->key = sim_copy((struct bytes){NULL, 0});
    event->value = sim_copy(item->value);
}

static void apply_trim_events(struct sim_disk *d, raft_index first)
{
    uint32_t n = 0;
    d->events_base = max_u64(d->events_base, first);
    while (n < d->events.n && d->events.at[n].index < first) {
        n++;
    }
    remove_items(&d->events, 0, n);
}

static void set_checkpoint(struct store_checkpoint *to,
                           const struct store_checkpoint *from)
{
    struct bytes config = sim_copy(from->config);
    sim_drop(&to->config);
    *to = *from;
    to->config = config;
}

/* Position and chain at `index`; false: not kept. */
static bool entry_at(const struct sim_disk *d, raft_index index,
                     struct raft_pos *out, uint64_t *out_chain)
{
    if (index == d->base.index) {
        *out = d->base;
        *out_chain = d->base_chain;
        return true;
    }
    if (index < d->base.index || index > d->base.index + d->log.n) {
        return false;
    }
    const struct sim_item *item = &d->log.at[index - d->base.index - 1];
    *out = (struct raft_pos){item->index, item->term};
    *out_chain = item->chain;
    return true;
}

bool sim_disk_entry(const struct sim_disk *d, raft_index index,
                    raft_term *out_term, uint64_t *out_chain)
{
    struct raft_pos pos = {0, 0};
    bool there = entry_at(d, index, &pos, out_chain);
    *out_term = pos.term;
    return there;
}

raft_term sim_disk_term(const struct sim_disk *d, raft_id *out_vote)
{
    *out_vote = d->vote;
    return d->term;
}

static void apply_checkpoint(struct sim_disk *d,
                             const struct store_checkpoint *c)
{
    struct raft_pos pos = {0, 0};
    uint64_t chain = 0;
    ASSERT(c->pos.index >= d->checkpoint.pos.index);
    bool known = entry_at(d, c->pos.index, &pos, &chain);
    ASSERT(known);
    ASSERT(pos.term == c->pos.term);
    ASSERT(chain == c->chain);
    set_checkpoint(&d->checkpoint, c);
}

static bool same_incoming(const struct sim_disk *d,
                          const struct store_checkpoint *c)
{
    const struct store_checkpoint *i = &d->incoming_checkpoint;
    return d->incoming && i->pos.index == c->pos.index &&
           i->pos.term == c->pos.term && i->chain == c->chain &&
           i->hash == c->hash;
}

static void apply_incoming_begin(struct sim_disk *d,
                                 const struct store_checkpoint *c)
{
    ASSERT(c->pos.index > 0);
    if (same_incoming(d, c)) {
        return;
    }
    sim_items_clear(&d->incoming_rows);
    d->incoming = true;
    set_checkpoint(&d->incoming_checkpoint, c);
}

static void apply_install(struct sim_disk *d, const struct store_checkpoint *c)
{
    struct raft_pos pos = {0, 0};
    uint64_t chain = 0;
    ASSERT(same_incoming(d, c));
    ASSERT(c->pos.index > d->checkpoint.pos.index);
    bool held = entry_at(d, c->pos.index, &pos, &chain) &&
                pos.term == c->pos.term && chain == c->chain;
    set_checkpoint(&d->checkpoint, c);
    sim_items_clear(&d->rows);
    d->rows = d->incoming_rows;
    d->incoming_rows = (struct sim_items){.n = 0};
    d->incoming = false;
    apply_trim_events(d, c->pos.index + 1);
    if (held) {
        apply_trim_log(d, c->pos.index + 1);
        return;
    }
    sim_items_clear(&d->log);
    d->base = c->pos;
    d->base_chain = c->chain;
}

void sim_disk_apply(struct sim_disk *d, const struct sim_op *op)
{
    const struct sim_item *item = &op->item;
    uint32_t at = 0;
    switch (op->type) {
    case SIM_HARD_STATE:
        ASSERT(item->term >= d->term);
        d->term = item->term;
        d->vote = op->vote;
        break;
    case SIM_TRUNCATE:
        apply_truncate(d, item->index);
        break;
    case SIM_APPEND:
        apply_append(d, item);
        break;
    case SIM_PUT_ROW:
        put_row(&d->rows, item->key, item->value);
        break;
    case SIM_DELETE_ROW:
        at = sim_items_find(&d->rows, item->key);
        if (at < d->rows.n && compare(d->rows.at[at].key, item->key) == 0) {
            remove_items(&d->rows, at, 1);
        }
        break;
    case SIM_CHECKPOINT:
        apply_checkpoint(d, &op->checkpoint);
        break;
    case SIM_EVENT:
        apply_event(d, item);
        break;
    case SIM_TRIM_LOG:
        apply_trim_log(d, item->index);
        break;
    case SIM_TRIM_EVENTS:
        apply_trim_events(d, item->index);
        break;
    case SIM_INCOMING_BEGIN:
        apply_incoming_begin(d, &op->checkpoint);
        break;
    case SIM_INCOMING_ROW:
        ASSERT(d->incoming);
        put_row(&d->incoming_rows, item->key, item->value);
        break;
    case SIM_INCOMING_INSTALL:
        apply_install(d, &op->checkpoint);
        break;
    }
}
