#include "tests/unit/election_rig.h"

struct part_case {
    const char *name;
    enum capability key;
    int32_t value;
    int32_t points; /* under the default weights */
};

static struct capabilities one(enum capability key, int32_t value)
{
    struct capabilities caps = {.known = (uint16_t)(1u << key)};
    switch (key) {
    case CAP_BATTERY:
        caps.battery = (uint8_t)value;
        break;
    case CAP_CHARGING:
        caps.charging = (uint8_t)value;
        break;
    case CAP_KIND:
        caps.kind = (uint8_t)value;
        break;
    case CAP_NETWORK:
        caps.network = (uint8_t)value;
        break;
    case CAP_RTT_MS:
        caps.rtt_ms = (uint32_t)value;
        break;
    case CAP_VISIBLE:
        caps.visible = (uint8_t)value;
        break;
    case CAP_CORES:
        caps.cores = (uint16_t)value;
        break;
    case CAP_MEMORY_MB:
        caps.memory_mb = (uint32_t)value;
        break;
    case CAP_PRIORITY:
        caps.priority = (int8_t)value;
        break;
    case CAP_END:
        fail();
    }
    score_quantise(&caps);
    return caps;
}

static const struct part_case parts[] = {
    {"empty", CAP_BATTERY, 0, -100},
    {"nearly empty", CAP_BATTERY, 10, -80},
    {"half is the middle", CAP_BATTERY, 50, 0},
    {"52 % are 50", CAP_BATTERY, 52, 0},
    {"53 % are 55", CAP_BATTERY, 53, 10},
    {"full", CAP_BATTERY, 100, 100},
    {"on battery", CAP_CHARGING, 0, -100},
    {"plugged in", CAP_CHARGING, 1, 100},
    {"kind unknown", CAP_KIND, 0, 0},
    {"desktop", CAP_KIND, 1, 120},
    {"laptop", CAP_KIND, 2, 60},
    {"tablet", CAP_KIND, 3, -60},
    {"phone", CAP_KIND, 4, -150},
    {"server", CAP_KIND, 5, 150},
    {"network unknown", CAP_NETWORK, 0, 0},
    {"ethernet", CAP_NETWORK, 1, 150},
    {"wifi", CAP_NETWORK, 2, 90},
    {"4g", CAP_NETWORK, 3, 0},
    {"3g", CAP_NETWORK, 4, -90},
    {"slow", CAP_NETWORK, 5, -120},
    {"offline", CAP_NETWORK, 6, -150},
    {"no time at all", CAP_RTT_MS, 0, 200},
    {"16 ms", CAP_RTT_MS, 16, 200},
    {"31 ms are 16", CAP_RTT_MS, 31, 200},
    {"32 ms", CAP_RTT_MS, 32, 150},
    {"200 ms are 128", CAP_RTT_MS, 200, 50},
    {"256 ms are the middle", CAP_RTT_MS, 256, 0},
    {"a second", CAP_RTT_MS, 1000, -50},
    {"4 s", CAP_RTT_MS, 4096, -200},
    {"ten minutes", CAP_RTT_MS, 600000, -200},
    {"hidden", CAP_VISIBLE, 0, -300},
    {"visible", CAP_VISIBLE, 1, 300},
    {"one core", CAP_CORES, 1, -10},
    {"4 cores are the middle", CAP_CORES, 4, 0},
    {"6 cores are 8", CAP_CORES, 6, 5},
    {"as many as may be", CAP_CORES, 4096, 20},
    {"one MB", CAP_MEMORY_MB, 1, -20},
    {"4 GB are the middle", CAP_MEMORY_MB, 4096, 0},
    {"7,900 MB are 8 GB", CAP_MEMORY_MB, 7900, 5},
    {"16 TB", CAP_MEMORY_MB, 16777216, 20},
    {"least wanted", CAP_PRIORITY, -100, -500},
    {"most wanted", CAP_PRIORITY, 100, 500},
    {"a little", CAP_PRIORITY, 1, 5},
};

static void test_points_of_each_value(void **state)
{
    (void)state;
    struct policy policy;
    policy_default(&policy);
    for (size_t i = 0; i < countof(parts); i++) {
        const struct part_case *c = &parts[i];
        const struct capabilities caps = one(c->key, c->value);
        if (score_part(&policy, &caps, c->key) != c->points ||
            score_of(&policy, &caps) != c->points) {
            fail_msg("%s: %d points, expected %d", c->name,
                     score_part(&policy, &caps, c->key), c->points);
        }
    }
}

