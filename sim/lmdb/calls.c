#undef _FORTIFY_SOURCE
#include "sim/lmdb/calls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sim/lmdb/wrap.h"

#define FDS_MAX     1024
#define DISKS_MAX   64u
#define FOLDER_SIZE 128u
#define BASE_NAME   "baton-sim."

struct calls_disk {
    char folder[FOLDER_SIZE];
    struct media *media;
    enum calls_fault fault;
    uint32_t fault_after;
    uint64_t made;
};

/* What an open file of a disk is. */
struct open_file {
    struct calls_disk *disk; /* NULL: it's none of ours */
    struct media_file
        *file; /* NULL: the folder itself, or a file of which nothing lasts */
    bool data; /* data.mdb */
    bool durable; /* O_DSYNC */
};

static struct calls_disk *disks[DISKS_MAX];
static struct open_file open_files[FDS_MAX];
static char base[64];
static pid_t base_owner;

int wrap_open(const char *path, int flags, ...) WRAP_OF(open);
int real_open(const char *path, int flags, ...) REAL_OF(open);
int wrap_openat(int dir_fd, const char *path, int flags, ...) WRAP_OF(openat);
int real_openat(int dir_fd, const char *path, int flags, ...) REAL_OF(openat);
int wrap_close(int fd) WRAP_OF(close);
int real_close(int fd) REAL_OF(close);
int wrap_closedir(DIR *dir) WRAP_OF(closedir);
int real_closedir(DIR *dir) REAL_OF(closedir);
ssize_t wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset)
    WRAP_OF(pwrite);
ssize_t real_pwrite(int fd, const void *bytes, size_t n, off_t offset)
    REAL_OF(pwrite);
ssize_t wrap_write(int fd, const void *bytes, size_t n) WRAP_OF(write);
ssize_t real_write(int fd, const void *bytes, size_t n) REAL_OF(write);
ssize_t wrap_writev(int fd, const struct iovec *parts, int n) WRAP_OF(writev);
ssize_t real_writev(int fd, const struct iovec *parts, int n) REAL_OF(writev);
int wrap_fdatasync(int fd) WRAP_OF(fdatasync);
int real_fdatasync(int fd) REAL_OF(fdatasync);
int wrap_fsync(int fd) WRAP_OF(fsync);
int real_fsync(int fd) REAL_OF(fsync);
int wrap_ftruncate(int fd, off_t n) WRAP_OF(ftruncate);
int real_ftruncate(int fd, off_t n) REAL_OF(ftruncate);
int wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
    WRAP_OF(renameat);
int real_renameat(int from_fd, const char *from, int to_fd, const char *to)
    REAL_OF(renameat);
int wrap_unlinkat(int dir_fd, const char *path, int flags) WRAP_OF(unlinkat);
int real_unlinkat(int dir_fd, const char *path, int flags) REAL_OF(unlinkat);

/* --- folders --------------------------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int flag,
                      struct FTW *at)
{
    (void)st;
    (void)flag;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Runs are processes of their own, some end in the middle: what they leave is removed by the one that began them. */
static void remove_base(void)
{
    if (getpid() == base_owner) {
        remove_tree(base);
    }
}

/* Locks a folder for as long as this process or one of its runs lives. Whoever has the lock while nobody lives any more may remove it. The
 * file that stands for it; -1: it's another's, or isn't there (any more). */
static int lock_folder(const char *path)
{
    struct stat st;
    int fd = real_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 &&
        (flock(fd, LOCK_EX | LOCK_NB) != 0 || stat(path, &st) != 0)) {
        (void)real_close(fd);
        fd = -1;
    }
    return fd;
}

