/* status_test.c - proto/status.h. */
#include "proto/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "baton/v1/types.pb-c.h"
#include "session/election.h"
#include "tests/unit/assert_stub.h"

#define STATUS_END ((uint32_t)BATON_UNAVAILABLE + 1)

static void test_names_are_those_of_the_wire(void **state)
{
    (void)state;
    assert_int_equal(pb__status__descriptor.n_values, STATUS_END);
    for (uint32_t i = 0; i < STATUS_END; i++) {
        assert_string_equal(status_name((enum baton_status)i),
                            pb__status__descriptor.values[i].name);
    }
    assert_string_equal(status_name(BATON_STALE_EPOCH), "STALE_EPOCH");
    assert_string_equal(status_name((enum baton_status)STATUS_END), "?");
    assert_string_equal(status_name((enum baton_status)999), "?");
}

static void test_sentences_whole(void **state)
{
    (void)state;
    static const struct {
        enum baton_status status;
        uint32_t reason;
        int64_t detail;
        const char *text;
    } rows[] = {
        {BATON_OK, REASON_NONE, 0, "Done."},
        {BATON_OK, REASON_TAB, 0, "Done."},
        {BATON_INVALID, REASON_GROUP, 0,
         "The group's name is malformed: give 1 to 128 bytes of UTF-8 without "
         "control characters or '/'."},
        {BATON_INVALID, REASON_TTL, 5,
         "The lease's TTL is out of range: give 1000 to 600000 ms."},
        {BATON_INVALID, REASON_POLICY_FIELD, 2,
         "The policy's field margin is out of range, and nothing was changed: "
         "give 1 to 20000 points."},
        {BATON_INVALID, REASON_POLICY_FIELD, -7,
         "The policy's field number -7 is out of range, and nothing was "
         "changed: give only fields that this version knows."},
        {BATON_INVALID, REASON_POLICY_WEIGHT, 5,
         "The policy's weight of rtt_ms is wrong, and nothing was changed: "
         "name each known capability at most once, with -1000 to 1000 "
         "points."},
        {BATON_INVALID, REASON_POLICY_WEIGHT, -1,
         "The policy's weight of an unknown capability is wrong, and nothing "
         "was changed: name each known capability at most once, with -1000 "
         "to 1000 points."},
        {BATON_INVALID, REASON_STATE_BYTES, 1000,
         "The state for the successor is too long: give at most 1000 bytes; "
         "the namespace's policy can allow up to 65536 (state_bytes_max)."},
        {BATON_LIMIT, REASON_TABS_DEVICE, 64,
         "The device has all the 64 tabs that its policy allows: close one, "
         "or raise tabs_per_device_max."},
        {BATON_STALE_EPOCH, REASON_EPOCH_CURRENT, INT64_MAX,
         "The epoch isn't the scope's current one, which is "
         "9223372036854775807: stop acting as its leader under the old one."},
        {BATON_NOT_ALLOWED, REASON_OTHER_LEASE, INT64_MIN,
         "The session is on lease -9223372036854775808: only that lease's "
         "client may do that, or one that attaches the session first."},
        /* One reason under two statuses. */
        {BATON_NOT_FOUND, REASON_NO_SESSION, 0,
         "There is no such session: check the id; it was never opened, or "
         "ended long ago."},
        {BATON_EXPIRED, REASON_NO_SESSION, 0,
         "The session has ended: open a new one."},
        /* A pair without a row of its own: the reason says more than the status. */
        {BATON_NOT_FOUND, REASON_NO_OFFER, 0,
         "There is no such offer: it was answered, withdrawn, or ran out of "
         "time."},
        /* From a newer version. */
        {BATON_LIMIT, REASON_END, 3,
         "A limit would be passed: close what isn't needed any more, or have "
         "the limit raised."},
        {(enum baton_status)99, REASON_NONE, 0,
         "The answer has a status that this version doesn't know: use client "
         "and nodes of versions that go together."},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char out[512];
        size_t n = status_text(rows[i].status, rows[i].reason, rows[i].detail,
                               out, sizeof out);
        assert_string_equal(out, rows[i].text);
        assert_int_equal(n, strlen(out));
    }
}

/* Every status, under every reason: a sentence, with nothing left to be filled in. */
static void test_all_pairs_give_a_sentence(void **state)
{
    (void)state;
    for (uint32_t status = 0; status < STATUS_END; status++) {
        for (uint32_t reason = 0; reason <= REASON_END; reason++) {
            char out[512];
            size_t n = status_text((enum baton_status)status, reason, 17, out,
                                   sizeof out);
            assert_true(n > 4);
            assert_true(n < 300);
            assert_int_equal(out[n], '\0');
            assert_int_equal(out[n - 1], '.');
            assert_null(strpbrk(out, "{}%\n"));
            assert_true(out[0] >= 'A' && out[0] <= 'Z');
        }
    }
}

/* No reason is told by its status alone, and no two in the same words. */
static void test_every_reason_has_its_own_sentence(void **state)
{
    (void)state;
    static char texts[REASON_END][512];
    for (uint32_t reason = 0; reason < REASON_END; reason++) {
        (void)status_text(BATON_UNAVAILABLE, reason, 17, texts[reason],
                          sizeof texts[reason]);
        for (uint32_t before = 0; before < reason; before++) {
            assert_string_not_equal(texts[reason], texts[before]);
        }
    }
}

