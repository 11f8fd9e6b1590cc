/* Rows back into objects. They come from our own disk or from a peer, with checksums: what's refused here was damaged before
 * it was stored, or is another version's. */
#include <string.h>

#include "proto/codec.h"
#include "session/check.h"
#include "session/commands.h"
#include "session/election.h"
#include "session/rows.h"

static bool has_slot(const struct registry *r, enum object_kind kind)
{
    return r->pools[kind].live < r->pools[kind].capacity;
}

/* The row is in: its hash counts. */
static void loaded(struct registry *r, enum object_kind kind, slot s,
                   uint64_t hash)
{
    struct object *o = pool_at(&r->pools[kind], s);
    ASSERT(o->row_hash == 0);
    o->row_hash = hash;
    r->hash += hash;
}

static bool load_cluster(struct registry *r, const Pb__ClusterRow *row,
                         uint64_t hash)
{
    if (row == NULL || r->cluster_row_hash != 0 ||
        row->n_nodes > REGISTRY_NODES_MAX) {
        return false;
    }
    r->time_ms = row->time_ms;
    r->wall_offset_ms = (int64_t)row->wall_offset_ms;
    r->wall_known = row->wall_known;
    r->applied = row->applied;
    r->sessions_max = row->sessions_max;
    r->leases_max = row->leases_max;
    r->namespaces_max = row->namespaces_max;
    for (size_t i = 0; i < row->n_nodes; i++) {
        r->nodes[r->nodes_n++] = (struct seen_node){
            .node = row->nodes[i]->node,
            .past = {.incarnation = row->nodes[i]->incarnation,
                     .record = {row->nodes[i]->own, row->nodes[i]->boot}},
        };
    }
    r->cluster_row_hash = hash;
    r->hash += hash;
    return true;
}

static bool load_namespace(struct registry *r, const Pb__PolicyRow *row,
                           uint64_t hash)
{
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    struct policy policy;
    if (row == NULL || !check_name(row->namespace_) || row->born == 0 ||
        !has_slot(r, OBJECT_NAMESPACE) ||
        find_namespace(r, check_bytes(row->namespace_)) != 0) {
        return false;
    }
    policy_default(&policy);
    if (row->policy != NULL &&
        policy_from_message(row->policy, &policy, &reason, &detail) !=
            BATON_OK) {
        return false;
    }
    slot s = make_namespace(r, row->born, check_bytes(row->namespace_));
    struct namespace_ *ns = namespace_at(r, s);
    ns->policy = policy;
    ns->has_policy = row->policy != NULL;
    ns->policy_version = row->policy_version;
    ns->rescoring = row->rescoring;
    loaded(r, OBJECT_NAMESPACE, s, hash);
    return true;
}

static bool load_lease(struct registry *r, const Pb__LeaseRow *row,
                       uint64_t hash)
{
    if (row == NULL || row->id == 0 || row->nonce.len != 16 ||
        check_bytes(row->label).n > NAME_BYTES_MAX ||
        !has_slot(r, OBJECT_LEASE) || find_lease(r, row->id) != 0) {
        return false;
    }
    slot s = make_lease(r, row->id, row->nonce.data, check_bytes(row->label));
    struct lease *l = lease_at(r, s);
    l->ttl_ms = row->ttl_ms;
    l->renewals = row->renewals;
    l->touched_ms = row->touched_ms;
    l->opened_ms = row->opened_ms;
    l->ended_ms = row->ended_ms;
    l->end_cause = (uint8_t)row->cause;
    l->sequence_min = row->sequence_min;
    l->object.flags |= row->ended ? FLAG_ENDED : 0;
    l->object.flags |= row->closing ? FLAG_CLOSING : 0;
    r->leases_live += !row->ended;
    loaded(r, OBJECT_LEASE, s, hash);
    return true;
}

static bool load_window(struct registry *r, const Pb__WindowRow *row,
                        uint64_t hash)
{
    slot lease = row == NULL ? 0 : find_lease(r, row->lease);
    if (lease == 0 || row->present >> WINDOW_BLOCK != 0 ||
        row->n_replies != (size_t)__builtin_popcount(row->present) ||
        !has_slot(r, OBJECT_WINDOW)) {
        return false;
    }
    slot s = window_load(r, lease, row->block);
    if (s == 0) {
        return false;
    }
    struct window *w = window_at(r, s);
    size_t at = 0;
    for (uint32_t i = 0; i < WINDOW_BLOCK; i++) {
        if ((row->present & 1u << i) != 0) {
            const Pb__Reply *reply = row->replies[at++];
            w->replies[i] = (struct reply){
                .status = (enum baton_status)reply->status,
                .reason = reply->reason,
                .id = reply->id,
                .epoch = reply->epoch,
                .revision = reply->revision,
                .detail = reply->detail,
            };
        }
    }
    w->present = row->present;
    lease_at(r, lease)->window_n += (uint32_t)row->n_replies;
    loaded(r, OBJECT_WINDOW, s, hash);
    return true;
}

