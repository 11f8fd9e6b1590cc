/* Watches, with a registry, a history and a disk behind them, and clients in front that believe what they're told: whatever the room on
 * their connections, in the end they must believe what's true, and never have seen a revision twice or out of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/events.h"
#include "node/watches.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "tests/lab/lab_store.h"
#include "tests/lab/lab_transport.h"
#include "tests/unit/assert_stub.h"
#include "tests/unit/registry_kit.h"

#define SESSIONS_MAX 8192u
#define CLIENTS_MAX  8u
#define ROOM_FULL    (1u << 20)
#define READ_TAG     (6ull << 56)

/* What one watch was told. Its connection is its number + 1, its request's id 100. */
struct client {
    uint64_t sessions[SESSIONS_MAX]; /* believed to be there, unordered */
    uint32_t sessions_n;
    uint64_t revision;
    uint64_t room;
    bool takes; /* sends go through at all */
    bool synced;
    uint32_t resets;
    uint32_t parts;
    uint32_t scopes;
    uint32_t batches;
    uint32_t events;
};

struct rig {
    struct kit kit;
    struct watches *ws;
    struct history *history;
    struct lab_disk *disk;
    struct store *store;
    struct transport *transport;
    struct arena scratch;
    struct arena events;
    struct arena decode;
    uint8_t *frame;
    uint64_t horizon;
    struct client clients[CLIENTS_MAX];
};

/* --- a client ------------------------------------------------------------------------------------------------------- */

static void believe(struct client *c, uint64_t session, bool there)
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
        assert_true(c->sessions_n < SESSIONS_MAX);
        c->sessions[c->sessions_n++] = session;
    }
}

static bool believes(const struct client *c, uint64_t session)
{
    for (uint32_t i = 0; i < c->sessions_n; i++) {
        if (c->sessions[i] == session) {
            return true;
        }
    }
    return false;
}

static void take_batch(struct client *c, const Pb__EventBatch *batch)
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

static void take_part(struct client *c, const Pb__WatchPart *part)
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
    assert_true(conn >= 1 && conn <= CLIENTS_MAX);
    struct client *c = &r->clients[conn - 1];
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

static void rig_init(struct rig *r, const struct registry_limits *limits,
                     size_t history_bytes)
{
    struct store_boot boot;
    memset(r, 0, sizeof *r);
    const struct lab_transport_hooks hooks = {
        .arg = r, .send = on_send, .room = on_room};
    struct registry_limits kit_limits = KIT_LIMITS;
    kit_init_limits(&r->kit, limits == NULL ? &kit_limits : limits);
    r->ws = watches_new(CLIENTS_MAX, 4);
    r->history = history_new(history_bytes);
    r->disk = lab_disk_new(1);
    r->store = lab_store_open(r->disk, &boot);
    r->transport = lab_transport_new(1, &hooks);
    arena_init(&r->scratch, malloc(4u << 20), 4u << 20);
    arena_init(&r->events, malloc(4u << 20), 4u << 20);
    arena_init(&r->decode, malloc(8u << 20), 8u << 20);
    r->frame = malloc(2u << 20);
    r->horizon = 1;
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        r->clients[i].takes = true;
        r->clients[i].room = ROOM_FULL;
    }
}

static void rig_fini(struct rig *r)
{
    kit_fini(&r->kit);
    watches_free(r->ws);
    history_free(r->history);
    lab_store_crash(r->store);
    lab_disk_free(r->disk);
    lab_transport_free(r->transport);
    free(r->scratch.base);
    free(r->events.base);
    free(r->decode.base);
    free(r->frame);
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
        .read_tag = READ_TAG,
    };
}

/* As the turn does behind each entry. */
static void publish(struct rig *r)
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

static uint64_t labelled(struct rig *r, uint8_t nonce, const char *label)
{
    uint64_t id = kit_lease(&r->kit, nonce, label);
    publish(r);
    return id;
}

static uint64_t lease(struct rig *r, uint8_t nonce)
{
    return labelled(r, nonce, "relay");
}

