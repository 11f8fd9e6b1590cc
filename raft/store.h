/* store.h - what survives: log, hard state, rows and events of one node, in one LMDB environment.
 *
 *    store_put_*()  --- append ops to the open batch (memory) ---.
 *    store_commit() --- closes it, gives its number -------------+--> writer thread: one transaction for what is queued
 *    store_next()   <-- STORED(batch), READ(tag, records), FAILED ---'      (several batches may share one)
 *
 * One writer thread owns every write transaction and every asynchronous read; the loop never touches the disk after
 * boot, except for store_rows_*(), which a follower uses once after it installed a snapshot. The simulator has its own
 * implementation of this header.
 *
 * Ownership: the store copies what it is given before the call returns; what it hands out is valid until the next
 * store_next(). Threads: all functions but store_wake's callee run on the loop's thread.
 *
 * Any failure of a write is final: the store reports FAILED once, with a sentence, and does nothing more; the caller
 * stops the process (a failed sync is never retried: the kernel may have dropped the pages). Disk full and map full are told
 * apart, so that the caller may step down cleanly first: the failed transaction left nothing behind. */
#ifndef RAFT_STORE_H
#define RAFT_STORE_H

#include "proto/lineage.h"
#include "raft/types.h"

/* Longest key of a row, and none is empty: what LMDB takes. */
#define STORE_ROW_KEY_BYTES_MAX 511

struct store;

struct store_options {
    const char *dir;  /* made (0700) if `create` */
    uint64_t cluster; /* must match the identity file's, once written */
    raft_id node;     /* likewise */
    /* of LMDB's map; virtual; grown ahead of need by the writer when 3/4 full */
    uint64_t map_bytes;
    /* file kept to be freed when the disk is full; 0: none */
    uint64_t reserve_bytes;
    /* of batches that wait for the writer: see store_room() */
    uint64_t queue_bytes_max;
    /* An absent or empty directory may become ours; a node's own log, pid,
     * sockets and settings may lie in it. */
    bool create;
    void (*wake)(
        void *
            arg); /* called from the writer thread when store_next() has something; may only wake the loop */
    void *wake_arg;
};

/* What was found. */
struct store_boot {
    bool fresh;           /* nothing was ever stored */
    uint64_t incarnation; /* drawn when the directory was made */
    /* generation of this start; rises at each open, written before open returns */
    uint64_t boot;
    struct lineage lineage;
    raft_term term;
    raft_id vote;
    raft_index first; /* of the log; last + 1 if empty */
    struct raft_pos last;
    uint64_t last_chain;
    struct raft_pos checkpoint; /* rows are of this index; 0/0: none yet */
    uint64_t checkpoint_chain;
    uint64_t checkpoint_hash; /* state hash at it */
    uint64_t checkpoint_time_ms;
    /* ConfigData in force at it; valid until store_next() */
    struct bytes checkpoint_config;
    raft_index checkpoint_config_index;
    /* every event at or after this revision that was stored is there; at least 1 */
    raft_index events_from;
    raft_index events_last; /* of those; 0: none is there */
};

/* One log entry as stored. chain = hash over (chain before, term, kind, time, data), see store_chain(). */
struct store_entry {
    raft_index index;
    raft_term term;
    enum raft_kind kind;
    uint64_t time_ms;
    uint64_t chain;
    struct bytes data;
};

struct store_checkpoint {
    struct raft_pos pos;
    uint64_t chain;
    uint64_t hash;
    uint64_t time_ms;
    struct bytes config;
    raft_index config_index;
};

/* Opens, checks and locks. On failure returns NULL and a sentence in error: the directory is in use (by which pid), belongs
 * to another cluster or node, is half written, lost its database or log behind its identity, is corrupt (which record),
 * can't be written. Verifies checksums and the hash chain of the whole kept log. */
struct store *store_open(const struct store_options *options,
                         struct store_boot *out_boot, char *error,
                         size_t error_bytes);

/* Right after opening: what was drawn last is on record for start `seen_boot`, so another one is drawn. It's on disk when this
 * returns; false: it can't be written. */
MUST_USE bool store_draw(struct store *s, uint64_t seen_boot,
                         struct lineage *out);
/* Waits until everything committed is on disk (or failed, or timeout_ms passed: returns false), ends the writer, closes. */
bool store_close(struct store *s, uint64_t timeout_ms);

/* The chain hash of an entry behind `before`. Pure. */
uint64_t store_chain(uint64_t before, const struct store_entry *entry);

/* Boot, synchronously: entries of the kept log from `from` on, in order; false at the end. `out` valid until the next call. */
bool store_boot_entry(struct store *s, raft_index from,
                      struct store_entry *out);

/* Rows of the active checkpoint, in key order, synchronously: call with *cursor == 0 first; false at the end. One read
 * transaction for the whole walk: only at boot, or after an install, when no snapshot is being sent. */
