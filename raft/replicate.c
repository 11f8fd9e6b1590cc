#include "raft/core.h"

void raft_append_own(struct raft *r, const struct raft_in *in, uint32_t n,
                     struct raft_out *out)
{
    ASSERT(r->role == RAFT_LEADER);
    const raft_index first = r->terms.last + 1;
    /* A run is free for our term: campaigning needs TERMS_ROOM_MIN of them, and only a leader's first entry takes one. */
    ASSERT(terms_append(&r->terms, n, r->term));
    if (out->append_n == 0) {
        out->append_first = first;
    }
    ASSERT(out->append_first + out->append_n == first);
    out->append_n += n;
    durable_append(&r->durable, r->terms.last, in->batch, in->now_ms);
}

void raft_lead(struct raft *r, const struct raft_in *in, struct raft_out *out)
{
    ASSERT(r->role == RAFT_CANDIDATE);
    ASSERT(r->vote == r->options.id);
    ASSERT(durable_hard_stored(&r->durable));
    r->role = RAFT_LEADER;
    r->leader = r->options.id;
    r->term_leader = r->options.id;
    r->contact_ms = in->now_ms;
    r->contacted = true;
    raft_transfer_ended(r, out, r->options.id);
    r->transfer = (struct transfer){.to = 0};
    r->reads_n = 0;
    r->reads_open = false;
    for (uint32_t i = 0; i < r->peers_n; i++) {
        progress_reset(&r->peers[i], r->terms.last, in->now_ms);
    }
    out->role_changed = true;
    raft_note(out, "%u leads term %llu from %llu^%llu, committed %llu",
              r->options.id, (unsigned long long)r->term,
              (unsigned long long)r->terms.last,
              (unsigned long long)terms_last(&r->terms).term,
              (unsigned long long)r->commit);
    raft_round_start(r, in, out);
}

/* Leads without a quorum behind it: someone else may lead by now (CheckQuorum, Raft thesis 6.2). */
static bool quorum_lost(struct raft *r, uint64_t now_ms)
{
    r->contact_ms =
        max_u64(r->contact_ms, raft_quorum(r, RAFT_MEASURE_HEARD_MS, now_ms));
    return r->options.check_quorum &&
           now_ms >= r->contact_ms + r->options.election_ms;
}

void raft_lead_tick(struct raft *r, const struct raft_in *in,
                    struct raft_out *out)
{
    if (r->muted) {
        raft_step_down(r, in, "it doesn't trust its own state", out);
        return;
    }
    if (raft_disk_stalled(r, in->now_ms)) {
        raft_step_down(r, in, "its disk is behind", out);
        return;
    }
    if (r->transfer.void_target != 0 &&
        in->now_ms >= r->transfer.deadline_ms + 2 * r->options.election_ms) {
        /* It may never answer, and without a lease we serve badly: another term settles it. */
        raft_step_down(r, in, "whom it told to campaign doesn't answer", out);
        return;
    }
    if (quorum_lost(r, in->now_ms)) {
        raft_step_down(r, in, "heard no quorum for an election timeout", out);
        return;
    }
    if (in->now_ms >= r->heartbeat_ms) {
        raft_round_start(r, in, out);
    }
}

/* We aren't in the configuration that was committed: our work ends with it. */
static void leave_if_removed(struct raft *r, const struct raft_in *in,
                             struct raft_out *out)
{
    const struct raft_config *config = configs_latest(&r->configs);
    if (config->index <= r->commit && !config_joint(config) &&
        !raft_we_vote(r)) {
        raft_step_down(r, in, "the configuration without it is committed", out);
    }
}

void raft_commit_advance(struct raft *r, const struct raft_in *in,
                         struct raft_out *out)
{
    ASSERT(r->role == RAFT_LEADER);
    const raft_index index =
        raft_quorum(r, RAFT_MEASURE_MATCH, r->durable.stored);
    /* Only count copies of our own term: an older entry can still be overwritten (Raft paper 5.4.2, figure 8). */
    if (index <= r->commit || terms_at(&r->terms, index) != r->term) {
        return;
    }
    if (!raft_term_committed(r)) {
        raft_note(out, "%u committed %llu, the first of term %llu",
                  r->options.id, (unsigned long long)index,
                  (unsigned long long)r->term);
    }
    r->commit = index;
    leave_if_removed(r, in, out);
}

enum baton_status raft_propose(struct raft *r, const struct raft_in *in,
                               uint32_t n, struct raft_out *out,
                               raft_index *out_first)
{
    ASSERT(n > 0);
    if (r->role != RAFT_LEADER) {
        return BATON_NOT_LEADER;
    }
    if (r->transfer.to != 0 ||
        r->terms.last - r->commit + n > UNCOMMITTED_MAX) {
        return BATON_BUSY;
    }
    *out_first = r->terms.last + 1;
    raft_append_own(r, in, n, out);
    return BATON_OK;
}

/* The shell is to send rows to `p`; said again each election timeout until they arrive, as messages get lost. */
static void snapshot_ask(const struct raft *r, const struct raft_in *in,
                         struct progress *p, struct raft_out *out)
{
    if (out->snapshot_to != 0 && out->snapshot_to != p->id) {
        return;
    }
    if (p->mode != PROGRESS_SNAPSHOT) {
        raft_note(out,
                  "%u sends %u a snapshot: it needs %llu, the log starts at "
                  "%llu",
                  r->options.id, p->id, (unsigned long long)p->next,
                  (unsigned long long)raft_first(r));
        progress_snapshot(p, r->terms.base.index);
    } else if (in->now_ms < p->probe_ms + r->options.election_ms) {
        return;
    }
    p->probe_ms = in->now_ms;
    out->snapshot_to = p->id;
}

