#include "tests/unit/node_watch_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/events.h"
#include "proto/codec.h"
#include "proto/frame.h"

/* --- a client ------------------------------------------------------------------------------------------------------- */

static void believe(struct rig_client *c, uint64_t session, bool there)
{
    for (uint32_t i = 0; i < c->sessions_n; i++) {
        if (c->sessions[i] == session) {
            /* Told twice is no harm for rows: the walk may overlap with an event. */
            if (!there) {
                c->sessions[i] = c->sessions[--c->sessions_n];
            }
            return;
        }
    }
    if (there) {
        assert_true(c->sessions_n < RIG_SESSIONS_MAX);
        c->sessions[c->sessions_n++] = session;
    }
}

bool rig_believes(const struct rig_client *c, uint64_t session)
{
    for (uint32_t i = 0; i < c->sessions_n; i++) {
        if (c->sessions[i] == session) {
            return true;
        }
    }
    return false;
}

static void take_batch(struct rig_client *c, const Pb__EventBatch *batch)
{
    /* In order, and none twice. */
    assert_true(batch->revision > c->revision);
    c->revision = batch->revision;
    c->batches++;
    assert_true(batch->n_events > 0);
    for (size_t i = 0; i < batch->n_events; i++) {
        const Pb__Event *e = batch->events[i];
        assert_int_equal(e->revision, batch->revision);
        c->events++;
        if (e->kind == PB__EVENT_KIND__SESSION_OPENED) {
            believe(c, e->session, true);
        } else if (e->kind == PB__EVENT_KIND__SESSION_CLOSED) {
            believe(c, e->session, false);
        }
    }
}

static void take_part(struct rig_client *c, const Pb__WatchPart *part)
{
    c->parts++;
    if (part->reset) {
        c->resets++;
        c->sessions_n = 0;
        c->synced = false;
        c->revision = 0;
    }
    for (size_t i = 0; i < part->n_sessions; i++) {
        believe(c, part->sessions[i]->session, true);
    }
    c->scopes += (uint32_t)part->n_scopes;
    for (size_t i = 0; i < part->n_batches; i++) {
        take_batch(c, part->batches[i]);
    }
    if (part->synced) {
        assert_false(c->synced);
        c->synced = true;
        c->revision = max_u64(c->revision, part->revision);
    }
}

static bool on_send(void *arg, uint32_t node, uint64_t conn, struct bytes body)
{
    struct rig *r = arg;
    (void)node;
    assert_true(conn >= 1 && conn <= RIG_CLIENTS_MAX);
    struct rig_client *c = &r->clients[conn - 1];
    if (!c->takes || c->room < body.n) {
        return false;
    }
    assert_true(body.n <= FRAME_CLIENT_BYTES_MAX);
    c->room -= body.n;
    arena_reset(&r->decode);
    Pb__ClientMessage *m = codec_decode_message(body, &r->decode);
    assert_non_null(m);
    assert_int_equal(m->id, 100);
    assert_int_equal(m->status, PB__STATUS__OK);
    assert_int_equal(m->result_case, PB__CLIENT_MESSAGE__RESULT_WATCH);
    take_part(c, m->watch);
    return true;
}

static uint64_t on_room(void *arg, uint32_t node, uint64_t conn)
{
    const struct rig *r = arg;
    (void)node;
    return r->clients[conn - 1].room;
}

/* --- the rig ----------------------------------------------------------------------------------------------------------- */

const struct registry_limits rig_many = {
    .namespaces_n = 16,
    .groups_n = 16384,
    .devices_n = 16384,
    .sessions_n = 16384,
    .leases_n = 64,
    .window_blocks_n = 4096,
    .scope_extras_n = 32768,
    .session_extras_n = 16384,
    .states_n = 16,
};

