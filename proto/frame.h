/* frame.h - how messages are told apart on a byte stream.
 *
 *    +--------+--------+--------+--------+------------------ - - --+
 *    |   length of the body, big-endian  |  body: one protobuf     |
 *    +--------+--------+--------+--------+------------------ - - --+
 *
 * The parser takes whatever has arrived and says what to do; it keeps no state between calls, copies nothing, and needs no
 * more than the head to refuse a body that's too long. A body is never empty: every message on a stream says its version. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H

#include "proto/base.h"

#define FRAME_HEAD_BYTES     4
#define FRAME_PEER_BYTES_MAX (8u << 20) /* body of a PeerFrame */
#define FRAME_CLIENT_BYTES_MAX                                                 \
    (1u                                                                        \
     << 20) /* body of a ClientRequest, ClientMessage, AdminRequest, AdminReply */

enum frame_result {
    FRAME_OK,       /* a body is there */
    FRAME_MORE,     /* read on */
    FRAME_TOO_LONG, /* the head asks for more than body_max: close the stream */
    FRAME_EMPTY,    /* a body of no bytes: close the stream */
};

/* Looks at the first frame in `in`. FRAME_OK: *out_body is a view into `in`, and *out_consumed (head and body) is where the
 * next frame begins. Else neither is touched. */
MUST_USE enum frame_result frame_next(struct bytes in, size_t body_max,
                                      struct bytes *out_body,
                                      size_t *out_consumed);

/* The head of a body of body_n bytes; 0 < body_n <= FRAME_PEER_BYTES_MAX. */
void frame_head(uint8_t out[FRAME_HEAD_BYTES], size_t body_n);

#endif
