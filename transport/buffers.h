/* buffers.h - buffers for bytes on their way: taken when there is something to hold, given back when it has left.
 *
 * Sizes are powers of two from 4 KiB. Those up to 64 KiB are kept for the next who asks, a bounded number of each; greater ones go back to
 * the system. One thread. */
#ifndef TRANSPORT_BUFFERS_H
#define TRANSPORT_BUFFERS_H

#include "proto/base.h"

#define BUFFERS_BYTES_MIN  4096u
#define BUFFERS_BYTES_KEPT 65536u
#define BUFFERS_CLASSES    5
#define BUFFERS_KEPT_MAX   64

/* Zeroed: none. */
struct buffer {
    uint8_t *data;
    size_t cap;
};

struct buffers {
    void *kept[BUFFERS_CLASSES];
    uint32_t kept_n[BUFFERS_CLASSES];
};

void buffers_init(struct buffers *p);
/* Frees what is kept. What was taken has been given back. */
void buffers_fini(struct buffers *p);

/* At least n bytes. False, and *out untouched, if the system has none. */
MUST_USE bool buffers_take(struct buffers *p, size_t n, struct buffer *out);

/* *b becomes none; none stays none. */
void buffers_give(struct buffers *p, struct buffer *b);

/* Makes *b at least n bytes, keeping its bytes [from, to) at its front. */
MUST_USE bool buffers_grow(struct buffers *p, struct buffer *b, size_t n,
                           struct bytes keep);

#endif
