#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "client/client.h"

/* The registry's ranges (session/policy.c), for a refusal that names the range before anything is sent. 0 is allowed throughout: the
 * default, or off. A unit test holds this table against the registry. */
struct policy_field {
    const char *name;
    uint64_t min;
    uint64_t max;
};

/* As in session/policy.h; the same test looks. */
#define BREAKER_MOVES_DEFAULT   6
#define DEMOTE_AFTER_MS_DEFAULT 1500

#define SECOND_MS 1000ull
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)

static const struct policy_field fields[] = {
    {"margin", 1, 20000},
    {"min_tenure_ms", 100, DAY_MS},
    {"cooldown_ms", SECOND_MS, DAY_MS},
    {"max_tenure_ms", SECOND_MS, 30 * DAY_MS},
    {"offer_ms", 100, MINUTE_MS},
    {"yield_ms", 100, MINUTE_MS},
    {"session_grace_ms", SECOND_MS, DAY_MS},
    {"holder_grace_ms", 100, DAY_MS},
    {"breaker_moves", 1, 1000},
    {"breaker_window_ms", SECOND_MS, DAY_MS},
    {"breaker_open_ms", SECOND_MS, DAY_MS},
    {"demote_rtt_ms", 32, 600000},
    {"demote_after_ms", 100, HOUR_MS},
    {"demote_clear_rtt_ms", 32, 600000},
    {"demote_for_ms", SECOND_MS, DAY_MS},
    {"sessions_max", 1, UINT32_MAX},
    {"sessions_per_lease_max", 1, UINT32_MAX},
    {"devices_per_group_max", 1, 1u << 20},
    {"tabs_per_device_max", 1, 1u << 16},
    {"state_bytes_max", 1, BATON_STATE_BYTES_MAX},
};

struct parsed {
    Pb__Policy policy;
    Pb__Weight weights[32];
    Pb__Weight *pointers[32];
};

static void set_field(Pb__Policy *policy, const struct policy_field *field,
                      uint64_t value)
{
    const ProtobufCFieldDescriptor *d =
        protobuf_c_message_descriptor_get_field_by_name(&pb__policy__descriptor,
                                                        field->name);
    ASSERT(d != NULL);
    uint8_t *at = (uint8_t *)policy + d->offset;
    if (d->type == PROTOBUF_C_TYPE_UINT32) {
        uint32_t narrow = (uint32_t)value;
        ASSERT(narrow == value);
        memcpy(at, &narrow, sizeof narrow);
        return;
    }
    ASSERT(d->type == PROTOBUF_C_TYPE_UINT64);
    memcpy(at, &value, sizeof value);
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static bool take_number(Pb__Policy *policy, const struct policy_field *field,
                        const json_t *value, char *error, size_t error_bytes)
{
    if (!json_is_integer(value)) {
        (void)snprintf(error, error_bytes,
                       "%s is %s: it must be an integer from %llu to %llu, or "
                       "0 for its default",
                       field->name, type_name(value),
                       (unsigned long long)field->min,
                       (unsigned long long)field->max);
        return false;
    }
    json_int_t number = json_integer_value(value);
    bool in_range =
        number == 0 || (number > 0 && (uint64_t)number >= field->min &&
                        (uint64_t)number <= field->max);
    if (!in_range) {
        (void)snprintf(error, error_bytes,
                       "%s is %lld: it must be from %llu to %llu, or 0 for its "
                       "default",
                       field->name, (long long)number,
                       (unsigned long long)field->min,
                       (unsigned long long)field->max);
        return false;
    }
    set_field(policy, field, (uint64_t)number);
    return true;
}

/* "battery" for BATTERY; what names() lists for a person. */
static int weight_key(const char *name)
{
    const ProtobufCEnumDescriptor *d = &pb__capability_key__descriptor;
    for (unsigned i = 0; i < d->n_values; i++) {
        if (d->values[i].value != 0 &&
            strcasecmp(d->values[i].name, name) == 0) {
            return d->values[i].value;
        }
    }
    return 0;
}

static bool take_weights(struct parsed *p, const json_t *object, char *error,
                         size_t error_bytes)
{
    if (!json_is_object(object)) {
        (void)snprintf(error, error_bytes,
                       "weights is %s: it must be an object, such as "
                       "{\"battery\": 2, \"charging\": 50}",
                       type_name(object));
        return false;
    }
    size_t n = 0;
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)object, name, value)
    {
        int key = weight_key(name);
        json_int_t weight = json_integer_value(value);
        if (key == 0) {
            (void)snprintf(error, error_bytes,
                           "weights.%.64s isn't a capability: known are "
                           "battery, charging, kind, network, rtt_ms, visible, "
                           "cores, memory_mb, priority",
                           name);
            return false;
        }
        if (!json_is_integer(value) || weight < -1000 || weight > 1000) {
            (void)snprintf(
                error, error_bytes,
                "weights.%.64s must be an integer from -1000 to 1000", name);
            return false;
        }
        ASSERT(n < countof(p->weights));
        pb__weight__init(&p->weights[n]);
        p->weights[n].key = (Pb__CapabilityKey)key;
        p->weights[n].weight = (int32_t)weight;
        p->pointers[n] = &p->weights[n];
        n++;
    }
    p->policy.weights = p->pointers;
    p->policy.n_weights = n;
    return true;
}

static const struct policy_field *find_field(const char *name)
{
    for (size_t i = 0; i < countof(fields); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static bool take_all(struct parsed *p, const json_t *root, char *error,
                     size_t error_bytes)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)root, name, value)
    {
        const struct policy_field *field = find_field(name);
        bool ok = false;
        if (strcmp(name, "weights") == 0) {
            ok = take_weights(p, value, error, error_bytes);
        } else if (field != NULL) {
            ok = take_number(&p->policy, field, value, error, error_bytes);
        } else {
            (void)snprintf(error, error_bytes,
                           "%.64s isn't a field of a policy: see "
                           "`baton policy get NAMESPACE` for those there are",
                           name);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

Pb__Policy *policy_parse(const char *json, void **out_memory, char *error,
                         size_t error_bytes)
{
    json_error_t at;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &at);
    if (root == NULL) {
        (void)snprintf(error, error_bytes, "line %d, column %d: %s", at.line,
                       at.column, at.text);
        return NULL;
    }
    if (!json_is_object(root)) {
        (void)snprintf(error, error_bytes,
                       "a policy is an object, such as {\"margin\": 50}");
        json_decref(root);
        return NULL;
    }
    struct parsed *p = client_alloc(sizeof *p);
    pb__policy__init(&p->policy);
    /* Their 0 is "off", which is for who writes it to say; what's left out takes its default like all others. */
    p->policy.breaker_moves = BREAKER_MOVES_DEFAULT;
    p->policy.demote_after_ms = DEMOTE_AFTER_MS_DEFAULT;
    bool ok = take_all(p, root, error, error_bytes);
    json_decref(root);
    if (!ok) {
        free(p);
        return NULL;
    }
    *out_memory = p;
    return &p->policy;
}
