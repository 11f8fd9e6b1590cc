/* store_identity.c - the identity file and the directory's lock. */
#include "raft/store_identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define IDENTITY_BYTES 512

static int format_body(const struct store_identity *id, char *out, size_t bytes)
{
    int n = snprintf(out, bytes,
                     "baton-identity 2\n"
                     "cluster %" PRIu64 "\n"
                     "node %" PRIu32 "\n"
                     "incarnation %" PRIu64 "\n"
                     "boot %" PRIu64 "\n"
                     "own %" PRIu64 "\n"
                     "before %" PRIu64 "\n"
                     "before-boot %" PRIu64 "\n"
                     "initialised %s\n",
                     id->cluster, id->node, id->incarnation, id->boot,
                     id->lineage.own, id->lineage.before,
                     id->lineage.before_boot, id->initialised ? "yes" : "no");
    ASSERT(n > 0);
    ASSERT((size_t)n < bytes);
    return n;
}

static int format_identity(const struct store_identity *id, char *out,
                           size_t bytes)
{
    int body = format_body(id, out, bytes);
    uint64_t checksum = XXH3_64bits_withSeed(out, (size_t)body, 0);
    int tail = snprintf(out + body, bytes - (size_t)body,
                        "checksum %016" PRIx64 "\n", checksum);
    ASSERT(tail > 0);
    ASSERT((size_t)(body + tail) < bytes);
    return body + tail;
}

/* Takes "name NUMBER\n" off the front of *at. */
static bool take_number(const char **at, const char *name, uint64_t *out)
{
    size_t name_n = strlen(name);
    if (strncmp(*at, name, name_n) != 0 || (*at)[name_n] != ' ') {
        return false;
    }
    const char *digits = *at + name_n + 1;
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    *out = strtoull(digits, &end, 10);
    if (errno != 0 || *end != '\n') {
        return false;
    }
    *at = end + 1;
    return true;
}

/* What was read must be, byte for byte, what we would write: so whatever is odd about it is damage. */
static bool parse_identity(const char *text, struct store_identity *out)
{
    const char *at = text;
    uint64_t version = 0;
    uint64_t node = 0;
    struct store_identity id = {0};
    if (!take_number(&at, "baton-identity", &version) || version != 2 ||
        !take_number(&at, "cluster", &id.cluster) ||
        !take_number(&at, "node", &node) || node > UINT32_MAX ||
        !take_number(&at, "incarnation", &id.incarnation) ||
        !take_number(&at, "boot", &id.boot) ||
        !take_number(&at, "own", &id.lineage.own) ||
        !take_number(&at, "before", &id.lineage.before) ||
        !take_number(&at, "before-boot", &id.lineage.before_boot)) {
        return false;
    }
    id.node = (raft_id)node;
    id.initialised = strncmp(at, "initialised yes\n", 16) == 0;
    char again[IDENTITY_BYTES];
    (void)format_identity(&id, again, sizeof(again));
    if (strcmp(again, text) != 0) {
        return false;
    }
    *out = id;
    return true;
}

