/* Random days of many tabs, seeded: whatever happens in whichever order, after every entry each scope is what the slow oracle
 * says, epochs rise, and what's due gets done. */
#include "tests/unit/election_rig.h"

#define SEEDS   60
#define STEPS   1500
#define GROUPS  2
#define DEVICES 3
#define TABS    4
#define LEASES  4
#define PLACES  (GROUPS * DEVICES * TABS)

static uint64_t seed_state;

/* splitmix64 */
static uint64_t draw(uint64_t below)
{
    uint64_t z = seed_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) % below;
}

struct day {
    struct rig *g;
    /* last id opened at each place; may have closed */
    uint64_t sessions[PLACES];
    uint64_t leases[LEASES];
    uint64_t sequences[LEASES];
    uint32_t lease_at;
    char path[64];
    char scope[64];
};

static void use_lease(struct day *d, uint32_t i)
{
    d->sequences[d->lease_at] = d->g->sequence;
    d->lease_at = i;
    d->g->lease = d->leases[i];
    d->g->sequence = d->sequences[i];
}

static void new_lease(struct day *d, uint32_t i)
{
    use_lease(d, i);
    d->leases[i] = rig_lease(d->g);
    d->g->sequence = 0;
}

/* The lease that the session is on, if it lives; else any. */
static uint64_t some_session(struct day *d)
{
    uint64_t id = d->sessions[draw(PLACES)];
    slot s = find_session(d->g->r, id);
    uint64_t lease =
        s == 0 ? 0 : lease_at(d->g->r, session_at(d->g->r, s)->lease)->id;
    for (uint32_t i = 0; i < LEASES; i++) {
        if (d->leases[i] == lease) {
            use_lease(d, i);
        }
    }
    return id;
}

static const char *some_scope(struct day *d)
{
    int n = snprintf(d->scope, sizeof d->scope, "ns/g%d", (int)draw(GROUPS));
    if (draw(2) == 0) {
        (void)snprintf(d->scope + n, sizeof d->scope - (size_t)n, "/d%d",
                       (int)draw(DEVICES));
    }
    return d->scope;
}

static bool exists(struct day *d, const char *path)
{
    struct scope_ref ref = {0, 0};
    uint32_t reason = 0;
    return find_scope(d->g->r, rig_path(d->g, path), &ref, &reason) == BATON_OK;
}

static void open_somewhere(struct day *d)
{
    uint64_t at = draw(PLACES);
    if (find_session(d->g->r, d->sessions[at]) != 0) {
        return;
    }
    struct rig_caps caps = {.n = 0};
    rig_cap(&caps, CAP_PRIORITY, (int32_t)draw(201) - 100);
    (void)snprintf(d->path, sizeof d->path, "ns/g%d/d%d/t%d",
                   (int)(at / (DEVICES * TABS)), (int)(at / TABS % DEVICES),
                   (int)(at % TABS));
    use_lease(d, (uint32_t)draw(LEASES));
    d->sessions[at] = rig_open_caps(d->g, d->path, &caps, draw(6) == 0);
}

/* Answers and yields as a client would, or as one that's confused. */
static void talk(struct day *d, const char *path)
{
    struct rig *g = d->g;
    const struct scope *scope = rig_scope(g, path);
    const struct scope_extra *e = scope_extra(g->r, scope);
    uint64_t id = some_session(d);
    if (scope->phase == PHASE_OFFERED) {
        for (int i = 0; i < 50 && id != e->offer_session; i++) {
            id = some_session(d);
        }
        (void)rig_answer(g, path, id, draw(4) != 0);
    } else if (scope->phase == PHASE_YIELDING) {
        for (int i = 0; i < 50 && id != scope->holder_session; i++) {
            id = some_session(d);
        }
        (void)rig_yield(g, path, id, draw(2) == 0 ? "" : "state");
    } else {
        (void)rig_handoff(g, path, draw(3) == 0 ? 0 : id, 0);
    }
}

