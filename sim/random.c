#include "sim/random.h"

uint64_t sim_random(struct sim_random *r)
{
    r->state += 0x9E3779B97F4A7C15u;
    uint64_t z = r->state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t sim_mix(uint64_t a, uint64_t b, uint64_t c)
{
    struct sim_random r = {a};
    r.state = sim_random(&r) ^ b;
    r.state = sim_random(&r) ^ c;
    return sim_random(&r);
}

struct sim_random sim_random_of(uint64_t seed, enum sim_purpose purpose,
                                uint64_t id)
{
    return (struct sim_random){sim_mix(seed, (uint64_t)purpose, id)};
}

uint64_t sim_below(struct sim_random *r, uint64_t n)
{
    ASSERT(n > 0);
    return sim_random(r) % n;
}

uint64_t sim_between(struct sim_random *r, uint64_t from, uint64_t to)
{
    ASSERT(from <= to);
    return from + sim_below(r, to - from + 1);
}

bool sim_chance(struct sim_random *r, uint32_t permille)
{
    return sim_below(r, 1000) < permille;
}

/* 1024 * -ln((i + 1/2) / 64). */
static const uint16_t minus_log[64] = {
    4968, 3844, 3320, 2976, 2719, 2513, 2342, 2195, 2067, 1953, 1851,
    1758, 1672, 1594, 1520, 1452, 1388, 1328, 1271, 1217, 1166, 1117,
    1070, 1026, 983,  942,  903,  865,  828,  793,  759,  726,  694,
    663,  633,  603,  575,  547,  520,  494,  469,  444,  419,  395,
    372,  349,  327,  305,  284,  263,  243,  223,  203,  184,  165,
    146,  128,  110,  92,   75,   58,   41,   24,   8,
};

uint64_t sim_seldom(struct sim_random *r, uint64_t mean)
{
    uint64_t draw = minus_log[sim_below(r, 64)];
    return mean * draw / 1024 + sim_below(r, mean / 32 + 1);
}

uint64_t sim_magnitude(struct sim_random *r, uint64_t from, uint64_t to)
{
    ASSERT(from > 0 && from <= to);
    uint32_t doublings = 0;
    while (from << (doublings + 1) <= to) {
        doublings++;
    }
    uint64_t low = from << sim_below(r, doublings + 1);
    uint64_t high = low * 2 - 1 < to ? low * 2 - 1 : to;
    return sim_between(r, low, high);
}
