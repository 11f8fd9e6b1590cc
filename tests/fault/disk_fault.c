/* disk_fault.c - the system calls of a disk, in front of libc's.
 *
 * The prototypes are libc's own; a fortified header would bring definitions along. */
#undef _FORTIFY_SOURCE
#include "tests/fault/disk_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static char watched[512];
static struct disk_fault_plan plan;
static struct disk_journal *journal;
static uint64_t calls;
static bool stalled;
static bool released;

void disk_fault_set(const char *dir, const struct disk_fault_plan *with)
{
    (void)pthread_mutex_lock(&lock);
    memset(&plan, 0, sizeof(plan));
    watched[0] = '\0';
    if (dir != NULL) {
        plan = *with;
        char *real = realpath(dir, NULL);
        (void)snprintf(watched, sizeof(watched), "%s",
                       real != NULL ? real : dir);
        free(real);
    }
    calls = 0;
    stalled = false;
    released = false;
    (void)pthread_mutex_unlock(&lock);
}

uint64_t disk_fault_calls(void)
{
    (void)pthread_mutex_lock(&lock);
    uint64_t n = calls;
    (void)pthread_mutex_unlock(&lock);
    return n;
}

void disk_fault_journal(struct disk_journal *into)
{
    (void)pthread_mutex_lock(&lock);
    journal = into;
    (void)pthread_mutex_unlock(&lock);
}

void disk_fault_wait_stalled(void)
{
    (void)pthread_mutex_lock(&lock);
    while (!stalled) {
        (void)pthread_cond_wait(&changed, &lock);
    }
    (void)pthread_mutex_unlock(&lock);
}

void disk_fault_release(void)
{
    (void)pthread_mutex_lock(&lock);
    released = true;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&lock);
}

/* --- which file, and what happens to the call ----------------------------------------------------------------------- */

static enum disk_file file_of(const char *name)
{
    if (strcmp(name, "data.mdb") == 0) {
        return DISK_FILE_DATA;
    }
    if (strcmp(name, "identity.new") == 0) {
        return DISK_FILE_ASIDE;
    }
    return strcmp(name, "identity") == 0 ? DISK_FILE_IDENTITY : DISK_FILE_OTHER;
}

/* True if the path lies in the watched directory, or is it. With the lock held. */
static bool in_watched(const char *path, enum disk_file *out)
{
    size_t n = strlen(watched);
    if (n == 0 || strncmp(path, watched, n) != 0) {
        return false;
    }
    if (path[n] == '\0') {
        *out = DISK_FILE_DIR;
        return true;
    }
    if (path[n] != '/') {
        return false;
    }
    const char *name = path + n + 1;
    while (*name == '/') {
        name++;
    }
    *out = file_of(name);
    return true;
}

static bool fd_watched(int fd, enum disk_file *out)
{
    char link[64];
    char path[600];
    if (watched[0] == '\0') {
        return false;
    }
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0) {
        return false;
    }
    path[n] = '\0';
    return in_watched(path, out);
}

struct call {
    enum disk_op_type type;
    int fd;
    uint64_t offset;
    const struct iovec *parts;
    int parts_n;
    bool watched;
    bool fail;
    bool half;
    bool cut;
    bool skip; /* a lazy sync */
    struct disk_op *op;
};

static void record(struct call *c, enum disk_file file)
{
    struct disk_journal *j = journal;
    if (j == NULL || file == DISK_FILE_OTHER) {
        return;
    }
    uint64_t n = 0;
    for (int i = 0; i < c->parts_n; i++) {
        n += c->parts[i].iov_len;
    }
    if (j->ops_n == DISK_JOURNAL_OPS || n > DISK_JOURNAL_POOL - j->pool_n) {
        j->full = true;
        return;
    }
    struct disk_op *op = &j->ops[j->ops_n++];
    *op = (struct disk_op){
        .type = c->type,
        .file = file,
        .offset = c->offset,
        .n = n,
        .bytes = j->pool_n,
    };
    if (c->type == DISK_OP_SYNC && file == DISK_FILE_DIR) {
        op->type = DISK_OP_SYNC_DIR;
    }
    if (c->type == DISK_OP_WRITE) {
        int flags = (int)syscall(SYS_fcntl, c->fd, F_GETFL);
        op->durable = flags >= 0 && (flags & O_DSYNC) != 0;
    }
    for (int i = 0; i < c->parts_n; i++) {
        memcpy(j->pool + j->pool_n, c->parts[i].iov_base, c->parts[i].iov_len);
        j->pool_n += c->parts[i].iov_len;
    }
    c->op = op;
}

static void stall(void)
{
    stalled = true;
    (void)pthread_cond_broadcast(&changed);
    while (!released) {
        (void)pthread_cond_wait(&changed, &lock);
    }
}

/* Counts a call on a watched file and decides. With the lock held. */
static void decide(struct call *c, enum disk_file file)
{
    bool sync = c->type == DISK_OP_SYNC;
    c->watched = true;
    c->skip = sync && plan.lazy;
    record(c, file);
    if (plan.syncs && !sync) {
        return;
    }
    calls++;
    if (plan.at == 0 || calls < plan.at || (calls > plan.at && !plan.sticky)) {
        return;
    }
    c->half = plan.half && c->type == DISK_OP_WRITE;
    c->cut = plan.kind == DISK_FAULT_CUT;
    c->fail = plan.kind == DISK_FAULT_ERROR;
    if (plan.kind == DISK_FAULT_STALL) {
        stall();
    }
}

