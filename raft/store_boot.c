/* store_boot.c - from a directory to a store that can be trusted: the database opened, checked against the identity file,
 * its whole log and all rows verified, the new boot generation written on both sides.
 *
 * The generation goes into the database first and into the identity file second, so the database's is the file's or one
 * more: anything else means that one of the two was replaced by an older copy of itself. */
#include "raft/store_inner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REJOIN                                                                 \
    "move the directory away and let this node join again as a new member"
#define READERS_MAX    16
#define TABLES_MAX     8
#define IDENTITY_WORDS 5

struct opening {
    struct store *s;
    MDB_txn *txn;
    uint64_t boot; /* the one that is starting */
    bool fresh;    /* the directory was made just now */
    char *error;
    size_t error_bytes;
};

__attribute__((format(printf, 2, 3))) static bool say(struct opening *o,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(o->error, o->error_bytes, format, args);
    va_end(args);
    return false;
}

static bool say_rc(struct opening *o, const char *doing, int rc)
{
    struct store *s = o->s;
    if (store_failure_of(s, rc, 0) == STORE_FAILURE_DISK_FULL) {
        return say(o,
                   "%s: the disk is full (%" PRIu64 " KiB free) while %s; "
                   "make room first",
                   s->dir, store_free_bytes(s) >> 10, doing);
    }
    if (rc == STORE_DAMAGED || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND ||
        rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH) {
        return say(o, "%s: %s is damaged (%s, while %s); " REJOIN, s->dir,
                   s->what[0] != '\0' ? s->what : STORE_FILE_DATA,
                   store_rc_text(rc), doing);
    }
    return say(o, "%s: %s while %s", s->dir, store_rc_text(rc), doing);
}

/* LMDB found its own pages inconsistent: it cannot go on, and neither can we. */
static void database_assert(MDB_env *env, const char *message)
{
    const char *dir = "?";
    (void)mdb_env_get_path(env, &dir);
    (void)fprintf(stderr, "%s: the database is damaged (%s); " REJOIN "\n", dir,
                  message);
    assert_failed("the database is consistent", __FILE__, __LINE__, __func__);
}

static bool open_env(struct opening *o)
{
    struct store *s = o->s;
    long page = sysconf(_SC_PAGESIZE);
    ASSERT(page > 0);
    size_t map = max_u64(s->options.map_bytes, (uint64_t)1 << 20);
    s->map_bytes = (map + (size_t)page - 1) / (size_t)page * (size_t)page;
    int rc = mdb_env_create(&s->env);
    if (rc != 0) {
        s->env = NULL;
        return say_rc(o, "opening the database", rc);
    }
    (void)mdb_env_set_assert(s->env, database_assert);
    if ((rc = mdb_env_set_maxdbs(s->env, TABLES_MAX)) != 0 ||
        (rc = mdb_env_set_maxreaders(s->env, READERS_MAX)) != 0 ||
        (rc = mdb_env_set_mapsize(s->env, s->map_bytes)) != 0 ||
        (rc = mdb_env_open(s->env, s->dir, MDB_NOTLS, 0600)) != 0) {
        return say_rc(o, "opening the database", rc);
    }
    int dead = 0;
    rc = mdb_reader_check(s->env, &dead);
    if (rc != 0) {
        return say_rc(o, "clearing the reader table", rc);
    }
    MDB_stat stat;
    MDB_envinfo info;
    if ((rc = mdb_env_stat(s->env, &stat)) != 0 ||
        (rc = mdb_env_info(s->env, &info)) != 0) {
        return say_rc(o, "opening the database", rc);
    }
    s->page_bytes = stat.ms_psize;
    s->map_bytes = info.me_mapsize;
    return true;
}

/* A file that was cut short would end the process by SIGBUS on the first look behind its end. Made as long as the
 * database believes it is, what is missing reads as zeros, which no checksum takes for a record. (LMDB may leave pages at
 * the end that it took and gave back unwritten: shorter alone is no damage.) */
static bool lengthen(struct opening *o)
{
    struct store *s = o->s;
    MDB_envinfo info;
    struct stat st;
    int fd = -1;
    int rc = mdb_env_info(s->env, &info);
    if (rc == 0) {
        rc = mdb_env_get_fd(s->env, &fd);
    }
    if (rc == 0 && fstat(fd, &st) != 0) {
        rc = errno;
    }
    if (rc == 0) {
        off_t want = (off_t)((info.me_last_pgno + 1) * s->page_bytes);
        if (st.st_size < want && ftruncate(fd, want) != 0) {
            rc = errno;
        }
    }
    return rc == 0 || say_rc(o, "measuring the database", rc);
}

