#include "sim/queue.h"

#include <stdlib.h>

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->serial < b->serial;
}

static void set(struct sim_queue *q, uint32_t i, const struct sim_event *e)
{
    q->at[i] = *e;
    if (e->place != NULL) {
        *e->place = i + 1;
    }
}

/* From the empty place i towards the root, until `e` is in order. */
static void rise(struct sim_queue *q, uint32_t i, const struct sim_event *e)
{
    while (i > 0 && before(e, &q->at[(i - 1) / 2])) {
        set(q, i, &q->at[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    set(q, i, e);
}

static void sink(struct sim_queue *q, uint32_t i, const struct sim_event *e)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= q->n) {
            break;
        }
        if (child + 1 < q->n && before(&q->at[child + 1], &q->at[child])) {
            child++;
        }
        if (!before(&q->at[child], e)) {
            break;
        }
        set(q, i, &q->at[child]);
        i = child;
    }
    set(q, i, e);
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
    rise(q, q->n++, &added);
}

/* What's at i isn't there any more: the last one takes its place. */
static void close_gap(struct sim_queue *q, uint32_t i)
{
    struct sim_event last = q->at[--q->n];
    if (i == q->n) {
        return;
    }
    if (i > 0 && before(&last, &q->at[(i - 1) / 2])) {
        rise(q, i, &last);
    } else {
        sink(q, i, &last);
    }
}

void sim_queue_drop(struct sim_queue *q, uint32_t *place)
{
    if (*place != 0) {
        uint32_t i = *place - 1;
        ASSERT(i < q->n);
        ASSERT(q->at[i].place == place);
        *place = 0;
        close_gap(q, i);
    }
}

void sim_queue_plan(struct sim_queue *q, const struct sim_event *e,
                    uint32_t *place)
{
    struct sim_event planned = *e;
    sim_queue_drop(q, place);
    planned.place = place;
    sim_queue_put(q, &planned);
}

bool sim_queue_take(struct sim_queue *q, struct sim_event *out)
{
    if (q->n == 0) {
        return false;
    }
    *out = q->at[0];
    if (out->place != NULL) {
        *out->place = 0;
    }
    close_gap(q, 0);
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
