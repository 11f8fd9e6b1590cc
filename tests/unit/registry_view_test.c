/* Looking at the registry: scopes, sessions, walks, policies, and who changed slots meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/state.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

static bool is(struct bytes b, const char *text)
{
    return b.n == strlen(text) && memcmp(b.data, text, b.n) == 0;
}

static void test_scopes(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum baton_status status;
        uint32_t reason;
        uint64_t session;
    } rows[] = {
        {"ns/g", BATON_OK, REASON_NONE, 3},
        {"ns/g/laptop", BATON_OK, REASON_NONE, 3},
        {"ns/g/phone", BATON_OK, REASON_NONE, 4},
        {"ns/g/watch", BATON_NOT_FOUND, REASON_NO_HOLDER, 0},
        {"ns/g/none", BATON_NOT_FOUND, REASON_NO_SCOPE, 0},
        {"ns/none", BATON_NOT_FOUND, REASON_NO_SCOPE, 0},
        {"none/g", BATON_NOT_FOUND, REASON_NO_NAMESPACE, 0},
        {"ns//laptop", BATON_INVALID, REASON_GROUP, 0},
    };
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t other = kit_lease(&k, 2, "relay-2");
    (void)kit_session(&k, lease, "ns/g/laptop/t1", 50);
    (void)kit_session(&k, other, "ns/g/phone/t1", 10);
    uint64_t watch = kit_session(&k, other, "ns/g/watch/t1", 0);
    Pb__Command c = PB__COMMAND__INIT;
    Pb__UpdateSession m = PB__UPDATE_SESSION__INIT;
    m.session = watch;
    m.set_observer = true;
    m.observer = true;
    c.op_case = PB__COMMAND__OP_UPDATE_SESSION;
    c.update_session = &m;
    assert_int_equal(kit_client(&k, other, &c)->status, BATON_OK);
    for (size_t i = 0; i < countof(rows); i++) {
        struct kit_path p;
        struct scope_view view;
        uint32_t reason = REASON_NONE;
        kit_path(&p, rows[i].path);
        assert_int_equal(registry_scope(k.r, &p.path, &view, &reason),
                         rows[i].status);
        assert_int_equal(reason, rows[i].reason);
        assert_int_equal(view.session, rows[i].session);
        if (reason == REASON_NO_HOLDER) {
            /* Vacant, and yet it says what was. */
            assert_true(is(view.device, "watch"));
            assert_int_equal(view.epoch, watch);
        }
    }
    struct kit_path p;
    struct scope_view view;
    uint32_t reason = REASON_NONE;
    kit_path(&p, "ns/g");
    assert_int_equal(registry_scope(k.r, &p.path, &view, &reason), BATON_OK);
    assert_true(view.group_scope);
    assert_true(is(view.namespace_name, "ns") && is(view.group, "g"));
    assert_true(is(view.holder_device, "laptop") && is(view.holder_tab, "t1"));
    assert_true(is(view.relay, "relay-1"));
    assert_int_equal(view.device.n, 0);
    assert_int_equal(view.lease, lease);
    assert_int_equal(view.backup, 4);
    assert_int_equal(view.reason, GRANT_FIRST);
    assert_false(view.handing_over);
    kit_fini(&k);
}

static void test_a_session_sees_its_roles(void **state)
{
    (void)state;
    struct kit k;
    struct session_view view;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint64_t a = kit_session(&k, lease, "ns/g/laptop/t1", 50);
    uint64_t b = kit_session(&k, lease, "ns/g/laptop/t2", 40);
    uint64_t c = kit_session(&k, lease, "ns/g/laptop/t3", 30);
    uint64_t d = kit_session(&k, lease, "ns/g/phone/t1", 10);
    assert_int_equal(registry_session(k.r, a, &view), BATON_OK);
    assert_int_equal(view.role, ROLE_LEADER);
    assert_true(view.group_leader && !view.group_backup);
    assert_int_equal(view.device_epoch, a);
    assert_int_equal(view.group_epoch, a);
    assert_int_equal(registry_session(k.r, b, &view), BATON_OK);
    assert_int_equal(view.role, ROLE_BACKUP);
    assert_int_equal(view.device_epoch, 0);
    assert_int_equal(registry_session(k.r, c, &view), BATON_OK);
    assert_int_equal(view.role, ROLE_CANDIDATE);
    assert_int_equal(registry_session(k.r, d, &view), BATON_OK);
    assert_int_equal(view.role, ROLE_LEADER);
    assert_true(!view.group_leader && view.group_backup);
    assert_int_equal(view.device_epoch, d);
    assert_int_equal(view.group_epoch, 0);
    assert_int_equal(registry_session(k.r, 999, &view), BATON_NOT_FOUND);
    assert_int_equal(registry_session(k.r, 0, &view), BATON_NOT_FOUND);
    struct lease_view none;
    assert_int_equal(registry_lease(k.r, 0, &none), BATON_NOT_FOUND);
    kit_fini(&k);
}

