#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"

static char empty_text[1];

char *answer_text(struct arena *a, struct bytes text)
{
    if (text.n == 0) {
        return empty_text;
    }
    struct bytes copy = arena_copy(a, text);
    /* Protobuf-c's strings aren't const, but encoding only reads them. */
    return copy.data == NULL ? NULL : (char *)(uintptr_t)copy.data;
}

static char *text_or_empty(struct arena *a, struct bytes text)
{
    char *copy = answer_text(a, text);
    return copy == NULL ? empty_text : copy;
}

size_t answer_caps(const struct capabilities *caps, struct arena *a,
                   Pb__Capability ***out)
{
    size_t n = (size_t)__builtin_popcount(caps->known);
    *out = NULL;
    if (n == 0) {
        return 0;
    }
    Pb__Capability *all = arena_alloc(a, n * sizeof *all);
    Pb__Capability **list = arena_alloc(a, n * sizeof *list);
    if (all == NULL || list == NULL) {
        return 0;
    }
    size_t i = 0;
    for (uint32_t key = CAP_BATTERY; key < CAP_END; key++) {
        if ((caps->known >> key) & 1) {
            pb__capability__init(&all[i]);
            all[i].key = (Pb__CapabilityKey)key;
            all[i].value = capability_value(caps, (enum capability)key);
            list[i] = &all[i];
            i++;
        }
    }
    ASSERT(i == n);
    *out = list;
    return n;
}

void answer_scope(const struct scope_view *scope, uint64_t time_ms,
                  struct arena *a, Pb__LeaderResult *out, Pb__Path *out_path)
{
    pb__path__init(out_path);
    out_path->namespace_ = text_or_empty(a, scope->namespace_name);
    out_path->group = text_or_empty(a, scope->group);
    out_path->device =
        scope->group_scope ? empty_text : text_or_empty(a, scope->device);
    pb__leader_result__init(out);
    out->scope = out_path;
    out->session = scope->session;
    out->device = text_or_empty(a, scope->holder_device);
    out->tab = text_or_empty(a, scope->holder_tab);
    out->epoch = scope->epoch;
    out->backup = scope->backup;
    out->since_ms = scope->session != 0 && time_ms > scope->granted_ms
                        ? time_ms - scope->granted_ms
                        : 0;
    out->reason = (Pb__GrantReason)scope->reason;
    out->lease = scope->lease;
    out->handing_over = scope->handing_over;
    out->relay = text_or_empty(a, scope->relay);
}

void answer_session(const struct session_view *session, uint64_t time_ms,
                    struct arena *a, Pb__SessionInfo *out)
{
    pb__session_info__init(out);
    out->session = session->id;
    out->namespace_ = text_or_empty(a, session->namespace_name);
    out->group = text_or_empty(a, session->group);
    out->device = text_or_empty(a, session->device);
    out->tab = text_or_empty(a, session->tab);
    out->lease = session->lease;
    out->role = (Pb__Role)session->role;
    out->group_leader = session->group_leader;
    out->group_backup = session->group_backup;
    out->score = session->score;
    out->detached = session->detached;
    out->observer = session->observer;
    out->attachment = session->attachment;
    out->n_capabilities = answer_caps(&session->caps, a, &out->capabilities);
    out->opened_ms =
        time_ms > session->opened_ms ? time_ms - session->opened_ms : 0;
    out->device_epoch = session->device_epoch;
    out->group_epoch = session->group_epoch;
}

void answer_init(struct turn *t, Pb__ClientMessage *m, uint64_t id)
{
    pb__client_message__init(m);
    m->version = PROTOCOL_VERSION;
    m->id = id;
    m->revision = t->applied;
}

bool answer_send(struct turn *t, uint64_t conn, const Pb__ClientMessage *m)
{
    size_t n = codec_encode(&m->base, t->frame, FRAME_SCRATCH_BYTES);
    ASSERT(n > 0);
    if (n > FRAME_CLIENT_BYTES_MAX) {
        answer_refuse(t, conn, m->id,
                      (struct refusal){BATON_LIMIT, REASON_QUEUE_BYTES,
                                       FRAME_CLIENT_BYTES_MAX});
        return false;
    }
    if (transport_send(t->transport, conn, (struct bytes){t->frame, n})) {
        return true;
    }
    /* A client that asks faster than it reads loses its stream, not its requests: it asks again with the same numbers. */
    transport_conn_close(t->transport, conn, "reads slower than it asks");
    return false;
}

void answer_refuse(struct turn *t, uint64_t conn, uint64_t id,
                   struct refusal refusal)
{
    char text[400];
    Pb__ClientMessage m;
    answer_init(t, &m, id);
    m.status = (Pb__Status)refusal.status;
    m.reason = refusal.reason;
    (void)status_text(refusal.status, refusal.reason, refusal.detail, text,
                      sizeof text);
    m.message = text;
    if (refusal.status == BATON_BUSY || refusal.reason == REASON_BEHIND) {
        m.retry_ms = 20;
    }
    (void)answer_send(t, conn, &m);
}

void answer_not_leader(struct turn *t, uint64_t conn, uint64_t id)
{
    char text[200];
    char endpoint[TURN_ADDRESS_BYTES] = "";
    Pb__ClientMessage m;
    answer_init(t, &m, id);
    m.status = PB__STATUS__NOT_LEADER;
    raft_id leader = raft_leader(t->raft);
    const struct turn_member *member = turn_member_find(t, leader);
    if (leader == t->options.id && !raft_term_committed(t->raft)) {
        leader = 0; /* ourselves, but not yet able to answer */
    }
    if (leader != 0 && leader != t->options.id && member != NULL) {
        m.leader = leader;
        memcpy(endpoint, member->client, sizeof endpoint);
        m.leader_endpoint = endpoint;
        (void)snprintf(text, sizeof text,
                       "node %u isn't the leader: ask node %u at %s",
                       t->options.id, leader, endpoint);
    } else {
        m.retry_ms = (uint32_t)t->options.heartbeat_ms;
        (void)snprintf(text, sizeof text,
                       "node %u knows no leader now: an election is under "
                       "way, or a majority can't be reached",
                       t->options.id);
    }
    m.message = text;
    (void)answer_send(t, conn, &m);
}

void answer_reply(struct turn *t, uint64_t conn, uint64_t id,
                  const struct reply *reply)
{
    char text[400];
    Pb__ClientMessage m;
    Pb__Reply r = PB__REPLY__INIT;
    answer_init(t, &m, id);
    m.status = (Pb__Status)reply->status;
    m.reason = reply->reason;
    m.revision = reply->revision;
    r.status = m.status;
    r.reason = reply->reason;
    r.id = reply->id;
    r.epoch = reply->epoch;
    r.revision = reply->revision;
    r.detail = reply->detail;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_REPLY;
    m.reply = &r;
    if (reply->status != BATON_OK) {
        (void)status_text(reply->status, reply->reason, reply->detail, text,
                          sizeof text);
        m.message = text;
    }
    (void)answer_send(t, conn, &m);
}

void answer_renew(struct turn *t, uint64_t conn, uint64_t id, uint64_t number,
                  uint32_t ttl_ms)
{
    Pb__ClientMessage m;
    Pb__RenewResult r = PB__RENEW_RESULT__INIT;
    answer_init(t, &m, id);
    r.number = number;
    r.ttl_ms = ttl_ms;
    r.next_ms = ttl_ms / 3;
    m.result_case = PB__CLIENT_MESSAGE__RESULT_RENEW;
    m.renew = &r;
    t->counters.renewals++;
    (void)answer_send(t, conn, &m);
}
