#include "session/rows.h"

#include <string.h>

#include <xxhash.h>

#include "proto/codec.h"
#include "session/check.h"
#include "session/election.h"

/* --- keys ------------------------------------------------------------------------------------------------------------ */
static void key_add(struct row_key *key, uint64_t value)
{
    ASSERT(key->n + 8 <= ROW_KEY_MAX);
    for (int shift = 56; shift >= 0; shift -= 8) {
        key->data[key->n++] = (uint8_t)(value >> shift);
    }
}

static struct row_key key_begin(enum row_kind kind)
{
    return (struct row_key){.n = 1, .data = {(uint8_t)kind}};
}

/* The key of an object's row; for the cluster's, any kind with slot 0. */
static struct row_key key_of(const struct registry *r, enum object_kind kind,
                             slot s)
{
    struct row_key key = key_begin(ROW_CLUSTER);
    switch (kind) {
    case OBJECT_NAMESPACE:
        key = key_begin(ROW_NAMESPACE);
        key_add(&key, namespace_at(r, s)->born);
        break;
    case OBJECT_LEASE:
        key = key_begin(ROW_LEASE);
        key_add(&key, lease_at(r, s)->id);
        break;
    case OBJECT_WINDOW:
        key = key_begin(ROW_WINDOW);
        key_add(&key, window_at(r, s)->lease_id);
        key_add(&key, window_at(r, s)->block);
        break;
    case OBJECT_SESSION:
        key = key_begin(ROW_SESSION);
        key_add(&key, session_at(r, s)->id);
        break;
    case OBJECT_GROUP:
        key = key_begin(ROW_GROUP);
        key_add(&key, group_at(r, s)->born);
        break;
    case OBJECT_DEVICE:
        key = key_begin(ROW_DEVICE);
        key_add(&key, device_at(r, s)->born);
        break;
    case OBJECT_KINDS: /* the cluster's */
        break;
    }
    return key;
}

uint64_t row_hash(struct bytes key, struct bytes value)
{
    ASSERT(value.n > 0);
    uint64_t seed = XXH3_64bits(key.data, key.n);
    uint64_t hash = XXH3_64bits_withSeed(value.data, value.n, seed);
    return hash == 0 ? 1 : hash; /* 0 says that there's no row */
}

/* --- values: the message of each kind, in the arena ------------------------------------------------------------------ */
static void *take(struct arena *arena, size_t n)
{
    void *at = arena_alloc(arena, n);
    ASSERT(at != NULL); /* the caller left room for a row: ROW_BYTES_MAX */
    return at;
}

static struct bytes encode(struct arena *arena, const ProtobufCMessage *m)
{
    size_t n = codec_size(m);
    uint8_t *data = take(arena, n);
    size_t written = codec_encode(m, data, n);
    ASSERT(written == n);
    ASSERT(n > 0);
    return (struct bytes){data, n};
}

static char *text_of(const struct registry *r, name_ref ref)
{
    /* Names have a NUL behind, and nobody writes through the message. */
    return (char *)(uintptr_t)name_get(&r->names, ref).data;
}

static ProtobufCBinaryData binary(const uint8_t *data, size_t n)
{
    return codec_binary((struct bytes){data, n});
}

static struct bytes encode_cluster(const struct registry *r,
                                   struct arena *arena)
{
    Pb__ClusterRow row = PB__CLUSTER_ROW__INIT;
    Pb__NodeSeen nodes[REGISTRY_NODES_MAX];
    Pb__NodeSeen *pointers[REGISTRY_NODES_MAX];
    for (uint32_t i = 0; i < r->nodes_n; i++) {
        pb__node_seen__init(&nodes[i]);
        nodes[i].node = r->nodes[i].node;
        nodes[i].incarnation = r->nodes[i].past.incarnation;
        nodes[i].boot = r->nodes[i].past.record.boot;
        nodes[i].own = r->nodes[i].past.record.own;
        pointers[i] = &nodes[i];
    }
    row.time_ms = r->time_ms;
    row.wall_offset_ms = (uint64_t)r->wall_offset_ms;
    row.wall_known = r->wall_known;
    row.applied = r->applied;
    row.sessions_max = r->sessions_max;
    row.leases_max = r->leases_max;
    row.namespaces_max = r->namespaces_max;
    row.n_nodes = r->nodes_n;
    row.nodes = pointers;
    return encode(arena, &row.base);
}

static struct bytes encode_namespace(const struct registry *r, slot s,
                                     struct arena *arena)
{
    const struct namespace_ *ns = namespace_at(r, s);
    Pb__PolicyRow row = PB__POLICY_ROW__INIT;
    Pb__Policy policy = PB__POLICY__INIT;
    row.namespace_ = text_of(r, ns->name);
    row.policy_version = ns->policy_version;
    row.rescoring = ns->rescoring;
    row.born = ns->born;
    if (ns->has_policy) {
        policy_to_message(&ns->policy, arena, &policy);
        row.policy = &policy;
    }
    return encode(arena, &row.base);
}

