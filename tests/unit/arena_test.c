/* arena_test.c - proto/arena.h. */
#include "proto/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/assert_stub.h"

static void test_starts_aligned_wherever_memory_begins(void **state)
{
    (void)state;
    uint8_t memory[256];
    for (size_t skew = 0; skew < 2 * ARENA_ALIGN; skew++) {
        struct arena a;
        arena_init(&a, memory + skew, 128);
        assert_true(a.n <= 128);
        assert_true(a.n + 2 * ARENA_ALIGN > 128);
        uint8_t *first = arena_alloc(&a, 1);
        assert_int_equal((uintptr_t)first % ARENA_ALIGN, 0);
        assert_true(first >= memory + skew);
        assert_true(a.base + a.n <= memory + skew + 128);
    }
}

static void test_allocates_up_to_its_end(void **state)
{
    (void)state;
    static const struct {
        size_t first;
        size_t second;
        bool fits;
        size_t used;
    } rows[] = {
        {0, 0, true, 0},           {1, 1, true, 32},
        {16, 16, true, 32},        {17, 1, true, 48},
        {64, 0, true, 64},         {63, 1, false, 64},
        {48, 16, true, 64},        {48, 17, false, 48},
        {0, 64, true, 64},         {0, 65, false, 0},
        {16, SIZE_MAX, false, 16}, {0, SIZE_MAX - 14, false, 0},
    };
    _Alignas(ARENA_ALIGN) uint8_t memory[64];
    for (size_t i = 0; i < countof(rows); i++) {
        struct arena a;
        arena_init(&a, memory, sizeof memory);
        assert_ptr_equal(arena_alloc(&a, rows[i].first), memory);
        void *second = arena_alloc(&a, rows[i].second);
        assert_int_equal(second != NULL, rows[i].fits);
        assert_int_equal(a.full, !rows[i].fits);
        assert_int_equal(a.used, rows[i].used);
    }
}

static void test_reset_forgets_all_but_the_high_mark(void **state)
{
    (void)state;
    _Alignas(ARENA_ALIGN) uint8_t memory[64];
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    assert_non_null(arena_alloc(&a, 40));
    assert_null(arena_alloc(&a, 40));
    assert_true(a.full);
    arena_reset(&a);
    assert_false(a.full);
    assert_int_equal(a.used, 0);
    assert_int_equal(a.high, 48);
    assert_ptr_equal(arena_alloc(&a, 1), memory);
    assert_int_equal(a.high, 48);
}

static void test_copies_with_a_nul_behind(void **state)
{
    (void)state;
    _Alignas(ARENA_ALIGN) uint8_t memory[32];
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    memset(memory, 'x', sizeof memory);
    struct bytes copy = arena_copy(&a, (struct bytes){(uint8_t *)"abc", 3});
    assert_int_equal(copy.n, 3);
    assert_memory_equal(copy.data, "abc", 4);
    struct bytes none = arena_copy(&a, (struct bytes){0});
    assert_non_null(none.data);
    assert_int_equal(none.n, 0);
    assert_int_equal(none.data[0], 0);
    /* There is no byte left for the NUL. */
    struct bytes late = arena_copy(&a, (struct bytes){0});
    assert_null(late.data);
    assert_true(a.full);
}

static void test_allocator_takes_from_the_arena(void **state)
{
    (void)state;
    _Alignas(ARENA_ALIGN) uint8_t memory[32];
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    ProtobufCAllocator allocator = arena_allocator(&a);
    void *one = allocator.alloc(allocator.allocator_data, 20);
    assert_ptr_equal(one, memory);
    allocator.free(allocator.allocator_data, one);
    assert_int_equal(a.used, 32);
    assert_null(allocator.alloc(allocator.allocator_data, 1));
    assert_true(a.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts_aligned_wherever_memory_begins),
        cmocka_unit_test(test_allocates_up_to_its_end),
        cmocka_unit_test(test_reset_forgets_all_but_the_high_mark),
        cmocka_unit_test(test_copies_with_a_nul_behind),
        cmocka_unit_test(test_allocator_takes_from_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