void rig_init(struct rig *r, const struct registry_limits *limits,
              size_t history_bytes)
{
    struct store_boot boot;
    memset(r, 0, sizeof *r);
    const struct lab_transport_hooks hooks = {
        .arg = r, .send = on_send, .room = on_room};
    struct registry_limits kit_limits = KIT_LIMITS;
    kit_init_limits(&r->kit, limits == NULL ? &kit_limits : limits);
    r->ws = watches_new(RIG_CLIENTS_MAX, 4);
    r->history = history_new(history_bytes);
    r->disk = sim_disk_new(1);
    r->store = sim_store_open(r->disk, &boot);
    r->transport = lab_transport_new(1, &hooks);
    arena_init(&r->scratch, malloc(4u << 20), 4u << 20);
    arena_init(&r->events, malloc(4u << 20), 4u << 20);
    arena_init(&r->decode, malloc(8u << 20), 8u << 20);
    r->frame = malloc(2u << 20);
    r->horizon = 1;
    for (uint32_t i = 0; i < RIG_CLIENTS_MAX; i++) {
        r->clients[i].takes = true;
        r->clients[i].room = RIG_ROOM_FULL;
    }
}

void rig_fini(struct rig *r)
{
    kit_fini(&r->kit);
    watches_free(r->ws);
    history_free(r->history);
    sim_store_crash(r->store);
    sim_disk_free(r->disk);
    lab_transport_free(r->transport);
    free(r->scratch.base);
    free(r->events.base);
    free(r->decode.base);
    free(r->frame);
}

int rig_make(void **state)
{
    *state = calloc(1, sizeof(struct rig));
    return *state == NULL;
}

int rig_drop(void **state)
{
    free(*state);
    return 0;
}

static struct watch_env env_of(struct rig *r)
{
    return (struct watch_env){
        .transport = r->transport,
        .store = r->store,
        .registry = r->kit.r,
        .history = r->history,
        .arena = &r->scratch,
        .frame = r->frame,
        .frame_bytes = 2u << 20,
        .applied = r->kit.index,
        .horizon = r->horizon,
        .read_tag = RIG_READ_TAG,
        .room_bytes = WATCH_ROOM_BYTES,
    };
}

/* As the turn does behind each entry. */
void rig_publish(struct rig *r)
{
    const struct registry_out *out = r->kit.out;
    if (out->events_n == 0) {
        return;
    }
    arena_reset(&r->events);
    Pb__EventBatch *batch = events_to_batch(
        out->events, out->events_n,
        (struct event_stamp){r->kit.index, r->kit.time_ms, 0}, &r->events);
    assert_non_null(batch);
    size_t n = codec_encode(&batch->base, r->frame, 2u << 20);
    assert_true(n > 0);
    history_put(r->history, r->kit.index, (struct bytes){r->frame, n});
    store_put_event(r->store, r->kit.index, (struct bytes){r->frame, n});
    struct watch_env env = env_of(r);
    watches_publish(r->ws, &env, out->events, batch);
}

uint64_t rig_labelled(struct rig *r, uint8_t nonce, const char *label)
{
    uint64_t id = kit_lease(&r->kit, nonce, label);
    rig_publish(r);
    return id;
}

uint64_t rig_lease(struct rig *r, uint8_t nonce)
{
    return rig_labelled(r, nonce, "relay");
}

uint64_t rig_session(struct rig *r, uint64_t on, const char *path)
{
    uint64_t id = kit_session(&r->kit, on, path, 0);
    rig_publish(r);
    return id;
}

static uint64_t quick(struct rig *r, uint64_t on, Pb__Command *c)
{
    c->version = COMMAND_VERSION;
    c->lease = on;
    c->sequence = ++r->kit.sequence;
    c->first_outstanding = c->sequence;
    const struct registry_entry e = {++r->kit.index, 1, r->kit.time_ms, c};
    registry_apply(r->kit.r, &e, r->kit.out);
    assert_int_equal(r->kit.out->reply.status, BATON_OK);
    rig_publish(r);
    return r->kit.out->reply.id;
}

