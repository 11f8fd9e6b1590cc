/* power_loss.c - rebuilding a disk from a journal. */
#include "tests/fault/power_loss.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 512u

struct image {
    uint8_t *bytes;
    size_t n;
    bool there;
};

struct rebuild {
    const struct disk_journal *journal;
    uint64_t choice;
    struct image data;
    struct image aside;
    struct image identity;
};

/* splitmix64: the same choice and op always draw the same. */
static uint64_t draw(const struct rebuild *r, uint32_t op)
{
    uint64_t z = r->choice * 0x9e3779b97f4a7c15U + op * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static bool drawn(const struct rebuild *r, uint32_t op)
{
    return r->choice == 1 || (r->choice > 1 && draw(r, op) % 2 == 0);
}

/* A later, finished sync of the file makes what was finished before it last. */
static bool synced(const struct rebuild *r, uint32_t at, enum disk_op_type type,
                   enum disk_file file)
{
    if (!r->journal->ops[at].done) {
        return false;
    }
    for (uint32_t i = at + 1; i < r->journal->ops_n; i++) {
        const struct disk_op *op = &r->journal->ops[i];
        if (op->type == type && op->file == file && op->done) {
            return true;
        }
    }
    return false;
}

static bool resize(struct image *image, size_t n)
{
    if (n <= image->n) {
        return true;
    }
    uint8_t *bytes = realloc(image->bytes, n);
    if (bytes == NULL) {
        return false;
    }
    memset(bytes + image->n, 0, n - image->n);
    image->bytes = bytes;
    image->n = n;
    return true;
}

static bool put(const struct rebuild *r, struct image *image, uint32_t at)
{
    const struct disk_op *op = &r->journal->ops[at];
    size_t n = op->n;
    if (!(op->done && op->durable) && !synced(r, at, DISK_OP_SYNC, op->file)) {
        uint64_t chance = draw(r, at) % 4;
        if (r->choice == 0 || (r->choice > 1 && chance < 2)) {
            return true;
        }
        if (r->choice > 1 && chance == 2) {
            n = n / 2 / SECTOR * SECTOR;
        }
    }
    if (n == 0) {
        return true;
    }
    if (!resize(image, op->offset + n) || image->bytes == NULL) {
        return false;
    }
    memcpy(image->bytes + op->offset, r->journal->pool + op->bytes, n);
    return true;
}

static bool replace(struct image *to, const struct image *from)
{
    to->n = 0;
    if (!resize(to, from->n)) {
        return false;
    }
    if (from->n > 0) {
        memcpy(to->bytes, from->bytes, from->n);
    }
    to->n = from->n;
    to->there = true;
    return true;
}

static bool replay(struct rebuild *r, uint32_t at)
{
    const struct disk_op *op = &r->journal->ops[at];
    bool lasts = synced(r, at, DISK_OP_SYNC_DIR, DISK_FILE_DIR);
    switch (op->type) {
    case DISK_OP_WRITE:
        return put(r, op->file == DISK_FILE_DATA ? &r->data : &r->aside, at);
    case DISK_OP_CREATE:
        if (op->file == DISK_FILE_ASIDE) {
            r->aside.n = 0; /* opened with O_TRUNC */
        } else if (op->file == DISK_FILE_DATA && (lasts || drawn(r, at))) {
            r->data.there = true;
        }
        return true;
    case DISK_OP_RENAME:
        return !(lasts || drawn(r, at)) || replace(&r->identity, &r->aside);
    case DISK_OP_TRUNCATE:
        return op->file != DISK_FILE_DATA || resize(&r->data, op->offset);
    case DISK_OP_SYNC:
    case DISK_OP_SYNC_DIR:
        return true;
    }
    return false;
}

static bool save(const struct image *image, const char *dir, const char *name)
{
    char path[600];
    if (!image->there) {
        return true;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    bool ok =
        image->n == 0 || write(fd, image->bytes, image->n) == (ssize_t)image->n;
    return close(fd) == 0 && ok;
}

bool power_loss_image(const struct disk_journal *journal, uint64_t choice,
                      const char *dir)
{
    struct rebuild r = {.journal = journal, .choice = choice};
    bool ok = !journal->full;
    for (uint32_t i = 0; ok && i < journal->ops_n; i++) {
        ok = replay(&r, i);
    }
    ok = ok && save(&r.data, dir, "data.mdb") &&
         save(&r.identity, dir, "identity");
    free(r.data.bytes);
    free(r.aside.bytes);
    free(r.identity.bytes);
    return ok;
}
