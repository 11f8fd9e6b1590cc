/* store_writer.c - the thread that owns every write transaction.
 *
 *     wait --> group: all that is committed, one transaction --> stored
 *          --> reads whose batch is stored
 *          --> nothing else to do: delete a part of what was trimmed
 *
 * Batches that come in while a transaction syncs are merged into the next one (group commit), so a slow disk costs
 * latency, not throughput. Nothing is retried but a transaction that found the map full, which left nothing behind. */
#include "raft/store_inner.h"

#include <errno.h>
#include <time.h>

#define READS_PER_TURN 16u
#define TIDY_KEYS_IDLE 1000u
#define TIDY_KEYS_BUSY 256u
#define MAP_BYTES_MAX  ((size_t)1 << 46)
#define MAP_GROWS_MAX  8

struct part {
    struct store_tape *tape;
    size_t from;
    size_t to;
};

struct group {
    struct part parts[2];
    uint32_t parts_n;
    uint64_t last;
    uint64_t bytes;
    uint64_t batches;
    bool ops;
};

uint64_t store_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void store_wake(struct store *s)
{
    (void)pthread_mutex_lock(&s->wake_lock);
    if (!s->wake_off && s->options.wake != NULL) {
        s->options.wake(s->options.wake_arg);
    }
    (void)pthread_mutex_unlock(&s->wake_lock);
}

/* --- what there is to do; with the lock held ------------------------------------------------------------------------ */

static bool anything_out(const struct store *s)
{
    return s->stored_n > 0 || s->answered.first != NULL ||
           (s->failed && !s->failure_told);
}

static bool batches_wait(const struct store *s)
{
    const struct store_tape *drain = &s->tapes[s->drain];
    const struct store_tape *fill = &s->tapes[s->fill];
    return drain->taken < drain->committed || fill->taken < fill->committed;
}

static bool reads_due(const struct store *s)
{
    return s->asked.first != NULL && s->asked.first->after <= s->stored_batch;
}

static bool waste(const struct store *s)
{
    return s->state.log_waste || s->state.events_waste || s->state.rows_waste;
}

/* Takes batches of a tape until the group is full. True: all that is committed on it. */
static bool take_tape(struct store_tape *tape, struct group *g)
{
    struct part part = {tape, tape->taken, tape->taken};
    while (part.to < tape->committed) {
        const struct store_batch *batch = store_tape_batch(tape, part.to);
        if (g->batches > 0 && g->bytes + batch->bytes > STORE_GROUP_BYTES) {
            break;
        }
        g->bytes += batch->bytes;
        g->batches++;
        g->last = batch->number;
        g->ops = g->ops || batch->bytes > sizeof(*batch);
        part.to += batch->bytes;
    }
    g->parts[g->parts_n++] = part;
    return part.to == tape->committed;
}

static void take_group(struct store *s, struct group *g)
{
    *g = (struct group){0};
    if (take_tape(&s->tapes[s->drain], g) && s->drain != s->fill) {
        (void)take_tape(&s->tapes[s->fill], g);
    }
}

static const struct store_batch *oldest_batch(const struct store *s)
{
    for (uint32_t i = 0; i < 2; i++) {
        const struct store_tape *tape = &s->tapes[i == 0 ? s->drain : s->fill];
        if (tape->taken < tape->committed) {
            return store_tape_batch(tape, tape->taken);
        }
    }
    return NULL;
}

/* --- the outcome ---------------------------------------------------------------------------------------------------- */

static void fail(struct store *s, int rc, uint64_t bytes, uint64_t took_us)
{
    enum store_failure failure = store_failure_of(s, rc, bytes);
    char error[sizeof(s->error)];
    store_failure_say(s, failure, rc, error, sizeof(error));
    if (failure == STORE_FAILURE_DISK_FULL) {
        store_reserve_free(s);
    }
    (void)pthread_mutex_lock(s->lock);
    ASSERT(!s->failed);
    bool wake = !anything_out(s);
    s->failed = true;
    s->failure = failure;
    s->failure_took_us = took_us;
    __builtin_memcpy(s->error, error, sizeof(error));
    (void)pthread_cond_broadcast(&s->done);
    (void)pthread_mutex_unlock(s->lock);
    if (wake) {
        store_wake(s);
    }
}

static void push_stored(struct store *s, uint64_t batch, uint64_t took_us)
{
    if (s->stored_n == STORE_STORED_MAX) {
        /* Nobody looked for long: the last one speaks for both. */
        uint32_t last = (s->stored_first + s->stored_n - 1) % STORE_STORED_MAX;
        s->stored[last] = (struct store_stored){batch, took_us};
        return;
    }
    uint32_t at = (s->stored_first + s->stored_n) % STORE_STORED_MAX;
    s->stored[at] = (struct store_stored){batch, took_us};
    s->stored_n++;
}

