#include "sim/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk.h"

#define QUEUE_BYTES_MAX ((uint64_t)64 << 20)

struct batch {
    uint64_t number;
    struct sim_op *ops;
    uint32_t n;
    uint32_t capacity;
    uint64_t bytes;
    struct batch *next;
};

enum read_type {
    SIM_READ_LOG,
    SIM_READ_EVENTS,
    SIM_READ_ROWS,
    SIM_READ_INCOMING,
};

struct read {
    enum read_type type;
    uint64_t tag;
    raft_index from;
    raft_index to;
    struct bytes key; /* owned */
    uint64_t bytes_max;
    uint64_t after; /* batch that must be stored first */
    struct read *next;
};

/* What store_next() will give. Owns the bytes of its records and of the checkpoint's configuration. */
struct news {
    struct store_event event;
    struct store_record *records;
    struct news *next;
};

struct store {
    struct sim_disk *disk;
    struct batch *open;
    struct batch *waiting; /* oldest first */
    struct batch *spare;   /* empty, to be used again */
    struct read *reads;    /* oldest first */
    struct news *news;     /* oldest first */
    struct news *shown;    /* given out by the last store_next() */
    uint64_t stored;
    uint64_t commits;
    uint64_t queue_bytes;
    bool walking;
    uint64_t read_bytes_max;    /* 0: none */
    enum store_failure failure; /* of the next write */
    char error[256];
    bool failed;
    struct sim_store_hooks hooks;
};

/* It has no pages. */
const char *const sim_store_never[] = {"torn_meta", "map_full", NULL};

/* --- batches ----------------------------------------------------------------------------------------------------------- */

static struct batch *batch_new(struct store *s, uint64_t number)
{
    struct batch *b = s->spare;
    if (b == NULL) {
        b = sim_alloc(sizeof *b);
    } else {
        s->spare = b->next;
        *b = (struct batch){.ops = b->ops, .capacity = b->capacity};
    }
    b->number = number;
    return b;
}

/* It may be used again. */
static void batch_done(struct store *s, struct batch *b)
{
    for (uint32_t i = 0; i < b->n; i++) {
        sim_drop(&b->ops[i].item.key);
        sim_drop(&b->ops[i].item.value);
        sim_drop(&b->ops[i].checkpoint.config);
    }
    b->next = s->spare;
    s->spare = b;
}

static struct sim_op *add(struct store *s, enum sim_op_type type,
                          struct bytes key, struct bytes value)
{
    struct batch *b = s->open;
    if (b->n == b->capacity) {
        b->capacity = b->capacity == 0 ? 16 : b->capacity * 2;
        b->ops = realloc(b->ops, b->capacity * sizeof b->ops[0]);
        ASSERT(b->ops != NULL);
    }
    struct sim_op *op = &b->ops[b->n++];
    *op = (struct sim_op){
        .type = type, .item = {.key = sim_copy(key), .value = sim_copy(value)}};
    b->bytes += key.n + value.n + 64;
    return op;
}

static const struct bytes none = {NULL, 0};

void store_put_hard_state(struct store *s, raft_term term, raft_id vote)
{
    struct sim_op *op = add(s, SIM_HARD_STATE, none, none);
    op->item.term = term;
    op->vote = vote;
}

void store_truncate(struct store *s, raft_index from)
{
    ASSERT(from > 0);
    if (s->hooks.truncate != NULL) {
        s->hooks.truncate(s->hooks.arg, from);
    }
    add(s, SIM_TRUNCATE, none, none)->item.index = from;
}

void store_append(struct store *s, const struct store_entry *entry)
{
    ASSERT(entry->index > 0);
    ASSERT(entry->term > 0);
    ASSERT(entry->kind >= RAFT_NORMAL && entry->kind <= RAFT_CONFIG);
    if (s->hooks.append != NULL) {
        s->hooks.append(s->hooks.arg, entry);
    }
    struct sim_op *op = add(s, SIM_APPEND, none, entry->data);
    op->item.index = entry->index;
    op->item.term = entry->term;
    op->item.kind = entry->kind;
    op->item.time_ms = entry->time_ms;
    op->item.chain = entry->chain;
}

void store_put_row(struct store *s, struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    (void)add(s, SIM_PUT_ROW, key, value);
}

void store_delete_row(struct store *s, struct bytes key)
{
    ASSERT(key.n > 0);
    (void)add(s, SIM_DELETE_ROW, key, none);
}

static void add_checkpoint(struct store *s, enum sim_op_type type,
                           const struct store_checkpoint *c)
{
    struct sim_op *op = add(s, type, none, none);
    op->checkpoint = *c;
    op->checkpoint.config = sim_copy(c->config);
}

