/* disk_fault.h - a disk that fails when a test wants it to.
 *
 * A program that links disk_fault.c has its own pwrite(), write(), writev(), pwritev(), fdatasync(), fsync(), ftruncate(),
 * open(), openat(), renameat(), unlinkat() and posix_fallocate(), which liblmdb calls too (the dynamic linker takes the
 * program's before libc's). Calls on files of the watched directory are counted; at the Nth one the plan happens. All other
 * calls, and all calls without a plan, go straight to the kernel.
 *
 * With a journal, writes to the database and the identity file are recorded as well, in memory shared with a parent process:
 * power_loss.h rebuilds from it what a disk may hold after the power went. */
#ifndef TESTS_FAULT_DISK_FAULT_H
#define TESTS_FAULT_DISK_FAULT_H

#include "proto/base.h"

enum disk_fault_kind {
    DISK_FAULT_NONE = 0,
    DISK_FAULT_CUT,   /* the process ends: _exit(DISK_FAULT_EXIT) */
    DISK_FAULT_ERROR, /* the call fails */
    DISK_FAULT_STALL, /* the call waits for disk_fault_release() */
};

#define DISK_FAULT_EXIT 77

struct disk_fault_plan {
    enum disk_fault_kind kind;
    uint64_t at; /* which call, from 1; 0: never */
    int error;   /* ERROR: errno */
    bool sticky; /* ERROR: this call and all later ones */
    bool half;   /* CUT, ERROR: a write is done in half first */
    bool syncs;  /* count fdatasync() and fsync() only */
    bool lazy;   /* syncs of files don't reach the real disk: faster */
};

/* Watches the directory and starts counting from 1. dir == NULL: everything goes straight through again. */
void disk_fault_set(const char *dir, const struct disk_fault_plan *plan);

/* Calls counted since disk_fault_set(). */
uint64_t disk_fault_calls(void);

/* Waits until a call stalls; lets it and all later ones go on. */
void disk_fault_wait_stalled(void);
void disk_fault_release(void);

enum disk_op_type {
    DISK_OP_WRITE = 1,
    DISK_OP_SYNC,
    DISK_OP_TRUNCATE,
    DISK_OP_CREATE,
    DISK_OP_RENAME,
    DISK_OP_SYNC_DIR,
};

enum disk_file {
    DISK_FILE_OTHER = 0,
    DISK_FILE_DATA,     /* data.mdb */
    DISK_FILE_ASIDE,    /* identity.new */
    DISK_FILE_IDENTITY, /* identity */
    DISK_FILE_DIR,
};

struct disk_op {
    enum disk_op_type type;
    enum disk_file file;
    uint64_t offset; /* TRUNCATE: the new size */
    uint64_t n;
    bool done;    /* the call returned */
    bool durable; /* WRITE through O_DSYNC */
    size_t bytes; /* where the written bytes lie in `pool` */
};

#define DISK_JOURNAL_OPS  4096
#define DISK_JOURNAL_POOL ((size_t)16 << 20)

struct disk_journal {
    uint32_t ops_n;
    size_t pool_n;
    bool full;
    struct disk_op ops[DISK_JOURNAL_OPS];
    uint8_t pool[DISK_JOURNAL_POOL];
};

/* Records into *journal from now on; NULL: no more. */
void disk_fault_journal(struct disk_journal *journal);

#endif
