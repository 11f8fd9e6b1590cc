/* store_test.c - what goes in comes out: entries of every size, hard state, rows, events, reads, growth, many batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "raft/store.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/store_lab.h"

static int setup(void **state)
{
    struct lab *lab = calloc(1, sizeof(*lab));
    assert_non_null(lab);
    lab_init(lab);
    lab_must_open(lab);
    *state = lab;
    return 0;
}

static int teardown(void **state)
{
    struct lab *lab = *state;
    if (lab->s != NULL) {
        lab_must_close(lab);
    }
    lab_fini(lab);
    free(lab);
    return 0;
}

static void reopen(struct lab *lab)
{
    lab_must_close(lab);
    lab_must_open(lab);
}

static void same(struct bytes a, struct bytes b)
{
    assert_int_equal(a.n, b.n);
    if (a.n > 0) {
        assert_memory_equal(a.data, b.data, a.n);
    }
}

static void fresh_is_empty(void **state)
{
    struct lab *lab = *state;
    struct store_entry entry;
    uint64_t cursor = 0;
    struct bytes key;
    struct bytes value;
    assert_true(lab->boot.fresh);
    assert_int_equal(lab->boot.boot, 1);
    assert_true(lab->boot.incarnation != 0);
    assert_int_equal(lab->boot.first, 1);
    assert_int_equal(lab->boot.last.index, 0);
    assert_int_equal(lab->boot.checkpoint.index, 0);
    assert_int_equal(lab->boot.events_from, 1);
    assert_int_equal(lab->boot.events_last, 0);
    assert_false(store_boot_entry(lab->s, 1, &entry));
    assert_false(store_rows_next(lab->s, &cursor, &key, &value));
}

static void boot_generation_rises(void **state)
{
    struct lab *lab = *state;
    uint64_t incarnation = lab->boot.incarnation;
    for (uint64_t boot = 2; boot < 6; boot++) {
        reopen(lab);
        assert_int_equal(lab->boot.boot, boot);
        assert_true(lab->boot.incarnation == incarnation);
        assert_true(lab->boot.fresh);
    }
}

/* What's on record is drawn anew, and kept as what was before; a start that isn't on record draws nothing. */
static void lineage_goes_on(void **state)
{
    struct lab *lab = *state;
    struct lineage first = lab->boot.lineage;
    struct lineage second;
    assert_true(first.own != 0);
    assert_int_equal(first.before, 0);
    reopen(lab);
    assert_true(lab->boot.lineage.own == first.own);
    assert_true(store_draw(lab->s, 2, &second));
    assert_true(second.own != first.own);
    assert_true(second.before == first.own);
    assert_int_equal(second.before_boot, 2);
    reopen(lab);
    assert_true(lab->boot.lineage.own == second.own);
    assert_true(lab->boot.lineage.before == first.own);
    assert_int_equal(lab->boot.lineage.before_boot, 2);
    assert_true(lineage_shows(&second, &(struct lineage_record){0, 5}));
    assert_true(lineage_shows(&second, &(struct lineage_record){first.own, 2}));
    assert_true(
        lineage_shows(&second, &(struct lineage_record){second.own, 3}));
    assert_true(lineage_shows(&second, &(struct lineage_record){77, 1}));
    assert_false(lineage_shows(&second, &(struct lineage_record){77, 2}));
}

static void batches_are_numbered(void **state)
{
    struct lab *lab = *state;
    assert_int_equal(store_batch(lab->s), 1);
    assert_int_equal(lab_commit(lab), 1);
    lab_append(lab, 10);
    assert_int_equal(lab_commit(lab), 2);
    assert_int_equal(lab_commit(lab), 3);
    assert_int_equal(store_batch(lab->s), 4);
    struct store_stats stats;
    store_stats(lab->s, &stats);
    assert_int_equal(stats.commits, 1); /* empty ones need none */
    assert_int_equal(stats.batches_waiting, 0);
    assert_int_equal(stats.queue_bytes, 0);
    assert_int_equal(stats.oldest_wait_us, 0);
}

