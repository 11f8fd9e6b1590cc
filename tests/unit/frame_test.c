/* frame_test.c - proto/frame.h. */
#include "proto/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/assert_stub.h"

static void test_looks_at_the_head_first(void **state)
{
    (void)state;
    static const struct {
        uint8_t in[8];
        size_t in_n;
        size_t body_max;
        enum frame_result result;
        size_t body_n;
    } rows[] = {
        {{0}, 0, 10, FRAME_MORE, 0},
        {{0}, 3, 10, FRAME_MORE, 0},
        {{0}, 4, 10, FRAME_EMPTY, 0},
        {{0}, 8, 0, FRAME_EMPTY, 0},
        {{0, 0, 0, 1}, 4, 10, FRAME_MORE, 0},
        {{0, 0, 0, 1, 7}, 5, 10, FRAME_OK, 1},
        {{0, 0, 0, 1, 7}, 5, 1, FRAME_OK, 1},
        {{0, 0, 0, 1, 7}, 5, 0, FRAME_TOO_LONG, 0},
        {{0, 0, 0, 2, 7}, 5, 10, FRAME_MORE, 0},
        {{0, 0, 0, 2, 7, 8, 9}, 7, 10, FRAME_OK, 2},
        {{0, 0, 0, 11}, 4, 10, FRAME_TOO_LONG, 0},
        {{0, 0, 1, 0}, 4, 255, FRAME_TOO_LONG, 0},
        {{0, 0x10, 0, 0}, 4, FRAME_CLIENT_BYTES_MAX, FRAME_MORE, 0},
        {{0, 0x10, 0, 1}, 4, FRAME_CLIENT_BYTES_MAX, FRAME_TOO_LONG, 0},
        {{0, 0x80, 0, 0}, 4, FRAME_PEER_BYTES_MAX, FRAME_MORE, 0},
        {{0, 0x80, 0, 1}, 4, FRAME_PEER_BYTES_MAX, FRAME_TOO_LONG, 0},
        {{0xFF, 0xFF, 0xFF, 0xFF}, 8, FRAME_PEER_BYTES_MAX, FRAME_TOO_LONG, 0},
        {{'G', 'E', 'T', ' '}, 4, FRAME_PEER_BYTES_MAX, FRAME_TOO_LONG, 0},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        const uint8_t *untouched = rows[i].in;
        struct bytes body = {untouched, 77};
        size_t consumed = 77;
        struct bytes in = {rows[i].in, rows[i].in_n};
        enum frame_result result =
            frame_next(in, rows[i].body_max, &body, &consumed);
        assert_int_equal(result, rows[i].result);
        if (result == FRAME_OK) {
            assert_ptr_equal(body.data, rows[i].in + FRAME_HEAD_BYTES);
            assert_int_equal(body.n, rows[i].body_n);
            assert_int_equal(consumed, FRAME_HEAD_BYTES + body.n);
        } else {
            assert_ptr_equal(body.data, untouched);
            assert_int_equal(body.n, 77);
            assert_int_equal(consumed, 77);
        }
    }
}

static void test_head_is_big_endian(void **state)
{
    (void)state;
    static const struct {
        size_t body_n;
        uint8_t head[FRAME_HEAD_BYTES];
    } rows[] = {
        {1, {0, 0, 0, 1}},
        {0x1234, {0, 0, 0x12, 0x34}},
        {FRAME_CLIENT_BYTES_MAX, {0, 0x10, 0, 0}},
        {FRAME_PEER_BYTES_MAX, {0, 0x80, 0, 0}},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        uint8_t head[FRAME_HEAD_BYTES];
        frame_head(head, rows[i].body_n);
        assert_memory_equal(head, rows[i].head, sizeof head);
    }
}

/* Three frames that arrive byte by byte come out one by one, each as soon as its last byte is there, and never sooner. */
static void test_takes_a_stream_byte_by_byte(void **state)
{
    (void)state;
    static const size_t bodies[] = {1, 300, 5};
    uint8_t stream[3 * FRAME_HEAD_BYTES + 306];
    size_t ends[3] = {0};
    size_t n = 0;
    for (size_t i = 0; i < countof(bodies); i++) {
        frame_head(stream + n, bodies[i]);
        memset(stream + n + FRAME_HEAD_BYTES, (int)('a' + i), bodies[i]);
        n += FRAME_HEAD_BYTES + bodies[i];
        ends[i] = n;
    }
    assert_int_equal(n, sizeof stream);

    size_t taken = 0;
    size_t frames = 0;
    for (size_t arrived = 0; arrived <= n && frames < countof(ends);
         arrived++) {
        /* On the heap in just its size, for the sanitizer to see a look past the end. */
        uint8_t *in = malloc(arrived - taken + 1);
        assert_non_null(in);
        memcpy(in, stream + taken, arrived - taken);
        struct bytes body;
        size_t consumed = 0;
        enum frame_result result =
            frame_next((struct bytes){in, arrived - taken},
                       FRAME_CLIENT_BYTES_MAX, &body, &consumed);
        if (result == FRAME_OK) {
            assert_int_equal(arrived, ends[frames]);
            assert_int_equal(body.n, bodies[frames]);
            assert_int_equal(body.data[0], 'a' + frames);
            taken += consumed;
            frames++;
        } else {
            assert_int_equal(result, FRAME_MORE);
        }
        free(in);
    }
    assert_int_equal(frames, 3);
    assert_int_equal(taken, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks_at_the_head_first),
        cmocka_unit_test(test_head_is_big_endian),
        cmocka_unit_test(test_takes_a_stream_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
