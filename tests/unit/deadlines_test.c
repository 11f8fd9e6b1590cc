/* The timing wheel of leases, beside a plain table of the same rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/deadlines.h"
#include "tests/unit/assert_stub.h"

#define LEASES 200u
/* A deadline is noticed when its bucket comes up, and one that was put back a bucket later. */
#define LATE_MS 128u

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static struct deadlines *make(uint64_t now_ms)
{
    void *memory = calloc(1, deadlines_bytes(LEASES));
    assert_non_null(memory);
    return deadlines_init(memory, LEASES, now_ms);
}

/* The first time, in steps of 10 ms, at which the lease is reported. */
static uint64_t expires_at(struct deadlines *d, uint32_t slot, uint64_t from_ms,
                           uint64_t to_ms)
{
    uint32_t out[LEASES];
    for (uint64_t now = from_ms; now <= to_ms; now += 10) {
        uint32_t n = deadlines_expired(d, now, out, countof(out));
        deadlines_check(d);
        for (uint32_t i = 0; i < n; i++) {
            if (out[i] == slot) {
                return now;
            }
        }
    }
    return UINT64_MAX;
}

static void assert_soon(uint64_t at_ms, uint64_t deadline_ms)
{
    assert_true(at_ms >= deadline_ms);
    assert_true(at_ms <= deadline_ms + LATE_MS + 10);
}

static void test_expires_once(void **state)
{
    (void)state;
    uint32_t out[4];
    struct deadlines *d = make(5000);
    assert_int_equal(deadlines_of(d, 7), UINT64_MAX);
    deadlines_logged(d, 7, 2000, 100, 5000);
    assert_int_equal(deadlines_of(d, 7), 7000);
    assert_soon(expires_at(d, 7, 5000, 20000), 7000);
    assert_true(deadlines_expiring(d, 7));
    assert_int_equal(deadlines_expired(d, 90000, out, 4), 0);
    /* It's on its way out: no heartbeat is taken any more. */
    assert_false(deadlines_heard(d, 7, 7100));
    deadlines_remove(d, 7);
    assert_false(deadlines_expiring(d, 7));
    assert_int_equal(deadlines_of(d, 7), UINT64_MAX);
    free(d);
}

static void test_unknown_slot(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    assert_false(deadlines_heard(d, 3, 10));
    assert_false(deadlines_must_log(d, 3, 1000000));
    assert_false(deadlines_expiring(d, 3));
    deadlines_rearm(d, 3, 10);
    deadlines_remove(d, 3);
    deadlines_check(d);
    assert_int_equal(deadlines_of(d, 3), UINT64_MAX);
    free(d);
}

static void test_heard_moves_the_deadline(void **state)
{
    (void)state;
    struct deadlines *d = make(1000);
    deadlines_logged(d, 1, 3000, 0, 1000);
    for (uint64_t now = 2000; now <= 100000; now += 2000) {
        assert_int_equal(expires_at(d, 1, now, now), UINT64_MAX);
        assert_true(deadlines_heard(d, 1, now));
    }
    /* Late answers to an earlier heartbeat change nothing. */
    assert_true(deadlines_heard(d, 1, 90000));
    assert_int_equal(deadlines_of(d, 1), 103000);
    assert_soon(expires_at(d, 1, 100000, 120000), 103000);
    free(d);
}

static void test_long_ttl_goes_round(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    /* 600 s are nine rounds of the wheel. */
    deadlines_logged(d, 1, 600000, 0, 0);
    deadlines_logged(d, 2, 65536, 0, 0); /* just a round */
    deadlines_logged(d, 3, 65600, 0, 0);
    assert_soon(expires_at(d, 2, 0, 70000), 65536);
    assert_true(deadlines_expiring(d, 3) ||
                expires_at(d, 3, 65600, 70000) <= 65600 + LATE_MS + 10);
    assert_soon(expires_at(d, 1, 70000, 700000), 600000);
    free(d);
}

