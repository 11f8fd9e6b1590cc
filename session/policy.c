#include "session/policy.h"
#include "session/election.h"

#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

void policy_default(struct policy *out)
{
    *out = (struct policy){
        .weights = {[CAP_BATTERY] = POLICY_WEIGHT_BATTERY,
                    [CAP_CHARGING] = POLICY_WEIGHT_CHARGING,
                    [CAP_KIND] = POLICY_WEIGHT_KIND,
                    [CAP_NETWORK] = POLICY_WEIGHT_NETWORK,
                    [CAP_RTT_MS] = POLICY_WEIGHT_RTT,
                    [CAP_VISIBLE] = POLICY_WEIGHT_VISIBLE,
                    [CAP_CORES] = POLICY_WEIGHT_CORES,
                    [CAP_MEMORY_MB] = POLICY_WEIGHT_MEMORY,
                    [CAP_PRIORITY] = POLICY_WEIGHT_PRIORITY},
        .margin = POLICY_MARGIN,
        .breaker_moves = POLICY_BREAKER_MOVES,
        .demote_rtt_ms = POLICY_DEMOTE_RTT_MS,
        .demote_clear_rtt_ms = POLICY_DEMOTE_CLEAR_RTT_MS,
        .sessions_max = POLICY_SESSIONS_MAX,
        .sessions_per_lease_max = POLICY_SESSIONS_PER_LEASE_MAX,
        .devices_per_group_max = POLICY_DEVICES_PER_GROUP_MAX,
        .tabs_per_device_max = POLICY_TABS_PER_DEVICE_MAX,
        .state_bytes_max = POLICY_STATE_BYTES_MAX,
        .min_tenure_ms = POLICY_MIN_TENURE_MS,
        .cooldown_ms = POLICY_COOLDOWN_MS,
        .max_tenure_ms = POLICY_MAX_TENURE_MS,
        .offer_ms = POLICY_OFFER_MS,
        .yield_ms = POLICY_YIELD_MS,
        .session_grace_ms = POLICY_SESSION_GRACE_MS,
        .holder_grace_ms = POLICY_HOLDER_GRACE_MS,
        .breaker_window_ms = POLICY_BREAKER_WINDOW_MS,
        .breaker_open_ms = POLICY_BREAKER_OPEN_MS,
        .demote_after_ms = POLICY_DEMOTE_AFTER_MS,
        .demote_for_ms = POLICY_DEMOTE_FOR_MS,
    };
}

/* One number of the message: its field, its value there, the range; where it goes if it's not 0. */
struct field {
    uint32_t number;
    bool zero_is_off;
    uint64_t value;
    uint64_t min;
    uint64_t max;
    uint32_t *to32; /* one of these two */
    uint64_t *to64;
};

static bool take_field(const struct field *f)
{
    ASSERT((f->to32 == NULL) != (f->to64 == NULL));
    ASSERT(f->min <= f->max);
    if (f->value == 0 && !f->zero_is_off) {
        return true;
    }
    if (f->value != 0 && (f->value < f->min || f->value > f->max)) {
        return false;
    }
    if (f->to32 != NULL) {
        *f->to32 = (uint32_t)f->value;
    } else {
        *f->to64 = f->value;
    }
    return true;
}

static enum baton_status take_fields(const Pb__Policy *m, struct policy *p,
                                     int64_t *out_number)
{
    const struct field fields[] = {
        {2, false, m->margin, 1, 20000, &p->margin, NULL},
        {3, false, m->min_tenure_ms, 100, DAY, NULL, &p->min_tenure_ms},
        {4, false, m->cooldown_ms, SECOND, DAY, NULL, &p->cooldown_ms},
        {5, true, m->max_tenure_ms, SECOND, 30 * DAY, NULL, &p->max_tenure_ms},
        {6, false, m->offer_ms, 100, MINUTE, NULL, &p->offer_ms},
        {7, false, m->yield_ms, 100, MINUTE, NULL, &p->yield_ms},
        {8, false, m->session_grace_ms, SECOND, DAY, NULL,
         &p->session_grace_ms},
        {9, false, m->holder_grace_ms, 100, DAY, NULL, &p->holder_grace_ms},
        {10, true, m->breaker_moves, 1, 1000, &p->breaker_moves, NULL},
        {11, false, m->breaker_window_ms, SECOND, DAY, NULL,
         &p->breaker_window_ms},
        {12, false, m->breaker_open_ms, SECOND, DAY, NULL, &p->breaker_open_ms},
        {13, false, m->demote_rtt_ms, 32, 600000, &p->demote_rtt_ms, NULL},
        {14, true, m->demote_after_ms, 100, HOUR, NULL, &p->demote_after_ms},
        {15, false, m->demote_clear_rtt_ms, 32, 600000, &p->demote_clear_rtt_ms,
         NULL},
        {16, false, m->demote_for_ms, SECOND, DAY, NULL, &p->demote_for_ms},
        {17, false, m->sessions_max, 1, UINT32_MAX, &p->sessions_max, NULL},
        {18, false, m->sessions_per_lease_max, 1, UINT32_MAX,
         &p->sessions_per_lease_max, NULL},
        {19, false, m->devices_per_group_max, 1, 1u << 20,
         &p->devices_per_group_max, NULL},
        {20, false, m->tabs_per_device_max, 1, 1u << 16,
         &p->tabs_per_device_max, NULL},
        {21, false, m->state_bytes_max, 1, STATE_BYTES_MAX, &p->state_bytes_max,
         NULL},
    };
    for (size_t i = 0; i < countof(fields); i++) {
        if (!take_field(&fields[i])) {
            *out_number = fields[i].number;
            return BATON_INVALID;
        }
    }
    return BATON_OK;
}