static ssize_t read_whole(int fd, char *out, size_t bytes)
{
    size_t n = 0;
    while (n < bytes) {
        ssize_t got = read(fd, out + n, bytes - n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -1;
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static enum store_found read_identity(int dir_fd, struct store_identity *out,
                                      int *out_errno)
{
    int fd = openat(dir_fd, STORE_FILE_IDENTITY, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        return STORE_FOUND_NOTHING;
    }
    if (fd < 0) {
        *out_errno = errno;
        return STORE_FOUND_ERROR;
    }
    char text[IDENTITY_BYTES];
    ssize_t n = read_whole(fd, text, sizeof(text) - 1);
    int error = errno;
    (void)close(fd);
    if (n < 0) {
        *out_errno = error;
        return STORE_FOUND_ERROR;
    }
    text[n] = '\0';
    return parse_identity(text, out) ? STORE_FOUND_IDENTITY
                                     : STORE_FOUND_DAMAGED;
}

/* What a first start may find in a directory that becomes ours: what an earlier one left before its identity was in place,
 * and what belongs to the node beside its store. A database is not among them: it's made after the identity. */
static bool harmless(const char *name)
{
    static const char *const whole[] = {
        ".", "..", STORE_FILE_ASIDE, STORE_FILE_LOCK, "lost+found", "pid"};
    static const char *const ends[] = {".conf", ".log", ".pem", ".sock"};
    for (size_t i = 0; i < countof(whole); i++) {
        if (strcmp(name, whole[i]) == 0) {
            return true;
        }
    }
    size_t n = strlen(name);
    for (size_t i = 0; i < countof(ends); i++) {
        size_t end_n = strlen(ends[i]);
        if (n > end_n && strcmp(name + n - end_n, ends[i]) == 0) {
            return true;
        }
    }
    /* log, and what rotation makes of it. */
    return strcmp(name, "log") == 0 || strncmp(name, "log.", 4) == 0;
}

static enum store_found find_foreign(int dir_fd, char *out_name,
                                     size_t name_bytes, int *out_errno)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        *out_errno = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return STORE_FOUND_ERROR;
    }
    enum store_found found = STORE_FOUND_NOTHING;
    errno = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (!harmless(e->d_name)) {
            (void)snprintf(out_name, name_bytes, "%s", e->d_name);
            found = STORE_FOUND_FOREIGN;
            break;
        }
    }
    if (found == STORE_FOUND_NOTHING && errno != 0) {
        *out_errno = errno;
        found = STORE_FOUND_ERROR;
    }
    (void)closedir(dir);
    return found;
}

enum store_found store_identity_find(int dir_fd, struct store_identity *out,
                                     char *out_name, size_t name_bytes,
                                     int *out_errno)
{
    ASSERT(dir_fd >= 0);
    ASSERT(name_bytes > 0);
    enum store_found found = read_identity(dir_fd, out, out_errno);
    if (found == STORE_FOUND_NOTHING) {
        found = find_foreign(dir_fd, out_name, name_bytes, out_errno);
    }
    return found;
}

static int write_whole(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, text, n);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return put < 0 ? errno : ENOSPC;
        }
        text += put;
        n -= (size_t)put;
    }
    return 0;
}

int store_identity_write(int dir_fd, const struct store_identity *id)
{
    ASSERT(dir_fd >= 0);
    char text[IDENTITY_BYTES];
    int n = format_identity(id, text, sizeof(text));
    int fd = openat(dir_fd, STORE_FILE_ASIDE,
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno;
    }
    int rc = write_whole(fd, text, (size_t)n);
    if (rc == 0 && fsync(fd) != 0) {
        rc = errno;
    }
    if (close(fd) != 0 && rc == 0) {
        rc = errno;
    }
    if (rc == 0 &&
        renameat(dir_fd, STORE_FILE_ASIDE, dir_fd, STORE_FILE_IDENTITY) != 0) {
        rc = errno;
    }
    /* The rename is durable only with the directory. */
    if (rc == 0 && fsync(dir_fd) != 0) {
        rc = errno;
    }
    return rc;
}

static uint64_t read_pid(int fd)
{
    char text[32];
    ssize_t n = read_whole(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

int store_lock(int dir_fd, uint64_t *out_pid, int *out_errno)
{
    *out_pid = 0;
    *out_errno = 0;
    int fd =
        openat(dir_fd, STORE_FILE_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        *out_errno = errno;
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            *out_pid = read_pid(fd);
        } else {
            *out_errno = errno;
        }
        (void)close(fd);
        return -1;
    }
    /* The pid only helps whoever finds the directory locked: the lock holds without it, on a full disk for one. */
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    ASSERT(n > 0);
    if (ftruncate(fd, 0) == 0) {
        (void)write_whole(fd, text, (size_t)n);
    }
    return fd;
}

int store_random(uint64_t *out)
{
    for (;;) {
        ssize_t n = getrandom(out, sizeof(*out), 0);
        if (n == (ssize_t)sizeof(*out)) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return errno;
        }
    }
}
