#include "proto/frame.h"

enum frame_result frame_next(struct bytes in, size_t body_max,
                             struct bytes *out_body, size_t *out_consumed)
{
    ASSERT_IMPLIES(in.n > 0, in.data != NULL);
    ASSERT(body_max <= FRAME_PEER_BYTES_MAX);
    if (in.n < FRAME_HEAD_BYTES) {
        return FRAME_MORE;
    }
    size_t body_n = (size_t)in.data[0] << 24 | (size_t)in.data[1] << 16 |
                    (size_t)in.data[2] << 8 | (size_t)in.data[3];
    /* Refused by the head alone: who would wait for the body has been made to hold it. */
    if (body_n > body_max) {
        return FRAME_TOO_LONG;
    }
    if (body_n == 0) {
        return FRAME_EMPTY;
    }
    if (in.n - FRAME_HEAD_BYTES < body_n) {
        return FRAME_MORE;
    }
    *out_body = (struct bytes){in.data + FRAME_HEAD_BYTES, body_n};
    *out_consumed = FRAME_HEAD_BYTES + body_n;
    return FRAME_OK;
}

void frame_head(uint8_t out[FRAME_HEAD_BYTES], size_t body_n)
{
    ASSERT(body_n > 0);
    ASSERT(body_n <= FRAME_PEER_BYTES_MAX);
    out[0] = (uint8_t)(body_n >> 24);
    out[1] = (uint8_t)(body_n >> 16);
    out[2] = (uint8_t)(body_n >> 8);
    out[3] = (uint8_t)body_n;
}
