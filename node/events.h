/* events.h - the registry's events as messages: for the history on disk, and for watches. */
#ifndef NODE_EVENTS_H
#define NODE_EVENTS_H

#include "baton/v1/types.pb-c.h"
#include "proto/arena.h"
#include "session/event.h"

/* What all events of one entry have in common. */
struct event_stamp {
    uint64_t revision;
    uint64_t time_ms; /* cluster time */
    uint64_t wall_ms; /* 0: unknown */
};

/* All events of one entry, as one message whose arrays and strings live in `a`; NULL if it's full. */
Pb__EventBatch *events_to_batch(const struct event *events, uint32_t n,
                                struct event_stamp stamp, struct arena *a);

#endif
