/* Leases and sessions: how they open, end, are detached and attached, and what's refused to whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

static struct session_view view_of(const struct kit *k, uint64_t id)
{
    struct session_view view = {.id = 0};
    (void)!registry_session(k->r, id, &view);
    return view;
}

static const struct event *find_event(const struct kit *k, enum event_kind kind)
{
    for (uint32_t i = 0; i < k->out->events_n; i++) {
        if (k->out->events[i].kind == kind) {
            return &k->out->events[i];
        }
    }
    return NULL;
}

static void assert_refused(const struct reply *reply, enum baton_status status,
                           uint32_t reason)
{
    assert_int_equal(reply->status, status);
    assert_int_equal(reply->reason, reason);
}

/* --- the end of a lease ---------------------------------------------------------------------------------------------- */
static const struct reply *expire_with(struct kit *k, uint64_t lease,
                                       uint64_t renewals, uint64_t term)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__ExpireLease m = PB__EXPIRE_LEASE__INIT;
    m.lease = lease;
    m.renewals = renewals;
    c.version = COMMAND_VERSION;
    c.proposer_term = term;
    c.op_case = PB__COMMAND__OP_EXPIRE_LEASE;
    c.expire_lease = &m;
    return kit_apply(k, &c);
}

static void test_expiry_is_conditional(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    k.term = 4;
    uint64_t lease = kit_lease(&k, 1, "relay");
    assert_refused(expire_with(&k, lease, 0, 3), BATON_CONFLICT, REASON_TERM);
    assert_refused(expire_with(&k, lease, 1, 4), BATON_CONFLICT,
                   REASON_NOT_DUE);
    /* A session opened since: that was a sign of life. */
    (void)kit_session(&k, lease, "ns/g/d/t", 0);
    assert_refused(expire_with(&k, lease, 0, 4), BATON_CONFLICT,
                   REASON_NOT_DUE);
    assert_int_equal(k.out->reply.detail, 1);
    assert_int_equal(expire_with(&k, lease, 1, 4)->status, BATON_OK);
    assert_int_equal(find_event(&k, EVENT_LEASE_ENDED)->cause, CAUSE_EXPIRED);
    assert_refused(expire_with(&k, lease, 1, 4), BATON_EXPIRED,
                   REASON_LEASE_ENDED);
    assert_refused(expire_with(&k, 999, 1, 4), BATON_NOT_FOUND,
                   REASON_NO_LEASE);
    kit_fini(&k);
}

static void test_touched_is_a_sign_of_life(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t leases[3];
    for (uint8_t i = 0; i < 3; i++) {
        leases[i] = kit_lease(&k, i, "relay");
    }
    k.time_ms += 700;
    uint64_t deltas[] = {leases[0], leases[2] - leases[0]};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Touched m = PB__TOUCHED__INIT;
    m.lease_deltas = deltas;
    m.n_lease_deltas = 2;
    c.op_case = PB__COMMAND__OP_TOUCHED;
    c.touched = &m;
    assert_int_equal(kit_leader(&k, &c)->status, BATON_OK);
    for (int i = 0; i < 3; i++) {
        struct lease_view view;
        assert_int_equal(registry_lease(k.r, leases[i], &view), BATON_OK);
        assert_int_equal(view.renewals, i == 1 ? 0 : 1);
        assert_int_equal(view.touched_ms, k.time_ms - (i == 1 ? 700 : 0));
    }
    static const uint64_t bad[][2] = {{1, 0}, {0, 5}, {UINT64_MAX, 1}};
    for (size_t i = 0; i < countof(bad); i++) {
        memcpy(deltas, bad[i], sizeof deltas);
        assert_refused(kit_leader(&k, &c), BATON_INVALID, REASON_LEASE_DELTAS);
    }
    kit_fini(&k);
}

static void test_close_closes_its_sessions(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    uint64_t a = kit_session(&k, lease, "ns/g/d/t1", 5);
    uint64_t b = kit_session(&k, lease, "ns/g/e/t1", 0);
    assert_int_equal(kit_holder(&k, "ns/g"), a);
    assert_int_equal(kit_close_lease(&k, lease, false)->detail, 2);
    assert_int_equal(kit_events(&k, EVENT_SESSION_CLOSED), 2);
    /* In the order of ids; and never to one that falls in the same entry. */
    assert_int_equal(find_event(&k, EVENT_SESSION_CLOSED)->session, a);
    assert_int_equal(kit_events(&k, EVENT_GRANTED), 0);
    assert_int_equal(view_of(&k, b).id, 0);
    assert_int_equal(k.r->objects_n[OBJECT_LEASE], 0);
    assert_int_equal(k.r->objects_n[OBJECT_NAMESPACE], 0);
    kit_fini(&k);
}

