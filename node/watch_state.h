/* watch_state.h - the inside of watches.h, for watches.c (who is told) and watch_walk.c (state, catching up). */
#ifndef NODE_WATCH_STATE_H
#define NODE_WATCH_STATE_H

#include "node/watches.h"

enum watch_kind {
    WATCH_ALL = 0,
    WATCH_NAMESPACE,
    WATCH_GROUP,
    WATCH_LEASE,
};

enum watch_phase {
    WATCH_FREE = 0,
    WATCH_STATE,
    WATCH_LIVE,
    WATCH_LAGGING,
    WATCH_READING,
};

#define WATCH_CHAINS       4096u
#define WATCH_STEPS_A_PUMP 4096u
#define WATCH_LOOKS_A_PUMP 1024u

struct watch {
    uint64_t conn;
    uint64_t id;
    uint64_t lease;
    uint64_t next_revision; /* LAGGING, READING: told everything before it */
    uint64_t asked_to;      /* READING: what the disk was asked for */
    uint64_t serial; /* of its read: tells late answers of the store apart */
    uint32_t walked; /* STATE: group slots 1 .. walked were told */
    /* STATE: a group of which a part was told; of a lease: session slots 1 .. walking */
    uint32_t walking;
    uint64_t told_session; /* the last one of that part */
    uint64_t told_cursor;  /* where it is in the group */
    uint32_t chain;
    uint32_t next; /* in its chain */
    uint32_t prev;
    uint32_t conn_next; /* in its connection's chain */
    uint32_t active_at; /* position in `active` + 1; 0: LIVE */
    uint8_t kind;
    uint8_t phase;
    bool tell_reset;
    char namespace_name[NAME_BYTES_MAX + 1];
    char group[NAME_BYTES_MAX + 1];
    uint64_t hits[EVENTS_MAX / 64]; /* publish: which events of the batch */
    bool hit;
};

struct watches {
    uint32_t watches_max;
    uint32_t per_connection_max;
    uint32_t high; /* slots 1 .. high were used */
    uint32_t free_head;
    uint32_t n;
    uint64_t serials;
    uint32_t heads[WATCH_CHAINS];
    uint32_t conns[WATCH_CHAINS]; /* connections that share a hash */
    struct watch *slots;
    uint32_t *active; /* slots that aren't LIVE */
    uint32_t active_n;
    uint32_t pump_at;
    uint32_t idle_n; /* looked at in a row, of which none could go on */
    uint32_t steps;  /* what's left of a pump's work: rows, groups, batches */
    uint32_t *hits;  /* publish: slots that are hit */
    uint32_t hits_n;
};

/* Changes the phase, and keeps `active` right. */
void watch_phase_set(struct watches *ws, uint32_t slot, enum watch_phase phase);
/* Sends one part; false: there's no room, nothing was sent. */
bool watch_send(const struct watch_env *env, const struct watch *w,
                Pb__WatchPart *part, uint64_t revision);
/* Goes on with one watch that isn't LIVE. Returns true if it did something and could do more. */
bool watch_advance(struct watches *ws, const struct watch_env *env,
                   uint32_t slot);
void watch_begin_state(struct watches *ws, uint32_t slot, bool reset);

#endif