/* The device of a session's path; it and its group are made if they aren't there, and wait for their own rows (born: 0). */
static slot load_place(struct registry *r, const Pb__Path *path)
{
    slot ns = find_namespace(r, check_bytes(path->namespace_));
    if (ns == 0 || !has_slot(r, OBJECT_GROUP) || !has_slot(r, OBJECT_DEVICE)) {
        return 0;
    }
    slot group = find_group(r, ns, check_bytes(path->group));
    if (group == 0) {
        group = make_group(r, 0, ns, check_bytes(path->group));
    }
    slot device = find_device(r, group, check_bytes(path->device));
    if (device == 0) {
        device = make_device(r, 0, group, check_bytes(path->device));
    }
    return device;
}

static void load_session_fields(struct registry *r, slot s,
                                const Pb__SessionRow *row)
{
    struct session *session = session_at(r, s);
    session->opened_ms = row->opened_ms;
    session->attachment = row->attachment;
    session->score = row->score;
    session->policy_version = row->policy_version;
    memcpy(session->secret, row->secret.data, sizeof session->secret);
    session->object.flags |= row->observer ? FLAG_OBSERVER : 0;
    session->object.flags |=
        row->holder_grace_over ? FLAG_HOLDER_GRACE_OVER : 0;
    if ((row->detached_ms | row->cooldown_until_ms | row->demoted_until_ms |
         row->slow_since_ms) != 0) {
        *session_extra_need(r, session) = (struct session_extra){
            .detached_ms = row->detached_ms,
            .cooldown_until_ms = row->cooldown_until_ms,
            .demoted_until_ms = row->demoted_until_ms,
            .slow_since_ms = row->slow_since_ms,
        };
    }
}

static bool load_session(struct registry *r, const Pb__SessionRow *row,
                         uint64_t hash)
{
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    struct capabilities caps = {.known = 0};
    if (row == NULL || row->id == 0 || row->secret.len != 16 ||
        !check_name(row->tab) || !has_slot(r, OBJECT_SESSION) ||
        find_session(r, row->id) != 0 ||
        check_path(row->path, CHECK_DEVICE, &reason) != BATON_OK ||
        check_capabilities(row->capabilities, row->n_capabilities, &caps,
                           &reason, &detail) != BATON_OK) {
        return false;
    }
    slot lease = find_lease(r, row->lease);
    slot device = load_place(r, row->path);
    if (lease == 0 || device == 0) {
        return false;
    }
    slot s = make_session(r, &(struct session_seed){
                                 .id = row->id,
                                 .device = device,
                                 .lease = lease,
                                 .tab = check_bytes(row->tab),
                                 .detached = row->detached,
                             });
    session_at(r, s)->caps = caps;
    load_session_fields(r, s, row);
    loaded(r, OBJECT_SESSION, s, hash);
    return true;
}

/* The member of the scope that a session is, or leads: false if there's none. */
static bool load_member(const struct registry *r, struct scope_ref ref,
                        uint64_t id, slot *out)
{
    *out = 0;
    if (id == 0) {
        return true;
    }
    slot s = find_session(r, id);
    if (s == 0) {
        return false;
    }
    slot device = session_at(r, s)->device;
    *out = ref.device != 0 ? s : device;
    return ref.device != 0 ? device == ref.device
                           : device_at(r, device)->group == ref.group;
}

static bool load_scope_extra(struct registry *r, struct scope_ref ref,
                             const Pb__ScopeRow *row)
{
    struct scope *scope = scope_at(r, ref);
    if (row->state.len > STATE_BYTES_MAX ||
        (row->state_epoch != 0 && r->states.live == r->states.capacity)) {
        return false;
    }
    struct scope_extra *extra = scope_extra_need(r, scope);
    extra->offer = row->offer;
    extra->offer_session = row->offer_to;
    extra->deadline_ms = row->deadline_ms;
    extra->offer_reason = (uint8_t)row->offer_reason;
    extra->moves = row->moves;
    extra->moves_since_ms = row->moves_since_ms;
    extra->breaker_until_ms = row->breaker_until_ms;
    extra->audited_session = row->audited_session;
    extra->audited_epoch = row->audited_epoch;
    extra->state_epoch = row->state_epoch;
    if (row->state.len > 0) {
        extra->state = pool_take(&r->states);
        struct state_blob *blob = pool_at(&r->states, extra->state);
        blob->n = (uint32_t)row->state.len;
        memcpy(blob->data, row->state.data, row->state.len);
    }
    bool good = load_member(r, ref, row->offer_to, &extra->offer_to);
    scope_extra_trim(r, scope);
    return good;
}

