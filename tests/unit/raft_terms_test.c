/* The runs against a plain array of terms, through thousands of random appends, truncations and compactions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "raft/terms.h"
#include "tests/unit/assert_stub.h"

#define ORACLE_MAX 4000

static uint64_t rng = 42;

static uint32_t random_below(uint32_t n)
{
    rng = rng * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(rng >> 33) % n;
}

static raft_index find_slowly(const raft_term *terms, raft_index base,
                              raft_index index, raft_term term)
{
    while (index > base && terms[index] > term) {
        index--;
    }
    return index >= base && terms[index] <= term ? index : 0;
}

static void compare(const struct terms *t, const raft_term *oracle,
                    raft_index base, raft_index last)
{
    terms_check(t);
    assert_int_equal(t->last, last);
    assert_int_equal(t->base.index, base);
    assert_int_equal(terms_last(t).index, last);
    assert_int_equal(terms_last(t).term, oracle[last]);
    for (raft_index i = base; i <= last; i++) {
        assert_int_equal(terms_at(t, i), oracle[i]);
    }
    assert_int_equal(terms_at(t, last + 1), 0);
    if (base > 0) {
        assert_int_equal(terms_at(t, base - 1), 0);
    }
    for (int probe = 0; probe < 4; probe++) {
        const raft_index index =
            base + random_below((uint32_t)(last - base) + 1);
        const raft_term term = random_below((uint32_t)oracle[last] + 3);
        assert_int_equal(terms_find(t, index, term),
                         find_slowly(oracle, base, index, term));
    }
    assert_int_equal(terms_find(t, last + 100, oracle[last]), last);
}

/* What both hold: oracle[i] is the term at index i, for base <= i <= last. */
struct pair {
    struct terms *t;
    raft_term *oracle;
    raft_index base;
    raft_index last;
    raft_term term;
};

static void grow(struct pair *p)
{
    const uint32_t n = 1 + random_below(6);
    p->term += random_below(3);
    assert_true(terms_append(p->t, n, p->term));
    for (uint32_t i = 0; i < n; i++) {
        p->last++;
        p->oracle[p->last] = p->term;
    }
}

static void change(struct pair *p)
{
    const uint32_t what = random_below(10);
    if (what < 6 && p->last + 10 < ORACLE_MAX) {
        grow(p);
    } else if (what < 8 && p->last > p->base) {
        p->last -= 1 + random_below((uint32_t)(p->last - p->base));
        terms_truncate(p->t, p->last + 1);
    } else if (p->last > p->base) {
        p->base += random_below((uint32_t)(p->last - p->base) + 1);
        terms_compact(p->t, p->base);
    }
}

static void against_an_array(void **state)
{
    (void)state;
    struct pair p = {.t = calloc(1, sizeof(*p.t)),
                     .oracle = calloc(ORACLE_MAX, sizeof(*p.oracle))};
    assert_non_null(p.t);
    assert_non_null(p.oracle);
    for (int round = 0; round < 30; round++) {
        p.base = random_below(20);
        p.last = p.base;
        p.oracle[p.base] = p.base == 0 ? 0 : 1 + random_below(5);
        p.term = p.oracle[p.base] + 1;
        terms_reset(
            p.t, (struct raft_pos){.index = p.base, .term = p.oracle[p.base]});
        for (int step = 0; step < 200; step++) {
            change(&p);
            compare(p.t, p.oracle, p.base, p.last);
        }
    }
    free(p.oracle);
    free(p.t);
}

static void full(void **state)
{
    (void)state;
    struct terms *t = calloc(1, sizeof(*t));
    assert_non_null(t);
    terms_reset(t, (struct raft_pos){.index = 0, .term = 0});
    for (raft_term term = 1; term <= TERMS_MAX; term++) {
        assert_int_equal(terms_room(t), TERMS_MAX - term + 1);
        assert_true(terms_append(t, 2, term));
    }
    assert_int_equal(terms_room(t), 0);
    assert_true(terms_append(t, 5, TERMS_MAX));
    assert_false(terms_append(t, 1, TERMS_MAX + 1));
    terms_check(t);
    assert_int_equal(terms_drop_oldest(t), 2);
    assert_int_equal(t->base.term, 1);
    assert_true(terms_append(t, 1, TERMS_MAX + 1));
    terms_check(t);
    assert_int_equal(terms_at(t, 3), 2);
    assert_int_equal(terms_run_first(t, 4), 3);
    assert_int_equal(terms_at(t, t->last), TERMS_MAX + 1);
    /* Truncated back across the ring's end. */
    terms_truncate(t, 4);
    assert_int_equal(terms_last(t).term, 2);
    terms_check(t);
    terms_truncate(t, 3);
    assert_int_equal(terms_last(t).index, 2);
    assert_int_equal(terms_last(t).term, 1);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_an_array),
        cmocka_unit_test(full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
