#include <stdio.h>
#include <string.h>

#include "node/turn_state.h"

#define TIMEOUT_DEFAULT_MS 5000u
#define TIMEOUT_MAX_MS     60000u
#define CORRELATION_BYTES  16u
#define SCAN_MS            50u

static uint64_t deadline_of(const struct turn *t,
                            const Pb__ClientRequest *request)
{
    uint64_t ms = request->timeout_ms == 0
                      ? TIMEOUT_DEFAULT_MS
                      : min_u64(request->timeout_ms, TIMEOUT_MAX_MS);
    return t->now_ms + ms;
}

/* --- commands that wait for their entry ------------------------------------------------------------------------------------ */

static struct pending *pending_at(struct turn *t, raft_index index)
{
    return &t->pending[index & (t->options.pending_max - 1)];
}

static bool pending_has_room(const struct turn *t)
{
    return raft_last(t->raft) + 1 - t->applied < t->options.pending_max;
}

static void pending_put(struct turn *t, const struct pending *p)
{
    struct pending *at = pending_at(t, p->index);
    /* The slot's last owner was truncated away, and its client still waits: what became of it isn't known. */
    if (at->index != 0) {
        answer_refuse(t, at->conn, at->id,
                      (struct refusal){BATON_UNKNOWN, REASON_NONE, 0});
        t->counters.unknown++;
        t->pending_n--;
    }
    *at = *p;
    t->pending_n++;
    t->pending_high = max_u64(t->pending_high, p->index);
}

static void pending_answer(struct turn *t, const struct pending *p,
                           const struct reply *reply)
{
    if (p->renew == 0) {
        t->counters.commands_refused += reply->status != BATON_OK;
        answer_reply(t, p->conn, p->id, reply);
        return;
    }
    struct lease_view lease;
    if (registry_lease(t->registry, p->lease, &lease) != BATON_OK ||
        lease.ended) {
        answer_refuse(t, p->conn, p->id,
                      (struct refusal){BATON_EXPIRED, REASON_LEASE_ENDED,
                                       (int64_t)p->lease});
        return;
    }
    if (!deadlines_heard(t->deadlines, lease.slot, p->received_ms)) {
        answer_refuse(t, p->conn, p->id,
                      (struct refusal){BATON_BUSY, REASON_NONE, 0});
        return;
    }
    answer_renew(t, p->conn, p->id, p->renew, lease.ttl_ms);
}

void turn_pending_applied(struct turn *t, raft_index index, raft_term term,
                          const struct reply *reply)
{
    struct pending *at = pending_at(t, index);
    if (at->index != index) {
        return;
    }
    struct pending p = *at;
    at->index = 0;
    t->pending_n--;
    if (p.term == term && reply != NULL) {
        pending_answer(t, &p, reply);
    } else {
        /* Another leader's entry was committed here: ours never will be. */
        answer_not_leader(t, p.conn, p.id);
    }
}

static void pending_is_unknown(struct turn *t, struct pending *p)
{
    answer_refuse(t, p->conn, p->id,
                  (struct refusal){BATON_UNKNOWN, REASON_NONE, 0});
    t->counters.unknown++;
    p->index = 0;
    t->pending_n--;
}

void turn_pending_unknown(struct turn *t, raft_index applied)
{
    for (uint32_t i = 0; t->pending_n > 0 && i < t->options.pending_max; i++) {
        if (t->pending[i].index != 0 && t->pending[i].index <= applied) {
            pending_is_unknown(t, &t->pending[i]);
        }
    }
}

/* Past its deadline nobody can say whether a command will be applied. */
void turn_pending_tick(struct turn *t)
{
    if (t->pending_n == 0 || t->now_ms < t->pending_scan_ms) {
        return;
    }
    t->pending_scan_ms = t->now_ms + SCAN_MS;
    for (raft_index i = t->applied + 1; i <= t->pending_high; i++) {
        struct pending *p = pending_at(t, i);
        if (p->index == i && p->deadline_ms <= t->now_ms) {
            pending_is_unknown(t, p);
        }
    }
}

