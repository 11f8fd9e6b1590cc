#include <string.h>

#include "session/check.h"
#include "session/election.h"

static void view_holder(const struct registry *r, struct scope_view *out)
{
    slot s = out->session == 0 ? 0 : find_session(r, out->session);
    if (s == 0) {
        return;
    }
    const struct session *session = session_at(r, s);
    const struct lease *l = lease_at(r, session->lease);
    out->lease = l->id;
    out->relay = name_get(&r->names, l->label);
    out->holder_tab = name_get(&r->names, session->tab);
    out->holder_device =
        name_get(&r->names, device_at(r, session->device)->name);
}

static void view_scope(const struct registry *r, struct scope_ref ref,
                       struct scope_view *out)
{
    const struct scope *scope = scope_at(r, ref);
    const struct group *g = group_at(r, ref.group);
    *out = (struct scope_view){
        .namespace_name =
            name_get(&r->names, namespace_at(r, g->namespace_)->name),
        .group = name_get(&r->names, g->name),
        .group_scope = ref.device == 0,
        .epoch = scope->epoch,
        .session = scope->holder_session,
        .backup = scope_session(r, ref, scope->backup),
        .granted_ms = scope->granted_ms,
        .previous_session = scope->previous_session,
        .previous_epoch = scope->previous_epoch,
        .reason = (enum grant_reason)scope->reason,
        .handing_over = scope->phase != PHASE_IDLE,
        .accepted = scope->phase == PHASE_YIELDING,
    };
    if (ref.device != 0) {
        out->device = name_get(&r->names, device_at(r, ref.device)->name);
    }
    const struct scope_extra *extra = scope_extra(r, scope);
    if (out->handing_over) {
        ASSERT(extra != NULL);
        out->offer = extra->offer;
        out->offer_to = extra->offer_session;
        out->deadline_ms = extra->deadline_ms;
    }
    view_holder(r, out);
}

enum baton_status registry_scope(const struct registry *r, const Pb__Path *path,
                                 struct scope_view *out, uint32_t *out_reason)
{
    struct scope_ref ref;
    *out = (struct scope_view){.session = 0};
    enum baton_status status = find_scope(r, path, &ref, out_reason);
    if (status != BATON_OK) {
        return status;
    }
    view_scope(r, ref, out);
    if (out->session == 0) {
        *out_reason = REASON_NO_HOLDER;
        return BATON_NOT_FOUND;
    }
    return BATON_OK;
}

static void view_session(const struct registry *r, slot s,
                         struct session_view *out)
{
    const struct session *session = session_at(r, s);
    const struct device *d = device_at(r, session->device);
    const struct group *g = group_at(r, d->group);
    *out = (struct session_view){
        .id = session->id,
        .lease = lease_at(r, session->lease)->id,
        .namespace_name =
            name_get(&r->names, namespace_at(r, g->namespace_)->name),
        .group = name_get(&r->names, g->name),
        .device = name_get(&r->names, d->name),
        .tab = name_get(&r->names, session->tab),
        .caps = session->caps,
        .score = session->score,
        .attachment = session->attachment,
        .namespace_slot = g->namespace_,
        .group_slot = d->group,
        .role = election_role(r, s),
        .observer = (session->object.flags & FLAG_OBSERVER) != 0,
        .detached = (session->object.flags & FLAG_DETACHED) != 0,
        .opened_ms = session->opened_ms,
    };
    const struct scope_ref of_group = {.group = d->group};
    if (d->scope.holder_session == session->id) {
        out->device_epoch = d->scope.epoch;
    }
    if (g->scope.holder_session == session->id) {
        out->group_leader = true;
        out->group_epoch = g->scope.epoch;
    }
    out->group_backup =
        scope_session(r, of_group, g->scope.backup) == session->id;
}

static void view_lease(const struct registry *r, slot s, struct lease_view *out)
{
    const struct lease *l = lease_at(r, s);
    *out = (struct lease_view){
        .id = l->id,
        .slot = s,
        .ttl_ms = l->ttl_ms,
        .sessions_n = l->sessions_n,
        .renewals = l->renewals,
        .touched_ms = l->touched_ms,
        .ended = (l->object.flags & FLAG_ENDED) != 0,
        .label = name_get(&r->names, l->label),
    };
}

enum baton_status registry_session(const struct registry *r, uint64_t id,
                                   struct session_view *out)
{
    slot s = find_session(r, id);
    if (s == 0) {
        return BATON_NOT_FOUND;
    }
    view_session(r, s, out);
    return BATON_OK;
}

