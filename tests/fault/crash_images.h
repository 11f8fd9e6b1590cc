/* crash_images.h - all that a disk may hold after a crash at one place of journaled work, one image after the other.
 *
 * What was synced is there. Of the rest, the loose ops, each is there or not: all subsets while there are few of them, else all, none,
 * each alone, each missing, each prefix, and some drawn; and each loose write torn at sectors, among all or none of the others. The
 * last op of the prefix counts as under way, so the one before it is the last that returned. A sync that failed, and wasn't the
 * last, made its writes loose for good: the kernel takes the pages for clean, and no later sync writes them. */
#ifndef TESTS_FAULT_CRASH_IMAGES_H
#define TESTS_FAULT_CRASH_IMAGES_H

#include "tests/fault/disk_fault.h"

#define CRASH_LOOSE_MAX 64u
/* With so many loose ops, or fewer, all subsets are made. */
#define CRASH_LOOSE_ALL 6u
/* Of more: so many that are drawn. */
#define CRASH_DRAWN 24u

struct crash_file {
    uint8_t *bytes;
    size_t n;
    size_t capacity;
    bool there;
};

struct crash_files {
    struct crash_file data;
    struct crash_file aside;
    struct crash_file identity;
};

struct crash_images {
    const struct disk_journal *journal;
    uint32_t prefix;         /* ops that were called */
    bool under_way;          /* the last of them didn't return */
    uint32_t from;           /* `base` holds what came before this one */
    struct crash_files base; /* of ops that are there in any case */
    struct crash_files now;
    uint32_t loose[CRASH_LOOSE_MAX]; /* ops, ascending */
    uint32_t loose_n;
    uint64_t step;  /* which image is next */
    uint64_t hash;  /* of the one at hand: equal files, equal hash */
    char what[160]; /* the one at hand, for people */
};

/* For a journal that began with an empty directory; accepts being called again with a longer prefix of the same journal. */
void crash_images_at(struct crash_images *c, const struct disk_journal *journal,
                     uint32_t prefix, bool under_way);
/* The next image is made, in memory; false: that were all. */
bool crash_images_next(struct crash_images *c);
/* Writes it into the directory, which is empty. */
bool crash_images_write(const struct crash_images *c, const char *dir);
void crash_images_fini(struct crash_images *c);

#endif