void store_put_checkpoint(struct store *s, const struct store_checkpoint *c)
{
    if (s->hooks.checkpoint != NULL) {
        s->hooks.checkpoint(s->hooks.arg, c);
    }
    add_checkpoint(s, SIM_CHECKPOINT, c);
}

void store_put_event(struct store *s, raft_index revision, struct bytes batch)
{
    if (s->hooks.event != NULL) {
        s->hooks.event(s->hooks.arg, revision, batch);
    }
    add(s, SIM_EVENT, none, batch)->item.index = revision;
}

void store_trim_log(struct store *s, raft_index first)
{
    add(s, SIM_TRIM_LOG, none, none)->item.index = first;
}

void store_trim_events(struct store *s, raft_index first)
{
    add(s, SIM_TRIM_EVENTS, none, none)->item.index = first;
}

void store_incoming_begin(struct store *s, const struct store_checkpoint *c)
{
    add_checkpoint(s, SIM_INCOMING_BEGIN, c);
}

void store_incoming_row(struct store *s, struct bytes key, struct bytes value)
{
    ASSERT(key.n > 0);
    (void)add(s, SIM_INCOMING_ROW, key, value);
}

void store_incoming_install(struct store *s, const struct store_checkpoint *c)
{
    if (s->hooks.install != NULL) {
        s->hooks.install(s->hooks.arg, c);
    }
    add_checkpoint(s, SIM_INCOMING_INSTALL, c);
}

uint64_t store_batch(const struct store *s)
{
    return s->open->number;
}

uint64_t store_commit(struct store *s)
{
    struct batch **at = &s->waiting;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = s->open;
    uint64_t number = s->open->number;
    s->queue_bytes += s->open->bytes;
    s->open = batch_new(s, number + 1);
    return number;
}

uint64_t store_room(const struct store *s)
{
    uint64_t used = s->queue_bytes + s->open->bytes;
    return used < QUEUE_BYTES_MAX ? QUEUE_BYTES_MAX - used : 0;
}

/* --- reads --------------------------------------------------------------------------------------------------------------- */

static struct news *add_news(struct store *s)
{
    struct news **at = &s->news;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = sim_alloc(sizeof **at);
    return *at;
}

static void news_free(struct news *n)
{
    if (n == NULL) {
        return;
    }
    for (uint32_t i = 0; i < n->event.records_n; i++) {
        sim_drop(&n->records[i].key);
        sim_drop(&n->records[i].value);
        sim_drop(&n->records[i].entry.data);
    }
    sim_drop(&n->event.checkpoint.config);
    free(n->records);
    free(n);
}

static void add_record(struct news *n, const struct sim_item *item, bool entry)
{
    uint32_t i = n->event.records_n++;
    n->records = realloc(n->records, n->event.records_n * sizeof n->records[0]);
    ASSERT(n->records != NULL);
    n->event.records = n->records;
    n->records[i] = (struct store_record){.index = item->index};
    if (entry) {
        n->records[i].entry = (struct store_entry){
            .index = item->index,
            .term = item->term,
            .kind = item->kind,
            .time_ms = item->time_ms,
            .chain = item->chain,
            .data = sim_copy(item->value),
        };
        return;
    }
    n->records[i].key = sim_copy(item->key);
    n->records[i].value = sim_copy(item->value);
}

/* Records from items[at] on, while they're asked for and there's room. Says whether the end was reached. */
static bool add_records(struct news *n, const struct sim_items *items,
                        uint32_t at, const struct read *r, bool entry)
{
    uint64_t spent = 0;
    for (; at < items->n; at++) {
        const struct sim_item *item = &items->at[at];
        uint64_t cost = item->key.n + item->value.n + 32;
        if (r->to != 0 && item->index > r->to) {
            return false;
        }
        if (n->event.records_n > 0 && spent + cost > r->bytes_max) {
            return false;
        }
        spent += cost;
        add_record(n, item, entry);
    }
    return true;
}

static void serve_log(const struct sim_disk *d, const struct read *r,
                      struct news *n)
{
    if (r->from <= d->base.index) {
        n->event.gone = true;
        return;
    }
    n->event.end = add_records(
        n, &d->log, (uint32_t)(r->from - d->base.index - 1), r, true);
}

static void serve_events(const struct sim_disk *d, const struct read *r,
                         struct news *n)
{
    uint32_t at = 0;
    if (r->from < d->events_base) {
        n->event.gone = true;
        return;
    }
    while (at < d->events.n && d->events.at[at].index < r->from) {
        at++;
    }
    bool all = add_records(n, &d->events, at, r, false);
    at += n->event.records_n;
    n->event.end = all || d->events.at[at].index > r->to;
}