/* What simulators left that were killed by a signal that can't be heard. */
static void remove_left(const char *place)
{
    DIR *dir = opendir(place);
    const struct dirent *e = NULL;
    char path[256];
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (strncmp(e->d_name, BASE_NAME, strlen(BASE_NAME)) != 0 ||
            (size_t)snprintf(path, sizeof path, "%s/%s", place, e->d_name) >=
                sizeof path) {
            continue;
        }
        int fd = lock_folder(path);
        if (fd >= 0) {
            remove_tree(path);
            (void)real_close(fd);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

/* Another one may take it for left, in the moment before it's locked: then it's made anew. */
static bool make_base_in(const char *place)
{
    for (uint32_t tries = 0; tries < 10; tries++) {
        (void)snprintf(base, sizeof base, "%s/%sXXXXXX", place, BASE_NAME);
        if (mkdtemp(base) == NULL) {
            return false;
        }
        if (lock_folder(base) >= 0) {
            return true; /* it stays open */
        }
    }
    return false;
}

__attribute__((constructor)) static void make_base(void)
{
    static const char *const places[] = {"/dev/shm", "/tmp"};
    for (size_t i = 0; i < countof(places) && base_owner == 0; i++) {
        remove_left(places[i]);
        if (make_base_in(places[i])) {
            base_owner = getpid();
            (void)atexit(remove_base);
        }
    }
}

static void path_of(const struct calls_disk *d, const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s/%s", d->folder, name);
}

/* The folder holds what the media's reader sees. */
static void save(struct calls_disk *d)
{
    const char *name = NULL;
    struct bytes content;
    char path[256];
    remove_tree(d->folder);
    int rc = mkdir(d->folder, 0700);
    ASSERT(rc == 0);
    for (uint32_t i = 0; media_name(d->media, i, &name, &content); i++) {
        path_of(d, name, path);
        int fd =
            real_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ASSERT(fd >= 0);
        ssize_t n =
            content.n == 0 ? 0 : real_write(fd, content.data, content.n);
        ASSERT(n == (ssize_t)content.n);
        (void)real_close(fd);
    }
}

struct calls_disk *calls_disk_new(const struct calls_disk *copied)
{
    static uint32_t made;
    uint32_t i = 0;
    struct calls_disk *d = calloc(1, sizeof *d);
    ASSERT(d != NULL);
    ASSERT(base_owner != 0);
    while (i < DISKS_MAX && disks[i] != NULL) {
        i++;
    }
    ASSERT(i < DISKS_MAX);
    disks[i] = d;
    (void)snprintf(d->folder, sizeof d->folder, "%s/%ld-%u", base,
                   (long)getpid(), ++made);
    d->media = copied == NULL ? media_new() : media_copy(copied->media);
    save(d);
    return d;
}

void calls_disk_free(struct calls_disk *d)
{
    for (uint32_t i = 0; i < DISKS_MAX; i++) {
        disks[i] = disks[i] == d ? NULL : disks[i];
    }
    remove_tree(d->folder);
    media_free(d->media);
    free(d);
}

const char *calls_disk_folder(const struct calls_disk *d)
{
    return d->folder;
}

void calls_disk_fault(struct calls_disk *d, enum calls_fault fault,
                      uint32_t after)
{
    d->fault = fault;
    d->fault_after = after;
}

uint64_t calls_disk_made(const struct calls_disk *d)
{
    return d->made;
}

void calls_disk_power_loss(struct calls_disk *d, struct sim_random *r,
                           struct media_lost *out)
{
    for (size_t i = 0; i < FDS_MAX; i++) {
        ASSERT(open_files[i].disk != d);
    }
    media_power_loss(d->media, r, out);
    save(d);
}

/* --- which file, and what becomes of the call ---------------------------------------------------------------------------------- */

static struct open_file *ours(int fd)
{
    bool known = fd >= 0 && fd < FDS_MAX && open_files[fd].disk != NULL;
    return known ? &open_files[fd] : NULL;
}

/* The disk whose folder it lies in, with its name there; empty: it is the folder. */
static struct calls_disk *disk_of(int dir_fd, const char *path,
                                  const char **out_name)
{
    const struct open_file *dir = path[0] == '/' ? NULL : ours(dir_fd);
    if (dir != NULL) {
        *out_name = strcmp(path, ".") == 0 ? "" : path;
        return dir->disk;
    }
    for (uint32_t i = 0; i < DISKS_MAX; i++) {
        const struct calls_disk *d = disks[i];
        size_t n = d == NULL ? 0 : strlen(d->folder);
        if (n > 0 && strncmp(path, d->folder, n) == 0 &&
            (path[n] == 0 || path[n] == '/')) {
            *out_name = path + n + (path[n] == '/');
            return disks[i];
        }
    }
    return NULL;
}

/* Locks and LMDB's table of readers mean nothing to the next process. */
static bool lasts(const char *name)
{
    return name[0] != 0 && strcmp(name, "lock") != 0 &&
           strcmp(name, "lock.mdb") != 0;
}

enum outcome {
    HAPPENS,
    FAILS,
    FAILS_BY_HALF, /* of a write, something got to the cache */
};

static enum outcome decide(struct calls_disk *d, bool data_write)
{
    d->made++;
    if (d->fault == CALLS_FINE || (d->fault == CALLS_FULL && !data_write)) {
        return HAPPENS;
    }
    if (d->fault_after > 0) {
        d->fault_after--;
        return HAPPENS;
    }
    if (d->fault == CALLS_CUT) {
        errno = EIO;
        return FAILS;
    }
    errno = d->fault == CALLS_FULL ? ENOSPC : EIO;
    d->fault = CALLS_FINE;
    return data_write ? FAILS_BY_HALF : FAILS;
}

/* --- writing ----------------------------------------------------------------------------------------------------------------------- */

static ssize_t write_at(int fd, struct open_file *f, const void *bytes,
                        size_t n, off_t offset)
{
    int code = 0;
    enum outcome outcome = decide(f->disk, f->data);
    code = errno;
    size_t part = outcome == HAPPENS ? n : n / 2;
    /* What fails on its way through to the disk may be in the cache, and is nowhere else. */
    if (outcome != FAILS && part > 0) {
        ssize_t got = real_pwrite(fd, bytes, part, offset);
        ASSERT(got == (ssize_t)part);
        media_write(f->file, (uint64_t)offset, bytes, part,
                    f->durable && outcome == HAPPENS);
    }
    errno = code;
    return outcome == HAPPENS ? (ssize_t)n : -1;
}

ssize_t wrap_pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    struct open_file *f = ours(fd);
    if (f == NULL || f->file == NULL) {
        return real_pwrite(fd, bytes, n, offset);
    }
    return write_at(fd, f, bytes, n, offset);
}

ssize_t wrap_writev(int fd, const struct iovec *parts, int n)
{
    struct open_file *f = ours(fd);
    if (f == NULL || f->file == NULL) {
        return real_writev(fd, parts, n);
    }
    off_t at = lseek(fd, 0, SEEK_CUR);
    size_t bytes = 0;
    for (int i = 0; i < n; i++) {
        bytes += parts[i].iov_len;
    }
    uint8_t *all = malloc(bytes + 1);
    ASSERT(all != NULL);
    bytes = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i].iov_len > 0) {
            memcpy(all + bytes, parts[i].iov_base, parts[i].iov_len);
        }
        bytes += parts[i].iov_len;
    }
    ssize_t got = write_at(fd, f, all, bytes, at);
    int code = errno;
    free(all);
    if (got > 0) {
        (void)lseek(fd, at + got, SEEK_SET);
    }
    errno = code;
    return got;
}

