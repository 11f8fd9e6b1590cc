/* store_lab.h - a store in a directory of its own, for the tests of the store: opened, filled with entries whose bytes
 * follow from their index, waited for without sleeping, and summed up in one number. */
#ifndef TESTS_UNIT_STORE_LAB_H
#define TESTS_UNIT_STORE_LAB_H

#include <pthread.h>

#include "raft/store.h"

struct lab {
    char dir[128];
    struct store_options options;
    struct store *s;
    struct store_boot boot;
    char error[512];
    raft_term term;
    raft_index last;
    uint64_t chain;
    uint64_t stored; /* highest batch reported */
    bool failed;
    struct store_event failure;
    pthread_mutex_t lock;
    pthread_cond_t woken;
    uint64_t wakes;
};

/* A new, empty directory under TMPDIR, and options that make a store of node 1 in cluster 7 there. */
void lab_init(struct lab *lab);
/* Removes the directory and all in it. */
void lab_fini(struct lab *lab);

/* True, or false with a sentence in lab->error. On success the lab knows where the log ends. */
bool lab_open(struct lab *lab);
bool lab_close(struct lab *lab);
/* Opens or closes, and fails the test if that fails. */
void lab_must_open(struct lab *lab);
void lab_must_close(struct lab *lab);

/* A path in the directory; valid until the next call. */
const char *lab_path(const struct lab *lab, const char *name);

/* n bytes that belong to index; valid until the next call; n up to LAB_DATA_MAX. */
#define LAB_DATA_MAX 400000
struct bytes lab_data(raft_index index, size_t n);
struct bytes lab_text(const char *text);

/* Adds the next entry to the open batch. */
void lab_append(struct lab *lab, size_t n);
/* The lab follows a truncation: the next entry is `from`, behind what the store says lies before it. */
void lab_truncate(struct lab *lab, raft_index from, uint64_t chain_before);
struct store_checkpoint lab_checkpoint(raft_index index, raft_term term,
                                       uint64_t chain);

/* Waits for the next event that isn't STORED; what was stored is noted on the way. */
void lab_event(struct lab *lab, struct store_event *out);
/* Waits until the batch is stored, or the store failed: false. */
bool lab_wait(struct lab *lab, uint64_t batch);
/* Commits and waits; the test fails if the store does. */
uint64_t lab_commit(struct lab *lab);
/* Commits and waits; false if the store failed. */
bool lab_try_commit(struct lab *lab);

/* Everything that a reader can see, in one number: boot's fields, log, rows, events, what is incoming. */
uint64_t lab_fingerprint(struct lab *lab);

/* A fixed piece of work that uses every op: batches 1 .. LAB_WORK_BATCHES, each on top of the one before, starting from a
 * fresh directory. lab_work() adds the ops of one to the open batch. */
#define LAB_WORK_BATCHES 16
void lab_work(struct lab *lab, uint32_t batch);

#endif
