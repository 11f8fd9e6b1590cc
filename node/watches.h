/* watches.h - who is told what happens: state first, then every event in order, no gap, no duplicate, on any node.
 *
 *    open(from 0) --> STATE --walked all groups--> LIVE <---caught up--- LAGGING <--room again / resumed from a revision
 *                       ^                           '------output full-----^ '--before memory--> READING (disk)
 *                       '------- reset: the revision is no longer kept -----'
 *
 * STATE walks the groups in slot order, as much as the connection has room for; events meanwhile are passed on if they are
 * about a group that was walked already or in part, and left out otherwise (the walk will tell): at `synced` what was told is the
 * state at that revision. A watch that can't be told at once isn't dropped: it lags, and goes on from where it was when there's room.
 *
 * Owns its memory; everything else is lent for the call in struct watch_env. Bounded: watches_max in all, per_connection_max
 * each. Invariant: a LIVE watch has been told every matching event up to the last published revision. */
#ifndef NODE_WATCHES_H
#define NODE_WATCHES_H

#include "baton/v1/client.pb-c.h"
#include "node/history.h"
#include "proto/arena.h"
#include "raft/store.h"
#include "session/registry.h"
#include "transport/transport.h"

struct watches;

/* Room that a connection must have before a watch goes on: what a part takes at most (with the longest names, a scope's row takes
 * 850 bytes and a session's 700), and the events that happen meanwhile need some too. It's far below a frame's bound. */
#define WATCH_ROOM_BYTES (256u << 10)

struct watch_env {
    struct transport *transport;
    struct store *store;
    const struct registry *registry;
    const struct history *history;
    struct arena *arena; /* scratch; reset by the callee */
    uint8_t *
        frame; /* scratch for one encoded message, and for a batch behind it: more than FRAME_CLIENT_BYTES_MAX */
    size_t frame_bytes;
    uint64_t cluster_ms; /* now */
    uint64_t applied;
    uint64_t horizon;  /* oldest revision still on disk or in memory */
    uint64_t read_tag; /* tag of store reads: the watch's slot is added */
    uint64_t
        room_bytes; /* WATCH_ROOM_BYTES, but where names are known to be short */
};

/* NULL if there's no memory. */
struct watches *watches_new(uint32_t watches_max, uint32_t per_connection_max);
void watches_free(struct watches *ws);

struct watch_asker {
    uint64_t conn;
    uint64_t id; /* of the request: names the watch on its connection */
};
struct watch_refusal {
    uint32_t reason;
    int64_t detail;
};
/* A client's Watch with its request id. Refuses with LIMIT, INVALID, CONFLICT (id in use). What it's told comes with watches_pump(). */
MUST_USE enum baton_status watches_open(struct watches *ws,
                                        const struct watch_env *env,
                                        struct watch_asker asker,
                                        const Pb__Watch *watch,
                                        struct watch_refusal *out);
void watches_close(struct watches *ws, uint64_t conn, uint64_t id);
void watches_close_conn(struct watches *ws, uint64_t conn);

/* The events of one revision, right after they were applied: `batch` is events as messages, in the same order. */
void watches_publish(struct watches *ws, const struct watch_env *env,
                     const struct event *events, const Pb__EventBatch *batch);

/* Goes on with watches that walk, lag, or were just opened, for a bounded while. Returns true if some could go on at once. */
bool watches_pump(struct watches *ws, const struct watch_env *env);
/* A store read with one of our tags came back. */
void watches_read(struct watches *ws, const struct watch_env *env,
                  uint64_t slot, const struct store_event *event);
/* The registry was replaced by a newer one (a snapshot was installed): all begin anew, with `reset`. */
void watches_reset(struct watches *ws);

uint32_t watches_count(const struct watches *ws);

/* Whether an event in a batch is for this filter. Shared with GetEvents. */
bool watch_matches(const char *namespace_name, const char *group,
                   uint64_t lease, const Pb__Event *event);

#endif
