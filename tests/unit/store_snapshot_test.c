/* store_snapshot_test.c - a snapshot being received: resumed, given up, installed, with the log behind it kept or dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static void put_rows(struct lab *lab, uint32_t from, uint32_t to, bool incoming)
{
    char key[64];
    for (uint32_t i = from; i < to; i++) {
        (void)snprintf(key, sizeof(key), "%05u", i);
        if (incoming) {
            store_incoming_row(lab->s, lab_text(key), lab_data(i, 100));
        } else {
            store_put_row(lab->s, lab_text(key), lab_text("old"));
        }
    }
}

static uint32_t count_rows(struct lab *lab)
{
    uint64_t cursor = 0;
    struct bytes key;
    struct bytes value;
    uint32_t n = 0;
    char expected[64];
    while (store_rows_next(lab->s, &cursor, &key, &value)) {
        (void)snprintf(expected, sizeof(expected), "%05u", n);
        assert_int_equal(key.n, 5);
        assert_memory_equal(key.data, expected, 5);
        assert_int_equal(value.n, 100);
        assert_memory_equal(value.data, lab_data(n, 100).data, 100);
        n++;
    }
    return n;
}

static void expect_incoming(struct lab *lab, raft_index index, const char *last)
{
    struct store_event event;
    store_read_incoming(lab->s, 9);
    lab_event(lab, &event);
    assert_int_equal(event.type, STORE_READ);
    assert_int_equal(event.tag, 9);
    assert_int_equal(event.checkpoint.pos.index, index);
    if (index == 0) {
        assert_int_equal(event.records_n, 0);
        return;
    }
    assert_int_equal(event.records_n, 1);
    assert_int_equal(event.records[0].key.n, strlen(last));
    if (last[0] != '\0') {
        assert_memory_equal(event.records[0].key.data, last, strlen(last));
    }
    assert_int_equal(event.checkpoint.config.n, strlen("configuration"));
}

static void install_drops_another_log(void **state)
{
    struct lab *lab = *state;
    struct store_checkpoint c = lab_checkpoint(100, 5, 4711);
    for (uint32_t i = 0; i < 20; i++) {
        lab_append(lab, 5000);
        store_put_event(lab->s, lab->last, lab_text("event"));
    }
    put_rows(lab, 0, 300, false);
    struct store_checkpoint old =
        lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &old);
    store_incoming_begin(lab->s, &c);
    put_rows(lab, 0, 50, true);
    lab_commit(lab);
    expect_incoming(lab, 100, "00049");
    put_rows(lab, 50, 120, true);
    store_incoming_install(lab->s, &c);
    lab_commit(lab);
    expect_incoming(lab, 0, "");
    assert_int_equal(count_rows(lab), 120);
    struct store_event event;
    store_read_log(lab->s, 1, 20, 20, 1000);
    lab_event(lab, &event);
    assert_true(event.gone);
    store_read_events(lab->s, 1, 20, 200, 1000);
    lab_event(lab, &event);
    assert_true(event.gone); /* there would be a gap */
    store_read_events(lab->s, 1, 101, 200, 1000);
    lab_event(lab, &event);
    assert_false(event.gone);
    reopen(lab);
    assert_int_equal(lab->boot.first, 101);
    assert_int_equal(lab->boot.last.index, 100);
    assert_int_equal(lab->boot.last.term, 5);
    assert_true(lab->boot.last_chain == 4711);
    assert_int_equal(lab->boot.checkpoint.index, 100);
    assert_int_equal(lab->boot.events_from, 101);
    assert_int_equal(count_rows(lab), 120);
    lab_append(lab, 10);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.last.index, 101);
}

static void install_keeps_the_log_behind_it(void **state)
{
    struct lab *lab = *state;
    uint64_t chain_5 = 0;
    for (uint32_t i = 1; i <= 20; i++) {
        lab_append(lab, 100);
        chain_5 = i == 5 ? lab->chain : chain_5;
    }
    struct store_checkpoint c = lab_checkpoint(5, lab->term, chain_5);
    store_incoming_begin(lab->s, &c);
    put_rows(lab, 0, 3, true);
    store_incoming_install(lab->s, &c);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 6);
    assert_int_equal(lab->boot.last.index, 20);
    assert_int_equal(lab->boot.checkpoint.index, 5);
    assert_int_equal(count_rows(lab), 3);
}