/* --- mutations ---------------------------------------------------------------------------------------------------------------- */

static void propose_for_client(struct turn *t, uint64_t conn,
                               const Pb__ClientRequest *request)
{
    struct pending p = {
        .term = raft_term_now(t->raft),
        .conn = conn,
        .id = request->id,
        .deadline_ms = deadline_of(t, request),
    };
    enum baton_status status = BATON_BUSY;
    if (pending_has_room(t)) {
        status = turn_propose_command(t, request->command, &p.index);
    }
    if (status == BATON_OK) {
        t->counters.commands++;
        pending_put(t, &p);
    } else if (status == BATON_NOT_LEADER) {
        answer_not_leader(t, conn, request->id);
    } else if (status == BATON_INVALID) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_INVALID, REASON_OP, 0});
    } else {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_BUSY, REASON_PENDING_NODE,
                                       (int64_t)t->options.pending_max});
    }
}

/* A report that changes nothing once it's rounded costs no entry: it's answered once a round has shown that we lead. Nothing may be on its way
 * that could change what it's compared with: reports of one client are carried out in their order. */
static bool changes_nothing(const struct turn *t, const Pb__Command *command)
{
    return t->applied == raft_last(t->raft) &&
           registry_update_is_noop(t->registry, command);
}

static void request_command(struct turn *t, uint64_t conn,
                            const Pb__ClientRequest *request)
{
    Pb__Command *command = request->command;
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    if (raft_role_now(t->raft) != RAFT_LEADER) {
        answer_not_leader(t, conn, request->id);
        return;
    }
    command->version = COMMAND_VERSION;
    command->proposer_term = 0;
    enum baton_status status =
        registry_check_command(command, &reason, &detail);
    if (status != BATON_OK) {
        t->counters.commands_refused++;
        answer_refuse(t, conn, request->id,
                      (struct refusal){status, reason, detail});
        return;
    }
    if (changes_nothing(t, command)) {
        struct read read = {
            .kind = READ_UPDATED,
            .consistency = PB__CONSISTENCY__LINEARIZABLE,
            .conn = conn,
            .id = request->id,
            .deadline_ms = deadline_of(t, request),
            .received_ms = t->now_ms,
            .session = command->update_session->session,
            .epoch = command->update_session->attachment,
        };
        turn_read_request(t, &read, NULL);
        return;
    }
    propose_for_client(t, conn, request);
}

/* --- heartbeats ---------------------------------------------------------------------------------------------------------------- */

/* Logged before it's acknowledged: see session/deadlines.h. */
static void renew_by_log(struct turn *t, uint64_t conn,
                         const Pb__ClientRequest *request)
{
    uint64_t deltas[1] = {request->renew->lease};
    Pb__Touched touched = PB__TOUCHED__INIT;
    Pb__Command command = PB__COMMAND__INIT;
    touched.n_lease_deltas = 1;
    touched.lease_deltas = deltas;
    command.version = COMMAND_VERSION;
    command.proposer_term = raft_term_now(t->raft);
    command.op_case = PB__COMMAND__OP_TOUCHED;
    command.touched = &touched;
    struct pending p = {
        .term = raft_term_now(t->raft),
        .conn = conn,
        .id = request->id,
        .deadline_ms = deadline_of(t, request),
        .received_ms = t->now_ms,
        .renew = request->renew->number == 0 ? 1 : request->renew->number,
        .lease = request->renew->lease,
    };
    if (pending_has_room(t) &&
        turn_propose_command(t, &command, &p.index) == BATON_OK) {
        pending_put(t, &p);
    } else {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_BUSY, REASON_PENDING_NODE,
                                       (int64_t)t->options.pending_max});
    }
}

