/* Fields of commands: at the edge, and in apply when the edge was wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/check.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

static const char name_128[] =
    "0123456789012345678901234567890123456789012345678901234567890123"
    "0123456789012345678901234567890123456789012345678901234567890123";
static const char name_129[] =
    "0123456789012345678901234567890123456789012345678901234567890123"
    "01234567890123456789012345678901234567890123456789012345678901234";

static const struct {
    const char *parts[3];
    enum check_path kind;
    uint32_t reason; /* NONE: good */
} paths[] = {
    {{"ns", "g", "d"}, CHECK_DEVICE, REASON_NONE},
    {{"ns", "g", "d"}, CHECK_SCOPE, REASON_NONE},
    {{"ns", "g", ""}, CHECK_SCOPE, REASON_NONE},
    {{"ns", "g", ""}, CHECK_DEVICE, REASON_DEVICE},
    {{"", "g", "d"}, CHECK_SCOPE, REASON_NAMESPACE},
    {{"ns", "", "d"}, CHECK_SCOPE, REASON_GROUP},
    {{name_128, name_128, name_128}, CHECK_DEVICE, REASON_NONE},
    {{name_129, "g", "d"}, CHECK_DEVICE, REASON_NAMESPACE},
    {{"ns", name_129, "d"}, CHECK_DEVICE, REASON_GROUP},
    {{"ns", "g", name_129}, CHECK_SCOPE, REASON_DEVICE},
    {{"a/b", "g", "d"}, CHECK_DEVICE, REASON_NAMESPACE},
    {{"ns", "g\n", "d"}, CHECK_DEVICE, REASON_GROUP},
    {{"ns", "g", "\x7f"}, CHECK_DEVICE, REASON_DEVICE},
    {{"ns", "g", "\xc2\x85"}, CHECK_DEVICE, REASON_DEVICE},
    {{"ns", "g", "\xff"}, CHECK_DEVICE, REASON_DEVICE},
    {{"ns", "g", "\xed\xa0\x80"}, CHECK_DEVICE, REASON_DEVICE},
    {{"ns", "g", "\xc0\xaf"}, CHECK_DEVICE, REASON_DEVICE},
    {{"n\xc3\xa4me", "\xe5\x90\x8d", "\xf0\x9f\x98\x80"},
     CHECK_DEVICE,
     REASON_NONE},
};

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(paths); i++) {
        Pb__Path path = PB__PATH__INIT;
        uint32_t reason = REASON_NONE;
        path.namespace_ = (char *)(uintptr_t)paths[i].parts[0];
        path.group = (char *)(uintptr_t)paths[i].parts[1];
        path.device = (char *)(uintptr_t)paths[i].parts[2];
        enum baton_status status = check_path(&path, paths[i].kind, &reason);
        assert_int_equal(reason, paths[i].reason);
        assert_int_equal(status,
                         reason == REASON_NONE ? BATON_OK : BATON_INVALID);
    }
    uint32_t reason = REASON_NONE;
    assert_int_equal(check_path(NULL, CHECK_SCOPE, &reason), BATON_INVALID);
    assert_int_equal(reason, REASON_NAMESPACE);
}

/* The last good value on each side of each range. */
static const struct {
    enum capability key;
    int32_t min;
    int32_t max;
    uint32_t reason;
} ranges[] = {
    {CAP_BATTERY, 0, 100, REASON_BATTERY},
    {CAP_CHARGING, 0, 1, REASON_CHARGING},
    {CAP_KIND, 1, 5, REASON_KIND},
    {CAP_NETWORK, 1, 6, REASON_NETWORK},
    {CAP_RTT_MS, 0, 600000, REASON_RTT},
    {CAP_VISIBLE, 0, 1, REASON_VISIBLE},
    {CAP_CORES, 1, 4096, REASON_CORES},
    {CAP_MEMORY_MB, 1, 16777216, REASON_MEMORY},
    {CAP_PRIORITY, -100, 100, REASON_PRIORITY},
};

static void one_capability(int32_t key, int32_t value, uint32_t want_reason)
{
    Pb__Capability cap = PB__CAPABILITY__INIT;
    Pb__Capability *list[] = {&cap};
    struct capabilities caps = {.known = 0};
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    cap.key = (Pb__CapabilityKey)key;
    cap.value = value;
    enum baton_status status =
        check_capabilities(list, 1, &caps, &reason, &detail);
    assert_int_equal(reason, want_reason);
    if (want_reason == REASON_NONE) {
        assert_int_equal(status, BATON_OK);
        assert_int_equal(caps.known, 1u << key);
        assert_int_equal(capability_value(&caps, (enum capability)key), value);
    } else {
        assert_int_equal(status, BATON_INVALID);
        assert_int_equal(caps.known, 0);
        assert_int_equal(detail,
                         want_reason == REASON_CAPABILITY_KEY ? key : value);
    }
}