static void install_at_another_term_drops_all(void **state)
{
    struct lab *lab = *state;
    for (uint32_t i = 1; i <= 20; i++) {
        lab_append(lab, 100);
    }
    struct store_checkpoint c = lab_checkpoint(5, lab->term + 1, 99);
    store_incoming_begin(lab->s, &c);
    store_incoming_install(lab->s, &c);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 6);
    assert_int_equal(lab->boot.last.index, 5);
    assert_int_equal(lab->boot.last.term, 2);
}

/* The same index and term with another chain is another entry: nothing behind it can be kept. */
static void install_at_another_chain_drops_all(void **state)
{
    struct lab *lab = *state;
    for (uint32_t i = 1; i <= 20; i++) {
        lab_append(lab, 100);
    }
    struct store_checkpoint c = lab_checkpoint(5, lab->term, 99);
    store_incoming_begin(lab->s, &c);
    store_incoming_install(lab->s, &c);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.first, 6);
    assert_int_equal(lab->boot.last.index, 5);
    assert_true(lab->boot.last_chain == 99);
}

static void resumed_after_a_restart(void **state)
{
    struct lab *lab = *state;
    struct store_checkpoint c = lab_checkpoint(50, 2, 1);
    store_incoming_begin(lab->s, &c);
    lab_commit(lab);
    expect_incoming(lab, 50, "");
    put_rows(lab, 0, 40, true);
    lab_commit(lab);
    reopen(lab);
    assert_int_equal(lab->boot.checkpoint.index, 0);
    assert_int_equal(count_rows(lab), 0); /* not ours yet */
    expect_incoming(lab, 50, "00039");
    store_incoming_begin(lab->s, &c); /* the same: goes on */
    put_rows(lab, 40, 60, true);
    lab_commit(lab);
    reopen(lab);
    expect_incoming(lab, 50, "00059");
    store_incoming_begin(lab->s, &c);
    store_incoming_install(lab->s, &c);
    lab_commit(lab);
    assert_int_equal(count_rows(lab), 60);
    reopen(lab);
    assert_int_equal(count_rows(lab), 60);
}

static void another_snapshot_starts_anew(void **state)
{
    struct lab *lab = *state;
    struct store_checkpoint c = lab_checkpoint(50, 2, 1);
    struct store_checkpoint d = lab_checkpoint(70, 2, 2);
    store_incoming_begin(lab->s, &c);
    put_rows(lab, 0, 500, true);
    lab_commit(lab);
    store_incoming_begin(lab->s, &d);
    lab_commit(lab);
    expect_incoming(lab, 70, "");
    put_rows(lab, 0, 10, true);
    store_incoming_install(lab->s, &d);
    lab_commit(lab);
    assert_int_equal(count_rows(lab), 10);
    /* And once more, into the table that was just left. */
    struct store_checkpoint e = lab_checkpoint(90, 3, 3);
    store_incoming_begin(lab->s, &e);
    put_rows(lab, 0, 4, true);
    store_incoming_install(lab->s, &e);
    lab_commit(lab);
    assert_int_equal(count_rows(lab), 4);
    reopen(lab);
    assert_int_equal(count_rows(lab), 4);
    assert_int_equal(lab->boot.checkpoint.index, 90);
}

/* Rows of the own checkpoint go on being written and read while a snapshot comes in. */
static void both_tables_at_once(void **state)
{
    struct lab *lab = *state;
    struct store_event event;
    struct store_checkpoint c = lab_checkpoint(50, 2, 1);
    store_incoming_begin(lab->s, &c);
    put_rows(lab, 0, 10, true);
    lab_append(lab, 10);
    put_rows(lab, 100, 103, false);
    struct store_checkpoint own =
        lab_checkpoint(lab->last, lab->term, lab->chain);
    store_put_checkpoint(lab->s, &own);
    lab_commit(lab);
    store_read_rows(lab->s, 1, 1, (struct bytes){NULL, 0}, 10000);
    lab_event(lab, &event);
    assert_false(event.gone);
    assert_true(event.end);
    assert_int_equal(event.records_n, 3);
    expect_incoming(lab, 50, "00009");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(install_drops_another_log),
        TEST(install_keeps_the_log_behind_it),
        TEST(install_at_another_term_drops_all),
        TEST(install_at_another_chain_drops_all),
        TEST(resumed_after_a_restart),
        TEST(another_snapshot_starts_anew),
        TEST(both_tables_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