static uint64_t session(struct rig *r, uint64_t on, const char *path)
{
    uint64_t id = kit_session(&r->kit, on, path, 0);
    publish(r);
    return id;
}

static void close_session(struct rig *r, uint64_t on, uint64_t id)
{
    (void)kit_close(&r->kit, on, id, 0);
    publish(r);
}

/* Writes what waits, and hands out what the store has. */
static void disk(struct rig *r)
{
    struct store_event event;
    (void)store_commit(r->store);
    while (lab_store_write(r->store)) {
    }
    while (store_next(r->store, &event)) {
        if (event.type == STORE_READ) {
            struct watch_env env = env_of(r);
            assert_int_equal(event.tag >> 56, READ_TAG >> 56);
            watches_read(r->ws, &env, event.tag & ~READ_TAG, &event);
        }
    }
}

static bool pump(struct rig *r)
{
    struct watch_env env = env_of(r);
    return watches_pump(r->ws, &env);
}

/* Room for everybody, until nothing moves any more. */
static void settle(struct rig *r)
{
    for (int i = 0; i < 200; i++) {
        for (uint32_t c = 0; c < CLIENTS_MAX; c++) {
            r->clients[c].room = ROOM_FULL;
            r->clients[c].takes = true;
        }
        (void)pump(r);
        disk(r);
    }
}

struct filter {
    const char *namespace_name;
    const char *group;
    uint64_t lease;
    uint64_t from;
};

static enum baton_status try_watch(struct rig *r, uint32_t client, uint64_t id,
                                   struct filter f, uint32_t *out_reason)
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

static struct client *watch(struct rig *r, uint32_t client, struct filter f)
{
    uint32_t reason = 0;
    assert_int_equal(try_watch(r, client, 100, f, &reason), BATON_OK);
    if (f.from > 0) {
        r->clients[client].revision = f.from - 1;
    }
    return &r->clients[client];
}

/* What the client believes is what the registry has, for its filter. */
static void assert_true_belief(const struct rig *r, const struct client *c,
                               struct filter f)
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
        assert_int_equal(believes(c, v.id), mine);
        n += mine;
    }
    assert_int_equal(c->sessions_n, n);
}

/* --- the state, then events ------------------------------------------------------------------------------------------ */