static void test_walks_see_everything_once(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    uint32_t opened = 0;
    for (uint32_t i = 0; i < 60; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "ns/g%u/d%u/t%u", i % 4, i % 5, i);
        (void)kit_session(&k, lease, path, 0);
        opened++;
    }
    /* Holes: slots whose objects are gone, walked or not yet. */
    for (uint64_t id = 2; id < 20; id += 3) {
        assert_int_equal(kit_close(&k, lease, id, 0)->status, BATON_OK);
        opened--;
    }
    uint64_t seen = 0;
    uint32_t sessions = 0;
    uint32_t devices = 0;
    for (uint32_t g = 1; g <= registry_group_slots(k.r); g++) {
        struct scope_view scope;
        struct session_view session;
        uint32_t device = 0;
        uint64_t member = 0;
        assert_int_equal(registry_group_namespace(k.r, g) != 0,
                         registry_group_scope(k.r, g, &scope));
        while (registry_group_device(k.r, g, &device, &scope)) {
            assert_false(scope.group_scope);
            devices++;
        }
        while (registry_group_session(k.r, g, &member, &session)) {
            assert_int_equal(session.group_slot, g);
            seen += session.id;
            sessions++;
        }
    }
    assert_int_equal(sessions, opened);
    struct registry_counts n;
    registry_counts(k.r, &n);
    assert_int_equal(n.sessions, opened);
    assert_int_equal(n.devices, devices);
    assert_int_equal(n.groups, 4);
    assert_int_equal(n.leases, 1);
    assert_int_equal(n.batons, devices + 4);
    uint32_t by_slot = 0;
    for (uint32_t s = 1; s <= registry_session_slots(k.r); s++) {
        struct session_view session;
        if (registry_session_at(k.r, s, &session)) {
            seen -= session.id;
            by_slot++;
        }
    }
    assert_int_equal(by_slot, opened);
    assert_int_equal(seen, 0);
    assert_int_equal(registry_lease_slots(k.r), 1);
    struct lease_view view;
    assert_true(registry_lease_at(k.r, 1, &view));
    assert_int_equal(view.sessions_n, opened);
    assert_int_equal(view.slot, 1);
    kit_fini(&k);
}

static void test_empty_slots(void **state)
{
    (void)state;
    struct kit k;
    struct scope_view scope;
    struct session_view session;
    struct lease_view lease_view;
    uint32_t device = 0;
    uint64_t member = 0;
    kit_init(&k);
    assert_int_equal(registry_group_slots(k.r), 0);
    assert_false(registry_group_scope(k.r, 1, &scope));
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    (void)kit_session(&k, lease, "ns/g/d/t", 0);
    assert_int_not_equal(
        registry_find_group(k.r, codec_text("ns"), codec_text("g")), 0);
    assert_int_equal(kit_close_lease(&k, lease, false)->status, BATON_OK);
    for (int walked = 0; walked < 2; walked++) {
        assert_int_equal(registry_group_namespace(k.r, 1), 0);
        assert_false(registry_group_scope(k.r, 1, &scope));
        assert_false(registry_group_device(k.r, 1, &device, &scope));
        assert_false(registry_group_session(k.r, 1, &member, &session));
        assert_false(registry_session_at(k.r, 1, &session));
        assert_false(registry_lease_at(k.r, 1, &lease_view));
        assert_int_equal(registry_find_namespace(k.r, codec_text("ns")), 0);
        struct kit_rows rows = {.rows = NULL};
        kit_checkpoint(&k, &rows);
        kit_rows_fini(&rows);
    }
    kit_fini(&k);
}

