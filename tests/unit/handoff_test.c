#include "tests/unit/election_rig.h"

#define LAPTOP "acme/alice/laptop"
#define PHONE  "acme/alice/phone"
#define ALICE  "acme/alice"

/* Three tabs of one device, a leads; and one of another device. */
struct family {
    struct rig *g;
    uint64_t a;
    uint64_t b;
    uint64_t c;
    uint64_t p;
};

static struct family family_new(void)
{
    struct family f = {.g = rig_new()};
    f.a = rig_open(f.g, LAPTOP "/a", 0);
    f.b = rig_open(f.g, LAPTOP "/b", 0);
    f.c = rig_open(f.g, LAPTOP "/c", 0);
    f.p = rig_open(f.g, PHONE "/p", 0);
    return f;
}

static uint64_t holder(struct rig *g, const char *path)
{
    return rig_scope(g, path)->holder_session;
}

static void assert_state(struct rig *g, const char *path, uint64_t session,
                         const char *expected)
{
    struct bytes out = {NULL, 0};
    uint32_t reason = 0;
    uint64_t epoch = rig_scope(g, path)->epoch;
    enum baton_status status =
        registry_state(g->r, rig_path(g, path), session, epoch, &out, &reason);
    if (expected == NULL) {
        assert_int_not_equal(status, BATON_OK);
        return;
    }
    assert_int_equal(status, BATON_OK);
    assert_int_equal(out.n, strlen(expected));
    assert_memory_equal(out.data, expected, out.n);
}

