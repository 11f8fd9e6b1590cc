/* Pools, and the names in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

struct item {
    uint32_t words[6];
};

static void test_takes_zeroed_items_in_order(void **state)
{
    (void)state;
    static struct item items[4];
    struct pool p = {.base = (uint8_t *)items,
                     .item_bytes = sizeof(struct item),
                     .capacity = 3};
    memset(items, 0, sizeof items);
    for (slot want = 1; want <= 3; want++) {
        slot s = pool_take(&p);
        assert_int_equal(s, want);
        struct item *item = pool_at(&p, s);
        memset(item, 0xEE, sizeof *item);
    }
    assert_int_equal(p.live, 3);
    pool_give(&p, 1);
    pool_give(&p, 3);
    assert_int_equal(p.live, 1);
    /* The last one given is the first one taken, and zero again. */
    static const struct item zero;
    slot s = pool_take(&p);
    assert_int_equal(s, 3);
    assert_memory_equal(pool_at(&p, s), &zero, sizeof zero);
    s = pool_take(&p);
    assert_int_equal(s, 1);
    assert_memory_equal(pool_at(&p, s), &zero, sizeof zero);
    assert_int_equal(p.high, 3);
}

static void test_names_keep_every_length(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    struct names *n = &k.r->names;
    name_ref refs[NAME_BYTES_MAX + 1];
    uint8_t text[NAME_BYTES_MAX];
    for (size_t i = 0; i <= NAME_BYTES_MAX; i++) {
        memset(text, (int)('a' + i % 26), sizeof text);
        refs[i] = name_put(n, (struct bytes){text, i});
        assert_int_equal(refs[i] == 0, i == 0);
    }
    for (size_t i = 0; i <= NAME_BYTES_MAX; i++) {
        memset(text, (int)('a' + i % 26), sizeof text);
        struct bytes name = name_get(n, refs[i]);
        assert_int_equal(name.n, i);
        assert_memory_equal(name.data, text, i);
        assert_int_equal(name.data[i], 0); /* messages need the NUL */
    }
    /* Around the borders of the classes. */
    static const struct {
        size_t bytes;
        uint32_t class;
    } rows[] = {{1, 0},  {14, 0}, {15, 1}, {30, 1},
                {31, 2}, {62, 2}, {63, 3}, {NAME_BYTES_MAX, 3}};
    for (size_t i = 0; i < countof(rows); i++) {
        assert_int_equal(refs[rows[i].bytes] >> 30, rows[i].class);
    }
    for (size_t i = 0; i <= NAME_BYTES_MAX; i++) {
        name_drop(n, refs[i]);
    }
    for (size_t i = 0; i < countof(n->classes); i++) {
        assert_int_equal(n->classes[i].live, 0);
    }
    kit_fini(&k);
}

static void test_memory_is_what_was_measured(void **state)
{
    (void)state;
    const struct registry_limits small = KIT_LIMITS;
    const struct registry_limits big = REGISTRY_LIMITS_DEFAULT;
    assert_int_equal(registry_bytes(&small) % 64, 0);
    /* Address space, not memory: but keep it what a small machine can promise. */
    assert_true(registry_bytes(&big) < 16ull << 30);
    struct kit k;
    kit_init(&k); /* aborts if init doesn't end where registry_bytes() did */
    registry_check(k.r);
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_zeroed_items_in_order),
        cmocka_unit_test(test_names_keep_every_length),
        cmocka_unit_test(test_memory_is_what_was_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
