#include <string.h>

#include "node/turn_state.h"
#include "node/watch_state.h"

/* Room that a connection must have before the walk goes on: what a part takes at most (with the longest names, a scope's row takes
 * 850 bytes and a session's 700), and the events that happen meanwhile need some too. It's far below a frame's bound. */
#define ROOM_BYTES    (256u << 10)
#define PART_ROWS_MAX 128u
#define GROUPS_A_PUMP 4096u
#define READ_BYTES    (256u << 10)

void watch_begin_state(struct watches *ws, uint32_t slot, bool reset)
{
    struct watch *w = &ws->slots[slot];
    w->walked = 0;
    w->tell_reset = reset;
    watch_phase_set(ws, slot, WATCH_STATE);
}

/* Rows of a part being filled. */
struct rows {
    Pb__SessionInfo *sessions[PART_ROWS_MAX];
    Pb__LeaderResult *scopes[PART_ROWS_MAX];
    uint32_t sessions_n;
    uint32_t scopes_n;
};

static bool add_scope(struct rows *rows, const struct watch_env *env,
                      const struct scope_view *view)
{
    if (rows->scopes_n == PART_ROWS_MAX) {
        return false;
    }
    Pb__LeaderResult *m = arena_alloc(env->arena, sizeof *m);
    Pb__Path *path = arena_alloc(env->arena, sizeof *path);
    if (m == NULL || path == NULL) {
        return false;
    }
    answer_scope(view, env->cluster_ms, env->arena, m, path);
    rows->scopes[rows->scopes_n++] = m;
    return true;
}

static bool add_session(struct rows *rows, const struct watch_env *env,
                        const struct session_view *view)
{
    if (rows->sessions_n == PART_ROWS_MAX) {
        return false;
    }
    Pb__SessionInfo *m = arena_alloc(env->arena, sizeof *m);
    if (m == NULL) {
        return false;
    }
    answer_session(view, env->cluster_ms, env->arena, m);
    rows->sessions[rows->sessions_n++] = m;
    return true;
}

static bool send_rows(const struct watch_env *env, struct watch *w,
                      struct rows *rows, bool synced)
{
    if (rows->sessions_n == 0 && rows->scopes_n == 0 && !synced &&
        !w->tell_reset) {
        return true;
    }
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    part.sessions = rows->sessions;
    part.n_sessions = rows->sessions_n;
    part.scopes = rows->scopes;
    part.n_scopes = rows->scopes_n;
    part.synced = synced;
    part.reset = w->tell_reset;
    if (!watch_send(env, w, &part, env->applied)) {
        return false;
    }
    w->tell_reset = false;
    rows->sessions_n = 0;
    rows->scopes_n = 0;
    arena_reset(env->arena);
    return true;
}

/* True if the watch has nothing to do with this group. */
static bool skip_group(const struct watch *w, const struct scope_view *scope)
{
    if (w->kind != WATCH_NAMESPACE) {
        return false;
    }
    struct bytes name = codec_text(w->namespace_name);
    return name.n != scope->namespace_name.n ||
           memcmp(name.data, scope->namespace_name.data, name.n) != 0;
}

/* A lease's watch is told of its own sessions, and of the scopes that they lead. */
static bool mine(const struct watch *w, uint64_t lease)
{
    return w->kind != WATCH_LEASE || lease == w->lease;
}

/* Appends one group's scopes and sessions, sending full parts on the way. False: no room; the watch's walk begins anew. */
static bool walk_group(const struct watch_env *env, struct watch *w,
                       uint32_t group, struct rows *rows)
{
    struct scope_view scope;
    if (registry_group_namespace(env->registry, group) == 0 ||
        !registry_group_scope(env->registry, group, &scope) ||
        skip_group(w, &scope)) {
        return true;
    }
    if (mine(w, scope.lease) && !add_scope(rows, env, &scope) &&
        !(send_rows(env, w, rows, false) && add_scope(rows, env, &scope))) {
        return false;
    }
    uint32_t device_cursor = 0;
    while (
        registry_group_device(env->registry, group, &device_cursor, &scope)) {
        if (mine(w, scope.lease) && !add_scope(rows, env, &scope) &&
            !(send_rows(env, w, rows, false) && add_scope(rows, env, &scope))) {
            return false;
        }
    }
    struct session_view session;
    uint64_t session_cursor = 0;
    while (registry_group_session(env->registry, group, &session_cursor,
                                  &session)) {
        if (mine(w, session.lease) && !add_session(rows, env, &session) &&
            !(send_rows(env, w, rows, false) &&
              add_session(rows, env, &session))) {
            return false;
        }
    }
    return true;
}

