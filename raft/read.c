#include "raft/core.h"

#include <string.h>

/* Serves the reads whose round, or a later one, a quorum has answered: nobody else led when it was sent, and each of them was
 * asked before that (bugs 14, 15). */
static void reads_confirm(struct raft *r, struct raft_out *out)
{
    const uint64_t round = raft_quorum(r, RAFT_MEASURE_ROUND, r->round);
    uint32_t done = 0;
    while (done < r->reads_n && r->reads[done].round <= round) {
        out->reads_ticket = max_u64(out->reads_ticket, r->reads[done].ticket);
        out->reads_index = max_u64(out->reads_index, r->reads[done].index);
        done++;
    }
    memmove(&r->reads[0], &r->reads[done],
            (r->reads_n - done) * sizeof(r->reads[0]));
    r->reads_n -= done;
}

/* Waiting reads join the round that is about to start. Not before our term's first commit: until then our commit index can be
 * behind what an earlier leader told its clients (Raft thesis 6.4). */
static void reads_join(struct raft *r)
{
    if (!r->reads_open || !raft_term_committed(r) ||
        r->reads_n == RAFT_READS_MAX) {
        return;
    }
    r->reads[r->reads_n] = (struct read_round){
        .round = r->round, .ticket = r->ticket, .index = r->commit};
    r->reads_n++;
    r->reads_open = false;
}

void raft_round_start(struct raft *r, const struct raft_in *in,
                      struct raft_out *out)
{
    ASSERT(r->role == RAFT_LEADER);
    r->round++;
    r->round_sent_ms[r->round % ROUNDS_MAX] = in->now_ms;
    r->heartbeat_ms = in->now_ms + r->options.heartbeat_ms;
    reads_join(r);
    for (uint32_t i = 0; i < r->peers_n; i++) {
        struct progress *p = &r->peers[i];
        if (p->sample_round == 0) {
            p->sample_round = r->round;
            p->sample_match = p->match;
        }
        raft_send(
            r, out,
            (struct raft_message){
                .type = RAFT_HEARTBEAT,
                .to = p->id,
                .commit = p->quarantined ? 0 : min_u64(p->match, r->commit),
                .round = r->round},
            0);
    }
    reads_confirm(r, out);
}

void raft_reads_flush(struct raft *r, const struct raft_in *in,
                      struct raft_out *out)
{
    /* With several rounds unanswered, new reads wait for one to end, or for the next heartbeat, which retries them all. */
    if (r->reads_open && raft_term_committed(r) &&
        r->reads_n < READ_ROUNDS_FLYING) {
        raft_round_start(r, in, out);
    }
}

enum baton_status raft_read(struct raft *r, const struct raft_in *in,
                            uint64_t *out_ticket)
{
    (void)in;
    if (r->role != RAFT_LEADER) {
        return BATON_NOT_LEADER;
    }
    if (!r->reads_open) {
        r->ticket++;
        r->reads_open = true;
    }
    *out_ticket = r->ticket;
    return BATON_OK;
}

uint64_t raft_read_waits(const struct raft *r)
{
    return r->reads_n > 0 ? r->reads[0].round : 0;
}

void raft_reads_fail(struct raft *r, struct raft_out *out)
{
    if (r->reads_n > 0 || r->reads_open) {
        out->reads_failed = r->ticket;
    }
    r->reads_n = 0;
    r->reads_open = false;
}

bool raft_lease_valid(const struct raft *r, uint64_t now_ms, uint64_t margin_ms)
{
    if (!r->options.check_quorum || !raft_term_committed(r) ||
        r->transfer.to != 0 || r->transfer.void_target != 0) {
        return false;
    }
    /* A voter that answered gives no vote for election_ms on its clock, counted from when our round reached it, which was after
     * we sent it. Its clock may run fast and ours slow, and both are cut to whole milliseconds (R15). */
    const uint64_t million = 1000000;
    const uint64_t ppm = r->options.clock_drift_ppm;
    const uint64_t lease_ms =
        r->options.election_ms * (million - ppm) / (million + ppm) - 2;
    const uint64_t sent_ms = raft_quorum(r, RAFT_MEASURE_SENT_MS, now_ms);
    return now_ms + margin_ms < sent_ms + lease_ms;
}

/* What a round's answer shows can't be less than what had been acknowledged before the round was sent, however messages
 * overtake each other. If it is, that disk lost what it promised (R12, bug 28). */
static bool ack_regressed(struct raft *r, struct progress *p,
                          const struct raft_message *m, struct raft_out *out)
{
    if (p->sample_round == 0 || m->round < p->sample_round) {
        return false;
    }
    const raft_index promised = p->sample_match;
    p->sample_round = 0;
    if (m->index >= promised) {
        return false;
    }
    raft_note(out,
              "%u: %u acknowledged %llu, but its log ends at %llu: quarantined",
              r->options.id, p->id, (unsigned long long)promised,
              (unsigned long long)m->index);
    raft_raise(out, RAFT_ALARM_ACK_REGRESSION, p->id,
               (struct raft_pos){.index = promised, .term = r->term});
    raft_quarantine(r, p->id, true);
    return true;
}

static void round_acked(struct raft *r, struct progress *p, uint64_t round)
{
    if (round <= p->acked_round) {
        return;
    }
    p->acked_round = round;
    if (r->round - round < ROUNDS_MAX) {
        p->acked_sent_ms = r->round_sent_ms[round % ROUNDS_MAX];
    }
    if (p->id == r->transfer.void_target && round >= r->transfer.void_round) {
        r->transfer.void_target = 0;
    }
}

/* Does something on the way to `p` seem lost? Its answer tells, after a heartbeat or two in which nothing was acknowledged. */
static void notice_loss(const struct raft *r, struct progress *p,
                        raft_index stored, uint64_t now_ms,
                        struct raft_out *out)
{
    switch (p->mode) {
    case PROGRESS_PROBE:
        if (p->probing && now_ms >= p->probe_ms + r->options.heartbeat_ms) {
            p->probing = false;
        }
        break;
    case PROGRESS_STREAM:
        if (p->match + 1 < p->next &&
            now_ms >= p->wait_ms + 2 * r->options.heartbeat_ms) {
            raft_note(out, "%u: %u has acknowledged %llu of %llu sent: probes",
                      r->options.id, p->id, (unsigned long long)p->match,
                      (unsigned long long)p->next - 1);
            progress_probe(p);
        }
        break;
    case PROGRESS_SNAPSHOT:
        if (stored >= p->snapshot) {
            /* Perhaps installed, and the answer was lost: the next append will tell. */
            progress_snapshot_end(p, p->snapshot);
        }
        break;
    }
}

void raft_on_heartbeat_reply(struct raft *r, const struct raft_in *in,
                             const struct raft_message *m, struct raft_out *out)
{
    struct progress *p = raft_peer(r, m->from);
    ASSERT(p != NULL);
    if (m->round > r->round || ack_regressed(r, p, m, out)) {
        return;
    }
    p->heard_ms = in->now_ms;
    round_acked(r, p, m->round);
    notice_loss(r, p, m->index, in->now_ms, out);
    reads_confirm(r, out);
}
