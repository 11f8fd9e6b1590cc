#include "sim/facts.h"

#include <stdlib.h>

#include "sim/random.h"

static struct fact *place(const struct facts *f, uint64_t key)
{
    uint32_t mask = f->capacity - 1;
    uint32_t i = (uint32_t)sim_mix(key, 1, 2) & mask;
    while (f->at[i].used && f->at[i].key != key) {
        i = (i + 1) & mask;
    }
    return &f->at[i];
}

static void grow(struct facts *f)
{
    struct facts more = {.capacity = f->capacity == 0 ? 1024 : f->capacity * 2};
    more.at = calloc(more.capacity, sizeof *more.at);
    ASSERT(more.at != NULL);
    for (uint32_t i = 0; i < f->capacity; i++) {
        if (f->at[i].used) {
            *place(&more, f->at[i].key) = f->at[i];
            more.n++;
        }
    }
    free(f->at);
    *f = more;
}

uint64_t facts_first(struct facts *f, uint64_t key, uint64_t value)
{
    if (2 * (f->n + 1) > f->capacity) {
        grow(f);
    }
    struct fact *at = place(f, key);
    if (!at->used) {
        *at = (struct fact){key, value, true};
        f->n++;
    }
    return at->value;
}

bool facts_get(const struct facts *f, uint64_t key, uint64_t *out_value)
{
    if (f->n == 0) {
        return false;
    }
    const struct fact *at = place(f, key);
    if (at->used) {
        *out_value = at->value;
    }
    return at->used;
}

void facts_fini(struct facts *f)
{
    free(f->at);
    *f = (struct facts){.n = 0};
}
