/* store_disk.c - the reserve file, and what a failure is called. */
#include "raft/store_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

uint64_t store_free_bytes(const struct store *s)
{
    struct statvfs fs;
    if (fstatvfs(s->dir_fd, &fs) != 0) {
        return UINT64_MAX;
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* The reserve is made only where at least as much again stays free: on a disk that is still full, the space that was freed
 * is what we live on. */
int store_reserve_make(struct store *s)
{
    uint64_t bytes = s->options.reserve_bytes;
    int fd = openat(s->dir_fd, STORE_FILE_RESERVE, O_RDWR | O_CREAT | O_CLOEXEC,
                    0600);
    if (fd < 0) {
        return errno;
    }
    int rc = 0;
    off_t have = lseek(fd, 0, SEEK_END);
    if (have < 0) {
        rc = errno;
    } else if ((uint64_t)have > bytes) {
        rc = ftruncate(fd, (off_t)bytes) == 0 ? 0 : errno;
    } else if ((uint64_t)have < bytes &&
               store_free_bytes(s) / 2 >= bytes - (uint64_t)have) {
        rc = posix_fallocate(fd, 0, (off_t)bytes);
    }
    if (close(fd) != 0 && rc == 0) {
        rc = errno;
    }
    return rc;
}

void store_reserve_free(struct store *s)
{
    /* Best effort: we are about to stop, and say why. */
    (void)unlinkat(s->dir_fd, STORE_FILE_RESERVE, 0);
}

enum store_failure store_failure_of(struct store *s, int rc, uint64_t bytes)
{
    ASSERT(rc != 0);
    switch (rc) {
    case ENOSPC:
    case EDQUOT:
        return STORE_FAILURE_DISK_FULL;
    case EIO:
        /* LMDB says EIO of a write that was cut short, which is how a filling disk begins. */
        return store_free_bytes(s) < max_u64(bytes, 64 << 10)
                   ? STORE_FAILURE_DISK_FULL
                   : STORE_FAILURE_IO;
    case MDB_MAP_FULL:
        return STORE_FAILURE_MAP_FULL;
    case STORE_DAMAGED:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return STORE_FAILURE_CORRUPT;
    default:
        return STORE_FAILURE_IO;
    }
}

const char *store_rc_text(int rc)
{
    return rc == STORE_DAMAGED ? "a checksum does not hold" : mdb_strerror(rc);
}

void store_failure_say(struct store *s, enum store_failure failure, int rc,
                       char *out, size_t out_bytes)
{
    const char *dir = s->dir;
    uint64_t free_kib = store_free_bytes(s) >> 10;
    switch (failure) {
    case STORE_FAILURE_DISK_FULL:
        (void)snprintf(out, out_bytes,
                       "%s: the disk is full (%" PRIu64
                       " KiB free); make room and start this node again",
                       dir, free_kib);
        return;
    case STORE_FAILURE_MAP_FULL:
        (void)snprintf(out, out_bytes,
                       "%s: the database has reached its map of %zu MiB, which "
                       "could not grow; allow more address space",
                       dir, s->map_bytes >> 20);
        return;
    case STORE_FAILURE_CORRUPT:
        (void)snprintf(out, out_bytes,
                       "%s: %s is damaged (%s); move the directory away and "
                       "let this node join again as a new member",
                       dir, s->what[0] != '\0' ? s->what : STORE_FILE_DATA,
                       store_rc_text(rc));
        return;
    case STORE_FAILURE_IO:
    case STORE_FAILURE_NONE:
        break;
    }
    (void)snprintf(out, out_bytes,
                   "%s: writing or syncing failed (%s); check the disk, then "
                   "start this node again",
                   dir, store_rc_text(rc));
}
