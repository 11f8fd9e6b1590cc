/* A policy from JSON: what it takes, and what it refuses by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/client.h"
#include "session/election.h"
#include "tests/unit/assert_stub.h"

static void takes_what_it_should(void **state)
{
    (void)state;
    char error[BATON_MESSAGE_BYTES] = "";
    void *memory = NULL;
    const Pb__Policy *p = policy_parse(
        "{\"weights\": {\"battery\": 2, \"rtt_ms\": -1000}, \"margin\": 50,"
        " \"max_tenure_ms\": 0, \"sessions_max\": 4294967295,"
        " \"cooldown_ms\": 86400000}",
        &memory, error, sizeof error);
    assert_non_null(p);
    assert_int_equal(p->n_weights, 2);
    assert_int_equal(p->weights[0]->key, PB__CAPABILITY_KEY__BATTERY);
    assert_int_equal(p->weights[0]->weight, 2);
    assert_int_equal(p->weights[1]->weight, -1000);
    assert_int_equal(p->margin, 50);
    assert_int_equal(p->sessions_max, UINT32_MAX);
    assert_int_equal(p->cooldown_ms, 86400000);
    free(memory);
    p = policy_parse("{}", &memory, error, sizeof error);
    assert_non_null(p);
    /* What's left out takes its default, also where 0 would be "off". */
    struct policy all;
    struct policy judged;
    uint32_t reason = 0;
    int64_t detail = 0;
    policy_default(&all);
    assert_int_equal(policy_from_message(p, &judged, &reason, &detail),
                     BATON_OK);
    assert_memory_equal(&judged, &all, sizeof all);
    free(memory);
    p = policy_parse("{\"breaker_moves\": 0, \"demote_after_ms\": 0}", &memory,
                     error, sizeof error);
    assert_non_null(p);
    assert_int_equal(p->breaker_moves, 0);
    assert_int_equal(p->demote_after_ms, 0);
    free(memory);
}

static void refuses_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        const char *says;
    } rows[] = {
        {"{\"margin\": 20001}", "margin is 20001: it must be from 1 to 20000"},
        {"{\"margin\": -1}", "margin is -1"},
        {"{\"margin\": \"50\"}", "margin is a string"},
        {"{\"margin\": 1.5}", "margin is a number with a fraction"},
        {"{\"margin\": null}", "margin is null"},
        {"{\"margin\": true}", "margin is true or false"},
        {"{\"offer_ms\": 99}", "offer_ms is 99: it must be from 100 to 60000"},
        {"{\"margn\": 5}", "margn isn't a field"},
        {"{\"weights\": [1]}", "weights is an array"},
        {"{\"weights\": {\"colour\": 1}}", "weights.colour"},
        {"{\"weights\": {\"battery\": 1001}}", "weights.battery"},
        {"{\"weights\": {\"battery\": 1.5}}", "weights.battery"},
        {"{\"weights\": {\"capability_none\": 1}}", "weights."},
        {"{\"margin\": 5, \"margin\": 6}", "duplicate"},
        {"{\"margin\": 99999999999999999999}", "line 1"},
        {"[]", "an object"},
        {"", "line 1"},
        {"{\"margin\": 5", "line 1"},
        {"{} x", "line 1"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        char error[BATON_MESSAGE_BYTES] = "";
        void *memory = NULL;
        assert_null(policy_parse(rows[i].json, &memory, error, sizeof error));
        assert_null(memory);
        if (strstr(error, rows[i].says) == NULL) {
            fail_msg("%s: %s", rows[i].json, error);
        }
    }
}

/* What `field` may be, by trying: parsed here, then judged by the registry. */
static bool both_take(const char *field, uint64_t value, bool *out_registry)
{
    char json[128];
    char error[BATON_MESSAGE_BYTES];
    void *memory = NULL;
    (void)snprintf(json, sizeof json, "{\"%s\": %llu}", field,
                   (unsigned long long)value);
    Pb__Policy *p = policy_parse(json, &memory, error, sizeof error);
    struct policy judged;
    uint32_t reason = 0;
    int64_t detail = 0;
    *out_registry = p != NULL && policy_from_message(p, &judged, &reason,
                                                     &detail) == BATON_OK;
    free(memory);
    return p != NULL;
}

/* The client's ranges are the registry's: the edges that pass here pass there, unless fields that depend on each other forbid it. */
static void agrees_with_the_registry(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        uint64_t min;
        uint64_t max;
    } rows[] = {
        {"margin", 1, 20000},
        {"cooldown_ms", 1000, 86400000},
        {"offer_ms", 100, 60000},
        {"yield_ms", 100, 60000},
        {"breaker_moves", 1, 1000},
        {"demote_after_ms", 100, 3600000},
        {"demote_for_ms", 1000, 86400000},
        {"devices_per_group_max", 1, 1u << 20},
        {"tabs_per_device_max", 1, 1u << 16},
        {"state_bytes_max", 1, 65536},
        {"breaker_window_ms", 1000, 86400000},
        {"breaker_open_ms", 1000, 86400000},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        bool registry = false;
        assert_true(both_take(rows[i].field, rows[i].min, &registry));
        assert_true(registry);
        assert_true(both_take(rows[i].field, rows[i].max, &registry));
        assert_true(registry);
        assert_true(both_take(rows[i].field, 0, &registry));
        assert_true(registry);
        assert_false(both_take(rows[i].field, rows[i].max + 1, &registry));
        if (rows[i].min > 1) {
            assert_false(both_take(rows[i].field, rows[i].min - 1, &registry));
        }
    }
}

/* No field of Policy is forgotten. */
static void knows_every_field(void **state)
{
    (void)state;
    for (unsigned i = 0; i < pb__policy__descriptor.n_fields; i++) {
        const char *name = pb__policy__descriptor.fields[i].name;
        char json[128];
        char error[BATON_MESSAGE_BYTES];
        void *memory = NULL;
        bool weights = strcmp(name, "weights") == 0;
        (void)snprintf(json, sizeof json, "{\"%s\": %s}", name,
                       weights ? "{}" : "0");
        assert_non_null(policy_parse(json, &memory, error, sizeof error));
        free(memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_it_should),
        cmocka_unit_test(refuses_by_name),
        cmocka_unit_test(agrees_with_the_registry),
        cmocka_unit_test(knows_every_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
