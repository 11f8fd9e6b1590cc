/* A score is the sum, over the capabilities, of weight x part / 100. A part lies between -100 and 100, and an unknown
 * capability's is 0, the middle: Firefox and Safari tell no battery and no network, and a browser that can't know must
 * neither beat nor lose to all those that can. Integers alone, so that every replica gets the same score. */
#include "session/election.h"
#include "session/policy.h"

#define RTT_FLOOR_MS 16
#define BATTERY_STEP 5
#define PART_MAX     100

/* Largest power of two that isn't above `v`; 0 for 0. */
static uint32_t power_below(uint32_t v)
{
    uint32_t p = v;
    for (uint32_t shift = 1; shift < 32; shift *= 2) {
        p |= p >> shift;
    }
    return p - (p >> 1);
}

/* The power of two that's nearest in ratio: 7,900 MB are called 8 GB by everybody. */
static uint32_t power_nearest(uint32_t v)
{
    uint32_t below = power_below(v);
    ASSERT(below <= v);
    return v - below >= below - below / 2 && below > 1 ? below * 2 : below;
}

static uint32_t log2_of(uint32_t v)
{
    uint32_t n = 0;
    while (v > 1) {
        v >>= 1;
        n++;
    }
    return n;
}

static bool is_known(const struct capabilities *caps, enum capability key)
{
    return (caps->known & (1u << key)) != 0;
}

void score_quantise(struct capabilities *caps)
{
    ASSERT(caps->battery <= 100);
    ASSERT((caps->known & ~((1u << CAP_END) - 1u)) == 0);
    /* Batteries drain a percent at a time, and links jitter: only a step reaches the log. */
    caps->battery = (uint8_t)((caps->battery + BATTERY_STEP / 2) /
                              BATTERY_STEP * BATTERY_STEP);
    if (is_known(caps, CAP_RTT_MS)) {
        /* Down, so that a quantised rtt at or above a threshold means that the measured one was, too. */
        uint32_t rtt = power_below(caps->rtt_ms);
        caps->rtt_ms = rtt < RTT_FLOOR_MS ? RTT_FLOOR_MS : rtt;
    }
    caps->cores = (uint16_t)power_nearest(caps->cores);
    caps->memory_mb = power_nearest(caps->memory_mb);
}

static int32_t kind_part(uint8_t kind)
{
    switch (kind) {
    case PB__DEVICE_KIND__SERVER:
        return 100;
    case PB__DEVICE_KIND__DESKTOP:
        return 80;
    case PB__DEVICE_KIND__LAPTOP:
        return 40;
    case PB__DEVICE_KIND__TABLET:
        return -40;
    case PB__DEVICE_KIND__PHONE:
        return -100;
    default:
        return 0;
    }
}

static int32_t network_part(uint8_t network)
{
    switch (network) {
    case PB__NETWORK__ETHERNET:
        return 100;
    case PB__NETWORK__WIFI:
        return 60;
    case PB__NETWORK__CELL_4G:
        return 0;
    case PB__NETWORK__CELL_3G:
        return -60;
    case PB__NETWORK__SLOW:
        return -80;
    case PB__NETWORK__OFFLINE:
        return -100;
    default:
        return 0;
    }
}

static int32_t clamp_part(int32_t part)
{
    if (part > PART_MAX) {
        return PART_MAX;
    }
    return part < -PART_MAX ? -PART_MAX : part;
}

/* Between -100 and 100; 256 ms, 4 cores and 4 GB are the middle, each doubling is a step. */
static int32_t part_of(const struct capabilities *caps, enum capability key)
{
    switch (key) {
    case CAP_BATTERY:
        return 2 * (int32_t)caps->battery - 100;
    case CAP_CHARGING:
        return caps->charging != 0 ? 100 : -100;
    case CAP_KIND:
        return kind_part(caps->kind);
    case CAP_NETWORK:
        return network_part(caps->network);
    case CAP_RTT_MS:
        return clamp_part(25 * (8 - (int32_t)log2_of(caps->rtt_ms)));
    case CAP_VISIBLE:
        return caps->visible != 0 ? 100 : -100;
    case CAP_CORES:
        return clamp_part(25 * ((int32_t)log2_of(caps->cores) - 2));
    case CAP_MEMORY_MB:
        return clamp_part(25 * ((int32_t)log2_of(caps->memory_mb) - 12));
    case CAP_PRIORITY:
        return caps->priority;
    case CAP_END:
        break;
    }
    ASSERT(key > 0 && key < CAP_END);
    return 0;
}

int32_t score_part(const struct policy *policy, const struct capabilities *caps,
                   enum capability key)
{
    ASSERT(key > 0 && key < CAP_END);
    if (!is_known(caps, key)) {
        return 0;
    }
    int32_t weight = policy->weights[key];
    ASSERT(weight >= -POLICY_WEIGHT_MAX && weight <= POLICY_WEIGHT_MAX);
    return weight * clamp_part(part_of(caps, key)) / PART_MAX;
}

int32_t score_of(const struct policy *policy, const struct capabilities *caps)
{
    int32_t score = 0;
    for (int key = CAP_BATTERY; key < CAP_END; key++) {
        score += score_part(policy, caps, (enum capability)key);
    }
    return score;
}