static void test_capabilities(void **state)
{
    (void)state;
    assert_int_equal(countof(ranges), CAP_END - 1);
    for (size_t i = 0; i < countof(ranges); i++) {
        int32_t key = (int32_t)ranges[i].key;
        one_capability(key, ranges[i].min, REASON_NONE);
        one_capability(key, ranges[i].max, REASON_NONE);
        one_capability(key, ranges[i].min - 1, ranges[i].reason);
        one_capability(key, ranges[i].max + 1, ranges[i].reason);
        one_capability(key, INT32_MIN, ranges[i].reason);
        one_capability(key, INT32_MAX, ranges[i].reason);
    }
    one_capability(0, 1, REASON_CAPABILITY_KEY);
    one_capability(CAP_END, 1, REASON_CAPABILITY_KEY);
    one_capability(-1, 1, REASON_CAPABILITY_KEY);
    one_capability(INT32_MAX, 1, REASON_CAPABILITY_KEY);
}

static void test_a_capability_twice(void **state)
{
    (void)state;
    Pb__Capability caps[2] = {PB__CAPABILITY__INIT, PB__CAPABILITY__INIT};
    Pb__Capability *list[] = {&caps[0], &caps[1]};
    struct capabilities out = {.known = 1u << CAP_CORES, .cores = 8};
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    caps[0].key = PB__CAPABILITY_KEY__BATTERY;
    caps[1].key = PB__CAPABILITY_KEY__BATTERY;
    assert_int_equal(check_capabilities(list, 2, &out, &reason, &detail),
                     BATON_INVALID);
    assert_int_equal(reason, REASON_CAPABILITY_TWICE);
    assert_int_equal(detail, CAP_BATTERY);
    /* What was known stays known. */
    caps[1].key = PB__CAPABILITY_KEY__VISIBLE;
    assert_int_equal(check_capabilities(list, 2, &out, &reason, &detail),
                     BATON_OK);
    assert_int_equal(out.known,
                     1u << CAP_CORES | 1u << CAP_BATTERY | 1u << CAP_VISIBLE);
    assert_int_equal(out.cores, 8);
}

static void test_secrets(void **state)
{
    (void)state;
    uint8_t a[16] = {1, 2, 3};
    uint8_t b[16] = {1, 2, 3};
    assert_true(check_secret(a, b));
    for (int i = 0; i < 16; i++) {
        b[i] ^= 0x80;
        assert_false(check_secret(a, b));
        b[i] ^= 0x80;
    }
}

/* A whole command, good but for one thing that `spoil` does to it. */
struct whole {
    Pb__Command command;
    Pb__OpenLease lease;
    Pb__OpenSession session;
    Pb__Yield yield;
    Pb__Demote demote;
    Pb__Path path;
    uint8_t bytes[16];
};

static void good(struct whole *w, Pb__Command__OpCase op)
{
    pb__command__init(&w->command);
    pb__path__init(&w->path);
    w->path.namespace_ = "ns";
    w->path.group = "g";
    w->path.device = "d";
    w->command.version = COMMAND_VERSION;
    w->command.lease = 5;
    w->command.sequence = 1;
    w->command.op_case = op;
    if (op == PB__COMMAND__OP_OPEN_LEASE) {
        pb__open_lease__init(&w->lease);
        w->lease.nonce = (ProtobufCBinaryData){16, w->bytes};
        w->lease.ttl_ms = 10000;
        w->lease.label = "a relay/1";
        w->command.open_lease = &w->lease;
    } else if (op == PB__COMMAND__OP_OPEN_SESSION) {
        pb__open_session__init(&w->session);
        w->session.path = &w->path;
        w->session.tab = "t";
        w->session.secret = (ProtobufCBinaryData){16, w->bytes};
        w->command.open_session = &w->session;
    } else if (op == PB__COMMAND__OP_YIELD) {
        pb__yield__init(&w->yield);
        w->yield.scope = &w->path;
        w->yield.session = 6;
        w->yield.epoch = 7;
        w->command.yield = &w->yield;
    } else {
        pb__demote__init(&w->demote);
        w->demote.scope = &w->path;
        w->demote.reason = "because";
        w->command.demote = &w->demote;
    }
}