static void test_policies(void **state)
{
    (void)state;
    static uint8_t memory[8192];
    struct arena arena;
    struct kit k;
    kit_init(&k);
    Pb__Policy fresh;
    arena_init(&arena, memory, sizeof memory);
    assert_int_equal(registry_policy(k.r, codec_text("ns"), &arena, &fresh),
                     BATON_OK);
    assert_true(fresh.margin > 0 && fresh.offer_ms > 0);
    uint32_t margin = fresh.margin;
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    Pb__Command c = PB__COMMAND__INIT;
    Pb__SetPolicy m = PB__SET_POLICY__INIT;
    Pb__Policy policy = PB__POLICY__INIT;
    policy.margin = margin + 1;
    m.namespace_ = "ns";
    m.policy = &policy;
    c.op_case = PB__COMMAND__OP_SET_POLICY;
    c.set_policy = &m;
    assert_int_equal(kit_client(&k, lease, &c)->detail, 1);
    assert_int_equal(kit_events(&k, EVENT_POLICY_SET), 1);
    assert_int_equal(registry_policy(k.r, codec_text("ns"), &arena, &fresh),
                     BATON_OK);
    assert_int_equal(fresh.margin, margin + 1);
    assert_int_equal(kit_client(&k, lease, &c)->detail, 2);
    /* It stays without a session, and past the lease that set it. */
    assert_int_equal(kit_close_lease(&k, lease, false)->status, BATON_OK);
    kit_wait(&k, 1000);
    assert_int_equal(registry_policy(k.r, codec_text("ns"), &arena, &fresh),
                     BATON_OK);
    assert_int_equal(fresh.margin, margin + 1);
    assert_int_equal(registry_policy(k.r, codec_text("other"), &arena, &fresh),
                     BATON_OK);
    assert_int_equal(fresh.margin, margin);
    kit_fini(&k);
}

static void test_events_name_what_is_gone(void **state)
{
    (void)state;
    struct kit k;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay-1");
    (void)kit_session(&k, lease, "ns/group/device/tab", 0);
    assert_int_equal(kit_close_lease(&k, lease, false)->status, BATON_OK);
    const struct event *closed = &k.out->events[1];
    assert_int_equal(closed->kind, EVENT_SESSION_CLOSED);
    assert_true(is(closed->namespace_name, "ns"));
    assert_true(is(closed->group, "group"));
    assert_true(is(closed->device, "device"));
    assert_true(is(closed->tab, "tab"));
    assert_true(is(k.out->events[0].text, "relay-1"));
    kit_fini(&k);
}

static void see_node(struct kit *k, uint32_t node, uint64_t incarnation,
                     uint64_t boot)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__NodeSeen m = PB__NODE_SEEN__INIT;
    m.node = node;
    m.incarnation = incarnation;
    m.boot = boot;
    c.op_case = PB__COMMAND__OP_NODE_SEEN;
    c.node_seen = &m;
    assert_int_equal(kit_leader(k, &c)->status, BATON_OK);
}

/* A node that was removed is forgotten: who comes under its number later is another. */
static void test_nodes_are_remembered_until_removed(void **state)
{
    (void)state;
    struct kit k;
    struct node_past past;
    kit_init(&k);
    see_node(&k, 3, 77, 5);
    see_node(&k, 1, 11, 2);
    see_node(&k, 3, 77, 4); /* an older start doesn't take it back */
    assert_true(registry_node(k.r, 3, &past));
    assert_int_equal(past.incarnation, 77);
    assert_int_equal(past.record.boot, 5);
    see_node(&k, 3, 0, 0);
    assert_false(registry_node(k.r, 3, &past));
    assert_true(registry_node(k.r, 1, &past));
    see_node(&k, 3, 0, 0); /* not there: nothing */
    see_node(&k, 3, 78, 1);
    assert_true(registry_node(k.r, 3, &past));
    assert_int_equal(past.incarnation, 78);
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_a_session_sees_its_roles),
        cmocka_unit_test(test_walks_see_everything_once),
        cmocka_unit_test(test_empty_slots),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_events_name_what_is_gone),
        cmocka_unit_test(test_nodes_are_remembered_until_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