static struct bytes encode_lease(const struct registry *r, slot s,
                                 struct arena *arena)
{
    const struct lease *l = lease_at(r, s);
    Pb__LeaseRow row = PB__LEASE_ROW__INIT;
    row.id = l->id;
    row.nonce = binary(l->nonce, sizeof l->nonce);
    row.ttl_ms = l->ttl_ms;
    row.label = text_of(r, l->label);
    row.renewals = l->renewals;
    row.touched_ms = l->touched_ms;
    row.opened_ms = l->opened_ms;
    row.ended = (l->object.flags & FLAG_ENDED) != 0;
    row.closing = (l->object.flags & FLAG_CLOSING) != 0;
    row.ended_ms = l->ended_ms;
    row.cause = (Pb__Cause)l->end_cause;
    row.sequence_min = l->sequence_min;
    return encode(arena, &row.base);
}

static struct bytes encode_window(const struct registry *r, slot s,
                                  struct arena *arena)
{
    const struct window *w = window_at(r, s);
    Pb__WindowRow row = PB__WINDOW_ROW__INIT;
    Pb__Reply replies[WINDOW_BLOCK];
    Pb__Reply *pointers[WINDOW_BLOCK];
    row.lease = w->lease_id;
    row.block = w->block;
    row.present = w->present;
    row.replies = pointers;
    for (uint32_t i = 0; i < WINDOW_BLOCK; i++) {
        if ((w->present & 1u << i) == 0) {
            continue;
        }
        Pb__Reply *reply = &replies[row.n_replies];
        pb__reply__init(reply);
        reply->status = (Pb__Status)w->replies[i].status;
        reply->reason = w->replies[i].reason;
        reply->id = w->replies[i].id;
        reply->epoch = w->replies[i].epoch;
        reply->revision = w->replies[i].revision;
        reply->detail = w->replies[i].detail;
        pointers[row.n_replies++] = reply;
    }
    return encode(arena, &row.base);
}

static void fill_path(const struct registry *r, struct scope_ref ref,
                      Pb__Path *out)
{
    out->namespace_ = text_of(r, group_namespace(r, ref.group)->name);
    out->group = text_of(r, group_at(r, ref.group)->name);
    if (ref.device != 0) {
        out->device = text_of(r, device_at(r, ref.device)->name);
    }
}

static struct bytes encode_session(const struct registry *r, slot s,
                                   struct arena *arena)
{
    const struct session *session = session_at(r, s);
    const struct session_extra *extra = session_extra(r, session);
    Pb__SessionRow row = PB__SESSION_ROW__INIT;
    Pb__Path path = PB__PATH__INIT;
    Pb__Capability caps[CAP_END];
    Pb__Capability *pointers[CAP_END];
    slot device = session->device;
    fill_path(r, (struct scope_ref){device_at(r, device)->group, device},
              &path);
    row.id = session->id;
    row.path = &path;
    row.tab = text_of(r, session->tab);
    row.secret = binary(session->secret, sizeof session->secret);
    row.lease = lease_at(r, session->lease)->id;
    row.attachment = session->attachment;
    row.capabilities = pointers;
    for (uint32_t key = 1; key < CAP_END; key++) {
        if ((session->caps.known & 1u << key) != 0) {
            Pb__Capability *cap = &caps[row.n_capabilities];
            pb__capability__init(cap);
            cap->key = (Pb__CapabilityKey)key;
            cap->value = capability_value(&session->caps, (enum capability)key);
            pointers[row.n_capabilities++] = cap;
        }
    }
    row.observer = (session->object.flags & FLAG_OBSERVER) != 0;
    row.detached = (session->object.flags & FLAG_DETACHED) != 0;
    row.holder_grace_over =
        (session->object.flags & FLAG_HOLDER_GRACE_OVER) != 0;
    row.opened_ms = session->opened_ms;
    row.score = session->score;
    row.policy_version = session->policy_version;
    if (extra != NULL) {
        row.detached_ms = extra->detached_ms;
        row.cooldown_until_ms = extra->cooldown_until_ms;
        row.demoted_until_ms = extra->demoted_until_ms;
        row.slow_since_ms = extra->slow_since_ms;
    }
    return encode(arena, &row.base);
}

static void fill_scope_extra(const struct registry *r,
                             const struct scope_extra *extra, Pb__ScopeRow *row)
{
    row->offer = extra->offer;
    row->offer_to = extra->offer_session;
    row->deadline_ms = extra->deadline_ms;
    row->offer_reason = (Pb__GrantReason)extra->offer_reason;
    row->moves = extra->moves;
    row->moves_since_ms = extra->moves_since_ms;
    row->breaker_until_ms = extra->breaker_until_ms;
    row->audited_session = extra->audited_session;
    row->audited_epoch = extra->audited_epoch;
    row->state_epoch = extra->state_epoch;
    if (extra->state != 0) {
        const struct state_blob *blob = pool_at(&r->states, extra->state);
        row->state = binary(blob->data, blob->n);
    }
}