static void count_commit(struct store *s, uint64_t took_us, uint64_t used)
{
    uint32_t bucket = 0;
    while (bucket + 1 < countof(s->stats.commit_us_buckets) &&
           took_us >= (uint64_t)100 << bucket) {
        bucket++;
    }
    s->stats.commit_us_buckets[bucket]++;
    s->stats.commits++;
    s->stats.commit_us_total += took_us;
    s->stats.used_bytes = used;
}

/* The writer moves on to the loop's tape once its own is empty; the memory is given back while nobody uses it. */
static void next_tape(struct store *s)
{
    struct store_tape *tape = &s->tapes[s->drain];
    if (s->drain == s->fill || tape->taken < tape->committed) {
        return;
    }
    (void)pthread_mutex_unlock(s->lock);
    store_tape_shrink(tape);
    (void)pthread_mutex_lock(s->lock);
    s->drain = s->fill;
}

static uint64_t used_bytes(struct store *s)
{
    MDB_envinfo info;
    int rc = mdb_env_info(s->env, &info);
    ASSERT(rc == 0);
    return (info.me_last_pgno + 1) * (uint64_t)s->page_bytes;
}

static void stored(struct store *s, const struct group *g, uint64_t took_us)
{
    uint64_t used = used_bytes(s);
    (void)pthread_mutex_lock(s->lock);
    bool wake = !anything_out(s);
    for (uint32_t i = 0; i < g->parts_n; i++) {
        g->parts[i].tape->taken = g->parts[i].to;
    }
    ASSERT(g->bytes <= s->queue_bytes);
    ASSERT(g->last > s->stored_batch);
    s->queue_bytes -= g->bytes;
    s->stored_batch = g->last;
    s->active = s->state.active;
    s->stats.batches_waiting -= g->batches;
    push_stored(s, g->last, took_us);
    if (g->ops) {
        count_commit(s, took_us, used);
    }
    next_tape(s);
    (void)pthread_cond_broadcast(&s->done);
    (void)pthread_mutex_unlock(s->lock);
    if (wake) {
        store_wake(s);
    }
}

/* --- the map -------------------------------------------------------------------------------------------------------- */

/* LMDB allows no transaction of this process while the map changes: walks on the loop's thread end first. */
static int set_map(struct store *s, size_t bytes)
{
    (void)pthread_mutex_lock(s->lock);
    while (s->walks > 0 && !s->stop) {
        (void)pthread_cond_wait(&s->done, s->lock);
    }
    if (s->walks > 0) {
        (void)pthread_mutex_unlock(s->lock);
        return EBUSY;
    }
    s->growing = true;
    (void)pthread_mutex_unlock(s->lock);
    int rc = mdb_env_set_mapsize(s->env, bytes);
    (void)pthread_mutex_lock(s->lock);
    s->growing = false;
    if (rc == 0) {
        s->map_bytes = bytes;
        s->stats.map_bytes = bytes;
    }
    (void)pthread_cond_broadcast(&s->done);
    (void)pthread_mutex_unlock(s->lock);
    return rc;
}

int store_map_grow(struct store *s, uint64_t more)
{
    uint64_t used = used_bytes(s);
    size_t bytes = s->map_bytes;
    while (bytes < MAP_BYTES_MAX && used + more > bytes / 4 * 3) {
        bytes *= 2;
    }
    return bytes == s->map_bytes ? 0 : set_map(s, bytes);
}

/* --- transactions --------------------------------------------------------------------------------------------------- */