static void test_must_log(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    deadlines_logged(d, 1, 10000, 50000, 0);
    assert_false(deadlines_must_log(d, 1, 50000));
    assert_false(deadlines_must_log(d, 1, 50000 + DEADLINES_UNLOGGED_MS));
    assert_true(deadlines_must_log(d, 1, 50001 + DEADLINES_UNLOGGED_MS));
    /* Heartbeats alone don't help. */
    assert_true(deadlines_heard(d, 1, 9000));
    assert_true(deadlines_must_log(d, 1, 50001 + DEADLINES_UNLOGGED_MS));
    deadlines_logged(d, 1, 10000, 81000, 9000);
    assert_false(deadlines_must_log(d, 1, 81000));
    /* An older entry applied later (a replay) doesn't take it back. */
    deadlines_logged(d, 1, 10000, 60000, 9000);
    assert_false(deadlines_must_log(d, 1, 81000 + DEADLINES_UNLOGGED_MS));
    free(d);
}

/* A note of who renewed is of the past: it's what a new leader inherits from, and no sign of life of now. */
static void test_a_note_does_not_move_the_deadline(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    deadlines_logged(d, 1, 10000, 1000, 1000);
    deadlines_touched_at(d, 1, 9000);
    assert_int_equal(deadlines_of(d, 1), 11000);
    assert_false(deadlines_must_log(d, 1, 9000 + DEADLINES_UNLOGGED_MS));
    deadlines_takeover(d, 5000, 5000);
    assert_int_equal(deadlines_of(d, 1), 15000);
    deadlines_touched_at(d, 2, 9000); /* isn't there: nothing */
    assert_int_equal(deadlines_of(d, 2), UINT64_MAX);
    free(d);
}

static void test_takeover_gives_the_full_ttl(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    for (uint32_t s = 1; s <= LEASES; s++) {
        deadlines_logged(d, s, 5000, 1000, 0);
    }
    /* A follower's wheel stands still; the leader fell silent at 4,000, and we lead from 9,000 on. */
    deadlines_takeover(d, 9000, 10000);
    for (uint32_t s = 1; s <= LEASES; s++) {
        assert_int_equal(deadlines_of(d, s), 14000);
    }
    assert_soon(expires_at(d, LEASES, 9000, 30000), 14000);
    free(d);
}

/* A lease that can't have been acknowledged for a while gets less than its TTL, so that it can't ride on leader changes for ever. */
static void test_takeover_bounds_the_dead(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    const uint64_t logged = 100000;
    deadlines_logged(d, 1, 5000, logged, 0);
    /* Cluster time is 10 s past the last moment at which somebody could have acknowledged it unlogged. */
    deadlines_takeover(d, 200000, logged + DEADLINES_UNLOGGED_MS + 10000);
    assert_int_equal(deadlines_of(d, 1), 200000 - 10000 + 5000);
    /* It's past that already: reported at once. */
    assert_int_equal(expires_at(d, 1, 200000, 200000), 200000);
    deadlines_remove(d, 1);
    /* Even if the node's clock is younger than that. */
    deadlines_logged(d, 2, 5000, 1, 0);
    deadlines_takeover(d, 200001, 1000000);
    assert_int_equal(deadlines_of(d, 2), 5000);
    free(d);
}

static void test_rearm(void **state)
{
    (void)state;
    struct deadlines *d = make(0);
    deadlines_logged(d, 1, 1000, 0, 0);
    assert_soon(expires_at(d, 1, 0, 5000), 1000);
    /* A command of the lease was applied before its expiry. */
    deadlines_logged(d, 1, 1000, 1100, 1100);
    assert_true(deadlines_expiring(d, 1));
    deadlines_rearm(d, 1, 1150);
    assert_false(deadlines_expiring(d, 1));
    assert_int_equal(deadlines_of(d, 1), 2100);
    assert_soon(expires_at(d, 1, 1150, 5000), 2100);
    /* The proposal was refused: it's reported again, not sooner than asked. */
    deadlines_rearm(d, 1, 3000);
    assert_soon(expires_at(d, 1, 3000, 5000), 3000);
    /* One that isn't expiring stays as it is. */
    deadlines_rearm(d, 1, 3100);
    deadlines_rearm(d, 1, 9000);
    deadlines_check(d);
    assert_soon(expires_at(d, 1, 3100, 5000), 3100);
    free(d);
}

