/* The ring of recent entries, beside a plain list of all that was ever appended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/entries.h"
#include "tests/unit/assert_stub.h"

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

/* Everything about an entry follows from its index and a salt. */
static struct store_entry made(raft_index index, uint32_t salt, size_t n,
                               uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (uint8_t)(index * 31 + salt + i * 7);
    }
    return (struct store_entry){
        .index = index,
        .term = 1 + index / 50,
        .kind = index % 9 == 0 ? RAFT_CONFIG : RAFT_NORMAL,
        .time_ms = index * 10,
        .chain = index * 1000003u + salt,
        .data = {bytes, n},
    };
}

static void append(struct entries *e, raft_index index, size_t n)
{
    uint8_t bytes[4096];
    struct store_entry entry = made(index, 0, n, bytes);
    entries_append(e, &entry);
}

static void assert_entry(const struct entries *e, raft_index index,
                         uint32_t salt, size_t n)
{
    uint8_t bytes[4096];
    struct store_entry want = made(index, salt, n, bytes);
    struct store_entry got;
    assert_true(entries_get(e, index, &got));
    assert_int_equal(got.index, index);
    assert_int_equal(got.term, want.term);
    assert_int_equal(got.kind, want.kind);
    assert_int_equal(got.time_ms, want.time_ms);
    assert_int_equal(got.chain, want.chain);
    assert_int_equal(got.data.n, n);
    assert_memory_equal(got.data.data, bytes, n);
    uint64_t chain = 0;
    assert_true(entries_chain(e, index, &chain));
    assert_int_equal(chain, want.chain);
}

static void test_empty(void **state)
{
    (void)state;
    struct entries *e = entries_new(8, 1024);
    struct store_entry entry;
    uint64_t chain = 7;
    assert_int_equal(entries_first(e), 1);
    assert_int_equal(entries_last(e), 0);
    assert_false(entries_get(e, 0, &entry));
    assert_false(entries_get(e, 1, &entry));
    /* Nothing was said about what comes before. */
    assert_false(entries_chain(e, 0, &chain));
    entries_reset(e, (struct raft_pos){41, 3}, 99);
    assert_int_equal(entries_first(e), 42);
    assert_int_equal(entries_last(e), 41);
    assert_true(entries_chain(e, 41, &chain));
    assert_int_equal(chain, 99);
    assert_false(entries_chain(e, 40, &chain));
    assert_false(entries_chain(e, 42, &chain));
    entries_free(e);
    entries_free(NULL);
}

static void test_oldest_go_first(void **state)
{
    (void)state;
    struct entries *e = entries_new(8, 1 << 16);
    struct store_entry entry;
    for (raft_index i = 1; i <= 20; i++) {
        append(e, i, 10);
    }
    assert_int_equal(entries_first(e), 13);
    assert_int_equal(entries_last(e), 20);
    assert_false(entries_get(e, 12, &entry));
    for (raft_index i = 13; i <= 20; i++) {
        assert_entry(e, i, 0, 10);
    }
    /* The last one that was forgotten is still known by its hash. */
    uint64_t chain = 0;
    assert_true(entries_chain(e, 12, &chain));
    assert_int_equal(chain, 12 * 1000003u);
    entries_free(e);
}

static void test_bytes_wrap_in_one_piece(void **state)
{
    (void)state;
    struct entries *e = entries_new(64, 100);
    append(e, 1, 40);
    append(e, 2, 40);
    /* 20 bytes are left at the end: the third begins at the beginning, over the first. */
    append(e, 3, 40);
    assert_int_equal(entries_first(e), 2);
    assert_entry(e, 2, 0, 40);
    assert_entry(e, 3, 0, 40);
    /* Entries without bytes take none. */
    append(e, 4, 0);
    assert_int_equal(entries_first(e), 2);
    assert_entry(e, 4, 0, 0);
    entries_free(e);
}

static void test_truncate(void **state)
{
    (void)state;
    struct entries *e = entries_new(16, 4096);
    uint8_t bytes[64];
    uint64_t chain = 0;
    for (raft_index i = 1; i <= 10; i++) {
        append(e, i, 20);
    }
    entries_truncate(e, 11); /* nothing there */
    assert_int_equal(entries_last(e), 10);
    entries_truncate(e, 6);
    assert_int_equal(entries_last(e), 5);
    assert_false(entries_chain(e, 6, &chain));
    struct store_entry other = made(6, 5, 30, bytes);
    entries_append(e, &other);
    assert_entry(e, 6, 5, 30);
    assert_entry(e, 5, 0, 20);
    /* All of them: what's before the first is still known. */
    entries_truncate(e, 1);
    assert_int_equal(entries_first(e), 1);
    assert_int_equal(entries_last(e), 0);
    entries_free(e);
}