static void serve_rows(const struct sim_disk *d, const struct read *r,
                       struct news *n)
{
    if (d->checkpoint.pos.index != r->from || r->from == 0) {
        n->event.gone = true;
        return;
    }
    struct read whole = *r;
    whole.to = 0;
    uint32_t at = sim_items_find(&d->rows, r->key);
    if (at < d->rows.n && r->key.n > 0 && d->rows.at[at].key.n == r->key.n &&
        memcmp(d->rows.at[at].key.data, r->key.data, r->key.n) == 0) {
        at++;
    }
    n->event.end = add_records(n, &d->rows, at, &whole, false);
    n->event.checkpoint = d->checkpoint;
    n->event.checkpoint.config = sim_copy(d->checkpoint.config);
}

static void serve_incoming(const struct sim_disk *d, struct news *n)
{
    struct sim_item last = {.index = d->incoming_checkpoint.pos.index};
    n->event.end = true;
    if (!d->incoming) {
        return;
    }
    if (d->incoming_rows.n > 0) {
        last.key = d->incoming_rows.at[d->incoming_rows.n - 1].key;
    }
    add_record(n, &last, false);
    n->event.checkpoint = d->incoming_checkpoint;
    n->event.checkpoint.config = sim_copy(d->incoming_checkpoint.config);
}

static void serve(struct store *s, const struct read *r)
{
    struct news *n = add_news(s);
    n->event.type = STORE_READ;
    n->event.tag = r->tag;
    switch (r->type) {
    case SIM_READ_LOG:
        serve_log(s->disk, r, n);
        break;
    case SIM_READ_EVENTS:
        serve_events(s->disk, r, n);
        break;
    case SIM_READ_ROWS:
        serve_rows(s->disk, r, n);
        break;
    case SIM_READ_INCOMING:
        serve_incoming(s->disk, n);
        break;
    }
}

static void serve_reads(struct store *s)
{
    while (s->reads != NULL && s->reads->after <= s->stored) {
        struct read *r = s->reads;
        s->reads = r->next;
        serve(s, r);
        sim_drop(&r->key);
        free(r);
    }
}

/* A read sees all ops that were given before it. */
static void add_read(struct store *s, const struct read *want)
{
    struct read **at = &s->reads;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    struct read *r = sim_alloc(sizeof *r);
    *r = *want;
    r->key = sim_copy(want->key);
    if (s->read_bytes_max > 0) {
        r->bytes_max = min_u64(r->bytes_max, s->read_bytes_max);
    }
    r->after = s->open->n > 0 ? s->open->number : s->open->number - 1;
    *at = r;
    serve_reads(s);
}

void store_read_log(struct store *s, uint64_t tag, raft_index from,
                    raft_index to, uint64_t bytes_max)
{
    add_read(s, &(struct read){.type = SIM_READ_LOG,
                               .tag = tag,
                               .from = from,
                               .to = to,
                               .bytes_max = bytes_max});
}

void store_read_events(struct store *s, uint64_t tag, raft_index from,
                       raft_index to, uint64_t bytes_max)
{
    add_read(s, &(struct read){.type = SIM_READ_EVENTS,
                               .tag = tag,
                               .from = from,
                               .to = to,
                               .bytes_max = bytes_max});
}

void store_read_rows(struct store *s, uint64_t tag, raft_index index,
                     struct bytes after, uint64_t bytes_max)
{
    add_read(s, &(struct read){.type = SIM_READ_ROWS,
                               .tag = tag,
                               .from = index,
                               .key = after,
                               .bytes_max = bytes_max});
}

void store_read_incoming(struct store *s, uint64_t tag)
{
    add_read(s, &(struct read){.type = SIM_READ_INCOMING, .tag = tag});
}

/* --- writing ------------------------------------------------------------------------------------------------------------- */

void sim_store_observe(struct store *s, const struct sim_store_hooks *hooks)
{
    s->hooks = *hooks;
}

bool sim_store_write(struct store *s)
{
    struct batch *b = s->waiting;
    if (b == NULL || s->failed) {
        return false;
    }
    struct news *n = add_news(s);
    n->event.batch = b->number;
    if (s->failure != STORE_FAILURE_NONE) {
        s->failed = true;
        n->event.type = STORE_FAILED;
        n->event.failure = s->failure;
        memcpy(n->event.error, s->error, sizeof n->event.error);
        return true;
    }
    n->event.type = STORE_STORED;
    for (uint32_t i = 0; i < b->n; i++) {
        sim_disk_apply(s->disk, &b->ops[i]);
    }
    s->commits += b->n > 0;
    s->stored = b->number;
    s->queue_bytes -= b->bytes;
    s->waiting = b->next;
    batch_done(s, b);
    serve_reads(s);
    return true;
}

void sim_store_set_read_bytes(struct store *s, uint64_t bytes_max)
{
    s->read_bytes_max = bytes_max;
}

static uint32_t waiting(const struct store *s)
{
    uint32_t n = 0;
    for (const struct batch *b = s->waiting; b != NULL; b = b->next) {
        n++;
    }
    return n;
}

