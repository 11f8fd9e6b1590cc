#include "tests/script/registry_text.h"

#include <inttypes.h>

static const char *enum_name(const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(type, value);
    return v == NULL ? "?" : v->name;
}

#define NAME(reason) [REASON_##reason] = #reason
static const char *const reasons[REASON_END] = {
    NAME(NONE),
    NAME(NAMESPACE),
    NAME(GROUP),
    NAME(DEVICE),
    NAME(TAB),
    NAME(LABEL),
    NAME(TTL),
    NAME(NONCE),
    NAME(SECRET),
    NAME(CAPABILITY_KEY),
    NAME(CAPABILITY_TWICE),
    NAME(BATTERY),
    NAME(CHARGING),
    NAME(KIND),
    NAME(NETWORK),
    NAME(RTT),
    NAME(VISIBLE),
    NAME(CORES),
    NAME(MEMORY),
    NAME(PRIORITY),
    NAME(STATE_BYTES),
    NAME(TEXT),
    NAME(SEQUENCE),
    NAME(OP),
    NAME(EPOCH),
    NAME(SESSION),
    NAME(LEASE_DELTAS),
    NAME(POLICY_FIELD),
    NAME(POLICY_WEIGHT),
    NAME(SESSIONS_NAMESPACE),
    NAME(SESSIONS_LEASE),
    NAME(SESSIONS_CLUSTER),
    NAME(LEASES_CLUSTER),
    NAME(NAMESPACES_CLUSTER),
    NAME(GROUPS_CLUSTER),
    NAME(DEVICES_CLUSTER),
    NAME(DEVICES_GROUP),
    NAME(TABS_DEVICE),
    NAME(WINDOW_REPLIES),
    NAME(STATES_CLUSTER),
    NAME(NO_NAMESPACE),
    NAME(NO_SCOPE),
    NAME(NO_HOLDER),
    NAME(NO_SESSION),
    NAME(NO_LEASE),
    NAME(LEASE_ENDED),
    NAME(TAB_IN_USE),
    NAME(ATTACHMENT),
    NAME(OTHER_LEASE),
    NAME(WRONG_SECRET),
    NAME(NOT_ELIGIBLE),
    NAME(ALREADY_HOLDER),
    NAME(HANDOFF_RUNNING),
    NAME(NO_OFFER),
    NAME(NO_SUCCESSOR),
    NAME(EPOCH_CURRENT),
    NAME(NO_STATE),
    NAME(OTHER_SCOPE),
    NAME(UNKNOWN_NODE),
    NAME(TERM),
    NAME(NOT_DUE),
    NAME(BEHIND),
    NAME(NODE),
    NAME(PEER_ADDRESS),
    NAME(CLIENT_ADDRESS),
    NAME(HTTP_ADDRESS),
    NAME(ADDRESS_TAKEN),
    NAME(MEMBER_ALREADY),
    NAME(NO_LEARNER),
    NAME(NO_MEMBER),
    NAME(LAST_VOTER),
};

const char *text_reason(uint32_t reason)
{
    return reason < REASON_END && reasons[reason] != NULL ? reasons[reason]
                                                          : "?";
}

const char *text_cause(enum cause cause)
{
    return enum_name(&pb__cause__descriptor, (int)cause);
}

static void number(FILE *f, const char *name, uint64_t value)
{
    if (value != 0) {
        (void)fprintf(f, " %s=%" PRIu64, name, value);
    }
}

static void word(FILE *f, const char *name, struct bytes value)
{
    if (value.n != 0) {
        (void)fprintf(f, " %s=%.*s", name, (int)value.n,
                      (const char *)value.data);
    }
}

static void path(FILE *f, const struct bytes *parts, size_t n)
{
    for (size_t i = 0; i < n && parts[i].n > 0; i++) {
        (void)fprintf(f, "%s%.*s", i == 0 ? " " : "/", (int)parts[i].n,
                      (const char *)parts[i].data);
    }
}

static void text_claims(FILE *f, const struct claim *claims)
{
    for (int i = 0; i < 2; i++) {
        if (claims[i].session != 0) {
            (void)fprintf(f, "\n    %s:", i == 0 ? "stale" : "valid");
            number(f, "session", claims[i].session);
            number(f, "epoch", claims[i].epoch);
            number(f, "lease", claims[i].lease);
            word(f, "relay", claims[i].relay);
            number(f, "time", claims[i].time_ms);
        }
    }
}

static bool is_about_scope(enum event_kind kind)
{
    return kind >= EVENT_GRANTED && kind <= EVENT_CLAIM_REJECTED;
}

static void text_event(FILE *f, const struct event *e)
{
    (void)fprintf(f, "  %s",
                  enum_name(&pb__event_kind__descriptor, (int)e->kind));
    const struct bytes parts[] = {e->namespace_name, e->group, e->device,
                                  e->tab};
    if (is_about_scope(e->kind)) {
        path(f, parts, e->group_scope ? 2 : 3);
        if (e->group_scope) {
            word(f, "device", e->device);
        }
        word(f, "tab", e->tab);
    } else {
        path(f, parts, 4);
    }
    number(f, "session", e->session);
    number(f, "lease", e->lease);
    number(f, "epoch", e->epoch);
    if (e->reason != GRANT_NONE) {
        (void)fprintf(f, " reason=%s",
                      enum_name(&pb__grant_reason__descriptor, (int)e->reason));
    }
    if (e->cause != CAUSE_NONE) {
        (void)fprintf(f, " cause=%s", text_cause(e->cause));
    }
    if (e->role == ROLE_OBSERVER) {
        (void)fprintf(f, " observer");
    }
    number(f, "previous", e->previous_session);
    number(f, "previous_epoch", e->previous_epoch);
    number(f, "previous_lease", e->previous_lease);
    number(f, "backup", e->backup);
    number(f, "deadline", e->deadline_ms);
    number(f, "attachment", e->attachment);
    number(f, "state_bytes", e->state_bytes);
    if (e->score != 0) {
        (void)fprintf(f, " score=%d", (int)e->score);
    }
    word(f, "text", e->text);
    text_claims(f, e->claims);
    (void)fprintf(f, "\n");
}

