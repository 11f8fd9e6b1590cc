#include "raft/core.h"

/* The most caught-up voter that was heard lately. */
static raft_id best_successor(const struct raft *r, uint64_t now_ms)
{
    const struct raft_config *config = configs_latest(&r->configs);
    const struct progress *best = NULL;
    for (uint32_t i = 0; i < r->peers_n; i++) {
        const struct progress *p = &r->peers[i];
        if (!nodes_has(&config->voters, p->id) || p->quarantined || p->down ||
            now_ms >= p->heard_ms + r->options.election_ms) {
            continue;
        }
        if (best == NULL || p->match > best->match) {
            best = p;
        }
    }
    return best == NULL ? 0 : best->id;
}

enum baton_status raft_transfer(struct raft *r, const struct raft_in *in,
                                raft_id to, struct raft_out *out)
{
    if (r->role != RAFT_LEADER) {
        return BATON_NOT_LEADER;
    }
    if (r->transfer.to != 0) {
        return BATON_BUSY;
    }
    const raft_id target = to != 0 ? to : best_successor(r, in->now_ms);
    const struct progress *p = raft_peer(r, target);
    if (p == NULL || p->quarantined ||
        !nodes_has(&configs_latest(&r->configs)->voters, target)) {
        return BATON_NOT_FOUND;
    }
    r->transfer.to = target;
    r->transfer.sent = false;
    r->transfer.deadline_ms = in->now_ms + r->options.election_ms;
    raft_note(out, "%u hands leadership of term %llu to %u", r->options.id,
              (unsigned long long)r->term, target);
    return BATON_OK;
}

void raft_transfer_flush(struct raft *r, const struct raft_in *in,
                         struct raft_out *out)
{
    ASSERT(r->role == RAFT_LEADER);
    if (r->transfer.to == 0 || r->transfer.sent || !raft_out_room(out)) {
        return;
    }
    const struct progress *p = raft_peer(r, r->transfer.to);
    if (p == NULL || p->match != r->terms.last) {
        return;
    }
    r->transfer.sent = true;
    /* One that has just restarted has heard no round yet, and would ignore the call: see raft_on_timeout_now(). */
    raft_round_start(r, in, out);
    if (!raft_out_room(out)) {
        r->transfer.sent = false;
        return;
    }
    raft_note(out, "%u tells %u to campaign: it has everything up to %llu",
              r->options.id, p->id, (unsigned long long)p->match);
    raft_send(r, out,
              (struct raft_message){
                  .type = RAFT_TIMEOUT_NOW, .to = p->id, .round = r->round},
              0);
}

void raft_transfer_ended(struct raft *r, struct raft_out *out, raft_id leader)
{
    if (r->transfer.to == 0) {
        return;
    }
    out->transfer_done = true;
    out->transfer_failed = leader != r->transfer.to;
    r->transfer.to = 0;
}

void raft_transfer_tick(struct raft *r, const struct raft_in *in,
                        struct raft_out *out)
{
    if (r->transfer.to == 0 || in->now_ms < r->transfer.deadline_ms) {
        return;
    }
    raft_note(out, "%u gives up handing leadership to %u after %llu ms",
              r->options.id, r->transfer.to,
              (unsigned long long)r->options.election_ms);
    if (r->role == RAFT_LEADER && r->transfer.sent) {
        r->transfer.void_target = r->transfer.to;
        r->transfer.void_round = r->round + 1;
    }
    raft_transfer_ended(r, out, 0);
}

void raft_on_timeout_now(struct raft *r, const struct raft_in *in,
                         const struct raft_message *m, struct raft_out *out)
{
    ASSERT(m->term == r->term);
    ASSERT(r->role == RAFT_FOLLOWER);
    /* A later round was heard, so the leader may have given up on us meanwhile and hold a lease again (bug 17). A restarted node
     * hasn't heard which round is the latest. */
    if (r->heard_round == 0 || m->round < r->heard_round) {
        raft_note(out,
                  "%u ignores the call to campaign of round %llu: heard round "
                  "%llu",
                  r->options.id, (unsigned long long)m->round,
                  (unsigned long long)r->heard_round);
        return;
    }
    raft_campaign_forced(r, in, out);
}