static bool walk(struct watches *ws, const struct watch_env *env, uint32_t slot)
{
    struct watch *w = &ws->slots[slot];
    struct rows rows;
    rows.sessions_n = 0;
    rows.scopes_n = 0;
    arena_reset(env->arena);
    if (transport_room(env->transport, w->conn) < ROOM_BYTES) {
        return false;
    }
    uint32_t end = registry_group_slots(env->registry);
    uint32_t looked = 0;
    bool ok = true;
    if (w->kind == WATCH_GROUP) {
        uint32_t group = registry_find_group(
            env->registry, codec_text(w->namespace_name), codec_text(w->group));
        ok = group == 0 || walk_group(env, w, group, &rows);
        w->walked = end;
    }
    while (ok && w->walked < end && looked < GROUPS_A_PUMP &&
           transport_room(env->transport, w->conn) >= ROOM_BYTES) {
        ok = walk_group(env, w, w->walked + 1, &rows);
        w->walked++;
        looked++;
    }
    bool synced = ok && w->walked >= end;
    if (!ok || !send_rows(env, w, &rows, synced)) {
        /* Part of a group may have been told: only from the beginning is it whole again. */
        watch_begin_state(ws, slot, true);
        return false;
    }
    if (synced) {
        watch_phase_set(ws, slot, WATCH_LIVE);
    }
    return !synced;
}

/* --- catching up --------------------------------------------------------------------------------------------------- */

/* Sends what of an encoded batch is for this watch. False: no room. */
static bool pass_on(const struct watch_env *env, struct watch *w,
                    struct bytes encoded)
{
    arena_reset(env->arena);
    Pb__EventBatch *batch = codec_decode_event_batch(encoded, env->arena);
    ASSERT(batch != NULL);
    size_t n = 0;
    for (size_t i = 0; i < batch->n_events; i++) {
        if (watch_matches(w->namespace_name, w->group, w->lease,
                          batch->events[i])) {
            batch->events[n++] = batch->events[i];
        }
    }
    if (n == 0) {
        return true;
    }
    batch->n_events = n;
    Pb__EventBatch *batches[] = {batch};
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    part.batches = batches;
    part.n_batches = 1;
    return watch_send(env, w, &part, batch->revision);
}

static bool catch_up(struct watches *ws, const struct watch_env *env,
                     uint32_t slot)
{
    struct watch *w = &ws->slots[slot];
    if (transport_room(env->transport, w->conn) < ROOM_BYTES) {
        return false;
    }
    if (w->next_revision < history_from(env->history)) {
        if (w->next_revision < env->horizon) {
            watch_begin_state(ws, slot, true);
            return true;
        }
        w->asked_to = env->applied;
        watch_phase_set(ws, slot, WATCH_READING);
        store_read_events(env->store, env->read_tag | (w->serial << 24) | slot,
                          w->next_revision, w->asked_to, READ_BYTES);
        return false;
    }
    for (uint32_t i = 0; i < 1024; i++) {
        uint64_t revision = 0;
        struct bytes encoded;
        if (!history_get(env->history, w->next_revision, &revision, &encoded)) {
            /* Told everything up to here; a revision from the future is waited for. */
            if (w->next_revision <= env->applied + 1) {
                w->next_revision = env->applied + 1;
                watch_phase_set(ws, slot, WATCH_LIVE);
            }
            return false;
        }
        if (!pass_on(env, w, encoded)) {
            return false;
        }
        w->next_revision = revision + 1;
    }
    return true;
}

bool watch_advance(struct watches *ws, const struct watch_env *env,
                   uint32_t slot)
{
    switch ((enum watch_phase)ws->slots[slot].phase) {
    case WATCH_STATE:
        return walk(ws, env, slot);
    case WATCH_LAGGING:
        return catch_up(ws, env, slot);
    case WATCH_READING:
    case WATCH_LIVE:
    case WATCH_FREE:
        break;
    }
    return false;
}

void watches_read(struct watches *ws, const struct watch_env *env, uint64_t id,
                  const struct store_event *event)
{
    uint32_t slot = (uint32_t)(id & 0xffffffu);
    uint64_t serial = id >> 24;
    if (slot == 0 || slot > ws->high) {
        return;
    }
    struct watch *w = &ws->slots[slot];
    if (w->phase != WATCH_READING || w->serial != serial) {
        return;
    }
    watch_phase_set(ws, slot, WATCH_LAGGING);
    if (event->gone) {
        watch_begin_state(ws, slot, true);
        return;
    }
    for (uint32_t i = 0; i < event->records_n; i++) {
        if (event->records[i].index < w->next_revision) {
            continue;
        }
        if (!pass_on(env, w, event->records[i].value)) {
            return;
        }
        w->next_revision = event->records[i].index + 1;
    }
    if (event->end) {
        /* Nothing else happened up to where it was asked for; memory may begin behind that by now. */
        w->next_revision = max_u64(w->next_revision, w->asked_to + 1);
    }
}
