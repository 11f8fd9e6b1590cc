/* pilot.h - a thread that isn't one: it runs when it's told to, until it waits, so that a program with it does the same each time.
 *
 *    main:   pilot_go() ------- waits -------.  pilot_go() --- waits ---.
 *    pilot:       runs --> about to commit --'     runs --> nothing to do / ended
 *
 * It's the store's writer, and knows nothing of it: its pthread_create() gave it a stack of its own and no more, its
 * pthread_cond_wait() and mdb_txn_commit() go back to who told it to run. (With a real thread that takes turns a run takes three times
 * as long.) */
#ifndef SIM_LMDB_PILOT_H
#define SIM_LMDB_PILOT_H

#include <pthread.h>
#include <ucontext.h>

#include "proto/base.h"

enum pilot_state {
    PILOT_WAITS = 1, /* for its condition: nothing to do, as far as it knows */
    PILOT_COMMITS, /* a transaction is ready, and no call to the disk was made for it yet */
    PILOT_ENDED,
};

struct pilot {
    enum pilot_state state;
    int commit_rc; /* of the last transaction that was committed */
    uint64_t commits;
    void (*committed)(
        void *
            arg); /* on the pilot's thread, right behind a commit; NULL: nobody asks */
    void *committed_arg;
    ucontext_t context;
    void *stack;
    void *sanitizers; /* AddressSanitizer's own stack, while it doesn't run */
    void *(*main)(void *arg);
    void *arg;
};

/* The next thread that is made or joined is this one. NULL: no more. */
void pilot_expect(struct pilot *p);
/* Lets it run until it waits for something. */
enum pilot_state pilot_go(struct pilot *p);
void pilot_fini(struct pilot *p);

#endif