static int open_tables(struct opening *o)
{
    struct store *s = o->s;
    unsigned flags = o->fresh ? MDB_CREATE : 0;
    int rc = 0;
    if ((rc = mdb_dbi_open(o->txn, "meta", flags, &s->db.meta)) != 0 ||
        (rc = mdb_dbi_open(o->txn, "log", flags, &s->db.log)) != 0 ||
        (rc = mdb_dbi_open(o->txn, "rows_a", flags, &s->db.rows[0])) != 0 ||
        (rc = mdb_dbi_open(o->txn, "rows_b", flags, &s->db.rows[1])) != 0 ||
        (rc = mdb_dbi_open(o->txn, "events", flags, &s->db.events)) != 0) {
        return rc == MDB_NOTFOUND ? STORE_DAMAGED : rc;
    }
    return 0;
}

static int put_identity(struct opening *o)
{
    const struct store_identity *id = &o->s->identity;
    const uint64_t words[IDENTITY_WORDS] = {STORE_RECORD_VERSION, id->cluster,
                                            id->node, id->incarnation, o->boot};
    uint8_t bytes[IDENTITY_WORDS * 8];
    for (size_t i = 0; i < IDENTITY_WORDS; i++) {
        store_pack_u64(bytes + i * 8, words[i]);
    }
    return store_meta_put(o->txn, o->s->db.meta, "identity",
                          (struct bytes){bytes, sizeof(bytes)});
}

static bool check_identity(struct opening *o)
{
    struct store *s = o->s;
    const struct store_identity *id = &s->identity;
    struct bytes payload;
    int rc = store_meta_get(o->txn, s->db.meta, "identity", &payload);
    if (rc != 0 || payload.n != IDENTITY_WORDS * (size_t)8) {
        (void)snprintf(s->what, sizeof(s->what), "the identity record");
        return say_rc(o, "comparing identities",
                      rc == 0 || rc == MDB_NOTFOUND ? STORE_DAMAGED : rc);
    }
    uint64_t version = store_unpack_u64(payload.data);
    if (version != STORE_RECORD_VERSION) {
        return say(o,
                   "%s: the database is of format %" PRIu64
                   ", and this program reads format %d; use the program that "
                   "wrote it",
                   s->dir, version, STORE_RECORD_VERSION);
    }
    uint64_t cluster = store_unpack_u64(payload.data + 8);
    uint64_t node = store_unpack_u64(payload.data + 16);
    if (cluster != id->cluster || node != id->node ||
        store_unpack_u64(payload.data + 24) != id->incarnation) {
        return say(o,
                   "%s: the database is of cluster %" PRIu64 " node %" PRIu64
                   " and not this directory's own (another was copied here); "
                   "put the right one back, or " REJOIN,
                   s->dir, cluster, node);
    }
    uint64_t boot = store_unpack_u64(payload.data + 32);
    if (boot != id->boot && boot != id->boot + 1) {
        return say(o,
                   "%s: the database was last started as boot %" PRIu64
                   ", the identity file says %" PRIu64
                   ": one of them is an older copy, and what was promised in "
                   "between is lost; " REJOIN,
                   s->dir, boot, id->boot);
    }
    return true;
}

/* --- the log -------------------------------------------------------------------------------------------------------- */

static bool say_entry(struct opening *o, raft_index index, const char *what)
{
    return say(o, "%s: log entry %" PRIu64 " is damaged (%s); " REJOIN,
               o->s->dir, index, what);
}

/* The checkpoint must lie where the log still agrees with it. */
static bool check_meets(struct opening *o, struct raft_pos pos, uint64_t chain)
{
    const struct store_state *st = &o->s->state;
    if (pos.index != st->checkpoint.index) {
        return true;
    }
    if (pos.term != st->checkpoint.term || chain != st->checkpoint_chain) {
        return say_entry(o, pos.index, "it is not the checkpoint's");
    }
    return true;
}

static bool verify_entries(struct opening *o, MDB_cursor *cursor)
{
    struct store *s = o->s;
    const struct store_state *st = &s->state;
    struct store_entry entry = {.index = st->base.index + 1};
    struct raft_pos pos = st->base;
    uint64_t chain = st->base_chain;
    MDB_cursor_op op = MDB_SET_RANGE;
    if (!check_meets(o, pos, chain)) {
        return false;
    }
    for (;;) {
        raft_index next = pos.index + 1;
        int rc = store_log_get(cursor, op, &s->gather, &entry);
        if (rc == MDB_NOTFOUND) {
            break;
        }
        if (rc == STORE_DAMAGED || (rc == 0 && entry.index != next)) {
            return say_entry(o, next,
                             rc == 0 ? "it is missing"
                                     : "its checksum does not hold");
        }
        if (rc != 0) {
            return say_rc(o, "reading the log", rc);
        }
        if (entry.term < pos.term ||
            entry.chain != store_chain(chain, &entry)) {
            return say_entry(o, next, "it does not follow from the one before");
        }
        pos = (struct raft_pos){entry.index, entry.term};
        chain = entry.chain;
        op = MDB_NEXT;
        if (!check_meets(o, pos, chain)) {
            return false;
        }
    }
    if (pos.index != st->tail.index || pos.term != st->tail.term ||
        chain != st->tail_chain) {
        return say_entry(o, min_u64(pos.index, st->tail.index) + 1,
                         "the log does not end where it should");
    }
    return true;
}