/* More sessions than one entry may sweep: parts, proposed by the leader, in which nothing is done twice. */
static void test_a_large_lease_ends_in_parts(void **state)
{
    (void)state;
    for (int detach = 0; detach < 2; detach++) {
        struct kit k;
        kit_init(&k);
        uint64_t lease = kit_lease(&k, 1, "relay");
        for (uint32_t i = 0; i < 3 * SWEEP_MAX + 5; i++) {
            char path[64];
            (void)snprintf(path, sizeof path, "ns/g%u/d/t%u", i % 20, i);
            (void)kit_session(&k, lease, path, 0);
        }
        assert_int_equal(kit_close_lease(&k, lease, detach)->detail,
                         3 * SWEEP_MAX + 5);
        assert_int_equal(k.out->events_n, 1);
        assert_int_equal(registry_due_ms(k.r), k.time_ms);
        uint64_t ended_ms = k.time_ms;
        uint32_t parts = 0;
        while (registry_due_ms(k.r) <= k.time_ms) {
            /* All parts can be had at once; a leader may get no further than one of them. */
            assert_int_equal(kit_due_some(&k, 1), 1);
            assert_true(k.out->reply.detail > 0);
            parts++;
            k.time_ms += 100;
        }
        assert_int_equal(parts, 4);
        struct registry_counts n;
        registry_counts(k.r, &n);
        assert_int_equal(n.leases, 0);
        assert_int_equal(n.detached, detach ? 3 * SWEEP_MAX + 5 : 0);
        assert_int_equal(n.sessions, n.detached);
        /* The graces count from the lease's end, for all parts. */
        kit_wait(&k, ended_ms + 29999 - k.time_ms);
        assert_int_equal(k.r->objects_n[OBJECT_SESSION], n.sessions);
        kit_wait(&k, 1);
        assert_int_equal(k.r->objects_n[OBJECT_SESSION], 0);
        assert_int_equal(k.r->objects_n[OBJECT_LEASE], 0);
        kit_fini(&k);
    }
}

static void hand_over(struct kit *k, uint64_t lease, const char *path)
{
    struct kit_path p;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__Handoff m = PB__HANDOFF__INIT;
    kit_path(&p, path);
    m.scope = &p.path;
    c.op_case = PB__COMMAND__OP_HANDOFF;
    c.handoff = &m;
    assert_int_equal(kit_client(k, lease, &c)->status, BATON_OK);
}

/* As many sessions as one entry may close, each of them a holder with a backup, every scope in the middle of a hand-off to one that
 * falls, too: what that tells fits into one entry's events. */
static void test_the_most_events(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    char path[64];
    for (uint32_t i = 0; i < SWEEP_MAX; i++) {
        (void)snprintf(path, sizeof path, "ns/g/d%u/t1", i / 2);
        path[strlen(path) - 1] = i % 2 == 0 ? '1' : '2';
        (void)kit_session(&k, lease, path, 90 - (int)i);
    }
    for (uint32_t i = 0; i < SWEEP_MAX / 2; i++) {
        (void)snprintf(path, sizeof path, "ns/g/d%u/t3", i);
        (void)kit_session(&k, other, path, -20);
        (void)snprintf(path, sizeof path, "ns/g/d%u/t4", i);
        (void)kit_session(&k, other, path, -30);
        (void)snprintf(path, sizeof path, "ns/g/d%u", i);
        hand_over(&k, other, path);
    }
    hand_over(&k, other, "ns/g");
    assert_int_equal(kit_close_lease(&k, lease, false)->detail, SWEEP_MAX);
    assert_int_equal(kit_events(&k, EVENT_SESSION_CLOSED), SWEEP_MAX);
    /* One grant a scope, and to one that stays. */
    assert_int_equal(kit_events(&k, EVENT_GRANTED), SWEEP_MAX / 2 + 1);
    assert_int_equal(kit_events(&k, EVENT_HANDOFF_FAILED), SWEEP_MAX / 2 + 1);
    assert_true(k.out->events_n <= EVENTS_MAX / 2);
    kit_fini(&k);
}