static void request_renew(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request)
{
    struct lease_view lease;
    if (!turn_leads(t)) {
        answer_not_leader(t, conn, request->id);
        return;
    }
    enum baton_status status =
        registry_lease(t->registry, request->renew->lease, &lease);
    if (status != BATON_OK || lease.ended) {
        t->counters.renewals_refused++;
        answer_refuse(t, conn, request->id,
                      (struct refusal){status == BATON_OK ? BATON_EXPIRED
                                                          : BATON_NOT_FOUND,
                                       status == BATON_OK ? REASON_LEASE_ENDED
                                                          : REASON_NO_LEASE,
                                       (int64_t)request->renew->lease});
        return;
    }
    if (deadlines_expiring(t->deadlines, lease.slot)) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_BUSY, REASON_NONE, 0});
        return;
    }
    if (deadlines_must_log(t->deadlines, lease.slot, turn_cluster_ms(t))) {
        renew_by_log(t, conn, request);
        return;
    }
    /* S14: acknowledged only by a leader that a quorum still follows. */
    if (raft_lease_valid(t->raft, t->now_ms, 0) &&
        deadlines_heard(t->deadlines, lease.slot, t->now_ms)) {
        answer_renew(t, conn, request->id, request->renew->number,
                     lease.ttl_ms);
        return;
    }
    struct read read = {
        .kind = READ_RENEW,
        .conn = conn,
        .id = request->id,
        .deadline_ms = deadline_of(t, request),
        .received_ms = t->now_ms,
        .lease = request->renew->lease,
        .cursor = request->renew->number,
    };
    turn_read_request(t, &read, NULL);
}

/* --- reads ------------------------------------------------------------------------------------------------------------------------ */

static const Pb__Path *read_of(const Pb__ClientRequest *request,
                               struct read *read, Pb__Path *scratch)
{
    pb__path__init(scratch);
    switch (request->op_case) {
    case PB__CLIENT_REQUEST__OP_GET_LEADER:
        read->kind = READ_LEADER;
        read->consistency = (uint8_t)request->get_leader->consistency;
        return request->get_leader->scope;
    case PB__CLIENT_REQUEST__OP_GET_SESSIONS:
        read->kind = READ_SESSIONS;
        read->consistency = (uint8_t)request->get_sessions->consistency;
        read->session = request->get_sessions->session;
        read->cursor = request->get_sessions->cursor;
        read->limit = request->get_sessions->limit;
        scratch->namespace_ = request->get_sessions->namespace_;
        scratch->group = request->get_sessions->group;
        return scratch;
    case PB__CLIENT_REQUEST__OP_GET_EXPLAIN:
        read->kind = READ_EXPLAIN;
        read->consistency = (uint8_t)request->get_explain->consistency;
        return request->get_explain->scope;
    case PB__CLIENT_REQUEST__OP_GET_VERIFY:
        read->kind = READ_VERIFY;
        read->consistency = (uint8_t)request->get_verify->consistency;
        read->epoch = request->get_verify->epoch;
        return request->get_verify->scope;
    case PB__CLIENT_REQUEST__OP_CLAIM:
        read->kind = READ_CLAIM;
        read->session = request->claim->session;
        read->epoch = request->claim->epoch;
        read->lease = request->claim->lease;
        return request->claim->scope;
    case PB__CLIENT_REQUEST__OP_GET_POLICY:
        read->kind = READ_POLICY;
        read->consistency = (uint8_t)request->get_policy->consistency;
        scratch->namespace_ = request->get_policy->namespace_;
        return scratch;
    case PB__CLIENT_REQUEST__OP_GET_STATE:
        read->kind = READ_STATE;
        read->session = request->get_state->session;
        read->epoch = request->get_state->epoch;
        return request->get_state->scope;
    default:
        return NULL;
    }
}