static void test_state_then_events(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    uint64_t first = session(r, l, "ns/g/d/t1");
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    /* Nothing is told before the pump. */
    assert_int_equal(c->parts, 0);
    assert_false(pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_true(believes(c, first));
    assert_int_equal(c->scopes, 2); /* the group's and the device's */
    assert_int_equal(c->revision, r->kit.index);
    uint64_t second = session(r, l, "ns/g/d/t2");
    assert_true(believes(c, second));
    close_session(r, l, first);
    assert_false(believes(c, first));
    assert_int_equal(c->revision, r->kit.index);
    rig_fini(r);
}

static void test_filters(void **state)
{
    struct rig *r = *state;
    const struct filter filters[] = {
        {NULL, NULL, 0, 0}, {"a", NULL, 0, 0}, {"a", "g1", 0, 0},
        {"b", "g1", 0, 0},  {"c", NULL, 0, 0}, {"a", "none", 0, 0},
    };
    rig_init(r, NULL, 1u << 20);
    uint64_t l1 = lease(r, 1);
    uint64_t l2 = lease(r, 2);
    uint64_t early = session(r, l1, "a/g1/d/t");
    (void)session(r, l2, "a/g2/d/t");
    for (uint32_t i = 0; i < countof(filters); i++) {
        (void)watch(r, i, filters[i]);
    }
    const struct filter leased = {.lease = l2};
    struct client *of_lease = watch(r, 6, leased);
    settle(r);
    (void)session(r, l2, "a/g1/d/t2");
    (void)session(r, l1, "b/g1/d/t");
    (void)session(r, l2, "c/g9/d/t"); /* a namespace that wasn't there */
    close_session(r, l1, early);
    settle(r);
    for (uint32_t i = 0; i < countof(filters); i++) {
        assert_true(r->clients[i].synced);
        assert_int_equal(r->clients[i].resets, 0);
        assert_true_belief(r, &r->clients[i], filters[i]);
    }
    /* The lease's watch hears of its own sessions' scopes too: its tab leads a/g1 now. */
    assert_true(of_lease->synced);
    for (uint32_t s = 1; s <= registry_session_slots(r->kit.r); s++) {
        struct session_view v;
        if (registry_session_at(r->kit.r, s, &v) && v.lease == l2) {
            assert_true(believes(of_lease, v.id));
        }
    }
    assert_int_equal(r->clients[5].events, 0);
    rig_fini(r);
}

/* Straight into the registry: the kit checks everything each time, which is too slow for thousands. */
static uint64_t quick_session(struct rig *r, uint64_t on, const char *text)
{
    uint8_t secret[16] = {7};
    struct kit_path path;
    Pb__Command c = PB__COMMAND__INIT;
    Pb__OpenSession m = PB__OPEN_SESSION__INIT;
    kit_path(&path, text);
    m.path = &path.path;
    m.tab = path.tab;
    m.secret = codec_binary((struct bytes){secret, sizeof secret});
    c.version = COMMAND_VERSION;
    c.lease = on;
    c.sequence = ++r->kit.sequence;
    c.first_outstanding = c.sequence;
    c.op_case = PB__COMMAND__OP_OPEN_SESSION;
    c.open_session = &m;
    const struct registry_entry e = {++r->kit.index, 1, r->kit.time_ms, &c};
    registry_apply(r->kit.r, &e, r->kit.out);
    assert_int_equal(r->kit.out->reply.status, BATON_OK);
    publish(r);
    return r->kit.out->reply.id;
}

static const struct registry_limits many = {
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

/* More groups than one pump walks. What happens meanwhile is told if it's about what was walked, and left to the walk if not. */
static void test_events_during_the_walk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, &many, 1u << 20);
    uint64_t l = lease(r, 1);
    for (uint32_t i = 0; i < 4100; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)quick_session(r, l, path);
    }
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    c->room = 64u << 20;
    assert_true(pump(r));
    assert_false(c->synced);
    assert_true(c->sessions_n >= 1024);
    uint32_t before = c->batches;
    uint64_t walked = quick_session(r, l, "ns/g5/d/late");
    assert_int_equal(c->batches, before + 1);
    assert_true(believes(c, walked));
    uint64_t ahead = quick_session(r, l, "ns/g4099/d/late");
    uint64_t newer = quick_session(r, l, "ns/new/d/t");
    assert_int_equal(c->batches, before + 1);
    assert_false(believes(c, ahead));
    settle(r);
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_true(believes(c, ahead));
    assert_true(believes(c, newer));
    assert_true_belief(r, c, (struct filter){.from = 0});
    rig_fini(r);
}

static void test_walk_waits_for_room(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    (void)session(r, l, "ns/g/d/t1");
    r->clients[0].room = 1000;
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    assert_false(pump(r));
    assert_int_equal(c->parts, 0);
    c->room = ROOM_FULL;
    assert_false(pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    rig_fini(r);
}

/* A send that fails in the middle of the state: it begins anew, and says so. */
static void test_walk_begins_anew(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    (void)session(r, l, "ns/g/d/t1");
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    c->takes = false;
    assert_false(pump(r));
    c->takes = true;
    assert_false(pump(r));
    assert_true(c->synced);
    assert_int_equal(c->resets, 1);
    assert_true_belief(r, c, (struct filter){.from = 0});
    rig_fini(r);
}

/* Names as long as they may be: each part must fit a frame all the same. */
static void test_longest_names(void **state)
{
    struct rig *r = *state;
    static char name[4][NAME_BYTES_MAX + 1];
    char path[600];
    rig_init(r, &many, 1u << 20);
    for (uint32_t i = 0; i < 4; i++) {
        memset(name[i], 'a' + (int)i, NAME_BYTES_MAX);
    }
    uint64_t l = labelled(r, 1, name[0]);
    for (uint32_t i = 0; i < 1100; i++) {
        (void)snprintf(name[1], 9, "%08u", i);
        name[1][8] = 'b';
        (void)snprintf(path, sizeof path, "%s/%s/%s/%s", name[0], name[1],
                       name[2], name[3]);
        (void)quick_session(r, l, path);
    }
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    settle(r);
    assert_true(c->synced);
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->sessions_n, 1100);
    assert_int_equal(c->scopes, 2200);
    rig_fini(r);
}

