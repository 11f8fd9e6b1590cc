/* store_identity.h - whose directory this is: a small text file beside the database, and the lock on the directory.
 *
 *     baton-identity 2
 *     cluster 42
 *     node 1
 *     incarnation 11400714819323198485
 *     boot 7
 *     own 4354685564936845355
 *     before 1099511628211
 *     before-boot 6
 *     initialised yes
 *     checksum 9ae16a3b2f90404f
 *
 * LMDB takes an empty file for a new database, and says nothing when it is given another node's: this file knows
 * better. It is replaced whole (written aside, synced, renamed, the directory synced), so it is never half there.
 * `initialised` is "no" from before the database is made until it is on disk: a directory that was left in between
 * never acknowledged anything, and is made again. */
#ifndef RAFT_STORE_IDENTITY_H
#define RAFT_STORE_IDENTITY_H

#include "proto/lineage.h"
#include "raft/types.h"

#define STORE_FILE_IDENTITY "identity"
#define STORE_FILE_ASIDE    "identity.new"
#define STORE_FILE_LOCK     "lock"
#define STORE_FILE_RESERVE  "reserve"
#define STORE_FILE_DATA     "data.mdb"
#define STORE_FILE_READERS  "lock.mdb"

struct store_identity {
    uint64_t cluster;
    raft_id node;
    uint64_t incarnation;
    uint64_t boot;
    struct lineage lineage;
    bool initialised;
};

enum store_found {
    STORE_FOUND_IDENTITY,
    STORE_FOUND_NOTHING, /* no identity, and no file that is not ours */
    STORE_FOUND_FOREIGN, /* no identity, but other files, or a database */
    STORE_FOUND_DAMAGED,
    STORE_FOUND_ERROR, /* errno in *out_errno */
};

/* Looks at the directory without changing it. *out_name (of `name_bytes`) is a file that is not ours, if FOREIGN. */
enum store_found store_identity_find(int dir_fd, struct store_identity *out,
                                     char *out_name, size_t name_bytes,
                                     int *out_errno);

/* Replaces the file; on disk when it returns 0. Else errno. */
MUST_USE int store_identity_write(int dir_fd, const struct store_identity *id);

/* Locks the directory for as long as the descriptor is open, and writes our pid into the lock file. Returns the
 * descriptor, or -1: *out_pid is whose it is (0 if it cannot be told), or *out_errno is set. */
int store_lock(int dir_fd, uint64_t *out_pid, int *out_errno);

/* 64 random bits. 0, or errno. */
MUST_USE int store_random(uint64_t *out);

#endif
