/* decode_test.c - proto/decode.c: what protobuf means by bytes that no encoder of ours writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "tests/unit/assert_stub.h"

static _Alignas(ARENA_ALIGN) uint8_t memory[64u << 10];
static struct arena arena;
static uint8_t encoded[16u << 10];

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, memory, sizeof memory);
    return 0;
}

#define VIEW(...)                                                              \
    ((struct bytes){(const uint8_t[]){__VA_ARGS__},                            \
                    sizeof((const uint8_t[]){__VA_ARGS__})})

static void test_the_last_of_a_number_counts(void **state)
{
    (void)state;
    Pb__Renew *m = (Pb__Renew *)codec_decode(
        &pb__renew__descriptor, VIEW(0x10, 7, 0x10, 9, 0x10, 0), &arena);
    assert_non_null(m);
    assert_int_equal(m->number, 0);
}

static void test_a_message_that_comes_twice_is_merged(void **state)
{
    (void)state;
    /* set_policy 40: {namespace "a", policy {margin 5, weights {key 1}}}, then {policy {min_tenure_ms 6, weights {key 2}}}. */
    Pb__Command *m = codec_decode_command(
        VIEW(0xC2, 2, 11, 0x0A, 1, 'a', 0x12, 6, 0x10, 5, 0x0A, 2, 8, 1, /**/
             0xC2, 2, 8, 0x12, 6, 0x18, 6, 0x0A, 2, 8, 2),
        &arena);
    assert_non_null(m);
    assert_int_equal(m->op_case, PB__COMMAND__OP_SET_POLICY);
    assert_string_equal(m->set_policy->namespace_, "a");
    const Pb__Policy *policy = m->set_policy->policy;
    assert_int_equal(policy->margin, 5);
    assert_int_equal(policy->min_tenure_ms, 6);
    assert_int_equal(policy->n_weights, 2);
    assert_int_equal(policy->weights[0]->key, 1);
    assert_int_equal(policy->weights[1]->key, 2);
}

static void test_the_last_member_of_a_oneof_counts(void **state)
{
    (void)state;
    /* touched {1}, then close_lease {detach}, then touched {2}: what the first one held is gone. */
    Pb__Command *m = codec_decode_command(
        VIEW(0x62, 3, 0x0A, 1, 1, 0x72, 2, 8, 1, 0x62, 3, 0x0A, 1, 2), &arena);
    assert_non_null(m);
    assert_int_equal(m->op_case, PB__COMMAND__OP_TOUCHED);
    assert_int_equal(m->touched->n_lease_deltas, 1);
    assert_int_equal(m->touched->lease_deltas[0], 2);
    m = codec_decode_command(VIEW(0x62, 3, 0x0A, 1, 1, 0x72, 2, 8, 1), &arena);
    assert_non_null(m);
    assert_int_equal(m->op_case, PB__COMMAND__OP_CLOSE_LEASE);
    assert_true(m->close_lease->detach);
}

static void test_numbers_come_packed_or_not(void **state)
{
    (void)state;
    static const struct {
        struct bytes in;
        size_t n;
    } rows[] = {
        {{(const uint8_t *)"\x0A\x03\x01\x02\x03", 5}, 3},
        {{(const uint8_t *)"\x08\x01\x08\x02\x08\x03", 6}, 3},
        {{(const uint8_t *)"\x08\x01\x0A\x02\x02\x03", 6}, 3},
        {{(const uint8_t *)"\x0A\x00\x08\x01", 4}, 1},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        Pb__ConfigData *m = codec_decode_config(rows[i].in, &arena);
        assert_non_null(m);
        assert_int_equal(m->n_voters, rows[i].n);
        for (size_t k = 0; k < rows[i].n; k++) {
            assert_int_equal(m->voters[k], k + 1);
        }
    }
    /* A number that's cut, a number that isn't one, another wire type. */
    assert_null(codec_decode_config(VIEW(0x0A, 1, 0x80), &arena));
    assert_null(codec_decode_config(VIEW(0x0D, 1, 0, 0, 0), &arena));
    /* Packed fixed64 (sweep_lease 16, sessions 2): 8 bytes each, no less. */
    assert_non_null(codec_decode_command(
        VIEW(0x82, 1, 10, 0x12, 8, 1, 2, 3, 4, 5, 6, 7, 8), &arena));
    assert_null(codec_decode_command(
        VIEW(0x82, 1, 9, 0x12, 7, 1, 2, 3, 4, 5, 6, 7), &arena));
}

