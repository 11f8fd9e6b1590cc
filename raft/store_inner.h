/* store_inner.h - what the store's own files share; nobody else includes it.
 *
 *   loop's thread                      lock                     writer's thread
 *   store.c: the open batch, ----->  tapes' ends  ----------->  store_writer.c: takes what is committed, one transaction
 *     reads asked for         ----->  read queue  ----------->  store_apply.c, store_rows.c: carry out its ops
 *     store_next()            <-----  stored, done, failure <-  store_read.c: answers reads between transactions
 *
 * Who may touch what stands at each field. After boot the database's content is described by `state`, which only the writer
 * reads and writes; a transaction works on a copy of it, so that one that fails leaves nothing behind. */
#ifndef RAFT_STORE_INNER_H
#define RAFT_STORE_INNER_H

#include <lmdb.h>
#include <pthread.h>

#include "raft/store.h"
#include "raft/store_identity.h"
#include "raft/store_record.h"
#include "raft/store_tape.h"

/* A record's bytes are not what they should be; beside errno (above 0) and LMDB's codes (below -30,000). */
#define STORE_DAMAGED (-1)

/* Bytes of tape that one transaction takes, unless a single batch is larger: bounds how long the next ones wait. */
#define STORE_GROUP_BYTES ((uint64_t)8 << 20)
/* How far the loop may go beyond queue_bytes_max with the batch at hand: address space only, until it's touched. */
#define STORE_SLACK_BYTES ((uint64_t)2 << 30)
#define STORE_STORED_MAX  64u
#define STORE_WHAT_BYTES  96

/* The database's content in a few words: kept in one meta record, written with each transaction that changes it. */
struct store_state {
    raft_term term;
    raft_id vote;
    struct raft_pos base; /* the entry before the first that is kept */
    uint64_t base_chain;
    struct raft_pos tail; /* the last entry, or base */
    uint64_t tail_chain;
    uint32_t active;            /* which table of rows: 0 or 1 */
    raft_index events_base;     /* revisions below are trimmed */
    raft_index events_last;     /* highest revision on disk, trimmed ones too */
    struct raft_pos checkpoint; /* copies from the checkpoint's record */
    uint64_t checkpoint_chain;
    bool incoming; /* a snapshot is being received: this one */
    struct raft_pos incoming_pos;
    uint64_t incoming_chain;
    uint64_t incoming_hash;
    /* Not stored: keys that are logically gone and wait for deletion. */
    bool log_waste;
    bool events_waste;
    bool rows_waste;
};

struct store_buffer {
    uint8_t *data;
    size_t bytes;
};

struct store_tables {
    MDB_dbi meta;
    MDB_dbi log;
    MDB_dbi rows[2];
    MDB_dbi events;
};

/* One write transaction. */
struct store_txn {
    struct store *s;
    MDB_txn *txn;
    MDB_cursor *log; /* open while entry follows entry */
    struct store_state state;
};

enum store_read_type {
    STORE_READ_LOG,
    STORE_READ_EVENTS,
    STORE_READ_ROWS,
    STORE_READ_INCOMING,
};

/* A read, from the call to the store_next() after the one that gave it out; then it's used again. */
struct store_read {
    struct store_read *next;
    enum store_read_type type;
    uint64_t tag;
    uint64_t after; /* batch that must be stored first */
    raft_index from;
    raft_index to;
    uint64_t bytes_max;
    uint8_t key[STORE_ROW_KEY_BYTES_MAX];
    size_t key_n;
    struct store_record *records;
    uint32_t records_n;
    uint32_t records_max;
    struct store_buffer arena;
    size_t arena_n;
    uint8_t *config;
    struct store_checkpoint checkpoint;
    bool end;
    bool gone;
};

struct store_reads {
    struct store_read *first;
    struct store_read *last;
};

struct store_stored {
    uint64_t batch;
    uint64_t took_us;
};

/* A walk on the loop's thread: boot's entries, or rows. */
struct store_walk {
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint64_t at;
    struct store_buffer buffer;
};

struct store {
    /* Set at open. */
    char *dir;
    struct store_options options;
    struct store_identity identity;
    int dir_fd;
    int lock_fd;
    MDB_env *env;
    struct store_tables db;
    size_t page_bytes;
    pthread_t writer;
    bool writer_started;

    /* The loop's alone. */
    uint64_t batch; /* number of the open one */
    uint8_t *boot_config;
    struct store_walk boot_walk;
    struct store_walk rows_walk;
    raft_index boot_first;
    struct store_read *handed;

    /* The writer's alone. */
    struct store_state state;
    struct store_buffer gather;
    char what[STORE_WHAT_BYTES]; /* which record was damaged */
    size_t map_bytes;

