#include "tests/fault/crash_images.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define SECTOR 512u
/* Ways to tear a write: see sectors_of(). */
#define TEARS 6u

/* --- files ---------------------------------------------------------------------------------------------------------- */

static void resize(struct crash_file *f, size_t n)
{
    if (n > f->capacity) {
        f->capacity = n * 2;
        f->bytes = realloc(f->bytes, f->capacity);
        ASSERT(f->bytes != NULL);
    }
    if (n > f->n) {
        memset(f->bytes + f->n, 0, n - f->n);
        f->n = n;
    }
}

static void copy(struct crash_file *to, const struct crash_file *from)
{
    to->n = 0;
    resize(to, from->n);
    if (from->n > 0) {
        memcpy(to->bytes, from->bytes, from->n);
    }
    to->there = from->there;
}

/* --- which sectors of a write are there ------------------------------------------------------------------------------ */

enum tear {
    WHOLE,
    FIRST_SECTOR,
    LAST_SECTOR,
    BUT_FIRST,
    BUT_LAST,
    EVEN,
    ODD,
};

static bool sector_there(enum tear tear, uint64_t i, uint64_t n)
{
    switch (tear) {
    case WHOLE:
        return true;
    case FIRST_SECTOR:
        return i == 0;
    case LAST_SECTOR:
        return i + 1 == n;
    case BUT_FIRST:
        return i != 0;
    case BUT_LAST:
        return i + 1 != n;
    case EVEN:
        return i % 2 == 0;
    case ODD:
        return i % 2 != 0;
    }
    ASSERT(false);
}

/* Sectors are of the disk, not of the write, which may begin within one. */
static void put(struct crash_file *f, const struct disk_journal *j,
                const struct disk_op *op, enum tear tear)
{
    uint64_t first = op->offset / SECTOR;
    uint64_t n = (op->offset + op->n + SECTOR - 1) / SECTOR - first;
    for (uint64_t i = 0; i < n && op->n > 0; i++) {
        uint64_t from = max_u64((first + i) * SECTOR, op->offset);
        uint64_t to = min_u64((first + i + 1) * SECTOR, op->offset + op->n);
        if (sector_there(tear, i, n)) {
            resize(f, to);
            memcpy(f->bytes + from, j->pool + op->bytes + (from - op->offset),
                   to - from);
        }
    }
}

/* --- what lasts ------------------------------------------------------------------------------------------------------- */

/* A sync that returned well makes what was written since the last failed one last. */
static bool lasts(const struct crash_images *c, uint32_t at)
{
    const struct disk_op *op = &c->journal->ops[at];
    bool name = op->type == DISK_OP_CREATE || op->type == DISK_OP_RENAME;
    enum disk_op_type type = name ? DISK_OP_SYNC_DIR : DISK_OP_SYNC;
    enum disk_file file = name ? DISK_FILE_DIR : op->file;
    uint32_t returned = c->prefix - (c->under_way ? 1 : 0);
    /* One that failed may be there in part, and nobody knows which. */
    if (op->type == DISK_OP_WRITE && !op->done) {
        return false;
    }
    if (op->durable && at < returned) {
        return true;
    }
    for (uint32_t i = at + 1; i < returned; i++) {
        const struct disk_op *sync = &c->journal->ops[i];
        if (sync->type == type && sync->file == file) {
            return sync->done;
        }
    }
    return false;
}

static bool matters(const struct disk_op *op)
{
    switch (op->type) {
    case DISK_OP_WRITE:
        return op->file == DISK_FILE_DATA || op->file == DISK_FILE_ASIDE;
    case DISK_OP_TRUNCATE:
        return op->file == DISK_FILE_DATA;
    case DISK_OP_CREATE:
        return op->file == DISK_FILE_DATA || op->file == DISK_FILE_ASIDE;
    case DISK_OP_RENAME:
        return true;
    case DISK_OP_SYNC:
    case DISK_OP_SYNC_DIR:
        return false;
    }
    return false;
}

static void carry_out(const struct crash_images *c, struct crash_files *f,
                      uint32_t at, enum tear tear)
{
    const struct disk_op *op = &c->journal->ops[at];
    switch (op->type) {
    case DISK_OP_WRITE:
        put(op->file == DISK_FILE_DATA ? &f->data : &f->aside, c->journal, op,
            tear);
        return;
    case DISK_OP_TRUNCATE:
        /* LMDB makes its file longer by it, never shorter. */
        ASSERT(op->offset >= f->data.n);
        resize(&f->data, op->offset);
        return;
    case DISK_OP_CREATE:
        if (op->file == DISK_FILE_DATA) {
            f->data.there = true;
        } else {
            f->aside.n = 0; /* opened with O_TRUNC */
        }
        return;
    case DISK_OP_RENAME:
        copy(&f->identity, &f->aside);
        f->identity.there = true;
        return;
    case DISK_OP_SYNC:
    case DISK_OP_SYNC_DIR:
        return;
    }
}

/* Whether an aside file is made anew doesn't matter by itself: what it holds does, and its writes are ops of their own. */
static bool certain(const struct crash_images *c, uint32_t at)
{
    const struct disk_op *op = &c->journal->ops[at];
    return !matters(op) || lasts(c, at) ||
           (op->type == DISK_OP_CREATE && op->file == DISK_FILE_ASIDE);
}

