#include "tests/unit/election_rig.h"

#define LAPTOP "acme/alice/laptop"
#define PHONE  "acme/alice/phone"
#define ALICE  "acme/alice"

/* Tenure and cooldown of the default policy over, twice. */
#define LONG_MS 100000

static uint64_t holder(struct rig *g, const char *path)
{
    return rig_scope(g, path)->holder_session;
}

static uint64_t backup(struct rig *g, const char *path)
{
    struct scope_ref ref = rig_ref(g, path);
    return scope_session(g->r, ref, scope_at(g->r, ref)->backup);
}

static void test_first_leads_both_levels_at_once(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    assert_int_equal(rig_open(g, LAPTOP "/a", 0), 2);
    assert_string_equal(g->text, "opened 2\n"
                                 "granted laptop 2 first from 0 next 0\n"
                                 "granted * 2 first from 0 next 0\n");
    assert_int_equal(rig_scope(g, LAPTOP)->epoch, 2);
    assert_int_equal(rig_scope(g, ALICE)->epoch, 2);
    assert_int_equal(g->r->batons_n, 2);
    assert_int_equal(registry_due_ms(g->r), UINT64_MAX);
    rig_free(g);
}

/* The second is only compared with holder and backup. */
static void test_backup_is_the_best_of_the_others(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    assert_string_equal(g->text, "opened 3\nbackup laptop 3\n");
    uint64_t c = rig_open(g, LAPTOP "/c", 0);
    assert_string_equal(g->text, "opened 4\n"); /* the older of equals */
    uint64_t d = rig_open(g, LAPTOP "/d", 10);
    assert_string_equal(g->text, "opened 5\nbackup laptop 5\n");
    assert_int_equal(rig_update(g, d, CAP_PRIORITY, -1)->status, BATON_OK);
    assert_string_equal(g->text, "updated 5\nbackup laptop 3\n");
    assert_int_equal(rig_close(g, b, "")->status, BATON_OK);
    assert_string_equal(g->text, "closed 3 closed\nbackup laptop 4\n");
    assert_int_equal(holder(g, LAPTOP), a);
    assert_int_equal(backup(g, LAPTOP), c);
    rig_free(g);
}

static void test_succession_in_the_same_entry(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    uint64_t p = rig_open(g, PHONE "/p", 0);
    assert_string_equal(g->text, "opened 4\n"
                                 "granted phone 4 first from 0 next 0\n"
                                 "backup * 4\n");
    assert_int_equal(rig_close(g, a, "")->status, BATON_OK);
    /* The device goes on leading: its scope first, then the group's. */
    assert_string_equal(g->text,
                        "closed 2 closed\n"
                        "granted laptop 3 succession from 2 next 0 closed\n"
                        "granted * 3 device from 2 next 4 closed\n");
    assert_int_equal(rig_scope(g, LAPTOP)->epoch, g->index);
    assert_int_equal(rig_scope(g, ALICE)->epoch, g->index);
    assert_int_equal(rig_scope(g, ALICE)->previous_epoch, 2);
    assert_int_equal(rig_close(g, b, "")->status, BATON_OK);
    /* Its last tab goes: the device can't lead any more. */
    assert_string_equal(g->text,
                        "closed 3 closed\n"
                        "vacated laptop from 3 succession closed\n"
                        "granted * 4 succession from 3 next 0 closed\n");
    assert_int_equal(rig_close(g, p, "")->status, BATON_OK);
    assert_string_equal(g->text, "closed 4 closed\n"
                                 "vacated phone from 4 succession closed\n"
                                 "vacated * from 4 succession closed\n");
    assert_int_equal(g->r->batons_n, 0);
    assert_int_equal(registry_due_ms(g->r), UINT64_MAX);
    rig_free(g);
}

static void test_observer_never_leads(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    struct rig_caps none = {.n = 0};
    uint64_t o = rig_open_caps(g, LAPTOP "/o", &none, true);
    assert_string_equal(g->text, "opened 2\n");
    assert_int_equal(holder(g, ALICE), 0);
    uint64_t a = rig_open(g, LAPTOP "/a", -100);
    assert_int_equal(holder(g, ALICE), a);
    assert_int_equal(backup(g, LAPTOP), 0);
    assert_int_equal(election_role(g->r, find_session(g->r, o)), ROLE_OBSERVER);
    assert_int_equal(rig_observe(g, a, true)->status, BATON_OK);
    assert_string_equal(g->text, "updated 3\n"
                                 "vacated laptop from 3 succession\n"
                                 "vacated * from 3 succession\n");
    assert_int_equal(rig_observe(g, o, false)->status, BATON_OK);
    assert_string_equal(g->text, "updated 2\n"
                                 "granted laptop 2 first from 3 next 0\n"
                                 "granted * 2 first from 3 next 0\n");
    rig_free(g);
}

