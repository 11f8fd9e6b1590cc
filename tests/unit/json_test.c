/* json_test.c - proto/json.h: whole outputs. */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "proto/codec.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/fill.h"

static char out[256u << 10];
static _Alignas(ARENA_ALIGN) uint8_t memory[256u << 10];

static void test_writer(void **state)
{
    (void)state;
    struct json_writer w;
    json_init(&w, out, sizeof out);
    json_object_begin(&w);
    json_key(&w, "empty");
    json_object_begin(&w);
    json_object_end(&w);
    json_key(&w, "none");
    json_array_begin(&w);
    json_array_end(&w);
    json_key(&w, "all");
    json_array_begin(&w);
    json_u64(&w, 0);
    json_u64(&w, UINT64_MAX);
    json_u64_string(&w, UINT64_MAX);
    json_i64(&w, INT64_MIN);
    json_i64(&w, INT64_MAX);
    json_i64_string(&w, -1);
    json_bool(&w, true);
    json_bool(&w, false);
    json_nothing(&w);
    json_cstring(&w, "a");
    json_cstring(&w, NULL);
    json_text(&w, (struct bytes){(const uint8_t *)"a\0b", 3});
    json_hex(&w, (struct bytes){(const uint8_t *)"\x00\x7F\xFF", 3});
    json_hex(&w, (struct bytes){0});
    json_array_begin(&w);
    json_array_begin(&w);
    json_array_end(&w);
    json_array_end(&w);
    json_array_end(&w);
    json_key(&w, "k\"");
    json_u64(&w, 10);
    json_object_end(&w);
    size_t n = json_finish(&w);
    assert_string_equal(
        out, "{\"empty\":{},\"none\":[],\"all\":[0,18446744073709551615,"
             "\"18446744073709551615\",-9223372036854775808,"
             "9223372036854775807,\"-1\",true,false,null,\"a\",\"\","
             "\"a\\u0000b\",\"007fff\",\"\",[[]]],\"k\\\"\":10}");
    assert_int_equal(n, strlen(out));
}

#define BAD "\xEF\xBF\xBD"

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *out;
    } rows[] = {
        {"", "\"\""},
        {"plain /text", "\"plain /text\""},
        {"\"\\", "\"\\\"\\\\\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x0B\x1F\x7F ", "\"\\u0001\\u000b\\u001f\\u007f \""},
        {"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8E\xBC",
         "\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x8E\xBC\""},
        {"\xFF", "\"" BAD "\""},
        {"a\xC3", "\"a" BAD "\""},
        {"\xC3z", "\"" BAD "z\""},
        {"\xE2\x82\"", "\"" BAD "\\\"\""},
        {"\xF0\x9F\x8E\xF0\x9F\x8E\xBC", "\"" BAD "\xF0\x9F\x8E\xBC\""},
        {"\xED\xA0\x80", "\"" BAD BAD BAD "\""}, /* a surrogate */
        {"\xC0\x80", "\"" BAD BAD "\""},         /* overlong */
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct json_writer w;
        json_init(&w, out, sizeof out);
        json_cstring(&w, rows[i].in);
        assert_int_equal(json_finish(&w), strlen(rows[i].out));
        assert_string_equal(out, rows[i].out);
    }
}

static void test_a_message_whole(void **state)
{
    (void)state;
    Pb__Capability battery = PB__CAPABILITY__INIT;
    battery.key = PB__CAPABILITY_KEY__BATTERY;
    battery.value = 80;
    Pb__Capability odd = PB__CAPABILITY__INIT;
    odd.key = (Pb__CapabilityKey)77;
    odd.value = -5;
    Pb__Capability *capabilities[] = {&battery, &odd};
    Pb__Path path = PB__PATH__INIT;
    path.namespace_ = (char *)"acme";
    path.group = (char *)"alice";
    Pb__OpenSession open = PB__OPEN_SESSION__INIT;
    open.path = &path;
    open.tab = (char *)"tab-3";
    uint8_t secret[] = {0xDE, 0xAD, 0x00, 0xEF};
    open.secret = codec_binary((struct bytes){secret, sizeof secret});
    open.capabilities = capabilities;
    open.n_capabilities = countof(capabilities);
    Pb__Command command = PB__COMMAND__INIT;
    command.version = 1;
    command.lease = UINT64_C(9007199254740993); /* 2^53 + 1 */
    command.sequence = 4;
    command.op_case = PB__COMMAND__OP_OPEN_SESSION;
    command.open_session = &open;
    assert_true(json_write(&command.base, 0, out, sizeof out) > 0);
    assert_string_equal(
        out, "{\"version\":1,\"lease\":\"9007199254740993\",\"sequence\":\"4\","
             "\"first_outstanding\":\"0\",\"proposer_term\":\"0\","
             "\"open_session\":{\"path\":{\"namespace\":\"acme\","
             "\"group\":\"alice\",\"device\":\"\"},\"tab\":\"tab-3\","
             "\"secret\":\"dead00ef\",\"capabilities\":["
             "{\"key\":\"BATTERY\",\"value\":80},{\"key\":77,\"value\":-5}],"
             "\"observer\":false}}");
    assert_true(json_write(&command.base, JSON_SKIP_DEFAULTS, out, sizeof out) >
                0);
    assert_string_equal(
        out, "{\"version\":1,\"lease\":\"9007199254740993\","
             "\"sequence\":\"4\",\"open_session\":{\"path\":{"
             "\"namespace\":\"acme\",\"group\":\"alice\"},"
             "\"tab\":\"tab-3\",\"secret\":\"dead00ef\",\"capabilities\":["
             "{\"key\":\"BATTERY\",\"value\":80},{\"key\":77,\"value\":-5}]}}");
}