/* Sizes around where a record is split, with and without the head. */
static const size_t sizes[] = {0,    1,    4039, 4040,  4041,   4079,
                               4080, 4081, 8119, 8120,  8121,   8160,
                               120,  2000, 2040, 65536, 300000, 3};

static void entries_of_every_size(void **state)
{
    struct lab *lab = *state;
    for (size_t i = 0; i < countof(sizes); i++) {
        lab_append(lab, sizes[i]);
    }
    lab_commit(lab);
    struct store_event event;
    store_read_log(lab->s, 5, 1, 100, 10 << 20);
    lab_event(lab, &event);
    assert_int_equal(event.type, STORE_READ);
    assert_int_equal(event.tag, 5);
    assert_true(event.end);
    assert_int_equal(event.records_n, countof(sizes));
    for (size_t i = 0; i < countof(sizes); i++) {
        assert_int_equal(event.records[i].entry.index, i + 1);
        assert_int_equal(event.records[i].entry.time_ms, 1001 + i);
        same(event.records[i].entry.data, lab_data(i + 1, sizes[i]));
    }
    reopen(lab);
    struct store_entry entry;
    assert_false(lab->boot.fresh);
    assert_int_equal(lab->boot.last.index, countof(sizes));
    uint64_t chain = 0;
    for (size_t i = 0; i < countof(sizes); i++) {
        assert_true(store_boot_entry(lab->s, i + 1, &entry));
        assert_int_equal(entry.kind, RAFT_NORMAL);
        same(entry.data, lab_data(i + 1, sizes[i]));
        assert_true(entry.chain == store_chain(chain, &entry));
        chain = entry.chain;
    }
    assert_true(chain == lab->boot.last_chain);
    assert_false(store_boot_entry(lab->s, countof(sizes) + 1, &entry));
}

static void hard_state_survives(void **state)
{
    struct lab *lab = *state;
    store_put_hard_state(lab->s, 5, 2);
    store_put_hard_state(lab->s, 6, 3);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.term, 6);
    assert_int_equal(lab->boot.vote, 3);
    assert_false(lab->boot.fresh);
}

static void uncommitted_ops_are_dropped(void **state)
{
    struct lab *lab = *state;
    lab_append(lab, 10);
    lab_commit(lab);
    lab_append(lab, 10);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 1);
}

static void truncation(void **state)
{
    struct lab *lab = *state;
    uint64_t chains[12] = {0};
    for (size_t i = 1; i <= 10; i++) {
        lab_append(lab, i * 1000);
        chains[i] = lab->chain;
    }
    lab_commit(lab);
    /* In one batch with what replaces it, and behind entries of the same batch. */
    lab->term = 2;
    lab_append(lab, 9000);
    lab_truncate(lab, 7, chains[6]);
    lab_append(lab, 5);
    lab_commit(lab);
    store_truncate(lab->s, 100); /* nothing there */
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 7);
    assert_int_equal(lab->boot.last.term, 2);
    lab_truncate(lab, 1, 0);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 0);
    lab_append(lab, 5);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 1);
}

static void trimmed_log_is_gone(void **state)
{
    struct lab *lab = *state;
    struct store_checkpoint c = {0};
    for (size_t i = 1; i <= 3000; i++) {
        lab_append(lab, i % 500 == 0 ? 9000 : 20);
        if (i == 2500) {
            c = lab_checkpoint(lab->last, lab->term, lab->chain);
        }
    }
    store_put_checkpoint(lab->s, &c);
    store_trim_log(lab->s, 2001);
    lab_commit(lab);
    struct store_event event;
    store_read_log(lab->s, 1, 2000, 2010, 1 << 20);
    lab_event(lab, &event);
    assert_true(event.gone);
    assert_int_equal(event.records_n, 0);
    store_read_log(lab->s, 2, 2001, 2010, 1 << 20);
    lab_event(lab, &event);
    assert_false(event.gone);
    assert_false(event.end);
    assert_int_equal(event.records_n, 10);
    assert_int_equal(event.records[0].index, 2001);
    /* Never beyond the checkpoint. */
    store_trim_log(lab->s, 2900);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 2501);
    assert_int_equal(lab->boot.last.index, 3000);
    assert_int_equal(lab->boot.checkpoint.index, 2500);
    /* The whole log, up to a checkpoint at its end. */
    c = lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &c);
    store_trim_log(lab->s, 3001);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 3001);
    assert_int_equal(lab->boot.last.index, 3000);
    lab_append(lab, 20);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 3001);
    assert_int_equal(lab->boot.last.index, 3001);
}

