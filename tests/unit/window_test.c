/* Exactly once: what a client said twice is done once, and answered alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

/* A command that changes nothing but the window: it's refused, and the refusal is kept. */
static const struct reply *ask(struct kit *k, uint64_t lease, uint64_t sequence,
                               uint64_t first)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseSession m = PB__CLOSE_SESSION__INIT;
    m.session = 999999;
    c.version = COMMAND_VERSION;
    c.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    c.close_session = &m;
    c.lease = lease;
    c.sequence = sequence;
    c.first_outstanding = first;
    return kit_apply(k, &c);
}

static const struct lease *the_lease(const struct kit *k, uint64_t id)
{
    return lease_at(k->r, find_lease(k->r, id));
}

static void test_a_retry_gets_the_same_reply(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    struct reply first = *ask(&k, lease, 1, 0);
    assert_int_equal(first.status, BATON_NOT_FOUND);
    assert_int_equal(first.reason, REASON_NO_SESSION);
    assert_false(k.out->duplicate);
    struct reply second = *ask(&k, lease, 1, 0);
    assert_true(k.out->duplicate);
    assert_int_equal(second.status, first.status);
    assert_int_equal(second.reason, first.reason);
    assert_int_equal(second.revision, first.revision);
    /* What it asks for now doesn't matter: the number does. */
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseLease m = PB__CLOSE_LEASE__INIT;
    c.version = COMMAND_VERSION;
    c.lease = lease;
    c.sequence = 1;
    c.op_case = PB__COMMAND__OP_CLOSE_LEASE;
    c.close_lease = &m;
    assert_int_equal(kit_apply(&k, &c)->revision, first.revision);
    assert_int_equal(the_lease(&k, lease)->object.flags & FLAG_ENDED, 0);
    kit_fini(&k);
}

static void test_open_lease_by_its_nonce(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    assert_int_equal(kit_events(&k, EVENT_LEASE_OPENED), 1);
    assert_int_equal(kit_lease(&k, 1, "relay"), lease);
    assert_true(k.out->duplicate);
    assert_int_equal(k.out->reply.revision, lease);
    assert_int_equal(k.out->events_n, 0);
    assert_int_not_equal(kit_lease(&k, 2, "relay"), lease);
    kit_fini(&k);
}

static void test_past_the_window(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    for (uint64_t i = 1; i <= 100; i++) {
        (void)ask(&k, lease, i, 0);
    }
    assert_int_equal(the_lease(&k, lease)->window_n, 100);
    (void)ask(&k, lease, 101, 50);
    assert_int_equal(the_lease(&k, lease)->window_n, 52);
    const struct reply *reply = ask(&k, lease, 49, 0);
    assert_int_equal(reply->status, BATON_WINDOW);
    assert_int_equal(reply->detail, 50);
    assert_int_equal(ask(&k, lease, 50, 0)->status, BATON_NOT_FOUND);
    assert_true(k.out->duplicate);
    /* In the middle of a block, and at its border. */
    (void)ask(&k, lease, 102, 64);
    assert_int_equal(the_lease(&k, lease)->window_n, 39);
    (void)ask(&k, lease, 103, 103);
    assert_int_equal(the_lease(&k, lease)->window_n, 1);
    assert_int_equal(k.r->objects_n[OBJECT_WINDOW], 1);
    /* All of a block forgotten, and its last number used after all. */
    (void)ask(&k, lease, 111, 111);
    assert_int_equal(ask(&k, lease, 110, 0)->status, BATON_WINDOW);
    kit_fini(&k);
}

static void test_sequences_that_are_none(void **state)
{
    (void)state;
    static const struct {
        uint64_t sequence;
        uint64_t first;
        enum baton_status status;
        uint32_t reason;
    } rows[] = {
        {0, 0, BATON_INVALID, REASON_SEQUENCE},
        {5, 6, BATON_INVALID, REASON_SEQUENCE},
        {WINDOW_REPLIES_MAX, 0, BATON_LIMIT, REASON_WINDOW_REPLIES},
        {UINT64_MAX, 0, BATON_LIMIT, REASON_WINDOW_REPLIES},
        {WINDOW_REPLIES_MAX - 1, 0, BATON_NOT_FOUND, REASON_NO_SESSION},
        {UINT64_MAX, UINT64_MAX, BATON_NOT_FOUND, REASON_NO_SESSION},
        {1, 0, BATON_WINDOW, REASON_SEQUENCE},
    };
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    for (size_t i = 0; i < countof(rows); i++) {
        const struct reply *reply =
            ask(&k, lease, rows[i].sequence, rows[i].first);
        assert_int_equal(reply->status, rows[i].status);
        assert_int_equal(reply->reason, rows[i].reason);
        assert_false(k.out->duplicate);
    }
    /* Only what was let in is a proof of life. */
    assert_int_equal(the_lease(&k, lease)->renewals, 2);
    kit_fini(&k);
}

static void test_out_of_order(void **state)
{
    (void)state;
    struct kit k;
    struct reply replies[200];
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t sequence = 1 + i * 77 % 200; /* 77 and 200 share no factor */
        replies[sequence - 1] = *ask(&k, lease, sequence, 0);
    }
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(ask(&k, lease, i + 1, 0)->revision,
                         replies[i].revision);
        assert_true(k.out->duplicate);
    }
    kit_fini(&k);
}

/* While sessions of an ended lease wait for their grace, its client still learns what came of its requests. */
static void test_window_lives_as_long_as_the_lease(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    uint64_t session = kit_session(&k, lease, "ns/g/d/t", 0);
    uint64_t sequence = k.sequence;
    assert_int_equal(kit_expire(&k, lease)->status, BATON_OK);
    assert_int_equal(ask(&k, lease, sequence, 0)->id, session);
    assert_true(k.out->duplicate);
    assert_int_equal(ask(&k, lease, sequence + 1, 0)->status, BATON_EXPIRED);
    assert_int_equal(k.out->reply.reason, REASON_LEASE_ENDED);
    uint64_t other = kit_lease(&k, 2, "relay");
    assert_int_equal(kit_attach(&k, other, session, 7)->status, BATON_OK);
    assert_int_equal(ask(&k, lease, sequence, 0)->status, BATON_NOT_FOUND);
    assert_int_equal(k.out->reply.reason, REASON_NO_LEASE);
    assert_int_equal(k.r->objects_n[OBJECT_LEASE], 1);
    kit_fini(&k);
}

/* A cluster-wide bound on the memory of windows, half of the pool. */
static void test_blocks_are_bounded(void **state)
{
    (void)state;
    struct registry_limits limits = KIT_LIMITS;
    struct kit k;
    limits.window_blocks_n = 16;
    kit_init_limits(&k, &limits);
    uint64_t lease = kit_lease(&k, 1, "relay");
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(ask(&k, lease, 1 + i * WINDOW_BLOCK, 0)->status,
                         BATON_NOT_FOUND);
    }
    assert_int_equal(ask(&k, lease, 200, 0)->status, BATON_LIMIT);
    assert_int_equal(k.out->reply.reason, REASON_WINDOW_REPLIES);
    assert_int_equal(ask(&k, lease, 200, 150)->status, BATON_NOT_FOUND);
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_retry_gets_the_same_reply),
        cmocka_unit_test(test_open_lease_by_its_nonce),
        cmocka_unit_test(test_past_the_window),
        cmocka_unit_test(test_sequences_that_are_none),
        cmocka_unit_test(test_out_of_order),
        cmocka_unit_test(test_window_lives_as_long_as_the_lease),
        cmocka_unit_test(test_blocks_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