static bool verify_log(struct opening *o)
{
    struct store *s = o->s;
    const struct store_state *st = &s->state;
    if (st->checkpoint.index < st->base.index ||
        st->checkpoint.index > st->tail.index) {
        return say(o,
                   "%s: the checkpoint (%" PRIu64 ") and the log (%" PRIu64
                   " to %" PRIu64 ") do not meet; " REJOIN,
                   s->dir, st->checkpoint.index, st->base.index + 1,
                   st->tail.index);
    }
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(o->txn, s->db.log, &cursor);
    if (rc != 0) {
        return say_rc(o, "reading the log", rc);
    }
    bool ok = verify_entries(o, cursor);
    mdb_cursor_close(cursor);
    return ok;
}

/* What a trim or an install left to delete when the process ended. */
static int find_waste(struct opening *o)
{
    struct store *s = o->s;
    MDB_stat stat;
    int rc = mdb_stat(o->txn, s->db.rows[s->state.active ^ 1U], &stat);
    if (rc == 0) {
        s->state.rows_waste = !s->state.incoming && stat.ms_entries > 0;
        rc = mdb_stat(o->txn, s->db.log, &stat);
    }
    if (rc == 0) {
        /* One look at the front decides; deleting nothing is cheap. */
        s->state.log_waste = stat.ms_entries > 0 && s->state.base.index > 0;
        s->state.events_waste = s->state.events_base > 0;
        rc = store_last_id(o->txn, s->db.events, &s->state.events_last);
    }
    return rc;
}

static void find_events(const struct opening *o, struct store_boot *out)
{
    const struct store_state *st = &o->s->state;
    out->events_from = max_u64(st->events_base, 1);
    out->events_last =
        st->events_last >= out->events_from ? st->events_last : 0;
}

static bool find_checkpoint(struct opening *o, struct store_boot *out)
{
    struct store *s = o->s;
    struct bytes payload;
    struct store_checkpoint c;
    int rc = store_meta_get(o->txn, s->db.meta, "checkpoint", &payload);
    if (rc == MDB_NOTFOUND) {
        return true;
    }
    if (rc == 0 && !store_checkpoint_decode(payload, &c)) {
        rc = STORE_DAMAGED;
    }
    if (rc != 0) {
        (void)snprintf(s->what, sizeof(s->what), "the checkpoint's record");
        return say_rc(o, "reading the checkpoint", rc);
    }
    if (c.config.n > 0) {
        s->boot_config = malloc(c.config.n);
        if (s->boot_config == NULL) {
            return say_rc(o, "reading the checkpoint", ENOMEM);
        }
        store_copy(s->boot_config, c.config.data, c.config.n);
        out->checkpoint_config = (struct bytes){s->boot_config, c.config.n};
    }
    out->checkpoint = c.pos;
    out->checkpoint_chain = c.chain;
    out->checkpoint_hash = c.hash;
    out->checkpoint_time_ms = c.time_ms;
    out->checkpoint_config_index = c.config_index;
    out->fresh = false;
    return true;
}

/* --- all of it ------------------------------------------------------------------------------------------------------ */

static bool load(struct opening *o, struct store_boot *out)
{
    struct store *s = o->s;
    int rc = store_state_get(s, o->txn, &s->state);
    if (rc != 0) {
        (void)snprintf(s->what, sizeof(s->what), "the state record");
        return say_rc(o, "reading the state",
                      rc == MDB_NOTFOUND ? STORE_DAMAGED : rc);
    }
    const struct store_state *st = &s->state;
    out->term = st->term;
    out->vote = st->vote;
    out->first = st->base.index + 1;
    out->last = st->tail;
    out->last_chain = st->tail_chain;
    out->fresh = st->term == 0 && st->vote == 0 && st->tail.index == 0;
    if (!verify_log(o) || !find_checkpoint(o, out)) {
        return false;
    }
    rc = store_rows_verify(s, o->txn);
    if (rc != 0) {
        return say_rc(o, "verifying rows", rc);
    }
    rc = find_waste(o);
    if (rc == 0) {
        find_events(o, out);
    }
    return rc == 0 || say_rc(o, "reading the database", rc);
}