static void reads_are_bounded(void **state)
{
    struct lab *lab = *state;
    for (size_t i = 1; i <= 100; i++) {
        lab_append(lab, 1000);
    }
    lab_append(lab, 50000);
    lab_commit(lab);
    struct store_event event;
    raft_index next = 1;
    uint32_t reads = 0;
    do {
        store_read_log(lab->s, next, next, 1000, 10000);
        lab_event(lab, &event);
        assert_int_equal(event.type, STORE_READ);
        assert_int_equal(event.tag, next);
        assert_in_range(event.records_n, 1, 10);
        assert_int_equal(event.records[0].index, next);
        next += event.records_n;
        reads++;
    } while (!event.end);
    assert_int_equal(next, 102);
    assert_in_range(reads, 12, 13);
    store_read_log(lab->s, 1, 102, 200, 10000);
    lab_event(lab, &event);
    assert_true(event.end);
    assert_false(event.gone);
    assert_int_equal(event.records_n, 0);
}

static void reads_see_what_was_committed_before(void **state)
{
    struct lab *lab = *state;
    struct store_event event;
    for (uint32_t i = 1; i <= 50; i++) {
        lab_append(lab, 100);
        (void)store_commit(lab->s);
        store_read_log(lab->s, i, i, i, 10000);
    }
    for (uint32_t i = 1; i <= 50; i++) {
        lab_event(lab, &event);
        assert_int_equal(event.type, STORE_READ);
        assert_int_equal(event.tag, i);
        assert_int_equal(event.records_n, 1);
        same(event.records[0].entry.data, lab_data(i, 100));
    }
}

/* Also what is in the open batch still. */
static void reads_wait_for_the_open_batch(void **state)
{
    struct lab *lab = *state;
    struct store_event event;
    lab_append(lab, 100);
    store_read_log(lab->s, 1, 1, 9, 10000);
    lab_append(lab, 100);
    (void)store_commit(lab->s);
    store_read_log(lab->s, 2, 1, 9, 10000); /* the open one is empty */
    lab_event(lab, &event);
    assert_int_equal(event.tag, 1);
    assert_int_equal(event.records_n, 2);
    lab_event(lab, &event);
    assert_int_equal(event.tag, 2);
    assert_int_equal(event.records_n, 2);
}

static void rows_and_checkpoints(void **state)
{
    struct lab *lab = *state;
    char key[600];
    lab_append(lab, 10);
    for (uint32_t i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "row/%04u", i);
        store_put_row(lab->s, lab_text(key), lab_data(i, i * 50));
    }
    memset(key, 'x', STORE_ROW_KEY_BYTES_MAX);
    key[STORE_ROW_KEY_BYTES_MAX] = '\0';
    store_put_row(lab->s, lab_text(key), lab_text(""));
    struct store_checkpoint c = lab_checkpoint(1, 1, lab->chain);
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    store_delete_row(lab->s, lab_text("row/0007"));
    store_delete_row(lab->s, lab_text("was never there"));
    store_put_row(lab->s, lab_text("row/0009"), lab_text("nine"));
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.checkpoint.index, 1);
    assert_int_equal(lab->boot.checkpoint_hash, 1000);
    assert_int_equal(lab->boot.checkpoint_time_ms, 10);
    same(lab->boot.checkpoint_config, lab_text("configuration"));
    uint64_t cursor = 0;
    uint32_t n = 0;
    struct bytes k;
    struct bytes v;
    while (store_rows_next(lab->s, &cursor, &k, &v)) {
        uint32_t row = n < 7 ? n : n + 1;
        (void)snprintf(key, sizeof(key), "row/%04u", row);
        if (row < 200) {
            same(k, lab_text(key));
            same(v, row == 9 ? lab_text("nine") : lab_data(row, row * 50));
        }
        n++;
    }
    assert_int_equal(n, 200);
    /* Half a walk may be given up. */
    cursor = 0;
    assert_true(store_rows_next(lab->s, &cursor, &k, &v));
    store_rows_end(lab->s);
}