/* Ids and positions are strings, times and counts numbers. */
static void test_numbers_by_their_kind(void **state)
{
    (void)state;
    Pb__NodeStatus self = PB__NODE_STATUS__INIT;
    self.id = 2;
    self.role = (char *)"leader";
    self.term = 7;
    self.commit = 1000;
    self.last_contact_ms = 12;
    Pb__StatusResult status = PB__STATUS_RESULT__INIT;
    status.cluster = 5;
    status.node = 2;
    status.sessions = 100000;
    status.self = &self;
    char *alarms[] = {(char *)"disk"};
    status.alarms = alarms;
    status.n_alarms = 1;
    assert_true(json_write(&status.base, JSON_SKIP_DEFAULTS, out, sizeof out) >
                0);
    assert_string_equal(out,
                        "{\"cluster\":\"5\",\"node\":2,\"sessions\":100000,"
                        "\"self\":{\"id\":2,\"role\":\"leader\",\"term\":\"7\","
                        "\"commit\":\"1000\",\"last_contact_ms\":12},"
                        "\"alarms\":[\"disk\"]}");
    Pb__Reply reply = PB__REPLY__INIT;
    reply.status = PB__STATUS__LIMIT;
    reply.detail = INT64_MIN;
    assert_true(json_write(&reply.base, 0, out, sizeof out) > 0);
    assert_string_equal(out, "{\"status\":\"LIMIT\",\"reason\":0,\"id\":\"0\","
                             "\"epoch\":\"0\",\"revision\":\"0\","
                             "\"detail\":\"-9223372036854775808\"}");
    Pb__SetLimits limits = PB__SET_LIMITS__INIT;
    limits.leases_max = 9;
    assert_true(json_write(&limits.base, 0, out, sizeof out) > 0);
    assert_string_equal(out, "{\"sessions_max\":0,\"leases_max\":9,"
                             "\"namespaces_max\":0}");
}

/* A member of a oneof shows even if all of it is at its default: that it's there is what it says. */
static void test_a_set_member_shows(void **state)
{
    (void)state;
    Pb__GetStatus get = PB__GET_STATUS__INIT;
    Pb__ClientRequest request = PB__CLIENT_REQUEST__INIT;
    assert_int_equal(
        json_write(&request.base, JSON_SKIP_DEFAULTS, out, sizeof out), 2);
    assert_string_equal(out, "{}");
    request.op_case = PB__CLIENT_REQUEST__OP_GET_STATUS;
    request.get_status = &get;
    assert_true(json_write(&request.base, JSON_SKIP_DEFAULTS, out, sizeof out) >
                0);
    assert_string_equal(out, "{\"get_status\":{}}");
}

/* Any message, with every field set: what comes out, a parser of others takes, and finds every field in it. */
static void test_every_type_is_well_formed(void **state)
{
    (void)state;
    /* As reals: jansson's integers end at 2^63, the times that were filled in don't. */
    struct fill_types all = fill_types_all();
    for (size_t i = 0; i < all.n; i++) {
        struct arena a;
        arena_init(&a, memory, sizeof memory);
        ProtobufCMessage *m = fill_message(all.types[i], 0, &a);
        size_t n = json_write(m, 0, out, sizeof out);
        assert_int_equal(n, strlen(out));
        json_error_t error;
        json_t *root = json_loads(
            out, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
        if (root == NULL) {
            fail_msg("%s: %s: %s", all.types[i]->name, error.text, out);
        }
        size_t fields = 0;
        size_t members = 0;
        for (unsigned f = 0; f < all.types[i]->n_fields; f++) {
            if (json_object_get(root, all.types[i]->fields[f].name) != NULL) {
                fields++;
            }
            if ((all.types[i]->fields[f].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) !=
                0) {
                members++;
            }
        }
        /* Of a oneof, one. */
        size_t absent = members == 0 ? 0 : members - 1;
        assert_int_equal(fields + absent, all.types[i]->n_fields);
        assert_int_equal(json_object_size(root), fields);
        json_decref(root);
    }
}

static void test_too_little_room(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, memory, sizeof memory);
    ProtobufCMessage *m = fill_message(&pb__event_batch__descriptor, 0, &a);
    size_t n = json_write(m, 0, out, sizeof out);
    assert_in_range(n, 100, sizeof out - 1);
    for (size_t room = 0; room <= n; room++) {
        char *small = malloc(room + (room == 0));
        assert_non_null(small);
        assert_int_equal(json_write(m, 0, small, room), 0);
        if (room > 0) {
            assert_int_equal(small[0], '\0');
        }
        free(small);
    }
    char *fits = malloc(n + 1);
    assert_non_null(fits);
    assert_int_equal(json_write(m, 0, fits, n + 1), n);
    assert_string_equal(fits, out);
    free(fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_a_message_whole),
        cmocka_unit_test(test_numbers_by_their_kind),
        cmocka_unit_test(test_a_set_member_shows),
        cmocka_unit_test(test_every_type_is_well_formed),
        cmocka_unit_test(test_too_little_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
