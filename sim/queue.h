/* queue.h - what will happen, in order: simulated time is the time of the event taken last. Of two at one instant, the one that was put
 * in first comes first, so a run is one total order. */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include "proto/base.h"

struct sim_event {
    uint64_t at_us;
    uint64_t serial; /* filled in by sim_queue_put() */
    void (*happen)(void *arg, uint64_t a, uint64_t b);
    void *arg;
    uint64_t a;
    uint64_t b;
    uint32_t *place; /* where it's kept track of; NULL: nowhere */
};

/* A binary heap. */
struct sim_queue {
    struct sim_event *at;
    uint32_t n;
    uint32_t capacity;
    uint64_t serials;
};

void sim_queue_put(struct sim_queue *q, const struct sim_event *e);
/* A timer: as if what *place stands for had never been put in, and this came instead. *place belongs to the queue, and stays where it is until
 * the event was taken or dropped; 0: there's none. */
void sim_queue_plan(struct sim_queue *q, const struct sim_event *e,
                    uint32_t *place);
void sim_queue_drop(struct sim_queue *q, uint32_t *place);
/* The next one; false: nothing will ever happen. */
bool sim_queue_take(struct sim_queue *q, struct sim_event *out);
/* When the next one is; UINT64_MAX: none. */
uint64_t sim_queue_next_us(const struct sim_queue *q);
void sim_queue_fini(struct sim_queue *q);

#endif
