/* disk_preload.c - makes the disk of a program that runs already hang or fail: for tests with real processes.
 *
 *     cc -shared -fPIC -D_GNU_SOURCE -I. tests/fault/disk_preload.c -o disk_preload.so
 *     DISK_FAULT=/tmp/x/fault LD_PRELOAD=./disk_preload.so batond ...
 *
 * Before each pwrite(), writev(), fdatasync() and fsync() of a regular file the file named by DISK_FAULT is read:
 *
 *     absent or empty   nothing happens
 *     stall             the call waits while somebody else holds an exclusive flock() on that file: take the lock, write
 *                       the word, and give the lock back to let the disk go on
 *     error N           the call fails with errno N (5 EIO, 28 ENOSPC)
 */
#undef _FORTIFY_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* True if the call is to fail, with errno set; waits if it is to hang. */
static int fault(int fd)
{
    const char *path = getenv("DISK_FAULT");
    struct stat st;
    char word[32] = "";
    if (path == NULL || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return 0;
    }
    int control = open(path, O_RDONLY | O_CLOEXEC);
    if (control < 0) {
        return 0;
    }
    ssize_t n = read(control, word, sizeof(word) - 1);
    int failed = 0;
    if (n > 0 && strncmp(word, "stall", 5) == 0) {
        (void)flock(control, LOCK_SH);
    } else if (n > 0 && strncmp(word, "error ", 6) == 0) {
        failed = (int)strtol(word + 6, NULL, 10);
    }
    (void)close(control);
    if (failed != 0) {
        errno = failed;
    }
    return failed;
}

int fdatasync(int fd)
{
    return fault(fd) != 0 ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fault(fd) != 0 ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    return fault(fd) != 0 ? -1 : syscall(SYS_pwrite64, fd, bytes, n, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return fault(fd) != 0 ? -1 : syscall(SYS_writev, fd, parts, n);
}
