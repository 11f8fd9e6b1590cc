/* The due heap, beside a plain list of the same deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

#define SESSIONS 300

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static uint64_t earliest(const uint64_t *at, uint32_t n)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        least = min_u64(least, at[i]);
    }
    return least;
}

/* Sessions on one lease, each on a group of its own: nothing is due by itself. */
static void open_many(struct kit *k)
{
    uint64_t lease = kit_lease(k, 1, "relay");
    for (uint32_t i = 0; i < SESSIONS; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "ns/g%u/d%u/t%u", i % 50, i % 2, i);
        (void)kit_session(k, lease, path, 0);
    }
}

static void test_same_as_a_list(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    open_many(&k);
    uint64_t at[SESSIONS];
    uint32_t x = 1;
    for (uint32_t i = 0; i < SESSIONS; i++) {
        at[i] = UINT64_MAX;
        due_set(k.r, DUE_SESSION, i + 1, UINT64_MAX);
    }
    uint32_t others = k.r->heap_n;
    for (slot s = 1; s <= k.r->pools[OBJECT_DEVICE].high; s++) {
        due_set(k.r, DUE_DEVICE, s, UINT64_MAX);
    }
    for (slot s = 1; s <= k.r->pools[OBJECT_GROUP].high; s++) {
        due_set(k.r, DUE_GROUP, s, UINT64_MAX);
    }
    assert_true(others >= k.r->heap_n);
    for (int step = 0; step < 5000; step++) {
        uint32_t i = next_random(&x) % SESSIONS;
        at[i] = next_random(&x) % 3 == 0 ? UINT64_MAX
                                         : 1000 + next_random(&x) % 700;
        due_set(k.r, DUE_SESSION, i + 1, at[i]);
        assert_int_equal(registry_due_ms(k.r), earliest(at, SESSIONS));
        assert_int_equal(due_at(k.r, session_at(k.r, i + 1)->heap_at), at[i]);
    }
    kit_fini(&k);
}

/* In the order of their deadlines, the same when asked again, at most as many as asked for. */
static void test_commands_in_order(void **state)
{
    (void)state;
    static Pb__Command first[DUE_MAX];
    static Pb__Command second[DUE_MAX];
    static uint8_t memory[2][1 << 18];
    struct arena arenas[2];
    struct kit k;
    kit_init(&k);
    open_many(&k);
    uint32_t x = 9;
    for (slot s = 1; s <= SESSIONS; s++) {
        due_set(k.r, DUE_SESSION, s, 500 + next_random(&x) % 1000);
    }
    for (uint32_t max = 1; max <= DUE_MAX; max += 51) {
        arena_init(&arenas[0], memory[0], sizeof memory[0]);
        arena_init(&arenas[1], memory[1], sizeof memory[1]);
        uint32_t n = registry_due(k.r, 1200, first, max, &arenas[0]);
        assert_int_equal(n, max < 200 ? max : n);
        assert_int_equal(registry_due(k.r, 1200, second, max, &arenas[1]), n);
        uint64_t before = 0;
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(first[i].op_case, PB__COMMAND__OP_END_GRACE);
            assert_int_equal(first[i].version, COMMAND_VERSION);
            uint64_t id = first[i].end_grace->session;
            assert_int_equal(second[i].end_grace->session, id);
            slot s = find_session(k.r, id);
            uint64_t at_ms = due_at(k.r, session_at(k.r, s)->heap_at);
            assert_true(at_ms >= before && at_ms <= 1200);
            before = at_ms;
        }
    }
    arena_init(&arenas[0], memory[0], sizeof memory[0]);
    assert_int_equal(registry_due(k.r, 499, first, DUE_MAX, &arenas[0]), 0);
    kit_fini(&k);
}

/* Too little memory for all of them: those that fit, whole. */
static void test_arena_full(void **state)
{
    (void)state;
    static Pb__Command out[DUE_MAX];
    static uint8_t memory[4096];
    struct arena arena;
    struct kit k;
    kit_init(&k);
    open_many(&k);
    for (slot s = 1; s <= SESSIONS; s++) {
        due_set(k.r, DUE_SESSION, s, 500);
    }
    arena_init(&arena, memory, sizeof memory);
    uint32_t n = registry_due(k.r, 500, out, DUE_MAX, &arena);
    assert_true(n > 0 && n < DUE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(out[i].end_grace->session != 0);
    }
    kit_fini(&k);
}

/* More slots than one look takes in: the parts get to the end all the same, also on a node that loaded rows half way. */
static void test_rescoring_gets_to_the_end(void **state)
{
    (void)state;
    const uint32_t sessions = 40000;
    struct registry_limits limits = KIT_LIMITS;
    struct kit k;
    limits.sessions_n = 2 * sessions;
    limits.session_extras_n = 2 * sessions;
    kit_init_limits(&k, &limits);
    k.unchecked = true;
    uint64_t lease = kit_lease(&k, 1, "relay");
    for (uint32_t i = 0; i < sessions; i++) {
        char path[64];
        /* The other namespace's come first. */
        (void)snprintf(path, sizeof path, "%s/g%u/d%u/t%u",
                       i < 20000 ? "other" : "ns", i % 25, i % 50, i);
        (void)kit_session(&k, lease, path, (int)(i % 100));
    }
    Pb__Command c = PB__COMMAND__INIT;
    Pb__SetPolicy m = PB__SET_POLICY__INIT;
    Pb__Policy policy = PB__POLICY__INIT;
    policy.margin = 20000;
    m.namespace_ = "ns";
    m.policy = &policy;
    c.op_case = PB__COMMAND__OP_SET_POLICY;
    c.set_policy = &m;
    assert_int_equal(kit_client(&k, lease, &c)->status, BATON_OK);
    struct namespace_ *ns =
        namespace_at(k.r, find_namespace(k.r, codec_text("ns")));
    k.time_ms += 1;
    uint32_t parts = 0;
    while (ns->rescoring) {
        (void)kit_due(&k);
        parts++;
        if (parts == 100) {
            ns->rescore_from = 0; /* as after loading */
        }
        assert_true(parts < 20000 / SWEEP_MAX + 20);
    }
    assert_true(parts >= 20000 / SWEEP_MAX);
    registry_check(k.r); /* all are scored under the new policy */
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_a_list),
        cmocka_unit_test(test_commands_in_order),
        cmocka_unit_test(test_arena_full),
        cmocka_unit_test(test_rescoring_gets_to_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