/* One append to `p`: entries, or the commit index alone. True if one left, so that another may follow. */
static bool append_one(struct raft *r, const struct raft_in *in,
                       struct progress *p, struct raft_out *out)
{
    if (p->mode == PROGRESS_SNAPSHOT || p->next <= r->terms.base.index) {
        snapshot_ask(r, in, p, out);
        return false;
    }
    if (!progress_ready(p, r->options.inflight_max)) {
        return false;
    }
    const raft_index last = r->terms.last;
    const raft_index prev = p->next - 1;
    const bool unsure = p->mode == PROGRESS_PROBE && p->match < last;
    if (prev == last && !unsure && p->sent_commit >= r->commit) {
        return false;
    }
    const uint32_t n =
        (uint32_t)min_u64(last - prev, r->options.append_entries_max);
    /* News of commits alone: nothing waits for the answer, and each would cost both ends a wake-up. */
    const bool quiet = n == 0 && p->mode == PROGRESS_STREAM;
    raft_send(r, out,
              (struct raft_message){.type = RAFT_APPEND,
                                    .to = p->id,
                                    .index = prev,
                                    .log_term = terms_at(&r->terms, prev),
                                    .commit = r->commit,
                                    .entries_n = n,
                                    .quiet = quiet},
              0);
    p->sent_commit = r->commit;
    progress_sent(p, n, in->now_ms);
    return true;
}

/* Round by round, so that a peer with a wide window doesn't take all the room. */
static void appends_flush(struct raft *r, const struct raft_in *in,
                          struct raft_out *out)
{
    bool more = true;
    while (more) {
        more = false;
        for (uint32_t i = 0; i < r->peers_n; i++) {
            struct progress *p = &r->peers[i];
            if (p->down || p->quarantined) {
                continue;
            }
            if (!raft_out_room(out)) {
                r->flush_pending = true;
                return;
            }
            more = append_one(r, in, p, out) || more;
        }
    }
}

void raft_flush(struct raft *r, const struct raft_in *in, struct raft_out *out)
{
    ASSERT(r->booted);
    r->flush_pending = false;
    if (r->role != RAFT_LEADER) {
        return;
    }
    raft_reads_flush(r, in, out);
    appends_flush(r, in, out);
    raft_transfer_flush(r, in, out);
}

void raft_on_append_reply(struct raft *r, const struct raft_in *in,
                          const struct raft_message *m, struct raft_out *out)
{
    struct progress *p = raft_peer(r, m->from);
    ASSERT(p != NULL);
    p->heard_ms = in->now_ms;
    if (m->index > r->terms.last) {
        raft_note(out,
                  "%u ignores an answer of %u about %llu: ours ends at %llu",
                  r->options.id, m->from, (unsigned long long)m->index,
                  (unsigned long long)r->terms.last);
        return;
    }
    if (!m->success) {
        const raft_index hint =
            terms_find(&r->terms, m->hint_index, m->hint_term);
        if (progress_reject(p, m->index, hint)) {
            raft_note(
                out, "%u: %u has no match at %llu (hint %llu^%llu): next %llu",
                r->options.id, p->id, (unsigned long long)m->index,
                (unsigned long long)m->hint_index,
                (unsigned long long)m->hint_term, (unsigned long long)p->next);
        }
        return;
    }
    const bool moved = progress_ack(p, m->index, in->now_ms);
    if (p->mode == PROGRESS_SNAPSHOT && p->match >= r->terms.base.index) {
        progress_snapshot_end(p, 0);
    }
    if (moved) {
        raft_commit_advance(r, in, out);
    }
}

void raft_on_snapshot_reply(struct raft *r, const struct raft_in *in,
                            const struct raft_message *m, struct raft_out *out)
{
    struct progress *p = raft_peer(r, m->from);
    ASSERT(p != NULL);
    p->heard_ms = in->now_ms;
    if (m->index > r->commit || p->mode != PROGRESS_SNAPSHOT) {
        return;
    }
    raft_note(out, "%u: %u %s the snapshot of %llu", r->options.id, p->id,
              m->success ? "installed" : "gave up",
              (unsigned long long)m->index);
    /* No ack: it may know the checkpoint's index as committed, and not have it on its disk yet. The append behind it asks. */
    progress_snapshot_end(p, m->success ? m->index : 0);
}

/* NOLINTNEXTLINE(readability-function-size): the contract's six parameters */
void raft_snapshot_sent(struct raft *r, const struct raft_in *in, raft_id node,
                        raft_index index, bool ok, struct raft_out *out)
{
    (void)in;
    struct progress *p = raft_peer(r, node);
    if (r->role != RAFT_LEADER || p == NULL || p->mode != PROGRESS_SNAPSHOT) {
        return;
    }
    ASSERT(index <= r->commit);
    raft_note(out, "%u: snapshot of %llu to %u %s", r->options.id,
              (unsigned long long)index, node, ok ? "sent" : "failed");
    progress_snapshot_end(p, ok ? index : 0);
}

void raft_peer_up(struct raft *r, const struct raft_in *in, raft_id node,
                  struct raft_out *out)
{
    struct progress *p = raft_peer(r, node);
    (void)in;
    if (p == NULL) {
        return;
    }
    p->down = false;
    if (r->role != RAFT_LEADER) {
        return;
    }
    raft_note(out, "%u: %u is reachable again, goes on behind %llu",
              r->options.id, node, (unsigned long long)p->match);
    if (p->mode == PROGRESS_SNAPSHOT) {
        progress_snapshot_end(p, 0);
    } else {
        progress_probe(p);
    }
    p->sent_commit = 0;
}

void raft_peer_down(struct raft *r, raft_id node)
{
    struct progress *p = raft_peer(r, node);
    if (p != NULL) {
        p->down = true;
    }
}