static void test_offer_accept_yield(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    const struct reply *reply = rig_handoff(g, LAPTOP, f.c, 2);
    assert_int_equal(reply->status, BATON_OK);
    assert_int_equal(reply->id, g->index);
    assert_int_equal(reply->epoch, 2);
    assert_string_equal(g->text, "offered laptop 4 by 2 handoff\n");
    assert_int_equal(g->out->events[0].deadline_ms,
                     g->time_ms + POLICY_OFFER_MS);
    assert_int_equal(g->out->events[0].lease, 1);
    /* The holder holds until it has handed over. */
    assert_int_equal(rig_answer(g, LAPTOP, f.c, true)->status, BATON_OK);
    assert_string_equal(g->text, "accepted laptop 4 by 2 handoff\n");
    assert_int_equal(g->out->events[0].deadline_ms,
                     g->time_ms + POLICY_YIELD_MS);
    assert_int_equal(holder(g, LAPTOP), f.a);
    reply = rig_yield(g, LAPTOP, f.a, "cart of 3");
    assert_int_equal(reply->status, BATON_OK);
    assert_int_equal(reply->id, f.c);
    assert_int_equal(reply->epoch, g->index);
    assert_string_equal(g->text, "granted laptop 4 handoff from 2 next 2\n"
                                 "granted * 4 device from 2 next 5\n");
    assert_int_equal(g->out->events[0].state_bytes, 9);
    assert_state(g, LAPTOP, f.c, "cart of 3");
    assert_state(g, ALICE, f.c, "cart of 3");
    assert_state(g, LAPTOP, f.a, NULL);
    /* Kept for a minute: then it's nobody's. */
    assert_int_equal(rig_after(g, STATE_KEEP_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 2);
    assert_state(g, LAPTOP, f.c, NULL);
    assert_int_equal(g->r->states.live, 0);
    assert_int_equal(g->r->scope_extras.live, 0);
    rig_free(g);
}

static void test_group_handoff(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    uint64_t q = rig_open(g, PHONE "/q", 0);
    /* Only the leader tab of a device can lead the group with it. */
    rig_refused(rig_handoff(g, ALICE, q, 0), BATON_CONFLICT,
                REASON_NOT_ELIGIBLE);
    /* The leading device already has it. */
    rig_refused(rig_handoff(g, ALICE, f.b, 0), BATON_CONFLICT,
                REASON_NOT_ELIGIBLE);
    /* To 0: the backup. */
    assert_int_equal(rig_handoff(g, ALICE, 0, 0)->status, BATON_OK);
    rig_pass(g, ALICE, f.p, "");
    assert_string_equal(g->text, "granted * 5 handoff from 2 next 2\n");
    assert_int_equal(holder(g, LAPTOP), f.a);
    rig_free(g);
}

static void test_refusals(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    struct rig_caps none = {.n = 0};
    uint64_t o = rig_open_caps(g, LAPTOP "/o", &none, true);
    uint64_t bob = rig_open(g, "acme/bob/tablet/x", 0);
    rig_refused(rig_handoff(g, "acme/carol", f.a, 0), BATON_NOT_FOUND,
                REASON_NO_SCOPE);
    rig_refused(rig_handoff(g, LAPTOP, f.b, 7), BATON_STALE_EPOCH,
                REASON_EPOCH_CURRENT);
    assert_int_equal(g->out->reply.detail, 2);
    rig_refused(rig_handoff(g, LAPTOP, 999, 0), BATON_NOT_FOUND,
                REASON_NO_SESSION);
    rig_refused(rig_handoff(g, LAPTOP, f.a, 0), BATON_CONFLICT,
                REASON_ALREADY_HOLDER);
    rig_refused(rig_handoff(g, LAPTOP, f.p, 0), BATON_NOT_ALLOWED,
                REASON_OTHER_SCOPE);
    rig_refused(rig_handoff(g, ALICE, bob, 0), BATON_NOT_ALLOWED,
                REASON_OTHER_SCOPE);
    rig_refused(rig_handoff(g, LAPTOP, o, 0), BATON_CONFLICT,
                REASON_NOT_ELIGIBLE);
    rig_refused(rig_handoff(g, "acme/bob", 0, 0), BATON_CONFLICT,
                REASON_NO_SUCCESSOR);
    rig_refused(rig_yield(g, LAPTOP, f.a, ""), BATON_CONFLICT, REASON_NO_OFFER);
    rig_refused(rig_answer(g, LAPTOP, f.b, true), BATON_CONFLICT,
                REASON_NO_OFFER);
    assert_int_equal(rig_handoff(g, LAPTOP, f.b, 0)->status, BATON_OK);
    uint64_t offer = g->index;
    rig_refused(rig_handoff(g, LAPTOP, f.c, 0), BATON_CONFLICT,
                REASON_HANDOFF_RUNNING);
    assert_int_equal(g->out->reply.detail, offer);
    /* Not the one that it was offered to; not accepted yet. */
    rig_refused(rig_answer(g, LAPTOP, f.c, true), BATON_CONFLICT,
                REASON_NO_OFFER);
    rig_refused(rig_yield(g, LAPTOP, f.a, ""), BATON_CONFLICT, REASON_NO_OFFER);
    assert_int_equal(rig_answer(g, LAPTOP, f.b, true)->status, BATON_OK);
    rig_refused(rig_answer(g, LAPTOP, f.b, true), BATON_CONFLICT,
                REASON_NO_OFFER);
    rig_refused(rig_yield(g, LAPTOP, f.c, ""), BATON_NOT_ALLOWED,
                REASON_OTHER_SCOPE);
    /* Of another lease. */
    uint64_t lease = g->lease;
    (void)rig_lease(g);
    rig_refused(rig_yield(g, LAPTOP, f.a, ""), BATON_NOT_ALLOWED,
                REASON_OTHER_LEASE);
    assert_int_equal(g->out->reply.detail, lease);
    assert_int_equal(holder(g, LAPTOP), f.a);
    rig_free(g);
}

static void test_declined(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    assert_int_equal(rig_handoff(g, LAPTOP, f.b, 0)->status, BATON_OK);
    assert_int_equal(rig_answer(g, LAPTOP, f.b, false)->status, BATON_OK);
    assert_string_equal(g->text, "failed laptop 3 by 2 handoff declined\n"
                                 "backup laptop 4\n");
    /* Not asked again until its cooldown is over. */
    rig_refused(rig_handoff(g, LAPTOP, f.b, 0), BATON_CONFLICT,
                REASON_NOT_ELIGIBLE);
    assert_int_equal(rig_after(g, POLICY_COOLDOWN_MS), 1);
    assert_string_equal(g->text, "backup laptop 3\n");
    assert_int_equal(g->r->session_extras.live, 0);
    rig_free(g);
}

static void test_offer_lapses(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    assert_int_equal(rig_handoff(g, ALICE, f.p, 0)->status, BATON_OK);
    assert_int_equal(rig_after(g, POLICY_OFFER_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 1);
    assert_string_equal(g->text, "failed * 5 by 2 handoff lapsed\n"
                                 "backup * 0\n");
    assert_int_equal(holder(g, ALICE), f.a);
    /* Its own device is still its own. */
    assert_int_equal(holder(g, PHONE), f.p);
    rig_free(g);
}

static void test_yield_lapses_and_the_grant_is_made_all_the_same(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    assert_int_equal(rig_handoff(g, LAPTOP, f.b, 0)->status, BATON_OK);
    assert_int_equal(rig_answer(g, LAPTOP, f.b, true)->status, BATON_OK);
    assert_int_equal(rig_after(g, POLICY_YIELD_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 1);
    assert_string_equal(g->text,
                        "granted laptop 3 handoff from 2 next 2 lapsed\n"
                        "granted * 3 device from 2 next 5 lapsed\n");
    /* Too late: the epoch is fenced. */
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Yield m = PB__YIELD__INIT;
    rig_client(g, &c);
    m.scope = rig_path(g, LAPTOP);
    m.session = f.a;
    m.epoch = 2;
    c.op_case = PB__COMMAND__OP_YIELD;
    c.yield = &m;
    rig_refused(rig_apply(g, &c), BATON_STALE_EPOCH, REASON_EPOCH_CURRENT);
    rig_free(g);
}

static void test_successor_goes(void **state)
{
    (void)state;
    for (int accepted = 0; accepted < 2; accepted++) {
        struct family f = family_new();
        struct rig *g = f.g;
        assert_int_equal(rig_handoff(g, LAPTOP, f.b, 0)->status, BATON_OK);
        if (accepted != 0) {
            assert_int_equal(rig_answer(g, LAPTOP, f.b, true)->status,
                             BATON_OK);
        }
        assert_int_equal(rig_close(g, f.b, "")->status, BATON_OK);
        assert_string_equal(g->text, "closed 3 closed\n"
                                     "failed laptop 3 by 2 handoff gone\n"
                                     "backup laptop 4\n");
        assert_int_equal(holder(g, LAPTOP), f.a);
        assert_int_equal(registry_due_ms(g->r), UINT64_MAX);
        rig_free(g);
    }
}

/* The device was asked in the person of its leader tab, and that's another one now. */
static void test_successor_device_gets_another_tab(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    (void)rig_open(g, PHONE "/q", 0);
    assert_int_equal(rig_handoff(g, ALICE, f.p, 0)->status, BATON_OK);
    assert_int_equal(rig_resign(g, PHONE, RIG_ANY, "")->status, BATON_OK);
    assert_string_equal(g->text, "granted phone 6 resigned from 5 next 0\n"
                                 "failed * 5 by 2 handoff gone\n"
                                 "backup * 6\n");
    rig_free(g);
}

static void test_holder_goes(void **state)
{
    (void)state;
    for (int accepted = 0; accepted < 2; accepted++) {
        struct family f = family_new();
        struct rig *g = f.g;
        assert_int_equal(rig_handoff(g, LAPTOP, f.c, 0)->status, BATON_OK);
        if (accepted != 0) {
            assert_int_equal(rig_answer(g, LAPTOP, f.c, true)->status,
                             BATON_OK);
        }
        assert_int_equal(rig_close(g, f.a, "last words")->status, BATON_OK);
        /* To the one that was asked, not to the backup. */
        assert_string_equal(g->text,
                            "closed 2 closed\n"
                            "granted laptop 4 handoff from 2 next 3 closed\n"
                            "granted * 4 device from 2 next 5 closed\n");
        assert_state(g, LAPTOP, f.c, "last words");
        rig_free(g);
    }
}

static void test_resign(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    rig_refused(rig_resign(g, LAPTOP, 1, ""), BATON_STALE_EPOCH,
                REASON_EPOCH_CURRENT);
    rig_refused(rig_resign(g, LAPTOP, 0, ""), BATON_INVALID, REASON_EPOCH);
    assert_int_equal(rig_resign(g, ALICE, 2, "half done")->status, BATON_OK);
    assert_string_equal(g->text, "granted * 5 resigned from 2 next 0\n");
    assert_int_equal(g->out->reply.id, f.p);
    assert_int_equal(g->out->reply.epoch, g->index);
    assert_state(g, ALICE, f.p, "half done");
    /* It still leads its device. */
    assert_int_equal(holder(g, LAPTOP), f.a);
    rig_free(g);
}

/* What was for a holder that is gone isn't its successor's. */
static void test_state_goes_with_its_epoch(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    assert_int_equal(rig_resign(g, ALICE, 2, "for p")->status, BATON_OK);
    assert_state(g, ALICE, f.p, "for p");
    uint64_t q = rig_open(g, "acme/alice/tablet/q", 0);
    assert_int_equal(rig_resign(g, ALICE, RIG_ANY, "")->status, BATON_OK);
    assert_int_equal(holder(g, ALICE), q);
    assert_state(g, ALICE, q, NULL);
    assert_int_equal(g->r->states.live, 0);
    rig_free(g);
}

/* With nobody else the scope stands empty until the cooldown is over; the state waits, too. */
static void test_resign_alone(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    assert_int_equal(rig_resign(g, LAPTOP, 2, "todo")->status, BATON_OK);
    assert_string_equal(g->text, "vacated laptop from 2 resigned\n"
                                 "vacated * from 2 resigned\n");
    assert_int_equal(g->out->reply.id, 0);
    assert_int_equal(g->out->reply.epoch, 0);
    rig_refused(rig_resign(g, LAPTOP, 2, ""), BATON_NOT_FOUND,
                REASON_NO_HOLDER);
    assert_int_equal(rig_after(g, POLICY_COOLDOWN_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 1);
    assert_string_equal(g->text, "granted laptop 2 first from 2 next 0\n"
                                 "granted * 2 first from 2 next 0\n");
    assert_int_equal(rig_scope(g, LAPTOP)->epoch, g->index);
    assert_state(g, LAPTOP, a, "todo");
    rig_free(g);
}

static void test_states_are_limited(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    Pb__Policy policy = PB__POLICY__INIT;
    policy.state_bytes_max = 4;
    assert_int_equal(rig_policy(g, "acme", &policy)->status, BATON_OK);
    (void)rig_due(g);
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    (void)rig_open(g, LAPTOP "/b", 0);
    uint64_t epoch = rig_scope(g, LAPTOP)->epoch;
    rig_refused(rig_resign(g, LAPTOP, epoch, "12345"), BATON_INVALID,
                REASON_STATE_BYTES);
    assert_int_equal(g->out->reply.detail, 4);
    assert_int_equal(holder(g, LAPTOP), a);
    assert_int_equal(g->r->session_extras.live, 0);
    /* Device and group keep one each: that's what the rig has room for. */
    assert_int_equal(rig_resign(g, LAPTOP, epoch, "1234")->status, BATON_OK);
    assert_int_equal(g->r->states.live, 2);
    (void)rig_open(g, "acme/bob/x/y", 0);
    uint64_t bob = rig_scope(g, "acme/bob/x")->epoch;
    rig_refused(rig_resign(g, "acme/bob/x", bob, "1"), BATON_LIMIT,
                REASON_STATES_CLUSTER);
    assert_int_equal(rig_resign(g, "acme/bob/x", bob, "")->status, BATON_OK);
    rig_free(g);
}

/* A leader's own command about what's no more is void. */
static void test_due_is_conditional(void **state)
{
    (void)state;
    struct family f = family_new();
    struct rig *g = f.g;
    assert_int_equal(rig_handoff(g, LAPTOP, f.b, 0)->status, BATON_OK);
    uint64_t offer = g->index;
    const struct {
        uint64_t epoch;
        uint64_t offer;
        uint64_t ms;
    } cases[] = {
        {2, offer, POLICY_OFFER_MS - 1}, /* too early */
        {1, offer, POLICY_OFFER_MS},
        {2, offer - 1, POLICY_OFFER_MS},
        {2, 0, POLICY_OFFER_MS},
    };
    uint64_t from_ms = g->time_ms;
    for (size_t i = 0; i < countof(cases); i++) {
        Pb__Command c = PB__COMMAND__INIT;
        Pb__ScopeDue m = PB__SCOPE_DUE__INIT;
        c.version = COMMAND_VERSION;
        c.proposer_term = 1;
        c.op_case = PB__COMMAND__OP_SCOPE_DUE;
        c.scope_due = &m;
        m.scope = rig_path(g, LAPTOP);
        m.epoch = cases[i].epoch;
        m.offer = cases[i].offer;
        g->time_ms = from_ms + cases[i].ms;
        rig_refused(rig_apply(g, &c), BATON_CONFLICT, REASON_NOT_DUE);
        assert_int_equal(g->out->events_n, 0);
    }
    assert_int_equal(rig_scope(g, LAPTOP)->phase, PHASE_OFFERED);
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offer_accept_yield),
        cmocka_unit_test(test_group_handoff),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_declined),
        cmocka_unit_test(test_offer_lapses),
        cmocka_unit_test(test_yield_lapses_and_the_grant_is_made_all_the_same),
        cmocka_unit_test(test_successor_goes),
        cmocka_unit_test(test_successor_device_gets_another_tab),
        cmocka_unit_test(test_holder_goes),
        cmocka_unit_test(test_resign),
        cmocka_unit_test(test_state_goes_with_its_epoch),
        cmocka_unit_test(test_resign_alone),
        cmocka_unit_test(test_states_are_limited),
        cmocka_unit_test(test_due_is_conditional),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
