/* store_bench.c - the store beside a plain file with fdatasync as log: store_bench [DIR] [SECONDS]
 *
 * Prints a table: entries of 120 bytes in batches of 1 to 1,000, one batch at a time (latency) and with many batches queued
 * (throughput). The plain file writes the same bytes with a head and syncs them: what the best log could do here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "raft/store.h"
#include "tests/unit/assert_stub.h"

#define ENTRY_BYTES 120
#define SAMPLES_MAX 2000000
#define QUEUED      32

static uint64_t samples[SAMPLES_MAX];
static uint8_t entry_data[ENTRY_BYTES];

static uint64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void stop(const char *what)
{
    (void)fprintf(stderr, "store_bench: %s\n", what);
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *what, uint32_t batch, uint64_t batches,
                      uint64_t took_us)
{
    size_t n = min_u64(batches, SAMPLES_MAX);
    qsort(samples, n, sizeof(samples[0]), by_size);
    printf("%-28s %6u %12.0f %12.0f %8llu %8llu\n", what, batch,
           (double)batches * 1e6 / (double)took_us,
           (double)batches * batch * 1e6 / (double)took_us,
           (unsigned long long)samples[n / 2],
           (unsigned long long)samples[n * 99 / 100]);
}

static void remove_dir(const char *dir)
{
    static const char *names[] = {"data.mdb", "lock.mdb", "identity", "lock",
                                  "reserve"};
    char path[512];
    for (size_t i = 0; i < countof(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(dir);
}

struct log {
    struct store *s;
    int wake_fd;
    raft_index last;
    uint64_t chain;
};

static void wake(void *arg)
{
    const struct log *log = arg;
    uint64_t one = 1;
    (void)!write(log->wake_fd, &one, sizeof(one));
}

static uint64_t put_batch(struct log *log, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++) {
        struct store_entry entry = {
            .index = ++log->last,
            .term = 1,
            .kind = RAFT_NORMAL,
            .time_ms = 1,
            .data = {entry_data, sizeof(entry_data)},
        };
        entry.chain = store_chain(log->chain, &entry);
        log->chain = entry.chain;
        store_append(log->s, &entry);
    }
    return store_commit(log->s);
}

/* Returns the highest batch that is stored now; waits until there is news. */
static uint64_t wait_stored(struct log *log)
{
    struct store_event event;
    uint64_t stored = 0;
    for (;;) {
        while (store_next(log->s, &event)) {
            if (event.type == STORE_FAILED) {
                stop(event.error);
            }
            stored = event.batch;
        }
        if (stored > 0) {
            return stored;
        }
        struct pollfd fd = {.fd = log->wake_fd, .events = POLLIN};
        (void)poll(&fd, 1, -1);
        uint64_t count;
        (void)!read(log->wake_fd, &count, sizeof(count));
    }
}

static void bench_store(const char *dir, uint32_t batch, uint32_t queued,
                        uint64_t seconds)
{
    struct log log = {.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct store_options options = {
        .dir = dir,
        .cluster = 1,
        .node = 1,
        .map_bytes = (uint64_t)8 << 30,
        .queue_bytes_max = (uint64_t)64 << 20,
        .create = true,
        .wake = wake,
        .wake_arg = &log,
    };
    struct store_boot boot;
    char error[512];
    log.s = store_open(&options, &boot, error, sizeof(error));
    if (log.s == NULL) {
        stop(error);
    }
    static uint64_t sent_us[QUEUED];
    uint64_t start = now_us();
    uint64_t until = start + seconds * 1000000;
    uint64_t done = 0;
    uint64_t sent = 0;
    while (now_us() < until && done < SAMPLES_MAX - QUEUED) {
        while (sent - done < queued) {
            sent_us[(sent + 1) % QUEUED] = now_us();
            sent = put_batch(&log, batch);
        }
        uint64_t stored = wait_stored(&log);
        for (uint64_t now = now_us(); done < stored;) {
            done++;
            samples[done - 1] = now - sent_us[done % QUEUED];
        }
    }
    char name[64];
    (void)snprintf(name, sizeof(name), "store, %u batch%s queued", queued,
                   queued == 1 ? "" : "es");
    print_row(name, batch, done, now_us() - start);
    if (!store_close(log.s, 10000)) {
        stop("the store did not close");
    }
    (void)close(log.wake_fd);
    remove_dir(dir);
}

static void bench_plain(const char *dir, uint32_t batch, uint64_t seconds)
{
    char path[512];
    (void)mkdir(dir, 0700);
    (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t record = ENTRY_BYTES + 48;
    uint8_t *bytes = calloc(batch, record);
    if (fd < 0 || bytes == NULL) {
        stop("no plain file");
    }
    uint64_t start = now_us();
    uint64_t until = start + seconds * 1000000;
    uint64_t n = 0;
    for (uint64_t at = start; at < until && n < SAMPLES_MAX; n++) {
        for (uint32_t i = 0; i < batch; i++) {
            memcpy(bytes + i * record + 48, entry_data, ENTRY_BYTES);
        }
        if (write(fd, bytes, batch * record) != (ssize_t)(batch * record) ||
            fdatasync(fd) != 0) {
            stop(strerror(errno));
        }
        uint64_t now = now_us();
        samples[n] = now - at;
        at = now;
    }
    print_row("plain file, fdatasync", batch, n, now_us() - start);
    free(bytes);
    (void)close(fd);
    remove_dir(dir);
}

int main(int argc, char **argv)
{
    char made[] = "/tmp/store_bench.XXXXXX";
    const char *base = argc > 1 ? argv[1] : mkdtemp(made);
    uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 2;
    static const uint32_t batches[] = {1, 10, 100, 1000};
    char dir[400];
    if (base == NULL) {
        stop("no directory");
    }
    (void)snprintf(dir, sizeof(dir), "%s/log", base);
    memset(entry_data, 0xab, sizeof(entry_data));
    printf("%-28s %6s %12s %12s %8s %8s\n", "entries of 120 bytes", "batch",
           "batches/s", "entries/s", "p50 us", "p99 us");
    for (size_t i = 0; i < countof(batches); i++) {
        bench_plain(dir, batches[i], seconds);
        bench_store(dir, batches[i], 1, seconds);
        bench_store(dir, batches[i], QUEUED, seconds);
    }
    if (argc <= 1) {
        (void)rmdir(base);
    }
    return 0;
}