ssize_t wrap_write(int fd, const void *bytes, size_t n)
{
    struct open_file *f = ours(fd);
    if (f == NULL || f->file == NULL) {
        return real_write(fd, bytes, n);
    }
    const struct iovec part = {(void *)(uintptr_t)bytes, n};
    return wrap_writev(fd, &part, 1);
}

static int sync_file(struct open_file *f)
{
    if (decide(f->disk, false) != HAPPENS) {
        if (f->file != NULL && f->disk->fault != CALLS_CUT) {
            int code = errno;
            media_sync_failed(f->file);
            errno = code;
        }
        return -1;
    }
    if (f->file != NULL) {
        media_sync(f->file);
    } else {
        media_sync_dir(f->disk->media);
    }
    return 0;
}

int wrap_fdatasync(int fd)
{
    struct open_file *f = ours(fd);
    return f == NULL ? real_fdatasync(fd) : sync_file(f);
}

int wrap_fsync(int fd)
{
    struct open_file *f = ours(fd);
    return f == NULL ? real_fsync(fd) : sync_file(f);
}

int wrap_ftruncate(int fd, off_t n)
{
    struct open_file *f = ours(fd);
    if (f == NULL || f->file == NULL) {
        return real_ftruncate(fd, n);
    }
    if (decide(f->disk, false) != HAPPENS) {
        return -1;
    }
    media_resize(f->file, (uint64_t)n);
    return real_ftruncate(fd, n);
}

/* --- names ------------------------------------------------------------------------------------------------------------------------- */

static int open_ours(int dir_fd, const char *path, int flags, mode_t mode)
{
    const char *name = "";
    struct calls_disk *d = disk_of(dir_fd, path, &name);
    bool makes = d != NULL && lasts(name) && (flags & O_CREAT) != 0;
    if (makes && decide(d, false) != HAPPENS) {
        return -1;
    }
    int fd = real_openat(dir_fd, path, flags, mode);
    if (fd < 0 || d == NULL) {
        return fd;
    }
    ASSERT(fd < FDS_MAX);
    open_files[fd] = (struct open_file){
        .disk = d,
        .data = strcmp(name, "data.mdb") == 0,
        .durable = (flags & O_DSYNC) == O_DSYNC,
    };
    if (lasts(name)) {
        open_files[fd].file = media_open(d->media, name);
        if ((flags & O_TRUNC) != 0) {
            media_clear(open_files[fd].file);
        }
    }
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) != 0 ? (mode_t)va_arg(args, int) : 0;
}

int wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_ours(AT_FDCWD, path, flags, mode);
}

int wrap_openat(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_ours(dir_fd, path, flags, mode);
}

static void forget(int fd)
{
    if (ours(fd) != NULL) {
        open_files[fd] = (struct open_file){.disk = NULL};
    }
}

int wrap_close(int fd)
{
    forget(fd);
    return real_close(fd);
}

int wrap_closedir(DIR *dir)
{
    forget(dirfd(dir));
    return real_closedir(dir);
}

int wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    struct open_file *f = ours(from_fd);
    if (f == NULL) {
        return real_renameat(from_fd, from, to_fd, to);
    }
    if (decide(f->disk, false) != HAPPENS) {
        return -1;
    }
    media_rename(f->disk->media, from, to);
    return real_renameat(from_fd, from, to_fd, to);
}

int wrap_unlinkat(int dir_fd, const char *path, int flags)
{
    struct open_file *f = ours(dir_fd);
    if (f == NULL) {
        return real_unlinkat(dir_fd, path, flags);
    }
    if (decide(f->disk, false) != HAPPENS) {
        return -1;
    }
    if (lasts(path)) {
        media_unlink(f->disk->media, path);
    }
    return real_unlinkat(dir_fd, path, flags);
}