bool store_rows_next(struct store *s, uint64_t *cursor, struct bytes *out_key,
                     struct bytes *out_value);
void store_rows_end(struct store *s);

/* --- the open batch: ops are carried out in the order given, in one transaction ------------------------------------ */
void store_put_hard_state(struct store *s, raft_term term, raft_id vote);
void store_truncate(struct store *s, raft_index from);
void store_append(struct store *s, const struct store_entry *entry);
void store_put_row(struct store *s, struct bytes key, struct bytes value);
void store_delete_row(struct store *s, struct bytes key);
void store_put_checkpoint(struct store *s, const struct store_checkpoint *c);
void store_put_event(struct store *s, raft_index revision, struct bytes batch);
/* Drop log entries below `first` / events below `first`. The writer does it in bounded parts, between other work. */
void store_trim_log(struct store *s, raft_index first);
void store_trim_events(struct store *s, raft_index first);

/* Snapshot being received: rows go to a second, inactive table that survives a restart. begin: forgets what's there unless it's of
 * the same checkpoint (then store_incoming() says where to go on). install: in one transaction makes it the active one, sets
 * the checkpoint, and drops the log up to it, or all of it unless it holds (index, term) of the checkpoint. */
void store_incoming_begin(struct store *s, const struct store_checkpoint *c);
void store_incoming_row(struct store *s, struct bytes key, struct bytes value);
void store_incoming_install(struct store *s, const struct store_checkpoint *c);

/* Closes the open batch and queues it; returns its number (from 1, +1 each), also if it's empty (then it's reported stored
 * in its turn, without a transaction of its own). */
uint64_t store_commit(struct store *s);
uint64_t store_batch(const struct store *s); /* number of the open one */

/* Bytes that may still be queued. At 0 the loop stops taking in proposals; acks, votes and the batch at hand still fit: there
 * is room for 2 GiB beyond, and who needs more than that is stopped by an assertion. */
uint64_t store_room(const struct store *s);

/* --- asynchronous reads: answered through store_next() with the same tag ---------------------------------------------- */
/* A read sees all ops that were given before it, so it waits for their batch, and for store_commit() if that is the open one.
 * bytes_max counts 32 bytes for each record beside its own. */
/* Entries from .. until bytes_max (at least one) or `to`, whichever first. */
void store_read_log(struct store *s, uint64_t tag, raft_index from,
                    raft_index to, uint64_t bytes_max);
/* Event batches with from <= revision <= to, until bytes_max (at least one) or `to`. */
void store_read_events(struct store *s, uint64_t tag, raft_index from,
                       raft_index to, uint64_t bytes_max);
/* Rows behind `after` (empty: from the start) of the checkpoint at `index`, until bytes_max. gone if it was replaced. */
void store_read_rows(struct store *s, uint64_t tag, raft_index index,
                     struct bytes after, uint64_t bytes_max);
/* How far the snapshot being received has come: key of the last row, and its checkpoint, in `records[0]`. */
void store_read_incoming(struct store *s, uint64_t tag);

struct store_record {
    raft_index index;         /* log, events */
    struct store_entry entry; /* log */
    struct bytes key;         /* rows */
    struct bytes value;       /* rows, events */
};

enum store_event_type {
    STORE_STORED = 1,
    STORE_READ = 2,
    STORE_FAILED = 3,
};
enum store_failure {
    STORE_FAILURE_NONE = 0,
    STORE_FAILURE_DISK_FULL,
    STORE_FAILURE_MAP_FULL,
    STORE_FAILURE_IO,
    STORE_FAILURE_CORRUPT, /* a record's checksum or chain doesn't hold */
};

struct store_event {
    enum store_event_type type;
    uint64_t batch;   /* STORED: everything up to it */
    uint64_t took_us; /* STORED: of the transaction; FAILED likewise */
    uint64_t tag;     /* READ */
    const struct store_record *records;
    uint32_t records_n;
    /* READ: nothing behind the last record; of events: none up to the `to` that was asked for */
    bool end;
    bool gone; /* READ: asked for what's trimmed or replaced */
    struct store_checkpoint checkpoint; /* READ of rows, incoming */
    enum store_failure failure;
    char error[256];
};

/* The next thing that happened; false: nothing. */
bool store_next(struct store *s, struct store_event *out);

/* For status and metrics; any thread. */
struct store_stats {
    uint64_t commits;
    uint64_t commit_us_total;
    uint64_t batches_waiting;
    uint64_t queue_bytes;
    uint64_t oldest_wait_us; /* age of the oldest batch not yet stored */
    uint64_t map_bytes;
    uint64_t used_bytes;
    /* < 100, 200, 400, ... us, the last one everything above */
    uint64_t commit_us_buckets[16];
};
void store_stats(const struct store *s, struct store_stats *out);

#endif
