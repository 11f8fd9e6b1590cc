/* Quorums against a slow oracle that tries every subset, and the history of configurations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "raft/config.h"
#include "tests/unit/assert_stub.h"

static struct raft_nodes from_mask(uint32_t mask)
{
    struct raft_nodes nodes = {.n = 0};
    for (raft_id id = 1; id <= 8; id++) {
        if ((mask & (1U << (id - 1))) != 0) {
            nodes.ids[nodes.n] = id;
            nodes.n++;
        }
    }
    return nodes;
}

static bool majority(uint32_t voters, uint32_t have)
{
    return __builtin_popcount(voters & have) * 2 > __builtin_popcount(voters);
}

/* Largest v such that those with >= v are a majority of both halves, by trying every v there is. */
static uint64_t oracle(uint32_t voters, uint32_t old, const uint64_t *values)
{
    uint64_t best = 0;
    for (int candidate = 0; candidate < 8; candidate++) {
        const uint64_t v = values[candidate];
        uint32_t have = 0;
        for (int i = 0; i < 8; i++) {
            have |= values[i] >= v ? 1U << i : 0;
        }
        if (majority(voters, have) && (old == 0 || majority(old, have)) &&
            v > best) {
            best = v;
        }
    }
    return best;
}

static void quorum_matches_oracle(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (uint32_t voters = 1; voters < 256; voters++) {
        for (uint32_t old = 0; old < 256; old += 7) {
            uint64_t values[8];
            struct config_value list[8];
            for (uint32_t i = 0; i < 8; i++) {
                random = random * 6364136223846793005U + 1442695040888963407U;
                values[i] = (random >> 60) % 6;
                /* Listed backwards: the order doesn't matter. */
                list[7 - i] =
                    (struct config_value){.id = i + 1, .value = values[i]};
            }
            const struct raft_config c = {.voters = from_mask(voters),
                                          .voters_old = from_mask(old),
                                          .learners = {.n = 0}};
            assert_int_equal(config_quorum(&c, list, 8),
                             oracle(voters, old, values));
        }
    }
}

static void nobody_votes(void **state)
{
    (void)state;
    const struct raft_config none = {.learners = from_mask(3)};
    const struct config_value list[] = {{.id = 1, .value = 9},
                                        {.id = 2, .value = 9}};
    assert_int_equal(config_quorum(&none, list, 2), 0);
    assert_false(config_valid(&none));
    assert_false(config_votes(&none, 1));
    assert_true(config_has(&none, 1));
}

static void validity(void **state)
{
    (void)state;
    static const struct {
        struct raft_nodes voters;
        struct raft_nodes old;
        struct raft_nodes learners;
        bool valid;
    } rows[] = {
        {{{1, 2, 3}, 3}, {{0}, 0}, {{0}, 0}, true},
        {{{1, 2, 3}, 3}, {{1, 2}, 2}, {{4}, 1}, true},
        {{{1, 2, 3}, 3}, {{4}, 1}, {{4}, 1}, true}, /* a voter demoted */
        {{{1, 2, 3}, 3}, {{0}, 0}, {{3}, 1}, false},
        {{{2, 1}, 2}, {{0}, 0}, {{0}, 0}, false},
        {{{1, 1}, 2}, {{0}, 0}, {{0}, 0}, false},
        {{{0, 1}, 2}, {{0}, 0}, {{0}, 0}, false},
        {{{1}, 1}, {{2, 1}, 2}, {{0}, 0}, false},
        {{{1}, 1}, {{0}, 0}, {{3, 2}, 2}, false},
        {{{1}, RAFT_NODES_MAX + 1}, {{0}, 0}, {{0}, 0}, false},
        {{{0}, 0}, {{1}, 1}, {{0}, 0}, false},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        const struct raft_config c = {.voters = rows[i].voters,
                                      .voters_old = rows[i].old,
                                      .learners = rows[i].learners};
        assert_int_equal(config_valid(&c), rows[i].valid);
    }
}

static void too_many_members(void **state)
{
    (void)state;
    struct raft_config c = {.index = 0};
    for (raft_id i = 0; i < RAFT_NODES_MAX; i++) {
        c.voters.ids[i] = i + 1;
        c.voters_old.ids[i] = i + 101;
    }
    c.voters.n = RAFT_NODES_MAX;
    c.voters_old.n = RAFT_NODES_MAX;
    assert_true(config_valid(&c));
    c.learners.ids[0] = 500;
    c.learners.n = 1;
    assert_false(config_valid(&c));
    raft_id members[3 * RAFT_NODES_MAX];
    assert_int_equal(config_members(&c, members), 33);
    assert_int_equal(members[0], 1);
    assert_int_equal(members[32], 500);
}

static void history(void **state)
{
    (void)state;
    struct configs h;
    const struct raft_config base = {.index = 3, .voters = from_mask(7)};
    configs_reset(&h, &base);
    assert_null(configs_at(&h, 2));
    assert_int_equal(configs_at(&h, 3)->index, 3);
    for (raft_index i = 10; i <= 40; i += 10) {
        const struct raft_config c = {.index = i, .voters = from_mask(3)};
        configs_push(&h, &c);
        configs_check(&h);
    }
    assert_int_equal(configs_at(&h, 9)->index, 3);
    assert_int_equal(configs_at(&h, 10)->index, 10);
    assert_int_equal(configs_at(&h, 39)->index, 30);
    assert_int_equal(configs_at(&h, 1000)->index, 40);
    assert_false(configs_truncate(&h, 41));
    assert_true(configs_truncate(&h, 40));
    assert_int_equal(configs_latest(&h)->index, 30);
    assert_true(configs_truncate(&h, 11));
    assert_int_equal(configs_latest(&h)->index, 10);
    configs_compact(&h, 9);
    assert_int_equal(configs_at(&h, 9)->index, 3);
    configs_compact(&h, 10);
    assert_null(configs_at(&h, 9));
    assert_int_equal(configs_latest(&h)->index, 10);
    configs_check(&h);
}

static void history_is_bounded(void **state)
{
    (void)state;
    struct configs h;
    const struct raft_config base = {.index = 0, .voters = from_mask(7)};
    configs_reset(&h, &base);
    for (raft_index i = 1; i <= 3 * CONFIGS_MAX; i++) {
        const struct raft_config c = {.index = i, .voters = from_mask(3)};
        configs_push(&h, &c);
    }
    configs_check(&h);
    assert_int_equal(h.n, CONFIGS_MAX);
    assert_int_equal(configs_latest(&h)->index, 3 * CONFIGS_MAX);
    assert_null(configs_at(&h, 2 * CONFIGS_MAX));
    assert_int_equal(configs_at(&h, 2 * CONFIGS_MAX + 1)->index,
                     2 * CONFIGS_MAX + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quorum_matches_oracle),
        cmocka_unit_test(nobody_votes),
        cmocka_unit_test(validity),
        cmocka_unit_test(too_many_members),
        cmocka_unit_test(history),
        cmocka_unit_test(history_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
