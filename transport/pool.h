/* pool.h - buffers for bytes on their way: taken when there is something to hold, given back when it has left.
 *
 * Sizes are powers of two from 4 KiB. Those up to 64 KiB are kept for the next who asks, a bounded number of each; greater ones go back to
 * the system. One thread. */
#ifndef TRANSPORT_POOL_H
#define TRANSPORT_POOL_H

#include "proto/base.h"

#define POOL_BYTES_MIN  4096u
#define POOL_BYTES_KEPT 65536u
#define POOL_CLASSES    5
#define POOL_KEPT_MAX   64

/* Zeroed: none. */
struct buffer {
    uint8_t *data;
    size_t cap;
};

struct pool {
    void *kept[POOL_CLASSES];
    uint32_t kept_n[POOL_CLASSES];
};

void pool_init(struct pool *p);
/* Frees what is kept. What was taken has been given back. */
void pool_fini(struct pool *p);

/* At least n bytes. False, and *out untouched, if the system has none. */
MUST_USE bool pool_take(struct pool *p, size_t n, struct buffer *out);

/* *b becomes none; none stays none. */
void pool_give(struct pool *p, struct buffer *b);

/* Makes *b at least n bytes, keeping its bytes [from, to) at its front. */
MUST_USE bool pool_grow(struct pool *p, struct buffer *b, size_t n,
                        struct bytes keep);

#endif