static void lead(struct day *d)
{
    const char *path = some_scope(d);
    if (!exists(d, path)) {
        return;
    }
    switch (draw(8)) {
    case 0:
        (void)rig_resign(d->g, path, RIG_ANY, draw(2) == 0 ? "" : "state");
        break;
    case 1:
        (void)rig_demote(d->g, path, 0);
        break;
    default:
        talk(d, path);
        break;
    }
}

static void change_policy(struct day *d)
{
    Pb__Policy policy = PB__POLICY__INIT;
    Pb__Weight weight = PB__WEIGHT__INIT;
    Pb__Weight *list[1] = {&weight};
    weight.key = PB__CAPABILITY_KEY__PRIORITY;
    weight.weight = (int32_t)draw(2001) - 1000;
    policy.weights = list;
    policy.n_weights = 1;
    policy.max_tenure_ms = draw(2) * 15000;
    policy.breaker_moves = (uint32_t)draw(4);
    policy.demote_after_ms = draw(2) * 1500;
    assert_int_equal(rig_policy(d->g, "ns", &policy)->status, BATON_OK);
}

static void step(struct day *d)
{
    uint64_t id = 0;
    uint32_t i = 0;
    switch (draw(20)) {
    case 0:
        id = some_session(d);
        (void)rig_close(d->g, id, draw(2) == 0 ? "" : "state");
        break;
    case 1:
        id = some_session(d);
        (void)rig_observe(d->g, id, draw(3) == 0);
        break;
    case 2:
    case 3:
        id = some_session(d);
        (void)rig_update(d->g, id, CAP_PRIORITY, (int32_t)draw(201) - 100);
        break;
    case 4:
    case 5:
        id = some_session(d);
        (void)rig_update(d->g, id, CAP_RTT_MS, 1 << draw(14));
        break;
    case 6:
        id = d->sessions[draw(PLACES)];
        use_lease(d, (uint32_t)draw(LEASES));
        (void)rig_attach(d->g, id);
        break;
    case 7:
        if (draw(4) == 0) {
            i = (uint32_t)draw(LEASES);
            use_lease(d, i);
            rig_close_lease(d->g, draw(4) != 0);
            new_lease(d, i);
        }
        break;
    case 8:
        if (draw(10) == 0) {
            use_lease(d, (uint32_t)draw(LEASES));
            change_policy(d);
        }
        break;
    case 9:
    case 10:
        d->g->time_ms += draw(4) == 0 ? draw(40000) : draw(1500);
        break;
    case 11:
    case 12:
    case 13:
    case 14:
        lead(d);
        break;
    default:
        open_somewhere(d);
        break;
    }
    if (draw(3) != 0) {
        (void)rig_due(d->g);
    }
}

/* Counts the grants of the last entry by their reasons. */
static void count_grants(const struct rig *g, uint32_t *reasons)
{
    for (uint32_t i = 0; i < g->out->events_n; i++) {
        if (g->out->events[i].kind == EVENT_GRANTED) {
            reasons[g->out->events[i].reason]++;
        }
    }
}

static void run_day(uint64_t seed, uint32_t *reasons)
{
    seed_state = seed;
    struct day d = {.g = rig_new()};
    for (uint32_t i = 0; i < LEASES; i++) {
        new_lease(&d, i);
    }
    for (int i = 0; i < STEPS; i++) {
        step(&d);
        count_grants(d.g, reasons);
    }
    rig_free(d.g);
}

static void test_random_days(void **state)
{
    (void)state;
    uint32_t reasons[GRANT_DEVICE + 1] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_day(seed, reasons);
    }
    /* A day on which nothing of a kind happens proves nothing about it. */
    for (int i = GRANT_FIRST; i <= GRANT_DEVICE; i++) {
        if (reasons[i] == 0) {
            fail_msg("no grant for reason %d", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_days),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