static void test_long_stop(void **state)
{
    (void)state;
    uint32_t out[LEASES];
    bool seen[LEASES + 1] = {false};
    struct deadlines *d = make(0);
    for (uint32_t s = 1; s <= LEASES; s++) {
        deadlines_logged(d, s, 1000 + s * 700, 0, 0);
    }
    /* A day later, in one call: everything, once. */
    uint32_t n = deadlines_expired(d, 86400000, out, LEASES);
    assert_int_equal(n, LEASES);
    for (uint32_t i = 0; i < n; i++) {
        assert_false(seen[out[i]]);
        seen[out[i]] = true;
    }
    deadlines_check(d);
    free(d);
}

static void test_bounded_answers(void **state)
{
    (void)state;
    uint32_t out[7];
    uint32_t total = 0;
    struct deadlines *d = make(0);
    for (uint32_t s = 1; s <= LEASES; s++) {
        deadlines_logged(d, s, 1000, 0, 0);
    }
    for (int i = 0; i < 100 && total < LEASES; i++) {
        uint32_t n = deadlines_expired(d, 5000, out, countof(out));
        assert_true(n > 0);
        assert_true(n <= countof(out));
        total += n;
        deadlines_check(d);
    }
    assert_int_equal(total, LEASES);
    assert_int_equal(deadlines_expired(d, 5000, out, countof(out)), 0);
    free(d);
}

static void test_touched(void **state)
{
    (void)state;
    uint32_t out[4];
    uint32_t cursor = 0;
    struct deadlines *d = make(0);
    for (uint32_t s = 1; s <= 10; s++) {
        deadlines_logged(d, s, 5000, 0, 0);
        if (s % 2 == 0) {
            assert_true(deadlines_heard(d, s, 100));
        }
    }
    assert_int_equal(deadlines_touched(d, &cursor, out, 4), 4);
    assert_int_equal(out[0], 2);
    assert_int_equal(out[3], 8);
    assert_int_equal(deadlines_touched(d, &cursor, out, 4), 1);
    assert_int_equal(out[0], 10);
    assert_int_equal(deadlines_touched(d, &cursor, out, 4), 0);
    /* Looking cleared the marks. */
    cursor = 0;
    assert_int_equal(deadlines_touched(d, &cursor, out, 4), 0);
    assert_true(deadlines_heard(d, 3, 200));
    assert_true(deadlines_heard(d, 4, 200));
    /* What was logged meanwhile needs no touch. */
    deadlines_logged(d, 4, 5000, 300, 300);
    deadlines_remove(d, 5);
    cursor = 0;
    assert_int_equal(deadlines_touched(d, &cursor, out, 4), 1);
    assert_int_equal(out[0], 3);
    free(d);
}

/* --- the same by a plain table ------------------------------------------------------------------------------------------ */

struct plain {
    bool there;
    bool expiring;
    bool marked;
    uint64_t heard_ms;
    uint64_t logged_ms;
    uint64_t ttl_ms;
    uint64_t not_before_ms; /* rearm */
};

struct world {
    struct deadlines *d;
    struct plain leases[LEASES + 1];
    uint64_t now_ms;
    uint64_t cluster_ms;
    uint64_t takeover_ms;
    uint64_t takeover_cluster_ms;
    uint32_t x;
};

static uint64_t plain_deadline(const struct world *w, const struct plain *p)
{
    uint64_t latest = p->logged_ms + DEADLINES_UNLOGGED_MS;
    uint64_t age =
        w->takeover_cluster_ms > latest ? w->takeover_cluster_ms - latest : 0;
    uint64_t given = w->takeover_ms > age ? w->takeover_ms - age : 0;
    return max_u64(p->heard_ms, given) + p->ttl_ms;
}