static bool load_scope(struct registry *r, const Pb__ScopeRow *row,
                       enum row_kind kind, uint64_t hash)
{
    struct scope_ref ref = {0, 0};
    uint32_t reason = REASON_NONE;
    if (row == NULL || row->born == 0 || row->phase > PHASE_YIELDING ||
        find_scope(r, row->path, &ref, &reason) != BATON_OK ||
        (ref.device != 0) != (kind == ROW_DEVICE)) {
        return false;
    }
    uint64_t *born = ref.device != 0 ? &device_at(r, ref.device)->born
                                     : &group_at(r, ref.group)->born;
    if (*born != 0) {
        return false; /* twice */
    }
    *born = row->born;
    struct scope *scope = scope_at(r, ref);
    scope->epoch = row->epoch;
    scope->granted_ms = row->granted_ms;
    scope->holder_session = row->holder;
    scope->previous_epoch = row->previous_epoch;
    scope->previous_session = row->previous_session;
    scope->phase = (uint8_t)row->phase;
    scope->reason = (uint8_t)row->reason;
    r->batons_n += row->holder != 0;
    loaded(r, ref.device != 0 ? OBJECT_DEVICE : OBJECT_GROUP,
           ref.device != 0 ? ref.device : ref.group, hash);
    return load_member(r, ref, row->holder, &scope->holder) &&
           load_member(r, ref, row->backup, &scope->backup) &&
           load_scope_extra(r, ref, row);
}

enum baton_status registry_load_row(struct registry *r, struct bytes key,
                                    struct bytes value, struct arena *scratch)
{
    ASSERT(r->applied == 0 || r->cluster_row_hash != 0);
    arena_reset(scratch);
    bool good = false;
    uint64_t hash = value.n == 0 || key.n == 0 ? 0 : row_hash(key, value);
    enum row_kind kind = key.n == 0 ? 0 : (enum row_kind)key.data[0];
    switch (hash == 0 ? 0 : kind) {
    case ROW_CLUSTER:
        good = load_cluster(r, codec_decode_cluster_row(value, scratch), hash);
        break;
    case ROW_NAMESPACE:
        good = load_namespace(r, codec_decode_policy_row(value, scratch), hash);
        break;
    case ROW_LEASE:
        good = load_lease(r, codec_decode_lease_row(value, scratch), hash);
        break;
    case ROW_WINDOW:
        good = load_window(r, codec_decode_window_row(value, scratch), hash);
        break;
    case ROW_SESSION:
        good = load_session(r, codec_decode_session_row(value, scratch), hash);
        break;
    case ROW_GROUP:
    case ROW_DEVICE:
        good =
            load_scope(r, codec_decode_scope_row(value, scratch), kind, hash);
        break;
    }
    return good ? BATON_OK : BATON_INVALID;
}

/* Nothing has changed since its row: it comes from there. False if something has no row. */
static bool make_clean(struct registry *r)
{
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        while (r->dirty[kind] != 0) {
            struct object *o = pool_at(&r->pools[kind], r->dirty[kind]);
            r->dirty[kind] = o->dirty_next;
            o->dirty_next = 0;
            o->flags &= (uint16_t)~FLAG_DIRTY;
            if (o->row_hash == 0) {
                return false;
            }
        }
    }
    r->cluster_dirty = false;
    return true;
}

/* What waits for a moment, from what the rows say. In a fresh registry every slot up to the highest is in use. */
static void schedule_all(struct registry *r)
{
    for (slot s = 1; s <= r->pools[OBJECT_NAMESPACE].high; s++) {
        if (namespace_at(r, s)->rescoring) {
            due_set(r, DUE_NAMESPACE, s, r->time_ms);
        }
    }
    for (slot s = 1; s <= r->pools[OBJECT_LEASE].high; s++) {
        const struct lease *l = lease_at(r, s);
        bool closing = (l->object.flags & FLAG_CLOSING) != 0;
        uint32_t swept = closing ? 0 : l->detached_n;
        if ((l->object.flags & FLAG_ENDED) != 0 && swept < l->sessions_n) {
            due_set(r, DUE_LEASE, s, l->ended_ms);
        }
    }
    for (slot s = 1; s <= r->pools[OBJECT_SESSION].high; s++) {
        election_session_schedule(r, s);
    }
    for (slot s = 1; s <= r->pools[OBJECT_GROUP].high; s++) {
        election_scope_loaded(r, (struct scope_ref){.group = s});
    }
    for (slot s = 1; s <= r->pools[OBJECT_DEVICE].high; s++) {
        slot group = device_at(r, s)->group;
        election_scope_loaded(r,
                              (struct scope_ref){.group = group, .device = s});
    }
}

enum baton_status registry_load_end(struct registry *r, uint64_t applied)
{
    if (r->cluster_row_hash == 0 || r->applied != applied || !make_clean(r)) {
        return BATON_INVALID;
    }
    schedule_all(r);
    return BATON_OK;
}
