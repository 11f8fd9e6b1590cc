/* stream.h - one connection as the loop sees it: frames in, frames out, never waiting.
 *
 *    in:  [ taken | frames to take | part of one |  free  ]     one receive at a time, into the free end
 *    out: [ in flight: being written ]  [ filling: what was sent meanwhile ]     they change places when the first has left
 *
 * So many frames share a read or a write without anybody waiting for more. Buffers come from a pool: a quiet stream holds 4 KiB.
 *
 * NNG's callbacks post the stream's nodes to the inbox and do nothing else; all functions here are of the loop's thread, which
 * hands a node it took to stream_took_rx() or stream_took_tx(). The end has an order: stream_close(); both operations come back;
 * stream_is_idle(); stream_fini(). NNG crashes or leaks in others. */
#ifndef TRANSPORT_STREAM_H
#define TRANSPORT_STREAM_H

#include <nng/nng.h>

#include "transport/buffers.h"
#include "transport/inbox.h"

/* What the streams of one loop share. */
struct stream_env {
    struct inbox inbox;
    struct buffers pool;
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t queued_bytes; /* of all streams, written by nobody yet */
};

MUST_USE bool stream_env_init(struct stream_env *env);
/* All streams were ended. */
void stream_env_fini(struct stream_env *env);

struct stream {
    struct stream_env *env;
    nng_stream *nng;
    nng_aio *rx;
    nng_aio *tx;
    nng_aio *tx_now; /* without a callback: what can leave at once; NULL: TLS */
    struct inbox_node rx_node;
    struct inbox_node tx_node;
    struct buffer in;
    size_t in_from; /* where the next frame begins */
    size_t in_to;   /* end of what was received */
    struct buffer fill;
    size_t fill_n;
    struct buffer flight;
    size_t flight_from;
    size_t flight_to;
    size_t body_max; /* of what we take */
    uint64_t queue_max;
    void *user;
    int error; /* NNG's, once broken */
    uint8_t small_reads;
    bool read_full; /* the last read filled the buffer */
    bool rx_busy;
    bool tx_busy;
    bool watched; /* every write that ends wakes the loop */
    /* something left since this was last cleared, by whom it concerns */
    bool wrote;
    /* no more to be read or written; what was received may still be taken */
    bool broken;
    bool closed;
};

enum stream_result {
    STREAM_FRAME,
    STREAM_MORE, /* nothing yet: stream_read() */
    STREAM_END,  /* broken, and everything whole was taken */
    STREAM_TOO_LONG,
    STREAM_EMPTY, /* a frame without a body */
};

struct stream_options {
    size_t body_max;
    uint64_t queue_max;
    void *user;
};

/* Takes over nng, also if it fails (then it's closed). Reads nothing before stream_read(). */
MUST_USE bool stream_init(struct stream *s, struct stream_env *env,
                          nng_stream *nng, const struct stream_options *o);

/* The next frame's body, a view that is valid until stream_read() or stream_fini(). */
MUST_USE enum stream_result stream_next(struct stream *s,
                                        struct bytes *out_body);
/* Receive on, unless it's being done. After STREAM_MORE only. */
void stream_read(struct stream *s);
/* Forgets what was received, and reads on: a stream that is about to be closed. */
void stream_discard(struct stream *s);
/* Is a part of a frame there? */
bool stream_has_part(const struct stream *s);

/* Queues one frame. False: closed, broken, or the queue is full; then nothing was. A frame longer than the whole queue goes if the
 * queue is empty. */
MUST_USE bool stream_send(struct stream *s, struct bytes body);
/* Starts to write what is queued. */
void stream_flush(struct stream *s);
/* While on, the loop wakes for each write that ends, not only for those that it must act on: who waits for room, or for the end of
 * what is queued, needs to know. */
void stream_watch(struct stream *s, bool on);
uint64_t stream_queued(const struct stream *s);
uint64_t stream_room(const struct stream *s);

/* The inbox gave back the node. */
void stream_took_rx(struct stream *s);
void stream_took_tx(struct stream *s);

void stream_close(struct stream *s);
bool stream_is_idle(const struct stream *s);
void stream_fini(struct stream *s);

#endif