static struct bytes encode_scope(const struct registry *r, struct scope_ref ref,
                                 uint64_t born, struct arena *arena)
{
    const struct scope *scope = scope_at(r, ref);
    const struct scope_extra *extra = scope_extra(r, scope);
    Pb__ScopeRow row = PB__SCOPE_ROW__INIT;
    Pb__Path path = PB__PATH__INIT;
    fill_path(r, ref, &path);
    row.path = &path;
    row.epoch = scope->epoch;
    row.holder = scope->holder_session;
    row.backup = scope_session(r, ref, scope->backup);
    row.granted_ms = scope->granted_ms;
    row.reason = (Pb__GrantReason)scope->reason;
    row.previous_epoch = scope->previous_epoch;
    row.previous_session = scope->previous_session;
    row.phase = scope->phase;
    row.born = born;
    if (extra != NULL) {
        fill_scope_extra(r, extra, &row);
    }
    return encode(arena, &row.base);
}

static struct bytes encode_object(const struct registry *r,
                                  enum object_kind kind, slot s,
                                  struct arena *arena)
{
    switch (kind) {
    case OBJECT_NAMESPACE:
        return encode_namespace(r, s, arena);
    case OBJECT_LEASE:
        return encode_lease(r, s, arena);
    case OBJECT_WINDOW:
        return encode_window(r, s, arena);
    case OBJECT_SESSION:
        return encode_session(r, s, arena);
    case OBJECT_GROUP:
        return encode_scope(r, (struct scope_ref){.group = s},
                            group_at(r, s)->born, arena);
    case OBJECT_DEVICE: {
        const struct device *d = device_at(r, s);
        return encode_scope(r,
                            (struct scope_ref){.group = d->group, .device = s},
                            d->born, arena);
    }
    case OBJECT_KINDS:
        break;
    }
    return encode_cluster(r, arena);
}

/* --- the walk -------------------------------------------------------------------------------------------------------- */
static void give_back(struct registry *r, enum object_kind kind, slot s)
{
    name_ref name = 0;
    switch (kind) {
    case OBJECT_NAMESPACE:
        name = namespace_at(r, s)->name;
        break;
    case OBJECT_LEASE:
        name = lease_at(r, s)->label;
        break;
    case OBJECT_SESSION:
        name = session_at(r, s)->tab;
        break;
    case OBJECT_GROUP:
        name = group_at(r, s)->name;
        break;
    case OBJECT_DEVICE:
        name = device_at(r, s)->name;
        break;
    case OBJECT_WINDOW:
    case OBJECT_KINDS:
        break;
    }
    name_drop(&r->names, name);
    pool_give(&r->pools[kind], s);
    ASSERT(r->deleted_n > 0);
    r->deleted_n--;
}

static void put_key(struct arena *arena, struct row_key key,
                    struct row_change *out)
{
    uint8_t *data = take(arena, key.n);
    memcpy(data, key.data, key.n);
    out->key = (struct bytes){data, key.n};
    out->value = (struct bytes){NULL, 0};
}

/* One object off the list; false if it's deleted and never had a row. */
static bool walk_object(struct registry *r, enum object_kind kind,
                        struct arena *arena, struct row_change *out)
{
    slot s = r->dirty[kind];
    struct object *o = pool_at(&r->pools[kind], s);
    ASSERT((o->flags & FLAG_DIRTY) != 0);
    r->dirty[kind] = o->dirty_next;
    o->dirty_next = 0;
    o->flags &= (uint16_t)~FLAG_DIRTY;
    bool had_row = o->row_hash != 0;
    r->hash -= o->row_hash;
    if ((o->flags & FLAG_DELETED) != 0) {
        if (had_row) {
            put_key(arena, key_of(r, kind, s), out);
        }
        give_back(r, kind, s);
        return had_row;
    }
    put_key(arena, key_of(r, kind, s), out);
    out->value = encode_object(r, kind, s, arena);
    o->row_hash = row_hash(out->key, out->value);
    r->hash += o->row_hash;
    return true;
}

bool registry_rows_next(struct registry *r, struct arena *arena,
                        struct row_change *out)
{
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        while (r->dirty[kind] != 0) {
            if (walk_object(r, (enum object_kind)kind, arena, out)) {
                return true;
            }
        }
    }
    if (!r->cluster_dirty) {
        ASSERT(r->deleted_n == 0);
        return false;
    }
    r->cluster_dirty = false;
    put_key(arena, key_of(r, OBJECT_KINDS, 0), out);
    out->value = encode_cluster(r, arena);
    r->hash -= r->cluster_row_hash;
    r->cluster_row_hash = row_hash(out->key, out->value);
    r->hash += r->cluster_row_hash;
    return true;
}

uint64_t registry_hash(const struct registry *r)
{
    return r->hash;
}
