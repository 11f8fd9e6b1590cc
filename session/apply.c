#include "session/check.h"
#include "session/commands.h"
#include "session/election.h"

void apply_refuse(struct apply *a, enum baton_status status, uint32_t reason,
                  int64_t detail)
{
    ASSERT(status != BATON_OK);
    ASSERT(reason < REASON_END);
    a->out->reply.status = status;
    a->out->reply.reason = reason;
    a->out->reply.detail = detail;
}

slot apply_own_session(struct apply *a, uint64_t id, uint32_t attachment)
{
    const struct registry *r = a->r;
    ASSERT(a->lease != 0);
    slot s = find_session(r, id);
    if (s == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_SESSION, 0);
        return 0;
    }
    const struct session *session = session_at(r, s);
    if (session->lease != a->lease) {
        apply_refuse(a, BATON_NOT_ALLOWED, REASON_OTHER_LEASE,
                     (int64_t)lease_at(r, session->lease)->id);
        return 0;
    }
    /* On a live lease nothing is detached. */
    ASSERT((session->object.flags & FLAG_DETACHED) == 0);
    if (attachment != 0 && attachment != session->attachment) {
        apply_refuse(a, BATON_CONFLICT, REASON_ATTACHMENT, session->attachment);
        return 0;
    }
    return s;
}

static void apply_leader(struct apply *a, const Pb__Command *c)
{
    if (c->proposer_term != a->term) {
        /* Decided by a leader that isn't one any more: what it knew of time is void. */
        apply_refuse(a, BATON_CONFLICT, REASON_TERM, (int64_t)a->term);
        return;
    }
    switch (c->op_case) {
    case PB__COMMAND__OP_TERM_START:
        settings_term_start(a, c->term_start);
        break;
    case PB__COMMAND__OP_NODE_SEEN:
        settings_node_seen(a, c->node_seen);
        break;
    case PB__COMMAND__OP_TOUCHED:
        lease_touch(a, c->touched);
        break;
    case PB__COMMAND__OP_EXPIRE_LEASE:
        lease_expire(a, c->expire_lease);
        break;
    case PB__COMMAND__OP_SWEEP_LEASE:
        lease_sweep(a, c->sweep_lease);
        break;
    case PB__COMMAND__OP_END_GRACE:
        session_end_grace(a, c->end_grace);
        break;
    case PB__COMMAND__OP_SCOPE_DUE:
        election_due(a, c->scope_due);
        break;
    case PB__COMMAND__OP_RECORD_CLAIM:
        election_record_claim(a, c->record_claim);
        break;
    case PB__COMMAND__OP_RESCORE:
        election_rescore(a, c->rescore);
        break;
    case PB__COMMAND__OP_SET_LIMITS:
        settings_limits(a, c->set_limits);
        break;
    default: /* a client's, without a client; or unknown here */
        apply_refuse(a, BATON_UNSUPPORTED, REASON_OP, (int64_t)c->op_case);
        break;
    }
}

static void run_client_op(struct apply *a, const Pb__Command *c)
{
    switch (c->op_case) {
    case PB__COMMAND__OP_CLOSE_LEASE:
        lease_close(a, c->close_lease);
        break;
    case PB__COMMAND__OP_OPEN_SESSION:
        session_open(a, c->open_session);
        break;
    case PB__COMMAND__OP_UPDATE_SESSION:
        session_update(a, c->update_session);
        break;
    case PB__COMMAND__OP_CLOSE_SESSION:
        session_close(a, c->close_session);
        break;
    case PB__COMMAND__OP_ATTACH_SESSION:
        session_attach(a, c->attach_session);
        break;
    case PB__COMMAND__OP_HANDOFF:
        election_handoff(a, c->handoff);
        break;
    case PB__COMMAND__OP_ANSWER_OFFER:
        election_answer(a, c->answer_offer);
        break;
    case PB__COMMAND__OP_YIELD:
        election_yield(a, c->yield);
        break;
    case PB__COMMAND__OP_RESIGN:
        election_resign(a, c->resign);
        break;
    case PB__COMMAND__OP_DEMOTE:
        election_demote(a, c->demote);
        break;
    case PB__COMMAND__OP_SET_POLICY:
        settings_policy(a, c->set_policy);
        break;
    case PB__COMMAND__OP_SET_LIMITS:
        settings_limits(a, c->set_limits);
        break;
    default:
        ASSERT(check_is_client_op(c)); /* apply_client() looked */
        break;
    }
}

