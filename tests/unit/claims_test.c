#include "tests/unit/election_rig.h"

#define LAPTOP "acme/alice/laptop"

static const struct reply *record(struct rig *g, Pb__Cause cause,
                                  uint64_t session, uint64_t epoch)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__RecordClaim m = PB__RECORD_CLAIM__INIT;
    Pb__ClaimEvidence stale = PB__CLAIM_EVIDENCE__INIT;
    c.version = COMMAND_VERSION;
    c.proposer_term = 1;
    c.op_case = PB__COMMAND__OP_RECORD_CLAIM;
    c.record_claim = &m;
    m.scope = rig_path(g, LAPTOP);
    m.cause = cause;
    m.stale = &stale;
    stale.session = session;
    stale.epoch = epoch;
    stale.lease = 1;
    stale.relay = "relay-7";
    stale.time_ms = 4711;
    return rig_apply(g, &c);
}

static void test_on_record_once_with_both_sides(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    assert_int_equal(rig_resign(g, LAPTOP, 2, "")->status, BATON_OK);
    uint64_t epoch = g->index;
    uint64_t granted_ms = g->time_ms;
    g->time_ms += 500;
    assert_int_equal(record(g, PB__CAUSE__CAUSE_STALE_CLAIM, a, 2)->status,
                     BATON_OK);
    assert_string_equal(g->text, "claim 2 stale\n");
    const struct event *e = &g->out->events[0];
    assert_int_equal(e->lease, 1); /* told to stop */
    assert_int_equal(e->epoch, epoch);
    assert_int_equal(e->previous_epoch, 2);
    assert_int_equal(e->previous_session, b);
    assert_int_equal(e->claims[0].session, a);
    assert_int_equal(e->claims[0].epoch, 2);
    assert_int_equal(e->claims[0].time_ms, 4711);
    assert_memory_equal(e->claims[0].relay.data, "relay-7", 7);
    assert_int_equal(e->claims[1].session, b);
    assert_int_equal(e->claims[1].epoch, epoch);
    assert_int_equal(e->claims[1].lease, 1);
    assert_int_equal(e->claims[1].time_ms, granted_ms);
    assert_memory_equal(e->claims[1].relay.data, "relay", 5);
    assert_true(registry_claim_audited(g->r, rig_path(g, LAPTOP), a, 2));
    /* The same again changes nothing; nor does a change of leader forget it. */
    rig_refused(record(g, PB__CAUSE__CAUSE_STALE_CLAIM, a, 2), BATON_CONFLICT,
                REASON_NOT_DUE);
    assert_int_equal(g->out->events_n, 0);
    /* Another false claim is another proof. */
    assert_int_equal(record(g, PB__CAUSE__CAUSE_FORGED_CLAIM, a, epoch)->status,
                     BATON_OK);
    assert_string_equal(g->text, "claim 2 forged\n");
    rig_free(g);
}

static void test_true_or_malformed_is_void(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    rig_refused(record(g, PB__CAUSE__CAUSE_STALE_CLAIM, a, 2), BATON_CONFLICT,
                REASON_NOT_DUE);
    rig_refused(record(g, PB__CAUSE__CAUSE_CLOSED, a, 1), BATON_CONFLICT,
                REASON_NOT_DUE);
    rig_refused(record(g, PB__CAUSE__CAUSE_FORGED_CLAIM, 0, 1), BATON_CONFLICT,
                REASON_NOT_DUE);
    assert_int_equal(g->r->scope_extras.live, 0);
    rig_free(g);
}

/* A claimant that's long gone, on a scope that stands empty: there's no other side to show. */
static void test_claim_on_a_vacant_scope(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    (void)rig_open(g, LAPTOP "/a", 0);
    assert_int_equal(rig_resign(g, LAPTOP, 2, "")->status, BATON_OK);
    assert_int_equal(record(g, PB__CAUSE__CAUSE_FORGED_CLAIM, 77, 76)->status,
                     BATON_OK);
    const struct event *e = &g->out->events[0];
    assert_int_equal(e->session, 77);
    assert_int_equal(e->previous_session, 0);
    assert_int_equal(e->claims[1].session, 0);
    assert_int_equal(e->claims[1].epoch, 2);
    rig_free(g);
}

static void test_worth_of_a_claim(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    assert_int_equal(rig_resign(g, LAPTOP, 2, "")->status, BATON_OK);
    uint64_t epoch = g->index;
    const struct {
        uint64_t session;
        uint64_t epoch;
        enum cause cause;
    } cases[] = {
        {b, epoch, CAUSE_NONE},
        {a, 2, CAUSE_STALE_CLAIM},
        {a, epoch, CAUSE_FORGED_CLAIM},
        {b, epoch + 1, CAUSE_FORGED_CLAIM},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct scope_view view;
        assert_int_equal(registry_claim(g->r, rig_path(g, LAPTOP),
                                        cases[i].session, cases[i].epoch,
                                        &view),
                         cases[i].cause);
        assert_int_equal(view.session, b);
    }
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_record_once_with_both_sides),
        cmocka_unit_test(test_true_or_malformed_is_void),
        cmocka_unit_test(test_claim_on_a_vacant_scope),
        cmocka_unit_test(test_worth_of_a_claim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