static uint32_t refused(const struct whole *w, enum baton_status want)
{
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    enum baton_status status =
        registry_check_command(&w->command, &reason, &detail);
    assert_int_equal(status, want);
    return reason;
}

static void test_leases_at_the_edge(void **state)
{
    (void)state;
    static const struct {
        uint32_t ttl_ms;
        size_t nonce_n;
        const char *label;
        uint32_t reason;
    } rows[] = {
        {1000, 16, "", REASON_NONE},        {600000, 16, name_128, REASON_NONE},
        {999, 16, "", REASON_TTL},          {600001, 16, "", REASON_TTL},
        {UINT32_MAX, 16, "", REASON_TTL},   {1000, 15, "", REASON_NONCE},
        {1000, 17, "", REASON_NONCE},       {1000, 0, "", REASON_NONCE},
        {1000, 16, name_129, REASON_LABEL}, {1000, 16, "\n", REASON_LABEL},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct whole w;
        good(&w, PB__COMMAND__OP_OPEN_LEASE);
        w.lease.ttl_ms = rows[i].ttl_ms;
        w.lease.nonce.len = rows[i].nonce_n;
        w.lease.label = (char *)(uintptr_t)rows[i].label;
        enum baton_status want =
            rows[i].reason == REASON_NONE ? BATON_OK : BATON_INVALID;
        assert_int_equal(refused(&w, want), rows[i].reason);
    }
}

static void test_commands_at_the_edge(void **state)
{
    (void)state;
    struct whole w;
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    assert_int_equal(refused(&w, BATON_OK), REASON_NONE);
    w.session.tab = "";
    assert_int_equal(refused(&w, BATON_INVALID), REASON_TAB);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.session.secret.len = 15;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_SECRET);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.version = COMMAND_VERSION + 1;
    assert_int_equal(refused(&w, BATON_UNSUPPORTED), REASON_NONE);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.proposer_term = 3; /* no client is a leader */
    assert_int_equal(refused(&w, BATON_INVALID), REASON_OP);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.lease = 0;
    assert_int_equal(refused(&w, BATON_NOT_FOUND), REASON_NO_LEASE);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.open_session = NULL;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_OP);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.op_case = PB__COMMAND__OP_EXPIRE_LEASE;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_OP);
    good(&w, PB__COMMAND__OP_YIELD);
    w.yield.epoch = 0;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_EPOCH);
    good(&w, PB__COMMAND__OP_YIELD);
    w.yield.session = 0;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_SESSION);
    good(&w, PB__COMMAND__OP_YIELD);
    w.yield.state.len = STATE_BYTES_MAX + 1;
    assert_int_equal(refused(&w, BATON_INVALID), REASON_STATE_BYTES);
    good(&w, PB__COMMAND__OP_DEMOTE);
    w.demote.reason = "\x01";
    assert_int_equal(refused(&w, BATON_INVALID), REASON_TEXT);
}

/* The edge let them pass: apply refuses, and keeps the refusal. */
static void test_the_same_in_apply(void **state)
{
    (void)state;
    struct kit k;
    struct whole w;
    kit_init(&k);
    uint64_t lease = kit_lease(&k, 1, "relay");
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.session.tab = "a/b";
    assert_int_equal(kit_client(&k, lease, &w.command)->reason, REASON_TAB);
    good(&w, PB__COMMAND__OP_YIELD);
    w.yield.epoch = 0;
    assert_int_equal(kit_client(&k, lease, &w.command)->reason, REASON_EPOCH);
    assert_int_equal(k.out->events_n, 0);
    (void)kit_apply(&k, &w.command);
    assert_true(k.out->duplicate);
    /* Not a client's to say; nothing at all; nothing known. */
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.op_case = PB__COMMAND__OP_END_GRACE;
    assert_int_equal(kit_client(&k, lease, &w.command)->status,
                     BATON_NOT_ALLOWED);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.op_case = PB__COMMAND__OP__NOT_SET;
    assert_int_equal(kit_client(&k, lease, &w.command)->status,
                     BATON_UNSUPPORTED);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.version = 0;
    assert_int_equal(kit_apply(&k, &w.command)->status, BATON_UNSUPPORTED);
    good(&w, PB__COMMAND__OP_OPEN_SESSION);
    w.command.lease = 0;
    w.command.proposer_term = k.term;
    assert_int_equal(kit_apply(&k, &w.command)->status, BATON_UNSUPPORTED);
    kit_fini(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_a_capability_twice),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_leases_at_the_edge),
        cmocka_unit_test(test_commands_at_the_edge),
        cmocka_unit_test(test_the_same_in_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
