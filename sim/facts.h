/* facts.h - what was said first: a value for each key, written once. Open addressing; owns its memory, and starts out zeroed. */
#ifndef SIM_FACTS_H
#define SIM_FACTS_H

#include "proto/base.h"

struct fact {
    uint64_t key;
    uint64_t value;
    bool used;
};

struct facts {
    struct fact *at;
    uint32_t capacity; /* a power of two */
    uint32_t n;
};

/* What was said first about `key`; `value`, if that's now. */
uint64_t facts_first(struct facts *f, uint64_t key, uint64_t value);
/* False: nothing was said. */
bool facts_get(const struct facts *f, uint64_t key, uint64_t *out_value);
void facts_fini(struct facts *f);

#endif
