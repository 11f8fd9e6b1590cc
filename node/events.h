/* events.h - the registry's events as messages: for the history on disk, and for watches. */
#ifndef NODE_EVENTS_H
#define NODE_EVENTS_H

#include "baton/v1/types.pb-c.h"
#include "proto/arena.h"
#include "session/event.h"

/* All events of one entry, as one message whose arrays and strings live in `a`; NULL if it's full. wall_ms: 0 if unknown. */
Pb__EventBatch *events_to_batch(const struct event *events, uint32_t n,
                                uint64_t revision, uint64_t time_ms,
                                uint64_t wall_ms, struct arena *a);

#endif