static void one_step(struct world *w)
{
    uint32_t slot = 1 + next_random(&w->x) % LEASES;
    struct plain *p = &w->leases[slot];
    switch (next_random(&w->x) % 8) {
    case 0:
    case 1:
        if (!p->there) {
            *p = (struct plain){.there = true};
            p->ttl_ms = 1000 + next_random(&w->x) % 100000;
        }
        p->logged_ms = w->cluster_ms;
        p->heard_ms = w->now_ms;
        p->marked = false;
        deadlines_logged(w->d, slot, (uint32_t)p->ttl_ms, w->cluster_ms,
                         w->now_ms);
        break;
    case 2:
        deadlines_remove(w->d, slot);
        *p = (struct plain){.there = false};
        break;
    case 3:
        if (p->there && p->expiring) {
            deadlines_rearm(w->d, slot, w->now_ms);
            p->expiring = false;
            p->not_before_ms = w->now_ms;
        }
        break;
    default:
        assert_int_equal(deadlines_heard(w->d, slot, w->now_ms),
                         p->there && !p->expiring);
        if (p->there && !p->expiring) {
            p->heard_ms = w->now_ms;
            p->marked = true;
        }
        break;
    }
}

static void expire(struct world *w)
{
    uint32_t out[LEASES];
    uint32_t n = deadlines_expired(w->d, w->now_ms, out, LEASES);
    for (uint32_t i = 0; i < n; i++) {
        struct plain *p = &w->leases[out[i]];
        assert_true(p->there);
        assert_false(p->expiring);
        /* Never early. */
        assert_true(plain_deadline(w, p) <= w->now_ms);
        p->expiring = true;
    }
    for (uint32_t s = 1; s <= LEASES; s++) {
        const struct plain *p = &w->leases[s];
        uint64_t due = max_u64(plain_deadline(w, p), p->not_before_ms);
        /* Never late. */
        assert_false(p->there && !p->expiring && due + LATE_MS <= w->now_ms);
        assert_int_equal(deadlines_of(w->d, s),
                         p->there ? plain_deadline(w, p) : UINT64_MAX);
        assert_int_equal(deadlines_expiring(w->d, s), p->there && p->expiring);
    }
}

static void touch(struct world *w)
{
    uint32_t out[LEASES];
    uint32_t cursor = 0;
    uint32_t n = deadlines_touched(w->d, &cursor, out, LEASES);
    for (uint32_t i = 0; i < n; i++) {
        struct plain *p = &w->leases[out[i]];
        assert_true(p->there && !p->expiring && p->marked);
        p->marked = false;
    }
    for (uint32_t s = 1; s <= LEASES; s++) {
        const struct plain *p = &w->leases[s];
        assert_false(p->there && !p->expiring && p->marked);
    }
}

static void run_seed(uint32_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->x = seed;
    w->now_ms = 1000 + next_random(&w->x) % 1000;
    w->takeover_ms = w->now_ms;
    w->cluster_ms = 7000000;
    w->d = make(w->now_ms);
    for (int step = 0; step < 4000; step++) {
        uint32_t dice = next_random(&w->x) % 100;
        one_step(w);
        uint64_t passed = dice < 90   ? next_random(&w->x) % 50
                          : dice < 99 ? next_random(&w->x) % 3000
                                      : next_random(&w->x) % 200000;
        w->now_ms += passed;
        w->cluster_ms += passed;
        if (dice == 50) {
            deadlines_takeover(w->d, w->now_ms, w->cluster_ms);
            w->takeover_ms = w->now_ms;
            w->takeover_cluster_ms = w->cluster_ms;
        }
        if (dice % 2 == 0) {
            expire(w);
        }
        if (dice == 51) {
            touch(w);
        }
        if (step % 50 == 0) {
            deadlines_check(w->d);
        }
    }
    free(w->d);
    free(w);
}

static void test_same_as_a_table(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        run_seed(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expires_once),
        cmocka_unit_test(test_unknown_slot),
        cmocka_unit_test(test_heard_moves_the_deadline),
        cmocka_unit_test(test_long_ttl_goes_round),
        cmocka_unit_test(test_must_log),
        cmocka_unit_test(test_a_note_does_not_move_the_deadline),
        cmocka_unit_test(test_takeover_gives_the_full_ttl),
        cmocka_unit_test(test_takeover_bounds_the_dead),
        cmocka_unit_test(test_rearm),
        cmocka_unit_test(test_long_stop),
        cmocka_unit_test(test_bounded_answers),
        cmocka_unit_test(test_touched),
        cmocka_unit_test(test_same_as_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