static int apply_batch(struct store_txn *t, const struct store_batch *batch)
{
    struct store_tape_walk walk = store_tape_ops(batch);
    const struct store_op *op;
    struct bytes key;
    struct bytes data;
    while ((op = store_tape_op(&walk, &key, &data)) != NULL) {
        int rc = store_apply(t, op, key, data);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int apply_group(struct store_txn *t, const struct group *g)
{
    for (uint32_t i = 0; i < g->parts_n; i++) {
        const struct part *part = &g->parts[i];
        for (size_t at = part->from; at < part->to;) {
            const struct store_batch *batch = store_tape_batch(part->tape, at);
            int rc = apply_batch(t, batch);
            if (rc != 0) {
                return rc;
            }
            at += batch->bytes;
        }
    }
    return store_state_put(t);
}

/* One transaction: the group if there is one, and a part of the deletions that wait. */
static int transact(struct store *s, const struct group *g, uint32_t tidy_keys)
{
    struct store_txn t = {.s = s, .state = s->state};
    int rc = mdb_txn_begin(s->env, NULL, 0, &t.txn);
    if (rc != 0) {
        return rc;
    }
    rc = g != NULL ? apply_group(&t, g) : 0;
    if (rc == 0) {
        rc = store_tidy(&t, tidy_keys);
    }
    if (t.log != NULL) {
        mdb_cursor_close(t.log);
    }
    if (rc != 0) {
        mdb_txn_abort(t.txn);
        return rc;
    }
    rc = mdb_txn_commit(t.txn);
    if (rc == 0) {
        s->state = t.state;
    }
    return rc;
}

/* Writes ahead of need grow the map; if that was not enough, the transaction is done again in a larger one. */
static int transact_growing(struct store *s, const struct group *g,
                            uint32_t tidy_keys, uint64_t bytes)
{
    uint64_t more = bytes * 2 + ((uint64_t)256 << 10);
    /* If the map cannot grow, what we have may still be enough. */
    (void)store_map_grow(s, more);
    int rc = transact(s, g, tidy_keys);
    for (int i = 0; rc == MDB_MAP_FULL && i < MAP_GROWS_MAX; i++) {
        if (set_map(s, s->map_bytes * 2) != 0) {
            break;
        }
        rc = transact(s, g, tidy_keys);
    }
    return rc;
}

static void run_group(struct store *s, const struct group *g)
{
    uint64_t start_us = store_now_us();
    int rc = 0;
    if (g->ops) {
        rc = transact_growing(s, g, TIDY_KEYS_BUSY, g->bytes);
    }
    uint64_t took_us = store_now_us() - start_us;
    if (rc != 0) {
        fail(s, rc, g->bytes, took_us);
        return;
    }
    stored(s, g, took_us);
}

static void run_tidy(struct store *s)
{
    int rc = transact_growing(s, NULL, TIDY_KEYS_IDLE, 0);
    if (rc != 0) {
        fail(s, rc, 0, 0);
    }
}

static void run_read(struct store *s, struct store_read *read)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = store_read_serve(s, txn, read);
        mdb_txn_abort(txn);
    }
    if (rc != 0) {
        (void)pthread_mutex_lock(s->lock);
        store_reads_push(&s->spare, read);
        (void)pthread_mutex_unlock(s->lock);
        fail(s, rc, 0, 0);
        return;
    }
    (void)pthread_mutex_lock(s->lock);
    bool wake = !anything_out(s);
    store_reads_push(&s->answered, read);
    (void)pthread_mutex_unlock(s->lock);
    if (wake) {
        store_wake(s);
    }
}

/* Answers reads that are due, a bounded number, so that batches do not wait behind them. */
static uint32_t run_reads(struct store *s)
{
    uint32_t n = 0;
    for (; n < READS_PER_TURN; n++) {
        (void)pthread_mutex_lock(s->lock);
        struct store_read *read = NULL;
        if (reads_due(s) && !s->failed && !s->stop) {
            read = store_reads_pop(&s->asked);
        }
        (void)pthread_mutex_unlock(s->lock);
        if (read == NULL) {
            break;
        }
        run_read(s, read);
    }
    return n;
}

void *store_writer_main(void *arg)
{
    struct store *s = arg;
    for (;;) {
        struct group g = {0};
        (void)pthread_mutex_lock(s->lock);
        while (!s->stop && (s->failed ||
                            (!batches_wait(s) && !reads_due(s) && !waste(s)))) {
            (void)pthread_cond_wait(&s->work, s->lock);
        }
        bool stop = s->stop;
        if (!stop) {
            take_group(s, &g);
        }
        (void)pthread_mutex_unlock(s->lock);
        if (stop) {
            return NULL;
        }
        if (g.batches > 0) {
            run_group(s, &g);
        }
        if (run_reads(s) == 0 && g.batches == 0) {
            run_tidy(s);
        }
    }
}

void store_stats(const struct store *s, struct store_stats *out)
{
    (void)pthread_mutex_lock(s->lock);
    *out = s->stats;
    out->queue_bytes = s->queue_bytes;
    const struct store_batch *oldest = oldest_batch(s);
    if (oldest != NULL) {
        uint64_t now_us = store_now_us();
        out->oldest_wait_us =
            now_us > oldest->committed_us ? now_us - oldest->committed_us : 0;
    }
    (void)pthread_mutex_unlock(s->lock);
}