/* --- slow ones ---------------------------------------------------------------------------------------------------------- */

static void test_lags_and_catches_up(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    struct client *c = watch(r, 0, (struct filter){.namespace_name = "ns"});
    settle(r);
    c->takes = false;
    (void)session(r, l, "ns/g/d/t1");
    (void)session(r, l, "other/g/d/t1");
    (void)session(r, l, "ns/g/d/t2");
    (void)pump(r);
    assert_int_equal(c->batches, 0);
    settle(r);
    /* From memory, in order, without starting anew, and only its own. */
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->batches, 2);
    assert_true_belief(r, c, (struct filter){.namespace_name = "ns"});
    (void)session(r, l, "ns/g/d/t3");
    assert_int_equal(c->batches, 3);
    rig_fini(r);
}

static void test_catches_up_from_disk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096); /* a few batches in memory */
    uint64_t l = lease(r, 1);
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    settle(r);
    c->takes = false;
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)session(r, l, path);
    }
    assert_true(history_from(r->history) > 30);
    settle(r);
    assert_int_equal(c->resets, 0);
    assert_int_equal(c->batches, 60);
    assert_true_belief(r, c, (struct filter){.from = 0});
    rig_fini(r);
}

static void test_beyond_the_horizon(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = lease(r, 1);
    struct client *c = watch(r, 0, (struct filter){.from = 0});
    settle(r);
    c->takes = false;
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)session(r, l, path);
    }
    /* The disk keeps less than it missed. */
    r->horizon = r->kit.index - 5;
    settle(r);
    assert_int_equal(c->resets, 1);
    assert_true(c->synced);
    assert_true_belief(r, c, (struct filter){.from = 0});
    /* Asked for by name, it's the same. */
    struct client *late = watch(r, 1, (struct filter){.from = 3});
    settle(r);
    assert_int_equal(late->resets, 1);
    assert_true_belief(r, late, (struct filter){.from = 0});
    rig_fini(r);
}

/* The disk trimmed it between the question and the answer. */
static void test_gone_from_disk(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = lease(r, 1);
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)session(r, l, path);
    }
    store_trim_events(r->store, r->kit.index - 5);
    struct client *c = watch(r, 0, (struct filter){.from = 3});
    settle(r);
    assert_int_equal(c->resets, 1);
    assert_true_belief(r, c, (struct filter){.from = 0});
    rig_fini(r);
}

static void test_resumes(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    uint64_t old = session(r, l, "ns/g/d/t1");
    uint64_t from = r->kit.index + 1;
    uint64_t missed = session(r, l, "ns/g/d/t2");
    struct client *c = watch(r, 0, (struct filter){.from = from});
    settle(r);
    assert_int_equal(c->resets, 0);
    assert_false(c->synced); /* no state: it has that already */
    assert_int_equal(c->batches, 1);
    assert_true(believes(c, missed));
    assert_false(believes(c, old));
    rig_fini(r);
}

/* It was told of a revision by a node that's ahead of this one: nothing twice, nothing left out. */
static void test_from_the_future(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    struct client *c = watch(r, 0, (struct filter){.from = r->kit.index + 3});
    settle(r);
    (void)session(r, l, "ns/g/d/t1"); /* known to it */
    (void)session(r, l, "ns/g/d/t2"); /* likewise */
    settle(r);
    assert_int_equal(c->batches, 0);
    uint64_t fresh = session(r, l, "ns/g/d/t3");
    settle(r);
    assert_int_equal(c->batches, 1);
    assert_true(believes(c, fresh));
    (void)session(r, l, "ns/g/d/t4");
    assert_int_equal(c->batches, 2); /* live */
    rig_fini(r);
}

/* --- opening and closing ------------------------------------------------------------------------------------------------ */

