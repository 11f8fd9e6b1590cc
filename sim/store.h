/* store.h - raft/store.h in memory: what a test links in place of the store, so that it says when and how much is on disk.
 *
 *    store_put_*() -> open batch --store_commit()--> waiting batches --sim_store_write()--> struct sim_disk
 *
 * No thread, no clock: a batch is stored when the test says so, and what follows from it waits for store_next(). Closing without writing
 * is a crash. The disk outlives its store, and carries the assertions of the real one. Opening is by sim_store_open(): store_open() needs a
 * directory. Memory that runs out ends the test. */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "raft/store.h"

struct sim_disk;

struct sim_disk *sim_disk_new(uint64_t incarnation);
void sim_disk_free(struct sim_disk *d);
/* Of a disk that no store is open on: the machine loses power. Nothing is lost of this one, which has no cache. */
void sim_disk_power_off(struct sim_disk *d);
/* An image of it, for a node that comes back with an old one. */
struct sim_disk *sim_disk_copy(const struct sim_disk *d);
void sim_disk_identity(const struct sim_disk *d, uint64_t *out_incarnation,
                       uint64_t *out_boot, struct lineage *out_lineage);
/* Entries in the log's kept part, events, rows of the active table and of the incoming one. */
struct sim_disk_counts {
    raft_index first;
    raft_index last;
    raft_index checkpoint;
    uint32_t rows_n;
    uint32_t incoming_n;
    uint32_t events_n;
};
void sim_disk_counts(const struct sim_disk *d, struct sim_disk_counts *out);
/* The active rows, for a test that damages them: `i` < rows_n. The new value is copied. */
void sim_disk_row(const struct sim_disk *d, uint32_t i, struct bytes *out_key,
                  struct bytes *out_value);
void sim_disk_set_row(struct sim_disk *d, struct bytes key, struct bytes value);
/* A bit of that row flips; false: this disk's don't. */
bool sim_disk_rot(struct sim_disk *d, uint32_t i);
/* The checkpoint's state hash, and another one in its place. */
uint64_t sim_disk_hash(const struct sim_disk *d);
void sim_disk_set_hash(struct sim_disk *d, uint64_t hash);

/* What is on it; false: the log doesn't have that entry (any more). */
bool sim_disk_entry(const struct sim_disk *d, raft_index index,
                    raft_term *out_term, uint64_t *out_chain);
raft_term sim_disk_term(const struct sim_disk *d, raft_id *out_vote);

/* Who looks on: called for what the store is given, when it's given it; not for what gets to the disk. Any may be NULL. */
struct sim_store_hooks {
    void *arg;
    void (*append)(void *arg, const struct store_entry *entry);
    void (*truncate)(void *arg, raft_index from);
    void (*checkpoint)(void *arg, const struct store_checkpoint *c);
    void (*install)(void *arg, const struct store_checkpoint *c);
    void (*event)(void *arg, raft_index revision, struct bytes batch);
};

struct store *sim_store_open(struct sim_disk *d, struct store_boot *out);
void sim_store_observe(struct store *s, const struct sim_store_hooks *hooks);
/* Batches that aren't written are lost. */
void sim_store_crash(struct store *s);
/* The writer takes what waits: so many times sim_store_write() finds something to write now. */
uint32_t sim_store_begin(struct store *s);
/* Writes the oldest waiting batch; false: none waits. */
bool sim_store_write(struct store *s);
/* Reads give no more than this at a time, whatever was asked for: a checkpoint of a few rows then takes several chunks. 0: as asked. */
void sim_store_set_read_bytes(struct store *s, uint64_t bytes_max);
/* The process ends while what was begun, `n` as sim_store_begin() said, is being written: all of it gets there, or it's left to the disk
 * how much, if that's more than nothing. True: all of it got there. */
bool sim_store_cut(struct store *s, uint32_t n, bool whole);
/* Counters of coverage (sim/world.h) that can't rise with this store; NULL behind the last. docs/simulation.md says why. */
extern const char *const sim_store_never[];
/* True if store_next() has something. */
bool sim_store_has_news(const struct store *s);
/* The next write fails, and everything after it. */
void sim_store_fail(struct store *s, enum store_failure failure,
                    const char *error);
/* One did. */
bool sim_store_failed(const struct store *s);
/* "log 3..5 hard_state(2,1) rows=4 checkpoint=64 ...": what the oldest waiting batch has. */
void sim_store_text(const struct store *s, char *out, size_t out_bytes);

#endif