static bool fill_fresh(struct opening *o)
{
    struct store_txn t = {.s = o->s, .txn = o->txn};
    int rc = store_state_put(&t);
    return rc == 0 || say_rc(o, "making the database", rc);
}

static bool open_in_txn(struct opening *o, struct store_boot *out)
{
    int rc = open_tables(o);
    if (rc != 0) {
        return say_rc(o, "opening the tables", rc);
    }
    if (o->fresh ? !fill_fresh(o) : !check_identity(o)) {
        return false;
    }
    if (!load(o, out)) {
        return false;
    }
    rc = put_identity(o);
    return rc == 0 || say_rc(o, "writing the boot generation", rc);
}

static bool start_boot(struct opening *o, struct store_boot *out)
{
    struct store *s = o->s;
    int rc = store_map_grow(s, (uint64_t)256 << 10);
    if (rc == 0) {
        rc = mdb_txn_begin(s->env, NULL, 0, &o->txn);
    }
    if (rc != 0) {
        return say_rc(o, "opening the database", rc);
    }
    if (!open_in_txn(o, out)) {
        mdb_txn_abort(o->txn);
        return false;
    }
    rc = mdb_txn_commit(o->txn);
    if (rc != 0) {
        return say_rc(o, "writing the boot generation", rc);
    }
    /* The database's name must be on disk before the identity says that there is one. */
    if (fsync(s->dir_fd) != 0) {
        return say_rc(o, "syncing the directory", errno);
    }
    s->identity.boot = o->boot;
    s->identity.initialised = true;
    rc = store_identity_write(s->dir_fd, &s->identity);
    return rc == 0 || say_rc(o, "writing the identity file", rc);
}

bool store_boot_open(struct store *s, struct store_boot *out, char *error,
                     size_t error_bytes)
{
    struct opening o = {
        .s = s,
        .boot = s->identity.boot + 1,
        .fresh = !s->identity.initialised,
        .error = error,
        .error_bytes = error_bytes,
    };
    *out = (struct store_boot){0};
    if (!open_env(&o) || !lengthen(&o) || !start_boot(&o, out)) {
        return false;
    }
    out->incarnation = s->identity.incarnation;
    out->boot = s->identity.boot;
    out->lineage = s->identity.lineage;
    s->boot_first = out->first;
    s->active = s->state.active;
    s->stats.map_bytes = s->map_bytes;
    int rc = store_reserve_make(s);
    if (rc == ENOSPC || rc == EDQUOT) {
        store_reserve_free(s); /* half a reserve would only take what is left */
        rc = 0;
    }
    return rc == 0 || say_rc(&o, "making the reserve file", rc);
}

/* --- walks on the loop's thread ------------------------------------------------------------------------------------- */

int store_walk_begin(struct store *s, struct store_walk *walk, MDB_dbi db)
{
    ASSERT(walk->txn == NULL);
    (void)pthread_mutex_lock(s->lock);
    while (s->growing) {
        (void)pthread_cond_wait(&s->done, s->lock);
    }
    s->walks++;
    (void)pthread_mutex_unlock(s->lock);
    walk->at = 0;
    int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &walk->txn);
    if (rc == 0) {
        rc = mdb_cursor_open(walk->txn, db, &walk->cursor);
    }
    return rc;
}

void store_walk_end(struct store *s, struct store_walk *walk)
{
    if (walk->txn == NULL) {
        return;
    }
    mdb_cursor_close(walk->cursor);
    mdb_txn_abort(walk->txn);
    walk->txn = NULL;
    walk->cursor = NULL;
    (void)pthread_mutex_lock(s->lock);
    ASSERT(s->walks > 0);
    s->walks--;
    (void)pthread_cond_broadcast(&s->done);
    (void)pthread_mutex_unlock(s->lock);
}

bool store_boot_entry(struct store *s, raft_index from, struct store_entry *out)
{
    struct store_walk *walk = &s->boot_walk;
    MDB_cursor_op op = MDB_NEXT;
    *out = (struct store_entry){.index = max_u64(from, s->boot_first)};
    if (walk->txn == NULL) {
        int rc = store_walk_begin(s, walk, s->db.log);
        ASSERT(rc == 0);
    }
    if (walk->at == 0 || walk->at != out->index) {
        op = MDB_SET_RANGE;
    }
    raft_index want = out->index;
    int rc = store_log_get(walk->cursor, op, &walk->buffer, out);
    if (rc == MDB_NOTFOUND) {
        store_walk_end(s, walk);
        return false;
    }
    /* Verified at open: an entry that has gone bad since then leaves nothing to go on with. */
    ASSERT(rc == 0);
    ASSERT(out->index == want);
    walk->at = want + 1;
    return true;
}
