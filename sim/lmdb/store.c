/* One store of the product, opened, driven and ended by the simulator; see wrap.h. What it's given goes to a model store as well, whose
 * disk is what the oracles ask; each start compares the two, to the last entry and row. */
#include "sim/store.h"

#include <lmdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/disk.h"
#include "sim/lmdb/calls.h"
#include "sim/lmdb/model.h"
#include "sim/lmdb/pilot.h"
#include "sim/lmdb/wrap.h"
#include "sim/world.h"

#define OPEN_MAX (SIM_NODES_MAX + 1u)
/* What the store takes for the least is still more than most runs fill: LMDB is told less, so that maps grow at starts and later. */
#define MAP_BYTES       ((uint64_t)1 << 20)
#define FIRST_MAP_BYTES ((size_t)128 << 10)
/* A transaction makes so many calls at least: its pages, their sync, the meta page. */
#define CALLS_MIN     3u
#define CALLS_CUT_MAX 8u
/* A start makes about so many. */
#define OPEN_CALLS_MAX 16u

struct lmdb {
    struct store *real; /* NULL: not in use */
    struct store *model;
    struct sim_disk *shadow;
    struct calls_disk *disk;
    struct pilot writer;
    struct sim_random random;
    uint64_t read_bytes; /* 0: as asked */
    uint64_t stored;     /* batches that the model was told about */
    uint64_t committed;
    bool news;
    bool failed;  /* the loop was told that it did */
    bool reboots; /* when this process ended, the machine loses power */
};

/* What is behind a disk of the oracles'. */
struct backing {
    const struct sim_disk *key; /* NULL: not in use */
    struct calls_disk *calls;
};

static struct lmdb open_stores[OPEN_MAX];
static struct backing backings[4 * OPEN_MAX];
static bool maps_grow;   /* the first size of the store at hand was given */
static uint64_t streams; /* of chance, that were begun */

static struct lmdb *of(const struct store *s)
{
    for (uint32_t i = 0; i < OPEN_MAX; i++) {
        if (open_stores[i].real == s) {
            return &open_stores[i];
        }
    }
    ASSERT(false);
}

static struct backing *backing_of(const struct sim_disk *d)
{
    for (size_t i = 0; i < countof(backings); i++) {
        if (backings[i].key == d) {
            return &backings[i];
        }
    }
    return NULL;
}

static struct backing *back(const struct sim_disk *d,
                            const struct calls_disk *copied)
{
    struct backing *b = backing_of(NULL);
    ASSERT(b != NULL);
    b->calls = calls_disk_new(copied);
    b->key = d;
    return b;
}

__attribute__((format(printf, 1, 2), noreturn)) static void
broken(const char *format, ...)
{
    char text[900];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_failed(text, "sim/lmdb/store.c", __LINE__, "store");
}

const char *const sim_store_never[] = {"crc_reject", NULL};

/* --- disks --------------------------------------------------------------------------------------------------------------------- */

void wrap_sim_disk_free(struct sim_disk *d) WRAP_OF(sim_disk_free);
void real_sim_disk_free(struct sim_disk *d) REAL_OF(sim_disk_free);
struct sim_disk *wrap_sim_disk_copy(const struct sim_disk *d)
    WRAP_OF(sim_disk_copy);
struct sim_disk *real_sim_disk_copy(const struct sim_disk *d)
    REAL_OF(sim_disk_copy);
void wrap_sim_disk_power_off(struct sim_disk *d) WRAP_OF(sim_disk_power_off);
bool wrap_sim_disk_rot(struct sim_disk *d, uint32_t i) WRAP_OF(sim_disk_rot);

void wrap_sim_disk_free(struct sim_disk *d)
{
    struct backing *b = d == NULL ? NULL : backing_of(d);
    if (b != NULL) {
        calls_disk_free(b->calls);
        *b = (struct backing){.key = NULL};
    }
    real_sim_disk_free(d);
}

struct sim_disk *wrap_sim_disk_copy(const struct sim_disk *d)
{
    struct sim_disk *copy = real_sim_disk_copy(d);
    const struct backing *b = backing_of(d);
    if (b != NULL) {
        (void)back(copy, b->calls);
    }
    return copy;
}

static void lose_power(struct calls_disk *d)
{
    struct sim_world *w = sim_world_now();
    struct media_lost lost;
    struct sim_random r =
        sim_random_of(w->options.seed, SIM_FOR_MEDIA, ++streams);
    calls_disk_power_loss(d, &r, &lost);
    w->coverage.torn_meta += lost.sectors > 0 && lost.kept > 0;
}

/* Bits of what the model holds don't flip: the real store's own checksums are looked at by tests/unit/store_refuse_test.c. */
bool wrap_sim_disk_rot(struct sim_disk *d, uint32_t i)
{
    (void)d;
    (void)i;
    return false;
}