static void test_margin_and_tenure(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 20); /* exactly the margin */
    assert_int_equal(rig_after(g, LONG_MS), 0);
    assert_int_equal(holder(g, LAPTOP), a);
    rig_update(g, b, CAP_PRIORITY, 21);
    assert_string_equal(g->text, "updated 3\noffered laptop 3 by 2 better\n");
    rig_pass(g, LAPTOP, b, "");
    assert_string_equal(g->text, "granted laptop 3 better from 2 next 2\n"
                                 "granted * 3 device from 2 next 0\n");
    /* Before the minimum tenure is over: only the due heap knows. */
    rig_update(g, a, CAP_PRIORITY, 60);
    assert_string_equal(g->text, "updated 2\n");
    assert_int_equal(registry_due_ms(g->r), g->time_ms + POLICY_MIN_TENURE_MS);
    assert_int_equal(rig_after(g, POLICY_MIN_TENURE_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 1);
    assert_string_equal(g->text, "offered laptop 2 by 3 better\n");
    /* The offer to one that is no better any more stands: it was asked. */
    rig_update(g, a, CAP_PRIORITY, 0);
    assert_int_equal(rig_scope(g, LAPTOP)->phase, PHASE_OFFERED);
    rig_free(g);
}

/* The other device is better: the same rules one level up. */
static void test_challenge_among_devices(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    (void)rig_open(g, LAPTOP "/a", 0);
    uint64_t p = rig_open(g, PHONE "/p", 50);
    assert_int_equal(rig_after(g, POLICY_MIN_TENURE_MS), 1);
    assert_string_equal(g->text, "offered * 3 by 2 better\n");
    rig_pass(g, ALICE, p, "");
    assert_string_equal(g->text, "granted * 3 better from 2 next 2\n");
    rig_free(g);
}

static void test_breaker(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    Pb__Policy policy = PB__POLICY__INIT;
    policy.breaker_moves = 2;
    policy.breaker_window_ms = 60000;
    policy.breaker_open_ms = 200000;
    assert_int_equal(rig_policy(g, "acme", &policy)->status, BATON_OK);
    (void)rig_due(g);
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    (void)rig_after(g, LONG_MS);
    rig_update(g, b, CAP_PRIORITY, 30);
    rig_pass(g, LAPTOP, b, "");
    rig_update(g, a, CAP_PRIORITY, 60);
    assert_int_equal(rig_after(g, POLICY_MIN_TENURE_MS), 1);
    rig_pass(g, LAPTOP, a, "");
    /* That were two: the third waits for the breaker. */
    rig_update(g, b, CAP_PRIORITY, 90);
    assert_int_equal(registry_due_ms(g->r), g->time_ms + 200000);
    /* A hand-off by name isn't stopped, and isn't counted. */
    assert_int_equal(rig_handoff(g, LAPTOP, b, 0)->status, BATON_OK);
    rig_pass(g, LAPTOP, b, "");
    assert_int_equal(holder(g, LAPTOP), b);
    rig_free(g);
}

/* The relay died: roles and epochs stay, for a while. */
static void test_detached_holder(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    rig_close_lease(g, true);
    assert_string_equal(g->text, "ended 0 closed\ndetached 2 closed\n");
    assert_int_equal(holder(g, ALICE), a);
    (void)rig_lease(g);
    (void)rig_after(g, POLICY_HOLDER_GRACE_MS - 1);
    assert_int_equal(rig_attach(g, a)->status, BATON_OK);
    assert_int_equal(rig_scope(g, ALICE)->epoch, 2);
    assert_int_equal(rig_after(g, LONG_MS), 0);
    rig_close_lease(g, true);
    g->lease = 0;
    uint64_t b = rig_open(g, PHONE "/b", 0);
    assert_int_equal(holder(g, ALICE), a); /* another one doesn't matter yet */
    assert_int_equal(rig_after(g, POLICY_HOLDER_GRACE_MS), 1);
    assert_string_equal(g->text,
                        "vacated laptop from 2 succession grace\n"
                        "granted * 8 succession from 2 next 0 grace\n");
    assert_int_equal(holder(g, ALICE), b);
    assert_int_equal(rig_after(g, POLICY_SESSION_GRACE_MS), 1);
    assert_string_equal(g->text, "closed 2 grace\n");
    rig_free(g);
}