void crash_images_at(struct crash_images *c, const struct disk_journal *journal,
                     uint32_t prefix, bool under_way)
{
    ASSERT(!journal->full);
    ASSERT(prefix <= journal->ops_n);
    ASSERT(c->journal == NULL || c->journal == journal);
    c->journal = journal;
    c->prefix = prefix;
    c->under_way = under_way;
    c->loose_n = 0;
    c->step = 0;
    while (c->from < prefix && certain(c, c->from)) {
        if (matters(&journal->ops[c->from])) {
            carry_out(c, &c->base, c->from, WHOLE);
        }
        c->from++;
    }
    for (uint32_t i = c->from; i < prefix; i++) {
        if (!certain(c, i)) {
            ASSERT(c->loose_n < CRASH_LOOSE_MAX);
            c->loose[c->loose_n++] = i;
        }
    }
}

/* --- images ----------------------------------------------------------------------------------------------------------- */

/* splitmix64: the same prefix and step always draw the same. */
static uint64_t draw(const struct crash_images *c, uint64_t step)
{
    uint64_t z = c->prefix * 0x9e3779b97f4a7c15U + step * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* The subsets, by number; false: there's no such one. Bit i: loose op i is there. */
static bool subset(const struct crash_images *c, uint64_t step, uint64_t *out)
{
    uint64_t n = c->loose_n;
    uint64_t all = n == 64 ? UINT64_MAX : ((uint64_t)1 << n) - 1;
    if (n <= CRASH_LOOSE_ALL) {
        *out = step;
        return step <= all;
    }
    if (step < n) {
        *out = (uint64_t)1 << step;
    } else if (step < 2 * n) {
        *out = all & ~((uint64_t)1 << (step - n));
    } else if (step < 3 * n) {
        *out = ((uint64_t)1 << (step - 2 * n)) - 1;
    } else if (step == 3 * n) {
        *out = all;
    } else {
        *out = draw(c, step) & all;
    }
    return step <= 3 * n + CRASH_DRAWN;
}

static uint64_t subsets_n(const struct crash_images *c)
{
    return c->loose_n <= CRASH_LOOSE_ALL
               ? (uint64_t)1 << c->loose_n
               : 3 * (uint64_t)c->loose_n + CRASH_DRAWN + 1;
}

static void make(struct crash_images *c, uint64_t there, uint32_t torn,
                 enum tear tear)
{
    uint32_t next = 0;
    copy(&c->now.data, &c->base.data);
    copy(&c->now.aside, &c->base.aside);
    copy(&c->now.identity, &c->base.identity);
    for (uint32_t i = c->from; i < c->prefix; i++) {
        if (next < c->loose_n && c->loose[next] == i) {
            if ((there >> next & 1) != 0) {
                carry_out(c, &c->now, i, next == torn ? tear : WHOLE);
            }
            next++;
        } else if (matters(&c->journal->ops[i])) {
            carry_out(c, &c->now, i, WHOLE);
        }
    }
    uint64_t there_bits =
        (uint64_t)c->now.data.there * 2 + (uint64_t)c->now.identity.there + 4;
    c->hash = XXH3_64bits_withSeed(c->now.data.bytes, c->now.data.n,
                                   there_bits * 31 + c->now.data.n);
    c->hash =
        XXH3_64bits_withSeed(c->now.identity.bytes, c->now.identity.n, c->hash);
    (void)snprintf(c->what, sizeof c->what,
                   "call %u%s, of %u loose ones %llx there, %u torn as %u",
                   c->prefix, c->under_way ? " under way" : "", c->loose_n,
                   (unsigned long long)there, torn, (unsigned)tear);
}

bool crash_images_next(struct crash_images *c)
{
    uint64_t there = 0;
    uint64_t whole = subsets_n(c);
    while (c->step >= whole) {
        uint64_t torn = c->step - whole;
        uint32_t which = (uint32_t)(torn / (2 * TEARS));
        if (which >= c->loose_n) {
            return false;
        }
        const struct disk_op *op = &c->journal->ops[c->loose[which]];
        if (op->type != DISK_OP_WRITE ||
            op->offset % SECTOR + op->n <= SECTOR) {
            c->step += 2 * (uint64_t)TEARS;
            continue;
        }
        there = torn % 2 == 0 ? (uint64_t)1 << which : UINT64_MAX;
        make(c, there, which, (enum tear)(1 + torn / 2 % TEARS));
        c->step++;
        return true;
    }
    bool found = subset(c, c->step, &there);
    ASSERT(found);
    make(c, there, CRASH_LOOSE_MAX, WHOLE);
    c->step++;
    return true;
}

static bool save(const struct crash_file *f, const char *dir, const char *name)
{
    char path[600];
    if (!f->there) {
        return true;
    }
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    bool ok = f->n == 0 || write(fd, f->bytes, f->n) == (ssize_t)f->n;
    return close(fd) == 0 && ok;
}

bool crash_images_write(const struct crash_images *c, const char *dir)
{
    return save(&c->now.data, dir, "data.mdb") &&
           save(&c->now.identity, dir, "identity");
}

static void drop(struct crash_files *f)
{
    free(f->data.bytes);
    free(f->aside.bytes);
    free(f->identity.bytes);
}

void crash_images_fini(struct crash_images *c)
{
    drop(&c->base);
    drop(&c->now);
    *c = (struct crash_images){.journal = NULL};
}