void wrap_sim_disk_power_off(struct sim_disk *d)
{
    struct backing *b = backing_of(d);
    if (b != NULL) {
        lose_power(b->calls);
    }
}

/* --- opening: what is there must be what the model has -------------------------------------------------------------------------- */

static bool same_bytes(struct bytes a, struct bytes b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.data, b.data, a.n) == 0);
}

static void compare_boot(const struct store_boot *a, const struct store_boot *b)
{
    const struct {
        const char *what;
        uint64_t real;
        uint64_t model;
    } numbers[] = {
        {"fresh", a->fresh, b->fresh},
        {"boot", a->boot, b->boot},
        {"term", a->term, b->term},
        {"vote", a->vote, b->vote},
        {"first", a->first, b->first},
        {"last", a->last.index, b->last.index},
        {"its term", a->last.term, b->last.term},
        {"its chain", a->last_chain, b->last_chain},
        {"checkpoint", a->checkpoint.index, b->checkpoint.index},
        {"its term", a->checkpoint.term, b->checkpoint.term},
        {"its chain", a->checkpoint_chain, b->checkpoint_chain},
        {"its hash", a->checkpoint_hash, b->checkpoint_hash},
        {"its time", a->checkpoint_time_ms, b->checkpoint_time_ms},
        {"its configuration's index", a->checkpoint_config_index,
         b->checkpoint_config_index},
        {"events from", a->events_from, b->events_from},
        {"events to", a->events_last, b->events_last},
    };
    for (size_t i = 0; i < countof(numbers); i++) {
        if (numbers[i].real != numbers[i].model) {
            broken("LMDB has %s %llu, the model %llu (log %llu to %llu)",
                   numbers[i].what, (unsigned long long)numbers[i].real,
                   (unsigned long long)numbers[i].model,
                   (unsigned long long)a->first,
                   (unsigned long long)a->last.index);
        }
    }
    if (!same_bytes(a->checkpoint_config, b->checkpoint_config)) {
        broken("LMDB has another configuration than the model");
    }
}

static void compare_content(struct lmdb *l, const struct store_boot *boot)
{
    struct store_entry a;
    struct store_entry b;
    struct bytes key[2];
    struct bytes value[2];
    uint64_t cursor[2] = {0, 0};
    bool more = true;
    for (raft_index i = boot->first; i <= boot->last.index; i++) {
        if (!store_boot_entry(l->real, i, &a) ||
            !model_boot_entry(l->model, i, &b) || a.index != b.index ||
            a.term != b.term || a.kind != b.kind || a.time_ms != b.time_ms ||
            a.chain != b.chain || !same_bytes(a.data, b.data)) {
            broken("LMDB has another entry %llu than the model",
                   (unsigned long long)i);
        }
    }
    (void)store_boot_entry(l->real, boot->last.index + 1, &a);
    while (more) {
        more = store_rows_next(l->real, &cursor[0], &key[0], &value[0]);
        if (more != model_rows_next(l->model, &cursor[1], &key[1], &value[1]) ||
            (more && (!same_bytes(key[0], key[1]) ||
                      !same_bytes(value[0], value[1])))) {
            broken("LMDB has another row %llu than the model",
                   (unsigned long long)cursor[0]);
        }
    }
}

int wrap_mdb_env_set_mapsize(MDB_env *env, size_t bytes)
    WRAP_OF(mdb_env_set_mapsize);
int real_mdb_env_set_mapsize(MDB_env *env, size_t bytes)
    REAL_OF(mdb_env_set_mapsize);

int wrap_mdb_env_set_mapsize(MDB_env *env, size_t bytes)
{
    bool first = bytes == MAP_BYTES && !maps_grow;
    sim_world_now()->coverage.map_full += !first;
    maps_grow = true;
    return real_mdb_env_set_mapsize(env, first ? FIRST_MAP_BYTES : bytes);
}

static struct store *open_real(struct lmdb *l,
                               const struct store_options *options,
                               struct store_boot *out, char error[512])
{
    maps_grow = false;
    pilot_expect(&l->writer);
    struct store *s = store_open(options, out, error, 512);
    pilot_expect(NULL);
    return s;
}

static void on_wake(void *arg)
{
    struct lmdb *l = arg;
    l->news = true;
}

/* The process is no more; only its memory is still to be given back, and for that the writer must come to an end. */
static void end_real(struct lmdb *l)
{
    calls_disk_fault(l->disk, CALLS_CUT, 0);
    do {
        (void)pilot_go(&l->writer);
    } while (l->writer.state == PILOT_COMMITS);
    pilot_expect(&l->writer);
    (void)store_close(l->real, 0);
    pilot_expect(NULL);
    pilot_fini(&l->writer);
    l->real = NULL;
}

