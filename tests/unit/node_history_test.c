/* The ring of recent event batches, beside a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/history.h"
#include "tests/unit/assert_stub.h"

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static void put(struct history *h, uint64_t revision, size_t n)
{
    uint8_t bytes[8192];
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(revision * 13 + i);
    }
    history_put(h, revision, (struct bytes){bytes, n});
}

static void assert_batch(struct bytes batch, uint64_t revision, size_t n)
{
    assert_int_equal(batch.n, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(batch.data[i], (uint8_t)(revision * 13 + i));
    }
}

static void test_empty(void **state)
{
    (void)state;
    struct history *h = history_new(4096);
    uint64_t revision = 0;
    struct bytes batch;
    assert_int_equal(history_from(h), 1);
    assert_false(history_get(h, 0, &revision, &batch));
    history_reset(h, 77);
    assert_int_equal(history_from(h), 77);
    assert_false(history_get(h, 77, &revision, &batch));
    history_free(h);
    history_free(NULL);
}

static void test_gaps_are_no_gaps(void **state)
{
    (void)state;
    struct history *h = history_new(4096);
    uint64_t revision = 0;
    struct bytes batch;
    put(h, 3, 10);
    put(h, 9, 20);
    put(h, 10, 30);
    /* Nothing happened at 1 and 2, and that's known. */
    assert_int_equal(history_from(h), 1);
    assert_true(history_get(h, 1, &revision, &batch));
    assert_int_equal(revision, 3);
    assert_batch(batch, 3, 10);
    assert_true(history_get(h, 4, &revision, &batch));
    assert_int_equal(revision, 9);
    assert_batch(batch, 9, 20);
    assert_true(history_get(h, 10, &revision, &batch));
    assert_batch(batch, 10, 30);
    assert_false(history_get(h, 11, &revision, &batch));
    history_free(h);
}

static void test_oldest_go_first(void **state)
{
    (void)state;
    struct history *h = history_new(1000);
    uint64_t revision = 0;
    struct bytes batch;
    for (uint64_t r = 1; r <= 10; r++) {
        put(h, r * 2, 300);
    }
    /* Three fit; the one before them was at 14. */
    assert_int_equal(history_from(h), 15);
    assert_true(history_get(h, 0, &revision, &batch));
    assert_int_equal(revision, 16);
    assert_batch(batch, 16, 300);
    history_free(h);
}

static void test_one_too_large_clears(void **state)
{
    (void)state;
    struct history *h = history_new(1000);
    uint64_t revision = 0;
    struct bytes batch;
    put(h, 1, 100);
    put(h, 2, 600);
    assert_int_equal(history_from(h), 3);
    assert_false(history_get(h, 0, &revision, &batch));
    put(h, 3, 100);
    assert_true(history_get(h, 0, &revision, &batch));
    assert_int_equal(revision, 3);
    history_free(h);
}

static void test_many_small_ones(void **state)
{
    (void)state;
    struct history *h = history_new(1 << 16);
    uint64_t revision = 0;
    struct bytes batch;
    /* More records than the index has room for, and bytes left. */
    for (uint64_t r = 1; r <= 5000; r++) {
        put(h, r, 1);
    }
    assert_true(history_from(h) > 1);
    assert_true(history_get(h, 0, &revision, &batch));
    assert_int_equal(revision, history_from(h));
    for (uint64_t r = history_from(h); r <= 5000; r++) {
        assert_true(history_get(h, r, &revision, &batch));
        assert_int_equal(revision, r);
        assert_batch(batch, r, 1);
    }
    history_free(h);
}

#define LIST_MAX 4096

static void assert_same(const struct history *h, const uint64_t *revisions,
                        const size_t *sizes, uint32_t n)
{
    uint64_t revision = 0;
    struct bytes batch;
    uint64_t from = history_from(h);
    for (uint32_t i = 0; i < n; i++) {
        if (revisions[i] < from) {
            continue;
        }
        assert_true(history_get(h, revisions[i], &revision, &batch));
        assert_int_equal(revision, revisions[i]);
        assert_batch(batch, revision, sizes[i]);
        /* Asked for what lies between, it gives the next. */
        if (i > 0 && revisions[i - 1] + 1 >= from) {
            assert_true(
                history_get(h, revisions[i - 1] + 1, &revision, &batch));
            assert_int_equal(revision, revisions[i]);
        }
    }
    /* What it gave first is the first at or after where it begins. */
    if (history_get(h, 0, &revision, &batch)) {
        assert_true(revision >= from);
    }
}

static void test_same_as_a_list(void **state)
{
    (void)state;
    uint64_t *revisions = calloc(LIST_MAX, sizeof *revisions);
    size_t *sizes = calloc(LIST_MAX, sizeof *sizes);
    assert_non_null(revisions);
    assert_non_null(sizes);
    for (uint32_t seed = 1; seed <= 10; seed++) {
        uint32_t x = seed;
        uint32_t n = 0;
        uint64_t at = 0;
        struct history *h = history_new(3000);
        for (int step = 0; step < 600; step++) {
            at += 1 + next_random(&x) % 5;
            sizes[n] =
                next_random(&x) % 40 == 0 ? 2000 : 1 + next_random(&x) % 400;
            revisions[n] = at;
            put(h, at, sizes[n]);
            n++;
            if (next_random(&x) % 100 == 0) {
                history_reset(h, at + 1);
            }
            if (step % 7 == 0) {
                assert_same(h, revisions, sizes, n);
            }
        }
        history_free(h);
    }
    free(revisions);
    free(sizes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_gaps_are_no_gaps),
        cmocka_unit_test(test_oldest_go_first),
        cmocka_unit_test(test_one_too_large_clears),
        cmocka_unit_test(test_many_small_ones),
        cmocka_unit_test(test_same_as_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