static void rows_are_read_in_parts(void **state)
{
    struct lab *lab = *state;
    char key[64];
    lab_append(lab, 10);
    for (uint32_t i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "%03u", i);
        store_put_row(lab->s, lab_text(key), lab_data(i, 100));
    }
    struct store_checkpoint c = lab_checkpoint(1, 1, lab->chain);
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    struct store_event event;
    struct bytes after = {NULL, 0};
    char last[64] = "";
    uint32_t n = 0;
    do {
        store_read_rows(lab->s, 1, 1, after, 1000);
        lab_event(lab, &event);
        assert_false(event.gone);
        assert_int_equal(event.checkpoint.pos.index, 1);
        same(event.checkpoint.config, lab_text("configuration"));
        for (uint32_t i = 0; i < event.records_n; i++, n++) {
            (void)snprintf(key, sizeof(key), "%03u", n);
            same(event.records[i].key, lab_text(key));
            same(event.records[i].value, lab_data(n, 100));
        }
        (void)snprintf(last, sizeof(last), "%s", key);
        after = lab_text(last);
    } while (!event.end);
    assert_int_equal(n, 100);
    lab_append(lab, 10);
    c = lab_checkpoint(2, 1, lab->chain);
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    store_read_rows(lab->s, 1, 1, after, 1000);
    lab_event(lab, &event);
    assert_true(event.gone);
}

static void events_are_kept_and_trimmed(void **state)
{
    struct lab *lab = *state;
    struct store_event event;
    for (uint32_t i = 1; i <= 2500; i++) {
        store_put_event(lab->s, i * 2, lab_data(i, i % 100 == 0 ? 9000 : 30));
    }
    lab_commit(lab);
    store_put_event(lab->s, 10, lab_text("replayed")); /* is there already */
    lab_commit(lab);
    store_read_events(lab->s, 1, 9, 12, 1000);
    lab_event(lab, &event);
    assert_int_equal(event.records_n, 2);
    assert_int_equal(event.records[0].index, 10);
    assert_int_equal(event.records[1].index, 12);
    assert_true(event.end); /* there are later ones, but not up to 12 */
    store_read_events(lab->s, 1, 9, 40, 100);
    lab_event(lab, &event);
    assert_int_equal(event.records[0].index, 10);
    assert_false(event.end);
    store_read_events(lab->s, 1, 9, 12, 1000);
    lab_event(lab, &event);
    same(event.records[0].value, lab_data(5, 30));
    store_trim_events(lab->s, 4001);
    lab_commit(lab);
    store_read_events(lab->s, 1, 4000, 5000, 1000);
    lab_event(lab, &event);
    assert_true(event.gone);
    reopen(lab);
    /* What was trimmed to, though the first event behind it is a later one. */
    assert_int_equal(lab->boot.events_from, 4001);
    assert_int_equal(lab->boot.events_last, 5000);
    store_read_events(lab->s, 1, 4001, 5001, 1 << 20);
    lab_event(lab, &event);
    assert_int_equal(event.records_n, 500);
    assert_true(event.end);
    same(event.records[499].value, lab_data(2500, 9000));
    store_trim_events(lab->s, 6000);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.events_from, 6000);
    assert_int_equal(lab->boot.events_last, 0);
    store_put_event(lab->s, 6000, lab_text("next"));
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.events_from, 6000);
    assert_int_equal(lab->boot.events_last, 6000);
}

static void map_grows_under_load(void **state)
{
    struct lab *lab = *state;
    lab_must_close(lab);
    lab->options.map_bytes = 1 << 20;
    lab_must_open(lab);
    for (uint32_t i = 0; i < 100; i++) {
        for (uint32_t j = 0; j < 4; j++) {
            lab_append(lab, 60000);
        }
        (void)store_commit(lab->s);
    }
    lab_commit(lab);
    struct store_stats stats;
    store_stats(lab->s, &stats);
    assert_true(stats.map_bytes > 24000000);
    assert_true(stats.used_bytes > 23000000);
    assert_true(stats.used_bytes < stats.map_bytes);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 400);
}

