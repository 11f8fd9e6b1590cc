#include "node/watches.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "node/watch_state.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/utf8.h"

struct watches *watches_new(uint32_t watches_max, uint32_t per_connection_max)
{
    ASSERT(watches_max > 0);
    struct watches *ws = calloc(1, sizeof *ws);
    if (ws == NULL) {
        return NULL;
    }
    ws->watches_max = watches_max;
    ws->per_connection_max = per_connection_max;
    ws->slots = calloc((size_t)watches_max + 1, sizeof *ws->slots);
    ws->active = calloc((size_t)watches_max + 1, sizeof *ws->active);
    ws->hits = calloc((size_t)watches_max + 1, sizeof *ws->hits);
    if (ws->slots == NULL || ws->active == NULL || ws->hits == NULL) {
        watches_free(ws);
        return NULL;
    }
    return ws;
}

void watches_free(struct watches *ws)
{
    if (ws == NULL) {
        return;
    }
    free(ws->slots);
    free(ws->active);
    free(ws->hits);
    free(ws);
}

uint32_t watches_count(const struct watches *ws)
{
    return ws->n;
}

/* The chain of watches of one kind that want the same names or lease: a filter's hash. */
static uint32_t chain_of(enum watch_kind kind, struct bytes namespace_name,
                         struct bytes group, uint64_t lease)
{
    uint64_t h = XXH3_64bits_withSeed(namespace_name.data, namespace_name.n,
                                      (XXH64_hash_t)kind + 1);
    h = XXH3_64bits_withSeed(group.data, group.n, h);
    h = XXH3_64bits_withSeed(&lease, sizeof lease, h);
    return (uint32_t)(h % WATCH_CHAINS);
}

/* The field's number in client.proto. */
#define WATCH_PART_BATCHES 3u

static const struct bytes nothing = {(const uint8_t *)"", 0};

/* --- opening and closing ----------------------------------------------------------------------------------------- */

static uint32_t conn_chain(uint64_t conn)
{
    return (uint32_t)(XXH3_64bits(&conn, sizeof conn) % WATCH_CHAINS);
}

static uint32_t find_watch(const struct watches *ws, uint64_t conn, uint64_t id,
                           uint32_t *out_conn_n)
{
    uint32_t found = 0;
    uint32_t n = 0;
    for (uint32_t s = ws->conns[conn_chain(conn)]; s != 0;
         s = ws->slots[s].conn_next) {
        const struct watch *w = &ws->slots[s];
        if (w->conn == conn) {
            n++;
            found = w->id == id ? s : found;
        }
    }
    *out_conn_n = n;
    return found;
}

static enum baton_status check_filter(const Pb__Watch *watch,
                                      uint32_t *out_reason)
{
    struct bytes namespace_name = codec_text(watch->namespace_);
    struct bytes group = codec_text(watch->group);
    if (namespace_name.n > 0 && !utf8_is_name(namespace_name, NAME_BYTES_MAX)) {
        *out_reason = REASON_NAMESPACE;
        return BATON_INVALID;
    }
    if (group.n > 0 &&
        (namespace_name.n == 0 || !utf8_is_name(group, NAME_BYTES_MAX))) {
        *out_reason = REASON_GROUP;
        return BATON_INVALID;
    }
    return BATON_OK;
}

static enum baton_status check_open(const struct watches *ws,
                                    struct watch_asker asker,
                                    struct watch_refusal *out)
{
    uint32_t conn_n = 0;
    if (find_watch(ws, asker.conn, asker.id, &conn_n) != 0) {
        out->reason = REASON_NONE;
        return BATON_CONFLICT;
    }
    if (conn_n >= ws->per_connection_max) {
        out->reason = REASON_WATCHES_CONNECTION;
        out->detail = (int64_t)ws->per_connection_max;
        return BATON_LIMIT;
    }
    if (ws->n >= ws->watches_max) {
        out->reason = REASON_WATCHES_NODE;
        out->detail = (int64_t)ws->watches_max;
        return BATON_LIMIT;
    }
    return BATON_OK;
}

static uint32_t take_slot(struct watches *ws)
{
    uint32_t slot = ws->free_head;
    if (slot != 0) {
        ws->free_head = ws->slots[slot].next;
    } else {
        slot = ++ws->high;
    }
    ASSERT(slot <= ws->watches_max);
    memset(&ws->slots[slot], 0, sizeof ws->slots[slot]);
    ws->n++;
    return slot;
}

