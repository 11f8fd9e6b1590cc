/* arena.h - memory for one turn: taken from front to back, given back all at once.
 *
 *    base [ message | strings | rows | ..... free ..... ] n
 *                                     ^ used    ^ high: the most that was ever used
 *
 * Owns nothing: the memory is the caller's, and stays valid as long as the arena is used. What was allocated lives until
 * arena_reset(). A decoded message lives in one of these, so that hostile bytes can blow up to `n` and no further: past it
 * the allocation fails, `full` is set, and the decode returns NULL. Invariant: used <= high <= n. */
#ifndef PROTO_ARENA_H
#define PROTO_ARENA_H

#include <protobuf-c/protobuf-c.h>

#include "proto/base.h"

#define ARENA_ALIGN 16

struct arena {
    uint8_t *base;
    size_t n;
    size_t used;
    size_t high; /* highest `used` since arena_init(), for metrics */
    bool full;   /* an allocation was refused since the last reset */
};

/* `memory` may have any alignment; up to ARENA_ALIGN - 1 bytes of it are lost to reach ours. */
void arena_init(struct arena *a, void *memory, size_t n);

/* Everything allocated before is gone. */
void arena_reset(struct arena *a);

/* Aligned to ARENA_ALIGN, not zeroed. NULL, with `full` set, if it doesn't fit; n == 0 gives an address that must not be
 * read. */
void *arena_alloc(struct arena *a, size_t n);

/* A copy with a NUL behind it, which `n` doesn't count. {NULL, 0} if it doesn't fit. */
struct bytes arena_copy(struct arena *a, struct bytes b);

/* For protobuf-c: alloc takes from `a`, free does nothing. Valid as long as `a`. */
ProtobufCAllocator arena_allocator(struct arena *a);

#endif