/* A live lease, and room for the reply. Else the reply is there: an older one, or a refusal that isn't kept. */
static bool admit(struct apply *a, const Pb__Command *c)
{
    struct registry *r = a->r;
    a->lease = find_lease(r, c->lease);
    if (a->lease == 0) {
        apply_refuse(a, BATON_NOT_FOUND, REASON_NO_LEASE, 0);
        return false;
    }
    if (c->sequence == 0 || c->first_outstanding > c->sequence) {
        apply_refuse(a, BATON_INVALID, REASON_SEQUENCE, 0);
        return false;
    }
    const struct reply *kept = window_find(r, a->lease, c->sequence);
    if (kept != NULL) {
        a->out->reply = *kept;
        a->out->duplicate = true;
        return false;
    }
    const struct lease *l = lease_at(r, a->lease);
    if ((l->object.flags & FLAG_ENDED) != 0) {
        apply_refuse(a, BATON_EXPIRED, REASON_LEASE_ENDED, 0);
        return false;
    }
    enum baton_status status =
        window_admit(r, a->lease, c->sequence, c->first_outstanding);
    if (status == BATON_LIMIT) {
        apply_refuse(a, status, REASON_WINDOW_REPLIES, WINDOW_REPLIES_MAX);
    } else if (status != BATON_OK) {
        apply_refuse(a, status, REASON_SEQUENCE, (int64_t)l->sequence_min);
    }
    return status == BATON_OK;
}

static void apply_client(struct apply *a, const Pb__Command *c)
{
    uint32_t reason = REASON_NONE;
    int64_t detail = 0;
    if (c->op_case == PB__COMMAND__OP_OPEN_LEASE) {
        lease_open(a, c->open_lease);
        return;
    }
    if (!admit(a, c)) {
        return;
    }
    lease_alive(a, a->lease);
    enum baton_status status = check_fields(c, &reason, &detail);
    if (status != BATON_OK) {
        apply_refuse(a, status, reason, detail);
    } else {
        run_client_op(a, c);
    }
    /* A lease that closed takes its window along. */
    if ((lease_at(a->r, a->lease)->object.flags & FLAG_DELETED) == 0) {
        window_keep(a->r, a->lease, c->sequence, &a->out->reply);
    }
}

static void apply_command(struct apply *a, const Pb__Command *c)
{
    /* Other nodes know what it means and this one doesn't: to go on would be to differ from them. */
    ASSERT(c->version <= COMMAND_VERSION);
    /* All members of the union are pointers to messages. */
    if (c->version == 0 || c->op_case == PB__COMMAND__OP__NOT_SET ||
        c->open_lease == NULL) {
        apply_refuse(a, BATON_UNSUPPORTED, REASON_OP, (int64_t)c->op_case);
    } else if (check_is_client_op(c) &&
               (c->lease != 0 || c->proposer_term == 0)) {
        apply_client(a, c);
    } else if (c->lease != 0) {
        apply_refuse(a, BATON_NOT_ALLOWED, REASON_OP, (int64_t)c->op_case);
    } else {
        apply_leader(a, c);
    }
}

void registry_apply(struct registry *r, const struct registry_entry *entry,
                    struct registry_out *out)
{
    ASSERT(entry->index == r->applied + 1);
    ASSERT(entry->time_ms >= r->time_ms);
    r->applied = entry->index;
    r->time_ms = entry->time_ms;
    r->cluster_dirty = true;
    out->has_reply = entry->command != NULL;
    out->duplicate = false;
    out->reply = (struct reply){.revision = entry->index};
    out->events_n = 0;
    if (entry->command != NULL) {
        struct apply a = {
            .r = r,
            .index = entry->index,
            .term = entry->term,
            .time_ms = entry->time_ms,
            .out = out,
        };
        apply_command(&a, entry->command);
    }
    ASSERT(out->events_n <= EVENTS_MAX);
}