/* --- detached, attached -------------------------------------------------------------------------------------------- */
static void test_graces(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t holder = kit_session(&k, lease, "ns/g/laptop/t", 50);
    uint64_t backup = kit_session(&k, other, "ns/g/phone/t", 10);
    uint64_t epoch = kit_epoch(&k, "ns/g");
    assert_int_equal(kit_expire(&k, lease)->status, BATON_OK);
    assert_int_equal(find_event(&k, EVENT_SESSION_DETACHED)->session, holder);
    assert_true(view_of(&k, holder).detached);
    assert_int_equal(kit_holder(&k, "ns/g"), holder);
    kit_wait(&k, 4999);
    assert_int_equal(kit_holder(&k, "ns/g"), holder);
    assert_int_equal(kit_epoch(&k, "ns/g"), epoch);
    kit_wait(&k, 1); /* the holder's grace: 5 s by default */
    assert_int_equal(kit_holder(&k, "ns/g"), backup);
    assert_int_equal(kit_holder(&k, "ns/g/laptop"), 0);
    assert_int_equal(view_of(&k, holder).id, holder);
    kit_wait(&k, 24999);
    assert_int_equal(view_of(&k, holder).id, holder);
    kit_wait(&k, 1); /* the session's: 30 s */
    assert_int_equal(view_of(&k, holder).id, 0);
    assert_int_equal(find_event(&k, EVENT_SESSION_CLOSED)->cause, CAUSE_GRACE);
    kit_fini(&k);
}

static void test_attach_keeps_the_baton(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t holder = kit_session(&k, lease, "ns/g/laptop/t", 50);
    (void)kit_session(&k, other, "ns/g/phone/t", 10);
    uint64_t epoch = kit_epoch(&k, "ns/g");
    assert_int_equal(kit_expire(&k, lease)->status, BATON_OK);
    k.time_ms += 3000;
    assert_refused(kit_attach(&k, other, holder, 8), BATON_NOT_ALLOWED,
                   REASON_WRONG_SECRET);
    assert_refused(kit_attach(&k, other, 999, 7), BATON_NOT_FOUND,
                   REASON_NO_SESSION);
    assert_refused(kit_attach(&k, lease, holder, 7), BATON_EXPIRED,
                   REASON_LEASE_ENDED);
    const struct reply *reply = kit_attach(&k, other, holder, 7);
    assert_int_equal(reply->status, BATON_OK);
    assert_int_equal(reply->detail, 2);
    const struct event *e = find_event(&k, EVENT_SESSION_ATTACHED);
    assert_int_equal(e->attachment, 2);
    assert_int_equal(e->lease, other);
    assert_int_equal(e->previous_lease, lease);
    assert_int_equal(kit_events(&k, EVENT_GRANTED), 0);
    assert_false(view_of(&k, holder).detached);
    kit_wait(&k, 100000);
    assert_int_equal(kit_holder(&k, "ns/g"), holder);
    assert_int_equal(kit_epoch(&k, "ns/g"), epoch);
    kit_fini(&k);
}

/* A relay that takes over before the old one's lease expired: what the old one still says is refused. */
static void test_attach_takes_over_from_a_live_lease(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t session = kit_session(&k, lease, "ns/g/d/t", 0);
    assert_int_equal(kit_attach(&k, other, session, 7)->detail, 2);
    assert_refused(kit_close(&k, lease, session, 1), BATON_NOT_ALLOWED,
                   REASON_OTHER_LEASE);
    assert_int_equal(k.out->reply.detail, other);
    assert_refused(kit_close(&k, other, session, 1), BATON_CONFLICT,
                   REASON_ATTACHMENT);
    assert_int_equal(k.out->reply.detail, 2);
    /* Its lease's end is nothing to the session any more. */
    assert_int_equal(kit_expire(&k, lease)->detail, 0);
    assert_false(view_of(&k, session).detached);
    /* Attached to its own lease once more: a new number all the same. */
    assert_int_equal(kit_attach(&k, other, session, 7)->detail, 3);
    assert_int_equal(kit_close(&k, other, session, 3)->status, BATON_OK);
    assert_refused(kit_close(&k, other, session, 0), BATON_NOT_FOUND,
                   REASON_NO_SESSION);
    kit_fini(&k);
}

/* --- opening --------------------------------------------------------------------------------------------------------- */
static void test_a_name_is_used_once(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t session = kit_session(&k, lease, "ns/g/d/t", 0);
    assert_refused(kit_open(&k, other, "ns/g/d/t", 0, 7), BATON_CONFLICT,
                   REASON_TAB_IN_USE);
    assert_int_equal(k.out->reply.detail, session);
    assert_int_equal(k.out->events_n, 0);
    /* Detached it still has its name; the secret is for attaching. */
    assert_int_equal(kit_expire(&k, lease)->status, BATON_OK);
    assert_refused(kit_open(&k, other, "ns/g/d/t", 0, 7), BATON_CONFLICT,
                   REASON_TAB_IN_USE);
    assert_int_equal(kit_open(&k, other, "ns/g/d/u", 0, 7)->status, BATON_OK);
    assert_int_equal(kit_open(&k, other, "ns/h/d/t", 0, 7)->status, BATON_OK);
    kit_fini(&k);
}