static void set_filter(struct watch *w, const Pb__Watch *watch)
{
    struct bytes namespace_name = codec_text(watch->namespace_);
    struct bytes group = codec_text(watch->group);
    memcpy(w->namespace_name, namespace_name.data, namespace_name.n);
    memcpy(w->group, group.data, group.n);
    w->lease = watch->lease;
    if (w->lease != 0) {
        w->kind = WATCH_LEASE;
        w->chain = chain_of(WATCH_LEASE, nothing, nothing, w->lease);
    } else if (group.n > 0) {
        w->kind = WATCH_GROUP;
        w->chain = chain_of(WATCH_GROUP, namespace_name, group, 0);
    } else if (namespace_name.n > 0) {
        w->kind = WATCH_NAMESPACE;
        w->chain = chain_of(WATCH_NAMESPACE, namespace_name, nothing, 0);
    } else {
        w->kind = WATCH_ALL;
        w->chain = chain_of(WATCH_ALL, nothing, nothing, 0);
    }
}

static void link_slot(struct watches *ws, uint32_t slot)
{
    struct watch *w = &ws->slots[slot];
    uint32_t *conn_head = &ws->conns[conn_chain(w->conn)];
    w->conn_next = *conn_head;
    *conn_head = slot;
    w->prev = 0;
    w->next = ws->heads[w->chain];
    ws->heads[w->chain] = slot;
    if (w->next != 0) {
        ws->slots[w->next].prev = slot;
    }
}

/* Many may watch the same, and leave at once; few connections share a hash. */
static void unlink_slot(struct watches *ws, uint32_t slot)
{
    const struct watch *w = &ws->slots[slot];
    uint32_t *at = &ws->conns[conn_chain(w->conn)];
    while (*at != slot) {
        ASSERT(*at != 0);
        at = &ws->slots[*at].conn_next;
    }
    *at = w->conn_next;
    if (w->prev != 0) {
        ws->slots[w->prev].next = w->next;
    } else {
        ws->heads[w->chain] = w->next;
    }
    if (w->next != 0) {
        ws->slots[w->next].prev = w->prev;
    }
}

enum baton_status watches_open(struct watches *ws, const struct watch_env *env,
                               struct watch_asker asker, const Pb__Watch *watch,
                               struct watch_refusal *out)
{
    enum baton_status status = check_filter(watch, &out->reason);
    if (status == BATON_OK) {
        status = check_open(ws, asker, out);
    }
    if (status != BATON_OK) {
        return status;
    }
    uint32_t slot = take_slot(ws);
    struct watch *w = &ws->slots[slot];
    w->conn = asker.conn;
    w->id = asker.id;
    set_filter(w, watch);
    link_slot(ws, slot);
    w->next_revision = watch->from;
    if (watch->from == 0) {
        watch_begin_state(ws, slot, false);
    } else if (watch->from < env->horizon) {
        watch_begin_state(ws, slot, true);
    } else {
        /* A revision that isn't here yet is waited for: this node may lag behind the one that told of it. */
        watch_phase_set(ws, slot, WATCH_LAGGING);
    }
    return BATON_OK;
}

static void close_slot(struct watches *ws, uint32_t slot)
{
    struct watch *w = &ws->slots[slot];
    unlink_slot(ws, slot);
    watch_phase_set(ws, slot, WATCH_LIVE);
    w->phase = WATCH_FREE;
    w->next = ws->free_head;
    ws->free_head = slot;
    ws->n--;
}

void watches_close(struct watches *ws, uint64_t conn, uint64_t id)
{
    uint32_t conn_n = 0;
    uint32_t slot = find_watch(ws, conn, id, &conn_n);
    if (slot != 0) {
        close_slot(ws, slot);
    }
}

void watches_close_conn(struct watches *ws, uint64_t conn)
{
    uint32_t next = 0;
    for (uint32_t s = ws->conns[conn_chain(conn)]; s != 0; s = next) {
        next = ws->slots[s].conn_next;
        if (ws->slots[s].conn == conn) {
            close_slot(ws, s);
        }
    }
}