/* A batch far larger than the map takes more than one growth. */
static void one_large_batch_fits(void **state)
{
    struct lab *lab = *state;
    lab_must_close(lab);
    lab->options.map_bytes = 1 << 20;
    lab_must_open(lab);
    for (uint32_t i = 0; i < 100; i++) {
        lab_append(lab, 300000);
    }
    assert_int_equal(store_room(lab->s), 0);
    lab_commit(lab);
    assert_int_equal(store_room(lab->s), lab->options.queue_bytes_max - 24);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 100);
}

/* Few bytes may change many pages: more than any guess ahead of need. */
static void scattered_rows_grow_the_map(void **state)
{
    struct lab *lab = *state;
    struct store_stats stats;
    char key[32];
    uint32_t rows = 0;
    lab_must_close(lab);
    lab->options.map_bytes = 16 << 20;
    lab_must_open(lab);
    do {
        for (uint32_t i = 0; i < 200; i++, rows++) {
            (void)snprintf(key, sizeof(key), "%08u", rows);
            store_put_row(lab->s, lab_text(key), lab_data(rows, 300));
        }
        lab_commit(lab);
        store_stats(lab->s, &stats);
    } while (stats.used_bytes * 10 < stats.map_bytes * 7);
    for (uint32_t i = 0; i < rows; i += 16) {
        (void)snprintf(key, sizeof(key), "%08u", i);
        store_put_row(lab->s, lab_text(key), lab_text("little"));
    }
    lab_commit(lab);
    uint64_t map_bytes = stats.map_bytes;
    store_stats(lab->s, &stats);
    assert_true(stats.map_bytes > map_bytes);
    reopen(lab);
}

static void many_batches_at_once(void **state)
{
    struct lab *lab = *state;
    uint64_t batch = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        for (uint32_t j = 0; j <= i % 7; j++) {
            lab_append(lab, 120);
        }
        batch = store_commit(lab->s);
        if (i % 100 == 99 && store_room(lab->s) < 1 << 20) {
            assert_true(lab_wait(lab, batch));
        }
    }
    assert_true(lab_wait(lab, batch));
    struct store_stats stats;
    store_stats(lab->s, &stats);
    assert_in_range(stats.commits, 1, 3000);
    uint64_t counted = 0;
    for (size_t i = 0; i < countof(stats.commit_us_buckets); i++) {
        counted += stats.commit_us_buckets[i];
    }
    assert_int_equal(counted, stats.commits);
    raft_index last = lab->last;
    reopen(lab);
    assert_int_equal(lab->boot.last.index, last);
}

/* Close waits for what was committed. */
static void close_stores_what_waits(void **state)
{
    struct lab *lab = *state;
    for (uint32_t i = 0; i < 200; i++) {
        lab_append(lab, 2000);
        (void)store_commit(lab->s);
    }
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 200);
}

static void a_log_may_start_at_a_checkpoint(void **state)
{
    struct lab *lab = *state;
    struct store_checkpoint c = lab_checkpoint(10, 3, 77);
    store_put_checkpoint(lab->s, &c);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 11);
    assert_int_equal(lab->boot.last.index, 10);
    assert_int_equal(lab->boot.last.term, 3);
    lab_append(lab, 10);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 11);
    assert_int_equal(lab->boot.last.index, 11);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fresh_is_empty),
        TEST(boot_generation_rises),
        TEST(lineage_goes_on),
        TEST(batches_are_numbered),
        TEST(entries_of_every_size),
        TEST(hard_state_survives),
        TEST(uncommitted_ops_are_dropped),
        TEST(truncation),
        TEST(trimmed_log_is_gone),
        TEST(reads_are_bounded),
        TEST(reads_see_what_was_committed_before),
        TEST(reads_wait_for_the_open_batch),
        TEST(rows_and_checkpoints),
        TEST(rows_are_read_in_parts),
        TEST(events_are_kept_and_trimmed),
        TEST(map_grows_under_load),
        TEST(one_large_batch_fits),
        TEST(scattered_rows_grow_the_map),
        TEST(many_batches_at_once),
        TEST(close_stores_what_waits),
        TEST(a_log_may_start_at_a_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
