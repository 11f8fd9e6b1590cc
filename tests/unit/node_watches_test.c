/* Watches, with a registry, a history and a disk behind them, and clients in front that believe what they're told: whatever the room on
 * their connections, in the end they must believe what's true, and never have seen a revision twice or out of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/codec.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/node_watch_rig.h"

/* --- the state, then events ------------------------------------------------------------------------------------------ */

static void test_state_then_events(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    uint64_t first = rig_session(r, l, "ns/g/d/t1");
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    /* Nothing is told before the pump. */
    assert_int_equal(c->parts, 0);
    assert_false(rig_pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_true(rig_believes(c, first));
    assert_int_equal(c->scopes, 2); /* the group's and the device's */
    assert_int_equal(c->revision, r->kit.index);
    uint64_t second = rig_session(r, l, "ns/g/d/t2");
    assert_true(rig_believes(c, second));
    rig_close_session(r, l, first);
    assert_false(rig_believes(c, first));
    assert_int_equal(c->revision, r->kit.index);
    rig_fini(r);
}

static void test_filters(void **state)
{
    struct rig *r = *state;
    const struct rig_filter filters[] = {
        {NULL, NULL, 0, 0}, {"a", NULL, 0, 0}, {"a", "g1", 0, 0},
        {"b", "g1", 0, 0},  {"c", NULL, 0, 0}, {"a", "none", 0, 0},
    };
    rig_init(r, NULL, 1u << 20);
    uint64_t l1 = rig_lease(r, 1);
    uint64_t l2 = rig_lease(r, 2);
    uint64_t early = rig_session(r, l1, "a/g1/d/t");
    (void)rig_session(r, l2, "a/g2/d/t");
    for (uint32_t i = 0; i < countof(filters); i++) {
        (void)rig_watch(r, i, filters[i]);
    }
    const struct rig_filter leased = {.lease = l2};
    struct rig_client *of_lease = rig_watch(r, 6, leased);
    rig_settle(r);
    (void)rig_session(r, l2, "a/g1/d/t2");
    (void)rig_session(r, l1, "b/g1/d/t");
    (void)rig_session(r, l2, "c/g9/d/t"); /* a namespace that wasn't there */
    rig_close_session(r, l1, early);
    rig_settle(r);
    for (uint32_t i = 0; i < countof(filters); i++) {
        assert_true(r->clients[i].synced);
        assert_int_equal(r->clients[i].resets, 0);
        rig_assert_true_belief(r, &r->clients[i], filters[i]);
    }
    /* The lease's watch hears of its own sessions' scopes too: its tab leads a/g1 now. */
    assert_true(of_lease->synced);
    for (uint32_t s = 1; s <= registry_session_slots(r->kit.r); s++) {
        struct session_view v;
        if (registry_session_at(r->kit.r, s, &v) && v.lease == l2) {
            assert_true(rig_believes(of_lease, v.id));
        }
    }
    assert_int_equal(r->clients[5].events, 0);
    rig_fini(r);
}

/* --- slow ones ---------------------------------------------------------------------------------------------------------- */

static void test_lags_and_catches_up(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    struct rig_client *c =
        rig_watch(r, 0, (struct rig_filter){.namespace_name = "ns"});
    rig_settle(r);
    c->takes = false;
    (void)rig_session(r, l, "ns/g/d/t1");
    (void)rig_session(r, l, "other/g/d/t1");
    (void)rig_session(r, l, "ns/g/d/t2");
    (void)rig_pump(r);
    assert_int_equal(c->batches, 0);
    rig_settle(r);
    /* From memory, in order, without starting anew, and only its own. */
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->batches, 2);
    rig_assert_true_belief(r, c, (struct rig_filter){.namespace_name = "ns"});
    (void)rig_session(r, l, "ns/g/d/t3");
    assert_int_equal(c->batches, 3);
    rig_fini(r);
}

static void test_catches_up_from_disk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096); /* a few batches in memory */
    uint64_t l = rig_lease(r, 1);
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    c->takes = false;
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_session(r, l, path);
    }
    assert_true(history_from(r->history) > 30);
    rig_settle(r);
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->batches, 60);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

/* While the disk is asked, so much happens that memory begins behind what the disk was asked for. */
static void test_memory_moves_on_while_disk_reads(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, &rig_many, 4096);
    uint64_t l = rig_lease(r, 1);
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    c->takes = false;
    for (uint32_t i = 0; i < 120; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_quick_session(r, l, path);
        if (i == 59) {
            rig_disk(r);
            c->takes = true;
            (void)rig_pump(r); /* asks the disk for the first 60 */
        }
    }
    rig_settle(r);
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->batches, 120);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

