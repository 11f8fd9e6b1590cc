/* The walk that tells a new watch the state: in parts, as there's room, while things go on happening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/watch_state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/node_watch_rig.h"

/* More groups than one pump walks. What happens meanwhile is told if it's about what was walked, and left to the walk if not. */
static void test_events_during_the_walk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, &rig_many, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    for (uint32_t i = 0; i < 4100; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_quick_session(r, l, path);
    }
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    c->room = 64u << 20;
    assert_true(rig_pump(r));
    assert_false(c->synced);
    assert_true(c->sessions_n >= 1024);
    uint32_t before = c->batches;
    uint64_t walked = rig_quick_session(r, l, "ns/g5/d/late");
    assert_int_equal(c->batches, before + 1);
    assert_true(rig_believes(c, walked));
    uint64_t ahead = rig_quick_session(r, l, "ns/g4099/d/late");
    uint64_t newer = rig_quick_session(r, l, "ns/new/d/t");
    assert_int_equal(c->batches, before + 1);
    assert_false(rig_believes(c, ahead));
    rig_settle(r);
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_true(rig_believes(c, ahead));
    assert_true(rig_believes(c, newer));
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

static void test_walk_waits_for_room(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    (void)rig_session(r, l, "ns/g/d/t1");
    r->clients[0].room = 1000;
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    assert_false(rig_pump(r));
    assert_int_equal(c->parts, 0);
    c->room = RIG_ROOM_FULL;
    assert_false(rig_pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    rig_fini(r);
}

/* Opens and closes at random what is told just now. */
static void churn(struct rig *r, uint64_t on, uint64_t *ids, uint32_t n,
                  uint32_t *seed)
{
    char path[64];
    for (uint32_t i = 0; i < 3; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        uint32_t at = (*seed >> 8) % n;
        if (ids[at] != 0) {
            rig_quick_close(r, on, ids[at]);
            ids[at] = 0;
        } else {
            (void)snprintf(path, sizeof path, "ns/g/d%u/t%u", at / 3, at);
            ids[at] = rig_quick_session(r, on, path);
        }
    }
}

/* One group, far larger than what a connection takes at once, and changing meanwhile: it's told to the end, without beginning anew. */
static void told_in_parts(struct rig *r, struct rig_filter f)
{
    enum {
        N = 3000
    };
    static uint64_t ids[N];
    char path[64];
    uint32_t seed = 7;
    rig_init(r, &rig_many, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    uint64_t other = rig_lease(r, 2);
    f.lease = f.lease == 0 ? 0 : l;
    for (uint32_t i = 0; i < N; i++) {
        (void)snprintf(path, sizeof path, "ns/g/d%u/t%u", i / 3, i);
        ids[i] = rig_quick_session(r, l, path);
        (void)snprintf(path, sizeof path, "ns/h/d%u/t%u", i / 3, i);
        (void)rig_quick_session(r, other, path);
    }
    struct rig_client *c = rig_watch(r, 0, f);
    uint32_t pumps = 0;
    for (; !c->synced; pumps++) {
        assert_true(pumps < 1000);
        c->room = 264u << 10;
        (void)rig_pump(r);
        churn(r, l, ids, N, &seed);
    }
    assert_true(pumps > 10);
    rig_settle(r);
    assert_int_equal(c->resets, 0);
    rig_assert_true_belief(r, c, f);
    rig_fini(r);
}

static void test_large_group(void **state)
{
    told_in_parts(*state,
                  (struct rig_filter){.namespace_name = "ns", .group = "g"});
}

static void test_large_groups(void **state)
{
    told_in_parts(*state, (struct rig_filter){.from = 0});
}

static void test_large_lease(void **state)
{
    told_in_parts(*state, (struct rig_filter){.lease = 1});
}

/* The session told last goes away, and so does its whole group: what's there then is told. */
static void test_walk_loses_its_place(void **state)
{
    struct rig *r = *state;
    char path[64];
    struct rig_filter f = {.namespace_name = "ns", .group = "g"};
    rig_init(r, &rig_many, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    uint64_t ids[2000];
    for (uint32_t i = 0; i < countof(ids); i++) {
        (void)snprintf(path, sizeof path, "ns/g/d%u/t", i);
        ids[i] = rig_quick_session(r, l, path);
    }
    struct rig_client *c = rig_watch(r, 0, f);
    c->room = 300u << 10;
    (void)rig_pump(r);
    assert_true(c->sessions_n > 0 && c->sessions_n < countof(ids));
    c->room = 64u << 20;
    for (uint32_t i = 0; i < countof(ids); i++) {
        if (rig_believes(c, ids[i])) {
            rig_quick_close(r, l, ids[i]);
        }
    }
    c->room = 300u << 10;
    (void)rig_pump(r);
    assert_false(c->synced);
    c->room = 64u << 20;
    for (uint32_t i = 0; i < countof(ids); i++) {
        struct session_view v;
        if (registry_session(r->kit.r, ids[i], &v) == BATON_OK) {
            rig_quick_close(r, l, ids[i]);
        }
    }
    assert_int_equal(c->sessions_n, 0);
    uint64_t taken = rig_quick_session(r, l, "ns/other/d/t");
    uint64_t again = rig_quick_session(r, l, "ns/g/d/t");
    rig_settle(r);
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_false(rig_believes(c, taken));
    assert_true(rig_believes(c, again));
    rig_assert_true_belief(r, c, f);
    rig_fini(r);
}

/* A pump does a bounded work, however many begin at once; none of them waits for ever. */
static void test_many_walk_at_once(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, &rig_many, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    for (uint32_t i = 0; i < 3000; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)rig_quick_session(r, l, path);
    }
    for (uint32_t i = 0; i < RIG_CLIENTS_MAX; i++) {
        (void)rig_watch(r, i, (struct rig_filter){.from = 0});
    }
    uint32_t told = 0;
    for (uint32_t pumps = 0; told < RIG_CLIENTS_MAX * 3000; pumps++) {
        assert_true(pumps < 100);
        uint32_t before = told;
        for (uint32_t i = 0; i < RIG_CLIENTS_MAX; i++) {
            r->clients[i].room = 64u << 20;
        }
        (void)rig_pump(r);
        told = 0;
        for (uint32_t i = 0; i < RIG_CLIENTS_MAX; i++) {
            told += r->clients[i].sessions_n;
        }
        assert_true(told - before <= WATCH_STEPS_A_PUMP);
    }
    rig_fini(r);
}

/* What happens between the decision to begin anew and the word that says so would be taken for what comes next. */
static void test_nothing_before_reset(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    (void)rig_session(r, l, "ns/g/d/t");
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    uint32_t told = c->batches;
    watches_reset(r->ws);
    (void)rig_lease(r, 2);
    assert_int_equal(c->batches, told);
    rig_settle(r);
    assert_int_equal(c->resets, 1);
    assert_true(c->synced);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

/* As long as some may go on, a pump says so: nobody else would wake the loop for them. */
static void test_pump_says_that_more_wait(void **state)
{
    struct rig *r = *state;
    const uint32_t n = 3 * WATCH_LOOKS_A_PUMP;
    uint32_t reason = 0;
    rig_init(r, NULL, 1u << 20);
    (void)rig_lease(r, 1);
    watches_free(r->ws);
    r->ws = watches_new(n, n);
    for (uint32_t i = 1; i <= n; i++) {
        const struct rig_filter f = {.from = r->kit.index + 1};
        assert_int_equal(rig_try_watch(r, 0, i, f, &reason), BATON_OK);
    }
    uint32_t pumps = 0;
    while (rig_pump(r)) {
        assert_true(pumps++ < 100);
    }
    assert_int_equal(r->ws->active_n, 0);
    rig_fini(r);
}

/* A send that fails in the middle of the state: it begins anew, and says so. */
static void test_walk_begins_anew(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = rig_lease(r, 1);
    (void)rig_session(r, l, "ns/g/d/t1");
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    c->takes = false;
    assert_false(rig_pump(r));
    c->takes = true;
    assert_false(rig_pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 1);
    rig_assert_true_belief(r, c, (struct rig_filter){.from = 0});
    rig_fini(r);
}

/* Names as long as they may be: each part must fit a frame all the same. */
static void test_longest_names(void **state)
{
    struct rig *r = *state;
    static char name[4][NAME_BYTES_MAX + 1];
    char path[600];
    rig_init(r, &rig_many, 1u << 20);
    for (uint32_t i = 0; i < 4; i++) {
        memset(name[i], 'a' + (int)i, NAME_BYTES_MAX);
    }
    uint64_t l = rig_labelled(r, 1, name[0]);
    for (uint32_t i = 0; i < 1100; i++) {
        (void)snprintf(name[1], 9, "%08u", i);
        name[1][8] = 'b';
        (void)snprintf(path, sizeof path, "%s/%s/%s/%s", name[0], name[1],
                       name[2], name[3]);
        (void)rig_quick_session(r, l, path);
    }
    struct rig_client *c = rig_watch(r, 0, (struct rig_filter){.from = 0});
    rig_settle(r);
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->sessions_n, 1100);
    assert_int_equal(c->scopes, 2200);
    rig_fini(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_during_the_walk),
        cmocka_unit_test(test_walk_waits_for_room),
        cmocka_unit_test(test_large_group),
        cmocka_unit_test(test_large_groups),
        cmocka_unit_test(test_large_lease),
        cmocka_unit_test(test_walk_loses_its_place),
        cmocka_unit_test(test_many_walk_at_once),
        cmocka_unit_test(test_walk_begins_anew),
        cmocka_unit_test(test_nothing_before_reset),
        cmocka_unit_test(test_pump_says_that_more_wait),
        cmocka_unit_test(test_longest_names),
    };
    return cmocka_run_group_tests(tests, rig_make, rig_drop);
}
