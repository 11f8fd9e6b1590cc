#include <string.h>

#include "node/turn_state.h"
#include "node/watch_state.h"

#define PART_ROWS_MAX 128u
#define READ_BYTES    (256u << 10)

void watch_begin_state(struct watches *ws, uint32_t slot, bool reset)
{
    struct watch *w = &ws->slots[slot];
    w->walked = 0;
    w->walking = 0;
    w->tell_reset = reset;
    watch_phase_set(ws, slot, WATCH_STATE);
}

/* If not, the loop is woken when there is. */
static bool has_room(const struct watch_env *env, const struct watch *w)
{
    if (transport_room(env->transport, w->conn) >= env->room_bytes) {
        return true;
    }
    transport_want_room(env->transport, w->conn);
    return false;
}

/* Rows of a part being filled. */
struct rows {
    Pb__SessionInfo *sessions[PART_ROWS_MAX];
    Pb__LeaderResult *scopes[PART_ROWS_MAX];
    uint32_t sessions_n;
    uint32_t scopes_n;
};

static bool is_full(const struct rows *rows)
{
    /* A session brings two scopes at most, and a group's own comes first. */
    return rows->sessions_n == PART_ROWS_MAX ||
           rows->scopes_n + 2 >= PART_ROWS_MAX;
}

static void add_scope(struct rows *rows, const struct watch_env *env,
                      const struct scope_view *view)
{
    Pb__LeaderResult *m = arena_alloc(env->arena, sizeof *m);
    Pb__Path *path = arena_alloc(env->arena, sizeof *path);
    ASSERT(m != NULL && path != NULL); /* it holds a part */
    answer_scope(view, env->cluster_ms, env->arena, m, path);
    rows->scopes[rows->scopes_n++] = m;
}