/* A start that itself is cut off at one of its calls; or soon after them. */
static void open_in_vain(struct lmdb *l, const struct store_options *options)
{
    struct store_boot boot;
    char error[512] = "";
    calls_disk_fault(l->disk, CALLS_CUT,
                     (uint32_t)sim_below(&l->random, OPEN_CALLS_MAX));
    l->real = open_real(l, options, &boot, error);
    if (l->real != NULL) {
        end_real(l);
    }
    if (sim_chance(&l->random, 500)) {
        lose_power(l->disk);
    }
    calls_disk_fault(l->disk, CALLS_FINE, 0);
}

struct store *sim_store_open(struct sim_disk *d, struct store_boot *out)
{
    struct lmdb *l = of(NULL);
    struct backing *b = backing_of(d);
    struct store_boot shadow;
    char error[512] = "";
    struct sim_world *w = sim_world_now();
    b = b != NULL ? b : back(d, NULL);
    *l = (struct lmdb){
        .shadow = d,
        .disk = b->calls,
        .random = sim_random_of(w->options.seed, SIM_FOR_MEDIA, ++streams),
    };
    calls_disk_fault(l->disk, CALLS_FINE, 0);
    const struct store_options options = {
        .dir = calls_disk_folder(l->disk),
        .cluster = 7,
        .node = 1,
        .map_bytes = MAP_BYTES,
        .queue_bytes_max = (uint64_t)64 << 20,
        .create = true,
        .wake = on_wake,
        .wake_arg = l,
    };
    bool twice = sim_chance(&l->random, 100);
    if (twice) {
        open_in_vain(l, &options);
    }
    l->real = open_real(l, &options, out, error);
    if (l->real == NULL) {
        broken("it doesn't open: %s", error);
    }
    if (twice && out->boot == d->boot + 2) {
        d->boot++; /* the one that was cut off counts, if it got so far */
    }
    if (d->boot > 0 && (d->incarnation != out->incarnation ||
                        d->lineage.own != out->lineage.own)) {
        broken("LMDB's folder has another identity than the model");
    }
    d->incarnation = out->incarnation;
    d->lineage = out->lineage;
    l->model = model_open(d, &shadow);
    compare_boot(out, &shadow);
    compare_content(l, &shadow);
    return l->real;
}

/* --- the writer --------------------------------------------------------------------------------------------------------------------- */

/* What the real store has stored, the model has too. */
static void follow(struct lmdb *l)
{
    struct store_event event;
    struct store_stats stats;
    store_stats(l->real, &stats);
    uint64_t stored = l->committed - stats.batches_waiting;
    for (; l->stored < stored; l->stored++) {
        bool any = model_write(l->model);
        ASSERT(any);
        while (model_next(l->model, &event)) {
            ASSERT(event.type == STORE_STORED);
        }
    }
}

static enum pilot_state run(struct lmdb *l)
{
    enum pilot_state state = pilot_go(&l->writer);
    follow(l);
    return state;
}

uint32_t sim_store_begin(struct store *s)
{
    struct lmdb *l = of(s);
    if (l->writer.state == PILOT_WAITS) {
        (void)run(l);
    }
    return l->writer.state == PILOT_COMMITS ? 1 : 0;
}

bool sim_store_write(struct store *s)
{
    if (sim_store_begin(s) == 0) {
        return false;
    }
    (void)run(of(s));
    return true;
}

void sim_store_fail(struct store *s, enum store_failure failure,
                    const char *error)
{
    struct lmdb *l = of(s);
    (void)error; /* its own words */
    if (failure == STORE_FAILURE_DISK_FULL) {
        calls_disk_fault(l->disk, CALLS_FULL, 0);
        return;
    }
    /* The process ends in either case: at once, or because of what it's told. */
    bool cut = sim_chance(&l->random, 500);
    calls_disk_fault(l->disk, cut ? CALLS_CUT : CALLS_EIO,
                     (uint32_t)sim_below(&l->random, CALLS_MIN));
    l->reboots = sim_chance(&l->random, 500);
}

/* Right behind the last call of the transaction at hand. */
static void gone(void *arg)
{
    struct lmdb *l = arg;
    calls_disk_fault(l->disk, CALLS_CUT, 0);
}

bool sim_store_cut(struct store *s, uint32_t n, bool whole)
{
    struct lmdb *l = of(s);
    ASSERT(n > 0);
    if (l->writer.state != PILOT_COMMITS) {
        return false;
    }
    l->writer.committed = gone;
    l->writer.committed_arg = l;
    if (!whole) {
        calls_disk_fault(l->disk, CALLS_CUT,
                         (uint32_t)sim_below(&l->random, CALLS_CUT_MAX));
    }
    (void)run(l);
    return l->writer.commit_rc == 0;
}