static const struct reply *set_limits(struct kit *k, uint64_t sessions,
                                      uint64_t leases, uint64_t namespaces)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__SetLimits m = PB__SET_LIMITS__INIT;
    m.sessions_max = sessions;
    m.leases_max = leases;
    m.namespaces_max = namespaces;
    c.op_case = PB__COMMAND__OP_SET_LIMITS;
    c.set_limits = &m;
    return kit_leader(k, &c);
}

static void set_policy(struct kit *k, uint64_t lease, Pb__Policy *policy)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__SetPolicy m = PB__SET_POLICY__INIT;
    m.namespace_ = "ns";
    m.policy = policy;
    c.op_case = PB__COMMAND__OP_SET_POLICY;
    c.set_policy = &m;
    assert_int_equal(kit_client(k, lease, &c)->status, BATON_OK);
}

static void test_limits_of_the_cluster(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    assert_refused(set_limits(&k, 513, 0, 0), BATON_INVALID,
                   REASON_SESSIONS_CLUSTER);
    assert_int_equal(k.out->reply.detail, 512);
    assert_refused(set_limits(&k, 0, 33, 0), BATON_INVALID,
                   REASON_LEASES_CLUSTER);
    assert_refused(set_limits(&k, 0, 0, 9), BATON_INVALID,
                   REASON_NAMESPACES_CLUSTER);
    assert_int_equal(set_limits(&k, 3, 1, 2)->status, BATON_OK);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint8_t nonce[16] = {9};
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenLease m = PB__OPEN_LEASE__INIT;
    m.nonce = codec_binary((struct bytes){nonce, sizeof nonce});
    m.ttl_ms = 1000;
    c.version = COMMAND_VERSION;
    c.op_case = PB__COMMAND__OP_OPEN_LEASE;
    c.open_lease = &m;
    assert_refused(kit_apply(&k, &c), BATON_LIMIT, REASON_LEASES_CLUSTER);
    assert_int_equal(k.out->reply.detail, 1);
    (void)kit_session(&k, lease, "n1/g/d/t", 0);
    (void)kit_session(&k, lease, "n2/g/d/t", 0);
    assert_refused(kit_open(&k, lease, "n3/g/d/t", 0, 7), BATON_LIMIT,
                   REASON_NAMESPACES_CLUSTER);
    (void)kit_session(&k, lease, "n2/g/d/u", 0);
    assert_refused(kit_open(&k, lease, "n2/g/d/v", 0, 7), BATON_LIMIT,
                   REASON_SESSIONS_CLUSTER);
    assert_int_equal(k.out->reply.detail, 3);
    kit_fini(&k);
}

static void test_limits_of_a_policy(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    Pb__Policy policy = PB__POLICY__INIT;
    policy.sessions_max = 5;
    policy.sessions_per_lease_max = 3;
    policy.devices_per_group_max = 2;
    policy.tabs_per_device_max = 2;
    set_policy(&k, lease, &policy);
    (void)kit_session(&k, lease, "ns/g/d/t1", 0);
    uint64_t session = kit_session(&k, lease, "ns/g/d/t2", 0);
    assert_refused(kit_open(&k, lease, "ns/g/d/t3", 0, 7), BATON_LIMIT,
                   REASON_TABS_DEVICE);
    (void)kit_session(&k, lease, "ns/g/e/t1", 0);
    assert_refused(kit_open(&k, other, "ns/g/f/t1", 0, 7), BATON_LIMIT,
                   REASON_DEVICES_GROUP);
    assert_refused(kit_open(&k, lease, "ns/h/d/t1", 0, 7), BATON_LIMIT,
                   REASON_SESSIONS_LEASE);
    uint64_t b = kit_session(&k, other, "ns/h/d/t1", 0);
    (void)kit_session(&k, other, "ns/h/d/t2", 0);
    assert_refused(kit_open(&k, other, "ns/h/e/t2", 0, 7), BATON_LIMIT,
                   REASON_SESSIONS_NAMESPACE);
    assert_int_equal(k.out->reply.detail, 5);
    assert_refused(kit_attach(&k, lease, b, 7), BATON_LIMIT,
                   REASON_SESSIONS_LEASE);
    assert_int_equal(kit_attach(&k, lease, session, 7)->status, BATON_OK);
    /* Other namespaces have their own. */
    assert_int_equal(kit_open(&k, other, "mine/h/e/t", 0, 7)->status, BATON_OK);
    kit_fini(&k);
}