/* A detached backup isn't one. */
static void test_detached_backup(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    uint64_t c = rig_open(g, LAPTOP "/c", 50);
    (void)rig_lease(g);
    assert_int_equal(rig_attach(g, b)->status, BATON_OK);
    uint64_t d = rig_open(g, LAPTOP "/d", -50);
    assert_int_equal(backup(g, LAPTOP), c);
    g->lease = 1;
    rig_close_lease(g, true);
    assert_string_equal(g->text,
                        "ended 0 closed\ndetached 3 closed\nbackup laptop 6\n");
    assert_int_equal(backup(g, LAPTOP), d);
    assert_int_equal(election_role(g->r, find_session(g->r, c)), ROLE_NONE);
    rig_free(g);
}

/* All sessions of a lease fall in one entry: a scope grants once in it, and not to one that falls, too. */
static void test_many_fall_at_once(void **state)
{
    (void)state;
    for (int detach = 0; detach < 2; detach++) {
        struct rig *g = rig_new();
        (void)rig_open(g, LAPTOP "/a", 9);
        (void)rig_open(g, LAPTOP "/b", 8);
        (void)rig_open(g, PHONE "/p", 7);
        (void)rig_open(g, PHONE "/q", 6);
        (void)rig_lease(g);
        uint64_t r = rig_open(g, PHONE "/r", -10);
        uint64_t s = rig_open(g, LAPTOP "/s", -20);
        g->lease = 1;
        rig_close_lease(g, detach != 0);
        if (detach != 0) {
            g->lease = 6;
            (void)rig_after(g, POLICY_HOLDER_GRACE_MS);
        }
        assert_int_equal(holder(g, LAPTOP), s);
        assert_int_equal(holder(g, PHONE), r);
        assert_true(holder(g, ALICE) == s || holder(g, ALICE) == r);
        (void)rig_after(g, LONG_MS);
        rig_free(g);
    }
}

static void test_slow_holder_is_demoted(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 50);
    uint64_t p = rig_open(g, PHONE "/p", 0);
    (void)rig_after(g, LONG_MS);
    rig_update(g, a, CAP_RTT_MS, 2100);
    assert_int_equal(rig_after(g, POLICY_DEMOTE_AFTER_MS - 1), 0);
    assert_int_equal(rig_after(g, 1), 1);
    /* Its device has no other tab, so it stays that one's leader; the group has. */
    assert_string_equal(g->text, "demoted 2\n"
                                 "granted * 3 demotion from 2 next 2\n");
    assert_int_equal(holder(g, LAPTOP), a);
    assert_int_equal(holder(g, ALICE), p);
    /* While it's slow, nothing happens, and nothing is proposed. */
    assert_int_equal(rig_after(g, 10 * LONG_MS), 0);
    /* Between the thresholds it still is. */
    rig_update(g, a, CAP_RTT_MS, 1100);
    assert_string_equal(g->text, "updated 2\n");
    /* Below it isn't, and the minute is long over: it's the better one again. */
    rig_update(g, a, CAP_RTT_MS, 100);
    assert_string_equal(g->text, "updated 2\noffered * 2 by 3 better\n");
    rig_free(g);
}

/* The end of a cooldown isn't the end of a demotion, while the session is slow. */
static void test_slow_one_stays_demoted(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 50);
    (void)rig_open(g, LAPTOP "/b", 0);
    rig_update(g, a, CAP_RTT_MS, 4000);
    assert_int_equal(rig_after(g, POLICY_DEMOTE_AFTER_MS), 1);
    assert_int_equal(rig_handoff(g, LAPTOP, a, 0)->status, BATON_OK);
    assert_int_equal(rig_answer(g, LAPTOP, a, false)->status, BATON_OK);
    g->time_ms += POLICY_DEMOTE_FOR_MS;
    assert_int_equal(rig_due(g), 1);
    assert_string_equal(g->text, "backup laptop 2\n");
    assert_true(
        member_is_demoted(g->r, rig_ref(g, LAPTOP), find_session(g->r, a)));
    rig_free(g);
}

/* One stall doesn't demote: it recovers before the patience ends. */
static void test_stall_is_forgiven(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 50);
    (void)rig_open(g, PHONE "/p", 0);
    rig_update(g, a, CAP_RTT_MS, 5000);
    (void)rig_after(g, POLICY_DEMOTE_AFTER_MS / 2);
    rig_update(g, a, CAP_RTT_MS, 20);
    assert_int_equal(rig_after(g, LONG_MS), 0);
    assert_int_equal(holder(g, ALICE), a);
    assert_int_equal(g->r->session_extras.live, 0);
    rig_free(g);
}