enum baton_status registry_lease(const struct registry *r, uint64_t id,
                                 struct lease_view *out)
{
    slot s = find_lease(r, id);
    if (s == 0) {
        return BATON_NOT_FOUND;
    }
    view_lease(r, s, out);
    return BATON_OK;
}

enum baton_status registry_policy(const struct registry *r,
                                  struct bytes namespace_name,
                                  struct arena *arena, Pb__Policy *out)
{
    slot s = find_namespace(r, namespace_name);
    struct policy policy;
    if (s != 0) {
        policy = namespace_at(r, s)->policy;
    } else {
        policy_default(&policy);
    }
    policy_to_message(&policy, arena, out);
    return BATON_OK;
}

/* NOLINTNEXTLINE(readability-function-size): a question of three parts, an answer of two. */
enum baton_status registry_state(const struct registry *r, const Pb__Path *path,
                                 uint64_t session, uint64_t epoch,
                                 struct bytes *out, uint32_t *out_reason)
{
    struct scope_ref ref;
    enum baton_status status = find_scope(r, path, &ref, out_reason);
    if (status != BATON_OK) {
        return status;
    }
    const struct scope *scope = scope_at(r, ref);
    if (scope->epoch != epoch || scope->holder_session != session) {
        *out_reason = REASON_EPOCH_CURRENT;
        return BATON_STALE_EPOCH;
    }
    const struct scope_extra *extra = scope_extra(r, scope);
    if (extra == NULL || extra->state == 0 || extra->state_epoch != epoch) {
        *out_reason = REASON_NO_STATE;
        return BATON_NOT_FOUND;
    }
    const struct state_blob *blob = pool_at(&r->states, extra->state);
    *out = (struct bytes){blob->data, blob->n};
    return BATON_OK;
}

/* What's wrong with a claim that isn't true. Epochs are remembered two grants back; what's older is taken for late, not for forged,
 * if it's possible at all. `born`: of the scope, which may have lived before. */
static enum cause false_claim(const struct scope *scope, uint64_t born,
                              uint64_t session, uint64_t epoch)
{
    if (epoch == 0 || epoch > scope->epoch || session > epoch) {
        return CAUSE_FORGED_CLAIM; /* never granted, or before it was opened */
    }
    if (epoch == scope->previous_epoch) {
        return session == scope->previous_session ? CAUSE_STALE_CLAIM
                                                  : CAUSE_FORGED_CLAIM;
    }
    if (epoch == scope->epoch) {
        return scope->holder_session == 0 ? CAUSE_STALE_CLAIM
                                          : CAUSE_FORGED_CLAIM;
    }
    if (epoch > scope->previous_epoch && epoch >= born) {
        return CAUSE_FORGED_CLAIM; /* nothing was granted in between */
    }
    return CAUSE_STALE_CLAIM;
}

enum cause registry_claim(const struct registry *r, const Pb__Path *path,
                          uint64_t session, uint64_t epoch,
                          struct scope_view *out_scope)
{
    struct scope_ref ref;
    uint32_t reason = REASON_NONE;
    *out_scope = (struct scope_view){.session = 0};
    if (find_scope(r, path, &ref, &reason) != BATON_OK) {
        /* The scope went with its last session: whatever was granted in it is over. */
        return epoch > r->applied ? CAUSE_FORGED_CLAIM : CAUSE_STALE_CLAIM;
    }
    const struct scope *scope = scope_at(r, ref);
    view_scope(r, ref, out_scope);
    if (epoch != 0 && scope->epoch == epoch &&
        scope->holder_session == session) {
        return CAUSE_NONE;
    }
    uint64_t born = ref.device != 0 ? device_at(r, ref.device)->born
                                    : group_at(r, ref.group)->born;
    return false_claim(scope, born, session, epoch);
}

bool registry_claim_audited(const struct registry *r, const Pb__Path *path,
                            uint64_t session, uint64_t epoch)
{
    struct scope_ref ref;
    uint32_t reason = REASON_NONE;
    if (find_scope(r, path, &ref, &reason) != BATON_OK) {
        return false;
    }
    const struct scope_extra *extra = scope_extra(r, scope_at(r, ref));
    return extra != NULL && extra->audited_session == session &&
           extra->audited_epoch == epoch;
}

/* --- walks ----------------------------------------------------------------------------------------------------------- */
static bool in_use(const struct object *o)
{
    return (o->flags & FLAG_DELETED) == 0;
}