static void test_refusals(void **state)
{
    struct rig *r = *state;
    static char long_name[NAME_BYTES_MAX + 2];
    uint32_t reason = 0;
    memset(long_name, 'x', NAME_BYTES_MAX + 1);
    rig_init(r, NULL, 1u << 20);
    const struct {
        struct filter filter;
        uint32_t reason;
    } invalid[] = {
        {{"a/b", NULL, 0, 0}, REASON_NAMESPACE},
        {{long_name, NULL, 0, 0}, REASON_NAMESPACE},
        {{"a\n", NULL, 0, 0}, REASON_NAMESPACE},
        {{"a", "b/c", 0, 0}, REASON_GROUP},
        {{NULL, "g", 0, 0}, REASON_GROUP},
        {{"a", long_name, 0, 0}, REASON_GROUP},
    };
    for (size_t i = 0; i < countof(invalid); i++) {
        assert_int_equal(try_watch(r, 0, 1, invalid[i].filter, &reason),
                         BATON_INVALID);
        assert_int_equal(reason, invalid[i].reason);
    }
    const struct filter all = {.from = 0};
    assert_int_equal(try_watch(r, 0, 1, all, &reason), BATON_OK);
    assert_int_equal(try_watch(r, 0, 1, all, &reason), BATON_CONFLICT);
    for (uint64_t id = 2; id <= 4; id++) {
        assert_int_equal(try_watch(r, 0, id, all, &reason), BATON_OK);
    }
    assert_int_equal(try_watch(r, 0, 5, all, &reason), BATON_LIMIT);
    assert_int_equal(reason, REASON_WATCHES_CONNECTION);
    for (uint64_t id = 1; id <= 4; id++) {
        assert_int_equal(try_watch(r, 1, id, all, &reason), BATON_OK);
    }
    assert_int_equal(watches_count(r->ws), 8);
    assert_int_equal(try_watch(r, 2, 1, all, &reason), BATON_LIMIT);
    assert_int_equal(reason, REASON_WATCHES_NODE);
    /* Closed ones make room; unknown ones are nobody's business. */
    watches_close(r->ws, 1, 99);
    watches_close(r->ws, 7, 1);
    assert_int_equal(watches_count(r->ws), 8);
    watches_close(r->ws, 1, 2);
    assert_int_equal(watches_count(r->ws), 7);
    assert_int_equal(try_watch(r, 2, 1, all, &reason), BATON_OK);
    watches_close_conn(r->ws, 2);
    assert_int_equal(watches_count(r->ws), 4);
    watches_close_conn(r->ws, 2);
    watches_close_conn(r->ws, 1);
    watches_close_conn(r->ws, 3);
    assert_int_equal(watches_count(r->ws), 0);
    assert_false(pump(r));
    rig_fini(r);
}

static void test_closed_is_told_nothing(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    struct client *a = watch(r, 0, (struct filter){.from = 0});
    struct client *b = watch(r, 1, (struct filter){.from = 0});
    settle(r);
    watches_close(r->ws, 1, 100);
    uint32_t parts = a->parts;
    (void)session(r, l, "ns/g/d/t1");
    settle(r);
    assert_int_equal(a->parts, parts);
    assert_int_equal(b->batches, 1);
    rig_fini(r);
}

/* A slot's next owner isn't given what the disk has for the one before. */
static void test_answer_for_one_that_left(void **state)
{
    struct rig *r = *state;
    char path[64];
    rig_init(r, NULL, 4096);
    uint64_t l = lease(r, 1);
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(path, sizeof path, "ns/g%u/d/t", i);
        (void)session(r, l, path);
    }
    (void)watch(r, 0, (struct filter){.from = 2});
    (void)pump(r); /* asks the disk */
    watches_close_conn(r->ws, 1);
    struct client *next =
        watch(r, 1, (struct filter){.from = r->kit.index - 20});
    (void)pump(r); /* likewise */
    disk(r);
    assert_int_equal(r->clients[0].batches, 0);
    settle(r);
    assert_int_equal(next->batches, 21);
    assert_int_equal(next->resets, 0);
    rig_fini(r);
}

