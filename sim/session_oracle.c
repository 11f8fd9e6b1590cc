/* The invariants of sessions and leadership, by an onlooker: history as all nodes tell it (each revision once), what clients were answered,
 * what they believed and when, and a resource that checks epochs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "sim/history.h"
#include "sim/oracle.h"
#include "sim/session_seen.h"

#define EVENT_ARENA_BYTES (4u << 20)
#include "sim/trace.h"

struct session_oracle *session_oracle_new(struct sim_world *w)
{
    struct session_oracle *o = calloc(1, sizeof *o);
    ASSERT(o != NULL);
    o->world = w;
    o->memory = malloc(EVENT_ARENA_BYTES);
    ASSERT(o->memory != NULL);
    arena_init(&o->arena, o->memory, EVENT_ARENA_BYTES);
    return o;
}

void session_oracle_free(struct session_oracle *o)
{
    for (uint32_t g = 0; g < GROUPS_MAX; g++) {
        for (uint32_t d = 0; d <= DEVICES_MAX; d++) {
            free(o->scopes[g][d].reigns);
        }
    }
    free(o->sessions);
    free(o->told);
    free(o->unknown);
    free(o->leases);
    free(o->memory);
    free(o);
}

struct scope_seen *scope_seen_at(struct session_oracle *o, uint32_t group,
                                 uint32_t device, bool group_scope)
{
    ASSERT(group < GROUPS_MAX && device < DEVICES_MAX);
    return &o->scopes[group][group_scope ? DEVICES_MAX : device];
}

/* --- history ----------------------------------------------------------------------------------------------------------------------- */

