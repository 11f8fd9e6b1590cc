#include <string.h>

#include "session/state.h"

static struct event *emit(struct apply *a, enum event_kind kind)
{
    /* Every command's work is bounded so that this holds: see EVENTS_MAX. */
    ASSERT(a->out->events_n < EVENTS_MAX);
    struct event *e = &a->out->events[a->out->events_n++];
    memset(e, 0, sizeof *e);
    e->kind = kind;
    return e;
}

static void fill_group(const struct registry *r, struct event *e, slot group)
{
    const struct group *g = group_at(r, group);
    e->group_slot = group;
    e->namespace_slot = g->namespace_;
    e->namespace_name =
        name_get(&r->names, namespace_at(r, g->namespace_)->name);
    e->group = name_get(&r->names, g->name);
}

static uint64_t lease_of(const struct registry *r, uint64_t session)
{
    slot s = session == 0 ? 0 : find_session(r, session);
    return s == 0 ? 0 : lease_at(r, session_at(r, s)->lease)->id;
}

struct event *emit_session(struct apply *a, enum event_kind kind, slot session)
{
    const struct registry *r = a->r;
    struct event *e = emit(a, kind);
    if (session == 0) {
        return e;
    }
    const struct session *s = session_at(r, session);
    const struct device *d = device_at(r, s->device);
    fill_group(r, e, d->group);
    e->device = name_get(&r->names, d->name);
    e->tab = name_get(&r->names, s->tab);
    e->session = s->id;
    e->lease = lease_at(r, s->lease)->id;
    e->caps = s->caps;
    e->score = s->score;
    e->attachment = s->attachment;
    e->role =
        (s->object.flags & FLAG_OBSERVER) != 0 ? ROLE_OBSERVER : ROLE_CANDIDATE;
    ASSERT(e->session != 0 && e->lease != 0);
    return e;
}

/* The holder's session. While a group's grant is on its way, its leading device may have another leader tab already. */
static slot holder_slot(const struct registry *r, struct scope_ref ref)
{
    const struct scope *scope = scope_at(r, ref);
    if (scope->holder_session == 0) {
        return 0;
    }
    slot s = scope_session_slot(r, ref, scope->holder);
    if (s != 0 && session_at(r, s)->id == scope->holder_session) {
        return s;
    }
    return find_session(r, scope->holder_session);
}

struct event *emit_scope(struct apply *a, enum event_kind kind,
                         struct scope_ref ref)
{
    const struct registry *r = a->r;
    const struct scope *scope = scope_at(r, ref);
    struct event *e = emit(a, kind);
    fill_group(r, e, ref.group);
    e->group_scope = ref.device == 0;
    slot holder = holder_slot(r, ref);
    slot device = ref.device;
    if (holder != 0) {
        const struct session *s = session_at(r, holder);
        e->tab = name_get(&r->names, s->tab);
        e->lease = lease_at(r, s->lease)->id;
        e->score = s->score;
        device = s->device;
    }
    if (device != 0) {
        e->device = name_get(&r->names, device_at(r, device)->name);
    }
    e->session = scope->holder_session;
    e->epoch = scope->epoch;
    e->reason = (enum grant_reason)scope->reason;
    e->previous_epoch = scope->previous_epoch;
    e->previous_session = scope->previous_session;
    e->previous_lease = lease_of(r, scope->previous_session);
    slot backup = scope_session_slot(r, ref, scope->backup);
    if (backup != 0) {
        e->backup = session_at(r, backup)->id;
        e->backup_lease = lease_at(r, session_at(r, backup)->lease)->id;
    }
    return e;
}
