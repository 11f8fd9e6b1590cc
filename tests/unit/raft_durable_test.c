/* Which batch a promise has to wait for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "raft/durable.h"
#include "tests/unit/assert_stub.h"

static void appends(void **state)
{
    (void)state;
    struct durable d = {.stored = 10};
    uint64_t since_ms = 0;
    assert_int_equal(durable_after(&d, 10), 0);
    assert_false(durable_oldest(&d, &since_ms));
    durable_append(&d, 12, 1, 100);
    durable_append(&d, 15, 1, 110);
    durable_append(&d, 20, 3, 120);
    durable_check(&d, 20);
    assert_int_equal(durable_after(&d, 10), 0);
    assert_int_equal(durable_after(&d, 11), 1);
    assert_int_equal(durable_after(&d, 15), 1);
    assert_int_equal(durable_after(&d, 16), 3);
    assert_true(durable_oldest(&d, &since_ms));
    assert_int_equal(since_ms, 100);
    durable_stored(&d, 2);
    durable_check(&d, 20);
    assert_int_equal(d.stored, 15);
    assert_int_equal(durable_after(&d, 15), 0);
    assert_true(durable_oldest(&d, &since_ms));
    assert_int_equal(since_ms, 120);
    durable_stored(&d, 3);
    assert_int_equal(d.stored, 20);
    assert_false(durable_oldest(&d, &since_ms));
}

static void hard_state(void **state)
{
    (void)state;
    struct durable d = {.stored = 0};
    assert_true(durable_hard_stored(&d));
    durable_hard(&d, 4, true);
    assert_false(durable_hard_stored(&d));
    assert_false(durable_term_stored(&d));
    assert_int_equal(durable_after(&d, 0), 4);
    durable_append(&d, 3, 4, 0);
    durable_append(&d, 5, 6, 0);
    assert_int_equal(durable_after(&d, 2), 4);
    assert_int_equal(durable_after(&d, 5), 6);
    /* A vote in that term: it's for the term that a message may be sent before. */
    durable_hard(&d, 8, false);
    assert_int_equal(durable_after(&d, 5), 8);
    durable_stored(&d, 3);
    assert_false(durable_term_stored(&d));
    durable_stored(&d, 7);
    assert_true(durable_term_stored(&d));
    assert_false(durable_hard_stored(&d));
    assert_int_equal(durable_after(&d, 0), 8);
    durable_stored(&d, 8);
    assert_int_equal(durable_after(&d, 5), 0);
}

static void truncation(void **state)
{
    (void)state;
    /* Entries on the way to the disk are taken back, and others take their place in a later batch: the early batch no longer
     * covers them. */
    struct durable d = {.stored = 10};
    durable_append(&d, 15, 1, 0);
    durable_append(&d, 20, 2, 0);
    durable_truncate(&d, 13);
    durable_check(&d, 12);
    durable_append(&d, 14, 3, 0);
    durable_check(&d, 14);
    assert_int_equal(durable_after(&d, 12), 1);
    assert_int_equal(durable_after(&d, 13), 3);
    durable_stored(&d, 2);
    durable_check(&d, 14);
    assert_int_equal(d.stored, 12);
    assert_int_equal(durable_after(&d, 13), 3);
    /* What's stored is taken back. */
    durable_stored(&d, 3);
    durable_truncate(&d, 6);
    durable_check(&d, 5);
    assert_int_equal(d.stored, 5);
    durable_append(&d, 6, 4, 0);
    assert_int_equal(durable_after(&d, 6), 4);
    /* Everything on the way goes: nothing is left to wait for. */
    durable_truncate(&d, 6);
    durable_check(&d, 5);
    assert_int_equal(d.marks_n, 0);
}

static void marks_run_out(void **state)
{
    (void)state;
    struct durable d = {.stored = 0};
    const uint64_t batches = 3 * DURABLE_MARKS_MAX;
    for (uint64_t batch = 1; batch <= batches; batch++) {
        durable_append(&d, batch * 10, batch, batch);
        durable_check(&d, batch * 10);
        /* Never less than the batch that it's in. */
        assert_int_equal(durable_after(&d, batch * 10), batch);
    }
    for (raft_index index = 1; index <= batches * 10; index++) {
        assert_true(durable_after(&d, index) >= (index + 9) / 10);
    }
    for (uint64_t batch = 1; batch <= batches; batch++) {
        durable_stored(&d, batch);
        durable_check(&d, batches * 10);
        assert_true(d.stored <= batch * 10);
    }
    assert_int_equal(d.stored, batches * 10);
}

static void snapshots(void **state)
{
    (void)state;
    struct durable d = {.stored = 5};
    durable_append(&d, 8, 1, 0);
    durable_append(&d, 12, 2, 0);
    durable_snapshot(&d, 9, true);
    durable_check(&d, 12);
    assert_int_equal(d.stored, 9);
    assert_int_equal(durable_after(&d, 10), 2);
    durable_snapshot(&d, 30, false);
    durable_check(&d, 30);
    assert_int_equal(durable_after(&d, 30), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends),    cmocka_unit_test(hard_state),
        cmocka_unit_test(truncation), cmocka_unit_test(marks_run_out),
        cmocka_unit_test(snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