    /* Guarded by `lock`; tapes as store_tape.h says. */
    pthread_mutex_t lock_memory;
    pthread_mutex_t *lock; /* for store_stats(), whose store is const */
    pthread_cond_t work;   /* something to do for the writer */
    /* the writer stored or failed; a walk or a growth ended */
    pthread_cond_t done;
    struct store_tape tapes[2];
    uint32_t fill;  /* the loop's tape */
    uint32_t drain; /* the writer's */
    uint64_t queue_bytes;
    uint64_t committed;
    uint64_t stored_batch;
    uint32_t active; /* copy of state.active, for walks */
    struct store_reads asked;
    struct store_reads answered;
    struct store_reads spare;
    struct store_stored stored[STORE_STORED_MAX];
    uint32_t stored_first;
    uint32_t stored_n;
    bool failed;
    bool failure_told;
    enum store_failure failure;
    uint64_t failure_took_us;
    char error[256];
    bool stop;
    uint32_t walks;
    bool growing;
    struct store_stats stats;

    /* Held while wake() is called, so that a close that gave up waiting can forbid further calls. */
    pthread_mutex_t wake_lock;
    bool wake_off;
};

/* store_table.c: records in tables. All return 0, errno, an LMDB code or STORE_DAMAGED. */
int store_buffer_reserve(struct store_buffer *b, size_t bytes);
int store_chunks_put(MDB_cursor *cursor, uint64_t id, struct bytes head,
                     struct bytes data, unsigned flags);
/* Moves the cursor (SET_RANGE uses out->index; NEXT) to a log record, reads and checks it. out->index says which was damaged. */
int store_log_get(MDB_cursor *cursor, MDB_cursor_op op,
                  struct store_buffer *buffer, struct store_entry *out);
int store_event_get(MDB_cursor *cursor, MDB_cursor_op op,
                    struct store_buffer *buffer, struct store_record *out);
int store_meta_put(MDB_txn *txn, MDB_dbi db, const char *name,
                   struct bytes payload);
int store_meta_get(MDB_txn *txn, MDB_dbi db, const char *name,
                   struct bytes *out);
int store_state_put(struct store_txn *t);
int store_state_get(struct store *s, MDB_txn *txn, struct store_state *out);
/* Deletes at most keys_max keys from the front while their index is below `first`; *out_more if it stopped at keys_max. */
int store_delete_below(MDB_txn *txn, MDB_dbi db, uint64_t first,
                       uint32_t keys_max, bool *out_more);
int store_delete_from(MDB_txn *txn, MDB_dbi db, uint64_t from);
int store_last_id(MDB_txn *txn, MDB_dbi db, uint64_t *out);

/* store_apply.c: one op of a batch in a transaction; housekeeping of at most keys_max deletions. */
int store_apply(struct store_txn *t, const struct store_op *op,
                struct bytes key, struct bytes data);
int store_tidy(struct store_txn *t, uint32_t keys_max);
int store_checkpoint_put(struct store_txn *t, const char *name,
                         const struct store_checkpoint *c);

/* store_rows.c */
int store_apply_row(struct store_txn *t, struct bytes key, struct bytes value,
                    uint32_t table);
int store_apply_row_delete(struct store_txn *t, struct bytes key);
int store_apply_incoming_begin(struct store_txn *t,
                               const struct store_checkpoint *c);
int store_apply_install(struct store_txn *t, const struct store_checkpoint *c);
int store_rows_verify(struct store *s, MDB_txn *txn);

/* store_read.c: fills the answer; called by the writer between transactions. */
int store_read_serve(struct store *s, MDB_txn *txn, struct store_read *read);
void store_read_free(struct store_read *read);
/* Makes it ready for another read, keeping its memory unless that is much. */
void store_read_reset(struct store_read *read);

static inline void store_reads_push(struct store_reads *reads,
                                    struct store_read *read)
{
    read->next = NULL;
    if (reads->last == NULL) {
        reads->first = read;
    } else {
        reads->last->next = read;
    }
    reads->last = read;
}

static inline struct store_read *store_reads_pop(struct store_reads *reads)
{
    struct store_read *read = reads->first;
    if (read != NULL) {
        reads->first = read->next;
        if (reads->first == NULL) {
            reads->last = NULL;
        }
        read->next = NULL;
    }
    return read;
}

/* store_boot.c: everything between the lock and the first batch. False, with a sentence in error. */
bool store_boot_open(struct store *s, struct store_boot *out, char *error,
                     size_t error_bytes);
void store_walk_end(struct store *s, struct store_walk *walk);
int store_walk_begin(struct store *s, struct store_walk *walk, MDB_dbi db);

/* store_writer.c */
void *store_writer_main(void *arg);
void store_wake(struct store *s);
uint64_t store_now_us(void);
int store_map_grow(struct store *s, uint64_t more);

/* store_disk.c: the reserve, and sentences about failures. */
int store_reserve_make(struct store *s);
void store_reserve_free(struct store *s);
uint64_t store_free_bytes(const struct store *s);
enum store_failure store_failure_of(struct store *s, int rc, uint64_t bytes);
void store_failure_say(struct store *s, enum store_failure failure, int rc,
                       char *out, size_t out_bytes);
const char *store_rc_text(int rc);

#endif
