/* Linear hashing: everything stays found while it grows one bucket at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/table.h"
#include "tests/unit/assert_stub.h"

#define ITEMS 1000

struct item {
    uint32_t hash;
    slot next;
    uint32_t key;
};

static struct item items[ITEMS + 1];
static slot heads[1024];

static void begin(struct table *t, struct pool *p, uint32_t capacity)
{
    memset(items, 0, sizeof items);
    memset(heads, 0, sizeof heads);
    *p = (struct pool){.base = (uint8_t *)items,
                       .item_bytes = sizeof(struct item),
                       .capacity = ITEMS,
                       .high = ITEMS};
    table_init(t, heads, capacity, offsetof(struct item, hash),
               offsetof(struct item, next));
}

static slot find(const struct table *t, const struct pool *p, uint32_t hash,
                 uint32_t key)
{
    slot s = table_first(t, hash);
    while (s != 0 && (items[s].hash != hash || items[s].key != key)) {
        s = table_next(t, p, s);
    }
    return s;
}

/* What a hash might be: even, all in one bucket of the first level, all the same. */
static uint32_t hash_of(int kind, uint32_t key)
{
    switch (kind) {
    case 0:
        return key * 2654435761u;
    case 1:
        return key << 4;
    default:
        return 7;
    }
}

static void test_finds_all_while_it_grows_and_shrinks(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct table t;
        struct pool p;
        begin(&t, &p, 1024);
        for (slot s = 1; s <= ITEMS; s++) {
            items[s] = (struct item){.hash = hash_of(kind, s), .key = s};
            table_add(&t, &p, s);
            assert_int_equal(find(&t, &p, hash_of(kind, s), s), s);
        }
        table_check(&t, &p);
        /* As many buckets as objects, and each was reached by one split. */
        assert_int_equal((1u << t.level) + t.split, ITEMS);
        for (slot s = 1; s <= ITEMS; s++) {
            assert_int_equal(find(&t, &p, hash_of(kind, s), s), s);
        }
        for (slot s = 1; s <= ITEMS; s += 2) {
            table_remove(&t, &p, s);
        }
        table_check(&t, &p);
        for (slot s = 1; s <= ITEMS; s++) {
            slot want = s % 2 == 1 ? 0 : s;
            assert_int_equal(find(&t, &p, hash_of(kind, s), s), want);
        }
    }
}

static void test_stops_growing_at_its_capacity(void **state)
{
    (void)state;
    struct table t;
    struct pool p;
    begin(&t, &p, 64);
    for (slot s = 1; s <= ITEMS; s++) {
        items[s] = (struct item){.hash = hash_of(0, s), .key = s};
        table_add(&t, &p, s);
    }
    table_check(&t, &p);
    assert_int_equal((1u << t.level) + t.split, 64);
    assert_int_equal(find(&t, &p, hash_of(0, 500), 500), 500);
}

static void test_capacity(void **state)
{
    (void)state;
    assert_int_equal(table_capacity(0), TABLE_BUCKETS_MIN);
    assert_int_equal(table_capacity(16), 16);
    assert_int_equal(table_capacity(17), 32);
    assert_int_equal(table_capacity(1u << 22), 1u << 22);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_all_while_it_grows_and_shrinks),
        cmocka_unit_test(test_stops_growing_at_its_capacity),
        cmocka_unit_test(test_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
