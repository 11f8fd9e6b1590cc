#include "node/events.h"

#include <string.h>

#include "node/turn_state.h"

static Pb__ClaimEvidence *claim_to_message(const struct claim *claim,
                                           struct arena *a)
{
    Pb__ClaimEvidence *m = arena_alloc(a, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    pb__claim_evidence__init(m);
    m->session = claim->session;
    m->epoch = claim->epoch;
    m->lease = claim->lease;
    m->relay = answer_text(a, claim->relay);
    m->time_ms = claim->time_ms;
    return m->relay == NULL ? NULL : m;
}

static bool claims_to_message(const struct event *e, struct arena *a,
                              Pb__Event *m)
{
    m->claims = arena_alloc(a, countof(e->claims) * sizeof(void *));
    if (m->claims == NULL) {
        return false;
    }
    m->n_claims = countof(e->claims);
    for (size_t i = 0; i < countof(e->claims); i++) {
        m->claims[i] = claim_to_message(&e->claims[i], a);
        if (m->claims[i] == NULL) {
            return false;
        }
    }
    return true;
}

static bool names_to_message(const struct event *e, struct arena *a,
                             Pb__Event *m)
{
    m->namespace_ = answer_text(a, e->namespace_name);
    m->group = answer_text(a, e->group);
    m->device = answer_text(a, e->device);
    m->tab = answer_text(a, e->tab);
    m->text = answer_text(a, e->text);
    return m->namespace_ != NULL && m->group != NULL && m->device != NULL &&
           m->tab != NULL && m->text != NULL;
}

static bool event_to_message(const struct event *e, struct arena *a,
                             Pb__Event *m)
{
    pb__event__init(m);
    m->kind = (Pb__EventKind)e->kind;
    m->reason = (Pb__GrantReason)e->reason;
    m->cause = (Pb__Cause)e->cause;
    m->role = (Pb__Role)e->role;
    m->group_scope = e->group_scope;
    m->session = e->session;
    m->lease = e->lease;
    m->previous_lease = e->previous_lease;
    m->backup_lease = e->backup_lease;
    m->epoch = e->epoch;
    m->previous_epoch = e->previous_epoch;
    m->previous_session = e->previous_session;
    m->backup = e->backup;
    m->deadline_ms = e->deadline_ms;
    m->score = e->score;
    m->attachment = e->attachment;
    m->state_bytes = e->state_bytes;
    m->n_capabilities = answer_caps(&e->caps, a, &m->capabilities);
    if (e->kind == EVENT_CLAIM_REJECTED && !claims_to_message(e, a, m)) {
        return false;
    }
    return names_to_message(e, a, m);
}

Pb__EventBatch *events_to_batch(const struct event *events, uint32_t n,
                                struct event_stamp stamp, struct arena *a)
{
    ASSERT(n > 0);
    Pb__EventBatch *batch = arena_alloc(a, sizeof *batch);
    Pb__Event *all = arena_alloc(a, n * sizeof *all);
    Pb__Event **list = arena_alloc(a, n * sizeof(void *));
    if (batch == NULL || all == NULL || list == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!event_to_message(&events[i], a, &all[i])) {
            return NULL;
        }
        all[i].revision = stamp.revision;
        all[i].time_ms = stamp.time_ms;
        all[i].wall_ms = stamp.wall_ms;
        list[i] = &all[i];
    }
    pb__event_batch__init(batch);
    batch->revision = stamp.revision;
    batch->n_events = n;
    batch->events = list;
    return batch;
}