/* --- updating -------------------------------------------------------------------------------------------------------- */
static void make_update(Pb__Command *c, Pb__UpdateSession *m,
                        Pb__Capability *cap, uint64_t session)
{
    static Pb__Capability *list[1];
    *c = (Pb__Command)PB__COMMAND__INIT;
    *m = (Pb__UpdateSession)PB__UPDATE_SESSION__INIT;
    list[0] = cap;
    m->session = session;
    m->n_capabilities = 1;
    m->capabilities = list;
    c->op_case = PB__COMMAND__OP_UPDATE_SESSION;
    c->update_session = m;
}

static void test_update(void **state)
{
    (void)state;
    struct kit k;
    Pb__Command c;
    Pb__UpdateSession m;
    Pb__Capability cap = PB__CAPABILITY__INIT;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t session = kit_session(&k, lease, "ns/g/d/t", 20);
    cap.key = PB__CAPABILITY_KEY__BATTERY;
    cap.value = 80;
    make_update(&c, &m, &cap, session);
    c.lease = lease;
    assert_false(registry_update_is_noop(k.r, &c));
    assert_int_equal(kit_client(&k, lease, &c)->id, session);
    assert_int_equal(kit_events(&k, EVENT_SESSION_UPDATED), 1);
    struct session_view view = view_of(&k, session);
    assert_int_equal(view.caps.battery, 80);
    assert_int_equal(view.caps.priority, 20); /* what isn't named stays */
    /* In the same step of five: nothing changes, and no entry is needed. */
    cap.value = 81;
    assert_true(registry_update_is_noop(k.r, &c));
    assert_int_equal(kit_client(&k, lease, &c)->status, BATON_OK);
    assert_int_equal(k.out->reply.id, session);
    assert_int_equal(k.out->reply.detail, 1);
    assert_int_equal(k.out->events_n, 0);
    /* Whoever may not say it needs its refusal from the log. */
    c.lease = other;
    assert_false(registry_update_is_noop(k.r, &c));
    c.lease = lease;
    m.attachment = 2;
    assert_false(registry_update_is_noop(k.r, &c));
    m.attachment = 1;
    assert_true(registry_update_is_noop(k.r, &c));
    m.set_observer = true;
    assert_true(registry_update_is_noop(k.r, &c));
    m.observer = true;
    assert_false(registry_update_is_noop(k.r, &c));
    assert_int_equal(kit_client(&k, lease, &c)->status, BATON_OK);
    assert_true(view_of(&k, session).observer);
    assert_int_equal(view_of(&k, session).role, ROLE_OBSERVER);
    assert_int_equal(kit_holder(&k, "ns/g"), 0);
    kit_fini(&k);
}

static void test_a_grace_that_is_not_over(void **state)
{
    (void)state;
    struct kit k;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__EndGrace m = PB__END_GRACE__INIT;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    uint64_t session = kit_session(&k, lease, "ns/g/d/t", 20);
    m.session = session;
    m.attachment = 1;
    c.op_case = PB__COMMAND__OP_END_GRACE;
    c.end_grace = &m;
    assert_refused(kit_leader(&k, &c), BATON_CONFLICT, REASON_NOT_DUE);
    assert_int_equal(kit_expire(&k, lease)->status, BATON_OK);
    assert_refused(kit_leader(&k, &c), BATON_CONFLICT, REASON_NOT_DUE);
    /* Attached in time: what was decided about the old attachment is void. */
    assert_int_equal(kit_attach(&k, other, session, 7)->detail, 2);
    k.time_ms += 100000;
    assert_refused(kit_leader(&k, &c), BATON_CONFLICT, REASON_ATTACHMENT);
    m.session = 999;
    assert_refused(kit_leader(&k, &c), BATON_NOT_FOUND, REASON_NO_SESSION);
    assert_int_equal(view_of(&k, session).id, session);
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry_is_conditional),
        cmocka_unit_test(test_touched_is_a_sign_of_life),
        cmocka_unit_test(test_close_closes_its_sessions),
        cmocka_unit_test(test_a_large_lease_ends_in_parts),
        cmocka_unit_test(test_the_most_events),
        cmocka_unit_test(test_graces),
        cmocka_unit_test(test_attach_keeps_the_baton),
        cmocka_unit_test(test_attach_takes_over_from_a_live_lease),
        cmocka_unit_test(test_a_name_is_used_once),
        cmocka_unit_test(test_limits_of_the_cluster),
        cmocka_unit_test(test_limits_of_a_policy),
        cmocka_unit_test(test_update),
        cmocka_unit_test(test_a_grace_that_is_not_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