uint32_t sim_store_begin(struct store *s)
{
    return waiting(s);
}

bool sim_store_cut(struct store *s, uint32_t n, bool whole)
{
    for (; whole && n > 0; n--) {
        (void)sim_store_write(s);
    }
    return whole;
}

bool sim_store_has_news(const struct store *s)
{
    return s->news != NULL;
}

void sim_store_fail(struct store *s, enum store_failure failure,
                    const char *error)
{
    s->failure = failure;
    (void)snprintf(s->error, sizeof s->error, "%s", error);
}

bool sim_store_failed(const struct store *s)
{
    return s->failed;
}

bool store_next(struct store *s, struct store_event *out)
{
    news_free(s->shown);
    s->shown = s->news;
    if (s->shown == NULL) {
        return false;
    }
    s->news = s->shown->next;
    *out = s->shown->event;
    return true;
}

void store_stats(const struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){
        .commits = s->commits,
        .batches_waiting = waiting(s),
        .queue_bytes = s->queue_bytes,
    };
}

bool sim_store_oldest(const struct store *s, const struct sim_op **out_ops,
                      uint32_t *out_n)
{
    if (s->waiting == NULL) {
        return false;
    }
    *out_ops = s->waiting->ops;
    *out_n = s->waiting->n;
    return true;
}

/* --- opening, closing ------------------------------------------------------------------------------------------------------ */

struct store *sim_store_open(struct sim_disk *d, struct store_boot *out)
{
    struct store *s = sim_alloc(sizeof *s);
    uint64_t chain = 0;
    s->disk = d;
    s->open = batch_new(s, 1);
    d->boot++;
    struct raft_pos tail = sim_disk_tail(d, &chain);
    *out = (struct store_boot){
        .fresh = d->term == 0 && d->vote == 0 && tail.index == 0,
        .incarnation = d->incarnation,
        .boot = d->boot,
        .lineage = d->lineage,
        .term = d->term,
        .vote = d->vote,
        .first = d->base.index + 1,
        .last = tail,
        .last_chain = chain,
        .checkpoint = d->checkpoint.pos,
        .checkpoint_chain = d->checkpoint.chain,
        .checkpoint_hash = d->checkpoint.hash,
        .checkpoint_time_ms = d->checkpoint.time_ms,
        .checkpoint_config = d->checkpoint.config,
        .checkpoint_config_index = d->checkpoint.config_index,
    };
    out->events_from = max_u64(d->events_base, 1);
    if (d->events.n > 0) {
        out->events_last = d->events.at[d->events.n - 1].index;
    }
    return s;
}

/* Drawn by nobody: it's enough that no two disks, an image among them, come to the same. */
bool store_draw(struct store *s, uint64_t seen_boot, struct lineage *out)
{
    struct lineage *l = &s->disk->lineage;
    l->before = l->own;
    l->before_boot = seen_boot;
    l->own = (l->own ^ s->disk->salt) * 0x9E3779B97F4A7C15u + 1;
    *out = *l;
    return true;
}

void sim_store_crash(struct store *s)
{
    if (s == NULL) {
        return;
    }
    while (s->waiting != NULL) {
        struct batch *b = s->waiting;
        s->waiting = b->next;
        batch_done(s, b);
    }
    batch_done(s, s->open);
    while (s->spare != NULL) {
        struct batch *b = s->spare;
        s->spare = b->next;
        free(b->ops);
        free(b);
    }
    while (s->reads != NULL) {
        struct read *r = s->reads;
        s->reads = r->next;
        sim_drop(&r->key);
        free(r);
    }
    while (s->news != NULL) {
        struct news *n = s->news;
        s->news = n->next;
        news_free(n);
    }
    news_free(s->shown);
    free(s);
}

bool store_boot_entry(struct store *s, raft_index from, struct store_entry *out)
{
    const struct sim_disk *d = s->disk;
    raft_index first = d->base.index + 1;
    from = max_u64(from, first);
    if (from >= first + d->log.n) {
        return false;
    }
    const struct sim_item *item = &d->log.at[from - first];
    *out = (struct store_entry){
        .index = item->index,
        .term = item->term,
        .kind = item->kind,
        .time_ms = item->time_ms,
        .chain = item->chain,
        .data = item->value,
    };
    return true;
}

bool store_rows_next(struct store *s, uint64_t *cursor, struct bytes *out_key,
                     struct bytes *out_value)
{
    const struct sim_disk *d = s->disk;
    ASSERT(*cursor == 0 || s->walking);
    s->walking = *cursor < d->rows.n;
    if (!s->walking) {
        return false;
    }
    *out_key = d->rows.at[*cursor].key;
    *out_value = d->rows.at[*cursor].value;
    (*cursor)++;
    return true;
}

void store_rows_end(struct store *s)
{
    s->walking = false;
}