static void test_reset_of_all(void **state)
{
    struct rig *r = *state;
    rig_init(r, NULL, 1u << 20);
    uint64_t l = lease(r, 1);
    (void)session(r, l, "ns/g/d/t1");
    struct client *a = watch(r, 0, (struct filter){.from = 0});
    settle(r);
    struct client *b = watch(r, 1, (struct filter){.from = 0});
    watches_reset(r->ws);
    settle(r);
    assert_int_equal(a->resets, 1);
    assert_int_equal(b->resets, 1);
    assert_true_belief(r, a, (struct filter){.from = 0});
    assert_true_belief(r, b, (struct filter){.from = 0});
    rig_fini(r);
}

/* --- at random ------------------------------------------------------------------------------------------------------------ */

static uint32_t next_random(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return *x >> 8;
}

static void change(struct rig *r, uint64_t l, uint64_t *open, uint32_t *open_n,
                   uint32_t *x)
{
    char path[64];
    uint32_t i = next_random(x) % 64;
    if (open[i] != 0) {
        close_session(r, l, open[i]);
        open[i] = 0;
        (*open_n)--;
        return;
    }
    (void)snprintf(path, sizeof path, "n%u/g%u/d%u/t%u", i % 3, i % 7, i % 2,
                   i);
    open[i] = session(r, l, path);
    (*open_n)++;
}

static void run_seed(struct rig *r, uint32_t seed)
{
    const struct filter filters[] = {{NULL, NULL, 0, 0},
                                     {"n1", NULL, 0, 0},
                                     {"n2", "g2", 0, 0},
                                     {"n0", "g6", 0, 0}};
    uint64_t open[64] = {0};
    uint32_t open_n = 0;
    uint32_t x = seed;
    rig_init(r, NULL, 1u << (12 + seed % 6));
    uint64_t l = lease(r, 1);
    for (uint32_t i = 0; i < 8; i++) {
        (void)watch(r, i, filters[i % countof(filters)]);
    }
    for (int step = 0; step < 600; step++) {
        uint32_t what = next_random(&x) % 20;
        struct client *c = &r->clients[next_random(&x) % 8];
        if (what < 10) {
            change(r, l, open, &open_n, &x);
        } else if (what < 13) {
            c->takes = !c->takes;
        } else if (what < 16) {
            c->room = next_random(&x) % 2 == 0 ? 0 : 300u << 10;
        } else if (what < 18) {
            (void)pump(r);
        } else if (what < 19) {
            disk(r);
        } else if (r->kit.index > 20) {
            r->horizon = max_u64(r->horizon, r->kit.index - 20);
        }
    }
    settle(r);
    for (uint32_t i = 0; i < 8; i++) {
        assert_true(r->clients[i].synced);
        assert_true_belief(r, &r->clients[i], filters[i % countof(filters)]);
    }
    /* They're live: the next one is told at once. */
    uint32_t before = r->clients[0].batches;
    change(r, l, open, &open_n, &x);
    assert_int_equal(r->clients[0].batches, before + 1);
    rig_fini(r);
}

static void test_random(void **state)
{
    for (uint32_t seed = 1; seed <= 12; seed++) {
        run_seed(*state, seed);
    }
}

static int make_rig(void **state)
{
    *state = calloc(1, sizeof(struct rig));
    return *state == NULL;
}

static int drop_rig(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_then_events),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_events_during_the_walk),
        cmocka_unit_test(test_walk_waits_for_room),
        cmocka_unit_test(test_walk_begins_anew),
        cmocka_unit_test(test_longest_names),
        cmocka_unit_test(test_lags_and_catches_up),
        cmocka_unit_test(test_catches_up_from_disk),
        cmocka_unit_test(test_beyond_the_horizon),
        cmocka_unit_test(test_gone_from_disk),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_from_the_future),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_closed_is_told_nothing),
        cmocka_unit_test(test_answer_for_one_that_left),
        cmocka_unit_test(test_reset_of_all),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, make_rig, drop_rig);
}