void watch_phase_set(struct watches *ws, uint32_t slot, enum watch_phase phase)
{
    struct watch *w = &ws->slots[slot];
    w->phase = (uint8_t)phase;
    if (phase == WATCH_LIVE && w->active_at != 0) {
        uint32_t last = ws->active[--ws->active_n];
        ws->active[w->active_at - 1] = last;
        ws->slots[last].active_at = w->active_at;
        w->active_at = 0;
    } else if (phase != WATCH_LIVE && w->active_at == 0) {
        ws->active[ws->active_n++] = slot;
        w->active_at = ws->active_n;
    }
}

/* --- telling ------------------------------------------------------------------------------------------------------ */

bool watch_matches(const char *namespace_name, const char *group,
                   uint64_t lease, const Pb__Event *event)
{
    if (lease != 0) {
        return event->lease == lease || event->previous_lease == lease ||
               event->backup_lease == lease;
    }
    if (namespace_name[0] != 0 &&
        strcmp(namespace_name, event->namespace_) != 0) {
        return false;
    }
    return group[0] == 0 || strcmp(group, event->group) == 0;
}

static bool watch_takes(const struct watch *w, const struct event *e,
                        const Pb__Event *message)
{
    if (!watch_matches(w->namespace_name, w->group, w->lease, message)) {
        return false;
    }
    if (w->phase != WATCH_STATE) {
        return w->phase == WATCH_LIVE;
    }
    /* Until it's told to forget what it knows, it would take this for what comes next. */
    if (w->tell_reset) {
        return false;
    }
    /* What the walk has yet to reach, it will tell by itself. */
    return w->kind == WATCH_LEASE
               ? w->walking > 0
               : e->group_slot == 0 || e->group_slot <= w->walked ||
                     e->group_slot == w->walking;
}

static void hit_chain(struct watches *ws, uint32_t chain, uint32_t i,
                      const struct event *e, const Pb__Event *message)
{
    for (uint32_t s = ws->heads[chain]; s != 0; s = ws->slots[s].next) {
        struct watch *w = &ws->slots[s];
        if (!watch_takes(w, e, message)) {
            continue;
        }
        if (!w->hit) {
            w->hit = true;
            memset(w->hits, 0, sizeof w->hits);
            ws->hits[ws->hits_n++] = s;
        }
        w->hits[i / 64] |= 1ull << (i % 64);
    }
}

static void hit_event(struct watches *ws, uint32_t i, const struct event *e,
                      const Pb__Event *message)
{
    uint32_t chains[6];
    uint32_t n = 0;
    chains[n++] = chain_of(WATCH_ALL, nothing, nothing, 0);
    chains[n++] = chain_of(WATCH_NAMESPACE, e->namespace_name, nothing, 0);
    chains[n++] = chain_of(WATCH_GROUP, e->namespace_name, e->group, 0);
    const uint64_t leases[] = {e->lease, e->previous_lease, e->backup_lease};
    for (uint32_t l = 0; l < countof(leases); l++) {
        if (leases[l] != 0) {
            chains[n++] = chain_of(WATCH_LEASE, nothing, nothing, leases[l]);
        }
    }
    for (uint32_t c = 0; c < n; c++) {
        bool seen = false;
        for (uint32_t before = 0; before < c; before++) {
            seen = seen || chains[before] == chains[c];
        }
        if (!seen) {
            hit_chain(ws, chains[c], i, e, message);
        }
    }
}

bool watch_send(const struct watch_env *env, const struct watch *w,
                Pb__WatchPart *part, uint64_t revision)
{
    Pb__ClientMessage m = PB__CLIENT_MESSAGE__INIT;
    m.version = PROTOCOL_VERSION;
    m.id = w->id;
    m.revision = revision;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_WATCH;
    part->revision = revision;
    m.watch = part;
    ASSERT(env->frame_bytes >= FRAME_CLIENT_BYTES_MAX);
    size_t n = codec_encode(&m.base, env->frame, FRAME_CLIENT_BYTES_MAX);
    return n > 0 && transport_send(env->transport, w->conn,
                                   (struct bytes){env->frame, n});
}

/* A batch as the field of a part that it is: encoded once, for all who are told of all of it. It lies behind the frame that it goes into; no
 * bytes: it wouldn't fit into one. */
