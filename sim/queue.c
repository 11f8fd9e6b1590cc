#include "sim/queue.h"

#include <stdlib.h>

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->serial < b->serial;
}

void sim_queue_put(struct sim_queue *q, const struct sim_event *e)
{
    if (q->n == q->capacity) {
        q->capacity = q->capacity == 0 ? 256 : q->capacity * 2;
        q->at = realloc(q->at, q->capacity * sizeof *q->at);
        ASSERT(q->at != NULL);
    }
    struct sim_event added = *e;
    added.serial = q->serials++;
    uint32_t i = q->n++;
    while (i > 0 && before(&added, &q->at[(i - 1) / 2])) {
        q->at[i] = q->at[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->at[i] = added;
}

bool sim_queue_take(struct sim_queue *q, struct sim_event *out)
{
    if (q->n == 0) {
        return false;
    }
    *out = q->at[0];
    struct sim_event last = q->at[--q->n];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= q->n) {
            break;
        }
        if (child + 1 < q->n && before(&q->at[child + 1], &q->at[child])) {
            child++;
        }
        if (!before(&q->at[child], &last)) {
            break;
        }
        q->at[i] = q->at[child];
        i = child;
    }
    q->at[i] = last;
    return true;
}

uint64_t sim_queue_next_us(const struct sim_queue *q)
{
    return q->n == 0 ? UINT64_MAX : q->at[0].at_us;
}

void sim_queue_fini(struct sim_queue *q)
{
    free(q->at);
    *q = (struct sim_queue){0};
}