static void begin_fd(struct call *c)
{
    enum disk_file file;
    (void)pthread_mutex_lock(&lock);
    if (fd_watched(c->fd, &file)) {
        decide(c, file);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void begin_at(struct call *c, int dir_fd, const char *path)
{
    enum disk_file file;
    char whole[1200];
    (void)pthread_mutex_lock(&lock);
    bool inside = false;
    if (watched[0] != '\0' && path[0] == '/') {
        inside = in_watched(path, &file);
    } else if (dir_fd >= 0 && fd_watched(dir_fd, &file)) {
        (void)snprintf(whole, sizeof(whole), "%s/%s", watched, path);
        inside = in_watched(whole, &file);
    }
    if (inside) {
        decide(c, file);
    }
    (void)pthread_mutex_unlock(&lock);
}

/* True: the call is to fail, and errno is set. The process ends here if that is the plan. */
static bool fails(const struct call *c)
{
    if (c->cut) {
        _exit(DISK_FAULT_EXIT);
    }
    if (c->fail) {
        errno = plan.error;
    }
    return c->fail;
}

static void end(struct call *c, bool ok)
{
    if (c->op != NULL && ok) {
        c->op->done = true;
    }
}

/* --- the calls ------------------------------------------------------------------------------------------------------ */

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    const struct iovec part = {(void *)(uintptr_t)bytes, n};
    struct call c = {.type = DISK_OP_WRITE,
                     .fd = fd,
                     .offset = (uint64_t)offset,
                     .parts = &part,
                     .parts_n = 1};
    begin_fd(&c);
    if (c.half) {
        (void)syscall(SYS_pwrite64, fd, bytes, n / 2, offset);
    }
    if (fails(&c)) {
        return -1;
    }
    ssize_t got = syscall(SYS_pwrite64, fd, bytes, n, offset);
    end(&c, got == (ssize_t)n);
    return got;
}

static ssize_t write_parts(int fd, const struct iovec *parts, int n)
{
    struct call c = {
        .type = DISK_OP_WRITE, .fd = fd, .parts = parts, .parts_n = n};
    off_t at = lseek(fd, 0, SEEK_CUR);
    c.offset = at < 0 ? 0 : (uint64_t)at;
    begin_fd(&c);
    if (c.half && n > 0) {
        (void)syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2);
    }
    if (fails(&c)) {
        return -1;
    }
    ssize_t got = syscall(SYS_writev, fd, parts, n);
    end(&c, got >= 0);
    return got;
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return write_parts(fd, parts, n);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    const struct iovec part = {(void *)(uintptr_t)bytes, n};
    return write_parts(fd, &part, 1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    struct call c = {.type = DISK_OP_WRITE,
                     .fd = fd,
                     .offset = (uint64_t)offset,
                     .parts = parts,
                     .parts_n = n};
    begin_fd(&c);
    if (c.half && n > 0) {
        (void)syscall(SYS_pwrite64, fd, parts[0].iov_base, parts[0].iov_len / 2,
                      offset);
    }
    if (fails(&c)) {
        return -1;
    }
    ssize_t got = syscall(SYS_pwritev, fd, parts, n, offset, 0);
    end(&c, got >= 0);
    return got;
}

static int sync_fd(int fd, long number)
{
    struct call c = {.type = DISK_OP_SYNC, .fd = fd};
    begin_fd(&c);
    if (fails(&c)) {
        return -1;
    }
    int rc = c.skip ? 0 : (int)syscall(number, fd);
    end(&c, rc == 0);
    return rc;
}

int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

int ftruncate(int fd, off_t size)
{
    struct call c = {
        .type = DISK_OP_TRUNCATE, .fd = fd, .offset = (uint64_t)size};
    begin_fd(&c);
    if (fails(&c)) {
        return -1;
    }
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    end(&c, rc == 0);
    return rc;
}

int posix_fallocate(int fd, off_t offset, off_t n)
{
    struct call c = {
        .type = DISK_OP_TRUNCATE, .fd = fd, .offset = (uint64_t)(offset + n)};
    begin_fd(&c);
    if (fails(&c)) {
        return errno;
    }
    return syscall(SYS_fallocate, fd, 0, offset, n) == 0 ? 0 : errno;
}

static int open_file(int dir_fd, const char *path, int flags, mode_t mode)
{
    struct call c = {.type = DISK_OP_CREATE};
    if ((flags & (O_CREAT | O_TRUNC)) != 0) {
        begin_at(&c, dir_fd, path);
    }
    if (fails(&c)) {
        return -1;
    }
    int fd = (int)syscall(SYS_openat, dir_fd, path, flags, mode);
    end(&c, fd >= 0);
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(args, int) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_file(AT_FDCWD, path, flags, mode);
}

int openat(int dir_fd, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_file(dir_fd, path, flags, mode);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    struct call c = {.type = DISK_OP_RENAME};
    begin_at(&c, from_fd, from);
    if (fails(&c)) {
        return -1;
    }
    int rc = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, 0);
    end(&c, rc == 0);
    return rc;
}

int unlinkat(int dir_fd, const char *path, int flags)
{
    struct call c = {.type = DISK_OP_TRUNCATE};
    if (file_of(path) != DISK_FILE_DATA) {
        begin_at(&c, dir_fd, path);
    }
    if (fails(&c)) {
        return -1;
    }
    return (int)syscall(SYS_unlinkat, dir_fd, path, flags);
}