static void request_read(struct turn *t, uint64_t conn,
                         const Pb__ClientRequest *request)
{
    struct read read = {
        .conn = conn,
        .id = request->id,
        .deadline_ms = deadline_of(t, request),
        .received_ms = t->now_ms,
    };
    Pb__Path scratch;
    const Pb__Path *path = read_of(request, &read, &scratch);
    if (read.kind == 0) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_UNSUPPORTED, REASON_OP, 0});
    } else if (path == NULL) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_INVALID, REASON_NAMESPACE, 0});
    } else {
        turn_read_request(t, &read, path);
    }
}

static void request_watch(struct turn *t, uint64_t conn,
                          const Pb__ClientRequest *request)
{
    struct watch_env env = turn_watch_env(t);
    struct watch_asker asker = {conn, request->id};
    struct watch_refusal why = {REASON_NONE, 0};
    enum baton_status status =
        watches_open(t->watches, &env, asker, request->watch, &why);
    if (status != BATON_OK) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){status, why.reason, why.detail});
    }
}

static void request_status(struct turn *t, uint64_t conn,
                           const Pb__ClientRequest *request)
{
    Pb__ClientMessage m;
    Pb__StatusResult result;
    arena_reset(&t->answer);
    status_fill(t, &t->answer, &result);
    answer_init(t, &m, request->id);
    m.result_case = PB__CLIENT_MESSAGE__RESULT_STATUS_RESULT;
    m.status_result = &result;
    (void)answer_send(t, conn, &m);
}

/* --- every request ------------------------------------------------------------------------------------------------------------------ */

static void dispatch(struct turn *t, uint64_t conn,
                     const Pb__ClientRequest *request)
{
    switch (request->op_case) {
    case PB__CLIENT_REQUEST__OP_COMMAND:
        request_command(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_RENEW:
        request_renew(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_GET_EVENTS:
        turn_history_request(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_WATCH:
        request_watch(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_UNWATCH:
        watches_close(t->watches, conn, request->unwatch->id);
        break;
    case PB__CLIENT_REQUEST__OP_GET_STATUS:
        request_status(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_TRANSFER:
        turn_request_transfer(t, conn, request);
        break;
    case PB__CLIENT_REQUEST__OP_CHANGE_MEMBERS:
        turn_request_members(t, conn, request);
        break;
    default:
        request_read(t, conn, request);
        break;
    }
}

/* The correlation id finds one user's action again, from the client's log to ours. */
static void log_request(struct turn *t, uint64_t conn,
                        const Pb__ClientRequest *request)
{
    char hex[2 * CORRELATION_BYTES + 1];
    if (t->options.log_level < 3) {
        return;
    }
    for (size_t i = 0; i < CORRELATION_BYTES; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", request->correlation_id.data[i]);
    }
    turn_log(t, 3, "request conn=%llu id=%llu op=%d correlation=%s",
             (unsigned long long)conn, (unsigned long long)request->id,
             (int)request->op_case, hex);
}

void turn_client_frame(struct turn *t, uint64_t conn, struct bytes body)
{
    arena_reset(&t->input);
    Pb__ClientRequest *request = codec_decode_request(body, &t->input);
    t->counters.requests++;
    if (request == NULL) {
        t->counters.undecodable++;
        transport_conn_close(t->transport, conn, "undecodable frame");
        return;
    }
    if (request->version != PROTOCOL_VERSION) {
        t->counters.requests_bad++;
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_UNSUPPORTED, REASON_NONE,
                                       (int64_t)request->version});
    } else if (request->correlation_id.len != CORRELATION_BYTES) {
        t->counters.requests_bad++;
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_INVALID, REASON_CORRELATION,
                                       (int64_t)request->correlation_id.len});
    } else if (t->quarantined || t->stopping) {
        answer_refuse(t, conn, request->id,
                      (struct refusal){BATON_UNAVAILABLE, REASON_NONE, 0});
    } else {
        log_request(t, conn, request);
        dispatch(t, conn, request);
    }
}
