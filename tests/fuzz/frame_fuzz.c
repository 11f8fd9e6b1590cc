/* frame_fuzz.c - a byte stream into the frame parser, whole and in pieces: the same frames come out. */
#include "proto/frame.h"
#include "tests/unit/assert_stub.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No less than the head and body gives the frame, and no other one. */
static void check_prefixes(struct bytes in, size_t body_max, size_t consumed)
{
    for (size_t n = 0; n < consumed; n++) {
        struct bytes body = {0};
        size_t again = 0;
        enum frame_result result =
            frame_next((struct bytes){in.data, n}, body_max, &body, &again);
        ASSERT(result == FRAME_MORE);
        ASSERT(body.data == NULL);
        ASSERT(again == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    /* The first byte chooses the limit: 0 to 8 MiB. */
    size_t body_max = ((size_t)1 << data[0] % 25) / 2;
    struct bytes in = {data + 1, size - 1};
    enum frame_result result = FRAME_OK;
    while (result == FRAME_OK) {
        struct bytes body = {0};
        size_t consumed = 0;
        result = frame_next(in, body_max, &body, &consumed);
        if (result != FRAME_OK) {
            ASSERT(consumed == 0);
            ASSERT(body.data == NULL);
            break;
        }
        ASSERT(body.n > 0);
        ASSERT(body.n <= body_max);
        ASSERT(body.data == in.data + FRAME_HEAD_BYTES);
        ASSERT(consumed == body.n + FRAME_HEAD_BYTES);
        ASSERT(consumed <= in.n);
        uint8_t head[FRAME_HEAD_BYTES];
        frame_head(head, body.n);
        for (size_t i = 0; i < FRAME_HEAD_BYTES; i++) {
            ASSERT(head[i] == in.data[i]);
        }
        if (consumed <= 1024) {
            check_prefixes(in, body_max, consumed);
        }
        in.data += consumed;
        in.n -= consumed;
    }
    return 0;
}
