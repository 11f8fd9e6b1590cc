/* calls.h - the system calls of the store and of LMDB on a simulated disk.
 *
 * A disk is a folder of its own, in memory, that holds what a process would find in the cache: LMDB maps its files and reads them there.
 * What is written goes to sim/media.c as well. Nothing reaches a real disk: syncs are answered by the media. */
#ifndef SIM_LMDB_CALLS_H
#define SIM_LMDB_CALLS_H

#include "sim/media.h"

struct calls_disk;

/* An empty one, or one that holds what is durable of another. */
struct calls_disk *calls_disk_new(const struct calls_disk *copied);
/* With its folder. No file of it is open. */
void calls_disk_free(struct calls_disk *d);
const char *calls_disk_folder(const struct calls_disk *d);

enum calls_fault {
    CALLS_FINE = 0,
    CALLS_EIO, /* one call fails; if it's a sync, its pages count as clean from then on */
    CALLS_FULL, /* one write fails, of data.mdb */
    CALLS_CUT, /* nothing happens any more: the process is gone, and doesn't know yet */
};
/* At the call that comes after `after` others, of those that change something. */
void calls_disk_fault(struct calls_disk *d, enum calls_fault fault,
                      uint32_t after);
/* Calls that changed something, since ever. */
uint64_t calls_disk_made(const struct calls_disk *d);
/* Of a disk that nobody has open. */
void calls_disk_power_loss(struct calls_disk *d, struct sim_random *r,
                           struct media_lost *out);

#endif
