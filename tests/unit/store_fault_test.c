/* store_fault_test.c - a disk that fails, fills up or hangs: reported once, nothing acknowledged lost, nobody waits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/store.h"
#include "tests/fault/disk_fault.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/store_lab.h"

#define CALLS_MAX 2000u

static uint64_t fingerprints[LAB_WORK_BATCHES + 1];
static const struct disk_fault_plan lazy_plan = {.lazy = true};

static int learn(void **state)
{
    (void)state;
    struct lab lab;
    lab_init(&lab);
    disk_fault_set(lab.dir, &lazy_plan);
    lab_must_open(&lab);
    fingerprints[0] = lab_fingerprint(&lab);
    for (uint32_t i = 1; i <= LAB_WORK_BATCHES; i++) {
        lab_work(&lab, i);
        lab_commit(&lab);
        lab_must_close(&lab);
        lab_must_open(&lab);
        fingerprints[i] = lab_fingerprint(&lab);
    }
    lab_must_close(&lab);
    lab_fini(&lab);
    return 0;
}

static void check_left(struct lab *lab, uint64_t stored, uint64_t at)
{
    disk_fault_set(lab->dir, &lazy_plan);
    if (!lab_open(lab)) {
        fail_msg("failed at call %llu: %s", (unsigned long long)at, lab->error);
    }
    uint64_t found = lab_fingerprint(lab);
    if (found != fingerprints[stored] &&
        (stored == LAB_WORK_BATCHES || found != fingerprints[stored + 1])) {
        fail_msg("failed at call %llu: batch %llu was stored, and is not there",
                 (unsigned long long)at, (unsigned long long)stored);
    }
    lab_append(lab, 10);
    lab_commit(lab);
    lab_must_close(lab);
}

/* Works until a batch fails; returns how many were stored. */
static uint64_t work(struct lab *lab)
{
    for (uint32_t i = 1; i <= LAB_WORK_BATCHES; i++) {
        lab_work(lab, i);
        if (!lab_try_commit(lab)) {
            return i - 1;
        }
    }
    return LAB_WORK_BATCHES;
}

/* A store that failed does nothing more: no call to the disk, no event. */
static void check_dead(struct lab *lab)
{
    uint64_t calls = disk_fault_calls();
    struct store_event event;
    lab_append(lab, 100);
    (void)store_commit(lab->s);
    store_read_log(lab->s, 1, 1, 10, 1000);
    assert_false(store_next(lab->s, &event));
    assert_false(lab_close(lab));
    assert_int_equal(disk_fault_calls(), calls);
}

static void fail_everywhere(int error, bool sticky, bool half,
                            enum store_failure expected)
{
    struct disk_fault_plan plan = {.kind = DISK_FAULT_ERROR,
                                   .error = error,
                                   .sticky = sticky,
                                   .half = half,
                                   .lazy = true};
    bool failed = true;
    while (failed) {
        struct lab lab;
        plan.at++;
        assert_true(plan.at < CALLS_MAX);
        lab_init(&lab);
        lab.options.reserve_bytes = 1 << 16;
        disk_fault_set(lab.dir, &lazy_plan);
        lab_must_open(&lab);
        disk_fault_set(lab.dir, &plan);
        uint64_t stored = work(&lab);
        if (!lab.failed) {
            /* Only a deletion between batches can fail after the last one. */
            failed = !lab_close(&lab);
        } else {
            assert_int_equal(lab.failure.failure, expected);
            assert_non_null(strstr(lab.failure.error, lab.dir));
            assert_non_null(strstr(lab.failure.error, "start this node again"));
            bool reserve = access(lab_path(&lab, "reserve"), F_OK) == 0;
            /* On a disk where unlink fails too there is nothing to be done. */
            assert_true(reserve == (expected != STORE_FAILURE_DISK_FULL) ||
                        sticky);
            check_dead(&lab);
        }
        check_left(&lab, stored, plan.at);
        lab_fini(&lab);
    }
    assert_true(plan.at > 30);
}

static void eio_once(void **state)
{
    (void)state;
    fail_everywhere(EIO, false, false, STORE_FAILURE_IO);
}

static void eio_from_then_on(void **state)
{
    (void)state;
    fail_everywhere(EIO, true, true, STORE_FAILURE_IO);
}

static void full_once(void **state)
{
    (void)state;
    fail_everywhere(ENOSPC, false, false, STORE_FAILURE_DISK_FULL);
}

static void full_from_then_on(void **state)
{
    (void)state;
    fail_everywhere(ENOSPC, true, true, STORE_FAILURE_DISK_FULL);
}