/* Never to nobody: slow as it is, it stays, until there's somebody. */
static void test_demoted_alone_stays(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 50);
    rig_refused(rig_demote(g, LAPTOP, 0), BATON_CONFLICT, REASON_NO_SUCCESSOR);
    rig_update(g, a, CAP_RTT_MS, 600000);
    assert_int_equal(rig_after(g, LONG_MS), 1);
    assert_string_equal(g->text, "demoted 2\n");
    assert_int_equal(holder(g, ALICE), a);
    uint64_t b = rig_open(g, LAPTOP "/b", -100);
    assert_int_equal(b, 6);
    assert_string_equal(g->text, "opened 6\n"
                                 "backup laptop 6\n"
                                 "granted laptop 6 demotion from 2 next 2\n"
                                 "granted * 6 device from 2 next 0\n");
    rig_free(g);
}

static void test_demote_by_name(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    (void)rig_open(g, LAPTOP "/a", 50);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    uint64_t p = rig_open(g, PHONE "/p", 0);
    rig_refused(rig_demote(g, ALICE, 1), BATON_STALE_EPOCH,
                REASON_EPOCH_CURRENT);
    assert_int_equal(g->out->reply.detail, 2);
    assert_int_equal(rig_demote(g, ALICE, 2)->status, BATON_OK);
    /* The group goes to another device; the laptop, too, has a better leader now. */
    assert_string_equal(g->text, "demoted 2\n"
                                 "granted laptop 3 demotion from 2 next 2\n"
                                 "granted * 4 demotion from 2 next 3\n");
    assert_int_equal(g->out->reply.id, p);
    assert_int_equal(g->out->reply.epoch, g->index);
    assert_int_equal(holder(g, LAPTOP), b);
    /* After its time it's one of them again, and the best. */
    assert_int_equal(rig_after(g, POLICY_DEMOTE_FOR_MS), 1);
    assert_string_equal(g->text, "offered laptop 2 by 3 better\n");
    rig_free(g);
}

static void test_demote_with_demoted_ones_only(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 50);
    uint64_t b = rig_open(g, LAPTOP "/b", 0);
    assert_int_equal(rig_demote(g, LAPTOP, 0)->status, BATON_OK);
    assert_int_equal(holder(g, LAPTOP), b);
    assert_int_equal(rig_demote(g, LAPTOP, 0)->status, BATON_OK);
    assert_string_equal(g->text, "demoted 3\n"
                                 "granted laptop 2 demotion from 3 next 3\n"
                                 "granted * 2 device from 3 next 0\n");
    assert_int_equal(holder(g, LAPTOP), a);
    rig_free(g);
}

static void test_rotation_goes_round(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    Pb__Policy policy = PB__POLICY__INIT;
    policy.max_tenure_ms = 20000;
    assert_int_equal(rig_policy(g, "acme", &policy)->status, BATON_OK);
    (void)rig_due(g);
    uint64_t ids[3];
    ids[0] = rig_open(g, LAPTOP "/a", 0);
    ids[1] = rig_open(g, LAPTOP "/b", -90);
    ids[2] = rig_open(g, LAPTOP "/c", 90);
    /* A better one doesn't move it. */
    assert_int_equal(rig_after(g, 19999), 0);
    for (int turn = 1; turn <= 4; turn++) {
        assert_int_equal(rig_after(g, turn == 1 ? 1 : 20000), 1);
        rig_pass(g, LAPTOP, ids[turn % 3], "");
        assert_int_equal(rig_scope(g, LAPTOP)->reason, GRANT_ROTATION);
    }
    rig_free(g);
}

static void test_policy_rescoring_in_parts(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    char path[64];
    uint64_t first = 0;
    for (int i = 0; i < 100; i++) {
        (void)snprintf(path, sizeof path, "acme/alice/d%d/t", i);
        uint64_t id = rig_open(g, path, i);
        first = i == 0 ? id : first;
    }
    assert_int_equal(holder(g, ALICE), first);
    Pb__Weight weight = PB__WEIGHT__INIT;
    Pb__Weight *list[1] = {&weight};
    Pb__Policy policy = PB__POLICY__INIT;
    weight.key = PB__CAPABILITY_KEY__PRIORITY;
    weight.weight = -1000;
    policy.weights = list;
    policy.n_weights = 1;
    assert_int_equal(rig_policy(g, "acme", &policy)->status, BATON_OK);
    assert_int_equal(rig_due(g), 2); /* 64 and 36 */
    for (slot s = 1; s <= 100; s++) {
        const struct session *session = session_at(g->r, s);
        assert_int_equal(session->score, -10 * session->caps.priority);
    }
    assert_int_equal(backup(g, ALICE), first + 1);
    rig_free(g);
}