static void test_truncate_below_what_is_held(void **state)
{
    (void)state;
    struct entries *e = entries_new(4, 4096);
    uint64_t chain = 0;
    for (raft_index i = 1; i <= 10; i++) {
        append(e, i, 20);
    }
    assert_int_equal(entries_first(e), 7);
    entries_truncate(e, 5);
    assert_int_equal(entries_first(e), 5);
    assert_int_equal(entries_last(e), 4);
    /* The hash at 4 was forgotten long ago; the one at 6 belongs to what was dropped. */
    assert_false(entries_chain(e, 4, &chain));
    assert_false(entries_chain(e, 6, &chain));
    append(e, 5, 20);
    assert_entry(e, 5, 0, 20);
    entries_free(e);
}

static void test_time_never_falls(void **state)
{
    (void)state;
    struct entries *e = entries_new(16, 4096);
    append(e, 1, 1);
    append(e, 2, 1);
    assert_int_equal(entries_time_ms(e), 20);
    /* A truncated entry's stamp may have been seen by others: the next one isn't earlier. */
    entries_truncate(e, 2);
    assert_int_equal(entries_time_ms(e), 20);
    entries_set_time(e, 5);
    assert_int_equal(entries_time_ms(e), 20);
    entries_set_time(e, 50);
    assert_int_equal(entries_time_ms(e), 50);
    entries_free(e);
}

static void test_fits(void **state)
{
    (void)state;
    struct entries *e = entries_new(8, 1000);
    assert_true(entries_fits(e, 8, 500, 0));
    assert_false(entries_fits(e, 9, 8, 0));
    assert_false(entries_fits(e, 1, 501, 0));
    for (raft_index i = 1; i <= 8; i++) {
        append(e, i, 50);
    }
    /* None is applied: there's no room for a ninth. */
    assert_false(entries_fits(e, 1, 1, 0));
    assert_true(entries_fits(e, 1, 1, 1));
    assert_false(entries_fits(e, 2, 1, 1));
    /* 200 bytes aren't applied; the next may take half of what's left. */
    assert_true(entries_fits(e, 1, 400, 4));
    assert_false(entries_fits(e, 1, 401, 4));
    /* All applied: as if it were empty. */
    assert_true(entries_fits(e, 8, 500, 8));
    entries_free(e);
}

/* --- against a list ------------------------------------------------------------------------------------------------ */

#define LIST_MAX 4096

struct list {
    size_t n[LIST_MAX]; /* bytes of each, by index */
    uint32_t salt[LIST_MAX];
    raft_index last;
    raft_index base; /* reset behind it */
};

static void assert_same(const struct entries *e, const struct list *l)
{
    assert_int_equal(entries_last(e), l->last);
    assert_true(entries_first(e) > l->base || l->last == l->base);
    for (raft_index i = entries_first(e); i <= l->last; i++) {
        assert_entry(e, i, l->salt[i], l->n[i]);
    }
}

/* Appends what fits: nothing above `applied` may be forgotten by it. */
static void append_some(struct entries *e, struct list *l, raft_index applied,
                        uint32_t *x)
{
    uint8_t bytes[4096];
    size_t sizes[8];
    size_t total = 0;
    uint32_t n = 1 + next_random(x) % 8;
    for (uint32_t i = 0; i < n; i++) {
        sizes[i] = next_random(x) % 3 == 0 ? 0 : next_random(x) % 300;
        total += sizes[i];
    }
    if (!entries_fits(e, n, total, applied) || l->last + n >= LIST_MAX) {
        return;
    }
    raft_index keep = max_u64(applied + 1, entries_first(e));
    for (uint32_t i = 0; i < n; i++) {
        l->last++;
        l->n[l->last] = sizes[i];
        l->salt[l->last] = next_random(x) % 200;
        struct store_entry entry =
            made(l->last, l->salt[l->last], sizes[i], bytes);
        entries_append(e, &entry);
    }
    assert_true(entries_first(e) <= keep);
}

static void run_seed(uint32_t seed)
{
    uint32_t x = seed;
    struct entries *e = entries_new(32, 2048);
    struct list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    raft_index applied = 0;
    for (int step = 0; step < 3000; step++) {
        uint32_t what = next_random(&x) % 100;
        if (what < 60) {
            append_some(e, l, applied, &x);
        } else if (what < 90) {
            applied += next_random(&x) % 8;
            applied = min_u64(applied, l->last);
        } else if (what < 99) {
            /* Never below what was applied. */
            raft_index from = applied + 1 + next_random(&x) % 8;
            entries_truncate(e, from);
            l->last = min_u64(l->last, max_u64(from - 1, l->base));
        } else {
            l->base = l->last + next_random(&x) % 4;
            l->last = l->base;
            applied = l->base;
            entries_reset(e, (struct raft_pos){l->base, 1}, 5);
        }
        assert_same(e, l);
    }
    free(l);
    entries_free(e);
}

static void test_same_as_a_list(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        run_seed(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_oldest_go_first),
        cmocka_unit_test(test_bytes_wrap_in_one_piece),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_truncate_below_what_is_held),
        cmocka_unit_test(test_time_never_falls),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_same_as_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