/* Opens under the plan. A fault that does not matter (our pid in the lock file) may go unnoticed. */
static void try_open(struct lab *lab, const struct disk_fault_plan *plan)
{
    disk_fault_set(lab->dir, plan);
    if (lab_open(lab)) {
        (void)lab_close(lab);
    } else {
        assert_non_null(strstr(lab->error, lab->dir));
    }
}

/* A failing disk while opening, for the first time and with something there: the next start finds everything. */
static uint64_t fail_open_at(const struct disk_fault_plan *plan)
{
    struct lab lab;
    lab_init(&lab);
    lab.options.reserve_bytes = 1 << 16;
    try_open(&lab, plan);
    uint64_t calls = disk_fault_calls();
    disk_fault_set(lab.dir, &lazy_plan);
    lab_must_open(&lab);
    assert_true(lab_fingerprint(&lab) == fingerprints[0]);
    lab_work(&lab, 1);
    lab_commit(&lab);
    lab_must_close(&lab);
    try_open(&lab, plan);
    check_left(&lab, 1, plan->at);
    lab_fini(&lab);
    return calls;
}

static void fail_while_opening(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC};
    uint64_t calls = fail_open_at(&lazy_plan);
    assert_true(calls > 20);
    for (size_t e = 0; e < countof(errors); e++) {
        struct disk_fault_plan plan = {
            .kind = DISK_FAULT_ERROR, .error = errors[e], .lazy = true};
        for (plan.at = 1; plan.at <= calls; plan.at++) {
            (void)fail_open_at(&plan);
        }
    }
}

/* While the disk hangs, everything that the loop calls returns, and what was there before is not repeated after. */
static void hung_disk(void **state)
{
    (void)state;
    const struct disk_fault_plan plan = {
        .kind = DISK_FAULT_STALL, .at = 3, .syncs = true, .lazy = true};
    struct lab lab;
    lab_init(&lab);
    disk_fault_set(lab.dir, &lazy_plan);
    lab_must_open(&lab);
    disk_fault_set(lab.dir, &plan);
    lab_append(&lab, 10);
    lab_commit(&lab);
    lab_append(&lab, 10);
    lab_commit(&lab);
    lab_append(&lab, 10);
    (void)store_commit(lab.s);
    disk_fault_wait_stalled();
    struct store_event event;
    struct store_stats stats;
    uint64_t batch = 0;
    uint64_t room = store_room(lab.s);
    for (uint32_t i = 0; i < 1000; i++) {
        lab_append(&lab, 1000);
        batch = store_commit(lab.s);
        store_read_log(lab.s, i, 1, 1, 1000);
        assert_false(store_next(lab.s, &event));
    }
    assert_true(store_room(lab.s) + 1000 * (uint64_t)1000 < room);
    do {
        store_stats(lab.s, &stats);
    } while (stats.oldest_wait_us == 0);
    assert_int_equal(stats.batches_waiting, 1001);
    assert_true(stats.queue_bytes > 1000000);
    disk_fault_release();
    for (uint32_t i = 0; i < 1000; i++) {
        lab_event(&lab, &event);
        assert_int_equal(event.type, STORE_READ);
        assert_int_equal(event.tag, i);
        assert_int_equal(event.records_n, 1);
    }
    assert_true(lab.stored == batch);
    lab_must_close(&lab);
    lab_fini(&lab);
}

/* Nobody can take back a thread from a hanging disk: close says so, and leaves it. */
static struct lab abandoned;
static struct store *abandoned_store;

static void close_gives_up(void **state)
{
    (void)state;
    const struct disk_fault_plan plan = {
        .kind = DISK_FAULT_STALL, .at = 1, .syncs = true, .lazy = true};
    lab_init(&abandoned);
    disk_fault_set(abandoned.dir, &lazy_plan);
    lab_must_open(&abandoned);
    disk_fault_set(abandoned.dir, &plan);
    lab_append(&abandoned, 10);
    (void)store_commit(abandoned.s);
    disk_fault_wait_stalled();
    abandoned_store = abandoned.s; /* for the leak checker */
    abandoned.s = NULL;
    assert_false(store_close(abandoned_store, 20));
    assert_int_equal(abandoned.wakes, 0);
    lab_fini(&abandoned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eio_once),
        cmocka_unit_test(eio_from_then_on),
        cmocka_unit_test(full_once),
        cmocka_unit_test(full_from_then_on),
        cmocka_unit_test(fail_while_opening),
        cmocka_unit_test(hung_disk),
        cmocka_unit_test(close_gives_up),
    };
    return cmocka_run_group_tests(tests, learn, NULL);
}