/* Neither the best nor the worst: a browser that can't tell isn't punished, and gains nothing by hiding. */
static void test_unknown_is_the_middle(void **state)
{
    (void)state;
    struct policy policy;
    policy_default(&policy);
    const struct capabilities nothing = {.known = 0};
    assert_int_equal(score_of(&policy, &nothing), 0);
    const struct capabilities best = one(CAP_BATTERY, 100);
    const struct capabilities worst = one(CAP_BATTERY, 0);
    assert_true(score_of(&policy, &worst) < 0);
    assert_true(score_of(&policy, &best) > 0);
    for (int key = CAP_BATTERY; key < CAP_END; key++) {
        assert_int_equal(score_part(&policy, &nothing, (enum capability)key),
                         0);
    }
}

/* What's quantised stays as it is: else a second update would look like a change. */
static void test_quantising_twice_is_quantising_once(void **state)
{
    (void)state;
    for (uint32_t v = 0; v <= 100; v++) {
        const struct capabilities caps = one(CAP_BATTERY, (int32_t)v);
        struct capabilities again = caps;
        score_quantise(&again);
        assert_int_equal(again.battery, caps.battery);
    }
    for (int32_t v = 0; v <= 600000; v = v * 3 / 2 + 1) {
        struct capabilities rtt = one(CAP_RTT_MS, v);
        uint32_t once = rtt.rtt_ms;
        assert_true(once <= 16 || once <= (uint32_t)v);
        score_quantise(&rtt);
        assert_int_equal(rtt.rtt_ms, once);
        struct capabilities memory = one(CAP_MEMORY_MB, v + 1);
        once = memory.memory_mb;
        score_quantise(&memory);
        assert_int_equal(memory.memory_mb, once);
        struct capabilities cores = one(CAP_CORES, v % 4096 + 1);
        once = cores.cores;
        score_quantise(&cores);
        assert_int_equal(cores.cores, once);
    }
}

/* The example of docs/guarantees.md. */
static void test_desktop_beats_phone(void **state)
{
    (void)state;
    struct policy policy;
    policy_default(&policy);
    struct capabilities desktop = {
        .known = 1u << CAP_BATTERY | 1u << CAP_CHARGING | 1u << CAP_KIND |
                 1u << CAP_NETWORK | 1u << CAP_RTT_MS | 1u << CAP_VISIBLE,
        .battery = 100,
        .charging = 1,
        .kind = PB__DEVICE_KIND__DESKTOP,
        .network = PB__NETWORK__ETHERNET,
        .rtt_ms = 35,
        .visible = 1};
    struct capabilities phone = desktop;
    phone.battery = 10;
    phone.charging = 0;
    phone.kind = PB__DEVICE_KIND__PHONE;
    phone.network = PB__NETWORK__CELL_3G;
    phone.rtt_ms = 300;
    score_quantise(&desktop);
    score_quantise(&phone);
    assert_int_equal(score_of(&policy, &desktop), 920);
    assert_int_equal(score_of(&policy, &phone), -120);
    /* A hidden desktop and a visible phone: still the desktop, for it isn't the only thing that counts. */
    desktop.visible = 0;
    assert_int_equal(score_of(&policy, &desktop), 320);
    /* The application's wish outweighs it. */
    phone.priority = 100;
    phone.known |= 1u << CAP_PRIORITY;
    assert_int_equal(score_of(&policy, &phone), 380);
}

static void test_extreme_weights(void **state)
{
    (void)state;
    struct policy policy;
    policy_default(&policy);
    for (int key = CAP_BATTERY; key < CAP_END; key++) {
        policy.weights[key] = -POLICY_WEIGHT_MAX;
    }
    struct capabilities caps = {.known = (1u << CAP_END) - 2,
                                .battery = 100,
                                .charging = 1,
                                .kind = PB__DEVICE_KIND__SERVER,
                                .network = PB__NETWORK__ETHERNET,
                                .rtt_ms = 1,
                                .visible = 1,
                                .cores = 4096,
                                .memory_mb = 1u << 24,
                                .priority = 100};
    score_quantise(&caps);
    assert_int_equal(score_of(&policy, &caps), -9000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_of_each_value),
        cmocka_unit_test(test_unknown_is_the_middle),
        cmocka_unit_test(test_quantising_twice_is_quantising_once),
        cmocka_unit_test(test_desktop_beats_phone),
        cmocka_unit_test(test_extreme_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