static void test_beyond_the_horizon(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = rig_lease(r, 1);
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    c->takes = false;
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_session(r, l, path);
    }
    /* The disk keeps less than it missed. */
    r->horizon = r->kit.index - 5;
    rig_settle(r);
    assert_int_equal(c->resets, 1);
    assert_true(c->synced);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    /* Asked for by name, it's the same. */
    struct rig_client *late = rig_watch(r, 1, (struct rig_filter){.from = 3});
    rig_settle(r);
    assert_int_equal(late->resets, 1);
    rig_assert_true_belief(r, late, (struct rig_filter){.from = 0});
    rig_fini(r);
}

/* The disk trimmed it between the question and the answer. */
static void test_gone_from_disk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = rig_lease(r, 1);
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_session(r, l, path);
    }
    store_trim_events(r->store, r->kit.index - 5);
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 3});
    rig_settle(r);
    assert_int_equal(c->resets, 1);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

static void test_resumes(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    uint64_t old = rig_session(r, l, "ns/g/d/t1");
    uint64_t from = r->kit.index + 1;
    uint64_t missed = rig_session(r, l, "ns/g/d/t2");
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = from});
    rig_settle(r);
    assert_int_equal(c->resets, 0);
    assert_false(c->synced); /* no state: it has that already */
    assert_int_equal(c->batches, 1);
    assert_true(rig_believes(c, missed));
    assert_false(rig_believes(c, old));
    rig_fini(r);
}

/* It was told of a revision by a node that's ahead of this one: nothing twice, nothing left out. */
static void test_from_the_future(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    struct rig_client *c =
        rig_watch(r, 0, (struct rig_filter){.from = r->kit.index + 3});
    rig_settle(r);
    (void)rig_session(r, l, "ns/g/d/t1"); /* known to it */
    (void)rig_session(r, l, "ns/g/d/t2"); /* likewise */
    rig_settle(r);
    assert_int_equal(c->batches, 0);
    uint64_t fresh = rig_session(r, l, "ns/g/d/t3");
    rig_settle(r);
    assert_int_equal(c->batches, 1);
    assert_true(rig_believes(c, fresh));
    (void)rig_session(r, l, "ns/g/d/t4");
    assert_int_equal(c->batches, 2); /* live */
    rig_fini(r);
}

/* --- opening and closing ------------------------------------------------------------------------------------------------ */

static void test_refusals(void **state)
{
    struct rig *r = *state;
    static char long_name[NAME_BYTES_MAX + 2];
    uint32_t reason = 0;
    memset(long_name, 'x', NAME_BYTES_MAX + 1);
    rig_init(r, NULL, 1u << 20);
    const struct {
        struct rig_filter filter;
        uint32_t reason;
    } invalid[] = {
        {{"a/b", NULL, 0, 0}, REASON_NAMESPACE},
        {{long_name, NULL, 0, 0}, REASON_NAMESPACE},
        {{"a\n", NULL, 0, 0}, REASON_NAMESPACE},
        {{"a", "b/c", 0, 0}, REASON_GROUP},
        {{NULL, "g", 0, 0}, REASON_GROUP},
        {{"a", long_name, 0, 0}, REASON_GROUP},
    };
    for (size_t i = 0; i < countof(invalid); i++) {
        assert_int_equal(rig_try_watch(r, 0, 1, invalid[i].filter, &reason),
                         BATON_INVALID);
        assert_int_equal(reason, invalid[i].reason);
    }
    const struct rig_filter all = {.from = 0};
    assert_int_equal(rig_try_watch(r, 0, 1, all, &reason), BATON_OK);
    assert_int_equal(rig_try_watch(r, 0, 1, all, &reason), BATON_CONFLICT);
    for (uint64_t id = 2; id <= 4; id++) {
        assert_int_equal(rig_try_watch(r, 0, id, all, &reason), BATON_OK);
    }
    assert_int_equal(rig_try_watch(r, 0, 5, all, &reason), BATON_LIMIT);
    assert_int_equal(reason, REASON_WATCHES_CONNECTION);
    for (uint64_t id = 1; id <= 4; id++) {
        assert_int_equal(rig_try_watch(r, 1, id, all, &reason), BATON_OK);
    }
    assert_int_equal(watches_count(r->ws), 8);
    assert_int_equal(rig_try_watch(r, 2, 1, all, &reason), BATON_LIMIT);
    assert_int_equal(reason, REASON_WATCHES_NODE);
    /* Closed ones make room; unknown ones are nobody's business. */
    watches_close(r->ws, 1, 99);
    watches_close(r->ws, 7, 1);
    assert_int_equal(watches_count(r->ws), 8);
    watches_close(r->ws, 1, 2);
    assert_int_equal(watches_count(r->ws), 7);
    assert_int_equal(rig_try_watch(r, 2, 1, all, &reason), BATON_OK);
    watches_close_conn(r->ws, 2);
    assert_int_equal(watches_count(r->ws), 4);
    watches_close_conn(r->ws, 2);
    watches_close_conn(r->ws, 1);
    watches_close_conn(r->ws, 3);
    assert_int_equal(watches_count(r->ws), 0);
    assert_false(rig_pump(r));
    rig_fini(r);
}

