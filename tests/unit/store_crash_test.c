/* store_crash_test.c - a process that ends, or loses power, at each of its calls to the disk.
 *
 * A child does the fixed work of store_lab.h and is cut off at its Nth call, for every N until it gets through. What it
 * left, and what a disk may hold of it after a loss of power, is opened: everything reported stored must be there, and of
 * the next batch all or nothing. What "there" means is known from a run without faults: one fingerprint for each batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/store.h"
#include "tests/fault/disk_fault.h"
#include "tests/fault/power_loss.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/store_lab.h"

#define CHOICES   5u
#define CALLS_MAX 2000u

/* What the child tells, in memory shared with it. */
struct told {
    uint64_t boot;
    uint64_t stored;
    struct disk_journal journal;
};

static uint64_t fingerprints[LAB_WORK_BATCHES + 1];
static struct told *told;

static const struct disk_fault_plan lazy_plan = {.lazy = true};

/* fingerprints[n]: what is there after n batches. */
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
        /* A trim beside a checkpoint aside, each batch shows. */
        assert_true(fingerprints[i] != fingerprints[i - 1]);
    }
    lab_must_close(&lab);
    lab_fini(&lab);
    told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return told == MAP_FAILED ? -1 : 0;
}

static int forget(void **state)
{
    (void)state;
    disk_fault_set(NULL, NULL);
    return munmap(told, sizeof(*told));
}

static void reset_told(void)
{
    told->boot = 0;
    told->stored = 0;
    told->journal.ops_n = 0;
    told->journal.pool_n = 0;
    told->journal.full = false;
}

/* In the child: the work, with what is stored told as soon as it's reported. Never returns. */
static void work(struct lab *lab, const struct disk_fault_plan *plan)
{
    disk_fault_journal(&told->journal);
    disk_fault_set(lab->dir, plan);
    lab_must_open(lab);
    told->boot = lab->boot.boot;
    for (uint32_t i = 1; i <= LAB_WORK_BATCHES; i++) {
        lab_work(lab, i);
        lab_commit(lab);
        told->stored = i;
    }
    lab_must_close(lab);
    _exit(0);
}

/* True if the child was cut off, false if it got through. */
static bool run_child(struct lab *lab, const struct disk_fault_plan *plan)
{
    int status = 0;
    reset_told();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        work(lab, plan);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    int code = WEXITSTATUS(status);
    assert_true(code == 0 || code == DISK_FAULT_EXIT);
    return code == DISK_FAULT_EXIT;
}

/* Opens what is left, and looks which batch it ends with. */
static void check_left(struct lab *lab, uint64_t at, uint64_t choice)
{
    disk_fault_set(lab->dir, &lazy_plan);
    if (!lab_open(lab)) {
        fail_msg("cut at call %llu, choice %llu: %s", (unsigned long long)at,
                 (unsigned long long)choice, lab->error);
    }
    uint64_t found = lab_fingerprint(lab);
    uint64_t batch = told->stored;
    while (batch <= LAB_WORK_BATCHES && fingerprints[batch] != found) {
        batch++;
    }
    if (batch > told->stored + 1 || batch > LAB_WORK_BATCHES) {
        fail_msg("cut at call %llu, choice %llu: after batch %llu was stored, "
                 "what is there is of no batch",
                 (unsigned long long)at, (unsigned long long)choice,
                 (unsigned long long)told->stored);
    }
    assert_true(lab->boot.boot > told->boot);
    /* And it goes on from there. */
    lab_append(lab, 10);
    lab_commit(lab);
    lab_must_close(lab);
}

static void cut_everywhere(bool half)
{
    struct disk_fault_plan plan = {
        .kind = DISK_FAULT_CUT, .half = half, .lazy = true};
    bool cut = true;
    uint64_t at = 0;
    while (cut) {
        struct lab lab;
        plan.at = ++at;
        assert_true(at < CALLS_MAX);
        lab_init(&lab);
        cut = run_child(&lab, &plan);
        assert_false(told->journal.full);
        check_left(&lab, at, 100);
        lab_fini(&lab);
        for (uint64_t choice = 0; choice < CHOICES; choice++) {
            struct lab after;
            lab_init(&after);
            uint64_t seed = choice < 2 ? choice : at * CHOICES + choice;
            assert_true(power_loss_image(&told->journal, seed, after.dir));
            check_left(&after, at, choice);
            lab_fini(&after);
        }
    }
    assert_true(at > 60); /* it was cut off at many places */
    assert_true(told->stored == LAB_WORK_BATCHES);
}

static void cut_before_each_call(void **state)
{
    (void)state;
    cut_everywhere(false);
}

static void cut_within_each_call(void **state)
{
    (void)state;
    cut_everywhere(true);
}

/* The rebuilding itself: dropping what was synced would be noticed. */
static void a_lying_disk_is_noticed(void **state)
{
    (void)state;
    const struct disk_fault_plan plan = {.lazy = true};
    struct lab lab;
    struct lab after;
    lab_init(&lab);
    assert_false(run_child(&lab, &plan));
    lab_fini(&lab);
    /* The last writes to the database never reached the disk, although they were synced. */
    for (uint32_t n = 0, i = told->journal.ops_n; i > 0 && n < 6; i--) {
        struct disk_op *op = &told->journal.ops[i - 1];
        if (op->type == DISK_OP_WRITE && op->file == DISK_FILE_DATA) {
            op->type = DISK_OP_SYNC;
            op->done = false;
            n++;
        }
    }
    lab_init(&after);
    assert_true(power_loss_image(&told->journal, 1, after.dir));
    disk_fault_set(after.dir, &lazy_plan);
    if (lab_open(&after)) {
        assert_true(lab_fingerprint(&after) != fingerprints[LAB_WORK_BATCHES]);
        lab_must_close(&after);
    }
    lab_fini(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_before_each_call),
        cmocka_unit_test(cut_within_each_call),
        cmocka_unit_test(a_lying_disk_is_noticed),
    };
    return cmocka_run_group_tests(tests, learn, forget);
}