void sim_store_crash(struct store *s)
{
    if (s == NULL) {
        return;
    }
    struct lmdb *l = of(s);
    end_real(l);
    model_crash(l->model);
    if (l->reboots) {
        lose_power(l->disk);
    }
    *l = (struct lmdb){.real = NULL};
}

void sim_store_observe(struct store *s, const struct sim_store_hooks *hooks)
{
    model_observe(of(s)->model, hooks);
}

void sim_store_set_read_bytes(struct store *s, uint64_t bytes_max)
{
    of(s)->read_bytes = bytes_max;
}

bool sim_store_has_news(const struct store *s)
{
    return of(s)->news;
}

bool sim_store_failed(const struct store *s)
{
    return of(s)->failed;
}

/* --- what the store is given -------------------------------------------------------------------------------------------------------- */

bool wrap_store_draw(struct store *s, uint64_t seen_boot, struct lineage *out)
    WRAP_OF(store_draw);
bool real_store_draw(struct store *s, uint64_t seen_boot, struct lineage *out)
    REAL_OF(store_draw);
uint64_t wrap_store_commit(struct store *s) WRAP_OF(store_commit);
uint64_t real_store_commit(struct store *s) REAL_OF(store_commit);
bool wrap_store_next(struct store *s, struct store_event *out)
    WRAP_OF(store_next);
bool real_store_next(struct store *s, struct store_event *out)
    REAL_OF(store_next);

bool wrap_store_draw(struct store *s, uint64_t seen_boot, struct lineage *out)
{
    bool ok = real_store_draw(s, seen_boot, out);
    if (ok) {
        of(s)->shadow->lineage = *out;
    }
    return ok;
}

uint64_t wrap_store_commit(struct store *s)
{
    struct lmdb *l = of(s);
    l->committed = real_store_commit(s);
    uint64_t its = model_commit(l->model);
    ASSERT(its == l->committed);
    return its;
}

bool wrap_store_next(struct store *s, struct store_event *out)
{
    bool any = real_store_next(s, out);
    of(s)->news = any;
    of(s)->failed |= any && out->type == STORE_FAILED;
    return any;
}

/* One of those that only carry something in: to both. */
#define BOTH(name, declared, given)                                            \
    void wrap_store_##name declared WRAP_OF(store_##name);                     \
    void real_store_##name declared REAL_OF(store_##name);                     \
    void wrap_store_##name declared                                            \
    {                                                                          \
        struct store *real = s;                                                \
        real_store_##name given;                                               \
        s = of(real)->model;                                                   \
        model_##name given;                                                    \
    }

BOTH(put_hard_state, (struct store * s, raft_term term, raft_id vote),
     (s, term, vote))
BOTH(truncate, (struct store * s, raft_index from), (s, from))
BOTH(append, (struct store * s, const struct store_entry *entry), (s, entry))
BOTH(put_row, (struct store * s, struct bytes key, struct bytes value),
     (s, key, value))
BOTH(delete_row, (struct store * s, struct bytes key), (s, key))
BOTH(put_checkpoint, (struct store * s, const struct store_checkpoint *c),
     (s, c))
BOTH(put_event, (struct store * s, raft_index revision, struct bytes batch),
     (s, revision, batch))
BOTH(trim_log, (struct store * s, raft_index first), (s, first))
BOTH(trim_events, (struct store * s, raft_index first), (s, first))
BOTH(incoming_begin, (struct store * s, const struct store_checkpoint *c),
     (s, c))
BOTH(incoming_row, (struct store * s, struct bytes key, struct bytes value),
     (s, key, value))
BOTH(incoming_install, (struct store * s, const struct store_checkpoint *c),
     (s, c))

/* --- reads ---------------------------------------------------------------------------------------------------------------------------- */

static uint64_t bounded(const struct store *s, uint64_t bytes_max)
{
    uint64_t most = of(s)->read_bytes;
    return most > 0 ? min_u64(bytes_max, most) : bytes_max;
}

/* One of those that say how many bytes they want. */
#define BOUNDED(name, declared, given)                                         \
    void wrap_store_##name declared WRAP_OF(store_##name);                     \
    void real_store_##name declared REAL_OF(store_##name);                     \
    void wrap_store_##name declared                                            \
    {                                                                          \
        bytes_max = bounded(s, bytes_max);                                     \
        real_store_##name given;                                               \
    }

BOUNDED(read_log,
        (struct store * s, uint64_t tag, raft_index from, raft_index to,
         uint64_t bytes_max),
        (s, tag, from, to, bytes_max))
BOUNDED(read_events,
        (struct store * s, uint64_t tag, raft_index from, raft_index to,
         uint64_t bytes_max),
        (s, tag, from, to, bytes_max))
BOUNDED(read_rows,
        (struct store * s, uint64_t tag, raft_index index, struct bytes after,
         uint64_t bytes_max),
        (s, tag, index, after, bytes_max))