struct session_seen *session_seen_of(struct session_oracle *o, uint64_t id)
{
    uint32_t low = 0;
    uint32_t high = o->sessions_n;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (o->sessions[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < o->sessions_n && o->sessions[low].id == id ? &o->sessions[low]
                                                            : NULL;
}

static void put_told(struct session_oracle *o, const Pb__Event *e)
{
    if (o->told_n == o->told_capacity) {
        o->told_capacity = o->told_capacity == 0 ? 1024 : o->told_capacity * 2;
        o->told = realloc(o->told, o->told_capacity * sizeof *o->told);
        ASSERT(o->told != NULL);
    }
    o->told[o->told_n++] = (struct told){e->revision, e->session, e->epoch,
                                         o->world->now_us, (int)e->kind};
}

static void put_reign(struct scope_seen *s, uint64_t revision, uint64_t session,
                      uint64_t epoch)
{
    if (s->n == s->capacity) {
        s->capacity = s->capacity == 0 ? 16 : s->capacity * 2;
        s->reigns = realloc(s->reigns, s->capacity * sizeof *s->reigns);
        ASSERT(s->reigns != NULL);
    }
    s->reigns[s->n++] = (struct reign){revision, session, epoch};
}

static void on_opened(struct session_oracle *o, const Pb__Event *e)
{
    struct sim_world *w = o->world;
    struct session_seen s = {.id = e->session,
                             .lease = e->lease,
                             .live = true,
                             .observer = e->role == PB__ROLE__ROLE_OBSERVER};
    (void)sim_group_number(e->group, &s.group);
    (void)sim_device_number(e->device, &s.device);
    char *behind = NULL;
    s.client = (uint32_t)strtoul(e->tab + 1, &behind, 10);
    s.serial = behind[0] == '-' ? (uint32_t)strtoul(behind + 1, NULL, 10) : 0;
    /* S7: ids are never used again. */
    if (o->sessions_n > 0 && o->sessions[o->sessions_n - 1].id >= s.id) {
        sim_world_fail(w, SIM_UNSAFE, "S7", "session %llu is opened after %llu",
                       (unsigned long long)s.id,
                       (unsigned long long)o->sessions[o->sessions_n - 1].id);
    }
    /* S13: what was asked once is done once, however often it was sent. */
    for (uint32_t i = 0; i < o->sessions_n; i++) {
        if (o->sessions[i].client == s.client &&
            o->sessions[i].serial == s.serial) {
            sim_world_fail(w, SIM_UNSAFE, "S13",
                           "tab %s was opened twice: as session %llu and %llu",
                           e->tab, (unsigned long long)o->sessions[i].id,
                           (unsigned long long)s.id);
        }
    }
    if (o->sessions_n == o->sessions_capacity) {
        o->sessions_capacity =
            o->sessions_capacity == 0 ? 256 : o->sessions_capacity * 2;
        o->sessions =
            realloc(o->sessions, o->sessions_capacity * sizeof *o->sessions);
        ASSERT(o->sessions != NULL);
    }
    o->sessions[o->sessions_n++] = s;
    /* S19: a limit holds for all of the cluster. */
    if (++o->live_n > w->options.sessions_max) {
        sim_world_fail(w, SIM_UNSAFE, "S19",
                       "session %llu is opened, the %u., and %u is the limit",
                       (unsigned long long)s.id, o->live_n,
                       w->options.sessions_max);
    }
}

static void on_closed(struct session_oracle *o, const Pb__Event *e)
{
    struct session_seen *s = session_seen_of(o, e->session);
    if (s == NULL || !s->live) {
        sim_world_fail(o->world, SIM_UNSAFE, "S7",
                       "session %llu ends, but isn't there",
                       (unsigned long long)e->session);
        return;
    }
    s->live = false;
    o->live_n--;
    s->expired = e->cause == PB__CAUSE__CAUSE_EXPIRED;
}

static void on_attached(struct session_oracle *o, const Pb__Event *e)
{
    struct session_seen *s = session_seen_of(o, e->session);
    if (s != NULL) {
        s->lease = e->lease;
        s->orphan = false;
    }
}

static void on_granted(struct session_oracle *o, const Pb__Event *e,
                       struct scope_seen *scope)
{
    struct sim_world *w = o->world;
    struct session_seen *s = session_seen_of(o, e->session);
    w->coverage.grants++;
    w->coverage.handoffs += e->reason == PB__GRANT_REASON__GRANT_HANDOFF;
    /* S1, S2: an epoch is one session's, and each is higher than all before. */
    if (e->epoch <= scope->epoch) {
        sim_world_fail(w, SIM_UNSAFE, "S2",
                       "%s/%s%s%s is granted under epoch %llu after %llu",
                       e->namespace_, e->group, e->group_scope ? "" : "/",
                       e->group_scope ? "" : e->device,
                       (unsigned long long)e->epoch,
                       (unsigned long long)scope->epoch);
    }
    /* S9: nobody holds who isn't there, or whom nobody answers for any more. */
    if (s == NULL || !s->live || s->orphan) {
        sim_world_fail(
            w, SIM_UNSAFE, "S9", "epoch %llu is granted to session %llu, %s",
            (unsigned long long)e->epoch, (unsigned long long)e->session,
            s == NULL || !s->live ? "which isn't there"
                                  : "whose lease has ended");
    }
    const struct session_seen *before = session_seen_of(o, e->previous_session);
    scope->by_expiry = before != NULL && before->expired &&
                       e->reason == PB__GRANT_REASON__GRANT_SUCCESSION;
    scope->by_expiry_of = e->previous_session;
    scope->epoch = e->epoch;
    scope->since_us = w->now_us;
    w->coverage.epoch_gt_10 += ++scope->grants_n == 11;
    put_reign(scope, e->revision, e->session, e->epoch);
}

/* S5, S4: a lease isn't ended by time while its client's own clock says that it may lead. */
static void on_lease_ended(struct session_oracle *o, const Pb__Event *e)
{
    struct sim_world *w = o->world;
    lease_seen_ended(o, e->lease);
    for (uint32_t i = 0; i < o->sessions_n; i++) {
        struct session_seen *s = &o->sessions[i];
        if (s->lease == e->lease && !s->orphan) {
            s->orphan = true;
            s->orphan_us = w->now_us;
        }
    }
    if (e->cause != PB__CAUSE__CAUSE_EXPIRED) {
        return;
    }
    w->coverage.leases_expired++;
    for (uint32_t i = 0; i < w->clients_n; i++) {
        struct sim_client *c = w->clients[i];
        if (c->up && c->baton->lease.id == e->lease && sim_client_may_lead(c)) {
            sim_world_fail(w, SIM_UNSAFE, "S5",
                           "lease %llu of client %u expired, but by its own "
                           "clock it may lead for another %llu ms",
                           (unsigned long long)e->lease, i,
                           (unsigned long long)baton_right_ms(c->baton));
        }
    }
}

static void on_event(struct session_oracle *o, const Pb__Event *e)
{
    uint32_t group = 0;
    uint32_t device = 0;
    bool ours = strcmp(e->namespace_, "ns") == 0;
    bool named =
        ours && sim_group_number(e->group, &group) && group < GROUPS_MAX;
    if (ours) {
        put_told(o, e);
    }
    if (e->kind == PB__EVENT_KIND__LEASE_ENDED) {
        on_lease_ended(o, e);
    } else if (e->kind == PB__EVENT_KIND__LEASE_OPENED) {
        lease_seen_opened(o, e);
    }
    if (!named) {
        return;
    }
    bool has_device = sim_device_number(e->device, &device);
    if (!has_device && !e->group_scope) {
        return;
    }
    struct scope_seen *scope = scope_seen_at(o, group, device, e->group_scope);
    trace_history(o->world, e, TRACE_SCOPE(group, device, e->group_scope));
    election_seen(o, e, scope);
    switch (e->kind) {
    case PB__EVENT_KIND__SESSION_OPENED:
        on_opened(o, e);
        break;
    case PB__EVENT_KIND__SESSION_CLOSED:
        on_closed(o, e);
        break;
    case PB__EVENT_KIND__SESSION_ATTACHED:
        on_attached(o, e);
        break;
    case PB__EVENT_KIND__GRANTED:
        on_granted(o, e, scope);
        break;
    case PB__EVENT_KIND__VACATED:
        scope->since_us = o->world->now_us;
        put_reign(scope, e->revision, 0, scope->epoch);
        break;
    case PB__EVENT_KIND__HANDOFF_FAILED:
        o->world->coverage.handoff_dead_target +=
            e->cause == PB__CAUSE__CAUSE_GONE;
        break;
    case PB__EVENT_KIND__CLAIM_REJECTED:
        o->world->coverage.claims_rejected++;
        break;
    default:
        break;
    }
}

void oracle_events(struct sim_node *n, raft_index revision, struct bytes batch)
{
    struct session_oracle *o = n->world->sessions;
    arena_reset(&o->arena);
    const Pb__EventBatch *b = codec_decode_event_batch(batch, &o->arena);
    if (b == NULL) {
        sim_world_fail(n->world, SIM_UNSAFE, "R19",
                       "node %u keeps events that can't be decoded", n->id);
        return;
    }
    /* A node that was away and has no history of its own may tell of an older revision first: then somebody else didn't. */
    if (revision <= o->revision) {
        sim_world_fail(
            n->world, SIM_UNSAFE, "S15", "revision %llu is told after %llu",
            (unsigned long long)revision, (unsigned long long)o->revision);
        return;
    }
    o->revision = revision;
    for (size_t i = 0; i < b->n_events; i++) {
        on_event(o, b->events[i]);
    }
}

/* --- calls ---------------------------------------------------------------------------------------------------------------------------- */

static bool is_linearizable(enum sim_op_kind kind)
{
    return kind != SIM_OP_LEADER_STALE && kind != SIM_OP_SESSIONS;
}

void oracle_op_begin(struct sim_client *c, struct sim_op *op)
{
    struct session_oracle *o = c->world->sessions;
    op->floor = o->answered;
    if (is_linearizable(op->kind) && o->asked_us <= o->ok_us) {
        o->asked_us = c->world->now_us;
    }
}

/* Who held at that revision. */
static struct reign reign_at(const struct scope_seen *s, uint64_t revision)
{
    uint32_t i = s->n;
    while (i > 0 && s->reigns[i - 1].revision > revision) {
        i--;
    }
    return i > 0 ? s->reigns[i - 1] : (struct reign){0, 0, 0};
}

/* S16: the answer is what was so at the revision that it names. */
static void check_leader(struct sim_client *c, const struct sim_op *op,
                         const struct baton_reply *reply)
{
    struct sim_world *w = c->world;
    struct scope_seen *scope =
        scope_seen_at(w->sessions, op->group, op->device, op->group_scope);
    struct reign r = reign_at(scope, reply->revision);
    bool none = reply->status == BATON_NOT_FOUND;
    w->coverage.reads++;
    if (none ? r.session != 0
             : r.session != reply->session || r.epoch != reply->epoch) {
        sim_world_fail(
            w, SIM_UNSAFE, "S16",
            "client %u was told (%s) that session %llu leads under epoch %llu "
            "at revision %llu, but it was session %llu under %llu",
            c->number, sim_op_name(op->kind),
            (unsigned long long)(none ? 0 : reply->session),
            (unsigned long long)(none ? 0 : reply->epoch),
            (unsigned long long)reply->revision, (unsigned long long)r.session,
            (unsigned long long)r.epoch);
    }
}

static void check_verify(struct sim_client *c, const struct sim_op *op,
                         const struct baton_reply *reply)
{
    struct scope_seen *scope = scope_seen_at(c->world->sessions, op->group,
                                             op->device, op->group_scope);
    struct reign r = reign_at(scope, reply->revision);
    bool current = r.session != 0 && r.epoch == max_u64(op->epoch, 1);
    c->world->coverage.reads++;
    if (reply->valid != current) {
        sim_world_fail(
            c->world, SIM_UNSAFE, "S16",
            "client %u was told that epoch %llu is%s current at "
            "revision %llu, but that was %llu",
            c->number, (unsigned long long)op->epoch, reply->valid ? "" : "n't",
            (unsigned long long)reply->revision, (unsigned long long)r.epoch);
    }
}

/* S18, recall: whoever acts under an epoch that isn't its own any more is told so. */
static void check_claim(struct sim_client *c, const struct sim_op *op,
                        const struct baton_reply *reply)
{
    struct scope_seen *scope = scope_seen_at(c->world->sessions, op->group,
                                             op->device, op->group_scope);
    struct reign r = reign_at(scope, reply->revision);
    bool holds = r.session != 0 && r.session == op->session &&
                 r.epoch == max_u64(op->epoch, 1);
    if (reply->valid != holds) {
        sim_world_fail(c->world, SIM_UNSAFE, "S18",
                       "client %u was told that its claim as session %llu "
                       "under epoch %llu is%s valid at revision %llu, but "
                       "session %llu held under %llu",
                       c->number, (unsigned long long)op->session,
                       (unsigned long long)op->epoch, reply->valid ? "" : "n't",
                       (unsigned long long)reply->revision,
                       (unsigned long long)r.session,
                       (unsigned long long)r.epoch);
    }
}

static void check_open(struct sim_client *c, const struct sim_op *op,
                       const struct baton_reply *reply)
{
    const struct session_seen *s =
        session_seen_of(c->world->sessions, reply->id);
    if (s == NULL || s->client != c->number || s->serial != op->tag) {
        sim_world_fail(c->world, SIM_UNSAFE, "S16",
                       "client %u was told that its tab is session %llu, which "
                       "history doesn't have",
                       c->number, (unsigned long long)reply->id);
    }
}

/* "Nothing was done" must be true: S16. S19: what would pass a limit is refused whole. */
static void check_undone(struct sim_client *c, const struct sim_op *op,
                         enum baton_status status)
{
    const struct session_oracle *o = c->world->sessions;
    for (uint32_t i = o->sessions_n; i > 0; i--) {
        const struct session_seen *s = &o->sessions[i - 1];
        if (s->client == c->number && s->serial == op->tag) {
            sim_world_fail(c->world, SIM_UNSAFE,
                           status == BATON_LIMIT ? "S19" : "S16",
                           "client %u was told that nothing was done, but its "
                           "tab is session %llu",
                           c->number, (unsigned long long)s->id);
            return;
        }
    }
}

static void count_answer(struct sim_client *c, const struct sim_op *op,
                         enum baton_status status)
{
    struct sim_world *w = c->world;
    struct session_oracle *o = w->sessions;
    switch (status) {
    case BATON_UNKNOWN:
        w->coverage.ops_unknown++;
        return;
    case BATON_LIMIT:
        w->coverage.limits_refused++;
        w->coverage.ops_refused++;
        break;
    case BATON_NO_QUORUM:
    case BATON_UNAVAILABLE:
    case BATON_BUSY:
    case BATON_NOT_LEADER:
        w->coverage.ops_refused++;
        return;
    case BATON_OK:
    case BATON_NOT_FOUND:
        w->coverage.ops_ok++;
        break;
    default:
        w->coverage.ops_refused++;
        break;
    }
    if (is_linearizable(op->kind)) {
        o->gap_us =
            max_u64(o->gap_us, w->now_us - max_u64(o->asked_us, o->ok_us));
        o->ok_us = w->now_us;
    }
}

static void put_unknown(struct sim_client *c, const struct sim_op *op)
{
    struct session_oracle *o = c->world->sessions;
    if (op->kind != SIM_OP_OPEN) {
        return;
    }
    if (o->unknown_n == o->unknown_capacity) {
        o->unknown_capacity =
            o->unknown_capacity == 0 ? 64 : o->unknown_capacity * 2;
        o->unknown =
            realloc(o->unknown, o->unknown_capacity * sizeof *o->unknown);
        ASSERT(o->unknown != NULL);
    }
    o->unknown[o->unknown_n++] =
        (struct unknown_open){c->number, (uint32_t)op->tag};
}

void oracle_end_unknown(struct sim_world *w)
{
    const struct session_oracle *o = w->sessions;
    for (uint32_t u = 0; u < o->unknown_n; u++) {
        bool done = false;
        for (uint32_t i = 0; i < o->sessions_n && !done; i++) {
            done = o->sessions[i].client == o->unknown[u].client &&
                   o->sessions[i].serial == o->unknown[u].serial;
        }
        w->coverage.unknown_outcome_applied += done;
        w->coverage.unknown_outcome_lost += !done;
    }
}

void oracle_op_end(struct sim_client *c, const struct sim_op *op,
                   const struct baton_reply *reply)
{
    struct sim_world *w = c->world;
    struct session_oracle *o = w->sessions;
    sim_world_note(w, 0xB0u + (uint64_t)op->kind, (uint64_t)reply->status,
                   reply->revision);
    count_answer(c, op, reply->status);
    sim_history_end(w->history, c, op, reply);
    trace_call(c, op, (int)reply->status);
    if (reply->status == BATON_UNKNOWN) {
        put_unknown(c, op);
    }
    if ((reply->status == BATON_NO_QUORUM || reply->status == BATON_LIMIT) &&
        op->kind == SIM_OP_OPEN) {
        check_undone(c, op, reply->status);
    }
    bool answered =
        reply->status == BATON_OK || reply->status == BATON_NOT_FOUND;
    if (!answered || reply->revision == 0) {
        return;
    }
    /* S16: whoever asks later sees no less. */
    if (is_linearizable(op->kind) && reply->revision < op->floor) {
        sim_world_fail(w, SIM_UNSAFE, "S16",
                       "client %u's %s was answered as of revision %llu, but "
                       "%llu had been answered for before it was asked",
                       c->number, sim_op_name(op->kind),
                       (unsigned long long)reply->revision,
                       (unsigned long long)op->floor);
    }
    switch (op->kind) {
    case SIM_OP_LEADER:
    case SIM_OP_LEADER_STALE:
        check_leader(c, op, reply);
        break;
    case SIM_OP_VERIFY:
        if (reply->status == BATON_OK) {
            check_verify(c, op, reply);
        }
        break;
    case SIM_OP_OPEN:
        if (reply->status == BATON_OK) {
            check_open(c, op, reply);
        }
        break;
    case SIM_OP_CLAIM:
        if (reply->status == BATON_OK) {
            check_claim(c, op, reply);
        }
        break;
    case SIM_OP_ATTACH:
        w->coverage.attaches += reply->status == BATON_OK;
        break;
    default:
        break;
    }
    if (is_linearizable(op->kind)) {
        o->answered = max_u64(o->answered, reply->revision);
    }
}

void oracle_op_lost(struct sim_client *c, const struct sim_op *op)
{
    sim_history_lost(c->world->history, c, op);
    trace_call(c, op, TRACE_CALL_LOST);
    c->world->coverage.ops_unknown++;
    put_unknown(c, op);
}

/* --- the end ------------------------------------------------------------------------------------------------------------------------------ */

uint64_t oracle_overlap_ms(const struct sim_world *w)
{
    return w->sessions->overlap_us / SIM_MS;
}

uint64_t oracle_unavailable_ms(const struct sim_world *w)
{
    return w->sessions->gap_us / SIM_MS;
}

uint64_t oracle_answered_us(const struct sim_world *w)
{
    return w->sessions->ok_us;
}
