/* media_test.c - what is left of a directory after a loss of power: all that was synced, and of the rest either version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/media.h"
#include "tests/unit/assert_stub.h"

#define DRAWS 64u

static uint8_t page_a[4096];
static uint8_t page_b[4096];

static int fill(void **state)
{
    (void)state;
    memset(page_a, 'a', sizeof page_a);
    memset(page_b, 'b', sizeof page_b);
    return 0;
}

static struct bytes content(const struct media *m, const char *name)
{
    const char *its = NULL;
    struct bytes bytes = {NULL, 0};
    for (uint32_t i = 0; media_name(m, i, &its, &bytes); i++) {
        if (strcmp(its, name) == 0) {
            return bytes;
        }
    }
    return (struct bytes){NULL, 0};
}

static bool there(const struct media *m, const char *name)
{
    const char *its = NULL;
    struct bytes bytes = {NULL, 0};
    for (uint32_t i = 0; media_name(m, i, &its, &bytes); i++) {
        if (strcmp(its, name) == 0) {
            return true;
        }
    }
    return false;
}

/* How many sectors of it are all of this letter; each is of one. */
static uint32_t sectors_of(struct bytes b, uint8_t letter)
{
    uint32_t n = 0;
    for (size_t at = 0; at < b.n; at += MEDIA_SECTOR) {
        for (size_t i = at; i < at + MEDIA_SECTOR && i < b.n; i++) {
            assert_int_equal(b.data[i], b.data[at]);
        }
        n += b.data[at] == letter;
    }
    return n;
}

static struct media *with_page(void)
{
    struct media *m = media_new();
    struct media_file *f = media_open(m, "data");
    media_write(f, 0, page_a, sizeof page_a, false);
    media_sync(f);
    media_sync_dir(m);
    return m;
}

static void lose(struct media *m, uint64_t seed, struct media_lost *out)
{
    struct sim_random r = sim_random_of(seed, SIM_FOR_MEDIA, 1);
    media_power_loss(m, &r, out);
}

static void synced_stays(void **state)
{
    (void)state;
    struct media_lost lost;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        struct media *m = with_page();
        media_write(media_open(m, "data"), 4096, page_b, 4096, true);
        lose(m, seed, &lost);
        assert_int_equal(content(m, "data").n, 8192);
        assert_int_equal(sectors_of(content(m, "data"), 'a'), 8);
        assert_int_equal(sectors_of(content(m, "data"), 'b'), 8);
        assert_int_equal(lost.sectors + lost.kept + lost.names, 0);
        media_free(m);
    }
}

static void unsynced_is_torn(void **state)
{
    (void)state;
    struct media_lost lost;
    uint32_t torn = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        struct media *m = with_page();
        media_write(media_open(m, "data"), 0, page_b, 4096, false);
        assert_int_equal(sectors_of(content(m, "data"), 'b'), 8);
        lose(m, seed, &lost);
        uint32_t newer = sectors_of(content(m, "data"), 'b');
        assert_int_equal(newer, lost.kept);
        assert_int_equal(newer + lost.sectors, 8);
        assert_int_equal(sectors_of(content(m, "data"), 'a'), 8 - newer);
        torn += newer > 0 && newer < 8;
        media_free(m);
    }
    assert_true(torn > DRAWS / 2);
}

static void unsynced_length_is_lost(void **state)
{
    (void)state;
    struct media_lost lost;
    uint32_t shorter = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        struct media *m = with_page();
        media_write(media_open(m, "data"), 4096, page_b, 4096, false);
        lose(m, seed, &lost);
        assert_true(content(m, "data").n >= 4096);
        shorter += content(m, "data").n < 8192;
        media_free(m);
    }
    assert_true(shorter > 0);
    assert_true(shorter < DRAWS);
}

/* After a sync that failed the pages count as clean: a later one that succeeds doesn't write them. */
static void failed_sync_is_final(void **state)
{
    (void)state;
    struct media_lost lost;
    struct media *m = with_page();
    struct media_file *f = media_open(m, "data");
    media_write(f, 0, page_b, 512, false);
    media_sync_failed(f);
    media_write(f, 512, page_b, 512, false);
    media_sync(f);
    assert_int_equal(sectors_of(content(m, "data"), 'b'), 2);
    lose(m, 1, &lost);
    assert_int_equal(lost.sectors + lost.kept, 0);
    assert_int_equal(content(m, "data").data[0], 'a');
    assert_int_equal(content(m, "data").data[512], 'b');
    media_free(m);
}

static void names_need_the_directory(void **state)
{
    (void)state;
    struct media_lost lost;
    uint32_t newer = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        struct media *m = with_page();
        struct media_file *f = media_open(m, "aside");
        media_write(f, 0, page_b, 4096, false);
        media_sync(f);
        media_rename(m, "aside", "data");
        lose(m, seed, &lost);
        assert_true(there(m, "data"));
        assert_int_equal(content(m, "data").n, 4096);
        assert_true(sectors_of(content(m, "data"), 'a') % 8 == 0);
        newer += sectors_of(content(m, "data"), 'b') == 8;
        media_free(m);
    }
    assert_true(newer > 0);
    assert_true(newer < DRAWS);
}

static void synced_names_stay(void **state)
{
    (void)state;
    struct media_lost lost;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        struct media *m = with_page();
        media_unlink(m, "data");
        (void)media_open(m, "other");
        media_sync_dir(m);
        lose(m, seed, &lost);
        assert_false(there(m, "data"));
        assert_true(there(m, "other"));
        media_free(m);
    }
}

/* An image of a disk has what is durable, and goes its own way. */
static void copies_are_durable(void **state)
{
    (void)state;
    struct media *m = with_page();
    media_write(media_open(m, "data"), 0, page_b, 4096, false);
    (void)media_open(m, "new");
    struct media *copy = media_copy(m);
    assert_int_equal(sectors_of(content(copy, "data"), 'a'), 8);
    assert_false(there(copy, "new"));
    media_write(media_open(m, "data"), 0, page_b, 4096, true);
    assert_int_equal(sectors_of(content(copy, "data"), 'a'), 8);
    media_free(m);
    media_free(copy);
}

static void shorter_and_longer(void **state)
{
    (void)state;
    struct media *m = with_page();
    struct media_file *f = media_open(m, "data");
    media_resize(f, 1000);
    media_resize(f, 2000);
    assert_int_equal(content(m, "data").n, 2000);
    assert_int_equal(content(m, "data").data[999], 'a');
    assert_int_equal(content(m, "data").data[1000], 0);
    media_sync(f);
    struct media *copy = media_copy(m);
    assert_int_equal(content(copy, "data").n, 2000);
    assert_int_equal(content(copy, "data").data[1000], 0);
    media_free(m);
    media_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_stays),
        cmocka_unit_test(unsynced_is_torn),
        cmocka_unit_test(unsynced_length_is_lost),
        cmocka_unit_test(failed_sync_is_final),
        cmocka_unit_test(names_need_the_directory),
        cmocka_unit_test(synced_names_stay),
        cmocka_unit_test(copies_are_durable),
        cmocka_unit_test(shorter_and_longer),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