void text_out(FILE *f, uint64_t index, const struct registry_out *out)
{
    (void)fprintf(f, "%" PRIu64 ":", index);
    if (out->has_reply) {
        (void)fprintf(f, " %s", status_name(out->reply.status));
        if (out->reply.reason != REASON_NONE) {
            (void)fprintf(f, "/%s", text_reason(out->reply.reason));
        }
        number(f, "id", out->reply.id);
        number(f, "epoch", out->reply.epoch);
        if (out->reply.detail != 0) {
            (void)fprintf(f, " detail=%" PRId64, out->reply.detail);
        }
        if (out->duplicate) {
            (void)fprintf(f, " duplicate of %" PRIu64, out->reply.revision);
        }
    }
    (void)fprintf(f, "\n");
    for (uint32_t i = 0; i < out->events_n; i++) {
        text_event(f, &out->events[i]);
    }
}

static void text_path(FILE *f, const Pb__Path *p)
{
    (void)fprintf(f, " %s/%s%s%s", p->namespace_, p->group,
                  p->device[0] == 0 ? "" : "/", p->device);
}

void text_command(FILE *f, const Pb__Command *c)
{
    switch (c->op_case) {
    case PB__COMMAND__OP_END_GRACE:
        (void)fprintf(f, "END_GRACE");
        number(f, "session", c->end_grace->session);
        number(f, "attachment", c->end_grace->attachment);
        break;
    case PB__COMMAND__OP_SWEEP_LEASE:
        (void)fprintf(f, "SWEEP_LEASE");
        number(f, "lease", c->sweep_lease->lease);
        number(f, "sessions", c->sweep_lease->n_sessions);
        break;
    case PB__COMMAND__OP_SCOPE_DUE:
        (void)fprintf(f, "SCOPE_DUE");
        text_path(f, c->scope_due->scope);
        number(f, "epoch", c->scope_due->epoch);
        number(f, "offer", c->scope_due->offer);
        break;
    case PB__COMMAND__OP_RESCORE:
        (void)fprintf(f, "RESCORE %s", c->rescore->namespace_);
        number(f, "version", c->rescore->policy_version);
        number(f, "sessions", c->rescore->n_sessions);
        (void)fprintf(f, "%s", c->rescore->done ? " done" : "");
        break;
    default:
        (void)fprintf(f, "op %d", (int)c->op_case);
        break;
    }
    (void)fprintf(f, "\n");
}

void text_scope(FILE *f, const struct scope_view *v)
{
    const struct bytes parts[] = {v->namespace_name, v->group, v->device};
    for (size_t i = 0; i < countof(parts) && parts[i].n > 0; i++) {
        (void)fprintf(f, "%s%.*s", i == 0 ? "" : "/", (int)parts[i].n,
                      (const char *)parts[i].data);
    }
    (void)fprintf(f, "%s", v->session == 0 ? " vacant" : "");
    number(f, "session", v->session);
    number(f, "epoch", v->epoch);
    number(f, "lease", v->lease);
    word(f, "device", v->group_scope ? v->holder_device : (struct bytes){0});
    word(f, "tab", v->holder_tab);
    word(f, "relay", v->relay);
    number(f, "backup", v->backup);
    (void)fprintf(f, " reason=%s",
                  enum_name(&pb__grant_reason__descriptor, (int)v->reason));
    number(f, "since", v->granted_ms);
    number(f, "previous", v->previous_session);
    number(f, "previous_epoch", v->previous_epoch);
    if (v->handing_over) {
        (void)fprintf(f, " %s", v->accepted ? "yielding" : "offered");
        number(f, "offer", v->offer);
        number(f, "to", v->offer_to);
        number(f, "deadline", v->deadline_ms);
    }
    (void)fprintf(f, "\n");
}

void text_session(FILE *f, const struct session_view *v)
{
    const struct bytes parts[] = {v->namespace_name, v->group, v->device,
                                  v->tab};
    (void)fprintf(f, "%" PRIu64 ":", v->id);
    path(f, parts, 4);
    number(f, "lease", v->lease);
    number(f, "attachment", v->attachment);
    (void)fprintf(f, " %s score=%d",
                  enum_name(&pb__role__descriptor, (int)v->role),
                  (int)v->score);
    number(f, "epoch", v->device_epoch);
    number(f, "group_epoch", v->group_epoch);
    (void)fprintf(f, "%s%s%s\n", v->group_leader ? " group-leader" : "",
                  v->group_backup ? " group-backup" : "",
                  v->detached ? " detached" : "");
}

void text_lease(FILE *f, const struct lease_view *v)
{
    (void)fprintf(f,
                  "%" PRIu64 ": %.*s ttl=%u sessions=%u renewals=%" PRIu64
                  " touched=%" PRIu64 "%s\n",
                  v->id, (int)v->label.n, (const char *)v->label.data,
                  v->ttl_ms, v->sessions_n, v->renewals, v->touched_ms,
                  v->ended ? " ended" : "");
}
