#include "tests/unit/election_rig.h"

/* By their messages: a struct may have holes. */
static void assert_same(const struct policy *x, const struct policy *y)
{
    static uint8_t memory[2][4096];
    static uint8_t packed[2][1024];
    size_t n[2];
    for (int i = 0; i < 2; i++) {
        struct arena arena;
        Pb__Policy message;
        arena_init(&arena, memory[i], sizeof memory[i]);
        policy_to_message(i == 0 ? x : y, &arena, &message);
        assert_true(pb__policy__get_packed_size(&message) <= sizeof packed[i]);
        n[i] = pb__policy__pack(&message, packed[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(packed[0], packed[1], n[0]);
}

static void test_defaults_are_a_valid_policy(void **state)
{
    (void)state;
    struct policy policy;
    struct policy again;
    uint32_t reason = 0;
    int64_t detail = 0;
    uint8_t memory[4096];
    struct arena arena;
    Pb__Policy message;
    policy_default(&policy);
    arena_init(&arena, memory, sizeof memory);
    policy_to_message(&policy, &arena, &message);
    assert_int_equal(message.n_weights, CAP_END - 1);
    assert_int_equal(policy_from_message(&message, &again, &reason, &detail),
                     BATON_OK);
    assert_same(&policy, &again);
    assert_true(policy.holder_grace_ms <= policy.session_grace_ms);
    assert_int_equal(policy.max_tenure_ms, 0);
}

/* An empty policy: defaults, but where 0 is off. */
static void test_empty_policy(void **state)
{
    (void)state;
    const Pb__Policy message = PB__POLICY__INIT;
    struct policy policy;
    struct policy expected;
    uint32_t reason = 0;
    int64_t detail = 0;
    policy_default(&expected);
    expected.breaker_moves = 0;
    expected.demote_after_ms = 0;
    assert_int_equal(policy_from_message(&message, &policy, &reason, &detail),
                     BATON_OK);
    assert_same(&policy, &expected);
    assert_int_equal(policy_from_message(NULL, &policy, &reason, &detail),
                     BATON_OK);
}

enum {
    U32,
    U64
};
struct field_case {
    size_t at;
    int size;
    uint64_t value;
    int64_t bad; /* number of the field that's refused, 0: accepted */
};
#define FIELD(name) offsetof(Pb__Policy, name)

static const struct field_case fields[] = {
    {FIELD(margin), U32, 1, 0},
    {FIELD(margin), U32, 20000, 0},
    {FIELD(margin), U32, 20001, 2},
    {FIELD(min_tenure_ms), U64, 99, 3},
    {FIELD(min_tenure_ms), U64, 86400000, 0},
    {FIELD(min_tenure_ms), U64, 86400001, 3},
    {FIELD(min_tenure_ms), U64, UINT64_MAX, 3},
    {FIELD(cooldown_ms), U64, 999, 4},
    {FIELD(max_tenure_ms), U64, 999, 5},
    {FIELD(max_tenure_ms), U64, 1000, 0}, /* the default tenure gives way */
    {FIELD(offer_ms), U64, 99, 6},
    {FIELD(offer_ms), U64, 60001, 6},
    {FIELD(yield_ms), U64, 60001, 7},
    {FIELD(session_grace_ms), U64, 999, 8},
    {FIELD(session_grace_ms), U64, 1000, 0}, /* the holder's gives way */
    {FIELD(holder_grace_ms), U64, 30001, 9},
    {FIELD(holder_grace_ms), U64, 30000, 0},
    {FIELD(breaker_moves), U32, 1001, 10},
    {FIELD(breaker_window_ms), U64, 1, 11},
    {FIELD(breaker_open_ms), U64, 1, 12},
    {FIELD(demote_rtt_ms), U32, 31, 13},
    {FIELD(demote_rtt_ms), U32, 64, 0}, /* the clearing one gives way */
    {FIELD(demote_after_ms), U64, 99, 14},
    {FIELD(demote_clear_rtt_ms), U32, 2001, 15},
    {FIELD(demote_for_ms), U64, 1, 16},
    {FIELD(sessions_max), U32, UINT32_MAX, 0},
    {FIELD(devices_per_group_max), U32, (1u << 20) + 1, 19},
    {FIELD(tabs_per_device_max), U32, (1u << 16) + 1, 20},
    {FIELD(state_bytes_max), U32, 65537, 21},
    {FIELD(state_bytes_max), U32, 65536, 0},
};

static void test_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(fields); i++) {
        const struct field_case *c = &fields[i];
        Pb__Policy message = PB__POLICY__INIT;
        struct policy policy;
        memset(&policy, 0x5a, sizeof policy);
        const struct policy untouched = policy;
        uint32_t reason = 0;
        int64_t detail = 0;
        uint8_t *at = (uint8_t *)&message + c->at;
        if (c->size == U32) {
            uint32_t value = (uint32_t)c->value;
            memcpy(at, &value, sizeof value);
        } else {
            memcpy(at, &c->value, sizeof c->value);
        }
        enum baton_status status =
            policy_from_message(&message, &policy, &reason, &detail);
        if (detail != c->bad) {
            fail_msg("case %zu: field %lld refused, expected %lld", i,
                     (long long)detail, (long long)c->bad);
        }
        assert_int_equal(status, c->bad == 0 ? BATON_OK : BATON_INVALID);
        if (c->bad != 0) {
            assert_int_equal(reason, REASON_POLICY_FIELD);
            assert_memory_equal(&policy, &untouched, sizeof policy);
        }
    }
}

static void test_weights(void **state)
{
    (void)state;
    const struct {
        int key;
        int32_t weight;
        int64_t bad;
    } cases[] = {
        {CAP_BATTERY, 1000, 0},      {CAP_BATTERY, -1000, 0},
        {CAP_BATTERY, 0, 0},         {CAP_PRIORITY, 1001, CAP_PRIORITY},
        {CAP_KIND, -1001, CAP_KIND}, {0, 5, -1},
        {CAP_END, 5, CAP_END},       {99, 5, 99},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        Pb__Weight weight = PB__WEIGHT__INIT;
        Pb__Weight *list[2] = {&weight, &weight};
        Pb__Policy message = PB__POLICY__INIT;
        struct policy policy;
        uint32_t reason = 0;
        int64_t detail = 0;
        weight.key = (Pb__CapabilityKey)cases[i].key;
        weight.weight = cases[i].weight;
        message.weights = list;
        message.n_weights = 1;
        enum baton_status status =
            policy_from_message(&message, &policy, &reason, &detail);
        assert_int_equal(detail, cases[i].bad);
        if (cases[i].bad == 0) {
            assert_int_equal(status, BATON_OK);
            assert_int_equal(policy.weights[cases[i].key], cases[i].weight);
            /* The others keep their defaults. */
            assert_int_equal(policy.weights[CAP_VISIBLE],
                             POLICY_WEIGHT_VISIBLE);
            message.n_weights = 2; /* twice */
            assert_int_equal(
                policy_from_message(&message, &policy, &reason, &detail),
                BATON_INVALID);
        }
        assert_true(cases[i].bad == 0 || status == BATON_INVALID);
        assert_int_equal(reason, REASON_POLICY_WEIGHT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_a_valid_policy),
        cmocka_unit_test(test_empty_policy),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