uint32_t registry_group_slots(const struct registry *r)
{
    return r->pools[OBJECT_GROUP].high;
}

uint32_t registry_session_slots(const struct registry *r)
{
    return r->pools[OBJECT_SESSION].high;
}

uint32_t registry_lease_slots(const struct registry *r)
{
    return r->pools[OBJECT_LEASE].high;
}

uint32_t registry_find_namespace(const struct registry *r, struct bytes name)
{
    return find_namespace(r, name);
}

uint32_t registry_find_group(const struct registry *r,
                             struct bytes namespace_name, struct bytes group)
{
    return find_group(r, find_namespace(r, namespace_name), group);
}

/* A group's slot with a group in it. */
static bool group_is_there(const struct registry *r, uint32_t group)
{
    return group != 0 && group <= r->pools[OBJECT_GROUP].high &&
           group_at(r, group)->name != 0 && in_use(&group_at(r, group)->object);
}

uint32_t registry_group_namespace(const struct registry *r, uint32_t group)
{
    return group_is_there(r, group) ? group_at(r, group)->namespace_ : 0;
}

bool registry_group_scope(const struct registry *r, uint32_t group,
                          struct scope_view *out)
{
    if (!group_is_there(r, group)) {
        return false;
    }
    view_scope(r, (struct scope_ref){.group = group}, out);
    return true;
}

bool registry_group_device(const struct registry *r, uint32_t group,
                           uint32_t *cursor, struct scope_view *out)
{
    if (!group_is_there(r, group)) {
        return false;
    }
    slot d = *cursor == 0 ? group_at(r, group)->devices
                          : device_at(r, *cursor)->next;
    if (d == 0) {
        return false;
    }
    view_scope(r, (struct scope_ref){.group = group, .device = d}, out);
    *cursor = d;
    return true;
}

bool registry_group_session(const struct registry *r, uint32_t group,
                            uint64_t *cursor, struct session_view *out)
{
    if (!group_is_there(r, group)) {
        return false;
    }
    slot s = 0;
    slot d = 0;
    if (*cursor == 0) {
        d = group_at(r, group)->devices;
        s = d == 0 ? 0 : device_at(r, d)->sessions;
    } else {
        const struct session *last = session_at(r, (slot)*cursor);
        s = last->next;
        d = s != 0 ? 0 : device_at(r, last->device)->next;
        s = d != 0 ? device_at(r, d)->sessions : s;
    }
    /* No device is without a session. */
    ASSERT_IMPLIES(d != 0, s != 0);
    if (s == 0) {
        return false;
    }
    view_session(r, s, out);
    *cursor = s;
    return true;
}

bool registry_group_row(const struct registry *r, uint32_t group,
                        uint64_t *cursor, struct group_row *out)
{
    if (!registry_group_session(r, group, cursor, &out->session)) {
        return false;
    }
    const struct session *s = session_at(r, (slot)*cursor);
    out->first = s->prev == 0;
    if (out->first) {
        view_scope(r, (struct scope_ref){.group = group, .device = s->device},
                   &out->device);
    }
    return true;
}

bool registry_group_resumes(const struct registry *r, uint32_t group,
                            uint64_t cursor, uint64_t session)
{
    const struct session *s = session_at(r, (slot)cursor);
    return s->id == session && in_use(&s->object) &&
           device_at(r, s->device)->group == group;
}

bool registry_session_at(const struct registry *r, uint32_t at,
                         struct session_view *out)
{
    const struct session *s = session_at(r, at);
    if (s->id == 0 || !in_use(&s->object)) {
        return false;
    }
    view_session(r, at, out);
    return true;
}

bool registry_session_is_of(const struct registry *r, uint32_t at,
                            uint64_t lease)
{
    const struct session *s = session_at(r, at);
    return s->id != 0 && in_use(&s->object) &&
           lease_at(r, s->lease)->id == lease;
}

bool registry_session_leads(const struct registry *r, uint32_t at, bool group,
                            struct scope_view *out)
{
    const struct session *s = session_at(r, at);
    ASSERT(in_use(&s->object));
    struct scope_ref ref = {.group = device_at(r, s->device)->group};
    ref.device = group ? 0 : s->device;
    view_scope(r, ref, out);
    return out->session == s->id;
}

bool registry_lease_at(const struct registry *r, uint32_t at,
                       struct lease_view *out)
{
    const struct lease *l = lease_at(r, at);
    if (l->id == 0 || !in_use(&l->object)) {
        return false;
    }
    view_lease(r, at, out);
    return true;
}
