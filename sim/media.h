/* media.h - a directory on a disk that has a cache: what was written, and what of it would be there after a loss of power.
 *
 *    media_write() --> cache --media_sync()--> durable      sectors of 512 bytes, each dirty until it's synced
 *    media_open(), media_rename() --> names --media_sync_dir()--> durable names
 *
 * kill -9 leaves the cache as it is. A loss of power leaves what is durable, and of each dirty sector and each name that wasn't
 * synced either version, as chance will have it: pages come out torn, files too short. A sync that fails leaves the cache as it
 * is and the sectors clean, though what's durable is older: a later sync that succeeds doesn't write them (Rebello et al. 2020).
 *
 * Bytes in, bytes out: no system call is made here, and memory that runs out ends the program. Owns all that it holds. */
#ifndef SIM_MEDIA_H
#define SIM_MEDIA_H

#include "proto/base.h"
#include "sim/random.h"

#define MEDIA_SECTOR     512u
#define MEDIA_NAME_BYTES 64u
#define MEDIA_NAMES_MAX  16u

struct media;
struct media_file;

struct media *media_new(void);
void media_free(struct media *m);
/* What's durable, with nothing in the cache that isn't. */
struct media *media_copy(const struct media *m);

/* The file of that name, made if it isn't there. Valid until the power goes, or nobody has a name for it and all is synced. */
struct media_file *media_open(struct media *m, const char *name);
/* No bytes are left of it. */
void media_clear(struct media_file *f);
/* `durable`: as through O_DSYNC. */
void media_write(struct media_file *f, uint64_t offset, const void *bytes,
                 size_t n, bool durable);
/* Longer by zeros, or shorter. */
void media_resize(struct media_file *f, uint64_t n);
void media_sync(struct media_file *f);
void media_sync_failed(struct media_file *f);
void media_rename(struct media *m, const char *from, const char *to);
void media_unlink(struct media *m, const char *name);
void media_sync_dir(struct media *m);

struct media_lost {
    uint32_t sectors; /* that were dirty, and kept their older content */
    uint32_t kept;    /* and those that have the newer */
    uint32_t names;   /* likewise */
};
void media_power_loss(struct media *m, struct sim_random *r,
                      struct media_lost *out);

/* What a reader sees: names by number, from 0; false: there's no such one. */
bool media_name(const struct media *m, uint32_t i, const char **out_name,
                struct bytes *out_content);

#endif