static struct bytes encode_batch(const struct watch_env *env,
                                 const Pb__EventBatch *batch)
{
    uint8_t *at = env->frame + FRAME_CLIENT_BYTES_MAX;
    size_t room = env->frame_bytes - FRAME_CLIENT_BYTES_MAX;
    Pb__EventBatch *batches[] = {(Pb__EventBatch *)(uintptr_t)batch};
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    part.batches = batches;
    part.n_batches = 1;
    size_t n = codec_encode(&part.base, at, room);
    /* The number of the field is one byte, and goes in front again by itself. */
    return n == 0 ? (struct bytes){NULL, 0} : (struct bytes){at + 1, n - 1};
}

/* A revision, as far as it concerns the watch: the events that hit it, or all of them, which are encoded already. */
static bool send_hits(const struct watch_env *env, const struct watch *w,
                      const Pb__EventBatch *batch, struct bytes *encoded)
{
    Pb__Event *list[EVENTS_MAX];
    Pb__EventBatch mine = PB__EVENT_BATCH__INIT;
    mine.revision = batch->revision;
    mine.events = list;
    for (size_t i = 0; i < batch->n_events; i++) {
        if ((w->hits[i / 64] >> (i % 64)) & 1) {
            list[mine.n_events++] = batch->events[i];
        }
    }
    Pb__EventBatch *batches[] = {&mine};
    Pb__WatchPart part = PB__WATCH_PART__INIT;
    if (mine.n_events == batch->n_events && encoded->n == 0) {
        *encoded = encode_batch(env, batch);
    }
    /* To the encoder, bytes of a field are a field that it doesn't know. */
    ProtobufCMessageUnknownField whole = {
        .tag = WATCH_PART_BATCHES,
        .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
        .len = encoded->n,
        .data = (uint8_t *)(uintptr_t)encoded->data};
    if (mine.n_events == batch->n_events && encoded->n > 0) {
        part.base.n_unknown_fields = 1;
        part.base.unknown_fields = &whole;
    } else {
        part.batches = batches;
        part.n_batches = 1;
    }
    return watch_send(env, w, &part, batch->revision);
}

static void tell(struct watches *ws, const struct watch_env *env, uint32_t slot,
                 const Pb__EventBatch *batch, struct bytes *encoded)
{
    struct watch *w = &ws->slots[slot];
    if (send_hits(env, w, batch, encoded)) {
        return;
    }
    if (w->phase == WATCH_STATE) {
        watch_begin_state(ws, slot, true);
    } else {
        w->next_revision = batch->revision;
        watch_phase_set(ws, slot, WATCH_LAGGING);
    }
}

void watches_publish(struct watches *ws, const struct watch_env *env,
                     const struct event *events, const Pb__EventBatch *batch)
{
    if (ws->n == 0) {
        return;
    }
    ASSERT(batch->n_events <= EVENTS_MAX);
    ws->hits_n = 0;
    struct bytes encoded = {NULL, 0};
    for (uint32_t i = 0; i < batch->n_events; i++) {
        hit_event(ws, i, &events[i], batch->events[i]);
    }
    for (uint32_t h = 0; h < ws->hits_n; h++) {
        ws->slots[ws->hits[h]].hit = false;
        tell(ws, env, ws->hits[h], batch, &encoded);
    }
}

bool watches_pump(struct watches *ws, const struct watch_env *env)
{
    ws->steps = WATCH_STEPS_A_PUMP;
    for (uint32_t i = 0; i < WATCH_LOOKS_A_PUMP && ws->idle_n < ws->active_n;
         i++) {
        if (ws->steps == 0) {
            return true;
        }
        ws->pump_at %= ws->active_n;
        uint32_t slot = ws->active[ws->pump_at];
        bool more = watch_advance(ws, env, slot);
        if (ws->slots[slot].active_at == 0) {
            ws->idle_n = 0; /* it's LIVE, and another one in its place */
            continue;
        }
        ws->idle_n = more ? 0 : ws->idle_n + 1;
        ws->pump_at++;
    }
    if (ws->idle_n < ws->active_n) {
        return true;
    }
    ws->idle_n = 0; /* none can go on: what comes next may change that */
    return false;
}

void watches_reset(struct watches *ws)
{
    for (uint32_t s = 1; s <= ws->high; s++) {
        if (ws->slots[s].phase != WATCH_FREE) {
            watch_begin_state(ws, s, true);
        }
    }
}