/* A deadline of the old policy is found not to be one, and isn't proposed again and again. */
static void test_deadline_of_an_older_policy(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    uint64_t a = rig_open(g, LAPTOP "/a", 0);
    (void)rig_open(g, LAPTOP "/b", 50);
    uint64_t granted_ms = g->time_ms;
    g->time_ms += POLICY_MIN_TENURE_MS + 1;
    Pb__Policy policy = PB__POLICY__INIT;
    policy.min_tenure_ms = 50000;
    assert_int_equal(rig_policy(g, "acme", &policy)->status, BATON_OK);
    assert_int_equal(registry_due_ms(g->r), granted_ms + POLICY_MIN_TENURE_MS);
    assert_int_equal(rig_due(g), 2); /* void; then the rescoring */
    assert_int_equal(registry_due_ms(g->r), granted_ms + 50000);
    assert_int_equal(holder(g, LAPTOP), a);
    rig_free(g);
}

/* Explain says what the registry would do. */
static void test_explain(void **state)
{
    (void)state;
    struct rig *g = rig_new();
    (void)rig_open(g, LAPTOP "/a", 0);
    (void)rig_open(g, LAPTOP "/b", 10);
    struct rig_caps none = {.n = 0};
    (void)rig_open_caps(g, LAPTOP "/o", &none, true);
    static uint8_t memory[65536];
    struct arena arena;
    Pb__ExplainResult out;
    uint32_t reason = 0;
    arena_init(&arena, memory, sizeof memory);
    assert_int_equal(
        registry_explain(g->r, rig_path(g, LAPTOP), 2, &arena, &out, &reason),
        BATON_OK);
    assert_string_equal(
        out.why, "Session 2 leads because it was the best when the scope stood "
                 "empty. Session 3 is next, 50 points ahead of it: to move the "
                 "baton it must lead by more than 100.");
    assert_int_equal(out.n_candidates, 2);
    assert_int_equal(out.left_out, 1);
    assert_int_equal(out.candidates[0]->session, 3);
    assert_int_equal(out.candidates[0]->role, PB__ROLE__ROLE_BACKUP);
    assert_int_equal(out.candidates[1]->session, 2);
    const Pb__ScorePart *part = out.candidates[0]->parts[CAP_PRIORITY - 1];
    assert_string_equal(part->name, "priority");
    assert_int_equal(part->value, 10);
    assert_int_equal(part->points, 50);
    assert_true(part->known);
    assert_false(out.candidates[0]->parts[0]->known);
    assert_int_equal(registry_explain(g->r, rig_path(g, "acme/bob"), 2, &arena,
                                      &out, &reason),
                     BATON_NOT_FOUND);
    assert_int_equal(reason, REASON_NO_SCOPE);
    /* Too little memory shows less, and says so. */
    arena_init(&arena, memory, 600);
    assert_int_equal(
        registry_explain(g->r, rig_path(g, ALICE), 9, &arena, &out, &reason),
        BATON_OK);
    rig_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_leads_both_levels_at_once),
        cmocka_unit_test(test_backup_is_the_best_of_the_others),
        cmocka_unit_test(test_succession_in_the_same_entry),
        cmocka_unit_test(test_observer_never_leads),
        cmocka_unit_test(test_margin_and_tenure),
        cmocka_unit_test(test_challenge_among_devices),
        cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_detached_holder),
        cmocka_unit_test(test_detached_backup),
        cmocka_unit_test(test_many_fall_at_once),
        cmocka_unit_test(test_slow_holder_is_demoted),
        cmocka_unit_test(test_slow_one_stays_demoted),
        cmocka_unit_test(test_stall_is_forgiven),
        cmocka_unit_test(test_demoted_alone_stays),
        cmocka_unit_test(test_demote_by_name),
        cmocka_unit_test(test_demote_with_demoted_ones_only),
        cmocka_unit_test(test_rotation_goes_round),
        cmocka_unit_test(test_policy_rescoring_in_parts),
        cmocka_unit_test(test_deadline_of_an_older_policy),
        cmocka_unit_test(test_explain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