static void test_numbers_at_their_ends(void **state)
{
    (void)state;
    Pb__Reply reply = PB__REPLY__INIT;
    static const int64_t details[] = {0, 1, -1, 63, -64, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < countof(details); i++) {
        reply.detail = details[i];
        reply.id = UINT64_MAX;
        size_t n = codec_encode(&reply.base, encoded, sizeof encoded);
        Pb__Reply *back = (Pb__Reply *)codec_decode(
            &pb__reply__descriptor, (struct bytes){encoded, n}, &arena);
        assert_non_null(back);
        assert_int_equal(back->detail, details[i]);
        assert_true(back->id == UINT64_MAX);
    }
    Pb__Capability capability = PB__CAPABILITY__INIT;
    static const int32_t values[] = {0, 1, -1, 100, -100, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < countof(values); i++) {
        capability.key = PB__CAPABILITY_KEY__PRIORITY;
        capability.value = values[i];
        size_t n = codec_encode(&capability.base, encoded, sizeof encoded);
        Pb__Capability *back = (Pb__Capability *)codec_decode(
            &pb__capability__descriptor, (struct bytes){encoded, n}, &arena);
        assert_non_null(back);
        assert_int_equal(back->value, values[i]);
    }
    /* 64 bits and no more. */
    assert_non_null(codec_decode_command(
        VIEW(0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1), &arena));
    assert_null(codec_decode_command(
        VIEW(0x18, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2), &arena));
}

/* Lists of every length around the points where they move to a larger piece of memory. */
static void test_lists_keep_their_order(void **state)
{
    (void)state;
    static Pb__Member members[70];
    static Pb__Member *list[70];
    static uint32_t voters[70];
    static char names[70][8];
    for (uint32_t i = 0; i < countof(members); i++) {
        pb__member__init(&members[i]);
        members[i].node = i + 1;
        (void)snprintf(names[i], sizeof names[i], "n%u", i);
        members[i].peer = names[i];
        list[i] = &members[i];
        voters[i] = 1000 + i;
    }
    for (size_t n = 0; n <= countof(members); n++) {
        arena_reset(&arena);
        Pb__ConfigData m = PB__CONFIG_DATA__INIT;
        m.previous = 1;
        m.n_members = m.n_voters = n;
        m.members = list;
        m.voters = voters;
        size_t bytes_n = codec_encode(&m.base, encoded, sizeof encoded);
        Pb__ConfigData *back =
            codec_decode_config((struct bytes){encoded, bytes_n}, &arena);
        assert_non_null(back);
        assert_int_equal(back->n_members, n);
        assert_int_equal(back->n_voters, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(back->members[i]->node, i + 1);
            assert_string_equal(back->members[i]->peer, names[i]);
            assert_int_equal(back->voters[i], 1000 + i);
        }
    }
}

static void test_a_text_set_back_to_nothing_is_empty(void **state)
{
    (void)state;
    Pb__Path *path = (Pb__Path *)codec_decode(
        &pb__path__descriptor, VIEW(0x0A, 1, 'a', 0x0A, 0), &arena);
    assert_non_null(path);
    assert_string_equal(path->namespace_, "");
    Pb__OpenLease *lease = (Pb__OpenLease *)codec_decode(
        &pb__open_lease__descriptor, VIEW(0x0A, 1, 9, 0x0A, 0), &arena);
    assert_non_null(lease);
    assert_int_equal(lease->nonce.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_last_of_a_number_counts, set_up),
        cmocka_unit_test_setup(test_a_message_that_comes_twice_is_merged,
                               set_up),
        cmocka_unit_test_setup(test_the_last_member_of_a_oneof_counts, set_up),
        cmocka_unit_test_setup(test_numbers_come_packed_or_not, set_up),
        cmocka_unit_test_setup(test_numbers_at_their_ends, set_up),
        cmocka_unit_test_setup(test_lists_keep_their_order, set_up),
        cmocka_unit_test_setup(test_a_text_set_back_to_nothing_is_empty,
                               set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