static void add_session(struct rows *rows, const struct watch_env *env,
                        const struct session_view *view)
{
    Pb__SessionInfo *m = arena_alloc(env->arena, sizeof *m);
    ASSERT(m != NULL);
    answer_session(view, env->cluster_ms, env->arena, m);
    rows->sessions[rows->sessions_n++] = m;
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

static bool wants_group(const struct watch_env *env, const struct watch *w,
                        uint32_t group)
{
    struct scope_view scope;
    if (group == 0 || registry_group_namespace(env->registry, group) == 0 ||
        !registry_group_scope(env->registry, group, &scope)) {
        return false;
    }
    if (w->kind != WATCH_NAMESPACE) {
        return true;
    }
    struct bytes name = codec_text(w->namespace_name);
    return name.n == scope.namespace_name.n &&
           memcmp(name.data, scope.namespace_name.data, name.n) == 0;
}

enum walk {
    WALK_DONE,
    WALK_WAITS, /* for room, or its next turn */
    WALK_BROKEN,
};

/* Sends the part if it's full: room is asked for only then, since only then it changes. */
static enum walk send_full(const struct watch_env *env, struct watch *w,
                           struct rows *rows)
{
    if (!is_full(rows)) {
        return WALK_DONE;
    }
    if (!send_rows(env, w, rows, false)) {
        return WALK_BROKEN;
    }
    return has_room(env, w) ? WALK_DONE : WALK_WAITS;
}

/* Where the walk goes on in the group. If the session it stood at is gone, at its beginning: rows told twice do no harm. */
static uint64_t enter_group(const struct watch_env *env, struct watch *w,
                            uint32_t group, struct rows *rows)
{
    if (w->walking == group &&
        registry_group_resumes(env->registry, group, w->told_cursor,
                               w->told_session)) {
        return w->told_cursor;
    }
    struct scope_view scope;
    bool there = registry_group_scope(env->registry, group, &scope);
    ASSERT(there);
    add_scope(rows, env, &scope);
    return 0;
}

/* Tells one group's scopes and sessions, sending full parts on the way. */
static enum walk walk_group(struct watches *ws, const struct watch_env *env,
                            struct watch *w, uint32_t group, struct rows *rows)
{
    if (!wants_group(env, w, group)) {
        return WALK_DONE;
    }
    struct group_row row;
    uint64_t cursor = enter_group(env, w, group, rows);
    while (registry_group_row(env->registry, group, &cursor, &row)) {
        if (row.first) {
            add_scope(rows, env, &row.device);
        }
        add_session(rows, env, &row.session);
        w->walking = group;
        w->told_session = row.session.id;
        w->told_cursor = cursor;
        enum walk sent = send_full(env, w, rows);
        if (sent != WALK_DONE) {
            return sent;
        }
        if (--ws->steps == 0) {
            return WALK_WAITS;
        }
    }
    return WALK_DONE;
}

static enum walk walk_groups(struct watches *ws, const struct watch_env *env,
                             struct watch *w, struct rows *rows)
{
    uint32_t end = registry_group_slots(env->registry);
    while (w->walked < end) {
        bool one = w->kind == WATCH_GROUP;
        uint32_t group = one ? registry_find_group(
                                   env->registry, codec_text(w->namespace_name),
                                   codec_text(w->group))
                             : w->walked + 1;
        enum walk walk = walk_group(ws, env, w, group, rows);
        if (walk != WALK_DONE) {
            return walk;
        }
        w->walked = one ? end : w->walked + 1;
        w->walking = 0;
        if (--ws->steps == 0) {
            return w->walked < end ? WALK_WAITS : WALK_DONE;
        }
    }
    return WALK_DONE;
}

static void add_own(const struct watch_env *env, uint32_t session,
                    struct rows *rows)
{
    struct session_view view;
    struct scope_view scope;
    bool there = registry_session_at(env->registry, session, &view);
    ASSERT(there);
    add_session(rows, env, &view);
    if (registry_session_leads(env->registry, session, false, &scope)) {
        add_scope(rows, env, &scope);
    }
    if (registry_session_leads(env->registry, session, true, &scope)) {
        add_scope(rows, env, &scope);
    }
}

/* A lease's sessions, and the scopes that they lead. */
static enum walk walk_lease(struct watches *ws, const struct watch_env *env,
                            struct watch *w, struct rows *rows)
{
    uint32_t end = registry_session_slots(env->registry);
    while (w->walking < end) {
        /* Most sessions are others': a step is many of them. */
        for (uint32_t i = 0; i < 16 && w->walking < end; i++) {
            w->walking++;
            if (registry_session_is_of(env->registry, w->walking, w->lease)) {
                add_own(env, w->walking, rows);
            }
            enum walk sent = send_full(env, w, rows);
            if (sent != WALK_DONE) {
                return sent;
            }
        }
        if (--ws->steps == 0) {
            return w->walking < end ? WALK_WAITS : WALK_DONE;
        }
    }
    return WALK_DONE;
}

static bool walk(struct watches *ws, const struct watch_env *env, uint32_t slot)
{
    struct watch *w = &ws->slots[slot];
    struct rows rows;
    rows.sessions_n = 0;
    rows.scopes_n = 0;
    arena_reset(env->arena);
    if (!has_room(env, w)) {
        return false;
    }
    enum walk walk = w->kind == WATCH_LEASE ? walk_lease(ws, env, w, &rows)
                                            : walk_groups(ws, env, w, &rows);
    if (walk == WALK_BROKEN || !send_rows(env, w, &rows, walk == WALK_DONE)) {
        watch_begin_state(ws, slot, true);
        return false;
    }
    if (walk == WALK_DONE) {
        watch_phase_set(ws, slot, WATCH_LIVE);
        return false;
    }
    return has_room(env, w);
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
    if (!has_room(env, w)) {
        return false;
    }
    if (w->next_revision < history_from(env->history)) {
        if (w->next_revision < env->horizon) {
            watch_begin_state(ws, slot, true);
            return true;
        }
        w->asked_to = env->applied;
        w->serial = ++ws->serials & 0xffffffu;
        watch_phase_set(ws, slot, WATCH_READING);
        store_read_events(env->store, env->read_tag | (w->serial << 24) | slot,
                          w->next_revision, w->asked_to, READ_BYTES);
        return false;
    }
    while (ws->steps > 0) {
        ws->steps--;
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