/* 0, or the key of the weight that's wrong: unknown, named twice, out of range. */
static int64_t take_weights(const Pb__Policy *m, struct policy *p)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < m->n_weights; i++) {
        const Pb__Weight *w = m->weights[i];
        int64_t key = (int64_t)w->key;
        if (key <= 0 || key >= CAP_END) {
            return key == 0 ? -1 : key;
        }
        uint32_t bit = 1u << (uint32_t)key;
        if ((seen & bit) != 0 || w->weight > POLICY_WEIGHT_MAX ||
            w->weight < -POLICY_WEIGHT_MAX) {
            return key;
        }
        seen |= bit;
        p->weights[key] = w->weight;
    }
    return 0;
}

/* A default gives way to the field beside it that was set. */
static void fit_defaults(const Pb__Policy *m, struct policy *p)
{
    if (m->holder_grace_ms == 0) {
        p->holder_grace_ms = min_u64(p->holder_grace_ms, p->session_grace_ms);
    }
    if (m->demote_clear_rtt_ms == 0 &&
        p->demote_clear_rtt_ms > p->demote_rtt_ms) {
        p->demote_clear_rtt_ms = p->demote_rtt_ms;
    }
    if (m->min_tenure_ms == 0 && p->max_tenure_ms != 0) {
        p->min_tenure_ms = min_u64(p->min_tenure_ms, p->max_tenure_ms);
    }
}

/* 0, or the number of the field that contradicts another. */
static int64_t contradiction(const struct policy *p)
{
    if (p->max_tenure_ms != 0 && p->max_tenure_ms < p->min_tenure_ms) {
        return 5;
    }
    if (p->holder_grace_ms > p->session_grace_ms) {
        return 9;
    }
    return p->demote_clear_rtt_ms > p->demote_rtt_ms ? 15 : 0;
}

enum baton_status policy_from_message(const Pb__Policy *message,
                                      struct policy *out, uint32_t *out_reason,
                                      int64_t *out_detail)
{
    struct policy p;
    policy_default(&p);
    int64_t bad = message == NULL ? 0 : take_weights(message, &p);
    if (bad != 0) {
        *out_reason = REASON_POLICY_WEIGHT;
        *out_detail = bad;
        return BATON_INVALID;
    }
    if (message != NULL && take_fields(message, &p, &bad) == BATON_OK) {
        fit_defaults(message, &p);
        bad = contradiction(&p);
    }
    if (bad != 0) {
        *out_reason = REASON_POLICY_FIELD;
        *out_detail = bad;
        return BATON_INVALID;
    }
    *out = p;
    return BATON_OK;
}

static void put_weights(const struct policy *policy, struct arena *arena,
                        Pb__Policy *out)
{
    size_t n = CAP_END - 1;
    Pb__Weight *items = arena_alloc(arena, n * sizeof *items);
    Pb__Weight **list = arena_alloc(arena, n * sizeof(void *));
    if (items == NULL || list == NULL) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        pb__weight__init(&items[i]);
        items[i].key = (Pb__CapabilityKey)(i + 1);
        items[i].weight = policy->weights[i + 1];
        list[i] = &items[i];
    }
    out->weights = list;
    out->n_weights = n;
}

void policy_to_message(const struct policy *policy, struct arena *arena,
                       Pb__Policy *out)
{
    pb__policy__init(out);
    put_weights(policy, arena, out);
    out->margin = policy->margin;
    out->min_tenure_ms = policy->min_tenure_ms;
    out->cooldown_ms = policy->cooldown_ms;
    out->max_tenure_ms = policy->max_tenure_ms;
    out->offer_ms = policy->offer_ms;
    out->yield_ms = policy->yield_ms;
    out->session_grace_ms = policy->session_grace_ms;
    out->holder_grace_ms = policy->holder_grace_ms;
    out->breaker_moves = policy->breaker_moves;
    out->breaker_window_ms = policy->breaker_window_ms;
    out->breaker_open_ms = policy->breaker_open_ms;
    out->demote_rtt_ms = policy->demote_rtt_ms;
    out->demote_after_ms = policy->demote_after_ms;
    out->demote_clear_rtt_ms = policy->demote_clear_rtt_ms;
    out->demote_for_ms = policy->demote_for_ms;
    out->sessions_max = policy->sessions_max;
    out->sessions_per_lease_max = policy->sessions_per_lease_max;
    out->devices_per_group_max = policy->devices_per_group_max;
    out->tabs_per_device_max = policy->tabs_per_device_max;
    out->state_bytes_max = policy->state_bytes_max;
}