static void test_closed_is_told_nothing(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    struct rig_client *a = rig_watch(r, 0, (struct rig_filter){.from = 0});
    struct rig_client *b = rig_watch(r, 1, (struct rig_filter){.from = 0});
    rig_settle(r);
    watches_close(r->ws, 1, 100);
    uint32_t parts = a->parts;
    (void)rig_session(r, l, "ns/g/d/t1");
    rig_settle(r);
    assert_int_equal(a->parts, parts);
    assert_int_equal(b->batches, 1);
    rig_fini(r);
}

/* A slot's next owner isn't given what the disk has for the one before. */
static void test_answer_for_one_that_left(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = rig_lease(r, 1);
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_session(r, l, path);
    }
    (void)rig_watch(r, 0, (struct rig_filter){.from = 2});
    (void)rig_pump(r); /* asks the disk */
    watches_close_conn(r->ws, 1);
    struct rig_client *next =
        rig_watch(r, 1, (struct rig_filter){.from = r->kit.index - 20});
    (void)rig_pump(r); /* likewise */
    rig_disk(r);
    assert_int_equal(r->clients[0].batches, 0);
    rig_settle(r);
    assert_int_equal(next->batches, 21);
    assert_int_equal(next->resets, 0);
    rig_fini(r);
}

static void test_reset_of_all(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    (void)rig_session(r, l, "ns/g/d/t1");
    struct rig_client *a = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    struct rig_client *b = rig_watch(r, 1, (struct rig_filter){.from = 0});
    watches_reset(r->ws);
    rig_settle(r);
    assert_int_equal(a->resets, 1);
    assert_int_equal(b->resets, 1);
    rig_assert_true_belief(r, a, (struct rig_filter){.from = 0});
    rig_assert_true_belief(r, b, (struct rig_filter){.from = 0});
    rig_fini(r);
}

/* --- at random ------------------------------------------------------------------------------------------------------------ */

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static void change(struct rig *r, uint64_t l, uint64_t *open, uint32_t *open_n,
                   uint32_t *x)
{
    char path[64];
    uint32_t i = next_random(x) % 64;
    if (open[i] != 0) {
        rig_close_session(r, l, open[i]);
        open[i] = 0;
        (*open_n)--;
        return;
    }
    (void)snprintf(path, sizeof path, "n%u/g%u/d%u/t%u", i % 3, i % 7, i % 2,
                   i);
    open[i] = rig_session(r, l, path);
    (*open_n)++;
}

static void run_seed(struct rig *r, uint32_t seed)
{
    const struct rig_filter filters[] = {{NULL, NULL, 0, 0},
                                         {"n1", NULL, 0, 0},
                                         {"n2", "g2", 0, 0},
                                         {"n0", "g6", 0, 0}};
    uint64_t open[64] = {0};
    uint32_t open_n = 0;
    uint32_t x = seed;
    rig_init(r, NULL, 1u << (12 + seed % 6));
    uint64_t l = rig_lease(r, 1);
    for (uint32_t i = 0; i < 8; i++) {
        (void)rig_watch(r, i, filters[i % countof(filters)]);
    }
    for (int step = 0; step < 600; step++) {
        uint32_t what = next_random(&x) % 20;
        struct rig_client *c = &r->clients[next_random(&x) % 8];
        if (what < 10) {
            change(r, l, open, &open_n, &x);
        } else if (what < 13) {
            c->takes = !c->takes;
        } else if (what < 16) {
            c->room = next_random(&x) % 2 == 0 ? 0 : 300u << 10;
        } else if (what < 18) {
            (void)rig_pump(r);
        } else if (what < 19) {
            rig_disk(r);
        } else if (r->kit.index > 20) {
            r->horizon = max_u64(r->horizon, r->kit.index - 20);
        }
    }
    rig_settle(r);
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(r->clients[i].synced);
        rig_assert_true_belief(r, &r->clients[i],
                               filters[i % countof(filters)]);
    }
    /* They're live: the next one is told at once. */
    uint32_t before = r->clients[0].batches;
    change(r, l, open, &open_n, &x);
    assert_int_equal(r->clients[0].batches, before + 1);
    rig_fini(r);
}

static void test_random(void **state)
{
    for (uint32_t seed = 1; seed <= 12; seed++) {
        run_seed(*state, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_then_events),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_lags_and_catches_up),
        cmocka_unit_test(test_catches_up_from_disk),
        cmocka_unit_test(test_memory_moves_on_while_disk_reads),
        cmocka_unit_test(test_beyond_the_horizon),
        cmocka_unit_test(test_gone_from_disk),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_from_the_future),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_closed_is_told_nothing),
        cmocka_unit_test(test_answer_for_one_that_left),
        cmocka_unit_test(test_reset_of_all),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, rig_make, rig_drop);
}