uint64_t rig_quick_session(struct rig *r, uint64_t on, const char *text)
{
    uint8_t secret[16] = {7};
    struct kit_path path;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    kit_path(&path, text);
    m.path = &path.path;
    m.tab = path.tab;
    m.secret = codec_binary((struct bytes){secret, sizeof secret});
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &m;
    return quick(r, on, &c);
}

void rig_quick_close(struct rig *r, uint64_t on, uint64_t id)
{
    Pb__Command c = PB__COMMAND__INIT;
    Pb__CloseSession m = PB__CLOSE_SESSION__INIT;
    m.session = id;
    c.op_case = PB__COMMAND__OP_CLOSE_SESSION;
    c.close_session = &m;
    (void)quick(r, on, &c);
}

void rig_close_session(struct rig *r, uint64_t on, uint64_t id)
{
    (void)kit_close(&r->kit, on, id, 0);
    rig_publish(r);
}

/* Writes what waits, and hands out what the store has. */
void rig_disk(struct rig *r)
{
    struct store_event event;
    (void)store_commit(r->store);
    while (sim_store_write(r->store)) {
    }
    while (store_next(r->store, &event)) {
        if (event.type == STORE_READ) {
            struct watch_env env = env_of(r);
            assert_int_equal(event.tag >> 56, RIG_READ_TAG >> 56);
            watches_read(r->ws, &env, event.tag & ~RIG_READ_TAG, &event);
        }
    }
}

bool rig_pump(struct rig *r)
{
    struct watch_env env = env_of(r);
    return watches_pump(r->ws, &env);
}

/* Room for everybody, until nothing moves any more. */
void rig_settle(struct rig *r)
{
    for (int i = 0; i < 200; i++) {
        for (uint32_t c = 0; c < RIG_CLIENTS_MAX; c++) {
            r->clients[c].room = RIG_ROOM_FULL;
            r->clients[c].takes = true;
        }
        (void)rig_pump(r);
        rig_disk(r);
    }
}

enum baton_status rig_try_watch(struct rig *r, uint32_t client, uint64_t id,
                                struct rig_filter f, uint32_t *out_reason)
{
    Pb__Watch watch = PB__WATCH__INIT;
    struct watch_env env = env_of(r);
    if (f.namespace_name != NULL) {
        watch.namespace_ = (char *)(uintptr_t)f.namespace_name;
    }
    if (f.group != NULL) {
        watch.group = (char *)(uintptr_t)f.group;
    }
    watch.lease = f.lease;
    watch.from = f.from;
    struct watch_refusal refusal = {0};
    enum baton_status status = watches_open(
        r->ws, &env, (struct watch_asker){client + 1, id}, &watch, &refusal);
    *out_reason = refusal.reason;
    return status;
}

struct rig_client *rig_watch(struct rig *r, uint32_t client,
                             struct rig_filter f)
{
    uint32_t reason = 0;
    assert_int_equal(rig_try_watch(r, client, 100, f, &reason), BATON_OK);
    if (f.from > 0) {
        r->clients[client].revision = f.from - 1;
    }
    return &r->clients[client];
}

/* What the client believes is what the registry has, for its filter. */
void rig_assert_true_belief(const struct rig *r, const struct rig_client *c,
                            struct rig_filter f)
{
    uint32_t n = 0;
    for (uint32_t s = 1; s <= registry_session_slots(r->kit.r); s++) {
        struct session_view v;
        if (!registry_session_at(r->kit.r, s, &v)) {
            continue;
        }
        struct bytes ns = codec_text(f.namespace_name);
        struct bytes group = codec_text(f.group);
        bool mine =
            (f.lease == 0 || v.lease == f.lease) &&
            (ns.n == 0 ||
             (ns.n == v.namespace_name.n &&
              memcmp(ns.data, v.namespace_name.data, ns.n) == 0)) &&
            (group.n == 0 || (group.n == v.group.n &&
                              memcmp(group.data, v.group.data, group.n) == 0));
        assert_int_equal(rig_believes(c, v.id), mine);
        n += mine;
    }
    assert_int_equal(c->sessions_n, n);
}