static void test_detail_shows_where_the_reason_holds_one(void **state)
{
    (void)state;
    static const uint32_t shown[] = {
        REASON_SESSIONS_NAMESPACE, REASON_SESSIONS_LEASE,
        REASON_SESSIONS_CLUSTER,   REASON_LEASES_CLUSTER,
        REASON_NAMESPACES_CLUSTER, REASON_GROUPS_CLUSTER,
        REASON_DEVICES_CLUSTER,    REASON_DEVICES_GROUP,
        REASON_TABS_DEVICE,        REASON_WINDOW_REPLIES,
        REASON_STATES_CLUSTER,     REASON_WATCHES_NODE,
        REASON_WATCHES_CONNECTION, REASON_QUEUE_BYTES,
        REASON_PENDING_NODE,       REASON_READS_NODE,
        REASON_TAB_IN_USE,         REASON_ATTACHMENT,
        REASON_OTHER_LEASE,        REASON_HANDOFF_RUNNING,
        REASON_EPOCH_CURRENT,      REASON_CONFIG_INDEX,
    };
    for (size_t i = 0; i < countof(shown); i++) {
        char out[512];
        (void)status_text(BATON_LIMIT, shown[i], 123456789, out, sizeof out);
        assert_non_null(strstr(out, "123456789"));
    }
}

/* Each field of a policy by its name, so that a refused file can be mended. */
static void test_policy_fields_have_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < pb__policy__descriptor.n_fields; i++) {
        char out[512];
        (void)status_text(BATON_INVALID, REASON_POLICY_FIELD,
                          pb__policy__descriptor.fields[i].id, out, sizeof out);
        assert_non_null(strstr(out, pb__policy__descriptor.fields[i].name));
    }
}

static bool is_taken(const Pb__Policy *policy, unsigned number)
{
    struct policy out;
    uint32_t reason = 0;
    int64_t detail = 0;
    if (policy_from_message(policy, &out, &reason, &detail) == BATON_OK) {
        return true;
    }
    assert_int_equal(reason, REASON_POLICY_FIELD);
    assert_int_equal(detail, number);
    return false;
}

/* One field at `value`; its neighbours so that they don't contradict it. */
static bool takes(const ProtobufCFieldDescriptor *f, uint64_t value)
{
    Pb__Policy policy = PB__POLICY__INIT;
    policy.session_grace_ms = 86400000;
    policy.demote_rtt_ms = 600000;
    policy.demote_clear_rtt_ms = 32;
    policy.min_tenure_ms = 100;
    uint8_t *at = (uint8_t *)&policy + f->offset;
    uint32_t narrow = (uint32_t)value;
    if (f->type == PROTOBUF_C_TYPE_UINT32) {
        memcpy(at, &narrow, sizeof narrow);
    } else {
        memcpy(at, &value, sizeof value);
    }
    return is_taken(&policy, f->id);
}

/* The ranges that people are told are the ones that are checked. */
static void test_policy_ranges_are_those_of_the_registry(void **state)
{
    (void)state;
    for (unsigned i = 1; i < pb__policy__descriptor.n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &pb__policy__descriptor.fields[i];
        char out[512];
        (void)status_text(BATON_INVALID, REASON_POLICY_FIELD, f->id, out,
                          sizeof out);
        const char *give = strstr(out, ": give ");
        assert_non_null(give);
        char *rest = NULL;
        uint64_t min = strtoull(give + strlen(": give "), &rest, 10);
        assert_int_equal(strncmp(rest, " to ", 4), 0);
        uint64_t max = strtoull(rest + strlen(" to "), &rest, 10);
        assert_true(takes(f, min));
        assert_true(takes(f, max));
        assert_true(min == 1 || !takes(f, min - 1));
        assert_true(max == UINT32_MAX || !takes(f, max + 1));
    }
}

static void test_is_cut_to_what_fits(void **state)
{
    (void)state;
    char whole[512];
    size_t whole_n =
        status_text(BATON_LIMIT, REASON_TABS_DEVICE, 1234, whole, sizeof whole);
    for (size_t room = 1; room <= whole_n + 1; room++) {
        char *out = malloc(room);
        assert_non_null(out);
        size_t n =
            status_text(BATON_LIMIT, REASON_TABS_DEVICE, 1234, out, room);
        assert_int_equal(n, room - 1);
        assert_memory_equal(out, whole, n);
        assert_int_equal(out[n], '\0');
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_those_of_the_wire),
        cmocka_unit_test(test_sentences_whole),
        cmocka_unit_test(test_all_pairs_give_a_sentence),
        cmocka_unit_test(test_every_reason_has_its_own_sentence),
        cmocka_unit_test(test_detail_shows_where_the_reason_holds_one),
        cmocka_unit_test(test_policy_fields_have_names),
        cmocka_unit_test(test_policy_ranges_are_those_of_the_registry),
        cmocka_unit_test(test_is_cut_to_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
